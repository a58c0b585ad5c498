/* SPDX-License-Identifier: MIT */
/*
 * policy.h: the administrator's words, read and checked.
 *
 * A policy is made from texts by policy_load() and never changes afterwards. It is PURE: no clock, no /proc, no user
 * database. What it must ask the world (which number a user name has) goes through `struct policy_world`.
 */
#ifndef CAPD_POLICY_POLICY_H
#define CAPD_POLICY_POLICY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "capd/base/conf-files.h"
#include "capd/base/macros.h"
#include "capd/process.h"

enum action { ACTION_OBSERVE, ACTION_PAGEOUT, ACTION_MOVE, _ACTION_MAX };
enum last_resort { LAST_RESORT_NONE, LAST_RESORT_KILL, _LAST_RESORT_MAX };
enum for_each {
        FOR_EACH_NONE,
        FOR_EACH_USER,
        FOR_EACH_UID,
        FOR_EACH_CGROUP,
        FOR_EACH_UNIT,
        FOR_EACH_CONTAINER,
        FOR_EACH_PIDNS,
        _FOR_EACH_MAX,
};
const char *action_to_string(enum action a);
const char *last_resort_to_string(enum last_resort l);
const char *for_each_to_string(enum for_each f); /* "" for NONE */

#define THRESHOLD_INHERIT UINT32_MAX

struct selectors; /* opaque; see match.h */

/* Where a value was set, "" and 0 for a built-in default. `file` belongs to the policy. */
struct policy_origin {
        const char *file;
        unsigned line;
};

struct policy_daemon {
        usec_t sample_interval;
        usec_t scan_interval;
        usec_t exact_interval;
        uint32_t pressure_threshold; /* basis points of host memory in use */
        uint32_t cpu_budget;         /* basis points of one CPU */
        usec_t max_stall;
        char *metrics_file; /* NULL: off */
        usec_t history_time;
        uint64_t history_size;     /* bytes; 0: no history */
        struct selectors *protect; /* NULL: none */
};

/* One [Group NAME] section. */
struct policy_section {
        char *name;
        char *description;           /* NULL: none */
        struct selectors *selectors; /* never NULL in a loaded policy */
        enum for_each for_each;
        bool has_cap;
        uint64_t cap_bytes;     /* if cap_percent is 0 */
        uint32_t cap_percent;   /* basis points of physical memory */
        uint32_t low_watermark; /* basis points of the cap */
        enum action action;
        uint64_t process_floor;
        uint64_t reclaim_rate;       /* bytes a second; 0 unlimited */
        uint32_t pressure_threshold; /* basis points, or THRESHOLD_INHERIT */
        char *hook;                  /* NULL: none */
        enum last_resort last_resort;
        usec_t last_resort_after;
        struct policy_origin origin; /* of the section's first header */
};

struct policy {
        struct policy_daemon daemon;
        struct policy_section *sections; /* in order of first appearance */
        size_t n_sections;
        unsigned facts; /* enum process_fact_flags that the selectors need */
        /* every path named by a PidFile=, each once: whoever matches must supply their contents */
        char **pid_files;
        size_t n_pid_files;
        void *origins; /* for policy_dump() */
};

struct policy_problem {
        char *file;    /* as given; escaped for display */
        unsigned line; /* 0: the file as a whole */
        char *message; /* names the offending text and what to do, escaped for display */
};

struct policy_problems {
        struct policy_problem *items;
        size_t n;
        size_t n_dropped; /* beyond LIMIT_CONFIG_PROBLEMS */
};
void policy_problems_done(struct policy_problems *p);

/* A configuration file as read by the caller. */
struct policy_text {
        const char *name; /* for messages: "/etc/capd.conf" */
        const char *text;
        size_t size; /* may contain any byte; NUL is reported as a problem */
};

/* What the policy asks of the world. Each returns 0 or a negative errno (-ENOENT: no such name). */
struct policy_world {
        int (*user_to_uid)(void *userdata, const char *name, uid_t *ret);
        int (*group_to_gid)(void *userdata, const char *name, gid_t *ret);
        void *userdata;
};

/*
 * Parses all texts in order, later ones overriding, and checks the whole. 0 and *ret on success; -EBADMSG if anything
 * at all is wrong, with every problem of every text added to *problems and *ret untouched; -ENOMEM. Problems that the
 * caller has put there before stay and do not count.
 */
int policy_load(const struct policy_text *texts, size_t n_texts, const struct policy_world *world, struct policy **ret,
                struct policy_problems *problems);
/* The same from files as conf_files_read() gave them; one that could not be read is a problem beside those of the others. */
int policy_load_files(const struct conf_files *files, const struct policy_world *world, struct policy **ret,
                      struct policy_problems *problems);
/* One problem a line: "FILE:LINE: MESSAGE". */
void policy_problems_print(const struct policy_problems *p, FILE *f);
struct policy *policy_free(struct policy *p);
DEFINE_CLEANUP(struct policy *, policy_free)

/* Appends a problem found by the caller (a file that is no regular file, wrong owner, too big …). */
int policy_problems_add(struct policy_problems *p, const char *file, unsigned line, const char *format, ...)
                _printf_(4, 5);

/* The effective configuration as a file that policy_load() accepts again, each value followed by a comment
 * "# FILE:LINE" or "# default". */
int policy_dump(const struct policy *p, FILE *f);

/* Bytes of a section's cap on a host with `total` bytes of memory, at least LIMIT_CAP_MIN_BYTES; UINT64_MAX if it has
 * none. */
uint64_t policy_cap(const struct policy_section *s, uint64_t total);

/* Every key there is, for the test that compares the manual with the code, and for completions: section ("Daemon" or
 * "Group"), name, default as text. Ends with a NULL section. */
struct policy_key {
        const char *section, *name, *fallback;
};
extern const struct policy_key policy_keys[];

#endif
