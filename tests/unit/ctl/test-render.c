/* SPDX-License-Identifier: MIT */
/* Cells, columns, and whole tables with what strangers may put into names. */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../../capd/ctl/ctl.h"
#include "capd/base/text.h"

#define NOW (1000 * USEC_PER_SEC)

static const struct column *column(const char *header)
{
        for (const struct column *c = group_columns; c->header; c++)
                if (strcmp(c->header, header) == 0)
                        return c;
        fail_msg("no column %s", header);
        return NULL;
}

static void assert_cell(const struct wire_group *g, const char *header, enum cell_style style, const char *expected)
{
        char text[CELL_MAX];

        cell_text(text, column(header), g, style, NOW);
        assert_string_equal(text, expected);
}

static void test_sizes(void **state)
{
        struct wire_group g = {
                        .has_cap = true,
                        .cap = 200 * MIB,
                        .sample = {.quality = QUALITY_EXACT, .counted_at = NOW - 2500000, .resident = 100 * MIB + 7}};

        assert_cell(&g, "RESIDENT", CELL_TABLE, "100M");
        assert_cell(&g, "RESIDENT", CELL_BYTES, "104857607");
        assert_cell(&g, "RESIDENT", CELL_JSON, "104857607");
        assert_cell(&g, "USE%", CELL_TABLE, "50");
        assert_cell(&g, "AGE", CELL_TABLE, "2s");
        assert_cell(&g, "AGE", CELL_JSON, "2500000");
        g.sample.quality = QUALITY_BOUND_UPPER;
        g.sample.counted_at = NOW - 12345;
        assert_cell(&g, "RESIDENT", CELL_TABLE, "<100M");
        assert_cell(&g, "RESIDENT", CELL_BYTES, "<104857607");
        assert_cell(&g, "RESIDENT", CELL_RAW, "104857607");
        assert_cell(&g, "RESIDENT", CELL_JSON, "104857607");
        assert_cell(&g, "AGE", CELL_TABLE, "12ms");
        g.sample.quality = QUALITY_BOUND_LOWER;
        assert_cell(&g, "RESIDENT", CELL_TABLE, ">100M");
        g.sample.quality = QUALITY_ESTIMATE;
        assert_cell(&g, "RESIDENT", CELL_TABLE, "~100M");
}

/* Not measured is not 0, and not under its cap. */
static void test_unknown(void **state)
{
        struct wire_group g = {.cap = SIZE_UNKNOWN,
                               .sample = {.resident = SIZE_UNKNOWN, .private_bytes = SIZE_UNKNOWN}};

        assert_cell(&g, "RESIDENT", CELL_TABLE, "?");
        assert_cell(&g, "RESIDENT", CELL_JSON, "");
        assert_cell(&g, "PRIVATE", CELL_TABLE, "-");
        assert_cell(&g, "PRIVATE", CELL_JSON, "");
        assert_cell(&g, "CAP", CELL_TABLE, "-");
        assert_cell(&g, "USE%", CELL_TABLE, "-");
        assert_cell(&g, "USE%", CELL_JSON, "");
        assert_cell(&g, "AGE", CELL_TABLE, "-");
        assert_cell(&g, "AGE", CELL_JSON, "");
        assert_cell(&g, "RETRY", CELL_TABLE, "-");
}

static void test_extremes(void **state)
{
        struct wire_group g = {.has_cap = true,
                               .cap = 1,
                               .trend = INT64_MIN,
                               .sample = {.quality = QUALITY_EXACT, .counted_at = NOW + 5, .resident = INT64_MAX}};

        assert_cell(&g, "USE%", CELL_TABLE, "4294967294");
        assert_cell(&g, "TREND", CELL_TABLE, "-8E/s");
        assert_cell(&g, "TREND", CELL_JSON, "-9223372036854775808");
        assert_cell(&g, "AGE", CELL_TABLE, "0s"); /* from the future: the clock was read before */
        g.trend = 1023;
        assert_cell(&g, "TREND", CELL_TABLE, "0");
        g.trend = 1536;
        assert_cell(&g, "TREND", CELL_TABLE, "+1.5K/s");
}

