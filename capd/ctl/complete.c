/* SPDX-License-Identifier: MIT */
/*
 * complete.c: what the last word of a command line may become, for the completions of shells (etc/completions).
 *
 * They are made of the tables that the command line is read by, so a new verb, option or column completes by itself. One candidate
 * a line, an explanation behind a tab; or one line ":files", ":users" or ":pids", which a shell knows best. It never says
 * what is wrong: a key pressed in a shell is no place for that.
 */
#include <signal.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "capd/bus.h"
#include "ctl.h"

/* A front that is stuck must not hold up a shell. */
#define PATIENCE_SECONDS 2

struct line {
        const char *word; /* the one that is completed */
        const struct verb *verb;
        size_t n_words;                  /* of the verb, before it */
        const struct option_text *value; /* whose argument it is, or NULL */
        size_t value_at;                 /* where in the word that begins: behind "--output=" */
        const char *runtime_directory;
};

static void offer(const struct line *l, const char *candidate, const char *help)
{
        if (strncmp(candidate, l->word, strlen(l->word)) == 0)
                printf("%s\t%s\n", candidate, help);
}

/* -- what was typed -- */

static const struct option_text *find_long(const char *word, size_t len)
{
        for (const struct option_text *o = option_texts; o->name; o++)
                if (strlen(o->name) == len && strncmp(o->name, word, len) == 0)
                        return o;
        return NULL;
}

/* An option whose argument is the next word. */
static const struct option_text *waits_for_argument(const char *word)
{
        const struct option_text *o = NULL;

        if (strncmp(word, "--", 2) == 0)
                o = find_long(word + 2, strlen(word + 2));
        else if (word[0] == '-' && word[1])
                for (const struct option_text *s = option_texts; s->name; s++)
                        if (s->letter == word[strlen(word) - 1]) /* "-rno" */
                                o = s;
        return o && o->arg ? o : NULL;
}

static const struct verb *verb_named(const char *word)
{
        for (const struct verb *v = verbs; v->name; v++)
                if (strcmp(v->name, word) == 0)
                        return v;
        return NULL;
}

/* The last word is the one in work. */
static void read_line(char *const *words, size_t n, struct line *ret)
{
        const struct option_text *value = NULL;

        *ret = (struct line){.word = n > 0 ? words[n - 1] : "", .runtime_directory = DEFAULT_RUNTIME_DIRECTORY};
        for (size_t i = 0; i + 1 < n; i++) {
                if (value) {
                        if (strcmp(value->name, "runtime-directory") == 0)
                                ret->runtime_directory = words[i];
                        value = NULL;
                } else if (strncmp(words[i], "--runtime-directory=", 20) == 0)
                        ret->runtime_directory = words[i] + 20;
                else if (words[i][0] == '-')
                        value = waits_for_argument(words[i]);
                else if (ret->verb)
                        ret->n_words++;
                else
                        ret->verb = verb_named(words[i]);
        }
        ret->value = value;
        if (!value && strncmp(ret->word, "--", 2) == 0 && strchr(ret->word, '=')) {
                size_t len = strcspn(ret->word, "=");

                ret->value = find_long(ret->word + 2, len - 2);
                ret->value_at = len + 1;
        }
}

/* -- what it may become -- */

static void offer_verbs(const struct line *l)
{
        for (const struct verb *v = verbs; v->name; v++)
                if (v->help)
                        offer(l, v->name, v->help);
}

static void offer_options(const struct line *l)
{
        for (const struct option_text *o = option_texts; o->name; o++) {
                char text[64];

                if (l->verb && o->verbs && !(o->verbs & l->verb->flags))
                        continue;
                snprintf(text, sizeof(text), "--%s", o->name);
                offer(l, text, o->help);
        }
}

static void offer_groups(const struct line *l)
{
        const struct arguments a = {.runtime_directory = l->runtime_directory};
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(groups_done) struct groups g = {0};
        char ignored[256];

        failures_to(ignored, sizeof(ignored));
        alarm(PATIENCE_SECONDS); /* its default is to end the process */
        if (client_open(&a, &bus) == 0 && client_groups(bus, &g) == 0)
                for (size_t i = 0; i < g.n; i++)
                        offer(l, g.items[i].name, g.items[i].description);
}

/* The columns of the verb, behind those that are there already: "GROUP,RES". */
static void offer_columns(const struct line *l)
{
        const struct column *all = verb_columns(l->verb ? l->verb : &verbs[0]);
        const char *last = strrchr(l->word + l->value_at, ',');
        size_t before = last ? (size_t)(last + 1 - l->word) : l->value_at + (l->word[l->value_at] == '+');

        for (const struct column *c = all; c->header; c++) {
                char text[4096];

                if ((c->flags & COLUMN_DAEMON) && l->verb && (l->verb->flags & VERB_MEASURE))
                        continue; /* refused there */
                if (strncasecmp(c->header, l->word + before, strlen(l->word + before)) != 0 || before > 2048)
                        continue;
                snprintf(text, sizeof(text), "%.*s%s", (int)before, l->word, c->header);
                printf("%s\t%s\n", text, c->help);
        }
}

/* By what the help calls the argument. */
static void offer_argument(const struct line *l, const char *what, size_t len)
{
        const struct {
                const char *word, *answer;
        } shell[] = {{"FILE", ":files"}, {"DIR", ":files"}, {"PID", ":pids"}, {"NAME", ":users"}};

        for (size_t i = 0; i < ARRAY_SIZE(shell); i++)
                if (memmem(what, len, shell[i].word, strlen(shell[i].word)))
                        puts(shell[i].answer);
        if (memmem(what, len, "COLS", 4))
                offer_columns(l);
        if (memmem(what, len, "GROUP", 5))
                offer_groups(l);
        if (memmem(what, len, "default", 7))
                offer(l, "default", "the configured cap");
}

/* Of the verb's arguments, "GROUP SIZE|default" or "[GROUP…]", the one that this word is. */
static void offer_word(const struct line *l)
{
        const char *args = l->verb->args;
        size_t len = strcspn(args, " ");

        for (size_t i = 0; i < l->n_words && !memmem(args, len, "…", strlen("…")); i++) {
                args += len;
                args += strspn(args, " ");
                len = strcspn(args, " ");
        }
        offer_argument(l, args, len);
}

int verb_complete(const struct arguments *a)
{
        struct line l;

        read_line(a->words, a->n_words, &l);
        if (l.value)
                offer_argument(&l, l.value->arg ? l.value->arg : "", l.value->arg ? strlen(l.value->arg) : 0);
        else if (l.word[0] == '-')
                offer_options(&l);
        else if (!l.verb)
                offer_verbs(&l);
        else
                offer_word(&l);
        return EXIT_DONE;
}
