/* SPDX-License-Identifier: MIT */
/* jobs.c: what the engine gives to the scanner threads, and what it makes of the results. */
#include <errno.h>
#include <string.h>

#include "capd/base/log.h"
#include "engine.h"

/* How long the count with the fewest resident bytes is remembered, to tell later that pages stopped being shared. */
#define REFERENCE_KEPT (10 * 60 * USEC_PER_SEC)

/* -- counting -- */

struct count_job {
        struct job job;
        struct engine *engine;
        struct count *count;
        bool after_act; /* completes the record of the groups' last act */
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

static void count_job_give_up(struct job *job)
{
        struct count_job *c = (struct count_job *)job;

        quarantine_add(c->engine, count_give_up_current(c->count));
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

static void take_count(struct count_job *c, size_t i, int result)
{
        struct group *g = c->groups[i];
        struct group_sample *s = &g->sample;

        if (result < 0)
                group_sample_forget(s);
        else
                count_take_result(c->count, (uint32_t)i, g->quarantined, s);
        if (g->stale) {
                /* what was counted are members and settings of before a reload */
                group_sample_forget(s);
                s->counted_at = s->bounds_at = 0;
                g->stale = false;
        }
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
}

static void count_job_done(struct job *job, int result)
{
        struct count_job *c = (struct count_job *)job;
        struct engine *e = c->engine;

        if (result < 0 && result != -ECANCELED && result != e->count_error)
                log_warning("A count failed: %s; the figures of %zu groups are unknown", strerror(-result),
                            c->n_groups);
        e->count_error = result; /* said once, until one succeeds */
        for (size_t i = 0; i < c->n_groups; i++) {
                take_count(c, i, result);
                c->groups[i]->busy = false;
        }
        engine_judge(e, c->groups, c->n_groups);
        engine_publish_soon(e);
        count_free(c->count);
        free(c);
}

static const struct job_ops count_job_ops = {
                .run = count_job_run,
                .give_up = count_job_give_up,
                .done = count_job_done,
};

static int start_count(struct engine *e, struct group **groups, size_t n, bool after_act)
{
        struct count_job *c = calloc(1, sizeof(*c) + n * sizeof(c->groups[0]));

        if (!c)
                return -ENOMEM;
        c->count = engine_make_count(e, groups, n, 0, e->sys.ops->now(&e->sys));
        if (!c->count) {
                free(c);
                return -ENOMEM;
        }
        c->job.ops = &count_job_ops;
        c->engine = e;
        c->after_act = after_act;
        c->n_groups = n;
        memcpy(c->groups, groups, n * sizeof(groups[0]));
        for (size_t i = 0; i < n; i++)
                groups[i]->busy = true;
        engine_submit(e, &c->job);
        return 0;
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
                        r = start_count(e, together, n_together, false);
        }
        return r;
}

/* -- paging out -- */

struct act_job {
        struct job job;
        struct engine *engine;
        struct group *group;
        struct pageout *pageout;
};

static int act_job_run(struct job *job, struct guard *guard)
{
        return pageout_run(((struct act_job *)job)->pageout, guard);
}

static void act_job_give_up(struct job *job)
{
        struct act_job *a = (struct act_job *)job;

        quarantine_add(a->engine, pageout_give_up_current(a->pageout));
}

static void record_act(struct group *g, const struct act_result *r)
{
        g->last_act = *r;
        g->acts++;
        g->attempted_total += r->attempted;
        g->unmapped_total += r->unmapped;
        if (r->freed != SIZE_UNKNOWN)
                g->freed_total += r->freed;
        g->refaulted_total += r->refaulted;
}

static void act_job_done(struct job *job, int result)
{
        struct act_job *a = (struct act_job *)job;
        struct engine *e = a->engine;
        struct group *g = a->group;
        struct act_result r;

        pageout_result(a->pageout, &r);
        if (result < 0 && result != -ECANCELED && r.error == 0)
                r.error = result;
        record_act(g, &r);
        pageout_get_cursor(a->pageout, &g->cursor);
        g->trace = pageout_take_trace(a->pageout);
        pageout_free(a->pageout);
        free(a);
        log_debug("Group %s: attempted %llu, unmapped %llu, freed %lld, refaulted %llu bytes in %llu us", g->name,
                  (unsigned long long)r.attempted, (unsigned long long)r.unmapped, (long long)r.freed,
                  (unsigned long long)r.refaulted, (unsigned long long)(r.ended - r.started));
        g->busy = false;
        /* What the act did to the group is what a count says, not what the act says. */
        if (!e->stopping && !g->doomed && start_count(e, &g, 1, true) < 0)
                log_error("Group %s: out of memory, not counted after the act", g->name);
}

static const struct job_ops act_job_ops = {
                .run = act_job_run,
                .give_up = act_job_give_up,
                .done = act_job_done,
};

/*
 * Makes sure who the members are. One may have executed another program or changed its user since its attributes were read, up to
 * ScanInterval= ago, and be protected now or be none of the group's business: so they are read again before they are acted on.
 */
static int reread_members(struct engine *e, const struct group *g, usec_t now)
{
        bool changed = false;

        for (size_t i = 0; i < g->n_members; i++) {
                struct process *p = g->members[i];
                int r = process_table_reread(e->table, p, now);

                if (r == -ESRCH)
                        p->vm = 0; /* ended */
                else if (r < 0)
                        return r;
                if (p->changed) {
                        membership_match(e, p);
                        changed = true;
                }
        }
        if (changed)
                membership_collect(e, now);
        return 0;
}

/* One target for each member that may be acted on. */
static struct pageout_target *make_targets(struct engine *e, const struct group *g, size_t *ret_n)
{
        usec_t now = e->sys.ops->now(&e->sys);
        struct pageout_target *targets;
        size_t n = 0;

