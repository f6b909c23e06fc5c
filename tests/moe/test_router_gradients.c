/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gradients of every router, with and without balance losses, against central differences of a second implementation in double
 * that shares no code with the library's: J = sum c gate (+ sum c' D for slots) + balance losses, with choices and draws held
 * fixed.
 */
#include <math.h>

#include "router_kit.h"

enum { T = 6, D = 5, E = 4, MOST = 256 };

/* All that J depends on, in double: x, then the trainable parameters in order. */
typedef struct model {
    const kit *q;
    const ful_moe_attr *a;
    double tau;
    double value[MOST];
    int at[5], count; /* where x (0) and parameter i (i+1) begin */
    double z[T * E], jitter[T * D];
    int64_t chosen[E];
} model;

/* Second implementation ----------------------------------------------------------------------------------------------- */

static void transform(const model *m, const double *x, int token, double *u)
{
    double mean = 0, square = 0;
    for (int i = 0; i < D; i++) mean += x[i] / D;
    for (int i = 0; i < D; i++) square += x[i] * x[i];
    double variance = square / D - mean * mean;
    for (int i = 0; i < D; i++) {
        u[i] = x[i];
        if (m->a->router_input == FUL_ROUTER_INPUT_LAYERNORM) u[i] = (x[i] - mean) / sqrt(variance + 1e-5);
        if (m->a->router_input == FUL_ROUTER_INPUT_L2) u[i] = x[i] / sqrt(square + 1e-6);
        u[i] *= m->jitter[token * D + i];
    }
}

static double softplus(double x)
{
    return x > 30 ? x : log1p(exp(x));
}

static double sum_exp(const double *x, int n)
{
    double s = 0;
    for (int i = 0; i < n; i++) s += exp(x[i]);
    return s;
}

static double cv2(const double *x, int n)
{
    double mean = 0, variance = 0;
    for (int i = 0; i < n; i++) mean += x[i] / n;
    for (int i = 0; i < n; i++) variance += (x[i] - mean) * (x[i] - mean) / n;
    return variance / mean / mean;
}

/* The k-th largest of h without expert `skip` (-1: of all). */
static double kth_largest(const double *h, int k, int skip)
{
    double sorted[E];
    int n = 0;
    for (int j = 0; j < E; j++) {
        if (j == skip) continue;
        int i = n++;
        for (; i > 0 && sorted[i - 1] < h[j]; i--) sorted[i] = sorted[i - 1];
        sorted[i] = h[j];
    }
    return sorted[k - 1];
}

/* Balance losses of scores p [T][E], logits h, clean logits and noise sd; sd NULL: no load loss. */
static double losses(const model *m, double p[T][E], double h[T][E], double clean[T][E], double sd[T][E], int k)
{
    double importance[E] = {0}, load[E] = {0}, total = 0, dot = 0, z = 0, entropy = 0;
    for (int t = 0; t < T; t++) {
        const double lse = log(sum_exp(h[t], E));
        z += lse * lse / T;
        for (int j = 0; j < E; j++) {
            importance[j] += p[t][j];
            entropy -= p[t][j] * log(p[t][j]) / T;
            if (!sd || k == E) continue;
            const double against = kth_largest(h[t], k, m->a->noisy ? j : -1);
            load[j] += 0.5 * (1 + erf((clean[t][j] - against) / sd[t][j] / sqrt(2)));
        }
    }
    for (int j = 0; j < E; j++) total += (double)m->chosen[j];
    for (int j = 0; j < E; j++) dot += (double)m->chosen[j] / total * importance[j] / T;
    double sum = (double)m->a->switch_coef * E * dot + (double)m->a->importance_coef * cv2(importance, E);
    sum += (double)m->a->z_coef * z + (double)m->a->entropy_coef * entropy;
    if (sd && k < E) sum += (double)m->a->load_coef * cv2(load, E);
    return sum;
}

