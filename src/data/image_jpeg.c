/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JPEG through libjpeg-turbo, a part of the image where only that is needed. libjpeg reports an error by leaving through
 * error_exit, which must not return: every run of its functions is a `work` inside guard(), to which error_exit jumps.
 */
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>

#include "core/error.h"
#include "core/mem.h"
#include "data/exif.h"
#include "data/image.h"

/* More scans than that in a progressive file make libjpeg work for minutes: refused. */
enum { SCANS_MAX = 500 };

struct ful__jpeg {
    struct jpeg_decompress_struct c;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf leave;
    bool too_many_scans, warned;
    int error;                     /* libjpeg's code of the failure */
    char warning[JMSG_LENGTH_MAX]; /* the first that means that pixels were made up */
    const void *bytes;
    size_t n;
    ful__region region; /* what `work` decodes */
    int channels, denominator;
    uint8_t *out;
    size_t out_stride;
};

static void on_error(j_common_ptr c)
{
    ful__jpeg *j = c->client_data;
    j->error = c->err->msg_code;
    longjmp(j->leave, 1);
}

/* A warning about bytes between segments is harmless and common; any other means that pixels were made up. */
static void on_message(j_common_ptr c, int level)
{
    ful__jpeg *j = c->client_data;
    if (level >= 0 || j->warned || c->err->msg_code == JWRN_EXTRANEOUS_DATA) return;
    j->warned = true;
    c->err->format_message(c, j->warning);
}

static void on_progress(j_common_ptr c)
{
    ful__jpeg *j = c->client_data;
    if (j->c.input_scan_number <= SCANS_MAX) return;
    j->too_many_scans = true;
    longjmp(j->leave, 1);
}

/* Whether the work ran to its end. */
static bool guard(ful__jpeg *j, void (*work)(ful__jpeg *))
{
    if (setjmp(j->leave)) return false;
    work(j);
    return true;
}

static void create(ful__jpeg *j)
{
    jpeg_create_decompress(&j->c);
}

static void read_header(ful__jpeg *j)
{
    jpeg_mem_src(&j->c, j->bytes, (unsigned long)j->n);
    jpeg_read_header(&j->c, TRUE);
}

static ful_status open_decoder(ful__decoder *d)
{
    if (d->jpeg) return FUL_OK;
    ful__jpeg *j = NULL;
    FUL_TRY(ful__calloc(&j, 1, sizeof *j, "a JPEG decoder"));
    j->c.err = jpeg_std_error(&j->errors);
    j->errors.error_exit = on_error;
    j->errors.emit_message = on_message;
    j->progress.progress_monitor = on_progress;
    j->c.client_data = j;
    if (!guard(j, create)) {
        ful__free(j);
        return ful__fail(FUL_ERR_MEMORY, "cannot allocate a JPEG decoder: out of memory");
    }
    j->c.client_data = j; /* create clears all but err and client_data; the monitor comes after it */
    j->c.progress = &j->progress;
    d->jpeg = j;
    return FUL_OK;
}

void ful__jpeg_close(ful__jpeg **jpeg)
{
    if (!*jpeg) return;
    jpeg_destroy_decompress(&(*jpeg)->c);
    ful__free(*jpeg);
    *jpeg = NULL;
}

static ful_status failure(ful__jpeg *j, const char *name)
{
    char why[JMSG_LENGTH_MAX] = "";
    if (j->too_many_scans)
        snprintf(why, sizeof why, "Progressive JPEG image has more than %d scans", SCANS_MAX);
    else if (j->error)
        j->errors.format_message((j_common_ptr)&j->c, why);
    const bool memory = j->error == JERR_OUT_OF_MEMORY;
    const char *text = j->warned && !memory && !j->error && !j->too_many_scans ? j->warning : why;
    const ful_status status = ful__fail(memory ? FUL_ERR_MEMORY : FUL_ERR_DATA, "cannot decode JPEG '%s': %s", name, text);
    jpeg_abort_decompress(&j->c);
    return status;
}

static bool is_cmyk(const ful__jpeg *j)
{
    return j->c.jpeg_color_space == JCS_CMYK || j->c.jpeg_color_space == JCS_YCCK;
}

