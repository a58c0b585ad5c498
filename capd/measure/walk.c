/* SPDX-License-Identifier: MIT */
/*
 * walk.c: opening an address space and handing out its pages.
 *
 * Order matters in walk_open(): identity, pagemap, mappings, identity again. pagemap is bound to the address space at open; the list of mappings
 * is that of the program running when it is read; so if the same program ran before the first and after the second, both are of one
 * address space. After that an exec cannot mix two programs, because pagemap goes on showing the old one, or nothing.
 *
 * Every buffer a system call writes to while the target could block it belongs to the walk, and the walk and its context to the
 * thread that made them. So a thread that is given up (guard.h) and comes back after an hour writes to memory nobody else uses, and
 * frees it by walk_close() and walk_context_free() like any other.
 */
#include <errno.h>
#include <fcntl.h>

#include "echo.h"
#include "hold.h"
#include "running.h"
#include "sampling.h"
#include "seen.h"
#include "walk-internal.h"

/* Pages of one window: 8 MiB of address space, and 16 KiB of entries that stay in the processor's cache until they are counted. */
#define WINDOW_PAGES (LIMIT_PAGEMAP_STEP_PAGES / 2)
/* A gap between mappings up to this is read over: cheaper than another system call. */
#define GAP_PAGES 128U

static uint64_t align_down(const struct walk *w, uint64_t address)
{
        return address & ~(HUGE_PAGES * w->context->features->page_size - 1);
}

/*
 * A reader that takes the lock again and again keeps out whoever waits to change the address space: it is let in before the one
 * that was woken has got a processor (rwsem_down_read_slowpath() in kernel/locking/rwsem.c, "lock stealing"), until the kernel hands the
 * lock over after RWSEM_WAIT_TIMEOUT, 4 ms. The lock itself is never held for long: pagemap_read() lets go of it every 2 MiB.
 * So there is a pause after every half of MaxStall spent in such calls, as long as a thread needs to wake up: 60 to 70 µs, most of which
 * the kernel adds by itself (timer_slack_ns is 50 µs, prctl(2)). Where all of the process is asleep nobody is waiting.
 */
#define PAUSE_USEC 10U

/* Who follows a target shares its processor and does not pay for it (context_come_first()), so that it pauses for as long, and so long at most. */
#define GIVE_WAY_USEC (10 * USEC_PER_MSEC)

/*
 * An ordinary process that finds another thread on its processor is moved to an idle one as soon as it wakes up (select_idle_sibling() in
 * kernel/sched/fair.c). Who follows it looks before each call, for so many calls after it was last seen to do anything.
 */
#define ALERT_CALLS 32U

/* Leaves a guarded call: 0, or -ECANCELED if the thread was given up in it. */
static int leave(struct walk *w)
{
        if (guard_leave(w->guard))
                return 0;
        w->context->lost = true;
        return -ECANCELED;
}

/* Before a call: lets others in where it is time to. 0 and the processor to go to for it, -1: no matter which; or -ECANCELED. */
static int look_around(struct walk *w, int *ret_cpu)
{
        const struct sys *sys = w->context->sys;
        bool due = w->in_lock > 0 && w->in_lock >= w->context->max_stall / 2,
             follows = w->context->follow && w->alert > 0;
        struct running running;
        int r;

        *ret_cpu = -1;
        if (!due && !follows)
                return 0;
        guard_enter(w->guard, w->pid);
        running_look(sys, w->dirfd, w->stat_fd, &running);
        r = leave(w);
        if (r < 0)
                return r;
        if (running.awake)
                w->alert = ALERT_CALLS;
        else if (w->alert > 0)
                w->alert--;
        if (due) {
                if (running.awake || w->shared) {
                        context_step_back(w->context);
                        sys->ops->sleep(sys, w->context->follow && w->context->features->realtime
                                                             ? MIN(w->in_lock, GIVE_WAY_USEC)
                                                             : PAUSE_USEC);
                }
                w->in_lock = 0;
        }
        if (w->context->follow)
                *ret_cpu = running.cpu;
        return 0;
}

