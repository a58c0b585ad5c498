/* SPDX-License-Identifier: MIT */
/*
 * keys.h: what is known about each key: where it may stand, its default, how its value is read, kept and written.
 *
 * keys.c holds the table; a new key is a line there, a field in policy.h and a paragraph in capd.conf(5). values.c
 * holds the types.
 */
#ifndef CAPD_POLICY_KEYS_H
#define CAPD_POLICY_KEYS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "capd/policy/policy.h"

/* Where a value being read comes from, and whom to ask and to tell about it. */
struct key_context {
        const char *name; /* of the key */
        const char *file;
        unsigned line;
        const struct policy_world *world;
        struct policy_problems *problems;
};

/* Reports a problem with the value. -EBADMSG, or -ENOMEM. */
int complain(const struct key_context *c, const char *format, ...) _printf_(2, 3);

struct key;

/* `object` is a struct policy_daemon or a struct policy_section, by the key's section. */
struct key_type {
        /* A value that is not empty. 0; -EBADMSG after reporting, -ENOMEM: the object is as before. */
        int (*parse)(const struct key_context *c, const struct key *k, const char *text, void *object);
        /* Makes a key unset that has no default; gives back its memory. NULL where there is always a value. */
        void (*clear)(const struct key *k, void *object);
        /* Writes the value as parse() takes it; nothing if it is unset. */
        void (*print)(const struct key *k, const void *object, FILE *f);
};

struct key {
        const struct key_type *type;
        size_t offset;            /* of the field in the object */
        uint64_t min, max;        /* of the value, in its unit */
        const char *const *words; /* of an enum */
};

extern const struct key_type key_time, key_size, key_history, key_rate, key_percent, key_threshold, key_cap, key_word,
                key_text, key_path, key_selector, key_protect;

/* keys[i] belongs to policy_keys[i]. */
#define KEYS_MAX 64U
extern const struct key keys[];
extern const size_t n_keys;

/* The index of a key; n_keys if there is none. `section`: "Daemon" or "Group". */
size_t key_find(const char *section, const char *name);

/* Every key's value of a dumped section: origins by index of the key. For load.c and dump.c, behind policy->origins. */
struct origins {
        char **files; /* the texts' names; origins point to them */
        size_t n_files;
        struct policy_origin daemon[KEYS_MAX];
        struct policy_origin (*sections)[KEYS_MAX]; /* by policy->sections */
};

#endif
