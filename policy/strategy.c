/* SPDX-License-Identifier: MIT */
/*
 * strategy.c: which means brings a group down.
 *
 * The part of the group that one process each maps goes by process_madvise(2), which takes exactly what it is given. The
 * part that several of its processes share is out of that call's reach, whatever it returns; for it there are two
 * means, each with its price: memory.reclaim picks what is cold, but empties the page cache of the cgroup before it
 * touches what is mapped, and works only where the group has the cgroup to itself; DAMON takes exactly the frames it is
 * given, but knows little about which of them are cold.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "capd/base/macros.h"
#include "capd/base/size.h"
#include "capd/policy/strategy.h"

/* A page cache below this part of what is to go is cheap to lose. */
#define CACHE_CHEAP 0.25
/* A means that reaches less than this part of the goal is used only if no other reaches more. */
#define WORTHWHILE 0.1

struct means {
        uint64_t reach; /* bytes of `resident` */
        bool usable;
};

const char *strategy_to_string(enum strategy s)
{
        static const char *const names[_STRATEGY_MAX] = {"none", "process_madvise", "damon", "memory.reclaim"};

        return s < _STRATEGY_MAX ? names[s] : "none";
}

static uint64_t known(uint64_t bytes)
{
        return bytes == SIZE_UNKNOWN ? 0 : bytes;
}

/* Of a part of the group, what can go at all: without swap only file pages. */
static uint64_t movable(const struct strategy_facts *f, uint64_t bytes, uint64_t needs_swap)
{
        if (bytes == SIZE_UNKNOWN)
                return 0;
        if (f->swap)
                return bytes;
        /* not known is not "none": paging out what cannot be swapped splits huge pages for nothing */
        return needs_swap == SIZE_UNKNOWN ? 0 : bytes - MIN(bytes, needs_swap);
}

static bool is_useless(const struct strategy_facts *f, enum strategy s)
{
        return f->useless & 1U << s;
}

static void weigh(const struct strategy_facts *f, struct means means[static _STRATEGY_MAX])
{
        uint64_t exclusive = movable(f, f->exclusive, f->exclusive_swap);
        uint64_t inside = movable(f, f->inside, f->inside_swap);
        /* where nobody can tell who else maps the shared part, the kernel's own choice may still do */
        uint64_t shared = f->inside == SIZE_UNKNOWN ? movable(f, f->outside, SIZE_UNKNOWN) : inside;

        memset(means, 0, _STRATEGY_MAX * sizeof(*means));
        means[STRATEGY_MADVISE] = (struct means){.reach = exclusive, .usable = !f->no_madvise};
        means[STRATEGY_DAMON] = (struct means){.reach = inside, .usable = !f->no_damon};
        means[STRATEGY_RECLAIM] = (struct means){
                        .reach = MIN(exclusive + shared, known(f->charged_inside)),
                        .usable = !f->no_reclaim && f->owned_cgroups > 0,
        };
        for (enum strategy s = STRATEGY_NONE; s < _STRATEGY_MAX; s++)
                means[s].usable = means[s].usable && means[s].reach > 0 && !is_useless(f, s);
}

/* What memory.reclaim would take of the page cache on its way to the goal. */
static uint64_t cache_price(const struct strategy_facts *f)
{
        return f->reclaim_anon_only && f->swap ? 0 : MIN(known(f->unmapped_cache), f->goal);
}

static bool cache_is_cheap(const struct strategy_facts *f)
{
        /* where the cache is not known it is not cheap: it is what servers live on */
        if (f->unmapped_cache == SIZE_UNKNOWN)
                return false;
        return (double)cache_price(f) <= CACHE_CHEAP * (double)f->goal;
}

/* The means for what several processes share: NONE if there is none. */
static enum strategy choose_for_shared(const struct strategy_facts *f, const struct means *means)
{
        bool reclaim = means[STRATEGY_RECLAIM].usable, damon = means[STRATEGY_DAMON].usable;

        if (reclaim && (!damon || cache_is_cheap(f)))
                return STRATEGY_RECLAIM;
        return damon ? STRATEGY_DAMON : STRATEGY_NONE;
}

static enum strategy pick(const struct strategy_facts *f, const struct means *means)
{
        enum strategy shared = choose_for_shared(f, means);

        if (!means[STRATEGY_MADVISE].usable)
                return shared;
        if (shared == STRATEGY_NONE || means[STRATEGY_MADVISE].reach >= f->goal)
                return STRATEGY_MADVISE;
        /* Neither may be enough alone. The exact one first if it does a good part; what is left is judged anew after it. */
        if ((double)means[STRATEGY_MADVISE].reach >= WORTHWHILE * (double)f->goal)
                return STRATEGY_MADVISE;
        return shared;
}

