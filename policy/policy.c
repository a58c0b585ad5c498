/* SPDX-License-Identifier: MIT */
/* policy.c: the life of a loaded policy, and what is asked of it. */
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
