/* SPDX-License-Identifier: Apache-2.0 */
/* Every layout the readers recognise, written by the test, must give the same images, labels and fingerprint. */
#include <archive_entry.h>
#include <unistd.h>

#include "data/fresh.h"

static const char *cache(void)
{
    return temp_path(&t, "cache");
}

/* Opens the training split under `path`, checks it, and gives its fingerprint. */
static uint64_t check_train(const char *name, const char *path, const tiny *s)
{
    const ful_data_config c = config_of(name, path, cache());
    ful_dataset *d = open_ok(&c, FUL_SPLIT_TRAIN);
    ful_dataset_info info;
    check_tiny(d, s);
    ful_dataset_info_get(d, &info);
    ful_dataset_destroy(&d);
    assert_null(d);
    return info.fingerprint;
}

static void test_images(void **state)
{
    (void)state;
    const tiny s = {.classes = 3, .per_class = 4, .h = 6, .w = 6, .channels = 3};
    uint64_t print[7];
    make_folder(temp_path(&t, "split"));
    tiny_folder(&s, temp_path(&t, "split/train"));
    tiny_folder(&s, temp_path(&t, "bare"));
    make_folder(temp_path(&t, "packed"));
    make_folder(temp_path(&t, "plain"));
    tiny_tar(&s, temp_path(&t, "packed/train.tar.gz"), true, "");
    tiny_tar(&s, temp_path(&t, "plain/train.tar"), false, "./");
    tiny_tar(&s, temp_path(&t, "deep.tar"), false, "top/train/");
    print[0] = check_train("folder", temp_path(&t, "split"), &s);
    print[1] = check_train("folder", temp_path(&t, "bare"), &s);
    print[2] = check_train("folder", temp_path(&t, "packed"), &s);
    print[3] = check_train("folder", temp_path(&t, "plain"), &s);
    print[4] = check_train("folder", temp_path(&t, "deep.tar"), &s);
    print[5] = check_train("folder", temp_path(&t, "packed/train.tar.gz"), &s);
    /* A pack of it. */
    const ful_data_config c = config_of("folder", temp_path(&t, "bare"), cache());
    ful_dataset *d = open_ok(&c, FUL_SPLIT_TRAIN);
    make_folder(temp_path(&t, "packs"));
    assert_ok(ful_dataset_pack(d, temp_path(&t, "packs/train.pack")));
    ful_dataset_destroy(&d);
    print[6] = check_train("pack", temp_path(&t, "packs"), &s);
    assert_int_equal(print[6], check_train("pack", temp_path(&t, "packs/train.pack"), &s));
    for (int i = 1; i < 7; i++) assert_int_equal(print[i], print[0]);
    /* Other pixels, other labels: other fingerprints. */
    const tiny other = {.classes = 3, .per_class = 4, .h = 6, .w = 6, .channels = 3, .base = 1};
    tiny_folder(&other, temp_path(&t, "other"));
    assert_int_not_equal(check_train("folder", temp_path(&t, "other"), &other), print[0]);
    const tiny relabelled = {.classes = 4, .per_class = 3, .h = 6, .w = 6, .channels = 3};
    tiny_folder(&relabelled, temp_path(&t, "relabelled"));
    assert_int_not_equal(check_train("folder", temp_path(&t, "relabelled"), &relabelled), print[0]);
}

