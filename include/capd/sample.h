/* SPDX-License-Identifier: MIT */
/*
 * sample.h: what is known of a group at one moment, and the words for it.
 *
 * All sizes are bytes. SIZE_UNKNOWN stands for a figure that could not be had: it is never shown or used as 0.
 */
#ifndef CAPD_SAMPLE_H
#define CAPD_SAMPLE_H

#include <stdbool.h>
#include <stdint.h>

#include "capd/base/macros.h"

enum quality {
        QUALITY_UNKNOWN,     /* nothing is known, or the measurement failed */
        QUALITY_BOUND_UPPER, /* `resident` is at most this: the sum of RSS */
        QUALITY_BOUND_LOWER, /* `resident` is at least this */
        QUALITY_EXACT,       /* every page of every process was visited, or known to be one that had been */
        QUALITY_ESTIMATE,    /* sampled; see `error_bytes` */
        _QUALITY_MAX,
};

enum group_state {
        STATE_UNKNOWN,       /* not measured yet, or the measurement failed */
        STATE_OK,            /* under its cap */
        STATE_OVER,          /* over its cap, nothing is being done (see the reason) */
        STATE_ENFORCING,     /* over its cap and being brought down */
        STATE_THRASHING,     /* what is paged out comes straight back */
        STATE_UNENFORCEABLE, /* cannot be brought down (see the reason) */
        STATE_OBSERVED,      /* over its cap, but Action=observe or --dry-run */
        STATE_PAUSED,        /* capctl pause */
        _STATE_MAX,
};

/* The names of DESIGN.md sections 2 and 6: "exact", "ok", … Never NULL. Implemented in capd/base/names.c. */
const char *quality_to_string(enum quality q);
const char *group_state_to_string(enum group_state s);

/* The result of looking at a group. The cheap part is refreshed at every look, the counted part at a count. */
struct group_sample {
        /* cheap: from /proc/PID/statm of every member */
        uint32_t processes;      /* members, each process once */
        uint32_t address_spaces; /* distinct ones among them */
        uint32_t unread;         /* members whose memory could not be read at the last count */
        usec_t bounds_at;        /* when the cheap part was read; 0 never */
        uint64_t rss_sum;        /* each address space once */
        uint64_t upper;          /* resident is at most this: rss_sum and the error of the kernel's counters */
        uint64_t lower; /* resident is at least this: the largest anonymous RSS less counter error and KSM; 0 knows nothing */
        uint64_t vm_sum; /* virtual size, each address space once */

        /* counted */
        enum quality quality; /* of `resident` */
        usec_t tried_at;      /* end of the last try to count, whatever came of it; 0 never */
        usec_t counted_at; /* start of the scan that gave what follows (of a bound: the look that gave it); 0 never */
        usec_t count_cost; /* CPU time of that scan, microseconds */
        uint64_t resident; /* distinct page frames mapped by the group */
        uint64_t anon, file, shmem; /* a partition of resident */
        uint64_t mapped; /* page table entries that VmRSS counts, summed: resident + pages counted again; see count.h */
        uint64_t exclusive;      /* part of resident mapped exactly once on the whole host */
        uint64_t exclusive_anon; /* the anonymous part of that */
        uint64_t hugetlb;        /* distinct hugetlb pages; not part of resident */
        uint64_t swap;           /* distinct swap slots */

        /* for QUALITY_ESTIMATE */
        uint64_t error_bytes; /* `resident` is within so much of the truth in 95 of 100 estimates */
        uint32_t sampled;     /* basis points of what is mapped that were read */

        /* by mapping counts: only where asked for */
        bool have_private;
        uint64_t private_bytes; /* mapped by nobody outside the group */
        uint64_t shared_bytes;  /* resident - private */
        uint64_t pss_sum;       /* SIZE_UNKNOWN unless asked for */
        uint64_t inside;        /* part of private_bytes mapped more than once: shared, but inside the group alone */
        uint64_t inside_swap;   /* the part of that which needs swap to go: anonymous and shmem */
};

/*
 * What the kernel has booked for the cgroups that a group owns: those of which every task, and every task below, is the
 * group's. Of the topmost ones only, so that nothing is booked twice. SIZE_UNKNOWN where a kernel does not tell.
 */
struct group_cgroups {
        usec_t at;                                       /* 0: never looked */
        uint32_t owned;                                  /* topmost owned cgroups; 0: none, and all below is unknown */
        uint32_t members_inside;                         /* members that live in them */
        uint64_t current;                                /* memory.current */
        uint64_t swap;                                   /* memory.swap.current */
        uint64_t anon, file, shmem, kernel, file_mapped; /* memory.stat; file has shmem in it */
        uint64_t unmapped_cache; /* file - file_mapped, as far as it is not shmem: what memory.reclaim takes first */
        uint64_t swap_cache;     /* anonymous pages that nobody maps any more, written to swap but not given back yet */
        uint64_t sockets;        /* network buffers */
};

/* Counters that only grow, from which decide() sees whether a group works against its cap. SIZE_UNKNOWN: not known. */
struct group_pressure {
        usec_t at;         /* 0: never looked */
        uint64_t refaults; /* bytes read back soon after they were reclaimed: workingset_refault_* of the owned cgroups */
        uint64_t major_faults; /* of the members; those that have ended stay in it */
        uint64_t swap_in;      /* bytes, of the whole host: pswpin */
        usec_t stalled;        /* PSI "some" total: of the owned cgroups (summed), else of the host */
        bool stalled_host;     /* it is the host's */
};

/* Age of `resident` at a time of CLOCK_MONOTONIC; USEC_INFINITY if it is not known. */
usec_t group_sample_age(const struct group_sample *s, usec_t now);

/* Makes the counted part unknown; the cheap part is left alone. */
void group_sample_forget(struct group_sample *s);

/* What really happened in one act on one group. */
struct act_result {
        usec_t started, ended; /* of taking memory away; what was freed is looked at for up to 0.2 s afterwards */
        uint64_t attempted;    /* bytes handed to the kernel */
        uint64_t unmapped;     /* of those, no longer mapped right afterwards */
        uint64_t freed;        /* of those, frames given back to the host by then; of more than 64 MiB by a sample */
        uint64_t cache_taken; /* page cache that nobody mapped and that was reclaimed as well: the price of memory.reclaim */
        uint64_t refaulted; /* paged out by the previous act on this group and mapped again at the start of this one */
        /* why the rest was not tried or did not move, in bytes */
        uint64_t left_shared;    /* mapped more than once: process_madvise(2) skips it */
        uint64_t left_locked;    /* mlock(2) or otherwise unevictable */
        uint64_t left_dirty;     /* file pages that must be written first */
        uint64_t left_no_swap;   /* anonymous or shmem and no swap is free */
        uint64_t left_forbidden; /* not permitted by the kernel (EPERM, or file pages without the right to write) */
        uint64_t left_floor;     /* in processes below ProcessFloor= or protected */
        uint64_t left_busy;      /* came back or stayed for no visible reason: in use */
        uint32_t processes;      /* acted on */
        uint32_t gone;           /* ended meanwhile */
        uint32_t stuck;          /* given up because a call did not return in time */
        int error;               /* first errno that stopped an attempt on a process, or 0 */
};

/* Memory of the host, from /proc/meminfo. */
struct host_memory {
        uint64_t total;
        uint64_t free;
        uint64_t available;
        uint64_t swap_total;
        uint64_t swap_free;
        uint32_t used_basis_points; /* (total - available) / total, in hundredths of a percent */
};

#endif
