/* SPDX-License-Identifier: MIT */
/*
 * user-names.c: names for ForEach=user.
 *
 * They come from the user database, which may be a directory server far away, so the loop never asks it. A thread of its own does, one
 * question list at a time: it may hang there for as long as it likes without holding up a count or the end of capd. What it works
 * on is its own until it says that it is done. A name that is not known yet leaves its processes out of the groups that are named by
 * it; one that is old is served as it is while it is asked for again.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "capd/base/log.h"
#include "capd/base/text.h"
#include "engine.h"

#define NAME_AGE_MAX (60 * USEC_PER_SEC)
/* Slots that a uid may be in. */
#define USER_PROBES 16U
/* getpwuid_r() and what it loads need more than a scanner thread. */
#define STACK_BYTES (1024U * 1024)

struct questions {
        _Atomic bool done;
        int event_fd; /* a copy of the engine's */
        size_t n;
        uid_t uids[USER_WANTED];
        char names[USER_WANTED][USER_NAME_MAX];
};

/* Its slot, or, with `make`, the one to be taken for it: a free one or else the oldest of the few it may be in. NULL: none. */
static struct user_name *find(struct user_names *u, uid_t uid, bool make)
{
        /* spread: containers have the same low numbers again and again, 65536 apart */
        uint32_t first = (uint32_t)uid * UINT32_C(0x9E3779B1) >> 16;
        struct user_name *best = NULL;

        for (uint32_t i = 0; i < USER_PROBES; i++) {
                struct user_name *s = &u->slots[(first + i) % USER_SLOTS];

                if (s->known && s->uid == uid)
                        return s;
                if (!best || (best->known && (!s->known || s->until < best->until)))
                        best = s;
        }
        return make ? best : NULL;
}

static void want(struct user_names *u, uid_t uid)
{
        for (size_t i = 0; i < u->n_wanted; i++)
                if (u->wanted[i] == uid)
                        return;
        if (u->n_wanted < USER_WANTED)
                u->wanted[u->n_wanted++] = uid; /* the rest at the next look */
}

bool user_names_get(void *engine, uid_t uid, char *buf, size_t size)
{
        struct engine *e = engine;
        const struct user_name *s = find(&e->users, uid, false);

        if (!s) {
                e->users.missed = true;
                want(&e->users, uid);
                return false;
        }
        if (e->sys.ops->now(&e->sys) > s->until)
                want(&e->users, uid);
        text_copy(buf, size, s->name);
        return true;
}

static void *ask_all(void *arg)
{
        struct questions *q = arg;
        int event_fd = q->event_fd;
        uint64_t one = 1;

        for (size_t i = 0; i < q->n; i++)
                users_lookup(q->uids[i], q->names[i], sizeof(q->names[i]));
        atomic_store(&q->done, true);
        /* from here on q is the engine's */
        if (write(event_fd, &one, sizeof(one)) < 0)
                log_debug("Cannot tell that names are known: %m, ignoring until the next look");
        close_fd(event_fd);
        return NULL;
}

static void take_answers(struct engine *e)
{
        usec_t until = e->sys.ops->now(&e->sys) + NAME_AGE_MAX;
        struct questions *q = e->users.asked;

        if (!q || !atomic_load(&q->done))
                return;
        for (size_t i = 0; i < q->n; i++) {
                struct user_name *s = find(&e->users, q->uids[i], true);

                if (s->known && s->uid == q->uids[i] && strcmp(s->name, q->names[i]) != 0)
                        e->rematch = true; /* renamed: its groups are called otherwise now */
                s->known = true;
                s->uid = q->uids[i];
                s->until = until;
                text_copy(s->name, sizeof(s->name), q->names[i]);
        }
        free(q);
        e->users.asked = NULL;
}

static int on_answers(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        struct engine *e = userdata;
        uint64_t n;

        if (read(fd, &n, sizeof(n)) < 0)
                return 0;
        take_answers(e);
        engine_schedule_soon(e);
        return 0;
}

int user_names_init(struct engine *e)
{
        e->users.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (e->users.event_fd < 0)
                return -errno;
        e->users.slots = calloc(USER_SLOTS, sizeof(struct user_name));
        if (!e->users.slots)
                return -ENOMEM;
        return sd_event_add_io(e->event, &e->users.source, e->users.event_fd, EPOLLIN, on_answers, e);
}

void user_names_done(struct engine *e)
{
        struct user_names *u = &e->users;

        u->source = sd_event_source_disable_unref(u->source);
        if (u->slots)
                close_fd(u->event_fd);
        free(TAKE_PTR(u->slots));
        /* a thread that still waits for the database keeps its list and ends with the process */
        if (u->asked && atomic_load(&u->asked->done))
                free(TAKE_PTR(u->asked));
}

int user_names_ask(struct engine *e)
{
        struct user_names *u = &e->users;
        struct questions *q;
        pthread_attr_t attr;
        sigset_t all, old;
        pthread_t thread;
        int r;

        take_answers(e);
        if (u->n_wanted == 0 || u->asked)
                return 0;
        q = calloc(1, sizeof(*q));
        if (!q)
                return -ENOMEM;
        q->event_fd = fcntl(u->event_fd, F_DUPFD_CLOEXEC, 0);
        q->n = u->n_wanted;
        memcpy(q->uids, u->wanted, q->n * sizeof(q->uids[0]));
        u->n_wanted = 0;
        pthread_attr_init(&attr);
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&attr, STACK_BYTES);
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        u->asked = q;
        r = pthread_create(&thread, &attr, ask_all, q);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        pthread_attr_destroy(&attr);
        if (r != 0) {
                close_fd(q->event_fd);
                free(TAKE_PTR(u->asked));
        }
        return -r;
}
