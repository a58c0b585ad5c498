/* SPDX-License-Identifier: MIT */
/* Counting: each page once a group, whatever happens to processes, threads and system calls meanwhile. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capd/measure/count.h"
#include "fake.h"

#define BASE               UINT64_C(0x10000000)
#define SHARED             RAW_PRESENT
#define PRIVATE            (RAW_PRESENT | RAW_EXCLUSIVE)
#define SLOT(type, offset) (RAW_SWAP | (uint64_t)(offset) << 5 | (type))

static void process(struct fake *f, int pid, const uint64_t *entries, size_t n)
{
        char maps[128];

        snprintf(maps, sizeof(maps), "%llx-%llx rw-p 00000000 00:00 0\n", (unsigned long long)BASE,
                 (unsigned long long)(BASE + 6000 * FAKE_PAGE));
        fake_process(f, pid, 5, "x", maps, 6000, n);
        fake_pages(f, pid, BASE, entries, n);
}

static struct count *new_count(struct fake *f, unsigned flags)
{
        struct count *c = NULL;

        assert_int_equal(count_new(&f->sys, &f->features, flags, &c), 0);
        return c;
}

static int add(struct count *c, int pid, uint64_t mm_id, uint32_t first, uint32_t second)
{
        uint32_t groups[] = {first, second};

        return count_add_process(c, pid, 5, mm_id, groups, second == UINT32_MAX ? 1 : 2);
}

#define NOBODY UINT32_MAX

static void test_overlap(void **state)
{
        _cleanup_(count_freep) struct count *c = new_count(*state, 0);
        struct group_sample a = {.processes = 17, .rss_sum = 3}, b = {};
        struct process_sample p;

        process(*state, 11, (uint64_t[]){SHARED | 1, SHARED | 2, PRIVATE | 3, SLOT(0, 9)}, 4);
        process(*state, 12, (uint64_t[]){SHARED | 1, SHARED | 2, PRIVATE | 4, SLOT(0, 9), SLOT(0, 10)}, 5);
        process(*state, 13, (uint64_t[]){SHARED | 2, SHARED | 2, PRIVATE | 5}, 3);
        assert_int_equal(count_add_group(c), 0);
        assert_int_equal(count_add_group(c), 1);
        assert_int_equal(add(c, 11, 1, 0, NOBODY), 0);
        assert_int_equal(add(c, 12, 2, 1, 0), 1);
        assert_int_equal(add(c, 13, 3, 1, 1), 2);
        assert_int_equal(add(c, 13, 3, 2, NOBODY), -EINVAL);
        count_group_result(c, 0, &a);
        assert_int_equal(a.quality, QUALITY_UNKNOWN);
        assert_int_equal(count_run(c, NULL), 0);
        count_group_result(c, 0, &a);
        count_group_result(c, 1, &b);
        assert_int_equal(a.quality, QUALITY_EXACT);
        assert_int_equal(a.processes, 17); /* the cheap part is left alone */
        assert_int_equal(a.rss_sum, 3);
        assert_int_equal(a.resident, 4 * FAKE_PAGE);
        assert_int_equal(a.mapped, 6 * FAKE_PAGE);
        assert_int_equal(a.exclusive, 2 * FAKE_PAGE);
        assert_int_equal(a.exclusive_anon, 2 * FAKE_PAGE);
        assert_int_equal(a.swap, 2 * FAKE_PAGE);
        assert_true(a.pss_sum == SIZE_UNKNOWN);
        assert_false(a.have_private);
        assert_true(a.counted_at > 0);
        assert_int_equal(b.resident, 4 * FAKE_PAGE);
        assert_int_equal(b.mapped, 6 * FAKE_PAGE);
        count_process_result(c, 1, &p);
        assert_int_equal(p.outcome, COUNT_DONE);
        assert_int_equal(p.mapped, 3 * FAKE_PAGE);
        assert_int_equal(p.swap, 2 * FAKE_PAGE);
        assert_true(p.share == SIZE_UNKNOWN);
        assert_int_equal(count_n_processes(c), 3);
        assert_int_equal(count_add_group(c), -EBUSY);
}

