/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a level copies lines that are steps of k into panels and strips, and adds strips up. Included once by each level's file
 * (so no guard), after NR, STRIP, VECTOR (floats that move at once, a divisor of NR) and TARGET (goes before a function).
 */
#include <string.h>

typedef float vector __attribute__((vector_size(4 * VECTOR), aligned(4), may_alias));

enum { STRIP_VECTORS = (STRIP + VECTOR - 1) / VECTOR }; /* of a step; the last may reach into the next */

static inline const float *line_at(const float *x, int64_t ld, const uint32_t *index, int64_t q)
{
    return x + (index ? index[q] : q) * ld;
}

TARGET static inline void copy_vectors(float *to, const float *from, const int vectors)
{
#pragma GCC unroll 4
    for (int i = 0; i < vectors; i++) *(vector *)(to + i * VECTOR) = *(const vector *)(from + i * VECTOR);
}

TARGET static void copy_panel(float *to, const float *x, int64_t ld, const uint32_t *index, int64_t k)
{
    for (int64_t p = 0; p < k; p++) copy_vectors(to + p * NR, line_at(x, ld, index, p), NR / VECTOR);
}

/* Some steps of a strip, as many as are unrolled: what it takes is instructions. */
TARGET static inline __attribute__((always_inline)) void copy_steps(float *to, const float *const *line, int64_t from,
                                                                    const int steps)
{
#pragma GCC unroll 8
    for (int p = 0; p < steps; p++) copy_vectors(to + p * STRIP, line[p] + from, STRIP_VECTORS);
}

/* By a few steps of all tiles: the lines are read once while they are in the L1 cache, and a strip is written by whole lines.
 * The last step of a strip leaves the next strip alone. */
TARGET static void copy_strips(float *to, const float *x, int64_t ld, const uint32_t *index, int64_t k, const int64_t *first,
                               int64_t tiles)
{
    enum { TOGETHER = 8 };
    const float *line[TOGETHER];
    int64_t begin = 0;
    for (; begin + TOGETHER < k; begin += TOGETHER) {
        for (int p = 0; p < TOGETHER; p++) line[p] = line_at(x, ld, index, begin + p);
        for (int64_t i = 0; i < tiles; i++) copy_steps(to + (i * k + begin) * STRIP, line, first[i], TOGETHER);
    }
    const int left = (int)(k - begin);
    for (int p = 0; p < left; p++) line[p] = line_at(x, ld, index, begin + p);
    for (int64_t i = 0; i < tiles && left > 0; i++) {
        float *last = to + (i * k + begin) * STRIP;
        for (int p = 0; p < left - 1; p++, last += STRIP) copy_vectors(last, line[p] + first[i], STRIP_VECTORS);
        memcpy(last, line[left - 1] + first[i], STRIP * sizeof *last);
    }
}

TARGET static inline __attribute__((always_inline)) void sum_together(const float *strips, int64_t ld, int64_t k, float *sums,
                                                                      const int count)
{
    vector sum[4][STRIP_VECTORS] = {0};
    for (int64_t p = 0; p < k; p++, strips += STRIP)
#pragma GCC unroll 4
        for (int i = 0; i < count; i++)
            for (int v = 0; v < STRIP_VECTORS; v++) sum[i][v] += *(const vector *)(strips + i * ld + v * VECTOR);
#pragma GCC unroll 4
    for (int i = 0; i < count; i++)
        for (int v = 0; v < STRIP_VECTORS; v++) *(vector *)(sums + (i * STRIP_VECTORS + v) * VECTOR) = sum[i][v];
}

/* By four strips, because a chain of additions alone keeps nobody busy. */
TARGET static void sum_strips(const float *strips, int64_t ld, int64_t k, int64_t tiles, float *sums)
{
    int64_t i = 0;
    for (; i + 4 <= tiles; i += 4) sum_together(strips + i * ld, ld, k, sums + i * STRIP_VECTORS * VECTOR, 4);
    for (; i < tiles; i++) sum_together(strips + i * ld, ld, k, sums + i * STRIP_VECTORS * VECTOR, 1);
}
