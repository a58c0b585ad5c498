/* SPDX-License-Identifier: MIT */
/*
 * bench-count.c: what a count costs, beside what one would do without capd.
 *
 *     bench-count count K PID…   in turn, beginning with the K-th, since the first finds the caches cold: libmeasure's exact count of
 *                                the group with all processors and with one thread, a loop that opens and reads smaps_rollup of
 *                                each process, and the bare reading of pagemap of each with all processors and with one thread,
 *                                some processes by turns, and with one thread one process after the other
 *     bench-count one N PID…     N times the count with one thread, and nothing else
 *     bench-count old N PID…     the same as on Linux before 6.7: without PAGEMAP_SCAN
 *     bench-count estimate N PID… the count with one thread, N estimates, and the count again
 *     bench-count statm N PID…   N times: open, read and close statm of each process
 *
 * Prints one line of JSON a repetition, times in microseconds of wall clock and of CPU.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "capd/base/sys.h"
#include "capd/measure/count.h"
#include "capd/measure/features.h"
#include "capd/measure/worker.h"

#define MAPS_BYTES  (1U << 20)
#define MAX_THREADS 16U

#define BARE_TURNS       8U
#define BARE_PIECE_PAGES 4096U

/* Exactly, or one chunk in `one_in`; 0: none is left out. */
static struct group_sample sample_once(const struct sys *sys, const struct features *features, unsigned threads,
                                       uint32_t one_in, const pid_t *pids, size_t n, double *ret_wall, double *ret_cpu)
{
        _cleanup_free_ uint64_t *start_times = calloc(n, sizeof(*start_times));
        _cleanup_(count_freep) struct count *c = NULL;
        struct group_sample sample = {0};
        struct stopwatch watch;
        uint32_t group;
        int r;

        if (!start_times)
                die("calloc", ENOMEM);
        /* part of what names a process, as its number is: the table of processes has both */
        for (size_t i = 0; i < n; i++)
                start_times[i] = start_time(pids[i]);
        start(&watch);
        r = count_new(sys, features, 0, &c);
        if (r < 0)
                die("count_new", -r);
        if (one_in > 0) {
                r = count_set_sample(c, one_in);
                if (r < 0)
                        die("count_set_sample", -r);
        }
        r = count_add_group(c);
        if (r < 0)
                die("count_add_group", -r);
        group = (uint32_t)r;
        for (size_t i = 0; i < n; i++) {
                r = count_add_process(c, pids[i], start_times[i], (uint64_t)pids[i], &group, 1);
                if (r < 0)
                        die("count_add_process", -r);
        }
        r = count_run_parallel(c, threads);
        if (r < 0)
                die("count_run", -r);
        count_group_result(c, group, &sample);
        *ret_wall = since(&watch.wall, CLOCK_MONOTONIC);
        *ret_cpu = since(&watch.cpu, CLOCK_PROCESS_CPUTIME_ID);
        if (sample.quality != (one_in > 0 ? QUALITY_ESTIMATE : QUALITY_EXACT))
                die("not all processes could be read", EIO);
        return sample;
}

static uint64_t count_once(const struct sys *sys, const struct features *features, unsigned threads, const pid_t *pids,
                           size_t n, double *ret_wall, double *ret_cpu)
{
        return sample_once(sys, features, threads, 0, pids, n, ret_wall, ret_cpu).resident;
}

/* The truth is that of the count before; whoever reads this compares it with the one after. */
static void estimates(const struct sys *sys, const struct features *features, int repetitions, const pid_t *pids,
                      size_t n)
{
        double wall, cpu, exact_wall, exact_cpu;
        struct group_sample exact = sample_once(sys, features, 1, 0, pids, n, &exact_wall, &exact_cpu);
        uint32_t one_in = count_sample_rate(exact.mapped / 4096);

        for (int i = 0; i < repetitions; i++) {
                struct group_sample s = sample_once(sys, features, 1, one_in, pids, n, &wall, &cpu);

                printf("{\"estimate\":%.0f,\"estimate_cpu\":%.0f,\"resident\":%llu,\"error\":%llu,\"sampled\":%u}\n",
                       wall, cpu, (unsigned long long)s.resident, (unsigned long long)s.error_bytes,
                       (unsigned)s.sampled);
        }
        for (int i = 0; i < 2; i++) {
                printf("{\"exact\":%.0f,\"exact_cpu\":%.0f,\"resident\":%llu,\"mapped\":%llu}\n", exact_wall, exact_cpu,
                       (unsigned long long)exact.resident, (unsigned long long)exact.mapped);
                if (i == 0)
                        exact = sample_once(sys, features, 1, 0, pids, n, &exact_wall, &exact_cpu);
        }
}

