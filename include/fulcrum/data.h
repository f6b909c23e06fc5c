/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data sets of labelled images, and the loader that hands batches to a training step.
 *
 * A data set is opened once, decoded to 8-bit images of one size into a cache file that is mapped, and read by index from
 * then on. A loader shuffles, augments and normalises on worker threads ahead of the step. All randomness is addressed by
 * (seed, epoch, index), so a batch does not depend on the number of workers or on what was read before it.
 */
#ifndef FULCRUM_DATA_H
#define FULCRUM_DATA_H

#include <fulcrum/status.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { FUL_NAME_MAX = 64, FUL_PATH_MAX = 1024 };

typedef enum ful_split { FUL_SPLIT_TRAIN = 0, FUL_SPLIT_VAL = 1, FUL_SPLIT_TEST = 2 } ful_split;

/* How training images are changed; each kind draws from its own stream by (seed, epoch, image). Off by default. */
typedef enum ful_filter { FUL_FILTER_BILINEAR, FUL_FILTER_BICUBIC } ful_filter; /* antialiased */
typedef enum ful_policy { FUL_POLICY_NONE, FUL_POLICY_RAND, FUL_POLICY_TRIVIAL, FUL_POLICY_AUTO } ful_policy;
typedef struct ful_augment {
    int crop_pad;          /* crop<N>: zero-pad by N and take a random crop; 0 = off */
    bool flip;             /* mirror with probability 1/2 */
    bool rrc;              /* random resized crop, instead of crop<N> */
    ful_filter rrc_filter; /* (default bilinear) */
    double rrc_scale[2];   /* share of the area (default 0.08, 1) */
    double rrc_ratio[2];   /* width over height (default 3/4, 4/3) */
    double jitter[4];      /* brightness, contrast, saturation: factor 1-j..1+j; hue: shift -j..j turns, at most 1/2; 0 = off */
    ful_policy policy;     /* RandAugment, TrivialAugment Wide, AutoAugment (CIFAR-10) */
    int rand_n, rand_m;    /* RandAugment: operations an image, level 0..30 (default 2, 9) */
    double erase_p;        /* random erasing: probability; 0 = off. Erased pixels are 0 after normalisation */
    double erase_scale[2]; /* share of the area (default 0.02, 0.33) */
    double erase_ratio[2]; /* (default 0.3, 3.3) */
    double mixup, cutmix;  /* alpha of Beta(alpha, alpha); 0 = off; both on: half of the batches each */
    int repeats;           /* augmented copies of an image in a batch; an epoch shows 1/repeats of the images (default 1) */
} ful_augment;
/* Evaluation on ten crops (centre and corners, as they are and mirrored), which logits or probabilities are averaged over. */
typedef enum ful_ten_crop { FUL_TEN_CROP_NONE, FUL_TEN_CROP_LOGITS, FUL_TEN_CROP_PROBABILITIES } ful_ten_crop;
/* Where images that lie in files are decoded: once, into a cache, or each time a batch needs them. auto: cache up to 4 GiB. */
typedef enum ful_decode { FUL_DECODE_AUTO, FUL_DECODE_CACHE, FUL_DECODE_STREAM } ful_decode;
FUL_API void ful_augment_defaults(ful_augment *augment);

typedef enum ful_labels { FUL_LABELS_FINE, FUL_LABELS_COARSE } ful_labels; /* of CIFAR-100 */
typedef enum ful_emnist {
    FUL_EMNIST_BALANCED,
    FUL_EMNIST_BYCLASS,
    FUL_EMNIST_BYMERGE,
    FUL_EMNIST_DIGITS,
    FUL_EMNIST_LETTERS,
    FUL_EMNIST_MNIST
} ful_emnist;
typedef enum ful_on_error { FUL_ON_ERROR_STOP, FUL_ON_ERROR_SKIP } ful_on_error;

