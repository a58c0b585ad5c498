/* SPDX-License-Identifier: MIT */
/* explain.c: a fresh count of one group with everything that is too dear for every look, process by process. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "books.h"
#include "capd/base/log.h"
#include "capd/base/text.h"
#include "engine.h"
#include "id-set.h"

struct explain_job {
        struct job job;
        struct engine *engine;
        struct count *count;
        uint32_t serial;
        char group[LIMIT_GROUP_NAME_BYTES];
        uint32_t quarantined;
        size_t n;
        struct wire_process *processes; /* in the order of the count */
        uint64_t *start_times;
        size_t next_command; /* the first whose command line has not been read */
        struct owned_cgroups owned;
        struct group_cgroups cgroups;
        struct wire_books books;
        bool have_books;
};

static struct explain_job *explain_job_free(struct explain_job *x)
{
        if (x) {
                count_free(x->count);
                free(x->processes);
                free(x->start_times);
                owned_cgroups_done(&x->owned);
                free(x);
        }
        return NULL;
}

static int explain_run(struct job *job, struct guard *guard)
{
        struct explain_job *x = (struct explain_job *)job;
        int r = count_run(x->count, guard);

        if (r < 0)
                return r;
        /* at once: whom the kernel charges should be of the same moment as the count */
        if (!x->have_books) {
                r = books_read(&x->engine->sys, x->count, 0, guard, &x->owned, &x->cgroups, &x->books);
                if (r < 0)
                        return r;
                x->have_books = true;
        }
        for (; x->next_command < x->n; x->next_command++) {
                struct wire_process *w = &x->processes[x->next_command];
                char text[LIMIT_CMDLINE_BYTES];
                ssize_t n;

                if (w->command[0])
                        continue; /* known to the table */
                n = process_read_cmdline(&x->engine->sys, guard, w->pid, x->start_times[x->next_command], text,
                                         sizeof(text));
                if (n == -ECANCELED)
                        return -ECANCELED; /* nothing of x may be touched any more */
                if (n > 0)
                        text_escape(w->command, sizeof(w->command), text, (size_t)n);
        }
        return 0;
}

static void explain_give_up(struct job *job, const struct guard *guard)
{
        struct explain_job *x = (struct explain_job *)job;
        pid_t pid = count_give_up(x->count, guard);

        if (pid == 0 && x->next_command < x->n)
                pid = x->processes[x->next_command++].pid;
        quarantine_add(x->engine, pid);
}

static void fill_process(struct wire_process *w, const struct process_sample *s)
{
        w->outcome = s->outcome;
        if (s->outcome != COUNT_DONE) {
                w->mapped = w->anon = w->file = w->shmem = w->exclusive = SIZE_UNKNOWN;
                w->swap = w->hugetlb = w->share = w->alone = SIZE_UNKNOWN;
                return;
        }
        w->mapped = s->mapped;
        w->anon = s->anon;
        w->file = s->file;
        w->shmem = s->shmem;
        w->exclusive = s->exclusive;
        w->swap = s->swap;
        w->hugetlb = s->hugetlb;
        w->share = s->share;
        w->alone = s->alone;
}

static int by_rss(const void *a, const void *b)
{
        const struct wire_process *x = a, *y = b;

        if (x->rss != y->rss)
                return x->rss < y->rss ? 1 : -1;
        return (x->pid > y->pid) - (x->pid < y->pid);
}

static void reply(struct explain_job *x, const struct group *g)
{
        struct engine *e = x->engine;
        size_t size = sizeof(struct wire_detail) + x->n * sizeof(struct wire_process);
        _cleanup_free_ struct wire_detail *d = calloc(1, size);
        struct group_sample fresh = g->sample;

        if (!d) {
                engine_reply(e, x->serial, -ENOMEM, NULL, 0, "capd is out of memory");
                return;
        }
        count_take_result(x->count, 0, x->quarantined, &fresh);
        for (size_t i = 0; i < x->n; i++) {
                struct process_sample s = {};

                count_process_result(x->count, (uint32_t)i, &s);
                fill_process(&x->processes[i], &s);
        }
        qsort(x->processes, x->n, sizeof(x->processes[0]), by_rss);
        d->magic = WIRE_MAGIC;
        d->version = WIRE_VERSION;
        d->size = sizeof(*d);
        d->process_size = sizeof(struct wire_process);
        d->n_processes = (uint32_t)x->n;
        d->taken_at = fresh.counted_at;
        publish_group(e, g, &d->group);
        d->group.sample = fresh;
        d->group.cgroups = x->cgroups;
        d->books = x->books;
        d->host = e->host;
        memcpy(d + 1, x->processes, x->n * sizeof(struct wire_process));
        engine_reply(e, x->serial, 0, d, size, "%s", "");
}

