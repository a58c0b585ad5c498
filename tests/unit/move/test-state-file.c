/* SPDX-License-Identifier: MIT */
/* The state file: what was put is found again, and what capd did not write is refused whole. */
#include "fake.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER "capd-state 1 11111111-2222-3333-4444-555555555555\n"

static int setup(void **state)
{
        struct fake *f = calloc(1, sizeof(*f));

        fake_init(f);
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        fake_done(*state);
        free(*state);
        return 0;
}

static struct state_file *open_file(struct fake *f, int expected)
{
        struct state_file *s = NULL;
        int fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        static char why[200];

        why[0] = '\0';
        assert_int_equal(state_file_open(&f->sys, fd, why, sizeof(why), &s), expected);
        if (expected == STATE_FILE_E_REFUSED)
                assert_true(why[0] != '\0');
        return s; /* the descriptor lives as long as the program */
}

static int put(struct state_file *s, const char *type, const char *a, const char *b)
{
        const char *words[] = {a, b};

        return state_file_put(s, type, words, b ? 2 : 1);
}

static void what_was_put_is_found_again(void **state)
{
        struct fake *f = *state;
        struct state_file *s = open_file(f, 0);
        const struct state_record *r;
        char text[512];

        assert_int_equal(put(s, "task", "17", "/a b\\c\n\xc3\xa4"), 0);
        assert_int_equal(put(s, "damon", "kdamond", NULL), 0);
        assert_int_equal(put(s, "task", "4", "x"), 0);
        assert_int_equal(put(s, "task", "17", "/new one"), 0);
        assert_int_equal(state_file_sync(s), 0);
        state_file_free(s);

        fake_read(f, STATE_FILE, text, sizeof(text));
        assert_string_equal(text, HEADER "damon kdamond\ntask 4 x\ntask 17 /new\\x20one\nend 3\n");
        assert_false(fake_exists(f, STATE_FILE_NEW));

        s = open_file(f, 0);
        r = state_file_find(s, "task", "17");
        assert_non_null(r);
        assert_int_equal(r->n, 2);
        assert_string_equal(r->words[1], "/new one");
        assert_null(state_file_find(s, "damon", "17"));
        r = state_file_next(s, NULL);
        assert_string_equal(r->type, "damon");
        assert_string_equal(state_file_next(s, r)->words[0], "4");
        state_file_remove(s, "task", "17");
        state_file_remove(s, "task", "17");
        state_file_remove(s, "task", "4");
        state_file_remove(s, "damon", "kdamond");
        assert_null(state_file_next(s, NULL));
        assert_int_equal(state_file_sync(s), 0);
        assert_false(fake_exists(f, STATE_FILE));
        state_file_free(s);
}

static void every_byte_survives(void **state)
{
        struct fake *f = *state;
        struct state_file *s = open_file(f, 0);
        char all[256];

        for (int i = 1; i < 256; i++)
                all[i - 1] = (char)i;
        all[255] = '\0';
        assert_int_equal(put(s, "task", "1", all), 0);
        assert_int_equal(state_file_sync(s), 0);
        state_file_free(s);
        s = open_file(f, 0);
        assert_string_equal(state_file_find(s, "task", "1")->words[1], all);
        state_file_free(s);
}

static void what_makes_no_record_is_not_taken(void **state)
{
        struct fake *f = *state;
        struct state_file *s = open_file(f, 0);
        const char *many[LIMIT_STATE_WORDS + 1];
        char *word = malloc(LIMIT_STATE_WORD + 2);

        for (size_t i = 0; i < ARRAY_SIZE(many); i++)
                many[i] = "x";
        memset(word, 'x', LIMIT_STATE_WORD + 1);
        word[LIMIT_STATE_WORD + 1] = '\0';
        assert_int_equal(put(s, "Task", "1", NULL), -EINVAL);
        assert_int_equal(put(s, "", "1", NULL), -EINVAL);
        assert_int_equal(put(s, "end", "1", NULL), -EINVAL);
        assert_int_equal(put(s, "task", "", NULL), -EINVAL);
        assert_int_equal(put(s, "task", "1", word), -EINVAL);
        assert_int_equal(state_file_put(s, "task", many, 0), -EINVAL);
        assert_int_equal(state_file_put(s, "task", many, ARRAY_SIZE(many)), -EINVAL);
        assert_int_equal(state_file_put(s, "task", many, LIMIT_STATE_WORDS), 0);
        word[LIMIT_STATE_WORD] = '\0';
        assert_int_equal(put(s, "task", "1", word), 0);
        free(word);
        state_file_free(s);
}

