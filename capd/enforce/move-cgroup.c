/* SPDX-License-Identifier: MIT */
/* move-cgroup.c: the cgroups between which tasks are moved: opening, listing, making, and the files of their limit. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "capd/base/size.h"
#include "capd/enforce/move.h"

#define SUBTREE_CONTROL "cgroup.subtree_control"

int move_open_cgroup(const struct cgroup2 *c, const char *path)
{
        if (strcmp(path, "/") == 0)
                return c->sys->ops->openat(c->sys, c->fd, ".", O_RDONLY | O_DIRECTORY);
        return cgroup2_open_cgroup(c, path);
}

int move_inode(const struct cgroup2 *c, int cgroup_fd, uint64_t *ret)
{
        struct stat st;
        int r = c->sys->ops->fstat(c->sys, cgroup_fd, &st);

        if (r >= 0)
                *ret = st.st_ino;
        return r;
}

int move_open_same(const struct cgroup2 *c, const char *path, uint64_t inode)
{
        _cleanup_close_ int fd = move_open_cgroup(c, path);
        uint64_t is;
        int r;

        if (fd < 0)
                return fd;
        r = move_inode(c, fd, &is);
        if (r < 0)
                return r;
        return is == inode ? TAKE_FD(fd) : -ESTALE;
}

/* -- what is in them -- */

static int parse_pids(char *text, pid_t **pids, size_t *n, size_t *allocated)
{
        for (char *line = text, *next; *line; line = next) {
                uint64_t pid;

                next = line + strcspn(line, "\n");
                if (*next)
                        *next++ = '\0';
                /* 0: a process that this PID namespace does not show */
                if (parse_number(line, INT32_MAX, &pid) < 0)
                        return -EBADMSG;
                if (pid == 0)
                        continue;
                if (*n == *allocated) {
                        size_t more = MAX(*allocated * 2, (size_t)64);
                        pid_t *grown = reallocarray(*pids, more, sizeof(*grown));

                        if (!grown)
                                return -ENOMEM;
                        *pids = grown;
                        *allocated = more;
                }
                (*pids)[(*n)++] = (pid_t)pid;
        }
        return 0;
}

struct list {
        pid_t *pids;
        size_t n, allocated;
        size_t cgroups; /* looked at */
};

static int list_procs(const struct cgroup2 *c, int cgroup_fd, struct list *l)
{
        const size_t size = LIMIT_CGROUP_PROCS_BYTES;
        _cleanup_free_ char *text = malloc(size);
        ssize_t n;

        if (!text)
                return -ENOMEM;
        n = sys_read_file_at(c->sys, cgroup_fd, "cgroup.procs", text, size);
        if (n == -ENODEV || n == -ENOENT)
                return MOVE_E_GONE;
        if (n < 0)
                return (int)n;
        return parse_pids(text, &l->pids, &l->n, &l->allocated);
}

int move_list(const struct cgroup2 *c, int cgroup_fd, pid_t **ret, size_t *ret_n)
{
        struct list l = {};
        int r = list_procs(c, cgroup_fd, &l);

        if (r != 0) {
                free(l.pids);
                return r;
        }
        *ret = l.pids;
        *ret_n = l.n;
        return 0;
}

struct linux_dirent64 {
        uint64_t inode;
        int64_t offset;
        unsigned short length;
        unsigned char type;
        char name[];
};

static int list_below(const struct cgroup2 *c, int cgroup_fd, unsigned depth, struct list *l);

