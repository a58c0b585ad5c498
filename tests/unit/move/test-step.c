/* SPDX-License-Identifier: MIT */
/* The limit on its way: never below the use, and never in the way of all progress. */
#include "fake.h"

#include <string.h>

struct look {
        const char *what;
        usec_t after; /* since the last look */
        uint64_t target, current, high, cache, anon, swap_free;
        uint64_t events, stalled; /* since the last look */
        bool fell_short;
        /* expected */
        enum move_state state;
        uint64_t new_high, reclaim;
        const char *reason; /* a part of it */
};

#define NO MOVE_NO_LIMIT
#define S  USEC_PER_SEC

static void run(const struct look *looks, size_t n)
{
        struct move_step_memory memory = {};
        struct move_figures figures = {.events_high = 1, .stalled = 1};
        usec_t now = 1000 * S;

        for (size_t i = 0; i < n; i++) {
                const struct look *l = &looks[i];
                struct move_step step;
                struct move_step_facts facts = {.now = now += l->after,
                                                .target = l->target,
                                                .swap_free = l->swap_free,
                                                .figures = &figures,
                                                .fell_short = l->fell_short};

                figures.current = l->current;
                figures.high = l->high;
                figures.cache = l->cache;
                figures.anon = l->anon;
                if (l->stalled == SIZE_UNKNOWN)
                        figures.stalled = SIZE_UNKNOWN;
                else
                        figures.stalled += l->stalled;
                figures.events_high += l->events;
                move_step(&facts, &memory, &step);
                if (step.state != l->state || step.high != l->new_high || step.reclaim != l->reclaim ||
                    (l->reason && !strstr(step.reason, l->reason)))
                        fail_msg("%s: state %d, high %lu, reclaim %lu, '%s'", l->what, (int)step.state,
                                 (unsigned long)step.high, (unsigned long)step.reclaim, step.reason);
                /* whatever it does, it sets no limit below the use unless one was there before */
                if (step.high < l->current)
                        assert_true(step.high == l->high);
        }
}

static void goes_down_behind_the_use(void **state)
{
        static const struct look looks[] = {
                        {"first", 0, GIB, 4 * GIB, NO, GIB, 3 * GIB, GIB, 0, 0, false, MOVE_LOWERING,
                         4 * GIB + 64 * MIB, 64 * MIB, "on its way from 4G to 1G"},
                        {"a step", S / 10, GIB, 3 * GIB, 4 * GIB, GIB, 2 * GIB, GIB, 0, 0, false, MOVE_LOWERING,
                         3 * GIB + 48 * MIB, 64 * MIB, NULL},
                        {"it has grown, below the limit", S / 10, GIB, 3 * GIB + 40 * MIB, 3 * GIB + 48 * MIB, GIB, GIB,
                         GIB, 0, 0, false, MOVE_LOWERING, 3 * GIB + 48 * MIB, 64 * MIB, NULL},
                        {"not further than the cap", S / 10, GIB, GIB + 8 * MIB, GIB + 64 * MIB, GIB, 0, 0, 0, 0, false,
                         MOVE_LOWERING, GIB + 8 * MIB + (GIB + 8 * MIB) / 64, 8 * MIB, NULL},
                        {"there", S / 10, GIB, GIB, GIB + 9 * MIB, GIB, 0, 0, 0, 0, false, MOVE_HOLDS, GIB, 0, NULL},
                        {"stays there", 5 * S, GIB, GIB / 2, GIB, 0, GIB / 2, 0, 0, 0, false, MOVE_HOLDS, GIB, 0, NULL},
                        {"the cap was raised", 5 * S, 2 * GIB, GIB, GIB, 0, GIB, 0, 0, 0, false, MOVE_HOLDS, 2 * GIB, 0,
                         NULL},
                        {"it does not bite now", 5 * S, NO, GIB, 2 * GIB, 0, GIB, 0, 0, 0, false, MOVE_OFF, NO, 0,
                         NULL},
        };

        run(looks, ARRAY_SIZE(looks));
}

