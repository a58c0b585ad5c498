/* SPDX-License-Identifier: MIT */
/*
 * Shared objects that are read once: the figures are those of reading everything, over hosts made at random whose truth is known;
 * and where two objects have one number, drivers map what they like, pages are exchanged, processes end, calls fail and threads
 * are lost.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capd/measure/count.h"
#include "count-internal.h"
#include "fake.h"

#define MAX_PROCESSES 10U
#define MAX_OBJECTS   6U
#define MAX_MAPPINGS  6U
#define GROUPS        3U
#define ANON_PAGES    300U
#define ANON_FIRST    100U   /* frames that any process may have */
#define OWN_FIRST     2000U  /* of one process each */
#define OBJECT_FIRST  20480U /* of objects */
#define FLAG_LRU      (UINT64_C(1) << 5)
#define CHUNK         ((uint64_t)SEEN_CHUNK_PAGES)
#define FILE_FLAGS    (FLAG_MMAP | FLAG_LRU)
#define SHMEM_FLAGS   (FLAG_MMAP | FLAG_LRU | FLAG_SWAPBACKED)
#define DRIVER_FLAGS  0

struct thing {
        uint64_t inode, pages, flags;
        uint32_t *frames; /* 0: the object has no page there */
        bool huge;        /* made of huge pages, shown as kernels before 6.11 show them */
};

struct world {
        struct fake fake;
        uint64_t rng, *flags;
        struct thing things[MAX_OBJECTS];
        size_t n_things, n;
        uint64_t next_object, next_own;
        unsigned char *holds[MAX_PROCESSES];
        uint64_t mapped[MAX_PROCESSES], anon[MAX_PROCESSES];
        uint32_t groups[MAX_PROCESSES][GROUPS];
        size_t n_groups[MAX_PROCESSES];
        /* of the process being made */
        char maps[2048], smaps[2048];
        uint64_t at;
        enum sparse_method sparse;
};

static uint64_t draw(struct world *w, uint64_t below)
{
        w->rng ^= w->rng << 13;
        w->rng ^= w->rng >> 7;
        w->rng ^= w->rng << 17;
        return w->rng % below;
}

static void no_sleep(const struct sys *sys, usec_t usec)
{
}

static struct world *world_new(uint64_t seed)
{
        struct world *w = calloc(1, sizeof(*w));

        fake_init(&w->fake);
        w->fake.time_step = USEC_PER_MSEC; /* long enough that help is called for at once */
        w->fake.ops.sleep = no_sleep;
        w->rng = seed * 7919 + 1;
        w->next_object = OBJECT_FIRST;
        w->next_own = OWN_FIRST;
        w->flags = calloc(FAKE_FRAMES, sizeof(*w->flags));
        for (uint64_t f = ANON_FIRST; f < OBJECT_FIRST; f++)
                w->flags[f] = FLAG_MMAP | FLAG_ANON;
        return w;
}

static void world_free(struct world *w)
{
        fake_done(&w->fake);
        for (size_t i = 0; i < w->n_things; i++)
                free(w->things[i].frames);
        for (size_t p = 0; p < w->n; p++)
                free(w->holds[p]);
        free(w->flags);
        free(w);
}

/* An object of so many pages, of which `percent` are there. */
static struct thing *add_object(struct world *w, uint64_t inode, uint64_t pages, uint64_t flags, unsigned percent)
{
        struct thing *t = &w->things[w->n_things++];

        *t = (struct thing){.inode = inode, .pages = pages, .flags = flags, .frames = calloc(pages, sizeof(uint32_t))};
        for (uint64_t i = 0; i < pages; i++) {
                if (draw(w, 100) >= percent)
                        continue;
                /* every other frame is of somebody else */
                w->next_object += 1 + draw(w, 2);
                t->frames[i] = (uint32_t)w->next_object;
                w->flags[w->next_object] = flags;
        }
        return t;
}

