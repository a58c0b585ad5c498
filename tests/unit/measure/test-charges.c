/* SPDX-License-Identifier: MIT */
/* charges.c against a host made of files: frames, the cgroups they are charged to, and a hierarchy to name them by. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capd/limits.h"
#include "capd/measure/charges.h"
#include "capd/measure/count.h"
#include "fake.h"

#define BASE UINT64_C(0x400000)
#define MAPS "400000-2400000 rw-p 00000000 00:00 0 \n"
#define HEAD (UINT64_C(1) << 15)
#define TAIL (UINT64_C(1) << 16)

static void charge(struct fake *f, uint64_t frame, uint64_t cgroup)
{
        char path[96];
        int fd;

        snprintf(path, sizeof(path), "%s/proc/kpagecgroup", f->path);
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_return_code(ftruncate(fd, FAKE_FRAMES * 8), errno);
        assert_int_equal(pwrite(fd, &cgroup, 8, (off_t)(frame * 8)), 8);
        close(fd);
}

/* A process with these frames, one page each. */
static void process_of(struct fake *f, const uint64_t *frames, size_t n)
{
        uint64_t entries[4096];

        assert_true(n <= sizeof(entries) / sizeof(entries[0]));
        for (size_t i = 0; i < n; i++)
                entries[i] = RAW_PRESENT | RAW_EXCLUSIVE | frames[i];
        fake_process(f, 10, 100, "x", MAPS, 8192, n);
        fake_pages(f, 10, BASE, entries, n);
}

static struct count *counted(struct fake *f, unsigned flags)
{
        struct count *c = NULL;
        const uint32_t group = 0;

        assert_int_equal(count_new(&f->sys, &f->features, flags, &c), 0);
        assert_int_equal(count_add_group(c), 0);
        assert_int_equal(count_add_process(c, 10, 100, 1, &group, 1), 0);
        assert_int_equal(count_run(c, NULL), 0);
        return c;
}

static uint64_t sum(const struct charges *c)
{
        uint64_t bytes = c->others + c->none;

        for (size_t i = 0; i < c->n; i++)
                bytes += c->items[i].bytes;
        return bytes;
}

static uint64_t of(const struct charges *c, uint64_t cgroup)
{
        for (size_t i = 0; i < c->n; i++)
                if (c->items[i].cgroup == cgroup)
                        return c->items[i].bytes / FAKE_PAGE;
        return 0;
}

static void test_partition(void **state)
{
        /* far apart, at the ends of chunks, and next to one another */
        const uint64_t frames[] = {100, 101, 102, 300, 4095, 4096, 70000, 70001, 70063, 70200, 500000};
        struct charges x = {0};
        struct group_sample s;
        struct count *c;
        struct fake f;

        fake_init(&f);
        process_of(&f, frames, ARRAY_SIZE(frames));
        for (size_t i = 0; i < 5; i++)
                charge(&f, frames[i], 11);
        for (size_t i = 5; i < 8; i++)
                charge(&f, frames[i], UINT64_C(0x100000017)); /* wider than 32 bits */
        charge(&f, 70063, 33);
        charge(&f, 70062, 99); /* nobody's of the group */
        c = counted(&f, COUNT_KEEP_FRAMES | COUNT_PRIVATE);
        assert_int_equal(charges_read(c, 0, NULL, &x), 0);
        assert_int_equal(x.error, 0);
        assert_int_equal(x.n, 3);
        assert_int_equal(x.items[0].cgroup, 11); /* the largest first */
        assert_int_equal(of(&x, 11), 5);
        assert_int_equal(of(&x, UINT64_C(0x100000017)), 3);
        assert_int_equal(of(&x, 33), 1);
        assert_int_equal(x.none, 2 * FAKE_PAGE);
        assert_int_equal(x.others, 0);
        count_group_result(c, 0, &s);
        assert_int_equal(sum(&x), s.resident);
        assert_null(x.items[0].path);
        charges_done(&x);
        count_free(c);
        fake_done(&f);
}

