/* SPDX-License-Identifier: MIT */
/*
 * A directory descriptor of /proc/PID is bound to the process (struct pid), not to its number: once the process is reaped,
 * everything opened through it gives ESRCH, whoever has the number then. So one comparison of the start time, right after the
 * directory was opened, settles the identity for as long as the descriptor is held.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>

#include "capd/measure/errand.h"
#include "capd/measure/stuck.h"
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

int hold_read_stat_again(const struct sys *sys, int fd, struct proc_stat *ret)
{
        char buf[2048];
        ssize_t n;

        do
                n = sys->ops->pread(sys, fd, buf, sizeof(buf), 0);
        while (n == -EINTR);
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

/* Those named in one answer of getdents64(2). */
static int take_threads(const struct sys *sys, int taskfd, const char *buf, size_t len, hold_thread_fn take, void *arg)
{
        for (size_t at = 0; at + offsetof(struct dirent64, d_name) < len;) {
                const struct dirent64 *d = (const struct dirent64 *)(const void *)(buf + at);
                int r;

                if (d->d_reclen == 0 || d->d_reclen > len - at)
                        return -EIO;
                at += d->d_reclen;
                if (d->d_name[0] < '1' || d->d_name[0] > '9')
                        continue;
                r = take(sys, taskfd, d->d_name, arg);
                if (r != 0)
                        return r;
        }
        return 0;
}

int hold_each_thread(const struct sys *sys, int dirfd, hold_thread_fn take, void *arg)
{
        _Alignas(struct dirent64) char buf[4096];
        _cleanup_close_ int taskfd = sys->ops->openat(sys, dirfd, "task", O_RDONLY | O_DIRECTORY);

        if (taskfd < 0)
                return taskfd;
        for (;;) {
                ssize_t n = sys->ops->getdents(sys, taskfd, buf, sizeof(buf));
                int r;

                if (n == -EINTR)
                        continue;
                if (n <= 0)
                        return (int)n;
                r = take_threads(sys, taskfd, buf, (size_t)n, take, arg);
                if (r != 0)
                        return r;
        }
}

struct living {
        int fd;
        struct proc_stat *stat;
};

/* 1: it lives, and is the one to go by. */
static int take_living(const struct sys *sys, int taskfd, const char *name, void *arg)
{
        int fd = sys->ops->openat(sys, taskfd, name, O_RDONLY | O_DIRECTORY);
        struct living *l = arg;
        struct proc_stat s;

        if (fd < 0)
                return 0;
        if (hold_read_stat(sys, fd, &s) == 0 && !hold_is_ended(&s)) {
                l->fd = fd;
                *l->stat = s;
                return 1;
        }
        close_fd(fd);
        return 0;
}

int hold_living(const struct sys *sys, int *dirfd, struct proc_stat *s)
{
        struct living l = {.stat = s};
        int r;

        if (!hold_is_ended(s) || s->threads <= 1)
                return 0;
        r = hold_each_thread(sys, *dirfd, take_living, &l);
        if (r <= 0)
                return r == -ENOENT ? 0 : r; /* reaped meanwhile */
        close_fd(*dirfd);
        *dirfd = l.fd;
        return 0;
}

static int open_stat(const struct sys *sys, int dirfd)
{
        int fd = sys->ops->openat(sys, dirfd, "stat", O_RDONLY);

        return fd == -ENOENT ? -ESRCH : fd;
}

static int open_held(const struct sys *sys, pid_t pid, uint64_t start_time, struct proc_stat *ret_stat,
                     int *ret_stat_fd)
{
        _cleanup_close_ int fd = -1, stat_fd = -1;
        struct proc_stat s;
        char path[32];
        int r, leader;

        snprintf(path, sizeof(path), "proc/%d", (int)pid);
        fd = leader = sys_open(sys, path, O_RDONLY | O_DIRECTORY);
        if (fd < 0)
                return fd == -ENOENT ? -ESRCH : fd;
        stat_fd = open_stat(sys, fd);
        if (stat_fd < 0)
                return stat_fd;
        r = hold_read_stat_again(sys, stat_fd, &s);
        if (r < 0)
                return r;
        if (s.start_time != start_time)
                return -ESRCH;
        r = hold_living(sys, &fd, &s);
        if (r < 0)
                return r;
        if (hold_is_ended(&s))
                return -ESRCH;
        if (fd != leader) {
                close_fd(stat_fd);
                stat_fd = open_stat(sys, fd);
                if (stat_fd < 0)
                        return stat_fd;
        }
        *ret_stat = s;
        *ret_stat_fd = TAKE_FD(stat_fd);
        return TAKE_FD(fd);
}

int hold_open(const struct sys *sys, struct guard *guard, pid_t pid, uint64_t start_time, struct proc_stat *ret_stat,
              int *ret_stat_fd)
{
        struct proc_stat s;
        int stat_fd = -1, fd;

        if (stuck_passes_over(sys, pid))
                return -EBUSY;
        guard_enter(guard, pid);
        fd = open_held(sys, pid, start_time, &s, &stat_fd);
        if (!guard_leave(guard)) {
                close_fd(stat_fd);
                close_fd(fd);
                return -ECANCELED;
        }
        if (fd >= 0) {
                *ret_stat = s;
                *ret_stat_fd = stat_fd;
        }
        return fd;
}

struct opening {
        const struct sys *sys;
        pid_t pid;
        uint64_t start_time;
};

static int open_errand(void *arg, struct guard *guard)
{
        const struct opening *o = arg;
        struct proc_stat s;
        int stat_fd = -1, fd = hold_open(o->sys, guard, o->pid, o->start_time, &s, &stat_fd);

        close_fd(stat_fd);
        return fd;
}

int process_open(const struct sys *sys, struct guard *guard, pid_t pid, uint64_t start_time)
{
        struct opening o = {.sys = sys, .pid = pid, .start_time = start_time};

        return errand_run(sys, guard, open_errand, &o);
}
