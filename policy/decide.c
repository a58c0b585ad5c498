/* SPDX-License-Identifier: MIT */
/*
 * decide.c: the judgement over one group.
 *
 * It goes in four steps: judge the last act (governor.c), find out where the group stands (the cheap bounds first; a
 * count only if they straddle the cap), choose a state and perhaps an act (enforce-plan.c), and say when to look again. Each
 * step is a function; `struct decision` carries what they share.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "capd/base/size.h"
#include "decide-internal.h"

/* Weight of the newest growth in the smoothed trend. */
#define TREND_WEIGHT 0.5
/* A group is looked at no later than at this part of the time in which it would reach its cap. */
#define ETA_FRACTION 0.5
/* Never sooner than this part of SampleInterval=, however fast it grows. */
#define SOONEST_FRACTION 0.2
/* The count budget can be saved up: one second of CPU, so that a small host is counted whole at once after the start. */
#define BUDGET_SAVED_USEC 1e6
/* First guess of the cost of a count: 40 ns a page table entry of 4 KiB. */
#define COUNT_USEC_PER_BYTE (0.04 / 4096)
/* The same for a group of which not even the RSS could be read. */
#define COUNT_USEC_UNKNOWN 10000.0
/* Swap that was full or absent is news from this much free space on: the last pages of a full one come and go. */
#define SWAP_NEWS (64 * MIB)

void enter_state(struct decision *d, enum group_state state, const char *format, ...)
{
        va_list ap;

        va_start(ap, format);
        vsnprintf(d->memory->reason, sizeof(d->memory->reason), format, ap);
        va_end(ap);
        if (d->memory->state == state && d->memory->state_since)
                return;
        d->memory->state = state;
        d->memory->state_since = d->now;
        d->verdict->state_changed = true;
}

/* -- where the group stands -- */

static void find_standing(struct decision *d)
{
        const struct group_sample *s = d->facts->sample;
        const struct decide_settings *set = d->settings;

        /* A count in which some process could not be read is as fresh, but proves only "over". */
        d->fresh = (s->quality == QUALITY_EXACT || s->quality == QUALITY_BOUND_LOWER) && s->bounds_at > 0 &&
                   s->counted_at >= s->bounds_at;
        d->tried = s->bounds_at > 0 && s->tried_at >= s->bounds_at;
        if (s->bounds_at == 0)
                d->standing = STANDING_UNKNOWN;
        else if (s->processes == 0)
                d->standing = STANDING_UNDER;
        else if (s->upper <= set->cap)
                d->standing = STANDING_UNDER;
        else if (d->fresh && s->resident > set->cap)
                d->standing = STANDING_OVER;
        else if (d->fresh && s->quality == QUALITY_EXACT)
                d->standing = STANDING_UNDER;
        else if (s->lower > set->cap)
                d->standing = STANDING_OVER;
        else
                d->standing = STANDING_UNDECIDED;
}

static void follow_growth(struct decision *d)
{
        const struct group_sample *s = d->facts->sample;
        struct decide_memory *m = d->memory;
        double rate;

        if (s->quality != QUALITY_EXACT || s->counted_at <= m->grown_at)
                return;
        if (m->grown_at > 0) {
                rate = ((double)s->resident - (double)m->grown_from) / ((double)(s->counted_at - m->grown_at) / 1e6);
                m->trend = TREND_WEIGHT * rate + (1 - TREND_WEIGHT) * m->trend;
        }
        m->grown_at = s->counted_at;
        m->grown_from = s->resident;
}

/* -- counting -- */

static double count_cost(const struct group_sample *s)
{
        if (s->count_cost > 0)
                return (double)s->count_cost;
        return s->rss_sum == SIZE_UNKNOWN ? COUNT_USEC_UNKNOWN : (double)s->rss_sum * COUNT_USEC_PER_BYTE;
}

static bool take_from_budget(struct decision *d)
{
        struct decide_budget *b = d->budget;
        double share = (double)d->daemon->cpu_budget / 10000;

        if (b->refilled_at == 0)
                b->usec = BUDGET_SAVED_USEC;
        else if (d->now > b->refilled_at)
                b->usec = MIN(b->usec + (double)(d->now - b->refilled_at) * share, BUDGET_SAVED_USEC);
        b->refilled_at = d->now;
        if (b->usec <= 0)
                return false;
        b->usec -= count_cost(d->facts->sample);
        return true;
}

