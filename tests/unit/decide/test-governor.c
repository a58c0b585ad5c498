/* SPDX-License-Identifier: MIT */
/* decide(): the choice of a means, thrashing by the kernel's counters, and the last resort. */
#include "world.h"

#define SECOND USEC_PER_SEC

/* A fork family of 300 MiB under a cap of 200, on a host with DAMON. */
static void family_init(struct world *w)
{
        world_init(w);
        w->means.no_damon = NULL;
        set_bounds(w, 0, 3000 * MIB);
        set_count(w, 300 * MIB);
        w->sample.exclusive = w->sample.exclusive_anon = MIB;
}

static void know_sharing(struct world *w)
{
        w->sample.counted_at++;
        w->sample.have_private = true;
        w->sample.private_bytes = w->sample.resident;
        w->sample.shared_bytes = 0;
        w->sample.inside = w->sample.resident - w->sample.exclusive;
        w->sample.inside_swap = w->sample.inside - 20 * MIB;
}

static void who_shares_is_counted_before_the_choice(void **state)
{
        struct world w;

        family_init(&w);
        judge(&w);
        assert_true(w.verdict.count);
        assert_true(w.verdict.private_count);
        assert_false(w.verdict.act);
        assert_state(&w, STATE_ENFORCING);
        know_sharing(&w);
        judge(&w);
        assert_true(w.verdict.act);
        assert_int_equal(w.verdict.choice.strategy, STRATEGY_DAMON);
        assert_int_equal(w.verdict.goal, 110 * MIB);
}

static void a_count_that_cannot_tell_is_asked_for_once(void **state)
{
        struct world w;

        family_init(&w);
        judge(&w);
        assert_true(w.verdict.private_count);
        w.sample.counted_at++; /* without have_private */
        judge(&w);
        assert_false(w.verdict.private_count);
        assert_true(w.verdict.act); /* the one MiB that is exclusive */
        assert_int_equal(w.verdict.choice.strategy, STRATEGY_MADVISE);
}

static void it_is_not_counted_where_nothing_hangs_on_it(void **state)
{
        struct world w;

        family_init(&w);
        w.means.no_damon = "none";
        judge(&w);
        assert_false(w.verdict.private_count);
        family_init(&w); /* of files there is next to nothing, and the rest has nowhere to go */
        w.host.swap_free = w.host.swap_total = 0;
        w.sample.file = 4 * MIB;
        w.sample.anon = 296 * MIB;
        judge(&w);
        assert_false(w.verdict.private_count);
        assert_state(&w, STATE_UNENFORCEABLE);
        world_init(&w); /* all exclusive */
        w.means.no_damon = NULL;
        set_bounds(&w, 0, 300 * MIB);
        set_count(&w, 300 * MIB);
        judge(&w);
        assert_true(w.verdict.act);
        assert_int_equal(w.verdict.choice.strategy, STRATEGY_MADVISE);
}

static void a_means_that_did_not_help_gives_way_to_the_next(void **state)
{
        struct group_cgroups cgroups = {.at = 1,
                                        .owned = 1,
                                        .anon = 300 * MIB,
                                        .file_mapped = 0,
                                        .shmem = 0,
                                        .unmapped_cache = 400 * MIB};
        struct world w;

        family_init(&w);
        w.means.no_reclaim = NULL;
        w.facts.cgroups = &cgroups;
        know_sharing(&w);
        judge(&w);
        assert_int_equal(w.verdict.choice.strategy, STRATEGY_DAMON);
        after_act(&w, 300 * MIB, 300 * MIB, 0, 0);
        w.sample.exclusive = w.sample.exclusive_anon = MIB;
        know_sharing(&w);
        judge(&w);
        assert_int_equal(w.memory.failures, 0);
        assert_true(w.verdict.act);
        assert_int_equal(w.verdict.choice.strategy, STRATEGY_RECLAIM);
        assert_int_equal(w.verdict.choice.cache_at_risk, 110 * MIB);
}

