/* SPDX-License-Identifier: Apache-2.0 */
/* Writing and reading safetensors files. The reader trusts nothing: every length, offset, name and checksum is checked. */
#include "train/safetensors.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"
#include "train/json.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors are little-endian, and so must be the machine"
#endif

enum { LENGTH_BYTES = 8, DATA_ALIGN = 64 };

/* By ful__dtype. */
static const char *const dtype_names[] = {"F32", "I32", "F16", "BF16", "F64", "I64"};
static const size_t dtype_bytes[] = {4, 4, 2, 2, 8, 8};
enum { DTYPES = 6, DTYPE_BYTES_MAX = 8, DATA_ALIGN_READ = 4 };

static size_t tensor_bytes(const ful__st_tensor *t)
{
    return (size_t)t->count * dtype_bytes[t->dtype];
}

/* Checksums ------------------------------------------------------------------------------------------------------------- */

/* Chained over what the header says: metadata in order of the keys, then tensors in order of the names. */
static uint64_t hash_text(uint64_t h, const char *text)
{
    return ful__hash64(text, strlen(text) + 1, h);
}

static uint64_t hash_meta(uint64_t h, const char *key, const char *value)
{
    return hash_text(hash_text(h, key), value);
}

static uint64_t hash_tensor(uint64_t h, const ful__st_tensor *t)
{
    h = hash_text(hash_text(h, t->name), dtype_names[t->dtype]);
    return ful__hash64(t->shape, (size_t)t->rank * sizeof t->shape[0], h ^ (uint64_t)t->rank);
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const ful__st_meta *)a)->key, ((const ful__st_meta *)b)->key);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const ful__st_tensor *)a)->name, ((const ful__st_tensor *)b)->name);
}

/* tensors and meta sorted; "xxh3_header" itself is left out. */
static uint64_t hash_header(const ful__st_tensor *tensors, int n_tensors, const ful__st_meta *meta, int n_meta)
{
    uint64_t h = 0;
    for (int i = 0; i < n_meta; i++)
        if (strcmp(meta[i].key, "xxh3_header") != 0) h = hash_meta(h, meta[i].key, meta[i].value);
    for (int i = 0; i < n_tensors; i++) h = hash_tensor(h, &tensors[i]);
    return h;
}

static void hex_text(uint64_t value, char out[17])
{
    for (int i = 15; i >= 0; i--, value >>= 4) out[i] = "0123456789abcdef"[value & 15];
    out[16] = '\0';
}

/* Writing --------------------------------------------------------------------------------------------------------------- */

/* Copies sorted by name: the order of the file, so that equal contents give equal bytes. */
typedef struct draft {
    ful__st_tensor *tensors;
    int n_tensors;
    ful__st_meta *meta; /* room for two more */
    int n_meta;
    char *sums; /* "xxh3" */
    char header_sum[17];
} draft;

static void draft_deinit(draft *d)
{
    ful__free(d->tensors);
    ful__free(d->meta);
    ful__free(d->sums);
}

static ful_status draft_init(draft *d, const ful__st_tensor *tensors, int n_tensors, const ful__st_meta *meta, int n_meta)
{
    ful__emitter sums = {0};
    FUL_TRY(ful__calloc(&d->tensors, (size_t)n_tensors, sizeof *tensors, "a list of tensors"));
    FUL_TRY(ful__calloc(&d->meta, (size_t)n_meta + 2, sizeof *meta, "metadata"));
    if (n_tensors > 0) memcpy(d->tensors, tensors, (size_t)n_tensors * sizeof *tensors);
    if (n_meta > 0) memcpy(d->meta, meta, (size_t)n_meta * sizeof *meta);
    d->n_tensors = n_tensors;
    qsort(d->tensors, (size_t)n_tensors, sizeof *tensors, by_name);
    for (int i = 1; i < n_tensors; i++)
        FUL_FAIL_IF(by_name(&d->tensors[i - 1], &d->tensors[i]) == 0, FUL_ERR_ARG,
                    "cannot write the tensor '%s' twice: names must be distinct", d->tensors[i].name);
    ful__emit_open(&sums, NULL, '{');
    for (int i = 0; i < n_tensors; i++) {
        const ful__st_tensor *t = &d->tensors[i];
        ful__emit_hex(&sums, t->name, ful__hash64(t->data, tensor_bytes(t), 0));
    }
    ful__emit_close(&sums, '}');
    FUL_TRY(ful__emit_take(&sums, &d->sums));
    d->meta[n_meta] = (ful__st_meta){"xxh3", d->sums};
    qsort(d->meta, (size_t)n_meta + 1, sizeof *meta, by_key);
    hex_text(hash_header(d->tensors, n_tensors, d->meta, n_meta + 1), d->header_sum);
    d->meta[n_meta + 1] = (ful__st_meta){"xxh3_header", d->header_sum};
    d->n_meta = n_meta + 2;
    return FUL_OK;
}

