/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "capd/base/macros.h"
#include "capd/limits.h"
#include "echo.h"

#define BLOCK 64U /* pages */
/* Fewer of the pages than this part the same are not worth the comparison. */
#define WORTH        4U
#define MAX_FAILURES 6U

void echo_done(struct echo *e)
{
        free(e->chunks);
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
        e->n_chunks = e->n_pages = 0;
        e->state = ECHO_NOTHING;
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

void echo_begin(struct echo *e, const uint32_t *groups, size_t n_groups)
{
        e->cursor = 0;
        e->seen = e->same = 0;
        if (n_groups == 0)
                forget(e);
        else if (e->state == ECHO_COMPARES && same_groups(e, groups, n_groups))
                return;
        else if (e->pause > 0) {
                e->pause--;
                forget(e);
        } else
                record(e, groups, n_groups);
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
        if (e->n_pages + n > e->pages_allocated) {
                size_t allocated = MIN(MAX(e->pages_allocated * 2, (size_t)16384), (size_t)LIMIT_ECHO_PAGES);
                uint64_t *pages = reallocarray(e->pages, allocated, sizeof(*pages));

                if (!pages)
                        return -1;
                e->pages = pages;
                e->pages_allocated = allocated;
        }
        return 0;
}

static void append(struct echo *e, const struct walk_chunk *chunk)
{
        if (e->n_pages + chunk->n > LIMIT_ECHO_PAGES || reserve(e, chunk->n) < 0)
                return;
        e->chunks[e->n_chunks++] = (struct echo_chunk){chunk->address, chunk->n, e->n_pages};
        memcpy(e->pages + e->n_pages, chunk->pages, chunk->n * sizeof(*chunk->pages));
        e->n_pages += chunk->n;
}

const uint64_t *echo_look(struct echo *e, const struct walk_chunk *chunk)
{
        const struct echo_chunk *c;

        if (e->state == ECHO_RECORDS)
                append(e, chunk);
        if (e->state != ECHO_COMPARES)
                return NULL;
        e->seen += chunk->n;
        /* a walk goes up; where it is of pieces that other threads took between, the cursor jumps over those */
        while (e->cursor < e->n_chunks && e->chunks[e->cursor].address < chunk->address)
                e->cursor++;
        if (e->cursor == e->n_chunks)
                return NULL;
        c = &e->chunks[e->cursor];
        return c->address == chunk->address && c->n == chunk->n ? e->pages + c->first : NULL;
}

static bool same_block(const uint64_t *known, const uint64_t *pages, size_t i, size_t n)
{
        return memcmp(known + i, pages + i, MIN((size_t)BLOCK, n - i) * sizeof(*pages)) == 0;
}

size_t echo_stretch(struct echo *e, const uint64_t *known, const uint64_t *pages, size_t i, size_t n, bool *ret_same)
{
        size_t end = i;
        bool same;

        *ret_same = false;
        if (!known)
                return n - i;
        same = same_block(known, pages, i, n);
        do
                end += MIN((size_t)BLOCK, n - end);
        while (end < n && same_block(known, pages, end, n) == same);
        if (same)
                e->same += end - i;
        *ret_same = same;
        return end - i;
}

void echo_end(struct echo *e, bool committed)
{
        if (e->state == ECHO_RECORDS && committed && e->n_chunks > 0) {
                e->state = ECHO_COMPARES;
                return;
        }
        if (e->state != ECHO_COMPARES) {
                forget(e);
                return;
        }
        if (e->same >= e->seen / WORTH) {
                e->failures = 0;
                return;
        }
        e->failures = MIN(e->failures + 1, MAX_FAILURES);
        e->pause = (1U << e->failures) - 1;
        forget(e);
}
