/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All this project asks of oneDNN: convolution. Only the files of this folder include its headers, so that its version 2
 * (operation descriptors) and version 3 (primitive descriptors made at once) both build.
 */
#ifndef FUL_OPS_DNNL_SHIM_H
#define FUL_OPS_DNNL_SHIM_H

#include "ops/op.h"

/* "2.6.3": of the library that runs. */
const char *ful__dnnl_version(void);

typedef enum ful__dnnl_pass { FUL__DNNL_FWD, FUL__DNNL_BWD_X, FUL__DNNL_BWD_W } ful__dnnl_pass;
enum { FUL__DNNL_PASSES = 3 };

typedef struct ful__dnnl_conv_spec {
    const char *name; /* of the op, for messages */
    ful_conv2d_attr attr;
    ful_shape x, y;
    ful__layout x_layout, y_layout;
    bool sum;        /* forward: y = act(conv + bias + what y held before) */
    ful_act act;     /* none, or one that ful__act_fuses */
    bool train;      /* backward too */
    unsigned passes; /* bit p: pass p is wanted; 0 = all of them */
    int n_max;
} ful__dnnl_conv_spec;

/*
 * The primitives of one convolution. Those for n_max images fix the packed layouts of the weights; those for other n are made
 * when first met and kept. A run with the same n may go on in several threads at once.
 *
 * Inside a piece of ful__parallel_for a primitive made for one thread is used: oneDNN cuts its work for the threads it saw at
 * creation, and its weight gradients would be wrong with fewer.
 */
typedef struct ful__dnnl_conv ful__dnnl_conv;
ful_status ful__dnnl_conv_create(const ful__dnnl_conv_spec *spec, ful__dnnl_conv **out) FUL_CHECK_RESULT;
void ful__dnnl_conv_destroy(ful__dnnl_conv **conv);

/* The layouts in which oneDNN has something better than its reference for every pass: blocked before NHWC. */
void ful__dnnl_conv_layouts(const ful__dnnl_conv_spec *spec, ful__layout *x_out, ful__layout *y_out);

/* packed, scratch_per_image, scratch_fixed */
void ful__dnnl_conv_need(const ful__dnnl_conv *conv, ful__need *need);
int64_t ful__dnnl_conv_macs(const ful__dnnl_conv *conv); /* of one image, from the forward primitive's dimensions */
/* oneDNN's name of the kernel of a pass: "jit:avx512_core"; "" where it was not asked for. */
const char *ful__dnnl_conv_kernel(const ful__dnnl_conv *conv, ful__dnnl_pass pass);

/* w, bias, dw, db: plain layouts; bias NULL where the attributes have none. packed, scratch: of conv_need. */
typedef struct ful__dnnl_conv_run {
    int n;
    bool repack; /* w changed: write the packed copy this pass uses */
    const float *x, *w, *bias;
    float *y;
    const float *dy;
    float *dx, *dw, *db; /* dx overwritten, dw and db added to; each may be NULL */
    void *packed, *scratch;
} ful__dnnl_conv_run;
/* Makes the primitives for n images now. */
ful_status ful__dnnl_conv_prepare(ful__dnnl_conv *conv, int n) FUL_CHECK_RESULT;
ful_status ful__dnnl_conv_forward(ful__dnnl_conv *conv, const ful__dnnl_conv_run *run) FUL_CHECK_RESULT;
ful_status ful__dnnl_conv_backward(ful__dnnl_conv *conv, const ful__dnnl_conv_run *run) FUL_CHECK_RESULT;

#endif
