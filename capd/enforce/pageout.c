/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pageout-internal.h"

static int compare_pids(const void *x, const void *y, void *userdata)
{
        const struct pageout_target *targets = userdata;
        pid_t a = targets[*(const size_t *)x].pid, b = targets[*(const size_t *)y].pid;

        return a < b ? -1 : a > b;
}

static int copy_targets(struct pageout *p, const struct pageout_request *request)
{
        size_t n = request->n_targets;

        p->targets = calloc(MAX(n, (size_t)1), sizeof(*p->targets));
        p->states = calloc(MAX(n, (size_t)1), sizeof(*p->states));
        p->by_pid = calloc(MAX(n, (size_t)1), sizeof(*p->by_pid));
        if (!p->targets || !p->states || !p->by_pid)
                return -ENOMEM;
        if (n > 0)
                memcpy(p->targets, request->targets, n * sizeof(*p->targets));
        p->n_targets = n;
        pageout_order(p->targets, n, &request->cursor);
        for (size_t i = 0; i < n; i++)
                p->by_pid[i] = i;
        qsort_r(p->by_pid, n, sizeof(*p->by_pid), compare_pids, p->targets);
        return 0;
}

int pageout_new(const struct sys *sys, const struct features *features, const struct pageout_request *request,
                struct pageout **ret)
{
        _cleanup_(pageout_freep) struct pageout *p = calloc(1, sizeof(*p));
        int r;

        if (!p)
                return -ENOMEM;
        p->sys = sys;
        p->features = *features;
        p->goal = request->goal;
        p->swap = request->swap;
        p->max_time = MIN(request->max_time, LIMIT_ACT_USEC);
        p->current = NO_TARGET;
        step_init(&p->step, features->page_size, request->max_stall, request->cursor.step);

        r = copy_targets(p, request);
        if (r < 0)
                return r;
        r = legs_plan(&p->legs, p->targets, p->n_targets, request->process_floor, &request->cursor,
                      &p->result.left_floor);
        if (r < 0)
                return r;
        r = left_frames_new(&p->left);
        if (r < 0)
                return r;
        p->trace = calloc(1, sizeof(*p->trace));
        if (!p->trace)
                return -ENOMEM;
        p->before = request->trace; /* last, so that on failure it stays the caller's */
        *ret = TAKE_PTR(p);
        return 0;
}

struct pageout *pageout_free(struct pageout *p)
{
        if (!p)
                return NULL;
        pageout_trace_free(p->trace);
        pageout_trace_free(p->before);
        left_frames_free(p->left);
        legs_done(&p->legs);
        free(p->by_pid);
        free(p->states);
        free(p->targets);
        free(p);
        return NULL;
}

pid_t pageout_give_up_current(struct pageout *p)
{
        size_t i = p->current;

        if (i == NO_TARGET)
                return 0;
        p->current = NO_TARGET;
        p->states[i].dead = true;
        p->result.stuck++;
        p->result.ended = p->sys->ops->now(p->sys);
        return p->targets[i].pid;
}

void pageout_result(const struct pageout *p, struct act_result *ret)
{
        *ret = p->result;
        if (!p->freed_known)
                ret->freed = p->result.unmapped > 0 ? SIZE_UNKNOWN : 0;
}

void pageout_get_cursor(const struct pageout *p, struct pageout_cursor *ret)
{
        size_t i = p->leg;

        while (i < p->legs.n &&
               (p->states[p->legs.items[i].target].dead || p->legs.items[i].from >= p->legs.items[i].to))
                i++;
        if (i >= p->legs.n) {
                *ret = (struct pageout_cursor){.step = p->step.bytes};
                return;
        }
        *ret = (struct pageout_cursor){
                        .pid = p->targets[p->legs.items[i].target].pid,
                        .start_time = p->targets[p->legs.items[i].target].start_time,
                        .address = p->legs.items[i].from,
                        .step = p->step.bytes,
        };
}

struct pageout_trace *pageout_take_trace(struct pageout *p)
{
        return p->trace && p->trace->recorded > 0 ? TAKE_PTR(p->trace) : NULL;
}
