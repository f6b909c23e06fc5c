/* SPDX-License-Identifier: Apache-2.0 */
/* CIFAR in its archive and with coarse labels; the sets in MNIST's format under their own names; damaged images left out. */
#include "data/fresh.h"

static void add_cifar(tar_out *tar, const char *name, const tiny *s, int label_bytes)
{
    char path[600];
    blob bytes = {0};
    uint8_t buffer[4096];
    snprintf(path, sizeof path, "%s", temp_path(&t, "part.bin"));
    tiny_cifar(s, path, label_bytes);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, f)) > 0;) blob_add(&bytes, buffer, n);
    fclose(f);
    tar_file(tar, name, bytes.data, bytes.n);
    blob_free(&bytes);
}

static void test_cifar10_archive(void **state)
{
    (void)state;
    const char *text = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n";
    tar_out tar;
    tar_begin(&tar);
    for (int i = 5; i >= 1; i--) { /* not in the order they are read in */
        char name[64];
        const tiny part = {.classes = 10, .per_class = 1, .h = 32, .w = 32, .channels = 3, .base = 10 * (i - 1)};
        snprintf(name, sizeof name, "cifar-10-batches-bin/data_batch_%d.bin", i);
        add_cifar(&tar, name, &part, 1);
    }
    const tiny test = {.classes = 10, .per_class = 2, .h = 32, .w = 32, .channels = 3, .base = 70};
    tar_file(&tar, "cifar-10-batches-bin/batches.meta.txt", text, strlen(text));
    add_cifar(&tar, "cifar-10-batches-bin/test_batch.bin", &test, 1);
    make_folder(temp_path(&t, "c"));
    tar_save(&tar, temp_path(&t, "c/cifar-10-binary.tar.gz"), true);
    for (int whole = 0; whole < 2; whole++) {
        const ful_data_config c = config_of("cifar10", temp_path(&t, whole ? "c/cifar-10-binary.tar.gz" : "c"),
                                            temp_path(&t, "cache"));
        ful_dataset *d = open_ok(&c, FUL_SPLIT_TRAIN);
        uint8_t wanted[32 * 32 * 3];
        for (int i = 0; i < 50; i++) {
            test_image(i, 32, 32, 3, wanted);
            assert_memory_equal(ful_dataset_image(d, i), wanted, sizeof wanted);
            assert_int_equal(ful_dataset_label(d, i), i % 10);
        }
        assert_string_equal(ful_dataset_class_name(d, 9), "truck");
        ful_dataset_destroy(&d);
        d = open_ok(&c, FUL_SPLIT_TEST);
        check_tiny(d, &test);
        ful_dataset_destroy(&d);
    }
    tar_begin(&tar);
    tar_file(&tar, "x/data_batch_1.bin", "junk", 4);
    tar_save(&tar, temp_path(&t, "cifar-10-binary.tar"), false);
    const ful_data_config c = config_of("cifar10", temp_path(&t, "cifar-10-binary.tar"), temp_path(&t, "cache"));
    ful_dataset *d = NULL;
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TRAIN, &d), FUL_ERR_FORMAT, "data_batch_1.bin' of 4 bytes");
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TEST, &d), FUL_ERR_DATA, "it has no test_batch.bin");
}

static void test_coarse(void **state)
{
    (void)state;
    const tiny s = {.classes = 50, .per_class = 1, .h = 32, .w = 32, .channels = 3}; /* coarse label: n % 20 */
    char coarse[400] = "";
    make_folder(temp_path(&t, "h"));
    tiny_cifar(&s, temp_path(&t, "h/train.bin"), 2);
    tiny_cifar(&s, temp_path(&t, "h/test.bin"), 2);
    for (int i = 0; i < 20; i++) snprintf(coarse + strlen(coarse), sizeof coarse - strlen(coarse), "group %d\n", i);
    write_file(temp_path(&t, "h/coarse_label_names.txt"), coarse, strlen(coarse));
    ful_data_config c = config_of("cifar100", temp_path(&t, "h"), temp_path(&t, "cache"));
    for (int level = 0; level < 2; level++) { /* two caches of the same files */
        c.labels = level ? FUL_LABELS_COARSE : FUL_LABELS_FINE;
        ful_dataset *d = open_ok(&c, FUL_SPLIT_TRAIN);
        ful_dataset_info info;
        ful_dataset_info_get(d, &info);
        assert_int_equal(info.classes, level ? 20 : 100);
        for (int i = 0; i < 50; i++) assert_int_equal(ful_dataset_label(d, i), level ? i % 20 : i);
        assert_string_equal(ful_dataset_class_name(d, 7), level ? "group 7" : "7");
        ful_dataset_destroy(&d);
    }
    c = config_of("cifar10", temp_path(&t, "h"), "");
    c.labels = FUL_LABELS_COARSE;
    ful_dataset *d = NULL;
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TRAIN, &d), FUL_ERR_CONFIG, "only cifar100 has coarse labels");
}