static struct thing *add_huge(struct world *w, uint64_t inode, uint64_t blocks)
{
        struct thing *t = add_object(w, inode, blocks * HUGE_PAGES, SHMEM_FLAGS | FLAG_THP, 0);

        t->huge = true;
        w->next_object += HUGE_PAGES - w->next_object % HUGE_PAGES;
        for (uint64_t i = 0; i < t->pages; i++) {
                t->frames[i] = (uint32_t)w->next_object;
                w->flags[w->next_object++] = t->flags;
        }
        return t;
}

static void hold(struct world *w, uint64_t frame, bool anon)
{
        w->holds[w->n][frame] = 1;
        w->mapped[w->n]++;
        w->anon[w->n] += anon;
}

static void add_mapping(struct world *w, uint64_t start, uint64_t pages, char kind, uint64_t offset, uint64_t inode,
                        uint64_t rss)
{
        char line[256];

        snprintf(line, sizeof(line), "%llx-%llx rw-%c %08llx 00:%02x %llu%s\n", (unsigned long long)start,
                 (unsigned long long)(start + pages * FAKE_PAGE), kind, (unsigned long long)(offset * FAKE_PAGE),
                 inode != 0, (unsigned long long)inode, inode ? " /object (deleted)" : "");
        assert_true(strlen(w->maps) + strlen(line) < sizeof(w->maps));
        strcat(w->maps, line);
        strcat(w->smaps, line);
        snprintf(line, sizeof(line), "Rss: %llu kB\n", (unsigned long long)rss * 4);
        assert_true(strlen(w->smaps) + strlen(line) < sizeof(w->smaps));
        strcat(w->smaps, line);
}

static void map_anon(struct world *w)
{
        uint64_t entries[ANON_PAGES], base = 0x10000000;

        for (size_t i = 0; i < ANON_PAGES; i++)
                if (draw(w, 3) == 0) {
                        hold(w, w->next_own, true);
                        entries[i] = RAW_PRESENT | RAW_EXCLUSIVE | w->next_own++;
                } else {
                        uint64_t frame = ANON_FIRST + draw(w, 1000);

                        hold(w, frame, true);
                        entries[i] = RAW_PRESENT | frame;
                }
        add_mapping(w, base, ANON_PAGES, 'p', 0, 0, ANON_PAGES);
        fake_pages(&w->fake, 100 + (int)w->n, base, entries, ANON_PAGES);
}

/* Maps [offset, offset + pages) of an object; `percent` of what is there is mapped, and `copied` of a private mapping is copied. */
static void map_object(struct world *w, const struct thing *t, uint64_t offset, uint64_t pages, bool congruent,
                       unsigned percent, bool private, unsigned copied)
{
        uint64_t *entries = calloc(pages, sizeof(*entries)), start, before = w->mapped[w->n];

        start = w->at +
                (congruent ? offset % HUGE_PAGES : (offset + 1 + draw(w, HUGE_PAGES - 1)) % HUGE_PAGES) * FAKE_PAGE;
        for (uint64_t i = 0; i < pages; i++) {
                uint64_t frame = offset + i < t->pages ? t->frames[offset + i] : 0;
                bool whole = t->huge && congruent && !private && (offset + i) % HUGE_PAGES == 0 &&
                             i + HUGE_PAGES <= pages;

                if (private && draw(w, 100) < copied) {
                        hold(w, w->next_own, true);
                        entries[i] = RAW_PRESENT | RAW_EXCLUSIVE | w->next_own++;
                } else if (frame && whole) {
                        for (uint64_t k = 0; k < HUGE_PAGES; k++, hold(w, frame + k - 1, false))
                                entries[i + k] = RAW_PRESENT | (frame + k);
                        i += HUGE_PAGES - 1;
                } else if (frame && draw(w, 100) < percent) {
                        hold(w, frame, false);
                        entries[i] = RAW_PRESENT | RAW_FILE | frame;
                }
        }
        add_mapping(w, start, pages, private ? 'p' : 's', offset, t->inode, w->mapped[w->n] - before);
        fake_pages(&w->fake, 100 + (int)w->n, start, entries, pages);
        w->at = start + (pages + draw(w, 300)) * FAKE_PAGE;
        w->at += HUGE_PAGES * FAKE_PAGE - w->at % (HUGE_PAGES * FAKE_PAGE);
        free(entries);
}

