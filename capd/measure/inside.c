/* SPDX-License-Identifier: MIT */
/*
 * inside.c: of the pages that verify.c found to be the group's own, those that are mapped more than once.
 *
 * They are taken when they are judged: only frames whose mapping counts stood still are among them, so the set may lack a
 * frame of the group but never holds one of anybody else.
 *
 * The kernel reclaims a huge page (a compound page: mm/damon/ops-common.c, damon_get_folio()) as a whole whichever of its
 * frames it is given, so such a page is handed out whole or not at all: if each of its frames is in the set, or mapped once,
 * by the group, or not mapped by anybody.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "capd/measure/frame-words.h"
#include "capd/measure/inside.h"
#include "count-internal.h"

/* Frames of the largest compound page that is looked through: 1 GiB of 4 KiB pages is hugetlb and never gets here. */
#define COMPOUND_FRAMES 16384U
/* Counters apart by this many frames are still read together: an entry costs 60 ns in bulk, a call 400 ns and more. */
#define READ_GAP 8U

void inside_frames_done(struct inside_frames *f)
{
        free(f->ranges);
        free(f->mappings);
        *f = (struct inside_frames){};
}

/* -- while the count runs -- */

void inside_done(struct inside *in)
{
        frames_clear(&in->counts);
}

static bool is_inside(uint32_t mappings)
{
        return mappings >= 2;
}

/* How many frames of a chunk need swap to go. 0 or a negative errno. */
static int count_swap(struct inside *in, struct walk_context *x, uint64_t key,
                      const uint32_t own[static TALLY_COUNTERS])
{
        uint64_t flags[TALLY_COUNTERS];

        for (size_t first = 0, end; first < TALLY_COUNTERS; first = end) {
                size_t last = first;
                int r;

                end = first + 1;
                if (!is_inside(own[first]))
                        continue;
                for (; end < TALLY_COUNTERS && end - last <= READ_GAP; end++)
                        if (is_inside(own[end]))
                                last = end;
                r = frame_words_read(x->sys, x->kpageflags_fd, (key << TALLY_COUNTER_BITS) + first, last - first + 1,
                                     flags + first);
                if (r < 0)
                        return r;
                for (size_t i = first; i <= last; i++)
                        in->swap_pages += is_inside(own[i]) && flags[i] & (FRAME_FLAG_ANON | FRAME_FLAG_SWAPBACKED);
        }
        return 0;
}

int inside_add(struct inside *in, struct walk_context *x, uint64_t key, const uint32_t own[static TALLY_COUNTERS])
{
        uint32_t *kept = NULL;
        uint64_t n = 0;

        for (size_t i = 0; i < TALLY_COUNTERS; i++)
                n += is_inside(own[i]);
        if (n == 0)
                return 0;
        in->pages += n;
        if (!in->kinds_unknown && (x->kpageflags_fd < 0 || count_swap(in, x, key, own) < 0))
                in->kinds_unknown = true;
        if (!in->keep)
                return 0;
        kept = (uint32_t *)frames_chunk_add(&in->counts, key);
        if (!kept)
                return -ENOMEM;
        for (size_t i = 0; i < TALLY_COUNTERS; i++)
                if (is_inside(own[i]))
                        kept[i] = own[i];
        return 0;
}

void inside_result(const struct inside *in, uint64_t page_size, uint64_t *ret_bytes, uint64_t *ret_swap)
{
        *ret_bytes = in->pages * page_size;
        *ret_swap = in->kinds_unknown ? SIZE_UNKNOWN : in->swap_pages * page_size;
}

/* -- as ranges -- */

struct builder {
        const struct inside *in;
        const struct frames *resident; /* all of the group */
        const struct sys *sys;
        int kpageflags_fd, kpagecount_fd;
        uint64_t page_size;
        bool swap;
        uint64_t done; /* frames before this one have been dealt with */
        struct inside_frames out;
        size_t ranges_allocated, frames_allocated;
};

static uint32_t own_mappings(const struct builder *b, uint64_t frame)
{
        const uint32_t *counters = (const uint32_t *)frames_chunk(&b->in->counts, frame >> TALLY_COUNTER_BITS);

        return counters ? counters[frame & (TALLY_COUNTERS - 1)] : 0;
}

