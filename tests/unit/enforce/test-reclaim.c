/* SPDX-License-Identifier: MIT */
/* memory.reclaim on the model of reclaim-world.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "capd/enforce/reclaim.h"
#include "reclaim-world.h"

/* A guard as the pool has it; leaves for good at the lose_at-th call. */
static struct {
        struct guard guard;
        unsigned left, lose_at, stop_at, asked;
} g;

static void enter(struct guard *guard, pid_t pid)
{
        assert_false(k.w->guarded);
        k.w->guarded = true;
}

static bool leave(struct guard *guard)
{
        assert_true(k.w->guarded);
        k.w->guarded = false;
        return ++g.left != g.lose_at;
}

static bool stopping(struct guard *guard)
{
        assert_false(k.w->guarded);
        return ++g.asked == g.stop_at;
}

static bool any(pid_t pid, void *userdata)
{
        return true;
}

static const struct reclaim_member everybody[] = {{3, 103}, {1, 101}, {4, 104}, {2, 102}};

/* An act on cgroups /a and, if it is there, /b. */
static struct reclaim *make(uint64_t goal, const struct reclaim_request *with)
{
        struct cgroup_member members[] = {{1, "/a"}, {2, "/b"}};
        struct reclaim_request request =
                        with ? *with : (struct reclaim_request){.swap = true, .max_cache = SIZE_UNKNOWN};
        struct cgroup2 c = CGROUP2_CLOSED;
        struct owned_cgroups owned = {};
        struct reclaim *r = NULL;

        assert_int_equal(cgroup2_open(&k.w->sys, &c), 0);
        assert_int_equal(cgroups_find_owned(&c, members, 2, any, NULL, &owned), 0);
        cgroup2_close(&c);
        request.owned = &owned;
        if (!request.members) {
                request.members = everybody;
                request.n_members = ARRAY_SIZE(everybody);
        }
        request.goal = goal;
        request.max_time = request.max_time ? request.max_time : LIMIT_ACT_USEC;
        assert_int_equal(reclaim_new(&k.w->sys, &request, &r), 0);
        owned_cgroups_done(&owned);
        g = (__typeof__(g)){.guard = {.enter = enter, .leave = leave, .stopping = stopping}};
        k.w->must_be_guarded = true;
        return r;
}

static struct act_result act(uint64_t goal, const struct reclaim_request *with, struct reclaim_report *ret)
{
        _cleanup_(reclaim_freep) struct reclaim *r = make(goal, with);
        struct act_result result;

        assert_int_equal(reclaim_run(r, &g.guard), 0);
        assert_int_equal(reclaim_run(r, &g.guard), 0); /* nothing more */
        reclaim_result(r, &result);
        reclaim_get_report(r, ret);
        assert_true(ret->longest_write <= 2 * USEC_PER_SEC);
        return result;
}

/* Cache that nobody maps goes first and counts for nothing; then what is mapped, until it is enough. */
static void test_goal(void **state)
{
        struct model *a = group("/a", "1\n2\n", 200, 10, 400), *other = group("/x", "9\n", 100, 100, 100);
        struct reclaim_report report;
        struct act_result r = act(100 * MIB, NULL, &report);

        assert_int_equal(report.end, RECLAIM_GOAL);
        assert_int_equal(report.cache_taken, 400 * MIB);
        assert_int_equal(report.file_taken, 10 * MIB);
        assert_true(report.anon_taken >= 90 * MIB && report.anon_taken <= 92 * MIB);
        assert_int_equal(r.unmapped, report.file_taken + report.anon_taken);
        assert_int_equal(r.cache_taken, 400 * MIB);
        assert_int_equal(r.freed, r.unmapped + 400 * MIB);
        assert_int_equal(r.attempted, a->written);
        assert_int_equal(r.processes, 1);
        assert_int_equal(r.error, 0);
        assert_true(r.ended > r.started);
        assert_int_equal(r.left_busy + r.left_no_swap, 0);
        assert_int_equal(report.stranger, -1);
        assert_int_equal(report.writes, a->writes);
        assert_true(report.step > MIB); /* a millisecond for each is too little */
        assert_int_equal(other->written, 0);
}

