/* SPDX-License-Identifier: MIT */
/*
 * requests.c: who asks for something, and whether they may.
 *
 * On the private socket the kernel has said who it is, and only root may change anything. On the system bus two questions come
 * before: to the bus, who the sender is, and for a change by anybody but root to polkit, about the sender's connection (a
 * name that a bus never gives twice). The front does not wait for either: a request stands in line here meanwhile, and goes on as
 * if it had come now.
 *
 * polkit lets the front ask because it is named as the owner of the action (etc/org.capd1.policy); see polkit(8), "annotate".
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "capd/base/log.h"
#include "capd/bus.h"
#include "internal.h"

#define POLKIT_NAME      "org.freedesktop.PolicyKit1"
#define POLKIT_PATH      "/org/freedesktop/PolicyKit1/Authority"
#define POLKIT_INTERFACE "org.freedesktop.PolicyKit1.Authority"
#define POLKIT_MAY_ASK   1U /* CheckAuthorization(): AllowUserInteraction */

struct asking {
        struct asking *next;
        struct front *front;
        sd_bus_message *call;
        sd_bus_slot *slot; /* of the question */
        struct request request;
        struct caller caller;
        bool known;  /* the caller is */
        char id[32]; /* of the question to polkit, to call it off */
};

static struct asking *asking_free(struct asking *a)
{
        if (!a)
                return NULL;
        for (struct asking **at = &a->front->asking; *at; at = &(*at)->next)
                if (*at == a) {
                        *at = a->next;
                        a->front->n_asking--;
                        break;
                }
        sd_bus_slot_unref(a->slot);
        sd_bus_message_unref(a->call);
        free(a);
        return NULL;
}
DEFINE_CLEANUP(struct asking *, asking_free)

void request_forget_bus(struct front *f)
{
        while (f->asking)
                asking_free(f->asking);
}

static bool needs_rights(const struct request *r)
{
        return r->verb != WIRE_EXPLAIN;
}

static int carry_out(struct front *f, sd_bus_message *m, const struct caller *caller, const struct request *request,
                     sd_bus_error *error)
{
        if (request->verb == WIRE_EXPLAIN)
                return explain_call(f, m, caller, request, error);
        return pending_send(f, m, caller, request, error);
}

/* The same for one that had to wait, which ends with it. */
static int go_on(struct asking *a)
{
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r = carry_out(a->front, a->call, &a->caller, &a->request, &error);

        if (r < 0)
                r = sd_bus_reply_method_errno(a->call, r, &error);
        asking_free(a);
        return r;
}

static int refuse(struct asking *a, const char *name, const char *why)
{
        int r;

        front_say_refused(a->front, &a->caller, "system bus", why);
        r = sd_bus_reply_method_errorf(a->call, name, "%s", why);
        asking_free(a);
        return r;
}

/* -- polkit -- */

/* It cannot be asked: then it is as if there were none. */
static int without_polkit(struct asking *a, const sd_bus_error *e)
{
        const char *why = e->message ? e->message : e->name;
        char text[400];

        if (sd_bus_error_has_names(e, SD_BUS_ERROR_NO_REPLY, SD_BUS_ERROR_TIMEOUT)) {
                sd_bus_call_method_async(sd_bus_message_get_bus(a->call), NULL, POLKIT_NAME, POLKIT_PATH,
                                         POLKIT_INTERFACE, "CancelCheckAuthorization", NULL, NULL, "s", a->id);
                why = "it did not answer in time";
        } else if (sd_bus_error_has_names(e, SD_BUS_ERROR_SERVICE_UNKNOWN, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
                why = "it is not installed or does not run";
        if (front_may_log(a->front, LOG_NO_POLKIT))
                log_notice("polkit cannot be asked (%s): only root may change anything", why);
        snprintf(text, sizeof(text), "only root may do this, not user %u: polkit cannot be asked (%.250s)",
                 (unsigned)a->caller.uid, why);
        return refuse(a, SD_BUS_ERROR_ACCESS_DENIED, text);
}

static int on_polkit(sd_bus_message *reply, void *userdata, sd_bus_error *unused)
{
        struct asking *a = userdata;
        int yes, challenge;
        char text[200];

        if (sd_bus_message_is_method_error(reply, NULL))
                return without_polkit(a, sd_bus_message_get_error(reply));
        if (sd_bus_message_enter_container(reply, 'r', "bba{ss}") < 0 ||
            sd_bus_message_read(reply, "bb", &yes, &challenge) < 0)
                return refuse(a, SD_BUS_ERROR_ACCESS_DENIED, "only root may do this: polkit's answer makes no sense");
        if (yes)
                return go_on(a);
        if (challenge) {
                snprintf(text, sizeof(text),
                         "user %u must authenticate for this (" BUS_MANAGE_ACTION "), and could not be asked",
                         (unsigned)a->caller.uid);
                return refuse(a, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED, text);
        }
        snprintf(text, sizeof(text), "polkit does not let user %u do this (" BUS_MANAGE_ACTION ")",
                 (unsigned)a->caller.uid);
        return refuse(a, SD_BUS_ERROR_ACCESS_DENIED, text);
}

static int ask_polkit(struct asking *a)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *question = NULL;
        sd_bus *bus = sd_bus_message_get_bus(a->call);
        bool dialog = sd_bus_message_get_allow_interactive_authorization(a->call) > 0;
        int r;

        snprintf(a->id, sizeof(a->id), "capd-%" PRIu64, ++a->front->asked);
        a->slot = sd_bus_slot_unref(a->slot);
        r = sd_bus_message_new_method_call(bus, &question, POLKIT_NAME, POLKIT_PATH, POLKIT_INTERFACE,
                                           "CheckAuthorization");
        if (r >= 0)
                r = sd_bus_message_append(question, "(sa{sv})s", "system-bus-name", 1, "name", "s",
                                          sd_bus_message_get_sender(a->call), BUS_MANAGE_ACTION);
        if (r >= 0)
                r = sd_bus_message_append(question, "a{ss}us", 0, dialog ? POLKIT_MAY_ASK : 0U, a->id);
        if (r >= 0)
                r = sd_bus_call_async(bus, &a->slot, question, on_polkit, a,
                                      dialog ? LIMIT_POLKIT_DIALOG_USEC : LIMIT_POLKIT_USEC);
        return r;
}

/* -- the bus -- */

static int read_credentials(sd_bus_message *reply, struct caller *ret)
{
        struct caller c = {.uid = (uid_t)-1};
        const char *key;
        int r;

        r = sd_bus_message_enter_container(reply, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(reply, 'e', "sv")) > 0) {
                uint32_t value;

                r = sd_bus_message_read(reply, "s", &key);
                if (r >= 0 && (strcmp(key, "UnixUserID") == 0 || strcmp(key, "ProcessID") == 0)) {
                        r = sd_bus_message_read(reply, "v", "u", &value);
                        if (r >= 0 && key[0] == 'U')
                                c.uid = value;
                        else if (r >= 0)
                                c.pid = (pid_t)value;
                } else if (r >= 0)
                        r = sd_bus_message_skip(reply, "v");
                if (r >= 0)
                        r = sd_bus_message_exit_container(reply);
        }
        if (r < 0)
                return r;
        if (c.uid == (uid_t)-1)
                return -ENODATA;
        *ret = c;
        return 0;
}

