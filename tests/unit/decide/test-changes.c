/* SPDX-License-Identifier: MIT */
/* What can have come into `resident` or gone out of it since it was counted, and when that spares a count. */
#include <stdlib.h>

#include "world.h"

/* An exact count of `resident` with a cap of 200 MiB, a second look 5 s later, and so much that moved. */
static void look_again(struct world *w, uint64_t resident, uint64_t moved)
{
        world_init(w);
        set_bounds(w, 0, 400 * MIB);
        set_count(w, resident);
        judge(w);
        assert_false(w->verdict.count);
        w->now += 5 * USEC_PER_SEC;
        set_bounds(w, 0, 400 * MIB);
        w->facts.moved_known = true;
        w->facts.moved = moved;
        judge(w);
}

static void no_count_before_the_cap_can_be_reached(void **state)
{
        struct world w;

        look_again(&w, 150 * MIB, 50 * MIB); /* to the cap is not over it */
        assert_false(w.verdict.count);
        assert_state(&w, STATE_OK);
        look_again(&w, 150 * MIB, 50 * MIB + 1);
        assert_true(w.verdict.count);
        look_again(&w, 150 * MIB, 0);
        w.facts.moved_known = false;
        judge(&w);
        assert_true(w.verdict.count);
}

static void no_count_before_the_cap_can_be_left(void **state)
{
        struct world w;

        for (unsigned i = 0; i < 2; i++) {
                world_init(&w);
                w.settings.action = ACTION_OBSERVE;
                set_bounds(&w, 0, 400 * MIB);
                set_count(&w, 250 * MIB);
                judge(&w);
                assert_state(&w, STATE_OBSERVED);
                w.now += 5 * USEC_PER_SEC;
                set_bounds(&w, 0, 400 * MIB);
                w.facts.moved_known = true;
                w.facts.moved = 50 * MIB - 1 + i; /* a group at its cap is under it */
                judge(&w);
                assert_int_equal(w.verdict.count, i);
                assert_state(&w, STATE_OBSERVED);
        }
}

static void what_is_being_enforced_is_counted_whatever_moved(void **state)
{
        struct world w;

        world_init(&w);
        set_bounds(&w, 0, 400 * MIB);
        set_count(&w, 250 * MIB);
        judge(&w);
        assert_state(&w, STATE_ENFORCING);
        w.now += 5 * USEC_PER_SEC;
        set_bounds(&w, 0, 400 * MIB);
        w.facts.moved_known = true;
        judge(&w);
        assert_true(w.verdict.count);
}

static void the_exact_interval_holds_whatever_moved(void **state)
{
        struct world w;

        look_again(&w, 150 * MIB, 0);
        assert_false(w.verdict.count);
        w.now += 56 * USEC_PER_SEC;
        set_bounds(&w, 0, 400 * MIB);
        judge(&w);
        assert_true(w.verdict.count);
}

static void it_is_asked_only_where_it_can_help(void **state)
{
        struct world w;

        look_again(&w, 150 * MIB, 0);
        assert_true(decide_asks_what_moved(&w.daemon, &w.settings, &w.memory, &w.sample, w.now));
        w.memory.exact_cost = USEC_PER_SEC; /* its next turn is far, but that of an estimate is near */
        w.memory.estimate_cost = 50 * USEC_PER_MSEC;
        assert_true(decide_asks_what_moved(&w.daemon, &w.settings, &w.memory, &w.sample, w.now));
        w.memory.estimate_cost = 200 * USEC_PER_MSEC;
        assert_false(decide_asks_what_moved(&w.daemon, &w.settings, &w.memory, &w.sample, w.now));
        w.memory.exact_cost = w.memory.estimate_cost = 0;
        w.sample.upper = 200 * MIB;
        assert_false(decide_asks_what_moved(&w.daemon, &w.settings, &w.memory, &w.sample, w.now));
        w.sample.upper = SIZE_UNKNOWN;
        assert_true(decide_asks_what_moved(&w.daemon, &w.settings, &w.memory, &w.sample, w.now));
        w.sample.quality = QUALITY_BOUND_LOWER;
        assert_false(decide_asks_what_moved(&w.daemon, &w.settings, &w.memory, &w.sample, w.now));
}

/* An estimate speaks for later looks too, as far as its error lets it. */
static void an_estimate_holds_while_little_moved(void **state)
{
        struct world w;

        for (unsigned i = 0; i < 2; i++) {
                look_again(&w, 150 * MIB, 0);
                w.memory.exact_cost = USEC_PER_SEC;
                w.sample.quality = QUALITY_ESTIMATE;
                w.sample.error_bytes = 30 * MIB;
                w.sample.count_cost = 50 * USEC_PER_MSEC;
                w.facts.moved = 20 * MIB + i; /* 180 more or less are resident, the cap is 200 */
                judge(&w);
                assert_false(w.verdict.count);
                assert_int_equal(w.verdict.estimate, i);
                assert_state(&w, STATE_OK);
        }
}

static void members(void **state)
{
        static const struct {
                struct decide_member m;
                uint64_t came, went;
        } cases[] = {
                        /* idle */
                        {{true, 100, 100, 0, 0, 10}, 0, 0},
                        {{true, 100, 100, 5, 0, 10}, 0, 10},
                        /* grows and shrinks without a fault of its own */
                        {{true, 100, 130, 0, 0, 10}, 30, 0},
                        {{true, 100, 30, 0, 0, 10}, 0, 70},
                        /* copies on write */
                        {{true, 100, 100, 0, 3, 10}, 30, 30},
                        {{true, 100, 100, 5, 3, 10}, 40, 40},
                        /* no more than there is, or was */
                        {{true, 100, 80, 0, 99, 10}, 80, 100},
                        {{true, 100, 100, 5, UINT64_MAX, 10}, 105, 105},
                        {{true, 0, 0, 0, 99, 10}, 0, 0},
                        /* joined */
                        {{false, 0, 70, 5, 1, 10}, 75, 0},
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                assert_int_equal(decide_came(&cases[i].m), cases[i].came);
                assert_int_equal(decide_went(&cases[i].m), cases[i].went);
        }
}

