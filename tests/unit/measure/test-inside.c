/* SPDX-License-Identifier: MIT */
/* The frames that a group shares among its own processes alone: which they are, and as ranges. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capd/limits.h"
#include "capd/measure/count.h"
#include "capd/measure/inside.h"
#include "fake.h"

#define BASE  UINT64_C(0x10000000)
#define PAGES 6000
#define ALONE UINT64_C(900) /* frames that are some process's own begin here */

static struct fake fake;
static unsigned preads, fail_pread;
static __typeof__(((struct sys_ops *)NULL)->pread) pread_of_fake;

static ssize_t failing_pread(const struct sys *sys, int fd, void *buf, size_t size, uint64_t offset)
{
        return ++preads == fail_pread ? -EIO : pread_of_fake(sys, fd, buf, size, offset);
}

static void make_process(int pid)
{
        char maps[128];

        snprintf(maps, sizeof(maps), "%llx-%llx rw-p 00000000 00:00 0\n", (unsigned long long)BASE,
                 (unsigned long long)(BASE + PAGES * FAKE_PAGE));
        fake_process(&fake, pid, 5, "x", maps, PAGES, 10);
}

static int setup(void **state)
{
        fake_init(&fake);
        pread_of_fake = fake.ops.pread;
        fake.ops.pread = failing_pread;
        preads = fail_pread = 0;
        for (int pid = 11; pid <= 13; pid++) {
                uint64_t own = (ALONE + (uint64_t)pid) | RAW_PRESENT | RAW_EXCLUSIVE;

                make_process(pid);
                fake_pages(&fake, pid, BASE + (PAGES - 1) * FAKE_PAGE, &own, 1);
                fake_frame(&fake, ALONE + (uint64_t)pid, FLAG_ANON, 1);
        }
        return 0;
}

static int teardown(void **state)
{
        fake_done(&fake);
        return 0;
}

/* A frame mapped by `inside` of the three processes, and by `outside` others. Anonymous unless flags say more. */
static void frame(uint64_t number, unsigned inside, unsigned outside, uint64_t flags)
{
        uint64_t entry = number | RAW_PRESENT | (inside + outside == 1 ? RAW_EXCLUSIVE : 0), nothing = 0;

        for (unsigned i = 0; i < 3; i++)
                fake_pages(&fake, 11 + (int)i, BASE + number * FAKE_PAGE, i < inside ? &entry : &nothing, 1);
        fake_frame(&fake, number, FLAG_ANON | FLAG_SWAPBACKED | flags, inside + outside);
}

static struct count *run(unsigned flags, struct group_sample *ret)
{
        const uint32_t group = 0;
        struct count *c;

        assert_int_equal(count_new(&fake.sys, &fake.features, flags, &c), 0);
        assert_int_equal(count_add_group(c), 0);
        for (int pid = 11; pid <= 13; pid++)
                assert_true(count_add_process(c, pid, 5, 0, &group, 1) >= 0);
        assert_int_equal(count_run(c, NULL), 0);
        *ret = (struct group_sample){};
        count_group_result(c, 0, ret);
        return c;
}

static struct inside_frames take(bool swap, struct group_sample *ret)
{
        struct inside_frames f = {};
        struct group_sample s;
        struct count *c = run(COUNT_INSIDE, &s);

        assert_int_equal(count_take_inside(c, 0, swap, &f), 0);
        /* once */
        assert_int_equal(count_take_inside(c, 0, swap, &f), -ENODATA);
        count_free(c);
        if (ret)
                *ret = s;
        return f;
}

static void assert_range(const struct inside_frames *f, size_t i, uint64_t first, uint64_t last)
{
        assert_true(i < f->n_ranges);
        assert_int_equal(f->ranges[i].start, first * FAKE_PAGE);
        assert_int_equal(f->ranges[i].end, (last + 1) * FAKE_PAGE);
}

static void test_which(void **state)
{
        struct group_sample s;
        struct inside_frames f;

        frame(1, 3, 0, 0);
        frame(2, 2, 0, 0);
        frame(3, 3, 1, 0); /* somebody else's too */
        frame(4, 3, 0, 0);
        frame(5, 1, 0, 0); /* of one alone */
        frame(6, 1, 1, 0); /* of one and somebody else */
        frame(700, 2, 0, 0);
        f = take(true, &s);
        assert_true(s.have_private);
        assert_int_equal(s.inside, 4 * FAKE_PAGE);
        assert_int_equal(s.inside_swap, 4 * FAKE_PAGE);
        assert_int_equal(s.private_bytes, (4 + 1 + 3) * FAKE_PAGE);
        assert_int_equal(f.n_ranges, 3);
        assert_range(&f, 0, 1, 2);
        assert_range(&f, 1, 4, 4);
        assert_range(&f, 2, 700, 700);
        assert_int_equal(f.bytes, 4 * FAKE_PAGE);
        assert_int_equal(f.n_frames, 4);
        assert_int_equal(f.mappings[0], 3);
        assert_int_equal(f.mappings[1], 2);
        assert_int_equal(f.mappings[3], 2);
        inside_frames_done(&f);
}

