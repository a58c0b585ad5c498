/* SPDX-License-Identifier: MIT */
/*
 * candidates.c: one step of page-out by address, seen from the page tables: what to hand to the kernel, and afterwards
 * what really left.
 *
 * The walk reads 2 MiB and more at a time, and a step may take less: the rest of a chunk is kept ("ahead"). It says only where to look:
 * before it is used in a later step the same pages are read again, since what left in the meantime by itself must not be booked as
 * paged out by capd.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capd/measure/candidates.h"
#include "capd/measure/frame-words.h"
#include "walk-internal.h"

/* Bits of /proc/kpageflags, linux/kernel-page-flags.h; MLOCKED is shown, but kept out of the user's header. */
#define FRAME_DIRTY       (UINT64_C(1) << 4)
#define FRAME_LRU         (UINT64_C(1) << 5)
#define FRAME_WRITEBACK   (UINT64_C(1) << 8)
#define FRAME_BUDDY       (UINT64_C(1) << 10)
#define FRAME_ANON        (UINT64_C(1) << 12)
#define FRAME_SWAPCACHE   (UINT64_C(1) << 13)
#define FRAME_UNEVICTABLE (UINT64_C(1) << 18)
#define FRAME_MLOCKED     (UINT64_C(1) << 33)

/* Pages looked at in vain before candidates_next() returns to its caller, who has a deadline to keep: 256 MiB, some
 * milliseconds. */
#define PASS_PAGES 65536U
/* Ranges this near to each other are read again with one call, as walk_read() goes back to the head of 2 MiB anyway. */
#define READ_GAP_PAGES 128U
/*
 * Frames remembered. Looking at one costs 100 to 400 ns, a miss of the cache for its struct page and mostly a call of its own, which for
 * all of them came to a tenth of the time of a page-out. Of more than 16 MiB one in two, one in four ... is looked at: 2 to 4 Ki of them,
 * which speak for all with an error of 3 % at most, 99 times in 100.
 */
#define LEFT_FRAMES_MAX (4U * 1024)
/* Flags of frames as near to each other as this are read with one call, so many at most: a call costs as much as some ten words. */
#define FLAGS_GAP    8U
#define FLAGS_WINDOW 512U

struct left_frames {
        uint64_t *pages; /* as they were before they left */
        size_t n, allocated;
        size_t freed;  /* of those seen; they are in pages[] no more */
        size_t all;    /* that left */
        size_t stride; /* one in so many of them is in pages[]; a power of 2 */
        bool sorted;
        bool unknown; /* a page without a frame number is among them */
};

static uint64_t page_size(void)
{
        static uint64_t size;

        if (size == 0)
                size = (uint64_t)sysconf(_SC_PAGESIZE);
        return size;
}

/* A page table of the lowest level, and so a transparent huge page, spans as many pages as fit entries of 8 bytes into one
 * page: 2 MiB with pages of 4 KiB. */
static uint64_t huge_size(void)
{
        return page_size() * (page_size() / sizeof(uint64_t));
}

void candidates_done(struct candidates *c)
{
        free(c->before);
        free(c->after);
        free(c->ahead);
        free(c->scratch);
        memset(c, 0, sizeof(*c));
}

int candidates_seek(struct walk *w, uint64_t address, struct candidates *c)
{
        c->ahead_at = c->ahead_n = 0;
        c->next = address;
        return walk_seek(w, address);
}

static int candidates_reserve(struct candidates *c, size_t n_pages)
{
        uint64_t *before, *after;

        if (!c->ahead && !(c->ahead = malloc(LIMIT_PAGEMAP_STEP_PAGES * sizeof(uint64_t))))
                return -ENOMEM;
        if (!c->scratch && !(c->scratch = malloc(LIMIT_PAGEMAP_STEP_PAGES * sizeof(uint64_t))))
                return -ENOMEM;
        if (n_pages <= c->pages_allocated)
                return 0;

        before = realloc(c->before, n_pages * sizeof(uint64_t));
        if (!before)
                return -ENOMEM;
        c->before = before;
        after = realloc(c->after, n_pages * sizeof(uint64_t));
        if (!after)
                return -ENOMEM;
        c->after = after;
        c->pages_allocated = n_pages;
        return 0;
}

