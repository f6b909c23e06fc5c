/* SPDX-License-Identifier: Apache-2.0 */
/* The numbers of the method cards: each of them computed by the library from the same inputs. */
#include <math.h>

#include <fulcrum/moe.h>

#include "moe/router_types.h"
#include "router_kit.h"

enum { T = 4, E = 3 };

static const float F1[T * E] = {2, 1, 0, 1.5f, 1, -1, 0.5f, 0, 0.2f, 1, 2, 0.5f};
static const float P1[T * E] = {.665241f, .244728f, .090031f, .592201f, .359188f, .048611f,
                                .426013f, .258390f, .315598f, .231224f, .628532f, .140244f};

#define near(value, wanted) check_near(#value, (double)(value), (wanted), __FILE__, __LINE__)

/* The cards give six digits. */
static void check_near(const char *what, double value, double wanted, const char *file, int line)
{
    if (fabs(value - wanted) <= 2e-6 * fmax(1, fabs(wanted))) return;
    print_error("%s = %.9g, the card says %.9g\n", what, value, wanted);
    _fail(file, line);
}

static void near_all(const float *value, const float *wanted, int n, const char *what)
{
    for (int i = 0; i < n; i++)
        if (fabs((double)value[i] - (double)wanted[i]) > 2e-6)
            fail_msg("%s[%d] = %.7f, the card says %.7f", what, i, (double)value[i], (double)wanted[i]);
}

static void same_experts(const int32_t *value, const int32_t *wanted, int n)
{
    for (int i = 0; i < n; i++) assert_int_equal(value[i], wanted[i]);
}

/* A router whose logits are the rows of `logits`: x = logits, weights the identity. */
static void fixture(kit *q, ful_moe_attr *attr, const float *logits, int64_t t)
{
    kit_init(q, attr, attr->experts, t, 1);
    memcpy(q->x, logits, (size_t)(t * attr->experts) * sizeof *logits);
    memset(q->w[0], 0, (size_t)(attr->experts * attr->experts) * sizeof(float));
    for (int j = 0; j < attr->experts; j++) q->w[0][j * attr->experts + j] = 1;
    q->run.dprob_extra = kit_zeros(q, t * attr->experts);
    q->run.dlogits_extra = kit_zeros(q, t * attr->experts);
}

static int64_t fill(const kit *q, int64_t cap, bool by_priority, uint8_t *kept, int64_t *counts)
{
    float priority[T];
    uint32_t order[2 * T];
    int64_t chosen[E];
    ful__route_priority(q->run.prob, q->t, q->r->e, priority);
    return ful__capacity_fill(q->run.expert, q->t, q->r->k, q->r->e, cap, by_priority ? priority : NULL, order, kept, chosen,
                              counts);
}

/* F1.P, F1.top1, F1.top2, F1.g2renorm */
static void scores_and_choices(void **state)
{
    (void)state;
    kit q;
    ful_moe_attr a = kit_attr("softmax", E, 1);
    fixture(&q, &a, F1, T);
    assert_ok(kit_forward(&q));
    near_all(q.run.prob, P1, T * E, "P");
    same_experts(q.run.expert, (const int32_t[]){0, 0, 0, 1}, T);
    near_all(q.run.gate, (const float[]){.665241f, .592201f, .426013f, .628532f}, T, "gate");
    kit_deinit(&q);
    a.k = 2;
    a.gate = FUL_GATE_RENORM;
    fixture(&q, &a, F1, T);
    assert_ok(kit_forward(&q));
    same_experts(q.run.expert, (const int32_t[]){0, 1, 0, 1, 0, 2, 1, 0}, 2 * T);
    near_all(q.run.gate, (const float[]){.731059f, .268941f, .622459f, .377541f, .574443f, .425557f, .731059f, .268941f}, 2 * T,
             "renormalised gates");
    kit_deinit(&q);
}

