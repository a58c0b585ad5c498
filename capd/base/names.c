/* SPDX-License-Identifier: MIT */
/* names.c: the words for states and qualities, as capctl prints them and as the bus carries them; and what "unknown" is. */
#include "capd/sample.h"

const char *quality_to_string(enum quality q)
{
        static const char *const names[_QUALITY_MAX] = {
                        [QUALITY_UNKNOWN] = "unknown", [QUALITY_BOUND_UPPER] = "upper", [QUALITY_BOUND_LOWER] = "lower",
                        [QUALITY_EXACT] = "exact",     [QUALITY_ESTIMATE] = "estimate",
        };

        return (unsigned)q < _QUALITY_MAX ? names[q] : "unknown";
}

const char *group_state_to_string(enum group_state s)
{
        static const char *const names[_STATE_MAX] = {
                        [STATE_UNKNOWN] = "unknown",     [STATE_OK] = "ok",
                        [STATE_OVER] = "over",           [STATE_ENFORCING] = "enforcing",
                        [STATE_THRASHING] = "thrashing", [STATE_UNENFORCEABLE] = "unenforceable",
                        [STATE_OBSERVED] = "observed",   [STATE_PAUSED] = "paused",
        };

        return (unsigned)s < _STATE_MAX ? names[s] : "unknown";
}

usec_t group_sample_age(const struct group_sample *s, usec_t now)
{
        if (s->quality == QUALITY_UNKNOWN || s->counted_at == 0)
                return USEC_INFINITY;
        return now > s->counted_at ? now - s->counted_at : 0;
}

void group_sample_forget(struct group_sample *s)
{
        s->quality = QUALITY_UNKNOWN;
        s->resident = s->anon = s->file = s->shmem = s->mapped = SIZE_UNKNOWN;
        s->exclusive = s->exclusive_anon = s->hugetlb = s->swap = SIZE_UNKNOWN;
        s->error_bytes = SIZE_UNKNOWN;
        s->sampled = 0;
        s->have_private = false;
        s->private_bytes = s->shared_bytes = s->pss_sum = s->inside = s->inside_swap = SIZE_UNKNOWN;
}
