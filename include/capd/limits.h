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
/* One word of a value, or a path: short enough that policy_dump() can write it back as one line even if every byte needs a
 * backslash. */
#define LIMIT_CONFIG_WORD_BYTES 4000U
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
/* Why a feature is not to be had, with what to do; and why a group is in its state, which names up to three of those. */
#define LIMIT_WHY_BYTES    160U
#define LIMIT_REASON_BYTES 512U
/* A PidFile= is a number and white space. */
#define LIMIT_PIDFILE_BYTES 64U
/* /proc/self/mountinfo is read so far: some 20,000 mounts, of which that of cgroupfs is among the first. */
#define LIMIT_MOUNTINFO_BYTES (4U * 1024 * 1024)
/* Path of a mount of cgroupfs. The usual one has 14 characters. */
#define LIMIT_CGROUP_MOUNT_BYTES 256U
/* Cgroups looked into to find those that a group owns, 20 to 30 microseconds each; of those not reached none is owned. The same for
 * one that is looked at again right before it is acted on. */
#define LIMIT_CGROUP_VISITS 4096U
/* Cgroups that a group owns: the topmost ones are few. What is over is not acted on by cgroup. */
#define LIMIT_OWNED_CGROUPS 256U
/* Cgroups that the pages of one group are told apart by; what is charged to more is summed up as one figure. */
#define LIMIT_CHARGED_CGROUPS 4096U
/* Cgroups looked at to find the names of those: ten times what a host with some thousand containers has. */
#define LIMIT_CGROUP_WALK 65536U
/* Text of one line of /proc/PID/maps: an address range, flags and a path, which may be escaped fourfold. */
#define LIMIT_MAPS_LINE_BYTES 17000U

/* -- scanning -- */

/* Scanner threads that may be lost in a system call on a stuck target before capd stops starting new ones. */
#define LIMIT_STUCK_THREADS 32U
/* Such processes of one user, except root: with so many of them none of that user's is looked at. */
#define LIMIT_STUCK_OF_USER 8U
/* Longest time one system call on a target may take before its thread is given up. */
#define LIMIT_SCAN_CALL_USEC (2ULL * 1000 * 1000)
/* The same where the engine waits for it, and answers nobody meanwhile; found so twice, so that it stands still for up to three times that. */
#define LIMIT_ERRAND_CALL_USEC (100ULL * 1000)
/* Threads of either kind that may be lost before the engine stops looking into processes: 512 KiB of address space each. */
#define LIMIT_STUCK_ERRANDS 64U
/* Pages of one pagemap read: 16 MiB of address space, some 0.2 ms; the kernel lets go of the
 * target's mmap lock every 2 MiB of it. */
#define LIMIT_PAGEMAP_STEP_PAGES 4096U
/* Memory of all sets of page frames together. One bit a frame: 32 MiB for 1 TiB of them; where mappings are counted, up to 8 bytes
 * for each page that is mapped more than once, so 128 GiB of those. A count that needs more fails. */
#define LIMIT_FRAMES_BYTES (256ULL * 1024 * 1024)
/* Entries of one process that a thread remembers to know them again in others, 16 bytes each: 4 MiB, for 1 GiB of memory. */
#define LIMIT_ECHO_PAGES (256U * 1024)
/* Pieces of shared objects, 16 MiB each, of which is remembered what groups have seen of them, by all counts together: 1 TiB for 40
 * MiB of memory, which is what the frames of as much take. More is read in each process that maps it. */
#define LIMIT_SEEN_CHUNKS 65536U
/* Pages that an estimate keeps of one process: 32 MiB of memory. Of a terabyte it reads a quarter of this, some 100 ms of CPU. */
#define LIMIT_SAMPLED_PAGES (4U * 1024 * 1024)
/* Chunks of pages in which an estimate of one group found any: 20 MiB of memory. An estimate that needs more fails. */
#define LIMIT_SAMPLED_CHUNKS (256U * 1024)
/* Looking for the pages of one process in mappings that are nearly empty, on kernels that do not tell where they are (before 6.7).
 * Some 100 GiB of empty mappings are read through in this time. */
#define LIMIT_PROBE_USEC (100ULL * 1000)
/* Frames whose insertion is remembered so that a process that vanished in mid-scan can be taken out again;
 * past it the group is counted anew. 4 Mi entries are 16 GiB of new memory in one process. */
