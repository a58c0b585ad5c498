/* SPDX-License-Identifier: MIT */
/* A word for each page frame: short reads, interruptions, the end of memory, and what the kernel may answer instead. */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "capd/base/macros.h"
#include "capd/measure/frame-words.h"

#define FRAMES 20U /* of this memory; the word of a frame is its number and a thousand */

struct file {
        ssize_t answers[8]; /* what the calls give: bytes at most, or a negative errno; then all there is */
        size_t n_answers, calls;
};

static ssize_t file_pread(const struct sys *sys, int fd, void *buf, size_t size, uint64_t offset)
{
        struct file *f = (struct file *)sys->userdata;
        ssize_t answer = f->calls < f->n_answers ? f->answers[f->calls] : SSIZE_MAX;
        uint64_t words[FRAMES];
        size_t n;

        f->calls++;
        assert_int_equal(fd, 7);
        if (answer < 0)
                return answer;
        for (size_t i = 0; i < FRAMES; i++)
                words[i] = i + 1000;
        n = offset < sizeof(words) ? MIN(size, sizeof(words) - offset) : 0;
        n = MIN(n, (size_t)answer);
        if (n > 0)
                memcpy(buf, (char *)words + offset, n);
        return (ssize_t)n;
}

static const struct sys_ops ops = {.pread = file_pread};

#define FILE_OF(...)                                                                                                   \
        (struct file)                                                                                                  \
        {                                                                                                              \
                .answers = {__VA_ARGS__}, .n_answers = sizeof((ssize_t[]){__VA_ARGS__}) / sizeof(ssize_t)              \
        }

static void test_in_pieces(void **state)
{
        struct file f = FILE_OF(16, -EINTR, 8, -EINTR);
        struct sys sys = {.ops = &ops, .userdata = &f};
        uint64_t words[6];

        assert_int_equal(frame_words_read(&sys, 7, 10, 6, words), 0);
        for (size_t i = 0; i < 6; i++)
                assert_int_equal(words[i], 1010 + i);
        f.calls = 0;
        memset(words, 0, sizeof(words));
        assert_int_equal(frame_words_read_all(&sys, 7, 10, 6, words), 0);
        assert_int_equal(words[5], 1015);
        assert_int_equal(f.calls, 5);
}

static void test_end_of_memory(void **state)
{
        struct file f = {};
        struct sys sys = {.ops = &ops, .userdata = &f};
        uint64_t words[4] = {5, 5, 5, 5};

        assert_int_equal(frame_words_read(&sys, 7, FRAMES - 2, 4, words), 0);
        assert_int_equal(words[1], 1000 + FRAMES - 1);
        assert_int_equal(words[2], 0);
        assert_int_equal(words[3], 0);
        assert_int_equal(frame_words_read(&sys, 7, FRAMES + 100, 1, words), 0);
        assert_int_equal(words[0], 0);
        assert_int_equal(frame_words_read_all(&sys, 7, FRAMES - 2, 2, words), 0);
        assert_int_equal(frame_words_read_all(&sys, 7, FRAMES - 2, 3, words), -EIO);
        assert_int_equal(frame_words_read_all(&sys, 7, FRAMES + 100, 1, words), -EIO);
}

static void test_failures(void **state)
{
        static const int errors[] = {-EPERM, -EIO, -EINVAL, -ECANCELED};
        uint64_t words[4];

        for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
                struct file f = FILE_OF(8, errors[i]);
                struct sys sys = {.ops = &ops, .userdata = &f};

                assert_int_equal(frame_words_read(&sys, 7, 0, 4, words), errors[i]);
                f.calls = 0;
                assert_int_equal(frame_words_read_all(&sys, 7, 0, 4, words), errors[i]);
        }
}

/* Half a word would shift all that follow. */
static void test_half_a_word(void **state)
{
        struct file f = FILE_OF(12);
        struct sys sys = {.ops = &ops, .userdata = &f};
        uint64_t words[4];

        assert_int_equal(frame_words_read(&sys, 7, 0, 4, words), -EIO);
        f.calls = 0;
        assert_int_equal(frame_words_read_all(&sys, 7, 0, 4, words), -EIO);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_in_pieces),
                        cmocka_unit_test(test_end_of_memory),
                        cmocka_unit_test(test_failures),
                        cmocka_unit_test(test_half_a_word),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
