/* SPDX-License-Identifier: MIT */
/*
 * explain-cgroups.c: the kernel's books of a group: which cgroups are charged for its pages, what else is charged to its own, and
 * why memory.current and capd's figure differ. Pure: a struct in, text out.
 *
 * The first sum holds to the byte, being made from one look at each frame. In the second every line but the last is measured, by
 * the frames or by the kernel's counters; the last is what is left, as these were read one after the other and the kernel charges
 * in batches of 64 pages a CPU (MEMCG_CHARGE_BATCH in include/linux/memcontrol.h).
 */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "capd/base/size.h"
#include "ctl.h"

/* What memory.current is made of. */
struct account {
        uint64_t here;       /* resident pages of the group */
        uint64_t others;     /* pages mapped by somebody, but not by the group */
        uint64_t cache;      /* page cache that nobody maps, tmpfs and shared memory included */
        uint64_t swap_cache; /* 0 where not known */
        uint64_t kernel;     /* 0 where not known */
        uint64_t sockets;    /* 0 where not known */
        uint64_t rest_over;  /* memory.current is larger than their sum by this */
        uint64_t rest_under; /* or smaller */
};

static bool books_known(const struct wire_detail *d)
{
        const struct wire_books *b = &d->books;

        return b->here != SIZE_UNKNOWN && b->elsewhere != SIZE_UNKNOWN && b->nowhere != SIZE_UNKNOWN &&
               b->here + b->elsewhere + b->nowhere == d->group.sample.resident;
}

static uint64_t known(uint64_t bytes)
{
        return bytes == SIZE_UNKNOWN ? 0 : bytes;
}

static bool account_make(const struct wire_detail *d, struct account *ret)
{
        const struct group_cgroups *c = &d->group.cgroups;
        struct account a = {.here = d->books.here};
        uint64_t sum;

        if (!books_known(d) || c->owned == 0 || c->current == SIZE_UNKNOWN || c->anon == SIZE_UNKNOWN ||
            c->file == SIZE_UNKNOWN || c->file_mapped == SIZE_UNKNOWN)
                return false;
        if (c->anon + c->file_mapped > a.here)
                a.others = c->anon + c->file_mapped - a.here;
        if (c->file > c->file_mapped)
                a.cache = c->file - c->file_mapped;
        a.swap_cache = known(c->swap_cache);
        a.kernel = known(c->kernel);
        a.sockets = known(c->sockets);
        sum = a.here + a.others + a.cache + a.swap_cache + a.kernel + a.sockets;
        if (c->current >= sum)
                a.rest_over = c->current - sum;
        else
                a.rest_under = sum - c->current;
        *ret = a;
        return true;
}

static const char *own_label(char buf[static LIMIT_SHOWN_CGROUP_BYTES + 64], const struct wire_detail *d)
{
        if (d->group.cgroups.owned > 1)
                snprintf(buf, LIMIT_SHOWN_CGROUP_BYTES + 64, "its %" PRIu32 " own cgroups, among them %s",
                         d->group.cgroups.owned, d->books.own);
        else
                snprintf(buf, LIMIT_SHOWN_CGROUP_BYTES + 64, "its own cgroup %s", d->books.own);
        return buf;
}

/* Whom the kernel charges for the resident pages. */
static void who_is_charged(FILE *f, const struct wire_detail *d)
{
        const struct wire_books *b = &d->books;
        char label[LIMIT_SHOWN_CGROUP_BYTES + 64], sign = ' ';

        fputs("\n   charged for its resident pages:\n", f);
        if (d->group.cgroups.owned > 0) {
                explain_term(f, sign, b->here, own_label(label, d));
                sign = '+';
        }
        for (uint32_t i = 0; i < b->n_charges; i++) {
                explain_term(f, sign, b->charges[i].bytes,
                             b->charges[i].path[0] ? b->charges[i].path : "a cgroup that has no name here");
                sign = '+';
        }
        if (b->more > 0) {
                snprintf(label, sizeof(label), "%" PRIu32 " more cgroup%s", b->n_more, b->n_more == 1 ? "" : "s");
                explain_term(f, sign, b->more, label);
                sign = '+';
        }
        if (b->nowhere > 0 || sign == ' ')
                explain_term(f, sign, b->nowhere, "no cgroup");
        explain_term(f, '=', d->group.sample.resident, "resident");
}

