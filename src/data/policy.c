/* SPDX-License-Identifier: Apache-2.0 */
#include "data/policy.h"

#include <math.h>

static void shear(ful__image8 *image, uint8_t *out, double x, double y)
{
    const double m[6] = {1, x, 0, y, 1, 0};
    ful__affine(image, m, out);
}

static void translate(ful__image8 *image, uint8_t *out, double x, double y)
{
    const double m[6] = {1, 0, -trunc(x), 0, 1, -trunc(y)};
    ful__affine(image, m, out);
}

void ful__distort(ful__image8 *image, uint8_t **spare, ful__distortion op, double magnitude)
{
    const float factor = (float)(1 + magnitude);
    switch (op) {
    case FUL__SHEAR_X: shear(image, *spare, magnitude, 0); break;
    case FUL__SHEAR_Y: shear(image, *spare, 0, magnitude); break;
    case FUL__TRANSLATE_X: translate(image, *spare, magnitude, 0); break;
    case FUL__TRANSLATE_Y: translate(image, *spare, 0, magnitude); break;
    case FUL__ROTATE: ful__rotate(image, magnitude, *spare); break;
    case FUL__SHARPNESS: ful__sharpness(image, factor, *spare); break;
    case FUL__BRIGHTNESS: ful__brightness(*image, factor); return;
    case FUL__COLOR: ful__saturation(*image, factor); return;
    case FUL__CONTRAST: ful__contrast(*image, factor); return;
    case FUL__POSTERIZE: ful__posterize(*image, (int)magnitude); return;
    case FUL__SOLARIZE: ful__solarize(*image, magnitude); return;
    case FUL__AUTOCONTRAST: ful__autocontrast(*image); return;
    case FUL__EQUALIZE: ful__equalize(*image); return;
    case FUL__INVERT: ful__invert(*image); return;
    case FUL__IDENTITY:
    case FUL__DISTORTIONS: return;
    }
    uint8_t *old = image->data; /* those that break out wrote into the spare */
    image->data = *spare;
    *spare = old;
}

double ful__distortion_magnitude(ful_policy policy, ful__distortion op, int level, int h, int w, bool *is_signed)
{
    const bool wide = policy == FUL_POLICY_TRIVIAL;
    const double share = level / (policy == FUL_POLICY_AUTO ? 9.0 : 30.0);
    *is_signed = true;
    switch (op) {
    case FUL__SHEAR_X:
    case FUL__SHEAR_Y: return share * (wide ? 0.99 : 0.3);
    case FUL__TRANSLATE_X: return share * (wide ? 32 : 150.0 / 331.0 * w);
    case FUL__TRANSLATE_Y: return share * (wide ? 32 : 150.0 / 331.0 * h);
    case FUL__ROTATE: return share * (wide ? 135 : 30);
    case FUL__BRIGHTNESS:
    case FUL__COLOR:
    case FUL__CONTRAST:
    case FUL__SHARPNESS: return share * (wide ? 0.99 : 0.9);
    default: break;
    }
    *is_signed = false;
    if (op == FUL__POSTERIZE) return 8 - nearbyint(share * (wide ? 6 : 4));
    return op == FUL__SOLARIZE ? 255 * (1 - share) : 0;
}

static void distort_at(ful_policy policy, ful__draw *d, ful__image8 *image, uint8_t **spare, ful__distortion op, int level)
{
    bool is_signed;
    double magnitude = ful__distortion_magnitude(policy, op, level, image->h, image->w, &is_signed);
    if (ful__draw_below(d, 2) && is_signed) magnitude = -magnitude;
    ful__distort(image, spare, op, magnitude);
}

/* AutoAugment: one of the pairs, each half with its probability (in tenths) and level. */
typedef struct half {
    uint8_t op, tenths, level;
} half;

static const half cifar10_pairs[25][2] = {
    {{FUL__INVERT, 1, 0}, {FUL__CONTRAST, 2, 6}},          {{FUL__ROTATE, 7, 2}, {FUL__TRANSLATE_X, 3, 9}},
    {{FUL__SHARPNESS, 8, 1}, {FUL__SHARPNESS, 9, 3}},      {{FUL__SHEAR_Y, 5, 8}, {FUL__TRANSLATE_Y, 7, 9}},
    {{FUL__AUTOCONTRAST, 5, 0}, {FUL__EQUALIZE, 9, 0}},    {{FUL__SHEAR_Y, 2, 7}, {FUL__POSTERIZE, 3, 7}},
    {{FUL__COLOR, 4, 3}, {FUL__BRIGHTNESS, 6, 7}},         {{FUL__SHARPNESS, 3, 9}, {FUL__BRIGHTNESS, 7, 9}},
    {{FUL__EQUALIZE, 6, 0}, {FUL__EQUALIZE, 5, 0}},        {{FUL__CONTRAST, 6, 7}, {FUL__SHARPNESS, 6, 5}},
    {{FUL__COLOR, 7, 7}, {FUL__TRANSLATE_X, 5, 8}},        {{FUL__EQUALIZE, 3, 0}, {FUL__AUTOCONTRAST, 4, 0}},
    {{FUL__TRANSLATE_Y, 4, 3}, {FUL__SHARPNESS, 2, 6}},    {{FUL__BRIGHTNESS, 9, 6}, {FUL__COLOR, 2, 8}},
    {{FUL__SOLARIZE, 5, 2}, {FUL__INVERT, 0, 0}},          {{FUL__EQUALIZE, 2, 0}, {FUL__AUTOCONTRAST, 6, 0}},
    {{FUL__EQUALIZE, 2, 0}, {FUL__EQUALIZE, 6, 0}},        {{FUL__COLOR, 9, 9}, {FUL__EQUALIZE, 6, 0}},
    {{FUL__AUTOCONTRAST, 8, 0}, {FUL__SOLARIZE, 2, 8}},    {{FUL__BRIGHTNESS, 1, 3}, {FUL__COLOR, 7, 0}},
    {{FUL__SOLARIZE, 4, 5}, {FUL__AUTOCONTRAST, 9, 0}},    {{FUL__TRANSLATE_Y, 9, 9}, {FUL__TRANSLATE_Y, 7, 9}},
    {{FUL__AUTOCONTRAST, 9, 0}, {FUL__SOLARIZE, 8, 3}},    {{FUL__EQUALIZE, 8, 0}, {FUL__INVERT, 1, 0}},
    {{FUL__TRANSLATE_Y, 7, 9}, {FUL__AUTOCONTRAST, 9, 0}},
};

void ful__policy_apply(const ful_augment *augment, ful__draw *d, ful__image8 *image, uint8_t **spare)
{
    const ful_policy policy = augment->policy;
    if (policy == FUL_POLICY_TRIVIAL) {
        const ful__distortion op = (ful__distortion)ful__draw_below(d, FUL__INVERT);
        distort_at(policy, d, image, spare, op, ful__draw_below(d, 31));
    } else if (policy == FUL_POLICY_RAND) {
        for (int i = 0; i < augment->rand_n; i++)
            distort_at(policy, d, image, spare, (ful__distortion)ful__draw_below(d, FUL__INVERT), augment->rand_m);
    } else if (policy == FUL_POLICY_AUTO) {
        const half *pair = cifar10_pairs[ful__draw_below(d, 25)];
        for (int i = 0; i < 2; i++)
            if (ful__draw_below(d, 10) < pair[i].tenths)
                distort_at(policy, d, image, spare, (ful__distortion)pair[i].op, pair[i].level);
    }
}
