/* SPDX-License-Identifier: MIT */
/* Which cgroups a group owns whole, and what the kernel has booked for them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "capd/measure/pressure.h"
#include "cgroups-internal.h"
#include "fake.h"

#define ROOT "sys/fs/cgroup"

struct host {
        struct fake fake;
        struct cgroup2 c;
        pid_t members_below; /* is_member(): 0 < pid < this */
        pid_t protected_pid;
};

static void cgroup(struct host *h, const char *path, const char *procs)
{
        static const char *const files[] = {"cgroup.type", "domain\n", "memory.current", "1000\n"};
        char name[4500];

        snprintf(name, sizeof(name), ROOT "%s/cgroup.procs", path);
        fake_write(&h->fake, name, procs);
        for (size_t i = 0; i < ARRAY_SIZE(files); i += 2) {
                snprintf(name, sizeof(name), ROOT "%s/%s", path, files[i]);
                fake_write(&h->fake, name, files[i + 1]);
        }
}

static int setup(void **state)
{
        static struct host h;

        h = (struct host){.c = CGROUP2_CLOSED, .members_below = 100};
        fake_init(&h.fake);
        fake_write(&h.fake, "proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        fake_write(&h.fake, ROOT "/cgroup.controllers", "memory\n");
        fake_write(&h.fake, ROOT "/cgroup.procs", "");
        assert_int_equal(cgroup2_open(&h.fake.sys, &h.c), 0);
        *state = &h;
        return 0;
}

static int teardown(void **state)
{
        struct host *h = *state;

        cgroup2_close(&h->c);
        fake_done(&h->fake);
        return 0;
}

static bool is_member(pid_t pid, void *userdata)
{
        struct host *h = userdata;

        assert_true(pid > 0);
        return pid < h->members_below && pid != h->protected_pid;
}

/* Finds with members 1, 2, … in the paths given, and compares with what is expected, "path path" (members) in the order of the tree. */
static struct owned_cgroups find(struct host *h, const char *const *paths, size_t n)
{
        struct cgroup_member members[64] = {};
        struct owned_cgroups owned = {};

        assert_true(n <= ARRAY_SIZE(members));
        for (size_t i = 0; i < n; i++)
                members[i] = (struct cgroup_member){.pid = (pid_t)i + 1, .cgroup = paths[i]};
        assert_int_equal(cgroups_find_owned(&h->c, members, n, is_member, h, &owned), 0);
        return owned;
}

static void expect(struct host *h, const char *const *paths, size_t n, const char *expected, uint32_t inside)
{
        struct owned_cgroups owned = find(h, paths, n);
        char text[8192] = "";

        for (size_t i = 0; i < owned.n; i++) {
                strcat(text, i > 0 ? " " : "");
                strcat(text, owned.items[i].path);
        }
        assert_string_equal(text, expected);
        assert_int_equal(owned.members_inside, inside);
        assert_false(owned.cut);
        owned_cgroups_done(&owned);
        assert_null(owned.items);
}

#define EXPECT(h, expected, inside, ...)                                                                               \
        expect(h, (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *),     \
               expected, inside)

static void test_topmost(void **state)
{
        struct host *h = *state;

        cgroup(h, "/system.slice", "");
        cgroup(h, "/system.slice/web.service", "1\n2\n");
        cgroup(h, "/system.slice/web.service/worker", "3\n");
        cgroup(h, "/system.slice/web.service/empty", "");
        cgroup(h, "/system.slice/web.service-x", "4\n");
        cgroup(h, "/system.slice/other.service", "200\n");
        cgroup(h, "/user.slice", "");
        cgroup(h, "/user.slice/user-1.slice", "");
        cgroup(h, "/user.slice/user-1.slice/a.scope", "5\n");
        cgroup(h, "/user.slice/user-1.slice/b.scope", "6\n7\n");

        EXPECT(h, "/system.slice/web.service", 1, "/system.slice/web.service");
        EXPECT(h, "/system.slice/web.service", 2, "/system.slice/web.service/worker", "/system.slice/web.service");
        /* the one whose name goes on where the other's ends is no part of it */
        EXPECT(h, "/system.slice/web.service /system.slice/web.service-x", 3, "/system.slice/web.service-x",
               "/system.slice/web.service/worker", "/system.slice/web.service");
        /* as far up as nobody else is; never the root, though nobody else is in it here */
        EXPECT(h, "/user.slice", 3, "/user.slice/user-1.slice/a.scope", "/user.slice/user-1.slice/b.scope",
               "/user.slice/user-1.slice/b.scope");
        EXPECT(h, "", 0, "/system.slice/other.service", "/", NULL, "", "/../up", "/gone (deleted)", "relative",
               "/system.slice");
        cgroup(h, "/user.slice/user-2.slice", "");
        cgroup(h, "/user.slice/user-2.slice/c.scope", "201\n");
        EXPECT(h, "/user.slice/user-1.slice", 1, "/user.slice/user-1.slice/b.scope");
        EXPECT(h, "/system.slice/web.service /user.slice/user-1.slice", 4, "/user.slice/user-2.slice/c.scope",
               "/user.slice/user-1.slice/b.scope", "/system.slice/web.service", "/user.slice/user-1.slice/a.scope",
               "/system.slice/web.service/worker", "/system.slice/other.service");
        expect(h, NULL, 0, "", 0);
}

static void test_strangers(void **state)
{
        struct host *h = *state;

        cgroup(h, "/a", "1\n2\n");
        cgroup(h, "/a/b", "3\n");
        cgroup(h, "/a/b/c", "4\n");
        EXPECT(h, "/a", 1, "/a/b/c");
        h->protected_pid = 4;
        EXPECT(h, "", 0, "/a");
        EXPECT(h, "", 0, "/a/b/c");
        h->protected_pid = 1; /* in /a itself: what is below is owned still */
        EXPECT(h, "/a/b", 2, "/a/b/c", "/a/b", "/a");
        h->protected_pid = 0;
        cgroup(h, "/a/b/c", "4\n0\n"); /* of another PID namespace */
        EXPECT(h, "", 0, "/a/b");
        cgroup(h, "/a/b/c", "4\nx\n");
        EXPECT(h, "", 0, "/a/b");
        cgroup(h, "/a/b/c", "4"); /* the kernel ends every line */
        EXPECT(h, "", 0, "/a/b");
        cgroup(h, "/a/b/c", "99999999999\n");
        EXPECT(h, "", 0, "/a/b");
        /* what a member has left, and nobody is in, is nobody's */
        cgroup(h, "/empty", "");
        EXPECT(h, "", 0, "/empty");
        /* nobody knows it yet */
        cgroup(h, "/new", "1\n500\n");
        EXPECT(h, "", 0, "/new");
        h->members_below = 501;
        EXPECT(h, "/new", 1, "/new");
}

static void test_without_controller(void **state)
{
        struct host *h = *state;

        cgroup(h, "/a", "200\n");
        cgroup(h, "/a/b", "1\n");
        fake_remove(&h->fake, ROOT "/a/b/memory.current");
        EXPECT(h, "", 0, "/a/b", "/a/b");
}

/* Many processes: lines are cut by the ends of reads. */
static void test_many(void **state)
{
        struct host *h = *state;
        _cleanup_free_ char *text = malloc(1 << 20);
        size_t len = 0;

        for (unsigned i = 1; i <= 20000; i++)
                len += (size_t)sprintf(text + len, "%u\n", i);
        cgroup(h, "/big", text);
        h->members_below = 20001;
        EXPECT(h, "/big", 1, "/big");
        h->protected_pid = 20000;
        EXPECT(h, "", 0, "/big");
}

/* cgroup.procs of a threaded one cannot be read, though it can be opened. */
static bool threaded_fds[1024];

static int threaded_openat(const struct sys *sys, int dirfd, const char *path, int flags)
{
        int fd = sys_ops_native.openat(sys, dirfd, path, flags);
        char link[64], target[4096];
        ssize_t n;

        if (fd < 0)
                return fd;
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, target, sizeof(target) - 1);
        assert_true(n > 0 && fd < 1024);
        target[n] = '\0';
        threaded_fds[fd] = strstr(target, "threaded/") && strstr(target, "cgroup.procs");
        return fd;
}