/* The JSON header, padded with blanks so that the data begin at a multiple of 64 bytes. */
static ful_status header_text(const draft *d, char **out)
{
    ful__emitter j = {0};
    int64_t at = 0;
    ful__emit_open(&j, NULL, '{');
    ful__emit_open(&j, "__metadata__", '{');
    for (int i = 0; i < d->n_meta; i++) ful__emit_text(&j, d->meta[i].key, d->meta[i].value);
    ful__emit_close(&j, '}');
    for (int i = 0; i < d->n_tensors; i++) {
        const ful__st_tensor *t = &d->tensors[i];
        const int64_t offsets[2] = {at, at + (int64_t)tensor_bytes(t)};
        ful__emit_open(&j, t->name, '{');
        ful__emit_text(&j, "dtype", dtype_names[t->dtype]);
        ful__emit_ints(&j, "shape", t->shape, t->rank);
        ful__emit_ints(&j, "data_offsets", offsets, 2);
        ful__emit_close(&j, '}');
        at = offsets[1];
    }
    ful__emit_close(&j, '}');
    while (j.text.status == FUL_OK && (LENGTH_BYTES + j.text.length) % DATA_ALIGN != 0) ful__str_add(&j.text, " ");
    return ful__emit_take(&j, out);
}

static ful_status write_draft(const char *path, const draft *d, const char *header)
{
    ful__writer w;
    ful_status status = FUL_OK;
    const uint64_t length = strlen(header);
    FUL_FAIL_IF(length > FUL__ST_HEADER_MAX, FUL_ERR_FORMAT, "cannot write '%s': its header of %" PRIu64 " bytes is over %d",
                path, length, FUL__ST_HEADER_MAX);
    FUL_TRY(ful__writer_create(&w, path));
    FUL_TRY_GOTO(status, done, ful__writer_write(&w, &length, sizeof length));
    FUL_TRY_GOTO(status, done, ful__writer_write(&w, header, length));
    for (int i = 0; i < d->n_tensors; i++)
        FUL_TRY_GOTO(status, done, ful__writer_write(&w, d->tensors[i].data, tensor_bytes(&d->tensors[i])));
    FUL_TRY_GOTO(status, done, ful__writer_commit(&w));
done:
    ful__writer_abort(&w);
    return status;
}

ful_status ful__st_write(const char *path, const ful__st_tensor *tensors, int n_tensors, const ful__st_meta *meta, int n_meta)
{
    draft d = {0};
    char *header = NULL;
    ful_status status = FUL_OK;
    FUL_TRY_GOTO(status, done, draft_init(&d, tensors, n_tensors, meta, n_meta));
    FUL_TRY_GOTO(status, done, header_text(&d, &header));
    FUL_TRY_GOTO(status, done, write_draft(path, &d, header));
done:
    ful__free(header);
    draft_deinit(&d);
    return status;
}

/* Reading --------------------------------------------------------------------------------------------------------------- */

struct ful__st_file {
    ful__map map; /* of an opened file */
    json_t *json; /* owns the names and metadata */
    int n_tensors, n_meta;
    ful__st_tensor *tensors; /* sorted by name */
    ful__st_meta *meta;      /* sorted by key */
};

#define REFUSE_IF(cond, ...)                                                                   \
    do {                                                                                       \
        if (cond) {                                                                            \
            ful__fail(FUL_ERR_FORMAT, __VA_ARGS__);                                            \
            return ful__fail_context(FUL_ERR_FORMAT, "cannot read '%s' as safetensors", name); \
        }                                                                                      \
    } while (0)

