/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rig of opcheck: runs one op with every buffer between red zones, and the reference on the same inputs. Inputs and results
 * are plain NHWC; the rig brings them into the op's layouts and back.
 */
#ifndef FUL_TESTS_OPS_OPCHECK_RIG_H
#define FUL_TESTS_OPS_OPCHECK_RIG_H

#include <stdio.h>

#include "ops/opcheck.h"

enum { CHECK_PARAMS = 8, CHECK_SETS = 2, CHECK_WHY = 512, CHECK_NONE = -1 };

extern FILE *check_out; /* where failures are told; NULL: stdout */
void check_say(const char *format, ...) FUL_PRINTF(1, 2);
void *check_alloc(size_t bytes); /* zeroed, 64-byte aligned; ends the program where there is none. free() */

/* The levels this machine has and FULCRUM_CPU_MASK leaves, best first. */
typedef struct check_level {
    const char *name;
    unsigned mask;
} check_level;
int check_levels(check_level out[3]);

/* Modes: each judges or shows one case; false: it failed, and said why on stdout. */
bool check_test(const check_suite *suite, const check_case *c);
bool check_grad(const check_suite *suite, const check_case *c);
bool check_perf(const check_suite *suite, const check_case *c);
bool check_support(const check_suite *suite, const check_case *c);
bool check_quick(void); /* fewer sizes: sanitizers, or OPCHECK_QUICK=1 */

/* Offers of layouts to the inputs of an op; how many there are to try. */
int check_offers(const check_case *c, ful__layout out[4][FUL__X_MAX]);

/* Inputs ---------------------------------------------------------------------------------------------------------------- */

/* Drawn once a case, the same for every run of it: n_max images and two weight sets. */
typedef struct check_inputs {
    float *x[FUL__X_MAX], *dy;
    float *w[CHECK_SETS][CHECK_PARAMS];
    float *dw[CHECK_PARAMS]; /* what stands in dw before backward adds */
    uint32_t *row;           /* batch positions, not 0..n-1 */
} check_inputs;

void check_inputs_init(check_inputs *in, const check_case *c, const ful__op *op);
void check_inputs_deinit(check_inputs *in);

/* Running --------------------------------------------------------------------------------------------------------------- */

/* All that can differ between two runs of a case; all of it is printed on failure. */
typedef struct check_knobs {
    unsigned mask; /* CPU level */
    ful__layout offer[FUL__X_MAX];
    bool train;
    int threads, n;
    int first;        /* image of the inputs that comes first in the batch; they follow in a ring */
    int set;          /* weights */
    bool stale;       /* without repack */
    int y_over;       /* y is written over this x, or CHECK_NONE */
    int dx_over;      /* this dx is written over dy, or CHECK_NONE */
    unsigned dx_null; /* bit i: nobody needs dx[i] */
    bool rows;        /* batch positions given */
    bool inside;      /* called from a piece of a parallel loop, as experts are */
    int shift;        /* floats between a 64-byte boundary and x, y, dy, dx, w, dw */
} check_knobs;

/* What came out, NHWC; w: parameters after forward (running statistics move); dx[i] is NaN where not asked for. */
typedef struct check_result {
    float *y, *dx[FUL__X_MAX], *w[CHECK_PARAMS], *dw[CHECK_PARAMS];
    bool backward; /* dx and dw were made */
} check_result;

/* Bytes between red zones. */
typedef struct check_buffer {
    unsigned char *memory;
    size_t capacity, begin, used;
    const char *what;
} check_buffer;

typedef struct check_rig {
    const check_suite *suite;
    const check_case *c;
    const check_inputs *in;
    ful__op *op;
    check_buffer x[FUL__X_MAX], y, dy, dx[FUL__X_MAX], w[CHECK_PARAMS], dw[CHECK_PARAMS], saved, scratch, packed[CHECK_SETS];
    char why[CHECK_WHY]; /* the failure, "" if there is none */
} check_rig;

/* Creates, lays out and plans the op as knobs say (mask, offer, train) and allocates; false with rig->why. */
bool check_rig_init(check_rig *rig, const check_suite *suite, const check_case *c, const check_inputs *in,
                    const check_knobs *k);
void check_rig_deinit(check_rig *rig);
/* Forward and, in training, backward; false with rig->why where a rule of the contract was broken. */
bool check_rig_run(check_rig *rig, const check_knobs *k, check_result *out);

void check_result_init(check_result *r, const check_case *c, const ful__op *op);
void check_result_deinit(check_result *r, const ful__op *op);
void check_knobs_text(const check_rig *rig, const check_knobs *k, char *text, size_t bytes);

/* The reference --------------------------------------------------------------------------------------------------------- */

/* value: what should come out; size: the magnitude that tolerance is relative to. */
typedef struct check_values {
    double *value, *size;
    int64_t count;
} check_values;

typedef struct check_truth {
    check_values y, dx[FUL__X_MAX], w[CHECK_PARAMS], dw[CHECK_PARAMS];
} check_truth;

/* For the n, train, first, set and rows of k. */
void check_truth_init(check_truth *t, const check_suite *suite, const check_case *c, const ful__op *op, const check_inputs *in,
                      const check_knobs *k);
void check_truth_deinit(check_truth *t);

/* Comparing; false with the first difference in why. Shapes tell where a value lies; h = 0: a parameter. */
bool check_close(const char *what, const float *got, const check_values *want, double tolerance, ful_shape s, char *why);
bool check_same_bits(const char *what, const float *a, const float *b, int64_t count, ful_shape s, char *why);

/* A whole result against the truth, or against another result of n images. */
bool check_result_close(const check_rig *rig, const check_knobs *k, const check_result *got, const check_truth *want,
                        char *why);
bool check_result_same(const check_rig *rig, const check_knobs *k, const check_result *a, const check_result *b, char *why);

#endif
