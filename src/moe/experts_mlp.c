/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MLP experts, all in one go: rows r of expert i, W1 [h][d], W2 [d][h].
 *
 *   forward    u = x W1^T + b1,  v = act(u),  o = v W2^T + b2
 *   backward   dv = do W2,  dW2 += do^T v,  db2 += sum do,  du = dv act'(u),  dW1 += du^T x,  db1 += sum du,  dx = du W1
 *
 * Each product is one grouped call over the experts that have rows; inputs are gathered while they are read, du and the bias
 * gradients made while dv, do and du are in cache. In training an expert with few rows has its weights packed as the product
 * runs; otherwise they are packed at their first use after a step. Experts without rows are not touched.
 *
 *   packed   [e] forward fresh, [e] backward fresh | for each expert: W1^T, W2^T (forward), W2, W1 (backward)
 *   saved    v [rows][h] | u [rows][h] unless v tells the slope         (inference: v, in scratch)
 *   scratch  du [rows][h] | partial sums of the weight gradients
 */
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "core/parallel.h"
#include "moe/experts.h"

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

/* One of an expert's matrices as a product takes it: up (which = 0) [k=d][n=h] or down (1) [h][d], for this pass. */
typedef struct matrix {
    const float *w; /* B(p,j) = w[p*rs + j*cs] */
    int64_t rs, cs, k, n;
    float *packed;
} matrix;

static matrix matrix_of(const ful__experts *x, const ful__experts_run *run, int i, bool backward, int which)
{
    const sizes s = sizes_of(x);
    float *const *w = run->w + (ptrdiff_t)i * x->n_params;
    size_t at = flags_bytes(x) + (size_t)i * packed_stride(x);
    if (backward) at += s.up + s.down;
    if (which == 1) at += s.up;
    matrix m = {.k = which == 0 ? s.d : s.h, .n = which == 0 ? s.h : s.d, .packed = ful__at(run->packed, at)};
    m.w = w[(which == 0) == backward ? W2 : W1];
    m.rs = backward ? m.n : 1;
    m.cs = backward ? 1 : m.k;
    return m;
}

/* Packing ---------------------------------------------------------------------------------------------------------------- */

typedef struct pack {
    const ful__experts *x;
    const ful__experts_run *run;
    bool backward;
    int64_t up_panels, down_panels;
} pack;

/* A piece is one panel of one stale expert. */
static void pack_piece(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const pack *p = ctx;
    const int64_t panels = p->up_panels + p->down_panels, panel = chunk % panels;
    const int which = panel < p->up_panels ? 0 : 1;
    const int64_t at = which == 0 ? panel : panel - p->up_panels;
    const matrix m = matrix_of(p->x, p->run, p->x->active[chunk / panels], p->backward, which);
    ful__gemm_pack(m.packed, m.w, m.rs, m.cs, m.k, m.n, at, at + 1);
}

static int64_t rows_of(const ful__experts_run *run, int i)
{
    return run->offset[i + 1] - run->offset[i];
}

/* At inference the same weights serve run after run. */
static bool packs(const ful__experts *x, const ful__experts_run *run, int i)
{
    return rows_of(run, i) > 0 && (!x->train || ful__gemm_should_pack(rows_of(run, i)));
}

static void pack_stale(const ful__experts *x, const ful__experts_run *run, bool backward)
{
    uint8_t *fresh = (uint8_t *)run->packed + (backward ? x->e : 0);
    if (run->repack) memset(fresh, 0, (size_t)x->e);
    int stale = 0;
    for (int i = 0; i < x->e; i++) {
        if (fresh[i] || !packs(x, run, i)) continue;
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
    int count = 0;
    for (int i = 0; i < x->e; i++) {
        const int64_t begin = run->offset[i], rows = rows_of(run, i);
        if (rows == 0) continue;
        const matrix b = matrix_of(x, run, i, backward, which);
        x->active[count] = i;
        x->jobs[count++] = (ful__gemm_job){.m = rows,
                                           .n = b.n,
                                           .k = b.k,
                                           .a = in + begin * b.k,
                                           .a_rs = b.k,
                                           .a_cs = 1,
                                           .b_packed = packs(x, run, i) ? b.packed : NULL,
                                           .b = b.w,
                                           .b_rs = b.rs,
                                           .b_cs = b.cs,
                                           .c = out + begin * b.n,
                                           .ldc = b.n};
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

/* dW [m][n] += a^T b and db += sum of a for expert after expert, where dW is parameter `which`; each where it is wanted. */
static int make_tn_jobs(const ful__experts *x, const ful__experts_run *run, int which, const float *a, int64_t m,
                        const float *b, int64_t n)
{
    int count = 0;
    for (int i = 0; i < x->e; i++) {
        const int64_t begin = run->offset[i], rows = rows_of(run, i);
        float *dw = run->dw[(ptrdiff_t)i * x->n_params + which], *db = run->dw[(ptrdiff_t)i * x->n_params + which + 1];
        if (rows > 0 && db && !dw) ful__column_sums(a + begin * m, rows, m, m, db);
        if (rows == 0 || !dw) continue;
        ful__gemm_tn_job *job = &x->tn_jobs[count++];
        *job = (ful__gemm_tn_job){.rows = rows, .m = m, .n = n, .a = a + begin * m, .lda = m, .ldb = n, .c = dw, .ldc = n};
        job->a_sums = db;
        if (which == W1 && run->index) {
            job->b = b;
            job->b_index = run->index + begin;
        } else {
            job->b = b + begin * n;
        }
    }
    return count;
}

void ful__experts_backward_mlp(ful__experts *x, ful__experts_run *run)
{
    const int64_t d = x->width, h = x->attr.hidden;
    const float *v = run->saved;
    float *du = run->scratch, *partial = ful__at(run->scratch, hidden_bytes(x, run->bound));
    pack_stale(x, run, true);
    const int count = make_jobs(x, run, true, 0, run->d_o, du);
    for (int j = 0; j < count && x->attr.act != FUL_ACT_NONE; j++) {
        x->jobs[j].act = x->attr.act;
        x->jobs[j].slope_of = u_of(x, run) + run->offset[x->active[j]] * h;
    }
    ful__gemm_grouped(x->jobs, count);
    ful__gemm_tn_grouped(x->tn_jobs, make_tn_jobs(x, run, W2, run->d_o, d, v, h), partial);
    ful__gemm_tn_grouped(x->tn_jobs, make_tn_jobs(x, run, W1, du, h, run->x, d), partial);
    if (run->dx) ful__gemm_grouped(x->jobs, make_jobs(x, run, true, 1, du, run->dx));
}
