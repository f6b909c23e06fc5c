/* SPDX-License-Identifier: Apache-2.0 */
/* Placement of homes in the arena: greedy by size, best fit; the fixed parts then stack in the order the offsets give. */
#include <stdlib.h>

#include "core/error.h"
#include "core/mem.h"
#include "graph/program.h"

typedef struct item {
    ful__home *home;
    int index;
    size_t bytes; /* at n_max */
} item;

static bool together(const ful__home *a, const ful__home *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* Largest first; equal sizes in the order of their birth. */
static int by_size(const void *pa, const void *pb)
{
    const item *a = pa, *b = pb;
    if (a->bytes != b->bytes) return a->bytes < b->bytes ? 1 : -1;
    return a->index - b->index;
}

/* Lowest first; where two start together, the one without a scaled part lies below. */
static int by_offset(const void *pa, const void *pb)
{
    const item *a = pa, *b = pb;
    const size_t u = a->home->offset_per_image, v = b->home->offset_per_image;
    if (u != v) return u < v ? -1 : 1;
    const bool flat_a = a->home->per_image == 0, flat_b = b->home->per_image == 0;
    if (flat_a != flat_b) return flat_a ? -1 : 1;
    return a->index - b->index;
}

/*
 * items[0..placed) are placed and sorted by offset. The smallest hole between those alive with `home` that takes it, the lowest
 * of equals; else the end of the highest.
 */
static size_t best_hole(const item *items, int placed, const ful__home *home)
{
    size_t end = 0, best = SIZE_MAX, best_hole = SIZE_MAX;
    for (int i = 0; i < placed; i++) {
        const ful__home *other = items[i].home;
        if (!together(other, home)) continue;
        if (other->offset_per_image > end) {
            const size_t hole = other->offset_per_image - end;
            if (hole >= home->per_image && hole < best_hole) {
                best = end;
                best_hole = hole;
            }
        }
        const size_t top = other->offset_per_image + other->per_image;
        if (top > end) end = top;
    }
    return best != SIZE_MAX ? best : end;
}

static void insert_by_offset(item *items, int placed, item one)
{
    int i = placed;
    for (; i > 0 && by_offset(&items[i - 1], &one) > 0; i--) items[i] = items[i - 1];
    items[i] = one;
}

ful_status ful__place(ful__home *homes, int count, int n_max, size_t *per_image_out, size_t *fixed_out)
{
    item *items = NULL;
    int n = 0;
    FUL_TRY(ful__calloc(&items, (size_t)count, sizeof *items, "the placement of buffers"));
    for (int i = 0; i < count; i++) {
        ful__home *h = &homes[i];
        h->offset_per_image = h->offset_fixed = 0;
        if (h->base == FUL__BASE_WORK && h->per_image + h->fixed > 0)
            items[n++] = (item){h, i, h->per_image * (size_t)n_max + h->fixed};
    }
    qsort(items, (size_t)n, sizeof *items, by_size);
    for (int i = 0; i < n; i++) {
        const item one = items[i];
        if (one.home->per_image > 0) one.home->offset_per_image = best_hole(items, i, one.home);
        insert_by_offset(items, i, one);
    }
    *per_image_out = *fixed_out = 0;
    for (int i = 0; i < n; i++) {
        ful__home *h = items[i].home;
        for (int j = 0; j < i; j++) { /* all below it that are alive with it */
            const ful__home *low = items[j].home;
            if (together(low, h) && low->offset_fixed + low->fixed > h->offset_fixed)
                h->offset_fixed = low->offset_fixed + low->fixed;
        }
        if (h->offset_per_image + h->per_image > *per_image_out) *per_image_out = h->offset_per_image + h->per_image;
        if (h->offset_fixed + h->fixed > *fixed_out) *fixed_out = h->offset_fixed + h->fixed;
    }
    ful__free(items);
    return FUL_OK;
}
