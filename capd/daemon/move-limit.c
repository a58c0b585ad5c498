/* SPDX-License-Identifier: MIT */
/*
 * move-limit.c: memory.high of a moving group's place, on its way to the cap.
 *
 * Use is brought down first, by memory.reclaim in a scanner thread; the limit follows. Where the cgroup is a unit systemd is told,
 * so that it shows the limit and does not set another one. systemd writes it again, and a write below the use would make PID 1 reclaim:
 * one more reason never to do that.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "capd/base/log.h"
#include "capd/base/size.h"
#include "capd/base/text.h"
#include "move.h"

/* One write to memory.reclaim, and how long a job goes on with them. */
#define RECLAIM_CHUNK (8 * MIB)
#define RECLAIM_USEC  (400 * USEC_PER_MSEC)
/* A cap that bites goes on biting until memory use has fallen so far below PressureThreshold=, in basis points. */
#define THRESHOLD_SLACK 200U

struct reclaim_job {
        struct job job;
        struct engine *engine;
        uint64_t id; /* of the moving group */
        int cgroup_fd;
        uint64_t bytes;
        uint64_t before, after; /* memory.current */
        bool hung;
};

static uint64_t current_of(const struct reclaim_job *x)
{
        struct move_figures f;

        return move_read_figures(&x->engine->mover->cgroups, x->cgroup_fd, &f) < 0 ? SIZE_UNKNOWN : f.current;
}

static int reclaim_run(struct job *job, struct guard *guard)
{
        struct reclaim_job *x = (struct reclaim_job *)job;
        const struct sys *sys = &x->engine->sys;
        usec_t end = sys->ops->now(sys) + RECLAIM_USEC;
        uint64_t left = x->bytes;

        if (x->hung)
                return -ETIMEDOUT;
        while (left > 0 && sys->ops->now(sys) < end) {
                uint64_t n = MIN(left, RECLAIM_CHUNK);
                char text[32];
                int r;

                if (guard_stopping(guard))
                        return -ECANCELED;
                snprintf(text, sizeof(text), "%" PRIu64, n);
                guard_enter(guard, 0);
                r = sys_write_file_at(sys, x->cgroup_fd, "memory.reclaim", text);
                if (!guard_leave(guard))
                        return -ECANCELED;
                if (r < 0)
                        return r == -EAGAIN ? 0 : r; /* it fell short */
                left -= n;
        }
        return 0;
}

static void reclaim_give_up(struct job *job, const struct guard *lost)
{
        ((struct reclaim_job *)job)->hung = true;
}

static void reclaim_done(struct job *job, int result)
{
        struct reclaim_job *x = (struct reclaim_job *)job;
        struct engine *e = x->engine;

        for (struct move_group *g = e->mover ? e->mover->groups : NULL; g; g = g->next)
                if (g->id == x->id) {
                        uint64_t after = current_of(x);

                        g->reclaiming = false;
                        g->fell_short = result < 0 || after == SIZE_UNKNOWN || after > x->before ||
                                        x->before - after < x->bytes / 4;
                        if (result < 0 && result != -ECANCELED)
                                log_debug("Group %s: memory.reclaim: %s, ignoring", g->name, strerror(-result));
                        if (!e->stopping && g->phase == PHASE_READY)
                                limit_look(g, e->sys.ops->now(&e->sys));
                }
        close_fd(x->cgroup_fd);
        free(x);
        if (e->mover && !e->stopping)
                mover_schedule(e->mover);
}

static const struct job_ops reclaim_ops = {.run = reclaim_run, .give_up = reclaim_give_up, .done = reclaim_done};

static void start_reclaim(struct move_group *g, int cgroup_fd, uint64_t bytes)
{
        struct engine *e = g->mover->engine;
        struct reclaim_job *x = calloc(1, sizeof(*x));
        int fd = x ? e->sys.ops->openat(&e->sys, cgroup_fd, ".", O_RDONLY | O_DIRECTORY) : -ENOMEM;

        if (fd < 0) {
                free(x);
                return;
        }
        *x = (struct reclaim_job){.job.ops = &reclaim_ops,
                                  .engine = e,
                                  .id = g->id,
                                  .cgroup_fd = fd,
                                  .bytes = bytes,
                                  .before = g->figures.current};
        g->reclaiming = true;
        engine_submit(e, &x->job);
}

