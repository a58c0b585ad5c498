/* SPDX-License-Identifier: MIT */
/* selectors.c: the words of selector keys, checked and compiled. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "capd/base/size.h"
#include "capd/base/text.h"
#include "capd/limits.h"
#include "capd/process.h"
#include "cgroup-names.h"
#include "glob.h"
#include "keys.h"
#include "problems.h"
#include "selectors.h"
#include "words.h"

/* TASK_COMM_LEN is 16 with the NUL, and only kernel threads show more. */
#define COMM_VISIBLE 15U

/* The largest id; (uid_t)-1 means "none" to the kernel. */
#define ID_MAX ((uint64_t)UINT32_MAX - 1)

const char *const selector_names[_SELECT_MAX + 1] = {
                [SELECT_USER] = "User",
                [SELECT_UID] = "Uid",
                [SELECT_GID] = "Gid",
                [SELECT_PID_FILE] = "PidFile",
                [SELECT_PID_NAMESPACE] = "PidNamespace",
                [SELECT_COMM] = "Comm",
                [SELECT_UNIT] = "Unit",
                [SELECT_CGROUP] = "Cgroup",
                [SELECT_CONTAINER] = "Container",
                [SELECT_EXE] = "Exe",
                [SELECT_CMDLINE] = "Cmdline",
};

/* -- one word; `v->text` is set, and each function decides the rest -- */

static int compile_user(struct selector_value *v, const struct key_context *c)
{
        char e[EXCERPT_MAX];
        uint64_t number;
        uid_t uid;
        int r = c->world->user_to_uid(c->world->userdata, v->text, &uid);

        if (r == -ENOMEM)
                return r;
        if (r == -ENOENT && parse_number(v->text, ID_MAX, &number) == 0)
                return complain(c, "%s=%s is no user's name: write Uid=%s", selector_names[SELECT_USER], v->text,
                                v->text);
        if (r == -ENOENT)
                return complain(c, "unknown user '%s'", excerpt(e, v->text));
        if (r < 0)
                return complain(c, "cannot look up user '%s': %s", excerpt(e, v->text), strerrordesc_np(-r));
        v->kind = VALUE_NUMBER;
        v->first = v->last = uid;
        return 0;
}

/* "1000" or "1000-59999" */
static int compile_range(struct selector_value *v, const char *name, const struct key_context *c)
{
        char e[EXCERPT_MAX], first[16];
        const char *dash = strchr(v->text, '-');
        size_t len = dash ? (size_t)(dash - v->text) : strlen(v->text);
        int r;

        v->kind = VALUE_NUMBER;
        if (len >= sizeof(first)) {
                r = -EINVAL;
        } else {
                memcpy(first, v->text, len);
                first[len] = '\0';
                r = parse_number(first, ID_MAX, &v->first);
                v->last = v->first;
                if (r == 0 && dash)
                        r = parse_number(dash + 1, ID_MAX, &v->last);
        }
        if (r < 0)
                return complain(c,
                                "bad value '%s' for %s=: write a number up to %" PRIu64
                                " or a range such as 1000-59999",
                                excerpt(e, v->text), name, ID_MAX);
        if (v->first > v->last)
                return complain(c, "reversed range '%s' for %s=: the smaller number comes first", excerpt(e, v->text),
                                name);
        return 0;
}

/* Gid= takes a group's name as well: there is no other key for it. */
static int compile_gid(struct selector_value *v, const struct key_context *c)
{
        char e[EXCERPT_MAX];
        gid_t gid;
        int r;

        if (v->text[strspn(v->text, "0123456789-")] == '\0')
                return compile_range(v, selector_names[SELECT_GID], c);
        r = c->world->group_to_gid(c->world->userdata, v->text, &gid);
        if (r == -ENOMEM)
                return r;
        if (r == -ENOENT)
                return complain(c, "unknown group '%s' for Gid=", excerpt(e, v->text));
        if (r < 0)
                return complain(c, "cannot look up group '%s': %s", excerpt(e, v->text), strerrordesc_np(-r));
        v->kind = VALUE_NUMBER;
        v->first = v->last = gid;
        return 0;
}

