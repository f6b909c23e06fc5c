/* SPDX-License-Identifier: Apache-2.0 */
/* The GEMM's promise is exact: every element is one chain of fused multiply-adds. So it is compared bit for bit with the chain.
 */
#include <math.h>
#include <stdlib.h>

#include "core/parallel.h"
#include "core/rng.h"
#include "ops/act_math.h"
#include "ops/gemm.h"
#include "support/test.h"
#include <fulcrum/core.h>

static float *draw(const char *name, size_t count)
{
    float *x = malloc((count + 1) * sizeof *x);
    assert_non_null(x);
    ful__rng_fill_normal(ful__stream_make(5, "test-gemm", name), 0, 1, x, count);
    return x;
}

static void assert_bits(const float *got, const float *want, size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++)
        if (memcmp(got + i, want + i, sizeof *got) != 0)
            fail_msg("%s: value %zu is %a, the chain gives %a", what, i, (double)got[i], (double)want[i]);
}

/* Every level of this machine with 1 and 2 threads, and inside a parallel piece. */
typedef void (*work_fn)(void *ctx);

typedef struct inner {
    work_fn work;
    void *ctx;
} inner;

static void run_inside(void *ctx, int64_t chunk, int thread)
{
    (void)thread;
    const inner *in = ctx;
    if (chunk == 1) in->work(in->ctx);
}

static void everywhere(work_fn work, void *ctx)
{
    static const unsigned masks[] = {~0u, FUL_CPU_AVX2, 0};
    inner in = {work, ctx};
    for (int level = 0; level < 3; level++)
        for (int threads = 1; threads <= 2; threads++) {
            ful_cpu_mask_set(masks[level]);
            assert_ok(ful_threads_set(threads));
            work(ctx);
            if (threads == 2) ful__parallel_for(2, run_inside, &in);
        }
    ful_cpu_mask_set(~0u);
}

/* C (+)= A B -------------------------------------------------------------------------------------------------------------- */

enum { ROOM = 3 }; /* columns of C behind the last, which nobody may touch */

typedef struct product {
    int m, n, k;
    bool a_transposed, b_transposed, indexed, biased, accumulate, keep, slope, times, raw; /* raw: B is not packed beforehand */
    ful_act act;
    float *a, *b, *bias, *old, *u, *slope_there, *want, *want_slope;
    uint32_t *index;
} product;

static float one_act(ful_act act, float x)
{
    switch (act) {
    case FUL_ACT_RELU: return ful__scalar_relu(x);
    case FUL_ACT_GELU: return ful__scalar_gelu(x);
    case FUL_ACT_SILU: return ful__scalar_silu(x);
    case FUL_ACT_HARD_SWISH: return ful__scalar_hard_swish(x);
    case FUL_ACT_RELU6: return ful__scalar_relu6(x);
    case FUL_ACT_HARD_SIGMOID: return ful__scalar_hard_sigmoid(x);
    default: return x;
    }
}

static float one_slope(ful_act act, float u, float x)
{
    ful__act_backward(act, &u, &x, &x, 1);
    return x;
}

static int64_t a_rs(const product *p)
{
    return p->a_transposed ? 1 : p->k + 2;
}

static int64_t a_cs(const product *p)
{
    return p->a_transposed ? p->m + 2 : 1;
}

static int64_t b_rs(const product *p)
{
    return p->b_transposed ? 1 : p->n + 1;
}

static int64_t b_cs(const product *p)
{
    return p->b_transposed ? p->k + 1 : 1;
}

