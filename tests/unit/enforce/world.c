/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "world.h"

#define PM_PRESENT   (1ULL << 63)
#define PM_SWAP      (1ULL << 62)
#define PM_FILE      (1ULL << 61)
#define PM_EXCLUSIVE (1ULL << 56)
#define PM_FRAME     ((1ULL << 55) - 1)

static void write_text(struct world *w, const char *name, const char *text, bool append)
{
        char path[512];
        FILE *f;

        snprintf(path, sizeof(path), "%s/%s", w->path, name);
        f = fopen(path, append ? "a" : "w");
        assert_non_null(f);
        fputs(text, f);
        fclose(f);
}

static void make_dir(struct world *w, const char *name)
{
        char path[512];

        snprintf(path, sizeof(path), "%s/%s", w->path, name);
        assert_int_equal(mkdir(path, 0700), 0);
}

static bool failing(struct world *w, enum op op)
{
        w->counts[op]++;
        return w->fail_at > 0 && w->fail_op == op && w->counts[op] == w->fail_at;
}

static size_t find(const struct world *w, pid_t pid)
{
        size_t i = w->n_processes;

        while (i > 0 && w->processes[i - 1].pid != pid)
                i--;
        assert_true(i > 0);
        return i - 1;
}

static int fake_openat(const struct sys *sys, int dirfd, const char *path, int flags)
{
        struct world *w = sys->userdata;

        return failing(w, OP_OPENAT) ? -w->fail_error : sys_ops_native.openat(sys, dirfd, path, flags);
}

static ssize_t fake_pread(const struct sys *sys, int fd, void *buf, size_t size, uint64_t offset)
{
        struct world *w = sys->userdata;

        return failing(w, OP_PREAD) ? -w->fail_error : sys_ops_native.pread(sys, fd, buf, size, offset);
}

static ssize_t fake_read(const struct sys *sys, int fd, void *buf, size_t size)
{
        struct world *w = sys->userdata;

        return failing(w, OP_READ) ? -w->fail_error : sys_ops_native.read(sys, fd, buf, size);
}

static int fake_pidfd_open(const struct sys *sys, pid_t pid)
{
        struct world *w = sys->userdata;
        size_t i;
        int fd;

        if (failing(w, OP_PIDFD_OPEN))
                return -w->fail_error;
        if (w->on_pidfd_open)
                w->on_pidfd_open(w, pid);
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        for (i = 0; i < w->n_processes; i++)
                if (w->processes[i].pidfd == fd)
                        w->processes[i].pidfd = -1; /* closed since */
        i = find(w, pid);
        w->processes[i].pidfd = fd;
        return fd;
}

/* What becomes of one page. */
static void page_out(struct world *w, size_t i, uint64_t address)
{
        uint64_t entry = world_page(w, w->processes[i].pid, address), after = 0;

        if (!(entry & PM_PRESENT) || !(entry & PM_EXCLUSIVE) || w->nothing_moves)
                return;
        if (!(entry & PM_FILE)) {
                if (w->swap_pages == 0)
                        return;
                w->swap_pages--;
                after = PM_SWAP | (w->swap_pages + 1) << 5;
        }
        world_set_flags(w, entry & PM_FRAME, w->flags_after);
        assert_int_equal(pwrite(w->processes[i].pagemap, &after, 8, (off_t)(address / PAGE * 8)), 8);
}

/* The rest of a huge page of a file around [start, end), if there is one of 2 MiB at its beginning or at its end. */
static void split(struct world *w, size_t i, uint64_t start, uint64_t end)
{
        uint64_t block = start - start % (2 * MIB), last = (end - 1) - (end - 1) % (2 * MIB);

        for (;; block = last) {
                uint64_t head = world_page(w, w->processes[i].pid, block), none = 0;

                if (head & PM_FILE && (head & PM_FRAME) % 512 == 0 && (block < start || block + 2 * MIB > end) &&
                    world_page(w, w->processes[i].pid, block + 2 * MIB - PAGE) == head + 511)
                        for (uint64_t a = block; a < block + 2 * MIB; a += PAGE)
                                if (a < start || a >= end)
                                        assert_int_equal(pwrite(w->processes[i].pagemap, &none, 8,
                                                                (off_t)(a / PAGE * 8)),
                                                         8);
                if (block == last)
                        return;
        }
}

