/* SPDX-License-Identifier: MIT */
/*
 * clients.c: connections to the control socket.
 *
 * Who a client is, the kernel said when it connected (SO_PEERCRED); the authentication that D-Bus begins with is
 * played along with and proves nothing. sd-bus does not read the client's socket: it reads one end of a socket pair, into the other
 * end of which the gate writes one message at a time. It writes to the client itself. So a client costs at most one
 * message, one answer and what the kernel buffers, however fast it sends and however slowly it reads.
 *
 * A client is only ever freed by on_post(), never from within a callback of its own bus.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "capd/base/log.h"
#include "capd/base/sys.h"
#include "capd/bus.h"
#include "internal.h"

/* Descriptors a client takes: its socket, a duplicate for sd-bus to write to, and the socket pair. */
#define FDS_PER_CLIENT 4U
/* The loop's own descriptors, and those of messages from the engine. */
#define FDS_RESERVED 64U

struct client {
        struct client *next;
        struct front *front;
        uid_t uid;
        pid_t pid;
        int fd, gate_fd;
        sd_event_source *source;
        sd_bus *bus;
        struct gate gate;
        bool in_flight; /* the gate let something through that has not been answered and read yet */
        bool reading;   /* the event source is on */
        bool dead;
        usec_t active_at;    /* last whole message */
        usec_t unread_since; /* an answer waits to be read since then; 0 none does */
};

/* Never flushes: sd_bus_flush() waits for the client, be it for the end of its authentication. What could be written
 * without waiting has been. */
static struct client *client_free(struct client *c)
{
        if (!c)
                return NULL;
        sd_event_source_disable_unref(c->source);
        if (c->bus) {
                pending_forget_bus(c->front, c->bus);
                sd_bus_detach_event(c->bus);
                sd_bus_close_unref(c->bus);
        }
        close_fd(c->fd);
        close_fd(c->gate_fd);
        free(c);
        return NULL;
}
DEFINE_CLEANUP(struct client *, client_free)

void clients_free_all(struct front *f)
{
        while (f->clients) {
                struct client *c = f->clients;

                f->clients = c->next;
                f->n_clients--;
                client_free(c);
        }
}

int client_credentials(struct front *f, sd_bus_message *m, struct caller *ret)
{
        sd_bus *bus = sd_bus_message_get_bus(m);

        for (const struct client *c = f->clients; c; c = c->next)
                if (c->bus == bus) {
                        *ret = (struct caller){.uid = c->uid, .pid = c->pid};
                        return 0;
                }
        return -ENOTCONN;
}

/* -- what goes in -- */

static void client_drop(struct client *c, const char *why)
{
        if (!c->dead && why && front_may_log(c->front, LOG_DROPPED))
                log_notice("Closed the connection of PID %d of user %u: it %s", (int)c->pid, (unsigned)c->uid, why);
        c->dead = true;
}

/* Answers of other clients that wait to be read, of this user and of all but root. */
static bool replies_have_room(const struct client *client)
{
        unsigned mine = 0, all = 0;

        if (client->uid == 0)
                return true;
        for (const struct client *c = client->front->clients; c; c = c->next)
                if (c->unread_since != 0 && c->uid != 0) {
                        all++;
                        mine += c->uid == client->uid;
                }
        return mine < LIMIT_UNREAD_REPLIES_PER_USER && all < LIMIT_UNREAD_REPLIES;
}

/* Lets the next message through if there is one. */
static void client_feed(struct client *c)
{
        bool begin;
        ssize_t n;

        n = gate_ready(&c->gate, &begin);
        if (n == -EMSGSIZE)
                return client_drop(c, "sent more than a request can have");
        if (n < 0)
                return client_drop(c, "does not speak D-Bus");
        if (n == 0 || (c->gate.begun && (sd_bus_is_ready(c->bus) <= 0 || !replies_have_room(c))))
                return;
        /* the pair's buffer is empty, and larger than the gate's: all of it fits */
        if (send(c->gate_fd, c->gate.buf, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) != n)
                return client_drop(c, NULL);
        gate_consume(&c->gate, (size_t)n, begin);
        c->in_flight = true;
        c->active_at = front_now(c->front);
}

