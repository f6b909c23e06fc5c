/* SPDX-License-Identifier: Apache-2.0 */
/* What the targets of the data readers share: bytes go through a reader into a set in memory, and the result must hold
 * together. */
#ifndef FUL_TESTS_FUZZ_DATA_TARGET_H
#define FUL_TESTS_FUZZ_DATA_TARGET_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/readers.h"
#include "data/text.h"
#include <fulcrum/core.h>

#define CHECK(cond)           \
    do {                      \
        if (!(cond)) abort(); \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static inline void check_refused(ful_status status)
{
    CHECK(status == FUL_ERR_FORMAT || status == FUL_ERR_DATA);
    CHECK(strncmp(ful_error_message(), "cannot ", 7) == 0);
}

/* A set that was accepted: every label has a class, every class a name, every pixel is there. */
static inline void check_pack(const ful__pack *p)
{
    uint64_t sum = 0;
    const char *name = p->names;
    CHECK(p->count > 0 && p->classes > 0 && (p->channels == 1 || p->channels == 3));
    for (int c = 0; c < p->classes; c++, name += strlen(name) + 1) CHECK(ful__name_is_clean(name));
    for (int64_t i = 0; i < p->count; i++) {
        CHECK(p->labels[i] >= 0 && p->labels[i] < p->classes);
        for (size_t k = 0; k < p->image_bytes; k++) sum += p->pixels[(size_t)i * p->image_bytes + k];
    }
    CHECK(sum <= 255 * (uint64_t)p->count * p->image_bytes);
}

/* Reads with data.size = 0 and 8, so that images are taken as they are, and resized. */
static inline void run_reader(ful_status (*read)(void *ctx, ful__build *b), void *ctx)
{
    static const int sizes[] = {0, 8};
    (void)ful_threads_set(1);
    for (int i = 0; i < 2; i++) {
        const ful__build_spec spec = {.name = "input", .size = sizes[i]};
        ful__build b;
        ful__pack p = {0};
        ful_status status = ful__build_init(&b, &spec);
        if (status == FUL_OK) status = read(ctx, &b);
        if (status == FUL_OK) status = ful__build_finish(&b, &p);
        ful__build_deinit(&b);
        if (status == FUL_OK)
            check_pack(&p);
        else
            check_refused(status);
        ful__pack_close(&p);
    }
}

#endif
