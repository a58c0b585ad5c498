/* SPDX-License-Identifier: MIT */
/* decide(): one judgement at a time, from given facts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "capd/policy/decide.h"

#define T0 (1000 * USEC_PER_SEC)

struct world {
        struct policy_daemon daemon;
        struct decide_settings settings;
        struct decide_facts facts;
        struct group_sample sample;
        struct act_result act;
        struct host_memory host;
        struct decide_budget budget;
        struct decide_memory memory;
        struct decide_verdict verdict;
        usec_t now;
};

/* A group of one process with 100 MiB resident (80 anonymous and 20 of files, all exclusive), cap 200, low 190; counted just now. */
static void world_init(struct world *w)
{
        memset(w, 0, sizeof(*w));
        w->now = T0;
        w->daemon = (struct policy_daemon){.sample_interval = 5 * USEC_PER_SEC,
                                           .scan_interval = 15 * USEC_PER_SEC,
                                           .exact_interval = 60 * USEC_PER_SEC,
                                           .cpu_budget = 200};
        w->settings = (struct decide_settings){
                        .has_cap = true, .cap = 200 * MIB, .low = 190 * MIB, .action = ACTION_PAGEOUT};
        w->host = (struct host_memory){.total = 16 * GIB,
                                       .available = 8 * GIB,
                                       .swap_total = 4 * GIB,
                                       .swap_free = 4 * GIB,
                                       .used_basis_points = 5000};
        w->facts = (struct decide_facts){.sample = &w->sample,
                                         .resident_before = SIZE_UNKNOWN,
                                         .resident_after = SIZE_UNKNOWN,
                                         .can_count = true};
        w->sample = (struct group_sample){.processes = 1, .address_spaces = 1};
}

static void set_bounds(struct world *w, uint64_t lower, uint64_t upper)
{
        w->sample.bounds_at = w->now;
        w->sample.lower = lower;
        w->sample.upper = w->sample.rss_sum = upper;
}

static void set_count(struct world *w, uint64_t resident)
{
        w->sample.counted_at = w->now + 1;
        w->sample.quality = QUALITY_EXACT;
        w->sample.resident = w->sample.mapped = w->sample.exclusive = resident;
        w->sample.file = 20 * MIB;
        w->sample.anon = w->sample.exclusive_anon = resident - 20 * MIB;
}

static void judge(struct world *w)
{
        decide(&w->daemon, &w->settings, &w->facts, &w->host, w->now, &w->budget, &w->memory, &w->verdict);
}

static void assert_state(const struct world *w, enum group_state state)
{
        assert_string_equal(group_state_to_string(w->memory.state), group_state_to_string(state));
        assert_true(strlen(w->memory.reason) > 0);
}

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

/* Runs one act that brought `unmapped` of what was asked, of which `refaulted` of the one before had come back. */
static void after_act(struct world *w, uint64_t before, uint64_t after, uint64_t unmapped, uint64_t refaulted)
{
        w->now += 3 * USEC_PER_SEC;
        w->act.started = w->now - 1000;
        w->act.ended = w->now;
        w->act.attempted = unmapped;
        w->act.unmapped = unmapped;
        w->act.refaulted = refaulted;
        w->facts.last_act = &w->act;
        w->facts.resident_before = before;
        w->facts.resident_after = after;
        set_bounds(w, 0, 400 * MIB);
        set_count(w, after);
        judge(w);
}

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
                        {true, false, ACTION_PAGEOUT, NULL, 0, STATE_PAUSED, "capctl resume"},
                        {false, true, ACTION_PAGEOUT, NULL, 0, STATE_OBSERVED, "--dry-run"},
                        {false, false, ACTION_OBSERVE, NULL, 0, STATE_OBSERVED, "Action=observe"},
                        {false, false, ACTION_MOVE, NULL, 0, STATE_UNENFORCEABLE, "Action=move"},
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
                w.facts.cannot_act = cases[i].cannot_act;
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
                        cmocka_unit_test(a_count_that_fails_is_not_made_again_at_once),
                        cmocka_unit_test(an_act_out_of_time_is_judged_by_what_it_got_to),
                        cmocka_unit_test(forced_under_the_cap_counts_and_then_acts),
                        cmocka_unit_test(swap_that_flickers_is_no_news),
                        cmocka_unit_test(a_group_nobody_looked_at_is_unknown),
                        cmocka_unit_test(upper_bound_under_the_cap_decides),
                        cmocka_unit_test(straddling_bounds_want_a_count),
                        cmocka_unit_test(lower_bound_over_the_cap_is_counted_before_acting),
                        cmocka_unit_test(lower_bound_over_the_cap_is_enough_where_nothing_is_done),
                        cmocka_unit_test(unknown_is_never_under_the_cap),
                        cmocka_unit_test(without_page_frames_nothing_is_done),
                        cmocka_unit_test(an_act_cut_short_goes_on_to_the_low_watermark),
                        cmocka_unit_test(what_comes_back_is_not_chased),
                        cmocka_unit_test(what_forbids_acting_is_said),
                        cmocka_unit_test(paused_group_under_its_cap_is_shown_as_paused),
                        cmocka_unit_test(acts_that_do_not_help_are_spaced_out),
                        cmocka_unit_test(an_act_is_judged_once),
                        cmocka_unit_test(work_that_comes_back_is_thrashing),
                        cmocka_unit_test(swap_that_appears_is_used_at_once),
                        cmocka_unit_test(purely_anonymous_without_swap_is_not_even_tried),
                        cmocka_unit_test(purely_shared_is_not_even_tried),
                        cmocka_unit_test(forced_overrides_back_off_and_threshold),
                        cmocka_unit_test(empty_and_uncapped_groups_are_ok),
                        cmocka_unit_test(growth_brings_the_next_look_forward),
                        cmocka_unit_test(every_group_is_counted_by_the_exact_interval),
                        cmocka_unit_test(counts_of_groups_under_their_caps_keep_to_the_budget),
                        cmocka_unit_test(reclaim_rate_is_kept),
                        cmocka_unit_test(low_watermark_of_huge_caps_does_not_overflow),
                        cmocka_unit_test(what_is_shown_is_never_disproved_by_a_later_look),
                        cmocka_unit_test(group_threshold_overrides_the_daemons),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
