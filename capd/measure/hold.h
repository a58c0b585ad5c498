/* SPDX-License-Identifier: MIT */
/* hold.h: proofs that a number, a descriptor and an address space still belong to the same process. Private to measure/. */
#ifndef CAPD_MEASURE_HOLD_H
#define CAPD_MEASURE_HOLD_H

#include "capd/base/sys.h"
#include "capd/measure/guard.h"
#include "proc-parse.h"

/*
 * Opens /proc/PID and proves that it is the process that started at `start_time`. Descriptor, and what stat said; *ret_stat_fd is stat, still open, for
 * hold_read_stat_again(). -ESRCH it is not; -ECANCELED given up; or another negative errno.
 */
int hold_open(const struct sys *sys, struct guard *guard, pid_t pid, uint64_t start_time, struct proc_stat *ret_stat,
              int *ret_stat_fd);
/* Reads stat of the process behind `dirfd`, which may wait for it (guard.h), here and below. 0; -ESRCH it has ended; another negative errno. */
int hold_read_stat(const struct sys *sys, int dirfd, struct proc_stat *ret);
/* The same through stat's own descriptor, which saves half of the cost. */
int hold_read_stat_again(const struct sys *sys, int fd, struct proc_stat *ret);
/*
 * Has `take` look at each thread of the process behind `dirfd`, by its name in the directory of threads, until it says other than 0. What
 * that was; 0; or a negative errno, -ENOENT if it has ended.
 */
typedef int (*hold_thread_fn)(const struct sys *sys, int taskfd, const char *name, void *arg);
int hold_each_thread(const struct sys *sys, int dirfd, hold_thread_fn take, void *arg);
/*
 * A process whose first thread has ended while others run on is a zombie by its stat, and its statm, maps and pagemap are empty; its
 * memory is all there. Then *dirfd is exchanged for /proc/PID/task/TID of a thread that lives, which shows it, and *s for its stat.
 * 0; a negative errno, and both as they were.
 */
int hold_living(const struct sys *sys, int *dirfd, struct proc_stat *s);
/* Neither an end nor an exec lies between two readings. An exec gives the program and its stack new places. */
bool hold_same_program(const struct proc_stat *a, const struct proc_stat *b);
/* The state of a process without memory of its own: a zombie, or dead. */
bool hold_is_ended(const struct proc_stat *s);

#endif
