/* SPDX-License-Identifier: MIT */
/*
 * top-draw.c: the screen of capctl top.
 *
 * Everything is drawn at every turn; curses sends what differs from what the terminal shows. All text comes escaped by
 * text_escape(); what the terminal's character set does not have is shown as a question mark.
 */
#include <curses.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "capd/base/size.h"
#include "top.h"

enum { PAIR_NONE, PAIR_GOOD, PAIR_WARN, PAIR_BAD, PAIR_REST };

/* The bar ends a quarter beyond the cap. */
#define BAR_PERCENT 125U
#define BAR_MIN     12
#define BAR_MAX     50
#define NAME_MIN    12
#define LINES_ABOVE 2 /* the host, and what is to be said about it; then the headings */
#define LINES_BELOW 2 /* the reason of the chosen group, and the keys */

/* In order of their places; the larger `drop`, the sooner a column leaves a narrow screen. The bar has no column of its own. */
static const struct layout {
        const char *header;
        int width, narrow; /* on less than 80 columns */
        unsigned drop;
        bool left;
} layouts[] = {
                {"GROUP", 0, 0, 0, true},    {"STATE", 13, 9, 2, true},   {"RESIDENT", 8, 8, 1, false},
                {"CAP", 7, 7, 4, false},     {"USE%", 5, 5, 1, false},    {NULL, BAR_MIN, BAR_MIN, 3, true},
                {"TREND", 10, 10, 5, false}, {"SWAP", 7, 7, 6, false},    {"PROCS", 6, 6, 7, false},
                {"AGE", 8, 8, 8, false},     {"RSS-SUM", 7, 7, 9, false},
};

struct plan {
        int widths[ARRAY_SIZE(layouts)]; /* 0: not shown */
};

void top_colours(void)
{
        const char *no = getenv("NO_COLOR");

        if (!has_colors() || (no && no[0]))
                return;
        start_color();
        use_default_colors();
        init_pair(PAIR_GOOD, COLOR_GREEN, -1);
        init_pair(PAIR_WARN, COLOR_YELLOW, -1);
        init_pair(PAIR_BAD, COLOR_RED, -1);
        init_pair(PAIR_REST, COLOR_CYAN, -1);
}

static attr_t state_attribute(uint32_t state)
{
        static const struct {
                const char *name;
                int pair;
        } pairs[] = {{"green", PAIR_GOOD}, {"yellow", PAIR_WARN}, {"red", PAIR_BAD}, {"cyan", PAIR_REST}};
        const char *colour = state_colour((enum group_state)state);

        for (size_t i = 0; colour && i < ARRAY_SIZE(pairs); i++)
                if (strcmp(colour, pairs[i].name) == 0)
                        return COLOR_PAIR(pairs[i].pair);
        return A_NORMAL;
}

/* -- text -- */

/* The next character and its width; what cannot be shown becomes one question mark. */
static const char *next(const char *text, wchar_t *ret, int *ret_width)
{
        mbstate_t state = {0};
        size_t n = mbrtowc(ret, text, MB_CUR_MAX, &state);

        *ret_width = n < (size_t)-2 ? wcwidth(*ret) : -1;
        if (*ret_width >= 0)
                return text + n;
        *ret = L'?';
        *ret_width = 1;
        return text + (n < (size_t)-2 ? n : 1);
}

static int text_width(const char *text)
{
        int width = 0, w;
        wchar_t c;

        while (*text) {
                text = next(text, &c, &w);
                width += w;
        }
        return width;
}

/* In exactly `width` columns, beginning with column `skip` of the text. */
static void put_from(int y, int x, int width, int skip, const char *text)
{
        int used = 0, w;
        wchar_t c;

        if (y >= LINES || x >= COLS)
                return;
        move(y, x);
        while (*text) {
                text = next(text, &c, &w);
                if (skip > 0) {
                        skip -= w;
                        continue;
                }
                if (used + w > width)
                        break;
                addnwstr(&c, 1);
                used += w;
        }
        for (; used < width; used++)
                addch(' ');
}

static void put(int y, int x, int width, const char *text)
{
        put_from(y, x, width, 0, text);
}

static void put_right(int y, int x, int width, const char *text)
{
        int w = text_width(text);

        if (w > width)
                put(y, x, width, text);
        else {
                put(y, x, width - w, "");
                put(y, x + width - w, w, text);
        }
}

/* Names differ at their ends: login/alice, login/bob. What is too long loses its middle. */
static void put_name(int y, int x, int width, const char *name)
{
        int w = text_width(name), tail = (width - 1) / 2;

        if (w <= width) {
                put(y, x, width, name);
                return;
        }
        put(y, x, width - 1 - tail, name);
        put(y, x + width - 1 - tail, 1, "~");
        put_from(y, x + width - tail, tail, w - tail, name);
}

static void put_line(int y, attr_t attributes, const char *text)
{
        attron(attributes);
        put(y, 0, COLS, text);
        attroff(attributes);
}

/* -- columns -- */

static int longest_name(const struct top *t)
{
        int longest = NAME_MIN;

        for (size_t i = 0; i < t->groups.n; i++)
                longest = MAX(longest, text_width(t->groups.items[i].name));
        return longest;
}

