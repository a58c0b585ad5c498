/* SPDX-License-Identifier: MIT */
/*
 * damon-sysfs.h: DAMON's directory in sysfs, as far as capd uses it: one kdamond with one context, one target, and ranges of
 * physical memory. Private to enforce/.
 *
 * The kdamond sleeps for as long as it is on and does its work once, when it is turned off: its sampling interval is longer
 * than any act, and kthread_stop() wakes it (mm/damon/core.c, kdamond_fn(): the schemes are applied after the sleep, and only
 * then it looks whether it should stop). So it is known when and how often the frames are acted on, on every kernel: exactly
 * once, at "off". Quotas are no substitute: in Debian's 6.12, as in 6.17 and others, damos_adjust_quota() sets none
 * in the first charge window.
 */
#ifndef CAPD_ENFORCE_DAMON_SYSFS_H
#define CAPD_ENFORCE_DAMON_SYSFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "capd/base/sys.h"
#include "capd/measure/inside.h"

#define DAMON_ADMIN "sys/kernel/mm/damon/admin/kdamonds"

/* What is done with the frames when the schemes are applied. */
enum damon_work {
        DAMON_MARK, /* marks pages as not accessed; nothing goes */
        DAMON_COLD, /* pages out what was not accessed since it was marked */
        DAMON_ANY,  /* pages out everything */
};

struct dsysfs {
        const struct sys *sys;
        int runtime_fd;
        int kdamond_fd; /* kdamonds/0, that capd made; of nobody else even if there is another by that name. -1: none */
        bool page_level;  /* pages are looked at one by one for accesses (Linux 6.10), else ranges */
        size_t n_regions; /* directories made */
        char path[128];   /* the file an error is about */
};

/* Makes and describes the kdamond; the record is written first. 0; -EBUSY; or a negative errno, and all is as it was found. */
int dsysfs_open(struct dsysfs *d, const struct sys *sys, int runtime_fd);
/* Ends it and removes everything. 0 or a negative errno: it is still there, and the record too. */
int dsysfs_close(struct dsysfs *d);
/* Hands over ranges (ascending) instead of those before. */
int dsysfs_set_ranges(struct dsysfs *d, const struct frame_range *ranges, size_t n, uint64_t page_size);
/* Chooses what is done with them. `bytes` is the quota. Where pages cannot be marked DAMON_MARK clears `page_level`. */
int dsysfs_set_work(struct dsysfs *d, enum damon_work work, uint64_t bytes);

/* The file that takes commands: a descriptor, or a negative errno. */
int dsysfs_open_state(const struct dsysfs *d);
/* "on" or "off", which does the work. May block. 0 or a negative errno. */
int dsysfs_command(const struct sys *sys, int state_fd, const char *command);
/*
 * Waits until the kdamond has marked the ranges and sleeps. Before that "off" must not be written: it would sleep out its interval,
 * and whoever wrote it would wait for that. 0; -ESRCH it does not run; -ETIMEDOUT it is still at it; or another negative errno.
 */
int dsysfs_wait_asleep(const struct sys *sys, int kdamond_fd, usec_t most);

#endif
