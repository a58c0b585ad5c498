/* SPDX-License-Identifier: MIT */
/*
 * bench-pageout.c: how fast memory that one process maps alone is paged out.
 *
 *     bench-pageout capd PID ADDRESS LENGTH    by libenforce, act after act until all of it has gone
 *     bench-pageout bare PID ADDRESS LENGTH    by a loop of process_madvise() calls of 8 MiB over the same range
 *     bench-pageout short PID ADDRESS LENGTH   by calls of 256 KiB, with a pause after each millisecond of them: what the kernel's
 *                                              interface allows to somebody who looks at nothing
 *     bench-pageout page PID ADDRESS LENGTH    by calls of 4 KiB with such pauses: nobody can hold the target's lock for less
 *
 * Prints one line of JSON, times in microseconds of wall clock and of CPU. "paging" is what there is to compare: until the last page has
 * left, without capd's look at what was freed, which waits for pages that are being written and which nobody else takes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"
#include "capd/enforce/pageout.h"

#define BARE_BYTES  (8UL << 20)
#define SHORT_BYTES (256UL << 10)
#define PAGE_BYTES  4096UL
#define PAUSE_USEC  10U
#define MAX_ACTS    100

static unsigned by_capd(const struct sys *sys, const struct features *features, pid_t pid, uint64_t length,
                        usec_t *ret_paging)
{
        struct pageout_target target = {.pid = pid, .start_time = start_time(pid), .mm_id = 1, .resident = length};
        struct pageout_request request = {.targets = &target,
                                          .n_targets = 1,
                                          .goal = length,
                                          .swap = true,
                                          .max_stall = 2000,
                                          .max_time = UINT64_MAX};
        unsigned acts = 0;

        while (acts++ < MAX_ACTS && request.goal > 0) {
                _cleanup_(pageout_freep) struct pageout *p = NULL;
                struct act_result result;
                int r = pageout_new(sys, features, &request, &p);

                if (r == 0)
                        r = pageout_run(p, NULL);
                if (r < 0)
                        die("pageout_run", -r);
                pageout_result(p, &result);
                *ret_paging += result.ended - result.started;
                pageout_get_cursor(p, &request.cursor);
                request.trace = pageout_take_trace(p);
                request.goal -= result.unmapped < request.goal ? result.unmapped : request.goal;
                if (result.unmapped == 0)
                        break;
        }
        pageout_trace_free(request.trace);
        return acts;
}

static unsigned bare(const struct sys *sys, pid_t pid, uint64_t address, uint64_t length, uint64_t step, bool pauses)
{
        int pidfd = sys->ops->pidfd_open(sys, pid);
        usec_t began = sys->ops->now(sys);
        unsigned calls = 0;

        if (pidfd < 0)
                die("pidfd_open", -pidfd);
        for (uint64_t done = 0; done < length; done += step) {
                struct iovec vec = {.iov_base = (void *)(uintptr_t)(address + done),
                                    .iov_len = length - done < step ? length - done : step};
                ssize_t r = sys->ops->process_madvise(sys, pidfd, &vec, 1, MADV_PAGEOUT);

                if (r < 0)
                        die("process_madvise", (int)-r);
                calls++;
                if (pauses && sys->ops->now(sys) - began >= USEC_PER_MSEC) {
                        sys->ops->sleep(sys, PAUSE_USEC);
                        began = sys->ops->now(sys);
                }
        }
        (void)close(pidfd);
        return calls;
}

int main(int argc, char **argv)
{
        static struct features features;
        uint64_t address, length;
        struct stopwatch watch;
        usec_t paging = 0;
        double wall;
        struct sys sys;
        unsigned calls;
        pid_t pid;
        int r;

        if (argc != 5) {
                fprintf(stderr, "usage: bench-pageout capd|bare|short|page PID ADDRESS LENGTH\n");
                return 2;
        }
        pid = atoi(argv[2]);
        address = strtoull(argv[3], NULL, 10);
        length = strtoull(argv[4], NULL, 10);
        r = sys_init(&sys, NULL);
        if (r == 0)
                r = features_probe(&sys, 65534, 65534, &features);
        if (r < 0)
                die("features_probe", -r);
        start(&watch);
        if (strcmp(argv[1], "capd") == 0)
                calls = by_capd(&sys, &features, pid, length, &paging);
        else if (strcmp(argv[1], "short") == 0)
                calls = bare(&sys, pid, address, length, SHORT_BYTES, true);
        else if (strcmp(argv[1], "page") == 0)
                calls = bare(&sys, pid, address, length, PAGE_BYTES, true);
        else
                calls = bare(&sys, pid, address, length, BARE_BYTES, false);
        wall = since(&watch.wall, CLOCK_MONOTONIC);
        printf("{\"wall\":%.0f,\"paging\":%.0f,\"cpu\":%.0f,\"calls\":%u}\n", wall, paging > 0 ? (double)paging : wall,
               since(&watch.cpu, CLOCK_PROCESS_CPUTIME_ID), calls);
        sys_done(&sys);
        return 0;
}
