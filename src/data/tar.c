/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tar archive is a run of 512-byte blocks: a header, the member's bytes padded to whole blocks, the next header, …, two
 * blocks of zeros. Names and sizes that do not fit a header stand in a member of their own before it (GNU: type 'L'; pax: type
 * 'x').
 */
#include "data/tar.h"

#include <string.h>

#include "core/error.h"
#include "core/mem.h"

enum { BLOCK = 512, WINDOW_BYTES = 64 << 10, WINDOW_FAR_BYTES = 4 << 10, EXTRA_MOST = 1 << 20 };

typedef struct header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, target[100], magic[8];
    char user[32], group[32], major[8], minor[8], prefix[155], unused[12];
} header;
_Static_assert(sizeof(header) == BLOCK, "a tar header is one block");

/* ---- the stream ---- */

static ful_status skip_to(ful__tar_stream *s, uint64_t at)
{
    uint8_t nowhere[4096];
    while (s->position < at) {
        const uint64_t left = at - s->position;
        size_t got = 0;
        FUL_TRY(ful__gz_read(&s->gz, nowhere, left < sizeof nowhere ? (size_t)left : sizeof nowhere, &got));
        if (got == 0) break;
        s->position += got;
    }
    return FUL_OK;
}

/* Headers come one after another: near the last, much is read ahead; behind a large member little, to leave its bytes alone. */
static ful_status fill_window(ful__tar_stream *s, const char *name, uint64_t at)
{
    const uint64_t last = s->window_at + s->window_bytes;
    const size_t want = at <= last + WINDOW_BYTES ? WINDOW_BYTES : WINDOW_FAR_BYTES;
    s->window_bytes = 0;
    s->window_at = at;
    return ful__file_read_at(&s->file, name, at, s->window, want, &s->window_bytes);
}

/* Up to n bytes; fewer only at the end. */
static ful_status stream_read(ful__tar_stream *s, const char *name, uint64_t at, void *out, size_t n, size_t *got)
{
    *got = 0;
    if (s->file.fd < 0) {
        FUL_FAIL_IF(at < s->position, FUL_ERR_INTERNAL, "cannot read tar archive '%s' backwards: it is a stream", name);
        FUL_TRY(skip_to(s, at));
        if (s->position < at) return FUL_OK;
        FUL_TRY(ful__gz_read(&s->gz, out, n, got));
        s->position += *got;
        return FUL_OK;
    }
    if (at < s->window_at || at + n > s->window_at + s->window_bytes) {
        if (n > WINDOW_BYTES / 2) return ful__file_read_at(&s->file, name, at, out, n, got);
        FUL_TRY(fill_window(s, name, at));
    }
    const size_t begin = (size_t)(at - s->window_at), left = begin < s->window_bytes ? s->window_bytes - begin : 0;
    *got = n < left ? n : left;
    memcpy(out, s->window + begin, *got);
    return FUL_OK;
}

static ful_status open_stream(ful__tar *t, const char *name)
{
    *t = (ful__tar){.name = name, .end = UINT64_MAX};
    FUL_TRY(ful__calloc(&t->stream, 1, sizeof *t->stream, "an archive reader"));
    t->stream->file.fd = -1;
    return FUL_OK;
}

ful_status ful__tar_open(ful__tar *t, const char *path)
{
    FUL_TRY(open_stream(t, path));
    ful__tar_stream *s = t->stream;
    uint8_t first[2];
    size_t got = 0;
    FUL_TRY(ful__file_open(&s->file, path));
    FUL_FAIL_IF(s->file.bytes == 0, FUL_ERR_FORMAT, "cannot read tar archive '%s': it is empty", path);
    FUL_TRY(ful__file_read_at(&s->file, path, 0, first, sizeof first, &got));
    if (ful__gz_is(first, got)) {
        ful__file_close(&s->file);
        t->compressed = true;
        FUL_TRY(ful__map_open(&s->map, path));
        return ful__gz_open(&s->gz, path, s->map.ptr, s->map.bytes);
    }
    t->end = s->file.bytes;
    return ful__calloc(&s->window, WINDOW_BYTES, 1, "a read buffer");
}

