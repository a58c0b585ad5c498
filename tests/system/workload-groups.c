/* SPDX-License-Identifier: MIT */
/*
 * workload-groups.c: groups of processes.
 *
 * family    a parent fills private memory and forks children that inherit it; all of them touch, overwrite or verify
 *           it on command, or each writes to a few stretches of it at random ("scatter"). Process 0 is the parent.
 * segment   the same with shared memory that all of them map, and some private memory of each.
 * member    one process with private memory of its own and, if wanted, a mapping of a given file.
 * reader    maps a file on disk that it only reads, so that its pages are clean.
 * writer    works on its memory without end: a hot part is rewritten, a few other pages a second are looked at.
 * sleepers  many processes that do nothing, under as many names as wanted.
 * flip-exec executes itself for ever, holding private memory in one life and shared memory in the next.
 * flip-pid  the same with a new process under the same number each time.
 * churn     keeps starting children that soon end or execute something else.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "workload.h"

#define MAX_FAMILY   512
#define FLIP_LENGTH  (32 * MIB)
#define MAX_SLEEPERS 16000

static size_t number(int argc, char **argv, int i, size_t fallback)
{
        return i < argc ? strtoul(argv[i], NULL, 10) : fallback;
}

static void sleep_ms(unsigned ms)
{
        struct timespec ts = {ms / 1000, (long)(ms % 1000) * 1000000};

        (void)nanosleep(&ts, NULL);
}

/* -- family -- */

static struct {
        unsigned char *memory;
        size_t length, own; /* of all, and of each */
        size_t n;           /* with the parent */
        pid_t pids[MAX_FAMILY];
        int fds[MAX_FAMILY];
        uint64_t generation;
} family;

/* What an ordinary program has in libraries. */
static const unsigned char ballast[2 * MIB] = {1};

/* The same numbers for the same --seed, and others for each process: the parent's generation is small. */
static uint64_t family_dice(void)
{
        static uint64_t state;

        if (state == 0)
                state = (seed + 1) * 7919 + family.generation * 104729;
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state;
}

static size_t family_do(char what)
{
        switch (what) {
        case 't':
                regions_touch();
                for (size_t at = 0; at < sizeof(ballast); at += PAGE)
                        (void)*(const volatile unsigned char *)(ballast + at);
                return 0;
        case 'o':
                family.generation++;
                for (size_t page = 0; page < family.length / PAGE; page++)
                        pattern_write(family.memory, page, family.generation);
                return 0;
        case 's':
                family.generation++;
                for (size_t i = 0; i < 8; i++) {
                        size_t first = family_dice() % (family.length / PAGE), n = 1 + family_dice() % 40;

                        for (size_t page = first; page < first + n && page < family.length / PAGE; page++)
                                pattern_write(family.memory, page, family.generation);
                }
                return 0;
        case 'v':
                return pattern_verify(family.memory, family.length);
        default:
                _exit(5);
        }
}

static void family_own(void)
{
        unsigned char *p;

        if (family.own == 0)
                return;
        p = map_anon(family.own);
        pattern_fill(p, family.own);
        region_add(p, family.own, PAGE);
}

static _Noreturn void family_child(size_t index, int fd)
{
        char what;

        die_with_parent();
        family_own();
        family.generation = index * 1000;
        while (read(fd, &what, 1) == 1) {
                size_t bad = family_do(what);

                if (write(fd, &bad, sizeof(bad)) != (ssize_t)sizeof(bad))
                        break;
        }
        _exit(0);
}

/* All children of the range work at the same time; the parent, if it is among them, comes last. */
static size_t family_each(char what, size_t from, size_t to)
{
        size_t bad = 0, one;

        for (size_t i = from > 1 ? from : 1; i < to && i < family.n; i++)
                if (write(family.fds[i], &what, 1) != 1)
                        fail("write to a child");
        for (size_t i = from > 1 ? from : 1; i < to && i < family.n; i++) {
                if (read(family.fds[i], &one, sizeof(one)) != (ssize_t)sizeof(one))
                        fail("read from a child");
                bad += one;
        }
        return from == 0 && to > 0 ? bad + family_do(what) : bad;
}

static _Noreturn void family_run(size_t children)
{
        char line[256], word[32];

        family.n = children + 1;
        if (family.n > MAX_FAMILY)
                fail("too many children");
        pattern_fill(family.memory, family.length);
        region_add(family.memory, family.length, PAGE);
        truth.again = (int64_t)(family.length * (family.n - 1));
        family.pids[0] = getpid();
        for (size_t i = 1; i < family.n; i++) {
                int pair[2];

                if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                        fail("socketpair");
                family.pids[i] = fork();
                if (family.pids[i] < 0)
                        fail("fork");
                if (family.pids[i] == 0) {
                        for (size_t k = 1; k < i; k++)
                                (void)close(family.fds[k]);
                        (void)close(pair[0]);
                        family_child(i, pair[1]);
                }
                (void)close(pair[1]);
                family.fds[i] = pair[0];
        }
        family_own();
        (void)family_each('t', 0, family.n);
        say_ready(family.pids, family.n);
        while (command_read(-1, line, sizeof(line))) {
                size_t from = 0, to = family.n;

                if (sscanf(line, "%31s %zu %zu", word, &from, &to) < 1)
                        continue;
                if (strcmp(word, "touch") != 0 && strcmp(word, "overwrite") != 0 && strcmp(word, "scatter") != 0 &&
                    strcmp(word, "verify") != 0)
                        say("{\"failed\":\"unknown command\"}");
                else
                        say("{\"ok\":true,\"bad\":%zu}", family_each(word[0], from, to));
        }
        _exit(0);
}

