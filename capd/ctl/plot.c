/* SPDX-License-Identifier: MIT */
/*
 * plot.c: capctl plot: SVG, written by hand.
 *
 * A panel a group, from top to bottom: its name; what was resident as an area, with the sum of RSS, the cap and the
 * watermark as lines; what was paged out (upwards) and came back (downwards); its states as a band; the time. Colours are
 * classes, with a second set for dark backgrounds. What is no number to the picture (a cap far above all that there was) is
 * not drawn, and the legend says so: a picture in which everything lies on the ground tells nothing.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "capd/base/size.h"
#include "capd/base/text.h"
#include "plot.h"

#define WIDTH  960.0
#define LEFT   72.0
#define RIGHT  (WIDTH - 24.0)
#define MARGIN 16.0 /* above the first panel and below the last */

/* From the top of a panel. */
#define TITLE_Y       20.0
#define LEGEND_Y      46.0
#define MAIN_TOP      60.0
#define MAIN_BOTTOM   240.0
#define FLOW_LEGEND_Y 268.0
#define FLOW_TOP      280.0
#define FLOW_BOTTOM   344.0
#define BAND_TOP      358.0
#define BAND_BOTTOM   374.0
#define TIME_Y        392.0
#define STATES_Y      416.0
#define PANEL         448.0

/* What is larger than the most that was resident by more than this is beyond the scale. */
#define SCALE_FACTOR 5
#define FLOW_BINS    108U
/* Of a font that is wider than most, so that no label runs into the next. */
#define CHARACTER 7.3
/* Points asked for: what the width can show. */
#define POINTS 500U

struct panel {
        FILE *f;
        const struct plot_group *g;
        double top;
        uint64_t from, to;
        uint64_t full; /* bytes at MAIN_TOP */
};

static const char style[] =
                "<style>\n"
                "text{font:12px system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;fill:#3b424b}\n"
                ".bg{fill:#ffffff}.title{font-size:16px;font-weight:600;fill:#15191e}.dim{fill:#68717c}\n"
                ".grid{stroke:#e3e7ec;stroke-width:1}.base{stroke:#9aa4af;stroke-width:1}\n"
                ".resident{fill:#2a6fdb;fill-opacity:.26}.resident-line{stroke:#2a6fdb;stroke-width:1.8;fill:none}\n"
                ".bound{fill:#2a6fdb;fill-opacity:.1}.bound-line{stroke:#2a6fdb;stroke-width:1.2;fill:none;"
                "stroke-dasharray:2 3}\n"
                ".rss{stroke:#8250df;stroke-width:1.5;fill:none}\n"
                ".cap{stroke:#cf222e;stroke-width:1.8;fill:none;stroke-dasharray:8 4}\n"
                ".mark{stroke:#b87503;stroke-width:1.5;fill:none;stroke-dasharray:2 3}\n"
                ".out{fill:#1f883d}.in{fill:#d4572a}\n"
                ".ok{fill:#a6d8b0}.observed{fill:#a9c9ee}.enforcing{fill:#f2cc60}.over{fill:#f5a965}\n"
                ".thrashing{fill:#e58fb4}.unenforceable{fill:#ee8078}.paused{fill:#c3cad2}.unknown{fill:#e7eaee}\n"
                ".band{fill:#15191e;font-size:11px}\n"
                "@media(prefers-color-scheme:dark){\n"
                "text{fill:#c4ccd5}.bg{fill:#0f1419}.title{fill:#f0f3f6}.dim{fill:#8e99a5}\n"
                ".grid{stroke:#262d35}.base{stroke:#5d6874}\n"
                ".resident,.bound{fill:#5b9dff}.resident-line,.bound-line{stroke:#5b9dff}\n"
                ".rss{stroke:#b392f0}.cap{stroke:#ff6b63}.mark{stroke:#e3a72f}\n"
                ".out{fill:#46c060}.in{fill:#f2844e}\n"
                ".ok{fill:#2c7a42}.observed{fill:#2f6aa8}.enforcing{fill:#a37c10}.over{fill:#b0621c}\n"
                ".thrashing{fill:#a2447a}.unenforceable{fill:#b3342d}.paused{fill:#56606b}.unknown{fill:#2b323a}\n"
                ".band{fill:#f0f3f6}\n"
                "}\n"
                "</style>\n";

