/* SPDX-License-Identifier: MIT */
/* Whether a process runs, and where; and what walks make of it: pauses, and where their thread goes. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "capd/measure/walk.h"
#include "fake.h"
#include "running.h"

#define PID 9

static int priority = 20; /* of all threads */

/* A thread's stat, or that of the process. */
static void write_stat(struct fake *f, const char *path, char state, unsigned threads, int cpu)
{
        char text[512];

        snprintf(text, sizeof(text),
                 "%d (a b) %c 1 1 1 0 -1 4194304 1 0 0 0 5 7 0 0 %d 0 %u 0 5 40960 10 18446744073709551615 4096 4106 "
                 "4116 "
                 "0 0 0 0 0 0 0 0 0 17 %d 0 0 0\n",
                 PID, state, priority, threads, cpu);
        fake_write(f, path, text);
}

static struct running look(struct fake *f)
{
        struct running r = {.awake = true, .cpu = 77};
        int dirfd = f->sys.ops->openat(&f->sys, f->sys.root_fd, "proc/9", O_RDONLY | O_DIRECTORY);
        int stat_fd = f->sys.ops->openat(&f->sys, dirfd, "stat", O_RDONLY);

        running_look(&f->sys, dirfd, stat_fd, &r);
        close_fd(stat_fd);
        close_fd(dirfd);
        return r;
}

static void assert_look(struct fake *f, bool awake, int cpu)
{
        struct running r = look(f);

        assert_int_equal(r.awake, awake);
        assert_int_equal(r.cpu, cpu);
}

static void test_single(void **state)
{
        struct fake *f = *state;

        write_stat(f, "proc/9/stat", 'S', 1, 3);
        assert_look(f, false, -1);
        write_stat(f, "proc/9/stat", 'R', 1, 3);
        assert_look(f, true, 3);
        write_stat(f, "proc/9/stat", 'R', 1, 0);
        assert_look(f, true, 0);
        /* waits for a lock, or for a device */
        write_stat(f, "proc/9/stat", 'D', 1, 3);
        assert_look(f, true, -1);
        write_stat(f, "proc/9/stat", 'T', 1, 3);
        assert_look(f, false, -1);
        write_stat(f, "proc/9/stat", 'Z', 1, 3);
        assert_look(f, false, -1);
}

/* Who shares a processor with one that comes before others may be kept from it. */
static void test_priority(void **state)
{
        static const int before_others[] = {19, 0, -1, -2, -101}, others[] = {20, 25, 39};
        struct fake *f = *state;

        for (size_t i = 0; i < ARRAY_SIZE(before_others); i++) {
                priority = before_others[i];
                write_stat(f, "proc/9/stat", 'R', 1, 3);
                assert_look(f, true, -1);
        }
        for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
                priority = others[i];
                write_stat(f, "proc/9/stat", 'R', 1, 3);
                assert_look(f, true, 3);
        }
        priority = 20;
}

static void write_threads(struct fake *f, const char *states, const int *cpus)
{
        char path[64];
        unsigned n = (unsigned)strlen(states);

        /* the process is what its first thread is */
        write_stat(f, "proc/9/stat", states[0], n, cpus[0]);
        fake_remove(f, "proc/9/task");
        for (unsigned i = 0; i < n; i++) {
                snprintf(path, sizeof(path), "proc/9/task/%u/stat", PID + i);
                write_stat(f, path, states[i], n, cpus[i]);
        }
}

static void test_threads(void **state)
{
        struct fake *f = *state;

        write_threads(f, "SSS", (int[]){1, 2, 3});
        assert_look(f, false, -1);
        write_threads(f, "SSR", (int[]){1, 2, 3});
        assert_look(f, true, 3);
        write_threads(f, "RSR", (int[]){3, 2, 3});
        assert_look(f, true, 3);
        /* on two of them, and in whichever order they are seen */
        write_threads(f, "RSR", (int[]){1, 2, 3});
        assert_look(f, true, -1);
        write_threads(f, "RRRS", (int[]){1, 2, 1, 1});
        assert_look(f, true, -1);
        write_threads(f, "SDS", (int[]){1, 2, 3});
        assert_look(f, true, -1);
        write_threads(f, "SSSSSSSR", (int[]){0, 0, 0, 0, 0, 0, 0, 6});
        assert_look(f, true, 6);
        /* more than are looked at */
        write_threads(f, "SSSSSSSSS", (int[]){0, 0, 0, 0, 0, 0, 0, 0, 0});
        assert_look(f, true, -1);
        /* they have become more since the process said how many there are */
        write_stat(f, "proc/9/stat", 'S', 8, 0);
        assert_look(f, true, -1);
        /* one is just ending */
        write_threads(f, "SSS", (int[]){1, 2, 3});
        fake_remove(f, "proc/9/task/10/stat");
        assert_look(f, false, -1);
}

