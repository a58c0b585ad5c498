/* SPDX-License-Identifier: MIT */
/*
 * news.c: what clients of the system bus are told without asking.
 *
 * Groups that come and go, and changes of state, are told when a snapshot brings them. Figures that have changed are noted as one bit
 * each, and told when a tick has gone by since: however often the engine publishes, a group has one PropertiesChanged a tick.
 * Telling many groups takes time, so it is done in portions whenever there is nothing else to do; what a portion has not reached
 * when the next snapshot comes stays noted.
 */
#include <errno.h>
#include <string.h>

#include "capd/bus-figures.h"
#include "capd/bus.h"
#include "internal.h"

#define PORTION 16U

#define COUNT_FIGURE(name, kind, member) +1
#define N_GROUP_FIGURES                  (0 BUS_GROUP_FIGURES(COUNT_FIGURE))
#define N_MANAGER_FIGURES                (0 BUS_MANAGER_FIGURES(COUNT_FIGURE))
#define NEWS_WORDS                       ((N_GROUP_FIGURES + 63) / 64)

_Static_assert(N_MANAGER_FIGURES <= 64, "struct news has a word for them");

struct group_news {
        uint64_t changed[NEWS_WORDS];
        bool appeared;
        uint64_t told; /* tick of the last PropertiesChanged */
};

static void note_changes(const struct figure *figures, const void *before, const void *now, uint64_t *bits)
{
        for (size_t i = 0; figures[i].name; i++)
                if (figure_announced(&figures[i]) && figure_differs(&figures[i], before, now))
                        bits[i / 64] |= 1ULL << i % 64;
}

/* A name for each bit, which are cleared. */
static size_t take_changes(const struct figure *figures, uint64_t *bits, const char **names)
{
        size_t n = 0;

        for (size_t i = 0; figures[i].name; i++)
                if (bits[i / 64] >> i % 64 & 1) {
                        bits[i / 64] &= ~(1ULL << i % 64);
                        names[n++] = figures[i].name;
                }
        names[n] = NULL;
        return n;
}

/* -- telling -- */

static int tell_manager(struct front *f, sd_bus *bus)
{
        struct news *news = &f->news;
        const char *names[N_MANAGER_FIGURES + 3];
        size_t n = take_changes(manager_figures, &news->manager, names);

        if (news->warnings)
                names[n++] = "Warnings";
        if (news->features)
                names[n++] = "Features";
        names[n] = NULL;
        news->warnings = news->features = false;
        return n == 0 ? 0 : sd_bus_emit_properties_changed_strv(bus, BUS_PATH, BUS_MANAGER_INTERFACE, (char **)names);
}

static int tell_group(struct front *f, sd_bus *bus, size_t i)
{
        struct group_news *news = &f->news.groups[i];
        _cleanup_free_ char *path = NULL;
        const char *names[N_GROUP_FIGURES + 1];
        int r;

        if (!news->appeared && news->told == f->news.tick)
                return 0;
        if (take_changes(group_figures, news->changed, names) == 0 && !news->appeared)
                return 0;
        r = sd_bus_path_encode(BUS_GROUP_PREFIX, f->snapshot.groups[i].name, &path);
        if (r < 0)
                return r;
        news->told = f->news.tick;
        if (!news->appeared)
                return sd_bus_emit_properties_changed_strv(bus, path, BUS_GROUP_INTERFACE, (char **)names);
        news->appeared = false;
        return sd_bus_emit_interfaces_added(bus, path, BUS_GROUP_INTERFACE, NULL);
}

static bool too_much_unread(struct front *f, sd_bus *bus)
{
        uint64_t unread;

        if (sd_bus_get_n_queued_write(bus, &unread) < 0 || unread <= LIMIT_BUS_MESSAGES)
                return false;
        system_bus_fail(f, "it does not read its messages");
        return true;
}

