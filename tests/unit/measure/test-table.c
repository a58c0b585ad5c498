/* SPDX-License-Identifier: MIT */
/* The table of processes: who enters, who leaves, and who is not who he seems. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "capd/measure/host.h"
#include "capd/measure/table.h"
#include "fake.h"

static int setup(void **state)
{
        static struct fake f;

        fake_init(&f);
        for (int pid = 11; pid <= 13; pid++)
                fake_process(&f, pid, 5, "work", "1000-2000 r--p 00000000 00:00 0\n", 100, 20);
        fake_write(&f, "proc/12x/stat", "no process");
        fake_write(&f, "proc/self", "no process");
        *state = &f;
        return 0;
}

static int teardown(void **state)
{
        fake_done(*state);
        return 0;
}

static pid_t gone[16];
static size_t n_gone;

static void on_gone(struct process *p, void *userdata)
{
        assert_true(n_gone < ARRAY_SIZE(gone));
        gone[n_gone++] = p->facts.pid;
}

static int refresh(struct process_table *t, usec_t now)
{
        n_gone = 0;
        return process_table_refresh(t, now, 1000, on_gone, NULL);
}

static struct process_table *new_table(struct fake *f, unsigned facts, unsigned max_fds)
{
        struct process_table *t = NULL;

        assert_int_equal(process_table_new(&f->sys, facts, max_fds, &t), 0);
        return t;
}

static void test_life(void **state)
{
        struct fake *f = *state;
        _cleanup_(process_table_freep) struct process_table *t = new_table(f, FACT_EXE | FACT_CGROUP | FACT_CMDLINE, 1);
        struct process *p;
        unsigned calls;

        assert_int_equal(refresh(t, 10000), 3);
        p = process_table_find(t, 12);
        assert_non_null(p);
        assert_true(p->changed);
        assert_true(p->needs_cmdline);
        assert_string_equal(p->facts.comm, "work");
        assert_int_equal(p->facts.uid, 1000);
        assert_int_equal(p->facts.gid, 1001);
        assert_int_equal(p->facts.start_time, 5);
        assert_string_equal(p->facts.cgroup, "/system.slice/x.service");
        assert_null(p->facts.exe);
        assert_int_equal(p->threads, 3);
        p->changed = false;
        assert_int_equal(process_look(t, p), 0);
        assert_int_equal(p->vm, 100 * FAKE_PAGE);
        assert_int_equal(p->rss, 20 * FAKE_PAGE);
        assert_int_equal(p->rss_shared, FAKE_PAGE);
        assert_int_equal(process_look(t, process_table_find(t, 13)), 0); /* beyond max_fds */

        /* known processes cost no file */
        calls = f->calls[OP_OPENAT];
        assert_int_equal(refresh(t, 10500), 3);
        assert_int_equal(f->calls[OP_OPENAT], calls + 1);
        assert_int_equal(refresh(t, 11000), 3);
        assert_true(f->calls[OP_OPENAT] > calls + 2);
        assert_false(p->changed);
        assert_int_equal(p->idle_since, 10000);

        fake_write(f, "proc/12/cgroup", "0::/user.slice\n");
        fake_remove(f, "proc/13");
        assert_int_equal(refresh(t, 12500), 2);
        assert_int_equal(n_gone, 1);
        assert_int_equal(gone[0], 13);
        assert_true(p->changed);
        assert_string_equal(p->facts.cgroup, "/user.slice");

        assert_int_equal(process_table_set_cmdline(t, 12, 6, "a b"), -ESRCH);
        assert_int_equal(process_table_set_cmdline(t, 12, 5, "a b"), 0);
        assert_string_equal(p->facts.cmdline, "a b");
        assert_false(p->needs_cmdline);
        /* an exec is seen by its new places, even under the same name */
        fake_stat(f, 12, 5, "work", 'S', 424242);
        assert_int_equal(refresh(t, 14000), 2);
        assert_null(p->facts.cmdline);
        assert_true(p->needs_cmdline);
        process_table_set_facts(t, 0);
        assert_false(p->needs_cmdline);
        assert_int_equal(refresh(t, 14001), 2);
        assert_null(p->facts.cgroup);
}

