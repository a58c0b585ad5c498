/* SPDX-License-Identifier: MIT */
/*
 * What one page table entry does not say is looked up by frame in /proc/kpageflags, at 1 to 4 µs each: so every answer is kept
 * for the life of the context, which is one count. None is kept longer: frames are freed and used for something else.
 */
#include <errno.h>
#include <fcntl.h>

#include "walk-internal.h"

int walk_context_new(const struct sys *sys, const struct features *features, struct walk_context **ret)
{
        _cleanup_(walk_context_freep) struct walk_context *c = calloc(1, sizeof(*c));

        if (!c)
                return -ENOMEM;
        *c = (struct walk_context){.sys = sys,
                                   .features = features,
                                   .max_stall = WALK_MAX_STALL,
                                   .kpageflags_fd = -1,
                                   .kpagecount_fd = -1};
        if (features->kpageflags) {
                c->kpageflags_fd = sys_open(sys, "proc/kpageflags", O_RDONLY);
                if (c->kpageflags_fd < 0)
                        return c->kpageflags_fd;
        }
        if (features->kpagecount) {
                c->kpagecount_fd = sys_open(sys, "proc/kpagecount", O_RDONLY);
                if (c->kpagecount_fd < 0)
                        return c->kpagecount_fd;
        }
        *ret = TAKE_PTR(c);
        return 0;
}

void walk_context_set_max_stall(struct walk_context *c, usec_t max_stall)
{
        c->max_stall = max_stall;
}

void walk_context_follow(struct walk_context *c)
{
        c->follow = true;
}

struct walk_context *walk_context_free(struct walk_context *c)
{
        if (!c)
                return NULL;
        close_fd(c->kpageflags_fd);
        close_fd(c->kpagecount_fd);
        frames_clear(&c->known_anon);
        free(c->objects);
        free(c);
        return NULL;
}

/* So long a thread is the first one, whatever MaxStall= is, and so long it pauses at most. */
#define TURN_USEC  USEC_PER_MSEC
#define PAUSE_USEC (20 * USEC_PER_MSEC)

/*
 * Somebody else has been on the processor where giving it up took so long. It is not tried again for some turns: for few where that may have
 * been a kernel thread that came by, for many where it was so a short while ago, too. One try does not tell, as who has just slept may be
 * given the processor before all others.
 */
#define CROWDED_USEC   200U
#define CROWDED_ONCE   8U
#define CROWDED_TURNS  64U
#define CROWDED_MEMORY 64U /* tries */

/*
 * Where nobody else wants the processor one turn in so many is an ordinary one: of threads that are first for 950 ms of a second the kernel takes the
 * processor away, within the lock or not (sched_rt_runtime_us in Documentation/scheduler/sched-rt-group.rst, before Linux 6.12).
 */
#define ORDINARY_TURNS 10U

void context_step_back(struct walk_context *c)
{
        if (!c->first)
                return;
        c->used += c->sys->ops->now(c->sys) - c->first_since;
        c->first = c->sys->ops->go_first(c->sys, false) < 0;
}

/* After a turn: others have theirs. */
static void give_way(struct walk_context *c, usec_t turn)
{
        const struct sys *sys = c->sys;
        usec_t now;

        if (c->crowded > 0) {
                c->crowded--;
                sys->ops->sleep(sys, MIN(turn, PAUSE_USEC));
                return;
        }
        now = sys->ops->now(sys);
        sys->ops->yield(sys);
        if (sys->ops->now(sys) - now >= CROWDED_USEC) {
                c->crowded = c->wary > 0 ? CROWDED_TURNS : CROWDED_ONCE;
                c->wary = CROWDED_MEMORY;
        } else if (c->wary > 0)
                c->wary--;
}

/*
 * A thread that has to wait for the lock is asleep when it gets it: who lets go of it makes the sleeper a holder and wakes it up
 * (rwsem_mark_wake() in kernel/locking/rwsem.c), and until that one has got a processor the target waits. On a busy host these are many
 * milliseconds, as they are when the thread's turn on the processor ends while it holds the lock ("tests/bench/run stall-busy").
 * What a thread does as the first one is not put down to its share, so that nobody else would get a turn: where somebody wants one
 * there is a pause as long as the turn was.
 */
void context_come_first(struct walk_context *c)
{
        usec_t limit = MIN(c->max_stall / 2, TURN_USEC), now, turn;

        if (!c->features->realtime)
                return;
        now = c->sys->ops->now(c->sys);
        turn = c->used + (c->first || c->ordinary ? now - c->first_since : 0);
        if (turn < limit && (c->first || c->ordinary))
                return;
        if (turn >= limit) {
                context_step_back(c);
                give_way(c, turn);
                c->used = 0;
                c->ordinary = ++c->turns % ORDINARY_TURNS == 0 && c->wary == 0;
        }
        if (!c->ordinary)
                c->first = c->sys->ops->go_first(c->sys, true) == 0;
        c->first_since = c->sys->ops->now(c->sys);
}