/* The pages of ahead[] that may be used now, at most `want` of a stale one: 0 at the end, or a negative errno. */
static ssize_t candidates_look_ahead(struct walk *w, struct candidates *c, size_t want)
{
        struct walk_chunk chunk;
        size_t n = c->ahead_n - c->ahead_at;
        int r;

        if (n > 0) {
                if (!c->ahead_stale)
                        return (ssize_t)n;
                n = MIN(n, want);
                r = walk_read(w, c->ahead_address + c->ahead_at * page_size(), n, c->ahead + c->ahead_at);
                return r < 0 ? r : (ssize_t)n;
        }

        walk_window(w, want);
        r = walk_next(w, &chunk);
        if (r <= 0)
                return r;
        c->ahead_address = chunk.address;
        c->ahead_mapping = chunk.vma->start;
        c->ahead_at = 0;
        c->ahead_n = MIN(chunk.n, (size_t)LIMIT_PAGEMAP_STEP_PAGES);
        c->ahead_stale = false;
        memcpy(c->ahead, chunk.pages, c->ahead_n * sizeof(uint64_t));
        return (ssize_t)c->ahead_n;
}

/* Appends the page at `address`: false if it needs one more range than there are. */
static bool candidates_append(struct candidates *c, uint64_t address, uint64_t page)
{
        struct iovec *last = c->n_ranges > 0 ? &c->ranges[c->n_ranges - 1] : NULL;
        bool same = last && c->range_mapping == c->ahead_mapping;

        if (same && (uintptr_t)last->iov_base + last->iov_len == address) {
                last->iov_len += page_size();
        } else {
                if (c->n_ranges == ARRAY_SIZE(c->ranges))
                        return false;
                c->ranges[c->n_ranges] = (struct iovec){.iov_base = (void *)(uintptr_t)address, .iov_len = page_size()};
                c->same_mapping[c->n_ranges] = same;
                c->first[c->n_ranges] = c->n_pages;
                c->left[c->n_ranges] = 0;
                c->n_ranges++;
                c->range_mapping = c->ahead_mapping;
        }
        c->before[c->n_pages++] = page;
        c->bytes += page_size();
        return true;
}

/*
 * A step that ends inside of a transparent huge page makes the kernel split it (mm/madvise.c,
 * madvise_cold_or_pageout_pte_range()), and the part that stays is slower for its owner from then on. So a step that
 * has just come to its last page is cut back to the boundary where most of it remains.
 */
static void candidates_trim(struct candidates *c)
{
        struct iovec *last = &c->ranges[c->n_ranges - 1];
        uint64_t start = (uintptr_t)last->iov_base, end = start + last->iov_len, boundary = end & ~(huge_size() - 1);
        uint64_t cut = end - boundary;

        if (cut == 0 || boundary <= start || cut > c->bytes / 2 || cut / page_size() > c->ahead_at ||
            !(c->before[c->n_pages - 1] & PAGE_ANON))
                return;
        last->iov_len -= cut;
        c->bytes -= cut;
        c->n_pages -= cut / page_size();
        c->ahead_at -= cut / page_size(); /* the last range ends where the step does */
}

/*
 * Whether the next page belongs to the same folio of a file or of shared memory, as far as the frames tell. The kernel splits one of which a
 * part is paged out, and all of it is unmapped by that (split_folio() in mm/madvise.c, unmap_folio() in mm/huge_memory.c; anonymous
 * pages are mapped again). So a step does not end inside of one: what left with it would be booked nowhere.
 */
static bool goes_on(const struct candidates *c, uint64_t address, uint64_t page)
{
        return c->ahead_at + 1 < c->ahead_n && !(page & PAGE_ANON) && (page & PAGE_NUMBER_MASK) != 0 &&
               (address + page_size()) % huge_size() != 0 && c->ahead[c->ahead_at + 1] == page + 1;
}

