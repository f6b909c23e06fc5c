/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Training a net from a configuration into a run folder, and using what came out. The folder's files are described in
 * doc/format-run.md; the checkpoint is safetensors (doc/format-checkpoint.md).
 */
#ifndef FULCRUM_TRAIN_H
#define FULCRUM_TRAIN_H

#include <fulcrum/data.h>
#include <fulcrum/net.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ful_optimizer { FUL_OPT_SGD = 0, FUL_OPT_ADAMW } ful_optimizer;
typedef enum ful_schedule { FUL_SCHEDULE_COSINE = 0, FUL_SCHEDULE_STEP, FUL_SCHEDULE_LINEAR, FUL_SCHEDULE_CONST } ful_schedule;

/* The `train:` block. */
typedef struct ful_train_config {
    int epochs, batch;        /* (default 30, 128) */
    ful_optimizer optimizer;  /* (default sgd) */
    double lr;                /* peak (default 0.1 for sgd, 1e-3 for adamw) */
    double momentum;          /* sgd (default 0.9) */
    bool nesterov;            /* (default true) */
    double beta1, beta2, eps; /* adamw (default 0.9, 0.999, 1e-8) */
    double weight_decay;      /* not on norms and biases; sgd: added to the gradient, adamw: decoupled (default 5e-4 | 0.05) */
    ful_schedule schedule;    /* (default cosine) */
    double lr_final;          /* share of lr at the end of cosine and linear (default 0) */
    double warmup;            /* epochs of linear warm-up, may be fractional (default 0) */
    int step_epochs;
    double step_gamma;            /* step: lr *= gamma every so many epochs (default 10, 0.1) */
    double label_smoothing;       /* 0..1 (default 0) */
    double clip_norm;             /* global gradient norm limit; 0 = off (default 0) */
    double ema;                   /* decay of an averaged copy of the weights, evaluated instead of them; 0 = off (default 0) */
    char init_from[FUL_PATH_MAX]; /* run or checkpoint whose weights a fresh run starts from; experts may start as copies of its
                                     dense blocks (sparse upcycling); "" = drawn (default "") */
    int init_split;     /* into how many slices of its hidden units a dense block is cut, each an expert's start (granular
                           splitting); 1 = experts are copies of the whole (default 1) */
    bool init_grouped;  /* with slices: drawn routers start with equal rows for those of one copy, so that they are chosen
                           together and the net starts as the dense one (default true) */
    uint64_t seed;      /* (default 1) */
    int eval_every;     /* epochs between evaluations on val (or nothing); the last epoch always evaluates test (default 1) */
    bool eval_test;     /* also evaluate test every eval_every epochs, for curves only; never used to choose (default true) */
    bool collapse_stop; /* a collapse alarm (3 epochs in a row) stops the run instead of warning (default false) */
    int threads;        /* 0 = as set for the process (default 0) */
} ful_train_config;

/* A whole configuration. */
typedef struct ful_config {
    ful_data_config data;
    ful_net_config net; /* with the `moe:` list in net.moe */
    ful_train_config train;
} ful_config;

FUL_API void ful_config_defaults(ful_config *config);
/*
 * Reads YAML (path NULL: defaults only) and then applies n_set assignments "train.lr=0.05". Unknown keys, wrong types and
 * values out of range are FUL_ERR_CONFIG: "cannot use <file>, line <l>: train.lr = -1: must be > 0". A top-level `dense:
 * active|single|param` turns every mixture site into its dense baseline (card I3), a top-level `router: NAME` replaces every
 * site's router.
 */
FUL_API ful_status ful_config_load(const char *path, const char *const *set, int n_set, ful_config *out) FUL_CHECK_RESULT;
FUL_API ful_status ful_config_parse(const char *name, const char *yaml, ful_config *out) FUL_CHECK_RESULT;
/* The complete configuration as YAML: loading it gives the same struct. Caller frees with ful_free. */
FUL_API ful_status ful_config_write(const ful_config *config, char **yaml_out) FUL_CHECK_RESULT;
/* Every key with type, default, range and a line of help, for `fulcrum train --help-config`. Caller frees with ful_free. */
FUL_API ful_status ful_config_help(char **text_out) FUL_CHECK_RESULT;
/* Fills net sizes and classes from the data set (opens it). */
FUL_API ful_status ful_config_resolve(ful_config *config) FUL_CHECK_RESULT;

