/* SPDX-License-Identifier: MIT */
/* move-names.c: names of units and cgroups made from names of groups, and units found in paths of cgroups. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "capd/enforce/move.h"

/* Room for "capd-", "-", a hash of 16 digits and ".scope"; a cgroup's directory has 255 bytes, like a unit. */
#define ESCAPED_MAX 200U

static bool is_allowed(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == ':' || c == '_' ||
               c == '.';
}

/* systemd.unit(5), "String Escaping for Inclusion in Unit Names": "/" is "-", other bytes that unit names do not allow are "\xNN", and so is
 * a leading dot. Returns false if it did not fit. */
static bool escape(const char *s, char *buf, size_t size)
{
        size_t n = 0;

        for (const char *at = s; *at; at++) {
                bool plain = is_allowed(*at) && !(at == s && *at == '.');
                size_t len = plain || *at == '/' ? 1 : 4;

                if (n + len >= size)
                        return false;
                if (plain)
                        buf[n] = *at;
                else if (*at == '/')
                        buf[n] = '-';
                else {
                        char hex[5];

                        snprintf(hex, sizeof(hex), "\\x%02x", (unsigned char)*at);
                        memcpy(buf + n, hex, 4);
                }
                n += len;
                buf[n] = '\0';
        }
        return true;
}

static uint64_t hash(const char *s)
{
        uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a, 64 bit */

        for (; *s; s++)
                h = (h ^ (uint8_t)*s) * UINT64_C(1099511628211);
        return h;
}

static void name(const char *prefix, const char *group, const char *suffix, char *ret)
{
        char escaped[ESCAPED_MAX + 1] = "", tail[20] = "";

        if (!escape(group, escaped, sizeof(escaped)))
                snprintf(tail, sizeof(tail), "-%016" PRIx64, hash(group));
        snprintf(ret, MOVE_NAME_MAX, "%s%s%s%s", prefix, escaped, tail, suffix);
}

void move_scope_name(const char *group, char ret[static MOVE_NAME_MAX])
{
        name("capd-", group, ".scope", ret);
}

void move_cgroup_name(const char *group, char ret[static MOVE_NAME_MAX])
{
        name("group-", group, "", ret);
}

static bool has_suffix(const char *s, size_t len, const char *suffix)
{
        size_t n = strlen(suffix);

        return len > n && memcmp(s + len - n, suffix, n) == 0;
}

bool move_system_unit(const char *cgroup, char *unit, size_t unit_size, char *unit_cgroup, size_t cgroup_size)
{
        const char *part = NULL, *at = cgroup;
        size_t len = 0;

        while (*at == '/') {
                const char *begin = at + 1;
                size_t n = strcspn(begin, "/");
                bool slice = has_suffix(begin, n, ".slice");
                /* nothing but slices is above a service or a scope */
                bool leaf = has_suffix(begin, n, ".service") || has_suffix(begin, n, ".scope") ||
                            has_suffix(begin, n, ".socket") || has_suffix(begin, n, ".mount") ||
                            has_suffix(begin, n, ".swap");

                if (!slice && !leaf)
                        break;
                part = begin;
                len = n;
                at = begin + n;
                if (leaf)
                        break;
        }
        if (!part || (size_t)(part + len - cgroup) >= cgroup_size)
                return false;
        memcpy(unit_cgroup, cgroup, (size_t)(part + len - cgroup));
        unit_cgroup[part + len - cgroup] = '\0';
        if (*part == '_') { /* systemd puts it before names that the kernel would take for files of its own */
                part++;
                len--;
        }
        if (len == 0 || len >= unit_size)
                return false;
        memcpy(unit, part, len);
        unit[len] = '\0';
        return true;
}
