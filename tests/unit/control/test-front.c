/* SPDX-License-Identifier: MIT */
/* What clients see of the front: objects, figures, commands and who may give them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "capd/bus-figures.h"
#include "capd/bus.h"
#include "fixture.h"

#define GROUP(name) BUS_GROUP_PREFIX "/" name

static char *get_text(sd_bus *bus, const char *path, const char *interface, const char *property)
{
        char *text = NULL;

        assert_true(sd_bus_get_property_string(bus, NULL, path, interface, property, NULL, &text) >= 0);
        return text;
}

static void assert_text(sd_bus *bus, const char *path, const char *property, const char *expected)
{
        char *text = get_text(bus, path, BUS_GROUP_INTERFACE, property);

        assert_string_equal(text, expected);
        free(text);
}

static void test_figures(void **state)
{
        struct fixture *f = *state;
        struct wire_group g[2];
        sd_bus *bus;
        uint64_t age;

        make_group(&g[0], "web/\xc3\xbc.x");
        make_group(&g[1], "none");
        g[1].has_cap = false;
        g[1].cap = 0;
        g[1].sample = (struct group_sample){.processes = 1};
        memcpy(g[1].description, "bad\xff", 5);
        send_snapshot(f, 2, g, "one\ntwo\n");
        bus = connect_front(f);
        assert_text(bus, GROUP("web_2f_c3_bc_2ex"), "Name", "web/\xc3\xbc.x");
        assert_text(bus, GROUP("web_2f_c3_bc_2ex"), "State", "ok");
        assert_text(bus, GROUP("web_2f_c3_bc_2ex"), "Quality", "exact");
        assert_int_equal(get_u64(bus, GROUP("web_2f_c3_bc_2ex"), BUS_GROUP_INTERFACE, "Resident"), 101 * MIB);
        assert_int_equal(get_u64(bus, GROUP("web_2f_c3_bc_2ex"), BUS_GROUP_INTERFACE, "Private"), UINT64_MAX);
        age = get_u64(bus, GROUP("web_2f_c3_bc_2ex"), BUS_GROUP_INTERFACE, "AgeUSec");
        assert_in_range(age, 2 * USEC_PER_SEC, 600 * USEC_PER_SEC);
        /* what nobody measured is not 0, and one bad text does not spoil the rest */
        assert_int_equal(get_u64(bus, GROUP("none"), BUS_GROUP_INTERFACE, "Cap"), UINT64_MAX);
        assert_int_equal(get_u64(bus, GROUP("none"), BUS_GROUP_INTERFACE, "Resident"), UINT64_MAX);
        assert_int_equal(get_u64(bus, GROUP("none"), BUS_GROUP_INTERFACE, "RSSSum"), UINT64_MAX);
        assert_int_equal(get_u64(bus, GROUP("none"), BUS_GROUP_INTERFACE, "AgeUSec"), UINT64_MAX);
        assert_text(bus, GROUP("none"), "Description", "bad\\xff");
        sd_bus_flush_close_unref(bus);
}

static void test_manager(void **state)
{
        struct fixture *f = *state;
        sd_bus *bus = connect_front(f);
        sd_bus_message *reply = NULL;
        const char *one, *two;
        int responding = -1;

        /* before the first snapshot: it answers, and knows that it knows nothing */
        assert_int_equal(get_u64(bus, BUS_PATH, BUS_MANAGER_INTERFACE, "SnapshotAgeUSec"), UINT64_MAX);
        assert_int_equal(get_u64(bus, BUS_PATH, BUS_MANAGER_INTERFACE, "HostMemoryTotal"), UINT64_MAX);
        assert_true(sd_bus_get_property_trivial(bus, NULL, BUS_PATH, BUS_MANAGER_INTERFACE, "EngineResponding", NULL,
                                                'b', &responding) >= 0);
        assert_int_equal(responding, 0);
        send_snapshot(f, 1, NULL, "one\ntwo");
        assert_true(get_u64(bus, BUS_PATH, BUS_MANAGER_INTERFACE, "SnapshotAgeUSec") < 600 * USEC_PER_SEC);
        assert_int_equal(get_u64(bus, BUS_PATH, BUS_MANAGER_INTERFACE, "HostMemoryTotal"), 24 * GIB);
        assert_true(sd_bus_get_property(bus, NULL, BUS_PATH, BUS_MANAGER_INTERFACE, "Warnings", NULL, &reply, "as") >=
                    0);
        assert_true(sd_bus_message_read(reply, "as", 2, &one, &two) > 0);
        assert_string_equal(one, "one");
        assert_string_equal(two, "two");
        sd_bus_message_unref(reply);
        sd_bus_flush_close_unref(bus);
}

