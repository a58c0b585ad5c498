/* SPDX-License-Identifier: MIT */
/*
 * damon-target: a family that shares memory, and a stranger whose memory lies among it.
 *
 *     damon-target [--hot] [--huge] [--file PATH MIB] MIB CHILDREN
 *
 * The parent touches two regions of MIB page by page in turn, so that their frames alternate. A process that is not of the
 * family keeps the second, the parent and its children share the first. With --hot the first child reads the first half of
 * it without end. With --huge the region is of huge pages, in each odd one of which the stranger maps one page. With --file all
 * of the family map a file too.
 *
 * Says what it is in one line of JSON, and then answers the lines "verify" (pages of family and stranger with wrong contents) and
 * "rounds" (of the child that reads). Ends with its input.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define MIB  (1024UL * 1024)
#define HUGE (2 * MIB)

enum { FAMILY = 1, STRANGER = 2 };

struct shared {
        volatile uint64_t rounds;
};

static struct shared *shared;
static unsigned char *mine, *others, *file;
static size_t length, file_length;
static bool hot, huge;

static _Noreturn void fail(const char *what)
{
        printf("{\"failed\":\"%s\",\"errno\":%d}\n", what, errno);
        (void)fflush(stdout);
        _exit(3);
}

static void *map(size_t size, int flags, int fd)
{
        void *p = mmap(NULL, size, fd < 0 ? PROT_READ | PROT_WRITE : PROT_READ, flags, fd, 0);

        if (p == MAP_FAILED)
                fail("mmap");
        return p;
}

static unsigned char *map_region(void)
{
        unsigned char *p = map(length + HUGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

        p += (HUGE - (uintptr_t)p % HUGE) % HUGE;
        (void)madvise(p, length, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
        return p;
}

static uint64_t word(int whose, size_t page, size_t i)
{
        return ((uint64_t)whose << 56 | (uint64_t)page << 16 | i) * UINT64_C(0x9E3779B97F4A7C15);
}

static void fill(unsigned char *start, int whose, size_t page)
{
        uint64_t *words = (uint64_t *)(void *)(start + page * PAGE);

        for (size_t i = 0; i < PAGE / sizeof(*words); i++)
                words[i] = word(whose, page, i);
}

static size_t verify(const unsigned char *start, int whose, size_t from, size_t to)
{
        size_t bad = 0;

        for (size_t page = from; page < to; page++) {
                const uint64_t *words = (const uint64_t *)(const void *)(start + page * PAGE);
                size_t i = 0;

                while (i < PAGE / sizeof(*words) && words[i] == word(whose, page, i))
                        i++;
                bad += i < PAGE / sizeof(*words);
        }
        return bad;
}

static void make_file(const char *path)
{
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        unsigned char *block = malloc(MIB);

        if (fd < 0 || !block)
                fail("open");
        for (size_t at = 0; at < file_length; at += MIB) {
                for (size_t page = 0; page < MIB / PAGE; page++) {
                        uint64_t *words = (uint64_t *)(void *)(block + page * PAGE);

                        for (size_t i = 0; i < PAGE / sizeof(*words); i++)
                                words[i] = word(FAMILY, at / PAGE + page, i);
                }
                if (pwrite(fd, block, MIB, (off_t)at) != (ssize_t)MIB)
                        fail("pwrite");
        }
        free(block);
        if (fsync(fd) < 0)
                fail("fsync");
        file = map(file_length, MAP_SHARED, fd);
}

static void touch(const unsigned char *start, size_t size)
{
        for (size_t at = 0; at < size; at += PAGE)
                (void)*(const volatile unsigned char *)(start + at);
}

/* Ends when the parent does; says how many pages are wrong when asked. */
static _Noreturn void serve(int fd, const unsigned char *start, int whose)
{
        char c;

        while (read(fd, &c, 1) == 1) {
                size_t bad = verify(start, whose, 0, length / PAGE);

                if (write(fd, &bad, sizeof(bad)) != (ssize_t)sizeof(bad))
                        break;
        }
        _exit(0);
}