static void test_private_and_shares(void **state)
{
        _cleanup_(count_freep) struct count *c = new_count(*state, COUNT_PRIVATE | COUNT_SHARES | COUNT_PSS);
        struct group_sample a;
        struct process_sample p;

        /* 1: both, nobody else. 2: both and an outsider. 6: twice in one process. 7: once here, once outside */
        process(*state, 11, (uint64_t[]){SHARED | 1, SHARED | 2, PRIVATE | 3, SHARED | 6, SHARED | 6, SHARED | 7}, 6);
        process(*state, 12, (uint64_t[]){SHARED | 1, SHARED | 2, PRIVATE | 4}, 3);
        fake_frame(*state, 1, FLAG_ANON, 2);
        fake_frame(*state, 2, FLAG_ANON, 3);
        fake_frame(*state, 3, FLAG_ANON, 1);
        fake_frame(*state, 4, FLAG_ANON, 1);
        fake_frame(*state, 6, FLAG_ANON, 2);
        fake_frame(*state, 7, FLAG_ANON, 2);
        count_add_group(c);
        add(c, 11, 1, 0, NOBODY);
        add(c, 12, 2, 0, NOBODY);
        assert_int_equal(count_run(c, NULL), 0);
        count_group_result(c, 0, &a);
        assert_int_equal(a.resident, 6 * FAKE_PAGE);
        assert_int_equal(a.mapped, 9 * FAKE_PAGE);
        assert_true(a.have_private);
        assert_int_equal(a.private_bytes, 4 * FAKE_PAGE); /* 1, 3, 4, 6 */
        assert_int_equal(a.shared_bytes, 2 * FAKE_PAGE);
        assert_int_equal(a.pss_sum, 2 * 6 * 1024);
        count_process_result(c, 0, &p);
        assert_int_equal(p.share, FAKE_PAGE / 2 + FAKE_PAGE / 2 + FAKE_PAGE + FAKE_PAGE + FAKE_PAGE);
        assert_int_equal(p.alone, 3 * FAKE_PAGE); /* 3, 6, 7 */
        count_process_result(c, 1, &p);
        assert_int_equal(p.share, 2 * FAKE_PAGE);
        assert_int_equal(p.alone, FAKE_PAGE);
}

static void test_shared_mm(void **state)
{
        _cleanup_(count_freep) struct count *c = new_count(*state, 0);
        struct process_sample p;
        struct group_sample a;

        process(*state, 12, (uint64_t[]){PRIVATE | 1, PRIVATE | 2}, 2);
        count_add_group(c);
        count_add_group(c);
        add(c, 11, 7, 0, NOBODY); /* ended meanwhile; its address space lives on in 12 and 13 */
        add(c, 12, 7, 0, 1);
        add(c, 13, 7, 1, NOBODY);
        assert_int_equal(count_run(c, NULL), 0);
        for (uint32_t g = 0; g < 2; g++) {
                count_group_result(c, g, &a);
                assert_int_equal(a.quality, QUALITY_EXACT);
                assert_int_equal(a.mapped, 2 * FAKE_PAGE);
                assert_int_equal(a.resident, 2 * FAKE_PAGE);
        }
        count_process_result(c, 0, &p);
        assert_int_equal(p.outcome, COUNT_GONE);
        count_process_result(c, 2, &p);
        assert_int_equal(p.outcome, COUNT_DONE);
        assert_int_equal(p.mapped, 2 * FAKE_PAGE);
}

/* Process 11 ends after some pages of it have been counted: no trace of it is left. */
static void vanish(struct fake *f, unsigned call)
{
        if (call == 3)
                fake_vanish(f, 11);
}

static void test_rollback(void **state)
{
        struct fake *f = *state;
        _cleanup_(count_freep) struct count *c = new_count(f, COUNT_PRIVATE);
        uint64_t entries[5000];
        struct process_sample p;
        struct group_sample a;

        for (size_t i = 0; i < ARRAY_SIZE(entries); i++)
                entries[i] = SHARED | (100 + i);
        process(f, 11, entries, ARRAY_SIZE(entries));
        process(f, 12, entries, 10);
        process(f, 13, entries + 5, 10);
        count_add_group(c);
        add(c, 12, 1, 0, NOBODY);
        add(c, 11, 2, 0, NOBODY);
        add(c, 13, 3, 0, NOBODY);
        f->on_pread = vanish;
        assert_int_equal(count_run(c, NULL), 0);
        count_group_result(c, 0, &a);
        assert_int_equal(a.quality, QUALITY_EXACT);
        assert_int_equal(a.resident, 15 * FAKE_PAGE);
        assert_int_equal(a.mapped, 20 * FAKE_PAGE);
        assert_int_equal(a.unread, 0);
        count_process_result(c, 1, &p);
        assert_int_equal(p.outcome, COUNT_GONE);
        assert_int_equal(p.mapped, 0);
}

