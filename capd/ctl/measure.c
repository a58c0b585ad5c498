/* SPDX-License-Identifier: MIT */
/*
 * measure.c: one group counted now, without the daemon.
 *
 * What the options select is written as a [Group] section and read by the policy, so that they mean here what they mean in
 * capd.conf. Needs the right to see page frames: without it nothing is measured, as no figure could be true.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "capd/base/size.h"
#include "capd/base/sys.h"
#include "capd/base/text.h"
#include "capd/base/users.h"
#include "capd/measure/cgroups.h"
#include "capd/measure/count.h"
#include "capd/measure/features.h"
#include "capd/measure/table.h"
#include "capd/measure/worker.h"
#include "capd/policy/match.h"
#include "capd/policy/policy.h"
#include "ctl.h"

#define NOBODY 65534

static const char *const keys[_SELECT_MAX] = {"User",   "Uid",  "Gid",       "Comm",    "Exe",         "Cmdline",
                                              "Cgroup", "Unit", "Container", "PidFile", "PidNamespace"};

struct measurement {
        const struct arguments *arguments;
        struct sys sys;
        struct features features;
        struct policy *policy; /* NULL: by PID */
        pid_t *pid_files;
        struct process_table *table;
        struct process **members;
        size_t n_members;
        struct wire_group group;
};

static void measurement_done(struct measurement *m)
{
        free(m->members);
        free(m->pid_files);
        process_table_free(m->table);
        policy_free(m->policy);
        sys_done(&m->sys);
}

/* -- who -- */

static int read_selectors(struct measurement *m)
{
        static const struct policy_world world = {.user_to_uid = users_user_to_uid, .group_to_gid = users_group_to_gid};
        _cleanup_(policy_problems_done) struct policy_problems problems = {0};
        _cleanup_free_ char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);
        struct policy_text t;
        int r;

        if (!f)
                return out_of_memory();
        fputs("[Group measure]\nAction=observe\n", f);
        for (int i = 0; i < _SELECT_MAX; i++)
                if (m->arguments->selectors[i])
                        fprintf(f, "%s=%s\n", keys[i], m->arguments->selectors[i]);
        if (fclose(f) != 0)
                return out_of_memory();
        t = (struct policy_text){.name = "measure", .text = text, .size = size};
        r = policy_load(&t, 1, &world, &m->policy, &problems);
        if (r == 0)
                return 0;
        for (size_t i = 0; i < problems.n; i++)
                (void)failed("%s", problems.items[i].message);
        return r == -EBADMSG ? EXIT_USAGE : out_of_memory();
}

static int read_pid_files(struct measurement *m)
{
        m->pid_files = calloc(m->policy->n_pid_files + 1, sizeof(*m->pid_files));
        if (!m->pid_files)
                return out_of_memory();
        for (size_t i = 0; i < m->policy->n_pid_files; i++) {
                const char *path = m->policy->pid_files[i];
                char text[LIMIT_PIDFILE_BYTES];
                uint64_t pid;
                ssize_t n;

                n = sys_read_file_at(&m->sys, m->sys.root_fd, path + (path[0] == '/'), text, sizeof(text));
                if (n < 0)
                        return failed("cannot read %s: %s", path, strerror((int)-n));
                text[strcspn(text, " \t\n")] = '\0';
                if (parse_number(text, INT32_MAX, &pid) < 0)
                        return failed("%s holds no process number", path);
                m->pid_files[i] = (pid_t)pid;
        }
        return 0;
}

static int add_member(struct measurement *m, struct process *p)
{
        if ((m->n_members & (m->n_members - 1)) == 0) {
                struct process **more = reallocarray(m->members, m->n_members ? 2 * m->n_members : 1, sizeof(*more));

                if (!more)
                        return out_of_memory();
                m->members = more;
        }
        m->members[m->n_members++] = p;
        return 0;
}

static int add_named(struct measurement *m)
{
        for (size_t i = 0; i < m->arguments->n_words; i++) {
                const char *word = m->arguments->words[i];
                struct process *p = NULL;
                uint64_t pid;
                char text[64];

                text_escape(text, sizeof(text), word, strlen(word));
                if (parse_number(word, INT32_MAX, &pid) < 0) {
                        (void)failed("'%s' is no process number", text);
                        return EXIT_USAGE;
                }
                p = process_table_find(m->table, (pid_t)pid);
                if (!p || p->facts.kernel_thread || p->facts.zombie)
                        return failed(p ? "process %s has no memory of its own: a kernel thread or a zombie"
                                        : "there is no process %s",
                                      text);
                for (size_t j = 0; j < m->n_members && p; j++)
                        if (m->members[j] == p)
                                p = NULL; /* named twice */
                if (p && add_member(m, p) != 0)
                        return EXIT_FAILED;
        }
        return 0;
}