ful_status ful__jpeg_open(ful__decoder *d, const char *name, const void *bytes, size_t n, ful__image_info *out)
{
    FUL_TRY(open_decoder(d));
    ful__jpeg *j = d->jpeg;
    jpeg_abort_decompress(&j->c);
    j->bytes = bytes;
    j->n = n;
    j->error = 0;
    j->warned = j->too_many_scans = false;
    if (!guard(j, read_header) || j->warned) return failure(j, name);
    *out = (ful__image_info){(int)j->c.image_height, (int)j->c.image_width,
                             is_cmyk(j)                 ? 4
                             : j->c.num_components == 1 ? 1
                                                        : 3,
                             ful__exif_jpeg_orientation(bytes, n)};
    return ful__image_check_size(name, out->height, out->width);
}

/* Adobe's files hold CMYK inverted: 255 is no ink. In place, 4 bytes to 3: paper reflects what neither ink nor black covers. */
static void cmyk_to_rgb(uint8_t *pixels, size_t count, bool inverted)
{
    const uint8_t flip = inverted ? 0 : 255;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *in = pixels + 4 * i;
        const unsigned paper = in[3] ^ flip;
        for (size_t c = 0; c < 3; c++) pixels[3 * i + c] = (uint8_t)(((in[c] ^ flip) * paper + 127) / 255);
    }
}

/* The region's columns from the start of their block on, and the region's rows. */
static void decode(ful__jpeg *j)
{
    j->c.out_color_space = is_cmyk(j) ? JCS_CMYK : j->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    j->c.scale_num = 1;
    j->c.scale_denom = (unsigned)j->denominator;
    jpeg_start_decompress(&j->c);
    const JDIMENSION all_w = j->c.output_width, y = (JDIMENSION)j->region.y, end = y + (JDIMENSION)j->region.h;
    JDIMENSION x = (JDIMENSION)j->region.x, w = (JDIMENSION)j->region.w;
    if (w < all_w) jpeg_crop_scanline(&j->c, &x, &w);
    j->region.x = (int)x;
    j->region.w = (int)w;
    if (y > 0) jpeg_skip_scanlines(&j->c, y);
    while (j->c.output_scanline < end) {
        JSAMPROW row = j->out + (size_t)(j->c.output_scanline - y) * j->out_stride;
        jpeg_read_scanlines(&j->c, &row, 1);
    }
    if (end == j->c.output_height) jpeg_finish_decompress(&j->c); /* looks at what is left, as for a whole image */
}

/*
 * Columns are cut where blocks begin. Colour is interpolated between neighbours, which a cut takes away, so a cut keeps its
 * distance of the columns that are wanted.
 */
static void keep_distance(ful__region *r, int w)
{
    enum { DISTANCE = 4 };
    const int x = r->x > DISTANCE ? r->x - DISTANCE : 0, end = r->x + r->w + DISTANCE < w ? r->x + r->w + DISTANCE : w;
    r->x = x;
    r->w = end - x;
}

ful_status ful__jpeg_read(ful__decoder *d, const char *name, const ful__region *wanted, int denominator, int channels,
                          ful__pixels *out)
{
    ful__jpeg *j = d->jpeg;
    const bool cmyk = is_cmyk(j);
    const size_t bytes = cmyk ? 4 : (size_t)channels;
    const int scaled_w = ((int)j->c.image_width + denominator - 1) / denominator;
    j->channels = channels;
    j->denominator = denominator;
    j->region = *wanted;
    if (wanted->w < scaled_w) keep_distance(&j->region, scaled_w);
    j->out_stride = (size_t)scaled_w * bytes; /* the cut may begin up to a block to the left */
    FUL_TRY(ful__decoder_reserve(d, (size_t)wanted->h * j->out_stride));
    j->out = d->raw;
    if (!guard(j, decode) || j->warned) return failure(j, name);
    jpeg_abort_decompress(&j->c);
    if (cmyk) cmyk_to_rgb(d->raw, (size_t)wanted->h * (size_t)scaled_w, j->c.saw_Adobe_marker);
    const size_t c = cmyk ? 3 : (size_t)channels;
    *out = (ful__pixels){.data = d->raw + (size_t)(wanted->x - j->region.x) * c,
                         .height = wanted->h,
                         .width = wanted->w,
                         .channels = (int)c,
                         .stride = (size_t)scaled_w * c};
    return FUL_OK;
}
