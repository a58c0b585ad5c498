/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "capd/base/log.h"
#include "capd/base/sys.h"
#include "capd/control/front.h"
#include "capd/message-ids.h"
#include "front-process.h"
#include "privileges.h"

/* A front that dies younger than this died quickly. */
#define QUICK_DEATH (10 * USEC_PER_SEC)
#define RESTART_MIN (50 * USEC_PER_MSEC)
#define RESTART_MAX USEC_PER_SEC
/* A front that takes no message for so long is stuck. */
#define UNHEARD_MAX (15 * USEC_PER_SEC)
/* Memory a front may allocate: what LIMIT_CLIENTS clients and the largest snapshot need, several times over. */
#define FRONT_DATA_MAX (256 * MIB)

/* Between fork and exec, in the child of a process with threads: system calls only. */
static void front_process_exec(const struct front_process *f, int channel, char *const argv[])
{
        sigset_t none;
        int a, b;

        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        /* out of the way of 3 and 4 first */
        a = fcntl(channel, F_DUPFD, 10);
        b = fcntl(f->listen_fd, F_DUPFD, 10);
        if (a < 0 || b < 0 || dup2(a, FRONT_CHANNEL) < 0 || dup2(b, FRONT_LISTENING) < 0)
                _exit(71); /* EX_OSERR */
        close_range(FRONT_LISTENING + 1, ~0U, 0);
        execv("/proc/self/exe", argv);
        _exit(71);
}

static int on_channel(sd_event_source *s, int fd, uint32_t revents, void *userdata);
static int on_child(sd_event_source *s, const siginfo_t *si, void *userdata);

int front_process_start(struct front_process *f)
{
        char uid[16], gid[16];
        char *const argv[] = {(char *)FRONT_ARGV0, uid, gid, NULL};
        int pair[2], r;
        pid_t pid;

        snprintf(uid, sizeof(uid), "%u", f->uid);
        snprintf(gid, sizeof(gid), "%u", f->gid);
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
                return -errno;
        pid = fork();
        if (pid < 0) {
                r = -errno;
                close_fd(pair[0]);
                close_fd(pair[1]);
                return r;
        }
        if (pid == 0)
                front_process_exec(f, pair[1], argv);
        close_fd(pair[1]);
        f->pid = pid;
        f->channel = pair[0];
        f->started_at = clock_usec(CLOCK_MONOTONIC);
        f->unheard_since = 0;
        f->queued = 0;
        r = sd_event_add_child(f->event, &f->child_source, pid, WEXITED, on_child, f);
        if (r >= 0)
                r = sd_event_add_io(f->event, &f->channel_source, f->channel, EPOLLIN, on_channel, f);
        if (r < 0)
                return r;
        /* many clients' commands must not keep a tick waiting */
        sd_event_source_set_priority(f->channel_source, SD_EVENT_PRIORITY_IDLE);
        f->on_start(f->userdata);
        return 0;
}

static void forget(struct front_process *f)
{
        f->child_source = sd_event_source_disable_unref(f->child_source);
        f->channel_source = sd_event_source_disable_unref(f->channel_source);
        close_fd(TAKE_FD(f->channel));
        f->pid = 0;
}

static int on_restart(sd_event_source *s, uint64_t usec, void *userdata)
{
        struct front_process *f = userdata;
        int r;

        f->restart_timer = sd_event_source_disable_unref(f->restart_timer);
        r = front_process_start(f);
        if (r < 0) {
                log_error("Cannot start the front again: %s; trying again in 1 s", strerror(-r));
                if (f->pid > 0) {
                        kill(f->pid, SIGKILL);
                        waitpid(f->pid, NULL, 0);
                }
                forget(f);
                return sd_event_add_time_relative(f->event, &f->restart_timer, CLOCK_MONOTONIC, RESTART_MAX, 0,
                                                  on_restart, f);
        }
        return 0;
}

static int on_child(sd_event_source *s, const siginfo_t *si, void *userdata)
{
        struct front_process *f = userdata;
        usec_t wait = 0;

        if (clock_usec(CLOCK_MONOTONIC) - f->started_at < QUICK_DEATH) {
                wait = MIN((usec_t)RESTART_MIN << (f->quick_deaths), (usec_t)RESTART_MAX);
                f->quick_deaths = MIN(f->quick_deaths + 1, 15U);
        } else
                f->quick_deaths = 0;
        if (si->si_code == CLD_EXITED)
                log_entry(LOG_WARNING, MESSAGE_FRONT_ENDED, NULL,
                          "The front (pid %d) ended with status %d; starting another one", (int)f->pid, si->si_status);
        else
                log_entry(LOG_WARNING, MESSAGE_FRONT_ENDED, NULL,
                          "The front (pid %d) was killed by signal %d; starting another one", (int)f->pid,
                          si->si_status);
        forget(f);
        return sd_event_add_time_relative(f->event, &f->restart_timer, CLOCK_MONOTONIC, wait, 1000, on_restart, f);
}

/* Descriptors that were not asked for do not come in: there is room for one, and not for the two that CMSG_SPACE() would do for. */
static ssize_t receive(int fd, struct wire_command *c, int *ret_body)
{
        struct iovec iov = {.iov_base = c, .iov_len = sizeof(*c)};
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {};
        struct msghdr mh = {.msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = &control,
                            .msg_controllen = CMSG_LEN(sizeof(int))};
        ssize_t n = recvmsg(fd, &mh, MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);
        const struct cmsghdr *h = n > 0 ? CMSG_FIRSTHDR(&mh) : NULL;

        if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS && h->cmsg_len == CMSG_LEN(sizeof(int)))
                memcpy(ret_body, CMSG_DATA(h), sizeof(int));
        return n;
}

