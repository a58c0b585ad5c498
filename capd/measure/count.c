/* SPDX-License-Identifier: MIT */
/*
 * count.c: what a walk adds to a count, and what comes out.
 *
 * A group gives back its page sets as soon as its last address space has been walked: counting many groups takes the memory of
 * those that are open at one time. If its private pages are wanted, they are verified then and there, as long as the host's counts are
 * still much like they were.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "count-internal.h"
#include "hold.h"

/* The figures of an estimate; without some of the processes it is a bound, which leaves its error below it. */
static void finish_estimate(const struct count *c, struct group *g)
{
        struct group_sample *s = &g->result;

        sampling_finish(&g->sampling, &c->sampling, c->features->page_size, c->features->rss_error_pages, s);
        sampling_group_done(&g->sampling);
        if (g->unread == 0)
                s->quality = QUALITY_ESTIMATE;
        else if (s->quality == QUALITY_BOUND_LOWER) {
                s->resident -= MIN(s->error_bytes, s->resident);
                s->anon = s->file = s->shmem = s->exclusive = s->exclusive_anon = SIZE_UNKNOWN;
        }
}

void group_finish(struct count *c, struct group *g)
{
        const struct tally *t = &g->tally;
        uint64_t page_size = c->features->page_size, shared;
        struct group_sample *s = &g->result;

        *s = (struct group_sample){
                        .unread = g->unread,
                        .quality = g->unread == 0 ? QUALITY_EXACT
                                   : g->done > 0  ? QUALITY_BOUND_LOWER
                                                  : QUALITY_UNKNOWN,
                        .counted_at = g->started,
                        .count_cost = g->cost,
                        .resident = tally_resident(t) * page_size,
                        .anon = tally_kinds(t->kinds, PAGE_ANON) * page_size,
                        .file = tally_kinds(t->kinds, PAGE_FILE) * page_size,
                        .shmem = tally_kinds(t->kinds, PAGE_SHMEM) * page_size,
                        .mapped = t->mapped * page_size,
                        .exclusive = tally_kinds(t->kinds, PAGE_EXCLUSIVE) * page_size,
                        .exclusive_anon = tally_kinds(t->kinds, PAGE_EXCLUSIVE | PAGE_ANON) * page_size,
                        .hugetlb = t->n_hugetlb * page_size,
                        .swap = t->n_swap * page_size,
                        .pss_sum = c->flags & COUNT_PSS && g->unread == 0 ? g->pss : SIZE_UNKNOWN,
                        .inside = SIZE_UNKNOWN,
                        .inside_swap = SIZE_UNKNOWN,
        };
        if (verify_shared(&g->verify, &shared)) {
                s->have_private = true;
                s->shared_bytes = MIN(shared * page_size, s->resident);
                s->private_bytes = s->resident - s->shared_bytes;
                inside_result(&g->verify.inside, page_size, &s->inside, &s->inside_swap);
        }
        if (c->sampling.one_in > 0)
                finish_estimate(c, g);
        if (c->flags & (COUNT_KEEP_FRAMES | COUNT_INSIDE)) {
                frames_clear(&g->tally.hugetlb);
                frames_clear(&g->tally.swap);
                frames_clear(&g->tally.counts);
        } else
                tally_done(&g->tally);
        /* what is to be taken over lives as long as the count */
        if (!s->have_private || !g->verify.inside.keep)
                verify_done(&g->verify);
        g->finished = true;
}

const struct frames *count_frames(const struct count *c, uint32_t group)
{
        if (group >= c->n_groups || !(c->flags & COUNT_KEEP_FRAMES) || !c->groups[group].finished)
                return NULL;
        return &c->groups[group].tally.resident;
}

/* All walks that a group's sets were kept for are over. */
void group_walked(struct count *c, uint32_t index)
{
        struct group *g = &c->groups[index];

        if (c->flags & COUNT_PRIVATE && (g->done > 0 || g->unread == 0)) {
                g->next_waiting = c->waiting;
                c->waiting = index;
        } else
                group_finish(c, g);
}

/* One walk less to wait for in each of these groups. */
static void release_groups(struct count *c, const uint32_t *groups, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (--c->groups[groups[i]].pending == 0)
                        group_walked(c, groups[i]);
}

/* How a walk ended that did not reach the end. */
static enum count_outcome outcome_of(int error)
{
        return error == -ESRCH ? COUNT_GONE : COUNT_UNREAD;
}

void found_sum(struct found *sum, const struct found *f)
{
        for (size_t i = 0; i < TALLY_KINDS; i++)
                sum->kinds[i] += f->kinds[i];
        sum->hugetlb += f->hugetlb;
        sum->swap += f->swap;
        sum->pss += f->pss;
        sum->passed += f->passed;
        sum->rss = MAX(sum->rss, f->rss);
        for (size_t i = 0; i < _ESTIMATE_PARTS; i++)
                sum->counted[i] = MAX(sum->counted[i], f->counted[i]);
        sum->counters = MAX(sum->counters, f->counters);
}

