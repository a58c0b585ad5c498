/* SPDX-License-Identifier: MIT */
/*
 * suggest.h: the parts of capctl suggest.
 *
 * suggest.c looks at the host again and again; suggest-text.c makes groups of what runs there, and a configuration of what was seen
 * of them. The latter is pure.
 */
#ifndef CAPD_CTL_SUGGEST_H
#define CAPD_CTL_SUGGEST_H

#include "capd/process.h"
#include "ctl.h"

/* Sections proposed at most, before those that hold little are left out. */
#define SUGGEST_MAX 512U

enum suggest_kind { SUGGEST_CONTAINERS, SUGGEST_USERS, SUGGEST_UNIT, SUGGEST_PROGRAM };

/* A section of a configuration, and what was seen of its groups. */
struct proposal {
        enum suggest_kind kind;
        char name[LIMIT_SECTION_NAME_BYTES];
        char selectors[512]; /* lines of the section */
        uint64_t peak;       /* the most that one of its groups held at one time */
        uint64_t rss;        /* the sum of RSS then */
        uint32_t processes;  /* then */
        bool bound;          /* the peak is that sum: the pages could not be counted */
        size_t groups;       /* at one time, at most */
        char largest[LIMIT_GROUP_NAME_BYTES];
};

struct proposals {
        struct proposal items[SUGGEST_MAX];
        size_t n;
        bool full;
};

/* Adds the sections that a process should belong to. Returns whether there are new ones. */
bool suggest_classify(struct proposals *p, const struct process_facts *f);
/* All sections without caps, to be read by policy_load(). */
void suggest_sections(const struct proposals *p, FILE *f);
/* The cap for a group that held so much: a quarter more, rounded up. */
uint64_t suggest_cap(uint64_t peak);
/* A group that never held more is not worth one. */
uint64_t suggest_threshold(uint64_t total);
/* The proposal, with its reasons. `duration` and `looks`: how long and how often was looked; `total`: memory of the host. */
void suggest_print(const struct proposals *p, FILE *f, usec_t duration, unsigned looks, uint64_t total);

#endif
