/* SPDX-License-Identifier: MIT */
/*
 * suggest.c: looks at the host for a while and proposes groups and caps.
 *
 * At every look each process is sorted into sections of a configuration that grows as new units, users and programs appear; who
 * belongs to which of its groups is then judged by the policy itself, so that capd will see what was seen here. All groups are
 * counted in one pass, as capctl measure counts one.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "capd/base/size.h"
#include "capd/base/sys.h"
#include "capd/base/users.h"
#include "capd/measure/count.h"
#include "capd/measure/features.h"
#include "capd/measure/host.h"
#include "capd/measure/table.h"
#include "capd/measure/worker.h"
#include "capd/policy/match.h"
#include "capd/policy/policy.h"
#include "suggest.h"

#define NOBODY           65534
#define DEFAULT_DURATION (120 * USEC_PER_SEC)
#define MIN_INTERVAL     USEC_PER_SEC
#define LOOKS            60U
/* Looking takes at most one part in so many of the time. */
#define IDLE_FACTOR 20U
/* A process that executes another program is seen as that after so long. */
#define MAX_AGE (5 * USEC_PER_SEC)
#define FACTS   (FACT_EXE | FACT_CGROUP)

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
        interrupted = 1;
}

/* A group at one look. */
struct seen {
        size_t section;
        char name[LIMIT_GROUP_NAME_BYTES];
        uint64_t rss;
        uint32_t processes;
};

struct suggestion {
        struct sys sys;
        struct features features;
        struct process_table *table;
        struct policy *policy;
        struct proposals proposals;
        struct host_memory host;
        unsigned looks;

        struct count *count;
        struct seen *seen;
        size_t n_seen, allocated;
};

static void suggestion_done(struct suggestion **s)
{
        count_free((*s)->count);
        free((*s)->seen);
        policy_free((*s)->policy);
        process_table_free((*s)->table);
        sys_done(&(*s)->sys);
        free(*s);
}

static int prepare(struct suggestion *s)
{
        int r;

        r = sys_init(&s->sys, NULL);
        if (r >= 0)
                r = features_probe(&s->sys, NOBODY, NOBODY, &s->features);
        if (r >= 0)
                r = host_memory_read(&s->sys, &s->host);
        if (r < 0)
                return failed("cannot read /proc: %s", strerror(-r));
        if (!s->features.pagemap_frames)
                return failed("the kernel shows the memory of others to root only (CAP_SYS_ADMIN): run suggest as "
                              "root");
        r = process_table_new(&s->sys, FACTS, 0, &s->table);
        return r < 0 ? failed("cannot list processes: %s", strerror(-r)) : 0;
}

static bool counts(const struct process *p)
{
        return !p->facts.kernel_thread && !p->facts.zombie && p->facts.pid != getpid();
}

/* -- one look -- */

/* The sections as a policy, anew. */
static int load(struct suggestion *s)
{
        static const struct policy_world world = {.user_to_uid = users_user_to_uid, .group_to_gid = users_group_to_gid};
        _cleanup_(policy_problems_done) struct policy_problems problems = {0};
        _cleanup_free_ char *text = NULL;
        struct policy *policy;
        struct policy_text t;
        size_t size;
        FILE *f = open_memstream(&text, &size);
        int r;

        if (!f)
                return out_of_memory();
        suggest_sections(&s->proposals, f);
        if (fclose(f) != 0)
                return out_of_memory();
        t = (struct policy_text){.name = "suggest", .text = text, .size = size};
        r = policy_load(&t, 1, &world, &policy, &problems);
        if (r < 0)
                return failed("cannot make groups: %s", problems.n > 0 ? problems.items[0].message : strerror(-r));
        policy_free(s->policy);
        s->policy = policy;
        return 0;
}

static int classify(struct suggestion *s)
{
        bool new = !s->policy;

        for (struct process *p = NULL; (p = process_table_next(s->table, p));)
                if (counts(p))
                        new |= suggest_classify(&s->proposals, &p->facts);
        return new ? load(s) : 0;
}

/* The index of a group in the count; it is added if it is not there. Negative errno. */
static int find_group(struct suggestion *s, const struct match *m)
{
        int r;

        for (size_t i = 0; i < s->n_seen; i++)
                if (s->seen[i].section == m->section && strcmp(s->seen[i].name, m->name) == 0)
                        return (int)i;
        if (s->n_seen == LIMIT_GROUPS)
                return -E2BIG;
        if (s->n_seen == s->allocated) {
                size_t n = s->allocated ? 2 * s->allocated : 64;
                struct seen *more = reallocarray(s->seen, n, sizeof(*more));

                if (!more)
                        return -ENOMEM;
                s->seen = more;
                s->allocated = n;
        }
        r = count_add_group(s->count);
        if (r < 0)
                return r;
        s->seen[s->n_seen] = (struct seen){.section = m->section};
        memcpy(s->seen[s->n_seen].name, m->name, sizeof(m->name));
        return (int)s->n_seen++;
}

