/* SPDX-License-Identifier: MIT */
/*
 * shares.c: a process's part in what its group holds. A second walk, because it takes the mappings of all members to know
 * between how many a page is to be divided.
 */
#include <errno.h>
#include <string.h>

#include "count-internal.h"

/* Shares are summed in units of 1/4096 of a byte, like the kernel's PSS (PSS_SHIFT), so that thirds do not vanish. */
#define SHARE_SHIFT 12

/* Frames that this process maps more than once. */
struct repeated {
        struct frames seen;
        uint64_t *frames; /* one for each mapping after the first */
        size_t n, allocated;
};

static void repeated_done(struct repeated *r)
{
        frames_clear(&r->seen);
        free(r->frames);
}

static int note(struct repeated *r, uint64_t frame)
{
        int q = frames_add(&r->seen, frame);

        if (q != 0 || r->n == LIMIT_ROLLBACK_FRAMES)
                return q;
        if (r->n == r->allocated) {
                size_t n = r->allocated ? r->allocated * 2 : 256;
                uint64_t *frames = reallocarray(r->frames, n, sizeof(*frames));

                if (!frames)
                        return -ENOMEM;
                r->frames = frames;
                r->allocated = n;
        }
        r->frames[r->n++] = frame;
        return 0;
}

static int compare_frames(const void *a, const void *b)
{
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return x < y ? -1 : x > y;
}

/* Frames mapped several times, all of them here. */
static uint64_t alone_repeated(struct repeated *r, const struct tally *t)
{
        uint64_t pages = 0;

        if (r->n == 0)
                return 0;
        qsort(r->frames, r->n, sizeof(*r->frames), compare_frames);
        for (size_t i = 0, end; i < r->n; i = end) {
                for (end = i + 1; end < r->n && r->frames[end] == r->frames[i]; end++)
                        ;
                pages += tally_mappings(t, r->frames[i]) == end - i + 1;
        }
        return pages;
}

int shares_walk(struct walk *w, const struct tally *t, uint64_t page_size, uint64_t *ret_share, uint64_t *ret_alone)
{
        _cleanup_(repeated_done) struct repeated repeated = {};
        uint64_t share = 0, alone = 0;
        struct walk_chunk chunk;
        int r;

        while ((r = walk_next(w, &chunk)) > 0)
                for (size_t i = 0; i < chunk.n; i++) {
                        uint64_t page = chunk.pages[i], frame = page & PAGE_NUMBER_MASK;
                        uint32_t mappings;

                        if (!(page & PAGE_PRESENT))
                                continue;
                        mappings = page & PAGE_EXCLUSIVE ? 1 : tally_mappings(t, frame);
                        share += (page_size << SHARE_SHIFT) / mappings;
                        if (mappings == 1) {
                                alone++;
                                continue;
                        }
                        r = note(&repeated, frame);
                        if (r < 0)
                                return r;
                }
        if (r < 0)
                return r;
        *ret_share = share >> SHARE_SHIFT;
        *ret_alone = (alone + alone_repeated(&repeated, t)) * page_size;
        return 0;
}
