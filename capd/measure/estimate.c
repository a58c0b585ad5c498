/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "capd/base/macros.h"
#include "estimate.h"

/* Of so many windows of which no chunk was read that has any page, the like has a chance of 1 in 20. */
#define UNSEEN_WINDOWS 3.0

/* A weighed sum of what is known of a chunk. */
struct weights {
        double mapped[_ESTIMATE_PARTS], distinct[_ESTIMATE_PARTS];
};

/* Of the differences between neighbouring windows. */
struct sums {
        double squares, fourths;
};

static int compare(const void *a, const void *b)
{
        const struct estimate_cluster *x = a, *y = b;

        if (x->device != y->device)
                return x->device < y->device ? -1 : 1;
        if (x->inode != y->inode)
                return x->inode < y->inode ? -1 : 1;
        return x->number < y->number ? -1 : x->number > y->number;
}

static bool are_neighbours(const struct estimate_cluster *a, const struct estimate_cluster *b, uint32_t one_in)
{
        return a->device == b->device && a->inode == b->inode && b->number / one_in - a->number / one_in <= 1;
}

static double weigh(const struct estimate_cluster *c, const struct weights *w)
{
        double sum = 0;

        for (int p = 0; p < _ESTIMATE_PARTS; p++)
                sum += w->mapped[p] * c->mapped[p] + w->distinct[p] * c->distinct[p];
        return sum;
}

/* The difference of a window to the one before it; NULL: an empty one. */
typedef void (*difference_fn)(const struct estimate_cluster *before, const struct estimate_cluster *c, void *userdata);

static void for_each_difference(const struct estimate_input *in, difference_fn f, void *userdata)
{
        const struct estimate_cluster *last = NULL;

        for (size_t i = 0; i < in->n; i++) {
                const struct estimate_cluster *c = &in->clusters[i];

                if (last && !are_neighbours(last, c, in->one_in)) {
                        f(last, NULL, userdata);
                        last = NULL;
                }
                f(last, c, userdata);
                last = c;
        }
        if (last)
                f(last, NULL, userdata);
}

struct summing {
        const struct weights *weights;
        struct sums sums;
};

static void add_squares(const struct estimate_cluster *before, const struct estimate_cluster *c, void *userdata)
{
        struct summing *s = userdata;
        double d = (before ? weigh(before, s->weights) : 0) - (c ? weigh(c, s->weights) : 0), square = d * d;

        s->sums.squares += square;
        s->sums.fourths += square * square;
}

struct products {
        double mapped, both;
};

static void add_products(const struct estimate_cluster *before, const struct estimate_cluster *c, void *userdata)
{
        static const struct estimate_cluster none;
        struct products *p = userdata;
        double mapped, distinct;

        before = before ? before : &none;
        c = c ? c : &none;
        mapped = (double)before->mapped[ESTIMATE_ANON] - (double)c->mapped[ESTIMATE_ANON];
        distinct = (double)before->distinct[ESTIMATE_ANON] - (double)c->distinct[ESTIMATE_ANON];
        p->mapped += mapped * mapped;
        p->both += mapped * distinct;
}

/* How many more distinct anonymous pages there are where there is one more that is mapped. */
static double slope(const struct estimate_input *in)
{
        struct products p = {};

        for_each_difference(in, add_products, &p);
        return p.mapped > 0 ? MIN(p.both / p.mapped, 1.0) : 1;
}

/* The 97.5% quantile of Student's t; between two rows the larger one. */
static double quantile(double degrees)
{
        static const struct {
                double degrees, t;
        } table[] = {{200, 1.972}, {60, 2.000}, {30, 2.042}, {20, 2.086}, {15, 2.131}, {12, 2.179}, {10, 2.228},
                     {8, 2.306},   {7, 2.365},  {6, 2.447},  {5, 2.571},  {4, 2.776},  {3, 3.182},  {2, 4.303}};

        for (size_t i = 0; i < ARRAY_SIZE(table); i++)
                if (degrees >= table[i].degrees)
                        return table[i].t;
        return 12.706;
}

/* Half the width of the interval of such a sum over all chunks, as far as it is of the sample's own making. */
static double interval(const struct estimate_input *in, const struct weights *weights)
{
        struct summing s = {.weights = weights};
        double variance;

        for_each_difference(in, add_squares, &s);
        if (s.sums.squares <= 0)
                return 0;
        /* a window has two differences, half of each is its own; of the chunks one in one_in was read */
        variance = (double)in->one_in * (in->one_in - 1) * s.sums.squares / 2;
        return quantile(s.sums.squares * s.sums.squares / s.sums.fourths) * sqrt(variance);
}

/* What is mapped, beyond what chance explains: a sample that missed it knows nothing about it. */
static double unexplained(const struct estimate_input *in, double missing)
{
        double likely = interval(in, &(struct weights){.mapped[ESTIMATE_ANON] = 1});

        return MAX(fabs(missing) - likely, 0.0);
}

void estimate_make(const struct estimate_input *in, struct estimate *ret)
{
        double window = (double)in->one_in * in->chunk_pages, b, error, beside = 0;
        double mapped[_ESTIMATE_PARTS] = {}, distinct[_ESTIMATE_PARTS] = {}, known = 0;

        if (in->n > 0)
                qsort(in->clusters, in->n, sizeof(in->clusters[0]), compare);
        for (size_t i = 0; i < in->n; i++)
                for (int p = 0; p < _ESTIMATE_PARTS; p++) {
                        mapped[p] += in->clusters[i].mapped[p];
                        distinct[p] += in->clusters[i].distinct[p];
                }
        b = slope(in);
        error = interval(in, &(struct weights){.mapped[ESTIMATE_ANON] = -b, .distinct = {1, 1}});
        /* never less than what one chunk stands for: something of its size can hide between the chunks that were read */
        error = hypot(MAX(error, window), b * in->counter_error);
        for (int p = 0; p < _ESTIMATE_PARTS; p++) {
                double all = in->one_in * distinct[p], limit = (double)in->mapped[p];

                known += limit;
                if (mapped[p] <= 0) {
                        /* none of it was met: it is anything that can be overlooked */
                        all = (p == ESTIMATE_ANON ? limit : MIN(limit, UNSEEN_WINDOWS * window)) / 2;
                        beside += all;
                } else if (p == ESTIMATE_ANON) {
                        double missing = limit - in->one_in * mapped[p];

                        all += b * missing;
                        beside += MAX(b, 1 - b) * unexplained(in, missing);
                }
                /* what was seen is there, and no page is there that is not mapped */
                all = MAX(MIN(all, limit), distinct[p]);
                ret->distinct[p] = (uint64_t)(all + 0.5);
        }
        ret->error = (uint64_t)ceil(MIN(error + beside, known));
}
