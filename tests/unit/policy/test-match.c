/* SPDX-License-Identifier: MIT */
/* Which process belongs to which group. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "helpers.h"

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static pid_t pid_files[8];
static const struct match_world world = {.pid_file_pids = pid_files, .uid_to_user = fake_uid_to_user};

/* A process of alice in a web server's unit. */
static const struct process_facts alice = {
                .pid = 500,
                .uid = 1001,
                .gid = 100,
                .comm = "php-fpm8.2",
                .exe = "/usr/sbin/php-fpm8.2",
                .cmdline = "php-fpm: pool www --secret key",
                .cgroup = "/system.slice/php8.2-fpm.service/worker",
                .pid_namespace = 4026531836,
};
static const struct process_facts boxed = {.pid = 501, .comm = "redis", .cgroup = "/system.slice/docker-" ID ".scope"};
static const struct process_facts of_user = {
                .pid = 502,
                .uid = 1002,
                .comm = "sh",
                .cgroup = "/user.slice/user-1002.slice/user@1002.service/app.slice/_cpu.service"};
static const struct process_facts of_system = {
                .pid = 44, .uid = 0, .gid = 0, .comm = "x", .cgroup = "/system.slice/_cpu.service"};
static const struct process_facts unknown = {.pid = 503, .uid = 4000000000, .gid = 4294967294};

/* Who is in a group is in a cgroup that is wanted, where that is said to be needed. */
static void assert_wanted(const struct policy *p, const struct process_facts *f)
{
        if (match_needs_cgroups(p))
                assert_true(match_wants_cgroup(p, f->cgroup));
}

