/* SPDX-License-Identifier: MIT */
/* engine.c: the loop and what wakes it. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>

#include "capd/base/log.h"
#include "capd/enforce/damon.h"
#include "capd/measure/errand.h"
#include "engine.h"

/* While jobs run, hung threads are looked for this often. */
#define CHECK_INTERVAL (500 * USEC_PER_MSEC)
/* Descriptors kept for everything else: each scanner thread may have dozens open, and those that hang keep theirs. */
#define OTHER_DESCRIPTORS 512U

static int on_tick(sd_event_source *s, uint64_t usec, void *userdata)
{
        engine_tick(userdata);
        return 0;
}

void engine_schedule(struct engine *e, usec_t at)
{
        if (e->stopping || at >= e->next_tick)
                return;
        e->next_tick = at;
        if (sd_event_source_set_time(e->tick_timer, at) < 0 ||
            sd_event_source_set_enabled(e->tick_timer, SD_EVENT_ONESHOT) < 0)
                log_error("Cannot set the timer: capd looks at nothing until a client asks");
}

void engine_schedule_soon(struct engine *e)
{
        /* not at once: where processes come all the time, one look would follow the other */
        if (!e->stopping)
                engine_schedule(e, e->sys.ops->now(&e->sys) + e->policy->daemon.sample_interval / 5);
}

static int on_check(sd_event_source *s, uint64_t usec, void *userdata)
{
        struct engine *e = userdata;

        worker_pool_check(e->pool);
        sd_event_source_set_time_relative(s, CHECK_INTERVAL);
        return sd_event_source_set_enabled(s, worker_pool_idle(e->pool) ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
}

void engine_submit(struct engine *e, struct job *job)
{
        int enabled = SD_EVENT_OFF;

        worker_pool_submit(e->pool, job);
        sd_event_source_get_enabled(e->check_timer, &enabled);
        if (enabled == SD_EVENT_OFF) {
                sd_event_source_set_time_relative(e->check_timer, CHECK_INTERVAL);
                sd_event_source_set_enabled(e->check_timer, SD_EVENT_ONESHOT);
        }
}

static int on_pool(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
        worker_pool_dispatch(((struct engine *)userdata)->pool);
        return 0;
}

static int on_hangup(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
        engine_reload(userdata, NULL);
        return 0;
}

static int on_terminate(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
        struct engine *e = userdata;

        sd_notify(0, "STOPPING=1\nSTATUS=Stopping");
        log_info("Stopping on signal %u", si->ssi_signo);
        return sd_event_exit(e->event, 0);
}

static void on_front_command(const struct wire_command *c, int body_fd, void *userdata)
{
        engine_command(userdata, c, body_fd);
}

static void on_front_start(void *userdata)
{
        store_send_history(userdata);
        engine_publish_soon(userdata);
}

/* A descriptor a process makes looking at it five times cheaper; as many as the limit allows. */
static unsigned raise_descriptor_limit(void)
{
        struct rlimit l;

        if (getrlimit(RLIMIT_NOFILE, &l) < 0)
                return 0;
        l.rlim_cur = l.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &l) < 0)
                log_debug("Cannot raise the limit of open files: %m, ignoring");
        getrlimit(RLIMIT_NOFILE, &l);
        if (l.rlim_cur <= 2 * OTHER_DESCRIPTORS)
                return 0;
        return (unsigned)MIN(l.rlim_cur - OTHER_DESCRIPTORS, (rlim_t)LIMIT_PROCESSES);
}

