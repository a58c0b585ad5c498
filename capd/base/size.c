/* SPDX-License-Identifier: MIT */
/*
 * size.c: integer arithmetic throughout. A floating point "0.1G" would depend on rounding, and a size read from a file
 * must mean the same bytes everywhere.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "capd/base/size.h"

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

/* Reads "12" or "12.34": *ret_whole, and where the fraction's digits begin and end (begin == end: there is none).
 * Returns what follows, NULL if it is no number. A whole part beyond UINT64_MAX is UINT64_MAX: too big for every
 * caller. */
static const char *scan_decimal(const char *s, uint64_t *ret_whole, const char **ret_begin, const char **ret_end)
{
        uint64_t whole = 0;
        bool overflow = false;

        if (!is_digit(*s))
                return NULL;
        for (; is_digit(*s); s++)
                overflow |= __builtin_mul_overflow(whole, 10, &whole) ||
                            __builtin_add_overflow(whole, (uint64_t)(*s - '0'), &whole);
        *ret_whole = overflow ? UINT64_MAX : whole;
        *ret_begin = *ret_end = s;
        if (*s != '.')
                return s;
        if (!is_digit(s[1]))
                return NULL;
        *ret_begin = ++s;
        while (is_digit(*s))
                s++;
        *ret_end = s;
        return s;
}

/* whole.fraction units, rounded down. From the last digit to the first, floor((floor(x) + n) / 10) = floor((x + n) /
 * 10), so the result is exact for any number of digits. `unit` is below 2^60. */
static int scale_decimal(uint64_t whole, const char *begin, const char *end, uint64_t unit, uint64_t *ret)
{
        uint64_t fraction = 0, n;

        while (end > begin)
                fraction = (fraction + (uint64_t)(*--end - '0') * unit) / 10;
        if (__builtin_mul_overflow(whole, unit, &n) || __builtin_add_overflow(n, fraction, &n) || n > INT64_MAX)
                return -ERANGE;
        *ret = n;
        return 0;
}

int parse_size(const char *text, uint64_t *ret_bytes)
{
        static const char suffixes[] = "BKMGTP";
        const char *begin, *end, *suffix, *s;
        uint64_t whole, unit = 1;

        s = scan_decimal(text, &whole, &begin, &end);
        if (!s)
                return -EINVAL;
        if (*s == '\0') {
                if (end > begin)
                        return -EINVAL; /* half a byte is a forgotten suffix */
                return scale_decimal(whole, begin, end, 1, ret_bytes);
        }
        suffix = strchr(suffixes, *s >= 'a' && *s <= 'z' ? *s - 'a' + 'A' : *s);
        if (!suffix)
                return -EINVAL;
        unit <<= 10 * (suffix - suffixes);
        s++;
        if (unit > 1) {
                if (*s == 'i' && (s[1] == 'B' || s[1] == 'b'))
                        s += 2;
                else if (*s == 'B' || *s == 'b')
                        s++;
        }
        if (*s != '\0')
                return -EINVAL;
        return scale_decimal(whole, begin, end, unit, ret_bytes);
}

/* systemd.time(7). The first name of a unit is the one to write. Largest first. */
static const struct time_unit {
        const char *names[4];
        usec_t usec;
} time_units[] = {
                {{"w", "week", "weeks"}, 7 * 24 * 3600 * USEC_PER_SEC},
                {{"d", "day", "days"}, 24 * 3600 * USEC_PER_SEC},
                {{"h", "hr", "hour", "hours"}, 3600 * USEC_PER_SEC},
                {{"min", "m", "minute", "minutes"}, 60 * USEC_PER_SEC},
                {{"s", "sec", "second", "seconds"}, USEC_PER_SEC},
                {{"ms", "msec"}, USEC_PER_MSEC},
                {{"us", "usec", "\xc2\xb5s", "\xce\xbcs"}, 1}, /* U+00B5 and U+03BC, as systemd reads them */
};

static usec_t find_time_unit(const char *name, size_t len)
{
        for (size_t i = 0; i < ARRAY_SIZE(time_units); i++)
                for (size_t j = 0; j < ARRAY_SIZE(time_units[i].names) && time_units[i].names[j]; j++)
                        if (strlen(time_units[i].names[j]) == len && memcmp(time_units[i].names[j], name, len) == 0)
                                return time_units[i].usec;
        return 0;
}

