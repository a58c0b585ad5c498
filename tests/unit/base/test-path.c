/* SPDX-License-Identifier: MIT */
/* path_is_trusted(): every directory and link on the way, and who they belong to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "capd/base/path.h"

#define NOBODY 65534

struct fixture {
        struct sys sys;
        char root[64];
};

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));

        *f = (struct fixture){.root = "/tmp/capd-path-XXXXXX"};
        assert_non_null(mkdtemp(f->root));
        assert_int_equal(sys_init(&f->sys, f->root), 0);
        assert_int_equal(mkdirat(f->sys.root_fd, "a", 0755), 0);
        assert_int_equal(mkdirat(f->sys.root_fd, "a/b", 0755), 0);
        assert_int_equal(symlinkat("a", f->sys.root_fd, "link"), 0);
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;

        unlinkat(f->sys.root_fd, "link", 0);
        unlinkat(f->sys.root_fd, "a/b", AT_REMOVEDIR);
        unlinkat(f->sys.root_fd, "a", AT_REMOVEDIR);
        sys_done(&f->sys);
        rmdir(f->root);
        free(f);
        return 0;
}

static void own_directories_are_trusted(void **state)
{
        struct fixture *f = *state;

        assert_true(path_is_trusted(&f->sys, "/a/b/file", geteuid()));
        assert_true(path_is_trusted(&f->sys, "/file", geteuid()));
        assert_false(path_is_trusted(&f->sys, "/a/missing/file", geteuid()));
}

static void what_others_can_write_is_not(void **state)
{
        struct fixture *f = *state;

        assert_int_equal(fchmodat(f->sys.root_fd, "a", 0777, 0), 0);
        assert_false(path_is_trusted(&f->sys, "/a/b/file", geteuid()));
        assert_int_equal(fchmodat(f->sys.root_fd, "a", 01777, 0), 0); /* as /tmp is */
        assert_true(path_is_trusted(&f->sys, "/a/b/file", geteuid()));
}

static void what_belongs_to_a_stranger_is_not(void **state)
{
        struct fixture *f = *state;

        if (geteuid() != 0) {
                print_message("skipped: giving files away needs root\n");
                skip();
        }
        assert_int_equal(fchownat(f->sys.root_fd, "a", NOBODY, NOBODY, 0), 0);
        assert_false(path_is_trusted(&f->sys, "/a/b/file", 0));
        assert_true(path_is_trusted(&f->sys, "/a/b/file", NOBODY));
        assert_int_equal(fchownat(f->sys.root_fd, "a", 0, 0, 0), 0);
        assert_true(path_is_trusted(&f->sys, "/link/b/file", 0));
        assert_int_equal(fchownat(f->sys.root_fd, "link", NOBODY, NOBODY, AT_SYMLINK_NOFOLLOW), 0);
        assert_false(path_is_trusted(&f->sys, "/link/b/file", 0));
        assert_false(path_is_trusted(&f->sys, "/link/b/file", NOBODY));
}

static void what_is_roots_has_no_links_and_no_groups(void **state)
{
        struct fixture *f = *state;

        if (geteuid() != 0) {
                print_message("skipped: giving files away needs root\n");
                skip();
        }
        assert_true(path_is_roots(&f->sys, "/a/b/file"));
        assert_false(path_is_roots(&f->sys, "/link/b/file"));
        assert_false(path_is_roots(&f->sys, "/a/missing/file"));
        assert_int_equal(fchmodat(f->sys.root_fd, "a", 0775, 0), 0);
        assert_true(path_is_roots(&f->sys, "/a/b/file"));
        assert_int_equal(fchownat(f->sys.root_fd, "a", 0, NOBODY, 0), 0);
        assert_false(path_is_roots(&f->sys, "/a/b/file"));
        assert_true(path_is_trusted(&f->sys, "/a/b/file", 0));
        assert_int_equal(fchmodat(f->sys.root_fd, "a", 01777, 0), 0);
        assert_true(path_is_roots(&f->sys, "/a/b/file"));
        assert_int_equal(fchownat(f->sys.root_fd, "a", NOBODY, 0, 0), 0);
        assert_false(path_is_roots(&f->sys, "/a/b/file"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test_setup_teardown(own_directories_are_trusted, setup, teardown),
                        cmocka_unit_test_setup_teardown(what_others_can_write_is_not, setup, teardown),
                        cmocka_unit_test_setup_teardown(what_belongs_to_a_stranger_is_not, setup, teardown),
                        cmocka_unit_test_setup_teardown(what_is_roots_has_no_links_and_no_groups, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
