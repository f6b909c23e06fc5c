/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Judging a classifier: what its outputs on labelled images say. doc/judging.md tells how to read each figure.
 *
 *     pixels ──corruption, view──► model ──► logits ──► outcomes (a few numbers an image) ──► figures, tests, pictures
 *
 * Everything from outcomes on is a pure function of them; a run keeps the outcomes of its last evaluation (predictions.bin), so
 * that reports and comparisons need neither the images nor the net again.
 */
#ifndef FULCRUM_JUDGE_H
#define FULCRUM_JUDGE_H

#include <fulcrum/corrupt.h>
#include <fulcrum/stats.h>
#include <fulcrum/train.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- figures ---- */

/* Images whose confidence falls between two edges. */
typedef struct ful_bin {
    double low, high; /* (low, high]; of equal-mass bins: the least and the largest confidence in it */
    int64_t count, correct;
    double confidence, accuracy; /* means; NaN in an empty bin */
} ful_bin;

/* One class against all others. A figure whose denominator is 0 is NaN. */
typedef struct ful_class_figures {
    int64_t support, predicted, correct; /* images of it, images taken for it, both */
    double accuracy;                     /* (true positives + true negatives) / images */
    double precision, recall, f1;        /* correct/predicted, correct/support, 2 correct/(support + predicted) */
    double recall_low, recall_high;      /* Wilson */
} ful_class_figures;

typedef struct ful_judge_options {
    int bins;     /* of calibration, 1..FUL_JUDGE_BINS_MAX (default 15) */
    double level; /* of all intervals (default 0.95) */
} ful_judge_options;
enum { FUL_JUDGE_BINS_MAX = 1000, FUL_JUDGE_TOP = 5 };
FUL_API void ful_judge_options_defaults(ful_judge_options *options);

typedef struct ful_judgement {
    int64_t count, correct, correct_top5;
    int classes, bins;
    double level;
    double accuracy, accuracy_low, accuracy_high; /* Wilson */
    double top5, top5_low, top5_high;
    double macro_precision, macro_recall, macro_f1; /* means over the classes that have the figure */
    double confidence;                              /* mean probability of the predicted class */
    double nll, brier;                              /* means: -ln p(label), nats; sum over classes of (p - y)^2, 0..2 */
    double ece_width, ece_mass;                     /* sum over bins of share * |accuracy - confidence| */
    double mce;                                     /* largest |accuracy - confidence| of an equal-width bin with images */
    int64_t *confusion;                             /* [classes][classes], row true, column predicted */
    ful_class_figures *per_class;                   /* [classes] */
    ful_bin *width, *mass;                          /* [bins]: equal steps of confidence; equal numbers of images */
} ful_judgement;

/*
 * The figures of n >= 1 outcomes over `classes` classes; options NULL: the defaults. Equal-mass bins hold numbers of images
 * that differ by at most one, in order of confidence and then of images. FUL_ERR_ARG for a label or prediction outside the
 * classes or a number that is none. out is the caller's; ful_judgement_deinit frees what it holds.
 */
FUL_API ful_status ful_judge(const ful_outcome *outcomes, int64_t n, int classes, const ful_judge_options *options,
                             ful_judgement *out) FUL_CHECK_RESULT;
/* Adds the images of another judgement of as many classes and bins: for pictures over several runs. Bins of equal mass cannot
 * be added: they are emptied, ece_mass becomes NaN. Intervals then take all for different images. */
FUL_API ful_status ful_judgement_add(ful_judgement *j, const ful_judgement *other) FUL_CHECK_RESULT;
FUL_API void ful_judgement_deinit(ful_judgement *j); /* accepts a zeroed one */

/* Pairs of classes that are taken for each other, the most frequent first (then by true, by predicted class); returns how many
 * of at most n_max were written. */
typedef struct ful_confused {
    int truth, predicted;
    int64_t count;
    double share; /* of the images of the true class */
} ful_confused;
FUL_API int ful_judge_confused(const ful_judgement *j, int n_max, ful_confused *out);

/*
 * The temperature T that makes softmax(logits / T) fit the labels best (least mean NLL; Guo et al. 2017), by bisection on the
 * derivative, which is monotone in 1/T; 1e-3..1e3. Fit it on validation images, never on those that are judged.
 * logits [n][classes], n >= 1.
 */
FUL_API ful_status ful_judge_temperature(const float *logits, const int32_t *label, int64_t n, int classes,
                                         double *t_out) FUL_CHECK_RESULT;

/* ---- comparing ---- */

/* McNemar's test of two classifiers' outcomes on the same n images; different labels are FUL_ERR_DATA. */
FUL_API ful_status ful_judge_compare(const ful_outcome *a, const ful_outcome *b, int64_t n, double level,
                                     ful_mcnemar *out) FUL_CHECK_RESULT;

/* Two passes of one classifier over the same images, e.g. in other batches. */
typedef struct ful_agreement {
    int64_t count, differ; /* images; predictions that are not the same */
    double largest;        /* difference of two logits */
    bool bits;             /* all logits are the same to the bit */
} ful_agreement;
FUL_API void ful_judge_agreement(const float *a, const float *b, int64_t n, int classes, ful_agreement *out);

/* ---- pictures: self-contained SVG that follows light and dark; the caller frees with ful_free ---- */

/* names: [classes], or NULL for numbers. Above 256 classes several make one row. */
FUL_API ful_status ful_judge_confusion_svg(const ful_judgement *j, const char *const *names, char **svg_out) FUL_CHECK_RESULT;
FUL_API ful_status ful_judge_reliability_svg(const ful_judgement *j, char **svg_out) FUL_CHECK_RESULT;

