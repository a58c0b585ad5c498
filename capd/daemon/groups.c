/* SPDX-License-Identifier: MIT */
/* groups.c: the groups there are now. They come with their section or their first member and go with their last. */
#include <errno.h>
#include <string.h>

#include "capd/base/log.h"
#include "capd/base/text.h"
#include "engine.h"

/* A group made by ForEach= is remembered for so long without a member: a user who logs in again finds its history. */
#define EMPTY_KEPT (60 * USEC_PER_SEC)

static struct group **bucket(struct engine *e, const char *name)
{
        uint32_t h = 2166136261U; /* FNV-1a */

        for (; *name; name++)
                h = (h ^ (uint8_t)*name) * 16777619U;
        return &e->buckets[h % GROUP_BUCKETS];
}

struct group *group_find(struct engine *e, const char *name)
{
        for (struct group *g = *bucket(e, name); g; g = g->next)
                if (!g->doomed && strcmp(g->name, name) == 0)
                        return g;
        return NULL;
}

void group_update_settings(struct engine *e, struct group *g)
{
        const struct policy_section *s = &e->policy->sections[g->section];

        decide_settings_from(e->policy, s, e->host.total, &g->settings);
        g->settings.paused = e->paused || g->paused;
        g->settings.dry_run = e->dry_run;
        if (g->temporary_cap > 0) {
                g->settings.has_cap = true;
                g->settings.cap = g->temporary_cap;
                g->settings.low = decide_low_watermark(s, g->temporary_cap);
        }
}

void group_set_temporary_cap(struct engine *e, struct group *g, uint64_t bytes, usec_t until)
{
        g->temporary_cap = bytes;
        g->temporary_until = until;
        /* A judgement made under the other cap says nothing about this one. */
        g->memory.retry_at = 0;
        g->memory.failures = 0;
        g->memory.came_back = 0;
        g->memory.came_back_of = 0;
        g->memory.thrashing = false;
        g->memory.useless = 0;
        g->memory.hopeless_since = 0;
        group_update_settings(e, g);
}

struct group *group_get(struct engine *e, const char *name, size_t section)
{
        struct group *g = group_find(e, name), **head;

        if (g) {
                g->section = section;
                return g;
        }
        if (e->n_groups >= LIMIT_GROUPS) {
                if (!e->groups_overflowed)
                        log_warning("More than %u groups (LIMIT_GROUPS); the rest is left out", LIMIT_GROUPS);
                e->groups_overflowed = true;
                return NULL;
        }
        g = calloc(1, sizeof(*g));
        if (!g)
                return NULL;
        text_copy(g->name, sizeof(g->name), name);
        g->section = section;
        g->number = ++e->groups_seen;
        g->for_each = e->policy->sections[section].for_each != FOR_EACH_NONE;
        g->job_index = -1;
        g->resident_before = g->resident_after = SIZE_UNKNOWN;
        group_update_settings(e, g);
        head = bucket(e, name);
        g->next = *head;
        *head = g;
        e->n_groups++;
        return g;
}

struct group *groups_next(struct engine *e, const struct group *g)
{
        size_t i = 0;

        if (g) {
                if (g->next)
                        return g->next;
                i = (size_t)(bucket(e, g->name) - e->buckets) + 1;
        }
        for (; i < GROUP_BUCKETS; i++)
                if (e->buckets[i])
                        return e->buckets[i];
        return NULL;
}

static struct group *group_free(struct group *g)
{
        move_detach(g);
        surroundings_free(g);
        pageout_trace_free(g->trace);
        free(g->members);
        free(g);
        return NULL;
}

static bool is_over(const struct engine *e, const struct group *g, usec_t now)
{
        if (g->busy)
                return false;
        if (g->doomed)
                return true;
        return g->for_each && g->n_members == 0 && g->temporary_cap == 0 && !g->paused && g->empty_since > 0 &&
               now - g->empty_since > EMPTY_KEPT;
}

void groups_sweep(struct engine *e)
{
        usec_t now = e->sys.ops->now(&e->sys);

        for (size_t i = 0; i < GROUP_BUCKETS; i++)
                for (struct group **g = &e->buckets[i]; *g;) {
                        struct group *dead = *g;

                        if (!is_over(e, dead, now)) {
                                g = &dead->next;
                                continue;
                        }
                        *g = dead->next;
                        group_free(dead);
                        e->n_groups--;
                }
        if (e->n_groups < LIMIT_GROUPS)
                e->groups_overflowed = false;
}

void groups_free(struct engine *e)
{
        for (size_t i = 0; i < GROUP_BUCKETS; i++)
                while (e->buckets[i]) {
                        struct group *g = e->buckets[i];

                        e->buckets[i] = g->next;
                        group_free(g);
                }
        e->n_groups = 0;
}
