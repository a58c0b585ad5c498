/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "trace.h"

struct pageout_trace *pageout_trace_free(struct pageout_trace *t)
{
        if (t) {
                free(t->processes);
                free(t->ranges);
        }
        free(t);
        return NULL;
}

/* Makes room for one more item: where they are now, or NULL if there would be more than TRACE_RANGES_MAX or no memory. */
static void *reserve(void *items, size_t n, size_t *allocated, size_t size)
{
        size_t more = MIN(MAX(*allocated * 2, (size_t)64), (size_t)TRACE_RANGES_MAX);
        void *p;

        if (n < *allocated)
                return items;
        if (n >= TRACE_RANGES_MAX)
                return NULL;
        p = reallocarray(items, more, size);
        if (p)
                *allocated = more;
        return p;
}

static bool trace_reserve(struct pageout_trace *t)
{
        void *p = reserve(t->ranges, t->n_ranges, &t->ranges_allocated, sizeof(*t->ranges));

        if (!p)
                return false;
        t->ranges = p;
        /* Every process has a range of its own, so there never are more of them. */
        p = reserve(t->processes, t->n_processes, &t->processes_allocated, sizeof(*t->processes));
        if (!p)
                return false;
        t->processes = p;
        return true;
}

void trace_add(struct pageout_trace *t, const struct pageout_target *target, uint64_t start, uint64_t size,
               uint64_t left)
{
        struct trace_process *p = t->n_processes > 0 ? &t->processes[t->n_processes - 1] : NULL;
        bool same = p && p->pid == target->pid && p->start_time == target->start_time && p->mm_id == target->mm_id;

        if (left == 0)
                return;
        if (same && t->ranges[t->n_ranges - 1].end == start) {
                t->ranges[t->n_ranges - 1].end += size;
                t->ranges[t->n_ranges - 1].left += left;
                t->recorded += left;
                return;
        }
        if (!trace_reserve(t)) {
                t->dropped += left;
                return;
        }
        if (!same)
                t->processes[t->n_processes++] = (struct trace_process){
                                .pid = target->pid,
                                .start_time = target->start_time,
                                .mm_id = target->mm_id,
                                .first = t->n_ranges,
                };
        t->ranges[t->n_ranges++] = (struct trace_range){.start = start, .end = start + size, .left = left};
        t->recorded += left;
}

size_t trace_process_end(const struct pageout_trace *t, size_t i)
{
        return i + 1 < t->n_processes ? t->processes[i + 1].first : t->n_ranges;
}
