/* SPDX-License-Identifier: MIT */
/* Bad configurations: each must be refused with exactly these problems, at these lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "helpers.h"

#define GOOD  "[Group a]\nUser=alice\nCap=1G\n" /* 3 lines */
#define X10   "xxxxxxxxxx"
#define X60   X10 X10 X10 X10 X10 X10
#define X200  X60 X60 X60 X10 X10
#define X4000 X200 X200 X200 X200 X200 X200 X200 X200 X200 X200 X200 X200 X200 X200 X200 X200 X200 X200 X200 X200
#define D(x)  "[Daemon]\n" x "\n"
#define G(x)  GOOD x "\n"
#define NOCAP "group 'a' lacks Cap="
#define NOSEL "group 'a' selects nothing"

/* All problems of one text, in the order of their reporting: line and part of the message. */
struct bad {
        const char *text;
        struct {
                unsigned line;
                const char *part;
        } expected[8];
};

static const struct bad cases[] = {
                /* what a line may be */
                {G("nonsense"), {{4, "'nonsense' is no Key=Value, [Section] or comment"}}},
                {G("Hook: /bin/true"), {{4, "separated by '='"}}},
                {G("=x"), {{4, "no key before '='"}}},
                {G(" = x"), {{4, "no key before '='"}}},
                {G("Ho ok=/x"), {{4, "'Ho ok' is no name of a key"}}},
                {G("Hook\xc3\xa9=/x"), {{4, "is no name of a key"}}},
                {G(X60 "=1"), {{4, "no key is that long"}}},
                {G("Description=a\x01z"), {{4, "control character in column 14"}}},
                {G("Description=a\x7f"), {{4, "control character in column 14"}}},
                {G("Description=\xc2\x9bz"), {{4, "control character in column 13"}}},
                {G("Description=\xff"), {{4, "invalid UTF-8"}}},
                {G("Description=\xed\xa0\x80"), {{4, "invalid UTF-8"}}},
                {G("# \xff in a comment"), {{4, "invalid UTF-8"}}},
                {G("Description=\"abc"), {{4, "quotation mark without its counterpart in 'Description=\"abc'"}}},
                {G("Description=it\"s # \"fine\" here"), {{4, "quotation mark"}}},
                {GOOD "Description=a \\", {{4, "ends after a backslash"}}},
                {GOOD "Description=a \\\n", {{4, "ends after a backslash"}}},
                {GOOD "Description=a \\\n# no comment may interrupt\n b\n", {{6, "'b' is no Key=Value"}}},
                {"[Group a]\r\nUser=alice\r\nCap=1G\r\n", {{1, "carriage return"}}},
                {G("Description=" X4000 X4000 X200), {{4, "longer than 8192 (LIMIT_CONFIG_LINE_BYTES)"}}},
                {G("#" X4000 X4000 X200), {{4, "LIMIT_CONFIG_LINE_BYTES"}}},
                {G("  " X4000 X4000 X200 "=\\\n b\nFoo=1"), {{4, "LIMIT_CONFIG_LINE_BYTES"}, {6, "unknown key 'Foo'"}}},

                /* sections */
                {"[Group a\nUser=alice\nCap=1G\n", {{1, "section header '[Group a' lacks its ']'"}}},
                {"[", {{1, "lacks its ']'"}}},
                {"[Group a] b\nCap=x\n", {{1, "' b' behind a section header"}}},
                {"[Group a]]\n", {{1, "']' behind a section header"}}},
                {"[]\n", {{1, "unknown section []"}}},
                {"[Foo]\nBar=1\n", {{1, "unknown section [Foo]: there are [Daemon] and [Group NAME]"}}},
                {"[daemon]\n", {{1, "unknown section [daemon], did you mean [Daemon]?"}}},
                {"[Daemon x]\n", {{1, "unknown section [Daemon x], did you mean [Daemon]?"}}},
                {"[Grup web]\nCap=x\n", {{1, "unknown section [Grup web], did you mean [Group NAME]?"}}},
                {"[Group]\n", {{1, "[Group] lacks a name"}}},
                {"[Group   ]\n", {{1, "[Group] lacks a name"}}},
                {"[Group a/b]\n", {{1, "bad group name 'a/b'"}}},
                {"[Group a b]\n", {{1, "bad group name 'a b'"}}},
                {"[Group \xc3\xa9]\n", {{1, "bad group name '\xc3\xa9'"}}},
                {"[Group -a]\n", {{1, "bad group name '-a'"}}},
                {"[Group ..]\n", {{1, "bad group name '..'"}}},
                {"[Group " X60 "12345]\n", {{1, "of 65 bytes is longer than 64 (LIMIT_SECTION_NAME_BYTES)"}}},
                {GOOD GOOD,
                 {{4, "section [Group a] again: its first header is in line 1"},
                  {5, "'User' again: it is set in line 2"},
                  {6, "'Cap' again"}}},
                {"[Daemon]\n[Group b]\nUid=1\nCap=1G\n[Daemon]\n",
                 {{5, "section [Daemon] again: its first header is in line 1"}}},
                {"Cap=1G\n" GOOD, {{1, "key 'Cap' outside of a section"}}},

                /* keys */
                {G("Foo=1"), {{4, "unknown key 'Foo' in a [Group] section: capd.conf(5)"}}},
                {G("Lowwatermark=5%"),
                 {{4, "unknown key 'Lowwatermark' in a [Group] section, did you mean 'LowWatermark'?"}}},
                {"[Group a]\nUsr=alice\nCap=1G\n", {{2, "did you mean 'User'?"}}},
                {"[Group a]\nUser=alice\nCapp=1G\n", {{3, "did you mean 'Cap'?"}}},
                {D("SampelInterval=5s"),
                 {{2, "unknown key 'SampelInterval' in a [Daemon] section, did you mean 'SampleInterval'?"}}},
                {D("Cap=1G"), {{2, "key 'Cap' does not belong in a [Daemon] section but in [Group NAME]"}}},
                {G("MaxStall=1ms"), {{4, "key 'MaxStall' does not belong in a [Group] section but in [Daemon]"}}},
                {G("Cap=2G"), {{4, "key 'Cap' again: it is set in line 3"}}},
                {G("Description=\nDescription=x"), {{5, "key 'Description' again: it is set in line 4"}}},

                /* times */
                {D("SampleInterval=abc"), {{2, "bad time 'abc' for SampleInterval="}}},
                {D("SampleInterval=-5s"), {{2, "bad time '-5s'"}}},
                {D("SampleInterval=99ms"), {{2, "SampleInterval=99ms is too short: at least 100ms"}}},
                {D("SampleInterval=0"), {{2, "too short"}}},
                {D("ScanInterval=2h"), {{2, "ScanInterval=2h is too long: at most 1h"}}},
                {D("ExactInterval=25h"), {{2, "too long: at most 1d"}}},
                {D("ExactInterval=99999999999999999999s"), {{2, "too long: at most 1d"}}},
                {D("MaxStall=49us"), {{2, "too short: at least 50us"}}},
                {D("MaxStall=2s"), {{2, "too long: at most 1s"}}},
                {G("LastResort=kill\nLastResortAfter=500ms"), {{5, "too short: at least 1s"}}},

                /* percentages */
                {D("PressureThreshold=80"),
                 {{2, "bad percentage '80' for PressureThreshold=: write it like 25% or 2.5%"}}},
                {D("PressureThreshold=101%"), {{2, "too high: at most 100%"}}},
                {D("CPUBudget=0%"), {{2, "CPUBudget=0% is too low: at least 0.1%"}}},
                {D("CPUBudget=-1%"), {{2, "bad percentage '-1%'"}}},
                {G("LowWatermark=0%"), {{4, "too low: at least 0.01%"}}},
                {G("LowWatermark=100.1%"), {{4, "too high: at most 100%"}}},
                {G("PressureThreshold=x"), {{4, "bad percentage 'x'"}}},

                /* sizes */
                {"[Group a]\nUid=1\nCap=12Q\n", {{3, "bad size '12Q' for Cap="}}},
                {"[Group a]\nUid=1\nCap=1.5\n", {{3, "bad size '1.5'"}}},
                {"[Group a]\nUid=1\nCap=-1G\n", {{3, "bad size '-1G'"}}},
                {"[Group a]\nUid=1\nCap=1 G\n", {{3, "bad size '1 G'"}}},
                {"[Group a]\nUid=1\nCap=2G ; half\n", {{3, "bad size '2G ; half'"}}},
                {"[Group a]\nUid=1\nCap=1048575\n", {{3, "Cap=1048575 is too small: at least 1M"}}},
                {"[Group a]\nUid=1\nCap=9999P\n", {{3, "size '9999P' for Cap= is beyond"}}},
                {"[Group a]\nUid=1\nCap=0%\n", {{3, "too low: at least 0.01%"}}},
                {"[Group a]\nUid=1\nCap=101%\n", {{3, "Cap=101% is too high: at most 100%"}}},
                {"[Group a]\nUid=1\nCap=5%%\n", {{3, "bad percentage '5%%'"}}},
                {"[Group a]\nUid=1\nCap=\n", {{1, NOCAP}}},
                {"[Group a]\nUid=1\n", {{1, NOCAP}}},
                {"[Group a]\nUid=1\nAction=move\n", {{1, NOCAP}}},
                {G("ProcessFloor=x"), {{4, "bad size 'x' for ProcessFloor="}}},
                {G("ReclaimRate=10"), {{4, "ReclaimRate=10 is too small: at least 64K"}}},
                {G("ReclaimRate=10M/s"), {{4, "bad size '10M/s'"}}},

                /* words, text, paths */
                {G("Action=pagout"),
                 {{4, "unknown word 'pagout' for Action=, did you mean 'pageout'? It takes: observe, pageout, move"}}},
                {G("Action=kill"), {{4, "unknown word 'kill' for Action=, which takes: observe, pageout, move"}}},
                {G("ForEach=users"), {{4, "did you mean 'user'? It takes: user, uid, cgroup, unit, container, pidns"}}},
                {G("ForEach=user uid"), {{4, "unknown word 'user uid'"}}},
                {G("LastResort=maybe"), {{4, "unknown word 'maybe' for LastResort=, which takes: none, kill"}}},
                {G("Description=" X200 X60), {{4, "of 260 bytes is longer than 256 (LIMIT_DESCRIPTION_BYTES)"}}},
                {G("Hook=true"), {{4, "Hook=true must be the absolute path of a file"}}},
                {G("Hook=/usr/"), {{4, "must be the absolute path of a file"}}},
                {G("Hook=/" X4000), {{4, "of 4001 bytes is longer than 4000 (LIMIT_CONFIG_WORD_BYTES)"}}},
                {D("HistorySize=63K"), {{2, "HistorySize=63K is too small: at least 64K"}}},
                {D("HistorySize=1G"), {{2, "HistorySize=1G is too large: at most 64M"}}},
                {D("HistoryTime=10s"), {{2, "HistoryTime=10s is too short: at least 1min"}}},
                {D("MetricsFile=metrics.prom"), {{2, "MetricsFile=metrics.prom must be the absolute path of a file"}}},

                /* selectors */
                {"[Group a]\nCap=1G\n", {{1, NOSEL}}},
                {"[Group a]\n", {{1, NOSEL}, {1, NOCAP}}},
                {"[Group a]\nUser=\nCap=1G\n", {{1, NOSEL}}},
                {"[Group a]\nForEach=user\nCap=1G\n", {{1, NOSEL}}},
                {"[Group a]\nUser=carol eve\nCap=1G\n", {{2, "unknown user 'carol'"}, {2, "unknown user 'eve'"}}},
                {"[Group a]\nUser=!carol\nCap=1G\n", {{2, "unknown user 'carol'"}}},
                {"[Group a]\nUser=1000\nCap=1G\n", {{2, "User=1000 is no user's name: write Uid=1000"}}},
                {"[Group a]\nUser=slow\nCap=1G\n", {{2, "cannot look up user 'slow': Input/output error"}}},
                {"[Group a]\nUser=\"\"\nCap=1G\n", {{2, "empty word for User="}}},
                {"[Group a]\nUser=!\nCap=1G\n", {{2, "empty word for User="}}},
                {"[Group a]\nUid=alice\nCap=1G\n",
                 {{2, "bad value 'alice' for Uid=: write a number up to 4294967294"}}},
                {"[Group a]\nUid=5-\nCap=1G\n", {{2, "bad value '5-'"}}},
                {"[Group a]\nUid=-5\nCap=1G\n", {{2, "bad value '-5'"}}},
                {"[Group a]\nUid=1-2-3\nCap=1G\n", {{2, "bad value '1-2-3'"}}},
                {"[Group a]\nUid=4294967295\nCap=1G\n", {{2, "bad value '4294967295'"}}},
                {"[Group a]\nUid=59999-1000\nCap=1G\n", {{2, "reversed range '59999-1000'"}}},
                {"[Group a]\nGid=nobody\nCap=1G\n", {{2, "unknown group 'nobody' for Gid="}}},
                {"[Group a]\nGid=slow\nCap=1G\n", {{2, "cannot look up group 'slow'"}}},
                {"[Group a]\nGid=7-3\nCap=1G\n", {{2, "reversed range '7-3' for Gid="}}},
                {"[Group a]\nCgroup=user.slice\nCap=1G\n", {{2, "'user.slice' for Cgroup= must begin with '/'"}}},
                {"[Group a]\nUnit=nginx\nCap=1G\n", {{2, "'nginx' for Unit= lacks the unit's type"}}},
                {"[Group a]\nUnit=/a/b.service/c\nCap=1G\n", {{2, "is a path: write Cgroup="}}},
                {"[Group a]\nExe=nginx\nCap=1G\n",
                 {{2, "'nginx' for Exe= must begin with '/': the key takes full paths"}}},
                {"[Group a]\nExe=/bin/[a\nCap=1G\n", {{2, "bad pattern '/bin/[a' for Exe=: '[' without ']'"}}},
                {"[Group a]\nExe=/bin/[z-a]\nCap=1G\n", {{2, "reversed range in '[...]'"}}},
                {"[Group a]\nExe=/bin/[[:alpha:]]\nCap=1G\n", {{2, "character classes"}}},
                {"[Group a]\nExe=/bin/[\xc3\xa9]\nCap=1G\n", {{2, "ASCII characters only"}}},
                {"[Group a]\nComm=\"ab\\\\\"\nCap=1G\n",
                 {{2, "bad pattern 'ab\\x5c' for Comm=: a backslash at the end"}}},
                {"[Group a]\nComm=gnome-session-binary\nCap=1G\n",
                 {{2, "keeps the first 15 bytes of a name, 'gnome-session-b'"}}},
                {"[Group a]\nPidFile=run/x.pid\nCap=1G\n", {{2, "'run/x.pid' for PidFile= must begin with '/'"}}},
                {"[Group a]\nContainer=docker/abc\nCap=1G\n", {{2, "is a path: write the container's id or name"}}},
                {"[Group a]\nPidNamespace=host\nCap=1G\n", {{2, "bad value 'host' for PidNamespace="}}},
                {"[Group a]\nPidNamespace=0\nCap=1G\n", {{2, "bad value '0' for PidNamespace="}}},
                {"[Group a]\nPidNamespace=pid:[]\nCap=1G\n", {{2, "bad value 'pid:[]'"}}},
                {"[Group a]\nPidNamespace=1111111111111111111111111\nCap=1G\n", {{2, "bad value '1111"}}},
                {"[Group a]\nCmdline=" X4000 "y\nCap=1G\n",
                 {{2, "is longer than 4000 bytes (LIMIT_CONFIG_WORD_BYTES)"}}},
                {D("Protect=sshd"), {{2, "'sshd' for Protect= is no selector"}}},
                {D("Protect=!Comm=sshd Comm=!a"), {{2, "'!' in Protect="}, {2, "'!' in Protect="}}},
                {D("Protect=Com=sshd Foo=x"),
                 {{2, "unknown selector 'Com=' for Protect=, did you mean 'Comm='?"}, {2, "selector 'Foo=' for"}}},
                {D("Protect=User=carol Unit=x"), {{2, "unknown user 'carol'"}, {2, "'x' for Unit= lacks"}}},

                /* keys that do not go together */
                {D("SampleInterval=30s"), {{2, "ScanInterval= is shorter than SampleInterval="}}},
                {D("SampleInterval=10s\nScanInterval=5s"), {{3, "ScanInterval= is shorter than SampleInterval="}}},
                {D("ScanInterval=2min\nSampleInterval=2min"), {{3, "ExactInterval= is shorter than SampleInterval="}}},
                {G("LastResortAfter=10s"), {{4, "LastResortAfter= has no effect without LastResort=kill"}}},
                {G("LastResort=kill\nAction=observe"), {{5, "LastResort=kill contradicts Action=observe"}}},

                /* the whole is read, whatever comes first */
                {"x\n[Foo]\n[Group a]\nUser=carol\nCap=x\nBar=\n[Daemon]\nMaxStall=y\n",
                 {{1, "'x' is no"},
                  {2, "[Foo]"},
                  {4, "'carol'"},
                  {5, "bad size 'x'"},
                  {6, "'Bar'"},
                  {8, "bad time 'y'"}}},
                /* text that would act on a terminal is shown, not sent; a long one is shortened between two characters
                 * */
                {"[Group a]\nUid=\xe2\x80\xae\nCap=1G\n", {{2, "bad value '\\xe2\\x80\\xae' for Uid="}}},
                {"[Group a]\nUid=x" X10 X10 X10 X10 X10 "yyyyyyyy\xc3\xa9zzzzz\nCap=1G\n",
                 {{2, "bad value 'x" X10 X10 X10 X10 X10 "yyyyyyyy...' for Uid="}}},
};

