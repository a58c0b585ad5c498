/* SPDX-License-Identifier: MIT */
/*
 * Estimates: over hosts whose truth is known, in shapes that programs have, the true figure must lie within the interval that the
 * estimate states, in 90 of 100 estimates and more; and where it cannot, that is known and said here. The seeds are fixed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capd/measure/count.h"
#include "estimate.h"
#include "fake.h"
#include "sampling.h"

#define RUNS          100U
#define MAX_PAGES     (1U << 22)
#define MAX_PROCESSES 64U
#define HEAP          UINT64_C(0x555500000000)
#define MAPPED        UINT64_C(0x7f0000000000)
#define ONE_MIB       256U /* pages */

static struct fake fake;
static uint64_t rng, next_frame, next_seed;
static unsigned char *is_held;       /* by frame */
static uint64_t anon_held, obj_held; /* distinct */
static unsigned n_processes;

/* The process being made. */
static char maps[65536];
static uint64_t anon_rss, obj_rss;
static uint64_t entries[MAX_PAGES / 4];

static uint64_t draw(uint64_t below)
{
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return rng % below;
}

static ssize_t fixed_random(const struct sys *sys, void *buf, size_t size)
{
        next_seed = next_seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        memcpy(buf, &next_seed, MIN(size, sizeof(next_seed)));
        return (ssize_t)size;
}

static int setup(void **state)
{
        fake_init(&fake);
        fake.ops.getrandom = fixed_random;
        rng = 88172645463325252;
        next_frame = 1000;
        next_seed = 7;
        is_held = calloc(MAX_PAGES, 1);
        anon_held = obj_held = 0;
        n_processes = 0;
        return 0;
}

static int teardown(void **state)
{
        fake_done(&fake);
        free(is_held);
        return 0;
}

/* -- making processes -- */

static uint64_t new_frame(void)
{
        assert_true(next_frame < MAX_PAGES);
        return next_frame++;
}

static void hold(uint64_t frame, bool anon)
{
        if (!is_held[frame])
                *(anon ? &anon_held : &obj_held) += 1;
        is_held[frame] = 1;
        *(anon ? &anon_rss : &obj_rss) += 1;
}

static void begin(void)
{
        maps[0] = '\0';
        anon_rss = obj_rss = 0;
        assert_true(n_processes < MAX_PROCESSES);
        fake_process(&fake, 100 + (int)n_processes, 5, "x", "", 2000000, 1000000);
}

/* Frames of a mapping, 0 for none; `anon` says of each whether it is a page of the process's own, NULL: all are. */
static void map(uint64_t start, uint64_t pages, const uint64_t *frames, const bool *anon, bool shared, uint64_t inode,
                uint64_t offset)
{
        size_t used = strlen(maps);

        for (uint64_t i = 0; i < pages; i++) {
                bool own = anon ? anon[i] : true;

                entries[i] = 0;
                if (frames[i] == 0)
                        continue;
                hold(frames[i], own);
                entries[i] = RAW_PRESENT | frames[i] | (own ? RAW_EXCLUSIVE : RAW_FILE);
        }
        snprintf(maps + used, sizeof(maps) - used, "%llx-%llx rw-%c %08llx 00:%02x %llu\n", (unsigned long long)start,
                 (unsigned long long)(start + pages * FAKE_PAGE), shared ? 's' : 'p',
                 (unsigned long long)(offset * FAKE_PAGE), inode != 0, (unsigned long long)inode);
        assert_true(strlen(maps) < sizeof(maps) - 1);
        fake_pages(&fake, 100 + (int)n_processes, start, entries, pages);
}

static void end(void)
{
        char path[64], text[128];

        snprintf(path, sizeof(path), "proc/%u/maps", 100 + n_processes);
        fake_write(&fake, path, maps);
        snprintf(path, sizeof(path), "proc/%u/statm", 100 + n_processes);
        snprintf(text, sizeof(text), "2000000 %llu %llu 1 0 1 0\n", (unsigned long long)(anon_rss + obj_rss),
                 (unsigned long long)obj_rss);
        fake_write(&fake, path, text);
        n_processes++;
}