static void test_unread(void **state)
{
        struct fake *f = *state;
        struct group_sample a;

        process(f, 11, (uint64_t[]){PRIVATE | 1}, 1);
        process(f, 12, (uint64_t[]){PRIVATE | 2}, 1);
        fake_write(f, "proc/12/maps", "what is this\n");
        for (int both = 0; both < 2; both++) {
                _cleanup_(count_freep) struct count *c = new_count(f, COUNT_PSS);
                struct process_sample p;

                if (both)
                        fake_write(f, "proc/11/maps", "what is this\n");
                count_add_group(c);
                count_add_group(c);
                add(c, 11, 0, 0, NOBODY);
                add(c, 12, 0, 0, NOBODY);
                assert_int_equal(count_run(c, NULL), 0);
                count_group_result(c, 0, &a);
                assert_int_equal(a.quality, both ? QUALITY_UNKNOWN : QUALITY_BOUND_LOWER);
                assert_int_equal(a.unread, 1 + both);
                assert_true(a.resident == (both ? SIZE_UNKNOWN : FAKE_PAGE));
                assert_true(a.pss_sum == SIZE_UNKNOWN);
                count_process_result(c, 1, &p);
                assert_int_equal(p.outcome, COUNT_UNREAD);
                assert_int_equal(p.error, -EBADMSG);
                count_group_result(c, 1, &a); /* nobody in it: exactly nothing */
                assert_int_equal(a.quality, QUALITY_EXACT);
                assert_int_equal(a.resident, 0);
        }
}

/* A thread is given up in each of its guarded calls in turn, and another one finishes the count. */
static void test_give_up(void **state)
{
        struct fake *f = *state;
        uint64_t entries[3000];
        bool lost = true;

        for (size_t i = 0; i < ARRAY_SIZE(entries); i++)
                entries[i] = SHARED | (100 + i);
        for (int pid = 11; pid <= 13; pid++)
                process(f, pid, entries + pid - 11, 2990);
        for (unsigned k = 1; lost; k++) {
                _cleanup_(count_freep) struct count *c = new_count(f, COUNT_PRIVATE | COUNT_SHARES | COUNT_PSS);
                unsigned stuck = 0;
                struct fake_guard g;
                struct group_sample a;
                int r;

                count_add_group(c);
                for (int pid = 11; pid <= 13; pid++)
                        add(c, pid, (uint64_t)pid, 0, NOBODY);
                fake_guard_init(&g);
                g.lose_at = k;
                r = count_run(c, &g.guard);
                lost = r == -ECANCELED;
                if (lost) {
                        assert_int_equal(count_give_up(c, &g.guard), g.pid);
                        assert_int_equal(count_give_up(c, &g.guard), 0);
                        count_group_result(c, 0, &a);
                        assert_int_equal(a.quality, QUALITY_UNKNOWN);
                        fake_guard_init(&g);
                        r = count_run(c, &g.guard);
                }
                assert_int_equal(r, 0);
                for (uint32_t i = 0; i < 3; i++) {
                        struct process_sample p;

                        count_process_result(c, i, &p);
                        stuck += p.outcome == COUNT_STUCK;
                        assert_true(p.outcome == COUNT_STUCK || p.outcome == COUNT_DONE);
                        if (p.outcome == COUNT_DONE)
                                assert_int_equal(p.mapped, 2990 * FAKE_PAGE);
                }
                count_group_result(c, 0, &a);
                assert_int_equal(a.unread, stuck);
                assert_int_equal(a.quality, stuck ? QUALITY_BOUND_LOWER : QUALITY_EXACT);
                assert_int_equal(a.mapped, (3 - stuck) * 2990 * FAKE_PAGE);
                assert_in_range(a.resident, 2991 * FAKE_PAGE, 2992 * FAKE_PAGE);
                assert_true(stuck <= 1);
        }
}

/* Told to stop, a count keeps what it has and goes on later. */
static void test_stop(void **state)
{
        struct fake *f = *state;

        for (int pid = 11; pid <= 13; pid++)
                process(f, pid, (uint64_t[]){SHARED | 1, PRIVATE | (uint64_t)pid}, 2);
        for (unsigned k = 1; k < 40; k++) {
                _cleanup_(count_freep) struct count *c = new_count(f, COUNT_SHARES);
                struct fake_guard g;
                struct group_sample a;
                int r;

                count_add_group(c);
                for (int pid = 11; pid <= 13; pid++)
                        add(c, pid, (uint64_t)pid, 0, NOBODY);
                fake_guard_init(&g);
                g.stop_at = k;
                r = count_run(c, &g.guard);
                assert_true(r == 0 || r == -ECANCELED);
                assert_int_equal(count_run(c, NULL), 0);
                count_group_result(c, 0, &a);
                assert_int_equal(a.quality, QUALITY_EXACT);
                assert_int_equal(a.resident, 4 * FAKE_PAGE);
                assert_int_equal(a.mapped, 6 * FAKE_PAGE);
        }
}