static ssize_t fake_madvise(const struct sys *sys, int pidfd, const struct iovec *vec, size_t n, int advice)
{
        struct world *w = sys->userdata;
        size_t i = w->n_processes;
        struct call *c = &w->calls[w->n_calls];
        ssize_t done = 0;

        while (i > 0 && w->processes[i - 1].pidfd != pidfd)
                i--;
        assert_true(i-- > 0);
        assert_int_equal(advice, MADV_PAGEOUT);
        assert_true(w->n_calls < WORLD_CALLS);
        assert_true(n > 0 && n <= LIMIT_MADVISE_VECTORS);
        assert_true(w->guarded || !w->must_be_guarded);
        *c = (struct call){.pid = w->processes[i].pid, .address = (uintptr_t)vec[0].iov_base, .n = n};
        for (size_t v = 0; v < n; v++)
                c->bytes += vec[v].iov_len;
        w->n_calls++;
        w->clock += w->cost_call;
        if (failing(w, OP_MADVISE))
                return -w->fail_error;
        if (w->error && (w->error_pid == 0 || w->error_pid == c->pid)) {
                int error = w->error;

                if (w->error_times > 0 && --w->error_times == 0)
                        w->error = 0;
                return -error;
        }

        for (size_t v = 0; v < n; v++) {
                uint64_t start = (uintptr_t)vec[v].iov_base, end = start + vec[v].iov_len;

                /* the kernel would go on to the lock; capd never gives it a range that has one inside of it */
                if (start < w->locked_end && end > w->locked_start)
                        return done > 0 ? done : -EINVAL;
                if (w->splits)
                        split(w, i, start, end);
                for (uint64_t a = start; a < end; a += PAGE) {
                        page_out(w, i, a);
                        w->clock += w->cost_huge && end - start == 2 * MIB ? 0 : w->cost_page;
                }
                w->clock += end - start == 2 * MIB ? w->cost_huge : 0;
                if (w->hole >= start && w->hole < end)
                        return done > 0 ? done : -ENOMEM;
                done += (ssize_t)vec[v].iov_len;
        }
        if (w->swap_pages < 1000)
                world_swap(w, 1000000, w->swap_pages);
        if (w->exits == c->pid) {
                w->exits = 0;
                world_exit(w, c->pid);
        }
        return done;
}

static usec_t fake_now(const struct sys *sys)
{
        return ((struct world *)sys->userdata)->clock;
}

static void fake_sleep(const struct sys *sys, usec_t usec)
{
        struct world *w = sys->userdata;

        assert_false(w->guarded);
        w->clock += usec;
        if (w->on_sleep)
                w->on_sleep(w, usec);
}

static void set_size(int fd, uint64_t size)
{
        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, (off_t)size), 0);
}

struct world *world_new(void)
{
        struct world *w = calloc(1, sizeof(*w));
        char path[256];

        assert_non_null(w);
        strcpy(w->path, "/tmp/capd-enforce-XXXXXX");
        assert_non_null(mkdtemp(w->path));
        make_dir(w, "proc");
        make_dir(w, "proc/thread-self");
        snprintf(path, sizeof(path), "%s/proc/kpageflags", w->path);
        w->kpageflags = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        set_size(w->kpageflags, 8ULL << 24);
        w->ops = sys_ops_native;
        w->ops.openat = fake_openat;
        w->ops.pread = fake_pread;
        w->ops.read = fake_read;
        w->ops.pidfd_open = fake_pidfd_open;
        w->ops.process_madvise = fake_madvise;
        w->ops.now = fake_now;
        w->ops.sleep = fake_sleep;
        assert_int_equal(sys_init(&w->sys, w->path), 0);
        w->sys.ops = &w->ops;
        w->sys.userdata = w;
        w->features = (struct features){
                        .page_size = PAGE,
                        .pagemap_frames = true,
                        .kpageflags = true,
                        .swap = true,
                        .process_madvise = true,
                        .zero_frame = UINT64_MAX,
        };
        w->clock = 1000000;
        w->next_frame = 1000;
        w->cost_page = 1;
        w->swap_pages = 1000000;
        world_swap(w, 1000000, w->swap_pages);
        world_capabilities(w, ~0ULL);
        return w;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        return remove(path);
}

