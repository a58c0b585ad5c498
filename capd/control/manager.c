/* SPDX-License-Identifier: MIT */
/* manager.c: org.capd1.Manager. */
#include <errno.h>
#include <string.h>

#include "capd/bus-figures.h"
#include "capd/bus.h"
#include "internal.h"

/* The engine ticks at least this often unless SampleInterval= is longer; with no news for so long (and three
 * of the longest ticks seen) it does not answer. */
#define SILENCE_USEC (30 * USEC_PER_SEC)

static uint64_t snapshot_age(const struct front *f)
{
        usec_t now = front_now(f), at = f->snapshot.header.published_at;

        if (at == 0)
                return UINT64_MAX;
        return now > at ? now - at : 0;
}

static int get_age(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                   void *data, sd_bus_error *error)
{
        return sd_bus_message_append(reply, "t", snapshot_age(data));
}

static int get_responding(sd_bus *bus, const char *path, const char *interface, const char *property,
                          sd_bus_message *reply, void *data, sd_bus_error *error)
{
        const struct front *f = data;
        usec_t patience = MAX(SILENCE_USEC, f->longest_tick * 3);

        return sd_bus_message_append(reply, "b", (int)(snapshot_age(f) <= patience));
}

/* Lines of a text as an array. */
static int get_lines(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                     void *data, sd_bus_error *error)
{
        _cleanup_free_ char *copy = strdup(data);
        char *rest = copy, *line;
        int r;

        if (!copy)
                return -ENOMEM;
        r = sd_bus_message_open_container(reply, 'a', "s");
        while (r >= 0 && (line = strsep(&rest, "\n")))
                if (*line)
                        r = sd_bus_message_append(reply, "s", line);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int read_group(sd_bus_message *m, struct request *r, sd_bus_error *error)
{
        const char *group;
        int n = sd_bus_message_read(m, "s", &group);

        if (n < 0)
                return n;
        if (strlen(group) >= sizeof(r->group))
                return sd_bus_error_set(error, BUS_ERROR_NO_SUCH_GROUP, "no group has a name as long as that");
        strcpy(r->group, group);
        return 0;
}

static int group_request(struct front *f, sd_bus_message *m, struct request request, sd_bus_error *error)
{
        int r = read_group(m, &request, error);

        return r < 0 ? r : request_begin(f, m, &request, error);
}

static int method_reload(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        return request_begin(userdata, m, &(struct request){.verb = WIRE_RELOAD}, error);
}

static int method_get_config(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        return request_begin(userdata, m, &(struct request){.verb = WIRE_CONFIG}, error);
}

static int method_pause(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        return group_request(userdata, m, (struct request){.verb = WIRE_PAUSE}, error);
}

static int method_resume(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        return group_request(userdata, m, (struct request){.verb = WIRE_RESUME}, error);
}

static int method_enforce(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        return group_request(userdata, m, (struct request){.verb = WIRE_ENFORCE}, error);
}

static int method_measure(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        return group_request(userdata, m, (struct request){.verb = WIRE_EXPLAIN, .brief = true}, error);
}

static int method_set_cap(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct request request = {.verb = WIRE_SET_CAP};
        int r;

        r = read_group(m, &request, error);
        if (r >= 0)
                r = sd_bus_message_read(m, "tt", &request.bytes, &request.duration);
        if (r < 0)
                return r;
        if (request.bytes != 0 && request.bytes < LIMIT_CAP_MIN_BYTES)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                         "a cap is at least %llu bytes, or 0 for the configured one",
                                         LIMIT_CAP_MIN_BYTES);
        if (request.bytes > INT64_MAX)
                return sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS, "the cap is too large");
        if (request.duration > LIMIT_TEMPORARY_CAP_USEC)
                return sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS,
                                        "a temporary cap lasts at most 366 days; to keep it, write it "
                                        "into " DEFAULT_CONFIG_FILE);
        return request_begin(userdata, m, &request, error);
}

#define FIGURE_PROPERTY(name, kind, member)                                                                            \
        SD_BUS_PROPERTY(#name, FIGURE_SIGNATURE_##kind, FIGURE_GETTER_##kind,                                          \
                        offsetof(struct front, snapshot.header.member), FIGURE_FLAGS_##kind),

/* The text that changes return is one line for the user: what was done. */
const sd_bus_vtable manager_vtable[] = {
                SD_BUS_VTABLE_START(0),
                BUS_MANAGER_FIGURES(FIGURE_PROPERTY) SD_BUS_PROPERTY("Warnings", "as", get_lines,
                                                                     offsetof(struct front, snapshot.header.warnings),
                                                                     SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
                SD_BUS_PROPERTY("Features", "as", get_lines, offsetof(struct front, snapshot.header.features),
                                SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
                SD_BUS_PROPERTY("SnapshotAgeUSec", "t", get_age, 0, 0),
                SD_BUS_PROPERTY("EngineResponding", "b", get_responding, 0, 0),
                SD_BUS_METHOD_WITH_ARGS("Reload", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", outcome), method_reload,
                                        SD_BUS_VTABLE_UNPRIVILEGED),
                SD_BUS_METHOD_WITH_ARGS("Pause", SD_BUS_ARGS("s", group), SD_BUS_RESULT("s", outcome), method_pause,
                                        SD_BUS_VTABLE_UNPRIVILEGED),
                SD_BUS_METHOD_WITH_ARGS("Resume", SD_BUS_ARGS("s", group), SD_BUS_RESULT("s", outcome), method_resume,
                                        SD_BUS_VTABLE_UNPRIVILEGED),
                SD_BUS_METHOD_WITH_ARGS("SetCap", SD_BUS_ARGS("s", group, "t", bytes, "t", duration_usec),
                                        SD_BUS_RESULT("s", outcome), method_set_cap, SD_BUS_VTABLE_UNPRIVILEGED),
                SD_BUS_METHOD_WITH_ARGS("Enforce", SD_BUS_ARGS("s", group), SD_BUS_RESULT("s", outcome), method_enforce,
                                        SD_BUS_VTABLE_UNPRIVILEGED),
                SD_BUS_METHOD_WITH_ARGS("Measure", SD_BUS_ARGS("s", group), SD_BUS_RESULT("a{sv}", figures),
                                        method_measure, SD_BUS_VTABLE_UNPRIVILEGED),
                SD_BUS_METHOD_WITH_ARGS("GetConfig", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", text), method_get_config,
                                        SD_BUS_VTABLE_UNPRIVILEGED),
                SD_BUS_METHOD_WITH_ARGS("GetHistory", SD_BUS_ARGS("s", group, "t", age_usec, "u", points),
                                        SD_BUS_RESULT("a(tttttttttss)", history), method_get_history,
                                        SD_BUS_VTABLE_UNPRIVILEGED),
                SD_BUS_METHOD_WITH_ARGS("GetMetrics", SD_BUS_ARGS("b", openmetrics), SD_BUS_RESULT("s", text),
                                        method_get_metrics, SD_BUS_VTABLE_UNPRIVILEGED),
                SD_BUS_SIGNAL_WITH_ARGS("StateChanged",
                                        SD_BUS_ARGS("s", group, "s", old_state, "s", new_state, "s", reason), 0),
                SD_BUS_VTABLE_END,
};
