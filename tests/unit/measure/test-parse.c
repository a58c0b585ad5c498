/* SPDX-License-Identifier: MIT */
/* The readers of /proc against what the kernel writes, and what a hostile process makes it write. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fake.h"
#include "proc-parse.h"

#define REST                                                                                                           \
        " S 7 1 1 0 -1 4194304 1 0 9 0 30 12 0 0 20 -5 4 0 987654 1000 10 18446744073709551615 94 95 140 0 0 0 0 0 "   \
        "0\n"

static int stat_of(const char *text, struct proc_stat *s)
{
        return parse_proc_stat(text, strlen(text), s);
}

static void test_stat(void **state)
{
        static const char *const names[] = {"bash", "a) S 1 (b",  "",         ")",        "((",
                                            "x y",  "two\nlines", "\x1b[31m", "\xff\xfe)"};
        static const char *const bad[] = {"",
                                          "1",
                                          "1 (",
                                          "1 )(" REST,
                                          "x (a)" REST,
                                          "0 (a)" REST,
                                          "-1 (a)" REST,
                                          "1 (a)",
                                          "1 (a) ",
                                          "1 (a) S",
                                          "1 (a) S 1 2 3",
                                          "1(a)" REST,
                                          "99999999999 (a)" REST,
                                          "1 2 (a)" REST};
        struct proc_stat s;
        char text[512];

        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                snprintf(text, sizeof(text), "42 (%s)" REST, names[i]);
                assert_int_equal(stat_of(text, &s), 0);
                assert_string_equal(s.comm, names[i]);
                assert_int_equal(s.pid, 42);
                assert_int_equal(s.ppid, 7);
                assert_int_equal(s.state, 'S');
                assert_int_equal(s.cpu_ticks, 42);
                assert_int_equal(s.major_faults, 9);
                assert_int_equal(s.threads, 4);
                assert_int_equal(s.start_time, 987654);
                assert_int_equal(s.start_code, 94);
                assert_int_equal(s.end_code, 95);
                assert_int_equal(s.start_stack, 140);
                assert_false(s.kernel_thread);
        }
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                s.pid = -7;
                assert_int_equal(stat_of(bad[i], &s), -EBADMSG);
                assert_int_equal(s.pid, -7); /* untouched */
        }
        assert_int_equal(parse_proc_stat("1 (a\0b)" REST, sizeof("1 (a\0b)" REST) - 1, &s), -EBADMSG);
        /* every beginning of a good one */
        snprintf(text, sizeof(text), "42 (bash)" REST);
        for (size_t n = 0; n < strlen(text) - 30; n++)
                parse_proc_stat(text, n, &s);
        assert_int_equal(stat_of("2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 9 0 0 1 0 0 0 0", &s), 0);
        assert_true(s.kernel_thread);
}

static void test_statm(void **state)
{
        struct proc_statm s;

        assert_int_equal(parse_proc_statm("100 20 3 1 0 5 0\n", 17, &s), 0);
        assert_int_equal(s.size, 100);
        assert_int_equal(s.resident, 20);
        assert_int_equal(s.shared, 3);
        assert_int_equal(parse_proc_statm("100 20", 6, &s), -EBADMSG);
        assert_int_equal(parse_proc_statm("", 0, &s), -EBADMSG);
        assert_int_equal(parse_proc_statm("99999999999999999999999 1 1", 27, &s), -EBADMSG);
}

static void test_status(void **state)
{
        static const char forged[] = "Name:\tx\\nUid:\\t0\\t0\nUmask:\t0022\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n";
        uid_t uid = 99;
        gid_t gid = 99;

        assert_int_equal(parse_proc_status(forged, sizeof(forged) - 1, &uid, &gid), 0);
        assert_int_equal(uid, 2);
        assert_int_equal(gid, 6);
        assert_int_equal(parse_proc_status("Uid:\t1\t2\n", 9, &uid, &gid), -EBADMSG);
        assert_int_equal(parse_proc_status("Uid:\t1\nGid:\t1\t1\n", 16, &uid, &gid), -EBADMSG);
        assert_int_equal(parse_proc_status("Uid:\t1\t4294967296\nGid:\t1\t1\n", 27, &uid, &gid), -EBADMSG);
}

static void test_cgroup(void **state)
{
        static const struct {
                const char *text, *path;
        } cases[] = {
                        {"0::/a/b.service\n", "/a/b.service"},
                        {"0::/", "/"},
                        {"4:memory:/m\n1:name=systemd:/s\n0::/\n", "/s"},
                        {"4:cpu,memory:/m\n0::/\n", "/m"},
                        {"4:memory:/m\n1:name=systemd:/\n0::/u\n", "/u"},
                        {"4:memory:/m\n1:name=systemd:/\n", "/m"},
                        {"1:name=systemd:/x:y\n", "/x:y"},
                        {"3:memoryx:/m\n0::/\n", "/"},
                        {"0::/first\n0::/second\n", "/first"},
                        {"3:cpu:/c\n", NULL},
                        {"0:/a\n", NULL},
                        {"0::a\n", NULL},
                        {"", NULL},
        };
        char buf[64];

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                ssize_t n = parse_proc_cgroup(cases[i].text, strlen(cases[i].text), buf, sizeof(buf));

                if (cases[i].path) {
                        assert_int_equal(n, strlen(cases[i].path));
                        assert_string_equal(buf, cases[i].path);
                } else
                        assert_int_equal(n, -EBADMSG);
        }
        assert_int_equal(parse_proc_cgroup("0::/abcd\n", 9, buf, 5), -E2BIG);
        assert_int_equal(parse_proc_cgroup("0::/abcd\n", 9, buf, 6), 5);
}

