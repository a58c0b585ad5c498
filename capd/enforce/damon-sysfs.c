/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "capd/enforce/damon.h"
#include "capd/limits.h"
#include "damon-record.h"
#include "damon-sysfs.h"

#define CONTEXT "contexts/0/"
#define SCHEME  CONTEXT "schemes/%u/"
#define REGIONS CONTEXT "targets/0/regions/"

/* The sampling interval: longer than any act, so that nothing is done before "off". After a crash of capd the frames are looked
 * at again only then, and by that time the record has been found. */
#define SLEEP_USEC "60000000"
#define LOOK_USEC  (2 * USEC_PER_MSEC)

/* Other writers of the same lock (mm/damon/sysfs.c tries it and gives EBUSY) are waited for so often and so long. */
#define BUSY_TRIES 50U
#define BUSY_USEC  (2 * USEC_PER_MSEC)

static int write_file(const struct sys *sys, int dirfd, const char *path, const char *text)
{
        int r = -EBUSY;

        for (unsigned i = 0; i < BUSY_TRIES && r == -EBUSY; i++) {
                if (i > 0)
                        sys->ops->sleep(sys, BUSY_USEC);
                r = sys_write_file_at(sys, dirfd, path, text);
        }
        return r;
}

static _printf_(3, 4) int put(struct dsysfs *d, const char *text, const char *format, ...)
{
        va_list args;
        int n, r;

        va_start(args, format);
        n = vsnprintf(d->path, sizeof(d->path), format, args);
        va_end(args);
        if (n < 0 || (size_t)n >= sizeof(d->path))
                return -ENAMETOOLONG;
        r = write_file(d->sys, d->kdamond_fd, d->path, text);
        if (r == 0)
                d->path[0] = '\0';
        return r;
}

static int put_number(struct dsysfs *d, uint64_t number, const char *path)
{
        char text[24];

        snprintf(text, sizeof(text), "%" PRIu64, number);
        return put(d, text, "%s", path);
}

/* What does not change from one portion to the next. */
static int describe(struct dsysfs *d)
{
        static const char *const settings[][2] = {
                        {"contexts/nr_contexts", "1"},
                        {CONTEXT "operations", "paddr"},
                        /* a sampling interval of more than the aggregation interval is refused */
                        {CONTEXT "monitoring_attrs/intervals/aggr_us", SLEEP_USEC},
                        {CONTEXT "monitoring_attrs/intervals/sample_us", SLEEP_USEC},
                        {CONTEXT "monitoring_attrs/intervals/update_us", SLEEP_USEC},
                        {CONTEXT "targets/nr_targets", "1"},
        };

        for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
                int r = put(d, settings[i][1], "%s", settings[i][0]);

                if (r < 0)
                        return r;
        }
        return 0;
}

int dsysfs_open(struct dsysfs *d, const struct sys *sys, int runtime_fd)
{
        int r;

        *d = (struct dsysfs){.sys = sys, .runtime_fd = runtime_fd, .kdamond_fd = -1, .page_level = true};
        r = record_make(sys, runtime_fd, &d->kdamond_fd);
        if (r < 0)
                return r;
        r = describe(d);
        if (r < 0) {
                int q = dsysfs_close(d);

                return q < 0 ? q : r;
        }
        return 0;
}

int dsysfs_close(struct dsysfs *d)
{
        int r;

        if (d->kdamond_fd < 0)
                return 0;
        close_fd(TAKE_FD(d->kdamond_fd));
        r = damon_recover(d->sys, d->runtime_fd);
        return MIN(r, 0);
}

int dsysfs_set_ranges(struct dsysfs *d, const struct frame_range *ranges, size_t n, uint64_t page_size)
{
        char text[24];
        int r = 0;

        if (n != d->n_regions) {
                d->n_regions = 0;
                r = put_number(d, n, REGIONS "nr_regions");
                if (r < 0)
                        return r;
                d->n_regions = n;
                /* With more than half of this number no range is split, with no more than it none is merged with its
                 * neighbour, if it had one: kdamond_split_regions(), kdamond_merge_regions(). */
                r = put_number(d, MAX(n, (size_t)3), CONTEXT "monitoring_attrs/nr_regions/max");
                if (r == 0)
                        r = put(d, "3", CONTEXT "monitoring_attrs/nr_regions/min");
        }
        for (size_t i = 0; i < n && r == 0; i++) {
                /* never a part of a page: damon_set_regions() would round outwards */
                if (ranges[i].start % page_size || ranges[i].end % page_size || ranges[i].start >= ranges[i].end)
                        return -EINVAL;
                snprintf(text, sizeof(text), "%" PRIu64, ranges[i].start);
                r = put(d, text, REGIONS "%zu/start", i);
                if (r < 0)
                        break;
                snprintf(text, sizeof(text), "%" PRIu64, ranges[i].end);
                r = put(d, text, REGIONS "%zu/end", i);
        }
        return r;
}

struct filter {
        const char *type, *matching;
};

/* A page is passed over if it matches one of the filters (and on which side is `matching`). */
static int put_filters(struct dsysfs *d, unsigned scheme, const struct filter *filters, size_t n)
{
        char text[24];
        int r;

        snprintf(text, sizeof(text), "%zu", n);
        r = put(d, text, SCHEME "filters/nr_filters", scheme);
        for (size_t i = 0; i < n && r == 0; i++) {
                r = put(d, filters[i].type, SCHEME "filters/%zu/type", scheme, i);
                if (r == 0)
                        r = put(d, filters[i].matching, SCHEME "filters/%zu/matching", scheme, i);
        }
        return r;
}

