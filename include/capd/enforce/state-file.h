/* SPDX-License-Identifier: MIT */
/*
 * state-file.h: what capd has set on the host and must take back, written down before it is set.
 *
 * A file in the runtime directory holds typed records. Whoever is about to change something puts a record of what there was before,
 * calls state_file_sync(), and only then makes the change; when the change has been taken back the record is removed. So after
 * a kill -9 the next start finds everything that may have to be undone, and perhaps something that was never done.
 *
 * A record is a type (lower case letters) and 1 to LIMIT_STATE_WORDS words that hold any byte but NUL; type and first word
 * identify it. The file is replaced whole by a rename, so that it is never seen half written. It carries the boot's
 * identifier: PIDs and inode numbers of another boot mean nothing, and what was set then is gone.
 */
#ifndef CAPD_ENFORCE_STATE_FILE_H
#define CAPD_ENFORCE_STATE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "capd/base/sys.h"
#include "capd/limits.h"

#define STATE_FILE         "state"
#define STATE_FILE_NEW     "state.new"
#define STATE_FILE_REFUSED "state.refused"

struct state_record {
        const char *type;
        size_t n; /* words */
        const char *const *words;
};

struct state_file;

/* Outcomes of state_file_open() that the caller must handle. */
enum {
        STATE_FILE_E_REFUSED =
                        1, /* there was one that cannot be trusted: put aside as state.refused, the set is empty */
};

/*
 * Reads the file in `dirfd` (which must outlive it) or begins an empty one; one of an earlier boot is dropped. 0;
 * STATE_FILE_E_REFUSED with the reason in `why`; or a negative errno.
 */
int state_file_open(const struct sys *sys, int dirfd, char *why, size_t why_size, struct state_file **ret);
/* Forgets it; what is on disk stays as it was at the last sync. */
struct state_file *state_file_free(struct state_file *f);
DEFINE_CLEANUP(struct state_file *, state_file_free)

/* Adds a record, or replaces the one with the same type and first word. 0; -EINVAL no record; -E2BIG too many; -ENOMEM. */
int state_file_put(struct state_file *f, const char *type, const char *const *words, size_t n);
/* Removes it, if it is there. The record's words must not be used any more. */
void state_file_remove(struct state_file *f, const char *type, const char *key);
const struct state_record *state_file_find(const struct state_file *f, const char *type, const char *key);
/* In the order in which they were put. NULL first; NULL at the end. The one given may have been replaced, but not removed. */
const struct state_record *state_file_next(const struct state_file *f, const struct state_record *r);

/*
 * Brings the file up to date; a set without records has no file. 0, or a negative errno: then what is on disk is what it
 * was, and nothing that is not recorded there must be done.
 */
int state_file_sync(struct state_file *f);

#endif
