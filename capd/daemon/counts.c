/* SPDX-License-Identifier: MIT */
/* counts.c: counts on the scanner threads, and what is made of their results. */
#include <errno.h>
#include <string.h>

#include "capd/base/log.h"
#include "engine.h"

/* How long the count with the fewest resident bytes is remembered, to tell later that pages stopped being shared. */
#define REFERENCE_KEPT (10 * 60 * USEC_PER_SEC)

struct count_job {
        struct job job;
        struct engine *engine;
        struct count *count;
        bool after_act; /* completes the record of the groups' last act */
        bool estimates; /* reads a sample */
        bool inside;    /* of the first and only group: the frames that its processes share among themselves */
        bool swap;      /* those that need swap as well */
        struct inside_frames frames;
        size_t n_groups;
        struct group *groups[];
};

/*
 * Adds the members of group k that no earlier group of the job has added. A process is in the count once, with all
 * groups of the job that it belongs to.
 */
static int add_members(struct engine *e, struct count *count, struct group **groups, size_t k, usec_t now)
{
        struct group *g = groups[k];

        for (size_t i = 0; i < g->n_members; i++) {
                const struct process *p = g->members[i];
                const struct membership *m = p->userdata;
                uint32_t in[LIMIT_GROUPS_PER_PROCESS];
                size_t n = 0;
                int r;

                if (p->vm == 0)
                        continue; /* ended */
                for (size_t j = 0; j < m->n; j++)
                        if (m->groups[j]->job_index >= 0)
                                in[n++] = (uint32_t)m->groups[j]->job_index;
                if (quarantine_holds(e, p->facts.pid, p->facts.start_time, now)) {
                        g->quarantined++;
                        continue;
                }
                if (n == 0 || in[0] != (uint32_t)k) {
                        /* the first in the process's own list adds it, once */
                        continue;
                }
                r = count_add_process(count, p->facts.pid, p->facts.start_time, p->mm_id, in, n);
                if (r < 0)
                        return r;
        }
        return 0;
}

struct count *engine_make_count(struct engine *e, struct group **groups, size_t n, unsigned flags, usec_t now)
{
        struct count *count = NULL;
        int r = count_new(&e->sys, &e->features, flags, &count);

        if (r >= 0)
                count_set_max_stall(count, e->policy->daemon.max_stall);
        for (size_t k = 0; k < n && r >= 0; k++) {
                groups[k]->quarantined = 0;
                groups[k]->job_index = r = count_add_group(count);
        }
        for (size_t k = 0; k < n && r >= 0; k++)
                r = add_members(e, count, groups, k, now);
        for (size_t k = 0; k < n; k++)
                groups[k]->job_index = -1;
        if (r < 0)
                return count_free(count);
        return count;
}

static int count_job_run(struct job *job, struct guard *guard)
{
        return count_run(((struct count_job *)job)->count, guard);
}

static void count_job_give_up(struct job *job, const struct guard *guard)
{
        struct count_job *c = (struct count_job *)job;

        quarantine_add(c->engine, count_give_up(c->count, guard));
}

static void remember_reference(struct group *g)
{
        const struct group_sample *s = &g->sample;

        if (s->quality != QUALITY_EXACT)
                return;
        if (g->reference_at > 0 && s->resident >= g->reference_resident &&
            s->counted_at - g->reference_at < REFERENCE_KEPT)
                return;
        g->reference_at = s->counted_at;
        g->reference_resident = s->resident;
        g->reference_mapped = s->mapped;
}

void count_take_result(const struct count *count, uint32_t group, uint32_t left_out, struct group_sample *ret)
{
        count_group_result(count, group, ret);
        if (left_out == 0)
                return;
        ret->unread += left_out;
        /* of a group that was left out whole nothing is known, not that it holds nothing */
        if (ret->quality == QUALITY_EXACT && ret->resident == 0)
                group_sample_forget(ret);
        else if (ret->quality == QUALITY_EXACT)
                ret->quality = QUALITY_BOUND_LOWER;
}

