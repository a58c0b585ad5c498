/* SPDX-License-Identifier: MIT */
/*
 * workload-victim.c: a program that feels when somebody holds the lock of its address space.
 *
 * victim anon MIB           private memory in 4 KiB pages
 * victim file MIB PATH      the same of a file, mapped shared and clean
 *
 * Beside that memory a thread maps a little, faults it in and unmaps it, over and over, and writes down how long each round took.
 * "mark" begins anew; "write" has all of the memory written to (anon only); "stat" tells how many rounds there were, and the median,
 * the 99.9th percentile and the worst of them in microseconds. The thread runs before all others where it may, so that what it waits
 * for is the lock and not a processor; after "ordinary" it runs like any other.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "workload.h"

#define SAMPLES   (1U << 20)
#define MAP_PAGES 16U
/* Between rounds: without it the scheduler would take the processor away from a thread that runs before all others. */
#define PAUSE_NSEC 50000

static uint32_t *samples; /* nanoseconds */
static atomic_size_t n_samples;

static uint64_t now_nsec(void)
{
        struct timespec ts;

        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void *feel(void *unused)
{
        (void)unused;
        for (;;) {
                uint64_t began = now_nsec(), took;
                unsigned char *p = map_anon(MAP_PAGES * PAGE);
                size_t n;

                for (size_t i = 0; i < MAP_PAGES; i++)
                        p[i * PAGE] = 1;
                if (munmap(p, MAP_PAGES * PAGE) < 0)
                        fail("munmap");
                took = now_nsec() - began;
                n = atomic_load(&n_samples);
                if (n < SAMPLES) {
                        samples[n] = took < UINT32_MAX ? (uint32_t)took : UINT32_MAX;
                        atomic_compare_exchange_strong(&n_samples, &n, n + 1);
                }
                (void)nanosleep(&(struct timespec){.tv_nsec = PAUSE_NSEC}, NULL);
        }
        return NULL;
}

static int compare(const void *a, const void *b)
{
        uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

        return x < y ? -1 : x > y;
}

static void say_felt(void)
{
        size_t n = atomic_load(&n_samples);

        if (n == 0)
                fail("no round yet");
        qsort(samples, n, sizeof(*samples), compare);
        say("{\"ok\":true,\"rounds\":%zu,\"median\":%.1f,\"p999\":%.1f,\"worst\":%.1f}", n, samples[n / 2] / 1e3,
            samples[n - 1 - n / 1000] / 1e3, samples[n - 1] / 1e3);
        atomic_store(&n_samples, 0);
}

static void map_file(const char *path, size_t length)
{
        static unsigned char block[MIB];
        int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        unsigned char *p;

        if (fd < 0)
                fail("open");
        for (size_t i = 0; i < length / MIB; i++) {
                memset(block, (int)i + 1, sizeof(block));
                if (write(fd, block, sizeof(block)) != (ssize_t)sizeof(block))
                        fail("write");
        }
        if (fsync(fd) < 0)
                fail("fsync");
        p = mmap(NULL, length, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
        if (p == MAP_FAILED)
                fail("mmap");
        region_add(p, length, PAGE);
        truth.file = (int64_t)length;
}

static void run_victim(int argc, char **argv)
{
        size_t length = argc > 1 ? strtoul(argv[1], NULL, 10) * MIB : 64 * MIB;
        pid_t self = getpid();
        pthread_t thread;
        char line[64];

        if (argc > 2 && strcmp(argv[0], "file") == 0) {
                map_file(argv[2], length);
        } else {
                unsigned char *p = map_anon(length);

                (void)madvise(p, length, MADV_NOHUGEPAGE);
                pattern_fill(p, length);
                region_add(p, length, PAGE);
                truth.anon = (int64_t)length;
        }
        samples = (uint32_t *)(void *)map_anon(SAMPLES * sizeof(*samples));
        memset(samples, 1, SAMPLES * sizeof(*samples));
        if (pthread_create(&thread, NULL, feel, NULL) != 0)
                fail("pthread_create");
        /* without the right it goes on as it is, and says more of the scheduler */
        (void)pthread_setschedparam(thread, SCHED_FIFO, &(struct sched_param){.sched_priority = 1});
        say_ready(&self, 1);
        while (command_read(-1, line, sizeof(line))) {
                if (strcmp(line, "touch") == 0)
                        regions_touch();
                if (strcmp(line, "write") == 0)
                        regions_write();
                if (strcmp(line, "ordinary") == 0)
                        (void)pthread_setschedparam(thread, SCHED_OTHER, &(struct sched_param){});
                if (strcmp(line, "stat") == 0)
                        say_felt();
                else {
                        atomic_store(&n_samples, 0);
                        say("{\"ok\":true}");
                }
        }
        _exit(0);
}

scenario_fn victim_find(const char *name)
{
        return strcmp(name, "victim") == 0 ? run_victim : NULL;
}
