/* SPDX-License-Identifier: Apache-2.0 */
/* Two IDX files in one input: two bytes of length (little-endian), the images, then the labels. */
#include "data_target.h"

static ful_status read(void *ctx, ful__build *b)
{
    const ful__bytes *files = ctx;
    static const ful__idx_kind plain, emnist = {.names = {"a", "b", "c"}, .base = 1, .transposed = true};
    return ful__idx_read(&files[0], &files[1], files[1].n % 2 ? &plain : &emnist, b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 2) return 0;
    const size_t length = (size_t)data[0] | (size_t)data[1] << 8, rest = bytes - 2, n = length < rest ? length : rest;
    ful__bytes files[2] = {{"images", data + 2, n}, {"labels", data + 2 + n, rest - n}};
    run_reader(read, files);
    return 0;
}
