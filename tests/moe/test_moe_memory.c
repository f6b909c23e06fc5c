/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The op alone, in blocks of exactly the bytes it asked for, full of garbage: it must stay inside them for every n, and neither
 * what scratch held nor what `saved` held before forward may show in the results.
 */
#include "moe/rig.h"

enum { N_MAX = 9, GUARD = 64 };

typedef struct block {
    unsigned char *ptr;
    size_t bytes;
} block;

static block block_make(size_t bytes)
{
    const block b = {aligned_alloc(64, ful__align64(bytes) + GUARD), bytes};
    assert_non_null(b.ptr);
    return b;
}

static void block_fill(const block *b, unsigned char garbage)
{
    memset(b->ptr, garbage, b->bytes);
    memset(b->ptr + b->bytes, 0xA5, GUARD);
}

static void block_check(const block *b, const char *label, const char *what, int n)
{
    for (int i = 0; i < GUARD; i++)
        if (b->ptr[b->bytes + (size_t)i] != 0xA5)
            fail_msg("%s, n = %d: wrote beyond its %zu bytes of %s", label, n, b->bytes, what);
}

typedef struct results {
    int64_t count;
    float *all; /* y, dx, dw */
} results;

/* One step (forward alone when !train) of n images with memory full of `garbage`. in_place: y over x, dx over dy. */
static results step(const char *label, ful_shape shape, const ful_moe_attr *attr, ful__layout layout, bool train, int n,
                    unsigned char garbage, bool in_place)
{
    ful__op *op;
    assert_ok(ful__op_moe.create("moe", attr, &shape, 1, &op));
    op->x_layout[0] = layout;
    op->type->layouts(op);
    assert_ok(op->type->plan(op, N_MAX, train));
    const int64_t one = ful__count(shape);
    results r = {.count = 2 * n * one};
    for (int i = 0; i < op->n_params; i++) r.count += op->params[i].count;
    r.all = rig_floats(r.count);
    float *x = rig_floats(n * one), *dy = rig_floats(n * one);
    float **w = calloc((size_t)op->n_params, sizeof *w), **dw = calloc((size_t)op->n_params, sizeof *dw);
    rig_fill(x, n * one, 3, "x", 1);
    rig_fill(dy, n * one, 3, "dy", 1);
    float *at = r.all + 2 * n * one;
    for (int i = 0; i < op->n_params; at += op->params[i++].count) {
        w[i] = rig_floats(op->params[i].count);
        rig_draw(&op->params[i], 1, op->params[i].name, w[i]);
        if (op->params[i].trainable) dw[i] = at;
    }
    const block saved = block_make(op->need.saved_fixed + (size_t)n * op->need.saved_per_image);
    const block scratch = block_make(op->need.scratch_fixed + (size_t)n * op->need.scratch_per_image);
    const block packed = block_make(op->need.packed);
    assert_int_equal(op->need.inplace, !train);
    assert_true(op->need.inplace_dx);
    const ful__run run = {.n = n,
                          .train = train,
                          .repack = true,
                          .seed = 1,
                          .step = 2,
                          .x = {x},
                          .y = in_place && !train ? x : r.all,
                          .dy = dy,
                          .dx = {in_place ? dy : r.all + n * one},
                          .w = w,
                          .dw = dw,
                          .saved = saved.ptr,
                          .scratch = scratch.ptr,
                          .packed = packed.ptr};
    block_fill(&saved, garbage);
    block_fill(&scratch, garbage);
    block_fill(&packed, garbage);
    assert_ok(op->type->forward(op, &run));
    block_check(&scratch, label, "scratch (forward)", n);
    block_fill(&scratch, garbage);
    if (train) assert_ok(op->type->backward(op, &run));
    block_check(&scratch, label, "scratch (backward)", n);
    block_check(&saved, label, "saved", n);
    block_check(&packed, label, "packed", n);
    if (!train) assert_int_equal(saved.bytes, 0);
    memmove(r.all, run.y, (size_t)(n * one) * sizeof *x);
    if (train) memmove(r.all + n * one, run.dx[0], (size_t)(n * one) * sizeof *x);
    for (int i = 0; i < op->n_params; i++) free(w[i]);
    free(w);
    free(dw);
    free(x);
    free(dy);
    free(saved.ptr);
    free(scratch.ptr);
    free(packed.ptr);
    op->type->destroy(op);
    return r;
}

