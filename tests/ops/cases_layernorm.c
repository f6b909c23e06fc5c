/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/opcheck.h"

static const char *const scopes[] = {"channels", "image"};

static void norm(check_sink *sink, unsigned use, ful_shape x, ful_norm_scope scope, bool affine, check_case c)
{
    ful_layernorm_attr a;
    ful_layernorm_defaults(&a);
    a.scope = scope;
    a.affine = affine;
    c.attr = &a;
    c.x[0] = x;
    check_addf(sink, use, c, "%s%s data %d", scopes[scope], affine ? " affine" : "", c.data);
}

static void refuse(check_sink *sink, float eps, ful_norm_scope scope, const char *rule)
{
    const ful_layernorm_attr a = {.eps = eps, .scope = scope, .affine = true};
    check_addf(sink, CHECK_TEST, (check_case){.attr = &a, .x = {{3, 3, 4}}, .refused = rule}, "%s", rule);
}

static void cases(check_sink *sink)
{
    const check_case plain = {0};
    for (ful_norm_scope scope = FUL_NORM_CHANNELS; scope <= FUL_NORM_IMAGE; scope++)
        for (int affine = 0; affine < 2; affine++) {
            norm(sink, CHECK_TEST | CHECK_GRAD, (ful_shape){3, 5, 32}, scope, affine, plain);
            norm(sink, CHECK_TEST | CHECK_GRAD, (ful_shape){1, 1, 48}, scope, affine, plain);
            for (int i = 0; i < CHECK_EDGES_COUNT; i++) {
                norm(sink, CHECK_TEST, (ful_shape){1, 1, check_edges[i]}, scope, affine, plain);
                norm(sink, CHECK_TEST, (ful_shape){3, 3, check_edges[i]}, scope, affine, plain);
            }
            norm(sink, CHECK_TEST, (ful_shape){5, 3, 32}, scope, affine,
                 (check_case){.data = CHECK_OFFSET, .tolerance = 4e-5}); /* x - mean keeps 17 bits */
            norm(sink, CHECK_TEST, (ful_shape){5, 3, 32}, scope, affine, (check_case){.data = CHECK_NAN});
            norm(sink, CHECK_TEST | CHECK_SLOW, (ful_shape){37, 41, 16}, scope, affine, (check_case){.n_max = 2});
            norm(sink, CHECK_TEST | CHECK_SLOW, (ful_shape){1, 1, 16397}, scope, affine, (check_case){.n_max = 3});
        }
    norm(sink, CHECK_PERF, (ful_shape){8, 8, 192}, FUL_NORM_CHANNELS, true, (check_case){.n_max = 128});
    norm(sink, CHECK_PERF, (ful_shape){16, 16, 64}, FUL_NORM_IMAGE, true, (check_case){.n_max = 128});
    refuse(sink, -1, FUL_NORM_CHANNELS, "eps=-1");
    refuse(sink, 1e-5f, (ful_norm_scope)3, "scope=3");
}

const check_suite check_suite_layernorm = {.name = "layernorm",
                                           .type = &ful__op_layernorm,
                                           .tolerance = 4e-6,
                                           .magnitude = CHECK_RANGE,
                                           .same_bits = CHECK_SAME_THREADS | CHECK_SAME_BATCH,
                                           .cases = cases};
