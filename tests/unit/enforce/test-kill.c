/* SPDX-License-Identifier: MIT */
/* kill_process(): the process that is meant, or nobody. On real children, as nothing else has a pidfd. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
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

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test_setup_teardown(the_process_is_killed, setup, teardown),
                        cmocka_unit_test_setup_teardown(another_one_with_its_number_is_not, setup, teardown),
                        cmocka_unit_test_setup_teardown(who_has_ended_is_said, setup, teardown),
                        cmocka_unit_test_setup_teardown(failures_are_passed_on, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
