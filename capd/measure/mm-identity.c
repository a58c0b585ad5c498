/* SPDX-License-Identifier: MIT */
/*
 * mm-identity.c: which processes share one address space (clone(2) with CLONE_VM, vfork(2)).
 *
 * Only kcmp(2) can tell, a pair at a time. Sharers have the same mm, hence code and stack at the same places, so only those
 * are compared; but a fork family, which shares nothing, has them too. kcmp gives an order (of disguised pointers, the same until the next boot): those
 * known keep their rank in it, and a new process finds its place by bisection, some seven calls of 1 µs in a family of a hundred.
 */
#include <errno.h>
#include <string.h>

#include "capd/measure/stuck.h"
#include "table-internal.h"

static int compare_keys(const struct process *a, const struct process *b)
{
        for (size_t i = 0; i < ARRAY_SIZE(a->mm_key); i++)
                if (a->mm_key[i] != b->mm_key[i])
                        return a->mm_key[i] < b->mm_key[i] ? -1 : 1;
        return 0;
}

/* Those that have a place first, in their order. */
static int compare_processes(const void *x, const void *y)
{
        const struct process *a = *(struct process *const *)x, *b = *(struct process *const *)y;
        int r = compare_keys(a, b);

        if (r != 0)
                return r;
        if ((a->mm_rank == 0) != (b->mm_rank == 0))
                return a->mm_rank == 0 ? 1 : -1;
        return (a->mm_rank > b->mm_rank) - (a->mm_rank < b->mm_rank);
}

/* Among `n` others that p has been told apart from: the one that it had, if nobody else has that now, so that what is known by it goes on; else a new one. */
static uint64_t id_alone(struct process_table *t, const struct process *p, struct process *const *others, size_t n)
{
        uint64_t before = p->mm_id > 0 ? p->mm_id : p->mm_before;

        for (size_t i = 0; before > 0 && i < n; i++)
                if (others[i]->mm_id == before)
                        before = 0;
        return before > 0 ? before : ++t->last_mm_id;
}

/*
 * Finds the place of p among the n in order. 1, *ret, and *ret_sharer if it has the mm of one of them; 0 one of the two has ended, or must not or may
 * not be compared: p is alone for now, which costs a walk and no wrong page, and is tried again when somebody comes; -ECANCELED given up.
 */
static int find_place(const struct sys *sys, struct guard *guard, const struct process *p, struct process *const *items,
                      size_t n, size_t *ret, struct process **ret_sharer)
{
        size_t low = 0, high = n;

        *ret_sharer = NULL;
        if (stuck_blamed(sys, p->facts.pid))
                return 0;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                pid_t a = p->facts.pid, b = items[middle]->facts.pid;
                int r;

                guard_enter_for_either(guard, a, b);
                r = sys->ops->kcmp_vm(sys, a, b);
                if (!guard_leave(guard))
                        return -ECANCELED;
                if (r < 0 || r > 2)
                        return 0;
                if (r == 0) {
                        *ret_sharer = items[middle];
                        low = middle;
                        break;
                }
                if (r == 1)
                        high = middle;
                else
                        low = middle + 1;
        }
        *ret = low;
        return 1;
}

/* Those of one mm_key; the first of them are in order. 0 or -ECANCELED, and then nobody has a place that is not true. */
static int identify_equal_keys(struct process_table *t, struct guard *guard, struct process **items, size_t n)
{
        const struct sys *sys = t->sys;
        size_t placed = 0, unknown = 0;

        for (size_t i = 0; i < n; i++) {
                unknown += items[i]->mm_id == 0;
                placed += items[i]->mm_rank != 0;
        }
        if (unknown == 0)
                return 0;
        for (size_t i = placed; i < n; i++) {
                struct process *p = items[i], *sharer;
                size_t at;
                int r = find_place(sys, guard, p, items, placed, &at, &sharer);

                if (r < 0)
                        return r;
                if (sharer) {
                        p->mm_id = sharer->mm_id;
                        p->mm_shared = sharer->mm_shared = true;
                } else
                        p->mm_id = id_alone(t, p, items, i);
                if (r == 0)
                        continue;
                /* who found none stands behind those in order */
                memmove(items + placed + 1, items + placed, (i - placed) * sizeof(*items));
                memmove(items + at + 1, items + at, (placed - at) * sizeof(*items));
                items[at] = p;
                placed++;
        }
        for (size_t i = 0; i < n; i++) {
                items[i]->mm_rank = i < placed ? i + 1 : 0;
                items[i]->mm_before = 0;
        }
        return 0;
}

int mm_identify(struct process_table *t, struct guard *guard)
{
        _cleanup_free_ struct process **items = NULL;
        struct process *p = NULL;
        size_t n = 0, unknown = 0;

        while ((p = process_table_next(t, p))) {
                if (p->mm_shared) {
                        p->mm_shared = false;
                        p->mm_before = p->mm_id;
                        p->mm_id = p->mm_rank = 0;
                }
                if (p->mm_rank != 0 && stuck_blamed(t->sys, p->facts.pid))
                        p->mm_rank = 0;
                unknown += p->mm_id == 0;
        }
        if (unknown == 0)
                return 0;
        items = reallocarray(NULL, t->n, sizeof(struct process *));
        while ((p = process_table_next(t, p))) {
                bool comparable = p->mm_key[2] != 0 && !p->facts.kernel_thread && !p->facts.zombie;

                if (items && comparable)
                        items[n++] = p;
                else if (p->mm_id == 0)
                        p->mm_id = ++t->last_mm_id;
        }
        if (n == 0)
                return 0;
        qsort(items, n, sizeof(struct process *), compare_processes);
        for (size_t i = 0, end; i < n; i = end) {
                int r;

                for (end = i + 1; end < n && compare_keys(items[i], items[end]) == 0; end++)
                        ;
                r = identify_equal_keys(t, guard, items + i, end - i);
                if (r < 0)
                        return r;
        }
        return 0;
}
