/* SPDX-License-Identifier: MIT */
/*
 * move-step.c: a limit on its way down to the cap, and up again where it does harm.
 *
 * A task that is over memory.high sleeps on its way back to user space, up to 2 s each time (MEMCG_MAX_HIGH_DELAY_JIFFIES in
 * mm/memcontrol.c), whether or not anything can be reclaimed. With nothing to reclaim, which on a host without swap is any group
 * without page cache, that is standing still for ever. So the limit is lifted when the cgroup's tasks all wait ("full" of
 * memory.pressure, which counts these sleeps) and there is nothing to take from them.
 */
#include <stdio.h>
#include <string.h>

#include "capd/base/size.h"
#include "capd/enforce/move.h"

/* The share of time in which all tasks wait that is called standing still. */
#define STALL_PERCENT 25U
/* The same where something can be reclaimed, but comes straight back; in so many looks in a row. */
#define THRASH_PERCENT 50U
#define THRASH_LOOKS   3U
/* Shorter than this says nothing: one sleep lasts up to 2 s. */
#define STALL_WINDOW (800 * USEC_PER_MSEC)
/* Lifted for so long, doubled each time. */
#define LIFT_FIRST (30 * USEC_PER_SEC)
#define LIFT_LAST  (30 * 60 * USEC_PER_SEC)
/* A limit that held for so long is trusted again. */
#define QUIET_FORGIVES (5 * 60 * USEC_PER_SEC)
/* After a reclaim that got hardly anything. */
#define REST (10 * USEC_PER_SEC)
/* Between two steps down, and between two looks at a limit that is near. */
#define STEP_PAUSE (100 * USEC_PER_MSEC)
#define NEAR_PAUSE USEC_PER_SEC

static uint64_t clamp(uint64_t v, uint64_t low, uint64_t high)
{
        return v < low ? low : v > high ? high : v;
}

/* Room left to a cgroup above its use, so that it does not run into the limit while that is on its way. */
static uint64_t headroom(uint64_t current)
{
        return clamp(current / 64, MIB, 64 * MIB);
}

static uint64_t reclaimable(const struct move_step_facts *f)
{
        uint64_t cache = f->figures->cache == SIZE_UNKNOWN ? 0 : f->figures->cache;

        if (f->swap_free < MIB || f->figures->anon == SIZE_UNKNOWN)
                return cache;
        return cache + MIN(f->figures->anon, f->swap_free);
}

/* Less than this is code that runs now and what the kernel cannot get at the moment. */
static bool nothing_to_take(const struct move_step_facts *f)
{
        return reclaimable(f) < MAX(f->figures->current / 64, 2 * MIB);
}

static bool at_limit(const struct move_figures *g)
{
        return g->high != MOVE_NO_LIMIT && g->high != SIZE_UNKNOWN && g->current + headroom(g->current) / 4 >= g->high;
}

/* Percent of the time since the last look in which all tasks waited; 0 if it cannot be told. */
static unsigned stall_percent(const struct move_step_facts *f, const struct move_step_memory *m)
{
        usec_t passed = f->now - m->at;

        if (m->at == 0 || passed < STALL_WINDOW || m->stalled == SIZE_UNKNOWN || f->figures->stalled == SIZE_UNKNOWN ||
            f->figures->stalled < m->stalled)
                return 0;
        return (unsigned)MIN((f->figures->stalled - m->stalled) * 100 / passed, (usec_t)100);
}

static bool was_throttled(const struct move_step_facts *f, const struct move_step_memory *m)
{
        return m->at > 0 && m->events_high != SIZE_UNKNOWN && f->figures->events_high != SIZE_UNKNOWN &&
               f->figures->events_high > m->events_high;
}

static void lift(const struct move_step_facts *f, struct move_step_memory *m, struct move_step *s, const char *why)
{
        usec_t wait = MIN((usec_t)LIFT_FIRST << (m->lifts < 10 ? m->lifts : 10), (usec_t)LIFT_LAST);
        char high[SIZE_TEXT_MAX], time[SIZE_TEXT_MAX];

        m->lifts++;
        m->thrashes = 0;
        m->retry_at = f->now + wait;
        s->state = MOVE_LIFTED;
        s->high = MOVE_NO_LIMIT;
        snprintf(s->reason, sizeof(s->reason), "its processes stood still at memory.high=%s: %s; lifted for %s",
                 format_size(high, f->figures->high), why, format_time(time, wait));
}