/* What was counted are members and settings of before a reload; so is what was acted on, which says nothing of those of now. */
static void forget_stale(struct group *g)
{
        if (!g->stale)
                return;
        if (g->memory.last_act_ended != g->last_act.ended) {
                g->memory.last_act_ended = g->last_act.ended;
                if (g->settings.reclaim_rate > 0)
                        g->memory.tokens -= (double)g->last_act.unmapped;
        }
        g->resident_before = g->resident_after = SIZE_UNKNOWN;
        group_sample_forget(&g->sample);
        g->sample.counted_at = g->sample.bounds_at = 0;
        g->stale = false;
}

/* An estimate that did not come about leaves what is known as it is. */
static void take_estimate(struct count_job *c, size_t i, int result)
{
        struct group *g = c->groups[i];
        struct group_sample estimate = g->sample;

        if (result >= 0)
                count_group_result(c->count, (uint32_t)i, &estimate);
        if (result >= 0 && estimate.quality == QUALITY_ESTIMATE && g->quarantined == 0)
                g->sample = estimate;
        else
                g->then_known = false; /* that is of now, and the sample of before */
        forget_stale(g);
        changes_end(g);
        surroundings_look_cgroups(c->engine, g);
}

static void take_count(struct count_job *c, size_t i, int result)
{
        struct group *g = c->groups[i];
        struct group_sample *s = &g->sample;

        if (result < 0)
                group_sample_forget(s);
        else
                count_take_result(c->count, (uint32_t)i, g->quarantined, s);
        forget_stale(g);
        changes_end(g);
        s->tried_at = c->engine->sys.ops->now(&c->engine->sys);
        /* the sum of RSS of the same moment, so that the two can be compared */
        if (s->quality == QUALITY_EXACT)
                s->rss_sum = s->upper = s->mapped;
        if (c->after_act) {
                g->resident_after = s->quality == QUALITY_EXACT ? s->resident : SIZE_UNKNOWN;
                /* the act met a shared page once in each process that maps it; the group has it once */
                if (s->quality == QUALITY_EXACT)
                        g->last_act.left_shared = MIN(g->last_act.left_shared, s->resident - s->exclusive);
        }
        remember_reference(g);
        /* what the kernel has booked at the same time */
        surroundings_look_cgroups(c->engine, g);
}

/* Everything is known: hands it to the groups and judges them by it. */
static void finish_count(struct count_job *c, int result)
{
        struct engine *e = c->engine;

        for (size_t i = 0; i < c->n_groups; i++) {
                if (c->estimates)
                        take_estimate(c, i, result);
                else
                        take_count(c, i, result);
                c->groups[i]->busy = false;
        }
        if (c->inside) {
                c->groups[0]->inside = c->frames;
                c->frames = (struct inside_frames){};
        }
        engine_judge(e, c->groups, c->n_groups);
        /* frames are true for a moment: what the judgement did not use is of no use later */
        if (c->inside)
                inside_frames_done(&c->groups[0]->inside);
        engine_publish_soon(e);
        count_free(c->count);
        free(c);
}

/* The frames that are shared inside: a job of its own, as several threads may have worked on the count. */
static int inside_job_run(struct job *job, struct guard *guard)
{
        struct count_job *c = (struct count_job *)job;

        return count_take_inside(c->count, 0, c->swap, &c->frames);
}

static void inside_job_give_up(struct job *job, const struct guard *guard)
{
        /* it blocks on nobody */
}

static void inside_job_done(struct job *job, int result)
{
        struct count_job *c = (struct count_job *)job;

        /* without them DAMON is not used on the group; the count itself is as good as it was */
        if (result < 0 && result != -ENODATA)
                log_debug("Group %s: the frames that it shares inside are not known: %s", c->groups[0]->name,
                          strerror(-result));
        finish_count(c, 0);
}

static const struct job_ops inside_job_ops = {
                .run = inside_job_run,
                .give_up = inside_job_give_up,
                .done = inside_job_done,
};

static void count_job_done(struct job *job, int result)
{
        struct count_job *c = (struct count_job *)job;
        struct engine *e = c->engine;

        if (result < 0 && result != -ECANCELED && result != e->count_error)
                log_warning("A count failed: %s; the figures of %zu groups are unknown", strerror(-result),
                            c->n_groups);
        e->count_error = result; /* said once, until one succeeds */
        if (result >= 0 && c->inside && !e->stopping) {
                c->job.ops = &inside_job_ops;
                c->job.threads = 1;
                engine_submit(e, &c->job);
        } else
                finish_count(c, result);
}

