/* SPDX-License-Identifier: Apache-2.0 */
/* The executor on real ops: fusion, gradients of a whole net, variable batch, no allocation, the first non-finite layer. */
#include <math.h>
#include <stdlib.h>

#include "core/rng.h"
#include "graph/program.h"
#include "support/fault.h"
#include "support/test.h"

enum { N_MAX = 6, PARAMS_MAX = 96 };

/* A graph made ready: parameters with random values, gradients, memory. */
typedef struct rig {
    ful_graph *g;
    ful__exec *exec;
    float *w[PARAMS_MAX], *dw[PARAMS_MAX];
    int n_params;
    char *work, *packed;
    float *x, *y, *dy, *dx;
    ful__exec_run run;
} rig;

/* Filled with NaN: whatever is read before it is written shows. */
static void *memory(size_t bytes)
{
    void *p = aligned_alloc(64, ful__align64(bytes + 64));
    assert_non_null(p);
    memset(p, 0xff, ful__align64(bytes + 64));
    return p;
}

static float *normal(const char *name, int64_t count, float sd)
{
    float *x = memory((size_t)count * sizeof *x);
    ful__rng_fill_normal(ful__stream_make(5, "test", name), 0, sd, x, (size_t)count);
    return x;
}

/* Values that make every term count: scales near 1, variances positive, the rest near He. */
static float *random_param(const ful__param *p)
{
    const bool near_one = p->init == FUL_INIT_ONES;
    float *w = normal(p->name, p->count, near_one ? 0.2f : p->fan_in > 0 ? sqrtf(2.0f / (float)p->fan_in) : 0.3f);
    for (int64_t i = 0; i < p->count; i++)
        if (near_one) w[i] = fabsf(1 + w[i]);
    return w;
}

static void rig_start(rig *r, ful_graph *g, ful__exec_spec spec)
{
    *r = (rig){.g = g};
    spec.n_max = N_MAX;
    assert_ok(ful__exec_create(g, &spec, &r->exec));
    r->n_params = ful__exec_n_params(r->exec);
    assert_true(r->n_params <= PARAMS_MAX);
    for (int i = 0; i < r->n_params; i++) {
        const ful__param *p = ful__exec_param(r->exec, i);
        r->w[i] = random_param(p);
        if (!p->trainable) continue;
        r->dw[i] = memory((size_t)p->count * sizeof(float));
        memset(r->dw[i], 0, (size_t)p->count * sizeof(float));
    }
    const int64_t in = N_MAX * ful__count(g->nodes[0].shape), out = N_MAX * ful__count(g->nodes[g->count - 1].shape);
    r->work = memory(ful__exec_work_bytes(r->exec, N_MAX));
    r->packed = memory(ful__exec_packed_bytes(r->exec));
    r->x = normal("x", in, 1);
    r->dy = normal("dy", out, 1);
    r->y = memory((size_t)out * sizeof(float));
    r->dx = memory((size_t)in * sizeof(float));
    r->run = (ful__exec_run){.n = N_MAX,
                             .repack = true,
                             .seed = 1,
                             .w = r->w,
                             .dw = r->dw,
                             .work = r->work,
                             .packed = r->packed,
                             .x = r->x,
                             .y = r->y,
                             .dy = r->dy,
                             .dx = spec.need_dx ? r->dx : NULL};
}

static void rig_stop(rig *r)
{
    ful__exec_destroy(&r->exec);
    for (int i = 0; i < r->n_params; i++) {
        free(r->w[i]);
        free(r->dw[i]);
    }
    free(r->work);
    free(r->packed);
    free(r->x);
    free(r->y);
    free(r->dy);
    free(r->dx);
}

static ful_conv2d_attr conv_attr(int out, int kernel, int stride, int groups, bool bias)
{
    ful_conv2d_attr a;
    ful_conv2d_defaults(&a);
    a.out_channels = out;
    a.kernel_h = a.kernel_w = kernel;
    a.stride_h = a.stride_w = stride;
    a.pad_h = a.pad_w = kernel / 2;
    a.groups = groups;
    a.bias = bias;
    return a;
}

#define TRY(expr)                              \
    do {                                       \
        const ful_status try_status_ = (expr); \
        if (try_status_ != FUL_OK) {           \
            ful_graph_destroy(&g);             \
            return try_status_;                \
        }                                      \
    } while (0)