ful_status ful__tar_open_bytes(ful__tar *t, const char *name, const void *bytes, size_t n)
{
    FUL_TRY(open_stream(t, name));
    FUL_FAIL_IF(n == 0, FUL_ERR_FORMAT, "cannot read tar archive '%s': it is empty", name);
    t->compressed = ful__gz_is(bytes, n);
    if (!t->compressed) t->end = n;
    return ful__gz_open(&t->stream->gz, name, bytes, n);
}

ful_status ful__tar_open_member(ful__tar *t, const ful__tar *outer)
{
    *t = (ful__tar){.name = outer->name,
                    .stream = outer->stream,
                    .inner = true,
                    .compressed = outer->compressed,
                    .at = outer->member.offset,
                    .end = outer->member.offset + outer->member.bytes};
    return FUL_OK;
}

void ful__tar_close(ful__tar *t)
{
    if (t->stream && !t->inner) {
        ful__file_close(&t->stream->file);
        ful__gz_close(&t->stream->gz);
        ful__map_close(&t->stream->map);
        ful__free(t->stream->window);
        ful__free(t->stream);
    }
    ful__free(t->long_name);
    *t = (ful__tar){0};
}

/* ---- headers ---- */

/* Octal digits between spaces, or with the top bit set a big-endian number. */
static bool parse_number(const char *field, size_t n, uint64_t *out)
{
    const uint8_t *p = (const uint8_t *)field;
    uint64_t value = 0;
    size_t i = 0;
    if (p[0] & 0x80) {
        for (i = 0; i < n; i++) {
            if (value >> 55) return false;
            value = value << 8 | (i == 0 ? p[i] & 0x7fu : p[i]);
        }
        *out = value;
        return true;
    }
    while (i < n && p[i] == ' ') i++;
    for (; i < n && p[i] >= '0' && p[i] <= '7'; i++) value = value << 3 | (uint64_t)(p[i] - '0'); /* 12 digits at most */
    for (; i < n; i++) {
        if (p[i] != ' ' && p[i] != '\0') return false;
    }
    *out = value;
    return true;
}

static bool checksum_agrees(const header *h)
{
    uint64_t stored = 0, sum = 0;
    const uint8_t *p = (const uint8_t *)h;
    for (size_t i = 0; i < BLOCK; i++) sum += i >= offsetof(header, checksum) && i < offsetof(header, type) ? ' ' : p[i];
    return parse_number(h->checksum, sizeof h->checksum, &stored) && stored == sum;
}

/* Appends without "./" and doubled slashes; control characters, which could garble a message, become '?'. */
static size_t add_clean(char out[FUL__TAR_PATH_MAX], size_t n, const char *from, size_t bytes)
{
    for (size_t i = 0; i < bytes && from[i] && n + 1 < FUL__TAR_PATH_MAX; i++) {
        const bool starts = n == 0 || out[n - 1] == '/';
        if (starts && (from[i] == '/' || (from[i] == '.' && i + 1 < bytes && from[i + 1] == '/'))) continue;
        out[n++] = (unsigned char)from[i] < 0x20 || from[i] == 0x7f ? '?' : from[i];
    }
    out[n] = '\0';
    return n;
}

static void set_path(ful__tar *t, const header *h)
{
    size_t n = 0;
    if (t->long_name && *t->long_name) {
        add_clean(t->path, 0, t->long_name, strlen(t->long_name));
        return;
    }
    if (memcmp(h->magic, "ustar", 6) == 0 && *h->prefix) { /* GNU writes "ustar " and other things there */
        n = add_clean(t->path, 0, h->prefix, sizeof h->prefix);
        n = add_clean(t->path, n, "/", 1);
    }
    add_clean(t->path, n, h->name, sizeof h->name);
}

