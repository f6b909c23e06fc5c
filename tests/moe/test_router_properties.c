/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold for routers whatever the numbers (METHODS 0.6): independence, distinct choices, gate sums, draws, refusals. */
#include <math.h>

#include <fulcrum/core.h>

#include "core/mem.h"
#include "moe/router_types.h"
#include "router_kit.h"
#include "support/fault.h"

enum { D = 19, E = 6 };

static const char *const pair_routers[] = {"softmax", "sigmoid", "random", "hash", "fixed", "soft_sample"};
enum { N_PAIR = sizeof pair_routers / sizeof *pair_routers };

/* A busy configuration of each router. */
static ful_moe_attr busy(const char *router, int k)
{
    ful_moe_attr a = kit_attr(router, E, k);
    if (strcmp(router, "softmax") == 0 || strcmp(router, "sigmoid") == 0) {
        a.router_input = FUL_ROUTER_INPUT_LAYERNORM;
        a.jitter = 0.2f;
        a.noise_std = 2;
        a.bias_rate = 0.01f;
        a.gate = k > 1 ? FUL_GATE_RENORM : FUL_GATE_SOFTMAX_ALL;
        a.load_coef = 0.1f;
        a.switch_coef = 0.1f;
        a.z_coef = 0.01f;
        a.entropy_coef = 0.01f;
    }
    return a;
}

/* Independence -------------------------------------------------------------------------------------------------------- */

/* Token `t` of q and token `other_t` of other were routed to the same bits. */
static void assert_same_route(const kit *q, int64_t t, const kit *other, int64_t other_t)
{
    const int k = q->r->k;
    assert_memory_equal(q->run.logits + t * q->columns, other->run.logits + other_t * q->columns, (size_t)q->columns * 4);
    assert_memory_equal(q->run.prob + t * q->columns, other->run.prob + other_t * q->columns, (size_t)q->columns * 4);
    if (!q->run.expert) return;
    assert_memory_equal(q->run.expert + t * k, other->run.expert + other_t * k, (size_t)k * 4);
    assert_memory_equal(q->run.gate + t * k, other->run.gate + other_t * k, (size_t)k * 4);
}

/* The same image routed alone, in company, and elsewhere in other company: at eval, and in training with its id. */
static void route_depends_on_the_token_alone(void **state)
{
    (void)state;
    for (int i = 0; i < N_PAIR; i++)
        for (int train = 0; train < 2; train++) {
            const ful_moe_attr a = busy(pair_routers[i], 2);
            kit q, alone;
            kit_init(&q, &a, D, 700, 1);
            uint32_t id[700];
            for (uint32_t t = 0; t < 700; t++) id[t] = 5000 - 3 * t;
            q.run.train = train;
            q.run.token_id = id;
            assert_ok(kit_forward(&q));
            for (int64_t t = 0; t < 700; t += 97) {
                for (int64_t company = 1; company <= 300; company += 299) { /* last of so many */
                    kit_init(&alone, &a, D, company, 1);
                    for (int p = 0; p < q.r->n_params; p++) memcpy(alone.w[p], q.w[p], (size_t)q.r->params[p].count * 4);
                    memcpy(alone.x + (company - 1) * D, q.x + t * D, D * sizeof(float));
                    uint32_t other_id[300] = {0};
                    other_id[company - 1] = id[t];
                    alone.run.train = train;
                    alone.run.token_id = other_id;
                    assert_ok(kit_forward(&alone));
                    assert_same_route(&q, t, &alone, company - 1);
                    kit_deinit(&alone);
                }
            }
            kit_deinit(&q);
        }
}

