/* SPDX-License-Identifier: Apache-2.0 */
/* Reading shards. Nothing in the file is believed before it was checked: sizes first, then checksums, then contents. */
#include "data/shard.h"

#include <inttypes.h>
#include <string.h>

#include "core/error.h"
#include "data/limits.h"
#include "data/text.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "shards are mapped as they lie: little-endian machines only");

static ful_status check_head(const char *name, const ful__shard_head *h)
{
    FUL_FAIL_IF(memcmp(h->magic, "FULSHRD\n", 8) != 0, FUL_ERR_FORMAT, "cannot read shard '%s': it does not begin with FULSHRD",
                name);
    FUL_FAIL_IF(h->checksum != ful__hash64(h, offsetof(ful__shard_head, checksum), 0), FUL_ERR_FORMAT,
                "cannot read shard '%s': its head is damaged (checksum)", name);
    FUL_FAIL_IF(h->byte_order != 0x01020304, FUL_ERR_FORMAT, "cannot read shard '%s': its byte order is not little-endian",
                name);
    FUL_FAIL_IF(h->version != FUL__SHARD_VERSION, FUL_ERR_FORMAT,
                "cannot read shard '%s' of version %" PRIu32 ": this library reads %d", name, h->version, FUL__SHARD_VERSION);
    FUL_FAIL_IF(h->split > 2, FUL_ERR_FORMAT, "cannot read shard '%s' of split %" PRIu32 ": splits are 0..2", name, h->split);
    return FUL_OK;
}

static uint64_t aligned(uint64_t at)
{
    return (at + 63) & ~63ull;
}

static ful_status check_tail(const char *name, const ful__shard_head *h, const ful__shard_tail *t, size_t n)
{
    FUL_FAIL_IF(memcmp(t->magic, "FULSEND\n", 8) != 0, FUL_ERR_FORMAT,
                "cannot read shard '%s': it does not end with FULSEND, it is cut off", name);
    FUL_FAIL_IF(t->checksum != ful__hash64(t, offsetof(ful__shard_tail, checksum), 0), FUL_ERR_FORMAT,
                "cannot read shard '%s': its tail is damaged (checksum)", name);
    FUL_FAIL_IF(t->count > FUL__SET_MAX || t->total > FUL__SET_MAX || t->next > t->total || h->first > t->next ||
                    t->count > t->next - h->first,
                FUL_ERR_FORMAT,
                "cannot read shard '%s' of %" PRIu64 " images, %" PRIu64 " to %" PRIu64 " of %" PRIu64
                ": the numbers contradict each other",
                name, t->count, h->first, t->next, t->total);
    FUL_FAIL_IF(t->classes < 1 || t->classes > FUL__CLASSES_MAX, FUL_ERR_FORMAT,
                "cannot read shard '%s' of %" PRIu64 " classes: 1..%d are accepted", name, t->classes, FUL__CLASSES_MAX);
    FUL_FAIL_IF(t->class_bytes > FUL__CLASSES_MAX * (FUL__CLASS_NAME_MAX + 1ull) || t->name_bytes > UINT32_MAX, FUL_ERR_FORMAT,
                "cannot read shard '%s' with %" PRIu64 " and %" PRIu64 " bytes of names: too many", name, t->name_bytes,
                t->class_bytes);
    const uint64_t end = t->index_at > n
                             ? n + 1
                             : aligned(aligned(aligned(t->index_at + t->count * sizeof(ful__shard_entry)) + t->name_bytes) +
                                       t->class_bytes) +
                                   sizeof *t;
    FUL_FAIL_IF(end != n || t->index_at < sizeof *h || t->index_at % 64 != 0, FUL_ERR_FORMAT,
                "cannot read shard '%s' of %zu bytes: its parts make %" PRIu64, name, n, end);
    return FUL_OK;
}