/* Before Linux 6.4 only the head of a huge page has a cgroup. */
static void test_tails(void **state)
{
        uint64_t frames[700];
        struct charges x = {0};
        struct count *c;
        struct fake f;

        fake_init(&f);
        /* a huge page of 512 of which the group maps all but its head, and one of 4 right behind another cgroup's of 4 */
        for (uint64_t i = 1; i < 512; i++)
                frames[i - 1] = 8192 + i;
        for (uint64_t i = 0; i < 8; i++)
                frames[511 + i] = 8192 + 512 + i;
        frames[519] = 9000; /* charged to nobody, and no tail */
        process_of(&f, frames, 520);
        for (uint64_t i = 0; i < 512; i++)
                fake_frame(&f, 8192 + i, FLAG_THP | (i ? TAIL : HEAD), 1);
        for (uint64_t i = 0; i < 8; i++)
                fake_frame(&f, 8704 + i, i % 4 ? TAIL : HEAD, 1);
        charge(&f, 8192, 11);
        charge(&f, 8704, 22);
        charge(&f, 8708, 33);
        c = counted(&f, COUNT_KEEP_FRAMES);
        assert_int_equal(charges_read(c, 0, NULL, &x), 0);
        assert_int_equal(of(&x, 11), 511);
        assert_int_equal(of(&x, 22), 4);
        assert_int_equal(of(&x, 33), 4);
        assert_int_equal(x.none, FAKE_PAGE);
        charges_done(&x);
        count_free(c);
        fake_done(&f);
}

static void test_limit(void **state)
{
        uint64_t *frames = calloc(LIMIT_CHARGED_CGROUPS + 6, sizeof(*frames));
        uint64_t *entries = calloc(LIMIT_CHARGED_CGROUPS + 6, sizeof(*entries));
        struct charges x = {0};
        struct count *c;
        struct fake f;
        char path[96];
        int fd;

        fake_init(&f);
        charge(&f, 1, 1);
        snprintf(path, sizeof(path), "%s/proc/kpagecgroup", f.path);
        fd = open(path, O_RDWR | O_CLOEXEC);
        for (size_t i = 0; i < LIMIT_CHARGED_CGROUPS + 6; i++) {
                entries[i] = RAW_PRESENT | RAW_EXCLUSIVE | (20000 + i);
                frames[i] = 1000 + i; /* a cgroup of its own each */
        }
        fake_process(&f, 10, 100, "x", MAPS, 8192, LIMIT_CHARGED_CGROUPS + 6);
        fake_pages(&f, 10, BASE, entries, LIMIT_CHARGED_CGROUPS + 6);
        assert_int_equal(pwrite(fd, frames, (LIMIT_CHARGED_CGROUPS + 6) * 8, 20000 * 8),
                         (LIMIT_CHARGED_CGROUPS + 6) * 8);
        close(fd);
        c = counted(&f, COUNT_KEEP_FRAMES);
        assert_int_equal(charges_read(c, 0, NULL, &x), 0);
        assert_int_equal(x.n, LIMIT_CHARGED_CGROUPS);
        assert_int_equal(x.others, 6 * FAKE_PAGE);
        assert_int_equal(sum(&x), (LIMIT_CHARGED_CGROUPS + 6) * FAKE_PAGE);
        charges_done(&x);
        count_free(c);
        fake_done(&f);
        free(frames);
        free(entries);
}

/* Each call of the reading fails in turn: the figure is unknown, never a part of it, and the count stands. */
static void test_failures(void **state)
{
        const uint64_t frames[] = {100, 4000, 9000};
        struct fake_guard guard;
        struct charges x = {0};
        struct count *c;
        struct fake f;

        fake_init(&f);
        process_of(&f, frames, ARRAY_SIZE(frames));
        c = counted(&f, COUNT_KEEP_FRAMES);
        assert_int_equal(charges_read(c, 0, NULL, &x), 0);
        assert_int_equal(x.error, -ENOENT); /* CONFIG_MEMCG=n */
        assert_int_equal(x.n, 0);
        charge(&f, 100, 5);
        f.fail_op = OP_PREAD;
        f.fail_value = -EIO;
        for (unsigned i = 1;; i++) {
                f.calls[OP_PREAD] = 0;
                f.fail_at = i;
                x = (struct charges){0};
                assert_int_equal(charges_read(c, 0, NULL, &x), 0);
                if (f.calls[OP_PREAD] < i)
                        break;
                assert_int_equal(x.error, -EIO);
                assert_null(x.items);
        }
        assert_int_equal(x.n, 1);
        charges_done(&x);
        f.fail_at = 0;
        fake_guard_init(&guard);
        guard.stop_at = 2;
        assert_int_equal(charges_read(c, 0, &guard.guard, &x), -ECANCELED);
        assert_null(x.items);
        count_free(c);
        /* frames that were not kept */
        c = counted(&f, 0);
        assert_int_equal(charges_read(c, 0, NULL, &x), 0);
        assert_int_equal(x.error, -ENODATA);
        charges_done(&x);
        count_free(c);
        fake_done(&f);
}