/* family MIB CHILDREN */
static void run_family(int argc, char **argv)
{
        family.length = number(argc, argv, 0, 100) * MIB;
        family.memory = map_anon(family.length);
        truth.anon = (int64_t)family.length;
        family_run(number(argc, argv, 1, 3));
}

/* segment MIB CHILDREN OWN_MIB */
static void run_segment(int argc, char **argv)
{
        size_t children = number(argc, argv, 1, 3);
        void *p;

        family.length = number(argc, argv, 0, 100) * MIB;
        family.own = number(argc, argv, 2, 5) * MIB;
        p = mmap(NULL, family.length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
                fail("mmap");
        family.memory = p;
        truth.shmem = (int64_t)family.length;
        truth.anon = (int64_t)(family.own * (children + 1));
        family_run(children);
}

/* -- member -- */

/* member PRIVATE_MIB [PATH SHARED_MIB] */
static void run_member(int argc, char **argv)
{
        size_t own = number(argc, argv, 0, 16) * MIB, shared = number(argc, argv, 2, 0) * MIB;

        if (own > 0) {
                unsigned char *p = map_anon(own);

                pattern_fill(p, own);
                region_add(p, own, PAGE);
        }
        if (shared > 0) {
                int fd = open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
                void *p;

                if (fd < 0 || ftruncate(fd, (off_t)shared) < 0)
                        fail("open");
                p = mmap(NULL, shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
                if (p == MAP_FAILED)
                        fail("mmap");
                pattern_fill(p, shared);
                region_add(p, shared, PAGE);
        }
        truth.anon = (int64_t)own;
        truth.shmem = (int64_t)shared;
}

/* reader PATH MIB */
static void run_reader(int argc, char **argv)
{
        static unsigned char block[MIB];
        size_t length = number(argc, argv, 1, 64) * MIB;
        int fd = argc > 0 ? open(argv[0], O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
        void *p;

        if (fd < 0)
                fail("open");
        for (size_t at = 0; at < length; at += sizeof(block)) {
                pattern_fill(block, sizeof(block));
                if (pwrite(fd, block, sizeof(block), (off_t)at) != (ssize_t)sizeof(block))
                        fail("pwrite");
        }
        if (fsync(fd) < 0)
                fail("fsync");
        p = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
                fail("mmap");
        region_add(p, length, PAGE);
        regions_touch();
        truth.file = (int64_t)length;
}

/* -- writer -- */

/* writer MIB HOT_MIB OTHER_PAGES_A_SECOND */
static void run_writer(int argc, char **argv)
{
        size_t length = number(argc, argv, 0, 300) * MIB, hot = number(argc, argv, 1, 30) * MIB;
        size_t others = number(argc, argv, 2, 50), bad = 0;
        unsigned char *p = map_anon(length);
        uint64_t rounds = 0, looked = 0, dice = seed;
        pid_t self = getpid();
        char line[256];

        pattern_fill(p, length);
        region_add(p, length, PAGE);
        truth.anon = (int64_t)length;
        say_ready(&self, 1);
        /* A round takes some 20 ms, most of it asleep, so that the tests share two CPUs with the daemon. */
        for (;; rounds++) {
                if (!command_read(20, line, sizeof(line)))
                        _exit(0);
                if (strcmp(line, "verify") == 0)
                        bad += pattern_verify(p, length);
                if (line[0])
                        say("{\"ok\":true,\"rounds\":%llu,\"looked\":%llu,\"bad\":%zu}", (unsigned long long)rounds,
                            (unsigned long long)looked, bad);
                for (size_t page = rounds % 4; page < hot / PAGE; page += 4)
                        pattern_write(p, page, rounds + 1);
                for (; length > hot && looked < rounds * others / 50; looked++) {
                        dice = dice * 6364136223846793005ULL + 1442695040888963407ULL;
                        bad += !pattern_check(p, hot / PAGE + (dice >> 33) % ((length - hot) / PAGE));
                }
        }
}

/* -- many idle ones -- */

/* sleepers N [NAMES]: child i calls itself "s" and i modulo NAMES. */
static void run_sleepers(int argc, char **argv)
{
        static pid_t pids[MAX_SLEEPERS + 1];
        size_t n = number(argc, argv, 0, 100), names = number(argc, argv, 1, 0);
        char name[16];

        if (n > MAX_SLEEPERS)
                fail("too many sleepers");
        pids[0] = getpid();
        for (size_t i = 1; i <= n; i++) {
                pids[i] = fork();
                if (pids[i] < 0)
                        fail("fork");
                if (pids[i] == 0) {
                        die_with_parent();
                        snprintf(name, sizeof(name), "s%zu", names ? (i - 1) % names : 0);
                        if (names)
                                prctl(PR_SET_NAME, name);
                        for (;;)
                                (void)pause();
                }
        }
        /* The list would be long, and comm says who they are. */
        say_ready(pids, 1);
}

/* -- processes that change under the reader -- */

static void hold_private(void)
{
        unsigned char *p = map_anon(FLIP_LENGTH);

        for (size_t at = 0; at < FLIP_LENGTH; at += PAGE)
                p[at] = 1;
}

static void hold_shared(void)
{
        void *p = mmap(NULL, FLIP_LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        if (p == MAP_FAILED)
                fail("mmap");
        for (size_t at = 0; at < FLIP_LENGTH; at += PAGE)
                ((unsigned char *)p)[at] = 1;
}

/* flip-exec: LIFE counts the executions; --comm does not outlive one and is given anew. */
static void run_flip_exec(int argc, char **argv)
{
        size_t life = number(argc, argv, 0, 0);
        pid_t self = getpid();
        char text[32], comm[17] = "", line[64];

        if (life == 0)
                say_ready(&self, 1);
        if (life % 2)
                hold_private();
        else
                hold_shared();
        if (!command_read(2 + (int)(life % 7), line, sizeof(line)))
                _exit(0);
        (void)prctl(PR_GET_NAME, comm);
        (void)snprintf(text, sizeof(text), "%zu", life + 1);
        (void)execl("/proc/self/exe", "workload", "--comm", comm, "flip-exec", text, (char *)NULL);
        fail("execl");
}

static void run_flip_pid(int argc, char **argv)
{
        pid_t wanted = 0, pids[2] = {getpid(), 0};
        char line[64];

        for (size_t life = 0;; life++) {
                struct clone_args args = {.exit_signal = SIGCHLD};
                long child;

                if (wanted) {
                        args.set_tid = (uintptr_t)&wanted;
                        args.set_tid_size = 1;
                }
                child = syscall(SYS_clone3, &args, sizeof(args));
                /* EEXIST: somebody else got the number meanwhile. */
                if (child < 0 && errno == EEXIST) {
                        sleep_ms(1);
                        if (!command_read(0, line, sizeof(line)))
                                _exit(0);
                        continue;
                }
                if (child < 0)
                        fail("clone3");
                if (child == 0) {
                        die_with_parent();
                        if (life % 2)
                                hold_private();
                        else
                                hold_shared();
                        sleep_ms(2 + (unsigned)(life % 7));
                        _exit(0);
                }
                if (!wanted) {
                        pids[1] = wanted = (pid_t)child;
                        say_ready(pids, 2);
                }
                while (waitpid((pid_t)child, NULL, 0) < 0 && errno == EINTR)
                        ;
                if (!command_read(0, line, sizeof(line)))
                        _exit(0);
        }
}

/* churn MIB: a steady process of known size among children that come and go. */
static void run_churn(int argc, char **argv)
{
        size_t length = number(argc, argv, 0, 64) * MIB;
        unsigned char *p = map_anon(length);
        pid_t self = getpid();
        char line[64];
        size_t alive = 0;

        for (size_t at = 0; at < length; at += PAGE)
                p[at] = 1;
        region_add(p, length, PAGE);
        truth.anon = (int64_t)length;
        say_ready(&self, 1);
        for (uint64_t i = 0;; i++) {
                pid_t child = fork();

                if (child < 0)
                        fail("fork");
                if (child == 0) {
                        die_with_parent();
                        sleep_ms(1 + (unsigned)(i % 5));
                        if (i % 3 == 0)
                                (void)execl("/proc/self/exe", "workload", "exit", (char *)NULL);
                        _exit(0);
                }
                alive++;
                while (alive > 0 && waitpid(-1, NULL, alive > 8 ? 0 : WNOHANG) > 0)
                        alive--;
                if (i % 16 == 0)
                        regions_touch();
                if (!command_read(0, line, sizeof(line)))
                        _exit(0);
                if (line[0])
                        say("{\"ok\":true,\"started\":%llu}", (unsigned long long)i);
        }
}

static void run_exit(int argc, char **argv)
{
        _exit(0);
}

scenario_fn group_find(const char *name)
{
        static const struct {
                const char *name;
                scenario_fn run;
        } groups[] = {
                        {"family", run_family},       {"segment", run_segment},   {"member", run_member},
                        {"reader", run_reader},       {"writer", run_writer},     {"sleepers", run_sleepers},
                        {"flip-exec", run_flip_exec}, {"flip-pid", run_flip_pid}, {"churn", run_churn},
                        {"exit", run_exit},
        };

        for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
                if (strcmp(groups[i].name, name) == 0)
                        return groups[i].run;
        return NULL;
}
