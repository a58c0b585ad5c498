/* SPDX-License-Identifier: MIT */
/*
 * top.c: the groups on a terminal, live.
 *
 * One loop waits for keys, signals and the next look. A signal that ends it also shuts the connection down, so that a call that
 * waits for capd returns at once; whatever ends it, the terminal is put back as it was.
 */
#include <curses.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "capd/base/sys.h"
#include "capd/base/text.h"
#include "top.h"

#include <term.h> /* makes macros of words such as "columns" */

#define DEFAULT_INTERVAL (2 * USEC_PER_SEC)
#define KEY_ESCAPE       27
/* Bytes of one key come apart on a slow link: so long after an escape the rest of it is waited for, ms. */
#define ESCAPE_DELAY 200

static volatile sig_atomic_t ended;
static volatile int bus_fd = -1;
static int wake[2] = {-1, -1};

static void on_end(int number)
{
        int saved = errno;

        ended = 1;
        if (bus_fd >= 0)
                (void)shutdown(bus_fd, SHUT_RDWR);
        (void)!write(wake[1], "", 1);
        errno = saved;
}

/* -- the terminal -- */

static int no_terminal(const char *why)
{
        return failed("top needs a terminal%s; 'capctl status -w 2' prints again and again", why);
}

static int check_terminal(void)
{
        char *capability;
        int error;

        if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
                return no_terminal("");
        if (setupterm(NULL, STDOUT_FILENO, &error) != OK)
                return no_terminal(" that terminfo knows (TERM)");
        capability = tigetstr("cup");
        if (!capability || capability == (char *)-1)
                return no_terminal(" with a movable cursor (TERM)");
        return 0;
}

static int open_screen(SCREEN **ret)
{
        struct sigaction action = {.sa_handler = on_end, .sa_flags = SA_RESTART};

        if (pipe2(wake, O_NONBLOCK | O_CLOEXEC) < 0)
                return failed("no pipe: %m");
        *ret = newterm(NULL, stdout, stdin);
        if (!*ret)
                return no_terminal("");
        /* after newterm(), which sets handlers of its own */
        for (size_t i = 0; i < 4; i++)
                sigaction((const int[]){SIGINT, SIGTERM, SIGHUP, SIGQUIT}[i], &action, NULL);
        cbreak();
        noecho();
        nonl();
        keypad(stdscr, TRUE);
        nodelay(stdscr, TRUE);
        set_escdelay(ESCAPE_DELAY);
        curs_set(0);
        top_colours();
        return 0;
}

static void close_screen(SCREEN *screen)
{
        endwin();
        delscreen(screen);
        close_fd(wake[0]);
        close_fd(wake[1]);
}

/* -- keys -- */

static void choose_sort(struct top *t, const char *header)
{
        t->sort = top_column(header);
        top_sort(t);
}

/* Among the columns that are on the screen. */
static void move_sort(struct top *t, int by)
{
        const struct column *visible[COLUMNS_MAX];
        size_t n = top_visible(t, visible), at = 0;

        for (size_t i = 0; i < n; i++)
                if (visible[i] == t->sort)
                        at = i;
        if ((by < 0 && at > 0) || (by > 0 && at + 1 < n))
                choose_sort(t, visible[by < 0 ? at - 1 : at + 1]->header);
}

/* Where a movement leads to from `at`; `rows` is a page. SIZE_MAX: no key of movement. */
static size_t moved(int key, size_t at, size_t rows)
{
        switch (key) {
        case KEY_UP:
        case 'k':
                return at > 0 ? at - 1 : 0;
        case KEY_DOWN:
        case 'j':
                return at + 1;
        case KEY_PPAGE:
                return at > rows ? at - rows : 0;
        case KEY_NPAGE:
                return at + rows;
        case KEY_HOME:
                return 0;
        case KEY_END:
                return SIZE_MAX / 2;
        default:
                return SIZE_MAX;
        }
}

static void show_group(struct top *t, enum top_view view)
{
        if (t->view == VIEW_GROUPS) {
                if (t->groups.n == 0)
                        return;
                text_copy(t->page_group, sizeof(t->page_group), t->chosen_name);
        }
        top_message("counting …");
        top_show(t, view);
}

