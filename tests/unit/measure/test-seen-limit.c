/* SPDX-License-Identifier: MIT */
/* What is remembered of shared objects is bounded over all counts of the process together. */
#include <stdlib.h>
#include <string.h>

#include "capd/limits.h"
#include "fake.h"
#include "seen.h"

/* n chunks of an object, as a walk would have seen them. */
static struct sights sights_of_object(struct seen_chunk *items, size_t n, uint64_t inode)
{
        memset(items, 0, n * sizeof(*items));
        for (size_t i = 0; i < n; i++)
                items[i] = (struct seen_chunk){.inode = inode, .number = i, .pages = {1}};
        return (struct sights){.items = items, .n = n};
}

static void test_limit(void **state)
{
        struct seen_chunk items[10];
        struct sights first = sights_of_object(items, 10, 1), second;
        struct seen a = {}, b = {};

        seen_set_limit(6);
        seen_merge(&a, &first, 1);
        assert_int_equal(a.n, 6);
        second = sights_of_object(items, 10, 2);
        seen_merge(&b, &second, 2);
        assert_int_equal(b.n, 0);
        /* what is there goes on learning */
        first = sights_of_object(items, 10, 1);
        items[0].pages[0] = 2;
        seen_merge(&a, &first, 1);
        assert_int_equal(a.n, 6);
        /* the end of one count makes room for others */
        seen_done(&a);
        second = sights_of_object(items, 10, 2);
        seen_merge(&b, &second, 2);
        assert_int_equal(b.n, 6);
        seen_done(&b);
        seen_set_limit(LIMIT_SEEN_CHUNKS);
        seen_merge(&b, &second, 2);
        assert_int_equal(b.n, 10);
        seen_done(&b);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_limit)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
