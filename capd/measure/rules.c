/* SPDX-License-Identifier: MIT */
/*
 * rules.c: from page table entries to pages that count.
 *
 * The measure is VmRSS: the kernel counts a page for which vm_normal_page() (mm/memory.c) gives a struct page when it is mapped, and
 * no other. pagemap shows PM_FILE and PM_EXCLUSIVE only for such pages (pte_to_pagemap_entry() in fs/proc/task_mmu.c), so
 * either bit settles the matter. An entry with neither is an anonymous page mapped more than once, the zero page, or memory
 * mapped without its struct page. There are two exceptions, both for mappings of 2 MiB: the huge zero page, which
 * 6.18 shows with PM_FILE and older kernels without; and huge pages of files and shmem, which kernels before 6.11 show without PM_FILE.
 * One look-up of the frame at the head of the 2 MiB tells.
 *
 * Whether a page with PM_FILE is file or shmem is decided by the kernel by the swap-backed bit of the page
 * (mm_counter_file()), which is the same for all pages of an object: one look-up an object.
 */
#include <errno.h>

#include "walk-internal.h"

#define OBJECT_TRIES    16U
#define EXCLUSIVE_SHIFT 4 /* from PM_EXCLUSIVE (56) to PAGE_EXCLUSIVE (60) */

static inline uint64_t exclusive_of(uint64_t entry)
{
        return (entry & PM_EXCLUSIVE) << EXCLUSIVE_SHIFT;
}

/* An entry that is not present: a slot, or 0. */
static uint64_t swapped_page(uint64_t entry)
{
        uint64_t type = entry & PM_SWAP_TYPE_MASK, offset = (entry & PM_FRAME_MASK) >> PM_SWAP_OFFSET_BITS;

        if (!(entry & PM_SWAP) || entry & PM_GUARD || type >= SWAP_TYPES)
                return 0;
        return PAGE_SWAPPED | type << SLOT_TYPE_SHIFT | (offset & ((UINT64_C(1) << SLOT_TYPE_SHIFT) - 1));
}

/* Settles n entries of a 2 MiB block, the first of which is page number `place` of it. */
static int apply_huge(struct walk_context *c, uint64_t *entries, size_t n, size_t place)
{
        uint64_t frame = (entries[0] & PM_FRAME_MASK) - place;
        enum huge_kind kind;
        int r;

        r = context_huge_kind(c, frame, &kind);
        if (r < 0 || kind == HUGE_ORDINARY)
                return r;
        for (size_t i = 0; i < n; i++) {
                if (!(entries[i] & PM_PRESENT) || (entries[i] & PM_FRAME_MASK) - frame >= HUGE_PAGES)
                        continue;
                entries[i] = kind == HUGE_ZERO ? 0 : entries[i] | PM_FILE;
        }
        return 0;
}

