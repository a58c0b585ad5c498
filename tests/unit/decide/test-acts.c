/* SPDX-License-Identifier: MIT */
/* decide(): acts, what is made of their results, back-off and rates. */
#include "world.h"

static void an_act_cut_short_goes_on_to_the_low_watermark(void **state)
{
        struct world w;

        world_init(&w);
        set_bounds(&w, 0, 300 * MIB);
        set_count(&w, 260 * MIB);
        judge(&w);
        assert_int_equal(w.verdict.goal, 70 * MIB);
        after_act(&w, 260 * MIB, 195 * MIB, 65 * MIB, 0); /* under the cap, over the watermark */
        assert_true(w.verdict.act);
        assert_int_equal(w.verdict.goal, 5 * MIB);
        after_act(&w, 195 * MIB, 190 * MIB, 5 * MIB, 0);
        assert_false(w.verdict.act);
        assert_state(&w, STATE_OK);
        set_count(&w, 195 * MIB); /* and begins only above the cap again */
        judge(&w);
        assert_false(w.verdict.act);
        assert_state(&w, STATE_OK);
}

static void a_count_that_failed_does_not_end_it(void **state)
{
        struct world w;

        world_init(&w);
        set_bounds(&w, 0, 300 * MIB);
        set_count(&w, 260 * MIB);
        judge(&w);
        w.now += 3 * USEC_PER_SEC;
        w.act = (struct act_result){
                        .started = w.now - 1000, .ended = w.now, .attempted = 65 * MIB, .unmapped = 65 * MIB};
        w.facts.last_act = &w.act;
        w.facts.resident_before = 260 * MIB;
        w.facts.resident_after = 195 * MIB;
        set_bounds(&w, 0, 196 * MIB);
        group_sample_forget(&w.sample);
        w.sample.tried_at = w.now + 1;
        judge(&w);
        assert_state(&w, STATE_ENFORCING);
        assert_false(w.verdict.count); /* not again in the same look */
        w.now += USEC_PER_SEC;
        set_bounds(&w, 0, 196 * MIB);
        judge(&w);
        assert_true(w.verdict.count);
        set_count(&w, 195 * MIB);
        judge(&w);
        assert_true(w.verdict.act);
        assert_int_equal(w.verdict.goal, 5 * MIB);
}

static void what_comes_back_is_not_chased(void **state)
{
        struct world w;

        world_init(&w);
        set_bounds(&w, 0, 300 * MIB);
        set_count(&w, 260 * MIB);
        judge(&w);
        assert_int_equal(w.verdict.goal, 70 * MIB);
        after_act(&w, 260 * MIB, 195 * MIB, 70 * MIB, 0); /* all was done; 5 MiB came back: good enough */
        assert_false(w.verdict.act);
        assert_state(&w, STATE_OK);
        set_count(&w, 210 * MIB); /* 20 MiB came back: over the cap, so again, but not at once */
        judge(&w);
        assert_false(w.verdict.act);
        assert_state(&w, STATE_ENFORCING);
        assert_true(w.verdict.next_look > w.now);
        assert_true(w.verdict.next_look < w.now + w.daemon.sample_interval);
        w.now = w.verdict.next_look;
        set_bounds(&w, 0, 400 * MIB);
        set_count(&w, 210 * MIB);
        judge(&w);
        assert_true(w.verdict.act);
        assert_int_equal(w.verdict.goal, 20 * MIB);
}

static void acts_that_do_not_help_are_spaced_out(void **state)
{
        struct world w;
        usec_t last = 0;

        world_init(&w);
        set_bounds(&w, 0, 400 * MIB);
        set_count(&w, 300 * MIB);
        judge(&w);
        assert_true(w.verdict.act);
        w.act.left_shared = 100 * MIB;
        for (int i = 0; i < 12; i++) {
                usec_t wait;

                after_act(&w, 300 * MIB, 300 * MIB, 0, 0);
                assert_state(&w, STATE_UNENFORCEABLE);
                assert_false(w.verdict.act);
                assert_non_null(strstr(w.memory.reason, "100M is mapped by more than one process"));
                assert_true(w.memory.retry_at > w.now);
                wait = w.memory.retry_at - w.now;
                assert_true(wait >= last);
                assert_true(wait <= 15 * 60 * USEC_PER_SEC);
                last = wait;
                w.now = w.memory.retry_at + 1;
                set_bounds(&w, 0, 400 * MIB);
                set_count(&w, 300 * MIB);
                judge(&w);
                assert_true(w.verdict.act);
        }
        assert_int_equal(last, 15 * 60 * USEC_PER_SEC);
        after_act(&w, 300 * MIB, 150 * MIB, 150 * MIB, 0); /* one that helps forgives all */
        assert_state(&w, STATE_OK);
        assert_int_equal(w.memory.failures, 0);
}

