/* SPDX-License-Identifier: MIT */
/*
 * load.c: from texts to a policy.
 *
 * Every key is parsed where it is met, so that a bad value is reported even if a later file overrides it. A key is set
 * by the last file that names it; within one file, saying something twice is a mistake. What depends on several keys is
 * checked at the end, when nothing can override it any more.
 */
#include <errno.h>
#include <string.h>

#include "capd/base/size.h"
#include "capd/base/text.h"
#include "capd/limits.h"
#include "ini-reader.h"
#include "keys.h"
#include "problems.h"
#include "selectors.h"
#include "words.h"

/* Open addressing with room to spare: a file of nothing but headers costs no more than its length. */
#define NAME_SLOTS (4 * LIMIT_CONFIG_GROUPS)

enum place {
        IN_NOTHING, /* before the first header of a file */
        IN_IGNORED, /* below a header that was reported: its keys are not reported one by one */
        IN_DAEMON,
        IN_GROUP,
};

/* What loading must know of a section besides its policy. */
struct section_state {
        size_t opened_text; /* in which text and line it was last opened; 0 never */
        unsigned opened_line;
        uint32_t bad; /* bit per key whose last value was refused */
};

struct loader {
        const struct policy_world *world;
        struct policy_problems *problems;
        struct policy *policy;
        struct origins *origins;

        size_t text; /* index of the text being read, from 1 */
        const char *file;
        enum place place;
        size_t section; /* IN_GROUP: its index */

        struct section_state daemon_state, *states; /* by policy->sections */
        usec_t default_last_resort_after;
        uint16_t slots[NAME_SLOTS]; /* index of a section + 1, by hash of its name; 0 free */
        bool too_many_reported;
};

static struct loader *loader_free(struct loader *l)
{
        policy_free(l->policy);
        free(l->states);
        free(l);
        return NULL;
}
DEFINE_CLEANUP(struct loader *, loader_free)

/* Reports a problem. 0 so that reading goes on; -ENOMEM. */
static int _printf_(3, 4) problem(struct loader *l, unsigned line, const char *format, ...)
{
        va_list ap;
        int r;

        va_start(ap, format);
        r = problems_addv(l->problems, l->file, line, format, ap);
        va_end(ap);
        return r;
}

static struct key_context key_context(struct loader *l, size_t key, const char *file, unsigned line)
{
        return (struct key_context){.name = policy_keys[key].name,
                                    .file = file,
                                    .line = line,
                                    .world = l->world,
                                    .problems = l->problems};
}

static int set_default(struct loader *l, size_t key, void *object)
{
        struct key_context c = key_context(l, key, "", 0);

        if (keys[key].type->clear)
                keys[key].type->clear(&keys[key], object);
        return policy_keys[key].fallback[0] ? keys[key].type->parse(&c, &keys[key], policy_keys[key].fallback, object)
                                            : 0;
}

static int set_defaults(struct loader *l, const char *section, void *object)
{
        for (size_t i = 0; i < n_keys; i++) {
                int r = strcmp(policy_keys[i].section, section) == 0 ? set_default(l, i, object) : 0;

                if (r < 0)
                        return r;
        }
        return 0;
}

/* -- sections -- */

static uint16_t *name_slot(struct loader *l, const char *name)
{
        size_t h = 5381;

        for (const char *s = name; *s; s++)
                h = h * 33 ^ (unsigned char)*s;
        for (;; h++) {
                uint16_t *slot = &l->slots[h % NAME_SLOTS];

                if (*slot == 0 || strcmp(l->policy->sections[*slot - 1].name, name) == 0)
                        return slot;
        }
}

