/* SPDX-License-Identifier: MIT */
/* Processes that are not read again, or not listed at all: what the table says must be what reading everything says. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capd/measure/cgroups.h"
#include "capd/measure/table.h"
#include "fake.h"

#define FIRST_PID 1000
#define PIDS      40
#define CGROUPS   4
#define AGE       1000U
#define FACTS     (FACT_EXE | FACT_CGROUP)

/* One of the host's processes as its kernel has it. */
struct truth {
        bool lives, zombie, threaded_leader; /* the last: its first thread is in the cgroup below, with another type */
        int ppid;
        uint64_t start_time;
        bool was_parent; /* it ended since the last look */
        bool stale;      /* its files do not say yet what happened */
        unsigned runs, threads, name, uid, cgroup, ticks;
};

struct host {
        struct fake fake;
        struct cgroup2 cgroups;
        struct truth p[PIDS];
        unsigned seed;
        uint64_t clock;
        bool scheduler_tells, hybrid;
        bool unlisted; /* nobody is in any list */
};

static unsigned draw(struct host *h, unsigned n)
{
        return (unsigned)rand_r(&h->seed) % n;
}

static void write_process(struct host *h, int i)
{
        const struct truth *p = &h->p[i];
        int pid = FIRST_PID + i;
        char path[64], text[512];

        snprintf(path, sizeof(path), "proc/%d/stat", pid);
        snprintf(text, sizeof(text), "%d (n%u) %c %d 0 0 0 -1 0 0 0 0 0 %u 0 0 0 20 0 %u 0 %llu 409600 20 0 1 2 3\n",
                 pid, p->name, p->zombie ? 'Z' : 'S', p->ppid, p->ticks, p->threads, (unsigned long long)p->start_time);
        fake_write(&h->fake, path, text);
        snprintf(path, sizeof(path), "proc/%d/status", pid);
        snprintf(text, sizeof(text), "Uid:\t0\t%u\t0\t0\nGid:\t0\t0\t0\t0\n", p->uid);
        fake_write(&h->fake, path, text);
        snprintf(path, sizeof(path), "proc/%d/cgroup", pid);
        if (h->hybrid)
                snprintf(text, sizeof(text), "1:name=systemd:/g%u\n0::/\n", p->cgroup);
        else
                snprintf(text, sizeof(text), "0::/g%u%s\n", p->cgroup, p->threaded_leader ? "/t" : "");
        fake_write(&h->fake, path, text);
        snprintf(path, sizeof(path), "proc/%d/schedstat", pid);
        snprintf(text, sizeof(text), "%u 7 %u\n", p->runs * 1000, p->runs);
        fake_write(&h->fake, path, h->scheduler_tells ? text : "0 0 0\n");
}

/* cgroup.threads and cgroup.procs of all cgroups, as the kernel lists them; the latter is wrong where there are threaded ones. */
static void write_cgroups(struct host *h)
{
        for (unsigned g = 0; g < CGROUPS * 2; g++) {
                char path[64], text[PIDS * 12] = "";

                for (int i = 0; i < PIDS; i++)
                        if (h->p[i].lives && !h->p[i].zombie && !h->hybrid && h->p[i].cgroup == g / 2 &&
                            h->p[i].threaded_leader == g % 2)
                                snprintf(text + strlen(text), sizeof(text) - strlen(text), "%d\n", FIRST_PID + i);
                if (h->unlisted)
                        text[0] = '\0';
                snprintf(path, sizeof(path), "sys/fs/cgroup/g%u%s/cgroup.threads", g / 2, g % 2 ? "/t" : "");
                fake_write(&h->fake, path, text);
                strcpy(strrchr(path, '/'), "/cgroup.procs");
                fake_write(&h->fake, path, text);
        }
}

static void start(struct host *h, int i, int parent)
{
        h->p[i] = (struct truth){.lives = true,
                                 .stale = true,
                                 .ppid = parent >= 0 ? FIRST_PID + parent : 0,
                                 .start_time = ++h->clock,
                                 .runs = 1 + draw(h, 1000000), /* in fact nanoseconds, which no two have in common */
                                 .threads = draw(h, 4) == 0 ? 2 : 1,
                                 .cgroup = draw(h, CGROUPS)};
}

static void end(struct host *h, int i)
{
        char path[32];

        h->p[i].lives = false;
        snprintf(path, sizeof(path), "proc/%d", FIRST_PID + i);
        fake_remove(&h->fake, path);
        for (int k = 0; k < PIDS; k++)
                if (h->p[k].lives && h->p[k].ppid == FIRST_PID + i) {
                        h->p[k].ppid = FIRST_PID; /* none of them runs for that */
                        h->p[i].was_parent = h->p[k].stale = true;
                }
}