static void product_init(product *p)
{
    const size_t c = (size_t)p->m * (size_t)(p->n + ROOM);
    p->a = draw("a", (size_t)(p->m + 3) * (size_t)(p->k + 3));
    p->b = draw("b", (size_t)(p->n + 2) * (size_t)(p->k + 2));
    p->bias = draw("bias", (size_t)p->n);
    p->old = draw("old", c);
    p->u = draw("u", c);
    p->want = draw("old", c);
    p->want_slope = draw("old", c);
    p->slope_there = draw("slope", c);
    p->index = malloc((size_t)(p->m + 1) * sizeof *p->index);
    assert_non_null(p->index);
    for (int i = 0; i < p->m; i++) p->index[i] = (uint32_t)(p->m - 1 - i) / 2; /* rows twice, backwards */
    for (int i = 0; i < p->m; i++)
        for (int j = 0; j < p->n; j++) {
            const int64_t at = (int64_t)i * (p->n + ROOM) + j, row = p->indexed ? p->index[i] : (uint32_t)i;
            float sum = p->accumulate ? p->old[at] : p->biased ? p->bias[j] : 0;
            for (int q = 0; q < p->k; q++) sum = fmaf(p->a[row * a_rs(p) + q * a_cs(p)], p->b[q * b_rs(p) + j * b_cs(p)], sum);
            if (p->keep) p->want_slope[at] = one_slope(p->act, sum, 1);
            p->want[at] = p->times   ? sum * p->slope_there[at]
                          : p->slope ? one_slope(p->act, p->u[at], sum)
                                     : one_act(p->act, sum);
        }
}

static void product_deinit(product *p)
{
    free(p->a);
    free(p->b);
    free(p->bias);
    free(p->old);
    free(p->u);
    free(p->want);
    free(p->want_slope);
    free(p->slope_there);
    free(p->index);
}

/* A product's own memory of one run. */
typedef struct attempt {
    float *packed, *c, *slope;
    ful__gemm_job job;
} attempt;

static void attempt_init(attempt *t, const product *p)
{
    const size_t bytes = (size_t)p->m * (size_t)(p->n + ROOM) * sizeof(float);
    t->packed = malloc((ful__gemm_packed_floats(p->k, p->n) + 1) * sizeof(float));
    t->c = malloc(bytes + 1);
    t->slope = malloc(bytes + 1);
    assert_true(t->packed && t->c && t->slope);
    memcpy(t->c, p->old, bytes);
    memcpy(t->slope, p->old, bytes);
    const int64_t panels = ful__gemm_panels(p->n), half = panels / 2; /* packing may be shared out */
    ful__gemm_pack(t->packed, p->b, b_rs(p), b_cs(p), p->k, p->n, half, panels);
    ful__gemm_pack(t->packed, p->b, b_rs(p), b_cs(p), p->k, p->n, 0, half);
    t->job = (ful__gemm_job){.m = p->m, .n = p->n, .k = p->k, .a = p->a, .a_rs = a_rs(p), .a_cs = a_cs(p)};
    t->job.row_index = p->indexed ? p->index : NULL;
    if (p->raw) {
        t->job.b = p->b;
        t->job.b_rs = b_rs(p);
        t->job.b_cs = b_cs(p);
    } else {
        t->job.b_packed = t->packed;
    }
    t->job.c = t->c;
    t->job.ldc = p->n + ROOM;
    t->job.bias = p->biased ? p->bias : NULL;
    t->job.accumulate = p->accumulate;
    t->job.act = p->act;
    t->job.slope = p->keep ? t->slope : NULL;
    t->job.times = p->times ? p->slope_there : NULL;
    t->job.slope_of = p->slope ? p->u : NULL;
}

static void attempt_judge(attempt *t, const product *p)
{
    const size_t count = (size_t)p->m * (size_t)(p->n + ROOM);
    char what[160];
    snprintf(what, sizeof what,
             "m=%d n=%d k=%d aT=%d bT=%d index=%d bias=%d accumulate=%d act=%d slope=%d raw=%d flags=%x threads=%d", p->m, p->n,
             p->k, p->a_transposed, p->b_transposed, p->indexed, p->biased, p->accumulate, p->act, p->slope, p->raw,
             ful_cpu_flags(), ful_threads_get());
    assert_bits(t->c, p->want, count, what);
    assert_bits(t->slope, p->want_slope, count, what);
    free(t->packed);
    free(t->c);
    free(t->slope);
}

