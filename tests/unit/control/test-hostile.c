/* SPDX-License-Identifier: MIT */
/* What clients and a broken engine may do to the front without ending it, locking others out or making it grow. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "capd/bus.h"
#include "fixture.h"

#define AUTH "\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n"

/* A guard: a machine may stand still for seconds. */
#define PATIENCE_SECONDS 60

static uint32_t groups_served(struct fixture *f)
{
        sd_bus *bus = connect_front(f);
        uint32_t n = 0;

        assert_true(sd_bus_get_property_trivial(bus, NULL, BUS_PATH, BUS_MANAGER_INTERFACE, "NGroups", NULL, 'u', &n) >=
                    0);
        sd_bus_flush_close_unref(bus);
        return n;
}

static void assert_serves(struct fixture *f, unsigned n_groups)
{
        assert_int_equal(groups_served(f), n_groups);
}

/* Closed by the front before long, whatever it said before. */
static void assert_dropped(int fd)
{
        char buf[4096];
        struct timeval t = {.tv_sec = PATIENCE_SECONDS};
        ssize_t n;

        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
        do
                n = recv(fd, buf, sizeof(buf), 0);
        while (n > 0);
        assert_true(n == 0 || errno == ECONNRESET);
        close(fd);
}

static void say(int fd, const void *data, size_t size)
{
        assert_int_equal(send(fd, data, size, MSG_NOSIGNAL), (ssize_t)size);
}

static void test_garbage(void **state)
{
        struct fixture *f = *state;
        char noise[8192];
        int fd;

        send_snapshot(f, 2, NULL, NULL);
        /* no NUL first */
        fd = connect_raw(f);
        say(fd, "GET / HTTP/1.0\r\n\r\n", 18);
        assert_dropped(fd);
        /* an authentication without an end */
        memset(noise, 'A', sizeof(noise));
        noise[0] = 0;
        fd = connect_raw(f);
        say(fd, noise, 5000);
        assert_dropped(fd);
        /* one that goes on and on */
        fd = connect_raw(f);
        say(fd, "", 1);
        for (int i = 0; i < 4000; i++)
                if (send(fd, "\r\n", 2, MSG_NOSIGNAL) < 0)
                        break;
        assert_dropped(fd);
        /* noise for messages */
        memset(noise, 0xa5, sizeof(noise));
        fd = connect_raw(f);
        say(fd, AUTH, sizeof(AUTH) - 1);
        say(fd, noise, sizeof(noise));
        assert_dropped(fd);
        /* a header that promises 100 MiB */
        fd = connect_raw(f);
        say(fd, AUTH, sizeof(AUTH) - 1);
        say(fd, "l\1\0\1\0\0\100\6\1\0\0\0\10\0\0\0", 16);
        assert_dropped(fd);
        /* lengths that overflow 32 bits together */
        fd = connect_raw(f);
        say(fd, AUTH, sizeof(AUTH) - 1);
        say(fd, "l\1\0\1\377\377\377\377\1\0\0\0\377\377\377\377", 16);
        assert_dropped(fd);
        assert_serves(f, 2);
}

/* A well-framed message with a broken inside is dropped by sd-bus; the connection, or the front, must go on or end. */
static void test_broken_message(void **state)
{
        struct fixture *f = *state;
        char m[16 + 64] = "l\1\0\1\0\0\0\0\1\0\0\0\100\0\0\0";
        int fd;

        send_snapshot(f, 2, NULL, NULL);
        memset(m + 16, 0xee, 64);
        fd = connect_raw(f);
        say(fd, AUTH, sizeof(AUTH) - 1);
        for (int i = 0; i < 100; i++)
                if (send(fd, m, sizeof(m), MSG_NOSIGNAL) < 0)
                        break;
        assert_serves(f, 2);
        close(fd);
        assert_serves(f, 2);
}

static void test_half_a_greeting(void **state)
{
        struct fixture *f = *state;
        int fds[20];

        send_snapshot(f, 2, NULL, NULL);
        for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
                fds[i] = connect_raw(f);
                say(fds[i], "\0AUTH EXT", 1 + i % 9);
        }
        assert_serves(f, 2);
        for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
                close(fds[i]);
        assert_serves(f, 2);
}