static int maps_line(const char *line, struct walk_vma *v, const char **name, size_t *len)
{
        return parse_maps_line(line, strlen(line), v, name, len);
}

static void test_maps(void **state)
{
        static const char *const bad[] = {"",
                                          "1000",
                                          "1000-2000",
                                          "2000-1000 r--p 0 00:00 0",
                                          "1000-1000 r--p 0 00:00 0",
                                          "1000-2000 r-- 0 00:00 0",
                                          "1000-2000 r--x 0 00:00 0",
                                          "1000-2000 r--p 0 00:00",
                                          "1000-2000 r--p 0 0000 0",
                                          "1000-2000 r--p 0 00:00 0x",
                                          "g000-2000 r--p 0 0:0 0",
                                          "10000000000000000-2 r--p 0 00:00 0",
                                          "Rss:   12 kB"};
        struct walk_vma v;
        const char *name;
        size_t len;

        assert_int_equal(maps_line("7f00-8f000 rw-s 00001000 fe:01 332383                     /usr/lib/x (deleted)", &v,
                                   &name, &len),
                         0);
        assert_int_equal(v.start, 0x7f00);
        assert_int_equal(v.end, 0x8f000);
        assert_int_equal(v.offset, 0x1000);
        assert_int_equal(v.device, UINT64_C(0xfe) << 32 | 1);
        assert_int_equal(v.inode, 332383);
        assert_true(v.readable && v.writable && !v.executable && v.shared);
        assert_int_equal(len, strlen("/usr/lib/x (deleted)"));
        assert_memory_equal(name, "/usr/lib/x (deleted)", len);
        assert_int_equal(maps_line("1000-2000 ---p 00000000 00:00 0 ", &v, &name, &len), 0);
        assert_int_equal(len, 0);
        assert_int_equal(maps_line("1000-2000 ---p 00000000 00:00 0", &v, &name, &len), 0);
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                assert_int_equal(maps_line(bad[i], &v, &name, &len), -EBADMSG);
}

static void test_smaps(void **state)
{
        static const char *const lines[] = {"Rss:                  12 kB",
                                            "Pss:   3 kB",
                                            "Swap: 4 kB",
                                            "SwapPss: 1 kB",
                                            "Shared_Hugetlb: 8 kB",
                                            "Private_Hugetlb: 16 kB",
                                            "Pss_Anon: 1 kB",
                                            "Rss:",
                                            "Rss: 1",
                                            "Rss: 18446744073709551615 kB",
                                            ""};
        struct proc_smaps s = {};

        for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
                parse_smaps_line(lines[i], strlen(lines[i]), &s);
        assert_int_equal(s.rss, 12 * 1024);
        assert_int_equal(s.pss, 3 * 1024);
        assert_int_equal(s.swap, 4 * 1024);
        assert_int_equal(s.hugetlb, 24 * 1024);
        parse_smaps_line("Rss: 18014398509481983 kB", 25, &s);
        assert_true(s.rss == UINT64_MAX); /* sums stay at the top */
}

static void test_host(void **state)
{
        static const char text[] = "MemTotal:       1000 kB\nMemFree:  100 kB\nMemAvailable: 250 kB\nBuffers: 1 kB\n"
                                   "SwapTotal:  50 kB\nSwapFree:  20 kB\n";
        static const char swaps[] =
                        "Filename\tType\tSize\tUsed\tPriority\n/swapfile file 1 0 -2\n/dev/zram0 partition 1 0 5\n";
        struct host_memory m;

        assert_int_equal(parse_meminfo(text, sizeof(text) - 1, &m), 0);
        assert_int_equal(m.total, 1000 * 1024);
        assert_int_equal(m.free, 100 * 1024);
        assert_int_equal(m.available, 250 * 1024);
        assert_int_equal(m.swap_total, 50 * 1024);
        assert_int_equal(m.swap_free, 20 * 1024);
        assert_int_equal(m.used_basis_points, 7500);
        for (size_t n = 0; n < sizeof(text) - 2; n++)
                assert_int_equal(parse_meminfo(text, n, &m), -EBADMSG);
        assert_int_equal(parse_swaps(swaps, sizeof(swaps) - 1), 2);
        assert_int_equal(parse_swaps(swaps, 30), 0);
        assert_int_equal(parse_swaps("", 0), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_stat),   cmocka_unit_test(test_statm), cmocka_unit_test(test_status),
                        cmocka_unit_test(test_cgroup), cmocka_unit_test(test_maps),  cmocka_unit_test(test_smaps),
                        cmocka_unit_test(test_host),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