/* Soft MoE over an image's patches sees no other image; over the batch axis it does. */
static void soft_groups(void **state)
{
    (void)state;
    enum { M = 9, IMAGES = 5 };
    for (int batch_axis = 0; batch_axis < 2; batch_axis++) {
        ful_moe_attr a = kit_attr(batch_axis ? "soft_batch" : "soft_patch", E, 2);
        a.soft_slots = 2;
        kit q, alone;
        kit_init(&q, &a, D, IMAGES * M, 1);
        q.run.group = batch_axis ? IMAGES * M : M;
        assert_ok(kit_forward(&q));
        const int s = q.r->k;
        assert_int_equal(s, 2 * E);
        for (int image = 0; image < IMAGES; image++) {
            kit_init(&alone, &a, D, M, 1);
            for (int p = 0; p < 2; p++) memcpy(alone.w[p], q.w[p], (size_t)q.r->params[p].count * 4);
            memcpy(alone.x, q.x + image * M * D, M * D * sizeof(float));
            assert_ok(kit_forward(&alone));
            const float *d = q.run.dispatch + image * M * s;
            const int same = memcmp(d, alone.run.dispatch, (size_t)(M * s) * 4) == 0;
            assert_int_equal(same, !batch_axis);
            for (int t = 0; t < M; t++) assert_same_route(&q, image * M + t, &alone, t);
            kit_deinit(&alone);
        }
        for (int64_t t = 0; t < q.t; t++) { /* rows of C and columns of D sum to 1 */
            double row = 0;
            for (int j = 0; j < s; j++) row += (double)q.run.prob[t * s + j];
            assert_true(fabs(row - 1) < 1e-6);
        }
        for (int64_t first = 0; first < q.t; first += q.run.group)
            for (int j = 0; j < s; j++) {
                double column = 0;
                for (int64_t t = first; t < first + q.run.group; t++) column += (double)q.run.dispatch[t * s + j];
                assert_true(fabs(column - 1) < 1e-6);
            }
        kit_deinit(&q);
    }
}

typedef struct outcome {
    float dx[1000 * D], dw[4][E * D], gate[1000 * E];
    double losses[5], entropy, importance[E];
    ful_status status;
} outcome;

/* A whole step: forward, balance losses, statistics, backward. */
static void whole_step(const ful_moe_attr *a, outcome *o)
{
    kit q;
    kit_init(&q, a, D, 1000, 1);
    int64_t chosen[E] = {0};
    memset(o, 0, sizeof *o);
    q.run.dprob_extra = kit_floats(&q, 1000 * E);
    q.run.dlogits_extra = kit_floats(&q, 1000 * E);
    assert_ok(kit_forward(&q));
    for (int64_t i = 0; i < 1000 * q.r->k; i++) chosen[q.run.expert[i]]++;
    ful__balance_run b;
    ful_moe_stats stats;
    ful__balance_route(&b, q.r, &q.run, chosen, NULL);
    assert_ok(ful__moe_stats_init(&stats, "net.moe", E, q.r->k, 0));
    ful__moe_stats_add_route(&stats, q.r, &q.run, NULL, chosen, chosen, NULL);
    kit_backward(&q);
    memcpy(o->dx, q.dx, sizeof o->dx);
    memcpy(o->gate, q.run.gate, (size_t)(1000 * q.r->k) * 4);
    for (int p = 0; p < q.r->n_params; p++)
        if (q.dw[p]) memcpy(o->dw[p], q.dw[p], (size_t)q.r->params[p].count * 4);
    const double losses[5] = {b.switch_loss, b.importance_loss, b.load_loss, b.z_loss, b.entropy_loss};
    memcpy(o->losses, losses, sizeof losses);
    memcpy(o->importance, stats.importance, sizeof o->importance);
    o->entropy = stats.entropy_sum;
    ful__moe_stats_deinit(&stats);
    kit_deinit(&q);
}

/* Threads and CPU levels change no bit. */
static void same_bits_on_any_machine(void **state)
{
    (void)state;
    static outcome first, again;
    const int threads = ful_threads_get();
    for (int i = 0; i < N_PAIR; i++) {
        const ful_moe_attr a = busy(pair_routers[i], 2);
        whole_step(&a, &first);
        for (int n = 1; n <= 5; n += 2)
            for (unsigned mask = 0; mask <= 3; mask++) {
                assert_ok(ful_threads_set(n));
                ful_cpu_mask_set(mask);
                whole_step(&a, &again);
                assert_memory_equal(&first, &again, sizeof first);
            }
        ful_cpu_mask_set(~0u);
        assert_ok(ful_threads_set(threads));
    }
}