/* F1.C */
static void capacities(void **state)
{
    (void)state;
    assert_int_equal(ful_moe_capacity(T, E, 1, 1000, 1), 2);
    assert_int_equal(ful_moe_capacity(T, E, 2, 1000, 1), 3);
    assert_int_equal(ful_moe_capacity(T, E, 1, 1250, 1), 2);
    assert_int_equal(ful_moe_capacity(T, E, 2, 2000, 1), 6);
    assert_int_equal(ful_moe_capacity(T, E, 1, 1000, 4), 4);
    assert_int_equal(ful_moe_capacity(T, E, 1, 0, 4), T);
    assert_int_equal(ful_moe_capacity((int64_t)1 << 40, 3, 2, 4000000, 4),
                     ((((int64_t)1 << 43) * 1000 + 2) / 3)); /* the product passes 2^63 */
}

/* A1.pos_drop_k1C2, A1.pos_drop_k2C3, A2.bpr_order, A2.bpr_drop_k1C2, A2.bpr_drop_k2C3 */
static void drops(void **state)
{
    (void)state;
    for (int by_priority = 0; by_priority < 2; by_priority++) {
        kit q;
        uint8_t kept[2 * T];
        int64_t counts[E];
        ful_moe_attr a = kit_attr("softmax", E, 1);
        fixture(&q, &a, F1, T);
        assert_ok(kit_forward(&q));
        assert_int_equal(fill(&q, 2, by_priority, kept, counts), 1);
        assert_memory_equal(kept, ((const uint8_t[]){1, 1, 0, 1}), T);
        assert_memory_equal(counts, ((const int64_t[]){2, 1, 0}), sizeof counts);
        kit_deinit(&q);
        a.k = 2;
        fixture(&q, &a, F1, T);
        assert_ok(kit_forward(&q));
        assert_int_equal(fill(&q, 3, by_priority, kept, counts), 1);
        assert_memory_equal(kept, ((const uint8_t[]){1, 1, 1, 1, 1, 1, 1, 0}), 2 * T);
        assert_memory_equal(counts, ((const int64_t[]){3, 3, 1}), sizeof counts);
        kit_deinit(&q);
    }
    float priority[T] = {.665241f, .592201f, .426013f, .628532f};
    uint32_t order[2 * T];
    uint8_t kept[T];
    int64_t chosen[E], counts[E];
    const int32_t expert[T] = {0, 0, 0, 1};
    ful__capacity_fill(expert, T, 1, E, 2, priority, order, kept, chosen, counts);
    assert_memory_equal(order, ((const uint32_t[]){0, 3, 1, 2}), T * sizeof *order);
}

/* A2.rev: in reverse order position drops the most confident token, priority the least confident one. */
static void reversed_drops(void **state)
{
    (void)state;
    float reversed[T * E];
    for (int t = 0; t < T; t++) memcpy(reversed + t * E, F1 + (T - 1 - t) * E, E * sizeof *F1);
    kit q;
    uint8_t kept[T];
    int64_t counts[E];
    ful_moe_attr a = kit_attr("softmax", E, 1);
    fixture(&q, &a, reversed, T);
    assert_ok(kit_forward(&q));
    fill(&q, 2, false, kept, counts);
    assert_memory_equal(kept, ((const uint8_t[]){1, 1, 1, 0}), T);
    fill(&q, 2, true, kept, counts);
    assert_memory_equal(kept, ((const uint8_t[]){1, 0, 1, 1}), T);
    kit_deinit(&q);
}

/* A1.grad_top1_t0, A1.grad_top2renorm_t0: with identity weights dx is dlogits. */
static void gate_gradients(void **state)
{
    (void)state;
    kit q;
    ful_moe_attr a = kit_attr("softmax", E, 1);
    fixture(&q, &a, F1, 1);
    assert_ok(kit_forward(&q));
    q.dgate[0] = 1;
    kit_backward(&q);
    near_all(q.dx, (const float[]){.222695f, -.162803f, -.059892f}, E, "dL top-1");
    kit_deinit(&q);
    a.k = 2;
    a.gate = FUL_GATE_RENORM;
    fixture(&q, &a, F1, 1);
    assert_ok(kit_forward(&q));
    near(q.run.gate[0] * 1 + q.run.gate[1] * -2, .193176);
    q.dgate[0] = 1;
    q.dgate[1] = -2;
    kit_backward(&q);
    near_all(q.dx, (const float[]){.589836f, -.589836f, 0}, E, "dL top-2 renorm");
    kit_deinit(&q);
}