/* A number that went to another process is a new process: seen by the start time, or by the descriptor at once. */
static void test_reuse(void **state)
{
        struct fake *f = *state;
        _cleanup_(process_table_freep) struct process_table *t = new_table(f, 0, 10);
        struct process *p;

        assert_int_equal(refresh(t, 10000), 3);
        p = process_table_find(t, 12);
        p->userdata = f;
        fake_stat(f, 12, 6, "other", 'S', 1);
        assert_int_equal(refresh(t, 11500), 3);
        assert_int_equal(n_gone, 1);
        p = process_table_find(t, 12);
        assert_int_equal(p->facts.start_time, 6);
        assert_string_equal(p->facts.comm, "other");
        assert_null(p->userdata);
        assert_true(p->changed);

        assert_int_equal(process_look(t, p), 0);
        f->fail_op = OP_PREAD;
        f->fail_at = f->calls[OP_PREAD] + 1;
        f->fail_value = -ESRCH;
        fake_stat(f, 12, 7, "third", 'S', 1);
        assert_int_equal(process_look(t, p), -ESRCH);
        assert_int_equal(process_look(t, p), -ESRCH);
        assert_int_equal(refresh(t, 11501), 3); /* attributes were not due */
        assert_int_equal(n_gone, 1);
        assert_int_equal(process_table_find(t, 12)->facts.start_time, 7);

        /* without a descriptor the start time is compared at the look */
        fake_stat(f, 13, 9, "x", 'S', 1);
        assert_int_equal(process_look(t, process_table_find(t, 13)), -ESRCH);
        assert_int_equal(process_open(&f->sys, NULL, 11, 4), -ESRCH);
}

static void test_states(void **state)
{
        struct fake *f = *state;
        _cleanup_(process_table_freep) struct process_table *t = new_table(f, FACT_CMDLINE, 10);
        unsigned calls;

        assert_int_equal(refresh(t, 10000), 3);
        fake_write(f, "proc/11/statm", "0 0 0 0 0 0 0\n");
        fake_stat(f, 11, 5, "work", 'Z', 11 * 4096);
        assert_int_equal(process_look(t, process_table_find(t, 11)), -ESRCH);
        assert_int_equal(refresh(t, 10001), 3);
        assert_true(process_table_find(t, 11)->facts.zombie);
        calls = f->calls[OP_OPENAT];
        assert_int_equal(process_look(t, process_table_find(t, 11)), -ESRCH);
        assert_int_equal(f->calls[OP_OPENAT], calls);
        fake_write(f, "proc/12/stat", "12 (kthread) S 2 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0 1 0 0 0 0\n");
        assert_int_equal(refresh(t, 12000), 3);
        assert_true(process_table_find(t, 12)->facts.kernel_thread);
        fake_write(f, "proc/13/statm", "nonsense");
        assert_int_equal(process_look(t, process_table_find(t, 13)), -EBADMSG);
}

static int kcmp_pairs(pid_t a, pid_t b)
{
        int x = a / 2, y = b / 2;

        return x == y ? 0 : x < y ? 1 : 2;
}

static void test_mm(void **state)
{
        struct fake *f = *state;
        _cleanup_(process_table_freep) struct process_table *t = new_table(f, 0, 0);
        struct process *p = NULL;
        unsigned calls;

        f->kcmp = kcmp_pairs;
        for (int pid = 100; pid < 140; pid++) {
                fake_process(f, pid, 5, "family", "1000-2000 r--p 00000000 00:00 0\n", 100, 20);
                fake_stat(f, pid, 5, "family", 'S', 4096);
        }
        assert_int_equal(refresh(t, 10000), 43);
        assert_true(f->calls[OP_KCMP] < 40 * 6);
        for (int pid = 100; pid < 140; pid++)
                for (int other = 100; other < 140; other++)
                        assert_int_equal(process_table_find(t, pid)->mm_id == process_table_find(t, other)->mm_id,
                                         pid / 2 == other / 2);
        assert_int_not_equal(process_table_find(t, 12)->mm_id, process_table_find(t, 13)->mm_id);

        /* the end of a vfork(2) shows at the next refresh, though attributes are not due */
        fake_stat(f, 101, 5, "sh", 'S', 8192);
        assert_int_equal(refresh(t, 10001), 43);
        assert_int_not_equal(process_table_find(t, 101)->mm_id, process_table_find(t, 100)->mm_id);
        assert_int_equal(process_table_find(t, 102)->mm_id, process_table_find(t, 103)->mm_id);

        /* a family in which nobody shares costs nothing once it is known */
        f->kcmp = NULL;
        assert_int_equal(refresh(t, 10002), 43);
        assert_int_equal(refresh(t, 10003), 43);
        calls = f->calls[OP_KCMP];
        assert_int_equal(refresh(t, 10004), 43);
        assert_int_equal(f->calls[OP_KCMP], calls);

        /* without the right to compare everybody is alone */
        for (unsigned k = 0; k < 2; k++)
                while ((p = process_table_next(t, p)))
                        assert_int_not_equal(p->mm_id, 0);
}

