/* SPDX-License-Identifier: MIT */
/* table-internal.h: the parts of the table of processes: table.c (who is there), attributes.c (what is known), unchanged.c (what need not be read), narrow.c (whose cgroup matters), mm-identity.c (who shares memory). */
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
        const struct cgroup2 *cgroups;                      /* NULL: not known */
        bool (*wanted)(void *userdata, const char *cgroup); /* NULL: all */
        void *wanted_userdata;
        bool narrowed; /* the last refresh listed wanted cgroups */
        usec_t not_narrowed_before;
        struct known_cgroup *known; /* what `wanted` said, sorted by inode */
        size_t n_known;
};

/*
 * Reads the attributes of p (whose facts.pid is set; start_time too unless `fresh`). 0; -ESRCH it is not that process, or none; -EBUSY it is passed over (stuck.h); -ECANCELED
 * given up; -ENOMEM and the like. *p is as it was on failure.
 */
int attributes_read(const struct sys *sys, struct guard *guard, unsigned facts, struct process *p, bool fresh,
                    usec_t now);
void attributes_done(struct process *p); /* frees the texts */
/* Whether an error means that capd itself is short of something, which must not pass for an answer about the process. */
bool is_shortage(ssize_t error);

/* unchanged.c */
bool attributes_due(const struct process *p, usec_t now, usec_t max_age);
/* Whether the attributes of a process that are due are what they were. It is then not due for `max_age`. */
bool is_unchanged(struct process_table *t, struct process *p, usec_t now, usec_t max_age);
/* Before that, at a refresh: finds out for many processes at a time whether their cgroups are what they were. */
void list_cgroups(struct process_table *t, usec_t now, usec_t max_age);

/* narrow.c */
struct pid_list;
/*
 * Adds the processes of all wanted cgroups to the list. 0; -EOPNOTSUPP not all of them can be had in this way; or another negative errno. Of who is known it
 * is remembered whether the cgroup is the one it was in.
 */
int list_wanted(struct process_table *t, struct pid_list *l);
/* After that: who was not listed is looked at by itself, and stays if it is wanted. */
int keep_wanted(struct process_table *t, struct guard *guard, usec_t now); /* 0 or -ECANCELED */

/* Gives an mm_id to every process that has none. Costs kcmp(2) calls for processes whose code and stack are where others' are. 0 or -ECANCELED. */
int mm_identify(struct process_table *t, struct guard *guard);

#endif
