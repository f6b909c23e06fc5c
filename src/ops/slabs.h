/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both layouts seen as one thing. A slab is a contiguous matrix [rows][width] whose columns are channels:
 *
 *   NHWC      one slab of n*h*w rows and all c channels (and so are 1 x 1 images and those of one block, in either layout)
 *   BLOCKED   n images x c/B groups of slabs, each of h*w rows and B channels
 *
 * Slab (i, g) begins at (i*groups + g)*rows*width; its columns are channels g*width … g*width + width - 1.
 */
#ifndef FUL_OPS_SLABS_H
#define FUL_OPS_SLABS_H

#include "core/parallel.h"
#include "ops/op.h"

typedef struct ful__slabs {
    int64_t images, rows;
    int groups, width;
} ful__slabs;

/* Each image apart, for what is done image by image. */
static inline ful__slabs ful__slabs_per_image(ful_shape s, ful__layout layout, int block, int64_t n)
{
    const int width = layout == FUL__NHWC || s.h * s.w == 1 ? s.c : block;
    return (ful__slabs){.images = n, .rows = (int64_t)s.h * s.w, .groups = s.c / width, .width = width};
}

/* Images of one group, as in NHWC, taken together: they are one matrix. */
static inline ful__slabs ful__slabs_of(ful_shape s, ful__layout layout, int block, int64_t n)
{
    const ful__slabs apart = ful__slabs_per_image(s, layout, block, n);
    if (apart.groups > 1) return apart;
    return (ful__slabs){.images = 1, .rows = n * apart.rows, .groups = 1, .width = apart.width};
}

static inline int64_t ful__slab_at(const ful__slabs *s, int64_t image, int group, int64_t row)
{
    return ((image * s->groups + group) * s->rows + row) * s->width;
}

/*
 * Slabs cut into chunks, each a range of images or a range of rows of one image, with all groups. The cut depends on the shape
 * and on n only, so sums taken within a chunk and then over the chunks in order do not depend on the number of threads.
 */
enum { FUL__CHUNK_FLOATS = 1 << 16, FUL__CHUNKS_MAX = 64 };

typedef struct ful__cut {
    int64_t images, rows; /* chunks over the images, chunks over the rows of an image: one of the two is 1 (or images all) */
} ful__cut;

static inline ful__cut ful__cut_of(const ful__slabs *s)
{
    int64_t want = s->images * s->groups * s->rows * s->width / FUL__CHUNK_FLOATS;
    want = want < 1 ? 1 : want > FUL__CHUNKS_MAX ? FUL__CHUNKS_MAX : want;
    if (want <= s->images) return (ful__cut){want, 1};
    const int64_t rows = (want + s->images - 1) / s->images;
    return (ful__cut){s->images, rows < s->rows ? rows : s->rows};
}

static inline int64_t ful__cut_chunks(ful__cut cut)
{
    return cut.images * cut.rows;
}

/* No n of so many floats or fewer gives more chunks. */
static inline size_t ful__chunks_bound(int64_t floats)
{
    const int64_t want = floats / FUL__CHUNK_FLOATS + 1;
    return 2 * (size_t)(want < FUL__CHUNKS_MAX ? want : FUL__CHUNKS_MAX);
}

typedef struct ful__chunk {
    int64_t image, image_end, row, row_end;
} ful__chunk;

static inline ful__chunk ful__chunk_of(const ful__slabs *s, ful__cut cut, int64_t chunk)
{
    ful__chunk c;
    ful__share(s->images, cut.images, chunk / cut.rows, &c.image, &c.image_end);
    ful__share(s->rows, cut.rows, chunk % cut.rows, &c.row, &c.row_end);
    return c;
}

/* Work that needs no sum over slabs: chunk c of ful__slab_chunks() takes slabs *begin … *end - 1. */
static inline int64_t ful__slab_chunks(const ful__slabs *s)
{
    const int64_t slabs = s->images * s->groups, chunks = slabs * s->rows * s->width / (FUL__CHUNK_FLOATS / 4) + 1;
    return slabs < chunks ? slabs : chunks;
}

static inline void ful__slab_share(const ful__slabs *s, int64_t chunk, int64_t *begin, int64_t *end)
{
    ful__share(s->images * s->groups, ful__slab_chunks(s), chunk, begin, end);
}

/*
 * Whether kernels should write y past the caches. Measured, batch-norm and a reader of its output together: a quarter less time
 * for 8 MB and more, a quarter more for 4 MB and less. Needs whole aligned vectors of any level, and other inputs than y
 * itself.
 */
static inline bool ful__worth_streaming(const float *y, int64_t floats, int64_t width)
{
    return floats > (int64_t)3 << 19 && width % 16 == 0 && ((uintptr_t)y & 63u) == 0;
}

#endif