static int kcmp_fails(pid_t a, pid_t b)
{
        return -EPERM;
}

/* Sharers keep what they are known by for as long as they share; and who could once not be compared has no place that is not true. */
static void test_mm_goes_on(void **state)
{
        struct fake *f = *state;
        _cleanup_(process_table_freep) struct process_table *t = new_table(f, 0, 0);
        uint64_t shared;

        f->kcmp = kcmp_pairs;
        for (int pid = 100; pid < 104; pid++) {
                fake_process(f, pid, 5, "family", "1000-2000 r--p 00000000 00:00 0\n", 100, 20);
                fake_stat(f, pid, 5, "family", 'S', 4096);
        }
        assert_int_equal(refresh(t, 10000), 7);
        shared = process_table_find(t, 100)->mm_id;
        assert_int_equal(process_table_find(t, 101)->mm_id, shared);
        for (usec_t now = 10001; now < 10010; now++) {
                assert_int_equal(refresh(t, now), 7);
                assert_int_equal(process_table_find(t, 100)->mm_id, shared);
                assert_int_equal(process_table_find(t, 101)->mm_id, shared);
        }
        /* one of them leaves: it is known by that no more, or the other is not */
        fake_stat(f, 101, 5, "sh", 'S', 8192);
        assert_int_equal(refresh(t, 10010), 7);
        assert_int_equal(process_table_find(t, 100)->mm_id, shared);
        assert_int_not_equal(process_table_find(t, 101)->mm_id, shared);
        f->kcmp = NULL; /* nobody shares */
        assert_int_equal(refresh(t, 10011), 7);
        assert_int_not_equal(process_table_find(t, 102)->mm_id, process_table_find(t, 103)->mm_id);

        /* those that come while nothing can be compared */
        f->kcmp = kcmp_fails;
        for (int pid = 110; pid < 120; pid++) {
                fake_process(f, pid, 5, "family", "1000-2000 r--p 00000000 00:00 0\n", 100, 20);
                fake_stat(f, pid, 5, "family", 'S', 4096);
        }
        assert_int_equal(refresh(t, 10012), 17);
        for (int pid = 111; pid < 120; pid++)
                assert_int_not_equal(process_table_find(t, pid)->mm_id, process_table_find(t, pid - 1)->mm_id);
        f->kcmp = kcmp_pairs;
        fake_process(f, 120, 5, "family", "1000-2000 r--p 00000000 00:00 0\n", 100, 20);
        fake_stat(f, 120, 5, "family", 'S', 4096);
        assert_int_equal(refresh(t, 10013), 18);
        for (int pid = 110; pid < 120; pid++)
                assert_int_equal(process_table_find(t, pid)->mm_id, process_table_find(t, pid ^ 1)->mm_id);
}

static void test_cmdline(void **state)
{
        struct fake *f = *state;
        struct fake_guard g;
        char buf[8];

        fake_write(f, "proc/11/cmdline", "ls");
        fake_guard_init(&g);
        assert_int_equal(process_read_cmdline(&f->sys, &g.guard, 11, 5, buf, sizeof(buf)), 2);
        assert_string_equal(buf, "ls");
        assert_int_equal(process_read_cmdline(&f->sys, &g.guard, 11, 6, buf, sizeof(buf)), -ESRCH);
        fake_write(f, "proc/11/cmdline", "much too long for it");
        assert_int_equal(process_read_cmdline(&f->sys, &g.guard, 11, 5, buf, sizeof(buf)), 7);
        assert_string_equal(buf, "much to");
        g.lose_at = g.left + 1;
        memset(buf, 'x', sizeof(buf));
        assert_int_equal(process_read_cmdline(&f->sys, &g.guard, 11, 5, buf, sizeof(buf)), -ECANCELED);
        assert_int_equal(buf[0], 'x');
        fake_write(f, "proc/11/cmdline", "");
        assert_int_equal(process_read_cmdline(&f->sys, NULL, 11, 5, buf, sizeof(buf)), 0);
}

