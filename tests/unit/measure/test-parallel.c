/* SPDX-License-Identifier: MIT */
/*
 * Counting by several threads at one time gives what one thread gives, over hosts made at random: groups that overlap, processes that
 * share pages, large ones that are split; and also while threads are given up, told to stop, and processes end.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capd/measure/count.h"
#include "count-internal.h"
#include "fake.h"

#define PROCESSES    10U
#define GROUPS       3U
#define LARGE        2U /* processes */
#define LARGE_PAGES  (3 * COUNT_HELP_PAGES / 2)
#define SMALL_PAGES  3000U
#define FILE_PAGES   1500U
#define ANON_BASE    UINT64_C(0x10000000)
#define FILE_BASE    UINT64_C(0x7f0000000000)
#define FILE_FRAMES  1000U /* frames from here on are of the file */
#define SHARED_FIRST 10000U
#define SHARED_COUNT 60000U
#define OWN_FIRST    100000U
#define HUGE_FIRST   (300U * 512)
#define THREADS      4U

struct world {
        struct fake fake;
        uint64_t rng;
        uint32_t *counts;    /* mappings of each frame */
        uint32_t own;        /* next frame for a page that is exclusive */
        uint64_t *inherited; /* a process may have what the one before it has */
        /* what is true, for whoever is counted: frames and slots of each process */
        unsigned char *holds[PROCESSES];
        uint64_t mapped[PROCESSES];
        uint32_t groups[PROCESSES][GROUPS];
        size_t n_groups[PROCESSES];
};

static uint64_t draw(struct world *w, uint64_t below)
{
        w->rng ^= w->rng << 13;
        w->rng ^= w->rng >> 7;
        w->rng ^= w->rng << 17;
        return w->rng % below;
}

static uint64_t present(struct world *w, unsigned p, uint64_t frame, uint64_t flags)
{
        w->counts[frame]++;
        w->holds[p][frame] = 1;
        w->mapped[p]++;
        return RAW_PRESENT | flags | frame;
}

static uint64_t random_entry(struct world *w, unsigned p)
{
        switch (draw(w, 8)) {
        case 0:
                return 0;
        case 1:
                return RAW_SWAP | (draw(w, 5000) << 5) | draw(w, 2);
        case 2:
                return present(w, p, w->own++, RAW_EXCLUSIVE);
        default:
                return present(w, p, SHARED_FIRST + draw(w, SHARED_COUNT), 0);
        }
}

static void make_process(struct world *w, unsigned p)
{
        size_t n = p < LARGE ? LARGE_PAGES : SMALL_PAGES, rss;
        uint64_t *entries = calloc(n, sizeof(*entries)), run;
        uint64_t file[FILE_PAGES];
        char maps[256];

        for (size_t i = 0; i < n; i++)
                if (p % 3 && w->inherited[i] && draw(w, 200))
                        entries[i] = present(w, p, w->inherited[i], 0);
                else if (i % 512 == 0 && i + 512 <= n && draw(w, 4) == 0) {
                        /* a huge page that the others may have too */
                        run = HUGE_FIRST + 512 * draw(w, 40);
                        for (size_t k = 0; k < 512; k++)
                                entries[i + k] = present(w, p, run + k, 0);
                        i += 511;
                } else
                        entries[i] = random_entry(w, p);
        for (size_t i = 0; i < n; i++)
                w->inherited[i] = (entries[i] & (RAW_PRESENT | RAW_EXCLUSIVE)) == RAW_PRESENT
                                                  ? entries[i] & ~RAW_PRESENT
                                                  : 0;
        for (size_t i = 0; i < FILE_PAGES; i++)
                file[i] = draw(w, 3) == 0 ? 0 : present(w, p, FILE_FRAMES + i, RAW_FILE);
        rss = w->mapped[p];
        snprintf(maps, sizeof(maps), "%llx-%llx rw-p 00000000 00:00 0\n%llx-%llx r--s 00000000 08:01 9 /file\n",
                 (unsigned long long)ANON_BASE, (unsigned long long)(ANON_BASE + n * FAKE_PAGE),
                 (unsigned long long)FILE_BASE, (unsigned long long)(FILE_BASE + FILE_PAGES * FAKE_PAGE));
        fake_process(&w->fake, 100 + (int)p, 5, "x", maps, n + FILE_PAGES, rss);
        fake_pages(&w->fake, 100 + (int)p, ANON_BASE, entries, n);
        fake_pages(&w->fake, 100 + (int)p, FILE_BASE, file, FILE_PAGES);
        free(entries);
}

static void write_counts(struct world *w)
{
        uint64_t *all = calloc(FAKE_FRAMES, sizeof(*all));
        char path[128];
        int fd;

        /* every fifth frame has somebody else too */
        for (uint64_t f = 0; f < FAKE_FRAMES; f++)
                all[f] = w->counts[f] + (f < OWN_FIRST && f % 5 == 0);
        snprintf(path, sizeof(path), "%s/proc/kpagecount", w->fake.path);
        fd = open(path, O_WRONLY);
        assert_int_equal(write(fd, all, FAKE_FRAMES * sizeof(*all)), FAKE_FRAMES * sizeof(*all));
        close(fd);
        free(all);
}

