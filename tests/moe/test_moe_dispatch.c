/* SPDX-License-Identifier: Apache-2.0 */
/* The pieces between router and experts by themselves: vector kernels at every CPU level, dispatch plan, combine, slots (card
 * B4). */
#include <fulcrum/core.h>

#include "moe/dispatch.h"
#include "moe/rig.h"
#include "moe/slots.h"
#include "moe/vec.h"

enum { LENGTHS = 8, MOST = 200 };
static const int lengths[LENGTHS] = {0, 1, 3, 8, 16, 17, 64, 197};

/* Every level gives the bits of plain C, and writes nothing beyond n. */
static void vectors(void **state)
{
    (void)state;
    float x[MOST], a[MOST], y[MOST], want[MOST], dot_of[LENGTHS];
    rig_fill(x, MOST, 1, "x", 1);
    rig_fill(a, MOST, 1, "a", 1);
    static const unsigned masks[] = {0, FUL_CPU_AVX2, ~0u};
    for (int level = 0; level < 3; level++) {
        ful_cpu_mask_set(masks[level]);
        const ful__vec *f = ful__vec_get();
        for (int l = 0; l < LENGTHS; l++) {
            const int n = lengths[l];
            double sum = 0;
            memcpy(want, a, sizeof want);
            memcpy(y, a, sizeof y);
            for (int i = 0; i < n; i++) want[i] = a[i] + x[i];
            f->add(x, y, n);
            assert_memory_equal(y, want, sizeof y);
            for (int i = 0; i < n; i++) want[i] = 0.3f * x[i];
            memcpy(y, a, sizeof y);
            f->scale(x, 0.3f, y, n);
            assert_memory_equal(y, want, sizeof y);
            for (int i = 0; i < n; i++) {
                const float product = 0.3f * x[i];
                want[i] = a[i] + product;
                sum += (double)a[i] * (double)x[i];
            }
            memcpy(y, a, sizeof y);
            f->add_scaled(y, 0.3f, x, y, n);
            assert_memory_equal(y, want, sizeof y);
            const float dot = f->dot(a, x, n);
            assert_true(fabs((double)dot - sum) < 1e-4);
            if (level == 0) dot_of[l] = dot;
            assert_memory_equal(&dot, &dot_of[l], sizeof dot);
        }
    }
    ful_cpu_mask_set(~0u);
}

/* METHODS fixture F1, top-2 with C = 3: only token 3's second choice is dropped; loads [3,3,1]. */
static void plan_and_combine(void **state)
{
    (void)state;
    const int32_t expert[8] = {0, 1, 0, 1, 0, 2, 1, 0};
    const uint8_t kept[8] = {1, 1, 1, 1, 1, 1, 1, 0};
    const int64_t counts[3] = {3, 3, 1};
    int64_t offset[4];
    uint32_t pair[8], token[8];
    int32_t row[8];
    ful__dispatch d = {.t = 4, .k = 2, .e = 3, .offset = offset, .pair = pair, .token = token, .row = row};
    ful__dispatch_plan(&d, expert, kept, counts);
    assert_int_equal(d.rows, 7);
    static const int64_t want_offset[4] = {0, 3, 6, 7};
    static const uint32_t want_token[7] = {0, 1, 2, 0, 1, 3, 2}, want_pair[7] = {0, 2, 4, 1, 3, 6, 5};
    static const int32_t want_row[8] = {0, 3, 1, 4, 2, 6, 5, -1};
    assert_memory_equal(offset, want_offset, sizeof want_offset);
    assert_memory_equal(token, want_token, sizeof want_token);
    assert_memory_equal(pair, want_pair, sizeof want_pair);
    assert_memory_equal(row, want_row, sizeof want_row);

    enum { W = 5 };
    float x[4 * W], o[7 * W], y[4 * W], gate[8], gathered[7 * W], dy[4 * W], d_o[7 * W], dgate[8], dx[4 * W];
    rig_fill(x, 4 * W, 1, "x", 1);
    rig_fill(o, 7 * W, 1, "o", 1);
    rig_fill(dy, 4 * W, 1, "dy", 1);
    rig_fill(gate, 8, 1, "gate", 1);
    ful__gather(x, token, 7, W, gathered);
    ful__combine(&d, gate, W, x, o, y);
    ful__combine_backward(&d, gate, W, dy, o, d_o, dgate);
    ful__dispatch_backward(&d, W, dy, o, dx);
    for (int r = 0; r < 7; r++) assert_memory_equal(gathered + r * W, x + token[r] * W, W * sizeof *x);
    for (int t = 0; t < 4; t++)
        for (int c = 0; c < W; c++) {
            float sum = x[t * W + c], back = dy[t * W + c];
            for (int i = 0; i < 2; i++) {
                if (row[t * 2 + i] < 0) continue;
                const float product = gate[t * 2 + i] * o[row[t * 2 + i] * W + c];
                sum += product;
                back += o[row[t * 2 + i] * W + c];
            }
            assert_true(y[t * W + c] == sum);
            assert_true(dx[t * W + c] == back);
        }
    for (int p = 0; p < 8; p++) {
        double dot = 0;
        for (int c = 0; c < W && row[p] >= 0; c++) {
            dot += (double)dy[p / 2 * W + c] * (double)o[row[p] * W + c];
            assert_true(d_o[row[p] * W + c] == gate[p] * dy[p / 2 * W + c]);
        }
        assert_true(fabs((double)dgate[p] - dot) < 1e-5);
    }
    ful__combine(&d, gate, W, x, o, x); /* in place */
    assert_memory_equal(x, y, sizeof y);
    ful__dispatch_backward(&d, W, dy, o, dy);
    assert_memory_equal(dy, dx, sizeof dx);
}