static void test_unknown(void **state)
{
        struct fake *f = *state;

        /* no directory of threads, as below /proc/PID/task/TID */
        write_stat(f, "proc/9/stat", 'S', 3, 1);
        assert_look(f, true, -1);
        fake_write(f, "proc/9/stat", "");
        assert_look(f, true, -1);
        fake_write(f, "proc/9/stat", "9 (x) S 1 2");
        assert_look(f, true, -1);
        write_threads(f, "SSR", (int[]){1, 2, 3});
        f->fail_op = OP_GETDENTS;
        f->fail_at = f->calls[OP_GETDENTS] + 1;
        f->fail_value = -EIO;
        assert_look(f, true, -1);
}

static unsigned sleeps, goes;
static usec_t slept; /* the longest */
static int gone_to;

static void count_sleep(const struct sys *sys, usec_t usec)
{
        sleeps++;
        slept = MAX(slept, usec);
}

static struct fake_guard guard;

static int count_go(const struct sys *sys, int cpu)
{
        /* it may take for ever, like the call that it is for */
        assert_int_equal(guard.depth, 1);
        goes++;
        gone_to = cpu;
        return -EINVAL; /* that it may not go there stops nothing */
}

/* With 64 MiB, of which the last page is there. */
static void write_process(struct fake *f)
{
        uint64_t entry = RAW_PRESENT | RAW_EXCLUSIVE | 100, base = 0x10000000;

        fake_process(f, PID, 5, "x", "10000000-14000000 rw-p 00000000 00:00 0\n", 16384, 1);
        fake_pages(f, PID, base + 16383 * FAKE_PAGE, &entry, 1);
        f->ops.sleep = count_sleep;
}

/* Walks it in 8 windows and a check. */
static void walk_in(struct fake *f, struct walk_context *c)
{
        _cleanup_(walk_closep) struct walk *w = NULL;
        struct walk_chunk chunk;
        unsigned chunks = 0;
        int r;

        fake_guard_init(&guard);
        assert_int_equal(walk_open(c, &guard.guard, PID, 5, &w), 0);
        while ((r = walk_next(w, &chunk)) > 0)
                chunks++;
        assert_int_equal(r, 0);
        assert_int_equal(chunks, 1);
}

static void walk(struct fake *f, bool follow)
{
        _cleanup_(walk_context_freep) struct walk_context *c = NULL;

        sleeps = goes = 0;
        slept = 0;
        gone_to = -1;
        assert_int_equal(walk_context_new(&f->sys, &f->features, &c), 0);
        if (follow)
                walk_context_follow(c);
        walk_in(f, c);
}

static void test_walk(void **state)
{
        struct fake *f = *state;

        write_process(f);
        f->ops.go_to_cpu = count_go;
        f->time_step = 300;

        /* asleep: nobody is waiting */
        write_stat(f, "proc/9/stat", 'S', 1, 3);
        walk(f, true);
        assert_int_equal(sleeps, 0);
        assert_int_equal(goes, 0);
        write_stat(f, "proc/9/stat", 'D', 1, 3);
        walk(f, true);
        assert_int_equal(sleeps, 2);
        assert_int_equal(goes, 0);
        /* before each call */
        write_stat(f, "proc/9/stat", 'R', 1, 3);
        walk(f, true);
        assert_int_equal(sleeps, 2);
        assert_int_equal(goes, 9);
        assert_int_equal(gone_to, 3);
        /* who only reads stays where it is */
        walk(f, false);
        assert_int_equal(sleeps, 2);
        assert_int_equal(goes, 0);
}

/* -- who comes first while it holds the lock -- */

static bool is_first;
static unsigned turns, yields, held_as_first, held_otherwise;
static usec_t yield_takes;
static int go_first_says;

static int note_first(const struct sys *sys, bool first)
{
        /* giving way may take long, and is no reason to give the thread up */
        assert_int_equal(guard.depth, 0);
        assert_true(first != is_first);
        if (first && go_first_says < 0)
                return go_first_says;
        is_first = first;
        turns += first;
        return 0;
}

static void note_yield(const struct sys *sys)
{
        struct fake *f = sys->userdata;

        assert_int_equal(guard.depth, 0);
        assert_false(is_first);
        yields++;
        f->time += yield_takes;
}

