/* SPDX-License-Identifier: MIT */
/* workload.c: start, commands and the pattern of workload.h. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "workload.h"

struct truth truth;
struct region regions[16];
size_t n_regions;
uint64_t seed = 1;

/* Read by regions_touch() only to keep the compiler from dropping the loads. */
static volatile unsigned char sink;

void fail(const char *what)
{
        say("{\"failed\":\"%s\",\"errno\":%d}", what, errno);
        _exit(3);
}

void say(const char *format, ...)
{
        static char line[32768];
        size_t done = 0, length;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vsnprintf(line, sizeof(line) - 1, format, ap);
        va_end(ap);
        if (n < 0 || (size_t)n >= sizeof(line) - 1)
                _exit(4);
        length = (size_t)n;
        line[length++] = '\n';
        while (done < length) {
                ssize_t k = write(STDOUT_FILENO, line + done, length - done);

                if (k < 0 && errno != EINTR)
                        _exit(4);
                if (k > 0)
                        done += (size_t)k;
        }
}

void say_ready(const pid_t *pids, size_t n_pids)
{
        static char list[16384];
        size_t used = 0;

        for (size_t i = 0; i < n_pids && used < sizeof(list) - 16; i++)
                used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%d", i ? "," : "", (int)pids[i]);
        say("{\"ready\":true,\"pids\":[%s],\"anon\":%lld,\"file\":%lld,\"shmem\":%lld,\"again\":%lld,\"hugetlb\":%lld,"
            "\"swap\":%lld,\"address\":%llu,\"length\":%llu}",
            list, (long long)truth.anon, (long long)truth.file, (long long)truth.shmem, (long long)truth.again,
            (long long)truth.hugetlb, (long long)truth.swap,
            (unsigned long long)(n_regions ? (uintptr_t)regions[0].start : 0),
            (unsigned long long)(n_regions ? regions[0].length : 0));
}

unsigned char *map_anon(size_t length)
{
        void *p = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (p == MAP_FAILED)
                fail("mmap");
        /* Hosts differ in whether they use huge pages unasked. */
        (void)madvise(p, length, MADV_NOHUGEPAGE);
        return p;
}

unsigned char *map_aligned(size_t length)
{
        unsigned char *p = map_anon(length + HUGE);
        uintptr_t skip = (HUGE - (uintptr_t)p % HUGE) % HUGE;

        if (skip > 0 && munmap(p, skip) < 0)
                fail("munmap");
        if (munmap(p + skip + length, HUGE - skip) < 0)
                fail("munmap");
        return p + skip;
}

void region_add(void *start, size_t length, size_t stride)
{
        if (n_regions == sizeof(regions) / sizeof(regions[0]))
                fail("too many regions");
        regions[n_regions++] = (struct region){start, length, stride};
}

void regions_touch(void)
{
        for (size_t i = 0; i < n_regions; i++)
                for (size_t at = 0; at < regions[i].length; at += regions[i].stride)
                        sink = regions[i].start[at];
}

void regions_write(void)
{
        for (size_t i = 0; i < n_regions; i++)
                for (size_t at = 0; at < regions[i].length; at += regions[i].stride)
                        regions[i].start[at]++;
}

static uint64_t mix(uint64_t x)
{
        /* splitmix64, public domain (Sebastiano Vigna) */
        x += 0x9e3779b97f4a7c15ULL;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
        return x ^ (x >> 31);
}

void pattern_write(unsigned char *start, size_t page, uint64_t generation)
{
        uint64_t *words = (uint64_t *)(void *)(start + page * PAGE);
        uint64_t value = mix(mix(seed) ^ mix(page) ^ generation);

        words[0] = generation;
        for (size_t i = 1; i < PAGE / sizeof(*words); i++)
                words[i] = value + i;
}

