/* SPDX-License-Identifier: MIT */
/*
 * echo.h: what one process maps, to know it again in others. Private to measure/.
 *
 * The processes of a fork family show the same pages at the same addresses, and nearly all that a walk finds is what the walk before
 * it found. So one walk is remembered, the entries as the kernel gave them and the pages that the rules made of them, and the next
 * are compared with it: 64 entries that are the same to the bit, at the same address in a mapping of the same object, are the same
 * pages, and pages that the groups have already. They need neither the rules nor a look into a set. What differs does. It is a
 * shortcut to the same answer, never another answer: only a walk that was committed is compared with, and only for the very
 * same groups.
 *
 * Where processes have little in common the comparison is given up, and tried again ever more seldom.
 */
#ifndef CAPD_MEASURE_ECHO_H
#define CAPD_MEASURE_ECHO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmas.h"

struct echo_chunk {
        uint64_t address;
        size_t n, first; /* entries, and where they are in echo.entries and echo.pages */
        uint64_t device, inode;
        enum vma_kind kind;
        bool alike; /* pages of one kind */
};

struct echo {
        struct echo_chunk *chunks;
        size_t n_chunks, chunks_allocated;
        uint64_t *entries, *pages;
        size_t n_entries, entries_allocated;
        bool fresh; /* the chunk after the last has its entries, and not yet its pages */
        uint64_t page_size;
        uint32_t *groups; /* that have these pages */
        size_t n_groups;
        enum { ECHO_NOTHING, ECHO_RECORDS, ECHO_COMPARES } state;
        bool alike;        /* the last walk that was compared showed mostly the same */
        unsigned failures; /* walks in turn that were compared in vain */
        unsigned pause;    /* walks until the next is remembered */
};

/* How one walk uses it. */
struct echo_view {
        struct echo *echo;   /* NULL: it does not */
        size_t cursor;       /* chunks before it are behind the walk */
        uint64_t seen, same; /* pages */
};

/* Before the walk of a process of these groups. It is remembered or compared, or neither. */
void echo_begin(struct echo *e, struct echo_view *v, uint64_t page_size, const uint32_t *groups, size_t n_groups);
/* Whether the next process of these groups will be compared and is likely to show the same pages, and more than `pages` of them. */
bool echo_expects(const struct echo *e, const uint32_t *groups, size_t n_groups, size_t pages);
/*
 * n entries of a mapping as the kernel gave them: how many from the first on are as known, and then *ret_pages is what they came
 * to, valid until echo_end(), and *ret_alike whether they are known to be of one kind (tally_run()); or how many are not, and then
 * *ret_pages is NULL.
 */
size_t echo_stretch(struct echo_view *v, const struct vma *vma, uint64_t address, const uint64_t *entries, size_t n,
                    const uint64_t **ret_pages, bool *ret_alike);
/* Entries that are not as known, before the rules; and what these came to, or NULL: nothing. Both are called for each chunk. */
void echo_take_entries(struct echo_view *v, const struct vma *vma, uint64_t address, const uint64_t *entries, size_t n);
void echo_take_pages(struct echo_view *v, const uint64_t *pages, size_t n);
/* After the walk; `committed`: the groups have all of its pages. */
void echo_end(struct echo_view *v, bool committed);
void echo_done(struct echo *e);

#endif
