/* SPDX-License-Identifier: MIT */
/*
 * workload-shared.c: processes that map parts of the same objects and never leave them alone.
 *
 * mappers N FILE  A parent and N children over four objects: a memfd, a segment of System V, a file of tmpfs and FILE. Each process
 *                 maps parts of them, shared and private, touches some of their pages, unmaps, splits and drops
 *                 parts; the parent truncates the objects and punches holes into them as well. "step K" makes all of them do K such things and
 *                 answers when they stand still; "run" and "stop" begin and end doing them without end. All
 *                 the time process i holds pages [i * 2 MiB, i * 2 MiB + 4 MiB) at the head of the memfd, which are not
 *                 truncated: what they hold together is the truth of "shmem" at least.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <unistd.h>

#include "workload.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

#define MAX_MAPPERS 32U
#define OBJECTS     4U
#define SLOTS       6U
#define OBJECT_SIZE (64 * MIB)
#define PINNED      (4 * MIB)
#define ARENA       (OBJECT_SIZE + HUGE)

static struct {
        int fds[OBJECTS]; /* -1: the segment */
        int segment;
        size_t kept[OBJECTS]; /* bytes at the head that are not truncated */
        struct {
                unsigned char *arena; /* all that the slot ever has */
                unsigned char *start; /* NULL: nothing */
                size_t length;
        } slots[SLOTS];
        uint64_t dice;
        bool parent;
        size_t n; /* with the parent */
        pid_t pids[MAX_MAPPERS];
        int children[MAX_MAPPERS];
} m;

static size_t roll(size_t below)
{
        m.dice ^= m.dice << 13;
        m.dice ^= m.dice >> 7;
        m.dice ^= m.dice << 17;
        return m.dice % below;
}

/* A part of an object: whole ones, parts on the borders of 2 MiB, and any. */
static void roll_part(size_t size, size_t *ret_offset, size_t *ret_length)
{
        size_t unit = roll(2) && size >= HUGE ? HUGE : PAGE;

        *ret_offset = roll(3) ? roll(size / unit) * unit : 0;
        *ret_length = roll(3) ? (1 + roll((size - *ret_offset) / unit)) * unit : size - *ret_offset;
}

/* Nothing is in [start, start + length) any more, and nothing else gets there. */
static void reserve(unsigned char *start, size_t length)
{
        if (mmap(start, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) ==
            MAP_FAILED)
                fail("mmap");
}

