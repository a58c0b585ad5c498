/* SPDX-License-Identifier: MIT */
/*
 * running.h: whether a process is doing anything at this moment, and where. Private to measure/.
 *
 * It decides what a process feels of the calls that take its mmap lock. Of one that sleeps nobody waits for the lock, so that no pause
 * has to let anybody in (who shares its address space without being a thread of it is not looked at). One that runs on another processor has that processor interrupted for every dirty page that leaves
 * (try_to_unmap_flush_dirty() in mm/rmap.c), and the call waits for the answer, with the lock held: 20 µs a page in a virtual
 * machine, and some milliseconds where the other processor is just not there.
 */
#ifndef CAPD_MEASURE_RUNNING_H
#define CAPD_MEASURE_RUNNING_H

#include <stdbool.h>

#include "capd/base/sys.h"

/* More threads than this are not looked at: the look would cost more than the pause that it may save. */
#define RUNNING_THREADS 8U

struct running {
        bool awake; /* a thread of it runs, or waits for a lock or a device; or that is not known */
        /*
         * Where it runs, if all of its threads that do run on one processor; else -1, and also if one of them comes before ordinary ones: who
         * shares a processor with that may be kept from it for long, with the lock held.
         */
        int cpu;
};

/*
 * Takes no lock of the process. `dirfd` is its directory in /proc, `stat_fd` the file "stat" in it. What cannot be read is awake, and
 * nowhere.
 */
void running_look(const struct sys *sys, int dirfd, int stat_fd, struct running *ret);

#endif
