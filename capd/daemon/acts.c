/* SPDX-License-Identifier: MIT */
/* acts.c: bringing a group down on the scanner threads. */
#include <errno.h>
#include <string.h>

#include "capd/base/log.h"
#include "capd/base/size.h"
#include "capd/enforce/damon.h"
#include "capd/enforce/reclaim.h"
#include "engine.h"

struct act_job {
        struct job job;
        struct engine *engine;
        struct group *group;
        enum strategy strategy;
        union {
                struct pageout *pageout;
                struct damon *damon;
                struct reclaim *reclaim;
        };
};

static int act_job_run(struct job *job, struct guard *guard)
{
        struct act_job *a = (struct act_job *)job;

        switch (a->strategy) {
        case STRATEGY_MADVISE:
                return pageout_run(a->pageout, guard);
        case STRATEGY_DAMON:
                return damon_run(a->damon, guard);
        case STRATEGY_RECLAIM:
                return reclaim_run(a->reclaim, guard);
        default:
                return -EINVAL;
        }
}

static void act_job_give_up(struct job *job, const struct guard *guard)
{
        struct act_job *a = (struct act_job *)job;

        if (a->strategy == STRATEGY_MADVISE)
                quarantine_add(a->engine, pageout_give_up_current(a->pageout));
        else if (a->strategy == STRATEGY_DAMON)
                damon_give_up(a->damon);
        else if (a->strategy == STRATEGY_RECLAIM)
                reclaim_give_up_current(a->reclaim);
}

static void record_act(struct group *g, const struct act_result *r)
{
        g->last_act = *r;
        g->acts++;
        g->attempted_total += r->attempted;
        g->unmapped_total += r->unmapped;
        g->cache_taken_total += r->cache_taken;
        if (r->freed != SIZE_UNKNOWN)
                g->freed_total += r->freed;
        g->refaulted_total += r->refaulted;
}

/* Takes what the next act on the group goes on from. */
static void finish_act(struct act_job *a, struct act_result *ret)
{
        struct group *g = a->group;
        struct reclaim_report report;
        const char *problem;

        switch (a->strategy) {
        case STRATEGY_MADVISE:
                pageout_result(a->pageout, ret);
                pageout_get_cursor(a->pageout, &g->cursor);
                g->trace = pageout_take_trace(a->pageout);
                pageout_free(a->pageout);
                break;
        case STRATEGY_DAMON:
                damon_result(a->damon, ret);
                g->damon_cursor = damon_cursor(a->damon);
                problem = damon_problem(a->damon);
                if (problem[0])
                        event_log(a->engine, g, EVENT_ACT, LOG_WARNING, MESSAGE_ACT_TROUBLE, NULL, "%s", problem);
                damon_free(a->damon);
                break;
        default:
                reclaim_result(a->reclaim, ret);
                reclaim_get_report(a->reclaim, &report);
                g->reclaim_step = report.step;
                log_debug("Group %s: memory.reclaim: %s; %llu of anonymous memory, %llu of mapped files and %llu of "
                          "page cache "
                          "in %u writes",
                          g->name, reclaim_end_to_string(report.end), (unsigned long long)report.anon_taken,
                          (unsigned long long)report.file_taken, (unsigned long long)report.cache_taken, report.writes);
                reclaim_free(a->reclaim);
        }
}

static void say_act(struct engine *e, struct group *g, const char *strategy, const struct act_result *r)
{
        char attempted[SIZE_TEXT_MAX], unmapped[SIZE_TEXT_MAX], freed[SIZE_TEXT_MAX];
        usec_t took = r->ended > r->started ? r->ended - r->started : 0;
        char text[4 * SIZE_TEXT_MAX + 64] = "found nothing to page out";

        if (r->attempted > 0)
                snprintf(text, sizeof(text), "%s of %s left it, and the host has %s more",
                         format_size(unmapped, r->unmapped), format_size(attempted, r->attempted),
                         r->freed == SIZE_UNKNOWN ? "an unknown amount" : format_size(freed, r->freed));
        event_log(e, g, EVENT_ACT, LOG_INFO, MESSAGE_ACT,
                  LOG_FIELDS({"CAPD_STRATEGY", strategy}, {"CAPD_ATTEMPTED_BYTES", .number = r->attempted},
                             {"CAPD_UNMAPPED_BYTES", .number = r->unmapped}, {"CAPD_FREED_BYTES", .number = r->freed},
                             {"CAPD_REFAULTED_BYTES", .number = r->refaulted},
                             {"CAPD_CACHE_TAKEN_BYTES", .number = r->cache_taken},
                             {"CAPD_DURATION_USEC", .number = took},
                             {"CAPD_ERRNO", .number = r->error < 0 ? (uint64_t)-r->error : SIZE_UNKNOWN}),
                  "%s: %s", strategy, text);
}

