/* SPDX-License-Identifier: Apache-2.0 */
/* Reading files and walking paths. Writing: writer.c. */
#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/error.h"
#include "core/mem.h"

/* open() for reading, with the size of a regular file (0 for others). */
static ful_status open_to_read(const char *path, int *fd_out, struct stat *info_out)
{
    int fd;
    do fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd < 0 && errno == EINTR);
    FUL_FAIL_IF(fd < 0, FUL_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    if (fstat(fd, info_out) != 0) {
        const int error = errno;
        close(fd);
        return ful__fail(FUL_ERR_IO, "cannot examine '%s': %s", path, strerror(error));
    }
    if (S_ISDIR(info_out->st_mode)) {
        close(fd);
        return ful__fail(FUL_ERR_IO, "cannot read '%s': it is a folder", path);
    }
    *fd_out = fd;
    return FUL_OK;
}

ful_status ful__map_open(ful__map *out, const char *path)
{
    *out = (ful__map){0};
    int fd = -1;
    struct stat info;
    FUL_TRY(open_to_read(path, &fd, &info));
    if (!S_ISREG(info.st_mode)) {
        close(fd);
        return ful__fail(FUL_ERR_IO, "cannot map '%s': it must be a regular file", path);
    }
    if (info.st_size == 0) {
        close(fd);
        out->ptr = (const unsigned char *)"";
        return FUL_OK;
    }
    const size_t bytes = (size_t)info.st_size;
    void *ptr = MAP_FAILED;
    errno = EIO;
    if (!ful__fault_hit(FUL__FAULT_READ)) ptr = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    const int error = errno;
    close(fd);
    FUL_FAIL_IF(ptr == MAP_FAILED, FUL_ERR_IO, "cannot map '%s' (%zu bytes): %s", path, bytes, strerror(error));
    *out = (ful__map){.ptr = ptr, .bytes = bytes};
    return FUL_OK;
}

void ful__map_close(ful__map *map)
{
    if (map->bytes > 0) munmap((void *)(uintptr_t)map->ptr, map->bytes);
    *map = (ful__map){0};
}

