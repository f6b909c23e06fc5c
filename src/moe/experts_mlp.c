/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MLP experts, all in one go: rows r of expert i, W1 [h][d], W2 [d][h].
 *
 *   forward    u = x W1^T + b1,  v = act(u),  o = v W2^T + b2
 *   backward   dv = do W2,  dW2 += do^T v,  db2 += sum do,  du = dv act'(u),  dW1 += du^T x,  db1 += sum du,  dx = du W1
 *
 * Each of the four products is one grouped call over the experts that have rows; inputs are gathered while they are read.
 * Weights are packed at their first use after a step, and only those of experts that have rows.
 *
 *   packed   [e] forward fresh, [e] backward fresh | for each expert: W1^T, W2^T (forward), W2, W1 (backward)
 *   saved    v [rows][h] | u [rows][h] unless v tells the slope         (inference: v, in scratch)
 *   scratch  dv, then du [rows][h] | partial sums of the weight gradients
 */
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "core/parallel.h"
#include "moe/experts.h"
#include "ops/act_math.h"

enum { W1, B1, W2, B2 }; /* parameters of an expert */

typedef struct sizes {
    int64_t d, h;
    size_t up, down; /* bytes of a packed [k=d][n=h] and of a packed [k=h][n=d] */
} sizes;

static sizes sizes_of(const ful__experts *x)
{
    sizes s = {.d = x->width, .h = x->attr.hidden};
    s.up = ful__align64(ful__gemm_packed_floats(s.d, s.h) * sizeof(float));
    s.down = ful__align64(ful__gemm_packed_floats(s.h, s.d) * sizeof(float));
    return s;
}

/* relu: u > 0 exactly where v > 0; without an activation there is no slope to tell. */
static bool keeps_u(const ful__experts *x)
{
    return x->attr.act != FUL_ACT_NONE && x->attr.act != FUL_ACT_RELU;
}

ful_status ful__experts_plan_mlp(ful__experts *x)
{
    FUL_TRY(ful__calloc(&x->jobs, (size_t)x->e, sizeof *x->jobs, "the products of a mixture"));
    FUL_TRY(ful__calloc(&x->tn_jobs, (size_t)x->e, sizeof *x->tn_jobs, "the weight gradients of a mixture"));
    return ful__calloc(&x->active, (size_t)x->e, sizeof *x->active, "the active experts of a mixture");
}

static size_t hidden_bytes(const ful__experts *x, ful__rows_bound bound)
{
    return ful__align64((size_t)(bound.all * x->attr.hidden) * sizeof(float));
}

size_t ful__experts_saved_mlp(const ful__experts *x, ful__rows_bound bound)
{
    return x->train ? hidden_bytes(x, bound) * (keeps_u(x) ? 2 : 1) : 0;
}

/* Partial sums of one kind of weight gradient, for all experts. A job with few rows has none: the fewest rows that need some
 * limit how many jobs do. Sized for the largest run. */
static size_t partial_floats(const ful__experts *x, int64_t m, int64_t n)
{
    const size_t one = ful__gemm_tn_scratch_floats(x->most.one, m, n);
    if (one == 0) return 0;
    int64_t none = 0, some = x->most.one;
    while (some - none > 1) {
        const int64_t middle = none + (some - none) / 2;
        if (ful__gemm_tn_scratch_floats(middle, m, n) > 0)
            some = middle;
        else
            none = middle;
    }
    const int64_t jobs = x->most.all / some;
    return one * (size_t)(jobs < x->e ? jobs : x->e);
}

size_t ful__experts_scratch_mlp(const ful__experts *x, ful__rows_bound bound, bool backward)
{
    if (!backward) return x->train ? 0 : hidden_bytes(x, bound);
    const size_t first = partial_floats(x, x->width, x->attr.hidden), second = partial_floats(x, x->attr.hidden, x->width);
    return hidden_bytes(x, bound) + ful__align64((first > second ? first : second) * sizeof(float));
}

static size_t flags_bytes(const ful__experts *x)
{
    return ful__align64(2 * (size_t)x->e);
}

static size_t packed_stride(const ful__experts *x)
{
    const sizes s = sizes_of(x);
    return (s.up + s.down) * (x->train ? 2 : 1);
}

