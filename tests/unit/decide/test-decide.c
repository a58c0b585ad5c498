/* SPDX-License-Identifier: MIT */
/* decide(): where a group stands, what is counted and what is said, one judgement at a time from given facts. */
#include "world.h"

static void upper_bound_under_the_cap_decides(void **state)
{
        struct world w;

        world_init(&w);
        w.sample.counted_at = w.now - USEC_PER_SEC; /* not long ago, so none is due */
        w.sample.quality = QUALITY_EXACT;
        w.sample.resident = 150 * MIB;
        set_bounds(&w, 0, 199 * MIB);
        judge(&w);
        assert_state(&w, STATE_OK);
        assert_true(w.verdict.state_changed);
        assert_false(w.verdict.count);
        assert_false(w.verdict.act);
        assert_int_equal(w.verdict.next_look, w.now + w.daemon.sample_interval);
        judge(&w);
        assert_false(w.verdict.state_changed);
}

static void straddling_bounds_want_a_count(void **state)
{
        struct world w;

        world_init(&w);
        set_bounds(&w, 0, 300 * MIB);
        judge(&w);
        assert_true(w.verdict.count);
        assert_false(w.verdict.act);
        assert_state(&w, STATE_UNKNOWN);
        set_count(&w, 150 * MIB);
        judge(&w);
        assert_state(&w, STATE_OK);
        assert_false(w.verdict.count);
}

static void lower_bound_over_the_cap_is_counted_before_acting(void **state)
{
        struct world w;

        world_init(&w);
        set_bounds(&w, 250 * MIB, 300 * MIB);
        judge(&w);
        assert_true(w.verdict.count);
        assert_false(w.verdict.act);
        set_count(&w, 260 * MIB);
        judge(&w);
        assert_true(w.verdict.act);
        assert_int_equal(w.verdict.goal, 70 * MIB);
        assert_true(w.verdict.swap);
        assert_state(&w, STATE_ENFORCING);
}

static void lower_bound_over_the_cap_is_enough_where_nothing_is_done(void **state)
{
        struct world w;

        world_init(&w);
        w.settings.action = ACTION_OBSERVE;
        w.sample.counted_at = w.now - USEC_PER_SEC;
        w.sample.quality = QUALITY_EXACT;
        w.sample.resident = 180 * MIB;
        set_bounds(&w, 250 * MIB, 300 * MIB);
        judge(&w);
        assert_state(&w, STATE_OBSERVED);
        assert_false(w.verdict.count);
        assert_false(w.verdict.act);
}

static void unknown_is_never_under_the_cap(void **state)
{
        struct world w;

        world_init(&w);
        judge(&w); /* one process, no bounds */
        assert_state(&w, STATE_UNKNOWN);
        set_bounds(&w, 0, 300 * MIB);
        w.sample.quality = QUALITY_UNKNOWN; /* a count that failed */
        w.sample.counted_at = w.now + 1;
        judge(&w);
        assert_state(&w, STATE_UNKNOWN);
        assert_false(w.verdict.act);
        w.sample.quality = QUALITY_BOUND_LOWER; /* one in which a process could not be read */
        w.sample.resident = 150 * MIB;
        w.sample.unread = 1;
        judge(&w);
        assert_state(&w, STATE_UNKNOWN);
        assert_non_null(strstr(w.memory.reason, "1 of its processes"));
        w.sample.resident = w.sample.exclusive = 250 * MIB; /* those that could be read are over it alone */
        judge(&w);
        assert_state(&w, STATE_ENFORCING);
        assert_true(w.verdict.act);
        assert_int_equal(w.verdict.goal, 60 * MIB);
}

static void without_page_frames_nothing_is_done(void **state)
{
        struct world w;

        world_init(&w);
        w.facts.can_count = false;
        set_bounds(&w, 0, 300 * MIB);
        judge(&w);
        assert_state(&w, STATE_UNKNOWN);
        assert_false(w.verdict.count);
        set_bounds(&w, 250 * MIB, 300 * MIB);
        judge(&w);
        assert_state(&w, STATE_OVER);
        assert_false(w.verdict.count);
        assert_false(w.verdict.act);
}

