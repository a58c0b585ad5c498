/* SPDX-License-Identifier: MIT */
/* size.h: sizes, times and percentages as administrators write and read them. */
#ifndef CAPD_BASE_SIZE_H
#define CAPD_BASE_SIZE_H

#include <stddef.h>
#include <stdint.h>

#include "capd/base/macros.h"

/*
 * "512M", "1.5G", "4096", "2T", "1GiB": bytes, powers of 1024, suffix B K M G T P in either case, an optional "iB" or
 * "B" behind it. Fractions need a suffix and are rounded down to a byte. 0; -EINVAL not a size; -ERANGE beyond
 * INT64_MAX. No sign, no white space.
 */
int parse_size(const char *text, uint64_t *ret_bytes);

/* "5s", "15min", "2ms", "1h 30min", "500us", "10" (seconds). systemd.time(7)'s units up to weeks. 0, -EINVAL, -ERANGE. */
int parse_time(const char *text, usec_t *ret);

/* "25%", "2.5%": in hundredths of a percent (basis points). 0, -EINVAL; -ERANGE above `max_percent`. */
int parse_percent(const char *text, unsigned max_percent, uint32_t *ret_basis_points);

/* "yes" "no" "true" "false" "on" "off" "1" "0", as systemd reads them. 0 or 1, or -EINVAL. */
int parse_boolean(const char *text);

/* A decimal number of at most `max`, digits only. 0, -EINVAL, -ERANGE. */
int parse_number(const char *text, uint64_t max, uint64_t *ret);

#define SIZE_TEXT_MAX 32

/* util-linux style: "0B", "512B", "1.5K", "100.9M", "10G": one decimal below 1000 unless it is 0. SIZE_UNKNOWN: "?". Returns buf. */
const char *format_size(char buf[static SIZE_TEXT_MAX], uint64_t bytes);

/* "3s", "2min 10s", "450ms". USEC_INFINITY: "?". Returns buf. */
const char *format_time(char buf[static SIZE_TEXT_MAX], usec_t t);

#endif
