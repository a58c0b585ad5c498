/* SPDX-License-Identifier: MIT */
/*
 * match.c: judging one process by all groups. Called for every process of the host every ScanInterval=, so it allocates
 * nothing and works the container out of the cgroup's path only when a selector asks for it.
 *
 * A fact that could not be read matches nothing, exclusions included: `Comm=!sshd` does not select a process of unknown
 * name.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "capd/base/text.h"
#include "capd/policy/match.h"
#include "cgroup-names.h"
#include "glob.h"
#include "selectors.h"

/* What the cgroup alone tells. */
#define BY_CGROUP (1U << SELECT_CGROUP | 1U << SELECT_UNIT | 1U << SELECT_CONTAINER)

/* Names of containers and units are at most NAME_MAX bytes, as each is a directory. */
#define CGROUP_NAME_MAX 256U

struct subject {
        const struct process_facts *facts;
        const struct match_world *world;
        bool container_tried;
        char container[CGROUP_NAME_MAX]; /* "" for none */
};

static const char *container_of(struct subject *s)
{
        if (!s->container_tried) {
                s->container_tried = true;
                if (!match_cgroup_container(s->facts->cgroup, s->container, sizeof(s->container)))
                        s->container[0] = '\0';
        }
        return s->container;
}

static bool text_matches(const struct selector_value *v, const char *text, size_t len)
{
        switch (v->kind) {
        case VALUE_LITERAL:
                return strncmp(v->text, text, len) == 0 && v->text[len] == '\0';
        case VALUE_PREFIX:
                return strncmp(v->text, text, strlen(v->text)) == 0;
        case VALUE_PATTERN:
                return glob_match(v->text, text, len);
        case VALUE_NUMBER:
                break;
        }
        return false;
}

/* A cgroup's name stands for everything below it, too. */
static bool cgroup_matches(const struct selector_value *v, const char *path)
{
        size_t len = strlen(path);

        if (v->kind == VALUE_LITERAL) {
                size_t n = strlen(v->text);

                return n == 1 || (len >= n && memcmp(path, v->text, n) == 0 && (path[n] == '/' || path[n] == '\0'));
        }
        for (size_t i = 1; i <= len; i++)
                if ((path[i] == '/' || path[i] == '\0') && glob_match(v->text, path, i))
                        return true;
        return false;
}

/* So does a unit's: user@1000.service holds the units of that user's manager, which are not told apart; a slice what it is sliced into. */
static bool unit_matches(const struct selector_value *v, const char *path)
{
        const char *end = path + cgroup_system_length(path), *part;
        size_t len;

        while (path < end && cgroup_next(&path, &part, &len))
                if (cgroup_component_unit(&part, &len) && text_matches(v, part, len))
                        return true;
        return false;
}

static bool value_matches(enum selector_key key, const struct selector_value *v, struct subject *s)
{
        const struct process_facts *f = s->facts;

        switch (key) {
        case SELECT_USER:
        case SELECT_UID:
                return f->uid >= v->first && f->uid <= v->last;
        case SELECT_GID:
                return f->gid >= v->first && f->gid <= v->last;
        case SELECT_PID_NAMESPACE:
                return f->pid_namespace == v->first;
        case SELECT_PID_FILE:
                return s->world->pid_file_pids && s->world->pid_file_pids[v->pid_file] == f->pid;
        case SELECT_COMM:
                return text_matches(v, f->comm, strlen(f->comm));
        case SELECT_EXE:
                return text_matches(v, f->exe, strlen(f->exe));
        case SELECT_CMDLINE:
                return text_matches(v, f->cmdline, strlen(f->cmdline));
        case SELECT_CGROUP:
                return cgroup_matches(v, f->cgroup);
        case SELECT_UNIT:
                return unit_matches(v, f->cgroup);
        case SELECT_CONTAINER:
                return container_of(s)[0] && text_matches(v, s->container, strlen(s->container));
        case _SELECT_MAX:
                break;
        }
        return false;
}

static bool fact_known(enum selector_key key, const struct process_facts *f)
{
        switch (key) {
        case SELECT_COMM:
                return f->comm != NULL;
        case SELECT_EXE:
                return f->exe != NULL;
        case SELECT_CMDLINE:
                return f->cmdline != NULL;
        case SELECT_CGROUP:
        case SELECT_UNIT:
        case SELECT_CONTAINER:
                return f->cgroup != NULL;
        case SELECT_PID_NAMESPACE:
                return f->pid_namespace != 0;
        default:
                return true;
        }
}

/* One key: nothing excluded, and something included unless the key only excludes. */
static bool key_matches(const struct selectors *all, enum selector_key key, struct subject *s)
{
        const struct selector *list = &all->by_key[key];
        bool included = !list->includes;

        if (!fact_known(key, s->facts))
                return false;
        for (size_t i = 0; i < list->n; i++) {
                const struct selector_value *v = &list->values[i];

                if (!v->exclude && included)
                        continue;
                if (!value_matches(key, v, s))
                        continue;
                if (v->exclude)
                        return false;
                included = true;
        }
        return included;
}

static bool all_keys_match(const struct selectors *all, struct subject *s)
{
        for (unsigned left = all->used; left; left &= left - 1)
                if (!key_matches(all, (enum selector_key)__builtin_ctz(left), s))
                        return false;
        return true;
}

/* FNV-1a, 64 bits. It need not resist an attacker: the cut name still begins with what tells users apart, such as the
 * slice. */
static uint64_t hash(const char *s)
{
        uint64_t h = 0xcbf29ce484222325;

        for (; *s; s++)
                h = (h ^ (unsigned char)*s) * 0x100000001b3;
        return h;
}

