/* SPDX-License-Identifier: MIT */
/* world.h: a group, its host and a clock, for tests of decide(). */
#ifndef TESTS_DECIDE_WORLD_H
#define TESTS_DECIDE_WORLD_H

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
        struct decide_means means;
        usec_t now;
};

/* A group of one process with 100 MiB resident (80 anonymous and 20 of files, all exclusive), cap 200, low 190; counted just now. */
static inline void world_init(struct world *w)
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
                                         .can_count = true,
                                         .means = &w->means};
        w->means = (struct decide_means){.no_damon = "DAMON: none here",
                                         .no_reclaim = "memory.reclaim: none here",
                                         .private_counts = true};
        w->sample = (struct group_sample){.processes = 1, .address_spaces = 1};
}

static inline void set_bounds(struct world *w, uint64_t lower, uint64_t upper)
{
        w->sample.bounds_at = w->now;
        w->sample.lower = lower;
        w->sample.upper = w->sample.rss_sum = upper;
}

static inline void set_count(struct world *w, uint64_t resident)
{
        w->sample.counted_at = w->now + 1;
        w->sample.quality = QUALITY_EXACT;
        w->sample.resident = w->sample.mapped = w->sample.exclusive = resident;
        w->sample.file = 20 * MIB;
        w->sample.anon = w->sample.exclusive_anon = resident - 20 * MIB;
}

static inline void judge(struct world *w)
{
        decide(&w->daemon, &w->settings, &w->facts, &w->host, w->now, &w->budget, &w->memory, &w->verdict);
}

static inline void assert_state(const struct world *w, enum group_state state)
{
        assert_string_equal(group_state_to_string(w->memory.state), group_state_to_string(state));
        assert_true(strlen(w->memory.reason) > 0);
}

/* Runs one act that brought `unmapped` of what was asked, of which `refaulted` of the one before had come back. */
static inline void after_act(struct world *w, uint64_t before, uint64_t after, uint64_t unmapped, uint64_t refaulted)
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

#endif
