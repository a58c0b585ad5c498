/* SPDX-License-Identifier: MIT */
/*
 * features.c: every right and every kernel feature is proved by using it once, because three of them fail silently: without
 * CAP_SYS_ADMIN pagemap shows frame 0, without CAP_SYS_PTRACE some of /proc shows zeros, and MADV_PAGEOUT says it did what it skipped.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "capd/measure/cgroups.h"
#include "capd/measure/features.h"
#include "walk-internal.h"

#define CHILD_PAGES      4U
#define CHILD_READY_MSEC 2000

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

static void why(char dst[static LIMIT_WHY_BYTES], const char *what, int error, const char *todo)
{
        if (error == 0)
                snprintf(dst, LIMIT_WHY_BYTES, "%s: %s", what, todo);
        else
                snprintf(dst, LIMIT_WHY_BYTES, "%s: %s: %s", what, strerror(error < 0 ? -error : error), todo);
}

static ssize_t read_small(const struct sys *sys, const char *path, char *buf, size_t size)
{
        return sys_read_file_at(sys, sys->root_fd, path, buf, size);
}

static void probe_version(const struct sys *sys, struct features *f)
{
        char buf[256];
        ssize_t n = read_small(sys, "proc/sys/kernel/osrelease", buf, sizeof(buf));
        const char *p = buf;
        uint64_t major, minor;

        if (n <= 0 || !parse_decimal(&p, buf + n, &major) || p >= buf + n || *p++ != '.' ||
            !parse_decimal(&p, buf + n, &minor))
                return;
        f->kernel_major = (unsigned)major;
        f->kernel_minor = (unsigned)minor;
}

/* CPUs in a list like "0-3,8": cpu(7) under /sys. */
static uint64_t online_cpus(const struct sys *sys)
{
        char buf[4096];
        ssize_t n = read_small(sys, "sys/devices/system/cpu/online", buf, sizeof(buf));
        const char *p = buf, *end = buf + MAX(n, (ssize_t)0);
        uint64_t cpus = 0, first, last;

        while (parse_decimal(&p, end, &first)) {
                last = first;
                if (p < end && *p == '-') {
                        p++;
                        if (!parse_decimal(&p, end, &last) || last < first)
                                break;
                }
                cpus += last - first + 1;
                if (p >= end || *p++ != ',')
                        break;
        }
        return cpus > 0 ? cpus : (uint64_t)MAX(sysconf(_SC_NPROCESSORS_CONF), 1L);
}

static void probe_counters(const struct sys *sys, struct features *f)
{
        uint64_t cpus = online_cpus(sys);
        uint64_t batches = 3 * MAX(UINT64_C(32), 2 * cpus) * cpus; /* MM_FILEPAGES, MM_ANONPAGES, MM_SHMEMPAGES */
        bool known = f->kernel_major > 0;

        if (f->kernel_major < 6 || (f->kernel_major == 6 && f->kernel_minor < 2)) {
                f->rss_error_pages = known ? 66 * MAX(UINT64_C(65536) / f->page_size, UINT64_C(1)) : batches;
                f->rss_error_per_thread = known;
        } else if (f->kernel_major == 6 && f->kernel_minor < 16) {
                f->rss_error_pages = batches;
        }
}

static bool read_number(const struct sys *sys, const char *path, uint64_t *ret)
{
        char buf[64];
        ssize_t n = read_small(sys, path, buf, sizeof(buf));
        const char *p = buf;

        return n > 0 && parse_decimal(&p, buf + n, ret);
}

bool features_ksm_active(const struct sys *sys)
{
        uint64_t number;

        return (read_number(sys, "sys/kernel/mm/ksm/run", &number) && number == 1) ||
               (read_number(sys, "sys/kernel/mm/ksm/pages_shared", &number) && number > 0);
}

#define DAMON_ADMIN "sys/kernel/mm/damon/admin/kdamonds"