ful_status ful__file_open(ful__file *out, const char *path)
{
    struct stat info;
    *out = (ful__file){.fd = -1};
    int fd = -1;
    FUL_TRY(open_to_read(path, &fd, &info));
    if (!S_ISREG(info.st_mode)) {
        close(fd);
        return ful__fail(FUL_ERR_IO, "cannot read '%s' by position: it must be a regular file", path);
    }
    *out = (ful__file){.fd = fd,
                       .bytes = (uint64_t)info.st_size,
                       .mtime_ns = (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec};
    return FUL_OK;
}

ful_status ful__file_read_at(const ful__file *f, const char *path, uint64_t at, void *out, size_t want, size_t *got_out)
{
    for (*got_out = 0; *got_out < want;) {
        ssize_t got = -1;
        errno = EIO;
        if (!ful__fault_hit(FUL__FAULT_READ))
            got = pread(f->fd, (char *)out + *got_out, want - *got_out, (off_t)(at + *got_out));
        if (got < 0 && errno == EINTR) continue;
        FUL_FAIL_IF(got < 0, FUL_ERR_IO, "cannot read '%s' at byte %llu: %s", path, (unsigned long long)(at + *got_out),
                    strerror(errno));
        if (got == 0) break;
        *got_out += (size_t)got;
    }
    return FUL_OK;
}

void ful__file_close(ful__file *f)
{
    if (f->fd >= 0) close(f->fd);
    *f = (ful__file){.fd = -1};
}

static ssize_t read_some(int fd, void *buffer, size_t bytes)
{
    if (ful__fault_hit(FUL__FAULT_READ)) {
        errno = EIO;
        return -1;
    }
    ssize_t got;
    do got = read(fd, buffer, bytes);
    while (got < 0 && errno == EINTR);
    return got;
}

/* Reads to the end or past max_bytes, whichever comes first. */
static ful_status read_all(const char *path, int fd, size_t max_bytes, size_t capacity, char **data, size_t *length)
{
    FUL_TRY(ful__calloc(data, capacity, 1, path));
    for (;;) {
        if (*length + 1 >= capacity) {
            capacity = capacity < max_bytes / 2 ? 2 * capacity : max_bytes + 2;
            FUL_TRY(ful__realloc(data, capacity, 1, path));
        }
        const ssize_t got = read_some(fd, *data + *length, capacity - 1 - *length);
        FUL_FAIL_IF(got < 0, FUL_ERR_IO, "cannot read '%s' after %zu bytes: %s", path, *length, strerror(errno));
        *length += (size_t)got;
        FUL_FAIL_IF(*length > max_bytes, FUL_ERR_FORMAT, "cannot read '%s': it may have at most %zu bytes", path, max_bytes);
        if (got == 0) break;
    }
    (*data)[*length] = '\0';
    return FUL_OK;
}

ful_status ful__file_read(const char *path, size_t max_bytes, char **data_out, size_t *bytes_out)
{
    *data_out = NULL;
    *bytes_out = 0;
    int fd = -1;
    struct stat info;
    FUL_FAIL_IF(max_bytes > SIZE_MAX / 4, FUL_ERR_ARG, "cannot read '%s' with a limit of %zu bytes: too large", path,
                max_bytes);
    FUL_TRY(open_to_read(path, &fd, &info));
    /* A pipe says 0, and a file may grow while it is read: the size is a first guess. */
    size_t capacity = 4096;
    if (S_ISREG(info.st_mode) && info.st_size > 0)
        capacity = ((uint64_t)info.st_size > max_bytes ? max_bytes : (size_t)info.st_size) + 2;
    char *data = NULL;
    size_t length = 0;
    const ful_status status = read_all(path, fd, max_bytes, capacity, &data, &length);
    close(fd);
    if (status != FUL_OK) {
        ful__free(data);
        return status;
    }
    *data_out = data;
    *bytes_out = length;
    return FUL_OK;
}

bool ful__path_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

bool ful__path_is_dir(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static ful_status make_dir(const char *path)
{
    int failed = -1;
    errno = EIO;
    if (!ful__fault_hit(FUL__FAULT_WRITE)) failed = mkdir(path, 0777);
    const int error = errno;
    FUL_FAIL_IF(failed && !ful__path_is_dir(path), FUL_ERR_IO, "cannot make folder '%s': %s", path, strerror(error));
    return FUL_OK;
}

ful_status ful__mkdirs(const char *path)
{
    char *copy = NULL;
    FUL_FAIL_IF(*path == '\0', FUL_ERR_ARG, "cannot make folder '': the name must not be empty");
    FUL_TRY(ful__strdup(&copy, path));
    ful_status status = FUL_OK;
    for (char *p = copy + 1; status == FUL_OK && *p; p++) {
        if (*p != '/' || p[-1] == '/') continue;
        *p = '\0';
        if (!ful__path_is_dir(copy)) status = make_dir(copy);
        *p = '/';
    }
    if (status == FUL_OK && !ful__path_is_dir(copy)) status = make_dir(copy);
    ful__free(copy);
    return status;
}

ful_status ful__path_join(char **out, const char *a, const char *b)
{
    const size_t na = strlen(a), nb = strlen(b);
    const bool slash = na > 0 && a[na - 1] != '/';
    FUL_TRY(ful__calloc(out, na + nb + 2, 1, "a path"));
    snprintf(*out, na + nb + 2, "%s%s%s", a, slash ? "/" : "", b);
    return FUL_OK;
}

uint64_t ful__hash64(const void *data, size_t bytes, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, bytes, seed);
}

ful_status ful__cache_folder(char **out)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (xdg && *xdg) return ful__path_join(out, xdg, "fulcrum");
    FUL_FAIL_IF(!home || !*home, FUL_ERR_CONFIG, "cannot choose a cache folder: XDG_CACHE_HOME or HOME must be set");
    return ful__path_join(out, home, ".cache/fulcrum");
}
