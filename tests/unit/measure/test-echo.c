/* SPDX-License-Identifier: MIT */
/*
 * Families of processes that show much the same pages: what is known from one (echo.h) and walked by turns (first.c) is counted as
 * if each of them had been read by itself. The truth is kept beside the entries as they are made.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capd/measure/count.h"
#include "count-internal.h"
#include "fake.h"

#define FAMILY      22U
#define PAGES       (5 * COUNT_PIECE_PAGES) /* that are inherited */
#define FILE_PAGES  700U
#define ANON_BASE   UINT64_C(0x10000000)
#define FILE_BASE   UINT64_C(0x7f0000000000)
#define OTHER_BASE  UINT64_C(0x7f1000000000)
#define INHERITED   10000U  /* frames from here on */
#define OF_FILE     100000U /* frames of the file */
#define OF_DEVICE   110000U /* memory without a struct page, where a device maps it */
#define DEVICE_SIZE 512U
#define OWN         200000U
#define FIRST_PID   100
#define FIRST_TWIN  200
#define GROUPS      2U
#define THREADS     3U

struct family {
        struct fake fake;
        uint64_t rng;
        uint64_t own;
        unsigned char *holds[FAMILY]; /* frames */
        uint64_t mapped[FAMILY], swapped[FAMILY], anon[FAMILY];
        char maps[FAMILY][512];
        uint32_t groups[FAMILY][GROUPS];
        size_t n_groups[FAMILY];
};

/* What the hook below looks at, and the most walks that a thread had under way. */
static struct count *watched;
static size_t most_strands;

static uint64_t draw(struct family *f, uint64_t below)
{
        f->rng ^= f->rng << 13;
        f->rng ^= f->rng >> 7;
        f->rng ^= f->rng << 17;
        return f->rng % below;
}

static uint64_t present(struct family *f, unsigned p, uint64_t frame, uint64_t flags)
{
        f->holds[p][frame] = 1;
        f->mapped[p]++;
        f->anon[p] += !(flags & RAW_FILE);
        return RAW_PRESENT | flags | frame;
}

/* An entry of a child: inherited, or what became of it. */
static uint64_t entry(struct family *f, unsigned p, size_t i, unsigned changed)
{
        if (draw(f, 1000) >= changed) {
                if (i % 97 == 5) {
                        f->swapped[p]++;
                        return RAW_SWAP | (i << 5);
                }
                return i % 89 == 7 ? 0 : present(f, p, INHERITED + i, 0);
        }
        switch (draw(f, 4)) {
        case 0:
                return RAW_PRESENT | FAKE_ZERO_FRAME;
        case 1:
                return 0;
        case 2:
                /* somebody else's, at a place where he has it not */
                return present(f, p, INHERITED + draw(f, PAGES), 0);
        default:
                return present(f, p, f->own++, RAW_EXCLUSIVE);
        }
}