/* Writes a picture (or any text) as folder/name and makes the folder; folder NULL: name is the path. Atomic. */
FUL_API ful_status ful_judge_write_figure(const char *folder, const char *name, const char *text) FUL_CHECK_RESULT;

/* ---- passes over images ---- */

/* A geometric view of an image: out(y, x) = in(y + dy, x' + dx), x' mirrored or not; outside is black. */
typedef struct ful_view {
    int dy, dx;
    bool mirror;
} ful_view;
enum { FUL_VIEWS_MAX = 64 };
/*
 * Test-time augmentation as text: "flip" (as it is and mirrored), "shift<N>" (as it is, and N pixels up, down, left, right),
 * both with a comma: every combination. Returns the number of views, the first the plain one; 0 for text that is none of that.
 */
FUL_API int ful_judge_views(const char *text, ful_view views_out[FUL_VIEWS_MAX]);

typedef struct ful_judge_pass {
    ful_pass pass;          /* its change is set by ful_judge_predict */
    bool keep_logits;       /* also keep the logits: n * classes floats (default false) */
    double temperature;     /* logits are divided by it first (default 1) */
    const char *corruption; /* a name of fulcrum/corrupt.h, or NULL (default) */
    int severity;           /* of it, 1..5 (default 3) */
    uint64_t corrupt_seed;  /* (default 1) */
    const ful_view *views;  /* the probabilities of all views are averaged; NULL: the plain one (default) */
    int n_views;
} ful_judge_pass;
FUL_API void ful_judge_pass_defaults(ful_judge_pass *pass);

/* What a pass left. With several views the logits are the logarithms of the mean probabilities. */
typedef struct ful_predictions {
    int64_t count;
    int classes;
    uint64_t fingerprint; /* of the images and labels */
    ful_outcome *outcome; /* [count], in the order of the data set */
    int64_t skipped;      /* damaged images, not among them (data.on_error: skip) */
    float *logits;        /* [count][classes] or NULL */
    double seconds;       /* in the net */
} ful_predictions;

/* McNemar's test of two passes; other images or numbers of them are FUL_ERR_DATA. */
FUL_API ful_status ful_predictions_compare(const ful_predictions *a, const ful_predictions *b, double level,
                                           ful_mcnemar *out) FUL_CHECK_RESULT;

/* Passes the data set (from ful_model_data) through the model. out is the caller's; ful_predictions_deinit frees it. */
FUL_API ful_status ful_judge_predict(ful_model *model, const ful_dataset *set, const ful_judge_pass *pass,
                                     ful_predictions *out) FUL_CHECK_RESULT;
FUL_API void ful_predictions_deinit(ful_predictions *p); /* accepts a zeroed one */

/* ---- which experts an image took ---- */

/* One mixture layer. */
typedef struct ful_route {
    char layer[128];
    int experts, k, tokens;
    int rows, columns, before; /* tokens lie in a square after `before` others (a class token); 0 rows: they do not */
    bool soft;                 /* every expert takes a blend of all tokens: expert and gate say nothing */
    int32_t *expert;           /* [tokens][k], first choice first */
    float *gate;               /* [tokens][k] */
} ful_route;
typedef struct ful_explanation {
    char *image; /* its path */
    int side, channels, classes, n_layers;
    uint8_t *pixels; /* [side][side][channels]: what the net saw */
    float *prob;     /* [classes] */
    ful_route *layers;
} ful_explanation;
/* Predicts an image (as ful_model_predict_image) and notes its routes. out is the caller's; ful_explanation_deinit frees it. */
FUL_API ful_status ful_judge_explain(ful_model *model, const char *path, ful_explanation *out) FUL_CHECK_RESULT;
FUL_API void ful_explanation_deinit(ful_explanation *e); /* accepts a zeroed one */
/* Share of the (token, expert) pairs of each expert, share_out[experts]; zeros where routes are soft. */
FUL_API void ful_route_shares(const ful_route *r, double *share_out);
/* A self-contained page of n images beside their experts; names of the classes may be NULL. Caller frees with ful_free. */
FUL_API ful_status ful_judge_explain_page(const ful_explanation *list, int n, const char *const *names,
                                          char **html_out) FUL_CHECK_RESULT;

/* ---- corruptions (doc/corruptions.md) ---- */

/* Errors of one corruption by severity; NaN where it was not run. */
typedef struct ful_robust_row {
    const ful_corruption *corruption;
    double error[FUL_SEVERITIES], other[FUL_SEVERITIES]; /* shares of wrong predictions; other: of the model compared with */
    double nll[FUL_SEVERITIES], ece[FUL_SEVERITIES];
    /* filled by ful_judge_robust: */
    double mean, other_mean; /* over the severities that were run */
    double ce;               /* sum of error / sum of other */
    double relative;         /* the same after taking off the clean errors; NaN where the other loses nothing */
} ful_robust_row;
typedef struct ful_robust {
    double clean, other_clean; /* errors on the images as they are; other: NaN without comparison */
    int n_rows;
    ful_robust_row rows[FUL_CORRUPTIONS_MAX];
    int n_common;                   /* common corruptions among the rows: what the means are over */
    double mean, mce, relative_mce; /* mean error; mean CE; mean relative CE */
} ful_robust;
FUL_API void ful_judge_robust(ful_robust *r); /* means from the errors */
FUL_API ful_status ful_judge_robust_svg(const ful_robust *r, const char *name, const char *other,
                                        char **svg_out) FUL_CHECK_RESULT;

#ifdef __cplusplus
}
#endif
#endif
