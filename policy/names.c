/* SPDX-License-Identifier: MIT */
/* names.c: the words of the configuration for the values of policy.h's enums. */
#include "names.h"
#include "capd/policy/policy.h"

const char *const action_names[_ACTION_MAX + 1] = {
                [ACTION_OBSERVE] = "observe",
                [ACTION_PAGEOUT] = "pageout",
                [ACTION_MOVE] = "move",
};

const char *const last_resort_names[_LAST_RESORT_MAX + 1] = {
                [LAST_RESORT_NONE] = "none",
                [LAST_RESORT_KILL] = "kill",
};

const char *const for_each_names[_FOR_EACH_MAX + 1] = {
                [FOR_EACH_NONE] = "",         [FOR_EACH_USER] = "user", [FOR_EACH_UID] = "uid",
                [FOR_EACH_CGROUP] = "cgroup", [FOR_EACH_UNIT] = "unit", [FOR_EACH_CONTAINER] = "container",
                [FOR_EACH_PIDNS] = "pidns",
};

const char *action_to_string(enum action a)
{
        return (unsigned)a < _ACTION_MAX ? action_names[a] : "";
}

const char *last_resort_to_string(enum last_resort l)
{
        return (unsigned)l < _LAST_RESORT_MAX ? last_resort_names[l] : "";
}

const char *for_each_to_string(enum for_each f)
{
        return (unsigned)f < _FOR_EACH_MAX ? for_each_names[f] : "";
}
