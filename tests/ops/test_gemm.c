/* SPDX-License-Identifier: Apache-2.0 */
/* Our GEMM: right against double, and the same bits at every CPU level, with any threads, in any batch. */
#include <math.h>
#include <stdlib.h>

#include "core/rng.h"
#include "ops/act_math.h"
#include "ops/gemm.h"
#include "support/test.h"
#include <fulcrum/core.h>

static const unsigned levels[] = {~0u, FUL_CPU_AVX2, 0};
enum { LEVELS = 3, ROOM = 16 };

static float *make(const char *name, int64_t count)
{
    float *x = malloc((size_t)(count + ROOM) * sizeof *x);
    assert_non_null(x);
    ful__rng_fill_normal(ful__stream_make(7, "test", name), 0, 1.0f, x, (size_t)(count + ROOM));
    return x;
}

static int back_to_all(void **state)
{
    (void)state;
    ful_cpu_mask_set(~0u);
    return ful_threads_set(2) != FUL_OK;
}

/* One product with all options: A may be given transposed or by row numbers. */
typedef struct product {
    int m, n, k;
    bool a_transposed, gather, b_transposed, bias, accumulate;
    ful_act act;
} product;

typedef struct operands {
    float *a, *b, *bias, *c_before;
    uint32_t *index;
    int64_t a_rs, a_cs, b_rs, b_cs, ldc;
} operands;

enum { GATHER_ROWS = 3 }; /* A has so many rows more than are used */

static operands make_operands(const product *p)
{
    operands o = {.ldc = p->n + 5};
    o.a = make("a", (int64_t)(p->m + GATHER_ROWS) * (p->k + 3));
    o.b = make("b", (int64_t)(p->n + 2) * (p->k + 2));
    o.bias = make("bias", p->n);
    o.c_before = make("c", p->m * o.ldc);
    o.index = malloc(((size_t)p->m + 1) * sizeof *o.index);
    for (int i = 0; i < p->m; i++) o.index[i] = (uint32_t)(i * 7 + 1) % (uint32_t)(p->m + GATHER_ROWS);
    o.a_rs = p->a_transposed ? 1 : p->k + 3;
    o.a_cs = p->a_transposed ? p->m + GATHER_ROWS : 1;
    o.b_rs = p->b_transposed ? 1 : p->n + 2;
    o.b_cs = p->b_transposed ? p->k + 2 : 1;
    return o;
}

static void free_operands(operands *o)
{
    free(o->a);
    free(o->b);
    free(o->bias);
    free(o->c_before);
    free(o->index);
}

/* C and the slopes of act, of rows [begin, end) only; memory around them must stay as it was. */
static void run(const product *p, const operands *o, int begin, int end, float *c, float *slope)
{
    float *packed = malloc((ful__gemm_packed_floats(p->k, p->n) + 1) * sizeof *packed);
    const int64_t panels = ful__gemm_panels(p->n);
    ful__gemm_pack(packed, o->b, o->b_rs, o->b_cs, p->k, p->n, 0, panels / 2);
    ful__gemm_pack(packed, o->b, o->b_rs, o->b_cs, p->k, p->n, panels / 2, panels);
    memcpy(c, o->c_before, (size_t)(p->m * o->ldc) * sizeof *c);
    memcpy(slope, o->c_before, (size_t)(p->m * o->ldc) * sizeof *slope);
    const ful__gemm_job job = {.m = end - begin,
                               .n = p->n,
                               .k = p->k,
                               .a = p->gather ? o->a : o->a + begin * o->a_rs,
                               .a_rs = o->a_rs,
                               .a_cs = o->a_cs,
                               .row_index = p->gather ? o->index + begin : NULL,
                               .b_packed = packed,
                               .c = c + begin * o->ldc,
                               .ldc = o->ldc,
                               .bias = p->bias ? o->bias : NULL,
                               .accumulate = p->accumulate,
                               .act = p->act,
                               .slope = p->act != FUL_ACT_NONE ? slope + begin * o->ldc : NULL};
    ful__gemm_grouped(&job, 1);
    free(packed);
}

