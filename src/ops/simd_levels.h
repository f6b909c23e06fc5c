/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compiles a file of kernels (simd.h says what it may use) for every CPU level:
 *
 *   #define SIMD_KERNELS "ops/act/act_kernels.h"
 *   #include "ops/simd_levels.h"
 *   …
 *   const act_kernels *k = SIMD_PICK(kernels);   the best of kernels_base, kernels_avx2, kernels_avx512 now allowed
 *
 * (No include guard: once a .c file.)
 */
#include <stdint.h>
#include <string.h>

#include <fulcrum/core.h>

#include "ops/x86.h"

#if defined(__x86_64__)
#define SIMD_PICK(name) \
    (ful_cpu_flags() & FUL_CPU_AVX512 ? &name##_avx512 : ful_cpu_flags() & FUL_CPU_AVX2 ? &name##_avx2 : &name##_base)
#else
#define SIMD_PICK(name) (&name##_base)
#endif

#define SIMD_LEVEL 0
#include "ops/simd.h"
#include SIMD_KERNELS
#undef SIMD_LEVEL

#if defined(__x86_64__)
#define SIMD_LEVEL 1
#include "ops/simd.h"
#include SIMD_KERNELS
#undef SIMD_LEVEL

#define SIMD_LEVEL 2
#include "ops/simd.h"
#include SIMD_KERNELS
#undef SIMD_LEVEL
#endif
