/* SPDX-License-Identifier: MIT */
/*
 * decide.c: the judgement over one group.
 *
 * It goes in four steps: judge the last act (did it help, did its work come straight back?), find out where the
 * group stands (the cheap bounds first; a count only if they straddle the cap), choose a state and perhaps an act, and say when to
 * look again. Each step is a function; `struct decision` carries what they share.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "capd/base/size.h"
#include "capd/limits.h"
#include "capd/policy/decide.h"

/* An act that brought down less than this part of what it was asked for did not help. */
#define HELPED_FRACTION 0.1
/* An act that took so long ended because its time was over (LIMIT_ACT_USEC), not because nothing was left to do. */
#define OUT_OF_TIME (LIMIT_ACT_USEC / 10 * 9)
/* An act most of whose work was back when the next one began was for nothing. */
#define CAME_BACK_FRACTION 0.5
/* That many in a row, and the cap is below the working set: once may be a burst. */
#define CAME_BACK_ACTS 2
/* The first wait after an act that did not help, doubled each time up to the second. */
#define BACKOFF_FIRST (10 * USEC_PER_SEC)
#define BACKOFF_LAST  (15 * 60 * USEC_PER_SEC)
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
/* After an act the group is left alone for this part of SampleInterval=. */
#define SETTLE_FRACTION 0.5
/* Swap that was full or absent is news from this much free space on: the last pages of a full one come and go. */
#define SWAP_NEWS (64 * MIB)
/* With ReclaimRate=, an act is worth its counts from this many bytes on; less is saved up. */
#define RATE_WORTHWHILE (4 * MIB)

enum standing { STANDING_UNKNOWN, STANDING_UNDER, STANDING_OVER, STANDING_UNDECIDED };

struct decision {
        const struct policy_daemon *daemon;
        const struct decide_settings *settings;
        const struct decide_facts *facts;
        const struct host_memory *host;
        usec_t now;
        struct decide_budget *budget;
        struct decide_memory *memory;
        struct decide_verdict *verdict;
        enum standing standing;
        bool fresh;        /* the exact count is of this look */
        bool tried;        /* a count was tried since this look, whatever came of it */
        bool judged;       /* an act was judged in this call */
        usec_t settled_at; /* when the group may be acted on again; 0 now */
};

static void enter_state(struct decision *d, enum group_state state, const char *format, ...) _printf_(3, 4);

static void enter_state(struct decision *d, enum group_state state, const char *format, ...)
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

/* -- the last act -- */

static void back_off(struct decision *d)
{
        unsigned shift = MIN(d->memory->failures, 16U);

        d->memory->failures++;
        d->memory->retry_at = d->now + MIN((usec_t)BACKOFF_FIRST << shift, (usec_t)BACKOFF_LAST);
}

static void forgive(struct decide_memory *m)
{
        m->failures = 0;
        m->came_back = 0;
        m->retry_at = 0;
        m->working_set = 0;
}

/* Names the largest obstacle of an act, with the way out. */
static void describe_obstacle(const struct act_result *a, char *buf, size_t size)
{
        const struct {
                uint64_t bytes;
                const char *text;
        } obstacles[] = {
                        {a->left_shared, "is mapped by more than one process, which process_madvise cannot page out"},
                        {a->left_no_swap, "is anonymous memory and no swap is free"},
                        {a->left_locked, "is locked in memory"},
                        {a->left_dirty, "is file data still being written"},
                        {a->left_forbidden, "may not be paged out (not permitted by the kernel)"},
                        {a->left_floor, "is in protected processes or in ones below ProcessFloor="},
                        {a->left_busy, "is in use and stayed"},
        };
        size_t worst = 0;
        char text[SIZE_TEXT_MAX];

        for (size_t i = 1; i < ARRAY_SIZE(obstacles); i++)
                if (obstacles[i].bytes > obstacles[worst].bytes)
                        worst = i;
        if (obstacles[worst].bytes == 0) {
                if (a->stuck > 0)
                        snprintf(buf, size, "%u of its processes do not answer", a->stuck);
                else if (a->error)
                        snprintf(buf, size, "the kernel refused: %s", strerror(a->error < 0 ? -a->error : a->error));
                else
                        snprintf(buf, size, "nothing of it could be paged out");
                return;
        }
        snprintf(buf, size, "%s %s", format_size(text, obstacles[worst].bytes), obstacles[worst].text);
}

