/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must not change a bit of any result: the number of threads, being called from inside a parallel piece, and (for outputs
 * larger than the caches) whether results are stored past the caches. On maps large enough that every sum is taken in several
 * chunks. Convolutions are not here: oneDNN promises the same bits for the same number of threads only.
 */
#include <stdlib.h>

#include "core/mem.h"
#include "core/parallel.h"
#include "core/rng.h"
#include "ops/op.h"
#include "support/test.h"
#include <fulcrum/core.h>

enum { PARAMS = 4, OUTPUTS = 3 + 2 * PARAMS };

static const ful_act gelu = FUL_ACT_GELU, relu = FUL_ACT_RELU;
static const ful_batchnorm_attr bn = {.eps = 1e-5f, .momentum = 0.1f};
static const ful_batchnorm_attr bn_relu = {.eps = 1e-5f, .momentum = 0.1f, .act = FUL_ACT_RELU};
static const ful_batchnorm_attr bn_sum = {.eps = 1e-5f, .momentum = 0.1f, .act = FUL_ACT_RELU, .residual = true};
static const ful_layernorm_attr ln_channels = {.eps = 1e-5f, .affine = true},
                                ln_image = {.eps = 1e-5f, .scope = FUL_NORM_IMAGE};
static const ful_pool_attr max_pool = {FUL_POOL_MAX, 3, 2, 1}, avg_pool = {FUL_POOL_AVG, 2, 2, 0};
static const ful_dropout_attr drop = {.p = 0.3f}, drop_path = {.p = 0.3f, .whole_image = true};
static const ful_scale_attr learnable = {true, 0.5f}, constant = {false, 0.5f};
static const ful_linear_attr linear = {.out_features = 24, .bias = true, .init = FUL_INIT_LECUN_NORMAL, .gain = 1};

static const struct subject {
    const char *text;
    const ful__op_type *type;
    const void *attr;
    int n_x;
} subjects[] = {
    {"batchnorm", &ful__op_batchnorm, &bn, 1},
    {"batchnorm relu", &ful__op_batchnorm, &bn_relu, 1},
    {"batchnorm residual relu", &ful__op_batchnorm, &bn_sum, 2},
    {"layernorm channels", &ful__op_layernorm, &ln_channels, 1},
    {"layernorm image", &ful__op_layernorm, &ln_image, 1},
    {"gelu", &ful__op_act, &gelu, 1},
    {"relu", &ful__op_act, &relu, 1},
    {"add", &ful__op_add, NULL, 2},
    {"global_avg_pool", &ful__op_global_avg_pool, NULL, 1},
    {"max pool", &ful__op_pool, &max_pool, 1},
    {"avg pool", &ful__op_pool, &avg_pool, 1},
    {"flatten", &ful__op_flatten, NULL, 1},
    {"dropout", &ful__op_dropout, &drop, 1},
    {"stochastic depth", &ful__op_dropout, &drop_path, 1},
    {"scale learnable", &ful__op_scale, &learnable, 1},
    {"scale constant", &ful__op_scale, &constant, 1},
    {"linear", &ful__op_linear, &linear, 1},
};
enum { SUBJECTS = sizeof subjects / sizeof *subjects };

/* A planned op with its tensors; out: y, dx, parameters and their gradients after a pass. */
typedef struct rig {
    const char *text;
    ful__op *op;
    int n;
    float *x[FUL__X_MAX], *dy, *w0[PARAMS], *w[PARAMS], *dw[PARAMS], *saved, *scratch, *packed;
    float *out[OUTPUTS];
    int64_t count[OUTPUTS];
} rig;

static float *floats(int64_t count)
{
    void *p = aligned_alloc(64, ful__align64((size_t)(count + 16) * sizeof(float)));
    assert_non_null(p);
    memset(p, 0, (size_t)(count + 16) * sizeof(float));
    return p;
}

