/* SPDX-License-Identifier: MIT */
#include <time.h>

#include "plot.h"

uint64_t plot_size_step(uint64_t max, unsigned n)
{
        /* decimal as long as all ticks are below the next unit, which is 1024 of this one: 1500M would be shown as 1.5G */
        static const uint64_t factors[] = {1, 2, 5, 10, 20, 50, 100, 200, 512};

        for (uint64_t unit = 1; unit < 1ULL << 60; unit *= KIB)
                for (size_t i = 0; i < ARRAY_SIZE(factors); i++)
                        if (max / (unit * factors[i]) <= n)
                                return unit * factors[i];
        return 1ULL << 62;
}

uint64_t plot_time_step(uint64_t span, unsigned n)
{
        static const unsigned seconds[] = {1,    2,    5,    10,    15,    30,    60,    120,    300,    600,    900,
                                           1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000};

        for (size_t i = 0; i < ARRAY_SIZE(seconds); i++)
                if (span / (seconds[i] * USEC_PER_SEC) <= n)
                        return seconds[i] * USEC_PER_SEC;
        return 366 * 86400 * USEC_PER_SEC;
}

uint64_t plot_first_tick(uint64_t from, uint64_t step)
{
        time_t seconds = (time_t)(from / USEC_PER_SEC);
        int64_t offset = 0, local, s = (int64_t)(step / USEC_PER_SEC);
        struct tm tm;

        if (localtime_r(&seconds, &tm))
                offset = tm.tm_gmtoff;
        local = seconds + offset + (from % USEC_PER_SEC != 0);
        return (uint64_t)((local + s - 1) / s * s - offset) * USEC_PER_SEC;
}