struct parts *parts_new(size_t n)
{
        struct parts *p = calloc(1, sizeof(*p) + MAX(n, (size_t)1) * sizeof(p->items[0]));

        if (p)
                p->n = MAX(n, (size_t)1);
        return p;
}

struct parts *parts_free(struct parts *p)
{
        while (p) {
                struct parts *next = p->next;

                for (size_t i = 0; i < p->n; i++)
                        tally_discard(&p->items[i]);
                sights_done(&p->sights);
                sampled_done(&p->sampled);
                free(p);
                p = next;
        }
        return NULL;
}

static void add_pss(struct group *g, uint64_t pss)
{
        if (pss == SIZE_UNKNOWN || g->pss == SIZE_UNKNOWN || __builtin_add_overflow(g->pss, pss, &g->pss))
                g->pss = SIZE_UNKNOWN;
}

static int commit_sample(struct count *c, struct space *s, struct parts *parts, const struct found *f)
{
        for (size_t i = 0; i < s->n_groups; i++) {
                struct group *g = &c->groups[s->groups[i]];

                for (struct parts *p = parts; p; p = p->next) {
                        int r = sampling_commit(&g->sampling, &g->tally, &p->sampled);

                        if (r < 0)
                                return r;
                }
                for (size_t k = 0; k < _ESTIMATE_PARTS; k++)
                        g->sampling.mapped[k] += f->counted[k];
                g->sampling.counters += f->counters;
        }
        s->sample = (struct process_sample){.mapped = f->rss * c->features->page_size,
                                            .anon = SIZE_UNKNOWN,
                                            .file = SIZE_UNKNOWN,
                                            .shmem = SIZE_UNKNOWN,
                                            .exclusive = SIZE_UNKNOWN,
                                            .exclusive_anon = SIZE_UNKNOWN,
                                            .hugetlb = SIZE_UNKNOWN,
                                            .swap = SIZE_UNKNOWN,
                                            .share = SIZE_UNKNOWN,
                                            .alone = SIZE_UNKNOWN};
        return 0;
}

static int commit(struct count *c, struct space *s, struct parts *parts, const struct found *f, uint64_t walk)
{
        uint64_t page_size = c->features->page_size, mapped = tally_kinds(f->kinds, 0), passed = 0;
        int r = 0;

        if (c->sampling.one_in > 0)
                return commit_sample(c, s, parts, f);
        for (struct parts *p = parts; p; p = p->next)
                for (size_t i = 0; i < s->n_groups; i++) {
                        int q = tally_commit(&c->groups[s->groups[i]].tally, &p->items[i]);

                        r = r < 0 ? r : q;
                }
        if (r < 0)
                return r;
        cohort_learn(c, s, parts, walk);
        /* of what was passed over as much is mapped as the kernel counts beyond what was read */
        if (f->passed > 0 && f->rss > mapped)
                passed = MIN(f->rss - mapped, f->passed);
        s->sample = (struct process_sample){
                        .mapped = (mapped + passed) * page_size,
                        .anon = tally_kinds(f->kinds, PAGE_ANON) * page_size,
                        .file = tally_kinds(f->kinds, PAGE_FILE) * page_size,
                        .shmem = tally_kinds(f->kinds, PAGE_SHMEM) * page_size,
                        .exclusive = tally_kinds(f->kinds, PAGE_EXCLUSIVE) * page_size,
                        .exclusive_anon = tally_kinds(f->kinds, PAGE_EXCLUSIVE | PAGE_ANON) * page_size,
                        .hugetlb = f->hugetlb * page_size,
                        .swap = f->swap * page_size,
                        .share = SIZE_UNKNOWN,
                        .alone = SIZE_UNKNOWN,
        };
        if (f->passed > 0)
                s->sample.file = s->sample.shmem = s->sample.exclusive = SIZE_UNKNOWN;
        for (size_t i = 0; i < s->n_groups; i++) {
                c->groups[s->groups[i]].tally.mapped += passed;
                add_pss(&c->groups[s->groups[i]], f->pss);
        }
        return 0;
}

void space_settle(struct count *c, struct space *s, enum count_outcome outcome, int error)
{
        uint32_t members = 0;

        for (size_t m = s->first; m != NONE; m = c->members[m].next)
                members += c->members[m].outcome != COUNT_GONE;
        s->outcome = outcome;
        c->unsettled--;
        cohort_leave(c, s);
        s->sample.error = error;
        for (size_t i = 0; i < s->n_groups; i++) {
                struct group *g = &c->groups[s->groups[i]];

                if (outcome == COUNT_DONE)
                        g->done++;
                else if (outcome != COUNT_GONE)
                        g->unread += members;
        }
        /* the group that the shares refer to waits for the second walk */
        if (outcome == COUNT_DONE && c->flags & COUNT_SHARES && s->n_groups > 0)
                release_groups(c, s->groups + 1, s->n_groups - 1);
        else {
                s->second_done = true;
                release_groups(c, s->groups, s->n_groups);
        }
}

