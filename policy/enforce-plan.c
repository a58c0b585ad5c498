/* SPDX-License-Identifier: MIT */
/* enforce-plan.c: whether, by which means and by how much a group is brought down now. */
#include <stdio.h>

#include "capd/base/size.h"
#include "decide-internal.h"

/* With ReclaimRate=, an act is worth its counts from this many bytes on; less is saved up. */
#define RATE_WORTHWHILE (4 * MIB)
/* Less than this part of the goal in shared pages is not worth finding out who else maps them: libraries are in every group. */
#define SHARED_WORTHWHILE 0.1
/* A group that thrashed and whose processes have all been idle for so long is tried again before its back-off is over. */
#define IDLE_RECOVERS (30 * USEC_PER_SEC)

/* Of shmem it is not known what is exclusive. All of it may be, but for what several processes of the group are known to share. */
static uint64_t exclusive_needs_swap(const struct group_sample *s)
{
        uint64_t most = s->exclusive_anon + s->shmem;

        if (s->have_private && s->inside_swap != SIZE_UNKNOWN)
                most = MIN(most, MAX(s->exclusive_anon, less(s->anon + s->shmem, s->inside_swap)));
        return MIN(most, s->exclusive);
}

void decide_strategy(const struct decide_facts *facts, bool swap, unsigned useless, uint64_t goal,
                     struct strategy_choice *ret)
{
        const struct group_sample *s = facts->sample;
        const struct group_cgroups *c = facts->cgroups;
        const struct decide_means *means = facts->means;
        bool owned = c && c->at > 0 && c->owned > 0;
        struct strategy_facts f = {
                        .goal = goal,
                        .swap = swap,
                        .useless = useless,
                        .exclusive = s->exclusive,
                        .exclusive_swap = exclusive_needs_swap(s),
                        .inside = s->have_private ? s->inside : SIZE_UNKNOWN,
                        .inside_swap = s->have_private ? s->inside_swap : SIZE_UNKNOWN,
                        .outside = s->have_private ? s->shared_bytes : less(s->resident, s->exclusive),
                        .unmapped_cache = owned ? c->unmapped_cache : SIZE_UNKNOWN,
                        .owned_cgroups = owned ? c->owned : 0,
                        .no_madvise = means->no_madvise,
                        .no_damon = means->no_damon,
                        .no_reclaim = means->no_reclaim,
                        .reclaim_anon_only = means->reclaim_anon_only,
                        .reclaim_swappiness = means->reclaim_swappiness,
        };

        /* charged and mapped: what the cgroups hold beside the cache that nobody maps, without swap of files only */
        f.charged_inside = SIZE_UNKNOWN;
        if (owned && c->anon != SIZE_UNKNOWN && c->file_mapped != SIZE_UNKNOWN && c->shmem != SIZE_UNKNOWN)
                f.charged_inside = swap ? c->anon + c->file_mapped + c->shmem : c->file_mapped;
        strategy_choose(&f, ret);
}

/* What the means for shared pages could reach at most, before it is known who else maps them: without swap only files go. */
static uint64_t shared_at_most(const struct decision *d)
{
        const struct group_sample *s = d->facts->sample;
        uint64_t shared = less(s->resident, s->exclusive);

        return d->verdict->swap ? shared : MIN(shared, s->file);
}

uint64_t plan_exclusive(const struct decision *d)
{
        const struct group_sample *s = d->facts->sample;

        return d->verdict->swap ? s->exclusive : less(s->exclusive, s->exclusive_anon + s->shmem);
}

bool plan_choose(const struct decision *d, uint64_t goal, struct strategy_choice *ret)
{
        const struct decide_facts *f = d->facts;
        const struct group_sample *s = f->sample;
        uint64_t exclusive = plan_exclusive(d);
        bool shared_means = !f->means->no_damon || !f->means->no_reclaim;

        decide_strategy(f, d->verdict->swap, d->memory->useless, goal, ret);
        /* What is shared may be the group's own alone: a dearer count tells, made only where something hangs on it. */
        if (!s->have_private && f->means->private_counts && shared_means && !d->memory->private_asked &&
            (double)shared_at_most(d) > SHARED_WORTHWHILE * (double)goal &&
            (exclusive < goal || ret->strategy == STRATEGY_NONE))
                return false;
        return true;
}

