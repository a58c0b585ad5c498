/* SPDX-License-Identifier: MIT */
/* main.c: capd(8): its options, and the order in which rights are used, proved and given up. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "capd/base/log.h"
#include "capd/base/size.h"
#include "capd/bus.h"
#include "capd/enforce/damon.h"
#include "engine.h"
#include "privileges.h"
#include "runtime.h"

struct options {
        const char *config_file;
        const char *runtime_directory, *state_directory;
        bool dry_run;
        bool features;
};

static void print_help(FILE *f)
{
        fputs("Usage: capd [OPTIONS]\n\n"
              "Caps the physical memory of groups of processes. Stays in the foreground.\n\n"
              "  -c, --config FILE            read FILE instead of " DEFAULT_CONFIG_FILE " and its drop-ins\n"
              "      --runtime-directory DIR  socket and lock there instead of " DEFAULT_RUNTIME_DIRECTORY "\n"
              "      --state-directory DIR    history there instead of " DEFAULT_STATE_DIRECTORY "\n"
              "      --dry-run                decide and report, but never act\n"
              "      --features               show what works on this host with these rights, and end\n"
              "  -h, --help                   show this help, and end\n"
              "  -V, --version                show the version, and end\n\n"
              "See capd(8), capd.conf(5) and capctl(1).\n",
              f);
}

/* -1: go on; else the exit status. */
static int parse_options(int argc, char *argv[], struct options *o)
{
        enum { OPT_RUNTIME = 256, OPT_STATE, OPT_DRY_RUN, OPT_FEATURES };
        static const struct option longs[] = {
                        {"config", required_argument, NULL, 'c'},
                        {"runtime-directory", required_argument, NULL, OPT_RUNTIME},
                        {"state-directory", required_argument, NULL, OPT_STATE},
                        {"dry-run", no_argument, NULL, OPT_DRY_RUN},
                        {"features", no_argument, NULL, OPT_FEATURES},
                        {"help", no_argument, NULL, 'h'},
                        {"version", no_argument, NULL, 'V'},
                        {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "c:hV", longs, NULL)) >= 0)
                switch (c) {
                case 'c':
                        o->config_file = optarg;
                        break;
                case OPT_RUNTIME:
                        o->runtime_directory = optarg;
                        break;
                case OPT_STATE:
                        o->state_directory = optarg;
                        break;
                case OPT_DRY_RUN:
                        o->dry_run = true;
                        break;
                case OPT_FEATURES:
                        o->features = true;
                        break;
                case 'V':
                        puts("capd " CAPD_VERSION);
                        return EXIT_SUCCESS;
                case 'h':
                        print_help(stdout);
                        return EXIT_SUCCESS;
                default: /* getopt has said what is wrong */
                        fputs("Try 'capd --help'.\n", stderr);
                        return EX_USAGE;
                }
        if (optind < argc) {
                fprintf(stderr, "capd: unexpected argument '%s'\nTry 'capd --help'.\n", argv[optind]);
                return EX_USAGE;
        }
        /* a second capd must not write what the first one keeps */
        if (!o->state_directory && strcmp(o->runtime_directory, DEFAULT_RUNTIME_DIRECTORY) == 0)
                o->state_directory = DEFAULT_STATE_DIRECTORY;
        if (o->config_file[0] == '\0' || o->runtime_directory[0] == '\0' ||
            (o->state_directory && o->state_directory[0] != '/')) {
                fputs("capd: paths must not be empty, nor the state directory relative\n", stderr);
                return EX_USAGE;
        }
        return -1;
}

/* What is opened next must not become standard error by accident. */
static void fill_standard_descriptors(void)
{
        int fd;

        do
                fd = open("/dev/null", O_RDWR);
        while (fd >= 0 && fd <= STDERR_FILENO);
        close_fd(fd);
}

static void block_signals(void)
{
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGHUP);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGCHLD);
        sigprocmask(SIG_BLOCK, &set, NULL);
        signal(SIGPIPE, SIG_IGN);
}

static int show_features(struct engine *e)
{
        const char *name;
        uid_t uid;
        gid_t gid;
        int r;

        if (privileges_front_user(&uid, &gid, &name) < 0)
                uid = gid = 65534;
        r = features_probe(&e->sys, uid, gid, &e->features);
        if (r < 0) {
                log_error("Cannot read /proc: %s", strerror(-r));
                return EXIT_FAILURE;
        }
        features_print(stdout, &e->features);
        puts("");
        privileges_print(stdout);
        return EXIT_SUCCESS;
}