static ssize_t threaded_read(const struct sys *sys, int fd, void *buf, size_t size)
{
        return threaded_fds[fd] ? -EOPNOTSUPP : sys_ops_native.read(sys, fd, buf, size);
}

static void test_threaded(void **state)
{
        struct host *h = *state;

        h->fake.ops.openat = threaded_openat;
        h->fake.ops.read = threaded_read;
        cgroup(h, "/other", "200\n");
        cgroup(h, "/domain", "1\n2\n"); /* all of its processes, whichever cgroup their threads are in */
        cgroup(h, "/domain/threaded", "");
        cgroup(h, "/domain/threaded/threaded", "");
        EXPECT(h, "/domain", 2, "/domain/threaded/threaded", "/domain");
        EXPECT(h, "/domain", 1, "/domain/threaded");
        h->protected_pid = 2;
        EXPECT(h, "", 0, "/domain/threaded/threaded", "/domain");
}

static void test_limits(void **state)
{
        struct host *h = *state;
        const char *path = "/many/0";
        struct owned_cgroups owned;
        char name[64];

        cgroup(h, "/many", "");
        for (unsigned i = 0; i <= LIMIT_OWNED_CGROUPS; i++) {
                snprintf(name, sizeof(name), "/many/%u", i);
                cgroup(h, name, "1\n");
        }
        EXPECT(h, "/many", 1, path);
        cgroup(h, "/many/stranger", "200\n");
        EXPECT(h, "/many/0", 1, path);
        {
                struct cgroup_member members[LIMIT_OWNED_CGROUPS + 1] = {};
                char paths[LIMIT_OWNED_CGROUPS + 1][32];

                for (unsigned i = 0; i <= LIMIT_OWNED_CGROUPS; i++) {
                        snprintf(paths[i], sizeof(paths[i]), "/many/%u", i);
                        members[i].cgroup = paths[i];
                }
                assert_int_equal(cgroups_find_owned(&h->c, members, ARRAY_SIZE(members), is_member, h, &owned), 0);
                assert_int_equal(owned.n, LIMIT_OWNED_CGROUPS);
                assert_true(owned.cut);
                owned_cgroups_done(&owned);
        }
        for (unsigned i = 0; i <= LIMIT_CGROUP_VISITS; i++) {
                snprintf(name, sizeof(name), ROOT "/wide/%u/cgroup.procs", i);
                fake_write(&h->fake, name, "");
        }
        cgroup(h, "/wide", "1\n");
        owned = find(h, (const char *const[]){"/wide"}, 1);
        assert_int_equal(owned.n, 0);
        assert_true(owned.cut);
        owned_cgroups_done(&owned);
}