static void check(const struct bad *c, const struct policy_problems *problems)
{
        size_t n = 0;

        while (n < ARRAY_SIZE(c->expected) && c->expected[n].part)
                n++;
        for (size_t i = 0; i < n && i < problems->n; i++) {
                assert_string_equal(problems->items[i].file, "capd.conf");
                assert_int_equal(problems->items[i].line, c->expected[i].line);
                if (!strstr(problems->items[i].message, c->expected[i].part))
                        fail_msg("'%s' is not in '%s'", c->expected[i].part, problems->items[i].message);
        }
        assert_int_equal(problems->n, n);
}

static void test_table(void **state)
{
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct policy_text t = text_of("capd.conf", cases[i].text);
                struct policy_problems problems = {0};
                struct policy *p = NULL;

                print_message("%.60s\n", cases[i].text);
                assert_int_equal(policy_load(&t, 1, &fake_world, &p, &problems), -EBADMSG);
                assert_null(p);
                print_problems(&problems);
                check(&cases[i], &problems);
                policy_problems_done(&problems);
        }
}

static void test_nul(void **state)
{
        static const char text[] = GOOD "Desc\0ription=x\nHook=/x\0\nFoo=1\n";
        struct policy_text t = {.name = "capd.conf", .text = text, .size = sizeof(text) - 1};
        struct policy_problems problems = {0};
        struct policy *p = NULL;

        assert_int_equal(policy_load(&t, 1, &fake_world, &p, &problems), -EBADMSG);
        assert_int_equal(problems.n, 3);
        assert_int_equal(problems.items[0].line, 4);
        assert_string_equal(problems.items[0].message, "NUL byte in column 5: is this a text file?");
        assert_int_equal(problems.items[1].line, 5);
        assert_int_equal(problems.items[2].line, 6); /* what follows the NUL is read */
        policy_problems_done(&problems);
}

