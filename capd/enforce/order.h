/* SPDX-License-Identifier: MIT */
/* order.h: which targets an act goes through, in which stretches of address space. Pure. */
#ifndef CAPD_ENFORCE_ORDER_H
#define CAPD_ENFORCE_ORDER_H

#include <stdbool.h>

#include "capd/enforce/pageout.h"

/* A stretch of one target's address space. */
struct leg {
        size_t target;
        uint64_t from, to;
        bool deferred; /* taken up again after it was put off: not put off once more */
};

/* One pass over all targets: every address of each exactly once, whatever is put off on the way. */
struct legs {
        struct leg *items;
        size_t n, allocated;
};

void legs_done(struct legs *l);

/*
 * Plans a pass over targets that are in order. Left out, with their resident bytes (of each address space once) added to
 * *left_floor: targets below the floor, and address spaces any of whose processes is protected. -ENOMEM or 0.
 */
int legs_plan(struct legs *l, const struct pageout_target *targets, size_t n, uint64_t floor,
              const struct pageout_cursor *cursor, uint64_t *left_floor);

/* Puts the rest of leg i, from `address` on, off to the end of the pass. */
void legs_defer(struct legs *l, size_t i, uint64_t address);

#endif
