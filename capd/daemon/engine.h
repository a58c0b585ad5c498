/* SPDX-License-Identifier: MIT */
/*
 * engine.h: the service's main process.
 *
 * One thread, the loop, owns everything here: the process table, the groups, the policy, the pool of scanner threads and the
 * front. It makes no call that a watched process could keep from returning; whatever could goes to the pool as a job. A
 * job works on copies and identifiers, so the loop may change anything while it runs. A group with a job under way is
 * `busy`: it is neither judged nor freed until the job is done.
 */
#ifndef CAPD_DAEMON_ENGINE_H
#define CAPD_DAEMON_ENGINE_H

#include <systemd/sd-event.h>

#include "capd/base/users.h"
#include "capd/enforce/pageout.h"
#include "capd/limits.h"
#include "capd/measure/cgroups.h"
#include "capd/measure/count.h"
#include "capd/measure/features.h"
#include "capd/measure/host.h"
#include "capd/measure/inside.h"
#include "capd/measure/pressure.h"
#include "capd/measure/table.h"
#include "capd/measure/worker.h"
#include "capd/policy/decide.h"
#include "capd/policy/match.h"
#include "capd/policy/policy.h"
#include "capd/wire.h"
#include "events.h"
#include "front-process.h"

#define GROUP_BUCKETS    1024U
#define QUARANTINE_SLOTS 64U
#define SCANNER_THREADS  3U

struct mover;
struct move_group;
struct state_file;

struct group {
        struct group *next; /* in its bucket */
        char name[LIMIT_GROUP_NAME_BYTES];
        size_t section;  /* index in the policy */
        uint32_t number; /* in order of appearance */
        bool for_each;   /* one of several made by ForEach= */
        bool busy;
        bool doomed; /* its section is gone: freed as soon as it is not busy */
        bool paused;
        bool forced;            /* capctl enforce, until acted on */
        bool stale;             /* the count under way is of the members of before a reload */
        bool incomplete;        /* for want of memory not all members are in `members` */
        uint64_t temporary_cap; /* 0: none */
        usec_t temporary_until; /* USEC_INFINITY: until reload or restart */
        struct decide_settings settings;
        struct decide_memory memory;
        struct group_sample sample;
        struct process **members; /* valid until the next refresh of the table */
        size_t n_members, allocated;
        uint32_t quarantined; /* members left out of the last count */
        int64_t job_index;    /* while a job is being made; else -1 */
        usec_t empty_since;
        usec_t next_look;

        struct event_rate events[_EVENT_KIND_MAX];

        struct move_group *move; /* Action=move; NULL: not moving */
        /* around it: looked at while it is over its cap */
        struct owned_cgroups owned;
        struct group_cgroups cgroups;
        struct pressure_tracker pressure_tracker;
        struct group_pressure pressure;

        struct pageout_cursor cursor;
        struct pageout_trace *trace;
        uint64_t damon_cursor, reclaim_step;
        struct inside_frames inside; /* of the count that is being judged */
        unsigned kills;
        uint64_t acts;
        uint64_t attempted_total, unmapped_total, freed_total, refaulted_total, cache_taken_total;
        struct act_result last_act;
        uint64_t resident_before, resident_after;

        /* of its members when the last count began, see changes.c */
        bool then_known;
        uint64_t then_rss; /* sum */

        usec_t reference_at;
        uint64_t reference_resident, reference_mapped;
};

/* A member when the last count of its group began. */
struct member_then {
        uint64_t rss; /* bytes; SIZE_UNKNOWN: it was none, or could not be read */
        uint64_t faults;
};

/* The groups of one process: its userdata in the table. */
struct membership {
        bool protected_process;
        size_t n;
        struct member_then *then; /* for each of the groups; in the same piece of memory */
        struct group *groups[];
};

#define USER_SLOTS  4096U /* names kept at one time */
#define USER_WANTED 64U   /* of them asked for in one job */

/* What the user database said of a uid. */
struct user_name {
        bool known;
        uid_t uid;
        usec_t until; /* asked for again after that; the old name serves meanwhile */
        char name[USER_NAME_MAX];
};

struct user_names {
        struct user_name *slots; /* USER_SLOTS */
        uid_t wanted[USER_WANTED];
        size_t n_wanted;
        bool missed;             /* the last look-ups met a name that is not known yet */
        struct questions *asked; /* by the thread under way, NULL: none is */
        int event_fd;            /* readable when it is done */
        sd_event_source *source;
};

