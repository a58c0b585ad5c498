/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "capd/limits.h"
#include "tally.h"
#include "walk-internal.h"

static const uint64_t empty_chunk[FRAMES_CHUNK_WORDS];

static void set_clear(struct tally_set *s)
{
        frames_clear(&s->all);
        frames_clear(&s->fresh);
}

void tally_forget_pages(struct tally *t)
{
        set_clear(&t->resident);
        set_clear(&t->hugetlb);
        set_clear(&t->swap);
}

void tally_done(struct tally *t)
{
        tally_forget_pages(t);
        frames_clear(&t->counts);
        frames_clear(&t->touched);
        free(t->again);
        t->again = NULL;
        t->n_again = t->again_allocated = 0;
}

/* Whether 64 pages of one kind follow one another in memory, as those of a huge page do. */
static inline bool is_word(const uint64_t *pages)
{
        uint64_t differs = 0;

        if (pages[63] != pages[0] + 63)
                return false;
        for (uint64_t i = 0; i < 64; i++)
                differs |= pages[i] ^ (pages[0] + i);
        return differs == 0;
}

/*
 * Puts n numbers (of pages with the same flags) into a set: how many were new, or -ENOMEM. This loop and the kernel's own are what a
 * count costs.
 */
static ssize_t add_run(struct tally_set *s, const uint64_t *pages, size_t n)
{
        const uint64_t *all = NULL;
        uint64_t *fresh = NULL, key = UINT64_MAX;
        ssize_t added = 0;

        for (size_t i = 0; i < n; i++) {
                uint64_t number = pages[i] & PAGE_NUMBER_MASK;
                uint64_t bits = UINT64_C(1) << (number & 63);
                size_t word = number >> 6 & (FRAMES_CHUNK_WORDS - 1);

                if (number >> FRAMES_CHUNK_BITS != key) {
                        key = number >> FRAMES_CHUNK_BITS;
                        all = frames_chunk(&s->all, key);
                        if (!all)
                                all = empty_chunk;
                        /* looked up when first needed: in a family of processes that share, next to never */
                        fresh = NULL;
                }
                if (bits == 1 && n - i >= 64 && is_word(pages + i)) {
                        bits = ~UINT64_C(0);
                        i += 63;
                }
                bits &= ~all[word];
                if (bits == 0)
                        continue;
                if (!fresh) {
                        fresh = frames_chunk_add(&s->fresh, key);
                        if (!fresh)
                                return -ENOMEM;
                }
                added += __builtin_popcountll(bits & ~fresh[word]);
                fresh[word] |= bits;
        }
        return added;
}

static int note_again(struct tally *t, uint64_t frame)
{
        /* beyond the limit a mapping is left out of the count, so that a page may look shared which is private: never the other way */
        if (t->n_again == LIMIT_ROLLBACK_FRAMES)
                return 0;
        if (t->n_again == t->again_allocated) {
                size_t n = t->again_allocated ? t->again_allocated * 2 : 256;
                uint64_t *again = reallocarray(t->again, n, sizeof(*again));

                if (!again)
                        return -ENOMEM;
                t->again = again;
                t->again_allocated = n;
        }
        t->again[t->n_again++] = frame;
        return 0;
}

int tally_touch(struct tally *t, uint64_t frame)
{
        int r = frames_add(&t->touched, frame);

        return r == 0 ? note_again(t, frame) : MIN(r, 0);
}

static int touch_run(struct tally *t, const uint64_t *pages, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                int r = tally_touch(t, pages[i] & PAGE_NUMBER_MASK);

                if (r < 0)
                        return r;
        }
        return 0;
}

/* Entries compared at a time: a loop over a fixed number without branches is fast. */
#define BLOCK 8U

size_t tally_run(const uint64_t *pages, size_t n)
{
        uint64_t flags = pages[0] & ~PAGE_NUMBER_MASK;
        size_t end = 1;

        while (n - end >= BLOCK) {
                uint64_t differs = 0;

                for (size_t i = 0; i < BLOCK; i++)
                        differs |= pages[end + i] ^ flags;
                if (differs & ~PAGE_NUMBER_MASK)
                        break;
                end += BLOCK;
        }
        while (end < n && (pages[end] & ~PAGE_NUMBER_MASK) == flags)
                end++;
        return end;
}

