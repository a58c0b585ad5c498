/* SPDX-License-Identifier: MIT */
/*
 * charges.c: /proc/kpagecgroup read for the frames of a group and summed up by cgroup, and the names of those cgroups.
 *
 * Kernels before 6.4 tell the cgroup of a huge page at its first frame only: page_cgroup_ino() took tail pages for uncharged
 * (corrected in "memcg: page_cgroup_ino() get memcg from the page's folio"). So a frame without a cgroup that is a tail by
 * /proc/kpageflags is charged where its head is.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capd/limits.h"
#include "capd/measure/charges.h"
#include "capd/measure/frame-words.h"
#include "count-internal.h"

#define CHUNK_FRAMES (1U << FRAMES_CHUNK_BITS)
/* Frames apart by this many are still read together: a call costs as much as some dozen entries. */
#define READ_GAP 64U
/* Slots of the table by cgroup. */
#define SLOTS (2U * LIMIT_CHARGED_CGROUPS)

_Static_assert((SLOTS & (SLOTS - 1)) == 0, "slots are found by a mask");

/* linux/kernel-page-flags.h */
#define KPF_COMPOUND_HEAD (UINT64_C(1) << 15)
#define KPF_COMPOUND_TAIL (UINT64_C(1) << 16)

void charges_done(struct charges *c)
{
        for (size_t i = 0; i < c->n; i++)
                free(c->items[i].path);
        free(c->items);
        *c = (struct charges){0};
}

/* -- reading -- */

struct reader {
        const struct sys *sys;
        int cgroup_fd, flags_fd; /* flags_fd -1: not to be had */
        struct charge *slots;    /* open addressing; cgroup 0: free. `bytes` counts frames */
        size_t n_slots;          /* in use */
        uint64_t others, none;   /* frames */
        uint64_t cgroups[CHUNK_FRAMES], flags[CHUNK_FRAMES]; /* of one chunk */
};

static void add(struct reader *x, uint64_t cgroup, uint64_t frames)
{
        size_t i = (size_t)(cgroup * UINT64_C(0x9E3779B97F4A7C15) >> 32) & (SLOTS - 1);

        while (x->slots[i].cgroup != 0 && x->slots[i].cgroup != cgroup)
                i = (i + 1) & (SLOTS - 1);
        if (x->slots[i].cgroup == 0) {
                if (x->n_slots == LIMIT_CHARGED_CGROUPS) {
                        x->others += frames;
                        return;
                }
                x->n_slots++;
                x->slots[i].cgroup = cgroup;
        }
        x->slots[i].bytes += frames;
}

static inline bool is_set(const uint64_t *words, size_t i)
{
        return words[i / 64] >> (i % 64) & 1;
}

/* The first number of the set at or after i; CHUNK_FRAMES if there is none. */
static size_t next_set(const uint64_t *words, size_t i)
{
        while (i < CHUNK_FRAMES) {
                uint64_t word = words[i / 64] >> (i % 64);

                if (word != 0)
                        return i + (size_t)__builtin_ctzll(word);
                i = (i / 64 + 1) * 64;
        }
        return CHUNK_FRAMES;
}

