/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "capd/base/text.h"
#include "history.h"

/* Two looks within this time are one point: the engine publishes after every count. */
#define POINT_MIN_USEC (1 * USEC_PER_SEC)
/* A ring that cannot have so many points tells nothing: rather no ring. */
#define RING_MIN_POINTS 32U

static struct history_ring *ring_free(struct history_ring *r)
{
        if (r) {
                free(r->points);
                free(r);
        }
        return NULL;
}

void history_done(struct history *h)
{
        for (size_t i = 0; i < h->n; i++)
                ring_free(h->rings[i]);
        free(h->rings);
        *h = (struct history){0};
}

void history_configure(struct history *h, usec_t time, uint64_t bytes)
{
        h->time = MIN(time, (usec_t)LIMIT_HISTORY_USEC);
        h->bytes = MIN(bytes, (uint64_t)LIMIT_HISTORY_BYTES);
}

/* -- points -- */

/* What of two states is to be told of a time in which there were both. */
static unsigned gravity(uint8_t state)
{
        static const uint8_t order[_STATE_MAX] = {
                        [STATE_UNKNOWN] = 0,   [STATE_OK] = 1,   [STATE_PAUSED] = 2,    [STATE_OBSERVED] = 3,
                        [STATE_ENFORCING] = 4, [STATE_OVER] = 5, [STATE_THRASHING] = 6, [STATE_UNENFORCEABLE] = 7,
        };

        return order[state];
}

static uint64_t larger(uint64_t a, uint64_t b)
{
        if (a == SIZE_UNKNOWN || b == SIZE_UNKNOWN)
                return MIN(a, b); /* SIZE_UNKNOWN is the largest number */
        return MAX(a, b);
}

/* `next` comes right after `p`. */
static void merge(struct history_point *p, const struct history_point *next)
{
        if (p->resident == SIZE_UNKNOWN || (next->resident != SIZE_UNKNOWN && next->resident > p->resident)) {
                p->resident = next->resident;
                p->quality = next->quality;
        }
        p->until = next->until;
        p->rss_sum = larger(p->rss_sum, next->rss_sum);
        p->cap = next->cap;
        p->watermark = next->watermark;
        p->paged_out += next->paged_out;
        p->refaulted += next->refaulted;
        p->freed += next->freed;
        if (gravity(next->state) > gravity(p->state))
                p->state = next->state;
}

static bool nothing_moved(const struct history_point *p)
{
        return p->paged_out == 0 && p->refaulted == 0 && p->freed == 0;
}

static bool same(const struct history_point *a, const struct history_point *b)
{
        return a->resident == b->resident && a->rss_sum == b->rss_sum && a->cap == b->cap &&
               a->watermark == b->watermark && a->state == b->state && a->quality == b->quality && nothing_moved(a) &&
               nothing_moved(b);
}

/* -- one ring -- */

static void forget_first(struct history_ring *r, size_t n)
{
        memmove(r->points, r->points + n, (r->n - n) * sizeof(*r->points));
        r->n -= n;
}

static void forget_before(struct history_ring *r, int64_t from)
{
        size_t n = 0;

        while (n < r->n && r->points[n].until < from)
                n++;
        if (n > 0)
                forget_first(r, n);
}

/* One pass over the ring, the oldest first: neighbours whose common time is at most `ratio` of their age become one. */
static void thin_pass(struct history_ring *r, size_t target, int64_t now, double ratio)
{
        size_t kept = 0, left = r->n;

        for (size_t i = 0; i < r->n; i++) {
                struct history_point *p = &r->points[i];

                if (left > target && i + 1 < r->n && p->until == p[1].at &&
                    (double)(p[1].until - p->at) <= ratio * (double)(now - p[1].until)) {
                        merge(p, p + 1);
                        r->points[kept++] = *p;
                        i++;
                        left--;
                } else
                        r->points[kept++] = *p;
        }
        r->n = kept;
}

/* At most `max` points. A bit more goes than has to, so that this is not done for every point. */
static void thin(struct history_ring *r, size_t max, int64_t now)
{
        size_t target = max - max / 8;

        if (r->n <= max)
                return;
        for (double ratio = 0.5 / (double)max; r->n > target && ratio < 16; ratio *= 1.5)
                thin_pass(r, target, now, ratio);
        if (r->n > target) /* nothing but gaps */
                forget_first(r, r->n - target);
}