/* A block that begins in the middle of 2 MiB, as samples do, is of a huge page if its frames lie in the middle of one likewise. */
static int apply_all_huge(struct walk_context *c, const struct vma *v, uint64_t address, uint64_t *entries, size_t n)
{
        size_t place = address / c->features->page_size % HUGE_PAGES;

        for (size_t i = 0, next; i < n; i = next, place = 0) {
                uint64_t e = entries[i];
                int r;

                next = i + HUGE_PAGES - place;
                if (!(e & PM_PRESENT) || (e & PM_FRAME_MASK) % HUGE_PAGES != place)
                        continue;
                /* anonymous and exclusive is what it seems; in an object's mapping an old kernel may hide a file page behind it */
                if (e & PM_EXCLUSIVE && (v->kind == VMA_ANON || e & PM_FILE))
                        continue;
                r = apply_huge(c, entries + i, MIN(n, next) - i, place);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Entries looked at together: nearly all are of the plainest kind, and a loop without branches over a fixed number is fast. */
#define BLOCK 8U

/* A present entry without PM_FILE as a page. */
static inline uint64_t anon_page(uint64_t entry)
{
        return PAGE_PRESENT | PAGE_ANON | (entry & PAGE_NUMBER_MASK) | exclusive_of(entry);
}

/* Converts a block of present entries without PM_FILE, none of them the zero page. false: it holds others, and is as it was. */
static inline bool apply_plain_block(uint64_t *entries, uint64_t zero_frame)
{
        uint64_t all = ~UINT64_C(0), any = 0, zeros = 0;

        for (size_t i = 0; i < BLOCK; i++) {
                all &= entries[i];
                any |= entries[i];
                zeros += (entries[i] & PM_FRAME_MASK) == zero_frame;
        }
        if (!(all & PM_PRESENT) || any & PM_FILE || zeros)
                return false;
        for (size_t i = 0; i < BLOCK; i++)
                entries[i] = anon_page(entries[i]);
        return true;
}

/* As many entries as a set of frames keeps in one word. */
#define LONG_BLOCK 64U

/* The same for a long block whose frames follow one another, as those of a huge page do: by adding one number to all. */
static inline bool apply_long_block(uint64_t *entries, uint64_t zero_frame)
{
        uint64_t first = entries[0], differs = 0, change = anon_page(first) - first;

        if (entries[LONG_BLOCK - 1] != first + LONG_BLOCK - 1 || !(first & PM_PRESENT) || first & PM_FILE ||
            zero_frame - (first & PM_FRAME_MASK) < LONG_BLOCK)
                return false;
        for (uint64_t i = 0; i < LONG_BLOCK; i++)
                differs |= entries[i] ^ (first + i);
        if (differs)
                return false;
        for (size_t i = 0; i < LONG_BLOCK; i++)
                entries[i] += change;
        return true;
}

static inline bool is_empty_block(const uint64_t *entries)
{
        uint64_t any = 0;

        for (size_t i = 0; i < BLOCK; i++)
                any |= entries[i];
        return any == 0;
}

static size_t apply_anon(const struct walk_context *c, uint64_t *entries, size_t n)
{
        uint64_t zero_frame = c->features->zero_frame;
        size_t found = 0;

        for (size_t i = 0; i < n; i++) {
                uint64_t e = entries[i], page;

                if (n - i >= LONG_BLOCK && e & PM_PRESENT && apply_long_block(entries + i, zero_frame)) {
                        found += LONG_BLOCK;
                        i += LONG_BLOCK - 1;
                        continue;
                }
                if (n - i >= BLOCK && e & PM_PRESENT && apply_plain_block(entries + i, zero_frame)) {
                        found += BLOCK;
                        i += BLOCK - 1;
                        continue;
                }
                if (e == 0 && n - i >= BLOCK && is_empty_block(entries + i)) {
                        i += BLOCK - 1;
                        continue;
                }
                if (!(e & PM_PRESENT))
                        page = e ? swapped_page(e) : 0;
                else if ((e & PM_FRAME_MASK) == zero_frame)
                        page = 0;
                else if (e & PM_FILE)
                        page = PAGE_PRESENT | PAGE_FILE | (e & PAGE_NUMBER_MASK) | exclusive_of(e);
                else
                        page = anon_page(e);
                entries[i] = page;
                found += page != 0;
        }
        return found;
}

/* What the first pages of an object that are seen say about it. */
static int learn_object(struct walk_context *c, struct object *o, uint64_t entry)
{
        uint64_t flags;
        int r;

        if (c->kpageflags_fd < 0) {
                o->kind = OBJECT_FILE;
                return 0;
        }
        r = frame_flags(c, entry & PM_FRAME_MASK, &flags);
        if (r < 0)
                return r;
        /* not mapped any more: freed since, so what it is now says nothing about the object; a driver's pages never show it */
        if (!(flags & KPF_MMAP) && o->tries++ < OBJECT_TRIES)
                return 0;
        if (flags & KPF_HUGE)
                o->kind = OBJECT_HUGETLB;
        else if (!(entry & PM_FILE))
                o->kind = OBJECT_NOT_HUGETLB;
        else
                o->kind = flags & KPF_SWAPBACKED ? OBJECT_SHMEM : OBJECT_FILE;
        return 0;
}

static int apply_object(struct walk_context *c, struct object *o, uint64_t *entries, size_t n, size_t *ret_found)
{
        uint64_t zero_frame = c->features->zero_frame;
        size_t found = 0;
        int r;

        for (size_t i = 0; i < n; i++) {
                uint64_t e = entries[i], page;

                if (!(e & PM_PRESENT)) {
                        page = e ? swapped_page(e) : 0;
                        entries[i] = page;
                        found += page != 0;
                        continue;
                }
                if (o->kind == OBJECT_UNKNOWN || (o->kind == OBJECT_NOT_HUGETLB && e & PM_FILE)) {
                        r = learn_object(c, o, e);
                        if (r < 0)
                                return r;
                }
                page = (e & PAGE_NUMBER_MASK) | exclusive_of(e);
                if (o->kind == OBJECT_HUGETLB) {
                        page |= PAGE_HUGETLB;
                } else if (e & PM_FILE) {
                        page |= PAGE_PRESENT | (o->kind == OBJECT_SHMEM ? PAGE_SHMEM : PAGE_FILE);
                } else if (e & PM_EXCLUSIVE) {
                        page |= PAGE_PRESENT | PAGE_ANON;
                } else {
                        r = (e & PM_FRAME_MASK) == zero_frame ? 0 : context_is_anon(c, e & PM_FRAME_MASK);
                        if (r < 0)
                                return r;
                        page = r > 0 ? page | PAGE_PRESENT | PAGE_ANON : 0;
                }
                entries[i] = page;
                found += page != 0;
        }
        *ret_found = found;
        return 0;
}

int rules_apply(struct walk_context *c, const struct vma *v, struct object *object, uint64_t address, uint64_t *entries,
                size_t n, size_t *ret_found)
{
        int r;

        r = apply_all_huge(c, v, address, entries, n);
        if (r < 0)
                return r;
        if (v->kind != VMA_ANON)
                return apply_object(c, object, entries, n, ret_found);
        *ret_found = apply_anon(c, entries, n);
        return 0;
}
