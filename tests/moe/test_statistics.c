/* SPDX-License-Identifier: Apache-2.0 */
/* Routing statistics: what is summed, what is derived, and what an empty epoch gives. */
#include <math.h>

#include <fulcrum/moe.h>

#include "core/mem.h"
#include "moe/router_rows.h"
#include "router_kit.h"
#include "support/fault.h"

enum { E = 5, D = 7, T = 40 };

static bool close_to(double a, double b)
{
    return fabs(a - b) <= 1e-5 * fmax(1, fabs(b));
}

/* Two batches against a second computation from the routes. */
static void sums_of_batches(void **state)
{
    (void)state;
    ful_moe_attr a = kit_attr("softmax", E, 2);
    ful_moe_stats stats;
    assert_ok(ful__moe_stats_init(&stats, "stage3.moe", E, 2, 3));
    assert_string_equal(stats.layer, "stage3.moe");
    double entropy = 0, margin = 0, mass = 0, grad = 0, importance[E] = {0};
    int64_t chosen_all[E] = {0}, kept_all[E] = {0}, table[3 * E] = {0}, dropped_all = 0, all_dropped = 0;
    for (uint64_t batch = 1; batch <= 2; batch++) {
        kit q;
        uint8_t kept[T * 2];
        int64_t chosen[E], counts[E];
        int32_t label[T];
        kit_init(&q, &a, D, T, batch);
        assert_ok(kit_forward(&q));
        dropped_all += ful__capacity_fill(q.run.expert, T, 2, E, 10, NULL, NULL, kept, chosen, counts);
        for (int t = 0; t < T; t++) {
            label[t] = t % 5 - 1; /* -1 and 3 are no classes: not counted */
            float p[E];
            memcpy(p, q.run.prob + t * E, sizeof p);
            float first = 0, second = 0;
            for (int j = 0; j < E; j++) {
                entropy -= (double)p[j] * log((double)p[j]);
                importance[j] += (double)p[j];
                first = fmaxf(first, p[j]);
            }
            for (int j = 0; j < E; j++)
                if (p[j] < first) second = fmaxf(second, p[j]);
            margin += (double)first - (double)second;
            for (int i = 0; i < 2; i++) {
                mass += (double)p[q.run.expert[t * 2 + i]];
                if (!kept[t * 2 + i]) q.dgate[t * 2 + i] = 0;
                grad += (double)q.dgate[t * 2 + i] * (double)q.dgate[t * 2 + i];
            }
            all_dropped += !kept[t * 2] && !kept[t * 2 + 1];
            if (label[t] >= 0 && label[t] < 3) table[label[t] * E + q.run.expert[t * 2]]++;
        }
        for (int j = 0; j < E; j++) chosen_all[j] += chosen[j], kept_all[j] += counts[j];
        ful__moe_stats_add_route(&stats, q.r, &q.run, kept, chosen, counts, label);
        ful__moe_stats_add_gate_grad(&stats, &q.run);
        kit_deinit(&q);
    }
    const ful__balance_run losses = {.switch_loss = 1, .importance_loss = 2, .load_loss = 3, .z_loss = 4, .entropy_loss = 5};
    ful__moe_stats_add_losses(&stats, &losses);
    ful__moe_stats_add_losses(&stats, &losses);
    assert_true(stats.tokens == 2 * T && stats.pairs == 4 * T && stats.batches == 2);
    assert_true(dropped_all > 0 && stats.dropped == dropped_all && stats.all_dropped == all_dropped);
    assert_memory_equal(stats.chosen, chosen_all, sizeof chosen_all);
    assert_memory_equal(stats.kept, kept_all, sizeof kept_all);
    assert_memory_equal(stats.class_expert, table, sizeof table);
    for (int j = 0; j < E; j++) assert_true(close_to(stats.importance[j], importance[j]));
    assert_true(close_to(stats.entropy_sum, entropy) && close_to(stats.margin_sum, margin) &&
                close_to(stats.gate_mass_sum, mass));
    assert_true(close_to(stats.gate_grad_sq_sum, grad));
    assert_true(stats.loss_switch == 2 && stats.loss_importance == 4 && stats.loss_load == 6 && stats.loss_z == 8 &&
                stats.loss_entropy == 10);

    ful_moe_health h;
    ful_moe_health_compute(&stats, &h);
    assert_true(close_to(h.drop_rate, (double)dropped_all / (4 * T)) &&
                close_to(h.all_dropped_rate, (double)all_dropped / (2 * T)));
    assert_true(close_to(h.gate_grad_rms, sqrt(grad / (double)(4 * T - dropped_all))));
    assert_true(h.class_mi >= 0 && h.class_nmi <= 1);

    ful__moe_stats_reset(&stats);
    assert_string_equal(stats.layer, "stage3.moe");
    assert_true(stats.tokens == 0 && stats.chosen[0] == 0 && stats.importance[1] == 0 && stats.class_expert[4] == 0 &&
                stats.loss_z == 0);
    assert_true(stats.experts == E && stats.k == 2 && stats.classes == 3);
    ful__moe_stats_deinit(&stats);
}