/* What is no image of ours is passed over: dotted names, other suffixes, folders and links in archives. */
static void test_strays(void **state)
{
    (void)state;
    const tiny s = {.classes = 2, .per_class = 2, .h = 4, .w = 4, .channels = 3};
    tiny_folder(&s, temp_path(&t, "f"));
    write_file(temp_path(&t, "f/ant/.hidden.png"), "x", 1);
    write_file(temp_path(&t, "f/ant/readme.txt"), "x", 1);
    write_file(temp_path(&t, "f/list.csv"), "x", 1);
    make_folder(temp_path(&t, "f/.git"));
    assert_int_equal(symlink("0000.png", temp_path(&t, "f/ant/zz.png")), 0); /* a link to a file is a file here */
    ful_data_config c = config_of("folder", temp_path(&t, "f"), cache());
    ful_dataset *d = open_ok(&c, FUL_SPLIT_TRAIN);
    ful_dataset_info info;
    ful_dataset_info_get(d, &info);
    assert_int_equal(info.count, 5);
    assert_int_equal(ful_dataset_label(d, 2), 0);
    assert_memory_equal(ful_dataset_image(d, 2), ful_dataset_image(d, 0), 4 * 4 * 3);
    ful_dataset_destroy(&d);

    uint8_t pixels[4 * 4 * 3];
    blob png = {0};
    tar_out tar;
    tar_begin(&tar);
    tar_other(&tar, "top", AE_IFDIR, NULL);
    tar_other(&tar, "top/ant", AE_IFDIR, NULL);
    for (int i = 0; i < 4; i++) {
        char name[64];
        test_image(i, 4, 4, 3, pixels);
        encode_png(&png, pixels, 4, 4, PNG_RGB);
        snprintf(name, sizeof name, "top/%s/%d.PNG", tiny_class(i / 2), i);
        tar_file(&tar, name, png.data, png.n);
        tar_file(&tar, "top/ant/._x.png", "junk", 4);
        tar_file(&tar, ".DS/ant/x.png", "junk", 4);
        tar_file(&tar, "notes.txt", "junk", 4);
        tar_other(&tar, "top/ant/link.png", AE_IFLNK, "0.PNG");
    }
    tar_end(&tar);
    write_file(temp_path(&t, "s.tar"), tar.bytes.data, tar.bytes.n);
    log_catch();
    check_train("folder", temp_path(&t, "s.tar"), &s);
    assert_int_equal(log_warnings(), 1);
    assert_non_null(strstr(log_last(), "4 linked images were left out"));
    blob_free(&tar.bytes);
    blob_free(&png);
}

static void test_idx(void **state)
{
    (void)state;
    const tiny train = {.classes = 10, .per_class = 2, .h = 7, .w = 5, .channels = 1};
    const tiny test = {.classes = 9, .per_class = 1, .h = 7, .w = 5, .channels = 1, .base = 50};
    uint64_t print[2];
    for (int gzip = 0; gzip < 2; gzip++) {
        const char *folder = temp_path(&t, "idx%d", gzip);
        make_folder(folder);
        tiny_idx(&train, folder, "train", gzip);
        tiny_idx(&test, folder, "t10k", gzip);
        print[gzip] = check_train("mnist", folder, &train);
        const ful_data_config c = config_of("mnist", folder, cache());
        ful_dataset *d = open_ok(&c, FUL_SPLIT_TEST);
        ful_dataset_info info;
        check_tiny(d, &test);
        ful_dataset_info_get(d, &info);
        assert_int_equal(info.classes, 10); /* as in training, though the tenth is not here */
        assert_string_equal(ful_dataset_class_name(d, 9), "9");
        assert_string_equal(ful_dataset_class_name(d, 10), "");
        assert_string_equal(ful_dataset_class_name(d, -1), "");
        ful_dataset_destroy(&d);
    }
    assert_int_equal(print[0], print[1]);
    /* Three channels on request. */
    ful_data_config c = config_of("mnist", temp_path(&t, "idx0"), cache());
    c.channels = 3;
    ful_dataset *d = open_ok(&c, FUL_SPLIT_TRAIN);
    check_tiny(d, &train);
    ful_dataset_destroy(&d);
}

