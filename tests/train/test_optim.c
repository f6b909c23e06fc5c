/* SPDX-License-Identifier: Apache-2.0 */
/* The optimisers against references in double and against PyTorch's numbers; clipping, averages, threads, failures. */
#include <math.h>
#include <stdlib.h>

#include <fulcrum/core.h>

#include "core/rng.h"
#include "support/fault.h"
#include "train/optim.h"

enum { MOST = 20000 }; /* more than two pieces */

typedef struct fixture {
    ful_tensor t[3];
    float value[3][MOST], grad[3][MOST];
} fixture;

static ful_train_config config_of(ful_optimizer optimizer)
{
    ful_train_config c = {.optimizer = optimizer, .momentum = 0.9, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    return c;
}

/* A matrix with decay, a bias without, and a buffer without a gradient. */
static void fixture_init(fixture *f, int64_t n)
{
    const ful__stream s = ful__stream_make(7, "test", "optim");
    static const char *const names[3] = {"fc.weight", "fc.bias", "bn.running_mean"};
    const int64_t counts[3] = {n, n / 2 + 1, n / 3 + 1};
    for (int i = 0; i < 3; i++) {
        f->t[i] = (ful_tensor){.name = names[i], .rank = 1, .shape = {counts[i]}, .count = counts[i], .value = f->value[i]};
        f->t[i].grad = i < 2 ? f->grad[i] : NULL;
        f->t[i].decay = i == 0;
        ful__rng_fill_normal(s, (uint64_t)i, 0.5f, f->value[i], (size_t)counts[i]);
    }
}

static void fill_gradients(fixture *f, int step)
{
    const ful__stream s = ful__stream_make(8, "test", "gradients");
    for (int i = 0; i < 2; i++) ful__rng_fill_normal(s, (uint64_t)(10 * step + i), 0.3f, f->grad[i], (size_t)f->t[i].count);
}

/* One tensor of 4 values through PyTorch's own optimisers, three steps. The script:
 *   w = torch.nn.Parameter(torch.tensor([0.5,-0.25,0.125,1.0])); opt = …([w], …)
 *   for g in [[0.1,-0.2,0.3,-0.4],[0.05,0.15,-0.25,0.35],[-0.3,0.1,0.2,-0.1]]:
 *       w.grad = torch.tensor(g)
 *       if clip: torch.nn.utils.clip_grad_norm_([w], 0.3)
 *       opt.step()
 * with SGD(lr=0.1, momentum=0.9, weight_decay=0.01[, nesterov=True]) and
 * AdamW(lr=0.01, betas=(0.9,0.999), eps=1e-8, weight_decay=0.05), PyTorch 2.15. */
static void check_torch(const ful_train_config *config, double lr, const float expected[4])
{
    static const float gradients[3][4] = {
        {0.1f, -0.2f, 0.3f, -0.4f}, {0.05f, 0.15f, -0.25f, 0.35f}, {-0.3f, 0.1f, 0.2f, -0.1f}};
    float w[4] = {0.5f, -0.25f, 0.125f, 1.0f}, g[4];
    const ful_tensor t = {.name = "w", .rank = 1, .shape = {4}, .count = 4, .value = w, .grad = g, .decay = true};
    ful__optim *o = NULL;
    double norm = 0;
    assert_ok(ful__optim_create(config, &t, 1, &o));
    for (int step = 0; step < 3; step++) {
        memcpy(g, gradients[step], sizeof g);
        assert_ok(ful__optim_step(o, lr, step, &norm));
        for (int i = 0; i < 4; i++) assert_true(g[i] == 0);
    }
    for (int i = 0; i < 4; i++)
        if (fabsf(w[i] - expected[i]) > 2e-7f) fail_msg("w[%d] = %.9g, PyTorch has %.9g", i, (double)w[i], (double)expected[i]);
    ful__optim_destroy(&o);
}

static void test_torch(void **state)
{
    (void)state;
    ful_train_config c = config_of(FUL_OPT_SGD);
    c.weight_decay = 0.01;
    check_torch(&c, 0.1, (const float[4]){0.490640402f, -0.232959673f, 0.0705883205f, 1.04617786f});
    c.nesterov = true;
    check_torch(&c, 0.1, (const float[4]){0.505163431f, -0.239012897f, 0.0507940948f, 1.05338955f});
    c.clip_norm = 0.3;
    check_torch(&c, 0.1, (const float[4]){0.512495816f, -0.251725137f, 0.0825152844f, 1.01979029f});
    c = config_of(FUL_OPT_ADAMW);
    c.weight_decay = 0.05;
    check_torch(&c, 0.01, (const float[4]){0.483415425f, -0.240475506f, 0.111265488f, 1.00991917f});
}

/* The formulas of optim.h in double, for one value. */
typedef struct reference {
    double w, m, v, a;
} reference;

static void reference_step(reference *r, const ful_train_config *c, double g, double wd, double lr, int step, double scale)
{
    const double t = step + 1, young = (1 + t) / (10 + t), d = c->ema < young ? c->ema : young;
    g *= scale;
    if (c->optimizer == FUL_OPT_SGD) {
        g += wd * r->w;
        r->m = c->momentum * r->m + g;
        r->w -= lr * (c->momentum == 0 ? g : c->nesterov ? g + c->momentum * r->m : r->m);
    } else {
        r->w -= lr * wd * r->w;
        r->m = c->beta1 * r->m + (1 - c->beta1) * g;
        r->v = c->beta2 * r->v + (1 - c->beta2) * g * g;
        r->w -= lr / (1 - pow(c->beta1, t)) * r->m / (sqrt(r->v) / sqrt(1 - pow(c->beta2, t)) + c->eps);
    }
    if (c->ema > 0) r->a += (1 - d) * (r->w - r->a);
}

static void check_reference(const ful_train_config *c, int64_t n)
{
    static fixture f;
    static reference r[3][MOST];
    fixture_init(&f, n);
    for (int i = 0; i < 3; i++)
        for (int64_t j = 0; j < f.t[i].count; j++) {
            const double w = (double)f.value[i][j];
            r[i][j] = (reference){.w = w, .a = w};
        }
    ful__optim *o = NULL;
    assert_ok(ful__optim_create(c, f.t, 3, &o));
    for (int step = 0; step < 5; step++) {
        const double lr = 0.05 / (1 + step);
        double norm = 0, square = 0;
        fill_gradients(&f, step);
        for (int i = 0; i < 2; i++)
            for (int64_t j = 0; j < f.t[i].count; j++) square += (double)f.grad[i][j] * (double)f.grad[i][j];
        const double scale = c->clip_norm > 0 ? fmin(1, c->clip_norm / (sqrt(square) + 1e-6)) : 1;
        for (int i = 0; i < 2; i++)
            for (int64_t j = 0; j < f.t[i].count; j++)
                reference_step(&r[i][j], c, (double)f.grad[i][j], f.t[i].decay ? c->weight_decay : 0, lr, step, scale);
        f.value[2][0] += 1; /* a buffer moves by itself */
        r[2][0].w += 1;
        const double t = step + 1, young = (1 + t) / (10 + t), d = c->ema < young ? c->ema : young;
        r[2][0].a += (1 - d) * (r[2][0].w - r[2][0].a);
        assert_ok(ful__optim_step(o, lr, step, &norm));
        assert_true(fabs(norm - sqrt(square)) <= 1e-12 * norm);
    }
    for (int pass = 0; pass < (c->ema > 0 ? 2 : 1); pass++) {
        for (int i = 0; i < 3; i++)
            for (int64_t j = 0; j < f.t[i].count; j++) {
                const double wanted = pass ? r[i][j].a : r[i][j].w, got = (double)f.value[i][j];
                if (fabs(got - wanted) > 2e-6 * (1 + fabs(wanted)))
                    fail_msg("%s[%ld] = %.9g, wanted %.9g (optimizer %d, ema %g, average %d)", f.t[i].name, (long)j, got,
                             wanted, (int)c->optimizer, c->ema, pass);
            }
        ful__optim_swap_average(o);
    }
    ful__optim_destroy(&o);
    assert_null(o);
}

static void test_reference(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 7, 8191, 8192, 8193, MOST};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int kind = 0; kind < 16; kind++) {
            ful_train_config c = config_of(kind & 1 ? FUL_OPT_ADAMW : FUL_OPT_SGD);
            c.nesterov = kind & 2;
            c.weight_decay = kind & 4 ? 0.05 : 0;
            c.clip_norm = kind & 2 ? 0.7 : 0;
            c.ema = kind & 8 ? 0.6 : 0;
            if (kind == 8) c.momentum = 0;
            check_reference(&c, sizes[i]);
        }
}

