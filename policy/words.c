/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "capd/base/macros.h"
#include "words.h"

/* Removes the quotes of one word, or of everything. The result is never longer than the text. */
static int unquote(const char **text, bool spaces, char **ret)
{
        const char *s = *text;
        bool quoted = false;
        char *word, *out;

        out = word = malloc(strlen(s) + 1);
        if (!word)
                return -ENOMEM;
        for (; *s; s++) {
                if (*s == '"') {
                        quoted = !quoted;
                        continue;
                }
                if (!quoted && !spaces && (*s == ' ' || *s == '\t'))
                        break;
                if (quoted && *s == '\\' && (s[1] == '"' || s[1] == '\\'))
                        s++;
                *out++ = *s;
        }
        *out = '\0';
        *text = s;
        *ret = word;
        return 0;
}

int word_next(const char **s, char **ret, bool *ret_exclude)
{
        const char *p = *s + strspn(*s, " \t");
        bool exclude = *p == '!';
        char *word;
        int r;

        if (*p == '\0')
                return 0;
        p += exclude;
        r = unquote(&p, false, &word);
        if (r < 0)
                return r;
        *s = p;
        *ret = word;
        *ret_exclude = exclude;
        return 1;
}

int word_unquote(const char *s, char **ret)
{
        return unquote(&s, true, ret);
}

void word_print(const char *word, bool spaces, FILE *f)
{
        size_t len = strlen(word);
        bool plain = len > 0 && !strpbrk(word, "\"#;!\t") && word[0] != ' ' && word[len - 1] != ' ' &&
                     word[len - 1] != '\\' && (spaces || !strchr(word, ' '));

        if (plain) {
                fputs(word, f);
                return;
        }
        fputc('"', f);
        for (; *word; word++) {
                if (*word == '"' || *word == '\\')
                        fputc('\\', f);
                fputc(*word, f);
        }
        fputc('"', f);
}