/* Writes a call of GetManagedObjects as it is sent. Its size. */
static size_t call_bytes(char buf[static 512])
{
        static const char fields[] = "\1\1o\0\12\0\0\0/org/capd1\0\0\0\0\0\0"
                                     "\2\1s\0\42\0\0\0org.freedesktop.DBus.ObjectManager\0\0\0\0\0\0"
                                     "\3\1s\0\21\0\0\0GetManagedObjects\0";
        uint32_t n = sizeof(fields) - 1;
        size_t padded = (16 + n + 7) / 8 * 8;

        memset(buf, 0, padded);
        memcpy(buf, "l\1\0\1\0\0\0\0\1\0\0\0", 12);
        memcpy(buf + 12, &n, 4);
        memcpy(buf + 16, fields, n);
        return padded;
}

/* Asks for everything again and again and reads nothing: the front stops listening, keeps one answer, and drops it. */
static void test_never_reads(void **state)
{
        struct fixture *f = *state;
        char call[512];
        size_t size = call_bytes(call), before;
        int fds[8];

        send_snapshot(f, 1000, NULL, NULL);
        assert_serves(f, 1000);
        before = front_resident(f);
        for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
                fds[i] = connect_raw(f);
                say(fds[i], AUTH, sizeof(AUTH) - 1);
                usleep(20000);
                for (int j = 0; j < 2000; j++)
                        if (send(fds[i], call, size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
                                break;
        }
        usleep(500000);
        assert_serves(f, 1000);
        /* one answer is some 4 MiB; the sanitizer's quarantine is what makes this generous */
        assert_true(front_resident(f) < before + ARRAY_SIZE(fds) * 24 * MIB + 400 * MIB);
        /* LIMIT_CLIENT_STALL_USEC later, and without a byte read */
        for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
                struct pollfd p = {.fd = fds[i]};

                assert_int_equal(poll(&p, 1, 60000), 1);
                assert_true(p.revents & (POLLHUP | POLLERR));
                close(fds[i]);
        }
        assert_serves(f, 1000);
}

/* Many calls at once from one who does read: each is answered, in order. */
static void test_pipelined(void **state)
{
        struct fixture *f = *state;
        char call[512], buf[65536];
        size_t size = call_bytes(call), got = 0;
        int fd;

        send_snapshot(f, 3, NULL, NULL);
        fd = connect_raw(f);
        say(fd, AUTH, sizeof(AUTH) - 1);
        for (int i = 0; i < 50; i++)
                say(fd, call, size);
        for (struct pollfd p = {.fd = fd, .events = POLLIN}; poll(&p, 1, 1000) > 0;) {
                ssize_t n = recv(fd, buf, sizeof(buf), 0);

                assert_true(n > 0);
                got += (size_t)n;
        }
        /* three groups of some 3 KiB each, fifty times */
        assert_true(got > 50 * 3 * 2000);
        close(fd);
        assert_serves(f, 3);
}

static int nobody_floods(struct fixture *f, sd_bus *bus)
{
        int fds[600];

        for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
                fds[i] = connect_raw(f);
        pause();
        return 0;
}

static void test_connections(void **state)
{
        struct fixture *f = *state;
        pid_t pid;

        send_snapshot(f, 2, NULL, NULL);
        /* a thousand that come and go */
        for (int i = 0; i < 1000; i++)
                close(connect_raw(f));
        assert_serves(f, 2);
        if (geteuid() != 0) {
                print_message("skipped in part: becoming another user needs root\n");
                return;
        }
        pid = fork();
        if (pid == 0) {
                setsid();
                close(f->engine);
                f->engine = -1;
                _exit(as_nobody(f, nobody_floods));
        }
        sleep(1);
        assert_serves(f, 2);
        kill(-pid, SIGKILL);
        waitpid(pid, NULL, 0);
        assert_serves(f, 2);
}

static int count_open(const int *fds, size_t n)
{
        int open = 0;

        for (size_t i = 0; i < n; i++) {
                struct pollfd p = {.fd = fds[i], .events = POLLIN};

                open += poll(&p, 1, 0) == 0;
        }
        return open;
}

static int nobody_counts(struct fixture *f, sd_bus *bus)
{
        int fds[LIMIT_CLIENTS_PER_USER + 8];

        for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
                fds[i] = connect_raw(f);
        /* and the bus itself */
        for (int i = 0;
             i < PATIENCE_SECONDS * 100 && count_open(fds, ARRAY_SIZE(fds)) + 1 > (int)LIMIT_CLIENTS_PER_USER; i++)
                usleep(10000);
        /* nor are more of them closed */
        usleep(200000);
        return count_open(fds, ARRAY_SIZE(fds)) + 1;
}

