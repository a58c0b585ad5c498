/* SPDX-License-Identifier: MIT */
/*
 * state-file.c: the format is strict, since root acts on it:
 *
 *     capd-state 1 BOOT-ID
 *     TYPE WORD [WORD…]
 *     …
 *     end COUNT
 *
 * Single spaces, no other white space; bytes that are not printable ASCII, spaces and backslashes are "\xNN". Anything else, a
 * wrong count or a missing end refuse the file whole: what it would undo cannot be told from what somebody made of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "capd/base/size.h"
#include "capd/enforce/state-file.h"

#define HEADER  "capd-state 1 "
#define BUCKETS 16384U

struct entry {
        struct state_record record; /* first: handed out */
        struct entry *next, *previous;
        struct entry *chain;
        const char *words[LIMIT_STATE_WORDS];
        char text[]; /* type and words, each ended by a NUL */
};

struct state_file {
        const struct sys *sys;
        int dirfd;
        char boot_id[64];
        struct entry *first, *last;
        size_t n;
        bool dirty;
        bool on_disk; /* there may be a file */
        struct entry *buckets[BUCKETS];
};

static struct entry **bucket(struct state_file *f, const char *type, const char *key)
{
        uint32_t h = 2166136261U; /* FNV-1a */

        for (; *type; type++)
                h = (h ^ (uint8_t)*type) * 16777619U;
        for (; *key; key++)
                h = (h ^ (uint8_t)*key) * 16777619U;
        return &f->buckets[h % BUCKETS];
}

static struct entry **find(struct state_file *f, const char *type, const char *key)
{
        struct entry **e = bucket(f, type, key);

        while (*e && (strcmp((*e)->record.type, type) != 0 || strcmp((*e)->words[0], key) != 0))
                e = &(*e)->chain;
        return e;
}

static bool is_type(const char *s)
{
        size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz");

        return n > 0 && n < 16 && s[n] == '\0' && strcmp(s, "end") != 0;
}

static struct entry *entry_new(const char *type, const char *const *words, size_t n)
{
        size_t size = strlen(type) + 1;
        struct entry *e;
        char *at;

        for (size_t i = 0; i < n; i++)
                size += strlen(words[i]) + 1;
        e = calloc(1, sizeof(*e) + size);
        if (!e)
                return NULL;
        at = stpcpy(e->text, type) + 1;
        for (size_t i = 0; i < n; i++) {
                e->words[i] = at;
                at = stpcpy(at, words[i]) + 1;
        }
        e->record = (struct state_record){.type = e->text, .n = n, .words = e->words};
        return e;
}

int state_file_put(struct state_file *f, const char *type, const char *const *words, size_t n)
{
        struct entry *e, **old;

        if (!is_type(type) || n == 0 || n > LIMIT_STATE_WORDS)
                return -EINVAL;
        for (size_t i = 0; i < n; i++)
                if (words[i][0] == '\0' || strlen(words[i]) > LIMIT_STATE_WORD)
                        return -EINVAL;
        old = find(f, type, words[0]);
        if (!*old && f->n >= LIMIT_STATE_RECORDS)
                return -E2BIG;
        e = entry_new(type, words, n);
        if (!e)
                return -ENOMEM;
        if (*old)
                state_file_remove(f, type, e->words[0]); /* not words[0], which may be the old record's own */
        old = bucket(f, type, e->words[0]);
        e->chain = *old;
        *old = e;
        e->previous = f->last;
        *(f->last ? &f->last->next : &f->first) = e;
        f->last = e;
        f->n++;
        f->dirty = true;
        return 0;
}

void state_file_remove(struct state_file *f, const char *type, const char *key)
{
        struct entry **at = find(f, type, key), *e = *at;

        if (!e)
                return;
        *at = e->chain;
        *(e->previous ? &e->previous->next : &f->first) = e->next;
        *(e->next ? &e->next->previous : &f->last) = e->previous;
        f->n--;
        f->dirty = true;
        free(e);
}

const struct state_record *state_file_find(const struct state_file *f, const char *type, const char *key)
{
        struct entry *e = *find((struct state_file *)f, type, key);

        return e ? &e->record : NULL;
}

const struct state_record *state_file_next(const struct state_file *f, const struct state_record *r)
{
        const struct entry *e = r ? ((const struct entry *)r)->next : f->first;

        return e ? &e->record : NULL;
}

/* -- writing -- */

static bool is_plain(char c)
{
        return c > ' ' && c <= '~' && c != '\\';
}

static void print_word(FILE *out, const char *s)
{
        for (; *s; s++)
                if (is_plain(*s))
                        fputc(*s, out);
                else
                        fprintf(out, "\\x%02x", (unsigned char)*s);
}