static uint64_t rollup_once(const pid_t *pids, size_t n, double *ret_wall, double *ret_cpu)
{
        struct stopwatch watch;
        uint64_t pss = 0;
        char buf[4096];

        start(&watch);
        for (size_t i = 0; i < n; i++) {
                const char *p;

                slurp(pids[i], "smaps_rollup", buf, sizeof(buf));
                p = strstr(buf, "\nPss:");
                pss += p ? strtoull(p + 5, NULL, 10) * 1024 : 0;
        }
        *ret_wall = since(&watch.wall, CLOCK_MONOTONIC);
        *ret_cpu = since(&watch.cpu, CLOCK_PROCESS_CPUTIME_ID);
        return pss;
}

/* A process that is read with nothing done to what was read. */
struct bare_process {
        int fd;
        char *maps, *line;      /* the mappings, and the one that is next */
        unsigned long from, to; /* what is left of the one before it */
};

static void bare_open(struct bare_process *p, pid_t pid)
{
        char path[64];

        *p = (struct bare_process){.maps = malloc(MAPS_BYTES)};
        if (!p->maps)
                die("malloc", ENOMEM);
        slurp(pid, "maps", p->maps, MAPS_BYTES);
        p->line = p->maps;
        snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
        p->fd = open(path, O_RDONLY | O_CLOEXEC);
        if (p->fd < 0)
                die(path, errno);
}

static void bare_close(struct bare_process *p)
{
        (void)close(p->fd);
        free(p->maps);
}

/* Reads as many pages; false: all of them have been. */
static bool bare_read(struct bare_process *p, size_t pages)
{
        uint64_t window[2048];

        while (pages > 0) {
                size_t n = (p->to - p->from) / 4096;

                if (n == 0) {
                        if (!p->line || sscanf(p->line, "%lx-%lx", &p->from, &p->to) != 2 || p->from >= 1UL << 47)
                                return false;
                        p->line = strchr(p->line, '\n');
                        p->line = p->line ? p->line + 1 : NULL;
                        continue;
                }
                n = MIN(n, pages);
                n = MIN(n, ARRAY_SIZE(window));
                if (pread(p->fd, window, n * 8, (off_t)(p->from / 4096 * 8)) <= 0)
                        return false;
                p->from += n * 4096;
                pages -= n;
        }
        return true;
}

/*
 * What reading the page tables costs by itself: no count by page frame can be cheaper. Some processes by turns, a piece of each, since that
 * is what the caches like best.
 */
static void bare_turns(const pid_t *pids, size_t n)
{
        struct bare_process processes[BARE_TURNS];
        bool more = true;

        for (size_t i = 0; i < n; i++)
                bare_open(&processes[i], pids[i]);
        while (more) {
                more = false;
                for (size_t i = 0; i < n; i++)
                        more = bare_read(&processes[i], BARE_PIECE_PAGES) || more;
        }
        for (size_t i = 0; i < n; i++)
                bare_close(&processes[i]);
}

struct bare {
        const pid_t *pids;
        size_t n, turns; /* so many processes at a time */
        _Atomic size_t next;
};

static void *bare_thread(void *arg)
{
        struct bare *b = arg;

        for (size_t i; (i = atomic_fetch_add(&b->next, b->turns)) < b->n;)
                bare_turns(b->pids + i, MIN(b->n - i, b->turns));
        return NULL;
}

static void bare_once(unsigned threads, size_t turns, const pid_t *pids, size_t n, double *ret_wall, double *ret_cpu)
{
        struct bare b = {.pids = pids, .n = n, .turns = turns};
        pthread_t helpers[MAX_THREADS];
        struct stopwatch watch;
        unsigned started = 0;

        start(&watch);
        while (started + 1 < MIN(threads, MAX_THREADS)) {
                int r = pthread_create(&helpers[started], NULL, bare_thread, &b);

                if (r != 0)
                        die("pthread_create", r);
                started++;
        }
        bare_thread(&b);
        while (started > 0)
                pthread_join(helpers[--started], NULL);
        *ret_wall = since(&watch.wall, CLOCK_MONOTONIC);
        *ret_cpu = since(&watch.cpu, CLOCK_PROCESS_CPUTIME_ID);
}