static void check_run(const char *label, ful_shape shape, const ful_moe_attr *attr, ful__layout layout, bool train, int n)
{
    const results a = step(label, shape, attr, layout, train, n, 0x00, false);
    const results b = step(label, shape, attr, layout, train, n, 0xFF, true); /* NaNs, -1, true */
    for (int64_t i = 0; i < a.count; i++)
        if (memcmp(&a.all[i], &b.all[i], sizeof *a.all) != 0)
            fail_msg("%s, n = %d, train %d, layout %d: result %lld shows what the memory held before", label, n, train, layout,
                     (long long)i);
    free(a.all);
    free(b.all);
}

static void check(const char *label, ful_shape shape, const ful_moe_attr *attr)
{
    static const int sizes[] = {1, 2, N_MAX};
    for (int layout = 0; layout < (shape.c % ful__block() == 0 ? 2 : 1); layout++)
        for (int i = 0; i < 3; i++) {
            check_run(label, shape, attr, (ful__layout)layout, true, sizes[i]);
            check_run(label, shape, attr, (ful__layout)layout, false, sizes[i]);
        }
}

static ful_moe_attr attr_of(ful_expert expert, const char *router)
{
    ful_moe_attr a;
    ful_moe_defaults(&a, expert);
    a.experts = 5;
    a.hidden = 19;
    a.capacity_min = 1;
    snprintf(a.router, sizeof a.router, "%s", router);
    return a;
}

static void vectors(void **state)
{
    (void)state;
    ful_moe_attr a = attr_of(FUL_EXPERT_MLP, "softmax");
    check("mlp", (ful_shape){1, 1, 7}, &a);
    a.drop = FUL_DROP_PRIORITY;
    a.capacity_permille = 600;
    a.noisy = true;
    a.load_coef = 0.1f;
    a.router_input = FUL_ROUTER_INPUT_LAYERNORM;
    check("mlp, priority, noise", (ful_shape){1, 1, 7}, &a);
    a = attr_of(FUL_EXPERT_MLP, "softmax");
    a.act = FUL_ACT_RELU;
    check("mlp, relu", (ful_shape){1, 1, 16}, &a);
    a.norm = FUL_EXPERT_NORM_LAYER;
    check("mlp with norm", (ful_shape){1, 1, 16}, &a);
    a = attr_of(FUL_EXPERT_MLP, "soft_sample");
    check("soft_sample", (ful_shape){1, 1, 7}, &a);
    a = attr_of(FUL_EXPERT_MLP, "soft_batch");
    a.soft_slots = 3;
    check("soft_batch", (ful_shape){1, 1, 7}, &a);
}

static void maps(void **state)
{
    (void)state;
    ful_moe_attr a = attr_of(FUL_EXPERT_MLP, "softmax");
    a.token = FUL_TOKEN_PIXEL;
    check("pixel mlp", (ful_shape){3, 5, 16}, &a);
    a = attr_of(FUL_EXPERT_MLP, "soft_patch");
    a.token = FUL_TOKEN_PIXEL;
    a.soft_slots = 2;
    check("soft_patch", (ful_shape){3, 5, 6}, &a);
    a = attr_of(FUL_EXPERT_CONV, "softmax");
    a.experts = 3;
    check("conv", (ful_shape){3, 5, 16}, &a);
    check("conv, odd", (ful_shape){3, 5, 6}, &a);
    a = attr_of(FUL_EXPERT_DWCONV, "hash");
    a.experts = 3;
    check("dwconv", (ful_shape){3, 5, 16}, &a);
    a = attr_of(FUL_EXPERT_CONV, "soft_batch");
    a.experts = 2;
    check("soft_batch on maps", (ful_shape){3, 5, 16}, &a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(vectors), cmocka_unit_test(maps)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
