/* SPDX-License-Identifier: MIT */
/* values.c: the types of keys but for selectors. Each prints exactly what it would parse to the same value. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "capd/base/size.h"
#include "capd/base/text.h"
#include "capd/limits.h"
#include "keys.h"
#include "problems.h"
#include "selectors.h"
#include "words.h"

static void *field(const struct key *k, void *object)
{
        return (char *)object + k->offset;
}

static const void *const_field(const struct key *k, const void *object)
{
        return (const char *)object + k->offset;
}

/* Exact texts, for messages and for files: format_time() and format_size() round, these must not. */
#define EXACT_MAX 32

/* With the largest unit that leaves no remainder. */
static const char *exact(char buf[static EXACT_MAX], uint64_t value, const uint64_t *units, const char *const *suffixes)
{
        while (*units != 1 && (value == 0 || value % *units != 0)) {
                units++;
                suffixes++;
        }
        snprintf(buf, EXACT_MAX, "%" PRIu64 "%s", value / *units, *suffixes);
        return buf;
}

static const char *exact_time(char buf[static EXACT_MAX], usec_t t)
{
        static const uint64_t units[] = {24 * 3600 * USEC_PER_SEC,
                                         3600 * USEC_PER_SEC,
                                         60 * USEC_PER_SEC,
                                         USEC_PER_SEC,
                                         USEC_PER_MSEC,
                                         1};
        static const char *const suffixes[] = {"d", "h", "min", "s", "ms", "us"};

        return exact(buf, t, units, suffixes);
}

static const char *exact_size(char buf[static EXACT_MAX], uint64_t bytes)
{
        static const uint64_t units[] = {GIB * 1024 * 1024, GIB * 1024, GIB, MIB, KIB, 1};
        static const char *const suffixes[] = {"P", "T", "G", "M", "K", ""};

        return exact(buf, bytes, units, suffixes);
}

static const char *exact_percent(char buf[static EXACT_MAX], uint32_t basis_points)
{
        unsigned whole = basis_points / 100, rest = basis_points % 100;

        if (rest == 0)
                snprintf(buf, EXACT_MAX, "%u%%", whole);
        else if (rest % 10 == 0)
                snprintf(buf, EXACT_MAX, "%u.%u%%", whole, rest / 10);
        else
                snprintf(buf, EXACT_MAX, "%u.%02u%%", whole, rest);
        return buf;
}

/* -- times -- */

static int parse_time_key(const struct key_context *c, const struct key *k, const char *text, void *object)
{
        char e[EXCERPT_MAX], limit[EXACT_MAX];
        usec_t t;
        int r = parse_time(text, &t);

        if (r == -EINVAL)
                return complain(c, "bad time '%s' for %s=: write a number and a unit, such as 500ms, 5s or 1min 30s",
                                excerpt(e, text), c->name);
        if (r == 0 && t < k->min)
                return complain(c, "%s=%s is too short: at least %s", c->name, excerpt(e, text),
                                exact_time(limit, k->min));
        if (r < 0 || t > k->max)
                return complain(c, "%s=%s is too long: at most %s", c->name, excerpt(e, text),
                                exact_time(limit, k->max));
        *(usec_t *)field(k, object) = t;
        return 0;
}

static void print_time_key(const struct key *k, const void *object, FILE *f)
{
        char buf[EXACT_MAX];

        fputs(exact_time(buf, *(const usec_t *)const_field(k, object)), f);
}

const struct key_type key_time = {parse_time_key, NULL, print_time_key};

/* -- sizes -- */

#define SIZE_SYNTAX "write a number of bytes with an optional K, M, G, T or P, such as 512M or 1.5G"

static int parse_bytes(const struct key_context *c, const char *text, uint64_t min, uint64_t *ret)
{
        char e[EXCERPT_MAX], limit[EXACT_MAX];
        uint64_t bytes;
        int r = parse_size(text, &bytes);

        if (r == -ERANGE)
                return complain(c, "size '%s' for %s= is beyond what a file can hold", excerpt(e, text), c->name);
        if (r < 0)
                return complain(c, "bad size '%s' for %s=: " SIZE_SYNTAX, excerpt(e, text), c->name);
        if (bytes < min)
                return complain(c, "%s=%s is too small: at least %s", c->name, excerpt(e, text),
                                exact_size(limit, min));
        *ret = bytes;
        return 0;
}

static int parse_size_key(const struct key_context *c, const struct key *k, const char *text, void *object)
{
        return parse_bytes(c, text, k->min, field(k, object));
}

static void print_size_key(const struct key *k, const void *object, FILE *f)
{
        char buf[EXACT_MAX];

        fputs(exact_size(buf, *(const uint64_t *)const_field(k, object)), f);
}

