/* SPDX-License-Identifier: MIT */
/* table-internal.h: the parts of the table of processes: table.c (who is there), attributes.c (what is known), unchanged.c (what need not be read), mm-identity.c (who shares memory). */
#ifndef CAPD_MEASURE_TABLE_INTERNAL_H
#define CAPD_MEASURE_TABLE_INTERNAL_H

#include "capd/measure/cgroups.h"
#include "capd/measure/table.h"
#include "hold.h"

struct process_table {
        const struct sys *sys;
        unsigned facts;
        unsigned max_fds, n_fds;
        struct process **buckets; /* chains by pid */
        size_t n_buckets;
        size_t n;
        uint64_t generation; /* of the last refresh */
        uint64_t last_mm_id;
        bool overflowed;
        const struct cgroup2 *cgroups; /* NULL: not known */
};

/*
 * Reads the attributes of p (whose facts.pid is set; start_time too unless `fresh`). 0; -ESRCH it is not that process, or none; -ENOMEM and the like. *p is
 * as it was on failure.
 */
int attributes_read(const struct sys *sys, unsigned facts, struct process *p, bool fresh, usec_t now);
void attributes_done(struct process *p); /* frees the texts */

/* The path of a process's cgroup, /proc/PID being `process` relative to dirfd. 0, and *ret is left alone if it has none; -ENOMEM and the like. */
int cgroup_of(const struct sys *sys, int dirfd, const char *process, char **ret);

/* unchanged.c */
bool attributes_due(const struct process *p, usec_t now, usec_t max_age);
/* Whether the attributes of a process that are due are what they were. It is then not due for `max_age`. */
bool is_unchanged(struct process_table *t, struct process *p, usec_t now, usec_t max_age);
/* Before that, at a refresh: finds out for many processes at a time whether their cgroups are what they were. */
void list_cgroups(struct process_table *t, usec_t now, usec_t max_age);

/* Gives an mm_id to every process that has none. Costs kcmp(2) calls for processes whose code and stack are where others' are. */
void mm_identify(struct process_table *t);

#endif