/* Makes room for one section more in the three arrays; the capacity is the next power of two. */
static int grow_sections(struct loader *l)
{
        size_t n = l->policy->n_sections, capacity = MAX(n * 2, 1U);
        struct policy_section *sections;
        struct policy_origin(*origins)[KEYS_MAX];
        struct section_state *states;

        if ((n & (n - 1)) != 0)
                return 0;
        sections = realloc(l->policy->sections, capacity * sizeof(*sections));
        if (!sections)
                return -ENOMEM;
        l->policy->sections = sections;
        origins = realloc(l->origins->sections, capacity * sizeof(*origins));
        if (!origins)
                return -ENOMEM;
        l->origins->sections = origins;
        states = realloc(l->states, capacity * sizeof(*states));
        if (!states)
                return -ENOMEM;
        l->states = states;
        return 0;
}

static int add_section(struct loader *l, const char *name, unsigned line, uint16_t *slot)
{
        struct policy *p = l->policy;
        struct policy_section *s;
        int r = grow_sections(l);

        if (r < 0)
                return r;
        s = &p->sections[p->n_sections];
        *s = (struct policy_section){.origin = {.file = l->file, .line = line}};
        s->name = strdup(name);
        s->selectors = calloc(1, sizeof(*s->selectors));
        if (!s->name || !s->selectors) {
                free(s->name);
                free(s->selectors);
                return -ENOMEM;
        }
        memset(&l->origins->sections[p->n_sections], 0, sizeof(l->origins->sections[0]));
        l->states[p->n_sections] = (struct section_state){0};
        *slot = (uint16_t)++p->n_sections; /* from here on policy_free() knows it */
        return set_defaults(l, "Group", s);
}

/* Two headers of one section in one file are two people's edits, or a slip of the editor: which one was meant? */
static int open_section(struct loader *l, struct section_state *state, const char *title, unsigned line)
{
        if (state->opened_text == l->text)
                return problem(l, line, "section [%s] again: its first header is in line %u", title,
                               state->opened_line);
        state->opened_text = l->text;
        state->opened_line = line;
        return 0;
}

static int begin_group(struct loader *l, unsigned line, const char *title, const char *name)
{
        char e[EXCERPT_MAX];
        size_t len = strlen(name);
        uint16_t *slot;
        int r;

        if (len == 0)
                return problem(l, line, "section [Group] lacks a name: write [Group NAME]");
        if (len > LIMIT_SECTION_NAME_BYTES)
                return problem(l, line, "group name '%s' of %zu bytes is longer than %u (LIMIT_SECTION_NAME_BYTES)",
                               excerpt(e, name), len, LIMIT_SECTION_NAME_BYTES);
        if (name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:@-")] ||
            name[0] == '-' || name[0] == '.')
                return problem(l, line,
                               "bad group name '%s': names are made of letters, digits and _.:@- and do not begin with "
                               "'-' or '.'",
                               excerpt(e, name));
        slot = name_slot(l, name);
        if (*slot == 0) {
                if (l->policy->n_sections >= LIMIT_CONFIG_GROUPS) {
                        r = l->too_many_reported ? 0
                                                 : problem(l, line,
                                                           "more than %u groups (LIMIT_CONFIG_GROUPS), from '%s' on",
                                                           LIMIT_CONFIG_GROUPS, name);
                        l->too_many_reported = true;
                        return r;
                }
                r = add_section(l, name, line, slot);
                if (r < 0)
                        return r;
        }
        l->place = IN_GROUP;
        l->section = (size_t)*slot - 1;
        return open_section(l, &l->states[l->section], title, line);
}

static int on_section(void *userdata, unsigned line, char *title)
{
        static const char *const kinds[] = {"Daemon", "Group", NULL};
        struct loader *l = userdata;
        char e[EXCERPT_MAX];
        const char *nearest;
        size_t kind_len;

        l->place = IN_IGNORED;
        if (!title)
                return 0;
        if (strcmp(title, "Daemon") == 0) {
                l->place = IN_DAEMON;
                return open_section(l, &l->daemon_state, title, line);
        }
        kind_len = strcspn(title, " \t");
        if (kind_len == strlen("Group") && memcmp(title, "Group", kind_len) == 0)
                return begin_group(l, line, title, title + kind_len + strspn(title + kind_len, " \t"));

        excerpt(e, title);
        title[kind_len] = '\0';
        nearest = text_nearest(title, kinds);
        if (nearest)
                return problem(l, line, "unknown section [%s], did you mean [%s]?", e,
                               strcmp(nearest, "Group") == 0 ? "Group NAME" : nearest);
        return problem(l, line, "unknown section [%s]: there are [Daemon] and [Group NAME]", e);
}