/* Uses up to n pages of ahead[]: true when the step is full. */
static bool candidates_take(struct candidates *c, size_t n, uint64_t end, size_t max_pages, bool anonymous)
{
        for (; n > 0; n--) {
                uint64_t address = c->ahead_address + c->ahead_at * page_size(), page = c->ahead[c->ahead_at];

                if (address >= end)
                        return true;
                if (!(page & PAGE_PRESENT)) {
                        c->ahead_at++;
                        continue;
                }
                if (!(page & PAGE_EXCLUSIVE))
                        c->skipped_shared += page_size();
                else if (!anonymous && page & (PAGE_ANON | PAGE_SHMEM))
                        c->skipped_no_swap += page_size();
                else if (!candidates_append(c, address, page))
                        return true;
                if (c->n_pages >= max_pages && !goes_on(c, address, page)) {
                        c->ahead_at++;
                        candidates_trim(c);
                        return true;
                }
                c->ahead_at++;
        }
        return false;
}

int candidates_next(struct walk *w, uint64_t end, uint64_t max_bytes, bool anonymous, struct candidates *c)
{
        size_t max_pages = MAX(max_bytes / page_size() + (max_bytes % page_size() != 0), (uint64_t)1), passed = 0;
        bool full = false;
        int r;

        r = candidates_reserve(c, max_pages + huge_size() / page_size());
        if (r < 0)
                return r;
        c->n_ranges = c->n_pages = 0;
        c->bytes = c->skipped_shared = c->skipped_no_swap = c->busy_anonymous = 0;
        c->ahead_stale = true;

        while (!full && (c->n_pages > 0 || passed < PASS_PAGES)) {
                size_t begin;
                ssize_t n;

                if (c->next >= end)
                        break;
                /* Another window would be for the next step mostly, which reads it again. */
                if (c->ahead_at == c->ahead_n && c->n_pages > max_pages / 2)
                        return 1;
                n = candidates_look_ahead(w, c, max_pages + huge_size() / page_size() - c->n_pages);
                if (n < 0)
                        return (int)n;
                if (n == 0)
                        break;
                begin = c->ahead_at;
                full = candidates_take(c, (size_t)n, end, max_pages, anonymous);
                passed += c->ahead_at - begin;
                c->next = c->ahead_address + c->ahead_at * page_size();
        }
        return full || passed > 0;
}

bool candidates_is_file(const struct candidates *c, size_t range, uint64_t offset)
{
        return !(c->before[c->first[range] + offset / page_size()] & (PAGE_ANON | PAGE_SHMEM));
}

bool candidates_is_huge(const struct candidates *c, size_t range, uint64_t offset, uint64_t *ret_size)
{
        uint64_t n = huge_size() / page_size(), start = (uintptr_t)c->ranges[range].iov_base + offset;
        const uint64_t *pages = c->before + c->first[range] + offset / page_size();

        *ret_size = huge_size();
        if (start % huge_size() != 0 || c->ranges[range].iov_len - offset < huge_size() ||
            (pages[0] & PAGE_NUMBER_MASK) == 0 || (pages[0] & PAGE_NUMBER_MASK) % n != 0)
                return false;
        for (uint64_t i = 1; i < n; i++)
                if (pages[i] != pages[0] + i)
                        return false;
        return true;
}

