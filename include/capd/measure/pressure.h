/* SPDX-License-Identifier: MIT */
/*
 * pressure.h: counters that only grow, from which is seen whether a group works against its cap.
 *
 * The kernel counts for a process as long as it lives, and for a cgroup as long as it is there; a group's processes and cgroups come and
 * go. So a tracker keeps for each of them what it counted last, and the group's sums grow by what each has grown since.
 */
#ifndef CAPD_MEASURE_PRESSURE_H
#define CAPD_MEASURE_PRESSURE_H

#include <stddef.h>
#include <stdint.h>

#include "capd/measure/cgroups.h"
#include "capd/measure/table.h"
#include "capd/sample.h"

/* Of the whole host, read once for all groups. SIZE_UNKNOWN: not known. */
struct host_pressure {
        uint64_t swap_in; /* bytes: pswpin of /proc/vmstat */
        usec_t stalled;   /* "some" of /proc/pressure/memory */
};
void host_pressure_read(const struct sys *sys, struct host_pressure *ret);

/* Of one group; all zero at the beginning. */
struct pressure_tracker {
        struct tracked_process *processes; /* in the order of pid */
        size_t n_processes;
        struct tracked_cgroup *cgroups; /* in the order of inode */
        size_t n_cgroups;
        uint64_t major_faults, refaults;
        usec_t stalled;
};
void pressure_tracker_done(struct pressure_tracker *t);

/*
 * Adds what the members and the owned cgroups have counted since the last call. Faults of members are those of their last reading of attributes
 * (process_table_refresh()); what one did before it was seen here for the first time, and after it was read for the last time, is not in them.
 * `c` may be NULL, and `owned` empty: no hierarchy. 0 or -ENOMEM (*ret is not touched, nothing is lost).
 */
int pressure_read(const struct cgroup2 *c, const struct owned_cgroups *owned, struct process *const *members, size_t n,
                  const struct host_pressure *host, usec_t now, struct pressure_tracker *t, struct group_pressure *ret);

#endif
