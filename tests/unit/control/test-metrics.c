/* SPDX-License-Identifier: MIT */
/* The metrics as text. What Prometheus and node_exporter make of it is for the system tests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "internal.h"

static struct wire_group groups[LIMIT_METRICS_GROUPS + 3];
static uint32_t by_name[LIMIT_METRICS_GROUPS + 3];

static struct snapshot make(uint32_t n)
{
        struct snapshot s = {.groups = groups, .by_name = by_name};

        s.header.n_groups = n;
        s.header.published_at = 5 * USEC_PER_SEC;
        s.header.host = (struct host_memory){GIB, SIZE_UNKNOWN, GIB / 2, SIZE_UNKNOWN, SIZE_UNKNOWN, 5000};
        strcpy(s.header.version_text, "1.2.3");
        for (uint32_t i = 0; i < n; i++) {
                by_name[i] = i;
                groups[i] = (struct wire_group){.state = STATE_OK, .cap = SIZE_UNKNOWN, .working_set = SIZE_UNKNOWN};
                groups[i].sample = (struct group_sample){.quality = QUALITY_EXACT,
                                                         .resident = 4096,
                                                         .error_bytes = SIZE_UNKNOWN,
                                                         .swap = SIZE_UNKNOWN};
                groups[i].unmapped_total = 77;
                snprintf(groups[i].name, sizeof(groups[i].name), "g%05u", i);
                strcpy(groups[i].action, "pageout");
        }
        return s;
}

static char *text_of(const struct snapshot *s, bool openmetrics)
{
        char *text;
        size_t size;

        assert_int_equal(metrics_text(s, 1700000000 * (int64_t)USEC_PER_SEC, openmetrics, &text, &size), 0);
        assert_int_equal(strlen(text), size);
        return text;
}

static void has(const char *text, const char *what)
{
        if (!text || !strstr(text, what))
                fail_msg("'%s' is not in:\n%s", what, text ? text : "");
}

static void test_dialects(void **state)
{
        struct snapshot s = make(2);
        char *open = text_of(&s, true), *classic = text_of(&s, false);

        has(open, "# TYPE capd_group_paged_out_bytes counter\n# UNIT capd_group_paged_out_bytes bytes\n"
                  "# HELP capd_group_paged_out_bytes ");
        has(classic, "# TYPE capd_group_paged_out_bytes_total counter\n# HELP capd_group_paged_out_bytes_total ");
        has(open, "capd_group_paged_out_bytes_total{group=\"g00001\"} 77\n");
        has(classic, "capd_group_paged_out_bytes_total{group=\"g00001\"} 77\n");
        assert_string_equal(open + strlen(open) - 6, "# EOF\n");
        assert_null(strstr(classic, "EOF"));
        assert_null(strstr(classic, "UNIT"));
        free(open);
        free(classic);
}

/* Left out, never 0; and a family of which nothing is known is not there at all. */
static void test_unknown(void **state)
{
        struct snapshot s = make(2);
        char *text;

        groups[1].sample.swap = 8192;
        groups[1].sample.error_bytes = 4096;
        text = text_of(&s, true);
        has(text, "capd_group_resident_error_bytes{group=\"g00001\"} 4096\n"); /* an estimate; a count has none */
        assert_null(strstr(text, "capd_group_resident_error_bytes{group=\"g00000\"}"));
        has(text, "capd_group_swap_bytes{group=\"g00001\"} 8192\n");
        assert_null(strstr(text, "capd_group_swap_bytes{group=\"g00000\"}"));
        assert_null(strstr(text, "capd_group_cap_bytes"));
        assert_null(strstr(text, "capd_host_swap_free_bytes"));
        assert_null(strstr(text, "18446744073709551615"));
        free(text);
}

static void test_values(void **state)
{
        struct snapshot s = make(1);
        char *text;

        groups[0].trend = -5;
        groups[0].state = STATE_THRASHING;
        groups[0].sample.counted_at = 1500000;
        strcpy(groups[0].name, "a\\b\"c");
        text = text_of(&s, true);
        has(text, "capd_build_info{version=\"1.2.3\"} 1\n");
        has(text, "capd_published_timestamp_seconds 1700000005.000000\n");
        has(text, "capd_host_memory_used_ratio 0.5000\n");
        has(text, "capd_group_resident_timestamp_seconds{group=\"a\\\\b\\\"c\"} 1700000001.500000\n");
        has(text, "capd_group_trend_bytes_per_second{group=\"a\\\\b\\\"c\"} -5\n");
        has(text, "capd_group_state{group=\"a\\\\b\\\"c\",state=\"thrashing\"} 1\n");
        has(text, "capd_group_state{group=\"a\\\\b\\\"c\",state=\"ok\"} 0\n");
        has(text, "capd_config_reload_successful 1\n");
        free(text);
        strcpy(s.header.config_error, "x");
        text = text_of(&s, true);
        has(text, "capd_config_reload_successful 0\n");
        free(text);
}

static void test_limit(void **state)
{
        struct snapshot s = make(LIMIT_METRICS_GROUPS + 3);
        char *text = text_of(&s, true);

        has(text, "capd_dropped_groups 3\n");
        has(text, "{group=\"g00999\"}");
        assert_null(strstr(text, "g01000"));
        assert_true(strlen(text) < LIMIT_METRICS_BYTES);
        free(text);
}

static void test_nothing_yet(void **state)
{
        struct snapshot s = {.header.host = {SIZE_UNKNOWN, SIZE_UNKNOWN, SIZE_UNKNOWN, SIZE_UNKNOWN, SIZE_UNKNOWN, 0}};
        char *text = text_of(&s, true);

        assert_null(strstr(text, "capd_group_"));
        has(text, "capd_groups 0\n");
        free(text);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_dialects),    cmocka_unit_test(test_unknown),
                        cmocka_unit_test(test_values),      cmocka_unit_test(test_limit),
                        cmocka_unit_test(test_nothing_yet),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
