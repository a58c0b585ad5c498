/* SPDX-License-Identifier: MIT */
/* bench.h: what the benchmarks share. Errors end the program. */
#ifndef CAPD_TESTS_BENCH_H
#define CAPD_TESTS_BENCH_H

#include <stdint.h>
#include <sys/types.h>
#include <time.h>

struct stopwatch {
        struct timespec wall, cpu;
};

void start(struct stopwatch *s);
double since(const struct timespec *from, clockid_t clock); /* microseconds */
_Noreturn void die(const char *what, int error);

/* Opens, reads and closes a file of a process. */
ssize_t slurp(pid_t pid, const char *name, char *buf, size_t size);
uint64_t start_time(pid_t pid);

#endif
