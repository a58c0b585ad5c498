/* SPDX-License-Identifier: MIT */
/* ps.c: the processes of a group, those first that add most. */
#include <stdlib.h>
#include <unistd.h>

#include "ctl.h"

static int by_weight(const void *a, const void *b)
{
        const struct wire_process *x = a, *y = b;

        if (x->alone != y->alone)
                return x->alone < y->alone ? 1 : -1;
        if (x->rss != y->rss)
                return x->rss < y->rss ? 1 : -1;
        return (x->pid > y->pid) - (x->pid < y->pid);
}

void processes_sort(struct wire_process *processes, size_t n)
{
        if (n > 0)
                qsort(processes, n, sizeof(*processes), by_weight);
}

int verb_ps(const struct arguments *a)
{
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_free_ struct wire_process *processes = NULL;
        struct selection s;
        struct wire_detail d;
        size_t n = 0;
        int r;

        r = columns_select(process_columns, a, a->json ? COLUMN_JSON : COLUMN_DEFAULT, &s);
        if (r == 0)
                r = client_open(a, &bus);
        if (r == 0)
                r = client_explain(bus, a->words[0], &d, &processes, &n);
        if (r != 0)
                return r;
        if (n == 0 && d.group.sample.processes > 0)
                return failed(PS_NEEDS_ROOT);
        processes_sort(processes, n);
        if (n == 0 && !a->json)
                return EXIT_DONE;
        return table_print("processes", &s, a, processes, n, sizeof(*processes));
}
