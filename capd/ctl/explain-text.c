/* SPDX-License-Identifier: MIT */
/*
 * explain-text.c: a group's numbers as sums that add up, and what enforcement did, in words.
 *
 * Pure: a struct in, text out. What cgroups say is in explain-cgroups.c. Every block is left out where its figures are not known; no sum is printed that does not
 * hold to the byte.
 */
#include <inttypes.h>
#include <string.h>

#include "capd/base/size.h"
#include "ctl.h"

void explain_term(FILE *f, char sign, uint64_t bytes, const char *label)
{
        char size[SIZE_TEXT_MAX];

        fprintf(f, " %c %8s %18" PRIu64 "  %s\n", sign, format_size(size, bytes), bytes, label);
}

static const char *ago(char buf[static SIZE_TEXT_MAX], usec_t now, usec_t at)
{
        usec_t t = now > at ? now - at : 0;

        return format_time(buf, t < USEC_PER_SEC ? t / USEC_PER_MSEC * USEC_PER_MSEC : t / USEC_PER_SEC * USEC_PER_SEC);
}

static void estimated(FILE *f, const struct group_sample *s, usec_t now)
{
        char t[SIZE_TEXT_MAX], error[SIZE_TEXT_MAX];

        fprintf(f, ", estimated from a sample of %" PRIu32 ".%" PRIu32 " %%, ± %s (95 %%), %s ago\n", s->sampled / 100,
                s->sampled % 100 / 10, format_size(error, s->error_bytes),
                ago(t, now, now - MIN(now, group_sample_age(s, now))));
}

static bool is_empty(const struct group_sample *s)
{
        return s->processes == 0 && s->quality == QUALITY_EXACT;
}

static void heading(FILE *f, const struct wire_group *g, usec_t now)
{
        const struct group_sample *s = &g->sample;
        char t[SIZE_TEXT_MAX];

        fprintf(f, "%s%s%s%s\n", g->name, g->description[0] ? " (" : "", g->description, g->description[0] ? ")" : "");
        if (is_empty(s)) {
                fputs("no processes\n", f);
                return;
        }
        fprintf(f, "%" PRIu32 " process%s", s->processes, s->processes == 1 ? "" : "es");
        if (s->address_spaces > 0 && s->address_spaces < s->processes)
                fprintf(f, " in %" PRIu32 " address spaces", s->address_spaces);
        if (s->quality == QUALITY_UNKNOWN)
                fputs(", not counted\n", f);
        else if (s->quality == QUALITY_ESTIMATE)
                estimated(f, s, now);
        else
                fprintf(f, ", %s %s ago\n",
                        s->quality == QUALITY_EXACT ? "every page counted"
                        : s->unread > 0             ? "what could be read counted"
                                                    : "bounded by counters",
                        ago(t, now, now - MIN(now, group_sample_age(s, now))));
        if (s->unread)
                fprintf(f, "%" PRIu32 " of them could not be read: what follows is without them, and too low\n",
                        s->unread);
        fputc('\n', f);
}

static bool counted(const struct group_sample *s)
{
        return s->quality != QUALITY_UNKNOWN && s->resident != SIZE_UNKNOWN && s->mapped != SIZE_UNKNOWN &&
               s->mapped >= s->resident;
}

/* rss_sum comes from the kernel's counters, the rest from walking the pages a moment later. */
static void sum_of_rss(FILE *f, const struct group_sample *s)
{
        explain_term(f, ' ', s->rss_sum, "rss_sum: what adding up RES in top gives");
        if (s->rss_sum > s->mapped)
                explain_term(f, '-', s->rss_sum - s->mapped, "changed while counting, or the kernel's error");
        else if (s->rss_sum < s->mapped)
                explain_term(f, '+', s->mapped - s->rss_sum, "changed while counting, or the kernel's error");
        explain_term(f, '-', s->mapped - s->resident, "pages counted again, being mapped more than once");
        explain_term(f, '=', s->resident, "resident: each page once");
}

static void sums(FILE *f, const struct group_sample *s)
{
        if (!counted(s)) {
                if (s->rss_sum != SIZE_UNKNOWN)
                        explain_term(f, ' ', s->rss_sum, "rss_sum: what adding up RES in top gives");
                if (s->quality == QUALITY_BOUND_UPPER)
                        fputs("   resident is at most that: there is no count to explain yet\n", f);
                else
                        fputs("   resident is not known: the group has not been counted\n", f);
                return;
        }
        sum_of_rss(f, s);
        if (s->anon != SIZE_UNKNOWN && s->anon + s->file + s->shmem == s->resident) {
                fputc('\n', f);
                explain_term(f, ' ', s->anon, "anon: memory of the programs' own");
                explain_term(f, '+', s->file, "file: pages of files, programs and libraries");
                explain_term(f, '+', s->shmem, "shmem: shared memory and tmpfs");
                explain_term(f, '=', s->resident, "resident");
        }
        if (s->have_private && s->private_bytes + s->shared_bytes == s->resident) {
                fputc('\n', f);
                explain_term(f, ' ', s->private_bytes, "private: the host gets it back if the group ends");
                explain_term(f, '+', s->shared_bytes, "shared: mapped by others outside the group too");
                explain_term(f, '=', s->resident, "resident");
        }
        fputs("\n   beside it:\n", f);
        if (s->pss_sum != SIZE_UNKNOWN)
                explain_term(f, ' ', s->pss_sum, "pss_sum: the kernel's own division of shared pages");
        if (s->swap != SIZE_UNKNOWN)
                explain_term(f, ' ', s->swap, "swap");
        if (s->hugetlb != SIZE_UNKNOWN)
                explain_term(f, ' ', s->hugetlb, "hugetlb");
}

