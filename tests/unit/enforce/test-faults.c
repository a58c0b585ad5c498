/* SPDX-License-Identifier: MIT */
/*
 * Every call fails at every place, and the thread is given up or stopped at every place. Whatever happens, an act never
 * claims more than the page tables show, and a lost thread touches nothing of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "world.h"

#define PAGES 300ULL /* more than one step */

static struct world *make_world(void)
{
        struct world *w = world_anonymous(PAGES);

        for (size_t i = 0; i < ARRAY_SIZE(world_two); i++) {
                world_map(w, world_two[i].pid, BASE + 4096 * PAGE, 10, FILE_CLEAN);
                world_fill(w, world_two[i].pid, BASE + 4096 * PAGE, 10, FILE_CLEAN);
        }
        return w;
}

static uint64_t present(struct world *w, pid_t pid)
{
        return world_present(w, pid, BASE, PAGES) + world_present(w, pid, BASE + 4096 * PAGE, 10);
}

/* A trace of pages that all came back, so that the looking for refaults is among what fails. */
static struct pageout_trace *make_trace(struct world *w)
{
        struct pageout_request q = world_request(world_two, 2, 100000);
        struct pageout_trace *trace = NULL;

        world_act(w, &q, NULL, &trace);
        assert_non_null(trace);
        for (size_t i = 0; i < ARRAY_SIZE(world_two); i++) {
                world_fill(w, world_two[i].pid, BASE, PAGES, ANON);
                world_fill(w, world_two[i].pid, BASE + 4096 * PAGE, 10, FILE_CLEAN);
        }
        w->n_calls = 0;
        for (size_t i = 0; i < _OP_MAX; i++)
                w->counts[i] = 0;
        return trace;
}

static void test_every_call_fails(void **state)
{
        static const int errors[] = {EIO, EACCES, ENOMEM, EINTR, ESRCH, EMFILE, ENOENT};

        for (enum op op = 0; op < _OP_MAX; op++) {
                for (size_t e = 0; e < ARRAY_SIZE(errors); e++) {
                        bool reached = true;

                        for (unsigned k = 1; reached; k++) {
                                struct world *w = make_world();
                                struct pageout_request q = world_request(world_two, 2, 100000);
                                struct act_result r;
                                uint64_t left;

                                q.trace = make_trace(w);
                                w->fail_op = op;
                                w->fail_at = k;
                                w->fail_error = errors[e];
                                r = world_act(w, &q, NULL, NULL);
                                left = 2 * (PAGES + 10) * PAGE - present(w, 50) - present(w, 60);
                                assert_true(r.unmapped <= left);
                                assert_true(r.freed <= r.unmapped || r.freed == SIZE_UNKNOWN);
                                assert_true(r.refaulted <= 2 * (PAGES + 10) * PAGE);
                                /* one failure costs at most one process */
                                assert_true(present(w, 50) == 0 || present(w, 60) == 0);
                                reached = w->counts[op] >= k;
                                /* what is not claimed has its reason */
                                if (r.unmapped < left)
                                        assert_true(r.error != 0 || r.gone > 0);
                                world_free(w);
                        }
                }
        }
}

static void test_new_fails_on_nothing(void **state)
{
        struct world *w = world_new();
        struct pageout_request q = world_request(NULL, 0, 100);
        struct act_result r = world_act(w, &q, NULL, NULL);

        assert_int_equal(r.unmapped, 0);
        assert_int_equal(r.processes, 0);
        world_free(w);
}

struct test_guard {
        struct guard guard;
        struct world *world;
        struct pageout **act; /* freed when the thread is given up, so that the sanitizer sees every later touch */
        bool free_act;
        unsigned leaves, lose_at;
        unsigned stops, stop_at;
        bool lost;
        pid_t pid;
};

static void on_enter(struct guard *g, pid_t pid)
{
        struct test_guard *t = (struct test_guard *)g;

        assert_false(t->world->guarded);
        assert_false(t->lost);
        t->world->guarded = true;
        t->pid = pid;
}

