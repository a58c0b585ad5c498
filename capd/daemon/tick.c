/* SPDX-License-Identifier: MIT */
/* tick.c: one look at everything that may be looked at cheaply, and the judgement over it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "capd/base/log.h"
#include "capd/enforce/damon.h"
#include "engine.h"
#include "id-set.h"

/* The host is short of memory from this use on, whatever PressureThreshold= says: that one is about caps. */
#define HOST_SHORT_BASIS_POINTS 9000U

static bool has_ended(const struct process *p)
{
        return p->vm == 0;
}

/* Sums what the last look at each member said. Each address space once. */
static void sum_members(struct engine *e, struct group *g, usec_t at)
{
        _cleanup_(id_set_done) struct id_set shared = {};
        struct group_sample *s = &g->sample;
        uint64_t largest = 0, error = 0;
        bool unread = g->incomplete;

        s->processes = s->address_spaces = 0;
        s->rss_sum = s->vm_sum = 0;
        for (size_t i = 0; i < g->n_members; i++) {
                const struct process *p = g->members[i];
                uint64_t counters, anon;

                if (has_ended(p))
                        continue;
                s->processes++;
                if (p->mm_shared && id_set_add(&shared, p->mm_id) == 0)
                        continue;
                s->address_spaces++;
                if (p->rss == SIZE_UNKNOWN) {
                        unread = true;
                        continue;
                }
                s->rss_sum += p->rss;
                s->vm_sum += p->vm;
                counters = process_rss_error(&e->features, p);
                error += counters;
                anon = p->rss > p->rss_shared ? p->rss - p->rss_shared : 0;
                largest = MAX(largest, anon > counters ? anon - counters : 0);
        }
        /* What could not be read may be anything: no upper bound then. Anonymous frames of one process are distinct unless KSM
         * merged them: no lower bound then. */
        if (s->processes == 0) {
                /* whoever comes next is another group, of which nothing has been counted */
                group_sample_forget(s);
                s->counted_at = s->tried_at = 0;
        }
        s->upper = unread ? SIZE_UNKNOWN : s->rss_sum + error;
        if (unread)
                s->rss_sum = s->vm_sum = SIZE_UNKNOWN;
        s->lower = e->features.ksm_active ? 0 : largest;
        s->bounds_at = at;
}

static void look(struct engine *e, usec_t now)
{
        int r = process_table_look(e->table);

        if (r < 0)
                log_debug("Cannot look at processes: %s, going on with what was seen before", strerror(-r));
        /* before the first command lines are known, a group that is chosen by them looks empty, which is not what it is */
        if (e->policy->facts & FACT_CMDLINE && !e->cmdlines_known)
                return;
        for (struct group *g = NULL; (g = groups_next(e, g));)
                if (!g->busy && !g->doomed)
                        sum_members(e, g, now);
}

static void expire_temporary_caps(struct engine *e, usec_t now)
{
        for (struct group *g = NULL; (g = groups_next(e, g));) {
                if (g->doomed || g->temporary_cap == 0 || g->temporary_until > now)
                        continue;
                group_set_temporary_cap(e, g, 0, 0);
                event_log(e, g, EVENT_REQUEST, LOG_NOTICE, MESSAGE_CAP_ENDED, NULL, "the temporary cap has ended");
        }
}

/* Bytes over its cap, as far as it is known. */
static uint64_t excess(const struct group *g)
{
        if (!g->settings.has_cap || g->sample.quality == QUALITY_UNKNOWN || g->sample.counted_at == 0)
                return 0;
        return g->sample.resident > g->settings.cap ? g->sample.resident - g->settings.cap : 0;
}

/*
 * The longest not counted come first, so that a short budget goes round. But while the host is short of memory, those that are
 * over their caps come before all others, the furthest over first: the scanner threads are theirs.
 */
static int by_urgency(const void *a, const void *b, void *userdata)
{
        const struct group *x = *(struct group *const *)a, *y = *(struct group *const *)b;
        const struct engine *e = userdata;

        if (e->host.used_basis_points >= HOST_SHORT_BASIS_POINTS && excess(x) != excess(y))
                return excess(x) > excess(y) ? -1 : 1;
        return (x->sample.counted_at > y->sample.counted_at) - (x->sample.counted_at < y->sample.counted_at);
}