static void client_listen(struct client *c)
{
        bool want = !c->in_flight && c->gate.len < sizeof(c->gate.buf);

        if (want != c->reading && sd_event_source_set_io_events(c->source, want ? EPOLLIN : 0) < 0)
                return client_drop(c, NULL);
        c->reading = want;
}

static int on_client(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
        struct client *c = userdata;
        ssize_t n;

        if (c->dead)
                return 0;
        if (!c->reading || c->gate.len == sizeof(c->gate.buf)) {
                if (revents & (EPOLLHUP | EPOLLERR))
                        client_drop(c, NULL);
                return 0;
        }
        /* recv() without room for control data: descriptors that a client passes are closed by the kernel */
        n = recv(c->fd, c->gate.buf + c->gate.len, sizeof(c->gate.buf) - c->gate.len, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n <= 0) {
                client_drop(c, NULL);
                return 0;
        }
        c->gate.len += (size_t)n;
        client_feed(c);
        client_listen(c);
        return 0;
}

/* -- what comes out, and how long it may take -- */

/* What the gate let through has been handled, and the answer has left. */
static bool client_settled(struct client *c, usec_t now)
{
        uint64_t queued_in, queued_out;
        int unread;

        if (sd_bus_get_n_queued_read(c->bus, &queued_in) < 0 || sd_bus_get_n_queued_write(c->bus, &queued_out) < 0 ||
            ioctl(c->gate_fd, SIOCOUTQ, &unread) < 0) {
                client_drop(c, NULL);
                return false;
        }
        if (queued_out == 0)
                c->unread_since = 0;
        else if (c->unread_since == 0)
                c->unread_since = now;
        if (queued_out > LIMIT_CLIENT_QUEUE)
                client_drop(c, "does not read its messages");
        return queued_in == 0 && queued_out == 0 && unread == 0;
}

static void client_check(struct client *c, usec_t now)
{
        if (sd_bus_is_open(c->bus) <= 0)
                return client_drop(c, NULL);
        c->in_flight = !client_settled(c, now) && c->in_flight;
        if (c->dead)
                return;
        if (!c->in_flight && c->unread_since == 0) {
                client_feed(c);
                client_listen(c);
        }
        if (c->unread_since != 0 && now >= c->unread_since + LIMIT_CLIENT_STALL_USEC)
                client_drop(c, "does not read its messages");
        else if (now >= c->active_at + LIMIT_CLIENT_IDLE_USEC)
                client_drop(c, NULL);
}

static int on_post(sd_event_source *s, void *userdata)
{
        struct front *f = userdata;
        usec_t now = front_now(f);

        for (struct client **at = &f->clients; *at;) {
                struct client *c = *at;

                if (!c->dead)
                        client_check(c, now);
                if (c->dead) {
                        *at = c->next;
                        f->n_clients--;
                        client_free(c);
                } else
                        at = &c->next;
        }
        return 0;
}

/* -- who comes in -- */

static bool may_enter(const struct front *f, uid_t uid)
{
        unsigned mine = 0, users = 0;

        if (f->n_clients >= f->max_clients)
                return false;
        if (uid == 0)
                return true;
        for (const struct client *c = f->clients; c; c = c->next) {
                mine += c->uid == uid;
                users += c->uid != 0;
        }
        return mine < LIMIT_CLIENTS_PER_USER && users + LIMIT_CLIENTS_FOR_ROOT < f->max_clients;
}

static int start_bus(struct client *c)
{
        int pair[2], r, out;
        sd_id128_t id;

        r = sd_bus_new(&c->bus);
        if (r < 0)
                return r;
        r = sd_id128_randomize(&id);
        if (r < 0)
                return r;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
                return -errno;
        c->gate_fd = pair[1];
        /* epoll wants a descriptor of its own for each of the two who watch it */
        out = fcntl(c->fd, F_DUPFD_CLOEXEC, 3);
        r = out < 0 ? -errno : sd_bus_set_fd(c->bus, pair[0], out);
        if (r < 0) {
                close_fd(pair[0]);
                close_fd(out);
                return r;
        }
        /* the peer of the pair is ourselves, so sd-bus cannot know who it is: see above */
        if ((r = sd_bus_set_anonymous(c->bus, true)) < 0 || (r = sd_bus_set_server(c->bus, true, id)) < 0 ||
            (r = sd_bus_negotiate_fds(c->bus, false)) < 0 || (r = sd_bus_set_sender(c->bus, BUS_NAME)) < 0 ||
            (r = sd_bus_set_exit_on_disconnect(c->bus, false)) < 0 || (r = bus_objects_add(c->front, c->bus)) < 0 ||
            (r = bus_objects_add_peer(c->front, c->bus)) < 0 || (r = sd_bus_start(c->bus)) < 0 ||
            (r = sd_bus_attach_event(c->bus, c->front->event, SD_EVENT_PRIORITY_NORMAL)) < 0)
                return r;
        return sd_event_add_io(c->front->event, &c->source, c->fd, EPOLLIN, on_client, c);
}

