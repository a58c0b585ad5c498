/* SPDX-License-Identifier: MIT */
/* Where lines go: standard error, and to it too when it is the journal but the journal's own socket cannot be reached. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "capd/base/log.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"

/* What one entry writes, with standard error named by JOURNAL_STREAM or not. */
static void written(bool journal, int level, char *buf, size_t size)
{
        int pair[2], saved = dup(STDERR_FILENO);
        char name[64];
        struct stat st;
        ssize_t n;

        assert_int_equal(pipe(pair), 0);
        assert_int_equal(fstat(pair[1], &st), 0);
        snprintf(name, sizeof(name), "%llu:%llu", (unsigned long long)st.st_dev,
                 (unsigned long long)st.st_ino + !journal);
        setenv("JOURNAL_STREAM", name, 1);
        dup2(pair[1], STDERR_FILENO);
        log_init("program");
        log_entry(level, "00000000000000000000000000000000",
                  LOG_FIELDS({"CAPD_GROUP", "g"}, {"CAPD_RESIDENT_BYTES", .number = SIZE_UNKNOWN}), "group %s", "g");
        dup2(saved, STDERR_FILENO);
        close(saved);
        close(pair[1]);
        n = read(pair[0], buf, size - 1);
        assert_true(n >= 0);
        buf[n] = '\0';
        close(pair[0]);
}

static void test_standard_error(void **state)
{
        char line[256];

        written(false, LOG_NOTICE, line, sizeof(line));
        assert_string_equal(line, "program: group g\n");
        written(false, LOG_DEBUG, line, sizeof(line));
        assert_string_equal(line, "");
}

static void test_journal_is_away(void **state)
{
        char line[256];

        if (access(JOURNAL_SOCKET, F_OK) == 0)
                skip(); /* the entry would be in the journal of this host */
        written(true, LOG_NOTICE, line, sizeof(line));
        assert_string_equal(line, "<5>group g\n");
}

static void test_long_text(void **state)
{
        char text[8192];

        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        log_init("program");
        log_entry(LOG_NOTICE, NULL, LOG_FIELDS({"CAPD_REASON", text}), "%s", text);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_standard_error),
                        cmocka_unit_test(test_journal_is_away),
                        cmocka_unit_test(test_long_text),
        };

        unsetenv("CAPD_LOG_LEVEL");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