static const struct job_ops count_job_ops = {
                .run = count_job_run,
                .give_up = count_job_give_up,
                .done = count_job_done,
};

/* A job with a count that was made for these groups, which it takes over. 0 or -ENOMEM. */
static int submit_count(struct engine *e, struct count *count, struct group **groups, size_t n, unsigned flags,
                        bool after_act, bool estimates)
{
        struct count_job *c = calloc(1, sizeof(*c) + n * sizeof(c->groups[0]));

        if (!c) {
                count_free(count);
                return -ENOMEM;
        }
        c->count = count;
        c->job.ops = &count_job_ops;
        c->job.threads = worker_useful_threads();
        c->engine = e;
        c->after_act = after_act;
        c->estimates = estimates;
        c->inside = flags & COUNT_INSIDE;
        c->swap = e->host.swap_free >= MIB;
        c->n_groups = n;
        memcpy(c->groups, groups, n * sizeof(groups[0]));
        for (size_t i = 0; i < n; i++) {
                changes_begin(e, groups[i]);
                groups[i]->busy = true;
        }
        engine_submit(e, &c->job);
        return 0;
}

static int start_count(struct engine *e, struct group **groups, size_t n, unsigned flags, bool after_act)
{
        struct count *count = engine_make_count(e, groups, n, flags, e->sys.ops->now(&e->sys));

        return count ? submit_count(e, count, groups, n, flags, after_act, false) : -ENOMEM;
}

int engine_estimate(struct engine *e, struct group *g)
{
        _cleanup_(count_freep) struct count *count = engine_make_count(e, &g, 1, 0, e->sys.ops->now(&e->sys));
        uint64_t rss = g->sample.rss_sum;
        int r;

        if (!count)
                return -ENOMEM;
        r = count_set_sample(count, count_sample_rate(rss == SIZE_UNKNOWN ? 0 : rss / e->features.page_size));
        return r < 0 ? r : submit_count(e, TAKE_PTR(count), &g, 1, 0, false, true);
}

static size_t root_of(size_t *parent, size_t i)
{
        while (parent[i] != i)
                i = parent[i] = parent[parent[i]];
        return i;
}

/* Joins the groups that have a process in common, so that it is walked once for all of them. */
static void join_overlapping(struct group **groups, size_t n, size_t *parent)
{
        for (size_t k = 0; k < n; k++) {
                groups[k]->job_index = (int64_t)k;
                parent[k] = k;
        }
        for (size_t k = 0; k < n; k++)
                for (size_t i = 0; i < groups[k]->n_members; i++) {
                        const struct membership *m = groups[k]->members[i]->userdata;

                        for (size_t j = 0; m && j < m->n; j++)
                                if (m->groups[j]->job_index >= 0)
                                        parent[root_of(parent, (size_t)m->groups[j]->job_index)] = root_of(parent, k);
                }
        for (size_t k = 0; k < n; k++)
                groups[k]->job_index = -1;
}

/* Groups that share no process are counted by jobs of their own: a small one need not wait for a large one. */
int engine_count(struct engine *e, struct group **groups, size_t n)
{
        _cleanup_free_ size_t *parent = calloc(n + 1, sizeof(*parent));
        _cleanup_free_ size_t *first = calloc(n + 1, sizeof(*first)), *next = calloc(n + 1, sizeof(*next));
        _cleanup_free_ struct group **together = calloc(n + 1, sizeof(struct group *));
        int r = 0;

        if (!parent || !first || !next || !together)
                return -ENOMEM;
        join_overlapping(groups, n, parent);
        /* a list for each root, of numbers one higher than the index: 0 ends it */
        for (size_t k = 0; k < n; k++) {
                size_t root = root_of(parent, k);

                next[k] = first[root];
                first[root] = k + 1;
        }
        for (size_t root = 0; root < n && r >= 0; root++) {
                size_t n_together = 0;

                for (size_t k = first[root]; k > 0; k = next[k - 1])
                        together[n_together++] = groups[k - 1];
                if (n_together > 0)
                        r = start_count(e, together, n_together, 0, false);
        }
        return r;
}

int engine_count_one(struct engine *e, struct group *g, unsigned flags, bool after_act)
{
        return start_count(e, &g, 1, flags, after_act);
}
