/* SPDX-License-Identifier: MIT */
/*
 * move-recover.c: what a capd before this one has set and not taken back, from the state file.
 *
 * The moving groups of then are made again, without a group, and ended like any other. A record that makes no sense is left
 * alone, and said.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "capd/base/log.h"
#include "capd/base/size.h"
#include "capd/base/text.h"
#include "move.h"

struct recovered {
        uint64_t pid, start_time, inode;
        const char *group, *origin;
};

/* group NAME PLACE UNIT CGROUP INODE BEFORE */
static bool recover_group(struct mover *m, const struct state_record *r)
{
        uint64_t inode, before;
        struct move_group *g;
        enum move_place place;

        if (r->n != 6 || strlen(r->words[0]) >= LIMIT_GROUP_NAME_BYTES || strlen(r->words[2]) >= MOVE_NAME_MAX ||
            !move_place_from_string(r->words[1], &place) || r->words[3][0] != '/' ||
            parse_number(r->words[4], UINT64_MAX - 1, &inode) < 0 || !move_parse_high(r->words[5], &before))
                return false;
        g = move_group_add(m, r->words[0]);
        if (!g)
                return false;
        g->place = place;
        m->slice_used |= place == PLACE_SCOPE;
        g->phase = PHASE_READY;
        if (strcmp(r->words[2], "-") != 0)
                text_copy(g->unit, sizeof(g->unit), r->words[2]);
        g->cgroup = strdup(r->words[3]);
        g->inode = inode;
        g->before = before;
        return g->cgroup;
}

/* task PID START INODE NAME ORIGIN */
static bool recover_task(struct mover *m, const struct recovered *t)
{
        for (struct move_group *g = m->groups; g; g = g->next)
                if (strcmp(g->name, t->group) == 0)
                        return moved_add(g, (pid_t)t->pid, t->start_time, t->origin, t->inode) >= 0;
        return false;
}

static bool parse_task(const struct state_record *r, struct recovered *ret)
{
        if (r->n != 5 || r->words[4][0] != '/' || parse_number(r->words[0], INT32_MAX, &ret->pid) < 0 ||
            ret->pid == 0 || parse_number(r->words[1], UINT64_MAX - 1, &ret->start_time) < 0 ||
            parse_number(r->words[2], UINT64_MAX - 1, &ret->inode) < 0)
                return false;
        ret->group = r->words[3];
        ret->origin = r->words[4];
        return true;
}

static size_t recover_groups(struct mover *m)
{
        size_t bad = 0;

        for (const struct state_record *r = NULL; (r = state_file_next(m->state, r));)
                if (strcmp(r->type, "group") == 0)
                        bad += !recover_group(m, r);
        return bad;
}

/* moved_add() puts the record anew, behind those that were there: each is seen once, up to the last of the beginning. */
static size_t recover_tasks(struct mover *m)
{
        size_t n = 0, bad = 0;

        for (const struct state_record *r = NULL; (r = state_file_next(m->state, r));)
                n += strcmp(r->type, "task") == 0;
        for (const struct state_record *r = state_file_next(m->state, NULL), *next; r && n > 0; r = next) {
                struct recovered t;
                _cleanup_free_ char *group = NULL, *origin = NULL;

                next = state_file_next(m->state, r);
                if (strcmp(r->type, "task") != 0)
                        continue;
                n--;
                if (!parse_task(r, &t) || !(group = strdup(t.group)) || !(origin = strdup(t.origin))) {
                        bad++;
                        continue;
                }
                t.group = group;
                t.origin = origin;
                bad += !recover_task(m, &t);
        }
        return bad;
}

void move_recover(struct mover *m)
{
        size_t bad = recover_groups(m) + recover_tasks(m), n = 0;

        if (bad > 0)
                log_warning("%zu records of what an earlier capd has moved make no sense, ignoring", bad);
        for (struct move_group *g = m->groups; g; g = g->next) {
                n++;
                move_group_end(g);
        }
        if (n > 0)
                log_notice("Undoing what a capd that did not end well had set for %zu group%s", n, n == 1 ? "" : "s");
        move_groups_sweep(m);
        if (state_file_sync(m->state) < 0)
                log_warning("The state file cannot be written, ignoring");
}
