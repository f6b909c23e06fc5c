/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mixture-of-experts node: y = x + sum over chosen experts of gate * expert(x), always with the residual path, so that a
 * dropped token passes unchanged. What is routed (a token) is a whole image or a pixel; an expert is an MLP or a conv block.
 */
#ifndef FULCRUM_MOE_H
#define FULCRUM_MOE_H

#include <fulcrum/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ful_token { FUL_TOKEN_IMAGE = 0, FUL_TOKEN_PIXEL } ful_token;

typedef enum ful_expert {
    FUL_EXPERT_MLP =
        0,            /* fc1 d->h, act, fc2 h->d on a vector: after global pooling, at a pixel, or at every pixel of an image */
    FUL_EXPERT_CONV,  /* conv1 3x3 d->h, norm, act, conv2 3x3 h->d on the whole feature map */
    FUL_EXPERT_DWCONV /* conv1 1x1 d->h, norm, act, dw 3x3 on h, norm, act, conv2 1x1 h->d (depthwise-separable family) */
} ful_expert;

/* none or layer by default: batch-norm inside a sparsely fed expert sees tiny, shifting batches (card I7). LAYER =
 * FUL_NORM_IMAGE on maps. */
typedef enum ful_expert_norm { FUL_EXPERT_NORM_NONE = 0, FUL_EXPERT_NORM_LAYER, FUL_EXPERT_NORM_BATCH } ful_expert_norm;

typedef enum ful_gate_mode {
    FUL_GATE_SOFTMAX_ALL = 0,
    FUL_GATE_RENORM
} ful_gate_mode; /* card A1: p_e of the full softmax | renormalised over the chosen */
typedef enum ful_drop_order {
    FUL_DROP_POSITION = 0,
    FUL_DROP_PRIORITY
} ful_drop_order; /* rank-major then token order | BPR (card A2) */
typedef enum ful_temperature { FUL_TEMPERATURE_CONST = 0, FUL_TEMPERATURE_LINEAR, FUL_TEMPERATURE_SIGMOID } ful_temperature;
/* normal: N(0, (noise_std/E)^2) on the logits, which the gates see too (V-MoE). uniform: noise_std * U(0,1) on the logits, for
 * the choice alone (card M1). */
typedef enum ful_router_noise { FUL_ROUTER_NOISE_NORMAL = 0, FUL_ROUTER_NOISE_UNIFORM } ful_router_noise;
typedef enum ful_router_input { FUL_ROUTER_INPUT_RAW = 0, FUL_ROUTER_INPUT_LAYERNORM, FUL_ROUTER_INPUT_L2 } ful_router_input;

enum { FUL_CAPACITY_NONE = 0, FUL_ROUTER_NAME_MAX = 32, FUL_EXPERTS_MAX = 4096 };

typedef struct ful_moe_attr {
    ful_token token;         /* (default image) */
    bool bare;               /* y = sum of gate * expert(x) alone: whoever builds the net adds x (default false) */
    ful_expert expert;       /* (default mlp) */
    int experts, k;          /* 1..FUL_EXPERTS_MAX; 1..experts (default 8, 2) */
    int hidden;              /* width h of an expert (default 128) */
    ful_act act;             /* inside experts (default gelu for mlp, relu for conv) */
    bool gated;              /* mlp without norm: GLU form, [a | g] = fc1(x), fc2(act(a) g) (Shazeer 2020) (default false) */
    ful_expert_norm norm;    /* (default none for mlp, layer for conv) */
    ful_conv_algorithm conv; /* of convolutions inside experts (default auto); ful_net_build_graph gives the net's own */
    bool shared_init; /* all experts start with the same weights, those of the dense block (V-MoE); else each its own (default
                         false) */
    char router[FUL_ROUTER_NAME_MAX]; /* a name of ful_router_names() (default "softmax") */
    ful_router_input router_input; /* what is done to the d-vector (global average of a map) before the router (default raw) */
    float router_init;  /* sd of the router's weights; below 0: the method's own, 0.02, and 0 for noisy top-k (default -1) */
    ful_gate_mode gate; /* (default softmax_all; renorm with k = 1 is refused: it trains no router) */
    bool noisy;         /* Shazeer's noisy top-k (default false) */
    float noise_std;    /* size of the noise on logits in training, 0 = none; excludes `noisy` (default 0) */
    ful_router_noise noise_kind; /* (default normal) */
    float jitter;                /* router input times U(1-j,1+j) in training (default 0) */
    ful_temperature temperature; /* logits / tau; tau runs from tau0 to tau_min over the training (card P1) (default const) */
    float tau0, tau_min;         /* (default 1, 1) */
    int capacity_permille;       /* training capacity factor x 1000; 0 = dropless (default 1250) */
    int capacity_min;            /* C_min (default 4) */
    int eval_capacity_permille;  /* (default 0: dropless, a prediction never depends on its neighbours) */
    ful_drop_order drop;         /* (default position) */
    int soft_slots;              /* Soft MoE: slots an expert p (default 1) */
    /* balance: coefficients of losses summed over layers, reported apart from the task loss; 0 = off */
    float switch_coef;  /* card D2: alpha*E*sum f_e p_e, f over pre-drop choices with 1/(T k) (default 0.01) */
    bool switch_global; /* f over the global batch: accumulated over micro-batches until the step (card D3) (default false) */
    float importance_coef, load_coef; /* card D1 CV^2, population variance (default 0) */
    float z_coef;                     /* card D4 (default 0) */
    float entropy_coef;               /* card D9: + coef * mean token entropy (sharpens), negative softens (default 0) */
    float bias_rate;                  /* card D5: u of the auxiliary-loss-free selection bias (default 0 = off) */
} ful_moe_attr;

