/* SPDX-License-Identifier: MIT */
/* explain.c: one group, counted now. */
#include "ctl.h"

/* Everything there is, in one object. */
static int print_json(const struct arguments *a, const struct wire_group *g)
{
        struct selection s = {0};

        for (const struct column *c = group_columns; c->header; c++)
                s.items[s.n++] = c;
        for (const struct column *c = act_columns; c->header; c++)
                s.items[s.n++] = c;
        return table_print("groups", &s, a, g, 1, sizeof(*g));
}

int verb_explain(const struct arguments *a)
{
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(host_done) struct host h = {0};
        struct wire_group g;
        int r;

        r = client_open(a, &bus);
        if (r == 0)
                r = client_host(bus, &h);
        if (r == 0)
                r = client_explain(bus, a->words[0], &g, NULL, NULL);
        if (r != 0)
                return r;
        if (a->json)
                return print_json(a, &g);
        explain_text(stdout, &g, h.figures.dry_run, now_monotonic());
        return EXIT_DONE;
}
