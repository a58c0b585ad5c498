/* SPDX-License-Identifier: MIT */
/* Action=move as the engine carries it out, on a host without systemd made of files. */
#include "fake.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capd/daemon/move.h"

#define TARGET "/capd/group-web"

struct world {
        struct fake f;
        struct engine *e, *dead; /* the one that runs, and one that was killed */
};

static int no_user(void *userdata, const char *name, uid_t *ret)
{
        return -ENOENT;
}

static struct policy *read_policy(const char *text)
{
        const struct policy_text t = {.name = "test", .text = text, .size = strlen(text)};
        const struct policy_world world = {.user_to_uid = no_user};
        struct policy_problems problems = {};
        struct policy *p = NULL;

        assert_int_equal(policy_load(&t, 1, &world, &p, &problems), 0);
        return p;
}

static struct engine *start(struct world *w, const char *config)
{
        struct engine *e = calloc(1, sizeof(*e));
        struct policy *p = read_policy(config);

        assert_non_null(e);
        e->sys = w->f.sys;
        e->host = (struct host_memory){.total = 8 * GIB, .available = 4 * GIB, .swap_free = GIB};
        e->next_tick = USEC_INFINITY;
        e->runtime_fd = open(w->f.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(sd_event_new(&e->event), 0);
        assert_int_equal(sd_event_add_time(e->event, &e->tick_timer, CLOCK_MONOTONIC, 0, 1000, NULL, e), 0);
        assert_int_equal(process_table_new(&e->sys, p->facts, 64, &e->table), 0);
        assert_int_equal(move_start(e), 0);
        assert_int_equal(engine_put_in_force(e, p), 0);
        return e;
}

static struct engine *stop(struct engine *e)
{
        if (!e)
                return NULL;
        e->stopping = true;
        move_done(e);
        for (struct process *p = NULL; (p = process_table_next(e->table, p));)
                membership_forget(p, NULL);
        process_table_free(e->table);
        groups_free(e);
        policy_free(e->policy);
        free(e->pid_file_pids);
        sd_event_source_disable_unref(e->tick_timer);
        sd_event_unref(e->event);
        close_fd(e->runtime_fd);
        free(e);
        return NULL;
}

/* As after kill -9: nothing is undone, and its memory goes at the end of the test. */
static void kill_engine(struct world *w)
{
        assert_null(w->dead);
        w->dead = w->e;
        w->e = NULL;
}

static void look(struct engine *e)
{
        membership_refresh(e);
        for (struct process *p = NULL; (p = process_table_next(e->table, p));)
                if (process_look(e->table, p) < 0)
                        p->vm = 0;
        move_look(e);
}

static int setup(void **state)
{
        struct world *w = calloc(1, sizeof(*w));

        fake_init(&w->f);
        w->f.kernel = true;
        fake_cgroup(&w->f, "/svc/a");
        fake_cgroup(&w->f, "/svc/b");
        fake_cgroup(&w->f, "/svc");
        fake_write(&w->f, "proc/self/cgroup", "0::/svc/capd\n");
        fake_process(&w->f, 17, 1, 100, "/svc/a");
        fake_process(&w->f, 18, 17, 101, "/svc/a");
        fake_process(&w->f, 19, 1, 102, "/svc/b");
        fake_process(&w->f, 50, 1, 103, "/svc/b");
        *state = w;
        return 0;
}

static int teardown(void **state)
{
        struct world *w = *state;

        stop(w->e);
        stop(w->dead);
        fake_done(&w->f);
        free(w);
        return 0;
}

static void expect(struct world *w, int pid, const char *cgroup)
{
        char where[256];

        fake_where(&w->f, pid, where, sizeof(where));
        if (strcmp(where, cgroup) != 0)
                fail_msg("process %d is in %s, not in %s", pid, where, cgroup);
}

static void expect_file(struct world *w, const char *path, const char *expected)
{
        char text[256];

        fake_read(&w->f, path, text, sizeof(text));
        text[strcspn(text, "\n")] = '\0';
        assert_string_equal(text, expected);
}

/* 50 is protected, so that neither /svc/b nor /svc is the group's alone. */
static const char config[] = "[Group web]\nCgroup=/svc/*\nCap=100M\nAction=move\n";

static void protect_50(struct world *w)
{
        struct process *p = process_table_find(w->e->table, 50);
        struct membership *m = p ? p->userdata : NULL;

        if (m)
                m->protected_process = true;
}

static void look_all(struct world *w)
{
        membership_refresh(w->e);
        for (struct process *p = NULL; (p = process_table_next(w->e->table, p));)
                if (process_look(w->e->table, p) < 0)
                        p->vm = 0;
        protect_50(w);
        move_look(w->e);
}

static void check_moved(struct world *w)
{
        expect(w, 17, TARGET);
        expect(w, 18, TARGET);
        expect(w, 19, TARGET);
        expect(w, 50, "/svc/b");
}

static void check_home(struct world *w)
{
        expect(w, 17, "/svc/a");
        expect(w, 18, "/svc/a");
        expect(w, 19, "/svc/b");
        expect(w, 50, "/svc/b");
}

static void moved_and_put_back_at_the_stop(void **state)
{
        struct world *w = *state;
        struct wire_group shown = {};

        w->e = start(w, config);
        look_all(w);
        check_moved(w);
        expect_file(w, "sys/fs/cgroup" TARGET "/memory.high", "104857600");
        assert_true(fake_exists(&w->f, STATE_FILE));
        move_fill(group_find(w->e, "web"), &shown);
        assert_int_equal(shown.moved, 3);
        assert_string_equal(shown.move_target, TARGET);
        assert_int_equal(shown.memory_high, 100 * MIB);
        w->e = stop(w->e);
        check_home(w);
        assert_false(fake_exists(&w->f, "sys/fs/cgroup/capd"));
        assert_false(fake_exists(&w->f, STATE_FILE));
}

static void undone_by_the_next_start(void **state)
{
        struct world *w = *state;

        w->e = start(w, config);
        look_all(w);
        check_moved(w);
        /* a child of one of them that was born after the last look, and a number that is another's now */
        fake_process(&w->f, 30, 19, 200, TARGET);
        kill_engine(w);
        fake_exit(&w->f, 18);
        fake_process(&w->f, 18, 1, 999, TARGET);
        w->e = start(w, "[Group other]\nUid=9\nCap=1G\n");
        expect(w, 17, "/svc/a");
        expect(w, 19, "/svc/b");
        expect(w, 30, "/svc/b");
        assert_false(fake_exists(&w->f, "sys/fs/cgroup" TARGET));
        assert_false(fake_exists(&w->f, STATE_FILE));
}

static void a_cgroup_that_is_gone_takes_nobody_back(void **state)
{
        struct world *w = *state;
        uint64_t before = fake_inode(&w->f, "/svc/a");

        w->e = start(w, config);
        look_all(w);
        kill_engine(w);
        fake_remove(&w->f, "sys/fs/cgroup/svc/a");
        /* file systems use the numbers of inodes again, cgroupfs does not: let others take the one that is free now */
        for (int i = 0; i < 8; i++) {
                char name[32];

                snprintf(name, sizeof(name), "/svc/x%d", i);
                fake_cgroup(&w->f, name);
        }
        fake_cgroup(&w->f, "/svc/a");
        if (fake_inode(&w->f, "/svc/a") == before)
                skip();
        w->e = start(w, "[Group other]\nUid=9\nCap=1G\n");
        expect(w, 19, "/svc/b");
        expect(w, 17, TARGET);
        expect_file(w, "sys/fs/cgroup" TARGET "/memory.high", "max");
        assert_true(fake_exists(&w->f, STATE_FILE)); /* its cgroup is still to be removed */
}

static void children_and_deserters(void **state)
{
        struct world *w = *state;

        w->e = start(w, config);
        look_all(w);
        /* a member's child is a member; it ends where its parent came from */
        fake_process(&w->f, 31, 19, 300, TARGET);
        look_all(w);
        expect(w, 31, TARGET);
        assert_non_null(moved_find(w->e->mover, 31, 300));
        assert_string_equal(moved_find(w->e->mover, 31, 300)->origin, "/svc/b");
        fake_exit(&w->f, 31);
        look_all(w);
        assert_null(moved_find(w->e->mover, 31, 300));
        /* pause, and go on */
        group_find(w->e, "web")->settings.paused = true;
        move_look(w->e);
        check_home(w);
        group_find(w->e, "web")->settings.paused = false;
        look_all(w);
        check_moved(w);
        /* a reload without the group */
        assert_int_equal(engine_put_in_force(w->e, read_policy("[Group other]\nUid=9\nCap=1G\n")), 0);
        check_home(w);
        assert_false(fake_exists(&w->f, "sys/fs/cgroup/capd"));
}

static void who_is_taken_away_is_fetched(void **state)
{
        struct world *w = *state;
        struct wire_group shown = {};

        w->e = start(w, config);
        look_all(w);
        check_moved(w);
        for (unsigned i = 0; i < 5; i++) {
                struct sys *sys = &w->f.sys;
                int fd = sys_open(sys, "sys/fs/cgroup/svc/a", O_RDONLY | O_DIRECTORY);

                assert_int_equal(sys_write_file_at(sys, fd, "cgroup.procs", "19"), 0);
                close(fd);
                look_all(w);
                expect(w, 19, i < 3 ? TARGET : "/svc/a");
        }
        move_fill(group_find(w->e, "web"), &shown);
        assert_int_equal(shown.moved, 2);
        assert_int_equal(shown.move_left, 1);
        assert_non_null(strstr(shown.move_note, "somebody else"));
        w->e = stop(w->e);
        expect(w, 19, "/svc/a");
        expect(w, 17, "/svc/a");
}

static void a_cgroup_of_its_own_keeps_its_processes(void **state)
{
        struct world *w = *state;

        fake_write(&w->f, "sys/fs/cgroup/svc/a/memory.high", "209715200\n");
        w->e = start(w, "[Group web]\nCgroup=/svc/a\nCap=100M\nAction=move\n");
        look(w->e);
        expect(w, 17, "/svc/a");
        expect_file(w, "sys/fs/cgroup/svc/a/memory.high", "104857600");
        assert_int_equal(w->e->mover->groups->place, PLACE_OWN);
        /* a cap that is above what was set before changes nothing */
        w->e->policy->sections[0].cap_bytes = GIB;
        group_update_settings(w->e, group_find(w->e, "web"));
        look(w->e);
        expect_file(w, "sys/fs/cgroup/svc/a/memory.high", "209715200");
        w->e->policy->sections[0].cap_bytes = 50 * MIB;
        group_update_settings(w->e, group_find(w->e, "web"));
        look(w->e);
        expect_file(w, "sys/fs/cgroup/svc/a/memory.high", "52428800");
        kill_engine(w);
        w->e = start(w, "[Group other]\nUid=9\nCap=1G\n");
        expect_file(w, "sys/fs/cgroup/svc/a/memory.high", "209715200");
        assert_false(fake_exists(&w->f, STATE_FILE));
}

static void what_cannot_be_recorded_is_not_done(void **state)
{
        struct world *w = *state;
        struct wire_group shown = {};

        w->e = start(w, config);
        fake_fail(&w->f, OP_CREATE, 1, -ENOSPC);
        look_all(w);
        check_home(w);
        move_fill(group_find(w->e, "web"), &shown);
        assert_non_null(strstr(shown.move_note, "cannot be recorded"));
}

static void tasks_are_recorded_before_they_move(void **state)
{
        struct world *w = *state;

        w->e = start(w, config);
        /* the first file is the group's, the second its inode's, the third the tasks' */
        fake_fail(&w->f, OP_CREATE, 3, -ENOSPC);
        look_all(w);
        check_home(w);
        assert_null(moved_find(w->e->mover, 17, 100));
}

static void rubbish_in_the_state_is_left_alone(void **state)
{
        struct world *w = *state;

        fake_write(&w->f, STATE_FILE,
                   "capd-state 1 11111111-2222-3333-4444-555555555555\n"
                   "group a b c d e f\n"
                   "group web subtree - relative 1 max\n"
                   "group own own - /svc/a 1 many\n"
                   "task x 1 1 web /svc/a\n"
                   "task 17 100 1 nobody /svc/a\n"
                   "task 19 102 1\n"
                   "damon kdamond 1\n"
                   "end 7\n");
        w->e = start(w, config);
        check_home(w);
        assert_non_null(state_file_find(w->e->state, "damon", "kdamond"));
        look_all(w);
        check_moved(w);
}

static void without_cgroups_it_is_said(void **state)
{
        struct world *w = *state;
        struct wire_group shown = {};

        fake_write(&w->f, "proc/self/mountinfo", "1 1 0:1 / / rw - ext4 x rw\n");
        w->e = start(w, config);
        look_all(w);
        check_home(w);
        move_fill(group_find(w->e, "web"), &shown);
        assert_non_null(strstr(shown.move_note, "nothing can be moved here"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test_setup_teardown(moved_and_put_back_at_the_stop, setup, teardown),
                        cmocka_unit_test_setup_teardown(undone_by_the_next_start, setup, teardown),
                        cmocka_unit_test_setup_teardown(a_cgroup_that_is_gone_takes_nobody_back, setup, teardown),
                        cmocka_unit_test_setup_teardown(children_and_deserters, setup, teardown),
                        cmocka_unit_test_setup_teardown(who_is_taken_away_is_fetched, setup, teardown),
                        cmocka_unit_test_setup_teardown(a_cgroup_of_its_own_keeps_its_processes, setup, teardown),
                        cmocka_unit_test_setup_teardown(what_cannot_be_recorded_is_not_done, setup, teardown),
                        cmocka_unit_test_setup_teardown(tasks_are_recorded_before_they_move, setup, teardown),
                        cmocka_unit_test_setup_teardown(rubbish_in_the_state_is_left_alone, setup, teardown),
                        cmocka_unit_test_setup_teardown(without_cgroups_it_is_said, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