static int reserve(struct history_ring *r, size_t max)
{
        size_t want = MIN(MAX(2 * r->n, (size_t)RING_MIN_POINTS), max);
        struct history_point *points;

        if (r->n < r->allocated && r->allocated <= max)
                return 0;
        points = reallocarray(r->points, want, sizeof(*points));
        if (!points)
                return -ENOMEM;
        r->points = points;
        r->allocated = want;
        return 0;
}

/* What a counter grew by. One that is smaller than before began anew. */
static uint64_t growth(uint64_t total, uint64_t before)
{
        return total >= before ? total - before : total;
}

static struct history_point observe(struct history_ring *r, const struct wire_group *g, int64_t now)
{
        struct history_point p = {
                        .at = now,
                        .until = now,
                        .resident = g->sample.resident,
                        .rss_sum = g->sample.rss_sum,
                        .cap = g->cap,
                        .watermark = g->low_watermark,
                        .state = (uint8_t)g->state,
                        .quality = (uint8_t)g->sample.quality,
        };

        if (r->counting) {
                p.paged_out = growth(g->unmapped_total, r->paged_out_total);
                p.refaulted = growth(g->refaulted_total, r->refaulted_total);
                p.freed = growth(g->freed_total, r->freed_total);
        }
        r->paged_out_total = g->unmapped_total;
        r->refaulted_total = g->refaulted_total;
        r->freed_total = g->freed_total;
        r->counting = true;
        return p;
}

static int ring_add(struct history_ring *r, const struct wire_group *g, size_t max, int64_t now, usec_t patience)
{
        struct history_point p = observe(r, g, now), *last = r->n > 0 ? &r->points[r->n - 1] : NULL;
        int error;

        r->seen_at = now;
        /* what was true at the last look is taken to have been true until this one */
        if (last && now >= last->until && (usec_t)(now - last->until) <= patience)
                last->until = now;
        if (last && last->until == now && same(last, &p))
                return 0;
        if (last && last->until == now && (usec_t)(now - last->at) < POINT_MIN_USEC) {
                merge(last, &p);
                return 0;
        }
        thin(r, max - 1, now);
        error = reserve(r, max);
        if (error < 0)
                return error;
        r->points[r->n++] = p;
        return 0;
}

/* -- all of them -- */

