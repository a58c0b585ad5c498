/* SPDX-License-Identifier: MIT */
/* Good configurations: values, defaults, overriding, grammar, and the round trip through a dump. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "helpers.h"
#include "selectors.h"

static const char *fixtures, *example; /* from the command line: a folder, and the installed capd.conf */

static char *read_file(const char *path)
{
        char *text = calloc(1, 1 << 20);
        FILE *f = fopen(path, "re");

        assert_non_null(text);
        assert_non_null(f);
        assert_true(fread(text, 1, (1 << 20) - 1, f) > 0);
        fclose(f);
        return text;
}

static char *read_fixture(const char *name)
{
        char path[4096];

        snprintf(path, sizeof(path), "%s/%s", fixtures, name);
        return read_file(path);
}

static void assert_selector(const struct selectors *s, enum selector_key key, const char *const *words)
{
        const struct selector *list = &s->by_key[key];
        size_t n;

        for (n = 0; words[n]; n++) {
                assert_true(n < list->n);
                assert_int_equal(list->values[n].exclude, words[n][0] == '!');
                assert_string_equal(list->values[n].text, words[n] + (words[n][0] == '!'));
        }
        assert_int_equal(list->n, n);
        assert_int_equal(!!(s->used & 1U << key), n > 0);
}
#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void assert_daemon_equal(const struct policy_daemon *a, const struct policy_daemon *b)
{
        assert_int_equal(a->sample_interval, b->sample_interval);
        assert_int_equal(a->scan_interval, b->scan_interval);
        assert_int_equal(a->exact_interval, b->exact_interval);
        assert_int_equal(a->pressure_threshold, b->pressure_threshold);
        assert_int_equal(a->cpu_budget, b->cpu_budget);
        assert_int_equal(a->max_stall, b->max_stall);
        assert_int_equal(a->history_time, b->history_time);
        assert_int_equal(a->history_size, b->history_size);
        assert_string_equal(a->metrics_file ? a->metrics_file : "", b->metrics_file ? b->metrics_file : "");
}

static void assert_selectors_equal(const struct selectors *a, const struct selectors *b)
{
        assert_int_equal(!a, !b);
        if (!a)
                return;
        assert_int_equal(a->used, b->used);
        for (int k = 0; k < _SELECT_MAX; k++) {
                assert_int_equal(a->by_key[k].n, b->by_key[k].n);
                assert_int_equal(a->by_key[k].includes, b->by_key[k].includes);
                for (size_t i = 0; i < a->by_key[k].n; i++) {
                        const struct selector_value *v = &a->by_key[k].values[i], *w = &b->by_key[k].values[i];

                        assert_string_equal(v->text, w->text);
                        assert_int_equal(v->exclude, w->exclude);
                        assert_int_equal(v->kind, w->kind);
                        assert_int_equal(v->first, w->first);
                        assert_int_equal(v->last, w->last);
                        assert_int_equal(v->pid_file, w->pid_file);
                }
        }
}

static void assert_policy_equal(const struct policy *a, const struct policy *b)
{
        assert_daemon_equal(&a->daemon, &b->daemon);
        assert_selectors_equal(a->daemon.protect, b->daemon.protect);
        assert_int_equal(a->facts, b->facts);
        assert_int_equal(a->n_pid_files, b->n_pid_files);
        for (size_t i = 0; i < a->n_pid_files; i++)
                assert_string_equal(a->pid_files[i], b->pid_files[i]);
        assert_int_equal(a->n_sections, b->n_sections);
        for (size_t i = 0; i < a->n_sections; i++) {
                const struct policy_section *s = &a->sections[i], *t = &b->sections[i];

                assert_string_equal(s->name, t->name);
                assert_string_equal(s->description ? s->description : "", t->description ? t->description : "");
                assert_selectors_equal(s->selectors, t->selectors);
                assert_int_equal(s->for_each, t->for_each);
                assert_int_equal(s->has_cap, t->has_cap);
                assert_int_equal(s->cap_bytes, t->cap_bytes);
                assert_int_equal(s->cap_percent, t->cap_percent);
                assert_int_equal(s->low_watermark, t->low_watermark);
                assert_int_equal(s->action, t->action);
                assert_int_equal(s->process_floor, t->process_floor);
                assert_int_equal(s->reclaim_rate, t->reclaim_rate);
                assert_int_equal(s->pressure_threshold, t->pressure_threshold);
                assert_string_equal(s->hook ? s->hook : "", t->hook ? t->hook : "");
                assert_int_equal(s->last_resort, t->last_resort);
                assert_int_equal(s->last_resort_after, t->last_resort_after);
        }
}

