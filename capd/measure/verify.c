/* SPDX-License-Identifier: MIT */
/*
 * verify.c: which of a group's pages nobody outside the group maps, while the group goes on mapping pages.
 *
 * A page is private if the walk found as many mappings of it as the kernel counts on the whole host. But a program that is
 * warming up maps shared pages in its processes all the time: in one that was walked before, such a mapping is in the kernel's
 * count and not in the walk's, and looks like one of somebody else. So the two are compared only if the kernel's count was
 * the same before and after the walk: then both are of the same mappings.
 *
 * Frames of which the first walk found all mappings are settled by it. For the rest the group is walked again, in
 * rounds that lie between two readings of /proc/kpagecount each, until the counts have stood still. Only the mappings of frames that
 * are not settled are counted in a round.
 *
 * A frame that is never settled is judged by the last round, its walk against the count before it. Programs map more
 * than they unmap, and most of all those whose counts do not stand still: what was there before the round was still there
 * when it was walked. So a page that is the group's own is always recognized, and one that is shared unless
 * the group mapped it anew as often as others have it mapped, within one round.
 *
 * What cannot be walked again (a process that ended or is stuck) is left out of a round; the pages it goes on mapping then look
 * shared.
 */
#include <errno.h>
#include <stdlib.h>

#include "capd/measure/frame-words.h"
#include "count-internal.h"

/* Each costs as much as the first walk and leaves over what changed during it: a quarter to a tenth with a program that is warming up.
 * One that leaves nearly all of it changes too fast for a fourth to be of use. */
#define ROUNDS 3U
/* A walk is not made again for less than this part of the group's pages, most of which are judged rightly anyway. */
#define NEGLIGIBLE 1024U
/* Counters apart by this many frames are still read together: an entry of kpagecount costs 60 ns in bulk, a call 400 ns and more. */
#define COUNT_GAP 8U

void verify_done(struct verify *v)
{
        frames_clear(&v->before);
        free(v->again);
        v->again = NULL;
        v->n_again = v->again_allocated = 0;
        inside_done(&v->inside);
}

