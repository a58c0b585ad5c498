/* SPDX-License-Identifier: MIT */
#include "damon-world.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KDAMOND "sys/kernel/mm/damon/admin/kdamonds/0/"
#define REGIONS KDAMOND "contexts/0/targets/0/regions/"
#define FREE    FRAME_FLAG_BUDDY

static void full(const struct dworld *w, char *ret, size_t size, const char *path)
{
        assert_true(snprintf(ret, size, "%s/%s", w->path, path) < (int)size);
}

void dworld_write(struct dworld *w, const char *path, const char *text)
{
        char name[768];
        FILE *f;

        full(w, name, sizeof(name), path);
        f = fopen(name, "w");
        assert_non_null(f);
        fputs(text, f);
        fclose(f);
}

static void make(struct dworld *w, const char *path)
{
        char name[768];

        full(w, name, sizeof(name), path);
        for (char *p = name + strlen(w->path) + 1; (p = strchr(p, '/')); p++) {
                *p = '\0';
                (void)mkdir(name, 0700);
                *p = '/';
        }
        (void)mkdir(name, 0700);
}

bool dworld_exists(struct dworld *w, const char *path)
{
        char name[768];

        full(w, name, sizeof(name), path);
        return access(name, F_OK) == 0;
}

static void read_text(struct dworld *w, const char *path, char ret[static 64])
{
        char name[768];
        FILE *f;

        full(w, name, sizeof(name), path);
        f = fopen(name, "r");
        assert_non_null(f);
        if (!fgets(ret, 64, f))
                ret[0] = '\0';
        ret[strcspn(ret, "\n")] = '\0';
        fclose(f);
}

uint64_t dworld_number(struct dworld *w, const char *path)
{
        char text[64];

        read_text(w, path, text);
        return strtoull(text, NULL, 10);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        return remove(path);
}

/* -- directories that come with numbers -- */

struct template
{
        const char *nr;        /* end of the path of the file that is written */
        const char *files[12]; /* made in each new directory, with the text behind a blank */
};

static const struct template templates[] = {
                {"kdamonds/nr_kdamonds", {"state off", "pid -1", "contexts/nr_contexts 0"}},
                {"contexts/nr_contexts",
                 {"operations vaddr", "monitoring_attrs/intervals/aggr_us 0", "monitoring_attrs/intervals/sample_us 0",
                  "monitoring_attrs/intervals/update_us 0", "monitoring_attrs/nr_regions/min 10",
                  "monitoring_attrs/nr_regions/max 1000", "targets/nr_targets 0", "schemes/nr_schemes 0"}},
                {"targets/nr_targets", {"pid_target 0", "regions/nr_regions 0"}},
                {"regions/nr_regions", {"start 0", "end 0"}},
                {"schemes/nr_schemes",
                 {"action stat", "access_pattern/sz/max 0", "access_pattern/nr_accesses/max 0",
                  "access_pattern/age/max 0", "quotas/bytes 0", "quotas/reset_interval_ms 0", "filters/nr_filters 0"}},
                {"filters/nr_filters", {"type anon", "matching N"}},
};

static void make_directories(struct dworld *w, const char *folder, const struct template *t, unsigned n)
{
        char path[640], name[768], file[64];

        /* those of before are gone, as with the kernel */
        for (unsigned i = 0;; i++) {
                snprintf(path, sizeof(path), "%s/%u", folder, i);
                full(w, name, sizeof(name), path);
                if (nftw(name, remove_one, 16, FTW_DEPTH | FTW_PHYS) < 0)
                        break;
        }
        for (unsigned i = 0; i < n; i++) {
                snprintf(path, sizeof(path), "%s/%u", folder, i);
                full(w, name, sizeof(name), path);
                assert_int_equal(mkdir(name, 0700), 0);
                for (size_t k = 0; t->files[k]; k++) {
                        size_t length = strcspn(t->files[k], " ");

                        memcpy(file, t->files[k], length);
                        file[length] = '\0';
                        snprintf(path, sizeof(path), "%s/%u/%s", folder, i, file);
                        if (strchr(file, '/')) {
                                *strrchr(path, '/') = '\0';
                                make(w, path);
                                path[strlen(path)] = '/';
                        }
                        dworld_write(w, path, t->files[k] + length + 1);
                }
        }
}

/* -- what the kernel does -- */

struct scheme {
        char action[64], first[64], matching[64];
        uint64_t filters, accesses, bytes;
};