/* Names come escaped for terminals, which is not escaped for XML. */
static void write_xml(FILE *f, const char *text)
{
        for (const char *s = text; *s; s++)
                switch (*s) {
                case '&':
                        fputs("&amp;", f);
                        break;
                case '<':
                        fputs("&lt;", f);
                        break;
                case '>':
                        fputs("&gt;", f);
                        break;
                case '"':
                        fputs("&quot;", f);
                        break;
                default:
                        fputc(*s, f);
                }
}

static double x_of(const struct panel *p, uint64_t at)
{
        at = MIN(MAX(at, p->from), p->to);
        return LEFT + (RIGHT - LEFT) * (double)(at - p->from) / (double)(p->to - p->from);
}

static double y_of(const struct panel *p, uint64_t bytes)
{
        return p->top + MAIN_BOTTOM - (MAIN_BOTTOM - MAIN_TOP) * (double)MIN(bytes, p->full) / (double)p->full;
}

/* Unknown is no step, and an end: the next line begins anew. */
static uint64_t end_of(const struct history_row *r)
{
        return r->at + r->span;
}

static uint64_t value_of(const struct history_row *r, size_t offset)
{
        return *(const uint64_t *)((const char *)r + offset);
}

static uint64_t largest(const struct plot_group *g, size_t offset)
{
        uint64_t most = 0;

        for (size_t i = 0; i < g->n; i++)
                if (value_of(&g->rows[i], offset) != SIZE_UNKNOWN)
                        most = MAX(most, value_of(&g->rows[i], offset));
        return most;
}

/* The last known one. */
static uint64_t latest(const struct plot_group *g, size_t offset)
{
        for (size_t i = g->n; i-- > 0;)
                if (value_of(&g->rows[i], offset) != SIZE_UNKNOWN)
                        return value_of(&g->rows[i], offset);
        return SIZE_UNKNOWN;
}

#define RESIDENT  offsetof(struct history_row, sample.resident)
#define RSS_SUM   offsetof(struct history_row, sample.rss_sum)
#define CAP       offsetof(struct history_row, cap)
#define WATERMARK offsetof(struct history_row, watermark)

static void choose_scale(struct panel *p)
{
        uint64_t resident = MAX(largest(p->g, RESIDENT), KIB), full = resident;
        const size_t others[] = {RSS_SUM, CAP};

        for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
                uint64_t most = largest(p->g, others[i]);

                if (most / SCALE_FACTOR <= resident)
                        full = MAX(full, most);
        }
        p->full = full + full / 16;
}

static bool is_drawn(const struct panel *p, size_t offset)
{
        uint64_t most = largest(p->g, offset);

        return most > 0 && most <= p->full;
}

/* -- the parts -- */

static void write_text(const struct panel *p, double x, double y, const char *class, const char *anchor,
                       const char *text)
{
        fprintf(p->f, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\" text-anchor=\"%s\">", x, p->top + y, class, anchor);
        write_xml(p->f, text);
        fputs("</text>\n", p->f);
}

static void write_line(const struct panel *p, const char *class, double x1, double y1, double x2, double y2)
{
        fprintf(p->f, "<path class=\"%s\" d=\"M%.1f %.1fL%.1f %.1f\"/>\n", class, x1, y1, x2, y2);
}

static void write_rect(const struct panel *p, const char *class, double x, double y, double width, double height)
{
        fprintf(p->f, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n", class, x,
                p->top + y, width, height);
}

static void format_moment(char *buf, size_t size, uint64_t at, const char *format)
{
        time_t seconds = (time_t)(at / USEC_PER_SEC);
        struct tm tm;

        buf[0] = '\0';
        if (localtime_r(&seconds, &tm))
                strftime(buf, size, format, &tm);
}

