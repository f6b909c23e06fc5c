/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operations a graph is made of: their attributes. Shapes are those of one image (height, width, channels); the batch is
 * the outermost dimension of every buffer and may be any n up to the planned n_max. Vectors are images of 1 x 1.
 *
 * Shape letters used everywhere: n images, h w c (NHWC), t tokens, d width, e experts, k experts a token uses, cap capacity.
 */
#ifndef FULCRUM_OPS_H
#define FULCRUM_OPS_H

#include <fulcrum/status.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ful_shape {
    int h, w, c;
} ful_shape;

typedef enum ful_act {
    FUL_ACT_NONE = 0,
    FUL_ACT_RELU,
    FUL_ACT_GELU,
    FUL_ACT_SILU,
    FUL_ACT_HARD_SWISH,  /* x min(max(x + 3, 0), 6) / 6 */
    FUL_ACT_RELU6,       /* min(max(x, 0), 6) */
    FUL_ACT_HARD_SIGMOID /* min(max(x + 3, 0), 6) / 6 */
} ful_act;

/* How a weight starts: all draws keyed by (seed, parameter name), DESIGN "everything random is counter-based". */
typedef enum ful_init {
    FUL_INIT_ZEROS = 0,
    FUL_INIT_ONES,
    FUL_INIT_HE_NORMAL,    /* N(0, gain*2/fan_in), He et al. 2015 */
    FUL_INIT_LECUN_NORMAL, /* N(0, gain*1/fan_in) */
    FUL_INIT_TRUNC_NORMAL, /* sd = gain, cut at two sd */
    FUL_INIT_NORMAL        /* sd = gain */
} ful_init;

/*
 * How a convolution is computed. DIRECT: the plain sum, oneDNN's kernels. WINOGRAD: F(4x4, 3x3), a quarter of the
 * multiplications and about four times the rounding error; 3x3 of stride 1. PATCHES: the plain sum in another order, one matrix
 * product over the patches of few pixels; inference. STRIPS: the plain sum on kernels of our own, any kernel and stride. Where
 * the one asked for does not apply, and for depthwise convolutions, it is as if DIRECT was asked for. AUTO: each pass of each
 * shape is measured once on a machine. The environment variable FULCRUM_CONV (auto, direct, winograd, patches, strips) goes
 * before this.
 */
typedef enum ful_conv_algorithm {
    FUL_CONV_AUTO = 0,
    FUL_CONV_DIRECT,
    FUL_CONV_WINOGRAD,
    FUL_CONV_PATCHES,
    FUL_CONV_STRIPS
} ful_conv_algorithm;

typedef struct ful_conv2d_attr {
    int out_channels;             /* >= 1 */
    int kernel_h, kernel_w;       /* >= 1 (default 3, 3) */
    int stride_h, stride_w;       /* >= 1 (default 1, 1) */
    int pad_h, pad_w;             /* zeros on both sides, 0 <= pad < effective kernel (default 0, 0) */
    int dilation_h, dilation_w;   /* >= 1 (default 1, 1) */
    int groups;                   /* divides both channel counts (default 1) */
    bool bias;                    /* (default false) */
    ful_init init;                /* (default FUL_INIT_HE_NORMAL) */
    float gain;                   /* variance factor of the init (default 1) */
    ful_conv_algorithm algorithm; /* (default FUL_CONV_AUTO) */
} ful_conv2d_attr;
/* weight [out][in/groups][kh][kw], bias [out]. MACs: out*oh*ow*(in/groups)*kh*kw (padding counted, as the field does). */
FUL_API void ful_conv2d_defaults(ful_conv2d_attr *attr);

typedef struct ful_linear_attr {
    int out_features; /* works on the channel axis of every position (h, w) */
    bool bias;        /* (default true) */
    ful_init init;    /* (default FUL_INIT_LECUN_NORMAL) */
    float gain;       /* (default 1) */
    int lead;         /* the first so many outputs are made at the first position alone, and are 0 at all others (default 0) */
} ful_linear_attr;
/* weight [out][in], bias [out]. */
FUL_API void ful_linear_defaults(ful_linear_attr *attr);

typedef struct ful_batchnorm_attr {
    float eps;       /* (default 1e-5) */
    float momentum;  /* running = (1-momentum)*running + momentum*batch; running variance is the unbiased one (default 0.1) */
    bool zero_gamma; /* gamma starts at 0 instead of 1 (default false) */
    ful_act act;     /* fused after it: none, relu, relu6 or, without residual, hard_swish; set by the graph's fusion pass
                        (default none) */
    bool residual;   /* y = act(norm(x0) + x1); set by the fusion pass (default false) */
} ful_batchnorm_attr;
/* weight(gamma) bias(beta) running_mean running_var, each [c]. */
FUL_API void ful_batchnorm_defaults(ful_batchnorm_attr *attr);