static void test_anon_only(void **state)
{
        struct model *a = group("/a", "1\n2\n", 200, 10, 400);
        struct reclaim_report report;

        act(100 * MIB, &(struct reclaim_request){.swap = true, .anon_only = true, .max_cache = SIZE_UNKNOWN}, &report);
        assert_int_equal(report.end, RECLAIM_GOAL);
        assert_int_equal(report.cache_taken, 0);
        assert_int_equal(a->cache, 400 * MIB);
        assert_int_equal(a->mapped, 10 * MIB);
        assert_non_null(strstr(k.last, " swappiness=max"));
}

static void test_max_cache(void **state)
{
        struct model *a = group("/a", "1\n2\n", 200, 10, 400);
        struct reclaim_report report;
        struct act_result r = act(100 * MIB, &(struct reclaim_request){.swap = true, .max_cache = 50 * MIB}, &report);

        assert_int_equal(report.end, RECLAIM_CACHE);
        assert_int_equal(r.unmapped, 0);
        assert_true(a->cache >= 400 * MIB - 50 * MIB - LIMIT_RECLAIM_WRITE_BYTES);
}

/* Without swap only files go; what is left is said, and it ends. */
static void test_no_swap(void **state)
{
        struct model *a = group("/a", "1\n2\n", 200, 30, 5);
        struct reclaim_report report;
        struct act_result r;

        k.swap = 0;
        r = act(100 * MIB, &(struct reclaim_request){.max_cache = SIZE_UNKNOWN}, &report);
        assert_int_equal(report.end, RECLAIM_SHORT);
        assert_int_equal(report.file_taken, 30 * MIB);
        assert_int_equal(report.anon_taken, 0);
        assert_int_equal(r.unmapped, 30 * MIB);
        assert_int_equal(r.left_no_swap, 70 * MIB);
        assert_int_equal(r.left_busy, 0);
        assert_true(a->writes < 30);
        assert_int_equal(r.error, 0);

        /* swap that the cgroup, or one above it, may not use is none */
        k.swap = 1000 * MIB;
        for (unsigned i = 0; i < 3; i++) {
                static const char *const limits[] = {"0\n", "2097152\n", "max\n"};
                bool more = i == 2;

                file("/a", "memory.swap.max", limits[i]);
                file("/a", "memory.swap.current", "2000000\n");
                a->writes = 0;
                r = act(10 * MIB, NULL, &report);
                assert_int_equal(report.end, more ? RECLAIM_GOAL : RECLAIM_SHORT);
                assert_int_equal(r.left_no_swap, more ? 0 : 10 * MIB);
                assert_int_equal(a->writes > 0, more);
        }
        k.swap = 0;

        /* nothing but anonymous memory: the cache is left, too */
        a->cache = 50 * MIB;
        show(a);
        r = act(100 * MIB, &(struct reclaim_request){.max_cache = SIZE_UNKNOWN}, &report);
        assert_int_equal(report.end, RECLAIM_SHORT);
        assert_int_equal(report.writes, 0);
        assert_int_equal(a->cache, 50 * MIB);
        assert_int_equal(r.attempted, 0);
}

