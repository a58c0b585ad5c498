/* SPDX-License-Identifier: MIT */
/* The pool: jobs in order, threads that hang in a guarded call and are given up, and an orderly end with any of that under way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "capd/limits.h"
#include "capd/measure/worker.h"

#define MAX_LOST 5U

static _Atomic usec_t clock_offset;

static usec_t fake_now(const struct sys *sys)
{
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (usec_t)ts.tv_sec * USEC_PER_SEC + (usec_t)ts.tv_nsec / 1000 + atomic_load(&clock_offset);
}

static void nap(void)
{
        const struct timespec ts = {.tv_nsec = 2 * 1000 * 1000};

        nanosleep(&ts, NULL);
}

/* A job of `steps` guarded calls; the one numbered `hangs_at` does not return until `release` is set. */
struct test_job {
        struct job job;
        _Atomic unsigned next, steps, hangs_at;
        _Atomic bool hanging, release;
        _Atomic unsigned runs, lost_returns;
        unsigned skipped;
        int result;
        bool finished;
        bool waits_for_stop;
};

static int test_run(struct job *job, struct guard *guard)
{
        struct test_job *t = (struct test_job *)job;

        atomic_fetch_add(&t->runs, 1);
        while (atomic_load(&t->next) < atomic_load(&t->steps)) {
                unsigned step = atomic_load(&t->next);

                if (guard_stopping(guard))
                        return -ECANCELED;
                guard_enter(guard, 1000 + (pid_t)step);
                if (step == atomic_load(&t->hangs_at)) {
                        atomic_store(&t->hanging, true);
                        while (!atomic_load(&t->release))
                                nap();
                }
                if (!guard_leave(guard)) {
                        atomic_fetch_add(&t->lost_returns,
                                         1); /* the test keeps t alive: a real job would not touch it */
                        return -ECANCELED;
                }
                if (!t->waits_for_stop)
                        atomic_store(&t->next, step + 1);
                else
                        nap();
        }
        return 7;
}

static void test_give_up(struct job *job, const struct guard *guard)
{
        struct test_job *t = (struct test_job *)job;

        t->skipped++;
        atomic_fetch_add(&t->next, 1);
}

static void test_done(struct job *job, int result)
{
        struct test_job *t = (struct test_job *)job;

        t->finished = true;
        t->result = result;
}

static const struct job_ops test_ops = {.run = test_run, .give_up = test_give_up, .done = test_done};

static void test_job_init(struct test_job *t, unsigned steps)
{
        memset(t, 0, sizeof(*t));
        t->job.ops = &test_ops;
        atomic_store(&t->steps, steps);
        atomic_store(&t->hangs_at, UINT32_MAX);
}

static void wait_until_finished(struct worker_pool *p, struct test_job *t)
{
        for (int i = 0; i < 5000 && !t->finished; i++) {
                struct pollfd pfd = {.fd = worker_pool_fd(p), .events = POLLIN};

                poll(&pfd, 1, 2);
                worker_pool_dispatch(p);
        }
        assert_true(t->finished);
}

static void wait_until_hanging(struct test_job *t)
{
        for (int i = 0; i < 5000 && !atomic_load(&t->hanging); i++)
                nap();
        assert_true(atomic_load(&t->hanging));
}

static void wait_until_none_is_lost(void)
{
        for (int i = 0; i < 5000 && worker_lost_threads() > 0; i++)
                nap();
        assert_int_equal(worker_lost_threads(), 0);
}

static struct worker_pool *pool(unsigned threads)
{
        static struct sys_ops ops;
        static struct sys sys;
        struct worker_pool *p = NULL;

        ops = sys_ops_native;
        ops.now = fake_now;
        sys = (struct sys){.root_fd = -1, .ops = &ops};
        assert_int_equal(worker_pool_new(&sys, threads, LIMIT_SCAN_CALL_USEC, MAX_LOST, &p), 0);
        return p;
}

static void jobs_run_and_report(void **state)
{
        struct worker_pool *p = pool(2);
        struct test_job jobs[20];

        for (size_t i = 0; i < ARRAY_SIZE(jobs); i++) {
                test_job_init(&jobs[i], 3);
                worker_pool_submit(p, &jobs[i].job);
        }
        for (size_t i = 0; i < ARRAY_SIZE(jobs); i++) {
                wait_until_finished(p, &jobs[i]);
                assert_int_equal(jobs[i].result, 7);
                assert_int_equal(jobs[i].runs, 1);
        }
        assert_true(worker_pool_idle(p));
        assert_int_equal(worker_pool_check(p), 0);
        worker_pool_free(p);
}

