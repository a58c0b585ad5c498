/* SPDX-License-Identifier: MIT */
/* verbs.c: the table of verbs, and how a verb says that it failed. */
#include <stdarg.h>
#include <stdio.h>

#include "ctl.h"

/* --help, the manual and the completions are compared with this table. */
const struct verb verbs[] = {
                {"status", "[GROUP…]", "show groups: state, resident, cap (the default)", verb_status,
                 VERB_TABLE | VERB_STATUS, 0, UINT32_MAX},
                {"explain", "GROUP", "how a group's numbers add up, what enforcement did", verb_explain, VERB_EXPLAIN,
                 1, 1},
                {"ps", "GROUP", "show a group's processes and what each adds", verb_ps, VERB_TABLE, 1, 1},
                {"top", "", "show groups live: sort them, look into them", verb_top, VERB_TOP, 0, 0},
                {"stat", "[INTERVAL [COUNT]]", "report what was paged out, as rcapstat does", verb_stat,
                 VERB_TABLE | VERB_STAT, 0, 2},
                {"measure", "PID…", "count processes now, without the daemon", verb_measure, VERB_TABLE | VERB_MEASURE,
                 0, UINT32_MAX},
                {"suggest", "", "look at the host for a while, propose groups and caps", verb_suggest, VERB_SUGGEST, 0,
                 0},
                {"check", "[FILE]", "report every problem of a configuration", verb_check, 0, 0, 1},
                {"config", "", "show what is in force, and where it was set", verb_config, VERB_CONFIG, 0, 0},
                {"cap", "GROUP SIZE|default", "set a temporary cap, or go back to the configured one", verb_cap,
                 VERB_CAP, 2, 2},
                {"pause", "[GROUP]", "stop acting on a group, or on all", verb_pause, 0, 0, 1},
                {"resume", "[GROUP]", "act again", verb_resume, 0, 0, 1},
                {"enforce", "GROUP", "bring a group under its cap now", verb_enforce, 0, 1, 1},
                {"history", "GROUP", "what a group was like over time", verb_history, VERB_TABLE | VERB_HISTORY, 1, 1},
                {"plot", "GROUP…", "the same as a picture, SVG on standard output", verb_plot, VERB_PLOT, 1,
                 UINT32_MAX},
                {"metrics", "", "all figures as OpenMetrics", verb_metrics, VERB_METRICS, 0, 0},
                {"reload", "", "read the configuration again", verb_reload, 0, 0, 0},
                /* for etc/completions; without a text it is not in the help */
                {"complete", "", NULL, verb_complete, 0, 0, UINT32_MAX},
                {0},
};

const struct column *verb_columns(const struct verb *v)
{
        if (v->run == verb_ps)
                return process_columns;
        if (v->run == verb_history)
                return history_columns;
        return v->run == verb_stat ? stat_columns : group_columns;
}

static char *failures;
static size_t failures_size;

void failures_to(char *buf, size_t size)
{
        failures = buf;
        failures_size = size;
}

int failed(const char *format, ...)
{
        va_list ap;

        if (failures) {
                va_start(ap, format);
                vsnprintf(failures, failures_size, format, ap);
                va_end(ap);
                return EXIT_FAILED;
        }
        fflush(stdout);
        fputs("capctl: ", stderr);
        va_start(ap, format);
        vfprintf(stderr, format, ap);
        va_end(ap);
        fputc('\n', stderr);
        return EXIT_FAILED;
}

int out_of_memory(void)
{
        return failed("out of memory");
}