static void begin_process(struct world *w)
{
        static const uint64_t rss[] = {[SPARSE_NOT] = 1000000, [SPARSE_SCAN] = 1, [SPARSE_SIZES] = 1};

        assert_true(w->n < MAX_PROCESSES);
        w->fake.features.pagemap_scan = w->sparse == SPARSE_SCAN;
        w->holds[w->n] = calloc(FAKE_FRAMES, 1);
        w->maps[0] = w->smaps[0] = '\0';
        w->at = UINT64_C(0x7f0000000000);
        /* its pagemap is made by this */
        fake_process(&w->fake, 100 + (int)w->n, 5, "x", "", 1000000, rss[w->sparse]);
        map_anon(w);
}

static void end_process(struct world *w)
{
        char path[64], text[128];

        snprintf(path, sizeof(path), "proc/%zu/maps", 100 + w->n);
        fake_write(&w->fake, path, w->maps);
        snprintf(path, sizeof(path), "proc/%zu/smaps", 100 + w->n);
        fake_write(&w->fake, path, w->smaps);
        snprintf(path, sizeof(path), "proc/%zu/statm", 100 + w->n);
        snprintf(text, sizeof(text), "1000000 %llu 1 1 0 1 0\n", (unsigned long long)w->mapped[w->n]);
        fake_write(&w->fake, path, text);
        w->groups[w->n][0] = 0;
        w->n_groups[w->n++] = 1;
}

static void write_flags(struct world *w)
{
        char path[128];
        int fd;

        assert_true(w->next_object < FAKE_FRAMES && w->next_own < OBJECT_FIRST);
        snprintf(path, sizeof(path), "%s/proc/kpageflags", w->fake.path);
        fd = open(path, O_WRONLY);
        w->flags[FAKE_ZERO_FRAME] = FLAG_ZERO;
        assert_int_equal(write(fd, w->flags, FAKE_FRAMES * 8), FAKE_FRAMES * 8);
        close(fd);
}

/* -- what is true -- */

static struct count *new_count(struct world *w, unsigned flags)
{
        struct count *c = NULL;

        assert_int_equal(count_new(&w->fake.sys, &w->fake.features, flags, &c), 0);
        for (unsigned g = 0; g < GROUPS; g++)
                assert_int_equal(count_add_group(c), g);
        for (size_t p = 0; p < w->n; p++)
                assert_int_equal(count_add_process(c, 100 + (int)p, 5, p + 1, w->groups[p], w->n_groups[p]), p);
        return c;
}

/* Processes of which parts were passed over. */
static unsigned passed_over(const struct world *w, const struct count *c)
{
        unsigned n = 0;

        for (uint32_t p = 0; p < w->n; p++) {
                struct process_sample s = {};

                count_process_result(c, p, &s);
                n += s.outcome == COUNT_DONE && s.shmem == SIZE_UNKNOWN;
        }
        return n;
}

