/* SPDX-License-Identifier: MIT */
/* ini-reader.h: a text as a sequence of sections and keys. Grammar: capd.conf(5). */
#ifndef CAPD_POLICY_INI_READER_H
#define CAPD_POLICY_INI_READER_H

#include "capd/policy/policy.h"

/* Called in the order of the text. Anything negative ends the reading and is returned by ini_read(). */
struct ini_events {
        /* `title`: the text between the brackets, trimmed; NULL for a header that was reported as unreadable */
        int (*section)(void *userdata, unsigned line, char *title);
        /* `key` is made of [A-Za-z0-9_.-]; `value` is trimmed, comments removed, its quotes balanced and still there;
         * both are NULL for a line that was reported as unreadable */
        int (*key)(void *userdata, unsigned line, const char *key, const char *value);
        void *userdata;
};

/* 0, also where problems were reported; -ENOMEM; what an event returned. */
int ini_read(const struct policy_text *text, const struct ini_events *events, struct policy_problems *problems);

#endif
