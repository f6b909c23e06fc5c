/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/opcheck.h"

static void excite(check_sink *sink, unsigned use, int h, int w, int c, int n_max)
{
    check_addf(sink, use, (check_case){.n_x = 2, .x = {{h, w, c}, {1, 1, c}}, .n_max = n_max}, "map");
}

static void cases(check_sink *sink)
{
    excite(sink, CHECK_TEST | CHECK_GRAD, 3, 5, 16, 6);
    excite(sink, CHECK_TEST | CHECK_GRAD, 1, 1, 5, 6);
    for (int i = 0; i < CHECK_EDGES_COUNT; i++) excite(sink, CHECK_TEST, 3, 3, check_edges[i], 6);
    excite(sink, CHECK_TEST | CHECK_SLOW, 37, 41, 32, 2); /* sums in several parts */
    excite(sink, CHECK_PERF, 14, 14, 480, 32);            /* mobilenet_v3_large */
    check_case c = {.n_x = 2, .x = {{3, 5, 32}, {1, 1, 32}}, .data = CHECK_EDGES};
    check_addf(sink, CHECK_TEST, c, "edges");
    c.data = CHECK_NAN;
    check_addf(sink, CHECK_TEST, c, "nan");
    check_addf(sink, CHECK_TEST, (check_case){.n_x = 1, .x = {{1, 1, 4}}, .refused = "it takes 2"}, "one input");
    check_addf(sink, CHECK_TEST, (check_case){.n_x = 2, .x = {{2, 2, 4}, {1, 1, 5}}, .refused = "one a channel"}, "5 of 4");
    check_addf(sink, CHECK_TEST, (check_case){.n_x = 2, .x = {{2, 2, 4}, {2, 1, 4}}, .refused = "one a channel"}, "a map");
}

const check_suite check_suite_excite = {.name = "excite",
                                        .type = &ful__op_excite,
                                        .tolerance = 5e-7,
                                        .magnitude = CHECK_SUM,
                                        .same_bits = CHECK_SAME_THREADS | CHECK_SAME_BATCH,
                                        .cases = cases};