/* Reads ranges[i] and those behind it that are near into after[k...]. Returns how many ranges that were, or a negative errno. */
static int candidates_reread(struct walk *w, struct candidates *c, size_t i, size_t k)
{
        uint64_t start = (uintptr_t)c->ranges[i].iov_base, end = start + c->ranges[i].iov_len;
        size_t j;
        int r;

        if (end - start > LIMIT_PAGEMAP_STEP_PAGES * page_size()) {
                size_t n = (end - start) / page_size(), at, m;

                for (at = 0; at < n; at += m) {
                        m = MIN(n - at, (size_t)LIMIT_PAGEMAP_STEP_PAGES);
                        r = walk_read(w, start + at * page_size(), m, c->after + k + at);
                        if (r < 0)
                                return r;
                }
                return 1;
        }

        for (j = i + 1; j < c->n_ranges && c->same_mapping[j]; j++) {
                uint64_t next = (uintptr_t)c->ranges[j].iov_base, next_end = next + c->ranges[j].iov_len;

                if (next - end > READ_GAP_PAGES * page_size() ||
                    next_end - start > LIMIT_PAGEMAP_STEP_PAGES * page_size())
                        break;
                end = next_end;
        }
        r = walk_read(w, start, (end - start) / page_size(), c->scratch);
        if (r < 0)
                return r;
        for (size_t m = i; m < j; m++) {
                size_t n = c->ranges[m].iov_len / page_size();

                memcpy(c->after + k, c->scratch + ((uintptr_t)c->ranges[m].iov_base - start) / page_size(),
                       n * sizeof(uint64_t));
                k += n;
        }
        return (int)(j - i);
}

/* Whether a frame is one of those remembered: by its number, so that no pattern of theirs meets one of the memory's. */
static bool left_frames_wants(const struct left_frames *f, uint64_t page)
{
        uint64_t hash = (page & PAGE_NUMBER_MASK) * UINT64_C(0x9e3779b97f4a7c15) >> 32;

        return hash % f->stride == 0;
}

static void left_frames_reserve(struct left_frames *f)
{
        size_t kept = 0;

        if (f->n < f->allocated)
                return;
        if (f->allocated < LEFT_FRAMES_MAX) {
                size_t n = MAX(f->allocated * 2, (size_t)1024);
                uint64_t *pages = realloc(f->pages, n * sizeof(uint64_t));

                if (pages) {
                        f->pages = pages;
                        f->allocated = n;
                        return;
                }
        }
        f->stride *= 2;
        for (size_t i = 0; i < f->n; i++)
                if (left_frames_wants(f, f->pages[i]))
                        f->pages[kept++] = f->pages[i];
        f->n = kept;
}

static void left_frames_add(struct left_frames *f, uint64_t page)
{
        if ((page & PAGE_NUMBER_MASK) == 0) {
                f->unknown = true;
                return;
        }
        f->all++;
        if (!left_frames_wants(f, page))
                return;
        left_frames_reserve(f);
        if (f->n < f->allocated && left_frames_wants(f, page)) {
                f->pages[f->n++] = page;
                f->sorted = false;
        }
}

/* Where the bytes of a page are booked that did not leave. */
static uint64_t *candidates_reason(struct walk_context *ctx, struct candidates *c, uint64_t before, uint64_t after,
                                   bool forbidden_files, struct act_result *ret)
{
        uint64_t flags;

        if (!(after & PAGE_EXCLUSIVE))
                return &ret->left_shared;
        if ((after & PAGE_NUMBER_MASK) == 0 || frame_flags(ctx, after & PAGE_NUMBER_MASK, &flags) < 0)
                flags = 0;
        if (flags & (FRAME_MLOCKED | FRAME_UNEVICTABLE))
                return &ret->left_locked;
        if (after & PAGE_FILE) {
                if (flags & (FRAME_DIRTY | FRAME_WRITEBACK))
                        return &ret->left_dirty;
                if (forbidden_files && before == after)
                        return &ret->left_forbidden;
                return &ret->left_busy;
        }
        c->busy_anonymous += page_size();
        return &ret->left_busy;
}

int candidates_check(struct walk *w, struct walk_context *ctx, struct candidates *c, bool forbidden_files,
                     struct left_frames *f, struct act_result *ret)
{
        size_t k = 0;
        int r;

        for (size_t i = 0; i < c->n_ranges; i += (size_t)r) {
                r = candidates_reread(w, c, i, k);
                if (r < 0)
                        return r;
                for (size_t j = i; j < i + (size_t)r; j++)
                        k += c->ranges[j].iov_len / page_size();
        }
        /* The page tables of a process that ended read as empty, which is not paged out. */
        r = walk_check(w);
        if (r < 0)
                return r;