/* The bytes of a member that speaks about the next one, with '\0' behind. */
static ful_status read_extra(ful__tar *t, uint64_t bytes, char **out)
{
    size_t got = 0;
    FUL_FAIL_IF(bytes > EXTRA_MOST, FUL_ERR_FORMAT,
                "cannot read tar archive '%s': a name or pax header of %llu bytes, at most %d", t->name,
                (unsigned long long)bytes, EXTRA_MOST);
    FUL_TRY(ful__calloc(out, (size_t)bytes + 1, 1, "a tar header"));
    FUL_TRY(stream_read(t->stream, t->name, t->at, *out, (size_t)bytes, &got));
    FUL_FAIL_IF(got < bytes || t->at + bytes > t->end, FUL_ERR_FORMAT,
                "cannot read tar archive '%s': it is cut off in a header", t->name);
    return FUL_OK;
}

static ful_status keep_long_name(ful__tar *t, const char *name, size_t n)
{
    FUL_FAIL_IF(n >= FUL__TAR_PATH_MAX, FUL_ERR_FORMAT,
                "cannot read tar archive '%s': an entry has a name of %zu bytes, at most %d", t->name, n,
                FUL__TAR_PATH_MAX - 1);
    if (!t->long_name) FUL_TRY(ful__calloc(&t->long_name, FUL__TAR_PATH_MAX, 1, "a name"));
    memcpy(t->long_name, name, n);
    t->long_name[n] = '\0';
    return FUL_OK;
}

/* pax: lines "<bytes of the line> <key>=<value>\n". */
static ful_status parse_pax(ful__tar *t, const char *p, size_t left)
{
    while (left > 0) {
        size_t n = 0, i = 0;
        for (; i < left && i < 8 && p[i] >= '0' && p[i] <= '9'; i++) n = 10 * n + (size_t)(p[i] - '0');
        const char *equals = n > i + 1 && n <= left && p[i] == ' ' ? memchr(p + i, '=', n - i) : NULL;
        FUL_FAIL_IF(!equals || p[n - 1] != '\n', FUL_ERR_FORMAT, "cannot read tar archive '%s': a pax header is malformed",
                    t->name);
        const char *key = p + i + 1, *value = equals + 1;
        const size_t key_bytes = (size_t)(equals - key), value_bytes = (size_t)(p + n - 1 - value);
        if (key_bytes == 4 && memcmp(key, "path", 4) == 0) FUL_TRY(keep_long_name(t, value, value_bytes));
        if (key_bytes >= 11 && memcmp(key, "GNU.sparse.", 11) == 0) t->sparse = true;
        if (key_bytes == 4 && memcmp(key, "size", 4) == 0) {
            t->has_size = true;
            t->long_size = 0;
            for (size_t k = 0; k < value_bytes; k++) {
                FUL_FAIL_IF(value[k] < '0' || value[k] > '9' || t->long_size >> 56, FUL_ERR_FORMAT,
                            "cannot read tar archive '%s': a pax header has a size that is no number", t->name);
                t->long_size = 10 * t->long_size + (uint64_t)(value[k] - '0');
            }
        }
        p += n;
        left -= n;
    }
    return FUL_OK;
}

/* Members that only speak about others. *taken: it was one. */
static ful_status take_extra(ful__tar *t, char type, uint64_t bytes, bool *taken)
{
    *taken = type == 'L' || type == 'x' || type == 'K' || type == 'g' || type == 'V' || type == 'X';
    if (type != 'L' && type != 'x') return FUL_OK;
    char *extra = NULL;
    ful_status status = read_extra(t, bytes, &extra);
    if (status == FUL_OK) status = type == 'L' ? keep_long_name(t, extra, strlen(extra)) : parse_pax(t, extra, (size_t)bytes);
    ful__free(extra);
    return status;
}