/* -- keys -- */

static int unknown_key(struct loader *l, unsigned line, const char *section, const char *key,
                       struct section_state *state)
{
        const char *other = strcmp(section, "Daemon") == 0 ? "Group" : "Daemon", *names[KEYS_MAX + 1], *nearest;
        size_t n = 0;

        if (key_find(other, key) < n_keys)
                return problem(l, line, "key '%s' does not belong in a [%s] section but in [%s]", key, section,
                               strcmp(other, "Group") == 0 ? "Group NAME" : other);
        for (size_t i = 0; i < n_keys; i++)
                if (strcmp(policy_keys[i].section, section) == 0)
                        names[n++] = policy_keys[i].name;
        names[n] = NULL;
        nearest = text_nearest(key, names);
        if (nearest) {
                state->bad |= 1U << key_find(section, nearest);
                return problem(l, line, "unknown key '%s' in a [%s] section, did you mean '%s'?", key, section,
                               nearest);
        }
        return problem(l, line, "unknown key '%s' in a [%s] section: capd.conf(5) lists what there is", key, section);
}

static int on_key(void *userdata, unsigned line, const char *name, const char *value)
{
        struct loader *l = userdata;
        const char *section = l->place == IN_DAEMON ? "Daemon" : "Group";
        void *object;
        struct section_state *state;
        struct policy_origin *origins, *origin;
        _cleanup_free_ char *text = NULL;
        struct key_context c;
        size_t key;
        int r;

        if (l->place == IN_IGNORED)
                return 0;
        if (l->place == IN_NOTHING && !name)
                return 0;
        if (l->place == IN_NOTHING)
                return problem(l, line, "key '%s' outside of a section: write [Daemon] or [Group NAME] above it", name);
        if (l->place == IN_DAEMON) {
                object = &l->policy->daemon;
                state = &l->daemon_state;
                origins = l->origins->daemon;
        } else {
                object = &l->policy->sections[l->section];
                state = &l->states[l->section];
                origins = l->origins->sections[l->section];
        }
        if (!name) {
                state->bad = UINT32_MAX; /* it may have been any key */
                return 0;
        }
        key = key_find(section, name);
        if (key == n_keys)
                return unknown_key(l, line, section, name, state);
        origin = &origins[key];
        if (origin->file == l->file)
                return problem(l, line, "key '%s' again: it is set in line %u", name, origin->line);

        *origin = (struct policy_origin){.file = l->file, .line = line};
        c = key_context(l, key, l->file, line);
        /* words take their quotes off themselves, as a quoted blank does not separate */
        if (keys[key].type != &key_selector && keys[key].type != &key_protect) {
                r = word_unquote(value, &text);
                if (r < 0)
                        return r;
                value = text;
        }
        r = value[0] ? keys[key].type->parse(&c, &keys[key], value, object) : set_default(l, key, object);
        state->bad = r == -EBADMSG ? state->bad | 1U << key : state->bad & ~(1U << key);
        return r == -EBADMSG ? 0 : r;
}

/* -- the whole -- */

static const struct policy_origin *later(const struct loader *l, const struct policy_origin *a,
                                         const struct policy_origin *b)
{
        size_t rank_a = 0, rank_b = 0; /* 0 for a default, which nobody wrote */

        for (size_t i = 0; i < l->origins->n_files; i++) {
                rank_a = l->origins->files[i] == a->file ? i + 1 : rank_a;
                rank_b = l->origins->files[i] == b->file ? i + 1 : rank_b;
        }
        return rank_a > rank_b || (rank_a == rank_b && a->line > b->line) ? a : b;
}

