/* SPDX-License-Identifier: MIT */
/* What an act does, and what it says it did, when the kernel behaves in all the ways it has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "capd/enforce/step.h"
#include "world.h"

static void test_kinds(void **state)
{
        struct world *w = world_new();
        struct pageout_request q = world_request(world_two, 1, 100000);
        struct act_result r;

        world_process(w, 50, 500);
        world_map(w, 50, BASE, 100, ANON);
        world_fill(w, 50, BASE, 30, ANON);
        world_fill(w, 50, BASE + 50 * PAGE, 30, ANON_SHARED);
        world_map(w, 50, BASE + 1000 * PAGE, 20, FILE_CLEAN);
        world_fill(w, 50, BASE + 1000 * PAGE, 20, FILE_CLEAN);
        world_map(w, 50, BASE + 2000 * PAGE, 10, SHMEM);
        world_fill(w, 50, BASE + 2000 * PAGE, 10, SHMEM);
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(r.attempted, 60 * PAGE);
        assert_int_equal(r.unmapped, 60 * PAGE);
        assert_int_equal(r.freed, 60 * PAGE);
        assert_int_equal(r.left_shared, 30 * PAGE);
        assert_int_equal(r.processes, 1);
        assert_int_equal(r.error, 0);
        assert_int_equal(w->n_calls, 1);
        assert_int_equal(w->calls[0].n, 3);
        assert_int_equal(world_present(w, 50, BASE, 4000), 30 * PAGE);
        world_free(w);
}

static void test_ranges_end_with_their_mapping(void **state)
{
        struct world *w = world_new();
        struct pageout_request q = world_request(world_two, 1, 100000);
        struct act_result r;

        world_process(w, 50, 500);
        for (size_t i = 0; i < 3; i++) {
                world_map(w, 50, BASE + i * 10 * PAGE, 10, i == 1 ? FILE_CLEAN : ANON);
                world_fill(w, 50, BASE + i * 10 * PAGE, 10, i == 1 ? FILE_CLEAN : ANON);
        }
        w->locked_start = BASE + 10 * PAGE;
        w->locked_end = BASE + 20 * PAGE;
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(w->calls[0].n, 3);
        assert_int_equal(r.unmapped, 20 * PAGE);
        assert_int_equal(r.left_busy, 10 * PAGE);
        world_free(w);
}

static void test_success_without_effect(void **state)
{
        struct world *w = world_anonymous(300);
        struct pageout_request q = world_request(world_two, 2, 100000);
        struct pageout_cursor cursor;
        struct pageout_trace *trace;
        struct act_result r;

        w->nothing_moves = true;
        r = world_act(w, &q, &cursor, &trace);
        assert_int_equal(r.attempted, 600 * PAGE);
        assert_int_equal(r.unmapped, 0);
        assert_int_equal(r.freed, 0);
        assert_int_equal(r.left_busy, 600 * PAGE);
        assert_null(trace);
        assert_int_equal(cursor.pid, 0);
        world_free(w);
}

static void test_locked(void **state)
{
        struct world *w = world_anonymous(100);
        struct pageout_request q = world_request(world_two, 1, 100000);
        struct act_result r;

        /* a locked mapping between two others */
        world_map(w, 50, BASE + 100 * PAGE, 50, SHMEM);
        world_fill(w, 50, BASE + 100 * PAGE, 50, SHMEM);
        world_map(w, 50, BASE + 150 * PAGE, 30, ANON);
        world_fill(w, 50, BASE + 150 * PAGE, 30, ANON);
        w->locked_start = BASE + 100 * PAGE;
        w->locked_end = BASE + 150 * PAGE;
        for (uint64_t i = 0; i < 50; i++)
                world_set_flags(w, world_page(w, 50, w->locked_start + i * PAGE) & 0xffffff,
                                FLAG_MMAP | FLAG_SWAPBACKED | FLAG_UNEVICTABLE);
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(r.unmapped, 130 * PAGE);
        assert_int_equal(r.left_locked, 50 * PAGE);
        assert_int_equal(r.left_busy, 0);
        assert_int_equal(r.error, 0);
        world_free(w);
}

static void test_hole(void **state)
{
        struct world *w = world_anonymous(100);
        struct pageout_request q = world_request(world_two, 2, 100000);
        struct act_result r;

        w->hole = BASE + 50 * PAGE;
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(r.unmapped, 200 * PAGE);
        assert_int_equal(r.error, 0);
        world_free(w);
}