static void judge_last_act(struct decision *d)
{
        const struct act_result *a = d->facts->last_act;
        struct decide_memory *m = d->memory;
        uint64_t asked, fell;
        bool swap_shrank;

        if (!a || a->ended == m->last_act_ended)
                return;
        m->last_act_ended = a->ended;
        d->judged = true;
        m->grown_at = 0; /* what an act did is no trend */
        m->trend = 0;
        if (d->settings->reclaim_rate > 0)
                m->tokens -= (double)a->unmapped;

        /* Whether what the act before this one paged out was back already when this one began. What swapoff(8) brought back was
         * not brought back by the group. */
        swap_shrank = d->host->swap_total < m->last_swap_total;
        m->last_swap_total = d->host->swap_total;
        if (!swap_shrank && m->last_unmapped > 0 &&
            (double)a->refaulted > CAME_BACK_FRACTION * (double)m->last_unmapped) {
                if (++m->came_back >= CAME_BACK_ACTS && d->facts->resident_before != SIZE_UNKNOWN)
                        m->working_set = d->facts->resident_before;
        } else
                m->came_back = 0;
        m->last_unmapped = a->unmapped;
        m->cut_short = a->unmapped < m->last_goal;

        if (d->facts->resident_before == SIZE_UNKNOWN || d->facts->resident_after == SIZE_UNKNOWN) {
                back_off(d);
                return;
        }
        fell = d->facts->resident_before > d->facts->resident_after
                               ? d->facts->resident_before - d->facts->resident_after
                               : 0;
        /* Helpful is measured by what the act was asked for, or, if its time ran out, by what it got to. */
        asked = d->facts->resident_before > d->settings->low ? d->facts->resident_before - d->settings->low : 0;
        if (m->last_goal > 0)
                asked = MIN(asked, m->last_goal);
        if (a->attempted > 0 && a->ended - a->started >= OUT_OF_TIME)
                asked = MIN(asked, a->attempted);
        if (m->came_back >= CAME_BACK_ACTS || (double)MAX(fell, a->unmapped) < HELPED_FRACTION * (double)asked)
                back_off(d);
        else if (m->came_back == 0)
                forgive(m);
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

/* Whether the group wants an exact count now, if it is not being enforced. */
static bool wants_count(const struct decision *d)
{
        const struct group_sample *s = d->facts->sample;
        usec_t age = s->counted_at > 0 && d->now > s->counted_at ? d->now - s->counted_at : 0;
        double pause, eta;

        if (s->processes == 0 || !d->facts->can_count)
                return false;
        if (s->counted_at == 0 || age >= d->daemon->exact_interval)
                return true;
        if (d->standing != STANDING_UNDECIDED)
                return false;
        /* Not more often than its own share of the budget allows, but in time before it can reach its cap. */
        pause = count_cost(s) * 10000 / (double)MAX(d->daemon->cpu_budget, 1U);
        if (d->memory->trend > 0 && s->resident < d->settings->cap) {
                eta = (double)(d->settings->cap - s->resident) / d->memory->trend * 1e6 * ETA_FRACTION;
                pause = MIN(pause, eta);
        }
        return (double)age >= pause;
}

static void consider_count(struct decision *d)
{
        if (wants_count(d) && take_from_budget(d))
                d->verdict->count = true;
}

/* A group whose count is long overdue is not known to be under its cap any more. */
static void say_if_outdated(struct decision *d)
{
        const struct group_sample *s = d->facts->sample;

        if (!d->verdict->count && s->counted_at > 0 && d->now > s->counted_at &&
            d->now - s->counted_at > 2 * d->daemon->exact_interval)
                enter_state(d, STATE_UNKNOWN, "not counted lately: CPUBudget= is used up by other groups");
}

/* -- acting -- */

/* What one act could page out at most, by strategy 1. */
static uint64_t pageable(const struct decision *d)
{
        const struct group_sample *s = d->facts->sample;

        return d->verdict->swap ? s->exclusive : s->exclusive - MIN(s->exclusive, s->exclusive_anon + s->shmem);
}

/* Why nothing is pageable at all. */
static void describe_unpageable(const struct decision *d, char *buf, size_t size)
{
        const struct group_sample *s = d->facts->sample;
        char text[SIZE_TEXT_MAX];

        /* swap is no help where what is shared alone is over the cap */
        if (d->verdict->swap || s->resident - s->exclusive > d->settings->cap || s->exclusive == 0)
                snprintf(buf, size,
                         "%s of it is mapped by more than one process, which process_madvise cannot page out",
                         format_size(text, s->resident - s->exclusive));
        else
                snprintf(buf, size, "%s of it is memory of one process each, and no swap is free: add swap",
                         format_size(text, s->exclusive));
}

static bool host_is_short(const struct decision *d)
{
        return d->settings->pressure_threshold == 0 || d->host->used_basis_points > d->settings->pressure_threshold;
}

static void refill_tokens(struct decision *d)
{
        struct decide_memory *m = d->memory;
        double rate = (double)d->settings->reclaim_rate;

        if (m->tokens_at > 0)
                m->tokens += rate * (double)(d->now - m->tokens_at) / 1e6;
        else
                m->tokens = rate;
        /* what comes together between two looks can be saved up, or what makes an act worth its counts */
        m->tokens = MIN(m->tokens, MAX(rate * (double)d->daemon->sample_interval / 1e6, (double)RATE_WORTHWHILE));
        m->tokens_at = d->now;
}

/* Whether something forbids acting on a group that is over its cap; its state then says what. */
static bool held_back(struct decision *d)
{
        const struct decide_settings *set = d->settings;
        char size[SIZE_TEXT_MAX], cap[SIZE_TEXT_MAX];

        format_size(cap, set->cap);
        if (set->paused)
                enter_state(d, STATE_PAUSED, "over its cap of %s, but paused", cap);
        else if (set->action == ACTION_OBSERVE)
                enter_state(d, STATE_OBSERVED, "over its cap of %s; Action=observe", cap);
        else if (set->dry_run)
                enter_state(d, STATE_OBSERVED, "over its cap of %s; capd runs with --dry-run", cap);
        else if (set->action == ACTION_MOVE)
                enter_state(d, STATE_UNENFORCEABLE,
                            "over its cap of %s; Action=move is not available in this version: "
                            "use Action=pageout",
                            cap);
        else if (d->facts->cannot_act)
                enter_state(d, STATE_UNENFORCEABLE, "%s", d->facts->cannot_act);
        else if (!d->facts->forced && !host_is_short(d))
                enter_state(d, STATE_OVER,
                            "over its cap of %s; memory use of the host, %u%%, is not above "
                            "PressureThreshold=%u%%",
                            cap, d->host->used_basis_points / 100, set->pressure_threshold / 100);
        else if (!d->facts->forced && d->memory->retry_at > d->now) {
                char obstacle[160];

                if (!d->judged && (d->memory->state == STATE_UNENFORCEABLE || d->memory->state == STATE_THRASHING))
                        return true; /* nothing new is known */
                if (d->memory->came_back >= CAME_BACK_ACTS) {
                        enter_state(d, STATE_THRASHING,
                                    "what is paged out comes straight back: the cap of %s is below "
                                    "the working set, about %s",
                                    cap,
                                    format_size(size, d->memory->working_set ? d->memory->working_set : SIZE_UNKNOWN));
                        return true;
                }
                if (pageable(d) == 0)
                        describe_unpageable(d, obstacle, sizeof(obstacle));
                else if (d->facts->last_act)
                        describe_obstacle(d->facts->last_act, obstacle, sizeof(obstacle));
                else
                        snprintf(obstacle, sizeof(obstacle), "%s", "it could not be brought down");
                enter_state(d, STATE_UNENFORCEABLE, "%s", obstacle);
        } else
                return false;
        return true;
}

/*
 * An act that ran out of time goes on at once. After one that did what it was asked for, the group is given time: what the
 * processes work with comes back now, and chasing it would only move it out and in.
 */
static bool is_settling(struct decision *d)
{
        usec_t until = d->memory->last_act_ended + (usec_t)((double)d->daemon->sample_interval * SETTLE_FRACTION);

        if (d->memory->last_act_ended == 0 || d->memory->cut_short || d->facts->forced || d->now >= until)
                return false;
        d->settled_at = until;
        return true;
}

static void act(struct decision *d)
{
        const struct group_sample *s = d->facts->sample;
        struct decide_memory *m = d->memory;
        char resident[SIZE_TEXT_MAX], cap[SIZE_TEXT_MAX], rest[SIZE_TEXT_MAX];
        uint64_t goal = s->resident - d->settings->low;

        if (pageable(d) == 0) {
                char obstacle[160];

                /* Known without trying; the wait grows all the same: nothing is gained by counting it at every look. */
                back_off(d);
                describe_unpageable(d, obstacle, sizeof(obstacle));
                enter_state(d, STATE_UNENFORCEABLE, "%s", obstacle);
                return;
        }
        if (d->settings->reclaim_rate > 0 && !d->facts->forced) {
                if (m->tokens < (double)MIN(goal, RATE_WORTHWHILE)) {
                        enter_state(d, STATE_ENFORCING, "waiting for ReclaimRate=");
                        return;
                }
                goal = MIN(goal, (uint64_t)m->tokens);
        }
        d->verdict->act = true;
        d->verdict->goal = m->last_goal = goal;
        enter_state(d, STATE_ENFORCING, "%s resident, cap %s: paging out %s", format_size(resident, s->resident),
                    format_size(cap, d->settings->cap), format_size(rest, goal));
}

static void decide_over(struct decision *d)
{
        if (held_back(d)) {
                consider_count(d);
                return;
        }
        if (!d->facts->can_count) {
                enter_state(d, STATE_OVER, "over its cap, but page frames cannot be seen: nothing can be paged out");
                return;
        }
        if (!d->fresh && d->tried) {
                enter_state(d, STATE_OVER, "over its cap, but its pages could not be counted");
                return;
        }
        if (!d->fresh && d->facts->sample->quality == QUALITY_UNKNOWN && d->facts->sample->tried_at > 0) {
                consider_count(d); /* the last try failed: no more often than the budget allows */
                return;
        }
        if (!d->fresh) {
                /* how much must go is not known yet: not a matter of the budget, the group is over its cap */
                d->verdict->count = true;
                return;
        }
        if (is_settling(d)) {
                enter_state(d, STATE_ENFORCING, "paged out, and part of it came back");
                return;
        }
        if (d->facts->sample->resident <= d->settings->low) {
                back_off(d);
                enter_state(d, STATE_UNENFORCEABLE, "over its cap, but %u of its processes could not be read",
                            d->facts->sample->unread);
                return;
        }
        act(d);
}

static void rest_under(struct decision *d)
{
        const struct group_sample *s = d->facts->sample;
        bool to_low = (d->memory->state == STATE_ENFORCING && d->memory->cut_short) || d->facts->forced;

        /* An act that was cut short goes on to the low watermark; under the cap a failure is no matter. */
        if (to_low && d->fresh && s->resident > d->settings->low && d->memory->failures == 0 && pageable(d) > 0 &&
            !d->settings->paused && !d->settings->dry_run && d->settings->action == ACTION_PAGEOUT &&
            !d->facts->cannot_act) {
                act(d);
                return;
        }
        if (!d->settings->paused) {
                enter_state(d, STATE_OK, "%s", s->processes == 0 ? "no process belongs to it" : "under its cap");
                if (s->processes == 0)
                        d->memory->trend = 0;
        } else
                enter_state(d, STATE_PAUSED, "under its cap, paused");
        /* Only a real stay under the cap forgives: right after an act the memory may be on its way back. */
        if (d->now > d->memory->state_since && d->now - d->memory->state_since > BACKOFF_FIRST)
                forgive(d->memory);
        consider_count(d);
}

static void decide_under(struct decision *d)
{
        const struct group_sample *s = d->facts->sample;

        /* What is asked for under the cap is to reach the low watermark, which takes a count to know the way. */
        if (d->facts->forced && !d->fresh && !d->tried && d->facts->can_count && s->upper > d->settings->low) {
                d->verdict->count = true;
                return;
        }
        rest_under(d);
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
                        forgive(memory); /* what could not be done may be possible now */
                memory->had_swap = true;
        } else if (!ret->swap)
                memory->had_swap = false;

        follow_growth(&d);
        if (settings->reclaim_rate > 0)
                refill_tokens(&d);
        if (!settings->has_cap) {
                decide_uncapped(&d);
                schedule(&d);
                return;
        }
        judge_last_act(&d);
        find_standing(&d);
        switch (d.standing) {
        case STANDING_UNKNOWN:
                enter_state(&d, STATE_UNKNOWN, "not measured yet");
                break;
        case STANDING_UNDER:
                decide_under(&d);
                break;
        case STANDING_OVER:
                decide_over(&d);
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
                else if ((memory->state == STATE_ENFORCING || facts->forced) &&
                         facts->sample->quality != QUALITY_UNKNOWN)
                        ret->count = true; /* whatever the budget says */
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
}
