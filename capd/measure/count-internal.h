/* SPDX-License-Identifier: MIT */
/*
 * count-internal.h: the parts of a count, shared by count-fill.c (what is counted), count-run.c (who does what when), first.c (the
 * first walks), count.c (what comes of them), shares.c (the second walk) and verify.c (walks that prove whose the pages are).
 */
#ifndef CAPD_MEASURE_COUNT_INTERNAL_H
#define CAPD_MEASURE_COUNT_INTERNAL_H

#include <pthread.h>

#include "capd/measure/count.h"
#include "echo.h"
#include "sampling.h"
#include "seen.h"
#include "tally.h"
#include "walk-internal.h"

#define NONE SIZE_MAX

/* Pages of a piece of a walk, 16 MiB and 0.1 ms: many to a thread, and little lost where two threads meet. */
#define COUNT_PIECE_PAGES 4096U
/* So many that are left are worth the cost of opening the process once more. */
#define COUNT_HELP_PAGES  (8 * COUNT_PIECE_PAGES)
#define COUNT_MAX_THREADS 16U
/* Processes that a thread walks by turns, first.c. Each holds three descriptors. */
#define COUNT_STRANDS 8U

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
        size_t position; /* in count.order */
        size_t cohort;   /* in count.cohorts */
        enum count_outcome outcome;
        bool taken;    /* the first walk is somebody's, or over */
        bool given_up; /* a thread was lost in a later walk: there are no more */
        bool second_taken, second_done;
        struct process_sample sample; /* bytes, of the committed walk */
};

/* Entries by what they are, in pages: what one walk of one process found. */
struct found {
        uint64_t kinds[TALLY_KINDS]; /* entries that VmRSS counts */
        uint64_t hugetlb, swap;
        uint64_t pss; /* bytes */
        /* pages of shared mappings that were passed over (seen.h), mapped or not; if any, what the kernel's counters say of all */
        uint64_t passed, rss;
        /* the same for an estimate, by part, and how many counters these are the sum of */
        uint64_t counted[_ESTIMATE_PARTS], counters;
};

/* What one thread found, for each group of the address space it walked. */
struct parts {
        struct parts *next;
        struct sights sights;   /* of shared objects, the same for all groups */
        struct sampled sampled; /* of an estimate, which has no items */
        size_t n;
        struct tally_part items[];
};

/*
 * The first walk of an address space, by one thread or by several, each of which takes a piece of it at a time. What they found is
 * kept until the last of them is through: then all of it is committed, or nothing.
 */
struct scan {
        struct scan *next; /* among those under way */
        size_t space, member;
        uint64_t number;  /* no other of the count has it */
        unsigned threads; /* at work */
        bool open;        /* the first of them has opened it: others may help */
        bool leads;       /* others of its cohort need not read what it shows: better to help than to walk them now */
        bool helped;      /* no thread has seen all of it */
        struct proc_stat identity; /* as that one saw it */
        uint64_t cursor;           /* everything below is somebody's; UINT64_MAX: nothing is left */
        uint64_t left;             /* pages that may be left, roughly */
        int error;                 /* the first one; it ends the walk of all */
        bool stuck;
        struct found found;
        struct parts *parts; /* of those who are through */
        usec_t started, cost;
};

/* inside.c: what is the group's own and mapped more than once, as far as it is settled. */
struct inside {
        uint64_t pages, swap_pages; /* the second: those that need swap to go */
        bool kinds_unknown;         /* which they are could not be found out */
        bool keep;                  /* COUNT_INSIDE */
        struct frames counts;       /* counters: of each such frame its mappings; else 0 */
};

