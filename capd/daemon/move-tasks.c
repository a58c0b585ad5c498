/* SPDX-License-Identifier: MIT */
/*
 * move-tasks.c: which process capd has put where, and where it came from.
 *
 * A process goes to the first of its groups that moves. One that was born in a group's place is taken in as if it had been moved, from
 * where its parent came. Whoever is in the place and no member goes back there.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "capd/base/log.h"
#include "capd/base/text.h"
#include "move.h"

/* Listing and emptying a cgroup goes on while its processes fork, for so many times. */
#define RETURN_PASSES 8
/* A process that somebody else takes out of its group's place is fetched back so many times. */
#define STRAYS_MAX 3U

static struct moved_task **bucket(const struct mover *m, pid_t pid)
{
        return (struct moved_task **)&m->tasks[(uint32_t)pid % MOVED_BUCKETS];
}

struct moved_task *moved_find(const struct mover *m, pid_t pid, uint64_t start_time)
{
        struct moved_task *t = *bucket(m, pid);

        while (t && (t->pid != pid || t->start_time != start_time))
                t = t->next;
        return t;
}

/* Whoever has this number. */
static struct moved_task *find_pid(const struct mover *m, pid_t pid)
{
        struct moved_task *t = *bucket(m, pid);

        while (t && t->pid != pid)
                t = t->next;
        return t;
}

int moved_add(struct move_group *g, pid_t pid, uint64_t start_time, const char *origin, uint64_t inode)
{
        struct mover *m = g->mover;
        struct moved_task *t = calloc(1, sizeof(*t) + strlen(origin) + 1), **head = bucket(m, pid);
        char pid_text[16], start_text[24], inode_text[24];
        const char *words[] = {pid_text, start_text, inode_text, g->name, origin};
        int r;

        if (!t)
                return -ENOMEM;
        snprintf(pid_text, sizeof(pid_text), "%d", (int)pid);
        snprintf(start_text, sizeof(start_text), "%" PRIu64, start_time);
        snprintf(inode_text, sizeof(inode_text), "%" PRIu64, inode);
        r = state_file_put(m->state, "task", words, ARRAY_SIZE(words));
        if (r < 0) {
                free(t);
                return r;
        }
        t->group = g;
        t->pid = pid;
        t->start_time = start_time;
        t->inode = inode;
        t->seen = t->there = m->round;
        strcpy(t->origin, origin);
        t->next = *head;
        *head = t;
        g->n_moved++;
        if (!g->home && (g->home = strdup(origin)))
                g->home_inode = inode;
        return 0;
}

static void forget(struct mover *m, struct moved_task **link)
{
        struct moved_task *t = *link;
        char pid_text[16];

        *link = t->next;
        t->group->n_moved--;
        snprintf(pid_text, sizeof(pid_text), "%d", (int)t->pid);
        /* unless the number is another's by now, which has its own record then */
        if (!find_pid(m, t->pid))
                state_file_remove(m->state, "task", pid_text);
        free(t);
}

/* -- back -- */

static void put_back(struct move_group *g, pid_t pid, uint64_t start_time, const char *origin, uint64_t inode)
{
        const char *why = "the cgroup that it came from is gone";
        int r = move_back(&g->mover->cgroups, pid, start_time, g->cgroup, origin, inode);

        if (r == MOVE_E_GONE)
                return;
        if (r == 0) {
                g->n_returned++;
                return;
        }
        if (r < 0)
                why = r == -EBUSY ? "the cgroup that it came from has cgroups below it now" : strerror(-r);
        log_debug("Group %s: process %d stays in cgroup %s: %s, ignoring", g->name, (int)pid, g->cgroup, why);
}

static void return_unseen(struct mover *m)
{
        for (size_t i = 0; i < MOVED_BUCKETS; i++)
                for (struct moved_task **t = &m->tasks[i]; *t;) {
                        if ((*t)->seen == m->round || (*t)->group->phase != PHASE_READY) {
                                t = &(*t)->next;
                                continue;
                        }
                        put_back((*t)->group, (*t)->pid, (*t)->start_time, (*t)->origin, (*t)->inode);
                        forget(m, t);
                }
}

