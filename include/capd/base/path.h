/* SPDX-License-Identifier: MIT */
/* path.h: who can decide where a path leads. */
#ifndef CAPD_BASE_PATH_H
#define CAPD_BASE_PATH_H

#include <stdbool.h>

#include "capd/base/sys.h"

/*
 * Whether nobody but root and `uid` can make an absolute path lead elsewhere: each directory on it, and each link, belongs to one of
 * them (a link to root, and is followed as it is), and no directory can be written by others. The file itself is not looked at.
 */
bool path_is_trusted(const struct sys *sys, const char *path, uid_t uid);
/* Whether that is so of root alone, of a path without links: nor can a group other than root's write to a directory on it. */
bool path_is_roots(const struct sys *sys, const char *path);

#endif
