/* SPDX-License-Identifier: MIT */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "capd/base/log.h"

#define MESSAGE_MAX 2048

static const char *log_program = "capd";
static int log_max_level = LOG_INFO;
static bool log_journal; /* standard error is the journal */
static bool log_native;  /* and its own socket is there: sd_journal_sendv() fails silently where it is not */

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
        log_native = log_journal && access("/run/systemd/journal/socket", W_OK) == 0;
        for (size_t i = 0; e && i < ARRAY_SIZE(levels); i++)
                if (strcasecmp(e, levels[i].name) == 0)
                        log_max_level = levels[i].level;
}

bool log_shows(int level)
{
        return level <= log_max_level;
}

/* The journal's own protocol carries fields, and keeps the order of entries with and without. A field that is too long is cut. */
struct entry {
        struct iovec parts[LOG_FIELDS_MAX + 4];
        int n;
        size_t used;
        char text[8192];
};

static void add_field(struct entry *e, const char *name, const char *text)
{
        size_t room = sizeof(e->text) - e->used, len = (size_t)snprintf(e->text + e->used, room, "%s=%s", name, text);

        if (room <= 1 || e->n == (int)ARRAY_SIZE(e->parts))
                return;
        len = MIN(len, room - 1);
        e->parts[e->n++] = (struct iovec){.iov_base = e->text + e->used, .iov_len = len};
        e->used += len;
}

static void add_number(struct entry *e, const char *name, uint64_t number)
{
        char text[24];

        snprintf(text, sizeof(text), "%" PRIu64, number);
        add_field(e, name, text);
}

static bool to_journal(int level, const char *message_id, const struct log_field *fields, const char *message)
{
        struct entry e = {0};

        add_number(&e, "PRIORITY", (uint64_t)level);
        add_field(&e, "SYSLOG_IDENTIFIER", log_program);
        if (message_id)
                add_field(&e, "MESSAGE_ID", message_id);
        add_field(&e, "MESSAGE", message);
        for (; fields && fields->name; fields++)
                if (fields->text)
                        add_field(&e, fields->name, fields->text);
                else if (fields->number != SIZE_UNKNOWN)
                        add_number(&e, fields->name, fields->number);
        return sd_journal_sendv(e.parts, e.n) >= 0;
}

/* The level in front is for the journal, which reads standard error where its own socket cannot be reached. */
static void to_stderr(int level, const char *message)
{
        char line[MESSAGE_MAX + 64];
        size_t n;

        if (log_journal)
                snprintf(line, sizeof(line) - 1, "<%d>%s", level & LOG_PRIMASK, message);
        else
                snprintf(line, sizeof(line) - 1, "%.32s: %s", log_program, message);
        n = strlen(line);
        line[n++] = '\n';
        /* one write: lines of threads and of the front do not mix */
        if (write(STDERR_FILENO, line, n) < 0)
                return; /* nobody is listening: there is nowhere to say so */
}

static void log_va(int level, const char *message_id, const struct log_field *fields, const char *format, va_list ap)
{
        char message[MESSAGE_MAX];

        vsnprintf(message, sizeof(message), format, ap);
        if (!log_native || !to_journal(level, message_id, fields, message))
                to_stderr(level, message);
}

void log_line(int level, const char *format, ...)
{
        va_list ap;

        if (!log_shows(level))
                return;
        va_start(ap, format);
        log_va(level, NULL, NULL, format, ap);
        va_end(ap);
}

void log_entry(int level, const char *message_id, const struct log_field *fields, const char *format, ...)
{
        va_list ap;

        if (!log_shows(level))
                return;
        va_start(ap, format);
        log_va(level, message_id, fields, format, ap);
        va_end(ap);
}
