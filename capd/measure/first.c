/* SPDX-License-Identifier: MIT */
/*
 * first.c: the first walks of address spaces.
 *
 * A thread walks one process after the other, each of them a piece at a time (COUNT_PIECE_PAGES), and others may take pieces of the same
 * one. Processes that are expected to show the same pages (echo.h) it walks by turns instead, a piece of each and then the next
 * piece of each: for every entry of a page table the kernel looks at the struct page behind it (64 bytes), and those of a piece, 256
 * KiB, stay in the processor's cache from one process to the next, while those of a whole process do not ("tests/bench/run family" reads
 * in both orders).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "count-internal.h"
#include "hold.h"

/* The process's PSS, SIZE_UNKNOWN where it cannot be had. 0, or -ECANCELED if the thread was given up. */
static int read_pss(struct walk_context *x, struct guard *guard, pid_t pid, int dirfd, uint64_t *ret)
{
        const struct sys *sys = x->sys;
        _cleanup_close_ int fd = -1;
        struct proc_smaps sums = {};
        char buf[4096], *line, *newline;
        ssize_t n;

        /* the kernel walks the whole process for it */
        context_step_back(x);
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

static void found_add(struct found *f, uint64_t page, size_t n)
{
        if (page & PAGE_PRESENT)
                f->kinds[TALLY_KIND(page)] += n;
        else if (page & PAGE_HUGETLB)
                f->hugetlb += n;
        else if (page & PAGE_SWAPPED)
                f->swap += n;
}

static int take_chunk(struct lane *lane, struct strand *t, const struct walk_chunk *chunk)
{
        const struct space *s = &lane->c->spaces[t->space];
        int r;

        if (lane->c->sampling.one_in > 0)
                return sampled_take(&t->parts->sampled, chunk, lane->x->features->page_size);
        r = seen_take(&t->seen, lane->x, chunk);
        if (r < 0)
                return r;
        for (size_t i = 0, n; i < chunk->n; i += n) {
                const uint64_t *pages = chunk->pages + i;

                n = chunk->alike ? chunk->n : tally_run(pages, chunk->n - i);
                if (pages[0] == 0)
                        continue;
                found_add(&t->found, pages[0], n);
                for (size_t k = 0; k < s->n_groups; k++) {
                        struct tally_part *part = &t->parts->items[k];

                        if (chunk->known) {
                                tally_add_known(part, pages[0], n);
                                continue;
                        }
                        r = tally_add(&lane->c->groups[s->groups[k]].tally, part, pages, n);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

/* The thread is at this strand from now on: if it is given up, it was this process. */
static void turn_to(struct lane *lane, size_t at)
{
        pthread_mutex_lock(&lane->c->mutex);
        lane->slot->at = at;
        lane->slot->member = lane->strands[at].member;
        pthread_mutex_unlock(&lane->c->mutex);
}

/* Takes the next piece of a walk. false: nothing is left, or another thread has failed. */
static bool take_piece(struct lane *lane, size_t at, uint64_t *ret_from, uint64_t *ret_until)
{
        struct count *c = lane->c;
        struct strand *t = &lane->strands[at];
        uint64_t read_of = MAX(c->sampling.one_in, 1U); /* one page of so many */
        bool taken = false, calls = false;
        const struct walk *w = t->walk;
        struct scan *scan = t->scan;

        pthread_mutex_lock(&c->mutex);
        lane->slot->at = at;
        lane->slot->member = t->member;
        if (!scan->open) {
                scan->open = true;
                scan->identity = w->identity;
                scan->leads = cohort_led_by(c, &c->spaces[t->space], w);
        } else if (!hold_same_program(&scan->identity, &w->identity) && scan->error == 0)
                scan->error = -ESRCH;
        if (scan->error == 0 && scan->cursor != UINT64_MAX) {
                *ret_from = scan->cursor;
                *ret_until = scan->cursor = walk_piece(w, scan->cursor, COUNT_PIECE_PAGES * read_of, &scan->left);
                scan->left /= read_of;
                taken = true;
                calls = count_wants_help(c);
                c->called = c->called || calls;
        }
        pthread_mutex_unlock(&c->mutex);
        if (calls)
                guard_call_for_help(lane->guard);
        return taken;
}

/* What the kernel's counters say of a process of which not all was read. */
static int read_rss(struct lane *lane, struct strand *t)
{
        bool estimates = lane->c->sampling.one_in > 0;
        struct found *f = &t->found;
        struct proc_statm statm;
        char buf[256];
        ssize_t n;
        int r;

        f->passed = t->seen.passed;
        if (f->passed == 0 && !estimates)
                return 0;
        n = sys_read_file_at(lane->x->sys, walk_dirfd(t->walk), "statm", buf, sizeof(buf));
        if (n < 0)
                return n == -ENOENT ? -ESRCH : (int)n;
        r = parse_proc_statm(buf, (size_t)n, &statm);
        if (r < 0)
                return r;
        f->rss = statm.resident;
        if (estimates) {
                f->counted[ESTIMATE_OBJECT] = statm.shared;
                f->counted[ESTIMATE_ANON] = statm.resident - MIN(statm.shared, statm.resident);
                f->counters = lane->c->features->rss_error_per_thread ? MAX(t->walk->identity.threads, 1U) : 1;
        }
        return 0;
}

void strand_clear(struct strand *t)
{
        walk_close(t->walk);
        parts_free(t->parts);
        *t = (struct strand){};
}

static int strand_open(struct lane *lane, struct strand *t)
{
        const struct member *m = &lane->c->members[t->member];
        int r;

        t->parts = parts_new(lane->c->spaces[t->space].n_groups);
        if (!t->parts)
                return -ENOMEM;
        r = walk_open(lane->x, lane->guard, m->pid, m->start_time, &t->walk);
        if (r < 0)
                return r;
        t->walk->shared = lane->c->spaces[t->space].first != lane->c->spaces[t->space].last;
        t->walk->seen = &t->seen;
        t->walk->echo = &t->echo;
        if (t->seen.records)
                t->seen.sights = &t->parts->sights;
        return 0;
}

/* Reads a piece of a process: 1, or 0 when there is none left to be read, or a negative errno. */
static int strand_read(struct lane *lane, size_t at)
{
        struct strand *t = &lane->strands[at];
        struct walk_chunk chunk;
        uint64_t from, until;
        int r;

        if (!take_piece(lane, at, &from, &until))
                return 0;
        if (t->walk->at != from) {
                r = walk_seek(t->walk, from);
                if (r < 0)
                        return r;
        }
        walk_limit(t->walk, until);
        while ((r = walk_next(t->walk, &chunk)) > 0) {
                r = take_chunk(lane, t, &chunk);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : 1;
}

static int strand_finish(struct lane *lane, struct strand *t)
{
        int r = read_rss(lane, t);

        if (r < 0)
                return r;
        if (lane->c->flags & COUNT_PSS && !t->helps) {
                r = read_pss(lane->x, lane->guard, t->walk->pid, walk_dirfd(t->walk), &t->found.pss);
                if (r < 0)
                        return r;
        }
        return walk_check(t->walk);
}

int first_walks(struct lane *lane)
{
        size_t left = lane->n_strands;

        for (size_t i = 0; i < lane->n_strands; i++) {
                turn_to(lane, i);
                lane->strands[i].error = strand_open(lane, &lane->strands[i]);
                if (lane->x->lost)
                        return -ECANCELED;
        }
        while (left > 0) {
                left = 0;
                for (size_t i = 0; i < lane->n_strands; i++) {
                        struct strand *t = &lane->strands[i];
                        int r;

                        if (t->over || t->error < 0)
                                continue;
                        r = strand_read(lane, i);
                        if (lane->x->lost)
                                return -ECANCELED;
                        t->over = r <= 0;
                        t->error = r == 0 ? strand_finish(lane, t) : MIN(r, 0);
                        if (lane->x->lost)
                                return -ECANCELED;
                        if (t->over)
                                t->walk = walk_close(t->walk);
                        left += !t->over;
                }
        }
        return 0;
}
