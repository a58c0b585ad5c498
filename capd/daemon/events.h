/* SPDX-License-Identifier: MIT */
/*
 * events.h: what happens to groups, one entry of the log each, with fields for programs.
 *
 * A group has so many entries of a kind in a while (limits.h); of more than that their number is told.
 */
#ifndef CAPD_DAEMON_EVENTS_H
#define CAPD_DAEMON_EVENTS_H

#include "capd/base/log.h"
#include "capd/base/macros.h"
#include "capd/message-ids.h"
#include "capd/sample.h"

struct engine;
struct group;
struct wire_command;

enum event_kind {
        EVENT_STATE,
        EVENT_ACT,
        EVENT_KILL,
        EVENT_MOVE,
        EVENT_REQUEST,
        _EVENT_KIND_MAX,
};

struct event_rate {
        usec_t since; /* the while began */
        uint32_t n, suppressed;
};

/* With the group's figures and `more`, which may be NULL, beside the text. Without a group (NULL) it is about capd. */
void event_log(struct engine *e, struct group *g, enum event_kind kind, int level, const char *message_id,
               const struct log_field *more, const char *format, ...) _printf_(7, 8);
/* What a client asked for. The text may have been the client's. */
void event_request(struct engine *e, struct group *g, const struct wire_command *c, const char *message_id,
                   const char *format, ...) _printf_(5, 6);
/* The group's state was `before`. */
void event_state(struct engine *e, struct group *g, enum group_state before);
/* Tells how many entries were suppressed, once their while is over. */
void event_flush(struct engine *e, usec_t now);

#endif
