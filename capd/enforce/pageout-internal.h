/* SPDX-License-Identifier: MIT */
/* pageout-internal.h: an act, as pageout.c keeps it and act.c carries it out. */
#ifndef CAPD_ENFORCE_PAGEOUT_INTERNAL_H
#define CAPD_ENFORCE_PAGEOUT_INTERNAL_H

#include "capd/enforce/pageout.h"
#include "capd/measure/candidates.h"
#include "order.h"
#include "step.h"
#include "trace.h"

#define NO_TARGET SIZE_MAX

struct target_state {
        bool dead; /* ended, forbidden or stuck: not touched again in this act */
        bool acted_on;
        uint64_t seen; /* bytes that are booked somewhere in the result */
};

/*
 * An act outlives the threads that work on it. Whatever a thread may still write to after it was given up (buffers of
 * reads, the candidates, the walk) is in its own struct run (act.c); everything here is touched only by the thread that
 * has the act, outside of guarded calls, and is complete before each of them: another thread can go on, or the owner
 * free it, at any guarded call.
 */
struct pageout {
        const struct sys *sys;
        struct features features;
        struct pageout_target *targets; /* in order */
        struct target_state *states;
        size_t *by_pid; /* indices of targets */
        size_t n_targets;
        struct legs legs;
        size_t leg; /* being worked on; legs.n: the pass is complete */

        uint64_t goal;
        bool swap;
        usec_t max_time, deadline;
        struct step step;
        bool started, finished;

        size_t current; /* target that a guarded call may be about, or NO_TARGET */
        struct act_result result;
        bool freed_known;
        struct left_frames *left;
        struct pageout_trace *trace;
        struct pageout_trace *before; /* of the act before; NULL once it was looked through */
        size_t before_at;             /* processes of it that were looked through */
};

#endif