static void test_limits(void **state)
{
        struct policy_problems problems = {0};
        struct policy_text texts[LIMIT_CONFIG_FILES + 1];
        struct policy *p = NULL;
        char *text, *s;

        /* files */
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
                texts[i] = text_of(i == LIMIT_CONFIG_FILES ? "last" : "some", "");
        assert_int_equal(policy_load(texts, ARRAY_SIZE(texts), &fake_world, &p, &problems), -EBADMSG);
        assert_int_equal(problems.n, 1);
        assert_string_equal(problems.items[0].file, "last");
        assert_int_equal(problems.items[0].line, 0);
        assert_non_null(strstr(problems.items[0].message, "LIMIT_CONFIG_FILES"));
        policy_problems_done(&problems);

        /* the size of a file */
        text = malloc(LIMIT_CONFIG_FILE_BYTES + 1);
        assert_non_null(text);
        memset(text, '\n', LIMIT_CONFIG_FILE_BYTES + 1);
        texts[0] = (struct policy_text){.name = "big", .text = text, .size = LIMIT_CONFIG_FILE_BYTES + 1};
        assert_int_equal(policy_load(texts, 1, &fake_world, &p, &problems), -EBADMSG);
        assert_int_equal(problems.n, 1);
        assert_non_null(strstr(problems.items[0].message, "LIMIT_CONFIG_FILE_BYTES"));
        policy_problems_done(&problems);
        texts[0].size--;
        assert_int_equal(policy_load(texts, 1, &fake_world, &p, &problems), 0);
        p = policy_free(p);

        /* groups: as many as allowed load, and one more does not */
        s = text;
        for (unsigned i = 0; i < LIMIT_CONFIG_GROUPS; i++)
                s += sprintf(s, "[Group g%u]\nUid=%u\nCap=1G\n", i, i);
        texts[0].size = (size_t)(s - text);
        assert_int_equal(policy_load(texts, 1, &fake_world, &p, &problems), 0);
        assert_int_equal(p->n_sections, LIMIT_CONFIG_GROUPS);
        assert_string_equal(p->sections[4095].name, "g4095");
        p = policy_free(p);
        s += sprintf(s, "[Group more]\nUid=1\nCap=1G\n[Group evenmore]\nCap=x\n");
        texts[0].size = (size_t)(s - text);
        assert_int_equal(policy_load(texts, 1, &fake_world, &p, &problems), -EBADMSG);
        assert_int_equal(problems.n, 1);
        assert_int_equal(problems.items[0].line, 3 * LIMIT_CONFIG_GROUPS + 1);
        assert_non_null(strstr(problems.items[0].message,
                               "more than 4096 groups (LIMIT_CONFIG_GROUPS), from 'more' on"));
        policy_problems_done(&problems);

        /* words of a selector */
        s = text + sprintf(text, "[Group a]\nCap=1G\nUid=");
        for (unsigned i = 0; i < LIMIT_SELECTOR_VALUES; i++)
                s += sprintf(s, "%u%s", i, i % 100 == 99 ? " \\\n" : " ");
        texts[0].size = (size_t)(s - text);
        assert_int_equal(policy_load(texts, 1, &fake_world, &p, &problems), 0);
        p = policy_free(p);
        s += sprintf(s, "1 2 3 4\n");
        texts[0].size = (size_t)(s - text);
        assert_int_equal(policy_load(texts, 1, &fake_world, &p, &problems), -EBADMSG);
        assert_int_equal(problems.n, 1);
        assert_int_equal(problems.items[0].line, 3);
        assert_non_null(strstr(problems.items[0].message, "more than 1024 words (LIMIT_SELECTOR_VALUES) for Uid="));
        policy_problems_done(&problems);

        /* problems: the rest is counted */
        s = text;
        for (unsigned i = 0; i < LIMIT_CONFIG_PROBLEMS + 50; i++)
                s += sprintf(s, "x\n");
        texts[0].size = (size_t)(s - text);
        assert_int_equal(policy_load(texts, 1, &fake_world, &p, &problems), -EBADMSG);
        assert_int_equal(problems.n, LIMIT_CONFIG_PROBLEMS);
        assert_int_equal(problems.n_dropped, 50);
        /* a full list does not make a bad file good */
        assert_int_equal(policy_load(texts, 1, &fake_world, &p, &problems), -EBADMSG);
        assert_null(p);
        policy_problems_done(&problems);
        free(text);
}

