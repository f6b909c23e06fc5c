/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/conv2d/blocked.h"

#include <fulcrum/core.h>

#include "core/parallel.h"

/* Sums a kernel keeps in registers. */
#define PRODUCT_SUMS (LANES == 16 ? 24 : LANES == 8 ? 12 : 8)
/* Weights are fetched so many steps before their use: they are read once, and the hardware stops at the ends of pages. */
#define AHEAD 24
#define LINE  16
/* Rows of the outer product whose sums stay in registers, beside one block of columns and beside more. */
#define OUTER_ROWS_1 (LANES == 16 ? 16 : LANES)
#define OUTER_ROWS   (LANES == 16 ? 8 : 4)
#define SIMD_KERNELS "ops/conv2d/blocked_kernels.h"
#include "ops/simd_levels.h"

typedef struct packing {
    const float *w;
    int64_t rows, row_step, col_step;
    int width;
    float *packed;
} packing;

static void pack_panel(void *ctx, int64_t panel, int thread)
{
    (void)thread;
    const packing *p = ctx;
    const float *from = p->w + panel * p->width * p->col_step;
    float *to = p->packed + panel * p->rows * p->width;
    for (int64_t r = 0; r < p->rows; r++, from += p->row_step)
        for (int64_t c = 0; c < p->width; c++) *to++ = from[c * p->col_step];
}

void ful__blocked_pack(const float *w, int64_t rows, int64_t cols, int64_t row_step, int64_t col_step, int width, float *packed)
{
    packing p = {w, rows, row_step, col_step, width, packed};
    ful__parallel_for(cols / width, pack_panel, &p);
}

ful__blocked_fn ful__blocked_multiply(void)
{
    return SIMD_PICK(multiply);
}

ful__blocked_outer_fn ful__blocked_multiply_outer(void)
{
    return SIMD_PICK(multiply_outer);
}
