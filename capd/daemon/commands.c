/* SPDX-License-Identifier: MIT */
/* commands.c: what clients ask through the front, which has checked that they may. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "capd/base/log.h"
#include "capd/base/size.h"
#include "engine.h"

/* Says why nothing is done, to the log and to whoever asked. */
static void _printf_(5, 6) refuse(struct engine *e, struct group *g, const struct wire_command *c, int error,
                                  const char *format, ...)
{
        char why[sizeof(((struct wire_message *)0)->text)];
        va_list ap;

        va_start(ap, format);
        vsnprintf(why, sizeof(why), format, ap);
        va_end(ap);
        event_request(e, g, c, MESSAGE_REFUSED, "Refused (%s) what was asked for", why);
        engine_reply(e, c->serial, error, NULL, 0, "%s", why);
}

static void command_reload(struct engine *e, const struct wire_command *c)
{
        _cleanup_free_ char *problems = NULL;
        int r;

        event_request(e, NULL, c, MESSAGE_REQUEST, "Reload asked for");
        r = engine_reload(e, &problems);
        engine_publish(e); /* before the answer, as in apply() */
        if (r < 0)
                engine_reply(e, c->serial, r, problems, problems ? strlen(problems) : 0,
                             "the configuration was not accepted; the old one stays in force");
        else
                engine_reply(e, c->serial, 0, NULL, 0, "reloaded: %zu group%s", e->n_groups,
                             e->n_groups == 1 ? "" : "s");
}

/* What a client asked for is in the snapshot that the front has before the answer, so that it can be seen at once. */
static void apply(struct engine *e, struct group *g)
{
        if (g) {
                group_update_settings(e, g);
                engine_judge(e, &g, 1);
        } else {
                for (g = NULL; (g = groups_next(e, g));)
                        if (!g->doomed) {
                                group_update_settings(e, g);
                                engine_judge(e, &g, 1);
                        }
        }
        move_look(e);
        engine_publish(e);
}

static void command_pause(struct engine *e, const struct wire_command *c, bool pause)
{
        struct group *g = NULL;

        if (c->group[0] == '\0') {
                e->paused = pause;
                /* resuming everything resumes everything */
                for (struct group *each = NULL; !pause && (each = groups_next(e, each));)
                        each->paused = false;
        } else {
                g = group_find(e, c->group);
                if (!g) {
                        refuse(e, g, c, -ENOENT, "no such group: %s", c->group);
                        return;
                }
                g->paused = pause;
        }
        apply(e, g);
        event_request(e, g, c, MESSAGE_REQUEST, "%s%s", g ? "" : "Everything ", pause ? "paused" : "resumed");
        if (!pause && g && e->paused)
                engine_reply(e, c->serial, 0, NULL, 0, "%s is still paused with everything else: capctl resume",
                             g->name);
        else
                engine_reply(e, c->serial, 0, NULL, 0, "%s is %s", g ? g->name : "everything",
                             pause ? "paused" : "resumed");
}

static void command_set_cap(struct engine *e, const struct wire_command *c)
{
        struct group *g = group_find(e, c->group);
        char size[SIZE_TEXT_MAX], wait[SIZE_TEXT_MAX];

        if (!g) {
                refuse(e, g, c, -ENOENT, "no such group: %s", c->group);
                return;
        }
        if (c->bytes != 0 && (c->bytes < LIMIT_CAP_MIN_BYTES || c->bytes > INT64_MAX)) {
                refuse(e, g, c, -EINVAL, "a cap must be at least %s", format_size(size, LIMIT_CAP_MIN_BYTES));
                return;
        }
        if (c->duration > LIMIT_TEMPORARY_CAP_USEC) {
                refuse(e, g, c, -EINVAL, "a temporary cap lasts a year at most");
                return;
        }
        group_set_temporary_cap(e, g, c->bytes,
                                c->bytes && c->duration ? e->sys.ops->now(&e->sys) + c->duration : USEC_INFINITY);
        apply(e, g);
        event_request(e, g, c, MESSAGE_REQUEST, "cap %s",
                      g->settings.has_cap ? format_size(size, g->settings.cap) : "none");
        engine_reply(e, c->serial, 0, NULL, 0, "cap of %s is %s%s%s", g->name,
                     g->settings.has_cap ? format_size(size, g->settings.cap) : "none",
                     g->temporary_cap == 0 ? ""
                     : c->duration         ? " for "
                                           : " until reload or restart",
                     g->temporary_cap && c->duration ? format_time(wait, c->duration) : "");
}

