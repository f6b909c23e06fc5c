/* SPDX-License-Identifier: Apache-2.0 */
/* Tiny-ImageNet and ImageNet as their users have them: folders, archives, archives of archives, and every form of list that
 * says what the images of a flat validation set show. */
#include "data/fresh.h"

#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* formats are handed on, by this file alone */

enum { CLASSES = 3, EACH = 2, VAL = 6 };
static const char *const wnids[CLASSES] = {"n01440764", "n02119789", "n03000001"};
static const int val_class[VAL] = {2, 0, 1, 1, 0, 2};
static const tiny train_set = {.classes = CLASSES, .per_class = EACH, .h = 5, .w = 6, .channels = 3};
static const tiny val_set = {.classes = VAL, .per_class = 1, .h = 5, .w = 6, .channels = 3, .base = 40};

static void write_text(const char *path, const char *text)
{
    write_file(path, text, strlen(text));
}

static const char words[] =
    "n00000001\tentity\nn01440764\ttench, Tinca tinca\nn03000001\tchainlink fence\r\n\nn02119789\tkit fox, Vulpes\n";

/* "<name><sep><wnid><rest>" for each validation image. */
static char *list_of(const char *head, const char *format)
{
    static char text[2048];
    size_t n = (size_t)snprintf(text, sizeof text, "%s", head);
    for (int i = 0; i < VAL; i++) n += (size_t)snprintf(text + n, sizeof text - n, format, i, wnids[val_class[i]]);
    return text;
}

/* A set either in a folder or in an archive: add writes one file of it. */
typedef struct target {
    const char *folder; /* NULL: the archive */
    tar_out *tar;
} target;

static void add(const target *to, const char *name, const void *bytes, size_t n)
{
    if (to->tar) {
        tar_file(to->tar, name, bytes, n);
        return;
    }
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", to->folder, name);
    for (char *p = path + strlen(to->folder) + 1; *p; p++) {
        if (*p != '/') continue;
        *p = '\0';
        make_folder(path);
        *p = '/';
    }
    write_file(path, bytes, n);
}

static void add_train(const target *to, const char *format) /* of wnid, wnid, number */
{
    blob png = {0};
    for (int n = 0; n < CLASSES * EACH; n++) {
        char name[256];
        snprintf(name, sizeof name, format, wnids[n / EACH], wnids[n / EACH], n);
        tiny_png(&train_set, n, &png);
        add(to, name, png.data, png.n);
    }
    blob_free(&png);
}

static void add_val(const target *to, const char *format) /* of number */
{
    blob png = {0};
    for (int n = 0; n < VAL; n++) {
        char name[256];
        snprintf(name, sizeof name, format, n);
        tiny_png(&val_set, n, &png);
        add(to, name, png.data, png.n);
    }
    blob_free(&png);
}

/* Images by their pixels, not by their place: the order is checked where it is promised. */
static void check_val(const ful_data_config *c, bool with_words)
{
    ful_dataset *d = open_ok(c, FUL_SPLIT_TEST);
    ful_dataset_info info;
    uint8_t wanted[5 * 6 * 3];
    ful_dataset_info_get(d, &info);
    assert_int_equal(info.count, VAL);
    assert_int_equal(info.classes, CLASSES);
    for (int n = 0; n < VAL; n++) {
        int found = 0;
        test_image(val_set.base + n, 5, 6, 3, wanted);
        for (int i = 0; i < VAL; i++) {
            if (memcmp(ful_dataset_image(d, i), wanted, sizeof wanted) != 0) continue;
            assert_int_equal(ful_dataset_label(d, i), val_class[n]);
            found++;
        }
        assert_int_equal(found, 1);
    }
    assert_string_equal(ful_dataset_class_name(d, 0), with_words ? "n01440764 tench" : "n01440764");
    assert_string_equal(ful_dataset_class_name(d, 2), with_words ? "n03000001 chainlink fence" : "n03000001");
    ful_dataset_destroy(&d);
}