static void what_forbids_acting_is_said(void **state)
{
        static const struct {
                bool paused, dry_run;
                enum action action;
                const char *cannot_act;
                uint32_t threshold;
                enum group_state expected;
                const char *word;
        } cases[] = {
                        {true, false, ACTION_PAGEOUT, NULL, 0, STATE_PAUSED, "but paused"},
                        {false, true, ACTION_PAGEOUT, NULL, 0, STATE_OBSERVED, "--dry-run"},
                        {false, false, ACTION_OBSERVE, NULL, 0, STATE_OBSERVED, "Action=observe"},
                        {false, false, ACTION_MOVE, NULL, 0, STATE_ENFORCING, "260M resident"},
                        {false, false, ACTION_PAGEOUT, "no right to", 0, STATE_UNENFORCEABLE, "no right to"},
                        {false, false, ACTION_PAGEOUT, NULL, 8000, STATE_OVER, "PressureThreshold=80%"},
                        {false, false, ACTION_PAGEOUT, NULL, 4000, STATE_ENFORCING, "260M resident"},
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct world w;

                world_init(&w);
                w.settings.paused = cases[i].paused;
                w.settings.dry_run = cases[i].dry_run;
                w.settings.action = cases[i].action;
                w.settings.pressure_threshold = cases[i].threshold;
                w.means.no_madvise = cases[i].cannot_act;
                set_bounds(&w, 0, 300 * MIB);
                set_count(&w, 260 * MIB);
                judge(&w);
                assert_state(&w, cases[i].expected);
                assert_non_null(strstr(w.memory.reason, cases[i].word));
                assert_int_equal(w.verdict.act, cases[i].expected == STATE_ENFORCING);
        }
}

static void paused_group_under_its_cap_is_shown_as_paused(void **state)
{
        struct world w;

        world_init(&w);
        w.settings.paused = true;
        set_bounds(&w, 0, 100 * MIB);
        judge(&w);
        assert_state(&w, STATE_PAUSED);
}

static void empty_and_uncapped_groups_are_ok(void **state)
{
        struct world w;

        world_init(&w);
        w.sample.processes = 0;
        set_bounds(&w, 0, 0);
        judge(&w);
        assert_state(&w, STATE_OK);
        assert_false(w.verdict.count);
        world_init(&w);
        w.settings.has_cap = false;
        set_bounds(&w, 0, 400 * MIB);
        judge(&w);
        assert_state(&w, STATE_OK);
        assert_true(w.verdict.count);
        assert_false(w.verdict.act);
}

static void growth_brings_the_next_look_forward(void **state)
{
        struct world w;

        world_init(&w);
        set_bounds(&w, 0, 300 * MIB);
        set_count(&w, 100 * MIB);
        judge(&w);
        w.now += 5 * USEC_PER_SEC;
        set_bounds(&w, 0, 300 * MIB);
        set_count(&w, 180 * MIB);
        judge(&w);
        assert_true(w.memory.trend > 0);
        assert_true(w.verdict.next_look < w.now + 5 * USEC_PER_SEC);
        assert_true(w.verdict.next_look >= w.now + USEC_PER_SEC);
}

static void every_group_is_counted_by_the_exact_interval(void **state)
{
        struct world w;

        world_init(&w);
        set_bounds(&w, 0, 100 * MIB);
        set_count(&w, 90 * MIB);
        judge(&w);
        assert_false(w.verdict.count);
        w.now += 59 * USEC_PER_SEC;
        set_bounds(&w, 0, 100 * MIB);
        judge(&w);
        assert_false(w.verdict.count);
        w.now += 2 * USEC_PER_SEC;
        set_bounds(&w, 0, 100 * MIB);
        judge(&w);
        assert_true(w.verdict.count);
}

static void counts_of_groups_under_their_caps_keep_to_the_budget(void **state)
{
        struct world w;
        usec_t spent = 0, start;

        world_init(&w);
        w.daemon.cpu_budget = 200; /* 2 % */
        start = w.now;
        /* a group that straddles its cap for ever and costs 0.4 s a count, looked at each 5 s for an hour */
        for (int i = 0; i < 720; i++) {
                set_bounds(&w, 0, 400 * MIB);
                judge(&w);
                if (w.verdict.estimate)
                        judge(&w); /* it did not come about */
                assert_false(w.verdict.estimate);
                if (w.verdict.count) {
                        set_count(&w, 100 * MIB);
                        w.sample.count_cost = 400 * USEC_PER_MSEC;
                        spent += w.sample.count_cost;
                        judge(&w);
                        assert_false(w.verdict.count);
                }
                w.now += 5 * USEC_PER_SEC;
        }
        assert_true(spent > 30 * USEC_PER_SEC);
        assert_true(spent < (w.now - start) / 50 + 2 * USEC_PER_SEC);
}