/* Every file is named, and a bad value is reported even where a later file overrides it. */
static void test_files(void **state)
{
        struct policy_text texts[] = {
                        text_of("/etc/capd.conf", "[Group a]\nUser=alice\nCap=bad\n"),
                        text_of("10.conf", "[Group a]\nCap=1G\n[Daemon]\nSampleInterval=20s\n"),
                        text_of("20\n.conf", "[Daemon]\nScanInterval=10s\n[Group b]\n"),
        };
        static const struct {
                const char *file;
                unsigned line;
        } expected[] = {{"/etc/capd.conf", 3}, {"20\\x0a.conf", 2}, {"20\\x0a.conf", 3}, {"20\\x0a.conf", 3}};
        struct policy_problems problems = {0};
        struct policy *p = NULL;

        assert_int_equal(policy_load(texts, ARRAY_SIZE(texts), &fake_world, &p, &problems), -EBADMSG);
        print_problems(&problems);
        assert_int_equal(problems.n, ARRAY_SIZE(expected));
        for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
                assert_string_equal(problems.items[i].file, expected[i].file);
                assert_int_equal(problems.items[i].line, expected[i].line);
        }
        policy_problems_done(&problems);
}

/* The caller's own problems are kept and do not count against texts that are right. */
static void test_callers_problems(void **state)
{
        struct policy_text t = text_of("capd.conf", GOOD);
        struct policy_problems problems = {0};
        struct policy *p = NULL;

        assert_int_equal(policy_problems_add(&problems, "/etc/x\x1b", 0, "is a %s", "FIFO\n"), 0);
        assert_int_equal(policy_load(&t, 1, &fake_world, &p, &problems), 0);
        assert_int_equal(problems.n, 1);
        assert_string_equal(problems.items[0].file, "/etc/x\\x1b");
        assert_string_equal(problems.items[0].message, "is a FIFO\\x0a");
        policy_free(p);
        policy_problems_done(&problems);
        assert_null(problems.items);
}

static void test_lookup_without_memory(void **state)
{
        struct policy_text texts[] = {text_of("capd.conf", "[Group a]\nUser=nomem\nCap=1G\n"),
                                      text_of("capd.conf", "[Group a]\nGid=nomem\nCap=1G\n")};
        struct policy_problems problems = {0};
        struct policy *p = NULL;

        for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
                assert_int_equal(policy_load(&texts[i], 1, &fake_world, &p, &problems), -ENOMEM);
        assert_null(p);
        policy_problems_done(&problems);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_table),
                        cmocka_unit_test(test_nul),
                        cmocka_unit_test(test_limits),
                        cmocka_unit_test(test_files),
                        cmocka_unit_test(test_callers_problems),
                        cmocka_unit_test(test_lookup_without_memory),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
