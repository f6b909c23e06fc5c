/* SPDX-License-Identifier: Apache-2.0 */
#include "data/transform.h"

#include <math.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "data/policy.h"

void ful__transform_init(ful__transform *t, uint64_t seed, const ful_augment *augment, int h, int w, int channels,
                         const float mean[3], const float std[3])
{
    *t = (ful__transform){.train = augment != NULL,
                          .h = h,
                          .w = w,
                          .channels = channels,
                          .window = ful__stream_make(seed, "augment", "loader"),
                          .rrc = ful__stream_make(seed, "augment", "rrc"),
                          .policy = ful__stream_make(seed, "augment", "policy"),
                          .jitter = ful__stream_make(seed, "augment", "jitter"),
                          .erase = ful__stream_make(seed, "augment", "erase")};
    if (augment) t->augment = *augment;
    ful__norm_table_init(&t->table, mean, std);
}

ful_status ful__transform_work_init(ful__transform_work *work, const ful__transform *t)
{
    const size_t bytes = (size_t)t->h * (size_t)t->w * (size_t)t->channels;
    for (int i = 0; i < 2; i++) FUL_TRY(ful__calloc(&work->image[i], bytes, 1, "an image to augment"));
    return FUL_OK;
}

void ful__transform_work_deinit(ful__transform_work *work)
{
    ful__free(work->image[0]);
    ful__free(work->image[1]);
    ful__resampler_deinit(&work->resampler);
    *work = (ful__transform_work){0};
}

static ful__draw draw_at(ful__stream stream, const ful__place *p)
{
    return ful__draw_at(stream, p->epoch, p->index, p->repetition);
}

/* ---- crops ---- */

static double clamp(double v, double low, double high)
{
    return v < low ? low : v > high ? high : v;
}

ful__box ful__rrc_box(const ful__transform *t, const ful__place *place, int h, int w, bool *mirror)
{
    const ful_augment *a = &t->augment;
    const double least = log(a->rrc_ratio[0]), most = log(a->rrc_ratio[1]), area = (double)h * w;
    ful__draw d = draw_at(t->rrc, place);
    *mirror = a->flip && ful__draw_below(&d, 2);
    for (int i = 0; i < 10; i++) {
        const double target = area * ful__draw_uniform(&d, a->rrc_scale[0], a->rrc_scale[1]);
        const double ratio = exp(ful__draw_uniform(&d, least, most));
        const double cw = nearbyint(sqrt(target * ratio)), ch = nearbyint(sqrt(target / ratio));
        if (!(cw >= 1 && cw <= w && ch >= 1 && ch <= h)) continue;
        const int y = ful__draw_below(&d, h - (int)ch + 1), x = ful__draw_below(&d, w - (int)cw + 1);
        return (ful__box){.y = y, .x = x, .h = ch, .w = cw};
    }
    const double ratio = (double)w / h, kept = clamp(ratio, a->rrc_ratio[0], a->rrc_ratio[1]);
    const double cw = ratio > kept ? clamp(nearbyint(h * kept), 1, w) : w;
    const double ch = ratio < kept ? clamp(nearbyint(w / kept), 1, h) : h;
    return (ful__box){.y = floor((h - ch) / 2), .x = floor((w - cw) / 2), .h = ch, .w = cw};
}

/* Where the window lies in the stored image: the centre, moved by pad-crop; anywhere inside when it is smaller (training). */
static ful__window window_of(const ful__transform *t, const ful__view *in, const ful__place *place)
{
    const ful_augment *a = &t->augment;
    const int room_y = in->h - t->h, room_x = in->w - t->w, pad = a->crop_pad;
    ful__window q = {in->h, in->w, in->channels, room_y / 2, room_x / 2, t->h, t->w, false};
    if (place->view > 0) { /* ten-crop: the centre, four corners, and all five mirrored */
        const int corner = place->view % 5 - 1;
        if (corner >= 0) q.y = corner & 2 ? room_y : 0;
        if (corner >= 0) q.x = corner & 1 ? room_x : 0;
        q.mirror = place->view >= 5;
        return q;
    }
    if (!t->train || (pad == 0 && !a->flip && room_y == 0 && room_x == 0)) return q;
    uint32_t word[4];
    ful__rng_words(t->window, (uint64_t)place->epoch, place->index | (uint64_t)place->repetition << 32, word);
    q.y = (int)((uint64_t)word[0] * (uint64_t)(2 * pad + 1 + room_y) >> 32) - pad;
    q.x = (int)((uint64_t)word[1] * (uint64_t)(2 * pad + 1 + room_x) >> 32) - pad;
    q.mirror = a->flip && word[2] >> 31;
    return q;
}

/* ---- values ---- */

