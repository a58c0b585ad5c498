/* SPDX-License-Identifier: MIT */
/* policy.c: the life of a loaded policy, and what is asked of it. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "capd/limits.h"
#include "keys.h"
#include "selectors.h"

static void clear_object(const char *section, void *object)
{
        for (size_t i = 0; i < n_keys; i++)
                if (strcmp(policy_keys[i].section, section) == 0 && keys[i].type->clear)
                        keys[i].type->clear(&keys[i], object);
}

struct policy *policy_free(struct policy *p)
{
        struct origins *o;

        if (!p)
                return NULL;
        clear_object("Daemon", &p->daemon);
        for (size_t i = 0; i < p->n_sections; i++) {
                clear_object("Group", &p->sections[i]);
                selectors_free(p->sections[i].selectors);
                free(p->sections[i].name);
        }
        free(p->sections);
        for (size_t i = 0; i < p->n_pid_files; i++)
                free(p->pid_files[i]);
        free(p->pid_files);
        o = p->origins;
        for (size_t i = 0; o && i < o->n_files; i++)
                free(o->files[i]);
        if (o) {
                free(o->files);
                free(o->sections);
        }
        free(o);
        free(p);
        return NULL;
}

uint64_t policy_cap(const struct policy_section *s, uint64_t total)
{
        uint64_t cap;

        if (!s->has_cap)
                return UINT64_MAX;
        if (s->cap_percent == 0)
                return s->cap_bytes;
        /* in two parts: total * 10000 may overflow */
        cap = total / 10000 * s->cap_percent + total % 10000 * s->cap_percent / 10000;
        return MAX(cap, LIMIT_CAP_MIN_BYTES);
}

static void note(char *buf, size_t size, const char *format, ...) _printf_(3, 4);

static void note(char *buf, size_t size, const char *format, ...)
{
        size_t n = strlen(buf);
        va_list ap;

        if (n + 2 > size)
                return;
        if (n > 0)
                buf[n++] = '\n';
        va_start(ap, format);
        vsnprintf(buf + n, size - n, format, ap);
        va_end(ap);
}

void policy_notes(const struct policy *p, char *buf, size_t size)
{
        buf[0] = '\0';
        if (p->daemon.metrics_file)
                note(buf, size, "MetricsFile= is not written in this version");
}
