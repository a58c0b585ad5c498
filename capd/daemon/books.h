/* SPDX-License-Identifier: MIT */
/* books.h: the kernel's books of a group, for its explanation: whom it charges for the pages, and what its cgroups are charged with. */
#ifndef CAPD_DAEMON_BOOKS_H
#define CAPD_DAEMON_BOOKS_H

#include "capd/measure/charges.h"
#include "capd/measure/count.h"
#include "capd/wire.h"

/*
 * In a job, after a count with COUNT_KEEP_FRAMES, with the cgroups that were the group's when it was made. Nothing here blocks on a
 * process. What cannot be had is unknown in *ret_books and *ret_cgroups, and said in the note. 0, or -ECANCELED if the job is wanted
 * no more.
 */
int books_read(const struct sys *sys, const struct count *count, uint32_t group, struct guard *guard,
               const struct owned_cgroups *owned, struct group_cgroups *ret_cgroups, struct wire_books *ret_books);

#endif
