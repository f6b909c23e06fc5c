/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many images a second the loader hands out to somebody who does nothing with them.
 *
 *   bench_data PATH SIZE WORKERS SECONDS    a folder of class folders, streamed: decode, random resized crop to SIZE, flip
 *   bench_data packed 32 WORKERS SECONDS    32 px images in memory: crop4, flip; WORKERS = 0 is one core that does it all
 *
 * Prints one line of JSON. Batches of 32; the first ones, which were made ahead, are not counted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/time.h"
#include <fulcrum/data.h>

enum { BATCH = 32, PACKED = 20000 };

static ful_status measure(ful_loader *loader, double seconds, double *per_second, double *first)
{
    ful_batch b;
    int64_t images = 0, epoch = 0, batches = 0;
    double start = 0, now = 0;
    ful_status status = ful_loader_start(loader, epoch, 0);
    while (status == FUL_OK) {
        status = ful_loader_next(loader, &b);
        if (status == FUL_OK && b.n == 0) {
            status = ful_loader_start(loader, ++epoch, 0);
            continue;
        }
        now = ful__seconds();
        if (++batches == 8) start = now;
        if (batches > 8) images += b.n;
        if (batches > 8 && now - start >= seconds) break;
        *first = (double)b.x[0]; /* the data are there */
    }
    *per_second = (double)images / (now - start);
    return status;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: bench_data PATH|packed SIZE WORKERS SECONDS\n");
        return 2;
    }
    const bool packed = strcmp(argv[1], "packed") == 0;
    ful_data_config c;
    ful_loader_config l;
    ful_dataset *set = NULL;
    ful_loader *loader = NULL;
    double per_second = 0, first = 0;
    ful_data_config_defaults(&c);
    ful_loader_config_defaults(&l);
    c.size = atoi(argv[2]);
    c.normalize_given = true;
    if (packed) {
        c.gen_train = PACKED;
        c.size = 32;
    } else {
        snprintf(c.name, sizeof c.name, "folder");
        snprintf(c.path, sizeof c.path, "%s", argv[1]);
        c.decode = FUL_DECODE_STREAM;
    }
    for (int i = 0; i < 3; i++) l.mean[i] = c.mean[i] = 0.45f, l.std[i] = c.std[i] = 0.225f;
    l.batch = BATCH;
    l.train = true;
    l.workers = atoi(argv[3]);
    l.augment.flip = true;
    l.augment.rrc = !packed;
    l.augment.crop_pad = packed ? 4 : 0;
    ful_status status = ful_dataset_open(&c, FUL_SPLIT_TRAIN, &set);
    if (status == FUL_OK) status = ful_loader_create(set, &l, &loader);
    if (status == FUL_OK) status = measure(loader, atof(argv[4]), &per_second, &first);
    if (status == FUL_OK) printf("{\"images_per_s\": %.1f, \"first\": %.3f}\n", per_second, first);
    if (status != FUL_OK) fprintf(stderr, "bench_data: %s\n", ful_error_message());
    ful_loader_destroy(&loader);
    ful_dataset_destroy(&set);
    return status == FUL_OK ? 0 : 1;
}
