/* SPDX-License-Identifier: MIT */
/* frame-words.c: the files below /proc that hold a 64 bit word for each page frame. */
#include <errno.h>
#include <string.h>

#include "capd/measure/frame-words.h"

/* Bytes read, fewer than asked for only at the end of the file. The kernel gives whole words (fs/proc/page.c). */
static ssize_t read_some(const struct sys *sys, int fd, uint64_t frame, size_t size, uint64_t *ret)
{
        size_t done = 0;

        while (done < size) {
                ssize_t r = sys->ops->pread(sys, fd, (char *)ret + done, size - done, frame * sizeof(uint64_t) + done);

                if (r == -EINTR)
                        continue;
                if (r < 0)
                        return r;
                if (r % (ssize_t)sizeof(uint64_t) != 0)
                        return -EIO;
                if (r == 0)
                        break;
                done += (size_t)r;
        }
        return (ssize_t)done;
}

int frame_words_read(const struct sys *sys, int fd, uint64_t frame, size_t n, uint64_t *ret)
{
        size_t size = n * sizeof(uint64_t);
        ssize_t r = read_some(sys, fd, frame, size, ret);

        if (r < 0)
                return (int)r;
        memset((char *)ret + r, 0, size - (size_t)r);
        return 0;
}

int frame_words_read_all(const struct sys *sys, int fd, uint64_t frame, size_t n, uint64_t *ret)
{
        ssize_t r = read_some(sys, fd, frame, n * sizeof(uint64_t), ret);

        if (r < 0)
                return (int)r;
        return (size_t)r < n * sizeof(uint64_t) ? -EIO : 0;
}