/* Takes fd over. */
static int client_new(struct front *f, int fd)
{
        _cleanup_(client_freep) struct client *c = NULL;
        struct ucred peer;
        socklen_t len = sizeof(peer);
        int r;

        c = calloc(1, sizeof(*c));
        if (!c) {
                close_fd(fd);
                return -ENOMEM;
        }
        c->front = f;
        c->fd = fd;
        c->gate_fd = -1;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
                return -errno;
        if (!may_enter(f, peer.uid)) {
                if (front_may_log(f, LOG_REFUSED))
                        log_notice("Refused a connection of PID %d of user %u: too many are open", (int)peer.pid,
                                   (unsigned)peer.uid);
                return 0;
        }
        c->uid = peer.uid;
        c->pid = peer.pid;
        c->active_at = front_now(f);
        c->reading = true;
        r = start_bus(c);
        if (r < 0)
                return r;
        c->next = f->clients;
        f->clients = TAKE_PTR(c);
        f->n_clients++;
        return 0;
}

static int on_resume(sd_event_source *s, uint64_t usec, void *userdata)
{
        struct front *f = userdata;

        return sd_event_source_set_enabled(f->listen_source, SD_EVENT_ON);
}

/* Out of descriptors or memory: whoever waits in the backlog would wake us for ever. */
static int accept_later(struct front *f)
{
        int r;

        if (front_may_log(f, LOG_NO_DESCRIPTORS))
                log_warning("Cannot accept a connection (%s), trying again every second", strerror(errno));
        r = sd_event_source_set_enabled(f->listen_source, SD_EVENT_OFF);
        if (r < 0)
                return r;
        r = sd_event_source_set_time(f->resume_source, front_now(f) + USEC_PER_SEC);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(f->resume_source, SD_EVENT_ONESHOT);
}

static int on_connection(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
        struct front *f = userdata;
        int nfd, r;

        nfd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (nfd < 0) {
                if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                        return accept_later(f);
                return 0; /* that client has gone again */
        }
        r = client_new(f, nfd);
        if (r < 0 && front_may_log(f, LOG_REFUSED))
                log_warning("Cannot serve a connection, ignoring: %s", strerror(-r));
        return 0;
}

static unsigned affordable_clients(void)
{
        struct rlimit l;
        rlim_t want = LIMIT_CLIENTS * FDS_PER_CLIENT + FDS_RESERVED;

        if (getrlimit(RLIMIT_NOFILE, &l) < 0)
                return 64;
        if (l.rlim_cur < want) {
                l.rlim_cur = MIN(want, l.rlim_max);
                (void)setrlimit(RLIMIT_NOFILE, &l);
                (void)getrlimit(RLIMIT_NOFILE, &l);
        }
        if (l.rlim_cur >= want)
                return LIMIT_CLIENTS;
        return MAX(1U, (unsigned)(l.rlim_cur - MIN(l.rlim_cur, (rlim_t)FDS_RESERVED)) / FDS_PER_CLIENT);
}

/* Listens. Errors that a client can cause are handled here and never end the loop. */
int clients_start(struct front *f)
{
        sd_event_source *post;
        int r;

        f->max_clients = affordable_clients();
        r = sd_event_add_io(f->event, &f->listen_source, f->listen_fd, EPOLLIN, on_connection, f);
        if (r < 0)
                return r;
        r = sd_event_add_time(f->event, &f->resume_source, CLOCK_MONOTONIC, 0, 0, on_resume, f);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(f->resume_source, SD_EVENT_OFF);
        if (r < 0)
                return r;
        r = sd_event_add_post(f->event, &post, on_post, f);
        if (r < 0)
                return r;
        return sd_event_source_set_floating(post, true) < 0 ? -ENOMEM : (sd_event_source_unref(post), 0);
}