static void test_cifar10(void **state)
{
    (void)state;
    const tiny batch = {.classes = 10, .per_class = 1, .h = 32, .w = 32, .channels = 3};
    for (int named = 0; named < 2; named++) {
        const char *root = temp_path(&t, "c10-%d", named), *folder = temp_path(&t, "c10-%d/cifar-10-batches-bin", named);
        make_folder(root);
        make_folder(folder);
        for (int i = 1; i <= 5; i++) {
            char path[1024];
            tiny part = batch;
            part.base = 10 * (i - 1);
            snprintf(path, sizeof path, "%s/data_batch_%d.bin", folder, i);
            tiny_cifar(&part, path, 1);
        }
        tiny_cifar(&batch, temp_path(&t, "c10-%d/cifar-10-batches-bin/test_batch.bin", named), 1);
        const char *text = "airplane\nautomobile\r\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
        if (named) write_file(temp_path(&t, "c10-%d/cifar-10-batches-bin/batches.meta.txt", named), text, strlen(text));
        ful_data_config c = config_of("cifar10", named ? root : folder, cache()); /* the folder itself will do, too */
        ful_dataset *d = open_ok(&c, FUL_SPLIT_TRAIN);
        ful_dataset_info info;
        uint8_t wanted[32 * 32 * 3];
        ful_dataset_info_get(d, &info);
        assert_int_equal(info.count, 50);
        for (int i = 0; i < 50; i++) {
            test_image(i, 32, 32, 3, wanted);
            assert_memory_equal(ful_dataset_image(d, i), wanted, sizeof wanted);
            assert_int_equal(ful_dataset_label(d, i), i % 10);
        }
        assert_string_equal(ful_dataset_class_name(d, 1), named ? "automobile" : "1");
        ful_dataset_destroy(&d);
        d = open_ok(&c, FUL_SPLIT_TEST);
        check_tiny(d, &batch);
        ful_dataset_destroy(&d);
    }
    assert_int_equal(unlink(temp_path(&t, "c10-0/cifar-10-batches-bin/data_batch_4.bin")), 0);
    ful_data_config c = config_of("cifar10", temp_path(&t, "c10-0"), cache());
    ful_dataset *d = NULL;
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TRAIN, &d), FUL_ERR_IO, "data_batch_4.bin");
    assert_null(d);
}

static void test_cifar100(void **state)
{
    (void)state;
    const char *folder = temp_path(&t, "c100/cifar-100-binary");
    const tiny s = {.classes = 10, .per_class = 2, .h = 32, .w = 32, .channels = 3};
    make_folder(temp_path(&t, "c100"));
    make_folder(folder);
    tiny_cifar(&s, temp_path(&t, "c100/cifar-100-binary/train.bin"), 2);
    tiny_cifar(&s, temp_path(&t, "c100/cifar-100-binary/test.bin"), 2);
    check_train("cifar100", temp_path(&t, "c100"), &s);
    const ful_data_config c = config_of("cifar100", temp_path(&t, "c100"), cache());
    ful_dataset *d = open_ok(&c, FUL_SPLIT_TEST);
    ful_dataset_info info;
    ful_dataset_info_get(d, &info);
    assert_int_equal(info.classes, 100);
    ful_dataset_destroy(&d);
}

