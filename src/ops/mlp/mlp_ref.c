/* SPDX-License-Identifier: Apache-2.0 */
/* y = W2 v + b2, v = act(u) or act(a) g, u = [a | g] = W1 x + b1, row by row; hidden values are made anew where needed. */
#include <string.h>

#include "ops/mlp/mlps.h"
#include "ops/ref.h"

typedef struct row {
    const ful__ref *r;
    const ful_mlp_attr *a;
    int64_t d, h;
    const double *x;
} row;

static double up(const row *m, int64_t i)
{
    double sum = m->r->w[FUL__MLP_B1][i];
    for (int64_t j = 0; j < m->d; j++) sum += m->r->w[FUL__MLP_W1][i * m->d + j] * m->x[j];
    return sum;
}

static double hidden(const row *m, int64_t i)
{
    const double value = ful__act_value__ref(m->a->act, up(m, i));
    return m->a->gated ? value * up(m, m->h + i) : value;
}

static row row_of(const ful__ref *r, int64_t t)
{
    const ful_mlp_attr *a = r->attr;
    return (row){.r = r, .a = a, .d = r->op->y.c, .h = a->hidden, .x = r->x[0] + t * r->op->y.c};
}

static int64_t rows_of(const ful__ref *r)
{
    return (int64_t)r->n * r->op->y.h * r->op->y.w;
}

void ful__mlp_fwd__ref(const ful__ref *r)
{
    for (int64_t t = 0; t < rows_of(r); t++) {
        const row m = row_of(r, t);
        double *y = r->y + t * m.d;
        memcpy(y, r->w[FUL__MLP_B2], (size_t)m.d * sizeof(double));
        for (int64_t i = 0; i < m.h; i++) {
            const double v = hidden(&m, i);
            for (int64_t j = 0; j < m.d; j++) y[j] += r->w[FUL__MLP_W2][j * m.h + i] * v;
        }
    }
}

/* The gradient du of value i of u goes to W1, b1 and x. */
static void up_back(const row *m, int64_t i, double du, double *dx)
{
    m->r->dw[FUL__MLP_B1][i] += du;
    for (int64_t j = 0; j < m->d; j++) {
        m->r->dw[FUL__MLP_W1][i * m->d + j] += du * m->x[j];
        dx[j] += du * m->r->w[FUL__MLP_W1][i * m->d + j];
    }
}

void ful__mlp_bwd__ref(const ful__ref *r)
{
    memset(r->dx[0], 0, (size_t)(r->n * ful__count(r->op->x[0])) * sizeof(double));
    for (int64_t t = 0; t < rows_of(r); t++) {
        const row m = row_of(r, t);
        const double *dy = r->dy + t * m.d;
        double *dx = r->dx[0] + t * m.d;
        for (int64_t j = 0; j < m.d; j++) r->dw[FUL__MLP_B2][j] += dy[j];
        for (int64_t i = 0; i < m.h; i++) {
            const double v = hidden(&m, i), u = up(&m, i), slope = ful__act_slope__ref(m.a->act, u);
            double dv = 0;
            for (int64_t j = 0; j < m.d; j++) {
                r->dw[FUL__MLP_W2][j * m.h + i] += dy[j] * v;
                dv += dy[j] * r->w[FUL__MLP_W2][j * m.h + i];
            }
            up_back(&m, i, dv * slope * (m.a->gated ? up(&m, m.h + i) : 1), dx);
            if (m.a->gated) up_back(&m, m.h + i, dv * ful__act_value__ref(m.a->act, u), dx);
        }
    }
}