size_t ful__experts_packed_mlp(const ful__experts *x)
{
    return flags_bytes(x) + (size_t)x->e * packed_stride(x);
}

/* The packed [d][h] matrix (which = 0) or the [h][d] one (1) of expert i for this pass. */
static float *packed(const ful__experts *x, const ful__experts_run *run, int i, bool backward, int which)
{
    const sizes s = sizes_of(x);
    size_t at = flags_bytes(x) + (size_t)i * packed_stride(x);
    if (backward) at += s.up + s.down;
    if (which == 1) at += s.up;
    return ful__at(run->packed, at);
}

/* Packing ---------------------------------------------------------------------------------------------------------------- */

typedef struct pack {
    const ful__experts *x;
    const ful__experts_run *run;
    bool backward;
    int64_t up_panels, down_panels;
} pack;

/* A piece is one panel of one stale expert. up: k = d, n = h; B(p,j) = W1(j,p) forward, W2(p,j) backward. down the other way
 * round. */
static void pack_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const pack *p = ctx;
    const sizes s = sizes_of(p->x);
    const int64_t panels = p->up_panels + p->down_panels;
    const int i = p->x->active[chunk / panels];
    const int64_t panel = chunk % panels;
    float *const *w = p->run->w + (ptrdiff_t)i * p->x->n_params;
    if (panel < p->up_panels) {
        float *to = packed(p->x, p->run, i, p->backward, 0);
        if (p->backward)
            ful__gemm_pack(to, w[W2], s.h, 1, s.d, s.h, panel, panel + 1);
        else
            ful__gemm_pack(to, w[W1], 1, s.d, s.d, s.h, panel, panel + 1);
    } else {
        const int64_t at = panel - p->up_panels;
        float *to = packed(p->x, p->run, i, p->backward, 1);
        if (p->backward)
            ful__gemm_pack(to, w[W1], s.d, 1, s.h, s.d, at, at + 1);
        else
            ful__gemm_pack(to, w[W2], 1, s.h, s.h, s.d, at, at + 1);
    }
}

static void pack_stale(const ful__experts *x, const ful__experts_run *run, bool backward)
{
    uint8_t *fresh = (uint8_t *)run->packed + (backward ? x->e : 0);
    if (run->repack) memset(fresh, 0, (size_t)x->e);
    int stale = 0;
    for (int i = 0; i < x->e; i++) {
        if (fresh[i] || run->offset[i + 1] == run->offset[i]) continue;
        fresh[i] = 1;
        x->active[stale++] = i;
    }
    pack p = {.x = x, .run = run, .backward = backward};
    p.up_panels = ful__gemm_panels(x->attr.hidden);
    p.down_panels = ful__gemm_panels(x->width);
    ful__parallel_for(stale * (p.up_panels + p.down_panels), pack_piece, &p);
}

/* Forward ---------------------------------------------------------------------------------------------------------------- */

/* A job for each expert with rows: out [rows][n] = in [rows][k] B. Returns how many; x->active[j]: the expert of job j. */
static int make_jobs(const ful__experts *x, const ful__experts_run *run, bool backward, int which, const float *in, float *out)
{
    const int64_t d = x->width, h = x->attr.hidden, k = which == 0 ? d : h, n = which == 0 ? h : d;
    int count = 0;
    for (int i = 0; i < x->e; i++) {
        const int64_t begin = run->offset[i], rows = run->offset[i + 1] - begin;
        if (rows == 0) continue;
        x->active[count] = i;
        x->jobs[count++] = (ful__gemm_job){.m = rows,
                                           .n = n,
                                           .k = k,
                                           .a = in + begin * k,
                                           .a_rs = k,
                                           .a_cs = 1,
                                           .b_packed = packed(x, run, i, backward, which),
                                           .c = out + begin * n,
                                           .ldc = n};
    }
    return count;
}

static void run_jobs(const ful__experts *x, ful__experts_run *run, int count)
{
    ful__gemm_grouped(x->jobs, count);
    for (int j = 0; j < count; j++) run->macs += x->jobs[j].m * x->jobs[j].n * x->jobs[j].k;
}

static float *u_of(const ful__experts *x, const ful__experts_run *run)
{
    return keeps_u(x) ? ful__at(run->saved, hidden_bytes(x, run->bound)) : run->saved;
}