/* Who the process is, is read guarded, too, but without its lock. */
static void note_pread(struct fake *f, unsigned call)
{
        char link[64], path[256] = "";

        snprintf(link, sizeof(link), "/proc/self/fd/%d", f->pread_fd);
        assert_true(readlink(link, path, sizeof(path) - 1) > 0);
        if (strcmp(path + strlen(f->path), "/proc/9/stat") == 0)
                assert_true(guard.depth > 0);
        else if (guard.depth > 0) {
                held_as_first += is_first;
                held_otherwise += !is_first;
        }
}

/* A process that sleeps, and notes of who is the first one where. */
static void note_turns(struct fake *f, usec_t time_step)
{
        write_process(f);
        write_stat(f, "proc/9/stat", 'S', 1, 3);
        f->time_step = time_step;
        f->ops.go_first = note_first;
        f->ops.yield = note_yield;
        f->on_pread = note_pread;
}

static void walk_as_first(struct fake *f, bool follow, usec_t yield)
{
        yield_takes = yield;
        is_first = false;
        turns = yields = held_as_first = held_otherwise = 0;
        walk(f, follow);
        /* whatever it was, it is over with the walk */
        assert_false(is_first);
}

static void test_first(void **state)
{
        struct fake *f = *state;

        note_turns(f, 90);

        /* it may not, and does not try again and again */
        walk_as_first(f, false, 0);
        assert_int_equal(turns, 0);
        assert_int_equal(held_otherwise, 9);
        f->features.realtime = true;
        /* it does so anyway */
        go_first_says = -EALREADY;
        walk_as_first(f, false, 0);
        assert_int_equal(turns, 0);
        assert_int_equal(held_otherwise, 9);
        go_first_says = 0;
        /* nobody else wants the processor: turns, and no pauses */
        walk_as_first(f, false, 0);
        assert_int_equal(held_as_first, 9);
        assert_int_equal(held_otherwise, 0);
        assert_in_range(turns, 2, 5);
        assert_int_equal(yields, turns - 1);
        assert_int_equal(sleeps, 0);
        /* somebody does, who has had it while it was given away: after the next turns a pause as long as they were */
        walk_as_first(f, false, 5 * USEC_PER_MSEC);
        assert_int_equal(held_as_first, 9);
        assert_in_range(turns, 3, 5);
        assert_int_equal(yields, 1);
        assert_int_equal(sleeps, turns - 2);
        assert_in_range(slept, USEC_PER_MSEC, 3 * USEC_PER_MSEC / 2);
        /* who goes where its target runs gives way to that as well */
        write_stat(f, "proc/9/stat", 'R', 1, 3);
        f->ops.go_to_cpu = count_go;
        f->time_step = 300;
        walk_as_first(f, true, 0);
        assert_int_equal(held_otherwise, 0);
        assert_true(sleeps > 0);
        assert_in_range(slept, USEC_PER_MSEC, 10 * USEC_PER_MSEC);
}

/* Walks that are shorter than a turn, one after the other: others get theirs all the same, and the kernel's limit is not reached. */
static void test_first_of_many(void **state)
{
        _cleanup_(walk_context_freep) struct walk_context *c = NULL, *next = NULL;
        struct fake *f = *state;

        note_turns(f, 9);
        f->features.realtime = true;
        go_first_says = 0;

        assert_int_equal(walk_context_new(&f->sys, &f->features, &c), 0);
        yield_takes = turns = yields = sleeps = held_as_first = held_otherwise = 0;
        for (unsigned i = 0; i < 50; i++) {
                walk_in(f, c);
                assert_false(is_first);
        }
        assert_in_range(yields, 10, 40);
        assert_int_equal(sleeps, 0);
        /* one turn in ten is an ordinary one */
        assert_in_range(held_otherwise, 9, held_as_first / 5);
        /* somebody wants it: who owes a pause makes it in the next context too */
        yield_takes = 5 * USEC_PER_MSEC;
        for (unsigned i = 0; i < 5; i++)
                walk_in(f, c);
        assert_true(sleeps > 0);
        sleeps = yields = 0;
        assert_int_equal(walk_context_new(&f->sys, &f->features, &next), 0);
        walk_context_continue(next, c);
        for (unsigned i = 0; i < 5; i++)
                walk_in(f, next);
        assert_in_range(sleeps, 1, 5);
        assert_int_equal(yields, 0);
        assert_false(is_first);
}

