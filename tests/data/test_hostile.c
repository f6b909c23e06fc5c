/* SPDX-License-Identifier: Apache-2.0 */
/* Files that must be refused: one table, each with the sentence that names the file and the rule. */
#include <math.h>
#include <zlib.h>

#include "data/support.h"

static temp t;

static void put_be32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* ---- how a good file goes bad ---- */

static void cut(blob *b, long n)
{
    b->n = n >= 0 ? (size_t)n : b->n - (size_t)-n;
}
static void empty(blob *b, long n)
{
    (void)n, b->n = 0;
}
static void xor_byte(blob *b, long at)
{
    b->data[at >= 0 ? (size_t)at : b->n - (size_t)-at] ^= 0x55;
}
static void append_zero(blob *b, long n)
{
    for (; n > 0; n--) blob_add(b, "", 1);
}
static void append_junk(blob *b, long n)
{
    for (; n > 0; n--) blob_add(b, "J", 1);
}
static void count_up(blob *b, long n)
{
    put_be32(b->data + 4, (uint32_t)n);
}
static void height_to(blob *b, long n)
{
    put_be32(b->data + 8, (uint32_t)n);
}
static void byte_to_200(blob *b, long at)
{
    b->data[at] = 200;
}
static void rezip(blob *b, long n)
{
    uint8_t *plain = calloc(1, 1 << 20);
    z_stream z = {.next_in = b->data, .avail_in = (uInt)b->n, .next_out = plain, .avail_out = 1 << 20};
    assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    inflateEnd(&z);
    free(b->data);
    *b = (blob){.data = plain, .n = z.total_out - (size_t)n, .capacity = 1 << 20};
    blob_gzip(b);
}

typedef struct hostile {
    const char *name, *file; /* data.name; the file that goes bad */
    void (*damage)(blob *b, long n);
    long n;
    const char *message;
} hostile;

