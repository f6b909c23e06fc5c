/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract of an operation (one folder each under src/ops/, and src/moe/ plugs in one more).
 *
 *   create   check attributes against input shapes; infer the output shape, list the parameters, count the cost
 *   layouts  say which memory layout the inputs must have and the output will have
 *   plan     for up to n_max images: build primitives, say what memory forward and backward will need
 *   forward, backward   work; allocate nothing
 *   destroy
 *
 * An op holds no tensors: weights, their packed copies, what forward saves for backward, and scratch all come with the run.
 * So one planned op may serve several weight sets (the experts of a mixture) and any batch n <= n_max.
 */
#ifndef FUL_OPS_OP_H
#define FUL_OPS_OP_H

#include <fulcrum/ops.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FUL__X_MAX = 2, FUL__OP_NAME_MAX = 128 };

/*
 * Layout of an n x h x w x c buffer. NHWC: plain. BLOCKED: [n][c/B][h][w][B], B = ful__block() (16 with AVX-512, else 8), only
 * where B divides c; oneDNN's nChw16c/nChw8c. For 1 x 1 images both are the same bytes. Element (n,y,x,ch) lies at
 * n*h*w*c + (ch/B)*block_stride + (y*w+x)*pixel_stride + ch%B with the strides of ful__strides_of: one kernel serves both.
 */
typedef enum ful__layout { FUL__NHWC = 0, FUL__BLOCKED = 1 } ful__layout;
int ful__block(void);
typedef struct ful__strides {
    int64_t pixel, block; /* NHWC: c, B; BLOCKED: B, h*w*B */
} ful__strides;
ful__strides ful__strides_of(ful_shape s, ful__layout layout);
static inline int64_t ful__count(ful_shape s)
{
    return (int64_t)s.h * s.w * s.c;
}

typedef struct ful__param {
    char name[FUL__OP_NAME_MAX];      /* full name: "<op name>.weight" */
    char init_name[FUL__OP_NAME_MAX]; /* keys the initial values instead of name where not "": experts that start as copies of
                                         the dense block */
    int rank;
    int64_t shape[4];
    int64_t count; /* product of shape */
    ful_init init;
    float gain; /* as ful_init says; ONES: the value itself */
    int64_t fan_in;
    bool trainable; /* false: a buffer such as running_mean, or a frozen weight; has no gradient */
    bool decay;     /* weight decay applies: matrices and kernels yes, norms and biases no */
} ful__param;

/* Exact integers for one image, forward. macs includes routed and router. */
typedef struct ful__cost {
    int64_t macs;        /* all multiply-accumulates of conv, linear, router, experts as executed nominally (k experts) */
    int64_t macs_routed; /* thereof inside routed experts */
    int64_t macs_router;
    int64_t bytes; /* activations and weights read and written once, float32, weights counted once a batch of 1 */
} ful__cost;

/*
 * Work on maps in the cache. A map is one block of channels of one image in the blocked layout. Batch-norm passes over its maps
 * twice each way: for sums over all of them, then to make what comes out. An operation that goes map by map itself (need.maps)
 * does a neighbour's half of the work beside its own: it calls run->before for maps it is about to read and run->after for maps
 * it has written. It takes images in ful__map_chunks(n) shares, each block of a share in one piece and its images in order, any
 * number of them a call, or so many pixels of one image; so sums taken by share do not depend on the threads.
 *
 * near: where those maps stand in the cache, one after the other, blocks near_block floats apart; NULL: in the tensor. sum_x
 * and sum_dy read near instead of x and dy; make_y writes near beside y, which it then stores past the caches; make_dx writes
 * near instead of dx[0].
 *
 * Where the operation behind batch-norm is the only one to read its output and can have it made again (need.again), that is not
 * kept: y is NULL, make_y writes near alone, and in backward run->again makes maps of it once more.
 */
enum { FUL__MAP_CHUNKS = 16 };
static inline int64_t ful__map_chunks(int64_t n)
{
    return n < FUL__MAP_CHUNKS ? n : FUL__MAP_CHUNKS;
}
typedef struct ful__op ful__op;
typedef struct ful__run ful__run;
typedef struct ful__maps {
    int64_t chunk, image, image_end;
    int64_t row, row_end; /* pixels of each image: all of them where there are several images */
    int group, group_end; /* blocks of channels */
    float *near;
    int64_t near_block;
} ful__maps;
typedef void (*ful__map_fn)(ful__op *op, const ful__run *run, const ful__maps *maps);
typedef struct ful__map_work {
    ful__map_fn fn;
    ful__op *op; /* the neighbour */
    const ful__run *run;
    bool store; /* others too read the tensor between the two: it must be written; else near is given */
} ful__map_work;

