/* SPDX-License-Identifier: MIT */
/*
 * move-systemd.c: what is asked of systemd, without ever waiting for it.
 *
 * A scope needs a process to begin with. It is a child of ours that does nothing: systemd moves by number, and a member's might be
 * another's by then. The members follow by capd's own hand when the scope is there, which the child's /proc/PID/cgroup tells, and the child
 * ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "capd/base/log.h"
#include "capd/base/text.h"
#include "move.h"

#define SERVICE        "org.freedesktop.systemd1"
#define PATH           "/org/freedesktop/systemd1"
#define MANAGER        "org.freedesktop.systemd1.Manager"
#define NO_SUCH_UNIT   "org.freedesktop.systemd1.NoSuchUnit"
#define PRIVATE_SOCKET "unix:path=/run/systemd/private" /* root's own way to PID 1, for hosts without a message bus */
#define UNIT_KEPT      (60 * USEC_PER_SEC)              /* what was told of a service is believed for so long */
#define WATCH_PAUSE    (50 * USEC_PER_MSEC)

bool systemd_is_here(const struct sys *sys)
{
        struct stat st;

        /* sd_booted(3) */
        return sys->ops->fstatat(sys, sys->root_fd, "run/systemd/system", &st, AT_SYMLINK_NOFOLLOW) >= 0 &&
               S_ISDIR(st.st_mode);
}

static struct move_unit *move_unit_free(struct move_unit *u);

void systemd_close(struct mover *m)
{
        while (m->units) {
                struct move_unit *u = m->units;

                m->units = u->next;
                move_unit_free(u);
        }
        m->bus = sd_bus_flush_close_unref(m->bus);
}

static int open_private(sd_bus **ret)
{
        sd_bus *bus = NULL;
        int r = sd_bus_new(&bus);

        if (r >= 0)
                r = sd_bus_set_address(bus, PRIVATE_SOCKET);
        if (r >= 0)
                r = sd_bus_start(bus);
        if (r < 0) {
                sd_bus_unref(bus);
                return r;
        }
        *ret = bus;
        return 0;
}

static int open_bus(struct mover *m)
{
        int r;

        if (m->bus && sd_bus_is_open(m->bus) > 0)
                return 0;
        m->bus = sd_bus_close_unref(m->bus);
        r = sd_bus_open_system(&m->bus);
        if (r < 0)
                r = open_private(&m->bus);
        if (r < 0)
                return r;
        sd_bus_set_method_call_timeout(m->bus, LIMIT_SYSTEMD_USEC);
        sd_bus_set_close_on_exit(m->bus, 0); /* when the loop has ended there is still something to be undone */
        /* a loop that has ended takes no more sources: systemd_drain() does without */
        if (!m->engine->stopping)
                r = sd_bus_attach_event(m->bus, m->engine->event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0)
                m->bus = sd_bus_close_unref(m->bus);
        return r;
}

/* -- the child that keeps a scope -- */

/* In the child of a process with threads: system calls only. */
static void hold(pid_t parent)
{
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
                _exit(0);
        /* the lock of the runtime directory must not outlive capd */
        syscall(SYS_close_range, 0U, ~0U, 0U);
        for (;;)
                pause();
}

static int start_holder(struct move_group *g)
{
        pid_t parent = getpid(), pid = fork();

        if (pid < 0)
                return -errno;
        if (pid == 0)
                hold(parent);
        g->holder = pid;
        return 0;
}

void systemd_end_holder(struct move_group *g)
{
        if (g->holder <= 0)
                return;
        /* it has not been waited for, so the number is its own */
        kill(g->holder, SIGKILL);
        waitpid(g->holder, NULL, 0);
        g->holder = 0;
}

/* -- a scope -- */

