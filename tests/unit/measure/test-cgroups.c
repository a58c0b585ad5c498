/* SPDX-License-Identifier: MIT */
/* Where the hierarchy is, what it can do, and which cgroups are safe to open. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "capd/measure/cgroups.h"
#include "cgroups-internal.h"
#include "fake.h"

#define UNIFIED "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
#define HYBRID  "40 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"

static int setup(void **state)
{
        static struct fake f;

        fake_init(&f);
        fake_write(&f, "proc/self/mountinfo", "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n" UNIFIED);
        fake_write(&f, "sys/fs/cgroup/cgroup.controllers", "cpu io memory pids\n");
        *state = &f;
        return 0;
}

static int teardown(void **state)
{
        fake_done(*state);
        return 0;
}

static void test_mount_lines(void **state)
{
        static const struct {
                const char *line, *path; /* NULL: none */
        } cases[] = {
                        {"31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw", "sys/fs/cgroup"},
                        {"31 23 0:28 / /sys/fs/cgroup rw a:1 b c:2 - cgroup2 none rw", "sys/fs/cgroup"},
                        {"31 23 0:28 / /odd\\040place\\134x rw - cgroup2 none rw", "odd place\\x"},
                        {"31 23 0:28 /a /sys/fs/cgroup rw - cgroup2 cgroup2 rw", NULL},
                        {"31 23 0:28 /.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw", NULL},
                        {"31 23 0:28 / /sys/fs/cgroup rw - cgroup cgroup rw,memory", NULL},
                        {"31 23 0:28 / /sys/fs/cgroup rw cgroup2 cgroup2 rw", NULL},
                        {"31 23 0:28 / relative rw - cgroup2 cgroup2 rw", NULL},
                        {"31 23 0:28 / / rw - cgroup2 cgroup2 rw", NULL},
                        {"31 23 0:28 / /bad\\099 rw - cgroup2 cgroup2 rw", NULL},
                        {"31 23 0:28 / /bad\\000 rw - cgroup2 cgroup2 rw", NULL},
                        {"31 23 0:28 /", NULL},
                        {"-", NULL},
                        {"", NULL},
        };
        char path[LIMIT_CGROUP_MOUNT_BYTES], tight[13];

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                bool found = parse_cgroup2_mount(cases[i].line, strlen(cases[i].line), path, sizeof(path));

                assert_int_equal(found, cases[i].path != NULL);
                if (found)
                        assert_string_equal(path, cases[i].path);
        }
        assert_false(parse_cgroup2_mount(cases[0].line, strlen(cases[0].line), tight, sizeof(tight)));
}

static void test_find(void **state)
{
        struct fake *f = *state;
        struct cgroup2 c = CGROUP2_CLOSED;

        assert_int_equal(cgroup2_open(&f->sys, &c), 0);
        assert_string_equal(c.path, "sys/fs/cgroup");
        assert_true(c.fd >= 0);
        cgroup2_close(&c);
        assert_int_equal(c.fd, -1);
        cgroup2_close(&c);

        /* the memory controller is v1's: "memory" must be a word of its own */
        fake_write(f, "sys/fs/cgroup/cgroup.controllers", "cpu memoryx hugetlb\n");
        assert_int_equal(cgroup2_open(&f->sys, &c), -EOPNOTSUPP);
        fake_write(f, "sys/fs/cgroup/cgroup.controllers", "\n");
        assert_int_equal(cgroup2_open(&f->sys, &c), -EOPNOTSUPP);
        fake_write(f, "sys/fs/cgroup/cgroup.controllers", "");
        assert_int_equal(cgroup2_open(&f->sys, &c), -EOPNOTSUPP);

        /* of two mounts the one that has it, wherever it is listed */
        fake_write(f, "proc/self/mountinfo", HYBRID UNIFIED "9 9 0:1 / /gone rw - cgroup2 x rw\n");
        assert_int_equal(cgroup2_open(&f->sys, &c), -EOPNOTSUPP);
        fake_write(f, "sys/fs/cgroup/unified/cgroup.controllers", "memory\n");
        assert_int_equal(cgroup2_open(&f->sys, &c), 0);
        assert_string_equal(c.path, "sys/fs/cgroup/unified");
        cgroup2_close(&c);

        fake_write(f, "proc/self/mountinfo", "9 9 0:1 / /gone rw - cgroup2 x rw");
        assert_int_equal(cgroup2_open(&f->sys, &c), -ENOENT);
        fake_write(f, "proc/self/mountinfo", "");
        assert_int_equal(cgroup2_open(&f->sys, &c), -ENOENT);
        fake_remove(f, "proc/self/mountinfo");
        assert_int_equal(cgroup2_open(&f->sys, &c), -ENOENT);
        assert_int_equal(c.fd, -1);
}

static void test_find_failures(void **state)
{
        static const enum fake_op ops[] = {OP_OPENAT, OP_READ};
        struct fake *f = *state;

        for (size_t o = 0; o < ARRAY_SIZE(ops); o++)
                for (unsigned k = 1; k < 8; k++) {
                        struct cgroup2 c = CGROUP2_CLOSED;
                        int r;

                        f->fail_op = ops[o];
                        f->fail_at = f->calls[ops[o]] + k;
                        f->fail_value = -EACCES;
                        r = cgroup2_open(&f->sys, &c);
                        assert_true(r == 0 || r == -EACCES);
                        assert_int_equal(r == 0, c.fd >= 0);
                        cgroup2_close(&c);
                }
}