static void check_train(const ful_data_config *c)
{
    ful_dataset *d = open_ok(c, FUL_SPLIT_TRAIN);
    check_tiny(d, &train_set);
    ful_dataset_destroy(&d);
}

static void add_tiny_imagenet(const target *to, const char *top)
{
    char name[256];
    const char *list = list_of("", "val_%d.png\t%s\t0\t0\t62\t62\n");
    snprintf(name, sizeof name, "%swnids.txt", top);
    add(to, name, "n03000001\nn01440764\nn02119789\n", 30);
    snprintf(name, sizeof name, "%swords.txt", top);
    add(to, name, words, strlen(words));
    snprintf(name, sizeof name, "%strain/%%s/images/%%s_%%d.png", top);
    add_train(to, name);
    snprintf(name, sizeof name, "%strain/n01440764/n01440764_boxes.txt", top);
    add(to, name, "junk", 4);
    snprintf(name, sizeof name, "%stest/images/test_0.png", top);
    add(to, name, "no image, and never read", 24);
    snprintf(name, sizeof name, "%sval/images/val_%%d.png", top);
    add_val(to, name);
    snprintf(name, sizeof name, "%sval/val_annotations.txt", top);
    add(to, name, list, strlen(list));
}

static void test_tiny_imagenet(void **state)
{
    (void)state;
    static const char *const archives[] = {"tiny-imagenet-200.tar", "tiny-imagenet-200.tar.gz"};
    make_folder(temp_path(&t, "plain"));
    add_tiny_imagenet(&(target){.folder = temp_path(&t, "plain")}, "");
    make_folder(temp_path(&t, "below"));
    make_folder(temp_path(&t, "below/tiny-imagenet-200"));
    add_tiny_imagenet(&(target){.folder = temp_path(&t, "below/tiny-imagenet-200")}, "");
    for (int i = 0; i < 2; i++) {
        tar_out tar;
        tar_begin(&tar);
        add_tiny_imagenet(&(target){.tar = &tar}, "tiny-imagenet-200/");
        make_folder(temp_path(&t, "tar%d", i));
        tar_save(&tar, temp_path(&t, "tar%d/%s", i, archives[i]), i);
    }
    static const char *const paths[] = {
        "plain", "below", "tar0", "tar0/tiny-imagenet-200.tar", "tar1", "tar1/tiny-imagenet-200.tar.gz"};
    uint64_t print[6];
    for (int i = 0; i < 6; i++) {
        const ful_data_config c = config_of("tiny-imagenet", temp_path(&t, "%s", paths[i]), temp_path(&t, "cache"));
        check_train(&c);
        check_val(&c, true);
        ful_dataset *d = open_ok(&c, FUL_SPLIT_TRAIN);
        ful_dataset_info info;
        ful_dataset_info_get(d, &info);
        print[i] = info.fingerprint;
        assert_int_equal(info.fingerprint, print[0]);
        ful_dataset_destroy(&d);
        assert_fails(ful_dataset_open(&c, FUL_SPLIT_VAL, &d), FUL_ERR_CONFIG, "val_fraction=0");
    }
    /* Without its list the archive says so; a folder of images sorted into class folders needs none. */
    tar_out tar;
    tar_begin(&tar);
    add_val(&(target){.tar = &tar}, "val/images/val_%d.png");
    tar_save(&tar, temp_path(&t, "bare.tar"), false);
    const ful_data_config c = config_of("tiny-imagenet", temp_path(&t, "bare.tar"), temp_path(&t, "cache"));
    ful_dataset *d = NULL;
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TEST, &d), FUL_ERR_DATA, "it holds no val_annotations.txt");
}