/* The files that the front fills: store.c */
enum store_file { STORE_METRICS, STORE_HISTORY, _STORE_MAX };
struct writing;
struct store {
        struct writing *under_way[_STORE_MAX]; /* by a thread; NULL: none is */
        int last_error[_STORE_MAX];            /* so that each is logged once */
};

/* A process that did not let itself be read. */
struct quarantine {
        pid_t pid;
        uint64_t start_time;
        usec_t until;
        unsigned times;
};

struct engine {
        struct sys sys;
        struct features features;
        struct decide_means means;
        char why_no_damon[LIMIT_WHY_BYTES]; /* now */
        struct cgroup2 cgroup2;             /* fd -1: no hierarchy with the memory controller */
        struct host_pressure host_pressure;
        struct policy *policy;
        const char *config_file;
        const char *state_directory; /* NULL: the history is not kept */
        bool dry_run;
        bool paused;
        bool stopping;

        sd_event *event;
        sd_event_source *tick_timer, *check_timer, *publish_defer;
        struct worker_pool *pool;
        struct process_table *table;
        struct host_memory host;
        struct decide_budget budget;
        struct group *buckets[GROUP_BUCKETS];
        size_t n_groups;
        uint32_t groups_seen; /* since the start */
        bool groups_overflowed, processes_overflowed;
        bool rematch;        /* every process is to be matched again */
        bool cmdline_job;    /* one is under way */
        bool cmdlines_known; /* those of all processes were read once under this policy */
        pid_t *pid_file_pids;
        struct user_names users;
        struct store store;
        struct quarantine quarantine[QUARANTINE_SLOTS];
        int64_t user_passed_over;     /* of whom has been told that none of his processes is looked at; -1: nobody */
        int count_error, table_error; /* last ones, so that each is logged once */

        int runtime_fd;           /* the runtime directory */
        struct state_file *state; /* what must be undone after a crash; NULL: it cannot be kept */
        struct mover *mover;

        struct hook *hooks; /* running */
        unsigned n_hooks;
        struct front_process front;
        struct event_rate events[_EVENT_KIND_MAX]; /* of those that are about no group */
        uint64_t tick;
        usec_t next_tick;
        usec_t started_at, policy_loaded_at;
        char config_error[2048];
        char status[160]; /* last STATUS= told to systemd */
};

/* engine.c */
/* With sys, features, config_file and dry_run filled in: starts everything else. Takes the policy over on success. Logs why it fails. */
int engine_start(struct engine *e, struct policy *policy, int listen_fd, uid_t front_uid, gid_t front_gid);
int engine_run(struct engine *e); /* until a signal ends it */
void engine_done(struct engine *e);
void engine_schedule(struct engine *e, usec_t at); /* a look no later than that */
void engine_schedule_soon(struct engine *e);       /* something was learnt that the next look can use */
void engine_submit(struct engine *e, struct job *job);

/* tick.c: a look at everything, and the judgement */
void engine_tick(struct engine *e);
void engine_judge(struct engine *e, struct group **groups, size_t n);

/* groups.c */
struct group *group_find(struct engine *e, const char *name);
struct group *group_get(struct engine *e, const char *name, size_t section);
void group_set_temporary_cap(struct engine *e, struct group *g, uint64_t bytes, usec_t until); /* 0: none */
void group_update_settings(struct engine *e, struct group *g);
struct group *groups_next(struct engine *e, const struct group *g); /* NULL first; NULL at the end */
void groups_sweep(struct engine *e);                                /* frees the doomed and the long empty ones */
void groups_free(struct engine *e);

/* membership.c: who belongs to what */
void membership_refresh(struct engine *e);
void membership_forget(struct process *p, void *userdata);
void membership_match(struct engine *e, struct process *p);
/* The groups' lists of members, anew from the processes' lists of groups: the two must agree whenever a job is made. */
void membership_collect(struct engine *e, usec_t now);
bool quarantine_holds(struct engine *e, pid_t pid, uint64_t start_time, usec_t now);
void quarantine_add(struct engine *e, pid_t pid); /* and logs it */
unsigned quarantine_size(struct engine *e);
/* And those that threads hang at (stuck.h) for some time, each once. */
void quarantine_add_stuck(struct engine *e, usec_t now);

/* user-names.c */
int user_names_init(struct engine *e);
void user_names_done(struct engine *e);
bool user_names_get(void *engine, uid_t uid, char *buf, size_t size); /* for struct match_world */
int user_names_ask(struct engine *e); /* if names are wanted and none are being asked for */

