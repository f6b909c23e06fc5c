/* SPDX-License-Identifier: Apache-2.0 */
/* Configs, nets and batches for the tests of this folder. */
#ifndef FUL_TESTS_NETS_SUPPORT_H
#define FUL_TESTS_NETS_SUPPORT_H

#include <fulcrum/core.h>
#include <fulcrum/net.h>
#include <math.h>
#include <stdlib.h>

#include "core/rng.h"
#include "support/fault.h"
#include "support/test.h"

static inline ful_net_config net_config(const char *arch, int height, int channels, int classes)
{
    ful_net_config c;
    ful_net_config_defaults(&c);
    snprintf(c.arch, sizeof c.arch, "%s", arch);
    c.height = height;
    c.in_channels = channels;
    c.classes = classes;
    return c;
}

/* Every architecture in a size for tests: of few channels where its own are many. */
static inline ful_net_config family_config(const char *arch, int height, int channels, int classes)
{
    static const struct {
        const char *family;
        int width;
    } widths[] = {{"resnet", 8}, {"preresnet", 8}, {"convnext", 16}, {"mixer", 32}, {"vit", 48}};
    ful_net_config c = net_config(arch, height, channels, classes);
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        if (strncmp(arch, widths[i].family, strlen(widths[i].family)) == 0) c.width = widths[i].width;
    return c;
}

/* Another item of the moe list: a conv mixture on a stage, an MLP mixture at the head, one of patches in place of a block's
 * MLP; dense > 0: its dense twin. */
static inline ful_moe_site *add_site(ful_net_config *c, const char *at, int hidden, int dense)
{
    ful_moe_site *site = &c->moe[c->n_moe++];
    const bool block = ful_moe_at_block(at);
    ful_moe_defaults(&site->moe, strcmp(at, "head") && !block ? FUL_EXPERT_CONV : FUL_EXPERT_MLP);
    if (block) site->place = FUL_PLACE_REPLACE;
    if (block) site->moe.token = FUL_TOKEN_PIXEL;
    snprintf(site->at, sizeof site->at, "%s", at);
    site->moe.hidden = hidden;
    site->moe.experts = 4;
    site->dense = dense;
    return site;
}

static inline ful_net *make_net(const ful_net_config *c, int batch_max, bool train, uint64_t seed)
{
    ful_graph *g = NULL;
    ful_net *net = NULL;
    ful_net_options o;
    ful_net_options_defaults(&o);
    o.batch_max = batch_max;
    o.train = train;
    o.seed = seed;
    assert_ok(ful_net_build_graph(c, &g));
    assert_ok(ful_net_create(g, &o, &net));
    return net;
}

typedef struct batch {
    float *x;
    int32_t *label;
    int n;
} batch;

static inline batch random_batch(const ful_net *net, int n)
{
    const ful_shape s = ful_net_input_shape(net);
    const size_t count = (size_t)n * (size_t)(s.h * s.w * s.c);
    batch b = {.x = malloc(count * sizeof(float)), .label = malloc((size_t)n * sizeof(int32_t)), .n = n};
    ful__rng_fill_normal(ful__stream_make(3, "test", "batch"), 0, 1, b.x, count);
    for (int i = 0; i < n; i++) b.label[i] = i % ful_net_classes(net);
    return b;
}

static inline void free_batch(batch *b)
{
    free(b->x);
    free(b->label);
}

/* Plain SGD. */
static inline void descend(ful_net *net, float lr)
{
    for (int i = 0; i < ful_net_tensor_count(net); i++) {
        ful_tensor t;
        assert_ok(ful_net_tensor(net, i, &t));
        for (int64_t j = 0; j < t.count && t.grad; j++) t.value[j] -= lr * t.grad[j];
    }
    ful_net_zero_grad(net);
}

/* The tensor of that name; count 0 if there is none. */
static inline ful_tensor find_tensor(const ful_net *net, const char *name)
{
    for (int i = 0; i < ful_net_tensor_count(net); i++) {
        ful_tensor t;
        assert_ok(ful_net_tensor(net, i, &t));
        if (strcmp(t.name, name) == 0) return t;
    }
    return (ful_tensor){0};
}

/* A step and a prediction; what the kernels counted is what the account says, exactly. */
static inline void run_and_count(const ful_net_config *c, int n)
{
    ful_net *net = make_net(c, n, true, 1);
    batch b = random_batch(net, n);
    float *logits = malloc((size_t)(n * c->classes) * sizeof(float));
    ful_step step = {.n = n, .x = b.x, .label = b.label};
    ful_account a;
    int64_t macs, routed, router;
    assert_ok(ful_net_train_step(net, &step));
    assert_true(isfinite(step.loss) && step.loss > 0);
    assert_ok(ful_net_predict(net, n, b.x, NULL, logits));
    for (int i = 0; i < n * c->classes; i++) assert_true(isfinite(logits[i]));
    assert_ok(ful_net_account(net, &a));
    for (int split = 0; split < 2; split++) {
        ful_net_counted_macs(net, split, &macs, &routed, &router);
        if (macs != n * (a.macs - a.macs_unread) || routed != n * a.macs_routed || router != n * a.macs_router)
            fail_msg("%s split %d: counted %lld, routed %lld, router %lld; accounted %lld, %lld, %lld an image", c->arch, split,
                     (long long)macs, (long long)routed, (long long)router, (long long)(a.macs - a.macs_unread),
                     (long long)a.macs_routed, (long long)a.macs_router);
    }
    ful_net_counted_reset(net);
    ful_net_counted_macs(net, 1, &macs, &routed, &router);
    assert_int_equal(macs + routed + router, 0);
    int64_t values = 0;
    for (int i = 0; i < ful_net_tensor_count(net); i++) {
        ful_tensor t;
        assert_ok(ful_net_tensor(net, i, &t));
        if (t.grad) values += t.count;
    }
    assert_int_equal(values, a.params);
    ful_account_deinit(&a);
    free(logits);
    free_batch(&b);
    ful_net_destroy(&net);
}

#endif
