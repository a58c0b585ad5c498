/* SPDX-License-Identifier: MIT */
/* Acts by DAMON: which frames are handed over, how much goes, and what is said of it. */
#include "damon-world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LRU (FRAME_FLAG_LRU | FRAME_FLAG_ANON | FRAME_FLAG_SWAPBACKED)

/* A guard that counts; gives up in the lose_at-th call, says stop from the stop_at-th question on. */
struct test_guard {
        struct guard guard;
        struct dworld *world;
        unsigned left, asked, lose_at, stop_at;
};

static void enter(struct guard *g, pid_t pid)
{
        ((struct test_guard *)g)->world->guarded = true;
}

static bool leave(struct guard *g)
{
        struct test_guard *t = (struct test_guard *)g;

        t->world->guarded = false;
        return ++t->left != t->lose_at;
}

static bool stopping(struct guard *g)
{
        struct test_guard *t = (struct test_guard *)g;

        return ++t->asked >= t->stop_at && t->stop_at > 0;
}

static struct test_guard guard_of(struct dworld *w)
{
        return (struct test_guard){.guard = {.enter = enter, .leave = leave, .stopping = stopping}, .world = w};
}

static struct damon_request request(struct dworld *w, uint64_t pages)
{
        return (struct damon_request){
                        .goal = pages * PAGE, .max_time = LIMIT_DAMON_ACT_USEC, .runtime_fd = w->runtime_fd};
}

static int setup(void **state)
{
        *state = dworld_new();
        return 0;
}

static int teardown(void **state)
{
        dworld_free(*state);
        return 0;
}

/* From beginning to end. */
static int act(struct dworld *w, const struct damon_request *q, struct inside_frames frames, struct act_result *ret,
               uint64_t *ret_cursor, char problem[static 192])
{
        _cleanup_(damon_freep) struct damon *d = NULL;
        struct test_guard g = guard_of(w);
        int r;

        w->must_be_guarded = true;
        assert_int_equal(damon_new(&w->sys, &w->features, q, &frames, &d), 0);
        assert_null(frames.ranges);
        r = damon_run(d, &g.guard);
        damon_result(d, ret);
        if (ret_cursor)
                *ret_cursor = damon_cursor(d);
        snprintf(problem, 192, "%s", damon_problem(d));
        assert_false(damon_is_active());
        return r;
}

static void test_all(void **state)
{
        struct dworld *w = *state;
        struct damon_request q = request(w, 100000);
        struct act_result r;
        char problem[192];

        dworld_frames(w, 0, 1000, 1, LRU);
        dworld_frames(w, 100, 50, 6, LRU);
        assert_int_equal(act(w, &q, dworld_set(100, 50, 0, 6), &r, NULL, problem), 0);
        assert_string_equal(problem, "");
        assert_int_equal(dworld_mapped(w, 100, 50), 0);
        assert_int_equal(dworld_mapped(w, 0, 1000), 950);
        for (size_t i = 0; i < FRAMES; i++)
                assert_true(!w->acted[i] || (i >= 100 && i < 150));
        assert_int_equal(r.attempted, 50 * PAGE);
        assert_int_equal(r.unmapped, 50 * PAGE);
        assert_int_equal(r.freed, 50 * PAGE);
        assert_int_equal(r.left_busy, 0);
        assert_int_equal(r.error, 0);
        assert_true(r.ended - r.started >= LIMIT_DAMON_IDLE_USEC);
        assert_int_equal(w->ons, w->offs == 0 ? 0 : w->ons);
        dworld_assert_clean(w);
}

/* One frame here, one there: in portions, each with its own ranges. */
static void test_interleaved(void **state)
{
        struct dworld *w = *state;
        struct damon_request q = request(w, 100000);
        struct act_result r;
        char problem[192];

        dworld_frames(w, 0, FRAMES, 1, LRU);
        for (size_t i = 0; i < 5000; i++)
                dworld_frames(w, 1 + i * 3, 1, 6, LRU);
        assert_int_equal(act(w, &q, dworld_set(1, 5000, 2, 6), &r, NULL, problem), 0);
        assert_int_equal(r.unmapped, 5000 * PAGE);
        for (size_t i = 0; i < FRAMES; i++)
                assert_int_equal(w->acted[i], i < 15000 && i % 3 == 1);
        assert_int_equal(w->most_regions, LIMIT_DAMON_RANGES);
        /* a whole portion and a rest: directories are made anew only where their number changes */
        assert_int_equal(w->regions_set, 2);
        dworld_assert_clean(w);
}

