/* SPDX-License-Identifier: MIT */
/* helpers.h: a fake world, and configurations given as strings. Include after cmocka.h. */
#ifndef TESTS_POLICY_HELPERS_H
#define TESTS_POLICY_HELPERS_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capd/policy/match.h"

/* alice is 1001, bob 1002, postgres 70, root 0, `slow` fails in the directory service, and nobody else is known. */
static inline int fake_user(void *userdata, const char *name, uid_t *ret)
{
        static const struct {
                const char *name;
                uid_t uid;
        } users[] = {{"root", 0}, {"postgres", 70}, {"alice", 1001}, {"bob", 1002}};

        if (strcmp(name, "slow") == 0)
                return -EIO;
        if (strcmp(name, "nomem") == 0)
                return -ENOMEM;
        for (size_t i = 0; i < ARRAY_SIZE(users); i++)
                if (strcmp(users[i].name, name) == 0) {
                        *ret = users[i].uid;
                        return 0;
                }
        return -ENOENT;
}

static inline int fake_group(void *userdata, const char *name, gid_t *ret)
{
        return fake_user(userdata, strcmp(name, "staff") == 0 ? "alice" : name, ret);
}

static const struct policy_world fake_world = {.user_to_uid = fake_user, .group_to_gid = fake_group};

static inline bool fake_uid_to_user(void *userdata, uid_t uid, char *buf, size_t size)
{
        if (uid == 1999)
                return false; /* not known yet */
        if (uid == 1001)
                snprintf(buf, size, "alice");
        else
                snprintf(buf, size, "%u", (unsigned)uid);
        return true;
}

static inline struct policy_text text_of(const char *name, const char *text)
{
        return (struct policy_text){.name = name, .text = text, .size = strlen(text)};
}

static inline void print_problems(const struct policy_problems *p)
{
        for (size_t i = 0; i < p->n; i++)
                print_message("  %s:%u: %s\n", p->items[i].file, p->items[i].line, p->items[i].message);
}

/* Loads texts that must be right. */
static inline struct policy *load_good(const struct policy_text *texts, size_t n)
{
        struct policy_problems problems = {0};
        struct policy *p = NULL;
        int r = policy_load(texts, n, &fake_world, &p, &problems);

        print_problems(&problems);
        assert_int_equal(r, 0);
        assert_non_null(p);
        assert_int_equal(problems.n, 0);
        policy_problems_done(&problems);
        return p;
}

static inline struct policy *load_string(const char *text)
{
        struct policy_text t = text_of("capd.conf", text);

        return load_good(&t, 1);
}

/* The dump as a string, to be freed. */
static inline char *dump_string(const struct policy *p)
{
        char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        assert_non_null(f);
        assert_int_equal(policy_dump(p, f), 0);
        fclose(f);
        return text;
}

#endif
