/* SPDX-License-Identifier: Apache-2.0 */
/* The list data.augment: each item a name, or a name with its own keys: [crop4, flip, {randaugment: {n: 2, m: 9}}]. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "train/config.h"

#define AUGMENT ful_augment

/* [low, high], both > min (exclusive) and <= max */
static ful_status read_interval(const ful__key *key, const ful__spot *spot, void *base)
{
    double value[2] = {0};
    bool good = spot->node->kind == FUL__YAML_LIST && spot->node->count == 2;
    for (int i = 0; i < 2 && good; i++)
        good = ful__yaml_as_double(spot->node->items[i], &value[i]) && value[i] > key->min && value[i] <= key->max;
    if (!good || value[0] > value[1])
        return ful__spot_fail(spot, "must be a list of two ascending numbers > %g and <= %g", key->min, key->max);
    memcpy((unsigned char *)base + key->offset, value, sizeof value);
    return FUL_OK;
}

static ful_status push_number(ful__yaml *list, double value)
{
    char text[FUL__NUMBER_BYTES];
    ful__yaml *item = NULL;
    FUL_TRY(ful__yaml_new(FUL__YAML_SCALAR, ful__double_text(value, text), &item));
    return ful__yaml_push(list, item);
}

static ful_status write_interval(const ful__key *key, const void *base, ful__yaml **out)
{
    double value[2];
    memcpy(value, (const unsigned char *)base + key->offset, sizeof value);
    FUL_TRY(ful__yaml_new(FUL__YAML_LIST, NULL, out));
    ful_status status = push_number(*out, value[0]);
    if (status == FUL_OK) status = push_number(*out, value[1]);
    if (status != FUL_OK) ful__yaml_destroy(out);
    return status;
}

/* The keys of each item ---------------------------------------------------------------------------------------------------- */

#define INTERVAL(field, most)                                                                                        \
    FUL__CUSTOM(read_interval, write_interval), FUL__AT(AUGMENT, field), .min = 0, .max = (most), .above_min = true, \
                                                                         .type = "[low, high]"

static const char *const filters[] = {"bilinear", "bicubic", NULL};

static const ful__key rrc_keys[] = {
    {"scale", INTERVAL(rrc_scale, 1), .fallback = "[0.08, 1]", .help = "share of the image's area"},
    {"ratio", INTERVAL(rrc_ratio, 100), .fallback = "[3/4, 4/3]", .help = "width over height"},
    {"interpolation", FUL__WORD(AUGMENT, rrc_filter, filters), .help = "antialiased"},
    {NULL}};

static const ful__key jitter_keys[] = {
    {"brightness", FUL__REAL(AUGMENT, jitter[0], 0, 10), .help = "factor of 1-j..1+j; in random order with the others"},
    {"contrast", FUL__REAL(AUGMENT, jitter[1], 0, 10), .help = "factor of 1-j..1+j"},
    {"saturation", FUL__REAL(AUGMENT, jitter[2], 0, 10), .help = "factor of 1-j..1+j"},
    {"hue", FUL__REAL(AUGMENT, jitter[3], 0, 0.5), .help = "shift of -j..j turns"},
    {NULL}};

static const ful__key rand_keys[] = {{"n", FUL__INT(AUGMENT, rand_n, 0, 16), .help = "operations an image"},
                                     {"m", FUL__INT(AUGMENT, rand_m, 0, 30), .help = "their level"},
                                     {NULL}};

static const ful__key erase_keys[] = {
    {"p", FUL__REAL(AUGMENT, erase_p, 0, 1), .above_min = true, .help = "probability; erased pixels are the mean colour"},
    {"scale", INTERVAL(erase_scale, 1), .fallback = "[0.02, 0.33]", .help = "share of the image's area"},
    {"ratio", INTERVAL(erase_ratio, 100), .fallback = "[0.3, 3.3]", .help = "height over width"},
    {NULL}};

static const ful__key mixup_keys[] = {
    {"alpha", FUL__REAL(AUGMENT, mixup, 0, 1000), .above_min = true, .help = "of Beta(alpha, alpha); one draw a batch"},
    {NULL}};
static const ful__key cutmix_keys[] = {
    {"alpha", FUL__REAL(AUGMENT, cutmix, 0, 1000), .above_min = true, .help = "of Beta(alpha, alpha); one draw a batch"},
    {NULL}};
