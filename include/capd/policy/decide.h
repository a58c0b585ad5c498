/* SPDX-License-Identifier: MIT */
/*
 * decide.h: policy, samples, host memory and the time in; a plan out. Pure.
 *
 * States, watermarks, back-off and the time of the next look are decided here and nowhere else. The engine keeps one
 * `struct decide_memory` for each group, hands in what it knows at every tick and after every count and act, and does
 * what the verdict says: count the group exactly, act on it, or nothing until `next_look`.
 */
#ifndef CAPD_POLICY_DECIDE_H
#define CAPD_POLICY_DECIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "capd/limits.h"
#include "capd/policy/policy.h"
#include "capd/policy/strategy.h"
#include "capd/sample.h"

/* A group's settings as they apply now: its section's, with percentages resolved and a temporary cap applied. Bytes. */
struct decide_settings {
        bool has_cap;
        uint64_t cap;
        uint64_t low; /* enforcement stops there */
        enum action action;
        uint64_t reclaim_rate;       /* bytes a second, 0 unlimited */
        uint32_t pressure_threshold; /* basis points of host memory in use; 0 always */
        enum last_resort last_resort;
        usec_t last_resort_after;
        bool paused;
        bool dry_run;
};

void decide_settings_from(const struct policy *p, const struct policy_section *s, uint64_t host_total,
                          struct decide_settings *ret);
/* low for another cap than the section's, for a temporary one. */
uint64_t decide_low_watermark(const struct policy_section *s, uint64_t cap);

/* CPU time for exact counts of groups that are under their caps: all groups draw on one budget. All zero at the beginning. */
struct decide_budget {
        double usec;        /* may go below zero by one count: no group is too large to be counted ever */
        double spare;       /* set aside for cheap ones while it is below zero */
        usec_t refilled_at; /* 0: full */
};

/* What decide() remembers of a group from one call to the next. All zero at the beginning. */
struct decide_memory {
        enum group_state state;
        usec_t state_since;
        char reason[LIMIT_REASON_BYTES];

        /* what it took to look at its pages */
        usec_t exact_at, estimated_at; /* start of the last such count, 0 none since the group's beginning */
        usec_t exact_cost, estimate_cost;
        usec_t estimate_asked; /* the look at which one was asked for */

        /* growth */
        usec_t grown_at;
        uint64_t grown_from; /* resident (or the bound looked at) then */
        double trend;        /* bytes a second, smoothed */

        /* back-off after acts that did not help */
        unsigned failures;     /* in a row */
        usec_t retry_at;       /* not acted on before; 0 free */
        uint64_t working_set;  /* inferred when thrashing, 0 unknown */
        usec_t under_since;    /* under its cap; 0 it is not */
        usec_t hopeless_since; /* unenforceable or thrashing, retries included; 0 it is not. For LastResort= */
        bool tried_idle;       /* the one retry that idleness earns was made */

        /* strategy */
        struct strategy_choice choice; /* of the last act, or why there was none */
        unsigned useless;              /* 1 << enum strategy, until the back-off is over */
        bool private_asked;            /* the last count was to tell who else maps the shared pages */

        /* the governor's view of the last act */
        struct group_pressure base; /* when it was asked for */
        uint64_t came_back_bytes;   /* of what it unmapped, by the kernel's counters; SIZE_UNKNOWN not known */
        uint32_t stalled; /* basis points of the time since, in which some task waited for memory; UINT32_MAX unknown */
        bool return_judged;

        /* ReclaimRate= */
        double tokens; /* bytes that may be paged out now */
        usec_t tokens_at;

        usec_t last_act_ended;  /* the act already judged */
        uint64_t last_unmapped; /* by it */
        uint64_t traced;        /* by the last process_madvise, if what became of it is still to be seen by the next */
        uint64_t last_goal;     /* of the act asked for last */
        uint64_t last_swap_total; /* of the host, then */
        bool cut_short;           /* the last act ended before it reached its goal */
        unsigned came_back;       /* acts in a row whose work came straight back */
        uint64_t came_back_of;    /* bytes that these unmapped */
        bool thrashing;           /* enough of them */
        bool had_swap;
};

