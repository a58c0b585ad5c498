/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>

#include "capd/base/macros.h"
#include "capd/limits.h"
#include "seen.h"

_Static_assert(HUGE_PAGES % 64 == 0 && SEEN_CHUNK_PAGES % HUGE_PAGES == 0, "blocks are of whole words");

/* A mapping smaller than this is read in less time than it takes to find out that it need not be. */
#define MIN_PAGES 256U
/* Samples looked for in a mapping before the chunk is read. One costs 0.5 µs, the chunk 6 µs if it is empty and 100 if not. */
#define TRIES 4U

static size_t remembered; /* chunks of all tables and sights of the process */
static size_t limit = LIMIT_SEEN_CHUNKS;

void seen_set_limit(size_t chunks)
{
        limit = chunks;
}

/* Before they are made, so that threads together do not go over the limit either. */
static bool reserve(size_t chunks)
{
        if (__atomic_add_fetch(&remembered, chunks, __ATOMIC_RELAXED) <= limit)
                return true;
        __atomic_sub_fetch(&remembered, chunks, __ATOMIC_RELAXED);
        return false;
}

static void release(size_t chunks)
{
        __atomic_sub_fetch(&remembered, chunks, __ATOMIC_RELAXED);
}

void seen_done(struct seen *s)
{
        for (size_t i = 0; i < s->n_slots; i++)
                free(s->slots[i]);
        release(s->n);
        free(s->slots);
        *s = (struct seen){};
}

void sights_done(struct sights *s)
{
        release(s->allocated);
        free(s->items);
        *s = (struct sights){};
}

static bool same_place(const struct seen_chunk *a, const struct seen_chunk *b)
{
        return a->inode == b->inode && a->device == b->device && a->number == b->number;
}

/* The slot of a chunk, or the free one where it would be. There is at least one slot, and one that is free. */
static struct seen_chunk **find_slot(struct seen_chunk **slots, size_t n_slots, const struct seen_chunk *key)
{
        uint64_t hash = (key->inode * UINT64_C(0x9E3779B97F4A7C15) ^ key->device) * UINT64_C(0xD6E8FEB86659FD93);
        size_t i = (size_t)((hash + key->number) * UINT64_C(0x9E3779B97F4A7C15) >> 20) & (n_slots - 1);

        while (slots[i] && !same_place(slots[i], key))
                i = (i + 1) & (n_slots - 1);
        return &slots[i];
}

static bool grow(struct seen *s)
{
        size_t n = s->n_slots ? s->n_slots * 2 : 64;
        struct seen_chunk **slots = calloc(n, sizeof(*slots));

        if (!slots)
                return false;
        for (size_t i = 0; i < s->n_slots; i++)
                if (s->slots[i])
                        *find_slot(slots, n, s->slots[i]) = s->slots[i];
        free(s->slots);
        s->slots = slots;
        s->n_slots = n;
        return true;
}

static struct seen_chunk *find(const struct seen *s, const struct seen_chunk *key)
{
        return s->n > 0 ? *find_slot(s->slots, s->n_slots, key) : NULL;
}

static void insert(struct seen *s, const struct seen_chunk *chunk, uint64_t walk)
{
        struct seen_chunk *copy;

        if (((s->n + 1) * 2 > s->n_slots && !grow(s)) || !reserve(1))
                return;
        copy = malloc(sizeof(*copy));
        if (!copy) {
                release(1);
                return;
        }
        *copy = *chunk;
        copy->walk = walk;
        *find_slot(s->slots, s->n_slots, chunk) = copy;
        s->n++;
}

/* Whether both are of one object: out of one mapping of one walk, or the same page at the same place. */
static bool same_object(const struct seen_chunk *a, const struct seen_chunk *b, uint64_t walk)
{
        if (a->walk == walk && a->mapping == b->mapping)
                return true;
        for (size_t i = 0; i < SEEN_BLOCKS; i++)
                if (a->samples[i] != 0 && a->samples[i] == b->samples[i])
                        return true;
        return false;
}

void seen_merge(struct seen *s, const struct sights *sights, uint64_t walk)
{
        for (size_t i = 0; i < sights->n; i++) {
                const struct seen_chunk *from = &sights->items[i];
                struct seen_chunk *to = find(s, from);

                if (!to) {
                        insert(s, from, walk);
                        continue;
                }
                if (!same_object(to, from, walk))
                        continue;
                for (size_t w = 0; w < SEEN_WORDS; w++)
                        to->pages[w] |= from->pages[w];
                for (size_t b = 0; b < SEEN_BLOCKS; b++)
                        if (to->samples[b] == 0)
                                to->samples[b] = from->samples[b];
                to->walk = walk;
                to->mapping = from->mapping;
        }
}

/* -- in a walk -- */

void seen_begin(struct seen_view *v, const struct seen *table, pthread_mutex_t *lock)
{
        v->table = table;
        v->lock = lock;
        v->records = false;
        v->sights = NULL;
        v->at_hand = false;
        v->passed = 0;
}

