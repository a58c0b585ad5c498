/* SPDX-License-Identifier: MIT */
/*
 * workload-rules.c: one scenario for each rule of counting.
 *
 * Each holds one kind of memory alone and says how much of it a true count would find.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "workload.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* Linux 6.13 */
#endif

static void write_every(unsigned char *p, size_t length, size_t stride)
{
        for (size_t at = 0; at < length; at += stride)
                p[at] = (unsigned char)(1 + at / stride % 250);
}

static void read_every(const unsigned char *p, size_t length, size_t stride)
{
        volatile unsigned char sum = 0;

        for (size_t at = 0; at < length; at += stride)
                sum = (unsigned char)(sum + p[at]);
}

static unsigned char *map_fd(int fd, size_t length, int protection, int flags)
{
        void *p = mmap(NULL, length, protection, flags, fd, 0);

        if (p == MAP_FAILED)
                fail("mmap");
        return p;
}

static void rule_zero_page(int argc, char **argv)
{
        size_t length = 16 * MIB;
        unsigned char *p = map_anon(length);

        read_every(p, length, PAGE);
        region_add(p, length, PAGE);
}

static void rule_huge_zero_page(int argc, char **argv)
{
        size_t length = 4 * HUGE;
        unsigned char *p = map_aligned(length);

        if (madvise(p, length, MADV_HUGEPAGE) < 0)
                fail("MADV_HUGEPAGE");
        read_every(p, length, PAGE);
        region_add(p, length, PAGE);
}

static unsigned char *map_thp(size_t length)
{
        unsigned char *p = map_aligned(length);

        if (madvise(p, length, MADV_HUGEPAGE) < 0)
                fail("MADV_HUGEPAGE");
        write_every(p, length, PAGE);
        return p;
}

static void rule_thp(int argc, char **argv)
{
        size_t length = 4 * HUGE;
        unsigned char *p = map_thp(length);

        truth.anon = (int64_t)length;
        region_add(p, length, PAGE);
}

/* The first huge page stays whole; of the second every other page goes; of the third the upper half is unmapped. */
static void rule_thp_partly_unmapped(int argc, char **argv)
{
        size_t length = 3 * HUGE;
        unsigned char *p = map_thp(length);

        for (size_t at = HUGE; at < 2 * HUGE; at += 2 * PAGE)
                if (madvise(p + at, PAGE, MADV_DONTNEED) < 0)
                        fail("MADV_DONTNEED");
        if (munmap(p + 2 * HUGE + HUGE / 2, HUGE / 2) < 0)
                fail("munmap");
        truth.anon = (int64_t)(2 * HUGE);
        region_add(p, HUGE, PAGE);
        region_add(p + HUGE + PAGE, HUGE - PAGE, 2 * PAGE);
        region_add(p + 2 * HUGE, HUGE / 2, PAGE);
}

static void rule_guard(int argc, char **argv)
{
        size_t length = 8 * MIB;
        unsigned char *p = map_anon(length);

        /* The lower half was used before, the upper half never. */
        write_every(p, length / 2, PAGE);
        for (size_t at = 0; at < length; at += 2 * PAGE)
                if (madvise(p + at, PAGE, MADV_GUARD_INSTALL) < 0)
                        fail("MADV_GUARD_INSTALL");
        truth.anon = (int64_t)(length / 4);
        region_add(p + PAGE, length / 2 - PAGE, 2 * PAGE);
}

/* 64 contents, each in 4 pages: once merged, 64 frames mapped 256 times. */
static void rule_ksm(int argc, char **argv)
{
        size_t contents = 64, copies = 4, length = contents * copies * PAGE;
        unsigned char *p = map_anon(length);

        for (size_t i = 0; i < contents * copies; i++) {
                uint64_t *words = (uint64_t *)(void *)(p + i * PAGE);

                for (size_t k = 0; k < PAGE / sizeof(*words); k++)
                        words[k] = seed * 1000003 + i % contents * 1009 + k;
        }
        if (madvise(p, length, MADV_MERGEABLE) < 0)
                fail("MADV_MERGEABLE");
        truth.anon = (int64_t)(contents * PAGE);
        truth.again = (int64_t)(length - contents * PAGE);
        region_add(p, length, PAGE);
}

