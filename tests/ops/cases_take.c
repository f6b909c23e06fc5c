/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/opcheck.h"

static void take(check_sink *sink, unsigned use, ful_shape x, int position, const char *refused)
{
    const ful_take_attr a = {position};
    check_addf(sink, use, (check_case){.attr = &a, .x = {x}, .y = {1, 1, x.c}, .refused = refused}, "position %d", position);
}

static void cases(check_sink *sink)
{
    take(sink, CHECK_TEST | CHECK_GRAD, (ful_shape){1, 5, 16}, 0, NULL);
    take(sink, CHECK_TEST | CHECK_GRAD, (ful_shape){3, 2, 7}, 5, NULL);
    take(sink, CHECK_TEST, (ful_shape){1, 1, 3}, 0, NULL);
    take(sink, CHECK_TEST, (ful_shape){3, 2, 7}, 6, "position=6");
    take(sink, CHECK_TEST, (ful_shape){3, 2, 7}, -1, "position=-1");
}

const check_suite check_suite_take = {.name = "take",
                                      .type = &ful__op_take,
                                      .tolerance = 1e-7,
                                      .magnitude = CHECK_SUM,
                                      .same_bits = CHECK_SAME_LEVELS | CHECK_SAME_THREADS | CHECK_SAME_BATCH,
                                      .cases = cases};
