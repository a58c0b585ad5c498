/* SPDX-License-Identifier: MIT */
/* id-set.h: which numbers were seen already. Grows as needed; all zero at the beginning. */
#ifndef CAPD_DAEMON_ID_SET_H
#define CAPD_DAEMON_ID_SET_H

#include <stddef.h>
#include <stdint.h>

struct id_set {
        uint64_t *slots; /* open addressing; 0 is free */
        size_t n, n_slots;
};

void id_set_done(struct id_set *s);
/* 1 it is new; 0 it was there; -ENOMEM. An id of 0 is always new. */
int id_set_add(struct id_set *s, uint64_t id);

#endif
