/* SPDX-License-Identifier: MIT */
/* kill_process() and kill_member(): who is meant, or nobody. On real children, as nothing else has a pidfd; in cgroups of files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "capd/enforce/kill.h"

static struct sys_ops ops;
static struct sys sys;
static int fail_error;
static unsigned signals;

static pid_t child(void)
{
        pid_t pid = fork();

        if (pid == 0)
                for (;;)
                        pause();
        assert_true(pid > 0);
        return pid;
}

static uint64_t start_time(pid_t pid)
{
        char path[64], text[1024], *p;
        unsigned long long t = 0;

        snprintf(path, sizeof(path), "proc/%d/stat", (int)pid);
        assert_true(sys_read_file_at(&sys, sys.root_fd, path, text, sizeof(text)) > 0);
        p = strrchr(text, ')') + 2;
        for (int field = 3; field < 22; field++)
                p = strchr(p, ' ') + 1;
        assert_int_equal(sscanf(p, "%llu", &t), 1);
        return t;
}

static int end(pid_t pid)
{
        int status;

        kill(pid, SIGTERM); /* if it is not dead yet */
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return WTERMSIG(status);
}

static int counted_signal(const struct sys *s, int pidfd, int sig)
{
        signals++;
        return fail_error ? -fail_error : sys_ops_native.pidfd_send_signal(s, pidfd, sig);
}

static int failing_pidfd(const struct sys *s, pid_t pid)
{
        return -fail_error;
}

static int setup(void **state)
{
        assert_int_equal(sys_init(&sys, NULL), 0);
        ops = sys_ops_native;
        ops.pidfd_send_signal = counted_signal;
        sys.ops = &ops;
        fail_error = 0;
        signals = 0;
        return 0;
}

static int teardown(void **state)
{
        sys_done(&sys);
        return 0;
}

