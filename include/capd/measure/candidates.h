/* SPDX-License-Identifier: MIT */
/*
 * candidates.h: which pages of a process can be paged out by process_madvise(2), and what became of them.
 *
 * Page frames stay inside measure/; enforce/ sees address ranges and sums. All sizes are bytes.
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

/*
 * One step's worth: present pages that only this process maps, as ranges without holes, none across two mappings (so that
 * the one mapping that refuses advice costs only its own ranges). Begins as all zero.
 */
struct candidates {
        struct iovec ranges[LIMIT_MADVISE_VECTORS];
        size_t n_ranges;
        uint64_t bytes;
        uint64_t next;            /* address at which the next step begins */
        uint64_t skipped_shared;  /* present, but mapped more than once */
        uint64_t skipped_no_swap; /* anonymous or shmem, and `anonymous` was false */

        /* filled by candidates_check() */
        uint64_t left[LIMIT_MADVISE_VECTORS]; /* of each range, what is no longer mapped */
        uint64_t busy_anonymous;              /* the part of what it added to left_busy that needs swap to go */

        /* private to candidates.c */
        uint64_t *before, *after; /* the pages of all ranges, at collection and at the check */
        size_t n_pages, pages_allocated;
        size_t first[LIMIT_MADVISE_VECTORS];      /* page of each range in before[] and after[] */
        bool same_mapping[LIMIT_MADVISE_VECTORS]; /* as the range before it */
        uint64_t range_mapping;                   /* start of the mapping of the last range */
        uint64_t *ahead;                          /* pages read from the walk, the first ahead_at of them used */
        uint64_t ahead_address, ahead_mapping;    /* of ahead[0] */
        size_t ahead_at, ahead_n;
        bool ahead_stale; /* read for an earlier step */
        uint64_t *scratch;
};

void candidates_done(struct candidates *c);

/* Goes on at the first page at or after `address`. 0 or as walk_seek(). */
int candidates_seek(struct walk *w, uint64_t address, struct candidates *c);

/*
 * Collects from the walk's position on, before the address `end`, at most max_bytes of pages (rounded up to whole pages,
 * at least one). `anonymous`: swap can be had, so anonymous and shmem pages count too; else file pages only. 1: something
 * was found, or a long stretch without anything to do was passed (bytes is 0; call again); 0: there is nothing more
 * before `end`; negative errno as walk_next(), or -ENOMEM. Reuses the memory of *c.
 */
int candidates_next(struct walk *w, uint64_t end, uint64_t max_bytes, bool anonymous, struct candidates *c);

/*
 * Whether what begins at `offset` in a range is a transparent huge page, as far as its frames tell: they follow one another from
 * a number on that is a multiple of how many they are. Of the size of *ret_size, whatever the answer.
 */
bool candidates_is_huge(const struct candidates *c, size_t range, uint64_t offset, uint64_t *ret_size);
/* Whether the page there is one of a file, which is clean or does not go: nothing is written for it. */
bool candidates_is_file(const struct candidates *c, size_t range, uint64_t offset);

/*
 * Reads the ranges again after the act. Adds to ret->unmapped, and what still is there to one of ret->left_*: mapped more than
 * once now: shared; by /proc/kpageflags MLOCKED or UNEVICTABLE: locked; DIRTY or WRITEBACK file pages: dirty; other file
 * pages that were not touched at all: forbidden if `forbidden_files`; else busy. Frames that left are appended to
 * `f` so that left_frames_freed() can tell later how many the host got back. 0 or as walk_next(); *f and *ret are
 * touched only after the last read of the target, so that a thread that was given up in one leaves them alone.
 */
struct left_frames;
int left_frames_new(struct left_frames **ret); /* bounded: of more than 16 Ki frames a sample is kept, spread evenly */
struct left_frames *left_frames_free(struct left_frames *f);
DEFINE_CLEANUP(struct left_frames *, left_frames_free)
int candidates_check(struct walk *w, struct walk_context *ctx, struct candidates *c, bool forbidden_files,
                     struct left_frames *f, struct act_result *ret);

/*
 * Bytes of the frames in `f` that are no longer held by the page or swap cache: what the host got back so far. Frames found
 * free are forgotten, so asking again is cheap. SIZE_UNKNOWN if frames or their flags are not shown. *ret_writing: some are
 * being written right now, so that asking again soon makes sense.
 */
uint64_t left_frames_freed(struct walk_context *ctx, struct left_frames *f, bool *ret_writing);

#endif