static bool user_has_room(const struct asking *asking)
{
        const struct front *f = asking->front;
        unsigned mine = 0;

        for (const struct asking *a = f->asking; a; a = a->next)
                mine += a != asking && a->known && a->caller.uid == asking->caller.uid;
        return mine < LIMIT_ASKING_PER_USER && f->n_asking <= LIMIT_ASKING - LIMIT_ASKING_FOR_ROOT;
}

static int on_credentials(sd_bus_message *reply, void *userdata, sd_bus_error *unused)
{
        struct asking *a = userdata;

        if (sd_bus_message_is_method_error(reply, NULL) || read_credentials(reply, &a->caller) < 0) {
                int r = sd_bus_reply_method_errorf(a->call, SD_BUS_ERROR_ACCESS_DENIED,
                                                   "the bus does not say who asks");

                asking_free(a);
                return r;
        }
        a->known = true;
        if (a->caller.uid == 0 || !needs_rights(&a->request))
                return go_on(a);
        if (!user_has_room(a))
                return refuse(a, BUS_ERROR_BUSY, "too many requests wait for an authorization; try again later");
        if (ask_polkit(a) < 0)
                return refuse(a, SD_BUS_ERROR_ACCESS_DENIED, "only root may do this: polkit cannot be asked");
        return 1;
}

static bool sender_has_room(const struct front *f, const char *sender)
{
        unsigned mine = 0;

        for (const struct asking *a = f->asking; a; a = a->next)
                mine += strcmp(sd_bus_message_get_sender(a->call), sender) == 0;
        return mine < LIMIT_ASKING_PER_USER && f->n_asking < LIMIT_ASKING;
}

static int ask_bus(struct front *f, sd_bus_message *m, const struct request *request, sd_bus_error *error)
{
        const char *sender = sd_bus_message_get_sender(m);
        _cleanup_(asking_freep) struct asking *a = NULL;
        int r;

        if (!sender)
                return -ENOTCONN;
        if (!sender_has_room(f, sender))
                return sd_bus_error_set(error, BUS_ERROR_BUSY,
                                        "too many requests are waiting for capd; try again in a moment");
        a = calloc(1, sizeof(*a));
        if (!a)
                return -ENOMEM;
        a->front = f;
        a->request = *request;
        a->call = sd_bus_message_ref(m);
        a->next = f->asking;
        f->asking = a;
        f->n_asking++;
        r = sd_bus_call_method_async(sd_bus_message_get_bus(m), &a->slot, "org.freedesktop.DBus",
                                     "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetConnectionCredentials",
                                     on_credentials, a, "s", sender);
        if (r < 0)
                return r;
        TAKE_PTR(a);
        return 1;
}

int request_begin(struct front *f, sd_bus_message *m, const struct request *request, sd_bus_error *error)
{
        struct caller caller;
        int r;

        if (sd_bus_message_get_bus(m) == f->system_bus.bus)
                return ask_bus(f, m, request, error);
        r = client_credentials(f, m, &caller);
        if (r < 0)
                return r;
        if (caller.uid != 0 && needs_rights(request)) {
                char why[64];

                snprintf(why, sizeof(why), "only root may do this, not user %u", (unsigned)caller.uid);
                front_say_refused(f, &caller, "private socket", why);
                return sd_bus_error_set(error, SD_BUS_ERROR_ACCESS_DENIED, why);
        }
        return carry_out(f, m, &caller, request, error);
}
