/* SPDX-License-Identifier: MIT */
/* metrics.c: the metrics as the front writes them. */
#include <stdio.h>

#include "ctl.h"

int verb_metrics(const struct arguments *a)
{
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_free_ char *text = NULL;
        int r;

        r = client_open(a, &bus);
        if (r == 0)
                r = client_command(bus, &text, "GetMetrics", "b", (int)!a->classic);
        if (r != 0)
                return r;
        return fputs(text, stdout) < 0 ? failed("cannot write the metrics") : EXIT_DONE;
}
