/* SPDX-License-Identifier: MIT */
/* config.c: configurations read here, without the daemon, and the one it has in force. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "capd/base/conf-files.h"
#include "capd/base/users.h"
#include "capd/bus.h"
#include "capd/policy/policy.h"
#include "ctl.h"

static const struct policy_world world = {.user_to_uid = users_user_to_uid, .group_to_gid = users_group_to_gid};

static int load(const char *file, struct policy **ret)
{
        _cleanup_(conf_files_done) struct conf_files files = {0};
        _cleanup_(policy_problems_done) struct policy_problems problems = {0};
        _cleanup_(policy_freep) struct policy *p = NULL;
        _cleanup_(sys_done) struct sys sys = {.root_fd = -1};
        int r;

        r = sys_init(&sys, NULL);
        if (r >= 0)
                r = conf_files_read(&sys, file, false, &files);
        if (r >= 0)
                r = policy_load_files(&files, &world, &p, &problems);
        policy_problems_print(&problems, stderr);
        if (problems.n > 0)
                return failed("%zu problem%s", problems.n + problems.n_dropped,
                              problems.n + problems.n_dropped == 1 ? "" : "s");
        if (r < 0)
                return failed("cannot read the configuration: %s", strerror(-r));
        *ret = TAKE_PTR(p);
        return 0;
}

int verb_check(const struct arguments *a)
{
        const char *file = a->n_words > 0 ? a->words[0] : DEFAULT_CONFIG_FILE;
        _cleanup_(policy_freep) struct policy *p = NULL;
        int r;

        r = load(file, &p);
        if (r != 0)
                return r;
        printf("%zu group%s\n", p->n_sections, p->n_sections == 1 ? "" : "s");
        return EXIT_DONE;
}

int verb_config(const struct arguments *a)
{
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(policy_freep) struct policy *p = NULL;
        _cleanup_free_ char *text = NULL;
        int r;

        if (a->file) {
                r = load(a->file, &p);
                if (r != 0)
                        return r;
                r = policy_dump(p, stdout);
                return r < 0 ? failed("cannot write the configuration: %s", strerror(-r)) : EXIT_DONE;
        }
        r = client_open(a, &bus);
        if (r == 0)
                r = client_command(bus, &text, "GetConfig", "");
        if (r == 0)
                fputs(text, stdout);
        return r;
}