static size_t read_schemes(struct dworld *w, struct scheme ret[static 2])
{
        size_t n = dworld_number(w, KDAMOND "contexts/0/schemes/nr_schemes");
        char path[256];

        assert_in_range(n, 1, 2);
        for (size_t i = 0; i < n; i++) {
                struct scheme *s = &ret[i];

#define IN(name) (snprintf(path, sizeof(path), KDAMOND "contexts/0/schemes/%zu/" name, i), path)
                *s = (struct scheme){};
                read_text(w, IN("action"), s->action);
                s->filters = dworld_number(w, IN("filters/nr_filters"));
                s->accesses = dworld_number(w, IN("access_pattern/nr_accesses/max"));
                s->bytes = dworld_number(w, IN("quotas/bytes"));
                assert_true(dworld_number(w, IN("access_pattern/sz/max")) == UINT64_MAX);
                assert_int_equal(dworld_number(w, IN("quotas/reset_interval_ms")), 0);
                if (s->filters > 0) {
                        read_text(w, IN("filters/0/type"), s->first);
                        read_text(w, IN("filters/0/matching"), s->matching);
                        assert_string_equal(s->first, "young");
                }
#undef IN
        }
        return n;
}

static void set_frame(struct dworld *w, uint64_t frame, uint64_t count, uint64_t flags)
{
        assert_int_equal(pwrite(w->counts_fd, &count, 8, (off_t)(frame * 8)), 8);
        assert_int_equal(pwrite(w->flags_fd, &flags, 8, (off_t)(frame * 8)), 8);
}

static uint64_t word(int fd, uint64_t frame)
{
        uint64_t ret;

        assert_int_equal(pread(fd, &ret, 8, (off_t)(frame * 8)), 8);
        return ret;
}

static void go(struct dworld *w, uint64_t frame)
{
        if (!(word(w->flags_fd, frame) & FRAME_FLAG_UNEVICTABLE))
                set_frame(w, frame, 0, FREE);
}

/* One scheme on one frame, with filters by page. */
static void apply(struct dworld *w, const struct scheme *s, uint64_t frame)
{
        bool young = w->hot[frame] || !w->marked[frame], wanted;

        if (word(w->counts_fd, frame) == 0)
                return;
        wanted = s->filters == 0 || s->matching[0] == 'Y' ? !young : young;
        w->marked[frame] = true;
        if (strcmp(s->action, "pageout") != 0 || !wanted)
                return;
        assert_int_not_equal(s->filters, 3);
        go(w, frame);
}

static void apply_range(struct dworld *w, const struct scheme *s, uint64_t first, uint64_t end)
{
        for (uint64_t frame = first; frame < end; frame++) {
                w->acted[frame] = w->acted[frame] || strcmp(s->action, "pageout") == 0;
                if (!w->no_filters)
                        apply(w, s, frame);
                else if (strcmp(s->action, "pageout") == 0 && (!w->hot[frame] || s->accesses > 0))
                        go(w, frame);
        }
}

/* The pass that the kernel thread makes when it is woken. */
static void work(struct dworld *w)
{
        uint64_t n = dworld_number(w, REGIONS "nr_regions"), bytes = 0, last = 0;
        struct scheme schemes[2];
        size_t n_schemes = read_schemes(w, schemes);
        char path[256];

        assert_true(n > 0 && n <= LIMIT_DAMON_RANGES);
        assert_true(dworld_number(w, KDAMOND "contexts/0/monitoring_attrs/nr_regions/max") >= n);
        assert_true(dworld_number(w, KDAMOND "contexts/0/monitoring_attrs/intervals/sample_us") > LIMIT_DAMON_ACT_USEC);
        w->most_regions = MAX(w->most_regions, (size_t)n);
        for (uint64_t i = 0; i < n; i++) {
                uint64_t start, end;

                snprintf(path, sizeof(path), REGIONS "%llu/start", (unsigned long long)i);
                start = dworld_number(w, path);
                snprintf(path, sizeof(path), REGIONS "%llu/end", (unsigned long long)i);
                end = dworld_number(w, path);
                assert_true(start >= last && start < end && start % PAGE == 0 && end % PAGE == 0);
                last = end;
                bytes += end - start;
                for (size_t k = 0; k < n_schemes; k++)
                        apply_range(w, &schemes[k], start / PAGE, end / PAGE);
        }
        for (size_t k = 0; k < n_schemes; k++)
                assert_int_equal(schemes[k].bytes, bytes);
        if (strcmp(schemes[0].action, "pageout") == 0)
                w->most_bytes = MAX(w->most_bytes, bytes);
        w->clock += w->cost;
}

static ssize_t command(struct dworld *w, const char *text, size_t size)
{
        if (strcmp(text, "on") == 0) {
                char operations[64];

                if (w->must_be_guarded)
                        assert_true(w->guarded);
                if (w->error_on)
                        return -w->error_on;
                assert_false(w->running);
                read_text(w, KDAMOND "contexts/0/operations", operations);
                assert_string_equal(operations, "paddr");
                w->running = true;
                w->ons++;
                dworld_write(w, KDAMOND "state", "on\n");
                dworld_write(w, KDAMOND "pid", "4242\n");
                /* its first look at the ranges, which are one page each in these tests or are marked already */
                if (w->on_start)
                        w->on_start(w);
                return (ssize_t)size;
        }
        assert_string_equal(text, "off");
        if (!w->running)
                return w->ons == 0 ? -EINVAL : -EPERM;
        w->running = false;
        w->offs++;
        work(w);
        dworld_write(w, KDAMOND "state", "off\n");
        dworld_write(w, KDAMOND "pid", "-1\n");
        return (ssize_t)size;
}

