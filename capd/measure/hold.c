/* SPDX-License-Identifier: MIT */
/*
 * A directory descriptor of /proc/PID is bound to the process (struct pid), not to its number: once the process is reaped,
 * everything opened through it gives ESRCH, whoever has the number then. So one comparison of the start time, right after the
 * directory was opened, settles the identity for as long as the descriptor is held.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "capd/measure/table.h"
#include "hold.h"

int hold_read_stat(const struct sys *sys, int dirfd, struct proc_stat *ret)
{
        char buf[2048];
        ssize_t n = sys_read_file_at(sys, dirfd, "stat", buf, sizeof(buf));

        if (n < 0)
                return n == -ENOENT ? -ESRCH : (int)n;
        return n == 0 ? -ESRCH : parse_proc_stat(buf, (size_t)n, ret);
}

bool hold_same_program(const struct proc_stat *a, const struct proc_stat *b)
{
        return a->start_time == b->start_time && a->start_code == b->start_code && a->end_code == b->end_code &&
               a->start_stack == b->start_stack;
}

bool hold_is_ended(const struct proc_stat *s)
{
        return s->state == 'Z' || s->state == 'X' || s->state == 'x';
}

int hold_open(const struct sys *sys, pid_t pid, uint64_t start_time, struct proc_stat *ret_stat)
{
        _cleanup_close_ int fd = -1;
        struct proc_stat s;
        char path[32];
        int r;

        snprintf(path, sizeof(path), "proc/%d", (int)pid);
        fd = sys_open(sys, path, O_RDONLY | O_DIRECTORY);
        if (fd < 0)
                return fd == -ENOENT ? -ESRCH : fd;
        r = hold_read_stat(sys, fd, &s);
        if (r < 0)
                return r;
        if (s.start_time != start_time || hold_is_ended(&s))
                return -ESRCH;
        *ret_stat = s;
        return TAKE_FD(fd);
}

int process_open(const struct sys *sys, pid_t pid, uint64_t start_time)
{
        struct proc_stat s;

        return hold_open(sys, pid, start_time, &s);
}

int process_alive(const struct sys *sys, int dirfd, uint64_t start_time)
{
        struct proc_stat s;
        int r = hold_read_stat(sys, dirfd, &s);

        if (r < 0)
                return r;
        return s.start_time == start_time && !hold_is_ended(&s) ? 0 : -ESRCH;
}
