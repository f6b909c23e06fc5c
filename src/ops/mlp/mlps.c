/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MLPs (mlps.h). Each product is one grouped call over the MLPs that have rows, in backward together with a weight gradient
 * that does not wait for it; inputs are gathered while they are read, act' comes with act, du and the bias gradients are made
 * while dv, do and du are in cache. In training an MLP with few rows has its weights packed as the product runs; otherwise they
 * are packed at their first use after a step. MLPs without rows are not touched.
 *
 *   packed   [count] forward fresh, [count] backward fresh | for each MLP: W1^T, W2^T (forward), W2, W1 (backward)
 *   saved    v [rows][h] | gated: u [rows][u], others: act'(u) [rows][h] unless v tells it
 *            (inference: in scratch, v and gated u)
 *   scratch  du [rows][u] | dv [rows][h] where gated | partial sums of the weight gradients
 */
#include "ops/mlp/mlps.h"

#include <string.h>

#include "core/mem.h"
#include "core/parallel.h"
#include "ops/mlp/glu.h"

/* Width of u. */
static int64_t up_width(const ful__mlps *x)
{
    return x->gated ? 2 * x->h : x->h;
}

int64_t ful__mlps_macs(const ful__mlps *x)
{
    return x->d * (up_width(x) + x->h);
}

/* Bytes of packed weights, one pass: the two matrices on the way up [d][u] and down [h][d], or back up [d][h] and down [u][d].
 */
typedef struct sizes {
    size_t up, down;
} sizes;

static size_t packed_bytes(int64_t k, int64_t n)
{
    return ful__align64(ful__gemm_packed_floats(k, n) * sizeof(float));
}

static sizes sizes_of(const ful__mlps *x, bool backward)
{
    const int64_t u = up_width(x);
    return backward ? (sizes){packed_bytes(x->d, x->h), packed_bytes(u, x->d)}
                    : (sizes){packed_bytes(x->d, u), packed_bytes(x->h, x->d)};
}

/* relu: u > 0 exactly where v > 0; without an activation there is no slope to tell. */
static bool keeps_slope(const ful__mlps *x)
{
    return !x->gated && x->act != FUL_ACT_NONE && x->act != FUL_ACT_RELU;
}

static size_t rows_bytes(ful__rows_bound bound, int64_t width)
{
    return ful__align64((size_t)(bound.all * width) * sizeof(float));
}

size_t ful__mlps_saved_bytes(const ful__mlps *x, ful__rows_bound bound)
{
    if (!x->train) return 0;
    return rows_bytes(bound, x->h) + (x->gated || keeps_slope(x) ? rows_bytes(bound, up_width(x)) : 0);
}

/* Partial sums of one kind of weight gradient, for all MLPs. A job with few rows has none: the fewest rows that need some
 * limit how many jobs do. Sized for the largest run. */
static size_t partial_floats(const ful__mlps *x, int64_t m, int64_t n)
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
    return one * (size_t)(jobs < x->count ? jobs : x->count);
}

size_t ful__mlps_scratch_bytes(const ful__mlps *x, ful__rows_bound bound, bool backward)
{
    const size_t v = rows_bytes(bound, x->h), u = rows_bytes(bound, up_width(x));
    if (!backward) return x->train ? 0 : v + (x->gated ? u : 0);
    const size_t first = partial_floats(x, x->d, x->h), second = partial_floats(x, up_width(x), x->d);
    return u + (x->gated ? v : 0) + ful__align64((first > second ? first : second) * sizeof(float));
}

static size_t flags_bytes(const ful__mlps *x)
{
    return ful__align64(2 * (size_t)x->count);
}

static size_t packed_stride(const ful__mlps *x)
{
    const sizes s = sizes_of(x, false), back = sizes_of(x, true);
    return s.up + s.down + (x->train ? back.up + back.down : 0);
}

size_t ful__mlps_packed_bytes(const ful__mlps *x)
{
    return flags_bytes(x) + (size_t)x->count * packed_stride(x);
}

