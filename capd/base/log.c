/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capd/base/log.h"

static const char *log_program = "capd";
static int log_max_level = LOG_INFO;
static bool log_journal;

/* sd-daemon(3): the journal, and nobody else, reads "<N>". The variable names it as device:inode, since it outlives a redirection. */
static bool stderr_is_journal(void)
{
        const char *e = getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat st;

        return e && sscanf(e, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
               st.st_dev == device && st.st_ino == inode;
}

void log_init(const char *program)
{
        static const struct {
                const char *name;
                int level;
        } levels[] = {
                        {"err", LOG_ERR},   {"warning", LOG_WARNING}, {"notice", LOG_NOTICE},
                        {"info", LOG_INFO}, {"debug", LOG_DEBUG},
        };
        const char *e = getenv("CAPD_LOG_LEVEL");

        log_program = program;
        log_journal = stderr_is_journal();
        for (size_t i = 0; e && i < ARRAY_SIZE(levels); i++)
                if (strcasecmp(e, levels[i].name) == 0)
                        log_max_level = levels[i].level;
}

void log_line(int level, const char *format, ...)
{
        char line[2048];
        size_t n;
        va_list ap;

        if (level > log_max_level)
                return;
        n = log_journal ? (size_t)snprintf(line, sizeof(line), "<%d>", level)
                        : (size_t)snprintf(line, sizeof(line), "%s: ", log_program);
        va_start(ap, format);
        vsnprintf(line + n, sizeof(line) - n - 1, format, ap);
        va_end(ap);
        n = strlen(line);
        line[n++] = '\n';
        /* one write: lines of threads and of the front do not mix */
        if (write(STDERR_FILENO, line, n) < 0)
                return; /* nobody is listening: there is nowhere to say so */
}
