/* SPDX-License-Identifier: MIT */
/*
 * governor.c: what acts did, and whether their work came straight back.
 *
 * An act helps if `resident` falls by a good part of what was asked for. It was for nothing if most of what it paged out is
 * in use again before the next one begins. Three witnesses tell: the ranges that process_madvise(2) was given, looked at
 * again; the kernel's shadow entries (workingset_refault_*: a page that came back so soon that it would not have been
 * evicted from a memory a little larger); and the members' major faults. If it happens again and again, the cap is below
 * the working set, and more paging does not help but harm: so the next try waits, longer each time.
 */
#include <stdio.h>
#include <string.h>

#include "capd/base/size.h"
#include "capd/limits.h"
#include "decide-internal.h"

/* An act that brought down less than this part of what it was asked for did not help. */
#define HELPED_FRACTION 0.1
/* An act that took so long ended because its time was over (LIMIT_ACT_USEC), not because nothing was left to do. */
#define OUT_OF_TIME (LIMIT_ACT_USEC / 10 * 9)
/* An act most of whose work was back when the next one began was for nothing. */
#define CAME_BACK_FRACTION 0.5
/* With tasks waiting for memory half of the time, less of it is proof enough. */
#define CAME_BACK_STALLED_FRACTION 0.1
#define STALLED_BASIS_POINTS       5000U
/* That many in a row, and the cap is below the working set: once may be a burst. */
#define CAME_BACK_ACTS 2
/* And together they must have been this part of what had to go: what little one means reaches, or an act whose time is short
 * begins with, may be just what is in use. */
#define CAME_BACK_OF_GOAL 0.5
/* Or it comes back however often it is tried: each act goes on where the one before it ended, so these are samples of all that the
 * means reaches. A slow host gets no further in the time of an act. */
#define CAME_BACK_SAMPLES 4
/* One major fault may bring in this much: swap is read ahead by 2^vm.page-cluster pages, 8 unless it was changed. */
#define FAULT_BYTES       4096U
#define FAULT_AHEAD_BYTES (8U * 4096U)

void governor_back_off(struct decision *d)
{
        unsigned shift = MIN(d->memory->failures, 16U);

        d->memory->failures++;
        d->memory->retry_at = d->now + MIN((usec_t)BACKOFF_FIRST << shift, (usec_t)BACKOFF_LAST);
}

void governor_nothing_came_back(struct decide_memory *m)
{
        m->came_back = 0;
        m->came_back_of = 0;
        m->thrashing = false;
}

void governor_forgive(struct decide_memory *m)
{
        m->failures = 0;
        governor_nothing_came_back(m);
        m->retry_at = 0;
        m->working_set = 0;
        m->useless = 0;
}

bool governor_thrashing(const struct decide_memory *m)
{
        return m->thrashing;
}

bool governor_hopeless(const struct decide_memory *m)
{
        return m->state_since > 0 && (m->state == STATE_UNENFORCEABLE || m->state == STATE_THRASHING);
}

void describe_obstacle(const struct act_result *a, char *buf, size_t size)
{
        const struct {
                uint64_t bytes;
                const char *text;
        } obstacles[] = {
                        {a->left_shared, "is mapped by more than one process, which process_madvise cannot page out"},
                        {a->left_no_swap, "is anonymous or shared memory and no swap is free"},
                        {a->left_locked, "is locked in memory"},
                        {a->left_dirty, "is file data still being written"},
                        {a->left_forbidden, "may not be paged out (not permitted by the kernel)"},
                        {a->left_floor, "is in protected processes or in ones below ProcessFloor="},
                        {a->left_busy, "is in use and stayed"},
        };
        size_t worst = 0;
        char text[SIZE_TEXT_MAX];

        for (size_t i = 1; i < ARRAY_SIZE(obstacles); i++)
                if (obstacles[i].bytes > obstacles[worst].bytes)
                        worst = i;
        if (obstacles[worst].bytes == 0) {
                if (a->stuck > 0)
                        snprintf(buf, size, "%u of its processes do not answer", a->stuck);
                else if (a->error)
                        snprintf(buf, size, "the kernel refused: %s", strerror(a->error < 0 ? -a->error : a->error));
                else
                        snprintf(buf, size, "nothing of it could be paged out");
                return;
        }
        snprintf(buf, size, "%s %s", format_size(text, obstacles[worst].bytes), obstacles[worst].text);
}

