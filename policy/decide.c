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
/* And of an estimate: this part of a count, and what it takes to open a process. */
#define ESTIMATE_PART      16
#define ESTIMATE_OPEN_USEC 60.0
/* It is made where it costs no more than this part of a count. */
#define ESTIMATE_WORTHWHILE 4
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
        d->estimated = s->quality == QUALITY_ESTIMATE && s->bounds_at > 0 && s->counted_at >= s->bounds_at;
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
        else if (d->estimated && less(s->resident, s->error_bytes) > set->cap)
                d->standing = STANDING_OVER;
        else if (d->estimated && set->cap >= s->error_bytes && s->resident <= set->cap - s->error_bytes)
                d->standing = STANDING_UNDER;
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

static double exact_cost(const struct decide_memory *m, const struct group_sample *s)
{
        if (m->exact_cost > 0)
                return (double)m->exact_cost;
        return s->rss_sum == SIZE_UNKNOWN ? COUNT_USEC_UNKNOWN : (double)s->rss_sum * COUNT_USEC_PER_BYTE;
}

static double estimate_cost(const struct decide_memory *m, const struct group_sample *s)
{
        if (m->estimate_cost > 0)
                return (double)m->estimate_cost;
        return exact_cost(m, s) / ESTIMATE_PART + s->processes * ESTIMATE_OPEN_USEC;
}

/* The group's own share of the budget: time to let pass after something that costs so much. */
static double pause_after(const struct policy_daemon *daemon, double cost)
{
        return cost * 10000 / (double)MAX(daemon->cpu_budget, 1U);
}

/* Whether the group cannot be counted at every look within its share of the budget, and an estimate is worth its while. */
static bool is_large(const struct policy_daemon *daemon, const struct decide_memory *m, const struct group_sample *s)
{
        double cost = exact_cost(m, s);

        return pause_after(daemon, cost) > (double)daemon->sample_interval &&
               estimate_cost(m, s) * ESTIMATE_WORTHWHILE <= cost;
}

/* What is known of what counts cost. */
static void remember_counts(struct decision *d)
{
        const struct group_sample *s = d->facts->sample;
        struct decide_memory *m = d->memory;

        if (s->counted_at == 0) {
                m->exact_at = m->estimated_at = m->exact_cost = m->estimate_cost = 0;
        } else if (s->quality == QUALITY_ESTIMATE && s->counted_at > m->estimated_at) {
                m->estimated_at = s->counted_at;
                m->estimate_cost = s->count_cost;
        } else if (s->quality != QUALITY_ESTIMATE && s->counted_at > MAX(m->exact_at, m->estimated_at)) {
                m->exact_at = s->counted_at;
                m->exact_cost = s->count_cost;
        }
}

/*
 * While a large count is being paid off half of what comes in is for cheap ones, estimates among them, so that other groups, and this
 * one, are not left without figures.
 */
static bool take_from_budget(struct decision *d, double cost)
{
        struct decide_budget *b = d->budget;
        double share = (double)d->daemon->cpu_budget / 10000, income = 0;

        if (b->refilled_at == 0)
                b->usec = BUDGET_SAVED_USEC;
        else if (d->now > b->refilled_at)
                income = (double)(d->now - b->refilled_at) * share;
        b->refilled_at = d->now;
        if (b->usec < 0) {
                income /= 2;
                b->spare = MIN(b->spare + income, BUDGET_SAVED_USEC);
        }
        b->usec = MIN(b->usec + income, BUDGET_SAVED_USEC);
        if (b->usec > 0)
                b->usec -= cost;
        else if (cost <= b->spare)
                b->spare -= cost;
        else
                return false;
        return true;
}

/* Whether what happened since the last count can have carried the group to the other side of its cap. */
static bool may_have_crossed(const struct decision *d)
{
        const struct group_sample *s = d->facts->sample;
        uint64_t cap = d->settings->cap, error = s->quality == QUALITY_ESTIMATE ? s->error_bytes : 0, distance;

        if ((s->quality != QUALITY_EXACT && s->quality != QUALITY_ESTIMATE) || !d->facts->moved_known)
                return true;
        distance = s->resident <= cap ? cap - s->resident : s->resident - cap;
        if (distance < error)
                return true;
        distance -= error;
        return s->resident <= cap ? d->facts->moved > distance : d->facts->moved >= distance;
}

/*
 * Whether a group that straddles its cap and was looked at then may be so again, at such a cost: not more often than its own share of the
 * budget allows, but in time before it can reach its cap.
 */
