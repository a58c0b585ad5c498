/* SPDX-License-Identifier: MIT */
/* history-bus.c: GetHistory(). */
#include <errno.h>

#include "capd/bus.h"
#include "internal.h"

static uint64_t wall_clock(int64_t at, int64_t realtime)
{
        return (uint64_t)MAX(at + realtime, (int64_t)0);
}

static int append_point(sd_bus_message *reply, const struct history_point *p, int64_t realtime)
{
        return sd_bus_message_append(
                        reply, "(tttttttttss)", wall_clock(p->at, realtime), wall_clock(p->until, realtime),
                        p->resident, p->rss_sum, p->cap, p->watermark, p->paged_out, p->refaulted, p->freed,
                        group_state_to_string((enum group_state)p->state), quality_to_string((enum quality)p->quality));
}

static int answer(sd_bus_message *m, const struct history_point *points, size_t n)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int64_t realtime = front_realtime();
        int r;

        r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(tttttttttss)");
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = append_point(reply, &points[i], realtime);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_message_send(reply);
}

/* An age of 0 asks for everything. A group that is gone has its history as long as there is room. */
int method_get_history(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        _cleanup_free_ struct history_point *points = NULL;
        const struct history_ring *ring;
        struct front *f = userdata;
        int64_t from = INT64_MIN;
        const char *group;
        uint64_t age;
        uint32_t max;
        size_t n;
        int r;

        r = sd_bus_message_read(m, "stu", &group, &age, &max);
        if (r < 0)
                return r;
        ring = history_find(&f->history, group);
        if (!ring && snapshot_find(&f->snapshot, group))
                return sd_bus_error_setf(error, BUS_ERROR_FAILED, "no history is kept of it: %s",
                                         f->history.bytes == 0 ? "HistorySize=0"
                                                               : "HistorySize= is too small for so many groups");
        if (!ring)
                return sd_bus_error_setf(error, BUS_ERROR_NO_SUCH_GROUP, "no such group: %s", group);
        if (age > 0)
                from = (int64_t)front_now(f) - (int64_t)MIN(age, (uint64_t)INT64_MAX / 2);
        r = history_copy(ring, from, max, &points, &n);
        return r < 0 ? r : answer(m, points, n);
}
