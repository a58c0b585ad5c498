/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "capd/base/conf-files.h"
#include "capd/limits.h"

/* The highest first: a file in /etc hides one of the same name below. */
static const char *const dropin_directories[] = {"etc/capd.conf.d", "run/capd.conf.d", "usr/lib/capd.conf.d"};
static const char default_main_file[] = "/etc/capd.conf";

void conf_files_done(struct conf_files *f)
{
        for (size_t i = 0; i < f->n; i++) {
                free(f->items[i].name);
                free(f->items[i].text);
                free(f->items[i].problem);
        }
        free(f->items);
        *f = (struct conf_files){};
}

static struct conf_file *conf_files_append(struct conf_files *f, const char *name)
{
        struct conf_file *items = reallocarray(f->items, f->n + 1, sizeof(*items));
        char *copy = strdup(name);

        if (items)
                f->items = items;
        if (!items || !copy) {
                free(copy);
                return NULL;
        }
        items[f->n] = (struct conf_file){.name = copy};
        return &items[f->n++];
}

/* What is wrong with the open file, or NULL. */
static const char *conf_file_objection(const struct stat *st)
{
        if (S_ISDIR(st->st_mode))
                return "is a directory, not a file";
        if (!S_ISREG(st->st_mode))
                return "is not a regular file";
        if (st->st_uid != 0 && st->st_uid != geteuid())
                return "must be owned by root (chown root)";
        if (st->st_mode & (S_IWGRP | S_IWOTH))
                return "must not be writable by group or others (chmod go-w)";
        if (st->st_size > (off_t)LIMIT_CONFIG_FILE_BYTES)
                return "is too big for a configuration file (LIMIT_CONFIG_FILE_BYTES, 4M)";
        return NULL;
}

static int conf_file_fill(const struct sys *sys, struct conf_file *file, const char *path, int optional)
{
        _cleanup_close_ int fd = -1;
        _cleanup_free_ char *text = NULL;
        const char *objection;
        struct stat st;
        ssize_t n;
        int r;

        /* O_NONBLOCK: opening a FIFO or a device must not wait for its other end. A relative path is the caller's own. */
        fd = sys->ops->openat(sys, path[0] == '/' ? sys->root_fd : AT_FDCWD, path[0] == '/' ? path + 1 : path,
                              O_RDONLY | O_NONBLOCK);
        if (fd == -ENOENT && optional) {
                file->text = strdup("");
                return file->text ? 0 : -ENOMEM;
        }
        if (fd < 0)
                r = asprintf(&file->problem, "cannot be opened: %s", strerror(-fd));
        else if ((r = sys->ops->fstat(sys, fd, &st)) < 0)
                r = asprintf(&file->problem, "cannot be examined: %s", strerror(-r));
        else if ((objection = conf_file_objection(&st)))
                r = asprintf(&file->problem, "%s", objection);
        else {
                size_t room = LIMIT_CONFIG_FILE_BYTES + 2;

                text = malloc(room);
                if (!text)
                        return -ENOMEM;
                n = sys_read_fd(sys, fd, text, room);
                if (n >= 0 && n <= (ssize_t)LIMIT_CONFIG_FILE_BYTES) {
                        char *fit = realloc(text, (size_t)n + 1);

                        file->text = fit ? fit : text;
                        text = NULL;
                        file->size = (size_t)n;
                        return 0;
                }
                r = asprintf(&file->problem, "cannot be read: %s", n < 0 ? strerror((int)-n) : "it is growing");
        }
        if (r < 0) {
                file->problem = NULL;
                return -ENOMEM;
        }
        return 0;
}

struct dropin {
        char name[256];
        size_t directory;
};

static int dropin_compare(const void *a, const void *b)
{
        const struct dropin *x = a, *y = b;
        int r = strcmp(x->name, y->name);

        return r ? r : (int)x->directory - (int)y->directory;
}

static bool is_dropin_name(const char *name)
{
        size_t n = strlen(name);

        return name[0] != '.' && n > 5 && n < 256 && strcmp(name + n - 5, ".conf") == 0;
}

/* Collects the names of all drop-ins. A directory that is not there has none. */
static int dropins_list(const struct sys *sys, struct dropin **items, size_t *n, struct conf_files *ret)
{
        for (size_t d = 0; d < ARRAY_SIZE(dropin_directories); d++) {
                int fd = sys_open(sys, dropin_directories[d], O_RDONLY | O_DIRECTORY);
                DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
                struct dirent *e;

                if (!dir) {
                        if (fd != -ENOENT) {
                                char path[64];
                                struct conf_file *f;

                                snprintf(path, sizeof(path), "/%s", dropin_directories[d]);
                                f = conf_files_append(ret, path);
                                if (!f ||
                                    asprintf(&f->problem, "cannot be read: %s", strerror(fd < 0 ? -fd : errno)) < 0) {
                                        if (f)
                                                f->problem = NULL;
                                        close_fd(fd);
                                        return -ENOMEM;
                                }
                        }
                        close_fd(fd);
                        continue;
                }
                while ((e = readdir(dir))) {
                        struct dropin *grown;

                        if (!is_dropin_name(e->d_name))
                                continue;
                        grown = *n < (size_t)LIMIT_CONFIG_FILES * 2 ? reallocarray(*items, *n + 1, sizeof(**items))
                                                                    : NULL;
                        if (!grown) {
                                closedir(dir);
                                return *n < (size_t)LIMIT_CONFIG_FILES * 2 ? -ENOMEM : -E2BIG;
                        }
                        *items = grown;
                        snprintf(grown[*n].name, sizeof(grown[*n].name), "%s", e->d_name);
                        grown[(*n)++].directory = d;
                }
                closedir(dir);
        }
        return 0;
}

static int conf_files_read_dropins(const struct sys *sys, struct conf_files *ret)
{
        _cleanup_free_ struct dropin *items = NULL;
        struct conf_file *f;
        size_t n = 0;
        int r = dropins_list(sys, &items, &n, ret);

        if (r == -ENOMEM)
                return r;
        if (n > 1)
                qsort(items, n, sizeof(*items), dropin_compare);
        for (size_t i = 0; i < n && r >= 0; i++) {
                char path[512];

                if (i > 0 && strcmp(items[i].name, items[i - 1].name) == 0)
                        continue; /* hidden by the one in a higher directory, which sorts first */
                if (ret->n >= LIMIT_CONFIG_FILES) {
                        r = -E2BIG;
                        break;
                }
                snprintf(path, sizeof(path), "/%s/%s", dropin_directories[items[i].directory], items[i].name);
                f = conf_files_append(ret, path);
                if (!f)
                        return -ENOMEM;
                if (conf_file_fill(sys, f, path, 0) < 0)
                        return -ENOMEM;
        }
        if (r == -E2BIG) {
                f = conf_files_append(ret, "/etc/capd.conf.d");
                if (!f || !(f->problem = strdup("too many drop-ins (LIMIT_CONFIG_FILES, 256)")))
                        return -ENOMEM;
        }
        return 0;
}

int conf_files_read(const struct sys *sys, const char *main_file, int optional, struct conf_files *ret)
{
        struct conf_files files = {};
        bool is_default = strcmp(main_file, default_main_file) == 0;
        struct conf_file *f = conf_files_append(&files, main_file);
        int r;

        if (!f)
                return -ENOMEM;
        r = conf_file_fill(sys, f, main_file, optional && is_default);
        if (r >= 0 && is_default)
                r = conf_files_read_dropins(sys, &files);
        if (r < 0) {
                conf_files_done(&files);
                return r;
        }
        *ret = files;
        return 0;
}
