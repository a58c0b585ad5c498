/* SPDX-License-Identifier: MIT */
/* Processes that keep whoever looks at them waiting: the thread that owns the table does not, and comes to know all others. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "capd/limits.h"
#include "capd/measure/errand.h"
#include "capd/measure/stuck.h"
#include "capd/measure/table.h"
#include "capd/measure/worker.h"
#include "fake.h"

/* More would be the waiting itself. The machine may stand still meanwhile. */
#define SOON (20 * USEC_PER_SEC)

static usec_t real_now(const struct sys *sys)
{
        return clock_usec(CLOCK_MONOTONIC);
}

static void nap(void)
{
        (void)usleep(2000);
}

static int setup(void **state)
{
        static struct fake f;

        fake_init(&f);
        f.ops.now = real_now;
        for (int pid = 11; pid <= 13; pid++)
                fake_process(&f, pid, 5, "work", "1000-2000 r--p 00000000 00:00 0\n", 100, 20);
        assert_int_equal(errands_start(&f.sys), 0);
        *state = &f;
        return 0;
}

static int teardown(void **state)
{
        struct fake *f = *state;

        errands_stop(&f->sys);
        assert_null(f->sys.errands);
        for (int i = 0; i < 5000 && worker_lost_threads() > 0; i++)
                nap();
        assert_int_equal(worker_lost_threads(), 0);
        fake_done(f);
        return 0;
}

/* From now on whoever opens its stat waits. */
static void hang(struct fake *f, int pid)
{
        char path[128];

        snprintf(path, sizeof(path), "proc/%d/stat", pid);
        fake_remove(f, path);
        snprintf(path, sizeof(path), "%s/proc/%d/stat", f->path, pid);
        assert_return_code(mkfifo(path, 0600), errno);
}

/* All threads that wait go on, and read nothing. */
static void release(struct fake *f, int pid, unsigned still_lost)
{
        char path[128];
        int fd;

        snprintf(path, sizeof(path), "%s/proc/%d/stat", f->path, pid);
        fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        close_fd(fd);
        for (int i = 0; i < 5000 && worker_lost_threads() > still_lost; i++)
                nap();
        assert_int_equal(worker_lost_threads(), still_lost);
        assert_return_code(unlink(path), errno);
        fake_stat(f, pid, 5, "work", 'S', (uint64_t)pid * 4096);
}

static struct process_table *new_table(struct fake *f, unsigned max_fds)
{
        struct process_table *t = NULL;

        assert_int_equal(process_table_new(&f->sys, FACT_EXE | FACT_CGROUP, max_fds, &t), 0);
        return t;
}

static int refresh(struct process_table *t, usec_t now)
{
        usec_t began = clock_usec(CLOCK_MONOTONIC);
        int r = process_table_refresh(t, now, 1000, NULL, NULL);

        assert_true(clock_usec(CLOCK_MONOTONIC) - began < SOON);
        return r;
}

/* One that hangs when it is seen for the first time: it comes into the table when it no longer does. */
static void test_unknown(void **state)
{
        struct fake *f = *state;
        _cleanup_(process_table_freep) struct process_table *t = new_table(f, 10);

        hang(f, 12);
        assert_false(stuck_passes_over(&f->sys, 12));
        assert_int_equal(refresh(t, 10000), 2);
        assert_null(process_table_find(t, 12));
        assert_non_null(process_table_find(t, 11));
        assert_non_null(process_table_find(t, 13));
        assert_int_equal(worker_lost_threads(), 1);
        assert_true(stuck_passes_over(&f->sys, 12));
        assert_false(stuck_passes_over(&f->sys, 13));
        /* told of once, and not before it has lasted */
        assert_int_equal(stuck_untold(1), 0);
        assert_int_equal(stuck_untold(USEC_INFINITY), 12);
        assert_int_equal(stuck_untold(USEC_INFINITY), 0);
        /* nobody goes there a second time */
        for (usec_t now = 20000; now < 25000; now += 1000)
                assert_int_equal(refresh(t, now), 2);
        assert_int_equal(worker_lost_threads(), 1);
        assert_int_equal(process_open(&f->sys, NULL, 12, 5), -EBUSY);

        release(f, 12, 0);
        assert_false(stuck_passes_over(&f->sys, 12));
        assert_int_equal(refresh(t, 30000), 3);
        assert_non_null(process_table_find(t, 12));
}

