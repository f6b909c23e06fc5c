/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/conv2d/depthwise_rows.h"

#define SIMD_KERNELS "ops/conv2d/depthwise_rows_kernels.h"
#include "ops/simd_levels.h"

ful__depthwise_rows_fn ful__depthwise_rows_convolve(void)
{
    return SIMD_PICK(convolve);
}
