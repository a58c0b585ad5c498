/* SPDX-License-Identifier: MIT */
/* Patterns: cases, agreement with fnmatch(3) on ASCII, and time on text made to be slow. */
#include <fnmatch.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "capd/base/macros.h"
#include "glob.h"

static void test_cases(void **state)
{
        static const struct {
                const char *pattern, *text;
                bool matches;
        } cases[] = {
                        {"", "", true},
                        {"", "a", false},
                        {"*", "", true},
                        {"**", "abc", true},
                        {"a*", "a", true},
                        {"*a", "ba", true},
                        {"a*b*c", "a--b--b--c", true},
                        {"a*b*c", "a--b--b--", false},
                        {"*/bin/*", "/usr/bin/x", true},
                        {"?", "", false},
                        {"?", "\xc3\xa9", true}, /* a character, not a byte */
                        {"?x", "\xc3\xa9x", true},
                        {"*\xa9", "\xc3\xa9", false}, /* no half of one */
                        {"??", "\xff\xfe", true},     /* bytes that are none */
                        {"[!a]", "\xc3\xa9", true},
                        {"[a-c]x", "bx", true},
                        {"[^a-c]", "b", false},
                        {"[]x]", "]", true},
                        {"[!]x]", "]", false},
                        {"[a-]", "-", true},
                        {"[\\]]", "]", true},
                        {"[a\\-c]", "b", false},
                        {"\\*", "*", true},
                        {"\\*", "x", false},
                        {"a\\?c", "a?c", true},
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                assert_null(glob_check(cases[i].pattern));
                assert_int_equal(glob_match(cases[i].pattern, cases[i].text, strlen(cases[i].text)), cases[i].matches);
        }
        assert_true(glob_match("a*", "abc", 1)); /* no further than it is told */
        assert_false(glob_match("abc", "abc", 2));
        assert_false(glob_is_pattern("plain/text.service"));
        assert_true(glob_is_pattern("a?"));
        assert_true(glob_is_pattern("a\\b"));
}

static void test_malformed(void **state)
{
        static const char *const patterns[] = {"[",   "[]",  "[!]",   "[a",      "[a-",        "[a-\\",
                                               "[\\", "a\\", "[b-a]", "[[:x:]]", "[\xc3\xa9]", "[[.a.]]"};

        for (size_t i = 0; i < ARRAY_SIZE(patterns); i++)
                assert_non_null(glob_check(patterns[i]));
}

static void test_agrees_with_fnmatch(void **state)
{
        static const char alphabet[] = "ab*?[]-!\\", letters[] = "ab]-";
        unsigned seed = 1, matched = 0;

        for (int i = 0; i < 200000; i++) {
                char pattern[9] = "", text[7] = "";
                size_t n = (size_t)rand_r(&seed) % sizeof(pattern), m = (size_t)rand_r(&seed) % sizeof(text);
                bool expected;

                for (size_t j = 0; j < n; j++)
                        pattern[j] = alphabet[(size_t)rand_r(&seed) % (sizeof(alphabet) - 1)];
                for (size_t j = 0; j < m; j++)
                        text[j] = letters[(size_t)rand_r(&seed) % (sizeof(letters) - 1)];
                if (glob_check(pattern))
                        continue;
                expected = fnmatch(pattern, text, 0) == 0;
                matched += expected;
                if (glob_match(pattern, text, strlen(text)) != expected)
                        fail_msg("'%s' on '%s': fnmatch says %d", pattern, text, expected);
        }
        assert_true(matched > 1000); /* it was a test */
}

static void test_hostile_text(void **state)
{
        static char text[4096];

        memset(text, 'a', sizeof(text));
        /* exponential where each star is tried again for each other; here some millions of steps at most */
        assert_false(glob_match("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", text, sizeof(text)));
        assert_true(glob_match("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*", text, sizeof(text)));
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_cases),
                        cmocka_unit_test(test_malformed),
                        cmocka_unit_test(test_agrees_with_fnmatch),
                        cmocka_unit_test(test_hostile_text),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
