/* SPDX-License-Identifier: Apache-2.0 */
/* exp, the activations and their slopes: close to double, at the ends of the range too, and the same bits at every CPU level.
 */
#include <math.h>
#include <stdlib.h>

#include "ops/act_math.h"
#include "support/test.h"
#include <fulcrum/core.h>

enum { COUNT = 20011 }; /* no multiple of any vector */

static double cdf(double x)
{
    return 0.5 * erfc(-x / sqrt(2.0));
}

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static double value(ful_act act, double x)
{
    switch (act) {
    case FUL_ACT_RELU: return x > 0 ? x : 0;
    case FUL_ACT_GELU: return x * cdf(x);
    case FUL_ACT_SILU: return x * sigmoid(x);
    case FUL_ACT_HARD_SWISH: return x * fmin(fmax(x + 3, 0), 6) / 6;
    case FUL_ACT_RELU6: return fmin(fmax(x, 0), 6);
    case FUL_ACT_HARD_SIGMOID: return fmin(fmax(x + 3, 0), 6) / 6;
    default: return x;
    }
}

static double slope(ful_act act, double x)
{
    switch (act) {
    case FUL_ACT_RELU: return x > 0;
    case FUL_ACT_GELU: return cdf(x) + x * exp(-x * x / 2) / sqrt(2 * acos(-1.0));
    case FUL_ACT_SILU: return sigmoid(x) * (1 + x * (1 - sigmoid(x)));
    case FUL_ACT_HARD_SWISH: return x < -3 ? 0 : x >= 3 ? 1 : (2 * x + 3) / 6;
    case FUL_ACT_RELU6: return x > 0 && x < 6;
    case FUL_ACT_HARD_SIGMOID: return x > -3 && x < 3 ? 1.0 / 6 : 0;
    default: return 1;
    }
}

static void fill(float *x, double lo, double hi)
{
    for (int i = 0; i < COUNT; i++) x[i] = (float)(lo + (hi - lo) * i / (COUNT - 1));
}

static void accuracy(void **state)
{
    (void)state;
    static float x[COUNT], y[COUNT], dy[COUNT], dx[COUNT];
    fill(x, -12.9, 12.9);
    for (int i = 0; i < COUNT; i++) dy[i] = 1.0f;
    for (ful_act act = FUL_ACT_NONE; act <= FUL__ACT_LAST; act++) {
        ful__act_forward(act, x, y, COUNT);
        ful__act_backward(act, x, dy, dx, COUNT);
        for (int i = 0; i < COUNT; i++) {
            const double v = value(act, x[i]), s = slope(act, x[i]);
            if (!(fabs(y[i] - v) <= 1e-6 * fabs(v) + 1e-37))
                fail_msg("act %d of %g: %g, wanted %g", act, (double)x[i], (double)y[i], v);
            if (!(fabs(dx[i] - s) <= 1e-6)) fail_msg("slope %d at %g: %g, wanted %g", act, (double)x[i], (double)dx[i], s);
        }
    }
    fill(x, -87, 88);
    ful__exp_shifted(x, 0.25f, y, COUNT);
    for (int i = 0; i < COUNT; i++) assert_true(fabs(y[i] / exp((double)(x[i] - 0.25f)) - 1) <= 2e-7);
}

static void ends(void **state)
{
    (void)state;
    const float inf = INFINITY, big = 3e38f;
    assert_true(ful__scalar_exp(-inf) == 0 && ful__scalar_exp(-200) == 0);
    assert_true(isinf(ful__scalar_exp(inf)) && isinf(ful__scalar_exp(89)));
    assert_true(ful__scalar_exp(-103) > 0 && ful__scalar_exp(0) == 1); /* denormals are not lost */
    for (ful_act act = FUL_ACT_RELU; act <= FUL__ACT_LAST; act++) {
        const float x[] = {-big, -50, -0.0f, 0, 50, big, inf, NAN};
        float y[8];
        ful__act_forward(act, x, y, 8);
        const float zero = act == FUL_ACT_HARD_SIGMOID ? 0.5f : 0;
        const float most = act == FUL_ACT_HARD_SIGMOID ? 1 : act == FUL_ACT_RELU6 ? 6 : inf;
        for (int i = 0; i < 2; i++) assert_true(y[i] == 0 || (y[i] < 0 && y[i] > -1e-19f));
        for (int i = 2; i < 4; i++) assert_true(y[i] == zero);
        for (int i = 4; i < 7; i++) assert_true(y[i] == fminf(x[i], most));
        assert_true(isnan(y[7])); /* a NaN must reach whoever looks for it */
    }
}

static bool same(const float *a, const float *b)
{
    for (int i = 0; i < COUNT; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i]))) return false;
    return true;
}

static void same_bits(void **state)
{
    (void)state;
    static float x[COUNT], dy[COUNT], y[COUNT], dx[COUNT], e[COUNT], y2[COUNT], dx2[COUNT], e2[COUNT];
    const float special[] = {INFINITY, -INFINITY, NAN, 0.0f, -0.0f, 1e-42f, -1e-42f, 3e38f, -3e38f, 89, -104, 15, -15, 3, -3};
    fill(x, -105, 90);
    memcpy(x + 5, special, sizeof special);
    for (int i = 0; i < COUNT; i++) dy[i] = (float)(i % 7) - 3.0f;
    for (ful_act act = FUL_ACT_NONE; act <= FUL__ACT_LAST; act++) {
        ful__act_forward(act, x, y, COUNT);
        ful__act_backward(act, x, dy, dx, COUNT);
        ful__exp_shifted(x, 0.5f, e, COUNT);
        for (unsigned mask = 0; mask <= FUL_CPU_AVX2; mask += FUL_CPU_AVX2) {
            ful_cpu_mask_set(mask);
            ful__act_forward(act, x, y2, COUNT);
            memcpy(dx2, dy, sizeof dx2);
            ful__act_backward(act, x, dx2, dx2, COUNT); /* in place */
            ful__exp_shifted(x, 0.5f, e2, COUNT);
            assert_true(same(y, y2) && same(dx, dx2) && same(e, e2));
        }
        ful_cpu_mask_set(~0u);
    }
    for (int i = 0; i < COUNT; i++) y2[i] = ful__scalar_gelu(x[i]);
    ful__act_forward(FUL_ACT_GELU, x, y, COUNT);
    assert_true(same(y, y2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accuracy),
        cmocka_unit_test(ends),
        cmocka_unit_test(same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
