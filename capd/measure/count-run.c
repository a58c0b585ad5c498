/* SPDX-License-Identifier: MIT */
/*
 * count-run.c: who does what of a count, and when.
 *
 * Any number of threads may be in count_run() of one count at one time. Each takes what is next until nothing is left: an address space
 * to walk for the first time, in the order of its first group; a piece of a large one that another thread is walking; the second
 * walk of one; or a step of what verify.c does for a group. What has been taken is in the thread's slot. A thread that finds nothing
 * while others are at work waits, because they may leave more: what one who is given up or told to stop did not do.
 *
 * A walk, its context, and the pages it found are made by the thread and known to nobody else until it is through. A thread that
 * was given up finds `lost` set in its own context and returns without a look at the count, which may have been freed. Its slot is
 * what count_give_up() goes by.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "count-internal.h"

/* A thread that waits looks so often whether it is to stop. */
#define WAIT_USEC (50 * USEC_PER_MSEC)
/* A count that takes longer is worth another thread, which costs some 50 µs to begin with. */
#define HELP_AFTER_USEC (USEC_PER_MSEC / 5)

/* Counting sort by the lowest group. */
static int make_order(struct count *c)
{
        _cleanup_free_ size_t *starts = calloc(c->n_groups + 2, sizeof(*starts));
        size_t *order = reallocarray(NULL, c->n_spaces + 1, sizeof(*order));

        if (!starts || !order) {
                free(order);
                return -ENOMEM;
        }
        for (int fill = 0; fill < 2; fill++) {
                for (size_t i = 0; i < c->n_spaces; i++) {
                        const struct space *s = &c->spaces[i];
                        size_t lowest = c->n_groups;

                        for (size_t k = 0; k < s->n_groups; k++)
                                lowest = MIN(lowest, (size_t)s->groups[k]);
                        if (fill)
                                order[starts[lowest]++] = i;
                        else
                                starts[lowest + 1]++;
                }
                for (size_t g = 0; !fill && g <= c->n_groups; g++)
                        starts[g + 1] += starts[g];
        }
        c->order = order;
        return 0;
}

static int prepare(struct count *c)
{
        int r = cohorts_make(c);

        if (r >= 0)
                r = make_order(c);
        if (r < 0) {
                cohorts_free(c);
                return r;
        }
        for (size_t i = 0; i < c->n_spaces; i++)
                c->spaces[c->order[i]].position = i;
        c->unsettled = c->n_spaces;
        c->began = c->sys->ops->now(c->sys);
        for (size_t g = 0; g < c->n_groups; g++)
                if (c->groups[g].pending == 0) {
                        c->groups[g].started = c->began;
                        group_walked(c, (uint32_t)g);
                }
        return 0;
}

/* -- what is next; with the lock held -- */

static struct scan *scan_to_help(struct count *c, bool leading)
{
        for (struct scan *scan = c->scans; scan; scan = scan->next)
                if (scan->open && scan->error == 0 && scan->cursor != UINT64_MAX && scan->left >= COUNT_HELP_PAGES &&
                    (scan->leads || !leading))
                        return scan;
        return NULL;
}

/* The next address space that is nobody's, NULL: none is left. */
static struct space *next_first(struct count *c)
{
        for (; c->next_first < c->n_spaces; c->next_first++)
                if (!c->spaces[c->order[c->next_first]].taken)
                        return &c->spaces[c->order[c->next_first]];
        return NULL;
}

bool count_wants_help(struct count *c)
{
        if (c->called || c->sys->ops->now(c->sys) < c->began + HELP_AFTER_USEC)
                return false;
        return next_first(c) || scan_to_help(c, false);
}

/* A step of verifying a group that waits for it. */
static bool take_verify(struct count *c, struct slot *slot)
{
        for (size_t *at = &c->waiting; *at != NONE;) {
                struct group *g = &c->groups[*at];

                switch (verify_next(c, g, &slot->space)) {
                case VERIFY_DONE:
                        *at = g->next_waiting;
                        group_finish(c, g);
                        continue;
                case VERIFY_LOOK:
                        slot->kind = WORK_LOOK;
                        slot->group = g;
                        return true;
                case VERIFY_WALK:
                        slot->kind = WORK_VERIFY;
                        slot->group = g;
                        slot->member = c->spaces[slot->space].first;
                        return true;
                case VERIFY_WAIT:
                        at = &g->next_waiting;
                }
        }
        return false;
}

static void add_strand(struct lane *l, size_t space, size_t member, struct scan *scan)
{
        l->strands[l->n_strands++] =
                        (struct strand){.space = space, .member = member, .scan = scan, .helps = scan != NULL};
}

