/* SPDX-License-Identifier: MIT */
/*
 * cgroups-figures.c: what the kernel has booked for a cgroup. All of it is of the cgroup and everything below, cgroups that were
 * removed included, so the topmost of a group's say all.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "capd/sample.h"
#include "cgroups-internal.h"
#include "proc-parse.h"

/* memory.stat has some 60 lines; more with each kernel. */
#define STAT_BYTES 16384U

bool parse_keyed(const char *text, size_t len, const char *key, uint64_t *ret)
{
        const char *end = text + len;
        size_t key_len = strlen(key);

        for (const char *line = text; line < end;) {
                const char *newline = memchr(line, '\n', (size_t)(end - line));
                const char *line_end = newline ? newline : end, *at = line + key_len;

                if ((size_t)(line_end - line) > key_len && *at == ' ' && memcmp(line, key, key_len) == 0) {
                        at++;
                        return parse_decimal(&at, line_end, ret) && at == line_end;
                }
                line = line_end + 1;
        }
        return false;
}

bool parse_pressure(const char *text, size_t len, usec_t *ret)
{
        static const char some[] = "some ", total[] = " total=";
        const char *newline = memchr(text, '\n', len), *end = newline ? newline : text + len, *at;

        if ((size_t)(end - text) < strlen(some) || memcmp(text, some, strlen(some)) != 0)
                return false;
        at = memmem(text, (size_t)(end - text), total, strlen(total));
        if (!at)
                return false;
        at += strlen(total);
        return parse_decimal(&at, end, ret) && at == end;
}

static uint64_t keyed(const char *text, size_t len, const char *key)
{
        uint64_t value;

        return parse_keyed(text, len, key, &value) ? value : SIZE_UNKNOWN;
}

/* Both are known, or neither. */
static uint64_t sum(uint64_t a, uint64_t b)
{
        return a == SIZE_UNKNOWN || b == SIZE_UNKNOWN || a > SIZE_UNKNOWN - 1 - b ? SIZE_UNKNOWN : a + b;
}

static uint64_t pages(uint64_t n)
{
        uint64_t size = (uint64_t)sysconf(_SC_PAGESIZE);

        return n == SIZE_UNKNOWN || n > (SIZE_UNKNOWN - 1) / size ? SIZE_UNKNOWN : n * size;
}

/*
 * Pages in the swap cache may be mapped or not; the kernel counts both as one. Pages on the anonymous lists are mapped, or shmem, or
 * neither: then only the swap cache holds them. Locked pages are on another list, so this is too low by them at worst.
 */
static uint64_t unmapped_swap_cache(const char *text, size_t len, const struct cgroup_memory *m)
{
        uint64_t lists = sum(keyed(text, len, "inactive_anon"), keyed(text, len, "active_anon"));
        uint64_t cached = keyed(text, len, "swapcached"), other = sum(m->anon, m->shmem);

        if (lists == SIZE_UNKNOWN || cached == SIZE_UNKNOWN || other == SIZE_UNKNOWN)
                return SIZE_UNKNOWN;
        return MIN(cached, lists > other ? lists - other : 0);
}

/* A cgroup that is being removed answers ENODEV to who has it open. */
static int gone_is_enoent(ssize_t error)
{
        return error == -ENODEV ? -ENOENT : (int)error;
}

/* A file of one number. 0 or a negative errno. */
static int read_number(const struct cgroup2 *c, int fd, const char *name, uint64_t *ret)
{
        char text[64];
        const char *at = text;
        uint64_t value;
        ssize_t n = sys_read_file_at(c->sys, fd, name, text, sizeof(text));

        if (n < 0)
                return gone_is_enoent(n);
        if (!parse_decimal(&at, text + n, &value))
                return -EBADMSG;
        *ret = value;
        return 0;
}