static void test_forbidden(void **state)
{
        static const int errors[] = {EPERM, EACCES};

        for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
                struct world *w = world_anonymous(100);
                struct pageout_request q = world_request(world_two, 2, 100000);
                struct act_result r;

                w->error = errors[i];
                w->error_pid = 50;
                r = world_act(w, &q, NULL, NULL);
                assert_int_equal(r.left_forbidden, world_two[0].resident);
                assert_int_equal(r.error, errors[i]);
                assert_int_equal(r.unmapped, 100 * PAGE);
                assert_int_equal(world_present(w, 60, BASE, 100), 0);
                world_free(w);
        }
}

static void test_files_without_right(void **state)
{
        struct world *w = world_new();
        struct pageout_request q = world_request(world_two, 1, 100000);
        struct act_result r;

        world_process(w, 50, 500);
        world_map(w, 50, BASE, 10, FILE_CLEAN);
        world_fill(w, 50, BASE, 10, FILE_CLEAN);
        world_fill(w, 50, BASE, 3, FILE_DIRTY);
        w->nothing_moves = true;
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(r.left_busy, 7 * PAGE);
        assert_int_equal(r.left_dirty, 3 * PAGE);
        world_capabilities(w, 0);
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(r.left_forbidden, 7 * PAGE);
        assert_int_equal(r.left_dirty, 3 * PAGE);
        assert_int_equal(r.left_busy, 0);
        world_free(w);
}

/* The process gives memory back by itself while capd sleeps. */
static void free_pages(struct world *w, usec_t usec)
{
        w->on_sleep = NULL;
        world_fill(w, 50, BASE + 600 * PAGE, 100, NOTHING); /* behind what the first batch looked at */
}

static void test_what_left_by_itself(void **state)
{
        struct world *w = world_anonymous(1000);
        struct pageout_request q = world_request(world_two, 1, 100000);
        struct act_result r;

        w->on_sleep = free_pages;
        w->cost_page = 4; /* so that there is a pause in the first batch */
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(w->calls[0].bytes * 8, 512 * PAGE);
        assert_null(w->on_sleep);
        assert_int_equal(r.attempted, 900 * PAGE);
        assert_int_equal(r.unmapped, 900 * PAGE);
        world_free(w);
}

static void test_interrupted(void **state)
{
        struct world *w = world_anonymous(100);
        struct pageout_request q = world_request(world_two, 2, 100000);
        struct act_result r;

        w->error = EINTR;
        w->error_times = 3;
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(r.unmapped, 200 * PAGE);
        assert_int_equal(w->n_calls, 3 + 4);
        world_free(w);

        /* for ever: it ends, and nothing is made up */
        w = world_anonymous(100);
        w->error = EAGAIN;
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(r.unmapped, 0);
        assert_in_range(w->n_calls, 2, 50);
        world_free(w);
}

static void test_goal(void **state)
{
        struct world *w = world_anonymous(1000);
        struct pageout_request q = world_request(world_two, 2, 300);
        struct act_result r;

        q.goal++; /* whole pages */
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(r.unmapped, 301 * PAGE);
        assert_int_equal(world_present(w, 50, BASE, 1000), 699 * PAGE);
        assert_int_equal(world_present(w, 60, BASE, 1000), 1000 * PAGE);
        q.goal = 0;
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(r.attempted, 0);
        world_free(w);
}

static void test_steps_fit_the_stall(void **state)
{
        struct world *w = world_anonymous(20000);
        struct pageout_request q = world_request(world_two, 2, 100000);
        unsigned over = 0;

        q.max_time = USEC_PER_SEC;
        q.max_stall = 500;
        w->cost_page = 10; /* 50 pages in 500 µs; the first step of 64 takes 640 */
        world_act(w, &q, &q.cursor, NULL);
        for (size_t i = 0; i < w->n_calls; i++)
                over += w->calls[i].bytes / PAGE * w->cost_page > q.max_stall;
        assert_int_equal(over, 1);
        assert_in_range(w->calls[2].bytes / PAGE * w->cost_page, 100, 250);
        assert_true(w->n_calls > 100);

        /* the next act begins with what this one learnt */
        w->n_calls = 0;
        world_fill(w, 50, BASE, 20000, ANON);
        world_act(w, &q, NULL, NULL);
        assert_true(w->calls[0].bytes / PAGE * w->cost_page <= q.max_stall);
        world_free(w);
}

