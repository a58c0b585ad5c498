/* SPDX-License-Identifier: MIT */
/*
 * charges.h: to which cgroups the pages of a group are charged.
 *
 * Mapping a page and being charged for it are two things: a page that several cgroups map is charged to the one that touched
 * it first, and stays charged there when tasks move. /proc/kpagecgroup tells, frame by frame, the inode number of the
 * cgroup (of its closest living ancestor if it is gone: page_cgroup_ino() in mm/memcontrol.c). It speaks of the
 * hierarchy that has the memory controller.
 */
#ifndef CAPD_MEASURE_CHARGES_H
#define CAPD_MEASURE_CHARGES_H

#include <stddef.h>
#include <stdint.h>

#include "capd/base/macros.h"
#include "capd/measure/cgroups.h"
#include "capd/measure/count.h"
#include "capd/measure/guard.h"

struct charge {
        uint64_t cgroup; /* inode number */
        uint64_t bytes;
        char *path; /* "/system.slice/x.service", "/" the root; NULL: not looked for, or not found */
};

/* A partition of the resident pages of one group: all items, `others` and `none` add up to `resident`. */
struct charges {
        struct charge *items; /* the largest first, at most LIMIT_CHARGED_CGROUPS */
        size_t n;
        uint64_t others; /* bytes of cgroups beyond the limit */
        uint64_t none;   /* bytes charged to no cgroup */
        int error;       /* negative: not known, and why; -ENOENT: the kernel has no /proc/kpagecgroup */
};

void charges_done(struct charges *c);

/*
 * The charges of a group, right after its count, which was made with COUNT_KEEP_FRAMES: 60 ns a frame. 0, with ret->error set if
 * they could not be had; -ECANCELED if the job is wanted no more.
 */
int charges_read(const struct count *c, uint32_t group, struct guard *guard, struct charges *ret);

/*
 * Gives the charges the paths of their cgroups, by a walk over the hierarchy (at most LIMIT_CGROUP_WALK cgroups of it). One
 * that is not found, being gone meanwhile or outside of our namespace, keeps NULL. 0, -ECANCELED if the job is
 * wanted no more, or a negative errno with the paths as far as they were found.
 */
int charges_find_paths(struct charges *c, const struct cgroup2 *hierarchy, struct guard *guard);

#endif
