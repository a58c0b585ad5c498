/* SPDX-License-Identifier: MIT */
/* privileges.h: the rights of engine and front. */
#ifndef CAPD_DAEMON_PRIVILEGES_H
#define CAPD_DAEMON_PRIVILEGES_H

#include <stdio.h>
#include <sys/types.h>

#include "capd/measure/features.h"

/* One capability the engine keeps, and what stops working without it. */
struct privilege {
        const char *name; /* "cap_sys_admin" */
        const char *purpose;
};
extern const struct privilege privileges[]; /* ends with a NULL name */

/* The user the front runs as: capd, else nobody. 0; -ENOENT neither exists. */
int privileges_front_user(uid_t *ret_uid, gid_t *ret_gid, const char **ret_name);

/*
 * Gives up every capability but those of privileges[], for good (bounding set, inheritable, ambient), in the engine.
 * Missing ones are logged with what will not work. 0, or a negative errno if rights could not be given up.
 */
int privileges_reduce(void);

/* Becomes the user, without any capability, with no_new_privs. In the front's process before it runs. 0 or negative errno. */
int privileges_drop_all(uid_t uid, gid_t gid);

/* capd --features */
void privileges_print(FILE *f);
/* The names of what is there, one a line. */
void features_names(const struct features *x, char *buf, size_t size);
void features_print(FILE *f, const struct features *features);

#endif
