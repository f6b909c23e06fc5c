/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/conv2d/blocked.h"

#include <fulcrum/core.h>

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

ful__blocked_fn ful__blocked_multiply(void)
{
    return SIMD_PICK(multiply);
}

ful__blocked_outer_fn ful__blocked_multiply_outer(void)
{
    return SIMD_PICK(multiply_outer);
}