/* A1.shazeerload, A1.vmoeload, through the CV^2 of one token's loads. */
static void load_probabilities(void **state)
{
    (void)state;
    const float clean[E] = {2, 1, 0}, noisy[E] = {1.5f, 1.8f, 0.1f};
    const double shazeer[E] = {.579260, .308538, .035930}, vmoe[E] = {.725747, .008198, .000000};
    for (int variant = 0; variant < 2; variant++) {
        const double *load = variant ? vmoe : shazeer;
        const float sd = variant ? 1.0f / 3 : 1;
        const float sds[E] = {sd, sd, sd};
        ful_moe_attr a = kit_attr("softmax", E, 1);
        a.load_coef = 1;
        a.noisy = !variant;
        ful__balance_run b = {
            .attr = &a, .t = 1, .e = E, .k = 1, .logits = noisy, .prob = P1, .noise_sd = sds, .clean_logits = clean};
        ful__balance(&b);
        double mean = 0, variance = 0;
        for (int j = 0; j < E; j++) mean += load[j] / E;
        for (int j = 0; j < E; j++) variance += (load[j] - mean) * (load[j] - mean) / E;
        assert_true(fabs(b.load_loss - variance / mean / mean) < 1e-5);
    }
    /* raw W_n output ln(e-1) gives noise of std 1: with clean logits 0 the noisy ones are the draws themselves */
    kit q;
    ful_moe_attr a = kit_attr("softmax", 1, 1);
    a.noisy = true;
    kit_init(&q, &a, 1, 1, 1);
    q.x[0] = 1;
    q.w[0][0] = 0;
    q.w[1][0] = .541325f;
    assert_ok(kit_forward(&q));
    near(q.run.logits[0], (double)ful__rng_normal(ful__stream_make(1, "router-noise", "net.moe.router"), q.run.step << 32, 0));
    kit_deinit(&q);
}

/* Balance losses of F1 through the k-choice of a softmax router; out->…: values; dL into q->dx (identity weights). */
static void balance_of(kit *q, ful_moe_attr *a, ful__balance_run *out)
{
    fixture(q, a, F1, T);
    assert_ok(kit_forward(q));
    int64_t chosen[E] = {0};
    for (int i = 0; i < T * a->k; i++) chosen[q->run.expert[i]]++;
    ful__balance_route(out, q->r, &q->run, chosen, NULL);
    memset(q->dgate, 0, (size_t)(T * a->k) * sizeof(float));
    kit_backward(q);
}

/* D2.f1, D2.gradLBLk1, D2.fd, D2 k = 2 */
static void switch_loss(void **state)
{
    (void)state;
    kit q;
    ful__balance_run b;
    ful_moe_attr a = kit_attr("softmax", E, 1);
    a.switch_coef = 1;
    balance_of(&q, &a, &b);
    near(b.switch_loss, 1.356539);
    near_all(q.dx,
             (const float[]){.094741f, -.056920f, -.037820f, .095960f, -.076493f, -.019467f, .116906f, -.025989f, -.090917f,
                             .072740f, -.037972f, -.034768f},
             T * E, "dL of the Switch loss");
    kit_deinit(&q);
    a.k = 2;
    balance_of(&q, &a, &b);
    near(b.switch_loss, 1.193035);
    kit_deinit(&q);
    a.switch_coef = 0.01f; /* the coefficient is in the value */
    balance_of(&q, &a, &b);
    near(b.switch_loss, .01193035);
    kit_deinit(&q);
}

static double switch_of(int e, const float *prob, const int64_t *chosen, int64_t t, double *global)
{
    ful_moe_attr a = kit_attr("softmax", e, 1);
    a.switch_coef = 1;
    ful__balance_run b = {
        .attr = &a, .t = t, .e = e, .k = 1, .logits = prob, .prob = prob, .chosen = chosen, .global_share = global};
    ful__balance(&b);
    return b.switch_loss;
}

