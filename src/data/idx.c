/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IDX, the format of MNIST: 0, 0, type (8 = unsigned byte), rank, one big-endian 32-bit size per dimension, then the bytes.
 * A header's word is taken only after the file was seen to hold what it says.
 */
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "data/gz.h"
#include "data/limits.h"
#include "data/readers.h"

enum { RANK_MOST = 3, TYPE_UBYTE = 8 };

typedef struct idx {
    uint32_t size[RANK_MOST];
    const uint8_t *data;
    uint8_t *owned;
} idx;

static ful_status read_exactly(ful__gz *g, void *out, size_t want, const char *what)
{
    size_t got;
    FUL_TRY(ful__gz_read(g, out, want, &got));
    FUL_FAIL_IF(got < want, FUL_ERR_FORMAT, "cannot read IDX file '%s': it ends in its %s", g->name, what);
    return FUL_OK;
}

static ful_status read_header(ful__gz *g, int rank, idx *out, uint64_t *bytes_out)
{
    uint8_t head[4 + 4 * RANK_MOST];
    FUL_FAIL_IF(g->n == 0, FUL_ERR_FORMAT, "cannot read IDX file '%s': it is empty", g->name);
    FUL_TRY(read_exactly(g, head, 4, "header"));
    FUL_FAIL_IF(
        head[0] != 0 || head[1] != 0 || head[2] != TYPE_UBYTE || head[3] != rank, FUL_ERR_FORMAT,
        "cannot read IDX file '%s' that begins with %02x%02x%02x%02x: unsigned bytes of %d dimensions begin with 0000%02x%02x",
        g->name, head[0], head[1], head[2], head[3], rank, TYPE_UBYTE, rank);
    FUL_TRY(read_exactly(g, head + 4, 4 * (size_t)rank, "header"));
    uint64_t bytes = 1;
    for (int d = 0; d < rank; d++) {
        const uint8_t *p = head + 4 + 4 * d;
        out->size[d] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
        FUL_FAIL_IF(out->size[d] == 0, FUL_ERR_FORMAT, "cannot read IDX file '%s': dimension %d is 0", g->name, d);
        FUL_FAIL_IF(d > 0 && out->size[d] > FUL__IMAGE_SIDE_MAX, FUL_ERR_FORMAT,
                    "cannot read IDX file '%s' with images of side %u: at most %d", g->name, out->size[d], FUL__IMAGE_SIDE_MAX);
        bytes *= out->size[d]; /* 2^32 * 2^14 * 2^14 fits */
    }
    FUL_FAIL_IF(bytes > FUL__RAW_FILE_MAX, FUL_ERR_FORMAT, "cannot read IDX file '%s' of %llu bytes: at most %llu are accepted",
                g->name, (unsigned long long)bytes, FUL__RAW_FILE_MAX);
    *bytes_out = bytes;
    return FUL_OK;
}

/* Memory grows with what really comes out, not with what the header claims. */
static ful_status inflate_data(ful__gz *g, size_t bytes, idx *out)
{
    size_t have = 0, capacity = 0;
    while (have < bytes) {
        capacity = capacity ? 2 * capacity : 1u << 20;
        if (capacity > bytes) capacity = bytes;
        FUL_TRY(ful__realloc(&out->owned, capacity, 1, g->name));
        size_t got;
        FUL_TRY(ful__gz_read(g, out->owned + have, capacity - have, &got));
        have += got;
        FUL_FAIL_IF(have < capacity, FUL_ERR_FORMAT, "cannot read IDX file '%s': it ends after %zu of %zu bytes", g->name, have,
                    bytes);
    }
    out->data = out->owned;
    return FUL_OK;
}

static ful_status read_data(ful__gz *g, size_t bytes, idx *out)
{
    if (g->compressed) {
        FUL_TRY(inflate_data(g, bytes, out));
    } else {
        FUL_FAIL_IF(g->n - g->at < bytes, FUL_ERR_FORMAT, "cannot read IDX file '%s': it ends after %zu of %zu bytes", g->name,
                    g->n - g->at, bytes);
        out->data = g->bytes + g->at; /* as it lies */
        g->at += bytes;
    }
    uint8_t more;
    size_t got;
    FUL_TRY(ful__gz_read(g, &more, 1, &got)); /* this also verifies the gzip checksum */
    FUL_FAIL_IF(got > 0, FUL_ERR_FORMAT, "cannot read IDX file '%s': it has more than the %zu bytes its header tells of",
                g->name, bytes);
    return FUL_OK;
}

