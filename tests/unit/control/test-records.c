/* SPDX-License-Identifier: MIT */
/* What the front keeps over time and hands to the engine, with the engine played by the test. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "capd/bus.h"
#include "fixture.h"

/* A snapshot of one group, with a place for history and metrics. Returns when the front has taken it. */
static void publish(struct fixture *f, uint64_t resident, uint64_t history_bytes, bool metrics)
{
        static uint64_t tick = 1000;
        struct {
                struct wire_snapshot s;
                struct wire_group g;
        } body = {0};
        struct wire_message w = {.magic = WIRE_MAGIC,
                                 .version = WIRE_VERSION,
                                 .type = WIRE_SNAPSHOT,
                                 .has_body = 1,
                                 .body_size = sizeof(body)};
        struct timespec ts;
        sd_bus *bus;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        body.s = (struct wire_snapshot){.magic = WIRE_MAGIC,
                                        .version = WIRE_VERSION,
                                        .size = sizeof(body.s),
                                        .group_size = sizeof(body.g),
                                        .n_groups = 1,
                                        .published_at = (usec_t)ts.tv_sec * USEC_PER_SEC + (usec_t)ts.tv_nsec / 1000,
                                        .tick = ++tick,
                                        .history_time = 3600 * USEC_PER_SEC,
                                        .history_bytes = history_bytes,
                                        .store_history = true,
                                        .store_metrics = metrics};
        make_group(&body.g, "web");
        body.g.sample.resident = resident;
        body.g.sample.anon = body.g.sample.file = body.g.sample.shmem = SIZE_UNKNOWN;
        send_raw(f, &w, &body, sizeof(body));
        bus = connect_front(f);
        while (get_u64(bus, BUS_PATH, BUS_MANAGER_INTERFACE, "Tick") != tick)
                usleep(1000);
        sd_bus_flush_close_unref(bus);
}

static uint64_t first_row_at; /* of the last ask() */

/* Rows of GetHistory(), or a negative errno with the error's name. */
static int ask(struct fixture *f, const char *group, char *error_name, size_t size)
{
        sd_bus *bus = connect_front(f);
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *reply = NULL;
        int r, n = 0;

        r = sd_bus_call_method(bus, NULL, BUS_PATH, BUS_MANAGER_INTERFACE, "GetHistory", &error, &reply, "stu", group,
                               (uint64_t)0, 0U);
        if (r < 0)
                snprintf(error_name, size, "%s", error.name);
        else {
                assert_true(sd_bus_message_enter_container(reply, 'a', "(tttttttttss)") >= 0);
                while (sd_bus_message_at_end(reply, false) == 0) {
                        assert_true(sd_bus_message_enter_container(reply, 'r', "tttttttttss") >= 0);
                        if (n++ == 0)
                                assert_true(sd_bus_message_read(reply, "t", &first_row_at) >= 0);
                        assert_true(sd_bus_message_skip(reply, n == 1 ? "ttttttttss" : "tttttttttss") >= 0);
                        assert_true(sd_bus_message_exit_container(reply) >= 0);
                }
        }
        sd_bus_error_free(&error);
        sd_bus_message_unref(reply);
        sd_bus_flush_close_unref(bus);
        return r < 0 ? r : n;
}

/* The next thing that is to be stored: a sealed memfd. */
static int receive_body(struct fixture *f, enum wire_verb verb, char **ret, size_t *ret_size)
{
        struct wire_command c;
        struct iovec iov = {.iov_base = &c, .iov_len = sizeof(c)};
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {0};
        struct msghdr mh = {
                        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
        int fd;

        if (recvmsg(f->engine, &mh, 0) != (ssize_t)sizeof(c))
                return -ENODATA;
        assert_int_equal(c.verb, verb);
        assert_non_null(CMSG_FIRSTHDR(&mh));
        memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
        assert_int_equal(fcntl(fd, F_GET_SEALS) & (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW),
                         F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW);
        *ret = calloc(1, c.bytes + 1);
        *ret_size = c.bytes;
        assert_int_equal(pread(fd, *ret, c.bytes + 1, 0), (ssize_t)c.bytes);
        close(fd);
        return 0;
}

static void say(struct fixture *f, enum wire_type type, const void *body, size_t size)
{
        struct wire_message w = {.magic = WIRE_MAGIC,
                                 .version = WIRE_VERSION,
                                 .type = type,
                                 .has_body = body != NULL,
                                 .body_size = size};

        send_raw(f, &w, body, size);
}

static void test_get_history(void **state)
{
        struct fixture *f = *state;
        char name[128];

        publish(f, MIB, MIB, false);
        assert_int_equal(ask(f, "web", name, sizeof(name)), 1);
        publish(f, MIB, MIB, false);
        assert_int_equal(ask(f, "web", name, sizeof(name)), 1); /* nothing has changed */
        assert_true(ask(f, "none", name, sizeof(name)) < 0);
        assert_string_equal(name, BUS_ERROR_NO_SUCH_GROUP);
        publish(f, MIB, 0, false);
        assert_true(ask(f, "web", name, sizeof(name)) < 0);
        assert_string_equal(name, BUS_ERROR_FAILED);
}

static void test_metrics_are_handed_over(void **state)
{
        struct fixture *f = *state;
        char *text;
        size_t size;

        publish(f, 5 * MIB, MIB, true);
        assert_int_equal(receive_body(f, WIRE_STORE_METRICS, &text, &size), 0);
        assert_int_equal(strlen(text), size);
        assert_non_null(strstr(text, "capd_group_resident_bytes{group=\"web\"} 5242880\n"));
        free(text);
}

/* At the end the history is handed over; the next front has it from there. */
static void test_history_outlives_the_front(void **state)
{
        struct fixture *f = *state, *next;
        struct timespec before;
        void *second;
        char name[128], *data;
        size_t size;

        publish(f, MIB, MIB, false);
        say(f, WIRE_STOPPING, NULL, 0);
        assert_int_equal(receive_body(f, WIRE_STORE_HISTORY, &data, &size), 0);
        assert_int_equal(fixture_setup(&second), 0);
        next = second;
        say(next, WIRE_STORED, data, size);
        clock_gettime(CLOCK_REALTIME, &before);
        publish(next, 2 * MIB, MIB, false);
        assert_true(ask(next, "web", name, sizeof(name)) > 0);
        assert_true(first_row_at < (uint64_t)before.tv_sec * USEC_PER_SEC + (uint64_t)before.tv_nsec / 1000);
        assert_int_equal(fixture_teardown(&second), 0);
        free(data);
}

static void test_garbage_is_refused(void **state)
{
        struct fixture *f = *state;
        char name[128];

        say(f, WIRE_STORED, "garbage", 7);
        say(f, WIRE_STORED, NULL, 0);
        publish(f, MIB, MIB, false);
        assert_int_equal(ask(f, "web", name, sizeof(name)), 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test_setup_teardown(test_get_history, fixture_setup, fixture_teardown),
                        cmocka_unit_test_setup_teardown(test_metrics_are_handed_over, fixture_setup, fixture_teardown),
                        cmocka_unit_test_setup_teardown(test_history_outlives_the_front, fixture_setup,
                                                        fixture_teardown),
                        cmocka_unit_test_setup_teardown(test_garbage_is_refused, fixture_setup, fixture_teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