static double linear_objective(const model *m)
{
    const ful_moe_attr *a = m->a;
    const int k = m->q->r->k;
    const bool sigmoid = strcmp(a->router, "sigmoid") == 0;
    const bool normal = a->noise_std > 0 && a->noise_kind == FUL_ROUTER_NOISE_NORMAL;
    double p[T][E], h[T][E], clean[T][E], sd[T][E], j_value = 0;
    for (int t = 0; t < T; t++) {
        double u[D], sum = 0, chosen_sum = 0, score[E];
        transform(m, m->value + t * D, t, u);
        for (int j = 0; j < E; j++) {
            double l = 0, raw = 0;
            for (int i = 0; i < D; i++) l += u[i] * m->value[m->at[1] + j * D + i];
            for (int i = 0; i < D && a->noisy; i++) raw += u[i] * m->value[m->at[2] + j * D + i];
            clean[t][j] = l / m->tau;
            sd[t][j] = a->noisy ? softplus(raw) : (double)a->noise_std / E;
            h[t][j] = clean[t][j] + (a->noisy || normal ? sd[t][j] * m->z[t * E + j] : 0);
            score[j] = sigmoid ? 1 / (1 + exp(-h[t][j])) : exp(h[t][j]);
            sum += score[j];
        }
        for (int j = 0; j < E; j++) p[t][j] = score[j] / sum;
        const int32_t *expert = m->q->run.expert + t * k;
        for (int i = 0; i < k; i++) chosen_sum += score[expert[i]];
        for (int i = 0; i < k; i++) {
            const double whole = sigmoid ? score[expert[i]] : p[t][expert[i]];
            const double gate = a->gate == FUL_GATE_RENORM ? score[expert[i]] / chosen_sum : whole;
            j_value += (double)m->q->dgate[t * k + i] * gate;
        }
    }
    if (!m->q->r->balance) return j_value;
    return j_value + losses(m, p, h, clean, a->noisy || normal ? sd : NULL, k);
}

static double soft_objective(const model *m)
{
    const int s = m->q->r->k, group = (int)m->q->run.group;
    const double scale = m->value[m->at[2]] / m->tau;
    double l[T][2 * E], j_value = 0;
    for (int t = 0; t < T; t++) {
        for (int j = 0; j < s; j++) {
            double xx = 0, ww = 0, xw = 0;
            for (int i = 0; i < D; i++) {
                const double x = m->value[t * D + i], w = m->value[m->at[1] + j * D + i];
                xx += x * x, ww += w * w, xw += x * w;
            }
            l[t][j] = scale * xw / sqrt(xx + 1e-6) / sqrt(ww + 1e-6);
        }
        for (int j = 0; j < s; j++) {
            const int column = m->q->run.expert ? m->q->run.expert[t * s + j] : j;
            j_value += (double)m->q->dgate[t * s + j] * exp(l[t][column]) / sum_exp(l[t], s);
        }
    }
    for (int t = 0; t < T && m->q->run.dispatch; t++)
        for (int j = 0; j < s; j++) {
            double sum = 0;
            for (int other = t / group * group; other < t / group * group + group; other++) sum += exp(l[other][j]);
            j_value += (double)m->q->ddispatch[t * s + j] * exp(l[t][j]) / sum;
        }
    return j_value;
}

static double objective(const model *m)
{
    return strncmp(m->a->router, "soft_", 5) == 0 ? soft_objective(m) : linear_objective(m);
}

/* The comparison ------------------------------------------------------------------------------------------------------ */

static void model_init(model *m, const kit *q)
{
    *m = (model){.q = q, .a = &q->r->attr, .tau = (double)ful__router_temperature(&q->r->attr, q->run.progress)};
    for (int i = 0; i < T * D; i++) m->value[m->count++] = (double)q->x[i];
    for (int p = 0; p < q->r->n_params; p++) {
        m->at[p + 1] = m->count;
        for (int64_t i = 0; i < q->r->params[p].count; i++) m->value[m->count++] = (double)q->w[p][i];
    }
    /* the draws, as router_linear.h documents their addresses */
    const ful__stream noise = ful__stream_make(q->run.seed, "router-noise", q->r->name);
    const ful__stream jitter = ful__stream_make(q->run.seed, "router-jitter", q->r->name);
    const float wide = q->r->attr.jitter;
    for (int t = 0; t < T; t++) {
        const uint64_t step = q->run.step << 32 | (q->run.token_id ? q->run.token_id[t] : (uint32_t)t);
        for (int j = 0; j < E; j++) m->z[t * E + j] = (double)ful__rng_normal(noise, step, (uint64_t)j);
        for (int i = 0; i < D; i++)
            m->jitter[t * D + i] = (double)(1 - wide + 2 * wide * ful__rng_uniform(jitter, step, (uint64_t)i));
    }
}

