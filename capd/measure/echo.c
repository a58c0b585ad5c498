/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "capd/base/macros.h"
#include "capd/limits.h"
#include "echo.h"
#include "tally.h"

#define BLOCK 64U /* entries */
/* Fewer of the pages than this part the same are not worth the comparison. */
#define WORTH        4U
#define MAX_FAILURES 6U

void echo_done(struct echo *e)
{
        free(e->chunks);
        free(e->entries);
        free(e->pages);
        free(e->groups);
        *e = (struct echo){};
}

static bool same_groups(const struct echo *e, const uint32_t *groups, size_t n)
{
        return e->n_groups == n && memcmp(e->groups, groups, n * sizeof(*groups)) == 0;
}

static void forget(struct echo *e)
{
        e->n_chunks = e->n_entries = 0;
        e->state = ECHO_NOTHING;
}

static uint64_t chunk_end(const struct echo *e, const struct echo_chunk *c)
{
        return c->address + c->n * e->page_size;
}

/* The walk that begins is to be remembered. */
static void record(struct echo *e, const uint32_t *groups, size_t n)
{
        uint32_t *more = reallocarray(e->groups, n, sizeof(*more));

        forget(e);
        if (!more)
                return;
        memcpy(more, groups, n * sizeof(*more));
        e->groups = more;
        e->n_groups = n;
        e->state = ECHO_RECORDS;
}

void echo_begin(struct echo *e, struct echo_view *v, uint64_t page_size, const uint32_t *groups, size_t n_groups)
{
        *v = (struct echo_view){};
        e->page_size = page_size;
        /* one at a time is remembered */
        if (e->state == ECHO_RECORDS)
                return;
        if (e->state == ECHO_NOTHING || !same_groups(e, groups, n_groups)) {
                forget(e);
                if (e->pause > 0) {
                        e->pause--;
                        return;
                }
                record(e, groups, n_groups);
        }
        v->echo = e;
}

bool echo_expects(const struct echo *e, const uint32_t *groups, size_t n_groups, size_t pages)
{
        return e->state == ECHO_COMPARES && e->alike && e->n_entries > pages && same_groups(e, groups, n_groups);
}

static int reserve(struct echo *e, size_t n)
{
        if (e->n_chunks == e->chunks_allocated) {
                size_t allocated = e->chunks_allocated ? e->chunks_allocated * 2 : 64;
                struct echo_chunk *chunks = reallocarray(e->chunks, allocated, sizeof(*chunks));

                if (!chunks)
                        return -1;
                e->chunks = chunks;
                e->chunks_allocated = allocated;
        }
        if (e->n_entries + n > e->entries_allocated) {
                size_t allocated = MIN(MAX(e->entries_allocated * 2, (size_t)16384), (size_t)LIMIT_ECHO_PAGES);
                uint64_t *more = reallocarray(e->entries, allocated, sizeof(*more));

                if (!more)
                        return -1;
                e->entries = more;
                more = reallocarray(e->pages, allocated, sizeof(*more));
                if (!more)
                        return -1;
                e->pages = more;
                e->entries_allocated = allocated;
        }
        return 0;
}

void echo_take_entries(struct echo_view *v, const struct vma *vma, uint64_t address, const uint64_t *entries, size_t n)
{
        struct echo *e = v->echo;

        if (!e || e->state != ECHO_RECORDS)
                return;
        e->fresh = n <= LIMIT_ECHO_PAGES - e->n_entries && reserve(e, n) == 0;
        if (!e->fresh)
                return;
        e->chunks[e->n_chunks] = (struct echo_chunk){.address = address,
                                                     .n = n,
                                                     .first = e->n_entries,
                                                     .device = vma->v.device,
                                                     .inode = vma->v.inode,
                                                     .kind = vma->kind};
        memcpy(e->entries + e->n_entries, entries, n * sizeof(*entries));
}

void echo_take_pages(struct echo_view *v, const uint64_t *pages, size_t n)
{
        struct echo *e = v->echo;

        if (!e || !pages)
                return;
        v->seen += n;
        if (e->state != ECHO_RECORDS || !e->fresh)
                return;
        memcpy(e->pages + e->n_entries, pages, n * sizeof(*pages));
        e->chunks[e->n_chunks++].alike = tally_run(pages, n) == n;
        e->n_entries += n;
}

static bool same_block(const uint64_t *known, const uint64_t *entries, size_t i, size_t n)
{
        return memcmp(known + i, entries + i, MIN((size_t)BLOCK, n - i) * sizeof(*entries)) == 0;
}

size_t echo_stretch(struct echo_view *v, const struct vma *vma, uint64_t address, const uint64_t *entries, size_t n,
                    const uint64_t **ret_pages, bool *ret_alike)
{
        const struct echo *e = v->echo;
        const struct echo_chunk *c;
        const uint64_t *known;
        uint64_t skip;
        size_t end = 0;
        bool same;

        *ret_pages = NULL;
        *ret_alike = false;
        if (!e || e->state != ECHO_COMPARES)
                return n;
        /* a walk goes up; where it is of pieces that other threads took between, the cursor jumps over those */
        while (v->cursor < e->n_chunks && chunk_end(e, &e->chunks[v->cursor]) <= address)
                v->cursor++;
        if (v->cursor == e->n_chunks)
                return n;
        c = &e->chunks[v->cursor];
        if (c->address > address)
                return (size_t)MIN((uint64_t)n, (c->address - address) / e->page_size);
        skip = (address - c->address) / e->page_size;
        n = MIN(n, c->n - (size_t)skip);
        if (c->kind != vma->kind || c->inode != vma->v.inode || c->device != vma->v.device)
                return n;
        known = e->entries + c->first + skip;
        same = same_block(known, entries, 0, n);
        do
                end += MIN((size_t)BLOCK, n - end);
        while (end < n && same_block(known, entries, end, n) == same);
        if (same) {
                v->same += end;
                v->seen += end;
                *ret_pages = e->pages + c->first + skip;
                *ret_alike = c->alike;
        }
        return end;
}

void echo_end(struct echo_view *v, bool committed)
{
        struct echo *e = TAKE_PTR(v->echo);

        if (!e)
                return;
        if (e->state == ECHO_RECORDS && committed && e->n_chunks > 0) {
                e->state = ECHO_COMPARES;
                e->alike = false;
                return;
        }
        if (e->state != ECHO_COMPARES) {
                forget(e);
                return;
        }
        /* one that had ended says nothing */
        if (v->seen == 0)
                return;
        e->alike = v->same >= v->seen / 2;
        if (v->same >= v->seen / WORTH) {
                e->failures = 0;
                return;
        }
        e->failures = MIN(e->failures + 1, MAX_FAILURES);
        e->pause = (1U << e->failures) - 1;
        forget(e);
}
