/* SPDX-License-Identifier: MIT */
/*
 * move.h: Action=move in the engine.
 *
 * A moving group is a group whose growth is held back by memory.high. Its place is one of
 *
 *     its own cgroup   which all its processes share with nobody: only the limit is set, nobody is moved
 *     a scope          capd-NAME.scope in capd.slice, made by systemd
 *     a subtree        /capd/group-NAME, where there is no systemd
 *
 * It outlives the group it is made for until everything is undone. What it has done is in the state file before it is done:
 *
 *     group NAME PLACE UNIT CGROUP INODE BEFORE
 *     task PID START INODE NAME ORIGIN
 *     controller /
 *
 * At a start after a crash moving groups are made again from these records, and ended: that is the one way in which anything is undone.
 */
#ifndef CAPD_DAEMON_MOVE_H
#define CAPD_DAEMON_MOVE_H

#include <systemd/sd-bus.h>

#include "capd/enforce/move.h"
#include "capd/enforce/state-file.h"
#include "engine.h"

#define MOVED_BUCKETS 4096U

enum move_place { PLACE_NONE, PLACE_OWN, PLACE_SCOPE, PLACE_SUBTREE, _PLACE_MAX };

enum move_phase {
        PHASE_IDLE,  /* no place yet */
        PHASE_ASKED, /* systemd was asked for a scope */
        PHASE_READY,
        PHASE_ENDING, /* to be undone; then it is freed */
};

/* A process that capd moved, or that was born where capd moved its parent. */
struct moved_task {
        struct moved_task *next; /* in its bucket */
        struct move_group *group;
        pid_t pid;
        uint64_t start_time;
        uint64_t inode; /* of the cgroup it came from */
        uint64_t seen;  /* the round in which it was last a member */
        uint64_t there; /* and the one in which it was last seen in its group's place */
        unsigned strays;
        char origin[];
};

struct move_group {
        struct move_group *next;
        struct mover *mover;
        struct group *group; /* NULL: it has none any more */
        uint64_t id;         /* for jobs, which may come back when it is gone */
        char name[LIMIT_GROUP_NAME_BYTES];
        enum move_place place;
        enum move_phase phase;
        char unit[MOVE_NAME_MAX]; /* systemd's name of `cgroup`; "": none */
        char *cgroup;
        uint64_t inode;  /* 0: not known yet */
        uint64_t before; /* memory.high before capd set it */
        bool undone;     /* at the end: nothing is left to be done */

        sd_bus_slot *call; /* under way */
        uint64_t calling;  /* the memory.high that systemd is being told */
        uint64_t told;     /* what it was told last */
        pid_t holder;      /* a child of ours that keeps the new scope alive; 0: none */
        usec_t asked_at, retry_at;
        unsigned failures;
        unsigned shared_looks; /* in a row, in which the cgroup was not the group's alone */

        char *home; /* where processes go back to of which nobody knows where they come from */
        uint64_t home_inode;
        size_t n_moved, n_astray, n_left;
        size_t n_returned, n_stayed; /* at the end */
        char left_why[96];

        struct move_figures figures;
        struct move_step_memory step_memory;
        struct move_step step;
        bool short_of_memory; /* PressureThreshold= has let the cap bite */
        bool reclaiming, fell_short;
        usec_t next_look;
        char note[256];    /* of the limit */
        char problem[256]; /* why it is not carried out; "": it is */
};

/* A service from which processes are to be moved. */
struct move_unit {
        struct move_unit *next;
        struct mover *mover;
        sd_bus_slot *call; /* under way */
        bool has_main;     /* systemd knows a main process of it */
        usec_t at;         /* when that was told; 0: not yet */
        char name[];
};

struct mover {
        struct engine *engine;
        struct cgroup2 cgroups;
        struct state_file *state; /* the engine's */
        bool systemd;             /* it is PID 1 here */
        bool slice_used;          /* by this capd, or the one before it */
        char own_cgroup[LIMIT_CGROUP_BYTES];
        char why[200]; /* why nothing can be moved here at all; "": it can */
        sd_bus *bus;
        sd_event_source *timer;
        struct move_group *groups;
        struct moved_task *tasks[MOVED_BUCKETS];
        struct move_unit *units;
        uint64_t round, last_id;
};

/* move.c: the life of a moving group */
bool move_place_from_string(const char *s, enum move_place *ret);
/* An entry of the log; its group may be gone. */
void move_say(const struct move_group *g, int level, const char *message_id, const char *format, ...) _printf_(4, 5);
void move_group_fail(struct move_group *g, const char *format, ...) _printf_(2, 3); /* logged when it is news */
int move_group_record(struct move_group *g);                                        /* and synced */
struct move_group *move_group_add(struct mover *m, const char *name);
void move_group_ready(struct move_group *g, const char *cgroup, uint64_t inode);
void move_group_end(struct move_group *g);
void move_groups_sweep(struct mover *m);
void mover_schedule(struct mover *m);
void mover_attend(struct mover *m); /* takes in, puts back, sets limits */

/* move-tasks.c: who is where */
struct moved_task *moved_find(const struct mover *m, pid_t pid, uint64_t start_time);
int moved_add(struct move_group *g, pid_t pid, uint64_t start_time, const char *origin, uint64_t inode);
void moved_look(struct mover *m);             /* takes in, and puts back */
void moved_return_all(struct move_group *g);  /* and whoever else is in its cgroup */
bool moved_any_movable(struct move_group *g); /* if not, g->left_why says why */
bool moved_find_whole(struct move_group *g, char *cgroup, size_t size, uint64_t *ret_inode);
bool moved_still_whole(struct move_group *g); /* PLACE_OWN */

/* move-systemd.c */
bool systemd_is_here(const struct sys *sys);
void systemd_start_scope(struct move_group *g);
void systemd_watch_scope(struct move_group *g); /* PHASE_ASKED: whether it is there */
/* Whether systemd goes on watching a service when all its processes are moved: 1 yes, 0 no, -EAGAIN it was asked and attends later. */
int systemd_has_main_process(struct mover *m, const char *unit);
int systemd_set_high(struct move_group *g, uint64_t high);
void systemd_end_holder(struct move_group *g);
bool systemd_drain(struct mover *m, usec_t until); /* at the end: whether all calls were answered */
void systemd_stop_slice(struct mover *m);          /* after that: if nothing is in it */
void systemd_close(struct mover *m);

/* move-limit.c */
void limit_look(struct move_group *g, usec_t now);
void limit_lift(struct move_group *g); /* back to what it was before */

/* move-recover.c */
void move_recover(struct mover *m);

#endif