/* What brings down less than a tenth of the goal is no help, and not worth more page cache than it brings. */
static void test_in_vain(void **state)
{
        static const struct {
                uint64_t goal, cache;
                bool done;
        } cases[] = {{40, 50, false}, {40, 1, true}, {10, 50, true}};
        struct model *a = group("/a", "1\n2\n", 200, 0, 0);

        k.swap = 0;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct reclaim_report report;
                struct act_result r;

                a->mapped = 2 * MIB;
                a->cache = cases[i].cache * MIB;
                a->writes = 0;
                show(a);
                r = act(cases[i].goal * MIB, &(struct reclaim_request){.max_cache = SIZE_UNKNOWN}, &report);
                assert_int_equal(report.end, RECLAIM_SHORT);
                assert_int_equal(r.unmapped, cases[i].done ? 2 * MIB : 0);
                assert_int_equal(r.cache_taken, cases[i].done ? cases[i].cache * MIB : 0);
                assert_int_equal(a->writes > 0, cases[i].done);
                assert_int_equal(r.left_no_swap, cases[i].goal * MIB - r.unmapped);
        }
}

static void test_short(void **state)
{
        struct model *a = group("/a", "1\n2\n", 200, 0, 0);
        struct reclaim_report report;
        struct act_result r;

        a->hot = 150 * MIB;
        r = act(100 * MIB, NULL, &report);
        assert_int_equal(report.end, RECLAIM_SHORT);
        assert_int_equal(r.unmapped, 50 * MIB);
        assert_int_equal(r.left_busy, 50 * MIB);
        assert_int_equal(r.left_no_swap, 0);

        /* a kernel that says it did what it did not: no endless work */
        k.silent = true;
        r = act(100 * MIB, NULL, &report);
        assert_true(report.end == RECLAIM_SHORT || report.end == RECLAIM_TIME);
        assert_true(r.attempted <= 300 * MIB);
        assert_int_equal(r.unmapped, 0);
}

/* Shmem that is mapped is not taken for cache. */
static void test_shmem(void **state)
{
        struct model *a = group("/a", "1\n2\n", 0, 0, 20);
        struct reclaim_report report;
        struct act_result r;

        a->shmem = 200 * MIB;
        show(a);
        r = act(100 * MIB, NULL, &report);
        assert_int_equal(report.end, RECLAIM_GOAL);
        assert_int_equal(report.cache_taken, 20 * MIB);
        assert_int_equal(report.file_taken, r.unmapped);
        assert_int_equal(report.anon_taken, 0);
}

/* The larger gives more. */
static void test_share(void **state)
{
        struct model *a = group("/a", "1\n", 300, 0, 0), *b = group("/b", "2\n", 100, 0, 0);
        struct reclaim_report report;
        struct act_result r;

        group("/c", "9\n", 300, 0, 0);
        r = act(100 * MIB, NULL, &report);
        assert_int_equal(report.end, RECLAIM_GOAL);
        assert_true(a->written > 2 * b->written && b->written > 10 * MIB);
        assert_int_equal(r.processes, 2);
        assert_int_equal(k.groups[2].written, 0);
}

static void new_stranger(struct model *m)
{
        if (m->writes == 3)
                file(m->path, "cgroup.procs", "1\n2\n77\n");
}

static void foreign_stranger(struct model *m)
{
        file("/a/below", "cgroup.procs", "0\n");
}

static void test_strangers(void **state)
{
        struct model *a = group("/a", "1\n2\n", 200, 0, 0);
        struct reclaim_report report;
        struct act_result r;

        k.on_write = new_stranger;
        r = act(100 * MIB, NULL, &report);
        assert_int_equal(report.end, RECLAIM_STRANGERS);
        assert_int_equal(report.stranger, 77);
        assert_int_equal(a->writes, 3);
        assert_true(r.unmapped > 0 && r.unmapped < 100 * MIB);
        k.on_write = NULL;

        /* where the cgroup says who belongs, its new tasks do */
        act(20 * MIB, &(struct reclaim_request){.swap = true, .defined_by_cgroup = true, .max_cache = SIZE_UNKNOWN},
            &report);
        assert_int_equal(report.end, RECLAIM_GOAL);
        /* but not those of a cgroup below in which nobody is known */
        dir(ROOT "/a/below");
        file("/a/below", "cgroup.procs", "78\n");
        act(20 * MIB, &(struct reclaim_request){.swap = true, .defined_by_cgroup = true, .max_cache = SIZE_UNKNOWN},
            &report);
        assert_int_equal(report.end, RECLAIM_STRANGERS);
        assert_int_equal(report.stranger, 78);
        /* one of another PID namespace */
        file("/a/below", "cgroup.procs", "");
        file("/a", "cgroup.procs", "1\n2\n");
        a->writes = 0;
        k.on_write = foreign_stranger;
        act(20 * MIB, NULL, &report);
        assert_int_equal(report.end, RECLAIM_STRANGERS);
        assert_int_equal(report.stranger, 0);
}

