/* SPDX-License-Identifier: Apache-2.0 */
/* Archives of class/file images, from front to back. Nothing is ever unpacked to the disk. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/error.h"
#include "core/log.h"
#include "core/mem.h"
#include "data/limits.h"
#include "data/readers.h"
#include "data/tar.h"

typedef struct images {
    const char *name;
    char folders[FUL__TAR_PATH_MAX]; /* what comes before class/file: the same for all images */
    bool any;
    int64_t links;
} images;

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

/* The class of an image: the folder it lies in. */
static ful_status class_of(images *t, char *path, ful__build *b, int *label)
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

static ful_status read_image(images *t, ful__tar *tar, const ful__tar_member *m, ful__build *b)
{
    int label;
    uint8_t *bytes = NULL;
    char path[FUL__TAR_PATH_MAX], name[2 * FUL__TAR_PATH_MAX];
    memcpy(path, m->path, strlen(m->path) + 1);
    FUL_TRY(class_of(t, path, b, &label));
    snprintf(name, sizeof name, "%s: %s", t->name, m->path);
    if (m->bytes < 1 || m->bytes > FUL__IMAGE_FILE_MAX) {
        return ful__build_report(b, ful__fail(FUL_ERR_DATA, "cannot decode image '%s' of %llu bytes: 1..%u are accepted", name,
                                              (unsigned long long)m->bytes, FUL__IMAGE_FILE_MAX));
    }
    FUL_TRY(ful__calloc(&bytes, (size_t)m->bytes, 1, "an image file"));
    const ful_status status = ful__tar_take(tar, bytes, (size_t)m->bytes);
    if (status == FUL_OK) return ful__build_take_encoded(b, name, label, bytes, (size_t)m->bytes);
    ful__free(bytes);
    return status;
}

static ful_status read_all(images *t, ful__tar *tar, ful__build *b)
{
    ful__tar_member m;
    for (bool more = true; more;) {
        FUL_TRY(ful__tar_next(tar, &more, &m));
        if (!more || ful__is_dotted(m.path) || !ful__has_image_suffix(m.path)) continue;
        t->links += m.link;
        if (m.regular) FUL_TRY(read_image(t, tar, &m, b));
    }
    if (t->links > 0)
        ful__log(FUL_LOG_WARN, "tar archive '%s': %lld linked images were left out", t->name, (long long)t->links);
    return FUL_OK;
}

ful_status ful__tar_read(const ful__bytes *file, ful__build *b)
{
    images t = {.name = file->name};
    ful__tar tar;
    ful_status status = ful__tar_open_bytes(&tar, file->name, file->data, file->n);
    if (status == FUL_OK) status = read_all(&t, &tar, b);
    ful__tar_close(&tar);
    return status;
}
