/* SPDX-License-Identifier: MIT */
/* Files that are replaced whole: in a directory of the test's own, with links on the way, and with each call failing. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "capd/base/replace.h"

static struct sys_ops ops;
static struct sys sys_fake;
static char root[64];
static int fail_write, fail_fsync, fail_rename, fail_create, fail_chmod;
static bool short_writes;

static ssize_t fake_write(const struct sys *s, int fd, const void *buf, size_t size)
{
        if (fail_write)
                return fail_write;
        return sys_ops_native.write(s, fd, buf, short_writes ? MIN(size, 3U) : size);
}

static int fake_fsync(const struct sys *s, int fd)
{
        return fail_fsync ? fail_fsync : sys_ops_native.fsync(s, fd);
}

static int fake_rename(const struct sys *s, int dirfd, const char *from, const char *to)
{
        return fail_rename ? fail_rename : sys_ops_native.renameat(s, dirfd, from, to);
}

static int fake_create(const struct sys *s, int dirfd, const char *path, mode_t mode)
{
        return fail_create ? fail_create : sys_ops_native.createat(s, dirfd, path, mode);
}

static int fake_chmod(const struct sys *s, int fd, mode_t mode)
{
        return fail_chmod ? fail_chmod : sys_ops_native.fchmod(s, fd, mode);
}

static int setup(void **state)
{
        fail_write = fail_fsync = fail_rename = fail_create = fail_chmod = 0;
        short_writes = false;
        ops = sys_ops_native;
        ops.write = fake_write;
        ops.fsync = fake_fsync;
        ops.renameat = fake_rename;
        ops.createat = fake_create;
        ops.fchmod = fake_chmod;
        strcpy(root, "/tmp/capd-test-XXXXXX");
        assert_non_null(mkdtemp(root));
        assert_int_equal(sys_init(&sys_fake, root), 0);
        sys_fake.ops = &ops;
        assert_int_equal(mkdirat(sys_fake.root_fd, "dir", 0755), 0);
        assert_int_equal(mkdirat(sys_fake.root_fd, "elsewhere", 0755), 0);
        return 0;
}

static int teardown(void **state)
{
        static const char *const names[] = {"dir/f", "dir/f.new", "dir/link", "elsewhere/f", "link"};

        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                unlinkat(sys_fake.root_fd, names[i], 0);
        unlinkat(sys_fake.root_fd, "dir/f", AT_REMOVEDIR);
        unlinkat(sys_fake.root_fd, "dir", AT_REMOVEDIR);
        unlinkat(sys_fake.root_fd, "elsewhere", AT_REMOVEDIR);
        sys_done(&sys_fake);
        return rmdir(root);
}

static int body(const char *text)
{
        int fd = memfd_create("body", MFD_CLOEXEC);

        assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
        return fd;
}

static int replace(const char *path, const char *text)
{
        _cleanup_close_ int fd = body(text);

        return replace_file(&sys_fake, path, 0644, true, fd, strlen(text));
}

static void holds(const char *path, const char *text)
{
        char buf[256];

        assert_true(sys_read_file_at(&sys_fake, sys_fake.root_fd, path, buf, sizeof(buf)) >= 0);
        assert_string_equal(buf, text);
}

static void is_missing(const char *path)
{
        assert_int_equal(faccessat(sys_fake.root_fd, path, F_OK, AT_SYMLINK_NOFOLLOW), -1);
}

static void test_replaces(void **state)
{
        mode_t old = umask(0077);
        struct stat st;

        assert_int_equal(replace("/dir/f", "one"), 0);
        umask(old);
        holds("dir/f", "one");
        assert_int_equal(fstatat(sys_fake.root_fd, "dir/f", &st, 0), 0);
        assert_int_equal(st.st_mode & 0777, 0644);
        short_writes = true;
        assert_int_equal(replace("//dir//f", "and now something longer"), 0);
        holds("dir/f", "and now something longer");
        is_missing("dir/f.new");
        assert_int_equal(replace_remove(&sys_fake, "/dir/f"), 0);
        is_missing("dir/f");
        assert_int_equal(replace_remove(&sys_fake, "/dir/f"), 0);
        /* less than was said: it was not sealed */
        _cleanup_close_ int fd = body("abc");
        assert_int_equal(replace_file(&sys_fake, "/dir/f", 0644, false, fd, 10), -ENODATA);
        is_missing("dir/f");
        is_missing("dir/f.new");
}

static void test_leads_nowhere(void **state)
{
        assert_int_equal(symlinkat("elsewhere", sys_fake.root_fd, "link"), 0);
        assert_int_equal(replace("/link/f", "x"), -ELOOP);
        is_missing("elsewhere/f");
        assert_int_equal(symlinkat("../elsewhere/f", sys_fake.root_fd, "dir/f"), 0);
        assert_int_equal(replace("/dir/f", "x"), -EEXIST);
        assert_int_equal(replace_remove(&sys_fake, "/dir/f"), -EEXIST);
        is_missing("elsewhere/f");
        assert_int_equal(unlinkat(sys_fake.root_fd, "dir/f", 0), 0);
        assert_int_equal(symlinkat("../elsewhere/f", sys_fake.root_fd, "dir/f.new"), 0);
        assert_int_equal(replace("/dir/f", "x"), -EEXIST);
        assert_int_equal(unlinkat(sys_fake.root_fd, "dir/f.new", 0), 0);
        assert_int_equal(mkdirat(sys_fake.root_fd, "dir/f", 0755), 0);
        assert_int_equal(replace("/dir/f", "x"), -EEXIST);
        assert_int_equal(replace("/dir/../elsewhere/f", "x"), -EINVAL);
        assert_int_equal(replace("/missing/f", "x"), -ENOENT);
        assert_int_equal(replace("dir/f", "x"), -EINVAL);
        assert_int_equal(replace("/dir/", "x"), -EINVAL);
}

/* What was there is untouched, and nothing is left lying about. */
static void test_faults(void **state)
{
        int *const faults[] = {&fail_write, &fail_fsync, &fail_rename, &fail_create, &fail_chmod};

        assert_int_equal(replace("/dir/f", "old"), 0);
        for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
                *faults[i] = -ENOSPC;
                assert_int_equal(replace("/dir/f", "new"), -ENOSPC);
                *faults[i] = 0;
                holds("dir/f", "old");
                is_missing("dir/f.new");
        }
        /* of one that was killed in the middle */
        close_fd(openat(sys_fake.root_fd, "dir/f.new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        assert_int_equal(replace("/dir/f", "new"), 0);
        holds("dir/f", "new");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test_setup_teardown(test_replaces, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_leads_nowhere, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_faults, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
