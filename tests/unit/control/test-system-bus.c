/* SPDX-License-Identifier: MIT */
/* The front on a system bus that the test plays, with polkit: who is asked what, and what becomes of a request meanwhile. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "capd/bus.h"
#include "fixture.h"

#define DRIVER "org.freedesktop.DBus"

struct world {
        struct fixture *fixture;
        char path[96];
        int listening;
        sd_bus *bus; /* the connection of the front */
        uint32_t name_outcome;
        bool name_asked;
        uint32_t uid;             /* of whoever sends */
        sd_bus_message *question; /* to polkit, to be answered later */
        bool no_polkit;
        unsigned cancelled;
};

static int on_hello(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        return sd_bus_reply_method_return(m, "s", ":1.1");
}

static void give_name(struct world *w)
{
        sd_bus_message *m = NULL;

        assert_true(sd_bus_message_new_signal(w->bus, &m, "/org/freedesktop/DBus", DRIVER, "NameAcquired") >= 0);
        assert_true(sd_bus_message_set_sender(m, DRIVER) >= 0);
        assert_true(sd_bus_message_append(m, "s", BUS_NAME) >= 0);
        assert_true(sd_bus_send(w->bus, m, NULL) >= 0);
        sd_bus_message_unref(m);
}

static int on_request_name(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct world *w = userdata;

        w->name_asked = true;
        if (w->name_outcome == 0)
                return sd_bus_error_set(error, SD_BUS_ERROR_ACCESS_DENIED, "not for you");
        if (w->name_outcome == 1)
                give_name(w);
        return sd_bus_reply_method_return(m, "u", w->name_outcome);
}

static int on_credentials(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        const struct world *w = userdata;

        return sd_bus_reply_method_return(m, "a{sv}", 3, "UnixUserID", "u", w->uid, "Other", "ay", 2, 1, 2, "ProcessID",
                                          "u", 4711U);
}

static const sd_bus_vtable driver_vtable[] = {
                SD_BUS_VTABLE_START(0),
                SD_BUS_METHOD("Hello", "", "s", on_hello, SD_BUS_VTABLE_UNPRIVILEGED),
                SD_BUS_METHOD("RequestName", "su", "u", on_request_name, SD_BUS_VTABLE_UNPRIVILEGED),
                SD_BUS_METHOD("GetConnectionCredentials", "s", "a{sv}", on_credentials, SD_BUS_VTABLE_UNPRIVILEGED),
                SD_BUS_VTABLE_END,
};

static int on_check(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct world *w = userdata;

        if (w->no_polkit)
                return sd_bus_error_set(error, SD_BUS_ERROR_SERVICE_UNKNOWN, "no such service");
        assert_null(w->question);
        w->question = sd_bus_message_ref(m);
        return 1;
}

static int on_cancel(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct world *w = userdata;

        w->cancelled++;
        return sd_bus_reply_method_return(m, "");
}

static const sd_bus_vtable polkit_vtable[] = {
                SD_BUS_VTABLE_START(0),
                SD_BUS_METHOD("CheckAuthorization", "(sa{sv})sa{ss}us", "(bba{ss})", on_check,
                              SD_BUS_VTABLE_UNPRIVILEGED),
                SD_BUS_METHOD("CancelCheckAuthorization", "s", "", on_cancel, SD_BUS_VTABLE_UNPRIVILEGED),
                SD_BUS_VTABLE_END,
};

/* Waits for the front to connect. */
static void accept_front(struct world *w)
{
        sd_id128_t id;
        int fd = accept4(w->listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        assert_true(fd >= 0);
        assert_true(sd_bus_new(&w->bus) >= 0);
        assert_true(sd_id128_randomize(&id) >= 0);
        assert_true(sd_bus_set_fd(w->bus, fd, fd) >= 0);
        assert_true(sd_bus_set_server(w->bus, true, id) >= 0);
        assert_true(sd_bus_add_object_vtable(w->bus, NULL, "/org/freedesktop/DBus", DRIVER, driver_vtable, w) >= 0);
        assert_true(sd_bus_add_object_vtable(w->bus, NULL, "/org/freedesktop/PolicyKit1/Authority",
                                             "org.freedesktop.PolicyKit1.Authority", polkit_vtable, w) >= 0);
        assert_true(sd_bus_start(w->bus) >= 0);
}

/* One thing that the front says. */
static void turn(struct world *w)
{
        int r = sd_bus_process(w->bus, NULL);

        if (r == 0)
                r = sd_bus_wait(w->bus, 100000);
        assert_true(r >= 0);
}

static int setup(void **state)
{
        struct world *w = calloc(1, sizeof(*w));
        struct sockaddr_un sa = {.sun_family = AF_UNIX};
        char address[128];

        snprintf(w->path, sizeof(w->path), "/tmp/capd-test-bus-%d", (int)getpid());
        strcpy(sa.sun_path, w->path);
        w->listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(w->listening, (struct sockaddr *)&sa, sizeof(sa)), 0);
        assert_int_equal(listen(w->listening, 8), 0);
        snprintf(address, sizeof(address), "unix:path=%s", w->path);
        w->name_outcome = 1;
        setenv("DBUS_SYSTEM_BUS_ADDRESS", address, 1);
        fixture_setup((void **)&w->fixture);
        send_snapshot(w->fixture, 2, NULL, NULL);
        *state = w;
        return 0;
}

