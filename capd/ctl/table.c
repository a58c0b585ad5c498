/* SPDX-License-Identifier: MIT */
/*
 * table.c: rows through libsmartcols, as lsblk and lsns print them.
 *
 * Text comes escaped by text_escape(). libsmartcols would take its backslash for the beginning of an escape of its own and
 * escape it once more in a table, so the backslash is declared harmless there. In JSON it writes what it gets, control
 * characters escaped; invalid UTF-8 it would let pass, which text_escape() has taken care of.
 */
#include <libsmartcols.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"

/* A command line may be as long as it likes: it is cut at the edge of a terminal, never of a pipe. */
static int column_flags(enum column_kind kind)
{
        switch (kind) {
        case COLUMN_COMMAND:
                return SCOLS_FL_TRUNC;
        case COLUMN_TEXT:
        case COLUMN_STATE:
        case COLUMN_QUALITY:
        case COLUMN_USER:
                return 0;
        default:
                return SCOLS_FL_RIGHT;
        }
}

static int json_type(enum column_kind kind)
{
        switch (kind) {
        case COLUMN_COMMAND:
        case COLUMN_TEXT:
        case COLUMN_STATE:
        case COLUMN_QUALITY:
        case COLUMN_USER:
                return SCOLS_JSON_STRING;
        case COLUMN_BOOL:
                return SCOLS_JSON_BOOLEAN;
        default:
                return SCOLS_JSON_NUMBER;
        }
}

static int add_columns(struct libscols_table *table, const struct selection *s, bool json)
{
        for (size_t i = 0; i < s->n; i++) {
                const struct column *c = s->items[i];
                struct libscols_column *column =
                                scols_table_new_column(table, json ? c->key : c->header, 0, column_flags(c->kind));

                if (!column)
                        return -1;
                scols_column_set_json_type(column, json_type(c->kind));
                scols_column_set_safechars(column, "\\");
        }
        return 0;
}

static int add_row(struct libscols_table *table, const struct selection *s, const void *row, enum cell_style style,
                   usec_t now)
{
        struct libscols_line *line = scols_table_new_line(table, NULL);

        if (!line)
                return -1;
        for (size_t i = 0; i < s->n; i++) {
                const struct column *c = s->items[i];
                char text[CELL_MAX];

                cell_text(text, c, row, style, now);
                if (scols_line_set_data(line, i, text) < 0)
                        return -1;
                if (c->kind == COLUMN_STATE) {
                        const char *colour = state_colour((enum group_state) *
                                                          (const uint32_t *)((const char *)row + c->offset));

                        if (colour)
                                scols_cell_set_color(scols_line_get_cell(line, i), colour);
                }
        }
        return 0;
}

static bool want_colour(void)
{
        const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

        return isatty(STDOUT_FILENO) && !(no && no[0]) && term && strcmp(term, "dumb") != 0;
}

static struct libscols_table *new_table(const char *name, const struct arguments *a)
{
        struct libscols_table *table = scols_new_table();

        if (!table)
                return NULL;
        scols_table_set_name(table, name);
        scols_table_enable_json(table, a->json);
        scols_table_enable_raw(table, a->raw);
        scols_table_enable_noheadings(table, a->no_headings);
        scols_table_enable_colors(table, !a->json && !a->raw && want_colour());
        return table;
}

int table_print(const char *name, const struct selection *s, const struct arguments *a, const void *rows, size_t n,
                size_t size)
{
        enum cell_style style = a->json ? CELL_JSON : !a->bytes ? CELL_TABLE : a->raw ? CELL_RAW : CELL_BYTES;
        struct libscols_table *table = new_table(name, a);
        usec_t now = now_monotonic();
        int r;

        if (!table)
                return out_of_memory();
        r = add_columns(table, s, a->json);
        for (size_t i = 0; r == 0 && i < n; i++)
                r = add_row(table, s, (const char *)rows + i * size, style, now);
        if (r < 0)
                r = out_of_memory();
        else if (a->json && n == 0) /* libsmartcols prints nothing at all for an empty table */
                r = printf("{\n   \"%s\": []\n}\n", name) < 0 ? EXIT_FAILED : EXIT_DONE;
        else
                r = scols_print_table(table) < 0 ? failed("cannot write the table") : EXIT_DONE;
        scols_unref_table(table);
        return r;
}
