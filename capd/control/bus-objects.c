/* SPDX-License-Identifier: MIT */
/* bus-objects.c: the tree of objects, the same on every connection. */
#include <errno.h>

#include "capd/bus.h"
#include "internal.h"

/* What sd-bus hands to the group's getters is the group in the snapshot; it lives until the next one, and a reply is
 * written before the loop goes on. */
static int find_group(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret_found,
                      sd_bus_error *error)
{
        struct front *f = userdata;
        _cleanup_free_ char *name = NULL;
        struct wire_group *g;

        if (sd_bus_path_decode(path, BUS_GROUP_PREFIX, &name) <= 0)
                return 0;
        g = snapshot_find(&f->snapshot, name);
        if (!g)
                return 0;
        *ret_found = g;
        return 1;
}

static void free_paths(char **paths)
{
        for (size_t i = 0; paths && paths[i]; i++)
                free(paths[i]);
        free(paths);
}

static int enumerate_groups(sd_bus *bus, const char *prefix, void *userdata, char ***ret_nodes, sd_bus_error *error)
{
        struct front *f = userdata;
        size_t n = f->snapshot.header.n_groups;
        char **paths = calloc(n + 1, sizeof(*paths));

        if (!paths)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                int r = sd_bus_path_encode(BUS_GROUP_PREFIX, f->snapshot.groups[i].name, &paths[i]);

                if (r < 0) {
                        free_paths(paths);
                        return r;
                }
        }
        *ret_nodes = paths;
        return 0;
}

/* The one method of the message bus that generic clients (busctl --address=, gdbus) cannot do without. */
static int method_hello(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        return sd_bus_reply_method_return(m, "s", ":1.1");
}

static const sd_bus_vtable peer_vtable[] = {
                SD_BUS_VTABLE_START(0),
                SD_BUS_METHOD_WITH_ARGS("Hello", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", name), method_hello,
                                        SD_BUS_VTABLE_UNPRIVILEGED),
                SD_BUS_VTABLE_END,
};

int bus_objects_add_peer(struct front *f, sd_bus *bus)
{
        return sd_bus_add_object_vtable(bus, NULL, "/org/freedesktop/DBus", "org.freedesktop.DBus", peer_vtable, f);
}

int bus_objects_add(struct front *f, sd_bus *bus)
{
        int r;

        r = sd_bus_add_object_vtable(bus, NULL, BUS_PATH, BUS_MANAGER_INTERFACE, manager_vtable, f);
        if (r < 0)
                return r;
        r = sd_bus_add_fallback_vtable(bus, NULL, BUS_GROUP_PREFIX, BUS_GROUP_INTERFACE, group_vtable, find_group, f);
        if (r < 0)
                return r;
        r = sd_bus_add_node_enumerator(bus, NULL, BUS_GROUP_PREFIX, enumerate_groups, f);
        if (r < 0)
                return r;
        return sd_bus_add_object_manager(bus, NULL, BUS_PATH);
}
