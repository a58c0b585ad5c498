/* SPDX-License-Identifier: MIT */
/*
 * ctl.h: the parts of capctl.
 *
 * capctl.c is main(), verbs.c the table of verbs. args.c reads the command line. client.c talks to the front and reads its
 * figures back into the structs of wire.h, which every verb works on. columns.c knows what can be shown in a table,
 * table.c shows it through libsmartcols, explain-text.c says it in words. One file a verb, or a family of them.
 */
#ifndef CAPD_CTL_H
#define CAPD_CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <systemd/sd-bus.h>

#include "capd/base/sys.h"
#include "capd/wire.h"

/* DESIGN section 7. */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NO_DAEMON = 3 };

/* -- arguments -- */

/* Selectors of measure, in the order of their options: keys of capd.conf. */
enum selector {
        SELECT_USER,
        SELECT_UID,
        SELECT_GID,
        SELECT_COMM,
        SELECT_EXE,
        SELECT_CMDLINE,
        SELECT_CGROUP,
        SELECT_UNIT,
        SELECT_CONTAINER,
        SELECT_PIDFILE,
        SELECT_PIDNS,
        _SELECT_MAX
};

struct verb;

struct arguments {
        const struct verb *verb;
        const char *runtime_directory;
        bool json, bytes, no_headings, raw;
        const char *output; /* COLS, or NULL */
        usec_t watch;       /* 0: once */
        const char *file, *duration, *since;
        bool csv, classic;
        bool want_private, want_pss, want_estimate;
        bool global;                  /* stat: the host too */
        char *selectors[_SELECT_MAX]; /* words joined by blanks, or NULL */
        char **words;                 /* what is not an option, behind the verb; belongs to argv */
        size_t n_words;
        bool help, version;
};

enum verb_flags {
        VERB_TABLE = 1 << 0,   /* takes -J -b -o -n -r */
        VERB_EXPLAIN = 1 << 1, /* -J of them */
        VERB_STATUS = 1 << 2,
        VERB_MEASURE = 1 << 3,
        VERB_CONFIG = 1 << 4,
        VERB_CAP = 1 << 5,
        VERB_TOP = 1 << 6,
        VERB_STAT = 1 << 7,
        VERB_HISTORY = 1 << 8,
        VERB_PLOT = 1 << 9,
        VERB_METRICS = 1 << 10,
        VERB_SUGGEST = 1 << 11,
};

struct verb {
        const char *name, *args, *help;        /* no help: for programs */
        int (*run)(const struct arguments *a); /* an exit status; whoever fails has said why */
        unsigned flags;
        unsigned min_words, max_words;
};
const struct column *verb_columns(const struct verb *v); /* what its -o chooses from */
#define VERBS_MAX 64U
extern const struct verb verbs[]; /* ends with a NULL name; the first is the default */

struct option_text {
        const char *name, *arg, *help;
        char letter;    /* 0: none */
        unsigned verbs; /* verb_flags that take it; 0: all do */
};
extern const struct option_text option_texts[]; /* ends with a NULL name */

/* 0, or an exit status when the message is out. */
int arguments_parse(int argc, char **argv, struct arguments *ret);
void arguments_done(struct arguments *a);
void print_help(FILE *f);

/* "capctl: …" on standard error. Returns EXIT_FAILED. */
int failed(const char *format, ...) _printf_(1, 2);
int out_of_memory(void);
/* What failed() says goes to `buf` from now on, the last message in place of others; NULL: to standard error again. */
void failures_to(char *buf, size_t size);

/* -- the daemon -- */

struct groups {
        struct wire_group *items;
        size_t n;
};

struct host {
        struct wire_snapshot figures;
        char *warnings; /* lines, or NULL */
        bool responding;
        uint64_t age; /* of the snapshot, microseconds */
};

/* Each returns 0, or an exit status when the message is out. */
int client_open(const struct arguments *a, sd_bus **ret);
int client_groups(sd_bus *bus, struct groups *ret);
int client_host(sd_bus *bus, struct host *ret);
/* A count made now. `group` and `books` of *ret are filled. *ret_processes, which may be NULL, is empty for users other than root. */
int client_explain(sd_bus *bus, const char *group, struct wire_detail *ret, struct wire_process **ret_processes,
                   size_t *ret_n);
/* Calls a method of the manager that answers with a text. */
int client_command(sd_bus *bus, char **ret_text, const char *method, const char *types, ...);
/* The history of a group in at most about `max` rows (0: as it is), the oldest first; `age` 0: all of it. The caller frees *ret. */
struct history_row;
int client_history(sd_bus *bus, const char *group, usec_t age, uint32_t max, struct history_row **ret, size_t *ret_n);
/* The same without a message; a negative errno. */
int client_try_history(sd_bus *bus, const char *group, usec_t age, uint32_t max, struct history_row **ret,
                       size_t *ret_n);
void groups_done(struct groups *g);
void host_done(struct host *h);

/* -- figures -- */

/* Each reads a{sv} of the control interface. Unknown names are skipped. 0 or a negative errno. */
int figures_read_group(sd_bus_message *m, struct wire_group *ret);
int figures_read_host(sd_bus_message *m, struct wire_snapshot *ret);
int figures_read_process(sd_bus_message *m, struct wire_process *ret);
int figures_read_books(sd_bus_message *m, struct wire_books *ret);

/* Or until a signal. */
void pause_for(usec_t t);

/* -- tables -- */

/* Of standard output; 0 if that is no terminal, or one of which it is not known. */
unsigned terminal_width(void);

