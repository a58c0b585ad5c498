/* SPDX-License-Identifier: MIT */
/*
 * walk.h: the pages of one process, with the counting rules applied.
 *
 * A walk holds /proc/PID and its pagemap. The pagemap descriptor belongs to the address space that was there when it was
 * opened: after an exec or the end of the process it reads as empty, so two programs are never mixed; walk_check() tells.
 *
 * The walk visits only where pages can be (PAGEMAP_SCAN where the kernel has it, else the mappings' Rss from smaps for
 * large sparse ones) and hands out pages that VmRSS counts, in address order. Everything else (zero page, huge
 * zero page, device memory, guard regions, migration entries) has been taken out: this is the one place of the rules
 * of DESIGN section 3.
 */
#ifndef CAPD_MEASURE_WALK_H
#define CAPD_MEASURE_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "capd/base/sys.h"
#include "capd/measure/features.h"
#include "capd/measure/guard.h"

/* A page as a walk hands it out; 0 is "nothing that counts". */
#define PAGE_NUMBER_MASK ((UINT64_C(1) << 52) - 1) /* frame number; with PAGE_SWAPPED the slot (type and offset) */
#define PAGE_PRESENT     (UINT64_C(1) << 63)       /* VmRSS counts it: exactly one of ANON, FILE, SHMEM */
#define PAGE_SWAPPED     (UINT64_C(1) << 62)       /* a real swap slot */
#define PAGE_HUGETLB     (UINT64_C(1) << 61)       /* present, hugetlb: never together with PRESENT */
#define PAGE_EXCLUSIVE   (UINT64_C(1) << 60)       /* mapped exactly once on the whole host */
#define PAGE_ANON        (UINT64_C(1) << 59)
#define PAGE_FILE        (UINT64_C(1) << 58)
#define PAGE_SHMEM       (UINT64_C(1) << 57)

struct walk;

struct walk_vma {
        uint64_t start, end;
        uint64_t offset;        /* in the object, bytes */
        uint64_t device, inode; /* device: major << 32 | minor; inode 0: none */
        bool readable, writable, executable, shared;
};

struct walk_chunk {
        uint64_t address;           /* of pages[0] */
        size_t n;                   /* pages */
        const uint64_t *pages;      /* valid until the next call */
        const struct walk_vma *vma; /* the mapping they are in */
        bool alike;                 /* they are known to be of one kind: the same but for their numbers */
        bool known;                 /* the groups have all of them, from a process that shows the same (echo.h) */
};

/* Facts shared by the walks of one count: kinds of objects, known huge zero frames, buffers. For one thread at a time. */
struct walk_context;
int walk_context_new(const struct sys *sys, const struct features *features, struct walk_context **ret);
/* MaxStall=: the longest that somebody shall wait for the lock of a process that is walked. 2 ms unless this was called. */
void walk_context_set_max_stall(struct walk_context *c, usec_t max_stall);
/*
 * For calls that unmap pages: the thread goes where its target runs (running.h), if that is one processor. There it interrupts nobody, and
 * what the target waits for is its processor and not its lock.
 */
void walk_context_follow(struct walk_context *c);
/* For one thread that makes a context after the other: what it owes others is not forgotten with the one before. */
void walk_context_continue(struct walk_context *c, const struct walk_context *before);
struct walk_context *walk_context_free(struct walk_context *c);
DEFINE_CLEANUP(struct walk_context *, walk_context_free)

/*
 * Opens a process for walking. 0; -ESRCH it is not (or no more) the process that started at start_time; -EACCES, -EPERM
 * no right to it; -ECANCELED the thread was given up; other negative errno.
 */
int walk_open(struct walk_context *c, struct guard *guard, pid_t pid, uint64_t start_time, struct walk **ret);
struct walk *walk_close(struct walk *w);
DEFINE_CLEANUP(struct walk *, walk_close)

/* The next chunk with at least one page in it (at most LIMIT_PAGEMAP_STEP_PAGES, never across a mapping): 1; 0 at the end;
 * -ESRCH ended or executed another program; -ECANCELED; other negative errno. */
int walk_next(struct walk *w, struct walk_chunk *ret);
/* Goes on at the first page at or after `address`. */
int walk_seek(struct walk *w, uint64_t address);
/* walk_next() reads some `n_pages` at one time from now on, within its own bounds: for who has no use for more before they are old. */
void walk_window(struct walk *w, size_t n_pages);
/* walk_next() ends before `until`: a multiple of 2 MiB, or UINT64_MAX. To go on there, give another one. */
void walk_limit(struct walk *w, uint64_t until);
/*
 * Where a piece ends that begins at `from` and holds some `pages` pages, if they are spread evenly over the mappings: for
 * walk_limit(). UINT64_MAX if nothing is left beyond it. *ret_left: pages that may be left, by the same reckoning.
 */
uint64_t walk_piece(const struct walk *w, uint64_t from, uint64_t pages, uint64_t *ret_left);
/* Reads the same pages of [address, address + n * page_size) anew into pages[] under the same rules. 0 or as walk_next(). */
int walk_read(struct walk *w, uint64_t address, size_t n, uint64_t *pages);
/* Whether it is still the same process and the same program: 0 or -ESRCH. */
int walk_check(struct walk *w);
int walk_dirfd(const struct walk *w); /* /proc/PID; belongs to the walk */

/*
 * Around a call that takes the target's mmap lock: walk_hold() before it, which makes a pause where the calls before it have come
 * to half of MaxStall and the target is not asleep; walk_let_go() with what that returned: how long the call took. Either is -ECANCELED if the thread was given up
 * in it, after which the other is not called.
 */
int64_t walk_hold(struct walk *w);
int64_t walk_let_go(struct walk *w, int64_t began);

/* -- single frames -- */

/* Flags of a frame from /proc/kpageflags (bits as in linux/kernel-page-flags.h). 0 or a negative errno. */
int frame_flags(struct walk_context *c, uint64_t frame, uint64_t *ret);

#endif