static size_t position(const struct history *h, const char *name)
{
        size_t low = 0, high = h->n;

        while (low < high) {
                size_t middle = (low + high) / 2;

                if (strcmp(h->rings[middle]->name, name) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

const struct history_ring *history_find(const struct history *h, const char *name)
{
        size_t i = position(h, name);

        return i < h->n && strcmp(h->rings[i]->name, name) == 0 ? h->rings[i] : NULL;
}

static void remove_ring(struct history *h, size_t i)
{
        ring_free(h->rings[i]);
        memmove(h->rings + i, h->rings + i + 1, (h->n - i - 1) * sizeof(struct history_ring *));
        h->n--;
}

/* Points that each of `n` rings may have. */
static size_t share(const struct history *h, size_t n)
{
        uint64_t each = h->bytes / MAX(n, 1U);

        return each <= sizeof(struct history_ring)
                               ? 0
                               : (size_t)((each - sizeof(struct history_ring)) / sizeof(struct history_point));
}

/* Gives up the ring that has not grown for longest, if it has not at `now`. */
static bool forget_gone(struct history *h, int64_t now)
{
        size_t oldest = 0;

        for (size_t i = 1; i < h->n; i++)
                if (h->rings[i]->seen_at < h->rings[oldest]->seen_at)
                        oldest = i;
        if (h->n == 0 || h->rings[oldest]->seen_at >= now)
                return false;
        remove_ring(h, oldest);
        return true;
}

static int insert_ring(struct history *h, size_t at, const char *name)
{
        struct history_ring *r;

        if (h->n == h->allocated) {
                size_t want = MAX(2 * h->allocated, 16U);
                struct history_ring **rings = reallocarray(h->rings, want, sizeof(struct history_ring *));

                if (!rings)
                        return -ENOMEM;
                h->rings = rings;
                h->allocated = want;
        }
        r = calloc(1, sizeof(*r));
        if (!r)
                return -ENOMEM;
        text_copy(r->name, sizeof(r->name), name);
        memmove(h->rings + at + 1, h->rings + at, (h->n - at) * sizeof(struct history_ring *));
        h->rings[at] = r;
        h->n++;
        return 0;
}

/* Those that are there are seen first, so that the gone ones among them can be told. */
static void note_seen(struct history *h, const struct wire_group *groups, const uint32_t *by_name, size_t n,
                      int64_t now)
{
        for (size_t i = 0, j = 0; i < n && j < h->n;) {
                int c = strcmp(groups[by_name[i]].name, h->rings[j]->name);

                if (c == 0)
                        h->rings[j]->seen_at = now;
                i += c <= 0;
                j += c >= 0;
        }
}

static void forget_old(struct history *h, int64_t now)
{
        int64_t from = now - (int64_t)h->time;

        for (size_t i = h->n; i-- > 0;) {
                forget_before(h->rings[i], from);
                if (h->rings[i]->seen_at < from)
                        remove_ring(h, i);
        }
}

/* Rings for all that have none, as far as there is room. */
static int admit(struct history *h, const struct wire_group *groups, const uint32_t *by_name, size_t n, int64_t now)
{
        h->crowded = false;
        for (size_t i = 0; i < n; i++) {
                const char *name = groups[by_name[i]].name;
                int r;

                if (history_find(h, name))
                        continue;
                while (share(h, h->n + 1) < RING_MIN_POINTS)
                        if (!forget_gone(h, now)) {
                                h->crowded = true;
                                return 0;
                        }
                r = insert_ring(h, position(h, name), name);
                if (r < 0)
                        return r;
                h->rings[position(h, name)]->seen_at = now;
        }
        return 0;
}

static void fit(struct history *h, int64_t now)
{
        size_t max;

        while (h->n > 0 && share(h, h->n) < RING_MIN_POINTS)
                if (!forget_gone(h, now))
                        remove_ring(h, h->n - 1);
        max = share(h, h->n);
        for (size_t i = 0; i < h->n; i++) {
                struct history_ring *r = h->rings[i];

                thin(r, max, now);
                if (r->allocated > max && reserve(r, max) < 0)
                        return; /* it stays as large as it is until there is memory to make it smaller */
        }
}

int history_add(struct history *h, const struct wire_group *groups, const uint32_t *by_name, size_t n, int64_t now,
                usec_t patience)
{
        size_t max;
        int r;

        if (h->bytes == 0) {
                history_done(h);
                return 0;
        }
        note_seen(h, groups, by_name, n, now);
        forget_old(h, now);
        fit(h, now);
        r = admit(h, groups, by_name, n, now);
        if (r < 0)
                return r;
        fit(h, now);
        max = share(h, h->n);
        for (size_t i = 0, j = 0; r == 0 && i < n && j < h->n;) {
                const struct wire_group *g = &groups[by_name[i]];
                int c = strcmp(g->name, h->rings[j]->name);

                if (c == 0)
                        r = ring_add(h->rings[j], g, max, now, patience);
                i += c <= 0;
                j += c >= 0;
        }
        return r;
}

/* -- reading it back -- */

int history_copy(const struct history_ring *r, int64_t from, size_t max, struct history_point **ret, size_t *ret_n)
{
        struct history_point *points;
        int64_t step = 0;
        size_t first = 0, n = 0;

        while (first < r->n && r->points[first].until < from)
                first++;
        if (first == r->n) {
                *ret = NULL;
                *ret_n = 0;
                return 0;
        }
        if (max == 0 || max > LIMIT_HISTORY_POINTS)
                max = LIMIT_HISTORY_POINTS;
        points = calloc(r->n - first, sizeof(*points));
        if (!points)
                return -ENOMEM;
        if (r->n - first > max) /* any two neighbours that stay are longer than this together */
                step = 2 * (r->points[r->n - 1].until - MAX(from, r->points[first].at)) / (int64_t)max;
        for (size_t i = first; i < r->n; i++) {
                const struct history_point *p = &r->points[i];

                if (n > 0 && points[n - 1].until == p->at && p->until - points[n - 1].at <= step)
                        merge(&points[n - 1], p);
                else
                        points[n++] = *p;
        }
        *ret = points;
        *ret_n = n;
        return 0;
}
