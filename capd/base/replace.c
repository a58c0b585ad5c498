/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "capd/base/replace.h"

#define CHUNK (64U * 1024)

int replace_open_directory(const struct sys *sys, const char *path, const char **ret_name)
{
        _cleanup_close_ int fd = sys_open(sys, ".", O_RDONLY | O_DIRECTORY);
        const char *end;

        if (path[0] != '/')
                return -EINVAL;
        for (path += strspn(path, "/"); fd >= 0 && (end = strchr(path, '/')); path = end + strspn(end, "/")) {
                char name[NAME_MAX + 1];
                int next;

                if ((size_t)(end - path) >= sizeof(name))
                        return -ENAMETOOLONG;
                memcpy(name, path, (size_t)(end - path));
                name[end - path] = '\0';
                if (strcmp(name, "..") == 0)
                        return -EINVAL;
                next = sys->ops->openat(sys, fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
                close_fd(fd);
                fd = next;
                /* open(2): O_DIRECTORY is looked at first, and a link is none */
                if (fd == -ENOTDIR)
                        return -ELOOP;
        }
        if (fd < 0)
                return fd;
        if (path[0] == '\0' || strcmp(path, ".") == 0 || strcmp(path, "..") == 0)
                return -EINVAL;
        *ret_name = path;
        return TAKE_FD(fd);
}

/* 1: a regular file; 0: nothing; -EEXIST something else. */
static int look(const struct sys *sys, int dirfd, const char *name)
{
        struct stat st;
        int r = sys->ops->fstatat(sys, dirfd, name, &st, AT_SYMLINK_NOFOLLOW);

        if (r == -ENOENT)
                return 0;
        return r < 0 ? r : S_ISREG(st.st_mode) ? 1 : -EEXIST;
}

static int write_all(const struct sys *sys, int fd, const char *p, size_t size)
{
        while (size > 0) {
                ssize_t n = sys->ops->write(sys, fd, p, size);

                if (n == -EINTR)
                        continue;
                if (n < 0)
                        return (int)n;
                if (n == 0)
                        return -EIO;
                p += n;
                size -= (size_t)n;
        }
        return 0;
}

static int copy(const struct sys *sys, int from, int to, uint64_t size)
{
        _cleanup_free_ char *chunk = malloc(CHUNK);

        if (!chunk)
                return -ENOMEM;
        for (uint64_t done = 0; done < size;) {
                ssize_t n = sys->ops->pread(sys, from, chunk, MIN(size - done, (uint64_t)CHUNK), done);
                int r;

                if (n == -EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? (int)n : -ENODATA;
                r = write_all(sys, to, chunk, (size_t)n);
                if (r < 0)
                        return r;
                done += (uint64_t)n;
        }
        return 0;
}

static int fill(const struct sys *sys, int dirfd, const char *name, mode_t mode, bool durable, int body_fd,
                uint64_t size)
{
        _cleanup_close_ int fd = sys->ops->createat(sys, dirfd, name, mode);
        int r = fd;

        if (r >= 0) /* whatever the umask says */
                r = sys->ops->fchmod(sys, fd, mode);
        if (r >= 0)
                r = copy(sys, body_fd, fd, size);
        if (r >= 0 && durable)
                r = sys->ops->fsync(sys, fd);
        return MIN(r, 0);
}

int replace_file(const struct sys *sys, const char *path, mode_t mode, bool durable, int body_fd, uint64_t size)
{
        _cleanup_close_ int dirfd = -1;
        const char *name;
        char fresh[NAME_MAX + 1];
        int r;

        dirfd = replace_open_directory(sys, path, &name);
        if (dirfd < 0)
                return dirfd;
        if (snprintf(fresh, sizeof(fresh), "%s.new", name) >= (int)sizeof(fresh))
                return -ENAMETOOLONG;
        r = look(sys, dirfd, name);
        if (r >= 0)
                r = look(sys, dirfd, fresh);
        if (r > 0) /* of one that was killed */
                r = sys->ops->unlinkat(sys, dirfd, fresh, 0);
        if (r < 0)
                return r;
        r = fill(sys, dirfd, fresh, mode, durable, body_fd, size);
        if (r >= 0)
                r = sys->ops->renameat(sys, dirfd, fresh, name);
        if (r < 0)
                (void)sys->ops->unlinkat(sys, dirfd, fresh, 0);
        return r;
}

int replace_remove(const struct sys *sys, const char *path)
{
        _cleanup_close_ int dirfd = -1;
        const char *name;
        int r;

        dirfd = replace_open_directory(sys, path, &name);
        r = dirfd < 0 ? dirfd : look(sys, dirfd, name);
        return r > 0 ? sys->ops->unlinkat(sys, dirfd, name, 0) : r;
}
