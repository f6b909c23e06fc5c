/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention with one query an image, and the linear layer before it, as one: the keys and values of the other positions are not
 * made. A product with W_k x_s for every position s is a product of x_s with one vector, and a mean of W_v x_s is W_v of a mean
 * (weight absorption, DeepSeek-AI 2024, arXiv 2405.04434, section 2.1.2). x [t][c]; for each head h, of rows W_q, W_k, W_v:
 *
 *   q = W_q x_0 + b_q,   u = W_k^T q,   P = softmax over s of scale u x_s,   z = sum over s of P_s x_s,   y = W_v z + b_v
 *
 * b_k adds the same to all scores, which a softmax does not see: its gradient is 0. Backward:
 *
 *   dz = W_v^T dy,  dP_s = dz x_s,  dS = P (dP - sum of P dP) scale,  du = sum of dS_s x_s,  dq = W_k du
 *   dx_s = P_s dz + dS_s u, dx_0 += W_q^T dq,  dW_q = dq x_0^T, dW_k = q du^T, dW_v = dy z^T, db_q = dq, db_v = dy
 *
 *   saved    q [n][d] | u [n][heads][c] | z [n][heads][c] | P [n][heads][t]; scratch at inference
 *   scratch  backward: dz | du, as u | dq, as q | dS, as P; then the sums of weight gradients
 */
#include <math.h>

#include "core/parallel.h"
#include "ops/act_math.h"
#include "ops/attention/attention.h"
#include "ops/common.h"
#include "ops/gemm.h"

enum { HEADS_AT_ONCE = 16 }; /* whose products share a loop */

typedef struct absorbed_op {
    ful__op base;
    int64_t tokens, heads, in; /* t, heads, c */
    int64_t d, head;           /* width of all heads, and of one */
    float scale;
    bool bias, train;
} absorbed_op;

int64_t ful__absorbed_macs(int64_t tokens, int64_t in, int64_t d, int64_t heads)
{
    return 3 * in * d + 2 * tokens * heads * in;
}

static ful_status describe(absorbed_op *a, const ful__absorbed_attr *attr)
{
    ful__op *op = &a->base;
    const int64_t out = attr->qkv.out_features, heads = attr->attention.heads;
    FUL_TRY(ful__op_takes(op, 1));
    FUL_FAIL_IF(heads < 1 || out < 1 || out % (3 * heads) != 0, FUL_ERR_ARG,
                "cannot build absorbed attention '%s' with heads=%lld, out_features=%lld: 3 x heads must divide the outputs",
                op->name, (long long)heads, (long long)out);
    FUL_FAIL_IF(attr->attention.qk_norm || attr->attention.queries != 1 || attr->qkv.lead != 0, FUL_ERR_ARG,
                "cannot build absorbed attention '%s' with qk_norm=%d, queries=%d, lead=%d: it takes one query, all outputs of "
                "the linear layer and no norm of keys",
                op->name, attr->attention.qk_norm, attr->attention.queries, attr->qkv.lead);
    a->tokens = (int64_t)op->x[0].h * op->x[0].w;
    a->in = op->x[0].c;
    a->heads = heads;
    a->d = out / 3;
    a->head = a->d / heads;
    a->scale = (float)(1 / sqrt((double)a->head));
    a->bias = attr->qkv.bias;
    op->y = (ful_shape){1, 1, (int)a->d};
    op->cost.macs = ful__absorbed_macs(a->tokens, a->in, a->d, heads);
    const int64_t shape[2] = {out, a->in};
    FUL_TRY(ful__op_add_param(op, "weight", 2, shape, attr->qkv.init, attr->qkv.gain, a->in, true, true));
    return a->bias ? ful__op_add_param(op, "bias", 1, shape, FUL_INIT_ZEROS, 1.0f, a->in, true, false) : FUL_OK;
}

static ful_status create(const char *name, const void *attr, const ful_shape *x, int n_x, ful__op **out)
{
    absorbed_op *a = NULL;
    *out = NULL;
    FUL_TRY(ful__calloc(&a, 1, sizeof *a, "an attention layer"));
    ful_status status = ful__op_init(&a->base, &ful__op_absorbed, name, x, n_x);
    if (status == FUL_OK) status = describe(a, attr);
    return ful__op_made(&a->base, status, out);
}