static void change(char *buf, size_t size, uint64_t before, uint64_t after)
{
        char text[SIZE_TEXT_MAX];

        if (after == before)
                snprintf(buf, size, "did not change");
        else
                snprintf(buf, size, "%s by %s", after > before ? "rose" : "fell",
                         format_size(text, after > before ? after - before : before - after));
}

/* resident and the number of mappings change together unless pages stop, or begin, to be shared. */
static void since_reference(FILE *f, const struct wire_group *g, usec_t now)
{
        const struct group_sample *s = &g->sample;
        char t[SIZE_TEXT_MAX], resident[64], mapped[64];
        uint64_t grown, mapped_grown;

        if (g->reference_at == 0 || s->resident <= g->reference_resident)
                return;
        grown = s->resident - g->reference_resident;
        mapped_grown = s->mapped > g->reference_mapped ? s->mapped - g->reference_mapped : 0;
        if (grown < MAX(MIB, g->reference_resident / 50))
                return;
        change(resident, sizeof(resident), g->reference_resident, s->resident);
        change(mapped, sizeof(mapped), g->reference_mapped, s->mapped);
        fprintf(f, "In the last %s resident %s while the sum of RSS %s:\n", ago(t, now, g->reference_at), resident,
                mapped);
        if (mapped_grown < grown / 2)
                fputs("pages stopped being shared (copied on write, or the sharer unmapped them).\n", f);
        else
                fputs("the group uses more memory.\n", f);
}

static void sharing(FILE *f, const struct wire_group *g, usec_t now)
{
        const struct group_sample *s = &g->sample;
        char rss[SIZE_TEXT_MAX], resident[SIZE_TEXT_MAX];
        uint64_t tenths;

        if (!counted(s) || s->resident == 0)
                return;
        tenths = (uint64_t)(((unsigned __int128)s->mapped * 10 + s->resident / 2) / s->resident);
        fputc('\n', f);
        if (tenths <= 10)
                fprintf(f, "Next to nothing is shared inside the group: top and capd agree.\n");
        else
                fprintf(f,
                        "%" PRIu32 " processes show %s in top; they hold %s, because each page is mapped\n"
                        "%" PRIu64 ".%" PRIu64 " times on average.\n",
                        s->processes, format_size(rss, s->mapped), format_size(resident, s->resident), tenths / 10,
                        tenths % 10);
        since_reference(f, g, now);
}

static void caps(FILE *f, const struct wire_group *g, usec_t now)
{
        char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX];

        if (!g->has_cap) {
                fputs("cap      none\n", f);
                return;
        }
        fprintf(f, "cap      %s", format_size(a, g->cap));
        if (use_percent(g) != UINT32_MAX)
                fprintf(f, ", %" PRIu32 "%% used", use_percent(g));
        fprintf(f, "; enforcement stops at %s\n", format_size(b, g->low_watermark));
        if (g->temporary_cap) {
                fputs("         temporary", f);
                if (g->cap_until > now)
                        fprintf(f, ", for %s more", format_time(a, (g->cap_until - now) / USEC_PER_SEC * USEC_PER_SEC));
                if (g->configured_cap != SIZE_UNKNOWN)
                        fprintf(f, "; %s is configured", format_size(b, g->configured_cap));
                fputc('\n', f);
        }
}

/* What was not paged out, and what can be done about it. */
static void leftovers(FILE *f, const struct act_result *r)
{
        const struct {
                uint64_t bytes;
                const char *why;
        } left[] = {
                        {r->left_shared, "shared: process_madvise(2) cannot page out pages mapped more than once"},
                        {r->left_locked, "locked: mlock(2) or the like; only the program can undo it"},
                        {r->left_dirty, "dirty: must be written to their files first; later acts reach them"},
                        {r->left_no_swap,
                         "no swap: anonymous and shared memory has nowhere to go; add swap (swapon(8))"},
                        {r->left_forbidden, "not permitted: the kernel refuses these pages to capd"},
                        {r->left_floor, "of processes below ProcessFloor= or covered by Protect="},
                        {r->left_busy, "in use: stayed or came straight back; the cap may be below the working set"},
        };
        bool first = true;

        for (size_t i = 0; i < ARRAY_SIZE(left); i++) {
                if (left[i].bytes == 0)
                        continue;
                if (first)
                        fputs("what stayed, and why:\n", f);
                first = false;
                explain_term(f, ' ', left[i].bytes, left[i].why);
        }
}

