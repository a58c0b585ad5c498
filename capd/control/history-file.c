/* SPDX-License-Identifier: MIT */
/*
 * history-file.c: the history as a file, so that it outlives a restart.
 *
 *     header | for each ring: its name and how many points | its points     rings by name, points by time
 *
 * In the byte order of the host, and with times of CLOCK_REALTIME, as the monotonic clock begins anew at each boot. Nothing
 * in the file is believed: a checksum finds what a crash or a disk has spoilt, and every length, name and number is checked, as
 * a checksum proves no good will.
 */
#include <errno.h>
#include <string.h>

#include "capd/base/text.h"
#include "history.h"

#define FILE_MAGIC   0x747369686470616fULL
#define FILE_VERSION 1U
/* The clock may have been set back a little since it was written. */
#define FUTURE_USEC (60 * USEC_PER_SEC)

struct file_header {
        uint64_t magic;
        uint32_t version, point_size;
        uint32_t n_rings, unused;
        uint64_t size; /* of all that follows */
        uint64_t checksum;
};

struct file_ring {
        char name[LIMIT_GROUP_NAME_BYTES];
        int64_t seen_at;
        uint64_t n;
};

/* FNV-1a, by words of 8 bytes: all that is written has a multiple of that. */
static uint64_t checksum(const void *data, size_t size)
{
        uint64_t sum = 0xcbf29ce484222325ULL, word;

        for (const char *p = data, *end = p + size / 8 * 8; p < end; p += 8) {
                memcpy(&word, p, sizeof(word));
                sum = (sum ^ word) * 0x100000001b3ULL;
        }
        return sum;
}

static void move_points(struct history_point *points, size_t n, int64_t by)
{
        for (size_t i = 0; i < n; i++) {
                points[i].at += by;
                points[i].until += by;
        }
}

int history_write(const struct history *h, int64_t realtime, void **ret, size_t *ret_size)
{
        struct file_header header = {.magic = FILE_MAGIC,
                                     .version = FILE_VERSION,
                                     .point_size = sizeof(struct history_point),
                                     .n_rings = (uint32_t)h->n};
        char *data, *p;

        for (size_t i = 0; i < h->n; i++)
                header.size += sizeof(struct file_ring) + h->rings[i]->n * sizeof(struct history_point);
        data = malloc(sizeof(header) + header.size);
        if (!data)
                return -ENOMEM;
        p = data + sizeof(header);
        for (size_t i = 0; i < h->n; i++) {
                const struct history_ring *r = h->rings[i];
                struct file_ring ring = {.seen_at = r->seen_at + realtime, .n = r->n};

                text_copy(ring.name, sizeof(ring.name), r->name);
                p = mempcpy(p, &ring, sizeof(ring));
                if (r->n > 0)
                        memcpy(p, r->points, r->n * sizeof(*r->points));
                move_points((struct history_point *)p, r->n, realtime);
                p += r->n * sizeof(*r->points);
        }
        header.checksum = checksum(data + sizeof(header), header.size);
        memcpy(data, &header, sizeof(header));
        *ret = data;
        *ret_size = sizeof(header) + header.size;
        return 0;
}

static bool points_are_good(const struct history_point *points, size_t n, int64_t latest)
{
        int64_t last = 0;

        for (size_t i = 0; i < n; i++) {
                const struct history_point *p = &points[i];

                if (p->at < last || p->until < p->at || p->until > latest || p->state >= _STATE_MAX ||
                    p->quality >= _QUALITY_MAX)
                        return false;
                last = p->until;
        }
        return true;
}

static bool ring_is_good(const struct file_ring *ring, const char *last_name, int64_t latest)
{
        size_t len = strnlen(ring->name, sizeof(ring->name));

        return len > 0 && len < sizeof(ring->name) && text_is_utf8(ring->name, len) &&
               strcmp(last_name, ring->name) < 0 && ring->seen_at >= 0 && ring->seen_at <= latest;
}

/* One ring at *p, which goes on behind it. 1, or 0 if it is none; -ENOMEM. */
static int read_ring(struct history *h, const char **p, const char *end, const char *last_name, int64_t latest)
{
        struct history_ring *r;
        struct file_ring ring;

        if ((size_t)(end - *p) < sizeof(ring))
                return 0;
        memcpy(&ring, *p, sizeof(ring));
        *p += sizeof(ring);
        if (!ring_is_good(&ring, last_name, latest) || ring.n > (size_t)(end - *p) / sizeof(struct history_point))
                return 0;
        r = calloc(1, sizeof(*r));
        if (!r)
                return -ENOMEM;
        h->rings[h->n++] = r;
        text_copy(r->name, sizeof(r->name), ring.name);
        r->seen_at = ring.seen_at;
        if (ring.n == 0)
                return 1;
        r->points = calloc(ring.n, sizeof(*r->points));
        if (!r->points)
                return -ENOMEM;
        r->n = r->allocated = ring.n;
        memcpy(r->points, *p, ring.n * sizeof(*r->points));
        *p += ring.n * sizeof(*r->points);
        return points_are_good(r->points, r->n, latest);
}

static const char *check_header(const struct file_header *f, const char *data, size_t size)
{
        if (f->magic != FILE_MAGIC)
                return "it is no history";
        if (f->version != FILE_VERSION || f->point_size != sizeof(struct history_point))
                return "it is of another version";
        if (f->size != size - sizeof(*f) || f->size % 8 != 0)
                return "it is cut off";
        if (f->n_rings > LIMIT_HISTORY_RINGS)
                return "it has too many groups";
        if (checksum(data + sizeof(*f), f->size) != f->checksum)
                return "its checksum is wrong";
        return NULL;
}

static int read_rings(struct history *h, const struct file_header *f, const char *p, const char *end, int64_t latest)
{
        int r = 1;

        h->rings = calloc(MAX(f->n_rings, 1U), sizeof(struct history_ring *));
        if (!h->rings)
                return -ENOMEM;
        h->allocated = MAX(f->n_rings, 1U);
        for (uint32_t i = 0; r > 0 && i < f->n_rings; i++)
                r = read_ring(h, &p, end, i > 0 ? h->rings[i - 1]->name : "", latest);
        return r < 0 ? r : r == 0 || p != end ? -EBADMSG : 0;
}

int history_read(struct history *h, const void *data, size_t size, int64_t now, int64_t realtime, const char **ret_why)
{
        const char *end = (const char *)data + size;
        _cleanup_(history_done) struct history read = {.time = h->time, .bytes = h->bytes};
        struct file_header f;
        int r;

        *ret_why = "it is cut off";
        if (size < sizeof(f))
                return -EBADMSG;
        memcpy(&f, data, sizeof(f));
        *ret_why = check_header(&f, data, size);
        if (*ret_why)
                return -EBADMSG;
        r = read_rings(&read, &f, (const char *)data + sizeof(f), end, now + realtime + (int64_t)FUTURE_USEC);
        if (r < 0) {
                *ret_why = "what is in it makes no sense, or is from the future";
                return r;
        }
        for (size_t i = 0; i < read.n; i++) {
                struct history_ring *ring = read.rings[i];

                move_points(ring->points, ring->n, -realtime);
                ring->seen_at = MIN(ring->seen_at - realtime, now);
                while (ring->n > 0 && ring->points[ring->n - 1].until > now)
                        ring->n--;
        }
        *h = read;
        read = (struct history){0};
        return 0;
}
