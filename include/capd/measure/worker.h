/* SPDX-License-Identifier: MIT */
/*
 * worker.h: the pool of scanner threads.
 *
 * Whatever can block on another process runs here, as a job. Jobs are taken in order. A thread that has none may help
 * with one that called for it, as long as one more stays free for what comes. A thread that hangs in a guarded
 * call (guard.h) for longer than the pool's limit is given up: the job is told so, and another thread runs it
 * on from there, past the process that the call was about (stuck.h). Lost threads are replaced until as many are lost as the pool allows;
 * one that comes back at last ends quietly.
 *
 * The pool belongs to one thread, its owner, which alone calls the functions below; `done` and `give_up` run in it.
 */
#ifndef CAPD_MEASURE_WORKER_H
#define CAPD_MEASURE_WORKER_H

#include <stdbool.h>
#include <sys/types.h>

#include "capd/base/sys.h"
#include "capd/measure/guard.h"

struct job;

struct job_ops {
        /*
         * In a scanner thread; called again in another one after give_up(). Its value goes to done(), the first negative one if there were
         * several. While the job has called for help (guard_call_for_help()) it may run in several threads at one time, up to
         * job->threads: then it returns when nothing is left for this thread to do, and is done when all have returned.
         */
        int (*run)(struct job *job, struct guard *guard);
        /* The thread that ran the job with this guard is lost: mark what it is stuck on, and log it. Others may be running it. */
        void (*give_up)(struct job *job, const struct guard *guard);
        /* The job is the owner's again: take the result and free it. -EBUSY: no thread is left to run it; -ECANCELED: stopping. */
        void (*done)(struct job *job, int result);
};

/* The first member of every job's own struct. */
struct job {
        const struct job_ops *ops;
        unsigned threads; /* that may run it at one time; 0 is 1 */
        /* private to worker.c */
        struct job *next, *next_open;
        unsigned running;
        bool queued, open;
        int result;
};

struct worker_pool;

/*
 * Starts `threads` of them. One is given up in a call of more than `max_call` microseconds, and replaced as long as no more than `max_lost` are lost in the
 * whole program. 0 or a negative errno.
 */
int worker_pool_new(const struct sys *sys, unsigned threads, usec_t max_call, unsigned max_lost,
                    struct worker_pool **ret);
/* Tells running jobs to stop, waits for at most a second for them, calls done() for every job and frees the pool. */
struct worker_pool *worker_pool_free(struct worker_pool *p);
DEFINE_CLEANUP(struct worker_pool *, worker_pool_free)

void worker_pool_submit(struct worker_pool *p, struct job *job);
/* Readable when a job is done: then call worker_pool_dispatch(), which calls done() of each. */
int worker_pool_fd(const struct worker_pool *p);
void worker_pool_dispatch(struct worker_pool *p);
/* Gives up threads that hang, at the second call that finds them so. Returns how many were; to be called now and then while jobs
 * run, so that a thread which nobody let run has the time between. */
unsigned worker_pool_check(struct worker_pool *p);
bool worker_pool_idle(const struct worker_pool *p);
/* Threads that one job can make use of here: as many as there are processors that this process may run on. */
unsigned worker_useful_threads(void);
/* Threads lost and not come back yet, in this process. */
unsigned worker_lost_threads(void);

#endif
