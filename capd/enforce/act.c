/* SPDX-License-Identifier: MIT */
/*
 * act.c: what one thread does for an act.
 *
 * The thread works on struct pageout, which belongs to the act, with a struct run, which belongs to the thread. A call
 * that needs a target's mmap lock can block for as long as the target likes; the thread may be given up in it
 * (guard.h), and then learns so by -ECANCELED. From that moment on struct pageout may be another thread's, or free memory. So:
 *
 * - everything the act must know is stored in it before a guarded call, nothing is held back;
 * - buffers that a guarded call writes to are in struct run;
 * - after -ECANCELED from a call nothing is done but to free what is the run's own.
 *
 * The act's fields that a function takes as arguments (a pid, a start time) are copies for the same reason.
 */
#include <errno.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "capd/measure/host.h"
#include "pageout-internal.h"

/* Calls that were interrupted or found no memory for themselves are made again so many times. */
#define RETRIES    8U
#define RETRY_USEC 50U
/* Calls in a row that moved nothing after which a process is put off: what makes pages immovable (a lock, a file system that
 * forbids) goes for whole mappings, and those of a giant must not eat the time of all others. */
#define IDLE_CALLS 8U
/*
 * A page is freed when it has been written, at the earliest. On a swap device that writes in the background even then it stays in
 * the swap cache, clean, until the host needs memory (mm/vmscan.c, shrink_folio_list(): a page under write-back is
 * kept): so there is nothing to wait for once nothing is being written.
 */
static const usec_t freed_delays[] = {0, 10 * USEC_PER_MSEC, 40 * USEC_PER_MSEC, 150 * USEC_PER_MSEC};

/* What belongs to the thread alone. */
struct run {
        usec_t max_stall;
        const struct sys *sys;
        struct features features; /* the walks point to it */
        struct guard *guard;
        bool forbidden_files;
        struct walk_context *context;
        struct walk *walk; /* of the target being worked on */
        int pidfd;
        struct candidates candidates;
        struct iovec vectors[LIMIT_MADVISE_VECTORS];
        uint64_t pages[LIMIT_PAGEMAP_STEP_PAGES];
};

/* In the candidates. */
struct place {
        size_t range;
        uint64_t offset;
};

/* The context stays, for the next process to learn what this thread owes others. */
static void run_close(struct run *run)
{
        run->walk = walk_close(run->walk);
        close_fd(run->pidfd);
        run->pidfd = -1;
}

static struct run *run_free(struct run *run)
{
        run_close(run);
        walk_context_free(run->context);
        candidates_done(&run->candidates);
        free(run);
        return NULL;
}
DEFINE_CLEANUP(struct run *, run_free)

/*
 * mm/madvise.c, can_do_file_pageout(): pages of a file move only for its owner (CAP_FOWNER stands in for that) or who may write
 * to it (CAP_DAC_OVERRIDE). The call tells nobody. Not known counts as allowed: the pages are then booked as busy.
 */
static bool files_are_forbidden(const struct sys *sys)
{
        char text[8192], *line;
        uint64_t effective;
        ssize_t n = sys_read_file_at(sys, sys->root_fd, "proc/thread-self/status", text, sizeof(text));

        if (n < 0 && n != -E2BIG)
                return false;
        line = strstr(text, "\nCapEff:");
        if (!line)
                return false;
        effective = strtoull(line + strlen("\nCapEff:"), NULL, 16);
        return !(effective & (UINT64_C(1) << CAP_FOWNER | UINT64_C(1) << CAP_DAC_OVERRIDE));
}

static struct run *run_new(const struct pageout *p, struct guard *guard)
{
        struct run *run = calloc(1, sizeof(*run));

        if (!run)
                return NULL;
        run->sys = p->sys;
        run->features = p->features;
        run->max_stall = p->step.max_stall;
        run->guard = guard;
        run->pidfd = -1;
        run->forbidden_files = files_are_forbidden(p->sys);
        return run;
}

