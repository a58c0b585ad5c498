/* SPDX-License-Identifier: MIT */
/* The rules of DESIGN section 3 on page tables made by hand, on new and old kernels' spellings; and where the walk looks. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capd/limits.h"
#include "capd/measure/walk.h"
#include "fake.h"

#define BASE               UINT64_C(0x10000000) /* a multiple of 2 MiB */
#define ANON               RAW_PRESENT
#define PRIVATE            (RAW_PRESENT | RAW_EXCLUSIVE)
#define FILED              (RAW_PRESENT | RAW_FILE)
#define SLOT(type, offset) (RAW_SWAP | (uint64_t)(offset) << 5 | (type))

struct sums {
        uint64_t anon, file, shmem, exclusive, swapped, hugetlb, pages;
        uint64_t last; /* address after the last page seen */
};

static int walk_sums(struct fake *f, int pid, uint64_t seek, struct sums *s)
{
        _cleanup_(walk_context_freep) struct walk_context *c = NULL;
        _cleanup_(walk_closep) struct walk *w = NULL;
        struct walk_chunk chunk;
        int r;

        *s = (struct sums){};
        r = walk_context_new(&f->sys, &f->features, &c);
        if (r < 0)
                return r;
        r = walk_open(c, NULL, pid, 5, &w);
        if (r < 0)
                return r;
        if (seek)
                assert_int_equal(walk_seek(w, seek), 0);
        while ((r = walk_next(w, &chunk)) > 0) {
                assert_true(chunk.n > 0 && chunk.n <= LIMIT_PAGEMAP_STEP_PAGES);
                assert_true(chunk.address >= s->last && chunk.address >= seek);
                assert_true(chunk.address >= chunk.vma->start && chunk.address + chunk.n * FAKE_PAGE <= chunk.vma->end);
                s->last = chunk.address + chunk.n * FAKE_PAGE;
                for (size_t i = 0; i < chunk.n; i++) {
                        uint64_t p = chunk.pages[i], kinds = p & (PAGE_ANON | PAGE_FILE | PAGE_SHMEM);

                        if (p & PAGE_PRESENT) {
                                assert_int_equal(__builtin_popcountll(kinds), 1);
                                assert_false(p & (PAGE_SWAPPED | PAGE_HUGETLB));
                                s->pages++;
                        }
                        s->anon += p & PAGE_ANON ? 1 : 0;
                        s->file += p & PAGE_FILE ? 1 : 0;
                        s->shmem += p & PAGE_SHMEM ? 1 : 0;
                        s->exclusive += p & PAGE_EXCLUSIVE ? 1 : 0;
                        s->swapped += p & PAGE_SWAPPED ? 1 : 0;
                        s->hugetlb += p & PAGE_HUGETLB ? 1 : 0;
                }
        }
        return r < 0 ? r : walk_check(w);
}

static void one_mapping(struct fake *f, const char *rest, size_t pages)
{
        char maps[256];

        snprintf(maps, sizeof(maps), "%llx-%llx %s\n", (unsigned long long)BASE,
                 (unsigned long long)(BASE + pages * FAKE_PAGE), rest);
        fake_process(f, 9, 5, "x", maps, pages, pages);
}

static void check(struct fake *f, uint64_t anon, uint64_t file, uint64_t shmem, uint64_t swapped, uint64_t hugetlb)
{
        struct sums s;

        assert_int_equal(walk_sums(f, 9, 0, &s), 0);
        assert_int_equal(s.anon, anon);
        assert_int_equal(s.file, file);
        assert_int_equal(s.shmem, shmem);
        assert_int_equal(s.swapped, swapped);
        assert_int_equal(s.hugetlb, hugetlb);
        assert_int_equal(s.pages, anon + file + shmem);
}

static void test_anonymous(void **state)
{
        const uint64_t entries[] = {
                        PRIVATE | 100,
                        ANON | 101,
                        ANON | FAKE_ZERO_FRAME,
                        0,
                        SLOT(0, 7),
                        SLOT(22, 7),
                        SLOT(23, 7),
                        SLOT(31, 4),
                        SLOT(2, 9) | RAW_GUARD,
                        SLOT(30, 5) | RAW_FILE,
                        ANON | 101,
                        UINT64_C(1) << 55,
        };
        struct fake *f = *state;

        one_mapping(f, "rw-p 00000000 00:00 0", 32);
        fake_pages(f, 9, BASE, entries, ARRAY_SIZE(entries));
        check(f, 3, 0, 0, 2, 0);
        one_mapping(f, "rw-p 00000000 00:00 0                [heap]", 32);
        fake_pages(f, 9, BASE, entries, ARRAY_SIZE(entries));
        check(f, 3, 0, 0, 2, 0);
}

