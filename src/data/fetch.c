/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One file after another: into <name>.part, from where that ends (a range request), verified as a whole, then renamed. What is
 * there and right is kept; what is there and wrong is never overwritten.
 */
#include "data/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "data/config.h"
#include "data/source.h"

#ifdef FULCRUM_HAS_CURL
#include <curl/curl.h>

enum { ATTEMPTS = 5, CONNECT_SECONDS = 30, STALLED_SECONDS = 60 };

typedef struct transfer {
    const ful_fetch_options *options;
    const char *name;
    char *url, *path, *part; /* the file, and what it is called until it is whole */
    CURL *curl;
    int fd;
    uint64_t have; /* bytes in the part before this attempt */
    uint64_t got;  /* in this attempt */
    int write_error;
    char why[CURL_ERROR_SIZE];
} transfer;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static void initialise(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static size_t on_bytes(char *data, size_t one, size_t n, void *ctx)
{
    transfer *t = ctx;
    (void)one;
    for (size_t at = 0; at < n;) {
        ssize_t wrote = -1;
        errno = ENOSPC;
        if (!ful__fault_hit(FUL__FAULT_WRITE)) wrote = write(t->fd, data + at, n - at);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) {
            t->write_error = errno;
            return 0; /* ends the transfer */
        }
        at += (size_t)wrote;
    }
    t->got += n;
    return n;
}

static int on_progress(void *ctx, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up)
{
    const transfer *t = ctx;
    (void)up_total, (void)up;
    if (t->options->progress)
        t->options->progress(t->options->cookie, t->name, t->have + (uint64_t)now, total > 0 ? t->have + (uint64_t)total : 0);
    return t->options->stop && *t->options->stop;
}

static ful_status set_options(transfer *t)
{
    CURL *c = t->curl;
    const bool good = curl_easy_setopt(c, CURLOPT_URL, t->url) == CURLE_OK &&
                      curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
                      curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, "http,https") == CURLE_OK &&
                      curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L) == CURLE_OK &&
                      curl_easy_setopt(c, CURLOPT_MAXREDIRS, 10L) == CURLE_OK &&
                      curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L) == CURLE_OK &&
                      curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
                      curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS) == CURLE_OK &&
                      curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L) == CURLE_OK &&
                      curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)STALLED_SECONDS) == CURLE_OK &&
                      curl_easy_setopt(c, CURLOPT_USERAGENT, "fulcrum/" FULCRUM_VERSION) == CURLE_OK &&
                      curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_bytes) == CURLE_OK &&
                      curl_easy_setopt(c, CURLOPT_WRITEDATA, t) == CURLE_OK &&
                      curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress) == CURLE_OK &&
                      curl_easy_setopt(c, CURLOPT_XFERINFODATA, t) == CURLE_OK &&
                      curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L) == CURLE_OK &&
                      curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->why) == CURLE_OK;
    FUL_FAIL_IF(!good, FUL_ERR_UNSUPPORTED, "cannot download '%s': libcurl refuses an option", t->url);
    return FUL_OK;
}

