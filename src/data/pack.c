/* SPDX-License-Identifier: Apache-2.0 */
/* Reading packs. Nothing in the file is believed before it was checked: sizes first, then checksums, then contents. */
#include "data/pack.h"

#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "core/parallel.h"
#include "data/limits.h"
#include "data/text.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "packs are mapped as they lie: little-endian machines only");

static ful_status check_head(const char *name, const ful__pack_head *h)
{
    FUL_FAIL_IF(memcmp(h->magic, "FULPACK\n", 8) != 0, FUL_ERR_FORMAT, "cannot read pack '%s': it does not begin with FULPACK",
                name);
    FUL_FAIL_IF(h->checksum != ful__hash64(h, offsetof(ful__pack_head, checksum), 0), FUL_ERR_FORMAT,
                "cannot read pack '%s': its head is damaged (checksum)", name);
    FUL_FAIL_IF(h->byte_order != 0x01020304, FUL_ERR_FORMAT, "cannot read pack '%s': its byte order is not little-endian",
                name);
    FUL_FAIL_IF(h->version != FUL__PACK_VERSION, FUL_ERR_FORMAT,
                "cannot read pack '%s' of version %" PRIu32 ": this library reads %d", name, h->version, FUL__PACK_VERSION);
    FUL_FAIL_IF(h->height < 1 || h->height > FUL__SIZE_MAX || h->width < 1 || h->width > FUL__SIZE_MAX, FUL_ERR_FORMAT,
                "cannot read pack '%s' of %" PRIu32 "x%" PRIu32 " images: width and height must be in 1..%d", name, h->width,
                h->height, FUL__SIZE_MAX);
    FUL_FAIL_IF(h->channels != 1 && h->channels != 3, FUL_ERR_FORMAT, "cannot read pack '%s' with %" PRIu32 " channels: 1 or 3",
                name, h->channels);
    FUL_FAIL_IF(h->split > 2, FUL_ERR_FORMAT, "cannot read pack '%s' of split %" PRIu32 ": splits are 0..2", name, h->split);
    return FUL_OK;
}

static ful_status check_tail(const char *name, const ful__pack_tail *t)
{
    FUL_FAIL_IF(memcmp(t->magic, "FULTAIL\n", 8) != 0, FUL_ERR_FORMAT,
                "cannot read pack '%s': it does not end with FULTAIL, it is cut off", name);
    FUL_FAIL_IF(t->checksum != ful__hash64(t, offsetof(ful__pack_tail, checksum), 0), FUL_ERR_FORMAT,
                "cannot read pack '%s': its tail is damaged (checksum)", name);
    FUL_FAIL_IF(t->count < 1 || t->count > FUL__SET_MAX, FUL_ERR_FORMAT,
                "cannot read pack '%s' of %" PRIu64 " images: 1..%lld are accepted", name, t->count, FUL__SET_MAX);
    FUL_FAIL_IF(t->classes < 1 || t->classes > FUL__CLASSES_MAX, FUL_ERR_FORMAT,
                "cannot read pack '%s' of %" PRIu64 " classes: 1..%d are accepted", name, t->classes, FUL__CLASSES_MAX);
    FUL_FAIL_IF(t->name_bytes > FUL__CLASSES_MAX * (FUL__CLASS_NAME_MAX + 1ull), FUL_ERR_FORMAT,
                "cannot read pack '%s' with %" PRIu64 " bytes of class names: too many", name, t->name_bytes);
    FUL_FAIL_IF(t->left_out > FUL__SET_MAX, FUL_ERR_FORMAT,
                "cannot read pack '%s' with %" PRIu64 " images left out: at most %lld are accepted", name, t->left_out,
                FUL__SET_MAX);
    for (int c = 0; c < 3; c++) {
        const bool good = !(t->flags & FUL__PACK_NORM) || (isfinite(t->mean[c]) && isfinite(t->std[c]) && t->std[c] > 0);
        FUL_FAIL_IF(!good, FUL_ERR_FORMAT, "cannot read pack '%s' with mean %g and std %g: both must be finite, std > 0", name,
                    (double)t->mean[c], (double)t->std[c]);
    }
    return FUL_OK;
}

/* Where each part begins, and the size of the whole. Limits were checked: nothing here can wrap. */
typedef struct layout {
    uint64_t pixels, labels, clusters, names, blocks, tail, end;
    uint64_t pixel_bytes, n_blocks;
} layout;

static uint64_t aligned(uint64_t at)
{
    return (at + 63) & ~63ull;
}

static layout layout_of(const ful__pack_head *h, const ful__pack_tail *t)
{
    layout l = {.pixels = sizeof *h};
    l.pixel_bytes = (uint64_t)h->height * h->width * h->channels * t->count;
    l.n_blocks = (l.pixel_bytes + FUL__PACK_BLOCK_BYTES - 1) / FUL__PACK_BLOCK_BYTES;
    l.labels = aligned(l.pixels + l.pixel_bytes);
    l.clusters = aligned(l.labels + 4 * t->count);
    l.names = t->flags & FUL__PACK_CLUSTERS ? aligned(l.clusters + 4 * t->count) : l.clusters;
    l.blocks = aligned(l.names + t->name_bytes);
    l.tail = aligned(l.blocks + 8 * l.n_blocks);
    l.end = l.tail + sizeof *t;
    return l;
}

