/* SPDX-License-Identifier: MIT */
/* front.c: the front's loop, and its end of the channel to the engine. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "capd/base/log.h"
#include "capd/base/sys.h"
#include "capd/base/text.h"
#include "capd/control/front.h"
#include "capd/message-ids.h"
#include "internal.h"

#define LOG_INTERVAL_USEC (60 * USEC_PER_SEC)
/* Idle clients and overdue commands are looked for so often while there are any. */
#define CHECK_INTERVAL_USEC (1 * USEC_PER_SEC)
/* Time the engine has for its first snapshot before clients are served without. */
#define PATIENCE_USEC (3 * USEC_PER_SEC)

usec_t front_now(const struct front *f)
{
        uint64_t now;

        /* the loop's time when the last event came: one reading of the clock serves all that follows from it */
        return sd_event_now(f->event, CLOCK_MONOTONIC, &now) < 0 ? 0 : now;
}

int64_t front_realtime(void)
{
        return (int64_t)clock_usec(CLOCK_REALTIME) - (int64_t)clock_usec(CLOCK_MONOTONIC);
}

bool front_may_log(struct front *f, enum log_kind kind)
{
        usec_t now = front_now(f);

        if (f->logged_at[kind] != 0 && now < f->logged_at[kind] + LOG_INTERVAL_USEC)
                return false;
        f->logged_at[kind] = now;
        return true;
}

void front_say_refused(struct front *f, const struct caller *caller, const char *bus, const char *why)
{
        char more[48] = "";

        if (!front_may_log(f, LOG_FORBIDDEN)) {
                f->unlogged_refusals++;
                return;
        }
        if (f->unlogged_refusals > 0)
                snprintf(more, sizeof(more), " (%u more suppressed)", f->unlogged_refusals);
        log_entry(LOG_NOTICE, MESSAGE_REFUSED,
                  LOG_FIELDS({"CAPD_UID", .number = caller->uid}, {"CAPD_PID", .number = (uint64_t)caller->pid},
                             {"CAPD_REASON", why}, {"CAPD_SUPPRESSED", .number = f->unlogged_refusals}),
                  "Refused a request of user %u (pid %d) on the %s: %s%s", (unsigned)caller->uid, (int)caller->pid, bus,
                  why, more);
        f->unlogged_refusals = 0;
}

/*
 * Clients are let in with the first snapshot: before it there is nothing to tell, and "no groups" would be a lie. They wait in the
 * socket's backlog; an engine that publishes nothing must not keep them there for ever.
 */
static int let_clients_in(struct front *f)
{
        int r;

        if (f->listen_source)
                return 0;
        r = clients_start(f);
        return r < 0 ? r : system_bus_start(f);
}

/* A snapshot that was found good has taken the place of `before`. Whoever makes something of snapshots does it here. */
static void on_snapshot(struct front *f, const struct snapshot *before)
{
        usec_t last = before->header.published_at, now = f->snapshot.header.published_at;

        /* an interval that was lowered by a reload is forgotten in some ten ticks */
        if (last != 0 && now > last)
                f->longest_tick = MAX(f->longest_tick / 4 * 3, now - last);
        news_take(f, before);
}

/* Objects that a client saw stay as they are if the new ones cannot be used. */
static void take_snapshot(struct front *f, int body_fd, uint64_t size)
{
        _cleanup_(snapshot_done) struct snapshot before = {0}, now = {0};
        const char *why = "it has no body";
        int r = body_fd < 0 ? -EBADMSG : snapshot_read(body_fd, size, &now, &why);

        if (r < 0) {
                if (front_may_log(f, LOG_BAD_ENGINE))
                        log_warning("Cannot use what the engine published (%s), keeping the last: %s", why,
                                    strerror(-r));
                return;
        }
        before = f->snapshot;
        f->snapshot = now;
        now = (struct snapshot){0};
        r = let_clients_in(f);
        if (r < 0)
                log_error("Cannot serve clients: %s", strerror(-r));
        on_snapshot(f, &before);
        store_snapshot(f);
}

