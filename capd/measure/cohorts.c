/* SPDX-License-Identifier: MIT */
/*
 * cohorts.c: address spaces that are in the very same groups. What one of them has shown, all of its groups have: so what they have
 * seen of shared objects (seen.h) is kept for each cohort, until the last of its address spaces has been walked.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "count-internal.h"

static int compare_groups(const void *a, const void *b)
{
        uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

        return x < y ? -1 : x > y;
}

static uint64_t hash_groups(const struct space *s)
{
        uint64_t hash = s->n_groups;

        for (size_t i = 0; i < s->n_groups; i++)
                hash = (hash ^ s->groups[i]) * UINT64_C(0x9E3779B97F4A7C15);
        return hash ^ hash >> 32;
}

static bool same_groups(const struct space *a, const struct space *b)
{
        return a->n_groups == b->n_groups &&
               (a->n_groups == 0 || memcmp(a->groups, b->groups, a->n_groups * sizeof(*a->groups)) == 0);
}

int cohorts_make(struct count *c)
{
        size_t slots = 64, *by_groups, i;

        /* mappings that are not read are not counted, and a process's part is not told from what others have; an estimate reads too
         * little of each to know again */
        if (c->flags & (COUNT_PRIVATE | COUNT_SHARES) || c->sampling.one_in > 0 || c->n_spaces == 0)
                return 0;
        while (slots < 2 * c->n_spaces)
                slots *= 2;
        by_groups = reallocarray(NULL, slots, sizeof(*by_groups));
        c->cohorts = calloc(c->n_spaces, sizeof(*c->cohorts));
        if (!by_groups || !c->cohorts) {
                free(by_groups);
                return -ENOMEM;
        }
        for (i = 0; i < slots; i++)
                by_groups[i] = NONE;
        /* a cohort has the index of its first address space, of which most have none */
        for (size_t k = 0; k < c->n_spaces; k++) {
                struct space *s = &c->spaces[k];

                if (s->n_groups > 1)
                        qsort(s->groups, s->n_groups, sizeof(*s->groups), compare_groups);
                i = (size_t)hash_groups(s) & (slots - 1);
                while (by_groups[i] != NONE && !same_groups(&c->spaces[by_groups[i]], s))
                        i = (i + 1) & (slots - 1);
                if (by_groups[i] == NONE)
                        by_groups[i] = k;
                s->cohort = by_groups[i];
                c->cohorts[s->cohort].left++;
        }
        free(by_groups);
        return 0;
}

void cohorts_free(struct count *c)
{
        for (size_t i = 0; c->cohorts && i < c->n_spaces; i++)
                seen_done(&c->cohorts[i].seen);
        free(c->cohorts);
        c->cohorts = NULL;
}

/* Whether nobody is left who could use what it shows. */
static bool is_last(const struct count *c, const struct space *s)
{
        return !c->cohorts || c->cohorts[s->cohort].left <= 1;
}

void cohort_view(struct count *c, const struct space *s, struct seen_view *v)
{
        seen_begin(v, c->cohorts ? &c->cohorts[s->cohort].seen : NULL, &c->mutex);
        v->records = !is_last(c, s);
}

bool cohort_led_by(const struct count *c, const struct space *s, const struct walk *w)
{
        uint64_t page_size = c->features->page_size, pages = 0;

        if (is_last(c, s) || c->cohorts[s->cohort].seen.n > 0)
                return false;
        for (size_t i = 0; i < w->vmas.n && pages < COUNT_HELP_PAGES; i++) {
                const struct walk_vma *v = &w->vmas.items[i].v;

                if (seen_wants(w->seen, v, page_size))
                        pages += (v->end - v->start) / page_size;
        }
        return pages >= COUNT_HELP_PAGES;
}

void cohort_learn(struct count *c, const struct space *s, const struct parts *parts, uint64_t walk)
{
        if (is_last(c, s))
                return;
        for (; parts; parts = parts->next)
                seen_merge(&c->cohorts[s->cohort].seen, &parts->sights, walk);
}

void cohort_leave(struct count *c, const struct space *s)
{
        struct cohort *cohort = c->cohorts ? &c->cohorts[s->cohort] : NULL;

        if (cohort && --cohort->left == 0)
                seen_done(&cohort->seen);
}
