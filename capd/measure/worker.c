/* SPDX-License-Identifier: MIT */
/*
 * worker.c: scanner threads that can be lost.
 *
 * Each thread has a `struct worker` with one atomic phase. Outside guarded calls it is RUNNING (or IDLE) and owns the
 * job it runs; inside one it is CALLING, and whoever changes CALLING first decides: the thread itself back to RUNNING when the
 * call returns, or the pool to LOST. After LOST the thread owns nothing but its part in its worker, which is freed when both it and
 * the pool have let go of it; it does not even look at the pool, which may be gone by then. What it hangs at is in the list of stuck.h
 * until it comes back.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "capd/base/log.h"
#include "capd/limits.h"
#include "capd/measure/stuck.h"
#include "capd/measure/worker.h"

#define MAX_WORKERS    16U
#define STACK_BYTES    (512U * 1024)
#define STOP_WAIT_USEC USEC_PER_SEC

enum phase { PHASE_IDLE, PHASE_RUNNING, PHASE_CALLING, PHASE_LOST };

struct worker {
        struct guard guard; /* first: guards are cast back */
        const struct sys *sys;
        struct worker_pool *pool;
        struct job *job;
        pthread_t thread;
        _Atomic int phase;
        _Atomic usec_t since;     /* start of the guarded call */
        _Atomic pid_t pid, other; /* whom it may wait for */
        usec_t overdue;           /* the same, of a call that the last check found to take too long */
        _Atomic bool stopping;
        _Atomic unsigned holders; /* of the struct: the pool and the thread */
        struct stuck stuck;
};

struct worker_pool {
        const struct sys *sys;
        usec_t max_call;
        unsigned max_lost;
        int event_fd;
        struct worker *workers[MAX_WORKERS];
        unsigned n_workers, wanted;
        pthread_mutex_t mutex; /* over what follows */
        pthread_cond_t wake;
        struct job *queue, **queue_tail;
        struct job *finished, **finished_tail;
        struct job *open;   /* running, and would be done sooner by more threads */
        unsigned n_running; /* threads */
        bool stopping;
};

static _Atomic unsigned lost_threads; /* outlives any pool: a lost thread counts itself out when it comes back */

unsigned worker_lost_threads(void)
{
        return atomic_load(&lost_threads);
}

unsigned worker_useful_threads(void)
{
        cpu_set_t set;

        /* it fails where the host has more processors than the set has room for */
        return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)MAX(CPU_COUNT(&set), 1) : MAX_WORKERS;
}

static void worker_enter(struct guard *g, pid_t pid)
{
        struct worker *w = (struct worker *)g;

        atomic_store(&w->pid, pid);
        atomic_store(&w->other, g->other);
        atomic_store(&w->since, w->sys->ops->now(w->sys));
        atomic_store(&w->phase, PHASE_CALLING);
}

static bool worker_leave(struct guard *g)
{
        struct worker *w = (struct worker *)g;
        int expected = PHASE_CALLING;

        return atomic_compare_exchange_strong(&w->phase, &expected, PHASE_RUNNING);
}

static bool worker_stopping(struct guard *g)
{
        return atomic_load(&((struct worker *)g)->stopping);
}

static void append(struct job ***tail, struct job *job)
{
        job->next = NULL;
        **tail = job;
        *tail = &job->next;
}

static struct job *pop(struct job **head, struct job ***tail)
{
        struct job *job = *head;

        if (job) {
                *head = job->next;
                if (!*head)
                        *tail = head;
        }
        return job;
}

static void notify_owner(struct worker_pool *p)
{
        uint64_t one = 1;

        if (write(p->event_fd, &one, sizeof(one)) < 0)
                return; /* EAGAIN: the counter is full, so the owner has been told */
}

static void worker_let_go(struct worker *w)
{
        if (atomic_fetch_sub(&w->holders, 1) == 1)
                free(w);
}

/* -- jobs; with the mutex held -- */

static void queue_job(struct worker_pool *p, struct job *job)
{
        job->queued = true;
        append(&p->queue_tail, job);
}

static void close_job(struct worker_pool *p, struct job *job)
{
        job->open = false;
        for (struct job **at = &p->open; *at; at = &(*at)->next_open)
                if (*at == job) {
                        *at = job->next_open;
                        return;
                }
}

static void finish_job(struct worker_pool *p, struct job *job, int result)
{
        close_job(p, job);
        job->result = result;
        append(&p->finished_tail, job);
        notify_owner(p);
}

/* A job for a thread that has none. Helping leaves one thread free, so that what is submitted next need not wait for a long job. */
static struct job *take_job(struct worker_pool *p)
{
        struct job *job = pop(&p->queue, &p->queue_tail);

        if (job) {
                job->queued = false;
                if (job->running == 0)
                        job->result = 0;
                return job;
        }
        if (p->n_running + 1 >= p->n_workers)
                return NULL;
        for (job = p->open; job; job = job->next_open)
                if (job->running < job->threads)
                        return job;
        return NULL;
}