static void test_threads_give_the_same_bits(void **state)
{
    (void)state;
    static fixture f, g;
    const int before = ful_threads_get();
    ful_train_config c = config_of(FUL_OPT_ADAMW);
    c.clip_norm = 0.5;
    c.ema = 0.9;
    c.weight_decay = 0.01;
    fixture *const both[2] = {&f, &g};
    for (int i = 0; i < 2; i++) {
        ful__optim *o = NULL;
        double norm = 0;
        assert_ok(ful_threads_set(i == 0 ? 1 : 3));
        fixture_init(both[i], MOST);
        assert_ok(ful__optim_create(&c, both[i]->t, 3, &o));
        for (int step = 0; step < 3; step++) {
            fill_gradients(both[i], step);
            assert_ok(ful__optim_step(o, 0.01, step, &norm));
        }
        ful__optim_swap_average(o);
        ful__optim_destroy(&o);
    }
    assert_ok(ful_threads_set(before));
    assert_memory_equal(f.value, g.value, sizeof f.value);
}

static void test_bad_gradient_is_named(void **state)
{
    (void)state;
    static fixture f;
    ful__optim *o = NULL;
    double norm = 0;
    ful_train_config c = config_of(FUL_OPT_SGD);
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        fixture_init(&f, 100);
        fill_gradients(&f, 0);
        assert_ok(ful__optim_create(&c, f.t, 3, &o));
        f.grad[1][50] = bad[i];
        assert_fails(ful__optim_step(o, 0.1, 0, &norm), FUL_ERR_NUMERIC, "gradient of 'fc.bias'");
        ful__optim_destroy(&o);
    }
}