        c->busy_anonymous = 0;
        k = 0;
        for (size_t i = 0; i < c->n_ranges; i++) {
                c->left[i] = 0;
                for (size_t n = c->ranges[i].iov_len / page_size(); n > 0; n--, k++) {
                        if (c->after[k] & PAGE_PRESENT) {
                                *candidates_reason(ctx, c, c->before[k], c->after[k], forbidden_files, ret) +=
                                                page_size();
                                continue;
                        }
                        c->left[i] += page_size();
                        ret->unmapped += page_size();
                        left_frames_add(f, c->before[k]);
                }
        }
        return 0;
}

int left_frames_new(struct left_frames **ret)
{
        struct left_frames *f = calloc(1, sizeof(*f));

        if (!f)
                return -ENOMEM;
        f->stride = 1;
        *ret = f;
        return 0;
}

struct left_frames *left_frames_free(struct left_frames *f)
{
        if (f)
                free(f->pages);
        free(f);
        return NULL;
}

/*
 * An anonymous page that left is held by the swap cache until it is written and reclaimed; without that flag the frame
 * is free or somebody's new page. A page of a file (or of shmem, which moves from the page to the swap cache) is held while
 * the frame looks like one: it is on a list for reclaim and not anonymous. A frame that already serves another
 * file counts as held, so the sum is rather too small than too large.
 */
static bool frame_held(uint64_t page, uint64_t flags)
{
        if (flags & (FRAME_SWAPCACHE | FRAME_WRITEBACK))
                return true;
        if (page & PAGE_ANON || flags & (FRAME_ANON | FRAME_BUDDY))
                return false;
        return flags & (FRAME_LRU | FRAME_DIRTY);
}

static int compare_frames(const void *a, const void *b)
{
        uint64_t x = *(const uint64_t *)a & PAGE_NUMBER_MASK, y = *(const uint64_t *)b & PAGE_NUMBER_MASK;

        return x < y ? -1 : x > y;
}

/* Forgets the frames that are free by now. */
static int left_frames_look(struct walk_context *ctx, struct left_frames *f, bool *ret_writing)
{
        size_t i = 0, kept = 0;
        int r = 0;

        if (!f->sorted && f->n > 0)
                qsort(f->pages, f->n, sizeof(*f->pages), compare_frames);
        f->sorted = true;
        while (i < f->n && r == 0) {
                uint64_t flags[FLAGS_WINDOW], first = f->pages[i] & PAGE_NUMBER_MASK;
                size_t j = i;

                while (++j < f->n) {
                        uint64_t frame = f->pages[j] & PAGE_NUMBER_MASK;

                        if (frame - first >= FLAGS_WINDOW || frame - (f->pages[j - 1] & PAGE_NUMBER_MASK) > FLAGS_GAP)
                                break;
                }
                r = frame_words_read(ctx->sys, ctx->kpageflags_fd, first,
                                     (f->pages[j - 1] & PAGE_NUMBER_MASK) - first + 1, flags);
                for (; i < j && r == 0; i++) {
                        uint64_t frame = flags[(f->pages[i] & PAGE_NUMBER_MASK) - first];

                        if (!frame_held(f->pages[i], frame))
                                continue;
                        *ret_writing = *ret_writing || frame & FRAME_WRITEBACK;
                        f->pages[kept++] = f->pages[i];
                }
        }
        f->freed += i - kept;
        memmove(f->pages + kept, f->pages + i, (f->n - i) * sizeof(*f->pages));
        f->n -= i - kept;
        return r;
}

uint64_t left_frames_freed(struct walk_context *ctx, struct left_frames *f, bool *ret_writing)
{
        size_t seen = f->n + f->freed;

        *ret_writing = false;
        if (f->unknown || (seen == 0 && f->all > 0))
                return SIZE_UNKNOWN;
        if (f->n > 0 && left_frames_look(ctx, f, ret_writing) < 0)
                return SIZE_UNKNOWN;
        if (seen == f->all)
                return f->freed * page_size();
        return (uint64_t)((double)f->freed / (double)seen * (double)f->all) * page_size();
}
