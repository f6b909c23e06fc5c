/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Published policies of random distortions: RandAugment (Cubuk et al. 2019), TrivialAugment Wide (Müller and Hutter 2021) and
 * AutoAugment's CIFAR-10 policy (Cubuk et al. 2018), with the operations and ranges that torchvision gives them.
 */
#ifndef FUL_DATA_POLICY_H
#define FUL_DATA_POLICY_H

#include "data/draw.h"
#include "data/pixel_ops.h"
#include <fulcrum/data.h>

typedef enum ful__distortion {
    FUL__IDENTITY,
    FUL__SHEAR_X,
    FUL__SHEAR_Y,
    FUL__TRANSLATE_X,
    FUL__TRANSLATE_Y,
    FUL__ROTATE,
    FUL__BRIGHTNESS,
    FUL__COLOR,
    FUL__CONTRAST,
    FUL__SHARPNESS,
    FUL__POSTERIZE,
    FUL__SOLARIZE,
    FUL__AUTOCONTRAST,
    FUL__EQUALIZE,
    FUL__INVERT,
    FUL__DISTORTIONS
} ful__distortion;

/* One operation of a policy. The result lies in image->data; spare has room for as much and may have changed places with it. */
void ful__distort(ful__image8 *image, uint8_t **spare, ful__distortion op, double magnitude);

/* The magnitude of an operation at a level of a policy (RandAugment, TrivialAugment 0..30; AutoAugment 0..9), before its sign,
 * on images of h x w. *is_signed: half of the time it is taken negative. */
double ful__distortion_magnitude(ful_policy policy, ful__distortion op, int level, int h, int w, bool *is_signed);

void ful__policy_apply(const ful_augment *augment, ful__draw *draw, ful__image8 *image, uint8_t **spare);

#endif
