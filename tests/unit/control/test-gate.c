/* SPDX-License-Identifier: MIT */
/* Where a message ends, byte by byte. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../../capd/control/internal.h"

static ssize_t put(struct gate *g, const void *data, size_t size, bool *begin)
{
        memcpy(g->buf + g->len, data, size);
        g->len += size;
        return gate_ready(g, begin);
}

static void test_authentication(void **state)
{
        static const char text[] = "\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\nl\1\0\1";
        const size_t end = sizeof(text) - 1 - 4;
        struct gate g = {0};
        bool begin;

        for (size_t i = 0; i < end; i++) {
                ssize_t n = put(&g, text + i, 1, &begin);

                assert_int_equal(n, i < 15 ? 0 : i < 21 ? 16 : i < 28 ? 22 : 29);
                assert_int_equal(begin, i == 28);
        }
        g = (struct gate){0};
        assert_int_equal(put(&g, text, sizeof(text) - 1, &begin), (ssize_t)end);
        assert_true(begin);
        gate_consume(&g, end, begin);
        assert_true(g.begun);
        assert_int_equal(g.len, 4);
        assert_int_equal(gate_ready(&g, &begin), 0);
        assert_false(begin);
}

static void test_not_authentication(void **state)
{
        struct gate g = {0};
        char line[LIMIT_CLIENT_AUTH_BYTES / 4];
        bool begin;

        assert_int_equal(put(&g, "AUTH\r\n", 6, &begin), -EPROTO);
        g = (struct gate){0};
        assert_int_equal(put(&g, "\0BEGIN \r\n", 9, &begin), 9);
        assert_false(begin);
        /* lines count together, also after they have been let through */
        memset(line, 'x', sizeof(line));
        memcpy(line + sizeof(line) - 2, "\r\n", 2);
        g = (struct gate){0};
        assert_int_equal(put(&g, "\0\r\n", 3, &begin), 3);
        gate_consume(&g, 3, begin);
        for (int i = 0; i < 3; i++) {
                assert_int_equal(put(&g, line, sizeof(line), &begin), (ssize_t)sizeof(line));
                gate_consume(&g, sizeof(line), begin);
        }
        assert_int_equal(put(&g, line, sizeof(line), &begin), -EMSGSIZE);
        /* and so does one without an end */
        g.len = 0;
        assert_int_equal(put(&g, line, sizeof(line) - 2, &begin), -EMSGSIZE);
}

static void test_messages(void **state)
{
        static const uint8_t little[] = "l\1\0\1\5\0\0\0\1\0\0\0\11\0\0\0", big[] = "B\1\0\1\0\0\0\5\0\0\0\1\0\0\0\11";
        static const uint8_t *const headers[] = {little, big};
        bool begin;

        for (size_t i = 0; i < 2; i++) {
                struct gate g = {.begun = true};

                assert_int_equal(put(&g, headers[i], 16, &begin), 0);
                assert_int_equal(put(&g, "0123456789012345", 16, &begin), 0);
                assert_int_equal(put(&g, "abcd", 4, &begin), 0);
                assert_int_equal(put(&g, "efgh", 4, &begin), 16 + 16 + 5);
                gate_consume(&g, 37, false);
                assert_memory_equal(g.buf, "fgh", 3);
                assert_int_equal(g.len, 3);
        }
}

static void test_bad_messages(void **state)
{
        static const struct {
                const char *header;
                int error;
        } cases[] = {
                        {"X\1\0\1\0\0\0\0\1\0\0\0\0\0\0\0", -EPROTO},
                        {"l\1\0\2\0\0\0\0\1\0\0\0\0\0\0\0", -EPROTO},
                        {"l\1\0\1\0\0\0\1\1\0\0\0\0\0\0\0", -EMSGSIZE},
                        {"l\1\0\1\0\0\0\0\1\0\0\0\377\377\377\377", -EMSGSIZE},
                        {"l\1\0\1\377\377\377\377\1\0\0\0\377\377\377\377", -EMSGSIZE},
                        {"l\1\0\1\361\37\0\0\1\0\0\0\0\0\0\0", -EMSGSIZE}, /* one byte more than the limit */
                        {"l\1\0\1\360\37\0\0\1\0\0\0\0\0\0\0", 0},         /* the limit */
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct gate g = {.begun = true};
                bool begin;

                assert_int_equal(put(&g, cases[i].header, 16, &begin), cases[i].error);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_authentication),
                        cmocka_unit_test(test_not_authentication),
                        cmocka_unit_test(test_messages),
                        cmocka_unit_test(test_bad_messages),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
