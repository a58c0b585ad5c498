/* SPDX-License-Identifier: MIT */
/* features.h: what this kernel and these rights allow, found out by trying. */
#ifndef CAPD_MEASURE_FEATURES_H
#define CAPD_MEASURE_FEATURES_H

#include <stdbool.h>
#include <stdint.h>

#include "capd/base/sys.h"
#include "capd/limits.h"

struct features {
        unsigned kernel_major, kernel_minor;
        bool pagemap_frames; /* page frame numbers are shown to us (CAP_SYS_ADMIN in the initial user namespace) */
        bool kpageflags;     /* /proc/kpageflags opens and answers */
        bool kpagecount;
        bool pagemap_scan;    /* PAGEMAP_SCAN, Linux 6.7 */
        bool kcmp;            /* kcmp(2) answers, so processes sharing an address space are found */
        bool ptrace;          /* pagemap of a process of another user can be opened (CAP_SYS_PTRACE) */
        bool process_madvise; /* MADV_PAGEOUT by pidfd works on another process (Linux 5.10, CAP_SYS_NICE) */
        bool foreign_files;   /* file pages of files that we neither own nor may write can be paged out (CAP_FOWNER) */
        bool realtime;        /* a thread may come before ordinary ones while it holds a target's lock (CAP_SYS_NICE) */
        bool huge_zero_known; /* the huge zero page can be told apart (needs kpageflags) */
        bool ksm_active; /* /sys/kernel/mm/ksm/run is 1, or pages are merged: RSS of one process may count a frame twice */
        bool swap;       /* any swap area is active now */
        bool cgroup2;    /* a cgroup v2 hierarchy is mounted and has the memory controller */
        bool memory_reclaim;     /* its memory.reclaim can be written (Linux 5.19) */
        bool reclaim_swappiness; /* which takes "swappiness=0" to 200 (Linux 6.11) */
        bool reclaim_anon_only;  /* and "swappiness=max": anonymous memory only (Linux 6.16) */
        bool psi;                /* /proc/pressure/memory answers */
        bool damon;              /* DAMON can be used to page out by frame, and nobody else uses it now */
        uint64_t page_size;
        uint64_t zero_frame; /* frame of the zero page; UINT64_MAX unknown */
        /* Error of the three RSS counters together as statm shows them, in pages. Linux 6.2 to 6.15: per-CPU batches of each
         * (lib/percpu_counter.c: max(32, 2 * CPUs), times CPUs). Before, for each thread: what its last 66 faults did is kept
         * back (mm/memory.c: TASK_RSS_EVENTS_THRESH), and one fault maps up to 64 KiB of a file (fault_around_bytes; seen:
         * 2 MiB of file pages missing in an idle process). 0 since. */
        uint64_t rss_error_pages;
        bool rss_error_per_thread;
        /* why a feature is missing, one line each naming what to do; "" where it is there */
        char why_frames[LIMIT_WHY_BYTES], why_kpageflags[LIMIT_WHY_BYTES], why_kpagecount[LIMIT_WHY_BYTES],
                        why_kcmp[LIMIT_WHY_BYTES], why_ptrace[LIMIT_WHY_BYTES], why_process_madvise[LIMIT_WHY_BYTES],
                        why_foreign_files[LIMIT_WHY_BYTES], why_cgroup2[LIMIT_WHY_BYTES],
                        why_memory_reclaim[LIMIT_WHY_BYTES], why_damon[LIMIT_WHY_BYTES], why_realtime[LIMIT_WHY_BYTES];
};

/*
 * Tries everything on capd's own process and a short-lived child (which runs as `probe_uid` so that rights over other
 * users' processes are really proved). Needs to be called before threads exist. 0, or a negative errno when even
 * /proc cannot be read.
 */
int features_probe(const struct sys *sys, uid_t probe_uid, gid_t probe_gid, struct features *ret);

/* KSM merges pages or has merged some that are still merged. May change at any time. */
bool features_ksm_active(const struct sys *sys);

/*
 * DAMON is there and nobody has set it up or turned it on; if not, `why` says so. May change at any time: a few small files are
 * read. While an act by DAMON runs, it is capd itself that is found (damon_is_active()).
 */
bool features_damon(const struct sys *sys, char why[static LIMIT_WHY_BYTES]);

#endif
