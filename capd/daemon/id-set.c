/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "id-set.h"

void id_set_done(struct id_set *s)
{
        free(s->slots);
        *s = (struct id_set){};
}

static uint64_t *slot_of(const struct id_set *s, uint64_t id)
{
        size_t i = (size_t)(id * UINT64_C(0x9E3779B97F4A7C15) >> 20) & (s->n_slots - 1);

        while (s->slots[i] != 0 && s->slots[i] != id)
                i = (i + 1) & (s->n_slots - 1);
        return &s->slots[i];
}

static int grow(struct id_set *s)
{
        struct id_set bigger = {.n = s->n, .n_slots = s->n_slots ? s->n_slots * 2 : 64};

        bigger.slots = calloc(bigger.n_slots, sizeof(*bigger.slots));
        if (!bigger.slots)
                return -ENOMEM;
        for (size_t i = 0; i < s->n_slots; i++)
                if (s->slots[i] != 0)
                        *slot_of(&bigger, s->slots[i]) = s->slots[i];
        free(s->slots);
        *s = bigger;
        return 0;
}

int id_set_add(struct id_set *s, uint64_t id)
{
        uint64_t *slot;

        if (id == 0)
                return 1;
        if ((s->n + 1) * 2 > s->n_slots) {
                int r = grow(s);

                if (r < 0)
                        return r;
        }
        slot = slot_of(s, id);
        if (*slot == id)
                return 0;
        *slot = id;
        s->n++;
        return 1;
}
