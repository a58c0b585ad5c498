/* SPDX-License-Identifier: MIT */
/*
 * reclaim.h: paging a group out, strategy 3 of DESIGN section 6: memory.reclaim of the cgroups that the group owns whole.
 *
 * The kernel chooses what goes, shared pages too, and takes page cache that nobody maps first. So it is given small amounts, and after each of
 * them it is read from memory.stat what went: the act goes on until enough of what is mapped is gone, and tells what that cost in cache.
 *
 * Who is in a cgroup is read again before every write: with a single task in it that is not known to be the group's, it is
 * not written to any more in this act.
 */
#ifndef CAPD_ENFORCE_RECLAIM_H
#define CAPD_ENFORCE_RECLAIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "capd/base/sys.h"
#include "capd/measure/cgroups.h"
#include "capd/measure/guard.h"
#include "capd/sample.h"

struct reclaim_member {
        pid_t pid;
        uint64_t start_time;
};

struct reclaim_request {
        const struct owned_cgroups *owned; /* copied */
        /* all that may be in them, without those that are protected; copied */
        const struct reclaim_member *members;
        size_t n_members;
        /*
         * Cgroups alone say who is the group's (no selector but Cgroup=, Unit= and Container=), and nobody can be protected but by the
         * same: then a task that is not known is the group's if another one in the very same cgroup is.
         */
        bool defined_by_cgroup;
        /*
         * A process that is not known, because it has come since the members were looked at, is the group's if one that it descends from is, and runs as
         * the same user: a server that forks for each client has one in every act.
         */
        bool accept_children;
        uint64_t goal;      /* bytes by which what is mapped shall fall */
        bool anon_only;     /* write swappiness=max, where the kernel takes it: no page cache is taken */
        bool swap;          /* anonymous memory can go somewhere */
        uint64_t max_cache; /* bytes of unmapped page cache that may be taken; SIZE_UNKNOWN: any */
        usec_t max_time;    /* the whole act; LIMIT_ACT_USEC at most */
        uint64_t step;      /* bytes of a write, as far as an earlier act learnt it (struct reclaim_report), or 0 */
};

/* Why an act ended. Of several cgroups, what held for the one tried last. */
enum reclaim_end {
        RECLAIM_UNFINISHED, /* it was told to stop */
        RECLAIM_GOAL,       /* what is mapped fell far enough */
        RECLAIM_SHORT,      /* the kernel finds nothing more */
        RECLAIM_TIME,
        RECLAIM_CACHE,     /* max_cache */
        RECLAIM_STRANGERS, /* a task that is not known: look again who is a member, and which cgroups are owned */
        RECLAIM_GONE,      /* the cgroups were removed */
        RECLAIM_STUCK,     /* a write did not return in time */
        RECLAIM_FAILED,    /* see the act's errno */
        _RECLAIM_END_MAX,
};
/* "goal reached", … Never NULL. */
const char *reclaim_end_to_string(enum reclaim_end e);

struct reclaim_report {
        enum reclaim_end end;
        pid_t stranger;      /* that was met, 0 one of another PID namespace; -1 none */
        uint64_t anon_taken; /* bytes that left, as memory.stat tells; what the processes freed meanwhile is in them */
        uint64_t file_taken; /* mapped files and shmem */
        uint64_t cache_taken;
        uint64_t step; /* for the next act */
        uint32_t writes;
        usec_t longest_write;
};

struct reclaim;

/* 0, -ENOMEM, or -EINVAL without cgroups. */
int reclaim_new(const struct sys *sys, const struct reclaim_request *request, struct reclaim **ret);
struct reclaim *reclaim_free(struct reclaim *r);
DEFINE_CLEANUP(struct reclaim *, reclaim_free)

/* Acts. 0 done (goal reached or not: see the report); -ECANCELED the thread was given up or told to stop; another negative errno. */
int reclaim_run(struct reclaim *r, struct guard *guard);
/* After a thread was given up: leaves the cgroup alone that it is stuck on, so that another thread can go on. */
void reclaim_give_up_current(struct reclaim *r);

/*
 * `unmapped` is by how far what is mapped in the cgroups fell, which is an estimate of what a count will say; `freed` is by how far
 * memory.current did, page cache included.
 */
void reclaim_result(const struct reclaim *r, struct act_result *ret);
void reclaim_get_report(const struct reclaim *r, struct reclaim_report *ret);

#endif
