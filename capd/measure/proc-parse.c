/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "proc-parse.h"

#define PF_KTHREAD UINT64_C(0x00200000) /* include/linux/sched.h; shown in field 9 of stat */

bool parse_decimal(const char **p, const char *end, uint64_t *ret)
{
        const char *s = *p;
        uint64_t n = 0;

        if (s >= end || *s < '0' || *s > '9')
                return false;
        for (; s < end && *s >= '0' && *s <= '9'; s++)
                if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, (uint64_t)(*s - '0'), &n))
                        return false;
        *p = s;
        *ret = n;
        return true;
}

static int hex_digit(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        return -1;
}

bool parse_hex(const char **p, const char *end, uint64_t *ret)
{
        const char *s = *p;
        uint64_t n = 0;

        if (s >= end || hex_digit(*s) < 0)
                return false;
        for (; s < end && hex_digit(*s) >= 0; s++) {
                if (n >> 60)
                        return false;
                n = n << 4 | (uint64_t)hex_digit(*s);
        }
        *p = s;
        *ret = n;
        return true;
}

static bool skip_char(const char **p, const char *end, char c)
{
        if (*p >= end || **p != c)
                return false;
        (*p)++;
        return true;
}

static void skip_blanks(const char **p, const char *end)
{
        while (*p < end && (**p == ' ' || **p == '\t'))
                (*p)++;
}

/* The line at *p, without its newline; *p moves behind it. false at the end. */
static bool next_line(const char **p, const char *end, const char **ret, size_t *ret_len)
{
        const char *newline;

        if (*p >= end)
                return false;
        newline = memchr(*p, '\n', (size_t)(end - *p));
        *ret = *p;
        *ret_len = (size_t)((newline ? newline : end) - *p);
        *p = newline ? newline + 1 : end;
        return true;
}

/*
 * fs/proc/array.c, do_task_stat(). The name is not escaped there and may hold brackets, blanks and newlines; no field behind
 * it holds a bracket, so it ends at the last one.
 */
int parse_proc_stat(const char *text, size_t len, struct proc_stat *ret)
{
        enum {
                PPID = 4,
                FLAGS = 9,
                MINOR_FAULTS = 10,
                MAJOR_FAULTS = 12,
                UTIME = 14,
                STIME = 15,
                PRIORITY = 18,
                THREADS = 20,
                START_TIME = 22,
                VM = 23,
                RSS = 24,
                START_CODE = 26,
                LAST = 28,
                CPU = 39
        };
        const char *p = text, *end = text + len, *open, *close;
        uint64_t fields[CPU + 1] = {}, pid;
        struct proc_stat s = {.cpu = -1};
        bool negative;
        size_t comm_len;
        int field;

        open = memchr(text, '(', len);
        close = memrchr(text, ')', len);
        if (!open || !close || close < open)
                return -EBADMSG;
        if (!parse_decimal(&p, end, &pid) || pid == 0 || pid > INT32_MAX || !skip_char(&p, end, ' ') || p != open)
                return -EBADMSG;
        comm_len = MIN((size_t)(close - open - 1), (size_t)LIMIT_COMM_BYTES);
        if (memchr(open + 1, '\0', comm_len))
                return -EBADMSG;
        memcpy(s.comm, open + 1, comm_len);

        p = close + 1;
        if (!skip_char(&p, end, ' ') || p >= end)
                return -EBADMSG;
        s.state = *p++;
        for (field = PPID; field <= CPU; field++) {
                if (!skip_char(&p, end, ' '))
                        break;
                /* process group, terminal, priority, nice value and signal may be negative */
                negative = p < end && *p == '-';
                p += negative;
                if (!parse_decimal(&p, end, &fields[field]))
                        break;
                if (field == PRIORITY)
                        s.priority = (int)MIN(fields[field], (uint64_t)INT32_MAX) * (negative ? -1 : 1);
        }
        if (field <= LAST)
                return -EBADMSG;
        if (field > CPU && fields[CPU] <= INT32_MAX)
                s.cpu = (int)fields[CPU];
        if (fields[PPID] > INT32_MAX)
                return -EBADMSG;

        s.pid = (pid_t)pid;
        s.ppid = (pid_t)fields[PPID];
        s.kernel_thread = fields[FLAGS] & PF_KTHREAD;
        s.minor_faults = fields[MINOR_FAULTS];
        s.major_faults = fields[MAJOR_FAULTS];
        s.cpu_ticks = fields[UTIME] + fields[STIME];
        s.threads = (uint32_t)MIN(fields[THREADS], (uint64_t)UINT32_MAX);
        s.start_time = fields[START_TIME];
        s.vm = fields[VM];
        s.rss = fields[RSS];
        s.start_code = fields[START_CODE];
        s.end_code = fields[START_CODE + 1];
        s.start_stack = fields[START_CODE + 2];
        *ret = s;
        return 0;
}

