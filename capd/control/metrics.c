/* SPDX-License-Identifier: MIT */
/*
 * metrics.c: the figures as metrics, in one of two dialects.
 *
 * OpenMetrics is what "capctl metrics" prints. MetricsFile= holds the text format that came before it, as that is what node_exporter's
 * textfile collector reads. They differ in three places: the older one names a counter with its "_total" in TYPE and HELP, where
 * OpenMetrics names it without; and it has no UNIT and no EOF.
 *
 * Base units, one family after the other, groups sorted by name. The only labels are the group, and words of short, fixed lists.
 * A figure that is not known is left out: a reader takes what is written for measured.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

enum metric_type {
        GAUGE_BYTES,
        GAUGE_RATE,      /* int64_t, bytes a second */
        GAUGE_COUNT,     /* uint32_t */
        GAUGE_BOOL,      /* bool */
        GAUGE_RATIO,     /* uint32_t, basis points; UINT32_MAX: not known */
        GAUGE_TIMESTAMP, /* CLOCK_MONOTONIC, microseconds; 0: never */
        COUNTER_BYTES,
        COUNTER_U64,
        COUNTER_U32,
};

struct metric {
        const char *name; /* without "_total" */
        const char *help;
        enum metric_type type;
        size_t offset;
};

#define H(member) offsetof(struct wire_snapshot, member)
#define G(member) offsetof(struct wire_group, member)

static const struct metric host_metrics[] = {
                {"capd_start_timestamp_seconds", "When the daemon started.", GAUGE_TIMESTAMP, H(started_at)},
                {"capd_published_timestamp_seconds", "When the figures were published: they are as old as this.",
                 GAUGE_TIMESTAMP, H(published_at)},
                {"capd_config_loaded_timestamp_seconds", "When the configuration in force was read.", GAUGE_TIMESTAMP,
                 H(policy_loaded_at)},
                {"capd_paused", "Whether everything is paused.", GAUGE_BOOL, H(paused)},
                {"capd_dry_run", "Whether capd decides, but never acts.", GAUGE_BOOL, H(dry_run)},
                {"capd_ticks", "Looks at all groups.", COUNTER_U64, H(tick)},
                {"capd_groups", "Groups.", GAUGE_COUNT, H(n_groups)},
                {"capd_processes",
                 "Processes that capd has an eye on: the host's, or those of the cgroups that groups are made of.",
                 GAUGE_COUNT, H(processes)},
                {"capd_quarantined_processes", "Processes left alone because they did not let themselves be read.",
                 GAUGE_COUNT, H(quarantined)},
                {"capd_lost_threads", "Threads that a process holds in a system call.", GAUGE_COUNT, H(lost_threads)},
                {"capd_pressure_threshold_ratio", "Memory use of the host above which caps are enforced.", GAUGE_RATIO,
                 H(pressure_threshold)},
                {"capd_host_memory_used_ratio", "Part of the host's memory that is not available.", GAUGE_RATIO,
                 H(host.used_basis_points)},
                {"capd_host_memory_size_bytes", "Memory of the host.", GAUGE_BYTES, H(host.total)},
                {"capd_host_memory_free_bytes", "Memory of the host that holds nothing.", GAUGE_BYTES, H(host.free)},
                {"capd_host_memory_available_bytes", "Memory that programs can have without paging out.", GAUGE_BYTES,
                 H(host.available)},
                {"capd_host_swap_size_bytes", "Swap of the host.", GAUGE_BYTES, H(host.swap_total)},
                {"capd_host_swap_free_bytes", "Free swap of the host.", GAUGE_BYTES, H(host.swap_free)},
                {0},
};

