/* SPDX-License-Identifier: MIT */
/* Probing where everything is missing, and where every call fails in turn. What the real kernel answers is for tests/system. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "fake.h"

static int setup(void **state)
{
        static struct fake f;

        fake_init(&f);
        fake_write(&f, "proc/meminfo",
                   "MemTotal: 4 kB\nMemFree: 1 kB\nMemAvailable: 1 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n");
        fake_write(&f, "sys/devices/system/cpu/online", "0-3,8\n");
        *state = &f;
        return 0;
}

static int teardown(void **state)
{
        fake_done(*state);
        return 0;
}

static void test_versions(void **state)
{
        static const struct {
                const char *release;
                unsigned major, minor;
                uint64_t pages;
                bool per_thread;
        } cases[] = {
                        {"5.10.0-1-amd64\n", 5, 10, 66 * 16, true},
                        {"6.1.0\n", 6, 1, 66 * 16, true},
                        {"6.2.0\n", 6, 2, 3 * 32 * 5, false},
                        {"6.15.9\n", 6, 15, 3 * 32 * 5, false},
                        {"6.16.0\n", 6, 16, 0, false},
                        {"7.0\n", 7, 0, 0, false},
                        {"odd\n", 0, 0, 3 * 32 * 5, false},
        };
        struct fake *f = *state;
        struct features found;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                fake_write(f, "proc/sys/kernel/osrelease", cases[i].release);
                assert_int_equal(features_probe(&f->sys, getuid(), getgid(), &found), 0);
                assert_int_equal(found.kernel_major, cases[i].major);
                assert_int_equal(found.kernel_minor, cases[i].minor);
                assert_int_equal(found.rss_error_pages, cases[i].pages);
                assert_int_equal(found.rss_error_per_thread, cases[i].per_thread);
                /* no /proc/self/pagemap here: nothing is claimed, and every lack has its line */
                assert_false(found.pagemap_frames);
                assert_true(strlen(found.why_frames) > 0);
                assert_false(found.swap);
                assert_false(found.ksm_active);
        }
        fake_write(f, "proc/swaps", "Filename Type Size Used Priority\n/swap file 1 1 1\n");
        fake_write(f, "sys/kernel/mm/ksm/run", "1\n");
        assert_int_equal(features_probe(&f->sys, getuid(), getgid(), &found), 0);
        assert_true(found.swap);
        assert_true(found.ksm_active);
}

/* A pagemap full of one entry, as a process without CAP_SYS_ADMIN sees it (frame 0), and with frames. */
static uint64_t every_entry;

static ssize_t same_entry(const struct sys *sys, int fd, void *buf, size_t size, uint64_t offset)
{
        memcpy(buf, &every_entry, MIN(size, sizeof(every_entry)));
        return (ssize_t)MIN(size, sizeof(every_entry));
}

static void test_hidden_frames(void **state)
{
        struct fake *f = *state;
        struct features found;

        fake_write(f, "proc/self/pagemap", "");
        f->ops.pread = same_entry;
        every_entry = RAW_PRESENT;
        assert_int_equal(features_probe(&f->sys, getuid(), getgid(), &found), 0);
        assert_false(found.pagemap_frames);
        assert_non_null(strstr(found.why_frames, "CAP_SYS_ADMIN"));
        assert_true(found.zero_frame == UINT64_MAX);
        every_entry = RAW_PRESENT | 55;
        assert_int_equal(features_probe(&f->sys, getuid(), getgid(), &found), 0);
        assert_true(found.pagemap_frames);
        assert_string_equal(found.why_frames, "");
        assert_true(found.zero_frame == UINT64_MAX); /* a page that was written is no zero page */
}

static void test_failures(void **state)
{
        static const ssize_t values[] = {-EACCES, -EPERM, -ENOMEM, -ENOSYS, -ENOTTY, -ENOENT, -EINTR};
        static const enum fake_op ops[] = {OP_OPENAT, OP_PREAD, OP_READ, OP_SCAN, OP_KCMP, OP_PIDFD, OP_MADVISE};
        struct fake *f = *state;

        fake_write(f, "proc/self/pagemap", "");
        for (size_t o = 0; o < ARRAY_SIZE(ops); o++)
                for (size_t v = 0; v < ARRAY_SIZE(values); v++)
                        for (unsigned k = 1; k < 14; k++) {
                                struct features found = {.page_size = 7};

                                f->fail_op = ops[o];
                                f->fail_at = f->calls[ops[o]] + k;
                                f->fail_value = values[v];
                                if (features_probe(&f->sys, getuid(), getgid(), &found) < 0) {
                                        assert_int_equal(found.page_size, 7);
                                        continue;
                                }
                                assert_false(found.pagemap_frames);
                                assert_true(found.kcmp == (found.why_kcmp[0] == '\0'));
                                assert_true(found.ptrace == (found.why_ptrace[0] == '\0'));
                                assert_true(found.process_madvise == (found.why_process_madvise[0] == '\0'));
                                assert_true(found.kpageflags == (found.why_kpageflags[0] == '\0'));
                                assert_true(found.kpagecount == (found.why_kpagecount[0] == '\0'));
                        }
}

static void test_no_proc(void **state)
{
        struct fake *f = *state;
        struct features found;

        fake_remove(f, "proc/meminfo");
        assert_int_equal(features_probe(&f->sys, getuid(), getgid(), &found), -ENOENT);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test_setup_teardown(test_versions, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_hidden_frames, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_no_proc, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