/* What this host offers for bringing groups down. Each text is NULL where the means is usable, else why it is not. */
struct decide_means {
        const char *no_madvise, *no_damon, *no_reclaim;
        bool reclaim_anon_only, reclaim_swappiness; /* see strategy.h */
        bool private_counts;                        /* it can be told who else maps a page */
};

/* What is known of the group now. */
struct decide_facts {
        const struct group_sample *sample;
        const struct act_result *last_act; /* NULL: none since the group exists */
        uint64_t resident_before;          /* exact counts around last_act; SIZE_UNKNOWN if there is none */
        uint64_t resident_after;
        bool forced;    /* capctl enforce: whatever back-off and the threshold say, and down to the low watermark */
        bool can_count; /* page frames can be seen */
        const struct decide_means *means;
        const struct group_cgroups *cgroups;   /* NULL: not looked at */
        const struct group_pressure *pressure; /* NULL: not looked at */
        usec_t idle_for;                       /* none of its processes has used the CPU for so long */
        /* Where decide_asks_what_moved(): since the exact count began, `resident` has come nearer to the cap by no more than `moved`. */
        bool moved_known;
        uint64_t moved;
};

struct decide_verdict {
        bool count;         /* count exactly, now */
        bool estimate;      /* instead: read a sample of its pages */
        bool private_count; /* and by whom else its pages are mapped, and which are its own alone */
        bool act;           /* page out, by `strategy` */
        struct strategy_choice choice;
        uint64_t goal;    /* bytes to bring down */
        bool swap;        /* anonymous memory can go */
        bool kill;        /* LastResort=kill: its time has come */
        usec_t next_look; /* at the latest */
        bool state_changed;
};

/*
 * Judges one group. Never fails. Not to be called for a group while a count or an act on it is running: what it would
 * judge is about to change.
 */
void decide(const struct policy_daemon *daemon, const struct decide_settings *settings,
            const struct decide_facts *facts, const struct host_memory *host, usec_t now, struct decide_budget *budget,
            struct decide_memory *memory, struct decide_verdict *ret);

/* Whether to find out what moved: the cheap bounds of a group that was counted before lie on both sides of its cap. */
bool decide_asks_what_moved(const struct policy_daemon *daemon, const struct decide_settings *settings,
                            const struct decide_memory *memory, const struct group_sample *s, usec_t now);

/* A member since the exact count began. */
struct decide_member {
        bool known;           /* it was a member then, and what follows was seen of it then and now */
        uint64_t rss_then;    /* bytes */
        uint64_t rss;         /* now */
        uint64_t rss_error;   /* of either reading */
        uint64_t faults;      /* minor and major, taken since by all its threads; of no meaning if it is not known */
        uint64_t fault_bytes; /* that one fault can map at most: what one page table holds */
};

/*
 * At most so many bytes of a member have come into `resident` since, or gone out of it. A page that becomes a member's own (copy on
 * write) leaves its RSS as it was, and what it unmapped may hide what it mapped: but for each page that comes, one of its threads took a
 * fault, or the RSS grew. Who joined brings no more than it has. A fork maps pages that its parent has: nothing comes by it but
 * what the child then faults in, and a child counts as one who joined.
 *
 * Not seen so, and left to ExactInterval=: KSM taking apart what it merged, khugepaged giving a member a huge page of its own for
 * small ones that it shared, and others that write to a member's memory (ptrace(2), process_vm_writev(2), an address space shared
 * with a process outside the group), whose faults are booked to them.
 */
uint64_t decide_came(const struct decide_member *m);
uint64_t decide_went(const struct decide_member *m);

/*
 * How the group would be brought down by `goal` bytes, for showing it: the same judgement as decide() makes. Whether who else
 * maps its pages is known is seen from the sample.
 */
void decide_strategy(const struct decide_facts *facts, bool swap, unsigned useless, uint64_t goal,
                     struct strategy_choice *ret);

/*
 * What to show of a sample: the last exact count, unless the cheap bounds of a later look prove it outdated, and then the
 * bound that does. Copies *s to *ret with resident and quality set accordingly.
 */
void decide_presentable(const struct group_sample *s, struct group_sample *ret);

#endif