const struct key_type key_size = {parse_size_key, NULL, print_size_key};

/* A size between limits, or 0 for nothing at all. */
static int parse_history(const struct key_context *c, const struct key *k, const char *text, void *object)
{
        char e[EXCERPT_MAX], limit[EXACT_MAX];
        uint64_t bytes = 0;
        int r;

        r = parse_bytes(c, text, strcmp(text, "0") == 0 ? 0 : k->min, &bytes);
        if (r < 0)
                return r;
        if (bytes > k->max)
                return complain(c, "%s=%s is too large: at most %s", c->name, excerpt(e, text),
                                exact_size(limit, k->max));
        *(uint64_t *)field(k, object) = bytes;
        return 0;
}

const struct key_type key_history = {parse_history, NULL, print_size_key};

/* A size where 0, or nothing, means without limit. */
static int parse_rate(const struct key_context *c, const struct key *k, const char *text, void *object)
{
        uint64_t rate = 0;
        int r;

        r = parse_bytes(c, text, strcmp(text, "0") == 0 ? 0 : k->min, &rate);
        if (r < 0)
                return r;
        *(uint64_t *)field(k, object) = rate;
        return 0;
}

static void clear_rate(const struct key *k, void *object)
{
        *(uint64_t *)field(k, object) = 0;
}

static void print_rate(const struct key *k, const void *object, FILE *f)
{
        if (*(const uint64_t *)const_field(k, object) > 0)
                print_size_key(k, object, f);
}

const struct key_type key_rate = {parse_rate, clear_rate, print_rate};

/* -- percentages -- */

static int parse_basis_points(const struct key_context *c, const struct key *k, const char *text, uint32_t *ret)
{
        char e[EXCERPT_MAX], limit[EXACT_MAX];
        uint32_t bp;
        int r = parse_percent(text, 100, &bp);

        if (r == -EINVAL)
                return complain(c, "bad percentage '%s' for %s=: write it like 25%% or 2.5%%", excerpt(e, text),
                                c->name);
        if (r < 0 || bp > k->max)
                return complain(c, "%s=%s is too high: at most 100%%", c->name, excerpt(e, text));
        if (bp < k->min)
                return complain(c, "%s=%s is too low: at least %s", c->name, excerpt(e, text),
                                exact_percent(limit, (uint32_t)k->min));
        *ret = bp;
        return 0;
}

static int parse_percent_key(const struct key_context *c, const struct key *k, const char *text, void *object)
{
        return parse_basis_points(c, k, text, field(k, object));
}

static void print_percent_key(const struct key *k, const void *object, FILE *f)
{
        char buf[EXACT_MAX];

        fputs(exact_percent(buf, *(const uint32_t *)const_field(k, object)), f);
}

const struct key_type key_percent = {parse_percent_key, NULL, print_percent_key};

/* A group's PressureThreshold=: unset is the daemon's. */
static void clear_threshold(const struct key *k, void *object)
{
        *(uint32_t *)field(k, object) = THRESHOLD_INHERIT;
}

static void print_threshold(const struct key *k, const void *object, FILE *f)
{
        if (*(const uint32_t *)const_field(k, object) != THRESHOLD_INHERIT)
                print_percent_key(k, object, f);
}

const struct key_type key_threshold = {parse_percent_key, clear_threshold, print_threshold};

/* -- Cap= -- */

static int parse_cap(const struct key_context *c, const struct key *k, const char *text, void *object)
{
        struct policy_section *s = object;
        char e[EXCERPT_MAX];
        uint64_t bytes = 0;
        uint32_t percent = 0;
        int r;

        if (strchr(text, '%')) {
                r = parse_basis_points(c, &(struct key){.min = 1, .max = k->max}, text, &percent);
        } else {
                r = parse_size(text, &bytes);
                if (r == -EINVAL)
                        r = complain(c, "bad size '%s' for %s=: " SIZE_SYNTAX ", or a percentage of physical memory",
                                     excerpt(e, text), c->name);
                else
                        r = parse_bytes(c, text, k->min, &bytes);
        }
        if (r < 0)
                return r;
        s->has_cap = true;
        s->cap_bytes = bytes;
        s->cap_percent = percent;
        return 0;
}

static void clear_cap(const struct key *k, void *object)
{
        struct policy_section *s = object;

        s->has_cap = false;
        s->cap_bytes = 0;
        s->cap_percent = 0;
}

static void print_cap(const struct key *k, const void *object, FILE *f)
{
        const struct policy_section *s = object;
        char buf[EXACT_MAX];

        if (s->has_cap)
                fputs(s->cap_percent > 0 ? exact_percent(buf, s->cap_percent) : exact_size(buf, s->cap_bytes), f);
}

