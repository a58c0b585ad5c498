/* SPDX-License-Identifier: MIT */
/*
 * estimate.h: from a sample of chunks to a group's resident memory, and how wrong that may be. Pure arithmetic; private to measure/.
 *
 * The sample (sampling.h) has one chunk out of every window of so many chunks that follow one another, in one object or in the
 * addresses of anonymous memory. A chunk is read in every process that maps it, so what is known of it is true: the pages mapped in
 * it, and how many distinct ones they are. It stands for its window.
 *
 *     distinct = one_in × Σ distinct of the sampled chunks
 *
 * for objects, of which a chunk holds no more than its size, however many processes map it. The chunks of anonymous memory are
 * addresses, at which any number of processes may have pages of their own. There
 *
 *     distinct = one_in × Σ distinct of the sampled chunks  +  b × (mapped − one_in × Σ mapped of the sampled chunks)
 *
 * `mapped`, the sum of RSS, is known for the whole group from the kernel's counters. So where the sample has by chance too much or too
 * little of what is mapped it is put right, by as much as distinct pages go along with mapped ones (b, a regression coefficient
 * between 0 and 1): memory that nobody shares comes out to the page. This is the regression estimator of survey sampling
 * (Cochran, Sampling Techniques, chapter 7). If the sample is off by more than chance explains, it has missed something large, and
 * the rest of what it lacks goes to the error.
 *
 * The error comes out of the sample as well. With one chunk to a window no variance can be had inside a window; the squared
 * difference between neighbouring windows takes its place, and what lies beyond the end of a stretch counts as an empty window
 * (Wolter, Introduction to Variance Estimation, section 8.2: the estimator of successive differences). That is more than the true
 * variance, as it has the differences between the windows in it, the more the less alike neighbours are. Few large differences
 * make a variance that is itself not well known: the interval is that of Student's t, with degrees of freedom after Satterthwaite.
 */
#ifndef CAPD_MEASURE_ESTIMATE_H
#define CAPD_MEASURE_ESTIMATE_H

#include <stddef.h>
#include <stdint.h>

enum estimate_part {
        ESTIMATE_ANON,
        ESTIMATE_OBJECT, /* file and shmem */
        _ESTIMATE_PARTS,
};

/* A chunk of the sample, in pages. */
struct estimate_cluster {
        uint64_t device, inode; /* 0: the addresses of anonymous memory */
        uint64_t number;        /* of the chunk */
        uint32_t mapped[_ESTIMATE_PARTS], distinct[_ESTIMATE_PARTS];
};

struct estimate_input {
        struct estimate_cluster *clusters; /* is sorted */
        size_t n;
        uint32_t one_in, chunk_pages;
        uint64_t mapped[_ESTIMATE_PARTS]; /* pages of all chunks, as the kernel's counters say */
        double counter_error;             /* of each of these: a likely one */
};

struct estimate {
        uint64_t distinct[_ESTIMATE_PARTS];
        uint64_t error; /* of their sum: it is so far off in one case out of twenty */
};

void estimate_make(const struct estimate_input *in, struct estimate *ret);

#endif