/* One that is known stays what it was known as. */
static void test_known(void **state)
{
        struct fake *f = *state;
        _cleanup_(process_table_freep) struct process_table *t = new_table(f, 2);
        struct process *all[3];

        assert_int_equal(refresh(t, 10000), 3);
        for (int i = 0; i < 3; i++) {
                all[i] = process_table_find(t, 11 + i);
                all[i]->userdata = f;
        }
        hang(f, 12);
        fake_write(f, "proc/13/cgroup", "0::/elsewhere\n");
        fake_write(f, "proc/12/cgroup", "0::/elsewhere\n");
        assert_int_equal(refresh(t, 20000), 3);
        assert_string_equal(all[1]->facts.cgroup, "/system.slice/x.service");
        assert_string_equal(all[2]->facts.cgroup, "/elsewhere");
        assert_int_equal(worker_lost_threads(), 1);
        /* nor is it waited for where something is about to be done */
        assert_int_equal(process_table_reread(t, all, 3, 30000), 0);
        assert_false(all[1]->gone);
        assert_int_equal(all[1]->attributes_at, 10000);
        assert_int_equal(all[2]->attributes_at, 30000);
        /* its statm has not been open; those of others are read all the same */
        assert_int_equal(process_table_look(t), 0);
        assert_int_equal(all[0]->rss, 20 * FAKE_PAGE);
        assert_true(all[1]->rss == SIZE_UNKNOWN);
        assert_int_equal(all[2]->rss, 20 * FAKE_PAGE);
        assert_int_equal(worker_lost_threads(), 1);
        /* it ends */
        release(f, 12, 0);
        fake_remove(f, "proc/12");
        assert_int_equal(refresh(t, 40000), 2);
}

/* The first to be kept waiting are those that look, that act and that open. */
static void test_first_elsewhere(void **state)
{
        struct fake *f = *state;
        _cleanup_(process_table_freep) struct process_table *t = new_table(f, 0);
        struct process *all[3];
        int fd;

        assert_int_equal(refresh(t, 10000), 3);
        for (int i = 0; i < 3; i++) {
                all[i] = process_table_find(t, 11 + i);
                all[i]->userdata = f;
        }
        hang(f, 11);
        assert_int_equal(process_table_look(t), 0);
        assert_true(all[0]->rss == SIZE_UNKNOWN);
        assert_int_equal(all[1]->rss, 20 * FAKE_PAGE);
        hang(f, 12);
        assert_int_equal(process_table_reread(t, all, 3, 20000), 0);
        assert_int_equal(all[1]->attributes_at, 10000);
        assert_int_equal(all[2]->attributes_at, 20000);
        hang(f, 13);
        assert_int_equal(process_open(&f->sys, NULL, 13, 5), -EBUSY);
        assert_int_equal(worker_lost_threads(), 3);
        release(f, 11, 2);
        release(f, 12, 1);
        release(f, 13, 0);
        fd = process_open(&f->sys, NULL, 13, 5);
        assert_true(fd >= 0);
        close_fd(fd);
        assert_int_equal(process_table_look(t), 0);
        assert_int_equal(all[0]->rss, 20 * FAKE_PAGE);
}

/* A user with too many of them is passed over as a whole, and nobody else is. */
static void test_user(void **state)
{
        static const char status[] = "Name:\tx\nUid:\t1\t2000\t3\t4\nGid:\t5\t1001\t7\t8\n";
        struct fake *f = *state;
        _cleanup_(process_table_freep) struct process_table *t = new_table(f, 0);
        char path[128];

        for (int pid = 100; pid < 100 + (int)LIMIT_STUCK_OF_USER + 4; pid++) {
                fake_process(f, pid, 5, "bad", "1000-2000 r--p 00000000 00:00 0\n", 100, 20);
                snprintf(path, sizeof(path), "proc/%d/status", pid);
                fake_write(f, path, status);
                hang(f, pid);
        }
        assert_int_equal(stuck_user(), -1);
        assert_int_equal(refresh(t, 10000), 3);
        assert_int_equal(worker_lost_threads(), LIMIT_STUCK_OF_USER);
        assert_int_equal(stuck_user(), 2000);
        for (int pid = 100; pid < 100 + (int)LIMIT_STUCK_OF_USER + 4; pid++)
                assert_true(stuck_passes_over(&f->sys, pid));
        assert_false(stuck_passes_over(&f->sys, 11));
        /* a login is one user, whatever user IDs it has mapped */
        fake_write(f, "proc/11/cgroup", "0::/user.slice/user-2000.slice/session-1.scope\n");
        fake_write(f, "proc/12/cgroup", "0::/user.slice/user-2001.slice/session-1.scope\n");
        assert_true(stuck_passes_over(&f->sys, 11));
        assert_false(stuck_passes_over(&f->sys, 12));
        for (int pid = 100; pid < 100 + (int)LIMIT_STUCK_OF_USER + 4; pid++) {
                snprintf(path, sizeof(path), "%s/proc/%d/stat", f->path, pid);
                close_fd(open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC));
        }
        for (int i = 0; i < 5000 && worker_lost_threads() > 0; i++)
                nap();
        assert_int_equal(stuck_user(), -1);
        assert_false(stuck_passes_over(&f->sys, 11));
}