/* The figures are those of the processes that were counted. */
static void assert_true_figures(const struct world *w, const struct count *c)
{
        struct process_sample s[MAX_PROCESSES] = {};

        for (uint32_t p = 0; p < w->n; p++) {
                count_process_result(c, p, &s[p]);
                assert_int_not_equal(s[p].outcome, COUNT_PENDING);
                if (s[p].outcome != COUNT_DONE)
                        continue;
                assert_int_equal(s[p].mapped, w->mapped[p] * FAKE_PAGE);
                assert_int_equal(s[p].anon, w->anon[p] * FAKE_PAGE);
                assert_true(s[p].shmem == SIZE_UNKNOWN || s[p].anon + s[p].file + s[p].shmem == s[p].mapped);
        }
        for (uint32_t g = 0; g < GROUPS; g++) {
                uint64_t resident = 0, mapped = 0, unread = 0;
                struct group_sample sample = {};
                bool in[MAX_PROCESSES] = {};

                for (size_t p = 0; p < w->n; p++)
                        for (size_t i = 0; i < w->n_groups[p]; i++)
                                if (w->groups[p][i] == g) {
                                        in[p] = s[p].outcome == COUNT_DONE;
                                        mapped += in[p] ? w->mapped[p] : 0;
                                        unread += !in[p] && s[p].outcome != COUNT_GONE;
                                }
                for (uint64_t f = 0; f < FAKE_FRAMES; f++)
                        for (size_t p = 0; p < w->n; p++)
                                if (in[p] && w->holds[p][f]) {
                                        resident++;
                                        break;
                                }
                count_group_result(c, g, &sample);
                assert_int_equal(sample.unread, unread);
                if (sample.quality == QUALITY_UNKNOWN)
                        continue;
                assert_int_equal(sample.quality, unread ? QUALITY_BOUND_LOWER : QUALITY_EXACT);
                assert_int_equal(sample.resident, resident * FAKE_PAGE);
                assert_int_equal(sample.anon + sample.file + sample.shmem, sample.resident);
                assert_int_equal(sample.mapped, mapped * FAKE_PAGE);
        }
}

/* -- hosts made at random -- */

static void add_random_object(struct world *w, uint64_t inode)
{
        static const unsigned percents[] = {100, 100, 95, 40};
        static const uint64_t flags[] = {SHMEM_FLAGS, SHMEM_FLAGS, FILE_FLAGS, DRIVER_FLAGS};

        if (draw(w, 5) == 0)
                add_huge(w, inode, 1 + draw(w, 20));
        else
                add_object(w, inode, 300 + draw(w, 10000), flags[draw(w, 4)], percents[draw(w, 4)]);
}

static void map_random(struct world *w)
{
        static const unsigned percents[] = {100, 100, 100, 98, 50, 0};
        const struct thing *t = &w->things[draw(w, w->n_things)];
        uint64_t offset = 0, pages = t->pages;

        if (draw(w, 2)) {
                offset = draw(w, t->pages);
                pages = 1 + draw(w, t->pages - offset);
        }
        map_object(w, t, offset, pages, t->huge || draw(w, 2), percents[draw(w, 6)], draw(w, 8) == 0, 30);
}

static struct world *random_world(uint64_t seed)
{
        static const enum sparse_method methods[] = {SPARSE_NOT, SPARSE_NOT, SPARSE_SCAN, SPARSE_SIZES};
        struct world *w = world_new(seed);

        w->sparse = methods[seed % 4];
        /* some have the number of another */
        for (size_t i = 0; i < 2 + draw(w, MAX_OBJECTS - 1); i++)
                add_random_object(w, 1000 + (draw(w, 4) == 0 ? 0 : i));
        for (size_t p = 2 + draw(w, MAX_PROCESSES - 1); p > 0; p--) {
                begin_process(w);
                for (size_t i = 1 + draw(w, MAX_MAPPINGS); i > 0; i--)
                        map_random(w);
                end_process(w);
                for (uint32_t g = 1; g < GROUPS; g++)
                        if (draw(w, 3) == 0)
                                w->groups[w->n - 1][w->n_groups[w->n - 1]++] = g;
        }
        write_flags(w);
        return w;
}

static void test_random(void **state)
{
        static const unsigned flags[] = {0, COUNT_PSS | COUNT_KEEP_FRAMES, COUNT_PRIVATE};
        unsigned passed = 0;

        for (uint64_t seed = 1; seed <= 32; seed++) {
                struct world *w = random_world(seed);

                for (unsigned threads = 1; threads <= 3; threads++) {
                        _cleanup_(count_freep) struct count *c = new_count(w, flags[(seed + threads) % 3]);

                        assert_int_equal(count_run_parallel(c, threads), 0);
                        assert_true_figures(w, c);
                        passed += passed_over(w, c);
                }
                world_free(w);
        }
        assert_in_range(passed, 50, 1000);
}