/* Objects in GetManagedObjects that have a Group interface with every property. */
static unsigned managed_groups(sd_bus *bus)
{
        sd_bus_message *reply = NULL;
        const char *path, *interface;
        unsigned n = 0;

        assert_true(sd_bus_call_method(bus, NULL, BUS_PATH, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects",
                                       NULL, &reply, NULL) >= 0);
        assert_true(sd_bus_message_enter_container(reply, 'a', "{oa{sa{sv}}}") > 0);
        while (sd_bus_message_enter_container(reply, 'e', "oa{sa{sv}}") > 0) {
                assert_true(sd_bus_message_read(reply, "o", &path) > 0);
                assert_true(sd_bus_message_enter_container(reply, 'a', "{sa{sv}}") > 0);
                while (sd_bus_message_enter_container(reply, 'e', "sa{sv}") > 0) {
                        assert_true(sd_bus_message_read(reply, "s", &interface) > 0);
                        n += strcmp(interface, BUS_GROUP_INTERFACE) == 0;
                        assert_true(sd_bus_message_skip(reply, "a{sv}") >= 0);
                        assert_true(sd_bus_message_exit_container(reply) >= 0);
                }
                assert_true(sd_bus_message_exit_container(reply) >= 0);
                assert_true(sd_bus_message_exit_container(reply) >= 0);
        }
        sd_bus_message_unref(reply);
        return n;
}

static void test_managed_objects(void **state)
{
        static const unsigned counts[] = {0, 1, 300, 1000, 3};
        struct fixture *f = *state;

        for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
                sd_bus *bus;

                send_snapshot(f, counts[i], NULL, NULL);
                bus = connect_front(f);
                assert_int_equal(managed_groups(bus), counts[i]);
                sd_bus_flush_close_unref(bus);
        }
}

static void test_introspection(void **state)
{
#define NAME(name, kind, member) #name,
        static const char *const group[] = {BUS_GROUP_FIGURES(NAME) "Explain"};
        static const char *const manager[] = {BUS_MANAGER_FIGURES(NAME) "Warnings",
                                              "SnapshotAgeUSec",
                                              "EngineResponding",
                                              "Reload",
                                              "Pause",
                                              "Resume",
                                              "SetCap",
                                              "Enforce",
                                              "GetConfig"};
        struct fixture *f = *state;
        const struct {
                const char *path;
                const char *const *names;
                size_t n;
        } objects[] = {{BUS_PATH, manager, ARRAY_SIZE(manager)}, {GROUP("group0"), group, ARRAY_SIZE(group)}};
        sd_bus *bus;

        send_snapshot(f, 1, NULL, NULL);
        bus = connect_front(f);
        for (size_t i = 0; i < ARRAY_SIZE(objects); i++) {
                sd_bus_message *reply = NULL;
                const char *xml;

                assert_true(sd_bus_call_method(bus, NULL, objects[i].path, "org.freedesktop.DBus.Introspectable",
                                               "Introspect", NULL, &reply, NULL) >= 0);
                assert_true(sd_bus_message_read(reply, "s", &xml) > 0);
                for (size_t j = 0; j < objects[i].n; j++) {
                        char attribute[128];

                        snprintf(attribute, sizeof(attribute), "name=\"%s\"", objects[i].names[j]);
                        if (!strstr(xml, attribute))
                                fail_msg("%s lacks %s", objects[i].path, objects[i].names[j]);
                }
                sd_bus_message_unref(reply);
        }
        sd_bus_flush_close_unref(bus);
}

