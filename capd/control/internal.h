/* SPDX-License-Identifier: MIT */
/*
 * internal.h: the parts of the front.
 *
 *     engine channel (front.c) ──► snapshot (snapshot.c) ──► objects (bus-objects.c, manager.c, group.c) ──► news (news.c)
 *            ▲      └─ replies ──► pending (pending.c, explain.c)                   ▲                            │ signals
 *            └──── commands ◄──────────┘ ◄── requests (requests.c) ◄── clients (clients.c, gate.c)              ▼
 *                                                     └─────────────── the system bus (system-bus.c) ◄───────────┘
 *
 * One thread, one loop. The front owns everything; a client owns its bus; a request or pending command holds a reference to
 * the message it will answer. Whatever a client can make grow is bounded by include/capd/limits.h.
 */
#ifndef CAPD_CONTROL_INTERNAL_H
#define CAPD_CONTROL_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "capd/base/macros.h"
#include "capd/limits.h"
#include "capd/wire.h"
#include "history.h"

/* -- what the engine published last -- */

struct snapshot {
        struct wire_snapshot header;
        struct wire_group *groups;
        uint32_t *by_name; /* indices of groups, sorted by name */
};
void snapshot_done(struct snapshot *s);
int read_exactly(int fd, void *buf, size_t size, uint64_t offset); /* 0, -ENODATA at its end, or a negative errno */
/* Reads a body and checks all of it. 0, or a negative errno with *ret untouched and *ret_why saying what is wrong. */
int snapshot_read(int fd, uint64_t size, struct snapshot *ret, const char **ret_why);
struct wire_group *snapshot_find(const struct snapshot *s, const char *name);
/* Makes a group safe to show: text is valid UTF-8, what is not known is SIZE_UNKNOWN. -EBADMSG if it is no group. */
int snapshot_clean_group(struct wire_group *g);
int snapshot_clean_process(struct wire_process *p);
int snapshot_clean_books(struct wire_books *b);

/* -- the front -- */

struct caller {
        uid_t uid;
        pid_t pid;
};

/* The connection to the system bus, which comes and goes. */
struct system_bus {
        sd_bus *bus; /* NULL: none */
        sd_event_source *retry, *resume, *post;
        bool attached; /* it is read; not while its clients have used more than their share */
        bool owned;    /* capd has its name there */
        bool failed;   /* to be closed, from outside its own callbacks */
        bool served;   /* a request was handled since the last look at the clock of CPU time */
        usec_t wait;   /* before the next attempt */
        usec_t cpu_at, debt, debt_at;
        char said[256]; /* the trouble that was logged last */
};

/* What is to be told on the system bus (news.c). */
struct group_news;
struct news {
        sd_event_source *source;
        struct group_news *groups; /* as many as there are in the snapshot */
        uint64_t manager;          /* changed figures, a bit for each */
        bool warnings, features;   /* these have changed */
        uint64_t tick;             /* of the snapshot */
        uint64_t manager_told;     /* tick */
        size_t next;               /* group */
};

struct front {
        sd_event *event;
        int engine_fd, listen_fd;
        usec_t started_at;
        sd_event_source *listen_source;
        sd_event_source *resume_source; /* accepts again after descriptors ran out */
        struct snapshot snapshot;       /* all zero until the first one came */
        usec_t longest_tick;            /* between two snapshots, of the last while */
        struct history history;
        usec_t history_stored_at, metrics_stored_at;
        struct client *clients;
        unsigned n_clients, max_clients;
        struct system_bus system_bus;
        struct news news;
        struct asking *asking;
        unsigned n_asking;
        uint64_t asked; /* questions to polkit */
        struct pending *pending;
        unsigned n_pending;
        uint32_t last_serial;
        struct cached_explain *cache;         /* LIMIT_EXPLAIN_CACHE entries, or NULL */
        usec_t explain_debt, explain_debt_at; /* CPU time spent for users, paid back as time goes by */
        usec_t logged_at[16];                 /* front_may_log() */
        unsigned unlogged_refusals;
        bool stopping;
};

