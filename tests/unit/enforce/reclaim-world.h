/* SPDX-License-Identifier: MIT */
/*
 * reclaim-world.h: a model of the kernel: cgroups of files, of which a write to memory.reclaim takes unmapped page cache first, then mapped
 * files, then anonymous memory as far as there is swap, and is refused with EAGAIN when it falls short.
 */
#ifndef CAPD_TEST_RECLAIM_WORLD_H
#define CAPD_TEST_RECLAIM_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "world.h"

#define ROOT   "sys/fs/cgroup"
#define GROUPS 4

struct model {
        const char *path;
        uint64_t anon, mapped, shmem, cache; /* bytes; shmem is mapped */
        uint64_t hot;                        /* of anon, cannot be taken */
        uint64_t written;
        unsigned writes;
};

static struct kernel {
        struct world *w;
        struct model groups[GROUPS];
        size_t n_groups;
        uint64_t swap;
        usec_t per_mib;
        int error;   /* of every write */
        bool silent; /* claims success and does nothing */
        bool frozen; /* figures lag: memory.stat is not written anew */
        unsigned error_at;
        void (*on_write)(struct model *m);
        char last[64];
} k;

static void file(const char *path, const char *name, const char *text)
{
        char full[512];
        FILE *f;

        snprintf(full, sizeof(full), "%s/" ROOT "%s/%s", k.w->path, path, name);
        f = fopen(full, "w");
        assert_non_null(f);
        fputs(text, f);
        fclose(f);
}

static void dir(const char *path)
{
        char full[512];

        snprintf(full, sizeof(full), "%s/%s", k.w->path, path);
        assert_int_equal(mkdir(full, 0700), 0);
}

static void show(struct model *m)
{
        char text[512];

        if (k.frozen)
                return;
        snprintf(text, sizeof(text), "anon %llu\nfile %llu\nkernel 0\nshmem %llu\nfile_mapped %llu\n",
                 (unsigned long long)m->anon, (unsigned long long)(m->mapped + m->shmem + m->cache),
                 (unsigned long long)m->shmem, (unsigned long long)(m->mapped + m->shmem));
        file(m->path, "memory.stat", text);
        snprintf(text, sizeof(text), "%llu\n", (unsigned long long)(m->anon + m->mapped + m->shmem + m->cache));
        file(m->path, "memory.current", text);
}

static struct model *group(const char *path, const char *procs, uint64_t anon, uint64_t mapped, uint64_t cache)
{
        struct model *m = &k.groups[k.n_groups++];
        char full[256];

        *m = (struct model){.path = path, .anon = anon * MIB, .mapped = mapped * MIB, .cache = cache * MIB};
        snprintf(full, sizeof(full), ROOT "%s", path);
        dir(full);
        file(path, "cgroup.procs", procs);
        file(path, "memory.reclaim", "");
        show(m);
        return m;
}

static uint64_t take(uint64_t *from, uint64_t keep, uint64_t want)
{
        uint64_t n = *from > keep ? MIN(*from - keep, want) : 0;

        *from -= n;
        return n;
}

static ssize_t model_write(const struct sys *sys, int fd, const void *buf, size_t size)
{
        char link[64], target[512];
        struct model *m = NULL;
        uint64_t amount, left;
        bool anon_only;
        ssize_t n;

        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, target, sizeof(target) - 1);
        assert_true(n > 0);
        target[n] = '\0';
        *strrchr(target, '/') = '\0';
        for (size_t i = 0; i < k.n_groups; i++)
                if (strcmp(strstr(target, ROOT) + strlen(ROOT), k.groups[i].path) == 0)
                        m = &k.groups[i];
        assert_non_null(m);
        assert_true(k.w->guarded || !k.w->must_be_guarded);
        assert_true(size < sizeof(k.last));
        memcpy(k.last, buf, size);
        k.last[size] = '\0';
        amount = left = strtoull(k.last, NULL, 10);
        anon_only = strstr(k.last, "swappiness=max");
        assert_true(amount > 0 && amount <= LIMIT_RECLAIM_WRITE_BYTES);
        m->written += amount;
        m->writes++;
        k.w->clock += k.per_mib * amount / MIB;
        if (k.on_write)
                k.on_write(m);
        if (k.error && (k.error_at == 0 || k.error_at == m->writes))
                return -k.error;
        if (k.silent)
                return (ssize_t)size;
        if (!anon_only) {
                left -= take(&m->cache, 0, left);
                left -= take(&m->mapped, 0, left);
        }
        amount = take(&m->anon, m->hot, MIN(left, k.swap));
        k.swap -= amount;
        left -= amount;
        if (!anon_only) {
                amount = take(&m->shmem, 0, MIN(left, k.swap));
                k.swap -= amount;
                left -= amount;
        }
        show(m);
        return left > 0 ? -EAGAIN : (ssize_t)size;
}

static int setup(void **state)
{
        k = (struct kernel){.w = world_new(), .swap = 1000 * MIB, .per_mib = 1000};
        k.w->ops.write = model_write;
        dir("sys");
        dir("sys/fs");
        dir(ROOT);
        dir("proc/self");
        file("/../../../proc/self", "mountinfo", "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        file("", "cgroup.controllers", "memory\n");
        for (pid_t pid = 1; pid <= 4; pid++)
                world_process(k.w, pid, 100 + (uint64_t)pid);
        return 0;
}

static int teardown(void **state)
{
        world_free(k.w);
        return 0;
}

#endif
