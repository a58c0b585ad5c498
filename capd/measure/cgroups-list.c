/* SPDX-License-Identifier: MIT */
/* cgroups-list.c: who is in a cgroup, and which cgroups are right below it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cgroups-list.h"
#include "proc-parse.h"

#define LIST_BYTES 4096U

void pid_list_done(struct pid_list *p)
{
        free(p->items);
}

int pid_list_add(struct pid_list *p, pid_t pid)
{
        if (p->n == p->allocated) {
                size_t n = p->allocated ? p->allocated * 2 : 64;
                pid_t *items;

                if (p->n >= LIMIT_PROCESSES)
                        return -E2BIG;
                items = reallocarray(p->items, n, sizeof(*items));
                if (!items)
                        return -ENOMEM;
                p->items = items;
                p->allocated = n;
        }
        p->items[p->n++] = pid;
        return 0;
}

/* Takes whole lines out of buf; what is left over stays at its beginning. The length of that, or a negative errno. */
static ssize_t take_lines(struct pid_list *p, char *buf, size_t len)
{
        const char *at = buf, *end = buf + len;

        for (;;) {
                const char *newline = memchr(at, '\n', (size_t)(end - at));
                uint64_t pid;
                int r;

                if (!newline)
                        break;
                if (!parse_decimal(&at, newline, &pid) || at != newline || pid > INT32_MAX)
                        return -EBADMSG;
                r = pid_list_add(p, (pid_t)pid);
                if (r < 0)
                        return r;
                at = newline + 1;
        }
        len = (size_t)(end - at);
        memmove(buf, at, len);
        return (ssize_t)len;
}

int cgroup_list_procs(const struct sys *sys, int dirfd, struct pid_list *l)
{
        _cleanup_close_ int fd = sys->ops->openat(sys, dirfd, "cgroup.procs", O_RDONLY);
        char buf[LIST_BYTES];
        size_t kept = 0;

        if (fd < 0)
                return fd;
        for (;;) {
                ssize_t n = sys->ops->read(sys, fd, buf + kept, sizeof(buf) - kept);

                if (n == -EINTR)
                        continue;
                if (n < 0)
                        return (int)n;
                if (n == 0)
                        return kept > 0 ? -EBADMSG : 0;
                n = take_lines(l, buf, kept + (size_t)n);
                if (n < 0)
                        return (int)n;
                if ((size_t)n == sizeof(buf))
                        return -EBADMSG;
                kept = (size_t)n;
        }
}

void cgroup_work_done(struct cgroup_work *w)
{
        for (size_t i = 0; i < w->n; i++)
                free(w->items[i]);
        free(w->items);
}

int cgroup_work_add(struct cgroup_work *w, const char *above, const char *name)
{
        size_t above_len = strlen(above), name_len = strlen(name);
        char *path;

        if (above_len + name_len + 2 > LIMIT_CGROUP_BYTES)
                return -E2BIG;
        if (w->n == w->allocated) {
                size_t n = w->allocated ? w->allocated * 2 : 16;
                char **items = reallocarray(w->items, n, sizeof(*items));

                if (!items)
                        return -ENOMEM;
                w->items = items;
                w->allocated = n;
        }
        path = malloc(above_len + name_len + 2);
        if (!path)
                return -ENOMEM;
        memcpy(path, above, above_len);
        if (above_len > 0)
                path[above_len++] = '/';
        memcpy(path + above_len, name, name_len + 1);
        w->items[w->n++] = path;
        return 0;
}

/* Adds the directories named in one answer of getdents64(2). */
static int take_names(struct cgroup_work *w, const char *above, const char *skip, const char *buf, size_t len,
                      unsigned budget)
{
        for (size_t at = 0; at + offsetof(struct dirent64, d_name) < len;) {
                const struct dirent64 *d = (const struct dirent64 *)(const void *)(buf + at);
                int r;

                if (d->d_reclen == 0 || d->d_reclen > len - at)
                        return -EIO;
                at += d->d_reclen;
                if ((d->d_type != DT_DIR && d->d_type != DT_UNKNOWN) || strcmp(d->d_name, ".") == 0 ||
                    strcmp(d->d_name, "..") == 0)
                        continue;
                if (*above == '\0' && skip && strcmp(d->d_name, skip) == 0)
                        continue;
                if (w->n >= budget)
                        return -E2BIG;
                r = cgroup_work_add(w, above, d->d_name);
                if (r < 0)
                        return r;
        }
        return 0;
}

int cgroup_list_below(const struct sys *sys, int fd, struct cgroup_work *w, const char *above, const char *skip,
                      unsigned budget)
{
        _Alignas(struct dirent64) char buf[LIST_BYTES];

        for (;;) {
                ssize_t n = sys->ops->getdents(sys, fd, buf, sizeof(buf));
                int r;

                if (n == -EINTR)
                        continue;
                if (n <= 0)
                        return (int)n;
                r = take_names(w, above, skip, buf, (size_t)n, budget);
                if (r < 0)
                        return r;
        }
}
