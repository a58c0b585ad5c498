/* SPDX-License-Identifier: MIT */
/*
 * guard.h: how a scanner thread can be given up.
 *
 * A system call that needs a target's mmap lock can block for as long as the target likes. So can one that asks whether it may be
 * looked at while it executes a program (exec_update_lock): do_close_on_exec() in fs/file.c waits for the servers of
 * the files that it closes, which with FUSE may be anybody's. Seen to wait with 6.18: kcmp(2), and reading of /proc/PID stat, the stat of each
 * task, exe, ns/pid, maps, smaps, pagemap and io; not statm, status, cgroup, schedstat, comm and oom_score_adj. Every such call is made
 * between guard_enter() and guard_leave(). While a thread is between the two, its owner may give it up: the
 * job then goes on in another thread, and the first, if it ever returns, learns from guard_leave() that it must not
 * touch anything the job shares: it frees what is its own alone (descriptors and buffers on its stack) and returns
 * -ECANCELED. Outside the pair a thread is never given up. `pid` is whom the call waits for, 0: nobody that is known.
 *
 * A NULL guard (capctl measure, tests) never gives up.
 */
#ifndef CAPD_MEASURE_GUARD_H
#define CAPD_MEASURE_GUARD_H

#include <stdbool.h>
#include <sys/types.h>

struct guard {
        pid_t other; /* if not 0, the call waits for this process or for the one that enter() is told */
        void (*enter)(struct guard *g, pid_t pid);
        bool (*leave)(struct guard *g);    /* false: given up */
        bool (*stopping)(struct guard *g); /* true: the job is wanted no more; end early with -ECANCELED */
        void (*help)(struct guard *g);     /* the job would be done sooner by more threads; NULL: there are none */
};

static inline void guard_enter(struct guard *g, pid_t pid)
{
        if (g) {
                g->other = 0;
                g->enter(g, pid);
        }
}

/* For a call that waits for either of two, and does not say for which: kcmp(2). */
static inline void guard_enter_for_either(struct guard *g, pid_t a, pid_t b)
{
        if (g) {
                g->other = b;
                g->enter(g, a);
        }
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