static ful_status check_contents(const char *name, const ful__pack *p, uint64_t name_bytes)
{
    for (int64_t i = 0; i < p->count; i++) {
        FUL_FAIL_IF(p->labels[i] < 0 || p->labels[i] >= p->classes, FUL_ERR_FORMAT,
                    "cannot read pack '%s': image %" PRId64 " has label %" PRId32 ", labels must be in 0..%d", name, i,
                    p->labels[i], p->classes - 1);
        FUL_FAIL_IF(p->clusters && p->clusters[i] < -1, FUL_ERR_FORMAT,
                    "cannot read pack '%s': image %" PRId64 " has cluster %" PRId32 ", clusters must be >= -1", name, i,
                    p->clusters[i]);
    }
    int ends = 0;
    for (uint64_t i = 0, begin = 0; i < name_bytes; i++) {
        if (p->names[i] != '\0') continue;
        FUL_FAIL_IF(i - begin > FUL__CLASS_NAME_MAX, FUL_ERR_FORMAT,
                    "cannot read pack '%s': class name %d has more than %d bytes", name, ends, FUL__CLASS_NAME_MAX);
        FUL_FAIL_IF(!ful__name_is_clean(p->names + begin), FUL_ERR_FORMAT,
                    "cannot read pack '%s': class name %d is no text: it must be UTF-8 without control characters", name, ends);
        begin = i + 1;
        ends++;
    }
    FUL_FAIL_IF(name_bytes == 0 || p->names[name_bytes - 1] != '\0' || ends != p->classes, FUL_ERR_FORMAT,
                "cannot read pack '%s': it has %d class names for %d classes", name, ends, p->classes);
    return FUL_OK;
}

typedef struct verify {
    const uint8_t *pixels;
    const uint64_t *sums;
    uint64_t bytes;
    atomic_llong first_bad;
} verify;

static void verify_block(void *ctx, int64_t block, int thread)
{
    (void)thread;
    verify *v = ctx;
    const uint64_t begin = (uint64_t)block * FUL__PACK_BLOCK_BYTES, left = v->bytes - begin;
    const size_t n = left < FUL__PACK_BLOCK_BYTES ? (size_t)left : FUL__PACK_BLOCK_BYTES;
    if (ful__hash64(v->pixels + begin, n, 0) == v->sums[block]) return;
    long long seen = atomic_load(&v->first_bad);
    while (block < seen && !atomic_compare_exchange_weak(&v->first_bad, &seen, block)) {}
}

static ful_status verify_pixels(const char *name, const uint8_t *pixels, const layout *l, const uint64_t *sums)
{
    verify v = {.pixels = pixels, .sums = sums, .bytes = l->pixel_bytes};
    atomic_init(&v.first_bad, (long long)l->n_blocks);
    ful__parallel_for((int64_t)l->n_blocks, verify_block, &v);
    const long long bad = atomic_load(&v.first_bad);
    FUL_FAIL_IF(bad < (long long)l->n_blocks, FUL_ERR_FORMAT,
                "cannot read pack '%s': its pixels are damaged (checksum of block %lld)", name, bad);
    return FUL_OK;
}

ful_status ful__pack_parse(const char *name, const void *bytes, size_t n, bool pixels, ful__pack *out)
{
    *out = (ful__pack){0};
    ful__pack_head h;
    ful__pack_tail t;
    const uint8_t *base = bytes;
    FUL_FAIL_IF((uintptr_t)base % 8 != 0, FUL_ERR_ARG, "cannot read pack '%s': its bytes must be aligned to 8", name);
    FUL_FAIL_IF(n < sizeof h + sizeof t, FUL_ERR_FORMAT, "cannot read pack '%s' of %zu bytes: the least is %zu", name, n,
                sizeof h + sizeof t);
    memcpy(&h, base, sizeof h);
    memcpy(&t, base + n - sizeof t, sizeof t);
    FUL_TRY(check_head(name, &h));
    FUL_TRY(check_tail(name, &t));
    const layout l = layout_of(&h, &t);
    FUL_FAIL_IF(l.end != n, FUL_ERR_FORMAT, "cannot read pack '%s' of %zu bytes: %" PRIu64 " images of %dx%dx%d make %" PRIu64,
                name, n, t.count, (int)h.width, (int)h.height, (int)h.channels, l.end);
    FUL_FAIL_IF(t.index_checksum != ful__hash64(base + l.labels, l.tail - l.labels, 0), FUL_ERR_FORMAT,
                "cannot read pack '%s': its labels or names are damaged (checksum)", name);
    *out = (ful__pack){
        .count = (int64_t)t.count,
        .left_out = (int64_t)t.left_out,
        .height = (int)h.height,
        .width = (int)h.width,
        .channels = (int)h.channels,
        .classes = (int)t.classes,
        .split = (int)h.split,
        .key = h.key,
        .has_norm = (t.flags & FUL__PACK_NORM) != 0,
        .mean = {t.mean[0], t.mean[1], t.mean[2]},
        .std = {t.std[0], t.std[1], t.std[2]},
        .image_bytes = (size_t)h.height * h.width * h.channels,
        .pixels = base + l.pixels,
        .labels = (const int32_t *)(const void *)(base + l.labels),
        .clusters = t.flags & FUL__PACK_CLUSTERS ? (const int32_t *)(const void *)(base + l.clusters) : NULL,
        .names = (const char *)base + l.names,
    };
    FUL_TRY(check_contents(name, out, t.name_bytes));
    if (pixels) FUL_TRY(verify_pixels(name, out->pixels, &l, (const uint64_t *)(const void *)(base + l.blocks)));
    return FUL_OK;
}

ful_status ful__pack_open(const char *path, ful__pack *out)
{
    ful__map map;
    *out = (ful__pack){0};
    FUL_TRY(ful__map_open(&map, path));
    const ful_status status = ful__pack_parse(path, map.ptr, map.bytes, true, out);
    out->map = map;
    if (status != FUL_OK) ful__pack_close(out);
    return status;
}

void ful__pack_close(ful__pack *pack)
{
    ful__map_close(&pack->map);
    ful__free(pack->heap);
    *pack = (ful__pack){0};
}