usec_t front_now(const struct front *f);

/* What happens again and again at a client's will is logged once a minute. */
enum log_kind {
        LOG_REFUSED,
        LOG_DROPPED,
        LOG_BAD_ENGINE,
        LOG_NO_DESCRIPTORS,
        LOG_FORBIDDEN,
        LOG_BUS_BUSY,
        LOG_NO_POLKIT,
        LOG_STORE
};
bool front_may_log(struct front *f, enum log_kind kind);
/* A request of somebody on the bus that he names. */
void front_say_refused(struct front *f, const struct caller *caller, const char *bus, const char *why);

/* CLOCK_REALTIME when CLOCK_MONOTONIC was 0, microseconds. */
int64_t front_realtime(void);

/* -- what is kept over time, and leaves as files (store.c) -- */

/* A snapshot has come: into the history, and out as metrics, as far as it is time. */
void store_snapshot(struct front *f);
/* What an earlier front or capd has left. */
void store_read(struct front *f, int fd);
/* capd is ending. */
void store_last(struct front *f);

/* The metrics of all groups as text. The caller frees *ret. 0 or -ENOMEM. */
int metrics_text(const struct snapshot *s, int64_t realtime, bool openmetrics, char **ret, size_t *ret_size);

/* GetHistory() and GetMetrics() of the manager. */
int method_get_history(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_get_metrics(sd_bus_message *m, void *userdata, sd_bus_error *error);

/* -- clients -- */

struct client;
int clients_start(struct front *f);
void clients_free_all(struct front *f);
/* Who is behind a message on the private socket. -ENOTCONN if nobody is any more. */
int client_credentials(struct front *f, sd_bus_message *m, struct caller *ret);

/* -- what goes into a client's bus (gate.c) -- */

struct gate {
        bool begun;       /* the authentication is over */
        size_t auth_seen; /* bytes of it */
        size_t len;
        uint8_t buf[LIMIT_CLIENT_MESSAGE_BYTES];
};
/* Bytes at the beginning of buf that belong together and may go on; 0: more are needed; -EPROTO, -EMSGSIZE: drop the client. */
ssize_t gate_ready(const struct gate *g, bool *ret_begin);
void gate_consume(struct gate *g, size_t n, bool begin);

/* -- objects -- */

int bus_objects_add(struct front *f, sd_bus *bus);
/* What a client of the private socket expects of a message bus. */
int bus_objects_add_peer(struct front *f, sd_bus *bus);
extern const sd_bus_vtable manager_vtable[], group_vtable[];
enum figure_kind {
        FIGURE_TEXT,
        FIGURE_U32,
        FIGURE_U64,
        FIGURE_COUNTER,
        FIGURE_SIZE,
        FIGURE_USEC,
        FIGURE_AT,
        FIGURE_I64,
        FIGURE_INT,
        FIGURE_BOOL,
        FIGURE_STATE,
        FIGURE_QUALITY,
        FIGURE_AGE,
};
struct figure {
        const char *name;
        enum figure_kind kind;
        size_t offset;
};
extern const struct figure manager_figures[], group_figures[], process_figures[], books_figures[],
                charge_figures[]; /* end with a NULL name */
/* Whether the property emits PropertiesChanged, and is another one now. Ages and times move by themselves. */
bool figure_announced(const struct figure *f);
bool figure_differs(const struct figure *f, const void *a, const void *b);
/* Appends the figures of one struct as a{sv}. */
int figures_append(sd_bus_message *m, const struct figure *figures, const void *data);

#define DECLARE_GETTER(name)                                                                                           \
        int name(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,    \
                 void *data, sd_bus_error *error)
DECLARE_GETTER(figure_get_text);
DECLARE_GETTER(figure_get_bool);
DECLARE_GETTER(figure_get_state);
DECLARE_GETTER(figure_get_quality);
DECLARE_GETTER(figure_get_age);

/* One line of a vtable for one line of bus-figures.h. sd-bus itself reads plain numbers. */
#define FIGURE_SIGNATURE_TEXT    "s"
#define FIGURE_SIGNATURE_U32     "u"
#define FIGURE_SIGNATURE_U64     "t"
#define FIGURE_SIGNATURE_COUNTER "t"
#define FIGURE_SIGNATURE_SIZE    "t"
#define FIGURE_SIGNATURE_USEC    "t"
#define FIGURE_SIGNATURE_AT      "t"
#define FIGURE_SIGNATURE_I64     "x"
#define FIGURE_SIGNATURE_INT     "i"
#define FIGURE_SIGNATURE_BOOL    "b"
#define FIGURE_SIGNATURE_STATE   "s"
#define FIGURE_SIGNATURE_QUALITY "s"
#define FIGURE_SIGNATURE_AGE     "t"
#define FIGURE_GETTER_TEXT       figure_get_text
#define FIGURE_GETTER_U32        NULL
#define FIGURE_GETTER_U64        NULL
#define FIGURE_GETTER_COUNTER    NULL
#define FIGURE_GETTER_SIZE       NULL
#define FIGURE_GETTER_USEC       NULL
#define FIGURE_GETTER_AT         NULL
#define FIGURE_GETTER_I64        NULL
#define FIGURE_GETTER_INT        NULL
#define FIGURE_GETTER_BOOL       figure_get_bool
#define FIGURE_GETTER_STATE      figure_get_state
#define FIGURE_GETTER_QUALITY    figure_get_quality
#define FIGURE_GETTER_AGE        figure_get_age
#define FIGURE_FLAGS_TEXT        SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define FIGURE_FLAGS_U32         SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define FIGURE_FLAGS_U64         SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define FIGURE_FLAGS_COUNTER     0
#define FIGURE_FLAGS_SIZE        SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define FIGURE_FLAGS_USEC        0
#define FIGURE_FLAGS_AT          0
#define FIGURE_FLAGS_I64         SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define FIGURE_FLAGS_INT         SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define FIGURE_FLAGS_BOOL        SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define FIGURE_FLAGS_STATE       SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define FIGURE_FLAGS_QUALITY     SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define FIGURE_FLAGS_AGE         0

/* -- requests: who asks, and whether they may -- */

struct request {
        enum wire_verb verb;
        bool brief; /* WIRE_EXPLAIN: the group's figures alone */
        uint64_t bytes;
        usec_t duration;
        char group[LIMIT_GROUP_NAME_BYTES];
};
/* Answers `m`, now or later. 1 for the method handler to return, or a negative errno with *error set. Explaining is open to
 * everybody; all else needs root or, on the system bus, polkit's yes. */
int request_begin(struct front *f, sd_bus_message *m, const struct request *request, sd_bus_error *error);
void request_forget_bus(struct front *f);

/* -- commands -- */

/* Sends a command for a caller and answers `m` when the engine has. As request_begin(). */
int pending_send(struct front *f, sd_bus_message *m, const struct caller *caller, const struct request *request,
                 sd_bus_error *error);
void pending_reply(struct front *f, const struct wire_message *w, int body_fd);
void pending_expire(struct front *f, usec_t now);
void pending_forget_bus(struct front *f, sd_bus *bus);
void pending_free_all(struct front *f);

/* -- Explain() and Measure() -- */

int explain_call(struct front *f, sd_bus_message *m, const struct caller *caller, const struct request *request,
                 sd_bus_error *error);
/* The engine's answer: kept for others, and given to `m` (which may be NULL). */
int explain_answer(struct front *f, sd_bus_message *m, uid_t uid, bool brief, int body_fd, uint64_t size);
void explain_done(struct front *f);

/* -- the system bus -- */

/* Connects, now or whenever there is a bus. Negative errno only if that cannot even be tried. */
int system_bus_start(struct front *f);
void system_bus_stop(struct front *f);
/* The bus to tell something on, or NULL. */
sd_bus *system_bus_audience(struct front *f);
void system_bus_fail(struct front *f, const char *why);

/* A snapshot has taken the place of `before`: what that changes is told, figures at most once a tick. */
void news_take(struct front *f, const struct snapshot *before);
void news_done(struct front *f);

#endif