/* verify.c: the judgement of a group's pages, private or shared. */
struct verify {
        struct frames before; /* counters: of each frame that is not settled what /proc/kpagecount said before the round; else 0 */
        uint64_t open;        /* such frames */
        uint64_t shared;      /* settled, and mapped by others too */
        uint64_t open_shared; /* not settled, but look shared by the last round */
        unsigned round;
        size_t next;   /* address space to be walked in this round */
        size_t *again; /* those that were begun in this round by a thread that was told to stop */
        size_t n_again, again_allocated;
        unsigned walking; /* threads */
        bool in_round;
        bool looking;  /* a thread is reading the host's counts, and has the sets for itself */
        bool begun;    /* judged by the first walk */
        bool progress; /* the last round settled something */
        int error;     /* the host's counts could not be had */
        struct inside inside;
};

struct group {
        struct tally tally;
        struct sampling_group sampling;
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

enum work_kind {
        WORK_NONE, /* waiting for others */
        WORK_FIRST,
        WORK_SECOND,
        WORK_VERIFY,
        WORK_LOOK,
};

/*
 * A thread in count_run(), as the others and the owner of the job see it. It belongs to the count: a thread that was given up has
 * no business with it any more.
 */
struct slot {
        struct slot *next;
        const struct guard *guard;
        enum work_kind kind;
        size_t space, member;
        struct group *group; /* WORK_VERIFY, WORK_LOOK */
        /* WORK_FIRST: the walks that the thread has a part in, and which of them it is at */
        struct scan *scans[COUNT_STRANDS];
        size_t n_scans, at;
};

/* One thread's part in the walk of one process. */
struct strand {
        size_t space, member;
        struct scan *scan; /* NULL: not begun. To be looked at with the lock held. */
        bool helps;        /* another thread has begun it */
        struct walk *walk;
        struct parts *parts;
        struct found found;
        struct seen_view seen;
        struct echo_view echo;
        bool over; /* nothing of it is left to be read */
        int error;
};

/* The same as it sees itself. All of it is its own; `c` and `slot` are not to be touched if x->lost. */
struct lane {
        struct count *c;
        struct slot *slot;
        struct guard *guard;
        struct walk_context *x;
        struct sampling sampling; /* the count's */
        struct parts *parts;      /* of a walk that verifies */
        struct echo echo;
        struct strand strands[COUNT_STRANDS];
        size_t n_strands;
};

/* Address spaces that are in the very same groups: cohorts.c. */
struct cohort {
        size_t left; /* of which the first walk is not over */
        struct seen seen;
};

struct count {
        const struct sys *sys;
        const struct features *features;
        unsigned flags;
        usec_t max_stall;
        struct sampling sampling;
        struct member *members;
        size_t n_members, members_allocated;
        struct space *spaces;
        size_t n_spaces, spaces_allocated;
        size_t *by_mm; /* open addressing: index of the space, or NONE */
        size_t by_mm_slots;
        struct group *groups;
        size_t n_groups, groups_allocated;
        size_t *order;          /* spaces, those of the first groups first; NULL: it has not been run */
        struct cohort *cohorts; /* NULL: every page of every process is to be read */

