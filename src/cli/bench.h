/* SPDX-License-Identifier: Apache-2.0 */
/* What `fulcrum bench` measures, and how it is shown. */
#ifndef FUL_CLI_BENCH_H
#define FUL_CLI_BENCH_H

#include "cli/cli.h"

/* Seconds of each timed round of one kind of work, in the order they were taken; n = 0: not measured. */
typedef struct bench_times {
    int n;
    double *seconds; /* owned */
} bench_times;

typedef struct bench {
    const ful_config *config; /* borrowed */
    int batch, threads;
    double peak_gflops; /* of so many threads; 0 = unknown */
    ful_account account;
    bench_times train, infer;
    ful_profile profile[2]; /* of training and inference; timed where profiled */
    bool profiled;
    double optimiser_seconds; /* a step, while profiled */
} bench;

/* Text or JSON on stdout; an exit code. */
int bench_show(const bench *b);

#endif
