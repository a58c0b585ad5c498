/* SPDX-License-Identifier: MIT */
/*
 * front.h: the front, the unprivileged child that serves every client.
 *
 * It has no capability, no_new_privs and the identity of the user capd (or nobody). What it knows came with the last
 * snapshot; what it cannot do itself it asks of the engine with a fixed-size command. It may crash or be
 * flooded without harm: the engine keeps the listening socket and starts another one.
 */
#ifndef CAPD_CONTROL_FRONT_H
#define CAPD_CONTROL_FRONT_H

/*
 * Serves until the engine closes the channel or says WIRE_STOPPING. `engine_fd` is the SOCK_SEQPACKET channel, `listen_fd` the
 * bound and listening control socket (SOCK_STREAM). Privileges have been dropped by the caller. Returns the process's
 * exit status.
 */
int front_run(int engine_fd, int listen_fd);

#endif
