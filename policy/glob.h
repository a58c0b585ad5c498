/* SPDX-License-Identifier: MIT */
/*
 * glob.h: shell patterns over text that strangers choose.
 *
 * Not fnmatch(3): its result depends on the locale, it may allocate, it takes a malformed pattern silently for literal
 * text, and a process that names itself cleverly can make it slow. This one is linear in text times pattern at worst.
 *
 * `*` any text, `/` included; `?` one character; `[a-z]`, `[!a-z]` one character of (not of) an ASCII set; `\` takes
 * the next character as it is.
 */
#ifndef CAPD_POLICY_GLOB_H
#define CAPD_POLICY_GLOB_H

#include <stdbool.h>
#include <stddef.h>

/* Whether the text holds any character with a meaning in patterns. */
bool glob_is_pattern(const char *text);

/* NULL if the pattern is well-formed, else what is wrong with it. glob_match() wants well-formed patterns. */
const char *glob_check(const char *pattern);

bool glob_match(const char *pattern, const char *text, size_t len);

#endif
