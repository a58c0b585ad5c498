/* SPDX-License-Identifier: MIT */
/*
 * table.h: the processes of the host, each held so that a reused PID is never mistaken for it.
 *
 * The table belongs to one thread. A process in it keeps a descriptor of its /proc/PID/statm open (within the limit of
 * open files; beyond it the file is opened at each look): that descriptor stands for the process, not for its number,
 * and answers ESRCH for ever once the process has ended, whoever has its number then. Nothing here takes a target's mmap
 * lock. What waits all the same for a process that executes a program is done as an errand (errand.h): such a process enters the table late, or
 * stays in it as it was known.
 */
#ifndef CAPD_MEASURE_TABLE_H
#define CAPD_MEASURE_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "capd/base/sys.h"
#include "capd/measure/guard.h"
#include "capd/process.h"

struct process {
        struct process_facts facts;
        bool changed;       /* facts differ from the last reading: match again, then clear it */
        bool needs_cmdline; /* FACT_CMDLINE is wanted and facts.cmdline is not of this exec: see process_read_cmdline() */
        uint32_t threads;
        uint64_t vm, rss, rss_shared; /* bytes, of the last look; rss_shared is its file and shmem part */
        uint64_t cpu_ticks;           /* user and system time at the last reading of attributes */
        uint64_t major_faults;        /* so far, at the last reading of attributes */
        usec_t idle_since;            /* since when cpu_ticks has not changed; 0 not known yet */
        usec_t attributes_at;
        uint64_t mm_id; /* equal for processes that share one address space; else unique among live ones */
        bool gone;      /* it has ended; leaves the table at the next refresh, whoever has its number then */
        void *userdata; /* the caller's */
        /* private to table.c behind this line */
        struct process *next;
        int statm_fd;
        uint64_t mm_before; /* its mm_id up to now, while it is looked at who shares its mm; 0: none */
        bool mm_shared; /* another process had the same mm: looked at again at every refresh, as a vfork(2) ends in an exec */
        uint64_t mm_rank; /* order among processes of one mm_key, by kcmp(2); 0: has no place in it */
        uint64_t seen;
        usec_t checked_at; /* its attributes were read, or found unchanged */
        uint64_t listed;   /* the refresh at which it was listed in the cgroup where it was */
        struct runs {
                uint64_t time, waited, times;
        } runs;             /* of its only thread, from before its attributes were read; 0 times: not known */
        uint64_t mm_key[3]; /* places of code and stack: equal for all that share an mm, and for a fork family */
};

struct process_table;

/* `facts` are enum process_fact_flags; `max_fds` how many descriptors the table may hold. -ENOMEM or a negative errno. */
int process_table_new(const struct sys *sys, unsigned facts, unsigned max_fds, struct process_table **ret);
struct process_table *process_table_free(struct process_table *t);
DEFINE_CLEANUP(struct process_table *, process_table_free)
void process_table_set_facts(struct process_table *t,
                             unsigned facts); /* after a reload; reads attributes anew at the next refresh */

struct cgroup2;
/* Where cgroups are, for finding out cheaper in which processes are; it must stay where it is. NULL: not known. */
void process_table_set_cgroups(struct process_table *t, const struct cgroup2 *cgroups);

/*
 * From the next refresh on only processes of cgroups that are `wanted` are in the table, listed by their cgroup.procs; nobody else costs anything. It is
 * asked once for each cgroup, by its path as in /proc/PID/cgroup. Everybody is, as without it (NULL), where cgroups cannot tell: without the
 * hierarchy, in a cgroup namespace, with threaded cgroups. Another function or userdata makes it ask again.
 */
void process_table_narrow(struct process_table *t, bool (*wanted)(void *userdata, const char *cgroup), void *userdata);

/* Whether the last refresh did: who is not in the table may then have been there for long. */
bool process_table_is_narrowed(const struct process_table *t);