/* How often the whole host maps each frame of a chunk that has a counter. The other entries of `ret` mean nothing. */
static int read_chunk(struct walk_context *x, uint64_t key, const uint32_t *counters,
                      uint64_t ret[static TALLY_COUNTERS])
{
        for (size_t first = 0, end; first < TALLY_COUNTERS; first = end) {
                size_t last = first;
                int r;

                end = first + 1;
                if (counters[first] == 0)
                        continue;
                for (; end < TALLY_COUNTERS && end - last <= COUNT_GAP; end++)
                        if (counters[end] > 0)
                                last = end;
                r = frame_words_read_all(x->sys, x->kpagecount_fd, (key << TALLY_COUNTER_BITS) + first,
                                         last - first + 1, ret + first);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Judges by the first walk. What of its sets is not needed any more is given back. */
static int begin(struct verify *v, struct tally *t, struct walk_context *x, bool keep_frames)
{
        uint64_t host[TALLY_COUNTERS] = {}, key, *words;

        if (x->kpagecount_fd < 0)
                return -EOPNOTSUPP;
        if (!keep_frames)
                tally_forget_pages(t);
        for (size_t slot = 0; frames_next_chunk(&t->counts, &slot, &key, &words);) {
                const uint32_t *seen = (const uint32_t *)words;
                uint32_t *before = NULL, own[TALLY_COUNTERS] = {};
                int r = read_chunk(x, key, seen, host);

                if (r < 0)
                        return r;
                for (size_t i = 0; i < TALLY_COUNTERS; i++) {
                        if (seen[i] == 0)
                                continue;
                        if (host[i] <= seen[i]) {
                                /* fewer: some were unmapped since, and the frame may be another page by now */
                                own[i] = host[i] == seen[i] ? seen[i] : 0;
                                continue;
                        }
                        if (!before)
                                before = (uint32_t *)frames_chunk_add(&v->before, key);
                        if (!before)
                                return -ENOMEM;
                        before[i] = (uint32_t)MIN(host[i], UINT32_MAX);
                        v->open++;
                }
                r = inside_add(&v->inside, x, key, own);
                if (r < 0)
                        return r;
        }
        frames_clear(&t->counts);
        return 0;
}

/* The end of a round. */
static int judge(struct verify *v, struct tally *t, struct walk_context *x)
{
        uint64_t host[TALLY_COUNTERS] = {}, open = 0, key, *words;

        v->open_shared = 0;
        for (size_t slot = 0; frames_next_chunk(&v->before, &slot, &key, &words);) {
                static const uint32_t nothing[TALLY_COUNTERS];
                const uint32_t *seen = (const uint32_t *)frames_chunk(&t->counts, key);
                uint32_t *before = (uint32_t *)words, own[TALLY_COUNTERS] = {};
                int r = read_chunk(x, key, before, host);

                if (r < 0)
                        return r;
                if (!seen)
                        seen = nothing;
                for (size_t i = 0; i < TALLY_COUNTERS; i++) {
                        uint32_t after = (uint32_t)MIN(host[i], UINT32_MAX);

                        if (before[i] == 0)
                                continue;
                        if (after == before[i]) {
                                v->shared += seen[i] < after;
                                own[i] = seen[i] == after ? after : 0;
                                after = 0;
                        } else if (after > 0) {
                                v->open_shared += seen[i] < before[i];
                                open++;
                        }
                        before[i] = after; /* 0: settled. What nobody maps any more is nobody else's */
                }
                r = inside_add(&v->inside, x, key, own);
                if (r < 0)
                        return r;
        }
        frames_clear(&t->counts);
        v->progress = open < v->open;
        v->open = open;
        return 0;
}

/* Counts the mappings of open frames in one process. */
static int walk_process(const struct verify *v, struct tally_part *p, struct walk_context *x, struct guard *guard,
                        const struct member *m)
{
        _cleanup_(walk_closep) struct walk *w = NULL;
        const uint32_t *before = NULL;
        uint64_t key = UINT64_MAX;
        struct walk_chunk chunk;
        int r;

        r = walk_open(x, guard, m->pid, m->start_time, &w);
        if (r < 0)
                return r;
        while ((r = walk_next(w, &chunk)) > 0)
                for (size_t i = 0; i < chunk.n; i++) {
                        uint64_t frame = chunk.pages[i] & PAGE_NUMBER_MASK;

                        /* a page that is exclusive by now is one mapping too */
                        if (!(chunk.pages[i] & PAGE_PRESENT))
                                continue;
                        if (frame >> TALLY_COUNTER_BITS != key) {
                                key = frame >> TALLY_COUNTER_BITS;
                                before = (const uint32_t *)frames_chunk(&v->before, key);
                        }
                        if (!before || before[frame & (TALLY_COUNTERS - 1)] == 0)
                                continue;
                        r = tally_touch(p, frame);
                        if (r < 0)
                                return r;
                }
        return r < 0 ? r : walk_check(w);
}

/* Through whichever of its processes still lives. 0 also if none could be walked. */
int verify_walk(struct lane *l)
{
        struct count *c = l->c;
        struct group *g = l->slot->group;
        const struct space *s = &c->spaces[l->slot->space];
        int r = -ESRCH;

        parts_free(l->parts);
        l->parts = parts_new(1);
        if (!l->parts)
                return 0;
        for (size_t m = s->first; m != NONE && r == -ESRCH; m = c->members[m].next) {
                usec_t cpu = c->sys->ops->cpu_now(c->sys);

                if (c->members[m].outcome == COUNT_GONE)
                        continue;
                pthread_mutex_lock(&c->mutex);
                l->slot->member = m;
                pthread_mutex_unlock(&c->mutex);
                r = walk_process(&g->verify, &l->parts->items[0], l->x, l->guard, &c->members[m]);
                if (l->x->lost)
                        return -ECANCELED;
                pthread_mutex_lock(&c->mutex);
                if (r == 0)
                        r = tally_commit_counts(&g->tally, &l->parts->items[0]);
                g->cost += c->sys->ops->cpu_now(c->sys) - cpu;
                pthread_mutex_unlock(&c->mutex);
                tally_discard(&l->parts->items[0]);
        }
        return r == -ECANCELED ? r : 0;
}

/* The kernel's counts are read, which blocks on nobody. */
void verify_look(struct lane *l)
{
        struct count *c = l->c;
        struct group *g = l->slot->group;
        struct verify *v = &g->verify;

        v->inside.keep = c->flags & COUNT_INSIDE;
        v->error = v->begun ? judge(v, &g->tally, l->x)
                            : begin(v, &g->tally, l->x, c->flags & (COUNT_KEEP_FRAMES | COUNT_INSIDE));
        v->begun = true;
}

static bool is_in(const struct space *s, size_t group)
{
        for (size_t i = 0; i < s->n_groups; i++)
                if (s->groups[i] == group)
                        return true;
        return false;
}

/* Whether another round is worth its walk. The first always is: pages that stand still, as those of libraries, are exact after it. */
static bool wants_round(const struct group *g)
{
        const struct verify *v = &g->verify;

        if (v->error < 0 || v->open == 0 || v->round == ROUNDS)
                return false;
        return v->round == 0 || (v->progress && v->open > tally_resident(&g->tally) / NEGLIGIBLE);
}

static bool take_space(const struct count *c, struct group *g, size_t *ret)
{
        struct verify *v = &g->verify;

        if (v->n_again > 0) {
                *ret = v->again[--v->n_again];
                return true;
        }
        while (v->next < c->n_spaces) {
                const struct space *s = &c->spaces[v->next++];

                if (s->outcome == COUNT_DONE && !s->given_up && is_in(s, (size_t)(g - c->groups))) {
                        *ret = v->next - 1;
                        return true;
                }
        }
        return false;
}

enum verify_step verify_next(struct count *c, struct group *g, size_t *ret_space)
{
        struct verify *v = &g->verify;

        if (v->looking)
                return VERIFY_WAIT;
        if (v->begun && !v->in_round) {
                if (!wants_round(g))
                        return VERIFY_DONE;
                v->in_round = true;
                v->next = 0;
        }
        if (v->in_round) {
                if (take_space(c, g, ret_space)) {
                        v->walking++;
                        return VERIFY_WALK;
                }
                if (v->walking > 0)
                        return VERIFY_WAIT;
                v->in_round = false;
                v->round++;
        }
        v->looking = true;
        return VERIFY_LOOK;
}

void verify_walked(struct group *g, size_t space, bool again)
{
        struct verify *v = &g->verify;

        v->walking--;
        if (!again)
                return;
        if (v->n_again == v->again_allocated) {
                size_t n = v->again_allocated ? v->again_allocated * 2 : 4;
                size_t *more = reallocarray(v->again, n, sizeof(*more));

                if (!more)
                        return; /* left out of the round, as what has ended is */
                v->again = more;
                v->again_allocated = n;
        }
        v->again[v->n_again++] = space;
}

bool verify_shared(const struct verify *v, uint64_t *ret_pages)
{
        if (!v->begun || v->error < 0)
                return false;
        *ret_pages = v->shared + v->open_shared;
        return true;
}
