/* SPDX-License-Identifier: MIT */
/*
 * frames.h: sets of page frames (and of swap slots).
 *
 * One bit a number, in chunks of 4096 numbers (16 MiB of memory in 512 bytes) that exist only where a number was put in; a hash
 * finds the chunk. A group that fills a host of 24 GiB costs 0.8 MiB, one of 2 MiB scattered over it at most 256 KiB. Numbers that
 * follow one another are in the same chunk, so a caller in a hurry keeps the last chunk at hand.
 *
 * One thread at a time may change a set. Of a set with `shared` others may look up chunks and load their words
 * (frames_load()) meanwhile, without a lock: chunks stay where they are until frames_clear(), and a table that has become too small is
 * kept beside the bigger one. What they see may lack what was added last. Everything else is for who may change it.
 *
 * After a count with COUNT_KEEP_FRAMES every frame of a group, each once, is had by count_frames() (count-internal.h) and
 *
 *     for (size_t i = 0; frames_next_chunk(f, &i, &key, &words);)
 *             bit b of words[w] is frame (key << FRAMES_CHUNK_BITS) + w * 64 + b
 */
#ifndef CAPD_MEASURE_FRAMES_H
#define CAPD_MEASURE_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAMES_CHUNK_BITS  12
#define FRAMES_CHUNK_WORDS ((1U << FRAMES_CHUNK_BITS) / 64)

struct frames_slot {
        uint64_t key;    /* number >> FRAMES_CHUNK_BITS */
        uint64_t *words; /* NULL: the slot is free */
};

struct frames_table {
        struct frames_table *older; /* kept for those who may be looking at it */
        unsigned shift;             /* 64 - log2 of the number of slots */
        struct frames_slot slots[];
};

struct frames {
        struct frames_table *table; /* NULL: the empty set */
        size_t n_chunks;
        uint64_t count; /* numbers in the set; not kept by frames_chunk_add() */
        bool shared;
};

/* Bytes that all sets of the process may have together, LIMIT_FRAMES_BYTES unless a test says otherwise; beyond that -ENOMEM. */
void frames_set_limit(size_t bytes);

/* All zero is the empty set. */
void frames_clear(struct frames *f); /* gives the memory back; who looks without a lock must be gone */

static inline size_t frames_n_slots(const struct frames_table *t)
{
        return t ? (size_t)1 << (64 - t->shift) : 0;
}

/* The slot of a chunk, or the free one where it would be; its words in *ret. */
static inline struct frames_slot *frames_find_slot(struct frames_table *t, uint64_t key, uint64_t **ret)
{
        size_t mask = frames_n_slots(t) - 1;

        /* Fibonacci hashing: neighbouring chunks spread over the whole table */
        for (size_t i = (size_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> t->shift);; i = (i + 1) & mask) {
                /* a slot's key is there before its words */
                *ret = __atomic_load_n(&t->slots[i].words, __ATOMIC_ACQUIRE);
                if (!*ret || t->slots[i].key == key)
                        return &t->slots[i];
        }
}

/* The chunk that holds a number, NULL if there is none. Stays where it is until frames_clear(). */
static inline uint64_t *frames_chunk(const struct frames *f, uint64_t key)
{
        struct frames_table *t = __atomic_load_n(&f->table, __ATOMIC_ACQUIRE);
        uint64_t *words = NULL;

        if (t)
                frames_find_slot(t, key, &words);
        return words;
}

/* A word of a chunk that another thread may be changing. */
static inline uint64_t frames_load(const uint64_t *word)
{
        return __atomic_load_n(word, __ATOMIC_RELAXED);
}

/* The same, made if missing. NULL: no memory. */
uint64_t *frames_chunk_add(struct frames *f, uint64_t key);

bool frames_has(const struct frames *f, uint64_t number);
/* 1 if it was not in the set, 0 if it was, -ENOMEM. */
int frames_add(struct frames *f, uint64_t number);
bool frames_remove(struct frames *f, uint64_t number); /* whether it was in the set */

/* Puts every number of `other` into the set. *ret_added: how many were not in it. 0 or -ENOMEM (the set may then hold part of them). */
int frames_merge(struct frames *f, const struct frames *other, uint64_t *ret_added);

/* The chunks in no order: index from 0; false at the end. Slots without a chunk are passed over. */
bool frames_next_chunk(const struct frames *f, size_t *index, uint64_t *ret_key, uint64_t **ret_words);

#endif
