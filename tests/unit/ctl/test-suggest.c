/* SPDX-License-Identifier: MIT */
/* What is proposed for which process, and that the policy takes it whatever strangers call themselves. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../../capd/ctl/suggest.h"
#include "capd/policy/match.h"
#include "capd/policy/policy.h"

static int no_name(void *userdata, const char *name, uid_t *ret)
{
        return -ENOENT;
}

static bool name_of(void *userdata, uid_t uid, char *buf, size_t size)
{
        snprintf(buf, size, "u%u", uid);
        return true;
}

static struct policy *load(const char *text, size_t size)
{
        static const struct policy_world world = {.user_to_uid = no_name, .group_to_gid = no_name};
        struct policy_problems problems = {0};
        struct policy_text t = {.name = "suggest", .text = text, .size = size};
        struct policy *policy = NULL;

        if (policy_load(&t, 1, &world, &policy, &problems) < 0)
                fail_msg("%s in\n%s", problems.n > 0 ? problems.items[0].message : "?", text);
        policy_problems_done(&problems);
        return policy;
}

/* The sections of a proposal as a policy. */
static struct policy *policy_of(const struct proposals *p)
{
        char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);
        struct policy *policy;

        suggest_sections(p, f);
        fclose(f);
        policy = load(text, size);
        free(text);
        return policy;
}

static void assert_group(const struct policy *policy, const struct process_facts *f, const char *expected)
{
        static const struct match_world world = {.uid_to_user = name_of};
        struct match matches[8];
        size_t n = match_process(policy, &world, f, matches, ARRAY_SIZE(matches));

        for (size_t i = 0; i < n; i++)
                if (strcmp(matches[i].name, expected) == 0)
                        return;
        fail_msg("not in %s but in %zu others, the first of them %s", expected, n, n > 0 ? matches[0].name : "-");
}

#define CONTAINER "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const struct process_facts people = {.pid = 10, .uid = 1000, .exe = "/usr/bin/bash", .cgroup = "/user.slice/x"};
static const struct process_facts unit = {.pid = 11, .exe = "/usr/sbin/nginx", .cgroup = "/system.slice/nginx.service"};
static const struct process_facts container = {.pid = 12,
                                               .exe = "/bin/x",
                                               .cgroup = "/system.slice/"
                                                         "docker-" CONTAINER ".scope"};
static const struct process_facts program = {
                .pid = 13, .uid = 33, .exe = "/opt/a b/-we\"ird#[x]\\*\xc3\xbc\x01", .cgroup = "/"};
static const struct process_facts escaped_unit = {
                .pid = 14, .exe = "/usr/sbin/y", .cgroup = "/system.slice/a\\x2db@c:d.service"};
static const struct process_facts nameless = {.pid = 15, .uid = 5, .comm = "short name", .cgroup = "/"};

static void test_kinds(void **state)
{
        static const struct process_facts *const all[] = {&people,  &unit,         &container,
                                                          &program, &escaped_unit, &nameless};
        struct proposals *p = calloc(1, sizeof(*p));
        struct policy *policy;

        for (size_t i = 0; i < ARRAY_SIZE(all); i++)
                assert_true(suggest_classify(p, all[i]));
        for (size_t i = 0; i < ARRAY_SIZE(all); i++)
                assert_false(suggest_classify(p, all[i])); /* nothing new */
        assert_int_equal(p->n, ARRAY_SIZE(all));
        policy = policy_of(p);
        assert_group(policy, &people, "login/u1000");
        assert_group(policy, &unit, "nginx");
        assert_group(policy, &container, "containers/" CONTAINER);
        assert_group(policy, &program, p->items[3].name);
        assert_group(policy, &escaped_unit, p->items[4].name);
        assert_group(policy, &nameless, p->items[5].name);
        policy_free(policy);
        free(p);
}

/* Two programs of one name are two groups. */
static void test_names_are_unique(void **state)
{
        struct proposals *p = calloc(1, sizeof(*p));

        for (uid_t uid = 1; uid <= 3; uid++) {
                struct process_facts f = {.pid = 20, .uid = uid, .exe = "/usr/bin/python3", .cgroup = "/"};

                assert_true(suggest_classify(p, &f));
        }
        assert_string_equal(p->items[0].name, "python3");
        assert_string_equal(p->items[1].name, "python3-2");
        assert_string_equal(p->items[2].name, "python3-3");
        policy_free(policy_of(p));
        free(p);
}

static void test_limit(void **state)
{
        struct proposals *p = calloc(1, sizeof(*p));

        for (unsigned i = 0; i < SUGGEST_MAX + 10; i++) {
                char exe[64];
                struct process_facts f = {.pid = 20, .exe = exe, .cgroup = "/"};

                snprintf(exe, sizeof(exe), "/usr/bin/p%u", i);
                suggest_classify(p, &f);
        }
        assert_int_equal(p->n, SUGGEST_MAX);
        assert_true(p->full);
        free(p);
}

/* Never below what was seen and a quarter more, and never twice as much. */
static void test_cap(void **state)
{
        for (uint64_t peak = 32 * MIB; peak < 8192 * GIB; peak += peak / 7 + 4096) {
                assert_true(suggest_cap(peak) >= peak + peak / 4);
                assert_true(suggest_cap(peak) < 2 * peak);
                assert_int_equal(suggest_cap(peak) % MIB, 0);
        }
}

static void test_print(void **state)
{
        struct proposals *p = calloc(1, sizeof(*p));
        struct policy *policy;
        char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        suggest_classify(p, &unit);
        suggest_classify(p, &people);
        suggest_classify(p, &nameless);
        p->items[0].peak = 300 * MIB;
        p->items[0].rss = 3 * GIB;
        p->items[0].processes = 11;
        p->items[1].peak = 2 * GIB;
        p->items[1].bound = true;
        suggest_print(p, f, 120 * USEC_PER_SEC, 60, 8 * GIB);
        fclose(f);
        assert_non_null(strstr(text, "looked at this host for 2min, 60 times"));
        assert_non_null(strstr(text, "# 11 processes, at most 300M, each page once; adding up RES in top gave 3G.\n"
                                     "[Group nginx]\nUnit=nginx.service\nCap=384M\nAction=observe\n"));
        assert_non_null(strstr(text, "by adding up their RSS"));
        assert_non_null(strstr(text, "Cap=2560M\n"));
        assert_non_null(strstr(text, "# 1 more never held 32M and are left out.\n"));
        policy = load(text, size);
        assert_int_equal(policy->n_sections, 2);
        policy_free(policy);
        free(text);
        free(p);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_kinds), cmocka_unit_test(test_names_are_unique),
                        cmocka_unit_test(test_limit), cmocka_unit_test(test_cap),
                        cmocka_unit_test(test_print),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
