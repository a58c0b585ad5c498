/* SPDX-License-Identifier: MIT */
/* Tasks from one cgroup to another in a world of files, and the files of a cgroup. */
#include "fake.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOME   "/system.slice/a.service"
#define TARGET "/capd.slice/capd-web.scope"

static int setup(void **state)
{
        struct fake *f = calloc(1, sizeof(*f));

        fake_init(f);
        fake_cgroup(f, HOME);
        fake_cgroup(f, TARGET);
        fake_process(f, 17, 1, 99, HOME);
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        fake_done(*state);
        free(*state);
        return 0;
}

static int move(struct fake *f, uint64_t start_time)
{
        int fd = move_open_cgroup(&f->cgroups, TARGET), r;

        assert_true(fd >= 0);
        r = move_task(&f->cgroups, 17, start_time, fd, TARGET);
        close(fd);
        return r;
}

static void a_task_is_moved(void **state)
{
        struct fake *f = *state;

        assert_int_equal(move(f, 99), 0);
        assert_string_equal(f->procs, "17 ");
}

static void another_process_with_its_number_is_not(void **state)
{
        struct fake *f = *state;

        assert_int_equal(move(f, 98), MOVE_E_GONE);
        fake_remove(f, "proc/17");
        assert_int_equal(move(f, 99), MOVE_E_GONE);
        assert_string_equal(f->procs, "");
}

static void failures_are_told(void **state)
{
        struct fake *f = *state;
        static const int errors[] = {-EBUSY, -EACCES, -EOPNOTSUPP, -EINVAL};

        for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
                fake_fail(f, OP_WRITE, 1, errors[i]);
                assert_int_equal(move(f, 99), errors[i]);
        }
        fake_fail(f, OP_WRITE, 1, -ESRCH);
        assert_int_equal(move(f, 99), MOVE_E_GONE);
        fake_fail(f, OP_WRITE, 1, -EINTR);
        assert_int_equal(move(f, 99), 0);
}

/* In the moment of the write the process ends, and its number goes to a child of 20. */
static void reuse(struct fake *f, const char *text)
{
        f->on_procs = NULL;
        assert_string_equal(text, "17");
        fake_remove(f, "proc/17");
        fake_process(f, 17, 20, 500, TARGET);
}

static void a_stranger_goes_back_to_its_parent(void **state)
{
        struct fake *f = *state;

        fake_cgroup(f, "/other.slice");
        fake_process(f, 20, 1, 5, "/other.slice");
        f->on_procs = reuse;
        assert_int_equal(move(f, 99), MOVE_E_GONE);
        assert_string_equal(f->procs, "17 17 ");
}

static void a_child_of_the_place_stays(void **state)
{
        struct fake *f = *state;

        fake_process(f, 20, 1, 5, TARGET);
        f->on_procs = reuse;
        assert_int_equal(move(f, 99), MOVE_E_GONE);
        assert_string_equal(f->procs, "17 ");
}

static void back_to_the_same_cgroup_only(void **state)
{
        struct fake *f = *state;
        uint64_t inode = fake_inode(f, HOME);

        /* somebody else has moved it meanwhile: left alone */
        assert_int_equal(move_back(&f->cgroups, 17, 99, TARGET, HOME, inode), MOVE_E_GONE);
        assert_string_equal(f->procs, "");

        fake_process(f, 17, 1, 99, TARGET);
        assert_int_equal(move_back(&f->cgroups, 17, 98, TARGET, HOME, inode), MOVE_E_GONE);
        assert_int_equal(move_back(&f->cgroups, 17, 99, TARGET, HOME, inode + 1), MOVE_E_OTHER);
        assert_int_equal(move_back(&f->cgroups, 17, 99, TARGET, "/system.slice/gone.service", inode), MOVE_E_OTHER);
        assert_int_equal(move_back(&f->cgroups, 17, 99, TARGET, "/../../proc", inode), MOVE_E_OTHER);
        assert_string_equal(f->procs, "");

        assert_int_equal(move_back(&f->cgroups, 17, 99, TARGET, HOME, inode), 0);
        assert_string_equal(f->procs, "17 ");
        fake_fail(f, OP_WRITE, 1, -EBUSY);
        assert_int_equal(move_back(&f->cgroups, 17, 99, TARGET, HOME, inode), -EBUSY);
}

