/* SPDX-License-Identifier: MIT */
/*
 * move-tasks.c: one process from one cgroup to another.
 *
 * cgroup.procs takes numbers, not descriptors, so between the check of a process and the write its number may become another's. The
 * directory in /proc stays with the process: read again after the write it tells whether that was still alive.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "capd/base/size.h"
#include "capd/enforce/move.h"
#include "capd/measure/errand.h"
#include "capd/measure/stuck.h"
#include "capd/measure/table.h"

/* The unified hierarchy's line of /proc/PID/cgroup. */
int move_where(const struct sys *sys, int procfd, char *path, size_t size)
{
        char text[LIMIT_CGROUP_BYTES * 2], *line = text;
        ssize_t n = sys_read_file_at(sys, procfd, "cgroup", text, sizeof(text));

        if (n == -ESRCH || n == -ENOENT)
                return MOVE_E_GONE;
        if (n < 0)
                return (int)n;
        while (line && strncmp(line, "0::/", 4) != 0) {
                line = strchr(line, '\n');
                line = line ? line + 1 : NULL;
        }
        if (!line)
                return n == 0 ? MOVE_E_GONE : -ENODATA;
        line += 3;
        n = (ssize_t)strcspn(line, "\n"); /* a newline in a cgroup's name is refused by the kernel */
        if ((size_t)n >= size)
                return -ENAMETOOLONG;
        memcpy(path, line, (size_t)n);
        path[n] = '\0';
        return 0;
}

static int write_pid(const struct cgroup2 *c, int cgroup_fd, pid_t pid)
{
        char text[16];

        snprintf(text, sizeof(text), "%d", (int)pid);
        return sys_write_file_at(c->sys, cgroup_fd, "cgroup.procs", text);
}

static bool still_there(const struct sys *sys, int procfd)
{
        char text[64];
        ssize_t n = sys_read_file_at(sys, procfd, "statm", text, sizeof(text)); /* as that waits for nobody */

        return n == -E2BIG || n > 0;
}

static int open_process(const struct sys *sys, pid_t pid)
{
        char path[32];

        snprintf(path, sizeof(path), "proc/%d", (int)pid);
        return sys_open(sys, path, O_RDONLY | O_DIRECTORY);
}

/* proc(5): PID (NAME) STATE PPID … STARTTIME, the 22nd. The name may hold anything, ")" too. */
static int identify(const struct sys *sys, int procfd, uint64_t *ret_start_time, pid_t *ret_parent)
{
        char text[2048], *word, *save;
        uint64_t parent = 0, start_time = 0;
        ssize_t n = sys_read_file_at(sys, procfd, "stat", text, sizeof(text));
        unsigned field = 3;

        if (n == -ESRCH || n == -ENOENT)
                return MOVE_E_GONE;
        if (n < 0)
                return (int)n;
        word = strrchr(text, ')');
        if (!word)
                return -EBADMSG;
        for (word = strtok_r(word + 1, " \n", &save); word && field < 22; word = strtok_r(NULL, " \n", &save), field++)
                if (field == 4 && parse_number(word, INT32_MAX, &parent) < 0)
                        return -EBADMSG;
        if (!word || parse_number(word, UINT64_MAX - 1, &start_time) < 0)
                return -EBADMSG;
        *ret_start_time = start_time;
        *ret_parent = (pid_t)parent;
        return 0;
}

struct identity {
        const struct sys *sys;
        pid_t pid, parent;
        int procfd;
        uint64_t start_time;
};

static int identify_errand(void *arg, struct guard *guard)
{
        struct identity *i = arg, mine = *i;
        int r;

        if (stuck_passes_over(mine.sys, mine.pid))
                return -EBUSY;
        guard_enter(guard, mine.pid);
        r = identify(mine.sys, mine.procfd, &mine.start_time, &mine.parent);
        if (!guard_leave(guard))
                return -ECANCELED;
        *i = mine;
        return r;
}

/* Of the process behind `procfd`, whose number is `pid`. */
static int identify_held(const struct sys *sys, int procfd, pid_t pid, uint64_t *ret_start_time, pid_t *ret_parent)
{
        struct identity i = {.sys = sys, .pid = pid, .procfd = procfd};
        int r = errand_run(sys, NULL, identify_errand, &i);

        if (r != 0)
                return r;
        *ret_start_time = i.start_time;
        *ret_parent = i.parent;
        return 0;
}

int move_identify(const struct sys *sys, pid_t pid, uint64_t *ret_start_time, pid_t *ret_parent)
{
        _cleanup_close_ int procfd = open_process(sys, pid);

        if (procfd < 0)
                return procfd == -ENOENT || procfd == -ESRCH ? MOVE_E_GONE : procfd;
        return identify_held(sys, procfd, pid, ret_start_time, ret_parent);
}

/*
 * The process ended around the write. Whoever has its number now and is in `cgroup` was either born there, and then so is its parent, or
 * was taken for it: it goes back to where its parent is, which is where every process begins.
 */
static void return_stray(const struct cgroup2 *c, pid_t pid, const char *cgroup)
{
        _cleanup_close_ int stray = open_process(c->sys, pid), parent = -1, fd = -1;
        char path[LIMIT_CGROUP_BYTES];
        uint64_t start_time;
        pid_t parent_pid;

        if (stray < 0 || move_where(c->sys, stray, path, sizeof(path)) != 0 || strcmp(path, cgroup) != 0 ||
            identify_held(c->sys, stray, pid, &start_time, &parent_pid) != 0)
                return;
        parent = open_process(c->sys, parent_pid);
        if (parent < 0 || move_where(c->sys, parent, path, sizeof(path)) != 0 || strcmp(path, cgroup) == 0)
                return;
        fd = move_open_cgroup(c, path);
        if (fd >= 0)
                write_pid(c, fd, pid);
}

int move_task(const struct cgroup2 *c, pid_t pid, uint64_t start_time, int cgroup_fd, const char *cgroup)
{
        _cleanup_close_ int procfd = process_open(c->sys, NULL, pid, start_time);
        int r;

        if (procfd < 0)
                return procfd == -ESRCH ? MOVE_E_GONE : procfd;
        r = write_pid(c, cgroup_fd, pid);
        if (r == -ESRCH)
                return MOVE_E_GONE;
        if (r < 0)
                return r;
        if (still_there(c->sys, procfd))
                return 0;
        return_stray(c, pid, cgroup);
        return MOVE_E_GONE;
}

int move_back(const struct cgroup2 *c, pid_t pid, uint64_t start_time, const char *target, const char *origin,
              uint64_t inode)
{
        _cleanup_close_ int procfd = process_open(c->sys, NULL, pid, start_time), fd = -1;
        char path[LIMIT_CGROUP_BYTES];
        int r;

        if (procfd < 0)
                return procfd == -ESRCH ? MOVE_E_GONE : procfd;
        r = move_where(c->sys, procfd, path, sizeof(path));
        if (r != 0)
                return r;
        if (strcmp(path, target) != 0)
                return MOVE_E_GONE;
        fd = move_open_same(c, origin, inode);
        if (fd == -ENOENT || fd == -ESTALE || fd == -EINVAL || fd == -EXDEV)
                return MOVE_E_OTHER;
        return fd < 0 ? fd : move_task(c, pid, start_time, fd, origin);
}
