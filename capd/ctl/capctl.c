/* SPDX-License-Identifier: MIT */
/* capctl.c: asks capd, and measures without it. */
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"

/* --help, the manual and the completions are compared with this table. */
const struct verb verbs[] = {
                {"status", "[GROUP…]", "show groups: state, resident, cap (this is the default)", verb_status,
                 VERB_TABLE | VERB_STATUS, 0, UINT32_MAX},
                {"explain", "GROUP", "show how the numbers of a group add up, and what enforcement did", verb_explain,
                 VERB_EXPLAIN, 1, 1},
                {"ps", "GROUP", "show the processes of a group and what each adds", verb_ps, VERB_TABLE, 1, 1},
                {"measure", "PID…", "count processes now, without the daemon; or select them by an option",
                 verb_measure, VERB_TABLE | VERB_MEASURE, 0, UINT32_MAX},
                {"check", "[FILE]", "read a configuration and report every problem in it", verb_check, 0, 0, 1},
                {"config", "", "show the configuration in force with the origin of each value", verb_config,
                 VERB_CONFIG, 0, 0},
                {"cap", "GROUP SIZE|default", "set a temporary cap, or go back to the configured one", verb_cap,
                 VERB_CAP, 2, 2},
                {"pause", "[GROUP]", "stop acting on a group, or on all", verb_pause, 0, 0, 1},
                {"resume", "[GROUP]", "act again", verb_resume, 0, 0, 1},
                {"enforce", "GROUP", "bring a group under its cap now, whatever its back-off says", verb_enforce, 0, 1,
                 1},
                {"reload", "", "read the configuration again", verb_reload, 0, 0, 0},
                {0},
};

int fail(const char *format, ...)
{
        va_list ap;

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
        return fail("out of memory");
}

int main(int argc, char **argv)
{
        _cleanup_(arguments_done) struct arguments a = {0};
        int r;

        setlocale(LC_ALL, "");
        r = arguments_parse(argc, argv, &a);
        if (r != 0)
                return r;
        if (a.help)
                print_help(stdout);
        else if (a.version)
                puts("capctl " CAPD_VERSION);
        else
                r = a.verb->run(&a);
        /* a full disk behind standard output is a failure too */
        if ((fflush(stdout) != 0 || ferror(stdout)) && r == EXIT_DONE)
                r = fail("cannot write the output: %m");
        return r;
}
