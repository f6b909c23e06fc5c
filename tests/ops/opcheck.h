/* SPDX-License-Identifier: Apache-2.0 */
/*
 * opcheck: the one tool that judges operations. In use: to have an op judged, write its cases in cases_<op>.c (cases_act.c is
 * a small example) and name the op in CMakeLists.txt; test, grad, perf and support all work on that one table.
 *
 *   opcheck test    [op]   fast version against the double reference: every layout, CPU level, batch size, mode, aliasing
 *   opcheck grad    [op]   its gradients against central differences of the reference
 *   opcheck perf    [op]   GFLOP/s or GB/s on shapes of real nets
 *   opcheck support [op]   which implementation each case gets
 *
 * A case is one op with attributes and shapes; what is tried with it (layouts, n, training, threads, in place …) is the
 * tool's, the same for all ops.
 */
#ifndef FUL_TESTS_OPS_OPCHECK_H
#define FUL_TESTS_OPS_OPCHECK_H

#include "ops/op.h"

/* What the random inputs look like. w and dy are always about 1 in size. */
typedef enum check_data {
    CHECK_NORMAL = 0, /* mean 0, sd 1 */
    CHECK_OFFSET,     /* mean 100, sd 1: sums must not cancel */
    CHECK_TIES,       /* small integers: maxima tie, values are 0 */
    CHECK_EDGES,      /* normal, with 0, -0, denormals and values up to 1e4 among them */
    CHECK_NAN         /* normal, with a NaN in one image: it must come out where the reference has it */
} check_data;

typedef struct check_case {
    const void *attr; /* as create takes it; borrowed during check_add only */
    char text[160];   /* attr in words, printed on failure */
    int n_x;          /* (default 1) */
    ful_shape x[FUL__X_MAX];
    ful_shape y;  /* what create must infer; all 0: as x[0] */
    int64_t macs; /* of one image, which create must count */
    int n_max;    /* (default 6) */
    check_data data;
    bool twin;           /* x[1] is x[0], one buffer: x + x */
    double tolerance;    /* 0: the suite's */
    const char *refused; /* not NULL: create must fail with a sentence that has this in it */
} check_case;

/* Where a case is used: any of these together. SLOW: not in quick runs (sanitizers, OPCHECK_QUICK=1). */
enum { CHECK_TEST = 1, CHECK_GRAD = 2, CHECK_PERF = 4, CHECK_SLOW = 8 };

typedef struct check_sink check_sink;
void check_add(check_sink *sink, unsigned use, const check_case *c);
/* c->text is made of the format, as in printf. */
void check_addf(check_sink *sink, unsigned use, check_case c, const char *format, ...) FUL_PRINTF(4, 5);

/*
 * The allowed difference is tolerance * magnitude, of each element. What counts as magnitude:
 *   SUM     for sums of products: the sum of their absolute values (the reference run on absolute values)
 *   VALUE   for functions of single values: |reference|, of dx at least |dy| (a slope is a difference), 1e-30 at least
 *   RANGE   otherwise: the largest |reference| in the buffer
 */
typedef enum check_magnitude { CHECK_SUM, CHECK_VALUE, CHECK_RANGE } check_magnitude;

/* Same bits are promised … */
enum {
    CHECK_SAME_LEVELS = 1,  /* … by every CPU level */
    CHECK_SAME_THREADS = 2, /* … with any number of threads */
    CHECK_SAME_BATCH = 4,   /* … of an image's y in any batch (at eval) */
    CHECK_SAME_LAYOUTS = 8  /* … in any layout */
};

typedef struct check_suite {
    const char *name; /* of the op */
    const ful__op_type *type;
    double tolerance;
    check_magnitude magnitude;
    unsigned same_bits;
    bool selects; /* SUM: which dy are summed to a dx depends on x (a maximum); for the magnitude of dx, x stays as it is */
    bool late; /* oneDNN: what runs n images is made when n is first met, for the threads there are then and the CPU level the
                  process began with */
    void (*cases)(check_sink *sink);
    const char *(*kernel)(const ful__op *op); /* which implementation a planned op uses; NULL: told by the CPU level alone */
} check_suite;

/* Edges of vectors and tiles, for channel counts. */
extern const int check_edges[];
enum { CHECK_EDGES_COUNT = 6 };

#endif