void engine_judge(struct engine *e, struct group **groups, size_t n)
{
        _cleanup_free_ struct group **wanted = NULL;
        usec_t now = e->sys.ops->now(&e->sys), next = USEC_INFINITY;
        size_t n_wanted = 0;

        if (e->stopping || n == 0)
                return;
        wanted = calloc(n, sizeof(*wanted));
        qsort_r(groups, n, sizeof(*groups), by_urgency, e);
        for (size_t i = 0; i < n; i++) {
                struct group *g = groups[i];
                enum group_state before = g->memory.state;
                struct decide_means means = surroundings_means(e, g);
                struct decide_verdict verdict;
                struct decide_facts facts = {
                                .sample = &g->sample,
                                .last_act = g->last_act.started > 0 ? &g->last_act : NULL,
                                .resident_before = g->resident_before,
                                .resident_after = g->resident_after,
                                .forced = g->forced,
                                .can_count = e->features.pagemap_frames,
                                .means = &means,
                                .idle_for = surroundings_idle_for(g, now),
                };

                if (g->busy || g->doomed)
                        continue;
                if (excess(g) > 0 && surroundings_look(e, g) >= 0) {
                        facts.cgroups = &g->cgroups;
                        facts.pressure = &g->pressure;
                }
                changes_look(e, g, now, &facts);
                decide(&e->policy->daemon, &g->settings, &facts, &e->host, now, &e->budget, &g->memory, &verdict);
                if (verdict.state_changed && g->memory.state != before) {
                        event_state(e, g, before);
                        hooks_run(e, g);
                }
                g->next_look = verdict.next_look;
                next = MIN(next, verdict.next_look);
                if (verdict.kill)
                        engine_kill(e, g);
                if (verdict.act && verdict.choice.strategy == STRATEGY_DAMON && damon_is_active()) {
                        /* one act by DAMON at a time: this one's turn comes when its frames are counted again */
                        next = MIN(next, now + USEC_PER_SEC);
                } else if (verdict.act) {
                        g->forced = false;
                        if (engine_act(e, g, &verdict) < 0)
                                log_error("Group %s: out of memory, not acting", g->name);
                } else if (verdict.private_count) {
                        if (engine_count_one(e, g, COUNT_PRIVATE | COUNT_INSIDE, false) < 0)
                                log_error("Group %s: out of memory, not counted", g->name);
                } else if (verdict.estimate) {
                        if (engine_estimate(e, g) < 0)
                                log_error("Group %s: not estimated: out of memory or of random numbers", g->name);
                } else if (verdict.count && wanted)
                        wanted[n_wanted++] = g;
                else
                        g->forced = false;
        }
        if (n_wanted > 0 && engine_count(e, wanted, n_wanted) < 0)
                log_error("Out of memory: %zu groups are not counted", n_wanted);
        if (next != USEC_INFINITY)
                engine_schedule(e, next);
}

static void tell_systemd(struct engine *e)
{
        char text[sizeof(e->status)];
        size_t over = 0;

        for (struct group *g = NULL; (g = groups_next(e, g));)
                over += g->memory.state > STATE_OK && g->memory.state != STATE_PAUSED;
        snprintf(text, sizeof(text), "STATUS=%zu group%s, %zu over cap; %u%% of host memory in use%s%s", e->n_groups,
                 e->n_groups == 1 ? "" : "s", over, e->host.used_basis_points / 100, e->paused ? "; paused" : "",
                 e->config_error[0] ? "; the last reload failed" : "");
        if (strcmp(text, e->status) == 0)
                return;
        memcpy(e->status, text, sizeof(text));
        sd_notify(0, text);
}

void engine_tick(struct engine *e)
{
        usec_t now = e->sys.ops->now(&e->sys);
        _cleanup_free_ struct group **all = NULL;
        size_t n = 0;
        int r;

        e->tick++;
        e->next_tick = USEC_INFINITY;
        r = host_memory_read(&e->sys, &e->host);
        if (r < 0)
                log_warning("Cannot read /proc/meminfo: %s, going on with what it said before", strerror(-r));
        e->features.ksm_active = features_ksm_active(&e->sys);
        surroundings_look_host(e);
        membership_refresh(e);
        quarantine_add_stuck(e, now);
        if (!e->cmdline_job && engine_read_cmdlines(e) < 0)
                log_error("Out of memory: Cmdline= selectors are not up to date");
        if (user_names_ask(e) < 0)
                log_error("Out of memory: groups of ForEach=user are not up to date");
        look(e, now);
        expire_temporary_caps(e, now);
        move_look(e);
        /* the default; a group in a hurry moves it up */
        engine_schedule(e, now + e->policy->daemon.sample_interval);
        all = calloc(e->n_groups + 1, sizeof(*all));
        if (!all) {
                log_error("Out of memory: nothing is judged at this look");
                return;
        }
        for (struct group *g = NULL; (g = groups_next(e, g));)
                all[n++] = g;
        engine_judge(e, all, n);
        event_flush(e, now);
        tell_systemd(e);
        engine_publish_soon(e);
}
