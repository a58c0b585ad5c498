/* SPDX-License-Identifier: MIT */
/* args.c: the command line. Options are accepted before and after the verb; one that the verb does not take is an error. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "capd/base/size.h"
#include "capd/base/text.h"
#include "capd/bus.h"
#include "ctl.h"

enum { OPTION_FIRST = 256 };

const struct option_text option_texts[] = {
                {"json", NULL, "print JSON; sizes are bytes", 'J', VERB_TABLE | VERB_EXPLAIN},
                {"bytes", NULL, "print sizes in bytes", 'b', VERB_TABLE},
                {"output", "COLS", "columns to show, +COLS to add some", 'o', VERB_TABLE},
                {"noheadings", NULL, "do not print headings", 'n', VERB_TABLE},
                {"raw", NULL, "print without alignment, odd bytes as \\xNN", 'r', VERB_TABLE},
                {"watch", "SECONDS", "status, top: look again every so many seconds", 'w', VERB_STATUS | VERB_TOP},
                {"global", NULL, "stat: also memory use of the host, and threshold", 'g', VERB_STAT},
                {"user", "NAME", "measure: processes of a user", 0, VERB_MEASURE},
                {"uid", "NUMBERS", "measure: of user numbers, such as 1000-1999", 0, VERB_MEASURE},
                {"gid", "NUMBERS", "measure: of group numbers", 0, VERB_MEASURE},
                {"comm", "GLOB", "measure: by process name", 0, VERB_MEASURE},
                {"exe", "GLOB", "measure: by path of the executable", 0, VERB_MEASURE},
                {"cmdline", "GLOB", "measure: by command line", 0, VERB_MEASURE},
                {"cgroup", "GLOB", "measure: by path of the cgroup", 0, VERB_MEASURE},
                {"unit", "GLOB", "measure: by systemd unit", 0, VERB_MEASURE},
                {"container", "GLOB", "measure: by id or name of the container", 0, VERB_MEASURE},
                {"pidfile", "FILE", "measure: the process named in a file", 0, VERB_MEASURE},
                {"pidns", "NUMBER", "measure: by PID namespace", 0, VERB_MEASURE},
                {"private", NULL, "measure: also count what only they map (slower)", 0, VERB_MEASURE},
                {"pss", NULL, "measure: also sum up the kernel's PSS (slow)", 0, VERB_MEASURE},
                {"estimate", NULL, "measure: read a sample of the pages only (fast)", 0, VERB_MEASURE},
                {"file", "FILE", "config: read FILE instead of asking the daemon", 0, VERB_CONFIG},
                {"since", "TIME", "history, plot: how far back, such as 6h", 0, VERB_HISTORY | VERB_PLOT},
                {"csv", NULL, "history: print comma-separated values", 0, VERB_HISTORY},
                {"classic", NULL, "metrics: in the older text format of Prometheus", 0, VERB_METRICS},
                {"for", "TIME", "cap, suggest: for how long", 0, VERB_CAP | VERB_SUGGEST},
                {"runtime-directory", "DIR", "where capd's control socket is", 0, 0},
                {"help", NULL, "print this help", 'h', 0},
                {"version", NULL, "print the version", 'V', 0},
                {0},
};

#define N_OPTIONS (ARRAY_SIZE(option_texts) - 1)

static int usage(const char *format, const char *what, const char *hint)
{
        char text[256];

        text_escape(text, sizeof(text), what, strlen(what));
        fputs("capctl: ", stderr);
        fprintf(stderr, format, text);
        if (hint)
                fprintf(stderr, "; did you mean %s?", hint);
        fputs("\nTry 'capctl --help'.\n", stderr);
        return EXIT_USAGE;
}

static int find_verb(const char *word, const struct verb **ret)
{
        const char *names[VERBS_MAX + 1] = {0};

        for (size_t i = 0; verbs[i].name && i < VERBS_MAX; i++) {
                names[i] = verbs[i].name;
                if (strcmp(verbs[i].name, word) == 0) {
                        *ret = &verbs[i];
                        return 0;
                }
        }
        return usage("there is no verb '%s'", word, text_nearest(word, names));
}

/* Several words of one selector are any of them, as in capd.conf. */
static int add_selector(struct arguments *a, enum selector which, const char *value)
{
        char *joined;

        if (value[0] == '\0' || strpbrk(value, "\n\r"))
                return usage("'%s' selects nothing", value, NULL);
        if (asprintf(&joined, "%s%s%s", a->selectors[which] ? a->selectors[which] : "", a->selectors[which] ? " " : "",
                     value) < 0)
                return out_of_memory();
        free(a->selectors[which]);
        a->selectors[which] = joined;
        return 0;
}

