/* SPDX-License-Identifier: MIT */
/* top-data.c: what capctl top knows, and in which order it shows it. */
#include <stdlib.h>
#include <string.h>

#include "capd/base/text.h"
#include "top.h"

static const char help[] = "up, down, PgUp, PgDn, Home, End   choose a group\n"
                           "Enter, e   explain it: how its numbers add up (counts it now)\n"
                           "p          its processes (root; counts it now)\n"
                           "< >        sort by the column to the left, to the right\n"
                           "n m u c    sort by GROUP, RESIDENT, USE%, CAP\n"
                           "t o w a    sort by TREND, RSS-SUM, SWAP, AGE\n"
                           "r          the other way round\n"
                           "space      look again now\n"
                           "q, Esc     back; from the table, q leaves\n"
                           "\n"
                           "bar        RESIDENT, up to 125% of the cap:\n"
                           "           : the low watermark, | the cap, > beyond the end\n";

const struct column *top_column(const char *header)
{
        for (const struct column *c = group_columns; c->header; c++)
                if (strcmp(c->header, header) == 0)
                        return c;
        return NULL;
}

/* -- order -- */

/* What matters more is larger. */
static unsigned severity(uint32_t state)
{
        static const unsigned order[_STATE_MAX] = {
                        [STATE_UNKNOWN] = 3,  [STATE_OK] = 0,        [STATE_OVER] = 4,          [STATE_ENFORCING] = 5,
                        [STATE_OBSERVED] = 2, [STATE_THRASHING] = 6, [STATE_UNENFORCEABLE] = 7, [STATE_PAUSED] = 1,
        };

        return state < _STATE_MAX ? order[state] : 0;
}

/* A number that orders rows by a column; what is not known is less than anything. */
static __int128 weight(const struct column *c, const struct wire_group *g)
{
        const void *p = (const char *)g + c->offset;
        const struct group_sample *s = p;
        usec_t age;

        switch (c->kind) {
        case COLUMN_STATE:
                return severity(g->state);
        case COLUMN_U32:
                return *(const uint32_t *)p;
        case COLUMN_U64:
        case COLUMN_SIZE:
                return *(const uint64_t *)p == SIZE_UNKNOWN ? -1 : (__int128)*(const uint64_t *)p;
        case COLUMN_RATE:
                return *(const int64_t *)p;
        case COLUMN_RESIDENT:
                return s->quality == QUALITY_UNKNOWN || s->resident == SIZE_UNKNOWN ? -1 : (__int128)s->resident;
        case COLUMN_USE:
                return use_percent(g) == UINT32_MAX ? -1 : (__int128)use_percent(g);
        case COLUMN_AGE:
                /* all at one moment: the older one has the smaller time */
                age = group_sample_age(s, g->sample.bounds_at);
                return s->counted_at == 0 || age == USEC_INFINITY ? -1 : -(__int128)s->counted_at;
        default:
                return 0;
        }
}

static int compare(const void *a, const void *b, void *userdata)
{
        const struct wire_group *x = a, *y = b;
        const struct top *t = userdata;
        int names = strverscmp(x->name, y->name);
        __int128 l, r;

        if (t->sort->kind == COLUMN_TEXT)
                return t->reverse ? -names : names;
        l = weight(t->sort, x);
        r = weight(t->sort, y);
        if (l != r)
                return (l > r) == t->reverse ? 1 : -1;
        return names;
}

void top_choose(struct top *t, size_t row)
{
        t->chosen = t->groups.n == 0 ? 0 : MIN(row, t->groups.n - 1);
        text_copy(t->chosen_name, sizeof(t->chosen_name), t->groups.n > 0 ? t->groups.items[t->chosen].name : "");
}

void top_sort(struct top *t)
{
        if (t->groups.n > 0)
                qsort_r(t->groups.items, t->groups.n, sizeof(*t->groups.items), compare, t);
        for (size_t i = 0; i < t->groups.n; i++)
                if (strcmp(t->groups.items[i].name, t->chosen_name) == 0) {
                        top_choose(t, i);
                        return;
                }
        top_choose(t, t->chosen); /* it has gone: who is there now */
}

/* -- asking -- */

void top_disconnect(struct top *t)
{
        *t->bus_fd = -1;
        t->bus = sd_bus_flush_close_unref(t->bus);
}

