/* SPDX-License-Identifier: MIT */
/*
 * table.c: rows through libsmartcols, as lsblk and lsns print them.
 *
 * Text comes escaped by text_escape(). libsmartcols would take its backslash for the beginning of an escape of its own and
 * escape it once more in a table, so the backslash is declared harmless there. In raw output it knows no harmless
 * backslash and leaves an empty cell out of the line, so those lines are written here. In JSON it writes what it gets, control
 * characters escaped; invalid UTF-8 it would let pass, which text_escape() has taken care of.
 */
#include <libsmartcols.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "ctl.h"

/* A name or a command line is cut at the edge of a terminal, never of a pipe; a sentence is for being read, and never cut. */
static int column_flags(const struct column *c)
{
        switch (c->kind) {
        case COLUMN_COMMAND:
                return SCOLS_FL_TRUNC;
        case COLUMN_TEXT:
                return c->flags & COLUMN_SENTENCE ? 0 : SCOLS_FL_TRUNC;
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
                                scols_table_new_column(table, json ? c->key : c->header, 0, column_flags(c));

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

unsigned terminal_width(void)
{
        struct winsize w;

        return isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 ? w.ws_col : 0;
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
        scols_table_enable_noheadings(table, a->no_headings);
        scols_table_enable_colors(table, !a->json && want_colour());
        return table;
}

/* The table, or NULL for want of memory. */
static struct libscols_table *fill_table(const struct rows *rows, const struct arguments *a)
{
        enum cell_style style = a->json ? CELL_JSON : a->bytes ? CELL_BYTES : CELL_TABLE;
        struct libscols_table *table = new_table(rows->name, a);
        usec_t now = clock_usec(CLOCK_MONOTONIC);
        int r;

        if (!table)
                return NULL;
        r = add_columns(table, rows->columns, a->json);
        for (size_t i = 0; r == 0 && i < rows->n; i++)
                r = add_row(table, rows->columns, (const char *)rows->items + i * rows->size, style, now);
        if (r < 0) {
                scols_unref_table(table);
                return NULL;
        }
        return table;
}

/* One word: blanks and what is not ASCII join the escapes of text_escape(), so that reading them once gives what was there. */
static void print_raw_cell(const char *text)
{
        if (!text[0])
                putchar('-');
        for (; *text; text++)
                if ((unsigned char)*text > ' ' && (unsigned char)*text < 0x7f)
                        putchar(*text);
                else
                        printf("\\x%02x", (unsigned char)*text);
}

static int print_raw(const struct rows *rows, const struct arguments *a)
{
        enum cell_style style = a->bytes ? CELL_RAW : CELL_TABLE;
        const struct selection *s = rows->columns;
        usec_t now = clock_usec(CLOCK_MONOTONIC);

        for (size_t i = 0; !a->no_headings && i < s->n; i++)
                printf("%s%c", s->items[i]->header, i + 1 < s->n ? ' ' : '\n');
        for (size_t row = 0; row < rows->n; row++)
                for (size_t i = 0; i < s->n; i++) {
                        char text[CELL_MAX];

                        cell_text(text, s->items[i], (const char *)rows->items + row * rows->size, style, now);
                        print_raw_cell(text);
                        putchar(i + 1 < s->n ? ' ' : '\n');
                }
        return EXIT_DONE; /* main() looks at the stream */
}

/* One list as the inside of a JSON object. libsmartcols writes whole objects, and nothing at all for an empty table. */
static int print_list(const struct arguments *a, const struct rows *rows)
{
        struct libscols_table *table;
        _cleanup_free_ char *text = NULL;
        char *begin, *end;
        int r;

        if (rows->n == 0)
                return printf("   \"%s\": []", rows->name) < 0 ? failed("cannot write the table") : EXIT_DONE;
        table = fill_table(rows, a);
        if (!table)
                return out_of_memory();
        r = scols_print_table_to_string(table, &text);
        scols_unref_table(table);
        if (r < 0)
                return out_of_memory();
        begin = strchr(text, '\n');
        end = strrchr(text, '}');
        if (!begin || !end || end <= begin)
                return failed("libsmartcols wrote no JSON object");
        while (end > begin && end[-1] == '\n')
                end--;
        *end = '\0';
        return fputs(begin + 1, stdout) < 0 ? failed("cannot write the table") : EXIT_DONE;
}

int tables_print_json(const struct arguments *a, const struct rows *lists, size_t n)
{
        int r = EXIT_DONE;

        fputs("{\n", stdout);
        for (size_t i = 0; r == EXIT_DONE && i < n; i++) {
                r = print_list(a, &lists[i]);
                if (r == EXIT_DONE)
                        fputs(i + 1 < n ? ",\n" : "\n}\n", stdout);
        }
        return r;
}

int table_print(const char *name, const struct selection *s, const struct arguments *a, const void *rows, size_t n,
                size_t size)
{
        const struct rows list = {.name = name, .columns = s, .items = rows, .n = n, .size = size};
        struct libscols_table *table;
        int r;

        if (a->json)
                return tables_print_json(a, &list, 1);
        if (a->raw)
                return print_raw(&list, a);
        table = fill_table(&list, a);
        if (!table)
                return out_of_memory();
        r = scols_print_table(table) < 0 ? failed("cannot write the table") : EXIT_DONE;
        scols_unref_table(table);
        return r;
}

char *table_text(const struct selection *s, const void *rows, size_t n, size_t size)
{
        const struct rows list = {.name = "", .columns = s, .items = rows, .n = n, .size = size};
        const struct arguments plain = {0};
        struct libscols_table *table = fill_table(&list, &plain);
        char *text = NULL;

        if (!table)
                return NULL;
        scols_table_enable_colors(table, false);
        if (scols_print_table_to_string(table, &text) < 0)
                text = NULL;
        scols_unref_table(table);
        return text;
}
