/* SPDX-License-Identifier: MIT */
/* damon-internal.h: an act by DAMON, shared by damon.c (what is done) and damon-frames.c (to which frames, and what became of them). */
#ifndef CAPD_ENFORCE_DAMON_INTERNAL_H
#define CAPD_ENFORCE_DAMON_INTERNAL_H

#include "capd/enforce/damon.h"
#include "capd/limits.h"
#include "damon-sysfs.h"

enum fate {
        FATE_UNTRIED,
        FATE_STAYED, /* handed over, and still mapped */
        FATE_HELD,   /* nobody maps it any more, but the frame is not free */
        FATE_FREED,
};

/* Frames by their index in the act: range after range. */
struct portion {
        struct frame_range ranges[LIMIT_DAMON_RANGES];
        size_t frames[LIMIT_DAMON_RANGES]; /* index of the first of each */
        size_t n;
        uint64_t bytes, mappings;
};

struct damon {
        const struct sys *sys;
        uint64_t page_size;
        uint64_t goal, cursor;
        bool any;
        usec_t max_time, deadline;
        int runtime_fd;

        struct inside_frames frames;
        size_t *first; /* index of the first frame of each range */
        uint8_t *fates;

        struct dsysfs sysfs;
        int kpagecount_fd, kpageflags_fd;
        struct portion portion;
        /* the next frame to be handed over, and how many more there are in this pass */
        size_t range, frame, ahead;
        uint64_t pace; /* mappings of a portion */
        bool given_up;
        struct act_result result;
        char problem[192];
};

/* The first frame at or after the cursor is the next. */
void frames_find_cursor(struct damon *d);
/* Makes a portion of the next pages. 0 (none are left if it is empty) or a negative errno. */
int portion_fill(struct damon *d);
/* What became of its frames, right after they were acted on. 0 or a negative errno. */
int portion_look(struct damon *d);
/* The final figures. */
void frames_conclude(struct damon *d, struct guard *guard);

#endif