static void assert_round_trip(const struct policy *p)
{
        char *text = dump_string(p);
        struct policy *again = load_string(text);

        assert_policy_equal(p, again);
        policy_free(again);
        free(text);
}

static void test_defaults(void **state)
{
        struct policy *p = load_good(NULL, 0);

        assert_int_equal(p->daemon.sample_interval, 5000000);
        assert_int_equal(p->daemon.scan_interval, 15000000);
        assert_int_equal(p->daemon.exact_interval, 60000000);
        assert_int_equal(p->daemon.pressure_threshold, 0);
        assert_int_equal(p->daemon.cpu_budget, 200);
        assert_int_equal(p->daemon.max_stall, 2000);
        assert_int_equal(p->daemon.history_time, 24 * 3600 * USEC_PER_SEC);
        assert_int_equal(p->daemon.history_size, 8 * MIB);
        assert_null(p->daemon.metrics_file);
        assert_null(p->daemon.protect);
        assert_int_equal(p->n_sections, 0);
        assert_int_equal(p->facts, 0);
        assert_round_trip(p);
        policy_free(p);

        p = load_string("[Group a]\nUser=alice\nCap=1G\n");
        assert_int_equal(p->n_sections, 1);
        assert_string_equal(p->sections[0].name, "a");
        assert_string_equal(p->sections[0].origin.file, "capd.conf");
        assert_int_equal(p->sections[0].origin.line, 1);
        assert_null(p->sections[0].description);
        assert_int_equal(p->sections[0].for_each, FOR_EACH_NONE);
        assert_int_equal(p->sections[0].low_watermark, 9500);
        assert_int_equal(p->sections[0].action, ACTION_PAGEOUT);
        assert_int_equal(p->sections[0].process_floor, MIB);
        assert_int_equal(p->sections[0].reclaim_rate, 0);
        assert_int_equal(p->sections[0].pressure_threshold, THRESHOLD_INHERIT);
        assert_null(p->sections[0].hook);
        assert_int_equal(p->sections[0].last_resort, LAST_RESORT_NONE);
        assert_int_equal(p->sections[0].last_resort_after, 30000000);
        policy_free(p);
}