static void mark_useless(struct decide_memory *m)
{
        m->useless |= 1U << (m->choice.strategy == STRATEGY_NONE ? STRATEGY_MADVISE : m->choice.strategy);
}

/* A means that reaches little, and that little is in use: where there is another, it may reach what is not. */
static void try_another(struct decision *d)
{
        unsigned useless = d->memory->useless;
        struct strategy_choice next;

        mark_useless(d->memory);
        if (plan_choose(d, d->memory->last_goal, &next) && next.strategy == STRATEGY_NONE)
                d->memory->useless = useless;
}

/* Whether the means could have reached what had to go: pages of one process each are all that process_madvise gets at. */
static bool reaches_enough(const struct decision *d)
{
        const struct decide_memory *m = d->memory;

        return m->choice.strategy > STRATEGY_MADVISE ||
               (double)plan_exclusive(d) >= CAME_BACK_OF_GOAL * (double)m->last_goal;
}

static bool proves_thrashing(const struct decision *d)
{
        const struct decide_memory *m = d->memory;

        if (m->came_back >= CAME_BACK_ACTS && (double)m->came_back_of >= CAME_BACK_OF_GOAL * (double)m->last_goal)
                return true;
        return m->came_back >= CAME_BACK_SAMPLES && reaches_enough(d);
}

/* One more act was for nothing, which had unmapped so much. */
static void note_return(struct decision *d, uint64_t unmapped, uint64_t resident)
{
        struct decide_memory *m = d->memory;

        m->came_back++;
        m->came_back_of += unmapped;
        if ((double)unmapped < CAME_BACK_OF_GOAL * (double)m->last_goal)
                try_another(d);
        if (proves_thrashing(d))
                m->thrashing = true;
        if (governor_thrashing(m) && resident != SIZE_UNKNOWN)
                m->working_set = resident;
}

/* The act that was asked for last was one whose ranges the next of its kind looks at again. */
static bool is_traced(const struct decide_memory *m)
{
        return m->choice.strategy <= STRATEGY_MADVISE;
}

/*
 * What became of the work of an act before this one: by its ranges, which the next one by process_madvise has looked at, whatever
 * other means was tried between them; else by what no counter has said. What swapoff(8) brought back was not brought back by the
 * group.
 */
static void judge_before(struct decision *d, const struct act_result *a)
{
        struct decide_memory *m = d->memory;
        bool swap_shrank = d->host->swap_total < m->last_swap_total, traced = is_traced(m);
        uint64_t before = m->traced;

        m->last_swap_total = d->host->swap_total;
        if (traced)
                m->traced = a->unmapped;
        else
                before = before > 0 || m->return_judged ? 0 : m->last_unmapped;
        if (before == 0)
                return;
        if (traced && !swap_shrank && (double)a->refaulted > CAME_BACK_FRACTION * (double)before)
                note_return(d, before, d->facts->resident_before);
        else if ((double)before >= HELPED_FRACTION * (double)m->last_goal)
                governor_nothing_came_back(m);
        /* else there was next to nothing that could have come back: no news */
}

/* Whether the act did what it was made for. */
static bool helped(const struct decision *d, const struct act_result *a)
{
        const struct decide_facts *f = d->facts;
        uint64_t asked = d->memory->last_goal, fell = 0;

        /* Where a member cannot be read there is no exact count, and what the act itself saw leave has to do. */
        if (f->resident_before != SIZE_UNKNOWN && f->resident_after != SIZE_UNKNOWN)
                fell = f->resident_before > f->resident_after ? f->resident_before - f->resident_after : 0;
        /* Helpful is measured by what the act was asked for, or, if its time ran out, by what it got to. */
        if (f->resident_before != SIZE_UNKNOWN) {
                asked = f->resident_before > d->settings->low ? f->resident_before - d->settings->low : 0;
                if (d->memory->last_goal > 0)
                        asked = MIN(asked, d->memory->last_goal);
        }
        if (a->attempted > 0 && a->ended - a->started >= OUT_OF_TIME)
                asked = MIN(asked, a->attempted);
        return (double)MAX(fell, a->unmapped) >= HELPED_FRACTION * (double)asked;
}

