/* SPDX-License-Identifier: MIT */
/* vmas.h: the list of mappings of a process. Private to measure/. */
#ifndef CAPD_MEASURE_VMAS_H
#define CAPD_MEASURE_VMAS_H

#include "capd/measure/guard.h"
#include "capd/measure/walk.h"

enum vma_kind {
        VMA_ANON,   /* anonymous and private, stack, heap: nothing but anonymous pages and zero pages can be in it */
        VMA_OBJECT, /* of a file, a shared memory object or a device: its pages can be of any kind */
        VMA_SPECIAL, /* the kernel's own ([vdso], [vvar], …): like an object, but without one that could be told by number */
};

struct vma {
        struct walk_vma v;
        enum vma_kind kind;
        uint64_t expected; /* pages there and swapped out, as smaps says; UINT64_MAX where it was not read */
};

struct vmas {
        struct vma *items;
        size_t n, allocated;
        uint64_t size; /* bytes, of all together */
};

void vmas_done(struct vmas *v);

/*
 * Reads "maps" or (`with_sizes`) "smaps" of the process behind `dirfd`. Takes the target's mmap lock, a buffer at a time: between
 * guard_enter() and guard_leave(), and *ret_lost tells that the thread was given up. Mappings are in address order and do not
 * overlap, whatever happened to the process meanwhile. 0, or a negative errno; -ESRCH for a process without memory.
 */
int vmas_read(struct walk_context *c, struct guard *guard, pid_t pid, int dirfd, bool with_sizes, struct vmas *ret,
              bool *ret_lost);

#endif
