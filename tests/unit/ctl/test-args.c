/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../../capd/ctl/ctl.h"

#define PARSE(ret, ...) parse(ret, (char *[]){"capctl", ##__VA_ARGS__, NULL})

static int parse(struct arguments *ret, char **argv)
{
        int argc = 0;

        *ret = (struct arguments){0};
        while (argv[argc])
                argc++;
        return arguments_parse(argc, argv, ret);
}

static void test_defaults(void **state)
{
        struct arguments a;

        assert_int_equal(PARSE(&a), 0);
        assert_string_equal(a.verb->name, "status");
        assert_string_equal(a.runtime_directory, "/run/capd");
        assert_int_equal(a.n_words, 0);
}

static void test_options_anywhere(void **state)
{
        struct arguments a;

        assert_int_equal(PARSE(&a, "-J", "status", "web", "-b", "--output=+PRIVATE", "db", "-w", "2"), 0);
        assert_true(a.json);
        assert_true(a.bytes);
        assert_string_equal(a.output, "+PRIVATE");
        assert_int_equal(a.watch, 2 * USEC_PER_SEC);
        assert_int_equal(a.n_words, 2);
        assert_string_equal(a.words[0], "web");
        assert_string_equal(a.words[1], "db");
        assert_int_equal(PARSE(&a, "cap", "--", "-odd", "5M"), 0);
        assert_string_equal(a.words[0], "-odd");
        assert_int_equal(PARSE(&a, "--runtime-directory", "/x", "cap", "g", "1G", "--for", "1h"), 0);
        assert_string_equal(a.runtime_directory, "/x");
        assert_string_equal(a.duration, "1h");
}

static void test_selectors(void **state)
{
        struct arguments a;

        assert_int_equal(PARSE(&a, "measure", "--user", "a", "--comm", "x*", "--user", "b", "--private"), 0);
        assert_string_equal(a.selectors[SELECT_USER], "a b");
        assert_string_equal(a.selectors[SELECT_COMM], "x*");
        assert_true(a.want_private);
        arguments_done(&a);
        /* a value is a line of a configuration: it must not become two */
        assert_int_equal(PARSE(&a, "measure", "--user", "a\nProtect=x"), EXIT_USAGE);
        arguments_done(&a);
        assert_int_equal(PARSE(&a, "measure", "--user", ""), EXIT_USAGE);
        arguments_done(&a);
}

static void test_usage(void **state)
{
        struct arguments a;

        assert_int_equal(PARSE(&a, "nosuch"), EXIT_USAGE);
        assert_int_equal(PARSE(&a, "status", "--nosuch"), EXIT_USAGE);
        assert_int_equal(PARSE(&a, "explain"), EXIT_USAGE);
        assert_int_equal(PARSE(&a, "explain", "a", "b"), EXIT_USAGE);
        assert_int_equal(PARSE(&a, "reload", "-J"), EXIT_USAGE);
        assert_int_equal(PARSE(&a, "status", "--for", "5s"), EXIT_USAGE);
        assert_int_equal(PARSE(&a, "status", "-w", "0"), EXIT_USAGE);
        assert_int_equal(PARSE(&a, "status", "-w", "soon"), EXIT_USAGE);
        assert_int_equal(PARSE(&a, "status", "-J", "-r"), EXIT_USAGE);
        assert_int_equal(PARSE(&a, "cap", "g"), EXIT_USAGE);
        assert_int_equal(PARSE(&a, "--help", "nosuch"), 0);
        assert_true(a.help);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_defaults),
                        cmocka_unit_test(test_options_anywhere),
                        cmocka_unit_test(test_selectors),
                        cmocka_unit_test(test_usage),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
