/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The product of matrices whose channels lie in blocks of B = ful__block(), as images do: what is left of a convolution once
 * its input is cut into tiles (winograd.c) or patches (patches.c).
 *
 *   v [blocks][rows][B]     w [blocks*B][group*B]     m [group][rows][B]
 *   m[g][r][:] = sum over c = 0, 1, … of v[c/B][r][c%B] * w[c][g*B + :]
 *
 * Each value is one chain of multiply-adds in ascending c, so it does not depend on the other rows. v and m must have memory
 * for a multiple of FUL__BLOCKED_ROWS rows, of which only `rows` mean something.
 */
#ifndef FUL_OPS_CONV2D_BLOCKED_H
#define FUL_OPS_CONV2D_BLOCKED_H

#include <stdint.h>

enum { FUL__BLOCKED_ROWS = 24, FUL__BLOCK_MAX = 16 };

typedef struct ful__blocked_product {
    const float *v, *w;
    float *m;
    int64_t v_block, m_block; /* floats between blocks of v, of m */
    int blocks, rows, group;  /* group: 1 or 2 */
} ful__blocked_product;

/* Of the CPU level in force, AVX2 at least. */
typedef void (*ful__blocked_fn)(const ful__blocked_product *p);
ful__blocked_fn ful__blocked_multiply(void);

#endif