static int print_all(const struct state_file *f, char **ret, size_t *ret_size)
{
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);

        if (!out)
                return -ENOMEM;
        fprintf(out, HEADER "%s\n", f->boot_id);
        for (const struct entry *e = f->first; e; e = e->next) {
                fputs(e->record.type, out);
                for (size_t i = 0; i < e->record.n; i++) {
                        fputc(' ', out);
                        print_word(out, e->words[i]);
                }
                fputc('\n', out);
        }
        fprintf(out, "end %zu\n", f->n);
        if (fclose(out) != 0) {
                free(text);
                return -ENOMEM;
        }
        if (size > LIMIT_STATE_BYTES) {
                free(text);
                return -E2BIG;
        }
        *ret = text;
        *ret_size = size;
        return 0;
}

static int write_whole(const struct sys *sys, int fd, const char *text, size_t size)
{
        while (size > 0) {
                ssize_t n = sys->ops->write(sys, fd, text, size);

                if (n == -EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? (int)n : -EIO;
                text += n;
                size -= (size_t)n;
        }
        return sys->ops->fsync(sys, fd);
}

/* The directory holds the name: without this a rename may be undone by a power cut. */
static int sync_directory(const struct state_file *f)
{
        _cleanup_close_ int fd = f->sys->ops->openat(f->sys, f->dirfd, ".", O_RDONLY | O_DIRECTORY);

        return fd < 0 ? fd : f->sys->ops->fsync(f->sys, fd);
}

static int replace(struct state_file *f, const char *text, size_t size)
{
        const struct sys *sys = f->sys;
        _cleanup_close_ int fd = -1;
        int r;

        r = sys->ops->unlinkat(sys, f->dirfd, STATE_FILE_NEW, 0);
        if (r < 0 && r != -ENOENT)
                return r;
        fd = sys->ops->createat(sys, f->dirfd, STATE_FILE_NEW, 0600);
        if (fd < 0)
                return fd;
        r = write_whole(sys, fd, text, size);
        if (r >= 0)
                r = sys->ops->renameat(sys, f->dirfd, STATE_FILE_NEW, STATE_FILE);
        if (r < 0) {
                sys->ops->unlinkat(sys, f->dirfd, STATE_FILE_NEW, 0);
                return r;
        }
        f->on_disk = true;
        return sync_directory(f);
}

int state_file_sync(struct state_file *f)
{
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        if (!f->dirty)
                return 0;
        if (f->n == 0) {
                r = f->on_disk ? f->sys->ops->unlinkat(f->sys, f->dirfd, STATE_FILE, 0) : 0;
                if (r == -ENOENT)
                        r = 0;
                if (r >= 0)
                        f->on_disk = false;
        } else {
                r = print_all(f, &text, &size);
                if (r >= 0)
                        r = replace(f, text, size);
        }
        if (r >= 0)
                f->dirty = false;
        return r;
}

/* -- reading -- */

static int hex_digit(char c)
{
        return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Undoes print_word() in place. False for anything that it would not have written. */
static bool unescape(char *s)
{
        char *out = s;

        while (*s) {
                char c = *s++;

                if (c == '\\') {
                        int high = s[0] == 'x' ? hex_digit(s[1]) : -1, low = high >= 0 ? hex_digit(s[2]) : -1;

                        if (low < 0)
                                return false;
                        c = (char)(high << 4 | low);
                        if (c == '\0' || is_plain(c))
                                return false;
                        s += 3;
                } else if (!is_plain(c))
                        return false;
                *out++ = c;
        }
        *out = '\0';
        return true;
}

/* One line, without its newline. */
static int parse_record(struct state_file *f, char *line)
{
        char *words[1 + LIMIT_STATE_WORDS];
        size_t n = 0;

        for (char *next = line; next;) {
                char *word = next;

                next = strchr(word, ' ');
                if (next)
                        *next++ = '\0';
                if (n == ARRAY_SIZE(words) || word[0] == '\0' || !unescape(word))
                        return -EBADMSG;
                words[n++] = word;
        }
        if (n < 2 || !is_type(words[0]) || state_file_find(f, words[0], words[1]))
                return -EBADMSG;
        return state_file_put(f, words[0], (const char *const *)words + 1, n - 1);
}

/* 0; 1 of another boot; -EBADMSG with the line; -ENOMEM. */
static int parse_file(struct state_file *f, char *text, size_t size, unsigned *ret_line)
{
        char *end = text + size, *newline;
        bool ended = false;

        *ret_line = 0;
        if (memchr(text, '\0', size))
                return -EBADMSG;
        for (char *line = text; line < end; line = newline + 1) {
                uint64_t count;
                int r;

                ++*ret_line;
                newline = memchr(line, '\n', (size_t)(end - line));
                if (!newline || ended)
                        return -EBADMSG;
                *newline = '\0';
                if (*ret_line == 1) {
                        if (strncmp(line, HEADER, strlen(HEADER)) != 0)
                                return -EBADMSG;
                        if (strcmp(line + strlen(HEADER), f->boot_id) != 0)
                                return 1;
                } else if (strncmp(line, "end ", 4) == 0) {
                        ended = true;
                        if (parse_number(line + 4, LIMIT_STATE_RECORDS, &count) < 0 || count != f->n)
                                return -EBADMSG;
                } else {
                        r = parse_record(f, line);
                        if (r < 0)
                                return r == -ENOMEM ? r : -EBADMSG;
                }
        }
        ++*ret_line;
        return ended ? 0 : -EBADMSG;
}

static void clear(struct state_file *f)
{
        while (f->first)
                state_file_remove(f, f->first->record.type, f->first->words[0]);
}

/* A file of root's that nobody else could have written. */
static int check_owner(const struct sys *sys, int fd, char *why, size_t why_size, struct stat *st)
{
        int r = sys->ops->fstat(sys, fd, st);

        if (r < 0)
                return r;
        if (!S_ISREG(st->st_mode))
                snprintf(why, why_size, "it is no regular file");
        else if (st->st_uid != geteuid() || (st->st_mode & (S_IRWXG | S_IRWXO)))
                snprintf(why, why_size, "it is not capd's own: somebody else owns it, or may read or write it");
        else if (st->st_nlink != 1)
                snprintf(why, why_size, "it has a second name");
        else if (st->st_size < 0 || (uint64_t)st->st_size > LIMIT_STATE_BYTES)
                snprintf(why, why_size, "it is larger than LIMIT_STATE_BYTES");
        else
                return 0;
        return -EBADMSG;
}

/* 0; 1 of another boot; -EBADMSG and why; another negative errno. */
static int load(struct state_file *f, char *why, size_t why_size)
{
        _cleanup_close_ int fd = -1;
        _cleanup_free_ char *text = NULL;
        unsigned line = 0;
        struct stat st;
        ssize_t n;
        int r;

        fd = f->sys->ops->openat(f->sys, f->dirfd, STATE_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
        if (fd == -ENOENT)
                return 0;
        f->on_disk = true;
        if (fd == -ELOOP) {
                snprintf(why, why_size, "it is a symbolic link");
                return -EBADMSG;
        }
        if (fd < 0)
                return fd;
        r = check_owner(f->sys, fd, why, why_size, &st);
        if (r < 0)
                return r;
        text = malloc((size_t)st.st_size + 2);
        if (!text)
                return -ENOMEM;
        n = sys_read_fd(f->sys, fd, text, (size_t)st.st_size + 2);
        if (n < 0 && n != -E2BIG)
                return (int)n;
        r = n < 0 ? -EBADMSG : parse_file(f, text, (size_t)n, &line);
        if (r == -EBADMSG)
                snprintf(why, why_size, n < 0 ? "it changed while it was read" : "its line %u is not of this format",
                         line);
        return r;
}

static int read_boot_id(struct state_file *f)
{
        ssize_t n = sys_read_file_at(f->sys, f->sys->root_fd, "proc/sys/kernel/random/boot_id", f->boot_id,
                                     sizeof(f->boot_id));

        if (n < 0)
                return (int)n;
        f->boot_id[strcspn(f->boot_id, "\n")] = '\0';
        for (const char *s = f->boot_id; *s; s++)
                if (!is_plain(*s))
                        return -EBADMSG;
        return f->boot_id[0] ? 0 : -EBADMSG;
}

int state_file_open(const struct sys *sys, int dirfd, char *why, size_t why_size, struct state_file **ret)
{
        _cleanup_(state_file_freep) struct state_file *f = calloc(1, sizeof(*f));
        int r;

        if (!f)
                return -ENOMEM;
        f->sys = sys;
        f->dirfd = dirfd;
        r = read_boot_id(f);
        if (r < 0)
                return r;
        r = load(f, why, why_size);
        if (r < 0 && r != -EBADMSG)
                return r;
        if (r != 0)
                clear(f);
        f->dirty = r == 1; /* that of another boot goes with the next sync */
        if (r == -EBADMSG) {
                int moved = sys->ops->renameat(sys, dirfd, STATE_FILE, STATE_FILE_REFUSED);

                if (moved < 0)
                        return moved;
                f->on_disk = false;
                *ret = TAKE_PTR(f);
                return STATE_FILE_E_REFUSED;
        }
        *ret = TAKE_PTR(f);
        return 0;
}

struct state_file *state_file_free(struct state_file *f)
{
        if (f) {
                clear(f);
                free(f);
        }
        return NULL;
}
