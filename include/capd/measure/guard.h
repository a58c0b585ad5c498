/* SPDX-License-Identifier: MIT */
/*
 * guard.h: how a scanner thread can be given up.
 *
 * A system call that needs a target's mmap lock can block for as long as the target likes. Every such call is made
 * between guard_enter() and guard_leave(). While a thread is between the two, its owner may give it up: the
 * job then goes on in another thread, and the first, if it ever returns, learns from guard_leave() that it must not
 * touch anything the job shares: it frees what is its own alone (descriptors and buffers on its stack) and returns
 * -ECANCELED. Outside the pair a thread is never given up.
 *
 * A NULL guard (capctl measure, tests) never gives up.
 */
#ifndef CAPD_MEASURE_GUARD_H
#define CAPD_MEASURE_GUARD_H

#include <stdbool.h>
#include <sys/types.h>

struct guard {
        void (*enter)(struct guard *g, pid_t pid);
        bool (*leave)(struct guard *g);    /* false: given up */
        bool (*stopping)(struct guard *g); /* true: the job is wanted no more; end early with -ECANCELED */
        void (*help)(struct guard *g);     /* the job would be done sooner by more threads; NULL: there are none */
};

static inline void guard_enter(struct guard *g, pid_t pid)
{
        if (g)
                g->enter(g, pid);
}

static inline bool guard_leave(struct guard *g)
{
        return !g || g->leave(g);
}

static inline bool guard_stopping(struct guard *g)
{
        return g && g->stopping(g);
}

static inline void guard_call_for_help(struct guard *g)
{
        if (g && g->help)
                g->help(g);
}

#endif
