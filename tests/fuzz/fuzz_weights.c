/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as another program's weights for a small mixer: refused with a sentence, or all its parameters are finite after. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/weights.h"

#define CHECK(cond)           \
    do {                      \
        if (!(cond)) abort(); \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Made once: the net of tests/train/weights/mixer_s.safetensors. */
static ful_net *the_net(void)
{
    static ful_net *net;
    ful_graph *graph = NULL;
    ful_net_config c;
    ful_net_options options;
    if (net) return net;
    ful_net_config_defaults(&c);
    snprintf(c.arch, sizeof c.arch, "mixer_s");
    snprintf(c.conv, sizeof c.conv, "direct");
    c.width = c.height = 8;
    c.depth = 2;
    c.in_channels = 3;
    c.classes = 5;
    ful_net_options_defaults(&options);
    options.batch_max = 1;
    options.train = false;
    CHECK(ful_net_build_graph(&c, &graph) == FUL_OK);
    CHECK(ful_net_create(graph, &options, &net) == FUL_OK);
    return net;
}

static void check_refusal(void)
{
    CHECK(strncmp(ful_error_message(), "cannot ", 7) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    ful__st_file *file = NULL;
    ful_net *net = the_net();
    if (ful__st_parse("input", data, bytes, &file) != FUL_OK) return 0;
    for (int other_classes = 0; other_classes < 2; other_classes++) {
        ful_weights_info info;
        const ful_status status = ful__weights_take(net, "mixer_s", "input", file, other_classes, &info);
        if (status != FUL_OK) {
            check_refusal();
            continue;
        }
        CHECK(info.read + info.fresh == ful_net_tensor_count(net));
        for (int i = 0; i < ful_net_tensor_count(net); i++) {
            ful_tensor t;
            CHECK(ful_net_tensor(net, i, &t) == FUL_OK);
            for (int64_t j = 0; j < t.count; j++) CHECK(isfinite(t.value[j]));
        }
    }
    ful__st_close(&file);
    return 0;
}
