/* SPDX-License-Identifier: MIT */
/*
 * log.h: one line per event, on standard error; where that is the journal, an entry of it, which may have more fields.
 *
 * Libraries log at LOG_DEBUG only; who decides that a failure matters logs it once. A message about a failure that is
 * not fatal ends in ", ignoring". Text from strangers goes through text_escape() first.
 */
#ifndef CAPD_BASE_LOG_H
#define CAPD_BASE_LOG_H

#include <stdbool.h>
#include <syslog.h>

#include "capd/base/macros.h"

void log_init(const char *program); /* reads CAPD_LOG_LEVEL (err, warning, notice, info, debug) and JOURNAL_STREAM */
bool log_shows(int level);          /* whether a line of that level is written */
void log_line(int level, const char *format, ...) _printf_(2, 3);

/* A field of a journal entry, for programs. Without `text` it is the number, and left out if that is SIZE_UNKNOWN. */
struct log_field {
        const char *name; /* CAPD_… */
        const char *text;
        uint64_t number;
};
#define LOG_FIELDS(...) ((const struct log_field[]){__VA_ARGS__, {0}})
#define LOG_FIELDS_MAX  32U
/* The same with one of message-ids.h, and fields up to one without a name (or NULL). On standard error it is the line alone. */
void log_entry(int level, const char *message_id, const struct log_field *fields, const char *format, ...)
                _printf_(4, 5);

#define log_debug(...)   log_line(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)    log_line(LOG_INFO, __VA_ARGS__)
#define log_notice(...)  log_line(LOG_NOTICE, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_error(...)   log_line(LOG_ERR, __VA_ARGS__)

#endif
