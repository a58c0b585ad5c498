/* SPDX-License-Identifier: MIT */
/* The set of frames against the plainest one there is: an array of bytes. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fake.h"
#include "frames.h"

#define SPACE (1U << 18)

static uint64_t random_number(uint64_t *state)
{
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        return *state;
}

/* Numbers near together, far apart, and beyond what 32 bits hold. */
static uint64_t spread(uint64_t n)
{
        return n % 3 == 0 ? n : n % 3 == 1 ? n << 20 : n << 5 | UINT64_C(1) << 45;
}

static void check_count(const struct frames *f, uint64_t expected)
{
        uint64_t key, *words, n = 0, chunks = 0;

        for (size_t i = 0; frames_next_chunk(f, &i, &key, &words); chunks++)
                for (size_t w = 0; w < FRAMES_CHUNK_WORDS; w++)
                        n += (uint64_t)__builtin_popcountll(words[w]);
        assert_int_equal(n, expected);
        assert_int_equal(f->count, expected);
        assert_int_equal(f->n_chunks, chunks);
}

static void test_against_reference(void **state)
{
        for (uint64_t seed = 1; seed <= 4; seed++) {
                unsigned char *reference = calloc(SPACE, 1);
                struct frames f = {};
                uint64_t rng = seed * 7919, expected = 0;

                assert_non_null(reference);
                for (int i = 0; i < 200000; i++) {
                        uint64_t r = random_number(&rng), n = r % SPACE, number = spread(n);

                        assert_int_equal(frames_has(&f, number), reference[n]);
                        if (r >> 40 & 3) {
                                assert_int_equal(frames_add(&f, number), !reference[n]);
                                expected += !reference[n];
                                reference[n] = 1;
                        } else {
                                assert_int_equal(frames_remove(&f, number), reference[n]);
                                expected -= reference[n];
                                reference[n] = 0;
                        }
                }
                check_count(&f, expected);
                for (uint64_t n = 0; n < SPACE; n++)
                        assert_int_equal(frames_has(&f, spread(n)), reference[n]);
                frames_clear(&f);
                check_count(&f, 0);
                free(reference);
        }
}

static void test_merge(void **state)
{
        struct frames a = {}, b = {};
        uint64_t added;

        for (uint64_t n = 0; n < 20000; n += 2)
                assert_int_equal(frames_add(&a, n), 1);
        for (uint64_t n = 0; n < 20000; n += 3)
                assert_int_equal(frames_add(&b, n + 10000), 1);
        assert_int_equal(frames_merge(&a, &b, &added), 0);
        assert_int_equal(added, 6667 - 1667);
        check_count(&b, 6667);
        for (uint64_t n = 0; n < 40000; n++) {
                bool in_a = n < 20000 && n % 2 == 0, in_b = n >= 10000 && n < 30000 && (n - 10000) % 3 == 0;

                assert_int_equal(frames_has(&a, n), in_a || in_b);
        }
        check_count(&a, 10000 + 6667 - 1667);
        frames_clear(&b);
        assert_int_equal(frames_merge(&a, &b, &added), 0);
        assert_int_equal(added, 0);
        frames_clear(&a);
}

static void test_empty(void **state)
{
        struct frames f = {};
        uint64_t key, *words;
        size_t i = 0;

        assert_false(frames_has(&f, 0));
        assert_false(frames_remove(&f, 12345));
        assert_null(frames_chunk(&f, 3));
        assert_false(frames_next_chunk(&f, &i, &key, &words));
        frames_clear(&f);
}

/* Scattered so that each number costs most; what was refused once is taken when there is room again. */
static void test_limit(void **state)
{
        struct frames a = {}, b = {};
        uint64_t n = 0, m = 0, added;

        frames_set_limit(256 * 1024);
        while (frames_add(&a, n << FRAMES_CHUNK_BITS) == 1)
                n++;
        assert_in_range(n, 256, 512);
        check_count(&a, n);
        assert_int_equal(frames_add(&a, n << FRAMES_CHUNK_BITS), -ENOMEM);
        assert_int_equal(frames_add(&a, 1), 1); /* in a chunk that is there */
        assert_int_equal(frames_add(&b, 5), -ENOMEM);
        frames_clear(&a);
        assert_int_equal(frames_add(&b, 5), 1);
        while (frames_add(&a, m << FRAMES_CHUNK_BITS) == 1)
                m++;
        assert_in_range(m, n / 2, n);
        assert_int_equal(frames_merge(&b, &a, &added), -ENOMEM);
        frames_clear(&a);
        frames_clear(&b);
        frames_set_limit(SIZE_MAX);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_against_reference),
                        cmocka_unit_test(test_merge),
                        cmocka_unit_test(test_empty),
                        cmocka_unit_test(test_limit),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
