/* SPDX-License-Identifier: MIT */
/* explain.c: one group, counted now. */
#include "ctl.h"

static void select_all(struct selection *s, const struct column *columns)
{
        for (const struct column *c = columns; c->header && s->n < COLUMNS_MAX; c++)
                s->items[s->n++] = c;
}

/* Everything there is. */
static int print_json(const struct arguments *a, const struct wire_detail *d)
{
        struct selection group = {0}, charges = {0};
        const struct rows lists[] = {
                        {"groups", &group, &d->group, 1, sizeof(d->group)},
                        {"charges", &charges, d->books.charges, d->books.n_charges, sizeof(d->books.charges[0])},
        };

        select_all(&group, group_columns);
        select_all(&group, act_columns);
        select_all(&charges, charge_columns);
        return tables_print_json(a, lists, ARRAY_SIZE(lists));
}

int verb_explain(const struct arguments *a)
{
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(host_done) struct host h = {0};
        struct wire_detail d;
        int r;

        r = client_open(a, &bus);
        if (r == 0)
                r = client_host(bus, &h);
        if (r == 0)
                r = client_explain(bus, a->words[0], &d, NULL, NULL);
        if (r != 0)
                return r;
        if (a->json)
                return print_json(a, &d);
        explain_text(stdout, &d, h.figures.dry_run, clock_usec(CLOCK_MONOTONIC));
        return EXIT_DONE;
}