static void make_process(struct family *f, unsigned p, unsigned changed)
{
        /* some have grown below, some above, and of some a part is gone; parts of 64 pages and parts that are not */
        size_t below = draw(f, 3) ? 0 : draw(f, 300), skipped = draw(f, 4) ? 0 : draw(f, 500), n = PAGES + draw(f, 200),
               k = 0;
        uint64_t *entries = calloc(below + n, sizeof(*entries)), file[FILE_PAGES], device[DEVICE_SIZE];
        bool is_device = p % 3 == 1;
        char *maps = f->maps[p];

        for (size_t i = 0; i < below; i++)
                entries[k++] = present(f, p, f->own++, RAW_EXCLUSIVE);
        for (size_t i = 0; i < n; i++, k++)
                if (i >= skipped)
                        entries[k] = i < PAGES ? entry(f, p, i, changed) : present(f, p, f->own++, RAW_EXCLUSIVE);
        for (size_t i = 0; i < FILE_PAGES; i++)
                file[i] = i % 50 == 3 ? 0 : present(f, p, OF_FILE + i, RAW_FILE);
        /* the same entries at the same address: of a device, which VmRSS leaves out, and of the process's own memory */
        for (size_t i = 0; i < DEVICE_SIZE; i++)
                device[i] = is_device ? RAW_PRESENT | (OF_DEVICE + i) : present(f, p, OF_DEVICE + i, 0);
        snprintf(maps, sizeof(f->maps[p]),
                 "%llx-%llx rw-p 00000000 00:00 0\n%llx-%llx r--p 00000000 08:01 9 /file\n%llx-%llx rw-%c 00000000 "
                 "%s\n",
                 (unsigned long long)(ANON_BASE - below * FAKE_PAGE), (unsigned long long)(ANON_BASE + n * FAKE_PAGE),
                 (unsigned long long)FILE_BASE, (unsigned long long)(FILE_BASE + FILE_PAGES * FAKE_PAGE),
                 (unsigned long long)OTHER_BASE, (unsigned long long)(OTHER_BASE + DEVICE_SIZE * FAKE_PAGE),
                 is_device ? 's' : 'p', is_device ? "00:05 77 /dev/x" : "00:00 0");
        fake_process(&f->fake, FIRST_PID + (int)p, 5, "x", maps, k + FILE_PAGES + DEVICE_SIZE, f->mapped[p]);
        fake_pages(&f->fake, FIRST_PID + (int)p, ANON_BASE - below * FAKE_PAGE, entries, k);
        fake_pages(&f->fake, FIRST_PID + (int)p, FILE_BASE, file, FILE_PAGES);
        fake_pages(&f->fake, FIRST_PID + (int)p, OTHER_BASE, device, DEVICE_SIZE);
        free(entries);
}

/* `changed` of 1000 pages of each child are not as inherited. */
static struct family *family_new(uint64_t seed, unsigned changed)
{
        struct family *f = calloc(1, sizeof(*f));

        fake_init(&f->fake);
        f->rng = seed * 7919 + 1;
        f->own = OWN;
        for (unsigned p = 0; p < FAMILY; p++) {
                f->holds[p] = calloc(FAKE_FRAMES, 1);
                make_process(f, p, changed);
                f->groups[p][f->n_groups[p]++] = 0;
                /* the last few are in a second group as well, and so no more of the same */
                if (p + 5 >= FAMILY)
                        f->groups[p][f->n_groups[p]++] = 1;
        }
        assert_true(f->own < FAKE_FRAMES);
        for (uint64_t i = 0; i < FILE_PAGES; i++)
                fake_frame(&f->fake, OF_FILE + i, FLAG_MMAP, FAMILY);
        return f;
}

static void family_free(struct family *f)
{
        fake_done(&f->fake);
        for (unsigned p = 0; p < FAMILY; p++)
                free(f->holds[p]);
        free(f);
}

static struct count *new_count(struct family *f)
{
        struct count *c = NULL;

        assert_int_equal(count_new(&f->fake.sys, &f->fake.features, 0, &c), 0);
        for (unsigned g = 0; g < GROUPS; g++)
                assert_int_equal(count_add_group(c), g);
        for (unsigned p = 0; p < FAMILY; p++)
                assert_int_equal(count_add_process(c, FIRST_PID + (int)p, 5, p + 1, f->groups[p], f->n_groups[p]), p);
        return c;
}

