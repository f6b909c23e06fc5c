/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract of a router: from t router inputs of width d to a route. One file a router family; the table in router.c lists
 * them, so a new method is one file and one line (doc/adding-a-router.md). The node (moe_op.c) gathers inputs, applies
 * capacity, runs experts, combines, and hands back the gradient of the gates.
 *
 * Two kinds of route:
 *   pairs  every token has k slots (expert, gate): y_t = sum_i gate_ti f_expert_ti(x_t), less the pairs dropped by capacity.
 *          Hash, random, softmax top-k; per-sample Soft MoE is a pairs router with k = e and nothing dropped.
 *   slots  Soft MoE: tokens of a group of m are mixed into s = e*p slots by dispatch weights, and combined back:
 *          z_s = sum_t D_ts x_t, y_t = sum_s C_ts f_{s/p}(z_s). A group is one image's patches, or the whole batch.
 */
#ifndef FUL_MOE_ROUTER_H
#define FUL_MOE_ROUTER_H

#include "ops/op.h"
#include <fulcrum/moe.h>

typedef enum ful__route_kind { FUL__ROUTE_PAIRS = 0, FUL__ROUTE_SLOTS_IMAGE, FUL__ROUTE_SLOTS_BATCH } ful__route_kind;

typedef struct ful__router_type ful__router_type;

/* First member of every router. Holds no tensors. */
typedef struct ful__router {
    const ful__router_type *type;
    char name[FUL__OP_NAME_MAX]; /* "<node>.router", as given to create: prefixes its parameters and keys its draws */
    ful_moe_attr attr;
    int d, e, k; /* k: slots a token uses (e for dense mixtures); slots kind: s = e*attr.soft_slots in k */
    ful__route_kind kind;
    int n_params;
    ful__param params[4];                    /* full names */
    size_t saved_fixed, saved_per_token;     /* bytes of `saved` for t tokens: fixed + t*per_token, beyond logits and prob */
    size_t scratch_fixed, scratch_per_token; /* likewise of `scratch`, for forward and for backward */
    int64_t macs_per_token;
    bool capacity; /* whether capacity limits apply (not for dense mixtures, hash may) */
    bool balance;  /* whether balance losses apply: false where nothing that is learned decides the load (frozen, hash, soft) */
} ful__router;

typedef struct ful__router_run {
    int64_t t;
    int64_t group; /* slots: tokens a group; t is a multiple of it */
    bool train;
    uint64_t seed, step;
    double progress;
    const uint32_t *token_id; /* [t] stable id for draws; NULL: 0..t-1 */
    const float *x;           /* [t][d] router input (raw; router_input transform is the router's own); backward reads it too */
    float *const *w;
    float *const *dw; /* backward ADDS; NULL entry: frozen */
    /* forward out; kept by the node until backward */
    float *logits;   /* [t][e] (slots: [t][s]) after temperature and noise: what top-k saw, less what is for the choice alone */
    float *prob;     /* [t][e] score over experts, rows sum to 1: softmax of logits (slots: combine C [t][s]) */
    float *dispatch; /* slots only: D [t][s] */
    int32_t *expert; /* pairs: [t][k] in descending preference, distinct */
    float *gate;     /* pairs: [t][k] */
    /* backward in */
    const float *dgate;     /* pairs: [t][k], 0 for dropped; slots: dC [t][s] */
    const float *ddispatch; /* slots: dD [t][s] */
    float *dprob_extra;     /* [t][e] gradient that balance losses put on prob (NULL or zeros if none); may be overwritten */
    float *dlogits_extra;   /* [t][e] likewise on logits; may be overwritten */
    float *dx;              /* [t][d] ADDS; NULL where nobody needs it */
    void *saved, *scratch;  /* 64-byte aligned; saved: written by a training forward, read by backward, may be NULL at eval */
} ful__router_run;

typedef struct ful__balance_run ful__balance_run;

struct ful__router_type {
    const char *name, *about, *source;
    ful_status (*create)(const char *name, const ful_moe_attr *attr, int d, ful__router **out);
    ful_status (*forward)(ful__router *r, const ful__router_run *run); /* FUL_ERR_NUMERIC on NaN logits, naming the layer */
    void (*backward)(ful__router *r, const ful__router_run *run);
    /* Optional: after the optimiser's step, with the choices of the whole step (card D5). */
    void (*after_step)(ful__router *r, float *const *w, const int64_t *chosen);
    /* Optional: fills what the load loss needs to know of the noise. */
    void (*noise)(const ful__router *r, const ful__router_run *run, ful__balance_run *out);
    /* Optional: what ful__free(r) does not free. */
    void (*destroy)(ful__router *r);
};

/* By name; FUL_ERR_CONFIG lists the known names. create checks the fields that concern it. */
ful_status ful__router_create(const char *name, const ful_moe_attr *attr, int d, ful__router **out) FUL_CHECK_RESULT;
void ful__router_destroy(ful__router **r);

