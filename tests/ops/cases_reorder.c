/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/opcheck.h"

static const char *const names[] = {"to nhwc", "to blocked"};

static void cases(check_sink *sink)
{
    for (ful__layout wanted = FUL__NHWC; wanted <= FUL__BLOCKED; wanted++) {
        const check_case c = {.attr = &wanted};
        check_case map = c, one = c, edge = c, large = c, perf = c;
        map.x[0] = (ful_shape){3, 5, 32};
        one.x[0] = (ful_shape){1, 1, 48};
        large.x[0] = (ful_shape){17, 31, 64}; /* several runs of pixels */
        perf.x[0] = (ful_shape){32, 32, 64};
        perf.n_max = 128;
        check_addf(sink, CHECK_TEST | CHECK_GRAD, map, "%s", names[wanted]);
        check_addf(sink, CHECK_TEST, one, "%s, a vector", names[wanted]);
        check_addf(sink, CHECK_TEST | CHECK_SLOW, large, "%s, large", names[wanted]);
        check_addf(sink, CHECK_PERF, perf, "%s, resnet18 stage 1", names[wanted]);
        for (int i = 0; i < CHECK_EDGES_COUNT && wanted == FUL__NHWC; i++) {
            edge.x[0] = (ful_shape){3, 1, check_edges[i]};
            check_addf(sink, CHECK_TEST, edge, "%s", names[wanted]);
        }
    }
    const ful__layout blocked = FUL__BLOCKED;
    check_addf(sink, CHECK_TEST, (check_case){.attr = &blocked, .x = {{3, 3, 17}}, .refused = "block must divide"},
               "17 channels");
}

const check_suite check_suite_reorder = {.name = "reorder",
                                         .type = &ful__op_reorder,
                                         .magnitude = CHECK_SUM, /* tolerance 0: a copy */
                                         .same_bits = CHECK_SAME_LEVELS | CHECK_SAME_THREADS | CHECK_SAME_BATCH |
                                                      CHECK_SAME_LAYOUTS,
                                         .cases = cases};