/* Opens a process for reading. A context of its own for each: what it remembers of frames must not get old. */
static int run_open(struct run *run, pid_t pid, uint64_t start_time)
{
        _cleanup_(walk_context_freep) struct walk_context *before = NULL;
        int r;

        run_close(run);
        before = TAKE_PTR(run->context);
        r = walk_context_new(run->sys, &run->features, &run->context);
        if (r < 0)
                return r;
        if (before)
                walk_context_continue(run->context, before);
        walk_context_set_max_stall(run->context, run->max_stall);
        return walk_open(run->context, run->guard, pid, start_time, &run->walk);
}

/*
 * Opens a process for acting. pidfd_open(2) takes a number, so the number is proved afterwards: the /proc directory that
 * the walk holds answers only as long as its process has not been reaped, and until then nobody else can have its number. If
 * it still answers, with the start time asked for, the number meant that process all the while.
 */
static int run_open_to_act(struct run *run, pid_t pid, uint64_t start_time)
{
        int r = run_open(run, pid, start_time);

        if (r < 0)
                return r;
        walk_context_follow(run->context);
        r = run->sys->ops->pidfd_open(run->sys, pid);
        if (r < 0)
                return r;
        run->pidfd = r;
        return walk_check(run->walk);
}

/* A target that cannot be worked on any more. */
static void act_drop(struct pageout *p, size_t target, int error, uint64_t step_bytes)
{
        struct target_state *s = &p->states[target];
        uint64_t resident = p->targets[target].resident, rest = resident > s->seen ? resident - s->seen : 0;

        s->dead = true;
        if (error == -ESRCH) {
                p->result.gone++;
                return;
        }
        if (error == -EPERM || error == -EACCES)
                p->result.left_forbidden += MAX(rest, step_bytes);
        if (p->result.error == 0)
                p->result.error = -error;
}

static bool act_is_over(struct pageout *p)
{
        p->result.ended = p->sys->ops->now(p->sys);
        p->finished = p->finished || p->result.unmapped >= p->goal || p->result.ended >= p->deadline;
        return p->finished;
}

/*
 * How much of a range, from an offset on, goes into one call of `bytes`. The kernel splits a transparent huge page of which a part is
 * paged out (madvise_cold_or_pageout_pte_range() in mm/madvise.c), which takes longer than to page out all of it; so it goes by itself
 * and whole if `whole`, and what is before it ends there. One of a file always does: nothing is written for it, and in parts it would be
 * unmapped by the first call and out of reach for the others, so that the host got back but a part.
 */
static uint64_t run_piece(const struct run *run, const struct place *at, uint64_t bytes, bool whole, bool *ret_alone)
{
        const struct candidates *c = &run->candidates;
        const struct iovec *range = &c->ranges[at->range];
        uint64_t start = (uintptr_t)range->iov_base + at->offset, left = range->iov_len - at->offset, huge, border;

        *ret_alone = candidates_is_huge(c, at->range, at->offset, &huge) && bytes < huge &&
                     (whole || candidates_is_file(c, at->range, at->offset));
        if (*ret_alone)
                return huge;
        if (left <= bytes && left < huge)
                return left;
        border = huge - start % huge;
        if (bytes >= huge)
                return left <= bytes ? left : bytes - (start + bytes) % huge;
        if (bytes > border && left > border && candidates_is_huge(c, at->range, at->offset + border, &huge))
                return border;
        return MIN(left, bytes);
}

/*
 * One call's worth of the candidates from *next on, which it moves: whole ranges, or a part of one. The lock is held until all of
 * them are done: since Linux 6.15 it is taken once for all vectors, vector_madvise() in mm/madvise.c.
 */
static size_t run_slice(struct run *run, const struct step *step, struct place *next)
{
        const struct candidates *c = &run->candidates;
        uint64_t bytes = step->bytes;
        size_t n = 0;

        while (next->range < c->n_ranges && bytes > 0) {
                const struct iovec *range = &c->ranges[next->range];
                bool alone, part;
                uint64_t size = run_piece(run, next, bytes, step_whole(step), &alone);

                part = next->offset + size < range->iov_len;
                if (n > 0 && (alone || part))
                        break;
                run->vectors[n++] = (struct iovec){.iov_base = (char *)range->iov_base + next->offset, .iov_len = size};
                bytes -= MIN(size, bytes);
                next->offset += size;
                if (!part)
                        *next = (struct place){.range = next->range + 1};
                if (alone || part)
                        break;
        }
        return n;
}