static void the_process_is_killed(void **state)
{
        pid_t pid = child();
        int status;

        assert_int_equal(kill_process(&sys, pid, start_time(pid)), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void another_one_with_its_number_is_not(void **state)
{
        pid_t pid = child();

        assert_int_equal(kill_process(&sys, pid, start_time(pid) + 1), -ESRCH);
        assert_int_equal(signals, 0);
        assert_int_equal(end(pid), SIGTERM);
}

static void who_has_ended_is_said(void **state)
{
        pid_t pid = child();
        uint64_t t = start_time(pid);

        end(pid);
        assert_int_equal(kill_process(&sys, pid, t), -ESRCH);
        assert_int_equal(signals, 0);
}

static void failures_are_passed_on(void **state)
{
        pid_t pid = child();

        fail_error = EPERM;
        assert_int_equal(kill_process(&sys, pid, start_time(pid)), -EPERM);
        assert_int_equal(signals, 1);
        ops.pidfd_open = failing_pidfd;
        fail_error = EMFILE;
        assert_int_equal(kill_process(&sys, pid, start_time(pid)), -EMFILE);
        assert_int_equal(signals, 1);
        assert_int_equal(end(pid), SIGTERM);
}

/* -- cgroups -- */

static struct cgroup2 cgroups;
static char tree[64];
static pid_t large, small; /* members */
static pid_t spared;       /* by oom_score_adj */

static void file(const char *path, const char *text)
{
        char full[512];
        FILE *f;

        snprintf(full, sizeof(full), "%s%s", tree, path);
        f = fopen(full, "w");
        assert_non_null(f);
        fputs(text, f);
        fclose(f);
}

/* A cgroup with processes (0: none), which is to die as a whole or not. */
static void cgroup(const char *path, bool whole, pid_t a, pid_t b)
{
        char full[256], text[64] = "";

        snprintf(full, sizeof(full), "%s%s", tree, path);
        assert_int_equal(mkdir(full, 0700), 0);
        if (a > 0)
                snprintf(text, sizeof(text), "%d\n", (int)a);
        if (b > 0)
                snprintf(text + strlen(text), sizeof(text) - strlen(text), "%d\n", (int)b);
        snprintf(full, sizeof(full), "%s/cgroup.procs", path);
        file(full, text);
        snprintf(full, sizeof(full), "%s/memory.oom.group", path);
        file(full, whole ? "1\n" : "0\n");
        snprintf(full, sizeof(full), "%s/cgroup.kill", path);
        file(full, "");
}

static bool was_killed(const char *path)
{
        char full[256], text[8];

        snprintf(full, sizeof(full), "%s/cgroup.kill", path + 1);
        return sys_read_file_at(&sys, cgroups.fd, full, text, sizeof(text)) > 0 && strcmp(text, "1") == 0;
}

static bool is_ours(pid_t pid, void *userdata)
{
        return pid == large || pid == small;
}

static int open_spared(const struct sys *s, int dirfd, const char *path, int flags)
{
        char wanted[64], full[128];

        snprintf(wanted, sizeof(wanted), "proc/%d/oom_score_adj", (int)spared);
        snprintf(full, sizeof(full), "%s/spared", tree);
        return strcmp(path, wanted) == 0 ? sys_ops_native.openat(s, AT_FDCWD, full, flags)
                                         : sys_ops_native.openat(s, dirfd, path, flags);
}

static ssize_t failing_write(const struct sys *s, int fd, const void *buf, size_t size)
{
        return -fail_error;
}

static int setup_cgroups(void **state)
{
        struct stat st;

        setup(state);
        strcpy(tree, "/tmp/capd-test-XXXXXX");
        assert_non_null(mkdtemp(tree));
        cgroups = (struct cgroup2){.sys = &sys, .fd = open(tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
        assert_true(cgroups.fd >= 0);
        assert_int_equal(fstat(cgroups.fd, &st), 0);
        cgroups.device = st.st_dev;
        large = child();
        small = child();
        spared = 0;
        file("/spared", "-1000\n");
        ops.openat = open_spared;
        return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
        return remove(path);
}

static int teardown_cgroups(void **state)
{
        cgroup2_close(&cgroups);
        nftw(tree, remove_one, 8, FTW_DEPTH | FTW_PHYS);
        return teardown(state);
}

/* The end of both: who was killed by number, and who goes on. */
static void assert_signalled(bool the_large)
{
        assert_int_equal(signals, the_large);
        assert_int_equal(end(large), the_large ? SIGKILL : SIGTERM);
        assert_int_equal(end(small), SIGTERM);
}

static struct kill_result kill_large(const char *path)
{
        struct kill_request request = {
                        .pid = large, .start_time = start_time(large), .cgroup = path, .may_die = is_ours};
        struct kill_result result = {.processes = 99};

        assert_int_equal(kill_member(&sys, &cgroups, &request, &result), 0);
        return result;
}

static void those_who_die_together_do(void **state)
{
        struct kill_result result;

        cgroup("/a", true, large, small);
        result = kill_large("/a");
        assert_string_equal(result.cgroup, "/a");
        assert_int_equal(result.processes, 2);
        assert_int_equal(result.error, 0);
        assert_true(was_killed("/a"));
        assert_signalled(false);
}

static void the_topmost_is_taken(void **state)
{
        struct kill_result result;

        cgroup("/a", false, 0, 0);
        cgroup("/a/b", true, small, 0);
        cgroup("/a/b/c", false, 0, 0);
        cgroup("/a/b/c/d", true, large, 0);
        result = kill_large("/a/b/c/d");
        assert_string_equal(result.cgroup, "/a/b");
        assert_int_equal(result.processes, 2);
        assert_true(was_killed("/a/b"));
        assert_false(was_killed("/a/b/c/d"));
        assert_signalled(false);
}

static void not_above_a_stranger(void **state)
{
        struct kill_result result;

        cgroup("/a", true, 0, 0);
        cgroup("/a/b", true, large, small);
        cgroup("/a/c", false, getpid(), 0);
        result = kill_large("/a/b");
        assert_string_equal(result.cgroup, "/a/b");
        assert_true(was_killed("/a/b"));
        assert_false(was_killed("/a"));
        assert_signalled(false);
}

static void assert_one_died(const struct kill_result *result, const char *untouched)
{
        assert_string_equal(result->cgroup, "");
        assert_int_equal(result->processes, 1);
        assert_int_equal(result->error, 0);
        assert_false(was_killed(untouched));
        assert_signalled(true);
}

static void without_that_rule_one_dies(void **state)
{
        struct kill_result result;

        cgroup("/a", false, large, small);
        result = kill_large("/a");
        assert_one_died(&result, "/a");
}

static void with_a_stranger_one_dies(void **state)
{
        struct kill_result result;

        cgroup("/a", true, large, small);
        cgroup("/a/b", false, getpid(), 0);
        result = kill_large("/a");
        assert_one_died(&result, "/a");
}

static void who_is_spared_is_not_killed_with_others(void **state)
{
        struct kill_result result;

        cgroup("/a", true, large, small);
        spared = small;
        assert_true(kill_is_spared(&sys, small));
        assert_false(kill_is_spared(&sys, large));
        result = kill_large("/a");
        assert_one_died(&result, "/a");
        assert_false(kill_is_spared(&sys, large)); /* it has ended */
}

static void who_has_gone_elsewhere_dies_alone(void **state)
{
        struct kill_result result;

        cgroup("/a", true, small, 0);
        result = kill_large("/a");
        assert_one_died(&result, "/a");
}

static void without_cgroups_one_dies(void **state)
{
        struct kill_result result;

        cgroup("/a", true, large, small);
        result = kill_large(NULL);
        assert_one_died(&result, "/a");
}

static void no_path_of_a_cgroup_is_no_harm(void **state)
{
        struct kill_result result;

        cgroup("/a", true, large, small);
        result = kill_large("a/../..");
        assert_one_died(&result, "/a");
}

static void what_cgroup_kill_refuses_is_said(void **state)
{
        struct kill_result result;

        cgroup("/a", true, large, small);
        ops.write = failing_write;
        fail_error = EACCES;
        ops.pidfd_send_signal = sys_ops_native.pidfd_send_signal;
        result = kill_large("/a");
        assert_string_equal(result.cgroup, "");
        assert_int_equal(result.processes, 1);
        assert_int_equal(result.error, -EACCES);
        signals = 1;
        assert_signalled(true);
}

static void a_kernel_without_cgroup_kill(void **state)
{
        struct kill_result result;

        cgroup("/a", true, large, small);
        assert_int_equal(unlinkat(cgroups.fd, "a/cgroup.kill", 0), 0);
        result = kill_large("/a");
        assert_int_equal(result.processes, 1);
        assert_int_equal(result.error, -ENOENT);
        assert_signalled(true);
}

static void a_failure_leaves_the_result_alone(void **state)
{
        struct kill_request request = {.pid = large, .start_time = start_time(large) + 1, .may_die = is_ours};
        struct kill_result result = {.processes = 99};

        assert_int_equal(kill_member(&sys, &cgroups, &request, &result), -ESRCH);
        assert_int_equal(result.processes, 99);
        assert_signalled(false);
}

#define CGROUP_TEST(name) cmocka_unit_test_setup_teardown(name, setup_cgroups, teardown_cgroups)

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test_setup_teardown(the_process_is_killed, setup, teardown),
                        cmocka_unit_test_setup_teardown(another_one_with_its_number_is_not, setup, teardown),
                        cmocka_unit_test_setup_teardown(who_has_ended_is_said, setup, teardown),
                        cmocka_unit_test_setup_teardown(failures_are_passed_on, setup, teardown),
                        CGROUP_TEST(those_who_die_together_do),
                        CGROUP_TEST(the_topmost_is_taken),
                        CGROUP_TEST(not_above_a_stranger),
                        CGROUP_TEST(without_that_rule_one_dies),
                        CGROUP_TEST(with_a_stranger_one_dies),
                        CGROUP_TEST(who_is_spared_is_not_killed_with_others),
                        CGROUP_TEST(who_has_gone_elsewhere_dies_alone),
                        CGROUP_TEST(without_cgroups_one_dies),
                        CGROUP_TEST(no_path_of_a_cgroup_is_no_harm),
                        CGROUP_TEST(what_cgroup_kill_refuses_is_said),
                        CGROUP_TEST(a_kernel_without_cgroup_kill),
                        CGROUP_TEST(a_failure_leaves_the_result_alone),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
