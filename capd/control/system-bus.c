/* SPDX-License-Identifier: MIT */
/*
 * system-bus.c: the connection to the system bus, where the objects are served under the name org.capd1.
 *
 * Nothing here waits for the bus. One that is missing, goes away or does not give the name is tried again with growing pauses,
 * and the private socket is served all the while: its clients come first, because the bus is read at a lower priority, not
 * while its clients have used more than their share of the CPU, and not answered while it does not take what was said before. A
 * message bus has one connection for all of its clients, so these limits are for all of them together.
 *
 * The connection is only ever closed from outside its own callbacks: by on_post() or at the end.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "capd/base/log.h"
#include "capd/base/sys.h"
#include "capd/base/text.h"
#include "capd/bus.h"
#include "internal.h"

#define DEFAULT_ADDRESS "unix:path=/run/dbus/system_bus_socket"
#define DRIVER          "org.freedesktop.DBus"
#define PRIORITY        (SD_EVENT_PRIORITY_NORMAL + 10)
#define RETRY_MIN_USEC  (1 * USEC_PER_SEC)
/* Clients may run ahead of their share by this much. */
#define BURST_USEC (1 * USEC_PER_SEC)

/* Says what is wrong, once for as long as it is the same. */
static void trouble(struct system_bus *b, const char *text)
{
        if (strcmp(b->said, text) == 0)
                return;
        text_copy(b->said, sizeof(b->said), text);
        log_notice("%s; trying again, and serving the private socket meanwhile", text);
}

sd_bus *system_bus_audience(struct front *f)
{
        const struct system_bus *b = &f->system_bus;

        return b->bus && b->owned && !b->failed ? b->bus : NULL;
}

void system_bus_fail(struct front *f, const char *why)
{
        char text[sizeof(f->system_bus.said)];

        snprintf(text, sizeof(text), "The system bus cannot be used: %s", why);
        trouble(&f->system_bus, text);
        f->system_bus.failed = true;
}

/* -- the name -- */

static int on_name(sd_bus_message *reply, void *userdata, sd_bus_error *unused)
{
        struct front *f = userdata;
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        uint32_t outcome = 0;

        if (sd_bus_message_is_method_error(reply, NULL)) {
                char text[200], escaped[200];

                snprintf(text, sizeof(text), "it does not give the name " BUS_NAME " (%s)",
                         e->message ? e->message : e->name);
                text_escape(escaped, sizeof(escaped), text, strlen(text));
                system_bus_fail(f, escaped);
                return 1;
        }
        /* 2: somebody has it, and it comes to whoever stands in line when it is free */
        if (sd_bus_message_read(reply, "u", &outcome) >= 0 && outcome == 2)
                trouble(&f->system_bus, "Somebody else has the name " BUS_NAME " on the system bus");
        return 1;
}

static void take_name(struct front *f)
{
        struct system_bus *b = &f->system_bus;

        if (!b->owned)
                log_info("Serving " BUS_NAME " on the system bus");
        b->owned = true;
        b->wait = 0;
        b->said[0] = '\0';
}

/* What the bus itself says. Nobody else can have these senders. */
static void hear_bus(struct front *f, sd_bus_message *m)
{
        const char *name;
        int r;

        if (sd_bus_message_is_signal(m, "org.freedesktop.DBus.Local", "Connected") > 0) {
                r = sd_bus_request_name_async(sd_bus_message_get_bus(m), NULL, BUS_NAME, SD_BUS_NAME_QUEUE, on_name, f);
                if (r < 0)
                        system_bus_fail(f, strerror(-r));
        } else if (sd_bus_message_has_signature(m, "s") > 0 && sd_bus_message_read(m, "s", &name) > 0) {
                if (strcmp(name, BUS_NAME) == 0 && sd_bus_message_is_signal(m, DRIVER, "NameAcquired") > 0)
                        take_name(f);
                else if (strcmp(name, BUS_NAME) == 0 && sd_bus_message_is_signal(m, DRIVER, "NameLost") > 0)
                        f->system_bus.owned = false;
                sd_bus_message_rewind(m, true);
        }
}

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct front *f = userdata;
        const char *sender = sd_bus_message_get_sender(m);
        uint64_t unread = 0;

        if (sender && sd_bus_message_is_signal(m, NULL, NULL) > 0 &&
            (strcmp(sender, DRIVER) == 0 || strcmp(sender, DRIVER ".Local") == 0))
                hear_bus(f, m);
        if (sd_bus_message_is_method_call(m, NULL, NULL) <= 0)
                return 0;
        f->system_bus.served = true;
        /* no answer would get through to say so either */
        return sd_bus_get_n_queued_write(sd_bus_message_get_bus(m), &unread) >= 0 && unread > LIMIT_BUS_UNREAD;
}

/* -- coming and going -- */