static void what_capd_did_not_write_is_refused(void **state)
{
        struct fake *f = *state;
        static const char *const bad[] = {
                        "",
                        "\n",
                        "capd-state 2 11111111-2222-3333-4444-555555555555\nend 0\n",
                        "rubbish",
                        HEADER,
                        HEADER "end 0",
                        HEADER "end 1\n",
                        HEADER "end\n",
                        HEADER "end 0\nend 0\n",
                        HEADER "end 0\ntask 1\n",
                        HEADER "task\nend 1\n",
                        HEADER "task 1\ntask 1 x\nend 2\n",
                        HEADER "task 1",
                        HEADER "task 1 /a\n",
                        HEADER "task 1 /a\nend 2\n",
                        HEADER "task  1\nend 1\n",
                        HEADER "task 1 \nend 1\n",
                        HEADER " task 1\nend 1\n",
                        HEADER "TASK 1\nend 1\n",
                        HEADER "task 1\r\nend 1\n",
                        HEADER "task a\tb\nend 1\n",
                        HEADER "task \\x2\nend 1\n",
                        HEADER "task \\x00\nend 1\n",
                        HEADER "task \\x41\nend 1\n",
                        HEADER "task \\XC3\nend 1\n",
                        HEADER "task \\\nend 1\n",
                        HEADER "task a\x80\nend 1\n",
                        HEADER "task 1 2 3 4 5 6 7 8 9\nend 1\n",
                        HEADER "\nend 0\n",
        };

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                struct state_file *s;

                fake_write(f, STATE_FILE, bad[i]);
                s = open_file(f, STATE_FILE_E_REFUSED);
                assert_null(state_file_next(s, NULL));
                assert_false(fake_exists(f, STATE_FILE));
                assert_true(fake_exists(f, STATE_FILE_REFUSED));
                assert_int_equal(put(s, "task", "1", NULL), 0);
                assert_int_equal(state_file_sync(s), 0);
                state_file_free(s);
        }
}

static void a_file_cut_anywhere_is_refused(void **state)
{
        static const char whole[] = HEADER "group web scope capd-web.scope /capd.slice/capd-web.scope 4 max\n"
                                           "task 17 99 5 web /system.slice/a.service\nend 2\n";
        struct fake *f = *state;

        for (size_t n = 0; n < strlen(whole); n++) {
                char text[sizeof(whole)];

                snprintf(text, sizeof(text), "%.*s", (int)n, whole);
                fake_write(f, STATE_FILE, text);
                state_file_free(open_file(f, STATE_FILE_E_REFUSED));
        }
        fake_write(f, STATE_FILE, whole);
        state_file_free(open_file(f, 0));
}

static void what_others_could_have_written_is_refused(void **state)
{
        struct fake *f = *state;
        char full[128], other[128];

        snprintf(full, sizeof(full), "%s/" STATE_FILE, f->path);
        snprintf(other, sizeof(other), "%s/other", f->path);
        fake_write(f, STATE_FILE, HEADER "end 0\n");
        assert_int_equal(chmod(full, 0620), 0);
        state_file_free(open_file(f, STATE_FILE_E_REFUSED));

        fake_write(f, "other", HEADER "end 0\n");
        assert_int_equal(symlink("other", full), 0);
        state_file_free(open_file(f, STATE_FILE_E_REFUSED));

        assert_int_equal(link(other, full), 0);
        state_file_free(open_file(f, STATE_FILE_E_REFUSED));

        assert_int_equal(mkfifo(full, 0600), 0);
        state_file_free(open_file(f, STATE_FILE_E_REFUSED));
        if (geteuid() == 0) {
                fake_write(f, STATE_FILE, HEADER "end 0\n");
                assert_int_equal(chown(full, 65534, 0), 0);
                state_file_free(open_file(f, STATE_FILE_E_REFUSED));
        }
}