/* All that fusion knows and more: a plain block, a strided block with a projected shortcut, a depthwise block, dropped
 * branches, then pooling and an MLP. act: behind the norms; SILU, which is not fused: without max-pool too, for differences,
 * which kinks spoil. */
static ful_status residual_net(ful_act act, ful_graph **out)
{
    ful_graph *g = NULL;
    ful_node x, a, b, s;
    ful_batchnorm_attr bn;
    ful_linear_attr fc;
    ful_layernorm_attr ln;
    ful_batchnorm_defaults(&bn);
    ful_linear_defaults(&fc);
    ful_layernorm_defaults(&ln);
    TRY(ful_graph_create(&g));
    TRY(ful_graph_input(g, (ful_shape){9, 9, 3}, &x));
    ful_conv2d_attr c = conv_attr(16, 3, 1, 1, false);
    TRY(ful_graph_conv2d(g, "stem.conv", x, &c, &a));
    TRY(ful_graph_batchnorm(g, "stem.bn", a, &bn, &a));
    TRY(ful_graph_act(g, "stem.act", a, act, &a));
    /* identity shortcut */
    c = conv_attr(16, 3, 1, 1, true);
    TRY(ful_graph_conv2d(g, "one.conv1", a, &c, &b));
    TRY(ful_graph_batchnorm(g, "one.bn1", b, &bn, &b));
    TRY(ful_graph_act(g, "one.act1", b, act, &b));
    TRY(ful_graph_conv2d(g, "one.conv2", b, &c, &b));
    TRY(ful_graph_batchnorm(g, "one.bn2", b, &bn, &b));
    TRY(ful_graph_add(g, "one.add", b, a, &a));
    TRY(ful_graph_act(g, "one.act2", a, act, &a));
    /* projected shortcut, halved */
    c = conv_attr(32, 3, 2, 1, false);
    TRY(ful_graph_conv2d(g, "two.conv1", a, &c, &b));
    TRY(ful_graph_batchnorm(g, "two.bn1", b, &bn, &b));
    c = conv_attr(32, 1, 2, 1, false);
    TRY(ful_graph_conv2d(g, "two.down.conv", a, &c, &s));
    TRY(ful_graph_batchnorm(g, "two.down.bn", s, &bn, &s));
    TRY(ful_graph_add(g, "two.add", s, b, &a));
    TRY(ful_graph_act(g, "two.act", a, act, &a));
    /* depthwise and pointwise, identity shortcut */
    c = conv_attr(32, 3, 1, 32, true);
    TRY(ful_graph_conv2d(g, "sep.dw", a, &c, &b));
    TRY(ful_graph_batchnorm(g, "sep.bn1", b, &bn, &b));
    TRY(ful_graph_act(g, "sep.act1", b, act, &b));
    c = conv_attr(32, 1, 1, 1, false);
    TRY(ful_graph_conv2d(g, "sep.pw", b, &c, &b));
    TRY(ful_graph_batchnorm(g, "sep.bn2", b, &bn, &b));
    TRY(ful_graph_add(g, "sep.add", b, a, &a));
    TRY(ful_graph_act(g, "sep.act2", a, act, &a));
    /* depthwise, then 12 channels: no block of any width divides them */
    c = conv_attr(32, 3, 1, 32, false);
    TRY(ful_graph_conv2d(g, "three.dw", a, &c, &b));
    TRY(ful_graph_batchnorm(g, "three.bn1", b, &bn, &b));
    c = conv_attr(12, 1, 1, 1, false);
    TRY(ful_graph_conv2d(g, "three.pw", b, &c, &b));
    if (act != FUL_ACT_SILU) TRY(ful_graph_pool(g, "pool", b, &(ful_pool_attr){FUL_POOL_MAX, 2, 2, 0}, &b));
    TRY(ful_graph_layernorm(g, "ln", b, &ln, &b));
    TRY(ful_graph_global_avg_pool(g, "gap", b, &b));
    fc.out_features = 24;
    TRY(ful_graph_linear(g, "fc1", b, &fc, &a));
    TRY(ful_graph_act(g, "gelu", a, FUL_ACT_GELU, &a));
    TRY(ful_graph_dropout(g, "drop", a, &(ful_dropout_attr){.p = 0.25f}, &a));
    fc.out_features = 12;
    TRY(ful_graph_linear(g, "fc2", a, &fc, &a));
    TRY(ful_graph_scale(g, "scale", a, &(ful_scale_attr){.learnable = true, .value = 0.5f}, &a));
    TRY(ful_graph_add(g, "sum", a, b, &a));
    *out = g;
    return FUL_OK;
}