static ful_status idx_open(const ful__bytes *file, int rank, idx *out)
{
    ful__gz g;
    uint64_t bytes = 0;
    FUL_TRY(ful__gz_open(&g, file->name, file->data, file->n));
    ful_status status = read_header(&g, rank, out, &bytes);
    if (status == FUL_OK) status = read_data(&g, (size_t)bytes, out);
    ful__gz_close(&g);
    return status;
}

/* Number c stands for class "c" or the c-th name, whatever the byte order of the names. */
static ful_status add_classes(const ful__bytes *file, const idx *labels, const ful__idx_kind *kind, ful__build *b)
{
    int most = 0, named = 0;
    while (named < FUL__IDX_NAMES - 1 && kind->names[named]) named++;
    for (uint32_t i = 0; i < labels->size[0]; i++) {
        const int label = labels->data[i] - kind->base;
        most = label > most ? label : most;
        FUL_FAIL_IF(label < 0 || (named > 0 && label >= named), FUL_ERR_FORMAT,
                    "cannot use '%s': image %u has label %d, labels must be in %d..%d", file->name, i, labels->data[i],
                    kind->base, kind->base + (named > 0 ? named - 1 : 255 - kind->base));
    }
    b->sort_classes = false;
    for (int c = 0; c < (named > 0 ? named : most + 1); c++) {
        char number[8];
        int label;
        snprintf(number, sizeof number, "%d", c + kind->base);
        FUL_TRY(ful__build_class(b, named > 0 ? kind->names[c] : number, &label));
    }
    return FUL_OK;
}

/* In place where the images are square, as EMNIST's are; `data` is ours. */
static ful_status transpose(const ful__bytes *file, idx *images)
{
    const size_t side = images->size[1], bytes = side * side;
    FUL_FAIL_IF(images->size[1] != images->size[2], FUL_ERR_FORMAT, "cannot use '%s' of %ux%u images: EMNIST's are square",
                file->name, images->size[2], images->size[1]);
    if (!images->owned) { /* as it lies in the file */
        FUL_TRY(ful__calloc(&images->owned, (size_t)images->size[0], bytes, "images"));
        memcpy(images->owned, images->data, images->size[0] * bytes);
        images->data = images->owned;
    }
    for (size_t i = 0; i < images->size[0]; i++) {
        uint8_t *p = images->owned + i * bytes;
        for (size_t y = 0; y < side; y++) {
            for (size_t x = y + 1; x < side; x++) {
                const uint8_t kept = p[y * side + x];
                p[y * side + x] = p[x * side + y];
                p[x * side + y] = kept;
            }
        }
    }
    return FUL_OK;
}

static ful_status add_images(const ful__bytes *files[2], const idx *images, const idx *labels, const ful__idx_kind *kind,
                             ful__build *b)
{
    FUL_FAIL_IF(images->size[0] != labels->size[0], FUL_ERR_FORMAT,
                "cannot use '%s' with %u images and '%s' with %u labels: they must agree", files[0]->name, images->size[0],
                files[1]->name, labels->size[0]);
    FUL_TRY(add_classes(files[1], labels, kind, b));
    const size_t image_bytes = (size_t)images->size[1] * images->size[2];
    for (uint32_t i = 0; i < images->size[0]; i++) {
        const ful__pixels pixels = {.data = images->data + i * image_bytes,
                                    .height = (int)images->size[1],
                                    .width = (int)images->size[2],
                                    .channels = 1};
        FUL_TRY(ful__build_add_raw(b, files[0]->name, labels->data[i] - kind->base, &pixels));
    }
    return ful__build_flush(b); /* the bytes go away after this */
}

ful_status ful__idx_read(const ful__bytes *images, const ful__bytes *labels, const ful__idx_kind *kind, ful__build *b)
{
    idx pixels = {0}, numbers = {0};
    const ful__bytes *files[2] = {images, labels};
    ful_status status = idx_open(images, 3, &pixels);
    if (status == FUL_OK) status = idx_open(labels, 1, &numbers);
    if (status == FUL_OK && kind->transposed) status = transpose(images, &pixels);
    if (status == FUL_OK) status = add_images(files, &pixels, &numbers, kind, b);
    ful__free(pixels.owned);
    ful__free(numbers.owned);
    return status;
}
