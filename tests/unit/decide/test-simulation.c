/* SPDX-License-Identifier: MIT */
/*
 * The real decide() in a simulated world: a program with a hot and a cold part, pages that come back when they are hot, a
 * clock that is a number. What must hold: a cap above the hot part is reached and kept with little paging; a cap below it is
 * called thrashing and paging stops growing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "capd/policy/decide.h"

struct world {
        struct policy_daemon daemon;
        struct decide_settings settings;
        struct group_sample sample;
        struct act_result act;
        struct decide_facts facts;
        struct decide_means means;
        struct host_memory host;
        struct decide_budget budget;
        struct decide_memory memory;
        usec_t now;
        uint64_t total, hot;      /* of the program */
        uint64_t hot_in, cold_in; /* resident now */
        uint64_t cursor;          /* where the last act stopped; hot pages lie first */
        uint64_t evicted_hot;     /* by the last act */
        uint64_t paged_out;
        unsigned acts, counts;
        uint32_t random;
};

static void world_init(struct world *w, uint64_t total, uint64_t hot, uint64_t cap)
{
        memset(w, 0, sizeof(*w));
        w->now = 1000 * USEC_PER_SEC;
        w->daemon = (struct policy_daemon){
                        .sample_interval = 5 * USEC_PER_SEC, .exact_interval = 60 * USEC_PER_SEC, .cpu_budget = 200};
        w->settings = (struct decide_settings){
                        .has_cap = true, .cap = cap, .low = cap / 100 * 95, .action = ACTION_PAGEOUT};
        w->host = (struct host_memory){.total = 16 * GIB, .swap_total = 8 * GIB, .swap_free = 8 * GIB};
        w->facts = (struct decide_facts){.sample = &w->sample,
                                         .can_count = true,
                                         .means = &w->means,
                                         .resident_before = SIZE_UNKNOWN,
                                         .resident_after = SIZE_UNKNOWN};
        w->means = (struct decide_means){.no_damon = "none", .no_reclaim = "none"};
        w->total = total;
        w->hot = w->hot_in = hot;
        w->cold_in = total - hot;
        w->sample.processes = w->sample.address_spaces = 1;
        w->random = 12345;
}

static void look(struct world *w)
{
        w->sample.bounds_at = w->now;
        w->sample.rss_sum = w->sample.upper = w->hot_in + w->cold_in + MIB;
        w->sample.lower = 0;
}

static void count(struct world *w)
{
        w->counts++;
        w->sample.counted_at = w->now;
        w->sample.count_cost = (w->hot_in + w->cold_in) / 4096 / 25;
        w->sample.quality = QUALITY_EXACT;
        w->sample.resident = w->sample.mapped = w->sample.exclusive = w->sample.anon = w->sample.exclusive_anon =
                        w->hot_in + w->cold_in;
}

/* Takes pages in address order from the cursor on, hot or cold: MADV_PAGEOUT does not ask. */
static void act(struct world *w, uint64_t goal)
{
        uint64_t before = w->hot_in + w->cold_in, done = 0;

        w->acts++;
        w->act = (struct act_result){.started = w->now};
        w->act.refaulted = w->hot_in > w->hot - w->evicted_hot ? w->hot_in - (w->hot - w->evicted_hot) : 0;
        w->evicted_hot = 0;
        for (int lap = 0; lap < 2 && done < goal; lap++) {
                if (w->cursor < w->hot) {
                        uint64_t ahead = MIN(w->hot_in, w->hot - w->cursor), n = MIN(goal - done, ahead);

                        w->hot_in -= n;
                        w->evicted_hot += n;
                        w->cursor = n < goal - done ? w->hot : w->cursor + n;
                        done += n;
                } else {
                        uint64_t n = MIN(goal - done, w->cold_in);

                        w->cold_in -= n;
                        done += n;
                        w->cursor = n < goal - done || w->cold_in == 0 ? 0 : w->cursor;
                }
        }
        w->paged_out += done;
        w->now += 200 * USEC_PER_MSEC;
        w->act.ended = w->now;
        w->act.attempted = w->act.unmapped = done;
        w->facts.last_act = &w->act;
        w->facts.resident_before = before;
        look(w);
        count(w);
        w->facts.resident_after = w->sample.resident;
}