static void complete_cmdline(struct measurement *m, struct process *p)
{
        char text[LIMIT_CMDLINE_BYTES];
        ssize_t n;

        if (!p->needs_cmdline)
                return;
        n = process_read_cmdline(&m->sys, NULL, p->facts.pid, p->facts.start_time, text, sizeof(text));
        (void)process_table_set_cmdline(m->table, p->facts.pid, p->facts.start_time, n < 0 ? NULL : text);
}

static int add_selected(struct measurement *m)
{
        const struct match_world world = {.pid_file_pids = m->pid_files, .uid_to_user = users_uid_to_user};

        for (struct process *p = NULL; (p = process_table_next(m->table, p));) {
                struct match match;

                if (p->facts.pid == getpid())
                        continue;
                complete_cmdline(m, p);
                if (match_process(m->policy, &world, &p->facts, &match, 1) > 0 && add_member(m, p) != 0)
                        return EXIT_FAILED;
        }
        return m->n_members > 0 ? 0 : failed("no process is selected");
}

/* -- how much -- */

static int by_address_space(const void *a, const void *b)
{
        const struct process *x = *(struct process *const *)a, *y = *(struct process *const *)b;

        return (x->mm_id > y->mm_id) - (x->mm_id < y->mm_id);
}

/* The cheap part: each address space once. Who has ended leaves. */
static void look(struct measurement *m)
{
        struct group_sample *s = &m->group.sample;
        size_t n = 0;

        s->bounds_at = clock_usec(CLOCK_MONOTONIC);
        for (size_t i = 0; i < m->n_members; i++)
                if (process_look(m->table, m->members[i]) == 0)
                        m->members[n++] = m->members[i];
        m->n_members = n;
        s->processes = (uint32_t)n;
        qsort(m->members, n, sizeof(*m->members), by_address_space);
        for (size_t i = 0; i < n; i++) {
                if (i > 0 && m->members[i]->mm_id == m->members[i - 1]->mm_id)
                        continue;
                s->address_spaces++;
                s->rss_sum += m->members[i]->rss;
                s->vm_sum += m->members[i]->vm;
        }
}

static int run_count(struct measurement *m, unsigned flags)
{
        _cleanup_(count_freep) struct count *count = NULL;
        const uint32_t group = 0;
        int r;

        r = count_new(&m->sys, &m->features, flags, &count);
        if (r >= 0)
                r = count_add_group(count);
        if (r >= 0 && m->arguments->want_estimate)
                r = count_set_sample(count, count_sample_rate(m->group.sample.rss_sum / m->features.page_size));
        for (size_t i = 0; r >= 0 && i < m->n_members; i++)
                r = count_add_process(count, m->members[i]->facts.pid, m->members[i]->facts.start_time,
                                      m->members[i]->mm_id, &group, 1);
        if (r >= 0)
                r = count_run_parallel(count, worker_useful_threads());
        if (r < 0)
                return failed("the count failed: %s", strerror(-r));
        m->group.sample.pss_sum = m->group.sample.inside = m->group.sample.inside_swap = SIZE_UNKNOWN;
        count_group_result(count, 0, &m->group.sample);
        if (!m->group.sample.have_private)
                m->group.sample.private_bytes = m->group.sample.shared_bytes = SIZE_UNKNOWN;
        if (!(flags & COUNT_PSS))
                m->group.sample.pss_sum = SIZE_UNKNOWN;
        return 0;
}

static bool is_member(pid_t pid, void *userdata)
{
        const struct measurement *m = userdata;

        for (size_t i = 0; i < m->n_members; i++)
                if (m->members[i]->facts.pid == pid)
                        return true;
        return false;
}

/* memory.current, if there are cgroups of which all tasks were counted. What cannot be had stays unknown. */
static void read_cgroups(struct measurement *m)
{
        _cleanup_(owned_cgroups_done) struct owned_cgroups owned = {0};
        _cleanup_(cgroup2_close) struct cgroup2 hierarchy = CGROUP2_CLOSED;
        struct cgroup_member *members = calloc(m->n_members + 1, sizeof(*members));

        m->group.cgroups.current = SIZE_UNKNOWN;
        for (size_t i = 0; members && i < m->n_members; i++)
                members[i] = (struct cgroup_member){.pid = m->members[i]->facts.pid,
                                                    .cgroup = m->members[i]->facts.cgroup};
        if (members && cgroup2_open(&m->sys, &hierarchy) >= 0 &&
            cgroups_find_owned(&hierarchy, members, m->n_members, is_member, m, &owned) >= 0 && owned.n > 0)
                (void)cgroups_read(&hierarchy, &owned, clock_usec(CLOCK_MONOTONIC), &m->group.cgroups);
        free(members);
}

/* -- what is printed -- */

