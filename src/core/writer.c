/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing files so that a reader sees the old bytes or the new ones:
 *
 *   create "<path>.tmp-<pid>" -> write … -> fsync -> rename over <path> -> fsync the folder
 *
 * Whatever fails before the rename leaves <path> untouched; abort then removes the temporary file.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/file.h"
#include "core/mem.h"

enum { BUFFER_BYTES = 1 << 20, MOST_TEMP_NAMES = 100 };

/* True, with errno set, where a test asked this operation to fail. */
static bool refused(void)
{
    if (!ful__fault_hit(FUL__FAULT_WRITE)) return false;
    errno = ENOSPC;
    return true;
}

/* The file to replace: a symbolic link is followed, and devices, pipes and folders are refused (a rename would remove them). */
static ful_status resolve_target(ful__writer *w, const char *path)
{
    struct stat info;
    FUL_FAIL_IF(*path == '\0', FUL_ERR_ARG, "cannot write to '': the name must not be empty");
    if (lstat(path, &info) != 0 || !S_ISLNK(info.st_mode)) {
        FUL_TRY(ful__strdup(&w->path, path));
    } else {
        char *real = realpath(path, NULL);
        FUL_FAIL_IF(!real, FUL_ERR_IO, "cannot write through the link '%s': %s", path, strerror(errno));
        const ful_status status = ful__strdup(&w->path, real);
        free(real); /* realpath's own */
        FUL_TRY(status);
    }
    FUL_FAIL_IF(stat(w->path, &info) == 0 && !S_ISREG(info.st_mode), FUL_ERR_IO,
                "cannot write to '%s': what is there is not a regular file", path);
    return FUL_OK;
}

/* Opens "<path>.tmp-<pid>", or with "-<n>" behind it where another writer of this process (or a dead one's) has that name. */
static ful_status open_temp(ful__writer *w)
{
    const size_t bytes = strlen(w->path) + 40;
    FUL_TRY(ful__calloc(&w->temp, bytes, 1, "a file name"));
    int n = snprintf(w->temp, bytes, "%s.tmp-%ld", w->path, (long)getpid());
    for (int i = 1; i <= MOST_TEMP_NAMES; i++) {
        if (!refused()) w->fd = open(w->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (w->fd >= 0 || (errno != EEXIST && errno != EINTR)) break;
        snprintf(w->temp + n, bytes - (size_t)n, "-%d", i);
    }
    if (w->fd >= 0) return FUL_OK;
    const int error = errno;
    const ful_status status = ful__fail(FUL_ERR_IO, "cannot create '%s': %s", w->temp, strerror(error));
    ful__free(w->temp); /* not ours to remove */
    w->temp = NULL;
    return status;
}

ful_status ful__writer_create(ful__writer *out, const char *path)
{
    *out = (ful__writer){.fd = -1};
    ful_status status = FUL_OK;
    FUL_TRY_GOTO(status, failed, resolve_target(out, path));
    FUL_TRY_GOTO(status, failed, ful__calloc(&out->buffer, BUFFER_BYTES, 1, "a write buffer"));
    FUL_TRY_GOTO(status, failed, open_temp(out));
    return FUL_OK;
failed:
    ful__writer_abort(out);
    return status;
}

/* write() until all is out. */
static ful_status write_out(ful__writer *w, const unsigned char *data, size_t bytes)
{
    while (bytes > 0) {
        const ssize_t put = refused() ? -1 : write(w->fd, data, bytes < INT_MAX ? bytes : INT_MAX);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) {
            w->failed = true;
            return ful__fail(FUL_ERR_IO, "cannot write '%s' after %llu bytes: %s", w->path,
                             (unsigned long long)(w->bytes - w->buffered), strerror(errno));
        }
        data += put;
        bytes -= (size_t)put;
    }
    return FUL_OK;
}

static ful_status flush(ful__writer *w)
{
    FUL_TRY(write_out(w, w->buffer, w->buffered));
    w->buffered = 0;
    return FUL_OK;
}

static ful_status check_usable(const ful__writer *w)
{
    FUL_FAIL_IF(!w->temp || w->fd < 0, FUL_ERR_ARG, "cannot use a writer that is not open: create it first");
    FUL_FAIL_IF(w->failed, FUL_ERR_IO, "cannot go on writing '%s': an earlier write failed", w->path);
    return FUL_OK;
}

