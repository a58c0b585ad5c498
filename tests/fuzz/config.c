/* SPDX-License-Identifier: MIT */
/*
 * config.c: the configuration reader on arbitrary text. A line "%%" separates the files of a configuration, so that
 * overriding is reached. What loads must dump to a text that loads again and dumps the same; what does not must say
 * why, in one printable line.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capd/base/text.h"
#include "capd/policy/match.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                                               \
        do {                                                                                                           \
                if (!(condition)) {                                                                                    \
                        fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                \
                        abort();                                                                                       \
                }                                                                                                      \
        } while (0)

static int lookup(void *userdata, const char *name, unsigned *ret)
{
        if (name[0] == 'x')
                return -ENOENT;
        *ret = (unsigned char)name[0];
        return 0;
}

static bool uid_to_user(void *userdata, uid_t uid, char *buf, size_t size)
{
        snprintf(buf, size, "user%u", (unsigned)uid);
        return true;
}

static const struct policy_world world = {.user_to_uid = lookup, .group_to_gid = lookup};

static void check_problems(const struct policy_problems *problems)
{
        char escaped[65536];

        for (size_t i = 0; i < problems->n; i++) {
                const char *m = problems->items[i].message;

                CHECK(m[0] && strlen(m) < sizeof(escaped));
                CHECK(text_is_utf8(m, strlen(m)));
                /* nothing to escape but the backslashes that escaping left */
                for (const char *s = m; *s; s++)
                        CHECK((unsigned char)*s >= 0x20 && *s != 0x7f);
        }
}

/* Dumps into new memory. */
static char *dump(const struct policy *p, size_t *ret_size)
{
        char *text = NULL;
        FILE *f = open_memstream(&text, ret_size);

        CHECK(f);
        CHECK(policy_dump(p, f) == 0);
        fclose(f);
        return text;
}

/* A dump without its comments, which name other files and lines the second time. */
static void strip_origins(char *text)
{
        char *out = text;

        for (char *line = text; *line;) {
                char *end = strchrnul(line, '\n'), *comment = end;

                for (char *s = line; s + 2 < end; s++)
                        if (memcmp(s, " # ", 3) == 0)
                                comment = s;
                memmove(out, line, (size_t)(comment - line));
                out += comment - line;
                *out++ = '\n';
                line = *end ? end + 1 : end;
        }
        *out = '\0';
}

static void check_round_trip(const struct policy *p)
{
        struct policy_problems problems = {0};
        struct policy *again = NULL;
        size_t size, again_size;
        char *text = dump(p, &size), *again_text;
        struct policy_text dumped = {.name = "dump", .text = text, .size = size};
        int r = policy_load(&dumped, 1, &world, &again, &problems);

        if (r < 0) {
                fputs(text, stderr);
                for (size_t i = 0; i < problems.n; i++)
                        fprintf(stderr, "%u: %s\n", problems.items[i].line, problems.items[i].message);
        }
        CHECK(r == 0);
        CHECK(again->facts == p->facts && again->n_pid_files == p->n_pid_files);
        again_text = dump(again, &again_size);
        strip_origins(text);
        strip_origins(again_text);
        CHECK(strcmp(text, again_text) == 0);
        free(text);
        free(again_text);
        policy_free(again);
        policy_problems_done(&problems);
}

static void check_matching(const struct policy *p)
{
        static const struct process_facts processes[] = {
                        {.pid = 1,
                         .comm = "systemd",
                         .exe = "/sbin/init",
                         .cmdline = "/sbin/init",
                         .cgroup = "/init.scope",
                         .pid_namespace = 1},
                        {.pid = 70,
                         .uid = 'a',
                         .gid = 'b',
                         .comm = "b\xff[",
                         .exe = "/b",
                         .cmdline = "b -c  d",
                         .cgroup = "/a/b.service/c"},
                        {.pid = 71, .uid = 1000},
        };
        pid_t *pids = calloc(p->n_pid_files + 1, sizeof(*pids));
        struct match_world w = {.pid_file_pids = pids, .uid_to_user = uid_to_user};

        CHECK(pids);
        for (size_t i = 0; i < ARRAY_SIZE(processes); i++) {
                struct match matches[4];
                size_t n = match_process(p, &w, &processes[i], matches, ARRAY_SIZE(matches));

                CHECK(n <= ARRAY_SIZE(matches));
                for (size_t j = 0; j < n; j++) {
                        CHECK(matches[j].section < p->n_sections);
                        CHECK(strnlen(matches[j].name, LIMIT_GROUP_NAME_BYTES) < LIMIT_GROUP_NAME_BYTES);
                }
                match_protected(p, &w, &processes[i]);
        }
        free(pids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char *const names[] = {"/etc/capd.conf", "a.conf", "b.conf", "c\x1b[1m.conf"};
        struct policy_text texts[ARRAY_SIZE(names)];
        struct policy_problems problems = {0};
        struct policy *p = NULL;
        const char *text = (const char *)data, *end = text + size;
        size_t n = 0;
        int r;

        while (n < ARRAY_SIZE(names)) {
                const char *separator =
                                n + 1 < ARRAY_SIZE(names) ? memmem(text, (size_t)(end - text), "%%\n", 3) : NULL;

                texts[n] = (struct policy_text){
                                .name = names[n], .text = text, .size = (size_t)((separator ? separator : end) - text)};
                n++;
                if (!separator)
                        break;
                text = separator + 3;
        }
        r = policy_load(texts, n, &world, &p, &problems);
        if (r == 0) {
                CHECK(p && problems.n == 0);
                check_round_trip(p);
                check_matching(p);
        } else {
                CHECK(r == -EBADMSG && !p && problems.n > 0);
        }
        check_problems(&problems);
        policy_free(p);
        policy_problems_done(&problems);
        return 0;
}