static int make_room(void **items, size_t *allocated, size_t n, size_t more, size_t item_size)
{
        size_t want = *allocated ? *allocated : 256;
        void *bigger;

        while (want < n + more)
                want *= 2;
        if (want == *allocated)
                return 0;
        bigger = reallocarray(*items, want, item_size);
        if (!bigger)
                return -ENOMEM;
        *items = bigger;
        *allocated = want;
        return 0;
}

/* Puts n frames (one page, or the whole of a huge one) into the ranges. 0 or -ENOMEM. */
static int append(struct builder *b, uint64_t frame, size_t n, const uint64_t *mappings)
{
        struct inside_frames *o = &b->out;
        uint64_t start = frame * b->page_size;
        bool touches = o->n_ranges > 0 && o->ranges[o->n_ranges - 1].end == start;

        if ((!touches && o->n_ranges == LIMIT_INSIDE_RANGES) || o->n_frames + n > LIMIT_INSIDE_FRAMES) {
                o->left_over += n * b->page_size;
                return 0;
        }
        if (make_room((void **)&o->ranges, &b->ranges_allocated, o->n_ranges, 1, sizeof(*o->ranges)) < 0 ||
            make_room((void **)&o->mappings, &b->frames_allocated, o->n_frames, n, sizeof(*o->mappings)) < 0)
                return -ENOMEM;
        if (!touches)
                o->ranges[o->n_ranges++].start = start;
        o->ranges[o->n_ranges - 1].end = start + n * b->page_size;
        for (size_t i = 0; i < n; i++)
                o->mappings[o->n_frames++] =
                                (uint32_t)MIN(mappings[i], (uint64_t)INSIDE_MAPPINGS_MASK) | (i > 0 ? INSIDE_TAIL : 0);
        o->bytes += n * b->page_size;
        return 0;
}

/* What keeps a page of these flags from going, as the figure that it is booked to; NULL: nothing. */
static uint64_t *obstacle(struct builder *b, uint64_t flags)
{
        if (flags & (FRAME_FLAG_UNEVICTABLE | FRAME_FLAG_MLOCKED))
                return &b->out.left_locked;
        if (!b->swap && flags & (FRAME_FLAG_ANON | FRAME_FLAG_SWAPBACKED))
                return &b->out.left_no_swap;
        return NULL;
}

/* The first frame of the compound page that `frame` is in. 0 or a negative errno; -E2BIG none was found. */
static int find_head(const struct builder *b, uint64_t frame, uint64_t *ret)
{
        uint64_t flags[TALLY_COUNTERS];

        for (uint64_t end = frame + 1; end > 0 && frame + 1 - end < COMPOUND_FRAMES;) {
                uint64_t first = (end - 1) & ~(uint64_t)(TALLY_COUNTERS - 1);
                int r = frame_words_read(b->sys, b->kpageflags_fd, first, end - first, flags);

                if (r < 0)
                        return r;
                for (; end > first; end--)
                        if (!(flags[end - 1 - first] & FRAME_FLAG_COMPOUND_TAIL)) {
                                *ret = end - 1;
                                return flags[end - 1 - first] & FRAME_FLAG_COMPOUND_HEAD ? 0 : -E2BIG;
                        }
        }
        return -E2BIG;
}

/* How many frames the compound page has that begins at `head`. 0 or a negative errno. */
static int find_size(const struct builder *b, uint64_t head, size_t *ret)
{
        uint64_t flags[TALLY_COUNTERS];

        for (size_t n = 1; n < COMPOUND_FRAMES;) {
                int r = frame_words_read(b->sys, b->kpageflags_fd, head + n, TALLY_COUNTERS, flags);

                if (r < 0)
                        return r;
                for (size_t i = 0; i < TALLY_COUNTERS; i++, n++)
                        if (!(flags[i] & FRAME_FLAG_COMPOUND_TAIL)) {
                                *ret = n;
                                return 0;
                        }
        }
        return -E2BIG;
}

/* Whether nobody but the group maps any of n frames, and how many of them are in the set. */
static bool is_whole(const struct builder *b, uint64_t head, size_t n, const uint64_t *host, uint64_t *ret_own)
{
        bool whole = true;

        *ret_own = 0;
        for (size_t i = 0; i < n; i++) {
                bool own = own_mappings(b, head + i) > 0;

                *ret_own += own;
                whole = whole && (own || host[i] == 0 || (host[i] == 1 && frames_has(b->resident, head + i)));
        }
        return whole;
}

