/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <string.h>

#include "capd/base/path.h"
#include "capd/limits.h"

static bool is_trusted(const struct stat *st, uid_t uid, bool alone)
{
        if (S_ISLNK(st->st_mode))
                return st->st_uid == 0 && !alone;
        if (st->st_uid != 0 && st->st_uid != uid)
                return false;
        /* what is in a sticky directory only its owner can exchange, whoever may write there */
        if (st->st_mode & S_ISVTX)
                return true;
        return !(st->st_mode & S_IWOTH) && (!alone || !(st->st_mode & S_IWGRP) || st->st_gid == 0);
}

static bool each_is_trusted(const struct sys *sys, const char *path, uid_t uid, bool alone)
{
        char part[LIMIT_CONFIG_WORD_BYTES];

        for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
                struct stat st;

                if (slash == path)
                        continue;
                if ((size_t)(slash - path) >= sizeof(part))
                        return false;
                memcpy(part, path, (size_t)(slash - path));
                part[slash - path] = '\0';
                if (sys->ops->fstatat(sys, sys->root_fd, part + strspn(part, "/"), &st, AT_SYMLINK_NOFOLLOW) < 0)
                        return false;
                if (!is_trusted(&st, uid, alone))
                        return false;
        }
        return true;
}

bool path_is_trusted(const struct sys *sys, const char *path, uid_t uid)
{
        return each_is_trusted(sys, path, uid, false);
}

bool path_is_roots(const struct sys *sys, const char *path)
{
        return each_is_trusted(sys, path, 0, true);
}