static uint64_t *fill(uint64_t pages)
{
        uint64_t *frames = calloc(pages, sizeof(*frames));

        for (uint64_t i = 0; i < pages; i++)
                frames[i] = new_frame();
        return frames;
}

static uint64_t *copy(const uint64_t *frames, uint64_t pages)
{
        uint64_t *c = calloc(pages, sizeof(*c));

        memcpy(c, frames, pages * sizeof(*c));
        return c;
}

/* -- shapes -- */

static void one_private(void)
{
        uint64_t *frames = fill(400 * ONE_MIB);

        begin();
        map(HEAP + 77 * FAKE_PAGE, 400 * ONE_MIB, frames, NULL, false, 0, 0);
        end();
        free(frames);
}

/* A parent and children; each page of a child is its own with a chance of `percent`, in runs of `run` pages. */
static void family(unsigned children, uint64_t pages, unsigned percent, uint64_t run)
{
        uint64_t *frames = fill(pages);

        for (unsigned c = 0; c <= children; c++) {
                uint64_t *own = copy(frames, pages);

                for (uint64_t i = 0; c > 0 && i < pages; i += run)
                        if (draw(100) < percent)
                                for (uint64_t k = i; k < MIN(i + run, pages); k++)
                                        own[k] = new_frame();
                begin();
                map(HEAP, pages, own, NULL, false, 0, 0);
                end();
                free(own);
        }
        free(frames);
}

static void family_shared(void)
{
        family(15, 100 * ONE_MIB, 0, 1);
}

static void family_random_copies(void)
{
        family(10, 100 * ONE_MIB, 50, 1);
}

static void family_copied_in_runs(void)
{
        family(10, 100 * ONE_MIB, 20, 700);
}

/* The children have copied the first half. */
static void family_half(void)
{
        uint64_t pages = 100 * ONE_MIB, *frames = fill(pages);

        for (unsigned c = 0; c <= 10; c++) {
                uint64_t *own = copy(frames, pages);

                for (uint64_t i = 0; c > 0 && i < pages / 2; i++)
                        own[i] = new_frame();
                begin();
                map(HEAP, pages, own, NULL, false, 0, 0);
                end();
                free(own);
        }
        free(frames);
}

/* Shared with the parent, and as much of one's own elsewhere. */
static void family_and_private(void)
{
        uint64_t pages = 120 * ONE_MIB, *frames = fill(pages);

        for (unsigned c = 0; c < 5; c++) {
                uint64_t *own = fill(pages);

                begin();
                map(HEAP, pages, frames, NULL, false, 0, 0);
                map(MAPPED + draw(1 << 20) * FAKE_PAGE, pages, own, NULL, false, 0, 0);
                end();
                free(own);
        }
        free(frames);
}

/* A segment at another address in each, of which each has touched a part, and a heap. */
static void segment(void)
{
        uint64_t pages = 256 * ONE_MIB, *frames = fill(pages);
        bool *anon = calloc(pages, sizeof(*anon));

        for (unsigned c = 0; c < 12; c++) {
                uint64_t *seen = copy(frames, pages), *own = fill(5 * ONE_MIB);

                for (uint64_t i = 0; i < pages; i += 512)
                        if (draw(3) == 0)
                                memset(seen + i, 0, 512 * sizeof(*seen));
                begin();
                map(HEAP + draw(1 << 20) * FAKE_PAGE, 5 * ONE_MIB, own, NULL, false, 0, 0);
                map(MAPPED + draw(1 << 20) * FAKE_PAGE, pages, seen, anon, true, 4711, 0);
                end();
                free(seen);
                free(own);
        }
        free(frames);
        free(anon);
}

