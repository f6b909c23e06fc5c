/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The intrinsics of x86, and what the functions of a CPU level are compiled for. With FULCRUM_EMULATE_AVX512 the AVX-512 level
 * is made of AVX2 instructions by SIMD Everywhere: slow, but its kernels can be tested on a CPU that has only AVX2.
 */
#ifndef FUL_OPS_X86_H
#define FUL_OPS_X86_H

#if defined(__x86_64__)
#define FUL__AVX2 __attribute__((target("avx2,fma")))

#ifndef FULCRUM_EMULATE_AVX512
#include <immintrin.h>
#define FUL__AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma")))
#else
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx2.h>
#include <simde/x86/avx512.h>
#include <simde/x86/fma.h>
#define FUL__AVX512 FUL__AVX2

/* What it lacks. */
#include <stdint.h>
#include <string.h>

static inline __m512 ful__emulated_maskz_loadu_ps(__mmask16 mask, const float *from)
{
    float lane[16];
    for (int i = 0; i < 16; i++) lane[i] = mask >> i & 1 ? from[i] : 0;
    return _mm512_loadu_ps(lane);
}

static inline void ful__emulated_mask_storeu_ps(float *to, __mmask16 mask, __m512 v)
{
    float lane[16];
    _mm512_storeu_ps(lane, v);
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1) to[i] = lane[i];
}

static inline __m512 ful__emulated_i32gather_ps(__m512i at, const float *from, int scale)
{
    float lane[16];
    int32_t index[16];
    memcpy(index, &at, sizeof index);
    for (int i = 0; i < 16; i++) memcpy(&lane[i], (const char *)from + (int64_t)index[i] * scale, sizeof lane[i]);
    return _mm512_loadu_ps(lane);
}

static inline void ful__emulated_stream_ps(float *to, __m512 v)
{
    _mm512_storeu_ps(to, v);
}

static inline float ful__emulated_cvtss_f32(__m512 v)
{
    float lane[16];
    _mm512_storeu_ps(lane, v);
    return lane[0];
}

static inline __m256 ful__emulated_extractf32x8_ps(__m512 v, int half)
{
    float lane[16];
    _mm512_storeu_ps(lane, v);
    return _mm256_loadu_ps(lane + 8 * half);
}

#define _mm512_maskz_loadu_ps(mask, from)    ful__emulated_maskz_loadu_ps((mask), (from))
#define _mm512_mask_storeu_ps(to, mask, v)   ful__emulated_mask_storeu_ps((to), (mask), (v))
#define _mm512_i32gather_ps(at, from, scale) ful__emulated_i32gather_ps((at), (from), (scale))
#define _mm512_stream_ps(to, v)              ful__emulated_stream_ps((to), (v))
#define _mm512_cvtss_f32(v)                  ful__emulated_cvtss_f32(v)
#define _mm512_extractf32x8_ps(v, half)      ful__emulated_extractf32x8_ps((v), (half))
#undef _mm512_shuffle_f32x4
#define _mm512_shuffle_f32x4(a, b, which) simde_mm512_shuffle_f32x4((a), (b), (which))
#endif
#endif

#endif
