/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/opcheck.h"

static void tokens(check_sink *sink, unsigned use, ful_shape x, bool class_token, ful_positions positions)
{
    static const char *const names[] = {"none", "learned", "sincos"};
    const ful_tokens_attr a = {class_token, positions};
    const check_case c = {.attr = &a, .x = {x}, .y = {1, x.h * x.w + class_token, x.c}};
    check_addf(sink, use, c, "%s%s", names[positions], class_token ? " cls" : "");
}

static void cases(check_sink *sink)
{
    for (int cls = 0; cls < 2; cls++)
        for (ful_positions p = FUL_POSITIONS_NONE; p <= FUL_POSITIONS_SINCOS; p++) {
            tokens(sink, CHECK_TEST | CHECK_GRAD, (ful_shape){3, 5, 8}, cls, p);
            tokens(sink, CHECK_TEST, (ful_shape){1, 1, 12}, cls, p);
            tokens(sink, CHECK_TEST, (ful_shape){5, 2, 36}, cls, p);
        }
    tokens(sink, CHECK_TEST, (ful_shape){3, 2, 7}, true, FUL_POSITIONS_LEARNED);
    tokens(sink, CHECK_PERF, (ful_shape){8, 8, 192}, true, FUL_POSITIONS_LEARNED);
    const ful_tokens_attr sincos = {true, FUL_POSITIONS_SINCOS}, unknown = {false, (ful_positions)3};
    check_addf(sink, CHECK_TEST, (check_case){.attr = &sincos, .x = {{2, 2, 10}}, .refused = "multiple of 4"}, "sincos 10");
    check_addf(sink, CHECK_TEST, (check_case){.attr = &unknown, .x = {{2, 2, 8}}, .refused = "positions=3"}, "unknown");
}

const check_suite check_suite_tokens = {.name = "tokens",
                                        .type = &ful__op_tokens,
                                        .tolerance = 1e-6,
                                        .magnitude = CHECK_RANGE,
                                        .same_bits = CHECK_SAME_LEVELS | CHECK_SAME_THREADS | CHECK_SAME_BATCH,
                                        .cases = cases};