static void rests_when_the_kernel_falls_short(void **state)
{
        static const struct look looks[] = {
                        {"first", 0, GIB, 2 * GIB, NO, GIB, GIB, GIB, 0, 0, false, MOVE_LOWERING, 2 * GIB + 32 * MIB,
                         64 * MIB, NULL},
                        {"short", S, GIB, 2 * GIB, 2 * GIB + 32 * MIB, GIB, GIB, GIB, 0, 0, true, MOVE_SHORT,
                         2 * GIB + 32 * MIB, 0, "could not reclaim more for now"},
                        {"rests", 5 * S, GIB, 2 * GIB, 2 * GIB + 32 * MIB, GIB, GIB, GIB, 0, 0, false, MOVE_SHORT,
                         2 * GIB + 32 * MIB, 0, NULL},
                        {"again", 6 * S, GIB, 2 * GIB, 2 * GIB + 32 * MIB, GIB, GIB, GIB, 0, 0, false, MOVE_LOWERING,
                         2 * GIB + 32 * MIB, 64 * MIB, NULL},
        };

        run(looks, ARRAY_SIZE(looks));
}

static void nothing_to_take_sets_no_limit(void **state)
{
        static const struct look looks[] = {
                        {"no swap", 0, GIB, 2 * GIB, NO, MIB, 2 * GIB, 0, 0, 0, false, MOVE_SHORT, NO, 0, "add swap"},
                        {"a limit of before goes", S, GIB, 2 * GIB, 2 * GIB, MIB, 2 * GIB, 0, 0, 0, false, MOVE_SHORT,
                         NO, 0, "add swap"},
                        {"swap came", S, GIB, 2 * GIB, NO, MIB, 2 * GIB, 512 * MIB, 0, 0, false, MOVE_LOWERING,
                         2 * GIB + 32 * MIB, 64 * MIB, NULL},
                        {"locked memory", S, GIB, 2 * GIB, NO, MIB, MIB, 512 * MIB, 0, 0, false, MOVE_SHORT, NO, 0,
                         "nothing of it can be reclaimed"},
        };

        run(looks, ARRAY_SIZE(looks));
}

static void standing_still_lifts_it(void **state)
{
        static const struct look looks[] = {
                        {"holds", 0, GIB, GIB / 2, NO, 0, GIB / 2, 0, 0, 0, false, MOVE_HOLDS, GIB, 0, NULL},
                        {"at the limit, moving on", S, GIB, GIB, GIB, 0, GIB, 0, 5, S / 10, false, MOVE_HOLDS, GIB, 0,
                         NULL},
                        {"waits for other reasons", S, GIB, GIB, GIB, 0, GIB, 0, 0, S, false, MOVE_HOLDS, GIB, 0, NULL},
                        {"stands still", S, GIB, GIB + 2 * MIB, GIB, 0, GIB, 0, 5, S / 2, false, MOVE_LIFTED, NO, 0,
                         "stood still at memory.high=1G: nothing can be reclaimed, as no swap is free (add swap); "
                         "lifted for 30s"},
                        {"stays lifted", 29 * S, GIB, GIB, NO, 0, GIB, 0, 0, 0, false, MOVE_LIFTED, NO, 0, NULL},
                        {"another try", 2 * S, GIB, GIB, NO, 0, GIB, 0, 0, 0, false, MOVE_HOLDS, GIB, 0, NULL},
                        {"again", S, GIB, GIB, GIB, 0, GIB, 0, 5, S, false, MOVE_LIFTED, NO, 0, "lifted for 1min"},
                        {"grown meanwhile", 61 * S, GIB, 2 * GIB, NO, 0, 2 * GIB, 0, 0, 0, false, MOVE_SHORT, NO, 0,
                         "add swap"},
        };

        run(looks, ARRAY_SIZE(looks));
}

