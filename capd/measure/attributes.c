/* SPDX-License-Identifier: MIT */
/* attributes.c: what selectors match of a process. None of these files takes the target's mmap lock. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "capd/measure/features.h"
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

/* Whether an error means that capd itself is short of something, which must not pass for an answer about the process. */
static bool is_shortage(ssize_t error)
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

static int open_process(const struct sys *sys, const struct process *p, bool fresh, struct proc_stat *ret_stat)
{
        _cleanup_close_ int fd = -1;
        uint64_t start_time;
        char path[32];
        int r;

        snprintf(path, sizeof(path), "proc/%d", (int)p->facts.pid);
        fd = sys_open(sys, path, O_RDONLY | O_DIRECTORY);
        if (fd < 0)
                return fd == -ENOENT ? -ESRCH : fd;
        r = hold_read_stat(sys, fd, ret_stat);
        if (r < 0)
                return r;
        if (!fresh && ret_stat->start_time != p->facts.start_time)
                return -ESRCH;
        start_time = ret_stat->start_time;
        r = hold_living(sys, &fd, ret_stat);
        if (r < 0)
                return r;
        ret_stat->start_time = start_time; /* of the process, whichever thread speaks for it */
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
                p->mm_id = 0;
                p->mm_rank = 0;
                free((char *)p->facts.cmdline);
                p->facts.cmdline = NULL;
                p->needs_cmdline = false;
                if (facts & FACT_CMDLINE && !p->facts.kernel_thread && !p->facts.zombie)
                        p->needs_cmdline = true;
        }
}

int attributes_read(const struct sys *sys, unsigned facts, struct process *p, bool fresh, usec_t now)
{
        _cleanup_free_ char *comm = NULL, *exe = NULL, *cgroup = NULL;
        _cleanup_close_ int fd = -1;
        struct process_facts f = p->facts;
        struct proc_stat s;
        struct stat st;
        int r;

        fd = open_process(sys, p, fresh, &s);
        if (fd < 0)
                return fd;
        comm = strdup(s.comm);
        if (!comm)
                return -ENOMEM;
        f.ppid = s.ppid;
        f.start_time = s.start_time;
        f.kernel_thread = s.kernel_thread;
        f.zombie = hold_is_ended(&s);
        r = read_ids(sys, fd, &f.uid, &f.gid);
        if (r >= 0 && facts & FACT_EXE && !f.kernel_thread && !f.zombie)
                r = read_exe(sys, fd, &exe);
        if (r >= 0 && facts & FACT_CGROUP)
                r = cgroup_of(sys, fd, ".", &cgroup);
        if (r < 0)
                return r;
        if (facts & FACT_PID_NAMESPACE)
                f.pid_namespace = sys->ops->fstatat(sys, fd, "ns/pid", &st, 0) < 0 ? 0 : st.st_ino;

        if (fresh || f.uid != p->facts.uid || f.gid != p->facts.gid || f.zombie != p->facts.zombie ||
            f.pid_namespace != p->facts.pid_namespace || f.ppid != p->facts.ppid || differs(comm, p->facts.comm) ||
            differs(exe, p->facts.exe) || differs(cgroup, p->facts.cgroup))
                p->changed = true;
        free((char *)p->facts.comm);
        free((char *)p->facts.exe);
        free((char *)p->facts.cgroup);
        f.comm = TAKE_PTR(comm);
        f.exe = TAKE_PTR(exe);
        f.cgroup = TAKE_PTR(cgroup);
        p->facts = f;
        note_program(p, &s, facts, fresh);
        note_activity(p, &s, fresh, now);
        return 0;
}

int process_read_faults(const struct sys *sys, const struct process *p, uint64_t *ret_faults, uint64_t *ret_rss)
{
        struct proc_stat s;
        char path[32], buf[2048];
        ssize_t n;
        int r;

        snprintf(path, sizeof(path), "proc/%d/stat", (int)p->facts.pid);
        n = sys_read_file_at(sys, sys->root_fd, path, buf, sizeof(buf));
        if (n < 0)
                return n == -ENOENT ? -ESRCH : (int)n;
        r = parse_proc_stat(buf, (size_t)n, &s);
        if (r < 0)
                return r;
        /* of a first thread that has ended the rest's memory is not shown here */
        if (s.start_time != p->facts.start_time || hold_is_ended(&s))
                return -ESRCH;
        *ret_faults = s.minor_faults + s.major_faults;
        *ret_rss = s.rss * (uint64_t)sysconf(_SC_PAGESIZE);
        return 0;
}

uint64_t process_rss_error(const struct features *f, const struct process *p)
{
        return f->rss_error_pages * (f->rss_error_per_thread ? MAX(p->threads, 1U) : 1) * f->page_size;
}