/*
 * For implementers. alloc: `bytes` zeroed, base part filled, fields that concern every router checked (experts, k,
 * temperature); e, k and d from the attributes, kind pairs, capacity and balance true: change what differs. refuse: the one
 * form of a router's refusal, "cannot build router '<name>' (<type>) with <values>: <rule>". add_param: "<name>.<suffix>".
 */
ful_status ful__router_alloc(const ful__router_type *type, const char *name, const ful_moe_attr *attr, int d, size_t bytes,
                             void *out_ptr) FUL_CHECK_RESULT;
ful_status ful__router_refuse(const ful__router_type *type, const char *name, const char *fmt, ...) FUL_PRINTF(3, 4);
void ful__router_add_param(ful__router *r, const char *suffix, int rank, int64_t rows, int64_t columns, ful_init init,
                           float gain, bool trainable);

/* Top-k of each row in descending order, lowest index first among equals (METHODS 0.5). score_out may be NULL. false if a row
 * holds a NaN. */
bool ful__top_k(const float *score, int64_t t, int e, int k, int32_t *index_out, float *score_out);

/*
 * Capacity (METHODS 0.5): kept[t][k] = 1 where the pair got a slot; counts[e] = min(chosen_e, cap); chosen[e] before the drop.
 * rank-major; tokens in order, or by descending `priority` [t] (stable) when not NULL. order: scratch of 2t, only then. Returns
 * dropped pairs. cap >= t drops nothing; cap 0: dropless, and kept may then be NULL. BPR's priority: ful__route_priority, the
 * largest prob of each token.
 */
int64_t ful__capacity_fill(const int32_t *expert, int64_t t, int k, int e, int64_t cap, const float *priority, uint32_t *order,
                           uint8_t *kept, int64_t *chosen, int64_t *counts);
void ful__route_priority(const float *prob, int64_t t, int e, float *priority_out);

/* Balance losses of one batch: values into stats (coefficient applied), gradients ADDED to dprob / dlogits (d loss / d prob
 * directly, not through softmax). */
struct ful__balance_run {
    const ful_moe_attr *attr;
    int64_t t;
    int e, k;
    const float *logits, *prob;
    const int32_t *expert;
    const int64_t *chosen; /* [e], this batch, pre-drop */
    double *global_share;  /* [e] counts of the step so far (card D3), `chosen` is added first: once a micro-batch; or NULL */
    const float *noise_sd; /* [t][e] of noisy top-k for the load loss, NULL when no noise */
    const float *clean_logits; /* [t][e] logits before the noise */
    float *dclean, *dnoise_sd; /* [t][e] ADDED to by the load loss; NULL: values only */
    float *dprob, *dlogits;    /* zeroed by the caller; NULL at eval: values only */
    double switch_loss, importance_loss, load_loss, z_loss, entropy_loss; /* out: coefficient * loss */
};
void ful__balance(ful__balance_run *run);
/* The usual call, between forward and backward: fills a balance run from a route, its gradients into run->dprob_extra and
 * dlogits_extra (zeroed here; NULL, or not training: values only). Does nothing but zero where r->balance is false. */
void ful__balance_route(ful__balance_run *out, const ful__router *r, const ful__router_run *run, const int64_t *chosen,
                        double *global_share);

ful_status ful__moe_stats_init(ful_moe_stats *stats, const char *layer, int experts, int k, int classes) FUL_CHECK_RESULT;
void ful__moe_stats_deinit(ful_moe_stats *stats);
void ful__moe_stats_reset(ful_moe_stats *stats);
/* One batch. kept NULL: nothing dropped; label_of_token NULL: unknown. For slots kept, chosen and counts are not used. */
void ful__moe_stats_add_route(ful_moe_stats *stats, const ful__router *r, const ful__router_run *run, const uint8_t *kept,
                              const int64_t *chosen, const int64_t *counts, const int32_t *label_of_token);
void ful__moe_stats_add_losses(ful_moe_stats *stats, const ful__balance_run *balance);
void ful__moe_stats_add_gate_grad(ful_moe_stats *stats, const ful__router_run *run); /* from run->dgate */

/* Router change rate (card H3): mean over tokens of 1 - |S and S'|/k for two routes [t][k] of the same tokens; any_out (or
 * NULL): share of tokens with S != S'. */
double ful__router_change_rate(const int32_t *before, const int32_t *after, int64_t t, int k, double *any_out);

/* Temperature at `progress` (card P1): const tau0; linear tau0 -> tau_min; sigmoid: tau_min +
 * (tau0-tau_min)*logistic(10*(0.5-progress)), rescaled to end points. */
float ful__router_temperature(const ful_moe_attr *attr, double progress);

#endif