ful_status ful__writer_write(ful__writer *w, const void *data, size_t bytes)
{
    FUL_TRY(check_usable(w));
    const unsigned char *from = data;
    while (bytes > 0) {
        if (w->buffered == 0 && bytes >= BUFFER_BYTES) { /* large pieces go past the buffer */
            FUL_TRY(write_out(w, from, bytes));
            w->bytes += bytes;
            return FUL_OK;
        }
        const size_t room = BUFFER_BYTES - w->buffered;
        const size_t part = bytes < room ? bytes : room;
        memcpy(w->buffer + w->buffered, from, part);
        w->buffered += part;
        w->bytes += part;
        from += part;
        bytes -= part;
        if (w->buffered == BUFFER_BYTES) FUL_TRY(flush(w));
    }
    return FUL_OK;
}

/* Makes the rename durable. File systems without fsync on folders say EINVAL; there is nothing more to do there. */
static ful_status sync_folder(const char *path)
{
    char *folder = NULL;
    FUL_TRY(ful__strdup(&folder, path));
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder] = '\0';
    const char *name = slash ? folder : ".";
    const int fd = refused() ? -1 : open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ful_status status = FUL_OK;
    if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP))
        status = ful__fail(FUL_ERR_IO, "cannot make '%s' durable in its folder: %s", path, strerror(errno));
    if (fd >= 0) close(fd);
    ful__free(folder);
    return status;
}

ful_status ful__writer_commit(ful__writer *w)
{
    FUL_TRY(check_usable(w));
    FUL_TRY(flush(w));
    const bool synced = !refused() && fsync(w->fd) == 0;
    FUL_FAIL_IF(!synced, FUL_ERR_IO, "cannot flush '%s' to the disk: %s", w->path, strerror(errno));
    const int failed = close(w->fd); /* network file systems report a full disk here */
    w->fd = -1;
    FUL_FAIL_IF(failed, FUL_ERR_IO, "cannot close '%s': %s", w->path, strerror(errno));
    const bool renamed = !refused() && rename(w->temp, w->path) == 0;
    FUL_FAIL_IF(!renamed, FUL_ERR_IO, "cannot rename '%s' to '%s': %s", w->temp, w->path, strerror(errno));
    ful__free(w->temp);
    w->temp = NULL;
    const ful_status status = sync_folder(w->path);
    ful__writer_abort(w);
    return status;
}

/* A zeroed writer has fd 0, which is not ours: only a writer with a buffer owns its fd. */
void ful__writer_abort(ful__writer *w)
{
    if (w->buffer && w->fd >= 0) close(w->fd);
    if (w->temp) unlink(w->temp);
    ful__free(w->temp);
    ful__free(w->path);
    ful__free(w->buffer);
    *w = (ful__writer){.fd = -1};
}

ful_status ful__file_write(const char *path, const void *data, size_t bytes)
{
    ful__writer w;
    ful_status status = FUL_OK;
    FUL_TRY(ful__writer_create(&w, path));
    FUL_TRY_GOTO(status, done, ful__writer_write(&w, data, bytes));
    FUL_TRY_GOTO(status, done, ful__writer_commit(&w));
done:
    ful__writer_abort(&w);
    return status;
}

ful_status ful__file_append_line(const char *path, const char *line)
{
    const size_t bytes = strlen(line);
    char *text = NULL;
    FUL_FAIL_IF(strchr(line, '\n'), FUL_ERR_ARG, "cannot append to '%s': the line must not contain a line break", path);
    FUL_TRY(ful__calloc(&text, bytes + 1, 1, "a line"));
    memcpy(text, line, bytes);
    text[bytes] = '\n';
    const int fd = refused() ? -1 : open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    ssize_t put = -1;
    if (fd >= 0) {
        do put = refused() ? -1 : write(fd, text, bytes + 1);
        while (put < 0 && errno == EINTR);
    }
    const int error = put >= 0 ? ENOSPC : errno; /* a short write: the disk is full */
    if (fd >= 0) close(fd);
    ful__free(text);
    FUL_FAIL_IF(put != (ssize_t)(bytes + 1), FUL_ERR_IO, "cannot append a line of %zu bytes to '%s': %s", bytes, path,
                strerror(error));
    return FUL_OK;
}
