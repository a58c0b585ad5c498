/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#include "order.h"

/*
 * Idleness decides before size, but only in classes. Memory of a process that has slept for a minute is unlikely to be wanted
 * soon, whoever is larger; a few seconds of sleep say a little (a server between two requests); and a difference of
 * milliseconds says nothing, so within a class the largest goes first: fewest processes disturbed for the goal.
 */
static unsigned idle_class(const struct pageout_target *t)
{
        static const usec_t limits[] = {60 * USEC_PER_SEC, 5 * USEC_PER_SEC};
        unsigned c = 0;

        while (c < ARRAY_SIZE(limits) && t->idle_for < limits[c])
                c++;
        return c;
}

static bool is_cursor(const struct pageout_target *t, const struct pageout_cursor *c)
{
        return c->pid != 0 && t->pid == c->pid && t->start_time == c->start_time;
}

static int compare_targets(const void *x, const void *y, void *userdata)
{
        const struct pageout_target *a = x, *b = y;
        const struct pageout_cursor *cursor = userdata;

        if (is_cursor(a, cursor) != is_cursor(b, cursor))
                return is_cursor(a, cursor) ? -1 : 1;
        if (idle_class(a) != idle_class(b))
                return idle_class(a) < idle_class(b) ? -1 : 1;
        if (a->resident != b->resident)
                return a->resident > b->resident ? -1 : 1;
        if (a->idle_for != b->idle_for)
                return a->idle_for > b->idle_for ? -1 : 1;
        return a->pid < b->pid ? -1 : a->pid > b->pid; /* the same order every time */
}

void pageout_order(struct pageout_target *targets, size_t n, const struct pageout_cursor *cursor)
{
        struct pageout_cursor copy = *cursor;

        if (n > 1)
                qsort_r(targets, n, sizeof(*targets), compare_targets, &copy);
}

struct mm_user {
        uint64_t mm_id;
        size_t target;
};

static int compare_mm_users(const void *x, const void *y)
{
        const struct mm_user *a = x, *b = y;

        if (a->mm_id != b->mm_id)
                return a->mm_id < b->mm_id ? -1 : 1;
        return a->target < b->target ? -1 : a->target > b->target;
}

/* PID 1 and capd itself are protected whatever the request says: a mistake there would be the last. */
static bool is_protected(const struct pageout_target *t)
{
        return t->protected_process || t->pid <= 1 || t->pid == getpid();
}

enum fate {
        FATE_ACT,
        FATE_SPARE,
        FATE_DUPLICATE, /* another target stands for this address space */
};

/* An address space belongs to all who use it: to spare one of them is to spare them all. 0 is no known address space. */
static int decide_fates(const struct pageout_target *targets, size_t n, uint64_t floor, enum fate *fates)
{
        _cleanup_free_ struct mm_user *users = malloc(MAX(n, (size_t)1) * sizeof(*users));

        if (!users)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                users[i] = (struct mm_user){.mm_id = targets[i].mm_id, .target = i};
                fates[i] = is_protected(&targets[i]) || targets[i].resident < floor ? FATE_SPARE : FATE_ACT;
        }
        qsort(users, n, sizeof(*users), compare_mm_users);
        for (size_t i = 1, first = 0; i < n; i++) {
                if (users[i].mm_id == 0 || users[i].mm_id != users[first].mm_id) {
                        first = i;
                        continue;
                }
                if (is_protected(&targets[users[i].target]))
                        fates[users[first].target] = FATE_SPARE;
                fates[users[i].target] = FATE_DUPLICATE;
        }
        return 0;
}

void legs_done(struct legs *l)
{
        free(l->items);
        *l = (struct legs){};
}

int legs_plan(struct legs *l, const struct pageout_target *targets, size_t n, uint64_t floor,
              const struct pageout_cursor *cursor, uint64_t *left_floor)
{
        _cleanup_free_ enum fate *fates = malloc(MAX(n, (size_t)1) * sizeof(*fates));
        /* Each target once, the cursor's twice, and each of those put off once. */
        size_t allocated = 2 * (n + 1);
        bool resume = n > 0 && is_cursor(&targets[0], cursor) && cursor->address > 0;
        int r;

        if (!fates)
                return -ENOMEM;
        r = decide_fates(targets, n, floor, fates);
        if (r < 0)
                return r;
        *l = (struct legs){.items = malloc(allocated * sizeof(*l->items)), .allocated = allocated};
        if (!l->items)
                return -ENOMEM;

        for (size_t i = 0; i < n; i++) {
                if (fates[i] == FATE_SPARE)
                        *left_floor += targets[i].resident;
                if (fates[i] == FATE_ACT)
                        l->items[l->n++] = (struct leg){
                                        .target = i,
                                        .from = i == 0 && resume ? cursor->address : 0,
                                        .to = UINT64_MAX,
                        };
        }
        if (resume && fates[0] == FATE_ACT)
                l->items[l->n++] = (struct leg){.target = 0, .from = 0, .to = cursor->address};
        return 0;
}

void legs_defer(struct legs *l, size_t i, uint64_t address)
{
        struct leg leg = l->items[i];

        if (leg.deferred || l->n == l->allocated)
                return;
        leg.from = address;
        leg.deferred = true;
        l->items[l->n++] = leg;
}
