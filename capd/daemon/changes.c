/* SPDX-License-Identifier: MIT */
/*
 * changes.c: what can have happened to `resident` since it was counted.
 *
 * A group whose cheap bounds lie on both sides of its cap need not be counted again while what its members mapped since cannot have
 * carried it over (decide_came()). When a count begins, each member's RSS and faults are remembered; later they are compared.
 * Both are of one read of /proc/PID/stat, which takes no mmap lock: some 10 us a process, against a count of its pages; an errand, as it may
 * wait for a process all the same (guard.h). Groups that are under their caps by the sum of their RSS never come to that.
 */
#include <errno.h>

#include "capd/measure/errand.h"
#include "engine.h"

static struct member_then *then_of(const struct process *p, const struct group *g)
{
        const struct membership *m = p->userdata;

        for (size_t i = 0; m && i < m->n; i++)
                if (m->groups[i] == g)
                        return &m->then[i];
        return NULL;
}

struct beginning {
        const struct sys *sys;
        const struct group *group;
        uint64_t then_rss; /* of all that could be read */
};

static int begin_errand(void *arg, struct guard *guard)
{
        struct beginning *q = arg;
        const struct group *g = q->group;

        q->then_rss = 0;
        for (size_t i = 0; i < g->n_members; i++) {
                struct member_then *then = then_of(g->members[i], g);
                uint64_t faults = 0, rss = SIZE_UNKNOWN;

                if (!then)
                        continue;
                if (process_read_faults(q->sys, guard, g->members[i], &faults, &rss) == -ECANCELED)
                        return -ECANCELED;
                *then = (struct member_then){.faults = faults, .rss = rss};
                if (rss != SIZE_UNKNOWN)
                        q->then_rss += rss;
        }
        return 0;
}

void changes_begin(struct engine *e, struct group *g)
{
        struct beginning q = {.sys = &e->sys, .group = g};

        g->then_known = g->settings.has_cap && g->sample.upper > g->settings.cap;
        if (g->then_known && errand_run(&e->sys, NULL, begin_errand, &q) < 0)
                g->then_known = false;
        g->then_rss = g->then_known ? q.then_rss : 0;
}

void changes_end(struct group *g)
{
        g->then_known = g->then_known && (g->sample.quality == QUALITY_EXACT || g->sample.quality == QUALITY_ESTIMATE);
}

/* 1 known; 0 it cannot be read; -ECANCELED given up. */
static int look_at(struct engine *e, struct guard *guard, const struct group *g, const struct process *p,
                   struct decide_member *ret)
{
        const struct member_then *then = then_of(p, g);
        uint64_t page_size = e->features.page_size, faults = 0, rss;
        int r;

        *ret = (struct decide_member){.known = then && then->rss != SIZE_UNKNOWN,
                                      .rss = p->rss,
                                      .rss_error = process_rss_error(&e->features, p),
                                      /* a page of entries of eight bytes */
                                      .fault_bytes = page_size * (page_size / sizeof(uint64_t))};
        if (p->rss == SIZE_UNKNOWN)
                return 0;
        if (!ret->known)
                return 1;
        r = process_read_faults(&e->sys, guard, p, &faults, &rss);
        if (r == -ECANCELED)
                return r;
        if (r < 0 || faults < then->faults)
                return 0;
        ret->rss_then = then->rss;
        ret->faults = faults - then->faults;
        return 1;
}

struct look {
        struct engine *engine;
        const struct group *group;
        uint64_t moved;
};

/* 1 it is known what moved; 0 it is not; or -ECANCELED. */
static int look_errand(void *arg, struct guard *guard)
{
        struct look *l = arg;
        struct engine *e = l->engine;
        const struct group *g = l->group;
        const struct group_sample *s = &g->sample;
        bool under = s->resident <= g->settings.cap;
        uint64_t enough = under ? g->settings.cap - s->resident : s->resident - g->settings.cap;
        uint64_t left = g->then_rss, moved = 0;

        for (size_t i = 0; i < g->n_members && moved <= enough; i++) {
                const struct process *p = g->members[i];
                struct decide_member m;
                int r;

                if (p->vm == 0)
                        continue; /* ended */
                r = look_at(e, guard, g, p, &m);
                if (r <= 0)
                        return r;
                moved += under ? decide_came(&m) : decide_went(&m);
                left -= m.known ? m.rss_then : 0;
        }
        /* who is a member no more has taken with it what it had */
        l->moved = under || moved > enough ? moved : moved + left;
        return 1;
}

void changes_look(struct engine *e, const struct group *g, usec_t now, struct decide_facts *facts)
{
        struct look l = {.engine = e, .group = g};

        if (!g->then_known || g->incomplete ||
            !decide_asks_what_moved(&e->policy->daemon, &g->settings, &g->memory, &g->sample, now))
                return;
        facts->moved_known = errand_run(&e->sys, NULL, look_errand, &l) > 0;
        facts->moved = l.moved;
}