static double distance(const float *a, const float *b, int64_t count)
{
    double difference = 0, size = 0;
    for (int64_t i = 0; i < count; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        size += (double)b[i] * b[i];
    }
    return size > 0 ? sqrt(difference / size) : sqrt(difference);
}

static void assert_close(const char *what, const float *a, const float *b, int64_t count, double tolerance)
{
    const double d = distance(a, b, count);
    if (!(d <= tolerance)) fail_msg("%s: relative distance %g, allowed %g", what, d, tolerance);
}

static int count_ops(const rig *r, const char *type)
{
    int count = 0;
    for (int i = 0; i < ful__exec_n_ops(r->exec); i++) count += strcmp(ful__exec_op(r->exec, i)->type->name, type) == 0;
    return count;
}

static const ful_act fused_acts[] = {FUL_ACT_RELU, FUL_ACT_RELU6, FUL_ACT_HARD_SWISH};
enum { FUSED_ACTS = sizeof fused_acts / sizeof *fused_acts };

static void compare_training(ful_act act)
{
    ful_graph *g = NULL;
    rig fused, plain;
    assert_ok(residual_net(act, &g));
    rig_start(&fused, g, (ful__exec_spec){.train = true, .need_dx = true});
    rig_start(&plain, g, (ful__exec_spec){.train = true, .need_dx = true, .off = FUL__EXEC_NO_FUSE | FUL__EXEC_NO_REUSE});
    assert_int_equal(count_ops(&plain, "add"), 4);
    assert_int_equal(count_ops(&fused, "add"), 1); /* "sum" has no norm to join */
    /* The slope of hard_swish cannot be told behind a sum whose residual is not kept: three of its six stay apart. */
    assert_int_equal(count_ops(&plain, "act") - count_ops(&fused, "act"), act == FUL_ACT_HARD_SWISH ? 3 : 6);
    rig *both[2] = {&fused, &plain};
    for (int i = 0; i < 2; i++) {
        assert_ok(ful__exec_forward(both[i]->exec, &both[i]->run));
        assert_ok(ful__exec_backward(both[i]->exec, &both[i]->run));
    }
    assert_close("y", fused.y, plain.y, N_MAX * 12, 1e-5);
    assert_close("dx", fused.dx, plain.dx, N_MAX * 9 * 9 * 3, 1e-4);
    for (int i = 0; i < fused.n_params; i++) {
        const ful__param *p = ful__exec_param(fused.exec, i);
        assert_string_equal(p->name, ful__exec_param(plain.exec, i)->name);
        assert_close(p->name, fused.w[i], plain.w[i], p->count, 1e-5); /* running statistics too */
        /* A bias before a batch-norm has no gradient but rounding. */
        if (p->trainable && !strstr(p->name, "conv1.bias") && !strstr(p->name, "conv2.bias") && !strstr(p->name, "sep.dw.bias"))
            assert_close(p->name, fused.dw[i], plain.dw[i], p->count, 1e-3);
    }
    rig_stop(&fused);
    rig_stop(&plain);
    ful_graph_destroy(&g);
}

static void test_fused_training(void **state)
{
    (void)state;
    for (int i = 0; i < FUSED_ACTS; i++) compare_training(fused_acts[i]);
}

