/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

double since(const struct timespec *from, clockid_t clock)
{
        struct timespec now;

        clock_gettime(clock, &now);
        return (double)(now.tv_sec - from->tv_sec) * 1e6 + (double)(now.tv_nsec - from->tv_nsec) / 1e3;
}

void start(struct stopwatch *s)
{
        clock_gettime(CLOCK_MONOTONIC, &s->wall);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &s->cpu);
}

_Noreturn void die(const char *what, int error)
{
        fprintf(stderr, "%s: %s\n", what, strerror(error));
        exit(1);
}

ssize_t slurp(pid_t pid, const char *name, char *buf, size_t size)
{
        char path[64];
        ssize_t n;
        int fd;

        snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                die(path, errno);
        n = read(fd, buf, size - 1);
        if (n < 0)
                die(path, errno);
        (void)close(fd);
        buf[n] = 0;
        return n;
}

/* Field 22 of /proc/PID/stat; the name in field 2 may hold spaces and parentheses. */
uint64_t start_time(pid_t pid)
{
        char buf[1024], *p;

        slurp(pid, "stat", buf, sizeof(buf));
        p = strrchr(buf, ')');
        for (int field = 2; p && field < 22; field++)
                p = strchr(p + 1, ' ');
        return p ? strtoull(p + 1, NULL, 10) : 0;
}
