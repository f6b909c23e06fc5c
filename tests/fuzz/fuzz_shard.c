/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a shard: refused with a sentence, or every record lies inside and every name ends. The checksums are also made
 * right, so that the search gets behind them. */
#include "core/mem.h"
#include "data/shard.h"
#include "data_target.h"

static void check(const uint8_t *data, size_t bytes)
{
    ful__shard s;
    uint64_t sum = 0;
    const ful_status status = ful__shard_parse("input", data, bytes, &s);
    if (status != FUL_OK) {
        check_refused(status);
        return;
    }
    const char *name = s.class_names;
    for (uint64_t c = 0; c < s.tail.classes; c++, name += strlen(name) + 1) CHECK(ful__name_is_clean(name));
    for (uint64_t i = 0; i < s.tail.count; i++) {
        CHECK(s.index[i].label < s.tail.classes);
        sum += strlen(s.names + s.index[i].name) + ful__shard_record_is_whole(&s, (int64_t)i);
    }
    CHECK(sum <= (bytes + 1) * (s.tail.count + 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    void *copy = NULL;
    ful__shard_head h;
    ful__shard_tail t;
    if (ful__calloc(&copy, bytes ? bytes : 1, 1, "input") != FUL_OK) return 0;
    if (bytes > 0) memcpy(copy, data, bytes);
    check(copy, bytes);
    if (bytes >= sizeof h + sizeof t) {
        uint8_t *p = copy;
        memcpy(&h, p, sizeof h);
        memcpy(&t, p + bytes - sizeof t, sizeof t);
        h.checksum = ful__hash64(&h, offsetof(ful__shard_head, checksum), 0);
        if (t.index_at <= bytes - sizeof t) t.index_checksum = ful__hash64(p + t.index_at, bytes - sizeof t - t.index_at, 0);
        t.checksum = ful__hash64(&t, offsetof(ful__shard_tail, checksum), 0);
        memcpy(p, &h, sizeof h);
        memcpy(p + bytes - sizeof t, &t, sizeof t);
        check(p, bytes);
    }
    ful__free(copy);
    return 0;
}
