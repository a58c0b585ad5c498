/* SPDX-License-Identifier: MIT */
/* The pure parts: order of targets, legs of a pass, size of steps, traces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "capd/enforce/order.h"
#include "capd/enforce/step.h"
#include "capd/enforce/trace.h"

#define S    USEC_PER_SEC
#define PAGE 4096ULL

static struct pageout_target target(pid_t pid, usec_t idle, uint64_t resident)
{
        return (struct pageout_target){.pid = pid,
                                       .start_time = (uint64_t)pid * 10,
                                       .mm_id = (uint64_t)pid,
                                       .resident = resident,
                                       .idle_for = idle};
}

static void test_order(void **state)
{
        struct pageout_cursor none = {}, at_24 = {.pid = 24, .start_time = 240, .address = 1},
                              reused = {.pid = 24, .start_time = 99, .address = 1};
        static const pid_t expected[] = {21, 23, 22, 26, 25, 24, 28, 27};
        struct pageout_target t[] = {
                        target(22, 60 * S, 100), target(21, 61 * S, 900), target(23, 60 * S, 101),
                        target(24, 4 * S, 5000), target(25, 5 * S, 300),  target(26, 59 * S, 400),
                        target(27, 0, 10),       target(28, 4999999, 10),
        };

        pageout_order(t, ARRAY_SIZE(t), &none);
        for (size_t i = 0; i < ARRAY_SIZE(t); i++)
                assert_int_equal(t[i].pid, expected[i]);
        pageout_order(t, ARRAY_SIZE(t), &reused);
        assert_int_equal(t[0].pid, 21);
        pageout_order(t, ARRAY_SIZE(t), &at_24);
        assert_int_equal(t[0].pid, 24);
        assert_int_equal(t[1].pid, 21);
        pageout_order(t, 0, &none);
}

static void test_order_is_stable(void **state)
{
        struct pageout_target t[] = {target(9, 0, 1), target(7, 0, 1), target(8, 0, 1)};
        struct pageout_cursor none = {};

        pageout_order(t, 3, &none);
        assert_int_equal(t[0].pid, 7);
        assert_int_equal(t[2].pid, 9);
}

static void test_legs_spare(void **state)
{
        struct pageout_target t[] = {target(10, 0, 500), target(11, 0, 400),  target(12, 0, 99),  target(13, 0, 300),
                                     target(14, 0, 300), target(1, 0, 50000), target(15, 0, 200), target(16, 0, 200)};
        struct pageout_cursor none = {};
        struct legs legs = {};
        uint64_t floor = 0;

        t[1].protected_process = true;
        t[4].mm_id = t[3].mm_id; /* counted and acted on once */
        t[7].mm_id = t[6].mm_id; /* one of two is protected: both are */
        t[7].protected_process = true;
        assert_int_equal(legs_plan(&legs, t, ARRAY_SIZE(t), 100, &none, &floor), 0);
        assert_int_equal(legs.n, 2);
        assert_int_equal(legs.items[0].target, 0);
        assert_int_equal(legs.items[1].target, 3);
        assert_int_equal(floor, 400 + 99 + 50000 + 200);
        legs_done(&legs);
}

static void test_legs_unknown_mm(void **state)
{
        struct pageout_target t[] = {target(10, 0, 500), target(11, 0, 400)};
        struct pageout_cursor none = {};
        struct legs legs = {};
        uint64_t floor = 0;

        t[0].mm_id = t[1].mm_id = 0;
        assert_int_equal(legs_plan(&legs, t, 2, 0, &none, &floor), 0);
        assert_int_equal(legs.n, 2);
        legs_done(&legs);
}

static void test_legs_wrap(void **state)
{
        struct pageout_target t[] = {target(10, 0, 500), target(11, 0, 400)};
        struct pageout_cursor cursor = {.pid = 10, .start_time = 100, .address = 0x5000};
        struct legs legs = {};
        uint64_t floor = 0;

        assert_int_equal(legs_plan(&legs, t, 2, 0, &cursor, &floor), 0);
        assert_int_equal(legs.n, 3);
        assert_int_equal(legs.items[0].from, 0x5000);
        assert_int_equal(legs.items[0].to, UINT64_MAX);
        assert_int_equal(legs.items[1].target, 1);
        assert_int_equal(legs.items[2].target, 0);
        assert_int_equal(legs.items[2].from, 0);
        assert_int_equal(legs.items[2].to, 0x5000);

        for (size_t i = 0; i < 3; i++)
                legs_defer(&legs, i, 0x6000);
        assert_int_equal(legs.n, 6);
        assert_int_equal(legs.items[5].to, 0x5000);
        legs_defer(&legs, 3, 0x7000); /* once is enough */
        assert_int_equal(legs.n, 6);
        legs_done(&legs);
}