static void take_space(struct lane *l, struct space *s)
{
        s->taken = true;
        add_strand(l, (size_t)(s - l->c->spaces), s->first, NULL);
}

/*
 * How many address spaces a thread takes to walk by turns, if those of a family are next: towards the end fewer, so that all threads
 * end at the same time.
 */
static size_t turns(const struct count *c)
{
        size_t threads = 0;

        for (const struct slot *s = c->slots; s; s = s->next)
                threads++;
        return MAX(MIN((c->n_spaces - c->next_first) / threads, (size_t)COUNT_STRANDS), (size_t)1);
}

static bool take_first(struct lane *l)
{
        struct count *c = l->c;
        struct scan *scan = scan_to_help(c, true);
        struct space *s = scan ? NULL : next_first(c);

        l->n_strands = 0;
        if (s) {
                size_t n = turns(c);

                do
                        take_space(l, s);
                while (l->n_strands < n && echo_expects(&l->echo, s->groups, s->n_groups, COUNT_PIECE_PAGES) &&
                       (s = next_first(c)) && echo_expects(&l->echo, s->groups, s->n_groups, COUNT_PIECE_PAGES));
        } else {
                if (!scan)
                        scan = scan_to_help(c, false);
                if (!scan)
                        return false;
                add_strand(l, scan->space, scan->member, scan);
        }
        l->slot->kind = WORK_FIRST;
        l->slot->n_scans = 0;
        return true;
}

/* A second walk; they begin when the mappings of all processes are known. */
static bool take_second(struct count *c, struct slot *slot)
{
        for (; c->unsettled == 0 && c->next_second < c->n_spaces; c->next_second++) {
                struct space *s = &c->spaces[c->order[c->next_second]];

                if (s->second_taken || s->second_done)
                        continue;
                if (s->given_up) {
                        space_settle_second(c, s);
                        return take_verify(c, slot) || take_second(c, slot);
                }
                s->second_taken = true;
                slot->kind = WORK_SECOND;
                slot->space = c->order[c->next_second++];
                slot->member = s->first;
                return true;
        }
        return false;
}

static bool others_work(const struct count *c, const struct slot *slot)
{
        for (const struct slot *s = c->slots; s; s = s->next)
                if (s != slot && s->kind != WORK_NONE)
                        return true;
        return false;
}

static void wait_for_others(struct count *c)
{
        struct timespec until;

        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += (long)WAIT_USEC * 1000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        (void)pthread_cond_timedwait(&c->wake, &c->mutex, &until);
}

/* -- doing it; with the lock held, except where the thread was given up -- */

static struct scan *scan_new(struct count *c, size_t space, size_t member)
{
        struct scan *scan = malloc(sizeof(*scan));

        if (!scan)
                return NULL;
        *scan = (struct scan){.space = space,
                              .member = member,
                              .number = ++c->n_scans,
                              .started = c->sys->ops->now(c->sys),
                              .next = c->scans};
        c->scans = scan;
        return scan;
}

/* Begins the walks in the strands, or joins those that others have begun. What cannot be is left out. */
static void begin_strands(struct lane *l)
{
        struct count *c = l->c;
        /* where mappings are counted, every page must be looked at; a helper sees but a part, and so does an estimate */
        bool echoes = !(c->flags & (COUNT_PRIVATE | COUNT_SHARES)) && c->sampling.one_in == 0;
        size_t n = 0;

        for (size_t i = 0; i < l->n_strands; i++) {
                struct strand *t = &l->strands[n];
                struct space *s;

                *t = l->strands[i];
                s = &c->spaces[t->space];
                if (!t->scan)
                        t->scan = scan_new(c, t->space, t->member);
                if (!t->scan) {
                        space_settle(c, s, COUNT_UNREAD, -ENOMEM);
                        continue;
                }
                t->scan->threads++;
                t->scan->helped = t->scan->helped || t->helps;
                if (echoes && !t->helps && s->n_groups > 0)
                        echo_begin(&l->echo, &t->echo, c->features->page_size, s->groups, s->n_groups);
                cohort_view(c, s, &t->seen);
                l->slot->scans[n++] = t->scan;
        }
        l->n_strands = l->slot->n_scans = n;
}

