/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "capd/base/text.h"
#include "capd/bus.h"
#include "capd/control/front.h"
#include "fixture.h"

int fixture_setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        struct sockaddr_un sa = {.sun_family = AF_UNIX};
        int pair[2], fd;

        /* the host's bus is none of its business */
        setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent", 0);
        strcpy(f->directory, "/tmp/capd-test-XXXXXX");
        assert_non_null(mkdtemp(f->directory));
        assert_int_equal(chmod(f->directory, 0755), 0);
        snprintf(f->path, sizeof(f->path), "%s/control", f->directory);
        snprintf(f->address, sizeof(f->address), "unix:path=%s", f->path);
        strcpy(sa.sun_path, f->path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
        assert_int_equal(chmod(f->path, 0666), 0);
        assert_int_equal(listen(fd, 512), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        f->engine = pair[0];
        f->front = fork();
        assert_true(f->front >= 0);
        if (f->front == 0) {
                close(pair[0]);
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                exit(front_run(pair[1], fd));
        }
        close(pair[1]);
        close(fd);
        *state = f;
        return 0;
}

int fixture_teardown(void **state)
{
        struct fixture *f = *state;
        int status;

        close(f->engine);
        assert_int_equal(waitpid(f->front, &status, 0), f->front);
        unlink(f->path);
        rmdir(f->directory);
        free(f);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
                print_error("the front ended with status %#x\n", (unsigned)status);
                return -1;
        }
        return 0;
}

static usec_t now_usec(void)
{
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (usec_t)ts.tv_sec * USEC_PER_SEC + (usec_t)ts.tv_nsec / 1000;
}

void make_group(struct wire_group *g, const char *name)
{
        *g = (struct wire_group){
                        .state = STATE_OK,
                        .has_cap = true,
                        .cap = 512 * MIB,
                        .configured_cap = 512 * MIB,
                        .low_watermark = 486 * MIB,
                        .trend = -5,
                        .sample = {.processes = 101,
                                   .address_spaces = 100,
                                   .bounds_at = now_usec(),
                                   .rss_sum = 10 * GIB,
                                   .upper = 10 * GIB,
                                   .quality = QUALITY_EXACT,
                                   .counted_at = now_usec() - 2 * USEC_PER_SEC,
                                   .resident = 101 * MIB,
                                   .anon = 100 * MIB,
                                   .file = 1 * MIB,
                                   .mapped = 10 * GIB},
                        .resident_before = SIZE_UNKNOWN,
                        .resident_after = SIZE_UNKNOWN,
        };
        text_copy(g->name, sizeof(g->name), name);
        strcpy(g->action, "pageout");
        strcpy(g->reason, "under its cap");
}

void send_raw(struct fixture *f, const struct wire_message *w, const void *body, size_t size)
{
        struct iovec iov = {.iov_base = (void *)w, .iov_len = sizeof(*w)};
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {0};
        struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
        int fd = -1;

        if (body) {
                fd = memfd_create("snapshot", MFD_CLOEXEC | MFD_ALLOW_SEALING);
                assert_int_equal(write(fd, body, size), (ssize_t)size);
                fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
                mh.msg_control = &control;
                mh.msg_controllen = sizeof(control);
                control.header.cmsg_level = SOL_SOCKET;
                control.header.cmsg_type = SCM_RIGHTS;
                control.header.cmsg_len = CMSG_LEN(sizeof(int));
                memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
        }
        assert_int_equal(sendmsg(f->engine, &mh, MSG_NOSIGNAL), (ssize_t)sizeof(*w));
        if (fd >= 0)
                close(fd);
}