/* What process_madvise reaches of a fork family is in use; that the rest has no means is what an administrator can change. */
static void what_is_shared_names_the_means_it_lacks(void **state)
{
        struct world w;

        world_init(&w);
        set_bounds(&w, 0, 400 * MIB);
        set_count(&w, 300 * MIB);
        w.sample.exclusive = w.sample.exclusive_anon = 20 * MIB;
        judge(&w);
        assert_true(w.verdict.act);
        assert_int_equal(w.verdict.choice.strategy, STRATEGY_MADVISE);
        w.now += 3 * USEC_PER_SEC;
        w.act = (struct act_result){.started = w.now - 1000, .ended = w.now, .attempted = 20 * MIB};
        w.act.left_shared = 280 * MIB;
        w.facts.last_act = &w.act;
        w.facts.resident_before = w.facts.resident_after = 300 * MIB;
        set_bounds(&w, 0, 400 * MIB);
        set_count(&w, 300 * MIB);
        w.sample.exclusive = w.sample.exclusive_anon = 20 * MIB;
        judge(&w);
        assert_state(&w, STATE_UNENFORCEABLE);
        assert_non_null(strstr(w.memory.reason, "280M of it is mapped by more than one process"));
        assert_non_null(strstr(w.memory.reason, "DAMON: none here"));
        assert_non_null(strstr(w.memory.reason, "memory.reclaim: none here"));
}

static void an_act_is_judged_once(void **state)
{
        struct world w;

        world_init(&w);
        after_act(&w, 300 * MIB, 300 * MIB, 0, 0);
        assert_int_equal(w.memory.failures, 1);
        judge(&w);
        assert_int_equal(w.memory.failures, 1);
}

static void work_that_comes_back_is_thrashing(void **state)
{
        struct world w;

        world_init(&w);
        after_act(&w, 300 * MIB, 190 * MIB, 110 * MIB, 0);
        assert_state(&w, STATE_OK);
        after_act(&w, 300 * MIB, 250 * MIB, 110 * MIB, 100 * MIB); /* once may be a burst */
        assert_state(&w, STATE_ENFORCING);
        after_act(&w, 300 * MIB, 250 * MIB, 110 * MIB, 100 * MIB);
        assert_state(&w, STATE_THRASHING);
        assert_false(w.verdict.act);
        assert_int_equal(w.memory.working_set, 300 * MIB);
        assert_non_null(strstr(w.memory.reason, "300M"));
}

static void swap_that_appears_is_used_at_once(void **state)
{
        struct world w;

        world_init(&w);
        w.host.swap_total = w.host.swap_free = 0;
        w.act.left_no_swap = 280 * MIB;
        after_act(&w, 300 * MIB, 300 * MIB, 0, 0);
        assert_state(&w, STATE_UNENFORCEABLE);
        assert_non_null(strstr(w.memory.reason, "no swap"));
        assert_false(w.verdict.swap);
        w.now += 3 * USEC_PER_SEC;
        w.host.swap_total = w.host.swap_free = GIB;
        set_bounds(&w, 0, 400 * MIB);
        set_count(&w, 300 * MIB);
        judge(&w);
        assert_true(w.verdict.act);
        assert_true(w.verdict.swap);
}

static void purely_anonymous_without_swap_is_not_even_tried(void **state)
{
        struct world w;

        world_init(&w);
        w.host.swap_total = w.host.swap_free = 0;
        set_bounds(&w, 0, 400 * MIB);
        set_count(&w, 300 * MIB);
        w.sample.file = 0;
        w.sample.anon = w.sample.exclusive_anon = 300 * MIB;
        judge(&w);
        assert_false(w.verdict.act);
        assert_state(&w, STATE_UNENFORCEABLE);
        assert_non_null(strstr(w.memory.reason, "add swap"));
        assert_true(w.memory.retry_at > w.now);
}

static void what_the_group_shares_is_not_taken_for_exclusive(void **state)
{
        struct world w;

        world_init(&w);
        w.host.swap_total = w.host.swap_free = 0;
        set_bounds(&w, 0, 400 * MIB);
        set_count(&w, 300 * MIB);
        w.sample.exclusive = 40 * MIB;
        w.sample.anon = w.sample.exclusive_anon = 20 * MIB;
        w.sample.shmem = 260 * MIB;
        judge(&w);
        assert_false(w.verdict.act); /* the files may be shmem */
        w.sample.have_private = true;
        w.sample.inside = w.sample.inside_swap = 260 * MIB;
        w.memory.retry_at = 0;
        judge(&w);
        assert_true(w.verdict.act);
        assert_int_equal(w.verdict.choice.strategy, STRATEGY_MADVISE);
}

static void purely_shared_is_not_even_tried(void **state)
{
        struct world w;

        world_init(&w);
        set_bounds(&w, 0, 400 * MIB);
        set_count(&w, 300 * MIB);
        w.sample.exclusive = w.sample.exclusive_anon = 0;
        judge(&w);
        assert_false(w.verdict.act);
        assert_state(&w, STATE_UNENFORCEABLE);
        assert_non_null(strstr(w.memory.reason, "300M of it is mapped by more than one process"));
}