void groups_charge(struct count *c, const struct space *s, usec_t started, usec_t cost)
{
        for (size_t i = 0; i < s->n_groups; i++) {
                struct group *g = &c->groups[s->groups[i]];

                if (g->started == 0 || started < g->started)
                        g->started = started;
                g->cost += cost;
        }
}

static size_t next_pending(const struct count *c, size_t m)
{
        while (m != NONE && c->members[m].outcome != COUNT_PENDING)
                m = c->members[m].next;
        return m;
}

static enum count_outcome scan_outcome(const struct scan *scan, int error)
{
        if (scan->stuck)
                return COUNT_STUCK;
        return error < 0 ? outcome_of(error) : COUNT_DONE;
}

void space_untake(struct count *c, struct space *s)
{
        s->taken = false;
        c->next_first = MIN(c->next_first, s->position);
}

size_t first_end(struct count *c, struct scan *scan)
{
        struct space *s = &c->spaces[scan->space];
        struct member *m = &c->members[scan->member];
        size_t next = NONE;
        int r = scan->error;

        for (struct scan **p = &c->scans; *p; p = &(*p)->next)
                if (*p == scan) {
                        *p = scan->next;
                        break;
                }
        if (r == -ECANCELED && !scan->stuck) {
                /* told to stop: as if it had never been begun */
                space_untake(c, s);
        } else {
                if (r == 0)
                        r = commit(c, s, scan->parts, &scan->found, scan->number);
                groups_charge(c, s, scan->started, scan->cost);
                m->outcome = scan_outcome(scan, r);
                if (m->outcome == COUNT_GONE)
                        next = next_pending(c, m->next);
                if (next == NONE)
                        space_settle(c, s, m->outcome, m->outcome == COUNT_UNREAD ? r : 0);
        }
        parts_free(scan->parts);
        free(scan);
        return next;
}

/* -- the second walk -- */

void space_settle_second(struct count *c, struct space *s)
{
        s->second_done = true;
        release_groups(c, s->groups, 1);
}

int second_walk(struct lane *lane, uint64_t *ret_share, uint64_t *ret_alone)
{
        struct count *c = lane->c;
        const struct space *s = &c->spaces[lane->slot->space];
        const struct member *m = &c->members[lane->slot->member];
        _cleanup_(walk_closep) struct walk *w = NULL;
        uint64_t page_size = c->features->page_size;
        int r;

        r = walk_open(lane->x, lane->guard, m->pid, m->start_time, &w);
        if (r < 0)
                return r;
        r = shares_walk(w, &space_first_group(c, s)->tally, page_size, ret_share, ret_alone);
        return r < 0 ? r : walk_check(w);
}

/* -- results -- */

void count_group_result(const struct count *c, uint32_t group, struct group_sample *ret)
{
        struct group_sample s;

        if (group >= c->n_groups)
                return;
        /* a group whose walks were not all made is not known, whatever its tally holds by now */
        if (!c->order || !c->groups[group].finished)
                s = (struct group_sample){.pss_sum = SIZE_UNKNOWN, .inside = SIZE_UNKNOWN, .inside_swap = SIZE_UNKNOWN};
        else
                s = c->groups[group].result;

        ret->unread = s.unread;
        ret->quality = s.quality;
        ret->counted_at = s.counted_at;
        ret->count_cost = s.count_cost;
        ret->resident = s.resident;
        ret->anon = s.anon;
        ret->file = s.file;
        ret->shmem = s.shmem;
        ret->mapped = s.mapped;
        ret->exclusive = s.exclusive;
        ret->exclusive_anon = s.exclusive_anon;
        ret->hugetlb = s.hugetlb;
        ret->swap = s.swap;
        ret->error_bytes = s.quality == QUALITY_BOUND_LOWER ? SIZE_UNKNOWN : s.error_bytes;
        ret->sampled = s.sampled;
        ret->have_private = s.have_private;
        ret->private_bytes = s.private_bytes;
        ret->shared_bytes = s.shared_bytes;
        ret->pss_sum = s.pss_sum;
        ret->inside = s.inside;
        ret->inside_swap = s.inside_swap;
        if (s.quality == QUALITY_UNKNOWN)
                group_sample_forget(ret);
}

void count_process_result(const struct count *c, uint32_t process, struct process_sample *ret)
{
        const struct member *m;
        const struct space *s;

        if (process >= c->n_members)
                return;
        m = &c->members[process];
        s = &c->spaces[m->space];
        *ret = s->sample;
        ret->outcome = s->outcome;
        if (m->outcome == COUNT_GONE && s->outcome != COUNT_GONE)
                *ret = (struct process_sample){.outcome = COUNT_GONE, .share = SIZE_UNKNOWN, .alone = SIZE_UNKNOWN};
}

size_t count_n_processes(const struct count *c)
{
        return c->n_members;
}