static void map(size_t slot)
{
        size_t object = roll(OBJECTS), offset, length;
        bool shared = roll(8) > 0;
        unsigned char *start;
        void *p;

        reserve(m.slots[slot].arena, ARENA);
        m.slots[slot].start = NULL;
        roll_part(OBJECT_SIZE, &offset, &length);
        start = m.slots[slot].arena + (roll(2) ? offset % HUGE : roll(HUGE / PAGE) * PAGE);
        if (m.fds[object] < 0) {
                p = shmat(m.segment, m.slots[slot].arena, SHM_REMAP);
                length = OBJECT_SIZE;
        } else
                p = mmap(start, length, PROT_READ | PROT_WRITE, (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_FIXED,
                         m.fds[object], (off_t)offset);
        if (p == MAP_FAILED || p == (void *)-1)
                return;
        m.slots[slot].start = p;
        m.slots[slot].length = length;
}

/* Something that is done to a part of a mapping. Beyond the end of the object it fails, and nothing is lost. */
static void change(size_t slot)
{
        size_t offset, length;
        unsigned char *p;

        if (!m.slots[slot].start)
                return;
        roll_part(m.slots[slot].length, &offset, &length);
        p = m.slots[slot].start + offset;
        switch (roll(8)) {
        case 0:
                reserve(p, length);
                break;
        case 1:
                (void)mprotect(p, length, roll(2) ? PROT_READ : PROT_READ | PROT_WRITE);
                break;
        case 2:
                (void)madvise(p, length, MADV_DONTNEED);
                break;
        case 3:
                for (size_t at = 0; at < length; at += (1 + roll(8)) * PAGE)
                        (void)madvise(p + at, PAGE, MADV_POPULATE_READ);
                break;
        default:
                (void)madvise(p, length, roll(2) ? MADV_POPULATE_READ : MADV_POPULATE_WRITE);
        }
}

static void change_object(void)
{
        size_t object = roll(OBJECTS), offset, length;
        int fd = m.fds[object];

        if (fd < 0)
                return;
        roll_part(OBJECT_SIZE, &offset, &length);
        if (offset < m.kept[object])
                return;
        if (roll(2))
                (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length);
        else if (ftruncate(fd, (off_t)offset) == 0)
                (void)ftruncate(fd, (off_t)OBJECT_SIZE);
}

static void act(void)
{
        size_t slot = roll(SLOTS);

        if (m.parent && roll(6) == 0)
                change_object();
        else if (roll(4) == 0 || !m.slots[slot].start)
                map(slot);
        else
                change(slot);
}

static void steps(size_t n)
{
        while (n-- > 0)
                act();
}

/* Acts until there is something to read. */
static void run_until(int fd)
{
        struct pollfd p = {.fd = fd, .events = POLLIN};

        while (poll(&p, 1, 0) == 0)
                act();
}

static void begin(size_t index)
{
        unsigned char *p = mmap(NULL, PINNED, PROT_READ | PROT_WRITE, MAP_SHARED, m.fds[0], (off_t)(index * HUGE));

        if (p == MAP_FAILED)
                fail("mmap");
        for (size_t at = 0; at < PINNED; at += PAGE)
                p[at] = 1;
        for (size_t i = 0; i < SLOTS; i++)
                m.slots[i].arena = map_aligned(ARENA);
        m.dice = (seed + 1) * 7919 + index * 104729;
        m.parent = index == 0;
}

static _Noreturn void mapper(size_t index, int fd)
{
        uint32_t order;

        die_with_parent();
        begin(index);
        while (read(fd, &order, sizeof(order)) == (ssize_t)sizeof(order)) {
                if (order == 0)
                        run_until(fd);
                else
                        steps(order - 1);
                if (order != 0 && write(fd, &order, sizeof(order)) != (ssize_t)sizeof(order))
                        break;
        }
        _exit(0);
}

static void tell_all(uint32_t order)
{
        for (size_t i = 1; i < m.n; i++)
                if (write(m.children[i], &order, sizeof(order)) != (ssize_t)sizeof(order))
                        fail("write to a child");
}

static void wait_all(void)
{
        uint32_t answer;

        for (size_t i = 1; i < m.n; i++)
                if (read(m.children[i], &answer, sizeof(answer)) != (ssize_t)sizeof(answer))
                        fail("read from a child");
}

static void make_objects(const char *path)
{
        char name[64];

        m.fds[0] = memfd_create("capd-test", MFD_CLOEXEC);
        m.fds[1] = -1;
        (void)snprintf(name, sizeof(name), "/dev/shm/capd-test-%d", (int)getpid());
        m.fds[2] = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        (void)unlink(name);
        m.fds[3] = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        m.segment = shmget(IPC_PRIVATE, OBJECT_SIZE, IPC_CREAT | 0600);
        /* kept as long as somebody has it mapped */
        if (m.segment < 0 || shmat(m.segment, NULL, SHM_RDONLY) == (void *)-1 || shmctl(m.segment, IPC_RMID, NULL) < 0)
                fail("shmget");
        for (size_t i = 0; i < OBJECTS; i++)
                if (i != 1 && (m.fds[i] < 0 || ftruncate(m.fds[i], (off_t)OBJECT_SIZE) < 0))
                        fail("open");
        m.kept[0] = (m.n - 1) * HUGE + PINNED;
}

static _Noreturn void serve(void)
{
        char line[64];
        unsigned n;

        while (command_read(-1, line, sizeof(line))) {
                if (sscanf(line, "step %u", &n) == 1) {
                        tell_all(n + 1);
                        steps(n);
                        wait_all();
                        say("{\"ok\":true}");
                } else if (strcmp(line, "run") == 0) {
                        tell_all(0);
                        say("{\"ok\":true}");
                        run_until(STDIN_FILENO);
                } else if (strcmp(line, "stop") == 0) {
                        /* no step: an answer when all stand still */
                        tell_all(1);
                        wait_all();
                        say("{\"ok\":true}");
                } else
                        say("{\"failed\":\"unknown command\"}");
        }
        _exit(0);
}

/* mappers N FILE */
static void run_mappers(int argc, char **argv)
{
        uint32_t order = 1;

        m.n = argc > 0 ? strtoul(argv[0], NULL, 10) + 1 : 1;
        if (argc < 2 || m.n > MAX_MAPPERS)
                fail("mappers N FILE");
        make_objects(argv[1]);
        begin(0);
        m.pids[0] = getpid();
        for (size_t i = 1; i < m.n; i++) {
                int pair[2];

                if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                        fail("socketpair");
                m.pids[i] = fork();
                if (m.pids[i] < 0)
                        fail("fork");
                if (m.pids[i] == 0) {
                        for (size_t k = 1; k < i; k++)
                                (void)close(m.children[k]);
                        (void)close(pair[0]);
                        mapper(i, pair[1]);
                }
                (void)close(pair[1]);
                m.children[i] = pair[0];
        }
        tell_all(order);
        wait_all();
        truth.shmem = (int64_t)m.kept[0];
        say_ready(m.pids, m.n);
        serve();
}

scenario_fn shared_find(const char *name)
{
        return strcmp(name, "mappers") == 0 ? run_mappers : NULL;
}
