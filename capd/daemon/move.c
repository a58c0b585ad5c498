/* SPDX-License-Identifier: MIT */
/* move.c: the life of a moving group, from the first look that wants it to the last thing undone. See move.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "capd/base/log.h"
#include "capd/base/text.h"
#include "move.h"

/* Between two attempts at what failed, doubled each time. */
#define RETRY_FIRST (10 * USEC_PER_SEC)
#define RETRY_LAST  (5 * 60 * USEC_PER_SEC)
/* Looks in which a cgroup must not be the group's alone before that is believed: helpers of a service come and go. */
#define SHARED_LOOKS 2U

static const char *const place_names[_PLACE_MAX] = {"none", "own", "scope", "subtree"};

bool move_place_from_string(const char *s, enum move_place *ret)
{
        for (size_t i = 0; i < _PLACE_MAX; i++)
                if (strcmp(s, place_names[i]) == 0) {
                        *ret = (enum move_place)i;
                        return true;
                }
        return false;
}

static usec_t now_of(const struct mover *m)
{
        return m->engine->sys.ops->now(&m->engine->sys);
}

void move_say(const struct move_group *g, int level, const char *message_id, const char *format, ...)
{
        char text[512];
        va_list ap;

        va_start(ap, format);
        vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        if (g->group)
                event_log(g->mover->engine, g->group, EVENT_MOVE, level, message_id, NULL, "%s", text);
        else
                log_entry(level, message_id, LOG_FIELDS({"CAPD_GROUP", g->name}), "Group %s: %s", g->name, text);
}

void move_group_fail(struct move_group *g, const char *format, ...)
{
        char text[sizeof(g->problem)];
        va_list ap;

        va_start(ap, format);
        vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        if (strcmp(text, g->problem) != 0)
                move_say(g, LOG_WARNING, MESSAGE_MOVE_TROUBLE, "%s", text);
        text_copy(g->problem, sizeof(g->problem), text);
        g->retry_at = now_of(g->mover) +
                      MIN((usec_t)RETRY_FIRST << (g->failures < 8 ? g->failures : 8), (usec_t)RETRY_LAST);
        g->next_look = g->retry_at;
        g->failures++;
}

int move_group_record(struct move_group *g)
{
        char inode[24], before[24];
        const char *words[] = {
                        g->name, place_names[g->place], g->unit[0] ? g->unit : "-", g->cgroup ? g->cgroup : "/", inode,
                        before};
        int r;

        snprintf(inode, sizeof(inode), "%" PRIu64, g->inode);
        move_format_high(before, sizeof(before), g->before);
        r = state_file_put(g->mover->state, "group", words, ARRAY_SIZE(words));
        if (r >= 0)
                r = state_file_sync(g->mover->state);
        if (r < 0)
                move_group_fail(g, "what is to be set cannot be recorded: %s", strerror(-r));
        return r;
}

struct move_group *move_group_add(struct mover *m, const char *name)
{
        struct move_group *g = calloc(1, sizeof(*g));

        if (!g)
                return NULL;
        g->mover = m;
        g->id = ++m->last_id;
        text_copy(g->name, sizeof(g->name), name);
        g->before = MOVE_NO_LIMIT;
        g->told = SIZE_UNKNOWN - 1; /* nothing yet */
        g->figures = (struct move_figures){.high = SIZE_UNKNOWN, .current = SIZE_UNKNOWN};
        g->next_look = USEC_INFINITY;
        g->next = m->groups;
        m->groups = g;
        return g;
}

static struct move_group *move_group_free(struct move_group *g)
{
        systemd_end_holder(g);
        sd_bus_slot_unref(g->call);
        free(g->cgroup);
        free(g->home);
        free(g);
        return NULL;
}

/* -- a place -- */