static const struct metric group_metrics[] = {
                {"capd_group_resident_bytes", "Distinct physical pages that the group maps: held against the cap.",
                 GAUGE_BYTES, G(sample.resident)},
                {"capd_group_resident_error_bytes",
                 "An estimate of the resident bytes is within so much of the truth, 95 times in 100.", GAUGE_BYTES,
                 G(sample.error_bytes)},
                {"capd_group_resident_timestamp_seconds", "When the resident bytes were true.", GAUGE_TIMESTAMP,
                 G(sample.counted_at)},
                {"capd_group_rss_sum_bytes", "Sum of the processes' RSS: what adding up top gives.", GAUGE_BYTES,
                 G(sample.rss_sum)},
                {"capd_group_anon_bytes", "Anonymous part of the resident bytes.", GAUGE_BYTES, G(sample.anon)},
                {"capd_group_file_bytes", "Part of the resident bytes in files.", GAUGE_BYTES, G(sample.file)},
                {"capd_group_shmem_bytes", "Part of the resident bytes in shared memory and tmpfs.", GAUGE_BYTES,
                 G(sample.shmem)},
                {"capd_group_swap_bytes", "Swapped out, each slot once.", GAUGE_BYTES, G(sample.swap)},
                {"capd_group_hugetlb_bytes", "Hugetlb pages, no part of the resident bytes.", GAUGE_BYTES,
                 G(sample.hugetlb)},
                {"capd_group_cgroup_current_bytes", "memory.current of the cgroups that are the group's alone.",
                 GAUGE_BYTES, G(cgroups.current)},
                {"capd_group_trend_bytes_per_second", "Growth of the resident bytes, smoothed.", GAUGE_RATE, G(trend)},
                {"capd_group_cap_bytes", "Cap in force.", GAUGE_BYTES, G(cap)},
                {"capd_group_configured_cap_bytes", "Cap of the configuration.", GAUGE_BYTES, G(configured_cap)},
                {"capd_group_low_watermark_bytes", "Where enforcement stops.", GAUGE_BYTES, G(low_watermark)},
                {"capd_group_working_set_bytes", "What a thrashing group works with, inferred.", GAUGE_BYTES,
                 G(working_set)},
                {"capd_group_processes", "Processes.", GAUGE_COUNT, G(sample.processes)},
                {"capd_group_unread_processes", "Processes that could not be read.", GAUGE_COUNT, G(sample.unread)},
                {"capd_group_state_timestamp_seconds", "Since when the group is in its state.", GAUGE_TIMESTAMP,
                 G(state_since)},
                {"capd_group_acts", "Times capd acted on the group.", COUNTER_U64, G(acts)},
                {"capd_group_attempted_bytes", "Handed to the kernel for page-out.", COUNTER_BYTES, G(attempted_total)},
                {"capd_group_paged_out_bytes", "Of that, unmapped afterwards.", COUNTER_BYTES, G(unmapped_total)},
                {"capd_group_freed_bytes", "Of that, given back to the host.", COUNTER_BYTES, G(freed_total)},
                {"capd_group_refaulted_bytes", "Of that, back again.", COUNTER_BYTES, G(refaulted_total)},
                {"capd_group_cache_taken_bytes", "Page cache that was reclaimed as well.", COUNTER_BYTES,
                 G(cache_taken_total)},
                {"capd_group_kills", "Members killed by LastResort=.", COUNTER_U32, G(kills)},
                {0},
};

struct writer {
        FILE *f;
        bool openmetrics;
        int64_t realtime;
};

static bool is_counter(enum metric_type t)
{
        return t >= COUNTER_BYTES;
}

/* The unit is the last word of a name, in OpenMetrics, and has to be said there. */
static const char *unit_of(const char *name)
{
        static const char *const units[] = {"bytes", "seconds", "ratio"};
        size_t len = strlen(name);

        for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
                size_t n = strlen(units[i]);

                if (len > n && name[len - n - 1] == '_' && strcmp(name + len - n, units[i]) == 0)
                        return units[i];
        }
        return NULL;
}

static void write_head(const struct writer *w, const char *name, bool counter, const char *help)
{
        const char *suffix = counter && !w->openmetrics ? "_total" : "";
        const char *unit = unit_of(name);

        fprintf(w->f, "# TYPE %s%s %s\n", name, suffix, counter ? "counter" : "gauge");
        if (unit && w->openmetrics)
                fprintf(w->f, "# UNIT %s %s\n", name, unit);
        fprintf(w->f, "# HELP %s%s %s\n", name, suffix, help);
}

/* Both dialects escape the same three characters in the value of a label. */
static void write_label(FILE *f, const char *name, const char *value)
{
        fprintf(f, "%s=\"", name);
        for (const char *s = value; *s; s++) {
                if (*s == '\\' || *s == '"')
                        fputc('\\', f);
                if (*s == '\n')
                        fputs("\\n", f);
                else
                        fputc(*s, f);
        }
        fputc('"', f);
}

/* Microseconds of a clock as seconds, exactly. */
static void write_seconds(FILE *f, int64_t usec)
{
        fprintf(f, " %" PRId64 ".%06" PRId64 "\n", usec / (int64_t)USEC_PER_SEC, usec % (int64_t)USEC_PER_SEC);
}

static bool is_known(const struct metric *m, const void *p)
{
        switch (m->type) {
        case GAUGE_BYTES:
        case COUNTER_BYTES:
                return *(const uint64_t *)p != SIZE_UNKNOWN;
        case GAUGE_RATIO:
                return *(const uint32_t *)p != UINT32_MAX;
        case GAUGE_TIMESTAMP:
                return *(const usec_t *)p != 0;
        default:
                return true;
        }
}

static void write_value(const struct writer *w, const struct metric *m, const void *p)
{
        switch (m->type) {
        case GAUGE_BYTES:
        case COUNTER_BYTES:
        case COUNTER_U64:
                fprintf(w->f, " %" PRIu64 "\n", *(const uint64_t *)p);
                break;
        case GAUGE_RATE:
                fprintf(w->f, " %" PRId64 "\n", *(const int64_t *)p);
                break;
        case GAUGE_COUNT:
        case COUNTER_U32:
                fprintf(w->f, " %" PRIu32 "\n", *(const uint32_t *)p);
                break;
        case GAUGE_BOOL:
                fprintf(w->f, " %d\n", *(const bool *)p);
                break;
        case GAUGE_RATIO:
                fprintf(w->f, " %" PRIu32 ".%04" PRIu32 "\n", *(const uint32_t *)p / 10000,
                        *(const uint32_t *)p % 10000);
                break;
        case GAUGE_TIMESTAMP:
                write_seconds(w->f, (int64_t) * (const usec_t *)p + w->realtime);
                break;
        }
}