static void test_paths(void **state)
{
        struct fake *f = *state;
        struct cgroup2 c = CGROUP2_CLOSED;
        char longest[LIMIT_CGROUP_BYTES + 2];
        int fd;

        fake_write(f, "sys/fs/cgroup/a.slice/odd \x01\xff name/cgroup.procs", "");
        fake_write(f, "sys/fs/cgroup/a.slice/file", "");
        fake_write(f, "outside/cgroup.procs", "");
        assert_int_equal(cgroup2_open(&f->sys, &c), 0);
        fd = cgroup2_open_cgroup(&c, "/a.slice/odd \x01\xff name");
        assert_true(fd >= 0);
        close(fd);
        assert_int_equal(cgroup2_open_cgroup(&c, "/a.slice/gone (deleted)"), -ENOENT);
        assert_int_equal(cgroup2_open_cgroup(&c, "/a.slice/file"), -ENOTDIR);
        assert_int_equal(cgroup2_open_cgroup(&c, "/"), -EINVAL);
        assert_int_equal(cgroup2_open_cgroup(&c, ""), -EINVAL);
        assert_int_equal(cgroup2_open_cgroup(&c, "a.slice"), -EINVAL);
        assert_int_equal(cgroup2_open_cgroup(&c, "/../../outside"), -EINVAL);
        assert_int_equal(cgroup2_open_cgroup(&c, "/a.slice/.."), -EINVAL);
        assert_int_equal(cgroup2_open_cgroup(&c, "/a.slice/./x"), -EINVAL);
        assert_int_equal(cgroup2_open_cgroup(&c, "/a.slice//x"), -EINVAL);
        assert_int_equal(cgroup2_open_cgroup(&c, "/a.slice/"), -EINVAL);
        memset(longest, 'x', sizeof(longest));
        longest[0] = '/';
        longest[sizeof(longest) - 1] = '\0';
        assert_int_equal(cgroup2_open_cgroup(&c, longest), -EINVAL);
        c.device++;
        assert_int_equal(cgroup2_open_cgroup(&c, "/a.slice"), -EXDEV);
        cgroup2_close(&c);
}

/* What kernels answer to what probing writes. */
static const char *refused; /* text from which on it is EINVAL */
static int write_error;
static unsigned written;

static ssize_t fake_write_reclaim(const struct sys *sys, int fd, const void *buf, size_t size)
{
        written++;
        assert_int_equal(((const char *)buf)[0], '0'); /* nothing is ever reclaimed by probing */
        assert_true(size == 1 || ((const char *)buf)[1] == ' ');
        if (write_error)
                return -write_error;
        return refused && memmem(buf, size, refused, strlen(refused)) ? -EINVAL : (ssize_t)size;
}

static void test_features(void **state)
{
        struct fake *f = *state;
        struct features found;

        fake_write(f, "proc/meminfo",
                   "MemTotal: 4 kB\nMemFree: 1 kB\nMemAvailable: 1 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n");
        f->ops.write = fake_write_reclaim;
        assert_int_equal(features_probe(&f->sys, getuid(), getgid(), &found), 0);
        assert_true(found.cgroup2);
        assert_string_equal(found.why_cgroup2, "");
        assert_false(found.memory_reclaim); /* no such file */
        assert_non_null(strstr(found.why_memory_reclaim, "5.19"));
        assert_false(found.psi);
        assert_int_equal(written, 0);

        fake_write(f, "sys/fs/cgroup/memory.reclaim", "");
        fake_write(f, "proc/pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
        assert_int_equal(features_probe(&f->sys, getuid(), getgid(), &found), 0);
        assert_true(found.memory_reclaim && found.reclaim_swappiness && found.reclaim_anon_only && found.psi);
        assert_string_equal(found.why_memory_reclaim, "");
        refused = "max"; /* 6.12 */
        assert_int_equal(features_probe(&f->sys, getuid(), getgid(), &found), 0);
        assert_true(found.memory_reclaim && found.reclaim_swappiness && !found.reclaim_anon_only);
        refused = "swappiness"; /* 6.1 */
        assert_int_equal(features_probe(&f->sys, getuid(), getgid(), &found), 0);
        assert_true(found.memory_reclaim && !found.reclaim_swappiness && !found.reclaim_anon_only);
        refused = NULL;
        write_error = EROFS;
        assert_int_equal(features_probe(&f->sys, getuid(), getgid(), &found), 0);
        assert_true(found.cgroup2 && !found.memory_reclaim && !found.reclaim_swappiness && !found.reclaim_anon_only);
        assert_non_null(strstr(found.why_memory_reclaim, "writable"));
        write_error = 0;

        fake_write(f, "sys/fs/cgroup/cgroup.controllers", "pids\n");
        assert_int_equal(features_probe(&f->sys, getuid(), getgid(), &found), 0);
        assert_false(found.cgroup2 || found.memory_reclaim);
        assert_non_null(strstr(found.why_cgroup2, "memory controller"));
        fake_remove(f, "proc/self/mountinfo");
        assert_int_equal(features_probe(&f->sys, getuid(), getgid(), &found), 0);
        assert_false(found.cgroup2 || found.memory_reclaim);
        assert_non_null(strstr(found.why_cgroup2, "not mounted"));
        assert_true(strlen(found.why_memory_reclaim) > 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_mount_lines),
                        cmocka_unit_test_setup_teardown(test_find, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_find_failures, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_paths, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_features, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