static void test_selection(void **state)
{
        struct arguments a = {.output = "use%,GROUP,resident,name"};
        struct selection s;
        size_t n;

        assert_int_equal(columns_select(group_columns, &a, COLUMN_DEFAULT, &s), 0);
        assert_int_equal(s.n, 3);
        assert_string_equal(s.items[0]->header, "USE%");
        a.output = NULL;
        assert_int_equal(columns_select(group_columns, &a, COLUMN_DEFAULT, &s), 0);
        n = s.n;
        assert_false(selection_has(&s, COLUMN_PRIVATE));
        a.output = "+private";
        assert_int_equal(columns_select(group_columns, &a, COLUMN_DEFAULT, &s), 0);
        assert_int_equal(s.n, n + 1);
        assert_true(selection_has(&s, COLUMN_PRIVATE));
        a.output = "GROUP,,AGE";
        assert_int_equal(columns_select(group_columns, &a, COLUMN_DEFAULT, &s), EXIT_USAGE);
}

/* What one call prints on standard output. */
static char *printed(const struct selection *s, const struct arguments *a, const struct wire_group *g, size_t n)
{
        FILE *f = tmpfile();
        int saved = dup(STDOUT_FILENO);
        char *text;
        long size;

        fflush(stdout);
        dup2(fileno(f), STDOUT_FILENO);
        assert_int_equal(table_print("groups", s, a, g, n, sizeof(*g)), 0);
        fflush(stdout);
        dup2(saved, STDOUT_FILENO);
        close(saved);
        fseek(f, 0, SEEK_END);
        size = ftell(f);
        rewind(f);
        text = calloc(1, (size_t)size + 1);
        assert_int_equal(fread(text, 1, (size_t)size, f), size);
        fclose(f);
        return text;
}

static void test_hostile_names(void **state)
{
        static const char *const names[] = {"nl\nESC\x1b[31m",
                                            "bad\xff\xfe",
                                            "\"quote\\",
                                            "br{[]}",
                                            "\xe2\x80\xae"
                                            "rtl",
                                            "\xc2\x9b"
                                            "31m",
                                            "plain \xc3\xbc"};
        struct wire_group g[ARRAY_SIZE(names)] = {0};
        struct selection s;
        struct arguments a = {.output = "GROUP"};
        char *text;

        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                text_escape(g[i].name, sizeof(g[i].name), names[i], strlen(names[i]));
        assert_int_equal(columns_select(group_columns, &a, 0, &s), 0);
        text = printed(&s, &a, g, ARRAY_SIZE(names));
        assert_string_equal(text, "GROUP\n"
                                  "nl\\x0aESC\\x1b[31m\n"
                                  "bad\\xff\\xfe\n"
                                  "\"quote\\x5c\n"
                                  "br{[]}\n"
                                  "\\xe2\\x80\\xaertl\n"
                                  "\\xc2\\x9b31m\n"
                                  "plain \xc3\xbc\n");
        free(text);
        a.json = true;
        text = printed(&s, &a, g, 3);
        assert_string_equal(text, "{\n   \"groups\": [\n      {\n"
                                  "         \"name\": \"nl\\\\x0aESC\\\\x1b[31m\"\n      },{\n"
                                  "         \"name\": \"bad\\\\xff\\\\xfe\"\n      },{\n"
                                  "         \"name\": \"\\\"quote\\\\x5c\"\n      }\n   ]\n}\n");
        free(text);
        text = printed(&s, &a, g, 0);
        assert_string_equal(text, "{\n   \"groups\": []\n}\n");
        free(text);
        a.json = false;
        a.raw = a.no_headings = true;
        text = printed(&s, &a, g + 6, 1);
        assert_string_equal(text, "plain\\x20\\xc3\\xbc\n");
        free(text);
        /* escapes are not escaped once more, and an empty cell keeps its place */
        a.output = "DESCRIPTION,GROUP,PROCS";
        assert_int_equal(columns_select(group_columns, &a, 0, &s), 0);
        text = printed(&s, &a, g, 1);
        assert_string_equal(text, "- nl\\x0aESC\\x1b[31m 0\n");
        free(text);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_sizes),         cmocka_unit_test(test_unknown),
                        cmocka_unit_test(test_extremes),      cmocka_unit_test(test_selection),
                        cmocka_unit_test(test_hostile_names),
        };

        setlocale(LC_ALL, "C.UTF-8");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
