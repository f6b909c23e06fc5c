/* SPDX-License-Identifier: Apache-2.0 */
/* Defaults, names and checks of the data configuration; the library's memory in its callers' hands. */
#include <math.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "data/clusters.h"
#include "data/config.h"
#include "data/limits.h"
#include <fulcrum/data.h>

static const ful_data_kind kinds[] = {
    {"clusters", "generated images: 10 classes whose signs mean different things in 4 latent clusters; nothing to download"},
    {"cifar10", "CIFAR-10: cifar-10-batches-bin, cifar-10-binary.tar.gz, or class folders"},
    {"cifar100", "CIFAR-100 with fine or coarse labels: cifar-100-binary, its .tar.gz, or class folders"},
    {"tiny-imagenet", "Tiny-ImageNet: tiny-imagenet-200 as it is published, a folder or a tar of it"},
    {"imagenet", "ImageNet-1K: train/ and val/ in folders or with a list, or the two official archives"},
    {"mnist", "MNIST: IDX files, compressed or not"},
    {"fashion-mnist", "Fashion-MNIST: IDX files"},
    {"kmnist", "Kuzushiji-MNIST: IDX files"},
    {"emnist", "EMNIST: IDX files of one of its parts (data.emnist)"},
    {"webdataset", "tar shards of key.jpg|png + key.cls|json: a folder, a file, or a pattern like a-{000..146}.tar"},
    {"folder", "any folder or .tar/.tar.gz of class/file.{jpg,jpeg,png}; train/ and test/ (or val/) below data.path"},
    {"pack", "what `fulcrum data pack` wrote: a file, or a folder with train.pack and test.pack"},
    {NULL, NULL},
};

const ful_data_kind *ful_data_kinds(void)
{
    return kinds;
}

void ful_free(void *ptr)
{
    ful__free(ptr);
}

void ful_data_config_defaults(ful_data_config *config)
{
    *config = (ful_data_config){
        .name = "clusters",
        .workers = 1,
        .timeout = 600,
        .std = {1, 1, 1},
        .gen_train = 4000,
        .gen_test = 1000,
        .gen_classes = 10,
        .gen_clusters = 4,
        .gen_noise = FUL__CLUSTERS_NOISE,
        .gen_seed = 1,
    };
    ful_augment_defaults(&config->augment);
}

void ful_augment_defaults(ful_augment *augment)
{
    memset(augment, 0, sizeof *augment); /* padding too: configurations are compared byte by byte in tests */
    augment->rrc_scale[0] = 0.08;
    augment->rrc_scale[1] = 1;
    augment->rrc_ratio[0] = 3.0 / 4;
    augment->rrc_ratio[1] = 4.0 / 3;
    augment->rand_n = 2;
    augment->rand_m = 9;
    augment->erase_scale[0] = 0.02;
    augment->erase_scale[1] = 0.33;
    augment->erase_ratio[0] = 0.3;
    augment->erase_ratio[1] = 3.3;
    augment->repeats = 1;
}

int ful__data_classes_of(const ful_data_config *c)
{
    static const int emnist[] = {47, 62, 47, 10, 26, 10};
    static const char *const ten[] = {"cifar10", "mnist", "fashion-mnist", "kmnist"};
    for (size_t i = 0; i < sizeof ten / sizeof *ten; i++) {
        if (strcmp(c->name, ten[i]) == 0) return 10;
    }
    if (strcmp(c->name, "cifar100") == 0) return c->labels == FUL_LABELS_COARSE ? 20 : 100;
    return strcmp(c->name, "emnist") == 0 ? emnist[c->emnist] : 0;
}

static ful_status check_range(const char *key, long long value, long long low, long long high)
{
    FUL_FAIL_IF(value < low || value > high, FUL_ERR_CONFIG, "cannot use data.%s=%lld: it must be in %lld..%lld", key, value,
                low, high);
    return FUL_OK;
}

static ful_status check_interval(const char *key, const double v[2], double most)
{
    FUL_FAIL_IF(!(v[0] > 0 && v[0] <= v[1] && v[1] <= most), FUL_ERR_CONFIG,
                "cannot augment with %s=[%g, %g]: both must be > 0 and <= %g, in ascending order", key, v[0], v[1], most);
    return FUL_OK;
}

ful_status ful__augment_check(const ful_augment *a)
{
    FUL_TRY(check_range("augment crop", a->crop_pad, 0, 256));
    FUL_FAIL_IF(a->rrc && a->crop_pad > 0, FUL_ERR_CONFIG,
                "cannot augment with rrc and crop%d: a random resized crop takes the place of the other", a->crop_pad);
    FUL_TRY(check_interval("rrc.scale", a->rrc_scale, 1));
    FUL_TRY(check_interval("rrc.ratio", a->rrc_ratio, 100));
    FUL_TRY(check_interval("erase.scale", a->erase_scale, 1));
    FUL_TRY(check_interval("erase.ratio", a->erase_ratio, 100));
    for (int i = 0; i < 4; i++)
        FUL_FAIL_IF(!(a->jitter[i] >= 0 && a->jitter[i] <= (i == 3 ? 0.5 : 10)), FUL_ERR_CONFIG,
                    "cannot augment with a jitter of %g: it must be in 0..10, of hue in 0..0.5", a->jitter[i]);
    FUL_FAIL_IF((unsigned)a->policy > FUL_POLICY_AUTO || (unsigned)a->rrc_filter > FUL_FILTER_BICUBIC, FUL_ERR_CONFIG,
                "cannot augment with policy %d and filter %d: there is none of that number", (int)a->policy,
                (int)a->rrc_filter);
    FUL_TRY(check_range("augment randaugment.n", a->rand_n, 0, 16));
    FUL_TRY(check_range("augment randaugment.m", a->rand_m, 0, 30));
    FUL_TRY(check_range("augment repeat.times", a->repeats, 1, 64));
    FUL_FAIL_IF(
        !(a->erase_p >= 0 && a->erase_p <= 1 && a->mixup >= 0 && a->mixup <= 1000 && a->cutmix >= 0 && a->cutmix <= 1000),
        FUL_ERR_CONFIG, "cannot augment with erase.p=%g, mixup=%g, cutmix=%g: they must be in 0..1, 0..1000, 0..1000",
        a->erase_p, a->mixup, a->cutmix);
    return FUL_OK;
}