/* How many of the n vectors the kernel reports as done: it counts whole ones, see process_madvise(2). */
static size_t vectors_done(const struct iovec *vectors, size_t n, uint64_t bytes)
{
        size_t i = 0;

        while (i < n && bytes >= vectors[i].iov_len)
                bytes -= vectors[i++].iov_len;
        return i;
}

/*
 * Hands n vectors to the kernel. What it answers only tells where to go on: it stops at a vector it does not like, which is passed
 * over. 0; -ECANCELED given up; -ESRCH, -EPERM or another negative errno: no use to go on with this process. Touches nothing
 * but the run; *ret_longest is the longest time that a call took.
 */
static int run_advise(struct run *run, const struct iovec *vectors, size_t n, usec_t *ret_longest)
{
        const struct sys *sys = run->sys;
        unsigned retries = 0;
        usec_t longest = 0;

        for (size_t at = 0; at < n && retries <= RETRIES;) {
                int64_t began = walk_hold(run->walk), took;
                ssize_t done;

                if (began < 0)
                        return (int)began;
                done = sys->ops->process_madvise(sys, run->pidfd, vectors + at, n - at, MADV_PAGEOUT);
                took = walk_let_go(run->walk, began);
                if (took < 0)
                        return (int)took;
                longest = MAX(longest, (usec_t)took);
                if (done > 0)
                        at += MAX(vectors_done(vectors + at, n - at, (uint64_t)done), (size_t)1);
                else if (done == -EINTR || done == -EAGAIN) {
                        retries++;
                        if (guard_stopping(run->guard))
                                break;
                        sys->ops->sleep(sys, RETRY_USEC);
                } else if (done == -EINVAL || done == -ENOMEM || done == 0)
                        /* EINVAL: locked (can_madv_lru_vma()). ENOMEM: part of it is unmapped by now, the rest was done. */
                        at++;
                else
                        return (int)done;
        }
        *ret_longest = longest;
        return 0;
}

static uint64_t vectors_bytes(const struct iovec *vectors, size_t n)
{
        uint64_t bytes = 0;

        for (size_t i = 0; i < n; i++)
                bytes += vectors[i].iov_len;
        return bytes;
}

/*
 * The calls for one batch of candidates. Those that were too long make those after them shorter. *ret_usual: bytes that did not go as
 * huge pages, which say nothing of small ones. Errors as run_advise().
 */
static int act_advise(struct run *run, struct pageout *p, uint64_t *ret_usual)
{
        struct place next = {};
        size_t n;

        *ret_usual = 0;
        while ((n = run_slice(run, &p->step, &next)) > 0) {
                uint64_t bytes = vectors_bytes(run->vectors, n);
                usec_t longest = 0;
                int r;

                r = run_advise(run, run->vectors, n, &longest);
                if (r < 0)
                        return r;
                if (bytes > p->step.bytes) {
                        step_whole_took(&p->step, longest);
                        continue;
                }
                step_took(&p->step, longest);
                *ret_usual += bytes;
        }
        return 0;
}

/* What stayed although there was swap when the act began: because there is none left? */
static void act_check_swap(struct pageout *p, uint64_t stayed)
{
        struct host_memory host;

        if (!p->swap || stayed == 0 || host_memory_read(p->sys, &host) < 0 || host.swap_free >= stayed)
                return;
        p->swap = false;
        p->result.left_busy -= stayed;
        p->result.left_no_swap += stayed;
}