static const hostile table[] = {
    /* IDX */
    {"mnist", "mnist/train-images-idx3-ubyte", empty, 0, "train-images-idx3-ubyte': it is empty"},
    {"mnist", "mnist/train-images-idx3-ubyte", cut, 3, "it ends in its header"},
    {"mnist", "mnist/train-images-idx3-ubyte", cut, 15, "it ends in its header"},
    {"mnist", "mnist/train-images-idx3-ubyte", cut, -1, "it ends after 499 of 500 bytes"},
    {"mnist", "mnist/train-images-idx3-ubyte", append_zero, 1, "more than the 500 bytes its header tells of"},
    {"mnist", "mnist/train-images-idx3-ubyte", xor_byte, 2,
     "that begins with 00005d03: unsigned bytes of 3 dimensions begin with 00000803"},
    {"mnist", "mnist/train-images-idx3-ubyte", count_up, 0, "dimension 0 is 0"},
    {"mnist", "mnist/train-images-idx3-ubyte", count_up, 19, "more than the 475 bytes"},
    {"mnist", "mnist/train-images-idx3-ubyte", count_up, 0xffffffff, "bytes: at most"},
    {"mnist", "mnist/train-images-idx3-ubyte", height_to, 70000, "images of side 70000: at most 16384"},
    {"mnist", "mnist/train-labels-idx1-ubyte", count_up, 19, "more than the 19 bytes"},
    {"mnist", "mnist/train-labels-idx1-ubyte", byte_to_200, 9, "with 201 classes: this set has 10"},
    {"mnist", "mnist/train-labels-idx1-ubyte", byte_to_200, 3, "begins with 000008c8"},
    /* IDX in gzip */
    {"mnist", "zipped/train-images-idx3-ubyte.gz", cut, -30, "the gzip data is cut off"},
    {"mnist", "zipped/train-images-idx3-ubyte.gz", cut, -1, "the gzip data is cut off"},
    {"mnist", "zipped/train-images-idx3-ubyte.gz", xor_byte, -6, "the gzip data is damaged (incorrect data check)"},
    {"mnist", "zipped/train-images-idx3-ubyte.gz", xor_byte, -1, "the gzip data is damaged (incorrect length check)"},
    {"mnist", "zipped/train-images-idx3-ubyte.gz", append_junk, 5, "other bytes follow the gzip data"},
    {"mnist", "zipped/train-images-idx3-ubyte.gz", rezip, 1, "it ends after 499 of 500 bytes"},
    {"mnist", "zipped/train-images-idx3-ubyte.gz", cut, 2, "the gzip data is cut off"},
    /* CIFAR */
    {"cifar10", "c10/data_batch_1.bin", empty, 0, "data_batch_1.bin': it is empty"},
    {"cifar10", "c10/data_batch_3.bin", cut, -1, "data_batch_3.bin' of 30729 bytes: it must be a multiple of 3073"},
    {"cifar10", "c10/data_batch_3.bin", append_zero, 7, "must be a multiple of 3073"},
    {"cifar10", "c10/data_batch_2.bin", byte_to_200, 3073, "data_batch_2.bin': image 1 has label 200, labels must be in 0..9"},
    {"cifar10", "c10/batches.meta.txt", cut, 20, "batches.meta.txt': line 3"},
    {"cifar10", "c10/batches.meta.txt", empty, 0, NULL}, /* no names: the numbers */
    /* archives */
    {"folder", "tar/train.tar", empty, 0, "train.tar': it is empty"},
    {"folder", "tar/train.tar", cut, 1000, "does not end with two blocks of zeros"},
    {"folder", "tar/train.tar", cut, 3072, "does not end with two blocks of zeros"},
    {"folder", "tar/train.tar", xor_byte, 5, "cannot read tar archive"},
    {"folder", "tar/train.tar", xor_byte, 600, "ant/0000.png'"},
    {"folder", "tgz/train.tar.gz", empty, 0, "it is empty"},
    {"folder", "tgz/train.tar.gz", cut, -9, "the gzip data is cut off"},
    {"folder", "tgz/train.tar.gz", xor_byte, -6, "incorrect data check"},
    {"folder", "tgz/train.tar.gz", append_junk, 1, "other bytes follow"},
    {"folder", "tgz/train.tar.gz", append_zero, 512, NULL}, /* padding is no damage */
    /* folders */
    {"folder", "dir/train/bee/0002.png", empty, 0, "bee/0002.png': the file is empty"},
    {"folder", "dir/train/bee/0002.png", cut, 60, "PNG"},
    {"folder", "dir/train/bee/0002.png", xor_byte, 0, "it must be a JPEG (ffd8ff) or PNG (89504e47)"},
};

static blob read_back(const char *path)
{
    blob b = {0};
    char buffer[4096];
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, f)) > 0;) blob_add(&b, buffer, n);
    fclose(f);
    return b;
}

static void make_good(void)
{
    const tiny idx = {.classes = 10, .per_class = 2, .h = 5, .w = 5, .channels = 1};
    const tiny cifar = {.classes = 10, .per_class = 1, .h = 32, .w = 32, .channels = 3};
    const tiny images = {.classes = 2, .per_class = 2, .h = 5, .w = 5, .channels = 3};
    const char *text = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n";
    static const char *const folders[] = {"mnist", "zipped", "c10", "tar", "tgz", "dir"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) make_folder(temp_path(&t, "%s", folders[i]));
    tiny_idx(&idx, temp_path(&t, "mnist"), "train", false);
    tiny_idx(&idx, temp_path(&t, "zipped"), "train", true);
    for (int i = 1; i <= 5; i++) tiny_cifar(&cifar, temp_path(&t, "c10/data_batch_%d.bin", i), 1);
    write_file(temp_path(&t, "c10/batches.meta.txt"), text, strlen(text));
    tiny_tar(&images, temp_path(&t, "tar/train.tar"), false, "");
    tiny_tar(&images, temp_path(&t, "tgz/train.tar.gz"), true, "");
    tiny_folder(&images, temp_path(&t, "dir/train"));
}

