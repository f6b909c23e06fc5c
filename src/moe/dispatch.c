/* SPDX-License-Identifier: Apache-2.0 */
/* Dispatch and combine for pair routes. */
#include "moe/dispatch.h"

#include <string.h>

#include "core/parallel.h"
#include "moe/vec.h"

void ful__dispatch_plan(ful__dispatch *d, const int32_t *expert, const uint8_t *kept, const int64_t *counts)
{
    /* offset[e] first runs ahead as the next free row of e; shifting it back by one expert at the end restores the starts. */
    d->offset[0] = 0;
    for (int e = 0; e < d->e; e++) d->offset[e + 1] = d->offset[e] + counts[e];
    d->rows = d->offset[d->e];
    for (int64_t t = 0, p = 0; t < d->t; t++)
        for (int i = 0; i < d->k; i++, p++) {
            d->row[p] = -1;
            if (kept && !kept[p]) continue;
            const int64_t r = d->offset[expert[p]]++;
            d->row[p] = (int32_t)r;
            d->pair[r] = (uint32_t)p;
            d->token[r] = (uint32_t)t;
        }
    memmove(d->offset + 1, d->offset, (size_t)d->e * sizeof *d->offset);
    d->offset[0] = 0;
}

/* Every loop below is cut into pieces of about this many floats of work. */
enum { PIECE_FLOATS = 32768 };

typedef struct job {
    const ful__dispatch *d;
    const ful__vec *f;
    int64_t items, per_piece, width;
    const uint32_t *index;
    const float *gate, *x, *o;
    float *out, *dgate;
} job;

static void run(job *j, int64_t items, ful__chunk_fn fn)
{
    j->f = ful__vec_get();
    j->items = items;
    j->per_piece = PIECE_FLOATS / j->width > 0 ? PIECE_FLOATS / j->width : 1;
    ful__parallel_for((items + j->per_piece - 1) / j->per_piece, fn, j);
}

static int64_t piece_begin(const job *j, int64_t chunk)
{
    return chunk * j->per_piece;
}

static int64_t piece_end(const job *j, int64_t chunk)
{
    const int64_t end = (chunk + 1) * j->per_piece;
    return end < j->items ? end : j->items;
}

static void gather_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const job *j = ctx;
    for (int64_t r = piece_begin(j, chunk); r < piece_end(j, chunk); r++)
        memcpy(j->out + r * j->width, j->x + j->index[r] * j->width, (size_t)j->width * sizeof(float));
}

void ful__gather(const float *x, const uint32_t *index, int64_t rows, int64_t width, float *out)
{
    job j = {.index = index, .width = width, .x = x, .out = out};
    run(&j, rows, gather_piece);
}

static void combine_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const job *j = ctx;
    const int64_t w = j->width;
    const int k = j->d->k;
    for (int64_t t = piece_begin(j, chunk); t < piece_end(j, chunk); t++) {
        float *y = j->out + t * w;
        const float *sum = j->x ? j->x + t * w : NULL;
        for (int64_t p = t * k; p < (t + 1) * k; p++) {
            if (j->d->row[p] < 0) continue;
            const float *o = j->o + j->d->row[p] * w;
            if (sum)
                j->f->add_scaled(sum, j->gate[p], o, y, w);
            else
                j->f->scale(o, j->gate[p], y, w);
            sum = y;
        }
        if (!sum)
            memset(y, 0, (size_t)w * sizeof(float));
        else if (sum != y)
            memcpy(y, sum, (size_t)w * sizeof(float));
    }
}

void ful__combine(const ful__dispatch *d, const float *gate, int64_t width, const float *x, const float *o, float *y)
{
    job j = {.d = d, .width = width, .gate = gate, .x = x, .o = o, .out = y};
    run(&j, d->t, combine_piece);
}

static void combine_backward_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const job *j = ctx;
    const int64_t w = j->width;
    const int k = j->d->k;
    for (int64_t t = piece_begin(j, chunk); t < piece_end(j, chunk); t++) {
        const float *dy = j->x + t * w;
        for (int64_t p = t * k; p < (t + 1) * k; p++) {
            const int64_t r = j->d->row[p];
            j->dgate[p] = r < 0 ? 0 : j->f->dot(dy, j->o + r * w, w);
            if (r >= 0) j->f->scale(dy, j->gate[p], j->out + r * w, w);
        }
    }
}

void ful__combine_backward(const ful__dispatch *d, const float *gate, int64_t width, const float *dy, const float *o,
                           float *d_o, float *dgate)
{
    job j = {.d = d, .width = width, .gate = gate, .x = dy, .o = o, .out = d_o, .dgate = dgate};
    run(&j, d->t, combine_backward_piece);
}

static void dispatch_backward_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const job *j = ctx;
    const int64_t w = j->width;
    const int k = j->d->k;
    for (int64_t t = piece_begin(j, chunk); t < piece_end(j, chunk); t++) {
        float *dx = j->out + t * w;
        if (!j->x)
            memset(dx, 0, (size_t)w * sizeof(float));
        else if (j->x != j->out)
            memcpy(dx, j->x + t * w, (size_t)w * sizeof(float));
        for (int64_t p = t * k; p < (t + 1) * k; p++)
            if (j->d->row[p] >= 0) j->f->add(j->o + j->d->row[p] * w, dx, w);
    }
}

void ful__dispatch_backward(const ful__dispatch *d, int64_t width, const float *dy, const float *dx_rows, float *dx)
{
    job j = {.d = d, .width = width, .x = dy, .o = dx_rows, .out = dx};
    run(&j, d->t, dispatch_backward_piece);
}