int64_t walk_hold(struct walk *w)
{
        const struct sys *sys = w->context->sys;
        int cpu, r = look_around(w, &cpu);

        if (r < 0)
                return r;
        context_come_first(w->context);
        guard_enter(w->guard, w->pid);
        /* guarded, as there may be somebody who leaves it to nobody; no matter if it cannot be: it takes longer then */
        if (cpu >= 0)
                (void)sys->ops->go_to_cpu(sys, cpu);
        return (int64_t)sys->ops->now(sys);
}

int64_t walk_let_go(struct walk *w, int64_t began)
{
        const struct sys *sys = w->context->sys;
        usec_t took;
        int r = leave(w);

        if (r < 0)
                return r;
        took = sys->ops->now(sys) - (usec_t)began;
        w->in_lock += took;
        return (int64_t)took;
}

int walk_read_raw(struct walk *w, uint64_t address, size_t n, uint64_t *entries)
{
        const struct sys *sys = w->context->sys;
        uint64_t offset = address / w->context->features->page_size * sizeof(uint64_t);
        size_t size = n * sizeof(uint64_t), done = 0;

        if (guard_stopping(w->guard))
                return -ECANCELED;
        while (done < size) {
                int64_t began = walk_hold(w);
                ssize_t r;

                if (began < 0)
                        return (int)began;
                r = sys->ops->pread(sys, w->pagemap_fd, (char *)entries + done, size - done, offset + done);
                if (walk_let_go(w, began) < 0)
                        return -ECANCELED;
                if (r == -EINTR)
                        continue;
                if (r < 0)
                        return (int)r;
                /* pagemap_read() in fs/proc/task_mmu.c: nothing at an address that exists means that nobody uses the mm any more */
                if (r == 0)
                        return -ESRCH;
                if (r % sizeof(uint64_t) != 0)
                        return -EIO;
                done += (size_t)r;
        }
        return 0;
}

static int check_pagemap(struct walk *w)
{
        uint64_t entry;

        return walk_read_raw(w, w->vmas.items[0].v.start, 1, &entry);
}

static int check_identity(struct walk *w)
{
        struct proc_stat s;
        int r, lost;

        guard_enter(w->guard, w->pid);
        r = hold_read_stat_again(w->context->sys, w->stat_fd, &s);
        lost = leave(w);
        if (lost < 0)
                return lost;
        if (r < 0)
                return r;
        return hold_same_program(&w->identity, &s) && !hold_is_ended(&s) ? 0 : -ESRCH;
}

int walk_check(struct walk *w)
{
        int r = check_identity(w);

        return r < 0 ? r : check_pagemap(w);
}

/*
 * Reading everything costs 1 to 2 ns for each page that is not there, PAGEMAP_SCAN some 5 ns and smaps some 50 ns for each that is. A
 * sample is read for a part of that, while what looking first costs is the same.
 */
static enum sparse_method choose_method(const struct walk *w)
{
        uint64_t size = w->identity.vm / w->context->features->page_size, factor = w->context->sampling ? 8 : 1;

        if (w->context->features->pagemap_scan)
                return size / (4 * factor) > w->identity.rss + 4096 ? SPARSE_SCAN : SPARSE_NOT;
        return size / (32 * factor) > w->identity.rss + 2048 ? SPARSE_SIZES : SPARSE_NOT;
}