/* Choices and gates --------------------------------------------------------------------------------------------------- */

static void choices_and_gate_sums(void **state)
{
    (void)state;
    for (int i = 0; i < N_PAIR; i++)
        for (int k = 1; k <= E; k++) {
            const ful_moe_attr a = busy(pair_routers[i], k);
            kit q;
            kit_init(&q, &a, D, 333, (uint64_t)k);
            assert_ok(kit_forward(&q));
            const int used = q.r->k;
            assert_int_equal(used, strcmp(pair_routers[i], "soft_sample") == 0 ? E : k);
            for (int64_t t = 0; t < q.t; t++) {
                unsigned seen = 0;
                double sum = 0, scores = 0;
                for (int j = 0; j < used; j++) {
                    const int32_t e = q.run.expert[t * used + j];
                    assert_in_range(e, 0, E - 1);
                    assert_false(seen >> e & 1);
                    seen |= 1u << e;
                    sum += (double)q.run.gate[t * used + j];
                    assert_true(q.run.gate[t * used + j] > 0);
                }
                for (int j = 0; j < E; j++) scores += (double)q.run.prob[t * E + j];
                assert_true(fabs(scores - 1) < 1e-6);
                const bool random = strcmp(pair_routers[i], "random") == 0, fixed = strcmp(pair_routers[i], "fixed") == 0;
                const bool plain = a.gate == FUL_GATE_SOFTMAX_ALL && k == 1 && i < 2;
                if (fixed)
                    assert_true(sum == k);
                else if (random || plain)
                    assert_true(sum < 1 + 1e-6);
                else
                    assert_true(fabs(sum - 1) < 1e-6);
            }
            kit_deinit(&q);
        }
}

static void top_k_order(void **state)
{
    (void)state;
    const float score[3][5] = {{1, 3, 3, 2, 3}, {-INFINITY, -INFINITY, -1, -INFINITY, 0.0f}, {0.0f, -0.0f, 0, 0, 0}};
    int32_t index[15];
    float value[15];
    assert_true(ful__top_k(score[0], 3, 5, 5, index, value));
    assert_memory_equal(index, ((const int32_t[]){1, 2, 4, 3, 0, 4, 2, 0, 1, 3, 0, 1, 2, 3, 4}), sizeof index);
    assert_true(value[0] == 3 && value[3] == 2 && value[4] == 1);
    assert_true(ful__top_k(score[0], 3, 5, 1, index, NULL));
    assert_memory_equal(index, ((const int32_t[]){1, 4, 0}), 3 * sizeof *index);
}

/* Against the definition, on all paths: few and many columns and choices, many ties, whole vectors of rows and what is left
 * over. */
static void top_k_by_definition(void **state)
{
    (void)state;
    enum { ROWS = 67, MOST = 70 };
    static float score[ROWS * MOST];
    static int32_t index[ROWS * MOST];
    const ful__stream s = ful__stream_make(1, "test", "top-k");
    const int widths[] = {1, 2, 7, 8, 64, 65, 70};
    for (int w = 0; w < 7; w++)
        for (int k = 1; k <= widths[w] && k <= 9; k++) {
            const int e = widths[w];
            for (int i = 0; i < ROWS * e; i++) {
                const uint64_t level = ful__rng_below(s, (uint64_t)(w * 100 + k), (uint64_t)i, 6);
                score[i] = level == 0 ? -INFINITY : (float)level - 3;
            }
            memset(index, 0x7f, sizeof index);
            assert_true(ful__top_k(score, ROWS, e, k, index, NULL));
            for (int t = 0; t < ROWS; t++)
                for (int i = 0; i < k; i++) { /* exactly i elements come before the i-th choice */
                    const int32_t chosen = index[t * k + i];
                    assert_in_range(chosen, 0, e - 1);
                    int before = 0;
                    for (int j = 0; j < e; j++)
                        before += score[t * e + j] > score[t * e + chosen] ||
                                  (score[t * e + j] == score[t * e + chosen] && j < chosen);
                    assert_int_equal(before, i);
                }
            for (int at = 0; at < ROWS * e; at += ROWS * e - 1 ? ROWS * e - 1 : 1) {
                const float held = score[at];
                score[at] = NAN;
                assert_false(ful__top_k(score, ROWS, e, k, index, NULL));
                score[at] = held;
            }
        }
}