static void the_root_is_a_cgroup_too(void **state)
{
        struct fake *f = *state;

        fake_process(f, 17, 1, 99, TARGET);
        assert_int_equal(move_back(&f->cgroups, 17, 99, TARGET, "/", fake_inode(f, "/")), 0);
}

static void who_has_a_number(void **state)
{
        struct fake *f = *state;
        uint64_t start = 0;
        pid_t parent = 0;

        assert_int_equal(move_identify(&f->sys, 17, &start, &parent), 0);
        assert_int_equal(start, 99);
        assert_int_equal(parent, 1);
        assert_int_equal(move_identify(&f->sys, 18, &start, &parent), MOVE_E_GONE);
        fake_write(f, "proc/17/stat", "17 (x) S 1 2\n");
        assert_int_equal(move_identify(&f->sys, 17, &start, &parent), -EBADMSG);
        fake_write(f, "proc/17/stat", "rubbish");
        assert_int_equal(move_identify(&f->sys, 17, &start, &parent), -EBADMSG);
}

static void threaded_cgroups_are_left_alone(void **state)
{
        struct fake *f = *state;
        int fd = move_open_cgroup(&f->cgroups, HOME);

        assert_null(move_cgroup_objection(&f->cgroups, fd));
        fake_write(f, "sys/fs/cgroup" HOME "/cgroup.type", "domain threaded\n");
        assert_non_null(move_cgroup_objection(&f->cgroups, fd));
        fake_write(f, "sys/fs/cgroup" HOME "/cgroup.type", "threaded\n");
        assert_non_null(move_cgroup_objection(&f->cgroups, fd));
        close(fd);
        fd = move_open_cgroup(&f->cgroups, "/");
        assert_null(move_cgroup_objection(&f->cgroups, fd));
        close(fd);
}

static void processes_are_listed(void **state)
{
        struct fake *f = *state;
        char deep[sizeof(HOME) + 2 * (LIMIT_CGROUP_DEPTH + 2)];
        pid_t *pids = NULL;
        size_t n = 0;
        int fd = move_open_cgroup(&f->cgroups, "/system.slice/a.service");

        fake_write(f, "sys/fs/cgroup" HOME "/cgroup.procs", "17\n0\n18\n");
        fake_cgroup(f, HOME "/sub");
        fake_write(f, "sys/fs/cgroup" HOME "/sub/cgroup.procs", "19\n");
        assert_int_equal(move_list(&f->cgroups, fd, &pids, &n), 0);
        assert_int_equal(n, 2);
        assert_int_equal(pids[1], 18);
        free(pids);
        assert_int_equal(move_list_all(&f->cgroups, fd, &pids, &n), 0);
        assert_int_equal(n, 3);
        free(pids);
        /* whoever may make cgroups there can make more than are looked through */
        snprintf(deep, sizeof(deep), "%s", HOME);
        for (unsigned i = 0; i <= LIMIT_CGROUP_DEPTH; i++) {
                strcat(deep, "/d");
                fake_cgroup(f, deep);
        }
        close(fd);
        fd = move_open_cgroup(&f->cgroups, "/system.slice/a.service");
        assert_int_equal(move_list_all(&f->cgroups, fd, &pids, &n), -ELOOP);
        fake_write(f, "sys/fs/cgroup" HOME "/cgroup.procs", "17\nx\n");
        assert_int_equal(move_list(&f->cgroups, fd, &pids, &n), -EBADMSG);
        fake_fail(f, OP_READ, 1, -ENODEV);
        assert_int_equal(move_list(&f->cgroups, fd, &pids, &n), MOVE_E_GONE);
        close(fd);
}