static void jitter(const ful__transform *t, const ful__place *place, ful__image8 image)
{
    const double *by = t->augment.jitter;
    ful__draw d = draw_at(t->jitter, place);
    int order[4] = {0, 1, 2, 3};
    double factor[4];
    for (int i = 3; i > 0; i--) {
        const int j = ful__draw_below(&d, i + 1), other = order[j];
        order[j] = order[i];
        order[i] = other;
    }
    for (int i = 0; i < 3; i++) factor[i] = ful__draw_uniform(&d, fmax(0, 1 - by[i]), 1 + by[i]);
    factor[3] = ful__draw_uniform(&d, -by[3], by[3]);
    for (int i = 0; i < 4; i++) {
        const int op = order[i];
        if (by[op] == 0) continue;
        if (op == 0) ful__brightness(image, (float)factor[op]);
        if (op == 1) ful__contrast(image, (float)factor[op]);
        if (op == 2) ful__saturation(image, (float)factor[op]);
        if (op == 3) ful__hue(image, factor[op]);
    }
}

ful__rect ful__erase_rect(const ful__transform *t, const ful__place *place)
{
    const ful_augment *a = &t->augment;
    ful__draw d = draw_at(t->erase, place);
    if (!(ful__draw_uniform(&d, 0, 1) < a->erase_p)) return (ful__rect){0};
    for (int i = 0; i < 10; i++) {
        const double target = (double)t->h * t->w * ful__draw_uniform(&d, a->erase_scale[0], a->erase_scale[1]);
        const double ratio = exp(ful__draw_uniform(&d, log(a->erase_ratio[0]), log(a->erase_ratio[1])));
        const int h = (int)nearbyint(sqrt(target * ratio)), w = (int)nearbyint(sqrt(target / ratio));
        if (h < 1 || w < 1 || h >= t->h || w >= t->w) continue;
        const int y = ful__draw_below(&d, t->h - h + 1), x = ful__draw_below(&d, t->w - w + 1);
        return (ful__rect){y, x, h, w};
    }
    return (ful__rect){0};
}

static void erase(const ful__transform *t, const ful__place *place, float *out)
{
    const ful__rect r = ful__erase_rect(t, place);
    const size_t c = (size_t)t->channels;
    for (int y = r.y; y < r.y + r.h; y++)
        memset(out + ((size_t)y * (size_t)t->w + (size_t)r.x) * c, 0, (size_t)r.w * c * sizeof *out);
}

/* ---- all ---- */

static bool has_jitter(const ful_augment *a)
{
    return a->jitter[0] > 0 || a->jitter[1] > 0 || a->jitter[2] > 0 || a->jitter[3] > 0;
}

/* From what was cut out, in work->image[0], to the floats. */
static void finish(const ful__transform *t, ful__transform_work *work, const ful__place *place, float *out)
{
    const ful_augment *a = &t->augment;
    const ful__window whole = {t->h, t->w, t->channels, 0, 0, t->h, t->w, false};
    ful__image8 image = {work->image[0], t->h, t->w, t->channels};
    uint8_t *spare = work->image[1];
    if (a->policy != FUL_POLICY_NONE) {
        ful__draw d = draw_at(t->policy, place);
        ful__policy_apply(a, &d, &image, &spare);
    }
    if (has_jitter(a)) jitter(t, place, image);
    ful__window_floats(image.data, &whole, &t->table, out);
    if (a->erase_p > 0) erase(t, place, out);
}

ful_status ful__transform_crop(const ful__transform *t, ful__transform_work *work, const ful__view *view, const ful__box *box,
                               bool mirror, const ful__place *place, float *out)
{
    FUL_TRY(ful__resample(&work->resampler, view, box, t->augment.rrc_filter, mirror, t->h, t->w, work->image[0]));
    finish(t, work, place, out);
    return FUL_OK;
}

ful_status ful__transform_apply(const ful__transform *t, ful__transform_work *work, const ful__view *in,
                                const ful__place *place, float *out)
{
    const ful_augment *a = &t->augment;
    if (a->rrc) { /* the crop is cut out first: its neighbours do not shine in */
        bool mirror;
        const ful__box crop = ful__rrc_box(t, place, in->h, in->w, &mirror), box = {0, 0, crop.h, crop.w};
        const size_t at = (size_t)crop.y * in->stride + (size_t)crop.x * (size_t)in->channels;
        const ful__view view = {in->data + at, in->stride, (int)crop.h, (int)crop.w, in->channels};
        return ful__transform_crop(t, work, &view, &box, mirror, place, out);
    }
    const ful__window q = window_of(t, in, place);
    if (a->policy != FUL_POLICY_NONE || has_jitter(a)) {
        ful__window_bytes(in->data, &q, work->image[0]);
        finish(t, work, place, out);
    } else {
        ful__window_floats(in->data, &q, &t->table, out);
        if (a->erase_p > 0) erase(t, place, out);
    }
    return FUL_OK;
}