void governor_judge_act(struct decision *d)
{
        const struct act_result *a = d->facts->last_act;
        struct decide_memory *m = d->memory;
        struct strategy_choice next;

        if (!a || a->ended == m->last_act_ended)
                return;
        m->last_act_ended = a->ended;
        d->judged = true;
        m->grown_at = 0; /* what an act did is no trend */
        m->trend = 0;
        if (d->settings->reclaim_rate > 0)
                m->tokens -= (double)a->unmapped;

        judge_before(d, a);
        m->return_judged = false;
        m->last_unmapped = a->unmapped;
        m->cut_short = a->unmapped < m->last_goal;

        if (governor_thrashing(m))
                governor_back_off(d);
        else if (helped(d, a)) {
                if (m->came_back == 0)
                        governor_forgive(m);
        } else {
                /* another means may do what this one could not */
                mark_useless(m);
                if (plan_choose(d, m->last_goal, &next) && next.strategy == STRATEGY_NONE)
                        governor_back_off(d);
        }
}

static uint64_t grown(uint64_t before, uint64_t now)
{
        if (before == SIZE_UNKNOWN || now == SIZE_UNKNOWN || now < before)
                return SIZE_UNKNOWN;
        return now - before;
}

/* What came back since the act was asked for, at least; SIZE_UNKNOWN if no counter tells. */
static uint64_t counted_back(const struct group_pressure *base, const struct group_pressure *now)
{
        uint64_t refaults = grown(base->refaults, now->refaults);
        uint64_t faults = grown(base->major_faults, now->major_faults);
        uint64_t swap_in = grown(base->swap_in, now->swap_in);
        uint64_t back = SIZE_UNKNOWN;

        if (refaults != SIZE_UNKNOWN)
                back = refaults;
        if (faults != SIZE_UNKNOWN) {
                uint64_t read = faults * FAULT_BYTES;

                /* what was read ahead for these faults, as far as the host read that much from swap at all */
                if (swap_in != SIZE_UNKNOWN)
                        read = MAX(read, MIN(faults * FAULT_AHEAD_BYTES, swap_in));
                back = back == SIZE_UNKNOWN ? read : MAX(back, read);
        }
        return back;
}

void governor_judge_return(struct decision *d)
{
        const struct group_pressure *now = d->facts->pressure;
        struct decide_memory *m = d->memory;
        usec_t stalled;
        double part;

        if (!now || now->at <= m->base.at || m->base.at == 0)
                return;
        m->came_back_bytes = counted_back(&m->base, now);
        stalled = grown(m->base.stalled, now->stalled);
        m->stalled = stalled == SIZE_UNKNOWN || now->stalled_host != m->base.stalled_host
                                     ? UINT32_MAX
                                     : (uint32_t)MIN(stalled * 10000 / (now->at - m->base.at), (usec_t)10000);
        if (m->return_judged || m->last_unmapped == 0 || m->came_back_bytes == SIZE_UNKNOWN ||
            d->host->swap_total < m->last_swap_total)
                return;
        part = m->stalled != UINT32_MAX && !now->stalled_host && m->stalled >= STALLED_BASIS_POINTS
                               ? CAME_BACK_STALLED_FRACTION
                               : CAME_BACK_FRACTION;
        if ((double)m->came_back_bytes <= part * (double)m->last_unmapped)
                return;
        m->return_judged = true;
        if (is_traced(m))
                m->traced = 0;
        note_return(d, m->last_unmapped, d->facts->sample->resident);
        if (governor_thrashing(m))
                governor_back_off(d);
}

void governor_last_resort(struct decision *d)
{
        const struct decide_settings *set = d->settings;
        struct decide_memory *m = d->memory;
        usec_t due;
        bool hopeless = governor_hopeless(m);

        if (hopeless && m->hopeless_since == 0)
                m->hopeless_since = d->now;
        else if (!hopeless && m->state != STATE_ENFORCING && m->state != STATE_OVER) /* a retry passes through these */
                m->hopeless_since = 0;
        if (set->last_resort != LAST_RESORT_KILL || !hopeless || d->standing != STANDING_OVER || !host_is_short(d))
                return;
        due = m->hopeless_since + set->last_resort_after;
        if (d->now < due) {
                d->verdict->next_look = MIN(d->verdict->next_look, due);
                return;
        }
        /* Nobody dies by a figure that is not of this moment, nor by a bound. */
        if (!d->fresh) {
                d->verdict->count = d->facts->can_count && !d->tried;
                return;
        }
        d->verdict->kill = true;
        d->verdict->act = d->verdict->count = false;
        m->hopeless_since = d->now; /* the next one has its time, too */
}
