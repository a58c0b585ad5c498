/* SPDX-License-Identifier: MIT */
/* last-resort.c: LastResort=kill: who of a hopeless group dies, and that everybody hears of it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "capd/base/log.h"
#include "capd/base/size.h"
#include "capd/base/text.h"
#include "capd/enforce/kill.h"
#include "capd/measure/table.h"
#include "engine.h"

/* Of those that may be acted on: whose end gives most back, as far as the cheap figures tell. */
static struct process *largest_member(struct engine *e, const struct group *g)
{
        struct process *largest = NULL;

        for (size_t i = 0; i < g->n_members; i++) {
                struct process *p = g->members[i];
                const struct membership *m = p->userdata;

                if (p->vm == 0 || p->rss == SIZE_UNKNOWN || p->needs_cmdline || m->protected_process)
                        continue;
                if ((!largest || p->rss > largest->rss) && !kill_is_spared(&e->sys, p->facts.pid))
                        largest = p;
        }
        return largest;
}

struct question {
        struct engine *engine;
        const struct group *group;
};

/* Who dies with the largest member is the group's by the same right. */
static bool may_die(pid_t pid, void *userdata)
{
        const struct question *q = userdata;
        const struct process *p = process_table_find(q->engine->table, pid);

        if (p) {
                _cleanup_close_ int fd = process_open(&q->engine->sys, NULL, pid, p->facts.start_time);

                if (fd < 0 || p->needs_cmdline)
                        return false; /* another one has its number now */
        }
        return surroundings_is_member(q->engine, q->group, pid);
}

static void say_killed(struct engine *e, struct group *g, const struct process *p, const struct kill_result *killed)
{
        char name[LIMIT_COMM_BYTES * 4] = "", cgroup[LIMIT_CGROUP_BYTES], who[sizeof(cgroup) + 128];
        char size[SIZE_TEXT_MAX], resident[SIZE_TEXT_MAX], cap[SIZE_TEXT_MAX];

        if (p->facts.comm)
                text_escape(name, sizeof(name), p->facts.comm, strlen(p->facts.comm));
        if (killed->cgroup[0]) {
                text_escape(cgroup, sizeof(cgroup), killed->cgroup, strlen(killed->cgroup));
                snprintf(who, sizeof(who), "all %u of cgroup %s (memory.oom.group=1), the largest of them being",
                         killed->processes, cgroup);
        }
        event_log(e, g, EVENT_KILL, LOG_ERR, MESSAGE_KILLED,
                  LOG_FIELDS({"CAPD_KILLED_PID", .number = (uint64_t)p->facts.pid}, {"CAPD_KILLED_COMM", name},
                             {"CAPD_KILLED_PROCESSES", .number = killed->processes},
                             {"CAPD_KILLED_RSS_BYTES", .number = p->rss}, {"CAPD_REASON", g->memory.reason}),
                  "LastResort=kill: killed %s process %d (%s), %s of the %s resident; the cap is %s and %s",
                  killed->cgroup[0] ? who : "its largest member,", (int)p->facts.pid, name, format_size(size, p->rss),
                  format_size(resident, g->sample.resident), format_size(cap, g->settings.cap), g->memory.reason);
        if (killed->error)
                event_log(e, g, EVENT_KILL, LOG_WARNING, MESSAGE_NOT_KILLED, NULL,
                          "its cgroup has memory.oom.group=1, but cannot be killed as a whole: %s",
                          strerror(-killed->error));
}

void engine_kill(struct engine *e, struct group *g)
{
        struct question q = {.engine = e, .group = g};
        struct kill_request request = {.may_die = may_die, .userdata = &q};
        struct process *p = NULL;
        struct kill_result killed;
        int r;

        /* who executed another program since it was matched is not killed for what it was */
        r = engine_reread_members(e, g, e->sys.ops->now(&e->sys));
        if (r >= 0)
                p = largest_member(e, g);
        if (!p) {
                event_log(e, g, EVENT_KILL, LOG_WARNING, MESSAGE_NOT_KILLED, NULL,
                          "LastResort=kill, but none of its processes may be killed");
                return;
        }
        request.pid = p->facts.pid;
        request.start_time = p->facts.start_time;
        request.cgroup = p->facts.cgroup;
        r = kill_member(&e->sys, &e->cgroup2, &request, &killed);
        if (r >= 0) {
                say_killed(e, g, p, &killed);
                g->kills += killed.processes;
        } else if (r != -ESRCH)
                event_log(e, g, EVENT_KILL, LOG_ERR, MESSAGE_NOT_KILLED, NULL,
                          "LastResort=kill: cannot kill process %d: %s", (int)p->facts.pid, strerror(-r));
}