void world_free(struct world *w)
{
        for (size_t i = 0; i < w->n_processes; i++)
                close(w->processes[i].pagemap);
        close(w->kpageflags);
        sys_done(&w->sys);
        nftw(w->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
        free(w);
}

void world_process(struct world *w, pid_t pid, uint64_t start_time)
{
        char path[256], text[256];
        size_t i = w->n_processes++;

        assert_true(i < WORLD_PROCESSES);
        snprintf(path, sizeof(path), "proc/%d", (int)pid);
        make_dir(w, path);
        snprintf(path, sizeof(path), "proc/%d/stat", (int)pid);
        snprintf(text, sizeof(text), "%d (name) R 1 1 1 0 -1 0 0 0 0 0 5 5 0 0 20 0 1 0 %llu 0 0 0 %llu 2 3 0 0\n",
                 (int)pid, (unsigned long long)start_time, (unsigned long long)start_time);
        write_text(w, path, text, false);
        snprintf(path, sizeof(path), "proc/%d/statm", (int)pid);
        write_text(w, path, "10000 10000 0 0 0 0 0\n", false);
        snprintf(path, sizeof(path), "proc/%d/status", (int)pid);
        write_text(w, path, "Name:\tname\nPPid:\t1\n", false);
        snprintf(path, sizeof(path), "proc/%d/maps", (int)pid);
        write_text(w, path, "", false);
        snprintf(path, sizeof(path), "%s/proc/%d/pagemap", w->path, (int)pid);
        w->processes[i].pid = pid;
        w->processes[i].pidfd = -1;
        w->processes[i].pagemap = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        set_size(w->processes[i].pagemap, TOP / PAGE * 8);
}

void world_exit(struct world *w, pid_t pid)
{
        static unsigned serial;
        size_t i = find(w, pid);
        char from[256], to[300];

        /* /proc/PID of a reaped process: nothing opens any more, and what is open reads as empty unless somebody shares the mm */
        if (!w->mm_is_shared)
                set_size(w->processes[i].pagemap, 0);
        snprintf(from, sizeof(from), "%s/proc/%d/stat", w->path, (int)pid);
        assert_int_equal(truncate(from, 0), 0); /* for who holds it open */
        assert_int_equal(unlink(from), 0);
        snprintf(from, sizeof(from), "%s/proc/%d", w->path, (int)pid);
        snprintf(to, sizeof(to), "%s/gone-%u", w->path, serial++);
        assert_int_equal(rename(from, to), 0);
}

void world_map(struct world *w, pid_t pid, uint64_t start, size_t n, enum kind kind)
{
        char path[64], text[256];
        bool object = kind >= FILE_CLEAN;

        snprintf(path, sizeof(path), "proc/%d/maps", (int)pid);
        snprintf(text, sizeof(text), "%llx-%llx rw-%c 00000000 %s %d %s\n", (unsigned long long)start,
                 (unsigned long long)(start + n * PAGE), object ? 's' : 'p', object ? "08:01" : "00:00",
                 object ? 100 + (int)kind : 0, object ? "/some/file" : "");
        write_text(w, path, text, true);
}

void world_set_flags(struct world *w, uint64_t frame, uint64_t flags)
{
        assert_int_equal(pwrite(w->kpageflags, &flags, 8, (off_t)(frame * 8)), 8);
}

void world_fill(struct world *w, pid_t pid, uint64_t start, size_t n, enum kind kind)
{
        static const uint64_t entry_of[] = {
                        [ANON] = PM_PRESENT | PM_EXCLUSIVE,
                        [ANON_SHARED] = PM_PRESENT,
                        [FILE_CLEAN] = PM_PRESENT | PM_FILE | PM_EXCLUSIVE,
                        [FILE_DIRTY] = PM_PRESENT | PM_FILE | PM_EXCLUSIVE,
                        [SHMEM] = PM_PRESENT | PM_FILE | PM_EXCLUSIVE,
                        [NOTHING] = 0,
        };
        static const uint64_t flags_of[] = {
                        [ANON] = FLAG_MMAP | FLAG_LRU | FLAG_ANON | FLAG_SWAPBACKED,
                        [ANON_SHARED] = FLAG_MMAP | FLAG_LRU | FLAG_ANON | FLAG_SWAPBACKED,
                        [FILE_CLEAN] = FLAG_MMAP | FLAG_LRU,
                        [FILE_DIRTY] = FLAG_MMAP | FLAG_LRU | FLAG_DIRTY,
                        [SHMEM] = FLAG_MMAP | FLAG_LRU | FLAG_SWAPBACKED,
                        [NOTHING] = 0,
        };
        uint64_t *entries = malloc(n * 8), *flags = malloc(n * 8);

        assert_true(entries && flags);
        for (size_t k = 0; k < n; k++) {
                entries[k] = entry_of[kind] ? entry_of[kind] | (w->next_frame + k) : 0;
                flags[k] = flags_of[kind];
        }
        assert_int_equal(pwrite(w->kpageflags, flags, n * 8, (off_t)(w->next_frame * 8)), n * 8);
        assert_int_equal(pwrite(w->processes[find(w, pid)].pagemap, entries, n * 8, (off_t)(start / PAGE * 8)), n * 8);
        w->next_frame += n;
        free(entries);
        free(flags);
}

uint64_t world_page(const struct world *w, pid_t pid, uint64_t address)
{
        uint64_t entry = 0;

        if (pread(w->processes[find(w, pid)].pagemap, &entry, 8, (off_t)(address / PAGE * 8)) != 8)
                return 0;
        return entry;
}

uint64_t world_present(const struct world *w, pid_t pid, uint64_t start, size_t n)
{
        uint64_t *entries = calloc(n, 8), bytes = 0;

        assert_non_null(entries);
        assert_true(pread(w->processes[find(w, pid)].pagemap, entries, n * 8, (off_t)(start / PAGE * 8)) >= 0);
        for (size_t k = 0; k < n; k++)
                bytes += entries[k] & PM_PRESENT ? PAGE : 0;
        free(entries);
        return bytes;
}

void world_swap(struct world *w, uint64_t total_pages, uint64_t free_pages)
{
        char text[512];

        w->swap_pages = free_pages;
        snprintf(text, sizeof(text),
                 "MemTotal:       16000000 kB\nMemFree:        8000000 kB\nMemAvailable:   9000000 kB\n"
                 "SwapTotal:      %llu kB\nSwapFree:       %llu kB\n",
                 (unsigned long long)total_pages * 4, (unsigned long long)free_pages * 4);
        write_text(w, "proc/meminfo", text, false);
}

void world_capabilities(struct world *w, uint64_t effective)
{
        char text[256];

        snprintf(text, sizeof(text), "Name:\tcapd\nGroups:\t0\nCapPrm:\t0\nCapEff:\t%016llx\nCapBnd:\t0\n",
                 (unsigned long long)effective);
        write_text(w, "proc/thread-self/status", text, false);
}

const struct pageout_target world_two[2] = {
                {.pid = 50, .start_time = 500, .mm_id = 1, .resident = 2000 * PAGE, .idle_for = 90 * USEC_PER_SEC},
                {.pid = 60, .start_time = 600, .mm_id = 2, .resident = 1000 * PAGE, .idle_for = 90 * USEC_PER_SEC},
};

struct world *world_anonymous(size_t n)
{
        struct world *w = world_new();

        for (size_t i = 0; i < ARRAY_SIZE(world_two); i++) {
                world_process(w, world_two[i].pid, world_two[i].start_time);
                world_map(w, world_two[i].pid, BASE, n, ANON);
                world_fill(w, world_two[i].pid, BASE, n, ANON);
        }
        return w;
}

struct pageout_request world_request(const struct pageout_target *targets, size_t n, uint64_t goal_pages)
{
        return (struct pageout_request){
                        .targets = targets,
                        .n_targets = n,
                        .goal = goal_pages * PAGE,
                        .swap = true,
                        .max_stall = 2000,
                        .max_time = LIMIT_ACT_USEC,
        };
}

struct act_result world_act(struct world *w, const struct pageout_request *request, struct pageout_cursor *ret_cursor,
                            struct pageout_trace **ret_trace)
{
        struct act_result result;
        struct pageout *p = NULL;

        assert_int_equal(pageout_new(&w->sys, &w->features, request, &p), 0);
        assert_int_equal(pageout_run(p, NULL), 0);
        pageout_result(p, &result);
        if (ret_cursor)
                pageout_get_cursor(p, ret_cursor);
        if (ret_trace)
                *ret_trace = pageout_take_trace(p);
        pageout_free(p);
        return result;
}
