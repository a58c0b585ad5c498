/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "reclaim-internal.h"

/* A fast device takes it in milliseconds, a slow one in a tenth of a second. */
#define FIRST_STEP (1 * MIB)

const char *reclaim_end_to_string(enum reclaim_end e)
{
        static const char *const names[_RECLAIM_END_MAX] = {
                        [RECLAIM_UNFINISHED] = "told to stop",
                        [RECLAIM_GOAL] = "goal reached",
                        [RECLAIM_SHORT] = "the kernel found nothing more to reclaim",
                        [RECLAIM_TIME] = "time is up",
                        [RECLAIM_CACHE] = "it would cost too much page cache",
                        [RECLAIM_STRANGERS] = "a process that is not known to be the group's is in the cgroup",
                        [RECLAIM_GONE] = "the cgroup was removed",
                        [RECLAIM_STUCK] = "a write to memory.reclaim did not return in time",
                        [RECLAIM_FAILED] = "memory.reclaim failed",
        };

        return (unsigned)e < _RECLAIM_END_MAX ? names[e] : "unknown";
}

uint64_t reclaim_mapped(const struct cgroup_memory *m)
{
        return m->anon + m->file_mapped;
}

static int compare_members(const void *x, const void *y)
{
        const struct known_member *a = x, *b = y;

        return a->pid < b->pid ? -1 : a->pid > b->pid;
}

static int copy_members(struct reclaim *r, const struct reclaim_request *request)
{
        r->members = calloc(request->n_members + 1, sizeof(*r->members));
        if (!r->members)
                return -ENOMEM;
        for (size_t i = 0; i < request->n_members; i++)
                r->members[i] = (struct known_member){.pid = request->members[i].pid,
                                                      .start_time = request->members[i].start_time};
        r->n_members = request->n_members;
        qsort(r->members, r->n_members, sizeof(*r->members), compare_members);
        return 0;
}

int reclaim_new(const struct sys *sys, const struct reclaim_request *request, struct reclaim **ret)
{
        _cleanup_(reclaim_freep) struct reclaim *r = calloc(1, sizeof(*r));
        int q;

        if (!r)
                return -ENOMEM;
        if (request->owned->n == 0)
                return -EINVAL;
        *r = (struct reclaim){
                        .sys = sys,
                        .defined_by_cgroup = request->defined_by_cgroup,
                        .accept_children = request->accept_children,
                        .anon_only = request->anon_only,
                        .swap = request->swap,
                        .goal = request->goal,
                        .max_cache = request->max_cache,
                        .step = MIN(request->step > 0 ? request->step : FIRST_STEP, LIMIT_RECLAIM_WRITE_BYTES),
                        .cache_step = FIRST_STEP,
                        .max_time = MIN(request->max_time, LIMIT_ACT_USEC),
                        .current = NO_CGROUP,
                        .report = {.stranger = -1},
        };
        q = owned_cgroups_copy(request->owned, &r->owned);
        if (q < 0)
                return q;
        r->cgroups = calloc(r->owned.n, sizeof(*r->cgroups));
        if (!r->cgroups)
                return -ENOMEM;
        q = copy_members(r, request);
        if (q < 0)
                return q;
        *ret = TAKE_PTR(r);
        return 0;
}

struct reclaim *reclaim_free(struct reclaim *r)
{
        if (!r)
                return NULL;
        owned_cgroups_done(&r->owned);
        free(r->cgroups);
        free(r->members);
        free(r);
        return NULL;
}

void reclaim_give_up_current(struct reclaim *r)
{
        if (r->current == NO_CGROUP)
                return;
        r->cgroups[r->current].done = true;
        r->current = NO_CGROUP;
        r->report.end = RECLAIM_STUCK;
        r->result.stuck++;
        r->result.ended = r->sys->ops->now(r->sys);
}

void reclaim_result(const struct reclaim *r, struct act_result *ret)
{
        *ret = r->result;
        ret->cache_taken = r->report.cache_taken;
        if (!r->finished)
                ret->freed = SIZE_UNKNOWN;
}

void reclaim_get_report(const struct reclaim *r, struct reclaim_report *ret)
{
        *ret = r->report;
        ret->step = r->step;
        if (!r->finished && ret->end != RECLAIM_STUCK)
                ret->end = RECLAIM_UNFINISHED;
}
