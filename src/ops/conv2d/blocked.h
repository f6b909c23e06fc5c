/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The product of matrices whose channels lie in blocks of B = ful__block(), as images do: what is left of a convolution once
 * its input is cut into tiles (winograd.c) or patches (patches.c), or once each channel is convolved alone (separable.c).
 *
 *   v [blocks][rows][B]     w [blocks*B][group*B]     m [group][rows][B]
 *   m[g][r][:] = act(bias[g*B + :] + sum over c = 0, 1, … of v[c/B][r][c%B] * w[c][g*B + :] + residual[g][r][:])
 *
 * Each value is one chain of multiply-adds that begins with the bias and goes on in ascending c, so it does not depend on the
 * other rows.
 */
#ifndef FUL_OPS_CONV2D_BLOCKED_H
#define FUL_OPS_CONV2D_BLOCKED_H

#include <fulcrum/ops.h>
#include <stdbool.h>
#include <stdint.h>

/* ROWS: a number of rows that suits the kernels of every level. */
enum { FUL__BLOCKED_ROWS = 24, FUL__BLOCK_MAX = 16 };

typedef struct ful__blocked_product {
    const float *v, *w;
    float *m;
    int64_t v_block, m_block; /* floats between blocks of v, of m */
    int blocks, rows, group;  /* group: 1 or 2 */
    float *far;               /* stored here as well, past the caches, whole vectors aligned; NULL: not */
    int64_t far_block;        /* floats between its blocks */
    const float *bias;        /* NULL: 0 */
    const float *residual;    /* lies as m does, or is m; NULL: none */
    ful_act act;              /* none, or one that ful__act_fuses */
} ful__blocked_product;

/*
 * The product that sums over the rows: the gradient of the weights. AVX2 at least.
 *
 *   v [v_blocks][rows][B]   e [e_blocks][rows][B]   out [v_blocks*B][width], of which e_blocks*B columns are written
 *   out[c][d] (+)= sum over r = 0, 1, … of v[c/B][r][c%B] * e[d/B][r][d%B]
 */
typedef struct ful__blocked_outer {
    const float *v, *e;
    float *out;
    int64_t v_block, e_block, width; /* floats between blocks of v, of e, between rows of out */
    int v_blocks, e_blocks, rows;
    bool add; /* to what is there */
} ful__blocked_outer;

/* w for multiply, [cols/width][rows][width], width = group*B: element (row, col) is w[row * row_step + col * col_step]. */
void ful__blocked_pack(const float *w, int64_t rows, int64_t cols, int64_t row_step, int64_t col_step, int width,
                       float *packed);

/* Of the CPU level in force. */
typedef void (*ful__blocked_fn)(const ful__blocked_product *p);
ful__blocked_fn ful__blocked_multiply(void);
typedef void (*ful__blocked_outer_fn)(const ful__blocked_outer *p);
ful__blocked_outer_fn ful__blocked_multiply_outer(void);

#endif