/* Of an image: saved, and as many in backward. */
static size_t floats_per_image(const absorbed_op *a)
{
    return (size_t)(a->d + 2 * a->heads * a->in + a->heads * a->tokens);
}

static ful_status plan(ful__op *op, int n_max, bool train)
{
    absorbed_op *a = (absorbed_op *)op;
    const size_t values = floats_per_image(a) * sizeof(float);
    a->train = train;
    op->need = (ful__need){.backward_x = train, .scratch_per_image = values};
    if (!train) return FUL_OK;
    const size_t of_head = ful__gemm_tn_scratch_floats(n_max, a->head, a->in), of_heads = of_head * HEADS_AT_ONCE;
    const size_t of_all = ful__gemm_tn_scratch_floats(n_max, a->d, a->in);
    op->need.saved_per_image = values;
    op->need.scratch_fixed = (of_heads > of_all ? of_heads : of_all) * sizeof(float);
    return FUL_OK;
}

/* Of all images of a run: what forward makes, or the gradients of it. */
typedef struct values {
    float *q, *u, *z;
    float *p; /* probabilities; the gradients of scores */
} values;

enum { QUERY, KEY, VALUE };

typedef struct pass {
    const absorbed_op *a;
    const ful__run *run;
    int64_t n;
    const float *w[3], *b[3]; /* of queries, keys and values; b NULL without bias */
    float *dw[3], *db[3];     /* NULL where nobody wants them */
    values now, back;
    float *sums;
} pass;

static float *part_of(float *x, int which, int64_t count)
{
    return x ? x + which * count : NULL;
}

static values values_at(const absorbed_op *a, int64_t n, float *at)
{
    const int64_t mean = n * a->heads * a->in;
    return (values){.q = at, .u = at + n * a->d, .z = at + n * a->d + mean, .p = at + n * a->d + 2 * mean};
}

static pass begin(const ful__op *op, const ful__run *run)
{
    const absorbed_op *a = (const absorbed_op *)op;
    pass p = {.a = a, .run = run, .n = run->n};
    for (int i = 0; i < 3; i++) {
        p.w[i] = part_of(run->w[0], i, a->d * a->in);
        p.b[i] = a->bias ? part_of(run->w[1], i, a->d) : NULL;
        p.dw[i] = run->dw ? part_of(run->dw[0], i, a->d * a->in) : NULL;
        p.db[i] = run->dw && a->bias ? part_of(run->dw[1], i, a->d) : NULL;
    }
    p.now = values_at(a, p.n, a->train ? run->saved : run->scratch);
    p.back = values_at(a, p.n, run->scratch);
    p.sums = (float *)run->scratch + (size_t)p.n * floats_per_image(a);
    return p;
}

/* Products with the weights, of all images -------------------------------------------------------------------------------- */

/* Of the first position of each image, with the weights of all heads. */
static ful__gemm_job first_position(const pass *p, const float *from, int64_t from_ld, int64_t in, float *to, int64_t to_ld,
                                    int64_t out)
{
    return (ful__gemm_job){
        .m = p->n, .n = out, .k = in, .a = from, .a_rs = from_ld, .a_cs = 1, .b = p->w[QUERY], .c = to, .ldc = to_ld};
}

static void make_queries(const pass *p)
{
    const absorbed_op *a = p->a;
    ful__gemm_job job = first_position(p, p->run->x[0], a->tokens * a->in, a->in, p->now.q, a->d, a->d);
    job.b_rs = 1;
    job.b_cs = a->in;
    job.bias = p->b[QUERY];
    ful__gemm_grouped(&job, 1);
}

static void queries_back(const pass *p)
{
    const absorbed_op *a = p->a;
    const int64_t image = a->tokens * a->in;
    ful__gemm_job dx = first_position(p, p->back.q, a->d, a->d, p->run->dx[0], image, a->in);
    dx.b_rs = a->in;
    dx.b_cs = 1;
    dx.accumulate = true;
    const ful__gemm_tn_job dw = {.rows = p->n,
                                 .m = a->d,
                                 .n = a->in,
                                 .a = p->back.q,
                                 .lda = a->d,
                                 .b = p->run->x[0],
                                 .ldb = image,
                                 .c = p->dw[QUERY],
                                 .ldc = a->in};
    ful__gemm_with_tn(&dx, p->run->dx[0] != NULL, &dw, p->dw[QUERY] != NULL, p->sums);
    if (p->db[QUERY]) ful__column_sums(p->back.q, p->n, a->d, a->d, p->db[QUERY]);
}