static ful_data_config imagenet(const char *name)
{
    char folder[600];
    snprintf(folder, sizeof folder, "%s", temp_path(&t, "%s", name));
    make_folder(folder);
    const ful_data_config c = config_of("imagenet", folder, temp_path(&t, "cache"));
    add_train(&(target){.folder = folder}, "train/%s/%s_%d.png");
    add_val(&(target){.folder = folder}, "val/ILSVRC2012_val_%08d.png");
    return c;
}

static const char clsloc[] = "n03000001 1 chainlink_fence\nn01440764 2 tench\nn02119789 3 kit_fox\n";

static void test_imagenet_lists(void **state)
{
    (void)state;
    ful_data_config c = imagenet("a");
    ful_dataset *d = NULL;
    check_train(&c);
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TEST, &d), FUL_ERR_DATA,
                 "it lies in no folder that would name its class, and no list");
    write_text(temp_path(&t, "a/val_annotations.txt"), list_of("", "ILSVRC2012_val_%08d.png %s\n"));
    check_val(&c, false);
    c = imagenet("b"); /* names without suffix, words of its own */
    write_text(temp_path(&t, "b/LOC_val_solution.csv"),
               list_of("ImageId,PredictionString\n", "ILSVRC2012_val_%08d,%s 85 1 499 272 \n"));
    write_text(temp_path(&t, "b/LOC_synset_mapping.txt"),
               "n01440764 tench, Tinca tinca\nn02119789 kit fox\nn03000001 chainlink fence\n");
    check_val(&c, true);
    /* Numbers of the development kit, from 1. */
    c = imagenet("c");
    write_text(temp_path(&t, "c/ILSVRC2012_validation_ground_truth.txt"), "1\n2\n3\n3\n2\n1\n");
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TEST, &d), FUL_ERR_DATA, "its numbers say nothing without map_clsloc.txt");
    write_text(temp_path(&t, "c/synsets.txt"), "n01440764\nn02119789\nn03000001\n");
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TEST, &d), FUL_ERR_DATA, "the names there are in byte order");
    write_text(temp_path(&t, "c/map_clsloc.txt"), clsloc);
    check_val(&c, false);
    write_text(temp_path(&t, "c/ILSVRC2012_validation_ground_truth.txt"), "1\n2\n3\n3\n2\n4\n");
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TEST, &d), FUL_ERR_DATA, "entry 6 is number 4, but");
    write_text(temp_path(&t, "c/ILSVRC2012_validation_ground_truth.txt"), "1\n2\n3\n3\n2\n");
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TEST, &d), FUL_ERR_DATA, "with 5 numbers for the 6 images");
    /* File and number, from 0, of the sorted names. */
    c = imagenet("d");
    char text[512] = "";
    for (int i = 0; i < VAL; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "ILSVRC2012_val_%08d.png %d\n", i, val_class[i]);
    write_text(temp_path(&t, "d/val.txt"), text);
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TEST, &d), FUL_ERR_DATA, "without synsets.txt");
    write_text(temp_path(&t, "d/synsets.txt"), "n01440764\nn02119789\nn03000001\n");
    check_val(&c, false);
}

static void test_bad_lists(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
        ful_status status;
    } cases[] = {
        {"", "val_annotations.txt': it has no lines", FUL_ERR_FORMAT},
        {"ILSVRC2012_val_00000000.png\n", "line 1 names no class", FUL_ERR_FORMAT},
        {"a.png n01440764\n7\n", "line 2 is of another form", FUL_ERR_FORMAT},
        {"a.png n01440764\na.png n02119789\n", "'a.png' stands there with two classes", FUL_ERR_DATA},
        {"ILSVRC2012_val_00000000.png n01440764\n", "ILSVRC2012_val_00000001.png' of", FUL_ERR_DATA},
    };
    const ful_data_config c = imagenet("bad");
    ful_dataset *d = NULL;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text(temp_path(&t, "bad/val_annotations.txt"), cases[i].text);
        assert_fails(ful_dataset_open(&c, FUL_SPLIT_TEST, &d), cases[i].status, cases[i].message);
    }
    write_text(temp_path(&t, "bad/val_annotations.txt"), list_of("", "ILSVRC2012_val_%08d.png %s1\n"));
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TEST, &d), FUL_ERR_DATA, "is not in the training split");
}