void plan_refill_tokens(struct decision *d)
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

static void say_thrashing(struct decision *d, const char *what)
{
        struct decide_memory *m = d->memory;
        char cap[SIZE_TEXT_MAX], size[SIZE_TEXT_MAX];

        /* What is resident while nothing is paged out is what the group works with, and what it has not touched since. */
        if (d->fresh && !d->judged && d->facts->sample->resident > d->settings->cap)
                m->working_set = d->facts->sample->resident;
        enter_state(d, STATE_THRASHING,
                    "what is paged out comes straight back: the cap of %s is below the working set, about %s%s",
                    format_size(cap, d->settings->cap),
                    format_size(size, m->working_set ? m->working_set : SIZE_UNKNOWN), what);
}

/* Why the last attempt did not bring the group down: what no means can change, else what the act met. */
static void describe_failure(const struct decision *d, char *buf, size_t size)
{
        const struct decide_memory *m = d->memory;
        struct strategy_choice choice;

        snprintf(buf, size, "%s", "it could not be brought down");
        if (d->facts->sample->quality != QUALITY_UNKNOWN) {
                const struct group_sample *s = d->facts->sample;
                /* then it matters less what the act met than why there is no better means */
                bool mostly_shared = less(s->resident, s->exclusive) > s->exclusive;

                decide_strategy(d->facts, d->verdict->swap, 0, m->last_goal, &choice);
                if (choice.strategy != STRATEGY_NONE && (m->choice.strategy > STRATEGY_MADVISE || mostly_shared))
                        decide_strategy(d->facts, d->verdict->swap, m->useless, m->last_goal, &choice);
                if (choice.strategy == STRATEGY_NONE) {
                        snprintf(buf, size, "%s", choice.reason);
                        return;
                }
        }
        if (d->facts->last_act)
                describe_obstacle(d->facts->last_act, buf, size);
}

/* A back-off is under way: what the state says meanwhile. */
static void say_backing_off(struct decision *d)
{
        char failure[sizeof(d->memory->reason)];

        if (governor_thrashing(d->memory)) {
                say_thrashing(d, "");
                return;
        }
        if (!d->judged && d->memory->state == STATE_UNENFORCEABLE)
                return; /* nothing new is known */
        describe_failure(d, failure, sizeof(failure));
        enter_state(d, STATE_UNENFORCEABLE, "%s", failure);
}

static bool backing_off(struct decision *d)
{
        struct decide_memory *m = d->memory;

        if (d->facts->forced || m->retry_at == 0)
                return false;
        if (m->retry_at > d->now) {
                /* idleness is a change of load: what did come back may stay away now */
                if (!governor_thrashing(m) || m->tried_idle || d->facts->idle_for < IDLE_RECOVERS)
                        return true;
                m->tried_idle = true;
                m->retry_at = d->now;
        }
        /* a new attempt tries everything again, but once */
        m->useless = 0;
        m->retry_at = 0;
        return false;
}

