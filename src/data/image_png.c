/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PNG through libpng. Every kind becomes 8-bit grey or RGB: palettes and low depths are expanded, 16 bits scaled to 8,
 * alpha and transparency dropped. libpng reports errors by longjmp: everything that must survive one lives in `job`.
 */
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "data/exif.h"
#include "data/image.h"
#include "data/limits.h"

typedef struct job {
    const char *name;
    const uint8_t *bytes;
    size_t n, at;
    png_structp png;
    png_infop info;
    png_bytep *rows;
    ful_status status;           /* of the last allocation */
    char why[128], warning[128]; /* libpng says what in the warning, and only that in the error */
} job;

static void on_read(png_structp png, png_bytep out, size_t want)
{
    job *j = png_get_io_ptr(png);
    if (want > j->n - j->at) png_error(png, "the file is cut off");
    memcpy(out, j->bytes + j->at, want);
    j->at += want;
}

static void on_error(png_structp png, png_const_charp message)
{
    job *j = png_get_error_ptr(png);
    snprintf(j->why, sizeof j->why, "%s", message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    job *j = png_get_error_ptr(png);
    snprintf(j->warning, sizeof j->warning, "%s", message);
}

static png_voidp on_malloc(png_structp png, png_alloc_size_t bytes)
{
    job *j = png_get_mem_ptr(png);
    void *ptr = NULL;
    j->status = ful__calloc(&ptr, bytes, 1, "a PNG decoder");
    return ptr;
}

static void on_free(png_structp png, png_voidp ptr)
{
    (void)png;
    ful__free(ptr);
}

static ful_status job_open(job *j)
{
    j->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, j, on_error, on_warning, j, on_malloc, on_free);
    if (j->png) j->info = png_create_info_struct(j->png);
    FUL_FAIL_IF(!j->info, FUL_ERR_MEMORY, "cannot allocate a PNG decoder for '%s': out of memory", j->name);
    png_set_read_fn(j->png, j, on_read);
    png_set_user_limits(j->png, FUL__IMAGE_SIDE_MAX, FUL__IMAGE_SIDE_MAX);
    png_set_chunk_malloc_max(j->png, 8u << 20); /* text and profiles: not ours */
    png_set_keep_unknown_chunks(j->png, PNG_HANDLE_CHUNK_NEVER, NULL, 0);
    return FUL_OK;
}

static void job_close(job *j)
{
    png_destroy_read_struct(&j->png, &j->info, NULL);
    ful__free(j->rows);
}

static ful_status failed(const job *j)
{
    if (j->status != FUL_OK) return j->status; /* its message stands */
    return ful__fail(FUL_ERR_DATA, "cannot decode PNG '%s': %s%s%s", j->name, j->why, *j->warning ? ", " : "", j->warning);
}

static ful_status read_header(job *j, int *h, int *w)
{
    if (setjmp(png_jmpbuf(j->png))) return failed(j);
    png_read_info(j->png, j->info);
    *h = (int)png_get_image_height(j->png, j->info);
    *w = (int)png_get_image_width(j->png, j->info);
    return ful__image_check_size(j->name, *h, *w);
}

/* Asks for 8 bits, no palette, no alpha; *channels is what comes then. */
static ful_status set_transforms(job *j, int *channels)
{
    if (setjmp(png_jmpbuf(j->png))) return failed(j);
    png_set_expand(j->png);
    png_set_scale_16(j->png);
    png_set_strip_alpha(j->png);
    png_set_interlace_handling(j->png);
    png_read_update_info(j->png, j->info);
    *channels = png_get_channels(j->png, j->info);
    return FUL_OK;
}

static ful_status read_pixels(job *j)
{
    if (setjmp(png_jmpbuf(j->png))) return failed(j);
    png_read_image(j->png, j->rows);
    png_read_end(j->png, NULL); /* the end mark and its checksum: a file cut off after the pixels is damaged too */
    return FUL_OK;
}

static ful_status decode(job *j, ful__decoder *d, ful__pixels *out)
{
    int h = 0, w = 0, channels = 0;
    FUL_TRY(job_open(j));
    FUL_TRY(read_header(j, &h, &w));
    FUL_TRY(set_transforms(j, &channels));
    const size_t row_bytes = (size_t)w * (size_t)channels;
    FUL_FAIL_IF(png_get_rowbytes(j->png, j->info) != row_bytes || (channels != 1 && channels != 3), FUL_ERR_INTERNAL,
                "cannot decode PNG '%s': libpng gives %d channels where 1 or 3 were asked for", j->name, channels);
    FUL_TRY(ful__decoder_reserve(d, (size_t)h * row_bytes));
    FUL_TRY(ful__calloc(&j->rows, (size_t)h, sizeof *j->rows, "PNG rows"));
    for (int y = 0; y < h; y++) j->rows[y] = d->raw + (size_t)y * row_bytes;
    FUL_TRY(read_pixels(j));
    *out = (ful__pixels){.data = d->raw, .height = h, .width = w, .channels = channels};
    return FUL_OK;
}

ful_status ful__png_decode(ful__decoder *d, const char *name, const void *bytes, size_t n, ful__pixels *out)
{
    job j = {.name = name, .bytes = bytes, .n = n};
    const ful_status status = decode(&j, d, out);
    job_close(&j);
    return status;
}

/* eXIf is only known where it stands before the pixels, as it nearly always does. */
static ful_status read_info(job *j, ful__image_info *out)
{
    if (setjmp(png_jmpbuf(j->png))) return failed(j);
    png_bytep exif = NULL;
    png_uint_32 bytes = 0;
    const int colours = png_get_color_type(j->png, j->info);
    const bool clear = colours & PNG_COLOR_MASK_ALPHA || png_get_valid(j->png, j->info, PNG_INFO_tRNS);
    out->channels = (colours & PNG_COLOR_MASK_COLOR ? 3 : 1) + clear;
    out->orientation = 1;
    if (png_get_eXIf_1(j->png, j->info, &bytes, &exif)) out->orientation = ful__exif_orientation(exif, bytes);
    return FUL_OK;
}

ful_status ful__png_probe(const char *name, const void *bytes, size_t n, ful__image_info *out)
{
    job j = {.name = name, .bytes = bytes, .n = n};
    ful_status status = job_open(&j);
    if (status == FUL_OK) status = read_header(&j, &out->height, &out->width);
    if (status == FUL_OK) status = read_info(&j, out);
    job_close(&j);
    return status;
}