static int used_width(const struct plan *p)
{
        int used = 0;

        for (size_t i = 0; i < ARRAY_SIZE(layouts); i++)
                used += p->widths[i] ? p->widths[i] + 1 : 0;
        return used - 1;
}

static void drop_one(struct plan *p)
{
        size_t worst = 0;

        for (size_t i = 0; i < ARRAY_SIZE(layouts); i++)
                if (p->widths[i] && layouts[i].drop > layouts[worst].drop)
                        worst = i;
        if (worst > 0)
                p->widths[worst] = 0;
}

/* What fits, least needed columns dropped first; then the rest of the line goes to names as far as they need it, and to the bar. */
static void make_plan(const struct top *t, struct plan *p)
{
        int more, want = longest_name(t) - NAME_MIN;

        for (size_t i = 0; i < ARRAY_SIZE(layouts); i++)
                p->widths[i] = COLS < 80 ? layouts[i].narrow : layouts[i].width;
        p->widths[0] = NAME_MIN;
        for (size_t i = 0; used_width(p) > COLS && i < ARRAY_SIZE(layouts); i++)
                drop_one(p);
        more = COLS - used_width(p);
        if (more < 0) {
                p->widths[0] = MAX(1, p->widths[0] + more);
                return;
        }
        p->widths[0] += MIN(more, want);
        more -= MIN(more, want);
        for (size_t i = 0; i < ARRAY_SIZE(layouts); i++)
                if (!layouts[i].header && p->widths[i])
                        p->widths[i] = MIN(BAR_MAX, p->widths[i] + more);
}

size_t top_visible(const struct top *t, const struct column *ret[static COLUMNS_MAX])
{
        struct plan p;
        size_t n = 0;

        make_plan(t, &p);
        for (size_t i = 0; i < ARRAY_SIZE(layouts); i++)
                if (p.widths[i] && layouts[i].header)
                        ret[n++] = top_column(layouts[i].header);
        return n;
}

static void draw_headings(const struct top *t, const struct plan *p, int y)
{
        int x = 0;

        put_line(y, A_BOLD | A_UNDERLINE, "");
        for (size_t i = 0; i < ARRAY_SIZE(layouts); i++) {
                attr_t a = A_BOLD | A_UNDERLINE;

                if (!p->widths[i])
                        continue;
                if (layouts[i].header && strcmp(layouts[i].header, t->sort->header) == 0)
                        a |= A_REVERSE;
                attron(a);
                if (layouts[i].left)
                        put(y, x, p->widths[i], layouts[i].header ? layouts[i].header : "");
                else
                        put_right(y, x, p->widths[i], layouts[i].header);
                attroff(a);
                x += p->widths[i] + 1;
        }
}

/* Where in a bar of `width` a size is; beyond its end: width. */
static int bar_place(const struct wire_group *g, uint64_t size, int width)
{
        unsigned __int128 place = (unsigned __int128)size * 100 * (unsigned)width / BAR_PERCENT / g->cap;

        return place < (unsigned)width ? (int)place : width;
}

static void draw_bar(const struct wire_group *g, int y, int x, int width)
{
        char text[BAR_MAX + 1];
        int inside = width - 2, filled, cap, low;

        put(y, x, width, "");
        if (use_percent(g) == UINT32_MAX)
                return;
        filled = bar_place(g, g->sample.resident, inside);
        memset(text, ' ', (size_t)inside);
        memset(text, '=', (size_t)filled);
        cap = bar_place(g, g->cap, inside);
        low = MIN(bar_place(g, g->low_watermark, inside), cap - 1); /* both are to be seen */
        text[low] = ':';
        text[cap] = '|';
        if (filled == inside)
                text[inside - 1] = '>';
        text[inside] = '\0';
        put(y, x, 1, "[");
        put(y, x + 1, inside, text);
        put(y, x + width - 1, 1, "]");
}

static void draw_group(const struct plan *p, const struct wire_group *g, int y, bool chosen, usec_t now)
{
        attr_t row = chosen ? A_REVERSE : A_NORMAL;
        int x = 0;

        put_line(y, row, "");
        for (size_t i = 0; i < ARRAY_SIZE(layouts); i++) {
                bool coloured = !layouts[i].header || strcmp(layouts[i].header, "STATE") == 0;
                attr_t a = row | (coloured ? state_attribute(g->state) : A_NORMAL);
                char text[CELL_MAX];

                if (!p->widths[i])
                        continue;
                attron(a);
                if (!layouts[i].header)
                        draw_bar(g, y, x, p->widths[i]);
                else {
                        cell_text(text, top_column(layouts[i].header), g, CELL_TABLE, now);
                        if (i == 0)
                                put_name(y, x, p->widths[i], text);
                        else if (layouts[i].left)
                                put(y, x, p->widths[i], text);
                        else
                                put_right(y, x, p->widths[i], text);
                }
                attroff(a);
                x += p->widths[i] + 1;
        }
}

/* -- lines around it -- */