static int keep_answer(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        *(sd_bus_message **)userdata = sd_bus_message_ref(m);
        return 1;
}

static sd_bus_message *answer;

/* busctl --address= and the like expect a message bus to greet. */
static void test_hello(void **state)
{
        struct fixture *f = *state;
        const char *name;
        sd_bus *bus;

        assert_true(sd_bus_new(&bus) >= 0);
        assert_true(sd_bus_set_address(bus, f->address) >= 0);
        assert_true(sd_bus_set_bus_client(bus, true) >= 0);
        assert_true(sd_bus_start(bus) >= 0);
        assert_true(sd_bus_get_unique_name(bus, &name) >= 0);
        assert_int_equal(get_u64(bus, BUS_PATH, BUS_MANAGER_INTERFACE, "Tick"), 0);
        sd_bus_flush_close_unref(bus);
}

/* A call whose answer the engine gives: sent here, read with finish(). */
static void begin(sd_bus *bus, const char *member, const char *types, ...)
{
        sd_bus_message *m = NULL;
        va_list ap;

        assert_true(sd_bus_message_new_method_call(bus, &m, NULL, BUS_PATH, BUS_MANAGER_INTERFACE, member) >= 0);
        va_start(ap, types);
        assert_true(sd_bus_message_appendv(m, types, ap) >= 0);
        va_end(ap);
        assert_true(sd_bus_call_async(bus, NULL, m, keep_answer, &answer, 0) >= 0);
        sd_bus_message_unref(m);
        assert_true(sd_bus_flush(bus) >= 0);
}

static void finish(sd_bus *bus, const char *error, const char *text)
{
        const char *got = "";

        while (!answer) {
                int r = sd_bus_process(bus, NULL);

                assert_true(r >= 0);
                if (r == 0)
                        assert_true(sd_bus_wait(bus, 60 * USEC_PER_SEC) > 0);
        }
        if (error) {
                assert_true(sd_bus_message_is_method_error(answer, error));
                got = sd_bus_message_get_error(answer)->message;
        } else
                assert_true(sd_bus_message_read(answer, "s", &got) > 0);
        assert_string_equal(got, text);
        answer = sd_bus_message_unref(answer);
}

static void test_commands(void **state)
{
        struct fixture *f = *state;
        sd_bus *bus;
        struct wire_command c;

        if (geteuid() != 0) {
                print_message("skipped: commands need root\n");
                skip();
        }
        send_snapshot(f, 1, NULL, NULL);
        bus = connect_front(f);
        begin(bus, "SetCap", "stt", "group0", (uint64_t)(64 * MIB), (uint64_t)5000000);
        receive_command(f, &c);
        assert_int_equal(c.verb, WIRE_SET_CAP);
        assert_int_equal(c.bytes, 64 * MIB);
        assert_int_equal(c.duration, 5000000);
        assert_string_equal(c.group, "group0");
        assert_int_equal(c.uid, 0);
        assert_int_equal(c.pid, getpid());
        send_reply(f, c.serial + 7, 0, "to nobody", NULL, 0);
        send_reply(f, c.serial, 0, "done", NULL, 0);
        finish(bus, NULL, "done");

        begin(bus, "Enforce", "s", "nix");
        receive_command(f, &c);
        assert_int_equal(c.verb, WIRE_ENFORCE);
        send_reply(f, c.serial, -ENOENT, "no group nix", NULL, 0);
        finish(bus, BUS_ERROR_NO_SUCH_GROUP, "no group nix");

        begin(bus, "Reload", "");
        receive_command(f, &c);
        send_reply(f, c.serial, -EBADMSG, "bad", "a.conf:1: x\nb.conf:2: y\n", 24);
        finish(bus, BUS_ERROR_BAD_CONFIG, "a.conf:1: x\nb.conf:2: y\n");

        begin(bus, "GetConfig", "");
        receive_command(f, &c);
        send_reply(f, c.serial, 0, "", "[Daemon]\n\xff\n", 11);
        finish(bus, NULL, "[Daemon]\n?\n");
        begin(bus, "GetConfig", "");
        receive_command(f, &c);
        send_reply(f, c.serial, 0, "", NULL, 0);
        finish(bus, BUS_ERROR_FAILED, "capd sent no configuration; see its log");

        /* refused without bothering the engine */
        assert_int_equal(sd_bus_call_method(bus, NULL, BUS_PATH, BUS_MANAGER_INTERFACE, "SetCap", NULL, NULL, "stt",
                                            "group0", (uint64_t)4096, (uint64_t)0),
                         -EINVAL);
        assert_int_equal(sd_bus_call_method(bus, NULL, BUS_PATH, BUS_MANAGER_INTERFACE, "SetCap", NULL, NULL, "stt",
                                            "group0", (uint64_t)(64 * MIB), UINT64_MAX),
                         -EINVAL);
        assert_true(recv(f->engine, &c, sizeof(c), MSG_DONTWAIT) < 0);
        sd_bus_flush_close_unref(bus);
}