static void test_per_user(void **state)
{
        struct fixture *f = *state;

        if (geteuid() != 0) {
                print_message("skipped: becoming another user needs root\n");
                skip();
        }
        send_snapshot(f, 2, NULL, NULL);
        assert_serves(f, 2); /* clients are let in with the first snapshot */
        assert_int_equal(as_nobody(f, nobody_counts), LIMIT_CLIENTS_PER_USER);
}

static void test_bad_snapshots(void **state)
{
        struct fixture *f = *state;
        struct {
                struct wire_snapshot s;
                struct wire_group g[2];
        } b = {0}, bad;
        struct wire_message w = {.magic = WIRE_MAGIC, .version = WIRE_VERSION, .type = WIRE_SNAPSHOT, .has_body = 1};

        send_snapshot(f, 3, NULL, NULL);
        b.s = (struct wire_snapshot){.magic = WIRE_MAGIC,
                                     .version = WIRE_VERSION,
                                     .size = sizeof(b.s),
                                     .group_size = sizeof(b.g[0]),
                                     .n_groups = 2,
                                     .published_at = 1};
        make_group(&b.g[0], "a");
        make_group(&b.g[1], "b");
        w.body_size = sizeof(b);
        for (int i = 0; i < 14; i++) {
                struct wire_message m = w;
                size_t size = sizeof(bad);

                bad = b;
                switch (i) {
                case 0:
                        bad.s.magic = 1;
                        break;
                case 1:
                        bad.s.version++;
                        break;
                case 2:
                        bad.s.size--;
                        break;
                case 3:
                        bad.s.group_size++;
                        break;
                case 4:
                        bad.s.n_groups = 3;
                        break;
                case 5:
                        bad.s.n_groups = UINT32_MAX;
                        break;
                case 6:
                        memset(bad.g[1].name, 'x', sizeof(bad.g[1].name));
                        break;
                case 7:
                        bad.g[0].state = 77;
                        break;
                case 8:
                        strcpy(bad.g[1].name, "a");
                        break;
                case 9:
                        bad.g[1].name[0] = '\0';
                        break;
                case 10:
                        size -= 100;
                        break; /* shorter than it says */
                case 11:
                        size = 10;
                        m.body_size = 10;
                        break;
                case 12:
                        m.version++;
                        break;
                case 13:
                        memset(bad.s.config_error, 'x', sizeof(bad.s.config_error));
                        break;
                }
                send_raw(f, &m, &bad, size);
                assert_serves(f, 3);
        }
        send_raw(f, &w, NULL, 0);       /* a body without a descriptor */
        send(f->engine, "short", 5, 0); /* no message at all */
        assert_serves(f, 3);
        send_raw(f, &w, &b, sizeof(b));
        for (int i = 0; i < PATIENCE_SECONDS * 100 && groups_served(f) != 2; i++)
                usleep(10000);
        assert_serves(f, 2);
}

static void test_stopping(void **state)
{
        struct fixture *f = *state;
        struct wire_message w = {.magic = WIRE_MAGIC, .version = WIRE_VERSION, .type = WIRE_STOPPING};
        int fd = connect_raw(f);

        send_raw(f, &w, NULL, 0);
        assert_dropped(fd);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test_setup_teardown(test_garbage, fixture_setup, fixture_teardown),
                        cmocka_unit_test_setup_teardown(test_broken_message, fixture_setup, fixture_teardown),
                        cmocka_unit_test_setup_teardown(test_half_a_greeting, fixture_setup, fixture_teardown),
                        cmocka_unit_test_setup_teardown(test_never_reads, fixture_setup, fixture_teardown),
                        cmocka_unit_test_setup_teardown(test_pipelined, fixture_setup, fixture_teardown),
                        cmocka_unit_test_setup_teardown(test_connections, fixture_setup, fixture_teardown),
                        cmocka_unit_test_setup_teardown(test_per_user, fixture_setup, fixture_teardown),
                        cmocka_unit_test_setup_teardown(test_bad_snapshots, fixture_setup, fixture_teardown),
                        cmocka_unit_test_setup_teardown(test_stopping, fixture_setup, fixture_teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