static void use_own(struct move_group *g, const char *cgroup, uint64_t inode)
{
        char unit_cgroup[LIMIT_CGROUP_BYTES];
        _cleanup_close_ int fd = move_open_same(&g->mover->cgroups, cgroup, inode);

        if (fd < 0 || move_read_figures(&g->mover->cgroups, fd, &g->figures) < 0)
                return; /* gone again */
        g->place = PLACE_OWN;
        if (!g->mover->systemd ||
            !move_system_unit(cgroup, g->unit, sizeof(g->unit), unit_cgroup, sizeof(unit_cgroup)) ||
            strcmp(unit_cgroup, cgroup) != 0)
                g->unit[0] = '\0';
        /* without the controller, which systemd enables with the first limit, there is none */
        g->before = g->figures.high == SIZE_UNKNOWN ? MOVE_NO_LIMIT : g->figures.high;
        g->told = g->before;
        move_group_ready(g, cgroup, inode);
}

void move_group_ready(struct move_group *g, const char *cgroup, uint64_t inode)
{
        free(g->cgroup);
        g->cgroup = strdup(cgroup);
        g->inode = inode;
        g->next_look = USEC_INFINITY;
        if (!g->cgroup || move_group_record(g) < 0) {
                move_group_end(g);
                return;
        }
        g->phase = PHASE_READY;
        g->problem[0] = '\0';
        g->failures = 0;
        if (g->place == PLACE_OWN)
                move_say(g, LOG_INFO, MESSAGE_MOVED, "it is all of cgroup %s: its limit is set there", g->cgroup);
}

static void use_scope(struct move_group *g)
{
        char path[LIMIT_CGROUP_BYTES];
        _cleanup_close_ int fd = -1;
        uint64_t inode;

        g->place = PLACE_SCOPE;
        g->mover->slice_used = true;
        move_scope_name(g->name, g->unit);
        snprintf(path, sizeof(path), "/%s/%s", MOVE_SLICE, g->unit);
        g->told = MOVE_NO_LIMIT;
        fd = move_open_cgroup(&g->mover->cgroups, path);
        if (fd >= 0 && move_inode(&g->mover->cgroups, fd, &inode) >= 0) {
                move_group_ready(g, path, inode); /* of an earlier time, with whom could not be put back */
                return;
        }
        free(g->cgroup);
        g->cgroup = strdup(path);
        if (g->cgroup && move_group_record(g) >= 0)
                systemd_start_scope(g);
}

static void use_subtree(struct move_group *g)
{
        char name[MOVE_NAME_MAX], path[LIMIT_CGROUP_BYTES], why[200];
        static const char *const root[] = {"/"};
        struct mover *m = g->mover;
        _cleanup_close_ int fd = -1;
        uint64_t inode = 0;

        g->place = PLACE_SUBTREE;
        move_cgroup_name(g->name, name);
        snprintf(path, sizeof(path), "%s/%s", MOVE_SUBTREE, name);
        free(g->cgroup);
        g->cgroup = strdup(path);
        if (!g->cgroup || (!move_root_has_memory(&m->cgroups) && state_file_put(m->state, "controller", root, 1) < 0) ||
            move_group_record(g) < 0)
                return;
        if (move_make_cgroup(&m->cgroups, name, why, sizeof(why)) < 0) {
                move_group_fail(g, "%s", why);
                return;
        }
        fd = move_open_cgroup(&m->cgroups, path);
        if (fd >= 0 && move_inode(&m->cgroups, fd, &inode) >= 0)
                move_group_ready(g, path, inode);
}

static void choose_place(struct move_group *g)
{
        char cgroup[LIMIT_CGROUP_BYTES];
        uint64_t inode;

        if (g->group->n_members == 0 || g->retry_at > now_of(g->mover) || g->mover->why[0])
                return;
        if (moved_find_whole(g, cgroup, sizeof(cgroup), &inode))
                use_own(g, cgroup, inode);
        else if (!moved_any_movable(g)) {
                if (g->left_why[0])
                        move_group_fail(g, "none of its processes can be moved: of the last one, %s", g->left_why);
        } else if (g->mover->systemd)
                use_scope(g);
        else
                use_subtree(g);
}

