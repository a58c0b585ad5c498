/* SPDX-License-Identifier: MIT */
/* users.h: names of users and groups, by the host's user database. */
#ifndef CAPD_BASE_USERS_H
#define CAPD_BASE_USERS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* 0; -ENOENT no such name; another negative errno if the database could not be asked. userdata is not used. */
int users_user_to_uid(void *userdata, const char *name, uid_t *ret);
int users_group_to_gid(void *userdata, const char *name, gid_t *ret);
/* Longest user name kept, with its NUL: LOGIN_NAME_MAX is 256, useradd(8) allows 32. */
#define USER_NAME_MAX 64

/* The name, or the number as text where there is none. May wait for a directory server. For any thread. */
void users_lookup(uid_t uid, char *buf, size_t size);
/* The same; answers are kept for a minute. For one thread that can wait. Always true. */
bool users_uid_to_user(void *userdata, uid_t uid, char *buf, size_t size);

#endif