/* Of those that were counted. Returns how many were not, being stuck. */
static unsigned assert_true_figures(const struct family *f, const struct count *c)
{
        unsigned all_stuck = 0;

        for (uint32_t g = 0; g < GROUPS; g++) {
                uint64_t resident = 0, anon = 0, mapped = 0;
                struct group_sample sample = {};
                bool counted[FAMILY] = {};
                unsigned stuck = 0;

                for (uint32_t p = 0; p < FAMILY; p++) {
                        bool member = g == 0 || f->n_groups[p] > 1;
                        struct process_sample s;

                        count_process_result(c, p, &s);
                        if (s.outcome == COUNT_GONE && count_n_processes(c) > FAMILY)
                                count_process_result(c, FAMILY + p, &s); /* its twin */
                        assert_true(s.outcome == COUNT_DONE || s.outcome == COUNT_GONE || s.outcome == COUNT_STUCK);
                        if (s.outcome == COUNT_DONE) {
                                assert_int_equal(s.mapped, f->mapped[p] * FAKE_PAGE);
                                assert_int_equal(s.anon, f->anon[p] * FAKE_PAGE);
                                assert_int_equal(s.swap, f->swapped[p] * FAKE_PAGE);
                        }
                        counted[p] = member && s.outcome == COUNT_DONE;
                        stuck += member && s.outcome == COUNT_STUCK;
                        mapped += counted[p] ? f->mapped[p] : 0;
                }
                for (uint64_t frame = 0; frame < f->own; frame++)
                        for (unsigned p = 0; p < FAMILY; p++)
                                if (counted[p] && f->holds[p][frame]) {
                                        resident++;
                                        anon += frame < OF_FILE || frame >= OF_FILE + FILE_PAGES;
                                        break;
                                }
                count_group_result(c, g, &sample);
                assert_int_equal(sample.unread, stuck);
                assert_int_equal(sample.resident, resident * FAKE_PAGE);
                assert_int_equal(sample.anon, anon * FAKE_PAGE);
                assert_int_equal(sample.mapped, mapped * FAKE_PAGE);
                all_stuck += g == 0 ? stuck : 0;
        }
        return all_stuck;
}

static void watch(struct fake *f, unsigned call)
{
        for (const struct slot *s = watched->slots; s; s = s->next)
                most_strands = MAX(most_strands, s->n_scans);
}

static void run_watched(struct family *f, struct count *c, struct guard *guard, int result)
{
        watched = c;
        most_strands = 0;
        f->fake.on_pread = watch;
        assert_int_equal(count_run(c, guard), result);
        f->fake.on_pread = NULL;
}

static void test_family(void **state)
{
        static const unsigned changed[] = {0, 2, 20, 300, 1000};

        for (uint64_t i = 0; i < ARRAY_SIZE(changed); i++) {
                struct family *f = family_new(i + 1, changed[i]);
                _cleanup_(count_freep) struct count *one = new_count(f);

                run_watched(f, one, NULL, 0);
                assert_int_equal(assert_true_figures(f, one), 0);
                /* by turns where they are alike, and only there */
                if (changed[i] <= 2)
                        assert_true(most_strands > 1 && most_strands <= COUNT_STRANDS);
                if (changed[i] == 1000)
                        assert_int_equal(most_strands, 1);
                f->fake.time_step = USEC_PER_MSEC; /* so that help is called for at once */
                for (unsigned threads = 2; threads <= THREADS; threads++) {
                        _cleanup_(count_freep) struct count *c = new_count(f);

                        assert_int_equal(count_run_parallel(c, threads), 0);
                        assert_int_equal(assert_true_figures(f, c), 0);
                }
                family_free(f);
        }
}

/* -- a thread is given up, or told to stop, and processes end, while several are walked by turns -- */

static unsigned vanish_at;
static size_t vanish_from;    /* with so many walks under way, at least */
static size_t vanish_strands; /* walks that the thread had under way */

struct loser {
        struct guard guard;
        struct count *count;
        unsigned calls, lose_at, stop_at;
        unsigned stop_after; /* so many calls after processes have ended */
        size_t strands;      /* when it was lost */
        pid_t pid;           /* the process that it was lost at */
        pid_t entered;
};

static void loser_enter(struct guard *g, pid_t pid)
{
        ((struct loser *)g)->entered = pid;
}

static bool loser_leave(struct guard *g)
{
        struct loser *l = (struct loser *)g;

        if (++l->calls != l->lose_at)
                return true;
        l->strands = l->count->slots->n_scans;
        l->pid = count_give_up(l->count, g);
        assert_int_equal(l->pid, l->entered);
        return false;
}

static bool loser_stopping(struct guard *g)
{
        struct loser *l = (struct loser *)g;

        if (l->stop_after > 0 && vanish_at == 0) {
                l->stop_at = l->calls + l->stop_after;
                l->stop_after = 0;
        }
        if (l->stop_at == 0 || l->calls < l->stop_at)
                return false;
        l->strands = l->count->slots->n_scans;
        return true;
}