static float *normals(const char *name, int64_t count)
{
    float *p = floats(count);
    ful__rng_fill_normal(ful__stream_make(3, "test", name), 0, 1, p, (size_t)count);
    return p;
}

static void rig_init(rig *r, const struct subject *s, ful_shape shape, ful__layout layout, int n)
{
    const ful_shape x[FUL__X_MAX] = {shape, shape};
    *r = (rig){.text = s->text, .n = n};
    assert_ok(s->type->create("op", s->attr, x, s->n_x, &r->op));
    ful__op *op = r->op;
    for (int i = 0; i < s->n_x; i++) op->x_layout[i] = layout;
    op->type->layouts(op);
    assert_ok(op->type->plan(op, n, true));
    for (int i = 0; i < s->n_x; i++) {
        r->x[i] = normals(i ? "x1" : "x0", n * ful__count(shape));
        r->count[1 + i] = n * ful__count(shape);
    }
    r->count[0] = n * ful__count(op->y);
    r->dy = normals("dy", r->count[0]);
    for (int i = 0; i < op->n_params; i++) {
        r->w0[i] = normals("w", op->params[i].count);
        for (int64_t j = 0; j < op->params[i].count; j++) r->w0[i][j] = 1 + 0.1f * r->w0[i][j];
        r->w[i] = floats(op->params[i].count);
        r->dw[i] = floats(op->params[i].count);
        r->count[3 + i] = r->count[3 + PARAMS + i] = op->params[i].count;
    }
    for (int i = 0; i < OUTPUTS; i++) r->out[i] = floats(r->count[i] + 1);
    const size_t per_image = (size_t)n, f = sizeof(float);
    r->saved = floats((int64_t)((op->need.saved_fixed + per_image * op->need.saved_per_image) / f) + 1);
    r->scratch = floats((int64_t)((op->need.scratch_fixed + per_image * op->need.scratch_per_image) / f) + 1);
    r->packed = floats((int64_t)(op->need.packed / f) + 1);
}

static void rig_deinit(rig *r)
{
    for (int i = 0; i < FUL__X_MAX; i++) free(r->x[i]);
    for (int i = 0; i < PARAMS; i++) {
        free(r->w0[i]);
        free(r->w[i]);
        free(r->dw[i]);
    }
    for (int i = 0; i < OUTPUTS; i++) free(r->out[i]);
    free(r->dy);
    free(r->saved);
    free(r->scratch);
    free(r->packed);
    r->op->type->destroy(r->op);
}

/* Forward and backward in training; y and dx begin `shift` floats behind a multiple of 64 bytes while they are made. */
static void rig_pass(rig *r, int shift)
{
    ful__op *op = r->op;
    ful__run run = {.n = r->n, .train = true, .repack = true, .seed = 5, .step = 6, .w = r->w, .dw = r->dw};
    run.saved = r->saved;
    run.scratch = r->scratch;
    run.packed = r->packed;
    run.y = r->out[0] + shift;
    run.dy = r->dy;
    for (int i = 0; i < op->n_x; i++) {
        run.x[i] = r->x[i];
        run.dx[i] = r->out[1 + i] + shift;
    }
    for (int i = 0; i < op->n_params; i++) {
        memcpy(r->w[i], r->w0[i], (size_t)op->params[i].count * sizeof(float));
        memset(r->dw[i], 0, (size_t)op->params[i].count * sizeof(float));
    }
    assert_ok(op->type->forward(op, &run));
    assert_ok(op->type->backward(op, &run));
    for (int i = 0; i <= op->n_x; i++) memmove(r->out[i], r->out[i] + shift, (size_t)r->count[i] * sizeof(float));
    for (int i = 0; i < op->n_params; i++) {
        memcpy(r->out[3 + i], r->w[i], (size_t)op->params[i].count * sizeof(float));
        memcpy(r->out[3 + PARAMS + i], r->dw[i], (size_t)op->params[i].count * sizeof(float));
    }
}

