/* SPDX-License-Identifier: MIT */
/*
 * client.c: capctl's side of the control socket.
 *
 * Plain D-Bus over a private socket, without a message bus. Whatever goes wrong is said here, once, in a line that names
 * what to do; callers pass the exit status on.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "capd/base/text.h"
#include "capd/bus.h"
#include "ctl.h"

/* Longer than the front gives the engine, so that it is the front that says what is wrong. */
#define CALL_TIMEOUT_USEC (LIMIT_COMMAND_USEC + 5 * USEC_PER_SEC)
/* A front that was ended is there again within a second. */
#define CONNECT_TRIES      20U
#define CONNECT_PAUSE_USEC 100000U

void pause_for(usec_t t)
{
        struct timespec ts = {.tv_sec = (time_t)(t / USEC_PER_SEC), .tv_nsec = (long)(t % USEC_PER_SEC) * 1000};

        nanosleep(&ts, NULL);
}

static int connect_failed(const struct arguments *a, const char *path, int error)
{
        bool standard = strcmp(a->runtime_directory, DEFAULT_RUNTIME_DIRECTORY) == 0;

        if (error == EACCES || error == EPERM)
                return failed("no permission to reach capd at %s: ask as root", path);
        if (error == ENOENT || error == ECONNREFUSED || error == ENOTDIR) {
                if (standard)
                        (void)failed("capd is not running: %s",
                                     access("/run/systemd/system", F_OK) == 0
                                                     ? "'systemctl start capd' starts it, 'journalctl -u capd' says "
                                                       "why "
                                                       "it stopped"
                                                     : "'capd' as root starts it; 'capctl measure' works without it");
                else
                        (void)failed("capd is not running with --runtime-directory %s", a->runtime_directory);
                return EXIT_NO_DAEMON;
        }
        return failed("cannot reach capd at %s: %s", path, strerror(error));
}

/* Connects here and not in sd-bus: it would say only after the first call that nobody listens. */
static int connect_socket(const struct arguments *a, int *ret)
{
        struct sockaddr_un sa = {.sun_family = AF_UNIX};
        int error = 0;

        if ((size_t)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/" CONTROL_SOCKET, a->runtime_directory) >=
            sizeof(sa.sun_path))
                return failed("the name of the runtime directory is too long");
        for (unsigned i = 0; i < CONNECT_TRIES; i++) {
                _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

                if (fd < 0)
                        return failed("no socket: %m");
                if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0) {
                        *ret = TAKE_FD(fd);
                        return 0;
                }
                error = errno;
                if (error != EAGAIN) /* the backlog is full for a moment */
                        break;
                usleep(CONNECT_PAUSE_USEC);
        }
        return connect_failed(a, sa.sun_path, error);
}

/* Takes fd over. */
static int start_bus(int socket_fd, sd_bus **ret)
{
        _cleanup_(sd_bus_unrefp) sd_bus *bus = NULL;
        _cleanup_close_ int fd = socket_fd;
        int r;

        r = sd_bus_new(&bus);
        if (r < 0)
                return r;
        r = sd_bus_negotiate_fds(bus, false);
        if (r < 0)
                return r;
        r = sd_bus_set_fd(bus, fd, fd);
        if (r < 0)
                return r;
        TAKE_FD(fd);
        r = sd_bus_start(bus);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(bus);
        return 0;
}

/* sd-bus waits for the end of the authentication without an end, so this is waited for here. */
static int wait_ready(sd_bus *bus)
{
        usec_t until = clock_usec(CLOCK_MONOTONIC) + CALL_TIMEOUT_USEC;
        int r;

        while ((r = sd_bus_is_ready(bus)) == 0) {
                usec_t now = clock_usec(CLOCK_MONOTONIC);

                if (now >= until)
                        return -ETIMEDOUT;
                r = sd_bus_process(bus, NULL);
                if (r == 0)
                        r = sd_bus_wait(bus, until - now);
                if (r < 0)
                        return r;
        }
        return r;
}

/* A first call shows that somebody serves: a front that is full closes the connection, one that was ended does too. */
static int ping(sd_bus *bus)
{
        int r = wait_ready(bus);

        return r < 0 ? r
                     : sd_bus_call_method(bus, NULL, BUS_PATH, "org.freedesktop.DBus.Peer", "Ping", NULL, NULL, NULL);
}