static void test_given_up(void **state)
{
        struct family *f = family_new(21, 2);
        unsigned by_turns = 0;

        for (unsigned at = 1; at < 800; at += 1 + at / 4) {
                _cleanup_(count_freep) struct count *c = new_count(f);
                struct loser l = {.guard = {.enter = loser_enter, .leave = loser_leave, .stopping = loser_stopping},
                                  .count = c,
                                  .lose_at = at};
                int r = count_run(c, &l.guard);

                if (l.pid == 0) {
                        assert_int_equal(r, 0);
                        assert_int_equal(assert_true_figures(f, c), 0);
                        continue;
                }
                assert_int_equal(r, -ECANCELED);
                by_turns += l.strands > 1;
                /* what another thread is given the job for: all but the one it was stuck at */
                assert_int_equal(count_run(c, NULL), 0);
                assert_int_equal(assert_true_figures(f, c), 1);
        }
        assert_true(by_turns >= 3);
        family_free(f);
}

static void test_stopped(void **state)
{
        struct family *f = family_new(22, 2);
        unsigned by_turns = 0;

        for (unsigned at = 1; at < 800; at += 1 + at / 4) {
                _cleanup_(count_freep) struct count *c = new_count(f);
                struct loser l = {.guard = {.enter = loser_enter, .leave = loser_leave, .stopping = loser_stopping},
                                  .count = c,
                                  .stop_at = at};

                if (count_run(c, &l.guard) != 0) {
                        by_turns += l.strands > 1;
                        assert_int_equal(count_run(c, NULL), 0);
                }
                assert_int_equal(assert_true_figures(f, c), 0);
        }
        assert_true(by_turns >= 3);
        family_free(f);
}

static void all_in_one_group(struct family *f)
{
        for (unsigned p = 0; p < FAMILY; p++)
                f->n_groups[p] = 1;
}

/* At the vanish_at-th read of a page table the first process that is walked ends, or if there are several all but the first. */
static void vanish(struct fake *f, unsigned call)
{
        const struct slot *s = watched->slots;

        if (!s || s->n_scans < vanish_from || vanish_at == 0 || --vanish_at > 0)
                return;
        vanish_strands = s->n_scans;
        for (size_t i = s->n_scans > 1; i < s->n_scans; i++)
                fake_vanish(f, watched->members[s->scans[i]->member].pid);
}

static unsigned count_gone(const struct count *c)
{
        unsigned gone = 0;

        for (uint32_t p = 0; p < FAMILY; p++) {
                struct process_sample s;

                count_process_result(c, p, &s);
                gone += s.outcome == COUNT_GONE;
        }
        return gone;
}

static void test_vanished(void **state)
{
        unsigned single = 0, by_turns = 0;

        for (unsigned at = 2; at < 2000; at += 2 + at / 2) {
                struct family *f = family_new(30 + at, 2);
                _cleanup_(count_freep) struct count *c = NULL;

                /* what one of them has shown no other group brings in */
                all_in_one_group(f);
                watched = c = new_count(f);
                vanish_from = 1;
                vanish_at = at;
                f->fake.on_pread = vanish;
                assert_int_equal(count_run(c, NULL), 0);
                assert_int_equal(assert_true_figures(f, c), 0);
                assert_true(count_gone(c) > 0);
                single += vanish_strands == 1;
                by_turns += vanish_strands > 1;
                family_free(f);
        }
        assert_true(single > 0);
        assert_true(by_turns > 0);
}

/* Another process with the same address space. */
static void make_twin(struct family *f, unsigned p)
{
        char from[128], to[128];

        fake_process(&f->fake, FIRST_TWIN + (int)p, 5, "x", f->maps[p], PAGES, f->mapped[p]);
        snprintf(from, sizeof(from), "%s/proc/%u/pagemap", f->fake.path, FIRST_PID + p);
        snprintf(to, sizeof(to), "%s/proc/%u/pagemap", f->fake.path, FIRST_TWIN + p);
        assert_int_equal(unlink(to), 0);
        assert_int_equal(link(from, to), 0);
}

