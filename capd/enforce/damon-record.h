/* SPDX-License-Identifier: MIT */
/* damon-record.h: whose the kdamond is that is there. Private to enforce/; see damon_recover(). */
#ifndef CAPD_ENFORCE_DAMON_RECORD_H
#define CAPD_ENFORCE_DAMON_RECORD_H

#include "capd/base/sys.h"

/*
 * Writes the record, makes a kdamond and completes the record. *ret_fd is its directory. 0; -EBUSY somebody else has one; or
 * another negative errno: all is as it was found.
 */
int record_make(const struct sys *sys, int runtime_fd, int *ret_fd);

#endif