/* The `data:` block of a configuration. */
typedef struct ful_data_config {
    char name[FUL_NAME_MAX];  /* one of ful_data_kinds: what lies at `path` (default "clusters") */
    char path[FUL_PATH_MAX];  /* root; "" = $FULCRUM_DATA/<name> (FULCRUM_DATA default ../shared/data). Layouts are recognised,
                                 see ful_dataset_open */
    char cache[FUL_PATH_MAX]; /* folder of decoded caches; "" = $XDG_CACHE_HOME/fulcrum or ~/.cache/fulcrum */
    ful_labels labels;        /* cifar100: 100 fine or 20 coarse classes (default fine) */
    ful_emnist emnist;        /* emnist: which of its parts (default balanced) */
    ful_on_error on_error; /* a damaged image: stop and name it, or leave it out, count and report it; streaming, another takes
                              its place in training (default stop) */
    int size;              /* height = width images are brought to; 0 = the set's own (default 0) */
    int channels;          /* 1 or 3; 0 = the set's own (default 0) */
    int train_limit, test_limit; /* use only the first n of each class-balanced, seed-free order; 0 = all (default 0) */
    double val_fraction;   /* share of the training set split off for validation, by seed, class-balanced; 0..0.5 (default 0) */
    uint64_t val_seed;     /* the seed of that split; the same in all arms (default 0) */
    int crop;              /* height = width of what the net sees, cut from the images of `size`; 0 = all of it (default 0) */
    ful_augment augment;   /* of training images (default: nothing) */
    ful_ten_crop ten_crop; /* of evaluation; needs crop (default none) */
    ful_decode decode;     /* (default auto) */
    int timeout;           /* seconds after which a batch that is not ready is an error; 0 = none (default 600) */
    bool normalize_given;  /* mean/std below were given; otherwise computed from the training split */
    float mean[3], std[3]; /* per channel, of pixel/255 */
    int workers;           /* loader threads, 0 = decode in the calling thread (default 1) */
    /* the generated set "clusters" */
    int gen_train, gen_test;       /* images (default 4000, 1000) */
    int gen_classes, gen_clusters; /* classes, latent clusters per class (default 10, 4) */
    double gen_noise;              /* pixel noise sd, of 255 (default chosen so that a linear model stays under 60 %) */
    uint64_t gen_seed;             /* (default 1) */
} ful_data_config;

FUL_API void ful_data_config_defaults(ful_data_config *config);

typedef struct ful_dataset ful_dataset; /* immutable after open; may be shared by threads and loaders */

/*
 * Opens one split. Recognised layouts under path (doc/data.md): train and test (or val), each a folder or .tar/.tar.gz of
 * class/file.{jpg,jpeg,png}; ImageNet and Tiny-ImageNet in their own layouts, unpacked or in their archives; WebDataset shards;
 * the CIFAR-10/100 binary batches; IDX files (.gz or not); a pack written by ful_dataset_pack. Classes are numbered in byte
 * order of their names, or as their set numbers them. A set is decoded once into config->cache. Errors: FUL_ERR_DATA /
 * FUL_ERR_FORMAT naming the file and the rule it breaks; FUL_ERR_CONFIG.
 */
FUL_API ful_status ful_dataset_open(const ful_data_config *config, ful_split split, ful_dataset **out) FUL_CHECK_RESULT;
FUL_API void ful_dataset_destroy(ful_dataset **dataset);

typedef struct ful_dataset_info {
    int64_t count; /* images in this split */
    int height, width, channels;
    int classes;
    float mean[3], std[3]; /* of the training split (or as given), of pixel/255 */
    int64_t left_out; /* damaged images that are not among them, once and for all (data.on_error: skip, and a decoded set) */
    uint64_t fingerprint; /* XXH3 of pixels (encoded: of names) and labels of the split: the same data gives the same number */
} ful_dataset_info;
FUL_API void ful_dataset_info_get(const ful_dataset *dataset, ful_dataset_info *out);
FUL_API const char *ful_dataset_class_name(const ful_dataset *dataset, int label);   /* borrowed; "" if unknown */
FUL_API const uint8_t *ful_dataset_image(const ful_dataset *dataset, int64_t index); /* HWC bytes, borrowed; NULL: encoded */
FUL_API bool ful_dataset_is_encoded(const ful_dataset *dataset); /* its images are decoded as batches need them */
FUL_API int ful_dataset_label(const ful_dataset *dataset, int64_t index);
/* Latent cluster of a generated image (0..gen_clusters-1), -1 where there is none. */
FUL_API int ful_dataset_cluster(const ful_dataset *dataset, int64_t index);