static void *at_bytes(void *block, size_t bytes)
{
    return (char *)block + bytes;
}

/* One of an MLP's matrices as a product takes it: the way up (which = 0) or down (1), for this pass. */
typedef struct matrix {
    const float *w; /* B(p,j) = w[p*rs + j*cs] */
    int64_t rs, cs, k, n;
    float *packed;
} matrix;

static matrix matrix_of(const ful__mlps *x, const ful__mlps_run *run, int i, bool backward, int which)
{
    const sizes forward = sizes_of(x, false), s = sizes_of(x, backward);
    const int64_t inner = which == 0 ? x->d : backward ? up_width(x) : x->h;
    const int64_t outer = which == 1 ? x->d : backward ? x->h : up_width(x);
    float *const *w = run->w + (ptrdiff_t)i * FUL__MLP_PARAMS;
    size_t at = flags_bytes(x) + (size_t)i * packed_stride(x);
    if (backward) at += forward.up + forward.down;
    if (which == 1) at += s.up;
    return (matrix){.w = w[(which == 0) == backward ? FUL__MLP_W2 : FUL__MLP_W1],
                    .rs = backward ? outer : 1,
                    .cs = backward ? 1 : inner,
                    .k = inner,
                    .n = outer,
                    .packed = at_bytes(run->packed, at)};
}

/* Packing ---------------------------------------------------------------------------------------------------------------- */

typedef struct pack {
    const ful__mlps *x;
    const ful__mlps_run *run;
    bool backward;
    int64_t up_panels, down_panels;
} pack;

/* A piece is one panel of one stale MLP. */
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

static int64_t rows_of(const ful__mlps_run *run, int i)
{
    return run->offset[i + 1] - run->offset[i];
}

/* At inference the same weights serve run after run. */
static bool packs(const ful__mlps *x, const ful__mlps_run *run, int i)
{
    return rows_of(run, i) > 0 && (!x->train || ful__gemm_should_pack(rows_of(run, i)));
}

static void pack_stale(const ful__mlps *x, const ful__mlps_run *run, bool backward)
{
    uint8_t *fresh = (uint8_t *)run->packed + (backward ? x->count : 0);
    if (run->repack) memset(fresh, 0, (size_t)x->count);
    int stale = 0;
    for (int i = 0; i < x->count; i++) {
        if (fresh[i] || !packs(x, run, i)) continue;
        fresh[i] = 1;
        x->active[stale++] = i;
    }
    pack p = {.x = x, .run = run, .backward = backward};
    p.up_panels = ful__gemm_panels(backward ? x->h : up_width(x));
    p.down_panels = ful__gemm_panels(x->d);
    ful__parallel_for(stale * (p.up_panels + p.down_panels), pack_piece, &p);
}

/* Forward ---------------------------------------------------------------------------------------------------------------- */