static int connect_if_needed(struct top *t)
{
        int r;

        if (t->bus)
                return 0;
        r = client_open(t->arguments, &t->bus);
        if (r == 0)
                *t->bus_fd = sd_bus_get_fd(t->bus);
        return r;
}

static char *notes_of(const struct host *h)
{
        char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        if (!f)
                return NULL;
        host_notes(f, h);
        fclose(f);
        return text;
}

int top_fetch(struct top *t)
{
        _cleanup_(groups_done) struct groups groups = {0};
        _cleanup_(host_done) struct host host = {0};
        bool connected = t->bus;
        int r;

        failures_to(t->trouble, sizeof(t->trouble));
        r = connect_if_needed(t);
        if (r == 0)
                r = client_groups(t->bus, &groups);
        if (r == 0)
                r = client_host(t->bus, &host);
        failures_to(NULL, 0);
        if (r != 0) {
                top_disconnect(t);
                /* the connection may have been the old daemon's: the new one is asked at once */
                return connected ? top_fetch(t) : r;
        }
        t->trouble[0] = '\0';
        t->fetched_at = clock_usec(CLOCK_MONOTONIC);
        groups_done(&t->groups);
        host_done(&t->host);
        free(t->notes);
        t->groups = groups;
        t->host = host;
        t->notes = notes_of(&t->host);
        groups = (struct groups){0};
        host = (struct host){0};
        top_sort(t);
        return 0;
}

/* -- pages -- */

void page_done(struct page *p)
{
        free(p->lines);
        free(p->text);
        *p = (struct page){0};
}

/* Takes the text over. Its last line may lack an end: libsmartcols writes tables so. */
static void page_set(struct page *p, char *text, size_t n_headings)
{
        size_t n = 0;

        page_done(p);
        for (const char *c = text; c && *c; c++)
                n += *c == '\n';
        p->lines = text ? calloc(n + 1, sizeof(*p->lines)) : NULL;
        if (!p->lines) {
                free(text);
                return;
        }
        p->text = text;
        p->n_headings = n_headings;
        for (char *line; (line = strsep(&text, "\n"));)
                if (text || line[0])
                        p->lines[p->n++] = line;
}

static char *explanation(struct top *t, const struct wire_detail *d)
{
        char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        if (!f)
                return NULL;
        explain_text(f, d, t->host.figures.dry_run, clock_usec(CLOCK_MONOTONIC));
        fclose(f);
        return text;
}

static char *processes_text(struct top *t, const struct wire_detail *d, struct wire_process *processes, size_t n)
{
        const struct arguments plain = {0};
        struct selection s;

        if (n == 0 && d->group.sample.processes > 0) {
                text_copy(t->trouble, sizeof(t->trouble), PS_NEEDS_ROOT);
                return NULL;
        }
        if (n == 0 || columns_select(process_columns, &plain, COLUMN_DEFAULT, &s) != 0)
                return strdup("no processes\n");
        processes_sort(processes, n);
        return table_text(&s, processes, n, sizeof(*processes));
}

void top_show(struct top *t, enum top_view view)
{
        _cleanup_free_ struct wire_process *processes = NULL;
        struct wire_detail d;
        char *text = NULL;
        size_t n = 0;
        int r;

        if (view == VIEW_HELP)
                page_set(&t->page, strdup(help), 0);
        else if (view == VIEW_GROUPS)
                page_done(&t->page);
        else {
                failures_to(t->trouble, sizeof(t->trouble));
                r = connect_if_needed(t);
                if (r == 0)
                        r = client_explain(t->bus, t->page_group, &d, view == VIEW_PS ? &processes : NULL, &n);
                failures_to(NULL, 0);
                if (r != 0)
                        return; /* the table tells, and what else is wrong */
                t->trouble[0] = '\0';
                text = view == VIEW_PS ? processes_text(t, &d, processes, n) : explanation(t, &d);
                if (!text)
                        return;
                page_set(&t->page, text, view == VIEW_PS);
        }
        t->view = view;
}

void top_done(struct top *t)
{
        page_done(&t->page);
        groups_done(&t->groups);
        host_done(&t->host);
        free(t->notes);
        top_disconnect(t);
}