static bool is_command(const struct wire_command *c, ssize_t n)
{
        return n == sizeof(*c) && c->magic == WIRE_MAGIC && c->version == WIRE_VERSION && c->verb > 0 &&
               c->verb < _WIRE_VERB_MAX && memchr(c->group, '\0', sizeof(c->group));
}

static int on_channel(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
        struct front_process *f = userdata;
        _cleanup_close_ int body = -1;
        struct wire_command c;
        ssize_t n;

        n = receive(fd, &c, &body);
        if (is_command(&c, n)) {
                f->on_command(&c, body, f->userdata);
                return 0;
        }
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n > 0)
                log_warning("The front said something that is no command; ending it");
        /* closed, broken or mad: on_child() starts another one */
        f->channel_source = sd_event_source_disable_unref(f->channel_source);
        if (f->pid > 0)
                kill(f->pid, SIGKILL);
        return 0;
}

/* unix(7): SIOCOUTQ is what the other side has not read yet. Whoever takes a message now and then is alive. */
static int queued(const struct front_process *f)
{
        int n = 0;

        return ioctl(f->channel, SIOCOUTQ, &n) < 0 ? 0 : n;
}

static void watch_for_silence(struct front_process *f)
{
        int n = queued(f);
        usec_t now = clock_usec(CLOCK_MONOTONIC);

        if (n == 0 || n < f->queued)
                f->unheard_since = 0;
        else if (f->unheard_since == 0)
                f->unheard_since = now;
        else if (now - f->unheard_since > UNHEARD_MAX && f->pid > 0) {
                log_warning("The front (pid %d) does not answer; ending it", (int)f->pid);
                kill(f->pid, SIGKILL);
        }
}

int front_process_send(struct front_process *f, const struct wire_message *m, int body_fd)
{
        _cleanup_close_ int body = body_fd;
        struct iovec iov = {.iov_base = (void *)m, .iov_len = sizeof(*m)};
        union {
                char buf[CMSG_SPACE(sizeof(int))];
                struct cmsghdr align;
        } control = {};
        struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};

        if (f->channel < 0)
                return -ENOTCONN;
        if (body >= 0) {
                struct cmsghdr *c;

                h.msg_control = control.buf;
                h.msg_controllen = sizeof(control.buf);
                c = CMSG_FIRSTHDR(&h);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int));
                memcpy(CMSG_DATA(c), &body, sizeof(int));
        }
        watch_for_silence(f);
        if (sendmsg(f->channel, &h, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
                return errno == ENOBUFS ? -EAGAIN : -errno;
        f->queued = queued(f);
        return 0;
}

/* Clients have gone; what is to be stored is not lost. */
static void take_last(struct front_process *f)
{
        struct wire_command c;
        ssize_t n;

        do {
                _cleanup_close_ int body = -1;

                n = receive(f->channel, &c, &body);
                if (is_command(&c, n) && (c.verb == WIRE_STORE_METRICS || c.verb == WIRE_STORE_HISTORY))
                        f->on_command(&c, body, f->userdata);
        } while (n > 0);
}

void front_process_stop(struct front_process *f)
{
        struct wire_message m = {.magic = WIRE_MAGIC, .version = WIRE_VERSION, .type = WIRE_STOPPING};

        f->restart_timer = sd_event_source_disable_unref(f->restart_timer);
        if (f->pid == 0)
                return;
        f->child_source = sd_event_source_disable_unref(f->child_source);
        front_process_send(f, &m, -1);
        /* the end of it, behind all that was sent, should there have been no room for the message */
        shutdown(f->channel, SHUT_WR);
        for (int i = 0; i < 100; i++) {
                struct timespec nap = {.tv_nsec = 10 * 1000 * 1000};

                if (waitpid(f->pid, NULL, WNOHANG) != 0) {
                        f->pid = 0;
                        break;
                }
                nanosleep(&nap, NULL);
        }
        if (f->pid > 0) {
                kill(f->pid, SIGKILL);
                waitpid(f->pid, NULL, 0);
        }
        take_last(f);
        forget(f);
}

int front_process_main(uid_t uid, gid_t gid)
{
        const struct rlimit data _unused_ = {.rlim_cur = FRONT_DATA_MAX, .rlim_max = FRONT_DATA_MAX};
        const struct rlimit none = {.rlim_cur = 0, .rlim_max = 0};
        const struct rlimit files = {.rlim_cur = LIMIT_CLIENTS + 64, .rlim_max = LIMIT_CLIENTS + 64};

        pid_t engine = getppid();
        /* from a terminal they reach the whole process group; the engine says when to end */
        signal(SIGINT, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
        int r = privileges_drop_all(uid, gid);

        if (r < 0) {
                log_error("Cannot give up the rights of root in the front: %s", strerror(-r));
                return 71;
        }
        /* An engine that dies leaves no front: the channel closes, which it notices, and this makes sure. Only now: a change of
         * user resets it. */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != engine)
                return 0;
#ifndef CAPD_SANITIZED /* ASan's shadow alone is larger */
        setrlimit(RLIMIT_DATA, &data);
#endif
        prctl(PR_SET_NAME, FRONT_ARGV0);
        setrlimit(RLIMIT_CORE, &none);
        setrlimit(RLIMIT_NOFILE, &files);
        if (chdir("/") < 0)
                return 71;
        return front_run(FRONT_CHANNEL, FRONT_LISTENING);
}
