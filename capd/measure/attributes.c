/* SPDX-License-Identifier: MIT */
/*
 * attributes.c: what selectors match of a process. None of these files takes the target's mmap lock, but some of them wait for a process
 * that executes a program (guard.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "capd/measure/features.h"
#include "capd/measure/stuck.h"
#include "table-internal.h"

#define DELETED " (deleted)"

void attributes_done(struct process *p)
{
        free((char *)p->facts.comm);
        free((char *)p->facts.exe);
        free((char *)p->facts.cmdline);
        free((char *)p->facts.cgroup);
        p->facts.comm = p->facts.exe = p->facts.cmdline = p->facts.cgroup = NULL;
}

bool is_shortage(ssize_t error)
{
        return error == -ENOMEM || error == -EMFILE || error == -ENFILE;
}

static int read_exe(const struct sys *sys, int dirfd, char **ret)
{
        char buf[LIMIT_EXE_BYTES + sizeof(DELETED)];
        ssize_t n = sys->ops->readlinkat(sys, dirfd, "exe", buf, sizeof(buf) - 1);

        if (n < 0 || (size_t)n == sizeof(buf) - 1) /* no right to it, or cut off by the buffer */
                return is_shortage(n) ? (int)n : 0;
        buf[n] = '\0';
        if ((size_t)n > strlen(DELETED) && strcmp(buf + n - strlen(DELETED), DELETED) == 0)
                buf[(size_t)n - strlen(DELETED)] = '\0';
        *ret = strdup(buf);
        return *ret ? 0 : -ENOMEM;
}

static int cgroup_of(const struct sys *sys, int dirfd, const char *process, char **ret)
{
        char text[16384], path[LIMIT_CGROUP_BYTES], file[48];
        ssize_t n;

        snprintf(file, sizeof(file), "%s/cgroup", process);
        n = sys_read_file_at(sys, dirfd, file, text, sizeof(text));

        if (n == -E2BIG)
                n = sizeof(text) - 1;
        if (n < 0)
                return is_shortage(n) ? (int)n : 0;
        if (parse_proc_cgroup(text, (size_t)n, path, sizeof(path)) < 0)
                return 0;
        *ret = strdup(path);
        return *ret ? 0 : -ENOMEM;
}

int process_read_cgroup(const struct sys *sys, pid_t pid, char **ret)
{
        char path[32];

        snprintf(path, sizeof(path), "proc/%d", (int)pid);
        return cgroup_of(sys, sys->root_fd, path, ret);
}

int process_read_parent(const struct sys *sys, pid_t pid, pid_t *ret_parent, uid_t *ret_uid)
{
        static const char key[] = "\nPPid:";
        _cleanup_close_ int fd = -1;
        char text[1024];
        const char *line;
        struct stat st;
        int r, parent;
        ssize_t n;

        snprintf(text, sizeof(text), "proc/%d", (int)pid);
        fd = sys_open(sys, text, O_RDONLY | O_DIRECTORY);
        if (fd < 0)
                return fd == -ENOENT ? -ESRCH : fd;
        r = sys->ops->fstat(sys, fd, &st);
        if (r < 0)
                return r;
        /* not stat, which may wait for the process; the name, which is above, is short and has no newline */
        n = sys_read_file_at(sys, fd, "status", text, sizeof(text));
        if (n <= 0 && n != -E2BIG)
                return n == 0 || n == -ENOENT ? -ESRCH : (int)n;
        line = strstr(text, key);
        if (!line || sscanf(line + strlen(key), "%d", &parent) != 1)
                return -EBADMSG;
        *ret_parent = parent;
        *ret_uid = st.st_uid;
        return 0;
}

static int read_ids(const struct sys *sys, int dirfd, uid_t *ret_uid, gid_t *ret_gid)
{
        char buf[8192];
        ssize_t n = sys_read_file_at(sys, dirfd, "status", buf, sizeof(buf));

        if (n == -E2BIG) /* the ids are among the first lines */
                n = sizeof(buf) - 1;
        if (n < 0)
                return n == -ENOENT ? -ESRCH : (int)n;
        return parse_proc_status(buf, (size_t)n, ret_uid, ret_gid);
}

/* Of `f` who it is; `fresh`: whoever has the number. */
static int open_process(const struct sys *sys, const struct process_facts *f, bool fresh, struct proc_stat *ret_stat)
{
        _cleanup_close_ int fd = -1;
        uint64_t started;
        char path[32];
        int r;

        snprintf(path, sizeof(path), "proc/%d", (int)f->pid);
        fd = sys_open(sys, path, O_RDONLY | O_DIRECTORY);
        if (fd < 0)
                return fd == -ENOENT ? -ESRCH : fd;
        r = hold_read_stat(sys, fd, ret_stat);
        if (r < 0)
                return r;
        if (!fresh && ret_stat->start_time != f->start_time)
                return -ESRCH;
        started = ret_stat->start_time;
        r = hold_living(sys, &fd, ret_stat);
        if (r < 0)
                return r;
        ret_stat->start_time = started; /* of the process, whichever thread speaks for it */
        return TAKE_FD(fd);
}

static bool differs(const char *a, const char *b)
{
        return (a || b) && (!a || !b || strcmp(a, b) != 0);
}