static void test_selectors(void **state)
{
        static const struct {
                const char *keys;
                const struct process_facts *f;
                bool matches;
        } cases[] = {
                        {"User=alice", &alice, true},
                        {"User=bob", &alice, false},
                        {"User=bob alice", &alice, true},
                        {"User=!alice", &alice, false},
                        {"User=!bob", &alice, true},
                        {"User=!bob !alice", &alice, false},
                        {"User=alice !alice", &alice, false}, /* exclusion wins, in any order */
                        {"User=!alice alice", &alice, false},
                        {"User=alice\nGid=100", &alice, true}, /* different keys: all */
                        {"User=alice\nGid=101", &alice, false},
                        {"User=!bob\nGid=!101", &alice, true},
                        {"Uid=1001", &alice, true},
                        {"Uid=1000-1001", &alice, true},
                        {"Uid=1002-2000", &alice, false},
                        {"Uid=0-1000 1001-1002", &alice, true},
                        {"Uid=1000-59999 !1001", &alice, false},
                        {"Uid=0-4294967294", &unknown, true},
                        {"Gid=4294967294", &unknown, true},
                        {"Gid=staff", &alice, false},
                        {"Gid=90-110", &alice, true},

                        {"Comm=php-fpm8.2", &alice, true},
                        {"Comm=php-fpm", &alice, false},
                        {"Comm=php-fpm8.2x", &alice, false},
                        {"Comm=php-fpm*", &alice, true},
                        {"Comm=PHP*", &alice, false},
                        {"Comm=?hp-fpm[0-9].[!0-1]", &alice, true},
                        {"Comm=!php*", &alice, false},
                        {"Comm=!sshd", &alice, true},
                        {"Comm=*", &unknown, false},
                        {"Comm=!sshd", &unknown, false}, /* of unknown name */
                        {"Exe=/usr/sbin/php-fpm8.2", &alice, true},
                        {"Exe=/usr/sbin/php-fpm8.3", &alice, false},
                        {"Exe=/usr/*", &alice, true},
                        {"Exe=*/php-fpm?.?", &alice, true},
                        {"Exe=/usr/*", &unknown, false},
                        {"Cmdline=\"php-fpm: pool www --secret key\"", &alice, true},
                        {"Cmdline=\"php-fpm: pool *\"", &alice, true},
                        {"Cmdline=php-fpm:", &alice, false},
                        {"Cmdline=*secret*", &alice, true},
                        {"Cmdline=!*secret*", &alice, false},
                        {"Cmdline=!x", &unknown, false},

                        {"Cgroup=/", &alice, true},
                        {"Cgroup=/system.slice", &alice, true},
                        {"Cgroup=/system.slice/", &alice, true},
                        {"Cgroup=/system", &alice, false},
                        {"Cgroup=/system.slice/php8.2-fpm.service", &alice, true},
                        {"Cgroup=/system.slice/php8.2-fpm.service/worker", &alice, true},
                        {"Cgroup=/system.slice/php8.2-fpm.service/worker/x", &alice, false},
                        {"Cgroup=/system.slice/php*.service", &alice, true}, /* and below what a pattern matches */
                        {"Cgroup=/*/worker", &alice, true},
                        {"Cgroup=/system.slice/php?", &alice, false},
                        {"Cgroup=!/user.slice", &alice, true},
                        {"Cgroup=!/system.slice", &alice, false},
                        {"Cgroup=/", &unknown, false},
                        {"Unit=php8.2-fpm.service", &alice, true},
                        {"Unit=php*-fpm.service", &alice, true},
                        {"Unit=system.slice", &alice, true},
                        {"Unit=fpm.service", &alice, false},
                        {"Unit=worker*", &alice, false}, /* no unit */
                        {"Unit=*", &alice, true},
                        {"Unit=user-1002.slice", &of_user, true},
                        {"Unit=user@1002.service", &of_user, true},
                        {"Unit=user@*.service", &of_user, true},
                        {"Unit=cpu.service", &of_user, false},  /* who is called so by his own manager */
                        {"Unit=cpu.service", &of_system, true}, /* systemd's "_" */
                        {"Unit=app.slice", &of_user, false},
                        {"Unit=user-1001.slice", &of_user, false},
                        {"Unit=!user.slice", &of_user, false},
                        {"Unit=!a.service", &unknown, false},

                        {"Container=" ID, &boxed, true},
                        {"Container=0123456789ab", &boxed, true},
                        {"Container=0123456789abcd", &boxed, true},
                        {"Container=0123456789ac", &boxed, false},
                        {"Container=0123456789a", &boxed, false}, /* too short to be an id's beginning */
                        {"Container=0123456789a*", &boxed, true},
                        {"Container=*", &boxed, true},
                        {"Container=*", &alice, false},
                        {"Container=!*", &alice, true}, /* what is in no container */
                        {"Container=!*", &boxed, false},
                        {"Container=!*", &unknown, false},
                        {"PidNamespace=4026531836", &alice, true},
                        {"PidNamespace=pid:[4026531836]", &alice, true},
                        {"PidNamespace=4026531837", &alice, false},
                        {"PidNamespace=!4026531837", &alice, true},
                        {"PidNamespace=!4026531837", &unknown, false},
                        {"PidFile=/run/none /run/alice", &alice, true},
                        {"PidFile=/run/none", &alice, false},
                        {"PidFile=!/run/none !/run/alice", &alice, false},
                        {"PidFile=!/run/none", &alice, true},
        };

        pid_files[0] = 0; /* missing */
        pid_files[1] = 500;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct match matches[2];
                struct policy *p;
                char text[512];

                print_message("%s of %u\n", cases[i].keys, (unsigned)cases[i].f->pid);
                snprintf(text, sizeof(text), "[Group g]\nCap=1G\n%s\n", cases[i].keys);
                p = load_string(text);
                assert_int_equal(match_process(p, &world, cases[i].f, matches, ARRAY_SIZE(matches)), cases[i].matches);
                if (cases[i].matches) {
                        assert_int_equal(matches[0].section, 0);
                        assert_string_equal(matches[0].name, "g");
                        assert_wanted(p, cases[i].f);
                }
                policy_free(p);
        }
}

static void test_memberships(void **state)
{
        struct policy *p = load_string("[Group a]\nUser=alice\nCap=1G\n"
                                       "[Group b]\nUser=bob\nCap=1G\n"
                                       "[Group c]\nUid=1000-2000\nCap=1G\n"
                                       "[Group d]\nForEach=user\nUid=1000-2000\nCap=1G\n");
        struct process_facts f = alice;
        struct match matches[LIMIT_GROUPS_PER_PROCESS];

        assert_int_equal(match_process(p, &world, &f, matches, ARRAY_SIZE(matches)), 3);
        assert_int_equal(matches[0].section, 0);
        assert_int_equal(matches[1].section, 2);
        assert_string_equal(matches[1].name, "c");
        assert_int_equal(matches[2].section, 3);
        assert_string_equal(matches[2].name, "d/alice");
        assert_int_equal(match_process(p, &world, &f, matches, 2), 2);
        assert_int_equal(match_process(p, &world, &f, matches, 0), 0);

        f.zombie = true;
        assert_int_equal(match_process(p, &world, &f, matches, ARRAY_SIZE(matches)), 0);
        f.zombie = false;
        f.kernel_thread = true;
        assert_int_equal(match_process(p, &world, &f, matches, ARRAY_SIZE(matches)), 0);
        f.kernel_thread = false;
        f.pid = 1; /* its memory counts, though nothing is done to it */
        assert_int_equal(match_process(p, &world, &f, matches, ARRAY_SIZE(matches)), 3);
        policy_free(p);
}