/* Frames in a row, with the zero page's or another kind of page at every place. */
static void test_long_blocks(void **state)
{
        struct fake *f = *state;
        uint64_t entries[200];

        for (size_t odd = 0; odd < 130; odd++)
                for (int what = 0; what < 4; what++) {
                        bool zero_in_row = what == 0;

                        for (size_t i = 0; i < ARRAY_SIZE(entries); i++)
                                entries[i] = ANON | ((zero_in_row ? FAKE_ZERO_FRAME - odd % 60 : 1000) + i);
                        if (what == 1)
                                entries[odd] = ANON | FAKE_ZERO_FRAME;
                        else if (what == 2)
                                entries[odd] |= RAW_FILE;
                        else if (what == 3)
                                entries[odd] = 0;
                        one_mapping(f, "rw-p 00000000 00:00 0", 256);
                        fake_pages(f, 9, BASE, entries, ARRAY_SIZE(entries));
                        check(f, 199, what == 2, 0, 0, 0);
                }
}

/* Runs of every length between the kinds, so that no block of pages looked at together hides one. */
static void test_blocks(void **state)
{
        struct fake *f = *state;
        uint64_t entries[64];

        for (size_t odd = 0; odd < 40; odd++) {
                for (size_t i = 0; i < ARRAY_SIZE(entries); i++)
                        entries[i] = PRIVATE | (1000 + i);
                entries[odd] = ANON | FAKE_ZERO_FRAME;
                entries[odd + 5] = 0;
                entries[odd + 11] = SLOT(1, odd);
                entries[odd + 20] = FILED | 5000;
                one_mapping(f, "rw-p 00000000 00:00 0", 64);
                fake_pages(f, 9, BASE, entries, ARRAY_SIZE(entries));
                check(f, 60, 1, 0, 1, 0);
        }
}

static void fill_huge(uint64_t *entries, uint64_t flags, uint64_t frame)
{
        for (uint64_t i = 0; i < 512; i++)
                entries[i] = flags | (frame + i);
}

static void test_huge_zero(void **state)
{
        struct fake *f = *state;
        uint64_t entries[3 * 512];

        for (int marked = 0; marked < 2; marked++) {
                fill_huge(entries, PRIVATE, 512 * 4);
                fill_huge(entries + 512, marked ? FILED : ANON, 512 * 8);
                fill_huge(entries + 1024, ANON, 512 * 12);
                for (uint64_t i = 0; i < 512; i++)
                        fake_frame(f, 512 * 8 + i, FLAG_ZERO | FLAG_THP, 0);
                fake_frame(f, 512 * 12, FLAG_ANON | FLAG_THP | FLAG_MMAP, 2);
                one_mapping(f, "rw-p 00000000 00:00 0", 4096);
                fake_pages(f, 9, BASE, entries, ARRAY_SIZE(entries));
                check(f, 1024, 0, 0, 0, 0);
        }
}

/* Before 6.11 a PMD mapping of a file or of shmem has no PM_FILE. */
static void test_huge_file(void **state)
{
        struct fake *f = *state;
        uint64_t entries[2 * 512];

        for (int shmem = 0; shmem < 2; shmem++) {
                for (uint64_t i = 0; i < 512; i++)
                        fake_frame(f, 512 * 4 + i, FLAG_THP | FLAG_MMAP | (shmem ? FLAG_SWAPBACKED : 0), 1);
                fill_huge(entries, PRIVATE, 512 * 4);
                fill_huge(entries + 512, ANON, 512 * 4);
                one_mapping(f, "rw-s 00000000 00:01 99 /dev/zero (deleted)", 1024);
                fake_pages(f, 9, BASE, entries, ARRAY_SIZE(entries));
                check(f, 0, shmem ? 0 : 1024, shmem ? 1024 : 0, 0, 0);
        }
}