/* The ops' own word on what may be done in place, and on what they save: sharing memory changes no bit. */
static void test_sharing_changes_nothing(void **state)
{
    (void)state;
    for (int k = 0; k < 2 * FUSED_ACTS; k++) {
        const bool train = k % 2;
        ful_graph *g = NULL;
        rig shared, separate;
        assert_ok(residual_net(fused_acts[k / 2], &g));
        rig_start(&shared, g, (ful__exec_spec){.train = train, .need_dx = train});
        rig_start(&separate, g, (ful__exec_spec){.train = train, .need_dx = train, .off = FUL__EXEC_NO_REUSE});
        rig *both[2] = {&shared, &separate};
        for (int i = 0; i < 2; i++) {
            assert_ok(ful__exec_forward(both[i]->exec, &both[i]->run));
            assert_ok(ful__exec_backward(both[i]->exec, &both[i]->run));
        }
        assert_memory_equal(shared.y, separate.y, N_MAX * 12 * sizeof(float));
        assert_memory_equal(shared.dx, separate.dx, N_MAX * 9 * 9 * 3 * sizeof(float));
        for (int i = 0; i < shared.n_params; i++) {
            const ful__param *p = ful__exec_param(shared.exec, i);
            assert_memory_equal(shared.w[i], separate.w[i], (size_t)p->count * sizeof(float));
            if (shared.dw[i]) assert_memory_equal(shared.dw[i], separate.dw[i], (size_t)p->count * sizeof(float));
        }
        rig_stop(&shared);
        rig_stop(&separate);
        ful_graph_destroy(&g);
    }
}

static void compare_inference(ful_act act)
{
    ful_graph *g = NULL;
    rig fused, plain, train;
    assert_ok(residual_net(act, &g));
    rig_start(&fused, g, (ful__exec_spec){0});
    rig_start(&plain, g, (ful__exec_spec){.off = FUL__EXEC_NO_FUSE | FUL__EXEC_NO_REUSE});
    rig_start(&train, g, (ful__exec_spec){.train = true});
    assert_int_equal(count_ops(&fused, "batchnorm"), 0);
    assert_int_equal(count_ops(&fused, "dropout"), 0);
    assert_int_equal(count_ops(&fused, "act"), 1); /* "gelu" */
    assert_int_equal(count_ops(&plain, "batchnorm"), 8);
    assert_int_equal(count_ops(&fused, "separable"), 1);
    assert_int_equal(count_ops(&plain, "separable"), 0);
    assert_int_equal(train.n_params, fused.n_params);
    for (int i = 0; i < fused.n_params; i++)
        assert_string_equal(ful__exec_param(fused.exec, i)->name, ful__exec_param(train.exec, i)->name);
    assert_ok(ful__exec_forward(fused.exec, &fused.run));
    assert_ok(ful__exec_forward(plain.exec, &plain.run));
    assert_close("y", fused.y, plain.y, N_MAX * 12, 1e-5);

    /* Without repack the old folded weights stay in use, with it the new ones. */
    float before[N_MAX * 12];
    memcpy(before, fused.y, sizeof before);
    for (int i = 0; i < 3; i++) fused.w[1][i] *= 2; /* stem.bn.weight */
    fused.run.repack = false;
    assert_ok(ful__exec_forward(fused.exec, &fused.run));
    assert_memory_equal(before, fused.y, sizeof before);
    fused.run.repack = true;
    assert_ok(ful__exec_forward(fused.exec, &fused.run));
    assert_true(distance(before, fused.y, N_MAX * 12) > 1e-4);
    rig_stop(&fused);
    rig_stop(&plain);
    rig_stop(&train);
    ful_graph_destroy(&g);
}

static void test_fused_inference(void **state)
{
    (void)state;
    for (int i = 0; i < FUSED_ACTS; i++) compare_inference(fused_acts[i]);
}

/* What may stand between a transformer block and the one position of it that is read. */
typedef struct ending {
    const char *about;
    int position, takes, wide; /* takes, and steps of more than one position, that remain */
    bool read_elsewhere, dropout, batchnorm, last, absorbed;
} ending;