/* The 64th command and one more; all are answered in the end. */
static void test_too_many_commands(void **state)
{
        struct fixture *f = *state;
        struct wire_command c;
        sd_bus *buses[LIMIT_PENDING_COMMANDS], *one_more;

        if (geteuid() != 0) {
                print_message("skipped: commands need root\n");
                skip();
        }
        one_more = connect_front(f);
        for (unsigned i = 0; i < LIMIT_PENDING_COMMANDS; i++) {
                buses[i] = connect_front(f);
                begin(buses[i], "Pause", "s", "");
        }
        for (unsigned i = 0; i < LIMIT_PENDING_COMMANDS; i++)
                receive_command(f, &c);
        begin(one_more, "Pause", "s", "");
        finish(one_more, BUS_ERROR_BUSY, "too many requests are waiting for capd; try again in a moment");
        /* those who left do not make room: the engine still works for them */
        for (unsigned i = 0; i < LIMIT_PENDING_COMMANDS; i++)
                sd_bus_flush_close_unref(buses[i]);
        begin(one_more, "Pause", "s", "");
        finish(one_more, BUS_ERROR_BUSY, "too many requests are waiting for capd; try again in a moment");
        send_reply(f, c.serial, 0, "x", NULL, 0);
        send_snapshot(f, 2, NULL, NULL); /* which it sees after the reply, and this returns when it has */
        begin(one_more, "Pause", "s", "");
        receive_command(f, &c);
        send_reply(f, c.serial, 0, "paused", NULL, 0);
        finish(one_more, NULL, "paused");
        sd_bus_flush_close_unref(one_more);
}

static int nobody_tries(struct fixture *f, sd_bus *bus)
{
        static const char *const members[] = {"Reload", "GetConfig", "Pause", "Resume", "Enforce"};

        for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
                sd_bus_error error = SD_BUS_ERROR_NULL;

                if (sd_bus_call_method(bus, NULL, BUS_PATH, BUS_MANAGER_INTERFACE, members[i], &error, NULL,
                                       i < 2 ? "" : "s", "group0") != -EACCES ||
                    !strstr(error.message, "root"))
                        return 1 + (int)i;
        }
        if (sd_bus_call_method(bus, NULL, BUS_PATH, BUS_MANAGER_INTERFACE, "SetCap", NULL, NULL, "stt", "group0",
                               (uint64_t)0, (uint64_t)0) != -EACCES)
                return 10;
        /* but everybody may look */
        return get_u64(bus, GROUP("group0"), BUS_GROUP_INTERFACE, "Resident") == 101 * MIB ? 0 : 11;
}

