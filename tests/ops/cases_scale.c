/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "ops/opcheck.h"

static void scale(check_sink *sink, unsigned use, ful_shape x, bool learnable, float value, int n_max)
{
    const ful_scale_attr a = {learnable, value};
    check_addf(sink, use, (check_case){.attr = &a, .x = {x}, .n_max = n_max}, "%s %g", learnable ? "learnable" : "constant",
               (double)value);
}

static void cases(check_sink *sink)
{
    for (int learnable = 0; learnable < 2; learnable++) {
        scale(sink, CHECK_TEST | CHECK_GRAD, (ful_shape){3, 5, 16}, learnable, -0.7f, 6);
        scale(sink, CHECK_TEST, (ful_shape){5, 3, 48}, learnable, 0, 6);
        for (int i = 0; i < CHECK_EDGES_COUNT; i++) {
            scale(sink, CHECK_TEST, (ful_shape){1, 1, check_edges[i]}, learnable, 1.3f, 6);
            scale(sink, CHECK_TEST, (ful_shape){3, 3, check_edges[i]}, learnable, 1.3f, 6);
        }
        scale(sink, CHECK_TEST | CHECK_SLOW, (ful_shape){37, 41, 32}, learnable, 0.1f, 2); /* several chunks */
        scale(sink, CHECK_PERF, (ful_shape){32, 32, 64}, learnable, 0.5f, 128);
    }
    const ful_scale_attr bad = {false, INFINITY};
    check_addf(sink, CHECK_TEST, (check_case){.attr = &bad, .x = {{1, 1, 4}}, .refused = "must be finite"}, "inf");
}

const check_suite check_suite_scale = {.name = "scale",
                                       .type = &ful__op_scale,
                                       .tolerance = 5e-7,
                                       .magnitude = CHECK_SUM,
                                       .same_bits = CHECK_SAME_THREADS | CHECK_SAME_BATCH,
                                       .cases = cases};
