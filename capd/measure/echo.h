/* SPDX-License-Identifier: MIT */
/*
 * echo.h: what one process maps, to know it again in others. Private to measure/.
 *
 * The processes of a fork family show the same pages at the same addresses, and nearly all that a walk finds is what the walk before
 * it found. So one walk is remembered, and the next are compared with it: 64 entries that are the same, flags and all, are pages
 * that the groups have already, and need not be looked up one by one. What differs is. It is a shortcut to the same answer, never
 * another answer: only a walk that was committed is compared with, and only for the very same groups.
 *
 * Where processes have little in common the comparison is given up, and tried again ever more seldom.
 */
#ifndef CAPD_MEASURE_ECHO_H
#define CAPD_MEASURE_ECHO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "capd/measure/walk.h"

struct echo_chunk {
        uint64_t address;
        size_t n, first; /* pages, and where they are in echo.pages */
};

struct echo {
        struct echo_chunk *chunks;
        size_t n_chunks, chunks_allocated;
        uint64_t *pages;
        size_t n_pages, pages_allocated;
        uint32_t *groups; /* that have these pages */
        size_t n_groups;
        enum { ECHO_NOTHING, ECHO_RECORDS, ECHO_COMPARES } state;
        size_t cursor;       /* chunks before it are behind the walk */
        uint64_t seen, same; /* pages, in this walk */
        unsigned failures;   /* walks in turn that were compared in vain */
        unsigned pause;      /* walks until the next is remembered */
};

/* Before the walk of a process of these groups. */
void echo_begin(struct echo *e, const uint32_t *groups, size_t n_groups);
/* A chunk of the walk: what is known of the same addresses, as many pages, or NULL. */
const uint64_t *echo_look(struct echo *e, const struct walk_chunk *chunk);
/*
 * How many pages from i on (of n) are all as known, or else all in blocks that are not. *ret_same: which of the two. `known` may be
 * NULL.
 */
size_t echo_stretch(struct echo *e, const uint64_t *known, const uint64_t *pages, size_t i, size_t n, bool *ret_same);
/* After the walk; `committed`: the groups have all of its pages. */
void echo_end(struct echo *e, bool committed);
void echo_done(struct echo *e);

#endif
