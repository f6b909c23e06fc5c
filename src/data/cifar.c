/* SPDX-License-Identifier: Apache-2.0 */
/* The binary version of CIFAR-10 and CIFAR-100: a file is nothing but records, so its size is the only check of its form. */
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "data/limits.h"
#include "data/readers.h"

enum { SIDE = 32, PIXEL_BYTES = 3 * SIDE * SIDE };

ful_status ful__cifar_classes(const ful__bytes *names, int classes, ful__build *b)
{
    const char *at = (const char *)names->data, *end = at + names->n;
    b->sort_classes = false;
    for (int c = 0; c < classes; c++) {
        char name[FUL__CLASS_NAME_MAX + 1];
        if (names->n == 0) {
            snprintf(name, sizeof name, "%d", c);
        } else {
            const char *stop = memchr(at, '\n', (size_t)(end - at));
            size_t length = (size_t)((stop ? stop : end) - at);
            const size_t step = length + (stop != NULL);
            if (length > 0 && at[length - 1] == '\r') length--;
            FUL_FAIL_IF(length == 0 || length > FUL__CLASS_NAME_MAX, FUL_ERR_FORMAT,
                        "cannot read class names from '%s': line %d has %zu bytes, %d lines of 1..%d are needed", names->name,
                        c + 1, length, classes, FUL__CLASS_NAME_MAX);
            memcpy(name, at, length);
            name[length] = '\0';
            at += step;
        }
        int label;
        FUL_TRY(ful__build_class(b, name, &label));
        FUL_FAIL_IF(label != c, FUL_ERR_FORMAT, "cannot read class names from '%s': '%s' stands there twice", names->name,
                    name);
    }
    return FUL_OK;
}

ful_status ful__cifar_read(const ful__bytes *file, ful__layout layout, ful_labels level, ful__build *b)
{
    const int label_bytes = layout == FUL__LAYOUT_CIFAR10 ? 1 : 2; /* CIFAR-100: coarse, then fine */
    const size_t label_at = label_bytes == 2 && level == FUL_LABELS_FINE;
    const size_t record = (size_t)label_bytes + PIXEL_BYTES;
    FUL_FAIL_IF(file->n == 0, FUL_ERR_FORMAT, "cannot read CIFAR batch '%s': it is empty", file->name);
    FUL_FAIL_IF(file->n > FUL__RAW_FILE_MAX, FUL_ERR_FORMAT,
                "cannot read CIFAR batch '%s' of %zu bytes: at most %llu are accepted", file->name, file->n, FUL__RAW_FILE_MAX);
    FUL_FAIL_IF(file->n % record != 0, FUL_ERR_FORMAT,
                "cannot read CIFAR batch '%s' of %zu bytes: it must be a multiple of %zu (%d label, %d pixels), it is cut off "
                "or of another kind",
                file->name, file->n, record, label_bytes, PIXEL_BYTES);
    for (size_t at = 0; at < file->n; at += record) {
        const int label = file->data[at + label_at];
        FUL_FAIL_IF(label >= b->classes.count, FUL_ERR_FORMAT,
                    "cannot read CIFAR batch '%s': image %zu has label %d, labels must be in 0..%d", file->name, at / record,
                    label, b->classes.count - 1);
        const ful__pixels pixels = {
            .data = file->data + at + label_bytes, .height = SIDE, .width = SIDE, .channels = 3, .planar = true};
        FUL_TRY(ful__build_add_raw(b, file->name, label, &pixels));
    }
    return ful__build_flush(b);
}
