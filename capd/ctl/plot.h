/* SPDX-License-Identifier: MIT */
/* plot.h: the history of groups as a picture. */
#ifndef CAPD_CTL_PLOT_H
#define CAPD_CTL_PLOT_H

#include "ctl.h"

struct plot_group {
        const char *name;
        struct history_row *rows;
        size_t n;
};

/* Writes SVG: a panel a group, all over the time from `from` to `to` (CLOCK_REALTIME, microseconds; from < to). */
void plot_svg(FILE *f, const struct plot_group *groups, size_t n, uint64_t from, uint64_t to);

/* -- plot-scale.c: round values -- */

/* The distance of ticks, so that there are at most `n` from 0 to `max`: 1, 2, 5, 10, … 200 or 512 of a unit. */
uint64_t plot_size_step(uint64_t max, unsigned n);
/* The same for a time: whole seconds, minutes, hours or days. */
uint64_t plot_time_step(uint64_t span, unsigned n);
/* The first tick at or after a time, counted from local midnight. */
uint64_t plot_first_tick(uint64_t from, uint64_t step);

#endif