static struct world *world_new(uint64_t seed)
{
        struct world *w = calloc(1, sizeof(*w));

        fake_init(&w->fake);
        w->fake.time_step = USEC_PER_MSEC; /* long enough that help is called for at once */
        w->rng = seed * 7919 + 1;
        w->own = HUGE_FIRST + 512 * 40;
        w->counts = calloc(FAKE_FRAMES, sizeof(*w->counts));
        w->inherited = calloc(LARGE_PAGES, sizeof(*w->inherited));
        for (unsigned p = 0; p < PROCESSES; p++) {
                w->holds[p] = calloc(FAKE_FRAMES, 1);
                make_process(w, p);
                for (uint32_t g = 0; g < GROUPS; g++)
                        if (draw(w, 2) || (g == p % GROUPS))
                                w->groups[p][w->n_groups[p]++] = g;
        }
        assert_true(w->own < FAKE_FRAMES);
        write_counts(w);
        return w;
}

static void world_free(struct world *w)
{
        fake_done(&w->fake);
        for (unsigned p = 0; p < PROCESSES; p++)
                free(w->holds[p]);
        free(w->counts);
        free(w->inherited);
        free(w);
}

static struct count *new_count(struct world *w, unsigned flags)
{
        struct count *c = NULL;

        assert_int_equal(count_new(&w->fake.sys, &w->fake.features, flags, &c), 0);
        for (unsigned g = 0; g < GROUPS; g++)
                assert_int_equal(count_add_group(c), g);
        for (unsigned p = 0; p < PROCESSES; p++)
                assert_int_equal(count_add_process(c, 100 + (int)p, 5, p + 1, w->groups[p], w->n_groups[p]), p);
        return c;
}

/* -- nothing goes wrong -- */

static void assert_same(const struct count *a, const struct count *b)
{
        for (uint32_t g = 0; g < GROUPS; g++) {
                struct group_sample x = {}, y = {};

                count_group_result(a, g, &x);
                count_group_result(b, g, &y);
                assert_int_equal(x.quality, QUALITY_EXACT);
                x.counted_at = y.counted_at = x.count_cost = y.count_cost = 0;
                assert_memory_equal(&x, &y, sizeof(x));
        }
        for (uint32_t p = 0; p < PROCESSES; p++) {
                struct process_sample x = {}, y = {};

                count_process_result(a, p, &x);
                count_process_result(b, p, &y);
                assert_int_equal(x.outcome, COUNT_DONE);
                assert_memory_equal(&x, &y, sizeof(x));
        }
}

/* What is true of the processes that were counted. */
static void assert_true_figures(const struct world *w, const struct count *c)
{
        for (uint32_t g = 0; g < GROUPS; g++) {
                uint64_t resident = 0, mapped = 0, stuck = 0;
                struct process_sample s[PROCESSES] = {};
                struct group_sample sample = {};

                for (uint32_t p = 0; p < PROCESSES; p++) {
                        bool member = false;

                        for (size_t i = 0; i < w->n_groups[p]; i++)
                                member = member || w->groups[p][i] == g;
                        count_process_result(c, p, &s[p]);
                        assert_int_not_equal(s[p].outcome, COUNT_PENDING);
                        assert_int_not_equal(s[p].outcome, COUNT_UNREAD);
                        if (s[p].outcome == COUNT_DONE)
                                assert_int_equal(s[p].mapped, w->mapped[p] * FAKE_PAGE);
                        stuck += member && s[p].outcome == COUNT_STUCK;
                        if (!member)
                                s[p].outcome = COUNT_GONE;
                        mapped += s[p].outcome == COUNT_DONE ? w->mapped[p] : 0;
                }
                for (uint64_t f = 0; f < FAKE_FRAMES; f++)
                        for (unsigned p = 0; p < PROCESSES; p++)
                                if (s[p].outcome == COUNT_DONE && w->holds[p][f]) {
                                        resident++;
                                        break;
                                }
                count_group_result(c, g, &sample);
                assert_int_equal(sample.unread, stuck);
                if (sample.quality == QUALITY_UNKNOWN)
                        continue;
                assert_int_equal(sample.quality, stuck ? QUALITY_BOUND_LOWER : QUALITY_EXACT);
                assert_int_equal(sample.resident, resident * FAKE_PAGE);
                assert_int_equal(sample.anon + sample.file + sample.shmem, sample.resident);
                assert_int_equal(sample.mapped, mapped * FAKE_PAGE);
        }
}

