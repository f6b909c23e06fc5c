/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as an archive of images, compressed or not: of class/file, with a list of labels, and as a WebDataset shard. */
#include <sys/mman.h>
#include <unistd.h>

#include "data/cache.h"
#include "data/store.h"
#include "data_target.h"

static ful_status fill(void *ctx, ful__build *b)
{
    return ful__cache_fill(ctx, NULL, b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const ful__layout layouts[] = {FUL__LAYOUT_TAR, FUL__LAYOUT_LISTED, FUL__LAYOUT_WEBDATASET};
    char path[64];
    const int fd = memfd_create("input.tar", MFD_CLOEXEC);
    CHECK(fd >= 0 && (bytes == 0 || write(fd, data, bytes) == (ssize_t)bytes));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    for (int i = 0; i < 3; i++) {
        ful__source_file file = {.path = path, .bytes = bytes};
        ful__source source = {.layout = layouts[i], .name = "folder", .path = path, .set = path, .is_archive = true};
        source.compressed = bytes >= 2 && data[0] == 0x1f && data[1] == 0x8b;
        source.files = &file;
        source.n_files = 1;
        run_reader(fill, &source);
    }
    close(fd);
    return 0;
}