static void set_parent(pid_t pid, pid_t parent)
{
        char path[256], text[256];
        FILE *f;

        snprintf(path, sizeof(path), "%s/proc/%d/status", k.w->path, (int)pid);
        f = fopen(path, "w");
        assert_non_null(f);
        snprintf(text, sizeof(text), "Name:\todd\\nPPid:\t4\nUmask:\t0022\nPid:\t%d\nPPid:\t%d\nUid:\t0\n", (int)pid,
                 (int)parent);
        fputs(text, f);
        fclose(f);
}

static void new_child(struct model *m)
{
        if (m->writes == 1)
                file(m->path, "cgroup.procs", "1\n2\n77\n78\n");
}

static struct reclaim_report again(struct model *m, const struct reclaim_request *request)
{
        struct reclaim_report report;

        m->writes = 0;
        file(m->path, "cgroup.procs", "1\n2\n");
        act(30 * MIB, request, &report);
        return report;
}

/* Those that a member has forked since are members, where that is wanted. */
static void test_children(void **state)
{
        struct model *a = group("/a", "1\n2\n", 200, 0, 0);
        struct reclaim_request request = {.swap = true, .accept_children = true, .max_cache = SIZE_UNKNOWN};
        struct reclaim_report report;

        world_process(k.w, 77, 500);
        world_process(k.w, 78, 501);
        set_parent(77, 2);
        set_parent(78, 77);
        k.on_write = new_child;
        act(30 * MIB, &request, &report);
        assert_int_equal(report.end, RECLAIM_GOAL);

        request.accept_children = false;
        report = again(a, &request);
        assert_int_equal(report.end, RECLAIM_STRANGERS);

        request.accept_children = true;
        set_parent(77, 1000); /* of somebody else, who is gone or never was a member */
        report = again(a, &request);
        assert_int_equal(report.end, RECLAIM_STRANGERS);
        set_parent(77, 78); /* in a circle */
        report = again(a, &request);
        assert_int_equal(report.end, RECLAIM_STRANGERS);
        world_exit(k.w, 77); /* ended before it was looked at */
        set_parent(78, 1);
        report = again(a, &request);
        assert_int_equal(report.end, RECLAIM_GOAL);

        /* the parent's number is another's */
        a->writes = 0;
        file("/a", "cgroup.procs", "78\n");
        world_exit(k.w, 1);
        world_process(k.w, 1, 999);
        act(30 * MIB, &request, &report);
        assert_int_equal(report.end, RECLAIM_STRANGERS);
}

/* The number of a member that ended is another's now; one that has ended and is listed still is nobody. */
static void test_reused_pid(void **state)
{
        struct model *a = group("/a", "1\n2\n", 200, 0, 0);
        struct reclaim_report report;

        world_exit(k.w, 2);
        act(20 * MIB, NULL, &report);
        assert_int_equal(report.end, RECLAIM_GOAL);
        world_process(k.w, 2, 999);
        a->writes = 0;
        act(20 * MIB, NULL, &report);
        assert_int_equal(report.end, RECLAIM_STRANGERS);
        assert_int_equal(report.stranger, 2);
        assert_int_equal(a->writes, 0);
}