/* "4026531836" or, as readlink(1) shows it, "pid:[4026531836]" */
static int compile_pid_namespace(struct selector_value *v, const struct key_context *c)
{
        static const char prefix[] = "pid:[";
        char e[EXCERPT_MAX], number[24];
        const char *s = v->text;
        size_t len = strlen(s);

        if (strncmp(s, prefix, strlen(prefix)) == 0 && s[len - 1] == ']') {
                s += strlen(prefix);
                len -= strlen(prefix) + 1;
        }
        v->kind = VALUE_NUMBER;
        if (len < sizeof(number)) {
                memcpy(number, s, len);
                number[len] = '\0';
                if (parse_number(number, UINT64_MAX, &v->first) == 0 && v->first > 0) {
                        v->last = v->first;
                        return 0;
                }
        }
        return complain(c, "bad value '%s' for PidNamespace=: write the number of a namespace, such as 4026531836",
                        excerpt(e, v->text));
}

static int compile_path(struct selector_value *v, enum selector_key key, const struct key_context *c)
{
        char e[EXCERPT_MAX];
        bool pattern = v->kind == VALUE_PATTERN;

        if (v->text[0] == '/' || (pattern && key != SELECT_PID_FILE && v->text[0] == '*')) {
                /* "/a/" and "/a" are one cgroup */
                for (size_t n = strlen(v->text);
                     key == SELECT_CGROUP && n > 1 && v->text[n - 1] == '/' && v->text[n - 2] != '\\'; n--)
                        v->text[n - 1] = '\0';
                return 0;
        }
        return complain(c, "'%s' for %s= must begin with '/'%s", excerpt(e, v->text), selector_names[key],
                        key == SELECT_EXE ? ": the key takes full paths, Comm= takes names" : "");
}

static int compile_unit(struct selector_value *v, const struct key_context *c)
{
        char e[EXCERPT_MAX];

        if (v->kind == VALUE_PATTERN || cgroup_is_unit(v->text, strlen(v->text)))
                return 0;
        if (strchr(v->text, '/'))
                return complain(c, "'%s' for Unit= is a path: write Cgroup=, or the unit's name alone",
                                excerpt(e, v->text));
        return complain(c,
                        "'%s' for Unit= lacks the unit's type: write it with .service, .scope, .slice, .socket, .mount "
                        "or .swap",
                        excerpt(e, v->text));
}

static int compile_comm(struct selector_value *v, const struct key_context *c)
{
        char e[EXCERPT_MAX];

        if (v->kind == VALUE_LITERAL && strlen(v->text) > COMM_VISIBLE)
                return complain(c,
                                "'%s' for Comm= can never match: the kernel keeps the first %u bytes of a name, '%.*s'",
                                excerpt(e, v->text), COMM_VISIBLE, (int)COMM_VISIBLE, v->text);
        return 0;
}

static int compile_container(struct selector_value *v, const struct key_context *c)
{
        char e[EXCERPT_MAX];
        size_t len = strlen(v->text);

        if (strchr(v->text, '/'))
                return complain(c, "'%s' for Container= is a path: write the container's id or name",
                                excerpt(e, v->text));
        /* what docker ps and podman ps show */
        if (v->kind == VALUE_LITERAL && len >= 12 && len < 64 && strspn(v->text, "0123456789abcdef") == len)
                v->kind = VALUE_PREFIX;
        return 0;
}

