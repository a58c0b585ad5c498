/* SPDX-License-Identifier: MIT */
/*
 * limits.h: every limit of capd, each with its reason.
 *
 * Whatever an administrator, a client or another process can make capd keep or read is bounded here
 * and nowhere else, so that one page answers "how far can this grow?".
 */
#ifndef CAPD_LIMITS_H
#define CAPD_LIMITS_H

/* -- configuration -- */

/* Files read for one policy: /etc/capd.conf and its drop-ins. */
#define LIMIT_CONFIG_FILES 256U
/* One file. Ten thousand groups with a comment each fit; a device or a log file given by mistake does not. */
#define LIMIT_CONFIG_FILE_BYTES (4U * 1024 * 1024)
/* One line, its continuation lines each for themselves. Long enough for a path (4096) and a key. */
#define LIMIT_CONFIG_LINE_BYTES 8192U
/* Problems kept of one reading; more are counted, not stored. */
#define LIMIT_CONFIG_PROBLEMS 1000U
/* [Group] sections in all files together. */
#define LIMIT_CONFIG_GROUPS 4096U
/* Words in one selector key. */
#define LIMIT_SELECTOR_VALUES 1024U
/* A group's name, with the "/VALUE" that ForEach= adds. One D-Bus object path element must hold its
 * escaped form, three characters a byte. */
#define LIMIT_GROUP_NAME_BYTES 192U
/* The part of it an administrator writes in [Group NAME]. */
#define LIMIT_SECTION_NAME_BYTES 64U
/* Description= */
#define LIMIT_DESCRIPTION_BYTES 256U

/* -- groups and processes -- */

/* Groups at one time, those made by ForEach= included. */
#define LIMIT_GROUPS 8192U
/* Processes looked at; the kernel's own limit is 4,194,304 (PID_MAX_LIMIT). Past this number capd says
 * so and leaves the rest out of every group. */
#define LIMIT_PROCESSES 262144U
/* Groups that one process may belong to. */
#define LIMIT_GROUPS_PER_PROCESS 64U
/* Text kept of a process: comm is 16 in the kernel, but a kernel thread's may be 64 in /proc. */
#define LIMIT_COMM_BYTES    64U
#define LIMIT_EXE_BYTES     4096U
#define LIMIT_CMDLINE_BYTES 4096U
#define LIMIT_CGROUP_BYTES  4096U
/* A PidFile= is a number and white space. */
#define LIMIT_PIDFILE_BYTES 64U
/* Text of one line of /proc/PID/maps: an address range, flags and a path, which may be escaped fourfold. */
#define LIMIT_MAPS_LINE_BYTES 17000U

/* -- scanning -- */

/* Threads that may be lost in a system call on a stuck target before capd stops starting new ones. */
#define LIMIT_STUCK_THREADS 8U
/* Longest time one system call on a target may take before its thread is given up. */
#define LIMIT_SCAN_CALL_USEC (2ULL * 1000 * 1000)
/* Pages of one pagemap read: 16 MiB of address space, some 0.2 ms under the target's mmap lock. */
#define LIMIT_PAGEMAP_STEP_PAGES 4096U
/* Frames whose insertion is remembered so that a process that vanished in mid-scan can be taken out again;
 * past it the group is counted anew. 4 Mi entries are 16 GiB of new memory in one process. */
#define LIMIT_ROLLBACK_FRAMES (4U * 1024 * 1024)

/* -- enforcement -- */

/* process_madvise() takes UIO_MAXIOV vectors in one call. */
#define LIMIT_MADVISE_VECTORS 1024U
/* One act on one group ends after this and the group is counted anew. */
#define LIMIT_ACT_USEC (3ULL * 1000 * 1000)

/* -- the front -- */

/* Connections to the private socket, in all and for one user. */
#define LIMIT_CLIENTS          256U
#define LIMIT_CLIENTS_PER_USER 32U
/* Messages queued for a client that does not read before it is dropped. */
#define LIMIT_CLIENT_QUEUE 64U
/* Time a client may take to authenticate and to say something. */
#define LIMIT_CLIENT_IDLE_USEC (60ULL * 1000 * 1000)
/* Commands waiting for the engine. */
#define LIMIT_PENDING_COMMANDS 64U
/* A temporary cap lasts at most this long. */
#define LIMIT_TEMPORARY_CAP_USEC (366ULL * 24 * 3600 * 1000 * 1000)
/* Smallest cap that makes sense: below it a process cannot hold its own code and stack. */
#define LIMIT_CAP_MIN_BYTES (1024ULL * 1024)

#endif