static int take_watch(struct arguments *a, const char *value)
{
        if (parse_time(value, &a->watch) < 0 || a->watch < 100 * USEC_PER_MSEC)
                return usage("'%s' is no time of at least 0.1 seconds", value, NULL);
        return 0;
}

static int take_option(struct arguments *a, const char *name, const char *value)
{
        static const char *const selectors[_SELECT_MAX] = {"user",   "uid",  "gid",       "comm",    "exe",  "cmdline",
                                                           "cgroup", "unit", "container", "pidfile", "pidns"};
        const struct {
                const char *name;
                bool *value;
        } flags[] = {{"json", &a->json},
                     {"bytes", &a->bytes},
                     {"noheadings", &a->no_headings},
                     {"raw", &a->raw},
                     {"help", &a->help},
                     {"version", &a->version},
                     {"csv", &a->csv},
                     {"classic", &a->classic},
                     {"global", &a->global},
                     {"private", &a->want_private},
                     {"pss", &a->want_pss},
                     {"estimate", &a->want_estimate}};
        const struct {
                const char *name, **value;
        } texts[] = {{"output", &a->output},
                     {"file", &a->file},
                     {"for", &a->duration},
                     {"since", &a->since},
                     {"runtime-directory", &a->runtime_directory}};

        for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
                if (strcmp(name, flags[i].name) == 0) {
                        *flags[i].value = true;
                        return 0;
                }
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
                if (strcmp(name, texts[i].name) == 0) {
                        *texts[i].value = value;
                        return 0;
                }
        for (int i = 0; i < _SELECT_MAX; i++)
                if (strcmp(name, selectors[i]) == 0)
                        return add_selector(a, (enum selector)i, value);
        return take_watch(a, value);
}

/* The word is that of a long option; a short one is told by its letter, which may stand in a word with others. */
static int bad_option(const char *word, int letter, bool lacks_argument)
{
        const char option[] = {'-', (char)letter, '\0'};
        char text[128];

        if (letter > 0 && letter < OPTION_FIRST)
                word = option;
        text_escape(text, sizeof(text), word, strlen(word));
        (void)failed(lacks_argument ? "option '%s' needs an argument" : "there is no option '%s', or not in this form",
                     text);
        fputs("Try 'capctl --help'.\n", stderr);
        return EXIT_USAGE;
}

static void make_options(struct option *options, char *letters)
{
        *letters++ = ':'; /* tells a missing argument from an unknown option */
        for (size_t i = 0; i < N_OPTIONS; i++) {
                const struct option_text *o = &option_texts[i];

                options[i] = (struct option){.name = o->name,
                                             .has_arg = o->arg ? required_argument : no_argument,
                                             .val = (int)(OPTION_FIRST + i)};
                if (o->letter) {
                        *letters++ = o->letter;
                        if (o->arg)
                                *letters++ = ':';
                }
        }
        *letters = '\0';
}

static const struct option_text *find_option(int value)
{
        if (value >= OPTION_FIRST)
                return &option_texts[value - OPTION_FIRST];
        for (size_t i = 0; i < N_OPTIONS; i++)
                if (option_texts[i].letter == value)
                        return &option_texts[i];
        return NULL;
}

