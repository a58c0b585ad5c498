/* SPDX-License-Identifier: MIT */
#include "step.h"

/* Where calls are steered to, in hundredths of max_stall. Between the first two nothing is changed: lengths of calls scatter. */
#define AIM_LOW  50U
#define AIM_HIGH 80U
#define AIM      60U

void step_init(struct step *s, uint64_t page_size, usec_t max_stall, uint64_t bytes)
{
        bytes = bytes > 0 ? MIN(bytes - bytes % page_size, STEP_MAX_BYTES) : STEP_FIRST_BYTES;
        *s = (struct step){
                        .bytes = MAX(bytes, page_size),
                        .min_bytes = page_size,
                        .limit = STEP_MAX_BYTES,
                        .max_stall = MAX(max_stall, (usec_t)1),
        };
}

void step_learn(struct step *s, uint64_t attempted, uint64_t moved, usec_t took)
{
        double load = (double)took * 100 / (double)s->max_stall;
        double most = (double)STEP_MAX_BYTES, fitting = took > 0 ? (double)attempted * AIM / load : most;
        uint64_t ideal = fitting < most ? (uint64_t)fitting : STEP_MAX_BYTES;

        if (load > AIM_HIGH) {
                /*
                 * In proportion, at once: one long call is one too many. Also where little moved: the target's lock
                 * was held all the same, or somebody else holds it for long.
                 */
                s->limit = MAX(s->bytes / 2, s->min_bytes);
                s->bytes = MIN(s->bytes, ideal);
        } else if (load < AIM_LOW && attempted >= s->bytes / 2 && moved >= attempted - attempted / 4) {
                /*
                 * A call on pages that cannot move is fast and says nothing of those that can, nor does one that was cut
                 * short. Growth is twofold at most, since the next pages may be slower; after a hiccup of the device that
                 * finds back to the old size in a few steps.
                 */
                uint64_t most_now = s->bytes < s->limit ? MIN(s->bytes * 2, s->limit)
                                                        : s->bytes + MAX(s->bytes / 8, s->min_bytes);

                ideal = MIN(ideal, most_now);
                s->bytes = MAX(s->bytes, ideal);
        }
        s->bytes -= s->bytes % s->min_bytes;
        s->bytes = MAX(s->bytes, s->min_bytes);
}
