/* SPDX-License-Identifier: MIT */
/* group.c: org.capd1.Group. */
#include "capd/base/text.h"
#include "capd/bus-figures.h"
#include "internal.h"

static int method_explain(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct wire_group *g = userdata;
        /* userdata is the object found; the front is what the vtable was added with */
        struct front *f = sd_bus_slot_get_userdata(sd_bus_get_current_slot(sd_bus_message_get_bus(m)));

        struct request request = {.verb = WIRE_EXPLAIN};

        text_copy(request.group, sizeof(request.group), g->name);
        return request_begin(f, m, &request, error);
}

#define FIGURE_PROPERTY(name, kind, member)                                                                            \
        SD_BUS_PROPERTY(#name, FIGURE_SIGNATURE_##kind, FIGURE_GETTER_##kind, offsetof(struct wire_group, member),     \
                        FIGURE_FLAGS_##kind),

const sd_bus_vtable group_vtable[] = {
                SD_BUS_VTABLE_START(0),
                BUS_GROUP_FIGURES(FIGURE_PROPERTY) SD_BUS_METHOD_WITH_ARGS(
                                "Explain", SD_BUS_NO_ARGS,
                                SD_BUS_RESULT("a{sv}", figures, "aa{sv}", processes, "a{sv}", books, "aa{sv}", charges),
                                method_explain, SD_BUS_VTABLE_UNPRIVILEGED),
                SD_BUS_VTABLE_END,
};