static void run_one(void *ctx)
{
    product *p = ctx;
    for (int raw = 0; raw < 2; raw++) {
        attempt t;
        p->raw = raw;
        attempt_init(&t, p);
        ful__gemm_grouped(&t.job, 1);
        attempt_judge(&t, p);
    }
}

static void test_every_edge(void **state)
{
    (void)state;
    static const int rows[] = {0, 1, 5, 13, 14, 15, 29}, cols[] = {1, 15, 16, 17, 31, 33, 65}, depths[] = {0, 1, 7, 16, 131};
    for (int i = 0, kind = 0; i < 7; i++)
        for (int j = 0; j < 7; j++, kind++)
            for (int k = kind % 5; k < 5; k += 4) {
                product p = {.m = rows[i], .n = cols[j], .k = depths[k]};
                p.b_transposed = kind & 1;
                p.biased = kind & 2;
                p.accumulate = kind % 5 == 0;
                p.indexed = kind % 3 == 0;
                p.a_transposed = !p.indexed && kind % 3 == 1;
                product_init(&p);
                everywhere(run_one, &p);
                product_deinit(&p);
            }
}

static void test_epilogues(void **state)
{
    (void)state;
    for (ful_act act = FUL_ACT_NONE; act <= FUL__ACT_LAST; act++)
        for (int kind = 0; kind < 4; kind++) {
            product p = {.m = 27,
                         .n = 37,
                         .k = 19,
                         .act = act,
                         .biased = kind < 2,
                         .keep = kind == 1,
                         .slope = kind == 2,
                         .times = kind == 3};
            product_init(&p);
            everywhere(run_one, &p);
            product_deinit(&p);
        }
}

static void test_large(void **state)
{
    (void)state;
    for (int b_transposed = 0; b_transposed < 2; b_transposed++) {
        product p = {.m = 61, .n = 133, .k = 530, .biased = true}; /* several blocks of k, pieces, panels */
        p.b_transposed = b_transposed;
        product_init(&p);
        everywhere(run_one, &p);
        product_deinit(&p);
    }
}

/* More rows than share a packed panel, in one piece and in many. */
static void test_many_rows(void **state)
{
    (void)state;
    product p = {.m = 467, .n = 70, .k = 9, .indexed = true, .b_transposed = true, .act = FUL_ACT_RELU};
    product_init(&p);
    everywhere(run_one, &p);
    product_deinit(&p);
}

/* A slope larger than the caches goes past them where its rows are aligned. */
static void test_slope_past_the_caches(void **state)
{
    (void)state;
    enum { M = 25000, N = 64, K = 3 };
    static const unsigned masks[] = {~0u, FUL_CPU_AVX2, 0};
    const size_t count = (size_t)M * N, bytes = count * sizeof(float);
    float *a = draw("a", (size_t)M * K), *b = draw("b", (size_t)K * N), *c = malloc(bytes), *want = malloc(bytes);
    float *slope = aligned_alloc(64, bytes);
    assert_true(c && want && slope);
    for (size_t i = 0; i < count; i++) {
        float sum = 0;
        for (size_t k = 0; k < K; k++) sum = fmaf(a[i / N * K + k], b[k * N + i % N], sum);
        want[i] = one_slope(FUL_ACT_GELU, sum, 1);
    }
    for (int level = 0; level < 3; level++) {
        ful_cpu_mask_set(masks[level]);
        memset(slope, 0xff, bytes);
        const ful__gemm_job job = {.m = M,
                                   .n = N,
                                   .k = K,
                                   .a = a,
                                   .a_rs = K,
                                   .a_cs = 1,
                                   .b = b,
                                   .b_rs = N,
                                   .b_cs = 1,
                                   .c = c,
                                   .ldc = N,
                                   .act = FUL_ACT_GELU,
                                   .slope = slope};
        ful__gemm_grouped(&job, 1);
        assert_bits(slope, want, count, "slope");
    }
    ful_cpu_mask_set(~0u);
    free(a);
    free(b);
    free(c);
    free(want);
    free(slope);
}