static void if_any(FILE *f, uint64_t bytes, const char *label)
{
        if (bytes > 0)
                explain_term(f, '+', bytes, label);
}

static void what_is_charged(FILE *f, const struct wire_detail *d, const struct account *a)
{
        char label[LIMIT_SHOWN_CGROUP_BYTES + 64], text[LIMIT_SHOWN_CGROUP_BYTES + 128];

        snprintf(text, sizeof(text), "resident pages charged to %s", own_label(label, d));
        fputc('\n', f);
        explain_term(f, ' ', a->here, text);
        explain_term(f, '+', a->others, "mapped, but not by the group");
        explain_term(f, '+', a->cache, "page cache that nobody maps");
        if_any(f, a->swap_cache, "swap cache that nobody maps: written to swap, the host's to take");
        explain_term(f, '+', a->kernel, "kernel memory: page tables, stacks, slab");
        if_any(f, a->sockets, "network buffers");
        explain_term(f, a->rest_under ? '-' : '+', a->rest_under + a->rest_over,
                     "the rest: charged in advance for each CPU, changed between two counters");
        explain_term(f, '=', d->group.cgroups.current, "cgroup_current: memory.current");
}

/* -- in words -- */

struct reasons {
        FILE *f;
        uint64_t floor; /* less does not matter */
        bool any;
};

static void reason(struct reasons *r, uint64_t bytes, const char *format, ...) _printf_(3, 4);
static void reason(struct reasons *r, uint64_t bytes, const char *format, ...)
{
        char size[SIZE_TEXT_MAX];
        va_list ap;

        if (bytes < r->floor || bytes == 0)
                return;
        fprintf(r->f, "%s%6s ", r->any ? "" : "They differ because\n", format_size(size, bytes));
        va_start(ap, format);
        vfprintf(r->f, format, ap);
        va_end(ap);
        fputc('\n', r->f);
        r->any = true;
}

static void why_they_differ(FILE *f, const struct wire_detail *d, const struct account *a)
{
        const struct wire_books *b = &d->books;
        uint64_t current = d->group.cgroups.current, resident = d->group.sample.resident;
        struct reasons r = {.f = f, .floor = MIB};
        char x[SIZE_TEXT_MAX], y[SIZE_TEXT_MAX];

        r.floor = MAX(r.floor, current / 100);
        r.floor = MAX(r.floor, resident / 100);
        fprintf(f, "\nmemory.current says %s, capd %s. ", format_size(x, current), format_size(y, resident));
        reason(&r, a->cache,
               "of page cache is charged there which no process maps: it is in no RSS,\n"
               "       and the kernel takes it before anything else;");
        reason(&r, a->swap_cache, "was paged out and is kept until the host needs the room;");
        reason(&r, a->kernel, "of kernel memory is charged there;");
        reason(&r, a->sockets, "of network buffers is charged there;");
        reason(&r, a->others, "is charged there and mapped by processes outside of the group alone;");
        if (b->n_charges > 0)
                reason(&r, b->elsewhere, "of what the group maps is charged to others, which touched it first%s%s;",
                       b->charges[0].path[0] ? ",\n       most of it to " : "", b->charges[0].path);
        reason(&r, b->nowhere, "of what the group maps is charged to no cgroup;");
        if (!r.any)
                fputs("They agree.\n", f);
        else
                fprintf(f, "and what the group maps and is charged for, %s, is in both.\n", format_size(x, a->here));
}

void explain_cgroups(FILE *f, const struct wire_detail *d)
{
        struct account a;

        if (books_known(d))
                who_is_charged(f, d);
        if (account_make(d, &a)) {
                what_is_charged(f, d, &a);
                why_they_differ(f, d, &a);
        }
        if (d->books.note[0])
                fprintf(f, "\ncgroups: %s.\n", d->books.note);
}