const struct key_type key_cap = {parse_cap, clear_cap, print_cap};

/* -- one word of several: an enum's field, its first value standing for unset -- */

static int parse_word(const struct key_context *c, const struct key *k, const char *text, void *object)
{
        char e[EXCERPT_MAX], valid[128];
        const char *nearest;
        size_t n = 0;

        for (unsigned i = 0; k->words[i]; i++)
                if (strcmp(k->words[i], text) == 0) {
                        *(unsigned *)field(k, object) = i;
                        return 0;
                }
        valid[0] = '\0';
        for (unsigned i = 0; k->words[i] && n < sizeof(valid); i++)
                if (k->words[i][0])
                        n += (size_t)snprintf(valid + n, sizeof(valid) - n, "%s%s", n ? ", " : "", k->words[i]);
        nearest = text_nearest(text, k->words);
        if (nearest)
                return complain(c, "unknown word '%s' for %s=, did you mean '%s'? It takes: %s", excerpt(e, text),
                                c->name, nearest, valid);
        return complain(c, "unknown word '%s' for %s=, which takes: %s", excerpt(e, text), c->name, valid);
}

static void clear_word(const struct key *k, void *object)
{
        *(unsigned *)field(k, object) = 0;
}

static void print_word(const struct key *k, const void *object, FILE *f)
{
        fputs(k->words[*(const unsigned *)const_field(k, object)], f);
}

const struct key_type key_word = {parse_word, clear_word, print_word};

/* -- text and paths: an allocated string, NULL for unset -- */

static int parse_text(const struct key_context *c, const struct key *k, const char *text, void *object)
{
        char **s = field(k, object), *copy;

        if (strlen(text) > k->max)
                return complain(c, "%s= of %zu bytes is longer than %u (LIMIT_DESCRIPTION_BYTES)", c->name,
                                strlen(text), (unsigned)k->max);
        copy = strdup(text);
        if (!copy)
                return -ENOMEM;
        free(*s);
        *s = copy;
        return 0;
}

static void clear_text(const struct key *k, void *object)
{
        char **s = field(k, object);

        free(*s);
        *s = NULL;
}

static void print_text(const struct key *k, const void *object, FILE *f)
{
        const char *const *s = const_field(k, object);

        if (*s)
                word_print(*s, true, f);
}

const struct key_type key_text = {parse_text, clear_text, print_text};

static int parse_path(const struct key_context *c, const struct key *k, const char *text, void *object)
{
        char e[EXCERPT_MAX], **s = field(k, object), *copy;
        size_t len = strlen(text);

        if (text[0] != '/' || text[len - 1] == '/')
                return complain(c, "%s=%s must be the absolute path of a file", c->name, excerpt(e, text));
        if (len > LIMIT_CONFIG_WORD_BYTES)
                return complain(c, "%s= of %zu bytes is longer than %u (LIMIT_CONFIG_WORD_BYTES)", c->name, len,
                                LIMIT_CONFIG_WORD_BYTES);
        copy = strdup(text);
        if (!copy)
                return -ENOMEM;
        free(*s);
        *s = copy;
        return 0;
}

const struct key_type key_path = {parse_path, clear_text, print_text};

/* -- selectors -- */

static int parse_selector(const struct key_context *c, const struct key *k, const char *text, void *object)
{
        struct selectors **s = field(k, object);

        return selectors_set(*s, (enum selector_key)k->min, text, c);
}

static void clear_selector(const struct key *k, void *object)
{
        struct selectors **s = field(k, object);

        selectors_clear(*s, (enum selector_key)k->min);
}

static void print_selector(const struct key *k, const void *object, FILE *f)
{
        const struct selectors *const *s = const_field(k, object);

        selectors_print(*s, (enum selector_key)k->min, f);
}

const struct key_type key_selector = {parse_selector, clear_selector, print_selector};

static int parse_protect(const struct key_context *c, const struct key *k, const char *text, void *object)
{
        struct selectors **s = field(k, object), *fresh;
        int r;

        fresh = calloc(1, sizeof(*fresh));
        if (!fresh)
                return -ENOMEM;
        r = selectors_set_protect(fresh, text, c);
        if (r < 0) {
                selectors_free(fresh);
                return r;
        }
        selectors_free(*s);
        *s = fresh;
        return 0;
}

static void clear_protect(const struct key *k, void *object)
{
        struct selectors **s = field(k, object);

        selectors_free(*s);
        *s = NULL;
}

static void print_protect(const struct key *k, const void *object, FILE *f)
{
        const struct selectors *const *s = const_field(k, object);

        if (*s)
                selectors_print_protect(*s, f);
}

const struct key_type key_protect = {parse_protect, clear_protect, print_protect};