/* false: it is over */
static bool key_of_groups(struct top *t, int key)
{
        static const struct {
                int key;
                const char *header;
        } sorts[] = {{'n', "GROUP"}, {'m', "RESIDENT"}, {'u', "USE%"}, {'c', "CAP"},
                     {'t', "TREND"}, {'o', "RSS-SUM"},  {'w', "SWAP"}, {'a', "AGE"}};
        size_t row = moved(key, t->chosen, top_rows(t));

        if (row != SIZE_MAX) {
                top_choose(t, row);
                return true;
        }
        for (size_t i = 0; i < ARRAY_SIZE(sorts); i++)
                if (key == sorts[i].key)
                        choose_sort(t, sorts[i].header);
        switch (key) {
        case 'q':
                return false;
        case '<':
        case '>':
                move_sort(t, key == '<' ? -1 : 1);
                break;
        case 'r':
                t->reverse = !t->reverse;
                top_sort(t);
                break;
        case ' ':
                (void)top_fetch(t);
                break;
        }
        return true;
}

static void key_of_page(struct top *t, int key)
{
        size_t first = moved(key, t->page.first, top_rows(t));

        if (first != SIZE_MAX)
                t->page.first = first;
        else if (key == 'q' || key == KEY_ESCAPE)
                top_show(t, VIEW_GROUPS);
        else if (key == KEY_RIGHT)
                t->page.left += 8;
        else if (key == KEY_LEFT)
                t->page.left -= MIN(t->page.left, (size_t)8);
        else if (key == ' ' && t->view != VIEW_HELP)
                show_group(t, t->view);
}

static bool on_key(struct top *t, int key)
{
        if (key == KEY_RESIZE)
                return true;
        if (t->bus)
                t->trouble[0] = '\0'; /* what the last key could not do */
        if (key == 'h' || key == '?' || key == KEY_F(1))
                top_show(t, VIEW_HELP);
        else if ((key == 'e' || key == '\r' || key == '\n' || key == KEY_ENTER) && t->view != VIEW_HELP)
                show_group(t, VIEW_EXPLAIN);
        else if (key == 'p' && t->view != VIEW_HELP)
                show_group(t, VIEW_PS);
        else if (t->view != VIEW_GROUPS)
                key_of_page(t, key);
        else
                return key_of_groups(t, key);
        return true;
}

/* -- the loop -- */

/* Until a key, a signal, or the time. false: the terminal is gone. */
static bool wait_for_something(usec_t until)
{
        usec_t now = clock_usec(CLOCK_MONOTONIC);
        struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = wake[0], .events = POLLIN}};

        if (poll(fds, ARRAY_SIZE(fds), until > now ? (int)((until - now + 999) / 1000) : 0) < 0)
                return errno == EINTR;
        return !(fds[0].revents & (POLLHUP | POLLERR | POLLNVAL));
}

static int loop(struct top *t, usec_t interval)
{
        usec_t next = clock_usec(CLOCK_MONOTONIC) + interval;
        int key;

        while (!ended) {
                top_draw(t);
                if (!wait_for_something(next))
                        return EXIT_DONE;
                while (!ended && (key = getch()) != ERR)
                        if (!on_key(t, key))
                                return EXIT_DONE;
                if (clock_usec(CLOCK_MONOTONIC) < next)
                        continue;
                (void)top_fetch(t); /* a restarted daemon is waited for */
                next = clock_usec(CLOCK_MONOTONIC) + interval;
        }
        return EXIT_DONE;
}

int verb_top(const struct arguments *a)
{
        _cleanup_(top_done) struct top t = {.arguments = a,
                                            .bus_fd = &bus_fd,
                                            .sort = top_column("USE%"),
                                            .fetched_at = clock_usec(CLOCK_MONOTONIC)};
        SCREEN *screen = NULL;
        int r;

        r = check_terminal();
        if (r != 0)
                return r;
        r = top_fetch(&t);
        if (r != 0) {
                (void)failed("%s", t.trouble);
                return r;
        }
        r = open_screen(&screen);
        if (r != 0)
                return r;
        r = loop(&t, a->watch ? a->watch : DEFAULT_INTERVAL);
        close_screen(screen);
        return r;
}
