/* SPDX-License-Identifier: Apache-2.0 */
/* Attention as the formula has it: nothing is kept, every score is computed anew where it is needed. */
#include <math.h>
#include <string.h>

#include "ops/attention/attention.h"
#include "ops/ref.h"

enum { QUERIES, KEYS, VALUES };

/* One head of one image. */
typedef struct head {
    const ful__ref *r;
    int64_t t, queries, d, width;
    double eps, scale;
    bool normed;
    const double *x; /* [t][3d], from this head's channel on */
} head;

static head head_of(const ful__ref *r, int image, int number)
{
    const ful__attention *at = (const ful__attention *)r->op;
    head h = {
        .r = r, .t = at->tokens, .queries = at->queries, .d = at->d, .width = at->head, .scale = 1 / sqrt((double)at->head)};
    h.eps = (double)at->attr.eps;
    h.normed = at->attr.qk_norm;
    h.x = r->x[0] + image * h.t * 3 * h.d + number * h.width;
    return h;
}

static const double *vector(const head *h, int which, int64_t t)
{
    return h->x + t * 3 * h->d + which * h->d;
}

/* Of a query or key: what is taken off, and times what; the gain and the bias of element i. */
typedef struct norm {
    double mean, rstd;
    const double *gamma, *beta;
} norm;

static norm norm_of(const head *h, int which, int64_t t)
{
    norm n = {.rstd = 1};
    if (!h->normed || which == VALUES) return n;
    const double *x = vector(h, which, t);
    double var = 0;
    for (int64_t i = 0; i < h->width; i++) n.mean += x[i] / (double)h->width;
    for (int64_t i = 0; i < h->width; i++) var += (x[i] - n.mean) * (x[i] - n.mean) / (double)h->width;
    n.rstd = 1 / sqrt(var + h->eps);
    n.gamma = h->r->w[2 * which];
    n.beta = h->r->w[2 * which + 1];
    return n;
}

static double element(const norm *n, const double *x, int64_t i)
{
    return n->gamma ? n->gamma[i] * (x[i] - n->mean) * n->rstd + n->beta[i] : x[i];
}

static double score(const head *h, int64_t t, int64_t s)
{
    const norm q = norm_of(h, QUERIES, t), k = norm_of(h, KEYS, s);
    double sum = 0;
    for (int64_t i = 0; i < h->width; i++) sum += element(&q, vector(h, QUERIES, t), i) * element(&k, vector(h, KEYS, s), i);
    return h->scale * sum;
}

/* P_ts = exp(score - most) / sum */
static void softmax_of(const head *h, int64_t t, double *most, double *sum)
{
    *most = -INFINITY;
    *sum = 0;
    for (int64_t s = 0; s < h->t; s++) *most = fmax(*most, score(h, t, s));
    for (int64_t s = 0; s < h->t; s++) *sum += exp(score(h, t, s) - *most);
}

void ful__attention_fwd__ref(const ful__ref *r)
{
    const ful__attention *at = (const ful__attention *)r->op;
    memset(r->y, 0, (size_t)(r->n * ful__count(r->op->y)) * sizeof(double));
    for (int64_t i = 0; i < (int64_t)r->n * at->attr.heads; i++) {
        const int image = (int)(i / at->attr.heads), number = (int)(i % at->attr.heads);
        const head h = head_of(r, image, number);
        for (int64_t t = 0; t < h.queries; t++) {
            double *y = r->y + (image * h.queries + t) * h.d + number * h.width, most, sum;
            softmax_of(&h, t, &most, &sum);
            for (int64_t s = 0; s < h.t; s++)
                for (int64_t j = 0; j < h.width; j++) y[j] += exp(score(&h, t, s) - most) / sum * vector(&h, VALUES, s)[j];
        }
    }
}

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* What query t gives to the gradients dx [t][3d] of queries and keys, as normalised, and values. */
static void query_back(const head *h, int64_t t, const double *dy, double *dx)
{
    double most, sum, mean = 0;
    const norm q = norm_of(h, QUERIES, t);
    softmax_of(h, t, &most, &sum);
    for (int64_t s = 0; s < h->t; s++) mean += exp(score(h, t, s) - most) / sum * dot(dy, vector(h, VALUES, s), h->width);
    for (int64_t s = 0; s < h->t; s++) {
        const norm k = norm_of(h, KEYS, s);
        const double p = exp(score(h, t, s) - most) / sum;
        const double ds = h->scale * p * (dot(dy, vector(h, VALUES, s), h->width) - mean);
        double *dq = dx + t * 3 * h->d, *dk = dx + s * 3 * h->d + h->d, *dv = dk + h->d;
        for (int64_t j = 0; j < h->width; j++) {
            dq[j] += ds * element(&k, vector(h, KEYS, s), j);
            dk[j] += ds * element(&q, vector(h, QUERIES, t), j);
            dv[j] += p * dy[j];
        }
    }
}

/* Through the norm of a query or key: the gradient g in place, those of its weights added to. */
static void norm_back(const head *h, int which, int64_t t, double *g)
{
    const norm n = norm_of(h, which, t);
    const double *x = vector(h, which, t);
    double m1 = 0, m2 = 0;
    for (int64_t i = 0; i < h->width; i++) {
        const double normal = (x[i] - n.mean) * n.rstd;
        h->r->dw[2 * which][i] += g[i] * normal;
        h->r->dw[2 * which + 1][i] += g[i];
        m1 += n.gamma[i] * g[i] / (double)h->width;
        m2 += n.gamma[i] * g[i] * normal / (double)h->width;
    }
    for (int64_t i = 0; i < h->width; i++) g[i] = n.rstd * (n.gamma[i] * g[i] - m1 - (x[i] - n.mean) * n.rstd * m2);
}

void ful__attention_bwd__ref(const ful__ref *r)
{
    const ful__attention *at = (const ful__attention *)r->op;
    memset(r->dx[0], 0, (size_t)(r->n * ful__count(r->op->x[0])) * sizeof(double));
    for (int64_t i = 0; i < (int64_t)r->n * at->attr.heads; i++) {
        const int image = (int)(i / at->attr.heads), number = (int)(i % at->attr.heads);
        const head h = head_of(r, image, number);
        double *dx = r->dx[0] + image * h.t * 3 * h.d + number * h.width;
        for (int64_t t = 0; t < h.queries; t++) query_back(&h, t, r->dy + (image * h.queries + t) * h.d + number * h.width, dx);
        for (int64_t t = 0; t < h.t && h.normed; t++) {
            norm_back(&h, QUERIES, t, dx + t * 3 * h.d);
            norm_back(&h, KEYS, t, dx + t * 3 * h.d + h.d);
        }
    }
}
