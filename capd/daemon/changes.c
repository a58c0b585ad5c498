/* SPDX-License-Identifier: MIT */
/*
 * changes.c: what can have happened to `resident` since it was counted.
 *
 * A group whose cheap bounds lie on both sides of its cap need not be counted again while what its members mapped since cannot have
 * carried it over (decide_came()). When a count begins, each member's RSS and faults are remembered; later they are compared.
 * Both are of one read of /proc/PID/stat, which takes no mmap lock: some 10 us a process, against a count of its pages. Groups that are
 * under their caps by the sum of their RSS never come to that.
 */
#include "engine.h"

static struct member_then *then_of(const struct process *p, const struct group *g)
{
        const struct membership *m = p->userdata;

        for (size_t i = 0; m && i < m->n; i++)
                if (m->groups[i] == g)
                        return &m->then[i];
        return NULL;
}

void changes_begin(struct engine *e, struct group *g)
{
        g->then_known = g->settings.has_cap && g->sample.upper > g->settings.cap;
        g->then_rss = 0;
        for (size_t i = 0; g->then_known && i < g->n_members; i++) {
                struct member_then *then = then_of(g->members[i], g);

                if (!then)
                        continue;
                if (process_read_faults(&e->sys, g->members[i], &then->faults, &then->rss) < 0)
                        then->rss = SIZE_UNKNOWN;
                else
                        g->then_rss += then->rss;
        }
}

void changes_end(struct group *g)
{
        g->then_known = g->then_known && (g->sample.quality == QUALITY_EXACT || g->sample.quality == QUALITY_ESTIMATE);
}

static bool look_at(struct engine *e, const struct group *g, const struct process *p, struct decide_member *ret)
{
        const struct member_then *then = then_of(p, g);
        uint64_t page_size = e->features.page_size, faults = 0, rss;

        *ret = (struct decide_member){.known = then && then->rss != SIZE_UNKNOWN,
                                      .rss = p->rss,
                                      .rss_error = process_rss_error(&e->features, p),
                                      /* a page of entries of eight bytes */
                                      .fault_bytes = page_size * (page_size / sizeof(uint64_t))};
        if (p->rss == SIZE_UNKNOWN)
                return false;
        if (!ret->known)
                return true;
        if (process_read_faults(&e->sys, p, &faults, &rss) < 0 || faults < then->faults)
                return false;
        ret->rss_then = then->rss;
        ret->faults = faults - then->faults;
        return true;
}

void changes_look(struct engine *e, const struct group *g, usec_t now, struct decide_facts *facts)
{
        const struct group_sample *s = &g->sample;
        bool under = s->resident <= g->settings.cap;
        uint64_t enough = under ? g->settings.cap - s->resident : s->resident - g->settings.cap;
        uint64_t left = g->then_rss, moved = 0;

        if (!g->then_known || g->incomplete ||
            !decide_asks_what_moved(&e->policy->daemon, &g->settings, &g->memory, s, now))
                return;
        for (size_t i = 0; i < g->n_members && moved <= enough; i++) {
                const struct process *p = g->members[i];
                struct decide_member m;

                if (p->vm == 0)
                        continue; /* ended */
                if (!look_at(e, g, p, &m))
                        return;
                moved += under ? decide_came(&m) : decide_went(&m);
                left -= m.known ? m.rss_then : 0;
        }
        /* who is a member no more has taken with it what it had */
        facts->moved = under || moved > enough ? moved : moved + left;
        facts->moved_known = true;
}
