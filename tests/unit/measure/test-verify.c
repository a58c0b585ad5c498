/* SPDX-License-Identifier: MIT */
/*
 * Which pages are private while processes go on mapping and unmapping them. The world changes at two kinds of moment: before a process
 * is walked in a round (0 is the first walk), and before the host's counts are read after it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capd/measure/count.h"
#include "fake.h"

#define BASE   UINT64_C(0x10000000)
#define PAGES  6000
#define FRAMES 64
#define COUNTS 0 /* the moment before the counts are read, in place of a process */
#define NOBODY UINT32_MAX

struct world {
        struct fake fake;
        __typeof__(((struct sys_ops *)NULL)->pread) pread;
        uint64_t counts[FRAMES];
        unsigned round, readings;
        bool reading, grew;
        void (*change)(struct world *w, unsigned round, int pid);
};

/* One mapping more (or less) of a frame in a process, at the page of the frame's number. */
static void map(struct world *w, int pid, uint64_t frame, bool exclusive)
{
        uint64_t entry = frame | RAW_PRESENT | (exclusive ? RAW_EXCLUSIVE : 0);

        fake_pages(&w->fake, pid, BASE + frame * FAKE_PAGE, &entry, 1);
        fake_frame(&w->fake, frame, FLAG_ANON, ++w->counts[frame]);
}

static void unmap(struct world *w, int pid, uint64_t frame)
{
        uint64_t entry = 0;

        fake_pages(&w->fake, pid, BASE + frame * FAKE_PAGE, &entry, 1);
        fake_frame(&w->fake, frame, FLAG_ANON, --w->counts[frame]);
}

/* Mappings of somebody who is in no group. */
static void outside(struct world *w, uint64_t frame, int more)
{
        w->counts[frame] += (uint64_t)(int64_t)more;
        fake_frame(&w->fake, frame, FLAG_ANON, w->counts[frame]);
}

static ssize_t pread_in_world(const struct sys *sys, int fd, void *buf, size_t size, uint64_t offset)
{
        struct world *w = (struct world *)sys->userdata;
        char link[64], path[256] = "";
        const char *name;
        ssize_t n;
        int pid;

        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, path, sizeof(path) - 1);
        name = n > 0 ? strstr(path, "/proc/") : NULL;
        if (name && strcmp(name, "/proc/kpagecount") == 0) {
                if (!w->reading && w->change)
                        w->change(w, w->round, COUNTS);
                w->readings += !w->reading;
                w->reading = true;
        } else if (name && sscanf(name, "/proc/%d/pagemap", &pid) == 1 && size > 8 && offset == BASE / FAKE_PAGE * 8) {
                w->round += w->reading;
                w->reading = false;
                if (w->change)
                        w->change(w, w->round, pid);
        }
        return w->pread(sys, fd, buf, size, offset);
}

static void make_process(struct world *w, int pid)
{
        char maps[128];

        snprintf(maps, sizeof(maps), "%llx-%llx rw-p 00000000 00:00 0\n", (unsigned long long)BASE,
                 (unsigned long long)(BASE + PAGES * FAKE_PAGE));
        fake_process(&w->fake, pid, 5, "x", maps, PAGES, 10);
}

/* Processes 11, 12 and 13, which map frames 1 to 3 and (exclusive) a frame of their own. */
static void world_reset(struct world *w)
{
        memset(w->counts, 0, sizeof(w->counts));
        for (uint64_t i = 0; i < FRAMES; i++)
                fake_frame(&w->fake, i, FLAG_ANON, 0);
        w->round = w->readings = 0;
        w->reading = w->grew = false;
        for (int pid = 11; pid <= 13; pid++) {
                make_process(w, pid);
                for (uint64_t frame = 1; frame <= 3; frame++)
                        map(w, pid, frame, false);
                map(w, pid, (uint64_t)pid + 40, true);
        }
}

#define ALWAYS 6U /* pages of world_reset(), all private */