static int on_idle(sd_event_source *s, void *userdata)
{
        struct front *f = userdata;
        struct news *news = &f->news;
        sd_bus *bus = system_bus_audience(f);
        int r = 0;

        if (!bus || too_much_unread(f, bus))
                return sd_event_source_set_enabled(s, SD_EVENT_OFF);
        if (news->manager_told != news->tick)
                r = tell_manager(f, bus);
        news->manager_told = news->tick;
        for (size_t i = 0; r >= 0 && i < PORTION && news->next < f->snapshot.header.n_groups; i++)
                r = tell_group(f, bus, news->next++);
        if (r < 0)
                system_bus_fail(f, strerror(-r));
        if (r >= 0 && news->next < f->snapshot.header.n_groups)
                return 0;
        return sd_event_source_set_enabled(s, SD_EVENT_OFF);
}

static void tell_later(struct front *f)
{
        struct news *news = &f->news;

        if (!news->source) {
                if (sd_event_add_defer(f->event, &news->source, on_idle, f) < 0)
                        return;
                sd_event_source_set_priority(news->source, SD_EVENT_PRIORITY_IDLE);
        }
        sd_event_source_set_enabled(news->source, SD_EVENT_ON);
}

static int tell_gone(sd_bus *bus, const char *group)
{
        _cleanup_free_ char *path = NULL;
        int r = sd_bus_path_encode(BUS_GROUP_PREFIX, group, &path);

        return r < 0 ? r : sd_bus_emit_interfaces_removed(bus, path, BUS_GROUP_INTERFACE, NULL);
}

static int tell_state(sd_bus *bus, const struct wire_group *before, const struct wire_group *g)
{
        return sd_bus_emit_signal(bus, BUS_PATH, BUS_MANAGER_INTERFACE, "StateChanged", "ssss", g->name,
                                  group_state_to_string((enum group_state)before->state),
                                  group_state_to_string((enum group_state)g->state), g->reason);
}

/* -- noting -- */

static int compare(struct front *f, sd_bus *bus, const struct snapshot *before, const struct group_news *noted)
{
        struct news *news = &f->news;
        int r = 0;

        note_changes(manager_figures, &before->header, &f->snapshot.header, &news->manager);
        news->warnings |= strcmp(before->header.warnings, f->snapshot.header.warnings) != 0;
        news->features |= strcmp(before->header.features, f->snapshot.header.features) != 0;
        for (size_t i = 0; r >= 0 && i < before->header.n_groups; i++)
                if (!snapshot_find(&f->snapshot, before->groups[i].name))
                        r = tell_gone(bus, before->groups[i].name);
        for (size_t i = 0; r >= 0 && i < f->snapshot.header.n_groups; i++) {
                const struct wire_group *g = &f->snapshot.groups[i], *old = snapshot_find(before, g->name);

                if (!old) {
                        news->groups[i].appeared = true;
                        continue;
                }
                if (noted)
                        news->groups[i] = noted[old - before->groups];
                note_changes(group_figures, old, g, news->groups[i].changed);
                if (old->state != g->state)
                        r = tell_state(bus, old, g);
        }
        return r;
}

void news_take(struct front *f, const struct snapshot *before)
{
        struct news *news = &f->news;
        _cleanup_free_ struct group_news *noted = TAKE_PTR(news->groups);
        sd_bus *bus = system_bus_audience(f);
        int r;

        if (!bus) { /* whoever listens later asks for everything first */
                news_done(f);
                return;
        }
        news->groups = calloc(MAX(f->snapshot.header.n_groups, 1U), sizeof(*news->groups));
        r = news->groups ? compare(f, bus, before, noted) : -ENOMEM;
        if (r < 0) {
                system_bus_fail(f, strerror(-r));
                return;
        }
        news->tick = f->snapshot.header.tick;
        news->next = 0;
        tell_later(f);
}

void news_done(struct front *f)
{
        struct news *news = &f->news;

        sd_event_source_disable_unref(news->source);
        free(news->groups);
        *news = (struct news){.tick = news->tick};
}