/* Whatever fails, nothing is owned that was not proved to be. */
static void test_failures(void **state)
{
        static const enum fake_op ops[] = {OP_OPENAT, OP_READ, OP_FSTATAT, OP_GETDENTS};
        static const ssize_t values[] = {-EACCES, -ENOMEM, -EMFILE, -ENODEV, -ENOENT, -EIO, -EINTR, -EOPNOTSUPP};
        struct host *h = *state;
        struct cgroup_member members[] = {{1, "/a/b"}, {2, "/a/c"}};

        cgroup(h, "/a", "");
        cgroup(h, "/a/b", "1\n");
        cgroup(h, "/a/c", "2\n");
        cgroup(h, "/a/d", "200\n");
        for (size_t o = 0; o < ARRAY_SIZE(ops); o++)
                for (size_t v = 0; v < ARRAY_SIZE(values); v++)
                        for (unsigned k = 1; k < 20; k++) {
                                struct owned_cgroups owned = {};

                                if (values[v] == -EINTR && ops[o] != OP_READ && ops[o] != OP_GETDENTS)
                                        continue;
                                h->fake.fail_op = ops[o];
                                h->fake.fail_at = h->fake.calls[ops[o]] + k;
                                h->fake.fail_value = values[v];
                                if (cgroups_find_owned(&h->c, members, 2, is_member, h, &owned) < 0)
                                        continue;
                                /* an answer by which the stranger's is gone, or threaded, is believed */
                                for (size_t i = 0; i < owned.n && values[v] != -ENODEV && values[v] != -ENOENT &&
                                                   values[v] != -EOPNOTSUPP;
                                     i++)
                                        assert_string_not_equal(owned.items[i].path, "/a");
                                owned_cgroups_done(&owned);
                        }
}