/* A transformer block, then one position of it. */
static ful_status token_net(const ending *e, ful_graph **out)
{
    ful_graph *g = NULL;
    ful_node x, y, z;
    ful_layernorm_attr ln;
    ful_linear_attr fc;
    ful_batchnorm_attr bn;
    ful_attention_attr attention;
    ful_mlp_attr mlp;
    ful_layernorm_defaults(&ln);
    ful_linear_defaults(&fc);
    ful_batchnorm_defaults(&bn);
    ful_attention_defaults(&attention);
    ful_mlp_defaults(&mlp);
    attention.heads = 2;
    attention.qk_norm = !e->absorbed;
    mlp.hidden = 20;
    const ful_act relu = FUL_ACT_RELU;
    const ful_scale_attr scale = {.learnable = true, .value = 0.5f};
    TRY(ful_graph_create(&g));
    TRY(ful_graph_input(g, (ful_shape){2, 3, 12}, &x));
    TRY(ful_graph_tokens(g, "tokens", x, &(ful_tokens_attr){true, FUL_POSITIONS_LEARNED}, &x));
    TRY(ful_graph_layernorm(g, "norm1", x, &ln, &y));
    fc.out_features = 36;
    TRY(ful_graph_linear(g, "qkv", y, &fc, &y));
    TRY(ful_graph_attention(g, "attention", y, &attention, &y));
    fc.out_features = 12;
    TRY(ful_graph_linear(g, "proj", y, &fc, &y));
    TRY(ful_graph_scale(g, "scale", y, &scale, &y));
    TRY(ful_graph_dropout(g, "path", y, &(ful_dropout_attr){.p = 0.3f, .whole_image = true}, &y));
    TRY(ful_graph_add(g, "add1", x, y, &x));
    TRY(ful_graph_layernorm(g, "norm2", x, &ln, &y));
    TRY(ful_graph_mlp(g, "ffn", y, &mlp, &y));
    if (e->dropout) TRY(ful_graph_dropout(g, "drop", y, &(ful_dropout_attr){.p = 0.3f}, &y));
    TRY(ful_graph_add(g, "add2", x, y, &x));
    if (e->batchnorm) {
        TRY(ful_graph_batchnorm(g, "bn", x, &bn, &x));
        TRY(ful_graph_act(g, "relu", x, relu, &x));
    }
    z = x;
    TRY(ful_graph_take(g, "token", x, &(ful_take_attr){e->position}, &x));
    if (e->read_elsewhere) {
        TRY(ful_graph_global_avg_pool(g, "mean", z, &y));
        TRY(ful_graph_add(g, "both", x, y, &x));
    }
    if (!e->last) TRY(ful_graph_linear(g, "fc", x, &fc, &x));
    *out = g;
    return FUL_OK;
}

static int count_wide(const rig *r)
{
    int count = 0;
    for (int i = 0; i < ful__exec_n_ops(r->exec); i++) {
        const ful_shape y = ful__exec_op(r->exec, i)->y;
        count += y.h * y.w > 1;
    }
    return count;
}

static void compare_narrow(const ending *e, bool train)
{
    ful_graph *g = NULL;
    rig narrow, plain;
    assert_ok(token_net(e, &g));
    rig_start(&narrow, g, (ful__exec_spec){.train = train, .need_dx = train});
    rig_start(&plain, g, (ful__exec_spec){.train = train, .need_dx = train, .off = FUL__EXEC_NO_FUSE | FUL__EXEC_NO_REUSE});
    rig *both[2] = {&narrow, &plain};
    for (int i = 0; i < 2; i++) {
        assert_ok(ful__exec_forward(both[i]->exec, &both[i]->run));
        if (train) assert_ok(ful__exec_backward(both[i]->exec, &both[i]->run));
    }
    if (train && (count_ops(&narrow, "take") != e->takes || count_wide(&narrow) != e->wide))
        fail_msg("%s: %d takes, %d steps of many positions", e->about, count_ops(&narrow, "take"), count_wide(&narrow));
    if (e->batchnorm || e->absorbed)
        assert_close(e->about, narrow.y, plain.y, N_MAX * 12, 1e-5);
    else
        assert_memory_equal(narrow.y, plain.y, N_MAX * 12 * sizeof(float));
    if (train) assert_close(e->about, narrow.dx, plain.dx, N_MAX * 2 * 3 * 12, 1e-5);
    for (int i = 0; train && i < narrow.n_params; i++)
        if (narrow.dw[i])
            assert_close(ful__exec_param(narrow.exec, i)->name, narrow.dw[i], plain.dw[i],
                         ful__exec_param(narrow.exec, i)->count, 1e-4);
    rig_stop(&narrow);
    rig_stop(&plain);
    ful_graph_destroy(&g);
}

/* What nobody reads is left out, and only that: the output keeps its bits, but where keys and values are absorbed; gradients
 * keep their values. */
