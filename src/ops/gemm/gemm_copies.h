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

/* By a few steps of all tiles: the lines are read once while they are in the L1 cache, and a strip is written by whole lines.
 * The last step of a strip leaves the next strip alone. */
TARGET static void copy_strips(float *to, const float *x, int64_t ld, const uint32_t *index, int64_t k, const int64_t *first,
                               int64_t tiles)
{
    enum { STEPS_AT_ONCE = 8 };
    for (int64_t begin = 0; begin < k; begin += STEPS_AT_ONCE) {
        const int64_t end = begin + STEPS_AT_ONCE < k ? begin + STEPS_AT_ONCE : k - 1;
        for (int64_t i = 0; i < tiles; i++)
            for (int64_t p = begin; p < end; p++)
                copy_vectors(to + (i * k + p) * STRIP, line_at(x, ld, index, p) + first[i], STRIP_VECTORS);
    }
    const float *last = line_at(x, ld, index, k - 1);
    for (int64_t i = 0; i < tiles; i++) memcpy(to + (i * k + k - 1) * STRIP, last + first[i], STRIP * sizeof *to);
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
