/* SPDX-License-Identifier: MIT */
/*
 * workload-load.c: programs under load, which know what they got done.
 *
 * loop      goes over its memory without end: looks at each page and writes it anew. "stat" tells how many pages that were.
 * service   a parent fills memory and forks children that inherit it; all of them answer on a Unix socket: for the number
 *           of a page, whether its contents are right. Beside it the parent reads a file, which leaves page cache behind
 *           that nobody maps.
 * client    asks a service for one page after the other. A question without an answer is an error that is counted, and so
 *           is a bad page.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "workload.h"

#define MAX_CHILDREN 64
/* Commands are looked for after so many pages: often enough where each of them is swapped in. */
#define PAGES_A_TURN 64

static size_t number(int argc, char **argv, int i, size_t fallback)
{
        return i < argc ? strtoul(argv[i], NULL, 10) : fallback;
}

static uint64_t now_usec(void)
{
        struct timespec ts;

        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* -- loop -- */

/* loop MIB */
static void run_loop(int argc, char **argv)
{
        size_t length = number(argc, argv, 0, 100) * MIB, bad = 0;
        unsigned char *p = map_anon(length);
        uint64_t done = 0;
        pid_t self = getpid();
        char line[64];

        pattern_fill(p, length);
        truth.anon = (int64_t)length;
        say_ready(&self, 1);
        for (;; done++) {
                size_t page = done % (length / PAGE);

                if (done % PAGES_A_TURN == 0) {
                        if (!command_read(0, line, sizeof(line)))
                                _exit(0);
                        if (line[0])
                                say("{\"ok\":true,\"pages\":%llu,\"usec\":%llu,\"bad\":%zu}", (unsigned long long)done,
                                    (unsigned long long)now_usec(), bad);
                }
                bad += !pattern_check(p, page);
                pattern_write(p, page, done + 1);
        }
}

/* -- service -- */

static int unix_socket(const char *path, struct sockaddr_un *ret)
{
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0 || strlen(path) >= sizeof(ret->sun_path))
                fail("socket");
        *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
        memcpy(ret->sun_path, path, strlen(path) + 1);
        return fd;
}

static _Noreturn void serve(int listener, const unsigned char *memory, size_t n_pages)
{
        for (;;) {
                int fd = accept(listener, NULL, NULL);
                uint64_t page;
                char answer;

                if (fd < 0)
                        _exit(6);
                while (read(fd, &page, sizeof(page)) == (ssize_t)sizeof(page)) {
                        answer = page < n_pages && pattern_check(memory, page) ? 'y' : 'n';
                        if (write(fd, &answer, 1) != 1)
                                break;
                }
                (void)close(fd);
        }
}

/* Page cache that nobody maps. A hole is as good as data and needs no disk. */
static void read_through(const char *path, size_t length)
{
        static char block[MIB];
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

        if (fd < 0 || ftruncate(fd, (off_t)length) < 0)
                fail("open");
        for (size_t at = 0; at < length; at += sizeof(block))
                if (pread(fd, block, sizeof(block), (off_t)at) != (ssize_t)sizeof(block))
                        fail("pread");
        (void)close(fd);
}

/* service SOCKET MIB CHILDREN [FILE MIB] */
static void run_service(int argc, char **argv)
{
        size_t length = number(argc, argv, 1, 100) * MIB, n = number(argc, argv, 2, 4),
               cache = number(argc, argv, 4, 0) * MIB;
        static pid_t pids[MAX_CHILDREN + 1];
        struct sockaddr_un address;
        unsigned char *p;
        char line[64];
        int fd;

        if (argc < 3 || n > MAX_CHILDREN)
                fail("arguments");
        fd = unix_socket(argv[0], &address);
        if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 128) < 0)
                fail("bind");
        p = map_anon(length);
        pattern_fill(p, length);
        region_add(p, length, PAGE);
        truth.anon = (int64_t)length;
        truth.again = (int64_t)(length * n);
        pids[0] = getpid();
        for (size_t i = 1; i <= n; i++) {
                pids[i] = fork();
                if (pids[i] < 0)
                        fail("fork");
                if (pids[i] == 0) {
                        die_with_parent();
                        regions_touch();
                        serve(fd, p, length / PAGE);
                }
        }
        if (cache > 0)
                read_through(argv[3], cache);
        say_ready(pids, n + 1);
        while (command_read(-1, line, sizeof(line)))
                if (line[0])
                        say("{\"ok\":true,\"bad\":%zu}", strcmp(line, "verify") == 0 ? pattern_verify(p, length) : 0);
        _exit(0);
}

/* -- client -- */

/* client SOCKET MIB: MIB of the service's memory are asked for, in a random order, a new connection every 100 questions */
static void run_client(int argc, char **argv)
{
        size_t pages = number(argc, argv, 1, 1) * (MIB / PAGE);
        uint64_t asked = 0, errors = 0, bad = 0, worst = 0, dice = seed;
        struct sockaddr_un address;
        pid_t self = getpid();
        char line[64];

        if (argc < 1)
                fail("arguments");
        (void)signal(SIGPIPE, SIG_IGN);
        say_ready(&self, 1);
        for (;;) {
                /* who waits for so long has no answer */
                const struct timeval patience = {.tv_sec = 60};
                int fd = unix_socket(argv[0], &address);

                if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
                        fail("SO_RCVTIMEO");
                errors += connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0;
                for (size_t i = 0; i < 100; i++) {
                        uint64_t page, began = now_usec(), took;
                        char answer = 0;

                        dice = dice * 6364136223846793005ULL + 1442695040888963407ULL;
                        page = (dice >> 33) % pages;
                        if (write(fd, &page, sizeof(page)) != (ssize_t)sizeof(page) || read(fd, &answer, 1) != 1)
                                errors++;
                        else {
                                took = now_usec() - began;
                                worst = took > worst ? took : worst;
                                bad += answer != 'y';
                                asked++;
                        }
                        if (!command_read(1, line, sizeof(line)))
                                _exit(0);
                        if (line[0]) {
                                say("{\"ok\":true,\"asked\":%llu,\"errors\":%llu,\"bad\":%llu,\"worst_usec\":%llu}",
                                    (unsigned long long)asked, (unsigned long long)errors, (unsigned long long)bad,
                                    (unsigned long long)worst);
                                worst = 0;
                        }
                }
                (void)close(fd);
        }
}

scenario_fn load_find(const char *name)
{
        static const struct {
                const char *name;
                scenario_fn run;
        } loads[] = {{"loop", run_loop}, {"service", run_service}, {"client", run_client}};

        for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++)
                if (strcmp(loads[i].name, name) == 0)
                        return loads[i].run;
        return NULL;
}