/* Proves the rights that are left by using each of them: three of them fail silently when they are missing. */
static int prove_rights(struct engine *e, uid_t uid, gid_t gid)
{
        int r = features_probe(&e->sys, uid, gid, &e->features);

        if (r < 0) {
                log_error("Cannot read /proc: %s", strerror(-r));
                return r;
        }
        if (!e->features.pagemap_frames)
                log_error("%s", e->features.why_frames);
        if (!e->features.kpageflags)
                log_warning("%s", e->features.why_kpageflags);
        if (!e->features.kpagecount)
                log_warning("%s", e->features.why_kpagecount);
        if (!e->features.ptrace)
                log_warning("%s", e->features.why_ptrace);
        if (!e->features.process_madvise)
                log_warning("%s", e->features.why_process_madvise);
        if (!e->features.foreign_files)
                log_warning("%s", e->features.why_foreign_files);
        if (e->features.why_realtime[0] != '\0')
                log_info("%s", e->features.why_realtime);
        if (!e->features.kcmp)
                log_info("%s", e->features.why_kcmp);
        return 0;
}

/* Without one capd does its work; only the history ends with it. */
static const char *state_directory(const struct options *o)
{
        if (!o->state_directory || mkdir(o->state_directory, 0755) == 0 || errno == EEXIST)
                return o->state_directory;
        log_warning("Cannot make the state directory %s: %m, ignoring; the history will not outlive this run",
                    o->state_directory);
        return NULL;
}

static int serve(struct engine *e, const struct options *o)
{
        _cleanup_(policy_freep) struct policy *policy = NULL;
        const char *front_user;
        struct runtime runtime;
        uid_t uid;
        gid_t gid;
        int r, status = EXIT_FAILURE;

        if (geteuid() != 0) {
                log_error("This must be started as root: it reads page frames and memory of all users "
                          "(capctl measure and capd --features tell more)");
                return EX_NOPERM;
        }
        if (privileges_front_user(&uid, &gid, &front_user) < 0) {
                log_error("There is neither a user capd nor nobody to run the front as: create one of them");
                return EX_OSFILE;
        }
        /* The configuration first: if it is wrong nothing is done at all, not even a directory made. */
        e->config_file = o->config_file;
        e->dry_run = o->dry_run;
        r = engine_first_policy(e, &policy);
        if (r < 0)
                return r == -EBADMSG ? EX_CONFIG : EXIT_FAILURE;
        r = runtime_open(&runtime, o->runtime_directory);
        if (r < 0)
                return r == -EWOULDBLOCK ? EX_TEMPFAIL : EXIT_FAILURE;
        r = privileges_reduce();
        if (r < 0)
                log_error("Cannot give up capabilities: %s", strerror(-r));
        if (r >= 0)
                r = prove_rights(e, uid, gid);
        e->runtime_fd = runtime.dir_fd;
        e->state_directory = state_directory(o);
        if (r >= 0 && damon_recover(&e->sys, e->runtime_fd) > 0)
                log_warning("Took away what a capd that was killed had set up in DAMON");
        if (r >= 0)
                r = engine_start(e, policy, runtime.listen_fd, uid, gid);
        if (r >= 0) {
                TAKE_PTR(policy);
                r = engine_run(e);
        }
        if (r >= 0)
                status = EXIT_SUCCESS;
        engine_done(e);
        runtime_close(&runtime);
        return status;
}

int main(int argc, char *argv[])
{
        struct options o = {.config_file = DEFAULT_CONFIG_FILE, .runtime_directory = DEFAULT_RUNTIME_DIRECTORY};
        struct engine e = {};
        int status;

        fill_standard_descriptors();
        if (argc == 3 && strcmp(argv[0], FRONT_ARGV0) == 0) {
                uint64_t uid, gid;

                log_init(FRONT_ARGV0);
                if (parse_number(argv[1], UINT32_MAX - 1, &uid) < 0 || parse_number(argv[2], UINT32_MAX - 1, &gid) < 0)
                        return EX_USAGE;
                return front_process_main((uid_t)uid, (gid_t)gid);
        }
        log_init("capd");
        status = parse_options(argc, argv, &o);
        if (status >= 0)
                return status;
        block_signals();
        if (sys_init(&e.sys, NULL) < 0) {
                log_error("Cannot open /: %m");
                return EX_OSERR;
        }
        status = o.features ? show_features(&e) : serve(&e, &o);
        sys_done(&e.sys);
        return status;
}