/* A product of each head's part with its own rows of W_k or W_v, and the gradient of such rows beside it. */
typedef struct head_product {
    int which;
    bool widen; /* to [n][heads][c] = from [n][d] times the rows; else to [n][d] = from [n][heads][c] times them turned, + b */
    const float *from, *bias;
    float *to;
    const float *narrow, *wide; /* gradient: narrow [n][d]^T times wide [n][heads][c] */
} head_product;

static ful__gemm_job product_of(const pass *p, const head_product *x, int64_t h)
{
    const absorbed_op *a = p->a;
    const float *rows = p->w[x->which] + h * a->head * a->in;
    const int64_t wide = a->heads * a->in;
    if (x->widen)
        return (ful__gemm_job){.m = p->n,
                               .n = a->in,
                               .k = a->head,
                               .a = x->from + h * a->head,
                               .a_rs = a->d,
                               .a_cs = 1,
                               .b = rows,
                               .b_rs = a->in,
                               .b_cs = 1,
                               .c = x->to + h * a->in,
                               .ldc = wide};
    return (ful__gemm_job){.m = p->n,
                           .n = a->head,
                           .k = a->in,
                           .a = x->from + h * a->in,
                           .a_rs = wide,
                           .a_cs = 1,
                           .b = rows,
                           .b_rs = 1,
                           .b_cs = a->in,
                           .c = x->to + h * a->head,
                           .ldc = a->d,
                           .bias = x->bias ? x->bias + h * a->head : NULL};
}

static ful__gemm_tn_job gradient_of(const pass *p, const head_product *x, int64_t h)
{
    const absorbed_op *a = p->a;
    return (ful__gemm_tn_job){.rows = p->n,
                              .m = a->head,
                              .n = a->in,
                              .a = x->narrow + h * a->head,
                              .lda = a->d,
                              .b = x->wide + h * a->in,
                              .ldb = a->heads * a->in,
                              .c = p->dw[x->which] + h * a->head * a->in,
                              .ldc = a->in};
}

static void all_heads(const pass *p, const head_product *x)
{
    const bool gradients = x->wide && p->dw[x->which];
    ful__gemm_job products[HEADS_AT_ONCE];
    ful__gemm_tn_job dw[HEADS_AT_ONCE];
    for (int64_t h = 0; h < p->a->heads;) {
        int count = 0;
        for (; count < HEADS_AT_ONCE && h < p->a->heads; count++, h++) {
            products[count] = product_of(p, x, h);
            if (gradients) dw[count] = gradient_of(p, x, h);
        }
        ful__gemm_with_tn(products, count, dw, gradients ? count : 0, p->sums);
    }
}

/* Products with the positions, of one image ------------------------------------------------------------------------------- */

/* scores [heads][t] = of [heads][c] x^T */
static void score(const absorbed_op *a, const float *of, const float *x, float *scores)
{
    ful__gemm_one(&(ful__gemm_job){.m = a->heads,
                                   .n = a->tokens,
                                   .k = a->in,
                                   .a = of,
                                   .a_rs = a->in,
                                   .a_cs = 1,
                                   .b = x,
                                   .b_rs = 1,
                                   .b_cs = a->in,
                                   .c = scores,
                                   .ldc = a->tokens});
}

/* to [heads][c] = shares [heads][t] x */
static void gather(const absorbed_op *a, const float *shares, const float *x, float *to)
{
    ful__gemm_one(&(ful__gemm_job){.m = a->heads,
                                   .n = a->in,
                                   .k = a->tokens,
                                   .a = shares,
                                   .a_rs = a->tokens,
                                   .a_cs = 1,
                                   .b = x,
                                   .b_rs = a->in,
                                   .b_cs = 1,
                                   .c = to,
                                   .ldc = a->in});
}

