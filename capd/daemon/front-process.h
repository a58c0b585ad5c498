/* SPDX-License-Identifier: MIT */
/*
 * front-process.h: keeping a front alive.
 *
 * The front is this same executable, started anew with FRONT_ARGV0, so that nothing of the engine's memory is in it. Its descriptors
 * are 3, the channel, and 4, the listening socket, which the engine keeps open: clients that come while no front runs wait in
 * its backlog.
 */
#ifndef CAPD_DAEMON_FRONT_PROCESS_H
#define CAPD_DAEMON_FRONT_PROCESS_H

#include <systemd/sd-event.h>

#include "capd/base/macros.h"
#include "capd/wire.h"

#define FRONT_ARGV0     "capd-front"
#define FRONT_CHANNEL   3
#define FRONT_LISTENING 4

struct front_process {
        sd_event *event;
        sd_event_source *child_source, *channel_source, *restart_timer;
        pid_t pid; /* 0: not running */
        int channel;
        int listen_fd;
        uid_t uid;
        gid_t gid;
        usec_t started_at;
        usec_t unheard_since;  /* since when it takes no message; 0 it does */
        int queued;            /* what it had not taken after the last one was sent */
        unsigned quick_deaths; /* in a row */
        void (*on_command)(const struct wire_command *c, int body_fd, void *userdata); /* body_fd -1: none */
        void (*on_start)(void *userdata); /* a new front knows nothing yet */
        void *userdata;
};

int front_process_start(struct front_process *f);
/* Sends without waiting; takes over body_fd (-1: none). 0; -EAGAIN the front does not keep up; -ENOTCONN there is none. */
int front_process_send(struct front_process *f, const struct wire_message *m, int body_fd);
/* Says WIRE_STOPPING, waits for a second at most, kills what is left; what the front wanted stored at the end is handled. */
void front_process_stop(struct front_process *f);

/* In the child: gives up every right, becomes the user and then the front. Returns the exit status. */
int front_process_main(uid_t uid, gid_t gid);

#endif
