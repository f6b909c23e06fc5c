/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/ref.h"
#include "ops/tokens/tokens.h"

/* Whether token t, channel c of y comes from x, and from which value of the image. */
static bool from_patch(const ful__ref *r, int64_t t, int c, int64_t *at)
{
    const int64_t first = ((const ful_tokens_attr *)r->attr)->class_token;
    *at = (t - first) * r->op->y.c + c;
    return t >= first;
}

static double position(const ful__ref *r, int64_t t, int c)
{
    const ful_tokens_attr *a = r->attr;
    const int64_t patch = t - a->class_token;
    if (a->positions == FUL_POSITIONS_LEARNED) return r->w[a->class_token ? 1 : 0][t * r->op->y.c + c];
    if (a->positions == FUL_POSITIONS_NONE || patch < 0) return 0;
    return ful__sincos_position(r->op->y.c, (int)(patch / r->op->x[0].w), (int)(patch % r->op->x[0].w), c);
}

void ful__tokens_fwd__ref(const ful__ref *r)
{
    const ful_shape y = r->op->y;
    for (int64_t i = 0; i < r->n; i++)
        for (int64_t t = 0; t < y.w; t++)
            for (int c = 0; c < y.c; c++) {
                int64_t at;
                const double token = from_patch(r, t, c, &at) ? r->x[0][i * ful__count(r->op->x[0]) + at] : r->w[0][c];
                r->y[(i * y.w + t) * y.c + c] = token + position(r, t, c);
            }
}

void ful__tokens_bwd__ref(const ful__ref *r)
{
    const ful_tokens_attr *a = r->attr;
    const ful_shape y = r->op->y;
    for (int64_t i = 0; i < r->n; i++)
        for (int64_t t = 0; t < y.w; t++)
            for (int c = 0; c < y.c; c++) {
                int64_t at;
                const double dy = r->dy[(i * y.w + t) * y.c + c];
                if (from_patch(r, t, c, &at))
                    r->dx[0][i * ful__count(r->op->x[0]) + at] = dy;
                else
                    r->dw[0][c] += dy;
                if (a->positions == FUL_POSITIONS_LEARNED) r->dw[a->class_token ? 1 : 0][t * y.c + c] += dy;
            }
}