/* Progress of a run, handed to the callback after steps (at most every 0.2 s) and at the end of each epoch. */
typedef struct ful_progress {
    int epoch, epochs;                   /* 1-based */
    int64_t step, steps;                 /* in this epoch */
    double loss, aux_loss, accuracy, lr; /* running means over the epoch */
    double images_per_second, seconds_left;
    double drop_rate, balance; /* worst layer; balance = effective experts / experts (1 = even). NaN without MoE */
    bool epoch_end;
    double val_accuracy, test_accuracy; /* at epoch_end, NaN when not evaluated */
    const char *alarm;                  /* NULL or e.g. "stage3.moe: 3 of 8 experts dead for 3 epochs" */
} ful_progress;
typedef void (*ful_progress_fn)(void *cookie, const ful_progress *progress);

typedef struct ful_train_options {
    bool resume; /* go on from last.safetensors when the folder has one (default false: a non-empty run folder is refused) */
    ful_progress_fn progress; /* may be NULL */
    void *cookie;             /* remains the caller's */
    const volatile int *stop; /* may be NULL; when it becomes non-zero: checkpoint, FUL_ERR_INTERRUPTED */
    const char *arm;          /* name written to result.json (default "") */
} ful_train_options;

typedef struct ful_result {
    double test_accuracy, test_loss,
        test_accuracy_capacity; /* last epoch; dropless and at training capacity (NaN without MoE) */
    double val_accuracy;        /* NaN without a validation split */
    double train_loss, train_accuracy;
    double seconds, images_per_second;
    int epochs;
} ful_result;

/* Trains into `folder` (created). result_out may be NULL. A finished run (result.json) with resume returns at once. */
FUL_API ful_status ful_train(const ful_config *config, const char *folder, const ful_train_options *options,
                             ful_result *result_out) FUL_CHECK_RESULT;

/* What a few steps of a run tell about all of it. */
typedef struct ful_probe {
    int threads, batch;
    int64_t steps;        /* of the whole run */
    double setup_seconds; /* until the first measured step: opening data, planning the net, warming up */
    double step_seconds;  /* mean, waiting for images included */
} ful_probe;
/* Trains as ful_train would, for about so many seconds, keeps nothing and writes nothing. stop may be NULL. */
FUL_API ful_status ful_train_probe(const ful_config *config, double seconds, const volatile int *stop,
                                   ful_probe *out) FUL_CHECK_RESULT;

/*
 * Weights of torchvision and timm (doc/nets.md says of which nets), or a checkpoint of ours, from a safetensors file into a net
 * built of `arch`. Every tensor must be there in its shape and none be left over, else FUL_ERR_FORMAT names them; the net is
 * then half written. Mixtures that the file does not have stay as they were drawn, and so does, with other_classes, a
 * classifier of another number of classes.
 */
typedef struct ful_weights_info {
    char names[32];   /* whose names the file has: "timm" */
    int read, fresh;  /* tensors taken, and left as drawn */
    int file_classes; /* of a classifier that was left out; 0: none was */
} ful_weights_info;
FUL_API ful_status ful_net_read_weights(ful_net *net, const char *arch, const char *path, bool other_classes,
                                        ful_weights_info *info_out /* may be NULL */) FUL_CHECK_RESULT;
/*
 * Makes a checkpoint of ours of such a file: net, sizes (224 px unless config says otherwise) and normalisation are the
 * config's, the classes the file's. class_names: a text file of one name a line, or NULL.
 */
FUL_API ful_status ful_weights_import(const char *path, const ful_config *config, const char *class_names,
                                      const char *checkpoint, ful_weights_info *info_out) FUL_CHECK_RESULT;

/* A trained model: opens a run folder or a checkpoint file (which carries its config). batch_max: images a pass; 0 = the
 * training batch, which evaluating at the training capacity needs. */
