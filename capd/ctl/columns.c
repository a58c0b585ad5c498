/* SPDX-License-Identifier: MIT */
/* columns.c: what can be shown of a group and of a process, and how each kind of value is written. A column is one line. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "capd/base/size.h"
#include "capd/base/text.h"
#include "capd/base/users.h"
#include "ctl.h"

#define G(member) offsetof(struct wire_group, member)
#define P(member) offsetof(struct wire_process, member)
/* of struct wire_detail, seen from the group in it */
#define B(member) (offsetof(struct wire_detail, books.member) - offsetof(struct wire_detail, group))
#define C(member) offsetof(struct wire_charge, member)

/* COLUMN_DEFAULT, COLUMN_JSON, COLUMN_MEASURE */
#define D COLUMN_DEFAULT
#define J COLUMN_JSON
#define M COLUMN_MEASURE
#define N COLUMN_DAEMON
#define S COLUMN_SENTENCE

const struct column group_columns[] = {
                {"GROUP", "name", "name of the group", COLUMN_TEXT, G(name), D | J | M},
                {"STATE", "state", "ok, over, enforcing, thrashing, unenforceable, …", COLUMN_STATE, G(state),
                 D | J | N},
                {"RESIDENT", "resident", "physical memory, each page once (< at most, > at least, ~ about)",
                 COLUMN_RESIDENT, G(sample), D | J | M},
                {"CAP", "cap", "cap in force", COLUMN_SIZE, G(cap), D | J | N},
                {"USE%", "use_percent", "RESIDENT in percent of CAP", COLUMN_USE, 0, D | N},
                {"TREND", "trend", "growth of RESIDENT in a second", COLUMN_RATE, G(trend), D | N},
                {"RSS-SUM", "rss_sum", "sum of RSS: what adding up top gives", COLUMN_SIZE, G(sample.rss_sum),
                 D | J | M},
                {"SWAP", "swap", "swapped out", COLUMN_SIZE, G(sample.swap), D | J | M},
                {"PROCS", "processes", "processes", COLUMN_U32, G(sample.processes), D | J | M},
                {"AGE", "age_usec", "time since RESIDENT was true", COLUMN_AGE, G(sample), D | J},
                {"HISTORY", "history", "RESIDENT of the last hour, as high as it is near to CAP", COLUMN_TEXT,
                 offsetof(struct status_row, history), N | COLUMN_WIDE | COLUMN_HISTORY},
                {"QUALITY", "quality", "of RESIDENT: exact, upper, lower, estimate, unknown", COLUMN_QUALITY,
                 G(sample.quality), J},
                {"ERROR", "error_bytes", "RESIDENT is off by no more than this, 95 times in 100", COLUMN_SIZE,
                 G(sample.error_bytes), J | COLUMN_ESTIMATE},
                {"ANON", "anon", "anonymous part of RESIDENT", COLUMN_SIZE, G(sample.anon), J | M},
                {"FILE", "file", "part of RESIDENT in files", COLUMN_SIZE, G(sample.file), J | M},
                {"SHMEM", "shmem", "part of RESIDENT in shared memory and tmpfs", COLUMN_SIZE, G(sample.shmem), J | M},
                {"PRIVATE", "private", "part of RESIDENT that only the group maps (asks for a count)", COLUMN_SIZE,
                 G(sample.private_bytes), J | COLUMN_PRIVATE},
                {"SHARED", "shared", "RESIDENT less PRIVATE (asks for a count)", COLUMN_SIZE, G(sample.shared_bytes),
                 J | COLUMN_PRIVATE},
                {"PSS-SUM", "pss_sum", "sum of the kernel's PSS (measure --pss)", COLUMN_SIZE, G(sample.pss_sum),
                 J | COLUMN_PSS},
                {"HUGETLB", "hugetlb", "hugetlb pages, no part of RESIDENT", COLUMN_SIZE, G(sample.hugetlb), J},
                {"CGROUP", "cgroup_current", "memory.current of the cgroups that are the group's alone", COLUMN_SIZE,
                 G(cgroups.current), J},
                {"DESCRIPTION", "description", "Description= of the group", COLUMN_TEXT, G(description), N | S},
                {"REASON", "reason", "why the group is in its state", COLUMN_TEXT, G(reason), J | N | S},
                {"ACTION", "action", "Action= of the group", COLUMN_TEXT, G(action), J | N},
                {"WATERMARK", "low_watermark", "where enforcement stops", COLUMN_SIZE, G(low_watermark), N},
                {"CONFIGURED", "configured_cap", "cap of the configuration", COLUMN_SIZE, G(configured_cap), N},
                {"TEMPORARY", "temporary_cap", "the cap is a temporary one", COLUMN_BOOL, G(temporary_cap), N},
                {"CAP-LEFT", "cap_left_usec", "time until the temporary cap ends", COLUMN_UNTIL, G(cap_until), N},
                {"RETRY", "retry_usec", "back-off: time until the next attempt", COLUMN_UNTIL, G(retry_at), N},
                {"MOVED", "moved", "processes that capd has put into MOVE-TARGET", COLUMN_U32, G(moved), J | N},
                {"MOVE-TARGET", "move_target", "unit or cgroup of Action=move", COLUMN_TEXT, G(move_target), J | N},
                {"HIGH", "memory_high", "memory.high in force there", COLUMN_SIZE, G(memory_high), J | N},
                {"CHARGED", "move_current", "memory.current there", COLUMN_SIZE, G(move_current), J | N},
                {"MOVE-NOTE", "move_note", "what stands in the way of Action=move", COLUMN_TEXT, G(move_note),
                 J | N | S},
                {"SPACES", "address_spaces", "distinct address spaces", COLUMN_U32, G(sample.address_spaces), 0},
                {"UNREAD", "unread", "processes that could not be read", COLUMN_U32, G(sample.unread), J},
                {"EXCLUSIVE", "exclusive", "part of RESIDENT mapped once on the host", COLUMN_SIZE, G(sample.exclusive),
                 0},
                {"VSZ-SUM", "vm_sum", "sum of virtual sizes", COLUMN_SIZE, G(sample.vm_sum), 0},
                {"UPPER", "upper_bound", "RESIDENT is at most this, by counters", COLUMN_SIZE, G(sample.upper), N},
                {"LOWER", "lower_bound", "RESIDENT is at least this, by counters", COLUMN_SIZE, G(sample.lower), N},
                {"ACTS", "acts", "times capd acted on the group", COLUMN_U64, G(acts), N},
                {"ATTEMPTED", "attempted_total", "handed to the kernel for page-out, in all", COLUMN_SIZE,
                 G(attempted_total), N},
                {"UNMAPPED", "unmapped_total", "of that, unmapped afterwards", COLUMN_SIZE, G(unmapped_total), N},
                {"FREED", "freed_total", "of that, given back to the host", COLUMN_SIZE, G(freed_total), N},
                {"CACHE-TAKEN", "cache_taken_total", "page cache that was reclaimed as well", COLUMN_SIZE,
                 G(cache_taken_total), N},
                {"REFAULTED", "refaulted_total", "of what was unmapped, back again", COLUMN_SIZE, G(refaulted_total),
                 N},
                {"STRATEGY", "strategy", "by which means it is paged out, or none", COLUMN_TEXT, G(strategy), J | N},
                {"WORKING-SET", "working_set", "what a thrashing group works with, inferred", COLUMN_SIZE,
                 G(working_set), J | N},
                {"KILLS", "kills", "members killed by LastResort=", COLUMN_U32, G(kills), N},
                {0},
};

