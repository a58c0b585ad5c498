/* SPDX-License-Identifier: MIT */
/*
 * sparse.c: where the pages are in mappings that are nearly empty.
 *
 * A reserved heap of 16 TiB has 4 Gi entries to read, 5 s and more, for the few pages in it. PAGEMAP_SCAN (Linux 6.7) passes over
 * holes by whole page tables. It holds the mmap lock until it has found what it was asked for, so it is asked for little: so many pages, so many
 * ranges, and an address range that grows while the answers come fast.
 *
 * Before 6.7 no file of /proc skips holes and tells places. smaps tells how many pages a mapping holds, which settles empty
 * mappings, and tells when all have been found in the others. There the places are tried in the order in which programs
 * use a big mapping: both ends, then the surroundings of whatever was found, then what address sanitizers keep there for the other
 * mappings, then ever finer strides, which ends in having read all. If the time of LIMIT_PROBE_USEC ends first, the process
 * counts as not read (-ETIME): the group's figure is a lower bound and says so.
 */
#include <errno.h>
#include <string.h>

#include "walk-internal.h"

/* include/uapi/linux/fs.h of 6.7 */
#define PAGE_IS_PRESENT (UINT64_C(1) << 3)
#define PAGE_IS_SWAPPED (UINT64_C(1) << 4)
struct scan_region {
        uint64_t start, end, categories;
};
struct scan_arg {
        uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
        uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
_Static_assert(sizeof(struct scan_arg) == 96, "struct pm_scan_arg");

#define SCAN_REGIONS 64U
#define SCAN_PAGES   32768U /* 128 MiB of pages in one call, some 0.2 ms */
/* The kernel may hold the lock for the whole of a call: its length is steered between these parts of MaxStall. */
#define SCAN_FAST     8U
#define SCAN_SLOW     2U
#define SCAN_STEP_MIN (64 * MIB)
#define SCAN_STEP_MAX (UINT64_C(1) << 50)

/* A mapping up to this is read at once. */
#define SMALL_PAGES 1024U
/* smaps found so few pages in a mapping that looking for them is cheaper than reading it. */
#define SPARSE_RATIO 32U
/* 2 MiB blocks tried at either end of a mapping. */
#define END_BLOCKS 32U
/* Where address sanitizers on x86-64 keep one byte for eight: compiler-rt, asan_mapping.h. */
#define ASAN_SHADOW(address) (((address) >> 3) + UINT64_C(0x7fff8000))

void extents_done(struct extents *e)
{
        free(e->items);
        *e = (struct extents){};
}

static int extents_add(struct extents *e, uint64_t start, uint64_t end)
{
        if (e->n > 0 && start <= e->items[e->n - 1].end && start >= e->items[e->n - 1].start) {
                e->items[e->n - 1].end = MAX(e->items[e->n - 1].end, end);
                return 0;
        }
        if (e->n == e->allocated) {
                size_t n = e->allocated ? e->allocated * 2 : SCAN_REGIONS;
                struct extent *items = reallocarray(e->items, n, sizeof(*items));

                if (!items)
                        return -ENOMEM;
                e->items = items;
                e->allocated = n;
        }
        e->items[e->n++] = (struct extent){start, end};
        return 0;
}

static uint64_t block_bytes(const struct walk *w)
{
        return HUGE_PAGES * w->context->features->page_size;
}

bool sparse_wants(const struct walk *w, const struct vma *v)
{
        uint64_t pages = (v->v.end - v->v.start) / w->context->features->page_size;

        if (w->sparse == SPARSE_NOT || pages <= SMALL_PAGES)
                return false;
        return w->sparse == SPARSE_SCAN || pages / SPARSE_RATIO > v->expected;
}

/* -- with PAGEMAP_SCAN -- */

/* Address space of the next call, by what one took. */
static void adapt_step(struct walk *w, usec_t took)
{
        if (took < w->context->max_stall / SCAN_FAST && w->scan_step < SCAN_STEP_MAX)
                w->scan_step *= 4;
        else if (took > w->context->max_stall / SCAN_SLOW && w->scan_step > SCAN_STEP_MIN)
                w->scan_step /= 4;
}

/* The ranges of pages in [from, end) of a mapping, widened to 2 MiB; *ret_until: how far was looked. */
static int scan(struct walk *w, const struct vma *v, uint64_t from, uint64_t end, uint64_t *ret_until)
{
        struct scan_region regions[SCAN_REGIONS];
        struct scan_arg arg = {
                        .size = sizeof(arg),
                        .start = from,
                        .end = end,
                        .vec = (uint64_t)(uintptr_t)regions,
                        .vec_len = SCAN_REGIONS,
                        .max_pages = SCAN_PAGES,
                        .category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
                        .return_mask = PAGE_IS_PRESENT,
        };
        const struct sys *sys = w->context->sys;
        uint64_t until = from;
        int64_t began = walk_hold(w), took;
        int n;

        if (began < 0)
                return (int)began;
        n = sys->ops->pagemap_scan(sys, w->pagemap_fd, &arg);
        took = walk_let_go(w, began);
        if (took < 0)
                return (int)took;
        if (n < 0)
                return n;
        adapt_step(w, (usec_t)took);
        for (int i = 0; i < MIN(n, (int)SCAN_REGIONS); i++) {
                uint64_t start = MAX(regions[i].start & ~(block_bytes(w) - 1), v->v.start);
                uint64_t stop = MIN((regions[i].end + block_bytes(w) - 1) & ~(block_bytes(w) - 1), v->v.end);
                int r;

                if (regions[i].start < from || regions[i].end > end || stop <= start)
                        return -EIO;
                r = extents_add(&w->extents, start, stop);
                if (r < 0)
                        return r;
                until = stop;
        }
        if (arg.walk_end <= from || arg.walk_end > end)
                return -EIO;
        *ret_until = MAX(until, arg.walk_end);
        return 0;
}

static int find_by_scan(struct walk *w, const struct vma *v)
{
        uint64_t from = MAX(w->extents_until, w->at), end = walk_stretch_end(w, v);
        int r;

        w->extents.n = 0;
        w->next_extent = 0;
        while (from < end && w->extents.n == 0) {
                if (guard_stopping(w->guard))
                        return -ECANCELED;
                r = scan(w, v, from, end - from > w->scan_step ? from + w->scan_step : end, &from);
                if (r == -EINTR)
                        continue;
                if (r < 0)
                        return r;
        }
        w->extents_until = from;
        return 0;
}

/* -- without -- */

struct probe {
        struct walk *walk;
        const struct vma *vma;
        struct object *object;
        uint64_t first, n;   /* 2 MiB blocks, counted from address 0 */
        struct frames tried; /* blocks */
        uint64_t found;      /* pages */
};

/* Tries one block: the number of pages in it (0 if it was tried before), or a negative errno. */
static ssize_t try_block(struct probe *p, uint64_t block)
{
        struct walk *w = p->walk;
        uint64_t start = MAX(block * block_bytes(w), p->vma->v.start);
        uint64_t end = MIN((block + 1) * block_bytes(w), p->vma->v.end);
        size_t n = (end - start) / w->context->features->page_size, found;
        int r;

        r = frames_add(&p->tried, block);
        if (r <= 0)
                return r;
        if (w->context->sys->ops->now(w->context->sys) > w->probe_deadline)
                return -ETIME;
        r = walk_read_raw(w, start, n, w->scratch);
        if (r < 0)
                return r;
        r = rules_apply(w->context, p->vma, p->object, start, w->scratch, n, &found);
        if (r < 0)
                return r;
        p->found += found;
        if (found > 0) {
                r = extents_add(&w->extents, start, end);
                if (r < 0)
                        return r;
        }
        return (ssize_t)found;
}

/* Tries a block and, where it holds something, its neighbours as far as they do. 1: all pages have been found; 0; or a negative errno. */
static int try_around(struct probe *p, uint64_t block)
{
        uint64_t end = p->first + p->n;
        ssize_t r;

        if (block < p->first || block >= end)
                return 0;
        r = try_block(p, block);
        if (r > 0) {
                for (uint64_t b = block + 1; r > 0 && b < end && p->found < p->vma->expected; b++)
                        r = try_block(p, b);
                if (r >= 0)
                        r = 1;
                for (uint64_t b = block; r > 0 && b > p->first && p->found < p->vma->expected; b--)
                        r = try_block(p, b - 1);
        }
        if (r < 0)
                return (int)r;
        return p->found >= p->vma->expected;
}

static int try_ends(struct probe *p)
{
        for (uint64_t i = 0; i < MIN(p->n, (uint64_t)END_BLOCKS); i++) {
                int r = try_around(p, p->first + i);

                if (r == 0)
                        r = try_around(p, p->first + p->n - 1 - i);
                if (r != 0)
                        return r;
        }
        return 0;
}

static int try_shadows(struct probe *p)
{
        for (size_t i = 0; i < p->walk->vmas.n; i++) {
                const struct vma *other = &p->walk->vmas.items[i];
                uint64_t low = ASAN_SHADOW(other->v.start) / block_bytes(p->walk);
                uint64_t high = ASAN_SHADOW(other->v.end - 1) / block_bytes(p->walk);

                if (other->expected == 0 || other == p->vma)
                        continue;
                for (uint64_t k = 0; k < END_BLOCKS && low + k <= high; k++) {
                        int r = try_around(p, low + k);

                        if (r == 0)
                                r = try_around(p, high - k);
                        if (r != 0)
                                return r;
                }
        }
        return 0;
}

/*
 * Halves, quarters, eighths and so on: programs divide what they reserve. Every place is computed anew, since a stride that is
 * rounded and added up would miss them by a block or two. When the parts are smaller than blocks, all blocks have been tried.
 */
static int try_strides(struct probe *p)
{
        for (unsigned level = 1; level == 1 || p->n >> (level - 1) > 0; level++) {
                uint64_t parts = UINT64_C(1) << level, quotient = p->n >> level, rest = p->n & (parts - 1);

                for (uint64_t k = 1; k < parts; k += 2) {
                        int r = try_around(p, p->first + quotient * k + (rest * k >> level));

                        if (r != 0)
                                return r;
                }
        }
        return 0;
}

static int compare_extents(const void *a, const void *b)
{
        const struct extent *x = a, *y = b;

        return x->start < y->start ? -1 : x->start > y->start;
}

static int find_by_sizes(struct walk *w, const struct vma *v)
{
        const struct sys *sys = w->context->sys;
        struct probe p = {.walk = w, .vma = v, .object = context_object(w->context, &v->v)};
        int r;

        if (!w->scratch)
                w->scratch = malloc(HUGE_PAGES * sizeof(uint64_t));
        if (!w->scratch || !p.object)
                return -ENOMEM;
        if (w->probe_deadline == 0)
                w->probe_deadline = sys->ops->now(sys) + LIMIT_PROBE_USEC;
        w->extents.n = 0;
        w->next_extent = 0;
        p.first = v->v.start / block_bytes(w);
        p.n = (v->v.end - 1) / block_bytes(w) - p.first + 1;
        r = try_ends(&p);
        if (r == 0)
                r = try_shadows(&p);
        if (r == 0)
                r = try_strides(&p);
        frames_clear(&p.tried);
        if (r < 0)
                return r;
        if (w->extents.n > 0)
                qsort(w->extents.items, w->extents.n, sizeof(struct extent), compare_extents);
        w->extents_until = v->v.end;
        return 0;
}

int sparse_find(struct walk *w, const struct vma *v)
{
        return w->sparse == SPARSE_SCAN ? find_by_scan(w, v) : find_by_sizes(w, v);
}
