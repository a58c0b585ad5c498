/* SPDX-License-Identifier: MIT */
/*
 * damon.c: an act by DAMON, portion by portion.
 *
 * A portion is as many of the ranges as are handed over at a time: never more bytes than are still to go. Its pages are
 * marked as not accessed, watched for LIMIT_DAMON_IDLE_USEC, and those that stayed so are paged out in one go. If the goal
 * asks for it, what is left is paged out in a second pass, accessed or not.
 *
 * A frame may be another page by the time it is handed over. So the mapping counts are read again right before: a frame that is
 * not mapped as often as it was when it was found to be the group's is left out. One that changes owner within the portion's
 * second is a new page, which the kernel takes for accessed.
 *
 * What became of the frames is read from /proc/kpagecount and /proc/kpageflags afterwards.
 *
 * The two calls that can block (`on` builds and starts a kernel thread; `off` waits until it has done its work, which takes locks of
 * the pages' owners) are made between guard_enter() and guard_leave(), with arguments of their own. A thread that is given up in
 * one leaves DAMON to the next, which tries to clean up.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "damon-internal.h"

/* Between two looks whether to stop. */
#define WAIT_USEC (20 * USEC_PER_MSEC)
/* What DAMON may be busy for without being stoppable: far less than LIMIT_SCAN_CALL_USEC. */
#define PASS_SLOW_USEC (300 * USEC_PER_MSEC)
#define PASS_FAST_USEC (100 * USEC_PER_MSEC)
#define FIRST_MAPPINGS (128U * 1024)
#define LEAST_MAPPINGS 1024U
static atomic_bool active;

bool damon_is_active(void)
{
        return atomic_load(&active);
}

int damon_new(const struct sys *sys, const struct features *features, const struct damon_request *request,
              struct inside_frames *frames, struct damon **ret)
{
        _cleanup_(damon_freep) struct damon *d = calloc(1, sizeof(*d));
        size_t n = 0;

        if (!d)
                return -ENOMEM;
        d->sys = sys;
        d->page_size = features->page_size;
        d->goal = request->goal;
        d->cursor = request->cursor;
        d->any = request->any;
        d->max_time = MIN(request->max_time, LIMIT_DAMON_ACT_USEC);
        d->runtime_fd = request->runtime_fd;
        d->kpagecount_fd = d->kpageflags_fd = d->sysfs.kdamond_fd = -1;
        d->pace = FIRST_MAPPINGS;
        d->first = calloc(frames->n_ranges + 1, sizeof(*d->first));
        d->fates = calloc(frames->n_frames + 1, sizeof(*d->fates));
        if (!d->first || !d->fates)
                return -ENOMEM;
        for (size_t i = 0; i < frames->n_ranges; i++) {
                d->first[i] = n;
                n += (size_t)((frames->ranges[i].end - frames->ranges[i].start) / d->page_size);
        }
        if (n != frames->n_frames)
                return -EINVAL;
        d->frames = *frames;
        *frames = (struct inside_frames){};
        frames_find_cursor(d);
        *ret = TAKE_PTR(d);
        return 0;
}

struct damon *damon_free(struct damon *d)
{
        if (!d)
                return NULL;
        close_fd(d->sysfs.kdamond_fd);
        close_fd(d->kpagecount_fd);
        close_fd(d->kpageflags_fd);
        inside_frames_done(&d->frames);
        free(d->fates);
        free(d->first);
        free(d);
        return NULL;
}

static _printf_(2, 3) void set_problem(struct damon *d, const char *format, ...)
{
        va_list args;

        if (d->problem[0] != '\0')
                return;
        va_start(args, format);
        vsnprintf(d->problem, sizeof(d->problem), format, args);
        va_end(args);
}

/* -- acting -- */

static bool is_late(const struct damon *d, usec_t more)
{
        return d->sys->ops->now(d->sys) + more >= d->deadline;
}

