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

/* The unit a component stands for: systemd puts "_" before names that the kernel would take for files of its own. */
bool cgroup_component_unit(const char **component, size_t *len);

#endif