int parse_proc_statm(const char *text, size_t len, struct proc_statm *ret)
{
        const char *p = text, *end = text + len;
        struct proc_statm s;

        if (!parse_decimal(&p, end, &s.size) || !skip_char(&p, end, ' ') || !parse_decimal(&p, end, &s.resident) ||
            !skip_char(&p, end, ' ') || !parse_decimal(&p, end, &s.shared))
                return -EBADMSG;
        *ret = s;
        return 0;
}

/* "Uid:\treal\teffective\tsaved\tfs": the second number. */
static bool effective_id(const char *line, size_t len, const char *key, uint32_t *ret)
{
        size_t key_len = strlen(key);
        const char *p, *end = line + len;
        uint64_t n;

        if (len < key_len || memcmp(line, key, key_len) != 0)
                return false;
        p = line + key_len;
        for (int i = 0; i < 2; i++) {
                skip_blanks(&p, end);
                if (!parse_decimal(&p, end, &n) || n > UINT32_MAX)
                        return false;
        }
        *ret = (uint32_t)n;
        return true;
}

/* A newline in the name is escaped in this file (proc_task_name()), so no line can be forged. */
int parse_proc_status(const char *text, size_t len, uid_t *ret_uid, gid_t *ret_gid)
{
        const char *p = text, *end = text + len, *line;
        bool have_uid = false, have_gid = false;
        uint32_t uid, gid;
        size_t n;

        while (!(have_uid && have_gid) && next_line(&p, end, &line, &n)) {
                have_uid = have_uid || effective_id(line, n, "Uid:", &uid);
                have_gid = have_gid || effective_id(line, n, "Gid:", &gid);
        }
        if (!have_uid || !have_gid)
                return -EBADMSG;
        *ret_uid = uid;
        *ret_gid = gid;
        return 0;
}

static bool list_has(const char *list, size_t len, const char *word)
{
        size_t word_len = strlen(word);

        for (size_t i = 0; i <= len;) {
                const char *comma = memchr(list + i, ',', len - i);
                size_t n = comma ? (size_t)(comma - (list + i)) : len - i;

                if (n == word_len && memcmp(list + i, word, n) == 0)
                        return true;
                i += n + 1;
        }
        return false;
}

ssize_t parse_proc_cgroup(const char *text, size_t len, char *buf, size_t size)
{
        enum { UNIFIED, SYSTEMD, MEMORY, _HIERARCHIES };
        const char *paths[_HIERARCHIES] = {}, *p = text, *end = text + len, *line;
        size_t lens[_HIERARCHIES] = {}, n;
        int best = -1;

        while (next_line(&p, end, &line, &n)) {
                const char *line_end = line + n, *first, *second;
                int hierarchy = -1;

                first = memchr(line, ':', n);
                second = first ? memchr(first + 1, ':', (size_t)(line_end - first - 1)) : NULL;
                if (!second || second + 1 >= line_end || second[1] != '/')
                        continue;
                if (first - line == 1 && *line == '0' && second == first + 1)
                        hierarchy = UNIFIED;
                else if (list_has(first + 1, (size_t)(second - first - 1), "name=systemd"))
                        hierarchy = SYSTEMD;
                else if (list_has(first + 1, (size_t)(second - first - 1), "memory"))
                        hierarchy = MEMORY;
                if (hierarchy < 0 || paths[hierarchy])
                        continue;
                paths[hierarchy] = second + 1;
                lens[hierarchy] = (size_t)(line_end - second - 1);
        }
        for (int i = 0; i < _HIERARCHIES; i++)
                if (paths[i] && (best < 0 || (lens[best] == 1 && lens[i] > 1)))
                        best = i;
        if (best < 0 || memchr(paths[best], '\0', lens[best]))
                return -EBADMSG;
        if (lens[best] >= size)
                return -E2BIG;
        memcpy(buf, paths[best], lens[best]);
        buf[lens[best]] = '\0';
        return (ssize_t)lens[best];
}