/* One command to the kernel thread: `on` or `off`. *ret_time is what it took. -EOWNERDEAD: the thread was given up in it. */
static int command(struct damon *d, struct guard *guard, const char *what, usec_t *ret_time)
{
        _cleanup_close_ int fd = dsysfs_open_state(&d->sysfs);
        const struct sys *sys = d->sys;
        usec_t begin, time;
        int r;

        if (fd < 0)
                return fd;
        guard_enter(guard, 0);
        begin = sys->ops->now(sys);
        r = dsysfs_command(sys, fd, what);
        time = sys->ops->now(sys) - begin;
        if (!guard_leave(guard))
                return -EOWNERDEAD;
        *ret_time = time;
        if (r == -EBUSY)
                set_problem(d, "DAMON is in use by somebody else who lets nobody else use it");
        else if (r < 0)
                set_problem(d, "DAMON cannot be turned %s: %s", what, strerror(-r));
        return r;
}

/* Waits until the kernel thread has marked the ranges and sleeps, and for `usec` from then on. 0, or a negative errno. */
static int wait_asleep(struct damon *d, struct guard *guard, usec_t usec)
{
        const struct sys *sys = d->sys;
        int r = dsysfs_wait_asleep(sys, d->sysfs.kdamond_fd, LIMIT_DAMON_START_USEC);

        if (r < 0) {
                set_problem(d, "DAMON's thread does not come to rest: %s", strerror(-r));
                return r;
        }
        for (usec_t until = sys->ops->now(sys) + usec; sys->ops->now(sys) < until && !guard_stopping(guard);)
                sys->ops->sleep(sys, MIN(until - sys->ops->now(sys), (usec_t)WAIT_USEC));
        return 0;
}

static void learn_pace(struct damon *d, usec_t time)
{
        if (time > PASS_SLOW_USEC)
                d->pace = MAX(d->pace / 2, (uint64_t)LEAST_MAPPINGS);
        else if (time < PASS_FAST_USEC)
                d->pace = MIN(d->pace * 2, (uint64_t)LIMIT_DAMON_MAPPINGS);
}

/* Has one kind of work done on the portion's ranges. 0 or a negative errno. */
static int do_work(struct damon *d, struct guard *guard, enum damon_work work, usec_t idle)
{
        usec_t time = 0;
        int r;

        r = dsysfs_set_work(&d->sysfs, work, d->portion.bytes);
        if (r < 0) {
                set_problem(d, "DAMON does not take %s: %s", d->sysfs.path, strerror(-r));
                return r;
        }
        if (work == DAMON_MARK && !d->sysfs.page_level)
                return 0;
        r = command(d, guard, "on", &time);
        if (r < 0)
                return r;
        r = wait_asleep(d, guard, idle);
        if (r < 0)
                return r;
        /* this is when the work is done */
        r = command(d, guard, "off", &time);
        if (r == 0)
                learn_pace(d, time);
        return r;
}

static int act_on_portion(struct damon *d, struct guard *guard, bool any)
{
        int r = dsysfs_set_ranges(&d->sysfs, d->portion.ranges, d->portion.n, d->page_size);

        if (r < 0) {
                set_problem(d, "DAMON does not take %s: %s", d->sysfs.path, strerror(-r));
                return r;
        }
        d->result.attempted += d->portion.bytes;
        if (any)
                r = do_work(d, guard, DAMON_ANY, 0);
        else {
                r = do_work(d, guard, DAMON_MARK, 0);
                if (r == 0 && guard_stopping(guard))
                        return -ECANCELED;
                if (r == 0)
                        r = do_work(d, guard, DAMON_COLD, LIMIT_DAMON_IDLE_USEC);
        }
        return r < 0 ? r : portion_look(d);
}

