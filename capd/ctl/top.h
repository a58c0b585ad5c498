/* SPDX-License-Identifier: MIT */
/*
 * top.h: the parts of capctl top.
 *
 * top.c has the terminal, the keys and the loop; top-data.c what is known of capd and in which order it is shown; top-draw.c puts
 * it on the screen. Only top.c and top-draw.c know curses.
 */
#ifndef CAPD_CTL_TOP_H
#define CAPD_CTL_TOP_H

#include "ctl.h"

enum top_view { VIEW_GROUPS, VIEW_EXPLAIN, VIEW_PS, VIEW_HELP };

/* Text of several lines that is moved over. */
struct page {
        char *text;   /* its lines end in NUL */
        char **lines; /* into text */
        size_t n, first, left;
        size_t n_headings; /* lines that stay at the top */
};

struct top {
        const struct arguments *arguments;
        sd_bus *bus; /* NULL: not connected */
        struct groups groups;
        struct host host;
        char *notes;       /* on the host and capd, lines; or NULL */
        char trouble[512]; /* why nothing newer is known, or what the last key could not do; "": nothing */
        usec_t fetched_at;

        const struct column *sort;
        bool reverse;
        size_t chosen, first; /* rows */
        char chosen_name[LIMIT_GROUP_NAME_BYTES];

        enum top_view view;
        struct page page;
        char page_group[LIMIT_GROUP_NAME_BYTES];

        volatile int *bus_fd; /* for the signal handler */
};

/* -- top-data.c -- */

/* Asks capd; after a failure, which is told by t->trouble, what was known before stays. An exit status. */
int top_fetch(struct top *t);
void top_disconnect(struct top *t);
void top_done(struct top *t);
/* Orders the groups anew; the one that was chosen stays chosen. */
void top_sort(struct top *t);
void top_choose(struct top *t, size_t row);
/* Another view. What cannot be had is told by t->trouble. */
void top_show(struct top *t, enum top_view view);
void page_done(struct page *p);
/* a column of group_columns, by its heading */
const struct column *top_column(const char *header);

/* -- top-draw.c -- */

void top_draw(struct top *t);
void top_message(const char *text); /* until the next drawing */
/* Rows for groups, or lines of a page, on the screen as it is now. */
size_t top_rows(const struct top *t);
/* The columns that fit, left to right; how many. */
size_t top_visible(const struct top *t, const struct column *ret[static COLUMNS_MAX]);
void top_colours(void);

#endif
