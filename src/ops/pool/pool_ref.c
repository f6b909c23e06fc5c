/* SPDX-License-Identifier: Apache-2.0 */
/* Pooling by the definition, one output after the other. */
#include <math.h>

#include "ops/ref.h"

/* Visits the real pixels of output o = ((n*oh + oy)*ow + ox)*c + ch; returns the average, or the maximum and where it lies. */
static double window(const ful__ref *r, int64_t o, int64_t *where_out, int *pixels_out)
{
    const ful_pool_attr *a = r->attr;
    const ful_shape in = r->op->x[0], out = r->op->y;
    const int ch = (int)(o % out.c), ox = (int)(o / out.c % out.w), oy = (int)(o / out.c / out.w % out.h);
    const int64_t n = o / ful__count(out);
    double sum = 0, best = 0;
    int pixels = 0;
    for (int y = oy * a->stride - a->pad; y < oy * a->stride - a->pad + a->kernel; y++)
        for (int x = ox * a->stride - a->pad; x < ox * a->stride - a->pad + a->kernel; x++) {
            if (y < 0 || y >= in.h || x < 0 || x >= in.w) continue;
            const int64_t i = ((n * in.h + y) * in.w + x) * in.c + ch;
            const double value = r->x[0][i];
            if (pixels == 0 || value > best || (isnan(value) && !isnan(best))) {
                best = value;
                *where_out = i;
            }
            sum += value;
            pixels++;
        }
    *pixels_out = pixels;
    return a->kind == FUL_POOL_MAX ? best : sum / pixels;
}

void ful__pool_fwd__ref(const ful__ref *r)
{
    int64_t where;
    int pixels;
    for (int64_t o = 0; o < r->n * ful__count(r->op->y); o++) r->y[o] = window(r, o, &where, &pixels);
}

/* Average: every real pixel of the window gets its share. */
static void spread(const ful__ref *r, int64_t o, double share)
{
    const ful_pool_attr *a = r->attr;
    const ful_shape in = r->op->x[0], out = r->op->y;
    const int ch = (int)(o % out.c), ox = (int)(o / out.c % out.w), oy = (int)(o / out.c / out.w % out.h);
    const int64_t n = o / ful__count(out);
    for (int y = oy * a->stride - a->pad; y < oy * a->stride - a->pad + a->kernel; y++)
        for (int x = ox * a->stride - a->pad; x < ox * a->stride - a->pad + a->kernel; x++)
            if (y >= 0 && y < in.h && x >= 0 && x < in.w) r->dx[0][((n * in.h + y) * in.w + x) * in.c + ch] += share;
}

void ful__pool_bwd__ref(const ful__ref *r)
{
    const ful_pool_attr *a = r->attr;
    for (int64_t i = 0; i < r->n * ful__count(r->op->x[0]); i++) r->dx[0][i] = 0;
    for (int64_t o = 0; o < r->n * ful__count(r->op->y); o++) {
        int64_t where = 0;
        int pixels;
        (void)window(r, o, &where, &pixels);
        if (a->kind == FUL_POOL_MAX)
            r->dx[0][where] += r->dy[o];
        else
            spread(r, o, r->dy[o] / pixels);
    }
}
