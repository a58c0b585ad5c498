/* SPDX-License-Identifier: MIT */
/* publish.c: the snapshot and the replies that go to the front, each body in a sealed memfd. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "capd/base/log.h"
#include "capd/base/text.h"
#include "engine.h"
#include "privileges.h"

static int seal(int fd)
{
        return fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0 ? -errno : 0;
}

static int body_new(const char *name, size_t size, void **ret_map)
{
        _cleanup_close_ int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
        void *map = NULL;

        if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
                return -errno;
        map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
                return -errno;
        *ret_map = map;
        return TAKE_FD(fd);
}

void publish_group(struct engine *e, const struct group *g, struct wire_group *ret)
{
        const struct policy_section *s = &e->policy->sections[g->section];
        struct decide_settings configured;

        decide_settings_from(e->policy, s, e->host.total, &configured);
        *ret = (struct wire_group){
                        .number = g->number,
                        .state = g->memory.state,
                        .has_cap = g->settings.has_cap,
                        .temporary_cap = g->temporary_cap > 0,
                        .paused = g->settings.paused,
                        .cap = g->settings.cap,
                        .configured_cap = configured.cap,
                        .low_watermark = g->settings.low,
                        .cap_until = g->temporary_cap && g->temporary_until != USEC_INFINITY ? g->temporary_until : 0,
                        .state_since = g->memory.state_since,
                        .next_look = g->next_look,
                        .retry_at = g->memory.retry_at,
                        .trend = (int64_t)g->memory.trend,
                        .reference_at = g->reference_at,
                        .reference_resident = g->reference_resident,
                        .reference_mapped = g->reference_mapped,
                        .acts = g->acts,
                        .attempted_total = g->attempted_total,
                        .unmapped_total = g->unmapped_total,
                        .cache_taken_total = g->cache_taken_total,
                        .freed_total = g->freed_total,
                        .refaulted_total = g->refaulted_total,
                        .last_act = g->last_act,
                        .resident_before = g->resident_before,
                        .resident_after = g->resident_after,
                        .working_set = g->memory.working_set > 0 ? g->memory.working_set : SIZE_UNKNOWN,
                        .came_back = g->acts > 0 ? g->memory.came_back_bytes : SIZE_UNKNOWN,
                        .stalled = g->acts > 0 ? g->memory.stalled : UINT32_MAX,
                        .kills = g->kills,
        };
        move_fill(g, ret);
        ret->cgroups = g->cgroups;
        decide_presentable(&g->sample, &ret->sample);
        text_copy(ret->name, sizeof(ret->name), g->name);
        if (s->description)
                text_escape(ret->description, sizeof(ret->description), s->description, strlen(s->description));
        text_escape(ret->reason, sizeof(ret->reason), g->memory.reason, strlen(g->memory.reason));
        text_copy(ret->action, sizeof(ret->action), action_to_string(s->action));
        if (g->memory.choice.reason[0]) {
                text_copy(ret->strategy, sizeof(ret->strategy), strategy_to_string(g->memory.choice.strategy));
                text_copy(ret->strategy_reason, sizeof(ret->strategy_reason), g->memory.choice.reason);
        }
}

static void add_warning(char *buf, size_t size, const char *text)
{
        size_t n = strlen(buf);

        if (text[0])
                snprintf(buf + n, size - n, "%s%s", n ? "\n" : "", text);
}

static void describe_warnings(struct engine *e, char *buf, size_t size)
{
        const struct features *f = &e->features;

        add_warning(buf, size, f->why_frames);
        add_warning(buf, size, f->why_kpageflags);
        add_warning(buf, size, f->why_kpagecount);
        add_warning(buf, size, f->why_ptrace);
        add_warning(buf, size, f->why_process_madvise);
        add_warning(buf, size, f->why_foreign_files);
        add_warning(buf, size, f->why_kcmp);
        if (e->groups_overflowed)
                add_warning(buf, size, "there are more groups than LIMIT_GROUPS; the rest is left out");
        if (e->processes_overflowed)
                add_warning(buf, size, "there are more processes than LIMIT_PROCESSES; the rest is left out");
        if (e->user_passed_over >= 0) {
                char text[128];

                snprintf(text, sizeof(text),
                         "none of user %lld's processes is looked at, as too many of them do not let themselves be "
                         "read",
                         (long long)e->user_passed_over);
                add_warning(buf, size, text);
        }
        if (worker_lost_threads() >= LIMIT_STUCK_THREADS)
                add_warning(buf, size,
                            "too many processes do not let themselves be read; groups are counted late, or not at all");
}

void engine_publish(struct engine *e)
{
        struct wire_message m = {.magic = WIRE_MAGIC, .version = WIRE_VERSION, .type = WIRE_SNAPSHOT, .has_body = 1};
        struct wire_snapshot *s;
        struct wire_group *out;
        void *map = NULL;
        size_t n = 0;
        int fd;

        store_look(e);
        for (struct group *g = NULL; (g = groups_next(e, g));)
                n += !g->doomed;
        m.body_size = sizeof(*s) + n * sizeof(*out);
        fd = body_new("capd-snapshot", m.body_size, &map);
        if (fd < 0) {
                log_warning("Cannot publish a snapshot: %s, ignoring", strerror(-fd));
                return;
        }
        s = map;
        out = (struct wire_group *)(s + 1);
        *s = (struct wire_snapshot){
                        .magic = WIRE_MAGIC,
                        .version = WIRE_VERSION,
                        .size = sizeof(*s),
                        .group_size = sizeof(*out),
                        .published_at = e->sys.ops->now(&e->sys),
                        .started_at = e->started_at,
                        .tick = e->tick,
                        .host = e->host,
                        .pressure_threshold = e->policy->daemon.pressure_threshold,
                        .processes = (uint32_t)process_table_size(e->table),
                        .quarantined = quarantine_size(e),
                        .lost_threads = worker_lost_threads(),
                        .dry_run = e->dry_run,
                        .paused = e->paused,
                        .policy_loaded_at = e->policy_loaded_at,
                        .history_time = e->policy->daemon.history_time,
                        .history_bytes = e->policy->daemon.history_size,
                        .store_history = e->state_directory != NULL,
                        .store_metrics = e->policy->daemon.metrics_file != NULL,
                        .version_text = CAPD_VERSION,
        };
        text_copy(s->config_error, sizeof(s->config_error), e->config_error);
        describe_warnings(e, s->warnings, sizeof(s->warnings));
        features_names(&e->features, s->features, sizeof(s->features));
        for (struct group *g = NULL; (g = groups_next(e, g));)
                if (!g->doomed)
                        publish_group(e, g, &out[s->n_groups++]);
        munmap(map, m.body_size);
        if (seal(fd) < 0) {
                close_fd(fd);
                return;
        }
        if (front_process_send(&e->front, &m, fd) == -EAGAIN)
                log_debug("The front does not keep up; a snapshot is dropped, ignoring");
}

static int on_publish(sd_event_source *source, void *userdata)
{
        engine_publish(userdata);
        return 0;
}

void engine_publish_soon(struct engine *e)
{
        if (e->stopping)
                return;
        if (!e->publish_defer) {
                if (sd_event_add_defer(e->event, &e->publish_defer, on_publish, e) < 0)
                        return;
                /* after everything else that is due now, so that one snapshot serves it all */
                sd_event_source_set_priority(e->publish_defer, SD_EVENT_PRIORITY_IDLE + 1);
        }
        sd_event_source_set_enabled(e->publish_defer, SD_EVENT_ONESHOT);
}

void engine_reply(struct engine *e, uint32_t serial, int error, const void *body, size_t size, const char *format, ...)
{
        struct wire_message m = {.magic = WIRE_MAGIC,
                                 .version = WIRE_VERSION,
                                 .type = WIRE_REPLY,
                                 .serial = serial,
                                 .error = error};
        char text[sizeof(m.text)];
        int fd = -1;
        va_list ap;

        va_start(ap, format);
        vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        text_escape(m.text, sizeof(m.text), text, strlen(text));
        if (size > 0) {
                void *map = NULL;

                fd = body_new("capd-reply", size, &map);
                if (fd >= 0) {
                        memcpy(map, body, size);
                        munmap(map, size);
                        seal(fd);
                        m.has_body = 1;
                        m.body_size = size;
                } else {
                        m.error = fd;
                        text_copy(m.text, sizeof(m.text), "capd is out of memory");
                }
        }
        if (serial > 0 && front_process_send(&e->front, &m, fd) < 0)
                log_debug("A reply was dropped: the client sees a time-out, ignoring");
}
