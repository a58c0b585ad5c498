/* SPDX-License-Identifier: MIT */
/*
 * mm-identity.c: which processes share one address space (clone(2) with CLONE_VM, vfork(2)).
 *
 * Only kcmp(2) can tell, a pair at a time. Sharers have the same mm, hence code and stack at the same places, so only those
 * are compared; but a fork family, which shares nothing, has them too. kcmp gives an order (of disguised pointers, the same until the next boot): those
 * known keep their rank in it, and a new process finds its place by bisection, some seven calls of 1 µs in a family of a hundred.
 */
#include <string.h>

#include "table-internal.h"

static int compare_keys(const struct process *a, const struct process *b)
{
        for (size_t i = 0; i < ARRAY_SIZE(a->mm_key); i++)
                if (a->mm_key[i] != b->mm_key[i])
                        return a->mm_key[i] < b->mm_key[i] ? -1 : 1;
        return 0;
}

/* Known ones first, in their order. */
static int compare_processes(const void *x, const void *y)
{
        const struct process *a = *(struct process *const *)x, *b = *(struct process *const *)y;
        int r = compare_keys(a, b);

        if (r != 0)
                return r;
        if ((a->mm_id == 0) != (b->mm_id == 0))
                return a->mm_id == 0 ? 1 : -1;
        return a->mm_rank < b->mm_rank ? -1 : a->mm_rank > b->mm_rank;
}

/* Puts p at its place among the n known ones before it (items[n] is p). */
static void place(struct process_table *t, struct process **items, size_t n)
{
        struct process *p = items[n];
        size_t low = 0, high = n;

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                int r = t->sys->ops->kcmp_vm(t->sys, p->facts.pid, items[middle]->facts.pid);

                if (r == 0) {
                        p->mm_id = items[middle]->mm_id;
                        p->mm_shared = items[middle]->mm_shared = true;
                        low = middle;
                        break;
                }
                /* one of the two has ended, or nothing may be compared: alone for now, which costs a walk and no wrong page */
                if (r < 0 || r > 2)
                        break;
                if (r == 1)
                        high = middle;
                else
                        low = middle + 1;
        }
        if (p->mm_id == 0)
                p->mm_id = ++t->last_mm_id;
        memmove(items + low + 1, items + low, (n - low) * sizeof(*items));
        items[low] = p;
}

static void identify_equal_keys(struct process_table *t, struct process **items, size_t n)
{
        size_t known = 0;

        while (known < n && items[known]->mm_id != 0)
                known++;
        if (known == n)
                return;
        for (; known < n; known++)
                place(t, items, known);
        for (size_t i = 0; i < n; i++)
                items[i]->mm_rank = i + 1;
}

void mm_identify(struct process_table *t)
{
        _cleanup_free_ struct process **items = NULL;
        struct process *p = NULL;
        size_t n = 0, unknown = 0;

        while ((p = process_table_next(t, p))) {
                if (p->mm_shared) {
                        p->mm_shared = false;
                        p->mm_id = 0;
                }
                unknown += p->mm_id == 0;
        }
        if (unknown == 0)
                return;
        items = reallocarray(NULL, t->n, sizeof(struct process *));
        while ((p = process_table_next(t, p))) {
                bool comparable = p->mm_key[2] != 0 && !p->facts.kernel_thread && !p->facts.zombie;

                if (items && comparable)
                        items[n++] = p;
                else if (p->mm_id == 0)
                        p->mm_id = ++t->last_mm_id;
        }
        if (n == 0)
                return;
        qsort(items, n, sizeof(struct process *), compare_processes);
        for (size_t i = 0, end; i < n; i = end) {
                for (end = i + 1; end < n && compare_keys(items[i], items[end]) == 0; end++)
                        ;
                identify_equal_keys(t, items + i, end - i);
        }
}
