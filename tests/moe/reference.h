/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mixture in double, as plain as its formula. The choice of experts and the load shares f_e are given (they are not
 * differentiated); the rest follows from parameters and input, so central differences of the objective
 *
 *   J = <v, y> + balance losses
 *
 * are what the op's backward must give.
 */
#ifndef FUL_TESTS_MOE_REFERENCE_H
#define FUL_TESTS_MOE_REFERENCE_H

#include "moe/rig.h"

typedef enum reference_kind { REF_PAIRS, REF_PATCH, REF_BATCH, REF_SAMPLE } reference_kind;

typedef struct reference {
    ful_moe_attr a;
    ful_shape s;
    reference_kind kind;
    int n, e, k, d;
    int64_t t, tokens, width; /* tokens of an image; values of a token */
    int n_params, n_router, per_expert;
    double **w, *x, *y, *v;
    int32_t *expert; /* [t][k] */
    uint8_t *kept;
    double *share; /* [e] */
    double tau, aux;
} reference;

static inline double ref_act(ful_act act, double x)
{
    switch (act) {
    case FUL_ACT_RELU: return x > 0 ? x : 0;
    case FUL_ACT_GELU: return 0.5 * x * (1 + erf(x / sqrt(2.0)));
    case FUL_ACT_SILU: return x / (1 + exp(-x));
    default: return x;
    }
}

/* y [out][h][w] = conv(x [in][h][w]), weight [out][in/groups][kernel][kernel], "same" padding. CHW inside the reference. */
static inline void ref_conv(const double *x, int in, int h, int w, const double *weight, const double *bias, int out,
                            int kernel, int groups, double *y)
{
    const int in_g = in / groups, out_g = out / groups, pad = kernel / 2;
    for (int o = 0; o < out; o++)
        for (int r = 0; r < h; r++)
            for (int c = 0; c < w; c++) {
                double sum = bias ? bias[o] : 0;
                for (int i = 0; i < in_g; i++)
                    for (int kr = 0; kr < kernel; kr++)
                        for (int kc = 0; kc < kernel; kc++) {
                            const int rr = r + kr - pad, cc = c + kc - pad;
                            if (rr < 0 || rr >= h || cc < 0 || cc >= w) continue;
                            sum += weight[((o * in_g + i) * kernel + kr) * kernel + kc] *
                                   x[((o / out_g * in_g + i) * h + rr) * w + cc];
                        }
                y[(o * h + r) * w + c] = sum;
            }
}

static inline void ref_norm(double *x, int channels, int pixels, const double *gamma, const double *beta)
{
    double mean = 0, var = 0;
    const int count = channels * pixels;
    for (int i = 0; i < count; i++) mean += x[i] / count;
    for (int i = 0; i < count; i++) var += (x[i] - mean) * (x[i] - mean) / count;
    for (int i = 0; i < count; i++) x[i] = (x[i] - mean) / sqrt(var + 1e-5) * gamma[i / pixels] + beta[i / pixels];
}

/* f_e of one row (NHWC). Parameters in the order of the branch. MLP: 1x1 convs. */
static inline void ref_expert(const reference *f, int e, const double *x, double *o)
{
    enum { MOST = 4096 };
    static double a[MOST], b[MOST], in[MOST];
    const bool mlp = f->a.expert == FUL_EXPERT_MLP, norm = f->a.norm == FUL_EXPERT_NORM_LAYER;
    const int pixels = (int)(f->width / f->d), h = pixels > 1 ? f->s.h : 1, w = pixels / h, d = f->d, hidden = f->a.hidden;
    const int kernel = f->a.expert == FUL_EXPERT_CONV ? 3 : 1;
    double **p = f->w + f->n_router + e * f->per_expert;
    int i = 0;
    assert_true(2 * hidden * pixels <= MOST && d * pixels <= MOST);
    for (int c = 0; c < d; c++)
        for (int q = 0; q < pixels; q++) in[c * pixels + q] = x[q * d + c];
    const double *weight = p[i++], *bias = mlp || !norm ? p[i++] : NULL;
    ref_conv(in, d, h, w, weight, bias, f->a.gated ? 2 * hidden : hidden, kernel, 1, a);
    if (norm) {
        ref_norm(a, hidden, pixels, p[i], p[i + 1]);
        i += 2;
    }
    for (int j = 0; j < hidden * pixels; j++) a[j] = ref_act(f->a.act, a[j]) * (f->a.gated ? a[hidden * pixels + j] : 1);
    if (f->a.expert == FUL_EXPERT_DWCONV) {
        weight = p[i++];
        bias = norm ? NULL : p[i++];
        ref_conv(a, hidden, h, w, weight, bias, hidden, 3, hidden, b);
        if (norm) {
            ref_norm(b, hidden, pixels, p[i], p[i + 1]);
            i += 2;
        }
        for (int j = 0; j < hidden * pixels; j++) a[j] = ref_act(f->a.act, b[j]);
    }
    weight = p[i++];
    bias = p[i++];
    assert_int_equal(i, f->per_expert);
    ref_conv(a, hidden, h, w, weight, bias, d, kernel, 1, b);
    for (int c = 0; c < d; c++)
        for (int q = 0; q < pixels; q++) o[q * d + c] = b[c * pixels + q];
}