int client_open(const struct arguments *a, sd_bus **ret)
{
        int r = 0;

        for (unsigned i = 0; i < CONNECT_TRIES; i++) {
                _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
                int fd = -1, status;

                status = connect_socket(a, &fd);
                if (status != 0)
                        return status;
                r = start_bus(fd, &bus);
                if (r >= 0)
                        r = ping(bus);
                if (r >= 0) {
                        *ret = TAKE_PTR(bus);
                        return 0;
                }
                if (r != -ECONNRESET && r != -ENOTCONN && r != -EPIPE)
                        break;
                usleep(CONNECT_PAUSE_USEC);
        }
        if (r == -ETIMEDOUT)
                return failed("capd does not answer; see its log: journalctl -u capd");
        return failed("capd closes the connection (%s): too many may be open; try again", strerror(-r));
}

/* -- calls -- */

/* The object that was called is the group's, and named after it. */
static int no_such_group(sd_bus_message *m)
{
        _cleanup_free_ char *name = NULL;
        char text[LIMIT_GROUP_NAME_BYTES];

        if (sd_bus_path_decode(sd_bus_message_get_path(m), BUS_GROUP_PREFIX, &name) <= 0)
                return failed("no such group; 'capctl status' lists them");
        text_escape(text, sizeof(text), name, strlen(name));
        return failed("no such group: %s; 'capctl status' lists them", text);
}

static int call_failed(sd_bus_message *m, const sd_bus_error *error, int r)
{
        /* problems of a configuration come line by line, and say themselves where they are */
        if (sd_bus_error_has_name(error, BUS_ERROR_BAD_CONFIG)) {
                size_t len = strlen(error->message);

                fflush(stdout);
                fprintf(stderr, "%s%s", error->message, len > 0 && error->message[len - 1] == '\n' ? "" : "\n");
                return failed("the configuration was not taken; the one before stays in force");
        }
        if (sd_bus_error_has_name(error, SD_BUS_ERROR_UNKNOWN_OBJECT))
                return no_such_group(m);
        if (sd_bus_error_has_name(error, BUS_ERROR_NO_SUCH_GROUP) && error->message)
                return failed("%s; 'capctl status' lists them", error->message);
        if (r == -ETIMEDOUT || sd_bus_error_has_name(error, SD_BUS_ERROR_NO_REPLY))
                return failed("capd does not answer; see its log: journalctl -u capd");
        if (r == -ECONNRESET || r == -ENOTCONN || r == -EPIPE)
                return failed("capd closed the connection; try again");
        return failed("%s", error->message ? error->message : strerror(-r));
}

static int new_call(sd_bus *bus, const char *path, const char *interface, const char *method, sd_bus_message **ret)
{
        return sd_bus_message_new_method_call(bus, ret, NULL, path, interface, method);
}

static int call(sd_bus *bus, sd_bus_message *m, sd_bus_message **ret)
{
        sd_bus_error error = SD_BUS_ERROR_NULL;
        int r, status = 0;

        r = sd_bus_call(bus, m, CALL_TIMEOUT_USEC, &error, ret);
        if (r < 0)
                status = call_failed(m, &error, r);
        sd_bus_error_free(&error);
        return status;
}

static int garbled(int r)
{
        return failed("capd answered what capctl %s does not understand (%s); are they of the same version?",
                      CAPD_VERSION, strerror(-r));
}

int client_command(sd_bus *bus, char **ret_text, const char *method, const char *types, ...)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        const char *text;
        va_list ap;
        int r;

        r = new_call(bus, BUS_PATH, BUS_MANAGER_INTERFACE, method, &m);
        if (r < 0)
                return out_of_memory();
        va_start(ap, types);
        r = sd_bus_message_appendv(m, types, ap);
        va_end(ap);
        if (r < 0) /* D-Bus takes valid UTF-8 only, and so do names of groups */
                return failed("no such group; 'capctl status' lists them");
        r = call(bus, m, &reply);
        if (r != 0)
                return r;
        r = sd_bus_message_read(reply, "s", &text);
        if (r < 0)
                return garbled(r);
        *ret_text = strdup(text);
        return *ret_text ? 0 : out_of_memory();
}

/* -- groups -- */

void groups_done(struct groups *g)
{
        free(g->items);
        *g = (struct groups){0};
}

static int by_name(const void *a, const void *b)
{
        return strverscmp(((const struct wire_group *)a)->name, ((const struct wire_group *)b)->name);
}

