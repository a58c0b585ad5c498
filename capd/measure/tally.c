/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "capd/limits.h"
#include "tally.h"
#include "walk-internal.h"

static const uint64_t empty_chunk[FRAMES_CHUNK_WORDS];

void tally_init(struct tally *t, bool want_counts)
{
        *t = (struct tally){.want_counts = want_counts,
                            .resident.shared = true,
                            .hugetlb.shared = true,
                            .swap.shared = true};
}

void tally_forget_pages(struct tally *t)
{
        frames_clear(&t->resident);
        frames_clear(&t->hugetlb);
        frames_clear(&t->swap);
}

void tally_done(struct tally *t)
{
        tally_forget_pages(t);
        frames_clear(&t->counts);
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
 * Puts the n numbers (of pages with the same flags) that are not in `all` into `fresh`. 0 or -ENOMEM. This loop and the kernel's own
 * are what a count costs.
 */
static int add_run(const struct frames *known, struct frames *fresh, const uint64_t *pages, size_t n)
{
        const uint64_t *all = NULL;
        uint64_t *words = NULL, key = UINT64_MAX;

        for (size_t i = 0; i < n; i++) {
                uint64_t number = pages[i] & PAGE_NUMBER_MASK;
                uint64_t bits = UINT64_C(1) << (number & 63);
                size_t word = number >> 6 & (FRAMES_CHUNK_WORDS - 1);

                if (number >> FRAMES_CHUNK_BITS != key) {
                        key = number >> FRAMES_CHUNK_BITS;
                        all = frames_chunk(known, key);
                        if (!all)
                                all = empty_chunk;
                        /* looked up when first needed: in a family of processes that share, next to never */
                        words = NULL;
                }
                if (bits == 1 && n - i >= 64 && is_word(pages + i)) {
                        bits = ~UINT64_C(0);
                        i += 63;
                }
                bits &= ~frames_load(&all[word]);
                if (bits == 0)
                        continue;
                if (!words) {
                        words = frames_chunk_add(fresh, key);
                        if (!words)
                                return -ENOMEM;
                }
                words[word] |= bits;
        }
        return 0;
}

static int note_again(struct tally_part *p, uint64_t frame)
{
        /* beyond the limit a mapping is left out of the count, so that a page may look shared which is private: never the other way */
        if (p->n_again == LIMIT_ROLLBACK_FRAMES)
                return 0;
        if (p->n_again == p->again_allocated) {
                size_t n = p->again_allocated ? p->again_allocated * 2 : 256;
                uint64_t *again = reallocarray(p->again, n, sizeof(*again));

                if (!again)
                        return -ENOMEM;
                p->again = again;
                p->again_allocated = n;
        }
        p->again[p->n_again++] = frame;
        return 0;
}

int tally_touch(struct tally_part *p, uint64_t frame)
{
        int r = frames_add(&p->touched, frame);

        return r == 0 ? note_again(p, frame) : MIN(r, 0);
}

static int touch_run(struct tally_part *p, const uint64_t *pages, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                int r = tally_touch(p, pages[i] & PAGE_NUMBER_MASK);

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

int tally_add(const struct tally *t, struct tally_part *p, const uint64_t *pages, size_t n)
{
        uint64_t flags = pages[0] & ~PAGE_NUMBER_MASK;
        int r;

        if (flags & PAGE_PRESENT) {
                r = add_run(&t->resident, &p->resident[TALLY_KIND(flags)], pages, n);
                if (r < 0)
                        return r;
                p->mapped += n;
                return t->want_counts && !(flags & PAGE_EXCLUSIVE) ? touch_run(p, pages, n) : 0;
        }
        if (flags & PAGE_HUGETLB)
                return add_run(&t->hugetlb, &p->hugetlb, pages, n);
        if (flags & PAGE_SWAPPED)
                return add_run(&t->swap, &p->swap, pages, n);
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

int tally_commit_counts(struct tally *t, const struct tally_part *p)
{
        uint64_t key, *words;
        int r;

        for (size_t i = 0; frames_next_chunk(&p->touched, &i, &key, &words);)
                for (uint64_t w = 0; w < FRAMES_CHUNK_WORDS; w++)
                        for (uint64_t bits = words[w]; bits; bits &= bits - 1) {
                                r = count_mapping(t,
                                                  key << FRAMES_CHUNK_BITS | w << 6 | (uint64_t)__builtin_ctzll(bits));
                                if (r < 0)
                                        return r;
                        }
        for (size_t i = 0; i < p->n_again; i++) {
                r = count_mapping(t, p->again[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int commit_pages(struct tally *t, const struct tally_part *p)
{
        uint64_t added;
        int r;

        for (size_t i = 0; i < TALLY_KINDS; i++) {
                r = frames_merge(&t->resident, &p->resident[i], &added);
                if (r < 0)
                        return r;
                t->kinds[i] += added;
        }
        r = frames_merge(&t->hugetlb, &p->hugetlb, &added);
        if (r < 0)
                return r;
        t->n_hugetlb += added;
        r = frames_merge(&t->swap, &p->swap, &added);
        if (r < 0)
                return r;
        t->n_swap += added;
        return 0;
}

int tally_commit(struct tally *t, struct tally_part *p)
{
        int r = commit_pages(t, p);

        if (r >= 0)
                r = tally_commit_counts(t, p);
        if (r >= 0)
                t->mapped += p->mapped;
        tally_discard(p);
        return r;
}

void tally_discard(struct tally_part *p)
{
        for (size_t i = 0; i < TALLY_KINDS; i++)
                frames_clear(&p->resident[i]);
        frames_clear(&p->hugetlb);
        frames_clear(&p->swap);
        frames_clear(&p->touched);
        free(p->again);
        p->again = NULL;
        p->n_again = p->again_allocated = 0;
        p->mapped = 0;
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