static int open_bus(struct front *f, sd_bus **ret)
{
        const char *address = secure_getenv("DBUS_SYSTEM_BUS_ADDRESS");
        _cleanup_(sd_bus_close_unrefp) sd_bus *bus = NULL;
        int r;

        r = sd_bus_new(&bus);
        if (r < 0)
                return r;
        if ((r = sd_bus_set_address(bus, address && *address ? address : DEFAULT_ADDRESS)) < 0 ||
            (r = sd_bus_set_bus_client(bus, true)) < 0 || (r = sd_bus_set_connected_signal(bus, true)) < 0 ||
            (r = sd_bus_set_exit_on_disconnect(bus, false)) < 0 || (r = sd_bus_negotiate_fds(bus, false)) < 0 ||
            (r = sd_bus_add_filter(bus, NULL, on_message, f)) < 0 || (r = bus_objects_add(f, bus)) < 0 ||
            (r = sd_bus_start(bus)) < 0 || (r = sd_bus_attach_event(bus, f->event, PRIORITY)) < 0)
                return r;
        *ret = TAKE_PTR(bus);
        return 0;
}

static void arm(sd_event_source *timer, usec_t wait)
{
        if (sd_event_source_set_time_relative(timer, wait) < 0 ||
            sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT) < 0)
                log_warning("Cannot set a timer: the system bus is not tried again");
}

static void try_later(struct front *f)
{
        struct system_bus *b = &f->system_bus;

        b->wait = b->wait == 0 ? RETRY_MIN_USEC : MIN(b->wait * 2, LIMIT_BUS_RETRY_USEC);
        arm(b->retry, b->wait);
}

static void connect_bus(struct front *f)
{
        struct system_bus *b = &f->system_bus;
        char text[sizeof(b->said)];
        int r = open_bus(f, &b->bus);

        b->attached = r >= 0;
        b->owned = b->failed = b->served = false;
        b->debt = 0;
        if (r >= 0)
                return;
        snprintf(text, sizeof(text), "There is no system bus (%s)", strerror(-r));
        trouble(b, text);
        try_later(f);
}

/* Never flushes: that would wait for the bus. */
static void disconnect(struct front *f)
{
        struct system_bus *b = &f->system_bus;

        if (!b->bus)
                return;
        request_forget_bus(f);
        pending_forget_bus(f, b->bus);
        sd_bus_detach_event(b->bus);
        sd_bus_close_unref(TAKE_PTR(b->bus));
        b->owned = b->attached = false;
        sd_event_source_set_enabled(b->resume, SD_EVENT_OFF);
}

static int on_retry(sd_event_source *s, uint64_t usec, void *userdata)
{
        connect_bus(userdata);
        return 0;
}

/* -- how much of the CPU its clients have used -- */

static int on_resume(sd_event_source *s, uint64_t usec, void *userdata)
{
        struct front *f = userdata;
        struct system_bus *b = &f->system_bus;

        if (!b->bus || b->attached)
                return 0;
        b->attached = sd_bus_attach_event(b->bus, f->event, PRIORITY) >= 0;
        if (!b->attached)
                system_bus_fail(f, "it cannot be read any more");
        return 0;
}

/* All that the loop has done since the last event counts as the work for a request if there was one. */
static void account(struct front *f)
{
        struct system_bus *b = &f->system_bus;
        usec_t cpu = clock_usec(CLOCK_THREAD_CPUTIME_ID), now = front_now(f);
        usec_t paid = (now - b->debt_at) / 10000 * LIMIT_BUS_CPU_BASIS_POINTS;

        if (b->served) {
                b->debt = b->debt - MIN(paid, b->debt) + (cpu - b->cpu_at);
                b->debt_at = now;
        }
        b->served = false;
        b->cpu_at = cpu;
        if (b->debt <= BURST_USEC || !b->attached || b->failed)
                return;
        if (front_may_log(f, LOG_BUS_BUSY))
                log_notice("Clients on the system bus ask for more than their share of CPU time; they have to wait");
        sd_bus_detach_event(b->bus);
        b->attached = false;
        arm(b->resume, (b->debt - BURST_USEC / 2) / LIMIT_BUS_CPU_BASIS_POINTS * 10000);
}

static int on_post(sd_event_source *s, void *userdata)
{
        struct front *f = userdata;
        struct system_bus *b = &f->system_bus;

        if (!b->bus)
                return 0;
        account(f);
        if (!b->failed && sd_bus_is_open(b->bus) <= 0)
                system_bus_fail(f, b->owned ? "it has gone" : "it does not let capd in");
        if (b->failed) {
                disconnect(f);
                try_later(f);
        }
        return 0;
}

static int add_timer(struct front *f, sd_event_source **ret, sd_event_time_handler_t handler)
{
        int r = sd_event_add_time(f->event, ret, CLOCK_MONOTONIC, 0, 0, handler, f);

        return r < 0 ? r : sd_event_source_set_enabled(*ret, SD_EVENT_OFF);
}

int system_bus_start(struct front *f)
{
        struct system_bus *b = &f->system_bus;
        int r;

        if ((r = add_timer(f, &b->retry, on_retry)) < 0 || (r = add_timer(f, &b->resume, on_resume)) < 0 ||
            (r = sd_event_add_post(f->event, &b->post, on_post, f)) < 0)
                return r;
        connect_bus(f);
        return 0;
}

void system_bus_stop(struct front *f)
{
        struct system_bus *b = &f->system_bus;

        disconnect(f);
        b->retry = sd_event_source_disable_unref(b->retry);
        b->resume = sd_event_source_disable_unref(b->resume);
        b->post = sd_event_source_disable_unref(b->post);
}