bool pattern_check(const unsigned char *start, size_t page)
{
        const uint64_t *words = (const uint64_t *)(const void *)(start + page * PAGE);
        uint64_t value = mix(mix(seed) ^ mix(page) ^ words[0]);

        for (size_t i = 1; i < PAGE / sizeof(*words); i++)
                if (words[i] != value + i)
                        return false;
        return true;
}

void pattern_fill(unsigned char *start, size_t length)
{
        for (size_t page = 0; page < length / PAGE; page++)
                pattern_write(start, page, 0);
}

size_t pattern_verify(const unsigned char *start, size_t length)
{
        size_t bad = 0;

        for (size_t page = 0; page < length / PAGE; page++)
                bad += !pattern_check(start, page);
        return bad;
}

bool command_read(int timeout_ms, char *ret_line, size_t size)
{
        struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
        size_t n = 0;

        ret_line[0] = 0;
        if (poll(&p, 1, timeout_ms) <= 0)
                return true;
        while (n + 1 < size) {
                ssize_t k = read(STDIN_FILENO, ret_line + n, 1);

                if (k < 0 && errno == EINTR)
                        continue;
                if (k <= 0)
                        return false;
                if (ret_line[n] == '\n')
                        break;
                n++;
        }
        ret_line[n] = 0;
        return true;
}

void commands_serve(void)
{
        char line[256];

        while (command_read(-1, line, sizeof(line))) {
                if (strcmp(line, "touch") == 0) {
                        regions_touch();
                        say("{\"ok\":true}");
                } else if (strcmp(line, "write") == 0) {
                        regions_write();
                        say("{\"ok\":true}");
                } else if (strcmp(line, "pageout") == 0) {
                        for (size_t i = 0; i < n_regions; i++)
                                if (madvise(regions[i].start, regions[i].length, MADV_PAGEOUT) < 0)
                                        fail("MADV_PAGEOUT");
                        say("{\"ok\":true}");
                } else if (line[0]) {
                        say("{\"failed\":\"unknown command\"}");
                }
        }
        _exit(0);
}

void die_with_parent(void)
{
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
                fail("PR_SET_PDEATHSIG");
}

/* Makes every page of the program's own mappings present and keeps it so: what is left to change is the scenario's. */
static void settle(void)
{
        volatile unsigned char stack[256 * 1024];
        char line[64];

        for (size_t i = 0; i < sizeof(stack); i += PAGE)
                stack[i] = 1;
        if (mlockall(MCL_CURRENT) < 0)
                fail("mlockall");
        say("{\"settled\":true}");
        if (!command_read(-1, line, sizeof(line)))
                _exit(0);
}

static void nothing(int argc, char **argv)
{
        (void)argc;
        (void)argv;
}

int main(int argc, char **argv)
{
        scenario_fn run = NULL;
        bool pin = false;
        pid_t self;
        int at = 1;

        for (; at < argc && strncmp(argv[at], "--", 2) == 0; at++) {
                if (strcmp(argv[at], "--pin") == 0)
                        pin = true;
                else if (strcmp(argv[at], "--comm") == 0 && at + 1 < argc)
                        (void)prctl(PR_SET_NAME, argv[++at]);
                else if (strcmp(argv[at], "--seed") == 0 && at + 1 < argc)
                        seed = strtoull(argv[++at], NULL, 10);
                else
                        break;
        }
        if (at < argc) {
                run = rule_find(argv[at]);
                if (!run)
                        run = group_find(argv[at]);
                if (!run)
                        run = load_find(argv[at]);
                if (!run)
                        run = victim_find(argv[at]);
                if (!run)
                        run = shared_find(argv[at]);
                if (!run && strcmp(argv[at], "nothing") == 0)
                        run = nothing;
        }
        if (!run) {
                (void)fprintf(stderr, "usage: workload [--pin] [--comm NAME] [--seed N] SCENARIO [ARGUMENT…]\n");
                return 2;
        }
        die_with_parent();
        if (pin)
                settle();
        run(argc - at - 1, argv + at + 1);
        self = getpid();
        say_ready(&self, 1);
        commands_serve();
}