bool seen_wants(const struct seen_view *v, const struct walk_vma *vma, uint64_t page_size)
{
        return v && v->table && vma->shared && vma->inode != 0 && (vma->end - vma->start) / page_size >= MIN_PAGES;
}

/* Page offset in the object of an address. */
static uint64_t page_of(const struct walk_vma *vma, uint64_t address, uint64_t page_size)
{
        return (vma->offset + (address - vma->start)) / page_size;
}

static bool is_at_hand(const struct seen_view *v, const struct walk_vma *vma, uint64_t number)
{
        return v->at_hand && v->known.mapping == vma->start && v->known.number == number &&
               v->known.inode == vma->inode && v->known.device == vma->device;
}

/* Looks up what is known of a chunk. */
static void take_at_hand(struct seen_view *v, const struct walk_vma *vma, uint64_t number)
{
        struct seen_chunk key = {.device = vma->device, .inode = vma->inode, .number = number};
        const struct seen_chunk *found;

        if (is_at_hand(v, vma, number))
                return;
        pthread_mutex_lock(v->lock);
        found = find(v->table, &key);
        v->has_known = found;
        v->known = found ? *found : key;
        pthread_mutex_unlock(v->lock);
        v->known.mapping = vma->start;
        v->at_hand = true;
        v->tried = false;
        v->proof = 0;
}

/* Whether all pages [first, end) of the chunk at hand, all of them in one block, are known. */
static bool covers(const struct seen_view *v, size_t first, size_t end)
{
        for (size_t i = first; i < end;) {
                size_t n = MIN(64 - i % 64, end - i);
                uint64_t mask = (n == 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1) << i % 64;

                if ((v->known.pages[i / 64] & mask) != mask)
                        return false;
                i += n;
        }
        return true;
}

/* How many pages from `first` on (of the chunk, before `end`) are in blocks that are known, or else in blocks that are not. */
static size_t stretch(const struct seen_view *v, size_t first, size_t end, bool known)
{
        size_t i = first;

        while (i < end) {
                size_t next = MIN((i / HUGE_PAGES + 1) * HUGE_PAGES, end);

                if (covers(v, i, next) != known)
                        break;
                i = next;
        }
        return i - first;
}

/*
 * Whether the mapping shows a page that the table has a sample of, where it has it. 0 or a negative errno. `first` and `end` are
 * the pages of the chunk that are in the mapping, `start` the address of the first.
 */
static int prove(struct seen_view *v, struct walk *w, uint64_t start, size_t first, size_t end)
{
        static const size_t order[SEEN_BLOCKS] = {0, 4, 2, 6, 1, 5, 3, 7};
        uint64_t page_size = w->context->features->page_size, entry;
        unsigned tries = 0;

        v->tried = true;
        for (size_t i = 0; i < SEEN_BLOCKS && tries < TRIES && v->proof == 0; i++) {
                uint64_t sample = v->known.samples[order[i]];
                size_t page = order[i] * HUGE_PAGES + SEEN_SAMPLE_PLACE(sample);
                int r;

                if (sample == 0 || page < first || page >= end)
                        continue;
                r = walk_read_raw(w, start + (page - first) * page_size, 1, &entry);
                if (r < 0)
                        return r;
                tries++;
                if (entry & PM_PRESENT && (entry & PM_FRAME_MASK) == (sample & PAGE_NUMBER_MASK)) {
                        v->proof = sample;
                        v->proof_block = order[i];
                }
        }
        return 0;
}

/*
 * How many pages of the chunk at hand, [first, end) at address `at`, are to be read before others that need not be. 0 or a
 * negative errno.
 */
static int to_read(struct seen_view *v, struct walk *w, const struct walk_vma *vma, uint64_t at, size_t first,
                   size_t end, size_t *ret)
{
        uint64_t page_size = w->context->features->page_size, before = (at - vma->start) / page_size;
        size_t low = first - (size_t)MIN(before, (uint64_t)first);
        size_t high = (size_t)MIN(first + (vma->end - at) / page_size, (uint64_t)SEEN_CHUNK_PAGES);
        int r;

        *ret = v->has_known ? stretch(v, first, end, false) : end - first;
        if (*ret == end - first)
                return 0;
        if (!v->tried) {
                r = prove(v, w, at - (first - low) * page_size, low, high);
                if (r < 0)
                        return r;
        }
        if (v->proof == 0)
                *ret = end - first;
        return 0;
}

int seen_next(struct seen_view *v, struct walk *w, const struct walk_vma *vma, uint64_t at, uint64_t end,
              uint64_t *ret_start, uint64_t *ret_end)
{
        uint64_t page_size = w->context->features->page_size;

        while (at < end) {
                uint64_t page = page_of(vma, at, page_size);
                size_t first = page % SEEN_CHUNK_PAGES, stop, n;
                int r;

                stop = (size_t)MIN((end - at) / page_size + first, (uint64_t)SEEN_CHUNK_PAGES);
                take_at_hand(v, vma, page / SEEN_CHUNK_PAGES);
                r = to_read(v, w, vma, at, first, stop, &n);
                if (r < 0)
                        return r;
                if (n > 0) {
                        *ret_start = at;
                        *ret_end = at + n * page_size;
                        return 0;
                }
                n = stretch(v, first, stop, true);
                if (at + n * page_size > w->from)
                        v->passed += (at + n * page_size - MAX(at, w->from)) / page_size;
                at += n * page_size;
        }
        *ret_start = *ret_end = end;
        return 0;
}