/* Files of several sizes, mapped privately by parts of the processes, at any address. */
static void files(void)
{
        static const uint64_t sizes[] = {40, 200, 700, 3000, 20000, 60000};
        uint64_t *frames[ARRAY_SIZE(sizes)];
        bool *anon = calloc(60000, sizeof(*anon));

        for (size_t f = 0; f < ARRAY_SIZE(sizes); f++)
                frames[f] = fill(sizes[f]);
        for (unsigned c = 0; c < 20; c++) {
                uint64_t at = MAPPED + draw(1 << 20) * FAKE_PAGE, *own = fill(2000);

                begin();
                map(HEAP + draw(1 << 20) * FAKE_PAGE, 2000, own, NULL, false, 0, 0);
                for (size_t f = 0; f < ARRAY_SIZE(sizes); f++)
                        if (draw(2) == 0) {
                                map(at, sizes[f], frames[f], anon, false, 100 + f, 0);
                                at += (sizes[f] + 1 + draw(100)) * FAKE_PAGE;
                        }
                end();
                free(own);
        }
        for (size_t f = 0; f < ARRAY_SIZE(sizes); f++)
                free(frames[f]);
        free(anon);
}

/* Programs with libraries: text that all share, variables that each has copied, and many small mappings. */
static void small_mappings(void)
{
        uint64_t *text[30];
        bool *anon = calloc(600, sizeof(*anon));

        for (unsigned l = 0; l < 30; l++)
                text[l] = fill(600);
        for (unsigned c = 0; c < 60; c++) {
                uint64_t at = MAPPED + draw(1 << 20) * FAKE_PAGE;

                begin();
                for (unsigned l = 0; l < 30; l++) {
                        uint64_t *data = fill(10), *heap = fill(60), pages = 1 + draw(60);

                        map(at, 20 + 10 * l, text[l], anon, false, 100 + l, 0);
                        at += (20 + 10 * l) * FAKE_PAGE;
                        map(at, 10, data, NULL, false, 100 + l, 20 + 10 * l);
                        at += (10 + 50) * FAKE_PAGE;
                        map(at, pages, heap, NULL, false, 0, 0);
                        at += (pages + draw(300)) * FAKE_PAGE;
                        free(data);
                        free(heap);
                }
                end();
        }
        for (unsigned l = 0; l < 30; l++)
                free(text[l]);
        free(anon);
}

/* Every tenth page of a mapping, anywhere. */
static void scattered(void)
{
        for (unsigned c = 0; c < 4; c++) {
                uint64_t pages = 400 * ONE_MIB, *frames = calloc(pages, sizeof(*frames));

                for (uint64_t i = 0; i < pages; i++)
                        if (draw(10) == 0)
                                frames[i] = new_frame();
                begin();
                map(HEAP + draw(1 << 20) * FAKE_PAGE, pages, frames, NULL, false, 0, 0);
                end();
                free(frames);
        }
}

/* Runs of any length with holes of any length between them, shared with a sibling or not. */
static void runs_and_holes(void)
{
        uint64_t pages = 300 * ONE_MIB, *a = calloc(pages, sizeof(*a)), *b = calloc(pages, sizeof(*b));

        for (uint64_t i = 0; i < pages; i += 1 + draw(3000)) {
                uint64_t stop = MIN(i + 1 + draw(4000), pages);
                unsigned what = (unsigned)draw(4);

                for (; i < stop; i++) {
                        a[i] = what & 1 ? new_frame() : 0;
                        b[i] = what == 3 ? a[i] : what == 2 ? new_frame() : 0;
                }
        }
        begin();
        map(HEAP, pages, a, NULL, false, 0, 0);
        end();
        begin();
        map(HEAP, pages, b, NULL, false, 0, 0);
        end();
        free(a);
        free(b);
}

static void mixed(void)
{
        family(4, 60 * ONE_MIB, 10, 50);
        segment();
        files();
}

/* -- shapes that it is wrong about -- */

/* What a child inherited was moved to another address there (mremap()): nothing tells that it is the same. */
static void moved(void)
{
        uint64_t pages = 200 * ONE_MIB, *frames = fill(pages);

        begin();
        map(HEAP, pages, frames, NULL, false, 0, 0);
        end();
        begin();
        map(MAPPED, pages, frames, NULL, false, 0, 0);
        end();
        free(frames);
}

