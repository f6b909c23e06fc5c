/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/opcheck.h"

static void flatten(check_sink *sink, unsigned use, ful_shape x, int n_max)
{
    const check_case c = {.x = {x}, .y = {1, 1, x.h * x.w * x.c}, .n_max = n_max};
    check_addf(sink, use, c, "flatten");
}

static void cases(check_sink *sink)
{
    flatten(sink, CHECK_TEST | CHECK_GRAD, (ful_shape){3, 5, 16}, 6);
    flatten(sink, CHECK_TEST, (ful_shape){2, 2, 3}, 1);
    for (int i = 0; i < CHECK_EDGES_COUNT; i++) flatten(sink, CHECK_TEST, (ful_shape){1, 3, check_edges[i]}, 6);
    flatten(sink, CHECK_PERF, (ful_shape){8, 8, 64}, 128);
}

const check_suite check_suite_flatten = {.name = "flatten",
                                         .type = &ful__op_flatten,
                                         .magnitude = CHECK_SUM, /* tolerance 0: a copy */
                                         .same_bits = CHECK_SAME_LEVELS | CHECK_SAME_THREADS | CHECK_SAME_BATCH |
                                                      CHECK_SAME_LAYOUTS,
                                         .cases = cases};
