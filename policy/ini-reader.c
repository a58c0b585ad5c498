/* SPDX-License-Identifier: MIT */
/*
 * ini-reader.c: the grammar of capd.conf(5), on top of inih without trusting it.
 *
 * inih (release 55, as distributions build it) changes meaning silently: a line over 199 bytes goes on as a new line,
 * names of sections and keys are cut at 49, a NUL ends the text, " ;" cuts a value, an indented line continues the
 * value before, `:` separates like `=`, and the handler learns no line number. So nothing it could misread ever reaches
 * it: this reader takes the text apart into statements and feeds each to inih in a form that has one reading only,
 *
 *     [7]                   for the seventh statement, a section header
 *     Cap=8                 for the eighth, a key; the value stays here
 *
 * What the handler is given must be the statement that was fed last, else that statement is reported. What remains for
 * inih is the dispatch of keys to the handler; lengths, comments, continuation and line numbers are this file's.
 */
#include <errno.h>
#include <ini.h>
#include <inttypes.h>
#include <string.h>

#include "capd/base/text.h"
#include "capd/limits.h"
#include "ini-reader.h"
#include "problems.h"

/* inih's MAX_NAME is 50 with the NUL. No key of ours comes near. */
#define KEY_BYTES_MAX 49U

struct reader {
        const char *file;
        const char *pos, *end;
        unsigned line; /* of the text before pos, from 1 */
        bool carriage_return_reported;

        const struct ini_events *events;
        struct policy_problems *problems;
        int error;

        /* The statement that inih was fed last. */
        char *buf; /* holds the whole text if need be */
        unsigned statement;
        unsigned statement_line;
        const char *key; /* NULL: none is under way */
        const char *value;
};

static void _printf_(3, 4) problem(struct reader *r, unsigned line, const char *format, ...)
{
        va_list ap;
        int e;

        va_start(ap, format);
        e = problems_addv(r->problems, r->file, line, format, ap);
        va_end(ap);
        if (e < 0 && r->error == 0)
                r->error = e;
}

static bool is_blank(char c)
{
        return c == ' ' || c == '\t';
}

/* Takes the next physical line. False at the end of the text. */
static bool next_line(struct reader *r, const char **ret, size_t *ret_len)
{
        const char *newline;
        size_t len;

        if (r->pos >= r->end)
                return false;
        newline = memchr(r->pos, '\n', (size_t)(r->end - r->pos));
        len = (size_t)((newline ? newline : r->end) - r->pos);
        *ret = r->pos;
        r->pos += len + (newline ? 1 : 0);
        r->line++;
        if (len > 0 && (*ret)[len - 1] == '\r') {
                len--;
                if (!r->carriage_return_reported)
                        problem(r, r->line, "line ends in a carriage return: convert the file to Unix line ends");
                r->carriage_return_reported = true;
        }
        *ret_len = len;
        return true;
}

/* Reports what no line may contain, comments included: a damaged file is not half-read. */
static bool check_line(struct reader *r, const char *s, size_t len)
{
        if (len > LIMIT_CONFIG_LINE_BYTES) {
                problem(r, r->line,
                        "line of %zu bytes is longer than %u (LIMIT_CONFIG_LINE_BYTES): continue it on the next line "
                        "after a "
                        "backslash",
                        len, LIMIT_CONFIG_LINE_BYTES);
                return false;
        }
        for (size_t i = 0; i < len; i++) {
                unsigned char c = (unsigned char)s[i];

                if (c == '\0') {
                        problem(r, r->line, "NUL byte in column %zu: is this a text file?", i + 1);
                        return false;
                }
                /* U+0080 to U+009F are controls too */
                if ((c < 0x20 && c != '\t') || c == 0x7f ||
                    (c == 0xc2 && i + 1 < len && ((unsigned char)s[i + 1] & 0xe0) == 0x80)) {
                        problem(r, r->line, "control character in column %zu", i + 1);
                        return false;
                }
        }
        if (!text_is_utf8(s, len)) {
                problem(r, r->line, "invalid UTF-8");
                return false;
        }
        return true;
}

/* Where a comment begins in this line, or its length. *quoted is the state of quotation at its begin and end. */
static size_t find_comment(const char *s, size_t len, bool *quoted)
{
        for (size_t i = 0; i < len; i++) {
                if (s[i] == '"')
                        *quoted = !*quoted;
                else if (*quoted && s[i] == '\\' && i + 1 < len && (s[i + 1] == '"' || s[i + 1] == '\\'))
                        i++;
                else if (!*quoted && s[i] == '#' && (i == 0 || is_blank(s[i - 1])))
                        return i;
        }
        return len;
}

/*
 * Reads one logical line into r->buf: a physical line and, after a backslash, its continuation lines, joined by a
 * blank, trimmed, without comments. Returns false at the end. *ret_bad: something was reported and only the text's
 * first character may be used.
 */