static int teardown(void **state)
{
        struct world *w = *state;

        sd_bus_message_unref(w->question);
        sd_bus_close_unref(w->bus);
        close(w->listening);
        unlink(w->path);
        fixture_teardown((void **)&w->fixture);
        free(w);
        return 0;
}

/* -- what clients of the bus ask -- */

struct call {
        bool answered;
        char error[128], text[512];
};

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *unused)
{
        struct call *c = userdata;
        const sd_bus_error *e = sd_bus_message_get_error(m);
        const char *text = "";

        c->answered = true;
        if (sd_bus_message_is_method_error(m, NULL)) {
                snprintf(c->error, sizeof(c->error), "%s", e->name);
                text = e->message;
        } else if (sd_bus_message_has_signature(m, "s") > 0)
                assert_true(sd_bus_message_read(m, "s", &text) >= 0);
        snprintf(c->text, sizeof(c->text), "%s", text);
        return 1;
}

/* A request as the bus passes it on. */
static void ask(struct world *w, struct call *c, const char *sender, const char *method, const char *group, bool dialog)
{
        sd_bus_message *m = NULL;

        *c = (struct call){0};
        assert_true(sd_bus_message_new_method_call(w->bus, &m, BUS_NAME, BUS_PATH, BUS_MANAGER_INTERFACE, method) >= 0);
        assert_true(sd_bus_message_set_sender(m, sender) >= 0);
        assert_true(sd_bus_message_set_allow_interactive_authorization(m, dialog) >= 0);
        if (group)
                assert_true(sd_bus_message_append(m, "s", group) >= 0);
        assert_true(sd_bus_call_async(w->bus, NULL, m, on_answer, c, 30 * USEC_PER_SEC) >= 0);
        sd_bus_message_unref(m);
}

static void wait_answer(struct world *w, const struct call *c)
{
        while (!c->answered)
                turn(w);
}

static void wait_question(struct world *w)
{
        while (!w->question)
                turn(w);
}

/* Reads polkit's question and answers it. */
static void answer_question(struct world *w, const char *sender, uint32_t flags, bool yes, bool challenge)
{
        const char *kind, *key, *name, *action, *id;
        uint32_t got;

        assert_true(sd_bus_message_enter_container(w->question, 'r', "sa{sv}") > 0);
        assert_true(sd_bus_message_read(w->question, "sa{sv}", &kind, 1, &key, "s", &name) > 0);
        assert_true(sd_bus_message_exit_container(w->question) >= 0);
        assert_true(sd_bus_message_read(w->question, "s", &action) > 0);
        assert_true(sd_bus_message_skip(w->question, "a{ss}") >= 0);
        assert_true(sd_bus_message_read(w->question, "us", &got, &id) > 0);
        assert_string_equal(kind, "system-bus-name");
        assert_string_equal(key, "name");
        assert_string_equal(name, sender);
        assert_string_equal(action, BUS_MANAGE_ACTION);
        assert_int_equal(got, flags);
        assert_true(id[0] != '\0');
        assert_true(sd_bus_reply_method_return(w->question, "(bba{ss})", (int)yes, (int)challenge, 0) >= 0);
        w->question = sd_bus_message_unref(w->question);
}

static void join(struct world *w)
{
        accept_front(w);
        while (!w->name_asked)
                turn(w);
}

