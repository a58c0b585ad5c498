/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "capd/measure/pressure.h"
#include "cgroups-internal.h"
#include "proc-parse.h"

struct tracked_process {
        pid_t pid;
        uint64_t start_time;
        uint64_t major_faults;
};

struct tracked_cgroup {
        uint64_t inode;
        uint64_t refaults; /* SIZE_UNKNOWN: not known */
        usec_t stalled;
};

void host_pressure_read(const struct sys *sys, struct host_pressure *ret)
{
        struct host_pressure h = {.swap_in = SIZE_UNKNOWN, .stalled = SIZE_UNKNOWN};
        uint64_t page_size = (uint64_t)sysconf(_SC_PAGESIZE), n_pages;
        char text[32768];
        ssize_t n = sys_read_file_at(sys, sys->root_fd, "proc/vmstat", text, sizeof(text));

        if (n > 0 && parse_keyed(text, (size_t)n, "pswpin", &n_pages) && n_pages <= (SIZE_UNKNOWN - 1) / page_size)
                h.swap_in = n_pages * page_size;
        n = sys_read_file_at(sys, sys->root_fd, "proc/pressure/memory", text, sizeof(text));
        if (n <= 0 || !parse_pressure(text, (size_t)n, &h.stalled))
                h.stalled = SIZE_UNKNOWN;
        *ret = h;
}

void pressure_tracker_done(struct pressure_tracker *t)
{
        free(t->processes);
        free(t->cgroups);
        *t = (struct pressure_tracker){};
}

/* How far a counter has grown. One that fell belongs to something else by now, or was read through another thread. */
static uint64_t growth(uint64_t before, uint64_t after)
{
        return before != SIZE_UNKNOWN && after != SIZE_UNKNOWN && after > before ? after - before : 0;
}

static int compare_processes(const void *x, const void *y)
{
        const struct tracked_process *a = x, *b = y;

        return a->pid < b->pid ? -1 : a->pid > b->pid;
}

static int compare_cgroups(const void *x, const void *y)
{
        const struct tracked_cgroup *a = x, *b = y;

        return a->inode < b->inode ? -1 : a->inode > b->inode;
}

/* What each member counts now, in order; NULL without memory. */
static struct tracked_process *list_processes(struct process *const *members, size_t n)
{
        struct tracked_process *list = calloc(n + 1, sizeof(*list));

        for (size_t i = 0; list && i < n; i++)
                list[i] = (struct tracked_process){.pid = members[i]->facts.pid,
                                                   .start_time = members[i]->facts.start_time,
                                                   .major_faults = members[i]->major_faults};
        if (list)
                qsort(list, n, sizeof(*list), compare_processes);
        return list;
}

static void add_processes(struct pressure_tracker *t, struct tracked_process *now, size_t n)
{
        size_t old = 0;

        for (size_t i = 0; i < n; i++) {
                while (old < t->n_processes && t->processes[old].pid < now[i].pid)
                        old++;
                if (old < t->n_processes && t->processes[old].pid == now[i].pid &&
                    t->processes[old].start_time == now[i].start_time)
                        t->major_faults += growth(t->processes[old].major_faults, now[i].major_faults);
        }
        free(t->processes);
        t->processes = now;
        t->n_processes = n;
}

static struct tracked_cgroup read_cgroup(const struct cgroup2 *c, const struct owned_cgroup *o)
{
        struct tracked_cgroup now = {.inode = o->inode, .refaults = SIZE_UNKNOWN, .stalled = SIZE_UNKNOWN};
        _cleanup_close_ int fd = owned_cgroup_open(c, o);
        struct cgroup_memory m;
        char text[1024];
        ssize_t n;

        if (fd < 0)
                return now;
        if (cgroup_memory_read(c, fd, true, &m) == 0)
                now.refaults = m.refaults;
        n = sys_read_file_at(c->sys, fd, "memory.pressure", text, sizeof(text));
        if (n <= 0 || !parse_pressure(text, (size_t)n, &now.stalled))
                now.stalled = SIZE_UNKNOWN;
        return now;
}

/* Whether anything is known of them is left in *ret_refaults and *ret_stalled. */
static void add_cgroups(struct pressure_tracker *t, struct tracked_cgroup *now, size_t n, bool *ret_refaults,
                        bool *ret_stalled)
{
        size_t old = 0;

        for (size_t i = 0; i < n; i++) {
                *ret_refaults = *ret_refaults || now[i].refaults != SIZE_UNKNOWN;
                *ret_stalled = *ret_stalled || now[i].stalled != SIZE_UNKNOWN;
                while (old < t->n_cgroups && t->cgroups[old].inode < now[i].inode)
                        old++;
                if (old >= t->n_cgroups || t->cgroups[old].inode != now[i].inode)
                        continue;
                t->refaults += growth(t->cgroups[old].refaults, now[i].refaults);
                t->stalled += growth(t->cgroups[old].stalled, now[i].stalled);
        }
        free(t->cgroups);
        t->cgroups = now;
        t->n_cgroups = n;
}

int pressure_read(const struct cgroup2 *c, const struct owned_cgroups *owned, struct process *const *members, size_t n,
                  const struct host_pressure *host, usec_t now, struct pressure_tracker *t, struct group_pressure *ret)
{
        size_t n_cgroups = c ? owned->n : 0;
        struct tracked_process *processes = list_processes(members, n);
        struct tracked_cgroup *cgroups = calloc(n_cgroups + 1, sizeof(*cgroups));
        bool refaults = false, stalled = false;

        if (!processes || !cgroups) {
                free(processes);
                free(cgroups);
                return -ENOMEM;
        }
        for (size_t i = 0; i < n_cgroups; i++)
                cgroups[i] = read_cgroup(c, &owned->items[i]);
        qsort(cgroups, n_cgroups, sizeof(*cgroups), compare_cgroups);
        add_processes(t, processes, n);
        add_cgroups(t, cgroups, n_cgroups, &refaults, &stalled);
        *ret = (struct group_pressure){
                        .at = now,
                        .refaults = refaults ? t->refaults : SIZE_UNKNOWN,
                        .major_faults = t->major_faults,
                        .swap_in = host->swap_in,
                        .stalled = stalled ? t->stalled : host->stalled,
                        .stalled_host = !stalled,
        };
        return 0;
}
