/* SPDX-License-Identifier: MIT */
/* count-fill.c: what a count is of, before it runs: groups, and processes by their address spaces. */
#include <errno.h>
#include <stdlib.h>

#include "capd/limits.h"
#include "count-internal.h"

static int grow_array(void **items, size_t *allocated, size_t n, size_t item_size)
{
        size_t want = *allocated ? *allocated * 2 : 16;
        void *bigger;

        if (n < *allocated)
                return 0;
        bigger = reallocarray(*items, want, item_size);
        if (!bigger)
                return -ENOMEM;
        *items = bigger;
        *allocated = want;
        return 0;
}

int count_new(const struct sys *sys, const struct features *features, unsigned flags, struct count **ret)
{
        struct count *c = malloc(sizeof(*c));
        pthread_condattr_t attr;

        if (!c)
                return -ENOMEM;
        if (flags & COUNT_INSIDE)
                flags |= COUNT_PRIVATE;
        *c = (struct count){
                        .sys = sys, .features = features, .flags = flags, .max_stall = WALK_MAX_STALL, .waiting = NONE};
        pthread_mutex_init(&c->mutex, NULL);
        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(&c->wake, &attr);
        pthread_condattr_destroy(&attr);
        *ret = c;
        return 0;
}

void count_set_max_stall(struct count *c, usec_t max_stall)
{
        c->max_stall = max_stall;
}

int count_set_sample(struct count *c, uint32_t one_in)
{
        ssize_t n = c->sys->ops->getrandom(c->sys, &c->sampling.seed, sizeof(c->sampling.seed));

        if (n != sizeof(c->sampling.seed))
                return n < 0 ? (int)n : -EIO;
        if (one_in == 0 || c->flags != 0 || c->order)
                return -EINVAL;
        c->sampling.one_in = one_in;
        return 0;
}

struct count *count_free(struct count *c)
{
        if (!c)
                return NULL;
        /* of threads that were lost and not given up */
        for (struct slot *s = c->slots, *next; s; s = next) {
                next = s->next;
                free(s);
        }
        for (struct scan *s = c->scans, *next; s; s = next) {
                next = s->next;
                parts_free(s->parts);
                free(s);
        }
        for (size_t i = 0; i < c->n_groups; i++) {
                tally_done(&c->groups[i].tally);
                sampling_group_done(&c->groups[i].sampling);
                verify_done(&c->groups[i].verify);
        }
        cohorts_free(c);
        for (size_t i = 0; i < c->n_spaces; i++)
                free(c->spaces[i].groups);
        free(c->members);
        free(c->spaces);
        free(c->by_mm);
        free(c->groups);
        free(c->order);
        pthread_cond_destroy(&c->wake);
        pthread_mutex_destroy(&c->mutex);
        free(c);
        return NULL;
}

int count_add_group(struct count *c)
{
        if (c->order)
                return -EBUSY;
        if (c->n_groups >= LIMIT_GROUPS)
                return -E2BIG;
        if (grow_array((void **)&c->groups, &c->groups_allocated, c->n_groups, sizeof(*c->groups)) < 0)
                return -ENOMEM;
        c->groups[c->n_groups] = (struct group){};
        tally_init(&c->groups[c->n_groups].tally, c->flags & (COUNT_PRIVATE | COUNT_SHARES));
        return (int)c->n_groups++;
}

static size_t *mm_slot(size_t *by_mm, size_t slots, const struct space *spaces, uint64_t mm_id)
{
        size_t i = (size_t)(mm_id * UINT64_C(0x9E3779B97F4A7C15) >> 16) & (slots - 1);

        while (by_mm[i] != NONE && spaces[by_mm[i]].mm_id != mm_id)
                i = (i + 1) & (slots - 1);
        return &by_mm[i];
}

static int grow_mm_table(struct count *c)
{
        size_t slots = c->by_mm_slots ? c->by_mm_slots * 2 : 64, *by_mm;

        if ((c->n_spaces + 1) * 2 <= c->by_mm_slots)
                return 0;
        by_mm = reallocarray(NULL, slots, sizeof(*by_mm));
        if (!by_mm)
                return -ENOMEM;
        for (size_t i = 0; i < slots; i++)
                by_mm[i] = NONE;
        for (size_t i = 0; i < c->n_spaces; i++)
                if (c->spaces[i].mm_id != 0)
                        *mm_slot(by_mm, slots, c->spaces, c->spaces[i].mm_id) = i;
        free(c->by_mm);
        c->by_mm = by_mm;
        c->by_mm_slots = slots;
        return 0;
}

/* The address space with an id, made if new. An id of 0 is equal to none. */
static int space_get(struct count *c, uint64_t mm_id, size_t *ret)
{
        size_t *slot;

        if (grow_mm_table(c) < 0 ||
            grow_array((void **)&c->spaces, &c->spaces_allocated, c->n_spaces, sizeof(*c->spaces)) < 0)
                return -ENOMEM;
        if (mm_id != 0) {
                slot = mm_slot(c->by_mm, c->by_mm_slots, c->spaces, mm_id);
                if (*slot != NONE) {
                        *ret = *slot;
                        return 0;
                }
                *slot = c->n_spaces;
        }
        c->spaces[c->n_spaces] = (struct space){
                        .mm_id = mm_id,
                        .first = NONE,
                        .last = NONE,
                        .sample = {.share = SIZE_UNKNOWN, .alone = SIZE_UNKNOWN},
        };
        *ret = c->n_spaces++;
        return 0;
}

static bool in_groups(const uint32_t *groups, size_t n, uint32_t g)
{
        for (size_t i = 0; i < n; i++)
                if (groups[i] == g)
                        return true;
        return false;
}

int count_add_process(struct count *c, pid_t pid, uint64_t start_time, uint64_t mm_id, const uint32_t *groups,
                      size_t n_groups)
{
        uint32_t *all;
        struct space *s;
        size_t index;
        int r;

        if (c->order)
                return -EBUSY;
        if (n_groups > LIMIT_GROUPS_PER_PROCESS || c->n_members >= LIMIT_PROCESSES)
                return -E2BIG;
        for (size_t i = 0; i < n_groups; i++)
                if (groups[i] >= c->n_groups)
                        return -EINVAL;
        if (grow_array((void **)&c->members, &c->members_allocated, c->n_members, sizeof(*c->members)) < 0)
                return -ENOMEM;
        r = space_get(c, mm_id, &index);
        if (r < 0)
                return r;
        s = &c->spaces[index];
        all = reallocarray(s->groups, s->n_groups + n_groups + 1, sizeof(*all));
        if (!all)
                return -ENOMEM;
        s->groups = all;
        for (size_t i = 0; i < n_groups; i++)
                if (!in_groups(s->groups, s->n_groups, groups[i])) {
                        s->groups[s->n_groups++] = groups[i];
                        c->groups[groups[i]].pending++;
                }
        if (s->first == NONE)
                s->first = c->n_members;
        else
                c->members[s->last].next = c->n_members;
        s->last = c->n_members;
        c->members[c->n_members] = (struct member){.pid = pid, .start_time = start_time, .space = index, .next = NONE};
        return (int)c->n_members++;
}
