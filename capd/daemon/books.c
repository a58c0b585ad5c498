/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "books.h"
#include "capd/base/text.h"

static void note(struct wire_books *b, const char *format, ...) _printf_(2, 3);
static void note(struct wire_books *b, const char *format, ...)
{
        size_t n = strlen(b->note);
        va_list ap;

        if (n > 0)
                n += (size_t)snprintf(b->note + n, sizeof(b->note) - n, "; ");
        if (n >= sizeof(b->note))
                return;
        va_start(ap, format);
        vsnprintf(b->note + n, sizeof(b->note) - n, format, ap);
        va_end(ap);
}

/* "/a/b" is at or below "/a". */
static bool is_below(const char *path, const char *top)
{
        size_t len = strlen(top);

        return strncmp(path, top, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

static bool is_owned(const struct owned_cgroups *owned, const char *path)
{
        for (size_t i = 0; path && i < owned->n; i++)
                if (is_below(path, owned->items[i].path))
                        return true;
        return false;
}

/* A path may be longer than there is room for: its beginning and its end say most. */
static void show_path(char *buf, size_t size, const char *path)
{
        _cleanup_free_ char *escaped = malloc(LIMIT_CGROUP_BYTES * 4);
        size_t n, head;

        buf[0] = '\0';
        if (!escaped)
                return;
        text_escape(escaped, LIMIT_CGROUP_BYTES * 4, path, strlen(path));
        n = strlen(escaped);
        if (n < size) {
                memcpy(buf, escaped, n + 1);
                return;
        }
        /* escapes are ASCII and cgroup names nearly always: what is cut out of a character is made safe again by the front */
        head = size / 3;
        snprintf(buf, size, "%.*s...%s", (int)head, escaped, escaped + n - (size - head - 4));
}

static void take_charges(const struct charges *c, const struct owned_cgroups *owned, struct wire_books *ret)
{
        ret->here = ret->elsewhere = ret->more = 0;
        ret->nowhere = c->none;
        for (size_t i = 0; i < c->n; i++) {
                const struct charge *x = &c->items[i];

                if (is_owned(owned, x->path)) {
                        ret->here += x->bytes;
                        continue;
                }
                ret->elsewhere += x->bytes;
                if (ret->n_charges < LIMIT_SHOWN_CHARGES) {
                        struct wire_charge *w = &ret->charges[ret->n_charges++];

                        w->bytes = x->bytes;
                        if (x->path)
                                show_path(w->path, sizeof(w->path), x->path);
                } else {
                        ret->more += x->bytes;
                        ret->n_more++;
                }
        }
        ret->elsewhere += c->others;
        ret->more += c->others;
        ret->n_more += c->others > 0;
}

static void take_owned(const struct cgroup2 *hierarchy, const struct owned_cgroups *owned, usec_t now,
                       struct group_cgroups *ret_cgroups, struct wire_books *ret)
{
        const struct owned_cgroup *most = NULL;
        int r;

        for (size_t i = 0; i < owned->n; i++)
                if (!most || owned->items[i].members > most->members)
                        most = &owned->items[i];
        if (!most) {
                note(ret, "no cgroup is the group's alone, so that there is no memory.current to compare with");
                return;
        }
        show_path(ret->own, sizeof(ret->own), most->path);
        r = cgroups_read(hierarchy, owned, now, ret_cgroups);
        if (r < 0)
                note(ret, "memory.current and memory.stat cannot be read: %s", strerror(-r));
        else if (owned->cut)
                note(ret, "there are more cgroups than capd looks into; some that are the group's may be missing");
}

static const char *why_no_hierarchy(int error)
{
        return error == -EOPNOTSUPP || error == -ENOENT ? "the memory controller is not in a cgroup v2 hierarchy here, "
                                                          "so that cgroups have no names and "
                                                          "no figures"
                                                        : "the cgroup v2 hierarchy cannot be opened";
}

int books_read(const struct sys *sys, const struct count *count, uint32_t group, struct guard *guard,
               const struct owned_cgroups *owned, struct group_cgroups *ret_cgroups, struct wire_books *ret_books)
{
        _cleanup_(charges_done) struct charges charges = {};
        _cleanup_(cgroup2_close) struct cgroup2 hierarchy = CGROUP2_CLOSED;
        struct wire_books b = {.here = SIZE_UNKNOWN, .elsewhere = SIZE_UNKNOWN, .nowhere = SIZE_UNKNOWN};
        struct group_cgroups cgroups = {};
        int r, found;

        r = charges_read(count, group, guard, &charges);
        if (r < 0)
                return r;
        found = cgroup2_open(sys, &hierarchy);
        if (found < 0)
                note(&b, "%s", why_no_hierarchy(found));
        else {
                /* at once: it changes while names are looked for */
                take_owned(&hierarchy, owned, sys->ops->now(sys), &cgroups, &b);
                r = charges_find_paths(&charges, &hierarchy, guard);
                if (r == -ECANCELED)
                        return r;
        }
        if (charges.error < 0)
                note(&b, "whom the kernel charges for the pages is not known: %s",
                     charges.error == -ENOENT ? "it has no /proc/kpagecgroup (CONFIG_MEMCG)"
                                              : strerror(-charges.error));
        else if (found >= 0)
                take_charges(&charges, owned, &b);
        *ret_cgroups = cgroups;
        *ret_books = b;
        return 0;
}