/* No command has reached the engine. */
static void assert_nothing_asked(const struct world *w)
{
        struct wire_command c;

        assert_int_equal(recv(w->fixture->engine, &c, sizeof(c), MSG_DONTWAIT), -1);
        assert_int_equal(errno, EAGAIN);
}

static void engine_does(struct world *w, enum wire_verb verb, uint32_t uid)
{
        struct wire_command c;

        for (;;) {
                ssize_t n = recv(w->fixture->engine, &c, sizeof(c), MSG_DONTWAIT);

                if (n == (ssize_t)sizeof(c))
                        break;
                assert_int_equal(n, -1);
                turn(w);
        }
        assert_int_equal(c.verb, verb);
        assert_int_equal(c.uid, uid);
        assert_int_equal(c.pid, 4711);
        send_reply(w->fixture, c.serial, 0, "done", NULL, 0);
}

static void test_root(void **state)
{
        struct world *w = *state;
        struct call c;

        join(w);
        w->no_polkit = true;
        ask(w, &c, ":1.5", "Pause", "group0", true);
        engine_does(w, WIRE_PAUSE, 0);
        wait_answer(w, &c);
        assert_string_equal(c.error, "");
        assert_string_equal(c.text, "done");
}

static void test_polkit_says_yes(void **state)
{
        struct world *w = *state;
        struct call c;

        join(w);
        w->uid = 1000;
        ask(w, &c, ":1.5", "Pause", "group0", true);
        wait_question(w);
        assert_nothing_asked(w);
        answer_question(w, ":1.5", 1, true, false);
        engine_does(w, WIRE_PAUSE, 1000);
        wait_answer(w, &c);
        assert_string_equal(c.text, "done");
}

static void test_polkit_says_no(void **state)
{
        struct world *w = *state;
        struct call c;

        join(w);
        w->uid = 1000;
        ask(w, &c, ":1.5", "Reload", NULL, false);
        wait_question(w);
        answer_question(w, ":1.5", 0, false, false);
        wait_answer(w, &c);
        assert_string_equal(c.error, SD_BUS_ERROR_ACCESS_DENIED);
        ask(w, &c, ":1.5", "Reload", NULL, false);
        wait_question(w);
        answer_question(w, ":1.5", 0, false, true);
        wait_answer(w, &c);
        assert_string_equal(c.error, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED);
        assert_nothing_asked(w);
}

static void test_no_polkit(void **state)
{
        struct world *w = *state;
        struct call c;

        join(w);
        w->uid = 1000;
        w->no_polkit = true;
        ask(w, &c, ":1.5", "Pause", "group0", true);
        wait_answer(w, &c);
        assert_string_equal(c.error, SD_BUS_ERROR_ACCESS_DENIED);
        assert_non_null(strstr(c.text, "only root"));
        assert_non_null(strstr(c.text, "polkit"));
        assert_nothing_asked(w);
}

/* An answer after its time is no answer, and whoever is being asked for a password need not go on. */
static void test_polkit_is_silent(void **state)
{
        struct world *w = *state;
        struct call c;

        join(w);
        w->uid = 1000;
        ask(w, &c, ":1.5", "Pause", "group0", false);
        wait_question(w);
        wait_answer(w, &c);
        assert_string_equal(c.error, SD_BUS_ERROR_ACCESS_DENIED);
        while (w->cancelled == 0)
                turn(w);
        assert_true(sd_bus_reply_method_return(w->question, "(bba{ss})", 1, 0, 0) >= 0);
        w->question = sd_bus_message_unref(w->question);
        ask(w, &c, ":1.6", "Measure", "nosuch", false);
        engine_does(w, WIRE_EXPLAIN, 1000);
        assert_nothing_asked(w);
}

/* One sender has so many requests that wait; the others still get through. */
static void test_too_many(void **state)
{
        struct world *w = *state;
        struct call calls[LIMIT_ASKING_PER_USER + 1], root;

        join(w);
        w->uid = 1000;
        for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
                sd_bus_message *first = w->question;

                w->question = NULL; /* all but the last stay without an answer */
                sd_bus_message_unref(first);
                ask(w, &calls[i], ":1.5", "Pause", "group0", true);
                if (i < LIMIT_ASKING_PER_USER)
                        wait_question(w);
        }
        wait_answer(w, &calls[LIMIT_ASKING_PER_USER]);
        assert_string_equal(calls[LIMIT_ASKING_PER_USER].error, BUS_ERROR_BUSY);
        w->uid = 0;
        ask(w, &root, ":1.7", "Pause", "group0", false);
        engine_does(w, WIRE_PAUSE, 0);
        wait_answer(w, &root);
        assert_string_equal(root.text, "done");
        for (size_t i = 0; i < LIMIT_ASKING_PER_USER; i++)
                assert_false(calls[i].answered);
}