static inline void ref_softmax(const double *x, int n, int stride, double *p)
{
    double max = x[0], sum = 0;
    for (int i = 1; i < n; i++) max = x[i * stride] > max ? x[i * stride] : max;
    for (int i = 0; i < n; i++) sum += exp(x[i * stride] - max);
    for (int i = 0; i < n; i++) p[i * stride] = exp(x[i * stride] - max) / sum;
}

/* The router's input of token t: the token, or the average of its map. */
static inline void ref_input(const reference *f, int64_t t, double *u)
{
    const int64_t pixels = f->width / f->d;
    for (int c = 0; c < f->d; c++) u[c] = 0;
    for (int64_t q = 0; q < pixels; q++)
        for (int c = 0; c < f->d; c++) u[c] += f->x[t * f->width + q * f->d + c] / (double)pixels;
}

static inline void ref_balance(reference *f, const double *logits, const double *prob)
{
    const int e = f->e;
    double mean = 0, var = 0, z = 0, entropy = 0;
    f->aux = 0;
    for (int j = 0; j < e; j++) {
        double importance = 0;
        for (int64_t t = 0; t < f->t; t++) importance += prob[t * e + j];
        f->aux += (double)f->a.switch_coef * e * f->share[j] * importance / (double)f->t;
        mean += importance / e;
        var += importance * importance / e;
    }
    var -= mean * mean;
    for (int64_t t = 0; t < f->t; t++) {
        double sum = 0;
        for (int j = 0; j < e; j++) {
            sum += exp(logits[t * e + j]);
            entropy -= prob[t * e + j] * log(prob[t * e + j]);
        }
        z += log(sum) * log(sum);
    }
    f->aux += (double)f->a.importance_coef * var / (mean * mean);
    f->aux += ((double)f->a.z_coef * z + (double)f->a.entropy_coef * entropy) / (double)f->t;
}

static inline void ref_pairs(reference *f)
{
    const int e = f->e, k = f->k;
    double *logits = calloc((size_t)(f->t * e), sizeof(double)), *prob = calloc((size_t)(f->t * e), sizeof(double));
    double *u = calloc((size_t)f->d, sizeof(double)), *o = calloc((size_t)f->width, sizeof(double));
    for (int64_t t = 0; t < f->t; t++) {
        ref_input(f, t, u);
        for (int j = 0; j < e; j++) {
            for (int c = 0; c < f->d; c++) logits[t * e + j] += u[c] * f->w[0][j * f->d + c] / f->tau;
        }
        ref_softmax(logits + t * e, e, 1, prob + t * e);
        double mass = 0;
        for (int i = 0; i < k; i++) mass += prob[t * e + f->expert[t * k + i]];
        if (f->a.gate == FUL_GATE_SOFTMAX_ALL) mass = 1;
        for (int64_t c = 0; c < f->width; c++) f->y[t * f->width + c] = f->a.bare ? 0 : f->x[t * f->width + c];
        for (int i = 0; i < k; i++) {
            const int j = f->expert[t * k + i];
            if (!f->kept[t * k + i]) continue;
            ref_expert(f, j, f->x + t * f->width, o);
            for (int64_t c = 0; c < f->width; c++) f->y[t * f->width + c] += prob[t * e + j] / mass * o[c];
        }
    }
    ref_balance(f, logits, prob);
    free(logits);
    free(prob);
    free(u);
    free(o);
}

/* Soft routes: scaled cosines; D over the tokens of a group, C over slots. REF_SAMPLE: no D, experts see the token. */
static inline void ref_soft(reference *f)
{
    const int s = f->kind == REF_SAMPLE ? f->e : f->e * f->a.soft_slots;
    const int64_t group = f->kind == REF_BATCH ? f->t : f->kind == REF_PATCH ? f->tokens : 1, w = f->width;
    double *logits = calloc((size_t)(group * s), sizeof(double)), *combine = calloc((size_t)(group * s), sizeof(double));
    double *dispatch = calloc((size_t)(group * s), sizeof(double)), *u = calloc((size_t)f->d, sizeof(double));
    double *z = calloc((size_t)w, sizeof(double)), *o = calloc((size_t)w, sizeof(double));
    for (int64_t begin = 0; begin < f->t; begin += group) {
        for (int64_t t = 0; t < group; t++) {
            ref_input(f, begin + t, u);
            double uu = 1e-6;
            for (int c = 0; c < f->d; c++) uu += u[c] * u[c];
            for (int j = 0; j < s; j++) {
                const double *phi = f->w[0] + j * f->d;
                double pp = 1e-6, up = 0;
                for (int c = 0; c < f->d; c++) {
                    pp += phi[c] * phi[c];
                    up += u[c] * phi[c];
                }
                logits[t * s + j] = f->w[1][0] / f->tau * up / sqrt(uu * pp);
            }
            ref_softmax(logits + t * s, s, 1, combine + t * s);
        }
        for (int j = 0; j < s; j++) ref_softmax(logits + j, (int)group, s, dispatch + j);
        for (int64_t i = begin * w; i < (begin + group) * w; i++) f->y[i] = f->a.bare ? 0 : f->x[i];
        for (int j = 0; j < s; j++) {
            memset(z, 0, (size_t)w * sizeof *z);
            for (int64_t t = 0; t < group; t++)
                for (int64_t c = 0; c < w; c++) z[c] += dispatch[t * s + j] * f->x[(begin + t) * w + c];
            ref_expert(f, f->kind == REF_SAMPLE ? j : j / f->a.soft_slots, z, o);
            for (int64_t t = 0; t < group; t++)
                for (int64_t c = 0; c < w; c++) f->y[(begin + t) * w + c] += combine[t * s + j] * o[c];
        }
    }
    f->aux = 0;
    free(logits);
    free(combine);
    free(dispatch);
    free(u);
    free(z);
    free(o);
}