/* jansson sets no text when its memory runs out in the middle of a value. */
static bool ran_out_of_memory(const json_error_t *error)
{
    return json_error_code(error) == json_error_out_of_memory || error->text[0] == '\0';
}

/* The header's JSON and the bytes behind it. */
static ful_status read_frame(const char *name, const unsigned char *bytes, size_t n_bytes, json_t **json_out,
                             const unsigned char **data_out, size_t *n_data_out)
{
    uint64_t length = 0;
    json_error_t error;
    REFUSE_IF(n_bytes < LENGTH_BYTES, "it has %zu bytes, and must begin with 8 that give the header's length", n_bytes);
    memcpy(&length, bytes, LENGTH_BYTES);
    REFUSE_IF(length > FUL__ST_HEADER_MAX,
              "it does not begin as such a file does (a header of %" PRIu64 " bytes, and at most %d are accepted)", length,
              FUL__ST_HEADER_MAX);
    REFUSE_IF(length > n_bytes - LENGTH_BYTES,
              "its header says it has %" PRIu64 " bytes, and only %zu follow: the file is cut off", length,
              n_bytes - LENGTH_BYTES);
    REFUSE_IF(length == 0 || bytes[LENGTH_BYTES] != '{', "its header must begin with '{'");
    *json_out = json_loadb((const char *)bytes + LENGTH_BYTES, length, JSON_REJECT_DUPLICATES, &error);
    if (!*json_out && ran_out_of_memory(&error)) return ful__fail(FUL_ERR_MEMORY, "cannot read '%s': out of memory", name);
    REFUSE_IF(!*json_out, "its header is not JSON: %s", error.text);
    *data_out = bytes + LENGTH_BYTES + length;
    *n_data_out = n_bytes - LENGTH_BYTES - length;
    return FUL_OK;
}

static ful_status read_shape(const char *name, const char *tensor, const json_t *shape, ful__st_tensor *out)
{
    const size_t rank = json_array_size(shape);
    REFUSE_IF(!json_is_array(shape) || rank > FUL__ST_RANK_MAX, "tensor '%s' must have a shape of at most %d numbers", tensor,
              FUL__ST_RANK_MAX);
    out->rank = (int)rank;
    out->count = 1;
    for (size_t i = 0; i < rank; i++) {
        const json_t *item = json_array_get(shape, i);
        out->shape[i] = json_integer_value(item);
        REFUSE_IF(!json_is_integer(item) || out->shape[i] < 0, "tensor '%s': a size of its shape must be a whole number >= 0",
                  tensor);
        REFUSE_IF(__builtin_mul_overflow(out->count, out->shape[i], &out->count) || out->count > INT64_MAX / DTYPE_BYTES_MAX,
                  "tensor '%s': its shape is beyond the address space", tensor);
    }
    return FUL_OK;
}

static ful_status read_tensor(const char *name, const char *tensor, const json_t *item, const unsigned char *data,
                              size_t n_data, ful__st_tensor *out)
{
    const json_t *offsets = json_object_get(item, "data_offsets");
    const char *dtype = json_string_value(json_object_get(item, "dtype"));
    REFUSE_IF(strlen(tensor) == 0 || strlen(tensor) > FUL__ST_NAME_MAX, "the name '%.40s' must have 1..%d bytes", tensor,
              FUL__ST_NAME_MAX);
    REFUSE_IF(!json_is_object(item) || json_object_size(item) != 3,
              "tensor '%s' must be a map of exactly dtype, shape and data_offsets", tensor);
    REFUSE_IF(!dtype, "tensor '%s' must have a dtype", tensor);
    int type = 0;
    while (type < DTYPES && strcmp(dtype, dtype_names[type]) != 0) type++;
    REFUSE_IF(type == DTYPES, "tensor '%s' has the dtype '%.20s', and only F32, I32, F16, BF16, F64 and I64 are known here",
              tensor, dtype);
    out->dtype = (ful__dtype)type;
    FUL_TRY(read_shape(name, tensor, json_object_get(item, "shape"), out));
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    REFUSE_IF(json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end),
              "tensor '%s' must have data_offsets of two whole numbers", tensor);
    const json_int_t from = json_integer_value(begin), to = json_integer_value(end);
    REFUSE_IF(from < 0 || to < from || (uint64_t)to > n_data, "tensor '%s' lies at %lld..%lld, and the file's data are 0..%zu",
              tensor, (long long)from, (long long)to, n_data);
    REFUSE_IF((size_t)(to - from) != tensor_bytes(out), "tensor '%s' has %lld bytes, and its shape asks for %zu", tensor,
              (long long)(to - from), tensor_bytes(out));
    out->name = tensor;
    out->data = data + from;
    REFUSE_IF(type <= FUL__I32 && (uintptr_t)out->data % DATA_ALIGN_READ != 0,
              "the data of tensor '%s' must begin at a multiple of %d bytes", tensor, DATA_ALIGN_READ);
    return FUL_OK;
}