static void test_table(void **state)
{
    (void)state;
    temp_make(&t);
    make_good();
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const hostile *h = &table[i];
        const char *path = temp_path(&t, "%s", h->file);
        char root[32] = "";
        snprintf(root, sizeof root, "%.*s", (int)strcspn(h->file, "/"), h->file);
        const ful_data_config c = config_of(h->name, temp_path(&t, "%s", root), temp_path(&t, "cache"));
        blob good = read_back(path), bad = {0};
        blob_add(&bad, good.data, good.n);
        h->damage(&bad, h->n);
        write_file(path, bad.data, bad.n);
        ful_dataset *d = NULL;
        const ful_status status = ful_dataset_open(&c, FUL_SPLIT_TRAIN, &d);
        const char *message = ful_error_message();
        const int wrong = h->message ? (status != FUL_ERR_FORMAT && status != FUL_ERR_DATA) || !strstr(message, h->message) ||
                                           strncmp(message, "cannot ", 7) != 0
                                     : status != FUL_OK;
        if (wrong) fail_msg("row %zu, %s: %s: '%s', wanted '%s'", i, h->file, ful_status_name(status), message, h->message);
        ful_dataset_destroy(&d);
        write_file(path, good.data, good.n); /* with a new time, so never an old cache */
        assert_ok(ful_dataset_open(&c, FUL_SPLIT_TRAIN, &d));
        ful_dataset_destroy(&d);
        blob_free(&good);
        blob_free(&bad);
    }
    temp_remove(&t);
}

/* Archives whose names are the trouble. */
static void test_tar_names(void **state)
{
    (void)state;
    uint8_t pixels[48];
    blob png = {0};
    char long_class[400];
    memset(long_class, 'c', sizeof long_class);
    memcpy(long_class + 90, "/x.png", 7); /* ustar: 100 bytes */
    test_image(0, 4, 4, 3, pixels);
    encode_png(&png, pixels, 4, 4, PNG_RGB);
    const struct {
        const char *first, *second, *message;
    } rows[] = {
        {"x.png", "a/y.png", "'x.png' in"},
        {"a/x.png", "train/a/y.png", "images lie in '<class>/' and in 'train/<class>/'"},
        {"train/a/x.png", "val/a/y.png", "images lie in 'train/<class>/' and in 'val/<class>/'"},
        {"../../etc/x.png", "../../etc/y.png",
         NULL}, /* nothing is unpacked: '..' is dotted, so passed over, and nothing is left */
        {"/a/x.png", "a/y.png", ""},
        {"a\nb/x.png", "c/y.png", ""}, /* control characters are shown as '?' */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        tar_out tar;
        ful_dataset *d = NULL;
        temp_make(&t);
        tar_begin(&tar);
        tar_file(&tar, rows[i].first, png.data, png.n);
        tar_file(&tar, rows[i].second, png.data, png.n);
        tar_end(&tar);
        write_file(temp_path(&t, "n.tar"), tar.bytes.data, tar.bytes.n);
        const ful_data_config c = config_of("folder", temp_path(&t, "n.tar"), temp_path(&t, "cache"));
        if (!rows[i].message)
            assert_fails(ful_dataset_open(&c, FUL_SPLIT_TRAIN, &d), FUL_ERR_DATA, "it holds no images");
        else if (*rows[i].message)
            assert_fails(ful_dataset_open(&c, FUL_SPLIT_TRAIN, &d), FUL_ERR_DATA, rows[i].message);
        else
            assert_ok(ful_dataset_open(&c, FUL_SPLIT_TRAIN, &d));
        if (i == 5) assert_string_equal(ful_dataset_class_name(d, 0), "a?b");
        ful_dataset_destroy(&d);
        blob_free(&tar.bytes);
        temp_remove(&t);
    }
    blob_free(&png);
}

