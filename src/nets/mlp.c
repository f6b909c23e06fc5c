/* SPDX-License-Identifier: Apache-2.0 */
/* Fully connected nets on the pixels of an image: stage i is hidden layer i, relu(linear); `linear` has none. */
#include <string.h>

#include "nets/build.h"

void ful__build_mlp(ful__builder *b)
{
    if (b->status == FUL_OK) b->status = ful_graph_flatten(b->g, "flatten", b->end, &b->end);
    for (int s = 1; s <= b->stages; s++) {
        const int layers = ful__stage_blocks(b, s, 1, ful__end_channels(b) != b->width);
        if (layers > 0) {
            ful__add_linear(b, b->width, FUL_INIT_HE_NORMAL, "stage%d.fc", s);
            ful__add_relu(b, "stage%d.relu", s);
        }
        ful__add_stage_sites(b, s);
    }
}
