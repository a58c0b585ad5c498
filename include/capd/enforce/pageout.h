/* SPDX-License-Identifier: MIT */
/*
 * pageout.h: paging a group out, strategy 1 of DESIGN section 6: process_madvise(MADV_PAGEOUT) on pages that one
 * process maps alone, in short steps.
 *
 * An act is made from a request, run by a scanner thread (by another one if the first is given up), and asked what
 * really happened. It never believes the return value of a system call: every step reads the pages again.
 */
#ifndef CAPD_ENFORCE_PAGEOUT_H
#define CAPD_ENFORCE_PAGEOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "capd/base/sys.h"
#include "capd/measure/features.h"
#include "capd/measure/guard.h"
#include "capd/sample.h"

struct pageout_target {
        pid_t pid;
        uint64_t start_time;
        uint64_t mm_id;         /* one target for each address space is acted on */
        uint64_t resident;      /* bytes, for the order and for the floor */
        usec_t idle_for;        /* time without CPU use */
        bool protected_process; /* never touched */
};

/* Where the last pass over a group stopped; all 0 at the beginning. */
struct pageout_cursor {
        pid_t pid;
        uint64_t start_time;
        uint64_t address;
        uint64_t step; /* bytes of a step that keeps to max_stall, as far as it was learnt */
};

/* What the last act paged out, to see at the next one what came back. Bounded. */
struct pageout_trace;
struct pageout_trace *pageout_trace_free(struct pageout_trace *t);
DEFINE_CLEANUP(struct pageout_trace *, pageout_trace_free)

struct pageout_request {
        const struct pageout_target *targets; /* copied */
        size_t n_targets;
        uint64_t goal;          /* bytes to unmap; the act ends when they are, or when every target was passed once */
        uint64_t process_floor; /* targets with fewer resident bytes are left alone */
        bool swap;              /* anonymous memory can go somewhere */
        usec_t max_stall;       /* longest time one step may hold a target's mmap lock */
        usec_t max_time;        /* the whole act; LIMIT_ACT_USEC at most */
        struct pageout_cursor cursor;
        /* of the previous act on this group, or NULL; taken over unless pageout_new() fails */
        struct pageout_trace *trace;
};

struct pageout;

int pageout_new(const struct sys *sys, const struct features *features, const struct pageout_request *request,
                struct pageout **ret);
struct pageout *pageout_free(struct pageout *p);
DEFINE_CLEANUP(struct pageout *, pageout_free)

/* Acts. 0 done (goal reached or not: see the result); -ECANCELED the thread was given up or told to stop. */
int pageout_run(struct pageout *p, struct guard *guard);
/* After a thread was given up: marks the target it is stuck on, which is not tried again in this act. Its pid, or 0. */
pid_t pageout_give_up_current(struct pageout *p);

void pageout_result(const struct pageout *p, struct act_result *ret);
void pageout_get_cursor(const struct pageout *p, struct pageout_cursor *ret);
struct pageout_trace *pageout_take_trace(struct pageout *p); /* NULL if nothing was paged out */

/*
 * The order in which targets are taken: the cursor's process first (so that a pass goes on where the last stopped), then
 * the idlest and largest. Sorts in place. Pure; public for its test.
 */
void pageout_order(struct pageout_target *targets, size_t n, const struct pageout_cursor *cursor);

#endif
