/* SPDX-License-Identifier: MIT */
/* The words of capctl explain, from figures known by construction. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../../capd/ctl/ctl.h"

#define NOW (1000 * USEC_PER_SEC)

static char *explained(const struct wire_group *g)
{
        char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        struct wire_detail d = {.group = *g, .books = {.here = SIZE_UNKNOWN}};

        explain_text(f, &d, false, NOW);
        fclose(f);
        return text;
}

static struct wire_group family(void)
{
        struct wire_group g = {
                        .name = "family",
                        .description = "A parent and 100 children",
                        .state = STATE_OK,
                        .reason = "under its cap",
                        .action = "pageout",
                        .has_cap = true,
                        .cap = 400 * MIB,
                        .configured_cap = 400 * MIB,
                        .low_watermark = 380 * MIB,
                        .state_since = NOW - 90 * USEC_PER_SEC,
                        .sample = {.processes = 101,
                                   .address_spaces = 101,
                                   .quality = QUALITY_EXACT,
                                   .bounds_at = NOW,
                                   .counted_at = NOW - 2 * USEC_PER_SEC,
                                   .rss_sum = 10140 * MIB,
                                   .mapped = 10139 * MIB,
                                   .resident = 101 * MIB,
                                   .anon = 100 * MIB,
                                   .file = 1 * MIB,
                                   .have_private = true,
                                   .private_bytes = 100 * MIB,
                                   .shared_bytes = 1 * MIB,
                                   .pss_sum = SIZE_UNKNOWN},
                        .resident_before = SIZE_UNKNOWN,
                        .resident_after = SIZE_UNKNOWN,
        };

        return g;
}

static void test_family(void **state)
{
        struct wire_group g = family();
        char *text = explained(&g);

        assert_string_equal(text, "family (A parent and 100 children)\n"
                                  "101 processes, every page counted 2s ago\n"
                                  "\n"
                                  "       9.9G        10632560640  rss_sum: what adding up RES in top gives\n"
                                  " -       1M            1048576  changed while counting, or the kernel's error\n"
                                  " -     9.8G        10525605888  pages counted again, being mapped more than once\n"
                                  " =     101M          105906176  resident: each page once\n"
                                  "\n"
                                  "       100M          104857600  anon: memory of the programs' own\n"
                                  " +       1M            1048576  file: pages of files, programs and libraries\n"
                                  " +       0B                  0  shmem: shared memory and tmpfs\n"
                                  " =     101M          105906176  resident\n"
                                  "\n"
                                  "       100M          104857600  private: the host gets it back if the group ends\n"
                                  " +       1M            1048576  shared: mapped by others outside the group too\n"
                                  " =     101M          105906176  resident\n"
                                  "\n"
                                  "   beside it:\n"
                                  "         0B                  0  swap\n"
                                  "         0B                  0  hugetlb\n"
                                  "\n"
                                  "101 processes show 9.9G in top; they hold 101M, because each page is mapped\n"
                                  "100.4 times on average.\n"
                                  "\n"
                                  "state    ok for 1min 30s: under its cap\n"
                                  "cap      400M, 25% used; enforcement stops at 380M\n"
                                  "action   pageout\n"
                                  "acts     none yet\n");
        free(text);
}

static void test_empty(void **state)
{
        struct wire_group g = family();
        char *text;

        g.sample = (struct group_sample){.quality = QUALITY_EXACT, .counted_at = NOW, .pss_sum = SIZE_UNKNOWN};
        text = explained(&g);
        assert_string_equal(text, "family (A parent and 100 children)\n"
                                  "no processes\n"
                                  "\n"
                                  "state    ok for 1min 30s: under its cap\n"
                                  "cap      400M, 0% used; enforcement stops at 380M\n"
                                  "action   pageout\n"
                                  "acts     none yet\n");
        free(text);
}

/* resident rises, the RSS does not: only an unsharing does that. */
static void test_copied_on_write(void **state)
{
        struct wire_group g = family();
        char *text;

        g.reference_at = NOW - 120 * USEC_PER_SEC;
        g.reference_resident = 101 * MIB;
        g.reference_mapped = g.sample.mapped;
        g.sample.resident += 300 * MIB;
        g.sample.anon += 300 * MIB;
        text = explained(&g);
        assert_non_null(strstr(text, "In the last 2min resident rose by 300M while the sum of RSS did not change:\n"
                                     "pages stopped being shared"));
        free(text);
        /* and a group that just allocates is not accused of it */
        g.sample.mapped += 300 * MIB;
        text = explained(&g);
        assert_non_null(strstr(text, "resident rose by 300M while the sum of RSS rose by 300M:\n"
                                     "the group uses more memory."));
        assert_null(strstr(text, "stopped being shared"));
        free(text);
}

