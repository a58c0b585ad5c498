/* SPDX-License-Identifier: MIT */
/* DAMON is left as it was found, whatever fails, and whoever else uses it is left alone. */
#include "damon-world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LRU (FRAME_FLAG_LRU | FRAME_FLAG_ANON | FRAME_FLAG_SWAPBACKED)

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

static int act(struct dworld *w, struct act_result *ret, char problem[static 192])
{
        struct damon_request q = {
                        .goal = 100 * PAGE, .any = true, .max_time = LIMIT_DAMON_ACT_USEC, .runtime_fd = w->runtime_fd};
        struct inside_frames f = dworld_set(0, 6, 1, 3);
        _cleanup_(damon_freep) struct damon *d = NULL;
        int r;

        dworld_frames(w, 0, 12, 3, LRU);
        memset(w->marked, 0, sizeof(w->marked));
        assert_int_equal(damon_new(&w->sys, &w->features, &q, &f, &d), 0);
        r = damon_run(d, NULL);
        damon_result(d, ret);
        snprintf(problem, 192, "%s", damon_problem(d));
        for (size_t i = 1; i < 12; i += 2)
                assert_int_equal(dworld_count(w, i), 3);
        return r;
}

/* Each call of each kind fails once. What is left then must be known by the record, and the next start removes it. */
static void test_every_call(void **state)
{
        static const int errors[] = {EIO, EBUSY, ENOENT};
        struct dworld *w = *state;
        unsigned left_behind = 0, runs = 0;

        for (enum dop op = 0; op < _DOP_MAX; op++)
                for (size_t e = 0; e < ARRAY_SIZE(errors); e++) {
                        bool whole = false;

                        /* the others here and there: they are told apart in few places */
                        for (unsigned k = 1; !whole && k < 2000; k += e == 0 ? 1 : 11) {
                                struct act_result s;
                                char problem[192];
                                int r;

                                memset(w->counts, 0, sizeof(w->counts));
                                w->fail_op = op;
                                w->fail_at = k;
                                w->fail_error = errors[e];
                                r = act(w, &s, problem);
                                whole = w->counts[op] < k;
                                w->fail_at = 0;
                                runs++;
                                if (whole)
                                        assert_int_equal(r, 0);
                                if (r < 0)
                                        assert_true(strlen(problem) > 0);
                                assert_true(s.unmapped <= 6 * PAGE);
                                if (dworld_number(w, ADMIN "/nr_kdamonds") != 0 || w->running) {
                                        assert_true(dworld_exists(w, "run/" DAMON_RECORD));
                                        left_behind++;
                                }
                                assert_true(damon_recover(&w->sys, w->runtime_fd) >= 0);
                                dworld_assert_clean(w);
                        }
                        assert_true(whole);
                }
        /* only a failure in the cleaning up itself leaves anything */
        assert_in_range(left_behind, 1, runs / 10);
}

/* Somebody else reads something of DAMON's at the same moment: tried again. */
static void test_busy(void **state)
{
        struct dworld *w = *state;
        struct act_result s;
        char problem[192];

        w->fail_op = DOP_WRITE;
        w->fail_error = EBUSY;
        for (unsigned k = 1; k < 40; k++) {
                memset(w->counts, 0, sizeof(w->counts));
                w->fail_at = k;
                /* the first and the third are of the record, which is no file of DAMON's */
                if (act(w, &s, problem) < 0)
                        assert_true(k == 1 || k == 3);
                else
                        assert_int_equal(s.unmapped, 6 * PAGE);
                dworld_assert_clean(w);
        }
}

