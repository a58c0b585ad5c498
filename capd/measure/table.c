/* SPDX-License-Identifier: MIT */
/*
 * table.c: who is there. One listing of /proc (or of cgroups: narrow.c) a refresh tells which numbers are in use; a number that stays costs nothing
 * until its attributes are due. That a number went to another process between two listings shows in the statm
 * descriptor, which answers ESRCH, or in the start time at the next reading of attributes.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "capd/base/log.h"
#include "capd/measure/errand.h"
#include "cgroups-list.h"
#include "table-internal.h"

#define LIST_BYTES 32768U
/* Processes from which on it is felt that attributes of all are due at one time: a burst of some ms. */
#define SPREAD_FROM 256U
/* Where cgroups cannot be listed, for which somebody may have made thousands of them, it is not tried at each look. */
#define NARROW_AGAIN (60 * USEC_PER_SEC)

/* getdents64(2) */
struct dirent_head {
        uint64_t inode;
        int64_t offset;
        uint16_t size;
        uint8_t type;
        char name[];
} __attribute__((packed));

int process_table_new(const struct sys *sys, unsigned facts, unsigned max_fds, struct process_table **ret)
{
        _cleanup_(process_table_freep) struct process_table *t = calloc(1, sizeof(*t));

        if (!t)
                return -ENOMEM;
        *t = (struct process_table){.sys = sys, .facts = facts, .max_fds = max_fds, .n_buckets = 256};
        t->buckets = calloc(t->n_buckets, sizeof(*t->buckets));
        if (!t->buckets)
                return -ENOMEM;
        *ret = TAKE_PTR(t);
        return 0;
}

static void close_statm(struct process_table *t, struct process *p)
{
        if (p->statm_fd < 0)
                return;
        close_fd(TAKE_FD(p->statm_fd));
        t->n_fds--;
}

static void process_drop(struct process_table *t, struct process *p)
{
        close_statm(t, p);
        attributes_done(p);
        free(p);
}

struct process_table *process_table_free(struct process_table *t)
{
        if (!t)
                return NULL;
        for (size_t i = 0; t->buckets && i < t->n_buckets; i++)
                for (struct process *p = t->buckets[i], *next; p; p = next) {
                        next = p->next;
                        process_drop(t, p);
                }
        free(t->buckets);
        free(t->known);
        free(t);
        return NULL;
}

void process_table_set_facts(struct process_table *t, unsigned facts)
{
        struct process *p = NULL;

        while ((p = process_table_next(t, p))) {
                p->attributes_at = 0;
                if (facts & ~t->facts & FACT_CMDLINE)
                        p->needs_cmdline = !p->facts.kernel_thread && !p->facts.zombie;
                else if (!(facts & FACT_CMDLINE))
                        p->needs_cmdline = false;
        }
        t->facts = facts;
}

void process_table_set_cgroups(struct process_table *t, const struct cgroup2 *cgroups)
{
        t->cgroups = cgroups;
}

void process_table_narrow(struct process_table *t, bool (*wanted)(void *userdata, const char *cgroup), void *userdata)
{
        if (t->wanted == wanted && t->wanted_userdata == userdata)
                return;
        t->wanted = wanted;
        t->wanted_userdata = userdata;
        t->not_narrowed_before = 0;
        free(t->known);
        t->known = NULL;
        t->n_known = 0;
}

bool process_table_is_narrowed(const struct process_table *t)
{
        return t->narrowed;
}

static size_t bucket_of(const struct process_table *t, pid_t pid)
{
        return (uint32_t)pid * UINT32_C(0x9E3779B1) >> 8 & (t->n_buckets - 1);
}

struct process *process_table_find(struct process_table *t, pid_t pid)
{
        for (struct process *p = t->buckets[bucket_of(t, pid)]; p; p = p->next)
                if (p->facts.pid == pid)
                        return p;
        return NULL;
}

struct process *process_table_next(const struct process_table *t, const struct process *p)
{
        size_t i = 0;

        if (p) {
                if (p->next)
                        return p->next;
                i = bucket_of(t, p->facts.pid) + 1;
        }
        for (; i < t->n_buckets; i++)
                if (t->buckets[i])
                        return t->buckets[i];
        return NULL;
}

struct rereading {
        struct process_table *table;
        struct process *const *items;
        size_t n;
        usec_t now;
};

