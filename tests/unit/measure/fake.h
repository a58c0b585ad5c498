/* SPDX-License-Identifier: MIT */
/* fake.h: a host made of files, for the tests of measure/. */
#ifndef CAPD_TESTS_MEASURE_FAKE_H
#define CAPD_TESTS_MEASURE_FAKE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "capd/measure/features.h"
#include "capd/measure/guard.h"

/* Raw pagemap entries. */
#define RAW_PRESENT   (UINT64_C(1) << 63)
#define RAW_SWAP      (UINT64_C(1) << 62)
#define RAW_FILE      (UINT64_C(1) << 61)
#define RAW_GUARD     (UINT64_C(1) << 58)
#define RAW_EXCLUSIVE (UINT64_C(1) << 56)

#define FLAG_MMAP       (UINT64_C(1) << 11)
#define FLAG_ANON       (UINT64_C(1) << 12)
#define FLAG_SWAPBACKED (UINT64_C(1) << 14)
#define FLAG_HUGE       (UINT64_C(1) << 17)
#define FLAG_THP        (UINT64_C(1) << 22)
#define FLAG_ZERO       (UINT64_C(1) << 24)

#define FAKE_PAGE       4096ULL
#define FAKE_ZERO_FRAME 77ULL
#define FAKE_FRAMES     (1ULL << 20)

enum fake_op {
        OP_OPENAT,
        OP_PREAD,
        OP_READ,
        OP_READLINKAT,
        OP_FSTATAT,
        OP_GETDENTS,
        OP_SCAN,
        OP_KCMP,
        OP_PIDFD,
        OP_MADVISE,
        _OP_MAX,
};

struct fake {
        char path[64];
        struct sys sys;
        struct sys_ops ops;
        struct features features;
        unsigned calls[_OP_MAX];
        /* the fail_at-th call (from 1) of fail_op gives fail_value; 0 calls fail */
        enum fake_op fail_op;
        unsigned fail_at;
        ssize_t fail_value;
        /* called before each pread, to let the world change in mid-scan */
        void (*on_pread)(struct fake *f, unsigned call);
        int pread_fd; /* for it: what is read */
        int (*kcmp)(pid_t a, pid_t b);
        usec_t time; /* what now() says; each call adds time_step */
        usec_t time_step;
};

void fake_init(struct fake *f);
void fake_done(struct fake *f);
/* For cmocka: a fake of its own for each test, as *state. */
int fake_setup(void **state);
int fake_teardown(void **state);
void fake_write(struct fake *f, const char *path, const char *text);
void fake_remove(struct fake *f, const char *path); /* a file, or a directory with all in it */

/* A process; maps: its mappings, "" for a kernel thread. vm and rss are pages. */
void fake_process(struct fake *f, int pid, uint64_t start_time, const char *comm, const char *maps, uint64_t vm,
                  uint64_t rss);
void fake_stat(struct fake *f, int pid, uint64_t start_time, const char *comm, char state, uint64_t start_code);
/* It ends: its stat does. */
void fake_vanish(struct fake *f, int pid);
/* The entries of pages from an address on. */
void fake_pages(struct fake *f, int pid, uint64_t address, const uint64_t *entries, size_t n);
void fake_frame(struct fake *f, uint64_t frame, uint64_t flags, uint64_t count);

/* A guard that counts; leave() says no at the lose_at-th time, and stopping() yes from stop_at on (both from 1; 0 never). */
struct fake_guard {
        struct guard guard;
        unsigned left, asked, lose_at, stop_at;
        int depth;
        pid_t pid;
};
void fake_guard_init(struct fake_guard *g);

#endif