/* A dropped pair's gate has no gradient: with all of a token's pairs dropped the router learns nothing from it. */
static void dropped_pairs_teach_nothing(void **state)
{
    (void)state;
    const char *const learned[] = {"softmax", "sigmoid"};
    for (int i = 0; i < 2; i++)
        for (int gate = 0; gate < 2; gate++) {
            ful_moe_attr a = kit_attr(learned[i], E, 2);
            a.gate = (ful_gate_mode)gate;
            kit q;
            kit_init(&q, &a, D, 8, 1);
            assert_ok(kit_forward(&q));
            q.dgate[2 * 5] = q.dgate[2 * 5 + 1] = 0;
            kit_backward(&q);
            for (int64_t t = 0; t < 8; t++) {
                float most = 0;
                for (int j = 0; j < D; j++) most = fmaxf(most, fabsf(q.dx[t * D + j]));
                assert_int_equal(most == 0, t == 5);
            }
            kit_deinit(&q);
        }
}

static void backward_adds(void **state)
{
    (void)state;
    const char *const all[] = {"softmax", "sigmoid", "soft_sample", "soft_batch"};
    for (int i = 0; i < 4; i++) {
        const ful_moe_attr a = kit_attr(all[i], E, 2);
        kit q;
        kit_init(&q, &a, D, 20, 1);
        assert_ok(kit_forward(&q));
        kit_backward(&q);
        const float dx = q.dx[7], dw = q.dw[0][7];
        kit_backward(&q);
        assert_true(fabsf(q.dx[7] - 2 * dx) <= 1e-5f * fabsf(dx));
        assert_true(fabsf(q.dw[0][7] - 2 * dw) <= 1e-5f * fabsf(dw) && dw != 0);
        q.run.dx = NULL; /* nobody needs it */
        kit_backward(&q);
        kit_deinit(&q);
    }
}

/* Logits far apart or far below 0: gates and gradients stay finite, and renormalised softmax gates still sum to 1. */
static void extreme_logits(void **state)
{
    (void)state;
    const char *const learned[] = {"softmax", "sigmoid"};
    for (int i = 0; i < 2; i++)
        for (int sign = -1; sign <= 1; sign += 2) {
            ful_moe_attr a = kit_attr(learned[i], E, 2);
            a.gate = FUL_GATE_RENORM;
            a.bias_rate = 0.1f;
            kit q;
            kit_init(&q, &a, 1, 1, 1);
            q.x[0] = 1;
            for (int j = 0; j < E; j++) {
                q.w[0][j] = (float)(sign * 400 * (j + 1));
                q.w[1][j] = j < 2 ? 2 : 0; /* the bias chooses 0 and 1 whatever their score */
            }
            assert_ok(kit_forward(&q));
            kit_backward(&q);
            assert_in_range(q.run.expert[0] + q.run.expert[1], 1, 1);
            for (int j = 0; j < 2; j++) assert_true(q.run.gate[j] >= 0 && q.run.gate[j] <= 1);
            if (i == 0) assert_true(fabsf(q.run.gate[0] + q.run.gate[1] - 1) < 1e-6f);
            for (int j = 0; j < E; j++) assert_true(isfinite(q.dw[0][j]));
            kit_deinit(&q);
        }
}

/* Draws --------------------------------------------------------------------------------------------------------------- */