static void test_full(void **state)
{
        char *text = read_fixture("full.conf");
        struct policy *p = load_string(text);
        const struct policy_section *s = &p->sections[0];

        assert_int_equal(p->daemon.sample_interval, 2000000);
        assert_int_equal(p->daemon.scan_interval, 20000000);
        assert_int_equal(p->daemon.exact_interval, 90000000);
        assert_int_equal(p->daemon.pressure_threshold, 1250);
        assert_int_equal(p->daemon.cpu_budget, 25);
        assert_int_equal(p->daemon.max_stall, 1500);
        assert_string_equal(p->daemon.metrics_file, "/run/capd/metrics");
        assert_int_equal(p->daemon.history_time, 3 * 24 * 3600 * USEC_PER_SEC);
        assert_int_equal(p->daemon.history_size, 0);
        assert_selector(p->daemon.protect, SELECT_COMM, WORDS("sshd", "two words"));
        assert_selector(p->daemon.protect, SELECT_UNIT, WORDS("dbus.service"));
        assert_selector(p->daemon.protect, SELECT_USER, WORDS("root"));
        assert_selector(p->daemon.protect, SELECT_PID_FILE, WORDS("/run/main.pid"));

        assert_int_equal(p->n_sections, 3);
        assert_string_equal(s->name, "all");
        assert_string_equal(s->description, "All keys; \"quoted\" # and not a comment");
        assert_selector(s->selectors, SELECT_USER, WORDS("alice", "!bob"));
        assert_selector(s->selectors, SELECT_UID, WORDS("1000-59999", "!1500", "70"));
        assert_int_equal(s->selectors->by_key[SELECT_UID].values[0].first, 1000);
        assert_int_equal(s->selectors->by_key[SELECT_UID].values[0].last, 59999);
        assert_int_equal(s->selectors->by_key[SELECT_GID].values[1].first, 1001);
        assert_selector(s->selectors, SELECT_CGROUP, WORDS("/user.slice", "/a*b"));
        assert_selector(s->selectors, SELECT_EXE, WORDS("/usr/lib/jvm/*/bin/java", "/opt/my app/run"));
        assert_selector(s->selectors, SELECT_CMDLINE, WORDS("java -jar *", "!*--test*", "ab cd"));
        assert_string_equal(s->selectors->by_key[SELECT_COMM].values[2].text, "!odd");
        assert_false(s->selectors->by_key[SELECT_COMM].values[2].exclude);
        assert_string_equal(s->selectors->by_key[SELECT_COMM].values[3].text, "#hash");
        assert_int_equal(s->selectors->by_key[SELECT_CONTAINER].values[0].kind, VALUE_PREFIX);
        assert_int_equal(s->selectors->by_key[SELECT_PID_NAMESPACE].values[1].first, 4026532000);
        assert_int_equal(s->for_each, FOR_EACH_USER);
        assert_true(s->has_cap);
        assert_int_equal(s->cap_percent, 1234);
        assert_int_equal(s->low_watermark, 9050);
        assert_int_equal(s->action, ACTION_MOVE);
        assert_int_equal(s->process_floor, 1536 * KIB);
        assert_int_equal(s->reclaim_rate, 100 * MIB);
        assert_int_equal(s->pressure_threshold, 8000);
        assert_string_equal(s->hook, "/usr/lib/capd hook");
        assert_int_equal(s->last_resort, LAST_RESORT_KILL);
        assert_int_equal(s->last_resort_after, 3600000000);
        assert_int_equal(p->sections[1].cap_bytes, 1536 * MIB);
        assert_int_equal(p->sections[1].for_each, FOR_EACH_CGROUP);
        assert_false(p->sections[2].has_cap);

        /* a path that two keys name is read once */
        assert_int_equal(p->n_pid_files, 3);
        assert_string_equal(p->pid_files[0], "/run/a.pid");
        assert_string_equal(p->pid_files[1], "/run/main.pid");
        assert_string_equal(p->pid_files[2], "/run/b.pid");
        assert_int_equal(p->daemon.protect->by_key[SELECT_PID_FILE].values[0].pid_file, 1);
        assert_int_equal(p->facts, FACT_EXE | FACT_CMDLINE | FACT_CGROUP | FACT_PID_NAMESPACE);
        assert_round_trip(p);
        policy_free(p);
        free(text);
}

static void test_facts(void **state)
{
        static const struct {
                const char *keys;
                unsigned facts;
        } cases[] = {
                        {"User=alice\nUid=1\nGid=1\nComm=a\nPidFile=/a", 0},
                        {"Exe=/a", FACT_EXE},
                        {"Cmdline=!a", FACT_CMDLINE},
                        {"Unit=a.service", FACT_CGROUP},
                        {"Cgroup=/", FACT_CGROUP},
                        {"Container=*", FACT_CGROUP},
                        {"PidNamespace=1", FACT_PID_NAMESPACE},
                        {"Uid=1\nForEach=unit", FACT_CGROUP},
                        {"Uid=1\nForEach=container", FACT_CGROUP},
                        {"Uid=1\nForEach=cgroup", FACT_CGROUP},
                        {"Uid=1\nForEach=pidns", FACT_PID_NAMESPACE},
                        {"Uid=1\nForEach=user", 0},
                        {"Uid=1\n[Daemon]\nProtect=Exe=/a", FACT_EXE},
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                char text[256];
                struct policy *p;

                snprintf(text, sizeof(text), "[Group a]\nAction=observe\n%s\n", cases[i].keys);
                p = load_string(text);
                assert_int_equal(p->facts, cases[i].facts);
                policy_free(p);
        }
}