static void replace(struct model *m)
{
        char from[256], to[256];

        if (m->writes != 2)
                return;
        snprintf(from, sizeof(from), "%s/" ROOT "/a", k.w->path);
        snprintf(to, sizeof(to), "%s/gone", k.w->path);
        assert_int_equal(rename(from, to), 0);
        k.frozen = true;
}

static void test_removed(void **state)
{
        struct model *a = group("/a", "1\n2\n", 200, 0, 0);
        struct reclaim_report report;

        k.on_write = replace;
        act(100 * MIB, NULL, &report);
        assert_int_equal(report.end, RECLAIM_GONE);
        assert_int_equal(a->writes, 2);
}

static void test_slow(void **state)
{
        struct model *a = group("/a", "1\n2\n", 200, 0, 0);
        struct reclaim_report report;
        struct act_result r;

        k.per_mib = 400 * USEC_PER_MSEC;
        r = act(100 * MIB, NULL, &report);
        assert_int_equal(report.end, RECLAIM_TIME);
        assert_true(r.ended - r.started <= LIMIT_ACT_USEC + 400 * USEC_PER_MSEC);
        assert_true(report.step <= MIB / 4 && report.step >= 128 * KIB);
        assert_true(report.longest_write <= 400 * USEC_PER_MSEC);
        assert_true(r.unmapped > 0);
        /* the next act begins with what this one learnt */
        a->writes = 0;
        act(MIB / 4, &(struct reclaim_request){.swap = true, .max_cache = SIZE_UNKNOWN, .step = report.step}, &report);
        assert_true(report.longest_write <= 100 * USEC_PER_MSEC);
}

static void test_stop_and_give_up(void **state)
{
        struct model *a = group("/a", "1\n", 200, 0, 0), *b = group("/b", "2\n", 100, 0, 0);
        struct reclaim_report report;
        struct act_result result;
        struct reclaim *r;

        group("/c", "9\n", 1, 0, 0);
        r = make(50 * MIB, NULL);
        g.stop_at = 3;
        assert_int_equal(reclaim_run(r, &g.guard), -ECANCELED);
        reclaim_get_report(r, &report);
        assert_int_equal(report.end, RECLAIM_UNFINISHED);
        assert_int_equal(report.writes, 2);
        reclaim_result(r, &result);
        assert_true(result.freed == SIZE_UNKNOWN);
        reclaim_free(r);

        /* stuck at who a process is, before anything was written */
        r = make(50 * MIB, NULL);
        g.lose_at = 1;
        a->writes = 0;
        assert_int_equal(reclaim_run(r, &g.guard), -ECANCELED);
        assert_int_equal(a->writes, 0);
        reclaim_give_up_current(r);
        assert_int_equal(reclaim_run(r, &g.guard), 0);
        reclaim_get_report(r, &report);
        assert_int_equal(report.end, RECLAIM_GOAL);
        assert_true(a->writes > 0);
        reclaim_free(r);

        a->anon = 200 * MIB;
        b->anon = 100 * MIB;
        show(a);
        show(b);
        r = make(50 * MIB, NULL);
        g.lose_at = 2;
        reclaim_give_up_current(r); /* not in a call: nothing */
        assert_int_equal(reclaim_run(r, &g.guard), -ECANCELED);
        reclaim_give_up_current(r);
        a->writes = b->writes = 0;
        assert_int_equal(reclaim_run(r, &g.guard), 0); /* another thread, with the other cgroup */
        reclaim_get_report(r, &report);
        assert_int_equal(report.end, RECLAIM_GOAL);
        assert_int_equal(a->writes, 0);
        assert_true(b->writes > 0);
        reclaim_result(r, &result);
        assert_int_equal(result.stuck, 1);
        reclaim_free(r);

        /* both stuck */
        r = make(50 * MIB, NULL);
        g.lose_at = 2;
        assert_int_equal(reclaim_run(r, &g.guard), -ECANCELED);
        reclaim_give_up_current(r);
        g.lose_at = g.left + 2;
        assert_int_equal(reclaim_run(r, &g.guard), -ECANCELED);
        reclaim_give_up_current(r);
        assert_int_equal(reclaim_run(r, &g.guard), 0);
        reclaim_get_report(r, &report);
        assert_int_equal(report.end, RECLAIM_STUCK);
        reclaim_free(r);
        assert_null(reclaim_free(NULL));
}

