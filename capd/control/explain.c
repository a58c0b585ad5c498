/* SPDX-License-Identifier: MIT */
/*
 * explain.c: Group.Explain() and Manager.Measure(), a count made on demand.
 *
 * It costs CPU time in proportion to the group. Root always has a fresh one, with a line for each process. Others get
 * the group's figures only, as counted within LIMIT_EXPLAIN_CACHE_USEC for whoever asked, and new counts for them are paid from
 * a budget: `explain_debt` is the CPU time they used, and falls by LIMIT_EXPLAIN_CPU_BASIS_POINTS of the time that goes by.
 */
#include <errno.h>
#include <string.h>

#include "capd/base/text.h"
#include "capd/bus.h"
#include "internal.h"

/* Counts may run ahead of the budget by this much, so that a look now and then never waits. */
#define BURST_USEC (500 * USEC_PER_MSEC)

struct cached_explain {
        usec_t at; /* 0: free */
        char name[LIMIT_GROUP_NAME_BYTES];
        struct group_sample sample;
        struct group_cgroups cgroups;
        struct wire_books books;
};

static struct cached_explain *cache_find(struct front *f, const char *group)
{
        for (size_t i = 0; f->cache && i < LIMIT_EXPLAIN_CACHE; i++)
                if (f->cache[i].at != 0 && strcmp(f->cache[i].name, group) == 0)
                        return &f->cache[i];
        return NULL;
}

/* In place of what is known of the group, else of the oldest. */
static void cache_store(struct front *f, const struct wire_group *g, const struct wire_books *books)
{
        struct cached_explain *c = cache_find(f, g->name);

        if (!f->cache)
                f->cache = calloc(LIMIT_EXPLAIN_CACHE, sizeof(*f->cache));
        if (!f->cache)
                return; /* the next one is counted again */
        if (!c) {
                c = &f->cache[0];
                for (size_t i = 1; i < LIMIT_EXPLAIN_CACHE; i++)
                        if (f->cache[i].at < c->at)
                                c = &f->cache[i];
        }
        c->at = front_now(f);
        text_copy(c->name, sizeof(c->name), g->name);
        c->sample = g->sample;
        c->cgroups = g->cgroups;
        c->books = *books;
}

void explain_done(struct front *f)
{
        free(f->cache);
        f->cache = NULL;
}

static usec_t debt_now(struct front *f)
{
        usec_t now = front_now(f), paid = (now - f->explain_debt_at) / 10000 * LIMIT_EXPLAIN_CPU_BASIS_POINTS;

        f->explain_debt -= MIN(paid, f->explain_debt);
        f->explain_debt_at = now;
        return f->explain_debt;
}

static int append_processes(sd_bus_message *reply, int body_fd, uint32_t n)
{
        struct wire_process some[32];
        int r;

        for (uint32_t done = 0; done < n; done += ARRAY_SIZE(some)) {
                uint32_t now = MIN(n - done, (uint32_t)ARRAY_SIZE(some));

                r = read_exactly(body_fd, some, now * sizeof(some[0]),
                                 sizeof(struct wire_detail) + (uint64_t)done * sizeof(some[0]));
                for (uint32_t i = 0; r >= 0 && i < now; i++) {
                        r = snapshot_clean_process(&some[i]);
                        if (r >= 0)
                                r = figures_append(reply, process_figures, &some[i]);
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

static int append_books(sd_bus_message *reply, const struct wire_books *b)
{
        int r;

        r = figures_append(reply, books_figures, b);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "a{sv}");
        for (uint32_t i = 0; r >= 0 && i < b->n_charges; i++)
                r = figures_append(reply, charge_figures, &b->charges[i]);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* Without `books` it is the answer of Measure(). */
static int send_answer(sd_bus_message *m, const struct wire_group *g, const struct wire_books *books, int body_fd,
                       uint32_t n_processes)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = figures_append(reply, group_figures, g);
        if (r >= 0 && books) {
                r = sd_bus_message_open_container(reply, 'a', "a{sv}");
                if (r >= 0)
                        r = append_processes(reply, body_fd, n_processes);
                if (r >= 0)
                        r = sd_bus_message_close_container(reply);
                if (r >= 0)
                        r = append_books(reply, books);
        }
        if (r < 0)
                return r;
        r = sd_bus_send(sd_bus_message_get_bus(m), reply, NULL);
        return r < 0 ? r : 1;
}

int explain_call(struct front *f, sd_bus_message *m, const struct caller *caller, const struct request *request,
                 sd_bus_error *error)
{
        const struct wire_group *published = snapshot_find(&f->snapshot, request->group);

        if (caller->uid != 0 && published) {
                const struct cached_explain *c = cache_find(f, request->group);
                bool spent = debt_now(f) > BURST_USEC;

                if (c && (spent || front_now(f) < c->at + LIMIT_EXPLAIN_CACHE_USEC)) {
                        /* only the count is old: state and cap are as last published */
                        struct wire_group g = *published;

                        g.sample = c->sample;
                        g.cgroups = c->cgroups;
                        return send_answer(m, &g, request->brief ? NULL : &c->books, -1, 0);
                }
                if (spent)
                        return sd_bus_error_setf(error, BUS_ERROR_BUSY,
                                                 "counts for users have used their share of CPU time; try again in %u "
                                                 "s, or ask as root",
                                                 (unsigned)((f->explain_debt - BURST_USEC) /
                                                                            LIMIT_EXPLAIN_CPU_BASIS_POINTS * 10000 /
                                                                            USEC_PER_SEC +
                                                            1));
        }
        return pending_send(f, m, caller, request, error);
}

int explain_answer(struct front *f, sd_bus_message *m, uid_t uid, bool brief, int body_fd, uint64_t size)
{
        struct wire_detail d;
        int r;

        r = body_fd < 0 || size < sizeof(d) ? -EBADMSG : read_exactly(body_fd, &d, sizeof(d), 0);
        if (r < 0)
                return r;
        if (d.magic != WIRE_MAGIC || d.version != WIRE_VERSION || d.size != sizeof(d) ||
            d.process_size != sizeof(struct wire_process) ||
            size != sizeof(d) + (uint64_t)d.n_processes * sizeof(struct wire_process))
                return -EBADMSG;
        r = snapshot_clean_group(&d.group);
        if (r >= 0)
                r = snapshot_clean_books(&d.books);
        if (r < 0)
                return r;
        cache_store(f, &d.group, &d.books);
        if (uid != 0)
                f->explain_debt = debt_now(f) + MIN(d.group.sample.count_cost, 3600 * USEC_PER_SEC);
        if (!m)
                return 0;
        return send_answer(m, &d.group, brief ? NULL : &d.books, body_fd,
                           uid == 0 ? MIN(d.n_processes, LIMIT_EXPLAIN_PROCESSES) : 0);
}