static int reread_errand(void *arg, struct guard *guard)
{
        const struct rereading *x = arg;

        for (size_t i = 0; i < x->n; i++) {
                struct process *p = x->items[i];
                int r = p->gone ? -ESRCH : attributes_read(x->table->sys, guard, x->table->facts, p, false, x->now);

                if (r == -ESRCH)
                        p->gone = true;
                else if (r < 0 && r != -EBUSY)
                        return r;
        }
        return 0;
}

int process_table_reread(struct process_table *t, struct process *const *items, size_t n, usec_t now)
{
        struct rereading x = {.table = t, .items = items, .n = n, .now = now};

        return errand_run(t->sys, NULL, reread_errand, &x);
}

size_t process_table_size(const struct process_table *t)
{
        return t->n;
}

bool process_table_overflowed(const struct process_table *t)
{
        return t->overflowed;
}

static void insert(struct process_table *t, struct process *p)
{
        size_t i = bucket_of(t, p->facts.pid);

        p->next = t->buckets[i];
        t->buckets[i] = p;
        t->n++;
}

/* More buckets, so that chains stay short; without memory for them they grow longer. */
static void make_room(struct process_table *t, size_t n)
{
        struct process_table bigger = *t;

        while (bigger.n_buckets < n)
                bigger.n_buckets *= 2;
        if (bigger.n_buckets == t->n_buckets)
                return;
        bigger.n = 0;
        bigger.buckets = calloc(bigger.n_buckets, sizeof(*bigger.buckets));
        if (!bigger.buckets)
                return;
        for (size_t i = 0; i < t->n_buckets; i++)
                for (struct process *p = t->buckets[i], *next; p; p = next) {
                        next = p->next;
                        insert(&bigger, p);
                }
        free(t->buckets);
        *t = bigger;
}

/* The number that a name of /proc is, 0 for other names. */
static pid_t name_to_pid(const char *name, size_t size)
{
        const char *p = name, *end = memchr(name, '\0', size);
        uint64_t n;

        if (!end || !parse_decimal(&p, end, &n) || p != end || n > INT32_MAX || *name == '0')
                return 0;
        return (pid_t)n;
}

static int take_names(const char *buf, size_t len, struct pid_list *l)
{
        for (size_t at = 0; at < len;) {
                struct dirent_head head;
                pid_t pid;
                int r;

                if (len - at < sizeof(head))
                        return -EIO;
                memcpy(&head, buf + at, sizeof(head));
                if (head.size <= sizeof(head) || head.size > len - at)
                        return -EIO;
                pid = name_to_pid(buf + at + sizeof(head), head.size - sizeof(head));
                r = pid > 0 ? pid_list_add(l, pid) : 0;
                if (r < 0)
                        return r;
                at += head.size;
        }
        return 0;
}

static int list_pids(const struct sys *sys, struct pid_list *l)
{
        _cleanup_close_ int fd = sys_open(sys, "proc", O_RDONLY | O_DIRECTORY);
        _cleanup_free_ char *buf = malloc(LIST_BYTES);

        if (fd < 0)
                return fd;
        if (!buf)
                return -ENOMEM;
        for (;;) {
                ssize_t n = sys->ops->getdents(sys, fd, buf, LIST_BYTES);
                int r;

                if (n == -EINTR)
                        continue;
                if (n <= 0)
                        return (int)n;
                r = take_names(buf, (size_t)n, l);
                if (r < 0)
                        return r;
        }
}

/* Many that came at one time, as at the start, are not all due at one time again. */
static usec_t back_date(const struct process_table *t, pid_t pid, usec_t now, usec_t max_age)
{
        if (t->n < SPREAD_FROM || max_age == 0 || max_age > now)
                return now;
        return now - (uint32_t)pid * UINT32_C(0x9E3779B1) % max_age;
}

static int add_process(struct process_table *t, struct guard *guard, pid_t pid, usec_t now, usec_t max_age)
{
        struct process *p = calloc(1, sizeof(*p));
        int r;

        if (!p)
                return -ENOMEM;
        *p = (struct process){.facts.pid = pid, .statm_fd = -1, .seen = t->generation};
        r = attributes_read(t->sys, guard, t->facts, p, true, now);
        if (r < 0) {
                free(p);
                return r;
        }
        p->checked_at = back_date(t, pid, now, max_age);
        insert(t, p);
        return 0;
}

/* First of all: whether a parent is there is asked before its own turn comes. */
static void mark_listed(struct process_table *t, const struct pid_list *pids)
{
        for (size_t i = 0; i < pids->n; i++) {
                struct process *p = process_table_find(t, pids->items[i]);

                if (p)
                        p->seen = t->generation;
        }
}

