/* SPDX-License-Identifier: MIT */
/*
 * pending.c: commands that the engine has not answered yet.
 *
 * A pending command stays until its answer or LIMIT_COMMAND_USEC, also when its client has gone: what it costs the
 * engine does not go with the client. Its serial is never 0 and not reused while it is here.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "capd/base/log.h"
#include "capd/base/sys.h"
#include "capd/base/text.h"
#include "capd/bus.h"
#include "internal.h"

struct pending {
        struct pending *next;
        uint32_t serial;
        enum wire_verb verb;
        bool brief;
        uid_t uid;
        usec_t since;
        sd_bus_message *call; /* NULL: nobody waits any more */
};

static struct pending *pending_free(struct pending *p)
{
        if (p)
                sd_bus_message_unref(p->call);
        free(p);
        return NULL;
}

static void unlink_pending(struct front *f, struct pending *p)
{
        struct pending **at = &f->pending;

        while (*at != p)
                at = &(*at)->next;
        *at = p->next;
        f->n_pending--;
}

static bool user_has_room(const struct front *f, uid_t uid)
{
        unsigned mine = 0;

        for (const struct pending *p = f->pending; p; p = p->next)
                mine += p->uid == uid;
        return mine < LIMIT_PENDING_COMMANDS_PER_USER &&
               f->n_pending < LIMIT_PENDING_COMMANDS - LIMIT_PENDING_COMMANDS_FOR_ROOT;
}

static int busy(sd_bus_error *error)
{
        sd_bus_error_set(error, BUS_ERROR_BUSY, "too many requests are waiting for capd; try again in a moment");
        return -EBUSY;
}

static uint32_t next_serial(struct front *f)
{
        for (;;) {
                const struct pending *p = f->pending;
                uint32_t serial = ++f->last_serial;

                while (p && p->serial != serial)
                        p = p->next;
                if (serial != 0 && !p)
                        return serial;
        }
}

int pending_send(struct front *f, sd_bus_message *m, const struct caller *caller, const struct request *request,
                 sd_bus_error *error)
{
        struct wire_command c = {.magic = WIRE_MAGIC,
                                 .version = WIRE_VERSION,
                                 .verb = request->verb,
                                 .bytes = request->bytes,
                                 .duration = request->duration,
                                 .uid = caller->uid,
                                 .pid = caller->pid};
        struct pending *p;

        if (f->n_pending >= LIMIT_PENDING_COMMANDS || (caller->uid != 0 && !user_has_room(f, caller->uid)))
                return busy(error);
        p = calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        c.serial = p->serial = next_serial(f);
        text_copy(c.group, sizeof(c.group), request->group);
        if (send(f->engine_fd, &c, sizeof(c), MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)sizeof(c)) {
                pending_free(p);
                return busy(error); /* the channel is full, or closed: then the loop is about to see it */
        }
        p->verb = request->verb;
        p->brief = request->brief;
        p->uid = caller->uid;
        p->since = front_now(f);
        p->call = sd_bus_message_ref(m);
        p->next = f->pending;
        f->pending = p;
        f->n_pending++;
        return 1;
}

/* A body of text: problems or a configuration. NULL if there is none that can be used. */
static char *read_text(int fd, uint64_t size)
{
        char *text;

        if (fd < 0 || size == 0 || size > LIMIT_REPLY_TEXT_BYTES)
                return NULL;
        text = malloc(size + 1);
        if (!text)
                return NULL;
        if (read_exactly(fd, text, size, 0) < 0) {
                free(text);
                return NULL;
        }
        text[size] = '\0';
        /* D-Bus carries nothing but UTF-8 */
        if (!text_is_utf8(text, strlen(text)))
                for (char *s = text; *s; s++)
                        if ((unsigned char)*s >= 0x80)
                                *s = '?';
        return text;
}

static const char *error_name(int error)
{
        switch (-error) {
        case ENOENT:
                return BUS_ERROR_NO_SUCH_GROUP;
        case EBADMSG:
                return BUS_ERROR_BAD_CONFIG;
        case EBUSY:
        case EAGAIN:
                return BUS_ERROR_BUSY;
        case EINVAL:
        case ERANGE:
                return SD_BUS_ERROR_INVALID_ARGS;
        default:
                return BUS_ERROR_FAILED;
        }
}

static int answer(struct front *f, struct pending *p, const struct wire_message *w, int body_fd)
{
        _cleanup_free_ char *text = NULL;
        const char *line = w->text[0] ? w->text : w->error < 0 ? strerror(-w->error) : "";

        if (w->error < 0) {
                sd_bus_error e = SD_BUS_ERROR_NULL;
                int r;

                if (!p->call)
                        return 0;
                if (w->error == -EBADMSG)
                        text = read_text(body_fd, w->body_size);
                sd_bus_error_set(&e, error_name(w->error), text ? text : line);
                r = sd_bus_reply_method_error(p->call, &e);
                sd_bus_error_free(&e);
                return r;
        }
        if (p->verb == WIRE_EXPLAIN)
                return explain_answer(f, p->call, p->uid, p->brief, body_fd, w->body_size);
        if (!p->call)
                return 0;
        if (p->verb == WIRE_CONFIG) {
                text = read_text(body_fd, w->body_size);
                if (!text)
                        return sd_bus_reply_method_errorf(p->call, BUS_ERROR_FAILED,
                                                          "capd sent no configuration; see its log");
        }
        return sd_bus_reply_method_return(p->call, "s", text ? text : line);
}

void pending_reply(struct front *f, const struct wire_message *w, int body_fd)
{
        struct pending *p = f->pending;
        int r;

        while (p && p->serial != w->serial)
                p = p->next;
        if (!p)
                return; /* too late: its client has been told so */
        unlink_pending(f, p);
        r = answer(f, p, w, body_fd);
        if (r < 0) {
                log_debug("Cannot answer a client, ignoring: %s", strerror(-r));
                if (p->call) /* whatever could not be put into the answer, an error always fits */
                        (void)sd_bus_reply_method_errorf(p->call, BUS_ERROR_FAILED, "the answer cannot be sent: %s",
                                                         strerror(-r));
        }
        pending_free(p);
}

void pending_expire(struct front *f, usec_t now)
{
        struct pending *next;

        for (struct pending *p = f->pending; p; p = next) {
                next = p->next;
                if (now < p->since + LIMIT_COMMAND_USEC)
                        continue;
                unlink_pending(f, p);
                if (p->call)
                        (void)sd_bus_reply_method_errorf(
                                        p->call, BUS_ERROR_FAILED,
                                        "capd did not answer within %llu s; it may be busy or stuck: see its log",
                                        LIMIT_COMMAND_USEC / USEC_PER_SEC);
                pending_free(p);
        }
}

void pending_forget_bus(struct front *f, sd_bus *bus)
{
        for (struct pending *p = f->pending; p; p = p->next)
                if (p->call && sd_bus_message_get_bus(p->call) == bus)
                        p->call = sd_bus_message_unref(p->call);
}

/* Tells those who wait. */
void pending_free_all(struct front *f)
{
        while (f->pending) {
                struct pending *p = f->pending;

                unlink_pending(f, p);
                if (p->call)
                        (void)sd_bus_reply_method_errorf(p->call, BUS_ERROR_FAILED,
                                                         "capd is stopping; nothing is known of the request");
                pending_free(p);
        }
}
