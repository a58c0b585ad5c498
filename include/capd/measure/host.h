/* SPDX-License-Identifier: MIT */
/* host.h: memory and swap of the whole host. */
#ifndef CAPD_MEASURE_HOST_H
#define CAPD_MEASURE_HOST_H

#include "capd/base/sys.h"
#include "capd/sample.h"

/* Reads /proc/meminfo. 0 or a negative errno (-EBADMSG: not in the form this code knows); *ret untouched then. */
int host_memory_read(const struct sys *sys, struct host_memory *ret);

#endif
