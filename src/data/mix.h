/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mixup (Zhang et al. 2017) and CutMix (Yun et al. 2019) of a batch with itself moved on by one image, as torchvision has them:
 *
 *   mixup    x_i = l x_i + (1 - l) x_{i-1}                         l ~ Beta(alpha, alpha), one a batch
 *   CutMix   x_i = x_{i-1} inside a rectangle of area about 1 - l  l = the share that is left of x_i
 *   targets  l one-hot(y_i) + (1 - l) one-hot(y_{i-1})
 */
#ifndef FUL_DATA_MIX_H
#define FUL_DATA_MIX_H

#include "data/transform.h"

typedef struct ful__mix {
    double share;   /* l */
    bool cut;       /* CutMix */
    ful__rect rect; /* of CutMix */
} ful__mix;

/* What happens to batch `batch` of an epoch; where both are on, each has half of the batches. */
ful__mix ful__mix_draw(const ful_augment *augment, ful__stream stream, int64_t epoch, int64_t batch, int h, int w);

/* In place on n images of h * w * c floats. spare: room for one image. */
void ful__mix_images(const ful__mix *mix, int n, int h, int w, int c, float *x, float *spare);
/* soft [n][classes]; smoothing spreads that share of each target over all classes. */
void ful__mix_targets(const ful__mix *mix, int n, const int32_t *label, int classes, double smoothing, float *soft);

#endif
