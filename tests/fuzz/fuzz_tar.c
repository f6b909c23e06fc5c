/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as an archive of class/file images, compressed or not. */
#include "data_target.h"

static ful_status read(void *ctx, ful__build *b)
{
    return ful__tar_read(ctx, b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    ful__bytes file = {"input.tar", data, bytes};
    run_reader(read, &file);
    return 0;
}