/* A count with COUNT_PRIVATE alone gives the figures and keeps nothing; one without gives none. */
static void test_flags(void **state)
{
        struct inside_frames f = {};
        struct group_sample s;
        struct count *c;

        frame(1, 3, 0, 0);
        c = run(COUNT_PRIVATE, &s);
        assert_int_equal(s.inside, FAKE_PAGE);
        assert_int_equal(count_take_inside(c, 0, true, &f), -ENODATA);
        assert_int_equal(count_take_inside(c, 1, true, &f), -ENODATA);
        count_free(c);
        c = run(0, &s);
        assert_false(s.have_private);
        assert_true(s.inside == SIZE_UNKNOWN && s.inside_swap == SIZE_UNKNOWN);
        count_free(c);
        /* not taken: nothing is lost */
        c = run(COUNT_INSIDE, &s);
        assert_int_equal(s.inside, FAKE_PAGE);
        count_free(c);
}

/* Not run to the end. */
static void test_unfinished(void **state)
{
        struct inside_frames f = {};
        struct count *c;

        assert_int_equal(count_new(&fake.sys, &fake.features, COUNT_INSIDE, &c), 0);
        assert_int_equal(count_add_group(c), 0);
        assert_int_equal(count_take_inside(c, 0, true, &f), -ENODATA);
        count_free(c);
}

static void file_frame(uint64_t number, unsigned inside)
{
        frame(number, inside, 0, 0);
        fake_frame(&fake, number, FRAME_FLAG_LRU, inside);
}

static void test_swap(void **state)
{
        struct group_sample s;
        struct inside_frames f;

        frame(1, 3, 0, 0);
        frame(2, 3, 0, 0);
        fake_frame(&fake, 2, FLAG_SWAPBACKED, 3); /* shmem */
        file_frame(3, 3);
        f = take(false, &s);
        assert_int_equal(s.inside, 3 * FAKE_PAGE);
        assert_int_equal(s.inside_swap, 2 * FAKE_PAGE);
        assert_int_equal(f.n_ranges, 1);
        assert_range(&f, 0, 3, 3);
        assert_int_equal(f.left_no_swap, 2 * FAKE_PAGE);
        inside_frames_done(&f);
}

static void test_locked(void **state)
{
        struct inside_frames f;

        frame(1, 3, 0, FRAME_FLAG_MLOCKED | FRAME_FLAG_UNEVICTABLE);
        frame(2, 3, 0, FRAME_FLAG_UNEVICTABLE);
        frame(3, 3, 0, 0);
        f = take(true, NULL);
        assert_int_equal(f.n_ranges, 1);
        assert_range(&f, 0, 3, 3);
        assert_int_equal(f.left_locked, 2 * FAKE_PAGE);
        inside_frames_done(&f);
}

/* A huge page of n frames from `first` on, of which the group maps all. */
static void huge(uint64_t first, size_t n, unsigned inside)
{
        for (size_t i = 0; i < n; i++)
                frame(first + i, inside, 0, i == 0 ? FRAME_FLAG_COMPOUND_HEAD : FRAME_FLAG_COMPOUND_TAIL);
}

static void test_huge(void **state)
{
        struct inside_frames f;

        huge(100, 512, 3); /* over several chunks, with another one right behind */
        huge(612, 16, 2);
        frame(628, 2, 0, 0);
        f = take(true, NULL);
        assert_int_equal(f.n_ranges, 1);
        assert_range(&f, 0, 100, 628);
        assert_int_equal(f.mappings[0], 3);
        for (size_t i = 1; i < 512; i++)
                assert_int_equal(f.mappings[i], 3 | INSIDE_TAIL);
        assert_int_equal(f.mappings[512], 2);
        assert_int_equal(f.mappings[513], 2 | INSIDE_TAIL);
        assert_int_equal(f.mappings[528], 2);
        inside_frames_done(&f);
}