int walk_open(struct walk_context *c, struct guard *guard, pid_t pid, uint64_t start_time, struct walk **ret)
{
        _cleanup_(walk_closep) struct walk *w = calloc(1, sizeof(*w));
        const struct sys *sys = c->sys;
        bool lost = false;
        int r;

        if (!w)
                return -ENOMEM;
        *w = (struct walk){.context = c,
                           .guard = guard,
                           .pid = pid,
                           .dirfd = -1,
                           .stat_fd = -1,
                           .pagemap_fd = -1,
                           .until = UINT64_MAX,
                           .alert = ALERT_CALLS,
                           .scan_step = GIB};
        w->window_pages = WINDOW_PAGES;
        w->window = malloc(WINDOW_PAGES * sizeof(uint64_t));
        if (!w->window)
                return -ENOMEM;
        w->dirfd = hold_open(sys, guard, pid, start_time, &w->identity, &w->stat_fd);
        c->lost = c->lost || w->dirfd == -ECANCELED;
        if (w->dirfd < 0)
                return w->dirfd;

        guard_enter(guard, pid);
        w->pagemap_fd = sys->ops->openat(sys, w->dirfd, "pagemap", O_RDONLY);
        r = leave(w);
        if (r < 0)
                return r;
        if (w->pagemap_fd < 0)
                return w->pagemap_fd == -ENOENT ? -ESRCH : w->pagemap_fd;
        w->sparse = choose_method(w);
        r = vmas_read(c, guard, pid, w->dirfd, w->sparse == SPARSE_SIZES, &w->vmas, &lost);
        c->lost = c->lost || lost;
        if (r < 0)
                return r;
        r = walk_check(w);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(w);
        return 0;
}

struct walk *walk_close(struct walk *w)
{
        if (!w)
                return NULL;
        context_step_back(w->context);
        close_fd(w->pagemap_fd);
        close_fd(w->stat_fd);
        close_fd(w->dirfd);
        vmas_done(&w->vmas);
        extents_done(&w->extents);
        free(w->window);
        free(w->scratch);
        free(w);
        return NULL;
}

int walk_dirfd(const struct walk *w)
{
        return w->dirfd;
}

static void enter_mapping(struct walk *w, size_t i)
{
        w->i = i;
        w->extents.n = 0;
        w->next_extent = 0;
        w->extents_until = 0;
        w->stretch_end = 0;
}

static bool seen_wants_mapping(const struct walk *w, const struct vma *v)
{
        return seen_wants(w->seen, &v->v, w->context->features->page_size);
}

uint64_t walk_stretch_end(const struct walk *w, const struct vma *v)
{
        uint64_t end = MIN(v->v.end, w->until);

        return seen_wants_mapping(w, v) ? MIN(end, w->stretch_end) : end;
}

/* Whether but a part of the mapping is read, as the sample has it. */
static bool is_sampled(const struct walk *w, const struct vma *v)
{
        return w->context->sampling && !sampling_takes_all(&v->v);
}

/* Where a window that starts at w->at ends: as far as its pages are wanted, and never inside 2 MiB that may be one huge page. */
static uint64_t window_limit(const struct walk *w)
{
        uint64_t page_size = w->context->features->page_size, limit, cut;
        const struct vma *v = &w->vmas.items[w->i];

        if (is_sampled(w, v)) {
                limit = w->sample_end;
        } else if (sparse_wants(w, v)) {
                limit = MIN(w->extents.items[w->next_extent].end, walk_stretch_end(w, v));
        } else if (seen_wants_mapping(w, v)) {
                limit = walk_stretch_end(w, v);
        } else {
                limit = v->v.end;
                for (size_t i = w->i + 1; i < w->vmas.n; i++) {
                        const struct vma *next = &w->vmas.items[i];

                        if (limit - w->at >= w->window_pages * page_size ||
                            next->v.start - limit > GAP_PAGES * page_size || next->expected == 0 ||
                            sparse_wants(w, next) || seen_wants_mapping(w, next) || is_sampled(w, next))
                                break;
                        limit = next->v.end;
                }
        }
        limit = MIN(limit, w->until);
        if (limit - w->at <= w->window_pages * page_size)
                return limit;
        cut = align_down(w, w->at + w->window_pages * page_size);
        return cut > w->at ? cut : w->at + w->window_pages * page_size;
}

/* Finds where in the current stretch of a mapping reading goes on: 1 at w->at; 0 nothing more in it; or a negative errno. */
static int seek_extent(struct walk *w, const struct vma *v)
{
        uint64_t end = walk_stretch_end(w, v);

        for (;;) {
                int r;

                while (w->next_extent < w->extents.n && w->extents.items[w->next_extent].end <= w->at)
                        w->next_extent++;
                if (w->next_extent < w->extents.n && w->extents.items[w->next_extent].start < end) {
                        w->at = MAX(w->at, w->extents.items[w->next_extent].start);
                        return 1;
                }
                if (w->extents_until >= end)
                        return 0;
                r = sparse_find(w, v);
                if (r < 0)
                        return r;
        }
}