static void test_goal(void **state)
{
        struct dworld *w = *state;
        struct act_result r;
        char problem[192];
        uint64_t cursor = 0;

        dworld_frames(w, 0, 1000, 6, LRU);
        for (unsigned i = 0; i < 10; i++) {
                struct damon_request q = request(w, 100);

                q.cursor = cursor;
                assert_int_equal(act(w, &q, dworld_set(0, 1000, 0, 6), &r, &cursor, problem), 0);
                assert_int_equal(r.unmapped, 100 * PAGE);
                assert_int_equal(w->most_bytes, 100 * PAGE);
                assert_int_equal(dworld_mapped(w, 0, 1000), 900 - 100 * i);
                /* goes on where the last ended, and begins again behind the end */
                assert_int_equal(cursor, 100 * (i + 1) * PAGE);
        }
        dworld_assert_clean(w);
}

/* Pages in use stay; a goal that needs them takes them only if told to. */
static void test_cold_first(void **state)
{
        struct dworld *w = *state;
        struct damon_request q = request(w, 500);
        struct act_result r;
        char problem[192];

        dworld_frames(w, 0, 800, 3, LRU);
        for (size_t i = 0; i < 800; i += 2)
                w->hot[i] = true;
        assert_int_equal(act(w, &q, dworld_set(0, 800, 0, 3), &r, NULL, problem), 0);
        assert_int_equal(r.unmapped, 400 * PAGE);
        assert_int_equal(r.left_busy, 400 * PAGE);
        for (size_t i = 0; i < 800; i++)
                assert_int_equal(dworld_count(w, i) > 0, w->hot[i]);
        /* what is left is in use */
        q = request(w, 100);
        q.any = true;
        assert_int_equal(act(w, &q, dworld_set(0, 800, 0, 3), &r, NULL, problem), 0);
        assert_int_equal(r.unmapped, 100 * PAGE);
        assert_int_equal(dworld_mapped(w, 0, 800), 300);
        dworld_assert_clean(w);
}

/* Both in one act. */
static void test_any(void **state)
{
        struct dworld *w = *state;
        struct damon_request q = request(w, 500);
        struct act_result r;
        char problem[192];
        size_t cold = 0;

        q.any = true;
        dworld_frames(w, 0, 800, 3, LRU);
        for (size_t i = 0; i < 800; i += 2)
                w->hot[i] = true;
        assert_int_equal(act(w, &q, dworld_set(0, 800, 0, 3), &r, NULL, problem), 0);
        assert_int_equal(r.unmapped, 500 * PAGE);
        for (size_t i = 1; i < 800; i += 2)
                cold += dworld_count(w, i) > 0;
        assert_int_equal(cold, 0);
        dworld_assert_clean(w);
}

/* A frame that is not mapped as it was is somebody's else, or changing: left out. */
static void test_changed(void **state)
{
        struct dworld *w = *state;
        struct damon_request q = request(w, 1000);
        struct act_result r;
        char problem[192];

        dworld_frames(w, 100, 50, 6, LRU);
        dworld_frames(w, 110, 1, 1, LRU);
        dworld_frames(w, 120, 1, 7, LRU);
        dworld_frames(w, 149, 1, 0, FRAME_FLAG_BUDDY);
        assert_int_equal(act(w, &q, dworld_set(100, 50, 0, 6), &r, NULL, problem), 0);
        assert_int_equal(r.attempted, 47 * PAGE);
        assert_false(w->acted[110] || w->acted[120] || w->acted[149]);
        assert_int_equal(dworld_mapped(w, 100, 50), 2);
        dworld_assert_clean(w);
}

/* A huge page goes whole or not at all. */
static void test_huge(void **state)
{
        struct dworld *w = *state;
        struct inside_frames f = dworld_set(0, 96, 0, 3);
        struct damon_request q = request(w, 40);
        struct act_result r;
        char problem[192];

        dworld_frames(w, 0, 96, 3, LRU);
        for (size_t i = 0; i < 96; i++)
                f.mappings[i] |= i % 32 ? INSIDE_TAIL : 0;
        dworld_frames(w, 7, 1, 4, LRU); /* somebody else maps one small page of the first by now */
        dworld_frames(w, 40, 1, 0, LRU);
        f.mappings[40] = INSIDE_TAIL; /* and nobody one of the second */
        assert_int_equal(act(w, &q, f, &r, NULL, problem), 0);
        /* one is within the goal; the next would not be, but for the rule that one always is handed over */
        assert_int_equal(dworld_mapped(w, 0, 32), 32);
        assert_int_equal(dworld_mapped(w, 32, 32), 0);
        assert_int_equal(dworld_mapped(w, 64, 32), 0);
        assert_int_equal(r.unmapped, 63 * PAGE);
        dworld_assert_clean(w);
}