static void test_overriding(void **state)
{
        struct policy_text texts[] = {
                        text_of("/etc/capd.conf",
                                "[Daemon]\nSampleInterval=1s\nMaxStall=1ms\nMetricsFile=/a\nProtect=Comm=a\n"
                                "[Group a]\nDescription=one\nUser=alice bob\nCap=1G\nLowWatermark=50%\n"
                                "[Group b]\nUid=1\nCap=10%\n"),
                        text_of("10-x.conf", "[Group c]\nUid=3\nCap=3G\n"
                                             "[Group a]\nUser=postgres\nCap=20%\nLowWatermark=\n"),
                        text_of("20-y.conf",
                                "[Group a]\nCap=3G\nDescription=\n[Daemon]\nMaxStall=3ms\nMetricsFile=\nProtect=\n"
                                "[Group b]\nAction=observe\nCap=\n"),
        };
        struct policy *p = load_good(texts, ARRAY_SIZE(texts));
        const struct policy_section *a = &p->sections[0], *b = &p->sections[1], *c = &p->sections[2];
        char *dump;

        assert_int_equal(p->daemon.sample_interval, 1000000);
        assert_int_equal(p->daemon.max_stall, 3000);
        assert_null(p->daemon.metrics_file);
        assert_null(p->daemon.protect);
        assert_int_equal(p->n_sections, 3);
        assert_string_equal(a->name, "a");
        assert_null(a->description);
        assert_selector(a->selectors, SELECT_USER, WORDS("postgres")); /* replaced, not appended */
        assert_int_equal(a->cap_bytes, 3 * GIB);
        assert_int_equal(a->cap_percent, 0);
        assert_int_equal(a->low_watermark, 9500);
        assert_string_equal(a->origin.file, "/etc/capd.conf");
        assert_int_equal(a->origin.line, 6);
        assert_string_equal(b->name, "b");
        assert_false(b->has_cap);
        assert_string_equal(c->name, "c");
        assert_string_equal(c->origin.file, "10-x.conf");

        dump = dump_string(p);
        assert_non_null(strstr(dump, "\nSampleInterval=1s # /etc/capd.conf:2\n"));
        assert_non_null(strstr(dump, "\nScanInterval=15s # default\n"));
        assert_non_null(strstr(dump, "\nMaxStall=3ms # 20-y.conf:5\n"));
        assert_non_null(strstr(dump, "\n[Group a] # /etc/capd.conf:6\n"));
        assert_non_null(strstr(dump, "\nUser=postgres # 10-x.conf:5\n"));
        assert_non_null(strstr(dump, "\nCap=3G # 20-y.conf:2\n"));
        free(dump);
        assert_round_trip(p);
        policy_free(p);

        /* the order of the texts decides, not that of their names */
        p = load_good((struct policy_text[]){texts[1], texts[0]}, 2);
        assert_string_equal(p->sections[0].name, "c");
        assert_int_equal(p->sections[1].cap_bytes, GIB);
        policy_free(p);
}

/* What capd.conf(5) says about lines. */
static void test_grammar(void **state)
{
        static const char text[] = "\xef\xbb\xbf# a comment\n"
                                   ";another \\\n"
                                   "  # indented \\\n"
                                   "\n"
                                   "\t [Group a]   # with a comment\n"
                                   "  User \t=\t alice   \n"
                                   "Cmdline=\\\n"
                                   "  \"a  # b\" c#d \\\n"
                                   "\t;e \\\n"
                                   "  f # and a comment \"\n"
                                   "Comm=\n"
                                   "Description= two  spaces # gone\n"
                                   "Cap=\"1G\"";
        struct policy *p = load_string(text);
        const struct policy_section *s = &p->sections[0];

        assert_int_equal(s->origin.line, 5);
        assert_selector(s->selectors, SELECT_USER, WORDS("alice"));
        assert_selector(s->selectors, SELECT_CMDLINE, WORDS("a  # b", "c#d", ";e", "f"));
        assert_int_equal(s->selectors->by_key[SELECT_COMM].n, 0);
        assert_string_equal(s->description, "two  spaces");
        assert_int_equal(s->cap_bytes, GIB);
        assert_round_trip(p);
        policy_free(p);
}

