/* SPDX-License-Identifier: MIT */
/*
 * damon.h: paging a group out, strategy 2 of DESIGN section 6: the frames that its processes share among themselves and
 * with nobody else, handed to DAMON's operations on the physical address space through sysfs.
 *
 * DAMON belongs to the whole host. It is used only if nobody else does, for the time of one act, by one act at a time, and
 * is left as it was found. What is about to be made there is written to a small file in the runtime directory first, so that
 * the next start can clean up after a crash: damon_recover().
 */
#ifndef CAPD_ENFORCE_DAMON_H
#define CAPD_ENFORCE_DAMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "capd/base/sys.h"
#include "capd/measure/features.h"
#include "capd/measure/guard.h"
#include "capd/measure/inside.h"
#include "capd/sample.h"

/* The file in the runtime directory. It is there only while DAMON is set up by capd. */
#define DAMON_RECORD "damon"

struct damon_request {
        uint64_t goal;   /* bytes to unmap: never more is handed over, but for the rest of one huge page */
        bool any;        /* pages in use too, if the unused ones were not enough */
        usec_t max_time; /* the whole act; LIMIT_DAMON_ACT_USEC at most */
        uint64_t cursor; /* physical address where the last act on this group stopped; 0 at the beginning */
        int runtime_fd;  /* the runtime directory, open as long as the act lives */
};

struct damon;

/* `frames` are taken over, unless it fails, and are then empty. 0 or a negative errno. */
int damon_new(const struct sys *sys, const struct features *features, const struct damon_request *request,
              struct inside_frames *frames, struct damon **ret);
/* Not while a thread runs it that was not given up. */
struct damon *damon_free(struct damon *d);
DEFINE_CLEANUP(struct damon *, damon_free)

/*
 * Acts, and leaves DAMON as it was. 0 done (goal reached or not: see the result); -EBUSY somebody else uses DAMON, or another
 * act of capd, and nothing was touched; -ECANCELED the thread was given up or told to stop; other negative errno: it could not be
 * set up. damon_problem() then says what is the matter.
 */
int damon_run(struct damon *d, struct guard *guard);
/* After a thread was given up: what is left to the next damon_run() is to clean up. */
void damon_give_up(struct damon *d);

void damon_result(const struct damon *d, struct act_result *ret);
uint64_t damon_cursor(const struct damon *d);     /* for the next request */
const char *damon_problem(const struct damon *d); /* one sentence, or "" */

/* Whether an act holds DAMON now: features_damon() then finds it in use, by ourselves. For any thread. */
bool damon_is_active(void);

/*
 * Removes what a capd that ended in the middle of an act left behind, if the record in the runtime directory proves that it is
 * capd's: 1 removed; 0 there was nothing (left); or a negative errno: it is still there. To be called at the start, under the lock of
 * the runtime directory; damon_run() does so too.
 */
int damon_recover(const struct sys *sys, int runtime_fd);

#endif