/* -- cases -- */

/* A process that maps all of an object. */
static void add_mapper(struct world *w, size_t thing)
{
        begin_process(w);
        map_object(w, &w->things[thing], 0, w->things[thing].pages, true, 100, false, 0);
        end_process(w);
}

static struct world *alike(uint64_t pages, uint64_t flags, size_t n)
{
        struct world *w = world_new(1);

        add_object(w, 7, pages, flags, 100);
        for (size_t p = 0; p < n; p++)
                add_mapper(w, 0);
        write_flags(w);
        return w;
}

/* How many calls of pread a count took, and whether all is true. */
static unsigned count_preads(struct world *w, unsigned *ret_passed)
{
        _cleanup_(count_freep) struct count *c = new_count(w, 0);
        unsigned before = w->fake.calls[OP_PREAD];

        w->fake.time_step = 1; /* so short that nobody is looked at whether he waits */
        assert_int_equal(count_run(c, NULL), 0);
        assert_true_figures(w, c);
        *ret_passed = passed_over(w, c);
        return w->fake.calls[OP_PREAD] - before;
}

/* The end of a world, with a count of it: how many processes were not read whole. */
static unsigned passed_of(struct world *w)
{
        unsigned passed;

        write_flags(w);
        count_preads(w, &passed);
        world_free(w);
        return passed;
}

static void test_read_once(void **state)
{
        static const uint64_t flags[] = {SHMEM_FLAGS, FILE_FLAGS};

        for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
                struct world *two = alike(5 * CHUNK + 100, flags[i], 2), *ten = alike(5 * CHUNK + 100, flags[i], 10);
                unsigned passed, few = count_preads(two, &passed), many;

                assert_int_equal(passed, 1);
                many = count_preads(ten, &passed);
                assert_int_equal(passed, 9);
                /* a few for what is their own and to see that they live, and one for each chunk */
                assert_in_range(many - few, 8 * 5, 8 * (6 + 6));
                world_free(two);
                world_free(ten);
        }
}

/* What a driver maps may be another page for everybody. */
static void test_driver(void **state)
{
        struct world *w = alike(2 * CHUNK, DRIVER_FLAGS, 4);

        assert_int_equal(passed_of(w), 0);
}

/* Without flags nothing tells a page cache from a driver's memory. */
static void test_no_flags(void **state)
{
        struct world *w = alike(2 * CHUNK, FILE_FLAGS, 3);

        w->fake.features.kpageflags = false;
        assert_int_equal(passed_of(w), 0);
}

static void test_same_number(void **state)
{
        struct world *w = world_new(3);

        for (size_t i = 0; i < 2; i++)
                add_object(w, 7, 2 * CHUNK, SHMEM_FLAGS, 100);
        for (size_t p = 0; p < 8; p++)
                add_mapper(w, p % 3 == 1);
        /* all of the first object but one */
        assert_int_equal(passed_of(w), 4);
}

/* At the same address and of the same number, and yet another object: what it shows is not put to what is known of the first. */
static void test_same_number_and_place(void **state)
{
        struct world *w = world_new(8);

        for (size_t i = 0; i < 2; i++)
                add_object(w, 7, 2 * HUGE_PAGES, SHMEM_FLAGS, 100);
        memset(w->things[0].frames + HUGE_PAGES, 0, HUGE_PAGES * sizeof(uint32_t));
        for (size_t p = 0; p < 3; p++) {
                uint32_t kept[HUGE_PAGES];

                /* the second shows its second half alone, the third all of it */
                memcpy(kept, w->things[1].frames, sizeof(kept));
                if (p == 1)
                        memset(w->things[1].frames, 0, sizeof(kept));
                add_mapper(w, p > 0);
                memcpy(w->things[1].frames, kept, sizeof(kept));
        }
        assert_int_equal(passed_of(w), 0);
}

