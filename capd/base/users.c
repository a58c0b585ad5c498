/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "capd/base/macros.h"
#include "capd/base/users.h"

/* The database may be a directory server far away: one answer for each user and minute is enough. */
#define CACHE_SECONDS 60
#define CACHE_SLOTS   256U
#define BUFFER_MAX    (1024U * 1024U)

int users_user_to_uid(void *userdata, const char *name, uid_t *ret)
{
        size_t size = 4096;

        for (;;) {
                _cleanup_free_ char *buf = malloc(size);
                struct passwd pw, *found = NULL;
                int r;

                if (!buf)
                        return -ENOMEM;
                r = getpwnam_r(name, &pw, buf, size, &found);
                if (r == ERANGE && size < BUFFER_MAX) {
                        size *= 4;
                        continue;
                }
                if (found) {
                        *ret = pw.pw_uid;
                        return 0;
                }
                return r == 0 || r == ENOENT || r == ESRCH ? -ENOENT : -r;
        }
}

int users_group_to_gid(void *userdata, const char *name, gid_t *ret)
{
        size_t size = 4096;

        for (;;) {
                _cleanup_free_ char *buf = malloc(size);
                struct group gr, *found = NULL;
                int r;

                if (!buf)
                        return -ENOMEM;
                r = getgrnam_r(name, &gr, buf, size, &found);
                if (r == ERANGE && size < BUFFER_MAX) {
                        size *= 4; /* a group may have thousands of members */
                        continue;
                }
                if (found) {
                        *ret = gr.gr_gid;
                        return 0;
                }
                return r == 0 || r == ENOENT || r == ESRCH ? -ENOENT : -r;
        }
}

void users_lookup(uid_t uid, char *buf, size_t size)
{
        char text[16384];
        struct passwd pw, *found = NULL;

        if (getpwuid_r(uid, &pw, text, sizeof(text), &found) == 0 && found && strlen(pw.pw_name) < size)
                snprintf(buf, size, "%s", pw.pw_name);
        else
                snprintf(buf, size, "%u", uid);
}

bool users_uid_to_user(void *userdata, uid_t uid, char *buf, size_t size)
{
        static struct {
                bool used;
                uid_t uid;
                time_t until;
                char name[USER_NAME_MAX];
        } cache[CACHE_SLOTS];
        struct timespec now;
        __typeof__(&cache[0]) slot = &cache[uid % CACHE_SLOTS];

        clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
        if (!slot->used || slot->uid != uid || slot->until < now.tv_sec) {
                *slot = (__typeof__(*slot)){.used = true, .uid = uid, .until = now.tv_sec + CACHE_SECONDS};
                users_lookup(uid, slot->name, sizeof(slot->name));
        }
        snprintf(buf, size, "%s", slot->name);
        return true;
}