bool features_damon(const struct sys *sys, char why_not[static LIMIT_WHY_BYTES])
{
        /* each of them holds DAMON for itself as long as it is enabled */
        static const char *const modules[] = {"damon_reclaim", "damon_lru_sort", "damon_stat"};
        char buf[64];
        uint64_t n;
        ssize_t len = read_small(sys, DAMON_ADMIN "/nr_kdamonds", buf, sizeof(buf));

        why_not[0] = '\0';
        if (len < 0) {
                why(why_not, "DAMON cannot be used", (int)len,
                    len == -ENOENT ? "needs a kernel with CONFIG_DAMON_PADDR and CONFIG_DAMON_SYSFS (Debian 13 has it)"
                                   : "run as root");
                return false;
        }
        if (!read_number(sys, DAMON_ADMIN "/nr_kdamonds", &n) || n > 0) {
                why(why_not, "DAMON is in use by somebody else", 0,
                    "its owner must free it: /" DAMON_ADMIN "/nr_kdamonds is not 0");
                return false;
        }
        for (size_t i = 0; i < ARRAY_SIZE(modules); i++) {
                char path[64], todo[96];

                snprintf(path, sizeof(path), "sys/module/%s/parameters/enabled", modules[i]);
                len = read_small(sys, path, buf, sizeof(buf));
                if (len <= 0 || buf[0] != 'Y')
                        continue;
                snprintf(todo, sizeof(todo), "write N to /%s", path);
                why(why_not, "DAMON is in use by a module of the kernel", 0, todo);
                return false;
        }
        return true;
}

static void probe_host(const struct sys *sys, struct features *f)
{
        _cleanup_free_ char *buf = malloc(65536);

        f->ksm_active = features_ksm_active(sys);
        f->damon = features_damon(sys, f->why_damon);
        if (buf) {
                ssize_t n = read_small(sys, "proc/swaps", buf, 65536);

                f->swap = n > 0 && parse_swaps(buf, (size_t)n) > 0;
        }
}

/*
 * To reclaim nothing is harmless and proves everything: the kernel reads the options before it looks at the amount. It refuses those it does not know
 * with EINVAL: memory_reclaim() in mm/memcontrol.c up to 6.10 takes nothing behind the number, up to 6.15 no "max";
 * user_proactive_reclaim() in mm/vmscan.c since. The file is in every cgroup, the root's too.
 */
static void probe_reclaim(const struct sys *sys, struct features *f, const struct cgroup2 *c)
{
        int r = sys_write_file_at(sys, c->fd, "memory.reclaim", "0");

        if (r < 0) {
                why(f->why_memory_reclaim, "memory of cgroups cannot be reclaimed", r,
                    r == -ENOENT ? "memory.reclaim needs Linux 5.19" : "run as root, with a writable /sys/fs/cgroup");
                return;
        }
        f->memory_reclaim = true;
        f->reclaim_swappiness = sys_write_file_at(sys, c->fd, "memory.reclaim", "0 swappiness=60") == 0;
        f->reclaim_anon_only = sys_write_file_at(sys, c->fd, "memory.reclaim", "0 swappiness=max") == 0;
}

static void probe_cgroups(const struct sys *sys, struct features *f)
{
        struct cgroup2 c = CGROUP2_CLOSED;
        char buf[1024];
        int r = cgroup2_open(sys, &c);

        f->psi = read_small(sys, "proc/pressure/memory", buf, sizeof(buf)) > 0;
        if (r == -ENOENT)
                why(f->why_cgroup2, "cgroup v2 is not mounted", 0, "boot with systemd.unified_cgroup_hierarchy=1");
        else if (r == -EOPNOTSUPP)
                why(f->why_cgroup2, "cgroup v2 has no memory controller", 0,
                    "boot without cgroup v1 (systemd.unified_cgroup_hierarchy=1) and without cgroup_disable=memory");
        else if (r < 0)
                why(f->why_cgroup2, "cgroup v2 cannot be used", r, "run as root, with /sys/fs/cgroup mounted");
        if (r < 0) {
                why(f->why_memory_reclaim, "memory of cgroups cannot be reclaimed", 0, "see cgroup2");
                return;
        }
        f->cgroup2 = true;
        probe_reclaim(sys, f, &c);
        cgroup2_close(&c);
}