static void test_for_each(void **state)
{
        static const struct {
                const char *by;
                const struct process_facts *f;
                const char *name; /* NULL: in no group */
        } cases[] = {
                        {"user", &alice, "g/alice"},
                        {"user", &of_user, "g/1002"},
                        {"uid", &alice, "g/1001"},
                        {"uid", &unknown, "g/4000000000"},
                        {"cgroup", &alice, "g/\\x2fsystem.slice\\x2fphp8.2-fpm.service\\x2fworker"},
                        {"cgroup", &unknown, NULL},
                        {"unit", &alice, "g/php8.2-fpm.service"},
                        {"unit", &of_user, "g/user@1002.service"},
                        {"unit", &unknown, NULL},
                        {"container", &boxed, "g/" ID},
                        {"container", &alice, NULL},
                        {"container", &unknown, NULL},
                        {"pidns", &alice, "g/4026531836"},
                        {"pidns", &boxed, NULL},
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct match m;
                struct policy *p;
                char text[128];

                snprintf(text, sizeof(text), "[Group g]\nCap=1G\nUid=0-4294967294\nForEach=%s\n", cases[i].by);
                p = load_string(text);
                assert_int_equal(match_process(p, &world, cases[i].f, &m, 1), cases[i].name != NULL);
                if (cases[i].name) {
                        assert_string_equal(m.name, cases[i].name);
                        assert_wanted(p, cases[i].f);
                }
                policy_free(p);
        }
}

/* Values that do not fit stay distinct, keep their beginning, and are never cut inside an escape. */
static void test_long_names(void **state)
{
        struct policy *p = load_string("[Group g]\nCap=1G\nUid=0\nForEach=cgroup\n");
        char a[LIMIT_CGROUP_BYTES + 10], b[LIMIT_CGROUP_BYTES + 10];
        struct process_facts f = {.pid = 9, .cgroup = a}, g = {.pid = 10, .cgroup = b};
        struct match m, n;

        for (size_t len = 100; len < 300; len++) {
                size_t escaped = 2 + 3;

                memset(a, 'x', len);
                a[0] = '/';
                for (size_t i = 150; i < 180 && i < len; i += 3)
                        a[i] = ' ';
                a[len] = '\0';
                strcpy(b, a);
                b[len - 1] = 'y';
                assert_int_equal(match_process(p, &world, &f, &m, 1), 1);
                assert_int_equal(match_process(p, &world, &g, &n, 1), 1);
                assert_string_not_equal(m.name, n.name);
                for (const char *s = a; *s; s++)
                        escaped += *s == ' ' ? 4 : 1;
                if (escaped < LIMIT_GROUP_NAME_BYTES) {
                        assert_int_equal(strlen(m.name), escaped);
                        assert_null(strchr(m.name, '~'));
                        continue;
                }
                assert_true(strlen(m.name) < LIMIT_GROUP_NAME_BYTES);
                assert_non_null(strchr(m.name, '~'));
                assert_int_equal(strlen(strchr(m.name, '~')), 17);
                for (const char *s = strchr(m.name, '\\'); s; s = strchr(s + 1, '\\'))
                        assert_true(strncmp(s, "\\x20", 4) == 0 || strncmp(s, "\\x2f", 4) == 0);
                assert_int_equal(match_process(p, &world, &f, &n, 1), 1);
                assert_string_equal(m.name, n.name);
        }
        /* longer than any cgroup can be */
        memset(a, 'x', sizeof(a) - 1);
        a[sizeof(a) - 1] = '\0';
        assert_int_equal(match_process(p, &world, &f, &m, 1), 0);
        policy_free(p);
}

static void test_protected(void **state)
{
        static const struct {
                const char *words;
                const struct process_facts *f;
                bool is_protected;
        } cases[] = {
                        {"", &alice, false},
                        {"Comm=sshd", &alice, false},
                        {"Comm=sshd Comm=php*", &alice, true},
                        {"Comm=sshd User=alice", &alice, true}, /* any word */
                        {"Unit=php8.2-fpm.service", &alice, true},
                        {"Uid=0-1000", &alice, false},
                        {"PidFile=/run/none PidFile=/run/alice", &alice, true},
                        {"Container=0123456789ab", &boxed, true},
                        {"Comm=* Exe=/* Unit=* Cgroup=/", &unknown, false},
        };
        struct process_facts f;

        pid_files[0] = 0;
        pid_files[1] = 500;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct policy *p;
                char text[256];

                snprintf(text, sizeof(text), "[Daemon]\nProtect=%s\n", cases[i].words);
                p = load_string(text);
                assert_int_equal(match_protected(p, &world, cases[i].f), cases[i].is_protected);
                f = *cases[i].f;
                f.pid = 1;
                assert_true(match_protected(p, &world, &f));
                f.pid = 2;
                f.kernel_thread = true;
                assert_true(match_protected(p, &world, &f));
                policy_free(p);
        }
}

