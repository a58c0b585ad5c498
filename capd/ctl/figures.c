/* SPDX-License-Identifier: MIT */
/* figures.c: a{sv} of the control interface back into the structs of wire.h, by the lists of bus-figures.h. */
#include <errno.h>
#include <string.h>

#include "capd/base/text.h"
#include "capd/bus-figures.h"
#include "ctl.h"

enum figure_kind {
        FIGURE_TEXT,
        FIGURE_U32,
        FIGURE_U64,
        FIGURE_I64,
        FIGURE_INT,
        FIGURE_BOOL,
        FIGURE_STATE,
        FIGURE_QUALITY,
        FIGURE_AGE,
        /* carried in the same way */
        FIGURE_COUNTER = FIGURE_U64,
        FIGURE_SIZE = FIGURE_U64,
        FIGURE_USEC = FIGURE_U64,
        FIGURE_AT = FIGURE_U64,
};

struct figure {
        const char *name;
        enum figure_kind kind;
        size_t offset, size;
};

#define FIGURE(type, name, kind, member)                                                                               \
        {#name, FIGURE_##kind, offsetof(struct type, member), sizeof(((struct type *)0)->member)},
#define GROUP_FIGURE(name, kind, member)   FIGURE(wire_group, name, kind, member)
#define HOST_FIGURE(name, kind, member)    FIGURE(wire_snapshot, name, kind, member)
#define PROCESS_FIGURE(name, kind, member) FIGURE(wire_process, name, kind, member)
#define BOOKS_FIGURE(name, kind, member)   FIGURE(wire_books, name, kind, member)
#define CHARGE_FIGURE(name, kind, member)  FIGURE(wire_charge, name, kind, member)

static const struct figure group_figures[] = {BUS_GROUP_FIGURES(GROUP_FIGURE){0}};
static const struct figure host_figures[] = {BUS_MANAGER_FIGURES(HOST_FIGURE){0}};
static const struct figure process_figures[] = {BUS_PROCESS_FIGURES(PROCESS_FIGURE){0}};
static const struct figure books_figures[] = {BUS_BOOKS_FIGURES(BOOKS_FIGURE){0}};
static const struct figure charge_figures[] = {BUS_CHARGE_FIGURES(CHARGE_FIGURE){0}};

static int read_state(sd_bus_message *m, uint32_t *ret)
{
        const char *text;
        int r = sd_bus_message_read(m, "v", "s", &text);

        if (r < 0)
                return r;
        *ret = STATE_UNKNOWN;
        for (uint32_t s = 0; s < _STATE_MAX; s++)
                if (strcmp(text, group_state_to_string((enum group_state)s)) == 0)
                        *ret = s;
        return 0;
}

static int read_quality(sd_bus_message *m, enum quality *ret)
{
        const char *text;
        int r = sd_bus_message_read(m, "v", "s", &text);

        if (r < 0)
                return r;
        *ret = QUALITY_UNKNOWN;
        for (unsigned q = 0; q < _QUALITY_MAX; q++)
                if (strcmp(text, quality_to_string((enum quality)q)) == 0)
                        *ret = (enum quality)q;
        return 0;
}

static int read_value(sd_bus_message *m, const struct figure *f, void *p)
{
        const char *text;
        int r, truth;

        switch (f->kind) {
        case FIGURE_TEXT:
                r = sd_bus_message_read(m, "v", "s", &text);
                if (r >= 0)
                        text_copy(p, f->size, text);
                return r;
        case FIGURE_U32:
                return sd_bus_message_read(m, "v", "u", p);
        case FIGURE_U64:
                return sd_bus_message_read(m, "v", "t", p);
        case FIGURE_I64:
                return sd_bus_message_read(m, "v", "x", p);
        case FIGURE_INT:
                return sd_bus_message_read(m, "v", "i", p);
        case FIGURE_BOOL:
                r = sd_bus_message_read(m, "v", "b", &truth);
                if (r >= 0)
                        *(bool *)p = truth;
                return r;
        case FIGURE_STATE:
                return read_state(m, p);
        case FIGURE_QUALITY:
                return read_quality(m, p);
        case FIGURE_AGE: /* reckoned from the time of the count, which comes too */
                return sd_bus_message_skip(m, "v");
        }
        return -EINVAL;
}

static int figures_read(sd_bus_message *m, const struct figure *figures, void *data)
{
        const char *name;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                const struct figure *f = figures;

                r = sd_bus_message_read(m, "s", &name);
                if (r < 0)
                        return r;
                while (f->name && strcmp(f->name, name) != 0)
                        f++;
                r = f->name ? read_value(m, f, (char *)data + f->offset) : sd_bus_message_skip(m, "v");
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

int figures_read_group(sd_bus_message *m, struct wire_group *ret)
{
        int r = figures_read(m, group_figures, ret);

        ret->has_cap = ret->cap != SIZE_UNKNOWN;
        ret->sample.have_private = ret->sample.private_bytes != SIZE_UNKNOWN;
        return r;
}

int figures_read_host(sd_bus_message *m, struct wire_snapshot *ret)
{
        return figures_read(m, host_figures, ret);
}

int figures_read_process(sd_bus_message *m, struct wire_process *ret)
{
        return figures_read(m, process_figures, ret);
}

/* The list of charges follows. What is over is skipped. */
int figures_read_books(sd_bus_message *m, struct wire_books *ret)
{
        struct wire_charge over;
        int r;

        r = figures_read(m, books_figures, ret);
        if (r >= 0)
                r = sd_bus_message_enter_container(m, 'a', "a{sv}");
        ret->n_charges = 0;
        while (r >= 0 && (r = sd_bus_message_at_end(m, false)) == 0) {
                bool fits = ret->n_charges < LIMIT_SHOWN_CHARGES;

                r = figures_read(m, charge_figures, fits ? &ret->charges[ret->n_charges] : &over);
                ret->n_charges += fits;
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}