/* -- the sentence -- */

static void add(struct strategy_choice *c, const char *format, ...) _printf_(2, 3);

static void add(struct strategy_choice *c, const char *format, ...)
{
        size_t len = strlen(c->reason);
        va_list ap;

        va_start(ap, format);
        vsnprintf(c->reason + len, sizeof(c->reason) - len, format, ap);
        va_end(ap);
}

static void explain_damon_missing(const struct strategy_facts *f, struct strategy_choice *c)
{
        if (is_useless(f, STRATEGY_DAMON))
                add(c, "; DAMON was tried and did not help");
        else if (f->no_damon)
                add(c, "; %s", f->no_damon);
}

static void explain_reclaim_missing(const struct strategy_facts *f, struct strategy_choice *c)
{
        if (is_useless(f, STRATEGY_RECLAIM))
                add(c, "; memory.reclaim was tried and did not help");
        else if (f->no_reclaim)
                add(c, "; %s", f->no_reclaim);
        else if (f->owned_cgroups == 0)
                add(c, "; no cgroup holds this group alone, which memory.reclaim would need");
}

static void explain_choice(const struct strategy_facts *f, struct strategy_choice *c)
{
        char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX];

        format_size(a, c->expected);
        switch (c->strategy) {
        case STRATEGY_MADVISE:
                add(c, "%s of it is mapped by one process each, which process_madvise can page out", a);
                break;
        case STRATEGY_DAMON:
                add(c, "%s of it is shared by its own processes alone, which DAMON can page out frame by frame", a);
                if (f->owned_cgroups > 0 && f->unmapped_cache != SIZE_UNKNOWN && !f->no_reclaim &&
                    !is_useless(f, STRATEGY_RECLAIM))
                        add(c, "; memory.reclaim would take up to %s of page cache first",
                            format_size(b, cache_price(f)));
                break;
        case STRATEGY_RECLAIM:
                add(c, "%s of it is in reach of memory.reclaim in %u %s that the group has to itself", a,
                    f->owned_cgroups, f->owned_cgroups == 1 ? "cgroup" : "cgroups");
                if (c->cache_at_risk > 0)
                        add(c, ", at the price of up to %s of page cache", format_size(b, c->cache_at_risk));
                if (!cache_is_cheap(f))
                        explain_damon_missing(f, c);
                break;
        default:
                break;
        }
}

/* Names the largest part that cannot go, and what would change that. */
static void explain_none(const struct strategy_facts *f, struct strategy_choice *c)
{
        uint64_t exclusive = movable(f, f->exclusive, f->exclusive_swap);
        uint64_t inside = movable(f, f->inside, f->inside_swap);
        uint64_t stuck = f->exclusive + known(f->inside) - exclusive - inside, shared = f->inside;
        char text[SIZE_TEXT_MAX];

        if (shared == SIZE_UNKNOWN)
                shared = known(f->outside); /* who maps it is not known: all that is not exclusive */
        if (!f->swap && stuck > inside && stuck >= known(f->outside)) {
                add(c, "%s of it is anonymous or shared memory and no swap is free: add swap",
                    format_size(text, stuck));
                return;
        }
        if (f->inside != SIZE_UNKNOWN && f->outside > inside && f->outside > exclusive) {
                add(c, "%s of it is mapped by processes outside the group too and is left alone",
                    format_size(text, f->outside));
                return;
        }
        if (exclusive > shared) {
                if (is_useless(f, STRATEGY_MADVISE))
                        add(c, "process_madvise was tried and did not help");
                else
                        add(c, "%s", f->no_madvise ? f->no_madvise : "nothing of it can be paged out");
        } else
                add(c, "%s of it is mapped by more than one process, which process_madvise cannot page out%s",
                    format_size(text, shared),
                    /* how much is not known here; who makes one of the means possible should not find out only then */
                    !f->swap && f->inside == SIZE_UNKNOWN ? "; what of it is no file needs swap, and none is free"
                                                          : "");
        explain_damon_missing(f, c);
        explain_reclaim_missing(f, c);
}

void strategy_choose(const struct strategy_facts *facts, struct strategy_choice *ret)
{
        struct means means[_STRATEGY_MAX];
        struct strategy_choice c = {};

        weigh(facts, means);
        c.strategy = pick(facts, means);
        c.expected = means[c.strategy].reach;
        if (c.strategy == STRATEGY_RECLAIM) {
                c.anon_only = facts->reclaim_anon_only && facts->swap;
                c.cache_at_risk = cache_price(facts);
        }
        if (c.strategy == STRATEGY_NONE)
                explain_none(facts, &c);
        else
                explain_choice(facts, &c);
        *ret = c;
}
