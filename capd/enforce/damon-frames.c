/* SPDX-License-Identifier: MIT */
/* damon-frames.c: which frames are handed to DAMON next, and what became of them. */
#include <errno.h>
#include <stdlib.h>

#include "capd/measure/frame-words.h"
#include "damon-internal.h"

/* Frames looked at together. */
#define WINDOW 512U

/* As in act.c: a page is freed when it has been written, at the earliest. */
static const usec_t freed_delays[] = {0, 10 * USEC_PER_MSEC, 40 * USEC_PER_MSEC, 150 * USEC_PER_MSEC};

/* The first frame at or after the cursor. */
void frames_find_cursor(struct damon *d)
{
        d->range = d->frame = 0;
        while (d->range < d->frames.n_ranges && d->frames.ranges[d->range].end <= d->cursor)
                d->range++;
        if (d->range == d->frames.n_ranges)
                d->range = 0;
        else if (d->cursor > d->frames.ranges[d->range].start)
                d->frame = (size_t)((d->cursor - d->frames.ranges[d->range].start) / d->page_size);
        while (d->frame > 0 && d->frames.mappings[d->first[d->range] + d->frame] & INSIDE_TAIL)
                d->frame--;
}

/* -- portions -- */

static uint64_t frame_number(const struct damon *d, size_t range, size_t frame)
{
        return d->frames.ranges[range].start / d->page_size + frame;
}

static size_t range_frames(const struct damon *d, size_t range)
{
        return (size_t)((d->frames.ranges[range].end - d->frames.ranges[range].start) / d->page_size);
}

/* Frames of a page: 1, or those of a huge one from its first frame on. */
static size_t unit_size(const struct damon *d, size_t index, size_t limit)
{
        size_t n = 1;

        while (n < limit && d->frames.mappings[index + n] & INSIDE_TAIL)
                n++;
        return n;
}

/* Adds a page to the portion. False: the portion is full without it. */
static bool portion_add(struct damon *d, size_t index, uint64_t number, size_t n, uint64_t mappings, uint64_t room)
{
        struct portion *p = &d->portion;
        uint64_t start = number * d->page_size, bytes = n * d->page_size;
        bool touches = p->n > 0 && p->ranges[p->n - 1].end == start;

        /* the first page may be more than there is room for: else a huge page would never go */
        if (p->n > 0 &&
            (p->bytes + bytes > room || p->mappings + mappings > d->pace || (!touches && p->n == LIMIT_DAMON_RANGES)))
                return false;
        if (!touches) {
                p->ranges[p->n].start = start;
                p->frames[p->n++] = index;
        }
        p->ranges[p->n - 1].end = start + bytes;
        p->bytes += bytes;
        p->mappings += mappings;
        return true;
}

/* Whether the page of n frames is mapped as it was, and how often in all. */
static bool is_unchanged(const struct damon *d, size_t index, size_t n, const uint64_t *now, uint64_t *ret_mappings)
{
        *ret_mappings = 0;
        for (size_t i = 0; i < n; i++) {
                if (now[i] != (d->frames.mappings[index + i] & INSIDE_MAPPINGS_MASK))
                        return false;
                *ret_mappings += now[i];
        }
        return true;
}

/* Of the current range, from the current frame on. 1 the portion is full, 0 the range is at its end, or a negative errno. */
static int fill_from_range(struct damon *d, uint64_t room)
{
        _cleanup_free_ uint64_t *now = NULL;
        size_t size = range_frames(d, d->range), begin = d->frame, n = 0;

        while (d->frame < size && d->ahead > 0) {
                size_t index = d->first[d->range] + d->frame, unit = unit_size(d, index, size - d->frame);
                uint64_t mappings;

                if (!now || d->frame + unit > begin + n) {
                        int r;

                        free(now);
                        begin = d->frame;
                        n = MIN(MAX((size_t)WINDOW, unit), size - begin);
                        now = reallocarray(NULL, n, sizeof(*now));
                        if (!now)
                                return -ENOMEM;
                        r = frame_words_read(d->sys, d->kpagecount_fd, frame_number(d, d->range, begin), n, now);
                        if (r < 0)
                                return r;
                }
                /* which also leaves out what went in an earlier pass */
                if (is_unchanged(d, index, unit, now + (d->frame - begin), &mappings) &&
                    !portion_add(d, index, frame_number(d, d->range, d->frame), unit, mappings, room))
                        return 1;
                d->frame += unit;
                d->ahead -= MIN(unit, d->ahead);
                if (d->portion.bytes >= room)
                        return 1;
        }
        return 0;
}

int portion_fill(struct damon *d)
{
        uint64_t room = d->goal - MIN(d->goal, d->result.unmapped);

        d->portion.n = 0;
        d->portion.bytes = d->portion.mappings = 0;
        while (d->ahead > 0) {
                int r = fill_from_range(d, room);

                if (r != 0)
                        return MIN(r, 0);
                d->frame = 0;
                d->range = (d->range + 1) % d->frames.n_ranges;
                /* ranges are ascending in what DAMON is given: the next portion begins at the first */
                if (d->range == 0 && d->portion.n > 0)
                        break;
        }
        return 0;
}