typedef struct ful_model ful_model;
FUL_API ful_status ful_model_open(const char *run_or_checkpoint, int batch_max, ful_model **out) FUL_CHECK_RESULT;
FUL_API void ful_model_destroy(ful_model **model);
FUL_API ful_net *ful_model_net(ful_model *model);                            /* borrowed */
FUL_API const ful_config *ful_model_config(const ful_model *model);          /* borrowed */
FUL_API const char *ful_model_class_name(const ful_model *model, int label); /* from the checkpoint; borrowed */
/* 8-bit HWC image -> normalised input as in training. */
FUL_API ful_status ful_model_predict_image(ful_model *model, const char *path,
                                           float *prob_out /* [classes] */) FUL_CHECK_RESULT;

typedef struct ful_eval {
    int64_t count, correct, correct_top5;
    int64_t skipped; /* damaged images, not in count (data.on_error: skip) */
    double loss, seconds;
    int classes;
    int64_t *confusion; /* [classes][classes], row true, column predicted; owned */
} ful_eval;
FUL_API ful_status ful_model_eval(ful_model *model, const ful_data_config *data, ful_split split, bool training_capacity,
                                  ful_eval *out) FUL_CHECK_RESULT;
FUL_API void ful_eval_deinit(ful_eval *eval);

/* Opens a split (data NULL: of the set it was trained on) after checking that its sizes and classes are the model's. The caller
 * destroys it. */
FUL_API ful_status ful_model_data(const ful_model *model, const ful_data_config *data, ful_split split,
                                  ful_dataset **out) FUL_CHECK_RESULT;
/* One pass of a model over such a data set, in its order. */
typedef struct ful_pass {
    int batch; /* images a batch, 1..batch_max of the model; 0 = batch_max, or the training batch at training capacity */
    bool training_capacity;   /* (default false: dropless unless configured otherwise) */
    int workers;              /* loader threads (default 1) */
    ful_ten_crop ten_crop;    /* (default none) */
    ful_pixels_fn change;     /* as in ful_loader_config */
    void *change_ctx;         /* remains the caller's */
    const volatile int *stop; /* may be NULL; when it becomes non-zero: FUL_ERR_INTERRUPTED */
} ful_pass;
FUL_API void ful_pass_defaults(ful_pass *pass);
/* Gets each batch and its logits [n][classes], both borrowed until it returns. */
typedef void (*ful_pass_fn)(void *cookie, const ful_batch *batch, const float *logits);
/* out: sums of the pass; its confusion is NULL. each may be NULL. */
FUL_API ful_status ful_model_pass(ful_model *model, const ful_dataset *set, const ful_pass *pass, ful_pass_fn each,
                                  void *cookie, ful_eval *out) FUL_CHECK_RESULT;

/* What judging needs of one image's output (fulcrum/judge.h), 24 bytes. p = softmax of its logits. */
typedef struct ful_outcome {
    int32_t label, predicted; /* of equal logits the lower class is predicted */
    int32_t rank;             /* classes ahead of the label; 0: right */
    float confidence;         /* p of the predicted class */
    float nll;                /* -ln p of the label */
    float square;             /* sum over classes of p^2 */
} ful_outcome;
/* logits [n][classes] are divided by the temperature > 0 first. */
FUL_API void ful_outcomes_of(const float *logits, const int32_t *label, int64_t n, int classes, double temperature,
                             ful_outcome *out);
/* A file of outcomes: predictions.bin (doc/format-run.md). fingerprint: of the data split. Atomic. */
FUL_API ful_status ful_outcomes_write(const char *path, const ful_outcome *outcomes, int64_t n, int classes,
                                      uint64_t fingerprint) FUL_CHECK_RESULT;
/* Caller frees *out with ful_free. A damaged file is FUL_ERR_FORMAT. */
FUL_API ful_status ful_outcomes_read(const char *path, ful_outcome **out, int64_t *n_out, int *classes_out,
                                     uint64_t *fingerprint_out) FUL_CHECK_RESULT;

/* Text or JSON about a checkpoint: tensors, experts, routing health. Caller frees with ful_free. */
FUL_API ful_status ful_model_inspect(const char *run_or_checkpoint, bool json, char **text_out) FUL_CHECK_RESULT;
/* `fulcrum rho`: table of layers and ρ in its variants; time: also measure a training step. Caller frees with ful_free. */
FUL_API ful_status ful_config_rho(const ful_config *config, bool json, bool time, char **text_out) FUL_CHECK_RESULT;

#ifdef __cplusplus
}
#endif
#endif