static void test_one_position(void **state)
{
    (void)state;
    static const ending endings[] = {
        {.about = "the class token", .takes = 1, .wide = 3},
        {.about = "the class token, keys and values absorbed", .takes = 1, .wide = 2, .absorbed = true},
        {.about = "another token: all of them ask", .position = 3, .takes = 2, .wide = 4},
        {.about = "the mean as well", .takes = 1, .wide = 11, .read_elsewhere = true},
        {.about = "dropout of single values", .takes = 2, .wide = 11, .dropout = true},
        {.about = "the norm of a batch", .takes = 1, .wide = 12, .batchnorm = true},
        {.about = "the output itself", .takes = 1, .wide = 11, .last = true},
    };
    for (size_t i = 0; i < 2 * sizeof endings / sizeof *endings; i++) compare_narrow(&endings[i / 2], i % 2);
}

/* Sum of dy * y in double. */
static double loss(rig *r)
{
    double sum = 0;
    assert_ok(ful__exec_forward(r->exec, &r->run));
    for (int i = 0; i < r->run.n * 12; i++) sum += (double)r->dy[i] * r->y[i];
    return sum;
}

/*
 * Along random directions v through all parameters and the input: <gradient, v> against (L(w+hv) - L(w-hv))/2h. The loss of
 * about 70 float outputs of size 1 carries an error of about 1e-6, so at h = 2e-3 a difference of about 1e-3 absolute;
 * derivatives here are of size 10.
 */
static void test_gradient_of_net(void **state)
{
    (void)state;
    ful_graph *g = NULL;
    rig r;
    const double h = 2e-3;
    assert_ok(residual_net(FUL_ACT_SILU, &g));
    rig_start(&r, g, (ful__exec_spec){.train = true, .need_dx = true});
    loss(&r);
    assert_ok(ful__exec_backward(r.exec, &r.run));
    for (int direction = 0; direction < 4; direction++) {
        double slope = 0, side[2];
        for (int k = 0; k < 2; k++) {
            const float step = (float)(k == 0 ? h : -2 * h);
            for (int i = 0; i <= r.n_params; i++) { /* n_params: the input */
                const bool input = i == r.n_params;
                if (!input && !r.dw[i]) continue;
                const int64_t count = input ? N_MAX * 9 * 9 * 3 : ful__exec_param(r.exec, i)->count;
                float *value = input ? r.x : r.w[i];
                const float *grad = input ? r.dx : r.dw[i];
                const ful__stream s = ful__stream_make((uint64_t)direction, "direction",
                                                       input ? "x" : ful__exec_param(r.exec, i)->name);
                for (int64_t j = 0; j < count; j++) {
                    const float v = ful__rng_normal(s, 0, (uint64_t)j) * (input ? 0.1f : 0.3f);
                    if (k == 0) slope += (double)grad[j] * v;
                    value[j] += step * v;
                }
            }
            side[k] = loss(&r);
        }
        const double difference = (side[0] - side[1]) / (2 * h);
        if (fabs(difference - slope) > 0.01 * fabs(slope) + 0.01)
            fail_msg("direction %d: gradient %g, differences %g", direction, slope, difference);
        loss(&r);
        for (int i = 0; i < r.n_params; i++) /* back to where it was, nearly: gradients of that point */
            if (r.dw[i]) memset(r.dw[i], 0, (size_t)ful__exec_param(r.exec, i)->count * sizeof(float));
        assert_ok(ful__exec_backward(r.exec, &r.run));
    }
    rig_stop(&r);
    ful_graph_destroy(&g);
}

/* Any n: work memory as said, not a byte more; rows of an inference do not depend on n. */
static void test_variable_batch(void **state)
{
    (void)state;
    ful_graph *g = NULL;
    rig train, eval;
    float whole[N_MAX * 12];
    assert_ok(residual_net(FUL_ACT_RELU, &g));
    rig_start(&train, g, (ful__exec_spec){.train = true, .need_dx = true});
    rig_start(&eval, g, (ful__exec_spec){0});
    assert_ok(ful__exec_forward(eval.exec, &eval.run));
    memcpy(whole, eval.y, sizeof whole);
    for (int n = 0; n <= N_MAX; n++) {
        const size_t bytes = ful__exec_work_bytes(train.exec, n), all = ful__exec_work_bytes(train.exec, N_MAX);
        assert_int_equal(bytes,
                         ful__exec_work_bytes_fixed(train.exec) + (size_t)n * ful__exec_work_bytes_per_image(train.exec));
        memset(train.work, 0xa5, all);
        train.run.n = n;
        assert_ok(ful__exec_forward(train.exec, &train.run));
        assert_ok(ful__exec_backward(train.exec, &train.run));
        for (size_t i = bytes; i < all; i++) assert_int_equal((unsigned char)train.work[i], 0xa5);
        eval.run.n = n;
        memset(eval.y, 0, sizeof whole);
        assert_ok(ful__exec_forward(eval.exec, &eval.run));
        assert_memory_equal(eval.y, whole, (size_t)n * 12 * sizeof(float));
    }
    rig_stop(&train);
    rig_stop(&eval);
    ful_graph_destroy(&g);
}

