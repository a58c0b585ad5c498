/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "frames.h"

#define FIRST_SLOTS_LOG2 4

void frames_clear(struct frames *f)
{
        for (size_t i = 0; i < frames_n_slots(f); i++)
                free(f->slots[i].words);
        free(f->slots);
        *f = (struct frames){};
}

static int grow(struct frames *f)
{
        struct frames bigger = {.shift = f->shift ? f->shift - 1 : 64 - FIRST_SLOTS_LOG2,
                                .n_chunks = f->n_chunks,
                                .count = f->count};

        bigger.slots = calloc(frames_n_slots(&bigger), sizeof(*bigger.slots));
        if (!bigger.slots)
                return -ENOMEM;
        for (size_t i = 0; i < frames_n_slots(f); i++)
                if (f->slots[i].words)
                        *frames_find_slot(&bigger, f->slots[i].key) = f->slots[i];
        free(f->slots);
        *f = bigger;
        return 0;
}

uint64_t *frames_chunk_add(struct frames *f, uint64_t key)
{
        struct frames_slot *slot;

        if (f->shift) {
                slot = frames_find_slot(f, key);
                if (slot->words)
                        return slot->words;
        }
        /* never more than half full, so that a search stays short and always ends */
        if ((f->n_chunks + 1) * 2 > frames_n_slots(f) && grow(f) < 0)
                return NULL;
        slot = frames_find_slot(f, key);
        slot->words = calloc(FRAMES_CHUNK_WORDS, sizeof(uint64_t));
        if (!slot->words)
                return NULL;
        slot->key = key;
        f->n_chunks++;
        return slot->words;
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

int frames_merge(struct frames *f, const struct frames *other)
{
        uint64_t key, *from;

        for (size_t i = 0; frames_next_chunk(other, &i, &key, &from);) {
                uint64_t *to = frames_chunk_add(f, key);

                if (!to)
                        return -ENOMEM;
                for (size_t w = 0; w < FRAMES_CHUNK_WORDS; w++) {
                        uint64_t fresh = from[w] & ~to[w];

                        if (!fresh)
                                continue;
                        f->count += (uint64_t)__builtin_popcountll(fresh);
                        to[w] |= fresh;
                }
        }
        return 0;
}

bool frames_next_chunk(const struct frames *f, size_t *index, uint64_t *ret_key, uint64_t **ret_words)
{
        for (; *index < frames_n_slots(f); (*index)++)
                if (f->slots[*index].words) {
                        *ret_key = f->slots[*index].key;
                        *ret_words = f->slots[*index].words;
                        (*index)++;
                        return true;
                }
        return false;
}