/* Slots: each group runs p rows through each expert; an expert's score is that of its slots together. */
static void sums_of_slots(void **state)
{
    (void)state;
    ful_moe_attr a = kit_attr("soft_patch", E, 1);
    a.soft_slots = 3;
    kit q;
    kit_init(&q, &a, D, T, 1);
    q.run.group = 8;
    assert_ok(kit_forward(&q));
    ful_moe_stats stats;
    ful_moe_health h;
    assert_ok(ful__moe_stats_init(&stats, "moe", E, q.r->k, 2));
    int32_t label[T];
    for (int t = 0; t < T; t++) label[t] = t % 2;
    ful__moe_stats_add_route(&stats, q.r, &q.run, NULL, NULL, NULL, label);
    ful_moe_health_compute(&stats, &h);
    double entropy = 0, sum = 0;
    int64_t first[2 * E] = {0};
    for (int t = 0; t < T; t++) {
        double score[E] = {0};
        int best = 0;
        for (int j = 0; j < 3 * E; j++) score[j / 3] += (double)q.run.prob[t * 3 * E + j];
        for (int j = 0; j < E; j++) {
            entropy -= score[j] * log(score[j]) / T;
            if (score[j] > score[best]) best = j;
        }
        first[t % 2 * E + best]++;
    }
    for (int j = 0; j < E; j++) {
        assert_true(stats.chosen[j] == T / 8 * 3 && stats.kept[j] == stats.chosen[j]);
        sum += stats.importance[j];
    }
    assert_true(close_to(sum, T) && close_to(h.entropy, entropy) && stats.pairs == T / 8 * 3 * E && stats.dropped == 0);
    assert_memory_equal(stats.class_expert, first, sizeof first);
    assert_true(h.load_cv2 == 0 && h.effective_experts > E - 1e-9 && !h.collapse_sign && h.gate_mass == 1);
    ful__moe_stats_deinit(&stats);
    kit_deinit(&q);
}

static void set_loads(ful_moe_stats *stats, const int64_t *loads)
{
    stats->pairs = 0;
    for (int j = 0; j < stats->experts; j++) stats->pairs += stats->chosen[j] = loads[j];
    stats->tokens = stats->pairs;
}

static void collapse(void **state)
{
    (void)state;
    ful_moe_stats stats;
    ful_moe_health h;
    assert_ok(ful__moe_stats_init(&stats, "moe", 8, 1, 0));
    ful_moe_health_compute(&stats, &h); /* nothing happened */
    assert_true(h.entropy == 0 && h.dead == 0 && !h.collapse_sign && h.load_cv2 == 0 && h.drop_rate == 0);

    set_loads(&stats, (const int64_t[]){10, 10, 10, 10, 10, 10, 10, 10});
    ful_moe_health_compute(&stats, &h);
    assert_true(close_to(h.effective_experts, 8) && h.gini == 0 && h.max_over_mean == 1 && !h.collapse_sign);

    set_loads(&stats, (const int64_t[]){10000, 10000, 10000, 10000, 10000, 10000, 10000, 10}); /* 10 of 70010 < 1 % of 1/8 */
    ful_moe_health_compute(&stats, &h);
    assert_true(h.dead == 1 && h.unused == 0 && !h.collapse_sign);

    set_loads(&stats, (const int64_t[]){1000, 1000, 1000, 1000, 1000, 1000, 1, 0}); /* a quarter is dead */
    ful_moe_health_compute(&stats, &h);
    assert_true(h.dead == 2 && h.unused == 1 && h.effective_experts > 5 && h.collapse_sign);

    set_loads(&stats, (const int64_t[]){1000, 100, 10, 10, 10, 10, 10, 10}); /* none is dead, but one does it all */
    ful_moe_health_compute(&stats, &h);
    assert_true(h.dead == 0 && h.effective_experts < 4 && h.collapse_sign);
    ful__moe_stats_deinit(&stats);

    assert_ok(ful__moe_stats_init(&stats, "moe", 1, 1, 2)); /* one expert */
    set_loads(&stats, (const int64_t[]){7});
    stats.importance[0] = 7;
    stats.class_expert[0] = 3, stats.class_expert[1] = 4;
    ful_moe_health_compute(&stats, &h);
    assert_true(close_to(h.effective_experts, 1) && h.entropy_marginal_norm == 0 && h.class_mi == 0 && h.class_nmi == 0 &&
                !h.collapse_sign);
    ful__moe_stats_deinit(&stats);
}

static ful_status init_once(void *ctx)
{
    (void)ctx;
    ful_moe_stats stats;
    const ful_status status = ful__moe_stats_init(&stats, "moe", E, 1, 3);
    ful__moe_stats_deinit(&stats);
    return status;
}

static void memory_runs_out(void **state)
{
    (void)state;
    test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, init_once, NULL);
}

/* The library's own exp and ln, on which scores and entropies rest. */
static void elementary_functions(void **state)
{
    (void)state;
    float x[1001], y[1001];
    for (int i = 0; i < 1001; i++) x[i] = -87 + 0.087f * (float)i * 2;
    ful__exp_array(x, y, 1001);
    for (int i = 0; i < 1001; i++) {
        assert_true(fabs((double)y[i] / exp((double)x[i]) - 1) < 3e-7);
        assert_true(ful__exp(x[i]) == y[i]);
    }
    for (int i = 0; i < 1001; i++) x[i] = (float)exp(-87 + 0.174 * i);
    ful__log_array(x, y, 1001);
    for (int i = 0; i < 1001; i++)
        assert_true(fabs((double)y[i] - log((double)x[i])) < 2e-7 * fmax(1, fabs(log((double)x[i]))));
    const float zero = 0, one = 1;
    float value;
    ful__log_array(&zero, &value, 1);
    assert_true(close_to((double)value, -126 * log(2))); /* so that 0 ln 0 is 0 */
    ful__log_array(&one, &value, 1);
    assert_true(value == 0);
    assert_true(ful__exp(0) == 1 && ful__exp(-1000) < 2e-38f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_of_batches), cmocka_unit_test(sums_of_slots),        cmocka_unit_test(collapse),
        cmocka_unit_test(memory_runs_out), cmocka_unit_test(elementary_functions),
    };
    return cmocka_run_group_tests_name("routing statistics", tests, NULL, NULL);
}