static void handle_message(struct front *f, struct wire_message *w, int body_fd)
{
        if (w->magic != WIRE_MAGIC || w->version != WIRE_VERSION) {
                if (front_may_log(f, LOG_BAD_ENGINE))
                        log_warning("The engine speaks another version than the front, ignoring");
                return;
        }
        if (!w->has_body)
                body_fd = -1;
        switch (w->type) {
        case WIRE_SNAPSHOT:
                take_snapshot(f, body_fd, w->body_size);
                break;
        case WIRE_REPLY: {
                size_t len = strnlen(w->text, sizeof(w->text) - 1);

                w->text[len] = '\0';
                if (!text_is_utf8(w->text, len))
                        text_copy(w->text, sizeof(w->text), "(not valid text)");
                pending_reply(f, w, body_fd);
                break;
        }
        case WIRE_STORED:
                if (body_fd >= 0)
                        store_read(f, body_fd);
                break;
        case WIRE_STOPPING:
                store_last(f);
                f->stopping = true;
                break;
        }
}

/* Takes the descriptor of a message; what was not asked for is closed. */
static int take_body(struct msghdr *mh)
{
        int body = -1;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
                        if (body < 0)
                                body = fd;
                        else
                                close_fd(fd);
                }
        }
        return body;
}

/* Before sd_event_exit(): the exit handler of each attached bus would flush it, and so wait for the slowest client. */
static int leave(struct front *f)
{
        pending_free_all(f);
        clients_free_all(f);
        system_bus_stop(f);
        return sd_event_exit(f->event, 0);
}

static int on_engine(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
        struct front *f = userdata;
        struct wire_message w;
        struct iovec iov = {.iov_base = &w, .iov_len = sizeof(w)};
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(4 * sizeof(int))];
        } control;
        struct msghdr mh = {
                        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
        _cleanup_close_ int body = -1;
        ssize_t n;

        n = recvmsg(fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n <= 0)
                return leave(f); /* the engine has gone, and nobody needs a front without it */
        body = take_body(&mh);
        if ((size_t)n == sizeof(w) && !(mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
                handle_message(f, &w, body);
        else if (front_may_log(f, LOG_BAD_ENGINE))
                log_warning("The engine sent a message of %zd bytes, ignoring", n);
        return f->stopping ? leave(f) : 0;
}

static int on_check(sd_event_source *s, uint64_t usec, void *userdata)
{
        struct front *f = userdata;

        int r;

        if (!f->listen_source && front_now(f) > f->started_at + PATIENCE_USEC) {
                r = let_clients_in(f);
                if (r < 0)
                        return r;
        }
        pending_expire(f, front_now(f));
        /* idle clients: the post source runs after every event, this one included */
        return sd_event_source_set_time(s, front_now(f) + CHECK_INTERVAL_USEC);
}

static int start(struct front *f)
{
        sd_event_source *engine = NULL, *check = NULL;
        int r;

        r = sd_event_new(&f->event);
        if (r < 0)
                return r;
        r = sd_event_add_io(f->event, &engine, f->engine_fd, EPOLLIN, on_engine, f);
        if (r < 0)
                return r;
        /* no flood of clients may keep news waiting */
        r = sd_event_source_set_priority(engine, SD_EVENT_PRIORITY_IMPORTANT);
        sd_event_source_set_floating(engine, true);
        sd_event_source_unref(engine);
        if (r < 0)
                return r;
        r = sd_event_add_time(f->event, &check, CLOCK_MONOTONIC, 0, 100 * USEC_PER_MSEC, on_check, f);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(check, SD_EVENT_ON);
        sd_event_source_set_floating(check, true);
        sd_event_source_unref(check);
        if (r < 0)
                return r;
        f->started_at = front_now(f);
        return 0;
}

static void front_done(struct front *f)
{
        pending_free_all(f);
        clients_free_all(f);
        system_bus_stop(f);
        news_done(f);
        explain_done(f);
        snapshot_done(&f->snapshot);
        history_done(&f->history);
        sd_event_source_disable_unref(f->listen_source);
        sd_event_source_disable_unref(f->resume_source);
        sd_event_unref(f->event);
}

int front_run(int engine_fd, int listen_fd)
{
        struct front f = {.engine_fd = engine_fd, .listen_fd = listen_fd};
        int r;

        f.snapshot.header.host =
                        (struct host_memory){SIZE_UNKNOWN, SIZE_UNKNOWN, SIZE_UNKNOWN, SIZE_UNKNOWN, SIZE_UNKNOWN, 0};
        r = start(&f);
        if (r >= 0)
                r = sd_event_loop(f.event);
        if (r < 0)
                log_error("The front cannot go on: %s", strerror(-r));
        front_done(&f);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