/* One act that is done well, then the group is over its cap again `later`, with what the counters say of it. */
static void act_and_return(struct world *w, struct group_pressure *p, uint64_t refaults, uint64_t faults,
                           usec_t stalled)
{
        after_act(w, 300 * MIB, 190 * MIB, 110 * MIB, 0);
        w->now += 6 * SECOND;
        p->at = w->now;
        if (p->refaults != SIZE_UNKNOWN)
                p->refaults += refaults;
        p->major_faults += faults;
        p->stalled += stalled;
        set_bounds(w, 0, 400 * MIB);
        set_count(w, 300 * MIB);
        judge(w);
}

static void pressure_init(struct world *w, struct group_pressure *p)
{
        world_init(w);
        *p = (struct group_pressure){.at = T0, .refaults = 5 * GIB, .major_faults = 1000, .swap_in = GIB};
        w->facts.pressure = p;
        set_bounds(w, 0, 400 * MIB);
        set_count(w, 300 * MIB);
        judge(w);
        assert_true(w->verdict.act);
}

static void refaults_that_the_kernel_counts_are_thrashing(void **state)
{
        struct group_pressure p;
        struct world w;
        usec_t since;

        pressure_init(&w, &p);
        act_and_return(&w, &p, 100 * MIB, 0, 0);
        assert_state(&w, STATE_ENFORCING);
        assert_true(w.verdict.act);
        act_and_return(&w, &p, 100 * MIB, 0, 0);
        assert_state(&w, STATE_THRASHING);
        assert_false(w.verdict.act);
        assert_int_equal(w.memory.working_set, 300 * MIB);
        assert_true(w.memory.retry_at >= w.now + 10 * SECOND);
        /* the retry and what comes of it is no news */
        since = w.memory.state_since;
        for (int i = 0; i < 5; i++) {
                w.now = w.memory.retry_at + 1;
                p.at = w.now;
                set_bounds(&w, 0, 400 * MIB);
                set_count(&w, 300 * MIB);
                judge(&w);
                assert_true(w.verdict.act);
                act_and_return(&w, &p, 100 * MIB, 0, 0);
                assert_state(&w, STATE_THRASHING);
                assert_int_equal(w.memory.state_since, since);
        }
        assert_true(w.memory.retry_at - w.now >= 160 * SECOND);
}

static void major_faults_are_thrashing_too(void **state)
{
        struct group_pressure p;
        struct world w;

        pressure_init(&w, &p);
        p.refaults = SIZE_UNKNOWN;
        w.memory.base.refaults = SIZE_UNKNOWN;
        for (int i = 0; i < 2; i++) {
                p.swap_in += 120 * MIB;
                act_and_return(&w, &p, 0, 100 * MIB / 4096 / 8, 0); /* read ahead by eight */
        }
        assert_state(&w, STATE_THRASHING);
}

static void faults_of_others_are_not(void **state)
{
        struct group_pressure p;
        struct world w;

        pressure_init(&w, &p);
        p.refaults = SIZE_UNKNOWN;
        w.memory.base.refaults = SIZE_UNKNOWN;
        for (int i = 0; i < 4; i++) {
                p.swap_in += GIB; /* somebody on the host */
                act_and_return(&w, &p, 0, 100, 0);
                assert_state(&w, STATE_ENFORCING);
        }
}

static void a_stalled_group_needs_less_proof(void **state)
{
        struct group_pressure p;
        struct world w;

        pressure_init(&w, &p);
        for (int i = 0; i < 2; i++)
                act_and_return(&w, &p, 20 * MIB, 0, 8 * SECOND);
        assert_state(&w, STATE_THRASHING);
        assert_true(w.memory.stalled > 5000);

        pressure_init(&w, &p); /* but not by what the whole host waits for */
        p.stalled_host = w.memory.base.stalled_host = true;
        for (int i = 0; i < 2; i++)
                act_and_return(&w, &p, 20 * MIB, 0, 8 * SECOND);
        assert_state(&w, STATE_ENFORCING);
}