static void test_in_use(void **state)
{
        struct dworld *w = *state;
        struct act_result s;
        char problem[192];

        dworld_write(w, ADMIN "/nr_kdamonds", "1\n");
        assert_int_equal(act(w, &s, problem), -EBUSY);
        assert_true(strstr(problem, "in use") != NULL);
        assert_int_equal(w->counts[DOP_WRITE], 0);
        assert_int_equal(s.attempted, 0);
        assert_int_equal(s.error, EBUSY);
        assert_int_equal(dworld_number(w, ADMIN "/nr_kdamonds"), 1);
        assert_false(dworld_exists(w, "run/" DAMON_RECORD));
}

static void test_module(void **state)
{
        struct dworld *w = *state;
        struct act_result s;
        char problem[192];

        dworld_write(w, "sys/module/damon_reclaim/parameters/enabled", "Y\n");
        assert_int_equal(act(w, &s, problem), -EBUSY);
        assert_true(strstr(problem, "damon_reclaim") != NULL);
        assert_int_equal(w->counts[DOP_WRITE], 0);
}

/* Whoever holds DAMON by other means is found when it is turned on. */
static void test_exclusive(void **state)
{
        struct dworld *w = *state;
        struct act_result s;
        char problem[192];

        w->error_on = EBUSY;
        assert_int_equal(act(w, &s, problem), -EBUSY);
        assert_true(strstr(problem, "in use") != NULL);
        dworld_assert_clean(w);
        w->error_on = ENOMEM;
        assert_int_equal(act(w, &s, problem), -ENOMEM);
        assert_true(strstr(problem, "turned on") != NULL);
        dworld_assert_clean(w);
}

static void test_missing(void **state)
{
        struct dworld *w = *state;
        struct act_result s;
        char problem[192], why[160], path[256];

        assert_true(features_damon(&w->sys, why));
        assert_string_equal(why, "");
        snprintf(path, sizeof(path), "%s/" ADMIN "/nr_kdamonds", w->path);
        assert_int_equal(remove(path), 0);
        assert_false(features_damon(&w->sys, why));
        assert_true(strstr(why, "CONFIG_DAMON") != NULL);
        assert_int_equal(act(w, &s, problem), -EBUSY);
        assert_string_equal(problem, why);
}

/* -- after a crash -- */

static void record(struct dworld *w, uint64_t inode)
{
        char text[128];

        snprintf(text, sizeof(text), "0b7d2a2f-6d0a-4d3b-a0de-111122223333 %llu\n", (unsigned long long)inode);
        dworld_write(w, "run/" DAMON_RECORD, text);
}

/* A kdamond as capd or somebody else would make it. Its inode number. */
static uint64_t kdamond(struct dworld *w, const char *contexts)
{
        struct stat st;

        assert_int_equal(sys_write_file_at(&w->sys, w->sys.root_fd, ADMIN "/nr_kdamonds", "1"), 0);
        dworld_write(w, ADMIN "/0/contexts/nr_contexts", contexts);
        assert_int_equal(fstatat(w->sys.root_fd, ADMIN "/0", &st, 0), 0);
        return st.st_ino;
}

static void test_recover(void **state)
{
        struct dworld *w = *state;

        assert_int_equal(damon_recover(&w->sys, w->runtime_fd), 0);
        record(w, kdamond(w, "1"));
        assert_int_equal(damon_recover(&w->sys, w->runtime_fd), 1);
        dworld_assert_clean(w);
        /* already removed */
        record(w, 12345);
        assert_int_equal(damon_recover(&w->sys, w->runtime_fd), 0);
        dworld_assert_clean(w);
}

static void still_there(struct dworld *w)
{
        assert_int_equal(damon_recover(&w->sys, w->runtime_fd), 0);
        assert_int_equal(dworld_number(w, ADMIN "/nr_kdamonds"), 1);
        assert_true(dworld_exists(w, ADMIN "/0"));
        assert_false(dworld_exists(w, "run/" DAMON_RECORD));
}