/* In capctl explain -J beside those above; the row is the group in a struct wire_detail. */
const struct column act_columns[] = {
                {"MAPPED", "mapped", "", COLUMN_SIZE, G(sample.mapped), 0},
                {"EXCLUSIVE-ANON", "exclusive_anon", "", COLUMN_SIZE, G(sample.exclusive_anon), 0},
                {"REFERENCE-RESIDENT", "reference_resident", "", COLUMN_SIZE, G(reference_resident), 0},
                {"REFERENCE-MAPPED", "reference_mapped", "", COLUMN_SIZE, G(reference_mapped), 0},
                {"LAST-ATTEMPTED", "last_attempted", "", COLUMN_SIZE, G(last_act.attempted), 0},
                {"LAST-UNMAPPED", "last_unmapped", "", COLUMN_SIZE, G(last_act.unmapped), 0},
                {"LAST-FREED", "last_freed", "", COLUMN_SIZE, G(last_act.freed), 0},
                {"LAST-CACHE-TAKEN", "last_cache_taken", "", COLUMN_SIZE, G(last_act.cache_taken), 0},
                {"LAST-REFAULTED", "last_refaulted", "", COLUMN_SIZE, G(last_act.refaulted), 0},
                {"RESIDENT-BEFORE", "resident_before", "", COLUMN_SIZE, G(resident_before), 0},
                {"RESIDENT-AFTER", "resident_after", "", COLUMN_SIZE, G(resident_after), 0},
                {"STRATEGY-REASON", "strategy_reason", "", COLUMN_TEXT, G(strategy_reason), 0},
                {"CAME-BACK", "came_back", "", COLUMN_SIZE, G(came_back), 0},
                {"LEFT-SHARED", "left_shared", "", COLUMN_SIZE, G(last_act.left_shared), 0},
                {"LEFT-LOCKED", "left_locked", "", COLUMN_SIZE, G(last_act.left_locked), 0},
                {"LEFT-DIRTY", "left_dirty", "", COLUMN_SIZE, G(last_act.left_dirty), 0},
                {"LEFT-NO-SWAP", "left_no_swap", "", COLUMN_SIZE, G(last_act.left_no_swap), 0},
                {"LEFT-FORBIDDEN", "left_forbidden", "", COLUMN_SIZE, G(last_act.left_forbidden), 0},
                {"LEFT-FLOOR", "left_floor", "", COLUMN_SIZE, G(last_act.left_floor), 0},
                {"LEFT-BUSY", "left_busy", "", COLUMN_SIZE, G(last_act.left_busy), 0},
                {"CGROUPS", "owned_cgroups", "", COLUMN_U32, G(cgroups.owned), 0},
                {"CGROUP-SWAP", "cgroup_swap", "", COLUMN_SIZE, G(cgroups.swap), 0},
                {"CGROUP-ANON", "cgroup_anon", "", COLUMN_SIZE, G(cgroups.anon), 0},
                {"CGROUP-FILE", "cgroup_file", "", COLUMN_SIZE, G(cgroups.file), 0},
                {"CGROUP-SHMEM", "cgroup_shmem", "", COLUMN_SIZE, G(cgroups.shmem), 0},
                {"CGROUP-MAPPED", "cgroup_file_mapped", "", COLUMN_SIZE, G(cgroups.file_mapped), 0},
                {"CGROUP-SWAP-CACHE", "cgroup_swap_cache", "", COLUMN_SIZE, G(cgroups.swap_cache), 0},
                {"CGROUP-KERNEL", "cgroup_kernel", "", COLUMN_SIZE, G(cgroups.kernel), 0},
                {"CGROUP-SOCKETS", "cgroup_sockets", "", COLUMN_SIZE, G(cgroups.sockets), 0},
                {"CHARGED-HERE", "charged_here", "", COLUMN_SIZE, B(here), 0},
                {"CHARGED-ELSEWHERE", "charged_elsewhere", "", COLUMN_SIZE, B(elsewhere), 0},
                {"CHARGED-NOWHERE", "charged_nowhere", "", COLUMN_SIZE, B(nowhere), 0},
                {"OWN-CGROUP", "own_cgroup", "", COLUMN_TEXT, B(own), 0},
                {"CGROUP-NOTE", "cgroup_note", "", COLUMN_TEXT, B(note), 0},
                {0},
};