static int compile(struct selector_value *v, enum selector_key key, const struct key_context *c)
{
        char e[EXCERPT_MAX];
        const char *wrong;

        if (v->text[0] == '\0')
                return complain(c, "empty word for %s=", selector_names[key]);
        if (strlen(v->text) > LIMIT_CONFIG_WORD_BYTES)
                return complain(c, "'%s' for %s= is longer than %u bytes (LIMIT_CONFIG_WORD_BYTES)",
                                excerpt(e, v->text), selector_names[key], LIMIT_CONFIG_WORD_BYTES);
        switch (key) {
        case SELECT_USER:
                return compile_user(v, c);
        case SELECT_UID:
                return compile_range(v, selector_names[key], c);
        case SELECT_GID:
                return compile_gid(v, c);
        case SELECT_PID_NAMESPACE:
                return compile_pid_namespace(v, c);
        case SELECT_PID_FILE:
                return compile_path(v, key, c);
        default:
                break;
        }
        v->kind = glob_is_pattern(v->text) ? VALUE_PATTERN : VALUE_LITERAL;
        wrong = v->kind == VALUE_PATTERN ? glob_check(v->text) : NULL;
        if (wrong)
                return complain(c, "bad pattern '%s' for %s=: %s", excerpt(e, v->text), selector_names[key], wrong);
        switch (key) {
        case SELECT_COMM:
                return compile_comm(v, c);
        case SELECT_UNIT:
                return compile_unit(v, c);
        case SELECT_CONTAINER:
                return compile_container(v, c);
        case SELECT_CGROUP:
        case SELECT_EXE:
                return compile_path(v, key, c);
        default:
                return 0;
        }
}

/* -- lists -- */

static void values_free(struct selector *s)
{
        for (size_t i = 0; i < s->n; i++)
                free(s->values[i].text);
        free(s->values);
        *s = (struct selector){0};
}

/* Compiles one word, which it takes over, into the list. -EBADMSG after reporting: the list is as before. */
static int append(struct selector *s, enum selector_key key, char *word, bool exclude, const struct key_context *c)
{
        struct selector_value v = {.text = word, .exclude = exclude};
        int r;

        r = compile(&v, key, c);
        if (r == 0 && s->n >= LIMIT_SELECTOR_VALUES)
                r = complain(c, "more than %u words (LIMIT_SELECTOR_VALUES) for %s=", LIMIT_SELECTOR_VALUES,
                             selector_names[key]);
        if (r == 0 && (s->n & (s->n - 1)) == 0) { /* the capacity is the next power of two */
                struct selector_value *values = realloc(s->values, MAX(s->n * 2, 1U) * sizeof(*values));

                if (values)
                        s->values = values;
                else
                        r = -ENOMEM;
        }
        if (r < 0) {
                free(word);
                return r;
        }
        s->values[s->n++] = v;
        s->includes |= !exclude;
        return 0;
}

int selectors_set(struct selectors *s, enum selector_key key, const char *text, const struct key_context *c)
{
        _cleanup_(values_free) struct selector fresh = {0};
        int result = 0, r;

        for (;;) {
                bool exclude;
                char *word;

                r = word_next(&text, &word, &exclude);
                if (r == 0)
                        break;
                if (r > 0)
                        r = append(&fresh, key, word, exclude, c);
                if (r == -ENOMEM)
                        return r;
                if (r < 0)
                        result = r; /* go on: every bad word is reported */
                if (fresh.n >= LIMIT_SELECTOR_VALUES && r < 0)
                        return r; /* but not every word too many */
        }
        if (result < 0)
                return result;
        selectors_clear(s, key);
        if (fresh.n > 0)
                s->used |= 1U << key;
        s->by_key[key] = fresh;
        fresh = (struct selector){0};
        return 0;
}

