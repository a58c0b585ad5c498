/* SPDX-License-Identifier: MIT */
/* maps and smaps, a line at a time as the reader takes them, and as whole files with and without sizes. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proc-parse.h"
#include "walk-internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int the_file(const struct sys *sys, int dirfd, const char *path, int flags)
{
        int fd = dup(dirfd);

        lseek(fd, 0, SEEK_SET);
        return fd;
}

static void read_whole(const uint8_t *data, size_t size, bool with_sizes)
{
        struct sys_ops ops = sys_ops_native;
        struct sys sys = {.root_fd = -1, .ops = &ops};
        static const struct features features = {.page_size = 4096};
        struct walk_context context = {.sys = &sys, .features = &features};
        struct vmas list = {};
        uint64_t last = 0;
        bool lost = false;
        int fd = memfd_create("maps", MFD_CLOEXEC);

        if (fd < 0 || write(fd, data, size) != (ssize_t)size)
                abort();
        ops.openat = the_file;
        if (vmas_read(&context, NULL, 1, fd, with_sizes, &list, &lost) == 0) {
                if (list.n == 0 || lost)
                        abort();
                for (size_t i = 0; i < list.n; i++) {
                        const struct walk_vma *v = &list.items[i].v;

                        if (v->start < last || v->end <= v->start || v->start % 4096 || v->end % 4096)
                                abort();
                        last = v->end;
                }
        }
        vmas_done(&list);
        close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const char *line = (const char *)data, *name;
        struct proc_smaps sums = {};
        struct walk_vma v;
        size_t name_len;

        if (parse_maps_line(line, size, &v, &name, &name_len) == 0 &&
            (v.end <= v.start || name < line || name + name_len != line + size))
                abort();
        parse_smaps_line(line, size, &sums);
        read_whole(data, size, false);
        read_whole(data, size, true);
        return 0;
}