/* Something happens to a process: by itself, for which it must run, or to it. */
static void happen(struct host *h)
{
        int i = (int)draw(h, PIDS);
        struct truth *p = &h->p[i];
        unsigned what;

        if (!p->lives || (i > 0 && draw(h, 10) == 0)) {
                int parent = (int)draw(h, PIDS);

                if (p->lives)
                        end(h, i);
                /*
                 * The number is used again at once, or later. Between two looks all numbers must have been used for that, so of parents it is
                 * later: else their children's old parent is found out one look after them.
                 */
                if (!p->was_parent && draw(h, 2) == 0)
                        start(h, i, i > 0 && h->p[parent].lives && parent != i ? parent : -1);
                return;
        }
        p->stale = true;
        what = draw(h, 7);
        if (what <= 4 && (p->threads == 1 || draw(h, 2) == 0))
                p->runs++; /* or another of its threads, which is not told */
        switch (what) {
        case 0:
                p->name++;
                break;
        case 1:
                p->uid++;
                break;
        case 2:
                p->ticks += draw(h, 2);
                break;
        case 3:
                p->threads = 1 + draw(h, 2);
                break;
        case 4:
                p->zombie = i > 0;
                break;
        case 5:
                p->threaded_leader = !p->threaded_leader;
                break;
        default:
                p->cgroup = draw(h, CGROUPS);
                break;
        }
}

static void write_all(struct host *h)
{
        for (int i = 0; i < PIDS; i++) {
                if (h->p[i].lives && h->p[i].stale)
                        write_process(h, i);
                h->p[i].stale = h->p[i].was_parent = false;
        }
        write_cgroups(h);
}

static void host_init(struct host *h, unsigned seed)
{
        struct stat st;

        *h = (struct host){.seed = seed, .scheduler_tells = seed % 5 != 4, .hybrid = seed % 5 == 3};
        fake_init(&h->fake);
        for (int i = 0; i < PIDS; i++)
                start(h, i, i > 0 ? (int)draw(h, (unsigned)i) : -1);
        write_all(h);
        h->cgroups = (struct cgroup2){.sys = &h->fake.sys,
                                      .whole = true,
                                      .fd = sys_open(&h->fake.sys, "sys/fs/cgroup", O_RDONLY | O_DIRECTORY)};
        assert_true(h->cgroups.fd >= 0);
        assert_int_equal(fstat(h->cgroups.fd, &st), 0);
        h->cgroups.device = st.st_dev;
}

static void host_done(struct host *h)
{
        close_fd(h->cgroups.fd);
        fake_done(&h->fake);
}

static struct process_table *new_table(struct host *h)
{
        struct process_table *t = NULL;

        assert_int_equal(process_table_new(&h->fake.sys, FACTS, 0, &t), 0);
        process_table_set_cgroups(t, &h->cgroups);
        return t;
}

static void assert_same_text(const char *a, const char *b)
{
        assert_int_equal(!a, !b);
        if (a)
                assert_string_equal(a, b);
}

/* All that matching looks at, against a table that has read everything just now. */
static void assert_true_facts(struct host *h, struct process_table *t)
{
        _cleanup_(process_table_freep) struct process_table *plain = NULL;
        struct process *p = NULL;

        assert_int_equal(process_table_new(&h->fake.sys, FACTS, 0, &plain), 0);
        assert_true(process_table_refresh(plain, 1, AGE, NULL, NULL) >= 0);
        assert_int_equal(process_table_size(t), process_table_size(plain));
        while ((p = process_table_next(plain, p))) {
                const struct process *q = process_table_find(t, p->facts.pid);

                assert_non_null(q);
                assert_int_equal(q->facts.start_time, p->facts.start_time);
                assert_int_equal(q->facts.ppid, p->facts.ppid);
                assert_int_equal(q->facts.uid, p->facts.uid);
                assert_int_equal(q->facts.zombie, p->facts.zombie);
                assert_int_equal(q->threads, p->threads);
                assert_int_equal(q->cpu_ticks, p->cpu_ticks);
                assert_same_text(q->facts.comm, p->facts.comm);
                assert_same_text(q->facts.cgroup, p->facts.cgroup);
        }
}

static void what_is_not_read_again_is_what_it_was(void **state)
{
        for (unsigned seed = 0; seed < 5; seed++) {
                _cleanup_free_ struct host *h = malloc(sizeof(*h));
                _cleanup_(process_table_freep) struct process_table *t = NULL;
                usec_t now = 100000;

                assert_non_null(h);
                host_init(h, seed);
                t = new_table(h);
                for (unsigned i = 0; i < 25; i++) {
                        assert_true(process_table_refresh(t, now, AGE, NULL, NULL) >= 0);
                        assert_true_facts(h, t);
                        for (unsigned n = draw(h, 8); n > 0; n--)
                                happen(h);
                        write_all(h);
                        now += AGE;
                }
                process_table_free(TAKE_PTR(t));
                host_done(h);
        }
}

