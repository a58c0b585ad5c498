/* SPDX-License-Identifier: MIT */
/* The rings of points: what is kept, how it grows coarser, how much memory it takes, and the file that it outlives a restart in. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "capd/base/text.h"
#include "history.h"

#define S        ((int64_t)USEC_PER_SEC)
#define REALTIME (1700000000 * S)
#define PATIENCE (60 * USEC_PER_SEC)
#define MANY     400U

static struct wire_group groups[MANY];
static uint32_t by_name[MANY];

static void make(size_t n)
{
        for (size_t i = 0; i < n; i++) {
                groups[i] = (struct wire_group){
                                .state = STATE_OK,
                                .cap = 100 * MIB,
                                .low_watermark = 95 * MIB,
                                .sample = {.quality = QUALITY_EXACT, .resident = 10 * MIB, .rss_sum = 20 * MIB}};
                snprintf(groups[i].name, sizeof(groups[i].name), "g%03zu", i);
                by_name[i] = (uint32_t)i;
        }
}

static void add(struct history *h, size_t n, int64_t now)
{
        assert_int_equal(history_add(h, groups, by_name, n, now, PATIENCE), 0);
}

static uint64_t memory_of(const struct history *h)
{
        uint64_t bytes = 0;

        for (size_t i = 0; i < h->n; i++)
                bytes += sizeof(struct history_ring) + h->rings[i]->allocated * sizeof(struct history_point);
        return bytes;
}

static void check_order(const struct history_ring *r)
{
        for (size_t i = 0; i < r->n; i++) {
                assert_true(r->points[i].at <= r->points[i].until);
                assert_true(i == 0 || r->points[i - 1].until <= r->points[i].at);
        }
}

static void test_points(void **state)
{
        struct history h = {0};
        const struct history_ring *r;

        history_configure(&h, 3600 * USEC_PER_SEC, MIB);
        make(2);
        add(&h, 2, 100 * S);
        groups[0].sample.resident = 50 * MIB;
        groups[0].state = STATE_ENFORCING;
        groups[0].unmapped_total = 3 * MIB;
        groups[0].freed_total = 2 * MIB;
        groups[0].refaulted_total = 1 * MIB;
        add(&h, 2, 105 * S);
        r = history_find(&h, "g000");
        assert_non_null(r);
        assert_int_equal(r->n, 2);
        assert_int_equal(r->points[0].at, 100 * S);
        assert_int_equal(r->points[0].until, 105 * S);
        assert_int_equal(r->points[1].resident, 50 * MIB);
        assert_int_equal(r->points[1].state, STATE_ENFORCING);
        assert_int_equal(r->points[1].paged_out, 3 * MIB);
        assert_int_equal(r->points[1].freed, 2 * MIB);
        assert_int_equal(r->points[1].refaulted, 1 * MIB);
        /* what does not change is one point, however often it is looked at */
        for (int i = 0; i < 100; i++)
                add(&h, 2, (110 + i) * S);
        assert_int_equal(history_find(&h, "g001")->n, 1);
        assert_int_equal(history_find(&h, "g001")->points[0].until, 209 * S);
        assert_null(history_find(&h, "g002"));
        /* counters that began anew: what they show has happened since */
        groups[0].unmapped_total = 5;
        add(&h, 2, 215 * S);
        assert_int_equal(r->points[r->n - 1].paged_out, 5);
        history_done(&h);
}

static void test_first_sight_is_no_growth(void **state)
{
        struct history h = {0};

        history_configure(&h, 3600 * USEC_PER_SEC, MIB);
        make(1);
        groups[0].unmapped_total = GIB;
        add(&h, 1, 100 * S);
        assert_int_equal(history_find(&h, "g000")->points[0].paged_out, 0);
        history_done(&h);
}

