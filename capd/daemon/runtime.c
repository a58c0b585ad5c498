/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "capd/base/log.h"
#include "capd/base/sys.h"
#include "capd/bus.h"
#include "runtime.h"

#define BACKLOG 64

static int open_directory(struct runtime *rt)
{
        struct stat st;

        if (mkdir(rt->path, 0755) == 0)
                rt->made = true;
        else if (errno != EEXIST) {
                log_error("Cannot make the runtime directory %s: %m", rt->path);
                return -errno;
        }
        rt->dir_fd = open(rt->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (rt->dir_fd < 0 || fstat(rt->dir_fd, &st) < 0) {
                log_error("Cannot open the runtime directory %s: %m", rt->path);
                return -errno;
        }
        /* whatever the umask says: everybody may ask */
        if (rt->made && fchmod(rt->dir_fd, 0755) < 0)
                log_warning("Cannot open %s to everybody: %m, ignoring", rt->path);
        /* who can write there could put another socket in our place */
        if (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH))) {
                log_error("The runtime directory %s must belong to root and be writable by nobody else", rt->path);
                return -EPERM;
        }
        return 0;
}

/* Whether the file that is locked is still the one of that name: another capd may have taken it away while this one waited. */
static bool lock_is_current(const struct runtime *rt)
{
        struct stat held, named;

        return fstat(rt->lock_fd, &held) == 0 && fstatat(rt->dir_fd, LOCK_FILE, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
               held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

static int try_lock(struct runtime *rt)
{
        rt->lock_fd = openat(rt->dir_fd, LOCK_FILE, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (rt->lock_fd < 0) {
                log_error("Cannot make %s/%s: %m", rt->path, LOCK_FILE);
                return -errno;
        }
        if (flock(rt->lock_fd, LOCK_EX | LOCK_NB) < 0) {
                int r = -errno;

                if (r == -EWOULDBLOCK)
                        log_error("Another capd runs with the runtime directory %s; stop it first", rt->path);
                else
                        log_error("Cannot lock %s/%s: %s", rt->path, LOCK_FILE, strerror(-r));
                return r;
        }
        return lock_is_current(rt);
}

static int take_lock(struct runtime *rt)
{
        int r;

        while ((r = try_lock(rt)) == 0)
                close_fd(TAKE_FD(rt->lock_fd));
        return MIN(r, 0);
}

static int bind_socket(struct runtime *rt)
{
        struct sockaddr_un sa = {.sun_family = AF_UNIX};

        /* by way of the descriptor: the directory's own path may be longer than sun_path holds */
        if (snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d/%s", rt->dir_fd, CONTROL_SOCKET) >=
            (int)sizeof(sa.sun_path))
                return -ENAMETOOLONG;
        unlinkat(rt->dir_fd, CONTROL_SOCKET, 0); /* a killed capd's: we hold the lock */
        rt->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (rt->listen_fd < 0 || bind(rt->listen_fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
            fchmodat(rt->dir_fd, CONTROL_SOCKET, 0666, 0) < 0 || listen(rt->listen_fd, BACKLOG) < 0) {
                log_error("Cannot listen on %s/%s: %m", rt->path, CONTROL_SOCKET);
                return -errno;
        }
        return 0;
}

int runtime_open(struct runtime *rt, const char *path)
{
        int r;

        *rt = (struct runtime){.path = path, .dir_fd = -1, .lock_fd = -1, .listen_fd = -1};
        r = open_directory(rt);
        if (r >= 0)
                r = take_lock(rt);
        if (r < 0) {
                close_fd(TAKE_FD(rt->lock_fd)); /* nothing there is ours: leave it */
                close_fd(TAKE_FD(rt->dir_fd));
                return r;
        }
        r = bind_socket(rt);
        if (r < 0)
                runtime_close(rt);
        return r;
}

void runtime_close(struct runtime *rt)
{
        if (rt->dir_fd < 0)
                return;
        unlinkat(rt->dir_fd, CONTROL_SOCKET, 0);
        unlinkat(rt->dir_fd, LOCK_FILE, 0);
        close_fd(TAKE_FD(rt->listen_fd));
        close_fd(TAKE_FD(rt->lock_fd));
        close_fd(TAKE_FD(rt->dir_fd));
        if (rt->made)
                rmdir(rt->path);
}