static int put_scheme(struct dsysfs *d, unsigned scheme, const char *action, bool accessed, uint64_t bytes)
{
        char quota[24], most[24], accesses[24];
        /* all sizes and ages; "min" is 0 */
        const struct {
                const char *path, *text;
        } settings[] = {
                        {"action", action},
                        {"access_pattern/sz/max", most},
                        {"access_pattern/nr_accesses/max", accesses},
                        {"access_pattern/age/max", "4294967295"},
                        {"quotas/bytes", quota},
                        /* a new charge window each time the schemes are applied, so that the quota is in force from the first on */
                        {"quotas/reset_interval_ms", "0"},
        };

        snprintf(quota, sizeof(quota), "%" PRIu64, bytes);
        snprintf(most, sizeof(most), "%lu", ULONG_MAX);
        snprintf(accesses, sizeof(accesses), "%u", accessed ? UINT_MAX : 0U);
        for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
                int r = put(d, settings[i].text, SCHEME "%s", scheme, settings[i].path);

                if (r < 0)
                        return r;
        }
        return 0;
}

/*
 * Marking: the first filter looks whether a page is young, and marks one that is as old (mm/damon/paddr.c, damos_pa_filter_out());
 * of the others one fits every page, so nothing is done to any.
 *
 * Paging out cold pages: paddr puts a filter against young pages before a page-out by itself if there is none.
 *
 * Any: a scheme for young pages, and then one for those that are not. This order, as the first marks old what it passes over.
 */
static int set_page_level(struct dsysfs *d, enum damon_work work, uint64_t bytes)
{
        static const struct filter nothing[] = {{"young", "Y"}, {"anon", "Y"}, {"anon", "N"}};
        static const struct filter young[] = {{"young", "N"}};
        unsigned cold = work == DAMON_ANY;
        int r = 0;

        if (work == DAMON_MARK) {
                r = put_scheme(d, 0, "lru_deprio", true, bytes);
                return r < 0 ? r : put_filters(d, 0, nothing, ARRAY_SIZE(nothing));
        }
        if (work == DAMON_ANY) {
                r = put_scheme(d, 0, "pageout", true, bytes);
                if (r == 0)
                        r = put_filters(d, 0, young, ARRAY_SIZE(young));
        }
        if (r == 0)
                r = put_scheme(d, cold, "pageout", true, bytes);
        return r < 0 ? r : put_filters(d, cold, NULL, 0);
}

int dsysfs_set_work(struct dsysfs *d, enum damon_work work, uint64_t bytes)
{
        /* which also makes new schemes of those before */
        int r = put(d, work == DAMON_ANY && d->page_level ? "2" : "1", CONTEXT "schemes/nr_schemes");

        if (r < 0)
                return r;
        if (d->page_level) {
                r = set_page_level(d, work, bytes);
                /* no such filter, or no filters at all: a kernel before 6.10 */
                if (work == DAMON_MARK && (r == -EINVAL || r == -ENOENT) && strstr(d->path, "/filters/")) {
                        d->page_level = false;
                        d->path[0] = '\0';
                        return 0;
                }
                return r;
        }
        /* Such a kernel passes over pages that were accessed since reclaim looked at them last (folio_check_references()). */
        return put_scheme(d, 0, "pageout", work == DAMON_ANY, bytes);
}

int dsysfs_open_state(const struct dsysfs *d)
{
        return d->sys->ops->openat(d->sys, d->kdamond_fd, "state", O_WRONLY);
}

int dsysfs_command(const struct sys *sys, int state_fd, const char *command)
{
        ssize_t n = -EBUSY;

        for (unsigned i = 0; i < BUSY_TRIES && (n == -EBUSY || n == -EINTR); i++) {
                if (i > 0)
                        sys->ops->sleep(sys, BUSY_USEC);
                n = sys->ops->write(sys, state_fd, command, strlen(command));
        }
        return (int)MIN(n, (ssize_t)0);
}

/* 1 it sleeps, 0 not, or a negative errno. */
static int sleeps(const struct sys *sys, int kdamond_fd)
{
        char text[1024], path[64], *state;
        ssize_t n = sys_read_file_at(sys, kdamond_fd, "pid", text, sizeof(text));
        int pid;

        if (n == -EBUSY)
                return 0;
        if (n < 0)
                return (int)n;
        if (sscanf(text, "%d", &pid) != 1)
                return -EIO;
        if (pid <= 0)
                return -ESRCH;
        snprintf(path, sizeof(path), "proc/%d/stat", pid);
        n = sys_read_file_at(sys, sys->root_fd, path, text, sizeof(text));
        if (n < 0)
                return n == -ENOENT ? -ESRCH : (int)n;
        state = strrchr(text, ')');
        if (!state || state[1] == '\0')
                return -EIO;
        /* TASK_IDLE is schedule_timeout_idle() of the sampling interval; locks are waited for in other states */
        return state[2] == 'I';
}

int dsysfs_wait_asleep(const struct sys *sys, int kdamond_fd, usec_t most)
{
        usec_t until = sys->ops->now(sys) + most;
        int r;

        while ((r = sleeps(sys, kdamond_fd)) == 0) {
                if (sys->ops->now(sys) >= until)
                        return -ETIMEDOUT;
                sys->ops->sleep(sys, LOOK_USEC);
        }
        return MIN(r, 0);
}
