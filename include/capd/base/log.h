/* SPDX-License-Identifier: MIT */
/*
 * log.h: one line per event, on standard error; under systemd with the "<N>" prefixes of sd-daemon(3).
 *
 * Libraries log at LOG_DEBUG only; who decides that a failure matters logs it once. A message about a failure that is
 * not fatal ends in ", ignoring". Text from strangers goes through text_escape() first.
 */
#ifndef CAPD_BASE_LOG_H
#define CAPD_BASE_LOG_H

#include <syslog.h>

#include "capd/base/macros.h"

void log_init(const char *program); /* reads CAPD_LOG_LEVEL (err, warning, notice, info, debug) and JOURNAL_STREAM */
void log_line(int level, const char *format, ...) _printf_(2, 3);

#define log_debug(...)   log_line(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)    log_line(LOG_INFO, __VA_ARGS__)
#define log_notice(...)  log_line(LOG_NOTICE, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_error(...)   log_line(LOG_ERR, __VA_ARGS__)

#endif
