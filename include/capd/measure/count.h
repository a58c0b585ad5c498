/* SPDX-License-Identifier: MIT */
/*
 * count.h: counting, every page frame once for each group; and estimating the same from a part of the pages.
 *
 * A count is filled with groups and processes, run (by one thread or by several at one time, of which some may be given up),
 * and then asked for results. Groups that share processes are counted in one walk of each process. A process that
 * ends or executes another program during the walk is left out whole: what it had added is taken out again.
 *
 * Parts of shared mappings that can show nothing new are passed over (seen.h), unless COUNT_PRIVATE or COUNT_SHARES wants every mapping
 * seen. How many pages are mapped in them is then taken from the kernel's counters (statm), with their error.
 */
#ifndef CAPD_MEASURE_COUNT_H
#define CAPD_MEASURE_COUNT_H

#include <stddef.h>
#include <stdint.h>

#include "capd/measure/walk.h"
#include "capd/sample.h"

struct count;

enum count_flags {
        COUNT_PRIVATE = 1 << 0, /* private_bytes and shared_bytes, by the mapping counts of frames: a look-up a frame */
        COUNT_SHARES = 1 << 1,  /* per process: `share` and `alone`; a second walk */
        COUNT_PSS = 1 << 2,     /* pss_sum from smaps_rollup: slow, and holds the target's mmap lock throughout */
        /* the frames of the groups are kept until count_free(), for what in measure/ looks at them: a bit a page */
        COUNT_KEEP_FRAMES = 1 << 3,
        COUNT_INSIDE = 1 << 4, /* and COUNT_PRIVATE: keeps the frames shared inside a group alone, see inside.h */
};

enum count_outcome {
        COUNT_PENDING, /* not visited yet */
        COUNT_DONE,
        COUNT_GONE,   /* ended or executed another program: left out, which is no failure */
        COUNT_UNREAD, /* could not be read (see error): the group's figure is then a lower bound */
        COUNT_STUCK,  /* its mmap lock could not be had in time */
};

/* What a count found out about one process, bytes. */
struct process_sample {
        enum count_outcome outcome;
        int error;       /* negative errno for COUNT_UNREAD */
        uint64_t mapped; /* its pages that VmRSS counts */
        uint64_t anon;
        uint64_t file, shmem; /* these and `exclusive`: SIZE_UNKNOWN if parts were passed over; in an estimate all from here on */
        uint64_t exclusive; /* mapped exactly once on the host */
        uint64_t exclusive_anon;
        uint64_t hugetlb;
        uint64_t swap;
        uint64_t share; /* COUNT_SHARES: each page divided by the number of mappings of it inside the (first) group */
        uint64_t alone; /* COUNT_SHARES: pages no other process of the (first) group maps: what it adds alone */
};

int count_new(const struct sys *sys, const struct features *features, unsigned flags, struct count **ret);
/* MaxStall=, as walk_context_set_max_stall(); before the count is run. */
void count_set_max_stall(struct count *c, usec_t max_stall);
/*
 * Makes it an estimate: of the groups' pages about one in so many is read (sampling.h). Before the count is run, with no flags set.
 * The sample is another one each time. 0 or a negative errno.
 */
int count_set_sample(struct count *c, uint32_t one_in);
/* What to give to it for a group with so many pages in its page tables, all processes together. */
uint32_t count_sample_rate(uint64_t pages);
struct count *count_free(struct count *c);
DEFINE_CLEANUP(struct count *, count_free)

/* The index of a new group, or a negative errno. */
int count_add_group(struct count *c);
/* The index of a new process in these groups (at most LIMIT_GROUPS_PER_PROCESS), or a negative errno. Processes that share an
 * address space have the same mm_id: it is walked once for all of them. */
int count_add_process(struct count *c, pid_t pid, uint64_t start_time, uint64_t mm_id, const uint32_t *groups,
                      size_t n_groups);

/*
 * Walks everything that is still pending. Several threads may be in it at one time, each with a guard of its own: they share the
 * work, large address spaces too. guard->help is called when more of them would be of use. 0 when all is done; -ECANCELED if
 * the thread was given up or told to stop. After a thread was given up, the owner calls count_give_up() and runs the count
 * again in another thread, whether or not others are still at it.
 */
int count_run(struct count *c, struct guard *guard);
/* The same with up to so many threads, made when it takes long enough to be worth them, and never given up. */
int count_run_parallel(struct count *c, unsigned threads);
/* Marks the process that the lost thread, the one with this guard, is stuck on. Returns its pid, 0 if none. */
pid_t count_give_up(struct count *c, const struct guard *guard);

/*
 * The counted part of a sample; the cheap part is left alone. quality is EXACT, or BOUND_LOWER if a process was
 * not read, or UNKNOWN if none could be. Of an estimate it is ESTIMATE instead of EXACT.
 */
void count_group_result(const struct count *c, uint32_t group, struct group_sample *ret);
void count_process_result(const struct count *c, uint32_t process, struct process_sample *ret);
size_t count_n_processes(const struct count *c);

#endif
