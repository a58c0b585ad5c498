/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <string.h>

#include "capd/base/path.h"
#include "capd/limits.h"

bool path_is_trusted(const struct sys *sys, const char *path, uid_t uid)
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
                if (S_ISLNK(st.st_mode) ? st.st_uid != 0
                                        : (st.st_uid != 0 && st.st_uid != uid) ||
                                                          (st.st_mode & (S_IWOTH | S_ISVTX)) == S_IWOTH)
                        return false;
        }
        return true;
}
