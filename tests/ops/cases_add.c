/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/opcheck.h"

static void cases(check_sink *sink)
{
    check_addf(sink, CHECK_TEST | CHECK_GRAD, (check_case){.n_x = 2, .x = {{3, 5, 16}}}, "map");
    check_addf(sink, CHECK_TEST, (check_case){.n_x = 2, .x = {{3, 5, 32}}, .data = CHECK_EDGES}, "edges");
    check_addf(sink, CHECK_TEST, (check_case){.n_x = 2, .x = {{1, 3, 16}}, .data = CHECK_NAN}, "nan");
    check_addf(sink, CHECK_TEST, (check_case){.n_x = 2, .x = {{3, 5, 32}}, .twin = true}, "x + x");
    for (int i = 0; i < CHECK_EDGES_COUNT; i++)
        check_addf(sink, CHECK_TEST, (check_case){.n_x = 2, .x = {{1, 1, check_edges[i]}}}, "vector");
    check_addf(sink, CHECK_TEST | CHECK_SLOW, (check_case){.n_x = 2, .x = {{17, 31, 48}}, .n_max = 2}, "several pieces");
    check_addf(sink, CHECK_PERF, (check_case){.n_x = 2, .x = {{32, 32, 64}}, .n_max = 128}, "resnet18 stage 1");
    check_addf(sink, CHECK_TEST, (check_case){.n_x = 1, .x = {{1, 1, 4}}, .refused = "it takes 2"}, "one input");
    check_addf(sink, CHECK_TEST, (check_case){.n_x = 2, .x = {{1, 2, 4}, {2, 1, 4}}, .refused = "shapes must be equal"},
               "unlike inputs");
}

const check_suite check_suite_add = {.name = "add",
                                     .type = &ful__op_add,
                                     .tolerance = 0x1p-24, /* rounded once */
                                     .magnitude = CHECK_SUM,
                                     .same_bits = CHECK_SAME_LEVELS | CHECK_SAME_THREADS | CHECK_SAME_BATCH |
                                                  CHECK_SAME_LAYOUTS,
                                     .cases = cases};