static int append_properties(sd_bus_message *call, const struct move_group *g)
{
        char name[LIMIT_GROUP_NAME_BYTES * 4], text[LIMIT_GROUP_NAME_BYTES * 4 + 64];
        int r;

        text_escape(name, sizeof(name), g->name, strlen(g->name));
        snprintf(text, sizeof(text), "Processes of group %s, moved by capd", name);
        if ((r = sd_bus_message_append(call, "(sv)", "Description", "s", text)) < 0 ||
            (r = sd_bus_message_append(call, "(sv)", "Slice", "s", MOVE_SLICE)) < 0 ||
            (r = sd_bus_message_append(call, "(sv)", "PIDs", "au", 1, (uint32_t)g->holder)) < 0 ||
            /* not stopped with everything else at shutdown: that is for the services to do in their order */
            (r = sd_bus_message_append(call, "(sv)", "DefaultDependencies", "b", 0)) < 0 ||
            (r = sd_bus_message_append(call, "(sv)", "CollectMode", "s", "inactive-or-failed")) < 0 ||
            /* capd writes to its cgroup.procs, which systemd allows where it has delegated. Without a list of controllers that
             * would enable all of them and so change how CPU time and I/O are divided. */
            (r = sd_bus_message_append(call, "(sv)", "DelegateControllers", "as", 1, "memory")) < 0 ||
            (r = sd_bus_message_append(call, "(sv)", "MemoryAccounting", "b", 1)) < 0 ||
            (r = sd_bus_message_append(call, "(sv)", "MemoryHigh", "t", UINT64_MAX)) < 0)
                return r;
        return 0;
}

static int on_started(sd_bus_message *reply, void *userdata, sd_bus_error *unused)
{
        struct move_group *g = userdata;
        const sd_bus_error *error = sd_bus_message_get_error(reply);

        g->call = sd_bus_slot_unref(g->call);
        if (g->phase == PHASE_ASKED && error) {
                systemd_end_holder(g);
                g->phase = PHASE_IDLE;
                move_group_fail(g, "systemd does not make %s: %s", g->unit,
                                error->message ? error->message : error->name);
        }
        mover_schedule(g->mover);
        return 0;
}

static int call_start(struct move_group *g)
{
        sd_bus_message *call = NULL;
        sd_bus *bus = g->mover->bus;
        int r;

        r = sd_bus_message_new_method_call(bus, &call, SERVICE, PATH, MANAGER, "StartTransientUnit");
        if (r < 0)
                return r;
        if ((r = sd_bus_message_append(call, "ss", g->unit, "fail")) >= 0 &&
            (r = sd_bus_message_open_container(call, 'a', "(sv)")) >= 0 && (r = append_properties(call, g)) >= 0 &&
            (r = sd_bus_message_close_container(call)) >= 0 && (r = sd_bus_message_append(call, "a(sa(sv))", 0)) >= 0)
                r = sd_bus_call_async(bus, &g->call, call, on_started, g, LIMIT_SYSTEMD_USEC);
        sd_bus_message_unref(call);
        return r;
}

void systemd_start_scope(struct move_group *g)
{
        usec_t now = g->mover->engine->sys.ops->now(&g->mover->engine->sys);
        int r = open_bus(g->mover);

        if (r < 0) {
                move_group_fail(g, "systemd cannot be reached for a scope: %s", strerror(-r));
                return;
        }
        r = start_holder(g);
        if (r >= 0)
                r = call_start(g);
        if (r < 0) {
                systemd_end_holder(g);
                move_group_fail(g, "systemd cannot be asked for a scope: %s", strerror(-r));
                return;
        }
        g->phase = PHASE_ASKED;
        g->asked_at = now;
        g->next_look = now + WATCH_PAUSE;
}

static int where_is_holder(struct move_group *g, char *path, size_t size)
{
        const struct sys *sys = &g->mover->engine->sys;
        char name[32];
        _cleanup_close_ int fd = -1;

        snprintf(name, sizeof(name), "proc/%d", (int)g->holder);
        fd = sys_open(sys, name, O_RDONLY | O_DIRECTORY);
        return fd < 0 ? fd : move_where(sys, fd, path, size);
}

