/* SPDX-License-Identifier: MIT */
/*
 * sampling.h: which pages an estimate reads, and what it makes of them. Private to measure/.
 *
 * The unit is the chunk: 32 pages that are aligned, in the object where a mapping has one, else by address. One chunk of every window
 * of `one_in` chunks is read, and a hash of object, window and the count's seed says which: the same one in every process. So a
 * page that several processes map, at the same address as after a fork or at any address as of a file, is read in all of them or
 * in none, and pages met twice are known for what they are.
 *
 * The seed is drawn anew for every count. Estimates that follow one another are independent of each other, and no program can
 * arrange its memory between the chunks.
 *
 * Private mappings of files up to 1 MiB are read whole, in every process, and count as they are. Programs and libraries have their
 * variables there: pages at one place of one file, copied in every process, which thus would all be of the same few chunks. A
 * thousand processes would hang on the luck of a handful.
 */
#ifndef CAPD_MEASURE_SAMPLING_H
#define CAPD_MEASURE_SAMPLING_H

#include <stdbool.h>

#include "capd/sample.h"
#include "estimate.h"
#include "tally.h"

#define SAMPLING_CHUNK_PAGES 32U

struct sampling {
        uint32_t one_in; /* 0: everything is read, and this is no sample */
        uint64_t seed;
};

/* Pages of one mapping and one chunk, as a walk found them. */
struct sampled_chunk {
        uint64_t device, inode, number;
        size_t first, n; /* in sampled.pages */
        bool whole;      /* of a mapping that is read whole */
};

/* What one thread found in one walk. All zero is empty. */
struct sampled {
        struct sampled_chunk *chunks;
        size_t n_chunks, chunks_allocated;
        uint64_t *pages;
        size_t n_pages, pages_allocated;
};

/* What is known of a group, beside its tally, which has the pages that were read. All zero is empty. */
struct sampling_group {
        struct estimate_cluster *clusters;
        size_t n_clusters, allocated;
        size_t *slots; /* open addressing: index of the cluster + 1, 0 free */
        size_t n_slots;
        uint64_t kinds[TALLY_KINDS], hugetlb, swap;                   /* distinct, in the chunks */
        uint64_t whole_kinds[TALLY_KINDS], whole_hugetlb, whole_swap; /* in what was read whole */
        uint64_t read[_ESTIMATE_PARTS], whole_read[_ESTIMATE_PARTS];  /* entries that VmRSS counts */
        uint64_t mapped[_ESTIMATE_PARTS];                             /* of all, as the counters say */
        uint64_t counters;                                            /* that this is the sum of */
};

/* What of [at, end) of a mapping is read next: [*ret_start, *ret_end); both are `end` if nothing of it is. */
void sampling_next(const struct sampling *s, const struct walk_vma *vma, uint64_t page_size, uint64_t at, uint64_t end,
                   uint64_t *ret_start, uint64_t *ret_end);
bool sampling_takes_all(const struct walk_vma *vma);

/* Remembers pages that were read. 0 or -ENOMEM. */
int sampled_take(struct sampled *s, const struct walk_chunk *chunk, uint64_t page_size);
void sampled_done(struct sampled *s);

/* Puts what a walk found into a group. 0 or -ENOMEM. */
int sampling_commit(struct sampling_group *g, struct tally *t, const struct sampled *found);
/* The figures of a group, in its result. counter_error: what one counter may be off, pages. */
void sampling_finish(struct sampling_group *g, const struct sampling *s, uint64_t page_size, uint64_t counter_error,
                     struct group_sample *ret);
void sampling_group_done(struct sampling_group *g);

#endif