static bool next_logical_line(struct reader *r, bool *ret_bad)
{
        bool quoted = false, bad = false, more = true;
        size_t out = 0;
        unsigned first;

        if (r->pos >= r->end)
                return false;
        first = r->line + 1;
        while (more) {
                const char *s;
                size_t len, comment;

                if (!next_line(r, &s, &len)) {
                        problem(r, r->line, "the text ends after a backslash that continues the line");
                        bad = true;
                        break;
                }
                while (len > 0 && is_blank(*s)) {
                        s++;
                        len--;
                }
                if (!check_line(r, s, len))
                        bad = true;
                if (r->line == first && len > 0 && *s == ';')
                        len = 0;
                comment = find_comment(s, len, &quoted);
                more = comment == len && len > 0 && s[len - 1] == '\\';
                len = more ? len - 1 : comment;
                while (len > 0 && is_blank(s[len - 1]))
                        len--;
                /* the blank takes the place of the backslash or the newline: buf never outgrows the text */
                if (out > 0 && len > 0)
                        r->buf[out++] = ' ';
                memcpy(r->buf + out, s, len);
                out += len;
        }
        r->buf[out] = '\0';
        r->statement_line = first;
        if (quoted && !bad && r->error == 0 && r->buf[0] != '[') {
                char e[EXCERPT_MAX];

                problem(r, first, "quotation mark without its counterpart in '%s'", excerpt(e, r->buf));
                bad = true;
        }
        *ret_bad = bad;
        return true;
}

/* Text between the brackets of a header line, or NULL after reporting. */
static char *parse_header(struct reader *r)
{
        char e[EXCERPT_MAX], *title = r->buf + 1, *close = strchr(r->buf, ']');
        size_t len;

        if (!close) {
                problem(r, r->statement_line, "section header '%s' lacks its ']'", excerpt(e, r->buf));
                return NULL;
        }
        if (close[1] != '\0') {
                problem(r, r->statement_line, "'%s' behind a section header: write it on a line of its own",
                        excerpt(e, close + 1));
                return NULL;
        }
        *close = '\0';
        title += strspn(title, " \t");
        for (len = strlen(title); len > 0 && is_blank(title[len - 1]);)
                title[--len] = '\0';
        return title;
}

/* Splits a key line into r->key and r->value. False after reporting. */
static bool parse_assignment(struct reader *r)
{
        char e[EXCERPT_MAX], *equals = strchr(r->buf, '='), *value;
        size_t len;

        if (!equals) {
                problem(r, r->statement_line, "'%s' is no Key=Value, [Section] or comment%s", excerpt(e, r->buf),
                        strchr(r->buf, ':') ? ": keys and values are separated by '='" : "");
                return false;
        }
        value = equals + 1;
        value += strspn(value, " \t");
        for (len = (size_t)(equals - r->buf); len > 0 && is_blank(r->buf[len - 1]);)
                len--;
        r->buf[len] = '\0';
        if (len == 0) {
                problem(r, r->statement_line, "no key before '='");
                return false;
        }
        if (r->buf[strspn(r->buf, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")]) {
                problem(r, r->statement_line, "'%s' is no name of a key: keys are made of letters", excerpt(e, r->buf));
                return false;
        }
        if (len > KEY_BYTES_MAX) {
                problem(r, r->statement_line, "unknown key '%s': no key is that long", excerpt(e, r->buf));
                return false;
        }
        r->key = r->buf;
        r->value = value;
        return true;
}

/* The statement before must have arrived at the handler by now. */
static void check_arrived(struct reader *r)
{
        if (r->key)
                problem(r, r->statement_line, "key '%s' was refused by the INI library", r->key);
        r->key = NULL;
}

/* inih's reader, like fgets(): the next statement as a line that cannot be misread. */
static char *feed(char *str, int num, void *stream)
{
        struct reader *r = stream;
        bool bad;

        check_arrived(r);
        while (r->error == 0 && next_logical_line(r, &bad)) {
                r->statement++;
                if (r->buf[0] == '[') {
                        char *title = bad ? NULL : parse_header(r);

                        if (r->error == 0)
                                r->error = r->events->section(r->events->userdata, r->statement_line, title);
                        snprintf(str, (size_t)num, "[%u]\n", r->statement);
                        return r->error == 0 ? str : NULL;
                }
                if (!bad && r->buf[0] == '\0')
                        continue;
                if (bad || !parse_assignment(r)) {
                        if (r->error == 0)
                                r->error = r->events->key(r->events->userdata, r->statement_line, NULL, NULL);
                        continue;
                }
                if (snprintf(str, (size_t)num, "%s=%u\n", r->key, r->statement) >= num) {
                        check_arrived(r); /* a build of inih with tiny lines */
                        continue;
                }
                return str;
        }
        return NULL;
}

/* inih's handler: nonzero to go on. */
static int handle(void *userdata, const char *section, const char *name, const char *value)
{
        struct reader *r = userdata;
        char expected[16];

        if (!name || !value || !r->key || r->error != 0)
                return 1;
        snprintf(expected, sizeof(expected), "%u", r->statement);
        if (strcmp(name, r->key) != 0 || strcmp(value, expected) != 0)
                return 1; /* check_arrived() will tell */
        r->error = r->events->key(r->events->userdata, r->statement_line, r->key, r->value);
        r->key = NULL;
        return 1;
}

int ini_read(const struct policy_text *text, const struct ini_events *events, struct policy_problems *problems)
{
        static const char bom[] = "\xef\xbb\xbf";
        struct reader r = {
                        .file = text->name,
                        .pos = text->text,
                        .end = text->text + text->size,
                        .events = events,
                        .problems = problems,
        };
        _cleanup_free_ char *buf = NULL;

        if (text->size >= strlen(bom) && memcmp(text->text, bom, strlen(bom)) == 0)
                r.pos += strlen(bom);
        r.buf = buf = malloc(text->size + 1);
        if (!buf)
                return -ENOMEM;
        if (ini_parse_stream(feed, &r, handle, &r) == -2)
                return -ENOMEM; /* a build that keeps its line on the heap */
        check_arrived(&r);
        return r.error;
}