int parse_time(const char *text, usec_t *ret)
{
        const char *s = text + strspn(text, " \t");
        usec_t sum = 0;

        if (*s == '\0')
                return -EINVAL;
        for (bool first = true; *s; first = false) {
                const char *begin, *end, *unit;
                uint64_t whole;
                usec_t part, factor = USEC_PER_SEC;
                int r;

                s = scan_decimal(s, &whole, &begin, &end);
                if (!s)
                        return -EINVAL;
                unit = s += strspn(s, " \t");
                s += strcspn(s, " \t0123456789");
                if (s > unit)
                        factor = find_time_unit(unit, (size_t)(s - unit));
                else if (!first || *s)
                        return -EINVAL; /* "1h 30": of what? */
                if (factor == 0)
                        return -EINVAL;
                r = scale_decimal(whole, begin, end, factor, &part);
                if (r < 0)
                        return r;
                if (__builtin_add_overflow(sum, part, &sum) || sum > INT64_MAX)
                        return -ERANGE;
                s += strspn(s, " \t");
        }
        *ret = sum;
        return 0;
}

int parse_percent(const char *text, unsigned max_percent, uint32_t *ret_basis_points)
{
        const char *begin, *end, *s;
        uint64_t whole, bp;

        s = scan_decimal(text, &whole, &begin, &end);
        if (!s || s[0] != '%' || s[1] != '\0' || end - begin > 2)
                return -EINVAL;
        if (scale_decimal(whole, begin, end, 100, &bp) < 0 || bp > (uint64_t)max_percent * 100)
                return -ERANGE;
        *ret_basis_points = (uint32_t)bp;
        return 0;
}

int parse_boolean(const char *text)
{
        static const char *const words[2][7] = {
                        {"0", "no", "n", "false", "f", "off"},
                        {"1", "yes", "y", "true", "t", "on"},
        };

        for (int value = 0; value < 2; value++)
                for (size_t i = 0; words[value][i]; i++)
                        if (strcasecmp(text, words[value][i]) == 0)
                                return value;
        return -EINVAL;
}

int parse_number(const char *text, uint64_t max, uint64_t *ret)
{
        uint64_t n = 0;

        if (*text == '\0')
                return -EINVAL;
        for (const char *s = text; *s; s++)
                if (!is_digit(*s))
                        return -EINVAL;
        for (const char *s = text; *s; s++)
                if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, (uint64_t)(*s - '0'), &n))
                        return -ERANGE;
        if (n > max)
                return -ERANGE;
        *ret = n;
        return 0;
}

const char *format_size(char buf[static SIZE_TEXT_MAX], uint64_t bytes)
{
        static const char suffixes[] = "BKMGTPE";
        uint64_t unit = 1, whole, tenths;
        size_t i = 0;

        if (bytes == SIZE_UNKNOWN) {
                strcpy(buf, "?");
                return buf;
        }
        while (i + 2 < sizeof(suffixes) && bytes / unit >= 1024) {
                unit <<= 10;
                i++;
        }
        whole = bytes / unit;
        tenths = (bytes % unit * 10 + unit / 2) / unit; /* the remainder is below 2^60: no overflow */
        if (tenths == 10) {
                whole++;
                tenths = 0;
        }
        if (whole >= 1000) { /* four digits say enough */
                whole = bytes / unit + (bytes % unit >= unit - unit / 2 && unit > 1);
                tenths = 0;
        }
        if (whole == 1024 && i + 2 < sizeof(suffixes)) {
                whole = 1;
                i++;
        }
        if (tenths)
                snprintf(buf, SIZE_TEXT_MAX, "%" PRIu64 ".%" PRIu64 "%c", whole, tenths, suffixes[i]);
        else
                snprintf(buf, SIZE_TEXT_MAX, "%" PRIu64 "%c", whole, suffixes[i]);
        return buf;
}

const char *format_time(char buf[static SIZE_TEXT_MAX], usec_t t)
{
        size_t i = 0;
        unsigned n, rest; /* the largest, weeks, are below 2^25 */

        if (t == USEC_INFINITY) {
                strcpy(buf, "?");
                return buf;
        }
        if (t == 0) {
                strcpy(buf, "0s");
                return buf;
        }
        while (t < time_units[i].usec)
                i++;
        n = (unsigned)(t / time_units[i].usec);
        rest = i + 1 < ARRAY_SIZE(time_units) ? (unsigned)(t % time_units[i].usec / time_units[i + 1].usec) : 0;
        if (rest)
                snprintf(buf, SIZE_TEXT_MAX, "%u%s %u%s", n, time_units[i].names[0], rest, time_units[i + 1].names[0]);
        else
                snprintf(buf, SIZE_TEXT_MAX, "%u%s", n, time_units[i].names[0]);
        return buf;
}