static int new_memfd(size_t length)
{
        int fd = memfd_create("workload", MFD_CLOEXEC);

        if (fd < 0 || ftruncate(fd, (off_t)length) < 0)
                fail("memfd_create");
        return fd;
}

static void hold_twice(int fd, size_t length)
{
        unsigned char *a = map_fd(fd, length, PROT_READ | PROT_WRITE, MAP_SHARED);
        unsigned char *b = map_fd(fd, length, PROT_READ | PROT_WRITE, MAP_SHARED);

        write_every(a, length, PAGE);
        read_every(b, length, PAGE);
        truth.shmem = (int64_t)length;
        truth.again = (int64_t)length;
        region_add(a, length, PAGE);
        region_add(b, length, PAGE);
}

static void rule_memfd(int argc, char **argv)
{
        hold_twice(new_memfd(8 * MIB), 8 * MIB);
}

/* The same pages mapped backwards, page by page. */
static void rule_remapped(int argc, char **argv)
{
        size_t n = 128, length = n * PAGE;
        int fd = new_memfd(length);
        unsigned char *a = map_fd(fd, length, PROT_READ | PROT_WRITE, MAP_SHARED);
        unsigned char *b = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (b == MAP_FAILED)
                fail("mmap");
        for (size_t i = 0; i < n; i++)
                if (mmap(b + i * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
                         (off_t)((n - 1 - i) * PAGE)) == MAP_FAILED)
                        fail("mmap");
        write_every(a, length, PAGE);
        read_every(b, length, PAGE);
        truth.shmem = (int64_t)length;
        truth.again = (int64_t)length;
        region_add(a, length, PAGE);
        region_add(b, length, PAGE);
}

static void rule_sysv(int argc, char **argv)
{
        size_t length = 8 * MIB;
        int id = shmget(IPC_PRIVATE, length, IPC_CREAT | 0600);
        unsigned char *a, *b;

        if (id < 0)
                fail("shmget");
        a = shmat(id, NULL, 0);
        b = shmat(id, NULL, SHM_RDONLY);
        /* It lives on until the last process lets go of it. */
        if (shmctl(id, IPC_RMID, NULL) < 0 || a == (void *)-1 || b == (void *)-1)
                fail("shmat");
        write_every(a, length, PAGE);
        read_every(b, length, PAGE);
        truth.shmem = (int64_t)length;
        truth.again = (int64_t)length;
        region_add(a, length, PAGE);
        region_add(b, length, PAGE);
}

static int new_file(const char *path, size_t length)
{
        static unsigned char block[MIB];
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

        if (fd < 0)
                fail("open");
        for (size_t at = 0; at < length; at += sizeof(block)) {
                memset(block, (int)(1 + at / sizeof(block)), sizeof(block));
                if (pwrite(fd, block, sizeof(block), (off_t)at) != (ssize_t)sizeof(block))
                        fail("pwrite");
        }
        return fd;
}

static const char *only_argument(int argc, char **argv)
{
        if (argc != 1) {
                errno = EINVAL;
                fail("a path is needed");
        }
        return argv[0];
}

static void rule_tmpfs(int argc, char **argv)
{
        hold_twice(new_file(only_argument(argc, argv), 8 * MIB), 8 * MIB);
}

static void rule_file_shared(int argc, char **argv)
{
        size_t length = 8 * MIB;
        int fd = new_file(only_argument(argc, argv), length);
        unsigned char *p = map_fd(fd, length, PROT_READ | PROT_WRITE, MAP_SHARED);

        write_every(p, length, PAGE);
        truth.file = (int64_t)length;
        region_add(p, length, PAGE);
}

