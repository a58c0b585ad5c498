/* SPDX-License-Identifier: MIT */
/* match.h: which groups a process belongs to. Pure. */
#ifndef CAPD_POLICY_MATCH_H
#define CAPD_POLICY_MATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "capd/limits.h"
#include "capd/policy/policy.h"
#include "capd/process.h"

/* What matching needs besides the process. */
struct match_world {
        /* pids[i] is what policy->pid_files[i] holds now, 0 if it is missing, unreadable or not to be trusted */
        const pid_t *pid_file_pids;
        /* Writes the user's name, or the number where there is none. For ForEach=user. false: not known yet; the process
         * is then left out of the groups named after it. */
        bool (*uid_to_user)(void *userdata, uid_t uid, char *buf, size_t size);
        void *userdata;
};

/* One membership: the section, and the group's name: SECTION, or SECTION/VALUE with ForEach=. */
struct match {
        size_t section; /* index in policy->sections */
        char name[LIMIT_GROUP_NAME_BYTES];
};

/*
 * Writes the memberships of one process, at most `max` (LIMIT_GROUPS_PER_PROCESS). Kernel threads and zombies match nothing.
 * PID 1 and protected processes do match: their memory counts, but nothing is done to them (match_protected()). VALUE is made safe for a
 * name: bytes outside [A-Za-z0-9_.:@-] become "\xNN"; a value too long for LIMIT_GROUP_NAME_BYTES is cut and ends in "~" and
 * a hash of the whole, so that distinct values stay distinct. Returns the number written.
 */
size_t match_process(const struct policy *p, const struct match_world *w, const struct process_facts *f,
                     struct match *ret, size_t max);

/* Whether [Daemon] Protect= covers it, or it is PID 1 or a kernel thread: counted, but never acted on. */
bool match_protected(const struct policy *p, const struct match_world *w, const struct process_facts *f);

/*
 * Whether a process belongs to the section's groups by the cgroup it is in alone: one that has appeared in a cgroup of a group then is
 * a member before anybody has looked at it. Not so where Protect= could cover it for another reason.
 */
bool match_by_cgroup(const struct policy *p, const struct policy_section *s);
/* The membership of a process in such a section's groups, by its cgroup. false: none, or the section is not of that kind. */
bool match_in_cgroup(const struct policy *p, size_t section, const char *cgroup, struct match *ret);

/*
 * Whether a process must be in certain cgroups to be in any group: each section names some, or tells its groups apart by them. If so, those of which
 * match_wants_cgroup() says no have no member of any group.
 */
bool match_needs_cgroups(const struct policy *p);
bool match_wants_cgroup(const struct policy *p, const char *cgroup);

/*
 * The innermost unit of a cgroup path ("/system.slice/a.service/sub" → "a.service"), slices only if there is no other, and none below a user's
 * own manager ("/user.slice/user-1000.slice/user@1000.service/app.slice/x.service" → "user@1000.service"), as users choose these names; and the container id, for the layouts of
 * Docker, Podman, containerd, CRI-O, Kubernetes (cgroupfs and systemd drivers), LXC and systemd-nspawn.
 * true and the text in buf, false if there is none.
 */
bool match_cgroup_unit(const char *cgroup, char *buf, size_t size);
bool match_cgroup_container(const char *cgroup, char *buf, size_t size);

#endif
