/* SPDX-License-Identifier: MIT */
/*
 * narrow.c: who is there, where only the processes of some cgroups matter. These are listed by cgroup.procs, and all others cost
 * nothing: not their name in /proc, nor their attributes, however many of them come and go.
 *
 * It costs to open each cgroup; its inode tells whether it was there before (a number of kernfs is not used twice), so its path
 * is judged once. Its number of links tells whether there are any below: a directory of kernfs has two and one for each
 * (kernfs_refresh_inode() in fs/kernfs/inode.c).
 *
 * What cgroup.procs lists is in that very cgroup except where there are threaded ones (Documentation/admin-guide/cgroup-v2.rst, "Threads"): the
 * cgroup above them lists their processes as its own, and they answer EOPNOTSUPP. So who finds one at or right below a wanted cgroup
 * gives up. A process that moves from a cgroup not yet listed to one already listed is in no list: keep_wanted() looks at who is missing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cgroups-internal.h"
#include "cgroups-list.h"
#include "table-internal.h"

struct known_cgroup {
        uint64_t inode;
        bool wanted;
        bool listed; /* that, or right below a wanted one: whether it is threaded matters */
};

struct listing {
        struct process_table *table;
        struct pid_list *pids, others; /* the latter of cgroups that are not wanted */
        struct cgroup_work work;       /* paths without the leading slash */
        struct known_cgroup *seen;
        size_t n, allocated;
};

static void listing_done(struct listing *l)
{
        cgroup_work_done(&l->work);
        pid_list_done(&l->others);
        free(l->seen);
}

static int by_inode(const void *a, const void *b)
{
        const struct known_cgroup *x = a, *y = b;

        return (x->inode > y->inode) - (x->inode < y->inode);
}

static bool is_wanted(const struct process_table *t, const char *path)
{
        return t->wanted(t->wanted_userdata, path);
}

/* Of one that was not there before. */
static struct known_cgroup judge(const struct process_table *t, uint64_t inode, const char *path)
{
        struct known_cgroup k = {.inode = inode, .wanted = is_wanted(t, path)};
        char above[LIMIT_CGROUP_BYTES];
        char *slash;

        k.listed = k.wanted;
        if (!k.wanted && path[1] != '\0') {
                strcpy(above, path);
                slash = strrchr(above, '/');
                slash[slash == above] = '\0';
                k.listed = is_wanted(t, above);
        }
        return k;
}

static int note_seen(struct listing *l, uint64_t inode, const char *path, struct known_cgroup *ret)
{
        const struct process_table *t = l->table;
        const struct known_cgroup key = {.inode = inode}, *known;

        if (l->n == l->allocated) {
                size_t n = MAX(l->allocated * 2, (size_t)64);
                struct known_cgroup *seen;

                if (l->n >= LIMIT_CGROUP_VISITS)
                        return -E2BIG;
                seen = reallocarray(l->seen, n, sizeof(*seen));
                if (!seen)
                        return -ENOMEM;
                l->seen = seen;
                l->allocated = n;
        }
        known = t->n_known > 0 ? bsearch(&key, t->known, t->n_known, sizeof(key), by_inode) : NULL;
        *ret = l->seen[l->n++] = known ? *known : judge(t, inode, path);
        return 0;
}

/* What a wanted cgroup has added to the list. */
static void note_listed(struct listing *l, size_t first, const char *path)
{
        size_t n = first;

        for (size_t i = first; i < l->pids->n; i++) {
                struct process *p;

                if (l->pids->items[i] == 0)
                        continue; /* of no PID namespace that capd sees */
                l->pids->items[n++] = l->pids->items[i];
                p = process_table_find(l->table, l->pids->items[i]);
                if (p && p->facts.cgroup && strcmp(p->facts.cgroup, path) == 0)
                        p->listed = l->table->generation + 1; /* that of the refresh that this is for */
                else if (p)
                        p->attributes_at = 0;
        }
        l->pids->n = n;
}

static int list_procs(struct listing *l, int fd, const char *path, bool wanted)
{
        struct pid_list *list = wanted ? l->pids : &l->others;
        size_t first = list->n;
        int r = cgroup_list_procs(l->table->sys, fd, list);

        if (wanted)
                note_listed(l, first, path);
        else
                list->n = 0;
        return r;
}

static int look_into(struct listing *l, const char *name)
{
        const struct cgroup2 *c = l->table->cgroups;
        _cleanup_close_ int fd =
                        c->sys->ops->openat(c->sys, c->fd, *name ? name : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        char path[LIMIT_CGROUP_BYTES + 1];
        struct known_cgroup k;
        struct stat st;
        int r;

        if (fd < 0)
                return fd == -ENOTDIR ? 0 : fd; /* a file of a kind that the listing did not tell */
        r = c->sys->ops->fstat(c->sys, fd, &st);
        if (r < 0)
                return r;
        if (st.st_dev != c->device)
                return -EXDEV;
        snprintf(path, sizeof(path), "/%s", name);
        r = note_seen(l, st.st_ino, path, &k);
        if (r >= 0 && k.listed)
                r = list_procs(l, fd, path, k.wanted);
        if (r < 0 || st.st_nlink == 2)
                return r;
        return cgroup_list_below(c->sys, fd, &l->work, name, NULL, LIMIT_CGROUP_VISITS);
}

int list_wanted(struct process_table *t, struct pid_list *pids)
{
        _cleanup_(listing_done) struct listing l = {.table = t, .pids = pids};
        int r;

        if (!t->cgroups || t->cgroups->fd < 0 || !t->cgroups->whole || !(t->facts & FACT_CGROUP))
                return -EOPNOTSUPP;
        r = cgroup_work_add(&l.work, "", "");
        while (r >= 0 && l.work.n > 0) {
                _cleanup_free_ char *name = l.work.items[--l.work.n];

                r = look_into(&l, name);
                if (cgroup_is_gone(r))
                        r = 0;
        }
        if (r < 0)
                return r;
        qsort(l.seen, l.n, sizeof(*l.seen), by_inode);
        free(t->known);
        t->known = TAKE_PTR(l.seen);
        t->n_known = l.n;
        return 0;
}

int keep_wanted(struct process_table *t, struct guard *guard, usec_t now)
{
        for (struct process *p = NULL; (p = process_table_next(t, p));) {
                int r;

                if (p->seen == t->generation || p->gone || !p->facts.cgroup || !is_wanted(t, p->facts.cgroup))
                        continue;
                r = attributes_read(t->sys, guard, t->facts, p, false, now);
                if (r == -ECANCELED)
                        return r;
                p->gone = r == -ESRCH;
                if (!p->gone && !p->facts.zombie && p->facts.cgroup && is_wanted(t, p->facts.cgroup))
                        p->seen = t->generation;
        }
        return 0;
}