/* A cursor in the middle of a huge page is one at its beginning. */
static void test_huge_cursor(void **state)
{
        struct dworld *w = *state;
        struct inside_frames f = dworld_set(0, 64, 0, 3);
        struct damon_request q = request(w, 32);
        struct act_result r;
        char problem[192];

        dworld_frames(w, 0, 64, 3, LRU);
        for (size_t i = 0; i < 64; i++)
                f.mappings[i] |= i % 32 ? INSIDE_TAIL : 0;
        q.cursor = 40 * PAGE;
        assert_int_equal(act(w, &q, f, &r, NULL, problem), 0);
        assert_int_equal(dworld_mapped(w, 32, 32), 0);
        assert_int_equal(dworld_mapped(w, 0, 32), 32);
}

static void test_reasons(void **state)
{
        struct dworld *w = *state;
        struct inside_frames f = dworld_set(0, 30, 0, 3);
        struct damon_request q = request(w, 1000);
        struct act_result r;
        char problem[192];

        f.left_locked = PAGE;
        f.left_no_swap = 2 * PAGE;
        f.left_partly = 3 * PAGE;
        dworld_frames(w, 0, 30, 3, LRU);
        dworld_frames(w, 0, 4, 3, LRU | FRAME_FLAG_UNEVICTABLE | FRAME_FLAG_MLOCKED);
        dworld_frames(w, 4, 2, 3, FRAME_FLAG_LRU | FRAME_FLAG_DIRTY);
        w->hot[4] = w->hot[5] = w->hot[6] = true;
        assert_int_equal(act(w, &q, f, &r, NULL, problem), 0);
        assert_int_equal(r.left_locked, (1 + 4) * PAGE);
        assert_int_equal(r.left_no_swap, 2 * PAGE);
        assert_int_equal(r.left_shared, 3 * PAGE);
        assert_int_equal(r.left_dirty, 2 * PAGE);
        assert_int_equal(r.left_busy, PAGE);
        assert_int_equal(r.unmapped, 23 * PAGE);
}

/* A kernel that cannot look at single pages. */
static void test_old_kernel(void **state)
{
        struct dworld *w = *state;
        struct damon_request q = request(w, 1000);
        struct act_result r;
        char problem[192];

        w->no_filters = true;
        dworld_frames(w, 0, 100, 3, LRU);
        w->hot[50] = true;
        assert_int_equal(act(w, &q, dworld_set(0, 50, 1, 3), &r, NULL, problem), 0);
        assert_string_equal(problem, "");
        assert_int_equal(r.unmapped, 49 * PAGE);
        q.any = true;
        assert_int_equal(act(w, &q, dworld_set(0, 50, 1, 3), &r, NULL, problem), 0);
        assert_int_equal(r.unmapped, PAGE);
        dworld_assert_clean(w);
}

static void test_time(void **state)
{
        struct dworld *w = *state;
        struct damon_request q = request(w, 100000);
        struct act_result r;
        char problem[192];
        uint64_t cursor;

        q.max_time = 2 * USEC_PER_SEC;
        for (size_t i = 0; i < 5000; i++)
                dworld_frames(w, i * 3, 1, 6, LRU);
        assert_int_equal(act(w, &q, dworld_set(0, 5000, 2, 6), &r, &cursor, problem), 0);
        assert_true(r.ended - r.started <= q.max_time + USEC_PER_SEC / 2);
        assert_int_equal(r.unmapped, LIMIT_DAMON_RANGES * PAGE);
        assert_int_equal(cursor, LIMIT_DAMON_RANGES * 3 * PAGE);
        dworld_assert_clean(w);
}

/* Passes that take long are made smaller. */
static void test_pace(void **state)
{
        struct dworld *w = *state;
        struct damon_request q = request(w, 100000);
        struct act_result r;
        char problem[192];

        w->cost = USEC_PER_SEC;
        dworld_frames(w, 0, 30000, 100, LRU);
        assert_int_equal(act(w, &q, dworld_set(0, 30000, 0, 100), &r, NULL, problem), 0);
        assert_true(w->most_bytes <= 128 * 1024 / 100 * PAGE);
        assert_true(r.unmapped > 0 && r.unmapped < 30000 * PAGE);
        dworld_assert_clean(w);
}

static void test_nothing(void **state)
{
        struct dworld *w = *state;
        struct inside_frames none = {}, odd = dworld_set(0, 10, 0, 2);
        struct damon_request q = request(w, 10);
        struct damon *d = NULL;
        struct act_result r;
        char problem[192];

        assert_int_equal(act(w, &q, none, &r, NULL, problem), 0);
        q.goal = 0;
        assert_int_equal(act(w, &q, dworld_set(0, 10, 0, 2), &r, NULL, problem), 0);
        assert_int_equal(r.attempted, 0);
        assert_int_equal(w->counts[DOP_WRITE], 0);
        odd.n_frames--;
        assert_int_equal(damon_new(&w->sys, &w->features, &q, &odd, &d), -EINVAL);
        assert_non_null(odd.ranges);
        inside_frames_done(&odd);
}

