/* SPDX-License-Identifier: MIT */
/* membership.c: which process belongs to which groups, kept as processes come, change and go. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "capd/base/log.h"
#include "capd/base/path.h"
#include "capd/base/size.h"
#include "capd/measure/stuck.h"
#include "engine.h"

/* Who keeps a thread of capd for so long is told of: less may be a machine that stood still. */
#define STUCK_FROM (1 * USEC_PER_SEC)
/* A process that hung is left alone for so long, doubled each time. */
#define QUARANTINE_FIRST (30 * USEC_PER_SEC)
#define QUARANTINE_LAST  (30 * 60 * USEC_PER_SEC)

void membership_forget(struct process *p, void *userdata)
{
        free(p->userdata);
        p->userdata = NULL;
}

/*
 * What a PidFile= holds: a PID on its first line. A file that somebody other than root or the process's own user could have
 * written must not direct capd at another's process, so its owner must be one of the two, and others must not write it.
 */
static pid_t read_pid_file(struct engine *e, const char *path)
{
        char text[LIMIT_PIDFILE_BYTES];
        _cleanup_close_ int fd = -1;
        const struct process *p;
        struct stat st;
        uint64_t pid;
        ssize_t got;
        size_t n;

        fd = sys_open(&e->sys, path + strspn(path, "/"), O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
        if (fd < 0 || e->sys.ops->fstat(&e->sys, fd, &st) < 0 || !S_ISREG(st.st_mode) || (st.st_mode & S_IWOTH) ||
            ((st.st_mode & S_IWGRP) && st.st_gid != 0))
                return 0;
        got = sys_read_fd(&e->sys, fd, text, sizeof(text));
        if (got < 0 && got != -E2BIG)
                return 0;
        if (got == -E2BIG)
                text[strcspn(text, "\n")] = '\0'; /* postmaster.pid has more lines */
        n = strspn(text, "0123456789");
        if (n == 0 || n > 10 || (text[n] != '\0' && !isspace((unsigned char)text[n])))
                return 0;
        text[n] = '\0';
        if (parse_number(text, INT32_MAX, &pid) < 0)
                return 0;
        p = process_table_find(e->table, (pid_t)pid);
        if (!p || (st.st_uid != 0 && st.st_uid != p->facts.uid) || !path_is_trusted(&e->sys, path, p->facts.uid))
                return 0;
        return (pid_t)pid;
}

/* Reads all PidFile= anew. Whether any of them names another process than before. */
static bool refresh_pid_files(struct engine *e)
{
        bool changed = false;

        for (size_t i = 0; i < e->policy->n_pid_files; i++) {
                pid_t pid = read_pid_file(e, e->policy->pid_files[i]);

                changed |= pid != e->pid_file_pids[i];
                e->pid_file_pids[i] = pid;
        }
        return changed;
}

void membership_match(struct engine *e, struct process *p)
{
        const struct match_world world = {
                        .pid_file_pids = e->pid_file_pids, .uid_to_user = user_names_get, .userdata = e};
        struct match matches[LIMIT_GROUPS_PER_PROCESS];
        struct process_facts facts = p->facts;
        struct membership *m;
        size_t n;

        p->changed = false;
        membership_forget(p, NULL);
        if (p->facts.kernel_thread || p->facts.zombie)
                return;
        e->users.missed = false;
        facts.cgroup = move_origin(e, &p->facts); /* or a move would end the membership that it is made for */
        n = match_process(e->policy, &world, &facts, matches, ARRAY_SIZE(matches));
        if (e->users.missed)
                p->changed = true; /* again when the name is known, for the groups that are named after it */
        if (n == 0)
                return;
        m = calloc(1, sizeof(*m) + n * (sizeof(m->groups[0]) + sizeof(m->then[0])));
        if (!m) {
                p->changed = true; /* again at the next look */
                return;
        }
        m->then = (struct member_then *)(m->groups + n);
        for (size_t i = 0; i < n; i++) {
                struct group *g = group_get(e, matches[i].name, matches[i].section);

                if (!g)
                        continue;
                m->then[m->n].rss = SIZE_UNKNOWN;
                m->groups[m->n++] = g;
        }
        m->protected_process = match_protected(e->policy, &world, &facts) || p->facts.pid == getpid() ||
                               p->facts.pid == e->front.pid;
        p->userdata = m;
}

static int group_add_member(struct group *g, struct process *p)
{
        if (g->n_members == g->allocated) {
                size_t n = MAX(g->allocated * 2, (size_t)16);
                struct process **grown = reallocarray(g->members, n, sizeof(*grown));

                if (!grown)
                        return -ENOMEM;
                g->members = grown;
                g->allocated = n;
        }
        g->members[g->n_members++] = p;
        return 0;
}

void membership_collect(struct engine *e, usec_t now)
{
        for (struct group *g = NULL; (g = groups_next(e, g));) {
                g->n_members = 0;
                g->incomplete = false;
        }
        for (struct process *p = NULL; (p = process_table_next(e->table, p));) {
                struct membership *m = p->userdata;

                for (size_t i = 0; m && i < m->n; i++)
                        if (group_add_member(m->groups[i], p) < 0)
                                m->groups[i]->incomplete = true; /* then it has no upper bound */
        }
        for (struct group *g = NULL; (g = groups_next(e, g));) {
                if (g->n_members > 0)
                        g->empty_since = 0;
                else if (g->empty_since == 0)
                        g->empty_since = now;
        }
}

static bool is_wanted(void *userdata, const char *cgroup)
{
        const struct engine *e = userdata;

        return match_wants_cgroup(e->policy, cgroup);
}

/*
 * Where all groups are of certain cgroups, nobody else need be looked at. Not so where capd moves processes: the cgroup that it puts them into is
 * not the one by which they are members.
 */
static bool needs_cgroups(const struct engine *e)
{
        for (size_t i = 0; i < e->policy->n_sections; i++)
                if (e->policy->sections[i].action == ACTION_MOVE)
                        return false;
        return match_needs_cgroups(e->policy) && !move_holds_any(e);
}

void membership_refresh(struct engine *e)
{
        usec_t now = e->sys.ops->now(&e->sys);
        int r;

        if (e->rematch)
                process_table_narrow(e->table, NULL, NULL); /* what was wanted by another policy */
        process_table_narrow(e->table, needs_cgroups(e) ? is_wanted : NULL, e);
        r = process_table_refresh(e->table, now, e->policy->daemon.scan_interval, membership_forget, NULL);
        if (r < 0 && r != e->table_error)
                log_warning("Cannot list all processes: %s, ignoring until the next look", strerror(-r));
        e->table_error = MIN(r, 0); /* said once */
        if (process_table_overflowed(e->table) && !e->processes_overflowed)
                log_warning("More than %u processes (LIMIT_PROCESSES); the rest is left out", LIMIT_PROCESSES);
        e->processes_overflowed = process_table_overflowed(e->table);
        if (e->policy->n_pid_files > 0 && refresh_pid_files(e))
                e->rematch = true;
        for (struct process *p = NULL; (p = process_table_next(e->table, p));)
                if (p->changed || e->rematch)
                        membership_match(e, p);
        e->rematch = false;
        membership_collect(e, now);
        groups_sweep(e);
}

/* -- quarantine -- */

bool quarantine_holds(struct engine *e, pid_t pid, uint64_t start_time, usec_t now)
{
        if (stuck_passes_over(&e->sys, pid))
                return true;
        for (size_t i = 0; i < QUARANTINE_SLOTS; i++) {
                const struct quarantine *q = &e->quarantine[i];

                if (q->pid == pid && q->start_time == start_time)
                        return now < q->until;
        }
        return false;
}

void quarantine_add(struct engine *e, pid_t pid)
{
        const struct process *p = process_table_find(e->table, pid);
        usec_t now = e->sys.ops->now(&e->sys);
        struct quarantine *slot = &e->quarantine[0];
        char wait[SIZE_TEXT_MAX];
        uint64_t start_time;

        if (!p)
                return; /* it has ended meanwhile, or has never been seen */
        start_time = p->facts.start_time;

        for (size_t i = 0; i < QUARANTINE_SLOTS; i++) {
                struct quarantine *q = &e->quarantine[i];

                if (q->pid == pid && q->start_time == start_time) {
                        slot = q;
                        break;
                }
                if (q->until < slot->until)
                        slot = q;
        }
        if (slot->pid != pid || slot->start_time != start_time)
                *slot = (struct quarantine){.pid = pid, .start_time = start_time};
        slot->until = now + MIN((usec_t)QUARANTINE_FIRST << slot->times, (usec_t)QUARANTINE_LAST);
        log_entry(LOG_WARNING, MESSAGE_QUARANTINED, LOG_FIELDS({"CAPD_QUARANTINED_PID", .number = (uint64_t)pid}),
                  "Process %d does not let itself be read; it is left alone until it does, and for %s at least",
                  (int)pid, format_time(wait, slot->until - now));
        slot->times = MIN(slot->times + 1, 10U);
}

unsigned quarantine_size(struct engine *e)
{
        usec_t now = e->sys.ops->now(&e->sys);
        unsigned n = 0;

        for (size_t i = 0; i < QUARANTINE_SLOTS; i++)
                n += e->quarantine[i].pid > 0 &&
                     (now < e->quarantine[i].until || stuck_passes_over(&e->sys, e->quarantine[i].pid));
        return n;
}

void quarantine_add_stuck(struct engine *e, usec_t now)
{
        int64_t user = stuck_user();
        pid_t pid;

        while ((pid = stuck_untold(now - MIN(now, STUCK_FROM))) > 0) {
                if (process_table_find(e->table, pid))
                        quarantine_add(e, pid);
                else
                        log_entry(LOG_WARNING, MESSAGE_QUARANTINED,
                                  LOG_FIELDS({"CAPD_QUARANTINED_PID", .number = (uint64_t)pid}),
                                  "Process %d does not let itself be read; until it does it is in no group", (int)pid);
        }
        if (user >= 0 && user != e->user_passed_over)
                log_warning("User %lld has %u processes or more that do not let themselves be read; until they do, or "
                            "end, capd looks at none of the user's",
                            (long long)user, LIMIT_STUCK_OF_USER);
        e->user_passed_over = user;
}