/* Writes SECTION/VALUE as match.h describes it. */
static void make_name(char *buf, size_t size, const char *section, const char *value)
{
        static const char safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:@-",
                          hex[] = "0123456789abcdef";
        const size_t tail = 1 + 16; /* "~" and the hash */
        size_t out = (size_t)snprintf(buf, size, "%s/", section), cut = out;

        for (const char *s = value; *s; s++) {
                bool plain = strchr(safe, *s) != NULL;
                size_t n = plain ? 1 : 4;

                if (out + n >= size) {
                        snprintf(buf + cut, size - cut, "~%016" PRIx64, hash(value));
                        return;
                }
                if (plain) {
                        buf[out] = *s;
                } else {
                        buf[out] = '\\';
                        buf[out + 1] = 'x';
                        buf[out + 2] = hex[(unsigned char)*s >> 4];
                        buf[out + 3] = hex[(unsigned char)*s & 15];
                }
                out += n;
                if (out + tail < size)
                        cut = out; /* no escape is cut in two */
        }
        buf[out] = '\0';
}

/* The value that ForEach= tells groups apart by. False if the process has none. */
static bool for_each_value(enum for_each by, struct subject *s, char *buf, size_t size)
{
        const struct process_facts *f = s->facts;

        switch (by) {
        case FOR_EACH_USER:
                return s->world->uid_to_user(s->world->userdata, f->uid, buf, size);
        case FOR_EACH_UID:
                snprintf(buf, size, "%" PRIu32, (uint32_t)f->uid);
                return true;
        case FOR_EACH_CGROUP:
                if (!f->cgroup || strlen(f->cgroup) >= size)
                        return false;
                text_copy(buf, size, f->cgroup);
                return true;
        case FOR_EACH_UNIT:
                return f->cgroup && match_cgroup_unit(f->cgroup, buf, size);
        case FOR_EACH_CONTAINER:
                if (!f->cgroup || !container_of(s)[0])
                        return false;
                text_copy(buf, size, s->container);
                return true;
        case FOR_EACH_PIDNS:
                snprintf(buf, size, "%" PRIu64, f->pid_namespace);
                return f->pid_namespace != 0;
        case FOR_EACH_NONE:
        case _FOR_EACH_MAX:
                break;
        }
        return false;
}

static bool match_section(const struct policy *p, size_t i, struct subject *s, struct match *ret)
{
        const struct policy_section *section = &p->sections[i];
        char value[LIMIT_CGROUP_BYTES];

        if (!all_keys_match(section->selectors, s))
                return false;
        if (section->for_each == FOR_EACH_NONE) {
                text_copy(ret->name, sizeof(ret->name), section->name);
        } else {
                if (!for_each_value(section->for_each, s, value, sizeof(value)))
                        return false;
                make_name(ret->name, sizeof(ret->name), section->name, value);
        }
        ret->section = i;
        return true;
}

size_t match_process(const struct policy *p, const struct match_world *w, const struct process_facts *f,
                     struct match *ret, size_t max)
{
        struct subject s = {.facts = f, .world = w};
        size_t n = 0;

        if (f->kernel_thread || f->zombie)
                return 0;
        for (size_t i = 0; i < p->n_sections && n < max; i++)
                n += match_section(p, i, &s, &ret[n]);
        return n;
}

bool match_protected(const struct policy *p, const struct match_world *w, const struct process_facts *f)
{
        struct subject s = {.facts = f, .world = w};

        if (f->pid == 1 || f->kernel_thread)
                return true;
        for (unsigned left = p->daemon.protect ? p->daemon.protect->used : 0; left; left &= left - 1) {
                enum selector_key key = (enum selector_key)__builtin_ctz(left);

                /* no value of Protect= excludes, so a key that matches names the process */
                if (key_matches(p->daemon.protect, key, &s))
                        return true;
        }
        return false;
}

static bool is_by_cgroup(const struct policy_section *s)
{
        return s->for_each == FOR_EACH_CGROUP || s->for_each == FOR_EACH_UNIT || s->for_each == FOR_EACH_CONTAINER;
}

bool match_by_cgroup(const struct policy *p, const struct policy_section *s)
{
        if (s->for_each != FOR_EACH_NONE && !is_by_cgroup(s))
                return false;
        return !(s->selectors->used & ~BY_CGROUP) && !(p->daemon.protect && p->daemon.protect->used & ~BY_CGROUP);
}

bool match_in_cgroup(const struct policy *p, size_t section, const char *cgroup, struct match *ret)
{
        const struct process_facts f = {.cgroup = cgroup};
        struct subject s = {.facts = &f};

        return match_by_cgroup(p, &p->sections[section]) && match_section(p, section, &s, ret);
}

bool match_needs_cgroups(const struct policy *p)
{
        for (size_t i = 0; i < p->n_sections; i++)
                if (!is_by_cgroup(&p->sections[i]) && !(p->sections[i].selectors->used & BY_CGROUP))
                        return false;
        return p->n_sections > 0;
}

static bool may_be_in_cgroup(const struct policy_section *section, struct subject *s)
{
        char value[LIMIT_CGROUP_BYTES];

        for (unsigned left = section->selectors->used & BY_CGROUP; left; left &= left - 1)
                if (!key_matches(section->selectors, (enum selector_key)__builtin_ctz(left), s))
                        return false;
        return !is_by_cgroup(section) || for_each_value(section->for_each, s, value, sizeof(value));
}

bool match_wants_cgroup(const struct policy *p, const char *cgroup)
{
        const struct process_facts f = {.cgroup = cgroup};
        struct subject s = {.facts = &f};

        for (size_t i = 0; i < p->n_sections; i++)
                if (may_be_in_cgroup(&p->sections[i], &s))
                        return true;
        return false;
}