/* Other cgroups that are charged for pages of the group. */
const struct column charge_columns[] = {
                {"CGROUP", "cgroup", "", COLUMN_TEXT, C(path), 0},
                {"BYTES", "bytes", "", COLUMN_SIZE, C(bytes), 0},
                {0},
};

const struct column process_columns[] = {
                {"PID", "pid", "process", COLUMN_PID, P(pid), D | J},
                {"USER", "user", "effective user", COLUMN_USER, P(uid), D | J},
                {"RSS", "rss", "what top shows", COLUMN_SIZE, P(rss), D | J},
                {"SHARE", "share", "its part of RESIDENT, shared pages divided", COLUMN_SIZE, P(share), D | J},
                {"ALONE", "alone", "what it alone adds to RESIDENT", COLUMN_SIZE, P(alone), D | J},
                {"EXCLUSIVE", "exclusive", "pages mapped once on the host: what page-out can reach", COLUMN_SIZE,
                 P(exclusive), D | J},
                {"SWAP", "swap", "swapped out", COLUMN_SIZE, P(swap), D | J},
                {"COMMAND", "command", "command line, or the name in brackets", COLUMN_COMMAND, 0, D | J},
                {"COMM", "comm", "name", COLUMN_TEXT, P(comm), J},
                {"UID", "uid", "effective user, number", COLUMN_U32, P(uid), J},
                {"ANON", "anon", "anonymous pages", COLUMN_SIZE, P(anon), J},
                {"FILE", "file", "file pages", COLUMN_SIZE, P(file), J},
                {"SHMEM", "shmem", "pages of shared memory and tmpfs", COLUMN_SIZE, P(shmem), J},
                {"HUGETLB", "hugetlb", "hugetlb pages", COLUMN_SIZE, P(hugetlb), J},
                {"PROTECTED", "protected", "never acted on", COLUMN_BOOL, P(protected_process), J},
                {"FLOOR", "below_floor", "smaller than ProcessFloor=", COLUMN_BOOL, P(below_floor), J},
                {"SAME-MM", "same_address_space", "shares its address space with one listed before it", COLUMN_BOOL,
                 P(same_address_space), J},
                {0},
};

