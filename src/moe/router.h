/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract of a router: from t router inputs of width d to a route. One file a router family; the table in router.c lists them, so a new
 * method is one file and one line (doc/adding-a-router.md). The node (moe_op.c) gathers inputs, applies capacity, runs experts,
 * combines, and hands back the gradient of the gates.
 *
 * Two kinds of route:
 *   pairs  every token has k slots (expert, gate): y_t = sum_i gate_ti f_expert_ti(x_t), less the pairs dropped by capacity.
 *          Hash, random, softmax top-k; per-sample Soft MoE is a pairs router with k = e and nothing dropped.
 *   slots  Soft MoE: tokens of a group of m are mixed into s = e*p slots by dispatch weights, and combined back:
 *          z_s = sum_t D_ts x_t, y_t = sum_s C_ts f_{s/p}(z_s). A group is one image's patches, or the whole batch.
 */
#ifndef FUL_MOE_ROUTER_H
#define FUL_MOE_ROUTER_H

#include <fulcrum/moe.h>
#include "ops/op.h"

typedef enum ful__route_kind { FUL__ROUTE_PAIRS = 0, FUL__ROUTE_SLOTS_IMAGE, FUL__ROUTE_SLOTS_BATCH } ful__route_kind;

typedef struct ful__router_type ful__router_type;

/* First member of every router. Holds no tensors. */
typedef struct ful__router {
    const ful__router_type *type;
    char name[FUL__OP_NAME_MAX];   /* "<node>.router" */
    ful_moe_attr attr;
    int d, e, k;                   /* k: slots a token uses (e for dense mixtures); slots kind: s = e*attr.soft_slots in k */
    ful__route_kind kind;
    int n_params;
    ful__param params[4];          /* full names */
    size_t saved_per_token;        /* bytes of `saved` for each token, beyond logits and prob */
    size_t scratch_per_token;
    int64_t macs_per_token;
    bool capacity;                 /* whether capacity limits apply (not for dense mixtures, hash may) */
} ful__router;

typedef struct ful__router_run {
    int64_t t;
    int64_t group;                 /* slots: tokens a group; t is a multiple of it */
    bool train;
    uint64_t seed, step;
    double progress;
    const uint32_t *token_id;      /* [t] stable id for draws; NULL: 0..t-1 */
    const float *x;                /* [t][d] router input (raw; router_input transform is the router's own) */
    float *const *w;
    float *const *dw;              /* backward ADDS; NULL entry: frozen */
    /* forward out; kept by the node until backward */
    float *logits;                 /* [t][e] (slots: [t][s]) after temperature and noise: what top-k saw */
    float *prob;                   /* [t][e] softmax of logits over experts (slots: combine C [t][s]) */
    float *dispatch;               /* slots only: D [t][s] */
    int32_t *expert;               /* pairs: [t][k] in descending preference, distinct */
    float *gate;                   /* pairs: [t][k] */
    /* backward in */
    const float *dgate;            /* pairs: [t][k], 0 for dropped; slots: dC [t][s] */
    const float *ddispatch;        /* slots: dD [t][s] */
    float *dprob_extra;            /* [t][e] gradient that balance losses put on prob (zeros if none); may be overwritten */
    float *dlogits_extra;          /* [t][e] likewise on logits; may be overwritten */
    float *dx;                     /* [t][d] ADDS */
    void *saved, *scratch;
} ful__router_run;

struct ful__router_type {
    const char *name, *about, *source;
    ful_status (*create)(const char *name, const ful_moe_attr *attr, int d, ful__router **out);
    ful_status (*forward)(ful__router *r, const ful__router_run *run); /* FUL_ERR_NUMERIC on NaN logits, naming the layer */
    void (*backward)(ful__router *r, const ful__router_run *run);
    void (*after_step)(ful__router *r, float *const *w, const int64_t *chosen); /* optional: card D5 */
    void (*destroy)(ful__router *r);
};

/* By name; FUL_ERR_CONFIG lists the known names. create checks the fields that concern it. */
ful_status ful__router_create(const char *name, const ful_moe_attr *attr, int d, ful__router **out) FUL_CHECK_RESULT;
void ful__router_destroy(ful__router **r);

/* Top-k of each row, k passes of arg-max with strict >, lowest index wins (METHODS 0.5). score_out may be NULL. false if a row holds a NaN. */
bool ful__top_k(const float *score, int64_t t, int e, int k, int32_t *index_out, float *score_out);

/*
 * Capacity (METHODS 0.5): kept[t][k] = 1 where the pair got a slot; counts[e] = min(chosen_e, cap); chosen[e] before the drop.
 * rank-major; tokens in order, or by descending `priority` (stable) when not NULL. order: scratch of t. Returns dropped pairs.
 */
int64_t ful__capacity_fill(const int32_t *expert, int64_t t, int k, int e, int64_t cap, const float *priority, uint32_t *order,
                           uint8_t *kept, int64_t *chosen, int64_t *counts);

/* Balance losses of one batch: values into stats (coefficient applied), gradients ADDED to dprob / dlogits (d loss / d prob directly, not through softmax). */
typedef struct ful__balance_run {
    const ful_moe_attr *attr;
    int64_t t;
    int e, k;
    const float *logits, *prob;
    const int32_t *expert;
    const int64_t *chosen;         /* [e], this batch, pre-drop */
    double *global_share;          /* [e] running counts of the step for card D3, NULL when off */
    const float *noise_sd;         /* [t][e] of noisy top-k for the load loss, NULL when no noise */
    const float *clean_logits;
    float *dprob, *dlogits;        /* zeroed by the caller; NULL at eval: values only */
    double switch_loss, importance_loss, load_loss, z_loss, entropy_loss; /* out: coefficient * loss */
} ful__balance_run;
void ful__balance(ful__balance_run *run);

/* Statistics of one batch added to stats (statistics.c). */
ful_status ful__moe_stats_init(ful_moe_stats *stats, const char *layer, int experts, int k, int classes) FUL_CHECK_RESULT;
void ful__moe_stats_deinit(ful_moe_stats *stats);
void ful__moe_stats_reset(ful_moe_stats *stats);
void ful__moe_stats_add_route(ful_moe_stats *stats, const ful__router *r, const ful__router_run *run, const uint8_t *kept,
                              const int64_t *chosen, const int64_t *counts, const int32_t *label_of_token);

/* Temperature at `progress` (card P1): const tau0; linear tau0 -> tau_min; sigmoid: tau_min + (tau0-tau_min)*logistic(10*(0.5-progress)), rescaled to end points. */
float ful__router_temperature(const ful_moe_attr *attr, double progress);

#endif