/* Hands over what a strand found. If it was the last, its walk is over: the next process of the address space to try, or NONE. */
static size_t end_strand(struct lane *l, struct strand *t, usec_t cost)
{
        struct count *c = l->c;
        struct scan *scan = t->scan;
        bool whole = false;
        size_t next = NONE;

        scan->threads--;
        scan->cost += cost;
        found_sum(&scan->found, &t->found);
        if (t->parts) {
                t->parts->next = scan->parts;
                scan->parts = TAKE_PTR(t->parts);
        }
        if (t->error < 0 && scan->error == 0)
                scan->error = t->error;
        if (scan->threads == 0) {
                whole = !scan->helped;
                next = first_end(c, scan);
        }
        echo_end(&t->echo, whole && c->members[t->member].outcome == COUNT_DONE);
        return next;
}

/* First walks of address spaces, each through whichever of its processes still lives; or help with one. */
static int do_first(struct lane *l)
{
        struct count *c = l->c;
        int r = 0;

        while (l->n_strands > 0 && r == 0) {
                usec_t cpu, cost;
                size_t n = 0;

                begin_strands(l);
                pthread_mutex_unlock(&c->mutex);
                cpu = c->sys->ops->cpu_now(c->sys);
                if (first_walks(l) < 0)
                        return -ECANCELED;
                cost = c->sys->ops->cpu_now(c->sys) - cpu;
                pthread_mutex_lock(&c->mutex);
                l->slot->n_scans = 0;
                for (size_t i = 0; i < l->n_strands; i++) {
                        struct strand t = l->strands[i];
                        size_t next = end_strand(l, &t, cost / l->n_strands);

                        l->strands[i] = (struct strand){};
                        if (t.error == -ECANCELED)
                                r = -ECANCELED;
                        if (next != NONE)
                                l->strands[n++] = (struct strand){.space = t.space, .member = next};
                }
                l->n_strands = n;
        }
        /* told to stop: as if these had never been begun */
        for (; l->n_strands > 0; l->n_strands--)
                space_untake(c, &c->spaces[l->strands[l->n_strands - 1].space]);
        return r;
}

/* A process that ended since keeps its figures; only its share is not known. */
static int do_second(struct lane *l)
{
        struct count *c = l->c;
        struct space *s = &c->spaces[l->slot->space];
        int r = -ESRCH;

        for (size_t m = s->first; m != NONE && r != 0; m = c->members[m].next) {
                usec_t started = c->sys->ops->now(c->sys), cpu = c->sys->ops->cpu_now(c->sys);
                uint64_t share, alone;

                if (c->members[m].outcome != COUNT_DONE)
                        continue;
                l->slot->member = m;
                pthread_mutex_unlock(&c->mutex);
                r = second_walk(l, &share, &alone);
                if (l->x->lost)
                        return -ECANCELED;
                pthread_mutex_lock(&c->mutex);
                if (r == -ECANCELED) {
                        s->second_taken = false;
                        c->next_second = MIN(c->next_second, s->position);
                        return r;
                }
                groups_charge(c, s, started, c->sys->ops->cpu_now(c->sys) - cpu);
                if (r == 0) {
                        s->sample.share = share;
                        s->sample.alone = alone;
                }
        }
        space_settle_second(c, s);
        return 0;
}

static int do_verify(struct lane *l)
{
        struct count *c = l->c;
        struct group *g = l->slot->group;
        int r;

        pthread_mutex_unlock(&c->mutex);
        r = verify_walk(l);
        if (l->x->lost)
                return -ECANCELED;
        pthread_mutex_lock(&c->mutex);
        verify_walked(g, l->slot->space, r == -ECANCELED);
        return r;
}

static int do_look(struct lane *l)
{
        struct count *c = l->c;
        struct group *g = l->slot->group;
        usec_t cpu = c->sys->ops->cpu_now(c->sys);

        pthread_mutex_unlock(&c->mutex);
        verify_look(l);
        pthread_mutex_lock(&c->mutex);
        g->cost += c->sys->ops->cpu_now(c->sys) - cpu;
        g->verify.looking = false;
        return 0;
}

static int do_work(struct lane *l)
{
        switch (l->slot->kind) {
        case WORK_FIRST:
                return do_first(l);
        case WORK_SECOND:
                return do_second(l);
        case WORK_VERIFY:
                return do_verify(l);
        case WORK_LOOK:
                return do_look(l);
        case WORK_NONE:
                break;
        }
        return 0;
}

/* With the lock held, which it still is unless the thread was given up. */
static int work(struct lane *l)
{
        struct count *c = l->c;

        for (;;) {
                int r;

                if (guard_stopping(l->guard))
                        return -ECANCELED;
                if (!take_verify(c, l->slot) && !take_first(l) && !take_second(c, l->slot)) {
                        if (!others_work(c, l->slot))
                                return 0;
                        wait_for_others(c);
                        continue;
                }
                r = do_work(l);
                if (l->x->lost)
                        return r;
                l->slot->kind = WORK_NONE;
                if (c->slots->next)
                        pthread_cond_broadcast(&c->wake);
                if (r < 0)
                        return r;
        }
}