/* Whether what happened since the exact count can have carried the group to the other side of its cap. */
static bool may_have_crossed(const struct decision *d)
{
        const struct group_sample *s = d->facts->sample;
        uint64_t cap = d->settings->cap;

        if (s->quality != QUALITY_EXACT || !d->facts->moved_known)
                return true;
        return s->resident <= cap ? d->facts->moved > cap - s->resident : d->facts->moved >= s->resident - cap;
}

/*
 * Whether a group that straddles its cap may be counted again: not more often than its own share of the budget allows, but in time
 * before it can reach its cap.
 */
static bool is_its_turn(const struct policy_daemon *daemon, const struct decide_settings *settings,
                        const struct decide_memory *memory, const struct group_sample *s, usec_t now)
{
        double pause = count_cost(s) * 10000 / (double)MAX(daemon->cpu_budget, 1U), eta;

        if (memory->trend > 0 && s->resident < settings->cap) {
                eta = (double)(settings->cap - s->resident) / memory->trend * 1e6 * ETA_FRACTION;
                pause = MIN(pause, eta);
        }
        return now > s->counted_at && (double)(now - s->counted_at) >= pause;
}

/* Whether the group wants an exact count now, if it is not being enforced. */
static bool wants_count(const struct decision *d)
{
        const struct group_sample *s = d->facts->sample;
        usec_t age = s->counted_at > 0 && d->now > s->counted_at ? d->now - s->counted_at : 0;

        if (s->processes == 0 || !d->facts->can_count)
                return false;
        if (s->counted_at == 0 || age >= d->daemon->exact_interval)
                return true;
        return d->standing == STANDING_UNDECIDED && may_have_crossed(d) &&
               is_its_turn(d->daemon, d->settings, d->memory, s, d->now);
}

bool decide_asks_what_moved(const struct policy_daemon *daemon, const struct decide_settings *settings,
                            const struct decide_memory *memory, const struct group_sample *s, usec_t now)
{
        return settings->has_cap && s->quality == QUALITY_EXACT && s->counted_at < s->bounds_at &&
               s->upper > settings->cap && s->lower <= settings->cap && s->processes > 0 &&
               is_its_turn(daemon, settings, memory, s, now);
}

/* What so many faults can have mapped at most. */
static uint64_t by_faults(const struct decide_member *m)
{
        return m->faults > SIZE_UNKNOWN / 4 / m->fault_bytes ? SIZE_UNKNOWN / 4 : m->faults * m->fault_bytes;
}

uint64_t decide_came(const struct decide_member *m)
{
        uint64_t most = m->rss + m->rss_error, grown = m->rss > m->rss_then ? m->rss - m->rss_then : 0;

        if (!m->known)
                return most;
        /* without a fault the two readings are of counters that nobody moved */
        return m->faults == 0 ? grown : MIN(most, grown + 2 * m->rss_error + by_faults(m));
}

uint64_t decide_went(const struct decide_member *m)
{
        uint64_t shrunk = m->rss < m->rss_then ? m->rss_then - m->rss : 0;

        if (!m->known)
                return 0;
        return MIN(m->rss_then + m->rss_error, shrunk + 2 * m->rss_error + by_faults(m));
}

void consider_count(struct decision *d)
{
        if (wants_count(d) && take_from_budget(d))
                d->verdict->count = true;
}

/* Counts that belong to bringing it down are no matter of the budget for looking at groups that are under their caps. */
static bool is_being_enforced(const struct decision *d)
{
        const struct decide_memory *m = d->memory;

        /* where the back-off is over, what is to be tried again begins with a count */
        return d->facts->forced || m->state == STATE_ENFORCING || (governor_hopeless(m) && d->now >= m->retry_at);
}

/*
 * A group whose count is long overdue is not known to be under its cap any more. That it cannot be brought there stays true until
 * a count says otherwise.
 */