/* Where a process that was born in the place belongs: where its parent came from. */
static void find_origin(const struct move_group *g, pid_t parent, const char **ret, uint64_t *ret_inode)
{
        const struct moved_task *t = find_pid(g->mover, parent);

        if (t && t->group == g) {
                *ret = t->origin;
                *ret_inode = t->inode;
        } else {
                *ret = g->home;
                *ret_inode = g->home_inode;
        }
}

const char *move_origin(const struct engine *e, const struct process_facts *f)
{
        const struct moved_task *t = e->mover ? moved_find(e->mover, f->pid, f->start_time) : NULL;
        const char *origin;
        uint64_t inode;

        if (t)
                return t->origin;
        if (!e->mover || !f->cgroup || strncmp(f->cgroup, "/capd", strlen("/capd")) != 0)
                return f->cgroup;
        for (const struct move_group *g = e->mover->groups; g; g = g->next)
                if (g->place != PLACE_OWN && g->phase != PHASE_IDLE && g->cgroup && strcmp(f->cgroup, g->cgroup) == 0) {
                        find_origin(g, f->ppid, &origin, &inode);
                        return origin ? origin : f->cgroup;
                }
        return f->cgroup;
}

/* Whoever else is in the place of a group that ends. How many were in it. */
static size_t return_rest(struct move_group *g, int cgroup_fd)
{
        const struct mover *m = g->mover;
        const struct sys *sys = &m->engine->sys;
        _cleanup_free_ pid_t *pids = NULL;
        size_t n = 0, left = 0;

        if (move_list(&m->cgroups, cgroup_fd, &pids, &n) != 0)
                return 0;
        for (size_t i = 0; i < n; i++) {
                uint64_t start_time, inode;
                const char *origin;
                pid_t parent;

                if (pids[i] == g->holder || move_identify(sys, pids[i], &start_time, &parent) != 0)
                        continue;
                left++;
                if (moved_find(m, pids[i], start_time))
                        continue;
                find_origin(g, parent, &origin, &inode);
                if (origin)
                        put_back(g, pids[i], start_time, origin, inode);
        }
        return left;
}

void moved_return_all(struct move_group *g)
{
        struct mover *m = g->mover;
        int fd = g->cgroup ? move_open_same(&m->cgroups, g->cgroup, g->inode) : -ENOENT;

        /* as long as it helps: processes may be born there meanwhile */
        for (unsigned i = 0; fd >= 0 && i < RETURN_PASSES; i++) {
                size_t before = g->n_returned;

                for (size_t k = 0; k < MOVED_BUCKETS; k++)
                        for (struct moved_task *t = m->tasks[k]; t; t = t->next)
                                if (t->group == g)
                                        put_back(g, t->pid, t->start_time, t->origin, t->inode);
                g->n_stayed = return_rest(g, fd);
                if (g->n_returned == before)
                        break;
        }
        close_fd(fd);
        for (size_t k = 0; k < MOVED_BUCKETS; k++)
                for (struct moved_task **t = &m->tasks[k]; *t;)
                        if ((*t)->group == g)
                                forget(m, t);
                        else
                                t = &(*t)->next;
}

/* -- in -- */

struct candidate {
        struct move_group *group;
        struct process *process;
        unsigned strays;
};

static const char being_asked[] = "systemd is being asked about its service";

/* A service of which systemd knows no main process is taken for ended, and stopped, when its cgroup is empty. */
static const char *service_objection(struct mover *m, const char *cgroup)
{
        char unit[MOVE_NAME_MAX], unit_cgroup[LIMIT_CGROUP_BYTES];
        size_t n;
        int r;

        if (!m->systemd || !move_system_unit(cgroup, unit, sizeof(unit), unit_cgroup, sizeof(unit_cgroup)))
                return NULL;
        n = strlen(unit);
        if (n < strlen(".service") || strcmp(unit + n - strlen(".service"), ".service") != 0)
                return NULL;
        r = systemd_has_main_process(m, unit);
        if (r > 0)
                return NULL;
        return r == 0 ? "systemd knows no main process of its service, and would take that for ended" : being_asked;
}

/* Why a process must stay where it is, or NULL. */
static const char *objection(struct mover *m, const char *cgroup, int cgroup_fd)
{
        char id[LIMIT_CGROUP_BYTES];
        const char *why;

        /* A session ends with the last process in its scope, and a user's manager takes its services for dead. */
        if (strncmp(cgroup, "/user.slice/", strlen("/user.slice/")) == 0)
                return "it belongs to a user's session";
        if (match_cgroup_container(cgroup, id, sizeof(id)))
                return "it belongs to a container";
        if (strcmp(cgroup, m->own_cgroup) == 0 && strcmp(cgroup, "/") != 0)
                return "it shares capd's own cgroup";
        why = move_cgroup_objection(&m->cgroups, cgroup_fd);
        return why ? why : service_objection(m, cgroup);
}