/* The result as it is now. */
static void keep(const rig *r, float *kept[OUTPUTS])
{
    for (int i = 0; i < OUTPUTS; i++) {
        kept[i] = floats(r->count[i]);
        memcpy(kept[i], r->out[i], (size_t)r->count[i] * sizeof(float));
    }
}

static void release(float *kept[OUTPUTS])
{
    for (int i = 0; i < OUTPUTS; i++) free(kept[i]);
}

static void assert_same(const rig *r, float *const kept[OUTPUTS], const char *how)
{
    for (int i = 0; i < OUTPUTS; i++)
        for (int64_t j = 0; j < r->count[i]; j++)
            if (memcmp(&r->out[i][j], &kept[i][j], sizeof(float)) != 0)
                fail_msg("%s, %dx%dx%d, layout %d: output %d[%lld] is %a %s, %a before", r->text, r->op->x[0].h, r->op->x[0].w,
                         r->op->x[0].c, (int)r->op->x_layout[0], i, (long long)j, (double)r->out[i][j], how,
                         (double)kept[i][j]);
}

static void inside_piece(void *ctx, int64_t piece, int thread)
{
    (void)piece;
    (void)thread;
    rig_pass(ctx, 0);
}

static void check_threads(const struct subject *s, ful_shape shape, ful__layout layout, int n)
{
    rig r;
    float *one[OUTPUTS];
    assert_ok(ful_threads_set(1));
    rig_init(&r, s, shape, layout, n);
    rig_pass(&r, 0);
    keep(&r, one);
    static const int threads[] = {2, 3};
    for (int i = 0; i < 2; i++) {
        assert_ok(ful_threads_set(threads[i]));
        rig_pass(&r, 0);
        assert_same(&r, one, i ? "with 3 threads" : "with 2 threads");
    }
    ful__parallel_for(1, inside_piece, &r);
    assert_same(&r, one, "inside a parallel piece");
    release(one);
    rig_deinit(&r);
    assert_ok(ful_threads_set(1));
}

static void test_threads(void **state)
{
    (void)state;
    static const struct {
        ful_shape shape;
        ful__layout layout;
        int n;
    } maps[] = {{{16, 16, 64}, FUL__BLOCKED, 19},
                {{33, 35, 48}, FUL__BLOCKED, 3},
                {{33, 35, 37}, FUL__NHWC, 5},
                {{1, 1, 512}, FUL__NHWC, 300},
                {{90, 90, 16}, FUL__NHWC, 2}};
    for (int s = 0; s < SUBJECTS; s++)
        for (int m = 0; m < 5; m++)
            if (maps[m].shape.h > 1 || subjects[s].type != &ful__op_pool) /* a vector has no windows */
                check_threads(&subjects[s], maps[m].shape, maps[m].layout, maps[m].n);
}

/* Outputs of more than 6 MB are stored past the caches where they are aligned, and only there. */
static void test_streamed_stores(void **state)
{
    (void)state;
    static const unsigned masks[] = {~0u, FUL_CPU_AVX2, 0};
    const ful_shape shape = {32, 32, 32};
    const int n = 50;
    for (int s = 0; s < SUBJECTS; s++)
        for (int m = 0; m < 3; m++) {
            if (subjects[s].type != &ful__op_batchnorm && subjects[s].type != &ful__op_add) continue;
            rig r;
            float *plain[OUTPUTS];
            ful_cpu_mask_set(masks[m]);
            rig_init(&r, &subjects[s], shape, m == 1 ? FUL__NHWC : FUL__BLOCKED, n);
            rig_pass(&r, 1);
            keep(&r, plain);
            rig_pass(&r, 0);
            assert_same(&r, plain, "past the caches");
            release(plain);
            rig_deinit(&r);
        }
    ful_cpu_mask_set(~0u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads), cmocka_unit_test(test_streamed_stores)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