static int check(const struct arguments *a, const bool *seen)
{
        for (size_t i = 0; i < N_OPTIONS; i++)
                if (seen[i] && option_texts[i].verbs && !(option_texts[i].verbs & a->verb->flags)) {
                        char text[64];

                        snprintf(text, sizeof(text), "%s does not take --%s", a->verb->name, option_texts[i].name);
                        return usage("%s", text, NULL);
                }
        if (a->n_words < a->verb->min_words) {
                fprintf(stderr, "capctl: an argument is missing: capctl %s %s\n", a->verb->name, a->verb->args);
                return EXIT_USAGE;
        }
        if (a->n_words > a->verb->max_words)
                return usage("'%s' is an argument too many", a->words[a->verb->max_words], NULL);
        if (a->want_estimate && (a->want_private || a->want_pss))
                return usage("%s and --private or --pss exclude each other", "--estimate", NULL);
        if (a->json && a->raw)
                return usage("%s and --raw exclude each other", "--json", NULL);
        return 0;
}

int arguments_parse(int argc, char **argv, struct arguments *ret)
{
        struct option options[N_OPTIONS + 1] = {0};
        char letters[2 * N_OPTIONS + 2];
        bool seen[N_OPTIONS] = {0};
        int value, r;

        ret->runtime_directory = DEFAULT_RUNTIME_DIRECTORY;
        make_options(options, letters);
        optind = 0; /* GNU: starts anew, for the tests */
        opterr = 0; /* it would print the word as it is */
        while ((value = getopt_long(argc, argv, letters, options, NULL)) != -1) {
                const struct option_text *o = value == '?' || value == ':' ? NULL : find_option(value);

                if (!o)
                        return bad_option(argv[optind - 1], optopt, value == ':');
                seen[o - option_texts] = true;
                r = take_option(ret, o->name, optarg);
                if (r != 0)
                        return r;
        }
        if (ret->help || ret->version)
                return 0;
        ret->verb = &verbs[0];
        if (optind < argc) {
                r = find_verb(argv[optind++], &ret->verb);
                if (r != 0)
                        return r;
        }
        ret->words = argv + optind;
        ret->n_words = (size_t)(argc - optind);
        return check(ret, seen);
}

void arguments_done(struct arguments *a)
{
        for (int i = 0; i < _SELECT_MAX; i++)
                free(a->selectors[i]);
}

static void print_columns(FILE *f, const char *title, const struct column *columns)
{
        fprintf(f, "\n%s\n", title);
        for (const struct column *c = columns; c->header; c++)
                fprintf(f, " %14s  %s\n", c->header, c->help);
}

void print_help(FILE *f)
{
        fputs("Usage:\n capctl [options] [VERB] [arguments]\n\n"
              "Ask capd how much physical memory groups of processes hold, each page once.\n\nVerbs:\n",
              f);
        for (const struct verb *v = verbs; v->name; v++) {
                char text[64];

                if (!v->help)
                        continue;
                snprintf(text, sizeof(text), "%s %s", v->name, v->args);
                /* the ellipsis is three bytes and one column */
                fprintf(f, " %-*s %s\n", 24 + (strstr(text, "…") ? 2 : 0), text, v->help);
        }
        fputs("\nOptions:\n", f);
        for (const struct option_text *o = option_texts; o->name; o++) {
                char text[64], letter[8] = "   ";

                if (o->letter)
                        snprintf(letter, sizeof(letter), "-%c,", o->letter);
                snprintf(text, sizeof(text), "%s --%s %s", letter, o->name, o->arg ? o->arg : "");
                fprintf(f, " %-28s %s\n", text, o->help);
        }
        print_columns(f, "Columns of status and measure:", group_columns);
        print_columns(f, "Columns of ps:", process_columns);
        print_columns(f, "Columns of stat:", stat_columns);
        print_columns(f, "Columns of history:", history_columns);
        fputs("\nExit status: 0 done, 1 failed, 2 usage, 3 capd is not running. See capctl(1).\n", f);
}
