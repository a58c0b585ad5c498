/* SPDX-License-Identifier: MIT */
/*
 * wire.h: what the engine and its front say to each other.
 *
 * Both are the same executable, so these are plain structs, checked by magic, version and size. The channel is a
 * SOCK_SEQPACKET socket pair. The engine sends `struct wire_message`, with a sealed memfd where a body belongs to it; the
 * front sends `struct wire_command`, which has a fixed size and nothing to parse. Neither side ever waits for the other: a
 * full channel drops a snapshot (the next tick brings another) and refuses a command.
 *
 * All text is UTF-8 made safe by text_escape() by the engine, and ended by a NUL. Times are microseconds of CLOCK_MONOTONIC.
 */
#ifndef CAPD_WIRE_H
#define CAPD_WIRE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "capd/limits.h"
#include "capd/sample.h"

#define WIRE_MAGIC   0x64706163U /* "capd" */
#define WIRE_VERSION 1U

enum wire_type {
        WIRE_SNAPSHOT = 1, /* body: struct wire_snapshot, then n_groups times struct wire_group */
        WIRE_REPLY,        /* body, if any: as the verb says */
        WIRE_STOPPING,     /* capd is ending: say so to clients, then exit */
        WIRE_STORED, /* body: the file of WIRE_STORE_HISTORY as it was left by an earlier capd or front; not to be trusted */
};

struct wire_message {
        uint32_t magic, version;
        uint32_t type;
        uint32_t serial; /* of the command, for WIRE_REPLY */
        int32_t error;   /* WIRE_REPLY: 0 or a negative errno; see the verbs */
        uint32_t has_body;
        uint64_t body_size;
        char text[1024]; /* WIRE_REPLY: one line for the user, with the error or the outcome */
};

enum wire_verb {
        WIRE_RELOAD = 1, /* error -EBADMSG: body is text, one problem a line; the old policy is kept */
        WIRE_PAUSE,      /* one group, or all if `group` is "" */
        WIRE_RESUME,
        WIRE_SET_CAP, /* bytes 0: back to the configured cap; duration 0: until reload or restart */
        WIRE_ENFORCE, /* act on the group now, whatever back-off says; error -ENOENT as all that name a group */
        WIRE_EXPLAIN, /* body: struct wire_detail, then n_processes times struct wire_process (sorted by rss) */
        WIRE_CONFIG,  /* body is text: the effective configuration */
        /* With a memfd, sealed against every change, of `bytes` bytes: they are what a file has to hold from now on. No reply. */
        WIRE_STORE_METRICS, /* MetricsFile= */
        WIRE_STORE_HISTORY, /* history in the state directory */
        _WIRE_VERB_MAX,
};

struct wire_command {
        uint32_t magic, version;
        uint32_t verb;
        uint32_t serial;
        uint64_t bytes;
        usec_t duration;
        uint32_t uid; /* who asked, from the peer's credentials: for the log */
        int32_t pid;
        char group[LIMIT_GROUP_NAME_BYTES];
};

/* A group as published each tick. */
struct wire_group {
        char name[LIMIT_GROUP_NAME_BYTES];
        char description[LIMIT_DESCRIPTION_BYTES];
        char reason[LIMIT_REASON_BYTES]; /* why it is in its state, one sentence */
        char action[16];                 /* observe, pageout, move */
        uint32_t number;                 /* of the groups since capd began, in order of appearance: 1, 2, … */
        uint32_t state;                  /* enum group_state */
        bool has_cap;
        bool temporary_cap;
        bool paused;
        uint64_t cap; /* bytes in force */
        uint64_t configured_cap;
        uint64_t low_watermark; /* bytes */
        usec_t cap_until;       /* temporary cap: when it ends; 0 never */
        usec_t state_since;
        usec_t next_look;
        usec_t retry_at; /* back-off: not acted on before; 0 none */
        int64_t trend;   /* bytes a second, smoothed; of resident */
        struct group_sample sample;
        struct group_cgroups cgroups;

        /* Action=move */
        uint32_t moved;        /* processes in the cgroup that capd put them into */
        uint32_t move_left;    /* members that stay where they are */
        bool move_own;         /* nobody is moved: the group has move_target for itself */
        uint64_t memory_high;  /* in force there; UINT64_MAX: none, or not moved */
        uint64_t move_current; /* memory.current there */
        char move_target[256]; /* unit or cgroup; "": none */
        char move_note[256];   /* what stands in the way; "": nothing */