/* Steps of 2 MiB and more end where a transparent huge page may, so that none is split by them. */
static void test_huge_pages_stay_whole(void **state)
{
        struct world *w = world_anonymous(8192);
        struct pageout_request q = world_request(world_two, 1, 100000);
        size_t large = 0;
        struct act_result r;

        r = world_act(w, &q, NULL, NULL);
        for (size_t i = 1; i < w->n_calls; i++) {
                large += w->calls[i].bytes >= 2 * MIB;
                if (w->calls[i].bytes >= 2 * MIB)
                        assert_int_equal((w->calls[i].address + w->calls[i].bytes) % (2 * MIB), 0);
                assert_int_equal(w->calls[i].address, w->calls[i - 1].address + w->calls[i - 1].bytes);
        }
        assert_true(large > 4);
        assert_int_equal(r.attempted, 8192 * PAGE);
        assert_int_equal(r.unmapped, 8192 * PAGE);
        world_free(w);
}

/* Of 32 MiB the second half are huge pages, by their frames. */
static struct world *half_huge(void)
{
        struct world *w = world_new();

        world_process(w, 50, 500);
        world_map(w, 50, BASE, 8192, ANON);
        world_fill(w, 50, BASE, 4096, ANON);
        w->next_frame = 16384;
        world_fill(w, 50, BASE + 4096 * PAGE, 4096, ANON);
        w->cost_page = 2;
        w->cost_huge = 300;
        return w;
}

/* A huge page goes by itself, and not in parts, where so many small ones would not take too long. */
static void test_huge_pages_go_whole(void **state)
{
        struct world *w = half_huge();
        struct pageout_request q = world_request(world_two, 1, 100000);
        size_t whole = 0, small = 0;
        struct act_result r;

        q.max_stall = 2500;
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(r.unmapped, 8192 * PAGE);
        for (size_t i = 0; i < w->n_calls; i++) {
                if (w->calls[i].address < BASE + 4096 * PAGE) {
                        small++;
                        assert_true(w->calls[i].address + w->calls[i].bytes <= BASE + 4096 * PAGE);
                        assert_true(w->calls[i].bytes < 2 * MIB);
                } else {
                        whole++;
                        assert_int_equal(w->calls[i].bytes, 2 * MIB);
                }
        }
        assert_int_equal(whole, 8);
        assert_true(small > 8);
        world_free(w);

        /* where small pages are slow huge ones are not tried at all */
        w = half_huge();
        w->cost_page = 20;
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(r.unmapped, 8192 * PAGE);
        for (size_t i = 0; i < w->n_calls; i++)
                assert_true(w->calls[i].bytes <= STEP_FIRST_BYTES);
        world_free(w);

        /* it turns out to take too long: not tried a third time */
        w = half_huge();
        w->cost_huge = 5000;
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(r.unmapped, 8192 * PAGE);
        whole = 0;
        for (size_t i = 0; i < w->n_calls; i++)
                whole += w->calls[i].bytes == 2 * MIB;
        assert_int_equal(whole, 2);
        world_free(w);
}

/* Of huge pages of a file not more leaves than was asked for, all that leaves is booked, and the host gets it back. */
static void test_huge_pages_of_files(void **state)
{
        for (usec_t cost = 2; cost <= 200; cost *= 10)
                for (uint64_t goal = 100; goal < 8000; goal = goal * 3 + 7) {
                        struct world *w = world_new();
                        struct pageout_request q = world_request(world_two, 1, goal);
                        struct act_result r;

                        world_process(w, 50, 500);
                        world_map(w, 50, BASE, 8192, FILE_CLEAN);
                        w->next_frame = 16384;
                        world_fill(w, 50, BASE, 8192, FILE_CLEAN);
                        w->splits = true;
                        w->cost_page = cost;
                        w->cost_huge = 50;
                        r = world_act(w, &q, NULL, NULL);
                        assert_int_equal(r.unmapped, (8192 * PAGE) - world_present(w, 50, BASE, 8192));
                        assert_in_range(r.unmapped, goal * PAGE, goal * PAGE + 2 * MIB);
                        assert_in_range(r.freed, r.unmapped - r.unmapped / 10, r.unmapped);
                        world_free(w);
                }
}

