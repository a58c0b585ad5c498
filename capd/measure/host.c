/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "capd/measure/host.h"
#include "proc-parse.h"

int host_memory_read(const struct sys *sys, struct host_memory *ret)
{
        char buf[8192];
        ssize_t n = sys_read_file_at(sys, sys->root_fd, "proc/meminfo", buf, sizeof(buf));

        if (n == -E2BIG) /* the fields that count are among the first twenty lines */
                n = sizeof(buf) - 1;
        return n < 0 ? (int)n : parse_meminfo(buf, (size_t)n, ret);
}
