/* SPDX-License-Identifier: MIT */
/*
 * snapshot.c: what the engine published, copied, checked and made fit to show.
 *
 * A private copy is taken, so that nothing can change under a reply that is being written. After the check every text ends and
 * is valid UTF-8 (sd-bus refuses a whole reply otherwise), every enum has a name, and a figure that is not known is
 * SIZE_UNKNOWN, so that those who show it need no second look.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "capd/base/text.h"
#include "internal.h"

void snapshot_done(struct snapshot *s)
{
        free(s->groups);
        free(s->by_name);
        *s = (struct snapshot){0};
}

int read_exactly(int fd, void *buf, size_t size, uint64_t offset)
{
        for (size_t done = 0; done < size;) {
                ssize_t n = pread(fd, (char *)buf + done, size - done, (off_t)(offset + done));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        return -ENODATA;
                done += (size_t)n;
        }
        return 0;
}

/* The engine escapes all text; should it ever fail to, one name must not take the whole answer away. */
static bool clean_text(char *text, size_t size)
{
        size_t len = strnlen(text, size);

        if (len == size)
                return false;
        if (!text_is_utf8(text, len)) {
                char copy[4096];

                text_escape(copy, MIN(size, sizeof(copy)), text, len);
                text_copy(text, size, copy);
        }
        return true;
}

#define CLEAN_TEXT(field) clean_text(field, sizeof(field))

static void forget_counted(struct group_sample *s)
{
        s->anon = s->file = s->shmem = s->mapped = s->exclusive = s->exclusive_anon = SIZE_UNKNOWN;
        s->swap = s->hugetlb = SIZE_UNKNOWN;
        s->have_private = false;
}

/* Where nothing is owned, nothing is known either. */
static void clean_cgroups(struct group_cgroups *c)
{
        if (c->at == 0)
                c->owned = 0;
        if (c->owned == 0)
                c->current = c->swap = c->anon = c->file = c->shmem = c->kernel = c->file_mapped = c->unmapped_cache =
                                c->swap_cache = c->sockets = SIZE_UNKNOWN;
}

int snapshot_clean_group(struct wire_group *g)
{
        struct group_sample *s = &g->sample;

        if (!CLEAN_TEXT(g->name) || !CLEAN_TEXT(g->description) || !CLEAN_TEXT(g->reason) || !CLEAN_TEXT(g->action) ||
            !CLEAN_TEXT(g->strategy) || !CLEAN_TEXT(g->strategy_reason) || g->name[0] == '\0' ||
            g->state >= _STATE_MAX || (unsigned)s->quality >= _QUALITY_MAX)
                return -EBADMSG;
        clean_cgroups(&g->cgroups);
        if (!g->has_cap)
                g->cap = g->configured_cap = g->low_watermark = SIZE_UNKNOWN;
        if (g->configured_cap == 0) /* the cap is a temporary one of a group without */
                g->configured_cap = SIZE_UNKNOWN;
        if (s->counted_at == 0)
                forget_counted(s);
        if (s->quality == QUALITY_UNKNOWN)
                s->resident = SIZE_UNKNOWN;
        /* a bound took the place of the count that these were a partition of */
        if (s->anon + s->file + s->shmem != s->resident)
                s->anon = s->file = s->shmem = s->mapped = s->exclusive = s->exclusive_anon = SIZE_UNKNOWN;
        if (s->bounds_at == 0 && s->counted_at == 0)
                s->rss_sum = s->upper = s->vm_sum = SIZE_UNKNOWN;
        if (!s->have_private) {
                s->private_bytes = s->shared_bytes = SIZE_UNKNOWN;
                s->pss_sum = s->inside = s->inside_swap = SIZE_UNKNOWN;
        }
        if (g->acts == 0 || g->last_act.started == 0)
                g->resident_before = g->resident_after = SIZE_UNKNOWN;
        return 0;
}