/* A process maps both, one behind the other: what is known of the one says nothing of the other. */
static void test_same_number_in_one(void **state)
{
        struct world *w = world_new(4);

        for (size_t i = 0; i < 2; i++)
                add_object(w, 7, CHUNK, SHMEM_FLAGS, 100);
        for (size_t p = 0; p < 4; p++) {
                begin_process(w);
                for (size_t i = 0; i < 2; i++)
                        map_object(w, &w->things[(p + i) % 2], 0, CHUNK, true, 100, false, 0);
                end_process(w);
        }
        assert_int_equal(passed_of(w), 3);
}

/* Each maps another part, with nothing in common; the next ones see one part after the other. */
static void test_parts(void **state)
{
        struct world *w = world_new(5);

        add_object(w, 7, 4 * CHUNK, SHMEM_FLAGS, 100);
        for (size_t p = 0; p < 8; p++) {
                begin_process(w);
                map_object(w, &w->things[0], p % 4 * CHUNK, p < 4 ? CHUNK : (4 - p % 4) * CHUNK, true, 100, false, 0);
                end_process(w);
        }
        assert_int_equal(passed_of(w), 4);
}

/* What only one process maps in the middle of what all map is found in it. */
static void test_gap(void **state)
{
        struct world *w = world_new(6);

        add_object(w, 7, 2 * CHUNK, SHMEM_FLAGS, 100);
        for (size_t p = 0; p < 4; p++) {
                uint32_t kept = w->things[0].frames[3000];

                begin_process(w);
                if (p != 2)
                        w->things[0].frames[3000] = 0;
                map_object(w, &w->things[0], 0, 2 * CHUNK, true, 100, false, 0);
                w->things[0].frames[3000] = kept;
                end_process(w);
        }
        assert_int_equal(passed_of(w), 3);
}

/* Its pages were exchanged by the time that the others were read: nothing proves that it is the same object, and all is read. */
static void test_exchanged(void **state)
{
        struct world *w = world_new(7);

        add_object(w, 7, 2 * CHUNK, SHMEM_FLAGS, 100);
        for (size_t p = 0; p < 4; p++) {
                begin_process(w);
                if (p == 3)
                        add_object(w, 7, 2 * CHUNK, SHMEM_FLAGS, 100);
                map_object(w, &w->things[w->n_things - 1], 0, 2 * CHUNK, true, 100, false, 0);
                end_process(w);
        }
        assert_int_equal(passed_of(w), 2);
}

/* More of the kernel's counters than can have been passed over is the counters' error. */
static void test_counters(void **state)
{
        struct world *w = alike(CHUNK, SHMEM_FLAGS, 2);
        _cleanup_(count_freep) struct count *more = new_count(w, 0), *less = new_count(w, 0);
        struct process_sample s = {};

        fake_write(&w->fake, "proc/101/statm", "1000000 100000 1 1 0 1 0\n");
        assert_int_equal(count_run(more, NULL), 0);
        count_process_result(more, 1, &s);
        assert_int_equal(s.mapped, w->mapped[1] * FAKE_PAGE);
        fake_write(&w->fake, "proc/101/statm", "1000000 10 1 1 0 1 0\n");
        assert_int_equal(count_run(less, NULL), 0);
        count_process_result(less, 1, &s);
        assert_int_equal(s.mapped, ANON_PAGES * FAKE_PAGE);
        world_free(w);
}

/* -- what goes wrong -- */

static unsigned vanish_at;

static void vanish(struct fake *f, unsigned call)
{
        if (call == vanish_at)
                fake_vanish(f, 100);
}

