/* SPDX-License-Identifier: MIT */
/* runtime.h: the runtime directory, with the lock that keeps a second capd out and the control socket. */
#ifndef CAPD_DAEMON_RUNTIME_H
#define CAPD_DAEMON_RUNTIME_H

#include <stdbool.h>

struct runtime {
        const char *path;
        int dir_fd, lock_fd, listen_fd;
        bool made; /* the directory did not exist before */
};

/* Makes the directory if need be, takes the lock, clears what a killed capd left, and binds the socket. 0; a negative errno after
 * having logged why. */
int runtime_open(struct runtime *rt, const char *path);
/* Takes away what runtime_open() made. */
void runtime_close(struct runtime *rt);

#endif
