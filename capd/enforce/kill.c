/* SPDX-License-Identifier: MIT */
#include "capd/enforce/kill.h"

#include <errno.h>
#include <signal.h>

#include "capd/measure/table.h"

int kill_process(const struct sys *sys, pid_t pid, uint64_t start_time)
{
        _cleanup_close_ int procfd = process_open(sys, pid, start_time), pidfd = -1, again = -1;

        if (procfd < 0)
                return procfd;
        /*
         * pidfd_open(2) takes a number. The process is proved to be the one that is meant on both sides of the call: it was there
         * before, and if it still is there afterwards nobody else can have had its number in between.
         */
        pidfd = sys->ops->pidfd_open(sys, pid);
        if (pidfd < 0)
                return pidfd;
        again = process_open(sys, pid, start_time);
        if (again < 0)
                return again;
        return sys->ops->pidfd_send_signal(sys, pidfd, SIGKILL);
}
