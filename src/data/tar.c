/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tar archives of class/file images, through libarchive. Decompression is ours (gz.c), because it verifies checksums.
 * Nothing is ever unpacked to the disk: an entry's name is only looked at for its class.
 */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "core/error.h"
#include "core/log.h"
#include "core/mem.h"
#include "data/gz.h"
#include "data/limits.h"
#include "data/readers.h"

enum { CHUNK_BYTES = 256 << 10, NAME_MOST = 4096 };

typedef struct tar {
    const char *name;
    ful__gz gz;
    ful_status stream_status; /* what stopped the stream; libarchive only passes on that something did */
    struct archive *archive;
    uint8_t *chunk;
    char folders[NAME_MOST]; /* what comes before class/file: the same for all images */
    bool any;
    int64_t links;
} tar;

bool ful__has_image_suffix(const char *path)
{
    static const char *const suffix[] = {".jpg", ".jpeg", ".png"};
    const size_t n = strlen(path);
    for (size_t i = 0; i < sizeof suffix / sizeof *suffix; i++) {
        const size_t k = strlen(suffix[i]);
        if (n > k && strcasecmp(path + n - k, suffix[i]) == 0) return true;
    }
    return false;
}

bool ful__is_dotted(const char *path)
{
    for (const char *p = path; *p; p++) {
        if (*p != '.' || (p > path && p[-1] != '/')) continue;
        if (p[1] != '/' && p[1] != '\0') return true; /* "./" is no name */
    }
    return false;
}

static la_ssize_t on_read(struct archive *a, void *ctx, const void **out)
{
    tar *t = ctx;
    size_t got = 0;
    t->stream_status = ful__gz_read(&t->gz, t->chunk, CHUNK_BYTES, &got);
    *out = t->chunk;
    if (t->stream_status == FUL_OK) return (la_ssize_t)got;
    archive_set_error(a, EILSEQ, "%s", ful_error_message());
    return -1;
}

static ful_status archive_failed(const tar *t)
{
    if (t->stream_status != FUL_OK) return t->stream_status; /* its message stands */
    const char *why = archive_error_string(t->archive);
    return ful__fail(FUL_ERR_FORMAT, "cannot read tar archive '%s': %s", t->name, why ? why : "damaged");
}

/* A tar ends with two blocks of zeros: without them a file cut off between two entries would look whole. */
static ful_status check_end(const ful__bytes *file)
{
    static const uint8_t zeros[1024];
    FUL_FAIL_IF(file->n < sizeof zeros || memcmp(file->data + file->n - sizeof zeros, zeros, sizeof zeros) != 0, FUL_ERR_FORMAT,
                "cannot read tar archive '%s': it does not end with two blocks of zeros, it is cut off or no tar", file->name);
    return FUL_OK;
}

static ful_status tar_open(tar *t, const ful__bytes *file)
{
    FUL_FAIL_IF(file->n == 0, FUL_ERR_FORMAT, "cannot read tar archive '%s': it is empty", file->name);
    if (!ful__gz_is(file->data, file->n)) FUL_TRY(check_end(file));
    FUL_TRY(ful__gz_open(&t->gz, file->name, file->data, file->n));
    FUL_TRY(ful__calloc(&t->chunk, CHUNK_BYTES, 1, "a read buffer"));
    t->archive = archive_read_new();
    FUL_FAIL_IF(!t->archive, FUL_ERR_MEMORY, "cannot read tar archive '%s': out of memory", file->name);
    archive_read_support_format_tar(t->archive);
    if (archive_read_open(t->archive, t, NULL, on_read, NULL) != ARCHIVE_OK) return archive_failed(t);
    return FUL_OK;
}

/* Copies an entry's name without "./" and doubled slashes; control characters, which could garble a message, become '?'. */
static void clean_name(const char *from, char out[NAME_MOST])
{
    size_t n = 0;
    for (const char *p = from; *p && n + 1 < NAME_MOST; p++) {
        const bool starts = n == 0 || out[n - 1] == '/';
        if (starts && (*p == '/' || (p[0] == '.' && p[1] == '/'))) continue;
        out[n++] = (unsigned char)*p < 0x20 || *p == 0x7f ? '?' : *p;
    }
    out[n] = '\0';
}