/* inih breaks lines after 199 bytes: the rest of this one must not become a key, at no offset. */
static void test_long_values(void **state)
{
        for (size_t len = 150; len < 250; len++) {
                char text[1024], word[256];
                struct policy *p;

                memset(word, 'x', len);
                word[len] = '\0';
                snprintf(text, sizeof(text), "[Group a]\nUser=alice\nDescription=%sCap=9G\nCap=1G\nHook=/%s\n", word,
                         word);
                p = load_string(text);
                assert_int_equal(p->sections[0].cap_bytes, GIB);
                assert_int_equal(strlen(p->sections[0].description), len + strlen("Cap=9G"));
                assert_int_equal(strlen(p->sections[0].hook), len + 1);
                policy_free(p);
        }
}

/* The longest words, each byte of which needs a backslash in a dump, and lists of many lines. */
static void test_dump_stays_below_limits(void **state)
{
        char *text = malloc(1 << 20), *s = text, *dump, long_name[3000];
        struct policy_text t;
        struct policy *p;

        assert_non_null(text);
        memset(long_name, 'n', sizeof(long_name));
        long_name[sizeof(long_name) - 1] = '\0';
        s += sprintf(s, "[Group a]\nCap=1G\nCmdline=");
        for (int i = 0; i < 3; i++) {
                *s++ = '"';
                for (int j = 0; j < 2000; j++)
                        s += sprintf(s, "\\\\\\\"");
                s += sprintf(s, "\" \\\n");
        }
        for (int i = 0; i < 1000; i++)
                s += sprintf(s, "word%d%s", i, i % 50 ? " " : " \\\n");
        t = (struct policy_text){.name = long_name, .text = text, .size = (size_t)(s - text)};
        p = load_good(&t, 1);
        assert_int_equal(p->sections[0].selectors->by_key[SELECT_CMDLINE].n, 1003);
        assert_int_equal(strlen(p->sections[0].selectors->by_key[SELECT_CMDLINE].values[0].text), 4000);
        dump = dump_string(p);
        for (char *line = dump; *line;) {
                char *end = strchrnul(line, '\n');

                assert_true((size_t)(end - line) <= LIMIT_CONFIG_LINE_BYTES);
                line = *end ? end + 1 : end;
        }
        free(dump);
        assert_round_trip(p);
        policy_free(p);
        free(text);
}

static void test_exact_values(void **state)
{
        static const char *const times[] = {"100ms", "100001us", "59s", "90s", "61min", "3601s"};
        static const char *const caps[] = {"1M", "1048577", "1025K", "3T", "8191P", "0.01%", "99.9%", "99.99%", "100%"};

        for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
                char text[128], *dump;
                struct policy *p;

                snprintf(text, sizeof(text), "[Daemon]\nExactInterval=%s\nSampleInterval=100ms\n", times[i]);
                p = load_string(text);
                snprintf(text, sizeof(text), "\nExactInterval=%s # capd.conf:2\n", times[i]);
                dump = dump_string(p);
                assert_non_null(strstr(dump, text));
                free(dump);
                policy_free(p);
        }
        for (size_t i = 0; i < ARRAY_SIZE(caps); i++) {
                char text[128], *dump;
                struct policy *p;

                snprintf(text, sizeof(text), "[Group a]\nUid=1\nCap=%s\n", caps[i]);
                p = load_string(text);
                snprintf(text, sizeof(text), "\nCap=%s # capd.conf:3\n", caps[i]);
                dump = dump_string(p);
                assert_non_null(strstr(dump, text));
                free(dump);
                policy_free(p);
        }
}

static void test_dump_reports_write_errors(void **state)
{
        struct policy *p = load_string("[Group a]\nUid=1\nCap=1G\n");
        FILE *full = fopen("/dev/full", "w");

        assert_non_null(full);
        assert_true(policy_dump(p, full) < 0);
        fclose(full);
        policy_free(p);
}