#define STAT                                                                                                           \
        "anon 8000\nfile 5000\nkernel 70\nfile_mapped 3000\nfile_dirty 0\nshmem 1000\nanon_thp 0\n"                    \
        "sock 11\ninactive_anon 7000\nactive_anon 5000\nswapcached 2500\n"                                             \
        "workingset_refault_anon 3\nworkingset_refault_file 4\n"

static void test_figures(void **state)
{
        struct host *h = *state;
        struct owned_cgroups owned, copy;
        struct group_cgroups g = {};

        cgroup(h, "/a", "1\n");
        cgroup(h, "/b", "2\n");
        cgroup(h, "/x", "200\n");
        fake_write(&h->fake, ROOT "/a/memory.stat", STAT);
        fake_write(&h->fake, ROOT "/b/memory.stat", STAT);
        fake_write(&h->fake, ROOT "/a/memory.swap.current", "7\n");
        fake_write(&h->fake, ROOT "/b/memory.swap.current", "8\n");
        owned = find(h, (const char *const[]){"/a", "/b", "/b"}, 3);
        assert_int_equal(owned.n, 2);
        assert_int_equal(owned_cgroups_copy(&owned, &copy), 0);
        assert_int_equal(copy.n, 2);
        assert_string_equal(copy.items[1].path, "/b");
        owned_cgroups_done(&copy);

        assert_int_equal(cgroups_read(&h->c, &owned, 55, &g), 0);
        assert_int_equal(g.at, 55);
        assert_int_equal(g.owned, 2);
        assert_int_equal(g.members_inside, 3);
        assert_int_equal(g.current, 2000);
        assert_int_equal(g.swap, 15);
        assert_int_equal(g.anon, 16000);
        assert_int_equal(g.file, 10000);
        assert_int_equal(g.shmem, 2000);
        assert_int_equal(g.kernel, 140);
        assert_int_equal(g.file_mapped, 6000);
        assert_int_equal(g.sockets, 22);
        /* twice 12000 on the lists, of which 8000 are mapped and 1000 shmem, and no more than is in the swap cache */
        assert_int_equal(g.swap_cache, 5000);
        assert_int_equal(g.unmapped_cache, 4000); /* twice 5000 less 3000, of which shmem may be 1000 */
        /* what is not known of one is not known of all */
        fake_remove(&h->fake, ROOT "/b/memory.swap.current");
        assert_int_equal(cgroups_read(&h->c, &owned, 55, &g), 0);
        assert_true(g.swap == SIZE_UNKNOWN);
        assert_int_equal(g.current, 2000);
        fake_write(&h->fake, ROOT "/b/memory.stat", "anon 1\nfile 5\nshmem 7\nfile_mapped 2\n");
        assert_int_equal(cgroups_read(&h->c, &owned, 55, &g), 0);
        assert_true(g.kernel == SIZE_UNKNOWN && g.swap_cache == SIZE_UNKNOWN && g.sockets == SIZE_UNKNOWN);
        assert_int_equal(g.unmapped_cache, 2000);
        /* a text of another form is no answer */
        fake_write(&h->fake, ROOT "/b/memory.stat", "anon 1\nfile 5x\nshmem 7\nfile_mapped 2\n");
        g.at = 3;
        assert_int_equal(cgroups_read(&h->c, &owned, 55, &g), -EBADMSG);
        assert_int_equal(g.at, 3);
        /* removed and made anew: not the one that was owned */
        fake_remove(&h->fake, ROOT "/b");
        fake_write(&h->fake, ROOT "/placeholder", "keeps its inode number");
        cgroup(h, "/b", "2\n");
        assert_int_equal(cgroups_read(&h->c, &owned, 55, &g), 0);
        assert_int_equal(g.owned, 1);
        assert_int_equal(g.members_inside, 1);
        assert_int_equal(g.current, 1000);
        fake_remove(&h->fake, ROOT "/a");
        assert_int_equal(cgroups_read(&h->c, &owned, 55, &g), 0);
        assert_int_equal(g.owned, 0);
        assert_true(g.current == SIZE_UNKNOWN && g.anon == SIZE_UNKNOWN && g.unmapped_cache == SIZE_UNKNOWN);
        owned_cgroups_done(&owned);
}

