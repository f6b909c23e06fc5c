/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a loader does to an image between the set and the batch. In this order, each with draws of its own:
 *
 *   random resized crop, or a window of the stored image (pad-crop, random or centre crop), and flip
 *   -> policy (RandAugment, TrivialAugment, AutoAugment) -> colour jitter -> normalisation -> random erasing
 *
 * mixup and CutMix follow on the batch (mix.h).
 */
#ifndef FUL_DATA_TRANSFORM_H
#define FUL_DATA_TRANSFORM_H

#include "data/augment.h"
#include "data/draw.h"
#include "data/pixel_ops.h"
#include "data/resample.h"
#include <fulcrum/data.h>

typedef struct ful__transform {
    ful_augment augment; /* all off unless training */
    bool train;
    int h, w, channels; /* of what comes out */
    ful__stream window, rrc, policy, jitter, erase;
    ful__norm_table table;
} ful__transform;

/* augment: NULL for evaluation. Streams are keyed by seed. */
void ful__transform_init(ful__transform *t, uint64_t seed, const ful_augment *augment, int h, int w, int channels,
                         const float mean[3], const float std[3]);

/* What one thread needs. All but the resampler's memory, which depends on the largest image, is allocated by init. */
typedef struct ful__transform_work {
    uint8_t *image[2]; /* h * w * channels each */
    ful__resampler resampler;
} ful__transform_work;
ful_status ful__transform_work_init(ful__transform_work *work, const ful__transform *t) FUL_CHECK_RESULT;
void ful__transform_work_deinit(ful__transform_work *work);

/* Which image of which epoch, and which of its repetitions; view: 0, or 0..9 of ten-crop. */
typedef struct ful__place {
    int64_t epoch;
    uint32_t index;
    int repetition, view;
} ful__place;

/* An 8-bit image of any size, its rows without gaps, to h * w * channels floats. */
ful_status ful__transform_apply(const ful__transform *t, ful__transform_work *work, const ful__view *in,
                                const ful__place *place, float *out) FUL_CHECK_RESULT;

/* The same for an image of which only the random resized crop was decoded: `box` of the view. */
ful_status ful__transform_crop(const ful__transform *t, ful__transform_work *work, const ful__view *view, const ful__box *box,
                               bool mirror, const ful__place *place, float *out) FUL_CHECK_RESULT;

/*
 * The crop of a random resized crop: 10 tries for an area of scale[0]..scale[1] of the image and a width over height of
 * ratio[0]..ratio[1] (log-uniform) that fit; else the largest centred crop of a permitted ratio. *mirror: the flip, with 1/2.
 */
ful__box ful__rrc_box(const ful__transform *t, const ful__place *place, int h, int w, bool *mirror);

/* The rectangle that random erasing takes out, h = 0 when none. */
typedef struct ful__rect {
    int y, x, h, w;
} ful__rect;
ful__rect ful__erase_rect(const ful__transform *t, const ful__place *place);

#endif