/* One word of a file of 64 bit words. 0, -ENODATA at its end, or a negative errno. */
static int read_word(const struct sys *sys, int fd, uint64_t index, uint64_t *ret)
{
        ssize_t n = sys->ops->pread(sys, fd, ret, sizeof(*ret), index * sizeof(*ret));

        if (n < 0)
                return (int)n;
        return n == sizeof(*ret) ? 0 : -ENODATA;
}

static bool probe_frame_file(const struct sys *sys, const char *path, uint64_t frame, uint64_t *ret,
                             char text[static LIMIT_WHY_BYTES])
{
        _cleanup_close_ int fd = sys_open(sys, path, O_RDONLY);
        int r = fd < 0 ? fd : read_word(sys, fd, frame, ret);

        if (r >= 0)
                return true;
        why(text, path, r,
            r == -ENOENT ? "use a kernel with CONFIG_PROC_PAGE_MONITOR" : "run as root with CAP_SYS_ADMIN");
        return false;
}

/* PAGEMAP_SCAN over one page of our own. */
static bool probe_scan(const struct sys *sys, const struct features *f, int pagemap_fd, const void *page)
{
        uint64_t region[3], arg[12] = {};

        /* struct pm_scan_arg: size, flags, start, end, walk_end, vec, vec_len, max_pages, then four category masks */
        arg[0] = sizeof(arg);
        arg[2] = (uint64_t)(uintptr_t)page;
        arg[3] = arg[2] + f->page_size;
        arg[5] = (uint64_t)(uintptr_t)region;
        arg[6] = 1;
        arg[10] = arg[11] = UINT64_C(1) << 3;
        return sys->ops->pagemap_scan(sys, pagemap_fd, arg) >= 0;
}

/* What our own pagemap says of a page that was written and of one that was only read: 0 or a negative errno. */
static int read_own_entries(const struct sys *sys, struct features *f, const char *pages, uint64_t *ret_touched,
                            uint64_t *ret_zero)
{
        _cleanup_close_ int fd = sys_open(sys, "proc/self/pagemap", O_RDONLY);
        uint64_t touched, zero;
        int r;

        if (fd < 0)
                return fd;
        r = read_word(sys, fd, (uintptr_t)pages / f->page_size, &touched);
        if (r >= 0)
                r = read_word(sys, fd, (uintptr_t)pages / f->page_size + 1, &zero);
        if (r < 0)
                return r;
        f->pagemap_scan = probe_scan(sys, f, fd, pages);
        *ret_touched = touched;
        *ret_zero = zero;
        return 0;
}

static void find_zero_frame(const struct sys *sys, struct features *f, uint64_t touched, uint64_t zero)
{
        char unused[LIMIT_WHY_BYTES];
        uint64_t flags;

        if (!f->pagemap_frames || !(zero & PM_PRESENT) || (zero & PM_FRAME_MASK) == (touched & PM_FRAME_MASK))
                return;
        if (f->kpageflags && probe_frame_file(sys, "proc/kpageflags", zero & PM_FRAME_MASK, &flags, unused) &&
            !(flags & KPF_ZERO_PAGE))
                return;
        f->zero_frame = zero & PM_FRAME_MASK;
}