/* Reports a problem of two keys where the later of them was set. */
static int conflict(struct loader *l, const struct policy_origin *a, const struct policy_origin *b, const char *message)
{
        const struct policy_origin *o = later(l, a, b);

        return policy_problems_add(l->problems, o->file ? o->file : "", o->line, "%s", message);
}

static int check_daemon(struct loader *l)
{
        const struct policy_daemon *d = &l->policy->daemon;
        const struct policy_origin *o = l->origins->daemon;
        size_t sample = key_find("Daemon", "SampleInterval"), scan = key_find("Daemon", "ScanInterval"),
               exact = key_find("Daemon", "ExactInterval");
        uint32_t bad = l->daemon_state.bad;
        int r = 0;

        if (d->scan_interval < d->sample_interval && !(bad & (1U << sample | 1U << scan)))
                r = conflict(l, &o[sample], &o[scan],
                             "ScanInterval= is shorter than SampleInterval=: set it to the same time or more");
        if (r == 0 && d->exact_interval < d->sample_interval && !(bad & (1U << sample | 1U << exact)))
                r = conflict(l, &o[sample], &o[exact],
                             "ExactInterval= is shorter than SampleInterval=: set it to the same time or more");
        return r;
}

static int check_section(struct loader *l, size_t i)
{
        const struct policy_section *s = &l->policy->sections[i];
        const struct policy_origin *o = l->origins->sections[i];
        size_t cap = key_find("Group", "Cap"), action = key_find("Group", "Action"),
               last = key_find("Group", "LastResort"), after = key_find("Group", "LastResortAfter");
        uint32_t bad = l->states[i].bad, selectors = 0;
        int r = 0;

        for (size_t k = 0; k < n_keys; k++)
                if (keys[k].type == &key_selector)
                        selectors |= 1U << k;

        /* what a bad value was meant to be is not known, so nothing is concluded from it */
        if (!s->selectors->used && !(bad & selectors))
                r = policy_problems_add(l->problems, s->origin.file, s->origin.line,
                                        "group '%s' selects nothing: add a key such as User= or Unit= "
                                        "(Uid=0-4294967294 selects "
                                        "every process)",
                                        s->name);
        if (r == 0 && !s->has_cap && s->action != ACTION_OBSERVE && !(bad & (1U << cap | 1U << action)))
                r = policy_problems_add(l->problems, s->origin.file, s->origin.line,
                                        "group '%s' lacks Cap=, without which only Action=observe makes sense",
                                        s->name);
        if (r == 0 && s->last_resort == LAST_RESORT_KILL && s->action == ACTION_OBSERVE && !(bad & 1U << action))
                r = conflict(l, &o[last], &o[action], "LastResort=kill contradicts Action=observe, which never acts");
        /* a file that only tunes the time says more than it does */
        if (r == 0 && s->last_resort == LAST_RESORT_NONE && s->last_resort_after != l->default_last_resort_after &&
            !(bad & (1U << last | 1U << after)))
                r = conflict(l, &o[after], &o[last], "LastResortAfter= has no effect without LastResort=kill");
        return r;
}

/* Gives every PidFile= value the index of its path in policy->pid_files, adding it if it is new. */
static int collect_pid_files(struct policy *p, struct selectors *s)
{
        struct selector *list = &s->by_key[SELECT_PID_FILE];

        for (size_t i = 0; i < list->n; i++) {
                struct selector_value *v = &list->values[i];
                size_t n = p->n_pid_files;

                for (v->pid_file = 0; v->pid_file < n; v->pid_file++)
                        if (strcmp(p->pid_files[v->pid_file], v->text) == 0)
                                break;
                if (v->pid_file < n)
                        continue;
                if ((n & (n - 1)) == 0) {
                        char **files = realloc(p->pid_files, MAX(n * 2, 1U) * sizeof(*files));

                        if (!files)
                                return -ENOMEM;
                        p->pid_files = files;
                }
                p->pid_files[n] = strdup(v->text);
                if (!p->pid_files[n])
                        return -ENOMEM;
                p->n_pid_files++;
        }
        return 0;
}