static void check_product(const product *p, const operands *o, const float *c, const float *slope)
{
    for (int i = 0; i < p->m; i++)
        for (int j = 0; j < o->ldc; j++) {
            const int64_t at = i * o->ldc + j;
            if (j >= p->n) {
                assert_memory_equal(&c[at], &o->c_before[at], sizeof *c);
                continue;
            }
            const int64_t row = p->gather ? (int64_t)o->index[i] : i;
            float before = p->accumulate ? o->c_before[at] : p->bias ? o->bias[j] : 0;
            double sum = before, size = fabs(sum);
            for (int k = 0; k < p->k; k++) {
                const float a = o->a[row * o->a_rs + k * o->a_cs], b = o->b[k * o->b_rs + j * o->b_cs];
                before = fmaf(a, b, before);
                sum += (double)a * b;
                size += fabs((double)a * b);
            }
            float after, its_slope = 1;
            ful__act_forward(p->act, &before, &after, 1);
            ful__act_backward(p->act, &before, &its_slope, &its_slope, 1);
            const bool right_slope = p->act == FUL_ACT_NONE || memcmp(&its_slope, &slope[at], sizeof its_slope) == 0;
            if (!(fabs(before - sum) <= 1e-6 * size + 1e-30) || memcmp(&after, &c[at], sizeof after) != 0 || !right_slope)
                fail_msg("m=%d n=%d k=%d row %d column %d: %g, wanted %g", p->m, p->n, p->k, i, j, (double)before, sum);
        }
}

/* Every level, one and two threads, and the rows one at a time or in uneven parts: all as the first, which is checked. */
static void check_all_ways(product p)
{
    operands o = make_operands(&p);
    const size_t bytes = (size_t)(p.m * o.ldc) * sizeof(float);
    float *c = malloc(bytes + 1), *slope = malloc(bytes + 1), *c2 = malloc(bytes + 1), *slope2 = malloc(bytes + 1);
    for (int level = 0; level < LEVELS; level++) {
        ful_cpu_mask_set(levels[level]);
        for (int threads = 1; threads <= 2; threads++) {
            assert_ok(ful_threads_set(threads));
            run(&p, &o, 0, p.m, level + threads == 1 ? c : c2, level + threads == 1 ? slope : slope2);
            if (level + threads == 1) check_product(&p, &o, c, slope);
            if (level + threads > 1 && (memcmp(c, c2, bytes) != 0 || memcmp(slope, slope2, bytes) != 0))
                fail_msg("m=%d n=%d k=%d: other bits with mask %x and %d threads", p.m, p.n, p.k, levels[level], threads);
        }
        for (int begin = 0, rows = 1; begin < p.m; begin += rows, rows = rows % 5 + 1) {
            const int end = begin + rows < p.m ? begin + rows : p.m;
            run(&p, &o, begin, end, c2, slope2);
            if (memcmp(c + begin * o.ldc, c2 + begin * o.ldc, (size_t)((end - begin) * o.ldc) * sizeof *c) != 0)
                fail_msg("m=%d n=%d k=%d: rows %d..%d alone have other bits", p.m, p.n, p.k, begin, end);
        }
    }
    free(c);
    free(slope);
    free(c2);
    free(slope2);
    free_operands(&o);
}

static void edges(void **state)
{
    (void)state;
    const int ms[] = {0, 1, 5, 6, 7, 13, 14, 15, 29, 57}, ns[] = {1, 7, 8, 15, 16, 17, 31, 32, 33, 65}, ks[] = {0, 1, 2, 17};
    for (int i = 0; i < 10; i++)
        for (int j = 0; j < 10; j++)
            check_all_ways((product){.m = ms[i], .n = ns[j], .k = ks[(i + j) % 4], .bias = i % 2, .b_transposed = j % 2});
}