static ful_status open_part(transfer *t)
{
    struct stat info;
    t->fd = -1;
    errno = ENOSPC;
    if (!ful__fault_hit(FUL__FAULT_WRITE)) t->fd = open(t->part, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    FUL_FAIL_IF(t->fd < 0, FUL_ERR_IO, "cannot write '%s': %s", t->part, strerror(errno));
    FUL_FAIL_IF(fstat(t->fd, &info) != 0, FUL_ERR_IO, "cannot examine '%s': %s", t->part, strerror(errno));
    t->have = (uint64_t)info.st_size;
    return FUL_OK;
}

static ful_status close_part(transfer *t)
{
    if (t->fd < 0) return FUL_OK;
    errno = ENOSPC;
    const bool good = !ful__fault_hit(FUL__FAULT_WRITE) && fsync(t->fd) == 0;
    const int error = errno;
    close(t->fd);
    t->fd = -1;
    FUL_FAIL_IF(!good, FUL_ERR_IO, "cannot write '%s': %s", t->part, strerror(error));
    return FUL_OK;
}

typedef enum outcome { DONE, AGAIN, FROM_START, GIVE_UP } outcome;

static bool may_pass(CURLcode code, long http)
{
    if (code == CURLE_HTTP_RETURNED_ERROR) return http >= 500 || http == 408 || http == 429;
    return code == CURLE_PARTIAL_FILE || code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR || code == CURLE_GOT_NOTHING ||
           code == CURLE_OPERATION_TIMEDOUT || code == CURLE_COULDNT_CONNECT || code == CURLE_HTTP2_STREAM;
}

/* One request for what is missing. The message is set unless DONE. */
static outcome request(transfer *t, ful_status *status)
{
    long http = 0;
    t->got = 0;
    t->write_error = 0;
    *t->why = '\0';
    *status = open_part(t);
    if (*status != FUL_OK) return GIVE_UP;
    if (curl_easy_setopt(t->curl, CURLOPT_RESUME_FROM_LARGE, (curl_off_t)t->have) != CURLE_OK) t->have = 0;
    const CURLcode code = curl_easy_perform(t->curl);
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &http);
    *status = close_part(t);
    if (*status != FUL_OK) return GIVE_UP;
    if (code == CURLE_OK && http != 416) return DONE; /* 416 is no error to libcurl: nothing is left */
    if (t->write_error) {
        *status = ful__fail(FUL_ERR_IO, "cannot write '%s': %s", t->part, strerror(t->write_error));
        return GIVE_UP;
    }
    if (code == CURLE_ABORTED_BY_CALLBACK) {
        *status = ful__fail(FUL_ERR_INTERRUPTED, "stopped while downloading '%s': the same command goes on from there", t->url);
        return GIVE_UP;
    }
    *status = ful__fail(code == CURLE_OUT_OF_MEMORY ? FUL_ERR_MEMORY : FUL_ERR_IO, "cannot download '%s': %s", t->url,
                        *t->why ? t->why : curl_easy_strerror(code));
    if (t->have > 0 && (code == CURLE_RANGE_ERROR || http == 416)) return FROM_START;
    return may_pass(code, http) ? AGAIN : GIVE_UP;
}

static void pause_before(int attempt)
{
    const struct timespec pause = {.tv_sec = attempt / 2, .tv_nsec = attempt % 2 * 500000000L};
    nanosleep(&pause, NULL);
}

static ful_status verify(const transfer *t, const ful__fetch_file *file, const char *path, bool *right)
{
    char text[FUL__DIGEST_TEXT];
    *right = true;
    if (!file->digest) return FUL_OK;
    FUL_TRY(ful__digest_file(path, file->kind, text));
    *right = strcmp(text, file->digest) == 0;
    if (!*right)
        return ful__fail(FUL_ERR_DATA, "cannot accept '%s' from '%s': its %s is %s, %s is due", path, t->url,
                         ful__digest_name(file->kind), text, file->digest);
    return FUL_OK;
}

static ful_status put_in_place(const transfer *t)
{
    const bool refused = ful__fault_hit(FUL__FAULT_WRITE);
    FUL_FAIL_IF(refused || rename(t->part, t->path) != 0, FUL_ERR_IO, "cannot rename '%s' to '%s': %s", t->part, t->path,
                strerror(refused ? ENOSPC : errno));
    return FUL_OK;
}

/* A part that a server cannot add to is all there is of the file, or useless. */
static ful_status start_over(const transfer *t, const ful__fetch_file *file, bool *whole)
{
    const ful_status status = file->digest ? verify(t, file, t->part, whole) : FUL_OK;
    if (!file->digest) *whole = false;
    if (status != FUL_OK && status != FUL_ERR_DATA) return status;
    if (!*whole) unlink(t->part);
    return FUL_OK;
}

static ful_status download(transfer *t, const ful__fetch_file *file)
{
    ful_status status = FUL_OK;
    bool whole = false;
    FUL_TRY(set_options(t));
    for (int attempt = 0; !whole; attempt++) {
        const outcome o = request(t, &status);
        if (o == DONE) break;
        if (o == GIVE_UP || attempt + 1 >= ATTEMPTS) return status;
        if (o == FROM_START) {
            FUL_TRY(start_over(t, file, &whole));
            continue;
        }
        if (t->got > 0) attempt = 0; /* it goes on, if slowly */
        ful__log(FUL_LOG_WARN, "%s; trying again", ful_error_message());
        pause_before(attempt);
    }
    bool right;
    status = verify(t, file, t->part, &right);
    if (status == FUL_ERR_DATA) unlink(t->part); /* nothing that could be added to would make it right */
    FUL_TRY(status);
    return put_in_place(t);
}