/* What a thread owes others it owes after a process as well, if it is done with that in no time. */
static unsigned turns, yields;

static int count_turns(const struct sys *sys, bool first)
{
        turns += first;
        return 0;
}

static void count_yields(const struct sys *sys)
{
        yields++;
}

static void test_turns_go_on_from_process_to_process(void **state)
{
        struct pageout_target targets[WORLD_PROCESSES];
        struct world *w = world_new();
        struct pageout_request q;
        struct act_result r;

        for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
                targets[i] = (struct pageout_target){
                                .pid = 50 + (pid_t)i, .start_time = 500 + i, .mm_id = 1 + i, .resident = 40 * PAGE};
                world_process(w, targets[i].pid, targets[i].start_time);
                world_map(w, targets[i].pid, BASE, 40, ANON);
                world_fill(w, targets[i].pid, BASE, 40, ANON);
        }
        w->ops.go_first = count_turns;
        w->ops.yield = count_yields;
        w->features.realtime = true;
        w->cost_page = 10;
        q = world_request(targets, ARRAY_SIZE(targets), 100000);
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(r.unmapped, ARRAY_SIZE(targets) * 40 * PAGE);
        /* 0.4 ms each, a millisecond a turn */
        assert_in_range(yields, 2, 4);
        assert_true(turns > yields);
        world_free(w);
}

/* Pages of one process and shared ones in turn: as many ranges as one call takes, and no more. */
static void test_scattered(void **state)
{
        struct world *w = world_anonymous(12000);
        struct pageout_request q = world_request(world_two, 1, 100000);
        uint64_t most = 0;
        struct act_result r;

        for (uint64_t i = 0; i < 6000; i++)
                world_fill(w, 50, BASE + i * 2 * PAGE, 1, ANON_SHARED);
        for (uint64_t i = 8000; i < 11600; i++)
                world_fill(w, 50, BASE + i * PAGE, 1, i % 200 == 0 ? ANON : ANON_SHARED); /* far apart */
        w->cost_page = 0;
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(r.unmapped, (4000 + 18 + 200) * PAGE);
        assert_int_equal(r.left_shared, (4000 + 3582 + 200) * PAGE);
        for (size_t i = 0; i < w->n_calls; i++)
                most = MAX(most, (uint64_t)w->calls[i].n);
        assert_in_range(most, 256, LIMIT_MADVISE_VECTORS);
        world_free(w);
}

static void test_time_and_cursor(void **state)
{
        struct world *w = world_anonymous(3000);
        struct pageout_request q = world_request(world_two, 2, 100000);
        struct pageout_cursor cursor;
        struct act_result r;
        size_t first_calls;

        q.max_time = 10000;
        w->cost_page = 10; /* some 1000 pages an act */
        r = world_act(w, &q, &cursor, NULL);
        assert_in_range(r.unmapped, 500 * PAGE, 1300 * PAGE);
        assert_in_range(r.ended - r.started, 10000, 13000);
        assert_int_equal(cursor.pid, 50);
        assert_int_equal(cursor.address, BASE + r.unmapped);

        first_calls = w->n_calls;
        q.cursor = cursor;
        q.max_time = LIMIT_ACT_USEC;
        world_fill(w, 50, BASE, 10, ANON); /* came back behind the cursor: reached last */
        r = world_act(w, &q, &cursor, NULL);
        assert_int_equal(w->calls[first_calls].pid, 50);
        assert_int_equal(w->calls[first_calls].address, q.cursor.address);
        assert_int_equal(w->calls[w->n_calls - 1].pid, 50);
        assert_int_equal(w->calls[w->n_calls - 1].address, BASE);
        assert_int_equal(w->calls[w->n_calls - 1].bytes, 10 * PAGE);
        assert_int_equal(cursor.pid, 0); /* a complete pass */
        assert_int_equal(world_present(w, 50, BASE, 3000) + world_present(w, 60, BASE, 3000), 0);
        world_free(w);
}

/* A pass that begins in the middle of a process still comes to every page once. */
static void test_every_page_once(void **state)
{
        struct world *w = world_anonymous(100);
        struct pageout_request q = world_request(world_two, 2, 100000);
        struct act_result r;

        w->nothing_moves = true;
        q.cursor = (struct pageout_cursor){.pid = 60, .start_time = 600, .address = BASE + 37 * PAGE};
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(w->n_calls, 4); /* the other one's 100 pages in two */
        assert_int_equal(w->calls[0].pid, 60);
        assert_int_equal(w->calls[3].bytes, 37 * PAGE);
        assert_int_equal(r.attempted, 200 * PAGE);
        world_free(w);
}