/* -- the end -- */

static void remove_subtree(struct move_group *g)
{
        struct mover *m = g->mover;
        int r = g->cgroup && strncmp(g->cgroup, MOVE_SUBTREE "/", strlen(MOVE_SUBTREE) + 1) == 0
                                ? move_remove_cgroup(&m->cgroups, g->cgroup)
                                : 0;

        g->undone = r >= 0;
        if (r < 0) {
                move_group_fail(g, "cgroup %s cannot be removed: %s", g->cgroup,
                                r == -EBUSY ? "processes are in it that cannot be put back" : strerror(-r));
                return;
        }
        if (move_remove_cgroup(&m->cgroups, MOVE_SUBTREE) >= 0 && state_file_find(m->state, "controller", "/") &&
            move_release_memory(&m->cgroups) >= 0)
                state_file_remove(m->state, "controller", "/");
}

static void end_at_systemd(struct move_group *g)
{
        /* what stays in a scope is without a limit; an empty one ends by itself */
        bool needed = g->place == PLACE_OWN || g->n_stayed > 0;

        if (g->call)
                return; /* its answer comes back here */
        g->undone = !needed || g->told == g->before;
        if (!g->undone)
                systemd_set_high(g, g->before);
}

void move_group_end(struct move_group *g)
{
        if (g->undone)
                return;
        if (g->phase == PHASE_ASKED)
                g->call = sd_bus_slot_unref(g->call);
        if (g->group)
                g->group->move = NULL;
        g->group = NULL;
        g->phase = PHASE_ENDING;
        g->next_look = USEC_INFINITY;
        if (g->place == PLACE_SCOPE || g->place == PLACE_SUBTREE)
                moved_return_all(g);
        systemd_end_holder(g);
        limit_lift(g);
        if (g->place == PLACE_SUBTREE)
                remove_subtree(g);
        else if (g->unit[0])
                end_at_systemd(g);
        else
                g->undone = true;
}

void move_detach(struct group *group)
{
        if (group->move)
                move_group_end(group->move);
}

static void say_undone(const struct move_group *g)
{
        if (g->place == PLACE_OWN)
                move_say(g, LOG_NOTICE, MESSAGE_PUT_BACK, "memory.high of %s is what it was before", g->cgroup);
        else if (g->n_stayed > 0)
                move_say(g, LOG_WARNING, MESSAGE_NOT_PUT_BACK,
                         "%zu processes put back; %zu stay in %s, without a limit, as the cgroups that they came from "
                         "are gone or do not take them",
                         g->n_returned, g->n_stayed, g->unit[0] ? g->unit : g->cgroup);
        else if (g->n_returned > 0)
                move_say(g, LOG_NOTICE, MESSAGE_PUT_BACK, "%zu processes put back where they came from", g->n_returned);
}

void move_groups_sweep(struct mover *m)
{
        for (struct move_group **link = &m->groups; *link;) {
                struct move_group *g = *link;

                if (g->phase != PHASE_ENDING || !g->undone || g->call) {
                        link = &g->next;
                        continue;
                }
                say_undone(g);
                state_file_remove(m->state, "group", g->name);
                *link = g->next;
                move_group_free(g);
        }
}

/* -- looks -- */

static void sync_state(struct mover *m)
{
        int r = state_file_sync(m->state);

        if (r < 0)
                log_warning("The state file cannot be written: %s; what it says of moved processes is outdated, "
                            "ignoring",
                            strerror(-r));
}

static void tend(struct move_group *g, usec_t now)
{
        switch (g->phase) {
        case PHASE_IDLE:
                choose_place(g);
                break;
        case PHASE_ASKED:
                systemd_watch_scope(g);
                break;
        case PHASE_READY:
                if (g->place == PLACE_OWN && now >= g->retry_at) {
                        g->shared_looks = moved_still_whole(g) ? 0 : g->shared_looks + 1;
                        if (g->shared_looks >= SHARED_LOOKS) {
                                move_say(g, LOG_INFO, MESSAGE_PUT_BACK, "it is not alone in cgroup %s any more",
                                         g->cgroup);
                                move_group_end(g);
                        }
                }
                break;
        case PHASE_ENDING:
                if (now >= g->retry_at)
                        move_group_end(g);
                break;
        }
}

