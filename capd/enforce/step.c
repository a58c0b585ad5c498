/* SPDX-License-Identifier: MIT */
#include "step.h"

/*
 * Where the longest call of a batch is steered to, in hundredths of max_stall; between the first two nothing is changed, as lengths of
 * calls scatter. A target may have to wait for calls that come to half of max_stall together, before there is a pause
 * (walk_hold()), and for one more: which therefore has the other half. What is usual is a third of the longest.
 */
#define AIM_LOW  20U
#define AIM      35U
#define AIM_HIGH 50U

#define BATCH_CALLS 8U

/*
 * Two calls that were too long within so many mean that their length was too much. One in more is a hiccup, of a device or of a
 * processor that went to somebody else, which happens to short ones as well. A target that runs now on the processor of the calls and
 * now on another has calls of two speeds, one of them ten times the other (running.h): what is too long for the slower one must be
 * remembered while there are only fast ones.
 */
#define CALM_CALLS 256U

void step_init(struct step *s, uint64_t page_size, usec_t max_stall, uint64_t bytes)
{
        bytes = bytes > 0 ? MIN(bytes - bytes % page_size, STEP_MAX_BYTES) : STEP_FIRST_BYTES;
        *s = (struct step){
                        .bytes = MAX(bytes, page_size),
                        .min_bytes = page_size,
                        .limit = STEP_MAX_BYTES,
                        .calm = CALM_CALLS,
                        .max_stall = MAX(max_stall, (usec_t)1),
        };
}

void step_begin(struct step *s)
{
        s->bytes = MIN(s->bytes, STEP_FIRST_BYTES);
        /* what made those of another process too long may have been its own lock */
        s->limit = MAX(s->limit, STEP_FIRST_BYTES);
        s->longest = 0;
}

uint64_t step_batch(const struct step *s)
{
        return MIN(s->bytes * BATCH_CALLS, STEP_MAX_BYTES);
}

/* In hundredths of max_stall. */
static double load_of(const struct step *s, usec_t took)
{
        return (double)took * 100 / (double)s->max_stall;
}

bool step_whole(const struct step *s)
{
        return s->bytes > STEP_FIRST_BYTES && s->whole_late < 2;
}

void step_whole_took(struct step *s, usec_t took)
{
        s->whole_late = load_of(s, took) > AIM_HIGH ? s->whole_late + 1 : 0;
}

static uint64_t fitting(const struct step *s, usec_t took)
{
        double bytes = took > 0 ? (double)s->bytes * AIM / load_of(s, took) : (double)STEP_MAX_BYTES;

        return bytes < (double)STEP_MAX_BYTES ? (uint64_t)bytes : STEP_MAX_BYTES;
}

static void step_set(struct step *s, uint64_t bytes)
{
        s->bytes = MAX(bytes - bytes % s->min_bytes, s->min_bytes);
}

void step_took(struct step *s, usec_t took)
{
        bool again = s->calm < CALM_CALLS;

        s->longest = MAX(s->longest, took);
        if (load_of(s, took) <= AIM_HIGH) {
                s->calm += again;
                return;
        }
        s->calm = 0;
        /* In proportion, also where little moved: the target's lock was held all the same, or somebody else holds it for long. */
        if (again)
                s->limit = MAX(s->bytes / 2 / s->min_bytes, (uint64_t)1) * s->min_bytes;
        step_set(s, MIN(s->bytes, MAX(fitting(s, took), again ? 0 : s->bytes / 4)));
}

void step_learn(struct step *s, uint64_t attempted, uint64_t moved)
{
        usec_t longest = s->longest;

        s->longest = 0;
        /*
         * A call on pages that cannot move is fast and says nothing of those that can, nor does one that was cut short. Growth is
         * twofold at most, since the next pages may be slower; after a hiccup of the device that finds back to the old size
         * in a few batches.
         */
        if (load_of(s, longest) < AIM_LOW && attempted >= s->bytes / 2 && moved >= attempted - attempted / 4) {
                uint64_t most = MIN(s->bytes * 2, s->limit);

                if (s->bytes >= s->limit) {
                        if (s->calm < CALM_CALLS || s->bytes >= STEP_MAX_BYTES)
                                return;
                        /* the next one not before it has stayed calm with this one */
                        s->limit = most = s->bytes + MAX(s->bytes / 4 / s->min_bytes, (uint64_t)1) * s->min_bytes;
                        s->calm = CALM_CALLS / 2;
                }
                step_set(s, MAX(s->bytes, MIN(fitting(s, longest), most)));
        }
}