/* A cursor whose process has gone is no cursor. */
static void test_cursor_of_a_stranger(void **state)
{
        struct world *w = world_anonymous(100);
        struct pageout_request q = world_request(world_two, 2, 100000);
        struct act_result r;

        q.cursor = (struct pageout_cursor){.pid = 50, .start_time = 7, .address = BASE + 50 * PAGE};
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(r.unmapped, 200 * PAGE);
        assert_int_equal(w->calls[0].address, BASE);
        world_free(w);
}

/* A process of which nothing moves does not use up the time of the next; it is taken up again afterwards. */
static void test_put_off(void **state)
{
        struct world *w = world_anonymous(6000);
        struct pageout_request q = world_request(world_two, 2, 100000);
        size_t i = 0, calls = 0;
        struct act_result r;

        w->locked_start = BASE;
        w->locked_end = BASE + 6000 * PAGE;
        world_map(w, 60, w->locked_end, 100, ANON);
        world_fill(w, 60, w->locked_end, 100, ANON);
        r = world_act(w, &q, NULL, NULL);
        while (i < w->n_calls && w->calls[i].pid == 50)
                i++;
        assert_int_equal(i, 8);
        for (; i < w->n_calls; i++)
                calls += w->calls[i].pid == 50;
        assert_true(calls > 8);
        assert_int_equal(r.unmapped, 100 * PAGE);
        assert_int_equal(r.attempted, 12100 * PAGE); /* each page once */
        world_free(w);
}

static void test_floor_and_protected(void **state)
{
        struct world *w = world_anonymous(100);
        struct pageout_target t[] = {world_two[0], world_two[1]};
        struct pageout_request q = world_request(t, 2, 100000);
        struct act_result r;

        q.process_floor = 1500 * PAGE;
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(r.left_floor, 1000 * PAGE);
        assert_int_equal(r.unmapped, 100 * PAGE);
        assert_int_equal(world_present(w, 60, BASE, 100), 100 * PAGE);
        t[1].protected_process = true;
        q.process_floor = 0;
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(r.left_floor, 1000 * PAGE);
        assert_int_equal(world_present(w, 60, BASE, 100), 100 * PAGE);
        world_free(w);
}

static void test_no_swap(void **state)
{
        struct world *w = world_anonymous(100);
        struct pageout_request q = world_request(world_two, 2, 100000);
        struct act_result r;

        world_map(w, 50, BASE + 1000 * PAGE, 20, FILE_CLEAN);
        world_fill(w, 50, BASE + 1000 * PAGE, 20, FILE_CLEAN);
        world_map(w, 50, BASE + 2000 * PAGE, 20, SHMEM);
        world_fill(w, 50, BASE + 2000 * PAGE, 20, SHMEM);
        q.swap = false;
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(r.attempted, 20 * PAGE);
        assert_int_equal(r.unmapped, 20 * PAGE);
        assert_int_equal(r.left_no_swap, 220 * PAGE);
        world_free(w);
}

static void test_swap_fills_up(void **state)
{
        struct world *w = world_anonymous(1000);
        struct pageout_request q = world_request(world_two, 2, 100000);
        struct pageout_trace *trace;
        struct act_result r;

        world_map(w, 60, BASE + 2000 * PAGE, 20, FILE_CLEAN);
        world_fill(w, 60, BASE + 2000 * PAGE, 20, FILE_CLEAN);
        world_swap(w, 1000000, 150);
        r = world_act(w, &q, NULL, &trace);
        assert_int_equal(r.unmapped, 170 * PAGE);
        assert_int_equal(r.left_no_swap, 1850 * PAGE);
        assert_int_equal(r.left_busy, 0);
        assert_true(r.attempted < 600 * PAGE); /* not tried again and again */

        /* what stayed is no refault */
        q.trace = trace;
        q.goal = PAGE;
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(r.refaulted, 0);
        world_free(w);
}

/* Write-back ends while the act waits for it. */
static void finish_writing(struct world *w, usec_t usec)
{
        if (usec >= 10 * USEC_PER_MSEC)
                for (uint64_t frame = 1000; frame < w->next_frame; frame++)
                        world_set_flags(w, frame, frame % 2 ? 0 : FLAG_SWAPCACHE | FLAG_LRU | FLAG_ANON);
}

