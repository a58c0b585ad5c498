/* SPDX-License-Identifier: MIT */
/*
 * reclaim-act.c: what one thread does for an act by memory.reclaim.
 *
 * A write reclaims on the CPU of this thread and waits for the swap device; no lock of a target is held meanwhile. It ends when the amount is
 * gone, or with EAGAIN when that does not come about in some tries (MAX_RECLAIM_RETRIES), which may take long where much has to be looked at for
 * little. Only signals end it earlier, and this thread gets none: so the amounts are small.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "capd/measure/table.h"
#include "reclaim-internal.h"

/* The kernel takes 32 pages at a time (SWAP_CLUSTER_MAX): less is no smaller step for it. */
#define LEAST_STEP (128 * KIB)
/* How long a write should take: long enough that looking around before and after it costs little, short enough for the guard. */
#define AIM_LOW_USEC  (20 * USEC_PER_MSEC)
#define AIM_HIGH_USEC (80 * USEC_PER_MSEC)
/* Less room for swap than this is as good as none: an act would take all of the page cache for it. */
#define LEAST_SWAP_ROOM (1 * MIB)
/* An act that brings down less than this part of its goal is no help, which is also how policy/governor.c judges it. */
#define LEAST_HELP 0.1
/* Generations that may come in the time of an act. */
#define MAX_DESCENT 4U
/* A cgroup is left alone after so many writes in a row that fell short, or after one that took so long to do so. */
#define MAX_SHORT       2U
#define LONG_SHORT_USEC (500 * USEC_PER_MSEC)
/*
 * Or when the kernel says that it took memory and no figure shows it for so long. Some lag is natural: readers of memory.stat see
 * what CPUs have not added up yet only when there is much of it, up to 64 pages for each CPU and CPU (mem_cgroup_flush_stats()).
 */
#define MAX_UNSEEN (256 * MIB)

/* -- who is there -- */

static struct known_member *find_member(struct reclaim *r, pid_t pid)
{
        size_t low = 0, high = r->n_members;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (r->members[middle].pid < pid)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low < r->n_members && r->members[low].pid == pid ? &r->members[low] : NULL;
}

enum who { MEMBER, ENDED, STRANGER };

struct judging {
        struct reclaim *act; /* not to be touched if `lost` */
        struct guard *guard;
        bool lost;
};

static enum who identify(struct judging *j, pid_t pid);

/* Up from one that is not known to one that is. */
static enum who identify_by_descent(struct judging *j, pid_t pid)
{
        struct reclaim *r = j->act;
        uid_t uid = 0, above = 0;

        for (unsigned i = 0; i < MAX_DESCENT && pid > 0; i++) {
                int q = process_read_parent(r->sys, pid, &pid, &above);

                if (q < 0)
                        return q == -ESRCH && i == 0 ? ENDED : STRANGER;
                if (i == 0)
                        uid = above;
                if (above != uid)
                        return STRANGER;
                if (pid > 0 && find_member(r, pid)) {
                        pid_t unused;

                        return identify(j, pid) == MEMBER && process_read_parent(r->sys, pid, &unused, &above) == 0 &&
                                                               above == uid
                                               ? MEMBER
                                               : STRANGER;
                }
        }
        return STRANGER;
}

/* Its number may have gone to somebody else since the request was made: looked at once in an act, which is short. */
static enum who identify(struct judging *j, pid_t pid)
{
        struct reclaim *r = j->act;
        struct known_member *m = pid > 0 ? find_member(r, pid) : NULL;
        struct stat st;
        char path[32];
        int fd;

        if (!m)
                return pid > 0 && r->accept_children ? identify_by_descent(j, pid) : STRANGER;
        if (m->proved)
                return MEMBER;
        fd = process_open(r->sys, j->guard, pid, m->start_time);
        if (fd == -ECANCELED) {
                j->lost = true;
                return STRANGER;
        }
        if (fd >= 0) {
                close_fd(fd);
                m->proved = true;
                return MEMBER;
        }
        snprintf(path, sizeof(path), "proc/%d", (int)pid);
        return fd == -ESRCH && r->sys->ops->fstatat(r->sys, r->sys->root_fd, path, &st, 0) == -ENOENT ? ENDED
                                                                                                      : STRANGER;
}

