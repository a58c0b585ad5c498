/* SPDX-License-Identifier: MIT */
/*
 * seen.h: which pages of shared objects the processes of a group have shown, so that the next ones need not be read for them. Private
 * to measure/.
 *
 * A mapping with MAP_SHARED shows nothing but pages of its object (a shared memory segment, a memfd, a file), each offset of it the
 * one page that the object has there. So an offset at which the group was seen to map its page holds nothing new in any other process:
 * where all offsets of a stretch are known the stretch is passed over, and a segment that a hundred processes map is read once. What
 * is not known is read in every process, so a page that is mapped while the count goes on, or that nobody mapped before, is
 * found as if all were read. An offset that was seen stays known for this count: if its page is taken out of the object meanwhile and
 * another put in, one of the two is counted, as the object holds one at any time; reading on would count both.
 *
 * Private mappings are read always: behind any of their addresses may be a copy.
 *
 * *Which object it is* cannot be told by device and inode number alone. Segments of System V have their id for an inode number,
 * which other namespaces and memfds have as well (ipc/shm.c, newseg(); mm/shmem.c), subvolumes of btrfs and layers of
 * overlayfs share numbers, and all that anon_inode makes has the same. Its pages tell: a page of a file is in one object, at one
 * offset (struct folio: mapping and index). For every 2 MiB the frame of one page is remembered, and a mapping has to show one of
 * them where it is expected before anything of its 16 MiB is passed over or added to. What a driver maps is not in a page cache
 * (never on a list for reclaim) and may be another page for everybody: it is not remembered at all.
 *
 * What is passed over is not looked at: whoever wants mappings counted or processes told apart (COUNT_PRIVATE, COUNT_SHARES) does
 * without this.
 */
#ifndef CAPD_MEASURE_SEEN_H
#define CAPD_MEASURE_SEEN_H

#include <pthread.h>

#include "walk-internal.h"

/* Pages of an object that are kept together, and the blocks in them that are passed over or read as a whole: a huge page must
 * not be cut, as kernels before 6.11 say only at its head what it is (rules.c). */
#define SEEN_CHUNK_PAGES 4096U
#define SEEN_WORDS       (SEEN_CHUNK_PAGES / 64)
#define SEEN_BLOCK_WORDS (HUGE_PAGES / 64)
#define SEEN_BLOCKS      (SEEN_CHUNK_PAGES / HUGE_PAGES)

struct seen_chunk {
        uint64_t device, inode;
        uint64_t number;               /* page offset in the object / SEEN_CHUNK_PAGES */
        uint64_t mapping;              /* start of the mapping that it was seen in */
        uint64_t walk;                 /* in a table: by the last walk that added to it */
        uint64_t pages[SEEN_WORDS];    /* a bit each */
        uint64_t samples[SEEN_BLOCKS]; /* of each block one of its pages: SEEN_SAMPLE(); 0: none */
};

/* The place of a page in its block and its frame. */
#define SEEN_SAMPLE(place, frame) (PAGE_PRESENT | (uint64_t)(place) << 52 | (frame))
#define SEEN_SAMPLE_PLACE(sample) ((sample) >> 52 & (HUGE_PAGES - 1))

/* What has been seen in all processes of the same groups that were counted so far. All zero is empty. */
struct seen {
        struct seen_chunk **slots; /* open addressing */
        size_t n_slots, n;
};

/* What one thread sees in one walk. All zero is empty. */
struct sights {
        struct seen_chunk *items;
        size_t n, allocated;
};

/* How one thread uses it during one walk; all of it is its own, but `table`, which is looked at with the lock held. */
struct seen_view {
        const struct seen *table; /* NULL: everything is read */
        pthread_mutex_t *lock;
        bool records;            /* what is seen is of use to others */
        struct sights *sights;   /* NULL: nothing is remembered */
        struct seen_chunk known; /* of the chunk at hand; pages are only those of the table */
        bool at_hand, has_known;
        bool tried;     /* to prove that the mapping is of the object that the table speaks of */
        uint64_t proof; /* by this sample, of block proof_block; 0: it is not proved */
        size_t proof_block;
        uint64_t passed; /* pages passed over: those that are not mapped as well */
};

/* Chunks that all tables and sights of the process may hold together, LIMIT_SEEN_CHUNKS unless a test says otherwise; what is beyond is read in
 * each process. */
void seen_set_limit(size_t chunks);

void seen_done(struct seen *s);
void sights_done(struct sights *s);

/* With the lock held. Adds what a walk saw that was committed; `walk` is another number for every walk. Without memory less is
 * remembered. */
void seen_merge(struct seen *s, const struct sights *sights, uint64_t walk);

/* Before a walk. */
void seen_begin(struct seen_view *v, const struct seen *table, pthread_mutex_t *lock);
/* Whether parts of a mapping may be passed over. */
bool seen_wants(const struct seen_view *v, const struct walk_vma *vma, uint64_t page_size);
/*
 * The next stretch [*ret_start, *ret_end) of a mapping that is to be read at or after `at` and before `end`; both are `end`
 * if there is none. 0; -ECANCELED and others as walk_read_raw().
 */
int seen_next(struct seen_view *v, struct walk *w, const struct walk_vma *vma, uint64_t at, uint64_t end,
              uint64_t *ret_start, uint64_t *ret_end);
/* Remembers pages that were read. 0 or a negative errno. */
int seen_take(struct seen_view *v, struct walk_context *x, const struct walk_chunk *chunk);

#endif
