/* SPDX-License-Identifier: MIT */
/* /proc/PID/stat: the one text with a name in it that nothing escapes. */
#include <stdlib.h>
#include <string.h>

#include "proc-parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct proc_stat s;

        if (parse_proc_stat((const char *)data, size, &s) < 0)
                return 0;
        if (s.pid <= 0 || s.ppid < 0 || memchr(s.comm, '\0', sizeof(s.comm)) == NULL)
                abort();
        return 0;
}
