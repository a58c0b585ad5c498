/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "capd/limits.h"
#include "frames.h"

#define FIRST_SLOTS_LOG2 4
#define CHUNK_BYTES      (FRAMES_CHUNK_WORDS * sizeof(uint64_t))

static size_t allocated; /* bytes of all sets of the process */
static size_t limit = LIMIT_FRAMES_BYTES;

void frames_set_limit(size_t bytes)
{
        limit = bytes;
}

/* Counted before it is asked for, so that threads together do not go over the limit either. */
static void *allocate(size_t bytes)
{
        void *p = NULL;

        if (__atomic_add_fetch(&allocated, bytes, __ATOMIC_RELAXED) <= limit)
                p = calloc(1, bytes);
        if (!p)
                __atomic_sub_fetch(&allocated, bytes, __ATOMIC_RELAXED);
        return p;
}

static void release(void *p, size_t bytes)
{
        if (p)
                __atomic_sub_fetch(&allocated, bytes, __ATOMIC_RELAXED);
        free(p);
}

static size_t table_bytes(const struct frames_table *t)
{
        return sizeof(*t) + frames_n_slots(t) * sizeof(t->slots[0]);
}

void frames_clear(struct frames *f)
{
        struct frames_table *t = f->table, *older;

        for (size_t i = 0; i < frames_n_slots(t); i++)
                release(t->slots[i].words, CHUNK_BYTES);
        for (; t; t = older) {
                older = t->older;
                release(t, table_bytes(t));
        }
        f->table = NULL;
        f->n_chunks = 0;
        f->count = 0;
}

static int grow(struct frames *f)
{
        struct frames_table *old = f->table, *t;
        unsigned shift = old ? old->shift - 1 : 64 - FIRST_SLOTS_LOG2;
        uint64_t *words;

        t = allocate(sizeof(*t) + ((size_t)1 << (64 - shift)) * sizeof(t->slots[0]));
        if (!t)
                return -ENOMEM;
        t->shift = shift;
        for (size_t i = 0; i < frames_n_slots(old); i++)
                if (old->slots[i].words)
                        *frames_find_slot(t, old->slots[i].key, &words) = old->slots[i];
        if (f->shared)
                t->older = old;
        else
                release(old, table_bytes(old));
        __atomic_store_n(&f->table, t, __ATOMIC_RELEASE);
        return 0;
}

uint64_t *frames_chunk_add(struct frames *f, uint64_t key)
{
        struct frames_slot *slot;
        uint64_t *words = frames_chunk(f, key);

        if (words)
                return words;
        /* never more than half full, so that a search stays short and always ends */
        if ((f->n_chunks + 1) * 2 > frames_n_slots(f->table) && grow(f) < 0)
                return NULL;
        slot = frames_find_slot(f->table, key, &words);
        words = allocate(CHUNK_BYTES);
        if (!words)
                return NULL;
        slot->key = key;
        __atomic_store_n(&slot->words, words, __ATOMIC_RELEASE);
        f->n_chunks++;
        return words;
}

static size_t word_of(uint64_t number)
{
        return number >> 6 & (FRAMES_CHUNK_WORDS - 1);
}

static uint64_t bit_of(uint64_t number)
{
        return UINT64_C(1) << (number & 63);
}

bool frames_has(const struct frames *f, uint64_t number)
{
        const uint64_t *words = frames_chunk(f, number >> FRAMES_CHUNK_BITS);

        return words && words[word_of(number)] & bit_of(number);
}

int frames_add(struct frames *f, uint64_t number)
{
        uint64_t *words = frames_chunk_add(f, number >> FRAMES_CHUNK_BITS);

        if (!words)
                return -ENOMEM;
        if (words[word_of(number)] & bit_of(number))
                return 0;
        words[word_of(number)] |= bit_of(number);
        f->count++;
        return 1;
}

bool frames_remove(struct frames *f, uint64_t number)
{
        uint64_t *words = frames_chunk(f, number >> FRAMES_CHUNK_BITS);

        if (!words || !(words[word_of(number)] & bit_of(number)))
                return false;
        words[word_of(number)] &= ~bit_of(number);
        f->count--;
        return true;
}

int frames_merge(struct frames *f, const struct frames *other, uint64_t *ret_added)
{
        uint64_t key, *from, added = 0;

        for (size_t i = 0; frames_next_chunk(other, &i, &key, &from);) {
                uint64_t *to = frames_chunk_add(f, key);

                if (!to)
                        return -ENOMEM;
                for (size_t w = 0; w < FRAMES_CHUNK_WORDS; w++) {
                        uint64_t fresh = from[w] & ~to[w];

                        if (!fresh)
                                continue;
                        added += (uint64_t)__builtin_popcountll(fresh);
                        __atomic_store_n(&to[w], to[w] | fresh, __ATOMIC_RELAXED);
                }
        }
        f->count += added;
        *ret_added = added;
        return 0;
}

bool frames_next_chunk(const struct frames *f, size_t *index, uint64_t *ret_key, uint64_t **ret_words)
{
        for (; *index < frames_n_slots(f->table); (*index)++) {
                const struct frames_slot *slot = &f->table->slots[*index];

                if (slot->words) {
                        *ret_key = slot->key;
                        *ret_words = slot->words;
                        (*index)++;
                        return true;
                }
        }
        return false;
}