static void test_objects(void **state)
{
        const uint64_t entries[] = {PRIVATE | 10, FILED | 11, FILED | RAW_EXCLUSIVE | 12, ANON | 13, ANON | 14,
                                    ANON | 15,    0};
        struct fake *f = *state;

        fake_frame(f, 10, FLAG_ANON | FLAG_MMAP | FLAG_SWAPBACKED, 1);
        fake_frame(f, 11, FLAG_MMAP, 3);
        fake_frame(f, 13, FLAG_ANON | FLAG_MMAP, 2);
        fake_frame(f, 14, UINT64_C(1) << 32, 0); /* reserved: a device's */
        one_mapping(f, "rw-p 00000000 fe:00 7 /some/file", 16);
        fake_pages(f, 9, BASE, entries, ARRAY_SIZE(entries));
        check(f, 2, 2, 0, 0, 0);
        fake_frame(f, 11, FLAG_MMAP | FLAG_SWAPBACKED, 3);
        check(f, 2, 0, 2, 0, 0);
        /* frames beyond the end of kpageflags are no memory the kernel manages */
        one_mapping(f, "rw-s 00000000 00:05 8 /dev/card", 16);
        fake_pages(f, 9, BASE, (uint64_t[]){ANON | (FAKE_FRAMES + 5)}, 1);
        check(f, 0, 0, 0, 0, 0);
        one_mapping(f, "r-xp 00000000 00:00 0 [vdso]", 16);
        fake_pages(f, 9, BASE, (uint64_t[]){FILED | 11, ANON | 14}, 2);
        fake_frame(f, 11, FLAG_MMAP | UINT64_C(1) << 32, 3);
        check(f, 0, 1, 0, 0, 0);
}

static void test_hugetlb(void **state)
{
        struct fake *f = *state;
        uint64_t entries[512];

        for (int shared = 0; shared < 2; shared++) {
                for (uint64_t i = 0; i < 512; i++)
                        fake_frame(f, 512 * 4 + i, FLAG_HUGE | FLAG_MMAP | FLAG_ANON, 1);
                fill_huge(entries, shared ? FILED | RAW_EXCLUSIVE : PRIVATE, 512 * 4);
                one_mapping(f, "rw-p 00000000 00:0f 12 /anon_hugepage (deleted)", 1024);
                fake_pages(f, 9, BASE, entries, 512);
                check(f, 0, 0, 0, 0, 512);
        }
}

/* walk_seek() and walk_read() judge huge pages by heads they do not hand out. */
static void test_seek_and_read(void **state)
{
        struct fake *f = *state;
        _cleanup_(walk_context_freep) struct walk_context *c = NULL;
        _cleanup_(walk_closep) struct walk *w = NULL;
        uint64_t entries[1024], pages[300];
        struct sums s;

        fill_huge(entries, ANON, 512 * 8);
        fill_huge(entries + 512, PRIVATE, 512 * 20);
        fake_frame(f, 512 * 8, FLAG_ZERO | FLAG_THP, 0);
        one_mapping(f, "rw-p 00000000 00:00 0", 1024);
        fake_pages(f, 9, BASE, entries, 1024);
        assert_int_equal(walk_sums(f, 9, BASE + 100 * FAKE_PAGE, &s), 0);
        assert_int_equal(s.anon, 512);
        assert_int_equal(walk_sums(f, 9, BASE + 612 * FAKE_PAGE, &s), 0);
        assert_int_equal(s.anon, 412);
        assert_int_equal(walk_sums(f, 9, BASE + 1024 * FAKE_PAGE, &s), 0);
        assert_int_equal(s.anon, 0);

        assert_int_equal(walk_context_new(&f->sys, &f->features, &c), 0);
        assert_int_equal(walk_open(c, NULL, 9, 5, &w), 0);
        assert_int_equal(walk_read(w, BASE + 400 * FAKE_PAGE, 300, pages), 0);
        for (size_t i = 0; i < 300; i++)
                assert_int_equal(!!(pages[i] & PAGE_PRESENT), i >= 112);
        assert_int_equal(walk_read(w, BASE - 10 * FAKE_PAGE, 20, pages), 0);
        assert_int_equal(pages[15], 0);
        assert_int_equal(walk_read(w, BASE + 1020 * FAKE_PAGE, 20, pages), 0);
        assert_true(pages[3] & PAGE_PRESENT);
        assert_int_equal(pages[4], 0);
        assert_int_equal(walk_read(w, BASE + 1, 2, pages), -EINVAL);
        assert_int_equal(walk_read(w, UINT64_MAX - 4095, 2, pages), -EINVAL);
}

