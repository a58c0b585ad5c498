/* SPDX-License-Identifier: MIT */
/*
 * gate.c: what a client sent is let through to sd-bus one message at a time.
 *
 * sd-bus takes messages of up to 128 MiB, allocates what a header claims, and queues hundreds of thousands of replies
 * for a client that does not read (bus-internal.h: BUS_MESSAGE_SIZE_MAX, BUS_WQUEUE_MAX). Neither can be set. So bytes are
 * collected here first, and clients.c hands on the next message only when the answer to the one before has left. All
 * that is read of the protocol is where a message ends (D-Bus specification, "Message Format").
 */
#include <errno.h>
#include <string.h>

#include "internal.h"

#define HEADER_BYTES 16U

static uint32_t read_u32(const uint8_t *p, bool little)
{
        return little ? (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24
                      : (uint32_t)p[3] | (uint32_t)p[2] << 8 | (uint32_t)p[1] << 16 | (uint32_t)p[0] << 24;
}

/* The authentication: a NUL, then lines; BEGIN is the last. */
static ssize_t ready_auth(const struct gate *g, bool *ret_begin)
{
        size_t at = 0, complete = 0;

        if (g->len == 0)
                return 0;
        if (g->auth_seen == 0) {
                if (g->buf[0] != 0)
                        return -EPROTO;
                at = 1;
        }
        for (;;) {
                const uint8_t *line = g->buf + at, *end = memmem(line, g->len - at, "\r\n", 2);

                if (!end)
                        break;
                at = complete = (size_t)(end - g->buf) + 2;
                if (end - line == 5 && memcmp(line, "BEGIN", 5) == 0) {
                        *ret_begin = true;
                        break;
                }
        }
        if (g->auth_seen + (complete ? complete : g->len) > LIMIT_CLIENT_AUTH_BYTES)
                return -EMSGSIZE;
        return (ssize_t)complete;
}

static ssize_t ready_message(const struct gate *g)
{
        uint64_t size, fields, body;
        bool little;

        if (g->len < HEADER_BYTES)
                return 0;
        little = g->buf[0] == 'l';
        if ((!little && g->buf[0] != 'B') || g->buf[3] != 1)
                return -EPROTO;
        body = read_u32(g->buf + 4, little);
        fields = read_u32(g->buf + 12, little);
        size = HEADER_BYTES + (fields + 7) / 8 * 8 + body;
        if (size > sizeof(g->buf))
                return -EMSGSIZE;
        return g->len >= size ? (ssize_t)size : 0;
}

ssize_t gate_ready(const struct gate *g, bool *ret_begin)
{
        *ret_begin = false;
        return g->begun ? ready_message(g) : ready_auth(g, ret_begin);
}

void gate_consume(struct gate *g, size_t n, bool begin)
{
        if (!g->begun)
                g->auth_seen += n;
        g->begun |= begin;
        g->len -= n;
        memmove(g->buf, g->buf + n, g->len);
}
