/* SPDX-License-Identifier: MIT */
/* cgroups-internal.h: what the files about cgroups share. */
#ifndef CAPD_MEASURE_CGROUPS_INTERNAL_H
#define CAPD_MEASURE_CGROUPS_INTERNAL_H

#include "capd/measure/cgroups.h"

/* A line of mountinfo without its newline: whether it is a whole cgroup2 file system, and where, without the leading slash. Pure. */
bool parse_cgroup2_mount(const char *line, size_t len, char *ret_path, size_t size);

/* A line "KEY NUMBER", and "total=" in the line of "some" in a file of pressure stall information, microseconds. Pure. */
bool parse_keyed(const char *text, size_t len, const char *key, uint64_t *ret);
bool parse_pressure(const char *text, size_t len, usec_t *ret);

bool cgroup2_is_path(const char *path);

/* Whether an open directory is of the hierarchy's file system: 0, -EXDEV, or another negative errno. */
int cgroup2_check(const struct cgroup2 *c, int fd);

#endif
