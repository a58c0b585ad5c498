/* SPDX-License-Identifier: MIT */
/*
 * cgroups-owned.c: which cgroups are a group's, whole.
 *
 * Being owned goes downwards: what is below an owned cgroup is owned, and what is above one that is not is not. So each cgroup in which
 * a member lives is climbed from, as far as it goes; and as the members are taken in the order of the tree, what was learnt from the one
 * before is all that has to be remembered.
 *
 * In a threaded subtree (Documentation/admin-guide/cgroup-v2.rst, "Threads") cgroup.procs cannot be read, with EOPNOTSUPP; the
 * processes are listed by the cgroup on top of it, and there is no memory controller inside.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cgroups-internal.h"
#include "cgroups-list.h"

/* Looks into one. 0 nothing against it; 1 there is a stranger; or a negative errno. */
static int judge_one(const struct cgroup2 *c, int top, const char *path, const char *skip, cgroup_judge *judge,
                     void *userdata, struct cgroup_work *w, unsigned budget, struct pid_list *pids, pid_t *ret_stranger)
{
        _cleanup_close_ int fd =
                        c->sys->ops->openat(c->sys, top, *path ? path : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        int r;

        pids->n = 0;
        if (fd < 0)
                return fd == -ENOTDIR && *path ? 0 : fd; /* a file of a kind that the listing did not tell */
        r = cgroup2_check(c, fd);
        if (r < 0)
                return r;
        r = cgroup_list_procs(c->sys, fd, pids);
        if (r == -EOPNOTSUPP && *path)
                r = 0;
        if (r < 0)
                return r;
        if (pids->n > 0 && !judge(pids->items, pids->n, userdata, ret_stranger))
                return 1;
        return cgroup_list_below(c->sys, fd, w, path, skip, budget);
}

int cgroup_judge_tasks(const struct cgroup2 *c, int fd, const char *skip, cgroup_judge *judge, void *userdata,
                       unsigned *budget, pid_t *ret_stranger)
{
        _cleanup_(cgroup_work_done) struct cgroup_work w = {};
        _cleanup_(pid_list_done) struct pid_list pids = {};
        bool somebody = skip != NULL;
        int r = cgroup_work_add(&w, "", "");

        if (r < 0)
                return r;
        while (w.n > 0) {
                _cleanup_free_ char *path = w.items[--w.n];

                if (*budget == 0)
                        return -E2BIG;
                --*budget;
                r = judge_one(c, fd, path, skip, judge, userdata, &w, *budget, &pids, ret_stranger);
                if (r > 0)
                        return 0;
                if (r < 0 && !(cgroup_is_gone(r) && *path))
                        return cgroup_is_gone(r) ? -ENOENT : r;
                somebody = somebody || pids.n > 0;
        }
        if (!somebody)
                *ret_stranger = -1;
        return somebody;
}

/* -- the topmost of a group -- */

void owned_cgroups_done(struct owned_cgroups *o)
{
        for (size_t i = 0; i < o->n; i++)
                free(o->items[i].path);
        free(o->items);
        *o = (struct owned_cgroups){};
}

int owned_cgroups_copy(const struct owned_cgroups *o, struct owned_cgroups *ret)
{
        _cleanup_(owned_cgroups_done) struct owned_cgroups copy = {};

        copy.items = calloc(o->n + 1, sizeof(*copy.items));
        if (!copy.items)
                return -ENOMEM;
        for (; copy.n < o->n; copy.n++) {
                copy.items[copy.n] = o->items[copy.n];
                copy.items[copy.n].path = strdup(o->items[copy.n].path);
                if (!copy.items[copy.n].path)
                        return -ENOMEM;
        }
        copy.members_inside = o->members_inside;
        copy.cut = o->cut;
        *ret = copy;
        copy = (struct owned_cgroups){};
        return 0;
}

/* In the order of the tree: "/" comes before every other byte, so that what is below a cgroup follows it. */
static int compare_paths(const void *x, const void *y)
{
        const unsigned char *a = (const unsigned char *)((const struct cgroup_member *)x)->cgroup;
        const unsigned char *b = (const unsigned char *)((const struct cgroup_member *)y)->cgroup;

        for (; *a && *a == *b; a++, b++)
                ;
        if (*a == *b)
                return 0;
        if (*a == '\0' || (*a == '/' && *b != '\0'))
                return -1;
        return *b == '\0' || *b == '/' || *a > *b ? 1 : -1;
}

/* Whether `path` is `above` (of len bytes) or below it. */
static bool is_below(const char *path, const char *above, size_t len)
{
        return strncmp(path, above, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

struct search {
        const struct cgroup2 *c;
        bool (*is_member)(pid_t pid, void *userdata);
        void *userdata;
        unsigned budget;
        char not_owned[LIMIT_CGROUP_BYTES]; /* the last found, the lowest on its way; "" none yet */
        struct owned_cgroups found;
};

static bool judge_by_member(const pid_t *pids, size_t n, void *userdata, pid_t *ret_stranger)
{
        struct search *s = userdata;

        for (size_t i = 0; i < n; i++)
                if (pids[i] <= 0 || !s->is_member(pids[i], s->userdata)) {
                        *ret_stranger = pids[i];
                        return false;
                }
        return true;
}

/* Looks at one on the way up from a member. 1 owned, 0 not, -EOPNOTSUPP threaded. *ret_fd is opened if it is owned. */
static int look(struct search *s, const char *path, const char *skip, int *ret_fd)
{
        _cleanup_close_ int fd = cgroup2_open_cgroup(s->c, path);
        pid_t stranger;
        int r = fd < 0 ? fd : cgroup_judge_tasks(s->c, fd, skip, judge_by_member, s, &s->budget, &stranger);

        if (r > 0) {
                close_fd(*ret_fd);
                *ret_fd = TAKE_FD(fd);
                return 1;
        }
        if (r == -E2BIG)
                s->found.cut = true;
        return r == -EOPNOTSUPP || r == -ENOMEM ? r : 0;
}

/*
 * Climbs from where a member lives. `path` is cut to the topmost that is owned: its length, and *ret_fd; or 0 for none; or -ENOMEM.
 */
static ssize_t climb(struct search *s, char *path, int *ret_fd)
{
        size_t owned = 0, len = strlen(path);
        char below[LIMIT_CGROUP_BYTES] = "";

        while (len > 0) {
                char *slash;
                int r;

                path[len] = '\0';
                if (is_below(s->not_owned, path, len))
                        break;
                r = look(s, path, owned > 0 ? below : NULL, ret_fd);
                if (r == -ENOMEM)
                        return r;
                if (r == 0) {
                        strcpy(s->not_owned, path);
                        break;
                }
                if (r > 0)
                        owned = len;
                slash = strrchr(path, '/');
                strcpy(below, slash + 1);
                len = (size_t)(slash - path);
        }
        return (ssize_t)owned;
}

static int add_owned(struct search *s, const char *path, size_t len, int fd)
{
        struct owned_cgroups *o = &s->found;
        struct stat st;
        int r = s->c->sys->ops->fstatat(s->c->sys, fd, "memory.current", &st, AT_SYMLINK_NOFOLLOW);

        if (r < 0) /* without controller: what its tasks use is booked further up, where others' is, too */
                return 0;
        if (o->n >= LIMIT_OWNED_CGROUPS) {
                o->cut = true;
                return 0;
        }
        r = s->c->sys->ops->fstat(s->c->sys, fd, &st);
        if (r < 0)
                return 0;
        if (!o->items)
                o->items = calloc(LIMIT_OWNED_CGROUPS, sizeof(*o->items));
        if (!o->items)
                return -ENOMEM;
        o->items[o->n] = (struct owned_cgroup){.path = strndup(path, len), .inode = st.st_ino};
        if (!o->items[o->n].path)
                return -ENOMEM;
        o->n++;
        return 1;
}

static int find_from(struct search *s, const struct cgroup_member *sorted, size_t n)
{
        char top[LIMIT_CGROUP_BYTES] = "";
        bool booked = false; /* `top` is the last of what was found */

        for (size_t i = 0; i < n; i++) {
                _cleanup_close_ int fd = -1;
                char path[LIMIT_CGROUP_BYTES];
                ssize_t len;
                int r;

                if (top[0] == '\0' || !is_below(sorted[i].cgroup, top, strlen(top))) {
                        if (i > 0 && strcmp(sorted[i].cgroup, sorted[i - 1].cgroup) == 0)
                                continue; /* was none */
                        strcpy(path, sorted[i].cgroup);
                        len = climb(s, path, &fd);
                        if (len < 0)
                                return (int)len;
                        top[0] = '\0';
                        if (len == 0)
                                continue;
                        memcpy(top, sorted[i].cgroup, (size_t)len);
                        top[len] = '\0';
                        r = add_owned(s, top, (size_t)len, fd);
                        if (r < 0)
                                return r;
                        booked = r > 0;
                }
                if (booked) {
                        s->found.items[s->found.n - 1].members++;
                        s->found.members_inside++;
                }
        }
        return 0;
}

int cgroups_find_owned(const struct cgroup2 *c, const struct cgroup_member *members, size_t n,
                       bool (*is_member)(pid_t pid, void *userdata), void *userdata, struct owned_cgroups *ret)
{
        _cleanup_free_ struct cgroup_member *sorted = calloc(n + 1, sizeof(*sorted));
        _cleanup_free_ struct search *s = calloc(1, sizeof(*s));
        size_t known = 0;
        int r;

        if (!sorted || !s)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                if (members[i].cgroup && cgroup2_is_path(members[i].cgroup))
                        sorted[known++] = members[i];
        qsort(sorted, known, sizeof(*sorted), compare_paths);
        s->c = c;
        s->is_member = is_member;
        s->userdata = userdata;
        s->budget = LIMIT_CGROUP_VISITS;
        r = find_from(s, sorted, known);
        if (r < 0) {
                owned_cgroups_done(&s->found);
                return r;
        }
        *ret = s->found;
        return 0;
}
