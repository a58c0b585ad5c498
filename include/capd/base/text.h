/* SPDX-License-Identifier: MIT */
/* text.h: text from strangers (process names, paths, configuration) made safe to show; and nearest words. */
#ifndef CAPD_BASE_TEXT_H
#define CAPD_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Copies src to dst so that it is valid UTF-8 without control characters: a backslash and every byte that is not part
 * of a printable, well-formed UTF-8 sequence (C0, DEL, C1, surrogates, bidirectional controls, overlong forms) become
 * "\xNN". Never cuts an escape or a character in two; dst is always ended by a NUL. Returns the length of dst.
 */
size_t text_escape(char *dst, size_t dst_size, const char *src, size_t src_len);

bool text_is_utf8(const char *s, size_t len);

/* Copies with truncation; dst is always ended by a NUL. */
void text_copy(char *dst, size_t dst_size, const char *src);

/* The word of `words` (NULL-terminated) nearest to `text` by edit distance, case ignored, or NULL when none is near
 * enough to be what was meant. */
const char *text_nearest(const char *text, const char *const *words);

#endif
