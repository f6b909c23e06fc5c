/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/opcheck.h"

static void transpose(check_sink *sink, unsigned use, ful_shape x, int h, int w, int n_max)
{
    const ful_transpose_attr a = {h, w};
    const check_case c = {.attr = &a, .x = {x}, .y = {h ? h : 1, w ? w : x.c, x.h * x.w}, .n_max = n_max};
    check_addf(sink, use, c, "to %d x %d", h, w);
}

static void refuse(check_sink *sink, int h, int w)
{
    const ful_transpose_attr a = {h, w};
    check_addf(sink, CHECK_TEST, (check_case){.attr = &a, .x = {{3, 5, 16}}, .refused = "h*w must be 16"}, "%d x %d", h, w);
}

static void cases(check_sink *sink)
{
    transpose(sink, CHECK_TEST | CHECK_GRAD, (ful_shape){3, 5, 16}, 0, 0, 6);
    transpose(sink, CHECK_TEST | CHECK_GRAD, (ful_shape){1, 6, 35}, 7, 5, 6);
    transpose(sink, CHECK_TEST, (ful_shape){8, 8, 128}, 0, 0, 3);
    transpose(sink, CHECK_TEST, (ful_shape){14, 14, 33}, 3, 11, 3); /* several shares, no whole tiles */
    for (int i = 0; i < CHECK_EDGES_COUNT; i++) {
        transpose(sink, CHECK_TEST, (ful_shape){1, 1, check_edges[i]}, 0, 0, 6);
        transpose(sink, CHECK_TEST, (ful_shape){4, 5, check_edges[i]}, 0, 0, 6);
    }
    transpose(sink, CHECK_PERF, (ful_shape){14, 14, 768}, 0, 0, 32); /* mixer_b16 */
    refuse(sink, 3, 5);
    refuse(sink, 0, 16);
    refuse(sink, -4, -4);
}

const check_suite check_suite_transpose = {.name = "transpose",
                                           .type = &ful__op_transpose,
                                           .tolerance = 0x1p-40, /* the same values */
                                           .magnitude = CHECK_RANGE,
                                           .same_bits = CHECK_SAME_LEVELS | CHECK_SAME_THREADS | CHECK_SAME_BATCH |
                                                        CHECK_SAME_LAYOUTS,
                                           .cases = cases};