static void last_act(FILE *f, const struct wire_group *g, usec_t now)
{
        const struct act_result *r = &g->last_act;
        char t[SIZE_TEXT_MAX], a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX];

        if (g->acts == 0 || r->started == 0) {
                fputs("acts     none yet\n", f);
                return;
        }
        fprintf(f, "acts     %" PRIu64 "; the last %s ago on %" PRIu32 " process%s", g->acts, ago(t, now, r->ended),
                r->processes, r->processes == 1 ? "" : "es");
        if (r->stuck)
                fprintf(f, ", %" PRIu32 " given up because it did not answer", r->stuck);
        fputs(":\n", f);
        explain_term(f, ' ', r->attempted, "attempted: handed to the kernel");
        explain_term(f, ' ', r->unmapped, "unmapped: of that, no longer mapped afterwards");
        explain_term(f, ' ', r->freed, "freed: of that, given back to the host at once");
        if (r->freed != SIZE_UNKNOWN && r->unmapped > r->freed)
                explain_term(f, ' ', r->unmapped - r->freed,
                             "cached: of that, still in the swap or page cache, the host's to take");
        if (r->cache_taken > 0)
                explain_term(f, ' ', r->cache_taken, "cache taken: page cache that nobody mapped, reclaimed beside it");
        explain_term(f, ' ', r->refaulted, "refaulted: paged out by the act before and back again");
        if (g->came_back != SIZE_UNKNOWN)
                explain_term(f, ' ', g->came_back,
                             "came back: read in again since the last act began, by the kernel's counters");
        if (g->stalled != UINT32_MAX)
                fprintf(f, "   in %" PRIu32 "%% of the time since then some task waited for memory\n",
                        g->stalled / 100);
        if (g->resident_before != SIZE_UNKNOWN && g->resident_after != SIZE_UNKNOWN)
                fprintf(f, "   resident went from %s to %s\n", format_size(a, g->resident_before),
                        format_size(b, g->resident_after));
        if (r->error)
                fprintf(f, "   the first failure was: %s\n", strerror(r->error < 0 ? -r->error : r->error));
        leftovers(f, r);
}

/* Action=move: where its processes are now, and what holds them there. */
static void moving(FILE *f, const struct wire_group *g)
{
        char high[SIZE_TEXT_MAX], charged[SIZE_TEXT_MAX];

        if (g->move_target[0] && g->move_own)
                fprintf(f, "moved    nobody: %s is the group's alone", g->move_target);
        else if (g->move_target[0])
                fprintf(f, "moved    into %s: %" PRIu32 " of %" PRIu32 " processes", g->move_target, g->moved,
                        g->sample.processes);
        if (g->move_target[0])
                fprintf(f, "; memory.high %s, %s charged there\n",
                        g->memory_high == SIZE_UNKNOWN ? "not set" : format_size(high, g->memory_high),
                        format_size(charged, g->move_current));
        if (g->move_note[0])
                fprintf(f, "%s%s\n", g->move_target[0] ? "         " : "moved    no: ", g->move_note);
}

static void enforcement(FILE *f, const struct wire_group *g, bool dry_run, usec_t now)
{
        char t[SIZE_TEXT_MAX];

        fprintf(f, "\nstate    %s", group_state_to_string((enum group_state)g->state));
        if (g->state_since)
                fprintf(f, " for %s", ago(t, now, g->state_since));
        fprintf(f, "%s%s\n", g->reason[0] ? ": " : "", g->reason);
        caps(f, g, now);
        fprintf(f, "action   %s%s%s\n", g->action, dry_run ? ", but capd is in a dry run and does not act" : "",
                g->paused ? ", paused: 'capctl resume' goes on" : "");
        moving(f, g);
        if (g->strategy[0])
                fprintf(f, "means    %s%s: %s\n", g->strategy,
                        g->state == STATE_OK ? ", when it last was over its cap" : "", g->strategy_reason);
        if (g->working_set > 0 && g->working_set != SIZE_UNKNOWN)
                fprintf(f, "working set about %s, by what comes back: a cap below it costs speed\n",
                        format_size(t, g->working_set));
        if (g->kills > 0)
                fprintf(f, "killed   %" PRIu32 " of its processes, by LastResort=kill\n", g->kills);
        if (g->retry_at > now)
                fprintf(f, "back-off not tried again for %s; 'capctl enforce' tries at once\n",
                        format_time(t, (g->retry_at - now + USEC_PER_SEC - 1) / USEC_PER_SEC * USEC_PER_SEC));
        last_act(f, g, now);
}

void explain_text(FILE *f, const struct wire_detail *d, bool dry_run, usec_t now)
{
        const struct wire_group *g = &d->group;

        heading(f, g, now);
        if (!is_empty(&g->sample)) {
                sums(f, &g->sample);
                sharing(f, g, now);
                explain_cgroups(f, d);
        }
        enforcement(f, g, dry_run, now);
}