static void write_title(const struct panel *p)
{
        char begin[64], end[64], text[160];
        bool same_day;

        write_text(p, LEFT, TITLE_Y, "title", "start", p->g->name);
        format_moment(begin, sizeof(begin), p->from, "%Y-%m-%d %H:%M");
        format_moment(end, sizeof(end), p->to, "%Y-%m-%d %H:%M %Z");
        same_day = strncmp(begin, end, sizeof("YYYY-MM-DD")) == 0;
        snprintf(text, sizeof(text), "%s – %s", begin, end + (same_day ? sizeof("YYYY-MM-DD") : 0));
        write_text(p, RIGHT, TITLE_Y, "dim", "end", text);
}

static void write_sizes(const struct panel *p)
{
        uint64_t step = plot_size_step(p->full, 5);

        for (uint64_t at = 0; at <= p->full; at += step) {
                char size[SIZE_TEXT_MAX];
                double y = y_of(p, at);

                write_line(p, at == 0 ? "base" : "grid", LEFT, y, RIGHT, y);
                write_text(p, LEFT - 8, y - p->top + 4, "dim", "end", at == 0 ? "0" : format_size(size, at));
        }
}

/* A date where a day begins; else the time, with seconds where the ticks are that close. */
static void write_time(const struct panel *p, uint64_t at, uint64_t step)
{
        char text[64];

        format_moment(text, sizeof(text), at, "%H:%M:%S");
        if (strcmp(text, "00:00:00") == 0 || step >= 86400 * USEC_PER_SEC)
                format_moment(text, sizeof(text), at, "%b %e");
        else if (step % (60 * USEC_PER_SEC) == 0)
                text[5] = '\0';
        write_text(p, x_of(p, at), TIME_Y, "dim", "middle", text);
}

static void write_times(const struct panel *p)
{
        uint64_t step = plot_time_step(p->to - p->from, 10);

        for (uint64_t at = plot_first_tick(p->from, step); at <= p->to; at += step) {
                double x = x_of(p, at);

                write_line(p, "grid", x, p->top + MAIN_TOP, x, p->top + MAIN_BOTTOM);
                write_line(p, "grid", x, p->top + FLOW_TOP, x, p->top + BAND_BOTTOM + 4);
                if (x > LEFT + 16 && x < RIGHT - 16)
                        write_time(p, at, step);
        }
}

/* The end of a stretch that is drawn in one go: of one kind, known, and without a gap. */
static size_t stretch(const struct plot_group *g, size_t first, size_t offset, bool bounds, bool *ret_bound)
{
        size_t i = first;

        *ret_bound = bounds && g->rows[first].sample.quality != QUALITY_EXACT;
        for (; i < g->n; i++) {
                const struct history_row *r = &g->rows[i];

                if (value_of(r, offset) == SIZE_UNKNOWN || (i > first && end_of(r - 1) != r->at) ||
                    (bounds && (r->sample.quality != QUALITY_EXACT) != *ret_bound))
                        break;
        }
        return i;
}

/* Steps from `first` to before `end`: what held held until the next look. */
static void write_steps(const struct panel *p, size_t first, size_t end, size_t offset)
{
        for (size_t i = first; i < end; i++) {
                const struct history_row *r = &p->g->rows[i];
                double y = y_of(p, value_of(r, offset));

                fprintf(p->f, "%s%.1f %.1fH%.1f", i == first ? "M" : "L", x_of(p, r->at), y, x_of(p, end_of(r)));
        }
}

static void write_curve(const struct panel *p, size_t offset, const char *class)
{
        bool bound;

        if (!is_drawn(p, offset))
                return;
        for (size_t i = 0, end; i < p->g->n; i = MAX(end, i + 1)) {
                end = stretch(p->g, i, offset, false, &bound);
                if (end == i)
                        continue;
                fprintf(p->f, "<path class=\"%s\" d=\"", class);
                write_steps(p, i, end, offset);
                fputs("\"/>\n", p->f);
        }
}