static const ful__key repeat_keys[] = {
    {"times", FUL__INT(AUGMENT, repeats, 2, 64), .help = "copies of an image in a batch; an epoch shows 1/times of the images"},
    {NULL}};
static const ful__key no_keys[] = {{NULL}};

/* Items -------------------------------------------------------------------------------------------------------------------- */

typedef enum kind { RRC, FLIP, JITTER, RAND, TRIVIAL, AUTO, ERASE, MIXUP, CUTMIX, REPEAT, KINDS } kind;

typedef struct item {
    const char *name;
    const ful__key *keys;
    const char *help;
} item;

static const item items[KINDS] = {
    [RRC] = {"rrc", rrc_keys, "random resized crop; of the decoded image, or of the stored one"},
    [FLIP] = {"flip", no_keys, "mirror half of the images"},
    [JITTER] = {"jitter", jitter_keys, "colour jitter"},
    [RAND] = {"randaugment", rand_keys, "RandAugment"},
    [TRIVIAL] = {"trivialaugment", no_keys, "TrivialAugment Wide"},
    [AUTO] = {"autoaugment", no_keys, "AutoAugment's CIFAR-10 policy"},
    [ERASE] = {"erase", erase_keys, "random erasing"},
    [MIXUP] = {"mixup", mixup_keys, "mixup: images and targets of neighbours in the batch are blended"},
    [CUTMIX] = {"cutmix", cutmix_keys,
                "CutMix: a rectangle comes from the neighbour; with mixup, each has half of the batches"},
    [REPEAT] = {"repeat", repeat_keys, "repeated augmentation"},
};

static bool is_on(const ful_augment *a, kind k)
{
    switch (k) {
    case RRC: return a->rrc;
    case FLIP: return a->flip;
    case JITTER: return a->jitter[0] > 0 || a->jitter[1] > 0 || a->jitter[2] > 0 || a->jitter[3] > 0;
    case RAND: return a->policy == FUL_POLICY_RAND;
    case TRIVIAL: return a->policy == FUL_POLICY_TRIVIAL;
    case AUTO: return a->policy == FUL_POLICY_AUTO;
    case ERASE: return a->erase_p > 0;
    case MIXUP: return a->mixup > 0;
    case CUTMIX: return a->cutmix > 0;
    case REPEAT: return a->repeats > 1;
    case KINDS: break;
    }
    return false;
}

/* What a name alone means; keys that are given replace it. */
static void turn_on(ful_augment *a, kind k)
{
    switch (k) {
    case RRC: a->rrc = true; return;
    case FLIP: a->flip = true; return;
    case JITTER: a->jitter[0] = a->jitter[1] = a->jitter[2] = 0.4; return;
    case RAND: a->policy = FUL_POLICY_RAND; return;
    case TRIVIAL: a->policy = FUL_POLICY_TRIVIAL; return;
    case AUTO: a->policy = FUL_POLICY_AUTO; return;
    case ERASE: a->erase_p = 0.25; return;
    case MIXUP: a->mixup = 0.2; return;
    case CUTMIX: a->cutmix = 1; return;
    case REPEAT: a->repeats = 3; return;
    case KINDS: return;
    }
}

static ful_status unknown_item(const ful__spot *spot)
{
    const char *names[KINDS + 2] = {"crop<1..64>"};
    for (int k = 0; k < KINDS; k++) names[k + 1] = items[k].name;
    return ful__spot_unknown_word(spot, names);
}

static ful_status read_crop(const ful__spot *spot, const char *text, ful_augment *a, bool *is_crop)
{
    int pad = 0, used = 0;
    *is_crop = sscanf(text, "crop%3d%n", &pad, &used) == 1 && text[used] == '\0';
    if (!*is_crop) return FUL_OK;
    if (pad < 1 || pad > 64) return ful__spot_fail(spot, "must be crop<1..64>");
    if (a->crop_pad) return ful__spot_fail(spot, "may stand there once");
    a->crop_pad = pad;
    return FUL_OK;
}