static void growth_is_not_thrashing(void **state)
{
        struct group_pressure p;
        struct world w;

        pressure_init(&w, &p);
        for (int i = 0; i < 5; i++) {
                act_and_return(&w, &p, MIB, 10, 0);
                assert_state(&w, STATE_ENFORCING);
        }
}

/* A look at the family, of which who else maps it is known at once. */
static void judge_family(struct world *w, uint64_t exclusive)
{
        set_bounds(w, 0, 3000 * MIB);
        set_count(w, 300 * MIB);
        w->sample.exclusive = w->sample.exclusive_anon = exclusive;
        know_sharing(w);
        judge(w);
}

static void little_that_comes_back_leads_to_another_means(void **state)
{
        struct group_pressure p = {.at = T0, .refaults = 5 * GIB};
        struct world w;

        family_init(&w);
        w.facts.pressure = &p;
        judge_family(&w, 20 * MIB);
        assert_int_equal(w.verdict.choice.strategy, STRATEGY_MADVISE);
        for (int i = 0; i < 2; i++) {
                after_act(&w, 300 * MIB, 280 * MIB, 20 * MIB, 0);
                w.now += 6 * SECOND;
                p.at = w.now;
                p.refaults += 20 * MIB;
                judge_family(&w, 20 * MIB);
                assert_state(&w, STATE_ENFORCING);
                assert_true(w.verdict.act);
                assert_int_equal(w.verdict.choice.strategy, STRATEGY_DAMON);
        }
}

/* As by an act whose time was over when it had done what is used most. */
static void little_that_comes_back_is_not_the_working_set(void **state)
{
        struct group_pressure p;
        struct world w;

        pressure_init(&w, &p);
        for (int i = 0; i < 4; i++) {
                after_act(&w, 300 * MIB, 285 * MIB, 15 * MIB, 0);
                w.now += 6 * SECOND;
                p.at = w.now;
                p.refaults += 15 * MIB;
                set_bounds(&w, 0, 400 * MIB);
                set_count(&w, 300 * MIB);
                judge(&w);
                /* until it is half of the 110 MiB that had to go */
                assert_state(&w, i < 3 ? STATE_ENFORCING : STATE_THRASHING);
        }
}

/* 300 MiB are counted, so much of it exclusive and the rest shared inside, perhaps after an act. */
static void judge_count(struct world *w, uint64_t exclusive, bool acted, uint64_t unmapped, uint64_t refaulted)
{
        w->now += 3 * SECOND;
        if (acted) {
                w->act = (struct act_result){.started = w->now - 1000,
                                             .ended = w->now,
                                             .attempted = unmapped,
                                             .unmapped = unmapped,
                                             .refaulted = refaulted};
                w->facts.last_act = &w->act;
                w->facts.resident_before = w->facts.resident_after = 300 * MIB;
        }
        set_bounds(w, 0, 400 * MIB);
        set_count(w, 300 * MIB);
        w->sample.exclusive = w->sample.exclusive_anon = exclusive;
        w->sample.have_private = true;
        w->sample.inside = w->sample.inside_swap = 300 * MIB - exclusive;
        judge(w);
}

/*
 * In a cgroup of its own there is another means each time, which does nothing, or next to nothing. What process_madvise did comes
 * back only after that one has begun, so that the counters say nothing of it.
 */