static int setup(void **state)
{
        static struct world w;

        w = (struct world){};
        fake_init(&w.fake);
        w.pread = w.fake.ops.pread;
        w.fake.ops.pread = pread_in_world;
        world_reset(&w);
        *state = &w;
        return 0;
}

static int teardown(void **state)
{
        fake_done(&((struct world *)*state)->fake);
        return 0;
}

static int add(struct count *c, int pid, uint64_t mm_id, uint32_t first, uint32_t second)
{
        uint32_t groups[] = {first, second};

        return count_add_process(c, pid, 5, mm_id, groups, second == NOBODY ? 1 : 2);
}

static struct count *count_of_three(struct world *w, unsigned flags)
{
        struct count *c = NULL;

        assert_int_equal(count_new(&w->fake.sys, &w->fake.features, flags, &c), 0);
        count_add_group(c);
        for (int pid = 11; pid <= 13; pid++)
                add(c, pid, (uint64_t)pid, 0, NOBODY);
        return c;
}

static struct group_sample result(const struct count *c, uint32_t group)
{
        struct group_sample s = {};

        count_group_result(c, group, &s);
        return s;
}

static void assert_pages(const struct count *c, uint32_t group, uint64_t private, uint64_t shared)
{
        struct group_sample s = result(c, group);

        assert_int_equal(s.quality, QUALITY_EXACT);
        assert_true(s.have_private);
        assert_int_equal(s.private_bytes, private * FAKE_PAGE);
        assert_int_equal(s.shared_bytes, shared * FAKE_PAGE);
        assert_int_equal(s.resident, (private + shared) * FAKE_PAGE);
}

static void expect(struct world *w, void (*change)(struct world *, unsigned, int), uint64_t private, uint64_t shared,
                   unsigned rounds)
{
        _cleanup_(count_freep) struct count *c = count_of_three(w, COUNT_PRIVATE);

        w->change = change;
        assert_int_equal(count_run(c, NULL), 0);
        assert_pages(c, 0, private, shared);
        assert_int_equal(w->round, rounds);
        assert_int_equal(w->readings, rounds + 1);
}

/* Nothing changes: what is private costs no second walk, what is shared one. */
static void test_still(void **state)
{
        expect(*state, NULL, ALWAYS, 0, 0);
        world_reset(*state);
        outside(*state, 3, 1);
        expect(*state, NULL, ALWAYS - 1, 1, 1);
}

/* 11 has been walked when it maps pages that 12 and 13 map too; 5 is also somebody else's. */
static void grow(struct world *w, unsigned round, int pid)
{
        if (round != 0 || pid != 12 || w->grew)
                return;
        w->grew = true;
        for (uint64_t frame = 4; frame <= 6; frame++)
                map(w, 11, frame, false);
}

static void grown(struct world *w)
{
        world_reset(w);
        for (int pid = 12; pid <= 13; pid++)
                for (uint64_t frame = 4; frame <= 6; frame++)
                        map(w, pid, frame, false);
        outside(w, 5, 1);
}

static void test_growth(void **state)
{
        grown(*state);
        expect(*state, grow, ALWAYS + 2, 1, 1);
}

/* Others come to 4 while it is verified, leave 5 then, and come to 1 when it is settled. */
static void others(struct world *w, unsigned round, int pid)
{
        grow(w, round, pid);
        if (round != 1 || pid != 12)
                return;
        outside(w, 4, 1);
        outside(w, 5, -1);
        outside(w, 1, 1);
}

static void test_others(void **state)
{
        grown(*state);
        expect(*state, others, ALWAYS + 2, 1, 2);
}

