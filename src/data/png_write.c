/* SPDX-License-Identifier: Apache-2.0 */
/* Pixels to a PNG in memory. */
#include "data/png_write.h"

#include <png.h>

#include "core/mem.h"

void ful__png_write(ful__str *out, const uint8_t *pixels, int h, int w, int c)
{
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = (png_uint_32)w,
                       .height = (png_uint_32)h,
                       .format = c == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB};
    png_alloc_size_t bytes = PNG_IMAGE_PNG_SIZE_MAX(image); /* not what it will be, but surely enough */
    unsigned char *file = NULL;
    ful_status status = ful__calloc(&file, bytes, 1, "a PNG");
    if (status == FUL_OK && !png_image_write_to_memory(&image, file, &bytes, 0, pixels, 0, NULL)) status = FUL_ERR_MEMORY;
    if (status == FUL_OK)
        ful__str_add_bytes(out, file, bytes);
    else if (out->status == FUL_OK)
        out->status = status;
    ful__free(file);
}
