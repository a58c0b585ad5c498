/* SPDX-License-Identifier: MIT */
/*
 * frame-words.h: /proc/kpageflags, /proc/kpagecount and /proc/kpagecgroup, open as fd: a word for each page frame.
 *
 * Reading blocks on nobody. An entry costs some 60 ns in bulk, a call 400 ns and more.
 */
#ifndef CAPD_MEASURE_FRAME_WORDS_H
#define CAPD_MEASURE_FRAME_WORDS_H

#include <stddef.h>
#include <stdint.h>

#include "capd/base/sys.h"

/* The words of n frames from `frame` on; beyond the end of memory they are 0. 0 or a negative errno. */
int frame_words_read(const struct sys *sys, int fd, uint64_t frame, size_t n, uint64_t *ret);
/* The same for frames of which 0 would be a wrong answer: -EIO if one of them is beyond the end of memory. */
int frame_words_read_all(const struct sys *sys, int fd, uint64_t frame, size_t n, uint64_t *ret);

#endif
