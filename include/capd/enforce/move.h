/* SPDX-License-Identifier: MIT */
/*
 * move.h: the mechanics of Action=move: tasks from one cgroup into another, and a cgroup's memory.high.
 *
 * Charges do not move with a task (Documentation/admin-guide/cgroup-v2.rst, "Memory Ownership"), so a limit set here governs growth
 * from then on and what was touched since. Who is moved where, and when it is taken back, is decided by the caller.
 */
#ifndef CAPD_ENFORCE_MOVE_H
#define CAPD_ENFORCE_MOVE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "capd/base/sys.h"
#include "capd/limits.h"
#include "capd/measure/cgroups.h"

#define MOVE_SLICE    "capd.slice" /* of the scopes that capd asks systemd for */
#define MOVE_SUBTREE  "/capd"      /* without systemd */
#define MOVE_NAME_MAX 256          /* of a unit or a cgroup's directory, with its NUL */
#define MOVE_NO_LIMIT UINT64_MAX   /* memory.high is "max" */

/* Outcomes that the caller must handle. */
enum {
        MOVE_E_GONE = 1, /* the process, or the cgroup, is not there any more */
        MOVE_E_OTHER,    /* it is there, but it is another one */
};

/* -- names -- */

/*
 * The scope of a group: "capd-", the name as systemd-escape(1) writes it, ".scope". Names too long for a unit end in a hash of the
 * whole. Different groups have different names.
 */
void move_scope_name(const char *group, char ret[static MOVE_NAME_MAX]);
/* The cgroup of a group in capd's own subtree: never the name of a file that the kernel has in every cgroup. */
void move_cgroup_name(const char *group, char ret[static MOVE_NAME_MAX]);

/*
 * The unit of the system's manager that a cgroup is part of, and the unit's own cgroup: what lies below a service or a scope is
 * that unit's, whatever it is called, as it may be another manager's ("user@1000.service"). False: none.
 */
bool move_system_unit(const char *cgroup, char *unit, size_t unit_size, char *unit_cgroup, size_t cgroup_size);

/* -- tasks -- */

/* Where a process is, by its directory in /proc as process_open() gave it. 0; MOVE_E_GONE; or a negative errno. */
int move_where(const struct sys *sys, int procfd, char *path, size_t size);

/* Who has this number now. 0; MOVE_E_GONE; or a negative errno. */
int move_identify(const struct sys *sys, pid_t pid, uint64_t *ret_start_time, pid_t *ret_parent);

/* Opens a cgroup, the root ("/") too. Descriptor, or as cgroup2_open_cgroup(). */
int move_open_cgroup(const struct cgroup2 *c, const char *path);
/* The same, if it is the one with that inode number. Descriptor; -ESTALE another; or a negative errno. */
int move_open_same(const struct cgroup2 *c, const char *path, uint64_t inode);
/* Never used again for another cgroup: kernfs_new_node() counts up (fs/kernfs/dir.c). 0 or a negative errno. */
int move_inode(const struct cgroup2 *c, int cgroup_fd, uint64_t *ret);

/*
 * Moves a process, all its threads, to the cgroup behind `cgroup_fd`, whose path is `cgroup`. 0; MOVE_E_GONE; or a negative errno
 * (-EBUSY: the cgroup has children with controllers; -EOPNOTSUPP: it is threaded). A stranger that got the number of the
 * process in the very moment is put back to where its parent is.
 */
int move_task(const struct cgroup2 *c, pid_t pid, uint64_t start_time, int cgroup_fd, const char *cgroup);

/*
 * Puts a process that capd moved to `target` back to the cgroup where it was. 0; MOVE_E_GONE it has ended, or is not in `target`
 * any more: somebody else has moved it; MOVE_E_OTHER `origin` does not exist any more: it stays; or a negative errno: it stays.
 */
int move_back(const struct cgroup2 *c, pid_t pid, uint64_t start_time, const char *target, const char *origin,
              uint64_t inode);

/* Why a process must not be taken out of an open cgroup, by what the kernel says of it, or NULL. */
const char *move_cgroup_objection(const struct cgroup2 *c, int cgroup_fd);

