/* SPDX-License-Identifier: MIT */
/*
 * store.c: what the front makes of the snapshots and wants to be kept in files.
 *
 * The front has no right to write anywhere. It hands the engine a sealed memfd with what a file has to hold; the engine knows
 * which file that is, and replaces it. Nothing is answered: what was not written is written with the next one.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capd/base/log.h"
#include "capd/base/sys.h"
#include "internal.h"

/* Between two looks no gap is seen: ticks come late where the host is drowned in work. */
#define PATIENCE_TICKS 3U
#define PATIENCE_USEC  (60 * USEC_PER_SEC)

static int make_body(const void *data, size_t size)
{
        _cleanup_close_ int fd = memfd_create("capd-store", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        if (fd < 0)
                return -errno;
        for (size_t done = 0; done < size;) {
                ssize_t n = write(fd, (const char *)data + done, size - done);

                if (n < 0)
                        return -errno;
                done += (size_t)n;
        }
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
                return -errno;
        return TAKE_FD(fd);
}

static int hand_over(struct front *f, enum wire_verb verb, const void *data, size_t size)
{
        struct wire_command c = {.magic = WIRE_MAGIC, .version = WIRE_VERSION, .verb = verb, .bytes = size};
        struct iovec iov = {.iov_base = &c, .iov_len = sizeof(c)};
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {0};
        struct msghdr mh = {
                        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
        _cleanup_close_ int fd = make_body(data, size);

        if (fd < 0)
                return fd;
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
        return sendmsg(f->engine_fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof(c) ? 0 : -errno;
}

static void complain(struct front *f, const char *what, int r)
{
        if (r < 0 && front_may_log(f, LOG_STORE))
                log_warning("Cannot keep the %s: %s, ignoring until the next time", what, strerror(-r));
}

static void store_history(struct front *f)
{
        _cleanup_free_ void *data = NULL;
        size_t size;
        int r;

        if (!f->snapshot.header.store_history || f->history.n == 0)
                return;
        f->history_stored_at = front_now(f);
        r = history_write(&f->history, front_realtime(), &data, &size);
        if (r >= 0)
                r = hand_over(f, WIRE_STORE_HISTORY, data, size);
        complain(f, "history", r);
}

static void store_metrics(struct front *f)
{
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        f->metrics_stored_at = front_now(f);
        r = metrics_text(&f->snapshot, front_realtime(), false, &text, &size);
        if (r >= 0)
                r = hand_over(f, WIRE_STORE_METRICS, text, size);
        complain(f, "metrics", r);
}

static void remember(struct front *f)
{
        const struct wire_snapshot *s = &f->snapshot.header;
        bool crowded = f->history.crowded;
        int r;

        history_configure(&f->history, s->history_time, s->history_bytes);
        r = history_add(&f->history, f->snapshot.groups, f->snapshot.by_name, s->n_groups, (int64_t)s->published_at,
                        MAX(PATIENCE_USEC, PATIENCE_TICKS * f->longest_tick));
        complain(f, "history", r);
        if (f->history.crowded && !crowded)
                log_warning("HistorySize= is too small for %u groups: some have no history", s->n_groups);
}

void store_snapshot(struct front *f)
{
        usec_t now = front_now(f);

        remember(f);
        if (f->history_stored_at == 0)
                f->history_stored_at = now;
        if (now >= f->history_stored_at + LIMIT_HISTORY_STORE_USEC)
                store_history(f);
        if (f->snapshot.header.store_metrics &&
            (f->metrics_stored_at == 0 || now >= f->metrics_stored_at + LIMIT_METRICS_STORE_USEC))
                store_metrics(f);
}

void store_last(struct front *f)
{
        store_history(f);
}

void store_read(struct front *f, int fd)
{
        _cleanup_free_ void *data = NULL;
        const char *why = "it cannot be read";
        struct stat st;
        int r = 0;

        if (fstat(fd, &st) < 0)
                r = -errno;
        else if (st.st_size < 0 || st.st_size > (off_t)LIMIT_HISTORY_BYTES) {
                why = "it is too large";
                r = -EFBIG;
        }
        if (r >= 0) {
                data = malloc(MAX((size_t)st.st_size, 1U));
                r = data ? read_exactly(fd, data, (size_t)st.st_size, 0) : -ENOMEM;
        }
        if (r >= 0 && f->history.n == 0)
                r = history_read(&f->history, data, (size_t)st.st_size, (int64_t)front_now(f), front_realtime(), &why);
        if (r < 0)
                log_warning("Cannot use the history that was kept (%s), beginning anew: %s", why, strerror(-r));
}