static void figures_are_read(void **state)
{
        struct fake *f = *state;
        int fd = move_open_cgroup(&f->cgroups, HOME);
        struct move_figures g;
        char text[64];

        assert_int_equal(move_read_figures(&f->cgroups, fd, &g), 0);
        assert_true(g.high == MOVE_NO_LIMIT);
        assert_int_equal(g.current, 4 * MIB);
        assert_int_equal(g.cache, 4300);
        assert_int_equal(g.anon, 30);
        assert_int_equal(g.events_high, 7);
        assert_int_equal(g.stalled, 42);

        fake_remove(f, "sys/fs/cgroup" HOME "/memory.pressure");
        fake_remove(f, "sys/fs/cgroup" HOME "/memory.events");
        fake_write(f, "sys/fs/cgroup" HOME "/memory.stat", "active_file 1\n");
        fake_write(f, "sys/fs/cgroup" HOME "/memory.current", "many\n");
        assert_int_equal(move_read_figures(&f->cgroups, fd, &g), 0);
        assert_true(g.current == SIZE_UNKNOWN && g.cache == SIZE_UNKNOWN && g.anon == SIZE_UNKNOWN);
        assert_true(g.events_high == SIZE_UNKNOWN && g.stalled == SIZE_UNKNOWN);

        assert_int_equal(move_write_high(&f->cgroups, fd, 8 * MIB), 0);
        fake_read(f, "sys/fs/cgroup" HOME "/memory.high", text, sizeof(text));
        assert_int_equal(strncmp(text, "8388608", 7), 0);
        fake_fail(f, OP_WRITE, 1, -EACCES);
        assert_int_equal(move_write_high(&f->cgroups, fd, MOVE_NO_LIMIT), -EACCES);
        close(fd);
}

static void a_cgroup_of_our_own(void **state)
{
        struct fake *f = *state;
        char why[200] = "";

        assert_true(move_root_has_memory(&f->cgroups));
        fake_write(f, "sys/fs/cgroup/cgroup.subtree_control", "cpu\n");
        assert_false(move_root_has_memory(&f->cgroups));
        /* the directory that a kernel would fill is filled by hand */
        fake_cgroup(f, "/capd");
        assert_int_equal(move_make_cgroup(&f->cgroups, "group-web", why, sizeof(why)), 0);
        assert_string_equal(f->procs, "+memory +memory ");
        assert_true(fake_exists(f, "sys/fs/cgroup/capd/group-web"));
        assert_int_equal(move_make_cgroup(&f->cgroups, "group-web", why, sizeof(why)), 0);

        fake_fail(f, OP_WRITE, 1, -EBUSY);
        assert_int_equal(move_make_cgroup(&f->cgroups, "group-x", why, sizeof(why)), -EBUSY);
        assert_non_null(strstr(why, "processes are in it"));
        fake_fail(f, OP_MKDIR, 2, -EACCES);
        assert_int_equal(move_make_cgroup(&f->cgroups, "group-x", why, sizeof(why)), -EACCES);

        assert_int_equal(move_remove_cgroup(&f->cgroups, "/capd/group-web"), 0);
        assert_int_equal(move_remove_cgroup(&f->cgroups, "/capd/group-web"), 0);
        assert_int_equal(move_remove_cgroup(&f->cgroups, "/nowhere/group-web"), 0);
        assert_int_equal(move_remove_cgroup(&f->cgroups, "/"), -EINVAL);
        fake_fail(f, OP_UNLINK, 1, -EBUSY);
        assert_int_equal(move_remove_cgroup(&f->cgroups, "/capd"), -EBUSY);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test_setup_teardown(a_task_is_moved, setup, teardown),
                        cmocka_unit_test_setup_teardown(another_process_with_its_number_is_not, setup, teardown),
                        cmocka_unit_test_setup_teardown(failures_are_told, setup, teardown),
                        cmocka_unit_test_setup_teardown(a_stranger_goes_back_to_its_parent, setup, teardown),
                        cmocka_unit_test_setup_teardown(a_child_of_the_place_stays, setup, teardown),
                        cmocka_unit_test_setup_teardown(back_to_the_same_cgroup_only, setup, teardown),
                        cmocka_unit_test_setup_teardown(the_root_is_a_cgroup_too, setup, teardown),
                        cmocka_unit_test_setup_teardown(who_has_a_number, setup, teardown),
                        cmocka_unit_test_setup_teardown(threaded_cgroups_are_left_alone, setup, teardown),
                        cmocka_unit_test_setup_teardown(processes_are_listed, setup, teardown),
                        cmocka_unit_test_setup_teardown(figures_are_read, setup, teardown),
                        cmocka_unit_test_setup_teardown(a_cgroup_of_our_own, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
