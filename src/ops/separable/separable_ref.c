/* SPDX-License-Identifier: Apache-2.0 */
/* separable as its two formulas say. */
#include "ops/ref.h"

/* mid[n][oy][ox][c] */
static double mid_at(const ful__ref *r, const ful_conv2d_attr *a, int64_t image, int oy, int ox, int c)
{
    const ful_shape x = r->op->x[0];
    double sum = r->w[1][c];
    for (int ky = 0; ky < a->kernel_h; ky++)
        for (int kx = 0; kx < a->kernel_w; kx++) {
            const int iy = oy * a->stride_h - a->pad_h + ky, ix = ox * a->stride_w - a->pad_w + kx;
            if (iy < 0 || iy >= x.h || ix < 0 || ix >= x.w) continue;
            sum += r->x[0][image * ful__count(x) + ((int64_t)iy * x.w + ix) * x.c + c] *
                   r->w[0][((int64_t)c * a->kernel_h + ky) * a->kernel_w + kx];
        }
    return sum;
}

void ful__separable_fwd__ref(const ful__ref *r)
{
    const ful__separable_attr *a = r->attr;
    const ful_shape y = r->op->y;
    const int channels = r->op->x[0].c;
    for (int64_t pixel = 0; pixel < (int64_t)r->n * y.h * y.w; pixel++) {
        const int64_t image = pixel / (y.h * y.w);
        const int oy = (int)(pixel / y.w % y.h), ox = (int)(pixel % y.w);
        double *out = r->y + pixel * y.c;
        for (int o = 0; o < y.c; o++) out[o] = r->w[3][o] + (a->pointwise.residual ? r->x[1][pixel * y.c + o] : 0.0);
        for (int c = 0; c < channels; c++) {
            const double mid = ful__act_value__ref(a->depthwise.act, mid_at(r, &a->depthwise.conv, image, oy, ox, c));
            for (int o = 0; o < y.c; o++) out[o] += mid * r->w[2][(int64_t)o * channels + c];
        }
        for (int o = 0; o < y.c; o++) out[o] = ful__act_value__ref(a->pointwise.act, out[o]);
    }
}