static void test_cap(void **state)
{
        struct policy_section s = {.has_cap = true, .cap_percent = 2500};

        assert_int_equal(policy_cap(&s, 16 * GIB), 4 * GIB);
        s.cap_percent = 10000;
        assert_int_equal(policy_cap(&s, 16 * GIB + 12345), 16 * GIB + 12345);
        assert_int_equal(policy_cap(&s, 1ULL << 62), 1ULL << 62); /* no overflow */
        s.cap_percent = 3333;
        assert_int_equal(policy_cap(&s, 1000000007), 333300002);
        s.cap_percent = 1;
        assert_int_equal(policy_cap(&s, 64 * MIB), LIMIT_CAP_MIN_BYTES);
        s = (struct policy_section){.has_cap = true, .cap_bytes = 5 * MIB};
        assert_int_equal(policy_cap(&s, 16 * GIB), 5 * MIB);
        s.has_cap = false;
        assert_int_equal(policy_cap(&s, 16 * GIB), UINT64_MAX);
}

static void test_keys(void **state)
{
        size_t n = 0;

        for (; policy_keys[n].section; n++) {
                assert_true(strcmp(policy_keys[n].section, "Daemon") == 0 ||
                            strcmp(policy_keys[n].section, "Group") == 0);
                assert_non_null(policy_keys[n].name);
                assert_non_null(policy_keys[n].fallback);
        }
        assert_int_equal(n, 32);
}

static void test_names(void **state)
{
        assert_string_equal(action_to_string(ACTION_OBSERVE), "observe");
        assert_string_equal(action_to_string(ACTION_PAGEOUT), "pageout");
        assert_string_equal(action_to_string(ACTION_MOVE), "move");
        assert_string_equal(action_to_string((enum action)99), "");
        assert_string_equal(last_resort_to_string(LAST_RESORT_KILL), "kill");
        assert_string_equal(last_resort_to_string((enum last_resort)99), "");
        assert_string_equal(for_each_to_string(FOR_EACH_NONE), "");
        assert_string_equal(for_each_to_string(FOR_EACH_PIDNS), "pidns");
        assert_string_equal(for_each_to_string((enum for_each)99), "");
}

/* The installed file does nothing as it is, and every example in it works once its "#" is gone. */
static int any_user(void *userdata, const char *name, uid_t *ret)
{
        *ret = 1;
        return 0;
}

static void test_example(void **state)
{
        static const struct policy_world anybody = {.user_to_uid = any_user, .group_to_gid = any_user};
        char *text = read_file(example), *out = text;
        struct policy_problems problems = {0};
        struct policy *p = load_string(text);
        struct policy_text t;

        assert_int_equal(p->n_sections, 0);
        assert_null(p->daemon.protect);
        p = policy_free(p);

        for (const char *s = text; *s; s++)
                if (*s != '#' || (s > text && s[-1] != '\n') || s[1] == ' ' || s[1] == '\n')
                        *out++ = *s;
        *out = '\0';
        t = text_of(example, text);
        assert_int_equal(policy_load(&t, 1, &anybody, &p, &problems), 0);
        print_problems(&problems);
        assert_int_equal(p->n_sections, 9);
        assert_non_null(p->daemon.protect);
        policy_free(p);
        policy_problems_done(&problems);
        free(text);
}

static void test_free_null(void **state)
{
        assert_null(policy_free(NULL));
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_defaults),
                        cmocka_unit_test(test_full),
                        cmocka_unit_test(test_facts),
                        cmocka_unit_test(test_overriding),
                        cmocka_unit_test(test_grammar),
                        cmocka_unit_test(test_long_values),
                        cmocka_unit_test(test_dump_stays_below_limits),
                        cmocka_unit_test(test_exact_values),
                        cmocka_unit_test(test_dump_reports_write_errors),
                        cmocka_unit_test(test_cap),
                        cmocka_unit_test(test_keys),
                        cmocka_unit_test(test_names),
                        cmocka_unit_test(test_example),
                        cmocka_unit_test(test_free_null),
        };

        if (argc != 3) {
                fprintf(stderr, "usage: %s FIXTURES CAPD.CONF\n", argv[0]);
                return EXIT_FAILURE;
        }
        fixtures = argv[1];
        example = argv[2];
        return cmocka_run_group_tests(tests, NULL, NULL);
}