static ful_status check_norm(const ful_data_config *c)
{
    for (int i = 0; c->normalize_given && i < (c->channels ? c->channels : 3); i++) {
        FUL_FAIL_IF(!isfinite(c->mean[i]) || !isfinite(c->std[i]) || c->std[i] <= 0, FUL_ERR_CONFIG,
                    "cannot normalise with mean=%g, std=%g: both must be finite, std > 0", (double)c->mean[i],
                    (double)c->std[i]);
    }
    return FUL_OK;
}

static ful_status check_generator(const ful_data_config *c)
{
    FUL_TRY(check_range("gen_train", c->gen_train, 1, 10000000));
    FUL_TRY(check_range("gen_test", c->gen_test, 1, 10000000));
    FUL_TRY(check_range("gen_classes", c->gen_classes, 2, FUL__CLUSTERS_CLASSES_MAX));
    FUL_TRY(check_range("gen_clusters", c->gen_clusters, 1, FUL__CLUSTERS_MAX));
    FUL_FAIL_IF(!(c->gen_noise >= 0 && c->gen_noise <= 255), FUL_ERR_CONFIG,
                "cannot use data.gen_noise=%g: it must be in 0..255", c->gen_noise);
    if (c->size != 0) FUL_TRY(check_range("size", c->size, FUL__CLUSTERS_SIZE_LEAST, 256));
    return FUL_OK;
}

ful_status ful__data_config_check(const ful_data_config *c)
{
    bool known = false;
    for (const ful_data_kind *k = kinds; k->name; k++) known |= strncmp(k->name, c->name, sizeof c->name) == 0;
    FUL_FAIL_IF(!known, FUL_ERR_CONFIG, "cannot use data.name=%.*s: it must be one that `fulcrum data list` names",
                FUL_NAME_MAX - 1, c->name);
    FUL_FAIL_IF((unsigned)c->labels > FUL_LABELS_COARSE || (unsigned)c->emnist > FUL_EMNIST_MNIST ||
                    (unsigned)c->on_error > FUL_ON_ERROR_SKIP,
                FUL_ERR_CONFIG, "cannot use data.labels=%d, emnist=%d, on_error=%d: there is none of that number",
                (int)c->labels, (int)c->emnist, (int)c->on_error);
    FUL_FAIL_IF(c->labels != FUL_LABELS_FINE && strcmp(c->name, "cifar100") != 0, FUL_ERR_CONFIG,
                "cannot use data.labels=coarse with data.name=%s: only cifar100 has coarse labels", c->name);
    FUL_FAIL_IF(!memchr(c->path, '\0', sizeof c->path) || !memchr(c->cache, '\0', sizeof c->cache), FUL_ERR_CONFIG,
                "cannot use data.path or data.cache: at most %d bytes are accepted", FUL_PATH_MAX - 1);
    if (c->size != 0) FUL_TRY(check_range("size", c->size, 4, FUL__SIZE_MAX));
    FUL_FAIL_IF(c->crop != 0 && c->size == 0, FUL_ERR_CONFIG,
                "cannot use data.crop=%d without data.size: the crop is cut from images of that size", c->crop);
    if (c->crop != 0) FUL_TRY(check_range("crop", c->crop, 4, c->size));
    FUL_TRY(ful__augment_check(&c->augment));
    FUL_TRY(check_range("decode", c->decode, FUL_DECODE_AUTO, FUL_DECODE_STREAM));
    FUL_TRY(check_range("timeout", c->timeout, 0, INT32_MAX));
    FUL_FAIL_IF(c->channels != 0 && c->channels != 1 && c->channels != 3, FUL_ERR_CONFIG,
                "cannot use data.channels=%d: it must be 0, 1 or 3", c->channels);
    FUL_TRY(check_range("train_limit", c->train_limit, 0, INT32_MAX));
    FUL_TRY(check_range("test_limit", c->test_limit, 0, INT32_MAX));
    FUL_FAIL_IF(!(c->val_fraction >= 0 && c->val_fraction <= 0.5), FUL_ERR_CONFIG,
                "cannot use data.val_fraction=%g: it must be in 0..0.5", c->val_fraction);
    FUL_TRY(check_norm(c));
    return strcmp(c->name, "clusters") == 0 ? check_generator(c) : FUL_OK;
}