/* One batch of candidates: *ret_moved bytes left. Errors as run_advise(). */
static int act_batch(struct run *run, struct pageout *p, size_t target, uint64_t *ret_moved)
{
        struct candidates *c = &run->candidates;
        struct target_state *s = &p->states[target];
        uint64_t before = p->result.unmapped, usual;
        int r;

        p->result.attempted += c->bytes;
        if (!s->acted_on)
                p->result.processes++;
        s->acted_on = true;

        r = act_advise(run, p, &usual);
        if (r < 0)
                return r;
        r = candidates_check(run->walk, run->context, c, run->forbidden_files, p->left, &p->result);
        if (r < 0)
                return r;

        s->seen += c->bytes;
        *ret_moved = p->result.unmapped - before;
        for (size_t i = 0; i < c->n_ranges; i++)
                trace_add(p->trace, &p->targets[target], (uintptr_t)c->ranges[i].iov_base, c->ranges[i].iov_len,
                          c->left[i]);
        act_check_swap(p, c->busy_anonymous);
        step_learn(&p->step, usual, (uint64_t)((double)*ret_moved / (double)c->bytes * (double)usual));
        return 0;
}

/* The batches of one leg, on the target that is open. 0 at its end, when it was put off, or when the act is over. */
static int act_batches(struct run *run, struct pageout *p, const struct leg leg)
{
        struct candidates *c = &run->candidates;
        struct target_state *s = &p->states[leg.target];
        uint64_t idle = 0;
        int r;

        c->bytes = 0;
        r = candidates_seek(run->walk, leg.from, c);
        while (r >= 0) {
                uint64_t moved;

                if (guard_stopping(run->guard))
                        return -ECANCELED;
                if (act_is_over(p))
                        return 0;
                r = candidates_next(run->walk, leg.to, MIN(step_batch(&p->step), p->goal - p->result.unmapped), p->swap,
                                    c);
                if (r < 0)
                        break;
                p->result.left_shared += c->skipped_shared;
                p->result.left_no_swap += c->skipped_no_swap;
                s->seen += c->skipped_shared + c->skipped_no_swap;
                if (r == 0) {
                        p->legs.items[p->leg].from = leg.to;
                        return 0;
                }
                p->legs.items[p->leg].from = c->next;

                if (c->bytes > 0) {
                        r = act_batch(run, p, leg.target, &moved);
                        if (r < 0)
                                break;
                        idle = moved > 0 ? 0 : idle + c->bytes;
                        if (idle >= IDLE_CALLS * p->step.bytes && !leg.deferred) {
                                legs_defer(&p->legs, p->leg, c->next);
                                return 0;
                        }
                }
        }
        return r;
}

static int act_leg(struct run *run, struct pageout *p)
{
        const struct leg leg = p->legs.items[p->leg];
        int r;

        p->current = leg.target;
        run->candidates.bytes = 0;
        step_begin(&p->step);
        r = run_open_to_act(run, p->targets[leg.target].pid, p->targets[leg.target].start_time);
        if (r >= 0)
                r = act_batches(run, p, leg);
        if (r == -ECANCELED)
                return r;
        p->current = NO_TARGET;
        if (r < 0)
                act_drop(p, leg.target, r, run->candidates.bytes);
        run_close(run);
        return 0;
}

/* The target that a process of a trace is, if it still is a member and runs the same program. */
static size_t act_find(const struct pageout *p, const struct trace_process *t)
{
        size_t low = 0, high = p->n_targets;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (p->targets[p->by_pid[middle]].pid < t->pid)
                        low = middle + 1;
                else
                        high = middle;
        }
        if (low < p->n_targets) {
                const struct pageout_target *target = &p->targets[p->by_pid[low]];

                if (target->pid == t->pid && target->start_time == t->start_time && target->mm_id == t->mm_id)
                        return p->by_pid[low];
        }
        return NO_TARGET;
}

/* Bytes of a range that are present now. 0 or as walk_read(). */
static int run_present(struct run *run, uint64_t start, uint64_t end, uint64_t *ret)
{
        uint64_t page_size = run->features.page_size, present = 0;

        while (start < end) {
                size_t n = MIN((end - start) / page_size, (uint64_t)ARRAY_SIZE(run->pages));
                int r = walk_read(run->walk, start, n, run->pages);

                if (r < 0)
                        return r;
                for (size_t i = 0; i < n; i++)
                        present += run->pages[i] & PAGE_PRESENT ? page_size : 0;
                start += n * page_size;
        }
        *ret = present;
        return 0;
}