static void explain_done(struct job *job, int result)
{
        struct explain_job *x = (struct explain_job *)job;
        const struct group *g = group_find(x->engine, x->group);

        if (x->engine->stopping)
                ; /* nobody waits any more */
        else if (result < 0)
                engine_reply(x->engine, x->serial, result, NULL, 0, "the count failed: %s", strerror(-result));
        else if (!g)
                engine_reply(x->engine, x->serial, -ENOENT, NULL, 0, "group %s is gone", x->group);
        else
                reply(x, g);
        explain_job_free(x);
}

static const struct job_ops explain_ops = {
                .run = explain_run,
                .give_up = explain_give_up,
                .done = explain_done,
};

/* What the table knows of the members, in the order in which engine_make_count() takes them. */
static int copy_members(struct engine *e, struct explain_job *x, const struct group *g, usec_t now)
{
        _cleanup_(id_set_done) struct id_set shared = {};
        const uint64_t floor = e->policy->sections[g->section].process_floor;

        x->processes = calloc(g->n_members + 1, sizeof(*x->processes));
        x->start_times = calloc(g->n_members + 1, sizeof(*x->start_times));
        if (!x->processes || !x->start_times)
                return -ENOMEM;
        for (size_t i = 0; i < g->n_members; i++) {
                const struct process *p = g->members[i];
                const struct membership *m = p->userdata;
                struct wire_process *w = &x->processes[x->n];

                if (p->vm == 0 || quarantine_holds(e, p->facts.pid, p->facts.start_time, now))
                        continue;
                w->pid = p->facts.pid;
                w->uid = p->facts.uid;
                if (p->facts.comm)
                        text_escape(w->comm, sizeof(w->comm), p->facts.comm, strlen(p->facts.comm));
                if (p->facts.cmdline)
                        text_escape(w->command, sizeof(w->command), p->facts.cmdline, strlen(p->facts.cmdline));
                w->rss = p->rss;
                w->protected_process = m->protected_process;
                w->below_floor = p->rss < floor;
                w->same_address_space = p->mm_shared && id_set_add(&shared, p->mm_id) == 0;
                x->start_times[x->n++] = p->facts.start_time;
        }
        return 0;
}

void engine_explain(struct engine *e, const struct wire_command *c)
{
        usec_t now = e->sys.ops->now(&e->sys); /* one for both passes over the members, which must agree */
        struct group *g = group_find(e, c->group);
        struct explain_job *x;

        if (!g) {
                engine_reply(e, c->serial, -ENOENT, NULL, 0, "no such group: %s", c->group);
                return;
        }
        if (!e->features.pagemap_frames) {
                engine_reply(e, c->serial, -EPERM, NULL, 0, "%s", e->features.why_frames);
                return;
        }
        x = calloc(1, sizeof(*x));
        if (x)
                x->count = engine_make_count(e, &g, 1, COUNT_PRIVATE | COUNT_SHARES | COUNT_KEEP_FRAMES, now);
        surroundings_look_cgroups(e, g);
        if (!x || !x->count || copy_members(e, x, g, now) < 0 || owned_cgroups_copy(&g->owned, &x->owned) < 0) {
                explain_job_free(x);
                engine_reply(e, c->serial, -ENOMEM, NULL, 0, "capd is out of memory");
                return;
        }
        x->job.ops = &explain_ops;
        x->engine = e;
        x->serial = c->serial;
        x->quarantined = g->quarantined;
        text_copy(x->group, sizeof(x->group), g->name);
        engine_submit(e, &x->job);
}
