/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a pack: as they are, and with head, index and tail sealed with right checksums, so that a search gets past them.
 * The checksums of the pixels are looked at only in the first case.
 */
#include <stddef.h>

#include "data_target.h"

static void try(const uint8_t *data, size_t bytes, bool pixels)
{
    ful__pack p;
    const ful_status status = ful__pack_parse("input", data, bytes, pixels, &p);
    if (status == FUL_OK)
        check_pack(&p);
    else
        check_refused(status);
}

/* Labels begin where the head and the count say; where that is nonsense, any place will do. */
static void seal(uint8_t *data, size_t bytes)
{
    ful__pack_head h;
    ful__pack_tail t;
    const size_t tail_at = bytes - sizeof t;
    memcpy(&h, data, sizeof h);
    memcpy(&t, data + tail_at, sizeof t);
    memcpy(h.magic, "FULPACK\n", 8);
    memcpy(t.magic, "FULTAIL\n", 8);
    h.version = FUL__PACK_VERSION;
    h.byte_order = 0x01020304;
    h.checksum = ful__hash64(&h, offsetof(ful__pack_head, checksum), 0);
    const uint64_t pixels = (uint64_t)(h.height & 1023) * (h.width & 1023) * (h.channels & 3) * (t.count & 0xffff);
    const uint64_t labels_at = (sizeof h + pixels + 63) / 64 * 64;
    if (labels_at <= tail_at) t.index_checksum = ful__hash64(data + labels_at, tail_at - labels_at, 0);
    t.checksum = ful__hash64(&t, offsetof(ful__pack_tail, checksum), 0);
    memcpy(data, &h, sizeof h);
    memcpy(data + tail_at, &t, sizeof t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint8_t *copy = malloc(bytes + 1); /* aligned, as a map is */
    if (!copy) return 0;
    if (bytes > 0) memcpy(copy, data, bytes);
    (void)ful_threads_set(1);
    try(copy, bytes, true);
    if (bytes >= sizeof(ful__pack_head) + sizeof(ful__pack_tail)) {
        seal(copy, bytes);
        try(copy, bytes, false);
    }
    free(copy);
    return 0;
}
