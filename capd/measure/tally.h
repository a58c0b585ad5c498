/* SPDX-License-Identifier: MIT */
/*
 * tally.h: the pages of one group, each once. Private to measure/.
 *
 * What a walk adds is kept apart, in a part that belongs to the thread that walks, until the walk has proved good: then it is
 * committed, else discarded as if it had never been there. So a process that ends in the middle leaves no trace, at the price of one
 * bit for each page it had alone.
 *
 * Several threads may walk for one tally: each adds to a part of its own and only looks at what has been committed, which takes no
 * lock (frames.h). A page that two of them found at the same time is told apart by the commit, and commits are one at a time.
 * Pages are kept by their kind until then, because the figures by kind are of those that the commit found to be new.
 */
#ifndef CAPD_MEASURE_TALLY_H
#define CAPD_MEASURE_TALLY_H

#include "capd/measure/walk.h"
#include "capd/sample.h"
#include "frames.h"

/* Pages by the flag bits that say of which kind they are and whether they are exclusive. */
#define TALLY_KIND_SHIFT 57
#define TALLY_KIND(page) ((page) >> TALLY_KIND_SHIFT & 15)
#define TALLY_KINDS      16

/* Counters of 32 bits in a chunk of frames.h, under the key frame >> TALLY_COUNTER_BITS. */
#define TALLY_COUNTER_BITS 7
#define TALLY_COUNTERS     (1U << TALLY_COUNTER_BITS)

struct tally {
        struct frames resident, hugetlb, swap;
        uint64_t kinds[TALLY_KINDS]; /* distinct resident pages */
        uint64_t n_hugetlb, n_swap;  /* distinct */
        uint64_t mapped;             /* entries */
        /* Mappings of each frame that is not exclusive, where they are wanted, in chunks of counters; later those that verify.c counts. */
        bool want_counts;
        struct frames counts;
};

/* What one thread found in one walk and the tally had not yet. */
struct tally_part {
        struct frames resident[TALLY_KINDS], hugetlb, swap;
        uint64_t mapped;
        /* Mappings, where they are counted: one for each frame in `touched`, and one more for each time it is in `again`. */
        struct frames touched;
        uint64_t *again;
        size_t n_again, again_allocated;
};

void tally_init(struct tally *t, bool want_counts);
void tally_done(struct tally *t);

/* How many pages from the first on (n at least 1) are of the same kind: have the same flags. */
size_t tally_run(const uint64_t *pages, size_t n);
/* Takes pages of one kind. 0 or -ENOMEM. */
int tally_add(const struct tally *t, struct tally_part *p, const uint64_t *pages, size_t n);
/* The same for n pages of the kind of `page` that are known to be in the tally, where mappings are not counted. */
static inline void tally_add_known(struct tally_part *p, uint64_t page, size_t n)
{
        p->mapped += page & PAGE_PRESENT ? n : 0;
}
/* 0, or -ENOMEM: the tally then is at most what it should be. The part is empty after it. */
int tally_commit(struct tally *t, struct tally_part *p);
/* Empties a part: what was never committed is forgotten. */
void tally_discard(struct tally_part *p);
/* Gives the sets of pages back; the figures and the counters stay. */
void tally_forget_pages(struct tally *t);
/* Counters alone: one mapping (0 or -ENOMEM), and the commit, which leaves the discard to the caller. */
int tally_touch(struct tally_part *p, uint64_t frame);
int tally_commit_counts(struct tally *t, const struct tally_part *p);

uint64_t tally_resident(const struct tally *t); /* pages */
/* Pages among those of a kind; `bits` of enum are PAGE_ANON, PAGE_FILE, PAGE_SHMEM, PAGE_EXCLUSIVE: all of them must be set. */
uint64_t tally_kinds(const uint64_t kinds[static TALLY_KINDS], uint64_t bits);
/* Mappings of a frame inside the group: 1 for one that is in no counter, as exclusive frames are. */
uint32_t tally_mappings(const struct tally *t, uint64_t frame);

#endif