static void put_be32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* `count` images of 3x3 with pixel (y, x) = 10 y + x + n, stored as lies = transposed or not; label n + base. */
static void write_idx(const char *stem, int count, int base, bool transposed)
{
    uint8_t images[16 + 64 * 9], labels[8 + 64];
    put_be32(images, 0x803), put_be32(images + 4, (uint32_t)count), put_be32(images + 8, 3), put_be32(images + 12, 3);
    put_be32(labels, 0x801), put_be32(labels + 4, (uint32_t)count);
    for (int n = 0; n < count; n++) {
        for (int y = 0; y < 3; y++) {
            for (int x = 0; x < 3; x++) images[16 + 9 * n + (transposed ? 3 * x + y : 3 * y + x)] = (uint8_t)(10 * y + x + n);
        }
        labels[8 + n] = (uint8_t)(n + base);
    }
    write_file(temp_path(&t, "%s-images-idx3-ubyte", stem), images, 16 + 9 * (size_t)count);
    write_file(temp_path(&t, "%s-labels-idx1-ubyte", stem), labels, 8 + (size_t)count);
}

static void check_idx(const ful_data_config *c, ful_split split, int count, int classes, const char *first, const char *last)
{
    ful_dataset *d = open_ok(c, split);
    ful_dataset_info info;
    ful_dataset_info_get(d, &info);
    assert_int_equal(info.count, count);
    assert_int_equal(info.classes, classes);
    for (int n = 0; n < count; n++) {
        assert_int_equal(ful_dataset_label(d, n), n);
        for (int k = 0; k < 9; k++) assert_int_equal(ful_dataset_image(d, n)[k], 10 * (k / 3) + k % 3 + n);
    }
    assert_string_equal(ful_dataset_class_name(d, 0), first);
    assert_string_equal(ful_dataset_class_name(d, classes - 1), last);
    ful_dataset_destroy(&d);
}

static void test_mnist_family(void **state)
{
    (void)state;
    write_idx("train", 10, 0, false);
    write_idx("t10k", 5, 0, false);
    static const char *const ends[3][3] = {
        {"mnist", "0", "9"}, {"fashion-mnist", "T-shirt/top", "Ankle boot"}, {"kmnist", "o", "wo"}};
    for (int i = 0; i < 3; i++) {
        const ful_data_config c = config_of(ends[i][0], t.path, temp_path(&t, "cache"));
        check_idx(&c, FUL_SPLIT_TRAIN, 10, 10, ends[i][1], ends[i][2]);
        check_idx(&c, FUL_SPLIT_TEST, 5, 10, ends[i][1], ends[i][2]);
    }
    write_idx("train", 11, 0, false);
    const ful_data_config c = config_of("kmnist", t.path, temp_path(&t, "cache"));
    ful_dataset *d = NULL;
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TRAIN, &d), FUL_ERR_FORMAT, "image 10 has label 10, labels must be in 0..9");
}

