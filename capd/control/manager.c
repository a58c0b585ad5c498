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

static int get_warnings(sd_bus *bus, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *data, sd_bus_error *error)
{
        const struct front *f = data;
        char copy[sizeof(f->snapshot.header.warnings)], *rest = copy, *line;
        int r;

        memcpy(copy, f->snapshot.header.warnings, sizeof(copy));
        r = sd_bus_message_open_container(reply, 'a', "s");
        while (r >= 0 && (line = strsep(&rest, "\n")))
                if (*line)
                        r = sd_bus_message_append(reply, "s", line);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* All methods but those below: who asks, what group, what to do. */
static int command(struct front *f, sd_bus_message *m, enum wire_verb verb, const char *group, uint64_t bytes,
                   usec_t duration, sd_bus_error *error)
{
        int r = authorize(f, m, error);

        return r < 0 ? r : pending_send(f, m, verb, group, bytes, duration, error);
}

static int group_command(struct front *f, sd_bus_message *m, enum wire_verb verb, sd_bus_error *error)
{
        const char *group;
        int r = sd_bus_message_read(m, "s", &group);

        return r < 0 ? r : command(f, m, verb, group, 0, 0, error);
}

static int method_reload(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        return command(userdata, m, WIRE_RELOAD, "", 0, 0, error);
}

static int method_get_config(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        return command(userdata, m, WIRE_CONFIG, "", 0, 0, error);
}

static int method_pause(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        return group_command(userdata, m, WIRE_PAUSE, error);
}

static int method_resume(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        return group_command(userdata, m, WIRE_RESUME, error);
}

static int method_enforce(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        return group_command(userdata, m, WIRE_ENFORCE, error);
}

static int method_set_cap(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        const char *group;
        uint64_t bytes, duration;
        int r;

        r = sd_bus_message_read(m, "stt", &group, &bytes, &duration);
        if (r < 0)
                return r;
        r = authorize(userdata, m, error);
        if (r < 0)
                return r;
        if (bytes != 0 && bytes < LIMIT_CAP_MIN_BYTES)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                         "a cap is at least %llu bytes, or 0 for the configured one",
                                         LIMIT_CAP_MIN_BYTES);
        if (bytes > INT64_MAX)
                return sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS, "the cap is too large");
        if (duration > LIMIT_TEMPORARY_CAP_USEC)
                return sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS,
                                        "a temporary cap lasts at most 366 days; to keep it, write it "
                                        "into " DEFAULT_CONFIG_FILE);
        return pending_send(userdata, m, WIRE_SET_CAP, group, bytes, duration, error);
}

#define FIGURE_PROPERTY(name, kind, member)                                                                            \
        SD_BUS_PROPERTY(#name, FIGURE_SIGNATURE_##kind, FIGURE_GETTER_##kind,                                          \
                        offsetof(struct front, snapshot.header.member), 0),

/* The text that changes return is one line for the user: what was done. */
const sd_bus_vtable manager_vtable[] = {
                SD_BUS_VTABLE_START(0),
                BUS_MANAGER_FIGURES(FIGURE_PROPERTY) SD_BUS_PROPERTY("Warnings", "as", get_warnings, 0, 0),
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
                SD_BUS_METHOD_WITH_ARGS("GetConfig", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", text), method_get_config,
                                        SD_BUS_VTABLE_UNPRIVILEGED),
                SD_BUS_VTABLE_END,
};