static void test_recover_other(void **state)
{
        struct dworld *w = *state;
        uint64_t inode = kdamond(w, "1");

        record(w, inode + 1);
        still_there(w);
        /* a record of before the host was booted */
        dworld_write(w, "run/" DAMON_RECORD, "ffffffff-6d0a-4d3b-a0de-111122223333 1\n");
        still_there(w);
        /* one that had not got so far, and somebody has set something up since */
        record(w, 0);
        still_there(w);
        dworld_write(w, "run/" DAMON_RECORD, "");
        still_there(w);
        dworld_write(w, ADMIN "/0/contexts/nr_contexts", "0\n");
        dworld_write(w, ADMIN "/0/state", "on\n");
        record(w, 0);
        still_there(w);
}

/* Ended between making the kdamond and writing down which it is: nobody has put anything into it. */
static void test_recover_early(void **state)
{
        struct dworld *w = *state;

        kdamond(w, "0");
        record(w, 0);
        assert_int_equal(damon_recover(&w->sys, w->runtime_fd), 1);
        dworld_assert_clean(w);
        /* one that says nothing proves nothing */
        kdamond(w, "0");
        dworld_write(w, "run/" DAMON_RECORD, "");
        still_there(w);
}

/* More than one: capd never makes them. */
static void test_recover_several(void **state)
{
        struct dworld *w = *state;
        uint64_t inode;
        struct stat st;

        assert_int_equal(sys_write_file_at(&w->sys, w->sys.root_fd, ADMIN "/nr_kdamonds", "2"), 0);
        assert_int_equal(fstatat(w->sys.root_fd, ADMIN "/0", &st, 0), 0);
        inode = st.st_ino;
        record(w, inode);
        assert_int_equal(damon_recover(&w->sys, w->runtime_fd), 0);
        assert_int_equal(dworld_number(w, ADMIN "/nr_kdamonds"), 2);
}

static void test_recover_faults(void **state)
{
        struct dworld *w = *state;

        for (enum dop op = 0; op < _DOP_MAX; op++) {
                bool whole = false;

                for (unsigned k = 1; !whole && k < 100; k++) {
                        int r;

                        record(w, kdamond(w, "1"));
                        memset(w->counts, 0, sizeof(w->counts));
                        w->fail_op = op;
                        w->fail_at = k;
                        w->fail_error = EACCES;
                        r = damon_recover(&w->sys, w->runtime_fd);
                        whole = w->counts[op] < k;
                        w->fail_at = 0;
                        /* either it is done, or the record is still there and it is done the next time */
                        if (r < 0)
                                assert_true(dworld_exists(w, "run/" DAMON_RECORD));
                        assert_true(damon_recover(&w->sys, w->runtime_fd) >= 0);
                        dworld_assert_clean(w);
                }
                assert_true(whole);
        }
}

/* While an act is under way the record tells so at every moment: as if capd ended then. */
static void crash(struct dworld *w)
{
        assert_true(dworld_exists(w, "run/" DAMON_RECORD));
}

static void test_record_first(void **state)
{
        struct dworld *w = *state;
        struct act_result s;
        char problem[192];

        w->on_start = crash;
        assert_int_equal(act(w, &s, problem), 0);
        dworld_assert_clean(w);
        /* cannot be written: nothing is set up */
        w->fail_error = ENOSPC;
        for (enum dop op = DOP_WRITE; op != _DOP_MAX; op = op == DOP_WRITE      ? DOP_CREATEAT
                                                           : op == DOP_CREATEAT ? DOP_RENAMEAT
                                                                                : _DOP_MAX) {
                memset(w->counts, 0, sizeof(w->counts));
                w->fail_op = op;
                w->fail_at = 1;
                assert_int_equal(act(w, &s, problem), -ENOSPC);
                assert_int_equal(w->counts[DOP_WRITE], op != DOP_CREATEAT);
                dworld_assert_clean(w);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test_setup_teardown(test_every_call, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_busy, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_in_use, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_module, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_exclusive, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_missing, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_recover, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_recover_other, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_recover_early, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_recover_several, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_recover_faults, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_record_first, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