/* The group is named after what was asked: "User=alice Comm=x", or the process numbers. */
static int name_group(struct measurement *m)
{
        const struct arguments *a = m->arguments;
        _cleanup_free_ char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        if (!f)
                return out_of_memory();
        for (int i = 0; i < _SELECT_MAX; i++)
                if (a->selectors[i])
                        fprintf(f, "%s%s=%s", ftell(f) > 0 ? " " : "", keys[i], a->selectors[i]);
        for (size_t i = 0; i < a->n_words; i++)
                fprintf(f, "%s%s", ftell(f) > 0 ? " " : "", a->words[i]);
        if (fclose(f) != 0)
                return out_of_memory();
        text_escape(m->group.name, sizeof(m->group.name), text, size);
        return 0;
}

static int choose_columns(const struct arguments *a, struct selection *ret)
{
        struct selection s;
        size_t kept = 0;
        int r = columns_select(group_columns, a,
                               (a->json ? COLUMN_JSON : COLUMN_MEASURE) | (a->want_private ? COLUMN_PRIVATE : 0) |
                                               (a->want_pss ? COLUMN_PSS : 0) |
                                               (a->want_estimate ? COLUMN_ESTIMATE : 0),
                               &s);

        if (r != 0)
                return r;
        for (size_t i = 0; i < s.n; i++) {
                if (!(s.items[i]->flags & COLUMN_DAEMON))
                        s.items[kept++] = s.items[i];
                else if (a->output && columns_name(a->output, s.items[i])) {
                        (void)failed("only the daemon knows %s: 'capctl status' shows it", s.items[i]->header);
                        return EXIT_USAGE;
                }
        }
        s.n = kept;
        *ret = s;
        return 0;
}

static int prepare(struct measurement *m)
{
        int r;

        r = sys_init(&m->sys, NULL);
        if (r >= 0)
                r = features_probe(&m->sys, NOBODY, NOBODY, &m->features);
        if (r < 0)
                return failed("cannot read /proc: %s", strerror(-r));
        if (!m->features.pagemap_frames)
                return failed("the kernel shows page frames to root only (CAP_SYS_ADMIN): run measure as root");
        if (m->arguments->n_words == 0) {
                r = read_selectors(m);
                if (r == 0)
                        r = read_pid_files(m);
                if (r != 0)
                        return r;
        }
        r = process_table_new(&m->sys, (m->policy ? m->policy->facts : 0) | FACT_CGROUP, 0, &m->table);
        if (r >= 0)
                r = process_table_refresh(m->table, clock_usec(CLOCK_MONOTONIC), USEC_INFINITY, NULL, NULL);
        return r < 0 ? failed("cannot list processes: %s", strerror(-r)) : 0;
}

static int check_words(const struct arguments *a)
{
        bool selects = false;

        for (int i = 0; i < _SELECT_MAX; i++)
                selects |= a->selectors[i] != NULL;
        if (selects == (a->n_words > 0)) {
                (void)failed(selects ? "give process numbers or options that select processes, not both"
                                     : "what is to be measured? Give process numbers, or --user, --unit, --comm …");
                return EXIT_USAGE;
        }
        return 0;
}

int verb_measure(const struct arguments *a)
{
        _cleanup_(measurement_done) struct measurement m = {.arguments = a, .sys.root_fd = -1};
        struct selection s;
        unsigned flags = 0;
        int r;

        r = check_words(a);
        if (r == 0)
                r = choose_columns(a, &s);
        if (r == 0)
                r = name_group(&m);
        if (r == 0)
                r = prepare(&m);
        if (r == 0)
                r = m.policy ? add_selected(&m) : add_named(&m);
        if (r != 0)
                return r;
        look(&m);
        if (a->want_private || (a->output && selection_has(&s, COLUMN_PRIVATE)))
                flags |= COUNT_PRIVATE;
        if (a->want_pss || (a->output && selection_has(&s, COLUMN_PSS)))
                flags |= COUNT_PSS;
        r = run_count(&m, flags);
        if (r != 0)
                return r;
        read_cgroups(&m);
        m.group.cap = m.group.configured_cap = m.group.low_watermark = SIZE_UNKNOWN;
        r = table_print("groups", &s, a, &m.group, 1, sizeof(m.group));
        if (r == 0 && m.group.sample.unread > 0 && !a->json && !a->raw && !a->no_headings)
                fprintf(stderr, "%" PRIu32 " process%s could not be read; the figures are without %s\n",
                        m.group.sample.unread, m.group.sample.unread == 1 ? "" : "es",
                        m.group.sample.unread == 1 ? "it" : "them");
        /* nothing at all could be read: that is no answer */
        return r == 0 && m.group.sample.quality == QUALITY_UNKNOWN ? EXIT_FAILURE : r;
}