static int add_sources(struct engine *e)
{
        int r;

        if ((r = sd_event_add_time(e->event, &e->tick_timer, CLOCK_MONOTONIC, 0, 1000, on_tick, e)) < 0 ||
            (r = sd_event_source_set_enabled(e->tick_timer, SD_EVENT_OFF)) < 0 ||
            (r = sd_event_add_time(e->event, &e->check_timer, CLOCK_MONOTONIC, 0, 0, on_check, e)) < 0 ||
            (r = sd_event_source_set_enabled(e->check_timer, SD_EVENT_OFF)) < 0 ||
            (r = sd_event_add_io(e->event, NULL, worker_pool_fd(e->pool), EPOLLIN, on_pool, e)) < 0 ||
            (r = sd_event_add_signal(e->event, NULL, SIGHUP, on_hangup, e)) < 0 ||
            (r = sd_event_add_signal(e->event, NULL, SIGTERM, on_terminate, e)) < 0 ||
            (r = sd_event_add_signal(e->event, NULL, SIGINT, on_terminate, e)) < 0)
                return r;
        r = sd_event_set_watchdog(e->event, true);
        return r < 0 ? r : 0;
}

int engine_start(struct engine *e, struct policy *policy, int listen_fd, uid_t front_uid, gid_t front_gid)
{
        int r;

        e->started_at = e->sys.ops->now(&e->sys);
        surroundings_open(e);
        e->next_tick = USEC_INFINITY;
        e->user_passed_over = -1;
        r = host_memory_read(&e->sys, &e->host);
        if (r < 0) {
                log_error("Cannot read /proc/meminfo: %s", strerror(-r));
                return r;
        }
        if ((r = process_table_new(&e->sys, surroundings_facts(e, policy), raise_descriptor_limit(), &e->table)) < 0 ||
            (r = sd_event_default(&e->event)) < 0 || (r = user_names_init(e)) < 0 ||
            (r = worker_pool_new(&e->sys, SCANNER_THREADS, LIMIT_SCAN_CALL_USEC, LIMIT_STUCK_THREADS, &e->pool)) < 0 ||
            (r = errands_start(&e->sys)) < 0 || (r = add_sources(e)) < 0) {
                log_error("Cannot set up the event loop: %s", strerror(-r));
                return r;
        }
        process_table_set_cgroups(e->table, &e->cgroup2);
        r = move_start(e);
        if (r < 0) {
                log_error("Cannot set up moving: %s", strerror(-r));
                return r;
        }
        e->front = (struct front_process){
                        .event = e->event,
                        .channel = -1,
                        .listen_fd = listen_fd,
                        .uid = front_uid,
                        .gid = front_gid,
                        .on_command = on_front_command,
                        .on_start = on_front_start,
                        .userdata = e,
        };
        r = front_process_start(&e->front);
        if (r < 0) {
                log_error("Cannot start the front: %s", strerror(-r));
                return r;
        }
        return engine_put_in_force(e, policy);
}

int engine_run(struct engine *e)
{
        engine_tick(e);
        sd_notify(0, "READY=1");
        log_notice("Watching %zu group%s%s", e->n_groups, e->n_groups == 1 ? "" : "s",
                   e->dry_run ? ", never acting (--dry-run)" : "");
        return sd_event_loop(e->event);
}

void engine_done(struct engine *e)
{
        e->stopping = true;
        e->pool = worker_pool_free(e->pool);
        /* a thread that did not stop in time was given up, with whatever it had set up */
        if (e->runtime_fd >= 0 && damon_recover(&e->sys, e->runtime_fd) < 0)
                log_warning("DAMON could not be left as it was found; the next start tries again");
        hooks_done(e);
        move_done(e);
        if (e->event)
                front_process_stop(&e->front);
        event_flush(e, USEC_INFINITY);
        store_done(e);
        e->publish_defer = sd_event_source_disable_unref(e->publish_defer);
        e->tick_timer = sd_event_source_disable_unref(e->tick_timer);
        e->check_timer = sd_event_source_disable_unref(e->check_timer);
        user_names_done(e);
        e->event = sd_event_unref(e->event);
        for (struct process *p = NULL; e->table && (p = process_table_next(e->table, p));)
                membership_forget(p, NULL);
        e->table = process_table_free(e->table);
        groups_free(e);
        free(e->pid_file_pids);
        e->policy = policy_free(e->policy);
        cgroup2_close(&e->cgroup2);
        errands_stop(&e->sys);
}
