/* SPDX-License-Identifier: MIT */
/* dump.c: the effective configuration, as a file that means the same. */
#include <errno.h>
#include <string.h>

#include "capd/base/text.h"
#include "keys.h"
#include "selectors.h"

/* Room for a file's name in a comment: with the longest word of a value before it, the line stays below
 * LIMIT_CONFIG_LINE_BYTES. */
#define ORIGIN_BYTES 128U

/* "FILE:LINE"; of a very long name the end, which tells most. */
static void print_origin(const struct policy_origin *o, FILE *f)
{
        char name[4 * ORIGIN_BYTES + 1];
        size_t len;

        if (!o->file) {
                fputs("default", f);
                return;
        }
        len = strlen(o->file);
        if (len > ORIGIN_BYTES)
                fputs("...", f);
        text_escape(name, sizeof(name), len > ORIGIN_BYTES ? o->file + len - ORIGIN_BYTES : o->file,
                    MIN(len, ORIGIN_BYTES));
        fprintf(f, "%s:%u", name, o->line);
}

static void print_keys(const char *section, const void *object, const struct policy_origin *origins, FILE *f)
{
        for (size_t i = 0; i < n_keys; i++) {
                if (strcmp(policy_keys[i].section, section) != 0)
                        continue;
                /* eleven empty selectors in every group would hide the one that is set */
                if (keys[i].type == &key_selector && !origins[i].file)
                        continue;
                fprintf(f, "%s=", policy_keys[i].name);
                keys[i].type->print(&keys[i], object, f);
                fputs(" # ", f);
                print_origin(&origins[i], f);
                fputc('\n', f);
        }
}

int policy_dump(const struct policy *p, FILE *f)
{
        const struct origins *o = p->origins;

        fputs("[Daemon]\n", f);
        print_keys("Daemon", &p->daemon, o->daemon, f);
        for (size_t i = 0; i < p->n_sections; i++) {
                fprintf(f, "\n[Group %s] # ", p->sections[i].name);
                print_origin(&p->sections[i].origin, f);
                fputc('\n', f);
                print_keys("Group", &p->sections[i], o->sections[i], f);
        }
        if (ferror(f))
                return -EIO;
        return fflush(f) == EOF ? -errno : 0;
}