static void test_emnist(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        ful_emnist part;
        int classes, base;
        const char *last;
    } parts[] = {{"balanced", FUL_EMNIST_BALANCED, 47, 0, "t"}, {"byclass", FUL_EMNIST_BYCLASS, 62, 0, "z"},
                 {"bymerge", FUL_EMNIST_BYMERGE, 47, 0, "t"},   {"digits", FUL_EMNIST_DIGITS, 10, 0, "9"},
                 {"letters", FUL_EMNIST_LETTERS, 26, 1, "Z"},   {"mnist", FUL_EMNIST_MNIST, 10, 0, "9"}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char stem[64];
        snprintf(stem, sizeof stem, "emnist-%s-train", parts[i].name);
        write_idx(stem, parts[i].classes, parts[i].base, true);
        snprintf(stem, sizeof stem, "emnist-%s-test", parts[i].name);
        write_idx(stem, 3, parts[i].base, true);
        ful_data_config c = config_of("emnist", t.path, temp_path(&t, "cache"));
        c.emnist = parts[i].part;
        check_idx(&c, FUL_SPLIT_TRAIN, parts[i].classes, parts[i].classes, parts[i].base ? "A" : "0", parts[i].last);
        check_idx(&c, FUL_SPLIT_TEST, 3, parts[i].classes, parts[i].base ? "A" : "0", parts[i].last);
    }
    ful_data_config c = config_of("emnist", t.path, temp_path(&t, "cache"));
    ful_dataset *d = NULL;
    c.emnist = FUL_EMNIST_DIGITS;
    const char *good = "0 48\n1 49\n2 50\n3 51\n4 52\n5 53\n6 54\n7 55\n8 56\n9 42\n", *bad = "0 48\n2 50\n";
    write_file(temp_path(&t, "emnist-digits-mapping.txt"), good, strlen(good));
    check_idx(&c, FUL_SPLIT_TRAIN, 10, 10, "0", "*");
    write_file(temp_path(&t, "emnist-digits-mapping.txt"), bad, strlen(bad));
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TRAIN, &d), FUL_ERR_FORMAT, "line \"2 50\" where number 1");
}

static void test_skip(void **state)
{
    (void)state;
    const tiny s = {.classes = 3, .per_class = 20, .h = 4, .w = 4, .channels = 3};
    tiny_folder(&s, temp_path(&t, "f"));
    ful_data_config c = config_of("folder", temp_path(&t, "f"), temp_path(&t, "cache"));
    write_file(temp_path(&t, "f/ant/0000.png"), "GIF89a", 6); /* the first, which gives the set its size, and others */
    write_file(temp_path(&t, "f/bee/0025.png"), "", 0);
    ful_dataset *d = NULL;
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TRAIN, &d), FUL_ERR_DATA, "ant/0000.png");
    c.on_error = FUL_ON_ERROR_SKIP;
    log_catch();
    d = open_ok(&c, FUL_SPLIT_TRAIN);
    assert_int_equal(log_warnings(), 3); /* each of them, and how many */
    assert_non_null(strstr(log_last(), "2 damaged images of the training split of 'folder' are left out"));
    ful_dataset_info info;
    ful_dataset_info_get(d, &info);
    assert_int_equal(info.count, 58);
    assert_int_equal(info.left_out, 2);
    uint8_t wanted[48];
    test_image(26, 4, 4, 3, wanted);
    assert_memory_equal(ful_dataset_image(d, 24), wanted, sizeof wanted);
    assert_int_equal(ful_dataset_label(d, 24), 1);
    ful_dataset_destroy(&d);
    log_catch();
    d = open_ok(&c, FUL_SPLIT_TRAIN); /* from the cache, which knows how many */
    assert_int_equal(log_warnings(), 1);
    assert_non_null(strstr(log_last(), "2 damaged images of the training split of 'folder' are left out"));
    ful_dataset_info_get(d, &info);
    assert_int_equal(info.left_out, 2);
    assert_ok(ful_dataset_pack(d, temp_path(&t, "p/train.pack")));
    ful_dataset_destroy(&d);
    ful_data_config pack = config_of("pack", temp_path(&t, "p"), ""), part = c;
    d = open_ok(&pack, FUL_SPLIT_TRAIN); /* and so does a pack */
    ful_dataset_info_get(d, &info);
    assert_int_equal(info.left_out, 2);
    ful_dataset_destroy(&d);
    part.val_fraction = 0.2;
    d = open_ok(&part, FUL_SPLIT_VAL); /* what is cut from the training images lacks none */
    ful_dataset_info_get(d, &info);
    assert_int_equal(info.left_out, 0);
    ful_dataset_destroy(&d);
    c.on_error = FUL_ON_ERROR_STOP; /* and that cache does not serve who wants all */
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TRAIN, &d), FUL_ERR_DATA, "ant/0000.png");
    log_catch();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cifar10_archive, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_coarse, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mnist_family, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_emnist, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_skip, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