/* Whatever fails, the table stays sound, nobody real leaves it, and a shortage of our own is not silent. */
static void test_failures(void **state)
{
        static const ssize_t values[] = {-EACCES, -ENOMEM, -EMFILE, -EIO, -EINTR, -ESRCH, -ENOENT};
        static const enum fake_op ops[] = {OP_OPENAT,     OP_READ,    OP_PREAD, OP_GETDENTS,
                                           OP_READLINKAT, OP_FSTATAT, OP_KCMP};
        struct fake *f = *state;

        for (size_t o = 0; o < ARRAY_SIZE(ops); o++)
                for (size_t v = 0; v < ARRAY_SIZE(values); v++)
                        for (unsigned k = 1; k < 40; k++) {
                                _cleanup_(process_table_freep) struct process_table *t = new_table(f, 15, 2);
                                struct process *p = NULL;
                                int first, second;

                                f->fail_op = ops[o];
                                f->fail_at = f->calls[ops[o]] + k;
                                f->fail_value = values[v];
                                first = refresh(t, 10000);
                                if (values[v] == -ENOMEM || values[v] == -EMFILE)
                                        assert_true(first == 3 || first == values[v] || ops[o] == OP_READ);
                                while ((p = process_table_next(t, p))) {
                                        process_look(t, p);
                                        assert_int_not_equal(p->mm_id, 0);
                                        assert_non_null(p->facts.comm);
                                }
                                second = refresh(t, 11500);
                                if (f->calls[ops[o]] < f->fail_at)
                                        break; /* it never came to that call */
                                if (second >= 0)
                                        assert_in_range(second, 2, 3);
                                f->fail_at = 0;
                                assert_int_equal(refresh(t, 13000), 3);
                        }
}

static void test_listing_fails(void **state)
{
        struct fake *f = *state;
        _cleanup_(process_table_freep) struct process_table *t = new_table(f, 0, 2);

        assert_int_equal(refresh(t, 10000), 3);
        f->fail_op = OP_GETDENTS;
        f->fail_at = f->calls[OP_GETDENTS] + 2;
        f->fail_value = -EIO;
        fake_remove(f, "proc/13");
        assert_int_equal(refresh(t, 10001), -EIO);
        assert_int_equal(n_gone, 0);
        assert_non_null(process_table_find(t, 13));
        assert_int_equal(refresh(t, 10002), 2);
}

static void test_faults(void **state)
{
        struct fake *f = *state;
        _cleanup_(process_table_freep) struct process_table *t = new_table(f, 0, 0);
        uint64_t faults = 7, rss = 7;
        struct process *p;

        assert_int_equal(refresh(t, 10000), 3);
        p = process_table_find(t, 12);
        fake_write(f, "proc/12/stat",
                   "12 (a) b) S 2 0 0 0 -1 0 300 5000 20 6000 1 1 0 0 20 0 1 0 5 999 7 0 1 0 0 0 0\n");
        assert_int_equal(process_read_faults(&f->sys, NULL, p, &faults, &rss), 0);
        assert_int_equal(faults, 320); /* minor and major, without those of children */
        assert_int_equal(rss, 7 * FAKE_PAGE);
        faults = rss = 7;
        fake_write(f, "proc/12/stat", "12 (a) S 2 0 0 0 -1 0 300 0 20 0 1 1 0 0 20 0 1 0 6 999 7 0 1 0 0 0 0\n");
        assert_int_equal(process_read_faults(&f->sys, NULL, p, &faults, &rss), -ESRCH); /* somebody else's number */
        fake_stat(f, 12, 5, "a", 'Z', 1);
        assert_int_equal(process_read_faults(&f->sys, NULL, p, &faults, &rss), -ESRCH);
        fake_write(f, "proc/12/stat", "nonsense");
        assert_int_equal(process_read_faults(&f->sys, NULL, p, &faults, &rss), -EBADMSG);
        fake_remove(f, "proc/12");
        assert_int_equal(process_read_faults(&f->sys, NULL, p, &faults, &rss), -ESRCH);
        assert_true(faults == 7 && rss == 7);
}

static void test_host(void **state)
{
        struct fake *f = *state;
        struct host_memory m = {.total = 7};

        assert_int_equal(host_memory_read(&f->sys, &m), -ENOENT);
        fake_write(f, "proc/meminfo", "MemTotal: 4 kB\nMemFree: 1 kB\n");
        assert_int_equal(host_memory_read(&f->sys, &m), -EBADMSG);
        assert_int_equal(m.total, 7);
        fake_write(f, "proc/meminfo",
                   "MemTotal: 4 kB\nMemFree: 1 kB\nMemAvailable: 1 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n");
        assert_int_equal(host_memory_read(&f->sys, &m), 0);
        assert_int_equal(m.used_basis_points, 7500);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test_setup_teardown(test_life, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_reuse, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_states, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_mm, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_mm_goes_on, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_cmdline, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_listing_fails, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_faults, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_host, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
