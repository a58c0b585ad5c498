/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "capd/base/size.h"

#define UNTOUCHED 0x5a5a5a5a5a5a5a5aULL

static void test_parse_size(void **state)
{
        static const struct {
                const char *text;
                int r;
                uint64_t bytes;
        } cases[] = {
                        {"0", 0, 0},
                        {"4096", 0, 4096},
                        {"512B", 0, 512},
                        {"512b", 0, 512},
                        {"1K", 0, 1024},
                        {"1k", 0, 1024},
                        {"1KB", 0, 1024},
                        {"1KiB", 0, 1024},
                        {"1GiB", 0, GIB},
                        {"512M", 0, 512 * MIB},
                        {"1.5G", 0, 1536 * MIB},
                        {"2T", 0, 2048 * GIB},
                        {"1P", 0, 1ULL << 50},
                        {"0.1K", 0, 102},
                        {"0.001K", 0, 1},
                        {"0.0009K", 0, 0},
                        {"1.99999999999999999999999999999999K", 0, 2047},
                        {"1.9B", 0, 1},
                        {"8191P", 0, 8191ULL << 50},
                        {"9223372036854775807", 0, INT64_MAX},
                        {"9223372036854775808", -ERANGE, 0},
                        {"8192P", -ERANGE, 0},
                        {"8191.9999999P", 0, 9223372036742185817ULL},
                        {"99999999999999999999999999", -ERANGE, 0},
                        {"99999999999999999999999999K", -ERANGE, 0},
                        {"", -EINVAL, 0},
                        {"1.5", -EINVAL, 0},
                        {"1.", -EINVAL, 0},
                        {".5G", -EINVAL, 0},
                        {"1.G", -EINVAL, 0},
                        {"-1", -EINVAL, 0},
                        {"+1", -EINVAL, 0},
                        {" 1", -EINVAL, 0},
                        {"1 ", -EINVAL, 0},
                        {"1 G", -EINVAL, 0},
                        {"1E", -EINVAL, 0},
                        {"1Gi", -EINVAL, 0},
                        {"1Gib ", -EINVAL, 0},
                        {"1BB", -EINVAL, 0},
                        {"1BiB", -EINVAL, 0},
                        {"G", -EINVAL, 0},
                        {"0x10", -EINVAL, 0},
                        {"1e3", -EINVAL, 0},
                        {"1,5G", -EINVAL, 0},
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                uint64_t bytes = UNTOUCHED;

                print_message("%s\n", cases[i].text);
                assert_int_equal(parse_size(cases[i].text, &bytes), cases[i].r);
                assert_int_equal(bytes, cases[i].r == 0 ? cases[i].bytes : UNTOUCHED);
        }
}

static void test_parse_time(void **state)
{
        static const struct {
                const char *text;
                int r;
                usec_t usec;
        } cases[] = {
                        {"10", 0, 10000000},
                        {"0", 0, 0},
                        {"5s", 0, 5000000},
                        {" 5s ", 0, 5000000},
                        {"5 s", 0, 5000000},
                        {"5sec", 0, 5000000},
                        {"1second", 0, 1000000},
                        {"2seconds", 0, 2000000},
                        {"15min", 0, 900000000},
                        {"1m", 0, 60000000},
                        {"2ms", 0, 2000},
                        {"500us", 0, 500},
                        {"500usec", 0, 500},
                        {"7\xc2\xb5s", 0, 7},
                        {"7\xce\xbcs", 0, 7},
                        {"1h 30min", 0, 5400000000},
                        {"1h30min", 0, 5400000000},
                        {"1d", 0, 86400000000},
                        {"1w", 0, 604800000000},
                        {"2weeks", 0, 1209600000000},
                        {"1.5s", 0, 1500000},
                        {"0.25ms", 0, 250},
                        {"", -EINVAL, 0},
                        {"  ", -EINVAL, 0},
                        {"s", -EINVAL, 0},
                        {"1h 30", -EINVAL, 0},
                        {"10 20", -EINVAL, 0},
                        {"5x", -EINVAL, 0},
                        {"5S", -EINVAL, 0},
                        {"1y", -EINVAL, 0},
                        {"-5s", -EINVAL, 0},
                        {"infinity", -EINVAL, 0},
                        {"5s,", -EINVAL, 0},
                        {"99999999999999w", -ERANGE, 0},
                        {"9223372036854s 9223372036854s", -ERANGE, 0},
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                usec_t t = UNTOUCHED;

                print_message("%s\n", cases[i].text);
                assert_int_equal(parse_time(cases[i].text, &t), cases[i].r);
                assert_int_equal(t, cases[i].r == 0 ? cases[i].usec : UNTOUCHED);
        }
}