static void test_freed(void **state)
{
        struct world *w = world_anonymous(100);
        struct pageout_request q = world_request(world_two, 1, 100);
        usec_t begin = w->clock;
        struct act_result r;

        w->flags_after = FLAG_SWAPCACHE | FLAG_WRITEBACK | FLAG_ANON | FLAG_LRU;
        w->on_sleep = finish_writing;
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(r.unmapped, 100 * PAGE);
        assert_int_equal(r.freed, 50 * PAGE);
        assert_true(w->clock - begin < 100000); /* nothing is being written any more: no use to wait */
        world_free(w);

        w = world_anonymous(100);
        w->features.kpageflags = false;
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(r.unmapped, 100 * PAGE);
        assert_true(r.freed == SIZE_UNKNOWN);
        world_free(w);
}

/* Of many frames a sample is looked at, which no pattern of theirs deceives. */
static void test_freed_of_many(void **state)
{
        struct world *w = world_anonymous(50000);
        struct pageout_request q = world_request(world_two, 1, 50000);
        struct act_result r;

        w->flags_after = FLAG_SWAPCACHE | FLAG_WRITEBACK | FLAG_ANON | FLAG_LRU;
        w->on_sleep = finish_writing;
        w->cost_page = 0;
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(r.unmapped, 50000 * PAGE);
        assert_in_range(r.freed, 24000 * PAGE, 26000 * PAGE);
        world_free(w);
}

static void test_refaulted(void **state)
{
        struct world *w = world_anonymous(100);
        struct pageout_target t[] = {world_two[0], world_two[1]};
        struct pageout_request q = world_request(t, 2, 200);
        struct pageout_trace *trace = NULL;
        struct act_result r;

        r = world_act(w, &q, NULL, &trace);
        assert_int_equal(r.unmapped, 200 * PAGE);
        assert_int_equal(r.refaulted, 0);
        assert_non_null(trace);
        world_fill(w, 50, BASE + 10 * PAGE, 7, ANON);
        world_fill(w, 60, BASE, 5, ANON);
        world_map(w, 60, BASE + 500 * PAGE, 50, ANON);
        world_fill(w, 60, BASE + 500 * PAGE, 50, ANON); /* never paged out: not a refault */
        q.trace = trace;
        r = world_act(w, &q, NULL, &trace);
        assert_int_equal(r.refaulted, 12 * PAGE);

        /* another program, or nobody, in that place */
        world_fill(w, 50, BASE + 10 * PAGE, 7, ANON);
        t[0].mm_id = 77;
        world_exit(w, 60);
        q.trace = trace;
        r = world_act(w, &q, NULL, &trace);
        assert_int_equal(r.refaulted, 0);
        assert_int_equal(r.gone, 1);
        pageout_trace_free(trace);
        world_free(w);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_kinds),
                        cmocka_unit_test(test_ranges_end_with_their_mapping),
                        cmocka_unit_test(test_success_without_effect),
                        cmocka_unit_test(test_locked),
                        cmocka_unit_test(test_hole),
                        cmocka_unit_test(test_forbidden),
                        cmocka_unit_test(test_files_without_right),
                        cmocka_unit_test(test_what_left_by_itself),
                        cmocka_unit_test(test_interrupted),
                        cmocka_unit_test(test_goal),
                        cmocka_unit_test(test_steps_fit_the_stall),
                        cmocka_unit_test(test_huge_pages_stay_whole),
                        cmocka_unit_test(test_huge_pages_go_whole),
                        cmocka_unit_test(test_huge_pages_of_files),
                        cmocka_unit_test(test_turns_go_on_from_process_to_process),
                        cmocka_unit_test(test_scattered),
                        cmocka_unit_test(test_time_and_cursor),
                        cmocka_unit_test(test_every_page_once),
                        cmocka_unit_test(test_cursor_of_a_stranger),
                        cmocka_unit_test(test_put_off),
                        cmocka_unit_test(test_floor_and_protected),
                        cmocka_unit_test(test_no_swap),
                        cmocka_unit_test(test_swap_fills_up),
                        cmocka_unit_test(test_freed),
                        cmocka_unit_test(test_freed_of_many),
                        cmocka_unit_test(test_refaulted),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
