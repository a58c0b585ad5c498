/* SPDX-License-Identifier: MIT */
/* reload.c: the policy as it stands in the files, put in force whole or not at all. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "capd/base/conf-files.h"
#include "capd/base/log.h"
#include "capd/base/text.h"
#include "capd/base/users.h"
#include "engine.h"

static int problems_to_text(const struct policy_problems *problems, char **ret)
{
        char *text = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);

        if (!f)
                return -ENOMEM;
        policy_problems_print(problems, f);
        if (fclose(f) != 0) {
                free(text);
                return -ENOMEM;
        }
        *ret = text;
        return 0;
}

int engine_load_policy(struct engine *e, struct policy **ret, char **ret_problems)
{
        static const struct policy_world world = {.user_to_uid = users_user_to_uid, .group_to_gid = users_group_to_gid};
        _cleanup_(conf_files_done) struct conf_files files = {};
        _cleanup_(policy_problems_done) struct policy_problems problems = {};
        int r;

        r = conf_files_read(&e->sys, e->config_file, 0, &files);
        if (r >= 0)
                r = policy_load_files(&files, &world, ret, &problems);
        if (r == -EBADMSG && problems_to_text(&problems, ret_problems) < 0)
                return -ENOMEM;
        return r;
}

/* The section of that name in the new policy, or n_sections. */
static size_t find_section(const struct policy *p, const char *name)
{
        size_t i = 0;

        while (i < p->n_sections && strcmp(p->sections[i].name, name) != 0)
                i++;
        return i;
}

/* Other members may belong to the group now, under another cap: what was measured and judged is not of this group any more. */
static void forget_figures(struct group *g)
{
        g->stale = g->busy;
        group_sample_forget(&g->sample);
        g->sample.counted_at = g->sample.bounds_at = g->sample.tried_at = 0;
        g->reference_at = 0;
        g->memory = (struct decide_memory){.last_act_ended = g->memory.last_act_ended,
                                           .had_swap = g->memory.had_swap,
                                           .tokens = g->memory.tokens,
                                           .tokens_at = g->memory.tokens_at};
        strcpy(g->memory.reason, "not measured yet");
}

/* Groups keep what capd knows of them while their section is there; the others end. */
static void carry_groups_over(struct engine *e, const struct policy *policy)
{
        for (struct group *g = NULL; (g = groups_next(e, g));) {
                size_t section;

                if (g->doomed)
                        continue; /* of a policy before this one */
                section = find_section(policy, e->policy->sections[g->section].name);
                if (section == policy->n_sections ||
                    g->for_each != (policy->sections[section].for_each != FOR_EACH_NONE))
                        g->doomed = true;
                else {
                        g->section = section;
                        if (g->temporary_until == USEC_INFINITY)
                                g->temporary_cap = 0;
                        forget_figures(g);
                }
        }
}

/* The file of the old policy is nobody's any more. */
static void move_metrics(struct engine *e, const struct policy *policy)
{
        const char *old = e->policy->daemon.metrics_file, *now = policy->daemon.metrics_file;

        if (old && (!now || strcmp(old, now) != 0))
                store_remove_metrics(e, old);
}

int engine_put_in_force(struct engine *e, struct policy *policy)
{
        pid_t *pids = calloc(policy->n_pid_files + 1, sizeof(*pids));

        if (!pids)
                return -ENOMEM;
        if (e->policy) {
                carry_groups_over(e, policy);
                move_metrics(e, policy);
        }
        policy_free(e->policy);
        e->policy = policy;
        free(e->pid_file_pids);
        e->pid_file_pids = pids;
        e->policy_loaded_at = e->sys.ops->now(&e->sys);
        for (struct process *p = NULL; (p = process_table_next(e->table, p));)
                membership_forget(p, NULL);
        for (struct group *g = NULL; (g = groups_next(e, g));)
                g->n_members = 0;
        process_table_set_facts(e->table, surroundings_facts(e, policy));
        e->rematch = true;
        e->cmdlines_known = false;
        for (struct group *g = NULL; (g = groups_next(e, g));)
                if (!g->doomed)
                        group_update_settings(e, g);
        /* a section without ForEach= is a group whether or not any process belongs to it */
        for (size_t i = 0; i < policy->n_sections; i++)
                if (policy->sections[i].for_each == FOR_EACH_NONE)
                        group_get(e, policy->sections[i].name, i);
        groups_sweep(e);
        return 0;
}

static void log_problems(const char *problems)
{
        for (const char *line = problems, *end; line && (end = strchr(line, '\n')); line = end + 1)
                log_error("%.*s", (int)(end - line), line);
}

int engine_first_policy(struct engine *e, struct policy **ret)
{
        _cleanup_free_ char *problems = NULL;
        int r = engine_load_policy(e, ret, &problems);

        log_problems(problems);
        if (r < 0 && !problems)
                log_error("Cannot read the configuration: %s", strerror(-r));
        return r;
}

int engine_reload(struct engine *e, char **ret_problems)
{
        _cleanup_free_ char *problems = NULL;
        _cleanup_(policy_freep) struct policy *policy = NULL;
        int r;

        sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)e->sys.ops->now(&e->sys));
        r = engine_load_policy(e, &policy, &problems);
        if (r >= 0)
                r = engine_put_in_force(e, policy);
        if (r >= 0) {
                TAKE_PTR(policy);
                e->config_error[0] = '\0';
                event_log(e, NULL, EVENT_REQUEST, LOG_NOTICE, MESSAGE_RELOADED, NULL,
                          "Configuration reloaded: %zu group%s", e->n_groups, e->n_groups == 1 ? "" : "s");
        } else {
                log_problems(problems);
                text_copy(e->config_error, sizeof(e->config_error), problems ? problems : strerror(-r));
                event_log(e, NULL, EVENT_REQUEST, LOG_ERR, MESSAGE_RELOAD_FAILED,
                          LOG_FIELDS({"CAPD_PROBLEMS", e->config_error}),
                          "The configuration was not accepted%s%s%s; the old one stays in force", problems ? "" : " (",
                          problems ? "" : strerror(-r), problems ? "" : ")");
        }
        sd_notify(0, "READY=1");
        if (r < 0 && ret_problems)
                *ret_problems = TAKE_PTR(problems);
        engine_publish_soon(e);
        engine_schedule(e, e->sys.ops->now(&e->sys));
        return r;
}
