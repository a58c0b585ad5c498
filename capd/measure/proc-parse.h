/* SPDX-License-Identifier: MIT */
/*
 * proc-parse.h: the text of /proc, read without trust.
 *
 * Pure functions over a buffer and its length. What another process can choose (its name, its arguments, the paths it maps, the
 * cgroups it creates) may hold any byte the kernel lets through; a text that is not in the kernel's form gives -EBADMSG and
 * leaves the result alone. These are the targets of tests/fuzz.
 */
#ifndef CAPD_MEASURE_PROC_PARSE_H
#define CAPD_MEASURE_PROC_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "capd/limits.h"
#include "capd/measure/walk.h"
#include "capd/sample.h"

struct proc_stat {
        pid_t pid, ppid;
        char comm[LIMIT_COMM_BYTES + 1];
        char state;
        bool kernel_thread;
        uint64_t minor_faults, major_faults; /* of all its threads, also those that have ended */
        uint64_t cpu_ticks;                  /* user and system */
        uint32_t threads;
        uint64_t start_time;
        uint64_t vm;                                /* bytes */
        uint64_t rss;                               /* pages */
        uint64_t start_code, end_code, start_stack; /* 0 without the right to trace it */
        int cpu;                                    /* on which it runs, or ran last; -1 if that is not said */
        int priority; /* 20 plus the nice value; less than 0 for real time: task_prio() in kernel/sched/syscalls.c */
};

struct proc_statm {
        uint64_t size, resident, shared; /* pages */
};

/* What smaps says of one mapping, bytes. */
struct proc_smaps {
        uint64_t rss, swap, hugetlb, pss;
};

/* Numbers at the head of [*p, end); *p moves behind the digits. false: no digit, or it does not fit. */
bool parse_decimal(const char **p, const char *end, uint64_t *ret);
bool parse_hex(const char **p, const char *end, uint64_t *ret);

int parse_proc_stat(const char *text, size_t len, struct proc_stat *ret);
int parse_proc_statm(const char *text, size_t len, struct proc_statm *ret);
/* The effective ids of /proc/PID/status. */
int parse_proc_status(const char *text, size_t len, uid_t *ret_uid, gid_t *ret_gid);
/*
 * The cgroup that says most about a process: the one of the unified hierarchy ("0::"), unless that is the root while systemd's
 * or the memory controller's hierarchy (v1, or both mounted side by side) places the process deeper. Length of the path copied to buf; -EBADMSG none;
 * -E2BIG does not fit.
 */
ssize_t parse_proc_cgroup(const char *text, size_t len, char *buf, size_t size);
/* A head line of maps or smaps (without its newline). The name, which may be empty, points into the line. */
int parse_maps_line(const char *line, size_t len, struct walk_vma *ret, const char **ret_name, size_t *ret_name_len);
/* A field line of smaps or smaps_rollup (without its newline) is added to *sum. Whether it was one of those in it. */
bool parse_smaps_line(const char *line, size_t len, struct proc_smaps *sum);
int parse_meminfo(const char *text, size_t len, struct host_memory *ret);
/* Swap areas listed in /proc/swaps. */
unsigned parse_swaps(const char *text, size_t len);

#endif
