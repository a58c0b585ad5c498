/* SPDX-License-Identifier: MIT */
/* reclaim-internal.h: an act by memory.reclaim, as reclaim.c keeps it and reclaim-act.c carries it out. */
#ifndef CAPD_ENFORCE_RECLAIM_INTERNAL_H
#define CAPD_ENFORCE_RECLAIM_INTERNAL_H

#include "capd/enforce/reclaim.h"

#define NO_CGROUP SIZE_MAX

struct reclaim_cgroup {
        struct cgroup_memory first, last; /* readings */
        bool read;                        /* there is a first one */
        bool swap;                        /* its anonymous memory can go somewhere */
        bool done;                        /* not written to again in this act */
        uint64_t attempted;
        uint64_t unseen;   /* bytes written for since a reading showed any change */
        unsigned short_of; /* writes in a row that fell short */
};

struct known_member {
        pid_t pid;
        uint64_t start_time;
        bool proved; /* seen with this start time during this act */
};

/*
 * An act outlives the threads that work on it (see act.c): everything here is touched only by the thread that has the act, outside of guarded
 * calls, and is complete before each of them.
 */
struct reclaim {
        const struct sys *sys;
        struct owned_cgroups owned;
        struct reclaim_cgroup *cgroups; /* as many */
        struct known_member *members;   /* in the order of pid */
        size_t n_members;
        bool defined_by_cgroup, accept_children, anon_only, swap;
        uint64_t goal, max_cache;
        uint64_t step;       /* of a write that takes what is mapped */
        uint64_t cache_step; /* of one that finds cache enough: that goes much faster, and says nothing of the rest */
        usec_t max_time, deadline;
        bool started, finished;
        size_t current; /* that a guarded call may be about, or NO_CGROUP */
        struct act_result result;
        struct reclaim_report report;
};

/* What is mapped, by a reading: "anon" is NR_ANON_MAPPED, and "file_mapped" has mapped shmem in it (mm/memcontrol.c). */
uint64_t reclaim_mapped(const struct cgroup_memory *m);

#endif
