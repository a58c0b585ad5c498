/* SPDX-License-Identifier: MIT */
/* What capctl explain says of cgroups, from figures known by construction. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../../capd/ctl/ctl.h"

static char *explained(const struct wire_detail *d)
{
        char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        explain_cgroups(f, d);
        fclose(f);
        if (!text)
                abort();
        return text;
}

static void assert_has(const char *text, const char *part)
{
        if (!strstr(text, part)) {
                print_message("missing \"%s\" in:\n%s", part, text);
                fail();
        }
}

static void assert_lacks(const char *text, const char *part)
{
        if (strstr(text, part)) {
                print_message("\"%s\" in:\n%s", part, text);
                fail();
        }
}

/* Each "=" line is the sum of the lines above it. Returns how many there were. */
static unsigned assert_sums(const char *text)
{
        __int128 sum = 0;
        unsigned n = 0;

        for (const char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
                char sign, size[32];
                uint64_t bytes;

                if (sscanf(line, " %c%31s %" SCNu64, &sign, size, &bytes) == 3 && strchr("+-=", sign)) {
                        if (sign == '=') {
                                assert_true(sum == (__int128)bytes);
                                sum = 0;
                                n++;
                        } else
                                sum += sign == '-' ? -(__int128)bytes : (__int128)bytes;
                } else if (sscanf(line, " %31s %" SCNu64, size, &bytes) == 2)
                        sum = bytes;
        }
        return n;
}

/* A service: 200 MiB that its processes share, 400 MiB that they read, 50 MiB that somebody else touched first. */
static struct wire_detail service(void)
{
        struct wire_detail d = {
                        .group = {.name = "web",
                                  .sample = {.quality = QUALITY_EXACT, .resident = 256 * MIB},
                                  .cgroups = {.at = 1,
                                              .owned = 1,
                                              .members_inside = 21,
                                              .current = 617 * MIB,
                                              .swap = 0,
                                              .anon = 204 * MIB,
                                              .file = 402 * MIB,
                                              .file_mapped = 2 * MIB,
                                              .shmem = 0,
                                              .kernel = 10 * MIB,
                                              .unmapped_cache = 400 * MIB,
                                              .swap_cache = 0,
                                              .sockets = 0}},
                        .books = {.here = 205 * MIB,
                                  .elsewhere = 50 * MIB + 4096,
                                  .nowhere = MIB - 4096,
                                  .n_charges = 2,
                                  .charges = {{"/system.slice/first.service", 50 * MIB}, {"/init.scope", 4096}},
                                  .own = "/system.slice/web.service"},
        };

        return d;
}

static void test_service(void **state)
{
        struct wire_detail d = service();
        char *text = explained(&d);

        assert_int_equal(assert_sums(text), 2);
        assert_has(text, "its own cgroup /system.slice/web.service\n");
        assert_has(text, "52428800  /system.slice/first.service\n");
        assert_has(text, "4096  /init.scope\n");
        assert_has(text, "no cgroup\n");
        assert_has(text, " =     256M          268435456  resident\n");
        assert_has(text, "1048576  mapped, but not by the group\n");
        assert_has(text, "419430400  page cache that nobody maps\n");
        assert_has(text, "10485760  kernel memory");
        assert_has(text, " +       1M            1048576  the rest:");
        assert_has(text, " =     617M          646971392  cgroup_current: memory.current\n");
        assert_lacks(text, "swap cache");
        assert_lacks(text, "network buffers");
        assert_has(text, "memory.current says 617M, capd 256M. They differ because\n");
        assert_has(text, "400M of page cache is charged there which no process maps");
        assert_has(text, "10M of kernel memory is charged there");
        assert_has(text, "50M of what the group maps is charged to others");
        assert_has(text, "most of it to /system.slice/first.service");
        assert_has(text, "205M, is in both");
        /* 1 MiB of 617 does not matter */
        assert_lacks(text, "outside of the group alone");
        assert_lacks(text, "to no cgroup;");
        free(text);
}