/* Whether the pages of a chunk are in a page cache. 1, 0, or a negative errno. */
static int is_cached(struct walk_context *x, const struct walk_chunk *chunk)
{
        struct object *o = context_object(x, chunk->vma);
        uint64_t flags;

        if (!o)
                return -ENOMEM;
        if (o->kind == OBJECT_SHMEM || o->cached)
                return 1;
        for (size_t i = 0; o->kind == OBJECT_FILE && x->kpageflags_fd >= 0 && i < chunk->n; i++) {
                int r;

                if (!(chunk->pages[i] & PAGE_FILE))
                        continue;
                if (o->cache_tries++ >= OBJECT_CACHE_TRIES)
                        return 0;
                r = frame_flags(x, chunk->pages[i] & PAGE_NUMBER_MASK, &flags);
                if (r < 0)
                        return r;
                o->cached = flags & KPF_LRU;
                return o->cached;
        }
        return 0;
}

static bool more_sights(struct sights *s)
{
        size_t n = s->allocated ? s->allocated * 2 : 8;
        struct seen_chunk *items;

        if (!reserve(n - s->allocated))
                return false;
        items = reallocarray(s->items, n, sizeof(*items));
        if (!items) {
                release(n - s->allocated);
                return false;
        }
        s->items = items;
        s->allocated = n;
        return true;
}

/* The sights of the chunk at hand; NULL: no memory, or enough of them. */
static struct seen_chunk *sights_of(struct seen_view *v)
{
        struct sights *s = v->sights;
        struct seen_chunk *last = s->n > 0 ? &s->items[s->n - 1] : NULL;

        if (!last || last->mapping != v->known.mapping || !same_place(last, &v->known)) {
                if (s->n == s->allocated && !more_sights(s))
                        return NULL;
                last = &s->items[s->n++];
                *last = (struct seen_chunk){.device = v->known.device,
                                            .inode = v->known.inode,
                                            .number = v->known.number,
                                            .mapping = v->known.mapping};
        }
        if (v->proof != 0)
                last->samples[v->proof_block] = v->proof;
        return last;
}

static bool is_of_object(uint64_t page)
{
        return page & (PAGE_FILE | PAGE_SHMEM);
}

/* The sample of a block of which the first pages [first, end) of the chunk are at hand: the one that the table has, if they show it. */
static uint64_t sample_of(const struct seen_view *v, const uint64_t *pages, size_t first, size_t end, uint64_t sample)
{
        uint64_t known = v->known.samples[first / HUGE_PAGES];
        size_t base = first / HUGE_PAGES * HUGE_PAGES, at = base + SEEN_SAMPLE_PLACE(known);

        if (known != 0 && at >= first && at < end && is_of_object(pages[at - first]) &&
            (pages[at - first] & PAGE_NUMBER_MASK) == (known & PAGE_NUMBER_MASK))
                return known;
        for (size_t i = first; sample == 0 && i < end; i++)
                if (is_of_object(pages[i - first]))
                        sample = SEEN_SAMPLE(i - base, pages[i - first] & PAGE_NUMBER_MASK);
        return sample;
}

int seen_take(struct seen_view *v, struct walk_context *x, const struct walk_chunk *chunk)
{
        uint64_t page_size = x->features->page_size, page = page_of(chunk->vma, chunk->address, page_size);
        size_t first = page % SEEN_CHUNK_PAGES, end = first + chunk->n;
        struct seen_chunk *to;
        int r;

        if (!v->sights || !seen_wants(v, chunk->vma, page_size) || end > SEEN_CHUNK_PAGES ||
            !is_at_hand(v, chunk->vma, page / SEEN_CHUNK_PAGES))
                return 0;
        r = is_cached(x, chunk);
        if (r <= 0)
                return r;
        to = sights_of(v);
        if (!to)
                return 0;
        for (size_t i = first; i < end;) {
                size_t n = MIN(64 - i % 64, end - i);
                uint64_t bits = 0;

                for (size_t k = 0; k < n; k++)
                        bits |= (uint64_t)is_of_object(chunk->pages[i - first + k]) << (i + k) % 64;
                to->pages[i / 64] |= bits;
                i += n;
        }
        for (size_t i = first; i < end;) {
                size_t next = MIN((i / HUGE_PAGES + 1) * HUGE_PAGES, end);
                uint64_t *sample = &to->samples[i / HUGE_PAGES];

                *sample = sample_of(v, chunk->pages + (i - first), i, next, *sample);
                i = next;
        }
        return 0;
}