static ful_status read_meta(const char *name, json_t *json, ful__st_file *file)
{
    json_t *map = json_object_get(json, "__metadata__"), *value = NULL;
    const char *key = NULL;
    if (!map) return FUL_OK;
    REFUSE_IF(!json_is_object(map), "__metadata__ must be a map");
    FUL_TRY(ful__calloc(&file->meta, json_object_size(map), sizeof *file->meta, "metadata"));
    json_object_foreach(map, key, value)
    {
        REFUSE_IF(!json_is_string(value), "the metadata '%.40s' must be a text", key);
        file->meta[file->n_meta++] = (ful__st_meta){key, json_string_value(value)};
    }
    qsort(file->meta, (size_t)file->n_meta, sizeof *file->meta, by_key);
    return FUL_OK;
}

static int by_offset(const void *a, const void *b)
{
    const ful__st_tensor *x = a, *y = b;
    const uintptr_t from_x = (uintptr_t)x->data, from_y = (uintptr_t)y->data;
    if (from_x != from_y) return from_x < from_y ? -1 : 1;
    return x->count < y->count ? -1 : x->count > y->count; /* empty ones first */
}

static ful_status read_tensors(const char *name, json_t *json, const unsigned char *data, size_t n_data, ful__st_file *file)
{
    const size_t n = json_object_size(json);
    const char *key = NULL;
    json_t *value = NULL;
    REFUSE_IF(n > FUL__ST_TENSORS_MAX, "it has %zu tensors, and at most %d are accepted", n, FUL__ST_TENSORS_MAX);
    FUL_TRY(ful__calloc(&file->tensors, n, sizeof *file->tensors, "a list of tensors"));
    json_object_foreach(json, key, value)
    {
        if (strcmp(key, "__metadata__") == 0) continue;
        FUL_TRY(read_tensor(name, key, value, data, n_data, &file->tensors[file->n_tensors]));
        file->n_tensors++;
    }
    /* The data must be covered without gaps and overlaps. */
    qsort(file->tensors, (size_t)file->n_tensors, sizeof *file->tensors, by_offset);
    const unsigned char *at = data;
    for (int i = 0; i < file->n_tensors; i++) {
        const ful__st_tensor *t = &file->tensors[i];
        REFUSE_IF((const unsigned char *)t->data < at, "tensor '%s' overlaps another", t->name);
        REFUSE_IF((const unsigned char *)t->data > at, "before tensor '%s' lie bytes that belong to none", t->name);
        at += tensor_bytes(t);
    }
    REFUSE_IF(at != data + n_data, "behind the last tensor lie %zu bytes that belong to none", (size_t)(data + n_data - at));
    qsort(file->tensors, (size_t)file->n_tensors, sizeof *file->tensors, by_name);
    return FUL_OK;
}

/* The checksums, where the file has them. */
static ful_status check_sums(const char *name, const ful__st_file *file)
{
    const char *sums = ful__st_meta_get(file, "xxh3"), *header = ful__st_meta_get(file, "xxh3_header");
    char actual[17];
    REFUSE_IF(!sums != !header, "its metadata must have both checksums, xxh3 and xxh3_header, or neither: it is damaged");
    if (header) {
        hex_text(hash_header(file->tensors, file->n_tensors, file->meta, file->n_meta), actual);
        REFUSE_IF(strcmp(header, actual) != 0, "its header has the checksum %s, and should have %.16s: it is damaged", actual,
                  header);
    }
    if (!sums) return FUL_OK;
    json_error_t error;
    json_t *map = json_loads(sums, JSON_REJECT_DUPLICATES, &error);
    if (!map && ran_out_of_memory(&error)) return ful__fail(FUL_ERR_MEMORY, "cannot read '%s': out of memory", name);
    const ful__st_tensor *bad = NULL;
    for (int i = 0; i < file->n_tensors && !bad; i++) {
        const ful__st_tensor *t = &file->tensors[i];
        const char *sum = json_string_value(json_object_get(map, t->name));
        hex_text(ful__hash64(t->data, tensor_bytes(t), 0), actual);
        if (!sum || strcmp(sum, actual) != 0) bad = t;
    }
    json_decref(map);
    REFUSE_IF(bad, "tensor '%s' does not have the checksum the file says: it is damaged", bad->name);
    return FUL_OK;
}