static inline double ref_objective(reference *f)
{
    if (f->kind == REF_PAIRS)
        ref_pairs(f);
    else
        ref_soft(f);
    double j = f->aux;
    for (int64_t i = 0; i < f->t * f->width; i++) j += f->v[i] * f->y[i];
    return j;
}

static inline double *ref_doubles(const float *x, int64_t count)
{
    double *y = calloc((size_t)count + 1, sizeof *y);
    for (int64_t i = 0; x && i < count; i++) y[i] = (double)x[i];
    return y;
}

/* Which pairs a capacity of `cap` keeps, rank-major in token order, or by falling priority; chosen shares. As METHODS 0.5 says.
 */
static inline void ref_capacity(reference *f, int64_t cap, const float *priority)
{
    int64_t *count = calloc((size_t)f->e, sizeof *count);
    uint8_t *done = calloc((size_t)f->t, 1);
    for (int i = 0; i < f->k; i++) {
        memset(done, 0, (size_t)f->t);
        for (int64_t turn = 0; turn < f->t; turn++) {
            int64_t best = -1;
            for (int64_t t = 0; t < f->t; t++)
                if (!done[t] && (best < 0 || (priority && priority[t] > priority[best]))) best = t;
            done[best] = 1;
            const int64_t pair = best * f->k + i;
            f->kept[pair] = cap == 0 || count[f->expert[pair]] < cap;
            count[f->expert[pair]]++;
        }
    }
    for (int j = 0; j < f->e; j++) f->share[j] = (double)count[j] / (double)(f->t * f->k);
    free(count);
    free(done);
}

/* After a forward of the rig: the same parameters, input and choices. v: weights of the objective, [t][width]. */
static inline void ref_open(reference *f, const rig *r, const ful_moe_attr *attr, const float *v)
{
    int64_t route_t;
    int route_k;
    const int32_t *expert;
    const float *gate;
    *f = (reference){.a = *attr, .s = r->x_shape, .n = r->n, .e = attr->experts, .d = r->x_shape.c, .tau = 1};
    f->kind = strcmp(attr->router, "soft_patch") == 0    ? REF_PATCH
              : strcmp(attr->router, "soft_batch") == 0  ? REF_BATCH
              : strcmp(attr->router, "soft_sample") == 0 ? REF_SAMPLE
                                                         : REF_PAIRS;
    f->tokens = attr->token == FUL_TOKEN_PIXEL ? (int64_t)f->s.h * f->s.w : 1;
    f->width = ful__count(f->s) / f->tokens;
    f->t = f->n * f->tokens;
    f->n_params = r->n_params;
    f->n_router = f->kind == REF_PAIRS ? 1 : 2;
    f->per_expert = (r->n_params - f->n_router) / f->e;
    f->w = calloc((size_t)r->n_params, sizeof *f->w);
    for (int i = 0; i < r->n_params; i++) f->w[i] = ref_doubles(r->w[i], ful__exec_param(r->exec, i)->count);
    f->x = ref_doubles(r->x, f->t * f->width);
    f->v = ref_doubles(v, f->t * f->width);
    f->y = ref_doubles(NULL, f->t * f->width);
    ful__moe_last_route(rig_moe(r), &route_t, &route_k, &expert, &gate);
    f->k = route_k;
    f->expert = calloc((size_t)(f->t * route_k) + 1, sizeof *f->expert);
    f->kept = calloc((size_t)(f->t * route_k) + 1, 1);
    f->share = calloc((size_t)f->e, sizeof *f->share);
    if (route_k > 0) memcpy(f->expert, expert, (size_t)(f->t * route_k) * sizeof *expert);
}

static inline void ref_close(reference *f)
{
    for (int i = 0; i < f->n_params; i++) free(f->w[i]);
    free(f->w);
    free(f->x);
    free(f->v);
    free(f->y);
    free(f->expert);
    free(f->kept);
    free(f->share);
}

/* dJ/d(*at) by central differences. */
static inline double ref_slope(reference *f, double *at)
{
    const double step = 1e-5, was = *at;
    *at = was + step;
    const double up = ref_objective(f);
    *at = was - step;
    const double down = ref_objective(f);
    *at = was;
    return (up - down) / (2 * step);
}

#endif