/* -- kcmp(2) -- */

static _Atomic int hangs_with;
static _Atomic bool hanging;

static int compare(pid_t a, pid_t b)
{
        while (atomic_load(&hangs_with) == a || atomic_load(&hangs_with) == b) {
                atomic_store(&hanging, true);
                nap();
        }
        return a / 2 == b / 2 ? 0 : a / 2 < b / 2 ? 1 : 2;
}

static void assert_pairs(struct process_table *t, pid_t except)
{
        for (pid_t pid = 100; pid < 110; pid++)
                for (pid_t other = 100; other < 110; other++)
                        if (pid != except && other != except)
                                assert_int_equal(process_table_find(t, pid)->mm_id ==
                                                                 process_table_find(t, other)->mm_id,
                                                 pid / 2 == other / 2);
}

static void test_kcmp(void **state)
{
        struct fake *f = *state;
        _cleanup_(process_table_freep) struct process_table *t = new_table(f, 0);

        f->kcmp = compare;
        for (int pid = 100; pid < 110; pid++) {
                fake_process(f, pid, 5, "family", "1000-2000 r--p 00000000 00:00 0\n", 100, 20);
                fake_stat(f, pid, 5, "family", 'S', 4096);
        }
        atomic_store(&hangs_with, 105);
        assert_int_equal(refresh(t, 10000), 13);
        assert_true(atomic_load(&hanging));
        assert_int_equal(worker_lost_threads(), 1);
        assert_true(stuck_blamed(&f->sys, 105));
        assert_false(stuck_passes_over(&f->sys, 105)); /* it may have been the other one */
        for (struct process *p = NULL; (p = process_table_next(t, p));)
                assert_int_not_equal(p->mm_id, 0);
        assert_int_equal(refresh(t, 11000), 13);
        assert_int_equal(worker_lost_threads(), 1);

        /* it is over: who was not compared is, as soon as somebody comes */
        atomic_store(&hangs_with, 0);
        for (int i = 0; i < 5000 && worker_lost_threads() > 0; i++)
                nap();
        fake_process(f, 200, 5, "family", "1000-2000 r--p 00000000 00:00 0\n", 100, 20);
        fake_stat(f, 200, 5, "family", 'S', 4096);
        assert_int_equal(refresh(t, 12000), 14);
        assert_pairs(t, 0);
}

/* -- who does it -- */

static pthread_t done_by;

static int note_thread(void *arg, struct guard *guard)
{
        done_by = pthread_self();
        *(bool *)arg = guard;
        return 42;
}

static void *run_elsewhere(void *arg)
{
        struct fake *f = arg;
        bool guarded = true;

        assert_int_equal(errand_run(&f->sys, NULL, note_thread, &guarded), 42);
        assert_true(pthread_equal(done_by, pthread_self()));
        assert_false(guarded);
        return NULL;
}

static void test_threads(void **state)
{
        struct fake *f = *state;
        struct errands *errands = f->sys.errands;
        bool guarded = false;
        pthread_t thread;

        assert_int_equal(errand_run(&f->sys, NULL, note_thread, &guarded), 42);
        assert_false(pthread_equal(done_by, pthread_self()));
        assert_true(guarded);
        assert_int_equal(pthread_create(&thread, NULL, run_elsewhere, f), 0);
        pthread_join(thread, NULL);
        /* where nobody must not wait */
        f->sys.errands = NULL;
        run_elsewhere(f);
        f->sys.errands = errands;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test_setup_teardown(test_unknown, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_known, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_first_elsewhere, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_user, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_kcmp, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