static void test_enforcement(void **state)
{
        struct wire_group g = family();
        char *text;

        g.state = STATE_UNENFORCEABLE;
        strcpy(g.reason, "no swap");
        g.temporary_cap = true;
        g.cap_until = NOW + 65 * USEC_PER_SEC;
        g.retry_at = NOW + 20 * USEC_PER_SEC;
        g.acts = 3;
        g.resident_before = 900 * MIB;
        g.resident_after = 500 * MIB;
        g.last_act = (struct act_result){.started = NOW - 6 * USEC_PER_SEC,
                                         .ended = NOW - 5 * USEC_PER_SEC,
                                         .attempted = 600 * MIB,
                                         .unmapped = 400 * MIB,
                                         .freed = 390 * MIB,
                                         .left_shared = 50 * MIB,
                                         .left_no_swap = 150 * MIB,
                                         .processes = 3,
                                         .stuck = 1};
        text = explained(&g);
        assert_non_null(strstr(text, "state    unenforceable for 1min 30s: no swap\n"));
        assert_non_null(strstr(text, "         temporary, for 1min 5s more; 400M is configured\n"));
        assert_non_null(strstr(text, "back-off not tried again for 20s; 'capctl enforce' tries at once\n"));
        assert_non_null(strstr(text,
                               "acts     3; the last 5s ago on 3 processes, 1 given up because it did not answer:\n"
                               "       600M          629145600  attempted"));
        assert_non_null(strstr(text, "   resident went from 900M to 500M\n"
                                     "what stayed, and why:\n"
                                     "        50M           52428800  shared: process_madvise(2) cannot"));
        assert_non_null(strstr(text, "add swap (swapon(8))"));
        assert_null(strstr(text, "locked"));
        free(text);
}

/* What is not known is not summed up. */
static void test_not_counted(void **state)
{
        struct wire_group g = family();
        char *text;

        g.sample = (struct group_sample){.processes = 5,
                                         .rss_sum = 70 * MIB,
                                         .quality = QUALITY_BOUND_UPPER,
                                         .bounds_at = NOW,
                                         .resident = 70 * MIB,
                                         .mapped = SIZE_UNKNOWN,
                                         .anon = SIZE_UNKNOWN};
        text = explained(&g);
        assert_non_null(strstr(text, "resident is at most that: there is no count to explain yet"));
        assert_null(strstr(text, " = "));
        free(text);
        g.sample = (struct group_sample){.rss_sum = SIZE_UNKNOWN, .resident = SIZE_UNKNOWN, .unread = 2};
        text = explained(&g);
        assert_non_null(strstr(text, "2 of them could not be read"));
        assert_non_null(strstr(text, "resident is not known"));
        assert_null(strstr(text, " = "));
        free(text);
}

static void test_estimated(void **state)
{
        struct wire_group g = family();
        char *text;

        g.sample.quality = QUALITY_ESTIMATE;
        g.sample.error_bytes = 16 * MIB;
        g.sample.sampled = 314;
        text = explained(&g);
        assert_non_null(strstr(text, ", estimated from a sample of 3.1 %, ± 16M (95 %), "));
        assert_null(strstr(text, "every page counted"));
        free(text);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_family),          cmocka_unit_test(test_empty),
                        cmocka_unit_test(test_copied_on_write), cmocka_unit_test(test_enforcement),
                        cmocka_unit_test(test_not_counted),     cmocka_unit_test(test_estimated),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