static int list_child(const struct cgroup2 *c, int cgroup_fd, const char *name, unsigned depth, struct list *l)
{
        _cleanup_close_ int fd = -1;

        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
                return 0;
        fd = c->sys->ops->openat(c->sys, cgroup_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        if (fd == -ENOENT || fd == -ENOTDIR)
                return 0;
        return fd < 0 ? fd : list_below(c, fd, depth + 1, l);
}

static int list_below(const struct cgroup2 *c, int cgroup_fd, unsigned depth, struct list *l)
{
        _cleanup_free_ char *buf = malloc(32 * 1024);
        int r = list_procs(c, cgroup_fd, l);
        ssize_t n;

        /* whoever was delegated a cgroup can make any number of them below it */
        if (depth > LIMIT_CGROUP_DEPTH)
                return -ELOOP;
        if (++l->cgroups > LIMIT_CGROUP_VISITS)
                return -E2BIG;
        if (!buf)
                return -ENOMEM;
        /* -EOPNOTSUPP: a threaded cgroup, whose processes the one above lists */
        if (r < 0 && r != -EOPNOTSUPP)
                return r;
        while ((n = c->sys->ops->getdents(c->sys, cgroup_fd, buf, 32 * 1024)) > 0)
                for (ssize_t at = 0; at < n;) {
                        const struct linux_dirent64 *d = (const struct linux_dirent64 *)(buf + at);

                        at += d->length;
                        if (d->type != 4 /* DT_DIR */)
                                continue;
                        r = list_child(c, cgroup_fd, d->name, depth, l);
                        if (r < 0)
                                return r;
                }
        return n == -ENOENT ? 0 : (int)n;
}

int move_list_all(const struct cgroup2 *c, int cgroup_fd, pid_t **ret, size_t *ret_n)
{
        struct list l = {};
        int r = list_below(c, cgroup_fd, 0, &l);

        if (r < 0) {
                free(l.pids);
                return r;
        }
        *ret = l.pids;
        *ret_n = l.n;
        return 0;
}

const char *move_cgroup_objection(const struct cgroup2 *c, int cgroup_fd)
{
        char type[32];
        ssize_t n = sys_read_file_at(c->sys, cgroup_fd, "cgroup.type", type, sizeof(type));

        if (n == -ENOENT)
                return NULL; /* the root has no type */
        if (n < 0)
                return "its cgroup cannot be read";
        type[strcspn(type, "\n")] = '\0';
        /* Its threads may be in several cgroups, and nothing could put them back there. */
        return strcmp(type, "domain") == 0 ? NULL : "it is in a threaded cgroup";
}

/* -- cgroups of our own -- */

static bool has_word(const char *text, const char *word)
{
        size_t n = strlen(word);

        for (const char *at = text; *at;) {
                size_t len = strcspn(at, " \n");

                if (len == n && memcmp(at, word, n) == 0)
                        return true;
                at += len;
                at += strspn(at, " \n");
        }
        return false;
}

static bool has_memory(const struct cgroup2 *c, int cgroup_fd)
{
        char text[1024];

        return sys_read_file_at(c->sys, cgroup_fd, SUBTREE_CONTROL, text, sizeof(text)) > 0 && has_word(text, "memory");
}

bool move_root_has_memory(const struct cgroup2 *c)
{
        return has_memory(c, c->fd);
}

static int enable_memory(const struct cgroup2 *c, int cgroup_fd, const char *path, char *why, size_t why_size)
{
        int r = has_memory(c, cgroup_fd) ? 0 : sys_write_file_at(c->sys, cgroup_fd, SUBTREE_CONTROL, "+memory");

        if (r < 0)
                snprintf(why, why_size, "the memory controller cannot be enabled below cgroup %s: %s", path,
                         r == -EBUSY ? "processes are in it, which cgroup v2 allows at the root only" : strerror(-r));
        return r;
}

static int make(const struct cgroup2 *c, int parent_fd, const char *name, char *why, size_t why_size)
{
        int r = c->sys->ops->mkdirat(c->sys, parent_fd, name, 0755);

        if (r == -EEXIST)
                return 0;
        if (r < 0)
                snprintf(why, why_size, "cgroup %s cannot be made: %s", name, strerror(-r));
        return r;
}

int move_make_cgroup(const struct cgroup2 *c, const char *name, char *why, size_t why_size)
{
        _cleanup_close_ int fd = -1;
        int r;

        if ((r = enable_memory(c, c->fd, "/", why, why_size)) < 0 ||
            (r = make(c, c->fd, &MOVE_SUBTREE[1], why, why_size)) < 0)
                return r;
        fd = cgroup2_open_cgroup(c, MOVE_SUBTREE);
        if (fd < 0) {
                snprintf(why, why_size, "cgroup %s cannot be opened: %s", MOVE_SUBTREE, strerror(-fd));
                return fd;
        }
        r = enable_memory(c, fd, MOVE_SUBTREE, why, why_size);
        return r < 0 ? r : make(c, fd, name, why, why_size);
}

int move_release_memory(const struct cgroup2 *c)
{
        _cleanup_free_ char *buf = malloc(32 * 1024);
        _cleanup_close_ int fd = c->sys->ops->openat(c->sys, c->fd, ".", O_RDONLY | O_DIRECTORY);
        ssize_t n;

        if (!buf)
                return -ENOMEM;
        if (fd < 0)
                return fd;
        while ((n = c->sys->ops->getdents(c->sys, fd, buf, 32 * 1024)) > 0)
                for (ssize_t at = 0; at < n;) {
                        const struct linux_dirent64 *d = (const struct linux_dirent64 *)(buf + at);

                        at += d->length;
                        if (d->type == 4 && strcmp(d->name, ".") != 0 && strcmp(d->name, "..") != 0)
                                return 0; /* it may have come to use it */
                }
        return n < 0 ? (int)n : sys_write_file_at(c->sys, c->fd, SUBTREE_CONTROL, "-memory");
}

int move_remove_cgroup(const struct cgroup2 *c, const char *path)
{
        const char *slash = strrchr(path, '/');
        _cleanup_close_ int fd = -1;
        char parent[LIMIT_CGROUP_BYTES];
        int r;

        if (!slash || slash[1] == '\0' || strlen(path) >= sizeof(parent))
                return -EINVAL;
        snprintf(parent, sizeof(parent), "%.*s", slash == path ? 1 : (int)(slash - path), path);
        fd = move_open_cgroup(c, parent);
        if (fd < 0)
                return fd == -ENOENT ? 0 : fd;
        r = c->sys->ops->unlinkat(c->sys, fd, slash + 1, AT_REMOVEDIR);
        return r == -ENOENT ? 0 : r;
}

/* -- memory.high -- */

bool move_parse_high(const char *text, uint64_t *ret)
{
        if (strcmp(text, "max") == 0) {
                *ret = MOVE_NO_LIMIT;
                return true;
        }
        return parse_number(text, INT64_MAX, ret) >= 0;
}

void move_format_high(char *buf, size_t size, uint64_t high)
{
        if (high == MOVE_NO_LIMIT)
                snprintf(buf, size, "max");
        else
                snprintf(buf, size, "%" PRIu64, high);
}

int move_write_high(const struct cgroup2 *c, int cgroup_fd, uint64_t high)
{
        char text[32];

        move_format_high(text, sizeof(text), high);
        return sys_write_file_at(c->sys, cgroup_fd, "memory.high", text);
}

static uint64_t read_value(const struct cgroup2 *c, int cgroup_fd, const char *file)
{
        char text[64];
        uint64_t v;

        if (sys_read_file_at(c->sys, cgroup_fd, file, text, sizeof(text)) < 0)
                return SIZE_UNKNOWN;
        text[strcspn(text, "\n")] = '\0';
        return move_parse_high(text, &v) ? v : SIZE_UNKNOWN;
}

/* The number behind "KEY" at the beginning of a line, or SIZE_UNKNOWN. */
static uint64_t find_value(const char *text, const char *key)
{
        size_t n = strlen(key);

        for (const char *line = text; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
                char number[24];
                uint64_t v;

                if (strncmp(line, key, n) != 0)
                        continue;
                snprintf(number, sizeof(number), "%.*s", (int)strcspn(line + n, " \n"), line + n);
                return parse_number(number, UINT64_MAX - 1, &v) < 0 ? SIZE_UNKNOWN : v;
        }
        return SIZE_UNKNOWN;
}

static uint64_t sum(uint64_t a, uint64_t b)
{
        return a == SIZE_UNKNOWN || b == SIZE_UNKNOWN ? SIZE_UNKNOWN : a + b;
}

static usec_t read_stalled(const struct cgroup2 *c, int cgroup_fd)
{
        char text[512], *total;

        if (sys_read_file_at(c->sys, cgroup_fd, "memory.pressure", text, sizeof(text)) < 0)
                return SIZE_UNKNOWN;
        total = strstr(text, "full ");
        total = total ? strstr(total, "total=") : NULL;
        return total ? find_value(total, "total=") : SIZE_UNKNOWN;
}

int move_read_figures(const struct cgroup2 *c, int cgroup_fd, struct move_figures *ret)
{
        char text[8192];
        ssize_t n;

        *ret = (struct move_figures){.cache = SIZE_UNKNOWN,
                                     .anon = SIZE_UNKNOWN,
                                     .events_high = SIZE_UNKNOWN,
                                     .stalled = SIZE_UNKNOWN};
        /* files of a cgroup that was removed while it was open answer ENODEV (kernfs_get_active() in fs/kernfs/dir.c) */
        n = sys_read_file_at(c->sys, cgroup_fd, "memory.stat", text, sizeof(text));
        if (n == -ENOENT || n == -ENODEV)
                return -ENOENT;
        if (n >= 0) {
                ret->cache = sum(find_value(text, "active_file "), find_value(text, "inactive_file "));
                ret->anon = sum(find_value(text, "active_anon "), find_value(text, "inactive_anon "));
        }
        if (sys_read_file_at(c->sys, cgroup_fd, "memory.events", text, sizeof(text)) >= 0)
                ret->events_high = find_value(text, "high ");
        ret->stalled = read_stalled(c, cgroup_fd);
        ret->high = read_value(c, cgroup_fd, "memory.high");
        ret->current = read_value(c, cgroup_fd, "memory.current");
        return 0;
}