static void test_parse_percent(void **state)
{
        static const struct {
                const char *text;
                unsigned max;
                int r;
                uint32_t bp;
        } cases[] = {
                        {"25%", 100, 0, 2500},     {"2.5%", 100, 0, 250},    {"0.25%", 100, 0, 25},
                        {"0%", 100, 0, 0},         {"100%", 100, 0, 10000},  {"100.01%", 100, -ERANGE, 0},
                        {"101%", 100, -ERANGE, 0}, {"200%", 200, 0, 20000},  {"99999999999999999999%", 100, -ERANGE, 0},
                        {"25", 100, -EINVAL, 0},   {"%", 100, -EINVAL, 0},   {"25 %", 100, -EINVAL, 0},
                        {"25%%", 100, -EINVAL, 0}, {"-1%", 100, -EINVAL, 0}, {"0.125%", 100, -EINVAL, 0},
                        {"", 100, -EINVAL, 0},
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                uint32_t bp = 77777;

                print_message("%s\n", cases[i].text);
                assert_int_equal(parse_percent(cases[i].text, cases[i].max, &bp), cases[i].r);
                assert_int_equal(bp, cases[i].r == 0 ? cases[i].bp : 77777);
        }
}

static void test_parse_boolean(void **state)
{
        static const char *const yes[] = {"yes", "true", "on", "1", "y", "t", "YES", "On"};
        static const char *const no[] = {"no", "false", "off", "0", "n", "f", "False"};
        static const char *const neither[] = {"", "2", "yess", " yes", "enable", "-1"};

        for (size_t i = 0; i < ARRAY_SIZE(yes); i++)
                assert_int_equal(parse_boolean(yes[i]), 1);
        for (size_t i = 0; i < ARRAY_SIZE(no); i++)
                assert_int_equal(parse_boolean(no[i]), 0);
        for (size_t i = 0; i < ARRAY_SIZE(neither); i++)
                assert_int_equal(parse_boolean(neither[i]), -EINVAL);
}

static void test_parse_number(void **state)
{
        uint64_t n = UNTOUCHED;

        assert_int_equal(parse_number("", 10, &n), -EINVAL);
        assert_int_equal(parse_number("-1", 10, &n), -EINVAL);
        assert_int_equal(parse_number("+1", 10, &n), -EINVAL);
        assert_int_equal(parse_number("1 ", 10, &n), -EINVAL);
        assert_int_equal(parse_number("99999999999999999999999x", 10, &n), -EINVAL);
        assert_int_equal(parse_number("11", 10, &n), -ERANGE);
        assert_int_equal(parse_number("18446744073709551616", UINT64_MAX, &n), -ERANGE);
        assert_int_equal(parse_number("99999999999999999999999", UINT64_MAX, &n), -ERANGE);
        assert_int_equal(n, UNTOUCHED);
        assert_int_equal(parse_number("10", 10, &n), 0);
        assert_int_equal(n, 10);
        assert_int_equal(parse_number("0007", 10, &n), 0);
        assert_int_equal(n, 7);
        assert_int_equal(parse_number("18446744073709551615", UINT64_MAX, &n), 0);
        assert_int_equal(n, UINT64_MAX);
}

static void test_format_size(void **state)
{
        static const struct {
                uint64_t bytes;
                const char *text;
        } cases[] = {
                        {0, "0B"},
                        {512, "512B"},
                        {1023, "1023B"},
                        {1024, "1K"},
                        {1536, "1.5K"},
                        {1024 + 51, "1K"},
                        {1024 + 52, "1.1K"},
                        {100 * MIB + 943718, "100.9M"},
                        {10 * GIB, "10G"},
                        {999 * KIB + 900, "999.9K"},
                        {999 * KIB + 1000, "1000K"},
                        {1000 * KIB + 100, "1000K"},
                        {1000 * KIB + 512, "1001K"},
                        {1023 * KIB + 511, "1023K"},
                        {1023 * KIB + 512, "1M"},
                        {MIB - 1, "1M"},
                        {1ULL << 60, "1E"},
                        {UINT64_MAX - 1, "16E"},
                        {SIZE_UNKNOWN, "?"},
        };
        char buf[SIZE_TEXT_MAX];

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                assert_string_equal(format_size(buf, cases[i].bytes), cases[i].text);
}

static void test_format_time(void **state)
{
        static const struct {
                usec_t t;
                const char *text;
        } cases[] = {
                        {0, "0s"},
                        {7, "7us"},
                        {450000, "450ms"},
                        {2500, "2ms 500us"},
                        {3000000, "3s"},
                        {130000000, "2min 10s"},
                        {3600000000, "1h"},
                        {5400000000, "1h 30min"},
                        {3601000000, "1h"},
                        {90061000000, "1d 1h"},
                        {UINT64_MAX - 1, "30500568w 6d"},
                        {USEC_INFINITY, "?"},
        };
        char buf[SIZE_TEXT_MAX];

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                assert_string_equal(format_time(buf, cases[i].t), cases[i].text);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_parse_size),    cmocka_unit_test(test_parse_time),
                        cmocka_unit_test(test_parse_percent), cmocka_unit_test(test_parse_boolean),
                        cmocka_unit_test(test_parse_number),  cmocka_unit_test(test_format_size),
                        cmocka_unit_test(test_format_time),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