const char *state_colour(enum group_state s)
{
        switch (s) {
        case STATE_OK:
                return "green";
        case STATE_ENFORCING:
        case STATE_OBSERVED:
        case STATE_OVER:
                return "yellow";
        case STATE_THRASHING:
        case STATE_UNENFORCEABLE:
                return "red";
        case STATE_PAUSED:
                return "cyan";
        default:
                return NULL;
        }
}

/* -- choosing -- */

static const struct column *find_column(const struct column *all, const char *name)
{
        for (const struct column *c = all; c->header; c++)
                if (strcasecmp(c->header, name) == 0 || strcasecmp(c->key, name) == 0)
                        return c;
        return NULL;
}

static void add_column(struct selection *s, const struct column *c)
{
        for (size_t i = 0; i < s->n; i++)
                if (s->items[i] == c)
                        return; /* a key twice in a JSON object means nothing */
        if (s->n < COLUMNS_MAX)
                s->items[s->n++] = c;
}

static int unknown_column(const struct column *all, const char *name)
{
        const char *names[COLUMNS_MAX + 1] = {0}, *near;
        char text[64];
        size_t n = 0;

        for (const struct column *c = all; c->header && n < COLUMNS_MAX; c++)
                names[n++] = c->header;
        near = text_nearest(name, names);
        text_escape(text, sizeof(text), name, strlen(name));
        if (near)
                (void)failed("there is no column '%s'; did you mean %s?", text, near);
        else
                (void)failed("there is no column '%s' here; 'capctl --help' lists them", text);
        return EXIT_USAGE;
}