static bool on_leave(struct guard *g)
{
        struct test_guard *t = (struct test_guard *)g;

        assert_true(t->world->guarded);
        t->world->guarded = false;
        if (++t->leaves != t->lose_at)
                return true;
        t->lost = true;
        assert_int_equal(pageout_give_up_current(*t->act), t->pid);
        if (t->free_act)
                *t->act = pageout_free(*t->act);
        return false;
}

static bool on_stopping(struct guard *g)
{
        struct test_guard *t = (struct test_guard *)g;

        assert_false(t->lost);
        return t->stop_at > 0 && ++t->stops >= t->stop_at;
}

static const struct guard callbacks = {.enter = on_enter, .leave = on_leave, .stopping = on_stopping};

/* One run with a guard; whether the place asked for was reached. */
static bool run_guarded(struct world *w, struct test_guard *g, struct pageout **p)
{
        struct pageout_request q = world_request(world_two, 2, 100000);
        int r;

        q.trace = make_trace(w);
        assert_int_equal(pageout_new(&w->sys, &w->features, &q, p), 0);
        g->guard = callbacks;
        g->world = w;
        g->act = p;
        w->must_be_guarded = true;
        r = pageout_run(*p, &g->guard);
        w->must_be_guarded = false;
        if (g->lost) {
                assert_int_equal(r, -ECANCELED);
                return true;
        }
        assert_true(r == 0 || (r == -ECANCELED && g->stop_at > 0));
        return r == -ECANCELED;
}

static void test_lost_and_freed(void **state)
{
        bool reached = true;
        unsigned k;

        for (k = 1; reached; k++) {
                struct world *w = make_world();
                struct test_guard g = {.lose_at = k, .free_act = true};
                struct pageout *p = NULL;

                reached = run_guarded(w, &g, &p);
                pageout_free(p);
                world_free(w);
        }
        assert_true(k > 20);
}

static void test_lost_and_continued(void **state)
{
        bool reached = true;

        for (unsigned k = 1; reached; k++) {
                struct world *w = make_world();
                struct test_guard g = {.lose_at = k};
                struct pageout *p = NULL;

                reached = run_guarded(w, &g, &p);
                if (reached) {
                        pid_t stuck = g.pid;
                        struct pageout_cursor cursor;
                        struct act_result r;
                        size_t calls = w->n_calls;

                        assert_int_equal(pageout_give_up_current(p), 0);
                        assert_int_equal(pageout_run(p, NULL), 0);
                        pageout_result(p, &r);
                        pageout_get_cursor(p, &cursor);
                        assert_int_equal(r.stuck, 1);
                        /* the other one was done, the stuck one not tried again */
                        assert_int_equal(present(w, stuck == 50 ? 60 : 50), 0);
                        for (; calls < w->n_calls; calls++)
                                assert_int_not_equal(w->calls[calls].pid, stuck);
                        assert_true(r.unmapped <= 2 * (PAGES + 10) * PAGE - present(w, 50) - present(w, 60));
                        assert_true(r.unmapped >= (PAGES + 10) * PAGE);
                        assert_true(r.refaulted <= 2 * (PAGES + 10) * PAGE);
                        assert_int_equal(cursor.pid, 0);
                }
                pageout_free(p);
                world_free(w);
        }
}

static void test_stopped(void **state)
{
        bool reached = true;

        for (unsigned k = 1; reached; k++) {
                struct world *w = make_world();
                struct test_guard g = {.stop_at = k};
                struct pageout *p = NULL;
                struct act_result r;

                reached = run_guarded(w, &g, &p);
                pageout_result(p, &r);
                assert_true(r.unmapped <= 2 * (PAGES + 10) * PAGE - present(w, 50) - present(w, 60));
                assert_true(r.unmapped == 0 || r.freed <= r.unmapped || r.freed == SIZE_UNKNOWN);
                pageout_free(p);
                world_free(w);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_every_call_fails), cmocka_unit_test(test_new_fails_on_nothing),
                        cmocka_unit_test(test_lost_and_freed),   cmocka_unit_test(test_lost_and_continued),
                        cmocka_unit_test(test_stopped),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
