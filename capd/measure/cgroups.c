/* SPDX-License-Identifier: MIT */
/*
 * cgroups.c: where the hierarchy is. Hosts with systemd have it at /sys/fs/cgroup, those with v1 beside it at
 * /sys/fs/cgroup/unified, often without the memory controller, which can be in one hierarchy only.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cgroups-internal.h"

void cgroup2_close(struct cgroup2 *c)
{
        close_fd(c->fd);
        *c = CGROUP2_CLOSED;
}

/* The next word of a line of mountinfo, which are separated by single spaces; *line moves behind it. */
static bool take_word(const char **line, const char *end, const char **ret, size_t *ret_len)
{
        const char *space;

        if (*line >= end)
                return false;
        space = memchr(*line, ' ', (size_t)(end - *line));
        if (!space)
                space = end;
        *ret = *line;
        *ret_len = (size_t)(space - *line);
        *line = space < end ? space + 1 : end;
        return true;
}

static bool is_word(const char *word, size_t len, const char *expected)
{
        return len == strlen(expected) && memcmp(word, expected, len) == 0;
}

/* Space, tab, newline and backslash are written as "\" and three octal digits: mangle() in fs/proc_namespace.c. */
static bool copy_unmangled(char *dst, size_t size, const char *src, size_t len)
{
        size_t n = 0;

        for (size_t i = 0; i < len;) {
                char c = src[i++];

                if (c == '\\' && len - i >= 3) {
                        unsigned value = 0;

                        for (unsigned k = 0; k < 3; k++) {
                                if (src[i + k] < '0' || src[i + k] > '7')
                                        return false;
                                value = value * 8 + (unsigned)(src[i + k] - '0');
                        }
                        i += 3;
                        c = (char)value;
                }
                if (c == '\0' || n + 1 >= size)
                        return false;
                dst[n++] = c;
        }
        dst[n] = '\0';
        return n > 0;
}

/* proc(5): ID, parent, device, root, mount point, options, any number of fields, "-", type, … */
bool parse_cgroup2_mount(const char *line, size_t line_len, char *ret_path, size_t size)
{
        const char *end = line + line_len, *word, *point = NULL;
        size_t len, point_len = 0;

        for (unsigned i = 0; i < 5; i++) {
                if (!take_word(&line, end, &word, &len))
                        return false;
                /* a bind mount of a part of it has another root, and so has one of another cgroup namespace ("/..") */
                if (i == 3 && !is_word(word, len, "/"))
                        return false;
                if (i == 4) {
                        point = word;
                        point_len = len;
                }
        }
        do
                if (!take_word(&line, end, &word, &len))
                        return false;
        while (!is_word(word, len, "-"));
        if (!take_word(&line, end, &word, &len) || !is_word(word, len, "cgroup2"))
                return false;
        if (point_len < 2 || point[0] != '/')
                return false;
        return copy_unmangled(ret_path, size, point + 1, point_len - 1);
}

static bool has_memory_controller(const char *text, size_t len)
{
        const char *end = text + len, *word;
        size_t word_len;

        while (take_word(&text, end, &word, &word_len)) {
                if (word_len > 0 && word[word_len - 1] == '\n')
                        word_len--;
                if (is_word(word, word_len, "memory"))
                        return true;
        }
        return false;
}

/* 0, or a negative errno: -EOPNOTSUPP without the memory controller, -ENOENT if it is no cgroupfs. */
static int try_mount(const struct sys *sys, const char *path, struct cgroup2 *ret)
{
        _cleanup_close_ int fd = sys_open(sys, path, O_RDONLY | O_DIRECTORY);
        struct cgroup2 c = {.sys = sys, .fd = -1};
        char text[4096];
        struct stat st;
        ssize_t n;
        int r;

        if (fd < 0)
                return fd;
        n = sys_read_file_at(sys, fd, "cgroup.controllers", text, sizeof(text));
        if (n < 0)
                return (int)n;
        if (!has_memory_controller(text, (size_t)n))
                return -EOPNOTSUPP;
        r = sys->ops->fstat(sys, fd, &st);
        if (r < 0)
                return r;
        c.device = st.st_dev;
        /* all have it but the root of all: Documentation/admin-guide/cgroup-v2.rst, "Core Interface Files" */
        c.whole = sys->ops->fstatat(sys, fd, "cgroup.type", &st, AT_SYMLINK_NOFOLLOW) == -ENOENT;
        strcpy(c.path, path);
        c.fd = TAKE_FD(fd);
        *ret = c;
        return 0;
}

/* Of several failures the one that says most: that of a mount that is there. */
static int worse(int a, int b)
{
        return a == -ENOENT ? b : a;
}

int cgroup2_open(const struct sys *sys, struct cgroup2 *ret)
{
        _cleanup_free_ char *text = malloc(LIMIT_MOUNTINFO_BYTES);
        char path[LIMIT_CGROUP_MOUNT_BYTES];
        int result = -ENOENT;
        ssize_t n;

        if (!text)
                return -ENOMEM;
        n = sys_read_file_at(sys, sys->root_fd, "proc/self/mountinfo", text, LIMIT_MOUNTINFO_BYTES);
        if (n == -E2BIG)
                n = LIMIT_MOUNTINFO_BYTES - 1;
        if (n < 0)
                return (int)n;
        for (const char *line = text, *end = text + n; line < end;) {
                const char *newline = memchr(line, '\n', (size_t)(end - line));
                size_t len = (size_t)((newline ? newline : end) - line);

                if (parse_cgroup2_mount(line, len, path, sizeof(path))) {
                        int r = try_mount(sys, path, ret);

                        if (r >= 0)
                                return 0;
                        result = worse(result, r);
                }
                line += len + 1;
        }
        return result;
}

/* "/a/b": not the root, and no "." or ".." in it, which stand for cgroups outside of our namespace. */
bool cgroup2_is_path(const char *path)
{
        size_t len;

        if (path[0] != '/' || path[1] == '\0' || strlen(path) >= LIMIT_CGROUP_BYTES)
                return false;
        while (*path == '/') {
                path++;
                len = strcspn(path, "/");
                if (len == 0 || is_word(path, len, ".") || is_word(path, len, ".."))
                        return false;
                path += len;
        }
        return true;
}

int cgroup2_check(const struct cgroup2 *c, int fd)
{
        struct stat st;
        int r = c->sys->ops->fstat(c->sys, fd, &st);

        if (r < 0)
                return r;
        return st.st_dev == c->device ? 0 : -EXDEV;
}

int cgroup2_open_cgroup(const struct cgroup2 *c, const char *path)
{
        _cleanup_close_ int fd = -1;
        int r;

        if (!cgroup2_is_path(path))
                return -EINVAL;
        fd = c->sys->ops->openat(c->sys, c->fd, path + 1, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        if (fd < 0)
                return fd;
        r = cgroup2_check(c, fd);
        return r < 0 ? r : TAKE_FD(fd);
}