/* Whether the limit does more harm than good now: then *s says so. */
static bool stands_in_the_way(const struct move_step_facts *f, struct move_step_memory *m, struct move_step *s)
{
        unsigned stalled = stall_percent(f, m);
        bool blind = m->at > 0 && f->figures->stalled == SIZE_UNKNOWN; /* no PSI: what cannot go is enough */

        if (!at_limit(f->figures) || !was_throttled(f, m)) {
                m->thrashes = 0;
                return false;
        }
        if ((stalled >= STALL_PERCENT || blind) && nothing_to_take(f)) {
                lift(f, m, s,
                     f->swap_free < MIB ? "nothing can be reclaimed, as no swap is free (add swap)"
                                        : "nothing can be reclaimed");
                return true;
        }
        m->thrashes = stalled >= THRASH_PERCENT ? m->thrashes + 1 : 0;
        if (m->thrashes >= THRASH_LOOKS) {
                lift(f, m, s, "what is reclaimed comes straight back, the cap is below the working set");
                return true;
        }
        return false;
}

/* The limit that goes with this use: at the cap, or a little above what is in use, and not above what it was. */
static uint64_t following_high(const struct move_step_facts *f)
{
        const struct move_figures *g = f->figures;
        uint64_t above = g->current + headroom(g->current);

        if (g->current <= f->target)
                return f->target;
        if (g->high == SIZE_UNKNOWN || g->high == MOVE_NO_LIMIT || g->current > g->high)
                return MAX(f->target, above);
        return MAX(f->target, MIN(g->high, above));
}

static void come_down(const struct move_step_facts *f, struct move_step_memory *m, struct move_step *s)
{
        const struct move_figures *g = f->figures;
        char current[SIZE_TEXT_MAX], cap[SIZE_TEXT_MAX];

        format_size(current, g->current);
        format_size(cap, f->target);
        if (nothing_to_take(f)) {
                /* A limit right above the use would stop all growth at once, with nothing to give way. */
                s->state = MOVE_SHORT;
                s->high = MOVE_NO_LIMIT;
                snprintf(s->reason, sizeof(s->reason),
                         "%s are charged to its cgroup, more than %s, and nothing of it can be reclaimed%s", current,
                         cap, f->swap_free < MIB ? ": no swap is free (add swap)" : "");
                return;
        }
        s->high = following_high(f);
        if (f->fell_short && m->rest_until <= f->now)
                m->rest_until = f->now + REST;
        if (m->rest_until > f->now) {
                s->state = MOVE_SHORT;
                snprintf(s->reason, sizeof(s->reason),
                         "%s are charged to its cgroup, more than %s; the kernel could not reclaim more for now",
                         current, cap);
                return;
        }
        s->state = MOVE_LOWERING;
        s->reclaim = MIN(g->current - f->target, reclaimable(f));
        s->reclaim = MIN(s->reclaim, clamp(g->current / 16, 4 * MIB, 64 * MIB));
        s->next_look = f->now + STEP_PAUSE;
        snprintf(s->reason, sizeof(s->reason), "memory.high is on its way from %s to %s", current, cap);
}

static void remember(const struct move_step_facts *f, struct move_step_memory *m)
{
        /* Steps down follow each other too fast for a judgement: the window then grows until it is long enough. */
        if (m->at > 0 && f->now - m->at < STALL_WINDOW)
                return;
        m->at = f->now;
        m->events_high = f->figures->events_high;
        m->stalled = f->figures->stalled;
}

void move_step(const struct move_step_facts *f, struct move_step_memory *m, struct move_step *ret)
{
        struct move_step s = {.high = f->figures->high, .next_look = USEC_INFINITY};

        if (f->target == MOVE_NO_LIMIT) {
                s.state = MOVE_OFF;
                s.high = MOVE_NO_LIMIT;
                *m = (struct move_step_memory){};
        } else if (f->figures->current == SIZE_UNKNOWN) {
                s.state = MOVE_SHORT; /* nothing is set blindly */
                strcpy(s.reason, "memory.current of its cgroup cannot be read");
        } else if (m->retry_at > f->now) {
                s.state = MOVE_LIFTED;
                s.high = MOVE_NO_LIMIT;
        } else if (stands_in_the_way(f, m, &s)) {
                m->quiet_since = 0;
        } else if (f->figures->current > f->target) {
                come_down(f, m, &s);
        } else {
                s.state = MOVE_HOLDS;
                s.high = f->target;
                if (m->quiet_since == 0)
                        m->quiet_since = f->now;
                if (f->now - m->quiet_since >= QUIET_FORGIVES)
                        m->lifts = 0;
        }
        if (s.state != MOVE_OFF)
                remember(f, m);
        if (s.next_look == USEC_INFINITY && s.high != MOVE_NO_LIMIT && f->figures->current != SIZE_UNKNOWN &&
            f->figures->current >= s.high - s.high / 4)
                s.next_look = f->now + NEAR_PAUSE;
        *ret = s;
}