static bool judge(const pid_t *pids, size_t n, void *userdata, pid_t *ret_stranger)
{
        struct judging *j = userdata;
        bool stranger = false;

        for (size_t i = 0; i < n; i++) {
                enum who who = identify(j, pids[i]);

                if (j->lost)
                        return false;
                if (who == MEMBER && j->act->defined_by_cgroup)
                        return true;
                if (who == STRANGER && !stranger) {
                        stranger = true;
                        *ret_stranger = pids[i];
                }
        }
        return !stranger;
}

/* -- what went -- */

static uint64_t fall(uint64_t before, uint64_t after)
{
        return before > after ? before - after : 0;
}

/*
 * Books what went between two readings. Which part of file_mapped was shmem is not told (cgroup_unmapped_cache()); what went of shmem is taken to have been
 * mapped as far as that can be.
 */
static void book(struct reclaim *r, const struct cgroup_memory *before, const struct cgroup_memory *after)
{
        uint64_t mapped = fall(before->file_mapped, after->file_mapped), shmem = fall(before->shmem, after->shmem);
        uint64_t files = fall(fall(before->file, after->file), shmem); /* without shmem */

        r->report.anon_taken += fall(before->anon, after->anon);
        r->report.file_taken += mapped;
        r->report.cache_taken += fall(files, fall(mapped, shmem));
}

/* Reads one, and books what changed. 0 or a negative errno. */
static int take_reading(struct reclaim *r, struct reclaim_cgroup *g, const struct cgroup2 *c, int fd)
{
        struct cgroup_memory m;
        int q = cgroup_memory_read(c, fd, g->read, &m);

        if (q < 0)
                return q;
        if (!g->read) {
                g->first = m;
                g->read = true;
        } else {
                if (reclaim_mapped(&m) < reclaim_mapped(&g->last) || m.file < g->last.file)
                        g->unseen = 0;
                book(r, &g->last, &m);
        }
        g->last = m;
        return 0;
}

/* How far what is mapped fell since the beginning, in all cgroups together: what one has grown is no success of another. */
static uint64_t fallen(const struct reclaim *r)
{
        uint64_t before = 0, after = 0;

        for (size_t i = 0; i < r->owned.n; i++)
                if (r->cgroups[i].read) {
                        before += reclaim_mapped(&r->cgroups[i].first);
                        after += reclaim_mapped(&r->cgroups[i].last);
                }
        return fall(before, after);
}

/* -- one write -- */

static void learn(uint64_t *step, uint64_t amount, usec_t took)
{
        if (took > AIM_HIGH_USEC)
                *step = MIN(*step, (uint64_t)((double)amount * (double)AIM_HIGH_USEC / (double)took));
        else if (took < AIM_LOW_USEC && amount >= *step)
                *step = MIN(*step * 2, (uint64_t)LIMIT_RECLAIM_WRITE_BYTES);
        *step = MAX(*step, (uint64_t)LEAST_STEP);
}

/* The kernel takes unmapped cache first, mostly. */
static uint64_t *step_of(struct reclaim *r, const struct reclaim_cgroup *g)
{
        return !r->anon_only && cgroup_unmapped_cache(&g->last) >= 2 * r->cache_step ? &r->cache_step : &r->step;
}

/* Leaves a cgroup alone for the rest of the act. */
static void give_up(struct reclaim *r, struct reclaim_cgroup *g, enum reclaim_end why, int error)
{
        g->done = true;
        r->report.end = why;
        if (error < 0 && r->result.error == 0)
                r->result.error = -error;
}

static void note_written(struct reclaim *r, size_t i, uint64_t amount)
{
        struct reclaim_cgroup *g = &r->cgroups[i];

        if (g->attempted == 0)
                r->result.processes += r->owned.items[i].members;
        g->attempted += amount;
        g->unseen += amount;
        r->result.attempted += amount;
        r->report.writes++;
}

/* What came of a write that took so long. */
static void judge_write(struct reclaim *r, struct reclaim_cgroup *g, int result, usec_t took)
{
        r->report.longest_write = MAX(r->report.longest_write, took);
        if (result == -EINTR)
                return;
        if (result == -EAGAIN) {
                if (++g->short_of >= MAX_SHORT || took >= LONG_SHORT_USEC)
                        give_up(r, g, RECLAIM_SHORT, 0);
                return;
        }
        if (result == -ENOENT || result == -ENODEV) {
                give_up(r, g, RECLAIM_GONE, 0);
                return;
        }
        if (result < 0) {
                give_up(r, g, RECLAIM_FAILED, result);
                return;
        }
        g->short_of = 0;
}