/* dx [t][c] (+)= shares^T of */
static void spread(const absorbed_op *a, const float *shares, const float *of, float *dx, bool add)
{
    ful__gemm_one(&(ful__gemm_job){.m = a->tokens,
                                   .n = a->in,
                                   .k = a->heads,
                                   .a = shares,
                                   .a_rs = 1,
                                   .a_cs = a->tokens,
                                   .b = of,
                                   .b_rs = a->in,
                                   .b_cs = 1,
                                   .c = dx,
                                   .ldc = a->in,
                                   .accumulate = add});
}

/* p = softmax of scale * p */
static void softmax(float *p, int64_t count, float scale)
{
    float most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < count; i++) most = fmaxf(most, p[i] *= scale);
    ful__exp_shifted(p, most, p, count);
    for (int64_t i = 0; i < count; i++) sum += p[i];
    for (int64_t i = 0; i < count; i++) p[i] /= sum;
}

static void forward_image(void *ctx, int64_t image, int thread)
{
    (void)thread;
    const pass *p = ctx;
    const absorbed_op *a = p->a;
    const float *x = p->run->x[0] + image * a->tokens * a->in;
    float *scores = p->now.p + image * a->heads * a->tokens;
    score(a, p->now.u + image * a->heads * a->in, x, scores);
    for (int64_t h = 0; h < a->heads; h++) softmax(scores + h * a->tokens, a->tokens, a->scale);
    gather(a, scores, x, p->now.z + image * a->heads * a->in);
}

/* ds, which holds dP, becomes dS */
static void softmax_back(const float *p, float *ds, int64_t count, float scale)
{
    float mean = 0;
    for (int64_t i = 0; i < count; i++) mean += p[i] * ds[i];
    for (int64_t i = 0; i < count; i++) ds[i] = p[i] * (ds[i] - mean) * scale;
}

static void backward_image(void *ctx, int64_t image, int thread)
{
    (void)thread;
    const pass *p = ctx;
    const absorbed_op *a = p->a;
    const int64_t vectors = image * a->heads * a->in, scores = image * a->heads * a->tokens, at = image * a->tokens * a->in;
    const float *x = p->run->x[0] + at, *prob = p->now.p + scores, *dz = p->back.z + vectors;
    float *ds = p->back.p + scores;
    score(a, dz, x, ds);
    for (int64_t h = 0; h < a->heads; h++) softmax_back(prob + h * a->tokens, ds + h * a->tokens, a->tokens, a->scale);
    gather(a, ds, x, p->back.u + vectors);
    if (!p->run->dx[0]) return;
    spread(a, prob, dz, p->run->dx[0] + at, false);
    spread(a, ds, p->now.u + vectors, p->run->dx[0] + at, true);
}

/* Passes ------------------------------------------------------------------------------------------------------------------ */

static ful_status forward(ful__op *op, const ful__run *run)
{
    pass p = begin(op, run);
    make_queries(&p);
    all_heads(&p, &(head_product){.which = KEY, .widen = true, .from = p.now.q, .to = p.now.u});
    ful__parallel_for(p.n, forward_image, &p);
    all_heads(&p, &(head_product){.which = VALUE, .from = p.now.z, .bias = p.b[VALUE], .to = run->y});
    if (run->counters) run->counters->macs += p.n * op->cost.macs;
    return FUL_OK;
}

static ful_status backward(ful__op *op, const ful__run *run)
{
    pass p = begin(op, run);
    const float *dy = run->dy;
    all_heads(&p, &(head_product){.which = VALUE, .widen = true, .from = dy, .to = p.back.z, .narrow = dy, .wide = p.now.z});
    if (p.db[VALUE]) ful__column_sums(dy, p.n, p.a->d, p.a->d, p.db[VALUE]);
    ful__parallel_for(p.n, backward_image, &p);
    all_heads(&p, &(head_product){.which = KEY, .from = p.back.u, .to = p.back.q, .narrow = p.now.q, .wide = p.back.u});
    queries_back(&p);
    return FUL_OK;
}

const ful__op_type ful__op_absorbed = {.name = "absorbed_attention",
                                       .create = create,
                                       .layouts = ful__op_layouts_plain,
                                       .plan = plan,
                                       .forward = forward,
                                       .backward = backward,
                                       .destroy = ful__op_free};
