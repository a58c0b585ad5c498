/* SPDX-License-Identifier: MIT */
/* suggest-text.c: from what runs on a host to sections of a configuration. Pure. */
#include <inttypes.h>
#include <string.h>

#include "capd/base/size.h"
#include "capd/base/text.h"
#include "capd/policy/match.h"
#include "suggest.h"

/* People, as useradd(8) numbers them: UID_MIN and UID_MAX of login.defs(5). */
#define UID_PEOPLE_MIN 1000U
#define UID_PEOPLE_MAX 60000U

/* -- sections -- */

/* A pattern that matches the text and can be written without quotes: what is not plain may be any character. */
static void to_pattern(char *buf, size_t size, const char *text)
{
        size_t n = 0;

        for (; *text && n + 1 < size; text++) {
                bool plain = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ||
                             (*text >= '0' && *text <= '9') || strchr("_./:@+-", *text);

                /* a glob's ? is one character, not one byte of it */
                if (((unsigned char)*text & 0xc0) != 0x80)
                        buf[n++] = plain ? *text : '?';
        }
        buf[n] = '\0';
}

static bool taken(const struct proposals *p, const char *name)
{
        for (size_t i = 0; i < p->n; i++)
                if (strcmp(p->items[i].name, name) == 0)
                        return true;
        return false;
}

/* A name for a section: the text as far as a name may have it, with a number if there is one of that name. */
static void to_name(const struct proposals *p, char *buf, size_t size, const char *text, size_t len)
{
        char base[LIMIT_SECTION_NAME_BYTES - 8];
        size_t n = 0;

        for (size_t i = 0; i < len && n + 1 < sizeof(base); i++) {
                bool plain = (text[i] >= 'a' && text[i] <= 'z') || (text[i] >= 'A' && text[i] <= 'Z') ||
                             (text[i] >= '0' && text[i] <= '9') || strchr("_.:@-", text[i]);

                if (n == 0 && (text[i] == '-' || text[i] == '.')) /* a name may not begin with them */
                        plain = false;
                base[n++] = plain ? text[i] : '_';
        }
        base[n] = '\0';
        snprintf(buf, size, "%s", n > 0 ? base : "_");
        for (unsigned i = 2; taken(p, buf) && i < SUGGEST_MAX + 2; i++)
                snprintf(buf, size, "%s-%u", base, i);
}

static bool add(struct proposals *p, enum suggest_kind kind, const char *name, size_t name_len, const char *selectors)
{
        struct proposal *new;

        for (size_t i = 0; i < p->n; i++)
                if (strcmp(p->items[i].selectors, selectors) == 0)
                        return false;
        if (p->n == SUGGEST_MAX) {
                p->full = true;
                return false;
        }
        new = &p->items[p->n];
        *new = (struct proposal){.kind = kind};
        text_copy(new->selectors, sizeof(new->selectors), selectors);
        to_name(p, new->name, sizeof(new->name), name, name_len);
        p->n++;
        return true;
}

static bool is_people(uid_t uid)
{
        return uid >= UID_PEOPLE_MIN && uid <= UID_PEOPLE_MAX;
}

/* A unit of the system, not one of a user's session. */
static bool system_unit(const struct process_facts *f, char *buf, size_t size)
{
        const char *dot;

        if (!f->cgroup || strncmp(f->cgroup, "/user.slice", 11) == 0 || !match_cgroup_unit(f->cgroup, buf, size))
                return false;
        dot = strrchr(buf, '.');
        return dot && dot > buf && strcmp(buf, "init.scope") != 0 &&
               (strcmp(dot, ".service") == 0 || strcmp(dot, ".scope") == 0);
}

static bool add_program(struct proposals *p, const struct process_facts *f)
{
        char pattern[384], selectors[512];
        const char *text = f->exe ? f->exe : f->comm, *base;

        if (!text || !text[0])
                return false;
        base = strrchr(text, '/');
        base = base && base[1] ? base + 1 : text;
        to_pattern(pattern, sizeof(pattern), text);
        snprintf(selectors, sizeof(selectors), "%s=%s\nUid=%u\n", f->exe ? "Exe" : "Comm", pattern, f->uid);
        return add(p, SUGGEST_PROGRAM, base, strlen(base), selectors);
}