/* Whether token 0 gets the same logits and choices after `change`. */
static int same_draw(const ful_moe_attr *a, const char *name, uint64_t seed, uint64_t step, uint32_t id, bool train)
{
    kit q, other;
    kit_init(&q, a, D, 1, 7);
    kit_init(&other, a, D, 1, 7);
    for (int p = 0; p < q.r->n_params; p++) memcpy(other.w[p], q.w[p], (size_t)q.r->params[p].count * 4);
    uint32_t id0 = 0;
    q.run.token_id = &id0;
    other.run.token_id = &id;
    other.run.seed = seed;
    other.run.step = step;
    other.run.train = train;
    snprintf(other.r->name, sizeof other.r->name, "%s", name);
    assert_ok(kit_forward(&q));
    assert_ok(kit_forward(&other));
    const int same = memcmp(q.run.logits, other.run.logits, E * 4) == 0 &&
                     memcmp(q.run.expert, other.run.expert, (size_t)q.r->k * 4) == 0;
    kit_deinit(&other);
    kit_deinit(&q);
    return same;
}

static void draws_have_addresses(void **state)
{
    (void)state;
    const char *const name = "net.moe.router";
    for (int kind = 0; kind < 4; kind++) {
        ful_moe_attr a = kit_attr("softmax", E, E); /* k = E: the order of all experts shows a choice noise */
        if (kind == 0) a.noise_std = 3;
        if (kind == 1) a.noisy = true;
        if (kind == 2) a.jitter = 0.5f;
        if (kind == 3) {
            a.noise_std = 100;
            a.noise_kind = FUL_ROUTER_NOISE_UNIFORM;
        }
        assert_true(same_draw(&a, name, 7, 3, 0, true));
        assert_false(same_draw(&a, name, 8, 3, 0, true));
        assert_false(same_draw(&a, name, 7, 4, 0, true));
        assert_false(same_draw(&a, name, 7, 3, 1, true));
        assert_false(same_draw(&a, "net.moe2.router", 7, 3, 0, true));
        assert_false(same_draw(&a, name, 7, 3, 0, false)); /* no noise at eval */
    }
}

/* At eval: no noise, no jitter, no saved memory; the logits are those of the plain router. */
static void noise_is_off_at_eval(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        ful_moe_attr a = kit_attr("softmax", E, 2);
        kit plain, q;
        kit_init(&plain, &a, D, 40, 1);
        plain.run.train = false;
        assert_ok(kit_forward(&plain));
        if (kind == 0) a.noisy = true;
        if (kind == 1) a.noise_std = 5;
        if (kind == 2) a.noise_std = 5, a.noise_kind = FUL_ROUTER_NOISE_UNIFORM;
        if (kind == 3) a.jitter = 0.9f;
        a.load_coef = 0.1f;
        kit_init(&q, &a, D, 40, 1);
        memcpy(q.w[0], plain.w[0], (size_t)q.r->params[0].count * 4);
        q.run.train = false;
        q.run.saved = NULL;
        assert_ok(kit_forward(&q));
        for (int64_t t = 0; t < 40; t++) assert_same_route(&plain, t, &q, t);
        kit_deinit(&q);
        kit_deinit(&plain);
    }
}

/* Uniform noise moves the choice and leaves logits, scores and gates as they were. */
static void choice_noise_stays_out_of_the_gates(void **state)
{
    (void)state;
    ful_moe_attr a = kit_attr("softmax", E, 1);
    kit plain, q;
    kit_init(&plain, &a, D, 200, 1);
    assert_ok(kit_forward(&plain));
    a.noise_std = 50;
    a.noise_kind = FUL_ROUTER_NOISE_UNIFORM;
    kit_init(&q, &a, D, 200, 1);
    assert_ok(kit_forward(&q));
    assert_memory_equal(plain.run.logits, q.run.logits, 200 * E * 4);
    assert_memory_equal(plain.run.prob, q.run.prob, 200 * E * 4);
    int moved = 0;
    for (int64_t t = 0; t < 200; t++) {
        moved += q.run.expert[t] != plain.run.expert[t];
        assert_true(q.run.gate[t] == q.run.prob[t * E + q.run.expert[t]]);
    }
    assert_in_range(moved, 100, 199);
    kit_deinit(&q);
    kit_deinit(&plain);
}

