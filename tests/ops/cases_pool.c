/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/opcheck.h"

static const char *const kinds[] = {"max", "avg"};

static int out_side(int in, const ful_pool_attr *a)
{
    return (in + 2 * a->pad - a->kernel) / a->stride + 1;
}

static void pool(check_sink *sink, unsigned use, ful_shape x, ful_pool_attr a, int n_max, check_data data)
{
    const check_case c = {.attr = &a, .x = {x}, .y = {out_side(x.h, &a), out_side(x.w, &a), x.c}, .n_max = n_max, .data = data};
    check_addf(sink, use, c, "%s kernel %d stride %d pad %d data %d", kinds[a.kind], a.kernel, a.stride, a.pad, data);
}

static void refuse(check_sink *sink, ful_pool_attr a, const char *rule)
{
    check_addf(sink, CHECK_TEST, (check_case){.attr = &a, .x = {{4, 4, 3}}, .refused = rule}, "kernel %d stride %d pad %d",
               a.kernel, a.stride, a.pad);
}

static void cases(check_sink *sink)
{
    static const struct {
        int kernel, stride, pad;
    } windows[] = {{2, 2, 0}, {3, 2, 1}, {3, 1, 1}, {1, 1, 0}, {1, 2, 0}, {3, 3, 2}, {2, 3, 1}, {5, 1, 2}};
    for (ful_pool_kind kind = FUL_POOL_MAX; kind <= FUL_POOL_AVG; kind++) {
        for (int i = 0; i < 8; i++) {
            const ful_pool_attr a = {kind, windows[i].kernel, windows[i].stride, windows[i].pad};
            pool(sink, CHECK_TEST | CHECK_GRAD, (ful_shape){7, 5, 16}, a, 6, CHECK_NORMAL);
            pool(sink, CHECK_TEST, (ful_shape){6, 8, 3}, a, 6, CHECK_TIES);
        }
        const ful_pool_attr usual = {kind, 3, 2, 1}, wide = {kind, 17, 2, 8}, all = {kind, 7, 1, 0};
        for (int i = 0; i < CHECK_EDGES_COUNT; i++)
            pool(sink, CHECK_TEST, (ful_shape){5, 5, check_edges[i]}, usual, 6, CHECK_NORMAL);
        pool(sink, CHECK_TEST, (ful_shape){1, 1, 32}, usual, 6, CHECK_NORMAL);
        pool(sink, CHECK_TEST, (ful_shape){5, 5, 32}, usual, 6, CHECK_NAN);
        pool(sink, CHECK_TEST, (ful_shape){17, 18, 16}, wide, 3, CHECK_NORMAL); /* places of 16 bits */
        pool(sink, CHECK_TEST, (ful_shape){7, 7, 32}, all, 3, CHECK_NORMAL);
        pool(sink, CHECK_PERF, (ful_shape){112, 112, 64}, usual, 8, CHECK_NORMAL);
        pool(sink, CHECK_PERF, (ful_shape){32, 32, 64}, (ful_pool_attr){kind, 2, 2, 0}, 128, CHECK_NORMAL);
    }
    refuse(sink, (ful_pool_attr){(ful_pool_kind)5, 2, 2, 0}, "kind=5");
    refuse(sink, (ful_pool_attr){FUL_POOL_MAX, 0, 1, 0}, "kernel=0");
    refuse(sink, (ful_pool_attr){FUL_POOL_AVG, 2, 0, 0}, "stride=0");
    refuse(sink, (ful_pool_attr){FUL_POOL_AVG, 2, 1, 2}, "pad=2");
    refuse(sink, (ful_pool_attr){FUL_POOL_MAX, 7, 1, 1}, "must fit");
}

const check_suite check_suite_pool = {.name = "pool",
                                      .type = &ful__op_pool,
                                      .tolerance = 5e-7,
                                      .magnitude = CHECK_SUM,
                                      .selects = true,
                                      .same_bits = CHECK_SAME_LEVELS | CHECK_SAME_THREADS | CHECK_SAME_BATCH |
                                                   CHECK_SAME_LAYOUTS,
                                      .cases = cases};