static void test_authorization(void **state)
{
        struct fixture *f = *state;
        struct wire_command c;

        if (geteuid() != 0) {
                print_message("skipped: becoming another user needs root\n");
                skip();
        }
        send_snapshot(f, 1, NULL, NULL);
        assert_int_equal(as_nobody(f, nobody_tries), 0);
        assert_true(recv(f->engine, &c, sizeof(c), MSG_DONTWAIT) < 0);
}

/* What the engine said of cgroups, here and in the cache: -EBADMSG if it is something else. */
static int explained_cgroups(sd_bus_message *reply)
{
        uint64_t here = 0, bytes = 0;
        const char *key, *path = NULL;
        unsigned n = 0;

        sd_bus_message_enter_container(reply, 'a', "{sv}");
        while (sd_bus_message_enter_container(reply, 'e', "sv") > 0) {
                sd_bus_message_read(reply, "s", &key);
                if (strcmp(key, "ChargedHere") == 0)
                        sd_bus_message_read(reply, "v", "t", &here);
                else
                        sd_bus_message_skip(reply, "v");
                sd_bus_message_exit_container(reply);
        }
        sd_bus_message_exit_container(reply);
        sd_bus_message_enter_container(reply, 'a', "a{sv}");
        for (; sd_bus_message_enter_container(reply, 'a', "{sv}") > 0; n++) {
                while (sd_bus_message_enter_container(reply, 'e', "sv") > 0) {
                        sd_bus_message_read(reply, "s", &key);
                        if (strcmp(key, "CGroup") == 0)
                                sd_bus_message_read(reply, "v", "s", &path);
                        else
                                sd_bus_message_read(reply, "v", "t", &bytes);
                        sd_bus_message_exit_container(reply);
                }
                sd_bus_message_exit_container(reply);
        }
        return here == 5 * MIB && n == 2 && path && strcmp(path, "/b") == 0 && bytes == 4096 ? 0 : -EBADMSG;
}

/* Explains group0; the number of processes shown in *ret_processes. */
static int explain(sd_bus *bus, unsigned *ret_processes, uint64_t *ret_private)
{
        sd_bus_message *reply = NULL;
        const char *key;
        int r = sd_bus_call_method(bus, NULL, GROUP("group0"), BUS_GROUP_INTERFACE, "Explain", NULL, &reply, NULL);

        if (r < 0)
                return r;
        *ret_processes = 0;
        sd_bus_message_enter_container(reply, 'a', "{sv}");
        while (sd_bus_message_enter_container(reply, 'e', "sv") > 0) {
                sd_bus_message_read(reply, "s", &key);
                if (strcmp(key, "Private") == 0)
                        sd_bus_message_read(reply, "v", "t", ret_private);
                else
                        sd_bus_message_skip(reply, "v");
                sd_bus_message_exit_container(reply);
        }
        sd_bus_message_exit_container(reply);
        sd_bus_message_enter_container(reply, 'a', "a{sv}");
        while (sd_bus_message_skip(reply, "a{sv}") > 0)
                (*ret_processes)++;
        sd_bus_message_exit_container(reply);
        r = explained_cgroups(reply);
        sd_bus_message_unref(reply);
        return r;
}

static int nobody_explains(struct fixture *f, sd_bus *bus)
{
        unsigned n = 99;
        uint64_t private_bytes = 0;

        if (explain(bus, &n, &private_bytes) < 0)
                return 1;
        return n != 0 ? 2 : private_bytes != 7 * MIB ? 3 : 0;
}

static int root_explains(struct fixture *f, sd_bus *bus)
{
        unsigned n = 99;
        uint64_t private_bytes = 0;

        if (explain(bus, &n, &private_bytes) < 0)
                return 1;
        return n != 40 ? 2 : private_bytes != 7 * MIB ? 3 : 0;
}