static void forced_overrides_back_off_and_threshold(void **state)
{
        struct world w;

        world_init(&w);
        w.settings.pressure_threshold = 9000;
        w.memory.retry_at = w.now + 100 * USEC_PER_SEC;
        w.facts.forced = true;
        set_bounds(&w, 0, 400 * MIB);
        set_count(&w, 300 * MIB);
        judge(&w);
        assert_true(w.verdict.act);
        assert_int_equal(w.verdict.goal, 110 * MIB);
        set_count(&w, 195 * MIB); /* asked for while under the cap: down to the watermark */
        judge(&w);
        assert_true(w.verdict.act);
        w.facts.forced = true;
        w.settings.paused = true; /* but not what pause forbids */
        judge(&w);
        assert_false(w.verdict.act);
}

static void reclaim_rate_is_kept(void **state)
{
        struct world w;
        uint64_t paged_out = 0;

        world_init(&w);
        w.settings.reclaim_rate = 2 * MIB;
        set_bounds(&w, 0, 4000 * MIB);
        set_count(&w, 4000 * MIB);
        for (int i = 0; i < 60; i++) {
                judge(&w);
                if (w.verdict.act) {
                        paged_out += w.verdict.goal;
                        after_act(&w, 4000 * MIB, 4000 * MIB - w.verdict.goal, w.verdict.goal, 0);
                }
                w.now += USEC_PER_SEC;
                set_bounds(&w, 0, 4000 * MIB);
                set_count(&w, 4000 * MIB - paged_out);
                w.memory.failures = 0;
                w.memory.retry_at = 0;
        }
        assert_true(paged_out > 60 * MIB);
        assert_true(paged_out <= (w.now - T0) / USEC_PER_SEC * 2 * MIB + 4 * MIB);
}

static void an_act_out_of_time_is_judged_by_what_it_got_to(void **state)
{
        struct world w;

        world_init(&w);
        set_bounds(&w, 0, 12 * GIB);
        set_count(&w, 12 * GIB);
        judge(&w);
        assert_true(w.verdict.act);
        for (int i = 0; i < 20; i++) {
                uint64_t before = w.sample.resident, after = before - 300 * MIB;

                w.now += 3 * USEC_PER_SEC;
                w.act = (struct act_result){.started = w.now - 3 * USEC_PER_SEC,
                                            .ended = w.now,
                                            .attempted = 300 * MIB,
                                            .unmapped = 300 * MIB};
                w.facts.last_act = &w.act;
                w.facts.resident_before = before;
                w.facts.resident_after = after;
                set_bounds(&w, 0, 12 * GIB);
                set_count(&w, after);
                judge(&w);
                assert_true(w.verdict.act);
                assert_int_equal(w.memory.failures, 0);
        }
}

static void forced_under_the_cap_counts_and_then_acts(void **state)
{
        struct world w;

        world_init(&w);
        set_bounds(&w, 0, 198 * MIB);
        set_count(&w, 196 * MIB);
        w.now += 8 * USEC_PER_SEC;
        set_bounds(&w, 0, 198 * MIB);
        w.facts.forced = true;
        judge(&w);
        assert_true(w.verdict.count);
        set_count(&w, 196 * MIB);
        w.sample.tried_at = w.now + 1;
        judge(&w);
        assert_true(w.verdict.act);
        assert_int_equal(w.verdict.goal, 6 * MIB);
}

static void swap_that_flickers_is_no_news(void **state)
{
        struct world w;
        unsigned acts = 0;

        world_init(&w);
        w.act.left_no_swap = 280 * MIB;
        after_act(&w, 300 * MIB, 300 * MIB, 0, 0);
        for (int i = 0; i < 20; i++) {
                w.now += USEC_PER_SEC / 10;
                w.host.swap_free = i % 2 ? 0 : 2 * MIB;
                set_bounds(&w, 0, 400 * MIB);
                set_count(&w, 300 * MIB);
                judge(&w);
                acts += w.verdict.act;
        }
        assert_int_equal(acts, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(an_act_cut_short_goes_on_to_the_low_watermark),
                        cmocka_unit_test(a_count_that_failed_does_not_end_it),
                        cmocka_unit_test(what_comes_back_is_not_chased),
                        cmocka_unit_test(acts_that_do_not_help_are_spaced_out),
                        cmocka_unit_test(what_is_shared_names_the_means_it_lacks),
                        cmocka_unit_test(an_act_is_judged_once),
                        cmocka_unit_test(work_that_comes_back_is_thrashing),
                        cmocka_unit_test(swap_that_appears_is_used_at_once),
                        cmocka_unit_test(purely_anonymous_without_swap_is_not_even_tried),
                        cmocka_unit_test(what_the_group_shares_is_not_taken_for_exclusive),
                        cmocka_unit_test(purely_shared_is_not_even_tried),
                        cmocka_unit_test(forced_overrides_back_off_and_threshold),
                        cmocka_unit_test(reclaim_rate_is_kept),
                        cmocka_unit_test(an_act_out_of_time_is_judged_by_what_it_got_to),
                        cmocka_unit_test(forced_under_the_cap_counts_and_then_acts),
                        cmocka_unit_test(swap_that_flickers_is_no_news),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