/*
 * Processes of which the address spaces live on in others end, just after the first of those that are walked by turns has been opened, and
 * before the others have been tried the thread is told to stop.
 */
static void test_vanished_and_stopped(void **state)
{
        unsigned stopped = 0;

        for (unsigned after = 1; after < 60; after += 4) {
                struct family *f = family_new(7, 2);
                _cleanup_(count_freep) struct count *c = new_count(f);
                struct loser l = {.guard = {.enter = loser_enter, .leave = loser_leave, .stopping = loser_stopping},
                                  .count = c,
                                  .stop_after = after};

                for (unsigned p = 0; p < FAMILY; p++) {
                        make_twin(f, p);
                        assert_true(count_add_process(c, FIRST_TWIN + (int)p, 5, p + 1, f->groups[p], f->n_groups[p]) >=
                                    0);
                }
                watched = c;
                vanish_at = 1;
                vanish_from = 2;
                f->fake.on_pread = vanish;
                if (count_run(c, &l.guard) != 0) {
                        stopped += l.strands > 1 && count_gone(c) > 0;
                        assert_int_equal(count_run(c, NULL), 0);
                }
                assert_int_equal(assert_true_figures(f, c), 0);
                family_free(f);
        }
        assert_true(stopped > 0);
}

/* Of walks that go on at the same time one is remembered, and after a pause. */
static void test_one_is_remembered(void **state)
{
        struct vma vma = {.v = {.start = ANON_BASE, .end = ANON_BASE + 64 * FAKE_PAGE}, .kind = VMA_ANON};
        uint64_t entries[64], pages[64];
        const uint64_t *known;
        struct echo_view a, b;
        struct echo e = {};
        uint32_t group = 0;
        bool alike;

        for (uint64_t i = 0; i < 64; i++) {
                entries[i] = RAW_PRESENT | (100 + i);
                pages[i] = PAGE_PRESENT | PAGE_ANON | (100 + i);
        }
        echo_begin(&e, &a, FAKE_PAGE, &group, 1);
        echo_begin(&e, &b, FAKE_PAGE, &group, 1);
        for (struct echo_view *v = &a; v; v = v == &a ? &b : NULL) {
                echo_take_entries(v, &vma, ANON_BASE, entries, 64);
                echo_take_pages(v, pages, 64);
        }
        assert_int_equal(e.n_entries, 64);
        echo_end(&b, true);
        echo_end(&a, true);

        /* one that is not alike ends it; the next is not remembered, and the one after it is */
        echo_begin(&e, &a, FAKE_PAGE, &group, 1);
        assert_int_equal(echo_stretch(&a, &vma, ANON_BASE, entries, 64, &known, &alike), 64);
        assert_memory_equal(known, pages, sizeof(pages));
        assert_true(alike);
        echo_end(&a, true);
        assert_true(echo_expects(&e, &group, 1, 63));
        entries[63]++;
        echo_begin(&e, &a, FAKE_PAGE, &group, 1);
        assert_int_equal(echo_stretch(&a, &vma, ANON_BASE, entries, 64, &known, &alike), 64);
        assert_null(known);
        echo_take_pages(&a, pages, 64);
        echo_end(&a, true);
        assert_false(echo_expects(&e, &group, 1, 63));
        for (unsigned i = 0; i < 2; i++) {
                echo_begin(&e, &a, FAKE_PAGE, &group, 1);
                echo_take_entries(&a, &vma, ANON_BASE, entries, 64);
                echo_take_pages(&a, pages, 64);
                echo_end(&a, true);
                assert_int_equal(e.n_entries, i * 64);
        }
        echo_done(&e);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_one_is_remembered), cmocka_unit_test(test_family),
                        cmocka_unit_test(test_given_up),          cmocka_unit_test(test_stopped),
                        cmocka_unit_test(test_vanished),          cmocka_unit_test(test_vanished_and_stopped),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
