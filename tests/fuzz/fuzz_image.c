/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a JPEG or PNG: refused with a sentence, or decoded to the same pixels each time. */
#include "data_target.h"
#include <fulcrum/data.h>

enum { SIZE = 9 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint8_t rgb[SIZE * SIZE * 3], again[SIZE * SIZE * 3];
    for (int channels = 1; channels <= 3; channels += 2) {
        const ful_status status = ful_image_decode("input", data, bytes, SIZE, channels, rgb);
        if (status != FUL_OK) {
            check_refused(status);
            continue;
        }
        memset(again, 0x5a, sizeof again);
        CHECK(ful_image_decode("input", data, bytes, SIZE, channels, again) == FUL_OK);
        CHECK(memcmp(rgb, again, (size_t)(SIZE * SIZE * channels)) == 0);
    }
    return 0;
}
