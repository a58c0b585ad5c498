/* SPDX-License-Identifier: MIT */
/*
 * unchanged.c: which processes need not be read again.
 *
 * What selectors match of a process changes by what it does itself: it executes a program, takes another user, names itself. A
 * process of one thread that has not run since its attributes were read has done none of that, and /proc/PID/schedstat says whether
 * it ran: how long, how long it waited for a processor and how often it was given one (kernel/sched/stats.h, sched_info_arrive()).
 * That is one file, against four. Others can do two things to it. They can end, which gives it another parent: so its parent must be
 * there still. And they can put it into another cgroup: so that is looked at. A renamed file of its program, and nothing else, is
 * seen only when its attributes are read all the same, every UNCHANGED_AGES times their age.
 *
 * The cgroups of many are looked at together. What a cgroup's cgroup.threads lists is in that very cgroup, whatever its type;
 * cgroup.procs cannot be read in threaded cgroups and lists in a "domain threaded" one also what is in those below
 * (Documentation/admin-guide/cgroup-v2.rst, "Threads"). Who is not listed in the cgroup where it was (a zombie, who moved, who is of another
 * hierarchy) has its own file read.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "table-internal.h"

/* Attributes of one that never runs are read again after so many times their age. */
#define UNCHANGED_AGES 8U
/* Processes of one cgroup that make it worth while to list it: a list costs as much as two of their own files. */
#define LISTED_FROM 4U
/* Bytes of a list that are read for each process looked for in it: some eight threads. More would cost more than it spares. */
#define LIST_BYTES_EACH 64U

bool attributes_due(const struct process *p, usec_t now, usec_t max_age)
{
        return p->attributes_at == 0 || p->mm_shared || now - p->checked_at >= max_age;
}

/* Whether it is worth while to ask whether it ran. Who used the CPU before its last reading is likely to have done so again. */
static bool may_be_unchanged(const struct process *p, usec_t now, usec_t max_age)
{
        return p->attributes_at > 0 && !p->mm_shared && p->threads == 1 && p->idle_since < p->attributes_at &&
               now - p->attributes_at < max_age * UNCHANGED_AGES;
}

/* What the scheduler has booked for the first thread. *ret is left alone where that cannot be had. */
static void read_runs(const struct sys *sys, pid_t pid, struct runs *ret)
{
        char path[40], text[128];
        const char *p = text;
        struct runs r = {};
        ssize_t n;

        snprintf(path, sizeof(path), "proc/%d/schedstat", (int)pid);
        n = sys_read_file_at(sys, sys->root_fd, path, text, sizeof(text));
        /* "0 0 0": accounting is switched off */
        if (n > 0 && parse_decimal(&p, text + n, &r.time) && *p++ == ' ' && parse_decimal(&p, text + n, &r.waited) &&
            *p++ == ' ' && parse_decimal(&p, text + n, &r.times))
                *ret = r;
}

/* A parent can leave a process only by ending, and a number that went to another has a later start. */
static bool has_same_parent(struct process_table *t, const struct process *p)
{
        const struct process *parent = p->facts.ppid > 0 ? process_table_find(t, p->facts.ppid) : NULL;

        if (p->facts.ppid == 0 || (!parent && t->narrowed)) /* in the latter case nothing depends on it */
                return true;
        return parent && parent->seen == t->generation && !parent->gone &&
               parent->facts.start_time <= p->facts.start_time;
}

static bool has_same_cgroup(struct process_table *t, const struct process *p)
{
        _cleanup_free_ char *now = NULL;

        if (!(t->facts & FACT_CGROUP) || p->facts.kernel_thread || p->listed == t->generation)
                return true;
        return process_read_cgroup(t->sys, p->facts.pid, &now) >= 0 && now && p->facts.cgroup &&
               strcmp(now, p->facts.cgroup) == 0;
}

bool is_unchanged(struct process_table *t, struct process *p, usec_t now, usec_t max_age)
{
        struct runs runs = {};

        if (!may_be_unchanged(p, now, max_age)) {
                p->runs = (struct runs){};
                return false;
        }
        /* before the attributes: who runs while they are read has run since */
        read_runs(t->sys, p->facts.pid, &runs);
        if (runs.times == 0 || memcmp(&runs, &p->runs, sizeof(runs)) != 0) {
                p->runs = runs;
                return false;
        }
        if (!has_same_parent(t, p) || !has_same_cgroup(t, p))
                return false;
        p->checked_at = now;
        return true;
}

/* -- cgroups -- */

static int by_cgroup(const void *a, const void *b)
{
        const struct process *x = *(struct process *const *)a, *y = *(struct process *const *)b;

        return strcmp(x->facts.cgroup, y->facts.cgroup);
}

/* Marks those of the numbers in buf that were in the cgroup before. What is left of a line is moved to the front; its length. */
static size_t take_listed(struct process_table *t, const char *cgroup, char *buf, size_t len)
{
        const char *at = buf, *end = buf + len, *newline;

        while ((newline = memchr(at, '\n', (size_t)(end - at)))) {
                struct process *p = NULL;
                uint64_t pid;

                if (parse_decimal(&at, newline, &pid) && at == newline && pid <= INT32_MAX)
                        p = process_table_find(t, (pid_t)pid);
                if (p && p->facts.cgroup && strcmp(p->facts.cgroup, cgroup) == 0)
                        p->listed = t->generation;
                at = newline + 1;
        }
        len = (size_t)(end - at);
        memmove(buf, at, len);
        return len;
}

static void list_cgroup(struct process_table *t, const char *cgroup, size_t n)
{
        _cleanup_close_ int dir = cgroup2_open_cgroup(t->cgroups, cgroup), fd = -1;
        size_t kept = 0, left = n * LIST_BYTES_EACH;
        char buf[4096];

        if (dir >= 0)
                fd = t->sys->ops->openat(t->sys, dir, "cgroup.threads", O_RDONLY);
        while (fd >= 0 && left > 0 && kept < sizeof(buf)) {
                ssize_t got = t->sys->ops->read(t->sys, fd, buf + kept, MIN(sizeof(buf) - kept, left));

                if (got == -EINTR)
                        continue;
                if (got <= 0)
                        return;
                left -= (size_t)got;
                kept = take_listed(t, cgroup, buf, kept + (size_t)got);
        }
}

void list_cgroups(struct process_table *t, usec_t now, usec_t max_age)
{
        _cleanup_free_ struct process **due = NULL;
        size_t n = 0;

        if (!(t->facts & FACT_CGROUP) || !t->cgroups || t->cgroups->fd < 0 || max_age == USEC_INFINITY)
                return;
        due = reallocarray(NULL, t->n + 1, sizeof(struct process *));
        for (struct process *p = NULL; due && (p = process_table_next(t, p));)
                if (p->facts.cgroup && p->runs.times > 0 && !p->facts.kernel_thread &&
                    attributes_due(p, now, max_age) && may_be_unchanged(p, now, max_age))
                        due[n++] = p;
        if (n < LISTED_FROM)
                return;
        qsort(due, n, sizeof(struct process *), by_cgroup);
        for (size_t i = 0, end; i < n; i = end) {
                for (end = i + 1; end < n && strcmp(due[end]->facts.cgroup, due[i]->facts.cgroup) == 0;)
                        end++;
                if (end - i >= LISTED_FROM)
                        list_cgroup(t, due[i]->facts.cgroup, end - i);
        }
}