/* D2.uniform, D2.below1 */
static void switch_scale(void **state)
{
    (void)state;
    const float third = 1.0f / 3;
    const float uniform[9] = {third, third, third, third, third, third, third, third, third};
    near(switch_of(3, uniform, (const int64_t[]){1, 1, 1}, 3, NULL), 1);
    near(switch_of(3, uniform, (const int64_t[]){3, 0, 0}, 3, NULL), 1); /* the degenerate minimum: f skewed, p uniform */
    const float below[10] = {.4f, .6f, .4f, .6f, .4f, .6f, .4f, .6f, .4f, .6f};
    near(switch_of(2, below, (const int64_t[]){3, 2}, 5, NULL), .96);
}

/* D3.micro, D3.globalf x microp */
static void global_switch_loss(void **state)
{
    (void)state;
    const float logits[2][4] = {{3, 0, 3, 0}, {0, 3, 0, 3}};
    const int64_t chosen[2][2] = {{2, 0}, {0, 2}};
    double running[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        float prob[4];
        const float top = 1 / (1 + expf(-3)), low = 1 - top;
        for (int j = 0; j < 4; j++) prob[j] = logits[i][j] > 0 ? top : low;
        near(switch_of(2, prob, chosen[i], 2, NULL), 1.905148);
        double others[2] = {i == 0 ? 0 : 2, i == 0 ? 2 : 0}; /* the other micro-batch counted before */
        near(switch_of(2, prob, chosen[i], 2, others), 1);
        near(switch_of(2, prob, chosen[i], 2, running), i == 0 ? 1.905148 : 1); /* as it runs: only those so far */
    }
    near(running[0], 2);
    near(running[1], 2);
}

/* D1.importance, D1.gradCV2 */
static void importance_loss(void **state)
{
    (void)state;
    kit q;
    ful__balance_run b;
    ful_moe_attr a = kit_attr("softmax", E, 1);
    a.importance_coef = 1;
    balance_of(&q, &a, &b);
    near(b.importance_loss, .170375);
    near_all(q.dx, (const float[]){.055527f, -.018470f, -.037057f}, E, "dL of importance CV^2");
    kit_deinit(&q);
    a = kit_attr("softmax", 1, 1); /* one expert: nothing to balance */
    a.importance_coef = a.load_coef = 1;
    const float one[2] = {1, 1}, zero[2] = {0, 0};
    ful__balance_run single = {.attr = &a, .t = 2, .e = 1, .k = 1, .logits = zero, .prob = one};
    ful__balance(&single);
    near(single.importance_loss, 0);
    near(single.load_loss, 0);
}

/* D4.z */
static void z_loss(void **state)
{
    (void)state;
    kit q;
    ful__balance_run b;
    ful_moe_attr a = kit_attr("softmax", E, 1);
    a.z_coef = 1;
    balance_of(&q, &a, &b);
    near(b.z_loss, 4.449318);
    near_all(q.dx, (const float[]){.800819f, .294605f, .108379f}, E, "dL of the z-loss");
    kit_deinit(&q);
    const float zero[E] = {-logf(3), -logf(3), -logf(3)};
    ful__balance_run floor = {.attr = &a, .t = 1, .e = E, .k = 1, .logits = zero, .prob = zero};
    ful__balance(&floor);
    near(floor.z_loss, 0);
}

