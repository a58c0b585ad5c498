/* SPDX-License-Identifier: MIT */
/*
 * count-internal.h: the parts of a count, shared by count-fill.c (what is counted), count.c (order, results), shares.c (the second
 * walk) and verify.c (walks that prove whose the pages are).
 */
#ifndef CAPD_MEASURE_COUNT_INTERNAL_H
#define CAPD_MEASURE_COUNT_INTERNAL_H

#include "capd/measure/count.h"
#include "tally.h"
#include "walk-internal.h"

#define NONE SIZE_MAX

/* A process as it was added. */
struct member {
        pid_t pid;
        uint64_t start_time;
        size_t space;
        size_t next;                /* of the same address space, or NONE */
        enum count_outcome outcome; /* its own where it was tried; PENDING: that of its address space */
};

/* An address space: what is walked. */
struct space {
        uint64_t mm_id;
        size_t first, last; /* members */
        uint32_t *groups;
        size_t n_groups;
        enum count_outcome outcome;
        bool settled;  /* the first walk is over and its groups know */
        bool given_up; /* a thread was lost in a later walk: there are no more */
        bool second_done;
        struct process_sample sample; /* bytes, of the committed walk */
};

/* verify.c: the judgement of a group's pages, private or shared. */
struct verify {
        struct frames before; /* counters: of each frame that is not settled what /proc/kpagecount said before the round; else 0 */
        uint64_t open;        /* such frames */
        uint64_t shared;      /* settled, and mapped by others too */
        uint64_t open_shared; /* not settled, but look shared by the last round */
        unsigned round;
        size_t next;   /* address space to be walked in this round */
        bool begun;    /* judged by the first walk */
        bool progress; /* the last round settled something */
        int error;     /* the host's counts could not be had */
};

struct group {
        struct tally tally;
        struct verify verify;
        size_t pending;  /* address spaces still to be walked, for the second time too */
        uint32_t done;   /* address spaces walked to the end */
        uint32_t unread; /* members that could not be read */
        usec_t started;  /* 0: not yet */
        usec_t cost;
        uint64_t pss;
        size_t next_waiting;
        bool finished;
        struct group_sample result; /* when finished */
};

enum walk_purpose {
        WALK_FIRST,
        WALK_SECOND,
        WALK_VERIFY,
};

struct count {
        const struct sys *sys;
        const struct features *features;
        unsigned flags;
        struct member *members;
        size_t n_members, members_allocated;
        struct space *spaces;
        size_t n_spaces, spaces_allocated;
        size_t *by_mm; /* open addressing: index of the space, or NONE */
        size_t by_mm_slots;
        struct group *groups;
        size_t n_groups, groups_allocated;
        size_t *order;  /* spaces, those of the first groups first */
        size_t waiting; /* groups to be verified, the first of them at work; NONE at the end of the list */
        size_t current, current_member; /* being walked, NONE between walks */
        enum walk_purpose purpose;      /* of the walk of current */
};

/* The group that `share` and `alone` of an address space refer to, NULL if it is in none. */
static inline struct group *space_first_group(struct count *c, const struct space *s)
{
        return s->n_groups > 0 ? &c->groups[s->groups[0]] : NULL;
}

static inline void count_enter(struct count *c, enum walk_purpose purpose, size_t space, size_t member)
{
        c->purpose = purpose;
        c->current = space;
        c->current_member = member;
}

static inline void count_leave(struct count *c)
{
        c->current = c->current_member = NONE;
}

/* What the second walk of one process finds, bytes. 0 or as walk_next(). */
int shares_walk(struct walk *w, const struct tally *t, uint64_t page_size, uint64_t *ret_share, uint64_t *ret_alone);

/* Judges the pages of a group whose other walks are over, or goes on with it. 0, or -ECANCELED. */
int verify_run(struct count *c, struct walk_context *x, struct guard *guard, struct group *g);
/* Pages that somebody outside the group maps too. False: not known. */
bool verify_shared(const struct verify *v, uint64_t *ret_pages);
void verify_done(struct verify *v);

#endif
