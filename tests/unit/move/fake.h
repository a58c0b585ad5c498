/* SPDX-License-Identifier: MIT */
/* fake.h: a root of files with a hierarchy of cgroups and processes in it, and system calls that fail on demand. */
#ifndef CAPD_TESTS_MOVE_FAKE_H
#define CAPD_TESTS_MOVE_FAKE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "capd/enforce/move.h"
#include "capd/enforce/state-file.h"

enum fake_op { OP_OPENAT, OP_READ, OP_FSTAT, OP_WRITE, OP_CREATE, OP_RENAME, OP_UNLINK, OP_FSYNC, OP_MKDIR, _OP_MAX };

struct fake {
        char path[64];
        struct sys sys;
        struct sys_ops ops;
        struct cgroup2 cgroups;
        unsigned calls[_OP_MAX];
        /* the fail_at-th call (from 1) of fail_op gives fail_value; 0: none fails */
        enum fake_op fail_op;
        unsigned fail_at;
        int fail_value;
        /* after a write to a cgroup.procs: the world may change */
        void (*on_procs)(struct fake *f, const char *text);
        bool kernel;     /* cgroupfs does what it is told: processes move, directories are filled and emptied */
        char procs[512]; /* what was written to any cgroup.procs, each followed by a space */
};

void fake_init(struct fake *f);
void fake_done(struct fake *f);
void fake_write(struct fake *f, const char *path, const char *text); /* makes its directories */
void fake_read(struct fake *f, const char *path, char *buf, size_t size);
void fake_remove(struct fake *f, const char *path);
bool fake_exists(struct fake *f, const char *path);
void fake_fail(struct fake *f, enum fake_op op, unsigned at, int value);

/* A process in a cgroup, or moved to another one. */
void fake_process(struct fake *f, int pid, int parent, uint64_t start_time, const char *cgroup);
void fake_exit(struct fake *f, int pid); /* it ends */
void fake_where(struct fake *f, int pid, char *buf, size_t size);
void fake_cgroup(struct fake *f, const char *path); /* with cgroup.procs and the files of the memory controller */
uint64_t fake_inode(struct fake *f, const char *path);

#endif