/* What the process did since the last reading. */
static void note_activity(struct process *p, const struct proc_stat *s, bool fresh, usec_t now)
{
        if (!fresh && s->cpu_ticks != p->cpu_ticks)
                p->idle_since = now;
        else if (!fresh && p->idle_since == 0)
                p->idle_since = p->attributes_at;
        p->cpu_ticks = s->cpu_ticks;
        p->major_faults = s->major_faults;
        p->threads = s->threads;
        p->attributes_at = p->checked_at = now;
}

static void note_program(struct process *p, const struct proc_stat *s, unsigned facts, bool fresh)
{
        uint64_t key[3] = {s->start_code, s->end_code, s->start_stack};

        if (fresh || memcmp(key, p->mm_key, sizeof(key)) != 0) {
                memcpy(p->mm_key, key, sizeof(key));
                p->mm_id = p->mm_before = 0;
                p->mm_rank = 0;
                free((char *)p->facts.cmdline);
                p->facts.cmdline = NULL;
                p->needs_cmdline = false;
                if (facts & FACT_CMDLINE && !p->facts.kernel_thread && !p->facts.zombie)
                        p->needs_cmdline = true;
        }
}

/* What the files of a process say of it; the texts are the reader's. */
struct reading {
        struct process_facts facts;
        struct proc_stat stat;
        char *comm, *exe, *cgroup;
};

static void reading_done(struct reading *r)
{
        free(r->comm);
        free(r->exe);
        free(r->cgroup);
}

/* All that may wait for the process. */
static int read_files(const struct sys *sys, unsigned facts, bool fresh, struct reading *ret)
{
        struct process_facts *f = &ret->facts;
        struct proc_stat *s = &ret->stat;
        _cleanup_close_ int fd = open_process(sys, f, fresh, s);
        struct stat st;
        int r;

        if (fd < 0)
                return fd;
        ret->comm = strdup(s->comm);
        if (!ret->comm)
                return -ENOMEM;
        f->ppid = s->ppid;
        f->start_time = s->start_time;
        f->kernel_thread = s->kernel_thread;
        f->zombie = hold_is_ended(s);
        r = read_ids(sys, fd, &f->uid, &f->gid);
        if (r >= 0 && facts & FACT_EXE && !f->kernel_thread && !f->zombie)
                r = read_exe(sys, fd, &ret->exe);
        if (r >= 0 && facts & FACT_CGROUP)
                r = cgroup_of(sys, fd, ".", &ret->cgroup);
        if (r < 0)
                return r;
        if (facts & FACT_PID_NAMESPACE)
                f->pid_namespace = sys->ops->fstatat(sys, fd, "ns/pid", &st, 0) < 0 ? 0 : st.st_ino;
        return 0;
}

int attributes_read(const struct sys *sys, struct guard *guard, unsigned facts, struct process *p, bool fresh,
                    usec_t now)
{
        _cleanup_(reading_done) struct reading n = {.facts = p->facts};
        int r;

        if (stuck_passes_over(sys, p->facts.pid))
                return -EBUSY;
        guard_enter(guard, n.facts.pid);
        r = read_files(sys, facts, fresh, &n);
        if (!guard_leave(guard))
                return -ECANCELED;
        if (r < 0)
                return r;
        if (fresh || n.facts.uid != p->facts.uid || n.facts.gid != p->facts.gid || n.facts.zombie != p->facts.zombie ||
            n.facts.pid_namespace != p->facts.pid_namespace || n.facts.ppid != p->facts.ppid ||
            differs(n.comm, p->facts.comm) || differs(n.exe, p->facts.exe) || differs(n.cgroup, p->facts.cgroup))
                p->changed = true;
        free((char *)p->facts.comm);
        free((char *)p->facts.exe);
        free((char *)p->facts.cgroup);
        n.facts.comm = TAKE_PTR(n.comm);
        n.facts.exe = TAKE_PTR(n.exe);
        n.facts.cgroup = TAKE_PTR(n.cgroup);
        p->facts = n.facts;
        note_program(p, &n.stat, facts, fresh);
        note_activity(p, &n.stat, fresh, now);
        return 0;
}

int process_read_faults(const struct sys *sys, struct guard *guard, const struct process *p, uint64_t *ret_faults,
                        uint64_t *ret_rss)
{
        uint64_t start_time = p->facts.start_time;
        struct proc_stat s;
        char path[32], buf[2048];
        ssize_t n;
        int r;

        if (stuck_passes_over(sys, p->facts.pid))
                return -EBUSY;
        snprintf(path, sizeof(path), "proc/%d/stat", (int)p->facts.pid);
        guard_enter(guard, p->facts.pid);
        n = sys_read_file_at(sys, sys->root_fd, path, buf, sizeof(buf));
        if (!guard_leave(guard))
                return -ECANCELED;
        if (n < 0)
                return n == -ENOENT ? -ESRCH : (int)n;
        r = parse_proc_stat(buf, (size_t)n, &s);
        if (r < 0)
                return r;
        /* of a first thread that has ended the rest's memory is not shown here */
        if (s.start_time != start_time || hold_is_ended(&s))
                return -ESRCH;
        *ret_faults = s.minor_faults + s.major_faults;
        *ret_rss = s.rss * (uint64_t)sysconf(_SC_PAGESIZE);
        return 0;
}

uint64_t process_rss_error(const struct features *f, const struct process *p)
{
        return f->rss_error_pages * (f->rss_error_per_thread ? MAX(p->threads, 1U) : 1) * f->page_size;
}
