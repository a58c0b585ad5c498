/* SPDX-License-Identifier: MIT */
/* The other texts of /proc: statm, status, meminfo, swaps. */
#include <stdlib.h>

#include "proc-parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const char *text = (const char *)data;
        struct proc_statm s;
        struct host_memory m;
        uid_t uid;
        gid_t gid;

        parse_proc_statm(text, size, &s);
        parse_proc_status(text, size, &uid, &gid);
        if (parse_meminfo(text, size, &m) == 0 && (m.total == 0 || m.used_basis_points > 10000))
                abort();
        if (parse_swaps(text, size) > size)
                abort();
        return 0;
}