/* The key of "Comm=sshd", and what follows it in *ret_value. Negative after reporting. */
static int protect_key(char *word, char **ret_value, const struct key_context *c)
{
        char e[EXCERPT_MAX], *equals = strchr(word, '=');
        const char *nearest;

        if (!equals)
                return complain(c, "'%s' for %s= is no selector: write words such as Comm=sshd or Unit=dbus.service",
                                excerpt(e, word), c->name);
        *equals = '\0';
        for (int i = 0; i < _SELECT_MAX; i++)
                if (strcmp(selector_names[i], word) == 0) {
                        *ret_value = equals + 1;
                        return i;
                }
        nearest = text_nearest(word, selector_names);
        return complain(c, "unknown selector '%s=' for %s=%s%s%s", excerpt(e, word), c->name,
                        nearest ? ", did you mean '" : "", nearest ? nearest : "", nearest ? "='?" : "");
}

int selectors_set_protect(struct selectors *s, const char *text, const struct key_context *c)
{
        int result = 0;

        for (;;) {
                _cleanup_free_ char *word = NULL;
                char *value = NULL, *copy;
                bool exclude;
                int key, r;

                r = word_next(&text, &word, &exclude);
                if (r < 0)
                        return r;
                if (r == 0)
                        return result;
                r = key = exclude ? -EINVAL : protect_key(word, &value, c);
                if (exclude || (r >= 0 && value[0] == '!')) {
                        r = complain(c, "'!' in %s=: it names what is protected and cannot exclude", c->name);
                } else if (r >= 0) {
                        copy = strdup(value);
                        if (!copy)
                                return -ENOMEM;
                        r = append(&s->by_key[key], (enum selector_key)key, copy, false, c);
                        s->used |= 1U << key;
                }
                if (r == -ENOMEM)
                        return r;
                if (r < 0)
                        result = r;
        }
}

void selectors_clear(struct selectors *s, enum selector_key key)
{
        values_free(&s->by_key[key]);
        s->used &= ~(1U << key);
}

struct selectors *selectors_free(struct selectors *s)
{
        for (int i = 0; s && i < _SELECT_MAX; i++)
                values_free(&s->by_key[i]);
        free(s);
        return NULL;
}

/* Words of one value, a continuation line each once a line grows long: any list stays below LIMIT_CONFIG_LINE_BYTES. */
struct word_writer {
        FILE *f;
        size_t column;
};

static void write_word(struct word_writer *w, const char *prefix, const char *word)
{
        size_t len = strlen(prefix) + strlen(word);

        if (w->column > 0 && w->column + len > 100) {
                fputs(" \\\n       ", w->f);
                w->column = 0;
        } else if (w->column > 0) {
                fputc(' ', w->f);
        }
        fputs(prefix, w->f);
        word_print(word, false, w->f);
        w->column += len + 1;
}

void selectors_print(const struct selectors *s, enum selector_key key, FILE *f)
{
        struct word_writer w = {.f = f};

        for (size_t i = 0; i < s->by_key[key].n; i++)
                write_word(&w, s->by_key[key].values[i].exclude ? "!" : "", s->by_key[key].values[i].text);
}

void selectors_print_protect(const struct selectors *s, FILE *f)
{
        struct word_writer w = {.f = f};

        for (int key = 0; key < _SELECT_MAX; key++)
                for (size_t i = 0; i < s->by_key[key].n; i++) {
                        char prefix[24];

                        snprintf(prefix, sizeof(prefix), "%s=", selector_names[key]);
                        write_word(&w, prefix, s->by_key[key].values[i].text);
                }
}

unsigned selectors_facts(const struct selectors *s)
{
        static const unsigned facts[_SELECT_MAX] = {
                        [SELECT_PID_NAMESPACE] = FACT_PID_NAMESPACE,
                        [SELECT_UNIT] = FACT_CGROUP,
                        [SELECT_CGROUP] = FACT_CGROUP,
                        [SELECT_CONTAINER] = FACT_CGROUP,
                        [SELECT_EXE] = FACT_EXE,
                        [SELECT_CMDLINE] = FACT_CMDLINE,
        };
        unsigned needed = 0;

        for (int i = 0; i < _SELECT_MAX; i++)
                if (s->used & 1U << i)
                        needed |= facts[i];
        return needed;
}