/* Goes to what of the sample is in the current stretch or extent: 1 at w->at; 0 nothing of it, and w->at is at its end. */
static int seek_sample(struct walk *w, const struct vma *v)
{
        uint64_t end = walk_stretch_end(w, v);

        if (sparse_wants(w, v))
                end = MIN(end, w->extents.items[w->next_extent].end);
        sampling_next(w->context->sampling, &v->v, w->context->features->page_size, w->at, end, &w->at, &w->sample_end);
        return w->at < end;
}

/* Goes to what of the mapping is to be read, a stretch at a time: 1 at w->at; 0 nothing more of it; or a negative errno. */
static int seek_stretch(struct walk *w, const struct vma *v)
{
        int r = 1;

        if (seen_wants_mapping(w, v) && w->at >= w->stretch_end) {
                uint64_t end = MIN(v->v.end, w->until);

                r = seen_next(w->seen, w, &v->v, w->at, end, &w->at, &w->stretch_end);
                if (r < 0)
                        return r;
                r = w->at < end;
        }
        if (r > 0 && sparse_wants(w, v)) {
                r = seek_extent(w, v);
                if (r == 0)
                        w->at = walk_stretch_end(w, v);
        }
        return r > 0 && is_sampled(w, v) ? seek_sample(w, v) : r;
}

static int fill_window(struct walk *w)
{
        uint64_t page_size = w->context->features->page_size, end = window_limit(w);
        int r;

        w->window_end = 0;
        r = walk_read_raw(w, w->at, (end - w->at) / page_size, w->window);
        if (r < 0)
                return r;
        w->window_start = w->at;
        w->window_end = end;
        return 0;
}

/*
 * What the window holds of a mapping from w->at on, as far as all of it is known from another process, or none: 1 handed out; 0
 * nothing in it counts; or a negative errno.
 */
static int take_stretch(struct walk *w, const struct vma *v, struct walk_chunk *ret)
{
        uint64_t page_size = w->context->features->page_size, start = w->at, end = MIN(w->window_end, v->v.end);
        uint64_t *entries = w->window + (start - w->window_start) / page_size;
        struct echo_view *echo = start >= w->from ? w->echo : NULL;
        size_t n = (size_t)((end - start) / page_size), found;
        const uint64_t *known = NULL;
        struct object *object;
        bool alike = false;
        int r;

        if (echo) {
                n = echo_stretch(echo, v, start, entries, n, &known, &alike);
                end = start + n * page_size;
        }
        w->at = end;
        if (!known) {
                object = context_object(w->context, &v->v);
                if (!object)
                        return -ENOMEM;
                if (echo)
                        echo_take_entries(echo, v, start, entries, n);
                r = rules_apply(w->context, v, object, start, entries, n, &found);
                if (r < 0)
                        return r;
                if (echo)
                        echo_take_pages(echo, found > 0 ? entries : NULL, n);
                if (found == 0 || end <= w->from)
                        return 0;
        }
        if (start < w->from) {
                entries += (w->from - start) / page_size;
                start = w->from;
        }
        *ret = (struct walk_chunk){.address = start,
                                   .n = (size_t)((end - start) / page_size),
                                   .pages = known ? known : entries,
                                   .vma = &v->v,
                                   .known = known,
                                   .alike = alike};
        return 1;
}

int walk_next(struct walk *w, struct walk_chunk *ret)
{
        while (w->i < w->vmas.n) {
                const struct vma *v = &w->vmas.items[w->i];
                int r;

                w->at = MAX(w->at, v->v.start);
                if (w->at >= w->until)
                        return 0;
                if (w->at >= v->v.end || v->expected == 0) {
                        enter_mapping(w, w->i + 1);
                        continue;
                }
                if (w->at >= w->window_end) {
                        r = seek_stretch(w, v);
                        if (r == 0)
                                continue;
                        if (r > 0)
                                r = fill_window(w);
                        if (r < 0)
                                return r;
                }
                r = take_stretch(w, v, ret);
                if (r != 0)
                        return r;
        }
        return 0;
}