static ful_status read_header(ful__tar *t, header *h, bool *more)
{
    static const header zeros;
    size_t got = 0;
    *more = false;
    if (t->at < t->end) FUL_TRY(stream_read(t->stream, t->name, t->at, h, BLOCK, &got));
    FUL_FAIL_IF(got < BLOCK || t->at + BLOCK > t->end, FUL_ERR_FORMAT,
                "cannot read tar archive '%s': it does not end with two blocks of zeros, it is cut off or no tar", t->name);
    if (memcmp(h, &zeros, BLOCK) == 0) return FUL_OK;
    FUL_FAIL_IF(!checksum_agrees(h), FUL_ERR_FORMAT,
                "cannot read tar archive '%s': the header at byte %llu is damaged (checksum)", t->name,
                (unsigned long long)t->at);
    *more = true;
    return FUL_OK;
}

/* What follows the mark of the end is not looked at, but a compressed stream ends with the checksum of all of it. */
static ful_status finish(ful__tar *t)
{
    if (!t->compressed || t->inner) return FUL_OK;
    return skip_to(t->stream, UINT64_MAX);
}

static ful_status describe_member(ful__tar *t, const header *h, uint64_t bytes)
{
    const bool plain = h->type == '0' || h->type == '\0' || h->type == '7' || h->type == 'S';
    set_path(t, h);
    const size_t n = strlen(t->path);
    const bool folder = h->type == '5' || (n > 0 && t->path[n - 1] == '/');
    if (t->has_size) bytes = t->long_size;
    if (!plain || folder) bytes = 0; /* links, folders, devices */
    FUL_FAIL_IF(h->type == 'S' || t->sparse, FUL_ERR_FORMAT,
                "cannot read '%s' in tar archive '%s': it is stored as a sparse file, which is not read", t->path, t->name);
    FUL_FAIL_IF(n == 0 && plain, FUL_ERR_FORMAT, "cannot read tar archive '%s': an entry has no name", t->name);
    FUL_FAIL_IF(bytes > t->end - t->at, FUL_ERR_FORMAT, "cannot read tar archive '%s': '%s' has %llu bytes, it is cut off",
                t->name, t->path, (unsigned long long)bytes);
    t->member = (ful__tar_member){.path = t->path,
                                  .offset = t->at,
                                  .bytes = bytes,
                                  .regular = plain && !folder,
                                  .link = h->type == '1' || h->type == '2'};
    t->at += (bytes + BLOCK - 1) & ~(uint64_t)(BLOCK - 1);
    return FUL_OK;
}

ful_status ful__tar_next(ful__tar *t, bool *more, ful__tar_member *out)
{
    if (t->long_name) *t->long_name = '\0';
    t->has_size = t->sparse = false;
    for (bool extra = true; extra;) {
        header h;
        uint64_t bytes = 0;
        FUL_TRY(read_header(t, &h, more));
        if (!*more) return finish(t);
        FUL_FAIL_IF(!parse_number(h.size, sizeof h.size, &bytes), FUL_ERR_FORMAT,
                    "cannot read tar archive '%s': the header at byte %llu has a size that is no number", t->name,
                    (unsigned long long)t->at);
        FUL_FAIL_IF(h.type == 'M', FUL_ERR_FORMAT, "cannot read tar archive '%s': it continues another volume", t->name);
        t->at += BLOCK;
        FUL_TRY(take_extra(t, h.type, bytes, &extra));
        if (extra)
            t->at += (bytes + BLOCK - 1) & ~(uint64_t)(BLOCK - 1);
        else
            FUL_TRY(describe_member(t, &h, bytes));
    }
    *out = t->member;
    return FUL_OK;
}

ful_status ful__tar_take(ful__tar *t, void *out, size_t n)
{
    size_t got = 0;
    FUL_FAIL_IF(n > t->member.bytes, FUL_ERR_INTERNAL, "cannot read %zu bytes of '%s': it has %llu", n, t->path,
                (unsigned long long)t->member.bytes);
    FUL_TRY(stream_read(t->stream, t->name, t->member.offset, out, n, &got));
    FUL_FAIL_IF(got < n, FUL_ERR_FORMAT, "cannot read tar archive '%s': '%s' is cut off", t->name, t->path);
    return FUL_OK;
}