/* Whether something forbids acting on a group that is over its cap; its state then says what. */
static bool held_back(struct decision *d)
{
        const struct decide_settings *set = d->settings;
        char cap[SIZE_TEXT_MAX];

        format_size(cap, set->cap);
        if (d->facts->idle_for < IDLE_RECOVERS)
                d->memory->tried_idle = false;
        if (set->paused)
                enter_state(d, STATE_PAUSED, "over its cap of %s, but paused", cap);
        else if (set->action == ACTION_OBSERVE)
                enter_state(d, STATE_OBSERVED, "over its cap of %s; Action=observe", cap);
        else if (set->dry_run)
                enter_state(d, STATE_OBSERVED, "over its cap of %s; capd runs with --dry-run", cap);
        else if (!d->facts->forced && !host_is_short(d))
                enter_state(d, STATE_OVER,
                            "over its cap of %s; memory use of the host, %u%%, is not above "
                            "PressureThreshold=%u%%",
                            cap, d->host->used_basis_points / 100, set->pressure_threshold / 100);
        else if (backing_off(d))
                say_backing_off(d);
        else
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

static void say_acting(struct decision *d, uint64_t goal)
{
        char resident[SIZE_TEXT_MAX], cap[SIZE_TEXT_MAX], rest[SIZE_TEXT_MAX];

        if (governor_thrashing(d->memory)) {
                say_thrashing(d, "; trying again");
                return;
        }
        enter_state(d, STATE_ENFORCING, "%s resident, cap %s: paging out %s by %s",
                    format_size(resident, d->facts->sample->resident), format_size(cap, d->settings->cap),
                    format_size(rest, goal), strategy_to_string(d->verdict->choice.strategy));
}

static void act(struct decision *d)
{
        const struct group_sample *s = d->facts->sample;
        struct decide_memory *m = d->memory;
        uint64_t goal = s->resident - d->settings->low;
        struct strategy_choice choice;

        if (!plan_choose(d, goal, &choice)) {
                m->private_asked = true;
                d->verdict->count = d->verdict->private_count = true;
                if (!governor_hopeless(m)) /* which a retry may leave as it was */
                        enter_state(d, STATE_ENFORCING, "over its cap; finding out who else maps its shared pages");
                return;
        }
        m->private_asked = false;
        m->choice = choice;
        if (choice.strategy == STRATEGY_NONE) {
                /* Known without trying; the wait grows all the same: nothing is gained by counting it at every look. */
                governor_back_off(d);
                enter_state(d, STATE_UNENFORCEABLE, "%s", choice.reason);
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
        d->verdict->choice = choice;
        if (d->facts->pressure)
                m->base = *d->facts->pressure;
        m->came_back_bytes = SIZE_UNKNOWN;
        m->stalled = UINT32_MAX;
        say_acting(d, goal);
}

void plan_over(struct decision *d)
{
        d->memory->under_since = 0;
        /* before the hold-backs, as it may begin a back-off */
        governor_judge_return(d);
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
                if (!governor_thrashing(d->memory))
                        enter_state(d, STATE_ENFORCING, "paged out, and part of it came back");
                return;
        }
        if (d->facts->sample->resident <= d->settings->low) {
                governor_back_off(d);
                enter_state(d, STATE_UNENFORCEABLE, "over its cap, but %u of its processes could not be read",
                            d->facts->sample->unread);
                return;
        }
        act(d);
}

/* An act that was cut short goes on to the low watermark; under the cap a failure is no matter. */
static bool wants_low(const struct decision *d)
{
        const struct decide_settings *set = d->settings;
        bool to_low = (d->memory->state == STATE_ENFORCING && d->memory->cut_short) || d->facts->forced;

        return to_low && d->memory->failures == 0 && !set->paused && !set->dry_run && set->action != ACTION_OBSERVE &&
               d->facts->can_count && d->facts->sample->processes > 0;
}

static bool goes_on(const struct decision *d)
{
        uint64_t resident = d->facts->sample->resident, low = d->settings->low;
        struct strategy_choice choice;

        if (!d->fresh || resident <= low)
                return false;
        return !plan_choose(d, resident - low, &choice) || choice.strategy != STRATEGY_NONE;
}

static void rest_under(struct decision *d)
{
        const struct group_sample *s = d->facts->sample;
        struct decide_memory *m = d->memory;

        if (m->under_since == 0)
                m->under_since = d->now;
        if (wants_low(d)) {
                if (goes_on(d)) {
                        act(d);
                        return;
                }
                /* the count after the act has failed: it is made again, as nobody can tell how far there is to go */
                if (!d->fresh && !d->facts->forced && s->upper > d->settings->low) {
                        d->verdict->count = !d->tried;
                        return;
                }
        }
        /* Only a real stay under the cap forgives: right after an act the memory may be on its way back. */
        if (d->now - m->under_since > BACKOFF_FIRST)
                governor_forgive(m);
        if (d->settings->paused)
                enter_state(d, STATE_PAUSED, "under its cap, paused");
        else if (governor_thrashing(m) && s->processes > 0)
                say_thrashing(d, "; under it for the moment");
        else {
                enter_state(d, STATE_OK, "%s", s->processes == 0 ? "no process belongs to it" : "under its cap");
                if (s->processes == 0)
                        m->trend = 0;
        }
        consider_count(d);
}

void plan_under(struct decision *d)
{
        const struct group_sample *s = d->facts->sample;

        /* What is asked for under the cap is to reach the low watermark, which takes a count to know the way. */
        if (d->facts->forced && !d->fresh && !d->tried && d->facts->can_count && s->upper > d->settings->low) {
                d->verdict->count = true;
                return;
        }
        rest_under(d);
}