typedef enum ful_norm_scope { FUL_NORM_CHANNELS = 0, FUL_NORM_IMAGE } ful_norm_scope;
typedef struct ful_layernorm_attr {
    float eps; /* (default 1e-5) */
    ful_norm_scope
        scope;   /* over the channels of each position, or over the whole image (GroupNorm with one group) (default channels) */
    bool affine; /* weight [c], bias [c] (default true) */
} ful_layernorm_attr;
FUL_API void ful_layernorm_defaults(ful_layernorm_attr *attr);

typedef enum ful_pool_kind { FUL_POOL_MAX = 0, FUL_POOL_AVG } ful_pool_kind;
typedef struct ful_pool_attr {
    ful_pool_kind kind;
    int kernel, stride, pad; /* average pooling divides by the number of real (unpadded) pixels */
} ful_pool_attr;

typedef struct ful_dropout_attr {
    float p;          /* 0 <= p < 1: probability to drop; kept values are scaled by 1/(1-p) in training, identity at eval */
    bool whole_image; /* stochastic depth (Huang et al. 2016): one draw an image instead of one a value */
} ful_dropout_attr;

typedef struct ful_scale_attr {
    bool learnable; /* weight [c] that starts at `value`; otherwise the constant `value` */
    float value;
} ful_scale_attr;

/* Positions and channels change places: x [h*w][c] to y [c][h*w]. The c positions of y are h x w (both 0: 1 x c). */
typedef struct ful_transpose_attr {
    int h, w;
} ful_transpose_attr;

/*
 * Multi-head self-attention of the positions of an image on each other (Vaswani et al. 2017), by blocks, so that no table of
 * positions x positions exists (Dao et al. 2022). x: 3d channels, the queries, keys and values of all heads, each head after
 * head; y: d channels. Scores are scaled by 1/sqrt(d/heads). MACs: 2 t q d for q queries of t positions.
 */
typedef struct ful_attention_attr {
    int heads;    /* 3 x heads divides the channels; a head is at most 256 wide (default 1) */
    bool qk_norm; /* layer norm of each head's query and key, with weights of its own (Dehghani et al. 2023) (default false) */
    float eps;    /* of qk_norm (default 1e-6) */
    int queries;  /* only the first so many positions ask, and y has as many, 1 x queries; 0: all, y like x (default 0) */
} ful_attention_attr;
/* With qk_norm: q_norm.weight, q_norm.bias, k_norm.weight, k_norm.bias, each [d/heads], for all heads. */
FUL_API void ful_attention_defaults(ful_attention_attr *attr);

/* The MLP of a transformer block, at every position: y = fc2(act(fc1(x))), of as many channels as x; gated: fc1 gives 2 x
 * hidden values [a | g], y = fc2(act(a) g): GEGLU with gelu, SwiGLU with silu (Shazeer 2020). */
typedef struct ful_mlp_attr {
    int hidden;  /* >= 1 */
    ful_act act; /* (default gelu) */
    bool gated;  /* (default false) */
} ful_mlp_attr;
/* fc1.weight [hidden or 2 hidden][d], fc1.bias, fc2.weight [d][hidden], fc2.bias; LeCun normal, biases 0. */
FUL_API void ful_mlp_defaults(ful_mlp_attr *attr);

/* none | learned: one vector a token | sin-cos values of a patch's row and column, fixed (Beyer et al. 2022) */
typedef enum ful_positions { FUL_POSITIONS_NONE = 0, FUL_POSITIONS_LEARNED, FUL_POSITIONS_SINCOS } ful_positions;

/* The positions of a map in rows as 1 x t tokens, with what says where each is added to it. */
typedef struct ful_tokens_attr {
    bool class_token;        /* one more token comes first, the same for every image: cls [d] */
    ful_positions positions; /* learned: pos [t][d], class token included; sincos: d a multiple of 4, 0 for the class token */
} ful_tokens_attr;

/* One position of a map, as 1 x 1: the class token, say. */
typedef struct ful_take_attr {
    int position; /* in rows, from 0 on */
} ful_take_attr;

/*
 * What this machine and build can do, as text or JSON: CPU and the kernels chosen, threads, oneDNN's version, memory pages, and
 * what would be slow here and why. Caller frees with ful_free.
 */
FUL_API ful_status ful_machine_describe(bool json, char **text_out) FUL_CHECK_RESULT;

#ifdef __cplusplus
}
#endif
#endif