static void act_job_done(struct job *job, int result)
{
        struct act_job *a = (struct act_job *)job;
        struct engine *e = a->engine;
        struct group *g = a->group;
        struct act_result r = {};

        finish_act(a, &r);
        if (result < 0 && result != -ECANCELED && r.error == 0)
                r.error = result;
        record_act(g, &r);
        say_act(e, g, strategy_to_string(a->strategy), &r);
        free(a);
        g->busy = false;
        /* What the act did to the group is what a count says, not what the act says. */
        if (!e->stopping && !g->doomed && engine_count_one(e, g, 0, true) < 0)
                log_error("Group %s: out of memory, not counted after the act", g->name);
}

static const struct job_ops act_job_ops = {
                .run = act_job_run,
                .give_up = act_job_give_up,
                .done = act_job_done,
};

int engine_reread_members(struct engine *e, const struct group *g, usec_t now)
{
        bool changed = false;
        int r = process_table_reread(e->table, g->members, g->n_members, now);

        if (r < 0)
                return r;
        for (size_t i = 0; i < g->n_members; i++) {
                struct process *p = g->members[i];

                if (p->gone)
                        p->vm = 0;
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

        if (engine_reread_members(e, g, now) < 0)
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

static int new_pageout(struct engine *e, struct group *g, const struct decide_verdict *verdict, struct pageout **ret)
{
        _cleanup_free_ struct pageout_target *targets = NULL;
        struct pageout_request request = {
                        .goal = verdict->goal,
                        .process_floor = e->policy->sections[g->section].process_floor,
                        .swap = verdict->swap,
                        .max_stall = e->policy->daemon.max_stall,
                        .max_time = LIMIT_ACT_USEC,
                        .cursor = g->cursor,
                        .trace = g->trace,
        };
        int r;

        targets = make_targets(e, g, &request.n_targets);
        if (!targets)
                return -ENOMEM;
        request.targets = targets;
        r = pageout_new(&e->sys, &e->features, &request, ret);
        if (r >= 0)
                g->trace = NULL; /* the act's now */
        return r;
}

static int new_damon(struct engine *e, struct group *g, const struct decide_verdict *verdict, struct damon **ret)
{
        struct damon_request request = {
                        .goal = verdict->goal,
                        .any = true,
                        .max_time = LIMIT_DAMON_ACT_USEC,
                        .cursor = g->damon_cursor,
                        .runtime_fd = e->runtime_fd,
        };

        return damon_new(&e->sys, &e->features, &request, &g->inside, ret);
}

/* Whoever is there now and belongs to the group: the act itself looks again at who is in its cgroups. */
static int new_reclaim(struct engine *e, struct group *g, const struct decide_verdict *verdict, struct reclaim **ret)
{
        _cleanup_free_ struct reclaim_member *members = calloc(g->n_members + 1, sizeof(*members));
        struct reclaim_request request = {
                        .owned = &g->owned,
                        .members = members,
                        .defined_by_cgroup = match_by_cgroup(e->policy, &e->policy->sections[g->section]),
                        .goal = verdict->goal,
                        .anon_only = verdict->choice.anon_only,
                        .swap = verdict->swap,
                        .max_cache = SIZE_UNKNOWN,
                        .max_time = LIMIT_ACT_USEC,
                        .step = g->reclaim_step,
        };

        if (!members)
                return -ENOMEM;
        for (size_t i = 0; i < g->n_members; i++) {
                const struct process *p = g->members[i];
                const struct membership *m = p->userdata;

                if (p->vm > 0 && !m->protected_process)
                        members[request.n_members++] =
                                        (struct reclaim_member){.pid = p->facts.pid, .start_time = p->facts.start_time};
        }
        return reclaim_new(&e->sys, &request, ret);
}

int engine_act(struct engine *e, struct group *g, const struct decide_verdict *verdict)
{
        struct act_job *a = calloc(1, sizeof(*a));
        int r;

        if (!a)
                return -ENOMEM;
        a->strategy = verdict->choice.strategy;
        if (a->strategy == STRATEGY_DAMON)
                r = new_damon(e, g, verdict, &a->damon);
        else if (a->strategy == STRATEGY_RECLAIM)
                r = new_reclaim(e, g, verdict, &a->reclaim);
        else
                r = new_pageout(e, g, verdict, &a->pageout);
        if (r < 0) {
                free(a);
                return r;
        }
        a->job.ops = &act_job_ops;
        a->engine = e;
        a->group = g;
        g->resident_before = g->sample.quality == QUALITY_EXACT ? g->sample.resident : SIZE_UNKNOWN;
        g->resident_after = SIZE_UNKNOWN;
        g->busy = true;
        engine_submit(e, &a->job);
        return 0;
}
