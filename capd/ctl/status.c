/* SPDX-License-Identifier: MIT */
/* status.c: the groups as a table, and below it what is wrong. */
#include <fnmatch.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "capd/base/size.h"
#include "capd/base/text.h"
#include "ctl.h"

#define WIDE_COLUMNS 120

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
        interrupted = 1;
}

static bool matches(const char *pattern, const char *name)
{
        return strcmp(pattern, name) == 0 || fnmatch(pattern, name, 0) == 0;
}

/* Keeps the groups that were asked for. The status of those that are there is shown even if some are not: then EXIT_FAILURE. */
static int select_groups(const struct arguments *a, struct groups *g)
{
        size_t kept = 0;
        int status = 0;

        for (size_t i = 0; i < a->n_words; i++) {
                bool found = false;

                for (size_t j = 0; j < g->n && !found; j++)
                        found = matches(a->words[i], g->items[j].name);
                if (!found) {
                        char text[256];

                        text_escape(text, sizeof(text), a->words[i], strlen(a->words[i]));
                        status = failed("no such group: %s; 'capctl status' lists them", text);
                }
        }
        for (size_t i = 0; a->n_words > 0 && i < g->n; i++)
                for (size_t j = 0; j < a->n_words; j++)
                        if (matches(a->words[j], g->items[i].name)) {
                                g->items[kept++] = g->items[i];
                                break;
                        }
        if (a->n_words > 0)
                g->n = kept;
        return status;
}

/* Columns that come from a count made now. What cannot be had is left unknown; why is said once. */
static int count_groups(sd_bus *bus, struct groups *g)
{
        int r = 0;

        for (size_t i = 0; i < g->n; i++) {
                struct wire_detail counted;

                r = client_explain(bus, g->items[i].name, &counted, NULL, NULL);
                if (r != 0)
                        return r;
                g->items[i].sample = counted.group.sample;
                g->items[i].cgroups = counted.group.cgroups;
        }
        return 0;
}

void host_notes(FILE *f, const struct host *h)
{
        const struct wire_snapshot *s = &h->figures;
        char age[SIZE_TEXT_MAX];

        if (h->age == UINT64_MAX)
                fputs("capd has just started: nothing has been counted yet\n", f);
        else if (!h->responding)
                fprintf(f, "capd has published nothing for %s: it may be stuck, see its log (journalctl -u capd)\n",
                        format_time(age, h->age));
        if (s->config_error[0])
                fprintf(f,
                        "The last reload failed and the configuration before it is in force; mend this, then run "
                        "'capctl reload':\n%s%s",
                        s->config_error, s->config_error[strlen(s->config_error) - 1] == '\n' ? "" : "\n");
        if (h->warnings)
                fputs(h->warnings, f);
        if (s->paused)
                fputs("Everything is paused; 'capctl resume' goes on\n", f);
        if (s->dry_run)
                fputs("Dry run: capd decides, but does not act\n", f);
        if (s->quarantined)
                fprintf(f, "%" PRIu32 " process%s cannot be read, and %s left alone for a while\n", s->quarantined,
                        s->quarantined == 1 ? "" : "es", s->quarantined == 1 ? "is" : "are");
}

static bool needs_reason(enum group_state s)
{
        return s == STATE_UNENFORCEABLE || s == STATE_THRASHING || s == STATE_UNKNOWN || s == STATE_OVER;
}

/* For people; a program asks for the columns REASON and STATE. */
static void print_notes(const struct arguments *a, const struct host *h, const struct groups *g)
{
        if (a->json || a->raw || a->no_headings)
                return;
        fflush(stdout);
        host_notes(stderr, h);
        for (size_t i = 0; i < g->n; i++)
                if (needs_reason((enum group_state)g->items[i].state) && g->items[i].reason[0])
                        fprintf(stderr, "%s: %s: %s\n", g->items[i].name,
                                group_state_to_string((enum group_state)g->items[i].state), g->items[i].reason);
        if (g->n == 0 && a->n_words == 0 && h->age != UINT64_MAX)
                fputs(NO_GROUPS "\n", stderr);
}

static int print_rows(sd_bus *bus, const struct arguments *a, const struct selection *s, const struct groups *g)
{
        _cleanup_free_ struct status_row *rows = NULL;

        if (!selection_has(s, COLUMN_HISTORY))
                return table_print("groups", s, a, g->items, g->n, sizeof(*g->items));
        rows = calloc(MAX(g->n, 1U), sizeof(*rows));
        if (!rows)
                return out_of_memory();
        for (size_t i = 0; i < g->n; i++)
                rows[i].group = g->items[i];
        sparklines(bus, rows, g->n);
        return table_print("groups", s, a, rows, g->n, sizeof(*rows));
}

static int print_once(const struct arguments *a, const struct selection *s)
{
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(groups_done) struct groups g = {0};
        _cleanup_(host_done) struct host h = {0};
        int r, status;

        r = client_open(a, &bus);
        if (r == 0)
                r = client_groups(bus, &g);
        if (r == 0)
                r = client_host(bus, &h);
        if (r != 0)
                return r;
        status = select_groups(a, &g);
        if (status != 0 && g.n == 0)
                return status;
        /* in JSON the keys are always there, but only who names the column pays for it */
        if (r == 0 && a->output && selection_has(s, COLUMN_PRIVATE))
                r = count_groups(bus, &g);
        if (r != 0)
                return r;
        if (a->watch && isatty(STDOUT_FILENO))
                fputs("\033[H\033[2J", stdout);
        if (g.n > 0 || a->json)
                r = print_rows(bus, a, s, &g);
        print_notes(a, &h, &g);
        return r != 0 ? r : status;
}

int verb_status(const struct arguments *a)
{
        struct sigaction action = {.sa_handler = on_signal};
        unsigned flags = COLUMN_JSON;
        struct selection s;
        bool answered = false;
        int r;

        if (!a->json)
                flags = COLUMN_DEFAULT | (!a->raw && terminal_width() >= WIDE_COLUMNS ? COLUMN_WIDE : 0U);
        r = columns_select(group_columns, a, flags, &s);
        if (r != 0)
                return r;
        if (!a->watch)
                return print_once(a, &s);
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
        while (!interrupted) {
                r = print_once(a, &s);
                answered |= r == EXIT_DONE;
                /* a restarted daemon is waited for; what will not change by waiting ends it */
                if (r == EXIT_USAGE || (r != EXIT_DONE && !answered) || (r == EXIT_FAILED && a->n_words > 0) ||
                    fflush(stdout) != 0)
                        return r;
                if (!interrupted)
                        pause_for(a->watch);
        }
        return EXIT_DONE;
}
