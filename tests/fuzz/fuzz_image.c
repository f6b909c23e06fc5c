/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a JPEG or PNG: refused with a sentence, or decoded to the same pixels each time. */
#include "core/file.h"
#include "data/image.h"
#include "data_target.h"
#include <fulcrum/data.h>

enum { SIZE = 9 };

/* A part of the image, which the last bytes choose: the same twice with one decoder, whatever it decoded before. */
static void read_part(const uint8_t *data, size_t bytes)
{
    ful__decoder d = {0};
    int h = 0, w = 0;
    uint64_t first = 0;
    for (int again = 0; again < 2; again++) {
        ful__view view;
        ful__box box;
        if (bytes < 4 || ful__image_probe(&d, "input", data, bytes, &h, &w) != FUL_OK) break;
        const int ch = 1 + data[bytes - 1] * 7 % h, cw = 1 + data[bytes - 2] * 5 % w;
        const ful__box crop = {data[bytes - 3] % (h - ch + 1), data[bytes - 4] % (w - cw + 1), ch, cw};
        const ful_status status = ful__image_read_part(&d, "input", data, bytes, &crop, SIZE, SIZE, 3, &view, &box);
        if (status != FUL_OK) {
            check_refused(status);
            CHECK(!first);
            break;
        }
        uint64_t sum = 1;
        for (int y = 0; y < view.h; y++) sum = ful__hash64(view.data + (size_t)y * view.stride, (size_t)view.w * 3, sum);
        CHECK(!again || sum == first);
        first = sum;
    }
    ful__decoder_deinit(&d);
}

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
    read_part(data, bytes);
    return 0;
}
