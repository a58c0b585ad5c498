/* SPDX-License-Identifier: MIT */
/*
 * selectors.h: the selector keys of one group, compiled for matching.
 *
 * A key's values are alternatives; keys are conditions that must all hold. [Daemon] Protect= uses the same struct with
 * the opposite rule: any value of any key is enough.
 */
#ifndef CAPD_POLICY_SELECTORS_H
#define CAPD_POLICY_SELECTORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* In the order in which matching tries them: cheap ones first. */
enum selector_key {
        SELECT_USER,
        SELECT_UID,
        SELECT_GID,
        SELECT_PID_FILE,
        SELECT_PID_NAMESPACE,
        SELECT_COMM,
        SELECT_UNIT,
        SELECT_CGROUP,
        SELECT_CONTAINER,
        SELECT_EXE,
        SELECT_CMDLINE,
        _SELECT_MAX,
};

enum value_kind {
        VALUE_LITERAL, /* `text`, byte by byte */
        VALUE_PATTERN, /* `text` is a pattern of glob.h */
        VALUE_PREFIX,  /* Container=: `text` is a shortened id */
        VALUE_NUMBER,  /* `first` to `last` */
};

struct selector_value {
        char *text; /* as it was written, without `!` and quotes */
        bool exclude;
        enum value_kind kind;
        uint64_t first, last;
        size_t pid_file; /* PidFile=: index in policy->pid_files */
};

struct selector {
        struct selector_value *values;
        size_t n;
        bool includes; /* there is a value without `!` */
};

struct selectors {
        struct selector by_key[_SELECT_MAX];
        unsigned used; /* bit per key with values */
};

struct key_context;

extern const char *const selector_names[]; /* by enum selector_key, NULL-terminated */

/* Replaces one key's values. 0; -EBADMSG after reporting every bad value, -ENOMEM: the selectors are as before. */
int selectors_set(struct selectors *s, enum selector_key key, const char *text, const struct key_context *c);
/* The same for the words "Key=value" of Protect=, all keys at once. */
int selectors_set_protect(struct selectors *s, const char *text, const struct key_context *c);

void selectors_clear(struct selectors *s, enum selector_key key);
struct selectors *selectors_free(struct selectors *s);

/* Writes values as selectors_set() takes them, broken into continuation lines where they are long. */
void selectors_print(const struct selectors *s, enum selector_key key, FILE *f);
void selectors_print_protect(const struct selectors *s, FILE *f);

/* enum process_fact_flags */
unsigned selectors_facts(const struct selectors *s);

#endif