/* Once through all frames. 0 or a negative errno. */
static int pass(struct damon *d, struct guard *guard, bool any)
{
        d->ahead = d->frames.n_frames;
        while (d->result.unmapped < d->goal && !is_late(d, any ? 0 : LIMIT_DAMON_IDLE_USEC)) {
                int r;

                if (guard_stopping(guard))
                        return -ECANCELED;
                r = portion_fill(d);
                if (r < 0)
                        return r;
                if (d->portion.n == 0)
                        break;
                r = act_on_portion(d, guard, any);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int open_frames(struct damon *d)
{
        if (d->kpagecount_fd < 0)
                d->kpagecount_fd = sys_open(d->sys, "proc/kpagecount", O_RDONLY);
        if (d->kpageflags_fd < 0)
                d->kpageflags_fd = sys_open(d->sys, "proc/kpageflags", O_RDONLY);
        return d->kpagecount_fd < 0 ? d->kpagecount_fd : MIN(d->kpageflags_fd, 0);
}

/* Both passes, in DAMON's directory. */
static int act(struct damon *d, struct guard *guard)
{
        int r = pass(d, guard, false), q;

        if (r == 0 && d->any && d->ahead == 0)
                r = pass(d, guard, true);
        if (r == -EOWNERDEAD)
                return r;
        q = dsysfs_close(&d->sysfs);
        if (q < 0)
                set_problem(d, "DAMON cannot be left as it was found: %s", strerror(-q));
        return r < 0 ? r : q;
}

/* The record must be settled first: a thread that was given up may have left something behind. */
static int prepare(struct damon *d)
{
        char why[160];
        int r = damon_recover(d->sys, d->runtime_fd);

        if (r < 0) {
                set_problem(d, "what an earlier act set up in DAMON cannot be removed: %s", strerror(-r));
                return r;
        }
        if (!features_damon(d->sys, why)) {
                set_problem(d, "%s", why);
                return -EBUSY;
        }
        r = open_frames(d);
        if (r < 0) {
                set_problem(d, "/proc/kpagecount and /proc/kpageflags cannot be read: %s", strerror(-r));
                return r;
        }
        r = dsysfs_open(&d->sysfs, d->sys, d->runtime_fd);
        if (r == -EBUSY)
                set_problem(d, "DAMON is in use by somebody else");
        else if (r < 0)
                set_problem(d, "DAMON cannot be set up%s%s: %s", d->sysfs.path[0] ? ": " : "", d->sysfs.path,
                            strerror(-r));
        return r;
}

static int run_alone(struct damon *d, struct guard *guard)
{
        int r;

        if (d->result.started == 0)
                d->result.started = d->sys->ops->now(d->sys);
        d->deadline = d->result.started + d->max_time;
        if (d->given_up) {
                close_fd(TAKE_FD(d->sysfs.kdamond_fd));
                r = damon_recover(d->sys, d->runtime_fd);
                r = MIN(r, 0);
        } else if (d->frames.n_ranges == 0 || d->goal == 0)
                r = 0;
        else {
                r = prepare(d);
                if (r == 0)
                        r = act(d, guard);
        }
        if (r == -EOWNERDEAD)
                return r;
        if (d->kpageflags_fd >= 0)
                frames_conclude(d, guard);
        d->result.ended = d->sys->ops->now(d->sys);
        if (r < 0 && r != -ECANCELED) {
                set_problem(d, "the act failed: %s", strerror(-r));
                d->result.error = -r;
        }
        return r;
}

int damon_run(struct damon *d, struct guard *guard)
{
        int r;

        if (atomic_exchange(&active, true)) {
                set_problem(d, "another act of capd uses DAMON");
                return -EBUSY;
        }
        r = run_alone(d, guard);
        /* a thread that was given up touches nothing any more; damon_give_up() has said so */
        if (r == -EOWNERDEAD)
                return -ECANCELED;
        atomic_store(&active, false);
        return r;
}

void damon_give_up(struct damon *d)
{
        d->given_up = true;
        d->result.stuck++;
        set_problem(d, "DAMON did not answer in time");
        atomic_store(&active, false);
}

void damon_result(const struct damon *d, struct act_result *ret)
{
        *ret = d->result;
}

uint64_t damon_cursor(const struct damon *d)
{
        return d->frames.n_ranges > 0 ? d->frames.ranges[d->range].start + d->frame * d->page_size : 0;
}

const char *damon_problem(const struct damon *d)
{
        return d->problem;
}
