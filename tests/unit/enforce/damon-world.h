/* SPDX-License-Identifier: MIT */
/*
 * damon-world.h: DAMON in a directory. Numbers written to nr_… files make directories as the kernel does, and "off" does to
 * frames of a host of files what the schemes say.
 */
#ifndef CAPD_TEST_DAMON_WORLD_H
#define CAPD_TEST_DAMON_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "capd/enforce/damon.h"
#include "capd/limits.h"

#define PAGE   4096ULL
#define FRAMES 32768U
#define ADMIN  "sys/kernel/mm/damon/admin/kdamonds"

enum dop {
        DOP_OPENAT,
        DOP_WRITE,
        DOP_READ,
        DOP_PREAD,
        DOP_FSTAT,
        DOP_FSTATAT,
        DOP_UNLINKAT,
        DOP_CREATEAT,
        DOP_RENAMEAT,
        _DOP_MAX
};

struct dworld {
        char path[64];
        struct sys sys;
        struct sys_ops ops;
        struct features features;
        usec_t clock;
        int runtime_fd, counts_fd, flags_fd;

        bool hot[FRAMES];    /* somebody touches it all the time */
        bool marked[FRAMES]; /* not accessed since it was looked at */
        bool acted[FRAMES];  /* some scheme was to take it */
        bool no_filters;     /* a kernel before 6.10 */
        bool running;
        bool never_sleeps;
        unsigned ons, offs, regions_set;
        uint64_t most_bytes; /* of a page-out */
        size_t most_regions;
        usec_t cost;  /* of a pass */
        int error_on; /* of "on" */
        void (*on_start)(struct dworld *w);

        enum dop fail_op;
        unsigned fail_at; /* the k-th call of it from now on; 0: none */
        int fail_error;
        unsigned counts[_DOP_MAX];
        bool guarded, must_be_guarded;
};

struct dworld *dworld_new(void);
void dworld_free(struct dworld *w);
void dworld_write(struct dworld *w, const char *path, const char *text);
bool dworld_exists(struct dworld *w, const char *path);
uint64_t dworld_number(struct dworld *w, const char *path);
/* Frames, mapped `count` times. */
void dworld_frames(struct dworld *w, uint64_t first, size_t n, uint64_t count, uint64_t flags);
uint64_t dworld_count(struct dworld *w, uint64_t frame);
size_t dworld_mapped(struct dworld *w, uint64_t first, size_t n);
/* A set of n frames from `first` on, each followed by `gap` others, mapped `count` times. */
struct inside_frames dworld_set(uint64_t first, size_t n, size_t gap, uint32_t count);
/* As DAMON was found: no kdamond and no record. */
void dworld_assert_clean(struct dworld *w);

#endif
