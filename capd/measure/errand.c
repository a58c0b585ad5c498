/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#include "capd/limits.h"
#include "capd/measure/errand.h"
#include "capd/measure/worker.h"

struct errands {
        struct worker_pool *pool; /* of one thread */
        pthread_t owner;
};

struct errand {
        struct job job;
        errand_fn fn;
        void *arg;
        int result;
        bool done;
};

static int errand_job_run(struct job *job, struct guard *guard)
{
        const struct errand *x = (const struct errand *)job;

        return x->fn(x->arg, guard);
}

static void errand_job_give_up(struct job *job, const struct guard *guard)
{
        /* the pool has put down whom the thread hangs at */
}

static void errand_job_done(struct job *job, int result)
{
        struct errand *x = (struct errand *)job;

        x->result = result;
        x->done = true;
}

static const struct job_ops errand_job_ops = {
                .run = errand_job_run,
                .give_up = errand_job_give_up,
                .done = errand_job_done,
};

int errands_start(struct sys *sys)
{
        struct errands *e = calloc(1, sizeof(*e));
        int r;

        if (!e)
                return -ENOMEM;
        r = worker_pool_new(sys, 1, LIMIT_ERRAND_CALL_USEC, LIMIT_STUCK_ERRANDS, &e->pool);
        if (r < 0) {
                free(e);
                return r;
        }
        e->owner = pthread_self();
        sys->errands = e;
        return 0;
}

void errands_stop(struct sys *sys)
{
        if (!sys->errands)
                return;
        worker_pool_free(sys->errands->pool);
        free(sys->errands);
        sys->errands = NULL;
}

int errand_run(const struct sys *sys, struct guard *guard, errand_fn fn, void *arg)
{
        struct errands *e = sys->errands;
        struct errand x = {.job.ops = &errand_job_ops, .fn = fn, .arg = arg};

        if (!e || !pthread_equal(e->owner, pthread_self()))
                return fn(arg, guard);
        worker_pool_check(e->pool); /* there may be room for a thread again */
        worker_pool_submit(e->pool, &x.job);
        while (!x.done) {
                struct pollfd pfd = {.fd = worker_pool_fd(e->pool), .events = POLLIN};

                if (poll(&pfd, 1, (int)(LIMIT_ERRAND_CALL_USEC / USEC_PER_MSEC)) == 0)
                        worker_pool_check(e->pool);
                worker_pool_dispatch(e->pool);
        }
        return x.result;
}
