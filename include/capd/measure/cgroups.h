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
        bool whole; /* its root is the host's, not that of a cgroup namespace, outside of which are other processes' cgroups */
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

/* -- which are the group's -- */

/*
 * Judges the n > 0 processes of one cgroup (without those of the cgroups below): whether all of them are the group's; if not, *ret_stranger is one that is
 * not. A process may be listed as 0: it is in none of our PID namespaces, and nobody's member.
 */
typedef bool cgroup_judge(const pid_t *pids, size_t n, void *userdata, pid_t *ret_stranger);

/*
 * Looks whether every task of an open cgroup, and of all below, is the group's, now. 1 they are, and there is one; 0 they are not
 * (*ret_stranger, which may be 0, is one that is not), or there is none (-1); -EOPNOTSUPP it is threaded: its tasks are listed by the
 * cgroup above that is not; -E2BIG more cgroups than *budget, from which those looked at are taken; -ENOENT it was removed; or another negative
 * errno.
 *
 * `skip`, which may be NULL, is the name of a cgroup right below that is known to be the group's.
 */
int cgroup_judge_tasks(const struct cgroup2 *c, int fd, const char *skip, cgroup_judge *judge, void *userdata,
                       unsigned *budget, pid_t *ret_stranger);

struct cgroup_member {
        pid_t pid;
        const char *cgroup; /* as in struct process_facts; NULL: not known */
};

struct owned_cgroup {
        char *path;
        uint64_t inode; /* of its directory: another one of this name is another cgroup */
        uint32_t members;
};

struct owned_cgroups {
        struct owned_cgroup *items;
        size_t n;
        uint32_t members_inside; /* members that live in them */
        bool cut;                /* a limit was reached: there may be more */
};
void owned_cgroups_done(struct owned_cgroups *o);
int owned_cgroups_copy(const struct owned_cgroups *o, struct owned_cgroups *ret); /* 0 or -ENOMEM */

/*
 * Finds the topmost cgroups that hold at least one member, and of which every task, and every task below, is_member(). The root
 * never is one, nor is one without memory controller. `is_member` answers for now: who acts on what is found
 * refreshes what it answers from first, and does not know a process means that it is no member. 0 (with whatever could be looked
 * into) or -ENOMEM.
 */
int cgroups_find_owned(const struct cgroup2 *c, const struct cgroup_member *members, size_t n,
                       bool (*is_member)(pid_t pid, void *userdata), void *userdata, struct owned_cgroups *ret);

/* -- what the kernel has booked for them -- */

/* Of one cgroup and all below. Bytes; SIZE_UNKNOWN where the kernel does not tell. */
struct cgroup_memory {
        uint64_t current, swap; /* memory.current, memory.swap.current */
        uint64_t anon, file, shmem,
                        file_mapped; /* memory.stat: anon is mapped; file has shmem in it, and so has file_mapped */
        uint64_t kernel;             /* Linux 5.18 */
        uint64_t swap_cache;         /* anonymous pages in the swap cache that nobody maps */
        uint64_t sockets;            /* network buffers: no part of kernel */
        uint64_t refaults;           /* bytes, only grows: workingset_refault_* */
};

/* Reads memory.stat, and the other two unless `stat_only`. 0; -ENOENT it was removed; or another negative errno. */
int cgroup_memory_read(const struct cgroup2 *c, int fd, bool stat_only, struct cgroup_memory *ret);

/*
 * Page cache that nobody maps, tmpfs not included, at most: which of file_mapped is a file's and which is shmem's the kernel does not tell. It is
 * taken that shmem is mapped as far as that can be.
 */
uint64_t cgroup_unmapped_cache(const struct cgroup_memory *m);

/*
 * How much more the tasks of a cgroup may swap out, by memory.swap.max of it and of all above: bytes, SIZE_UNKNOWN without limit. 0, or a negative
 * errno. What swap the host has left is another question.
 */
int cgroup_swap_room(const struct cgroup2 *c, const char *path, uint64_t *ret);

/* Opens one that was found. Descriptor; -ENOENT it was removed, another of its name or not; or another negative errno. */
int owned_cgroup_open(const struct cgroup2 *c, const struct owned_cgroup *o);

struct group_cgroups;

/* Sums up. 0, or a negative errno if one of them could not be read (then *ret is not touched); those that were removed are left out. */
int cgroups_read(const struct cgroup2 *c, const struct owned_cgroups *owned, usec_t now, struct group_cgroups *ret);

#endif