/* Never still: 4 by a process of the group that was walked, 5 by others. What is left is judged by the counts before the round. */
static void restless(struct world *w, unsigned round, int pid)
{
        grow(w, round, pid);
        if (pid != COUNTS || round == 0)
                return;
        outside(w, 5, 1);
        /* another mapping in the group, in one more page of 11 */
        fake_pages(&w->fake, 11, BASE + (5000 + round) * FAKE_PAGE, (uint64_t[]){RAW_PRESENT | 4}, 1);
        fake_frame(&w->fake, 4, FLAG_ANON, ++w->counts[4]);
}

static void still_more(struct world *w, unsigned round, int pid)
{
        restless(w, round, pid);
        /* one frame a round comes to rest, so that there is progress */
        if (pid == COUNTS && round == 1)
                outside(w, 2, 1);
        if (pid == COUNTS && round == 2)
                outside(w, 3, 1);
}

static void test_restless(void **state)
{
        /* the first round settles 6, the second nothing */
        grown(*state);
        expect(*state, restless, ALWAYS + 2, 1, 2);
        /* 2, 3 and 6 are somebody else's, and settled in the second, third and first round */
        grown(*state);
        for (uint64_t frame = 2; frame <= 3; frame++)
                outside(*state, frame, 1);
        outside(*state, 6, 1);
        expect(*state, still_more, ALWAYS - 2 + 1, 4, 3);
}

/* What little is left of a large group is not walked for again. */
static void test_negligible(void **state)
{
        static const unsigned more[] = {2000, 4000};
        uint64_t entries[4000];

        for (size_t i = 0; i < ARRAY_SIZE(entries); i++)
                entries[i] = RAW_PRESENT | RAW_EXCLUSIVE | (1000 + i);
        for (size_t i = 0; i < ARRAY_SIZE(more); i++) {
                grown(*state);
                fake_pages(&((struct world *)*state)->fake, 13, BASE + 100 * FAKE_PAGE, entries, more[i]);
                /* the first round leaves 4 and 5, which the second finds to be the other way round */
                expect(*state, others, more[i] + ALWAYS + 2, 1, i == 0 ? 2 : 1);
        }
}

/* 12 ends in the middle of a later walk, and somebody else maps what it had mapped: a trace of it would make that private. */
static void end_midway(struct world *w, unsigned round, int pid)
{
        grow(w, round, pid);
        if (round != 1 || pid != 12)
                return;
        fake_vanish(&w->fake, 12);
        for (uint64_t frame = 1; frame <= 6; frame++)
                outside(w, frame, frame == 4 ? 0 : -1);
}

static void test_end_midway(void **state)
{
        /* 4: now others' too. 5: was and is. 6: 11's and 13's, by the second round. The first figures of 12 stay */
        grown(*state);
        expect(*state, end_midway, ALWAYS + 1, 2, 2);
}

/* Seen exclusive and then not, a page is still one page. */
static void second_mapping(struct world *w, unsigned round, int pid)
{
        if (round != 0 || pid != 12)
                return;
        for (uint64_t frame = 20; frame < 30; frame++) {
                map(w, 12, frame, false);
                fake_pages(&w->fake, 11, BASE + frame * FAKE_PAGE, (uint64_t[]){RAW_PRESENT | frame}, 1);
        }
        outside(w, 29, 1);
}

static void test_exclusive_no_more(void **state)
{
        for (uint64_t frame = 20; frame < 30; frame++)
                map(*state, 11, frame, true);
        for (uint64_t frame = 30; frame < 35; frame++) {
                map(*state, 13, frame, false);
                outside(*state, frame, 1);
        }
        expect(*state, second_mapping, ALWAYS + 9, 6, 1);
}

/* Frames given back before they are judged are nobody else's, and the sum stays what was resident. */
static void give_back(struct world *w, unsigned round, int pid)
{
        grow(w, round, pid);
        if (round == 1 && pid == COUNTS)
                for (int p = 11; p <= 13; p++)
                        for (uint64_t frame = 1; frame <= 6; frame++)
                                if (frame != 5)
                                        unmap(w, p, frame);
}