void walk_context_continue(struct walk_context *c, const struct walk_context *before)
{
        c->used = before->used;
        c->crowded = before->crowded;
        c->wary = before->wary;
        c->turns = before->turns;
}

/* One entry of a file of 64 bit words, a word a frame. -ERANGE beyond its end: not a frame of memory the kernel manages. */
static int read_word(struct walk_context *c, int fd, uint64_t frame, uint64_t *ret)
{
        uint64_t word;
        ssize_t n;

        if (fd < 0)
                return -EOPNOTSUPP;
        /* no lock of anybody, and many of these may come one after the other */
        context_step_back(c);
        do
                n = c->sys->ops->pread(c->sys, fd, &word, sizeof(word), frame * sizeof(word));
        while (n == -EINTR);
        if (n < 0)
                return (int)n;
        if (n == 0)
                return -ERANGE;
        if (n != sizeof(word))
                return -EIO;
        *ret = word;
        return 0;
}

int frame_flags(struct walk_context *c, uint64_t frame, uint64_t *ret)
{
        int r = read_word(c, c->kpageflags_fd, frame, ret);

        if (r != -ERANGE)
                return r;
        *ret = KPF_NOPAGE;
        return 0;
}

int context_huge_kind(struct walk_context *c, uint64_t frame, enum huge_kind *ret)
{
        uint64_t *cached = &c->huge_cache[frame / HUGE_PAGES % HUGE_CACHE_SIZE], flags;
        enum huge_kind kind;
        int r;

        if (c->kpageflags_fd < 0) {
                *ret = HUGE_ORDINARY;
                return 0;
        }
        if (*cached != 0 && (*cached & ~(uint64_t)(HUGE_PAGES - 1)) == frame) {
                *ret = *cached & (HUGE_PAGES - 1);
                return 0;
        }
        r = frame_flags(c, frame, &flags);
        if (r < 0)
                return r;
        if (flags & KPF_ZERO_PAGE)
                kind = HUGE_ZERO;
        else if (flags & KPF_THP && !(flags & KPF_ANON))
                kind = HUGE_FILE;
        else
                kind = HUGE_ORDINARY;
        *cached = frame | kind;
        *ret = kind;
        return 0;
}

int context_is_anon(struct walk_context *c, uint64_t frame)
{
        uint64_t flags;
        int r;

        if (c->kpageflags_fd < 0 || frames_has(&c->known_anon, frame))
                return 1;
        r = frame_flags(c, frame, &flags);
        if (r < 0)
                return r;
        /*
         * An anonymous page, of KSM or not, carries KPF_ANON. What carries it not and is no file page either is mapped
         * without its struct page (vm_normal_page() in mm/memory.c gives none): the kernel leaves it out of VmRSS.
         */
        if (!(flags & KPF_ANON))
                return 0;
        r = frames_add(&c->known_anon, frame);
        return r < 0 ? r : 1;
}

static struct object *find_object(struct object *objects, size_t slots, uint64_t device, uint64_t inode)
{
        size_t i = (size_t)((device * UINT64_C(0x9E3779B97F4A7C15) ^ inode) * UINT64_C(0xD6E8FEB86659FD93) >> 20) &
                   (slots - 1);

        while (objects[i].inode != 0 && (objects[i].inode != inode || objects[i].device != device))
                i = (i + 1) & (slots - 1);
        return &objects[i];
}

static int grow_objects(struct walk_context *c)
{
        size_t slots = c->object_slots ? c->object_slots * 2 : 64;
        struct object *objects = calloc(slots, sizeof(*objects));

        if (!objects)
                return -ENOMEM;
        for (size_t i = 0; i < c->object_slots; i++)
                if (c->objects[i].inode != 0)
                        *find_object(objects, slots, c->objects[i].device, c->objects[i].inode) = c->objects[i];
        free(c->objects);
        c->objects = objects;
        c->object_slots = slots;
        return 0;
}

struct object *context_object(struct walk_context *c, const struct walk_vma *v)
{
        struct object *o;

        if (v->inode == 0) {
                c->no_object = (struct object){};
                return &c->no_object;
        }
        if ((c->n_objects + 1) * 2 > c->object_slots && grow_objects(c) < 0)
                return NULL;
        o = find_object(c->objects, c->object_slots, v->device, v->inode);
        if (o->inode == 0) {
                *o = (struct object){.device = v->device, .inode = v->inode};
                c->n_objects++;
        }
        return o;
}
