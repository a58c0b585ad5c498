/* SPDX-License-Identifier: MIT */
/*
 * damon-driver: counts processes as one group and pages out what they share among themselves alone, by the code of capd and
 * without the daemon.
 *
 *     damon-driver [--count] [--any] [--files-only] [--goal BYTES] [--seconds N] [--runtime DIRECTORY] PID…
 *     damon-driver --recover [--runtime DIRECTORY]
 *     damon-driver --features
 *
 * Prints "name value" lines. Exit status 0; 3 DAMON cannot be used (the reason is printed as "problem"); 1 anything else.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capd/enforce/damon.h"
#include "capd/limits.h"
#include "capd/measure/count.h"
#include "capd/measure/host.h"
#include "capd/measure/inside.h"

struct options {
        bool count_only, any, files_only, recover, features;
        uint64_t goal;
        usec_t time;
        const char *runtime;
};

static int parse(int argc, char **argv, struct options *o)
{
        static const struct option options[] = {
                        {"count", no_argument, NULL, 'c'},
                        {"any", no_argument, NULL, 'a'},
                        {"files-only", no_argument, NULL, 'f'},
                        {"goal", required_argument, NULL, 'g'},
                        {"seconds", required_argument, NULL, 's'},
                        {"runtime", required_argument, NULL, 'r'},
                        {"recover", no_argument, NULL, 'R'},
                        {"features", no_argument, NULL, 'F'},
                        {},
        };
        int c;

        *o = (struct options){.goal = UINT64_MAX, .time = LIMIT_DAMON_ACT_USEC, .runtime = "/run"};
        while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
                switch (c) {
                case 'c':
                        o->count_only = true;
                        break;
                case 'a':
                        o->any = true;
                        break;
                case 'f':
                        o->files_only = true;
                        break;
                case 'g':
                        o->goal = strtoull(optarg, NULL, 0);
                        break;
                case 's':
                        o->time = strtoull(optarg, NULL, 0) * USEC_PER_SEC;
                        break;
                case 'r':
                        o->runtime = optarg;
                        break;
                case 'R':
                        o->recover = true;
                        break;
                case 'F':
                        o->features = true;
                        break;
                default:
                        return -EINVAL;
                }
        return optind;
}

static void show(const char *name, uint64_t value)
{
        if (value == SIZE_UNKNOWN)
                printf("%s unknown\n", name);
        else
                printf("%s %" PRIu64 "\n", name, value);
}

/* Counts, and takes the frames. */
static int count_group(const struct sys *sys, const struct features *f, char **pids, bool swap,
                       struct inside_frames *ret)
{
        _cleanup_(count_freep) struct count *c = NULL;
        struct group_sample sample = {};
        const uint32_t group = 0;
        int r;

        r = count_new(sys, f, COUNT_INSIDE, &c);
        if (r == 0)
                r = MIN(count_add_group(c), 0);
        for (size_t i = 0; pids[i] && r == 0; i++) {
                pid_t pid = (pid_t)strtol(pids[i], NULL, 10);
                char path[64], stat[1024], *end;
                unsigned long long start = 0;
                ssize_t n;

                snprintf(path, sizeof(path), "proc/%d/stat", (int)pid);
                n = sys_read_file_at(sys, sys->root_fd, path, stat, sizeof(stat));
                end = n > 0 ? strrchr(stat, ')') : NULL;
                if (!end ||
                    sscanf(end, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
                           &start) != 1)
                        return -ESRCH;
                r = MIN(count_add_process(c, pid, start, 0, &group, 1), 0);
        }
        if (r == 0)
                r = count_run(c, NULL);
        if (r < 0)
                return r;
        count_group_result(c, 0, &sample);
        show("resident", sample.resident);
        show("private", sample.private_bytes);
        show("inside", sample.inside);
        show("inside_swap", sample.inside_swap);
        return count_take_inside(c, 0, swap, ret);
}

static int act(const struct sys *sys, const struct features *f, const struct options *o, struct inside_frames *frames)
{
        _cleanup_close_ int runtime = open(o->runtime, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct damon_request q = {.goal = o->goal, .any = o->any, .max_time = o->time, .runtime_fd = runtime};
        _cleanup_(damon_freep) struct damon *d = NULL;
        struct act_result s;
        int r;

        if (runtime < 0)
                return -errno;
        r = damon_new(sys, f, &q, frames, &d);
        if (r < 0)
                return r;
        r = damon_run(d, NULL);
        damon_result(d, &s);
        show("attempted", s.attempted);
        show("unmapped", s.unmapped);
        show("freed", s.freed);
        show("left_locked", s.left_locked);
        show("left_no_swap", s.left_no_swap);
        show("left_shared", s.left_shared);
        show("left_dirty", s.left_dirty);
        show("left_busy", s.left_busy);
        show("usec", s.ended - s.started);
        show("cursor", damon_cursor(d));
        if (damon_problem(d)[0])
                printf("problem %s\n", damon_problem(d));
        return r;
}

static int recover(const struct sys *sys, const struct options *o)
{
        _cleanup_close_ int runtime = open(o->runtime, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r = runtime < 0 ? -errno : damon_recover(sys, runtime);

        if (r >= 0)
                show("recovered", (uint64_t)r);
        return MIN(r, 0);
}

static int run(const struct sys *sys, const struct options *o, char **pids)
{
        _cleanup_(inside_frames_donep) struct inside_frames frames = {};
        struct features f;
        struct host_memory host;
        int r;

        if (o->recover)
                return recover(sys, o);
        r = features_probe(sys, 65534, 65534, &f);
        if (r < 0)
                return r;
        show("damon", f.damon);
        if (!f.damon)
                printf("problem %s\n", f.why_damon);
        if (o->features)
                return f.damon ? 0 : -EBUSY;
        r = host_memory_read(sys, &host);
        if (r == 0)
                r = count_group(sys, &f, pids, host.swap_free > 0 && !o->files_only, &frames);
        if (r < 0)
                return r;
        show("ranges", frames.n_ranges);
        show("bytes", frames.bytes);
        show("partly", frames.left_partly);
        show("locked", frames.left_locked);
        show("no_swap", frames.left_no_swap);
        fflush(stdout);
        return o->count_only ? 0 : act(sys, &f, o, &frames);
}

int main(int argc, char **argv)
{
        struct options o;
        struct sys sys;
        int r = parse(argc, argv, &o);

        if (r < 0)
                return 2;
        if (sys_init(&sys, NULL) < 0)
                return 1;
        r = run(&sys, &o, argv + r);
        if (r < 0)
                printf("error %s\n", strerror(-r));
        sys_done(&sys);
        return r == -EBUSY ? 3 : r < 0 ? 1 : 0;
}