/* Single routers ------------------------------------------------------------------------------------------------------ */

/* Card A8: no gradient buffer, and the weights' bits outlive training. */
static void frozen_routers_stay(void **state)
{
    (void)state;
    const char *const frozen[] = {"random", "hash", "fixed"};
    for (int i = 0; i < 3; i++) {
        ful_moe_attr a = kit_attr(frozen[i], E, 2);
        a.switch_coef = a.z_coef = 1;
        kit q;
        kit_init(&q, &a, D, 50, 1);
        assert_false(q.r->balance);
        assert_null(q.r->type->after_step);
        float before[16 * D];
        for (int p = 0; p < q.r->n_params; p++) {
            assert_false(q.r->params[p].trainable);
            assert_false(q.r->params[p].decay);
            memcpy(before, q.w[p], (size_t)q.r->params[p].count * 4);
        }
        q.run.dprob_extra = kit_floats(&q, 50 * E);
        q.run.dlogits_extra = kit_floats(&q, 50 * E);
        for (int step = 0; step < 3; step++) {
            assert_ok(kit_forward(&q));
            ful__balance_run b;
            ful__balance_route(&b, q.r, &q.run, (const int64_t[E]){50, 50}, NULL);
            assert_true(b.switch_loss == 0 && b.z_loss == 0);
            kit_backward(&q);
        }
        for (int p = 0; p < q.r->n_params; p++) assert_memory_equal(before, q.w[p], (size_t)q.r->params[p].count * 4);
        if (i > 0)
            for (int j = 0; j < 50 * D; j++) assert_true(q.dx[j] == 0);
        kit_deinit(&q);
    }
}

static void hash_is_even_and_stable(void **state)
{
    (void)state;
    enum { N = 4096 };
    ful_moe_attr a = kit_attr("hash", 8, 2);
    kit q;
    kit_init(&q, &a, D, N, 1);
    q.run.train = false;
    assert_ok(kit_forward(&q));
    int load[2][8] = {{0}};
    int32_t before[2 * N];
    memcpy(before, q.run.expert, sizeof before);
    for (int i = 0; i < 2 * N; i++) load[i % 2][before[i]]++;
    for (int i = 0; i < 16; i++) assert_in_range(load[i / 8][i % 8], N / 8 * 3 / 4, N / 8 * 5 / 4);
    for (int i = 0; i < N * D; i++) q.x[i] *= 3.5f; /* the signs stay */
    assert_ok(kit_forward(&q));
    assert_memory_equal(before, q.run.expert, sizeof before);
    int moved = 0;
    for (int i = 0; i < N * D; i++)
        q.x[i] *= 1 + 1e-6f * (float)(i % 7); /* and nearly stay: similar inputs share their experts */
    assert_ok(kit_forward(&q));
    for (int i = 0; i < 2 * N; i++) moved += before[i] != q.run.expert[i];
    assert_in_range(moved, 0, N / 100);
    kit_deinit(&q);
}