/* Pages of the same content, merged by KSM wherever they are. */
static void merged(void)
{
        uint64_t pages = 100 * ONE_MIB, *few = fill(1000), *frames = calloc(pages, sizeof(*frames));

        for (unsigned c = 0; c < 4; c++) {
                for (uint64_t i = 0; i < pages; i++)
                        frames[i] = few[draw(1000)];
                begin();
                map(HEAP + draw(1 << 20) * FAKE_PAGE, pages, frames, NULL, false, 0, 0);
                end();
        }
        free(few);
        free(frames);
}

/* -- estimating -- */

static struct group_sample estimate(uint32_t one_in)
{
        _cleanup_(count_freep) struct count *c = NULL;
        const uint32_t group = 0;
        struct group_sample s = {};

        assert_int_equal(count_new(&fake.sys, &fake.features, 0, &c), 0);
        if (one_in > 0)
                assert_int_equal(count_set_sample(c, one_in), 0);
        assert_int_equal(count_add_group(c), 0);
        for (unsigned i = 0; i < n_processes; i++)
                assert_true(count_add_process(c, 100 + (int)i, 5, 1 + i, &group, 1) >= 0);
        assert_int_equal(count_run(c, NULL), 0);
        count_group_result(c, 0, &s);
        return s;
}

static uint64_t distance(uint64_t a, uint64_t b)
{
        return a > b ? a - b : b - a;
}

struct shape {
        const char *name;
        void (*make)(void);
        double error; /* at most this part of the truth, on average */
};

static void check_plausible(const struct group_sample *s)
{
        assert_int_equal(s->quality, QUALITY_ESTIMATE);
        assert_true(s->anon + s->file + s->shmem == s->resident);
        assert_true(s->resident <= s->mapped);
        assert_true(s->exclusive <= s->resident && s->exclusive_anon <= s->exclusive);
        assert_true(s->error_bytes <= s->mapped);
        assert_true(s->sampled > 0 && s->sampled < 10000);
}

static void test_shape(void **state)
{
        const struct shape *shape = *state;
        struct group_sample exact;
        double sum = 0, error = 0;
        unsigned inside = 0;
        uint64_t truth;

        setup(NULL);
        shape->make();
        truth = (anon_held + obj_held) * FAKE_PAGE;
        exact = estimate(0);
        assert_int_equal(exact.quality, QUALITY_EXACT);
        assert_int_equal(exact.resident, truth);
        for (unsigned i = 0; i < RUNS; i++) {
                struct group_sample s = estimate(32);

                check_plausible(&s);
                assert_int_equal(s.mapped, exact.mapped);
                inside += distance(s.resident, truth) <= s.error_bytes;
                sum += (double)s.resident - (double)truth;
                error += (double)s.error_bytes;
        }
        print_message("%-24s %7.1f MiB, mean of the estimates %+5.1f%%, mean error %5.1f%%, %u of %u inside\n",
                      shape->name, (double)truth / MIB, sum / RUNS / (double)truth * 100,
                      error / RUNS / (double)truth * 100, inside, RUNS);
        assert_true(inside >= RUNS * 90 / 100);
        assert_true(error / RUNS <= shape->error * (double)truth);
        teardown(NULL);
}

static void test_what_breaks_it(void **state)
{
        static void (*const make[])(void) = {moved, merged};

        for (size_t i = 0; i < ARRAY_SIZE(make); i++) {
                struct group_sample s, exact;

                setup(NULL);
                make[i]();
                exact = estimate(0);
                s = estimate(32);
                check_plausible(&s);
                /* always too high, as if nothing were shared, and certain of it */
                assert_true(s.resident - s.error_bytes > exact.resident);
                teardown(NULL);
        }
}