static void assert_frames(const struct world *w, const struct count *c)
{
        for (uint32_t g = 0; g < GROUPS; g++) {
                const struct frames *f = count_frames(c, g);
                uint64_t key, *words, n = 0;
                struct group_sample s = {};

                assert_non_null(f);
                for (size_t i = 0; frames_next_chunk(f, &i, &key, &words);)
                        for (size_t k = 0; k < FRAMES_CHUNK_WORDS; k++)
                                for (uint64_t bit = 0; bit < 64; bit++)
                                        if (words[k] >> bit & 1) {
                                                assert_true(w->counts[(key << FRAMES_CHUNK_BITS) + k * 64 + bit] > 0);
                                                n++;
                                        }
                count_group_result(c, g, &s);
                assert_int_equal(n * FAKE_PAGE, s.resident);
        }
}

static void test_same(void **state)
{
        static const unsigned flags[] = {0, COUNT_PRIVATE, COUNT_SHARES,
                                         COUNT_PRIVATE | COUNT_SHARES | COUNT_PSS | COUNT_KEEP_FRAMES};

        for (uint64_t seed = 1; seed <= 2; seed++) {
                struct world *w = world_new(seed);

                for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
                        _cleanup_(count_freep) struct count *one = new_count(w, flags[i]);

                        assert_int_equal(count_run(one, NULL), 0);
                        assert_true_figures(w, one);
                        for (unsigned threads = 1; threads <= THREADS; threads++) {
                                _cleanup_(count_freep) struct count *c = new_count(w, flags[i]);

                                assert_int_equal(count_run_parallel(c, threads), 0);
                                assert_same(one, c);
                                if (flags[i] & COUNT_KEEP_FRAMES)
                                        assert_frames(w, c);
                                else
                                        assert_null(count_frames(c, 0));
                        }
                }
                world_free(w);
        }
}

/* -- threads and processes come and go -- */

struct runner {
        struct guard guard;
        struct count *count;
        unsigned calls, lose_at, stop_at;
        bool lost;
};

static void runner_enter(struct guard *g, pid_t pid)
{
}

static bool runner_leave(struct guard *g)
{
        struct runner *r = (struct runner *)g;

        if (++r->calls != r->lose_at)
                return true;
        r->lost = true;
        /* as the owner of the pool would, while this thread hangs */
        assert_true(count_give_up(r->count, g) >= 100);
        return false;
}

static bool runner_stopping(struct guard *g)
{
        struct runner *r = (struct runner *)g;

        return r->calls == r->stop_at && r->stop_at > 0;
}

static void *run(void *arg)
{
        struct runner *r = arg;
        int q = count_run(r->count, &r->guard);

        /* what another thread is given the job for */
        if (q == -ECANCELED) {
                r->lose_at = r->stop_at = 0;
                q = count_run(r->count, &r->guard);
        }
        assert_int_equal(q, 0);
        return NULL;
}

static _Atomic int vanishing; /* the process that ends, 0: none */
static _Atomic unsigned vanish_after;

static void vanish(struct fake *f, unsigned call)
{
        if (atomic_fetch_sub(&vanish_after, 1) == 1 && atomic_load(&vanishing))
                fake_vanish(f, atomic_load(&vanishing));
}

static void test_troubles(void **state)
{
        unsigned stuck = 0, gone = 0;

        for (uint64_t seed = 10; seed < 14; seed++) {
                struct world *w = world_new(seed);

                for (int round = 0; round < 12; round++) {
                        unsigned flags = draw(w, 2) ? 0 : COUNT_PRIVATE | COUNT_SHARES;
                        _cleanup_(count_freep) struct count *c = new_count(w, flags);
                        struct runner runners[THREADS] = {};
                        pthread_t threads[THREADS];

                        for (size_t i = 0; i < THREADS; i++) {
                                runners[i] = (struct runner){
                                                .guard = {.enter = runner_enter,
                                                          .leave = runner_leave,
                                                          .stopping = runner_stopping},
                                                .count = c,
                                                .lose_at = draw(w, 2) ? 1 + (unsigned)draw(w, 60) : 0,
                                                .stop_at = draw(w, 3) ? 0 : 1 + (unsigned)draw(w, 60),
                                };
                        }
                        if (round == 11) {
                                atomic_store(&vanishing, 100 + (int)draw(w, PROCESSES));
                                atomic_store(&vanish_after, 1 + (unsigned)draw(w, 150));
                                w->fake.on_pread = vanish;
                        }
                        for (size_t i = 0; i < THREADS; i++)
                                assert_int_equal(pthread_create(&threads[i], NULL, run, &runners[i]), 0);
                        for (size_t i = 0; i < THREADS; i++)
                                pthread_join(threads[i], NULL);
                        w->fake.on_pread = NULL;
                        assert_true_figures(w, c);
                        for (uint32_t p = 0; p < PROCESSES; p++) {
                                struct process_sample s;

                                count_process_result(c, p, &s);
                                stuck += s.outcome == COUNT_STUCK;
                                gone += s.outcome == COUNT_GONE;
                        }
                }
                world_free(w);
        }
        assert_true(stuck > 0);
        assert_true(gone > 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_same),
                        cmocka_unit_test(test_troubles),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