static void come_back_late(uint64_t by_madvise, enum group_state expected, uint64_t exclusive)
{
        struct group_cgroups cgroups = {.at = 1, .owned = 1, .anon = 300 * MIB, .file_mapped = 0, .shmem = 0};
        struct group_pressure p;
        struct world w;
        usec_t waited = 0;
        uint64_t back = 0;

        pressure_init(&w, &p);
        w.means.no_reclaim = NULL;
        w.facts.cgroups = &cgroups;
        for (unsigned acts = 0; acts < 9 && w.memory.state != STATE_THRASHING;) {
                if (w.verdict.act) {
                        bool madvise = w.verdict.choice.strategy == STRATEGY_MADVISE;

                        acts++;
                        judge_count(&w, exclusive, true, madvise ? by_madvise : acts % 4 * MIB / 4, madvise ? back : 0);
                        if (madvise)
                                back = by_madvise;
                } else if (w.memory.retry_at > w.now) {
                        assert_state(&w, STATE_UNENFORCEABLE);
                        assert_true(w.memory.retry_at - w.now > waited);
                        waited = w.memory.retry_at - w.now;
                        w.now = w.memory.retry_at;
                }
                p.at = w.now;
                judge_count(&w, exclusive, false, 0, 0);
        }
        assert_state(&w, expected);
}

static void what_another_means_cannot_do_is_no_news(void **state)
{
        come_back_late(15 * MIB, STATE_THRASHING, 280 * MIB);
}

static void however_little_it_is_in_the_end_it_is_the_working_set(void **state)
{
        come_back_late(2 * MIB, STATE_THRASHING, 280 * MIB);
}

static void unless_the_means_reaches_nothing_else(void **state)
{
        come_back_late(2 * MIB, STATE_ENFORCING, 20 * MIB);
}

static void a_back_off_forgets_once_what_did_not_help(void **state)
{
        struct world w;

        world_init(&w);
        set_bounds(&w, 0, 400 * MIB);
        set_count(&w, 300 * MIB);
        judge(&w);
        after_act(&w, 300 * MIB, 300 * MIB, 0, 0);
        assert_state(&w, STATE_UNENFORCEABLE);
        assert_true(w.memory.retry_at > w.now);
        w.now = w.memory.retry_at + 1;
        set_bounds(&w, 0, 400 * MIB);
        set_count(&w, 300 * MIB);
        judge(&w);
        assert_true(w.verdict.act);
        assert_int_equal(w.memory.useless, 0);
        w.means.no_damon = NULL; /* what another means may do is known from now on */
        after_act(&w, 300 * MIB, 300 * MIB, 0, 0);
        assert_int_equal(w.memory.useless, 1U << STRATEGY_MADVISE);
        w.now += SECOND;
        set_bounds(&w, 0, 400 * MIB);
        set_count(&w, 300 * MIB);
        judge(&w);
        assert_int_equal(w.memory.useless, 1U << STRATEGY_MADVISE);
}

static void idleness_earns_one_early_retry(void **state)
{
        struct group_pressure p;
        struct world w;
        usec_t retry;

        pressure_init(&w, &p);
        for (int i = 0; i < 2; i++)
                act_and_return(&w, &p, 100 * MIB, 0, 0);
        assert_state(&w, STATE_THRASHING);
        retry = w.memory.retry_at;
        w.now += SECOND;
        w.facts.idle_for = 31 * SECOND;
        set_bounds(&w, 0, 400 * MIB);
        set_count(&w, 300 * MIB);
        judge(&w);
        assert_true(w.verdict.act);
        assert_true(w.now < retry);
        act_and_return(&w, &p, 100 * MIB, 0, 0); /* in vain */
        assert_false(w.verdict.act);
        w.now += SECOND;
        set_bounds(&w, 0, 400 * MIB);
        set_count(&w, 300 * MIB);
        judge(&w);
        assert_false(w.verdict.act);
}

static void thrashing_ends_with_a_real_stay_under_the_cap(void **state)
{
        struct group_pressure p;
        struct world w;

        pressure_init(&w, &p);
        for (int i = 0; i < 2; i++)
                act_and_return(&w, &p, 100 * MIB, 0, 0);
        assert_state(&w, STATE_THRASHING);
        w.now += SECOND;
        set_bounds(&w, 0, 150 * MIB);
        judge(&w);
        assert_state(&w, STATE_THRASHING); /* for the moment */
        w.now += 11 * SECOND;
        set_bounds(&w, 0, 150 * MIB);
        judge(&w);
        assert_state(&w, STATE_OK);
        assert_int_equal(w.memory.failures, 0);
        assert_int_equal(w.memory.working_set, 0);
}

