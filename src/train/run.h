/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A training run under way. What decides the weights and the rows of metrics.jsonl is either a function of the configuration or
 * a field of ful__history, which is saved with every checkpoint; so a resumed run is the uninterrupted one.
 *
 *   folder.c     the run's folder: lock, cleaning, rows to keep
 *   setup.c      data sets, loaders, net, optimiser
 *   loop.c       epochs and steps; probe.c a few steps for their time
 *   rows.c       lines of metrics.jsonl and routing.jsonl
 *   health.c     collapse alarms, change of first choices
 *   checkpoint.c the run to a file and back; state.c what of it is not tensors
 *   result.c     result.json; outcome.c predictions.bin
 */
#ifndef FUL_TRAIN_RUN_H
#define FUL_TRAIN_RUN_H

#include <fulcrum/train.h>

#include "train/evaluate.h"
#include "train/json.h"
#include "train/optim.h"

enum { FUL__ALARM_EPOCHS = 3, FUL__PROBE_IMAGES = 512, FUL__PROBE_TOKENS = 4096 };

/* Sums over the epoch under way. */
typedef struct ful__sums {
    int64_t seen, correct, steps, skipped; /* skipped: damaged images, another stood in */
    double loss, aux_loss, grad_norm;      /* loss: times images; the others a step */
    double seconds, wait;
    int64_t macs, macs_routed; /* counted by the kernels in training forwards */
} ful__sums;

/* Figures of one evaluation; NaN where there was none. */
typedef struct ful__figures {
    double loss, acc, acc_capacity;
} ful__figures;

/* What one mixture layer needs from epoch to epoch. */
typedef struct ful__layer {
    char name[128];
    int signs[2];       /* epochs in a row with a sign of collapse, by split (0 train, 1 test) */
    int64_t n_probe;    /* tokens of the probe; 0 until there was one */
    int32_t *probe;     /* [FUL__PROBE_TOKENS] first choices at the last evaluation on test */
    int32_t *probe_now; /* those of the evaluation under way */
    int64_t n_probe_now;
    double change_rate; /* of the last evaluation; NaN in the first */
} ful__layer;

/* All that a checkpoint must carry besides tensors. */
typedef struct ful__history {
    int epoch;                     /* finished epochs */
    int64_t batch, step;           /* batches done in the epoch under way; steps done in all */
    ful__sums sums;                /* of the epoch under way, or, at batch 0, of the last one */
    ful__figures val, test, train; /* last; train.acc_capacity is unused */
    double train_aux_loss, best_val, best_test;
    int best_test_epoch;
    double seconds_train, seconds_eval, seconds_total; /* over all sessions */
    double infer_images_per_s;
    int64_t skipped_test;                /* damaged images left out of the last evaluation on test */
    double counted_macs, counted_routed; /* an image, in the last inference on test */
} ful__history;

typedef struct ful__run {
    ful_config config; /* resolved */
    char *yaml;        /* config as text */
    const char *folder;
    int lock; /* fd; -1 without */
    ful_train_options options;
    double started; /* ful__seconds() */

    ful_dataset *data[3]; /* by ful_split; NULL without */
    ful_dataset_info info[3];
    ful_loader *loader[3];
    int64_t batches; /* an epoch */

    ful_net *net;
    ful_tensor *tensors;
    int n_tensors;
    ful__optim *optim;
    ful__evaluator evaluator;
    uint64_t init_hash;

    ful_outcome *outcomes; /* [n_outcomes of test images] of the last epoch's evaluation, in order, without damaged ones */
    int64_t n_outcomes;

    ful__layer *layers;
    int n_layers;
    ful__history h;
    char alarm[256]; /* "" without */
    char *routing;   /* health of the last finished epoch as JSON, without the large tables; NULL without */
    double shown;    /* when progress was last reported */
    int64_t session_steps;
    double session_seconds;
} ful__run;

/* folder.c */
ful_status ful__folder_open(ful__run *run) FUL_CHECK_RESULT; /* makes it, locks it; refuses one that is in use or not empty */
void ful__folder_close(ful__run *run);
ful_status ful__folder_path(const ful__run *run, const char *name, char **out) FUL_CHECK_RESULT; /* caller: ful__free */
ful_status ful__folder_compare_config(ful__run *run) FUL_CHECK_RESULT;
ful_status ful__folder_clean(const ful__run *run) FUL_CHECK_RESULT; /* keeps rows of the h.epoch finished epochs */
ful_status ful__folder_write(const ful__run *run, const char *name, const char *text) FUL_CHECK_RESULT;
/* Which algorithms its convolutions run: read before a resumed run builds its net, so that it goes on with the same bits. */
ful_status ful__folder_read_choices(const ful__run *run) FUL_CHECK_RESULT;
ful_status ful__folder_write_choices(const ful__run *run) FUL_CHECK_RESULT;
void ful__folder_report_error(const ful__run *run, ful_status status);

/* setup.c */
ful_status ful__run_open_data(ful__run *run) FUL_CHECK_RESULT;
ful_status ful__run_build(ful__run *run) FUL_CHECK_RESULT;
void ful__run_deinit(ful__run *run);

/* loop.c */
ful_status ful__run_step(ful__run *run) FUL_CHECK_RESULT; /* the next batch of the started loader */

/* rows.c */
/* After the accuracy of training: "mixed_labels": true where mixup or CutMix blended the images it was counted on. */
void ful__rows_mixed(ful__emitter *j, const ful__run *run);
ful_status ful__rows_append_metrics(ful__run *run, bool evaluated_val, bool evaluated_test) FUL_CHECK_RESULT;
ful_status ful__rows_append_routing(ful__run *run, int split) FUL_CHECK_RESULT; /* 0 train, 1 test; from the net's statistics */
/* One object about a layer; brief: without the class x expert table. */
void ful__rows_routing(ful__emitter *j, const char *key, const ful__run *run, int layer, int split, bool brief);

/* health.c */
void ful__health_count_signs(ful__run *run, int split);                    /* once an epoch; sets run->alarm */
void ful__health_probe(void *run, const ful_batch *batch, int64_t number); /* a ful__batch_fn */
void ful__health_end_probe(ful__run *run);

/* checkpoint.c */
ful_status ful__checkpoint_save(ful__run *run, const char *name) FUL_CHECK_RESULT;
ful_status ful__checkpoint_load(ful__run *run, const char *path) FUL_CHECK_RESULT;

/* state.c */
ful_status ful__state_write(const ful__run *run, char **out) FUL_CHECK_RESULT;
ful_status ful__state_read(ful__run *run, const char *text) FUL_CHECK_RESULT; /* NULL: there is none, an error */

/* result.c */
ful_status ful__result_write(ful__run *run) FUL_CHECK_RESULT;
ful_status ful__result_read(const char *path, ful_result *out) FUL_CHECK_RESULT;

#endif
