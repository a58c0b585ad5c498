/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "capd/limits.h"
#include "proc-parse.h"
#include "walk-internal.h"

#define READ_BYTES 32768U

static bool starts_with(const char *s, size_t len, const char *prefix)
{
        size_t n = strlen(prefix);

        return len >= n && memcmp(s, prefix, n) == 0;
}

/*
 * Names of mappings without a file: fs/proc/task_mmu.c, get_vma_name(). "[anon:…]" and "[anon_shmem:…]" are prctl(2)'s
 * PR_SET_VMA_ANON_NAME, whose text cannot hold brackets; old kernels say "[stack:TID]". A file's path begins with a slash, so it
 * cannot pass for any of them, but a device driver may name its file what it likes: hence the look at the inode first.
 */
static enum vma_kind kind_of(const struct walk_vma *v, const char *name, size_t len)
{
        if (v->inode != 0 || v->shared)
                return VMA_OBJECT;
        if (len == 0 || starts_with(name, len, "[heap]") || starts_with(name, len, "[stack") ||
            starts_with(name, len, "[anon:"))
                return VMA_ANON;
        return name[0] == '[' ? VMA_SPECIAL : VMA_OBJECT;
}

static int append(struct vmas *l, const struct vma *item)
{
        if (l->n == l->allocated) {
                size_t n = l->allocated ? l->allocated * 2 : 64;
                struct vma *items = reallocarray(l->items, n, sizeof(*items));

                if (!items)
                        return -ENOMEM;
                l->items = items;
                l->allocated = n;
        }
        l->items[l->n++] = *item;
        l->size += item->v.end - item->v.start;
        return 0;
}

struct reader {
        struct vmas *list;
        struct proc_smaps sizes; /* of the last item */
        bool with_sizes;
        bool open; /* the fields that follow belong to the last item */
        uint64_t page_size;
};

static void finish_item(struct reader *r)
{
        struct proc_smaps s = r->sizes;
        uint64_t bytes;

        if (!r->open || !r->with_sizes)
                return;
        if (__builtin_add_overflow(s.rss, s.swap, &bytes) || __builtin_add_overflow(bytes, s.hugetlb, &bytes))
                bytes = UINT64_MAX - 1;
        r->list->items[r->list->n - 1].expected = bytes / r->page_size + (bytes % r->page_size != 0);
}

static int take_line(struct reader *r, const char *line, size_t len)
{
        struct vma item = {.expected = UINT64_MAX};
        const char *name;
        size_t name_len;
        uint64_t last_end = r->list->n > 0 ? r->list->items[r->list->n - 1].v.end : 0;

        if (parse_maps_line(line, len, &item.v, &name, &name_len) < 0) {
                if (!r->with_sizes)
                        return -EBADMSG;
                if (r->open)
                        parse_smaps_line(line, len, &r->sizes);
                return 0;
        }
        finish_item(r);
        r->sizes = (struct proc_smaps){};
        r->open = false;
        if (starts_with(name, name_len, "[vsyscall]")) /* not in any page table of the process */
                return 0;
        if (item.v.start % r->page_size || item.v.end % r->page_size)
                return -EBADMSG;
        /* the file is read in pieces, and a mapping that grew between two of them is told twice */
        if (item.v.end <= last_end)
                return 0;
        if (item.v.start < last_end) {
                item.v.offset += last_end - item.v.start;
                item.v.start = last_end;
        }
        item.kind = kind_of(&item.v, name, name_len);
        r->open = true;
        return append(r->list, &item);
}

/* Takes whole lines out of buf; what is left of a line moves to its front. */
static int take_lines(struct reader *r, char *buf, size_t *len, bool *skipping)
{
        char *p = buf, *end = buf + *len, *newline;
        int ret;

        while ((newline = memchr(p, '\n', (size_t)(end - p)))) {
                if (!*skipping) {
                        ret = take_line(r, p, (size_t)(newline - p));
                        if (ret < 0)
                                return ret;
                }
                *skipping = false;
                p = newline + 1;
        }
        *len = (size_t)(end - p);
        if (*len > LIMIT_MAPS_LINE_BYTES) {
                /* what counts is at its head; the rest is a path without end */
                if (!*skipping) {
                        ret = take_line(r, p, LIMIT_MAPS_LINE_BYTES);
                        if (ret < 0)
                                return ret;
                }
                *skipping = true;
                *len = 0;
                return 0;
        }
        memmove(buf, p, *len);
        return 0;
}

int vmas_read(struct walk_context *c, struct guard *guard, pid_t pid, int dirfd, bool with_sizes, struct vmas *ret,
              bool *ret_lost)
{
        const struct sys *sys = c->sys;
        _cleanup_(vmas_done) struct vmas list = {};
        struct reader reader = {.list = &list, .with_sizes = with_sizes, .page_size = c->features->page_size};
        _cleanup_close_ int fd = -1;
        _cleanup_free_ char *buf = NULL;
        bool skipping = false;
        size_t len = 0;
        int r;

        buf = malloc(READ_BYTES);
        if (!buf)
                return -ENOMEM;
        guard_enter(guard, pid);
        fd = sys->ops->openat(sys, dirfd, with_sizes ? "smaps" : "maps", O_RDONLY);
        if (!guard_leave(guard)) {
                *ret_lost = true;
                return -ECANCELED;
        }
        if (fd < 0)
                return fd == -ENOENT ? -ESRCH : fd;
        for (;;) {
                ssize_t n;

                /* for smaps the kernel walks whole mappings with the lock held: too long to come before others */
                if (with_sizes)
                        context_step_back(c);
                else
                        context_come_first(c);
                guard_enter(guard, pid);
                n = sys->ops->read(sys, fd, buf + len, READ_BYTES - len);
                if (!guard_leave(guard)) {
                        *ret_lost = true;
                        return -ECANCELED;
                }
                if (n == -EINTR)
                        continue;
                if (n < 0)
                        return (int)n;
                if (n == 0)
                        break;
                len += (size_t)n;
                r = take_lines(&reader, buf, &len, &skipping);
                if (r < 0)
                        return r;
                if (guard_stopping(guard))
                        return -ECANCELED;
        }
        if (len > 0 && !skipping) {
                r = take_line(&reader, buf, len);
                if (r < 0)
                        return r;
        }
        finish_item(&reader);
        if (list.n == 0)
                return -ESRCH;
        *ret = list;
        list = (struct vmas){};
        return 0;
}

void vmas_done(struct vmas *v)
{
        free(v->items);
        *v = (struct vmas){};
}