/* The first members are in the scope, which now lives by them; or none can go there. */
static void release_holder(struct move_group *g)
{
        if (g->holder <= 0)
                return;
        systemd_end_holder(g);
        if (g->n_moved > 0)
                move_say(g, LOG_NOTICE, MESSAGE_MOVED, "%zu processes moved into %s%s%s", g->n_moved, g->unit,
                         g->n_left ? "; others stay where they are: " : "", g->n_left ? g->left_why : "");
}

void mover_attend(struct mover *m)
{
        moved_look(m);
        for (struct move_group *g = m->groups; g; g = g->next)
                if (g->phase == PHASE_READY) {
                        limit_look(g, now_of(m));
                        release_holder(g);
                }
        move_groups_sweep(m);
        sync_state(m);
        mover_schedule(m);
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
        struct mover *m = userdata;
        usec_t now = now_of(m);
        bool ready = false;

        for (struct move_group *g = m->groups; g; g = g->next) {
                if (g->next_look > now)
                        continue;
                g->next_look = USEC_INFINITY;
                if (g->phase == PHASE_READY)
                        limit_look(g, now);
                else if (g->phase != PHASE_IDLE) /* members are looked up at the engine's looks */
                        tend(g, now);
                ready |= g->phase == PHASE_READY && g->holder > 0;
        }
        if (ready) {
                mover_attend(m);
                engine_publish_soon(m->engine);
                return 0;
        }
        move_groups_sweep(m);
        sync_state(m);
        mover_schedule(m);
        return 0;
}

void mover_schedule(struct mover *m)
{
        usec_t next = USEC_INFINITY;

        if (m->engine->stopping || !m->timer)
                return;
        for (const struct move_group *g = m->groups; g; g = g->next)
                if (g->phase != PHASE_IDLE)
                        next = MIN(next, g->phase == PHASE_ENDING && g->undone && !g->call ? 0 : g->next_look);
        if (next == USEC_INFINITY || sd_event_source_set_time(m->timer, next) < 0)
                sd_event_source_set_enabled(m->timer, SD_EVENT_OFF);
        else
                sd_event_source_set_enabled(m->timer, SD_EVENT_ONESHOT);
}

static bool is_wanted(const struct group *g)
{
        return g->settings.action == ACTION_MOVE && g->settings.has_cap && !g->settings.paused &&
               !g->settings.dry_run && !g->doomed;
}

static void attach(struct mover *m, struct group *group)
{
        unsigned starting = 0;

        for (const struct move_group *g = m->groups; g; g = g->next) {
                if (strcmp(g->name, group->name) == 0)
                        return; /* the one of before is not undone yet */
                starting += g->phase == PHASE_ASKED;
        }
        if (starting >= LIMIT_SCOPE_REQUESTS)
                return;
        group->move = move_group_add(m, group->name);
        if (!group->move)
                return;
        group->move->group = group;
        if (m->why[0])
                move_group_fail(group->move, "%s", m->why);
}

void move_look(struct engine *e)
{
        struct mover *m = e->mover;

        if (!m || e->stopping)
                return;
        for (struct group *g = NULL; (g = groups_next(e, g));) {
                if (g->move && !is_wanted(g))
                        move_group_end(g->move);
                else if (!g->move && is_wanted(g))
                        attach(m, g);
        }
        for (struct move_group *g = m->groups; g; g = g->next)
                tend(g, now_of(m));
        mover_attend(m);
}

bool move_holds_any(const struct engine *e)
{
        return e->mover && e->mover->groups;
}