static void test_given_back(void **state)
{
        grown(*state);
        expect(*state, give_back, ALWAYS + 2, 1, 1);
}

static void test_overlap(void **state)
{
        struct world *w = *state;

        for (unsigned flags = COUNT_PRIVATE; flags <= (COUNT_PRIVATE | COUNT_SHARES); flags += COUNT_SHARES) {
                _cleanup_(count_freep) struct count *c = NULL;

                grown(w);
                unmap(w, 13, 6);
                assert_int_equal(count_new(&w->fake.sys, &w->fake.features, flags, &c), 0);
                for (int i = 0; i < 3; i++)
                        count_add_group(c);
                add(c, 11, 1, 0, NOBODY);
                add(c, 12, 2, 0, 1);
                add(c, 13, 3, 1, NOBODY);
                w->change = grow;
                assert_int_equal(count_run(c, NULL), 0);
                assert_pages(c, 0, 2 + 1, 3 + 2); /* 6 is of 11 and 12 alone */
                assert_pages(c, 1, 2, 3 + 3);
                assert_pages(c, 2, 0, 0);
        }
}

/* The process through which an address space was first walked ends; another one has it too. */
static void first_user_ends(struct world *w, unsigned round, int pid)
{
        grow(w, round, pid);
        if (round == 0 && pid == COUNTS)
                fake_vanish(&w->fake, 13);
}

static void read_as_13(struct world *w)
{
        make_process(w, 14);
        for (uint64_t frame = 1; frame <= 6; frame++)
                fake_pages(&w->fake, 14, BASE + frame * FAKE_PAGE, (uint64_t[]){RAW_PRESENT | frame}, 1);
}

static void test_shared_mm(void **state)
{
        struct world *w = *state;

        for (int other = 0; other < 2; other++) {
                _cleanup_(count_freep) struct count *c = NULL;

                grown(w);
                read_as_13(w);
                c = count_of_three(w, COUNT_PRIVATE);
                if (other)
                        add(c, 14, 13, 0, NOBODY);
                w->change = first_user_ends;
                assert_int_equal(count_run(c, NULL), 0);
                assert_pages(c, 0, ALWAYS + (other ? 2 : 0), other ? 1 : 3);
        }
}

static void test_without_counts(void **state)
{
        struct world *w = *state;
        _cleanup_(count_freep) struct count *c = NULL;

        w->fake.features.kpagecount = false;
        c = count_of_three(w, COUNT_PRIVATE);
        assert_int_equal(count_run(c, NULL), 0);
        assert_false(result(c, 0).have_private);
        assert_int_equal(result(c, 0).resident, ALWAYS * FAKE_PAGE);
}

/* What must hold of a count of grown() in which something went wrong. */
static void assert_careful(const struct count *c)
{
        struct group_sample s = result(c, 0);

        if (s.quality == QUALITY_UNKNOWN || !s.have_private)
                return;
        assert_int_equal(s.private_bytes + s.shared_bytes, s.resident);
        assert_true(s.private_bytes <= (ALWAYS + 2) * FAKE_PAGE);
        if (s.unread == 0 && s.resident == (ALWAYS + 3) * FAKE_PAGE)
                assert_true(s.shared_bytes >= FAKE_PAGE);
}

/* A guard that, when a thread is given up, has the count finished and freed before that thread gets to know. */
struct relay {
        struct fake_guard fake;
        struct count *count;
        unsigned calls, lose_at, stuck;
        bool lost;
};

static bool leave_late(struct guard *guard)
{
        struct relay *relay = (struct relay *)guard;

        relay->fake.depth--;
        if (++relay->calls != relay->lose_at)
                return true;
        relay->lost = true;
        assert_int_equal(count_give_up(relay->count, guard), relay->fake.pid);
        assert_int_equal(count_give_up(relay->count, guard), 0);
        assert_int_equal(result(relay->count, 0).quality, QUALITY_UNKNOWN);
        assert_int_equal(count_run(relay->count, NULL), 0);
        assert_careful(relay->count);
        relay->stuck = result(relay->count, 0).unread;
        assert_int_equal(result(relay->count, 0).resident, (ALWAYS + 3 - relay->stuck) * FAKE_PAGE);
        assert_int_equal(result(relay->count, 0).quality, relay->stuck ? QUALITY_BOUND_LOWER : QUALITY_EXACT);
        relay->count = count_free(relay->count);
        return false;
}