/* Brings the table up to date with one number in use. 0 or what add_process() and attributes_read() say. */
static int update_pid(struct process_table *t, struct guard *guard, pid_t pid, usec_t now, usec_t max_age)
{
        struct process *p = process_table_find(t, pid);
        int r;

        if (!p)
                return add_process(t, guard, pid, now, max_age);
        if (!p->gone) {
                if (!attributes_due(p, now, max_age) || is_unchanged(t, p, now, max_age))
                        return 0;
                r = attributes_read(t->sys, guard, t->facts, p, false, now);
                if (r != -ESRCH)
                        return r;
                p->gone = true;
        }
        /* the number may be somebody else's by now; the old one leaves in sweep(), before which both are in the table */
        return 0;
}

/* Takes out what has ended. Numbers that were in use nevertheless have gone to new processes: their list is left in *reused. */
static int sweep(struct process_table *t, void (*on_gone)(struct process *p, void *userdata), void *userdata,
                 struct pid_list *reused)
{
        int r = 0;

        for (size_t i = 0; i < t->n_buckets; i++)
                for (struct process **link = &t->buckets[i]; *link;) {
                        struct process *p = *link;

                        if (p->seen == t->generation && !p->gone) {
                                link = &p->next;
                                continue;
                        }
                        if (p->seen == t->generation) {
                                int q = pid_list_add(reused, p->facts.pid);

                                r = r < 0 ? r : q;
                        }
                        *link = p->next;
                        t->n--;
                        if (on_gone)
                                on_gone(p, userdata);
                        process_drop(t, p);
                }
        return r;
}

/* Those of wanted cgroups, or all. 0; -E2BIG, and as many as there may be; or another negative errno. */
static int list_processes(struct process_table *t, usec_t now, struct pid_list *l)
{
        int r;

        t->narrowed = false;
        if (t->wanted && now >= t->not_narrowed_before) {
                r = list_wanted(t, l);
                t->narrowed = r >= 0;
                if (r >= 0)
                        return 0;
                log_debug("Cannot list processes by their cgroups: %s, listing all for a while", strerror(-r));
                t->not_narrowed_before = now + NARROW_AGAIN;
                l->n = 0;
        }
        return list_pids(t->sys, l);
}

struct refreshing {
        struct process_table *table;
        usec_t now, max_age;
        void (*on_gone)(struct process *p, void *userdata);
        void *userdata;
};

static int refresh_errand(void *arg, struct guard *guard)
{
        const struct refreshing x = *(const struct refreshing *)arg;
        _cleanup_(pid_list_done) struct pid_list pids = {}, reused = {};
        struct process_table *t = x.table;
        int r, failed = 0;

        r = list_processes(t, x.now, &pids);
        if (r < 0 && r != -E2BIG)
                return r;
        t->overflowed = r == -E2BIG;
        t->generation++;
        make_room(t, pids.n);
        mark_listed(t, &pids);
        if (!t->narrowed)
                list_cgroups(t, x.now, x.max_age);
        else if (keep_wanted(t, guard, x.now) < 0)
                return -ECANCELED;
        for (size_t i = 0; i < pids.n; i++) {
                r = update_pid(t, guard, pids.items[i], x.now, x.max_age);
                if (r == -ECANCELED)
                        return r;
                if (is_shortage(r) && failed == 0)
                        failed = r;
        }
        r = sweep(t, x.on_gone, x.userdata, &reused);
        failed = failed < 0 ? failed : r;
        for (size_t i = 0; i < reused.n; i++) {
                r = add_process(t, guard, reused.items[i], x.now, x.max_age);
                if (r == -ECANCELED)
                        return r;
                if (is_shortage(r) && failed == 0)
                        failed = r;
        }
        r = mm_identify(t, guard);
        if (r < 0)
                return r;
        return failed < 0 ? failed : (int)t->n;
}

int process_table_refresh(struct process_table *t, usec_t now, usec_t max_age,
                          void (*on_gone)(struct process *p, void *userdata), void *userdata)
{
        struct refreshing x = {.table = t, .now = now, .max_age = max_age, .on_gone = on_gone, .userdata = userdata};

        return errand_run(t->sys, NULL, refresh_errand, &x);
}

/* Of one whose statm is not open. */
static int open_statm(struct process_table *t, struct guard *guard, struct process *p)
{
        const struct sys *sys = t->sys;
        _cleanup_close_ int dirfd = process_open(sys, guard, p->facts.pid, p->facts.start_time);
        int fd;

        if (dirfd < 0)
                return dirfd;
        fd = sys->ops->openat(sys, dirfd, "statm", O_RDONLY);
        return fd == -ENOENT ? -ESRCH : fd;
}