static struct wire_group *groups_add(struct groups *g)
{
        if ((g->n & (g->n - 1)) == 0) { /* at each power of two */
                struct wire_group *items = reallocarray(g->items, g->n ? 2 * g->n : 1, sizeof(*items));

                if (!items)
                        return NULL;
                g->items = items;
        }
        g->items[g->n] = (struct wire_group){0};
        return &g->items[g->n++];
}

/* One object of GetManagedObjects: path and interfaces. */
static int read_object(sd_bus_message *m, struct groups *groups)
{
        const char *path, *interface;
        int r;

        r = sd_bus_message_read(m, "o", &path);
        if (r < 0)
                return r;
        r = sd_bus_message_enter_container(m, 'a', "{sa{sv}}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(m, 'e', "sa{sv}")) > 0) {
                r = sd_bus_message_read(m, "s", &interface);
                if (r < 0)
                        return r;
                if (strcmp(interface, BUS_GROUP_INTERFACE) == 0) {
                        struct wire_group *g = groups_add(groups);

                        r = g ? figures_read_group(m, g) : -ENOMEM;
                } else
                        r = sd_bus_message_skip(m, "a{sv}");
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

int client_groups(sd_bus *bus, struct groups *ret)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_(groups_done) struct groups groups = {0};
        int r;

        r = new_call(bus, BUS_PATH, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", &m);
        if (r < 0)
                return out_of_memory();
        r = call(bus, m, &reply);
        if (r != 0)
                return r;
        r = sd_bus_message_enter_container(reply, 'a', "{oa{sa{sv}}}");
        while (r >= 0 && (r = sd_bus_message_enter_container(reply, 'e', "oa{sa{sv}}")) > 0) {
                r = read_object(reply, &groups);
                if (r >= 0)
                        r = sd_bus_message_exit_container(reply);
        }
        if (r < 0)
                return garbled(r);
        if (groups.n > 0)
                qsort(groups.items, groups.n, sizeof(*groups.items), by_name);
        *ret = groups;
        groups = (struct groups){0};
        return 0;
}

/* -- history -- */

static enum group_state state_of(const char *text)
{
        for (unsigned s = 0; s < _STATE_MAX; s++)
                if (strcmp(text, group_state_to_string((enum group_state)s)) == 0)
                        return (enum group_state)s;
        return STATE_UNKNOWN;
}

static enum quality quality_of(const char *text)
{
        for (unsigned q = 0; q < _QUALITY_MAX; q++)
                if (strcmp(text, quality_to_string((enum quality)q)) == 0)
                        return (enum quality)q;
        return QUALITY_UNKNOWN;
}

/* 1, or 0 at the end of the list. */
static int read_row(sd_bus_message *m, struct history_row *ret)
{
        struct history_row row = {0};
        const char *state, *quality;
        uint64_t until;
        int r;

        r = sd_bus_message_read(m, "(tttttttttss)", &row.at, &until, &row.sample.resident, &row.sample.rss_sum,
                                &row.cap, &row.watermark, &row.paged_out, &row.refaulted, &row.freed, &state, &quality);
        if (r <= 0)
                return r;
        row.span = until > row.at ? until - row.at : 0;
        row.state = state_of(state);
        row.sample.quality = quality_of(quality);
        *ret = row;
        return 1;
}

static int read_history(sd_bus_message *m, struct history_row **ret, size_t *ret_n)
{
        _cleanup_free_ struct history_row *rows = NULL;
        struct history_row row;
        size_t n = 0;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "(tttttttttss)");
        while (r >= 0 && (r = read_row(m, &row)) > 0) {
                if ((n & (n - 1)) == 0) {
                        struct history_row *more = reallocarray(rows, n ? 2 * n : 1, sizeof(*rows));

                        if (!more)
                                return -ENOMEM;
                        rows = more;
                }
                rows[n++] = row;
        }
        if (r < 0)
                return r;
        *ret = TAKE_PTR(rows);
        *ret_n = n;
        return 0;
}

static int call_history(sd_bus *bus, const char *group, usec_t age, uint32_t max, sd_bus_message **ret)
{
        int r = new_call(bus, BUS_PATH, BUS_MANAGER_INTERFACE, "GetHistory", ret);

        return r < 0 ? r : sd_bus_message_append(*ret, "stu", group, age, max);
}

int client_try_history(sd_bus *bus, const char *group, usec_t age, uint32_t max, struct history_row **ret,
                       size_t *ret_n)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        int r = call_history(bus, group, age, max, &m);

        if (r >= 0)
                r = sd_bus_call(bus, m, CALL_TIMEOUT_USEC, NULL, &reply);
        return r < 0 ? r : read_history(reply, ret, ret_n);
}

