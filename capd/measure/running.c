/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>

#include "hold.h"
#include "running.h"

/* proc_stat.priority of nice 0 */
#define ORDINARY_PRIORITY 20

struct look {
        bool awake;
        int cpu; /* -1: nobody has been seen to run */
        bool elsewhere;
        unsigned threads; /* looked at one by one */
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

static int look_at_thread(const struct sys *sys, int taskfd, const char *name, void *arg)
{
        struct look *l = arg;
        char path[64], text[2048];
        struct proc_stat s;
        ssize_t len;

        if (++l->threads > RUNNING_THREADS)
                return -E2BIG;
        snprintf(path, sizeof(path), "%s/stat", name);
        len = sys_read_file_at(sys, taskfd, path, text, sizeof(text));
        /* one that has just ended waits for nothing */
        if (len > 0 && parse_proc_stat(text, (size_t)len, &s) == 0)
                add_thread(l, &s);
        return 0;
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
                r = hold_each_thread(sys, dirfd, look_at_thread, &l);
        *ret = r < 0 ? (struct running){.awake = true, .cpu = -1}
                     : (struct running){.awake = l.awake, .cpu = l.elsewhere ? -1 : l.cpu};
}