static void draw_host(const struct top *t)
{
        const struct host_memory *m = &t->host.figures.host;
        char used[SIZE_TEXT_MAX], total[SIZE_TEXT_MAX], swap_used[SIZE_TEXT_MAX], swap_total[SIZE_TEXT_MAX], text[256];
        int n;

        n = snprintf(text, sizeof(text), "capd: %zu group%s  host %s of %s in use (%" PRIu32 "%%)", t->groups.n,
                     t->groups.n == 1 ? "" : "s", format_size(used, m->total - MIN(m->total, m->available)),
                     format_size(total, m->total), m->used_basis_points / 100);
        if (t->host.figures.pressure_threshold > 0)
                n += snprintf(text + n, sizeof(text) - (size_t)n, ", caps bite above %" PRIu32 "%%",
                              t->host.figures.pressure_threshold / 100);
        if (m->swap_total > 0)
                snprintf(text + n, sizeof(text) - (size_t)n, "  swap %s of %s",
                         format_size(swap_used, m->swap_total - MIN(m->swap_total, m->swap_free)),
                         format_size(swap_total, m->swap_total));
        else
                snprintf(text + n, sizeof(text) - (size_t)n, "  no swap");
        put_line(0, A_BOLD, text);
}

/* The most important thing that is wrong, or nothing. */
static void draw_notes(const struct top *t)
{
        char text[768], age[SIZE_TEXT_MAX];
        usec_t old = (clock_usec(CLOCK_MONOTONIC) - t->fetched_at) / USEC_PER_SEC * USEC_PER_SEC;

        text[0] = '\0';
        if (t->trouble[0] && !t->bus)
                snprintf(text, sizeof(text), "Figures of %s ago, trying again: %s", format_time(age, old), t->trouble);
        else if (t->trouble[0])
                snprintf(text, sizeof(text), "%s", t->trouble);
        else if (t->notes && t->notes[0])
                snprintf(text, sizeof(text), "%.*s", (int)strcspn(t->notes, "\n"), t->notes);
        put_line(1, t->trouble[0] ? COLOR_PAIR(PAIR_BAD) | A_BOLD : COLOR_PAIR(PAIR_WARN), text);
}

void top_message(const char *text)
{
        put_line(1, A_NORMAL, text);
        refresh();
}

static void draw_keys(const struct top *t)
{
        char text[384];

        if (t->view == VIEW_GROUPS)
                snprintf(text, sizeof(text), "q quit  Enter explain  p ps  <> sort (%s%s)  r reverse  h help",
                         t->sort->header, t->reverse ? ", reversed" : "");
        else if (t->view == VIEW_HELP)
                snprintf(text, sizeof(text), "q back");
        else
                snprintf(text, sizeof(text), "q back  space again  %s  arrows move  %s",
                         t->view == VIEW_PS ? "e explain" : "p ps", t->page_group);
        put_line(LINES - 1, A_REVERSE, text);
}

static void draw_groups(struct top *t)
{
        size_t rows = top_rows(t);
        usec_t now = clock_usec(CLOCK_MONOTONIC);
        struct plan p;

        if (t->chosen < t->first)
                t->first = t->chosen;
        else if (t->chosen >= t->first + rows)
                t->first = t->chosen - rows + 1;
        if (t->first + rows > t->groups.n)
                t->first = t->groups.n > rows ? t->groups.n - rows : 0;
        make_plan(t, &p);
        draw_headings(t, &p, LINES_ABOVE);
        for (size_t i = 0; i < rows && t->first + i < t->groups.n; i++)
                draw_group(&p, &t->groups.items[t->first + i], LINES_ABOVE + 1 + (int)i, t->first + i == t->chosen,
                           now);
        if (t->groups.n == 0)
                put_line(LINES_ABOVE + 1, A_NORMAL, NO_GROUPS);
        else
                put_line(LINES - LINES_BELOW, A_DIM, t->groups.items[t->chosen].reason);
}

static void draw_page(struct top *t)
{
        struct page *p = &t->page;
        size_t rows = top_rows(t), below = p->n - MIN(p->n, p->n_headings);
        int y = LINES_ABOVE;

        p->first = MIN(p->first, below > rows ? below - rows : 0);
        for (size_t i = 0; i < MIN(p->n, p->n_headings); i++) {
                attron(A_BOLD | A_UNDERLINE);
                put_from(y++, 0, COLS, (int)p->left, p->lines[i]);
                attroff(A_BOLD | A_UNDERLINE);
        }
        for (size_t i = 0; i < rows && p->first + i < below; i++)
                put_from(y++, 0, COLS, (int)p->left, p->lines[p->n_headings + p->first + i]);
}

size_t top_rows(const struct top *t)
{
        int rows = t->view == VIEW_GROUPS ? LINES - LINES_ABOVE - 1 - LINES_BELOW
                                          : LINES - LINES_ABOVE - (int)t->page.n_headings - 1;

        return rows > 1 ? (size_t)rows : 1;
}

void top_draw(struct top *t)
{
        erase();
        draw_host(t);
        draw_notes(t);
        if (t->view == VIEW_GROUPS)
                draw_groups(t);
        else
                draw_page(t);
        draw_keys(t);
        move(LINES - 1, 0);
        refresh();
}