int client_history(sd_bus *bus, const char *group, usec_t age, uint32_t max, struct history_row **ret, size_t *ret_n)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        int r = call_history(bus, group, age, max, &m);

        if (r == -EINVAL) /* D-Bus takes valid UTF-8 only, and so do names of groups */
                return failed("no such group; 'capctl status' lists them");
        if (r < 0)
                return out_of_memory();
        r = call(bus, m, &reply);
        if (r != 0)
                return r;
        r = read_history(reply, ret, ret_n);
        return r < 0 ? garbled(r) : 0;
}

/* -- the host -- */

void host_done(struct host *h)
{
        free(h->warnings);
        *h = (struct host){0};
}

/* Properties that are no part of struct wire_snapshot. */
static int read_others(sd_bus *bus, struct host *h)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *line;
        int r, responding = 0;

        r = sd_bus_get_property_trivial(bus, NULL, BUS_PATH, BUS_MANAGER_INTERFACE, "SnapshotAgeUSec", NULL, 't',
                                        &h->age);
        if (r >= 0)
                r = sd_bus_get_property_trivial(bus, NULL, BUS_PATH, BUS_MANAGER_INTERFACE, "EngineResponding", NULL,
                                                'b', &responding);
        if (r >= 0)
                r = sd_bus_get_property(bus, NULL, BUS_PATH, BUS_MANAGER_INTERFACE, "Warnings", NULL, &reply, "as");
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "s");
        while (r >= 0 && (r = sd_bus_message_read(reply, "s", &line)) > 0) {
                char *joined;

                if (asprintf(&joined, "%s%s\n", h->warnings ? h->warnings : "", line) < 0)
                        return -ENOMEM;
                free(h->warnings);
                h->warnings = joined;
        }
        h->responding = responding;
        return r;
}

int client_host(sd_bus *bus, struct host *ret)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_(host_done) struct host h = {0};
        int r;

        r = new_call(bus, BUS_PATH, "org.freedesktop.DBus.Properties", "GetAll", &m);
        if (r >= 0)
                r = sd_bus_message_append(m, "s", BUS_MANAGER_INTERFACE);
        if (r < 0)
                return out_of_memory();
        r = call(bus, m, &reply);
        if (r != 0)
                return r;
        r = figures_read_host(reply, &h.figures);
        if (r >= 0)
                r = read_others(bus, &h);
        if (r < 0)
                return garbled(r);
        *ret = h;
        h = (struct host){0};
        return 0;
}

/* -- explain -- */

static int read_processes(sd_bus_message *m, struct wire_process **ret, size_t *ret_n)
{
        _cleanup_free_ struct wire_process *items = NULL;
        size_t n = 0;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "a{sv}");
        while (r >= 0 && (r = sd_bus_message_at_end(m, false)) == 0) {
                if ((n & (n - 1)) == 0) {
                        struct wire_process *more = reallocarray(items, n ? 2 * n : 1, sizeof(*items));

                        if (!more)
                                return -ENOMEM;
                        items = more;
                }
                items[n] = (struct wire_process){0};
                r = figures_read_process(m, &items[n++]);
        }
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(items);
        *ret_n = n;
        return 0;
}

int client_explain(sd_bus *bus, const char *group, struct wire_detail *ret, struct wire_process **ret_processes,
                   size_t *ret_n)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_free_ struct wire_process *processes = NULL;
        _cleanup_free_ char *path = NULL;
        struct wire_detail d = {0};
        size_t n = 0;
        int r;

        r = sd_bus_path_encode(BUS_GROUP_PREFIX, group, &path);
        if (r >= 0)
                r = new_call(bus, path, BUS_GROUP_INTERFACE, "Explain", &m);
        if (r < 0)
                return out_of_memory();
        r = call(bus, m, &reply);
        if (r != 0)
                return r;
        r = figures_read_group(reply, &d.group);
        if (r >= 0)
                r = read_processes(reply, &processes, &n);
        if (r >= 0)
                r = figures_read_books(reply, &d.books);
        if (r < 0)
                return garbled(r);
        *ret = d;
        if (ret_processes) {
                *ret_processes = TAKE_PTR(processes);
                *ret_n = n;
        }
        return 0;
}