/* -- against processes of which every page is known -- */

#define PAGES       4096U
#define PROCESSES   12U
#define FAULT_PAGES 8U

struct model {
        unsigned seed, error;
        uint32_t next_page;
        struct model_process {
                bool lives, known;
                bool has[PAGES];
                uint64_t rss_then, faults;
        } p[PROCESSES];
};

static unsigned draw(struct model *m, unsigned n)
{
        return (unsigned)rand_r(&m->seed) % n;
}

static uint64_t true_rss(const struct model_process *p)
{
        uint64_t n = 0;

        for (size_t i = 0; p->lives && i < PAGES; i++)
                n += p->has[i];
        return n;
}

/* As the kernel shows it. */
static uint64_t shown_rss(struct model *m, const struct model_process *p)
{
        uint64_t n = true_rss(p) + draw(m, 2 * m->error + 1);

        return n > m->error ? n - m->error : 0;
}

static uint64_t true_resident(const struct model *m)
{
        uint64_t n = 0;

        for (size_t i = 0; i < PAGES; i++)
                for (size_t k = 0; k < PROCESSES; k++)
                        if (m->p[k].lives && m->p[k].has[i]) {
                                n++;
                                break;
                        }
        return n;
}

static void take_new_page(struct model *m, struct model_process *p)
{
        p->has[m->next_page++ % PAGES] = true;
}

static void fault(struct model *m, struct model_process *p)
{
        unsigned n = 1 + draw(m, FAULT_PAGES);

        p->faults++;
        if (draw(m, 2) == 0) {
                /* a page that it has becomes its own: another one in its place */
                size_t i = draw(m, PAGES);

                while (i < PAGES && !p->has[i])
                        i++;
                if (i < PAGES)
                        p->has[i] = false;
                n = 1;
        }
        while (n-- > 0)
                take_new_page(m, p);
}

static void step(struct model *m)
{
        struct model_process *p = &m->p[draw(m, PROCESSES)], *other = &m->p[draw(m, PROCESSES)];

        switch (draw(m, 8)) {
        case 0: /* unmaps */
                for (unsigned first = draw(m, PAGES), i = first; i < MIN(first + 300, PAGES); i++)
                        p->has[i] = false;
                break;
        case 1: /* ends */
                if (draw(m, 4) == 0)
                        p->lives = false;
                break;
        case 2: /* forks */
                if (p->lives && !other->lives) {
                        *other = *p;
                        other->known = false;
                        other->faults = 0;
                }
                break;
        case 3: /* one that joins */
                if (!p->lives) {
                        *p = (struct model_process){.lives = true};
                        for (unsigned n = draw(m, 40); n > 0; n--)
                                take_new_page(m, p);
                }
                break;
        default:
                if (p->lives)
                        fault(m, p);
                break;
        }
}

static void what_was_counted_and_what_moved_cover_the_truth(void **state)
{
        uint64_t slack = 0, tight = 0;

        for (unsigned seed = 1; seed <= 2000; seed++) {
                _cleanup_free_ struct model *m = calloc(1, sizeof(*m));
                uint64_t then, now, came = 0, went = 0;

                assert_non_null(m);
                m->seed = seed;
                m->error = seed % 3 * 4;
                for (size_t k = 0; k < PROCESSES / 2; k++) {
                        m->p[k].lives = true;
                        for (unsigned n = draw(m, 200); n > 0; n--)
                                m->p[k].has[draw(m, 400)] = true;
                }
                m->next_page = 400;
                then = true_resident(m);
                for (size_t k = 0; k < PROCESSES; k++) {
                        m->p[k].known = m->p[k].lives;
                        m->p[k].rss_then = shown_rss(m, &m->p[k]);
                        went += m->p[k].known ? m->p[k].rss_then + m->error : 0;
                }
                for (unsigned n = draw(m, 60); n > 0; n--)
                        step(m);
                now = true_resident(m);
                for (size_t k = 0; k < PROCESSES; k++) {
                        struct decide_member c = {.known = m->p[k].known,
                                                  .rss_then = m->p[k].rss_then,
                                                  .rss = shown_rss(m, &m->p[k]),
                                                  .rss_error = m->error,
                                                  .faults = m->p[k].faults,
                                                  .fault_bytes = FAULT_PAGES};

                        if (!m->p[k].lives)
                                continue;
                        came += decide_came(&c);
                        if (c.known)
                                went = went - (c.rss_then + m->error) + decide_went(&c);
                }
                assert_true(now <= then + came);
                assert_true(now + went >= then);
                slack += then + came - now;
                tight += now > then && now == then + came;
        }
        /* it proves something: often it is not far off, and sometimes exact */
        assert_true(slack / 2000 < 600);
        assert_true(tight > 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(no_count_before_the_cap_can_be_reached),
                        cmocka_unit_test(no_count_before_the_cap_can_be_left),
                        cmocka_unit_test(what_is_being_enforced_is_counted_whatever_moved),
                        cmocka_unit_test(the_exact_interval_holds_whatever_moved),
                        cmocka_unit_test(it_is_asked_only_where_it_can_help),
                        cmocka_unit_test(an_estimate_holds_while_little_moved),
                        cmocka_unit_test(members),
                        cmocka_unit_test(what_was_counted_and_what_moved_cover_the_truth),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