static void write_resident(const struct panel *p)
{
        bool bound;

        for (size_t i = 0, end; i < p->g->n; i = MAX(end, i + 1)) {
                end = stretch(p->g, i, RESIDENT, true, &bound);
                if (end == i)
                        continue;
                fprintf(p->f, "<path class=\"%s\" d=\"", bound ? "bound" : "resident");
                write_steps(p, i, end, RESIDENT);
                fprintf(p->f, "V%.1fH%.1fZ\"/>\n", p->top + MAIN_BOTTOM, x_of(p, p->g->rows[i].at));
                fprintf(p->f, "<path class=\"%s-line\" d=\"", bound ? "bound" : "resident");
                write_steps(p, i, end, RESIDENT);
                fputs("\"/>\n", p->f);
        }
}

/* -- legends: each entry is drawn at *x, which moves on -- */

static double text_width(const char *text)
{
        double n = 0;

        for (const char *s = text; *s; s++)
                n += ((unsigned char)*s & 0xc0) != 0x80;
        return n * CHARACTER;
}

static void legend_line(const struct panel *p, double *x, double y, const char *class, bool filled, const char *text)
{
        if (filled)
                write_rect(p, class, *x, y - 10, 22, 11);
        else
                write_line(p, class, *x, p->top + y - 4, *x + 22, p->top + y - 4);
        write_text(p, *x + 28, y, "legend", "start", text);
        *x += 28 + text_width(text) + 16;
}

static void legend_size(const struct panel *p, double *x, size_t offset, const char *class, const char *what)
{
        uint64_t last = latest(p->g, offset);
        char text[128], size[SIZE_TEXT_MAX];

        if (last == SIZE_UNKNOWN)
                return;
        snprintf(text, sizeof(text), "%s %s%s", what, format_size(size, last),
                 is_drawn(p, offset) || last == 0 ? "" : " (above)");
        legend_line(p, x, LEGEND_Y, class, false, text);
}

static bool has_bounds(const struct plot_group *g)
{
        for (size_t i = 0; i < g->n; i++)
                if (g->rows[i].sample.quality != QUALITY_EXACT && g->rows[i].sample.resident != SIZE_UNKNOWN)
                        return true;
        return false;
}

/* A bound from above may be far above what there was. */
static bool peak_resident(const struct plot_group *g, uint64_t *ret)
{
        bool any = false;

        for (size_t i = 0; i < g->n; i++) {
                const struct group_sample *s = &g->rows[i].sample;

                if (s->resident == SIZE_UNKNOWN || s->quality == QUALITY_BOUND_UPPER)
                        continue;
                *ret = any ? MAX(*ret, s->resident) : s->resident;
                any = true;
        }
        return any;
}

static void write_legend(const struct panel *p)
{
        char text[128], size[SIZE_TEXT_MAX], most[SIZE_TEXT_MAX];
        uint64_t peak;
        double x = LEFT;

        format_size(size, latest(p->g, RESIDENT));
        if (peak_resident(p->g, &peak))
                snprintf(text, sizeof(text), "resident %s, max %s", size, format_size(most, peak));
        else
                snprintf(text, sizeof(text), "resident at most %s", size);
        write_line(p, "resident-line", x, p->top + LEGEND_Y - 10, x + 22, p->top + LEGEND_Y - 10);
        legend_line(p, &x, LEGEND_Y, "resident", true, text);
        if (has_bounds(p->g))
                legend_line(p, &x, LEGEND_Y, "bound-line", false, "a bound");
        legend_size(p, &x, RSS_SUM, "rss", "sum of RSS");
        legend_size(p, &x, CAP, "cap", "cap");
        if (is_drawn(p, WATERMARK))
                legend_size(p, &x, WATERMARK, "mark", "watermark");
}

/* -- paged out and back -- */

struct flow {
        double out[FLOW_BINS], in[FLOW_BINS];
        uint64_t total_out, total_in;
        double most;
};

