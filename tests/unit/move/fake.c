/* SPDX-License-Identifier: MIT */
#include "fake.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FAIL(sys, op)                                                                                                  \
        do {                                                                                                           \
                struct fake *f_ = (sys)->userdata;                                                                     \
                if (++f_->calls[op] == f_->fail_at && f_->fail_op == (op))                                             \
                        return f_->fail_value;                                                                         \
        } while (0)

static int fake_openat(const struct sys *sys, int dirfd, const char *path, int flags)
{
        FAIL(sys, OP_OPENAT);
        return sys_ops_native.openat(sys, dirfd, path, flags);
}

static ssize_t fake_read_fd(const struct sys *sys, int fd, void *buf, size_t size)
{
        FAIL(sys, OP_READ);
        return sys_ops_native.read(sys, fd, buf, size);
}

static int fake_fstat(const struct sys *sys, int fd, struct stat *st)
{
        FAIL(sys, OP_FSTAT);
        return sys_ops_native.fstat(sys, fd, st);
}

/* Takes a number out of a cgroup's list, or puts it in. */
static void list_pid(struct fake *f, const char *cgroup, const char *pid, bool in)
{
        char path[256], text[4096], out[4096] = "", *save = NULL;

        snprintf(path, sizeof(path), "sys/fs/cgroup%s/cgroup.procs", cgroup);
        if (!fake_exists(f, path))
                return;
        fake_read(f, path, text, sizeof(text));
        for (char *word = strtok_r(text, "\n", &save); word; word = strtok_r(NULL, "\n", &save))
                if (strcmp(word, pid) != 0) {
                        strcat(out, word);
                        strcat(out, "\n");
                }
        if (in) {
                strcat(out, pid);
                strcat(out, "\n");
        }
        fake_write(f, path, out);
}

void fake_where(struct fake *f, int pid, char *buf, size_t size)
{
        char path[64], text[512];

        snprintf(path, sizeof(path), "proc/%d/cgroup", pid);
        fake_read(f, path, text, sizeof(text));
        text[strcspn(text, "\n")] = ' ';
        snprintf(buf, size, "%.*s", (int)strcspn(strstr(text, "0::") + 3, "\n"), strstr(text, "0::") + 3);
}

static void set_cgroup(struct fake *f, int pid, const char *cgroup)
{
        char path[64], text[512];

        snprintf(path, sizeof(path), "proc/%d/cgroup", pid);
        snprintf(text, sizeof(text), "1:name=x:/other\n0::%s\n", cgroup);
        fake_write(f, path, text);
}

/* What the kernel does at a write to cgroup.procs. */
static int migrate(struct fake *f, const char *pid, const char *file)
{
        char from[256], to[256], number[96];
        const char *path = strstr(file, "/sys/fs/cgroup") + strlen("/sys/fs/cgroup");

        snprintf(number, sizeof(number), "proc/%s", pid);
        if (!fake_exists(f, number))
                return -ESRCH;
        snprintf(to, sizeof(to), "%.*s", (int)(strrchr(path, '/') - path), path);
        fake_where(f, atoi(pid), from, sizeof(from));
        list_pid(f, from, pid, false);
        list_pid(f, to, pid, true);
        set_cgroup(f, atoi(pid), to[0] ? to : "/");
        return 0;
}

void fake_exit(struct fake *f, int pid)
{
        char text[64], cgroup[256];

        fake_where(f, pid, cgroup, sizeof(cgroup));
        snprintf(text, sizeof(text), "%d", pid);
        list_pid(f, cgroup, text, false);
        /* emptied, for those who hold it open */
        snprintf(text, sizeof(text), "proc/%d/statm", pid);
        fake_write(f, text, "");
        snprintf(text, sizeof(text), "proc/%d", pid);
        fake_remove(f, text);
}

