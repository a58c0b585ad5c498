/* SPDX-License-Identifier: MIT */
/*
 * Every allocation of policy/ fails once. The linker redirects the calls (--wrap), so this is the shipped code; the
 * sanitizer, or valgrind, sees what is leaked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "helpers.h"

static long countdown = -1; /* allocations that still succeed; negative: all */
static bool failed;

static bool fail_now(void)
{
        if (countdown < 0)
                return false;
        if (countdown-- > 0)
                return false;
        failed = true;
        return true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *s);

void *__wrap_malloc(size_t size)
{
        return fail_now() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
        return fail_now() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
        return fail_now() ? NULL : __real_realloc(p, size);
}

char *__wrap_strdup(const char *s)
{
        return fail_now() ? NULL : __real_strdup(s);
}

static const struct policy_text good[] = {
                {"a.conf",
                 "[Daemon]\nMetricsFile=/m\nProtect=Comm=sshd Exe=/a PidFile=/run/a\n"
                 "[Group a]\nDescription=\"one two\"\nUser=alice !bob\nUid=1-5 7 9\nPidFile=/run/a /run/b "
                 "/run/c\nCap=1G\nHook=/h\n"
                 "[Group b]\nGid=staff\nCgroup=/a* /b/\nCap=1%\n[Group c]\nUnit=a.service\nCap=1%\n",
                 0},
                {"b.conf",
                 "[Group b]\nCap=2G\nDescription=x\n[Daemon]\nMetricsFile=/n\nProtect=Comm=x\n[Group "
                 "a]\nUid=3\nHook=\n",
                 0},
};

static const struct policy_text bad[] = {
                {"a.conf",
                 "x\n[Foo]\n[Group a]\nUser=carol 1\nCap=x\nAction=y\nUnit=a\n[Daemon]\nProtect=x Foo=y "
                 "!z\nMaxStall=1\n",
                 0},
                {"b.conf",
                 "[Group b]\n[Group c\n[Group c]\nUid=1-0\nLastResortAfter=9s\nComm=\"x\n[Daemon]\nSampleInterval=1h\n",
                 0},
};

/* Loads with each allocation failing in turn, up to the first run in which none is left to fail. */
static void fail_each(const struct policy_text *given, size_t n, int result)
{
        struct policy_text texts[2];
        long i;

        for (size_t j = 0; j < n; j++)
                texts[j] = text_of(given[j].name, given[j].text);
        for (i = 0; i < 10000; i++) {
                struct policy_problems problems = {0};
                struct policy *p = NULL;
                int r;

                failed = false;
                countdown = i;
                r = policy_load(texts, n, &fake_world, &p, &problems);
                countdown = -1;
                if (failed) {
                        assert_int_equal(r, -ENOMEM);
                        assert_null(p);
                } else {
                        assert_int_equal(r, result);
                        assert_int_equal(!p, result < 0);
                }
                policy_free(p);
                policy_problems_done(&problems);
                if (!failed)
                        break;
        }
        print_message("%ld allocations\n", i);
        assert_true(i > 40 && i < 10000);
}

static void test_good(void **state)
{
        fail_each(good, ARRAY_SIZE(good), 0);
}

static void test_bad(void **state)
{
        fail_each(bad, ARRAY_SIZE(bad), -EBADMSG);
}

static void test_too_many_files(void **state)
{
        static struct policy_text texts[LIMIT_CONFIG_FILES + 1];
        struct policy_problems problems = {0};
        struct policy *p = NULL;

        for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
                texts[i] = text_of("a", "");
        countdown = 0;
        assert_int_equal(policy_load(texts, ARRAY_SIZE(texts), &fake_world, &p, &problems), -ENOMEM);
        countdown = -1;
        policy_problems_done(&problems);
}

static void test_matching_allocates_nothing(void **state)
{
        static const struct process_facts f = {.pid = 9,
                                               .uid = 1001,
                                               .comm = "a",
                                               .exe = "/a",
                                               .cmdline = "a b",
                                               .cgroup = "/docker/x/a.service",
                                               .pid_namespace = 1};
        struct match_world w = {.uid_to_user = fake_uid_to_user};
        struct policy *p = load_string(
                        "[Daemon]\nProtect=Comm=b\n[Group a]\nCap=1G\nUser=alice\nComm=*\nExe=/*\nCmdline=*b\n"
                        "Cgroup=/docker*\nUnit=a.*\nForEach=cgroup\n");
        struct match m;

        countdown = 0;
        failed = false;
        assert_int_equal(match_process(p, &w, &f, &m, 1), 1);
        assert_false(match_protected(p, &w, &f));
        assert_false(failed);
        countdown = -1;
        policy_free(p);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_good),
                        cmocka_unit_test(test_bad),
                        cmocka_unit_test(test_too_many_files),
                        cmocka_unit_test(test_matching_allocates_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