static _Noreturn void stranger(int fd)
{
        size_t bad = 0;
        char c;

        (void)prctl(PR_SET_NAME, "damon-stranger");
        if (!huge) {
                (void)munmap(mine, length);
                serve(fd, others, STRANGER);
        }
        (void)munmap(others, length);
        /* of each odd huge page the first page stays, of the others nothing */
        for (size_t at = 0; at < length; at += HUGE)
                (void)munmap(mine + at + (at / HUGE % 2 ? PAGE : 0), HUGE - (at / HUGE % 2 ? PAGE : 0));
        while (read(fd, &c, 1) == 1)
                if (write(fd, &bad, sizeof(bad)) != (ssize_t)sizeof(bad))
                        break;
        _exit(0);
}

static _Noreturn void child(int fd, size_t index)
{
        const struct timespec pause_a_little = {0, 20 * 1000 * 1000};
        char c;

        touch(mine, length);
        if (file)
                touch(file, file_length);
        if (write(fd, "r", 1) != 1)
                _exit(1);
        if (hot && index == 0)
                for (;;) {
                        touch(mine, length / 2);
                        shared->rounds++;
                        (void)nanosleep(&pause_a_little, NULL);
                }
        while (read(fd, &c, 1) == 1)
                ;
        _exit(0);
}

static pid_t start(int *ret_fd)
{
        int pair[2];
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                fail("socketpair");
        pid = fork();
        if (pid < 0)
                fail("fork");
        if (pid == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
                _exit(1);
        *ret_fd = pair[pid == 0];
        (void)close(pair[pid != 0]);
        return pid;
}

static int parse(int argc, char **argv)
{
        int at = 1;

        for (; at < argc && strncmp(argv[at], "--", 2) == 0; at++)
                if (strcmp(argv[at], "--hot") == 0)
                        hot = true;
                else if (strcmp(argv[at], "--huge") == 0)
                        huge = true;
                else if (strcmp(argv[at], "--file") == 0 && at + 2 < argc) {
                        file_length = strtoul(argv[at + 2], NULL, 10) * MIB;
                        make_file(argv[at + 1]);
                        at += 2;
                }
        return at;
}

int main(int argc, char **argv)
{
        int at = parse(argc, argv), stranger_fd, fds[64];
        size_t n_children, bad;
        char line[64], c;
        pid_t pid;

        if (at + 2 > argc)
                return 2;
        length = strtoul(argv[at], NULL, 10) * MIB;
        n_children = strtoul(argv[at + 1], NULL, 10);
        if (n_children > sizeof(fds) / sizeof(fds[0]))
                return 2;
        shared = map(PAGE, MAP_SHARED | MAP_ANONYMOUS, -1);
        mine = map_region();
        others = map_region();
        for (size_t page = 0; page < length / PAGE; page++) {
                fill(mine, FAMILY, page);
                if (!huge)
                        fill(others, STRANGER, page);
        }
        pid = start(&stranger_fd);
        if (pid == 0)
                stranger(stranger_fd);
        (void)munmap(others, length);
        printf("{\"ready\":true,\"stranger\":%d,\"pids\":[%d", (int)pid, (int)getpid());
        for (size_t i = 0; i < n_children; i++) {
                (void)fflush(stdout);
                pid = start(&fds[i]);
                if (pid == 0)
                        child(fds[i], i);
                printf(",%d", (int)pid);
        }
        for (size_t i = 0; i < n_children; i++)
                if (read(fds[i], &c, 1) != 1)
                        fail("child");
        printf("],\"address\":%llu,\"others\":%llu,\"length\":%zu,\"file_address\":%llu,\"file_length\":%zu}\n",
               (unsigned long long)(uintptr_t)mine, (unsigned long long)(uintptr_t)others, length,
               (unsigned long long)(uintptr_t)file, file_length);
        (void)fflush(stdout);
        while (fgets(line, sizeof(line), stdin)) {
                if (strcmp(line, "rounds\n") == 0)
                        printf("{\"rounds\":%llu}\n", (unsigned long long)shared->rounds);
                else {
                        if (write(stranger_fd, "v", 1) != 1 ||
                            read(stranger_fd, &bad, sizeof(bad)) != (ssize_t)sizeof(bad))
                                fail("stranger");
                        printf("{\"family\":%zu,\"stranger\":%zu,\"file\":%zu}\n",
                               verify(mine, FAMILY, 0, length / PAGE), bad,
                               verify(file, FAMILY, 0, file_length / PAGE));
                }
                (void)fflush(stdout);
        }
        return 0;
}
