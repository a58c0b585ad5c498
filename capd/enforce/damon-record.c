/* SPDX-License-Identifier: MIT */
/*
 * The record proves whose a kdamond is. It is written before one is made, and holds its inode number from right after on:
 * numbers in sysfs are given to one directory each until the host is booted again (fs/kernfs/dir.c, __kernfs_new_node():
 * counted upwards, with a generation above). So whoever makes a kdamond/0 later makes another one.
 *
 * A record without the number is of a capd that ended in between. Then a kdamond is taken for capd's only if nobody has
 * written anything to it: it is not running and has no context. Removing that takes nothing from anybody.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "capd/enforce/damon.h"
#include "capd/limits.h"
#include "damon-record.h"
#include "damon-sysfs.h"

#define RECORD_NEW    DAMON_RECORD ".new"
#define BOOT_ID       "proc/sys/kernel/random/boot_id"
#define BOOT_ID_BYTES 37U /* with the NUL */
/* DAMON gives EBUSY also while somebody reads or writes anything in it. */
#define BUSY_TRIES 50U
#define BUSY_USEC  (2 * USEC_PER_MSEC)

struct record {
        char boot[BOOT_ID_BYTES];
        uint64_t inode; /* 0: not known yet */
};

static int read_boot(const struct sys *sys, char ret[static BOOT_ID_BYTES])
{
        char text[64];
        ssize_t n = sys_read_file_at(sys, sys->root_fd, BOOT_ID, text, sizeof(text));

        if (n < 0)
                return (int)n;
        if (n < (ssize_t)BOOT_ID_BYTES - 1)
                return -EIO;
        memcpy(ret, text, BOOT_ID_BYTES - 1);
        ret[BOOT_ID_BYTES - 1] = '\0';
        return 0;
}

/* 1, 0 there is none, or a negative errno. */
static int record_read(const struct sys *sys, int runtime_fd, struct record *ret)
{
        char text[128];
        ssize_t n = sys_read_file_at(sys, runtime_fd, DAMON_RECORD, text, sizeof(text));

        if (n == -ENOENT)
                return 0;
        if (n < 0)
                return (int)n;
        *ret = (struct record){};
        /* one that says nothing proves nothing, and is of no boot */
        if (sscanf(text, "%36s %" SCNu64, ret->boot, &ret->inode) < 2)
                *ret = (struct record){};
        return 1;
}

/* The record is never half written, nor missing while another takes its place. */
static int record_write(const struct sys *sys, int runtime_fd, const struct record *record)
{
        _cleanup_close_ int fd = -1;
        char text[128];
        ssize_t n;
        int r;

        r = sys->ops->unlinkat(sys, runtime_fd, RECORD_NEW, 0);
        if (r < 0 && r != -ENOENT)
                return r;
        fd = sys->ops->createat(sys, runtime_fd, RECORD_NEW, 0600);
        if (fd < 0)
                return fd;
        snprintf(text, sizeof(text), "%s %" PRIu64 "\n", record->boot, record->inode);
        do
                n = sys->ops->write(sys, fd, text, strlen(text));
        while (n == -EINTR);
        if (n >= 0 && (size_t)n < strlen(text))
                n = -EIO;
        r = n < 0 ? (int)n : sys->ops->renameat(sys, runtime_fd, RECORD_NEW, DAMON_RECORD);
        if (r < 0)
                sys->ops->unlinkat(sys, runtime_fd, RECORD_NEW, 0);
        return r;
}

static int record_remove(const struct sys *sys, int runtime_fd)
{
        int r = sys->ops->unlinkat(sys, runtime_fd, DAMON_RECORD, 0);

        return r == -ENOENT ? 0 : r;
}

static int read_number(const struct sys *sys, int dirfd, const char *path, uint64_t *ret)
{
        char text[64];
        ssize_t n = sys_read_file_at(sys, dirfd, path, text, sizeof(text));

        if (n < 0)
                return (int)n;
        return sscanf(text, "%" SCNu64, ret) == 1 ? 0 : -EIO;
}

