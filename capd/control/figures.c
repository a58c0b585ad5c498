/* SPDX-License-Identifier: MIT */
/* figures.c: the lists of bus-figures.h as properties and as a{sv}. */
#include <string.h>

#include "capd/base/sys.h"
#include "capd/bus-figures.h"
#include "internal.h"

#define MANAGER_FIGURE(name, kind, member) {#name, FIGURE_##kind, offsetof(struct wire_snapshot, member)},
#define GROUP_FIGURE(name, kind, member)   {#name, FIGURE_##kind, offsetof(struct wire_group, member)},
#define PROCESS_FIGURE(name, kind, member) {#name, FIGURE_##kind, offsetof(struct wire_process, member)},
#define BOOKS_FIGURE(name, kind, member)   {#name, FIGURE_##kind, offsetof(struct wire_books, member)},
#define CHARGE_FIGURE(name, kind, member)  {#name, FIGURE_##kind, offsetof(struct wire_charge, member)},

const struct figure manager_figures[] = {BUS_MANAGER_FIGURES(MANAGER_FIGURE){0}};
const struct figure group_figures[] = {BUS_GROUP_FIGURES(GROUP_FIGURE){0}};
const struct figure process_figures[] = {BUS_PROCESS_FIGURES(PROCESS_FIGURE){0}};
const struct figure books_figures[] = {BUS_BOOKS_FIGURES(BOOKS_FIGURE){0}};
const struct figure charge_figures[] = {BUS_CHARGE_FIGURES(CHARGE_FIGURE){0}};

static uint64_t sample_age(const struct group_sample *s)
{
        return group_sample_age(s, clock_usec(CLOCK_MONOTONIC));
}

int figure_get_text(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                    void *data, sd_bus_error *error)
{
        return sd_bus_message_append(reply, "s", (const char *)data);
}

int figure_get_bool(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                    void *data, sd_bus_error *error)
{
        return sd_bus_message_append(reply, "b", (int)*(const bool *)data);
}

int figure_get_state(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                     void *data, sd_bus_error *error)
{
        return sd_bus_message_append(reply, "s", group_state_to_string((enum group_state) * (const uint32_t *)data));
}

int figure_get_quality(sd_bus *bus, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *data, sd_bus_error *error)
{
        return sd_bus_message_append(reply, "s", quality_to_string(*(const enum quality *)data));
}

int figure_get_age(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                   void *data, sd_bus_error *error)
{
        return sd_bus_message_append(reply, "t", sample_age(data));
}

static int append_figure(sd_bus_message *m, const struct figure *f, const void *p)
{
        switch (f->kind) {
        case FIGURE_TEXT:
                return sd_bus_message_append(m, "{sv}", f->name, "s", (const char *)p);
        case FIGURE_U32:
                return sd_bus_message_append(m, "{sv}", f->name, "u", *(const uint32_t *)p);
        case FIGURE_U64:
        case FIGURE_COUNTER:
        case FIGURE_SIZE:
        case FIGURE_USEC:
        case FIGURE_AT:
                return sd_bus_message_append(m, "{sv}", f->name, "t", *(const uint64_t *)p);
        case FIGURE_I64:
                return sd_bus_message_append(m, "{sv}", f->name, "x", *(const int64_t *)p);
        case FIGURE_INT:
                return sd_bus_message_append(m, "{sv}", f->name, "i", *(const int *)p);
        case FIGURE_BOOL:
                return sd_bus_message_append(m, "{sv}", f->name, "b", (int)*(const bool *)p);
        case FIGURE_STATE:
                return sd_bus_message_append(m, "{sv}", f->name, "s",
                                             group_state_to_string((enum group_state) * (const uint32_t *)p));
        case FIGURE_QUALITY:
                return sd_bus_message_append(m, "{sv}", f->name, "s", quality_to_string(*(const enum quality *)p));
        case FIGURE_AGE:
                return sd_bus_message_append(m, "{sv}", f->name, "t", sample_age(p));
        }
        abort(); /* every kind has a line above: the compiler checks */
}

bool figure_announced(const struct figure *f)
{
        return f->kind != FIGURE_COUNTER && f->kind != FIGURE_USEC && f->kind != FIGURE_AT && f->kind != FIGURE_AGE;
}

bool figure_differs(const struct figure *f, const void *a, const void *b)
{
        a = (const char *)a + f->offset;
        b = (const char *)b + f->offset;
        switch (f->kind) {
        case FIGURE_TEXT:
                return strcmp(a, b) != 0;
        case FIGURE_BOOL:
                return *(const bool *)a != *(const bool *)b;
        case FIGURE_U32:
        case FIGURE_INT:
        case FIGURE_STATE:
        case FIGURE_QUALITY:
                return *(const uint32_t *)a != *(const uint32_t *)b;
        case FIGURE_U64:
        case FIGURE_COUNTER:
        case FIGURE_SIZE:
        case FIGURE_USEC:
        case FIGURE_AT:
        case FIGURE_I64:
                return *(const uint64_t *)a != *(const uint64_t *)b;
        case FIGURE_AGE:
                return false;
        }
        abort();
}

int figures_append(sd_bus_message *m, const struct figure *figures, const void *data)
{
        int r;

        r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r < 0)
                return r;
        for (const struct figure *f = figures; f->name; f++) {
                r = append_figure(m, f, (const char *)data + f->offset);
                if (r < 0)
                        return r;
        }
        return sd_bus_message_close_container(m);
}