#define LIMIT_ROLLBACK_FRAMES (4U * 1024 * 1024)

/* -- enforcement -- */

/* process_madvise() takes UIO_MAXIOV vectors in one call. */
#define LIMIT_MADVISE_VECTORS 1024U
/* One write to memory.reclaim. It cannot be interrupted, and the thread is given up after LIMIT_SCAN_CALL_USEC: so little that
 * even a slow swap device takes it in a fraction of that. */
#define LIMIT_RECLAIM_WRITE_BYTES (4ULL * 1024 * 1024)
/* Frames shared inside a group that are acted on in one act: 16 GiB, and 16 MiB of memory to know their mappings. */
#define LIMIT_INSIDE_FRAMES (4U * 1024 * 1024)
/* In so many pieces: 1 GiB even if no two of them are neighbours, and 4 MiB to hold them. */
#define LIMIT_INSIDE_RANGES (256U * 1024)
/* One act on one group ends after this and the group is counted anew. */
#define LIMIT_ACT_USEC (3ULL * 1000 * 1000)

/* The state file: a line for each task moved, a few for each group, and each line's words. Every byte of a path may need four. */
#define LIMIT_STATE_RECORDS (LIMIT_PROCESSES + 8U * LIMIT_GROUPS)
#define LIMIT_STATE_BYTES   (128U * 1024 * 1024)
#define LIMIT_STATE_WORDS   8U
#define LIMIT_STATE_WORD    LIMIT_CGROUP_BYTES

/* cgroup.procs: LIMIT_PROCESSES numbers of up to seven digits. */
#define LIMIT_CGROUP_PROCS_BYTES (8U * LIMIT_PROCESSES)
/* Levels of cgroups below a unit that are looked into. */
#define LIMIT_CGROUP_DEPTH 32U
/* What systemd may take to answer, and what undoing everything may take at the end. */
#define LIMIT_SYSTEMD_USEC (25ULL * 1000 * 1000)
#define LIMIT_UNDO_USEC    (15ULL * 1000 * 1000)
/* Scopes that systemd is asked for at one time. */
#define LIMIT_SCOPE_REQUESTS 16U
/* DAMON takes each range as a directory of sysfs, made, filled and removed by the kernel: some 3 KiB of its memory and 10 µs
 * each while it lasts. More are handed over one portion after another. */
#define LIMIT_DAMON_RANGES 4096U
/* Mappings of the frames in one portion: DAMON looks each of them up, some 0.1 to 1 µs each, and cannot be stopped in the middle. */
#define LIMIT_DAMON_MAPPINGS (1024U * 1024)
/* Its thread has begun its work by then: it takes milliseconds, and seconds where the host is drowned in work. */
#define LIMIT_DAMON_START_USEC (30ULL * 1000 * 1000)
/* A page that nobody touched for so long is cold. */
#define LIMIT_DAMON_IDLE_USEC (1ULL * 1000 * 1000)
/* An act by DAMON ends after this. Longer than others, as each portion is watched for a second, and it needs no lock of a target. */
#define LIMIT_DAMON_ACT_USEC (15ULL * 1000 * 1000)

/* Entries of the log about one group and of one kind in such a time; a group that flips between two states has no more. */
#define LIMIT_EVENTS      20U
#define LIMIT_EVENTS_USEC (60ULL * 1000 * 1000)

/* A Hook= program may run for so long, and so many at one time. */
#define LIMIT_HOOK_USEC (30ULL * 1000 * 1000)
#define LIMIT_HOOKS     32U

/* -- the front -- */

/* Connections to the private socket, in all and for one user. */
#define LIMIT_CLIENTS          256U
#define LIMIT_CLIENTS_PER_USER 32U
/* Messages queued for a client that does not read before it is dropped. */
#define LIMIT_CLIENT_QUEUE 64U
/* Time a client may take to authenticate and to say something. */
#define LIMIT_CLIENT_IDLE_USEC (60ULL * 1000 * 1000)
/* Connections that only root gets, so that users cannot lock the administrator out. */
#define LIMIT_CLIENTS_FOR_ROOT 16U
/* What a client sends before it is known, and one message of it. The longest request names a group; sd-bus itself would
 * take 128 MiB. */