static void test_sorted_val_and_kaggle(void **state)
{
    (void)state;
    char folder[600];
    make_folder(temp_path(&t, "k"));
    snprintf(folder, sizeof folder, "%s", temp_path(&t, "k"));
    add_train(&(target){.folder = folder}, "ILSVRC/Data/CLS-LOC/train/%s/%s_%d.png");
    add_val(&(target){.folder = folder}, "ILSVRC/Data/CLS-LOC/val/v%d.png");
    make_folder(temp_path(&t, "k/ILSVRC/Data/CLS-LOC/test"));
    write_text(temp_path(&t, "k/LOC_val_solution.csv"), list_of("ImageId,PredictionString\n", "v%d,%s 1 2 3 4\n"));
    write_text(temp_path(&t, "k/LOC_synset_mapping.txt"), words);
    const ful_data_config c = config_of("imagenet", folder, temp_path(&t, "cache"));
    check_train(&c);
    check_val(&c, true);
    const ful_data_config sorted = config_of("imagenet", temp_path(&t, "s"), temp_path(&t, "cache"));
    make_folder(temp_path(&t, "s"));
    snprintf(folder, sizeof folder, "%s", temp_path(&t, "s"));
    add_train(&(target){.folder = folder}, "train/%s/%s_%d.png");
    blob png = {0};
    for (int n = 0; n < VAL; n++) {
        char name[64];
        snprintf(name, sizeof name, "val/%s/v%d.png", wnids[val_class[n]], n);
        tiny_png(&val_set, n, &png);
        add(&(target){.folder = folder}, name, png.data, png.n);
    }
    blob_free(&png);
    check_val(&sorted, false);
}

/* The two archives as they are published: one of class archives, one flat, read without unpacking. */
static void test_official_archives(void **state)
{
    (void)state;
    tar_out outer, inner, val;
    blob png = {0};
    char name[64];
    make_folder(temp_path(&t, "o"));
    tar_begin(&outer);
    for (int c = CLASSES - 1; c >= 0; c--) {
        tar_begin(&inner);
        for (int n = c * EACH; n < (c + 1) * EACH; n++) {
            snprintf(name, sizeof name, "%s_%d.png", wnids[c], n);
            tiny_png(&train_set, n, &png);
            tar_file(&inner, name, png.data, png.n);
        }
        tar_end(&inner);
        snprintf(name, sizeof name, "%s.tar", wnids[c]);
        tar_file(&outer, name, inner.bytes.data, inner.bytes.n);
        blob_free(&inner.bytes);
    }
    tar_save(&outer, temp_path(&t, "o/ILSVRC2012_img_train.tar"), false);
    tar_begin(&val);
    add_val(&(target){.tar = &val}, "ILSVRC2012_val_%08d.png");
    tar_save(&val, temp_path(&t, "o/ILSVRC2012_img_val.tar"), false);
    const ful_data_config c = config_of("imagenet", temp_path(&t, "o"), temp_path(&t, "cache"));
    ful_dataset *d = NULL;
    check_train(&c);
    assert_fails(ful_dataset_open(&c, FUL_SPLIT_TEST, &d), FUL_ERR_DATA, "no list says what its images show");
    write_text(temp_path(&t, "o/ILSVRC2012_validation_ground_truth.txt"), "1\n2\n3\n3\n2\n1\n");
    write_text(temp_path(&t, "o/map_clsloc.txt"), clsloc);
    check_val(&c, false);
    blob_free(&png);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_tiny_imagenet, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_imagenet_lists, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_lists, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sorted_val_and_kaggle, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_official_archives, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