/* What came back of one process's ranges. 0; negative errno as walk_read() and walk_open(). */
static int act_refaults_of(struct run *run, struct pageout *p, size_t target, size_t first, size_t end)
{
        uint64_t refaulted = 0;
        int r = run_open(run, p->targets[target].pid, p->targets[target].start_time);

        if (r < 0)
                return r;
        for (size_t i = first; i < end; i++) {
                struct trace_range range = p->before->ranges[i];
                uint64_t present, stayed = range.end - range.start - range.left;

                r = run_present(run, range.start, range.end, &present);
                if (r < 0)
                        return r;
                refaulted += present > stayed ? present - stayed : 0;
        }
        r = walk_check(run->walk);
        if (r < 0)
                return r;
        p->result.refaulted += refaulted;
        return 0;
}

/* Looks at what the act before paged out. A process that is gone, or cannot be read, took its answer with it. */
static int act_refaults(struct run *run, struct pageout *p)
{
        struct pageout_trace *t = p->before;

        if (!t)
                return 0;
        while (p->before_at < t->n_processes) {
                size_t i = p->before_at, target = act_find(p, &t->processes[i]);

                if (guard_stopping(run->guard))
                        return -ECANCELED;
                p->before_at++; /* first: if this one gets stuck, the next thread goes on behind it */
                if (target == NO_TARGET || p->states[target].dead)
                        continue;
                p->current = target;
                if (act_refaults_of(run, p, target, t->processes[i].first, trace_process_end(t, i)) == -ECANCELED)
                        return -ECANCELED;
                p->current = NO_TARGET;
                run_close(run);
        }
        if (t->recorded > 0 && t->dropped > 0)
                p->result.refaulted = (uint64_t)((double)p->result.refaulted / (double)t->recorded *
                                                 (double)(t->recorded + t->dropped));
        p->before = pageout_trace_free(t);
        return 0;
}

/* Frames need no target and no lock of one: nothing here can block on somebody. */
static void act_freed(struct run *run, struct pageout *p)
{
        run->context = walk_context_free(run->context);
        if (walk_context_new(run->sys, &run->features, &run->context) < 0)
                return;
        for (size_t i = 0; i < ARRAY_SIZE(freed_delays) && p->result.unmapped > 0; i++) {
                uint64_t freed;
                bool writing;

                if (freed_delays[i] > 0) {
                        if (guard_stopping(run->guard))
                                break;
                        run->sys->ops->sleep(run->sys, freed_delays[i]);
                }
                freed = left_frames_freed(run->context, p->left, &writing);
                p->freed_known = freed != SIZE_UNKNOWN;
                if (!p->freed_known)
                        break;
                p->result.freed = MIN(freed, p->result.unmapped);
                if (!writing)
                        break;
        }
}

int pageout_run(struct pageout *p, struct guard *guard)
{
        _cleanup_(run_freep) struct run *run = run_new(p, guard);
        int r;

        if (!run) {
                p->result.error = ENOMEM;
                return -ENOMEM;
        }
        if (!p->started) {
                p->started = true;
                p->result.started = p->result.ended = p->sys->ops->now(p->sys);
                p->deadline = p->result.started + p->max_time;
        }
        r = act_refaults(run, p);
        if (r < 0)
                return r;
        while (p->leg < p->legs.n && !act_is_over(p)) {
                if (!p->states[p->legs.items[p->leg].target].dead) {
                        if (guard_stopping(guard))
                                return -ECANCELED;
                        r = act_leg(run, p);
                        if (r < 0)
                                return r;
                }
                if (!p->finished)
                        p->leg++;
        }
        p->result.ended = p->sys->ops->now(p->sys);
        act_freed(run, p);
        return 0;
}
