/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One source of a kernel, compiled once for each CPU level. simd_levels.h includes this file and then the kernels:
 *
 *   LANES, vf, vi   16, 8 or 4 lanes of float and of int32; + - * / < > & work lane by lane (a comparison gives 0 or -1)
 *   FN(name)        name_avx512, name_avx2, name_base
 *   TARGET          goes before every function
 *
 * The base level is whatever the compiler makes of vectors of four floats: SSE2, NEON, or scalar code.
 * (No include guard: it is meant to be read again with another SIMD_LEVEL.)
 */
#undef LANES
#undef FN
#undef TARGET

#if SIMD_LEVEL == 2
#define LANES    16
#define FN(name) name##_avx512
#define TARGET   FUL__AVX512
#elif SIMD_LEVEL == 1
#define LANES    8
#define FN(name) name##_avx2
#define TARGET   FUL__AVX2
#else
#define LANES    4
#define FN(name) name##_base
#define TARGET
#endif

#define INLINE    static inline __attribute__((always_inline)) TARGET
#define NO_INLINE static __attribute__((noinline, noclone)) TARGET
#define vf        FN(vf)
#define vi        FN(vi)
#define vf_any    FN(vf_any)

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
typedef float vf_any __attribute__((vector_size(4 * LANES), aligned(4), may_alias)); /* in memory, at any address */

INLINE vf FN(vload)(const float *p)
{
    return *(const vf_any *)p;
}

INLINE void FN(vstore)(float *p, vf v)
{
    *(vf_any *)p = v;
}

/* v, in a register. What is loaded for several uses, the compiler otherwise may load again for each. */
INLINE vf FN(vhold)(vf v)
{
#if SIMD_LEVEL == 2 && !defined(FULCRUM_EMULATE_AVX512)
    __asm__("" : "+v"(v));
#elif SIMD_LEVEL == 1
    __asm__("" : "+x"(v));
#endif
    return v;
}

/* p, in a register that nothing says how to compute, as the start of addresses that compilers would otherwise derive anew. */
INLINE const float *FN(phold)(const float *p)
{
#if defined(__x86_64__)
    __asm__("" : "+r"(p));
#endif
    return p;
}

INLINE vf FN(vset)(float x)
{
    return x - (vf){0}; /* minus: keeps -0 */
}

/* 0, 1, 2, … */
INLINE vi FN(vlanes)(void)
{
#if SIMD_LEVEL == 2
    return (vi){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#elif SIMD_LEVEL == 1
    return (vi){0, 1, 2, 3, 4, 5, 6, 7};
#else
    return (vi){0, 1, 2, 3};
#endif
}

/* The first n lanes of v, 0 in the others. */
INLINE vf FN(vfirst)(vf v, int n)
{
    return (vf)((vi)v & (FN(vlanes)() < n));
}

/* The first n < LANES floats; the other lanes are 0 and their memory is not touched. */
INLINE vf FN(vload_n)(const float *p, int n)
{
#if SIMD_LEVEL == 2
    return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1u), p);
#elif SIMD_LEVEL == 1
    return (vf)_mm256_maskload_ps(p, (__m256i)(FN(vlanes)() < n));
#else
    vf v = {0};
    for (int i = 0; i < n; i++) v[i] = p[i];
    return v;
#endif
}

INLINE void FN(vstore_n)(float *p, vf v, int n)
{
#if SIMD_LEVEL == 2
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1u), (__m512)v);
#elif SIMD_LEVEL == 1
    _mm256_maskstore_ps(p, (__m256i)(FN(vlanes)() < n), (__m256)v);
#else
    for (int i = 0; i < n; i++) p[i] = v[i];
#endif
}

/* n = 0 stands for a whole vector: kernels are written once for the full vectors of a row and for its last few floats. */
INLINE vf FN(vget)(const float *p, const int n)
{
    return n ? FN(vload_n)(p, n) : FN(vload)(p);
}

INLINE void FN(vput)(float *p, vf v, const int n)
{
    if (n)
        FN(vstore_n)(p, v, n);
    else
        FN(vstore)(p, v);
}

/*
 * A store of a whole vector past the caches, to an address that is a multiple of its size. Pays where the output is larger than
 * the second-level cache, because the old lines need not be fetched; ful__worth_streaming (slabs.h) decides. A kernel that
 * streamed ends with vfence(), so that other threads see what it wrote.
 */
