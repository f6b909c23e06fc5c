/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A net: a graph with parameters, ready to train and to predict. Built from a short text-like config (resnet20, width 16, MoE
 * after stage 3 …) or from a graph made by hand.
 */
#ifndef FULCRUM_NET_H
#define FULCRUM_NET_H

#include <fulcrum/graph.h>
#include <fulcrum/moe.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { FUL_MOE_SITES_MAX = 16 };

typedef enum ful_place { FUL_PLACE_APPEND = 0, FUL_PLACE_REPLACE } ful_place;

/*
 * One item of the `moe:` list. Of a transformer's blocks, "block1".., a place may name several: "last2" the last two, "every2"
 * blocks 2, 4, 6 … Where it replaces their MLP (V-MoE), x + mixture(norm(x)) stands for x + mlp(norm(x)).
 */
typedef struct ful_moe_site {
    char at[32];     /* "head" (after global pooling), "stage1".. or "block1".., "last<n>", "every<n>" (default "head") */
    ful_place place; /* after the last block of the stage or the block, or instead of it or its MLP (default append) */
    ful_moe_attr moe;
    int dense; /* 0: a mixture. Otherwise this site is a dense block of width `dense` (the baselines of card I3) */
} ful_moe_site;

/* Whether a place is of blocks: "block<i>", "last<n>" or "every<n>". */
FUL_API bool ful_moe_at_block(const char *at);

typedef enum ful_vit_pool { FUL_VIT_POOL_TOKEN = 0, FUL_VIT_POOL_MEAN } ful_vit_pool;
typedef enum ful_mlp_kind { FUL_MLP_GELU = 0, FUL_MLP_GEGLU, FUL_MLP_SWIGLU } ful_mlp_kind;

/* What only vision transformers have. */
typedef struct ful_vit_config {
    int heads;               /* 0 = the arch's own, or with a width of its own one for every 64 channels (default 0) */
    ful_vit_pool pool;       /* a class token, or the mean of all tokens without one (default token) */
    ful_positions positions; /* (default learned) */
    bool qk_norm;            /* (default false) */
    double layer_scale;      /* factor of each residual branch, learned, and what it starts at; 0 = none (default 0) */
    double mlp_ratio;        /* hidden width of the MLPs over the width (default 4) */
    ful_mlp_kind mlp;        /* (default gelu) */
} ful_vit_config;

/* The `net:` block. */
typedef struct ful_net_config {
    char arch[32];           /* a name of ful_arch_names() (default "resnet20") */
    int width;               /* channels of the first stage (mobilenets: of the stem); 0 = the arch's own */
    int depth;               /* mlp: hidden layers, mixers, vit: blocks; 0 = the arch's own */
    int patch;               /* mixers, vit: side of a patch; 0 = 16 above 64 px, 4 up to there */
    int height, in_channels; /* input (height = width), filled from the data set when 0 */
    int classes;             /* filled from the data set when 0 */
    double dropout;          /* before the classifier (default 0) */
    double drop_path;        /* stochastic depth of the last block (vit: residual branch), linear over depth (default 0) */
    char conv[16];           /* auto | direct | winograd | patches | strips: how convolutions are computed (default auto) */
    char stem[16];           /* auto | small | large: whether the first layers keep an image's size or take a quarter of its
                                side (resnets: 3x3, or 7x7/2 + max-pool); auto = small up to 64 px (default auto) */
    ful_vit_config vit;
    char weights[1024]; /* file a training starts from (ful_net_read_weights; nothing below reads it); "" = as drawn */
    int n_moe;
    ful_moe_site moe[FUL_MOE_SITES_MAX];
} ful_net_config;

FUL_API void ful_net_config_defaults(ful_net_config *config);
/* The MLP of a transformer's blocks; hidden = 0 where the net has no such blocks. */
FUL_API ful_mlp_attr ful_net_block_mlp(const ful_net_config *config);
typedef struct ful_arch_about {
    const char *name, *about;
} ful_arch_about;
FUL_API const ful_arch_about *ful_arch_names(void); /* ends with a NULL name */

/* The graph of a config; the caller destroys it. FUL_ERR_CONFIG names key, value, rule. */
FUL_API ful_status ful_net_build_graph(const ful_net_config *config, ful_graph **out) FUL_CHECK_RESULT;

typedef struct ful_net ful_net;
typedef struct ful_net_options {
    int batch_max; /* n_max of training and evaluation (default 128) */
    bool train;    /* also plan the training step (default true) */
    uint64_t seed; /* initial weights, dropout, router noise */
    int classes;   /* class x expert tables; 0 = the output's channels */
    bool blank;    /* leave all parameters 0, because they will be written: saves drawing them (default false) */
} ful_net_options;
FUL_API void ful_net_options_defaults(ful_net_options *options);
/* Takes over the graph, also on failure. Parameters are initialised by (seed, name). */
FUL_API ful_status ful_net_create(ful_graph *graph, const ful_net_options *options, ful_net **out) FUL_CHECK_RESULT;
FUL_API void ful_net_destroy(ful_net **net);

/* Parameters, in graph order, buffers (running statistics, frozen weights) included. Pointers are borrowed, plain layouts. */
typedef struct ful_tensor {
    const char *name;
    int rank;
    int64_t shape[4], count;
    float *value;
    float *grad; /* NULL when not trainable */
    bool decay;  /* weight decay applies */
} ful_tensor;
FUL_API int ful_net_tensor_count(const ful_net *net);
FUL_API ful_status ful_net_tensor(const ful_net *net, int i, ful_tensor *out) FUL_CHECK_RESULT;
FUL_API void ful_net_touched(ful_net *net); /* call after writing values: packed and folded copies are made anew */