/* Records one candidate. 0; 1 not to be moved; or a negative errno. */
static int record_candidate(struct mover *m, const struct candidate *c)
{
        const struct process_facts *f = &c->process->facts;
        _cleanup_close_ int procfd = process_open(&m->engine->sys, NULL, f->pid, f->start_time), fd = -1;
        char origin[LIMIT_CGROUP_BYTES];
        const char *why, *from = origin;
        uint64_t inode;
        int r;

        if (procfd < 0 || move_where(&m->engine->sys, procfd, origin, sizeof(origin)) != 0)
                return 1; /* it has ended */
        fd = move_open_cgroup(&m->cgroups, origin);
        if (fd < 0 || move_inode(&m->cgroups, fd, &inode) < 0)
                return 1;
        if (strcmp(origin, c->group->cgroup) == 0) {
                /* born there, or left behind by a capd before this one */
                const char *parents = NULL;

                find_origin(c->group, f->ppid, &parents, &inode);
                if (parents)
                        from = parents;
                else
                        inode = c->group->inode;
        } else if ((why = objection(m, origin, fd))) {
                c->group->n_left++;
                text_copy(c->group->left_why, sizeof(c->group->left_why), why);
                return 1;
        }
        r = moved_add(c->group, f->pid, f->start_time, from, inode);
        return r < 0 ? r : 0;
}

bool moved_any_movable(struct move_group *g)
{
        struct mover *m = g->mover;
        char path[LIMIT_CGROUP_BYTES];
        bool asking = false;

        for (size_t i = 0; i < g->group->n_members; i++) {
                const struct process *p = g->group->members[i];
                const struct membership *membership = p->userdata;
                _cleanup_close_ int procfd = -1, fd = -1;
                const char *why;

                if (membership->protected_process || p->vm == 0)
                        continue;
                procfd = process_open(&m->engine->sys, NULL, p->facts.pid, p->facts.start_time);
                if (procfd < 0 || move_where(&m->engine->sys, procfd, path, sizeof(path)) != 0)
                        continue;
                fd = move_open_cgroup(&m->cgroups, path);
                why = fd < 0 ? "its cgroup cannot be opened" : objection(m, path, fd);
                if (!why)
                        return true;
                asking |= why == being_asked;
                text_copy(g->left_why, sizeof(g->left_why), why);
        }
        if (asking)
                g->left_why[0] = '\0'; /* the next look knows */
        return false;
}

static void take_in(struct mover *m, const struct candidate *c)
{
        const struct process_facts *f = &c->process->facts;
        struct moved_task **link = bucket(m, f->pid);
        int fd, r;

        while (*link && ((*link)->pid != f->pid || (*link)->start_time != f->start_time))
                link = &(*link)->next;
        if (!*link)
                return; /* not recorded */
        fd = move_open_same(&m->cgroups, c->group->cgroup, c->group->inode);
        r = fd < 0 ? fd : move_task(&m->cgroups, f->pid, f->start_time, fd, c->group->cgroup);
        close_fd(fd);
        if (r == 0)
                return;
        forget(m, link);
        if (r < 0) {
                c->group->n_left++;
                text_copy(c->group->left_why, sizeof(c->group->left_why), strerror(-r));
        }
}

static void take_all_in(struct mover *m, const struct candidate *all, size_t n)
{
        size_t recorded = 0;
        int r = 0;

        for (size_t i = 0; i < n && r >= 0; i++) {
                r = record_candidate(m, &all[i]);
                recorded += r == 0;
        }
        if (r >= 0 && recorded > 0)
                r = state_file_sync(m->state);
        if (r >= 0) {
                for (size_t i = 0; i < n; i++)
                        take_in(m, &all[i]);
                return;
        }
        for (size_t i = 0; i < n; i++) {
                struct moved_task **link = bucket(m, all[i].process->facts.pid);

                move_group_fail(all[i].group, "what is moved cannot be recorded: %s", strerror(-r));
                while (*link && (*link)->start_time != all[i].process->facts.start_time)
                        link = &(*link)->next;
                if (*link && (*link)->pid == all[i].process->facts.pid)
                        forget(m, link);
        }
}

