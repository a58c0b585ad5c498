/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "capd/base/log.h"
#include "capd/base/macros.h"
#include "privileges.h"

const struct privilege privileges[] = {
                {"cap_sys_admin",
                 "page frame numbers in /proc/PID/pagemap and /proc/kpageflags (without it the kernel shows "
                 "frame 0 silently, and nothing can be counted)"},
                {"cap_sys_ptrace", "reading the memory maps of other users' processes"},
                {"cap_sys_nice", "process_madvise(2) on other processes: paging out"},
                {"cap_fowner",
                 "paging out file pages of files that root does not own (without it they are skipped silently)"},
                {"cap_dac_override", "memory.reclaim and cgroup.procs of cgroups that were handed to a user and are "
                                     "the user's files since; PidFile= in directories that only their owner may enter"},
                {"cap_setuid", "starting the front as an unprivileged user"},
                {"cap_setgid", "starting the front as an unprivileged user"},
                {"cap_kill", "ending a front that does not answer, and LastResort=kill"},
                {NULL, NULL},
};

int privileges_front_user(uid_t *ret_uid, gid_t *ret_gid, const char **ret_name)
{
        static const char *const names[] = {"capd", "nobody"};

        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                const struct passwd *pw = getpwnam(names[i]);

                if (pw && pw->pw_uid != 0) {
                        *ret_uid = pw->pw_uid;
                        *ret_gid = pw->pw_gid;
                        *ret_name = names[i];
                        return 0;
                }
        }
        return -ENOENT;
}

static void cap_freep(cap_t *c)
{
        if (*c)
                cap_free(*c);
}

static bool is_kept(cap_value_t v)
{
        for (const struct privilege *p = privileges; p->name; p++) {
                cap_value_t kept;

                if (cap_from_name(p->name, &kept) == 0 && kept == v)
                        return true;
        }
        return false;
}

int privileges_reduce(void)
{
        _cleanup_(cap_freep) cap_t have = cap_get_proc();
        _cleanup_(cap_freep) cap_t want = cap_init();

        if (!have || !want)
                return -errno;
        for (const struct privilege *p = privileges; p->name; p++) {
                cap_flag_value_t set = CAP_CLEAR;
                cap_value_t v;

                if (cap_from_name(p->name, &v) < 0 || cap_get_flag(have, v, CAP_PERMITTED, &set) < 0 ||
                    set != CAP_SET) {
                        log_warning("Capability %s is missing: no %s", p->name, p->purpose);
                        continue;
                }
                if (cap_set_flag(want, CAP_PERMITTED, 1, &v, CAP_SET) < 0 ||
                    cap_set_flag(want, CAP_EFFECTIVE, 1, &v, CAP_SET) < 0)
                        return -errno;
        }
        /* The bounding set first: taking away from it needs CAP_SETPCAP, which goes with the rest. Where that is missing already,
         * no_new_privs below sees to it that nothing comes back. */
        for (cap_value_t v = 0; cap_get_bound(v) >= 0; v++)
                if (!is_kept(v) && cap_get_bound(v) > 0 && cap_drop_bound(v) < 0 && errno != EPERM)
                        return -errno;
        if (cap_reset_ambient() < 0 && errno != EINVAL)
                return -errno;
        if (cap_set_proc(want) < 0)
                return -errno;
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;
        return 0;
}

int privileges_drop_all(uid_t uid, gid_t gid)
{
        _cleanup_(cap_freep) cap_t none = cap_init();

        if (!none)
                return -errno;
        if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
                return -errno;
        if (cap_set_proc(none) < 0)
                return -errno;
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;
        /* Believe nothing: going back must fail. */
        if (uid != 0 && (setuid(0) == 0 || setgid(0) == 0))
                return -EPERM;
        return 0;
}

void privileges_print(FILE *f)
{
        _cleanup_(cap_freep) cap_t have = cap_get_proc();

        for (const struct privilege *p = privileges; p->name; p++) {
                cap_flag_value_t set = CAP_CLEAR;
                cap_value_t v;

                if (have && cap_from_name(p->name, &v) == 0)
                        cap_get_flag(have, v, CAP_EFFECTIVE, &set);
                fprintf(f, "%-22s %-4s %s\n", p->name, set == CAP_SET ? "yes" : "no", p->purpose);
        }
}

