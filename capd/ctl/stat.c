/* SPDX-License-Identifier: MIT */
/*
 * stat.c: rcapstat's report, again and again.
 *
 * The first report is about all the time that capd has watched a group, each further one about the time since the one before
 * it. capd's counters only grow; one that is smaller than before is of another capd, or of a group that went and came again, and
 * tells of all the time since.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "capd/base/size.h"
#include "capd/base/text.h"
#include "ctl.h"

struct row {
        struct wire_group group;
        uint64_t attempted, paged; /* in the interval */
        uint64_t mean_attempted, mean_paged;
};

#define G(member) offsetof(struct row, group.member)
#define R(member) offsetof(struct row, member)
#define D         (COLUMN_DEFAULT | COLUMN_JSON)

const struct column stat_columns[] = {
                {"ID", "id", "number of the group, in order of appearance", COLUMN_U32, G(number), D},
                {"GROUP", "group", "its name", COLUMN_TEXT, G(name), D},
                {"NPROC", "nproc", "processes", COLUMN_U32, G(sample.processes), D},
                {"VM", "vm", "sum of the sizes of their address spaces", COLUMN_SIZE, G(sample.vm_sum), D},
                {"RSS", "rss", "RESIDENT: physical memory, each page once", COLUMN_RESIDENT, G(sample), D},
                {"CAP", "cap", "cap in force", COLUMN_SIZE, G(cap), D},
                {"AT", "at", "attempted to page out in the interval", COLUMN_SIZE, R(attempted), D},
                {"AVGAT", "avgat", "the same of an average act, ever", COLUMN_SIZE, R(mean_attempted), D},
                {"PG", "pg", "really paged out in the interval", COLUMN_SIZE, R(paged), D},
                {"AVGPG", "avgpg", "the same of an average act, ever", COLUMN_SIZE, R(mean_paged), D},
                {0},
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
        interrupted = 1;
}

/* What a counter grew by. */
static uint64_t since(uint64_t now, uint64_t before)
{
        return now >= before ? now - before : now;
}

/* The same group at the report before, by number and name; NULL: it was not there. */
static const struct wire_group *before(const struct groups *old, const struct wire_group *g)
{
        for (size_t i = 0; i < old->n; i++)
                if (old->items[i].number == g->number && strcmp(old->items[i].name, g->name) == 0)
                        return &old->items[i];
        return NULL;
}

static void make_row(const struct groups *old, const struct wire_group *g, struct row *ret)
{
        const struct wire_group *o = before(old, g);

        *ret = (struct row){
                        .group = *g,
                        .attempted = since(g->attempted_total, o ? o->attempted_total : 0),
                        .paged = since(g->unmapped_total, o ? o->unmapped_total : 0),
                        .mean_attempted = g->acts > 0 ? g->attempted_total / g->acts : 0,
                        .mean_paged = g->acts > 0 ? g->unmapped_total / g->acts : 0,
        };
}

static int print_groups(const struct arguments *a, const struct selection *s, const struct groups *old,
                        const struct groups *new)
{
        _cleanup_free_ struct row *rows = calloc(new->n + 1, sizeof(*rows));

        if (!rows)
                return out_of_memory();
        for (size_t i = 0; i < new->n; i++)
                make_row(old, &new->items[i], &rows[i]);
        if (new->n == 0 && !a->json) {
                fputs(NO_GROUPS "\n", stderr);
                return EXIT_DONE;
        }
        return table_print("groups", s, a, rows, new->n, sizeof(*rows));
}

static void print_host(const struct host *h)
{
        const struct host_memory *m = &h->figures.host;
        char used[SIZE_TEXT_MAX], total[SIZE_TEXT_MAX];

        printf("host memory in use: %" PRIu32 "%% (%s of %s)   caps bite above: %" PRIu32 "%%\n",
               m->used_basis_points / 100, format_size(used, m->total - MIN(m->total, m->available)),
               format_size(total, m->total), h->figures.pressure_threshold / 100);
}

/* Replaces *old by what is there now. */
static int report(const struct arguments *a, const struct selection *s, struct groups *old)
{
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(groups_done) struct groups new = {0};
        _cleanup_(host_done) struct host h = {0};
        int r;

        r = client_open(a, &bus);
        if (r == 0)
                r = client_groups(bus, &new);
        if (r == 0 && a->global)
                r = client_host(bus, &h);
        if (r == 0)
                r = print_groups(a, s, old, &new);
        if (r != 0)
                return r;
        if (a->global && !a->json)
                print_host(&h);
        groups_done(old);
        *old = new;
        new = (struct groups){0};
        return EXIT_DONE;
}

static int read_words(const struct arguments *a, usec_t *ret_interval, uint64_t *ret_count)
{
        char text[64];

        *ret_interval = 0;
        *ret_count = a->n_words > 0 ? UINT64_MAX : 1;
        for (size_t i = 0; i < a->n_words; i++) {
                text_escape(text, sizeof(text), a->words[i], strlen(a->words[i]));
                if (i == 0 && (parse_time(a->words[0], ret_interval) < 0 || *ret_interval < 100 * USEC_PER_MSEC)) {
                        (void)failed("'%s' is no time of at least 0.1 seconds", text);
                        return EXIT_USAGE;
                }
                if (i == 1 && (parse_number(a->words[1], UINT32_MAX, ret_count) < 0 || *ret_count == 0)) {
                        (void)failed("'%s' is no number of reports", text);
                        return EXIT_USAGE;
                }
        }
        return 0;
}

int verb_stat(const struct arguments *a)
{
        struct sigaction action = {.sa_handler = on_signal};
        _cleanup_(groups_done) struct groups old = {0};
        struct selection s;
        usec_t interval;
        uint64_t count;
        bool answered = false;
        int r;

        r = columns_select(stat_columns, a, COLUMN_DEFAULT, &s);
        if (r == 0)
                r = read_words(a, &interval, &count);
        if (r != 0)
                return r;
        if (count > 1) {
                sigaction(SIGINT, &action, NULL);
                sigaction(SIGTERM, &action, NULL);
        }
        for (uint64_t i = 0; !interrupted && i < count; i++) {
                if (i > 0)
                        pause_for(interval);
                if (interrupted)
                        break;
                r = report(a, &s, &old);
                answered |= r == EXIT_DONE;
                /* a restarted daemon is waited for */
                if (!answered || fflush(stdout) != 0)
                        return r;
        }
        return r;
}
