/* SPDX-License-Identifier: MIT */
/*
 * surroundings.c: what is known of a group beside its pages: the cgroups that it has to itself, what the kernel has booked for
 * them, and the counters that tell whether it works against its cap.
 *
 * It is looked at while a group is over its cap, after each count, and by who asks to have it explained: it costs some files a cgroup.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "capd/base/log.h"
#include "capd/enforce/damon.h"
#include "engine.h"

static const char in_use_by_protected[] =
                "Protect= covers one of its processes, whose pages DAMON could not tell from the others'";

void surroundings_open(struct engine *e)
{
        const struct features *f = &e->features;
        int r = cgroup2_open(&e->sys, &e->cgroup2);

        if (r < 0)
                e->cgroup2 = CGROUP2_CLOSED;
        e->means = (struct decide_means){
                        .no_madvise = f->process_madvise ? NULL : f->why_process_madvise,
                        .no_reclaim = e->cgroup2.fd < 0   ? f->why_cgroup2
                                      : f->memory_reclaim ? NULL
                                                          : f->why_memory_reclaim,
                        .reclaim_anon_only = f->reclaim_anon_only,
                        .reclaim_swappiness = f->reclaim_swappiness,
                        .private_counts = f->kpagecount && f->kpageflags,
        };
        surroundings_look_host(e);
}

unsigned surroundings_facts(const struct engine *e, const struct policy *policy)
{
        return policy->facts | (e->cgroup2.fd >= 0 ? FACT_CGROUP : 0);
}

void surroundings_look_host(struct engine *e)
{
        char why[sizeof(e->why_no_damon)];
        bool usable;

        host_pressure_read(&e->sys, &e->host_pressure);
        if (damon_is_active())
                return;
        usable = features_damon(&e->sys, why);
        /* an act of ours that began meanwhile is not "in use by somebody else" */
        if (damon_is_active())
                return;
        memcpy(e->why_no_damon, why, sizeof(why));
        e->means.no_damon = usable ? NULL : e->why_no_damon;
}

struct decide_means surroundings_means(const struct engine *e, const struct group *g)
{
        struct decide_means means = e->means;

        for (size_t i = 0; !means.no_damon && i < g->n_members; i++) {
                const struct membership *m = g->members[i]->userdata;

                if (m && m->protected_process)
                        means.no_damon = in_use_by_protected;
        }
        return means;
}

struct question {
        const struct engine *engine;
        const struct group *group;
};

static bool is_known_member(const struct question *q, const struct process *p)
{
        const struct membership *m = p ? p->userdata : NULL;

        if (!m || m->protected_process)
                return false;
        for (size_t i = 0; i < m->n; i++)
                if (m->groups[i] == q->group)
                        return true;
        return false;
}

/* A process that has come since the last look at all of them: a child of a member, with its user, is taken for one. */
static bool is_young_member(const struct question *q, pid_t pid)
{
        const struct process *parent;
        pid_t ppid;
        uid_t uid;
        int r = process_read_parent(&q->engine->sys, pid, &ppid, &uid);

        if (r < 0)
                return r != -EBADMSG; /* it is gone already */
        parent = process_table_find(q->engine->table, ppid);
        return is_known_member(q, parent) && parent->facts.uid == uid;
}

/* One that is not in the table: it has come since the last look, or is in a cgroup that no group wants. */
static bool is_unknown_member(const struct question *q, pid_t pid)
{
        const struct policy *policy = q->engine->policy;
        _cleanup_free_ char *cgroup = NULL;
        struct match match;

        if (process_read_cgroup(&q->engine->sys, pid, &cgroup) >= 0 && cgroup) {
                if (process_table_is_narrowed(q->engine->table) && !match_wants_cgroup(policy, cgroup))
                        return false;
                if (match_in_cgroup(policy, q->group->section, cgroup, &match) &&
                    strcmp(match.name, q->group->name) == 0)
                        return true;
        }
        return is_young_member(q, pid);
}

/* Whoever is not known, or is covered by Protect=, makes a cgroup one that the group shares with others. */
static bool is_member(pid_t pid, void *userdata)
{
        const struct question *q = userdata;
        const struct process *p = process_table_find(q->engine->table, pid);

        if (p)
                return is_known_member(q, p);
        if (pid <= 0)
                return false; /* of no PID namespace that capd sees */
        return is_unknown_member(q, pid);
}

bool surroundings_is_member(const struct engine *e, const struct group *g, pid_t pid)
{
        struct question q = {.engine = e, .group = g};

        return is_member(pid, &q);
}

static int find_owned(struct engine *e, struct group *g)
{
        _cleanup_free_ struct cgroup_member *members = calloc(g->n_members + 1, sizeof(*members));
        struct question q = {.engine = e, .group = g};
        size_t n = 0;

        if (!members)
                return -ENOMEM;
        for (size_t i = 0; i < g->n_members; i++)
                if (g->members[i]->vm > 0)
                        members[n++] = (struct cgroup_member){.pid = g->members[i]->facts.pid,
                                                              .cgroup = g->members[i]->facts.cgroup};
        owned_cgroups_done(&g->owned);
        g->owned = (struct owned_cgroups){};
        return cgroups_find_owned(&e->cgroup2, members, n, is_member, &q, &g->owned);
}

void surroundings_look_cgroups(struct engine *e, struct group *g)
{
        int r;

        g->cgroups = (struct group_cgroups){};
        if (e->cgroup2.fd < 0)
                return;
        r = find_owned(e, g);
        if (r >= 0 && g->owned.n > 0)
                r = cgroups_read(&e->cgroup2, &g->owned, e->sys.ops->now(&e->sys), &g->cgroups);
        if (r < 0)
                log_debug("Group %s: cannot read its cgroups: %s, ignoring", g->name, strerror(-r));
}

int surroundings_look(struct engine *e, struct group *g)
{
        surroundings_look_cgroups(e, g);
        return pressure_read(e->cgroup2.fd >= 0 ? &e->cgroup2 : NULL, &g->owned, g->members, g->n_members,
                             &e->host_pressure, e->sys.ops->now(&e->sys), &g->pressure_tracker, &g->pressure);
}

usec_t surroundings_idle_for(const struct group *g, usec_t now)
{
        usec_t idle = USEC_INFINITY;

        for (size_t i = 0; i < g->n_members; i++) {
                const struct process *p = g->members[i];

                if (p->vm > 0)
                        idle = MIN(idle, p->idle_since > 0 && now > p->idle_since ? now - p->idle_since : 0);
        }
        return idle == USEC_INFINITY ? 0 : idle;
}

void surroundings_free(struct group *g)
{
        owned_cgroups_done(&g->owned);
        pressure_tracker_done(&g->pressure_tracker);
}