/* [O:B4]: X, D, C as printed; f_0 = 2z, f_1 = -z. y here is with the residual. */
static void slots_of_card_b4(void **state)
{
    (void)state;
    const float x[6] = {1, 0, 0, 1, 1, 1}, l[6] = {1, 0, 0, 2, 1, 2};
    const float want_z[4] = {.844638f, .577681f, .531689f, .936621f};
    const float want_y[6] = {1.091966f, .592741f, -.266944f, -.687251f, .065620f, -.374000f};
    const ful__slots s = {.groups = 1, .m = 3, .e = 2, .p = 1, .width = 2};
    float dispatch[6], combine[6], z[4], o[4], y[6];
    for (int i = 0; i < 6; i++) {
        const int t = i / 2, j = i % 2;
        dispatch[i] = expf(l[i]) / (expf(l[j]) + expf(l[2 + j]) + expf(l[4 + j]));
        combine[i] = expf(l[i]) / (expf(l[2 * t]) + expf(l[2 * t + 1]));
    }
    ful__slots_dispatch(&s, dispatch, x, z);
    for (int i = 0; i < 4; i++) {
        assert_true(fabsf(z[i] - want_z[i]) < 2e-6f);
        o[i] = (i < 2 ? 2.0f : -1.0f) * z[i];
    }
    ful__slots_combine(&s, combine, x, o, y);
    for (int i = 0; i < 6; i++) assert_true(fabsf(y[i] - x[i] - want_y[i]) < 3e-6f);
    double norm = (hypot(.844638, .577681) + hypot(.531689, .936621)) / 2 / ((2 + sqrt(2)) / 3);
    assert_true(fabs(ful__slots_norm(&s, x, z) - norm) < 1e-5);
}

/* Several groups, several slots an expert: rows lie expert by expert; backward is the transpose of forward. */
static void slots_in_groups(void **state)
{
    (void)state;
    enum { G = 3, M = 4, E = 2, P = 2, W = 5, S = E * P, T = G * M, R = G * S };
    const ful__slots s = {.groups = G, .m = M, .e = E, .p = P, .width = W};
    float x[T * W], dispatch[T * S], combine[T * S], z[R * W], o[R * W], y[T * W], dy[T * W], d_o[R * W], dc[T * S], dd[T * S],
        dx[T * W];
    rig_fill(x, T * W, 1, "x", 1);
    rig_fill(dy, T * W, 1, "dy", 1);
    rig_fill(o, R * W, 1, "o", 1);
    rig_fill(dispatch, T * S, 1, "dispatch", 1);
    rig_fill(combine, T * S, 1, "combine", 1);
    ful__slots_dispatch(&s, dispatch, x, z);
    ful__slots_combine(&s, combine, x, o, y);
    ful__slots_combine_backward(&s, combine, dy, o, d_o, dc);
    ful__slots_dispatch_backward(&s, dispatch, x, dy, o, dx, dd); /* o as the gradient of z */
    for (int t = 0; t < T; t++)
        for (int c = 0; c < W; c++) {
            double sum = (double)x[t * W + c], back = (double)dy[t * W + c];
            for (int j = 0; j < S; j++) {
                const int row = (j / P * G + t / M) * P + j % P;
                sum += (double)combine[t * S + j] * (double)o[row * W + c];
                back += (double)dispatch[t * S + j] * (double)o[row * W + c];
            }
            assert_true(fabs(sum - (double)y[t * W + c]) < 1e-5);
            assert_true(fabs(back - (double)dx[t * W + c]) < 1e-5);
        }
    for (int g = 0; g < G; g++)
        for (int j = 0; j < S; j++) {
            const int row = (j / P * G + g) * P + j % P;
            for (int c = 0; c < W; c++) {
                double sum = 0, back = 0;
                for (int t = g * M; t < (g + 1) * M; t++) {
                    sum += (double)dispatch[t * S + j] * (double)x[t * W + c];
                    back += (double)combine[t * S + j] * (double)dy[t * W + c];
                }
                assert_true(fabs(sum - (double)z[row * W + c]) < 1e-5);
                assert_true(fabs(back - (double)d_o[row * W + c]) < 1e-5);
            }
            for (int t = g * M; t < (g + 1) * M; t++) {
                double c_dot = 0, d_dot = 0;
                for (int c = 0; c < W; c++) {
                    c_dot += (double)dy[t * W + c] * (double)o[row * W + c];
                    d_dot += (double)x[t * W + c] * (double)o[row * W + c];
                }
                assert_true(fabs(c_dot - (double)dc[t * S + j]) < 1e-5);
                assert_true(fabs(d_dot - (double)dd[t * S + j]) < 1e-5);
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(vectors), cmocka_unit_test(plan_and_combine),
                                       cmocka_unit_test(slots_of_card_b4), cmocka_unit_test(slots_in_groups)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