/* An estimate of this look. */
static void set_estimate(struct world *w, uint64_t resident, uint64_t error)
{
        set_count(w, resident);
        w->sample.quality = QUALITY_ESTIMATE;
        w->sample.error_bytes = error;
        w->sample.count_cost = 20 * USEC_PER_MSEC;
}

/* A group that straddles its cap and whose exact count, of a minute ago at most, took 0.4 s; at its next look. */
static void init_large(struct world *w, usec_t age)
{
        world_init(w);
        set_bounds(w, 0, 400 * MIB);
        set_count(w, 100 * MIB);
        w->sample.count_cost = 400 * USEC_PER_MSEC;
        judge(w);
        assert_state(w, STATE_OK);
        w->now += age;
        set_bounds(w, 0, 400 * MIB);
        judge(w);
}

static void large_groups_are_estimated_between_counts(void **state)
{
        struct world w;

        init_large(&w, 5 * USEC_PER_SEC);
        assert_true(w.verdict.estimate);
        assert_false(w.verdict.count);
        /* wholly under the cap: that decides */
        set_estimate(&w, 180 * MIB, 20 * MIB);
        judge(&w);
        assert_state(&w, STATE_OK);
        assert_false(w.verdict.count || w.verdict.estimate);
        for (int i = 0; i < 10; i++) {
                w.now += 5 * USEC_PER_SEC;
                set_bounds(&w, 0, 400 * MIB);
                judge(&w);
                assert_true(w.verdict.estimate);
                set_estimate(&w, 180 * MIB, 20 * MIB);
                judge(&w);
                assert_false(w.verdict.count || w.verdict.estimate);
        }
        /* but ExactInterval= means exact ones */
        w.now += 5 * USEC_PER_SEC + 2;
        set_bounds(&w, 0, 400 * MIB);
        judge(&w);
        assert_true(w.verdict.count);
        assert_false(w.verdict.estimate);
}

static void an_estimate_that_touches_the_cap_is_followed_by_a_count(void **state)
{
        struct world w;

        init_large(&w, 40 * USEC_PER_SEC);
        assert_true(w.verdict.estimate);
        set_estimate(&w, 180 * MIB, 21 * MIB);
        judge(&w);
        assert_true(w.verdict.count);
        assert_state(&w, STATE_OK); /* nothing else is known yet */
        set_count(&w, 195 * MIB);
        w.sample.count_cost = 400 * USEC_PER_MSEC;
        judge(&w);
        assert_state(&w, STATE_OK);
        assert_false(w.verdict.count || w.verdict.estimate);

        /* as soon as its share of the budget allows */
        init_large(&w, 5 * USEC_PER_SEC);
        w.memory.state = STATE_UNKNOWN;
        set_estimate(&w, 210 * MIB, 11 * MIB);
        judge(&w);
        assert_false(w.verdict.count || w.verdict.estimate);
        assert_state(&w, STATE_UNKNOWN);
        assert_non_null(strstr(w.memory.reason, "estimated"));
}

static void an_estimate_over_the_cap_is_counted_before_an_act(void **state)
{
        struct world w;

        init_large(&w, 5 * USEC_PER_SEC);
        set_estimate(&w, 250 * MIB, 20 * MIB);
        judge(&w);
        assert_true(w.verdict.count);
        assert_false(w.verdict.act);

        init_large(&w, 5 * USEC_PER_SEC);
        w.settings.action = ACTION_OBSERVE;
        set_estimate(&w, 250 * MIB, 20 * MIB);
        judge(&w);
        assert_state(&w, STATE_OBSERVED);
        assert_false(w.verdict.act);
}