        /* where pages stopped or began to be shared: the count with the fewest resident bytes of the last while */
        usec_t reference_at; /* 0 none */
        uint64_t reference_resident, reference_mapped;

        /* enforcement since the group exists */
        uint64_t acts;
        uint64_t attempted_total, unmapped_total, freed_total, refaulted_total, cache_taken_total;
        struct act_result last_act;               /* started 0: none yet */
        uint64_t resident_before, resident_after; /* exact counts around it; SIZE_UNKNOWN unknown */
        char strategy[16];                        /* of the last act, or "none"; "" none was chosen yet */
        char strategy_reason[LIMIT_REASON_BYTES]; /* why this one, or why none */

        /* the governor */
        uint64_t working_set; /* what the group works with, inferred while it thrashes; SIZE_UNKNOWN not known */
        uint64_t came_back;   /* of what the last act unmapped, by the kernel's counters; SIZE_UNKNOWN not known */
        uint32_t stalled; /* basis points of the time since, in which some task waited for memory; UINT32_MAX not known */
        uint32_t kills;   /* by LastResort= */
};

struct wire_snapshot {
        uint32_t magic, version;
        uint32_t size;       /* sizeof(struct wire_snapshot) */
        uint32_t group_size; /* sizeof(struct wire_group) */
        uint32_t n_groups;
        usec_t published_at;
        usec_t started_at; /* the engine */
        uint64_t tick;
        struct host_memory host;
        uint32_t pressure_threshold; /* basis points */
        uint32_t processes;          /* on the host, as capd sees them */
        uint32_t quarantined;        /* processes left alone because they did not answer */
        uint32_t lost_threads;
        bool dry_run;
        bool paused; /* capctl pause without a group */
        usec_t policy_loaded_at;
        usec_t history_time;               /* HistoryTime= */
        uint64_t history_bytes;            /* HistorySize=; 0: no history is kept */
        bool store_history, store_metrics; /* the engine has a place for it */
        char config_error[2048];           /* of the last reload, "" if it went well */
        char warnings[1024];               /* what does not work on this host, one line each */
        char features[768];                /* what capd can do here, names as "capd --features" has them, one a line */
        char version_text[32];
};

/* One process in WIRE_EXPLAIN's body. */
struct wire_process {
        int32_t pid;
        uint32_t uid;
        char comm[LIMIT_COMM_BYTES * 4]; /* escaped */
        char command[256];               /* beginning of the command line, escaped; "" unknown */
        uint64_t rss;                    /* statm */
        uint64_t mapped, anon, file, shmem, exclusive, swap, hugetlb, share, alone; /* struct process_sample */
        uint32_t outcome;                                                           /* enum count_outcome */
        bool protected_process;
        bool below_floor;
        bool same_address_space; /* shares its address space with a process listed before it: figures there */
};

/* A cgroup, and what of a group's resident pages it is charged with. */
struct wire_charge {
        char path[LIMIT_SHOWN_CGROUP_BYTES]; /* escaped; "" it has no name any more */
        uint64_t bytes;
};

/*
 * The resident pages of a group by whom the kernel charges for them: here + elsewhere + nowhere = resident, and elsewhere is
 * the charges and `more`. SIZE_UNKNOWN where it is not known; `note` then says why.
 */
struct wire_books {
        uint64_t here;      /* cgroups that the group owns, and all below them */
        uint64_t elsewhere; /* other cgroups */
        uint64_t nowhere;   /* no cgroup */
        uint64_t more;      /* part of elsewhere: cgroups beyond those that are listed */
        uint32_t n_more;
        uint32_t n_charges;
        struct wire_charge charges[LIMIT_SHOWN_CHARGES]; /* the largest first */
        char own[LIMIT_SHOWN_CGROUP_BYTES];              /* the largest cgroup that the group owns; "" none */
        char note[256];                                  /* what is not known and why, a sentence; "" nothing */
};

struct wire_detail {
        uint32_t magic, version;
        uint32_t size, process_size;
        uint32_t n_processes;
        usec_t taken_at;
        struct wire_group group; /* with have_private set in its sample, counted just now */
        struct host_memory host;
        struct wire_books books;
};

#endif