static void say_if_outdated(struct decision *d)
{
        const struct group_sample *s = d->facts->sample;

        if (!d->verdict->count && !governor_hopeless(d->memory) && s->counted_at > 0 && d->now > s->counted_at &&
            d->now - s->counted_at > 2 * d->daemon->exact_interval)
                enter_state(d, STATE_UNKNOWN, "not counted lately: CPUBudget= is used up by other groups");
}

bool host_is_short(const struct decision *d)
{
        return d->settings->pressure_threshold == 0 || d->host->used_basis_points > d->settings->pressure_threshold;
}

static void decide_uncapped(struct decision *d)
{
        if (d->facts->sample->bounds_at == 0)
                enter_state(d, STATE_UNKNOWN, "not measured yet");
        else
                enter_state(d, STATE_OK, "%s",
                            d->facts->sample->processes == 0 ? "no process belongs to it"
                                                             : "no cap is set: measured only");
        consider_count(d);
}

static void schedule(struct decision *d)
{
        const struct group_sample *s = d->facts->sample;
        usec_t interval = d->daemon->sample_interval;
        double eta, soonest = (double)interval * SOONEST_FRACTION;

        d->verdict->next_look = d->now + interval;
        if (d->settled_at > 0)
                d->verdict->next_look = MIN(d->verdict->next_look, d->settled_at);
        if (d->verdict->act || d->verdict->count || !d->settings->has_cap || d->memory->trend <= 0)
                return;
        if (d->standing == STANDING_OVER || s->quality != QUALITY_EXACT || s->resident >= d->settings->cap)
                return;
        eta = (double)(d->settings->cap - s->resident) / d->memory->trend * 1e6 * ETA_FRACTION;
        if (eta < (double)interval)
                d->verdict->next_look = d->now + (usec_t)MAX(eta, soonest);
}

void decide(const struct policy_daemon *daemon, const struct decide_settings *settings,
            const struct decide_facts *facts, const struct host_memory *host, usec_t now, struct decide_budget *budget,
            struct decide_memory *memory, struct decide_verdict *ret)
{
        struct decision d = {
                        .daemon = daemon,
                        .settings = settings,
                        .facts = facts,
                        .host = host,
                        .now = now,
                        .budget = budget,
                        .memory = memory,
                        .verdict = ret,
        };

        /* Swap counts as usable while a worthwhile step still fits; a full swap only costs CPU time. */
        *ret = (struct decide_verdict){.swap = host->swap_free >= MIB};
        if (!memory->had_swap && host->swap_free >= SWAP_NEWS) {
                if (memory->state_since)
                        governor_forgive(memory); /* what could not be done may be possible now */
                memory->had_swap = true;
        } else if (!ret->swap)
                memory->had_swap = false;

        follow_growth(&d);
        if (settings->reclaim_rate > 0)
                plan_refill_tokens(&d);
        if (!settings->has_cap) {
                decide_uncapped(&d);
                schedule(&d);
                return;
        }
        governor_judge_act(&d);
        find_standing(&d);
        switch (d.standing) {
        case STANDING_UNKNOWN:
                enter_state(&d, STATE_UNKNOWN, "not measured yet");
                break;
        case STANDING_UNDER:
                plan_under(&d);
                break;
        case STANDING_OVER:
                plan_over(&d);
                break;
        case STANDING_UNDECIDED:
                if (settings->paused)
                        enter_state(&d, STATE_PAUSED, "paused");
                else if (!facts->can_count)
                        enter_state(&d, STATE_UNKNOWN,
                                    "the cheap bounds lie on both sides of the cap, and page frames "
                                    "cannot be seen");
                else if (d.fresh)
                        enter_state(&d, STATE_UNKNOWN, "%u of its processes could not be read", facts->sample->unread);
                else if (d.tried)
                        enter_state(&d, STATE_UNKNOWN, "it could not be counted");
                else if (is_being_enforced(&d) && facts->sample->quality != QUALITY_UNKNOWN)
                        ret->count = true;
                else {
                        consider_count(&d);
                        say_if_outdated(&d);
                }
                /* what the state said was of other members, or is not known any more */
                if (!settings->paused && (!memory->state_since || memory->state == STATE_PAUSED ||
                                          (facts->sample->counted_at == 0 && facts->can_count)))
                        enter_state(&d, STATE_UNKNOWN, "not counted yet");
                break;
        }
        schedule(&d);
        governor_last_resort(&d);
}