/* Only the write is guarded; what it needs is on the stack of this thread. 0, -ECANCELED, or what the kernel said. */
static int write_amount(struct reclaim *r, struct guard *guard, size_t i, int fd, uint64_t amount, usec_t *ret_took)
{
        const struct sys *sys = r->sys;
        char text[64];
        usec_t begin;
        int q;

        snprintf(text, sizeof(text), "%llu%s", (unsigned long long)amount, r->anon_only ? " swappiness=max" : "");
        note_written(r, i, amount);
        r->current = i;
        guard_enter(guard, 0);
        begin = sys->ops->now(sys);
        q = sys_write_file_at(sys, fd, "memory.reclaim", text);
        *ret_took = sys->ops->now(sys) - begin;
        if (!guard_leave(guard))
                return -ECANCELED;
        r->current = NO_CGROUP;
        return q == -ECANCELED ? -EIO : q;
}

/* One turn of one cgroup. 0, or -ECANCELED. */
static int act_on(struct reclaim *r, struct guard *guard, const struct cgroup2 *c, size_t i)
{
        struct reclaim_cgroup *g = &r->cgroups[i];
        _cleanup_close_ int fd = owned_cgroup_open(c, &r->owned.items[i]);
        unsigned budget = LIMIT_CGROUP_VISITS;
        uint64_t *step = step_of(r, g), amount = MAX(MIN(*step, fall(r->goal, fallen(r))), (uint64_t)LEAST_STEP);
        struct judging j = {.act = r, .guard = guard};
        pid_t stranger = -1;
        usec_t took;
        int q, result;

        q = fd < 0 ? fd : cgroup_judge_tasks(c, fd, NULL, judge, &j, &budget, &stranger);
        if (j.lost)
                return -ECANCELED;
        if (q == 0 && stranger >= 0) {
                r->report.stranger = stranger;
                give_up(r, g, RECLAIM_STRANGERS, 0);
                return 0;
        }
        if (q <= 0) {
                give_up(r, g, q == 0 || q == -ENOENT ? RECLAIM_GONE : RECLAIM_FAILED, q == -ENOENT ? 0 : q);
                return 0;
        }
        result = write_amount(r, guard, i, fd, amount, &took);
        if (result == -ECANCELED)
                return result;
        judge_write(r, g, result, took);
        if (result == 0 || took > AIM_HIGH_USEC)
                learn(step, amount, took);
        q = take_reading(r, g, c, fd);
        if (q < 0)
                give_up(r, g, q == -ENOENT ? RECLAIM_GONE : RECLAIM_FAILED, q == -ENOENT ? 0 : q);
        else if (g->unseen >= MAX_UNSEEN && !g->done)
                give_up(r, g, RECLAIM_SHORT, 0);
        return 0;
}

/* -- the act -- */

/* What a write can bring down at all. Without swap anonymous memory is not even looked at (can_reclaim_anon_pages() in mm/vmscan.c). */
static uint64_t within_reach(const struct reclaim *r, const struct reclaim_cgroup *g, const struct cgroup_memory *m)
{
        uint64_t files = r->anon_only ? 0 : m->file_mapped;

        return g->swap ? m->anon + files : files;
}

/* Whether all that is in reach would still be no help: some code, say, of programs whose memory cannot be swapped out. */
static bool is_hopeless(const struct reclaim *r)
{
        uint64_t possible = fallen(r);

        for (size_t i = 0; i < r->owned.n; i++)
                if (!r->cgroups[i].done)
                        possible += within_reach(r, &r->cgroups[i], &r->cgroups[i].last);
        return (double)possible < LEAST_HELP * (double)r->goal;
}

/* One in which nothing can be brought down would only cost cache; so would, nearly, one in which it is next to nothing. */
static bool is_in_vain(const struct reclaim *r, const struct reclaim_cgroup *g, bool hopeless)
{
        uint64_t reach = within_reach(r, g, &g->last);

        return reach == 0 || (hopeless && !r->anon_only && cgroup_unmapped_cache(&g->last) > reach);
}

