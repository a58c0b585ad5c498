/* SPDX-License-Identifier: MIT */
/*
 * strategy.h: by which means a group is paged out (DESIGN section 6), chosen from measured facts. Pure.
 *
 * Every means is judged by what it will do to `resident`, not by what it is called. What cannot be used is named with its
 * reason, so that an administrator reads why, and what would change it.
 */
#ifndef CAPD_POLICY_STRATEGY_H
#define CAPD_POLICY_STRATEGY_H

#include <stdbool.h>
#include <stdint.h>

#include "capd/limits.h"

enum strategy {
        STRATEGY_NONE,    /* nothing can bring the group down */
        STRATEGY_MADVISE, /* pages of one process each: process_madvise(MADV_PAGEOUT) */
        STRATEGY_DAMON,   /* pages shared inside the group alone: DAMON's physical page-out of exactly those frames */
        STRATEGY_RECLAIM, /* memory.reclaim of cgroups whose tasks are all the group's */
        _STRATEGY_MAX,
};

/* "none", "process_madvise", "damon", "memory.reclaim". Never NULL. Implemented in policy/strategy.c. */
const char *strategy_to_string(enum strategy s);

/* All in bytes, of one exact count; SIZE_UNKNOWN where a figure was not taken. */
struct strategy_facts {
        uint64_t goal;    /* to be brought down */
        bool swap;        /* anonymous and shmem pages can go somewhere */
        unsigned useless; /* 1 << enum strategy: tried on this group of late, and it did not help */

        uint64_t exclusive;      /* mapped once on the whole host */
        uint64_t exclusive_swap; /* the part of it that needs swap to go */
        uint64_t inside;         /* mapped more than once, by nobody outside the group */
        uint64_t inside_swap;    /* the part of it that needs swap to go */
        uint64_t outside;        /* mapped by processes outside the group too: left alone */
        uint64_t unmapped_cache; /* file cache charged to the owned cgroups that nobody maps: memory.reclaim takes it first */
        uint64_t charged_inside; /* resident of the group in its own cgroups, as far as known: what memory.reclaim can reach */
        uint32_t owned_cgroups;  /* whose tasks, and those below, all belong to the group */
        const char *no_madvise;  /* NULL: usable; else why it is not, with what to do */
        const char *no_damon;    /* the same: missing, or in use by somebody else */
        const char *no_reclaim;  /* the same; not owning a cgroup is told by owned_cgroups */
        bool reclaim_anon_only;  /* memory.reclaim takes swappiness=max: anonymous memory only */
        bool reclaim_swappiness; /* memory.reclaim takes swappiness=0..200 */
};

struct strategy_choice {
        enum strategy strategy;
        uint64_t expected;      /* bytes of `resident` within its reach */
        uint64_t cache_at_risk; /* bytes of page cache it will probably take as well */
        bool anon_only;         /* STRATEGY_RECLAIM: write swappiness=max */
        /* why this one, or why none: one sentence for the administrator */
        char reason[LIMIT_REASON_BYTES];
};

/* Chooses. Never fails: STRATEGY_NONE says why. */
void strategy_choose(const struct strategy_facts *facts, struct strategy_choice *ret);

#endif