static void write_host(const struct writer *w, const struct wire_snapshot *s)
{
        write_head(w, "capd_build_info", false, "The version of capd.");
        fputs("capd_build_info{", w->f);
        write_label(w->f, "version", s->version_text);
        fputs("} 1\n", w->f);
        write_head(w, "capd_config_reload_successful", false, "Whether the last reload was accepted.");
        fprintf(w->f, "capd_config_reload_successful %d\n", s->config_error[0] == '\0');
        for (const struct metric *m = host_metrics; m->name; m++) {
                const void *p = (const char *)s + m->offset;

                if (!is_known(m, p))
                        continue;
                write_head(w, m->name, is_counter(m->type), m->help);
                fprintf(w->f, "%s%s", m->name, is_counter(m->type) ? "_total" : "");
                write_value(w, m, p);
        }
}

static const struct wire_group *nth(const struct snapshot *s, size_t i)
{
        return &s->groups[s->by_name[i]];
}

static void write_group_metric(const struct writer *w, const struct metric *m, const struct snapshot *s, size_t n)
{
        bool head = false;

        for (size_t i = 0; i < n; i++) {
                const struct wire_group *g = nth(s, i);
                const void *p = (const char *)g + m->offset;

                if (!is_known(m, p))
                        continue;
                if (!head)
                        write_head(w, m->name, is_counter(m->type), m->help);
                head = true;
                fprintf(w->f, "%s%s{", m->name, is_counter(m->type) ? "_total" : "");
                write_label(w->f, "group", g->name);
                fputc('}', w->f);
                write_value(w, m, p);
        }
}

/* One of a fixed list of words: a series each, of which the one that holds is 1. */
static void write_choice(const struct writer *w, const char *name, const char *label, const struct wire_group *g,
                         const char *word, bool holds)
{
        fprintf(w->f, "%s{", name);
        write_label(w->f, "group", g->name);
        fputc(',', w->f);
        write_label(w->f, label, word);
        fprintf(w->f, "} %d\n", holds);
}

static void write_words(const struct writer *w, const struct snapshot *s, size_t n)
{
        if (n == 0)
                return;
        write_head(w, "capd_group_info", false, "What the configuration wants done with the group.");
        for (size_t i = 0; i < n; i++)
                write_choice(w, "capd_group_info", "action", nth(s, i), nth(s, i)->action, true);
        write_head(w, "capd_group_state", false, "The state of the group: the series that is 1.");
        for (size_t i = 0; i < n; i++)
                for (unsigned x = 0; x < _STATE_MAX; x++)
                        write_choice(w, "capd_group_state", "state", nth(s, i),
                                     group_state_to_string((enum group_state)x), nth(s, i)->state == x);
        write_head(w, "capd_group_quality", false, "How the resident bytes are known: the series that is 1.");
        for (size_t i = 0; i < n; i++)
                for (unsigned x = 0; x < _QUALITY_MAX; x++)
                        write_choice(w, "capd_group_quality", "quality", nth(s, i), quality_to_string((enum quality)x),
                                     nth(s, i)->sample.quality == (enum quality)x);
}

int metrics_text(const struct snapshot *s, int64_t realtime, bool openmetrics, char **ret, size_t *ret_size)
{
        size_t n = s->groups ? MIN(s->header.n_groups, LIMIT_METRICS_GROUPS) : 0;
        struct writer w = {.openmetrics = openmetrics, .realtime = realtime};
        _cleanup_free_ char *text = NULL;
        size_t size;

        w.f = open_memstream(&text, &size);
        if (!w.f)
                return -ENOMEM;
        write_host(&w, &s->header);
        write_head(&w, "capd_dropped_groups", false, "Groups of which no metrics are shown: there are too many.");
        fprintf(w.f, "capd_dropped_groups %zu\n", s->groups ? s->header.n_groups - n : 0);
        write_words(&w, s, n);
        for (const struct metric *m = group_metrics; m->name; m++)
                write_group_metric(&w, m, s, n);
        if (openmetrics)
                fputs("# EOF\n", w.f);
        if (fclose(w.f) != 0)
                return -ENOMEM;
        *ret = TAKE_PTR(text);
        *ret_size = size;
        return 0;
}

int method_get_metrics(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        _cleanup_free_ char *text = NULL;
        struct front *f = userdata;
        int r, openmetrics;
        size_t size;

        r = sd_bus_message_read(m, "b", &openmetrics);
        if (r < 0)
                return r;
        r = metrics_text(&f->snapshot, front_realtime(), openmetrics, &text, &size);
        return r < 0 ? r : sd_bus_reply_method_return(m, "s", text);
}