FUL_API void ful_moe_defaults(ful_moe_attr *attr, ful_expert expert);

/* Checks every field against x; on failure FUL_ERR_CONFIG naming field, value, rule. Parameters: "<name>.router.weight" [e][d],
 * "<name>.expert.<i>.fc1.weight" … */
FUL_API ful_status ful_graph_moe(ful_graph *g, const char *name, ful_node x, const ful_moe_attr *attr,
                                 ful_node *out) FUL_CHECK_RESULT;
/* The dense block an expert is an instance of, as ordinary nodes with the residual add: y = x + f(x), f of width `hidden`. */
FUL_API ful_status ful_graph_expert_block(ful_graph *g, const char *name, ful_node x, const ful_moe_attr *attr, int hidden,
                                          ful_node *out) FUL_CHECK_RESULT;

/* Router names with a line about each and the method card/paper; ends with a NULL name. Static storage. */
typedef struct ful_router_about {
    const char *name, *about, *source;
} ful_router_about;
FUL_API const ful_router_about *ful_router_names(void);

/* C = max(c_min, ceil(permille*k*T / (1000*E))) in integers (DESIGN 3.5); T if permille is 0. */
FUL_API int64_t ful_moe_capacity(int64_t tokens, int experts, int k, int permille, int c_min);

/* What one layer did since its statistics were reset. Sums over batches, from pre-drop choices unless said. */
typedef struct ful_moe_stats {
    char layer[128];
    int experts, k, classes;
    int64_t tokens, pairs, dropped, all_dropped, batches;
    int64_t *chosen, *kept;                        /* [experts] pairs before and after capacity */
    double *importance;                            /* [experts] sum of P_te */
    int64_t *class_expert;                         /* [classes][experts] first choices; NULL when labels were not given */
    double entropy_sum, margin_sum, gate_mass_sum; /* over tokens, nats: H_t; p1-p2; sum of P over the chosen */
    double gate_grad_sq_sum;                       /* over kept pairs: (dJ/dgate)^2 */
    double loss_switch, loss_importance, loss_load, loss_z, loss_entropy; /* sums over batches of coefficient * loss */
    int64_t macs_executed, macs_router, capacity_slots; /* counted by the kernels; slots = sum of E*C where capacity applied */
    double soft_slot_norm;                              /* Soft MoE: sum over batches of |slot|/mean|x| */
} ful_moe_stats;

/* Derived figures (cards H1, H2, H4). Loads from `chosen`. */
typedef struct ful_moe_health {
    double entropy, entropy_marginal, entropy_marginal_norm; /* mean H_t; H(mean P); / ln E */
    double margin, gate_mass, gate_grad_rms;
    double load_cv2, max_over_mean, gini, effective_experts; /* exp(H(f)) */
    int dead;                                                /* f_e < 0.01/E */
    int unused;                                              /* f_e = 0 */
    double drop_rate, all_dropped_rate;
    double class_mi, class_nmi, class_entropy_experts; /* nats; / sqrt(H(c)H(e)); H(e). 0 without labels */
    bool collapse_sign; /* effective < E/2 or >= 25 % dead, this epoch; an alarm needs 3 epochs in a row */
} ful_moe_health;
FUL_API void ful_moe_health_compute(const ful_moe_stats *stats, ful_moe_health *out);

#ifdef __cplusplus
}
#endif
#endif