/* A batch size that was met before costs no allocation (oneDNN's kernels are made for each n once). */
static void test_no_allocation_in_a_step(void **state)
{
    (void)state;
    ful_graph *g = NULL;
    rig train, eval;
    assert_ok(residual_net(FUL_ACT_RELU, &g));
    rig_start(&train, g, (ful__exec_spec){.train = true});
    rig_start(&eval, g, (ful__exec_spec){0});
    for (int i = 0; i < 6; i++) {
        ful__fault_fail_at(FUL__FAULT_ALLOC, i < 3 ? 0 : 1);
        train.run.n = eval.run.n = N_MAX - i % 3;
        train.run.step = (uint64_t)i;
        assert_ok(ful__exec_forward(train.exec, &train.run));
        assert_ok(ful__exec_backward(train.exec, &train.run));
        assert_ok(ful__exec_forward(eval.exec, &eval.run));
        if (i >= 3) assert_int_equal(ful__fault_count(FUL__FAULT_ALLOC), 0);
        ful__fault_fail_at(FUL__FAULT_ALLOC, 0);
    }
    rig_stop(&train);
    rig_stop(&eval);
    ful_graph_destroy(&g);
}

static void test_find_nonfinite(void **state)
{
    (void)state;
    ful_graph *g = NULL;
    rig r;
    assert_ok(residual_net(FUL_ACT_RELU, &g));
    rig_start(&r, g, (ful__exec_spec){.train = true});
    assert_null(ful__exec_find_nonfinite(r.exec, &r.run));
    for (int i = 0; i < r.n_params; i++)
        if (strcmp(ful__exec_param(r.exec, i)->name, "two.down.conv.weight") == 0) r.w[i][3] = INFINITY;
    const char *layer = ful__exec_find_nonfinite(r.exec, &r.run);
    assert_non_null(layer);
    assert_string_equal(layer, "two.down.conv");
    r.x[5] = NAN;
    assert_string_equal(ful__exec_find_nonfinite(r.exec, &r.run), "input");
    rig_stop(&r);
    ful_graph_destroy(&g);
}

static void test_describe(void **state)
{
    (void)state;
    ful_graph *g = NULL;
    rig r;
    char *text = NULL;
    assert_ok(residual_net(FUL_ACT_HARD_SWISH, &g));
    rig_start(&r, g, (ful__exec_spec){0});
    assert_ok(ful__exec_describe(r.exec, &text));
    assert_non_null(strstr(text, "conv+bn+add+hard_swish"));
    assert_non_null(strstr(text, "conv+bn+hard_swish+conv+bn+add+hard_swish"));
    assert_non_null(strstr(text, "inference for up to 6 images"));
    if (getenv("FULCRUM_TEST_VERBOSE")) print_message("%s", text);
    ful__free(text);
    rig_stop(&r);
    ful_graph_destroy(&g);
}

static ful_status build(void *ctx)
{
    ful_graph *g = NULL;
    ful__exec *exec = NULL;
    ful_status status = residual_net(FUL_ACT_RELU, &g);
    if (status == FUL_OK) status = ful__exec_create(g, &(ful__exec_spec){.n_max = 2, .train = *(bool *)ctx}, &exec);
    ful__exec_destroy(&exec);
    ful_graph_destroy(&g);
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    bool train = true;
    test_some_failures(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, build, &train, 400);
    train = false;
    test_some_failures(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, build, &train, 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fused_training),  cmocka_unit_test(test_sharing_changes_nothing),
        cmocka_unit_test(test_fused_inference), cmocka_unit_test(test_gradient_of_net),
        cmocka_unit_test(test_variable_batch),  cmocka_unit_test(test_no_allocation_in_a_step),
        cmocka_unit_test(test_find_nonfinite),  cmocka_unit_test(test_describe),
        cmocka_unit_test(test_no_memory),       cmocka_unit_test(test_one_position),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