INLINE void FN(vstream)(float *p, vf v)
{
#if SIMD_LEVEL == 2
    _mm512_stream_ps(p, (__m512)v);
#elif SIMD_LEVEL == 1
    _mm256_stream_ps(p, (__m256)v);
#else
    FN(vstore)(p, v);
#endif
}

INLINE void FN(vfence)(void)
{
#if SIMD_LEVEL > 0
    _mm_sfence();
#endif
}

/* p[0], p[stride], p[2 stride], … */
INLINE vf FN(vgather)(const float *p, int32_t stride)
{
#if SIMD_LEVEL == 2
    return (vf)_mm512_i32gather_ps((__m512i)(FN(vlanes)() * stride), p, 4);
#elif SIMD_LEVEL == 1
    return (vf)_mm256_i32gather_ps(p, (__m256i)(FN(vlanes)() * stride), 4);
#else
    return (vf){p[0], p[stride], p[2 * (int64_t)stride], p[3 * (int64_t)stride]};
#endif
}

/* a * b + c, rounded once where the CPU level can. */
INLINE vf FN(vfma)(vf a, vf b, vf c)
{
#if SIMD_LEVEL == 2
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif SIMD_LEVEL == 1
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

/* v where x > 0, else 0. */
INLINE vf FN(vwhere_positive)(vf x, vf v)
{
#if SIMD_LEVEL == 2
    return (vf)_mm512_maskz_mov_ps(_mm512_cmp_ps_mask((__m512)x, _mm512_setzero_ps(), _CMP_GT_OQ), (__m512)v);
#else
    return (vf)((x > (vf){0}) & (vi)v);
#endif
}

/* a > b ? a : b, so a NaN in b comes through. */
INLINE vf FN(vmax)(vf a, vf b)
{
#if SIMD_LEVEL == 2
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif SIMD_LEVEL == 1
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
    const vi above = a > b;
    return (vf)((above & (vi)a) | (~above & (vi)b));
#endif
}

/* name(v): one of the lanes and another by `op` until one is left, halves onto halves. at_base: of two floats, for the base
 * level. */
#undef HALVES
#undef FOLD_LANES
#if SIMD_LEVEL == 2
#define HALVES(v, op) _mm256_##op##_ps(_mm512_castps512_ps256((__m512)(v)), _mm512_extractf32x8_ps((__m512)(v), 1))
#elif SIMD_LEVEL == 1
#define HALVES(v, op) (__m256)(v)
#endif
#if SIMD_LEVEL > 0
#define FOLD_LANES(name, op, at_base)                                                                \
    INLINE float name(vf v)                                                                          \
    {                                                                                                \
        const __m256 eight = HALVES(v, op);                                                          \
        __m128 four = _mm_##op##_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1)); \
        four = _mm_##op##_ps(four, _mm_movehl_ps(four, four));                                       \
        return _mm_cvtss_f32(_mm_##op##_ss(four, _mm_shuffle_ps(four, four, 1)));                    \
    }
#else
#define FOLD_LANES(name, op, at_base)                                      \
    INLINE float name(vf v)                                                \
    {                                                                      \
        const float even = at_base(v[0], v[2]), odd = at_base(v[1], v[3]); \
        return at_base(even, odd);                                         \
    }
#endif
#define SUM_OF(a, b)  ((a) + (b))
#define MOST_OF(a, b) ((a) > (b) ? (a) : (b))
FOLD_LANES(FN(vsum), add, SUM_OF)
FOLD_LANES(FN(vmost), max, MOST_OF)
#undef SUM_OF
#undef MOST_OF

#define vload           FN(vload)
#define vstore          FN(vstore)
#define vhold           FN(vhold)
#define vset            FN(vset)
#define vlanes          FN(vlanes)
#define vfirst          FN(vfirst)
#define vload_n         FN(vload_n)
#define vstore_n        FN(vstore_n)
#define vget            FN(vget)
#define vput            FN(vput)
#define vstream         FN(vstream)
#define vfence          FN(vfence)
#define vgather         FN(vgather)
#define vfma            FN(vfma)
#define vwhere_positive FN(vwhere_positive)
#define vmax            FN(vmax)
#define vsum            FN(vsum)
#define vmost           FN(vmost)