static void small_groups_and_dear_estimates_are_counted(void **state)
{
        struct world w;

        world_init(&w);
        set_bounds(&w, 0, 400 * MIB);
        set_count(&w, 100 * MIB);
        w.sample.count_cost = 10 * USEC_PER_MSEC;
        judge(&w);
        w.now += 5 * USEC_PER_SEC;
        set_bounds(&w, 0, 400 * MIB);
        judge(&w);
        assert_true(w.verdict.count);
        assert_false(w.verdict.estimate);

        init_large(&w, 5 * USEC_PER_SEC);
        set_estimate(&w, 195 * MIB, 20 * MIB);
        w.sample.count_cost = 101 * USEC_PER_MSEC;
        judge(&w);
        w.now += 20 * USEC_PER_SEC;
        set_bounds(&w, 0, 400 * MIB);
        judge(&w);
        assert_true(w.verdict.count);
        assert_false(w.verdict.estimate);
}

/* A count of 10 s takes the budget of 500 s. Meanwhile there are estimates, and other groups are counted, all within it. */
static void a_huge_count_leaves_something_to_others(void **state)
{
        struct world huge, small;
        usec_t spent = 0, start;
        unsigned estimates = 0, counts = 0, small_counts = 0;

        world_init(&huge);
        world_init(&small);
        start = huge.now;
        for (int i = 0; i < 720; i++) {
                set_bounds(&huge, 0, 400 * GIB);
                judge(&huge);
                if (huge.verdict.estimate) {
                        set_estimate(&huge, 100 * MIB, 200 * MIB);
                        huge.sample.count_cost = 200 * USEC_PER_MSEC;
                        spent += huge.sample.count_cost;
                        estimates++;
                        judge(&huge);
                }
                assert_true(i > 0 || estimates == 1); /* it comes first */
                if (huge.verdict.count) {
                        set_count(&huge, 100 * MIB);
                        huge.sample.count_cost = 10 * USEC_PER_SEC;
                        spent += huge.sample.count_cost;
                        counts++;
                        judge(&huge);
                }
                small.budget = huge.budget;
                set_bounds(&small, 0, 400 * MIB);
                judge(&small);
                if (small.verdict.count) {
                        set_count(&small, 100 * MIB);
                        small.sample.count_cost = 20 * USEC_PER_MSEC;
                        spent += small.sample.count_cost;
                        small_counts++;
                        judge(&small);
                }
                huge.budget = small.budget;
                huge.now += 5 * USEC_PER_SEC;
                small.now += 5 * USEC_PER_SEC;
        }
        assert_in_range(counts, 3, 8);
        assert_in_range(estimates, 50, 360);
        assert_in_range(small_counts, 100, 720);
        /* what was saved at first, one count ahead, and the first one cost more than was expected */
        assert_true(spent < (huge.now - start) / 50 + (1 + 10 + 6) * USEC_PER_SEC);
}

static void low_watermark_of_huge_caps_does_not_overflow(void **state)
{
        struct policy_section s = {.low_watermark = 9500};

        assert_int_equal(decide_low_watermark(&s, 1000000), 950000);
        assert_int_equal(decide_low_watermark(&s, 4 * GIB), 4080218931ULL);
        assert_int_equal(decide_low_watermark(&s, INT64_MAX), 8762203435012037016ULL);
}

static void what_is_shown_is_never_disproved_by_a_later_look(void **state)
{
        struct group_sample s = {
                        .processes = 2, .quality = QUALITY_EXACT, .resident = 100, .counted_at = 10, .bounds_at = 20};
        struct group_sample shown;

        s.lower = 50;
        s.upper = 150;
        decide_presentable(&s, &shown);
        assert_int_equal(shown.resident, 100);
        assert_int_equal(shown.quality, QUALITY_EXACT);
        s.upper = 90;
        decide_presentable(&s, &shown);
        assert_int_equal(shown.resident, 90);
        assert_int_equal(shown.quality, QUALITY_BOUND_UPPER);
        s.upper = 500;
        s.lower = 120;
        decide_presentable(&s, &shown);
        assert_int_equal(shown.resident, 120);
        assert_int_equal(shown.quality, QUALITY_BOUND_LOWER);
        s.counted_at = 0;
        s.quality = QUALITY_UNKNOWN;
        decide_presentable(&s, &shown);
        assert_int_equal(shown.resident, 500);
        assert_int_equal(shown.quality, QUALITY_BOUND_UPPER);
        s.processes = 0;
        decide_presentable(&s, &shown);
        assert_int_equal(shown.resident, 0);
        assert_int_equal(shown.quality, QUALITY_EXACT);
}

