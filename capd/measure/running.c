/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "hold.h"
#include "running.h"

/* proc_stat.priority of nice 0 */
#define ORDINARY_PRIORITY 20

struct look {
        bool awake;
        int cpu; /* -1: nobody has been seen to run */
        bool elsewhere;
};

static void add_thread(struct look *l, const struct proc_stat *s)
{
        /* everything else is asleep, stopped or ended: who waits for the lock does it in state D (rwsem_down_write_slowpath()) */
        l->awake = l->awake || s->state == 'R' || s->state == 'D';
        if (s->state != 'R')
                return;
        l->elsewhere = l->elsewhere || (l->cpu >= 0 && l->cpu != s->cpu) || s->priority < ORDINARY_PRIORITY;
        l->cpu = s->cpu;
}

/* 0, or a negative errno: then they are not all known. */
static int look_at_threads(const struct sys *sys, int dirfd, struct look *l)
{
        _Alignas(struct dirent64) char buf[2048];
        _cleanup_close_ int taskfd = sys->ops->openat(sys, dirfd, "task", O_RDONLY | O_DIRECTORY);
        unsigned seen = 0;
        ssize_t n;

        if (taskfd < 0)
                return taskfd;
        while ((n = sys->ops->getdents(sys, taskfd, buf, sizeof(buf))) > 0)
                for (size_t at = 0; at < (size_t)n;) {
                        const struct dirent64 *d = (const struct dirent64 *)(const void *)(buf + at);
                        struct proc_stat s;
                        char path[sizeof(d->d_name) + 8];
                        char text[2048];
                        ssize_t len;

                        if (d->d_reclen == 0)
                                return -EIO;
                        at += d->d_reclen;
                        if (d->d_name[0] < '1' || d->d_name[0] > '9')
                                continue;
                        if (++seen > RUNNING_THREADS)
                                return -E2BIG;
                        snprintf(path, sizeof(path), "%s/stat", d->d_name);
                        len = sys_read_file_at(sys, taskfd, path, text, sizeof(text));
                        /* one that has just ended waits for nothing */
                        if (len > 0 && parse_proc_stat(text, (size_t)len, &s) == 0)
                                add_thread(l, &s);
                }
        return (int)n;
}

void running_look(const struct sys *sys, int dirfd, int stat_fd, struct running *ret)
{
        struct look l = {.cpu = -1};
        struct proc_stat s;
        int r;

        r = hold_read_stat_again(sys, stat_fd, &s);
        if (r == 0 && s.threads > RUNNING_THREADS)
                r = -E2BIG;
        if (r == 0 && s.threads <= 1)
                add_thread(&l, &s);
        else if (r == 0)
                r = look_at_threads(sys, dirfd, &l);
        *ret = r < 0 ? (struct running){.awake = true, .cpu = -1}
                     : (struct running){.awake = l.awake, .cpu = l.elsewhere ? -1 : l.cpu};
}
