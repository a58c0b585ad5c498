/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "capd/base/text.h"
#include "engine.h"
#include "events.h"

static const char *const kind_names[_EVENT_KIND_MAX] = {
                [EVENT_STATE] = "changes of state",
                [EVENT_ACT] = "acts",
                [EVENT_KILL] = "kills",
                [EVENT_MOVE] = "moves",
                [EVENT_REQUEST] = "requests",
};

static const char *const state_ids[_STATE_MAX] = {
                [STATE_OK] = MESSAGE_STATE_OK,
                [STATE_OVER] = MESSAGE_STATE_OVER,
                [STATE_ENFORCING] = MESSAGE_STATE_ENFORCING,
                [STATE_THRASHING] = MESSAGE_STATE_THRASHING,
                [STATE_UNENFORCEABLE] = MESSAGE_STATE_UNENFORCEABLE,
                [STATE_OBSERVED] = MESSAGE_STATE_OBSERVED,
                [STATE_PAUSED] = MESSAGE_STATE_PAUSED,
                [STATE_UNKNOWN] = MESSAGE_STATE_UNKNOWN,
};

static void tell_suppressed(const struct group *g, enum event_kind kind, struct event_rate *rate)
{
        const char *state = g ? group_state_to_string(g->memory.state) : NULL;
        uint32_t n = rate->suppressed;

        rate->suppressed = 0;
        if (n == 0)
                return;
        if (g)
                log_entry(LOG_INFO, MESSAGE_SUPPRESSED,
                          LOG_FIELDS({"CAPD_GROUP", g->name}, {"CAPD_STATE", state}, {"CAPD_SUPPRESSED", .number = n}),
                          "Group %s: %u suppressed: more %s than are logged one by one; it is %s", g->name, n,
                          kind_names[kind], state);
        else
                log_entry(LOG_INFO, MESSAGE_SUPPRESSED, LOG_FIELDS({"CAPD_SUPPRESSED", .number = n}),
                          "%u suppressed: more %s than are logged one by one", n, kind_names[kind]);
}

static struct event_rate *rates(struct engine *e, struct group *g)
{
        return g ? g->events : e->events;
}

static bool may_log(struct engine *e, struct group *g, enum event_kind kind)
{
        struct event_rate *rate = &rates(e, g)[kind];
        usec_t now = e->sys.ops->now(&e->sys);

        if (rate->since == 0 || now >= rate->since + LIMIT_EVENTS_USEC) {
                tell_suppressed(g, kind, rate);
                *rate = (struct event_rate){.since = now};
        }
        if (rate->n >= LIMIT_EVENTS) {
                rate->suppressed++;
                return false;
        }
        rate->n++;
        return true;
}

static void flush(const struct group *g, struct event_rate *rate, usec_t now)
{
        for (size_t i = 0; i < _EVENT_KIND_MAX; i++)
                if (rate[i].suppressed > 0 && now >= rate[i].since + LIMIT_EVENTS_USEC)
                        tell_suppressed(g, (enum event_kind)i, &rate[i]);
}

void event_flush(struct engine *e, usec_t now)
{
        flush(NULL, e->events, now);
        for (struct group *g = NULL; (g = groups_next(e, g));)
                flush(g, g->events, now);
}

/* What is known of the group, and `more`. */
static void fill(const struct group *g, const struct log_field *more, struct log_field fields[LOG_FIELDS_MAX])
{
        struct group_sample s;
        size_t n = 0;

        if (g) {
                decide_presentable(&g->sample, &s);
                fields[n++] = (struct log_field){"CAPD_GROUP", g->name};
                fields[n++] = (struct log_field){"CAPD_STATE", group_state_to_string(g->memory.state)};
                fields[n++] = (struct log_field){"CAPD_QUALITY", quality_to_string(s.quality)};
                fields[n++] = (struct log_field){"CAPD_RESIDENT_BYTES",
                                                 .number = s.quality == QUALITY_UNKNOWN ? SIZE_UNKNOWN : s.resident};
                fields[n++] = (struct log_field){"CAPD_CAP_BYTES",
                                                 .number = g->settings.has_cap ? g->settings.cap : SIZE_UNKNOWN};
                fields[n++] = (struct log_field){"CAPD_PROCESSES", .number = g->n_members};
        }
        for (; more && more->name && n < LOG_FIELDS_MAX - 1; more++)
                fields[n++] = *more;
        fields[n] = (struct log_field){0};
}

void event_log(struct engine *e, struct group *g, enum event_kind kind, int level, const char *message_id,
               const struct log_field *more, const char *format, ...)
{
        struct log_field fields[LOG_FIELDS_MAX];
        char text[1800];
        va_list ap;

        if (!log_shows(level) || !may_log(e, g, kind))
                return;
        va_start(ap, format);
        vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        fill(g, more, fields);
        if (g)
                log_entry(level, message_id, fields, "Group %s: %s", g->name, text);
        else
                log_entry(level, message_id, fields, "%s", text);
}

void event_request(struct engine *e, struct group *g, const struct wire_command *c, const char *message_id,
                   const char *format, ...)
{
        char text[512], escaped[1024];
        va_list ap;

        va_start(ap, format);
        vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        text_escape(escaped, sizeof(escaped), text, strlen(text));
        event_log(e, g, EVENT_REQUEST, LOG_NOTICE, message_id,
                  LOG_FIELDS({"CAPD_UID", .number = c->uid}, {"CAPD_PID", .number = (uint64_t)c->pid}),
                  "%s by uid %u (pid %d)", escaped, c->uid, c->pid);
}

static int level_of(enum group_state before, enum group_state now)
{
        if (now == STATE_UNENFORCEABLE || now == STATE_THRASHING)
                return LOG_WARNING;
        if (now == STATE_ENFORCING || now == STATE_OVER)
                return LOG_NOTICE;
        return before == STATE_UNKNOWN && now == STATE_OK ? LOG_DEBUG
                                                          : LOG_INFO; /* the first: every group at every start */
}

void event_state(struct engine *e, struct group *g, enum group_state before)
{
        const char *was = group_state_to_string(before), *is = group_state_to_string(g->memory.state);

        event_log(e, g, EVENT_STATE, level_of(before, g->memory.state), state_ids[g->memory.state],
                  LOG_FIELDS({"CAPD_OLD_STATE", was}, {"CAPD_REASON", g->memory.reason}), "%s → %s: %s", was, is,
                  g->memory.reason);
}
