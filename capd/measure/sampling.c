/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "capd/base/macros.h"
#include "capd/base/size.h"
#include "capd/limits.h"
#include "capd/measure/count.h"
#include "sampling.h"

/* A mapping of a file up to this is read whole. */
#define WHOLE_BYTES MIB

/* One chunk of so many is read; half as many of a group of more than 8 GiB, and again half for each eightfold size. */
#define RATE_FIRST 32U
#define RATE_LAST  4096U
#define RATE_PAGES (2U * 1024 * 1024)
#define RATE_STEP  8U

uint32_t count_sample_rate(uint64_t pages)
{
        uint32_t one_in = RATE_FIRST;

        for (; one_in < RATE_LAST && pages > RATE_PAGES; pages /= RATE_STEP)
                one_in *= 2;
        return one_in;
}

/* -- what is read -- */

static uint64_t mix(uint64_t x)
{
        /* the finalizer of MurmurHash3, public domain (Austin Appleby) */
        x = (x ^ x >> 33) * UINT64_C(0xff51afd7ed558ccd);
        x = (x ^ x >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
        return x ^ x >> 33;
}

/* The chunk of a window that is read. */
static uint64_t chosen(const struct sampling *s, uint64_t device, uint64_t inode, uint64_t window)
{
        uint64_t hash = mix(mix(mix(s->seed ^ inode) ^ device) ^ window);

        return window * s->one_in + hash % s->one_in;
}

/* Where the first chunk would begin: an address, or an address that wraps to before it. */
static uint64_t origin(const struct walk_vma *vma)
{
        return vma->inode != 0 ? vma->start - vma->offset : 0;
}

bool sampling_takes_all(const struct walk_vma *vma)
{
        return vma->inode != 0 && !vma->shared && vma->end - vma->start <= WHOLE_BYTES;
}

void sampling_next(const struct sampling *s, const struct walk_vma *vma, uint64_t page_size, uint64_t at, uint64_t end,
                   uint64_t *ret_start, uint64_t *ret_end)
{
        uint64_t bytes = SAMPLING_CHUNK_PAGES * page_size, number = (at - origin(vma)) / bytes, window, chunk;
        uint64_t device = vma->inode != 0 ? vma->device : 0, distance;

        *ret_start = at;
        *ret_end = end;
        if (sampling_takes_all(vma))
                return;
        window = number / s->one_in;
        chunk = chosen(s, device, vma->inode, window);
        if (chunk < number)
                chunk = chosen(s, device, vma->inode, window + 1);
        distance = chunk > number ? chunk * bytes - (at - origin(vma)) : 0;
        if (distance >= end - at) {
                *ret_start = end;
                return;
        }
        *ret_start = at + distance;
        *ret_end = MIN(end, (chunk + 1) * bytes + origin(vma));
}

/* -- what was read -- */

static int make_room(struct sampled *s, size_t n)
{
        if (s->n_chunks == s->chunks_allocated) {
                size_t allocated = s->chunks_allocated ? s->chunks_allocated * 2 : 64;
                struct sampled_chunk *chunks = reallocarray(s->chunks, allocated, sizeof(*chunks));

                if (!chunks)
                        return -ENOMEM;
                s->chunks = chunks;
                s->chunks_allocated = allocated;
        }
        if (s->n_pages + n > s->pages_allocated) {
                size_t allocated = MAX(s->pages_allocated * 2, s->n_pages + n + 4096);
                uint64_t *pages;

                if (s->n_pages + n > LIMIT_SAMPLED_PAGES)
                        return -ENOMEM;
                pages = reallocarray(s->pages, allocated, sizeof(*pages));
                if (!pages)
                        return -ENOMEM;
                s->pages = pages;
                s->pages_allocated = allocated;
        }
        return 0;
}

int sampled_take(struct sampled *s, const struct walk_chunk *chunk, uint64_t page_size)
{
        const struct walk_vma *vma = chunk->vma;

        if (make_room(s, chunk->n) < 0)
                return -ENOMEM;
        s->chunks[s->n_chunks++] = (struct sampled_chunk){
                        .device = vma->inode != 0 ? vma->device : 0,
                        .inode = vma->inode,
                        .number = (chunk->address - origin(vma)) / (SAMPLING_CHUNK_PAGES * page_size),
                        .first = s->n_pages,
                        .n = chunk->n,
                        .whole = sampling_takes_all(vma),
        };
        memcpy(s->pages + s->n_pages, chunk->pages, chunk->n * sizeof(*chunk->pages));
        s->n_pages += chunk->n;
        return 0;
}

void sampled_done(struct sampled *s)
{
        free(s->chunks);
        free(s->pages);
        *s = (struct sampled){};
}

/* -- in a group -- */

static size_t *find_slot(struct sampling_group *g, const struct sampled_chunk *key)
{
        size_t i = (size_t)mix(mix(key->inode ^ key->device << 32) ^ key->number) & (g->n_slots - 1);

        for (; g->slots[i] != 0; i = (i + 1) & (g->n_slots - 1)) {
                const struct estimate_cluster *c = &g->clusters[g->slots[i] - 1];

                if (c->number == key->number && c->inode == key->inode && c->device == key->device)
                        break;
        }
        return &g->slots[i];
}

static int grow(struct sampling_group *g)
{
        size_t n = g->allocated ? g->allocated * 2 : 256;
        struct estimate_cluster *clusters;
        size_t *slots;

        if (n > LIMIT_SAMPLED_CHUNKS)
                return -ENOMEM;
        clusters = reallocarray(g->clusters, n, sizeof(*clusters));
        if (!clusters)
                return -ENOMEM;
        g->clusters = clusters;
        slots = calloc(2 * n, sizeof(*slots));
        if (!slots)
                return -ENOMEM;
        free(g->slots);
        g->slots = slots;
        g->n_slots = 2 * n;
        g->allocated = n;
        for (size_t i = 0; i < g->n_clusters; i++) {
                const struct estimate_cluster *c = &g->clusters[i];

                *find_slot(g, &(struct sampled_chunk){.device = c->device, .inode = c->inode, .number = c->number}) =
                                i + 1;
        }
        return 0;
}

/* The cluster of a chunk, made if new. NULL: no memory. */
static struct estimate_cluster *cluster_of(struct sampling_group *g, const struct sampled_chunk *chunk)
{
        size_t *slot;

        if (g->n_clusters == g->allocated && grow(g) < 0)
                return NULL;
        slot = find_slot(g, chunk);
        if (*slot == 0) {
                g->clusters[g->n_clusters] = (struct estimate_cluster){
                                .device = chunk->device, .inode = chunk->inode, .number = chunk->number};
                *slot = ++g->n_clusters;
        }
        return &g->clusters[*slot - 1];
}

static enum estimate_part part_of(uint64_t page)
{
        return page & PAGE_ANON ? ESTIMATE_ANON : ESTIMATE_OBJECT;
}

/* A page that VmRSS counts. 0 or -ENOMEM. */
static int commit_resident(struct sampling_group *g, struct tally *t, struct estimate_cluster *cluster, uint64_t page)
{
        enum estimate_part part = part_of(page);
        int is_new = frames_add(&t->resident, page & PAGE_NUMBER_MASK);

        if (is_new < 0)
                return is_new;
        if (cluster) {
                g->read[part]++;
                g->kinds[TALLY_KIND(page)] += (unsigned)is_new;
                cluster->mapped[part]++;
                cluster->distinct[part] += (unsigned)is_new;
        } else {
                g->whole_read[part]++;
                g->whole_kinds[TALLY_KIND(page)] += (unsigned)is_new;
        }
        return 0;
}

static int commit_other(struct frames *set, uint64_t page, uint64_t *counter)
{
        int is_new = frames_add(set, page & PAGE_NUMBER_MASK);

        *counter += is_new > 0;
        return MIN(is_new, 0);
}

int sampling_commit(struct sampling_group *g, struct tally *t, const struct sampled *found)
{
        for (size_t i = 0; i < found->n_chunks; i++) {
                const struct sampled_chunk *chunk = &found->chunks[i];
                struct estimate_cluster *cluster = chunk->whole ? NULL : cluster_of(g, chunk);
                int r = 0;

                if (!cluster && !chunk->whole)
                        return -ENOMEM;
                for (size_t k = chunk->first; k < chunk->first + chunk->n && r == 0; k++) {
                        uint64_t page = found->pages[k];

                        if (page & PAGE_PRESENT)
                                r = commit_resident(g, t, cluster, page);
                        else if (page & PAGE_HUGETLB)
                                r = commit_other(&t->hugetlb, page, cluster ? &g->hugetlb : &g->whole_hugetlb);
                        else if (page & PAGE_SWAPPED)
                                r = commit_other(&t->swap, page, cluster ? &g->swap : &g->whole_swap);
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

/* The part of `all` that `some` of `sum` is. */
static uint64_t portion(uint64_t all, uint64_t some, uint64_t sum)
{
        return sum > 0 ? MIN((uint64_t)((double)all * (double)some / (double)sum), all) : 0;
}

static uint64_t less(uint64_t a, uint64_t b)
{
        return a > b ? a - b : 0;
}

/* What the pages of the chunks, as many as estimated, are, in the proportions of those that were read. */
static void divide(const struct sampling_group *g, const struct estimate *e, struct group_sample *s)
{
        uint64_t anon = tally_kinds(g->kinds, PAGE_ANON), file = tally_kinds(g->kinds, PAGE_FILE);
        uint64_t objects = file + tally_kinds(g->kinds, PAGE_SHMEM);
        uint64_t exclusive_anon = tally_kinds(g->kinds, PAGE_EXCLUSIVE | PAGE_ANON);
        uint64_t exclusive_objects = tally_kinds(g->kinds, PAGE_EXCLUSIVE) - exclusive_anon;

        s->anon = e->distinct[ESTIMATE_ANON];
        s->file = objects > 0 ? portion(e->distinct[ESTIMATE_OBJECT], file, objects) : e->distinct[ESTIMATE_OBJECT];
        s->shmem = e->distinct[ESTIMATE_OBJECT] - s->file;
        s->exclusive_anon = portion(s->anon, exclusive_anon, anon);
        s->exclusive = s->exclusive_anon + portion(e->distinct[ESTIMATE_OBJECT], exclusive_objects, objects);
}

/* And what was read whole. */
static void add_whole(const struct sampling_group *g, struct group_sample *s)
{
        s->anon += tally_kinds(g->whole_kinds, PAGE_ANON);
        s->file += tally_kinds(g->whole_kinds, PAGE_FILE);
        s->shmem += tally_kinds(g->whole_kinds, PAGE_SHMEM);
        s->exclusive_anon += tally_kinds(g->whole_kinds, PAGE_EXCLUSIVE | PAGE_ANON);
        s->exclusive += tally_kinds(g->whole_kinds, PAGE_EXCLUSIVE);
}

void sampling_finish(struct sampling_group *g, const struct sampling *s, uint64_t page_size, uint64_t counter_error,
                     struct group_sample *ret)
{
        struct estimate_input in = {
                        .clusters = g->clusters,
                        .n = g->n_clusters,
                        .one_in = s->one_in,
                        .chunk_pages = SAMPLING_CHUNK_PAGES,
                        /* they are off independently of each other */
                        .counter_error = (double)counter_error * sqrt((double)g->counters),
        };
        uint64_t read = 0, mapped = 0;
        struct estimate e;

        for (int p = 0; p < _ESTIMATE_PARTS; p++) {
                in.mapped[p] = less(g->mapped[p], g->whole_read[p]);
                read += g->read[p] + g->whole_read[p];
                mapped += g->mapped[p];
        }
        estimate_make(&in, &e);
        divide(g, &e, ret);
        add_whole(g, ret);
        ret->anon *= page_size;
        ret->file *= page_size;
        ret->shmem *= page_size;
        ret->exclusive *= page_size;
        ret->exclusive_anon *= page_size;
        ret->resident = ret->anon + ret->file + ret->shmem;
        ret->mapped = MAX(mapped * page_size, ret->resident);
        ret->hugetlb = (g->hugetlb * s->one_in + g->whole_hugetlb) * page_size;
        ret->swap = (g->swap * s->one_in + g->whole_swap) * page_size;
        ret->error_bytes = e.error * page_size;
        ret->sampled = mapped > 0 ? (uint32_t)portion(10000, read, mapped) : 10000;
}

void sampling_group_done(struct sampling_group *g)
{
        free(g->clusters);
        free(g->slots);
        *g = (struct sampling_group){};
}
