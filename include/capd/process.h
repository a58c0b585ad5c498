/* SPDX-License-Identifier: MIT */
/* process.h: what selectors match of a process. Read by measure/, judged by policy/. */
#ifndef CAPD_PROCESS_H
#define CAPD_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Text is as the kernel gives it (it may hold any byte but NUL); NULL where it could not be read or was not asked for.
 * The strings belong to whoever filled the struct.
 */
struct process_facts {
        pid_t pid;
        pid_t ppid;
        uint64_t start_time; /* field 22 of /proc/PID/stat, clock ticks since boot: with pid, who it is */
        bool kernel_thread;
        bool zombie;
        uid_t uid; /* effective, as ps(1) and top(1) show it */
        gid_t gid; /* effective */
        const char *comm;
        const char *exe;     /* target of /proc/PID/exe, " (deleted)" removed */
        const char *cmdline; /* arguments joined by single spaces */
        const char *cgroup; /* path of the unified hierarchy, else of name=systemd, else of the memory controller: "/system.slice/a.service" */
        uint64_t pid_namespace; /* inode number of /proc/PID/ns/pid, 0 unknown */
};

/* Which of the costly facts a policy needs at all. */
enum process_fact_flags {
        FACT_EXE = 1 << 0,
        FACT_CMDLINE = 1 << 1, /* takes the target's mmap lock */
        FACT_CGROUP = 1 << 2,
        FACT_PID_NAMESPACE = 1 << 3,
};

#endif