/* A point may stand for a long time: its bytes are spread over it. */
static void spread(const struct panel *p, double *bins, const struct history_row *r, uint64_t bytes)
{
        double width = (RIGHT - LEFT) / FLOW_BINS, share;
        unsigned first = (unsigned)((x_of(p, r->at) - LEFT) / width), last;

        first = MIN(first, FLOW_BINS - 1);
        last = (unsigned)((x_of(p, end_of(r)) - LEFT) / width);
        last = MIN(MAX(last, first), FLOW_BINS - 1);
        share = (double)bytes / (last - first + 1);
        for (unsigned i = first; i <= last; i++)
                bins[i] += share;
}

static void collect(const struct panel *p, struct flow *ret)
{
        *ret = (struct flow){0};
        for (size_t i = 0; i < p->g->n; i++) {
                const struct history_row *r = &p->g->rows[i];

                spread(p, ret->out, r, r->paged_out);
                spread(p, ret->in, r, r->refaulted);
                ret->total_out += r->paged_out;
                ret->total_in += r->refaulted;
        }
        for (unsigned i = 0; i < FLOW_BINS; i++)
                for (int back = 0; back <= 1; back++) {
                        double bytes = back ? ret->in[i] : ret->out[i];

                        ret->most = MAX(ret->most, bytes);
                }
}

static void write_bars(const struct panel *p, const struct flow *flow, double full)
{
        double width = (RIGHT - LEFT) / FLOW_BINS, middle = (FLOW_TOP + FLOW_BOTTOM) / 2, half = middle - FLOW_TOP;

        for (unsigned i = 0; i < FLOW_BINS; i++) {
                double x = LEFT + i * width, out = half * flow->out[i] / full, in = half * flow->in[i] / full;

                if (flow->out[i] > 0)
                        write_rect(p, "out", x + 0.5, middle - MAX(out, 1.0), width - 1, MAX(out, 1));
                if (flow->in[i] > 0)
                        write_rect(p, "in", x + 0.5, middle, width - 1, MAX(in, 1.0));
        }
}

static void write_flow_scale(const struct panel *p, uint64_t tick, double full)
{
        double middle = (FLOW_TOP + FLOW_BOTTOM) / 2, y = (middle - FLOW_TOP) * (double)tick / full;
        char size[SIZE_TEXT_MAX];

        for (int sign = -1; sign <= 1; sign += 2) {
                write_line(p, "grid", LEFT, p->top + middle + sign * y, RIGHT, p->top + middle + sign * y);
                write_text(p, LEFT - 8, middle + sign * y + 4, "dim", "end", format_size(size, tick));
        }
}

static void write_flow(const struct panel *p)
{
        double middle = (FLOW_TOP + FLOW_BOTTOM) / 2, x = LEFT, full;
        char text[64], size[SIZE_TEXT_MAX];
        struct flow flow;
        uint64_t tick;

        collect(p, &flow);
        snprintf(text, sizeof(text), "paged out %s", format_size(size, flow.total_out));
        legend_line(p, &x, FLOW_LEGEND_Y, "out", true, text);
        snprintf(text, sizeof(text), "came back %s", format_size(size, flow.total_in));
        legend_line(p, &x, FLOW_LEGEND_Y, "in", true, text);
        full = MIN(MAX(flow.most, 1.0), 0x1p62);
        tick = plot_size_step((uint64_t)full, 1);
        if (flow.most > 0) {
                full = MAX(full, (double)tick);
                write_flow_scale(p, tick, full);
                write_bars(p, &flow, full);
        }
        write_line(p, "base", LEFT, p->top + middle, RIGHT, p->top + middle);
        write_text(p, LEFT - 8, middle + 4, "dim", "end", "0");
}

/* -- states -- */