void ful__experts_forward_mlp(ful__experts *x, ful__experts_run *run)
{
    pack_stale(x, run, false);
    float *v = x->train ? run->saved : run->scratch;
    int count = make_jobs(x, run, false, 0, run->x, v);
    for (int j = 0; j < count; j++) {
        ful__gemm_job *job = &x->jobs[j];
        const int i = x->active[j];
        job->bias = run->w[(ptrdiff_t)i * x->n_params + B1];
        job->act = x->attr.act;
        if (x->train && keeps_u(x)) job->pre_act = u_of(x, run) + run->offset[i] * x->attr.hidden;
        if (!run->index) continue;
        job->a = run->x;
        job->row_index = run->index + run->offset[i];
    }
    run_jobs(x, run, count);
    count = make_jobs(x, run, false, 1, v, run->o);
    for (int j = 0; j < count; j++) x->jobs[j].bias = run->w[(ptrdiff_t)x->active[j] * x->n_params + B2];
    run_jobs(x, run, count);
}

/* Backward --------------------------------------------------------------------------------------------------------------- */

typedef struct slope {
    ful_act act;
    const float *u;
    float *dv;
    int64_t count;
} slope;

enum { SLOPE_FLOATS = 16384 };

static void slope_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const slope *s = ctx;
    const int64_t begin = chunk * SLOPE_FLOATS, left = s->count - begin;
    ful__act_backward(s->act, s->u + begin, s->dv + begin, s->dv + begin, left < SLOPE_FLOATS ? left : SLOPE_FLOATS);
}

/* dW [m][n] += a^T b for expert after expert, where dW is parameter `which` and wanted. */
static int make_tn_jobs(const ful__experts *x, const ful__experts_run *run, int which, const float *a, int64_t m,
                        const float *b, int64_t n)
{
    int count = 0;
    for (int i = 0; i < x->e; i++) {
        const int64_t begin = run->offset[i], rows = run->offset[i + 1] - begin;
        float *dw = run->dw[(ptrdiff_t)i * x->n_params + which];
        if (rows == 0 || !dw) continue;
        ful__gemm_tn_job *job = &x->tn_jobs[count++];
        *job = (ful__gemm_tn_job){.rows = rows, .m = m, .n = n, .a = a + begin * m, .lda = m, .ldb = n, .c = dw, .ldc = n};
        if (which == W1 && run->index) {
            job->b = b;
            job->b_index = run->index + begin;
        } else {
            job->b = b + begin * n;
        }
    }
    return count;
}

static void add_bias_gradients(const ful__experts *x, const ful__experts_run *run, int which, const float *dz, int64_t n)
{
    for (int i = 0; i < x->e; i++) {
        const int64_t begin = run->offset[i], rows = run->offset[i + 1] - begin;
        float *db = run->dw[(ptrdiff_t)i * x->n_params + which];
        if (rows > 0 && db) ful__column_sums(dz + begin * n, rows, n, n, db);
    }
}

void ful__experts_backward_mlp(ful__experts *x, ful__experts_run *run)
{
    const int64_t d = x->width, h = x->attr.hidden, rows = run->offset[x->e];
    const float *v = run->saved;
    float *dv = run->scratch, *partial = ful__at(run->scratch, hidden_bytes(x, run->bound));
    pack_stale(x, run, true);
    ful__gemm_grouped(x->jobs, make_jobs(x, run, true, 0, run->d_o, dv));
    ful__gemm_tn_grouped(x->tn_jobs, make_tn_jobs(x, run, W2, run->d_o, d, v, h), partial);
    add_bias_gradients(x, run, B2, run->d_o, d);
    if (x->attr.act != FUL_ACT_NONE) {
        slope s = {x->attr.act, u_of(x, run), dv, rows * h};
        ful__parallel_for((s.count + SLOPE_FLOATS - 1) / SLOPE_FLOATS, slope_piece, &s);
    }
    ful__gemm_tn_grouped(x->tn_jobs, make_tn_jobs(x, run, W1, dv, h, run->x, d), partial);
    add_bias_gradients(x, run, B1, dv, h);
    if (run->dx) ful__gemm_grouped(x->jobs, make_jobs(x, run, true, 1, dv, run->dx));
}