/* Private: what was only read is the file's, what was written is the process's own. */
static void rule_file_private(int argc, char **argv)
{
        size_t length = 8 * MIB;
        int fd = new_file(only_argument(argc, argv), length);
        unsigned char *p = map_fd(fd, length, PROT_READ | PROT_WRITE, MAP_PRIVATE);

        read_every(p, length, PAGE);
        write_every(p, length / 4, PAGE);
        truth.anon = (int64_t)(length / 4);
        truth.file = (int64_t)(length - length / 4);
        region_add(p, length, PAGE);
}

static _Alignas(16) unsigned char clone_stack[65536];

static _Noreturn int sharer(void *unused)
{
        (void)unused;
        /* The same memory as the parent: nothing but system calls here. */
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
                (void)pause();
}

static void rule_clone_vm(int argc, char **argv)
{
        size_t length = 16 * MIB;
        unsigned char *p = map_anon(length);
        pid_t pids[2];

        write_every(p, length, PAGE);
        truth.anon = (int64_t)length;
        region_add(p, length, PAGE);
        pids[0] = getpid();
        pids[1] = clone(sharer, clone_stack + sizeof(clone_stack), CLONE_VM | SIGCHLD, NULL);
        if (pids[1] < 0)
                fail("clone");
        say_ready(pids, 2);
        commands_serve();
}

static void rule_hugetlb(int argc, char **argv)
{
        size_t length = 2 * HUGE;
        void *p = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
        pid_t pids[2];

        if (p == MAP_FAILED)
                fail("mmap MAP_HUGETLB");
        write_every(p, length, PAGE);
        truth.hugetlb = (int64_t)length;
        region_add(p, length, PAGE);
        /* A child maps the same two pages. It has the parent's other pages too, so it is for group counts only. */
        pids[0] = getpid();
        pids[1] = fork();
        if (pids[1] == 0) {
                die_with_parent();
                read_every(p, length, PAGE);
                for (;;)
                        (void)pause();
        }
        if (pids[1] < 0)
                fail("fork");
        say_ready(pids, 2);
        commands_serve();
}

static void rule_mlock(int argc, char **argv)
{
        size_t length = 8 * MIB;
        unsigned char *p = map_anon(length);

        write_every(p, length / 2, PAGE);
        /* Locking brings in the other half. */
        if (mlock(p, length) < 0)
                fail("mlock");
        truth.anon = (int64_t)length;
        region_add(p, length, PAGE);
}

static void rule_madv_free(int argc, char **argv)
{
        size_t length = 8 * MIB;
        unsigned char *p = map_anon(length);

        write_every(p, length, PAGE);
        if (madvise(p, length, MADV_FREE) < 0)
                fail("MADV_FREE");
        truth.anon = (int64_t)length;
        region_add(p, length, PAGE);
}

/* private MIB, in small pages */
static void rule_private(int argc, char **argv)
{
        size_t length = (argc > 0 ? strtoul(argv[0], NULL, 10) : 64) * MIB;
        unsigned char *p = map_anon(length);

        (void)madvise(p, length, MADV_NOHUGEPAGE);
        write_every(p, length, PAGE);
        truth.anon = (int64_t)length;
        region_add(p, length, PAGE);
}

static void rule_sparse(int argc, char **argv)
{
        size_t length = 16UL << 40, stride = 32UL << 30;
        void *p = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (p == MAP_FAILED)
                fail("mmap 16 TiB");
        (void)madvise(p, length, MADV_NOHUGEPAGE);
        write_every(p, length, stride);
        truth.anon = (int64_t)(length / stride * PAGE);
        region_add(p, length, stride);
}

/* 2 MiB of them, in 16 places far from each other. */
static void rule_sparse_pieces(int argc, char **argv)
{
        size_t length = 16UL << 40, piece = 128 * 1024;
        unsigned char *p =
                        mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (p == MAP_FAILED)
                fail("mmap 16 TiB");
        (void)madvise(p, length, MADV_NOHUGEPAGE);
        for (size_t i = 0; i < 16; i++)
                write_every(p + i * (length / 16), piece, PAGE);
        truth.anon = (int64_t)(16 * piece);
        for (size_t i = 0; i < 16; i++)
                region_add(p + i * (length / 16), piece, PAGE);
}