/* The files that a refresh opens for 40 processes of one thread in one cgroup that have not run. */
static unsigned cost(struct host *h, struct process_table *t, usec_t now)
{
        unsigned before = h->fake.calls[OP_OPENAT];

        assert_true(process_table_refresh(t, now, AGE, NULL, NULL) >= 0);
        return h->fake.calls[OP_OPENAT] - before;
}

static void idle_processes_cost_one_file_each(void **state)
{
        _cleanup_free_ struct host *h = malloc(sizeof(*h));
        _cleanup_(process_table_freep) struct process_table *t = NULL;

        assert_non_null(h);
        host_init(h, 0);
        for (int i = 0; i < PIDS; i++) {
                h->p[i].stale = true;
                h->p[i].threads = 1;
                h->p[i].cgroup = 0;
        }
        write_all(h);
        t = new_table(h);
        assert_true(cost(h, t, 100000) >= 4 * PIDS);
        assert_true(cost(h, t, 101000) >= 4 * PIDS);    /* now it is known how often they ran */
        assert_int_equal(cost(h, t, 102000), PIDS + 3); /* and /proc, and the cgroup and its list */
        assert_int_equal(cost(h, t, 102500), 1);
        /* where cgroups are not known each has its own file read */
        process_table_set_cgroups(t, NULL);
        assert_int_equal(cost(h, t, 103000), 2 * PIDS + 1);
        process_table_set_cgroups(t, &h->cgroups);
        /* one that ran is read, and nobody else */
        h->p[3].runs++;
        h->p[3].stale = true;
        write_all(h);
        assert_in_range(cost(h, t, 104000), PIDS + 4, PIDS + 10);
        /* in the end all are read */
        assert_true(cost(h, t, 109000) >= 4 * (PIDS - 1));
        process_table_free(TAKE_PTR(t));
        host_done(h);
}

/* -- some cgroups only -- */

static bool is_even(void *userdata, const char *cgroup)
{
        unsigned *asked = userdata;

        ++*asked;
        return strcmp(cgroup, "/g0") == 0 || strcmp(cgroup, "/g2") == 0;
}

static struct process_table *new_narrowed_table(struct host *h, unsigned *asked)
{
        struct process_table *t = new_table(h);

        process_table_narrow(t, is_even, asked);
        return t;
}

/* Against a table that has everybody. `due`: attributes that have changed since were read, too. */
static void assert_narrowed(struct host *h, struct process_table *t, bool due)
{
        _cleanup_(process_table_freep) struct process_table *plain = NULL;
        struct process *p = NULL;
        size_t n = 0;

        assert_true(process_table_is_narrowed(t));
        assert_int_equal(process_table_new(&h->fake.sys, FACTS, 0, &plain), 0);
        assert_true(process_table_refresh(plain, 1, AGE, NULL, NULL) >= 0);
        while ((p = process_table_next(plain, p))) {
                const struct process *q = process_table_find(t, p->facts.pid);
                unsigned asked = 0;

                if (p->facts.zombie || !is_even(&asked, p->facts.cgroup))
                        continue;
                n++;
                assert_non_null(q);
                assert_string_equal(q->facts.cgroup, p->facts.cgroup);
                if (due) {
                        assert_int_equal(q->facts.start_time, p->facts.start_time);
                        assert_int_equal(q->facts.uid, p->facts.uid);
                        assert_same_text(q->facts.comm, p->facts.comm);
                }
        }
        p = NULL;
        while ((p = process_table_next(t, p)))
                n -= !p->facts.zombie; /* one that became one since it was read */
        assert_int_equal(n, 0);
}

static void happen_without_threads(struct host *h)
{
        happen(h);
        for (int i = 0; i < PIDS; i++)
                h->p[i].threaded_leader = false;
}

static void who_is_in_other_cgroups_is_not_there(void **state)
{
        for (unsigned seed = 0; seed < 3; seed++) {
                _cleanup_free_ struct host *h = malloc(sizeof(*h));
                _cleanup_(process_table_freep) struct process_table *t = NULL;
                usec_t now = 100000;
                unsigned asked = 0;

                assert_non_null(h);
                host_init(h, seed);
                t = new_narrowed_table(h, &asked);
                for (unsigned i = 0; i < 40; i++) {
                        unsigned before = asked;

                        assert_true(process_table_refresh(t, now, AGE, NULL, NULL) >= 0);
                        if (i > 0) /* of cgroups that were there, only by who is in no list */
                                assert_true(asked - before <= 2 * PIDS);
                        assert_narrowed(h, t, i % 2 == 0);
                        for (unsigned n = draw(h, 8); n > 0; n--)
                                happen_without_threads(h);
                        write_all(h);
                        now += i % 2 ? AGE : 1;
                }
                process_table_narrow(t, NULL, NULL);
                assert_true(process_table_refresh(t, now + AGE, AGE, NULL, NULL) >= 0);
                assert_false(process_table_is_narrowed(t));
                assert_true_facts(h, t);
                process_table_free(TAKE_PTR(t));
                host_done(h);
        }
}