/* A thread has come back from a job. */
static void leave_job(struct worker_pool *p, struct job *job, int r)
{
        close_job(p, job); /* there was nothing left for this one */
        if (job->result >= 0)
                job->result = r;
        if (--job->running == 0 && !job->queued)
                finish_job(p, job, job->result);
}

static void worker_help(struct guard *g)
{
        struct worker *w = (struct worker *)g;
        struct worker_pool *p = w->pool;

        pthread_mutex_lock(&p->mutex);
        if (!w->job->open && w->job->threads > 1) {
                w->job->open = true;
                w->job->next_open = p->open;
                p->open = w->job;
                pthread_cond_broadcast(&p->wake);
        }
        pthread_mutex_unlock(&p->mutex);
}

static void *worker_main(void *arg)
{
        struct worker *w = arg;
        struct worker_pool *p = w->pool;

        pthread_mutex_lock(&p->mutex);
        for (;;) {
                struct job *job = NULL;
                int r;

                while (!p->stopping && !(job = take_job(p)))
                        pthread_cond_wait(&p->wake, &p->mutex);
                if (p->stopping)
                        break;
                w->job = job;
                job->running++;
                p->n_running++;
                atomic_store(&w->phase, PHASE_RUNNING);
                pthread_mutex_unlock(&p->mutex);

                r = job->ops->run(job, &w->guard);
                if (atomic_load(&w->phase) == PHASE_LOST) {
                        stuck_end(&w->stuck);
                        atomic_fetch_sub(&lost_threads, 1);
                        worker_let_go(w);
                        return NULL;
                }
                pthread_mutex_lock(&p->mutex);
                atomic_store(&w->phase, PHASE_IDLE);
                w->job = NULL;
                p->n_running--;
                leave_job(p, job, r);
        }
        pthread_mutex_unlock(&p->mutex);
        return NULL;
}

static int worker_start(struct worker_pool *p)
{
        struct worker *w;
        pthread_attr_t attr;
        sigset_t all, old;
        int r;

        if (p->n_workers >= MAX_WORKERS)
                return -EAGAIN;
        w = calloc(1, sizeof(*w));
        if (!w)
                return -ENOMEM;
        w->guard = (struct guard){
                        .enter = worker_enter, .leave = worker_leave, .stopping = worker_stopping, .help = worker_help};
        atomic_store(&w->holders, 2);
        w->sys = p->sys;
        w->pool = p;
        pthread_attr_init(&attr);
        pthread_attr_setstacksize(&attr, STACK_BYTES);
        sigfillset(&all); /* signals are the owner's */
        pthread_sigmask(SIG_SETMASK, &all, &old);
        r = pthread_create(&w->thread, &attr, worker_main, w);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        pthread_attr_destroy(&attr);
        if (r != 0) {
                free(w);
                return -r;
        }
        pthread_mutex_lock(&p->mutex);
        p->workers[p->n_workers++] = w;
        pthread_mutex_unlock(&p->mutex);
        return 0;
}

int worker_pool_new(const struct sys *sys, unsigned threads, usec_t max_call, unsigned max_lost,
                    struct worker_pool **ret)
{
        struct worker_pool *p = calloc(1, sizeof(*p));
        int r = 0;

        if (!p)
                return -ENOMEM;
        p->sys = sys;
        p->wanted = threads;
        p->max_call = max_call;
        p->max_lost = max_lost;
        p->queue_tail = &p->queue;
        p->finished_tail = &p->finished;
        pthread_mutex_init(&p->mutex, NULL);
        pthread_cond_init(&p->wake, NULL);
        p->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (p->event_fd < 0)
                r = -errno;
        for (unsigned i = 0; i < threads && r >= 0; i++)
                r = worker_start(p);
        if (r < 0) {
                worker_pool_free(p);
                return r;
        }
        *ret = p;
        return 0;
}

void worker_pool_submit(struct worker_pool *p, struct job *job)
{
        pthread_mutex_lock(&p->mutex);
        job->running = 0;
        job->queued = job->open = false;
        if (p->n_workers == 0)
                finish_job(p, job, -EBUSY);
        else {
                queue_job(p, job);
                pthread_cond_signal(&p->wake);
        }
        pthread_mutex_unlock(&p->mutex);
}

int worker_pool_fd(const struct worker_pool *p)
{
        return p->event_fd;
}

