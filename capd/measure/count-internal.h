/* SPDX-License-Identifier: MIT */
/* count-internal.h: the parts of a count, shared by count.c (order, results) and shares.c (the second walk). */
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
        bool settled;         /* the first walk is over and its groups know */
        bool second_given_up; /* its thread was lost in the second walk */
        bool second_done;
        struct process_sample sample; /* bytes, of the committed walk */
};

struct group {
        struct tally tally;
        size_t pending;  /* address spaces still to be walked, for the second time too */
        uint32_t done;   /* address spaces walked to the end */
        uint32_t unread; /* members that could not be read */
        usec_t started;  /* 0: not yet */
        usec_t cost;
        uint64_t pss;
        struct group_sample result; /* when pending is 0 */
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
        size_t *order;                  /* spaces, those of the first groups first */
        size_t current, current_member; /* being walked, NONE between walks */
        bool second;                    /* current is walked for the second time */
};

/* The group that `share` and `alone` of an address space refer to, NULL if it is in none. */
static inline struct group *space_first_group(struct count *c, const struct space *s)
{
        return s->n_groups > 0 ? &c->groups[s->groups[0]] : NULL;
}

/* What the second walk of one process finds, bytes. 0 or as walk_next(). */
int shares_walk(struct walk *w, const struct tally *t, uint64_t page_size, uint64_t *ret_share, uint64_t *ret_alone);

#endif
