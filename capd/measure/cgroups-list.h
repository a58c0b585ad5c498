/* SPDX-License-Identifier: MIT */
/* cgroups-list.h: who is in a cgroup, and which cgroups are right below it. */
#ifndef CAPD_MEASURE_CGROUPS_LIST_H
#define CAPD_MEASURE_CGROUPS_LIST_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "capd/base/sys.h"
#include "capd/limits.h"

/* What a cgroup that is being removed answers; there is nobody in it. */
static inline bool cgroup_is_gone(int error)
{
        return error == -ENOENT || error == -ENODEV;
}

struct pid_list {
        pid_t *items;
        size_t n, allocated;
};
void pid_list_done(struct pid_list *p);
int pid_list_add(struct pid_list *p, pid_t pid); /* 0; -E2BIG beyond LIMIT_PROCESSES; -ENOMEM */

/*
 * Adds what cgroup.procs of an open cgroup lists: processes, without those of the cgroups below; 0 for one of none of our PID namespaces; one may be
 * there twice. 0; -EOPNOTSUPP the cgroup is threaded; -ENODEV it was removed; or another negative errno.
 */
int cgroup_list_procs(const struct sys *sys, int dirfd, struct pid_list *l);

/* Paths, relative to the cgroup that is looked at, of those that are still to be looked into. "" is itself. */
struct cgroup_work {
        char **items;
        size_t n, allocated;
};
void cgroup_work_done(struct cgroup_work *w);
int cgroup_work_add(struct cgroup_work *w, const char *above, const char *name); /* 0; -E2BIG; -ENOMEM */

/*
 * Adds the cgroups right below the open one whose path is `above`. `skip` (may be NULL) is left out if it is right below "". 0; -E2BIG if there
 * would be more than `budget` to look into; or another negative errno.
 */
int cgroup_list_below(const struct sys *sys, int fd, struct cgroup_work *w, const char *above, const char *skip,
                      unsigned budget);

#endif
