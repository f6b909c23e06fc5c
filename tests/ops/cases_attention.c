/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/opcheck.h"

static void asking(check_sink *sink, unsigned use, int queries, int h, int w, int heads, int width, bool qk_norm, check_case c)
{
    ful_attention_attr a;
    ful_attention_defaults(&a);
    a.heads = heads;
    a.qk_norm = qk_norm;
    a.queries = queries;
    const int d = heads * width;
    const int64_t t = (int64_t)h * w;
    c.attr = &a;
    c.x[0] = (ful_shape){h, w, 3 * d};
    c.y = queries ? (ful_shape){1, queries, d} : (ful_shape){h, w, d};
    c.macs = 2 * t * (queries ? queries : t) * d;
    check_addf(sink, use, c, "heads %d%s queries %d data %d", heads, qk_norm ? " qk_norm" : "", queries, c.data);
}

static void attention(check_sink *sink, unsigned use, int h, int w, int heads, int width, bool qk_norm, check_case c)
{
    asking(sink, use, 0, h, w, heads, width, qk_norm, c);
}

static void refuse(check_sink *sink, ful_shape x, ful_attention_attr a, const char *rule)
{
    check_addf(sink, CHECK_TEST, (check_case){.attr = &a, .x = {x}, .refused = rule}, "%s", rule);
}

static void cases(check_sink *sink)
{
    const check_case plain = {0};
    for (int norm = 0; norm < 2; norm++) {
        attention(sink, CHECK_TEST | CHECK_GRAD, 1, 5, 2, 3, norm, (check_case){.n_max = 3});
        attention(sink, CHECK_TEST | CHECK_GRAD, 2, 2, 1, 8, norm, (check_case){.n_max = 3});
        attention(sink, CHECK_TEST, 1, 1, 3, 4, norm, plain);
        for (int i = 0; i < CHECK_EDGES_COUNT; i++)
            attention(sink, CHECK_TEST, 1, 3 + i, 2, check_edges[i], norm, (check_case){.n_max = 3});
        attention(sink, CHECK_TEST, 1, 17, 1, 16, norm, (check_case){.n_max = 2, .data = CHECK_NAN});
        asking(sink, CHECK_TEST | CHECK_GRAD, 1, 1, 5, 2, 3, norm, (check_case){.n_max = 3});
        asking(sink, CHECK_TEST | CHECK_GRAD, 3, 2, 2, 1, 8, norm, (check_case){.n_max = 3});
        asking(sink, CHECK_TEST, 4, 2, 2, 1, 8, norm, (check_case){.n_max = 3}); /* all of them */
        asking(sink, CHECK_TEST, 1, 1, 17, 1, 16, norm, (check_case){.n_max = 2, .data = CHECK_NAN});
        asking(sink, CHECK_TEST | CHECK_SLOW, 2, 1, 140, 1, 20, norm, (check_case){.n_max = 1});
        attention(sink, CHECK_TEST | CHECK_SLOW, 5, 13, 3, 8, norm, (check_case){.n_max = 2});
        attention(sink, CHECK_TEST | CHECK_SLOW, 1, 97, 1, 20, norm, (check_case){.n_max = 1}); /* one query too many */
    }
    attention(sink, CHECK_TEST | CHECK_SLOW, 1, 70, 1, 65, false, (check_case){.n_max = 1});  /* panels of one column */
    attention(sink, CHECK_TEST | CHECK_SLOW, 1, 33, 1, 256, false, (check_case){.n_max = 1}); /* short blocks */
    attention(sink, CHECK_TEST | CHECK_SLOW, 2, 2, 4, 64, false, (check_case){.n_max = 520}); /* dx goes past the caches */
    attention(sink, CHECK_PERF, 1, 65, 3, 64, false, (check_case){.n_max = 128});
    asking(sink, CHECK_PERF, 1, 1, 65, 3, 64, false, (check_case){.n_max = 128});
    attention(sink, CHECK_PERF, 14, 14, 6, 64, false, (check_case){.n_max = 32});
    refuse(sink, (ful_shape){1, 4, 12}, (ful_attention_attr){.heads = 0, .eps = 1e-6f}, "heads=0");
    refuse(sink, (ful_shape){1, 4, 12}, (ful_attention_attr){.heads = 3, .eps = 1e-6f}, "must divide the channels");
    refuse(sink, (ful_shape){1, 4, 12}, (ful_attention_attr){.heads = 1, .eps = 0}, "eps=0");
    refuse(sink, (ful_shape){1, 4, 771}, (ful_attention_attr){.heads = 1, .eps = 1e-6f}, "at most 256");
    refuse(sink, (ful_shape){256, 256, 3}, (ful_attention_attr){.heads = 1, .eps = 1e-6f}, "65536 positions");
    refuse(sink, (ful_shape){1, 4, 12}, (ful_attention_attr){.heads = 1, .eps = 1e-6f, .queries = 5},
           "queries=5 on 4 positions");
    refuse(sink, (ful_shape){1, 4, 12}, (ful_attention_attr){.heads = 1, .eps = 1e-6f, .queries = -1}, "queries=-1");
}

const check_suite check_suite_attention = {.name = "attention",
                                           .type = &ful__op_attention,
                                           .tolerance = 1e-5,
                                           .magnitude = CHECK_RANGE,
                                           .same_bits = CHECK_SAME_THREADS | CHECK_SAME_BATCH,
                                           .cases = cases};