/* The class of an image: the folder it lies in. */
static ful_status class_of(tar *t, char *path, ful__build *b, int *label)
{
    char *file = strrchr(path, '/');
    FUL_FAIL_IF(!file, FUL_ERR_DATA, "cannot use '%s' in '%s': it lies in no folder that would name its class", path, t->name);
    *file = '\0';
    char *slash = strrchr(path, '/');
    const char *class_name = slash ? slash + 1 : path;
    const size_t folder_bytes = (size_t)(class_name - path);
    if (!t->any) memcpy(t->folders, path, folder_bytes); /* it was zeroed: ends with '\0' */
    t->any = true;
    FUL_FAIL_IF(
        strlen(t->folders) != folder_bytes || memcmp(t->folders, path, folder_bytes) != 0, FUL_ERR_DATA,
        "cannot use '%s': images lie in '%s<class>/' and in '%.*s<class>/', one archive must hold one split as class/file",
        t->name, t->folders, (int)folder_bytes, path);
    const ful_status status = ful__build_class(b, class_name, label);
    *file = '/';
    return status;
}

static ful_status read_image(tar *t, struct archive_entry *entry, char *path, ful__build *b)
{
    int label;
    uint8_t *bytes = NULL;
    char name[2 * NAME_MOST];
    const int64_t size = archive_entry_size(entry);
    FUL_TRY(class_of(t, path, b, &label));
    snprintf(name, sizeof name, "%s: %s", t->name, path);
    if (size < 1 || size > FUL__IMAGE_FILE_MAX) {
        return ful__build_report(b, ful__fail(FUL_ERR_DATA, "cannot decode image '%s' of %lld bytes: 1..%u are accepted", name,
                                              (long long)size, FUL__IMAGE_FILE_MAX));
    }
    FUL_TRY(ful__calloc(&bytes, (size_t)size, 1, "an image file"));
    if (archive_read_data(t->archive, bytes, (size_t)size) != size) {
        ful__free(bytes);
        return archive_failed(t);
    }
    return ful__build_take_encoded(b, name, label, bytes, (size_t)size);
}

static ful_status read_entry(tar *t, struct archive_entry *entry, ful__build *b)
{
    char path[NAME_MOST];
    const char *stored = archive_entry_pathname(entry);
    if (!stored) stored = archive_entry_pathname_utf8(entry); /* not in this locale's characters */
    FUL_FAIL_IF(!stored, FUL_ERR_FORMAT, "cannot read tar archive '%s': an entry has no name", t->name);
    FUL_FAIL_IF(strlen(stored) >= NAME_MOST, FUL_ERR_FORMAT,
                "cannot read tar archive '%s': an entry has a name of %zu bytes, at most %d", t->name, strlen(stored),
                NAME_MOST - 1);
    clean_name(stored, path);
    if (ful__is_dotted(path) || !ful__has_image_suffix(path)) return FUL_OK;
    const bool link = archive_entry_hardlink(entry) || archive_entry_filetype(entry) == AE_IFLNK;
    t->links += link;
    if (link || archive_entry_filetype(entry) != AE_IFREG) return FUL_OK;
    return read_image(t, entry, path, b);
}

static ful_status read_all(tar *t, ful__build *b)
{
    struct archive_entry *entry;
    int result;
    while ((result = archive_read_next_header(t->archive, &entry)) == ARCHIVE_OK || result == ARCHIVE_WARN) {
        FUL_TRY(read_entry(t, entry, b));
    }
    if (result != ARCHIVE_EOF) return archive_failed(t);
    for (size_t got = 1; got > 0;) FUL_TRY(ful__gz_read(&t->gz, t->chunk, CHUNK_BYTES, &got)); /* to the checksum */
    if (t->links > 0)
        ful__log(FUL_LOG_WARN, "tar archive '%s': %lld linked images were left out", t->name, (long long)t->links);
    return FUL_OK;
}

ful_status ful__tar_read(const ful__bytes *file, ful__build *b)
{
    tar t = {.name = file->name};
    ful_status status = tar_open(&t, file);
    if (status == FUL_OK) status = read_all(&t, b);
    if (t.archive) archive_read_free(t.archive);
    ful__gz_close(&t.gz);
    ful__free(t.chunk);
    return status;
}