#define LIMIT_CLIENT_AUTH_BYTES    4096U
#define LIMIT_CLIENT_MESSAGE_BYTES 8192U
/* A client that does not read its reply is dropped after this. */
#define LIMIT_CLIENT_STALL_USEC (10ULL * 1000 * 1000)
/* Clients other than root with a reply that they have not read: one with every group may have megabytes. */
#define LIMIT_UNREAD_REPLIES          16U
#define LIMIT_UNREAD_REPLIES_PER_USER 4U
/* Requests from the system bus of which it is not known yet whether they may be done: in all; of one sender or user other than root;
 * and what is kept for root. A bus answers who a sender is in milliseconds, or it hangs; people take their time with polkit. */
#define LIMIT_ASKING             64U
#define LIMIT_ASKING_PER_USER    4U
#define LIMIT_ASKING_FOR_ROOT    32U
#define LIMIT_CREDENTIALS_USEC   (5ULL * 1000 * 1000)
#define LIMIT_POLKIT_USEC        (10ULL * 1000 * 1000)
#define LIMIT_POLKIT_DIALOG_USEC (120ULL * 1000 * 1000)
/* Answers to the system bus that it has not taken yet: what comes in meanwhile is not answered. Messages altogether: it is left and
 * joined anew, since it does not do its work. */
#define LIMIT_BUS_UNREAD   8U
#define LIMIT_BUS_MESSAGES 16384U
/* Clients of the system bus together may use so many hundredths of a percent of one CPU; it is not read while they are over. */
#define LIMIT_BUS_CPU_BASIS_POINTS 2000U
/* Longest pause before another attempt at a bus that is not there. */
#define LIMIT_BUS_RETRY_USEC (30ULL * 1000 * 1000)
/* Commands waiting for the engine, those of one user other than root, and what is kept for root. */
#define LIMIT_PENDING_COMMANDS          64U
#define LIMIT_PENDING_COMMANDS_PER_USER 4U
#define LIMIT_PENDING_COMMANDS_FOR_ROOT 32U
/* Time the engine may take to answer a command: a count of the largest groups takes some seconds. */
#define LIMIT_COMMAND_USEC (30ULL * 1000 * 1000)
/* Body of an answer of the engine: text (a configuration as it is in force), and processes of one group. */
#define LIMIT_REPLY_TEXT_BYTES  (8U * 1024 * 1024)
#define LIMIT_EXPLAIN_PROCESSES 16384U
/* Cgroups by name in an explanation, and the text of one of them; longer paths are cut in the middle. */
#define LIMIT_SHOWN_CHARGES      16U
#define LIMIT_SHOWN_CGROUP_BYTES 512U
/* Counts made on demand cost CPU. Users other than root get one that is up to so old, of so many groups, and
 * together may have new ones made with so many hundredths of a percent of one CPU. */
#define LIMIT_EXPLAIN_CACHE            64U
#define LIMIT_EXPLAIN_CACHE_USEC       (10ULL * 1000 * 1000)
#define LIMIT_EXPLAIN_CPU_BASIS_POINTS 500U
/* HistorySize= and HistoryTime=. The front may allocate FRONT_DATA_MAX in all, and holds the history twice when it is read. */
#define LIMIT_HISTORY_BYTES (64ULL * 1024 * 1024)
#define LIMIT_HISTORY_USEC  (366ULL * 24 * 3600 * 1000 * 1000)
/* Groups in one file of it: as many as have the room for some points each. */
#define LIMIT_HISTORY_RINGS 32768U
/* Points in one answer: a day of looks every five seconds, some 2 MiB. */
#define LIMIT_HISTORY_POINTS 20000U
/* It is written so often, and when capd ends. */
#define LIMIT_HISTORY_STORE_USEC (300ULL * 1000 * 1000)
/* The metrics: a scraper asks every 15 s. Groups beyond that number are counted, not shown: some 4 KiB of text each. */
#define LIMIT_METRICS_STORE_USEC (5ULL * 1000 * 1000)
#define LIMIT_METRICS_GROUPS     1000U
#define LIMIT_METRICS_BYTES      (16U * 1024 * 1024)
/* A temporary cap lasts at most this long. */
#define LIMIT_TEMPORARY_CAP_USEC (366ULL * 24 * 3600 * 1000 * 1000)
/* Smallest cap that makes sense: below it a process cannot hold its own code and stack. */
#define LIMIT_CAP_MIN_BYTES (1024ULL * 1024)

#endif