static void test_write_errors(void **state)
{
        static const int errors[] = {EINVAL, EPERM, EROFS, EBUSY, ENOENT, ENODEV, EAGAIN, ECANCELED};
        struct model *a = group("/a", "1\n2\n", 200, 0, 0);
        struct reclaim_report report;

        for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
                struct act_result r;

                a->writes = 0;
                k.error = errors[i];
                r = act(100 * MIB, NULL, &report);
                assert_int_equal(r.unmapped, 0);
                assert_true(a->writes <= 2);
                if (errors[i] == EAGAIN)
                        assert_int_equal(report.end, RECLAIM_SHORT);
                else if (errors[i] == ENOENT || errors[i] == ENODEV)
                        assert_int_equal(report.end, RECLAIM_GONE);
                else
                        assert_int_equal(report.end, RECLAIM_FAILED);
                assert_int_equal(r.error != 0, report.end == RECLAIM_FAILED);
        }
        /* an interrupted write is made again */
        k.error = EINTR;
        k.error_at = 1;
        a->writes = 0;
        act(10 * MIB, NULL, &report);
        assert_int_equal(report.end, RECLAIM_GOAL);
}

/* Whatever else fails: it ends, and says so. */
static void test_failures(void **state)
{
        static const int errors[] = {EACCES, EMFILE, ENOENT, ENODEV, EIO, EOPNOTSUPP};
        static const enum op ops[] = {OP_OPENAT, OP_READ};
        struct model *a = group("/a", "1\n2\n", 200, 0, 0), *other = group("/x", "9\n", 50, 50, 50);

        for (size_t o = 0; o < ARRAY_SIZE(ops); o++)
                for (size_t e = 0; e < ARRAY_SIZE(errors); e++)
                        for (unsigned n = 1; n < 40; n++) {
                                struct reclaim *r = make(10 * MIB, NULL);
                                struct act_result result;
                                struct reclaim_report report;
                                int q;

                                a->anon = 200 * MIB;
                                show(a);
                                k.swap = 1000 * MIB;
                                k.w->fail_op = ops[o];
                                k.w->fail_at = k.w->counts[ops[o]] + n;
                                k.w->fail_error = errors[e];
                                q = reclaim_run(r, &g.guard);
                                assert_true(q <= 0 && q != -ECANCELED);
                                reclaim_result(r, &result);
                                reclaim_get_report(r, &report);
                                assert_true(q < 0 || report.end != RECLAIM_UNFINISHED);
                                reclaim_free(r);
                                k.w->fail_at = 0;
                        }
        assert_int_equal(other->written, 0);
}

static void test_requests(void **state)
{
        struct owned_cgroups none = {};
        struct reclaim_request request = {.owned = &none, .goal = MIB};
        struct reclaim_report report;
        struct reclaim *r = NULL;

        assert_int_equal(reclaim_new(&k.w->sys, &request, &r), -EINVAL);
        assert_null(r);
        group("/a", "1\n2\n", 200, 0, 0);
        act(0, NULL, &report);
        assert_int_equal(report.end, RECLAIM_GOAL);
        assert_int_equal(report.writes, 0);
        for (int e = RECLAIM_UNFINISHED; e <= _RECLAIM_END_MAX; e++)
                assert_non_null(reclaim_end_to_string((enum reclaim_end)e));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test_setup_teardown(test_goal, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_anon_only, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_max_cache, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_no_swap, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_in_vain, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_short, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_shmem, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_share, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_strangers, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_children, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_reused_pid, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_removed, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_slow, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_stop_and_give_up, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_write_errors, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_requests, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