/* Each of what is compared, once. */
static void compare(const struct sys *sys, const struct features *features, unsigned first, const pid_t *pids, size_t n)
{
        static const char *const names[] = {"count", "rollup", "one", "bare", "bare_one", "in_order"};
        uint64_t resident = 0, one = 0, pss = 0;
        double wall[ARRAY_SIZE(names)], cpu[ARRAY_SIZE(names)];

        for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
                unsigned which = (first + i) % ARRAY_SIZE(names);
                double *w = &wall[which], *c = &cpu[which];

                switch (which) {
                case 0:
                        resident = count_once(sys, features, worker_useful_threads(), pids, n, w, c);
                        break;
                case 1:
                        pss = rollup_once(pids, n, w, c);
                        break;
                case 2:
                        one = count_once(sys, features, 1, pids, n, w, c);
                        break;
                case 3:
                        bare_once(worker_useful_threads(), BARE_TURNS, pids, n, w, c);
                        break;
                case 4:
                        bare_once(1, BARE_TURNS, pids, n, w, c);
                        break;
                default:
                        bare_once(1, 1, pids, n, w, c);
                }
        }
        if (one != resident)
                fprintf(stderr, "one thread counts differently: has something changed?\n");
        for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
                printf("%c\"%s\":%.0f,\"%s_cpu\":%.0f", i ? ',' : '{', names[i], wall[i], names[i], cpu[i]);
        printf(",\"resident\":%llu,\"pss\":%llu}\n", (unsigned long long)resident, (unsigned long long)pss);
}

static void counts(const struct sys *sys, const struct features *features, int repetitions, const pid_t *pids, size_t n)
{
        for (int i = 0; i < repetitions; i++) {
                double wall, cpu;
                uint64_t resident = count_once(sys, features, 1, pids, n, &wall, &cpu);

                printf("{\"one\":%.0f,\"one_cpu\":%.0f,\"resident\":%llu}\n", wall, cpu, (unsigned long long)resident);
        }
}

static void statm(int repetitions, const pid_t *pids, size_t n)
{
        for (int i = 0; i < repetitions; i++) {
                struct stopwatch watch;
                char buf[256];

                start(&watch);
                for (size_t k = 0; k < n; k++)
                        slurp(pids[k], "statm", buf, sizeof(buf));
                printf("{\"statm\":%.1f,\"statm_cpu\":%.1f}\n", since(&watch.wall, CLOCK_MONOTONIC),
                       since(&watch.cpu, CLOCK_PROCESS_CPUTIME_ID));
        }
}

int main(int argc, char **argv)
{
        static struct features features;
        _cleanup_free_ pid_t *pids = NULL;
        struct sys sys;
        size_t n;
        int r;

        if (argc < 4) {
                fprintf(stderr, "usage: bench-count count|one|old|estimate|statm NUMBER PID…\n");
                return 2;
        }
        n = (size_t)argc - 3;
        pids = calloc(n, sizeof(*pids));
        if (!pids)
                die("calloc", ENOMEM);
        for (size_t i = 0; i < n; i++)
                pids[i] = atoi(argv[i + 3]);
        r = sys_init(&sys, NULL);
        if (r < 0)
                die("sys_init", -r);
        r = features_probe(&sys, 65534, 65534, &features);
        if (r < 0)
                die("features_probe", -r);
        if (strcmp(argv[1], "old") == 0)
                features.pagemap_scan = false;
        if (strcmp(argv[1], "estimate") == 0)
                estimates(&sys, &features, atoi(argv[2]), pids, n);
        else if (strcmp(argv[1], "count") == 0)
                compare(&sys, &features, (unsigned)atoi(argv[2]), pids, n);
        else if (strcmp(argv[1], "statm") == 0)
                statm(atoi(argv[2]), pids, n);
        else
                counts(&sys, &features, atoi(argv[2]), pids, n);
        sys_done(&sys);
        return 0;
}
