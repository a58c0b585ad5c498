/* SPDX-License-Identifier: MIT */
/* /proc/PID/cgroup, into a buffer that may be too small. */
#include <stdlib.h>
#include <string.h>

#include "proc-parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        for (size_t room = 1; room <= 4096; room *= 16) {
                char *buf = malloc(room);
                ssize_t n;

                if (!buf)
                        abort();
                n = parse_proc_cgroup((const char *)data, size, buf, room);
                if (n >= 0 && (n == 0 || buf[0] != '/' || strlen(buf) != (size_t)n || (size_t)n >= room))
                        abort();
                free(buf);
        }
        return 0;
}
