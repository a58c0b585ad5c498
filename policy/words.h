/* SPDX-License-Identifier: MIT */
/*
 * words.h: the quoting inside values.
 *
 * A double quote begins and ends quoted text, anywhere in a word. Inside, white space and # are ordinary and \" and \\
 * stand for " and \; every other backslash, and each one outside of quotes, stays (patterns use it). The reader has
 * refused values with an unclosed quote, so here the end of the text closes one.
 */
#ifndef CAPD_POLICY_WORDS_H
#define CAPD_POLICY_WORDS_H

#include <stdbool.h>
#include <stdio.h>

/*
 * Takes the next word off *s, separated by blanks. `*ret_exclude` tells whether it began with an unquoted `!`, which is
 * removed. 1 and the word, to be freed; 0 at the end; -ENOMEM.
 */
int word_next(const char **s, char **ret, bool *ret_exclude);

/* The whole text as one value. 0 and the text without its quotes, to be freed; -ENOMEM. */
int word_unquote(const char *s, char **ret);

/* Writes the word so that word_next() reads it again; with `spaces`, so that word_unquote() does. */
void word_print(const char *word, bool spaces, FILE *f);

#endif
