/* SPDX-License-Identifier: Apache-2.0 */
/* y[c][r] = x[r][c] for rows [row, row_end). Compiled once a CPU level. */

/*
 * LANES x LANES values: in each round, halves of the vectors (quarters, …) that belong to each other's side of the diagonal
 * change places.
 */
INLINE void FN(tile)(const float *x, int64_t cols, float *y, int64_t rows)
{
    vf v[LANES];
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) v[i] = vload(x + i * cols);
#pragma GCC unroll 4
    for (int s = LANES / 2; s > 0; s /= 2) {
        const vi lane = vlanes(), far = ((lane & s) != 0) & (LANES - s);
        const vi low = lane + far, high = lane + far + s;
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
            if (i & s) continue;
            const vf a = v[i], b = v[i + s];
            v[i] = __builtin_shuffle(a, b, low);
            v[i + s] = __builtin_shuffle(a, b, high);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) vstore(y + i * rows, v[i]);
}

static TARGET void FN(transpose)(const float *x, int64_t rows, int64_t cols, int64_t row, int64_t row_end, float *y)
{
    for (; row + LANES <= row_end; row += LANES) {
        int64_t c = 0;
        for (; c + LANES <= cols; c += LANES) FN(tile)(x + row * cols + c, cols, y + c * rows + row, rows);
        for (; c < cols; c++)
            for (int i = 0; i < LANES; i++) y[c * rows + row + i] = x[(row + i) * cols + c];
    }
    for (; row < row_end; row++)
        for (int64_t c = 0; c < cols; c++) y[c * rows + row] = x[row * cols + c];
}

static const transpose_fn FN(kernel) = FN(transpose);