/* The program runs: its hot part is in again at once. */
static void run_program(struct world *w, usec_t until)
{
        w->hot_in = w->hot;
        w->now = MAX(w->now, until);
}

static void live(struct world *w, usec_t how_long)
{
        usec_t end = w->now + how_long;

        while (w->now < end) {
                struct decide_verdict v;

                look(w);
                for (int i = 0; i < 8; i++) {
                        decide(&w->daemon, &w->settings, &w->facts, &w->host, w->now, &w->budget, &w->memory, &v);
                        if (v.act)
                                act(w, v.goal);
                        else if (v.count)
                                count(w);
                        else
                                break;
                }
                assert_true(v.next_look > w->now);
                assert_true(v.next_look <= w->now + w->daemon.sample_interval);
                run_program(w, v.next_look);
        }
}

static void a_cap_above_the_working_set_is_kept_with_little_paging(void **state)
{
        struct world w;
        uint64_t after_first_minute;

        world_init(&w, 900 * MIB, 120 * MIB, 400 * MIB);
        live(&w, 60 * USEC_PER_SEC);
        assert_true(w.hot_in + w.cold_in <= 400 * MIB);
        after_first_minute = w.paged_out;
        live(&w, 3600 * USEC_PER_SEC);
        assert_true(w.hot_in + w.cold_in <= 400 * MIB);
        assert_string_equal(group_state_to_string(w.memory.state), "ok");
        assert_true(w.paged_out < after_first_minute + 120 * MIB);
}

static void a_cap_below_the_working_set_is_recognised_and_paging_is_bounded(void **state)
{
        struct world w;
        uint64_t first_hour;

        world_init(&w, 900 * MIB, 800 * MIB, 400 * MIB);
        live(&w, 300 * USEC_PER_SEC);
        assert_string_equal(group_state_to_string(w.memory.state), "thrashing");
        assert_true(w.memory.working_set > 700 * MIB);
        live(&w, 3300 * USEC_PER_SEC);
        first_hour = w.paged_out;
        live(&w, 3600 * USEC_PER_SEC);
        assert_true(w.paged_out - first_hour < first_hour);
        assert_true(w.paged_out - first_hour < 10 * 1000 * MIB);
}

static void a_raised_cap_ends_thrashing(void **state)
{
        struct world w;

        world_init(&w, 900 * MIB, 800 * MIB, 400 * MIB);
        live(&w, 600 * USEC_PER_SEC);
        assert_string_equal(group_state_to_string(w.memory.state), "thrashing");
        w.settings.cap = 1000 * MIB;
        w.settings.low = 950 * MIB;
        live(&w, 60 * USEC_PER_SEC);
        assert_string_equal(group_state_to_string(w.memory.state), "ok");
        assert_int_equal(w.memory.failures, 0);
}

static void a_group_that_cannot_come_down_costs_next_to_nothing(void **state)
{
        struct world w;
        unsigned before;

        world_init(&w, 900 * MIB, 100 * MIB, 400 * MIB);
        w.host.swap_free = w.host.swap_total = 0;
        live(&w, 60 * USEC_PER_SEC);
        assert_string_equal(group_state_to_string(w.memory.state), "unenforceable");
        before = w.counts;
        live(&w, 3600 * USEC_PER_SEC);
        assert_int_equal(w.acts, 0);
        /* at 2 % of a CPU a count of 9 ms may come each half second; the looks are 5 s apart */
        assert_true(w.counts - before <= 3600 / 5 + 10);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(a_cap_above_the_working_set_is_kept_with_little_paging),
                        cmocka_unit_test(a_cap_below_the_working_set_is_recognised_and_paging_is_bounded),
                        cmocka_unit_test(a_raised_cap_ends_thrashing),
                        cmocka_unit_test(a_group_that_cannot_come_down_costs_next_to_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