/* Whatever of a huge page is the group's, the page is left if anybody else maps any of it. */
static void test_huge_partly(void **state)
{
        struct inside_frames f;

        huge(1088, 32, 3);
        frame(1104, 3, 1, FRAME_FLAG_COMPOUND_TAIL); /* mapped by the group and by somebody else */
        huge(1152, 32, 3);
        frame(1152, 0, 1, FRAME_FLAG_COMPOUND_HEAD); /* mapped by somebody else alone, which is not seen */
        huge(1216, 32, 3);
        frame(1247, 0, 2, FRAME_FLAG_COMPOUND_TAIL);
        f = take(true, NULL);
        assert_int_equal(f.n_ranges, 0);
        assert_int_equal(f.left_partly, (31 + 31 + 31) * FAKE_PAGE);
        inside_frames_done(&f);
}

/* Frames of it that nobody maps any more, or that one process of the group maps alone, go with it. */
static void test_huge_rest(void **state)
{
        struct inside_frames f;

        huge(1088, 32, 3);
        frame(1088, 1, 0, FRAME_FLAG_COMPOUND_HEAD);
        frame(1094, 0, 0, FRAME_FLAG_COMPOUND_TAIL);
        f = take(true, NULL);
        assert_int_equal(f.n_ranges, 1);
        assert_range(&f, 0, 1088, 1119);
        assert_int_equal(f.mappings[0], 1);
        assert_int_equal(f.mappings[6], 0 | INSIDE_TAIL);
        inside_frames_done(&f);
        /* mapped once, but by somebody else */
        frame(1088, 0, 1, FRAME_FLAG_COMPOUND_HEAD);
        f = take(true, NULL);
        assert_int_equal(f.n_ranges, 0);
        assert_int_equal(f.left_partly, 30 * FAKE_PAGE);
        inside_frames_done(&f);
}

/* A tail without a head: the page is being split. */
static void test_headless(void **state)
{
        struct inside_frames f;

        frame(5, 3, 0, FRAME_FLAG_COMPOUND_TAIL);
        frame(6, 3, 0, 0);
        f = take(true, NULL);
        assert_int_equal(f.n_ranges, 1);
        assert_range(&f, 0, 6, 6);
        assert_int_equal(f.left_partly, FAKE_PAGE);
        inside_frames_done(&f);
}

static void test_empty(void **state)
{
        struct group_sample s;
        struct inside_frames f = take(true, &s);

        assert_int_equal(s.inside, 0);
        assert_int_equal(f.n_ranges, 0);
        assert_int_equal(f.bytes, 0);
        inside_frames_done(&f);
}

/* Without kinds what needs swap is not known, and nothing is handed out. */
static void test_no_kinds(void **state)
{
        struct inside_frames f = {};
        struct group_sample s;
        struct count *c;

        frame(1, 3, 0, 0);
        fake.features.kpageflags = false;
        c = run(COUNT_INSIDE, &s);
        assert_int_equal(s.inside, FAKE_PAGE);
        assert_true(s.inside_swap == SIZE_UNKNOWN);
        assert_int_equal(count_take_inside(c, 0, true, &f), -EOPNOTSUPP);
        count_free(c);
        fake.features.kpageflags = true;
}

/* A read that fails at any moment: an error or less known, and never a frame too many. */
static void test_faults(void **state)
{
        bool good = false;

        frame(1, 3, 0, 0);
        frame(3, 3, 1, 0);
        huge(1024, 32, 3);
        for (unsigned k = 1; !good && k < 1000; k++) {
                const uint32_t group = 0;
                struct inside_frames f = {};
                struct count *c;
                int r;

                assert_int_equal(count_new(&fake.sys, &fake.features, COUNT_INSIDE, &c), 0);
                assert_int_equal(count_add_group(c), 0);
                for (int pid = 11; pid <= 13; pid++)
                        assert_true(count_add_process(c, pid, 5, 0, &group, 1) >= 0);
                preads = 0;
                fail_pread = k;
                r = count_run(c, NULL);
                if (r == 0)
                        r = count_take_inside(c, 0, true, &f);
                good = preads < k;
                fail_pread = 0;
                if (good)
                        assert_int_equal(r, 0);
                for (size_t i = 0; i < f.n_ranges; i++)
                        assert_true(f.ranges[i].start == FAKE_PAGE || f.ranges[i].start == 1024 * FAKE_PAGE);
                inside_frames_done(&f);
                count_free(c);
        }
        assert_true(good);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test_setup_teardown(test_which, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_flags, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_unfinished, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_swap, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_locked, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_huge, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_huge_partly, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_huge_rest, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_headless, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_empty, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_no_kinds, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_faults, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