static void print_feature(FILE *f, const char *name, bool there, const char *note)
{
        fprintf(f, "%-22s %-4s %s\n", name, there ? "yes" : "no", note);
}

void features_print(FILE *f, const struct features *x)
{
        fprintf(f, "%-22s %u.%u\n", "kernel", x->kernel_major, x->kernel_minor);
        print_feature(f, "page-frames", x->pagemap_frames, x->pagemap_frames ? "exact counting" : x->why_frames);
        print_feature(f, "page-flags", x->kpageflags,
                      x->kpageflags ? "file and shmem told apart, what stays classified" : x->why_kpageflags);
        print_feature(f, "page-mapping-counts", x->kpagecount,
                      x->kpagecount ? "private and shared" : x->why_kpagecount);
        print_feature(f, "pagemap-scan", x->pagemap_scan,
                      x->pagemap_scan ? "sparse address spaces are cheap"
                                      : "Linux 6.7 has it; sparse address spaces cost more without");
        print_feature(f, "kcmp", x->kcmp, x->kcmp ? "processes sharing an address space are found" : x->why_kcmp);
        print_feature(f, "other-processes", x->ptrace, x->ptrace ? "memory of other users' processes" : x->why_ptrace);
        print_feature(f, "process-madvise", x->process_madvise,
                      x->process_madvise ? "paging out" : x->why_process_madvise);
        print_feature(f, "foreign-files", x->foreign_files,
                      x->foreign_files ? "paging out file pages of files that root does not own"
                                       : x->why_foreign_files);
        print_feature(f, "realtime", x->why_realtime[0] == '\0',
                      x->why_realtime[0] == '\0' ? "a target's lock is held for no longer on a busy host"
                                                 : x->why_realtime);
        print_feature(f, "damon", x->damon, x->damon ? "paging out what processes of a group share" : x->why_damon);
        print_feature(f, "swap", x->swap,
                      x->swap ? "anonymous memory can be paged out"
                              : "only clean file pages can be paged out: add swap");
        print_feature(f, "cgroup2", x->cgroup2, x->cgroup2 ? "memory of cgroups, and moving tasks" : x->why_cgroup2);
        print_feature(f, "memory-reclaim", x->memory_reclaim,
                      x->memory_reclaim ? "paging out whole cgroups, shared pages too" : x->why_memory_reclaim);
        print_feature(f, "reclaim-swappiness", x->reclaim_swappiness,
                      x->reclaim_swappiness ? "with a preference for anonymous memory or files"
                      : x->memory_reclaim   ? "Linux 6.11 has it"
                                            : "see memory-reclaim");
        print_feature(f, "reclaim-anon-only", x->reclaim_anon_only,
                      x->reclaim_anon_only ? "without taking page cache"
                      : x->memory_reclaim  ? "Linux 6.16 has it; page cache is taken first without"
                                           : "see memory-reclaim");
        print_feature(f, "memory-pressure", x->psi,
                      x->psi ? "stalls for want of memory are seen" : "boot with psi=1, CONFIG_PSI in the kernel");
        print_feature(f, "exact-rss-counters", x->rss_error_pages == 0,
                      x->rss_error_pages == 0 ? "RSS needs no allowance"
                                              : "RSS of this kernel has an error, which is allowed for");
}

/* From what people are shown, so that there is one list: a name, and whether it is there. */
void features_names(const struct features *x, char *buf, size_t size)
{
        char *text = NULL, *rest, *line;
        size_t len = 0, used = 0;
        FILE *f = open_memstream(&text, &len);

        buf[0] = '\0';
        if (!f)
                return;
        features_print(f, x);
        if (fclose(f) == 0)
                for (rest = text; (line = strsep(&rest, "\n"));) {
                        char name[32], there[8];

                        if (sscanf(line, "%31s %7s", name, there) == 2 && strcmp(there, "yes") == 0 &&
                            used + strlen(name) + 2 <= size)
                                used += (size_t)snprintf(buf + used, size - used, "%s%s", used ? "\n" : "", name);
                }
        free(text);
}