static ssize_t fake_write_fd(const struct sys *sys, int fd, const void *buf, size_t size)
{
        struct fake *f = sys->userdata;
        char name[32], path[PATH_MAX];
        ssize_t n;

        FAIL(sys, OP_WRITE);
        snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
        n = readlink(name, path, sizeof(path) - 1);
        assert_true(n > 0);
        path[n] = '\0';
        if (strstr(path, "/sys/fs/cgroup/") && !strstr(path, "/cgroup."))
                assert_int_equal(ftruncate(fd, 0), 0);
        if (!strstr(path, "/cgroup."))
                return sys_ops_native.write(sys, fd, buf, size);
        /* a command to the kernel: remembered, and not written over what the file says */
        strncat(f->procs, buf, size);
        strcat(f->procs, " ");
        if (strstr(path, "/cgroup.procs")) {
                char text[64];
                int r = 0;

                snprintf(text, sizeof(text), "%.*s", (int)size, (const char *)buf);
                if (f->kernel)
                        r = migrate(f, text, path);
                if (f->on_procs)
                        f->on_procs(f, text);
                if (r < 0)
                        return r;
        }
        return (ssize_t)size;
}

static int fake_createat(const struct sys *sys, int dirfd, const char *path, mode_t mode)
{
        FAIL(sys, OP_CREATE);
        return sys_ops_native.createat(sys, dirfd, path, mode);
}

static int fake_renameat(const struct sys *sys, int dirfd, const char *from, const char *to)
{
        FAIL(sys, OP_RENAME);
        return sys_ops_native.renameat(sys, dirfd, from, to);
}

static int fake_unlinkat(const struct sys *sys, int dirfd, const char *path, int flags)
{
        struct fake *f = sys->userdata;

        FAIL(sys, OP_UNLINK);
        if (f->kernel && (flags & AT_REMOVEDIR)) {
                char name[32], parent[PATH_MAX], procs[PATH_MAX + 64];
                struct stat st;
                ssize_t n;

                snprintf(name, sizeof(name), "/proc/self/fd/%d", dirfd);
                n = readlink(name, parent, sizeof(parent) - 1);
                assert_true(n > (ssize_t)strlen(f->path));
                parent[n] = '\0';
                snprintf(procs, sizeof(procs), "%s/%s/cgroup.procs", parent + strlen(f->path) + 1, path);
                if (fstatat(sys->root_fd, procs, &st, 0) < 0)
                        return -ENOENT;
                *strrchr(procs, '/') = '\0';
                if (st.st_size > 0 || (fstatat(sys->root_fd, procs, &st, 0) == 0 && st.st_nlink > 2))
                        return -EBUSY;
                fake_remove(f, procs);
                return 0;
        }
        return sys_ops_native.unlinkat(sys, dirfd, path, flags);
}

static int fake_fsync(const struct sys *sys, int fd)
{
        FAIL(sys, OP_FSYNC);
        return sys_ops_native.fsync(sys, fd);
}

static int fake_mkdirat(const struct sys *sys, int dirfd, const char *path, mode_t mode)
{
        struct fake *f = sys->userdata;
        char name[32], parent[PATH_MAX], *cgroup;
        int r;

        FAIL(sys, OP_MKDIR);
        r = sys_ops_native.mkdirat(sys, dirfd, path, mode);
        if (r < 0 || !f->kernel)
                return r;
        snprintf(name, sizeof(name), "/proc/self/fd/%d", dirfd);
        r = (int)readlink(name, parent, sizeof(parent) - 1);
        assert_true(r > 0);
        parent[r] = '\0';
        cgroup = strstr(parent, "/sys/fs/cgroup");
        assert_non_null(cgroup);
        snprintf(parent, sizeof(parent), "%s/%s", cgroup + strlen("/sys/fs/cgroup"), path);
        fake_cgroup(f, parent);
        return 0;
}

