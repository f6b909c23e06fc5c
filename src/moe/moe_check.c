/* SPDX-License-Identifier: Apache-2.0 */
/* Whether the attributes of a mixture make sense, each by itself and together. What concerns one router only, that router
 * checks. */
#include <float.h>
#include <string.h>

#include "core/error.h"
#include "moe/experts.h"

enum { HIDDEN_MAX = 1 << 20, SLOTS_MAX = 1 << 16, PERMILLE_MAX = 1000 * FUL_EXPERTS_MAX, CAPACITY_MIN_MAX = 1 << 30 };

typedef struct range {
    const char *field;
    double value, low, high;
} range;

/* A NaN is in no range. */
static ful_status check_ranges(const char *name, const range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const range *r = &ranges[i];
        FUL_FAIL_IF(!(r->value >= r->low && r->value <= r->high), FUL_ERR_CONFIG,
                    "cannot build moe '%s' with %s=%g: %s must be in %g..%g", name, r->field, r->value, r->field, r->low,
                    r->high);
    }
    return FUL_OK;
}

ful_status ful__moe_check_expert(const char *name, const ful_moe_attr *a, int hidden)
{
    const range ranges[] = {
        {"token", a->token, FUL_TOKEN_IMAGE, FUL_TOKEN_PIXEL},
        {"expert", a->expert, FUL_EXPERT_MLP, FUL_EXPERT_DWCONV},
        {"hidden", hidden, 1, HIDDEN_MAX},
        {"act", a->act, FUL_ACT_NONE, FUL_ACT_HARD_SIGMOID},
        {"norm", a->norm, FUL_EXPERT_NORM_NONE, FUL_EXPERT_NORM_BATCH},
    };
    FUL_TRY(check_ranges(name, ranges, sizeof ranges / sizeof *ranges));
    FUL_FAIL_IF(
        a->expert != FUL_EXPERT_MLP && a->token == FUL_TOKEN_PIXEL, FUL_ERR_CONFIG,
        "cannot build moe '%s' with token=pixel, expert=%s: a conv expert sees a pixel's neighbours, so it needs token=image",
        name, a->expert == FUL_EXPERT_CONV ? "conv" : "dwconv");
    FUL_FAIL_IF(a->gated && (a->expert != FUL_EXPERT_MLP || a->norm != FUL_EXPERT_NORM_NONE), FUL_ERR_CONFIG,
                "cannot build moe '%s' with gated=true and expert=%s, norm=%s: only an MLP without a norm has the gated form",
                name,
                a->expert == FUL_EXPERT_MLP    ? "mlp"
                : a->expert == FUL_EXPERT_CONV ? "conv"
                                               : "dwconv",
                a->norm == FUL_EXPERT_NORM_NONE    ? "none"
                : a->norm == FUL_EXPERT_NORM_LAYER ? "layer"
                                                   : "batch");
    return FUL_OK;
}

static ful_status check_fields(const char *name, const ful_moe_attr *a)
{
    const range ranges[] = {
        {"experts", a->experts, 1, FUL_EXPERTS_MAX},
        {"router_input", a->router_input, FUL_ROUTER_INPUT_RAW, FUL_ROUTER_INPUT_L2},
        {"router_init", a->router_init, -FLT_MAX, FLT_MAX},
        {"gate", a->gate, FUL_GATE_SOFTMAX_ALL, FUL_GATE_RENORM},
        {"noise_std", a->noise_std, 0, FLT_MAX},
        {"noise_kind", a->noise_kind, FUL_ROUTER_NOISE_NORMAL, FUL_ROUTER_NOISE_UNIFORM},
        {"jitter", a->jitter, 0, 1},
        {"temperature", a->temperature, FUL_TEMPERATURE_CONST, FUL_TEMPERATURE_SIGMOID},
        {"tau0", a->tau0, FLT_MIN, FLT_MAX},
        {"tau_min", a->tau_min, FLT_MIN, FLT_MAX},
        {"capacity_permille", a->capacity_permille, 0, PERMILLE_MAX},
        {"capacity_min", a->capacity_min, 0, CAPACITY_MIN_MAX},
        {"eval_capacity_permille", a->eval_capacity_permille, 0, PERMILLE_MAX},
        {"drop", a->drop, FUL_DROP_POSITION, FUL_DROP_PRIORITY},
        {"soft_slots", a->soft_slots, 1, SLOTS_MAX},
        {"switch_coef", a->switch_coef, 0, FLT_MAX},
        {"importance_coef", a->importance_coef, 0, FLT_MAX},
        {"load_coef", a->load_coef, 0, FLT_MAX},
        {"z_coef", a->z_coef, 0, FLT_MAX},
        {"entropy_coef", a->entropy_coef, -FLT_MAX, FLT_MAX},
        {"bias_rate", a->bias_rate, 0, FLT_MAX},
    };
    return check_ranges(name, ranges, sizeof ranges / sizeof *ranges);
}

ful_status ful__moe_check(const char *name, const ful_moe_attr *a)
{
    FUL_TRY(check_fields(name, a));
    FUL_TRY(ful__moe_check_expert(name, a, a->hidden));
    FUL_FAIL_IF(a->k < 1 || a->k > a->experts, FUL_ERR_CONFIG,
                "cannot build moe '%s' with k=%d, experts=%d: k must be in 1..experts", name, a->k, a->experts);
    FUL_FAIL_IF(a->gate == FUL_GATE_RENORM && a->k == 1, FUL_ERR_CONFIG,
                "cannot build moe '%s' with gate=renorm, k=1: one renormalised gate is always 1 and trains no router, so "
                "renorm needs k >= 2",
                name);
    FUL_FAIL_IF(a->tau_min > a->tau0, FUL_ERR_CONFIG,
                "cannot build moe '%s' with tau0=%g, tau_min=%g: the temperature falls from tau0 to tau_min, so tau_min must "
                "not exceed tau0",
                name, (double)a->tau0, (double)a->tau_min);
    FUL_FAIL_IF((int64_t)a->experts * a->soft_slots > SLOTS_MAX, FUL_ERR_CONFIG,
                "cannot build moe '%s' with experts=%d, soft_slots=%d: their product, the slots, must be at most %d", name,
                a->experts, a->soft_slots, SLOTS_MAX);
    FUL_FAIL_IF(!memchr(a->router, '\0', sizeof a->router), FUL_ERR_CONFIG,
                "cannot build moe '%s' with router '%.31s...': a router's name has at most %d bytes", name, a->router,
                FUL_ROUTER_NAME_MAX - 1);
    return FUL_OK;
}