static void a_hung_thread_is_given_up_and_the_job_goes_on(void **state)
{
        struct worker_pool *p = pool(1);
        struct test_job t, after;

        test_job_init(&t, 5);
        atomic_store(&t.hangs_at, 2);
        test_job_init(&after, 1);
        worker_pool_submit(p, &t.job);
        worker_pool_submit(p, &after.job);
        wait_until_hanging(&t);
        assert_int_equal(worker_pool_check(p), 0); /* not yet */
        atomic_fetch_add(&clock_offset, LIMIT_SCAN_CALL_USEC + USEC_PER_SEC);
        assert_int_equal(worker_pool_check(p), 0); /* nor yet: it may not have been let run */
        assert_int_equal(worker_pool_check(p), 1);
        assert_int_equal(worker_lost_threads(), 1);
        wait_until_finished(p, &t);
        assert_int_equal(t.result, 7);
        assert_int_equal(t.runs, 2);
        assert_int_equal(t.skipped, 1);
        wait_until_finished(p, &after);
        atomic_store(&t.release, true);
        wait_until_none_is_lost();
        assert_int_equal(t.lost_returns, 1);
        worker_pool_free(p);
}

/* The machine stood still: the check runs first, and finds every call too long. */
static void a_thread_that_was_not_let_run_is_not_given_up(void **state)
{
        struct worker_pool *p = pool(1);

        for (int i = 0; i < 2; i++) {
                struct test_job t;

                test_job_init(&t, 5);
                atomic_store(&t.hangs_at, 2);
                worker_pool_submit(p, &t.job);
                wait_until_hanging(&t);
                atomic_fetch_add(&clock_offset, LIMIT_SCAN_CALL_USEC + USEC_PER_SEC);
                /* the second time, too: the first was about another call */
                assert_int_equal(worker_pool_check(p), 0);
                atomic_store(&t.release, true);
                wait_until_finished(p, &t);
                assert_int_equal(worker_pool_check(p), 0);
                assert_int_equal(t.runs, 1);
                assert_int_equal(t.skipped, 0);
                assert_int_equal(worker_lost_threads(), 0);
        }
        worker_pool_free(p);
}

static void a_thread_between_calls_is_never_given_up(void **state)
{
        struct worker_pool *p = pool(1);
        struct test_job t;

        test_job_init(&t, 1);
        t.waits_for_stop = true; /* many short calls */
        worker_pool_submit(p, &t.job);
        for (int i = 0; i < 50; i++) {
                nap();
                assert_int_equal(worker_pool_check(p), 0);
        }
        worker_pool_free(p);
        assert_true(t.finished);
        assert_int_equal(t.result, -ECANCELED);
        assert_int_equal(t.runs, 1);
}

static void too_many_lost_threads_end_the_waiting_jobs(void **state)
{
        struct worker_pool *p = pool(1);
        struct test_job t[MAX_LOST + 1], last;

        for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
                test_job_init(&t[i], 1);
                atomic_store(&t[i].hangs_at, 0);
                worker_pool_submit(p, &t[i].job);
                wait_until_hanging(&t[i]);
                atomic_fetch_add(&clock_offset, LIMIT_SCAN_CALL_USEC + USEC_PER_SEC);
                assert_int_equal(worker_pool_check(p), 0);
                assert_int_equal(worker_pool_check(p), 1);
                if (i < MAX_LOST)
                        wait_until_finished(p, &t[i]);
        }
        wait_until_finished(p, &t[MAX_LOST]);
        assert_int_equal(t[MAX_LOST].result, -EBUSY);
        test_job_init(&last, 1);
        worker_pool_submit(p, &last.job);
        wait_until_finished(p, &last);
        assert_int_equal(last.result, -EBUSY);

        /* when the lost come back, so does the pool */
        for (size_t i = 0; i < ARRAY_SIZE(t); i++)
                atomic_store(&t[i].release, true);
        wait_until_none_is_lost();
        worker_pool_check(p);
        test_job_init(&last, 1);
        worker_pool_submit(p, &last.job);
        wait_until_finished(p, &last);
        assert_int_equal(last.result, 7);
        worker_pool_free(p);
}

static void the_end_does_not_wait_for_a_hung_thread(void **state)
{
        struct worker_pool *p = pool(1);
        struct test_job t, waiting;

        test_job_init(&t, 1);
        atomic_store(&t.hangs_at, 0);
        test_job_init(&waiting, 1);
        worker_pool_submit(p, &t.job);
        worker_pool_submit(p, &waiting.job);
        wait_until_hanging(&t);
        worker_pool_free(p);
        assert_true(t.finished);
        assert_int_equal(t.result, -ECANCELED);
        assert_true(waiting.finished);
        assert_int_equal(waiting.result, -ECANCELED);
        atomic_store(&t.release, true);
        wait_until_none_is_lost();
}

/* A job that calls for help: each thread that comes stays until it is let go, or hangs. */
struct open_job {
        struct job job;
        _Atomic unsigned inside, most, hangs, lost;
        _Atomic bool release, release_hanging;
        const struct guard *hanging;
        bool finished;
        int result;
};