static ful_status fetch_file(const ful__fetch_file *file, const char *base, const char *folder, transfer *t,
                             ful_fetch_report *r)
{
    bool right = false;
    char name[256];
    t->name = file->name;
    t->fd = -1;
    snprintf(name, sizeof name, "%s.part", file->name);
    FUL_TRY(ful__path_join(&t->url, base, file->name));
    FUL_TRY(ful__path_join(&t->path, folder, file->name));
    FUL_TRY(ful__path_join(&t->part, folder, name));
    r->files++;
    r->unverified += !file->digest;
    if (ful__path_exists(t->path)) {
        FUL_TRY(verify(t, file, t->path, &right)); /* what is wrong there is the user's to remove */
        r->kept++;
        return FUL_OK;
    }
    t->curl = curl_easy_init();
    FUL_FAIL_IF(!t->curl, FUL_ERR_MEMORY, "cannot download '%s': out of memory", t->url);
    const ful_status status = download(t, file);
    curl_easy_cleanup(t->curl);
    FUL_TRY(status);
    struct stat info;
    if (stat(t->path, &info) == 0) r->bytes += (uint64_t)info.st_size;
    return FUL_OK;
}

ful_status ful__fetch(const ful__fetch_set *set, const char *folder, const ful_fetch_options *options, ful_fetch_report *report)
{
    const char *base = options->from && *options->from ? options->from : set->base;
    *report = (ful_fetch_report){.after = set->after};
    FUL_FAIL_IF(!base, FUL_ERR_DATA, "cannot download '%s': %s", set->name, set->why);
    pthread_once(&once, initialise);
    FUL_TRY(ful__mkdirs(folder));
    ful_status status = FUL_OK;
    for (const ful__fetch_file *file = set->files; file->name && status == FUL_OK; file++) {
        transfer t = {.options = options};
        status = fetch_file(file, base, folder, &t, report);
        ful__free(t.url);
        ful__free(t.path);
        ful__free(t.part);
    }
    return status;
}

#else

/* What the user can do without it: build it in, or carry the files. */
ful_status ful__fetch(const ful__fetch_set *set, const char *folder, const ful_fetch_options *options, ful_fetch_report *report)
{
    const char *base = options->from && *options->from ? options->from : set->base;
    char files[256] = "";
    size_t at = 0;
    *report = (ful_fetch_report){0};
    FUL_FAIL_IF(!base, FUL_ERR_DATA, "cannot download '%s': %s", set->name, set->why);
    for (const ful__fetch_file *file = set->files; file->name && at < sizeof files; file++)
        at += (size_t)snprintf(files + at, sizeof files - at, "%s%s", at > 0 ? ", " : "", file->name);
    return ful__fail(FUL_ERR_UNSUPPORTED,
                     "cannot download '%s': this program was built without libcurl; install it (Debian: libcurl4-openssl-dev) "
                     "and build again, or put %s from %s into %s%s%s",
                     set->name, files, base, folder, set->after ? "; then " : "", set->after ? set->after : "");
}

#endif

ful_status ful_data_fetch(const char *name, const char *folder, const ful_fetch_options *options, char **folder_out,
                          ful_fetch_report *report)
{
    static const ful_fetch_options none;
    FUL_FAIL_IF(!name || !report, FUL_ERR_ARG, "cannot download a data set with a null name or report: both must be given");
    const ful__fetch_set *set = ful__fetch_find(name);
    FUL_FAIL_IF(
        !set, FUL_ERR_CONFIG,
        "cannot download '%s': it must be cifar10, cifar100, tiny-imagenet, mnist, fashion-mnist, kmnist, emnist or imagenet",
        name);
    char *path = NULL;
    ful_data_config config;
    ful_data_config_defaults(&config);
    snprintf(config.name, sizeof config.name, "%s", name);
    FUL_TRY(folder && *folder ? ful__strdup(&path, folder) : ful__data_root(&config, &path));
    const ful_status status = ful__fetch(set, path, options ? options : &none, report);
    if (folder_out && status == FUL_OK)
        *folder_out = path;
    else
        ful__free(path);
    return status;
}