/* The compound page that a frame of the set is in. 0 or a negative errno. */
static int take_compound(struct builder *b, uint64_t frame, uint64_t flags)
{
        _cleanup_free_ uint64_t *host = NULL;
        uint64_t head, own, *left;
        size_t n;
        int r;

        r = find_head(b, frame, &head);
        if (r == 0)
                r = find_size(b, head, &n);
        /* it is being split or put together at this moment */
        if (r == -E2BIG || (r == 0 && (head < b->done || frame >= head + n))) {
                b->out.left_partly += b->page_size;
                b->done = frame + 1;
                return 0;
        }
        if (r < 0)
                return r;
        host = reallocarray(NULL, n, sizeof(*host));
        if (!host)
                return -ENOMEM;
        r = frame_words_read(b->sys, b->kpagecount_fd, head, n, host);
        if (r < 0)
                return r;
        b->done = head + n;
        left = is_whole(b, head, n, host, &own) ? obstacle(b, flags) : &b->out.left_partly;
        if (!left)
                return append(b, head, n, host);
        *left += own * b->page_size;
        return 0;
}

static int take_frame(struct builder *b, uint64_t frame, uint64_t mappings, uint64_t flags)
{
        uint64_t *left;

        if (frame < b->done)
                return 0;
        if (flags & (FRAME_FLAG_COMPOUND_HEAD | FRAME_FLAG_COMPOUND_TAIL))
                return take_compound(b, frame, flags);
        b->done = frame + 1;
        left = obstacle(b, flags);
        if (!left)
                return append(b, frame, 1, &mappings);
        *left += b->page_size;
        return 0;
}

static int compare_keys(const void *a, const void *b)
{
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return x < y ? -1 : x > y;
}

/* The chunks of a set in ascending order. NULL: no memory. */
static uint64_t *sorted_keys(const struct frames *f)
{
        uint64_t *keys = reallocarray(NULL, f->n_chunks + 1, sizeof(*keys)), *words;
        size_t n = 0;

        if (!keys)
                return NULL;
        for (size_t slot = 0; frames_next_chunk(f, &slot, &keys[n], &words);)
                n++;
        qsort(keys, n, sizeof(*keys), compare_keys);
        return keys;
}

static int build(struct builder *b)
{
        _cleanup_free_ uint64_t *keys = sorted_keys(&b->in->counts);

        if (!keys)
                return -ENOMEM;
        for (size_t k = 0; k < b->in->counts.n_chunks; k++) {
                const uint32_t *counters = (const uint32_t *)frames_chunk(&b->in->counts, keys[k]);
                uint64_t first = keys[k] << TALLY_COUNTER_BITS, flags[TALLY_COUNTERS];
                int r = frame_words_read(b->sys, b->kpageflags_fd, first, TALLY_COUNTERS, flags);

                for (size_t i = 0; i < TALLY_COUNTERS && r == 0; i++)
                        if (counters[i] > 0)
                                r = take_frame(b, first + i, counters[i], flags[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

int count_take_inside(struct count *c, uint32_t group, bool swap, struct inside_frames *ret)
{
        _cleanup_(walk_context_freep) struct walk_context *x = NULL;
        struct builder b = {.sys = c->sys, .page_size = c->features->page_size, .swap = swap};
        struct inside *in;
        int r;

        if (group >= c->n_groups || !c->groups[group].finished || !c->groups[group].result.have_private ||
            !c->groups[group].verify.inside.keep)
                return -ENODATA;
        in = &c->groups[group].verify.inside;
        r = walk_context_new(c->sys, c->features, &x);
        if (r < 0)
                return r;
        if (x->kpageflags_fd < 0 || x->kpagecount_fd < 0)
                return -EOPNOTSUPP;
        b.in = in;
        b.resident = &c->groups[group].tally.resident;
        b.kpageflags_fd = x->kpageflags_fd;
        b.kpagecount_fd = x->kpagecount_fd;
        r = build(&b);
        if (r < 0) {
                inside_frames_done(&b.out);
                return r;
        }
        inside_done(in);
        in->keep = false;
        *ret = b.out;
        return 0;
}
