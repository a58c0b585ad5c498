/* SPDX-License-Identifier: MIT */
/*
 * walk-internal.h: what the files behind walk.h share: walk.c (opening, windows), rules.c (what counts), sparse.c (where to
 * look), context.c (look-ups by frame).
 */
#ifndef CAPD_MEASURE_WALK_INTERNAL_H
#define CAPD_MEASURE_WALK_INTERNAL_H

#include "capd/limits.h"
#include "capd/measure/walk.h"
#include "frames.h"
#include "proc-parse.h"
#include "vmas.h"

/* Entries of /proc/PID/pagemap: Documentation/admin-guide/mm/pagemap.rst. */
#define PM_PRESENT          (UINT64_C(1) << 63)
#define PM_SWAP             (UINT64_C(1) << 62)
#define PM_FILE             (UINT64_C(1) << 61)
#define PM_GUARD            (UINT64_C(1) << 58) /* 6.15 */
#define PM_EXCLUSIVE        (UINT64_C(1) << 56)
#define PM_FRAME_MASK       ((UINT64_C(1) << 55) - 1)
#define PM_SWAP_TYPE_MASK   UINT64_C(0x1f)
#define PM_SWAP_OFFSET_BITS 5

/*
 * include/linux/swap.h: MAX_SWAPFILES is 32 less the types set aside for device memory (4), migration (3), hardware poison (1)
 * and page table markers (1; guard regions are among them). A kernel built without some of those could have more swap areas than
 * this; they are never active together in practice.
 */
#define SWAP_TYPES 23U
/* A slot's number: its area above its offset, so that neighbours in the area are neighbours in a set. */
#define SLOT_TYPE_SHIFT 44

/* linux/kernel-page-flags.h */
#define KPF_LRU        (UINT64_C(1) << 5)
#define KPF_MMAP       (UINT64_C(1) << 11)
#define KPF_ANON       (UINT64_C(1) << 12)
#define KPF_SWAPBACKED (UINT64_C(1) << 14)
#define KPF_HUGE       (UINT64_C(1) << 17)
#define KPF_NOPAGE     (UINT64_C(1) << 20)
#define KPF_THP        (UINT64_C(1) << 22)
#define KPF_ZERO_PAGE  (UINT64_C(1) << 24)

/* MaxStall= where nobody said otherwise */
#define WALK_MAX_STALL (2 * USEC_PER_MSEC)

struct echo_view;
struct sampling;
struct seen_view;

#define HUGE_PAGES 512U /* small pages of one PMD mapping, 2 MiB on every architecture with 4 KiB pages */

/* What a frame at the head of 2 MiB is. The values fit into the low bits of its number, which are 0. */
enum huge_kind {
        HUGE_UNKNOWN,
        HUGE_ORDINARY, /* nothing that the entry does not say by itself */
        HUGE_ZERO,     /* the huge zero page */
        HUGE_FILE,     /* a huge page of a file or shmem */
};

enum object_kind {
        OBJECT_UNKNOWN,
        OBJECT_NOT_HUGETLB, /* no page with PM_FILE seen yet */
        OBJECT_FILE,
        OBJECT_SHMEM,
        OBJECT_HUGETLB,
};

struct object {
        uint64_t device, inode;
        enum object_kind kind;
        unsigned tries; /* look-ups that settled nothing */
        bool cached;    /* a page of OBJECT_FILE was seen to be of a page cache, and is no driver's */
        unsigned cache_tries;
};

#define OBJECT_CACHE_TRIES 16U
#define HUGE_CACHE_SIZE    1024U

struct walk_context {
        const struct sys *sys;
        const struct features *features;
        usec_t max_stall;
        bool follow;        /* walk_context_follow() */
        bool first;         /* the thread runs before all ordinary ones, sys_ops.go_first() */
        bool ordinary;      /* or it does not, for this turn */
        usec_t first_since; /* since when the one or the other */
        usec_t used;        /* as the first one since the last pause, before that */
        unsigned turns;
        unsigned crowded; /* turns as the first one that are followed by a pause; 0: it is not known that anybody wants the processor */
        unsigned wary;                   /* so many tries more somebody is expected to want it, as somebody did */
        const struct sampling *sampling; /* NULL: all is read */
        int kpageflags_fd, kpagecount_fd;
        /* The thread was given up while it was in a system call: whoever called must leave everything shared alone. */
        bool lost;
        struct object *objects; /* open addressing by device and inode */
        size_t n_objects, object_slots;
        struct object no_object;              /* for mappings that have none to be told by */
        struct frames known_anon;             /* frames proved anonymous in mappings of objects */
        uint64_t huge_cache[HUGE_CACHE_SIZE]; /* frame | enum huge_kind */
};

