/* SPDX-License-Identifier: MIT */
/*
 * user-names.c: names for ForEach=user.
 *
 * A name that is not known yet leaves its processes without groups until a scanner thread has asked the user database; one that is
 * old is served as it is while it is asked for again.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "capd/base/log.h"
#include "capd/base/text.h"
#include "engine.h"

#define NAME_AGE_MAX (60 * USEC_PER_SEC)
/* Slots that a uid may be in. */
#define USER_PROBES 16U

int user_names_init(struct engine *e)
{
        e->users.slots = calloc(USER_SLOTS, sizeof(struct user_name));
        return e->users.slots ? 0 : -ENOMEM;
}

void user_names_done(struct engine *e)
{
        free(TAKE_PTR(e->users.slots));
}

static void want(struct user_names *u, uid_t uid)
{
        for (size_t i = 0; i < u->n_wanted; i++)
                if (u->wanted[i] == uid)
                        return;
        if (u->n_wanted < USER_WANTED)
                u->wanted[u->n_wanted++] = uid; /* the rest at the next look */
}

/* Its slot, or, with `make`, the one to be taken for it: a free one or else the oldest of the few it may be in. NULL: none. */
static struct user_name *find(struct user_names *u, uid_t uid, bool make)
{
        struct user_name *best = NULL;

        for (size_t i = 0; i < USER_PROBES; i++) {
                struct user_name *s = &u->slots[(uid + i) % USER_SLOTS];

                if (s->known && s->uid == uid)
                        return s;
                if (!best || (best->known && (!s->known || s->until < best->until)))
                        best = s;
        }
        return make ? best : NULL;
}

void user_names_get(void *engine, uid_t uid, char *buf, size_t size)
{
        struct engine *e = engine;
        const struct user_name *s = find(&e->users, uid, false);

        if (!s) {
                e->users.missed = true;
                want(&e->users, uid);
                snprintf(buf, size, "%u", uid);
                return;
        }
        if (e->sys.ops->now(&e->sys) > s->until)
                want(&e->users, uid);
        text_copy(buf, size, s->name);
}

struct names_job {
        struct job job;
        struct engine *engine;
        size_t n;
        uid_t uids[USER_WANTED];
        char names[USER_WANTED][USER_NAME_MAX];
};

/* Not guarded: the database is no target, and a thread that waits for it holds up nothing but other jobs. */
static int names_run(struct job *job, struct guard *guard)
{
        struct names_job *j = (struct names_job *)job;

        for (size_t i = 0; i < j->n; i++) {
                if (guard_stopping(guard))
                        return -ECANCELED;
                users_lookup(j->uids[i], j->names[i], sizeof(j->names[i]));
        }
        return 0;
}

static void names_give_up(struct job *job)
{
}

static void names_done(struct job *job, int result)
{
        struct names_job *j = (struct names_job *)job;
        struct engine *e = j->engine;
        usec_t until = e->sys.ops->now(&e->sys) + NAME_AGE_MAX;

        for (size_t i = 0; i < j->n && result >= 0 && !e->stopping; i++) {
                struct user_name *s = find(&e->users, j->uids[i], true);

                if (s->known && s->uid == j->uids[i] && strcmp(s->name, j->names[i]) != 0)
                        e->rematch = true; /* renamed: its groups are called otherwise now */
                s->known = true;
                s->uid = j->uids[i];
                s->until = until;
                text_copy(s->name, sizeof(s->name), j->names[i]);
        }
        e->users.job = false;
        if (!e->stopping)
                engine_schedule(e, e->sys.ops->now(&e->sys));
        free(j);
}

static const struct job_ops names_ops = {.run = names_run, .give_up = names_give_up, .done = names_done};

int user_names_ask(struct engine *e)
{
        struct names_job *j;

        if (e->users.n_wanted == 0 || e->users.job)
                return 0;
        j = calloc(1, sizeof(*j));
        if (!j)
                return -ENOMEM;
        j->job.ops = &names_ops;
        j->engine = e;
        j->n = e->users.n_wanted;
        memcpy(j->uids, e->users.wanted, j->n * sizeof(j->uids[0]));
        e->users.n_wanted = 0;
        e->users.job = true;
        engine_submit(e, &j->job);
        return 0;
}
