/* SPDX-License-Identifier: MIT */
/*
 * step.h: how many bytes one process_madvise() call is given, learnt from how long the calls before it took.
 *
 * The target's mmap lock is held for the whole call (mm/madvise.c), reclaim and the waiting for a full swap device
 * included, so the length of a call is the only handle on the longest stall a target sees. Pure.
 */
#ifndef CAPD_ENFORCE_STEP_H
#define CAPD_ENFORCE_STEP_H

#include <stdint.h>

#include "capd/base/macros.h"

/* A fast device pages out 1 MiB in 0.7 ms, a slow one stalls its target once for longer than it should. */
#define STEP_FIRST_BYTES (1 * MIB)
/* Beyond it nothing is won: what a call costs by itself is then less than 1 in 1000. */
#define STEP_MAX_BYTES (32 * MIB)

struct step {
        uint64_t bytes; /* of the next call */
        uint64_t min_bytes;
        usec_t max_stall;
        uint64_t limit; /* half of what was too much the last time: growth is fast below and slow above */
};

/* `bytes`: what an earlier act came to, or 0. */
void step_init(struct step *s, uint64_t page_size, usec_t max_stall, uint64_t bytes);

/* After a step: `attempted` bytes were given to the kernel, `moved` left, the longest call of it took `took`. */
void step_learn(struct step *s, uint64_t attempted, uint64_t moved, usec_t took);

#endif
