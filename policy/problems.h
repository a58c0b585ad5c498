/* SPDX-License-Identifier: MIT */
/* problems.h: reporting from inside policy/. */
#ifndef CAPD_POLICY_PROBLEMS_H
#define CAPD_POLICY_PROBLEMS_H

#include <stdarg.h>

#include "capd/policy/policy.h"

int problems_addv(struct policy_problems *p, const char *file, unsigned line, const char *format, va_list ap)
                _printf_(4, 0);

/* Offending text as a message quotes it: short enough to leave the message readable. The escaping is
 * policy_problems_add()'s. */
#define EXCERPT_MAX 64
const char *excerpt(char buf[static EXCERPT_MAX], const char *text);

#endif