static bool ends_with(const char *text, const char *end)
{
        size_t a = strlen(text), b = strlen(end);

        return a >= b && strcmp(text + a - b, end) == 0;
}

/* A write to a file of DAMON. 0: an ordinary file. */
static ssize_t damon_write(struct dworld *w, const char *path, const char *text, size_t size)
{
        char folder[512];

        if (ends_with(path, "/0/state"))
                return command(w, text, size);
        if (w->no_filters && ends_with(path, "/type") && strcmp(text, "young") == 0)
                return -EINVAL;
        for (size_t i = 0; i < ARRAY_SIZE(templates); i++)
                if (ends_with(path, templates[i].nr)) {
                        if (i == 0 && w->running)
                                return -EBUSY;
                        w->regions_set += i == 3;
                        snprintf(folder, sizeof(folder), "%s", path);
                        *strrchr(folder, '/') = '\0';
                        make_directories(w, folder, &templates[i], (unsigned)strtoul(text, NULL, 10));
                        if (i == 0)
                                w->ons = 0;
                }
        return 0;
}

/* -- calls -- */

static bool failing(struct dworld *w, enum dop op)
{
        w->counts[op]++;
        return w->fail_at > 0 && w->fail_op == op && w->counts[op] == w->fail_at;
}

static int fake_openat(const struct sys *sys, int dirfd, const char *path, int flags)
{
        struct dworld *w = sys->userdata;

        return failing(w, DOP_OPENAT) ? -w->fail_error : sys_ops_native.openat(sys, dirfd, path, flags);
}

static ssize_t fake_write(const struct sys *sys, int fd, const void *buf, size_t size)
{
        struct dworld *w = sys->userdata;
        char link[64], path[256], text[128];
        ssize_t n;

        if (failing(w, DOP_WRITE))
                return -w->fail_error;
        assert_true(size < sizeof(text));
        memcpy(text, buf, size);
        text[size] = '\0';
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, path, sizeof(path) - 1);
        assert_true(n > 0);
        path[n] = '\0';
        if (ends_with(path, " (deleted)"))
                return -ENODEV;
        if (strstr(path, "/damon/admin/")) {
                n = damon_write(w, path + strlen(w->path) + 1, text, size);
                if (n != 0)
                        return n;
        }
        /* what is shorter than before is not followed by a rest of it */
        assert_int_equal(ftruncate(fd, 0), 0);
        return pwrite(fd, buf, size, 0);
}

static ssize_t fake_read(const struct sys *sys, int fd, void *buf, size_t size)
{
        struct dworld *w = sys->userdata;

        return failing(w, DOP_READ) ? -w->fail_error : sys_ops_native.read(sys, fd, buf, size);
}

static ssize_t fake_pread(const struct sys *sys, int fd, void *buf, size_t size, uint64_t offset)
{
        struct dworld *w = sys->userdata;

        return failing(w, DOP_PREAD) ? -w->fail_error : sys_ops_native.pread(sys, fd, buf, size, offset);
}

static int fake_fstat(const struct sys *sys, int fd, struct stat *st)
{
        struct dworld *w = sys->userdata;

        return failing(w, DOP_FSTAT) ? -w->fail_error : sys_ops_native.fstat(sys, fd, st);
}

static int fake_fstatat(const struct sys *sys, int dirfd, const char *path, struct stat *st, int flags)
{
        struct dworld *w = sys->userdata;

        return failing(w, DOP_FSTATAT) ? -w->fail_error : sys_ops_native.fstatat(sys, dirfd, path, st, flags);
}

static int fake_unlinkat(const struct sys *sys, int dirfd, const char *path, int flags)
{
        struct dworld *w = sys->userdata;

        return failing(w, DOP_UNLINKAT) ? -w->fail_error : sys_ops_native.unlinkat(sys, dirfd, path, flags);
}

static int fake_createat(const struct sys *sys, int dirfd, const char *path, mode_t mode)
{
        struct dworld *w = sys->userdata;

        return failing(w, DOP_CREATEAT) ? -w->fail_error : sys_ops_native.createat(sys, dirfd, path, mode);
}

static int fake_renameat(const struct sys *sys, int dirfd, const char *from, const char *to)
{
        struct dworld *w = sys->userdata;

        return failing(w, DOP_RENAMEAT) ? -w->fail_error : sys_ops_native.renameat(sys, dirfd, from, to);
}