static void slot_unlink(struct count *c, struct slot *slot)
{
        for (struct slot **p = &c->slots; *p; p = &(*p)->next)
                if (*p == slot) {
                        *p = slot->next;
                        return;
                }
}

/* In a slot; with the lock held, which it still is unless the thread was given up. */
static int run_in_slot(struct lane *l)
{
        struct count *c = l->c;
        struct slot *slot = calloc(1, sizeof(*slot));
        int r = 0;

        if (!slot)
                return -ENOMEM;
        slot->guard = l->guard;
        slot->next = c->slots;
        c->slots = l->slot = slot;
        if (!c->order)
                r = prepare(c);
        if (r == 0)
                r = work(l);
        if (l->x->lost)
                return r;
        slot_unlink(c, slot);
        pthread_cond_broadcast(&c->wake);
        free(slot);
        return r;
}

int count_run(struct count *c, struct guard *guard)
{
        _cleanup_(walk_context_freep) struct walk_context *x = NULL;
        struct lane lane = {.c = c, .guard = guard};
        int r;

        r = walk_context_new(c->sys, c->features, &x);
        lane.x = x;
        if (r == 0) {
                walk_context_set_max_stall(x, c->max_stall);
                lane.sampling = c->sampling;
                x->sampling = c->sampling.one_in > 0 ? &lane.sampling : NULL;
        }
        pthread_mutex_lock(&c->mutex);
        if (r < 0)
                /* no matter where others can do it */
                r = others_work(c, NULL) ? 0 : r;
        else
                r = run_in_slot(&lane);
        if (!x || !x->lost)
                pthread_mutex_unlock(&c->mutex);
        parts_free(lane.parts);
        for (size_t i = 0; i < COUNT_STRANDS; i++)
                strand_clear(&lane.strands[i]);
        echo_done(&lane.echo);
        return r;
}

/* The process that the thread is stuck at is not tried again, and the others that it had taken are begun anew. */
static void give_up_scans(struct count *c, const struct slot *slot)
{
        for (size_t i = 0; i < slot->n_scans; i++) {
                struct scan *scan = slot->scans[i];

                scan->stuck = scan->stuck || i == slot->at;
                scan->error = -ECANCELED;
                if (--scan->threads == 0)
                        first_end(c, scan);
        }
}

pid_t count_give_up(struct count *c, const struct guard *guard)
{
        struct slot *slot;
        pid_t pid = 0;

        pthread_mutex_lock(&c->mutex);
        for (slot = c->slots; slot; slot = slot->next)
                if (slot->guard == guard && slot->kind != WORK_NONE)
                        break;
        if (slot) {
                slot_unlink(c, slot);
                pid = c->members[slot->member].pid;
                if (slot->kind == WORK_FIRST) {
                        give_up_scans(c, slot);
                } else {
                        struct space *s = &c->spaces[slot->space];

                        s->given_up = true;
                        if (slot->kind == WORK_SECOND)
                                space_settle_second(c, s);
                        else
                                verify_walked(slot->group, slot->space, false);
                }
                pthread_cond_broadcast(&c->wake);
        }
        pthread_mutex_unlock(&c->mutex);
        free(slot);
        return pid;
}

/* -- threads of one's own -- */

struct own_threads {
        struct guard guard; /* of the thread that began */
        struct count *count;
        pthread_t helpers[COUNT_MAX_THREADS];
        unsigned n, wanted;
};

static void own_enter(struct guard *g, pid_t pid)
{
}

static bool own_leave(struct guard *g)
{
        return true;
}

static bool own_stopping(struct guard *g)
{
        return false;
}

static void *help(void *arg)
{
        (void)count_run(arg, NULL);
        return NULL;
}

static void own_help(struct guard *g)
{
        struct own_threads *t = (struct own_threads *)g;

        while (t->n + 1 < t->wanted && pthread_create(&t->helpers[t->n], NULL, help, t->count) == 0)
                t->n++;
}

int count_run_parallel(struct count *c, unsigned threads)
{
        struct own_threads t = {
                        .guard = {.enter = own_enter, .leave = own_leave, .stopping = own_stopping, .help = own_help},
                        .count = c,
                        .wanted = MIN(threads, COUNT_MAX_THREADS),
        };
        int r = count_run(c, &t.guard);

        while (t.n > 0)
                pthread_join(t.helpers[--t.n], NULL);
        return r;
}
