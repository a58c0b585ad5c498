/* SPDX-License-Identifier: MIT */
/* Acts on processes that end, become another program, or leave their number to somebody else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "world.h"

static void test_gone(void **state)
{
        struct world *w = world_anonymous(100);
        struct pageout_request q = world_request(world_two, 2, 100000);
        struct act_result r;

        w->error = ESRCH;
        w->error_pid = 50;
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(r.gone, 1);
        assert_int_equal(r.error, 0);
        assert_int_equal(r.unmapped, 100 * PAGE);
        world_free(w);
}

/* The page tables of a process that ends are empty, which must not count as paged out. */
static void test_exit_in_a_step(void **state)
{
        struct world *w = world_anonymous(100);
        struct pageout_request q = world_request(world_two, 2, 100000);
        struct act_result r;

        w->exits = 50;
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(r.gone, 1);
        assert_int_equal(r.unmapped, 100 * PAGE);
        world_free(w);
}

/* An address space that outlives its process (vfork(2), then exec): the next calls would be about another program. */
static void test_exec_in_a_step(void **state)
{
        struct world *w = world_anonymous(1000);
        struct pageout_request q = world_request(world_two, 2, 100000);
        struct act_result r;

        w->mm_is_shared = true;
        w->exits = 50;
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(r.gone, 1);
        assert_int_equal(r.unmapped, 1000 * PAGE);
        assert_int_equal(world_present(w, 60, BASE, 1000), 0);
        assert_int_equal(w->calls[8].pid, 60); /* one batch, not more */
        world_free(w);
}

/* The number passes to somebody else after the walk was opened. */
static void take_number(struct world *w, pid_t pid)
{
        size_t i = w->n_processes;

        w->on_pidfd_open = NULL;
        world_exit(w, pid);
        world_process(w, pid, 99999);
        world_map(w, pid, BASE, 100, ANON);
        w->processes[0].pid = -1; /* what follows is about the new one */
        world_fill(w, pid, BASE, 100, ANON);
        assert_int_equal(w->processes[i].pid, pid);
}

static void test_reused_number(void **state)
{
        struct world *w = world_anonymous(100);
        struct pageout_request q = world_request(world_two, 1, 100000);
        struct act_result r;

        w->on_pidfd_open = take_number;
        w->mm_is_shared = true; /* so that only the look at the process can tell */
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(w->n_calls, 0);
        assert_int_equal(r.gone, 1);
        assert_int_equal(r.attempted, 0);
        assert_int_equal(world_present(w, 50, BASE, 100), 100 * PAGE);
        world_free(w);
}

static void test_wrong_start_time(void **state)
{
        struct world *w = world_anonymous(100);
        struct pageout_target t = world_two[0];
        struct pageout_request q = world_request(&t, 1, 100000);
        struct act_result r;

        t.start_time++;
        r = world_act(w, &q, NULL, NULL);
        assert_int_equal(w->n_calls, 0);
        assert_int_equal(r.gone, 1);
        world_free(w);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_gone),
                        cmocka_unit_test(test_exit_in_a_step),
                        cmocka_unit_test(test_exec_in_a_step),
                        cmocka_unit_test(test_reused_number),
                        cmocka_unit_test(test_wrong_start_time),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
