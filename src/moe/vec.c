/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels on whole tokens: the choice of CPU level. */
#include "moe/vec.h"

#define SIMD_KERNELS "moe/vec_kernels.h"
#include "ops/simd_levels.h"

const ful__vec *ful__vec_get(void)
{
    return SIMD_PICK(vec);
}