static void another_boot_means_nothing(void **state)
{
        struct fake *f = *state;
        struct state_file *s;

        fake_write(f, STATE_FILE, "capd-state 1 99999999-2222-3333-4444-555555555555\ntask 1\nend 1\n");
        s = open_file(f, 0);
        assert_null(state_file_next(s, NULL));
        assert_false(fake_exists(f, STATE_FILE_REFUSED));
        assert_int_equal(state_file_sync(s), 0);
        assert_false(fake_exists(f, STATE_FILE));
        state_file_free(s);
}

static void a_failed_write_leaves_the_old_file(void **state)
{
        struct fake *f = *state;
        struct state_file *s = open_file(f, 0);
        static const enum fake_op ops[] = {OP_CREATE, OP_WRITE, OP_FSYNC, OP_RENAME};
        char text[512];

        assert_int_equal(put(s, "task", "1", NULL), 0);
        assert_int_equal(state_file_sync(s), 0);
        assert_int_equal(put(s, "task", "2", NULL), 0);
        for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
                fake_fail(f, ops[i], 1, -ENOSPC);
                assert_int_equal(state_file_sync(s), -ENOSPC);
                fake_read(f, STATE_FILE, text, sizeof(text));
                assert_string_equal(text, HEADER "task 1\nend 1\n");
                assert_false(fake_exists(f, STATE_FILE_NEW));
        }
        /* a short write goes on, an interrupted one too; nothing at all is an error */
        fake_fail(f, OP_WRITE, 1, 0);
        assert_int_equal(state_file_sync(s), -EIO);
        fake_fail(f, OP_WRITE, 1, -EINTR);
        assert_int_equal(state_file_sync(s), 0);
        fake_read(f, STATE_FILE, text, sizeof(text));
        assert_string_equal(text, HEADER "task 1\ntask 2\nend 2\n");
        /* an unchanged set is not written */
        fake_fail(f, OP_CREATE, 1, -EIO);
        assert_int_equal(state_file_sync(s), 0);
        state_file_free(s);
}

static void what_cannot_be_read_is_no_empty_file(void **state)
{
        struct fake *f = *state;
        char why[100];
        struct state_file *s = NULL;
        int fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        fake_write(f, STATE_FILE, HEADER "task 1\nend 1\n");
        /* the boot's identifier, then the file */
        for (unsigned at = 1; at <= 2; at++) {
                fake_fail(f, OP_OPENAT, at, -EIO);
                assert_int_equal(state_file_open(&f->sys, fd, why, sizeof(why), &s), -EIO);
        }
        fake_fail(f, OP_FSTAT, 1, -EIO);
        assert_int_equal(state_file_open(&f->sys, fd, why, sizeof(why), &s), -EIO);
        fake_fail(f, OP_READ, 3, -EIO);
        assert_int_equal(state_file_open(&f->sys, fd, why, sizeof(why), &s), -EIO);
        assert_null(s);
        assert_true(fake_exists(f, STATE_FILE));
        fake_write(f, STATE_FILE, "rubbish");
        fake_fail(f, OP_RENAME, 1, -EROFS);
        assert_int_equal(state_file_open(&f->sys, fd, why, sizeof(why), &s), -EROFS);
        close(fd);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test_setup_teardown(what_was_put_is_found_again, setup, teardown),
                        cmocka_unit_test_setup_teardown(every_byte_survives, setup, teardown),
                        cmocka_unit_test_setup_teardown(what_makes_no_record_is_not_taken, setup, teardown),
                        cmocka_unit_test_setup_teardown(what_capd_did_not_write_is_refused, setup, teardown),
                        cmocka_unit_test_setup_teardown(a_file_cut_anywhere_is_refused, setup, teardown),
                        cmocka_unit_test_setup_teardown(what_others_could_have_written_is_refused, setup, teardown),
                        cmocka_unit_test_setup_teardown(another_boot_means_nothing, setup, teardown),
                        cmocka_unit_test_setup_teardown(a_failed_write_leaves_the_old_file, setup, teardown),
                        cmocka_unit_test_setup_teardown(what_cannot_be_read_is_no_empty_file, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