/* Neither a bus that hangs nor one that goes keeps clients of the private socket waiting; the next one is joined. */
static void test_bus_goes(void **state)
{
        struct world *w = *state;
        struct call c;
        sd_bus *private;

        join(w);
        w->uid = 1000;
        ask(w, &c, ":1.5", "Pause", "group0", true);
        wait_question(w);
        w->question = sd_bus_message_unref(w->question);
        sd_bus_close_unref(w->bus);
        w->bus = NULL;
        private = connect_front(w->fixture);
        assert_int_equal(get_u64(private, BUS_PATH, BUS_MANAGER_INTERFACE, "HostMemoryTotal"), 24 * GIB);
        w->name_asked = false;
        join(w);
        /* it does not talk for a while */
        assert_int_equal(get_u64(private, BUS_PATH, BUS_MANAGER_INTERFACE, "HostMemoryTotal"), 24 * GIB);
        sd_bus_flush_close_unref(private);
        w->uid = 0;
        ask(w, &c, ":1.5", "Resume", "group0", true);
        engine_does(w, WIRE_RESUME, 0);
        wait_answer(w, &c);
        assert_string_equal(c.text, "done");
        assert_nothing_asked(w);
}

/* A bus that refuses the name is left and tried again. */
static void test_name_refused(void **state)
{
        struct world *w = *state;

        w->name_outcome = 0;
        join(w);
        while (sd_bus_process(w->bus, NULL) >= 0 && sd_bus_is_open(w->bus) > 0)
                (void)sd_bus_wait(w->bus, 100000);
        sd_bus_close_unref(w->bus);
        w->bus = NULL;
        w->name_asked = false;
        w->name_outcome = 1;
        join(w);
}

/* -- what it tells -- */

struct heard {
        char member[64], path[128], group[64], old_state[32], new_state[32];
        unsigned n;
};

static int on_signal(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct heard *h = userdata;
        const char *group, *was, *is, *why;

        if (sd_bus_message_is_signal(m, NULL, NULL) <= 0)
                return 0;
        h->n++;
        snprintf(h->member, sizeof(h->member), "%s", sd_bus_message_get_member(m));
        snprintf(h->path, sizeof(h->path), "%s", sd_bus_message_get_path(m));
        if (strcmp(h->member, "StateChanged") == 0) {
                assert_true(sd_bus_message_read(m, "ssss", &group, &was, &is, &why) >= 0);
                snprintf(h->group, sizeof(h->group), "%s", group);
                snprintf(h->old_state, sizeof(h->old_state), "%s", was);
                snprintf(h->new_state, sizeof(h->new_state), "%s", is);
        }
        return 1;
}

static void hear(struct world *w, struct heard *h, const char *member, const char *path)
{
        *h = (struct heard){0};
        while (strcmp(h->member, member) != 0 || strcmp(h->path, path) != 0)
                turn(w);
}

static void test_news(void **state)
{
        struct world *w = *state;
        struct wire_group g[2];
        struct heard h;
        struct call c;

        join(w);
        assert_true(sd_bus_add_filter(w->bus, NULL, on_signal, &h) >= 0);
        /* once it has answered it knows that it has the name */
        ask(w, &c, ":1.5", "Pause", "group0", true);
        engine_does(w, WIRE_PAUSE, 0);
        wait_answer(w, &c);
        make_group(&g[0], "group0");
        make_group(&g[1], "other");
        g[0].state = STATE_OVER;
        send_snapshot(w->fixture, 2, g, NULL);
        hear(w, &h, "InterfacesRemoved", BUS_PATH);
        hear(w, &h, "StateChanged", BUS_PATH);
        assert_string_equal(h.group, "group0");
        assert_string_equal(h.old_state, "ok");
        assert_string_equal(h.new_state, "over");
        hear(w, &h, "PropertiesChanged", BUS_GROUP_PREFIX "/group0");
        hear(w, &h, "InterfacesAdded", BUS_PATH);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test_setup_teardown(test_root, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_polkit_says_yes, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_polkit_says_no, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_no_polkit, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_polkit_is_silent, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_too_many, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_bus_goes, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_name_refused, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_news, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