static ful_status read_item(const ful__spot *spot, ful_augment *a)
{
    const bool map = spot->node->kind == FUL__YAML_MAP && spot->node->count == 1;
    const char *name = map ? spot->node->keys[0] : spot->node->kind == FUL__YAML_SCALAR ? spot->node->text : "";
    bool is_crop = false;
    if (spot->node->kind == FUL__YAML_SCALAR) FUL_TRY(read_crop(spot, name, a, &is_crop));
    if (is_crop) return FUL_OK;
    kind k = RRC;
    while (k < KINDS && strcmp(name, items[k].name) != 0) k++;
    if (k == KINDS) return unknown_item(spot);
    if (is_on(a, k)) return ful__spot_fail(spot, "%s may stand there once", name);
    if (k >= RAND && k <= AUTO && a->policy != FUL_POLICY_NONE)
        return ful__spot_fail(spot, "only one of randaugment, trivialaugment and autoaugment may stand there");
    if (!map || k != JITTER) turn_on(a, k); /* of colours only what is named */
    if (!map) return FUL_OK;
    const ful__spot keys = ful__spot_key(spot, name);
    return ful__schema_read(items[k].keys, &keys, a);
}

ful_status ful__config_read_augment(const ful__key *key, const ful__spot *spot, void *base)
{
    ful_augment *a = (ful_augment *)(void *)((unsigned char *)base + key->offset);
    ful_augment_defaults(a);
    if (ful__yaml_is_null(spot->node)) return FUL_OK;
    if (spot->node->kind != FUL__YAML_LIST) return ful__spot_fail(spot, "must be a list, e.g. [crop4, flip]");
    for (int i = 0; i < spot->node->count; i++) {
        const ful__spot one = ful__spot_item(spot, i);
        FUL_TRY(read_item(&one, a));
        if (a->rrc && a->crop_pad > 0) return ful__spot_fail(&one, "only one of rrc and crop%d may stand there", a->crop_pad);
    }
    return FUL_OK;
}

/* Writing and explaining --------------------------------------------------------------------------------------------------- */

static ful_status push_item(ful__yaml *list, const ful_augment *a, const item *it)
{
    ful__yaml *node = NULL, *keys = NULL;
    if (!it->keys->name) {
        FUL_TRY(ful__yaml_new(FUL__YAML_SCALAR, it->name, &node));
        return ful__yaml_push(list, node);
    }
    FUL_TRY(ful__schema_write(it->keys, a, &keys));
    ful_status status = ful__yaml_new(FUL__YAML_MAP, NULL, &node);
    if (status != FUL_OK) {
        ful__yaml_destroy(&keys);
        return status;
    }
    status = ful__yaml_put(node, it->name, keys);
    if (status == FUL_OK) return ful__yaml_push(list, node);
    ful__yaml_destroy(&node);
    return status;
}

ful_status ful__config_write_augment(const ful__key *key, const void *base, ful__yaml **out)
{
    const ful_augment *a = (const ful_augment *)(const void *)((const unsigned char *)base + key->offset);
    char crop[16];
    snprintf(crop, sizeof crop, "crop%d", a->crop_pad);
    FUL_TRY(ful__yaml_new(FUL__YAML_LIST, NULL, out));
    ful_status status = FUL_OK;
    if (a->crop_pad > 0) status = push_item(*out, a, &(item){crop, no_keys, NULL});
    for (kind k = RRC; k < KINDS && status == FUL_OK; k++)
        if (is_on(a, k)) status = push_item(*out, a, &items[k]);
    if (status != FUL_OK) ful__yaml_destroy(out);
    return status;
}

void ful__config_help_augment(ful__str *s)
{
    ful__str_add(
        s, "\ndata.augment: a list of these items; their keys may be left out: [rrc, flip, {randaugment: {n: 2, m: 9}}]\n");
    ful__str_addf(s, "  %-26s  %s\n", "crop<N>", "pad by N zeros, N in 1..64, and crop at random");
    for (kind k = RRC; k < KINDS; k++) {
        ful_augment a;
        char prefix[32];
        ful_augment_defaults(&a);
        turn_on(&a, k);
        ful__str_addf(s, "  %-26s  %s\n", items[k].name, items[k].help);
        snprintf(prefix, sizeof prefix, "  %s.", items[k].name);
        ful__schema_help(s, items[k].keys, prefix, &a);
    }
}