/* Thread after thread: whoever is given up leaves DAMON to the next, which cleans up. */
static void test_given_up(void **state)
{
        struct dworld *w = *state;

        for (unsigned k = 1; k <= 4; k++) {
                struct inside_frames f = dworld_set(0, 100, 0, 3);
                struct damon_request q = request(w, 1000);
                struct test_guard g = guard_of(w);
                struct act_result r;
                struct damon *d;

                dworld_frames(w, 0, 100, 3, LRU);
                memset(w->marked, 0, sizeof(w->marked));
                g.lose_at = k;
                assert_int_equal(damon_new(&w->sys, &w->features, &q, &f, &d), 0);
                assert_int_equal(damon_run(d, &g.guard), -ECANCELED);
                assert_true(damon_is_active());
                assert_true(dworld_exists(w, "run/" DAMON_RECORD));
                damon_give_up(d);
                assert_false(damon_is_active());
                g = guard_of(w);
                assert_int_equal(damon_run(d, &g.guard), 0);
                damon_result(d, &r);
                assert_int_equal(r.stuck, 1);
                assert_true(strlen(damon_problem(d)) > 0);
                dworld_assert_clean(w);
                damon_free(d);
        }
}

static void test_stopped(void **state)
{
        struct dworld *w = *state;
        bool whole = false;

        for (unsigned k = 1; !whole && k < 1000; k++) {
                struct inside_frames f = dworld_set(0, 100, 0, 3);
                struct damon_request q = request(w, 50);
                struct test_guard g = guard_of(w);
                struct act_result r;
                struct damon *d;
                int ret;

                q.any = true;
                dworld_frames(w, 0, 100, 3, LRU);
                memset(w->marked, 0, sizeof(w->marked));
                g.stop_at = k;
                assert_int_equal(damon_new(&w->sys, &w->features, &q, &f, &d), 0);
                ret = damon_run(d, &g.guard);
                assert_true(ret == 0 || ret == -ECANCELED);
                whole = g.asked < k;
                damon_result(d, &r);
                assert_true(r.unmapped <= 50 * PAGE);
                dworld_assert_clean(w);
                damon_free(d);
        }
        assert_true(whole);
}

/* A kernel thread that does not come to rest must not be told to stop: that would hang. The next act tries again. */
static void test_never_sleeps(void **state)
{
        struct dworld *w = *state;
        struct damon_request q = request(w, 100);
        struct act_result r;
        char problem[192];

        w->never_sleeps = true;
        dworld_frames(w, 0, 100, 3, LRU);
        assert_int_equal(act(w, &q, dworld_set(0, 100, 0, 3), &r, NULL, problem), -ETIMEDOUT);
        assert_true(strstr(problem, "come to rest") != NULL);
        assert_int_equal(w->offs, 0);
        assert_true(w->running && dworld_exists(w, "run/" DAMON_RECORD));
        assert_int_equal(damon_recover(&w->sys, w->runtime_fd), -ETIMEDOUT);
        w->never_sleeps = false;
        assert_int_equal(act(w, &q, dworld_set(0, 100, 0, 3), &r, NULL, problem), 0);
        assert_int_equal(r.unmapped, 100 * PAGE);
        dworld_assert_clean(w);
}

static void test_two_at_once(void **state)
{
        struct dworld *w = *state;
        struct inside_frames a = dworld_set(0, 10, 0, 3), b = dworld_set(0, 10, 0, 3);
        struct damon_request q = request(w, 10);
        struct test_guard g = guard_of(w);
        struct damon *first, *second;

        dworld_frames(w, 0, 10, 3, LRU);
        assert_int_equal(damon_new(&w->sys, &w->features, &q, &a, &first), 0);
        assert_int_equal(damon_new(&w->sys, &w->features, &q, &b, &second), 0);
        g.lose_at = 1; /* is still at it */
        assert_int_equal(damon_run(first, &g.guard), -ECANCELED);
        assert_int_equal(damon_run(second, NULL), -EBUSY);
        assert_true(strstr(damon_problem(second), "capd") != NULL);
        damon_give_up(first);
        /* what the first left is put away first */
        assert_int_equal(damon_run(second, NULL), 0);
        dworld_assert_clean(w);
        damon_free(first);
        damon_free(second);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test_setup_teardown(test_all, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_interleaved, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_goal, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_cold_first, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_any, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_changed, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_huge, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_huge_cursor, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_reasons, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_old_kernel, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_time, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_pace, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_nothing, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_given_up, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_stopped, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_never_sleeps, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_two_at_once, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
