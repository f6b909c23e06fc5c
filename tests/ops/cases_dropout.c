/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "ops/opcheck.h"

static void dropout(check_sink *sink, unsigned use, ful_shape x, float p, bool whole_image, int n_max)
{
    const ful_dropout_attr a = {p, whole_image};
    check_addf(sink, use, (check_case){.attr = &a, .x = {x}, .n_max = n_max}, "p %g%s", (double)p,
               whole_image ? " whole image" : "");
}

static void refuse(check_sink *sink, float p)
{
    const ful_dropout_attr a = {p, false};
    check_addf(sink, CHECK_TEST, (check_case){.attr = &a, .x = {{1, 1, 4}}, .refused = "p must be at least 0 and below 1"},
               "p %g", (double)p);
}

static void cases(check_sink *sink)
{
    static const float rates[] = {0, 0.1f, 0.5f, 0.9f};
    for (int i = 0; i < 4; i++)
        for (int whole = 0; whole < 2; whole++) {
            dropout(sink, CHECK_TEST | CHECK_GRAD, (ful_shape){3, 5, 16}, rates[i], whole, 6);
            dropout(sink, CHECK_TEST, (ful_shape){3, 3, 32}, rates[i], whole, 6);
        }
    for (int i = 0; i < CHECK_EDGES_COUNT; i++) {
        dropout(sink, CHECK_TEST, (ful_shape){1, 1, check_edges[i]}, 0.5f, false, 6);
        dropout(sink, CHECK_TEST, (ful_shape){1, 7, check_edges[i]}, 0.3f, false, 6);
    }
    dropout(sink, CHECK_TEST | CHECK_SLOW, (ful_shape){31, 17, 48}, 0.2f, false, 3); /* several pieces an image */
    dropout(sink, CHECK_PERF, (ful_shape){1, 1, 4096}, 0.5f, false, 128);
    dropout(sink, CHECK_PERF, (ful_shape){32, 32, 64}, 0.1f, true, 128);
    refuse(sink, 1);
    refuse(sink, -0.5f);
    refuse(sink, NAN);
}

const check_suite check_suite_dropout = {.name = "dropout",
                                         .type = &ful__op_dropout,
                                         .tolerance = 2e-7, /* 1/(1-p) and its product, each rounded once */
                                         .magnitude = CHECK_SUM,
                                         .same_bits = CHECK_SAME_LEVELS | CHECK_SAME_THREADS | CHECK_SAME_BATCH |
                                                      CHECK_SAME_LAYOUTS,
                                         .cases = cases};
