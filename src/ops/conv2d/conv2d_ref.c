/* SPDX-License-Identifier: Apache-2.0 */
/* conv2d as its formula says, any groups, stride, padding and dilation. */
#include <stddef.h>
#include <string.h>

#include "ops/ref.h"

/*
 * Every term of y[n][oy][ox][o] = sum over (i, ky, kx) of x[n][oy*s-p+ky*d][ox*s-p+kx*d][i] * w[o][i][ky][kx]: visit is called
 * with the three offsets. All three passes are this one walk.
 */
typedef void (*visit_fn)(const ful__ref *r, int64_t x, int64_t w, int64_t y);

static void walk_pixel(const ful__ref *r, const ful_conv2d_attr *a, int64_t image, int oy, int ox, visit_fn visit)
{
    const ful_shape x = r->op->x[0], y = r->op->y;
    const int in = x.c / a->groups, out = y.c / a->groups;
    for (int o = 0; o < y.c; o++)
        for (int i = 0; i < in; i++)
            for (int ky = 0; ky < a->kernel_h; ky++)
                for (int kx = 0; kx < a->kernel_w; kx++) {
                    const int iy = oy * a->stride_h - a->pad_h + ky * a->dilation_h;
                    const int ix = ox * a->stride_w - a->pad_w + kx * a->dilation_w;
                    if (iy < 0 || iy >= x.h || ix < 0 || ix >= x.w) continue;
                    visit(r, image * ful__count(x) + ((int64_t)iy * x.w + ix) * x.c + o / out * in + i,
                          (((int64_t)o * in + i) * a->kernel_h + ky) * a->kernel_w + kx,
                          image * ful__count(y) + ((int64_t)oy * y.w + ox) * y.c + o);
                }
}

static void walk(const ful__ref *r, const ful_conv2d_attr *a, visit_fn visit)
{
    for (int64_t n = 0; n < r->n; n++)
        for (int oy = 0; oy < r->op->y.h; oy++)
            for (int ox = 0; ox < r->op->y.w; ox++) walk_pixel(r, a, n, oy, ox, visit);
}

static void visit_y(const ful__ref *r, int64_t x, int64_t w, int64_t y)
{
    r->y[y] += r->x[0][x] * r->w[0][w];
}

static void visit_dx(const ful__ref *r, int64_t x, int64_t w, int64_t y)
{
    r->dx[0][x] += r->dy[y] * r->w[0][w];
}

static void visit_dw(const ful__ref *r, int64_t x, int64_t w, int64_t y)
{
    r->dw[0][w] += r->dy[y] * r->x[0][x];
}

static void forward(const ful__ref *r, const ful_conv2d_attr *a)
{
    const int64_t count = r->n * ful__count(r->op->y);
    for (int64_t i = 0; i < count; i++) r->y[i] = a->bias ? r->w[1][i % r->op->y.c] : 0.0;
    walk(r, a, visit_y);
}

void ful__conv2d_fwd__ref(const ful__ref *r)
{
    forward(r, r->attr);
}

void ful__conv2d_bwd__ref(const ful__ref *r)
{
    const ful_conv2d_attr *a = r->attr;
    const int64_t count = r->n * ful__count(r->op->y);
    if (r->dx[0]) {
        memset(r->dx[0], 0, (size_t)(r->n * ful__count(r->op->x[0])) * sizeof(double));
        walk(r, a, visit_dx);
    }
    if (r->dw[0]) walk(r, a, visit_dw);
    for (int64_t i = 0; a->bias && r->dw[1] && i < count; i++) r->dw[1][i % r->op->y.c] += r->dy[i];
}

void ful__conv_fused_fwd__ref(const ful__ref *r)
{
    const ful__conv_fused_attr *a = r->attr;
    const int64_t count = r->n * ful__count(r->op->y);
    forward(r, &a->conv);
    for (int64_t i = 0; a->residual && i < count; i++) r->y[i] += r->x[1][i];
    for (int64_t i = 0; i < count; i++) r->y[i] = ful__act_value__ref(a->act, r->y[i]);
}
