/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/opcheck.h"

static void pool(check_sink *sink, unsigned use, ful_shape x, int n_max, check_data data)
{
    check_case c = {.x = {x}, .y = {1, 1, x.c}, .n_max = n_max, .data = data};
    if (x.h * x.w > 1000) c.tolerance = 4e-6; /* float sums of so many values */
    check_addf(sink, use, c, "data %d", data);
}

static void cases(check_sink *sink)
{
    static const ful_shape nets[] = {{8, 8, 64}, {7, 7, 512}, {4, 4, 512}};
    pool(sink, CHECK_TEST | CHECK_GRAD, (ful_shape){3, 5, 16}, 6, CHECK_NORMAL);
    pool(sink, CHECK_TEST, (ful_shape){7, 7, 32}, 6, CHECK_OFFSET);
    pool(sink, CHECK_TEST, (ful_shape){7, 7, 32}, 6, CHECK_NAN);
    pool(sink, CHECK_TEST | CHECK_SLOW, (ful_shape){37, 41, 48}, 3, CHECK_OFFSET);
    for (int i = 0; i < CHECK_EDGES_COUNT; i++) {
        pool(sink, CHECK_TEST, (ful_shape){1, 1, check_edges[i]}, 6, CHECK_NORMAL);
        pool(sink, CHECK_TEST, (ful_shape){5, 3, check_edges[i]}, 6, CHECK_NORMAL);
    }
    for (int i = 0; i < 3; i++) pool(sink, CHECK_PERF, nets[i], 128, CHECK_NORMAL);
}

const check_suite check_suite_global_avg_pool = {.name = "global_avg_pool",
                                                 .type = &ful__op_global_avg_pool,
                                                 .tolerance = 5e-7,
                                                 .magnitude = CHECK_SUM,
                                                 .same_bits = CHECK_SAME_THREADS | CHECK_SAME_BATCH,
                                                 .cases = cases};