/* Groups of unlike sizes, empty ones too, more than are taken at once. */
enum { GROUP = 150 };

static void run_group(void *ctx)
{
    product *p = ctx;
    static attempt t[GROUP];
    ful__gemm_job jobs[GROUP];
    for (int i = 0; i < GROUP; i++) {
        attempt_init(&t[i], &p[i]);
        jobs[i] = t[i].job;
    }
    ful__gemm_grouped(jobs, GROUP);
    for (int i = 0; i < GROUP; i++) attempt_judge(&t[i], &p[i]);
}

static void test_groups(void **state)
{
    (void)state;
    static product p[GROUP];
    for (int i = 0; i < GROUP; i++) {
        p[i] = (product){
            .m = i * 7 % 23, .n = 1 + i * 5 % 40, .k = i * 3 % 31, .biased = i & 1, .indexed = i & 2, .act = (ful_act)(i % 5)};
        p[i].b_transposed = i % 3 == 0;
        p[i].raw = i % 4 == 0;
        product_init(&p[i]);
    }
    everywhere(run_group, p);
    for (int i = 0; i < GROUP; i++) product_deinit(&p[i]);
    ful__gemm_grouped(NULL, 0);
}

/* C += A^T B --------------------------------------------------------------------------------------------------------------- */

typedef struct outer {
    int rows, m, n;
    bool a_indexed, b_indexed;
    float *a, *b, *old, *first; /* C and behind it a_sums [m]; first: what the first run gave */
    double *want, *size;        /* of the same */
    uint32_t *index;
} outer;

static size_t outer_count(const outer *p)
{
    return (size_t)p->m * (size_t)(p->n + ROOM);
}

static void outer_init(outer *p)
{
    const size_t c = outer_count(p), all = c + (size_t)p->m;
    p->a = draw("a", (size_t)(p->rows + 1) * (size_t)(p->m + 1));
    p->b = draw("b", (size_t)(p->rows + 1) * (size_t)(p->n + 2));
    p->old = draw("old", all);
    p->first = NULL;
    p->want = calloc(all + 1, sizeof(double));
    p->size = calloc(all + 1, sizeof(double));
    p->index = malloc((size_t)(p->rows + 1) * sizeof *p->index);
    assert_true(p->want && p->size && p->index);
    for (int r = 0; r < p->rows; r++) p->index[r] = (uint32_t)(p->rows - 1 - r) / 2;
    for (size_t i = 0; i < all; i++) p->size[i] = fabs(p->want[i] = (double)p->old[i]);
    for (int r = 0; r < p->rows; r++) {
        const int64_t ra = p->a_indexed ? p->index[r] : (uint32_t)r, rb = p->b_indexed ? p->index[r] : (uint32_t)r;
        for (int i = 0; i < p->m; i++) {
            const double a = (double)p->a[ra * (p->m + 1) + i];
            p->want[c + (size_t)i] += a;
            p->size[c + (size_t)i] += fabs(a);
            for (int j = 0; j < p->n; j++) {
                const double term = a * (double)p->b[rb * (p->n + 2) + j];
                p->want[i * (p->n + ROOM) + j] += term;
                p->size[i * (p->n + ROOM) + j] += fabs(term);
            }
        }
    }
}

static void outer_deinit(outer *p)
{
    free(p->a);
    free(p->b);
    free(p->old);
    free(p->first);
    free(p->want);
    free(p->size);
    free(p->index);
}

static ful__gemm_tn_job outer_job(const outer *p, float *c)
{
    return (ful__gemm_tn_job){.rows = p->rows,
                              .m = p->m,
                              .n = p->n,
                              .a = p->a,
                              .lda = p->m + 1,
                              .a_index = p->a_indexed ? p->index : NULL,
                              .b = p->b,
                              .ldb = p->n + 2,
                              .b_index = p->b_indexed ? p->index : NULL,
                              .c = c,
                              .ldc = p->n + ROOM,
                              .a_sums = c + outer_count(p)};
}

