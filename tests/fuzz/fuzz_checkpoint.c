/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a safetensors file: refused with a sentence, or a list of tensors that lie inside them, in order of their names.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "train/safetensors.h"

#define CHECK(cond)           \
    do {                      \
        if (!(cond)) abort(); \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    ful__st_file *file = NULL;
    if (ful__st_parse("input", data, bytes, &file) != FUL_OK) {
        CHECK(file == NULL && strncmp(ful_error_message(), "cannot ", 7) == 0);
        return 0;
    }
    for (int i = 0; i < ful__st_count(file); i++) {
        const ful__st_tensor *t = ful__st_tensor_at(file, i);
        const uint8_t *begin = t->data;
        volatile uint8_t seen = 0;
        CHECK(i == 0 || strcmp(ful__st_tensor_at(file, i - 1)->name, t->name) < 0);
        CHECK(ful__st_find(file, t->name) == t);
        static const size_t sizes[] = {
            [FUL__F32] = 4, [FUL__I32] = 4, [FUL__F16] = 2, [FUL__BF16] = 2, [FUL__F64] = 8, [FUL__I64] = 8};
        const size_t size = sizes[t->dtype];
        CHECK(begin >= data && t->count >= 0 && (size_t)t->count <= bytes / size);
        CHECK(begin + size * (size_t)t->count <= data + bytes);
        if (t->count > 0) seen = begin[0] ^ begin[size * (size_t)t->count - 1];
        (void)seen;
    }
    const char *config = ful__st_meta_get(file, "config");
    CHECK(!config || strlen(config) <= bytes);
    ful__st_close(&file);
    CHECK(file == NULL);
    return 0;
}