/* What a planned op needs from whoever runs it; per image bytes scale with the n of the run, 64-byte multiples not required. */
typedef struct ful__need {
    size_t saved_per_image, saved_fixed;     /* written by forward (training), read by backward */
    size_t scratch_per_image, scratch_fixed; /* contents undefined at entry of forward and of backward */
    size_t packed;                           /* packed copies of one weight set, kept between runs */
    unsigned backward_x;                     /* bit i: backward reads x[i] */
    bool backward_y;                         /* backward reads y */
    bool maps;                               /* it calls run->before and run->after */
    bool again;                              /* with maps: x[0] need not be kept if backward can have its maps made again */
    bool library;                            /* forward runs loops of a library, on threads of its own */
    bool backward_two;                       /* dy may come as two summands */
    bool adds_dx;                            /* backward can add another gradient to dx[0] */
    bool sum_dy_keeps;                       /* sum_dy writes dx[1], and nothing reads dy after it */
    bool inplace;                            /* y may be the same buffer as x[0] */
    bool inplace_dx;                         /* dx[0] may be the same buffer as dy */
    bool inplace_1;                          /* y may be the same buffer as x[1] (a residual that a convolution adds into) */
    bool inplace_dx_1;                       /* dx[1] may be the same buffer as dy (the masked gradient of a residual) */
} ful__need;

/* Counters of what the kernels really did, added to by forward (and backward: not counted). */
typedef struct ful__counters {
    int64_t macs, macs_routed, macs_router;
} ful__counters;

typedef struct ful__op_type ful__op_type;

/* First member of every op. */
struct ful__op {
    const ful__op_type *type;
    char name[FUL__OP_NAME_MAX];
    int n_x;
    ful_shape x[FUL__X_MAX], y;
    ful__layout x_layout[FUL__X_MAX], y_layout; /* set by layouts */
    int n_params;
    ful__param *params; /* owned by the op */
    ful__cost cost;
    int n_likely;   /* images a run usually has, set before plan by who knows better than "as many as may be"; 0 = n_max */
    ful__need need; /* set by plan */
};

struct ful__run {
    int n; /* images now, 0..n_max; 0 does nothing */
    bool train;
    bool repack;          /* weights changed since `packed` was written: refresh what this pass uses */
    uint64_t seed, step;  /* keys of dropout and router noise */
    double progress;      /* 0..1 through the training: schedules */
    const uint32_t *row;  /* batch position of each image (for draws); NULL: 0..n-1 */
    const int32_t *label; /* class of each image, NULL when unknown: statistics only, never an input */
    const float *x[FUL__X_MAX];
    float *y;                       /* output of forward, input of backward where need.backward_y */
    const float *dy;                /* backward */
    const float *dy_more;           /* the gradient of y is dy + dy_more; NULL: dy alone */
    float *dx[FUL__X_MAX];          /* backward: overwritten; NULL where nobody needs it */
    const float *dx_more;           /* where need.adds_dx: added to dx[0], whose buffer it may be; or NULL */
    float *const *w;                /* one pointer a parameter, plain layout as the attributes' comments give it */
    float *const *dw;               /* backward ADDS; NULL entries for parameters that are not trainable */
    void *saved, *scratch, *packed; /* 64-byte aligned, sized by need and n */
    ful__counters *counters;        /* may be NULL */
    const ful__map_work *before;    /* where need.maps: called before maps of x (backward: dy) are read, or NULL */
    const ful__map_work *after;     /* … after maps of y (backward: dx[0]) are written, or NULL */
    const ful__map_work *again;     /* where need.again, in backward: makes maps of x[0], which is NULL, near; or NULL */
    bool summed;                    /* a neighbour has called sum_x (backward: sum_dy) */
    bool leave;                     /* a neighbour will call make_y (backward: make_dx) */
};

