/* SPDX-License-Identifier: Apache-2.0 */
#include "data/gz.h"

#include <string.h>

#include "core/error.h"
#include "core/mem.h"

static voidpf on_alloc(voidpf unused, uInt count, uInt size)
{
    void *ptr = NULL;
    (void)unused;
    return ful__calloc(&ptr, count, size, "zlib") == FUL_OK ? ptr : Z_NULL;
}

static void on_free(voidpf unused, voidpf ptr)
{
    (void)unused;
    ful__free(ptr);
}

bool ful__gz_is(const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    return n >= 2 && p[0] == 0x1f && p[1] == 0x8b;
}

ful_status ful__gz_open(ful__gz *g, const char *name, const void *bytes, size_t n)
{
    *g = (ful__gz){.name = name, .bytes = bytes, .n = n, .z = {.zalloc = on_alloc, .zfree = on_free}};
    if (!ful__gz_is(bytes, n)) return FUL_OK;
    FUL_FAIL_IF(inflateInit2(&g->z, 15 + 16) != Z_OK, FUL_ERR_MEMORY, "cannot decompress '%s': out of memory", name);
    g->compressed = true;
    return FUL_OK;
}

/* After a member: another one, zeros (tapes and some tools pad), or the end. */
static ful_status next_member(ful__gz *g)
{
    g->at -= g->z.avail_in;
    g->z.avail_in = 0;
    if (ful__gz_is(g->bytes + g->at, g->n - g->at)) {
        FUL_FAIL_IF(inflateReset(&g->z) != Z_OK, FUL_ERR_INTERNAL, "cannot decompress '%s': zlib cannot start again", g->name);
        return FUL_OK;
    }
    for (; g->at < g->n; g->at++) {
        FUL_FAIL_IF(g->bytes[g->at] != 0, FUL_ERR_FORMAT,
                    "cannot decompress '%s': other bytes follow the gzip data at byte %zu", g->name, g->at);
    }
    g->ended = true;
    return FUL_OK;
}

static ful_status inflate_into(ful__gz *g, uint8_t *out, size_t want, size_t *got)
{
    const size_t piece = 1u << 30; /* zlib counts in 32 bits */
    while (*got < want && !g->ended) {
        if (g->z.avail_in == 0) {
            const size_t left = g->n - g->at;
            g->z.next_in = (z_const Bytef *)(uintptr_t)(g->bytes + g->at);
            g->z.avail_in = (uInt)(left < piece ? left : piece);
            g->at += g->z.avail_in;
        }
        const size_t room = want - *got < piece ? want - *got : piece;
        g->z.next_out = out + *got;
        g->z.avail_out = (uInt)room;
        const int result = inflate(&g->z, Z_NO_FLUSH);
        *got += room - g->z.avail_out;
        if (result == Z_STREAM_END) {
            FUL_TRY(next_member(g));
            continue;
        }
        FUL_FAIL_IF(result == Z_MEM_ERROR, FUL_ERR_MEMORY, "cannot decompress '%s': out of memory", g->name);
        FUL_FAIL_IF(result == Z_BUF_ERROR && g->at == g->n, FUL_ERR_FORMAT, "cannot decompress '%s': the gzip data is cut off",
                    g->name);
        FUL_FAIL_IF(result != Z_OK && result != Z_BUF_ERROR, FUL_ERR_FORMAT,
                    "cannot decompress '%s': the gzip data is damaged (%s)", g->name, g->z.msg ? g->z.msg : "no detail");
    }
    return FUL_OK;
}

ful_status ful__gz_read(ful__gz *g, void *out, size_t want, size_t *got)
{
    *got = 0;
    if (g->compressed) return inflate_into(g, out, want, got);
    *got = want < g->n - g->at ? want : g->n - g->at;
    if (*got > 0) memcpy(out, g->bytes + g->at, *got);
    g->at += *got;
    return FUL_OK;
}

void ful__gz_close(ful__gz *g)
{
    if (g->compressed) inflateEnd(&g->z);
    *g = (ful__gz){0};
}