static void test_gaps(void **state)
{
        struct history h = {0};
        const struct history_ring *r;

        history_configure(&h, 3600 * USEC_PER_SEC, MIB);
        make(1);
        add(&h, 1, 100 * S);
        add(&h, 1, 160 * S); /* within the patience */
        add(&h, 1, 300 * S);
        r = history_find(&h, "g000");
        assert_int_equal(r->n, 2);
        assert_int_equal(r->points[0].until, 160 * S);
        assert_int_equal(r->points[1].at, 300 * S);
        history_done(&h);
}

static void test_unknown(void **state)
{
        struct history h = {0};
        const struct history_point *p;

        history_configure(&h, 3600 * USEC_PER_SEC, MIB);
        make(1);
        groups[0].sample.resident = groups[0].cap = SIZE_UNKNOWN;
        groups[0].sample.quality = QUALITY_UNKNOWN;
        add(&h, 1, 100 * S);
        p = history_find(&h, "g000")->points;
        assert_int_equal(p->resident, SIZE_UNKNOWN);
        assert_int_equal(p->cap, SIZE_UNKNOWN);
        /* two looks within a second are one point, and what is known is told */
        groups[0].sample.resident = 7 * MIB;
        groups[0].sample.quality = QUALITY_EXACT;
        add(&h, 1, 100 * S + 1000);
        assert_int_equal(history_find(&h, "g000")->n, 1);
        assert_int_equal(p->resident, 7 * MIB);
        assert_int_equal(p->quality, QUALITY_EXACT);
        history_done(&h);
}

/* A day of looks in a ring that holds a fraction of them: the recent past is fine, the old coarse, no peak and no byte is lost. */
static void test_ageing(void **state)
{
        struct history h = {0};
        const struct history_ring *r;
        uint64_t out = 0, peak = 0;
        int64_t now = 0, recent = 0, old = 0;

        history_configure(&h, 24 * 3600 * USEC_PER_SEC, 64 * KIB);
        make(1);
        srand(1);
        for (int i = 0; i < 17000; i++) {
                now = (1000 + 5 * i) * S;
                groups[0].sample.resident = (uint64_t)(10 + rand() % 50) * MIB;
                if (i == 4000) {
                        groups[0].sample.resident = 900 * MIB;
                        groups[0].state = STATE_UNENFORCEABLE;
                } else
                        groups[0].state = STATE_OK;
                groups[0].unmapped_total += 4096;
                add(&h, 1, now);
                assert_true(memory_of(&h) <= 64 * KIB);
        }
        r = history_find(&h, "g000");
        check_order(r);
        assert_true(r->n > 500);
        for (size_t i = 0; i < r->n; i++) {
                const struct history_point *p = &r->points[i];

                assert_true(i == 0 || r->points[i - 1].until == p->at);
                out += p->paged_out;
                if (p->resident > peak) {
                        peak = p->resident;
                        assert_true(p->resident < 900 * MIB || p->state == STATE_UNENFORCEABLE);
                }
                if (p->until > now - 60 * S)
                        recent = MAX(recent, p->until - p->at);
                if (p->until < now - 12 * 3600 * S)
                        old = MAX(old, p->until - p->at);
        }
        assert_int_equal(peak, 900 * MIB);
        assert_int_equal(out, 16999 * 4096);
        assert_int_equal(r->points[0].at, 1000 * S);
        assert_true(recent <= 5 * S);
        assert_true(old > 30 * S && old < 3600 * S);
        /* and what is too old goes */
        add(&h, 1, now + 23 * 3600 * S);
        assert_true(r->points[0].until >= now - 3600 * S);
        history_done(&h);
}