bool suggest_classify(struct proposals *p, const struct process_facts *f)
{
        char text[LIMIT_CGROUP_BYTES], pattern[384], selectors[512];
        bool new = false;

        if (is_people(f->uid)) {
                snprintf(selectors, sizeof(selectors), "ForEach=user\nUid=%u-%u\n", UID_PEOPLE_MIN, UID_PEOPLE_MAX);
                new = add(p, SUGGEST_USERS, "login", 5, selectors);
        }
        if (f->cgroup && match_cgroup_container(f->cgroup, text, sizeof(text)))
                return add(p, SUGGEST_CONTAINERS, "containers", 10, "ForEach=container\nContainer=*\n") || new;
        if (system_unit(f, text, sizeof(text))) {
                to_pattern(pattern, sizeof(pattern), text);
                snprintf(selectors, sizeof(selectors), "Unit=%s\n", pattern);
                return add(p, SUGGEST_UNIT, text, (size_t)(strrchr(text, '.') - text), selectors) || new;
        }
        if (is_people(f->uid) || f->pid == 1)
                return new;
        return add_program(p, f) || new;
}

void suggest_sections(const struct proposals *p, FILE *f)
{
        for (size_t i = 0; i < p->n; i++)
                fprintf(f, "[Group %s]\n%sAction=observe\n", p->items[i].name, p->items[i].selectors);
}

/* -- the proposal -- */

uint64_t suggest_threshold(uint64_t total)
{
        return MAX(32 * MIB, total / 256);
}

uint64_t suggest_cap(uint64_t peak)
{
        uint64_t cap = peak + peak / 4;
        uint64_t step = cap < 256 * MIB ? 16 * MIB : cap < GIB ? 64 * MIB : cap < 8 * GIB ? 256 * MIB : GIB;

        return (cap + step - 1) / step * step;
}

static void print_cap(FILE *f, uint64_t cap)
{
        if (cap % GIB == 0)
                fprintf(f, "Cap=%lluG\n", cap / GIB);
        else
                fprintf(f, "Cap=%lluM\n", cap / MIB);
}

static void print_reason(const struct proposal *x, FILE *f)
{
        static const char *const subjects[] = {[SUGGEST_CONTAINERS] = "container",
                                               [SUGGEST_USERS] = "user",
                                               [SUGGEST_UNIT] = "A unit of the system",
                                               [SUGGEST_PROGRAM] = "A program without a unit of its own"};
        char peak[SIZE_TEXT_MAX], rss[SIZE_TEXT_MAX];

        if (x->kind == SUGGEST_CONTAINERS || x->kind == SUGGEST_USERS)
                fprintf(f, "# A group for each %s, %zu at one time. The largest was %s:\n", subjects[x->kind],
                        x->groups, x->largest);
        else
                fprintf(f, "# %s:\n", subjects[x->kind]);
        fprintf(f, "# %" PRIu32 " process%s%s, at most %s%s", x->processes, x->processes == 1 ? "" : "es",
                x->kind == SUGGEST_PROGRAM && x->processes > 2 ? " of one program" : "", format_size(peak, x->peak),
                x->bound ? " by adding up their RSS, as their pages could not be counted.\n" : ", each page once");
        if (!x->bound)
                fprintf(f, "; adding up RES in top gave %s.\n", format_size(rss, x->rss));
}

static void print_head(FILE *f, usec_t duration, unsigned looks, uint64_t total)
{
        char t[SIZE_TEXT_MAX], size[SIZE_TEXT_MAX];

        fprintf(f, "# Proposed by capctl suggest, which looked at this host for %s, %u time%s.\n",
                format_time(t, MAX(duration, USEC_PER_SEC) / USEC_PER_SEC * USEC_PER_SEC), looks,
                looks == 1 ? "" : "s");
        fprintf(f,
                "#\n"
                "# A cap is the most that the group held when it was looked at, and a quarter more, rounded up. The\n"
                "# host has %s. Peaks between two looks were not seen, nor what is done at another hour of the day.\n",
                format_size(size, total));
        fputs("# So nothing is enforced yet (Action=observe): put this into /etc/capd.conf, run 'capctl check' and\n"
              "# 'capctl reload', and see for some days which groups become 'observed'. Raise the caps of those that\n"
              "# need what they hold, then remove the lines Action=observe of those that should be held.\n",
              f);
}

void suggest_print(const struct proposals *p, FILE *f, usec_t duration, unsigned looks, uint64_t total)
{
        uint64_t threshold = suggest_threshold(total);
        char size[SIZE_TEXT_MAX];
        size_t small = 0;

        print_head(f, duration, looks, total);
        for (size_t i = 0; i < p->n; i++) {
                const struct proposal *x = &p->items[i];

                if (x->peak < threshold) {
                        small++;
                        continue;
                }
                fputc('\n', f);
                print_reason(x, f);
                fprintf(f, "[Group %s]\n%s", x->name, x->selectors);
                print_cap(f, suggest_cap(x->peak));
                fputs("Action=observe\n", f);
        }
        if (small > 0)
                fprintf(f, "\n# %zu more never held %s and are left out.\n", small, format_size(size, threshold));
        if (p->full)
                fprintf(f, "\n# There are more than %u units and programs; the rest was not looked at.\n", SUGGEST_MAX);
}