/* One training pass: gradients are ADDED to grad (zero them with the optimiser or ful_net_zero_grad). */
typedef struct ful_step {
    int n;
    const float *x;       /* [n][h][w][c] */
    const int32_t *label; /* [n] */
    const float *soft;    /* [n][classes] soft targets instead, NULL usually */
    float label_smoothing;
    uint64_t step;   /* keys random draws */
    double progress; /* 0..1 through the training */
    /* out */
    double loss;     /* mean task loss: balance losses are NOT in it */
    double aux_loss; /* sum of coefficient * balance loss over layers */
    int64_t correct;
} ful_step;
FUL_API ful_status ful_net_train_step(ful_net *net, ful_step *step) FUL_CHECK_RESULT;
FUL_API void ful_net_zero_grad(ful_net *net);
FUL_API void ful_net_after_step(ful_net *net, const ful_step *step); /* after the optimiser: router biases; implies touched */

/* Inference: logits [n][classes]; any n >= 0 (cut into batches of batch_max; without a mixture into what fits the caches).
 * label may be NULL (fills class x expert statistics). */
FUL_API ful_status ful_net_predict(ful_net *net, int n, const float *x, const int32_t *label,
                                   float *logits_out) FUL_CHECK_RESULT;
/* Evaluate with the training capacity instead of the eval setting (on), or as configured (off, default). */
FUL_API void ful_net_eval_training_capacity(ful_net *net, bool on);
/* Values and shapes of the output. */
FUL_API int ful_net_classes(const ful_net *net);
FUL_API ful_shape ful_net_input_shape(const ful_net *net);

/* Mixture layers. split 0: training passes, 1: inference passes. Borrowed until the next pass. */
FUL_API int ful_net_moe_count(const ful_net *net);
FUL_API const ful_moe_stats *ful_net_moe_stats(const ful_net *net, int layer, int split);
FUL_API void ful_net_moe_stats_reset(ful_net *net, int split);
/* Experts and gates the last predict batch's token `t` of the layer took; returns how many (<= k). */
FUL_API int ful_net_moe_route(const ful_net *net, int layer, int64_t token, int k_max, int32_t *expert_out, float *gate_out);

/* ---- accounting (card I2) ---- */
typedef struct ful_layer_cost {
    char name[128], op[24];
    ful_shape in, out;
    int64_t params, macs, macs_routed, macs_router;
    bool routed;
} ful_layer_cost;
typedef struct ful_account {
    int n_layers;
    ful_layer_cost *layers; /* owned by the account */
    int64_t params, params_active, params_experts;
    int64_t macs;                                  /* executed nominally: B + R + kX */
    int64_t macs_shared, macs_router, macs_routed; /* B, R, kX */
    int64_t macs_one_expert, macs_all_experts;     /* X, EX */
    int64_t macs_unread; /* part of B that is not executed, because nothing reads what it gives (behind a class token's last
                            attention, all other tokens) or it can be had for less (that attention's keys and values) */
    double rho_exec, rho_site, rho_total, rho_train, rho_params; /* card I2 */
    int64_t capacity_pairs;                                      /* pairs a training batch of batch_max may keep, and */
    int64_t nominal_pairs;                                       /* pairs it asks for: their ratio is the capacity padding */
    uint64_t work_bytes, param_bytes, packed_bytes;              /* of the planned net */
} ful_account;
FUL_API ful_status ful_net_account(const ful_net *net, ful_account *out) FUL_CHECK_RESULT;
FUL_API ful_status ful_graph_account(const ful_graph *g, ful_account *out) FUL_CHECK_RESULT; /* without plan figures (0) */
FUL_API void ful_account_deinit(ful_account *account);
/* MACs the kernels counted since the reset, over training forwards (split 0) or inference (split 1). */
FUL_API void ful_net_counted_macs(const ful_net *net, int split, int64_t *macs, int64_t *routed, int64_t *router);
FUL_API void ful_net_counted_reset(ful_net *net);

/* ---- where the time goes ---- */
/* Times every pass of every op from now on, from zero (on), or stops and keeps what was measured (off). Convolutions and linear
 * layers then make their two gradients one after the other, so that each is seen. Off, it costs nothing. */
FUL_API ful_status ful_net_profile(ful_net *net, bool on) FUL_CHECK_RESULT;
typedef struct ful_profile_row {
    char name[128], op[24]; /* of the layer and its operation; "" and "sum": gradients of a value used twice; "loss" */
    const char *pass;       /* "forward", "backward", "dw", "dx" */
    char kernel[64];        /* what it runs on, where the operation says so, otherwise "" */
    int64_t calls, images;  /* that were timed */
    double seconds;
    int64_t macs, bytes, weight_bytes; /* the least it must do: for one image, and for the weights of a call */
} ful_profile_row;
typedef struct ful_profile {
    int n_rows;
    ful_profile_row *rows; /* in the order of the plan; owned by the profile */
} ful_profile;
/* The rows of training (split 0) or inference (split 1), also before anything was timed: kernels and costs are known then. */
FUL_API ful_status ful_net_profile_get(const ful_net *net, int split, ful_profile *out) FUL_CHECK_RESULT;
FUL_API void ful_profile_deinit(ful_profile *profile);

/* The plan as text: layout, bytes, fusion of each op. Caller frees with ful_free. */
FUL_API ful_status ful_net_describe_plan(const ful_net *net, bool train, char **text_out) FUL_CHECK_RESULT;

#ifdef __cplusplus
}
#endif
#endif