static usec_t fake_now(const struct sys *sys)
{
        struct dworld *w = sys->userdata;

        return w->clock;
}

static void fake_sleep(const struct sys *sys, usec_t usec)
{
        struct dworld *w = sys->userdata;

        w->clock += usec;
        if (!w->never_sleeps)
                dworld_write(w, "proc/4242/stat", "4242 (kdamond.0) I 2 0 0 0\n");
}

/* -- the world -- */

struct dworld *dworld_new(void)
{
        struct dworld *w = calloc(1, sizeof(*w));
        char path[128];

        assert_non_null(w);
        snprintf(w->path, sizeof(w->path), "/tmp/capd-damon-XXXXXX");
        assert_non_null(mkdtemp(w->path));
        make(w, ADMIN);
        make(w, "proc/4242");
        make(w, "proc/sys/kernel/random");
        make(w, "run");
        make(w, "sys/module/damon_reclaim/parameters");
        dworld_write(w, "sys/module/damon_reclaim/parameters/enabled", "N\n");
        dworld_write(w, "proc/sys/kernel/random/boot_id", "0b7d2a2f-6d0a-4d3b-a0de-111122223333\n");
        dworld_write(w, ADMIN "/nr_kdamonds", "0\n");
        dworld_write(w, "proc/4242/stat", "4242 (kdamond.0) R 2 0 0 0\n");
        dworld_write(w, "proc/kpagecount", "");
        dworld_write(w, "proc/kpageflags", "");
        full(w, path, sizeof(path), "proc/kpagecount");
        w->counts_fd = open(path, O_RDWR | O_CLOEXEC);
        full(w, path, sizeof(path), "proc/kpageflags");
        w->flags_fd = open(path, O_RDWR | O_CLOEXEC);
        assert_int_equal(ftruncate(w->counts_fd, FRAMES * 8), 0);
        assert_int_equal(ftruncate(w->flags_fd, FRAMES * 8), 0);
        full(w, path, sizeof(path), "run");
        w->runtime_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(w->runtime_fd >= 0);
        assert_int_equal(sys_init(&w->sys, w->path), 0);
        w->ops = sys_ops_native;
        w->ops.openat = fake_openat;
        w->ops.write = fake_write;
        w->ops.read = fake_read;
        w->ops.pread = fake_pread;
        w->ops.fstat = fake_fstat;
        w->ops.fstatat = fake_fstatat;
        w->ops.unlinkat = fake_unlinkat;
        w->ops.createat = fake_createat;
        w->ops.renameat = fake_renameat;
        w->ops.now = fake_now;
        w->ops.sleep = fake_sleep;
        w->sys.ops = &w->ops;
        w->sys.userdata = w;
        w->clock = 1000;
        w->features.page_size = PAGE;
        return w;
}

void dworld_free(struct dworld *w)
{
        close_fd(w->runtime_fd);
        close_fd(w->counts_fd);
        close_fd(w->flags_fd);
        sys_done(&w->sys);
        (void)nftw(w->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        free(w);
}

void dworld_frames(struct dworld *w, uint64_t first, size_t n, uint64_t count, uint64_t flags)
{
        for (size_t i = 0; i < n; i++)
                set_frame(w, first + i, count, flags);
}

uint64_t dworld_count(struct dworld *w, uint64_t frame)
{
        return word(w->counts_fd, frame);
}

size_t dworld_mapped(struct dworld *w, uint64_t first, size_t n)
{
        size_t mapped = 0;

        for (size_t i = 0; i < n; i++)
                mapped += dworld_count(w, first + i) > 0;
        return mapped;
}

struct inside_frames dworld_set(uint64_t first, size_t n, size_t gap, uint32_t count)
{
        struct inside_frames f = {.n_frames = n, .n_ranges = gap ? n : 1, .bytes = n * PAGE};

        f.ranges = calloc(f.n_ranges, sizeof(*f.ranges));
        f.mappings = calloc(n, sizeof(*f.mappings));
        assert_true(f.ranges && f.mappings);
        for (size_t i = 0; i < f.n_ranges; i++) {
                f.ranges[i].start = (first + i * (gap + 1)) * PAGE;
                f.ranges[i].end = f.ranges[i].start + (gap ? 1 : n) * PAGE;
        }
        for (size_t i = 0; i < n; i++)
                f.mappings[i] = count;
        return f;
}

void dworld_assert_clean(struct dworld *w)
{
        assert_false(w->running);
        assert_int_equal(dworld_number(w, ADMIN "/nr_kdamonds"), 0);
        assert_false(dworld_exists(w, ADMIN "/0"));
        assert_false(dworld_exists(w, "run/" DAMON_RECORD));
        assert_false(dworld_exists(w, "run/" DAMON_RECORD ".new"));
}
