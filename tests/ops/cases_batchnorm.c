/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "ops/act_math.h"
#include "ops/opcheck.h"

typedef struct bn_case {
    ful_shape x;
    ful_act act;
    bool residual;
    float eps, momentum;
    int n_max;
    check_data data;
    double tolerance;
    bool twin;
} bn_case;

static void norm(check_sink *sink, unsigned use, bn_case b)
{
    ful_batchnorm_attr a;
    ful_batchnorm_defaults(&a);
    if (b.eps > 0) a.eps = b.eps;
    if (b.momentum > 0) a.momentum = b.momentum;
    a.act = b.act;
    a.residual = b.residual;
    const check_case c = {.attr = &a, .n_x = b.residual ? 2 : 1, .x = {b.x}, .n_max = b.n_max};
    check_case full = c;
    full.data = b.data;
    full.tolerance = b.tolerance;
    full.twin = b.twin;
    check_addf(sink, use, full, "eps %g momentum %g %s%s data %d", (double)a.eps, (double)a.momentum, ful__act_names[a.act],
               a.residual ? " residual" : "", b.data);
}

static void refuse(check_sink *sink, float eps, float momentum, ful_act act, bool residual, const char *rule)
{
    const ful_batchnorm_attr a = {.eps = eps, .momentum = momentum, .act = act, .residual = residual};
    check_addf(sink, CHECK_TEST, (check_case){.attr = &a, .x = {{3, 3, 4}}, .refused = rule}, "%s", rule);
}

static void cases(check_sink *sink)
{
    static const ful_act acts[] = {FUL_ACT_NONE, FUL_ACT_RELU, FUL_ACT_RELU6, FUL_ACT_HARD_SWISH};
    for (int act = 0; act < 4; act++)
        for (int residual = 0; residual < (acts[act] == FUL_ACT_HARD_SWISH ? 1 : 2); residual++) {
            const bn_case b = {.act = acts[act], .residual = residual};
            bn_case map = b, edge = b, many = b, perf = b;
            map.x = (ful_shape){3, 5, 32};
            norm(sink, CHECK_TEST | CHECK_GRAD, map);
            for (int i = 0; i < CHECK_EDGES_COUNT; i++) {
                edge.x = (ful_shape){3, 3, check_edges[i]};
                edge.tolerance = check_edges[i] == 1 ? 2e-5 : 0; /* the range is that of one sum, which may cancel */
                norm(sink, CHECK_TEST, edge);
            }
            many.x = (ful_shape){37, 41, 48}; /* several chunks and tiles */
            many.n_max = 2;
            if (act == residual || act > 1) norm(sink, CHECK_TEST | CHECK_SLOW, many);
            perf.x = (ful_shape){32, 32, 64};
            perf.n_max = 128;
            norm(sink, CHECK_PERF, perf);
            perf.x = (ful_shape){32, 32, 16};
            norm(sink, CHECK_PERF, perf);
        }
    /* Vectors: with two rows the gradient of x is nothing but eps' part, so eps is large. */
    for (int i = 0; i < CHECK_EDGES_COUNT; i++)
        norm(sink, CHECK_TEST | CHECK_GRAD, (bn_case){.x = {1, 1, check_edges[i]}, .eps = 0.2f, .tolerance = 2e-5});
    norm(sink, CHECK_TEST, (bn_case){.x = {5, 5, 16}, .momentum = 1});
    norm(sink, CHECK_TEST, (bn_case){.x = {5, 5, 32}, .act = FUL_ACT_RELU, .residual = true, .twin = true});
    norm(sink, CHECK_TEST, (bn_case){.x = {7, 7, 32}, .data = CHECK_OFFSET, .tolerance = 2e-5}); /* x - mean keeps 17 bits */
    norm(sink, CHECK_TEST, (bn_case){.x = {5, 3, 16}, .data = CHECK_NAN});
    refuse(sink, 0, 0.1f, FUL_ACT_NONE, false, "eps=0");
    refuse(sink, INFINITY, 0.1f, FUL_ACT_NONE, false, "eps=inf");
    refuse(sink, 1e-5f, 1.5f, FUL_ACT_NONE, false, "momentum=1.5");
    refuse(sink, 1e-5f, 0.1f, FUL_ACT_GELU, false, "act=2");
    refuse(sink, 1e-5f, 0.1f, FUL_ACT_HARD_SWISH, true, "act=4, residual=1");
    refuse(sink, 1e-5f, 0.1f, FUL_ACT_NONE, true, "it takes 2");
}

const check_suite check_suite_batchnorm = {.name = "batchnorm",
                                           .type = &ful__op_batchnorm,
                                           .tolerance = 2e-6,
                                           .magnitude = CHECK_RANGE,
                                           .same_bits = CHECK_SAME_THREADS | CHECK_SAME_BATCH,
                                           .cases = cases};