static void steps_too_fast_do_not_hide_it(void **state)
{
        static const struct look looks[] = {
                        {"holds", 0, GIB, GIB, GIB, 0, GIB, 0, 0, 0, false, MOVE_HOLDS, GIB, 0, NULL},
                        {"too soon to tell", S / 10, GIB, GIB, GIB, 0, GIB, 0, 1, S / 10, false, MOVE_HOLDS, GIB, 0,
                         NULL},
                        {"still", S / 10, GIB, GIB, GIB, 0, GIB, 0, 1, S / 10, false, MOVE_HOLDS, GIB, 0, NULL},
                        {"long enough together", S, GIB, GIB, GIB, 0, GIB, 0, 1, S / 4, false, MOVE_LIFTED, NO, 0,
                         NULL},
        };

        run(looks, ARRAY_SIZE(looks));
}

static void without_psi_what_cannot_go_is_enough(void **state)
{
        static const struct look looks[] = {
                        {"holds", 0, GIB, GIB, GIB, 0, GIB, 0, 0, SIZE_UNKNOWN, false, MOVE_HOLDS, GIB, 0, NULL},
                        {"at the limit", S, GIB, GIB, GIB, 0, GIB, 0, 5, SIZE_UNKNOWN, false, MOVE_LIFTED, NO, 0, NULL},
        };

        run(looks, ARRAY_SIZE(looks));
}

static void a_cap_below_the_working_set_is_seen(void **state)
{
        static const struct look looks[] = {
                        {"holds", 0, GIB, GIB, GIB, 0, GIB, GIB, 0, 0, false, MOVE_HOLDS, GIB, 0, NULL},
                        {"1", S, GIB, GIB, GIB, 0, GIB, GIB, 9, S / 10 * 6, false, MOVE_HOLDS, GIB, 0, NULL},
                        {"2", S, GIB, GIB, GIB, 0, GIB, GIB, 9, S / 10 * 6, false, MOVE_HOLDS, GIB, 0, NULL},
                        {"a pause forgives", S, GIB, GIB, GIB, 0, GIB, GIB, 9, S / 10, false, MOVE_HOLDS, GIB, 0, NULL},
                        {"1", S, GIB, GIB, GIB, 0, GIB, GIB, 9, S / 10 * 6, false, MOVE_HOLDS, GIB, 0, NULL},
                        {"2", S, GIB, GIB, GIB, 0, GIB, GIB, 9, S / 10 * 6, false, MOVE_HOLDS, GIB, 0, NULL},
                        {"3", S, GIB, GIB, GIB, 0, GIB, GIB, 9, S / 10 * 6, false, MOVE_LIFTED, NO, 0,
                         "below the working set"},
        };

        run(looks, ARRAY_SIZE(looks));
}

static void nothing_is_set_blindly(void **state)
{
        static const struct look looks[] = {
                        {"unknown use", 0, GIB, SIZE_UNKNOWN, 3 * GIB, 0, 0, 0, 0, 0, false, MOVE_SHORT, 3 * GIB, 0,
                         "cannot be read"},
                        {"unknown stat", S, GIB, 2 * GIB, NO, SIZE_UNKNOWN, SIZE_UNKNOWN, GIB, 0, 0, false, MOVE_SHORT,
                         NO, 0, NULL},
        };

        run(looks, ARRAY_SIZE(looks));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(goes_down_behind_the_use),
                        cmocka_unit_test(rests_when_the_kernel_falls_short),
                        cmocka_unit_test(nothing_to_take_sets_no_limit),
                        cmocka_unit_test(standing_still_lifts_it),
                        cmocka_unit_test(steps_too_fast_do_not_hide_it),
                        cmocka_unit_test(without_psi_what_cannot_go_is_enough),
                        cmocka_unit_test(a_cap_below_the_working_set_is_seen),
                        cmocka_unit_test(nothing_is_set_blindly),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