static void group_threshold_overrides_the_daemons(void **state)
{
        struct policy p = {.daemon = {.pressure_threshold = 7000}};
        struct policy_section s = {.has_cap = true,
                                   .cap_percent = 2500,
                                   .low_watermark = 9000,
                                   .pressure_threshold = THRESHOLD_INHERIT};
        struct decide_settings set;

        decide_settings_from(&p, &s, 16 * GIB, &set);
        assert_int_equal(set.cap, 4 * GIB);
        assert_int_equal(set.low, 3865470566ULL);
        assert_int_equal(set.pressure_threshold, 7000);
        s.pressure_threshold = 0;
        decide_settings_from(&p, &s, 16 * GIB, &set);
        assert_int_equal(set.pressure_threshold, 0);
}

static void a_count_that_fails_is_not_made_again_at_once(void **state)
{
        struct world w;
        unsigned counts = 0;

        for (int lower = 0; lower < 2; lower++) {
                world_init(&w);
                for (int look = 0; look < 100; look++) {
                        set_bounds(&w, lower ? 250 * MIB : 0, 300 * MIB);
                        for (int i = 0; i < 5; i++) {
                                judge(&w);
                                if (!w.verdict.count)
                                        break;
                                counts++;
                                group_sample_forget(&w.sample);
                                w.sample.tried_at = w.now + 1;
                                w.sample.counted_at = w.now + 1;
                        }
                        assert_false(w.verdict.count);
                        assert_false(w.verdict.act);
                        assert_int_not_equal(w.memory.state, STATE_OK);
                        w.now += 5 * USEC_PER_SEC;
                }
                assert_true(counts <= 101U * (unsigned)(lower + 1));
        }
}

static void an_unknown_rss_does_not_eat_the_budget(void **state)
{
        struct world w;

        world_init(&w);
        set_bounds(&w, 0, SIZE_UNKNOWN);
        judge(&w);
        assert_true(w.verdict.count);
        assert_true(w.budget.usec > 0);
}

static void a_group_nobody_looked_at_is_unknown(void **state)
{
        struct group_sample s = {}, shown;

        decide_presentable(&s, &shown);
        assert_true(shown.resident == SIZE_UNKNOWN);
        assert_true(shown.swap == SIZE_UNKNOWN);
        assert_int_equal(shown.quality, QUALITY_UNKNOWN);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(upper_bound_under_the_cap_decides),
                        cmocka_unit_test(straddling_bounds_want_a_count),
                        cmocka_unit_test(lower_bound_over_the_cap_is_counted_before_acting),
                        cmocka_unit_test(lower_bound_over_the_cap_is_enough_where_nothing_is_done),
                        cmocka_unit_test(unknown_is_never_under_the_cap),
                        cmocka_unit_test(without_page_frames_nothing_is_done),
                        cmocka_unit_test(what_forbids_acting_is_said),
                        cmocka_unit_test(paused_group_under_its_cap_is_shown_as_paused),
                        cmocka_unit_test(empty_and_uncapped_groups_are_ok),
                        cmocka_unit_test(growth_brings_the_next_look_forward),
                        cmocka_unit_test(every_group_is_counted_by_the_exact_interval),
                        cmocka_unit_test(counts_of_groups_under_their_caps_keep_to_the_budget),
                        cmocka_unit_test(large_groups_are_estimated_between_counts),
                        cmocka_unit_test(an_estimate_that_touches_the_cap_is_followed_by_a_count),
                        cmocka_unit_test(an_estimate_over_the_cap_is_counted_before_an_act),
                        cmocka_unit_test(small_groups_and_dear_estimates_are_counted),
                        cmocka_unit_test(a_huge_count_leaves_something_to_others),
                        cmocka_unit_test(low_watermark_of_huge_caps_does_not_overflow),
                        cmocka_unit_test(what_is_shown_is_never_disproved_by_a_later_look),
                        cmocka_unit_test(group_threshold_overrides_the_daemons),
                        cmocka_unit_test(a_count_that_fails_is_not_made_again_at_once),
                        cmocka_unit_test(an_unknown_rss_does_not_eat_the_budget),
                        cmocka_unit_test(a_group_nobody_looked_at_is_unknown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