static bool is_its_turn(const struct policy_daemon *daemon, const struct decide_settings *settings,
                        const struct decide_memory *memory, const struct group_sample *s, usec_t then, double cost,
                        usec_t now)
{
        double pause = pause_after(daemon, cost), eta;

        if (memory->trend > 0 && s->resident < settings->cap) {
                eta = (double)(settings->cap - s->resident) / memory->trend * 1e6 * ETA_FRACTION;
                pause = MIN(pause, eta);
        }
        return now > then && (double)(now - then) >= pause;
}

static bool is_overdue(const struct decision *d)
{
        usec_t at = d->memory->exact_at;

        return at == 0 || (d->now > at && d->now - at >= d->daemon->exact_interval);
}

/* Whether the group wants an exact count now, if it is not being enforced. */
static bool wants_count(const struct decision *d)
{
        const struct group_sample *s = d->facts->sample;
        const struct decide_memory *m = d->memory;
        bool large = is_large(d->daemon, m, s);

        if (is_overdue(d))
                /* of one that is too large for that, something shall be known at once */
                return !large || m->exact_at > 0 || m->estimate_asked > 0;
        /* a large one only if an estimate could not tell */
        return d->standing == STANDING_UNDECIDED && may_have_crossed(d) &&
               (!large || m->estimate_asked == s->bounds_at) &&
               is_its_turn(d->daemon, d->settings, m, s, m->exact_at, exact_cost(m, s), d->now);
}

static bool wants_estimate(const struct decision *d)
{
        const struct group_sample *s = d->facts->sample;
        const struct decide_memory *m = d->memory;

        return is_large(d->daemon, m, s) && m->estimate_asked != s->bounds_at &&
               (is_overdue(d) || (d->standing == STANDING_UNDECIDED && may_have_crossed(d))) &&
               is_its_turn(d->daemon, d->settings, m, s, s->counted_at, estimate_cost(m, s), d->now);
}

bool decide_asks_what_moved(const struct policy_daemon *daemon, const struct decide_settings *settings,
                            const struct decide_memory *memory, const struct group_sample *s, usec_t now)
{
        double cost = is_large(daemon, memory, s) ? estimate_cost(memory, s) : exact_cost(memory, s);

        return settings->has_cap && (s->quality == QUALITY_EXACT || s->quality == QUALITY_ESTIMATE) &&
               s->counted_at < s->bounds_at && s->upper > settings->cap && s->lower <= settings->cap &&
               s->processes > 0 && is_its_turn(daemon, settings, memory, s, s->counted_at, cost, now);
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
        const struct group_sample *s = d->facts->sample;
        struct decide_memory *m = d->memory;

        if (s->processes == 0 || !d->facts->can_count)
                return;
        if (wants_count(d) && take_from_budget(d, exact_cost(m, s)))
                d->verdict->count = true;
        else if (wants_estimate(d) && take_from_budget(d, estimate_cost(m, s))) {
                d->verdict->estimate = true;
                m->estimate_asked = s->bounds_at;
        }
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

        if (!d->verdict->count && !d->verdict->estimate && !governor_hopeless(d->memory) && s->counted_at > 0 &&
            d->now > s->counted_at && d->now - s->counted_at > 2 * d->daemon->exact_interval)
                enter_state(d, STATE_UNKNOWN, "not counted lately: CPUBudget= is used up by other groups");
}

static void say_undecided(struct decision *d)
{
        char resident[SIZE_TEXT_MAX], error[SIZE_TEXT_MAX], cap[SIZE_TEXT_MAX];

        enter_state(d, STATE_UNKNOWN,
                    "estimated at %s, %s more or less, which its cap of %s is too near to; an exact count must wait "
                    "for CPUBudget=",
                    format_size(resident, d->facts->sample->resident),
                    format_size(error, d->facts->sample->error_bytes), format_size(cap, d->settings->cap));
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
        if (d->standing == STANDING_OVER || s->resident >= d->settings->cap ||
            (s->quality != QUALITY_EXACT && s->quality != QUALITY_ESTIMATE))
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

        remember_counts(&d);
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
                if (!settings->paused && d.estimated && !ret->count && memory->state <= STATE_UNKNOWN)
                        say_undecided(&d);
                /* what the state said was of other members, or is not known any more */
                if (!settings->paused && (!memory->state_since || memory->state == STATE_PAUSED ||
                                          (facts->sample->counted_at == 0 && facts->can_count)))
                        enter_state(&d, STATE_UNKNOWN, "not counted yet");
                break;
        }
        schedule(&d);
        governor_last_resort(&d);
}