int cgroup_memory_read(const struct cgroup2 *c, int fd, bool stat_only, struct cgroup_memory *ret)
{
        struct cgroup_memory m = {.current = SIZE_UNKNOWN, .swap = SIZE_UNKNOWN};
        char text[STAT_BYTES];
        ssize_t n = sys_read_file_at(c->sys, fd, "memory.stat", text, sizeof(text));
        size_t len;
        int r;

        if (n == -E2BIG)
                n = sizeof(text) - 1;
        if (n < 0)
                return gone_is_enoent(n);
        len = (size_t)n;
        m.anon = keyed(text, len, "anon");
        m.file = keyed(text, len, "file");
        m.shmem = keyed(text, len, "shmem");
        m.file_mapped = keyed(text, len, "file_mapped");
        if (m.anon == SIZE_UNKNOWN || m.file == SIZE_UNKNOWN || m.shmem == SIZE_UNKNOWN ||
            m.file_mapped == SIZE_UNKNOWN)
                return -EBADMSG;
        m.kernel = keyed(text, len, "kernel");
        m.sockets = keyed(text, len, "sock");
        m.swap_cache = unmapped_swap_cache(text, len, &m);
        /* counted in pages, unlike the rest of the file: memcg_page_state_unit() in mm/memcontrol.c */
        m.refaults = pages(
                        sum(keyed(text, len, "workingset_refault_anon"), keyed(text, len, "workingset_refault_file")));
        if (!stat_only) {
                r = read_number(c, fd, "memory.current", &m.current);
                if (r < 0)
                        return r;
                r = read_number(c, fd, "memory.swap.current", &m.swap);
                if (r < 0 && r != -ENOENT) /* swapaccount=0 */
                        return r;
        }
        *ret = m;
        return 0;
}

/* One level of it. 0 or a negative errno. */
static int swap_room_at(const struct cgroup2 *c, int fd, uint64_t *ret)
{
        uint64_t limit = 0, used = 0;
        int r = read_number(c, fd, "memory.swap.max", &limit);

        if (r == -EBADMSG || r == -ENOENT) { /* "max", or no controller here */
                *ret = SIZE_UNKNOWN;
                return 0;
        }
        if (r >= 0)
                r = read_number(c, fd, "memory.swap.current", &used);
        if (r < 0)
                return r;
        *ret = limit > used ? limit - used : 0;
        return 0;
}

int cgroup_swap_room(const struct cgroup2 *c, const char *path, uint64_t *ret)
{
        char above[LIMIT_CGROUP_BYTES];
        uint64_t least = SIZE_UNKNOWN;

        if (!cgroup2_is_path(path))
                return -EINVAL;
        strcpy(above, path);
        while (above[0] != '\0') {
                _cleanup_close_ int fd = cgroup2_open_cgroup(c, above);
                uint64_t room;
                int r = fd < 0 ? fd : swap_room_at(c, fd, &room);

                if (r < 0)
                        return r;
                least = MIN(least, room);
                *strrchr(above, '/') = '\0';
        }
        *ret = least;
        return 0;
}

uint64_t cgroup_unmapped_cache(const struct cgroup_memory *m)
{
        uint64_t other = MAX(m->shmem, m->file_mapped);

        return m->file > other ? m->file - other : 0;
}

int owned_cgroup_open(const struct cgroup2 *c, const struct owned_cgroup *o)
{
        _cleanup_close_ int fd = cgroup2_open_cgroup(c, o->path);
        struct stat st;
        int r;

        if (fd < 0)
                return fd;
        r = c->sys->ops->fstat(c->sys, fd, &st);
        if (r < 0)
                return r;
        return st.st_ino == o->inode ? TAKE_FD(fd) : -ENOENT;
}

int cgroups_read(const struct cgroup2 *c, const struct owned_cgroups *owned, usec_t now, struct group_cgroups *ret)
{
        struct group_cgroups g = {.at = now};

        for (size_t i = 0; i < owned->n; i++) {
                _cleanup_close_ int fd = owned_cgroup_open(c, &owned->items[i]);
                struct cgroup_memory m;
                int r = fd < 0 ? fd : cgroup_memory_read(c, fd, false, &m);

                if (r == -ENOENT)
                        continue;
                if (r < 0)
                        return r;
                g.owned++;
                g.members_inside += owned->items[i].members;
                g.current = sum(g.current, m.current);
                g.swap = sum(g.swap, m.swap);
                g.anon = sum(g.anon, m.anon);
                g.file = sum(g.file, m.file);
                g.shmem = sum(g.shmem, m.shmem);
                g.kernel = sum(g.kernel, m.kernel);
                g.file_mapped = sum(g.file_mapped, m.file_mapped);
                g.unmapped_cache = sum(g.unmapped_cache, cgroup_unmapped_cache(&m));
                g.swap_cache = sum(g.swap_cache, m.swap_cache);
                g.sockets = sum(g.sockets, m.sockets);
        }
        if (g.owned == 0)
                g.current = g.swap = g.anon = g.file = g.shmem = g.kernel = g.file_mapped = g.unmapped_cache =
                                g.swap_cache = g.sockets = SIZE_UNKNOWN;
        *ret = g;
        return 0;
}