        /*
         * Over what follows, and over everything above that changes while the count runs. Not held in a system call, nor while pages are
         * looked at. A thread that walks reads of the tallies what frames.h lets it read.
         */
        pthread_mutex_t mutex;
        pthread_cond_t wake; /* there may be work, or none ever */
        struct slot *slots;  /* threads at work */
        struct scan *scans;  /* first walks under way */
        size_t next_first;   /* in order: all before are taken */
        size_t next_second;  /* the same for second walks */
        size_t unsettled;    /* address spaces of which the first walk is not over */
        uint64_t n_scans;    /* begun so far */
        size_t waiting;      /* groups to be verified; NONE at the end of the list */
        usec_t began;
        bool called; /* for more threads */
};

/* The group that `share` and `alone` of an address space refer to, NULL if it is in none. */
static inline struct group *space_first_group(struct count *c, const struct space *s)
{
        return s->n_groups > 0 ? &c->groups[s->groups[0]] : NULL;
}

/* -- count.c: called with the lock held, unless it says otherwise -- */

/* A walk of an address space is over: it is counted in its groups, and they wait for one less. */
void space_settle(struct count *c, struct space *s, enum count_outcome outcome, int error);
void space_settle_second(struct count *c, struct space *s);
/* Its first walk is nobody's again. */
void space_untake(struct count *c, struct space *s);
void group_walked(struct count *c, uint32_t index);
void group_finish(struct count *c, struct group *g);
void groups_charge(struct count *c, const struct space *s, usec_t started, usec_t cost);
/* The end of a first walk: commits it or leaves no trace. The next process of the address space to try, or NONE. */
size_t first_end(struct count *c, struct scan *scan);
/*
 * The second walk of the process in the slot; without the lock. 0 or a negative errno; nothing but lane->x is to be looked at if that
 * says `lost`.
 */
int second_walk(struct lane *lane, uint64_t *ret_share, uint64_t *ret_alone);
void found_sum(struct found *sum, const struct found *f);
struct parts *parts_new(size_t n);
struct parts *parts_free(struct parts *p); /* all of the list; without the lock */
DEFINE_CLEANUP(struct parts *, parts_free)

/* Every frame of a group, each once, after the count: see frames.h. NULL without COUNT_KEEP_FRAMES, or if the count is not over. */
const struct frames *count_frames(const struct count *c, uint32_t group);

/* What the second walk of one process finds, bytes. 0 or as walk_next(). */
int shares_walk(struct walk *w, const struct tally *t, uint64_t page_size, uint64_t *ret_share, uint64_t *ret_alone);

/* Whether the count takes so long, and so much of it is left, that another thread would be of use. With the lock held. */
bool count_wants_help(struct count *c);

/* -- first.c -- */

/*
 * What one thread does of the first walks in its strands, whose scans have begun; without the lock. What it found, and how each of
 * them ended, is there. 0, or -ECANCELED if the thread was given up: then nothing but lane->x is to be looked at.
 */
int first_walks(struct lane *lane);
/* Forgets what is in a strand; what belongs to the count is left alone. */
void strand_clear(struct strand *t);

/* -- cohorts.c -- */

/* Once, before the first walk. 0 or -ENOMEM. */
int cohorts_make(struct count *c);
void cohorts_free(struct count *c);
/* With the lock held: what a walk of an address space may use and is to remember; whether it is the first to see much that others
 * share; what it saw, once it was committed; that it is settled. */
void cohort_view(struct count *c, const struct space *s, struct seen_view *v);
bool cohort_led_by(const struct count *c, const struct space *s, const struct walk *w);
void cohort_learn(struct count *c, const struct space *s, const struct parts *parts, uint64_t walk);
void cohort_leave(struct count *c, const struct space *s);

/* -- verify.c -- */

enum verify_step {
        VERIFY_DONE,
        VERIFY_WAIT, /* others are at it */
        VERIFY_LOOK, /* verify_look() is next; nobody else may touch the group meanwhile */
        VERIFY_WALK, /* verify_walk() of *ret_space */
};

/* What is to be done for a group whose other walks are over; takes it. With the lock held. */
enum verify_step verify_next(struct count *c, struct group *g, size_t *ret_space);
/* Both without the lock; the slot says which group and which address space. 0, or -ECANCELED. */
int verify_walk(struct lane *lane);
void verify_look(struct lane *lane);
/* A walk that was taken is over; `again`: it was not made, and another thread shall. With the lock held. */
void verify_walked(struct group *g, size_t space, bool again);
/* Pages that somebody outside the group maps too. False: not known. */
bool verify_shared(const struct verify *v, uint64_t *ret_pages);
void verify_done(struct verify *v);

/* -- inside.c -- */

/* Takes frames of a chunk of counters that were found to be the group's own: how often each is mapped, 0 for all others. 0 or -ENOMEM. */
int inside_add(struct inside *in, struct walk_context *x, uint64_t key, const uint32_t own[static TALLY_COUNTERS]);
/* Bytes; of the part that needs swap SIZE_UNKNOWN if it is not known. */
void inside_result(const struct inside *in, uint64_t page_size, uint64_t *ret_bytes, uint64_t *ret_swap);
void inside_done(struct inside *in);

#endif