int snapshot_clean_process(struct wire_process *p)
{
        return CLEAN_TEXT(p->comm) && CLEAN_TEXT(p->command) ? 0 : -EBADMSG;
}

int snapshot_clean_books(struct wire_books *b)
{
        if (b->n_charges > LIMIT_SHOWN_CHARGES || !CLEAN_TEXT(b->own) || !CLEAN_TEXT(b->note))
                return -EBADMSG;
        for (uint32_t i = 0; i < b->n_charges; i++)
                if (!CLEAN_TEXT(b->charges[i].path))
                        return -EBADMSG;
        return 0;
}

static int check_header(struct wire_snapshot *h, uint64_t size, const char **ret_why)
{
        if (h->magic != WIRE_MAGIC || h->version != WIRE_VERSION)
                *ret_why = "wrong magic or version";
        else if (h->size != sizeof(*h) || h->group_size != sizeof(struct wire_group))
                *ret_why = "wrong struct sizes";
        else if (h->n_groups > LIMIT_GROUPS)
                *ret_why = "too many groups";
        else if (size != sizeof(*h) + (uint64_t)h->n_groups * sizeof(struct wire_group))
                *ret_why = "its length does not fit the number of groups";
        else if (!CLEAN_TEXT(h->config_error) || !CLEAN_TEXT(h->warnings) || !CLEAN_TEXT(h->features) ||
                 !CLEAN_TEXT(h->version_text))
                *ret_why = "unterminated text";
        else
                return 0;
        return -EBADMSG;
}

static int compare_names(const void *a, const void *b, void *userdata)
{
        const struct wire_group *groups = userdata;
        uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;

        return strcmp(groups[i].name, groups[j].name);
}

static int read_groups(int fd, struct snapshot *s, const char **ret_why)
{
        size_t n = s->header.n_groups;
        int r;

        s->groups = calloc(MAX(n, 1U), sizeof(*s->groups));
        s->by_name = calloc(MAX(n, 1U), sizeof(*s->by_name));
        if (!s->groups || !s->by_name) {
                *ret_why = "no memory";
                return -ENOMEM;
        }
        r = read_exactly(fd, s->groups, n * sizeof(*s->groups), sizeof(s->header));
        if (r < 0) {
                *ret_why = "it cannot be read";
                return r;
        }
        for (size_t i = 0; i < n; i++) {
                r = snapshot_clean_group(&s->groups[i]);
                if (r < 0) {
                        *ret_why = "a group that is none";
                        return r;
                }
                s->by_name[i] = (uint32_t)i;
        }
        qsort_r(s->by_name, n, sizeof(*s->by_name), compare_names, s->groups);
        for (size_t i = 1; i < n; i++)
                if (compare_names(&s->by_name[i - 1], &s->by_name[i], s->groups) == 0) {
                        *ret_why = "two groups of one name";
                        return -EBADMSG;
                }
        return 0;
}

int snapshot_read(int fd, uint64_t size, struct snapshot *ret, const char **ret_why)
{
        _cleanup_(snapshot_done) struct snapshot s = {0};
        int r;

        *ret_why = "it cannot be read";
        r = size < sizeof(s.header) ? -EBADMSG : read_exactly(fd, &s.header, sizeof(s.header), 0);
        if (r < 0)
                return r;
        r = check_header(&s.header, size, ret_why);
        if (r < 0)
                return r;
        r = read_groups(fd, &s, ret_why);
        if (r < 0)
                return r;
        snapshot_done(ret);
        *ret = s;
        s = (struct snapshot){0};
        return 0;
}

struct wire_group *snapshot_find(const struct snapshot *s, const char *name)
{
        size_t low = 0, high = s->groups ? s->header.n_groups : 0;

        while (low < high) {
                size_t middle = (low + high) / 2;
                struct wire_group *g = &s->groups[s->by_name[middle]];
                int c = strcmp(name, g->name);

                if (c == 0)
                        return g;
                if (c < 0)
                        high = middle;
                else
                        low = middle + 1;
        }
        return NULL;
}