/* store.c: MetricsFile= and the history */
#define HISTORY_FILE "history"
void store_command(struct engine *e, enum store_file which, int body_fd, uint64_t size);
void store_look(struct engine *e);         /* what became of it */
void store_send_history(struct engine *e); /* to a front that begins */
void store_remove_metrics(struct engine *e, const char *path);
void store_done(struct engine *e);

/* hooks.c: Hook= programs */
void hooks_run(struct engine *e, struct group *g); /* the group's state has changed */
void hooks_done(struct engine *e);

/* counts.c */
int engine_count(struct engine *e, struct group **groups, size_t n);
/* One group alone: after_act completes the record of its last act; flags are enum count_flags. */
int engine_count_one(struct engine *e, struct group *g, unsigned flags, bool after_act);
/* An estimate of one group. */
int engine_estimate(struct engine *e, struct group *g);
/* A count of these groups; `now` decides who is in quarantine and left out. NULL: out of memory. */
struct count *engine_make_count(struct engine *e, struct group **groups, size_t n, unsigned flags, usec_t now);
/* A group's result with so many members left out. */
void count_take_result(const struct count *count, uint32_t group, uint32_t left_out, struct group_sample *ret);

/* changes.c: what can have happened to `resident` since it was counted */
void changes_begin(struct engine *e, struct group *g); /* a count is about to begin */
void changes_end(struct group *g);                     /* its result is in the sample */
/* Into moved and moved_known; reads a file of each member, if decide() has a use for it. */
void changes_look(struct engine *e, const struct group *g, usec_t now, struct decide_facts *facts);

/* acts.c */
int engine_act(struct engine *e, struct group *g, const struct decide_verdict *verdict);
/*
 * Makes sure who the members are. One may have executed another program or changed its user since its attributes were read, up to
 * ScanInterval= ago, and be protected now or be none of the group's business: so they are read again before they are acted on. 0 or a negative errno.
 */
int engine_reread_members(struct engine *e, const struct group *g, usec_t now);

/* last-resort.c */
void engine_kill(struct engine *e, struct group *g); /* its largest member, now */

/* surroundings.c */
void surroundings_open(struct engine *e); /* at the start: the hierarchy, and what the host offers */
/* Of processes: what the policy wants to know, and in which cgroups they are. */
unsigned surroundings_facts(const struct engine *e, const struct policy *policy);
void surroundings_look_host(struct engine *e); /* at every tick */
void surroundings_look_cgroups(struct engine *e, struct group *g);
int surroundings_look(struct engine *e, struct group *g); /* the group's cgroups and pressure; 0 or -ENOMEM */
/* Whether a process belongs to the group and is not protected; a child of a member that capd has not seen yet does. */
bool surroundings_is_member(const struct engine *e, const struct group *g, pid_t pid);
/* For so long none of its processes has used the CPU. */
usec_t surroundings_idle_for(const struct group *g, usec_t now);
/* e->means as they apply to the group. */
struct decide_means surroundings_means(const struct engine *e, const struct group *g);
void surroundings_free(struct group *g);

/* cmdlines.c */
int engine_read_cmdlines(struct engine *e);

/* explain.c */
void engine_explain(struct engine *e, const struct wire_command *c);

/* commands.c: what the front asks */
void engine_command(struct engine *e, const struct wire_command *c, int body_fd);

/* publish.c: what the front is told */
void engine_publish(struct engine *e);
void engine_publish_soon(struct engine *e);
void publish_group(struct engine *e, const struct group *g, struct wire_group *ret);
void engine_reply(struct engine *e, uint32_t serial, int error, const void *body, size_t size, const char *format, ...)
                _printf_(6, 7);

/* move.c: Action=move. See move.h */
int move_start(struct engine *e); /* opens e->state, undoes what a crash has left */
void move_look(struct engine *e); /* members or settings may have changed */
/* The cgroup that a process has, or would have if capd had not moved it or its parent: what selectors mean. */
const char *move_origin(const struct engine *e, const struct process_facts *f);
bool move_holds_any(const struct engine *e); /* some group's processes are where capd has put them, or on their way */
void move_detach(struct group *g);           /* it is about to be freed */
void move_fill(const struct group *g, struct wire_group *ret);
void move_done(struct engine *e); /* undoes everything, in LIMIT_UNDO_USEC */

/* reload.c */
/* Reads the files. -EBADMSG and the problems, one a line, if anything is wrong. */
int engine_load_policy(struct engine *e, struct policy **ret, char **ret_problems);
int engine_first_policy(struct engine *e, struct policy **ret);   /* the same, problems logged */
int engine_put_in_force(struct engine *e, struct policy *policy); /* takes it over on success */
int engine_reload(struct engine *e, char **ret_problems);

#endif
