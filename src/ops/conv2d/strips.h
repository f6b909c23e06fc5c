/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolutions of any kernel and stride, and their gradients, as one product straight from the images: no patches are laid
 * out. A strip is the rows of the input that some lines of the output need, copied once with the zeros of the padding around
 * them; a tap is then the same distance from every output pixel's own place in the strip. (Without padding the images
 * themselves are the strip.)
 *
 *   y[pixel][out] = sum over block, tap_h, tap_w, c of strip[place(pixel) + block, tap][c] * w[block][tap_h][tap_w][c][out]
 *
 * A tile of a few pixels times two blocks of output channels stays in registers for the whole sum; values of the strip are
 * spread over the lanes from where they lie, so images of 3 colours in NHWC are as good as blocked ones. Each value is one
 * chain of multiply-adds in the order above, so it does not depend on the batch or on how the work is cut.
 *
 * The gradient of x through a stride s is s*s such walks over dy, one for each remainder of the pixels of dx: each has the taps
 * that meet its pixels, and none multiplies zeros. The gradient of w takes its values of x from the same strips:
 *
 *   dw[block][tap_h][tap_w][c][out] = sum over pixel of strip[place(pixel) + block, tap][c] * dy[pixel][out]
 */
#ifndef FUL_OPS_STRIPS_H
#define FUL_OPS_STRIPS_H

#include "ops/conv2d/conv2d.h"
#include "ops/dnnl/dnnl_shim.h"

enum { FUL__STRIPS_STRIDE_MAX = 2, FUL__STRIPS_WALKS_MAX = FUL__STRIPS_STRIDE_MAX * FUL__STRIPS_STRIDE_MAX };

/* One of height and width of a walk. Output i stands at first + i*to_step and reads from i*from_step + lag on, taps `space`
 * apart. */
typedef struct ful__strips_axis {
    int taps, lag, first, count;
    int kernel_first, kernel_step; /* tap t is the kernel's kernel_first + t*kernel_step */
} ful__strips_axis;

typedef struct ful__strips_walk {
    ful__strips_axis h, w;
    int64_t weights; /* floats of packed before its own */
} ful__strips_walk;

/* Of one pass: x -> y and so for dw, or dy -> dx. */
typedef struct ful__strips {
    ful_shape from, to;
    ful__dnnl_pass pass;
    int kernel_h, kernel_w;
    int from_step_h, from_step_w, to_step_h, to_step_w, space_h, space_w;
    int channels, blocks; /* of a pixel of `from` in one place, and in how many places */
    int n_walks;
    ful__strips_walk walk[FUL__STRIPS_WALKS_MAX];
    int lines;                              /* most lines of a walk */
    int low_h, high_h, low_w, columns;      /* of the strip: what the walks reach before and behind a line, and across */
    bool in_place;                          /* no padding: the images are the strips */
    int threads, strip_lines, strip_images; /* scratch is for so many threads, each with a strip of so many lines or images */
} ful__strips;

/* Whether it applies: no groups, blocked y; dx: x blocked too, no dilation, stride 1 or 2. AVX2 or better. */
bool ful__strips_applies(const ful_conv2d_attr *attr, ful_shape x, ful_shape y, ful__dnnl_pass pass);
ful__strips ful__strips_plan(const ful_conv2d_attr *attr, ful_shape x, ful_shape y, ful__dnnl_pass pass, int n_max);

size_t ful__strips_packed_bytes(const ful__strips *plan);
size_t ful__strips_scratch_bytes(const ful__strips *plan);
int64_t ful__strips_macs(const ful__strips *plan); /* of one image */
const char *ful__strips_kernel(void);

/* w: plain weights [out][in][kh][kw]. */
void ful__strips_pack(const ful__strips *plan, const float *w, float *packed);

void ful__strips_apply(const ful__strips *plan, const ful__conv_run *run);

/* dw += */
void ful__strips_grad(const ful__strips *plan, int n, const float *x, const float *dy, float *dw, void *scratch);

#endif