static unsigned for_each_facts(enum for_each f)
{
        switch (f) {
        case FOR_EACH_CGROUP:
        case FOR_EACH_UNIT:
        case FOR_EACH_CONTAINER:
                return FACT_CGROUP;
        case FOR_EACH_PIDNS:
                return FACT_PID_NAMESPACE;
        default:
                return 0;
        }
}

static int finish(struct loader *l)
{
        struct policy *p = l->policy;
        int r = check_daemon(l);

        for (size_t i = 0; r == 0 && i < p->n_sections; i++) {
                p->facts |= selectors_facts(p->sections[i].selectors) | for_each_facts(p->sections[i].for_each);
                r = check_section(l, i);
                if (r == 0)
                        r = collect_pid_files(p, p->sections[i].selectors);
        }
        if (r == 0 && p->daemon.protect) {
                p->facts |= selectors_facts(p->daemon.protect);
                r = collect_pid_files(p, p->daemon.protect);
        }
        return r;
}

static int load_text(struct loader *l, const struct policy_text *t)
{
        const struct ini_events events = {.section = on_section, .key = on_key, .userdata = l};
        char *name = strdup(t->name);

        if (!name)
                return -ENOMEM;
        l->origins->files[l->origins->n_files++] = name;
        l->text = l->origins->n_files;
        l->file = name;
        l->place = IN_NOTHING;
        if (t->size > LIMIT_CONFIG_FILE_BYTES)
                return problem(l, 0, "file of %zu bytes is bigger than %u (LIMIT_CONFIG_FILE_BYTES)", t->size,
                               LIMIT_CONFIG_FILE_BYTES);
        return ini_read(t, &events, l->problems);
}

static int loader_new(const struct policy_world *world, struct policy_problems *problems, size_t n_texts,
                      struct loader **ret)
{
        _cleanup_(loader_freep) struct loader *l = calloc(1, sizeof(*l));
        int r;

        if (!l)
                return -ENOMEM;
        l->world = world;
        l->problems = problems;
        l->policy = calloc(1, sizeof(*l->policy));
        if (!l->policy)
                return -ENOMEM;
        l->policy->origins = l->origins = calloc(1, sizeof(*l->origins));
        if (!l->origins)
                return -ENOMEM;
        l->origins->files = calloc(MAX(n_texts, 1U), sizeof(*l->origins->files));
        if (!l->origins->files)
                return -ENOMEM;
        r = set_defaults(l, "Daemon", &l->policy->daemon);
        if (r < 0)
                return r;
        r = parse_time(policy_keys[key_find("Group", "LastResortAfter")].fallback, &l->default_last_resort_after);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(l);
        return 0;
}

int policy_load(const struct policy_text *texts, size_t n_texts, const struct policy_world *world, struct policy **ret,
                struct policy_problems *problems)
{
        _cleanup_(loader_freep) struct loader *l = NULL;
        size_t before = problems->n + problems->n_dropped;
        int r;

        if (n_texts > LIMIT_CONFIG_FILES) {
                r = policy_problems_add(problems, texts[LIMIT_CONFIG_FILES].name, 0,
                                        "more than %u files (LIMIT_CONFIG_FILES), from this one on",
                                        LIMIT_CONFIG_FILES);
                if (r < 0)
                        return r;
                n_texts = LIMIT_CONFIG_FILES;
        }
        r = loader_new(world, problems, n_texts, &l);
        for (size_t i = 0; r == 0 && i < n_texts; i++)
                r = load_text(l, &texts[i]);
        if (r == 0)
                r = finish(l);
        if (r < 0)
                return r;
        if (problems->n + problems->n_dropped > before)
                return -EBADMSG;
        *ret = TAKE_PTR(l->policy);
        return 0;
}