/* A device that takes `per_mib` for 1 MiB: where steps end up, and how often they are too long. */
static uint64_t settle(struct step *s, usec_t per_mib, unsigned rounds, unsigned *ret_over)
{
        *ret_over = 0;
        for (unsigned i = 0; i < rounds; i++) {
                usec_t took = s->bytes * per_mib / MIB;

                *ret_over += took > s->max_stall;
                step_took(s, took);
                step_learn(s, s->bytes, s->bytes);
        }
        return s->bytes * per_mib / MIB;
}

static void test_step(void **state)
{
        struct step s;
        unsigned over;
        usec_t took;

        step_init(&s, PAGE, 2000, 0);
        assert_int_equal(s.bytes, STEP_FIRST_BYTES);
        took = settle(&s, 700, 50, &over);
        assert_in_range(took, 400, 1000);
        assert_int_equal(over, 0);

        /* far too slow: two long calls, then good */
        step_init(&s, PAGE, 2000, 0);
        took = settle(&s, 50000, 50, &over);
        assert_in_range(took, 400, 1000);
        assert_int_equal(over, 2);

        /* not one page can be done in time: a page at a time all the same */
        step_init(&s, PAGE, 2000, 0);
        settle(&s, 5000000, 50, &over);
        assert_int_equal(s.bytes, PAGE);

        step_init(&s, PAGE, 2000, 0);
        settle(&s, 0, 50, &over);
        assert_int_equal(s.bytes, STEP_MAX_BYTES);
        step_init(&s, PAGE, 0, 0);
        settle(&s, 700, 50, &over);
        assert_int_equal(s.bytes, PAGE);
}

static void test_step_recovers(void **state)
{
        struct step s;
        unsigned over;
        uint64_t before;

        step_init(&s, PAGE, 2000, 0);
        settle(&s, 700, 50, &over);
        before = s.bytes;
        step_took(&s, 2000000);
        step_took(&s, 2000000);
        step_learn(&s, s.bytes, s.bytes);
        assert_true(s.bytes <= PAGE);
        settle(&s, 700, 20, &over);
        assert_true(s.bytes >= before / 8);
        settle(&s, 700, 2500, &over);
        assert_true(s.bytes >= before / 2);
        assert_int_equal(over, 0);
}

static void test_step_goes_on(void **state)
{
        struct step s;

        step_init(&s, PAGE, 2000, 5 * PAGE + 1);
        assert_int_equal(s.bytes, 5 * PAGE);
        step_init(&s, PAGE, 2000, 1);
        assert_int_equal(s.bytes, PAGE);
        step_init(&s, PAGE, 2000, UINT64_MAX);
        assert_int_equal(s.bytes, STEP_MAX_BYTES);
}

static void test_step_learns_only_from_what_moved(void **state)
{
        struct step s;

        step_init(&s, PAGE, 2000, 0);
        step_took(&s, 5);
        step_learn(&s, s.bytes, 0); /* locked */
        assert_int_equal(s.bytes, STEP_FIRST_BYTES);
        step_took(&s, 1);
        step_learn(&s, PAGE, PAGE); /* the end of a process */
        assert_int_equal(s.bytes, STEP_FIRST_BYTES);
        step_took(&s, 8000); /* nothing moved, and yet the lock was held */
        assert_int_equal(s.bytes, STEP_FIRST_BYTES / 4);
        step_took(&s, 8000);
        step_learn(&s, s.bytes, 0);
        assert_true(s.bytes < STEP_FIRST_BYTES / 16);
}