/* Bounds on both sides of the cap, a count that is out of date, and no CPU time for another one. */
static void look_without_budget(struct world *w)
{
        w->budget = (struct decide_budget){.usec = -1e9, .refilled_at = w->now};
        set_bounds(w, 0, 400 * MIB);
        judge(w);
}

static void a_judgement_holds_where_no_count_is_affordable(void **state)
{
        struct group_pressure p;
        struct world w;

        pressure_init(&w, &p);
        w.daemon.exact_interval = 2 * SECOND;
        for (int i = 0; i < 2; i++)
                act_and_return(&w, &p, 100 * MIB, 0, 0);
        assert_state(&w, STATE_THRASHING);
        w.now = w.memory.retry_at - SECOND;
        assert_true(w.now - w.sample.counted_at > 2 * w.daemon.exact_interval);
        look_without_budget(&w);
        assert_state(&w, STATE_THRASHING);
        assert_false(w.verdict.count);
        /* trying again is no matter of the budget */
        w.now = w.memory.retry_at;
        look_without_budget(&w);
        assert_state(&w, STATE_THRASHING);
        assert_true(w.verdict.count);
        set_count(&w, 300 * MIB);
        judge(&w);
        assert_true(w.verdict.act);
}

static void what_is_under_its_cap_is_not_known_for_ever(void **state)
{
        struct world w;

        world_init(&w);
        set_bounds(&w, 0, 400 * MIB);
        set_count(&w, 150 * MIB);
        judge(&w);
        assert_state(&w, STATE_OK);
        w.now += 2 * w.daemon.exact_interval + SECOND;
        look_without_budget(&w);
        assert_state(&w, STATE_UNKNOWN);
        assert_false(w.verdict.count);
}

/* -- LastResort= -- */

/* A member cannot be read, so that each count is a lower bound. */
static void without_exact_counts_what_the_act_saw_leave_counts(void **state)
{
        struct world w;

        world_init(&w);
        w.settings.last_resort = LAST_RESORT_KILL;
        w.settings.last_resort_after = 30 * SECOND;
        for (int helps = 1; helps >= 0; helps--) {
                for (int i = 0; i < (helps ? 20 : 1); i++) {
                        w.now += 5 * SECOND;
                        w.facts.last_act = i > 0 || !helps ? &w.act : NULL;
                        set_bounds(&w, 0, 400 * MIB);
                        set_count(&w, 220 * MIB);
                        w.sample.quality = QUALITY_BOUND_LOWER;
                        judge(&w);
                        assert_true(w.verdict.act);
                        assert_false(w.verdict.kill);
                        assert_state(&w, STATE_ENFORCING);
                        w.act = (struct act_result){.started = w.now,
                                                    .ended = w.now + SECOND,
                                                    .attempted = w.memory.last_goal,
                                                    .unmapped = helps ? w.memory.last_goal : 0};
                }
        }
        w.now += 5 * SECOND;
        set_bounds(&w, 0, 400 * MIB);
        set_count(&w, 220 * MIB);
        w.sample.quality = QUALITY_BOUND_LOWER;
        judge(&w);
        assert_false(w.verdict.act);
        assert_state(&w, STATE_UNENFORCEABLE);
}

static void hopeless_init(struct world *w)
{
        world_init(w);
        w->settings.last_resort = LAST_RESORT_KILL;
        w->settings.last_resort_after = 30 * SECOND;
        w->host.swap_free = w->host.swap_total = 0;
        set_bounds(w, 0, 400 * MIB);
        set_count(w, 300 * MIB);
        w->sample.file = 0;
        w->sample.anon = w->sample.exclusive_anon = 300 * MIB;
        judge(w);
        assert_state(w, STATE_UNENFORCEABLE);
        assert_false(w->verdict.kill);
}