/* Which split a folder's name stands for, and that a class has its training number everywhere. */
static void test_splits(void **state)
{
    (void)state;
    const tiny train = {.classes = 4, .per_class = 2, .h = 4, .w = 4, .channels = 3};
    const tiny small = {.classes = 1, .per_class = 3, .h = 4, .w = 4, .channels = 3, .base = 20};
    const tiny val = {.classes = 4, .per_class = 1, .h = 4, .w = 4, .channels = 3, .base = 40};
    ful_dataset *d = NULL;
    make_folder(temp_path(&t, "tv"));
    tiny_folder(&train, temp_path(&t, "tv/train"));
    tiny_folder(&val, temp_path(&t, "tv/val"));
    ful_data_config c = config_of("folder", temp_path(&t, "tv"), cache());
    d = open_ok(&c, FUL_SPLIT_TEST); /* no test/: val/ is it */
    check_tiny(d, &val);
    ful_dataset_destroy(&d);
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_VAL, &d), FUL_ERR_CONFIG, "val_fraction=0: it must be > 0");
    /* With test/, val/ is for validation. Its only class is the training set's third. */
    make_folder(temp_path(&t, "tv/test"));
    make_folder(temp_path(&t, "tv/test/cow"));
    for (int i = 0; i < 3; i++) {
        uint8_t pixels[48];
        blob png = {0};
        test_image(20 + i, 4, 4, 3, pixels);
        encode_png(&png, pixels, 4, 4, PNG_RGB);
        write_file(temp_path(&t, "tv/test/cow/%d.png", i), png.data, png.n);
        blob_free(&png);
    }
    d = open_ok(&c, FUL_SPLIT_VAL);
    check_tiny(d, &val);
    ful_dataset_destroy(&d);
    d = open_ok(&c, FUL_SPLIT_TEST);
    ful_dataset_info info;
    ful_dataset_info_get(d, &info);
    assert_int_equal(info.count, small.per_class);
    assert_int_equal(info.classes, 4);
    for (int i = 0; i < 3; i++) assert_int_equal(ful_dataset_label(d, i), 2);
    /* A pack keeps the training numbers and normalisation. */
    assert_ok(ful_dataset_pack(d, temp_path(&t, "cow.pack")));
    ful_data_config p = config_of("pack", temp_path(&t, "cow.pack"), cache());
    ful_dataset *packed = open_ok(&p, FUL_SPLIT_TEST);
    ful_dataset_info packed_info;
    ful_dataset_info_get(packed, &packed_info);
    assert_memory_equal(packed_info.mean, info.mean, sizeof info.mean);
    assert_memory_equal(packed_info.std, info.std, sizeof info.std);
    assert_int_equal(packed_info.fingerprint, info.fingerprint);
    assert_int_equal(ful_dataset_label(packed, 0), 2);
    ful_dataset_destroy(&packed);
    ful_dataset_destroy(&d);
    assert_fails(ful_dataset_open(&p, FUL_SPLIT_TRAIN, &d), FUL_ERR_DATA, "nothing there is a training split");
    p.size = 8;
    assert_fails(ful_dataset_open(&p, FUL_SPLIT_TEST, &d), FUL_ERR_CONFIG, "data.size=8 with a pack of 4x4");
    p.size = 0;
    p.channels = 1;
    assert_fails(ful_dataset_open(&p, FUL_SPLIT_TEST, &d), FUL_ERR_CONFIG, "data.channels=1 with a pack of 3");
    /* A class that training does not know. */
    make_folder(temp_path(&t, "tv/test/zebra"));
    write_file(temp_path(&t, "tv/test/zebra/x.png"), "", 0);
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TEST, &d), FUL_ERR_DATA, "zebra/x.png': the file is empty");
    uint8_t pixels[48] = {0};
    blob png = {0};
    encode_png(&png, pixels, 4, 4, PNG_RGB);
    write_file(temp_path(&t, "tv/test/zebra/x.png"), png.data, png.n);
    blob_free(&png);
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TEST, &d), FUL_ERR_DATA, "its class 'zebra' is not in the training split");
}

static void test_size(void **state)
{
    (void)state;
    const tiny s = {.classes = 2, .per_class = 2, .h = 8, .w = 12, .channels = 3};
    tiny_folder(&s, temp_path(&t, "wide"));
    check_train("folder", temp_path(&t, "wide"), &s); /* as they are, not square */
    ful_data_config c = config_of("folder", temp_path(&t, "wide"), cache());
    c.size = 4;
    c.channels = 1;
    ful_dataset *d = open_ok(&c, FUL_SPLIT_TRAIN);
    ful_dataset_info info;
    ful_dataset_info_get(d, &info);
    assert_int_equal(info.height, 4);
    assert_int_equal(info.width, 4);
    assert_int_equal(info.channels, 1);
    uint8_t wanted[16], pixels[8 * 12 * 3];
    blob png = {0};
    test_image(3, 8, 12, 3, pixels);
    encode_png(&png, pixels, 8, 12, PNG_RGB);
    assert_ok(ful_image_decode("x", png.data, png.n, 4, 1, wanted));
    assert_memory_equal(ful_dataset_image(d, 3), wanted, sizeof wanted);
    ful_dataset_destroy(&d);
    /* One image of another size needs data.size. */
    test_image(3, 8, 11, 3, pixels);
    encode_png(&png, pixels, 8, 11, PNG_RGB);
    write_file(temp_path(&t, "wide/bee/9999.png"), png.data, png.n);
    c.size = 0;
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TRAIN, &d), FUL_ERR_DATA,
                 "bee/9999.png' of 11x8 pixels in a set of 12x8: all must be of one size, or data.size must be given");
    blob_free(&png);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_images, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_strays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_idx, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cifar10, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cifar100, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_splits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_size, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
