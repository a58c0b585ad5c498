/* SPDX-License-Identifier: MIT */
/*
 * inside.h: the frames that a group shares among its own processes and with nobody else.
 *
 * A count with COUNT_INSIDE keeps them; they are handed out as ranges of physical addresses, together with how often each
 * frame was mapped, so that whoever acts on them can see right before whether a frame still is what it was.
 */
#ifndef CAPD_MEASURE_INSIDE_H
#define CAPD_MEASURE_INSIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "capd/base/macros.h"
#include "capd/base/sys.h"

/* Physical addresses in bytes, whole frames: the first in it, the first behind it. */
struct frame_range {
        uint64_t start, end;
};

/* In `mappings`: the frame belongs to the same huge page as the one before it. What the kernel does to one it does to both. */
#define INSIDE_TAIL          (UINT32_C(1) << 31)
#define INSIDE_MAPPINGS_MASK (INSIDE_TAIL - 1)

struct inside_frames {
        struct frame_range *ranges; /* ascending; no two overlap or touch */
        size_t n_ranges;
        uint32_t *mappings; /* of each frame, range after range: how often it was mapped, and INSIDE_TAIL */
        size_t n_frames;
        uint64_t bytes; /* of the ranges */
        /* the group's own, shared inside, and not in the ranges; bytes */
        uint64_t left_locked;  /* mlock(2) or otherwise unevictable */
        uint64_t left_no_swap; /* need swap, which was said to be missing */
        uint64_t left_partly;  /* in huge pages of which others map a part */
        uint64_t left_over;    /* more than LIMIT_INSIDE_RANGES, LIMIT_INSIDE_FRAMES */
};

/* All zero is the empty set. */
void inside_frames_done(struct inside_frames *f);
static inline void inside_frames_donep(struct inside_frames *f)
{
        inside_frames_done(f);
}

struct count;

/*
 * The frames of a group of a finished count with COUNT_INSIDE, which forgets them. `swap`: those that need swap as well. 0;
 * -ENODATA the count does not know them; -EOPNOTSUPP /proc/kpageflags or /proc/kpagecount is missing; other negative
 * errno. Blocks on nobody, but looks at every frame (some 0.1 µs each): to be called in the job of the count.
 */
int count_take_inside(struct count *c, uint32_t group, bool swap, struct inside_frames *ret);

/* Bits of /proc/kpageflags (linux/kernel-page-flags.h) that tell what a frame is and why it stays. */
#define FRAME_FLAG_DIRTY         (UINT64_C(1) << 4)
#define FRAME_FLAG_LRU           (UINT64_C(1) << 5)
#define FRAME_FLAG_WRITEBACK     (UINT64_C(1) << 8)
#define FRAME_FLAG_BUDDY         (UINT64_C(1) << 10)
#define FRAME_FLAG_ANON          (UINT64_C(1) << 12)
#define FRAME_FLAG_SWAPCACHE     (UINT64_C(1) << 13)
#define FRAME_FLAG_SWAPBACKED    (UINT64_C(1) << 14)
#define FRAME_FLAG_COMPOUND_HEAD (UINT64_C(1) << 15)
#define FRAME_FLAG_COMPOUND_TAIL (UINT64_C(1) << 16)
#define FRAME_FLAG_UNEVICTABLE   (UINT64_C(1) << 18)
#define FRAME_FLAG_MLOCKED       (UINT64_C(1) << 33)

#endif
