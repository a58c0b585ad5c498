/* SPDX-License-Identifier: MIT */
/* Scales, and pictures of histories that are odd. That a real one is well-formed is for the system tests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "plot.h"

#define S USEC_PER_SEC

static void test_sizes(void **state)
{
        assert_int_equal(plot_size_step(300 * MIB, 5), 100 * MIB);
        assert_int_equal(plot_size_step(600 * MIB, 5), 200 * MIB);
        assert_int_equal(plot_size_step(1100 * MIB, 5), 200 * MIB); /* 1000M is shown as it is */
        assert_int_equal(plot_size_step(2600 * MIB, 5), 512 * MIB);
        assert_int_equal(plot_size_step(6 * GIB, 5), 2 * GIB);
        assert_int_equal(plot_size_step(0, 5), 1);
        for (uint64_t max = 1; max < 1ULL << 62; max = max * 3 / 2 + 1) {
                uint64_t step = plot_size_step(max, 5);

                assert_true(step > 0 && max / step <= 5);
        }
        assert_true(plot_size_step(UINT64_MAX - 1, 5) > 0);
}

static void test_times(void **state)
{
        setenv("TZ", "CET-1", 1);
        tzset();
        assert_int_equal(plot_time_step(240 * S, 10), 30 * S);
        assert_int_equal(plot_time_step(24 * 3600 * S, 10), 3 * 3600 * S);
        assert_int_equal(plot_time_step(366 * 86400 * S, 10), 366 * 86400 * S);
        /* 2023-11-14 23:13:20 there: the day begins 2,800 seconds later */
        assert_int_equal(plot_first_tick(1700000000 * S, 86400 * S), 1700002800 * S);
        assert_int_equal(plot_first_tick(1700000000 * S, 600 * S), 1700000400 * S);
        assert_int_equal(plot_first_tick(1700000400 * S, 600 * S), 1700000400 * S);
        assert_int_equal(plot_first_tick(1700000400 * S + 1, 600 * S), 1700001000 * S);
}

static struct history_row row(uint64_t at, uint64_t span, uint64_t resident)
{
        struct history_row r = {.at = at, .span = span, .state = STATE_OK, .cap = 100 * MIB, .watermark = 95 * MIB};

        r.sample.resident = resident;
        r.sample.rss_sum = resident == SIZE_UNKNOWN ? SIZE_UNKNOWN : 2 * resident;
        r.sample.quality = resident == SIZE_UNKNOWN ? QUALITY_UNKNOWN : QUALITY_EXACT;
        return r;
}

static char *draw(const char *name, struct history_row *rows, size_t n, uint64_t from, uint64_t to)
{
        const struct plot_group g = {.name = name, .rows = rows, .n = n};
        char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        plot_svg(f, &g, 1, from, to);
        fclose(f);
        assert_null(strstr(text, "nan"));
        assert_null(strstr(text, "inf"));
        assert_non_null(strstr(text, "</svg>\n"));
        return text;
}

static unsigned count(const char *text, const char *what)
{
        unsigned n = 0;

        for (const char *s = text; (s = strstr(s, what)); s++)
                n++;
        return n;
}

static void test_pictures(void **state)
{
        struct history_row rows[] = {
                        row(1000 * S, 10 * S, 50 * MIB), row(1010 * S, 10 * S, SIZE_UNKNOWN),
                        row(1020 * S, 10 * S, 60 * MIB), row(1100 * S, 0, 0),
                        row(1200 * S, 10 * S, 70 * MIB),
        };
        char *text;

        /* what is not known, and what was not seen, is a gap */
        text = draw("a<b>&\"c", rows, 5, 1000 * S, 1210 * S);
        assert_non_null(strstr(text, ">a&lt;b&gt;&amp;&quot;c<"));
        assert_int_equal(count(text, "class=\"resident-line\" d="), 4 + 1); /* and the legend's */
        assert_null(strstr(text, "(above)"));
        free(text);
        /* a cap far above all that was: not drawn, and said so */
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
                rows[i].cap = 900 * GIB;
        text = draw("g", rows, 5, 1000 * S, 1210 * S);
        assert_non_null(strstr(text, "cap 900G (above)"));
        free(text);
        /* none at all */
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
                rows[i].cap = rows[i].watermark = SIZE_UNKNOWN;
        rows[2].sample.quality = QUALITY_BOUND_UPPER;
        text = draw("g", rows, 5, 1000 * S, 1210 * S);
        assert_null(strstr(text, "cap "));
        assert_non_null(strstr(text, "a bound"));
        free(text);
        /* the most that was there is no bound from above */
        rows[2].sample.resident = 90 * MIB;
        text = draw("g", rows, 5, 1000 * S, 1210 * S);
        assert_non_null(strstr(text, "resident 70M, max 70M"));
        free(text);
        text = draw("g", NULL, 0, 1000 * S, 1210 * S);
        assert_non_null(strstr(text, "nothing is known"));
        free(text);
        /* nothing but zero, or but what is not known; beyond the edges; huge */
        free(draw("g", &rows[3], 1, 1000 * S, 1210 * S));
        free(draw("g", &rows[1], 1, 1000 * S, 1210 * S));
        free(draw("g", rows, 5, 1015 * S, 1016 * S));
        rows[0] = row(1000 * S, 10 * S, INT64_MAX);
        rows[0].paged_out = rows[0].refaulted = UINT64_MAX - 1;
        free(draw("g", rows, 5, 0, 1800000000 * S));
}

static void test_sparkline(void **state)
{
        const uint64_t now = 1000000 * S;
        struct history_row rows[] = {row(now - 1800 * S, 900 * S, 50 * MIB), row(now - 900 * S, 900 * S, 100 * MIB)};
        char text[4 * SPARKLINE_CELLS];

        sparkline(text, sizeof(text), rows, 2, now, false);
        assert_string_equal(text, "..........=====#####");
        sparkline(text, sizeof(text), NULL, 0, now, false);
        assert_string_equal(text, "....................");
        sparkline(text, sizeof(text), NULL, 0, now, true);
        assert_int_equal(strlen(text), 2 * SPARKLINE_CELLS);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_sizes),
                        cmocka_unit_test(test_times),
                        cmocka_unit_test(test_pictures),
                        cmocka_unit_test(test_sparkline),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
