/* SPDX-License-Identifier: MIT */
/* names.c: the words for states and qualities, as capctl prints them and as the bus carries them. */
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