/* -- what became of them -- */

static enum fate fate_of(uint64_t count, uint64_t flags)
{
        if (count > 0)
                return FATE_STAYED;
        /* a free frame, also one that waits in a list of a CPU, is on no list for reclaim and in no cache */
        return flags & (FRAME_FLAG_LRU | FRAME_FLAG_SWAPCACHE | FRAME_FLAG_WRITEBACK) ? FATE_HELD : FATE_FREED;
}

static int look_at_range(struct damon *d, size_t index, uint64_t number, size_t n)
{
        uint64_t counts[WINDOW], flags[WINDOW];

        for (size_t done = 0; done < n;) {
                size_t now = MIN((size_t)WINDOW, n - done);
                int r = frame_words_read(d->sys, d->kpagecount_fd, number + done, now, counts);

                if (r == 0)
                        r = frame_words_read(d->sys, d->kpageflags_fd, number + done, now, flags);
                if (r < 0)
                        return r;
                for (size_t i = 0; i < now; i++) {
                        uint8_t *fate = &d->fates[index + done + i];
                        bool mapped = (d->frames.mappings[index + done + i] & INSIDE_MAPPINGS_MASK) > 0;
                        bool was_there = *fate < FATE_HELD;

                        *fate = fate_of(counts[i], flags[i]);
                        /* parts of a huge page that nobody mapped are no loss to the group */
                        if (*fate >= FATE_HELD && was_there && mapped)
                                d->result.unmapped += d->page_size;
                }
                done += now;
        }
        return 0;
}

int portion_look(struct damon *d)
{
        const struct portion *p = &d->portion;

        for (size_t i = 0; i < p->n; i++) {
                int r = look_at_range(d, p->frames[i], p->ranges[i].start / d->page_size,
                                      (size_t)((p->ranges[i].end - p->ranges[i].start) / d->page_size));

                if (r < 0)
                        return r;
        }
        return 0;
}

static uint64_t *reason_of(struct act_result *s, uint64_t flags)
{
        if (flags & (FRAME_FLAG_UNEVICTABLE | FRAME_FLAG_MLOCKED))
                return &s->left_locked;
        if (!(flags & (FRAME_FLAG_ANON | FRAME_FLAG_SWAPBACKED)) && flags & (FRAME_FLAG_DIRTY | FRAME_FLAG_WRITEBACK))
                return &s->left_dirty;
        return &s->left_busy;
}

/* Frames of one range at the end: which are free by now, and why others stayed. */
static void judge_frames(struct damon *d, size_t index, size_t n, const uint64_t *flags, bool last, bool *ret_writing)
{
        for (size_t i = 0; i < n; i++) {
                uint8_t *fate = &d->fates[index + i];

                if (*fate == FATE_HELD && fate_of(0, flags[i]) == FATE_FREED)
                        *fate = FATE_FREED;
                *ret_writing = *ret_writing || (*fate == FATE_HELD && flags[i] & FRAME_FLAG_WRITEBACK);
                if (last && *fate == FATE_FREED)
                        d->result.freed += d->page_size;
                if (last && *fate == FATE_STAYED)
                        *reason_of(&d->result, flags[i]) += d->page_size;
        }
}

static bool any_tried(const struct damon *d, size_t index, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (d->fates[index + i] != FATE_UNTRIED)
                        return true;
        return false;
}

static int judge_all(struct damon *d, bool last, bool *ret_writing)
{
        uint64_t flags[WINDOW];

        *ret_writing = false;
        for (size_t range = 0; range < d->frames.n_ranges; range++)
                for (size_t size = range_frames(d, range), done = 0; done < size;) {
                        size_t n = MIN((size_t)WINDOW, size - done), index = d->first[range] + done;
                        int r = 0;

                        if (any_tried(d, index, n)) {
                                r = frame_words_read(d->sys, d->kpageflags_fd, frame_number(d, range, done), n, flags);
                                if (r < 0)
                                        return r;
                                judge_frames(d, index, n, flags, last, ret_writing);
                        }
                        done += n;
                }
        return 0;
}

void frames_conclude(struct damon *d, struct guard *guard)
{
        bool writing = true, unused;
        int r = 0;

        d->result.left_locked = d->frames.left_locked;
        d->result.left_no_swap = d->frames.left_no_swap;
        d->result.left_shared = d->frames.left_partly;
        for (size_t i = 0; i < ARRAY_SIZE(freed_delays) && writing && r == 0; i++) {
                if (freed_delays[i] > 0) {
                        if (guard_stopping(guard))
                                break;
                        d->sys->ops->sleep(d->sys, freed_delays[i]);
                }
                r = judge_all(d, false, &writing);
        }
        if (r == 0)
                r = judge_all(d, true, &unused);
        if (r < 0)
                d->result.freed = d->result.unmapped > 0 ? SIZE_UNKNOWN : 0;
}
