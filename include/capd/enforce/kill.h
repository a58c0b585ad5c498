/* SPDX-License-Identifier: MIT */
/*
 * kill.h: LastResort=kill.
 *
 * One process dies, by its pidfd: the largest member. Unless memory.oom.group=1 says of its cgroup, or of one above, that those in there
 * die together or not at all. Who set that has said what a lack of memory does to them, so the same is done here, by
 * cgroup.kill (Linux 5.14), where every task in there is the group's. The topmost such cgroup is taken, as the kernel's own OOM killer
 * does (mem_cgroup_get_oom_group()).
 */
#ifndef CAPD_ENFORCE_KILL_H
#define CAPD_ENFORCE_KILL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "capd/base/sys.h"
#include "capd/limits.h"
#include "capd/measure/cgroups.h"

/* Whether the kernel's OOM killer never takes it, by oom_score_adj=-1000. One that has ended is not spared. */
bool kill_is_spared(const struct sys *sys, pid_t pid);

/*
 * Sends SIGKILL to the process that started at `start_time`, never to another one that has its number now. Does not wait for
 * its end. 0; -ESRCH it has ended; or another negative errno (-EPERM: CAP_KILL is missing).
 */
int kill_process(const struct sys *sys, pid_t pid, uint64_t start_time);

struct kill_request {
        pid_t pid;
        uint64_t start_time;
        const char *cgroup; /* it lives in; NULL: not known */
        /* Whether a process is the group's and may be killed, asked right before. */
        bool (*may_die)(pid_t pid, void *userdata);
        void *userdata;
};

struct kill_result {
        char cgroup[LIMIT_CGROUP_BYTES]; /* that was killed as a whole; "": the one process was */
        unsigned processes;              /* that were killed, as far as they were there before */
        int error;                       /* that cgroup could not be killed, so the process was; 0 none */
};

/*
 * Kills the process, with its cgroup if that is to die as a whole. `c` may be closed. 0, or a negative errno of kill_process().
 */
int kill_member(const struct sys *sys, const struct cgroup2 *c, const struct kill_request *request,
                struct kill_result *ret);

#endif