/* The processes of one cgroup, without those below. 0 and an array for free(); MOVE_E_GONE; or a negative errno. */
int move_list(const struct cgroup2 *c, int cgroup_fd, pid_t **ret, size_t *ret_n);
/* The same, with those below it; -ELOOP and -E2BIG if those are more than LIMIT_CGROUP_DEPTH levels or LIMIT_CGROUP_VISITS. */
int move_list_all(const struct cgroup2 *c, int cgroup_fd, pid_t **ret, size_t *ret_n);

/* -- cgroups of our own -- */

/*
 * Makes MOVE_SUBTREE with the memory controller, and in it a group's cgroup. The caller has recorded both. 0 or a negative errno, with
 * what failed in `why`.
 */
int move_make_cgroup(const struct cgroup2 *c, const char *name, char *why, size_t why_size);
/* Whether the root hands the memory controller to its children already. */
bool move_root_has_memory(const struct cgroup2 *c);
/* Takes the memory controller from the root's children again, if there are none left. 0, or a negative errno. */
int move_release_memory(const struct cgroup2 *c);
/* rmdir(2) of an empty cgroup. 0, also if it is gone; -EBUSY: something is in it. */
int move_remove_cgroup(const struct cgroup2 *c, const char *path);

/* -- memory.high -- */

/* What is known of a cgroup whose limit is capd's. SIZE_UNKNOWN each where the kernel does not tell. */
struct move_figures {
        uint64_t high;        /* MOVE_NO_LIMIT: none */
        uint64_t current;     /* memory.current */
        uint64_t cache;       /* memory.stat: active_file + inactive_file: goes without swap */
        uint64_t anon;        /* memory.stat: active_anon + inactive_anon: needs swap to go */
        uint64_t events_high; /* memory.events: times a task was sent to reclaim, or to sleep, at the limit */
        usec_t stalled;       /* memory.pressure: time in which all its running tasks waited ("full") */
};

/* 0, with what could not be read left unknown; -ENOENT the cgroup is gone. */
int move_read_figures(const struct cgroup2 *c, int cgroup_fd, struct move_figures *ret);
/* Writes memory.high (page aligned) or "max". Below the use of the cgroup the kernel reclaims in the caller before it returns. */
int move_write_high(const struct cgroup2 *c, int cgroup_fd, uint64_t high);
/* "max" or bytes, as memory.high and the state file have it. False: neither. */
bool move_parse_high(const char *text, uint64_t *ret);
void move_format_high(char *buf, size_t size, uint64_t high);

/* What a limit does, as seen at one look. */
struct move_step_facts {
        usec_t now;
        uint64_t target; /* the cap; MOVE_NO_LIMIT: the limit is not to bite now */
        uint64_t swap_free;
        const struct move_figures *figures;
        bool fell_short; /* the last memory.reclaim got less than a quarter of what it was asked for */
};

/* All zero at the beginning. */
struct move_step_memory {
        usec_t at;
        uint64_t events_high;
        usec_t stalled;
        unsigned lifts;    /* in a row */
        unsigned thrashes; /* looks in a row */
        usec_t retry_at;   /* the limit is lifted until then */
        usec_t rest_until; /* nothing is reclaimed before */
        usec_t quiet_since;
};

enum move_state {
        MOVE_OFF,      /* no limit is wanted */
        MOVE_HOLDS,    /* the limit is at the cap */
        MOVE_LOWERING, /* above it, coming down */
        MOVE_SHORT,    /* above it: the rest cannot be reclaimed */
        MOVE_LIFTED,   /* it stood in the way of all progress */
};

struct move_step {
        enum move_state state;
        uint64_t high;    /* to be set */
        uint64_t reclaim; /* bytes to be reclaimed first */
        usec_t next_look; /* USEC_INFINITY: whenever */
        char reason[256];
};

/*
 * The next step of a limit on its way to the cap. Pure. Never below what is in use: use is brought down by memory.reclaim, which
 * costs the caller time and nobody else, and the limit follows, so that no task is put to sleep for what was there before.
 */
void move_step(const struct move_step_facts *facts, struct move_step_memory *memory, struct move_step *ret);

#endif