static void test_identity(void **state)
{
        struct fake *f = *state;
        _cleanup_(walk_context_freep) struct walk_context *c = NULL;
        struct walk_chunk chunk;
        struct walk *w = NULL;

        one_mapping(f, "rw-p 00000000 00:00 0", 8192);
        fake_pages(f, 9, BASE, (uint64_t[]){PRIVATE | 1}, 1);
        assert_int_equal(walk_context_new(&f->sys, &f->features, &c), 0);
        assert_int_equal(walk_open(c, NULL, 9, 6, &w), -ESRCH);
        assert_int_equal(walk_open(c, NULL, 10, 5, &w), -ESRCH);
        assert_null(w);
        assert_int_equal(walk_open(c, NULL, 9, 5, &w), 0);
        assert_int_equal(walk_check(w), 0);
        fake_stat(f, 9, 5, "x", 'S', 123456); /* another program */
        assert_int_equal(walk_check(w), -ESRCH);
        fake_stat(f, 9, 6, "x", 'S', 9 * 4096); /* another process */
        assert_int_equal(walk_check(w), -ESRCH);
        fake_stat(f, 9, 5, "x", 'Z', 9 * 4096);
        assert_int_equal(walk_check(w), -ESRCH);
        fake_stat(f, 9, 5, "x", 'S', 9 * 4096);
        assert_int_equal(walk_check(w), 0);
        /* pagemap of an mm without users is empty */
        f->fail_op = OP_PREAD;
        f->fail_at = f->calls[OP_PREAD] + 1;
        f->fail_value = 0;
        assert_int_equal(walk_next(w, &chunk), -ESRCH);
        walk_close(w);
        /* a kernel thread or a zombie has no mappings */
        fake_write(f, "proc/9/maps", "");
        assert_int_equal(walk_open(c, NULL, 9, 5, &w), -ESRCH);
        fake_write(f, "proc/9/maps", "not a line of maps\n");
        assert_int_equal(walk_open(c, NULL, 9, 5, &w), -EBADMSG);
}

/* 16 TiB reserved: with PAGEMAP_SCAN, and without, where smaps says how many pages to look for. */
static void test_sparse(void **state)
{
        static const uint64_t places[][2] = {
                        {0, 1}, {UINT64_C(1) << 32, 0}, {UINT64_C(1) << 31, 0}, {(UINT64_C(1) << 32) / 3, 0}};
        const uint64_t pages = UINT64_C(1) << 32;
        struct fake *f = *state;
        uint64_t entries[512];
        char smaps[512];
        struct sums s;

        fill_huge(entries, PRIVATE, 512 * 9 + 3);
        for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
                uint64_t page = places[i][0] == pages ? pages - 512 : places[i][0];
                int r;

                for (int scan = 0; scan < 2; scan++) {
                        f->time_step = 20; /* a microsecond for each look would be quicker than any kernel */
                        f->features.pagemap_scan = scan;
                        snprintf(smaps, sizeof(smaps), "%llx-%llx rw-p 00000000 00:00 0\nRss: %d kB\nSwap: 0 kB\n",
                                 (unsigned long long)BASE, (unsigned long long)(BASE + pages * FAKE_PAGE), 512 * 4);
                        fake_process(f, 9, 5, "x", smaps, pages, 512);
                        if (scan)
                                fake_write(f, "proc/9/maps", strtok(smaps, "\n"));
                        fake_pages(f, 9, BASE + page * FAKE_PAGE, entries, 512);
                        f->calls[OP_PREAD] = 0;
                        r = walk_sums(f, 9, 0, &s);
                        /* two MiB at an odd place are beyond the means of an old kernel: said, not guessed */
                        if (!scan && i == 3) {
                                assert_int_equal(r, -ETIME);
                                continue;
                        }
                        assert_int_equal(r, 0);
                        assert_int_equal(s.anon, 512);
                        assert_true(f->calls[OP_PREAD] < 200);
                }
        }
}

