/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dispatch and combine for soft routes (card B4): the tokens of a group are mixed into s = e*p slots and the slots' outputs
 * back into tokens.
 *
 *   z_s = sum_t D_ts x_t                y_t = x_t + sum_s C_ts o_s
 *   do_s = sum_t C_ts dy_t, dC_ts = <dy_t, o_s>
 *   dD_ts = <dz_s, x_t>,    dx_t = dy_t + sum_s D_ts dz_s      (and what the router adds)
 *
 * Sums over t and s run upwards, within one group only. Slot j of expert e in group g is row (e*groups + g)*p + j: experts'
 * rows are contiguous, as in dispatch.h.
 */
#ifndef FUL_MOE_SLOTS_H
#define FUL_MOE_SLOTS_H

#include <stdint.h>

typedef struct ful__slots {
    int64_t groups, m; /* t = groups*m tokens */
    int e, p;
    int64_t width; /* floats of a token and of a slot */
} ful__slots;

void ful__slots_dispatch(const ful__slots *s, const float *dispatch, const float *x, float *z);
void ful__slots_combine(const ful__slots *s, const float *combine, const float *x, const float *o, float *y); /* y may be x */
void ful__slots_combine_backward(const ful__slots *s, const float *combine, const float *dy, const float *o, float *d_o,
                                 float *dcombine);
/* dx may be NULL (then only ddispatch), or dy. */
void ful__slots_dispatch_backward(const ful__slots *s, const float *dispatch, const float *x, const float *dy, const float *dz,
                                  float *dx, float *ddispatch);

/* Mean over slots of |z_s| / mean over tokens of |x_t|: how far mixing washes the signal out. 0 where x is 0. */
double ful__slots_norm(const ful__slots *s, const float *x, const float *z);

#endif
