/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "capd/base/sys.h"

/* Linux 6.7, include/uapi/linux/fs.h; older headers lack it. _IOWR('f', 16, struct pm_scan_arg), which has 96 bytes. */
#define PAGEMAP_SCAN_REQUEST _IOC(_IOC_READ | _IOC_WRITE, 'f', 16, 96)

#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif

static int native_openat(const struct sys *sys, int dirfd, const char *path, int flags)
{
        int fd = openat(dirfd, path, flags | O_CLOEXEC | O_NOCTTY);

        return fd < 0 ? -errno : fd;
}

static ssize_t native_pread(const struct sys *sys, int fd, void *buf, size_t size, uint64_t offset)
{
        ssize_t n = pread(fd, buf, size, (off_t)offset);

        return n < 0 ? -errno : n;
}

static ssize_t native_read(const struct sys *sys, int fd, void *buf, size_t size)
{
        ssize_t n = read(fd, buf, size);

        return n < 0 ? -errno : n;
}

static ssize_t native_readlinkat(const struct sys *sys, int dirfd, const char *path, char *buf, size_t size)
{
        ssize_t n = readlinkat(dirfd, path, buf, size);

        return n < 0 ? -errno : n;
}

static int native_fstat(const struct sys *sys, int fd, struct stat *st)
{
        return fstat(fd, st) < 0 ? -errno : 0;
}

static int native_fstatat(const struct sys *sys, int dirfd, const char *path, struct stat *st, int flags)
{
        return fstatat(dirfd, path, st, flags) < 0 ? -errno : 0;
}

static ssize_t native_getdents(const struct sys *sys, int fd, void *buf, size_t size)
{
        ssize_t n = getdents64(fd, buf, size);

        return n < 0 ? -errno : n;
}

static int native_pagemap_scan(const struct sys *sys, int fd, void *arg)
{
        int n = ioctl(fd, PAGEMAP_SCAN_REQUEST, arg);

        return n < 0 ? -errno : n;
}

static int native_pidfd_open(const struct sys *sys, pid_t pid)
{
        int fd = (int)syscall(SYS_pidfd_open, pid, 0);

        return fd < 0 ? -errno : fd;
}

static ssize_t native_process_madvise(const struct sys *sys, int pidfd, const struct iovec *vec, size_t n, int advice)
{
        ssize_t r = syscall(SYS_process_madvise, pidfd, vec, n, advice, 0);

        return r < 0 ? -errno : r;
}

static int native_kcmp_vm(const struct sys *sys, pid_t a, pid_t b)
{
        int r = (int)syscall(SYS_kcmp, a, b, KCMP_VM, 0UL, 0UL);

        return r < 0 ? -errno : r;
}

static ssize_t native_write(const struct sys *sys, int fd, const void *buf, size_t size)
{
        ssize_t n = write(fd, buf, size);

        return n < 0 ? -errno : n;
}

static int native_mkdirat(const struct sys *sys, int dirfd, const char *path, mode_t mode)
{
        return mkdirat(dirfd, path, mode) < 0 ? -errno : 0;
}

static int native_unlinkat(const struct sys *sys, int dirfd, const char *path, int flags)
{
        return unlinkat(dirfd, path, flags) < 0 ? -errno : 0;
}

static int native_createat(const struct sys *sys, int dirfd, const char *path, mode_t mode)
{
        int fd = openat(dirfd, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, mode);

        return fd < 0 ? -errno : fd;
}

static int native_renameat(const struct sys *sys, int dirfd, const char *from, const char *to)
{
        return renameat(dirfd, from, dirfd, to) < 0 ? -errno : 0;
}

static int native_fsync(const struct sys *sys, int fd)
{
        return fsync(fd) < 0 ? -errno : 0;
}

static int native_fchmod(const struct sys *sys, int fd, mode_t mode)
{
        return fchmod(fd, mode) < 0 ? -errno : 0;
}

static int native_pidfd_send_signal(const struct sys *sys, int pidfd, int sig)
{
        return syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0U) < 0 ? -errno : 0;
}

usec_t clock_usec(clockid_t id)
{
        struct timespec ts;

        clock_gettime(id, &ts);
        return (usec_t)ts.tv_sec * USEC_PER_SEC + (usec_t)ts.tv_nsec / 1000;
}

static ssize_t native_getrandom(const struct sys *sys, void *buf, size_t size)
{
        ssize_t r = getrandom(buf, size, 0);

        return r < 0 ? -errno : r;
}

static usec_t native_now(const struct sys *sys)
{
        return clock_usec(CLOCK_MONOTONIC);
}

static usec_t native_cpu_now(const struct sys *sys)
{
        return clock_usec(CLOCK_THREAD_CPUTIME_ID);
}

static void native_sleep(const struct sys *sys, usec_t usec)
{
        struct timespec ts = {.tv_sec = (time_t)(usec / USEC_PER_SEC), .tv_nsec = (long)(usec % USEC_PER_SEC) * 1000};

        while (clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts) == EINTR)
                ;
}

/* The kernel's own limit, NR_CPUS of x86; a cpu_set_t has room for 1024. */
#define MAX_CPUS 8192

/*
 * Which processors are allowed is what the first thread of the program has, which never comes here: of its own the calling one may have
 * less by now, as it was given back what was allowed, and active, when it moved.
 */
