/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/act_math.h"
#include "ops/opcheck.h"

static void cases(check_sink *sink)
{
    for (ful_act act = FUL_ACT_NONE; act <= FUL_ACT_HARD_SIGMOID; act++) {
        const check_case c = {.attr = &act, .x = {{3, 5, 16}}};
        check_case edges = c, nan = c, uneven = c, large = c;
        edges.data = CHECK_EDGES;
        nan.data = CHECK_NAN;
        check_addf(sink, CHECK_TEST | CHECK_GRAD, c, "%s", ful__act_names[act]);
        check_addf(sink, CHECK_TEST, edges, "%s edges", ful__act_names[act]);
        check_addf(sink, CHECK_TEST, nan, "%s nan", ful__act_names[act]);
        for (int i = 0; i < CHECK_EDGES_COUNT; i++) {
            uneven.x[0] = (ful_shape){1, 1, check_edges[i]};
            check_addf(sink, CHECK_TEST, uneven, "%s", ful__act_names[act]);
        }
        large.x[0] = (ful_shape){32, 32, 64};
        large.n_max = 128;
        check_addf(sink, CHECK_PERF, large, "%s", ful__act_names[act]);
    }
    const ful_act unknown = (ful_act)9;
    check_addf(sink, CHECK_TEST, (check_case){.attr = &unknown, .x = {{1, 1, 1}}, .refused = "act=9"}, "act 9");
}

const check_suite check_suite_act = {.name = "act",
                                     .type = &ful__op_act,
                                     .tolerance = 5e-7,
                                     .magnitude = CHECK_VALUE,
                                     .same_bits = CHECK_SAME_LEVELS | CHECK_SAME_THREADS | CHECK_SAME_BATCH |
                                                  CHECK_SAME_LAYOUTS,
                                     .cases = cases};