static void test_give_up(void **state)
{
        static const unsigned all_flags[] = {COUNT_PRIVATE, COUNT_PRIVATE | COUNT_SHARES | COUNT_PSS};
        struct world *w = *state;

        for (size_t i = 0; i < ARRAY_SIZE(all_flags); i++) {
                unsigned in_later_walks = 0;
                bool lost = true;

                for (unsigned k = 1; lost; k++) {
                        struct relay relay = {.lose_at = k};
                        int r;

                        grown(w);
                        w->change = others;
                        fake_guard_init(&relay.fake);
                        relay.fake.guard.leave = leave_late;
                        relay.count = count_of_three(w, all_flags[i]);
                        r = count_run(relay.count, &relay.fake.guard);
                        lost = relay.lost;
                        assert_int_equal(r, lost ? -ECANCELED : 0);
                        if (!lost)
                                assert_pages(relay.count, 0, ALWAYS + 2, 1);
                        in_later_walks += lost && relay.stuck == 0;
                        relay.count = count_free(relay.count);
                }
                assert_true(in_later_walks > 6);
        }
}

/* Told to stop, it goes on where it was. */
static void test_stop(void **state)
{
        struct world *w = *state;
        unsigned stopped = 0;
        int r = -ECANCELED;

        for (unsigned k = 1; r < 0; k++) {
                _cleanup_(count_freep) struct count *c = NULL;
                struct fake_guard g;

                grown(w);
                w->change = others;
                c = count_of_three(w, COUNT_PRIVATE | COUNT_SHARES);
                fake_guard_init(&g);
                g.stop_at = k;
                r = count_run(c, &g.guard);
                assert_true(r == 0 || r == -ECANCELED);
                stopped += r < 0;
                assert_int_equal(count_run(c, NULL), 0);
                assert_careful(c);
                assert_int_equal(result(c, 0).quality, QUALITY_EXACT);
        }
        assert_true(stopped > 20);
}

/* Each call fails once with each errno: a page that is others' too is never taken for private. */
static void test_failures(void **state)
{
        static const ssize_t values[] = {-EACCES, -ENOMEM, -ESRCH, -ENOENT, -EIO, -EINTR, 0, 3};
        static const enum fake_op ops[] = {OP_OPENAT, OP_PREAD, OP_READ};
        struct world *w = *state;
        struct fake *f = &w->fake;

        w->change = NULL;
        grown(w);
        map(w, 11, 4, false);
        map(w, 11, 6, false);
        for (size_t o = 0; o < ARRAY_SIZE(ops); o++)
                for (size_t v = 0; v < ARRAY_SIZE(values); v++) {
                        bool reached = true;

                        if (ops[o] == OP_OPENAT && values[v] >= 0)
                                continue;
                        for (unsigned k = 1; reached; k++) {
                                _cleanup_(count_freep) struct count *c = count_of_three(w, COUNT_PRIVATE);

                                f->fail_op = ops[o];
                                f->fail_at = f->calls[ops[o]] + k;
                                f->fail_value = values[v];
                                if (count_run(c, NULL) == 0)
                                        assert_careful(c);
                                reached = f->calls[ops[o]] >= f->fail_at;
                        }
                        f->fail_at = 0;
                }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test_setup_teardown(test_still, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_growth, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_others, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_restless, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_negligible, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_end_midway, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_exclusive_no_more, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_given_back, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_overlap, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_shared_mm, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_without_counts, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_give_up, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_stop, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
