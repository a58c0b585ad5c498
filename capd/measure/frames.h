/* SPDX-License-Identifier: MIT */
/*
 * frames.h: sets of page frames (and of swap slots).
 *
 * One bit a number, in chunks of 4096 numbers (16 MiB of memory in 512 bytes) that exist only where a number was put in; a hash
 * finds the chunk. A group that fills a host of 24 GiB costs 0.8 MiB, one of 2 MiB scattered over it at most 256 KiB. Numbers that
 * follow one another are in the same chunk, so a caller in a hurry keeps the last chunk at hand.
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

struct frames {
        struct frames_slot *slots;
        unsigned shift; /* 64 - log2 of the number of slots; 0 while there are none */
        size_t n_chunks;
        uint64_t count; /* numbers in the set; not kept by frames_chunk_add() */
};

/* All zero is the empty set. */
void frames_clear(struct frames *f); /* gives the memory back */

static inline size_t frames_n_slots(const struct frames *f)
{
        return f->shift ? (size_t)1 << (64 - f->shift) : 0;
}

/* The slot of a chunk, or the free one where it would be. The set must have slots. */
static inline struct frames_slot *frames_find_slot(const struct frames *f, uint64_t key)
{
        size_t mask = frames_n_slots(f) - 1;

        /* Fibonacci hashing: neighbouring chunks spread over the whole table */
        for (size_t i = (size_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> f->shift);; i = (i + 1) & mask)
                if (!f->slots[i].words || f->slots[i].key == key)
                        return &f->slots[i];
}

/* The chunk that holds a number, NULL if there is none. Stays where it is until frames_clear(). */
static inline uint64_t *frames_chunk(const struct frames *f, uint64_t key)
{
        return f->shift ? frames_find_slot(f, key)->words : NULL;
}
/* The same, made if missing. NULL: no memory. */
uint64_t *frames_chunk_add(struct frames *f, uint64_t key);

bool frames_has(const struct frames *f, uint64_t number);
/* 1 if it was not in the set, 0 if it was, -ENOMEM. */
int frames_add(struct frames *f, uint64_t number);
bool frames_remove(struct frames *f, uint64_t number); /* whether it was in the set */

/* Puts every number of `other` into the set. 0 or -ENOMEM (the set may then hold part of them). */
int frames_merge(struct frames *f, const struct frames *other);

/* The chunks in no order: index from 0; false at the end. Slots without a chunk are passed over. */
bool frames_next_chunk(const struct frames *f, size_t *index, uint64_t *ret_key, uint64_t **ret_words);

#endif