void move_fill(const struct group *g, struct wire_group *ret)
{
        const struct move_group *x = g->move;

        ret->memory_high = ret->move_current = SIZE_UNKNOWN;
        if (!x)
                return;
        ret->moved = (uint32_t)(x->n_moved - x->n_astray);
        ret->move_left = (uint32_t)x->n_left;
        if (x->phase == PHASE_READY) {
                const char *target = x->unit[0] ? x->unit : x->cgroup;

                text_escape(ret->move_target, sizeof(ret->move_target), target, strlen(target));
                ret->move_own = x->place == PLACE_OWN;
                ret->memory_high = x->figures.high;
                ret->move_current = x->figures.current;
        }
        if (x->problem[0])
                text_escape(ret->move_note, sizeof(ret->move_note), x->problem, strlen(x->problem));
        else if (x->note[0])
                text_escape(ret->move_note, sizeof(ret->move_note), x->note, strlen(x->note));
        else if (x->n_left > 0)
                snprintf(ret->move_note, sizeof(ret->move_note), "%zu of its processes stay where they are: %s",
                         x->n_left, x->left_why);
}

/* -- start and stop -- */

static int open_state(struct engine *e)
{
        char why[160];
        int r = state_file_open(&e->sys, e->runtime_fd, why, sizeof(why), &e->state);

        if (r == STATE_FILE_E_REFUSED) {
                log_error("What a capd before this one has set cannot be undone: its " STATE_FILE
                          " is not to be trusted: %s. "
                          "It is kept as " STATE_FILE_REFUSED,
                          why);
                return 0;
        }
        return r;
}

static void find_own_cgroup(struct mover *m)
{
        const struct sys *sys = &m->engine->sys;
        _cleanup_close_ int fd = sys_open(sys, "proc/self", O_RDONLY | O_DIRECTORY);

        if (fd < 0 || move_where(sys, fd, m->own_cgroup, sizeof(m->own_cgroup)) != 0)
                m->own_cgroup[0] = '\0';
}

int move_start(struct engine *e)
{
        struct mover *m;
        int r = open_state(e);

        if (r < 0) {
                log_warning("The state file cannot be read: %s; nothing is moved, ignoring", strerror(-r));
                return 0;
        }
        m = calloc(1, sizeof(*m));
        if (!m)
                return -ENOMEM;
        e->mover = m;
        m->engine = e;
        m->state = e->state;
        m->cgroups = CGROUP2_CLOSED;
        m->systemd = systemd_is_here(&e->sys);
        find_own_cgroup(m);
        r = sd_event_add_time(e->event, &m->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, m);
        if (r < 0)
                return r;
        sd_event_source_set_enabled(m->timer, SD_EVENT_OFF);
        r = cgroup2_open(&e->sys, &m->cgroups);
        if (r < 0) {
                snprintf(m->why, sizeof(m->why), "nothing can be moved here: %s",
                         e->features.why_cgroup2[0] ? e->features.why_cgroup2 : strerror(-r));
                return 0;
        }
        move_recover(m);
        mover_schedule(m);
        return 0;
}

void move_done(struct engine *e)
{
        struct mover *m = e->mover;
        usec_t until;

        if (m) {
                until = now_of(m) + LIMIT_UNDO_USEC;
                for (struct move_group *g = m->groups; g; g = g->next)
                        move_group_end(g);
                if (!systemd_drain(m, until))
                        log_warning("systemd has not answered in time: the next start undoes the rest");
                move_groups_sweep(m);
                sync_state(m);
                if (!m->groups)
                        systemd_stop_slice(m);
                while (m->groups) {
                        struct move_group *g = m->groups;

                        m->groups = g->next;
                        move_group_free(g);
                }
                for (size_t i = 0; i < MOVED_BUCKETS; i++)
                        while (m->tasks[i]) {
                                struct moved_task *t = m->tasks[i];

                                m->tasks[i] = t->next;
                                free(t);
                        }
                systemd_close(m);
                sd_event_source_disable_unref(m->timer);
                cgroup2_close(&m->cgroups);
                free(m);
                e->mover = NULL;
        }
        e->state = state_file_free(e->state);
}
