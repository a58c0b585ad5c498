/* SPDX-License-Identifier: MIT */
/*
 * count.c: which address space is walked when, for which groups, and what comes out.
 *
 * Address spaces are walked in the order of their first group, and a group gives back its page sets as soon as its last
 * address space has been walked: counting many groups takes the memory of those that are open at one time. If its private pages
 * are wanted, they are verified then and there, as long as the host's counts are still much like they were.
 *
 * A walk and its context are made anew by each count_run() and known to nobody else. A thread that was given up finds
 * `lost` set in its own context and returns without a look at the count, which another thread may be running or
 * may have freed. What it had added to the tallies was discarded by count_give_up_current().
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "count-internal.h"

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

static void group_finish(struct count *c, struct group *g)
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
        }
        tally_done(&g->tally);
        verify_done(&g->verify);
        g->finished = true;
}

/* All walks that a group's sets were kept for are over. */
static void group_walked(struct count *c, uint32_t index)
{
        struct group *g = &c->groups[index];

        if (c->flags & COUNT_PRIVATE && (g->done > 0 || g->unread == 0)) {
                g->next_waiting = c->waiting;
                c->waiting = index;
        } else
                group_finish(c, g);
}

/* Verifies the groups that wait for it. 0, or -ECANCELED. */
static int run_verify(struct count *c, struct walk_context *x, struct guard *guard)
{
        while (c->waiting != NONE) {
                struct group *g = &c->groups[c->waiting];
                int r = verify_run(c, x, guard, g);

                if (r < 0)
                        return r;
                c->waiting = g->next_waiting;
                group_finish(c, g);
        }
        return 0;
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

/* The process's PSS, SIZE_UNKNOWN where it cannot be had. 0, or -ECANCELED if the thread was given up. */
static int read_pss(struct walk_context *x, struct guard *guard, pid_t pid, int dirfd, uint64_t *ret)
{
        const struct sys *sys = x->sys;
        _cleanup_close_ int fd = -1;
        struct proc_smaps sums = {};
        char buf[4096], *line, *newline;
        ssize_t n;

        guard_enter(guard, pid);
        fd = sys->ops->openat(sys, dirfd, "smaps_rollup", O_RDONLY);
        n = fd < 0 ? fd : sys_read_fd(sys, fd, buf, sizeof(buf));
        if (!guard_leave(guard)) {
                x->lost = true;
                return -ECANCELED;
        }
        *ret = SIZE_UNKNOWN;
        if (n <= 0)
                return 0;
        for (line = buf; (newline = memchr(line, '\n', (size_t)(buf + n - line))); line = newline + 1)
                if (newline - line > 4 && memcmp(line, "Pss:", 4) == 0 &&
                    parse_smaps_line(line, (size_t)(newline - line), &sums))
                        *ret = sums.pss;
        return 0;
}

struct found {
        uint64_t kinds[TALLY_KINDS]; /* entries that VmRSS counts */
        uint64_t hugetlb, swap;      /* pages */
        uint64_t pss;
};

static void found_add(struct found *f, uint64_t page, size_t n)
{
        if (page & PAGE_PRESENT)
                f->kinds[TALLY_KIND(page)] += n;
        else if (page & PAGE_HUGETLB)
                f->hugetlb += n;
        else if (page & PAGE_SWAPPED)
                f->swap += n;
}

static int take_chunk(struct count *c, const struct space *s, const struct walk_chunk *chunk, struct found *f)
{
        for (size_t i = 0, n; i < chunk->n; i += n) {
                const uint64_t *pages = chunk->pages + i;

                n = tally_run(pages, chunk->n - i);
                if (pages[0] == 0)
                        continue;
                found_add(f, pages[0], n);
                for (size_t k = 0; k < s->n_groups; k++) {
                        int r = tally_add(&c->groups[s->groups[k]].tally, pages, n);

                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

/* Walks one process into the fresh parts of its groups' tallies. 0, or a negative errno; nothing of the count is touched if x->lost. */
static int walk_first(struct count *c, struct walk_context *x, struct guard *guard, const struct space *s,
                      const struct member *m, struct found *ret)
{
        _cleanup_(walk_closep) struct walk *w = NULL;
        unsigned flags = c->flags;
        struct walk_chunk chunk;
        int r;

        r = walk_open(x, guard, m->pid, m->start_time, &w);
        if (r < 0)
                return r;
        while ((r = walk_next(w, &chunk)) > 0) {
                r = take_chunk(c, s, &chunk, ret);
                if (r < 0)
                        return r;
        }
        if (r == 0 && flags & COUNT_PSS)
                r = read_pss(x, guard, w->pid, walk_dirfd(w), &ret->pss);
        return r < 0 ? r : walk_check(w);
}

static void add_pss(struct group *g, uint64_t pss)
{
        if (pss == SIZE_UNKNOWN || g->pss == SIZE_UNKNOWN || __builtin_add_overflow(g->pss, pss, &g->pss))
                g->pss = SIZE_UNKNOWN;
}

static int commit(struct count *c, struct space *s, const struct found *f)
{
        uint64_t page_size = c->features->page_size;
        int r = 0;

        for (size_t i = 0; i < s->n_groups; i++) {
                int q = tally_commit(&c->groups[s->groups[i]].tally);

                r = r < 0 ? r : q;
        }
        if (r < 0)
                return r;
        s->sample = (struct process_sample){
                        .mapped = tally_kinds(f->kinds, 0) * page_size,
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
        for (size_t i = 0; i < s->n_groups; i++)
                add_pss(&c->groups[s->groups[i]], f->pss);
        return 0;
}

static void discard(struct count *c, const struct space *s)
{
        for (size_t i = 0; i < s->n_groups; i++)
                tally_discard(&c->groups[s->groups[i]].tally);
}

/* Settles an address space after its first walk: counted in its groups, and no more waited for. */
static void settle(struct count *c, struct space *s, enum count_outcome outcome, int error)
{
        uint32_t members = 0;

        for (size_t m = s->first; m != NONE; m = c->members[m].next)
                members += c->members[m].outcome != COUNT_GONE;
        s->outcome = outcome;
        s->settled = true;
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

static void charge(struct count *c, const struct space *s, usec_t started, usec_t cost)
{
        for (size_t i = 0; i < s->n_groups; i++) {
                struct group *g = &c->groups[s->groups[i]];

                if (g->started == 0)
                        g->started = started;
                g->cost += cost;
        }
}

/* The first walk of an address space, through whichever of its processes still lives. 0, or -ECANCELED. */
static int run_first(struct count *c, struct walk_context *x, struct guard *guard, size_t index)
{
        struct space *s = &c->spaces[index];
        enum count_outcome outcome = COUNT_GONE;
        int r = -ESRCH;

        for (size_t m = s->first; m != NONE && outcome == COUNT_GONE; m = c->members[m].next) {
                usec_t started = c->sys->ops->now(c->sys), cpu = c->sys->ops->cpu_now(c->sys);
                struct found found = {};

                if (c->members[m].outcome != COUNT_PENDING)
                        continue;
                count_enter(c, WALK_FIRST, index, m);
                r = walk_first(c, x, guard, s, &c->members[m], &found);
                if (x->lost)
                        return -ECANCELED;
                count_leave(c);
                if (r == -ECANCELED) {
                        discard(c, s);
                        return r;
                }
                if (r < 0)
                        discard(c, s);
                else
                        r = commit(c, s, &found);
                charge(c, s, started, c->sys->ops->cpu_now(c->sys) - cpu);
                outcome = r < 0 ? outcome_of(r) : COUNT_DONE;
                c->members[m].outcome = outcome;
        }
        settle(c, s, outcome, outcome == COUNT_UNREAD ? r : 0);
        return 0;
}

static int walk_second(struct count *c, struct walk_context *x, struct guard *guard, const struct space *s,
                       const struct member *m, uint64_t *ret_share, uint64_t *ret_alone)
{
        _cleanup_(walk_closep) struct walk *w = NULL;
        int r;

        r = walk_open(x, guard, m->pid, m->start_time, &w);
        if (r < 0)
                return r;
        r = shares_walk(w, &space_first_group(c, s)->tally, x->features->page_size, ret_share, ret_alone);
        return r < 0 ? r : walk_check(w);
}

static void settle_second(struct count *c, struct space *s)
{
        s->second_done = true;
        release_groups(c, s->groups, 1);
}

/* The second walk. A process that ended since keeps its figures; only its share is not known. 0, or -ECANCELED. */
static int run_second(struct count *c, struct walk_context *x, struct guard *guard, size_t index)
{
        struct space *s = &c->spaces[index];
        uint64_t share, alone;

        for (size_t m = s->first; m != NONE; m = c->members[m].next) {
                usec_t started = c->sys->ops->now(c->sys), cpu = c->sys->ops->cpu_now(c->sys);
                int r;

                if (c->members[m].outcome != COUNT_DONE)
                        continue;
                count_enter(c, WALK_SECOND, index, m);
                r = walk_second(c, x, guard, s, &c->members[m], &share, &alone);
                if (x->lost)
                        return -ECANCELED;
                count_leave(c);
                if (r == -ECANCELED)
                        return r;
                charge(c, s, started, c->sys->ops->cpu_now(c->sys) - cpu);
                if (r == 0) {
                        s->sample.share = share;
                        s->sample.alone = alone;
                }
        }
        settle_second(c, s);
        return 0;
}

/* Settles what a lost thread left behind, or does what is still to be done. */
static int advance(struct count *c, struct walk_context *x, struct guard *guard, size_t index, bool second)
{
        struct space *s = &c->spaces[index];

        if (guard_stopping(guard))
                return -ECANCELED;
        if (!second) {
                if (s->settled)
                        return 0;
                if (s->outcome == COUNT_PENDING)
                        return run_first(c, x, guard, index);
                settle(c, s, s->outcome, 0);
                return 0;
        }
        if (s->second_done)
                return 0;
        if (!s->given_up)
                return run_second(c, x, guard, index);
        settle_second(c, s);
        return 0;
}

int count_run(struct count *c, struct guard *guard)
{
        _cleanup_(walk_context_freep) struct walk_context *x = NULL;
        int r;

        r = walk_context_new(c->sys, c->features, &x);
        if (r < 0)
                return r;
        if (!c->order) {
                r = make_order(c);
                if (r < 0)
                        return r;
                for (size_t g = 0; g < c->n_groups; g++)
                        if (c->groups[g].pending == 0) {
                                c->groups[g].started = c->sys->ops->now(c->sys);
                                group_walked(c, (uint32_t)g);
                        }
        }
        r = run_verify(c, x, guard);
        if (r < 0)
                return r;
        for (int second = 0; second < 2; second++) {
                size_t n = c->n_spaces; /* `c` may be another thread's when advance() says so */

                for (size_t i = 0; i < n; i++) {
                        r = advance(c, x, guard, c->order[i], second);
                        if (r == 0)
                                r = run_verify(c, x, guard);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

pid_t count_give_up_current(struct count *c)
{
        struct member *m;
        struct space *s;

        if (c->current == NONE)
                return 0;
        s = &c->spaces[c->current];
        m = &c->members[c->current_member];
        count_leave(c);
        if (c->purpose == WALK_FIRST) {
                discard(c, s);
                s->outcome = m->outcome = COUNT_STUCK;
                return m->pid;
        }
        if (c->purpose == WALK_VERIFY)
                tally_discard(&c->groups[c->waiting].tally);
        s->given_up = true;
        return m->pid;
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
        ret->error_bytes = 0;
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