/* What a process showed that ended before its walk did is not known from it. */
static void test_vanishing(void **state)
{
        unsigned gone = 0;

        for (unsigned k = 1; k < 24; k++) {
                struct world *w = alike(2 * CHUNK, SHMEM_FLAGS, 3);
                _cleanup_(count_freep) struct count *c = new_count(w, 0);
                struct process_sample s = {};

                vanish_at = k;
                w->fake.on_pread = vanish;
                assert_int_equal(count_run(c, NULL), 0);
                assert_true_figures(w, c);
                count_process_result(c, 0, &s);
                gone += s.outcome == COUNT_GONE;
                world_free(w);
        }
        assert_in_range(gone, 3, 20);
}

static void test_failures(void **state)
{
        static const enum fake_op ops[] = {OP_OPENAT, OP_PREAD, OP_READ};
        static const ssize_t values[] = {-EIO, -ESRCH, -ENOENT, -EACCES};
        struct world *w = alike(2 * CHUNK, FILE_FLAGS, 3);
        unsigned unread = 0;

        for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
                for (unsigned k = 1; k < 70; k++) {
                        _cleanup_(count_freep) struct count *c = new_count(w, 0);
                        struct process_sample s = {};

                        w->fake.fail_op = ops[i];
                        w->fake.fail_value = values[k % 4];
                        w->fake.fail_at = w->fake.calls[ops[i]] + k;
                        if (count_run(c, NULL) < 0)
                                continue;
                        assert_true_figures(w, c);
                        for (uint32_t p = 0; p < 3; p++) {
                                count_process_result(c, p, &s);
                                unread += s.outcome == COUNT_UNREAD;
                        }
                }
        assert_in_range(unread, 20, 100);
        world_free(w);
}

/* A thread is given up in any of its calls, and another goes on. */
static void test_lost(void **state)
{
        struct world *w = alike(2 * CHUNK, SHMEM_FLAGS, 3);
        unsigned stuck = 0;

        for (unsigned k = 1; k < 60; k++) {
                _cleanup_(count_freep) struct count *c = new_count(w, 0);
                struct fake_guard guard;
                struct process_sample s = {};
                int r;

                fake_guard_init(&guard);
                guard.lose_at = k;
                r = count_run(c, &guard.guard);
                if (r == -ECANCELED) {
                        assert_int_not_equal(count_give_up(c, &guard.guard), 0);
                        assert_int_equal(count_run(c, NULL), 0);
                }
                assert_true_figures(w, c);
                for (uint32_t p = 0; p < 3; p++) {
                        count_process_result(c, p, &s);
                        stuck += s.outcome == COUNT_STUCK;
                }
        }
        assert_in_range(stuck, 20, 60);
        world_free(w);
}

/* Told to stop in any place, it goes on later as if nothing had been. */
static void test_stopped(void **state)
{
        struct world *w = alike(2 * CHUNK, SHMEM_FLAGS, 3);

        for (unsigned k = 1; k < 60; k++) {
                _cleanup_(count_freep) struct count *c = new_count(w, 0);
                struct fake_guard guard;

                fake_guard_init(&guard);
                guard.stop_at = k;
                if (count_run(c, &guard.guard) < 0)
                        assert_int_equal(count_run(c, NULL), 0);
                assert_true_figures(w, c);
                assert_int_equal(passed_over(w, c), 2);
        }
        world_free(w);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_random),
                        cmocka_unit_test(test_read_once),
                        cmocka_unit_test(test_driver),
                        cmocka_unit_test(test_no_flags),
                        cmocka_unit_test(test_same_number),
                        cmocka_unit_test(test_same_number_in_one),
                        cmocka_unit_test(test_same_number_and_place),
                        cmocka_unit_test(test_parts),
                        cmocka_unit_test(test_gap),
                        cmocka_unit_test(test_exchanged),
                        cmocka_unit_test(test_counters),
                        cmocka_unit_test(test_vanishing),
                        cmocka_unit_test(test_failures),
                        cmocka_unit_test(test_lost),
                        cmocka_unit_test(test_stopped),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