static int look_at(struct process_table *t, struct guard *guard, struct process *p)
{
        _cleanup_close_ int opened = -1;
        uint64_t page_size = (uint64_t)sysconf(_SC_PAGESIZE);
        struct proc_statm s;
        char buf[256];
        ssize_t n;
        int r;

        if (p->gone || p->facts.kernel_thread || p->facts.zombie)
                return -ESRCH;
        if (p->statm_fd < 0) {
                opened = open_statm(t, guard, p);
                if (opened == -ECANCELED)
                        return opened;
                p->gone = opened == -ESRCH;
                if (opened < 0)
                        return opened;
        }
        do
                n = t->sys->ops->pread(t->sys, p->statm_fd >= 0 ? p->statm_fd : opened, buf, sizeof(buf), 0);
        while (n == -EINTR);
        if (n == -ESRCH || n == 0) {
                p->gone = true;
                return -ESRCH;
        }
        if (n < 0)
                return (int)n;
        r = parse_proc_statm(buf, (size_t)n, &s);
        if (r < 0)
                return r;
        if (s.size == 0) {
                /* a zombie, or about to be one, or other threads live on: read again at the next refresh, and through another file */
                p->attributes_at = 0;
                close_statm(t, p);
                return -ESRCH;
        }
        p->vm = s.size * page_size;
        p->rss = s.resident * page_size;
        p->rss_shared = s.shared * page_size;
        if (opened >= 0 && t->n_fds < t->max_fds) {
                p->statm_fd = TAKE_FD(opened);
                t->n_fds++;
        }
        return 0;
}

int process_look(struct process_table *t, struct process *p)
{
        return look_at(t, NULL, p);
}

static int look_errand(void *arg, struct guard *guard)
{
        struct process_table *t = arg;

        for (struct process *p = NULL; (p = process_table_next(t, p));) {
                int r = p->userdata ? look_at(t, guard, p) : 0;

                if (r == -ECANCELED)
                        return r;
                if (r == -ESRCH)
                        p->rss = p->rss_shared = p->vm = 0;
                else if (r < 0) {
                        log_debug("Cannot read statm of process %d: %s, ignoring", (int)p->facts.pid, strerror(-r));
                        p->rss = p->rss_shared = p->vm = SIZE_UNKNOWN;
                }
        }
        return 0;
}

int process_table_look(struct process_table *t)
{
        return errand_run(t->sys, NULL, look_errand, t);
}

ssize_t process_read_cmdline(const struct sys *sys, struct guard *guard, pid_t pid, uint64_t start_time, char *buf,
                             size_t size)
{
        /* not the caller's buffer: a thread that is given up here still writes to it when the call returns */
        char text[LIMIT_CMDLINE_BYTES + 1];
        _cleanup_close_ int dirfd = process_open(sys, guard, pid, start_time), fd = -1;
        ssize_t n;

        if (dirfd < 0)
                return dirfd;
        if (size == 0)
                return -EINVAL;
        guard_enter(guard, pid);
        fd = sys->ops->openat(sys, dirfd, "cmdline", O_RDONLY);
        n = fd < 0 ? fd : sys_read_fd(sys, fd, text, sizeof(text));
        if (!guard_leave(guard))
                return -ECANCELED;
        if (n == -ENOENT)
                return -ESRCH;
        if (n == -E2BIG)
                n = sizeof(text) - 1;
        if (n < 0)
                return n;
        n = MIN(n, (ssize_t)(size - 1));
        while (n > 0 && text[n - 1] == '\0')
                n--;
        for (ssize_t i = 0; i < n; i++)
                buf[i] = text[i] ? text[i] : ' ';
        buf[n] = '\0';
        return n;
}

int process_table_set_cmdline(struct process_table *t, pid_t pid, uint64_t start_time, const char *cmdline)
{
        struct process *p = process_table_find(t, pid);
        char *copy = NULL;

        if (!p || p->facts.start_time != start_time)
                return -ESRCH;
        if (cmdline) {
                copy = strdup(cmdline);
                if (!copy)
                        return -ENOMEM;
        }
        p->needs_cmdline = false;
        if (!copy != !p->facts.cmdline || (copy && strcmp(copy, p->facts.cmdline) != 0))
                p->changed = true;
        free((char *)p->facts.cmdline);
        p->facts.cmdline = copy;
        return 0;
}