/* Another 16 TiB that nobody may touch, with 2 MiB made usable in the middle. */
static void rule_reserved(int argc, char **argv)
{
        size_t length = 16UL << 40, used = 2 * MIB;
        unsigned char *p = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (p == MAP_FAILED || mprotect(p + length / 2, used, PROT_READ | PROT_WRITE) < 0)
                fail("mmap 16 TiB");
        (void)madvise(p + length / 2, used, MADV_NOHUGEPAGE);
        write_every(p + length / 2, used, PAGE);
        truth.anon = (int64_t)used;
        region_add(p + length / 2, used, PAGE);
}

/* Pages that a driver gave: in VmRSS as file pages, though no file is behind them. */
static void rule_packet_ring(int argc, char **argv)
{
        struct tpacket_req request = {
                        .tp_block_size = 1 * MIB, .tp_block_nr = 4, .tp_frame_size = 2048, .tp_frame_nr = 2048};
        int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
        void *p;

        if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof(request)) < 0)
                fail("PACKET_RX_RING");
        p = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
                fail("mmap of the ring");
        read_every(p, 4 * MIB, PAGE);
        truth.file = (int64_t)(4 * MIB);
        region_add(p, 4 * MIB, PAGE);
}

/* Physical memory of the firmware or of devices: mapped by frame number, in no RSS. */
static void rule_device_memory(int argc, char **argv)
{
        int fd = open("/dev/mem", O_RDONLY | O_CLOEXEC);
        void *p;

        if (fd < 0)
                fail("open /dev/mem");
        p = mmap(NULL, 64 * 1024, PROT_READ, MAP_SHARED, fd, 0xf0000);
        if (p == MAP_FAILED)
                fail("mmap /dev/mem");
        read_every(p, 64 * 1024, PAGE);
        region_add(p, 64 * 1024, PAGE);
}

/* Private memory that "pageout" sends to swap, inherited by a child so that each slot has two users. */
static void rule_swapped(int argc, char **argv)
{
        size_t length = 16 * MIB;
        unsigned char *p = map_anon(length);
        pid_t pids[2];

        write_every(p, length, PAGE);
        if (madvise(p, length, MADV_PAGEOUT) < 0)
                fail("MADV_PAGEOUT");
        truth.swap = (int64_t)length;
        region_add(p, length, PAGE);
        pids[0] = getpid();
        pids[1] = fork();
        if (pids[1] == 0) {
                die_with_parent();
                for (;;)
                        (void)pause();
        }
        if (pids[1] < 0)
                fail("fork");
        say_ready(pids, 2);
        commands_serve();
}

scenario_fn rule_find(const char *name)
{
        static const struct {
                const char *name;
                scenario_fn run;
        } rules[] = {
                        {"zero-page", rule_zero_page},
                        {"huge-zero-page", rule_huge_zero_page},
                        {"thp", rule_thp},
                        {"thp-partly-unmapped", rule_thp_partly_unmapped},
                        {"guard", rule_guard},
                        {"ksm", rule_ksm},
                        {"memfd", rule_memfd},
                        {"remapped", rule_remapped},
                        {"sysv", rule_sysv},
                        {"tmpfs", rule_tmpfs},
                        {"file-shared", rule_file_shared},
                        {"file-private", rule_file_private},
                        {"clone-vm", rule_clone_vm},
                        {"hugetlb", rule_hugetlb},
                        {"mlock", rule_mlock},
                        {"madv-free", rule_madv_free},
                        {"private", rule_private},
                        {"sparse", rule_sparse},
                        {"sparse-pieces", rule_sparse_pieces},
                        {"reserved", rule_reserved},
                        {"packet-ring", rule_packet_ring},
                        {"device-memory", rule_device_memory},
                        {"swapped", rule_swapped},
        };

        for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
                if (strcmp(rules[i].name, name) == 0)
                        return rules[i].run;
        return NULL;
}