static void test_memory_of_many(void **state)
{
        struct history h = {0};

        history_configure(&h, 24 * 3600 * USEC_PER_SEC, 256 * KIB);
        make(MANY);
        for (int i = 0; i < 50; i++) { /* one group takes all, then there are more and more */
                groups[0].sample.resident = (uint64_t)i;
                for (int j = 0; j < 20; j++) {
                        groups[0].sample.rss_sum = (uint64_t)j;
                        add(&h, 1, (i * 20 + j) * S);
                }
        }
        for (size_t n = 1; n <= MANY; n += 7) {
                for (size_t i = 0; i < n; i++)
                        groups[i].sample.resident++;
                add(&h, n, (2000 + (int64_t)n) * S);
                assert_true(memory_of(&h) <= 256 * KIB);
        }
        assert_true(h.crowded);
        assert_true(h.n > 50 && h.n < MANY);
        /* those that are gone make room */
        for (size_t i = 0; i < 40; i++)
                by_name[i] = (uint32_t)(MANY - 40 + i);
        add(&h, 40, 3000 * S);
        assert_false(h.crowded);
        assert_non_null(history_find(&h, "g399"));
        /* less memory, at once */
        history_configure(&h, 24 * 3600 * USEC_PER_SEC, 64 * KIB);
        add(&h, 40, 3005 * S);
        assert_true(memory_of(&h) <= 64 * KIB);
        history_configure(&h, 24 * 3600 * USEC_PER_SEC, 0);
        add(&h, 40, 3010 * S);
        assert_int_equal(h.n, 0);
        history_done(&h);
}

static void test_copy(void **state)
{
        struct history h = {0};
        struct history_point *points;
        uint64_t out = 0;
        size_t n;

        history_configure(&h, 24 * 3600 * USEC_PER_SEC, 8 * MIB);
        make(1);
        for (int i = 0; i < 1000; i++) {
                groups[0].sample.resident = (uint64_t)(i + 1);
                groups[0].unmapped_total++;
                add(&h, 1, 5 * i * S);
        }
        assert_int_equal(history_copy(h.rings[0], INT64_MIN, 0, &points, &n), 0);
        assert_int_equal(n, 1000);
        free(points);
        assert_int_equal(history_copy(h.rings[0], INT64_MIN, 50, &points, &n), 0);
        assert_true(n > 20 && n <= 51);
        for (size_t i = 0; i < n; i++) {
                out += points[i].paged_out;
                assert_true(i == 0 || points[i].at == points[i - 1].until);
        }
        assert_int_equal(out, 999);
        assert_int_equal(points[n - 1].resident, 1000);
        free(points);
        assert_int_equal(history_copy(h.rings[0], 4900 * S, 0, &points, &n), 0);
        assert_int_equal(n, 21);
        free(points);
        assert_int_equal(history_copy(h.rings[0], 99999 * S, 0, &points, &n), 0);
        assert_int_equal(n, 0);
        assert_null(points);
        history_done(&h);
}

static void fill_some(struct history *h)
{
        history_configure(h, 24 * 3600 * USEC_PER_SEC, MIB);
        make(5);
        for (int i = 0; i < 20; i++) {
                for (size_t g = 0; g < 5; g++)
                        groups[g].sample.resident += (size_t)i * g * 4096;
                add(h, i < 10 ? 5 : 3, 5 * i * S);
        }
}

/* Written in one boot and read in the next: the monotonic clock is another one, the time is the same. */
static void test_file(void **state)
{
        struct history h = {0}, back = {.time = 1, .bytes = MIB};
        const char *why;
        void *data;
        size_t size;

        fill_some(&h);
        assert_int_equal(history_write(&h, REALTIME, &data, &size), 0);
        assert_int_equal(history_read(&back, data, size, 10 * S, REALTIME + 1000 * S, &why), 0);
        assert_int_equal(back.n, 5);
        for (size_t i = 0; i < 5; i++) {
                const struct history_ring *a = h.rings[i], *b = back.rings[i];

                assert_string_equal(a->name, b->name);
                assert_int_equal(a->n, b->n);
                assert_int_equal(a->seen_at, b->seen_at + 1000 * S);
                for (size_t j = 0; j < a->n; j++) {
                        assert_int_equal(a->points[j].at, b->points[j].at + 1000 * S);
                        assert_int_equal(a->points[j].resident, b->points[j].resident);
                }
                check_order(b);
        }
        /* it goes on from there */
        history_configure(&back, 24 * 3600 * USEC_PER_SEC, MIB);
        groups[1].sample.resident = 1;
        add(&back, 3, 20 * S);
        check_order(history_find(&back, "g001"));
        assert_int_equal(history_find(&back, "g001")->n, history_find(&h, "g001")->n + 1);
        history_done(&back);
        free(data);
        history_done(&h);
}