static void who_is_in_no_list_is_asked(void **state)
{
        _cleanup_free_ struct host *h = malloc(sizeof(*h));
        _cleanup_(process_table_freep) struct process_table *t = NULL;
        unsigned asked = 0;

        assert_non_null(h);
        host_init(h, 0);
        t = new_narrowed_table(h, &asked);
        assert_true(process_table_refresh(t, 100000, AGE, NULL, NULL) > 0);
        assert_narrowed(h, t, true);
        /* as if all of them were moving from one to the other just now; nobody ends, and the rest was not there before */
        h->unlisted = true;
        for (int i = 0; i < PIDS; i++)
                if (h->p[i].lives && h->p[i].cgroup % 2 == 0) {
                        h->p[i].cgroup = 2 - h->p[i].cgroup;
                        h->p[i].stale = true;
                }
        write_all(h);
        assert_true(process_table_refresh(t, 100001, AGE, NULL, NULL) > 0);
        assert_narrowed(h, t, true);
        process_table_free(TAKE_PTR(t));
        host_done(h);
}

/* Files opened: the root, four cgroups and one below each, the lists of two, and of those below: they could be threaded. */
static void whose_cgroup_is_not_wanted_costs_nothing(void **state)
{
        _cleanup_free_ struct host *h = malloc(sizeof(*h));
        _cleanup_(process_table_freep) struct process_table *t = NULL;
        unsigned asked = 0;

        assert_non_null(h);
        host_init(h, 0);
        t = new_narrowed_table(h, &asked);
        cost(h, t, 100000);
        asked = 0;
        assert_int_equal(cost(h, t, 100001), 1 + 2 * CGROUPS + 4);
        assert_int_equal(asked, 0);
        for (int i = 0; i < PIDS; i++)
                if (h->p[i].cgroup % 2) {
                        h->p[i].runs++;
                        h->p[i].start_time = ++h->clock;
                        h->p[i].stale = true;
                }
        write_all(h);
        assert_int_equal(cost(h, t, 100002), 1 + 2 * CGROUPS + 4);
        process_table_free(TAKE_PTR(t));
        host_done(h);
}

/* Then all are listed, and for a while it is not tried again. */
static void where_cgroups_cannot_tell_all_are_there(void **state)
{
        static const struct {
                enum fake_op op;
                unsigned at;
                ssize_t value;
        } faults[] = {
                        {OP_READ, 1, -EOPNOTSUPP}, /* a threaded one */
                        {OP_OPENAT, 2, -EACCES},
                        {OP_GETDENTS, 1, -EIO},
        };

        for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
                _cleanup_free_ struct host *h = malloc(sizeof(*h));
                _cleanup_(process_table_freep) struct process_table *t = NULL;
                unsigned asked = 0;

                assert_non_null(h);
                host_init(h, 0);
                t = new_narrowed_table(h, &asked);
                memset(h->fake.calls, 0, sizeof(h->fake.calls));
                h->fake.fail_op = faults[i].op;
                h->fake.fail_at = faults[i].at;
                h->fake.fail_value = faults[i].value;
                assert_true(process_table_refresh(t, 100000, AGE, NULL, NULL) > 0);
                h->fake.fail_at = 0;
                assert_false(process_table_is_narrowed(t));
                assert_true_facts(h, t);
                assert_true(process_table_refresh(t, 200000, AGE, NULL, NULL) > 0);
                assert_false(process_table_is_narrowed(t));
                assert_true(process_table_refresh(t, 100000 + 60 * USEC_PER_SEC, AGE, NULL, NULL) > 0);
                assert_narrowed(h, t, true);
                /* and it is not in a cgroup namespace */
                h->cgroups.whole = false;
                assert_true(process_table_refresh(t, 200 * USEC_PER_SEC, AGE, NULL, NULL) > 0);
                assert_false(process_table_is_narrowed(t));
                process_table_free(TAKE_PTR(t));
                host_done(h);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(what_is_not_read_again_is_what_it_was),
                        cmocka_unit_test(idle_processes_cost_one_file_each),
                        cmocka_unit_test(who_is_in_other_cgroups_is_not_there),
                        cmocka_unit_test(who_is_in_no_list_is_asked),
                        cmocka_unit_test(whose_cgroup_is_not_wanted_costs_nothing),
                        cmocka_unit_test(where_cgroups_cannot_tell_all_are_there),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