static void test_by_cgroup(void **state)
{
        static const struct {
                const char *protect, *keys;
                bool by_cgroup;
        } cases[] = {
                        {"", "Unit=a.service", true},
                        {"", "Cgroup=/a !/a/b\nContainer=*", true},
                        {"", "ForEach=unit\nUnit=*", true},
                        {"", "ForEach=user\nUnit=*", false},
                        {"", "Unit=a.service\nUser=alice", false},
                        {"", "Comm=a", false},
                        {"Unit=b.service", "Unit=a.service", true},
                        {"Comm=sshd", "Unit=a.service", false}, /* a newcomer may be covered */
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct policy *p;
                char text[256];

                snprintf(text, sizeof(text), "[Daemon]\nProtect=%s\n[Group g]\n%s\nCap=1G\n", cases[i].protect,
                         cases[i].keys);
                p = load_string(text);
                assert_int_equal(match_by_cgroup(p, &p->sections[0]), cases[i].by_cgroup);
                policy_free(p);
        }
}

static void test_wanted_cgroups(void **state)
{
        static const struct {
                const char *keys, *cgroup;
                bool needed, wanted;
        } cases[] = {
                        {"Unit=a.service", "/system.slice/a.service", true, true},
                        {"Unit=a.service", "/system.slice/a.service/sub", true, true},
                        {"Unit=a.service", "/system.slice/b.service", true, false},
                        {"Unit=a.service", "/system.slice", true, false},
                        {"Unit=a.service\nComm=java\nUser=alice", "/system.slice/a.service", true, true},
                        {"Unit=a.service\nComm=java", "/system.slice", true, false},
                        {"Cgroup=/a !/a/b", "/a/c", true, true},
                        {"Cgroup=/a !/a/b", "/a/b/c", true, false},
                        {"Cgroup=!/a", "/b", true, true},
                        {"Cgroup=/", "/", true, true},
                        {"ForEach=container\nUid=0-4294967294", "/system.slice/docker-" ID ".scope", true, true},
                        {"ForEach=container\nUid=0-4294967294", "/system.slice/a.service", true, false},
                        {"ForEach=unit\nUid=1000-2000", "/system.slice/a.service", true, true},
                        {"ForEach=cgroup\nCgroup=/a", "/b", true, false},
                        {"ForEach=user\nCgroup=/a", "/b", true, false},
                        {"ForEach=user\nCgroup=/a", "/a", true, true},
                        {"User=alice", "/", false, true},
                        {"ForEach=uid\nUid=0-4294967294", "/", false, true},
                        {"Unit=a.service\nCap=1G\n[Group h]\nComm=x", "/b", false, true},
                        {"Unit=a.service\nCap=1G\n[Group h]\nUnit=b.service", "/b.service", true, true},
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct policy *p;
                char text[256];

                print_message("%s in %s\n", cases[i].keys, cases[i].cgroup);
                snprintf(text, sizeof(text), "[Group g]\n%s\nCap=1G\n", cases[i].keys);
                p = load_string(text);
                assert_int_equal(match_needs_cgroups(p), cases[i].needed);
                assert_int_equal(match_wants_cgroup(p, cases[i].cgroup), cases[i].wanted);
                policy_free(p);
        }
}

/* What the cgroup alone tells of a process is what it is a member of. */
static void test_in_cgroup(void **state)
{
        struct policy *p = load_string("[Daemon]\nProtect=\n[Group u]\nUnit=*.service\nForEach=unit\nCap=1G\n"
                                       "[Group m]\nUnit=a.service\nComm=java\nCap=1G\n");
        struct match m;

        assert_true(match_in_cgroup(p, 0, "/system.slice/a.service/sub", &m));
        assert_string_equal(m.name, "u/a.service");
        assert_int_equal(m.section, 0);
        assert_false(match_in_cgroup(p, 0, "/system.slice", &m));
        assert_false(match_in_cgroup(p, 1, "/system.slice/a.service", &m)); /* not by its cgroup alone */
        policy_free(p);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_selectors),      cmocka_unit_test(test_memberships),
                        cmocka_unit_test(test_for_each),       cmocka_unit_test(test_long_names),
                        cmocka_unit_test(test_protected),      cmocka_unit_test(test_by_cgroup),
                        cmocka_unit_test(test_wanted_cgroups), cmocka_unit_test(test_in_cgroup),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