/* Each gets bytes in proportion to what is mapped in it. */
static size_t choose(const struct reclaim *r)
{
        bool hopeless = is_hopeless(r);
        size_t best = NO_CGROUP;
        double most = 0;

        for (size_t i = 0; i < r->owned.n; i++) {
                const struct reclaim_cgroup *g = &r->cgroups[i];
                double weight;

                if (g->done || is_in_vain(r, g, hopeless))
                        continue;
                weight = (double)within_reach(r, g, &g->first) / (double)(g->attempted + r->step);
                if (best == NO_CGROUP || weight > most) {
                        best = i;
                        most = weight;
                }
        }
        return best;
}

static bool is_over(struct reclaim *r)
{
        r->result.unmapped = fallen(r);
        r->result.ended = r->sys->ops->now(r->sys);
        if (r->result.unmapped >= r->goal)
                r->report.end = RECLAIM_GOAL;
        else if (r->result.ended >= r->deadline)
                r->report.end = RECLAIM_TIME;
        else if (r->max_cache != SIZE_UNKNOWN && r->report.cache_taken > r->max_cache)
                r->report.end = RECLAIM_CACHE;
        else
                return false;
        return true;
}

static void begin(struct reclaim *r, const struct cgroup2 *c)
{
        r->started = true;
        r->result.started = r->sys->ops->now(r->sys);
        r->deadline = r->result.started + r->max_time;
        for (size_t i = 0; i < r->owned.n; i++) {
                _cleanup_close_ int fd = owned_cgroup_open(c, &r->owned.items[i]);
                int q = fd < 0 ? fd : take_reading(r, &r->cgroups[i], c, fd);
                uint64_t room = SIZE_UNKNOWN;

                r->cgroups[i].swap = r->swap && (cgroup_swap_room(c, r->owned.items[i].path, &room) < 0 ||
                                                 room >= LEAST_SWAP_ROOM);
                if (q < 0)
                        give_up(r, &r->cgroups[i], q == -ENOENT ? RECLAIM_GONE : RECLAIM_FAILED, q == -ENOENT ? 0 : q);
        }
}

/* What the host got back, and why the rest stayed. */
static void finish(struct reclaim *r, const struct cgroup2 *c)
{
        uint64_t before = 0, after = 0, anon = 0, rest;

        for (size_t i = 0; i < r->owned.n; i++) {
                struct reclaim_cgroup *g = &r->cgroups[i];
                _cleanup_close_ int fd = g->read ? owned_cgroup_open(c, &r->owned.items[i]) : -1;
                struct cgroup_memory m;

                if (fd < 0 || cgroup_memory_read(c, fd, false, &m) < 0)
                        continue;
                before += g->first.current;
                after += m.current;
                anon += g->swap ? 0 : m.anon; /* which had nowhere to go */
        }
        r->result.freed = fall(before, after);
        rest = fall(r->goal, r->result.unmapped);
        if (r->report.end == RECLAIM_SHORT) {
                r->result.left_no_swap = MIN(rest, anon);
                r->result.left_busy = rest - r->result.left_no_swap;
        }
        r->result.ended = r->sys->ops->now(r->sys);
        r->finished = true;
}

static int run(struct reclaim *r, struct guard *guard, const struct cgroup2 *c)
{
        if (!r->started)
                begin(r, c);
        while (!is_over(r)) {
                size_t i = choose(r);
                int q;

                if (i == NO_CGROUP) {
                        if (r->report.end == RECLAIM_UNFINISHED)
                                r->report.end = RECLAIM_SHORT;
                        break;
                }
                if (guard_stopping(guard))
                        return -ECANCELED;
                q = act_on(r, guard, c, i);
                if (q < 0)
                        return q;
        }
        finish(r, c);
        return 0;
}

int reclaim_run(struct reclaim *r, struct guard *guard)
{
        struct cgroup2 c = CGROUP2_CLOSED; /* the thread's own */
        int q;

        if (r->finished)
                return 0;
        q = cgroup2_open(r->sys, &c);
        if (q < 0)
                return q;
        q = run(r, guard, &c);
        cgroup2_close(&c);
        return q;
}