/* As far as is known: a group that has grown since is brought down all the same. */
static bool is_below(const struct group_sample *s, uint64_t watermark)
{
        return (s->quality == QUALITY_EXACT || s->quality == QUALITY_BOUND_UPPER) && s->resident <= watermark;
}

static void command_enforce(struct engine *e, const struct wire_command *c)
{
        struct group *g = group_find(e, c->group);
        char low[SIZE_TEXT_MAX], held[SIZE_TEXT_MAX];

        if (!g)
                refuse(e, g, c, -ENOENT, "no such group: %s", c->group);
        else if (!g->settings.has_cap)
                refuse(e, g, c, -EINVAL, "it has no cap to be brought under");
        else if (g->settings.paused)
                refuse(e, g, c, -EINVAL, "it is paused: capctl resume%s%s first", e->paused ? "" : " ",
                       e->paused ? "" : g->name);
        else if (g->settings.dry_run)
                refuse(e, g, c, -EINVAL, "capd runs with --dry-run and never acts");
        else if (g->settings.action == ACTION_OBSERVE)
                refuse(e, g, c, -EINVAL, "it is only observed: Action=observe in its section says so");
        else if (!e->features.process_madvise)
                refuse(e, g, c, -EPERM, "%s", e->features.why_process_madvise);
        else {
                event_request(e, g, c, MESSAGE_REQUEST, "enforcement asked for");
                g->forced = true;
                apply(e, g);
                format_size(low, g->settings.low);
                if (g->sample.processes == 0)
                        engine_reply(e, c->serial, 0, NULL, 0, "%s has no processes: nothing to do", g->name);
                else if (is_below(&g->sample, g->settings.low))
                        engine_reply(e, c->serial, 0, NULL, 0,
                                     "%s holds %s, no more than its low watermark of %s: nothing to do", g->name,
                                     format_size(held, g->sample.resident), low);
                else if (g->memory.state == STATE_UNENFORCEABLE || g->memory.state == STATE_THRASHING)
                        engine_reply(e, c->serial, 0, NULL, 0,
                                     "trying once more to bring %s down to its low watermark of %s; so far it is %s: "
                                     "%s",
                                     g->name, low, group_state_to_string(g->memory.state), g->memory.reason);
                else
                        engine_reply(e, c->serial, 0, NULL, 0, "bringing %s down to its low watermark of %s", g->name,
                                     low);
        }
}

static void command_config(struct engine *e, const struct wire_command *c)
{
        char *text = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);
        int r = f ? policy_dump(e->policy, f) : -ENOMEM;

        if (f && fclose(f) != 0)
                r = -ENOMEM;
        if (r < 0)
                engine_reply(e, c->serial, r, NULL, 0, "capd is out of memory");
        else
                engine_reply(e, c->serial, 0, text, size, "%s", "");
        free(text);
}

void engine_command(struct engine *e, const struct wire_command *c, int body_fd)
{
        switch ((enum wire_verb)c->verb) {
        case WIRE_RELOAD:
                command_reload(e, c);
                break;
        case WIRE_PAUSE:
                command_pause(e, c, true);
                break;
        case WIRE_RESUME:
                command_pause(e, c, false);
                break;
        case WIRE_SET_CAP:
                command_set_cap(e, c);
                break;
        case WIRE_ENFORCE:
                command_enforce(e, c);
                break;
        case WIRE_EXPLAIN:
                engine_explain(e, c);
                break;
        case WIRE_CONFIG:
                command_config(e, c);
                break;
        case WIRE_STORE_METRICS:
                store_command(e, STORE_METRICS, body_fd, c->bytes);
                return;
        case WIRE_STORE_HISTORY:
                store_command(e, STORE_HISTORY, body_fd, c->bytes);
                return;
        case _WIRE_VERB_MAX:
                break;
        }
        engine_publish_soon(e);
}