int columns_select(const struct column *all, const struct arguments *a, unsigned flag, struct selection *ret)
{
        struct selection s = {0};
        const char *list = a->output;
        _cleanup_free_ char *copy = NULL;
        char *rest, *word;

        if (!list || list[0] == '+')
                for (const struct column *c = all; c->header; c++)
                        if (c->flags & flag)
                                add_column(&s, c);
        if (list) {
                copy = strdup(list + (list[0] == '+'));
                if (!copy)
                        return out_of_memory();
                for (rest = copy; (word = strsep(&rest, ","));) {
                        const struct column *c = find_column(all, word);

                        if (!c)
                                return unknown_column(all, word);
                        add_column(&s, c);
                }
        }
        *ret = s;
        return 0;
}

bool columns_name(const char *list, const struct column *c)
{
        const size_t header = strlen(c->header), key = strlen(c->key);

        for (const char *word = list + (list[0] == '+');; word++) {
                size_t n = strcspn(word, ",");

                if ((n == header && strncasecmp(word, c->header, n) == 0) ||
                    (n == key && strncasecmp(word, c->key, n) == 0))
                        return true;
                word += n;
                if (!*word)
                        return false;
        }
}

bool selection_has(const struct selection *s, unsigned flag)
{
        for (size_t i = 0; i < s->n; i++)
                if (s->items[i]->flags & flag)
                        return true;
        return false;
}

/* -- writing -- */

static void write_size(char *buf, const char *sign, uint64_t bytes, enum cell_style style)
{
        char size[SIZE_TEXT_MAX];

        if (bytes == SIZE_UNKNOWN)
                strcpy(buf, style == CELL_JSON ? "" : "-");
        else if (style == CELL_JSON)
                snprintf(buf, CELL_MAX, "%" PRIu64, bytes);
        else if (style == CELL_TABLE)
                snprintf(buf, CELL_MAX, "%s%s", sign, format_size(size, bytes));
        else
                snprintf(buf, CELL_MAX, "%s%" PRIu64, style == CELL_RAW ? "" : sign, bytes);
}

static const char *quality_sign(enum quality q)
{
        switch (q) {
        case QUALITY_BOUND_UPPER:
                return "<";
        case QUALITY_BOUND_LOWER:
                return ">";
        case QUALITY_ESTIMATE:
                return "~";
        default:
                return "";
        }
}

static void write_resident(char *buf, const struct group_sample *s, enum cell_style style)
{
        if (s->quality == QUALITY_UNKNOWN || s->resident == SIZE_UNKNOWN)
                strcpy(buf, style == CELL_JSON ? "" : "?");
        else
                write_size(buf, quality_sign(s->quality), s->resident, style);
}

static void write_rate(char *buf, int64_t rate, enum cell_style style)
{
        uint64_t amount = rate < 0 ? -(uint64_t)rate : (uint64_t)rate;
        char size[SIZE_TEXT_MAX];

        if (style != CELL_TABLE)
                snprintf(buf, CELL_MAX, "%" PRId64, rate);
        else if (amount < KIB)
                strcpy(buf, "0");
        else
                snprintf(buf, CELL_MAX, "%c%s/s", rate < 0 ? '-' : '+', format_size(size, amount));
}

uint32_t use_percent(const struct wire_group *g)
{
        unsigned __int128 percent;

        if (!g->has_cap || g->cap == 0 || g->cap == SIZE_UNKNOWN || g->sample.quality == QUALITY_UNKNOWN ||
            g->sample.resident == SIZE_UNKNOWN)
                return UINT32_MAX;
        percent = (unsigned __int128)g->sample.resident * 100 / g->cap;
        return percent < UINT32_MAX ? (uint32_t)percent : UINT32_MAX - 1;
}

static void write_use(char *buf, const struct wire_group *g, enum cell_style style)
{
        uint32_t percent = use_percent(g);

        if (percent == UINT32_MAX)
                strcpy(buf, style == CELL_JSON ? "" : "-");
        else
                snprintf(buf, CELL_MAX, "%s%" PRIu32, style == CELL_TABLE ? quality_sign(g->sample.quality) : "",
                         percent);
}

