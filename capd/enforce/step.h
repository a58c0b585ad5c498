/* SPDX-License-Identifier: MIT */
/*
 * step.h: how many bytes one process_madvise() call is given, learnt from how long the calls before it took.
 *
 * The target's mmap lock is held for the whole call (mm/madvise.c), reclaim, compression and the waiting for a full swap device
 * included, so the length of a call is the only handle on the longest stall a target sees. Pure.
 */
#ifndef CAPD_ENFORCE_STEP_H
#define CAPD_ENFORCE_STEP_H

#include <stdbool.h>
#include <stdint.h>

#include "capd/base/macros.h"

/* Of the first call on a process. 1 MiB takes 0.5 ms on a fast device, and 3 ms if the process runs on another processor, which has to
 * be interrupted for each page that it may have written to (try_to_unmap_flush_dirty() in mm/rmap.c). */
#define STEP_FIRST_BYTES (256 * KIB)
/* Beyond it nothing is won: what a call costs by itself is then less than 1 in 1000. It is what a walk reads at one time, too. */
#define STEP_MAX_BYTES (8 * MIB)

struct step {
        uint64_t bytes; /* of the next call */
        uint64_t min_bytes;
        usec_t max_stall;
        usec_t longest;      /* call since step_learn() */
        unsigned calm;       /* calls since one took too long, as far as that matters */
        unsigned whole_late; /* so many calls on huge pages in a row */
        uint64_t limit;      /* half of what was too much: growth is fast below and slow above */
};

/* `bytes`: what an earlier act came to, or 0. */
void step_init(struct step *s, uint64_t page_size, usec_t max_stall, uint64_t bytes);

/* Another process: what was learnt from the others may be too much for it. */
void step_begin(struct step *s);

/*
 * Whether a transparent huge page may go in one call. To write it whole takes a tenth of what its pages take one by one where the swap
 * device is a block device, and as long as they do where it compresses: so not if those are slow, nor if it was seen to take too long.
 */
bool step_whole(const struct step *s);
void step_whole_took(struct step *s, usec_t took);

/* After each call. */
void step_took(struct step *s, usec_t took);

/*
 * Bytes that are looked at before a batch of calls on them, and after it: reading page tables by the 2 MiB costs a fraction of reading
 * them piece by piece. Not more than some calls' worth, since what leaves by itself between the two looks is taken for paged out.
 */
uint64_t step_batch(const struct step *s);

/* After a batch: `attempted` bytes were given to the kernel, `moved` left. */
void step_learn(struct step *s, uint64_t attempted, uint64_t moved);

#endif