static void initial_weights(void **state)
{
    (void)state;
    ful__router *r;
    ful_moe_attr a = kit_attr("softmax", E, 2);
    assert_ok(ful__router_create("net.moe.router", &a, D, &r));
    assert_string_equal(r->params[0].name, "net.moe.router.weight");
    assert_true(r->n_params == 1 && r->params[0].init == FUL_INIT_NORMAL && r->params[0].gain == 0.02f && r->params[0].decay);
    assert_true(r->params[0].rank == 2 && r->params[0].shape[0] == E && r->params[0].shape[1] == D &&
                r->params[0].count == E * D);
    assert_true(r->macs_per_token == E * D && r->capacity && r->balance && r->kind == FUL__ROUTE_PAIRS && r->k == 2);
    ful__router_destroy(&r);
    assert_null(r);
    ful__router_destroy(&r);
    a.noisy = true; /* Shazeer et al.: both matrices start at zero */
    a.bias_rate = 0.001f;
    assert_ok(ful__router_create("net.moe.router", &a, D, &r));
    assert_true(r->n_params == 3 && r->params[0].init == FUL_INIT_ZEROS && r->params[1].init == FUL_INIT_ZEROS);
    assert_string_equal(r->params[1].name, "net.moe.router.noise");
    assert_string_equal(r->params[2].name, "net.moe.router.bias");
    assert_true(r->params[1].trainable && !r->params[2].trainable && !r->params[2].decay && r->params[2].count == E);
    ful__router_destroy(&r);
    a.router_init = 0.5f; /* unless told otherwise */
    assert_ok(ful__router_create("net.moe.router", &a, D, &r));
    assert_true(r->params[0].init == FUL_INIT_NORMAL && r->params[0].gain == 0.5f);
    ful__router_destroy(&r);
}

/* Refusals ------------------------------------------------------------------------------------------------------------ */

static void not_finite(void **state)
{
    (void)state;
    const char *const all[] = {"softmax", "sigmoid", "random", "hash", "soft_sample", "soft_patch", "soft_batch"};
    const float strange[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 7; i++)
        for (int s = 0; s < 3; s++) {
            const ful_moe_attr a = kit_attr(all[i], E, 2);
            kit q;
            kit_init(&q, &a, D, 1000, 1);
            q.x[700 * D + 3] = strange[s];
            q.x[900 * D] = NAN;
            assert_fails(kit_forward(&q), FUL_ERR_NUMERIC, "token 700 with router 'net.moe.router'");
            q.x[700 * D + 3] = q.x[900 * D] = 0;
            q.w[0][4] = NAN;
            assert_fails(kit_forward(&q), FUL_ERR_NUMERIC, "token 0 with router 'net.moe.router'");
            kit_deinit(&q);
        }
}

#define REFUSES(fragment, ...)                                                             \
    do {                                                                                   \
        ful_moe_attr a = kit_attr("softmax", E, 2);                                        \
        __VA_ARGS__;                                                                       \
        ful__router *r = NULL;                                                             \
        assert_fails(ful__router_create("n.router", &a, D, &r), FUL_ERR_CONFIG, fragment); \
        assert_null(r);                                                                    \
    } while (0)
#define ROUTER(name) snprintf(a.router, sizeof a.router, name)