/* D9.H, and H1's figures from the statistics */
static void entropies(void **state)
{
    (void)state;
    kit q;
    ful__balance_run b;
    ful_moe_attr a = kit_attr("softmax", E, 1);
    a.entropy_coef = 1;
    balance_of(&q, &a, &b);
    near(b.entropy_loss, .910136);
    ful_moe_stats stats;
    ful_moe_health health;
    assert_ok(ful__moe_stats_init(&stats, "moe", E, 1, 0));
    const int64_t chosen[E] = {3, 1, 0};
    ful__moe_stats_add_route(&stats, q.r, &q.run, NULL, chosen, chosen, NULL);
    ful_moe_health_compute(&stats, &health);
    near(health.entropy, .910136);
    near(health.entropy_marginal, 1.003830);
    near(health.entropy_marginal_norm, 1.003830 / log(3));
    near(health.entropy_marginal - health.entropy, .093693);
    near(health.load_cv2, .875); /* D1 loadhard */
    near(stats.importance[0], 1.914678);
    near(stats.importance[1], 1.490838);
    near(stats.importance[2], .594484);
    near(health.margin, (.665241 - .244728 + .592201 - .359188 + .426013 - .315598 + .628532 - .231224) / 4);
    near(health.gate_mass, (.665241 + .592201 + .426013 + .628532) / 4);
    ful__moe_stats_deinit(&stats);
    kit_deinit(&q);
}

/* D5.bias, D5.toy: fixed sigmoid scores of F1, u = 0.01: the largest load settles at 2. */
static void selection_bias(void **state)
{
    (void)state;
    kit q;
    ful_moe_attr a = kit_attr("sigmoid", E, 1);
    a.bias_rate = 0.001f;
    fixture(&q, &a, F1, T);
    float *bias = memset(q.w[1], 0, E * sizeof *bias);
    q.r->type->after_step(q.r, q.w, (const int64_t[]){3, 1, 0});
    near_all(bias, (const float[]){-.001f, .001f, .001f}, E, "bias");
    q.r->type->after_step(q.r, q.w, (const int64_t[]){2, 2, 2}); /* sign(0) = 0 */
    near_all(bias, (const float[]){-.001f, .001f, .001f}, E, "bias");
    kit_deinit(&q);

    a.bias_rate = 0.01f;
    fixture(&q, &a, F1, T);
    memset(q.w[1], 0, E * sizeof *bias);
    for (int step = 0; step < 200; step++) {
        int64_t chosen[E] = {0}, most = 0;
        assert_ok(kit_forward(&q));
        for (int t = 0; t < T; t++) chosen[q.run.expert[t]]++;
        for (int j = 0; j < E; j++) most = chosen[j] > most ? chosen[j] : most;
        if (step == 0) assert_int_equal(most, 3);
        if (step >= 190) assert_int_equal(most, 2);
        q.r->type->after_step(q.r, q.w, chosen);
    }
    kit_deinit(&q);
}

/* A3.sig; and the bias changes only who is chosen, never a chosen one's gate */
static void sigmoid_gates(void **state)
{
    (void)state;
    kit q;
    ful_moe_attr a = kit_attr("sigmoid", E, 1);
    fixture(&q, &a, F1, 1);
    for (int j = 0; j < E; j++) { /* the scores themselves, by making each expert the best */
        q.x[0] = F1[j], q.x[1] = q.x[2] = -9;
        assert_ok(kit_forward(&q));
        near(q.run.gate[0], ((const double[]){.880797, .731059, .5})[j]);
    }
    kit_deinit(&q);
    a.k = 2;
    a.gate = FUL_GATE_RENORM;
    a.bias_rate = 0.001f;
    fixture(&q, &a, F1, 1);
    const float biases[][E] = {{0, 0, 0}, {.01f, -.01f, .1f}, {-3, -3, -4}};
    for (int i = 0; i < 3; i++) {
        memcpy(q.w[1], biases[i], sizeof biases[i]);
        assert_ok(kit_forward(&q));
        same_experts(q.run.expert, (const int32_t[]){0, 1}, 2);
        near_all(q.run.gate, (const float[]){.546449f, .453551f}, 2, "sigmoid gates");
    }
    kit_deinit(&q);
}

