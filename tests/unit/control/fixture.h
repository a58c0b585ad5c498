/* SPDX-License-Identifier: MIT */
/* fixture.h: a front in a child process, a test that plays the engine, and real sockets between. */
#ifndef TEST_CONTROL_FIXTURE_H
#define TEST_CONTROL_FIXTURE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-bus.h>

#include "capd/wire.h"

struct fixture {
        char directory[64];
        char address[128];
        char path[96];
        int engine; /* the engine's end of the channel */
        pid_t front;
};

int fixture_setup(void **state);
int fixture_teardown(void **state); /* fails if the front did not exit with 0 when the channel was closed */

/* A group with plausible figures in every field. */
void make_group(struct wire_group *g, const char *name);
void send_raw(struct fixture *f, const struct wire_message *w, const void *body, size_t size);
/* Groups "group0" to "groupN-1", or `groups` if it is not NULL. Returns when the front has taken it. */
void send_snapshot(struct fixture *f, uint32_t n, const struct wire_group *groups, const char *warnings);
void receive_command(struct fixture *f, struct wire_command *ret);
void send_reply(struct fixture *f, uint32_t serial, int error, const char *text, const void *body, size_t size);

sd_bus *connect_front(struct fixture *f);
int connect_raw(struct fixture *f); /* a blocking socket, nothing sent yet */
/* As user nobody, in a child: calls fn(bus) and returns its result (0 to 100). */
int as_nobody(struct fixture *f, int (*fn)(struct fixture *f, sd_bus *bus));
size_t front_resident(const struct fixture *f); /* bytes */
uint64_t get_u64(sd_bus *bus, const char *path, const char *interface, const char *property);

#endif