/* Right, and the same bits as ever before; the columns behind are as they were. Takes c. */
static void outer_judge(outer *p, float *c)
{
    const size_t count = outer_count(p), all = count + (size_t)p->m;
    for (size_t i = 0; i < all; i++) {
        const bool behind = i < count && (int)(i % (size_t)(p->n + ROOM)) >= p->n;
        if (!(fabs((double)c[i] - p->want[i]) <= 1e-6 * p->size[i]) || (behind && c[i] != p->old[i]))
            fail_msg("rows=%d m=%d n=%d: value %zu is %g, not %g", p->rows, p->m, p->n, i, (double)c[i], p->want[i]);
    }
    if (p->first) {
        assert_bits(c, p->first, all, "again");
        free(c);
    } else {
        p->first = c;
    }
}

static float *outer_copy(const outer *p)
{
    const size_t bytes = (outer_count(p) + (size_t)p->m) * sizeof(float);
    float *c = malloc(bytes + 1);
    assert_non_null(c);
    memcpy(c, p->old, bytes);
    return c;
}

static void run_outer(void *ctx)
{
    outer *p = ctx;
    const size_t floats = ful__gemm_tn_scratch_floats(p->rows, p->m, p->n);
    float *c = outer_copy(p), *scratch = malloc((floats + 1) * sizeof *scratch);
    assert_non_null(scratch);
    scratch[floats] = 123; /* guard */
    const ful__gemm_tn_job job = outer_job(p, c);
    ful__gemm_tn_grouped(&job, 1, scratch);
    assert_true(scratch[floats] == 123);
    free(scratch);
    outer_judge(p, c);
}

/* Few rows are one chain, from what C held. */
static void test_weight_gradient_is_a_chain(void **state)
{
    (void)state;
    outer p = {.rows = 333, .m = 21, .n = 18};
    outer_init(&p);
    run_outer(&p);
    for (int i = 0; i < p.m; i++)
        for (int j = 0; j < p.n; j++) {
            float sum = p.old[i * (p.n + ROOM) + j];
            for (int r = 0; r < p.rows; r++) sum = fmaf(p.a[r * (p.m + 1) + i], p.b[r * (p.n + 2) + j], sum);
            assert_bits(&p.first[i * (p.n + ROOM) + j], &sum, 1, "chain");
        }
    outer_deinit(&p);
}

/* Experts of unlike loads share a budget of rows and the scratch for it. */
enum { EXPERTS = 9 };

static void run_experts(void *ctx)
{
    outer *p = ctx;
    int64_t floats = 0;
    ful__gemm_tn_job jobs[EXPERTS];
    float *c[EXPERTS];
    for (int i = 0; i < EXPERTS; i++) {
        c[i] = outer_copy(&p[i]);
        jobs[i] = outer_job(&p[i], c[i]);
        floats += (int64_t)ful__gemm_tn_scratch_floats(p[i].rows, p[i].m, p[i].n);
    }
    float *scratch = malloc((size_t)(floats + 1) * sizeof *scratch);
    assert_non_null(scratch);
    scratch[floats] = 123;
    ful__gemm_tn_grouped(jobs, EXPERTS, scratch);
    assert_true(scratch[floats] == 123);
    free(scratch);
    for (int i = 0; i < EXPERTS; i++) outer_judge(&p[i], c[i]);
}

static void test_weight_gradients_of_experts(void **state)
{
    (void)state;
    static const int loads[EXPERTS] = {0, 1, 2500, 17, 0, 3001, 64, 129, 5};
    static outer p[EXPERTS];
    for (int i = 0; i < EXPERTS; i++) {
        p[i] = (outer){.rows = loads[i], .m = 24, .n = 33, .b_indexed = true};
        outer_init(&p[i]);
    }
    everywhere(run_experts, p);
    for (int i = 0; i < EXPERTS; i++) outer_deinit(&p[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_edge),
        cmocka_unit_test(test_epilogues),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_many_rows),
        cmocka_unit_test(test_slope_past_the_caches),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_weight_gradient_is_a_chain),
        cmocka_unit_test(test_weight_gradients_of_experts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