/* Writes the split as one mapped, checksummed file (doc/format-pack.md). Atomic; the folder is created. */
FUL_API ful_status ful_dataset_pack(const ful_dataset *dataset, const char *path) FUL_CHECK_RESULT;

/*
 * Writes a split into shards, folder/<split>-<number>.shard (doc/format-shard.md), which data.name "pack" reads again: encoded
 * images as they lie, with labels, names, sizes and checksums, or decoded pixels (PGM, PPM) where options or config->size ask
 * for them or the set comes decoded. The folder is created. Shards that are there and whole are kept: a pack that was killed
 * goes on. config->on_error says what becomes of an image whose header cannot be read. *found = false, and FUL_OK: no such
 * split.
 */
typedef struct ful_pack_options {
    uint64_t shard_bytes; /* a shard ends with the image that reaches it (default 2^30) */
    bool decode;          /* (default false) */
} ful_pack_options;
typedef struct ful_pack_report {
    int64_t images, skipped;
    int shards, kept; /* kept: of the shards, those that were there */
    uint64_t bytes;
} ful_pack_report;
FUL_API void ful_pack_options_defaults(ful_pack_options *options);
FUL_API ful_status ful_data_pack(const ful_data_config *config, ful_split split, const char *folder,
                                 const ful_pack_options *options, bool *found, ful_pack_report *report) FUL_CHECK_RESULT;
/* Whether a set's images are encoded (JPEG, PNG, …) in files of their own, not decoded already. *found = false: no such split.
 */
FUL_API ful_status ful_data_is_encoded(const ful_data_config *config, ful_split split, bool *found,
                                       bool *encoded) FUL_CHECK_RESULT;

/*
 * Downloads a public set (cifar10, cifar100, tiny-imagenet, mnist, fashion-mnist, kmnist, emnist) into a folder, by default
 * where data.name looks for it, so that it is found there. What was begun goes on where it ended; every file is verified before
 * it gets its name; what is there and right is kept, what is there and wrong is an error. FUL_ERR_UNSUPPORTED without libcurl.
 */
typedef void (*ful_fetch_progress)(void *cookie, const char *file, uint64_t done,
                                   uint64_t total); /* bytes; total 0: not known */
typedef struct ful_fetch_options {
    const char *from;            /* another base address of the same files; NULL: where they are published */
    ful_fetch_progress progress; /* may be NULL */
    void *cookie;
    const volatile int *stop; /* non-zero: FUL_ERR_INTERRUPTED; may be NULL */
} ful_fetch_options;
typedef struct ful_fetch_report {
    int files, kept;   /* kept: of the files, those that were there */
    int unverified;    /* of the files, those whose checksum nobody gives */
    uint64_t bytes;    /* downloaded */
    const char *after; /* what is left to do, NULL: nothing; static storage */
} ful_fetch_report;
/* options: NULL for none; folder: NULL for the usual place; *folder_out: the caller frees it with ful_free, may be NULL. */
FUL_API ful_status ful_data_fetch(const char *name, const char *folder, const ful_fetch_options *options, char **folder_out,
                                  ful_fetch_report *report) FUL_CHECK_RESULT;

/* What lies at a path, without training on it: one line of text per finding, e.g. unreadable files. Caller frees with ful_free.
 * A split without an image that can be read is FUL_ERR_DATA, and the text is given nevertheless; after any other failure it is
 * NULL. */
FUL_API ful_status ful_data_describe(const ful_data_config *config, bool json, char **text_out) FUL_CHECK_RESULT;
/* The names `data.name` accepts, NULL-terminated, with a line about each. Static storage. */
typedef struct ful_data_kind {
    const char *name, *about;
} ful_data_kind;
FUL_API const ful_data_kind *ful_data_kinds(void);