struct ful__op_type {
    const char *name; /* "conv2d" */
    ful_status (*create)(const char *name, const void *attr, const ful_shape *x, int n_x, ful__op **out);
    /* in: op->x_layout = what the neighbours offer. out: op->x_layout = what is demanded, op->y_layout = what comes out. */
    void (*layouts)(ful__op *op);
    ful_status (*plan)(ful__op *op, int n_max, bool train);
    ful_status (*prepare)(ful__op *op, int n); /* optional: whatever a run of n images would make when it first meets n */
    ful_status (*forward)(ful__op *op, const ful__run *run);
    ful_status (*backward)(ful__op *op, const ful__run *run);
    /* optional: the halves of forward and backward that a neighbour may take over */
    ful__map_fn sum_x, make_y, sum_dy, make_dx;
    void (*after_step)(ful__op *op, const ful__run *run); /* optional: after the optimiser's step (router biases) */
    void (*destroy)(ful__op *op);                         /* frees op->params too (call ful__op_deinit) */
    const char *(*kernel)(const ful__op *op); /* optional: what a planned op runs on, for people; "forward, dx, dw" */
};

/* Attributes: conv2d ful_conv2d_attr, linear …; act: ful_act; add, excite, global_avg_pool, flatten, reorder: NULL (reorder:
 * ful__layout wanted). */
extern const ful__op_type ful__op_conv2d, ful__op_linear, ful__op_batchnorm, ful__op_layernorm, ful__op_act, ful__op_add,
    ful__op_global_avg_pool, ful__op_pool, ful__op_flatten, ful__op_dropout, ful__op_scale, ful__op_reorder, ful__op_attention,
    ful__op_tokens, ful__op_take, ful__op_mlp, ful__op_excite, ful__op_transpose;

/*
 * Inference form of conv -> batch-norm (-> + residual) (-> activation): same weights as conv2d, but weight and bias given are
 * already folded, and y = act(conv(x0) + bias + x1). Attributes: this struct. Forward only.
 */
typedef struct ful__conv_fused_attr {
    ful_conv2d_attr conv; /* bias = true */
    ful_act act;          /* none, or one that ful__act_fuses (act_math.h) */
    bool residual;
} ful__conv_fused_attr;
extern const ful__op_type ful__op_conv_fused;
/* Two of them as one, the first depthwise and without residual, the second 1x1 (ops/separable). x1: the second's residual.
 * Parameters: weight and bias of the first, then of the second. Forward only. */
typedef struct ful__separable_attr {
    ful__conv_fused_attr depthwise, pointwise;
} ful__separable_attr;
extern const ful__op_type ful__op_separable;
/* A linear layer that makes queries, keys and values, and attention with one query on them (ops/attention/absorbed.c). qkv
 * without lead, attention without qk_norm. Parameters: those of the linear layer. */
typedef struct ful__absorbed_attr {
    ful_linear_attr qkv;
    ful_attention_attr attention;
} ful__absorbed_attr;
extern const ful__op_type ful__op_absorbed;
/* w_out = w * gamma/sqrt(var+eps) per output channel, b_out = beta - mean*gamma/sqrt(var+eps) (+ bias scaled likewise when not
 * NULL). */
void ful__fold_batchnorm(const ful_conv2d_attr *attr, int in_channels, const float *w, const float *bias, const float *gamma,
                         const float *beta, const float *mean, const float *var, float eps, float *w_out, float *b_out);

/* Helpers for implementers. init: fills the base part; add_param: appends (name suffix, shape), count checked for overflow. */
ful_status ful__op_init(ful__op *op, const ful__op_type *type, const char *name, const ful_shape *x, int n_x) FUL_CHECK_RESULT;
ful_status ful__op_add_param(ful__op *op, const char *suffix, int rank, const int64_t *shape, ful_init init, float gain,
                             int64_t fan_in, bool trainable, bool decay) FUL_CHECK_RESULT;
void ful__op_deinit(ful__op *op);
void ful__op_layouts_plain(ful__op *op); /* demands NHWC everywhere */
void ful__op_layouts_same(ful__op *op);  /* any layout, all the same as x[0]'s (blocked where possible when inputs differ) */

/*
 * Softmax cross-entropy over n rows of `classes` logits: loss per row to row_loss (NULL to skip), returns the mean as a double
 * sum in row order / n. Target: one-hot of label mixed with uniform by `smoothing` (Szegedy et al. 2016), or soft[n][classes]
 * when not NULL. dlogits (NULL to skip) = (softmax - target) * scale, with scale usually 1/n. correct_out: rows whose arg-max
 * is the label (lowest index on ties).
 */
typedef struct ful__xent {
    int n, classes;
    const float *logits;
    const int32_t *label;
    const float *soft;
    float smoothing, scale;
    float *dlogits, *row_loss;
    double loss_out;
    int64_t correct_out;
} ful__xent;
void ful__softmax_xent(ful__xent *x);

#endif
