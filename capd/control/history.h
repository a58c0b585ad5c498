/* SPDX-License-Identifier: MIT */
/*
 * history.h: what the groups were like over time.
 *
 * A ring of points a group. A point is the time from `at` until `until` and what held in it; points of one stretch without a gap
 * meet. While nothing changes the last point grows. When a ring is full, neighbours become one point, those first whose time
 * is short beside their age: so the last minutes are kept as they were seen, and the past is coarser the older it is.
 * Becoming one loses no peak: sizes are the largest, the state is the gravest, and what was paged out and came back is summed up.
 *
 * All rings together take no more memory than they were given. Names of groups that are gone stay until their time is over, or
 * until somebody else needs the room.
 *
 * Times are microseconds of CLOCK_MONOTONIC, negative for what an earlier boot has left. No clock is read here.
 */
#ifndef CAPD_CONTROL_HISTORY_H
#define CAPD_CONTROL_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "capd/limits.h"
#include "capd/wire.h"

struct history_point {
        int64_t at, until;
        /* SIZE_UNKNOWN where it is not known, or there is no cap */
        uint64_t resident, rss_sum, cap, watermark;
        /* bytes, in this time */
        uint64_t paged_out, refaulted, freed;
        uint8_t state, quality; /* enum group_state; enum quality, of `resident` */
        uint8_t unused[6];
};

struct history_ring {
        char name[LIMIT_GROUP_NAME_BYTES];
        int64_t seen_at; /* the last point was added or grew */
        bool counting;   /* what follows is known */
        uint64_t paged_out_total, refaulted_total, freed_total;
        struct history_point *points; /* the oldest first */
        size_t n, allocated;
};

struct history {
        usec_t time;                 /* older points are forgotten */
        uint64_t bytes;              /* of all rings; 0: nothing is kept */
        struct history_ring **rings; /* by name */
        size_t n, allocated;
        bool crowded; /* groups were left out for want of room */
};

void history_done(struct history *h);
/* At any time; what is over the new limits goes at the next history_add(). */
void history_configure(struct history *h, usec_t time, uint64_t bytes);
/*
 * Adds what `groups` (by_name: their indices, sorted by name) are like at `now`; a time up to `patience` without a
 * look is no gap. 0 or -ENOMEM, with some groups not added.
 */
int history_add(struct history *h, const struct wire_group *groups, const uint32_t *by_name, size_t n, int64_t now,
                usec_t patience);
const struct history_ring *history_find(const struct history *h, const char *name);
/*
 * Copies the part from `from` on, in at most about `max` points (0: as they are, LIMIT_HISTORY_POINTS at most). 0 or -ENOMEM.
 * The caller frees *ret, which is NULL if there is none.
 */
int history_copy(const struct history_ring *r, int64_t from, size_t max, struct history_point **ret, size_t *ret_n);

/* -- history-file.c: the same as a file. `realtime` is CLOCK_REALTIME at CLOCK_MONOTONIC 0. -- */

/* The caller frees *ret. 0 or -ENOMEM. */
int history_write(const struct history *h, int64_t realtime, void **ret, size_t *ret_size);
/*
 * Reads what history_write() made, in this boot or an earlier one, into an empty history. 0; -EBADMSG with *ret_why saying what is
 * wrong, and nothing read; -ENOMEM.
 */
int history_read(struct history *h, const void *data, size_t size, int64_t now, int64_t realtime, const char **ret_why);

#endif
