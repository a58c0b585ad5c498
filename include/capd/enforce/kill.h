/* SPDX-License-Identifier: MIT */
/* kill.h: LastResort=kill. */
#ifndef CAPD_ENFORCE_KILL_H
#define CAPD_ENFORCE_KILL_H

#include <stdint.h>
#include <sys/types.h>

#include "capd/base/sys.h"

/*
 * Sends SIGKILL to the process that started at `start_time`, never to another one that has its number now. Does not wait for
 * its end. 0; -ESRCH it has ended; or another negative errno (-EPERM: CAP_KILL is missing).
 */
int kill_process(const struct sys *sys, pid_t pid, uint64_t start_time);

#endif