void send_snapshot(struct fixture *f, uint32_t n, const struct wire_group *groups, const char *warnings)
{
        static uint64_t tick;
        size_t size = sizeof(struct wire_snapshot) + n * sizeof(struct wire_group);
        struct wire_snapshot *s = calloc(1, size);
        struct wire_group *g = (struct wire_group *)(s + 1);
        struct wire_message w = {.magic = WIRE_MAGIC,
                                 .version = WIRE_VERSION,
                                 .type = WIRE_SNAPSHOT,
                                 .has_body = 1,
                                 .body_size = size};
        sd_bus *bus;

        *s = (struct wire_snapshot){
                        .magic = WIRE_MAGIC,
                        .version = WIRE_VERSION,
                        .size = sizeof(*s),
                        .group_size = sizeof(*g),
                        .n_groups = n,
                        .published_at = now_usec(),
                        .tick = ++tick,
                        .host = {.total = 24 * GIB, .available = 20 * GIB, .used_basis_points = 1667},
                        .processes = 300,
        };
        strcpy(s->version_text, "0.1.0");
        text_copy(s->warnings, sizeof(s->warnings), warnings ? warnings : "");
        for (uint32_t i = 0; i < n; i++) {
                char name[32];

                snprintf(name, sizeof(name), "group%u", i);
                if (groups)
                        g[i] = groups[i];
                else
                        make_group(&g[i], name);
        }
        send_raw(f, &w, s, size);
        free(s);
        bus = connect_front(f);
        while (get_u64(bus, BUS_PATH, BUS_MANAGER_INTERFACE, "Tick") != tick)
                usleep(1000);
        sd_bus_flush_close_unref(bus);
}

void receive_command(struct fixture *f, struct wire_command *ret)
{
        assert_int_equal(recv(f->engine, ret, sizeof(*ret), 0), (ssize_t)sizeof(*ret));
        assert_int_equal(ret->magic, WIRE_MAGIC);
        assert_int_not_equal(ret->serial, 0);
}

void send_reply(struct fixture *f, uint32_t serial, int error, const char *text, const void *body, size_t size)
{
        struct wire_message w = {.magic = WIRE_MAGIC,
                                 .version = WIRE_VERSION,
                                 .type = WIRE_REPLY,
                                 .serial = serial,
                                 .error = error,
                                 .has_body = body != NULL,
                                 .body_size = size};

        text_copy(w.text, sizeof(w.text), text);
        send_raw(f, &w, body, size);
}

/* In a flood the backlog may be full for a moment, which a connection that is not blocking does not wait for. */
sd_bus *connect_front(struct fixture *f)
{
        for (int tries = 0;; tries++) {
                sd_bus *bus;
                int r;

                assert_true(sd_bus_new(&bus) >= 0);
                assert_true(sd_bus_set_address(bus, f->address) >= 0);
                r = sd_bus_start(bus);
                if (r >= 0)
                        return bus;
                sd_bus_unref(bus);
                if (r != -EAGAIN || tries > 500)
                        fail_msg("cannot connect: %s", strerror(-r));
                usleep(10000);
        }
}

int connect_raw(struct fixture *f)
{
        struct sockaddr_un sa = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        strcpy(sa.sun_path, f->path);
        assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
        return fd;
}

int as_nobody(struct fixture *f, int (*fn)(struct fixture *f, sd_bus *bus))
{
        pid_t pid = fork();
        int status;

        assert_true(pid >= 0);
        if (pid == 0) {
                sd_bus *bus;

                if (setgid(65534) < 0 || setuid(65534) < 0)
                        _exit(101);
                close(f->engine);
                bus = connect_front(f);
                _exit(fn(f, bus));
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

size_t front_resident(const struct fixture *f)
{
        char path[64];
        unsigned long size, resident;
        FILE *statm;

        snprintf(path, sizeof(path), "/proc/%d/statm", (int)f->front);
        statm = fopen(path, "re");
        assert_non_null(statm);
        assert_int_equal(fscanf(statm, "%lu %lu", &size, &resident), 2);
        fclose(statm);
        return resident * (size_t)sysconf(_SC_PAGESIZE);
}

uint64_t get_u64(sd_bus *bus, const char *path, const char *interface, const char *property)
{
        sd_bus_error error = SD_BUS_ERROR_NULL;
        uint64_t value = 0;
        int r = sd_bus_get_property_trivial(bus, NULL, path, interface, property, &error, 't', &value);

        if (r < 0)
                print_error("%s of %s: %s\n", property, path, error.message ? error.message : strerror(-r));
        assert_true(r >= 0);
        return value;
}