static int set_kdamonds(const struct sys *sys, const char *number)
{
        int r = -EBUSY;

        for (unsigned i = 0; i < BUSY_TRIES && r == -EBUSY; i++) {
                if (i > 0)
                        sys->ops->sleep(sys, BUSY_USEC);
                r = sys_write_file_at(sys, sys->root_fd, DAMON_ADMIN "/nr_kdamonds", number);
        }
        return r;
}

/* Ends a kdamond that is capd's, and removes it. 0 or a negative errno. */
static int remove_kdamond(const struct sys *sys)
{
        _cleanup_close_ int fd = sys->ops->openat(sys, sys->root_fd, DAMON_ADMIN "/0", O_PATH | O_DIRECTORY);
        int r;

        if (fd < 0)
                return fd;
        r = dsysfs_wait_asleep(sys, fd, LIMIT_DAMON_START_USEC);
        if (r == 0) {
                _cleanup_close_ int state_fd = sys->ops->openat(sys, fd, "state", O_WRONLY);

                r = state_fd < 0 ? state_fd : dsysfs_command(sys, state_fd, "off");
        }
        /* not there, or gone at the last moment (EINVAL, EPERM); if it runs after all, the next says so */
        if (r < 0 && r != -ESRCH && r != -EINVAL && r != -EPERM)
                return r;
        return set_kdamonds(sys, "0");
}

/* Whether the one kdamond that is there is the one that the record is of: 1, 0, or a negative errno. */
static int is_ours(const struct sys *sys, const struct record *record)
{
        uint64_t contexts;
        struct stat st;
        char state[16];
        ssize_t n;
        int r;

        if (record->inode != 0) {
                r = sys->ops->fstatat(sys, sys->root_fd, DAMON_ADMIN "/0", &st, 0);
                return r < 0 ? r : st.st_ino == record->inode;
        }
        n = sys_read_file_at(sys, sys->root_fd, DAMON_ADMIN "/0/state", state, sizeof(state));
        if (n < 0)
                return (int)n;
        r = read_number(sys, sys->root_fd, DAMON_ADMIN "/0/contexts/nr_contexts", &contexts);
        if (r < 0)
                return r;
        return strncmp(state, "off", 3) == 0 && contexts == 0;
}

int damon_recover(const struct sys *sys, int runtime_fd)
{
        char boot[BOOT_ID_BYTES];
        struct record record;
        uint64_t kdamonds = 0;
        int r, removed = 0;

        r = record_read(sys, runtime_fd, &record);
        if (r <= 0)
                return r;
        r = read_boot(sys, boot);
        if (r < 0)
                return r;
        if (strcmp(boot, record.boot) == 0) {
                r = read_number(sys, sys->root_fd, DAMON_ADMIN "/nr_kdamonds", &kdamonds);
                if (r < 0)
                        return r;
        }
        if (kdamonds == 1) {
                r = is_ours(sys, &record);
                if (r > 0) {
                        r = remove_kdamond(sys);
                        removed = 1;
                }
                if (r < 0)
                        return r;
        }
        r = record_remove(sys, runtime_fd);
        return r < 0 ? r : removed;
}

int record_make(const struct sys *sys, int runtime_fd, int *ret_fd)
{
        _cleanup_close_ int fd = -1;
        struct record record = {};
        uint64_t kdamonds;
        struct stat st;
        int r;

        r = read_number(sys, sys->root_fd, DAMON_ADMIN "/nr_kdamonds", &kdamonds);
        if (r < 0)
                return r;
        if (kdamonds != 0)
                return -EBUSY;
        r = read_boot(sys, record.boot);
        if (r == 0)
                r = record_write(sys, runtime_fd, &record);
        if (r == 0)
                r = set_kdamonds(sys, "1");
        if (r < 0) {
                int q = record_remove(sys, runtime_fd);

                return q < 0 ? q : r;
        }
        fd = sys->ops->openat(sys, sys->root_fd, DAMON_ADMIN "/0", O_PATH | O_DIRECTORY);
        r = fd < 0 ? fd : sys->ops->fstat(sys, fd, &st);
        if (r == 0) {
                record.inode = st.st_ino;
                r = record_write(sys, runtime_fd, &record);
        }
        if (r < 0) {
                int q = damon_recover(sys, runtime_fd);

                return q < 0 ? q : r;
        }
        *ret_fd = TAKE_FD(fd);
        return 0;
}