static void test_states_are_listed(void **state)
{
    (void)state;
    static fixture f;
    ful__optim *o = NULL;
    ful_train_config c = config_of(FUL_OPT_ADAMW);
    c.ema = 0.5;
    fixture_init(&f, 10);
    assert_ok(ful__optim_create(&c, f.t, 3, &o));
    assert_int_equal(ful__optim_state_count(o), 2 * 2 + 3);
    const ful__optim_state first = ful__optim_state_at(o, 0), last = ful__optim_state_at(o, 6);
    assert_string_equal(first.kind, "optim.exp_avg");
    assert_string_equal(first.tensor->name, "fc.weight");
    assert_string_equal(last.kind, "ema");
    assert_string_equal(last.tensor->name, "bn.running_mean");
    assert_true(last.value[0] == f.value[2][0]);
    ful__optim_destroy(&o);
    c = config_of(FUL_OPT_SGD);
    assert_ok(ful__optim_create(&c, f.t, 3, &o));
    assert_int_equal(ful__optim_state_count(o), 2);
    assert_string_equal(ful__optim_state_at(o, 1).kind, "optim.momentum");
    ful__optim_destroy(&o);
    ful__optim_destroy(&o);
}

static ful_status create_and_destroy(void *ctx)
{
    fixture *f = ctx;
    ful__optim *o = NULL;
    ful_train_config c = config_of(FUL_OPT_ADAMW);
    const ful_status status = ful__optim_create(&c, f->t, 3, &o);
    ful__optim_destroy(&o);
    return status;
}

static void test_memory_runs_out(void **state)
{
    (void)state;
    static fixture f;
    fixture_init(&f, 100);
    test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, create_and_destroy, &f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_torch),
        cmocka_unit_test(test_reference),
        cmocka_unit_test(test_threads_give_the_same_bits),
        cmocka_unit_test(test_bad_gradient_is_named),
        cmocka_unit_test(test_states_are_listed),
        cmocka_unit_test(test_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
