/* SPDX-License-Identifier: MIT */
/* settings.c: what decide() is given and what is shown of its facts: a group's settings as they apply, a sample as it may be believed. */
#include "capd/policy/decide.h"

void decide_settings_from(const struct policy *p, const struct policy_section *s, uint64_t host_total,
                          struct decide_settings *ret)
{
        uint64_t cap = s->has_cap ? policy_cap(s, host_total) : 0;

        *ret = (struct decide_settings){
                        .has_cap = s->has_cap,
                        .cap = cap,
                        .low = decide_low_watermark(s, cap),
                        .action = s->action,
                        .reclaim_rate = s->reclaim_rate,
                        .pressure_threshold = s->pressure_threshold == THRESHOLD_INHERIT ? p->daemon.pressure_threshold
                                                                                         : s->pressure_threshold,
                        .last_resort = s->last_resort,
                        .last_resort_after = s->last_resort_after,
        };
}

uint64_t decide_low_watermark(const struct policy_section *s, uint64_t cap)
{
        /* divided first: a cap may be near 2^63 */
        return cap / 10000 * s->low_watermark + cap % 10000 * s->low_watermark / 10000;
}

/* The figures of a count say nothing about how a bound is made up. */
static void present_bound(struct group_sample *p, uint64_t resident, enum quality quality)
{
        uint64_t swap = p->swap, hugetlb = p->hugetlb;
        bool counted = p->quality != QUALITY_UNKNOWN && p->counted_at > 0;

        group_sample_forget(p);
        if (resident == SIZE_UNKNOWN)
                return;
        p->resident = resident;
        p->quality = quality;
        p->counted_at = p->bounds_at; /* the age of what is shown */
        if (counted) {
                p->swap = swap;
                p->hugetlb = hugetlb;
        }
}

void decide_presentable(const struct group_sample *s, struct group_sample *ret)
{
        struct group_sample p = *s;

        if (p.bounds_at == 0)
                present_bound(&p, SIZE_UNKNOWN, QUALITY_UNKNOWN); /* nobody has looked yet */
        else if (p.processes == 0) {
                p.resident = p.anon = p.file = p.shmem = p.mapped = p.exclusive = p.exclusive_anon = 0;
                p.swap = p.hugetlb = p.error_bytes = 0;
                p.quality = QUALITY_EXACT;
                p.counted_at = p.bounds_at;
        } else if (p.quality == QUALITY_UNKNOWN || p.counted_at == 0)
                present_bound(&p, p.upper, QUALITY_BOUND_UPPER);
        else if (p.counted_at < p.bounds_at && p.resident > p.upper)
                present_bound(&p, p.upper, QUALITY_BOUND_UPPER);
        else if (p.counted_at < p.bounds_at && p.resident < p.lower)
                present_bound(&p, p.lower, QUALITY_BOUND_LOWER);
        *ret = p;
}