/* A job for each MLP with rows: out [rows][n] = in [rows][k] B. Returns how many; x->active[j]: the MLP of job j. */
static int make_jobs(const ful__mlps *x, const ful__mlps_run *run, bool backward, int which, const float *in, float *out)
{
    int count = 0;
    for (int i = 0; i < x->count; i++) {
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

/* What lies behind v: u of gated MLPs; in training act'(u) of the others, where it is kept. */
static float *behind_v(const ful__mlps *x, const ful__mlps_run *run)
{
    return at_bytes(x->train ? run->saved : run->scratch, rows_bytes(run->bound, x->h));
}

static void run_jobs(const ful__mlps *x, ful__mlps_run *run, int count)
{
    ful__gemm_grouped(x->jobs, count);
    for (int j = 0; j < count; j++) run->macs += x->jobs[j].m * x->jobs[j].n * x->jobs[j].k;
}

void ful__mlps_forward(const ful__mlps *x, ful__mlps_run *run)
{
    float *v = x->train ? run->saved : run->scratch, *behind = behind_v(x, run);
    run->macs = 0;
    pack_stale(x, run, false);
    int count = make_jobs(x, run, false, 0, run->x, x->gated ? behind : v);
    for (int j = 0; j < count; j++) {
        ful__gemm_job *job = &x->jobs[j];
        const int i = x->active[j];
        job->bias = run->w[(ptrdiff_t)i * FUL__MLP_PARAMS + FUL__MLP_B1];
        if (!x->gated) job->act = x->act;
        if (x->train && keeps_slope(x)) job->slope = behind + run->offset[i] * x->h;
        if (!run->index) continue;
        job->a = run->x;
        job->row_index = run->index + run->offset[i];
    }
    run_jobs(x, run, count);
    if (x->gated) ful__glu_forward(x->act, behind, run->offset[x->count], x->h, v);
    count = make_jobs(x, run, false, 1, v, run->o);
    for (int j = 0; j < count; j++) x->jobs[j].bias = run->w[(ptrdiff_t)x->active[j] * FUL__MLP_PARAMS + FUL__MLP_B2];
    run_jobs(x, run, count);
}

/* Backward --------------------------------------------------------------------------------------------------------------- */

/* dW [m][n] += a^T b and db += sum of a for MLP after MLP, where dW is parameter `which`; each where it is wanted. */
static int make_tn_jobs(const ful__mlps *x, const ful__mlps_run *run, int which, const float *a, int64_t m, const float *b,
                        int64_t n)
{
    int count = 0;
    for (int i = 0; i < x->count && run->dw; i++) {
        const int64_t begin = run->offset[i], rows = rows_of(run, i);
        float *dw = run->dw[(ptrdiff_t)i * FUL__MLP_PARAMS + which], *db = run->dw[(ptrdiff_t)i * FUL__MLP_PARAMS + which + 1];
        if (rows > 0 && db && !dw) ful__column_sums(a + begin * m, rows, m, m, db);
        if (rows == 0 || !dw) continue;
        ful__gemm_tn_job *job = &x->tn_jobs[count++];
        *job = (ful__gemm_tn_job){.rows = rows, .m = m, .n = n, .a = a + begin * m, .lda = m, .ldb = n, .c = dw, .ldc = n};
        job->a_sums = db;
        if (which == FUL__MLP_W1 && run->index) {
            job->b = b;
            job->b_index = run->index + begin;
        } else {
            job->b = b + begin * n;
        }
    }
    return count;
}

/* du, by way of dv where gated, and the gradients of the weights behind it. */
static void hidden_backward(const ful__mlps *x, const ful__mlps_run *run, float *du, float *partial)
{
    float *dv = x->gated ? at_bytes(du, rows_bytes(run->bound, 2 * x->h)) : du;
    const int count = make_jobs(x, run, true, 0, run->d_o, dv);
    for (int j = 0; j < count && !x->gated && x->act != FUL_ACT_NONE; j++) {
        const int64_t first = run->offset[x->active[j]] * x->h;
        x->jobs[j].act = x->act;
        if (keeps_slope(x))
            x->jobs[j].times = behind_v(x, run) + first;
        else
            x->jobs[j].slope_of = (const float *)run->saved + first;
    }
    const int gradients = make_tn_jobs(x, run, FUL__MLP_W2, run->d_o, x->d, run->saved, x->h);
    ful__gemm_with_tn(x->jobs, count, x->tn_jobs, gradients, partial);
    if (x->gated) ful__glu_backward(x->act, behind_v(x, run), dv, run->offset[x->count], x->h, du);
}

void ful__mlps_backward(const ful__mlps *x, const ful__mlps_run *run)
{
    const int64_t h = x->h, u = up_width(x);
    float *du = run->scratch, *partial = at_bytes(du, rows_bytes(run->bound, u) + (x->gated ? rows_bytes(run->bound, h) : 0));
    pack_stale(x, run, true);
    hidden_backward(x, run, du, partial);
    const int count = run->dx ? make_jobs(x, run, true, 1, du, run->dx) : 0;
    ful__gemm_with_tn(x->jobs, count, x->tn_jobs, make_tn_jobs(x, run, FUL__MLP_W1, du, u, run->x, x->d), partial);
}
