/* SPDX-License-Identifier: MIT */
/*
 * reclaim-driver: takes processes for one group, and looks at and reclaims the cgroups it owns by the code of capd, without the daemon.
 *
 *     reclaim-driver --features
 *     reclaim-driver --owned PID…
 *     reclaim-driver --pressure PID…               a line of figures for each line read
 *     reclaim-driver --madvise --goal BYTES PID…
 *     reclaim-driver --goal BYTES [--no-swap] [--by-cgroup] [--acts N] [--unknown PID] [--join PID] PID…
 *
 * --unknown PID: it is a member when the cgroups are looked for, and not known any more when they are acted on.
 * --join PID: it is moved into the first owned cgroup after the third write.
 * Prints "name value" lines. Exit status 0, or 1 with a line "error …".
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capd/enforce/pageout.h"
#include "capd/enforce/reclaim.h"
#include "capd/measure/host.h"
#include "capd/measure/pressure.h"

enum what { ACT, FEATURES, OWNED, PRESSURE, MADVISE };

static struct {
        enum what what;
        uint64_t goal;
        bool no_swap, by_cgroup;
        unsigned acts;
        pid_t unknown, join;
} o = {.acts = 1};

static struct sys sys;
static struct sys_ops ops;
static struct features features;
static struct process_table *table;
static struct process **members;
static size_t n_members;
static struct cgroup2 hierarchy = {.fd = -1};
static struct owned_cgroups owned;
static unsigned writes;

static void show(const char *name, uint64_t value)
{
        if (value == SIZE_UNKNOWN)
                printf("%s unknown\n", name);
        else
                printf("%s %" PRIu64 "\n", name, value);
}

static bool is_member(pid_t pid, void *userdata)
{
        for (size_t i = 0; i < n_members; i++)
                if (members[i]->facts.pid == pid)
                        return true;
        return false;
}

static int look(char **pids)
{
        struct cgroup_member *list;
        int r = process_table_refresh(table, sys.ops->now(&sys), 0, NULL, NULL);

        if (r < 0)
                return r;
        for (n_members = 0; pids[n_members]; n_members++) {
                members[n_members] = process_table_find(table, (pid_t)strtol(pids[n_members], NULL, 10));
                if (!members[n_members])
                        return -ESRCH;
        }
        list = calloc(n_members + 1, sizeof(*list));
        for (size_t i = 0; i < n_members; i++)
                list[i] = (struct cgroup_member){members[i]->facts.pid, members[i]->facts.cgroup};
        owned_cgroups_done(&owned);
        r = cgroups_find_owned(&hierarchy, list, n_members, is_member, NULL, &owned);
        free(list);
        return r;
}

static ssize_t counting_write(const struct sys *s, int fd, const void *buf, size_t size)
{
        ssize_t n = sys_ops_native.write(s, fd, buf, size);

        if (o.join > 0 && owned.n > 0 && ++writes == 3) {
                _cleanup_close_ int dirfd = owned_cgroup_open(&hierarchy, &owned.items[0]);
                char pid[16];

                snprintf(pid, sizeof(pid), "%d", (int)o.join);
                show("joined", sys_write_file_at(s, dirfd, "cgroup.procs", pid) == 0);
        }
        return n;
}

static int show_owned(void)
{
        struct group_cgroups g;
        int r = cgroups_read(&hierarchy, &owned, sys.ops->now(&sys), &g);

        if (r < 0)
                return r;
        for (size_t i = 0; i < owned.n; i++)
                printf("cgroup %s\n", owned.items[i].path);
        show("owned", g.owned);
        show("members_inside", g.members_inside);
        show("current", g.current);
        show("swap", g.swap);
        show("anon", g.anon);
        show("file", g.file);
        show("shmem", g.shmem);
        show("kernel", g.kernel);
        show("file_mapped", g.file_mapped);
        show("unmapped_cache", g.unmapped_cache);
        return 0;
}

static int show_pressure(char **pids)
{
        struct pressure_tracker tracker = {};
        char line[16];
        int r = 0;

        while (r >= 0 && fgets(line, sizeof(line), stdin)) {
                struct host_pressure host;
                struct group_pressure p;

                r = look(pids);
                host_pressure_read(&sys, &host);
                if (r >= 0)
                        r = pressure_read(&hierarchy, &owned, members, n_members, &host, sys.ops->now(&sys), &tracker,
                                          &p);
                if (r < 0)
                        break;
                printf("{\"refaults\":%" PRIi64 ",\"major_faults\":%" PRIi64 ",\"swap_in\":%" PRIi64
                       ",\"stalled\":%" PRIi64 ",\"host\":%s}\n",
                       (int64_t)p.refaults, (int64_t)p.major_faults, (int64_t)p.swap_in, (int64_t)p.stalled,
                       p.stalled_host ? "true" : "false");
                fflush(stdout);
        }
        pressure_tracker_done(&tracker);
        return r;
}

static void show_result(const struct act_result *r)
{
        show("attempted", r->attempted);
        show("unmapped", r->unmapped);
        show("freed", r->freed);
        show("left_shared", r->left_shared);
        show("left_no_swap", r->left_no_swap);
        show("left_busy", r->left_busy);
        show("usec", r->ended - r->started);
}

static int act_madvise(void)
{
        struct pageout_target *targets = calloc(n_members + 1, sizeof(*targets));
        struct pageout_request q = {.targets = targets,
                                    .n_targets = n_members,
                                    .goal = o.goal,
                                    .swap = !o.no_swap,
                                    .max_stall = 2 * USEC_PER_MSEC,
                                    .max_time = LIMIT_ACT_USEC};
        struct pageout *p = NULL;
        struct act_result s;
        int r;

        for (size_t i = 0; i < n_members; i++) {
                process_look(table, members[i]);
                targets[i] = (struct pageout_target){.pid = members[i]->facts.pid,
                                                     .start_time = members[i]->facts.start_time,
                                                     .mm_id = members[i]->mm_id,
                                                     .resident = members[i]->rss};
        }
        r = pageout_new(&sys, &features, &q, &p);
        if (r == 0)
                r = pageout_run(p, NULL);
        if (r == 0) {
                pageout_result(p, &s);
                show_result(&s);
        }
        pageout_free(p);
        free(targets);
        return r;
}

static int act(void)
{
        struct reclaim_member *list = calloc(n_members + 1, sizeof(*list));
        struct reclaim_request q = {.owned = &owned,
                                    .members = list,
                                    .defined_by_cgroup = o.by_cgroup,
                                    .goal = o.goal,
                                    .swap = !o.no_swap,
                                    .max_cache = SIZE_UNKNOWN,
                                    .max_time = LIMIT_ACT_USEC};
        struct act_result total = {};
        struct reclaim_report report = {};
        int r = 0;

        for (size_t i = 0; i < n_members; i++)
                if (members[i]->facts.pid != o.unknown)
                        list[q.n_members++] =
                                        (struct reclaim_member){members[i]->facts.pid, members[i]->facts.start_time};
        for (unsigned i = 0; r == 0 && i < o.acts && q.goal > 0; i++) {
                struct reclaim *x = NULL;
                struct act_result s;

                r = reclaim_new(&sys, &q, &x);
                if (r == 0)
                        r = reclaim_run(x, NULL);
                if (r == 0) {
                        reclaim_result(x, &s);
                        reclaim_get_report(x, &report);
                        printf("act %s: %u writes, the longest %" PRIu64 " us, step %" PRIu64 ", %" PRIu64 " us\n",
                               reclaim_end_to_string(report.end), report.writes, report.longest_write, report.step,
                               s.ended - s.started);
                        total.attempted += s.attempted;
                        total.unmapped += s.unmapped;
                        total.freed += s.freed;
                        total.cache_taken += s.cache_taken;
                        total.left_no_swap = s.left_no_swap;
                        total.left_busy = s.left_busy;
                        total.ended += s.ended - s.started;
                        q.step = report.step;
                        q.goal -= MIN(q.goal, s.unmapped);
                }
                reclaim_free(x);
                if (report.end != RECLAIM_TIME)
                        break;
        }
        if (r == 0) {
                show_result(&total);
                show("cache_taken", total.cache_taken);
                printf("end %d %s\n", (int)report.end, reclaim_end_to_string(report.end));
                printf("stranger %d\n", (int)report.stranger);
        }
        free(list);
        return r;
}

static int run(char **pids)
{
        int r = features_probe(&sys, 65534, 65534, &features);

        if (r < 0)
                return r;
        if (o.what == FEATURES) {
                show("cgroup2", features.cgroup2);
                show("memory_reclaim", features.memory_reclaim);
                show("reclaim_swappiness", features.reclaim_swappiness);
                show("reclaim_anon_only", features.reclaim_anon_only);
                show("psi", features.psi);
                return 0;
        }
        members = calloc(LIMIT_PROCESSES, sizeof(*members));
        r = cgroup2_open(&sys, &hierarchy);
        if (r == 0)
                r = process_table_new(&sys, FACT_CGROUP, 100, &table);
        if (r == 0)
                r = look(pids);
        if (r < 0)
                return r;
        switch (o.what) {
        case OWNED:
                return show_owned();
        case PRESSURE:
                return show_pressure(pids);
        case MADVISE:
                return act_madvise();
        default:
                return act();
        }
}

static int parse(int argc, char **argv)
{
        static const struct option options[] = {{"features", no_argument, NULL, 'f'},
                                                {"owned", no_argument, NULL, 'o'},
                                                {"pressure", no_argument, NULL, 'p'},
                                                {"madvise", no_argument, NULL, 'm'},
                                                {"goal", required_argument, NULL, 'g'},
                                                {"no-swap", no_argument, NULL, 'n'},
                                                {"by-cgroup", no_argument, NULL, 'c'},
                                                {"acts", required_argument, NULL, 'a'},
                                                {"unknown", required_argument, NULL, 'u'},
                                                {"join", required_argument, NULL, 'j'},
                                                {}};
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
                switch (c) {
                case 'f':
                        o.what = FEATURES;
                        break;
                case 'o':
                        o.what = OWNED;
                        break;
                case 'p':
                        o.what = PRESSURE;
                        break;
                case 'm':
                        o.what = MADVISE;
                        break;
                case 'g':
                        o.goal = strtoull(optarg, NULL, 0);
                        break;
                case 'n':
                        o.no_swap = true;
                        break;
                case 'c':
                        o.by_cgroup = true;
                        break;
                case 'a':
                        o.acts = (unsigned)strtoul(optarg, NULL, 0);
                        break;
                case 'u':
                        o.unknown = (pid_t)strtol(optarg, NULL, 10);
                        break;
                case 'j':
                        o.join = (pid_t)strtol(optarg, NULL, 10);
                        break;
                default:
                        return -1;
                }
        return optind;
}

int main(int argc, char **argv)
{
        int r = parse(argc, argv);

        if (r < 0)
                return 2;
        if (sys_init(&sys, NULL) < 0)
                return 1;
        ops = sys_ops_native;
        ops.write = counting_write;
        sys.ops = &ops;
        r = run(argv + r);
        if (r < 0)
                printf("error %s\n", strerror(-r));
        owned_cgroups_done(&owned);
        cgroup2_close(&hierarchy);
        process_table_free(table);
        free(members);
        sys_done(&sys);
        return r < 0;
}
