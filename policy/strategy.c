/* SPDX-License-Identifier: MIT */
#include "capd/policy/strategy.h"

#include "capd/base/macros.h"

const char *strategy_to_string(enum strategy s)
{
        static const char *const names[_STRATEGY_MAX] = {"none", "process_madvise", "damon", "memory.reclaim"};

        return s < _STRATEGY_MAX ? names[s] : "none";
}
