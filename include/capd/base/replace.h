/* SPDX-License-Identifier: MIT */
/* replace.h: files that are replaced whole, in directories that may be somebody else's. */
#ifndef CAPD_BASE_REPLACE_H
#define CAPD_BASE_REPLACE_H

#include <stdbool.h>

#include "capd/base/sys.h"

/*
 * Opens the directory of an absolute path, for what is done in it. No symbolic link is followed on the way, so that nobody whose directory
 * is on it can lead elsewhere. *ret_name is the rest of the path. A descriptor; -ELOOP there is a link; another negative errno.
 */
int replace_open_directory(const struct sys *sys, const char *path, const char **ret_name);

/*
 * Makes the file at an absolute path hold `size` bytes of `body_fd`: written beside it as "NAME.new", then renamed, so
 * that a reader sees the old or the new one. `durable`: on the disk before it is renamed. 0; -ELOOP as above; -EEXIST there is something
 * else than a regular file; another negative errno. What was there is untouched then.
 */
int replace_file(const struct sys *sys, const char *path, mode_t mode, bool durable, int body_fd, uint64_t size);

/* Takes a regular file of that path away, if there is one. 0 or a negative errno, as above. */
int replace_remove(const struct sys *sys, const char *path);

#endif
