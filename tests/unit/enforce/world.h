/* SPDX-License-Identifier: MIT */
/*
 * world.h: a kernel of files for the tests of enforce/: a directory with proc/, whose pagemaps a process_madvise() of ours
 * edits as the real one would, or as a test wants it to.
 */
#ifndef CAPD_TEST_WORLD_H
#define CAPD_TEST_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "capd/base/sys.h"
#include "capd/enforce/pageout.h"
#include "capd/limits.h"

#define PAGE 4096ULL
#define BASE 0x10000000ULL /* where mappings of the tests begin */
#define TOP  0x20000000ULL /* and where pagemaps end */

#define FLAG_DIRTY       (1ULL << 4)
#define FLAG_LRU         (1ULL << 5)
#define FLAG_WRITEBACK   (1ULL << 8)
#define FLAG_MMAP        (1ULL << 11)
#define FLAG_ANON        (1ULL << 12)
#define FLAG_SWAPCACHE   (1ULL << 13)
#define FLAG_SWAPBACKED  (1ULL << 14)
#define FLAG_UNEVICTABLE (1ULL << 18)

enum kind {
        ANON,
        ANON_SHARED,
        FILE_CLEAN,
        FILE_DIRTY,
        SHMEM,
        NOTHING, /* not present */
};

enum op { OP_OPENAT, OP_PREAD, OP_READ, OP_PIDFD_OPEN, OP_MADVISE, _OP_MAX };

struct call {
        pid_t pid;
        uint64_t address, bytes; /* of the first range, of all */
        size_t n;
};

#define WORLD_PROCESSES 8
#define WORLD_CALLS     4096

struct world {
        char path[64];
        struct sys sys;
        struct sys_ops ops;
        struct features features;
        usec_t clock;
        int kpageflags;
        uint64_t next_frame;

        struct {
                pid_t pid;
                int pagemap, pidfd;
        } processes[WORLD_PROCESSES];
        size_t n_processes;

        /* what process_madvise() does */
        usec_t cost_call, cost_page;
        usec_t cost_huge; /* of 2 MiB that go as one vector; 0: as much as of its pages */
        bool nothing_moves;
        bool splits; /* huge pages of files of which a part goes: all of it is unmapped, and the rest stays in the page cache */
        uint64_t locked_start, locked_end; /* any process */
        uint64_t hole;
        int error; /* returned instead, for `error_pid` or everybody (0), `error_times` times (0: always) */
        pid_t error_pid;
        unsigned error_times;
        uint64_t flags_after; /* of a frame that left */
        pid_t exits;          /* this process ends in its next call */
        bool mm_is_shared;    /* the address space of a process outlives it */
        uint64_t swap_pages;  /* free */
        void (*on_pidfd_open)(struct world *w, pid_t pid);
        void (*on_sleep)(struct world *w, usec_t usec);
        void *userdata;

        struct call calls[WORLD_CALLS];
        size_t n_calls;

        /* the k-th call of an op fails */
        enum op fail_op;
        unsigned fail_at; /* 0: none */
        int fail_error;
        unsigned counts[_OP_MAX];

        /* set by a guard of a test: what may block must be inside */
        bool guarded, must_be_guarded;
};

struct world *world_new(void);
void world_free(struct world *w);
void world_process(struct world *w, pid_t pid, uint64_t start_time);
/* The process ends; its number may be taken by world_process() again. */
void world_exit(struct world *w, pid_t pid);
/* Writes the list of mappings: one from `start` of n pages. File and shmem have an inode. May be called again for one behind it. */
void world_map(struct world *w, pid_t pid, uint64_t start, size_t n, enum kind kind);
/* Fills pages of a mapping. */
void world_fill(struct world *w, pid_t pid, uint64_t start, size_t n, enum kind kind);
uint64_t world_page(const struct world *w, pid_t pid, uint64_t address); /* raw entry */
void world_set_flags(struct world *w, uint64_t frame, uint64_t flags);
uint64_t world_present(const struct world *w, pid_t pid, uint64_t start, size_t n); /* bytes */
void world_swap(struct world *w, uint64_t total_pages, uint64_t free_pages);
void world_capabilities(struct world *w, uint64_t effective);

/* Two idle processes, PIDs 50 and 60, and a world in which each has n anonymous pages at BASE. */
extern const struct pageout_target world_two[2];
struct world *world_anonymous(size_t n);

/* A request with sensible values; goal in pages. */
struct pageout_request world_request(const struct pageout_target *targets, size_t n, uint64_t goal_pages);
/* Runs an act from beginning to end. */
struct act_result world_act(struct world *w, const struct pageout_request *request, struct pageout_cursor *ret_cursor,
                            struct pageout_trace **ret_trace);

#endif
