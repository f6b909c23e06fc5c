/* SPDX-License-Identifier: Apache-2.0 */
/* Dropout with one draw after the other. */
#include "ops/dropout/dropout.h"
#include "ops/ref.h"

static bool keeps(const ful__ref *r, ful__stream stream, int64_t image, int64_t i)
{
    const ful_dropout_attr *attr = r->attr;
    const uint64_t row = r->row ? r->row[image] : (uint64_t)image;
    if (attr->whole_image) return ful__dropout_keeps_image(stream, r->step, row, attr->p);
    uint32_t word[4];
    const uint64_t group = (uint64_t)(i / FUL__DROPOUT_GROUP), block = (uint64_t)(i % FUL__DROPOUT_BLOCKS);
    ful__rng_words(stream, r->step, ful__dropout_first_block(row, ful__count(r->op->y)) + group * FUL__DROPOUT_BLOCKS + block,
                   word);
    return word[i % FUL__DROPOUT_GROUP / FUL__DROPOUT_BLOCKS] >= ful__dropout_threshold(attr->p);
}

static void drop(const ful__ref *r, const double *x, double *y)
{
    const float p = ((const ful_dropout_attr *)r->attr)->p;
    const ful__stream stream = ful__stream_make(r->seed, "dropout", r->op->name);
    const int64_t count = ful__count(r->op->y);
    for (int64_t n = 0; n < r->n; n++)
        for (int64_t i = n * count; i < (n + 1) * count; i++)
            y[i] = !r->train || p == 0 ? x[i] : keeps(r, stream, n, i - n * count) ? x[i] / (1 - (double)p) : 0;
}

void ful__dropout_fwd__ref(const ful__ref *r)
{
    drop(r, r->x[0], r->y);
}

void ful__dropout_bwd__ref(const ful__ref *r)
{
    drop(r, r->dy, r->dx[0]);
}