/* Fills x->cgroups for the frames in the set; entries between them mean nothing. */
static int read_cgroups(struct reader *x, uint64_t key, const uint64_t *words)
{
        for (size_t first = next_set(words, 0), end, next; first < CHUNK_FRAMES; first = next) {
                int r;

                for (end = first + 1; (next = next_set(words, end)) < CHUNK_FRAMES && next - end <= READ_GAP;)
                        end = next + 1;
                r = frame_words_read_all(x->sys, x->cgroup_fd, (key << FRAMES_CHUNK_BITS) + first, end - first,
                                         x->cgroups + first);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* The place in the chunk of the first frame of the huge page that has a tail at i. They are aligned to their sizes, so that the nearest
 * aligned place that is a head is its head. */
static size_t head_of(const uint64_t *flags, size_t i)
{
        for (size_t size = 2; size <= CHUNK_FRAMES; size *= 2) {
                size_t head = i & ~(size - 1);

                if (flags[head] & KPF_COMPOUND_HEAD)
                        return head;
        }
        return i; /* changed meanwhile */
}

/* Frames of the set that have no cgroup: some may be the tails of huge pages. */
static int find_tails(struct reader *x, uint64_t key, const uint64_t *words)
{
        uint64_t heads[CHUNK_FRAMES / 64] = {0}, base = key << FRAMES_CHUNK_BITS;
        size_t last = 0;
        int r;

        for (size_t i = next_set(words, 0); i < CHUNK_FRAMES; i = next_set(words, i + 1))
                if (x->cgroups[i] == 0)
                        last = i;
        r = frame_words_read_all(x->sys, x->flags_fd, base, last + 1, x->flags);
        if (r < 0)
                return r;
        for (size_t i = next_set(words, 0); i <= last; i = next_set(words, i + 1)) {
                size_t head;

                if (x->cgroups[i] != 0 || !(x->flags[i] & KPF_COMPOUND_TAIL))
                        continue;
                head = head_of(x->flags, i);
                /* once for each huge page; the group may not map its head */
                if (head < i && !is_set(words, head) && !is_set(heads, head)) {
                        r = frame_words_read_all(x->sys, x->cgroup_fd, base + head, 1, &x->cgroups[head]);
                        if (r < 0)
                                return r;
                        heads[head / 64] |= UINT64_C(1) << (head % 64);
                }
                x->cgroups[i] = x->cgroups[head];
        }
        return 0;
}

static int read_chunk(struct reader *x, uint64_t key, const uint64_t *words)
{
        uint64_t cgroup = 0, run = 0;
        bool unknown = false;
        int r;

        r = read_cgroups(x, key, words);
        if (r < 0)
                return r;
        for (size_t i = next_set(words, 0); i < CHUNK_FRAMES && !unknown; i = next_set(words, i + 1))
                unknown = x->cgroups[i] == 0;
        if (unknown && x->flags_fd >= 0) {
                r = find_tails(x, key, words);
                if (r < 0)
                        return r;
        }
        for (size_t i = next_set(words, 0); i < CHUNK_FRAMES; i = next_set(words, i + 1)) {
                if (x->cgroups[i] == 0)
                        x->none++;
                else if (x->cgroups[i] == cgroup)
                        run++;
                else {
                        if (run > 0)
                                add(x, cgroup, run);
                        cgroup = x->cgroups[i];
                        run = 1;
                }
        }
        if (run > 0)
                add(x, cgroup, run);
        return 0;
}

static int by_size(const void *a, const void *b)
{
        const struct charge *x = a, *y = b;

        if (x->bytes != y->bytes)
                return x->bytes < y->bytes ? 1 : -1;
        return (x->cgroup > y->cgroup) - (x->cgroup < y->cgroup);
}

static int take(struct reader *x, uint64_t page_size, struct charges *ret)
{
        struct charge *items = calloc(x->n_slots + 1, sizeof(*items));
        size_t n = 0;

        if (!items)
                return -ENOMEM;
        for (size_t i = 0; i < SLOTS; i++)
                if (x->slots[i].cgroup != 0)
                        items[n++] = (struct charge){.cgroup = x->slots[i].cgroup,
                                                     .bytes = x->slots[i].bytes * page_size};
        qsort(items, n, sizeof(*items), by_size);
        *ret = (struct charges){.items = items, .n = n, .others = x->others * page_size, .none = x->none * page_size};
        return 0;
}

static int read_all(struct reader *x, struct guard *guard, const struct frames *frames)
{
        uint64_t key, *words;
        int r;

        for (size_t slot = 0; frames_next_chunk(frames, &slot, &key, &words);) {
                if (guard_stopping(guard))
                        return -ECANCELED;
                r = read_chunk(x, key, words);
                if (r < 0)
                        return r == -ECANCELED ? -EIO : r;
        }
        return 0;
}

static int read_frames(const struct count *c, const struct frames *frames, struct guard *guard, struct charges *ret)
{
        _cleanup_free_ struct reader *x = calloc(1, sizeof(*x));
        _cleanup_free_ struct charge *slots = calloc(SLOTS, sizeof(*slots));
        _cleanup_close_ int cgroup_fd = sys_open(c->sys, "proc/kpagecgroup", O_RDONLY);
        _cleanup_close_ int flags_fd = sys_open(c->sys, "proc/kpageflags", O_RDONLY);
        int r;

        if (!x || !slots)
                return -ENOMEM;
        if (cgroup_fd < 0)
                return cgroup_fd;
        x->sys = c->sys;
        x->slots = slots;
        x->cgroup_fd = cgroup_fd;
        x->flags_fd = flags_fd;
        r = read_all(x, guard, frames);
        return r < 0 ? r : take(x, c->features->page_size, ret);
}

int charges_read(const struct count *c, uint32_t group, struct guard *guard, struct charges *ret)
{
        const struct frames *frames = count_frames(c, group);
        int r = frames ? read_frames(c, frames, guard, ret) : -ENODATA;

        if (r == -ECANCELED)
                return r;
        if (r < 0)
                *ret = (struct charges){.error = r};
        return 0;
}

/* -- names -- */

/* getdents64(2) */
struct entry_head {
        uint64_t inode;
        int64_t offset;
        uint16_t size;
        uint8_t type;
        char name[];
} __attribute__((packed));

#define LIST_BYTES (32U * 1024)

struct finder {
        const struct cgroup2 *hierarchy;
        struct charge **wanted; /* by inode number */
        size_t n_wanted, n_found;
        char **pending; /* paths of directories still to be listed */
        size_t n_pending, allocated;
        size_t seen;
        char *buf; /* LIST_BYTES */
};

static void finder_done(struct finder *f)
{
        while (f->n_pending > 0)
                free(f->pending[--f->n_pending]);
        free(f->pending);
        free(f->wanted);
        free(f->buf);
}

static int by_inode(const void *a, const void *b)
{
        const struct charge *x = *(struct charge *const *)a, *y = *(struct charge *const *)b;

        return (x->cgroup > y->cgroup) - (x->cgroup < y->cgroup);
}

static struct charge *find_wanted(const struct finder *f, uint64_t inode)
{
        const struct charge key = {.cgroup = inode}, *p = &key;
        struct charge **found = bsearch(&p, f->wanted, f->n_wanted, sizeof(f->wanted[0]), by_inode);

        return found ? *found : NULL;
}

static int note(struct finder *f, uint64_t inode, const char *path)
{
        struct charge *c = find_wanted(f, inode);

        if (!c || c->path)
                return 0;
        c->path = strdup(path);
        if (!c->path)
                return -ENOMEM;
        f->n_found++;
        return 0;
}

static int push(struct finder *f, const char *path)
{
        char *copy;

        if (f->n_pending == f->allocated) {
                size_t n = f->allocated ? f->allocated * 2 : 64;
                char **more = reallocarray(f->pending, n, sizeof(*more));

                if (!more)
                        return -ENOMEM;
                f->pending = more;
                f->allocated = n;
        }
        copy = strdup(path);
        if (!copy)
                return -ENOMEM;
        f->pending[f->n_pending++] = copy;
        return 0;
}

/* One cgroup in the list of its parent. */
static int take_entry(struct finder *f, const char *parent, const struct entry_head *head, const char *name)
{
        char path[LIMIT_CGROUP_BYTES];
        int r;

        if (head->type != DT_DIR || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
                return 0;
        if (++f->seen > LIMIT_CGROUP_WALK)
                return -E2BIG;
        if (snprintf(path, sizeof(path), "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, name) >= (int)sizeof(path))
                return 0; /* its name is beyond what capd takes for a cgroup's */
        r = note(f, head->inode, path);
        return r < 0 ? r : push(f, path);
}

static int take_entries(struct finder *f, const char *parent, size_t len)
{
        for (size_t at = 0; at < len;) {
                struct entry_head head;
                const char *name = f->buf + at + sizeof(head);
                int r;

                if (len - at < sizeof(head))
                        return -EIO;
                memcpy(&head, f->buf + at, sizeof(head));
                if (head.size <= sizeof(head) || head.size > len - at || !memchr(name, '\0', head.size - sizeof(head)))
                        return -EIO;
                r = take_entry(f, parent, &head, name);
                if (r < 0)
                        return r;
                at += head.size;
        }
        return 0;
}

/* Lists one cgroup. One that has gone meanwhile has nothing below it. */
static int list(struct finder *f, const char *path)
{
        const struct sys *sys = f->hierarchy->sys;
        _cleanup_close_ int fd = -1;

        fd = strcmp(path, "/") == 0 ? sys->ops->openat(sys, f->hierarchy->fd, ".", O_RDONLY | O_DIRECTORY)
                                    : cgroup2_open_cgroup(f->hierarchy, path);
        if (fd < 0)
                return fd == -ENOENT || fd == -ENODEV || fd == -EXDEV ? 0 : fd;
        for (;;) {
                ssize_t n = sys->ops->getdents(sys, fd, f->buf, LIST_BYTES);
                int r;

                if (n == -EINTR)
                        continue;
                if (n == 0 || n == -ENOENT)
                        return 0;
                r = n < 0 ? (int)n : take_entries(f, path, (size_t)n);
                if (r < 0)
                        return r;
        }
}

static int find_all(struct finder *f, struct guard *guard)
{
        const struct sys *sys = f->hierarchy->sys;
        struct stat st;
        int r;

        r = sys->ops->fstat(sys, f->hierarchy->fd, &st);
        if (r >= 0)
                r = note(f, st.st_ino, "/");
        if (r >= 0)
                r = push(f, "/");
        while (r >= 0 && f->n_pending > 0 && f->n_found < f->n_wanted) {
                _cleanup_free_ char *path = f->pending[--f->n_pending];

                if (guard_stopping(guard))
                        return -ECANCELED;
                r = list(f, path);
        }
        return r;
}

int charges_find_paths(struct charges *c, const struct cgroup2 *hierarchy, struct guard *guard)
{
        _cleanup_(finder_done) struct finder f = {.hierarchy = hierarchy};

        if (c->n == 0)
                return 0;
        f.wanted = calloc(c->n, sizeof(f.wanted[0]));
        f.buf = malloc(LIST_BYTES);
        if (!f.wanted || !f.buf)
                return -ENOMEM;
        for (size_t i = 0; i < c->n; i++)
                if (!c->items[i].path)
                        f.wanted[f.n_wanted++] = &c->items[i];
        qsort(f.wanted, f.n_wanted, sizeof(f.wanted[0]), by_inode);
        return find_all(&f, guard);
}