/* fs/proc/task_mmu.c, show_vma_header_prefix(): "start-end rwxp offset major:minor inode", blanks, and a name. */
int parse_maps_line(const char *line, size_t len, struct walk_vma *ret, const char **ret_name, size_t *ret_name_len)
{
        const char *p = line, *end = line + len, *mode;
        uint64_t major, minor;
        struct walk_vma v = {};

        if (!parse_hex(&p, end, &v.start) || !skip_char(&p, end, '-') || !parse_hex(&p, end, &v.end) ||
            !skip_char(&p, end, ' ') || v.end <= v.start)
                return -EBADMSG;
        mode = p;
        if (end - p < 5 || p[4] != ' ' || (mode[3] != 's' && mode[3] != 'p'))
                return -EBADMSG;
        p += 5;
        if (!parse_hex(&p, end, &v.offset) || !skip_char(&p, end, ' ') || !parse_hex(&p, end, &major) ||
            !skip_char(&p, end, ':') || !parse_hex(&p, end, &minor) || !skip_char(&p, end, ' ') ||
            !parse_decimal(&p, end, &v.inode) || (p < end && *p != ' '))
                return -EBADMSG;
        skip_blanks(&p, end);
        v.readable = mode[0] == 'r';
        v.writable = mode[1] == 'w';
        v.executable = mode[2] == 'x';
        v.shared = mode[3] == 's';
        v.device = (major & UINT32_MAX) << 32 | (minor & UINT32_MAX);
        *ret = v;
        *ret_name = p;
        *ret_name_len = (size_t)(end - p);
        return 0;
}

/* "Key:   123 kB" */
static bool kib_field(const char *line, size_t len, const char *key, uint64_t *ret_bytes)
{
        size_t key_len = strlen(key);
        const char *p, *end = line + len;
        uint64_t n;

        if (len <= key_len || memcmp(line, key, key_len) != 0 || line[key_len] != ':')
                return false;
        p = line + key_len + 1;
        skip_blanks(&p, end);
        if (!parse_decimal(&p, end, &n) || n > UINT64_MAX / 1024)
                return false;
        skip_blanks(&p, end);
        if (end - p != 2 || memcmp(p, "kB", 2) != 0)
                return false;
        *ret_bytes = n * 1024;
        return true;
}

static bool add_field(const char *line, size_t len, const char *key, uint64_t *sum)
{
        uint64_t n;

        if (!kib_field(line, len, key, &n))
                return false;
        if (__builtin_add_overflow(*sum, n, sum))
                *sum = UINT64_MAX;
        return true;
}

bool parse_smaps_line(const char *line, size_t len, struct proc_smaps *sum)
{
        return add_field(line, len, "Rss", &sum->rss) || add_field(line, len, "Pss", &sum->pss) ||
               add_field(line, len, "Swap", &sum->swap) || add_field(line, len, "Shared_Hugetlb", &sum->hugetlb) ||
               add_field(line, len, "Private_Hugetlb", &sum->hugetlb);
}

int parse_meminfo(const char *text, size_t len, struct host_memory *ret)
{
        enum { TOTAL, FREE, AVAILABLE, SWAP_TOTAL, SWAP_FREE, _FIELDS };
        static const char *const keys[_FIELDS] = {"MemTotal", "MemFree", "MemAvailable", "SwapTotal", "SwapFree"};
        const char *p = text, *end = text + len, *line;
        uint64_t values[_FIELDS];
        unsigned have = 0;
        uint64_t used;
        size_t n;

        while (next_line(&p, end, &line, &n))
                for (int i = 0; i < _FIELDS; i++)
                        if (!(have & 1U << i) && kib_field(line, n, keys[i], &values[i]))
                                have |= 1U << i;
        /* a kernel without swap support still prints its two lines; one without MemAvailable is older than 3.14 */
        if (have != (1U << _FIELDS) - 1 || values[TOTAL] == 0)
                return -EBADMSG;
        used = values[TOTAL] - MIN(values[AVAILABLE], values[TOTAL]);
        *ret = (struct host_memory){
                        .total = values[TOTAL],
                        .free = values[FREE],
                        .available = values[AVAILABLE],
                        .swap_total = values[SWAP_TOTAL],
                        .swap_free = values[SWAP_FREE],
                        .used_basis_points = (uint32_t)((unsigned __int128)used * 10000 / values[TOTAL]),
        };
        return 0;
}

unsigned parse_swaps(const char *text, size_t len)
{
        const char *p = text, *end = text + len, *line;
        unsigned areas = 0;
        size_t n;

        if (!next_line(&p, end, &line, &n) || n < 8 || memcmp(line, "Filename", 8) != 0)
                return 0;
        while (next_line(&p, end, &line, &n))
                areas += n > 0;
        return areas;
}