void systemd_watch_scope(struct move_group *g)
{
        const struct sys *sys = &g->mover->engine->sys;
        char path[LIMIT_CGROUP_BYTES], *name;
        _cleanup_close_ int fd = -1;
        usec_t now = sys->ops->now(sys);
        uint64_t inode;

        g->next_look = now + WATCH_PAUSE;
        if (where_is_holder(g, path, sizeof(path)) == 0 && (name = strrchr(path, '/')) &&
            strcmp(name + 1, g->unit) == 0) {
                fd = move_open_cgroup(&g->mover->cgroups, path);
                if (fd >= 0 && move_inode(&g->mover->cgroups, fd, &inode) >= 0) {
                        move_group_ready(g, path, inode);
                        return;
                }
        }
        if (now - g->asked_at > LIMIT_SYSTEMD_USEC) {
                g->call = sd_bus_slot_unref(g->call);
                systemd_end_holder(g);
                g->phase = PHASE_IDLE;
                move_group_fail(g, "systemd has not made %s in %llu s", g->unit, LIMIT_SYSTEMD_USEC / USEC_PER_SEC);
        }
}

/* -- MemoryHigh= -- */

static int on_high_set(sd_bus_message *reply, void *userdata, sd_bus_error *unused)
{
        struct move_group *g = userdata;
        const sd_bus_error *error = sd_bus_message_get_error(reply);

        g->call = sd_bus_slot_unref(g->call);
        if (!error || strcmp(error->name, NO_SUCH_UNIT) == 0) { /* a unit that is gone has no limit */
                g->told = g->calling;
                g->problem[0] = '\0';
                g->failures = 0;
        } else
                move_group_fail(g, "systemd does not set MemoryHigh= of %s: %s", g->unit,
                                error->message ? error->message : error->name);
        if (g->phase == PHASE_ENDING)
                move_group_end(g);
        mover_schedule(g->mover);
        return 0;
}

int systemd_set_high(struct move_group *g, uint64_t high)
{
        int r;

        if (g->call || g->told == high)
                return 0; /* one after the other; the next look sees what is still to be said */
        r = open_bus(g->mover);
        if (r >= 0)
                r = sd_bus_call_method_async(g->mover->bus, &g->call, SERVICE, PATH, MANAGER, "SetUnitProperties",
                                             on_high_set, g, "sba(sv)", g->unit, 1, 1, "MemoryHigh", "t", high);
        if (r < 0) {
                move_group_fail(g, "systemd cannot be asked to set MemoryHigh= of %s: %s", g->unit, strerror(-r));
                return r;
        }
        g->calling = high;
        return 0;
}

/* -- main processes -- */

static int on_main_pid(sd_bus_message *reply, void *userdata, sd_bus_error *unused)
{
        struct move_unit *u = userdata;
        const sd_bus_error *error = sd_bus_message_get_error(reply);
        uint32_t pid = 0;

        u->call = sd_bus_slot_unref(u->call);
        u->at = u->mover->engine->sys.ops->now(&u->mover->engine->sys);
        u->has_main = !error && sd_bus_message_read(reply, "v", "u", &pid) >= 0 && pid > 0;
        if (error)
                log_debug("%s: its main process cannot be told: %s, ignoring", u->name,
                          error->message ? error->message : error->name);
        if (!u->mover->engine->stopping)
                mover_attend(u->mover);
        return 0;
}

static int ask_main_pid(struct move_unit *u)
{
        _cleanup_free_ char *path = NULL;
        int r = open_bus(u->mover);

        if (r >= 0)
                r = sd_bus_path_encode(PATH "/unit", u->name, &path);
        if (r >= 0)
                r = sd_bus_call_method_async(u->mover->bus, &u->call, SERVICE, path, "org.freedesktop.DBus.Properties",
                                             "Get", on_main_pid, u, "ss", "org.freedesktop.systemd1.Service",
                                             "MainPID");
        return r;
}

static struct move_unit *move_unit_free(struct move_unit *u)
{
        sd_bus_slot_unref(u->call);
        free(u);
        return NULL;
}

static void forget_old_units(struct mover *m, usec_t now)
{
        for (struct move_unit **link = &m->units; *link;) {
                struct move_unit *u = *link;

                if (u->call || now - u->at < UNIT_KEPT) {
                        link = &u->next;
                        continue;
                }
                *link = u->next;
                move_unit_free(u);
        }
}