static void test_places(void **state)
{
    (void)state;
    ful_dataset *d = NULL;
    temp_make(&t);
    const char *cache = temp_path(&t, "cache");
    ful_data_config c = config_of("folder", temp_path(&t, "none"), cache);
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TRAIN, &d), FUL_ERR_DATA, "none': No such file or directory");
    c = config_of("folder", "", cache);
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TRAIN, &d), FUL_ERR_CONFIG, "data.path must say where it lies");
    make_folder(temp_path(&t, "empty"));
    c = config_of("folder", temp_path(&t, "empty"), cache);
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TRAIN, &d), FUL_ERR_DATA, "holds no class folders");
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TEST, &d), FUL_ERR_DATA, "nothing there is a test split");
    make_folder(temp_path(&t, "nested"));
    make_folder(temp_path(&t, "nested/n01"));
    make_folder(temp_path(&t, "nested/n01/images"));
    c = config_of("folder", temp_path(&t, "nested"), cache);
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TRAIN, &d), FUL_ERR_DATA, "folders inside it are not searched");
    write_file(temp_path(&t, "empty/x.png"), "", 0);
    c = config_of("folder", temp_path(&t, "empty"), cache);
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TRAIN, &d), FUL_ERR_DATA,
                 "x.png': it lies in no folder that would name its class");
    write_file(temp_path(&t, "set.zip"), "PK", 2);
    c = config_of("folder", temp_path(&t, "set.zip"), cache);
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TRAIN, &d), FUL_ERR_DATA, "a file must be a pack, .tar, .tar.gz or .tgz");
    const tiny nine = {.classes = 9, .per_class = 1, .h = 4, .w = 4, .channels = 3};
    make_folder(temp_path(&t, "nine"));
    tiny_folder(&nine, temp_path(&t, "nine/train"));
    c = config_of("cifar10", temp_path(&t, "nine"), cache);
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TRAIN, &d), FUL_ERR_DATA, "with 9 classes: this set has 10");
    assert_null(d);
    temp_remove(&t);
}

static void test_config(void **state)
{
    (void)state;
    ful_dataset *d = NULL;
    const ful_data_config good = config_of("clusters", "", "");
    ful_data_config c;
#define REFUSED(field, value, message)                                                    \
    do {                                                                                  \
        c = good;                                                                         \
        c.field = (value);                                                                \
        assert_fails(ful_dataset_open(&c, FUL_SPLIT_TRAIN, &d), FUL_ERR_CONFIG, message); \
    } while (0)
    REFUSED(name[0], 'x', "data.name=xlusters: it must be one that `fulcrum data list` names");
    REFUSED(size, 3, "data.size=3: it must be in 4..1024");
    REFUSED(size, 15, "data.size=15: it must be in 16..256");
    REFUSED(channels, 2, "data.channels=2: it must be 0, 1 or 3");
    REFUSED(train_limit, -1, "data.train_limit=-1");
    REFUSED(test_limit, -5, "data.test_limit=-5");
    REFUSED(val_fraction, 0.51, "data.val_fraction=0.51: it must be in 0..0.5");
    REFUSED(val_fraction, (double)NAN, "data.val_fraction=nan");
    REFUSED(gen_train, 0, "data.gen_train=0: it must be in 1..");
    REFUSED(gen_classes, 1, "data.gen_classes=1: it must be in 2..100");
    REFUSED(gen_clusters, 17, "data.gen_clusters=17: it must be in 1..16");
    REFUSED(gen_noise, 256, "data.gen_noise=256: it must be in 0..255");
    REFUSED(normalize_given, (c.std[1] = 0, true), "std > 0");
    assert_fails(ful_dataset_open(&good, (ful_split)3, &d), FUL_ERR_ARG, "split must be in 0..2");
    assert_fails(ful_dataset_open(NULL, FUL_SPLIT_TRAIN, &d), FUL_ERR_ARG, "config must be given");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_tar_names),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