/* The moving group that a process belongs to, NULL if it is not to be moved at all. */
static struct move_group *owner(const struct process *p)
{
        const struct membership *m = p->userdata;

        if (!m || m->protected_process || p->vm == 0)
                return NULL;
        for (size_t i = 0; i < m->n; i++) {
                struct move_group *g = m->groups[i]->move;

                if (g && g->phase == PHASE_READY && g->place != PLACE_OWN)
                        return g;
        }
        return NULL;
}

/* Who is in a place. Processes that are no members go back: children that became something else. */
static void look_inside(struct move_group *g)
{
        const struct mover *m = g->mover;
        _cleanup_close_ int fd = move_open_same(&m->cgroups, g->cgroup, g->inode);
        _cleanup_free_ pid_t *pids = NULL;
        size_t n = 0;

        if (fd < 0 || move_list(&m->cgroups, fd, &pids, &n) != 0)
                return;
        for (size_t i = 0; i < n; i++) {
                const struct process *p = process_table_find(m->engine->table, pids[i]);
                struct moved_task *t = p ? moved_find(m, pids[i], p->facts.start_time) : NULL;
                const char *origin;
                uint64_t inode;

                if (t && t->group == g)
                        t->there = m->round;
                /* one that is newer than the last look at /proc is judged at the next */
                if (!p || pids[i] == g->holder || owner(p) == g)
                        continue;
                find_origin(g, p->facts.ppid, &origin, &inode);
                if (origin)
                        put_back(g, p->facts.pid, p->facts.start_time, origin, inode);
        }
}

static bool is_there(const struct moved_task *t)
{
        const struct mover *m = t->group->mover;
        _cleanup_close_ int procfd = process_open(&m->engine->sys, NULL, t->pid, t->start_time);
        char path[LIMIT_CGROUP_BYTES];

        return procfd < 0 || move_where(&m->engine->sys, procfd, path, sizeof(path)) != 0 ||
               strcmp(path, t->group->cgroup) == 0;
}

/* A member that is not where it was put. systemd does that once: what it starts puts itself into its unit's cgroup before it becomes the
 * service's program. One that is taken away again and again is let go. */
static bool is_stray(struct moved_task *t, uint64_t round)
{
        if (t->group->phase != PHASE_READY || t->seen != round || t->there == round || is_there(t))
                return false;
        if (t->strays < STRAYS_MAX)
                return true;
        t->group->n_astray++;
        t->group->n_left++;
        text_copy(t->group->left_why, sizeof(t->group->left_why), "somebody else takes it elsewhere");
        return false;
}

static void fetch_strays(struct mover *m, struct candidate *strays)
{
        size_t n = 0;

        for (size_t i = 0; i < MOVED_BUCKETS; i++)
                for (struct moved_task **t = &m->tasks[i]; *t;) {
                        struct process *p = process_table_find(m->engine->table, (*t)->pid);

                        if (!p || p->facts.start_time != (*t)->start_time || !is_stray(*t, m->round)) {
                                t = &(*t)->next;
                                continue;
                        }
                        strays[n++] = (struct candidate){(*t)->group, p, (*t)->strays + 1};
                        forget(m, t);
                }
        if (n == 0)
                return;
        take_all_in(m, strays, n);
        for (size_t i = 0; i < n; i++) {
                struct moved_task *t = moved_find(m, strays[i].process->facts.pid, strays[i].process->facts.start_time);

                if (t)
                        t->strays = strays[i].strays;
        }
}

void moved_look(struct mover *m)
{
        _cleanup_free_ struct candidate *candidates = NULL;
        size_t n = 0;

        m->round++;
        for (struct move_group *g = m->groups; g; g = g->next)
                g->n_left = g->n_astray = 0;
        candidates = calloc(process_table_size(m->engine->table) + 1, sizeof(*candidates));
        if (!candidates)
                return;
        for (struct process *p = NULL; (p = process_table_next(m->engine->table, p));) {
                struct move_group *g = owner(p);
                struct moved_task *t;

                if (!g)
                        continue;
                t = moved_find(m, p->facts.pid, p->facts.start_time);
                if (t && t->group == g)
                        t->seen = m->round;
                else if (!t)
                        candidates[n++] = (struct candidate){.group = g, .process = p};
        }
        return_unseen(m);
        take_all_in(m, candidates, n);
        for (struct move_group *g = m->groups; g; g = g->next)
                if (g->phase == PHASE_READY && g->place != PLACE_OWN)
                        look_inside(g);
        fetch_strays(m, candidates); /* it holds as many as there are processes */
}