/*
 * Lists /proc: ended processes leave the table (`on_gone` is called for each, may be NULL), new ones enter with their
 * attributes read; those whose attributes are older than `max_age` are read again, unless it is seen at less cost that they are what
 * they were (an exec, a change of user or of cgroup sets `changed`). Kernel threads and zombies are kept, with their flag, so that they are not read again and again.
 * Returns the number of processes, or a negative errno: if /proc cannot be listed (the table is then as before), or -ENOMEM,
 * -EMFILE, -ENFILE if some process could not be read for want of these (the rest of the table is fresh, and that process is
 * tried again at the next refresh).
 */
int process_table_refresh(struct process_table *t, usec_t now, usec_t max_age,
                          void (*on_gone)(struct process *p, void *userdata), void *userdata);
/*
 * Reads the attributes of these again, now; who has ended is `gone`, and who must not be looked at (stuck.h) stays as it was. 0; -ENOMEM, -EMFILE and
 * the like; or -EBUSY: nobody may be looked at.
 */
int process_table_reread(struct process_table *t, struct process *const *items, size_t n, usec_t now);
size_t process_table_size(const struct process_table *t);
bool process_table_overflowed(const struct process_table *t); /* LIMIT_PROCESSES was reached */

/* One read of statm. 0; -ESRCH ended (or became a zombie: all zero); another negative errno. */
int process_look(struct process_table *t, struct process *p);
/*
 * The same for each process that is somebody's (userdata). Of one that has ended all sizes are 0 afterwards, of one that could not be read SIZE_UNKNOWN. 0, or -EBUSY: nobody may be looked at, and all
 * is as it was.
 */
int process_table_look(struct process_table *t);

struct process *process_table_find(struct process_table *t, pid_t pid);
/* Iterates: NULL first, NULL at the end. The table must not be refreshed meanwhile. */
struct process *process_table_next(const struct process_table *t, const struct process *p);

/*
 * The arguments of a process joined by spaces, unescaped. May block on the target's mmap lock, so it is for a scanner
 * thread. Length, 0 for none; -ESRCH if it is not that process any more; -ECANCELED given up.
 */
ssize_t process_read_cmdline(const struct sys *sys, struct guard *guard, pid_t pid, uint64_t start_time, char *buf,
                             size_t size);
/* Gives the table what a scanner thread read. NULL: could not be read; not tried again until the next exec. */
int process_table_set_cmdline(struct process_table *t, pid_t pid, uint64_t start_time, const char *cmdline);

/* The path of a process's cgroup in the v2 hierarchy, as /proc/PID/cgroup has it. 0, and *ret is left alone if that cannot be had; -ENOMEM and the
 * like. */
int process_read_cgroup(const struct sys *sys, pid_t pid, char **ret);

/* Who its parent is, and whose it is by the owner of its directory in /proc. Waits for nobody. 0; -ESRCH it has ended; or another negative errno. */
int process_read_parent(const struct sys *sys, pid_t pid, pid_t *ret_parent, uid_t *ret_uid);

/* The faults that all threads of a process have taken, and its RSS in bytes at the same moment. 0; -ESRCH it has ended; another negative
 * errno; -ECANCELED given up. For an errand, as it may wait for the process. */
int process_read_faults(const struct sys *sys, struct guard *guard, const struct process *p, uint64_t *ret_faults,
                        uint64_t *ret_rss);

struct features;
/* How far the RSS that statm shows of a process may be from the truth, either way, in bytes: the error of its counters
 * (features.h). */
uint64_t process_rss_error(const struct features *f, const struct process *p);

/*
 * Opens /proc/PID and proves that it is the process that started at `start_time`. Descriptor; -ESRCH if it is not; -EBUSY it must not be looked at now (stuck.h); -ECANCELED given
 * up; or another negative errno. An errand by itself (errand.h); the guard is that of a scanner thread, else NULL.
 */
int process_open(const struct sys *sys, struct guard *guard, pid_t pid, uint64_t start_time);

#endif