/* A stretch of address space to be read. */
struct extent {
        uint64_t start, end;
};

struct extents {
        struct extent *items;
        size_t n, allocated;
};

enum sparse_method {
        SPARSE_NOT,  /* everything is read */
        SPARSE_SCAN, /* PAGEMAP_SCAN tells where pages are */
        SPARSE_SIZES /* smaps tells how many pages there are in each mapping */
};

struct walk {
        struct walk_context *context;
        struct guard *guard;
        pid_t pid;
        struct proc_stat identity; /* when it was opened */
        int dirfd, stat_fd, pagemap_fd;
        struct vmas vmas;
        size_t i;       /* the mapping being walked */
        uint64_t at;    /* everything below has been handed out */
        uint64_t from;  /* nothing below is to be handed out: walk_seek() */
        uint64_t until; /* nor anything from here on: walk_limit() */

        struct echo_view *echo; /* what another process has shown at the same addresses; NULL: nothing is known */
        struct seen_view *seen; /* what of shared mappings need not be read; NULL: all is read */
        uint64_t stretch_end;   /* in mapping i, as far as seen_next() said */
        uint64_t sample_end;    /* the same by sampling_next() */

        /* entries read and not handed out yet: pages [window_start, window_end) */
        uint64_t *window;
        size_t window_pages; /* of the next one, about */
        uint64_t window_start, window_end;

        enum sparse_method sparse;
        struct extents extents; /* of mapping i where it is sparse */
        size_t next_extent;
        uint64_t extents_until; /* what lies below in mapping i is covered by the extents */
        uint64_t scan_step;     /* address space of the next PAGEMAP_SCAN */
        usec_t probe_deadline;  /* 0: none set yet */
        bool shared;            /* other processes have the address space too: it is never taken to sleep */
        unsigned alert;         /* calls before which it is looked where it runs, if that is of interest */
        usec_t in_lock;         /* spent in the target's lock since the last pause, or more */
        uint64_t *scratch;      /* for looking around, HUGE_PAGES entries; made when first needed */
};

/* -- context.c -- */

/* Kind of the frame at the head of 2 MiB, from kpageflags once in the life of a context. Negative errno. */
int context_huge_kind(struct walk_context *c, uint64_t frame, enum huge_kind *ret);
/* Whether a frame that a mapping of an object shows as neither file nor exclusive is an anonymous page: 1, 0 (device memory or the like), or a negative errno. */
int context_is_anon(struct walk_context *c, uint64_t frame);
/* What is known of the object of a mapping; made if new. NULL: no memory. Valid until the next call. */
struct object *context_object(struct walk_context *c, const struct walk_vma *v);

/* -- rules.c -- */

/*
 * Turns n raw entries of mapping v at `address` into pages, in place. `object` is what is known of the mapping's object and
 * learns. *ret_found: how many pages count. 0 or a negative errno.
 */
int rules_apply(struct walk_context *c, const struct vma *v, struct object *object, uint64_t address, uint64_t *entries,
                size_t n, size_t *ret_found);

/*
 * The thread is about to take a target's lock: from now on it runs before all ordinary ones, for half of MaxStall at a time, a
 * millisecond at most. May let others
 * run before, so not where the thread is watched (guard.h).
 */
void context_come_first(struct walk_context *c);
/* It runs like any other again, until it next comes first. */
void context_step_back(struct walk_context *c);

/* -- walk.c -- */

/* Reads n entries at `address`, in steps. 0; -ESRCH the address space is gone; -ECANCELED; another negative errno. */
int walk_read_raw(struct walk *w, uint64_t address, size_t n, uint64_t *entries);
/* Where the stretch of a mapping ends that is read now. */
uint64_t walk_stretch_end(const struct walk *w, const struct vma *v);

/* -- sparse.c -- */

/* Whether a mapping of a walk is better looked at first than read. */
bool sparse_wants(const struct walk *w, const struct vma *v);
/* Fills w->extents with what lies at or after w->at in mapping v, and moves w->extents_until. */
int sparse_find(struct walk *w, const struct vma *v);
void extents_done(struct extents *e);

#endif
