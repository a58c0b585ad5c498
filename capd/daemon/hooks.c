/* SPDX-License-Identifier: MIT */
/*
 * hooks.c: Hook= programs, told of changes of state.
 *
 * A hook runs in the background, one at a time for each group: changes that come while it runs are told, the last of them, when it has
 * ended. One that runs for too long is killed with everything it started in its session. It has the rights of the engine,
 * so neither it nor a directory on the way to it may be in other hands than root's.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "capd/base/log.h"
#include "capd/base/path.h"
#include "capd/base/text.h"
#include "engine.h"

struct hook {
        struct hook *next;
        struct engine *engine;
        char group[LIMIT_GROUP_NAME_BYTES];
        bool again; /* the state has changed since it was started */
        pid_t pid;
        sd_event_source *child, *timer;
};

static struct hook *hook_free(struct hook *h)
{
        sd_event_source_disable_unref(h->child);
        sd_event_source_disable_unref(h->timer);
        free(h);
        return NULL;
}

/*
 * Why the program must not be run with these rights, or NULL, and *ret is the path without links that is to be run: what nobody can exchange
 * between this look and the start of it.
 */
static const char *hook_objection(struct engine *e, const char *path, char **ret)
{
        _cleanup_free_ char *real = realpath(path, NULL);
        struct stat st;

        if (!real ||
            e->sys.ops->fstatat(&e->sys, e->sys.root_fd, real + strspn(real, "/"), &st, AT_SYMLINK_NOFOLLOW) < 0)
                return "it is not there";
        if (!S_ISREG(st.st_mode) || !(st.st_mode & S_IXUSR))
                return "it is no executable file";
        if (st.st_uid != 0 || (st.st_mode & (S_IWGRP | S_IWOTH)) || !path_is_trusted(&e->sys, path, 0) ||
            !path_is_roots(&e->sys, real))
                return "it, and each directory on its path, must belong to root and be writable by nobody else";
        *ret = TAKE_PTR(real);
        return NULL;
}

static int spawn(const char *path, const char *name, char *const env[], pid_t *ret)
{
        char *const argv[] = {(char *)name, NULL};
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attr;
        sigset_t none, all;
        int r;

        sigemptyset(&none);
        sigfillset(&all);
        posix_spawnattr_init(&attr);
        posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        posix_spawnattr_setsigmask(&attr, &none);
        posix_spawnattr_setsigdefault(&attr, &all);
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
        r = posix_spawn(ret, path, &actions, &attr, argv, env);
        posix_spawn_file_actions_destroy(&actions);
        posix_spawnattr_destroy(&attr);
        return -r;
}

/* The service is spared by the OOM killer, which its hooks would inherit: they may need any amount of memory. */
static void hook_expose(struct hook *h)
{
        const struct sys *sys = &h->engine->sys;
        char path[64];
        int r;

        snprintf(path, sizeof(path), "proc/%d/oom_score_adj", (int)h->pid);
        r = sys_write_file_at(sys, sys->root_fd, path, "0");
        if (r < 0)
                log_debug("Group %s: its Hook= keeps the OOM score of capd: %s, ignoring", h->group, strerror(-r));
}

static int hook_spawn(struct hook *h, const struct group *g, const char *path, const char *name)
{
        char group[sizeof("CAPD_GROUP=") + LIMIT_GROUP_NAME_BYTES], state[64], resident[64], cap[64];
        char *const env[] = {group, state, resident, cap, (char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
        struct group_sample s;

        decide_presentable(&g->sample, &s);
        snprintf(group, sizeof(group), "CAPD_GROUP=%s", g->name);
        snprintf(state, sizeof(state), "CAPD_STATE=%s", group_state_to_string(g->memory.state));
        /* what is not known is empty, and not a number */
        resident[0] = cap[0] = '\0';
        strcpy(resident, "CAPD_RESIDENT_BYTES=");
        if (s.resident != SIZE_UNKNOWN)
                snprintf(resident, sizeof(resident), "CAPD_RESIDENT_BYTES=%" PRIu64, s.resident);
        strcpy(cap, "CAPD_CAP_BYTES=");
        if (g->settings.has_cap)
                snprintf(cap, sizeof(cap), "CAPD_CAP_BYTES=%" PRIu64, g->settings.cap);
        return spawn(path, name, env, &h->pid);
}

static int on_time_over(sd_event_source *s, uint64_t usec, void *userdata)
{
        struct hook *h = userdata;

        log_warning("Group %s: its Hook= still runs after %llu s; ending it", h->group,
                    (unsigned long long)(LIMIT_HOOK_USEC / USEC_PER_SEC));
        /* its session's process group: it leads both, and has not been waited for, so the number is its own */
        kill(-h->pid, SIGKILL);
        return 0;
}

static int on_hook_ended(sd_event_source *s, const siginfo_t *si, void *userdata)
{
        struct hook *h = userdata, **link = &h->engine->hooks;
        struct engine *e = h->engine;
        struct group *g = group_find(e, h->group);
        bool again = h->again;

        if (si->si_code != CLD_EXITED || si->si_status != 0)
                log_warning("Group %s: its Hook= ended with %s %d", h->group,
                            si->si_code == CLD_EXITED ? "status" : "signal", si->si_status);
        while (*link != h)
                link = &(*link)->next;
        *link = h->next;
        e->n_hooks--;
        hook_free(h);
        if (again && g && !e->stopping)
                hooks_run(e, g);
        return 0;
}

static int hook_watch(struct hook *h)
{
        struct engine *e = h->engine;
        int r = sd_event_add_child(e->event, &h->child, h->pid, WEXITED, on_hook_ended, h);

        if (r >= 0)
                r = sd_event_add_time_relative(e->event, &h->timer, CLOCK_MONOTONIC, LIMIT_HOOK_USEC, 0, on_time_over,
                                               h);
        if (r < 0) {
                kill(-h->pid, SIGKILL);
                waitpid(h->pid, NULL, 0);
        }
        return r;
}

void hooks_run(struct engine *e, struct group *g)
{
        const char *path = e->policy->sections[g->section].hook, *objection;
        _cleanup_free_ char *real = NULL;
        struct hook *h;
        int r;

        if (!path)
                return;
        for (h = e->hooks; h; h = h->next)
                if (strcmp(h->group, g->name) == 0) {
                        h->again = true;
                        return;
                }
        objection = hook_objection(e, path, &real);
        if (!objection && e->n_hooks >= LIMIT_HOOKS)
                objection = "too many hooks run already (LIMIT_HOOKS)";
        if (objection) {
                log_warning("Group %s: Hook=%s is not run: %s", g->name, path, objection);
                return;
        }
        h = calloc(1, sizeof(*h));
        if (!h)
                return;
        h->engine = e;
        text_copy(h->group, sizeof(h->group), g->name);
        r = hook_spawn(h, g, real, path);
        if (r >= 0) {
                hook_expose(h);
                r = hook_watch(h);
        }
        if (r < 0) {
                log_warning("Group %s: Hook=%s cannot be run: %s", g->name, path, strerror(-r));
                hook_free(h);
                return;
        }
        h->next = e->hooks;
        e->hooks = h;
        e->n_hooks++;
}

void hooks_done(struct engine *e)
{
        while (e->hooks) {
                struct hook *h = e->hooks;

                e->hooks = h->next;
                kill(-h->pid, SIGKILL);
                h->child = sd_event_source_disable_unref(h->child);
                waitpid(h->pid, NULL, 0);
                hook_free(h);
        }
}