static void the_last_resort_waits_its_time_and_for_a_fresh_count(void **state)
{
        struct world w;

        hopeless_init(&w);
        w.now += 29 * SECOND;
        set_bounds(&w, 250 * MIB, 400 * MIB);
        judge(&w);
        assert_false(w.verdict.kill);
        assert_int_equal(w.verdict.next_look, T0 + 30 * SECOND);
        w.now += SECOND;
        set_bounds(&w, 250 * MIB, 400 * MIB);
        judge(&w);
        assert_false(w.verdict.kill);
        assert_true(w.verdict.count);
        set_count(&w, 300 * MIB);
        w.sample.anon = w.sample.exclusive_anon = 300 * MIB;
        judge(&w);
        assert_true(w.verdict.kill);
        w.now += SECOND; /* the next one has its time, too */
        set_bounds(&w, 250 * MIB, 400 * MIB);
        judge(&w);
        assert_false(w.verdict.kill);
}

static void nobody_is_killed_without_need(void **state)
{
        struct world w;

        for (int i = 0; i < 5; i++) {
                hopeless_init(&w);
                w.now += 31 * SECOND;
                switch (i) {
                case 0:
                        w.settings.last_resort = LAST_RESORT_NONE;
                        break;
                case 1:
                        w.settings.paused = true;
                        break;
                case 2:
                        w.settings.dry_run = true;
                        break;
                case 3:
                        w.settings.action = ACTION_OBSERVE;
                        break;
                case 4:
                        w.settings.pressure_threshold = 9000;
                        break;
                }
                set_bounds(&w, 250 * MIB, 400 * MIB);
                set_count(&w, 300 * MIB);
                judge(&w);
                assert_false(w.verdict.kill);
        }
        hopeless_init(&w); /* and not by a moment under the cap in between */
        w.now += 20 * SECOND;
        set_bounds(&w, 0, 150 * MIB);
        judge(&w);
        assert_state(&w, STATE_OK);
        w.now += 11 * SECOND;
        set_bounds(&w, 250 * MIB, 400 * MIB);
        set_count(&w, 300 * MIB);
        judge(&w);
        assert_false(w.verdict.kill);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(who_shares_is_counted_before_the_choice),
                        cmocka_unit_test(a_count_that_cannot_tell_is_asked_for_once),
                        cmocka_unit_test(it_is_not_counted_where_nothing_hangs_on_it),
                        cmocka_unit_test(a_means_that_did_not_help_gives_way_to_the_next),
                        cmocka_unit_test(refaults_that_the_kernel_counts_are_thrashing),
                        cmocka_unit_test(major_faults_are_thrashing_too),
                        cmocka_unit_test(faults_of_others_are_not),
                        cmocka_unit_test(a_stalled_group_needs_less_proof),
                        cmocka_unit_test(growth_is_not_thrashing),
                        cmocka_unit_test(little_that_comes_back_leads_to_another_means),
                        cmocka_unit_test(little_that_comes_back_is_not_the_working_set),
                        cmocka_unit_test(what_another_means_cannot_do_is_no_news),
                        cmocka_unit_test(however_little_it_is_in_the_end_it_is_the_working_set),
                        cmocka_unit_test(unless_the_means_reaches_nothing_else),
                        cmocka_unit_test(a_back_off_forgets_once_what_did_not_help),
                        cmocka_unit_test(idleness_earns_one_early_retry),
                        cmocka_unit_test(thrashing_ends_with_a_real_stay_under_the_cap),
                        cmocka_unit_test(a_judgement_holds_where_no_count_is_affordable),
                        cmocka_unit_test(what_is_under_its_cap_is_not_known_for_ever),
                        cmocka_unit_test(without_exact_counts_what_the_act_saw_leave_counts),
                        cmocka_unit_test(the_last_resort_waits_its_time_and_for_a_fresh_count),
                        cmocka_unit_test(nobody_is_killed_without_need),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
