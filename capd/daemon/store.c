/* SPDX-License-Identifier: MIT */
/*
 * store.c: the two files that the front fills, MetricsFile= and the history.
 *
 * The front has no right to any directory, and the directories may be anybody's. So it hands over a memfd that nobody can change any
 * more, and the engine puts what is in it where the administrator said. A disk may take its time, most of all while the
 * host pages out: a thread of its own writes, one for each file at most. While it hangs, what comes is dropped, as more
 * will come.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "capd/base/log.h"
#include "capd/base/replace.h"
#include "engine.h"

#define STACK_BYTES (256U * 1024)
/* What the last writing may take at the end. */
#define LAST_USEC (5 * USEC_PER_SEC)
/* Everybody may see the figures, as everybody may ask for them. */
#define FILE_MODE 0644

struct writing {
        _Atomic bool done;
        const struct sys *sys;
        char *path;
        bool durable;
        int body_fd;
        uint64_t size;
        int result;
};

static struct writing *writing_free(struct writing *w)
{
        if (w) {
                close_fd(w->body_fd);
                free(w->path);
                free(w);
        }
        return NULL;
}
DEFINE_CLEANUP(struct writing *, writing_free)

static char *path_of(const struct engine *e, enum store_file which)
{
        char *path = NULL;

        if (which == STORE_METRICS)
                return e->policy->daemon.metrics_file ? strdup(e->policy->daemon.metrics_file) : NULL;
        return e->state_directory && asprintf(&path, "%s/" HISTORY_FILE, e->state_directory) >= 0 ? path : NULL;
}

static const char *why(int r)
{
        switch (-r) {
        case ELOOP:
                return "a symbolic link, or no directory, is on the way to it";
        case EEXIST:
                return "there is something else than a file";
        case EROFS:
                return "the file system is read-only, or is so for the service: see ReadWritePaths= in capd(8)";
        default:
                return strerror(-r);
        }
}

/* What the last writing came to. Once for each kind of failure. */
static void take_result(struct engine *e, enum store_file which)
{
        struct store *s = &e->store;
        struct writing *w = s->under_way[which];

        if (!w || !atomic_load(&w->done))
                return;
        if (w->result < 0 && w->result != s->last_error[which])
                log_warning("Cannot write %s: %s, ignoring", w->path, why(w->result));
        else if (w->result >= 0 && s->last_error[which] < 0)
                log_notice("%s is written again", w->path);
        s->last_error[which] = w->result;
        /* the configuration may have changed while it was written: then it is nobody's */
        if (which == STORE_METRICS && w->result >= 0 &&
            (!e->policy->daemon.metrics_file || strcmp(e->policy->daemon.metrics_file, w->path) != 0))
                (void)replace_remove(&e->sys, w->path);
        s->under_way[which] = writing_free(w);
}

static void *write_it(void *arg)
{
        struct writing *w = arg;

        w->result = replace_file(w->sys, w->path, FILE_MODE, w->durable, w->body_fd, w->size);
        atomic_store(&w->done, true);
        /* from here on w is the engine's */
        return NULL;
}

static int start_thread(struct writing *w)
{
        sigset_t all, old;
        pthread_attr_t attr;
        pthread_t thread;
        int r;

        pthread_attr_init(&attr);
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&attr, STACK_BYTES);
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        r = pthread_create(&thread, &attr, write_it, w);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        pthread_attr_destroy(&attr);
        return -r;
}

/* A memfd that nobody can change, and not one that keeps its reader waiting, as any other file might. */
static bool is_sealed(int fd, uint64_t size)
{
        const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
        struct stat st;
        int have = fcntl(fd, F_GET_SEALS);

        return have >= 0 && (have & seals) == seals && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
               (uint64_t)st.st_size == size;
}

void store_command(struct engine *e, enum store_file which, int body_fd, uint64_t size)
{
        static const uint64_t limits[_STORE_MAX] = {LIMIT_METRICS_BYTES, LIMIT_HISTORY_BYTES + MIB};
        _cleanup_(writing_freep) struct writing *w = NULL;
        int r;

        take_result(e, which);
        if (e->store.under_way[which])
                return;
        if (body_fd < 0 || size > limits[which] || !is_sealed(body_fd, size)) {
                log_warning("The front wanted something written that cannot be, ignoring");
                return;
        }
        w = calloc(1, sizeof(*w));
        if (!w)
                return;
        *w = (struct writing){.sys = &e->sys, .durable = which == STORE_HISTORY, .body_fd = -1, .size = size};
        w->path = path_of(e, which);
        w->body_fd = fcntl(body_fd, F_DUPFD_CLOEXEC, 3);
        if (!w->path || w->body_fd < 0)
                return;
        r = start_thread(w);
        if (r < 0)
                log_warning("Cannot write %s: %s, ignoring", w->path, strerror(-r));
        else
                e->store.under_way[which] = TAKE_PTR(w);
}

void store_look(struct engine *e)
{
        for (int i = 0; i < _STORE_MAX; i++)
                take_result(e, (enum store_file)i);
}

/* The history as it was left, for a front that begins. */
void store_send_history(struct engine *e)
{
        struct wire_message m = {.magic = WIRE_MAGIC, .version = WIRE_VERSION, .type = WIRE_STORED, .has_body = 1};
        _cleanup_free_ char *path = path_of(e, STORE_HISTORY);
        _cleanup_close_ int dirfd = -1, fd = -1;
        const char *name;
        struct stat st;

        if (!path)
                return;
        dirfd = replace_open_directory(&e->sys, path, &name);
        fd = dirfd < 0 ? dirfd : e->sys.ops->openat(&e->sys, dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
        if (fd == -ENOENT)
                return;
        if (fd < 0)
                log_warning("Cannot read the history in %s: %s, ignoring", path, why(fd));
        else if (e->sys.ops->fstat(&e->sys, fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid())
                log_warning("Cannot read the history in %s: it is no file of root's, ignoring", path);
        else {
                m.body_size = (uint64_t)st.st_size;
                (void)front_process_send(&e->front, &m, TAKE_FD(fd));
        }
}

/* A file of figures that nobody renews would tell stale ones for ever. */
void store_remove_metrics(struct engine *e, const char *path)
{
        int r = replace_remove(&e->sys, path);

        if (r < 0 && e->store.last_error[STORE_METRICS] >= 0)
                log_warning("Cannot remove %s: %s, ignoring", path, why(r));
        e->store.last_error[STORE_METRICS] = 0;
}

static void wait_for(struct engine *e, enum store_file which)
{
        const struct timespec pause = {.tv_nsec = 5 * 1000 * 1000};
        usec_t until = e->sys.ops->now(&e->sys) + LAST_USEC;

        while (e->store.under_way[which] && !atomic_load(&e->store.under_way[which]->done) &&
               e->sys.ops->now(&e->sys) < until)
                nanosleep(&pause, NULL);
        take_result(e, which);
}

/* After the front. A thread that still hangs ends with the process. */
void store_done(struct engine *e)
{
        for (int i = 0; i < _STORE_MAX; i++)
                wait_for(e, (enum store_file)i);
        if (e->policy && e->policy->daemon.metrics_file)
                store_remove_metrics(e, e->policy->daemon.metrics_file);
}