static int probe_own_pages(const struct sys *sys, struct features *f)
{
        uint64_t touched = 0, zero = 0, word;
        char *pages;
        int r;

        pages = mmap(NULL, 2 * f->page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (pages == MAP_FAILED)
                return -errno;
        madvise(pages, 2 * f->page_size, MADV_NOHUGEPAGE);
        *(volatile char *)pages = 1;
        (void)*(volatile char *)(pages + f->page_size); /* never written: the zero page */

        r = read_own_entries(sys, f, pages, &touched, &zero);
        if (r < 0)
                why(f->why_frames, "/proc/self/pagemap", r,
                    r == -ENOENT ? "use a kernel with CONFIG_PROC_PAGE_MONITOR and a mounted /proc"
                                 : "check that /proc is the kernel's");
        else if (!(touched & PM_PRESENT) || (touched & PM_FRAME_MASK) == 0)
                why(f->why_frames, "page frame numbers are hidden", 0,
                    "run as root with CAP_SYS_ADMIN in the initial user namespace");
        else
                f->pagemap_frames = true;
        f->kpageflags = probe_frame_file(sys, "proc/kpageflags", touched & PM_FRAME_MASK, &word, f->why_kpageflags);
        f->kpagecount = probe_frame_file(sys, "proc/kpagecount", touched & PM_FRAME_MASK, &word, f->why_kpagecount);
        f->huge_zero_known = f->kpageflags;
        find_zero_frame(sys, f, touched, zero);
        munmap(pages, 2 * f->page_size);
        return 0;
}

/* What the child says when it is ready. */
struct child_state {
        bool changed; /* it is somebody else now */
        int file_fd;  /* a file of its own, one page that was never touched, that others may read only */
};

/* What the child of probe_rights() does: become somebody else, hold a few pages and a file, and wait for the end. */
_Noreturn static void child_main(uid_t uid, gid_t gid, int ready_fd, char *pages, uint64_t page_size)
{
        struct child_state state = {.file_fd = -1};

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        memset(pages, 1, CHILD_PAGES * page_size);
        if (setgroups(0, NULL) == 0 && setresgid(gid, gid, gid) == 0 && setresuid(uid, uid, uid) == 0)
                state.changed = true;
        if (state.changed)
                state.file_fd = memfd_create("capd-probe", 0);
        if (state.file_fd >= 0 && (ftruncate(state.file_fd, (off_t)page_size) < 0 || fchmod(state.file_fd, 0444) < 0))
                state.file_fd = -1;
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* forgotten at a change of credentials */
        if (write(ready_fd, &state, sizeof(state)) != sizeof(state))
                _exit(1);
        for (;;)
                pause();
}

static void prove_ptrace(const struct sys *sys, struct features *f, pid_t child, const char *pages)
{
        _cleanup_close_ int fd = -1;
        uint64_t entry;
        char path[64];
        int r;

        snprintf(path, sizeof(path), "proc/%d/pagemap", (int)child);
        fd = sys_open(sys, path, O_RDONLY);
        r = fd < 0 ? fd : read_word(sys, fd, (uintptr_t)pages / f->page_size, &entry);
        if (r >= 0)
                f->ptrace = true;
        else
                why(f->why_ptrace, "processes of other users cannot be read", r, "run as root with CAP_SYS_PTRACE");
}

static void prove_madvise(const struct sys *sys, struct features *f, pid_t child, char *pages)
{
        _cleanup_close_ int fd = sys->ops->pidfd_open(sys, child);
        struct iovec vec = {.iov_base = pages, .iov_len = CHILD_PAGES * f->page_size};
        ssize_t r = fd < 0 ? fd : sys->ops->process_madvise(sys, fd, &vec, 1, MADV_PAGEOUT);

        if (r >= 0)
                f->process_madvise = true;
        else
                why(f->why_process_madvise, "memory of other processes cannot be paged out", (int)r,
                    r == -ENOSYS ? "needs Linux 5.10 with CONFIG_ADVISE_SYSCALLS"
                                 : "run as root with CAP_SYS_NICE and CAP_SYS_PTRACE");
}

static void probe_realtime(const struct sys *sys, struct features *f)
{
        int r = sys->ops->go_first(sys, true);

        if (r == 0)
                r = sys->ops->go_first(sys, false);
        f->realtime = r == 0;
        if (r < 0 && r != -EALREADY)
                why(f->why_realtime, "on a busy host processes may be kept waiting for longer than MaxStall=", r,
                    "needs CAP_SYS_NICE and no RestrictRealtime=");
}

/*
 * MADV_PAGEOUT passes over the pages of files that the caller neither owns nor may write, and says nothing (can_do_file_pageout() in
 * mm/madvise.c). mincore(2) has the same rule (can_do_mincore() in mm/mincore.c), and there it shows: whoever may not know is told that
 * every page is there. The page of this file is not.
 */
static void prove_foreign_files(const struct sys *sys, struct features *f, pid_t child, int child_fd)
{
        _cleanup_close_ int fd = -1;
        unsigned char resident = 1;
        void *map = MAP_FAILED;
        char path[64];

        snprintf(path, sizeof(path), "proc/%d/fd/%d", (int)child, child_fd);
        if (child_fd >= 0)
                fd = sys_open(sys, path, O_RDONLY);
        if (fd >= 0)
                map = mmap(NULL, f->page_size, PROT_READ, MAP_SHARED, fd, 0);
        if (map != MAP_FAILED) {
                f->foreign_files = mincore(map, f->page_size, &resident) == 0 && !(resident & 1);
                munmap(map, f->page_size);
        }
        if (!f->foreign_files)
                why(f->why_foreign_files, "pages of files that root does not own cannot be paged out", 0,
                    "run as root with CAP_FOWNER");
}

static void prove_kcmp(const struct sys *sys, struct features *f, pid_t child)
{
        int r = sys->ops->kcmp_vm(sys, getpid(), child);

        if (r > 0)
                f->kcmp = true;
        else
                why(f->why_kcmp, "processes sharing an address space cannot be told", r,
                    r == -ENOSYS ? "needs a kernel with CONFIG_KCMP" : "run as root with CAP_SYS_PTRACE");
}

/* Waits until the child has become another user: 1; 0 it could not; or a negative errno. */
static int wait_ready(int fd, struct child_state *ret)
{
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int r;

        do
                r = poll(&p, 1, CHILD_READY_MSEC);
        while (r < 0 && errno == EINTR);
        if (r < 0)
                return -errno;
        if (r == 0)
                return -ETIMEDOUT;
        return read(fd, ret, sizeof(*ret)) == sizeof(*ret) ? ret->changed : -ECHILD;
}

static int probe_rights(const struct sys *sys, struct features *f, uid_t uid, gid_t gid)
{
        _cleanup_close_ int read_fd = -1, write_fd = -1;
        struct child_state state = {.file_fd = -1};
        int ends[2], ready, saved;
        char *pages;
        pid_t child;

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        read_fd = ends[0];
        write_fd = ends[1];
        pages = mmap(NULL, CHILD_PAGES * f->page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (pages == MAP_FAILED)
                return -errno;
        child = fork();
        if (child == 0) {
                close_fd(read_fd);
                child_main(uid, gid, write_fd, pages, f->page_size);
        }
        saved = errno;
        if (child > 0) {
                close_fd(TAKE_FD(write_fd));
                ready = wait_ready(read_fd, &state);
                if (ready > 0) {
                        prove_ptrace(sys, f, child, pages);
                        prove_madvise(sys, f, child, pages);
                        prove_foreign_files(sys, f, child, state.file_fd);
                        prove_kcmp(sys, f, child);
                } else {
                        const char *todo = "run as root with CAP_SETUID and CAP_SETGID, so that rights can be proved";

                        why(f->why_ptrace, "no process of another user could be made", ready, todo);
                        why(f->why_process_madvise, "no process of another user could be made", ready, todo);
                        why(f->why_kcmp, "no process of another user could be made", ready, todo);
                        why(f->why_foreign_files, "no process of another user could be made", ready, todo);
                }
                kill(child, SIGKILL);
                while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
                        ;
        }
        munmap(pages, CHILD_PAGES * f->page_size);
        return child < 0 ? -saved : 0;
}

int features_probe(const struct sys *sys, uid_t probe_uid, gid_t probe_gid, struct features *ret)
{
        struct features f = {.page_size = (uint64_t)sysconf(_SC_PAGESIZE), .zero_frame = UINT64_MAX};
        struct host_memory unused;
        char buf[8192];
        ssize_t n;
        int r;

        n = read_small(sys, "proc/meminfo", buf, sizeof(buf));
        if (n < 0 && n != -E2BIG)
                return (int)n;
        r = parse_meminfo(buf, n < 0 ? sizeof(buf) - 1 : (size_t)n, &unused);
        if (r < 0)
                return r;
        probe_version(sys, &f);
        probe_counters(sys, &f);
        probe_realtime(sys, &f);
        probe_host(sys, &f);
        probe_cgroups(sys, &f);
        r = probe_own_pages(sys, &f);
        if (r < 0)
                return r;
        r = probe_rights(sys, &f, probe_uid, probe_gid);
        if (r < 0)
                return r;
        *ret = f;
        return 0;
}