/* -- names -- */

static uint64_t inode_of(struct fake *f, const char *path)
{
        char full[256];
        struct stat st;

        snprintf(full, sizeof(full), "%s/%s", f->path, path);
        assert_return_code(stat(full, &st), errno);
        return st.st_ino;
}

static void hierarchy_new(struct fake *f, struct cgroup2 *ret)
{
        struct stat st;

        fake_write(f, "sys/fs/cgroup/system.slice/a.service/sub/cgroup.procs", "");
        fake_write(f, "sys/fs/cgroup/system.slice/b.service/cgroup.procs", "");
        fake_write(f, "sys/fs/cgroup/user.slice/cgroup.procs", "");
        *ret = CGROUP2_CLOSED;
        ret->sys = &f->sys;
        ret->fd = sys_open(&f->sys, "sys/fs/cgroup", O_RDONLY | O_DIRECTORY);
        assert_true(ret->fd >= 0);
        assert_return_code(fstat(ret->fd, &st), errno);
        ret->device = st.st_dev;
}

static void charges_of(struct fake *f, struct charges *ret)
{
        static const char *const cgroups[] = {"sys/fs/cgroup", "sys/fs/cgroup/system.slice/a.service/sub",
                                              "sys/fs/cgroup/system.slice/b.service"};

        *ret = (struct charges){.items = calloc(4, sizeof(struct charge)), .n = 4};
        for (size_t i = 0; i < ARRAY_SIZE(cgroups); i++)
                ret->items[i] = (struct charge){.cgroup = inode_of(f, cgroups[i]), .bytes = (4 - i) * FAKE_PAGE};
        ret->items[3] = (struct charge){.cgroup = UINT64_MAX - 1, .bytes = FAKE_PAGE}; /* gone */
}

static void test_names(void **state)
{
        struct cgroup2 h;
        struct charges x;
        struct fake f;

        fake_init(&f);
        hierarchy_new(&f, &h);
        charges_of(&f, &x);
        assert_int_equal(charges_find_paths(&x, &h, NULL), 0);
        assert_string_equal(x.items[0].path, "/");
        assert_string_equal(x.items[1].path, "/system.slice/a.service/sub");
        assert_string_equal(x.items[2].path, "/system.slice/b.service");
        assert_null(x.items[3].path);
        /* again, which finds nothing new and leaks nothing */
        assert_int_equal(charges_find_paths(&x, &h, NULL), 0);
        charges_done(&x);
        assert_int_equal(charges_find_paths(&x, &h, NULL), 0);
        cgroup2_close(&h);
        fake_done(&f);
}

static void test_names_failures(void **state)
{
        static const struct {
                enum fake_op op;
                int error, result;
        } cases[] = {
                        {OP_OPENAT, -ENOENT, 0}, /* gone meanwhile: nothing below it */
                        {OP_OPENAT, -EMFILE, -EMFILE}, {OP_GETDENTS, -EIO, -EIO},
                        {OP_GETDENTS, -EINTR, 0},      {OP_GETDENTS, -ENOENT, 0},
        };
        struct fake_guard guard;
        struct cgroup2 h;
        struct charges x;
        struct fake f;

        fake_init(&f);
        hierarchy_new(&f, &h);
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                for (unsigned at = 1;; at++) {
                        int r;

                        charges_of(&f, &x);
                        f.fail_op = cases[i].op;
                        f.fail_value = cases[i].error;
                        f.calls[cases[i].op] = 0;
                        f.fail_at = at;
                        r = charges_find_paths(&x, &h, NULL);
                        charges_done(&x);
                        if (f.calls[cases[i].op] < at) {
                                assert_int_equal(r, 0);
                                break;
                        }
                        assert_int_equal(r, cases[i].result);
                }
        f.fail_at = 0;
        charges_of(&f, &x);
        fake_guard_init(&guard);
        guard.stop_at = 2;
        assert_int_equal(charges_find_paths(&x, &h, &guard.guard), -ECANCELED);
        charges_done(&x);
        cgroup2_close(&h);
        fake_done(&f);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_partition), cmocka_unit_test(test_tails),
                        cmocka_unit_test(test_limit),     cmocka_unit_test(test_failures),
                        cmocka_unit_test(test_names),     cmocka_unit_test(test_names_failures),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