static void test_swap_cache_and_sockets(void **state)
{
        struct wire_detail d = service();
        char *text;

        d.group.cgroups.swap_cache = 70 * MIB;
        d.group.cgroups.sockets = 8 * MIB;
        /* the counters were read later than memory.current: more than it says */
        text = explained(&d);
        assert_int_equal(assert_sums(text), 2);
        assert_has(text, "swap cache that nobody maps");
        assert_has(text, "network buffers");
        assert_has(text, " -      77M");
        assert_has(text, "70M was paged out and is kept");
        assert_has(text, "8M of network buffers");
        free(text);
        /* what a kernel does not tell is not shown as nothing */
        d.group.cgroups.swap_cache = d.group.cgroups.sockets = SIZE_UNKNOWN;
        text = explained(&d);
        assert_int_equal(assert_sums(text), 2);
        assert_lacks(text, "swap cache that");
        assert_lacks(text, "network");
        free(text);
}

static void test_agreement(void **state)
{
        struct wire_detail d = service();
        char *text;

        d.group.sample.resident = 206 * MIB;
        d.books = (struct wire_books){.here = 206 * MIB, .own = "/x"};
        d.group.cgroups.current = 206 * MIB + 8192;
        d.group.cgroups.anon = 206 * MIB;
        d.group.cgroups.file = d.group.cgroups.file_mapped = d.group.cgroups.kernel = 0;
        text = explained(&d);
        assert_int_equal(assert_sums(text), 2);
        assert_has(text, "memory.current says 206M, capd 206M. They agree.\n");
        assert_lacks(text, "no cgroup\n");
        free(text);
}

static void test_several_cgroups(void **state)
{
        struct wire_detail d = service();
        char *text;

        d.group.cgroups.owned = 3;
        d.books.elsewhere += 7 * 4096;
        d.books.nowhere -= 7 * 4096;
        d.books.more = 7 * 4096;
        d.books.n_more = 5;
        text = explained(&d);
        assert_int_equal(assert_sums(text), 2);
        assert_has(text, "its 3 own cgroups, among them /system.slice/web.service\n");
        assert_has(text, "28672  5 more cgroups\n");
        free(text);
}

static void test_owns_none(void **state)
{
        struct wire_detail d = service();
        char *text;

        d.group.cgroups = (struct group_cgroups){.current = SIZE_UNKNOWN};
        d.books.here = 0;
        d.books.charges[0].bytes = 255 * MIB - 4096;
        d.books.elsewhere = 255 * MIB;
        d.books.nowhere = MIB;
        strcpy(d.books.note, "no cgroup is the group's alone");
        d.books.charges[1].path[0] = '\0';
        text = explained(&d);
        assert_int_equal(assert_sums(text), 1);
        assert_lacks(text, "its own");
        assert_lacks(text, "memory.current");
        assert_has(text, "a cgroup that has no name here\n");
        assert_has(text, "cgroups: no cgroup is the group's alone.\n");
        free(text);
}

/* Figures that do not belong together, or are not known, make no sum. */
static void test_unknown(void **state)
{
        struct wire_detail d = service();
        char *text;

        d.books = (struct wire_books){.here = SIZE_UNKNOWN, .elsewhere = SIZE_UNKNOWN, .nowhere = SIZE_UNKNOWN};
        strcpy(d.books.note, "no such file");
        text = explained(&d);
        assert_string_equal(text, "\ncgroups: no such file.\n");
        free(text);
        d = service();
        d.group.sample.resident += 4096;
        text = explained(&d);
        assert_string_equal(text, "");
        free(text);
        d = service();
        d.group.cgroups.current = SIZE_UNKNOWN;
        text = explained(&d);
        assert_int_equal(assert_sums(text), 1);
        assert_lacks(text, "memory.current");
        free(text);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_service),   cmocka_unit_test(test_swap_cache_and_sockets),
                        cmocka_unit_test(test_agreement), cmocka_unit_test(test_several_cgroups),
                        cmocka_unit_test(test_owns_none), cmocka_unit_test(test_unknown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