void worker_pool_dispatch(struct worker_pool *p)
{
        struct job *jobs;
        uint64_t n;

        if (read(p->event_fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
                log_debug("Cannot read the event counter: %m, ignoring");
        /* Only what is there now: done() may submit a job that is finished at once, and so on for ever. */
        pthread_mutex_lock(&p->mutex);
        jobs = p->finished;
        p->finished = NULL;
        p->finished_tail = &p->finished;
        pthread_mutex_unlock(&p->mutex);
        while (jobs) {
                struct job *job = jobs;

                jobs = job->next;
                job->ops->done(job, job->result);
        }
}

/* The thread is nobody's from now on. */
static void note_lost(struct worker_pool *p, struct worker *w)
{
        w->stuck.pids[0] = atomic_load(&w->pid);
        w->stuck.pids[1] = atomic_load(&w->other);
        atomic_fetch_add(&lost_threads, 1);
        stuck_begin(p->sys, &w->stuck);
        pthread_detach(w->thread);
        w->job->ops->give_up(w->job, &w->guard);
        worker_let_go(w);
}

/*
 * Takes the worker out of the pool and its job back. Until the job is in the queue again it counts as running, so that no other
 * thread which is at it can finish it.
 */
static void give_up(struct worker_pool *p, unsigned i)
{
        struct worker *w = p->workers[i];
        struct job *job = w->job;

        note_lost(p, w);
        pthread_mutex_lock(&p->mutex);
        p->workers[i] = p->workers[--p->n_workers];
        pthread_mutex_unlock(&p->mutex);
        if (worker_lost_threads() <= p->max_lost && worker_start(p) < 0)
                log_debug("Cannot start another scanner thread, ignoring");

        pthread_mutex_lock(&p->mutex);
        p->n_running--;
        job->running--;
        if (!job->queued) {
                job->queued = true;
                job->next = p->queue;
                p->queue = job;
                if (!job->next)
                        p->queue_tail = &job->next;
        }
        while (p->n_workers == 0 && (job = pop(&p->queue, &p->queue_tail)))
                finish_job(p, job, -EBUSY);
        pthread_cond_signal(&p->wake);
        pthread_mutex_unlock(&p->mutex);
}

/*
 * Whether a thread is lost: in one call for too long, and still at the next check. A machine that stood still, or was stopped as a
 * whole, makes every call too long; the check may be the first that runs again, and the thread has until the next one.
 */
static bool is_lost(struct worker *w, usec_t max_call, usec_t now)
{
        usec_t since = atomic_load(&w->since);
        int expected = PHASE_CALLING;

        /* `since` is stored before CALLING: seen as CALLING, it is of this call or of a later one */
        if (atomic_load(&w->phase) != PHASE_CALLING || now <= since || now - since <= max_call ||
            atomic_load(&w->since) != since)
                return false;
        if (w->overdue != since) {
                w->overdue = since;
                return false;
        }
        return atomic_compare_exchange_strong(&w->phase, &expected, PHASE_LOST);
}

unsigned worker_pool_check(struct worker_pool *p)
{
        usec_t now = p->sys->ops->now(p->sys);
        unsigned n = 0;

        for (unsigned i = 0; i < p->n_workers;) {
                if (is_lost(p->workers[i], p->max_call, now)) {
                        give_up(p, i);
                        n++;
                } else
                        i++;
        }
        while (p->n_workers < p->wanted && worker_lost_threads() < p->max_lost)
                if (worker_start(p) < 0) {
                        log_debug("Cannot start a scanner thread, ignoring");
                        break;
                }
        return n;
}

bool worker_pool_idle(const struct worker_pool *p)
{
        struct worker_pool *q = (struct worker_pool *)p;
        bool idle;

        pthread_mutex_lock(&q->mutex);
        idle = !p->queue && !p->finished && p->n_running == 0;
        pthread_mutex_unlock(&q->mutex);
        return idle;
}

static void cancel_queue(struct worker_pool *p)
{
        struct job *job;

        pthread_mutex_lock(&p->mutex);
        p->stopping = true;
        while ((job = pop(&p->queue, &p->queue_tail))) {
                job->queued = false;
                job->result = -ECANCELED;
                if (job->running == 0)
                        finish_job(p, job, -ECANCELED);
        }
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->mutex);
}

/* The thread is lost while the pool ends: nobody goes on with its job. */
static void abandon(struct worker_pool *p, struct worker *w)
{
        struct job *job = w->job;

        note_lost(p, w);
        pthread_mutex_lock(&p->mutex);
        job->result = -ECANCELED;
        if (--job->running == 0)
                finish_job(p, job, -ECANCELED);
        pthread_mutex_unlock(&p->mutex);
}

struct worker_pool *worker_pool_free(struct worker_pool *p)
{
        usec_t deadline;

        if (!p)
                return NULL;
        for (unsigned i = 0; i < p->n_workers; i++)
                atomic_store(&p->workers[i]->stopping, true);
        cancel_queue(p);
        deadline = p->sys->ops->now(p->sys) + STOP_WAIT_USEC;
        for (unsigned i = 0; i < p->n_workers; i++) {
                struct worker *w = p->workers[i];

                for (;;) {
                        int expected = PHASE_CALLING;
                        struct timespec nap = {.tv_nsec = 1000 * 1000};

                        if (pthread_tryjoin_np(w->thread, NULL) == 0) {
                                free(w);
                                break;
                        }
                        if (p->sys->ops->now(p->sys) > deadline &&
                            atomic_compare_exchange_strong(&w->phase, &expected, PHASE_LOST)) {
                                abandon(p, w);
                                break;
                        }
                        nanosleep(&nap, NULL);
                }
        }
        p->n_workers = 0;
        if (p->event_fd >= 0)
                worker_pool_dispatch(p);
        close_fd(p->event_fd);
        pthread_cond_destroy(&p->wake);
        pthread_mutex_destroy(&p->mutex);
        free(p);
        return NULL;
}