static void answer_explain(struct fixture *f, usec_t cost)
{
        struct {
                struct wire_detail d;
                struct wire_process p[40];
        } *body = calloc(1, sizeof(*body));
        struct wire_command c;

        receive_command(f, &c);
        assert_int_equal(c.verb, WIRE_EXPLAIN);
        body->d = (struct wire_detail){.magic = WIRE_MAGIC,
                                       .version = WIRE_VERSION,
                                       .size = sizeof(body->d),
                                       .process_size = sizeof(body->p[0]),
                                       .n_processes = 40,
                                       .books = {.here = 5 * MIB,
                                                 .elsewhere = 12288,
                                                 .n_charges = 2,
                                                 .charges = {{"/a\xff", 8192}, {"/b", 4096}}}};
        make_group(&body->d.group, c.group);
        body->d.group.sample.have_private = true;
        body->d.group.sample.private_bytes = 7 * MIB;
        body->d.group.sample.count_cost = cost;
        for (int i = 0; i < 40; i++) {
                body->p[i].pid = i + 1;
                strcpy(body->p[i].comm, "a\\x1b[31m");
        }
        send_reply(f, c.serial, 0, "", body, sizeof(*body));
        free(body);
}

static pid_t in_child(struct fixture *f, bool root, int (*fn)(struct fixture *f, sd_bus *bus))
{
        pid_t pid = fork();

        if (pid == 0)
                _exit(root ? fn(f, connect_front(f)) : as_nobody(f, fn));
        return pid;
}

static void assert_child(pid_t pid)
{
        int status;

        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
}

static int nobody_is_refused(struct fixture *f, sd_bus *bus)
{
        sd_bus_error error = SD_BUS_ERROR_NULL;

        return sd_bus_call_method(bus, NULL, GROUP("group1"), BUS_GROUP_INTERFACE, "Explain", &error, NULL, NULL) < 0 &&
                                               sd_bus_error_has_name(&error, BUS_ERROR_BUSY)
                               ? 0
                               : 1;
}

static void test_explain(void **state)
{
        struct fixture *f = *state;
        struct wire_command c;
        pid_t pid;

        if (geteuid() != 0) {
                print_message("skipped: becoming another user needs root\n");
                skip();
        }
        send_snapshot(f, 2, NULL, NULL);
        pid = in_child(f, true, root_explains);
        answer_explain(f, 0);
        assert_child(pid);
        /* others have what root has just had, without the processes, and nothing is counted */
        assert_child(in_child(f, false, nobody_explains));
        assert_true(recv(f->engine, &c, sizeof(c), MSG_DONTWAIT) < 0);
        /* root always has a new one */
        pid = in_child(f, true, root_explains);
        answer_explain(f, 100 * USEC_PER_SEC);
        assert_child(pid);
        /* counts for users: paid by users only, and over the budget no more of them */
        sleep((unsigned)(LIMIT_EXPLAIN_CACHE_USEC / USEC_PER_SEC) + 1);
        pid = in_child(f, false, nobody_explains);
        answer_explain(f, 100 * USEC_PER_SEC);
        assert_child(pid);
        assert_child(in_child(f, false, nobody_is_refused));
        assert_child(in_child(f, false, nobody_explains));
        assert_true(recv(f->engine, &c, sizeof(c), MSG_DONTWAIT) < 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test_setup_teardown(test_figures, fixture_setup, fixture_teardown),
                        cmocka_unit_test_setup_teardown(test_manager, fixture_setup, fixture_teardown),
                        cmocka_unit_test_setup_teardown(test_managed_objects, fixture_setup, fixture_teardown),
                        cmocka_unit_test_setup_teardown(test_introspection, fixture_setup, fixture_teardown),
                        cmocka_unit_test_setup_teardown(test_hello, fixture_setup, fixture_teardown),
                        cmocka_unit_test_setup_teardown(test_commands, fixture_setup, fixture_teardown),
                        cmocka_unit_test_setup_teardown(test_too_many_commands, fixture_setup, fixture_teardown),
                        cmocka_unit_test_setup_teardown(test_authorization, fixture_setup, fixture_teardown),
                        cmocka_unit_test_setup_teardown(test_explain, fixture_setup, fixture_teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