/* Every other 2 MiB are the huge zero page, which no process has in its RSS; chunks begin in the middle of it. */
static void test_huge_zero_page(void **state)
{
        const uint64_t zero = 1024, blocks = 100;
        struct group_sample exact, s;

        setup(NULL);
        next_frame = 4096;
        fake_frame(&fake, zero, FLAG_ZERO, 0);
        begin();
        snprintf(maps, sizeof(maps), "%llx-%llx rw-p 00000000 00:00 0\n", (unsigned long long)HEAP,
                 (unsigned long long)(HEAP + blocks * 512 * FAKE_PAGE));
        for (uint64_t b = 0; b < blocks; b++) {
                for (uint64_t i = 0; i < 512; i++)
                        entries[i] = RAW_PRESENT | (b % 2 ? zero + i : new_frame() | RAW_EXCLUSIVE);
                fake_pages(&fake, 100, HEAP + b * 512 * FAKE_PAGE, entries, 512);
        }
        anon_rss = blocks / 2 * 512;
        end();
        exact = estimate(0);
        assert_int_equal(exact.resident, blocks / 2 * 512 * FAKE_PAGE);
        for (unsigned i = 0; i < 20; i++) {
                s = estimate(32);
                assert_int_equal(s.quality, QUALITY_ESTIMATE);
                assert_true(distance(s.resident, exact.resident) <= s.error_bytes);
        }
        teardown(NULL);
}

static ssize_t no_random(const struct sys *sys, void *buf, size_t size)
{
        return -ENOSYS;
}

static void test_refusals(void **state)
{
        struct count *c = NULL;

        setup(NULL);
        assert_int_equal(count_new(&fake.sys, &fake.features, COUNT_PRIVATE, &c), 0);
        assert_int_equal(count_set_sample(c, 32), -EINVAL);
        count_free(c);
        assert_int_equal(count_new(&fake.sys, &fake.features, 0, &c), 0);
        assert_int_equal(count_set_sample(c, 0), -EINVAL);
        fake.ops.getrandom = no_random;
        assert_int_equal(count_set_sample(c, 32), -ENOSYS);
        count_free(c);
        assert_int_equal(count_sample_rate(0), 32);
        assert_int_equal(count_sample_rate(256 << 20), 256); /* a terabyte */
        assert_int_equal(count_sample_rate(UINT64_MAX), 4096);
        teardown(NULL);
}

/* What could not be read makes it a bound; who ended leaves no trace. */
static void test_unread(void **state)
{
        struct group_sample s;

        setup(NULL);
        family(3, 100 * ONE_MIB, 0, 1);
        fake_vanish(&fake, 101);
        s = estimate(32);
        assert_int_equal(s.quality, QUALITY_ESTIMATE);
        assert_true(distance(s.resident, 100 * MIB) <= s.error_bytes);
        assert_int_equal(s.mapped, 300 * MIB);
        fake_write(&fake, "proc/102/maps", "nonsense\n");
        s = estimate(32);
        assert_int_equal(s.quality, QUALITY_BOUND_LOWER);
        assert_int_equal(s.unread, 1);
        assert_true(s.resident <= 100 * MIB);
        assert_true(s.error_bytes == SIZE_UNKNOWN && s.anon == SIZE_UNKNOWN);
        teardown(NULL);
}

static const struct shape shapes[] = {
                {"private", one_private, 0.02},
                {"family", family_shared, 0.1},
                {"family, random copies", family_random_copies, 0.1},
                {"family, copies in runs", family_copied_in_runs, 0.3},
                {"family, half copied", family_half, 0.5},
                {"family and private", family_and_private, 0.1},
                {"segment", segment, 0.2},
                {"files", files, 0.3},
                {"small mappings", small_mappings, 0.3},
                {"scattered", scattered, 0.1},
                {"runs and holes", runs_and_holes, 0.3},
                {"mixed", mixed, 0.3},
};

int main(void)
{
        const struct CMUnitTest others[] = {
                        cmocka_unit_test(test_what_breaks_it),
                        cmocka_unit_test(test_huge_zero_page),
                        cmocka_unit_test(test_refusals),
                        cmocka_unit_test(test_unread),
        };
        struct CMUnitTest tests[ARRAY_SIZE(shapes) + ARRAY_SIZE(others)];

        for (size_t i = 0; i < ARRAY_SIZE(shapes); i++)
                tests[i] = (struct CMUnitTest){
                                .name = shapes[i].name, .test_func = test_shape, .initial_state = (void *)&shapes[i]};
        memcpy(tests + ARRAY_SIZE(shapes), others, sizeof(others));
        return cmocka_run_group_tests(tests, NULL, NULL);
}