static void refusals(void **state)
{
    (void)state;
    REFUSES("k=1, gate=renorm: the renormalised gate of one expert is always 1", a.k = 1, a.gate = FUL_GATE_RENORM);
    REFUSES("'n.router' (sigmoid) with k=1, gate=renorm", ROUTER("sigmoid"), a.k = 1, a.gate = FUL_GATE_RENORM);
    REFUSES("(random) with k=1, gate=renorm", ROUTER("random"), a.k = 1, a.gate = FUL_GATE_RENORM);
    REFUSES("router=softmix: known routers are softmax, sigmoid, random, hash, fixed, soft_patch, soft_sample, soft_batch",
            ROUTER("softmix"));
    REFUSES("k=7, experts=6: k must be in 1..experts", a.k = 7);
    REFUSES("k=0, experts=6", a.k = 0);
    REFUSES("experts=0: must be in 1..4096", a.experts = 0);
    REFUSES("experts=4097", a.experts = 4097);
    REFUSES("tau0=0, tau_min=1: both must be above 0", a.tau0 = 0);
    REFUSES("tau0=1, tau_min=2", a.tau_min = 2);
    REFUSES("tau0=nan", a.tau0 = NAN);
    REFUSES("noise_std=-1: must be 0 or more", a.noise_std = -1);
    REFUSES("jitter=1: must be in [0, 1)", a.jitter = 1);
    REFUSES("bias_rate=-0.5: must be 0 or more", a.bias_rate = -0.5f);
    REFUSES("router_init=inf: must be a number", a.router_init = INFINITY);
    REFUSES("noisy=true, noise_std=1: noisy top-k learns its own noise", a.noisy = true, a.noise_std = 1);
    REFUSES("bias_rate=0.001, noise_kind=uniform", a.bias_rate = 0.001f, a.noise_std = 1,
            a.noise_kind = FUL_ROUTER_NOISE_UNIFORM);
    REFUSES("router_init=0: a frozen router of zeros", ROUTER("random"), a.router_init = 0);
    REFUSES("(random) with noisy=true", ROUTER("random"), a.noisy = true);
    REFUSES("(random) with bias_rate", ROUTER("random"), a.bias_rate = 0.1f);
    REFUSES("(hash) with jitter=0.1: this router takes no jitter", ROUTER("hash"), a.jitter = 0.1f);
    REFUSES("(fixed) with noise_std=1", ROUTER("fixed"), a.noise_std = 1);
    REFUSES("(soft_patch) with bias_rate", ROUTER("soft_patch"), a.bias_rate = 0.1f);
    REFUSES("(soft_batch) with router_input=layernorm", ROUTER("soft_batch"), a.router_input = FUL_ROUTER_INPUT_LAYERNORM);
    REFUSES("(soft_sample) with soft_slots=2", ROUTER("soft_sample"), a.soft_slots = 2);
    REFUSES("experts=6, soft_slots=0", ROUTER("soft_patch"), a.soft_slots = 0);
    ful_moe_attr a = kit_attr("softmax", E, 2);
    ful__router *r = NULL;
    assert_fails(ful__router_create("n", &a, 0, &r), FUL_ERR_CONFIG, "d=0: the width must be at least 1");
    char name[200];
    memset(name, 'n', sizeof name);
    name[121] = 0;
    assert_fails(ful__router_create(name, &a, D, &r), FUL_ERR_CONFIG, "a name of 121 bytes: must be at most 120");
    name[120] = 0;
    assert_ok(ful__router_create(name, &a, D, &r));
    assert_int_equal(strlen(r->params[0].name), 127);
    ful__router_destroy(&r);
}

static void names(void **state)
{
    (void)state;
    int n = 0;
    for (const ful_router_about *about = ful_router_names(); about->name; about++, n++) {
        assert_true(strlen(about->name) < FUL_ROUTER_NAME_MAX && strlen(about->about) > 10 && strlen(about->source) > 3);
        const ful_moe_attr a = kit_attr(about->name, E, 2);
        ful__router *r;
        assert_ok(ful__router_create("n.router", &a, D, &r));
        assert_string_equal(r->type->name, about->name);
        ful__router_destroy(&r);
    }
    assert_int_equal(n, 8);
}

static ful_status create_once(void *ctx)
{
    ful__router *r = NULL;
    const ful_status status = ful__router_create("n.router", ctx, D, &r);
    ful__router_destroy(&r);
    return status;
}

static void memory_runs_out(void **state)
{
    (void)state;
    for (const ful_router_about *about = ful_router_names(); about->name; about++) {
        ful_moe_attr a = kit_attr(about->name, E, 2);
        test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, create_once, &a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(route_depends_on_the_token_alone),
        cmocka_unit_test(soft_groups),
        cmocka_unit_test(same_bits_on_any_machine),
        cmocka_unit_test(choices_and_gate_sums),
        cmocka_unit_test(top_k_order),
        cmocka_unit_test(top_k_by_definition),
        cmocka_unit_test(dropped_pairs_teach_nothing),
        cmocka_unit_test(backward_adds),
        cmocka_unit_test(extreme_logits),
        cmocka_unit_test(draws_have_addresses),
        cmocka_unit_test(noise_is_off_at_eval),
        cmocka_unit_test(choice_noise_stays_out_of_the_gates),
        cmocka_unit_test(frozen_routers_stay),
        cmocka_unit_test(hash_is_even_and_stable),
        cmocka_unit_test(initial_weights),
        cmocka_unit_test(not_finite),
        cmocka_unit_test(refusals),
        cmocka_unit_test(names),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests_name("router properties", tests, NULL, NULL);
}