static int open_run(struct job *job, struct guard *guard)
{
        struct open_job *o = (struct open_job *)job;
        unsigned n = atomic_fetch_add(&o->inside, 1) + 1;

        if (n > atomic_load(&o->most))
                atomic_store(&o->most, n);
        guard_call_for_help(guard);
        guard_call_for_help(guard);
        if (n == 2 && atomic_fetch_sub(&o->hangs, 1) == 1) {
                guard_enter(guard, 1);
                while (!atomic_load(&o->release_hanging))
                        nap();
                if (!guard_leave(guard)) {
                        atomic_fetch_add(&o->lost, 1);
                        return -ECANCELED;
                }
        }
        while (!atomic_load(&o->release))
                nap();
        atomic_fetch_sub(&o->inside, 1);
        return 0;
}

static void open_give_up(struct job *job, const struct guard *guard)
{
        struct open_job *o = (struct open_job *)job;

        assert_non_null(guard);
        o->hanging = guard;
        atomic_fetch_sub(&o->inside, 1);
}

static void open_done(struct job *job, int result)
{
        struct open_job *o = (struct open_job *)job;

        assert_int_equal(atomic_load(&o->inside), 0);
        assert_false(o->finished);
        o->finished = true;
        o->result = result;
}

static void wait_until_inside(const struct open_job *o, unsigned n)
{
        for (int i = 0; i < 5000 && atomic_load(&o->inside) != n; i++)
                nap();
        assert_int_equal(atomic_load(&o->inside), n);
}

static void finish_open_job(struct worker_pool *p, struct open_job *o)
{
        atomic_store(&o->release, true);
        for (int i = 0; i < 5000 && !o->finished; i++) {
                worker_pool_dispatch(p);
                nap();
        }
        assert_true(o->finished);
        assert_int_equal(o->result, 0);
}

static const struct job_ops open_ops = {.run = open_run, .give_up = open_give_up, .done = open_done};

/* As many threads as it wants, but one stays free for other jobs. */
static void test_help(void **state)
{
        static const struct {
                unsigned threads, wanted, got;
        } cases[] = {{4, 0, 1}, {4, 1, 1}, {4, 2, 2}, {4, 9, 3}, {2, 9, 1}, {1, 9, 1}};

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct worker_pool *p = pool(cases[i].threads);
                struct open_job o = {.job = {.ops = &open_ops, .threads = cases[i].wanted}};
                struct test_job other;

                worker_pool_submit(p, &o.job);
                wait_until_inside(&o, cases[i].got);
                for (int k = 0; k < 10; k++)
                        nap();
                assert_int_equal(atomic_load(&o.most), cases[i].got);
                test_job_init(&other, 2);
                if (cases[i].threads > 1) {
                        worker_pool_submit(p, &other.job);
                        wait_until_finished(p, &other);
                }
                assert_false(worker_pool_idle(p));
                finish_open_job(p, &o);
                assert_true(worker_pool_idle(p));
                worker_pool_free(p);
        }
}

/* A helper is lost: the others go on, the job is given to another thread, and is done once, when all have come back. */
static void test_helper_hangs(void **state)
{
        struct worker_pool *p = pool(4);
        struct open_job o = {.job = {.ops = &open_ops, .threads = 2}, .hangs = 1};

        worker_pool_submit(p, &o.job);
        wait_until_inside(&o, 2);
        for (int i = 0; i < 10; i++)
                nap();
        atomic_fetch_add(&clock_offset, LIMIT_SCAN_CALL_USEC + USEC_PER_SEC);
        assert_int_equal(worker_pool_check(p), 0);
        assert_int_equal(worker_pool_check(p), 1);
        assert_non_null(o.hanging);
        wait_until_inside(&o, 2); /* the one that was not lost, and a new one */
        finish_open_job(p, &o);
        assert_int_equal(atomic_load(&o.lost), 0);
        atomic_store(&o.release_hanging, true);
        wait_until_none_is_lost();
        assert_int_equal(atomic_load(&o.lost), 1);
        worker_pool_free(p);
}

/* The pool ends while one of two threads at a job hangs. */
static void test_end_with_helper(void **state)
{
        struct worker_pool *p = pool(4);
        struct open_job o = {.job = {.ops = &open_ops, .threads = 2}, .hangs = 1};

        worker_pool_submit(p, &o.job);
        wait_until_inside(&o, 2);
        for (int i = 0; i < 10; i++)
                nap();
        atomic_store(&o.release, true);
        worker_pool_free(p);
        assert_true(o.finished);
        assert_int_equal(o.result, -ECANCELED);
        atomic_store(&o.release_hanging, true);
        wait_until_none_is_lost();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(jobs_run_and_report),
                        cmocka_unit_test(a_hung_thread_is_given_up_and_the_job_goes_on),
                        cmocka_unit_test(a_thread_that_was_not_let_run_is_not_given_up),
                        cmocka_unit_test(a_thread_between_calls_is_never_given_up),
                        cmocka_unit_test(too_many_lost_threads_end_the_waiting_jobs),
                        cmocka_unit_test(the_end_does_not_wait_for_a_hung_thread),
                        cmocka_unit_test(test_help),
                        cmocka_unit_test(test_helper_hangs),
                        cmocka_unit_test(test_end_with_helper),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