static void options(void **state)
{
    (void)state;
    for (int i = 0; i < 32; i++)
        check_all_ways((product){.m = 19,
                                 .n = 37,
                                 .k = 23,
                                 .a_transposed = i & 1,
                                 .gather = (i & 3) == 2,
                                 .b_transposed = i & 4,
                                 .bias = i & 8,
                                 .accumulate = i & 16,
                                 .act = (ful_act)(i % 5)});
}

/* Longer than a block of k, so a chain is put down in C and taken up again. */
static void long_sums(void **state)
{
    (void)state;
    check_all_ways((product){.m = 15, .n = 33, .k = 512});
    check_all_ways((product){.m = 15, .n = 33, .k = 513, .bias = true, .act = FUL_ACT_GELU});
    check_all_ways((product){.m = 3, .n = 5, .k = 1100, .accumulate = true});
}

/* Many jobs of all sizes, empty ones too, as the experts of a mixture give them; more than are handled at a time. */
static void grouped(void **state)
{
    (void)state;
    enum { JOBS = 600, N = 9, K = 6, ROWS = 7 };
    static ful__gemm_job jobs[JOBS];
    float *a = make("a", ROWS * K), *b = make("b", N * K), *c = make("c", JOBS * ROWS * N);
    float *packed = malloc(ful__gemm_packed_floats(K, N) * sizeof *packed), one[ROWS * N];
    ful__gemm_pack(packed, b, N, 1, K, N, 0, ful__gemm_panels(N));
    const ful__gemm_job whole = {
        .m = ROWS, .n = N, .k = K, .a = a, .a_rs = K, .a_cs = 1, .b_packed = packed, .c = one, .ldc = N};
    ful__gemm_grouped(&whole, 1);
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = whole;
        jobs[i].m = i % 3 == 0 ? 0 : i % ROWS;
        jobs[i].c = c + i * ROWS * N;
    }
    ful__gemm_grouped(jobs, JOBS);
    for (int i = 0; i < JOBS; i++) assert_memory_equal(jobs[i].c, one, (size_t)(jobs[i].m * N) * sizeof *one);
    ful__gemm_grouped(jobs, 0);
    free(a);
    free(b);
    free(c);
    free(packed);
}

/* Weight gradients --------------------------------------------------------------------------------------------------------- */

static void run_tn(const ful__gemm_tn_job *given, const float *before, float *c)
{
    ful__gemm_tn_job jobs[2] = {*given, *given}; /* the second has nothing to add */
    float *scratch = malloc((ful__gemm_tn_scratch_floats(given->rows + 5, given->m, given->n) + 1) * sizeof *scratch);
    memcpy(c, before, (size_t)(given->m * given->ldc) * sizeof *c);
    jobs[0].c = c;
    jobs[1].c = c;
    jobs[1].rows = 0;
    ful__gemm_tn_grouped(jobs, 2, scratch);
    free(scratch);
}

static void check_tn(int rows, int m, int n, bool gather)
{
    const int64_t lda = m + 3, ldb = n + 1, ldc = n + 2;
    float *a = make("a", (rows + 9) * lda), *b = make("b", (rows + 9) * ldb), *before = make("c", m * ldc);
    float *c = make("c", m * ldc), *c2 = make("c", m * ldc);
    uint32_t *index = malloc(((size_t)rows + 1) * sizeof *index);
    for (int r = 0; r < rows; r++) index[r] = (uint32_t)(r * 5 + 2) % (uint32_t)(rows + 9);
    ful__gemm_tn_job job = {.rows = rows, .m = m, .n = n, .a = a, .lda = lda, .b = b, .ldb = ldb, .ldc = ldc};
    if (gather) job.a_index = index;
    run_tn(&job, before, c);
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double sum = before[i * ldc + j], size = fabs(sum);
            for (int r = 0; r < rows; r++) {
                const double term = (double)a[(gather ? index[r] : (uint32_t)r) * lda + i] * b[r * ldb + j];
                sum += term;
                size += fabs(term);
            }
            if (!(fabs(c[i * ldc + j] - sum) <= 1e-6 * size + 1e-30))
                fail_msg("rows=%d m=%d n=%d: C[%d][%d] = %g, wanted %g", rows, m, n, i, j, (double)c[i * ldc + j], sum);
        }
    for (int i = 0; i < m; i++) assert_memory_equal(c + i * ldc + n, before + i * ldc + n, 2 * sizeof *c);
    for (int level = 0; level < LEVELS; level++)
        for (int threads = 1; threads <= 3; threads++) {
            ful_cpu_mask_set(levels[level]);
            assert_ok(ful_threads_set(threads));
            run_tn(&job, before, c2);
            if (memcmp(c, c2, (size_t)(m * ldc) * sizeof *c) != 0)
                fail_msg("rows=%d m=%d n=%d: other bits with mask %x and %d threads", rows, m, n, levels[level], threads);
        }
    ful_cpu_mask_set(~0u);
    free(a);
    free(b);
    free(before);
    free(c);
    free(c2);
    free(index);
}

