/* SPDX-License-Identifier: MIT */
/* cgroup-names.h: the parts of a cgroup's path. See also match_cgroup_unit() and match_cgroup_container(). */
#ifndef CAPD_POLICY_CGROUP_NAMES_H
#define CAPD_POLICY_CGROUP_NAMES_H

#include <stdbool.h>
#include <stddef.h>

/* Takes the next component off *path: true, and where it is. */
bool cgroup_next(const char **path, const char **ret, size_t *ret_len);

/* Whether this is the name of a unit of a type that has cgroups. */
bool cgroup_is_unit(const char *name, size_t len);

/*
 * How much of a path root has named: what lies below a user@UID.service is called what that user likes, also like a unit of the system's
 * manager.
 */
size_t cgroup_system_length(const char *path);

/* The unit a component stands for: systemd puts "_" before names that the kernel would take for files of its own. */
bool cgroup_component_unit(const char **component, size_t *len);

#endif