/* B4.softmoe D and C, Y, B=1, other batch, per sample: the cards leave out the l2 norms, so their logits are given. */
static void soft_mixtures(void **state)
{
    (void)state;
    const float logits[3 * 2] = {1, 0, 0, 2, 1, 2}, x[3 * 2] = {1, 0, 0, 1, 1, 1};
    const float d_wanted[6] = {.422319f, .063379f, .155362f, .468311f, .422319f, .468311f};
    const float c_wanted[6] = {.731059f, .268941f, .119203f, .880797f, .268941f, .731059f};
    const float y_wanted[6] = {1.091966f, .592741f, -.266944f, -.687251f, .065620f, -.374000f};
    const float sample_wanted[6] = {1.193176f, 0, 0, -.642391f, -.193176f, -.193176f};
    float d[6], c[6], z[4] = {0}, y[6], sample[6];
    ful__soft_dispatch(logits, 3, 2, d);
    kit q; /* C comes from the softmax over slots, as in any router */
    ful_moe_attr a = kit_attr("softmax", 2, 2);
    fixture(&q, &a, logits, 3);
    assert_ok(kit_forward(&q));
    memcpy(c, q.run.prob, sizeof c);
    kit_deinit(&q);
    near_all(d, d_wanted, 6, "D");
    near_all(c, c_wanted, 6, "C");
    for (int s = 0; s < 2; s++)
        for (int t = 0; t < 3; t++)
            for (int i = 0; i < 2; i++) z[s * 2 + i] += d[t * 2 + s] * x[t * 2 + i];
    near_all(z, (const float[]){.844638f, .577681f, .531689f, .936621f}, 4, "slots");
    for (int t = 0; t < 3; t++)
        for (int i = 0; i < 2; i++) {
            y[t * 2 + i] = c[t * 2] * 2 * z[i] - c[t * 2 + 1] * z[2 + i];
            sample[t * 2 + i] = (c[t * 2] * 2 - c[t * 2 + 1]) * x[t * 2 + i];
        }
    near_all(y, y_wanted, 6, "Y");
    near_all(sample, sample_wanted, 6, "per-sample Y");
    for (int s = 0; s < 2; s++) { /* how many samples a slot blends */
        double h = 0;
        for (int t = 0; t < 3; t++) h -= (double)d[t * 2 + s] * log((double)d[t * 2 + s]);
        near(exp(h), s ? 2.423909 : 2.765875);
    }

    ful__soft_dispatch(logits, 1, 2, d); /* token 0 alone: every slot is x itself */
    near_all(d, (const float[]){1, 1}, 2, "D of one token");
    const float other[4] = {1, 0, -5, 6}; /* token 0 beside [-5, 3] */
    ful__soft_dispatch(other, 2, 2, d);
    const float x1[2] = {-5, 3};
    for (int i = 0; i < 2; i++) {
        const float z0 = d[0] * x[i] + d[2] * x1[i], z1 = d[1] * x[i] + d[3] * x1[i];
        near(c_wanted[0] * 2 * z0 - c_wanted[1] * z1, i ? -.793983 : 2.781143);
    }
}

/* B4.slotnorm, its trend: the more tokens a slot blends, the weaker it is; alone a token is its slot. */
static void slots_wash_out(void **state)
{
    (void)state;
    double before = 1.0001;
    for (int n = 1; n <= 512; n *= 8) {
        ful_moe_attr a = kit_attr("soft_batch", 4, 1);
        kit q;
        kit_init(&q, &a, 8, n, 5);
        assert_ok(kit_forward(&q));
        double slot = 0, length = 0;
        for (int s = 0; s < 4; s++) {
            double square = 0;
            for (int i = 0; i < 8; i++) {
                double z = 0;
                for (int t = 0; t < n; t++) z += (double)q.run.dispatch[t * 4 + s] * (double)q.x[t * 8 + i];
                square += z * z;
            }
            slot += sqrt(square) / 4;
        }
        for (int t = 0; t < n; t++) {
            double square = 0;
            for (int i = 0; i < 8; i++) square += (double)q.x[t * 8 + i] * (double)q.x[t * 8 + i];
            length += sqrt(square) / n;
        }
        assert_true(slot / length < before);
        if (n == 1) near(slot / length, 1);
        before = slot / length;
        kit_deinit(&q);
    }
    assert_true(before < 0.25);
}

