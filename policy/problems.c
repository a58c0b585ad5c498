/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "capd/base/text.h"
#include "capd/limits.h"
#include "problems.h"

/* text_escape() into new memory: at most four bytes for one. */
static char *escape_dup(const char *s)
{
        size_t len = strlen(s);
        char *e = malloc(4 * len + 1);

        if (e)
                text_escape(e, 4 * len + 1, s, len);
        return e;
}

int problems_addv(struct policy_problems *p, const char *file, unsigned line, const char *format, va_list ap)
{
        _cleanup_free_ char *raw = NULL, *message = NULL, *name = NULL;
        va_list again;
        int n;

        if (p->n >= LIMIT_CONFIG_PROBLEMS) {
                p->n_dropped++;
                return 0;
        }
        va_copy(again, ap);
        n = vsnprintf(NULL, 0, format, again);
        va_end(again);
        if (n < 0)
                return -EINVAL;
        raw = malloc((size_t)n + 1);
        if (!raw)
                return -ENOMEM;
        vsnprintf(raw, (size_t)n + 1, format, ap);
        message = escape_dup(raw);
        name = escape_dup(file);
        if (!message || !name)
                return -ENOMEM;
        /* grown whenever n is a power of two: the capacity needs no field of its own */
        if ((p->n & (p->n - 1)) == 0) {
                struct policy_problem *items = realloc(p->items, MAX(p->n * 2, 1U) * sizeof(*items));

                if (!items)
                        return -ENOMEM;
                p->items = items;
        }
        p->items[p->n++] = (struct policy_problem){.file = TAKE_PTR(name), .line = line, .message = TAKE_PTR(message)};
        return 0;
}

int policy_problems_add(struct policy_problems *p, const char *file, unsigned line, const char *format, ...)
{
        va_list ap;
        int r;

        va_start(ap, format);
        r = problems_addv(p, file, line, format, ap);
        va_end(ap);
        return r;
}

void policy_problems_done(struct policy_problems *p)
{
        for (size_t i = 0; i < p->n; i++) {
                free(p->items[i].file);
                free(p->items[i].message);
        }
        free(p->items);
        *p = (struct policy_problems){0};
}

const char *excerpt(char buf[static EXCERPT_MAX], const char *text)
{
        size_t n = strnlen(text, EXCERPT_MAX);

        if (n >= EXCERPT_MAX) {
                n = EXCERPT_MAX - sizeof("...");
                while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
                        n--; /* not in the middle of a character */
                memcpy(buf, text, n);
                strcpy(buf + n, "...");
        } else {
                memcpy(buf, text, n + 1);
        }
        return buf;
}
