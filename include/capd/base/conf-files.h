/* SPDX-License-Identifier: MIT */
/* conf-files.h: finding and safely reading configuration files. */
#ifndef CAPD_BASE_CONF_FILES_H
#define CAPD_BASE_CONF_FILES_H

#include <stddef.h>

#include "capd/base/sys.h"

struct conf_file {
        char *name; /* absolute, as shown to the user */
        char *text; /* NULL if there is a problem */
        size_t size;
        char *problem; /* NULL, or why it cannot be used and what to do */
};

struct conf_files {
        struct conf_file *items;
        size_t n;
};
void conf_files_done(struct conf_files *f);

/*
 * Reads `main_file` and, if it is the default one, its drop-ins {/usr/lib,/run,/etc}/capd.conf.d (names ending in ".conf") in order of
 * their base names (of equal names the one in /etc hides that in /run, and that the one in /usr/lib, as systemd does). Each must be a
 * regular file, owned by root or by the caller's effective user, and not writable by group or others; both
 * are checked on the open descriptor. A missing default main file is an empty one only if `optional`. 0 with problems noted
 * file by file, or -ENOMEM.
 */
int conf_files_read(const struct sys *sys, const char *main_file, int optional, struct conf_files *ret);

#endif
