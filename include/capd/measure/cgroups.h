/* SPDX-License-Identifier: MIT */
/*
 * cgroups.h: the cgroup v2 hierarchy: where it is, which of its cgroups belong to a group of processes whole, and what the kernel has
 * booked for them.
 *
 * Paths of cgroups are those of /proc/PID/cgroup ("/system.slice/a.service"): they come from strangers and are opened only below
 * the root of the hierarchy. Nothing here needs a lock of a target, so nothing here can block on one.
 */
#ifndef CAPD_MEASURE_CGROUPS_H
#define CAPD_MEASURE_CGROUPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "capd/base/sys.h"
#include "capd/limits.h"

/* The hierarchy that has the memory controller. */
struct cgroup2 {
        const struct sys *sys;
        int fd; /* of its root; -1: not open */
        dev_t device;
        char path[LIMIT_CGROUP_MOUNT_BYTES]; /* of its root, relative to sys->root_fd: "sys/fs/cgroup" */
};
#define CGROUP2_CLOSED ((struct cgroup2){.fd = -1})

/*
 * Finds it by /proc/self/mountinfo. 0; -ENOENT no cgroup2 file system is mounted; -EOPNOTSUPP one is, but without the memory
 * controller (a v1 hierarchy has it, or it is switched off); or another negative errno.
 */
int cgroup2_open(const struct sys *sys, struct cgroup2 *ret);
void cgroup2_close(struct cgroup2 *c); /* accepts one that is not open */

/*
 * Opens the directory of a cgroup, without following links and without leaving the hierarchy's file system. Descriptor; -ENOENT it is not
 * there (any more, or not in our cgroup namespace); -EINVAL no path of a cgroup; -EXDEV something is mounted over it; or another
 * negative errno.
 */
int cgroup2_open_cgroup(const struct cgroup2 *c, const char *path);

#endif
