/* SPDX-License-Identifier: MIT */
/*
 * candidates.h: which pages of a process can be paged out by process_madvise(2), and what became of them.
 *
 * Page frames stay inside measure/; enforce/ sees address ranges and sums.
 */
#ifndef CAPD_MEASURE_CANDIDATES_H
#define CAPD_MEASURE_CANDIDATES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "capd/limits.h"
#include "capd/measure/walk.h"
#include "capd/sample.h"

/* One step's worth: present pages that only this process maps, as ranges without holes. Sizes in bytes. */
struct candidates {
        struct iovec ranges[LIMIT_MADVISE_VECTORS];
        size_t n_ranges;
        uint64_t bytes;
        uint64_t next;            /* address at which to look for the next step */
        uint64_t skipped_shared;  /* present, but mapped more than once */
        uint64_t skipped_no_swap; /* anonymous or shmem, and `anonymous` was false */
        /* private to candidates.c: what was there before, one entry a page */
        uint64_t *pages;
        size_t n_pages, pages_allocated;
};

void candidates_done(struct candidates *c);

/*
 * Collects from the walk's position on at most max_bytes of pages (whole pages, at least one). `anonymous`: swap can be
 * had, so anonymous and shmem pages count too; else clean file pages only. 1 with something to do; 0 the
 * address space is at its end; negative errno as walk_next(). Reuses the memory of *c.
 */
int candidates_next(struct walk *w, uint64_t max_bytes, bool anonymous, struct candidates *c);

/*
 * Reads the ranges again after the act. Adds to ret->unmapped, and what still is there to one of ret->left_*, judged by
 * /proc/kpageflags (MLOCKED or UNEVICTABLE: locked; DIRTY or WRITEBACK file pages: dirty; mapped more than once now: shared;
 * anonymous and swap full: no swap; file pages that were not touched at all: forbidden if `forbidden_files`; else busy).
 * Frames that left are appended to `f` so that candidates_freed() can tell later how many the host got back.
 */
struct left_frames;
int left_frames_new(struct left_frames **ret); /* bounded: beyond 1 Mi frames the rest is extrapolated */
struct left_frames *left_frames_free(struct left_frames *f);
DEFINE_CLEANUP(struct left_frames *, left_frames_free)
int candidates_check(struct walk *w, struct walk_context *ctx, const struct candidates *c, bool forbidden_files,
                     struct left_frames *f, struct act_result *ret);

/* Bytes of the frames in `f` that are no longer held by the page or swap cache: what the host got back so far. */
uint64_t left_frames_freed(struct walk_context *ctx, const struct left_frames *f);

#endif
