/* SPDX-License-Identifier: Apache-2.0 */
#include "data/support.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <ftw.h>
#include <png.h>
#include <sys/stat.h>
#include <turbojpeg.h>
#include <zlib.h>

#include <fulcrum/core.h>

/* ---- files ---- */

void temp_make(temp *t)
{
    const char *root = getenv("TMPDIR");
    snprintf(t->path, sizeof t->path, "%s/fulcrum-test-XXXXXX", root && *root ? root : "/tmp");
    if (!mkdtemp(t->path)) fail_msg("no temporary folder %s", t->path);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info, (void)kind, (void)where;
    return remove(path);
}

void temp_remove(temp *t)
{
    nftw(t->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *temp_path(const temp *t, const char *fmt, ...)
{
    static char buffers[8][1024];
    static unsigned next;
    char *path = buffers[next++ % 8], rest[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(rest, sizeof rest, fmt, args);
    va_end(args);
    snprintf(path, sizeof buffers[0], "%s/%s", t->path, rest);
    return path;
}

void make_folder(const char *path)
{
    if (mkdir(path, 0777) != 0 && access(path, F_OK) != 0) fail_msg("cannot make %s", path);
}

void write_file(const char *path, const void *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (!f || (n > 0 && fwrite(bytes, 1, n, f) != n) || fclose(f) != 0) fail_msg("cannot write %s", path);
}

int count_files(const char *folder, const char *suffix)
{
    DIR *dir = opendir(folder);
    if (!dir) return -1;
    int n = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        const size_t k = strlen(e->d_name), s = strlen(suffix);
        n += k >= s && strcmp(e->d_name + k - s, suffix) == 0;
    }
    closedir(dir);
    return n;
}

void blob_add(blob *b, const void *bytes, size_t n)
{
    if (b->n + n > b->capacity) {
        b->capacity = 2 * (b->n + n);
        b->data = realloc(b->data, b->capacity);
        assert_non_null(b->data);
    }
    if (n > 0) memcpy(b->data + b->n, bytes, n);
    b->n += n;
}

void blob_free(blob *b)
{
    free(b->data);
    *b = (blob){0};
}

void blob_gzip(blob *b)
{
    z_stream z = {0};
    const size_t most = b->n + b->n / 100 + 100;
    uint8_t *out = malloc(most);
    assert_non_null(out);
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = b->data;
    z.avail_in = (uInt)b->n;
    z.next_out = out;
    z.avail_out = (uInt)most;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    const size_t n = z.total_out;
    deflateEnd(&z);
    free(b->data);
    *b = (blob){.data = out, .n = n, .capacity = most};
}

/* ---- images ---- */

uint8_t test_pixel(int id, int y, int x, int c)
{
    return (uint8_t)(id * 37 + y * 5 + x * 11 + c * 71 + (y * x) % 7);
}

void test_image(int id, int h, int w, int channels, uint8_t *hwc)
{
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            for (int c = 0; c < channels; c++) *hwc++ = test_pixel(id, y, x, c);
}

static void png_put(png_structp png, png_bytep data, size_t n)
{
    blob_add(png_get_io_ptr(png), data, n);
}
static void png_nothing(png_structp png)
{
    (void)png;
}

/* Gives each colour of the image a number. */
static void make_palette(png_structp png, png_infop info, const uint8_t *rgb, int pixels, uint8_t *indices)
{
    png_color colours[256];
    int n = 0;
    for (int i = 0; i < pixels; i++, rgb += 3) {
        int k = 0;
        while (k < n && (colours[k].red != rgb[0] || colours[k].green != rgb[1] || colours[k].blue != rgb[2])) k++;
        assert_true(k < 256);
        if (k == n) colours[n++] = (png_color){rgb[0], rgb[1], rgb[2]};
        indices[i] = (uint8_t)k;
    }
    png_set_PLTE(png, info, colours, n);
}

void encode_png(blob *out, const uint8_t *hwc, int h, int w, int kind)
{
    static const int types[] = {[PNG_GREY] = PNG_COLOR_TYPE_GRAY,
                                [PNG_GREY_ALPHA] = PNG_COLOR_TYPE_GRAY_ALPHA,
                                [PNG_RGB] = PNG_COLOR_TYPE_RGB,
                                [PNG_RGBA] = PNG_COLOR_TYPE_RGB_ALPHA};
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    assert_non_null(info);
    const int type = kind == PNG_PALETTE ? PNG_COLOR_TYPE_PALETTE : kind == PNG_RGB16 ? PNG_COLOR_TYPE_RGB : types[kind];
    const size_t channels = kind == PNG_PALETTE ? 1 : kind == PNG_RGB16 ? 6 : (size_t)kind, row = (size_t)w * channels;
    uint8_t *bytes = malloc((size_t)h * row);
    assert_non_null(bytes);
    out->n = 0;
    png_set_write_fn(png, out, png_put, png_nothing);
    png_set_IHDR(png, info, (png_uint_32)w, (png_uint_32)h, kind == PNG_RGB16 ? 16 : 8, type, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (kind == PNG_PALETTE)
        make_palette(png, info, hwc, h * w, bytes);
    else if (kind == PNG_RGB16)
        for (int i = 0; i < 3 * h * w; i++) bytes[2 * i] = bytes[2 * i + 1] = hwc[i];
    else
        memcpy(bytes, hwc, (size_t)h * row);
    png_write_info(png, info);
    for (int y = 0; y < h; y++) png_write_row(png, bytes + (size_t)y * row);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    free(bytes);
}

static void put_jpeg(blob *out, const uint8_t *pixels, int h, int w, int format, int subsampling, int quality, int flags)
{
    unsigned char *jpeg = NULL;
    unsigned long n = 0;
    tjhandle t = tjInitCompress();
    assert_int_equal(tjCompress2(t, pixels, w, 0, h, format, &jpeg, &n, subsampling, quality, flags), 0);
    out->n = 0;
    blob_add(out, jpeg, n);
    tjFree(jpeg);
    tjDestroy(t);
}

void encode_jpeg(blob *out, const uint8_t *hwc, int h, int w, int channels, int quality)
{
    put_jpeg(out, hwc, h, w, channels == 1 ? TJPF_GRAY : TJPF_RGB, channels == 1 ? TJSAMP_GRAY : TJSAMP_444, quality, 0);
}

void encode_jpeg_kind(blob *out, const uint8_t *rgb, int h, int w, int kind)
{
    static const int sampling[JPEG_KINDS] = {TJSAMP_444, TJSAMP_422, TJSAMP_420, TJSAMP_440, TJSAMP_420};
    put_jpeg(out, rgb, h, w, TJPF_RGB, sampling[kind], 90, kind == 4 ? TJFLAG_PROGRESSIVE : 0);
}

void encode_jpeg_cmyk(blob *out, const uint8_t *cmyk, int h, int w)
{
    put_jpeg(out, cmyk, h, w, TJPF_CMYK, TJSAMP_444, 100, 0);
}

/* ---- archives ---- */

static la_ssize_t tar_put(struct archive *a, void *ctx, const void *data, size_t n)
{
    (void)a;
    blob_add(ctx, data, n);
    return (la_ssize_t)n;
}

void tar_begin(tar_out *t)
{
    tar_begin_as(t, TAR_USTAR);
}

void tar_begin_as(tar_out *t, tar_format format)
{
    *t = (tar_out){.archive = archive_write_new()};
    if (format == TAR_USTAR) archive_write_set_format_ustar(t->archive);
    if (format == TAR_GNU) archive_write_set_format_gnutar(t->archive);
    if (format == TAR_PAX) archive_write_set_format_pax(t->archive);
    archive_write_set_bytes_per_block(t->archive, 10240);
    assert_int_equal(archive_write_open(t->archive, &t->bytes, NULL, tar_put, NULL), ARCHIVE_OK);
}

static void tar_entry(tar_out *t, const char *name, int filetype, const char *target, const void *bytes, size_t n)
{
    struct archive_entry *e = archive_entry_new();
    archive_entry_set_pathname(e, name);
    archive_entry_set_filetype(e, (unsigned)filetype);
    archive_entry_set_perm(e, 0644);
    archive_entry_set_size(e, (la_int64_t)n);
    if (target) archive_entry_set_symlink(e, target);
    assert_int_equal(archive_write_header(t->archive, e), ARCHIVE_OK);
    if (n > 0) assert_int_equal(archive_write_data(t->archive, bytes, n), n);
    archive_entry_free(e);
}

void tar_file(tar_out *t, const char *name, const void *bytes, size_t n)
{
    tar_entry(t, name, AE_IFREG, NULL, bytes, n);
}
void tar_other(tar_out *t, const char *name, int filetype, const char *target)
{
    tar_entry(t, name, filetype, target, NULL, 0);
}

void tar_end(tar_out *t)
{
    assert_int_equal(archive_write_close(t->archive), ARCHIVE_OK);
    archive_write_free(t->archive);
    t->archive = NULL;
}

void tar_save(tar_out *t, const char *path, bool gzip)
{
    tar_end(t);
    if (gzip) blob_gzip(&t->bytes);
    write_file(path, t->bytes.data, t->bytes.n);
    blob_free(&t->bytes);
}

/* ---- whole sets ---- */

const char *tiny_class(int c)
{
    static const char *const names[] = {"ant", "bee", "cow", "dog", "elk", "fox", "gnu", "hen", "ibis", "jay", "koi", "lynx"};
    return names[c];
}

void tiny_png(const tiny *s, int n, blob *png)
{
    uint8_t *pixels = malloc((size_t)(s->h * s->w * s->channels));
    test_image(s->base + n, s->h, s->w, s->channels, pixels);
    encode_png(png, pixels, s->h, s->w, s->channels);
    free(pixels);
}

void tiny_folder(const tiny *s, const char *folder)
{
    blob png = {0};
    make_folder(folder);
    for (int n = 0; n < s->classes * s->per_class; n++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, tiny_class(n / s->per_class));
        make_folder(path);
        snprintf(path, sizeof path, "%s/%s/%04d.png", folder, tiny_class(n / s->per_class), n);
        tiny_png(s, n, &png);
        write_file(path, png.data, png.n);
    }
    blob_free(&png);
}

void tiny_tar(const tiny *s, const char *path, bool gzip, const char *prefix)
{
    blob png = {0};
    tar_out t;
    tar_begin(&t);
    for (int n = 0; n < s->classes * s->per_class; n++) {
        char name[256];
        snprintf(name, sizeof name, "%s%s/%04d.png", prefix, tiny_class(n / s->per_class), n);
        tiny_png(s, n, &png);
        tar_file(&t, name, png.data, png.n);
    }
    tar_end(&t);
    if (gzip) blob_gzip(&t.bytes);
    write_file(path, t.bytes.data, t.bytes.n);
    blob_free(&t.bytes);
    blob_free(&png);
}

static void add_be32(blob *b, uint32_t v)
{
    const uint8_t bytes[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    blob_add(b, bytes, 4);
}

void tiny_idx(const tiny *s, const char *folder, const char *stem, bool gzip)
{
    const int count = s->classes * s->per_class;
    blob images = {0}, labels = {0};
    char path[1024];
    uint8_t *pixels = malloc((size_t)(s->h * s->w));
    add_be32(&images, 0x803);
    add_be32(&images, (uint32_t)count);
    add_be32(&images, (uint32_t)s->h);
    add_be32(&images, (uint32_t)s->w);
    add_be32(&labels, 0x801);
    add_be32(&labels, (uint32_t)count);
    for (int n = 0; n < count; n++) {
        const uint8_t label = (uint8_t)(n / s->per_class);
        test_image(s->base + n, s->h, s->w, 1, pixels);
        blob_add(&images, pixels, (size_t)(s->h * s->w));
        blob_add(&labels, &label, 1);
    }
    if (gzip) blob_gzip(&images), blob_gzip(&labels);
    snprintf(path, sizeof path, "%s/%s-images-idx3-ubyte%s", folder, stem, gzip ? ".gz" : "");
    write_file(path, images.data, images.n);
    snprintf(path, sizeof path, "%s/%s-labels-idx1-ubyte%s", folder, stem, gzip ? ".gz" : "");
    write_file(path, labels.data, labels.n);
    free(pixels);
    blob_free(&images);
    blob_free(&labels);
}

void tiny_cifar(const tiny *s, const char *path, int label_bytes)
{
    blob out = {0};
    for (int n = 0; n < s->classes * s->per_class; n++) {
        const uint8_t labels[2] = {(uint8_t)(n % 20), (uint8_t)(n / s->per_class)};
        blob_add(&out, labels + 2 - label_bytes, (size_t)label_bytes);
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < 32; y++)
                for (int x = 0; x < 32; x++) blob_add(&out, &(uint8_t){test_pixel(s->base + n, y, x, c)}, 1);
    }
    write_file(path, out.data, out.n);
    blob_free(&out);
}

/* ---- opening ---- */

ful_data_config config_of(const char *name, const char *path, const char *cache)
{
    ful_data_config c;
    ful_data_config_defaults(&c);
    snprintf(c.name, sizeof c.name, "%s", name);
    snprintf(c.path, sizeof c.path, "%s", path);
    snprintf(c.cache, sizeof c.cache, "%s", cache);
    return c;
}

ful_dataset *open_ok(const ful_data_config *config, ful_split split)
{
    ful_dataset *d = NULL;
    assert_ok(ful_dataset_open(config, split, &d));
    assert_non_null(d);
    return d;
}

void check_tiny(const ful_dataset *d, const tiny *s)
{
    ful_dataset_info info;
    ful_dataset_info_get(d, &info);
    assert_int_equal(info.count, s->classes * s->per_class);
    assert_int_equal(info.height, s->h);
    assert_int_equal(info.width, s->w);
    const size_t bytes = (size_t)(s->h * s->w * info.channels);
    uint8_t *wanted = malloc(bytes);
    for (int n = 0; n < s->classes * s->per_class; n++) {
        test_image(s->base + n, s->h, s->w, s->channels, wanted);
        if (s->channels == 1 && info.channels == 3)
            for (int i = s->h * s->w - 1; i >= 0; i--) wanted[3 * i] = wanted[3 * i + 1] = wanted[3 * i + 2] = wanted[i];
        assert_memory_equal(ful_dataset_image(d, n), wanted, bytes);
        assert_int_equal(ful_dataset_label(d, n), n / s->per_class);
        assert_int_equal(ful_dataset_cluster(d, n), -1);
    }
    free(wanted);
}

/* ---- log ---- */

static int warnings;
static char last_line[2048];

static void on_log(void *cookie, ful_log_level level, const char *message)
{
    (void)cookie;
    if (level > FUL_LOG_WARN) return;
    warnings++;
    snprintf(last_line, sizeof last_line, "%s", message);
}

void log_catch(void)
{
    warnings = 0;
    last_line[0] = '\0';
    ful_log_set(on_log, NULL, FUL_LOG_DEBUG);
}
int log_warnings(void)
{
    return warnings;
}
const char *log_last(void)
{
    return last_line;
}
