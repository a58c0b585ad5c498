/* SPDX-License-Identifier: MIT */
/*
 * sys.h: the one seam between capd and the kernel.
 *
 * Every path under /proc, /sys, /etc and /run is opened relative to `root_fd`, and every system call that
 * measure/ and enforce/ make goes through `ops`. Production uses sys_init(); a test points root_fd at a
 * directory it filled, or replaces single calls by ones that fail with the errno under test.
 *
 * Paths are given without a leading slash ("proc/meminfo").
 */
#ifndef CAPD_BASE_SYS_H
#define CAPD_BASE_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

#include "capd/base/macros.h"

struct sys;

/* Each call has the semantics of the system call of its name, but returns a negative errno on failure. */
struct sys_ops {
        int (*openat)(const struct sys *sys, int dirfd, const char *path, int flags);
        ssize_t (*pread)(const struct sys *sys, int fd, void *buf, size_t size, uint64_t offset);
        ssize_t (*read)(const struct sys *sys, int fd, void *buf, size_t size);
        ssize_t (*readlinkat)(const struct sys *sys, int dirfd, const char *path, char *buf, size_t size);
        int (*fstat)(const struct sys *sys, int fd, struct stat *st);
        int (*fstatat)(const struct sys *sys, int dirfd, const char *path, struct stat *st, int flags);
        /* getdents64(2) */
        ssize_t (*getdents)(const struct sys *sys, int fd, void *buf, size_t size);
        /* ioctl(fd, PAGEMAP_SCAN, arg), Linux 6.7 */
        int (*pagemap_scan)(const struct sys *sys, int fd, void *arg);
        int (*pidfd_open)(const struct sys *sys, pid_t pid);
        ssize_t (*process_madvise)(const struct sys *sys, int pidfd, const struct iovec *vec, size_t n, int advice);
        /* kcmp(a, b, KCMP_VM): 0 the same mm, 1 and 2 an order, 3 unequal */
        int (*kcmp_vm)(const struct sys *sys, pid_t a, pid_t b);
        /* what changes the world beside page-out: cgroupfs, DAMON's directory, the state file */
        ssize_t (*write)(const struct sys *sys, int fd, const void *buf, size_t size);
        int (*mkdirat)(const struct sys *sys, int dirfd, const char *path, mode_t mode);
        int (*unlinkat)(const struct sys *sys, int dirfd, const char *path, int flags);
        /* a new file, open for writing: openat(O_CREAT | O_EXCL) */
        int (*createat)(const struct sys *sys, int dirfd, const char *path, mode_t mode);
        int (*renameat)(const struct sys *sys, int dirfd, const char *from, const char *to); /* in one directory */
        int (*fsync)(const struct sys *sys, int fd);
        int (*fchmod)(const struct sys *sys, int fd, mode_t mode);
        int (*pidfd_send_signal)(const struct sys *sys, int pidfd, int sig);
        ssize_t (*getrandom)(const struct sys *sys, void *buf, size_t size);
        usec_t (*now)(const struct sys *sys);     /* CLOCK_MONOTONIC */
        usec_t (*cpu_now)(const struct sys *sys); /* CLOCK_THREAD_CPUTIME_ID */
        void (*sleep)(const struct sys *sys, usec_t usec);
        /*
         * Has the calling thread go on on a processor, and leaves it free to be moved from there like any other. 0, -EINVAL if it may not
         * run there, or another negative errno.
         */
        int (*go_to_cpu)(const struct sys *sys, int cpu);
        /*
         * Has the calling thread run before all ordinary ones on its processor (SCHED_FIFO, the lowest priority of it), or again as it did
         * before. 0; -EALREADY: it does so anyway, and there is nothing to be undone; -EPERM: without CAP_SYS_NICE, or in a unit with
         * RestrictRealtime=; or another negative errno.
         */
        int (*go_first)(const struct sys *sys, bool first);
        void (*yield)(const struct sys *sys); /* sched_yield(2) */
};

struct errands;

struct sys {
        int root_fd;
        const struct sys_ops *ops;
        struct errands *errands; /* of a thread that must not wait for a process (measure/errand.h); or NULL */
        void *userdata;          /* for tests */
};

extern const struct sys_ops sys_ops_native;

/* Opens "/" (or `root`, if not NULL) and takes the native calls. 0 or a negative errno. */
int sys_init(struct sys *ret, const char *root);
void sys_done(struct sys *sys);

/* sys->ops->openat() relative to root_fd, always with O_CLOEXEC and O_NOCTTY. */
int sys_open(const struct sys *sys, const char *path, int flags);

/*
 * Reads a whole small file (one of /proc or cgroupfs) of at most size - 1 bytes into buf and ends it with a NUL.
 * Bytes read, or a negative errno; -E2BIG if there is more than fits (buf then holds the beginning).
 */
ssize_t sys_read_file_at(const struct sys *sys, int dirfd, const char *path, char *buf, size_t size);
ssize_t sys_read_fd(const struct sys *sys, int fd, char *buf, size_t size);

/*
 * Writes `text` to an existing file of cgroupfs or sysfs in one write(2), as those want it. 0 or a negative errno; -EIO
 * if the kernel took only part of it.
 */
int sys_write_file_at(const struct sys *sys, int dirfd, const char *path, const char *text);

/*
 * A clock in microseconds, for code that has no sys and injects no time; what measures and enforces asks sys->ops->now().
 */
usec_t clock_usec(clockid_t clock);

void close_fd(int fd); /* accepts negative descriptors, keeps errno */
static inline void closep(int *fd)
{
        close_fd(*fd);
}
#define _cleanup_close_ _cleanup_(closep)

#endif
