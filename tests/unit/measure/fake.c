/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake.h"

/* Whether the call at hand is the one that is to fail. Several threads may call. */
static bool fails(struct fake *f, enum fake_op op)
{
        return __atomic_add_fetch(&f->calls[op], 1, __ATOMIC_RELAXED) == f->fail_at && f->fail_op == op;
}

#define FAIL(sys, op)                                                                                                  \
        do {                                                                                                           \
                struct fake *_fake = (sys)->userdata;                                                                  \
                if (fails(_fake, op))                                                                                  \
                        return (__typeof__(sys_ops_native.openat(sys, 0, "", 0)))_fake->fail_value;                    \
        } while (0)

static int fake_openat(const struct sys *sys, int dirfd, const char *path, int flags)
{
        FAIL(sys, OP_OPENAT);
        return sys_ops_native.openat(sys, dirfd, path, flags);
}

static ssize_t fake_pread(const struct sys *sys, int fd, void *buf, size_t size, uint64_t offset)
{
        struct fake *f = sys->userdata;

        FAIL(sys, OP_PREAD);
        if (f->on_pread) {
                f->pread_fd = fd;
                f->on_pread(f, __atomic_load_n(&f->calls[OP_PREAD], __ATOMIC_RELAXED));
        }
        return sys_ops_native.pread(sys, fd, buf, size, offset);
}

static ssize_t fake_read(const struct sys *sys, int fd, void *buf, size_t size)
{
        FAIL(sys, OP_READ);
        return sys_ops_native.read(sys, fd, buf, size);
}

static ssize_t fake_readlinkat(const struct sys *sys, int dirfd, const char *path, char *buf, size_t size)
{
        FAIL(sys, OP_READLINKAT);
        return sys_ops_native.readlinkat(sys, dirfd, path, buf, size);
}

static int fake_fstatat(const struct sys *sys, int dirfd, const char *path, struct stat *st, int flags)
{
        FAIL(sys, OP_FSTATAT);
        return sys_ops_native.fstatat(sys, dirfd, path, st, flags);
}

static ssize_t fake_getdents(const struct sys *sys, int fd, void *buf, size_t size)
{
        FAIL(sys, OP_GETDENTS);
        return sys_ops_native.getdents(sys, fd, buf, size);
}

struct region {
        uint64_t start, end, categories;
};

/* PAGEMAP_SCAN over a file: which entries are not 0. The argument's layout is the kernel's. */
static int fake_scan(const struct sys *sys, int fd, void *arg)
{
        uint64_t *a = arg, end = a[3], max_pages = a[7], pages = 0;
        struct region *regions = (struct region *)(uintptr_t)a[5];
        int n = 0;

        FAIL(sys, OP_SCAN);
        if (a[0] != 96 || a[2] % FAKE_PAGE || end % FAKE_PAGE || end <= a[2])
                return -EINVAL;
        for (uint64_t at = a[2]; at < end; at += FAKE_PAGE) {
                off_t data = lseek(fd, (off_t)(at / FAKE_PAGE * 8), SEEK_DATA);
                uint64_t entry = 0;

                if (data < 0 || (uint64_t)data / 8 * FAKE_PAGE >= end)
                        break;
                at = MAX(at, (uint64_t)data / 8 * FAKE_PAGE);
                if (pread(fd, &entry, 8, (off_t)(at / FAKE_PAGE * 8)) != 8 || entry == 0)
                        continue;
                if (pages == max_pages || (n == (int)a[6] && regions[n - 1].end != at)) {
                        a[4] = at;
                        return n;
                }
                if (n > 0 && regions[n - 1].end == at)
                        regions[n - 1].end += FAKE_PAGE;
                else
                        regions[n++] = (struct region){at, at + FAKE_PAGE, 0};
                pages++;
        }
        a[4] = end;
        return n;
}

static int fake_kcmp(const struct sys *sys, pid_t a, pid_t b)
{
        struct fake *f = sys->userdata;

        FAIL(sys, OP_KCMP);
        if (f->kcmp)
                return f->kcmp(a, b);
        return a == b ? 0 : a < b ? 1 : 2;
}

