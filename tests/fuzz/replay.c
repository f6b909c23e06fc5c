/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replays a corpus without libFuzzer: replay_NAME FOLDER. Each file goes through the target whole, cut at up to 200 lengths,
 * and with up to 200 of its bytes changed, so that an ordinary test run meets many damaged inputs. A crash or a sanitizer's
 * report fails.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { VARIANTS = 200 };

static long inputs;

/* A copy of exactly this size, so that AddressSanitizer sees a read beyond it. */
static void run_one(const uint8_t *data, size_t bytes, size_t changed, uint8_t flip)
{
    uint8_t *copy = malloc(bytes ? bytes : 1);
    if (!copy) abort();
    if (bytes) memcpy(copy, data, bytes);
    if (changed < bytes) copy[changed] ^= flip;
    LLVMFuzzerTestOneInput(copy, bytes);
    free(copy);
    inputs++;
}

static void run_variants(const uint8_t *data, size_t bytes)
{
    static const uint8_t flips[] = {0x01, 0x80, 0xff, 0x20, 0x08};
    const size_t step = bytes / VARIANTS + 1;
    run_one(data, bytes, bytes, 0);
    for (size_t i = 0; i < bytes; i += step) {
        run_one(data, i, i, 0);
        run_one(data, bytes, i, flips[i / step % sizeof flips]);
    }
}

static int run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) return 1;
    fseek(file, 0, SEEK_END);
    const long size = ftell(file);
    rewind(file);
    uint8_t *data = malloc(size > 0 ? (size_t)size : 1);
    const int failed = !data || size < 0 || fread(data, 1, (size_t)size, file) != (size_t)size;
    if (!failed) run_variants(data, (size_t)size);
    free(data);
    fclose(file);
    return failed;
}

int main(int argc, char **argv)
{
    DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
    if (!folder) {
        fprintf(stderr, "usage: %s FOLDER-OF-INPUTS\n", argv[0]);
        return 2;
    }
    int files = 0, unread = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        char path[4096];
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
        unread += run_file(path);
        files++;
    }
    closedir(folder);
    printf("%d files, %ld inputs, %d files could not be read\n", files, inputs, unread);
    return files == 0 || unread > 0;
}