int tally_add(struct tally *t, const uint64_t *pages, size_t n)
{
        uint64_t flags = pages[0] & ~PAGE_NUMBER_MASK;
        ssize_t added;

        if (flags & PAGE_PRESENT) {
                added = add_run(&t->resident, pages, n);
                if (added < 0)
                        return (int)added;
                t->fresh_kinds[TALLY_KIND(flags)] += (uint64_t)added;
                t->fresh_mapped += n;
                return t->want_counts && !(flags & PAGE_EXCLUSIVE) ? touch_run(t, pages, n) : 0;
        }
        if (flags & (PAGE_HUGETLB | PAGE_SWAPPED)) {
                added = add_run(flags & PAGE_HUGETLB ? &t->hugetlb : &t->swap, pages, n);
                return added < 0 ? (int)added : 0;
        }
        return 0;
}

static uint32_t *counters_of(struct frames *counts, uint64_t frame)
{
        return (uint32_t *)frames_chunk_add(counts, frame >> TALLY_COUNTER_BITS);
}

static int count_mapping(struct tally *t, uint64_t frame)
{
        uint32_t *counters = counters_of(&t->counts, frame);

        if (!counters)
                return -ENOMEM;
        counters[frame & (TALLY_COUNTERS - 1)]++;
        return 0;
}

int tally_commit_counts(struct tally *t)
{
        uint64_t key, *words;
        int r;

        for (size_t i = 0; frames_next_chunk(&t->touched, &i, &key, &words);)
                for (uint64_t w = 0; w < FRAMES_CHUNK_WORDS; w++)
                        for (uint64_t bits = words[w]; bits; bits &= bits - 1) {
                                r = count_mapping(t,
                                                  key << FRAMES_CHUNK_BITS | w << 6 | (uint64_t)__builtin_ctzll(bits));
                                if (r < 0)
                                        return r;
                        }
        for (size_t i = 0; i < t->n_again; i++) {
                r = count_mapping(t, t->again[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

int tally_commit(struct tally *t)
{
        int r;

        /* in an order in which what was not reached is only missing from the figures */
        r = frames_merge(&t->resident.all, &t->resident.fresh);
        if (r >= 0)
                r = frames_merge(&t->hugetlb.all, &t->hugetlb.fresh);
        if (r >= 0)
                r = frames_merge(&t->swap.all, &t->swap.fresh);
        if (r >= 0)
                r = tally_commit_counts(t);
        if (r >= 0) {
                for (int i = 0; i < TALLY_KINDS; i++)
                        t->kinds[i] += t->fresh_kinds[i];
                t->mapped += t->fresh_mapped;
                t->n_hugetlb = t->hugetlb.all.count;
                t->n_swap = t->swap.all.count;
        }
        tally_discard(t);
        return r;
}

void tally_discard(struct tally *t)
{
        frames_clear(&t->resident.fresh);
        frames_clear(&t->hugetlb.fresh);
        frames_clear(&t->swap.fresh);
        frames_clear(&t->touched);
        t->n_again = 0;
        t->fresh_mapped = 0;
        for (int i = 0; i < TALLY_KINDS; i++)
                t->fresh_kinds[i] = 0;
}

uint64_t tally_kinds(const uint64_t kinds[static TALLY_KINDS], uint64_t bits)
{
        uint64_t mask = TALLY_KIND(bits), sum = 0;

        for (uint64_t i = 0; i < TALLY_KINDS; i++)
                if ((i & mask) == mask)
                        sum += kinds[i];
        return sum;
}

uint64_t tally_resident(const struct tally *t)
{
        return tally_kinds(t->kinds, 0);
}

uint32_t tally_mappings(const struct tally *t, uint64_t frame)
{
        const uint32_t *counters = (const uint32_t *)frames_chunk(&t->counts, frame >> TALLY_COUNTER_BITS);
        uint32_t n = counters ? counters[frame & (TALLY_COUNTERS - 1)] : 0;

        return MAX(n, 1U);
}