/* `count` strings in `bytes`, each ended; clean: text without control characters of 1..255 bytes. */
static ful_status check_strings(const char *shard, const char *text, uint64_t bytes, uint64_t count, bool classes)
{
    uint64_t ends = 0;
    for (uint64_t i = 0, begin = 0; i < bytes; i++) {
        if (text[i] != '\0') continue;
        FUL_FAIL_IF(classes && (i - begin > FUL__CLASS_NAME_MAX || !ful__name_is_clean(text + begin)), FUL_ERR_FORMAT,
                    "cannot read shard '%s': class name %" PRIu64 " is no text of 1..%d bytes", shard, ends,
                    FUL__CLASS_NAME_MAX);
        begin = i + 1;
        ends++;
    }
    FUL_FAIL_IF(ends != count || (bytes > 0 && text[bytes - 1] != '\0'), FUL_ERR_FORMAT,
                "cannot read shard '%s': it has %" PRIu64 " names where %" PRIu64 " are due", shard, ends, count);
    return FUL_OK;
}

static ful_status check_index(const char *name, const ful__shard *s)
{
    const ful__shard_tail *t = &s->tail;
    FUL_TRY(check_strings(name, s->names, t->name_bytes, t->count, false));
    FUL_TRY(check_strings(name, s->class_names, t->class_bytes, t->classes, true));
    for (uint64_t i = 0; i < t->count; i++) {
        const ful__shard_entry *e = &s->index[i];
        FUL_FAIL_IF(e->bytes < 1 || e->bytes > FUL__IMAGE_FILE_MAX || e->offset < sizeof s->head || e->offset > t->index_at ||
                        e->bytes > t->index_at - e->offset,
                    FUL_ERR_FORMAT, "cannot read shard '%s': image %" PRIu64 " of %" PRIu32 " bytes lies outside the records",
                    name, i, e->bytes);
        FUL_FAIL_IF(e->label >= t->classes || e->name >= t->name_bytes, FUL_ERR_FORMAT,
                    "cannot read shard '%s': image %" PRIu64 " has label %" PRIu32 " and a name at %" PRIu32
                    ": they must lie in 0..%" PRIu64 " and in the names",
                    name, i, e->label, e->name, t->classes - 1);
    }
    return FUL_OK;
}

ful_status ful__shard_parse(const char *name, const void *bytes, size_t n, ful__shard *out)
{
    *out = (ful__shard){.base = bytes};
    FUL_FAIL_IF((uintptr_t)bytes % 8 != 0, FUL_ERR_ARG, "cannot read shard '%s': its bytes must be aligned to 8", name);
    FUL_FAIL_IF(n < sizeof out->head + sizeof out->tail, FUL_ERR_FORMAT,
                "cannot read shard '%s' of %zu bytes: the least is %zu", name, n, sizeof out->head + sizeof out->tail);
    memcpy(&out->head, out->base, sizeof out->head);
    memcpy(&out->tail, out->base + n - sizeof out->tail, sizeof out->tail);
    FUL_TRY(check_head(name, &out->head));
    FUL_TRY(check_tail(name, &out->head, &out->tail, n));
    const uint64_t at = out->tail.index_at, names_at = aligned(at + out->tail.count * sizeof *out->index);
    FUL_FAIL_IF(out->tail.index_checksum != ful__hash64(out->base + at, n - sizeof out->tail - at, 0), FUL_ERR_FORMAT,
                "cannot read shard '%s': its index is damaged (checksum)", name);
    out->index = (const ful__shard_entry *)(const void *)(out->base + at);
    out->names = (const char *)out->base + names_at;
    out->class_names = (const char *)out->base + aligned(names_at + out->tail.name_bytes);
    return check_index(name, out);
}

ful_status ful__shard_open(const char *path, ful__shard *out)
{
    ful__map map;
    *out = (ful__shard){0};
    FUL_TRY(ful__map_open(&map, path));
    const ful_status status = ful__shard_parse(path, map.ptr, map.bytes, out);
    out->map = map;
    if (status != FUL_OK) ful__shard_close(out);
    return status;
}

void ful__shard_close(ful__shard *s)
{
    ful__map_close(&s->map);
    *s = (ful__shard){0};
}

bool ful__shard_record_is_whole(const ful__shard *s, int64_t i)
{
    const ful__shard_entry *e = &s->index[i];
    return ful__hash64(s->base + e->offset, e->bytes, 0) == e->checksum;
}
