/* SPDX-License-Identifier: MIT */
/*
 * stuck.h: the processes that threads of this program hang at.
 *
 * A thread that is given up (guard.h) says here which process it was at, and is struck off when its call returns at last. Meanwhile
 * nobody else goes near that process: the next one would hang there, too. Who has LIMIT_STUCK_OF_USER of them at one time is
 * passed over with all of his processes, so that one user does not use up the threads of all.
 *
 * All functions may be called in any thread, and none of them waits for a process.
 */
#ifndef CAPD_MEASURE_STUCK_H
#define CAPD_MEASURE_STUCK_H

#include <stdbool.h>
#include <stdint.h>

#include "capd/base/sys.h"

/* One thread's; it lives for as long as the thread does. */
struct stuck {
        pid_t pids[2]; /* the call waits for one of the two; 0: for none that is known */
        /* private to stuck.c */
        int64_t users[2];
        usec_t since;
        bool back, listed, told;
        struct stuck *next;
};

/* The thread has been given up in a call about s->pids; no matter if it has come back already. */
void stuck_begin(const struct sys *sys, struct stuck *s);
/* The thread has come back. */
void stuck_end(struct stuck *s);

/* Whether a process must not be looked at now: a thread hangs at it, or at too many of its user's. */
bool stuck_passes_over(const struct sys *sys, pid_t pid);
/* The same for kcmp(2), which waits for either of two: whether this may be the one that a thread waits for. */
bool stuck_blamed(const struct sys *sys, pid_t pid);
/* The next process that a thread has been at since before `before`, each of them once; 0: no more. */
pid_t stuck_untold(usec_t before);
/* A user whose processes are all passed over; -1: there is none. */
int64_t stuck_user(void);

#endif
