/* SPDX-License-Identifier: MIT */
/* Names of scopes and cgroups, and the units that cgroups belong to. */
#include "fake.h"

#include <string.h>

static void scopes_are_escaped_like_units(void **state)
{
        static const struct {
                const char *group, *scope;
        } names[] = {
                        {"web", "capd-web.scope"},
                        {"login/alice", "capd-login-alice.scope"},
                        {"login-alice", "capd-login\\x2dalice.scope"},
                        {".hidden", "capd-\\x2ehidden.scope"},
                        {"a.b:c_d", "capd-a.b:c_d.scope"},
                        {"u/x@y", "capd-u-x\\x40y.scope"},
                        {"u/a\\x20b", "capd-u-a\\x5cx20b.scope"},
                        {"../../x", "capd-\\x2e.-..-x.scope"},
                        {"\xc3\xa4", "capd-\\xc3\\xa4.scope"},
        };

        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                char ret[MOVE_NAME_MAX];

                move_scope_name(names[i].group, ret);
                assert_string_equal(ret, names[i].scope);
                assert_null(strchr(ret, '/'));
        }
}

static void long_names_stay_distinct(void **state)
{
        char a[LIMIT_GROUP_NAME_BYTES], b[LIMIT_GROUP_NAME_BYTES], x[MOVE_NAME_MAX], y[MOVE_NAME_MAX];

        memset(a, '-', sizeof(a) - 1);
        a[sizeof(a) - 1] = '\0';
        memcpy(b, a, sizeof(b));
        b[sizeof(b) - 2] = '+';
        move_scope_name(a, x);
        move_scope_name(b, y);
        assert_string_not_equal(x, y);
        assert_true(strlen(x) < 256);
        assert_string_equal(x + strlen(x) - 6, ".scope");
        move_cgroup_name(a, x);
        move_cgroup_name(b, y);
        assert_string_not_equal(x, y);
        assert_true(strlen(x) < 256);
}

static void cgroups_are_no_files_of_the_kernel(void **state)
{
        char ret[MOVE_NAME_MAX];

        move_cgroup_name("memory.high", ret);
        assert_string_equal(ret, "group-memory.high");
        move_cgroup_name("..", ret);
        assert_string_equal(ret, "group-\\x2e.");
}

static void units_of_the_systems_manager(void **state)
{
        static const struct {
                const char *path, *unit, *cgroup; /* NULL: none */
        } paths[] = {
                        {"/", NULL, NULL},
                        {"/docker/abc", NULL, NULL},
                        {"/system.slice", "system.slice", "/system.slice"},
                        {"/system.slice/a.service", "a.service", "/system.slice/a.service"},
                        {"/system.slice/a.service/payload", "a.service", "/system.slice/a.service"},
                        {"/system.slice/system-x.slice/x@1.service", "x@1.service",
                         "/system.slice/system-x.slice/x@1.service"},
                        {"/user.slice/user-1000.slice", "user-1000.slice", "/user.slice/user-1000.slice"},
                        {"/user.slice/user-1000.slice/user@1000.service/app.slice/b.service", "user@1000.service",
                         "/user.slice/user-1000.slice/user@1000.service"},
                        {"/system.slice/_memory.service", "memory.service", "/system.slice/_memory.service"},
                        {"/a.scope", "a.scope", "/a.scope"},
                        {"/.slice", NULL, NULL},
        };

        for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
                char unit[MOVE_NAME_MAX] = "", cgroup[256] = "";

                assert_int_equal(move_system_unit(paths[i].path, unit, sizeof(unit), cgroup, sizeof(cgroup)),
                                 paths[i].unit != NULL);
                if (paths[i].unit) {
                        assert_string_equal(unit, paths[i].unit);
                        assert_string_equal(cgroup, paths[i].cgroup);
                }
                /* what does not fit is not cut */
                assert_false(move_system_unit(paths[i].path, unit, 3, cgroup, sizeof(cgroup)));
                assert_false(move_system_unit(paths[i].path, unit, sizeof(unit), cgroup, 3));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(scopes_are_escaped_like_units),
                        cmocka_unit_test(long_names_stay_distinct),
                        cmocka_unit_test(cgroups_are_no_files_of_the_kernel),
                        cmocka_unit_test(units_of_the_systems_manager),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
