/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "glob.h"

bool glob_is_pattern(const char *text)
{
        return strpbrk(text, "*?[\\") != NULL;
}

/* One member of a set, or an end of a range: steps over it and returns it. */
static unsigned char set_member(const char **p)
{
        if (**p == '\\' && (*p)[1])
                (*p)++;
        return (unsigned char)*(*p)++;
}

static const char *check_set(const char **p)
{
        const char *s = *p;

        if (*s == '!' || *s == '^')
                s++;
        for (bool first = true; *s != ']' || first; first = false) {
                unsigned char from, to;

                if (*s == '\0' || (*s == '\\' && s[1] == '\0'))
                        return "'[' without ']'";
                if (*s == '[' && (s[1] == ':' || s[1] == '.' || s[1] == '='))
                        return "character classes such as [:alpha:] are not supported, write a range such as a-z";
                from = to = set_member(&s);
                if (*s == '-' && s[1] && s[1] != ']') {
                        s++;
                        to = set_member(&s);
                }
                if (from >= 0x80 || to >= 0x80)
                        return "'[...]' takes ASCII characters only";
                if (from > to)
                        return "reversed range in '[...]'";
        }
        *p = s + 1;
        return NULL;
}

const char *glob_check(const char *pattern)
{
        for (const char *p = pattern; *p;) {
                if (*p == '\\' && p[1] == '\0')
                        return "a backslash at the end";
                if (*p == '[') {
                        const char *wrong;

                        p++;
                        wrong = check_set(&p);
                        if (wrong)
                                return wrong;
                        continue;
                }
                p += *p == '\\' ? 2 : 1;
        }
        return NULL;
}

/* Matches one character against a set and steps behind its bracket. */
static bool match_set(const char **p, unsigned char c)
{
        const char *s = *p;
        bool negate = *s == '!' || *s == '^', found = false;

        s += negate;
        for (bool first = true; *s && (*s != ']' || first); first = false) {
                unsigned char from, to;

                from = to = set_member(&s);
                if (*s == '-' && s[1] && s[1] != ']') {
                        s++;
                        to = set_member(&s);
                }
                found |= c >= from && c <= to;
        }
        *p = *s ? s + 1 : s;
        return found != negate;
}

/* Bytes of the character at s: a well-formed looking UTF-8 sequence, else a single byte. */
static size_t char_len(const char *s, size_t len)
{
        unsigned char c = (unsigned char)*s;
        size_t n = c >= 0xf0 && c < 0xf8 ? 4 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xc0 && c < 0xe0 ? 2 : 1;

        if (n > len)
                return 1;
        for (size_t i = 1; i < n; i++)
                if (((unsigned char)s[i] & 0xc0) != 0x80)
                        return 1;
        return n;
}

/* What one text character is matched by: true, and both steps behind it. *p is neither '*' nor the end. */
static bool match_one(const char **p, const char *text, size_t len, size_t *ret_len)
{
        const char *s = *p;
        bool found;

        *ret_len = 1;
        switch (*s) {
        case '?':
                *ret_len = char_len(text, len);
                *p = s + 1;
                return true;
        case '[':
                *ret_len = char_len(text, len);
                s++;
                found = match_set(&s, (unsigned char)*text);
                *p = s;
                return found;
        case '\\':
                if (s[1])
                        s++;
                break;
        }
        *p = s + 1;
        return *s == *text;
}

bool glob_match(const char *pattern, const char *text, size_t len)
{
        const char *p = pattern, *end = text + len, *star = NULL, *resume = NULL;

        while (text < end) {
                const char *next = p;
                size_t n;

                if (*p == '*') {
                        star = ++p;
                        resume = text;
                        continue;
                }
                if (*p && match_one(&next, text, (size_t)(end - text), &n)) {
                        p = next;
                        text += n;
                        continue;
                }
                if (!star)
                        return false;
                /* Only the last star is ever tried again: what earlier ones took can stay as it is, because a later
                 * star could take any difference. */
                resume += char_len(resume, (size_t)(end - resume));
                text = resume;
                p = star;
        }
        while (*p == '*')
                p++;
        return *p == '\0';
}
