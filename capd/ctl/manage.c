/* SPDX-License-Identifier: MIT */
/* manage.c: the verbs that ask the engine for something and say what came of it. */
#include <inttypes.h>
#include <string.h>

#include "capd/base/size.h"
#include "capd/base/text.h"
#include "ctl.h"

static int finish(const char *text)
{
        if (text[0])
                puts(text);
        return EXIT_DONE;
}

/* A method that takes a group ("" for all). */
static int group_method(const struct arguments *a, const char *method)
{
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_free_ char *text = NULL;
        int r;

        r = client_open(a, &bus);
        if (r == 0)
                r = client_command(bus, &text, method, "s", a->n_words > 0 ? a->words[0] : "");
        return r != 0 ? r : finish(text);
}

int verb_pause(const struct arguments *a)
{
        return group_method(a, "Pause");
}

int verb_resume(const struct arguments *a)
{
        return group_method(a, "Resume");
}

int verb_enforce(const struct arguments *a)
{
        return group_method(a, "Enforce");
}

int verb_reload(const struct arguments *a)
{
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_free_ char *text = NULL;
        int r;

        r = client_open(a, &bus);
        if (r == 0)
                r = client_command(bus, &text, "Reload", "");
        return r != 0 ? r : finish(text);
}

/* "default" is 0; so is nothing else. */
static int read_cap(const char *word, uint64_t *ret)
{
        char text[64];
        uint64_t bytes;
        int r;

        if (strcmp(word, "default") == 0) {
                *ret = 0;
                return 0;
        }
        r = parse_size(word, &bytes);
        if (r == 0 && bytes >= LIMIT_CAP_MIN_BYTES) {
                *ret = bytes;
                return 0;
        }
        text_escape(text, sizeof(text), word, strlen(word));
        if (r == 0)
                (void)failed("a cap of %s is too small: at least 1M", text);
        else
                (void)failed("'%s' is no size: write 512M, 1.5G, or default for the configured cap", text);
        return EXIT_USAGE;
}

int verb_cap(const struct arguments *a)
{
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_free_ char *text = NULL;
        uint64_t bytes, duration = 0;
        int r;

        r = read_cap(a->words[1], &bytes);
        if (r != 0)
                return r;
        if (a->duration && (parse_time(a->duration, &duration) < 0 || duration == 0)) {
                (void)failed("--for takes a time such as 30min or 2h");
                return EXIT_USAGE;
        }
        r = client_open(a, &bus);
        if (r == 0)
                r = client_command(bus, &text, "SetCap", "stt", a->words[0], bytes, duration);
        return r != 0 ? r : finish(text);
}