static int native_go_to_cpu(const struct sys *sys, int cpu)
{
        cpu_set_t allowed[MAX_CPUS / CPU_SETSIZE], one[MAX_CPUS / CPU_SETSIZE] = {};

        if (cpu < 0 || cpu >= MAX_CPUS)
                return -EINVAL;
        if (sched_getcpu() == cpu)
                return 0;
        if (sched_getaffinity(getpid(), sizeof(allowed), allowed) < 0)
                return -errno;
        if (!CPU_ISSET_S((size_t)cpu, sizeof(allowed), allowed))
                return -EINVAL;
        CPU_SET_S((size_t)cpu, sizeof(one), one);
        if (sched_setaffinity(0, sizeof(one), one) < 0)
                return -errno;
        if (sched_setaffinity(0, sizeof(allowed), allowed) == 0)
                return 0;
        /* they have become others in between */
        if (sched_getaffinity(getpid(), sizeof(allowed), allowed) < 0 ||
            sched_setaffinity(0, sizeof(allowed), allowed) < 0)
                return -errno;
        return 0;
}

static int native_go_first(const struct sys *sys, bool first)
{
        static _Thread_local int usual;
        struct sched_param param = {.sched_priority = first};

        if (first) {
                usual = sched_getscheduler(0);
                if (usual < 0)
                        return -errno;
                if ((usual & ~SCHED_RESET_ON_FORK) == SCHED_FIFO || (usual & ~SCHED_RESET_ON_FORK) == SCHED_RR ||
                    (usual & ~SCHED_RESET_ON_FORK) == SCHED_DEADLINE)
                        return -EALREADY;
        }
        if (sched_setscheduler(0, first ? SCHED_FIFO | SCHED_RESET_ON_FORK : usual, &param) == 0)
                return 0;
        /* who owes the way there to RLIMIT_RTPRIO may not take that flag away again (sched_setscheduler(2)) */
        if (!first && errno == EPERM && sched_setscheduler(0, usual | SCHED_RESET_ON_FORK, &param) == 0)
                return 0;
        return -errno;
}

static void native_yield(const struct sys *sys)
{
        sched_yield();
}

const struct sys_ops sys_ops_native = {
                .openat = native_openat,
                .pread = native_pread,
                .read = native_read,
                .readlinkat = native_readlinkat,
                .fstat = native_fstat,
                .fstatat = native_fstatat,
                .getdents = native_getdents,
                .pagemap_scan = native_pagemap_scan,
                .pidfd_open = native_pidfd_open,
                .process_madvise = native_process_madvise,
                .kcmp_vm = native_kcmp_vm,
                .write = native_write,
                .mkdirat = native_mkdirat,
                .unlinkat = native_unlinkat,
                .createat = native_createat,
                .renameat = native_renameat,
                .fsync = native_fsync,
                .fchmod = native_fchmod,
                .pidfd_send_signal = native_pidfd_send_signal,
                .getrandom = native_getrandom,
                .now = native_now,
                .cpu_now = native_cpu_now,
                .sleep = native_sleep,
                .go_to_cpu = native_go_to_cpu,
                .go_first = native_go_first,
                .yield = native_yield,
};

int sys_init(struct sys *ret, const char *root)
{
        int fd = open(root ? root : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        *ret = (struct sys){.root_fd = fd, .ops = &sys_ops_native};
        return 0;
}

void sys_done(struct sys *sys)
{
        close_fd(sys->root_fd);
        sys->root_fd = -1;
}

int sys_open(const struct sys *sys, const char *path, int flags)
{
        return sys->ops->openat(sys, sys->root_fd, path, flags);
}

ssize_t sys_read_fd(const struct sys *sys, int fd, char *buf, size_t size)
{
        size_t len = 0;

        for (;;) {
                ssize_t n;

                if (len == size - 1) {
                        char more;

                        buf[len] = '\0';
                        n = sys->ops->read(sys, fd, &more, 1);
                        return n < 0 ? n : n > 0 ? -E2BIG : (ssize_t)len;
                }
                n = sys->ops->read(sys, fd, buf + len, size - 1 - len);
                if (n == -EINTR)
                        continue;
                if (n < 0)
                        return n;
                if (n == 0)
                        break;
                len += (size_t)n;
        }
        buf[len] = '\0';
        return (ssize_t)len;
}

ssize_t sys_read_file_at(const struct sys *sys, int dirfd, const char *path, char *buf, size_t size)
{
        _cleanup_close_ int fd = sys->ops->openat(sys, dirfd, path, O_RDONLY);

        return fd < 0 ? fd : sys_read_fd(sys, fd, buf, size);
}

int sys_write_file_at(const struct sys *sys, int dirfd, const char *path, const char *text)
{
        _cleanup_close_ int fd = sys->ops->openat(sys, dirfd, path, O_WRONLY);
        ssize_t n;

        if (fd < 0)
                return fd;
        /* never in parts: each write(2) is a command of its own to the kernel */
        do
                n = sys->ops->write(sys, fd, text, strlen(text));
        while (n == -EINTR);
        if (n < 0)
                return (int)n;
        return (size_t)n == strlen(text) ? 0 : -EIO;
}

void close_fd(int fd)
{
        int saved = errno;

        if (fd >= 0)
                close(fd);
        errno = saved;
}
