/* SPDX-License-Identifier: Apache-2.0 */
/* The run's folder: one run at a time works in it, and a resumed one finds no rows of epochs it will train again. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "core/error.h"
#include "core/file.h"
#include "core/mem.h"
#include "ops/conv2d/choices.h"
#include "train/config.h"
#include "train/run.h"

enum { ROWS_MAX_BYTES = 1 << 30, CHOICES_MAX_BYTES = 1 << 20 };

ful_status ful__folder_path(const ful__run *run, const char *name, char **out)
{
    return ful__path_join(out, run->folder, name);
}

/* The folder's entries; NULL after the last. */
static const char *next_entry(DIR *dir)
{
    for (const struct dirent *entry; (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) return entry->d_name;
    return NULL;
}

static ful_status open_entries(const ful__run *run, DIR **out)
{
    *out = opendir(run->folder);
    FUL_FAIL_IF(!*out, FUL_ERR_IO, "cannot look into '%s': %s", run->folder, strerror(errno));
    return FUL_OK;
}

static ful_status check_empty(const ful__run *run)
{
    DIR *dir = NULL;
    ful_status status = FUL_OK;
    FUL_TRY(open_entries(run, &dir));
    const char *name = next_entry(dir);
    while (name && strcmp(name, "error.json") == 0) name = next_entry(dir); /* of a run that did not come to its first file */
    if (name)
        status = ful__fail(FUL_ERR_CONFIG,
                           "cannot train into '%s', which has '%s' in it: it must be empty, or the run resumed (--resume)",
                           run->folder, name);
    closedir(dir);
    return status;
}

ful_status ful__folder_open(ful__run *run)
{
    FUL_TRY(ful__mkdirs(run->folder));
    run->lock = open(run->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    FUL_FAIL_IF(run->lock < 0, FUL_ERR_IO, "cannot open the folder '%s': %s", run->folder, strerror(errno));
    const int locked = flock(run->lock, LOCK_EX | LOCK_NB);
    FUL_FAIL_IF(locked != 0 && errno == EWOULDBLOCK, FUL_ERR_CONFIG, "cannot train into '%s': another run is at work there",
                run->folder);
    return run->options.resume ? FUL_OK : check_empty(run);
}

void ful__folder_close(ful__run *run)
{
    if (run->lock >= 0) close(run->lock); /* which unlocks */
    run->lock = -1;
}

ful_status ful__folder_write(const ful__run *run, const char *name, const char *text)
{
    char *path = NULL;
    FUL_TRY(ful__folder_path(run, name, &path));
    const ful_status status = ful__file_write(path, text, strlen(text));
    ful__free(path);
    return status;
}

/* Convolutions ------------------------------------------------------------------------------------------------------------- */

static const char choices_name[] = "conv-choices.tsv";

ful_status ful__folder_read_choices(const ful__run *run)
{
    char *path = NULL, *text = NULL;
    size_t bytes;
    FUL_TRY(ful__folder_path(run, choices_name, &path));
    ful_status status = FUL_OK;
    if (run->options.resume && ful__path_exists(path)) {
        status = ful__file_read(path, CHOICES_MAX_BYTES, &text, &bytes);
        if (status == FUL_OK) status = ful__conv_choices_add(text, path);
    }
    ful__free(text);
    ful__free(path);
    return status;
}

ful_status ful__folder_write_choices(const ful__run *run)
{
    char *text = NULL;
    FUL_TRY(ful__conv_choices_text(&text));
    const ful_status status = *text ? ful__folder_write(run, choices_name, text) : FUL_OK;
    ful__free(text);
    return status;
}

/* Configuration ------------------------------------------------------------------------------------------------------------ */

ful_status ful__folder_compare_config(ful__run *run)
{
    char *path = NULL;
    ful__config_change change = {.found = false};
    FUL_TRY(ful__folder_path(run, "config.yaml", &path));
    const ful_status status = ful__path_exists(path) ? ful__config_check_stored(path, &run->config, &change) : FUL_OK;
    ful__free(path);
    FUL_TRY(status);
    FUL_FAIL_IF(change.found, FUL_ERR_CONFIG,
                "cannot resume in '%s': %s is %s in its config.yaml, and %s in the configuration now; they must agree",
                run->folder, change.key, change.was, change.is);
    return FUL_OK;
}

/* Cleaning --------------------------------------------------------------------------------------------------------------- */

/* What killed writers left. */
static ful_status remove_temporaries(const ful__run *run)
{
    DIR *dir = NULL;
    FUL_TRY(open_entries(run, &dir));
    for (const char *name; (name = next_entry(dir));)
        if (strstr(name, ".tmp-")) unlinkat(run->lock, name, 0);
    closedir(dir);
    return FUL_OK;
}

/* Keeps the lines {"epoch": n, … with n <= the finished epochs, up to the first that is cut off. */
static size_t kept_bytes(const char *text, int epochs)
{
    size_t kept = 0;
    for (;;) {
        const char *end = strchr(text + kept, '\n');
        int epoch = 0;
        if (!end || sscanf(text + kept, "{\"epoch\": %d", &epoch) != 1 || epoch > epochs) return kept;
        kept = (size_t)(end - text) + 1;
    }
}

static ful_status trim_rows(const ful__run *run, const char *name)
{
    char *path = NULL, *text = NULL;
    size_t bytes = 0;
    ful_status status = FUL_OK;
    FUL_TRY_GOTO(status, done, ful__folder_path(run, name, &path));
    if (!ful__path_exists(path)) goto done;
    FUL_TRY_GOTO(status, done, ful__file_read(path, ROWS_MAX_BYTES, &text, &bytes));
    const size_t kept = kept_bytes(text, run->h.epoch);
    if (kept < bytes) FUL_TRY_GOTO(status, done, ful__file_write(path, text, kept));
done:
    ful__free(path);
    ful__free(text);
    return status;
}

ful_status ful__folder_clean(const ful__run *run)
{
    FUL_TRY(remove_temporaries(run));
    unlinkat(run->lock, "error.json", 0);
    FUL_TRY(trim_rows(run, "metrics.jsonl"));
    return trim_rows(run, "routing.jsonl");
}

/* As far as it can be told: the disk may be what failed. */
void ful__folder_report_error(const ful__run *run, ful_status status)
{
    char message[1024];
    char *text = NULL;
    ful__emitter j = {0};
    snprintf(message, sizeof message, "%s", ful_error_message());
    ful__emit_open(&j, NULL, '{');
    ful__emit_text(&j, "status", ful_status_name(status));
    ful__emit_text(&j, "message", message);
    ful__emit_int(&j, "epoch", run->h.epoch + 1);
    ful__emit_close(&j, '}');
    if (ful__emit_take(&j, &text) == FUL_OK) (void)!ful__folder_write(run, "error.json", text);
    ful__free(text);
    (void)ful__fail(status, "%s", message);
}