static void check_part(model *m, const char *name, const char *part, int begin, int n, const float *gradient)
{
    const double h = 1e-5;
    double largest = 1e-2; /* errors are judged against the largest entry */
    for (int i = 0; i < n; i++) largest = fmax(largest, fabs((double)gradient[i]));
    for (int i = 0; i < n; i++) {
        const double held = m->value[begin + i];
        m->value[begin + i] = held + h;
        const double above = objective(m);
        m->value[begin + i] = held - h;
        const double below = objective(m), wanted = (above - below) / (2 * h);
        m->value[begin + i] = held;
        if (!(fabs(wanted - (double)gradient[i]) <= 2e-5 * largest))
            fail_msg("%s: d%s[%d] = %.8g, differences give %.8g", name, part, i, (double)gradient[i], wanted);
    }
}

/* The same J from what the library computed. */
static void check_value(const model *m, const char *name, const ful__balance_run *b)
{
    const kit *q = m->q;
    double value = b->switch_loss + b->importance_loss + b->load_loss + b->z_loss + b->entropy_loss;
    for (int64_t i = 0; i < T * q->r->k; i++) {
        value += (double)q->dgate[i] * (double)(q->run.gate ? q->run.gate[i] : q->run.prob[i]);
        if (q->run.dispatch) value += (double)q->ddispatch[i] * (double)q->run.dispatch[i];
    }
    const double wanted = objective(m);
    if (!(fabs(value - wanted) <= 1e-5 * fmax(1, fabs(wanted)))) fail_msg("%s: J = %.9g, wanted %.9g", name, value, wanted);
}

static void check(const char *name, const ful_moe_attr *attr, double progress, int64_t group)
{
    kit q;
    kit_init(&q, attr, D, T, 11);
    q.run.progress = progress;
    q.run.group = group;
    const uint32_t id[T] = {40, 2, 77, 5, 1000000, 0};
    q.run.token_id = id;
    const bool pairs = q.r->kind == FUL__ROUTE_PAIRS;
    if (pairs && q.r->balance) {
        q.run.dprob_extra = kit_floats(&q, T * E);
        q.run.dlogits_extra = kit_floats(&q, T * E);
    }
    assert_ok(kit_forward(&q));
    model m;
    model_init(&m, &q);
    for (int64_t i = 0; pairs && i < T * q.r->k; i++) m.chosen[q.run.expert[i]]++;
    ful__balance_run balance = {0};
    if (pairs) ful__balance_route(&balance, q.r, &q.run, m.chosen, NULL);
    check_value(&m, name, &balance);
    kit_backward(&q);
    check_part(&m, name, "x", 0, T * D, q.dx);
    for (int p = 0; p < q.r->n_params; p++)
        if (q.dw[p]) check_part(&m, name, q.r->params[p].name, m.at[p + 1], (int)q.r->params[p].count, q.dw[p]);
    kit_deinit(&q);
}

static void with_balance(ful_moe_attr *a)
{
    a->switch_coef = 0.3f;
    a->importance_coef = 0.2f;
    a->load_coef = 0.25f;
    a->z_coef = 0.1f;
    a->entropy_coef = -0.15f;
}

static void softmax_gates(void **state)
{
    (void)state;
    for (int k = 1; k <= E; k++) {
        ful_moe_attr a = kit_attr("softmax", E, k);
        check("softmax_all", &a, 0, T);
        with_balance(&a);
        check("softmax_all with balance losses", &a, 0, T);
        a.gate = FUL_GATE_RENORM;
        if (k > 1) check("renorm with balance losses", &a, 0, T);
    }
}

