/* SPDX-License-Identifier: MIT */
#include <stdint.h>
#include <string.h>

#include "capd/base/macros.h"
#include "capd/base/text.h"

/* Decodes the character at s. Its length, or 0 where no well-formed UTF-8 character begins (RFC 3629: no overlong
 * forms, no surrogates, nothing above U+10FFFF). */
static size_t utf8_decode(const char *s, size_t len, uint32_t *ret)
{
        static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
        const unsigned char *u = (const unsigned char *)s;
        uint32_t c;
        size_t n;

        if (len == 0)
                return 0;
        if (u[0] < 0x80) {
                *ret = u[0];
                return 1;
        }
        if (u[0] >= 0xc0 && u[0] < 0xe0)
                n = 2, c = u[0] & 0x1f;
        else if (u[0] >= 0xe0 && u[0] < 0xf0)
                n = 3, c = u[0] & 0x0f;
        else if (u[0] >= 0xf0 && u[0] < 0xf8)
                n = 4, c = u[0] & 0x07;
        else
                return 0;
        if (len < n)
                return 0;
        for (size_t i = 1; i < n; i++) {
                if ((u[i] & 0xc0) != 0x80)
                        return 0;
                c = c << 6 | (u[i] & 0x3f);
        }
        if (c < smallest[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
                return 0;
        *ret = c;
        return n;
}

/*
 * What a terminal acts on or hides instead of showing: controls, and the formatting characters that reorder or swallow
 * their neighbours. Joiners (U+200C, U+200D) are left alone, as scripts and emoji need them. iswprint() would depend on
 * the locale.
 */
static bool is_deceptive(uint32_t c)
{
        static const struct {
                uint32_t first, last;
        } ranges[] = {
                        {0x0000, 0x001f}, {0x007f, 0x009f}, {0x061c, 0x061c},   {0x200b, 0x200b},
                        {0x200e, 0x200f}, {0x2028, 0x202e}, {0x2060, 0x206f},   {0xfeff, 0xfeff},
                        {0xfff9, 0xfffb}, {0xfffe, 0xffff}, {0xe0000, 0xe007f},
        };

        for (size_t i = 0; i < ARRAY_SIZE(ranges); i++)
                if (c >= ranges[i].first && c <= ranges[i].last)
                        return true;
        return false;
}

size_t text_escape(char *dst, size_t dst_size, const char *src, size_t src_len)
{
        static const char hex[] = "0123456789abcdef";
        size_t out = 0;

        if (dst_size == 0)
                return 0;
        for (size_t in = 0; in < src_len;) {
                uint32_t c;
                size_t n = utf8_decode(src + in, src_len - in, &c);

                if (n > 0 && c != '\\' && !is_deceptive(c)) {
                        if (out + n >= dst_size)
                                break;
                        memcpy(dst + out, src + in, n);
                        out += n;
                        in += n;
                        continue;
                }
                /* every byte of it, so that nobody mistakes the rest for text */
                n = MAX(n, 1U);
                if (out + 4 * n >= dst_size)
                        break;
                for (; n > 0; n--, in++) {
                        dst[out++] = '\\';
                        dst[out++] = 'x';
                        dst[out++] = hex[(unsigned char)src[in] >> 4];
                        dst[out++] = hex[(unsigned char)src[in] & 15];
                }
        }
        dst[out] = '\0';
        return out;
}

bool text_is_utf8(const char *s, size_t len)
{
        while (len > 0) {
                uint32_t c;
                size_t n = utf8_decode(s, len, &c);

                if (n == 0)
                        return false;
                s += n;
                len -= n;
        }
        return true;
}

void text_copy(char *dst, size_t dst_size, const char *src)
{
        size_t n;

        if (dst_size == 0)
                return;
        n = MIN(strlen(src), dst_size - 1);
        memcpy(dst, src, n);
        dst[n] = '\0';
}

/* Words of a grammar are short; what is longer is no misspelling of one. */
#define NEAREST_MAX 48U

static char lower(char c)
{
        return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours count one each. */
static unsigned edit_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
        unsigned rows[3][NEAREST_MAX + 1], *before = rows[0], *above = rows[1], *row = rows[2];

        for (unsigned j = 0; j <= b_len; j++)
                above[j] = j;
        for (unsigned i = 1; i <= a_len; i++) {
                unsigned *spare = before;

                row[0] = i;
                for (size_t j = 1; j <= b_len; j++) {
                        bool same = lower(a[i - 1]) == lower(b[j - 1]);

                        row[j] = MIN(above[j], row[j - 1]) + 1;
                        row[j] = MIN(row[j], above[j - 1] + !same);
                        if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1]))
                                row[j] = MIN(row[j], before[j - 2] + 1);
                }
                before = above;
                above = row;
                row = spare;
        }
        return above[b_len];
}

const char *text_nearest(const char *text, const char *const *words)
{
        size_t len = strnlen(text, NEAREST_MAX + 1);
        const char *best = NULL;
        unsigned best_distance = 0;

        if (len == 0 || len > NEAREST_MAX)
                return NULL;
        for (; *words; words++) {
                size_t word_len = strlen(*words);
                unsigned distance;

                if (word_len == 0 || word_len > NEAREST_MAX)
                        continue;
                distance = edit_distance(text, len, *words, word_len);
                /* one slip in three letters, and never so many that nothing of a short word is left */
                if (distance > MAX(len, word_len) / 3 && !(distance == 1 && MIN(len, word_len) > 1))
                        continue;
                if (!best || distance < best_distance) {
                        best = *words;
                        best_distance = distance;
                }
        }
        return best;
}