/* The tightest limit of a cgroup and all above it. */
static void test_swap_room(void **state)
{
        struct host *h = *state;
        uint64_t room = 0;

        cgroup(h, "/a", "");
        cgroup(h, "/a/b", "");
        assert_int_equal(cgroup_swap_room(&h->c, "/a/b", &room), 0);
        assert_true(room == SIZE_UNKNOWN);
        fake_write(&h->fake, ROOT "/a/b/memory.swap.max", "max\n");
        fake_write(&h->fake, ROOT "/a/b/memory.swap.current", "50\n");
        fake_write(&h->fake, ROOT "/a/memory.swap.max", "70\n");
        fake_write(&h->fake, ROOT "/a/memory.swap.current", "50\n");
        assert_int_equal(cgroup_swap_room(&h->c, "/a/b", &room), 0);
        assert_int_equal(room, 20);
        fake_write(&h->fake, ROOT "/a/b/memory.swap.max", "60\n");
        assert_int_equal(cgroup_swap_room(&h->c, "/a/b", &room), 0);
        assert_int_equal(room, 10);
        fake_write(&h->fake, ROOT "/a/memory.swap.max", "0\n");
        assert_int_equal(cgroup_swap_room(&h->c, "/a/b", &room), 0);
        assert_int_equal(room, 0);
        room = 7;
        assert_int_equal(cgroup_swap_room(&h->c, "/a/gone", &room), -ENOENT);
        assert_int_equal(cgroup_swap_room(&h->c, "/", &room), -EINVAL);
        fake_remove(&h->fake, ROOT "/a/memory.swap.current");
        assert_int_equal(cgroup_swap_room(&h->c, "/a/b", &room), -ENOENT);
        assert_int_equal(room, 7);
}

static void test_pressure_text(void **state)
{
        static const char *const bad[] = {"",
                                          "some",
                                          "full avg10=0.00 total=5\n",
                                          "some avg10=0.00 total=x\n",
                                          "some avg10=0.00\nfull total=6\n",
                                          "some total=5x\n"};
        static const char good[] = "some avg10=0.00 avg60=0.00 avg300=0.00 total=12345\nfull avg10=0.00 total=6\n";
        uint64_t value = 0;

        assert_true(parse_pressure(good, strlen(good), &value));
        assert_int_equal(value, 12345);
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                assert_false(parse_pressure(bad[i], strlen(bad[i]), &value));
        assert_true(parse_keyed("a 1\nab 2\nb 3", 12, "ab", &value) && value == 2);
        assert_true(parse_keyed("a 1\nab 2\nb 3", 12, "b", &value) && value == 3);
        assert_false(parse_keyed("a 1\nab 2\nb 3", 12, "c", &value));
        assert_false(parse_keyed("a 1\nab\nb 3", 10, "ab", &value));
        assert_false(parse_keyed("", 0, "ab", &value));
}

static void cgroup_pressure(struct host *h, const char *path, unsigned refaults, unsigned stalled)
{
        char name[256], text[512];

        snprintf(name, sizeof(name), ROOT "%s/memory.stat", path);
        snprintf(text, sizeof(text),
                 "anon 1\nfile 5\nshmem 7\nfile_mapped 2\nworkingset_refault_anon %u\nworkingset_refault_file 1\n",
                 refaults);
        fake_write(&h->fake, name, text);
        snprintf(name, sizeof(name), ROOT "%s/memory.pressure", path);
        snprintf(text, sizeof(text), "some avg10=0 total=%u\nfull avg10=0 total=1\n", stalled);
        fake_write(&h->fake, name, text);
}