/* -- a cgroup of its own -- */

/* How many of these processes are members; false if one is known that is not, or must not be acted on. */
static bool count_members(const struct move_group *g, const pid_t *pids, size_t n, size_t *ret)
{
        size_t inside = 0;
        bool alone = true;

        for (size_t i = 0; i < n; i++) {
                const struct process *p = process_table_find(g->mover->engine->table, pids[i]);
                const struct membership *m = p ? p->userdata : NULL;
                bool member = false;

                if (!p || p->facts.zombie)
                        continue; /* newer than the last look at /proc, or nothing any more */
                for (size_t k = 0; m && k < m->n; k++)
                        member |= m->groups[k] == g->group;
                inside += member && p->vm != 0;
                alone &= member && !m->protected_process;
        }
        *ret = inside;
        return alone;
}

static size_t living_members(const struct group *g)
{
        size_t n = 0;

        for (size_t i = 0; i < g->n_members; i++)
                n += g->members[i]->vm != 0;
        return n;
}

/* 1 it is the group's alone; 0 it is not; or a negative errno, -ELOOP and -E2BIG where there is more in it than can be looked through. */
static int is_whole(struct move_group *g, const char *cgroup, bool *ret_all, uint64_t *ret_inode)
{
        _cleanup_close_ int fd = move_open_cgroup(&g->mover->cgroups, cgroup);
        _cleanup_free_ pid_t *pids = NULL;
        size_t n = 0, inside;
        bool alone;
        int r;

        *ret_all = false;
        if (fd < 0)
                return fd;
        r = move_inode(&g->mover->cgroups, fd, ret_inode);
        if (r >= 0)
                r = move_list_all(&g->mover->cgroups, fd, &pids, &n);
        if (r < 0)
                return r;
        alone = count_members(g, pids, n, &inside);
        *ret_all = inside == living_members(g->group);
        return alone && *ret_all;
}

/* Whether a limit can be set there: a unit's cgroup gets its memory controller from systemd. */
static bool can_be_limited(const struct move_group *g, const char *cgroup)
{
        char unit[MOVE_NAME_MAX], unit_cgroup[LIMIT_CGROUP_BYTES];
        _cleanup_close_ int fd = -1;
        struct move_figures f;

        if (g->mover->systemd && move_system_unit(cgroup, unit, sizeof(unit), unit_cgroup, sizeof(unit_cgroup)) &&
            strcmp(unit_cgroup, cgroup) == 0)
                return true;
        fd = move_open_cgroup(&g->mover->cgroups, cgroup);
        return fd >= 0 && move_read_figures(&g->mover->cgroups, fd, &f) >= 0 && f.high != SIZE_UNKNOWN;
}

bool moved_find_whole(struct move_group *g, char *cgroup, size_t size, uint64_t *ret_inode)
{
        const struct sys *sys = &g->mover->engine->sys;
        _cleanup_close_ int procfd = -1;
        bool all = false;

        for (size_t i = 0; i < g->group->n_members && procfd < 0; i++) {
                const struct process *p = g->group->members[i];

                if (p->vm != 0)
                        procfd = process_open(sys, NULL, p->facts.pid, p->facts.start_time);
        }
        if (procfd < 0 || move_where(sys, procfd, cgroup, size) != 0)
                return false;
        /* from the innermost outwards to the first that has all of them */
        while (cgroup[1] != '\0') {
                if (is_whole(g, cgroup, &all, ret_inode) > 0)
                        return can_be_limited(g, cgroup);
                if (all)
                        return false; /* and there are more strangers further out */
                *strrchr(cgroup, '/') = '\0';
                if (cgroup[0] == '\0')
                        break;
        }
        return false;
}

bool moved_still_whole(struct move_group *g)
{
        uint64_t inode = 0;
        bool all;
        int r = is_whole(g, g->cgroup, &all, &inode);

        /* A limit is not shaken off by making more cgroups below it than can be looked through. */
        return (r > 0 || r == -ELOOP || r == -E2BIG) && inode == g->inode;
}