void fake_init(struct fake *f)
{
        *f = (struct fake){.path = "/tmp/capd-move-XXXXXX"};
        assert_non_null(mkdtemp(f->path));
        assert_int_equal(sys_init(&f->sys, f->path), 0);
        f->ops = sys_ops_native;
        f->ops.openat = fake_openat;
        f->ops.read = fake_read_fd;
        f->ops.fstat = fake_fstat;
        f->ops.write = fake_write_fd;
        f->ops.createat = fake_createat;
        f->ops.renameat = fake_renameat;
        f->ops.unlinkat = fake_unlinkat;
        f->ops.fsync = fake_fsync;
        f->ops.mkdirat = fake_mkdirat;
        f->sys.ops = &f->ops;
        f->sys.userdata = f;
        fake_write(f, "proc/sys/kernel/random/boot_id", "11111111-2222-3333-4444-555555555555\n");
        fake_write(f, "proc/self/mountinfo", "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        fake_write(f, "sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n");
        fake_write(f, "sys/fs/cgroup/cgroup.subtree_control", "memory\n");
        fake_write(f, "sys/fs/cgroup/cgroup.procs", "");
        assert_int_equal(cgroup2_open(&f->sys, &f->cgroups), 0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        return remove(path);
}

void fake_done(struct fake *f)
{
        cgroup2_close(&f->cgroups);
        sys_done(&f->sys);
        nftw(f->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void fake_write(struct fake *f, const char *path, const char *text)
{
        char full[PATH_MAX + 128];
        FILE *out;

        snprintf(full, sizeof(full), "%s/%s", f->path, path);
        for (char *slash = strchr(full + strlen(f->path) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
                *slash = '\0';
                assert_true(mkdir(full, 0700) == 0 || errno == EEXIST);
                *slash = '/';
        }
        out = fopen(full, "we");
        assert_non_null(out);
        assert_true(fputs(text, out) >= 0);
        assert_int_equal(fclose(out), 0);
        assert_int_equal(chmod(full, 0600), 0);
}

void fake_read(struct fake *f, const char *path, char *buf, size_t size)
{
        assert_true(sys_read_file_at(&f->sys, f->sys.root_fd, path, buf, size) >= 0);
}

void fake_remove(struct fake *f, const char *path)
{
        char full[PATH_MAX + 128];

        snprintf(full, sizeof(full), "%s/%s", f->path, path);
        assert_int_equal(nftw(full, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

bool fake_exists(struct fake *f, const char *path)
{
        return faccessat(f->sys.root_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

void fake_fail(struct fake *f, enum fake_op op, unsigned at, int value)
{
        memset(f->calls, 0, sizeof(f->calls));
        f->fail_op = op;
        f->fail_at = at;
        f->fail_value = value;
}

void fake_process(struct fake *f, int pid, int parent, uint64_t start_time, const char *cgroup)
{
        char path[64], text[512], number[16];

        snprintf(path, sizeof(path), "proc/%d/stat", pid);
        snprintf(text, sizeof(text),
                 "%d (a) b) S %d 1 1 0 -1 4194304 1 0 0 0 5 7 0 0 20 0 1 0 %llu 4096000 10 18446744073709551615 %d %d "
                 "%d 0 0 0 0 "
                 "0 0\n",
                 pid, parent, (unsigned long long)start_time, pid * 4096, pid * 4096 + 10, pid * 4096 + 20);
        fake_write(f, path, text);
        snprintf(path, sizeof(path), "proc/%d/statm", pid);
        fake_write(f, path, "1000 10 5 1 0 1 0\n");
        snprintf(path, sizeof(path), "proc/%d/status", pid);
        fake_write(f, path, "Name:\ta\nUid:\t1 1 1 1\nGid:\t1 1 1 1\nThreads:\t1\n");
        set_cgroup(f, pid, cgroup);
        snprintf(number, sizeof(number), "%d", pid);
        if (f->kernel)
                list_pid(f, cgroup, number, true);
}

void fake_cgroup(struct fake *f, const char *path)
{
        char full[PATH_MAX + 64];

        static const struct {
                const char *name, *text;
        } files[] = {
                        {"cgroup.procs", ""},
                        {"cgroup.type", "domain\n"},
                        {"cgroup.subtree_control", ""},
                        {"memory.high", "max\n"},
                        {"memory.current", "4194304\n"},
                        {"memory.stat", "anon 1\nfile 2\nkernel 3\nactive_anon 10\ninactive_anon 20\nactive_file "
                                        "300\ninactive_file 4000\n"},
                        {"memory.events", "low 0\nhigh 7\nmax 0\noom 0\n"},
                        {"memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=99\n"
                                            "full avg10=0.00 avg60=0.00 avg300=0.00 total=42\n"},
        };

        for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
                snprintf(full, sizeof(full), "sys/fs/cgroup%s/%s", path, files[i].name);
                fake_write(f, full, files[i].text);
        }
}

uint64_t fake_inode(struct fake *f, const char *path)
{
        char full[256];
        struct stat st;

        snprintf(full, sizeof(full), "sys/fs/cgroup%s", path);
        assert_int_equal(fstatat(f->sys.root_fd, full, &st, 0), 0);
        return st.st_ino;
}