/* H2.util, H3.change, H4.mi */
static void health(void **state)
{
    (void)state;
    ful_moe_stats stats;
    ful_moe_health h;
    assert_ok(ful__moe_stats_init(&stats, "moe", 4, 1, 0));
    const int64_t loads[4] = {60, 30, 8, 2};
    memcpy(stats.chosen, loads, sizeof loads);
    stats.tokens = stats.pairs = 100;
    ful_moe_health_compute(&stats, &h);
    near(log(h.effective_experts), .947986);
    near(h.effective_experts, 2.580507);
    near(h.max_over_mean, 2.4);
    near(h.gini, .49);
    near(h.load_cv2, .8272);
    ful__moe_stats_deinit(&stats);

    assert_ok(ful__moe_stats_init(&stats, "moe", 3, 1, 3));
    const int64_t table[9] = {40, 5, 5, 5, 35, 10, 0, 10, 40};
    memcpy(stats.class_expert, table, sizeof table);
    stats.tokens = stats.pairs = 150;
    stats.chosen[0] = stats.chosen[1] = stats.chosen[2] = 50;
    ful_moe_health_compute(&stats, &h);
    near(h.class_mi, .448189);
    near(h.class_mi / log(2), .6466);
    near(h.class_nmi, .408581);
    near(h.class_entropy_experts, 1.095273);
    near(exp(h.class_entropy_experts), 2.99);
    const int64_t perfect[9] = {50, 0, 0, 0, 50, 0, 0, 0, 50}; /* MI = H(e) */
    memcpy(stats.class_expert, perfect, sizeof perfect);
    ful_moe_health_compute(&stats, &h);
    near(h.class_mi, log(3));
    near(h.class_nmi, 1);
    ful__moe_stats_deinit(&stats);

    const int32_t before[8] = {0, 1, 0, 2, 1, 2, 0, 1}, after[8] = {0, 1, 0, 1, 1, 2, 2, 1};
    double any;
    near(ful__router_change_rate(before, after, 4, 2, &any), .25);
    near(any, .5);
}

/* P1: the schedules' end points, middle, and floor */
static void temperatures(void **state)
{
    (void)state;
    ful_moe_attr a = kit_attr("softmax", E, 1);
    a.tau0 = 2;
    a.tau_min = 0.5f;
    near(ful__router_temperature(&a, 0.7), 2);
    a.temperature = FUL_TEMPERATURE_LINEAR;
    near(ful__router_temperature(&a, 0), 2);
    near(ful__router_temperature(&a, 0.25), 1.625);
    near(ful__router_temperature(&a, 1), .5);
    near(ful__router_temperature(&a, 7), .5);
    a.temperature = FUL_TEMPERATURE_SIGMOID;
    near(ful__router_temperature(&a, 0), 2);
    near(ful__router_temperature(&a, 0.5), 1.25);
    near(ful__router_temperature(&a, 1), .5);
    near(ful__router_temperature(&a, 0.25),
         .5 + 1.5 * (1 / (1 + exp(-2.5)) - 1 / (1 + exp(5))) / (1 / (1 + exp(-5)) - 1 / (1 + exp(5))));
    kit q; /* and it divides the logits */
    fixture(&q, &a, F1, T);
    q.run.progress = 1;
    assert_ok(kit_forward(&q));
    for (int i = 0; i < T * E; i++) near(q.run.logits[i], 2 * (double)F1[i]);
    kit_deinit(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_and_choices), cmocka_unit_test(capacities),     cmocka_unit_test(drops),
        cmocka_unit_test(reversed_drops),     cmocka_unit_test(gate_gradients), cmocka_unit_test(load_probabilities),
        cmocka_unit_test(switch_loss),        cmocka_unit_test(switch_scale),   cmocka_unit_test(global_switch_loss),
        cmocka_unit_test(importance_loss),    cmocka_unit_test(z_loss),         cmocka_unit_test(entropies),
        cmocka_unit_test(selection_bias),     cmocka_unit_test(sigmoid_gates),  cmocka_unit_test(soft_mixtures),
        cmocka_unit_test(slots_wash_out),     cmocka_unit_test(health),         cmocka_unit_test(temperatures),
    };
    return cmocka_run_group_tests_name("router oracles", tests, NULL, NULL);
}
