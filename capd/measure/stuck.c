/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capd/limits.h"
#include "capd/measure/stuck.h"
#include "capd/measure/table.h"
#include "proc-parse.h"

#define NOBODY (-1)

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct stuck *list;
static _Atomic unsigned n_listed; /* so that it costs nothing as long as nobody hangs */

/*
 * Whose a process is. By the slice of a login, as who may map user IDs has thousands of them (/etc/subuid) and but one slice; else by its
 * user ID. Of the files in /proc/PID these two wait for nobody. Root's are nobody's: root need not be kept from anything.
 */
static int64_t user_of(const struct sys *sys, pid_t pid)
{
        static const char slices[] = "/user.slice/user-";
        _cleanup_free_ char *cgroup = NULL;
        char path[32], text[8192];
        uint64_t user;
        ssize_t n;
        uid_t uid;
        gid_t gid;

        if (pid <= 0)
                return NOBODY;
        if (process_read_cgroup(sys, pid, &cgroup) == 0 && cgroup && strncmp(cgroup, slices, strlen(slices)) == 0) {
                const char *p = cgroup + strlen(slices);

                if (parse_decimal(&p, cgroup + strlen(cgroup), &user) && strncmp(p, ".slice", strlen(".slice")) == 0 &&
                    user > 0 && user <= UINT32_MAX)
                        return (int64_t)user;
        }
        snprintf(path, sizeof(path), "proc/%d/status", (int)pid);
        n = sys_read_file_at(sys, sys->root_fd, path, text, sizeof(text));
        if (n == -E2BIG) /* the ids are among the first lines */
                n = sizeof(text) - 1;
        if (n < 0 || parse_proc_status(text, (size_t)n, &uid, &gid) < 0 || uid == 0)
                return NOBODY;
        return uid;
}

/* -- with the mutex held -- */

static unsigned count_of(int64_t user)
{
        unsigned n = 0;

        for (const struct stuck *s = list; s; s = s->next)
                n += s->users[0] == user || s->users[1] == user;
        return n;
}

static int64_t user_passed_over(void)
{
        for (const struct stuck *s = list; s; s = s->next)
                for (size_t i = 0; i < ARRAY_SIZE(s->users); i++)
                        if (s->users[i] != NOBODY && count_of(s->users[i]) >= LIMIT_STUCK_OF_USER)
                                return s->users[i];
        return NOBODY;
}

/* -- */

void stuck_begin(const struct sys *sys, struct stuck *s)
{
        int64_t users[2];

        for (size_t i = 0; i < ARRAY_SIZE(users); i++)
                users[i] = user_of(sys, s->pids[i]);
        pthread_mutex_lock(&mutex);
        if (!s->back) {
                memcpy(s->users, users, sizeof(users));
                s->since = sys->ops->now(sys);
                s->listed = true;
                s->next = list;
                list = s;
                atomic_fetch_add(&n_listed, 1);
        }
        pthread_mutex_unlock(&mutex);
}

void stuck_end(struct stuck *s)
{
        pthread_mutex_lock(&mutex);
        s->back = true;
        for (struct stuck **at = &list; s->listed && *at; at = &(*at)->next)
                if (*at == s) {
                        *at = s->next;
                        atomic_fetch_sub(&n_listed, 1);
                        break;
                }
        pthread_mutex_unlock(&mutex);
}

static bool is_avoided(const struct sys *sys, pid_t pid, bool blamed)
{
        bool found = false, crowded;

        if (atomic_load(&n_listed) == 0)
                return false;
        pthread_mutex_lock(&mutex);
        for (const struct stuck *s = list; s && !found; s = s->next)
                found = s->pids[1] == 0 ? s->pids[0] == pid : blamed && (s->pids[0] == pid || s->pids[1] == pid);
        crowded = !found && user_passed_over() != NOBODY;
        pthread_mutex_unlock(&mutex);
        if (crowded) {
                int64_t user = user_of(sys, pid);

                pthread_mutex_lock(&mutex);
                found = user != NOBODY && count_of(user) >= LIMIT_STUCK_OF_USER;
                pthread_mutex_unlock(&mutex);
        }
        return found;
}

bool stuck_passes_over(const struct sys *sys, pid_t pid)
{
        return is_avoided(sys, pid, false);
}

bool stuck_blamed(const struct sys *sys, pid_t pid)
{
        return is_avoided(sys, pid, true);
}

pid_t stuck_untold(usec_t before)
{
        pid_t pid = 0;

        if (atomic_load(&n_listed) == 0)
                return 0;
        pthread_mutex_lock(&mutex);
        for (struct stuck *s = list; s && pid == 0; s = s->next)
                if (!s->told && s->pids[1] == 0 && s->since < before) {
                        s->told = true;
                        pid = s->pids[0];
                }
        pthread_mutex_unlock(&mutex);
        return pid;
}

int64_t stuck_user(void)
{
        int64_t user;

        if (atomic_load(&n_listed) == 0)
                return NOBODY;
        pthread_mutex_lock(&mutex);
        user = user_passed_over();
        pthread_mutex_unlock(&mutex);
        return user;
}
