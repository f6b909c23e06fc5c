/* SPDX-License-Identifier: Apache-2.0 */
/* A file of class names and a batch: one byte chooses CIFAR-10 or CIFAR-100, one gives the length of the names. */
#include "data_target.h"

static ful_status read(void *ctx, ful__build *b)
{
    const ful__bytes *files = ctx;
    const int fine = files[0].name[0] == '1';
    const ful_status status = ful__cifar_classes(&files[0], fine ? 100 : 10, b);
    return status == FUL_OK ? ful__cifar_read(&files[1], fine ? FUL__LAYOUT_CIFAR100 : FUL__LAYOUT_CIFAR10, FUL_LABELS_FINE, b)
                            : status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 2) return 0;
    const size_t rest = bytes - 2, n = data[1] < rest ? data[1] : rest;
    ful__bytes files[2] = {{data[0] & 1 ? "100 names" : "names", data + 2, n}, {"batch", data + 2 + n, rest - n}};
    run_reader(read, files);
    return 0;
}
