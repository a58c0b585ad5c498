/* SPDX-License-Identifier: MIT */
/*
 * trace.h: the ranges an act paged out, so that the next act on the group can see what came straight back.
 *
 * A range is kept with the number of bytes that left it: what was present before and stayed did not come back. Ranges that
 * touch are merged; past TRACE_RANGES_MAX only the bytes are counted, and what was seen of the others stands for them.
 */
#ifndef CAPD_ENFORCE_TRACE_H
#define CAPD_ENFORCE_TRACE_H

#include "capd/enforce/pageout.h"

#define TRACE_RANGES_MAX 65536U /* 1.5 MiB */

struct trace_range {
        uint64_t start, end;
        uint64_t left; /* bytes */
};

/* Ranges [first, first of the next process) are of one process. One that was visited twice is here twice. */
struct trace_process {
        pid_t pid;
        uint64_t start_time;
        uint64_t mm_id; /* another one after an exec */
        size_t first;
};

struct pageout_trace {
        struct trace_process *processes;
        size_t n_processes, processes_allocated;
        struct trace_range *ranges;
        size_t n_ranges, ranges_allocated;
        uint64_t recorded, dropped; /* bytes that left, in ranges kept and not kept */
};

/* Never fails: what does not fit is dropped and counted. */
void trace_add(struct pageout_trace *t, const struct pageout_target *target, uint64_t start, uint64_t size,
               uint64_t left);
size_t trace_process_end(const struct pageout_trace *t, size_t i); /* behind its last range */

#endif