static void softmax_inputs_and_temperature(void **state)
{
    (void)state;
    for (int input = FUL_ROUTER_INPUT_RAW; input <= FUL_ROUTER_INPUT_L2; input++)
        for (int jitter = 0; jitter < 2; jitter++) {
            ful_moe_attr a = kit_attr("softmax", E, 2);
            a.router_input = (ful_router_input)input;
            a.jitter = jitter ? 0.3f : 0;
            a.temperature = FUL_TEMPERATURE_LINEAR;
            a.tau0 = 1.5f;
            a.tau_min = 0.5f;
            with_balance(&a);
            check("softmax, input transform, jitter, temperature", &a, 0.3, T);
        }
}

static void softmax_noise(void **state)
{
    (void)state;
    for (int k = 1; k <= E; k++)
        for (int gate = FUL_GATE_SOFTMAX_ALL; gate <= FUL_GATE_RENORM; gate++) {
            if (k == 1 && gate == FUL_GATE_RENORM) continue;
            ful_moe_attr a = kit_attr("softmax", E, k);
            a.gate = (ful_gate_mode)gate;
            a.noisy = true;
            a.tau0 = 0.8f;
            a.tau_min = 0.8f;
            check("noisy top-k", &a, 0, T);
            with_balance(&a);
            a.router_input = FUL_ROUTER_INPUT_LAYERNORM;
            check("noisy top-k with balance losses", &a, 0, T);
            a.noisy = false;
            a.noise_std = 1.2f;
            check("V-MoE noise with balance losses", &a, 0, T);
            a.noise_kind = FUL_ROUTER_NOISE_UNIFORM;
            check("uniform noise for the choice alone", &a, 0, T);
        }
}

static void softmax_bias(void **state)
{
    (void)state;
    ful_moe_attr a = kit_attr("softmax", E, 2);
    a.bias_rate = 0.01f;
    with_balance(&a);
    check("selection bias", &a, 0, T);
    snprintf(a.router, sizeof a.router, "sigmoid");
    a.gate = FUL_GATE_RENORM;
    check("sigmoid, selection bias", &a, 0, T);
}

static void sigmoid_gates(void **state)
{
    (void)state;
    for (int k = 1; k <= E; k++) {
        ful_moe_attr a = kit_attr("sigmoid", E, k);
        check("sigmoid, scores as they are", &a, 0, T);
        with_balance(&a);
        check("sigmoid, scores as they are, balance losses", &a, 0, T);
        a.gate = FUL_GATE_RENORM;
        a.noise_std = 0.7f;
        if (k > 1) check("sigmoid, normalised, noise, balance losses", &a, 0, T);
    }
}

/* Frozen weights, but the gates still depend on x; balance losses push nothing. */
static void random_input_gradient(void **state)
{
    (void)state;
    ful_moe_attr a = kit_attr("random", E, 2);
    with_balance(&a);
    check("random", &a, 0, T);
}

static void soft_routers(void **state)
{
    (void)state;
    for (int slots = 1; slots <= 2; slots++) {
        ful_moe_attr a = kit_attr("soft_batch", E, 2);
        a.soft_slots = slots;
        check("soft_batch", &a, 0, T);
        snprintf(a.router, sizeof a.router, "soft_patch");
        check("soft_patch, two images", &a, 0, T / 2);
        check("soft_patch, single pixels", &a, 0, 1);
    }
    ful_moe_attr a = kit_attr("soft_sample", E, 2);
    a.tau0 = a.tau_min = 0.5f;
    check("soft_sample", &a, 0, T);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(softmax_gates), cmocka_unit_test(softmax_inputs_and_temperature),
        cmocka_unit_test(softmax_noise), cmocka_unit_test(softmax_bias),
        cmocka_unit_test(sigmoid_gates), cmocka_unit_test(random_input_gradient),
        cmocka_unit_test(soft_routers),
    };
    return cmocka_run_group_tests_name("router gradients", tests, NULL, NULL);
}