static void write_state(const struct panel *p, size_t first, size_t end)
{
        const char *name = group_state_to_string((enum group_state)p->g->rows[first].state);
        double x = x_of(p, p->g->rows[first].at), width = x_of(p, end_of(&p->g->rows[end - 1])) - x;

        write_rect(p, name, x, BAND_TOP, MAX(width, 0.5), BAND_BOTTOM - BAND_TOP);
        if (width > text_width(name) + 8)
                write_text(p, x + width / 2, BAND_BOTTOM - 4, "band", "middle", name);
}

static void write_states(const struct panel *p)
{
        bool seen[_STATE_MAX] = {0};
        double x = LEFT;

        for (size_t i = 0, end; i < p->g->n; i = end) {
                for (end = i + 1; end < p->g->n && p->g->rows[end].state == p->g->rows[i].state &&
                                  end_of(&p->g->rows[end - 1]) == p->g->rows[end].at;)
                        end++;
                write_state(p, i, end);
                seen[p->g->rows[i].state] = true;
        }
        for (unsigned s = 0; s < _STATE_MAX; s++)
                if (seen[s])
                        legend_line(p, &x, STATES_Y, group_state_to_string((enum group_state)s), true,
                                    group_state_to_string((enum group_state)s));
}

static void write_panel(const struct panel *p)
{
        write_title(p);
        if (p->g->n == 0) {
                write_text(p, (LEFT + RIGHT) / 2, (MAIN_TOP + MAIN_BOTTOM) / 2, "dim", "middle",
                           "nothing is known of this time");
                return;
        }
        write_times(p);
        write_sizes(p);
        write_legend(p);
        write_resident(p);
        write_curve(p, RSS_SUM, "rss");
        write_curve(p, WATERMARK, "mark");
        write_curve(p, CAP, "cap");
        write_flow(p);
        write_states(p);
}

void plot_svg(FILE *f, const struct plot_group *groups, size_t n, uint64_t from, uint64_t to)
{
        double height = (double)n * PANEL + 2 * MARGIN;

        fprintf(f,
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\">\n"
                "<title>capd: memory of groups</title>\n%s"
                "<rect class=\"bg\" x=\"0\" y=\"0\" width=\"%.0f\" height=\"%.0f\"/>\n",
                WIDTH, height, WIDTH, height, style, WIDTH, height);
        for (size_t i = 0; i < n; i++) {
                struct panel p = {.f = f, .g = &groups[i], .top = MARGIN + (double)i * PANEL, .from = from, .to = to};

                choose_scale(&p);
                write_panel(&p);
        }
        fputs("</svg>\n", f);
}

/* -- the verb -- */

static void plot_done(struct plot_group **groups)
{
        for (struct plot_group *g = *groups; g && g->name; g++)
                free(g->rows);
        free(*groups);
}

int verb_plot(const struct arguments *a)
{
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(plot_done) struct plot_group *groups = calloc(a->n_words + 1, sizeof(*groups));
        uint64_t to = clock_usec(CLOCK_REALTIME), from = to;
        char name[LIMIT_GROUP_NAME_BYTES];
        usec_t since;
        int r;

        if (!groups)
                return out_of_memory();
        if (isatty(STDOUT_FILENO)) {
                text_escape(name, sizeof(name), a->words[0], strlen(a->words[0]));
                (void)failed("a picture is nothing for a terminal: capctl plot %s > plot.svg", name);
                return EXIT_USAGE;
        }
        r = since_of(a, 0, &since);
        if (r == 0)
                r = client_open(a, &bus);
        for (size_t i = 0; r == 0 && i < a->n_words; i++) {
                r = client_history(bus, a->words[i], since, POINTS, &groups[i].rows, &groups[i].n);
                groups[i].name = a->words[i];
                if (r == 0 && groups[i].n > 0)
                        from = MIN(from, groups[i].rows[0].at);
        }
        if (r != 0)
                return r;
        if (since > 0 && since < to)
                from = to - since;
        plot_svg(stdout, groups, a->n_words, MIN(from, to - USEC_PER_SEC), to);
        return ferror(stdout) ? failed("cannot write the picture") : EXIT_DONE;
}
