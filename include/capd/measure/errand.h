/* SPDX-License-Identifier: MIT */
/*
 * errand.h: what may wait for a process, done for a thread that must not wait.
 *
 * The engine's own thread answers clients and signals, and keeps the table of processes. It goes through what it owns by sending
 * another thread, and waits for that: so nothing is done at the same time, and nothing needs a lock. If a guarded call (guard.h) takes longer than
 * LIMIT_ERRAND_CALL_USEC, that thread is given up. The process it was at is in the list of stuck.h then, and
 * the errand is begun anew by another thread, which passes it over.
 *
 * So an errand is written like a job of the scanner's: its guarded calls write to what is the thread's own; between them all is in
 * order; after -ECANCELED it touches nothing; and done again from its beginning it comes to the same.
 */
#ifndef CAPD_MEASURE_ERRAND_H
#define CAPD_MEASURE_ERRAND_H

#include "capd/base/sys.h"
#include "capd/measure/guard.h"

typedef int (*errand_fn)(void *arg, struct guard *guard);

/* From now on the calling thread does not wait for processes where it goes through `sys`. 0 or a negative errno. */
int errands_start(struct sys *sys);
void errands_stop(struct sys *sys);

/*
 * Has fn(arg) done, and returns what it does. In the thread that called errands_start() it is done by another; -EBUSY, if there is no thread left
 * for that. In all others it is done on the spot, with `guard`.
 */
int errand_run(const struct sys *sys, struct guard *guard, errand_fn fn, void *arg);

#endif
