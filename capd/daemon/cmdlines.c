/* SPDX-License-Identifier: MIT */
/* cmdlines.c: command lines, read on the scanner threads as they take the mmap lock of their process. */
#include <errno.h>
#include <string.h>

#include "capd/base/log.h"
#include "engine.h"

struct cmdline {
        pid_t pid;
        uint64_t start_time;
        char *text; /* NULL: could not be read */
        bool again; /* it may be possible another time */
};

struct cmdline_job {
        struct job job;
        struct engine *engine;
        size_t n, next;
        struct cmdline items[];
};

static int cmdline_job_run(struct job *job, struct guard *guard)
{
        struct cmdline_job *c = (struct cmdline_job *)job;
        const struct sys *sys = &c->engine->sys;

        while (c->next < c->n) {
                struct cmdline *item = &c->items[c->next];
                char *text = malloc(LIMIT_CMDLINE_BYTES); /* the thread's own until the call came back */
                ssize_t n = text ? process_read_cmdline(sys, guard, item->pid, item->start_time, text,
                                                        LIMIT_CMDLINE_BYTES)
                                 : -ENOMEM;

                if (n == -ECANCELED) {
                        free(text);
                        return -ECANCELED;
                }
                if (n >= 0)
                        item->text = strndup(text, (size_t)n);
                item->again = n == -ENOMEM || n == -EMFILE || n == -ENFILE || (n >= 0 && !item->text);
                free(text);
                c->next++;
        }
        return 0;
}

static void cmdline_job_give_up(struct job *job, const struct guard *guard)
{
        struct cmdline_job *c = (struct cmdline_job *)job;
        struct cmdline *item = &c->items[c->next++];

        item->again = true; /* when its quarantine is over */
        quarantine_add(c->engine, item->pid);
}

static void cmdline_job_done(struct job *job, int result)
{
        struct cmdline_job *c = (struct cmdline_job *)job;
        struct engine *e = c->engine;

        for (size_t i = 0; i < c->n; i++) {
                /* one that was not reached is asked for again by the next job */
                if (i < c->next && !c->items[i].again && !e->stopping)
                        process_table_set_cmdline(e->table, c->items[i].pid, c->items[i].start_time, c->items[i].text);
                free(c->items[i].text);
        }
        e->cmdline_job = false;
        e->cmdlines_known = true;
        free(c);
        if (result >= 0)
                engine_schedule_soon(e);
}

static const struct job_ops cmdline_job_ops = {
                .run = cmdline_job_run,
                .give_up = cmdline_job_give_up,
                .done = cmdline_job_done,
};

static bool wants_cmdline(struct engine *e, const struct process *p, usec_t now)
{
        return p->needs_cmdline && !quarantine_holds(e, p->facts.pid, p->facts.start_time, now);
}

int engine_read_cmdlines(struct engine *e)
{
        usec_t now = e->sys.ops->now(&e->sys);
        struct cmdline_job *c;
        size_t n = 0;

        if (!(e->policy->facts & FACT_CMDLINE))
                return 0;
        for (struct process *p = NULL; (p = process_table_next(e->table, p));)
                n += wants_cmdline(e, p, now);
        if (n == 0) {
                e->cmdlines_known = true;
                return 0;
        }
        c = calloc(1, sizeof(*c) + n * sizeof(c->items[0]));
        if (!c)
                return -ENOMEM;
        for (struct process *p = NULL; (p = process_table_next(e->table, p));)
                if (c->n < n && wants_cmdline(e, p, now))
                        c->items[c->n++] = (struct cmdline){.pid = p->facts.pid, .start_time = p->facts.start_time};
        c->job.ops = &cmdline_job_ops;
        c->engine = e;
        e->cmdline_job = true;
        engine_submit(e, &c->job);
        return 0;
}
