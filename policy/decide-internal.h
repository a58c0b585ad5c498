/* SPDX-License-Identifier: MIT */
/*
 * decide-internal.h: what the parts of decide() share.
 *
 * decide.c finds out where the group stands, governor.c judges what the last act did and what came back, enforce-plan.c chooses
 * the next act or says why there is none.
 */
#ifndef POLICY_DECIDE_INTERNAL_H
#define POLICY_DECIDE_INTERNAL_H

#include "capd/policy/decide.h"

/* After an act the group is left alone for this part of SampleInterval=. */
#define SETTLE_FRACTION 0.5
/* The first wait after an act that did not help, doubled each time up to the second. */
#define BACKOFF_FIRST (10 * USEC_PER_SEC)
#define BACKOFF_LAST  (15 * 60 * USEC_PER_SEC)

enum standing { STANDING_UNKNOWN, STANDING_UNDER, STANDING_OVER, STANDING_UNDECIDED };

struct decision {
        const struct policy_daemon *daemon;
        const struct decide_settings *settings;
        const struct decide_facts *facts;
        const struct host_memory *host;
        usec_t now;
        struct decide_budget *budget;
        struct decide_memory *memory;
        struct decide_verdict *verdict;
        enum standing standing;
        bool fresh;        /* the exact count is of this look */
        bool estimated;    /* an estimate is */
        bool tried;        /* a count was tried since this look, whatever came of it */
        bool judged;       /* an act was judged in this call */
        usec_t settled_at; /* when the group may be acted on again; 0 now */
};

static inline uint64_t less(uint64_t a, uint64_t b)
{
        return a - MIN(a, b);
}

/* decide.c */
void enter_state(struct decision *d, enum group_state state, const char *format, ...) _printf_(3, 4);
void consider_count(struct decision *d); /* asks for one, or for an estimate, if it is due and within CPUBudget= */
bool host_is_short(const struct decision *d);

/* governor.c */
void governor_judge_act(struct decision *d);    /* the last one, once */
void governor_judge_return(struct decision *d); /* of what it paged out, before another one */
void governor_back_off(struct decision *d);
void governor_forgive(struct decide_memory *m);
void governor_nothing_came_back(struct decide_memory *m);
bool governor_thrashing(const struct decide_memory *m);
bool governor_hopeless(const struct decide_memory *m); /* it is said to be thrashing or unenforceable */
void governor_last_resort(struct decision *d);         /* at the end, when the state is known */
/* Names the largest obstacle of an act, with the way out. */
void describe_obstacle(const struct act_result *a, char *buf, size_t size);

/* enforce-plan.c */
void plan_refill_tokens(struct decision *d); /* ReclaimRate= */
void plan_over(struct decision *d);
void plan_under(struct decision *d);
/* What can go, of pages that one process maps alone. */
uint64_t plan_exclusive(const struct decision *d);
/* How the group would be brought down by `goal` bytes. false: who else maps its pages must be counted first. */
bool plan_choose(const struct decision *d, uint64_t goal, struct strategy_choice *ret);

#endif