        if (reread_members(e, g, now) < 0)
                return NULL;
        targets = calloc(g->n_members + 1, sizeof(*targets));

        for (size_t i = 0; targets && i < g->n_members; i++) {
                const struct process *p = g->members[i];
                const struct membership *m = p->userdata;

                /* one whose command line is not known yet may be another program than the one that was matched */
                if (p->vm == 0 || p->needs_cmdline || quarantine_holds(e, p->facts.pid, p->facts.start_time, now))
                        continue;
                targets[n++] = (struct pageout_target){
                                .pid = p->facts.pid,
                                .start_time = p->facts.start_time,
                                .mm_id = p->mm_id,
                                .resident = p->rss == SIZE_UNKNOWN ? 0 : p->rss,
                                .idle_for = p->idle_since > 0 && now > p->idle_since ? now - p->idle_since : 0,
                                .protected_process = m->protected_process,
                };
        }
        *ret_n = n;
        return targets;
}

int engine_act(struct engine *e, struct group *g, const struct decide_verdict *verdict)
{
        _cleanup_free_ struct pageout_target *targets = NULL;
        struct pageout_request request = {
                        .goal = verdict->goal,
                        .process_floor = e->policy->sections[g->section].process_floor,
                        .swap = verdict->swap,
                        .max_stall = e->policy->daemon.max_stall,
                        .max_time = LIMIT_ACT_USEC,
                        .cursor = g->cursor,
        };
        struct act_job *a = calloc(1, sizeof(*a));
        int r;

        targets = make_targets(e, g, &request.n_targets);
        if (!a || !targets) {
                free(a);
                return -ENOMEM;
        }
        request.targets = targets;
        request.trace = g->trace;
        r = pageout_new(&e->sys, &e->features, &request, &a->pageout);
        if (r < 0) {
                free(a);
                return r;
        }
        g->trace = NULL; /* the act's now */
        a->job.ops = &act_job_ops;
        a->engine = e;
        a->group = g;
        g->resident_before = g->sample.quality == QUALITY_EXACT ? g->sample.resident : SIZE_UNKNOWN;
        g->resident_after = SIZE_UNKNOWN;
        g->busy = true;
        engine_submit(e, &a->job);
        return 0;
}

/* -- command lines -- */

struct cmdline {
        pid_t pid;
        uint64_t start_time;
        char *text; /* NULL: could not be read */
        bool again; /* it may be possible another time */
};

struct cmdline_job {
        struct job job;
        struct engine *engine;
        size_t n, next;
        struct cmdline items[];
};

static int cmdline_job_run(struct job *job, struct guard *guard)
{
        struct cmdline_job *c = (struct cmdline_job *)job;
        const struct sys *sys = &c->engine->sys;

        while (c->next < c->n) {
                struct cmdline *item = &c->items[c->next];
                char *text = malloc(LIMIT_CMDLINE_BYTES); /* the thread's own until the call came back */
                ssize_t n = text ? process_read_cmdline(sys, guard, item->pid, item->start_time, text,
                                                        LIMIT_CMDLINE_BYTES)
                                 : -ENOMEM;

                if (n == -ECANCELED) {
                        free(text);
                        return -ECANCELED;
                }
                if (n >= 0)
                        item->text = strndup(text, (size_t)n);
                item->again = n == -ENOMEM || n == -EMFILE || n == -ENFILE || (n >= 0 && !item->text);
                free(text);
                c->next++;
        }
        return 0;
}

static void cmdline_job_give_up(struct job *job)
{
        struct cmdline_job *c = (struct cmdline_job *)job;
        struct cmdline *item = &c->items[c->next++];

        item->again = true; /* when its quarantine is over */
        quarantine_add(c->engine, item->pid);
}

static void cmdline_job_done(struct job *job, int result)
{
        struct cmdline_job *c = (struct cmdline_job *)job;
        struct engine *e = c->engine;

        for (size_t i = 0; i < c->n; i++) {
                /* one that was not reached is asked for again by the next job */
                if (i < c->next && !c->items[i].again && !e->stopping)
                        process_table_set_cmdline(e->table, c->items[i].pid, c->items[i].start_time, c->items[i].text);
                free(c->items[i].text);
        }
        e->cmdline_job = false;
        e->cmdlines_known = true;
        free(c);
        if (result >= 0)
                engine_schedule_soon(e);
}

static const struct job_ops cmdline_job_ops = {
                .run = cmdline_job_run,
                .give_up = cmdline_job_give_up,
                .done = cmdline_job_done,
};

static bool wants_cmdline(struct engine *e, const struct process *p, usec_t now)
{
        return p->needs_cmdline && !quarantine_holds(e, p->facts.pid, p->facts.start_time, now);
}

int engine_read_cmdlines(struct engine *e)
{
        usec_t now = e->sys.ops->now(&e->sys);
        struct cmdline_job *c;
        size_t n = 0;

        if (!(e->policy->facts & FACT_CMDLINE))
                return 0;
        for (struct process *p = NULL; (p = process_table_next(e->table, p));)
                n += wants_cmdline(e, p, now);
        if (n == 0) {
                e->cmdlines_known = true;
                return 0;
        }
        c = calloc(1, sizeof(*c) + n * sizeof(c->items[0]));
        if (!c)
                return -ENOMEM;
        for (struct process *p = NULL; (p = process_table_next(e->table, p));)
                if (c->n < n && wants_cmdline(e, p, now))
                        c->items[c->n++] = (struct cmdline){.pid = p->facts.pid, .start_time = p->facts.start_time};
        c->job.ops = &cmdline_job_ops;
        c->engine = e;
        e->cmdline_job = true;
        engine_submit(e, &c->job);
        return 0;
}
