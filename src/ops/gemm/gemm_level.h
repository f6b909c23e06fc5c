/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The micro-kernels: tiles of C, each at most mr x nr, over a block of k, from strips of A and B that lie k-major. A kernel
 * starts each element's chain from 0, from the bias or from C, and goes on with one fused multiply-add for each p in ascending
 * order: a further k block that starts from C continues the same chain, so the way k is cut does not show in the bits.
 */
#ifndef FUL_OPS_GEMM_LEVEL_H
#define FUL_OPS_GEMM_LEVEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FUL__GEMM_KC_MAX = 256, /* of all levels, as are the next three */
    FUL__GEMM_MR_MAX = 14,
    FUL__GEMM_NR_MAX = 32,
    FUL__GEMM_STRIP_FLOATS_MAX = 65536, /* of the strips of A that are packed at a time: 256 kB */
    FUL__GEMM_SUM_ROWS = 64,            /* steps of k whose values of A are added up by themselves */
    FUL__GEMM_LINE = 16,                /* floats of a line of the caches */
    FUL__GEMM_LANES = 16                /* lines that a transposition takes at most; floats of a strip's step at most */
};

typedef enum ful__gemm_start { FUL__GEMM_FROM_ZERO, FUL__GEMM_FROM_BIAS, FUL__GEMM_FROM_C } ful__gemm_start;

typedef struct ful__gemm_tile {
    int rows, cols; /* 1..mr, 1..nr */
    int64_t k;
    const float *a;            /* [k][strip]; or NULL, and: */
    const float *const *a_row; /* [rows] each row of A where it lies, [k] */
    const float *b;            /* [k][nr], b_stride from k to k */
    int64_t b_stride;
    float *b_copy; /* [k][nr] receives B, when not NULL: cols is nr then */
    float *c;
    int64_t ldc;
    ful__gemm_start start;
    const float *bias; /* [cols] */
    /* What comes next and is brought nearer meanwhile, lines at next_c + next_c_at[p], p < c_fetches, and at next + next_at[p],
     * p < fetches: a later tile of C, and what will be packed. Both lists go on to one more than whichever count is larger,
     * with any addresses. */
    int64_t c_fetches, fetches; /* at most k */
    const float *next_c, *next;
    const int64_t *next_c_at, *next_at;
} ful__gemm_tile;

/* Lines that the tiles of a panel fetch, `share` with each, once `wait` of them are over: from + at[0], from + at[1] …; the
 * next tile goes on in the list where `step` is 0, otherwise it begins the list again, from `step` floats further on. */
typedef struct ful__gemm_lines {
    const float *from;
    const int64_t *at;
    int64_t step, share, left, wait;
} ful__gemm_lines;

/* The tiles of a panel of C, one below the other. A panel of B that lies elsewhere is copied by the first of them. */
typedef struct ful__gemm_tiles {
    int64_t count;
    const int64_t *first; /* [count + 1] tile i is rows first[i]..first[i+1] of C, counted from any row */
    ful__gemm_tile tile;  /* the first: rows is not used; a_row goes on to all rows */
    int64_t a_tile;       /* floats from one packed tile of A to the next */
    int64_t c_tiles;      /* tiles from one of C to the one fetched meanwhile, */
    int64_t c_panel[2];   /* in a panel so many floats away, or if the tiles of that are over, so many */
    int streams;          /* 1, or 2 that take turns */
    ful__gemm_lines lines[2];
} ful__gemm_tiles;

typedef struct ful__gemm_level {
    const char *name;
    int mr, nr;
    int strip; /* floats from k to k of a packed tile of A, mr or more; packing reads and writes by lanes, tile after tile */
    int kc;    /* longest block of k, a multiple of FUL__GEMM_SUM_ROWS: a panel of B and a tile of A are in the L1 cache */
    int tiles; /* of A that are taken at a time, and so share a packed panel of B: they are in the L2 cache */
    bool a_in_place;     /* the kernel takes rows of A where they lie */
    bool fetches_packed; /* panels of B that were packed come nearer ahead of their tiles; else the processor sees to it */
    /* tiles begin..end, after those before them (gemm_tiles.h) */
    void (*run)(ful__gemm_tiles *tiles, int64_t begin, int64_t end);
    /* to[p*stride + i] = line[i][p], i < count, p < k; 0 for count <= i < lanes (a divisor of nr, strip or more) where the next
     * step does not begin before; as many behind the last. */
    int lanes;
    void (*transpose)(float *to, int64_t stride, const float *const *line, int count, int64_t k);
    /* gemm_copies.h. Line p, the values of step p, lies at x + index[p]*ld, at x + p*ld when index is NULL. */
    /* to[p*nr + i] = line(p)[i], i < nr */
    void (*copy_panel)(float *to, const float *x, int64_t ld, const uint32_t *index, int64_t k);
    /* to[(i*k + p)*strip + j] = line(p)[first[i] + j], i < tiles, j < strip; reads up to lanes */
    void (*copy_strips)(float *to, const float *x, int64_t ld, const uint32_t *index, int64_t k, const int64_t *first,
                        int64_t tiles);
    /* sums[i*lanes + j] = the sum over p < k of strips[i*ld + p*strip + j], in order from 0; i < tiles, j < strip */
    void (*sum_strips)(const float *strips, int64_t ld, int64_t k, int64_t tiles, float *sums);
} ful__gemm_level;

extern const ful__gemm_level ful__gemm_scalar;
#if defined(__x86_64__)
extern const ful__gemm_level ful__gemm_avx2, ful__gemm_avx512;
#endif
const ful__gemm_level *ful__gemm_level_now(void); /* by ful_cpu_flags() */

#endif