enum column_kind {
        COLUMN_TEXT,
        COLUMN_STATE,
        COLUMN_QUALITY,
        COLUMN_U32,
        COLUMN_U64,
        COLUMN_SIZE,
        COLUMN_RESIDENT, /* a size with the sign of its quality */
        COLUMN_RATE,
        COLUMN_USE,
        COLUMN_AGE,
        COLUMN_UNTIL, /* time from now */
        COLUMN_BOOL,
        COLUMN_USER,
        COLUMN_COMMAND,
        COLUMN_PID,
        COLUMN_TIME, /* CLOCK_REALTIME */
        COLUMN_SPAN, /* microseconds */
};

enum column_flags {
        COLUMN_DEFAULT = 1 << 0,
        COLUMN_JSON = 1 << 1,    /* in JSON unless -o says otherwise */
        COLUMN_PRIVATE = 1 << 2, /* costs a count with mapping counts */
        COLUMN_PSS = 1 << 3,
        COLUMN_MEASURE = 1 << 4, /* default of capctl measure */
        COLUMN_DAEMON = 1 << 5,  /* means nothing without the daemon */
        COLUMN_WIDE = 1 << 6,    /* default where there is room */
        COLUMN_HISTORY = 1 << 7, /* of struct status_row, and asks for the history */
        COLUMN_ESTIMATE = 1 << 8,
        COLUMN_SENTENCE = 1 << 9, /* never cut */
};

struct column {
        const char *header, *key, *help;
        enum column_kind kind;
        size_t offset;
        unsigned flags;
};
extern const struct column group_columns[], act_columns[], charge_columns[], process_columns[], stat_columns[],
                history_columns[]; /* end with a NULL header */

#define COLUMNS_MAX 128U

struct selection {
        const struct column *items[COLUMNS_MAX];
        size_t n;
};

/* The columns to show: `flag` ones, or those of -o: "A,B" instead of them, "+A" beside them. 0 or EXIT_USAGE. */
int columns_select(const struct column *all, const struct arguments *a, unsigned flag, struct selection *ret);
/* Whether the words of -o name it. */
bool columns_name(const char *list, const struct column *c);
bool selection_has(const struct selection *s, unsigned flag);

enum cell_style { CELL_TABLE, CELL_BYTES, CELL_RAW, CELL_JSON };
#define CELL_MAX 640U
/* The text of one cell; "" stands for null in JSON. */
void cell_text(char buf[static CELL_MAX], const struct column *c, const void *row, enum cell_style style, usec_t now);
/* resident in percent of the cap; UINT32_MAX: unknown, or no cap. */
uint32_t use_percent(const struct wire_group *g);
const char *state_colour(enum group_state s); /* a name for libsmartcols, or NULL */

/* Rows of `size` bytes each; `name` is the list's in JSON. */
struct rows {
        const char *name;
        const struct selection *columns;
        const void *items;
        size_t n, size;
};
/* Several lists in one JSON object. 0 or EXIT_FAILED. */
int tables_print_json(const struct arguments *a, const struct rows *lists, size_t n);
/* The same of one list, as a table or as JSON. */
int table_print(const char *name, const struct selection *s, const struct arguments *a, const void *rows, size_t n,
                size_t size);

/* The table as text of its own, as wide as it needs; NULL for want of memory. */
char *table_text(const struct selection *s, const void *rows, size_t n, size_t size);

/* -- status, ps, top -- */

#define NO_GROUPS                                                                                                      \
        "No groups: write [Group NAME] sections into the configuration ('capctl suggest' proposes some), then run "    \
        "'capctl reload'"
#define PS_NEEDS_ROOT "capd shows single processes to root only; 'capctl explain' shows the sums"
/* What is wrong with the host, capd and its configuration, a sentence a line. */
void host_notes(FILE *f, const struct host *h);
/* Those first that add most. */
void processes_sort(struct wire_process *processes, size_t n);

/* -- explain -- */

/* The whole explanation. `now` is CLOCK_MONOTONIC. */
void explain_text(FILE *f, const struct wire_detail *d, bool dry_run, usec_t now);
/* Its part about cgroups: explain-cgroups.c. */
void explain_cgroups(FILE *f, const struct wire_detail *d);
/* One term of a sum: its sign, for people, in bytes, what it is. */
void explain_term(FILE *f, char sign, uint64_t bytes, const char *label);

/* -- history -- */

struct history_row {
        uint64_t at, span; /* CLOCK_REALTIME, microseconds */
        uint32_t state;
        struct group_sample sample; /* resident, its quality, rss_sum */
        uint64_t cap, watermark, paged_out, refaulted, freed;
};

#define SPARKLINE_CELLS 20U
#define SPARKLINE_USEC  (3600 * USEC_PER_SEC)

/* A group in status, with what is not in its figures. */
struct status_row {
        struct wire_group group;
        char history[4 * SPARKLINE_CELLS];
};

/* --since, or `fallback`. 0 or EXIT_USAGE. */
int since_of(const struct arguments *a, usec_t fallback, usec_t *ret);
void sparkline(char *buf, size_t size, const struct history_row *rows, size_t n, uint64_t now, bool utf8);
void sparklines(sd_bus *bus, struct status_row *rows, size_t n);

/* -- verbs -- */

int verb_status(const struct arguments *a);
int verb_explain(const struct arguments *a);
int verb_ps(const struct arguments *a);
int verb_top(const struct arguments *a);
int verb_stat(const struct arguments *a);
int verb_measure(const struct arguments *a);
int verb_check(const struct arguments *a);
int verb_config(const struct arguments *a);
int verb_cap(const struct arguments *a);
int verb_pause(const struct arguments *a);
int verb_resume(const struct arguments *a);
int verb_enforce(const struct arguments *a);
int verb_history(const struct arguments *a);
int verb_plot(const struct arguments *a);
int verb_metrics(const struct arguments *a);
int verb_reload(const struct arguments *a);
int verb_complete(const struct arguments *a);
int verb_suggest(const struct arguments *a);

#endif