/* Every call of every kind fails once with every errno: no crash, no leak, and never an exact figure that is not the true one. */
static void test_failures(void **state)
{
        static const ssize_t values[] = {-EACCES, -EPERM, -ENOMEM, -EMFILE, -ESRCH, -ENOENT,
                                         -EIO,    -EINTR, -ENOTTY, 0,       3};
        static const enum fake_op ops[] = {OP_OPENAT, OP_PREAD, OP_READ, OP_SCAN};
        struct fake *f = *state;

        process(f, 11, (uint64_t[]){SHARED | 1, PRIVATE | 3}, 2);
        process(f, 12, (uint64_t[]){SHARED | 1, PRIVATE | 4}, 2);
        fake_process(f, 12, 5, "x",
                     "10000000-90000000 rw-p 00000000 00:00 0\nb0000000-b0001000 rw-p 00000000 00:01 5 /x\n", 1000000,
                     2);
        fake_pages(f, 12, BASE, (uint64_t[]){SHARED | 1, PRIVATE | 4}, 2);
        f->features.pagemap_scan = true;
        for (size_t o = 0; o < ARRAY_SIZE(ops); o++)
                for (size_t v = 0; v < ARRAY_SIZE(values); v++)
                        for (unsigned k = 1; k < 60; k++) {
                                _cleanup_(count_freep) struct count *c = NULL;
                                struct process_sample p[2];
                                struct group_sample a;
                                unsigned done = 0, gone = 0;
                                int r;

                                /* descriptors that are numbers out of nowhere would be closed */
                                if (ops[o] == OP_OPENAT && values[v] >= 0)
                                        continue;
                                c = new_count(f, COUNT_PRIVATE | COUNT_SHARES | COUNT_PSS);
                                count_add_group(c);
                                add(c, 11, 1, 0, NOBODY);
                                add(c, 12, 2, 0, NOBODY);
                                f->fail_op = ops[o];
                                f->fail_at = f->calls[ops[o]] + k;
                                f->fail_value = values[v];
                                r = count_run(c, NULL);
                                count_group_result(c, 0, &a);
                                for (uint32_t i = 0; i < 2; i++) {
                                        count_process_result(c, i, &p[i]);
                                        done += p[i].outcome == COUNT_DONE;
                                        gone += p[i].outcome == COUNT_GONE;
                                }
                                if (r < 0) {
                                        assert_int_not_equal(a.quality, QUALITY_EXACT);
                                        continue;
                                }
                                assert_int_equal(a.quality, done + gone == 2 ? QUALITY_EXACT
                                                            : done > 0       ? QUALITY_BOUND_LOWER
                                                                             : QUALITY_UNKNOWN);
                                assert_int_equal(a.unread, 2 - done - gone);
                                assert_int_equal(a.resident, done == 2 ? 3 * FAKE_PAGE : done * 2 * FAKE_PAGE);
                                assert_int_equal(a.mapped, done * 2 * FAKE_PAGE);
                                /* only the kernel's own words for "not there" make a process gone */
                                if (values[v] != -ESRCH && values[v] != -ENOENT && values[v] != 0 &&
                                    values[v] != -ECANCELED)
                                        assert_int_equal(gone, 0);
                        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test_setup_teardown(test_overlap, fake_setup, fake_teardown),
                        cmocka_unit_test_setup_teardown(test_private_and_shares, fake_setup, fake_teardown),
                        cmocka_unit_test_setup_teardown(test_shared_mm, fake_setup, fake_teardown),
                        cmocka_unit_test_setup_teardown(test_rollback, fake_setup, fake_teardown),
                        cmocka_unit_test_setup_teardown(test_unread, fake_setup, fake_teardown),
                        cmocka_unit_test_setup_teardown(test_give_up, fake_setup, fake_teardown),
                        cmocka_unit_test_setup_teardown(test_stop, fake_setup, fake_teardown),
                        cmocka_unit_test_setup_teardown(test_failures, fake_setup, fake_teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