int systemd_has_main_process(struct mover *m, const char *unit)
{
        struct move_unit *u;

        forget_old_units(m, m->engine->sys.ops->now(&m->engine->sys));
        for (u = m->units; u && strcmp(u->name, unit) != 0;)
                u = u->next;
        if (u)
                return u->at > 0 ? u->has_main : -EAGAIN;
        u = calloc(1, sizeof(*u) + strlen(unit) + 1);
        if (!u)
                return 0;
        u->mover = m;
        strcpy(u->name, unit);
        if (ask_main_pid(u) < 0) {
                move_unit_free(u);
                return 0;
        }
        u->next = m->units;
        m->units = u;
        return -EAGAIN;
}

/* -- the slice -- */

enum slice { SLICE_GONE, SLICE_EMPTY, SLICE_EMPTYING, SLICE_IN_USE };

static enum slice look_at_slice(const struct mover *m)
{
        const struct sys *sys = &m->engine->sys;
        _cleanup_close_ int fd = cgroup2_open_cgroup(&m->cgroups, "/" MOVE_SLICE);
        char text[256];
        struct stat st;

        if (fd < 0)
                return SLICE_GONE;
        if (sys_read_file_at(sys, fd, "cgroup.events", text, sizeof(text)) < 0 || !strstr(text, "populated 0") ||
            sys->ops->fstat(sys, fd, &st) < 0)
                return SLICE_IN_USE;
        /* "." and the name in its parent, and the ".." of each cgroup in it */
        return st.st_nlink > 2 ? SLICE_EMPTYING : SLICE_EMPTY;
}

static int on_slice_stopped(sd_bus_message *reply, void *userdata, sd_bus_error *unused)
{
        const sd_bus_error *error = sd_bus_message_get_error(reply);

        if (error)
                log_info("%s is not stopped: %s, ignoring", MOVE_SLICE, error->message ? error->message : error->name);
        *(bool *)userdata = true;
        return 0;
}

/*
 * systemd makes the slice for the first scope and keeps it. Stopping it would stop what is in it, so that is asked for only when
 * nothing is: scopes end a moment after their last process has left.
 */
void systemd_stop_slice(struct mover *m)
{
        const struct sys *sys = &m->engine->sys;
        usec_t until = sys->ops->now(sys) + LIMIT_UNDO_USEC;
        bool done = false;

        if (!m->slice_used)
                return;
        while (look_at_slice(m) == SLICE_EMPTYING && sys->ops->now(sys) < until)
                sys->ops->sleep(sys, WATCH_PAUSE);
        if (look_at_slice(m) != SLICE_EMPTY || open_bus(m) < 0 ||
            sd_bus_call_method_async(m->bus, NULL, SERVICE, PATH, MANAGER, "StopUnit", on_slice_stopped, &done, "ss",
                                     MOVE_SLICE, "fail") < 0)
                return;
        while (!done) {
                usec_t now = sys->ops->now(sys);
                int r = sd_bus_process(m->bus, NULL);

                if (r < 0 || now >= until || (r == 0 && sd_bus_wait(m->bus, until - now) < 0))
                        return;
        }
        /* the answer says that it is to be stopped: the cgroup goes a moment later */
        while (look_at_slice(m) == SLICE_EMPTY && sys->ops->now(sys) < until)
                sys->ops->sleep(sys, WATCH_PAUSE / 5);
}

static bool calls_under_way(const struct mover *m)
{
        for (const struct move_group *g = m->groups; g; g = g->next)
                if (g->call)
                        return true;
        return false;
}

bool systemd_drain(struct mover *m, usec_t until)
{
        const struct sys *sys = &m->engine->sys;

        if (!m->bus)
                return true;
        sd_bus_detach_event(m->bus);
        while (calls_under_way(m)) {
                usec_t now = sys->ops->now(sys);
                int r = sd_bus_process(m->bus, NULL);

                if (r < 0 || now >= until)
                        return false;
                if (r == 0 && sd_bus_wait(m->bus, until - now) < 0)
                        return false;
        }
        return true;
}