static int add_process(struct suggestion *s, struct process *p)
{
        static const struct match_world world = {.uid_to_user = users_uid_to_user};
        struct match matches[LIMIT_GROUPS_PER_PROCESS];
        uint32_t groups[LIMIT_GROUPS_PER_PROCESS];
        size_t n = match_process(s->policy, &world, &p->facts, matches, ARRAY_SIZE(matches));
        int r;

        if (n == 0 || process_look(s->table, p) < 0)
                return 0;
        for (size_t i = 0; i < n; i++) {
                r = find_group(s, &matches[i]);
                if (r < 0)
                        return r;
                groups[i] = (uint32_t)r;
                s->seen[r].rss += p->rss;
                s->seen[r].processes++;
        }
        r = count_add_process(s->count, p->facts.pid, p->facts.start_time, p->mm_id, groups, n);
        return r < 0 ? r : 0;
}

/* What was seen of each group, into the proposal it belongs to. */
static void book(struct suggestion *s)
{
        size_t groups[SUGGEST_MAX] = {0};

        for (size_t i = 0; i < s->n_seen; i++) {
                struct proposal *p = &s->proposals.items[s->seen[i].section];
                struct group_sample sample = {0};
                bool bound;

                count_group_result(s->count, (uint32_t)i, &sample);
                bound = sample.quality != QUALITY_EXACT;
                groups[s->seen[i].section]++;
                p->groups = MAX(p->groups, groups[s->seen[i].section]);
                if ((bound ? s->seen[i].rss : sample.resident) < p->peak)
                        continue;
                p->peak = bound ? s->seen[i].rss : sample.resident;
                p->bound = bound;
                p->rss = s->seen[i].rss;
                p->processes = s->seen[i].processes;
                memcpy(p->largest, s->seen[i].name, sizeof(p->largest));
        }
}

static int look(struct suggestion *s)
{
        int r;

        r = process_table_refresh(s->table, clock_usec(CLOCK_MONOTONIC), MAX_AGE, NULL, NULL);
        if (r < 0)
                return failed("cannot list processes: %s", strerror(-r));
        r = classify(s);
        if (r != 0)
                return r;
        s->count = count_free(s->count);
        s->n_seen = 0;
        r = count_new(&s->sys, &s->features, 0, &s->count);
        for (struct process *p = NULL; r >= 0 && (p = process_table_next(s->table, p));)
                if (counts(p))
                        r = add_process(s, p);
        if (r >= 0)
                r = count_run_parallel(s->count, worker_useful_threads());
        if (r < 0)
                return failed("the count failed: %s", strerror(-r));
        book(s);
        s->looks++;
        return 0;
}

int verb_suggest(const struct arguments *a)
{
        struct sigaction action = {.sa_handler = on_signal};
        _cleanup_(suggestion_done) struct suggestion *s = calloc(1, sizeof(*s));
        usec_t duration = DEFAULT_DURATION, began = clock_usec(CLOCK_MONOTONIC), now;
        char text[SIZE_TEXT_MAX];
        int r;

        if (!s)
                return out_of_memory();
        s->sys.root_fd = -1;
        if (a->duration && (parse_time(a->duration, &duration) < 0 || duration == 0)) {
                (void)failed("--for takes a time such as 30s or 1h");
                return EXIT_USAGE;
        }
        r = prepare(s);
        if (r != 0)
                return r;
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
        if (isatty(STDERR_FILENO))
                fprintf(stderr, "Looking for %s; Ctrl-C ends it and proposes from what was seen so far\n",
                        format_time(text, duration));
        do {
                usec_t at = clock_usec(CLOCK_MONOTONIC), pause;

                r = look(s);
                if (r != 0)
                        return r;
                now = clock_usec(CLOCK_MONOTONIC);
                if (now - began >= duration)
                        break;
                pause = MAX(duration / LOOKS, (now - at) * IDLE_FACTOR);
                pause = MAX(pause, MIN_INTERVAL);
                /* the last look is at the end */
                if (!interrupted)
                        pause_for(MIN(pause, duration - (now - began)));
        } while (!interrupted);
        suggest_print(&s->proposals, stdout, clock_usec(CLOCK_MONOTONIC) - began, s->looks, s->host.total);
        return EXIT_DONE;
}