static uint64_t checksum_of(const char *data, size_t size)
{
        uint64_t sum = 0xcbf29ce484222325ULL, word;

        for (size_t i = 0; i + 8 <= size; i += 8) {
                memcpy(&word, data + i, 8);
                sum = (sum ^ word) * 0x100000001b3ULL;
        }
        return sum;
}

/* With a checksum that is right, as who means harm would write it: refused, or in order. */
static void test_hostile_file(void **state)
{
        struct history h = {0}, back = {.time = 1, .bytes = MIB};
        unsigned refused = 0, taken = 0;
        const char *why;
        char *data;
        void *whole;
        size_t size;

        fill_some(&h);
        assert_int_equal(history_write(&h, REALTIME, &whole, &size), 0);
        data = malloc(size);
        srand(7);
        for (int i = 0; i < 20000; i++) {
                uint64_t sum;

                memcpy(data, whole, size);
                for (int flips = 1 + rand() % 3; flips > 0; flips--)
                        data[40 + (size_t)rand() % (size - 40)] ^= (char)(1 << rand() % 8);
                sum = checksum_of(data + 40, size - 40);
                memcpy(data + 32, &sum, sizeof(sum));
                if (history_read(&back, data, size, 200 * S, REALTIME, &why) < 0) {
                        refused++;
                        continue;
                }
                taken++;
                for (size_t r = 0; r < back.n; r++)
                        check_order(back.rings[r]);
                make(5);
                history_configure(&back, 24 * 3600 * USEC_PER_SEC, 64 * KIB);
                add(&back, 5, 205 * S);
                assert_true(memory_of(&back) <= 64 * KIB);
                history_done(&back);
        }
        assert_true(refused > 100 && taken > 100);
        free(data);
        free(whole);
        history_done(&h);
}

/* Nothing of the file is believed: no byte that was changed, no end that is missing, whatever the checksum says. */
static void test_spoilt_file(void **state)
{
        struct history h = {0}, back = {.time = 1, .bytes = MIB};
        const char *why;
        char *data;
        void *whole;
        size_t size;

        fill_some(&h);
        assert_int_equal(history_write(&h, REALTIME, &whole, &size), 0);
        for (size_t cut = 0; cut < size; cut += cut < 300 ? 1 : 97)
                assert_int_equal(history_read(&back, whole, cut, 0, REALTIME, &why), -EBADMSG);
        data = malloc(size + 8);
        memcpy(data, whole, size);
        for (size_t i = 0; i < size; i++) {
                int r;

                data[i] ^= 0x41;
                r = history_read(&back, data, size, 200 * S, REALTIME, &why);
                /* the only bytes that say nothing are those that fill up the header */
                assert_true(r == -EBADMSG || (i >= 20 && i < 24));
                data[i] ^= 0x41;
                history_done(&back);
        }
        memset(data + size, 0, 8);
        assert_int_equal(history_read(&back, data, size + 8, 200 * S, REALTIME, &why), -EBADMSG);
        /* the clock was set back by a day: what is in it has not happened yet */
        assert_int_equal(history_read(&back, whole, size, 200 * S, REALTIME - 86400 * S, &why), -EBADMSG);
        assert_non_null(strstr(why, "future"));
        assert_int_equal(back.n, 0);
        free(data);
        free(whole);
        history_done(&h);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_points),      cmocka_unit_test(test_first_sight_is_no_growth),
                        cmocka_unit_test(test_gaps),        cmocka_unit_test(test_unknown),
                        cmocka_unit_test(test_ageing),      cmocka_unit_test(test_memory_of_many),
                        cmocka_unit_test(test_copy),        cmocka_unit_test(test_file),
                        cmocka_unit_test(test_spoilt_file), cmocka_unit_test(test_hostile_file),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
