/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "capd/base/macros.h"
#include "capd/base/text.h"

static void test_escape(void **state)
{
        static const struct {
                const char *raw, *shown;
        } cases[] = {
                        {"", ""},
                        {"plain text", "plain text"},
                        {"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
                        {"a\nb\tc", "a\\x0ab\\x09c"},
                        {"\x1b[31m", "\\x1b[31m"},
                        {"back\\slash", "back\\x5cslash"},
                        {"\x7f", "\\x7f"},
                        {"\xc2\x9b", "\\xc2\\x9b"},                   /* C1: CSI */
                        {"\xff\xfe", "\\xff\\xfe"},                   /* never in UTF-8 */
                        {"\xc3", "\\xc3"},                            /* cut short */
                        {"\xc3(", "\\xc3("},                          /* no continuation */
                        {"\xc0\xaf", "\\xc0\\xaf"},                   /* overlong "/" */
                        {"\xe0\x80\xaf", "\\xe0\\x80\\xaf"},          /* longer */
                        {"\xed\xa0\x80", "\\xed\\xa0\\x80"},          /* surrogate */
                        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"}, /* above U+10FFFF */
                        {"\xe2\x80\xaetxt", "\\xe2\\x80\\xaetxt"},    /* right-to-left override */
                        {"\xef\xbb\xbf", "\\xef\\xbb\\xbf"},          /* BOM */
                        {"\xe2\x80\x8d", "\xe2\x80\x8d"},             /* zero width joiner, which emoji need */
        };
        char buf[64];

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                size_t n = text_escape(buf, sizeof(buf), cases[i].raw, strlen(cases[i].raw));

                assert_string_equal(buf, cases[i].shown);
                assert_int_equal(n, strlen(cases[i].shown));
        }
        text_escape(buf, sizeof(buf), "a\0b", 3);
        assert_string_equal(buf, "a\\x00b");
}

static void test_escape_cuts_whole(void **state)
{
        char buf[8];

        memset(buf, 'x', sizeof(buf));
        assert_int_equal(text_escape(buf, 0, "abc", 3), 0);
        assert_int_equal(buf[0], 'x');
        assert_int_equal(text_escape(buf, 1, "abc", 3), 0);
        assert_string_equal(buf, "");
        text_escape(buf, 4, "abc", 3);
        assert_string_equal(buf, "abc");
        text_escape(buf, 3, "abc", 3);
        assert_string_equal(buf, "ab");
        text_escape(buf, 5, "a\n", 2);
        assert_string_equal(buf, "a");
        text_escape(buf, 6, "a\n", 2);
        assert_string_equal(buf, "a\\x0a");
        text_escape(buf, 4, "\xe2\x82\xac", 3);
        assert_string_equal(buf, "\xe2\x82\xac");
        text_escape(buf, 3, "\xe2\x82\xac", 3);
        assert_string_equal(buf, "");
        /* both bytes of a C1 control or none */
        text_escape(buf, 8, "\xc2\x9b", 2);
        assert_string_equal(buf, "");
}

static void test_is_utf8(void **state)
{
        assert_true(text_is_utf8("", 0));
        assert_true(text_is_utf8("a\nb", 3));
        assert_true(text_is_utf8("\xe2\x82\xac", 3));
        assert_false(text_is_utf8("\xe2\x82\xac", 2));
        assert_false(text_is_utf8("a\x80", 2));
        assert_false(text_is_utf8("\xc1\x81", 2));
        assert_false(text_is_utf8("\xed\xbf\xbf", 3));
        assert_false(text_is_utf8("\xf8\x88\x80\x80\x80", 5));
}

static void test_copy(void **state)
{
        char buf[4] = "xxx";

        text_copy(buf, 0, "abc");
        assert_string_equal(buf, "xxx");
        text_copy(buf, sizeof(buf), "abcdef");
        assert_string_equal(buf, "abc");
        text_copy(buf, sizeof(buf), "a");
        assert_string_equal(buf, "a");
}

static void test_nearest(void **state)
{
        static const char *const words[] = {"",        "User",    "Uid", "SampleInterval", "ScanInterval",
                                            "observe", "pageout", NULL};
        static const struct {
                const char *text, *nearest;
        } cases[] = {
                        {"Usr", "User"},
                        {"user", "User"},
                        {"uesr", "User"},
                        {"UID", "Uid"},
                        {"SampelInterval", "SampleInterval"},
                        {"SampleIntervall", "SampleInterval"},
                        {"ScanIntervl", "ScanInterval"},
                        {"pagout", "pageout"},
                        {"page-out", "pageout"},
                        {"", NULL},
                        {"x", NULL},
                        {"Frobnicate", NULL},
                        {"MetricsInterval", NULL},
                        {"pppppppppppppppppppppppppppppppppppppppppppppppppppppppppppp", NULL},
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                const char *found = text_nearest(cases[i].text, words);

                print_message("%s: %s\n", cases[i].text, found ? found : "-");
                if (cases[i].nearest)
                        assert_string_equal(found ? found : "", cases[i].nearest);
                else
                        assert_null(found);
        }
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_escape),  cmocka_unit_test(test_escape_cuts_whole),
                        cmocka_unit_test(test_is_utf8), cmocka_unit_test(test_copy),
                        cmocka_unit_test(test_nearest),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