static void write_time(char *buf, usec_t t, enum cell_style style)
{
        char text[SIZE_TEXT_MAX];

        if (t == USEC_INFINITY)
                strcpy(buf, style == CELL_JSON ? "" : "-");
        else if (style == CELL_TABLE)
                /* nobody reads the microseconds of an age in a table */
                snprintf(buf, CELL_MAX, "%s",
                         format_time(text, t < USEC_PER_SEC ? t / USEC_PER_MSEC * USEC_PER_MSEC
                                                            : t / USEC_PER_SEC * USEC_PER_SEC));
        else
                snprintf(buf, CELL_MAX, "%" PRIu64, t);
}

static void write_moment(char *buf, uint64_t at, enum cell_style style)
{
        time_t seconds = (time_t)(at / USEC_PER_SEC);
        struct tm tm;

        if (style == CELL_JSON)
                snprintf(buf, CELL_MAX, "%" PRIu64, at);
        else if (style == CELL_RAW && gmtime_r(&seconds, &tm)) /* for programs: no zone to guess, no blank */
                strftime(buf, CELL_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm);
        else if (localtime_r(&seconds, &tm))
                strftime(buf, CELL_MAX, "%Y-%m-%d %H:%M:%S", &tm);
        else
                strcpy(buf, "?");
}

static void write_command(char *buf, const struct wire_process *p)
{
        if (p->command[0])
                snprintf(buf, CELL_MAX, "%s", p->command);
        else
                snprintf(buf, CELL_MAX, "[%s]", p->comm);
}

void cell_text(char buf[static CELL_MAX], const struct column *c, const void *row, enum cell_style style, usec_t now)
{
        const void *p = (const char *)row + c->offset;
        usec_t at;

        switch (c->kind) {
        case COLUMN_TEXT:
                text_copy(buf, CELL_MAX, p);
                break;
        case COLUMN_STATE:
                text_copy(buf, CELL_MAX, group_state_to_string((enum group_state) * (const uint32_t *)p));
                break;
        case COLUMN_QUALITY:
                text_copy(buf, CELL_MAX, quality_to_string(*(const enum quality *)p));
                break;
        case COLUMN_U32:
                snprintf(buf, CELL_MAX, "%" PRIu32, *(const uint32_t *)p);
                break;
        case COLUMN_U64:
                snprintf(buf, CELL_MAX, "%" PRIu64, *(const uint64_t *)p);
                break;
        case COLUMN_SIZE:
                write_size(buf, "", *(const uint64_t *)p, style);
                break;
        case COLUMN_RESIDENT:
                write_resident(buf, p, style);
                break;
        case COLUMN_RATE:
                write_rate(buf, *(const int64_t *)p, style);
                break;
        case COLUMN_USE:
                write_use(buf, row, style);
                break;
        case COLUMN_AGE:
                write_time(buf, group_sample_age(p, now), style);
                break;
        case COLUMN_UNTIL:
                at = *(const usec_t *)p;
                write_time(buf, at > now ? at - now : USEC_INFINITY, style);
                break;
        case COLUMN_BOOL:
                /* libsmartcols takes whatever does not begin with 0 for true */
                strcpy(buf, *(const bool *)p ? (style == CELL_JSON ? "1" : "yes") : (style == CELL_JSON ? "0" : "no"));
                break;
        case COLUMN_USER:
                users_uid_to_user(NULL, *(const uint32_t *)p, buf, CELL_MAX);
                break;
        case COLUMN_COMMAND:
                write_command(buf, row);
                break;
        case COLUMN_TIME:
                write_moment(buf, *(const uint64_t *)p, style);
                break;
        case COLUMN_SPAN:
                write_time(buf, *(const uint64_t *)p, style);
                break;
        case COLUMN_PID:
                snprintf(buf, CELL_MAX, "%" PRId32, *(const int32_t *)p);
                break;
        }
}