/* PressureThreshold= with some slack, as a limit that comes and goes is worse than either. */
static bool bites(struct move_group *g)
{
        const struct group *group = g->group;
        uint32_t used = g->mover->engine->host.used_basis_points;

        if (!group || !group->settings.has_cap)
                return false;
        if (group->settings.pressure_threshold == 0 || used > group->settings.pressure_threshold)
                g->short_of_memory = true;
        else if (used + THRESHOLD_SLACK < group->settings.pressure_threshold)
                g->short_of_memory = false;
        return g->short_of_memory;
}

static uint64_t page_align(uint64_t bytes)
{
        uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

        return bytes == MOVE_NO_LIMIT ? bytes : bytes - bytes % page;
}

static int set_high(struct move_group *g, int cgroup_fd, uint64_t high)
{
        int r = 0;

        /* Up at once, whatever systemd does. Down by systemd alone where it rules. */
        if (g->unit[0] == '\0' || high > g->figures.high) {
                r = move_write_high(&g->mover->cgroups, cgroup_fd, high);
                if (r >= 0)
                        g->figures.high = high;
        }
        if (r < 0) {
                move_group_fail(g, "memory.high of cgroup %s cannot be set: %s", g->cgroup, strerror(-r));
                return r;
        }
        if (g->unit[0] == '\0')
                return 0;
        if (g->told == high && g->figures.high != high)
                g->told = SIZE_UNKNOWN - 1; /* somebody else has set it: say it again */
        return systemd_set_high(g, high);
}

static void say(struct move_group *g, enum move_state before)
{
        enum move_state now = g->step.state;

        if (g->step.reason[0])
                text_copy(g->note, sizeof(g->note), g->step.reason);
        else if (now != MOVE_LIFTED)
                g->note[0] = '\0';
        if (now == before)
                return;
        if (now == MOVE_LIFTED || now == MOVE_SHORT)
                move_say(g, LOG_WARNING, MESSAGE_MOVE_TROUBLE, "%s", g->note);
        else if (now == MOVE_HOLDS && (before == MOVE_LIFTED || before == MOVE_SHORT))
                move_say(g, LOG_NOTICE, MESSAGE_MOVED, "its limit holds again");
}

void limit_look(struct move_group *g, usec_t now)
{
        _cleanup_close_ int fd = move_open_same(&g->mover->cgroups, g->cgroup, g->inode);
        struct move_step_facts facts = {
                        .now = now, .swap_free = g->mover->engine->host.swap_free, .figures = &g->figures};
        enum move_state before = g->step.state;

        g->next_look = USEC_INFINITY;
        if (fd < 0 || move_read_figures(&g->mover->cgroups, fd, &g->figures) < 0) {
                /* everybody in it has ended: whoever comes next is given a new place */
                move_group_end(g);
                return;
        }
        if (g->reclaiming)
                return;
        facts.target = bites(g) ? page_align(MIN(g->group->settings.cap, g->before)) : MOVE_NO_LIMIT;
        facts.fell_short = g->fell_short;
        g->fell_short = false;
        move_step(&facts, &g->step_memory, &g->step);
        say(g, before);
        g->step.high = page_align(MIN(g->step.high, g->before));
        if (g->step.high != g->figures.high || (g->unit[0] && g->told != g->step.high))
                set_high(g, fd, g->step.high);
        if (g->step.reclaim > 0)
                start_reclaim(g, fd, g->step.reclaim);
        g->next_look = g->step.next_look;
}

void limit_lift(struct move_group *g)
{
        _cleanup_close_ int fd =
                        g->cgroup && g->inode ? move_open_same(&g->mover->cgroups, g->cgroup, g->inode) : -ENOENT;
        struct move_figures f = {.high = SIZE_UNKNOWN};

        if (fd >= 0 && move_read_figures(&g->mover->cgroups, fd, &f) >= 0 && f.high < g->before) {
                int r = move_write_high(&g->mover->cgroups, fd, g->before);

                if (r < 0)
                        log_warning("Group %s: memory.high of cgroup %s cannot be put back: %s", g->name, g->cgroup,
                                    strerror(-r));
        }
}