/* Pages spread over a mapping small enough are all found without PAGEMAP_SCAN, and empty mappings are not read. */
static void test_sparse_spread(void **state)
{
        const uint64_t pages = UINT64_C(1) << 22; /* 16 GiB */
        struct fake *f = *state;
        char smaps[512];
        struct sums s;

        snprintf(smaps, sizeof(smaps),
                 "%llx-%llx rw-p 00000000 00:00 0\nRss: %d kB\nSwap: 8 kB\n7f0000000000-7fff00000000 rw-p 00000000 "
                 "00:00 0\nRss: 0 kB\n",
                 (unsigned long long)BASE, (unsigned long long)(BASE + pages * FAKE_PAGE), 20 * 4);
        fake_process(f, 9, 5, "x", smaps, pages * 100, 20);
        for (uint64_t i = 0; i < 20; i++)
                fake_pages(f, 9, BASE + (i * 1009 * 211 + 3) * FAKE_PAGE, (uint64_t[]){PRIVATE | (3000 + i)}, 1);
        fake_pages(f, 9, BASE + 77777 * FAKE_PAGE, (uint64_t[]){SLOT(1, 5)}, 1);
        assert_int_equal(walk_sums(f, 9, 0, &s), 0);
        assert_int_equal(s.anon, 20);
        assert_int_equal(s.swapped, 1);
}

static unsigned sleeps;

static void count_sleep(const struct sys *sys, usec_t usec)
{
        assert_in_range(usec, 1, 1000);
        sleeps++;
}

/* Walks 64 MiB, in calls that take 300 µs each: how many pauses there were. */
static unsigned pauses(struct fake *f, usec_t max_stall)
{
        _cleanup_(walk_context_freep) struct walk_context *c = NULL;
        _cleanup_(walk_closep) struct walk *w = NULL;
        struct walk_chunk chunk;

        assert_int_equal(walk_context_new(&f->sys, &f->features, &c), 0);
        if (max_stall > 0)
                walk_context_set_max_stall(c, max_stall);
        assert_int_equal(walk_open(c, NULL, 9, 5, &w), 0);
        sleeps = 0;
        while (walk_next(w, &chunk) > 0)
                ;
        return sleeps;
}

static void test_pauses(void **state)
{
        struct fake *f = *state;
        uint64_t entry = PRIVATE | 100;

        one_mapping(f, "rw-p 00000000 00:00 0", 16384);
        fake_pages(f, 9, BASE + 16383 * FAKE_PAGE, &entry, 1);
        f->ops.sleep = count_sleep;
        f->time_step = 300;
        /* the check of walk_open(), then 8 windows: after every 4 of them, of 2 and of 7 */
        assert_int_equal(pauses(f, 0), 2);
        assert_int_equal(pauses(f, 1200), 4);
        assert_int_equal(pauses(f, 4000), 1);
        assert_int_equal(pauses(f, 20000), 0);
        f->time_step = 1;
        assert_int_equal(pauses(f, 0), 0);
}

static void test_no_rights(void **state)
{
        struct fake *f = *state;
        struct sums s;

        one_mapping(f, "rw-p 00000000 00:00 0", 8);
        for (unsigned k = 1; k < 12; k++) {
                f->fail_op = OP_OPENAT;
                f->fail_at = f->calls[OP_OPENAT] + k;
                f->fail_value = -EACCES;
                if (walk_sums(f, 9, 0, &s) == 0)
                        break;
                assert_int_equal(s.pages, 0);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test_setup_teardown(test_anonymous, fake_setup, fake_teardown),
                        cmocka_unit_test_setup_teardown(test_blocks, fake_setup, fake_teardown),
                        cmocka_unit_test_setup_teardown(test_long_blocks, fake_setup, fake_teardown),
                        cmocka_unit_test_setup_teardown(test_huge_zero, fake_setup, fake_teardown),
                        cmocka_unit_test_setup_teardown(test_huge_file, fake_setup, fake_teardown),
                        cmocka_unit_test_setup_teardown(test_objects, fake_setup, fake_teardown),
                        cmocka_unit_test_setup_teardown(test_hugetlb, fake_setup, fake_teardown),
                        cmocka_unit_test_setup_teardown(test_seek_and_read, fake_setup, fake_teardown),
                        cmocka_unit_test_setup_teardown(test_identity, fake_setup, fake_teardown),
                        cmocka_unit_test_setup_teardown(test_sparse, fake_setup, fake_teardown),
                        cmocka_unit_test_setup_teardown(test_sparse_spread, fake_setup, fake_teardown),
                        cmocka_unit_test_setup_teardown(test_pauses, fake_setup, fake_teardown),
                        cmocka_unit_test_setup_teardown(test_no_rights, fake_setup, fake_teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
