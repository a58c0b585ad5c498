/* SPDX-License-Identifier: MIT */
/* history.c: what a group was like over time, as a table, as CSV, and as a line of blocks. */
#include <langinfo.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "capd/base/size.h"
#include "capd/base/text.h"
#include "ctl.h"

#define DEFAULT_SINCE (3600 * USEC_PER_SEC)
/* Lines with the longest state fit into that. */
#define FULL_WIDTH 100U

#define R(member) offsetof(struct history_row, member)

const struct column history_columns[] = {
                {"TIME", "time_usec", "since when; in JSON microseconds of the epoch", COLUMN_TIME, R(at),
                 COLUMN_DEFAULT | COLUMN_JSON},
                {"FOR", "for_usec", "how long", COLUMN_SPAN, R(span), COLUMN_DEFAULT | COLUMN_JSON},
                {"STATE", "state", "the gravest state in that time", COLUMN_STATE, R(state),
                 COLUMN_DEFAULT | COLUMN_JSON},
                {"RESIDENT", "resident", "the most that was resident", COLUMN_RESIDENT, R(sample),
                 COLUMN_DEFAULT | COLUMN_JSON},
                {"QUALITY", "quality", "of RESIDENT", COLUMN_QUALITY, R(sample.quality), COLUMN_JSON},
                {"CAP", "cap", "cap in force", COLUMN_SIZE, R(cap), COLUMN_DEFAULT | COLUMN_JSON},
                {"WATERMARK", "low_watermark", "where enforcement stops", COLUMN_SIZE, R(watermark), COLUMN_JSON},
                {"RSS-SUM", "rss_sum", "the largest sum of RSS", COLUMN_SIZE, R(sample.rss_sum),
                 COLUMN_WIDE | COLUMN_JSON},
                {"PAGED-OUT", "paged_out", "unmapped by capd in that time", COLUMN_SIZE, R(paged_out),
                 COLUMN_DEFAULT | COLUMN_JSON},
                {"REFAULTED", "refaulted", "of that, came back", COLUMN_SIZE, R(refaulted),
                 COLUMN_DEFAULT | COLUMN_JSON},
                {"FREED", "freed", "given back to the host", COLUMN_SIZE, R(freed), COLUMN_WIDE | COLUMN_JSON},
                {0},
};

int since_of(const struct arguments *a, usec_t fallback, usec_t *ret)
{
        char text[64];

        *ret = fallback;
        if (!a->since || (parse_time(a->since, ret) >= 0 && *ret > 0))
                return 0;
        text_escape(text, sizeof(text), a->since, strlen(a->since));
        (void)failed("'%s' is no time; write 30min, 6h or 2d", text);
        return EXIT_USAGE;
}

/* Units are bytes and microseconds; what is not known is an empty field. */
static int print_csv(const struct selection *s, const struct arguments *a, const struct history_row *rows, size_t n)
{
        for (size_t i = 0; !a->no_headings && i < s->n; i++)
                printf("%s%s", i > 0 ? "," : "", s->items[i]->kind == COLUMN_TIME ? "time" : s->items[i]->key);
        if (!a->no_headings)
                putchar('\n');
        for (size_t i = 0; i < n; i++)
                for (size_t j = 0; j < s->n; j++) {
                        char text[CELL_MAX];

                        cell_text(text, s->items[j], &rows[i], s->items[j]->kind == COLUMN_TIME ? CELL_RAW : CELL_JSON,
                                  0);
                        printf("%s%s", text, j + 1 < s->n ? "," : "\n");
                }
        return ferror(stdout) ? failed("cannot write the table") : EXIT_DONE;
}

int verb_history(const struct arguments *a)
{
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_free_ struct history_row *rows = NULL;
        struct selection s;
        unsigned width = terminal_width(), flags = COLUMN_JSON;
        usec_t since;
        size_t n;
        int r;

        if (a->csv && (a->json || a->raw)) {
                (void)failed("--csv excludes --json and --raw");
                return EXIT_USAGE;
        }
        if (!a->json && !a->csv)
                flags = COLUMN_DEFAULT | (width == 0 || width >= FULL_WIDTH || a->raw ? COLUMN_WIDE : 0U);
        r = columns_select(history_columns, a, flags, &s);
        if (r == 0)
                r = since_of(a, DEFAULT_SINCE, &since);
        if (r == 0)
                r = client_open(a, &bus);
        if (r == 0)
                r = client_history(bus, a->words[0], since, 0, &rows, &n);
        if (r != 0)
                return r;
        if (a->csv)
                return print_csv(&s, a, rows, n);
        return table_print("history", &s, a, rows, n, sizeof(*rows));
}

/* -- sparklines -- */

static bool utf8_is_shown(void)
{
        return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

/* The most that was resident in a part of the time; SIZE_UNKNOWN if it is not known. */
static uint64_t peak(const struct history_row *rows, size_t n, uint64_t from, uint64_t to)
{
        uint64_t most = SIZE_UNKNOWN;

        for (size_t i = 0; i < n; i++) {
                uint64_t resident = rows[i].sample.resident;

                if (rows[i].at >= to || rows[i].at + rows[i].span < from || resident == SIZE_UNKNOWN)
                        continue;
                if (most == SIZE_UNKNOWN || resident > most)
                        most = resident;
        }
        return most;
}

/* A full block is the cap, or what was resident at most if that is more, so that the height tells how near the group is to it. */
void sparkline(char *buf, size_t size, const struct history_row *rows, size_t n, uint64_t now, bool utf8)
{
        static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
        static const char *const letters[] = {"_", "-", "~", "=", "+", "*", "%", "#"};
        uint64_t step = SPARKLINE_USEC / SPARKLINE_CELLS, from = now - SPARKLINE_USEC, full = 1, most;
        FILE *f = fmemopen(buf, size, "w");

        if (!f) {
                text_copy(buf, size, "");
                return;
        }
        most = peak(rows, n, from, UINT64_MAX);
        if (most != SIZE_UNKNOWN)
                full = MAX(full, most);
        if (n > 0 && rows[n - 1].cap != SIZE_UNKNOWN)
                full = MAX(full, rows[n - 1].cap);
        for (unsigned i = 0; i < SPARKLINE_CELLS; i++) {
                uint64_t value = peak(rows, n, from + i * step, from + (i + 1) * step);
                unsigned level = value == SIZE_UNKNOWN ? 0 : (unsigned)((unsigned __int128)value * 7 / full);

                if (value == SIZE_UNKNOWN)
                        fputs(utf8 ? "·" : ".", f);
                else
                        fputs(utf8 ? blocks[level] : letters[level], f);
        }
        fclose(f);
}

void sparklines(sd_bus *bus, struct status_row *rows, size_t n)
{
        uint64_t now = clock_usec(CLOCK_REALTIME);
        bool utf8 = utf8_is_shown();

        for (size_t i = 0; i < n; i++) {
                _cleanup_free_ struct history_row *history = NULL;
                size_t points = 0;

                /* a group may have ended since its status was asked for, or have no history */
                if (client_try_history(bus, rows[i].group.name, SPARKLINE_USEC, 8 * SPARKLINE_CELLS, &history,
                                       &points) < 0)
                        points = 0;
                sparkline(rows[i].history, sizeof(rows[i].history), history, points, now, utf8);
        }
}