/* The longest call of a batch counts, and one that was too long makes those of the same batch shorter. */
static void test_step_of_a_batch(void **state)
{
        struct step s;
        uint64_t bytes;

        step_init(&s, PAGE, 2000, 0);
        bytes = s.bytes;
        step_took(&s, 100);
        step_took(&s, 700);
        step_took(&s, 100);
        assert_int_equal(s.bytes, bytes);
        step_learn(&s, 3 * bytes, 3 * bytes);
        assert_int_equal(s.bytes, bytes);
        step_took(&s, 100);
        step_learn(&s, bytes, bytes);
        assert_int_equal(s.bytes, 2 * bytes);
        step_took(&s, 20000); /* a single one */
        assert_int_equal(s.bytes, bytes / 2);
        for (unsigned i = 0; i < 300; i++)
                step_took(&s, 100);
        step_took(&s, 20000); /* another one, long after */
        assert_int_equal(s.bytes, bytes / 8);
        step_took(&s, 1400); /* and the next: in proportion */
        assert_int_equal(s.bytes, bytes / 16);
        assert_true(step_batch(&s) >= 2 * s.bytes && step_batch(&s) <= STEP_MAX_BYTES);

        /* another process begins small, but not larger than what a slow device can do */
        step_begin(&s);
        assert_int_equal(s.bytes, bytes / 16);
        step_init(&s, PAGE, 2000, 4 * MIB);
        step_begin(&s);
        assert_int_equal(s.bytes, STEP_FIRST_BYTES);
}

/* A target that every so often is on another processor, where a page takes ten times as long. */
static void test_step_of_two_speeds(void **state)
{
        unsigned over = 0, calls = 0;
        uint64_t bytes = 0;
        struct step s;

        step_init(&s, PAGE, 2000, 0);
        for (unsigned batch = 0; batch < 4000; batch++) {
                for (unsigned i = 0; i < 8; i++) {
                        bool slow = ++calls % 50 == 0;
                        usec_t took = s.bytes / PAGE * (slow ? 22 : 2);

                        if (batch >= 100) {
                                over += took > s.max_stall;
                                bytes += s.bytes;
                        }
                        step_took(&s, took);
                }
                step_learn(&s, s.bytes, s.bytes);
        }
        /* less than one in a thousand is too long, and they are no shorter than that takes */
        assert_true(over * 1000 < calls);
        assert_true(bytes / calls >= 24 * PAGE);
}

static void test_trace(void **state)
{
        struct pageout_trace *t = calloc(1, sizeof(*t));
        struct pageout_target a = target(10, 0, 1), b = target(11, 0, 1);

        assert_non_null(t);
        trace_add(t, &a, 0x1000, 0x2000, 0x2000);
        trace_add(t, &a, 0x3000, 0x1000, 0);
        trace_add(t, &a, 0x3000, 0x1000, 0x1000); /* touches */
        trace_add(t, &a, 0x9000, 0x1000, 0x1000);
        trace_add(t, &b, 0xa000, 0x1000, 0x1000);
        assert_int_equal(t->n_processes, 2);
        assert_int_equal(t->n_ranges, 3);
        assert_int_equal(t->ranges[0].end, 0x4000);
        assert_int_equal(t->ranges[0].left, 0x3000);
        assert_int_equal(trace_process_end(t, 0), 2);
        assert_int_equal(trace_process_end(t, 1), 3);
        assert_int_equal(t->recorded, 0x5000);

        for (uint64_t i = 0; i < TRACE_RANGES_MAX + 10; i++)
                trace_add(t, &b, 0x100000 + i * 2 * PAGE, PAGE, PAGE);
        assert_int_equal(t->n_ranges, TRACE_RANGES_MAX);
        assert_int_equal(t->dropped, 13 * PAGE);
        pageout_trace_free(t);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_order),
                        cmocka_unit_test(test_order_is_stable),
                        cmocka_unit_test(test_legs_spare),
                        cmocka_unit_test(test_legs_unknown_mm),
                        cmocka_unit_test(test_legs_wrap),
                        cmocka_unit_test(test_step),
                        cmocka_unit_test(test_step_recovers),
                        cmocka_unit_test(test_step_goes_on),
                        cmocka_unit_test(test_step_learns_only_from_what_moved),
                        cmocka_unit_test(test_step_of_a_batch),
                        cmocka_unit_test(test_step_of_two_speeds),
                        cmocka_unit_test(test_trace),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