/* The first mapping that ends above an address. */
static size_t mapping_above(const struct walk *w, uint64_t address)
{
        size_t low = 0, high = w->vmas.n;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (w->vmas.items[middle].v.end > address)
                        high = middle;
                else
                        low = middle + 1;
        }
        return low;
}

int walk_seek(struct walk *w, uint64_t address)
{
        address -= address % w->context->features->page_size;
        enter_mapping(w, mapping_above(w, address));
        w->window_end = 0;
        w->from = address;
        /* a huge page is judged by its head */
        w->at = align_down(w, address);
        return 0;
}

void walk_window(struct walk *w, size_t n_pages)
{
        w->window_pages = MIN(MAX(n_pages, (size_t)HUGE_PAGES), (size_t)WINDOW_PAGES);
}

void walk_limit(struct walk *w, uint64_t until)
{
        w->until = until;
}

uint64_t walk_piece(const struct walk *w, uint64_t from, uint64_t pages, uint64_t *ret_left)
{
        uint64_t page_size = w->context->features->page_size, left = 0, until = UINT64_MAX;
        /* bytes of mappings to a page, and how many of them are wanted */
        uint64_t spread = w->vmas.size / MAX(w->identity.rss, UINT64_C(1)), want;

        spread = MAX(spread, page_size);
        want = MIN(pages, UINT64_MAX / 2 / spread) * spread;
        for (size_t i = mapping_above(w, from); i < w->vmas.n; i++) {
                const struct walk_vma *v = &w->vmas.items[i].v;
                uint64_t start = MAX(v->start, from), size = v->end - start;

                if (until == UINT64_MAX && left + size > want && w->sparse != SPARSE_SIZES) {
                        /* the rest is another piece's */
                        until = align_down(w, start + (want - left)) + HUGE_PAGES * page_size;
                        left = v->end - MIN(until, v->end);
                        continue;
                }
                left += size;
        }
        if (until == UINT64_MAX || left == 0) {
                *ret_left = 0;
                return UINT64_MAX;
        }
        *ret_left = left / spread;
        return until;
}

/* The part of walk_read() that lies in one mapping and one stretch of 2 MiB. */
static int read_block(struct walk *w, size_t i, uint64_t start, uint64_t end, uint64_t *pages)
{
        uint64_t page_size = w->context->features->page_size, head;
        const struct vma *v = &w->vmas.items[i];
        struct object *object;
        size_t found;
        int r;

        head = MAX(align_down(w, start), v->v.start);
        r = walk_read_raw(w, head, (end - head) / page_size, w->window);
        if (r < 0)
                return r;
        object = context_object(w->context, &v->v);
        if (!object)
                return -ENOMEM;
        r = rules_apply(w->context, v, object, head, w->window, (end - head) / page_size, &found);
        if (r < 0)
                return r;
        for (uint64_t a = start; a < end; a += page_size)
                *pages++ = w->window[(a - head) / page_size];
        return 0;
}

int walk_read(struct walk *w, uint64_t address, size_t n, uint64_t *pages)
{
        uint64_t page_size = w->context->features->page_size, at, end;

        if (address % page_size != 0 || n > (UINT64_MAX - address) / page_size)
                return -EINVAL;
        end = address + n * page_size;
        for (size_t i = 0; i < n; i++)
                pages[i] = 0;
        w->window_end = 0; /* about to be overwritten */
        at = address;
        for (size_t i = mapping_above(w, address); i < w->vmas.n && w->vmas.items[i].v.start < end; i++) {
                const struct vma *v = &w->vmas.items[i];

                uint64_t stop = MIN(v->v.end, end);

                for (at = MAX(at, v->v.start); at < stop;) {
                        uint64_t next = align_down(w, at) + HUGE_PAGES * page_size;
                        int r;

                        next = MIN(next, stop);
                        r = read_block(w, i, at, next, pages + (at - address) / page_size);
                        if (r < 0)
                                return r;
                        at = next;
                }
        }
        return 0;
}