static void weight_gradients(void **state)
{
    (void)state;
    const int rows[] = {0, 1, 2, 127, 128, 129, 300}, sides[] = {1, 6, 13, 14, 15, 31, 32, 33, 130};
    for (int i = 0; i < 7; i++)
        for (int j = 0; j < 9; j++) check_tn(rows[i], sides[j], sides[(j * 4 + i) % 9], j % 2);
    check_tn(40, 300, 20, false); /* more tiles of A than are packed at a time */
    check_tn(2600, 5, 7, true);   /* few values of C: the rows are cut too */
    check_tn(4100, 17, 3, false);
}

static void gathered_columns(void **state)
{
    (void)state;
    enum { ROWS = 21, M = 3, N = 5 };
    float *a = make("a", ROWS * M), *b = make("b", 2 * ROWS * N), *gathered = make("g", ROWS * N);
    uint32_t index[ROWS];
    float c[M * N] = {0}, c2[M * N] = {0};
    for (uint32_t r = 0; r < ROWS; r++) {
        index[r] = 2 * ROWS - 1 - 2 * r;
        memcpy(gathered + r * N, b + index[r] * N, N * sizeof *b);
    }
    ful__gemm_tn_job job = {.rows = ROWS, .m = M, .n = N, .a = a, .lda = M, .b = gathered, .ldb = N, .c = c, .ldc = N};
    ful__gemm_tn_grouped(&job, 1, NULL);
    job.b = b;
    job.b_index = index;
    job.c = c2;
    ful__gemm_tn_grouped(&job, 1, NULL);
    assert_memory_equal(c, c2, sizeof c);
    free(a);
    free(b);
    free(gathered);
}

static void column_sums(void **state)
{
    (void)state;
    const int rows[] = {0, 1, 127, 128, 129, 1000}, cols[] = {1, 63, 64, 65, 200};
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 5; j++) {
            const int n = cols[j], ldx = n + 2;
            float *x = make("x", rows[i] * ldx), *out = make("out", n), *out2 = make("out", n);
            ful__column_sums(x, rows[i], n, ldx, out);
            for (int c = 0; c < n; c++) {
                double sum = out2[c];
                for (int r = 0; r < rows[i]; r++) sum += x[r * ldx + c];
                assert_true(fabs(out[c] - sum) <= 1e-5 * sqrt(rows[i] + 1.0));
            }
            assert_ok(ful_threads_set(1));
            ful__column_sums(x, rows[i], n, ldx, out2);
            assert_ok(ful_threads_set(2));
            assert_memory_equal(out, out2, (size_t)n * sizeof *out);
            free(x);
            free(out);
            free(out2);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(edges, back_to_all),
        cmocka_unit_test_teardown(options, back_to_all),
        cmocka_unit_test_teardown(long_sums, back_to_all),
        cmocka_unit_test_teardown(grouped, back_to_all),
        cmocka_unit_test_teardown(weight_gradients, back_to_all),
        cmocka_unit_test_teardown(gathered_columns, back_to_all),
        cmocka_unit_test_teardown(column_sums, back_to_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