static int fake_pidfd(const struct sys *sys, pid_t pid)
{
        FAIL(sys, OP_PIDFD);
        return sys_ops_native.openat(sys, sys->root_fd, "proc", O_RDONLY | O_DIRECTORY);
}

static ssize_t fake_madvise(const struct sys *sys, int pidfd, const struct iovec *vec, size_t n, int advice)
{
        FAIL(sys, OP_MADVISE);
        return (ssize_t)vec[0].iov_len;
}

static usec_t fake_now(const struct sys *sys)
{
        struct fake *f = sys->userdata;

        return __atomic_add_fetch(&f->time, f->time_step, __ATOMIC_RELAXED);
}

static void mkdirs(struct fake *f, const char *path)
{
        char full[256], *slash;

        snprintf(full, sizeof(full), "%s/%s", f->path, path);
        for (slash = strchr(full + strlen(f->path) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
                *slash = '\0';
                if (mkdir(full, 0700) < 0)
                        assert_int_equal(errno, EEXIST);
                *slash = '/';
        }
}

static int open_file(struct fake *f, const char *path, int flags)
{
        char full[256];
        int fd;

        mkdirs(f, path);
        snprintf(full, sizeof(full), "%s/%s", f->path, path);
        fd = open(full, O_RDWR | O_CREAT | O_CLOEXEC | flags, 0600);
        assert_true(fd >= 0);
        return fd;
}

static void make_sparse(struct fake *f, const char *path, uint64_t size)
{
        int fd = open_file(f, path, O_TRUNC);

        assert_return_code(ftruncate(fd, (off_t)size), errno);
        close(fd);
}

void fake_write(struct fake *f, const char *path, const char *text)
{
        int fd = open_file(f, path, O_TRUNC);

        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        close(fd);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        return remove(path);
}

void fake_remove(struct fake *f, const char *path)
{
        char full[256];

        snprintf(full, sizeof(full), "%s/%s", f->path, path);
        nftw(full, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void fake_init(struct fake *f)
{
        *f = (struct fake){.path = "/tmp/capd-test-XXXXXX", .time = 1000000, .time_step = 1};
        assert_non_null(mkdtemp(f->path));
        assert_return_code(sys_init(&f->sys, f->path), 0);
        f->ops = sys_ops_native;
        f->ops.openat = fake_openat;
        f->ops.pread = fake_pread;
        f->ops.read = fake_read;
        f->ops.readlinkat = fake_readlinkat;
        f->ops.fstatat = fake_fstatat;
        f->ops.getdents = fake_getdents;
        f->ops.pagemap_scan = fake_scan;
        f->ops.kcmp_vm = fake_kcmp;
        f->ops.pidfd_open = fake_pidfd;
        f->ops.process_madvise = fake_madvise;
        f->ops.now = fake_now;
        f->sys.ops = &f->ops;
        f->sys.userdata = f;
        f->features = (struct features){
                        .pagemap_frames = true,
                        .kpageflags = true,
                        .kpagecount = true,
                        .kcmp = true,
                        .page_size = FAKE_PAGE,
                        .zero_frame = FAKE_ZERO_FRAME,
        };
        make_sparse(f, "proc/kpageflags", FAKE_FRAMES * 8);
        make_sparse(f, "proc/kpagecount", FAKE_FRAMES * 8);
        fake_frame(f, FAKE_ZERO_FRAME, FLAG_ZERO, 0);
}

void fake_done(struct fake *f)
{
        sys_done(&f->sys);
        fake_remove(f, "");
}

int fake_setup(void **state)
{
        static struct fake f;

        fake_init(&f);
        *state = &f;
        return 0;
}

int fake_teardown(void **state)
{
        fake_done(*state);
        return 0;
}

static void write_stat(struct fake *f, int pid, uint64_t start_time, const char *comm, char state, uint64_t start_code,
                       uint64_t vm, uint64_t rss)
{
        char path[64], text[512];

        snprintf(path, sizeof(path), "proc/%d/stat", pid);
        snprintf(text, sizeof(text),
                 "%d (%s) %c 1 1 1 0 -1 4194304 1 0 0 0 5 7 0 0 20 0 3 0 %llu %llu %llu 18446744073709551615 %llu %llu "
                 "%llu 0 0 "
                 "0 0 0 0\n",
                 pid, comm, state, (unsigned long long)start_time, (unsigned long long)vm, (unsigned long long)rss,
                 (unsigned long long)start_code, (unsigned long long)start_code + 10,
                 (unsigned long long)start_code + 20);
        fake_write(f, path, text);
}

void fake_stat(struct fake *f, int pid, uint64_t start_time, const char *comm, char state, uint64_t start_code)
{
        write_stat(f, pid, start_time, comm, state, start_code, 1000, 10);
}

void fake_vanish(struct fake *f, int pid)
{
        char path[64];

        /* emptied, for those who hold it open, and then gone */
        snprintf(path, sizeof(path), "proc/%d/stat", pid);
        fake_write(f, path, "");
        fake_remove(f, path);
}

void fake_process(struct fake *f, int pid, uint64_t start_time, const char *comm, const char *maps, uint64_t vm,
                  uint64_t rss)
{
        char path[64], text[512];

        write_stat(f, pid, start_time, comm, 'S', (uint64_t)pid * 4096, vm * FAKE_PAGE, rss);
        snprintf(path, sizeof(path), "proc/%d/statm", pid);
        snprintf(text, sizeof(text), "%llu %llu 1 1 0 1 0\n", (unsigned long long)vm, (unsigned long long)rss);
        fake_write(f, path, text);
        snprintf(path, sizeof(path), "proc/%d/status", pid);
        fake_write(f, path, "Name:\tx\nUid:\t1\t1000\t3\t4\nGid:\t5\t1001\t7\t8\n");
        snprintf(path, sizeof(path), "proc/%d/cgroup", pid);
        fake_write(f, path, "0::/system.slice/x.service\n");
        snprintf(path, sizeof(path), "proc/%d/maps", pid);
        fake_write(f, path, maps);
        snprintf(path, sizeof(path), "proc/%d/smaps", pid);
        fake_write(f, path, maps);
        snprintf(path, sizeof(path), "proc/%d/smaps_rollup", pid);
        fake_write(f, path, "1000-2000 ---p 00000000 00:00 0 [rollup]\nRss: 8 kB\nPss: 6 kB\n");
        snprintf(path, sizeof(path), "proc/%d/pagemap", pid);
        make_sparse(f, path, (UINT64_C(1) << 47) / FAKE_PAGE * 8);
}

void fake_pages(struct fake *f, int pid, uint64_t address, const uint64_t *entries, size_t n)
{
        char path[64];
        int fd;

        snprintf(path, sizeof(path), "proc/%d/pagemap", pid);
        fd = open_file(f, path, 0);
        assert_int_equal(pwrite(fd, entries, n * 8, (off_t)(address / FAKE_PAGE * 8)), n * 8);
        close(fd);
}

void fake_frame(struct fake *f, uint64_t frame, uint64_t flags, uint64_t count)
{
        int fd = open_file(f, "proc/kpageflags", 0);

        assert_int_equal(pwrite(fd, &flags, 8, (off_t)(frame * 8)), 8);
        close(fd);
        fd = open_file(f, "proc/kpagecount", 0);
        assert_int_equal(pwrite(fd, &count, 8, (off_t)(frame * 8)), 8);
        close(fd);
}

static void guard_enter_fake(struct guard *guard, pid_t pid)
{
        struct fake_guard *g = (struct fake_guard *)guard;

        assert_int_equal(g->depth++, 0);
        g->pid = pid;
}

static bool guard_leave_fake(struct guard *guard)
{
        struct fake_guard *g = (struct fake_guard *)guard;

        assert_int_equal(--g->depth, 0);
        return ++g->left != g->lose_at;
}

static bool guard_stopping_fake(struct guard *guard)
{
        struct fake_guard *g = (struct fake_guard *)guard;

        return ++g->asked >= g->stop_at && g->stop_at > 0;
}

void fake_guard_init(struct fake_guard *g)
{
        *g = (struct fake_guard){.guard = {.enter = guard_enter_fake,
                                           .leave = guard_leave_fake,
                                           .stopping = guard_stopping_fake}};
}
