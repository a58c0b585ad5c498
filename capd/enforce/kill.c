/* SPDX-License-Identifier: MIT */
#include "capd/enforce/kill.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capd/measure/table.h"

#define SPARED -1000 /* OOM_SCORE_ADJ_MIN */

bool kill_is_spared(const struct sys *sys, pid_t pid)
{
        char path[64], text[32];

        snprintf(path, sizeof(path), "proc/%d/oom_score_adj", (int)pid);
        return sys_read_file_at(sys, sys->root_fd, path, text, sizeof(text)) > 0 && strtol(text, NULL, 10) == SPARED;
}

int kill_process(const struct sys *sys, pid_t pid, uint64_t start_time)
{
        _cleanup_close_ int procfd = process_open(sys, NULL, pid, start_time), pidfd = -1, again = -1;

        if (procfd < 0)
                return procfd;
        /*
         * pidfd_open(2) takes a number. The process is proved to be the one that is meant on both sides of the call: it was there
         * before, and if it still is there afterwards nobody else can have had its number in between.
         */
        pidfd = sys->ops->pidfd_open(sys, pid);
        if (pidfd < 0)
                return pidfd;
        again = process_open(sys, NULL, pid, start_time);
        if (again < 0)
                return again;
        return sys->ops->pidfd_send_signal(sys, pidfd, SIGKILL);
}

/* -- its cgroup -- */

static bool dies_as_a_whole(const struct sys *sys, int fd)
{
        char text[8];

        /* cgroups without memory controller have no such file */
        return sys_read_file_at(sys, fd, "memory.oom.group", text, sizeof(text)) > 0 && text[0] == '1';
}

struct judgement {
        const struct sys *sys;
        const struct kill_request *request;
        unsigned processes;
        bool found; /* the process itself: it has not gone elsewhere */
};

/* cgroup.kill spares nobody, unlike the OOM killer: who is spared by that is a reason not to write it. */
static bool judge(const pid_t *pids, size_t n, void *userdata, pid_t *ret_stranger)
{
        struct judgement *j = userdata;

        for (size_t i = 0; i < n; i++) {
                if (pids[i] <= 0 || !j->request->may_die(pids[i], j->request->userdata) ||
                    kill_is_spared(j->sys, pids[i])) {
                        *ret_stranger = pids[i];
                        return false;
                }
                j->found = j->found || pids[i] == j->request->pid;
                j->processes++;
        }
        return true;
}

/*
 * Finds the topmost cgroup around the process that dies as a whole, and in which all are the group's. Its descriptor, or -1 if there
 * is none.
 */
static int find_whole(const struct sys *sys, const struct cgroup2 *c, const struct kill_request *request,
                      struct kill_result *ret)
{
        _cleanup_close_ int found = -1;
        char path[LIMIT_CGROUP_BYTES];
        unsigned budget = LIMIT_CGROUP_VISITS;

        if (c->fd < 0 || !request->cgroup || strlen(request->cgroup) >= sizeof(path))
                return -1;
        strcpy(path, request->cgroup);
        for (; path[0]; *strrchr(path, '/') = '\0') {
                _cleanup_close_ int fd = cgroup2_open_cgroup(c, path);
                struct judgement j = {.sys = sys, .request = request};
                pid_t stranger;

                if (fd < 0)
                        break; /* gone, or the root, which never dies */
                if (!dies_as_a_whole(sys, fd))
                        continue;
                /* with a stranger in this one there is one in all above */
                if (cgroup_judge_tasks(c, fd, NULL, judge, &j, &budget, &stranger) <= 0 || !j.found)
                        break;
                close_fd(found);
                found = TAKE_FD(fd);
                strcpy(ret->cgroup, path);
                ret->processes = j.processes;
        }
        return TAKE_FD(found);
}

int kill_member(const struct sys *sys, const struct cgroup2 *c, const struct kill_request *request,
                struct kill_result *ret)
{
        struct kill_result result = {};
        _cleanup_close_ int fd = find_whole(sys, c, request, &result);
        int r;

        if (fd >= 0) {
                r = sys_write_file_at(sys, fd, "cgroup.kill", "1");
                if (r >= 0) {
                        *ret = result;
                        return 0;
                }
                result = (struct kill_result){.error = r};
        }
        r = kill_process(sys, request->pid, request->start_time);
        if (r < 0)
                return r;
        result.processes = 1;
        *ret = result;
        return 0;
}