static ful_status parse_into(const char *name, const unsigned char *bytes, size_t n_bytes, ful__st_file *file)
{
    const unsigned char *data = NULL;
    size_t n_data = 0;
    FUL_TRY(read_frame(name, bytes, n_bytes, &file->json, &data, &n_data));
    FUL_TRY(read_meta(name, file->json, file));
    FUL_TRY(read_tensors(name, file->json, data, n_data, file));
    return check_sums(name, file);
}

ful_status ful__st_parse(const char *name, const void *bytes, size_t n_bytes, ful__st_file **out)
{
    *out = NULL;
    ful__st_file *file = NULL;
    FUL_TRY(ful__calloc(&file, 1, sizeof *file, "a checkpoint"));
    const ful_status status = parse_into(name, bytes, n_bytes, file);
    if (status != FUL_OK)
        ful__st_close(&file);
    else
        *out = file;
    return status;
}

ful_status ful__st_open(const char *path, ful__st_file **out)
{
    ful__map map = {0};
    *out = NULL;
    FUL_TRY(ful__map_open(&map, path));
    const ful_status status = ful__st_parse(path, map.ptr, map.bytes, out);
    if (status != FUL_OK)
        ful__map_close(&map);
    else
        (*out)->map = map;
    return status;
}

void ful__st_close(ful__st_file **file)
{
    ful__st_file *f = *file;
    if (!f) return;
    ful__free(f->tensors);
    ful__free(f->meta);
    json_decref(f->json);
    ful__map_close(&f->map);
    ful__free(f);
    *file = NULL;
}

int ful__st_count(const ful__st_file *file)
{
    return file->n_tensors;
}

const ful__st_tensor *ful__st_tensor_at(const ful__st_file *file, int i)
{
    return &file->tensors[i];
}

const ful__st_tensor *ful__st_find(const ful__st_file *file, const char *name)
{
    const ful__st_tensor key = {.name = name};
    return bsearch(&key, file->tensors, (size_t)file->n_tensors, sizeof key, by_name);
}

const char *ful__st_meta_get(const ful__st_file *file, const char *key)
{
    if (file->n_meta == 0) return NULL;
    const ful__st_meta wanted = {.key = key};
    const ful__st_meta *found = bsearch(&wanted, file->meta, (size_t)file->n_meta, sizeof wanted, by_key);
    return found ? found->value : NULL;
}

/* Values ---------------------------------------------------------------------------------------------------------------- */

static float from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* IEEE half precision: 1 sign, 5 exponent, 10 fraction bits. */
static float from_half(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h >> 15) << 31, exponent = (h >> 10) & 31u, fraction = h & 1023u;
    if (exponent == 31) return from_bits(sign | 0x7F800000u | fraction << 13);
    if (exponent > 0) return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
    const float small = (float)fraction * 0x1p-24f;
    return sign ? -small : small;
}

bool ful__st_floats(const ful__st_tensor *t, float *out)
{
    const unsigned char *from = t->data;
    if (t->dtype == FUL__I32 || t->dtype == FUL__I64) return false;
    for (int64_t i = 0; i < t->count; i++, from += dtype_bytes[t->dtype]) {
        uint16_t half;
        double wide;
        if (t->dtype == FUL__F32) {
            memcpy(&out[i], from, sizeof *out);
        } else if (t->dtype == FUL__F64) {
            memcpy(&wide, from, sizeof wide);
            out[i] = (float)wide;
        } else {
            memcpy(&half, from, sizeof half);
            out[i] = t->dtype == FUL__F16 ? from_half(half) : from_bits((uint32_t)half << 16);
        }
    }
    return true;
}
