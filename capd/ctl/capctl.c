/* SPDX-License-Identifier: MIT */
/* capctl.c: asks capd, and measures without it. */
#include <locale.h>
#include <stdio.h>

#include "ctl.h"

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
                r = failed("cannot write the output: %m");
        return r;
}
