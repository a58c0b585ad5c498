/* SPDX-License-Identifier: MIT */
/* names.h: the same words as NULL-terminated lists, indexed by the enum, for parsing and for nearest-word hints. */
#ifndef CAPD_POLICY_NAMES_H
#define CAPD_POLICY_NAMES_H

extern const char *const action_names[];
extern const char *const last_resort_names[];
extern const char *const for_each_names[]; /* "" for FOR_EACH_NONE */

#endif