/* Who comes by once costs a few pauses; for who stays the processor is given up only now and then. */
static void test_first_in_a_crowd(void **state)
{
        _cleanup_(walk_context_freep) struct walk_context *c = NULL;
        struct fake *f = *state;

        note_turns(f, 90);
        f->features.realtime = true;
        go_first_says = 0;
        assert_int_equal(walk_context_new(&f->sys, &f->features, &c), 0);

        for (unsigned i = 0; i < 2; i++) {
                yields = sleeps = held_otherwise = 0;
                for (yield_takes = USEC_PER_MSEC; yields == 0;)
                        walk_in(f, c);
                yield_takes = 0;
                while (yields < 60)
                        walk_in(f, c);
                assert_in_range(sleeps, 8, 9);
                /* no ordinary turn, in which somebody who is only out of sight would stop the thread within a lock */
                if (i == 0)
                        assert_int_equal(held_otherwise, 0);
                while (yields < 100)
                        walk_in(f, c);
                assert_in_range(sleeps, 8, 9);
                assert_true(held_otherwise > 0);
        }
        yields = sleeps = held_otherwise = 0;
        yield_takes = 5 * USEC_PER_MSEC;
        while (yields + sleeps < 8 + 4 * 64)
                walk_in(f, c);
        assert_in_range(yields, 5, 6);
        /* in a moment in which nobody wants it: it is not believed at once */
        yield_takes = 0;
        while (yields < 10)
                walk_in(f, c);
        yield_takes = 5 * USEC_PER_MSEC;
        while (yields < 11)
                walk_in(f, c);
        yields = 0;
        for (sleeps = 0; yields == 0;)
                walk_in(f, c);
        assert_in_range(sleeps, 60, 67); /* the last walk goes on behind it */
        assert_int_equal(held_otherwise, 0);
}

/* The real one, and what it was before. */
static void test_go_first(void **state)
{
        struct sched_param ordinary = {}, lowest = {.sched_priority = 1};
        struct sys sys;
        int r;

        assert_int_equal(sys_init(&sys, NULL), 0);
        r = sys.ops->go_first(&sys, true);
        if (r == -EPERM) {
                assert_int_equal(sched_getscheduler(0), SCHED_OTHER);
                sys_done(&sys);
                skip();
        }
        assert_int_equal(r, 0);
        assert_int_equal(sched_getscheduler(0) & ~SCHED_RESET_ON_FORK, SCHED_FIFO);
        assert_int_equal(sys.ops->go_first(&sys, false), 0);
        assert_int_equal(sched_getscheduler(0), SCHED_OTHER);
        assert_int_equal(sched_setscheduler(0, SCHED_BATCH, &ordinary), 0);
        assert_int_equal(sys.ops->go_first(&sys, true), 0);
        assert_int_equal(sys.ops->go_first(&sys, false), 0);
        assert_int_equal(sched_getscheduler(0), SCHED_BATCH);
        assert_int_equal(sched_setscheduler(0, SCHED_RR, &lowest), 0);
        assert_int_equal(sys.ops->go_first(&sys, true), -EALREADY);
        assert_int_equal(sched_getscheduler(0), SCHED_RR);
        assert_int_equal(sched_setscheduler(0, SCHED_OTHER, &ordinary), 0);
        sys_done(&sys);
}

/* The real one: to every processor that this thread may run on, and to no other. */
static void test_go_to_cpu(void **state)
{
        cpu_set_t before, after;
        struct sys sys;

        assert_int_equal(sys_init(&sys, NULL), 0);
        assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
                assert_int_equal(sys.ops->go_to_cpu(&sys, cpu), CPU_ISSET(cpu, &before) ? 0 : -EINVAL);
        assert_int_equal(sys.ops->go_to_cpu(&sys, -1), -EINVAL);
        assert_int_equal(sys.ops->go_to_cpu(&sys, 8192), -EINVAL);
        assert_int_equal(sched_getaffinity(0, sizeof(after), &after), 0);
        assert_true(CPU_EQUAL(&before, &after));
        sys_done(&sys);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test_setup_teardown(test_single, fake_setup, fake_teardown),
                        cmocka_unit_test_setup_teardown(test_priority, fake_setup, fake_teardown),
                        cmocka_unit_test_setup_teardown(test_threads, fake_setup, fake_teardown),
                        cmocka_unit_test_setup_teardown(test_unknown, fake_setup, fake_teardown),
                        cmocka_unit_test_setup_teardown(test_walk, fake_setup, fake_teardown),
                        cmocka_unit_test(test_go_to_cpu),
                        cmocka_unit_test_setup_teardown(test_first, fake_setup, fake_teardown),
                        cmocka_unit_test_setup_teardown(test_first_of_many, fake_setup, fake_teardown),
                        cmocka_unit_test_setup_teardown(test_first_in_a_crowd, fake_setup, fake_teardown),
                        cmocka_unit_test(test_go_first),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