/* Decodes one image file or memory to 8-bit HWC of the given size (resize shorter side, centre crop; box/bilinear), 1 or 3
 * channels. */
FUL_API ful_status ful_image_load(const char *path, int size, int channels, uint8_t *hwc_out) FUL_CHECK_RESULT;
FUL_API ful_status ful_image_decode(const char *name, const void *bytes, uint64_t n_bytes, int size, int channels,
                                    uint8_t *hwc_out) FUL_CHECK_RESULT;

/* Memory handed out by the library ("caller frees with ful_free"). NULL is fine. */
FUL_API void ful_free(void *ptr);

/* Changes the 8-bit pixels of the image at `index` (HWC, as the data set stores it) before anything else is done to them.
 * Called on worker threads, in any order; worker: 0..max(workers, 1)-1, the same number never twice at once. */
typedef void (*ful_pixels_fn)(void *ctx, int worker, uint32_t index, const uint8_t *in, uint8_t *out);

typedef struct ful_loader ful_loader;
typedef struct ful_loader_config {
    int batch;           /* images a batch, >= 1 (default 128) */
    bool train;          /* shuffle and augment, drop the last partial batch (default false: in order, keep it) */
    uint64_t seed;       /* run seed: keys shuffling and augmentation */
    int crop;            /* height = width of what is handed out: at random or, unless train, from the centre; 0 = as stored */
    int views;           /* 10: ten-crop, centre and corners, as they are and mirrored; not when train (default 1) */
    ful_augment augment; /* only when train */
    double label_smoothing; /* of the soft targets, where augment mixes images */
    ful_on_error on_error;  /* of images that are decoded here (default: stop) */
    int timeout;            /* seconds next() waits for its workers; 0 = for ever (default 600) */
    int workers;            /* threads decoding ahead; 0 = none (default 1) */
    float mean[3], std[3];  /* x = (pixel/255 - mean)/std */
    ful_pixels_fn change;   /* e.g. a corruption (default NULL) */
    void *change_ctx;       /* borrowed until the loader is destroyed */
} ful_loader_config;
FUL_API void ful_loader_config_defaults(ful_loader_config *config);
/*
 * The data set is borrowed until the loader is destroyed. All memory is allocated here, none by next; where images are decoded
 * for a batch, buffers grow to the largest. A worker that hangs (next: FUL_ERR_IO after `timeout`) is left behind by destroy,
 * with the memory it may still touch.
 */
FUL_API ful_status ful_loader_create(const ful_dataset *dataset, const ful_loader_config *config,
                                     ful_loader **out) FUL_CHECK_RESULT;
FUL_API void ful_loader_destroy(ful_loader **loader);
FUL_API int64_t ful_loader_batches(const ful_loader *loader); /* batches an epoch */

typedef struct ful_batch {
    int n;                 /* images; 0 at the end of the epoch */
    int views;             /* of each image, which follow each other in x */
    const float *x;        /* n*views*h*w*c, NHWC, normalised; borrowed until the next call */
    const int32_t *label;  /* n */
    const float *soft;     /* n*classes targets where images were mixed, else NULL; label: of the image that was mixed into */
    const uint32_t *index; /* n: position in the data set */
    int skipped;           /* damaged images that were passed over for this batch */
} ful_batch;
/* Starts epoch `epoch` at batch `first` (0 at the start; a resumed run passes where it was). */
FUL_API ful_status ful_loader_start(ful_loader *loader, int64_t epoch, int64_t first) FUL_CHECK_RESULT;
FUL_API ful_status ful_loader_next(ful_loader *loader, ful_batch *out) FUL_CHECK_RESULT;
/* Damaged images passed over in the batches handed out since start, also in those that came out empty and were left out. */
FUL_API int64_t ful_loader_skipped(const ful_loader *loader);
FUL_API double ful_loader_wait_seconds(const ful_loader *loader); /* time next() has waited since start */

#ifdef __cplusplus
}
#endif
#endif