static void test_pressure(void **state)
{
        struct host *h = *state;
        struct process one = {.facts = {.pid = 10, .start_time = 5}, .major_faults = 100};
        struct process two = {.facts = {.pid = 9, .start_time = 6}, .major_faults = 50};
        struct process again = {.facts = {.pid = 9, .start_time = 7}, .major_faults = 80};
        struct process *both[] = {&one, &two}, *later[] = {&again, &one};
        struct pressure_tracker t = {};
        struct owned_cgroups owned, none = {};
        struct group_pressure p;
        struct host_pressure host;
        uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

        host_pressure_read(&h->fake.sys, &host);
        assert_true(host.swap_in == SIZE_UNKNOWN && host.stalled == SIZE_UNKNOWN);
        fake_write(&h->fake, "proc/vmstat", "nr_free_pages 5\npswpin 3\npswpout 4\n");
        fake_write(&h->fake, "proc/pressure/memory", "some avg10=0 total=77\nfull avg10=0 total=1\n");
        host_pressure_read(&h->fake.sys, &host);
        assert_int_equal(host.swap_in, 3 * page);
        assert_int_equal(host.stalled, 77);

        /* no cgroups: faults of the members alone, and the host's stalls */
        assert_int_equal(pressure_read(NULL, &none, both, 2, &host, 1, &t, &p), 0);
        assert_int_equal(p.major_faults, 0);
        assert_true(p.refaults == SIZE_UNKNOWN);
        assert_true(p.stalled_host);
        assert_int_equal(p.stalled, 77);
        assert_int_equal(p.swap_in, 3 * page);
        one.major_faults = 130;
        two.major_faults = 51;
        assert_int_equal(pressure_read(NULL, &none, both, 2, &host, 2, &t, &p), 0);
        assert_int_equal(p.major_faults, 31);
        /* one has ended, its number is another's; the sum stays */
        one.major_faults = 131;
        assert_int_equal(pressure_read(NULL, &none, later, 2, &host, 3, &t, &p), 0);
        assert_int_equal(p.major_faults, 32);
        again.major_faults = 90;
        one.major_faults = 7; /* cannot be: not taken off */
        assert_int_equal(pressure_read(NULL, &none, later, 2, &host, 4, &t, &p), 0);
        assert_int_equal(p.major_faults, 42);

        cgroup(h, "/a", "1\n");
        cgroup(h, "/b", "2\n");
        cgroup(h, "/x", "200\n");
        cgroup_pressure(h, "/a", 1000, 500);
        owned = find(h, (const char *const[]){"/a", "/b"}, 2);
        assert_int_equal(pressure_read(&h->c, &owned, later, 0, &host, 5, &t, &p), 0);
        assert_int_equal(p.major_faults, 42);
        assert_int_equal(p.refaults, 0);
        assert_int_equal(p.stalled, 0);
        assert_false(p.stalled_host);
        cgroup_pressure(h, "/a", 1010, 520);
        cgroup_pressure(h, "/b", 3, 4);
        assert_int_equal(pressure_read(&h->c, &owned, later, 0, &host, 6, &t, &p), 0);
        assert_int_equal(p.refaults, 10 * page);
        assert_int_equal(p.stalled, 20);
        cgroup_pressure(h, "/b", 5, 9);
        fake_remove(&h->fake, ROOT "/a");
        assert_int_equal(pressure_read(&h->c, &owned, later, 0, &host, 7, &t, &p), 0);
        assert_int_equal(p.refaults, 12 * page);
        assert_int_equal(p.stalled, 25);
        fake_remove(&h->fake, ROOT "/b/memory.pressure"); /* cgroup_disable=pressure, or no PSI */
        assert_int_equal(pressure_read(&h->c, &owned, later, 0, &host, 8, &t, &p), 0);
        assert_true(p.stalled_host);
        assert_int_equal(p.stalled, 77);
        assert_int_equal(p.refaults, 12 * page);
        owned_cgroups_done(&owned);
        pressure_tracker_done(&t);
        assert_null(t.processes);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test_setup_teardown(test_topmost, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_strangers, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_without_controller, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_many, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_threaded, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_figures, setup, teardown),
                        cmocka_unit_test_setup_teardown(test_swap_room, setup, teardown),
                        cmocka_unit_test(test_pressure_text),
                        cmocka_unit_test_setup_teardown(test_pressure, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
