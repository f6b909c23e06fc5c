/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Weights of other programs: the fixtures under weights/ (written by make_fixtures.py) give PyTorch's logits; what is wrong is
 * named. With arguments, "compare ARCH WEIGHTS EXPECTED", it compares one such pair and prints the difference.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "support/fault.h"
#include "train/weights.h"
#include "train_support.h"

#define FIXTURES "tests/train/weights/"

/* The config a pair of files calls for. */
static void config_of(ful_net_config *c, const char *arch, const ful__st_file *expected)
{
    const ful__st_tensor *x = ful__st_find(expected, "x"), *logits = ful__st_find(expected, "logits");
    ful_net_config_defaults(c);
    snprintf(c->arch, sizeof c->arch, "%s", arch);
    snprintf(c->conv, sizeof c->conv, "direct");
    c->height = (int)x->shape[1];
    c->in_channels = (int)x->shape[3];
    c->classes = (int)logits->shape[1];
}

static ful_status net_of(const ful_net_config *c, int n, ful_net **out)
{
    ful_graph *graph = NULL;
    ful_net_options options;
    ful_net_options_defaults(&options);
    options.batch_max = n;
    options.train = false;
    FUL_TRY(ful_net_build_graph(c, &graph));
    return ful_net_create(graph, &options, out);
}

/* The largest difference of a net's logits from those expected, as a share of the largest. */
static ful_status difference(ful_net *net, const ful__st_file *expected, double *out)
{
    const ful__st_tensor *x = ful__st_find(expected, "x"), *logits = ful__st_find(expected, "logits");
    const float *want = logits->data;
    float *got = malloc((size_t)logits->count * sizeof *got);
    double most = 0, worst = 0;
    const ful_status status = ful_net_predict(net, (int)x->shape[0], x->data, NULL, got);
    for (int64_t i = 0; i < logits->count && status == FUL_OK; i++) {
        most = fmax(most, fabs((double)want[i]));
        worst = fmax(worst, isnan(got[i]) ? INFINITY : fabs((double)got[i] - (double)want[i]));
    }
    free(got);
    *out = worst / most;
    return status;
}

static ful_status compare(const ful_net_config *c, const char *weights, const ful__st_file *expected, double *out)
{
    ful_net *net = NULL;
    ful_weights_info info = {.fresh = -1};
    ful_status status = net_of(c, (int)ful__st_find(expected, "x")->shape[0], &net);
    if (status == FUL_OK) status = ful_net_read_weights(net, c->arch, weights, false, &info);
    if (status == FUL_OK) status = difference(net, expected, out);
    ful_net_destroy(&net);
    return status;
}

static int compare_files(const char *arch, const char *weights, const char *expected_path)
{
    ful__st_file *expected = NULL;
    ful_net_config c;
    double worst = 0;
    ful_status status = ful__st_open(expected_path, &expected);
    if (status == FUL_OK) {
        config_of(&c, arch, expected);
        status = compare(&c, weights, expected, &worst);
        ful__st_close(&expected);
    }
    if (status != FUL_OK)
        fprintf(stderr, "%s\n", ful_error_message());
    else
        printf("largest difference %.2e of the largest logit\n", worst);
    return status != FUL_OK || worst > 1e-4;
}

/* Fixtures ---------------------------------------------------------------------------------------------------------------- */

typedef struct fixture {
    const char *arch;
    int width, depth;
    const char *stem;
} fixture;
static const fixture fixtures[] = {{"resnet8", 4, 0, "auto"}, {"convnext_atto", 2, 0, "large"}, {"mixer_s", 8, 2, "auto"}};
enum { N_FIXTURES = sizeof fixtures / sizeof *fixtures };

static const char *path_of(const fixture *f, const char *ending)
{
    static char path[4][128];
    static int next;
    char *out = path[next++ % 4];
    snprintf(out, sizeof path[0], FIXTURES "%s%s", f->arch, ending);
    return out;
}

static void fixture_config(const fixture *f, ful_net_config *c, ful__st_file **expected)
{
    assert_ok(ful__st_open(path_of(f, ".expected.safetensors"), expected));
    config_of(c, f->arch, *expected);
    c->width = f->width;
    c->depth = f->depth;
    snprintf(c->stem, sizeof c->stem, "%s", f->stem);
}

/* F32, F16 and BF16; 1x1 convolutions where we have linear layers; buffers of batch-norms. */
static void test_logits(void **state)
{
    (void)state;
    for (int i = 0; i < N_FIXTURES; i++) {
        ful__st_file *expected = NULL;
        ful_net_config c;
        double worst = 1;
        fixture_config(&fixtures[i], &c, &expected);
        assert_ok(compare(&c, path_of(&fixtures[i], ".safetensors"), expected, &worst));
        if (!(worst <= 1e-4)) fail_msg("%s: the logits differ by %g of the largest", fixtures[i].arch, worst);
        ful__st_close(&expected);
    }
}

/* A net that begins from the file with other classes, and mixtures. */
static void test_classifier_and_mixtures_stay_drawn(void **state)
{
    (void)state;
    ful__st_file *expected = NULL;
    ful_net_config c;
    ful_net *net = NULL, *drawn = NULL;
    ful_weights_info info;
    fixture_config(&fixtures[0], &c, &expected);
    ful__st_close(&expected);
    c.classes = 7;
    c.n_moe = 1;
    snprintf(c.moe[0].at, sizeof c.moe[0].at, "stage3");
    ful_moe_defaults(&c.moe[0].moe, FUL_EXPERT_CONV);
    c.moe[0].moe.hidden = 8;
    assert_ok(net_of(&c, 2, &net));
    assert_ok(net_of(&c, 2, &drawn));
    assert_fails(ful_net_read_weights(net, c.arch, path_of(&fixtures[0], ".safetensors"), false, &info), FUL_ERR_FORMAT,
                 "'fc.weight' is 5x16 and here, as fc.weight, 7x16");
    assert_ok(ful_net_read_weights(net, c.arch, path_of(&fixtures[0], ".safetensors"), true, &info));
    assert_string_equal(info.names, "torchvision and timm");
    assert_int_equal(info.file_classes, 5);
    int same = 0;
    for (int i = 0; i < ful_net_tensor_count(net); i++) {
        ful_tensor a, b;
        assert_ok(ful_net_tensor(net, i, &a));
        assert_ok(ful_net_tensor(drawn, i, &b));
        const bool equal = memcmp(a.value, b.value, (size_t)a.count * sizeof(float)) == 0;
        const bool ours = strncmp(a.name, "fc.", 3) == 0 || strstr(a.name, ".moe.");
        if (equal != ours) fail_msg("%s is %s", a.name, equal ? "as drawn" : "from the file");
        same += equal;
    }
    assert_int_equal(same, info.fresh);
    assert_int_equal(same + info.read, ful_net_tensor_count(net));
    ful_net_destroy(&net);
    ful_net_destroy(&drawn);
}

/* Refusals ---------------------------------------------------------------------------------------------------------------- */

/* The fixture's file with one tensor renamed, left out, reshaped or doubled under another name. */
static const char *changed_file(const char *name, const char *new_name, int64_t first_side)
{
    static const char *path;
    ful__st_file *file = NULL;
    ful__st_tensor list[128];
    int n = 0;
    path = test_path("changed.safetensors", "");
    assert_ok(ful__st_open(path_of(&fixtures[0], ".safetensors"), &file));
    for (int i = 0; i < ful__st_count(file); i++) {
        ful__st_tensor t = *ful__st_tensor_at(file, i);
        if (strcmp(t.name, name) == 0) {
            if (!new_name) continue;
            t.name = new_name;
            if (first_side) {
                t.count = t.count / t.shape[0] * first_side;
                t.shape[0] = first_side;
            }
        }
        list[n++] = t;
    }
    assert_ok(ful__st_write(path, list, n, NULL, 0));
    ful__st_close(&file);
    return path;
}

static void test_what_is_wrong_is_named(void **state)
{
    (void)state;
    ful__st_file *expected = NULL;
    ful_net_config c;
    ful_net *net = NULL;
    fixture_config(&fixtures[0], &c, &expected);
    ful__st_close(&expected);
    assert_ok(net_of(&c, 2, &net));
    const struct {
        const char *name, *new_name;
        int64_t first_side;
        const char *wrong;
    } cases[] = {
        {"bn1.bias", NULL, 0, "it lacks 1 of the tensors of resnet8: 'bn1.bias' (here stem.bn.bias)"},
        {"layer3.0.conv2.weight", "layer3.0.conv9.weight", 0, "'layer3.0.conv2.weight' (here stage3.0.conv2.weight)"},
        {"layer2.0.bn1.num_batches_tracked", "layer9.bias", 0, "1 tensors that resnet8 has no place for: 'layer9.bias'"},
        {"layer1.0.conv1.weight", "layer1.0.conv1.weight", 3,
         "'layer1.0.conv1.weight' is 3x4x3x3 and here, as stage1.0.conv1.weight, 4x4x3x3"},
        {"fc.bias", "fc.bias", 4, "'fc.bias' is 4 and here, as fc.bias, 5"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_fails(
            ful_net_read_weights(net, c.arch, changed_file(cases[i].name, cases[i].new_name, cases[i].first_side), false, NULL),
            FUL_ERR_FORMAT, cases[i].wrong);
    assert_fails(ful_net_read_weights(net, c.arch, path_of(&fixtures[1], ".safetensors"), false, NULL), FUL_ERR_FORMAT,
                 "is named as torchvision or timm name those of resnet8");
    assert_fails(ful_net_read_weights(net, "dwnet_s", path_of(&fixtures[0], ".safetensors"), false, NULL), FUL_ERR_CONFIG,
                 "no other program's names for dwnet_s are known");
    assert_fails(ful_net_read_weights(net, c.arch, test_path("nothing", ""), false, NULL), FUL_ERR_IO, "nothing");
    const char *zip = test_path("model.pth", "");
    assert_ok(ful__file_write(zip, "PK\3\4 and so on", 14));
    assert_fails(ful_net_read_weights(net, c.arch, zip, false, NULL), FUL_ERR_FORMAT, "as torch.save writes");
    ful_net_destroy(&net);
}

/* The fixture's file with one tensor of other values. */
static const char *file_with(const char *name, ful__dtype dtype, const void *data, int64_t count)
{
    ful__st_file *file = NULL;
    ful__st_tensor list[128];
    const char *path = test_path("values.safetensors", "");
    assert_ok(ful__st_open(path_of(&fixtures[0], ".safetensors"), &file));
    for (int i = 0; i < ful__st_count(file); i++) {
        list[i] = *ful__st_tensor_at(file, i);
        if (strcmp(list[i].name, name) != 0) continue;
        list[i].dtype = dtype;
        list[i].data = data;
        if (count == 0) { /* a long side, and another of 0: no bytes */
            list[i].rank = 2;
            list[i].shape[0] = 2000000000;
            list[i].count = list[i].shape[1] = 0;
        } else {
            assert_int_equal(list[i].count, count);
        }
    }
    assert_ok(ful__st_write(path, list, ful__st_count(file), NULL, 0));
    ful__st_close(&file);
    return path;
}

static void test_numbers_that_are_none(void **state)
{
    (void)state;
    static const float not_a_number[4] = {0, 1, NAN, 0}, negative[4] = {1, -0.25f, 1, 1}, infinite[4] = {0, 0, 0, -INFINITY};
    static const int32_t whole[4] = {1, 2, 3, 4};
    ful__st_file *expected = NULL;
    ful_net_config c;
    ful_net *net = NULL;
    int classes = 0;
    fixture_config(&fixtures[0], &c, &expected);
    ful__st_close(&expected);
    assert_ok(net_of(&c, 2, &net));
    const struct {
        const char *name, *wrong;
        ful__dtype dtype;
        const void *data;
    } cases[] = {
        {"bn1.bias", "value 2 of tensor 'bn1.bias' is not a finite float32: nan", FUL__F32, not_a_number},
        {"bn1.weight", "value 3 of tensor 'bn1.weight' is not a finite float32: -inf", FUL__F32, infinite},
        {"bn1.running_var", "value 1 of tensor 'bn1.running_var' is -0.25: a running variance is not negative", FUL__F32,
         negative},
        {"bn1.bias", "tensor 'bn1.bias' holds whole numbers", FUL__I32, whole},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_fails(ful_net_read_weights(net, c.arch, file_with(cases[i].name, cases[i].dtype, cases[i].data, 4), false, NULL),
                     FUL_ERR_FORMAT, cases[i].wrong);
    /* two thousand million classes in a file of a few bytes */
    assert_fails(ful__weights_classes(file_with("fc.weight", FUL__F32, whole, 0), c.arch, &classes), FUL_ERR_FORMAT,
                 "no classifier with a name known for resnet8");
    ful_net_destroy(&net);
}

static void test_cut_files(void **state)
{
    (void)state;
    ful__st_file *expected = NULL;
    ful_net_config c;
    ful_net *net = NULL;
    char *bytes = NULL;
    size_t n = 0;
    const char *path = test_path("cut.safetensors", "");
    fixture_config(&fixtures[2], &c, &expected);
    ful__st_close(&expected);
    assert_ok(net_of(&c, 2, &net));
    assert_ok(ful__file_read(path_of(&fixtures[2], ".safetensors"), 1 << 20, &bytes, &n));
    for (size_t length = 0; length < n; length += length < 64 ? 1 : 97) {
        assert_ok(ful__file_write(path, bytes, length));
        assert_fails(ful_net_read_weights(net, c.arch, path, false, NULL), FUL_ERR_FORMAT, "cannot read '");
    }
    assert_ok(ful__file_write(path, bytes, n));
    assert_ok(ful_net_read_weights(net, c.arch, path, false, NULL));
    ful__free(bytes);
    ful_net_destroy(&net);
}

/* What runs out ----------------------------------------------------------------------------------------------------------- */

typedef struct import_job {
    const char *from, *to;
    ful_config config;
} import_job;

static ful_status import_once(void *ctx)
{
    import_job *job = ctx;
    return ful_weights_import(job->from, &job->config, NULL, job->to, NULL);
}

static ful_status read_once(void *ctx)
{
    return ful_net_read_weights(ctx, "resnet8", path_of(&fixtures[0], ".safetensors"), false, NULL);
}

/* A file that is refused: the sentence needs memory too. */
static ful_status read_wrong_once(void *ctx)
{
    const ful_status status = ful_net_read_weights(ctx, "resnet8", test_path("wrong.safetensors", ""), false, NULL);
    return status == FUL_ERR_FORMAT ? FUL_OK : status;
}

static void test_memory_and_disk_fail(void **state)
{
    (void)state;
    static const char *const set[] = {"net.arch=mixer_s", "net.width=8", "net.depth=2", "net.height=8", "net.conv=direct"};
    static import_job job;
    ful__st_file *expected = NULL;
    ful_net_config c;
    ful_net *net = NULL;
    char command[400];
    fixture_config(&fixtures[0], &c, &expected);
    ful__st_close(&expected);
    assert_ok(net_of(&c, 2, &net));
    assert_true(test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, read_once, net) >= 4);
    assert_true(test_each_failure(FUL__FAULT_READ, FUL_ERR_IO, read_once, net) >= 1);
    snprintf(command, sizeof command, "cp %s %s", changed_file("bn1.bias", "bn9.bias", 0), test_path("wrong.safetensors", ""));
    assert_int_equal(system(command), 0);
    assert_true(test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, read_wrong_once, net) >= 5);
    ful_net_destroy(&net);

    job.from = path_of(&fixtures[2], ".safetensors");
    job.to = test_path("kept.safetensors", "");
    assert_ok(ful_config_load(NULL, set, 5, &job.config));
    assert_true(test_some_failures(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, import_once, &job, 60) > 60);
    assert_true(test_each_failure(FUL__FAULT_READ, FUL_ERR_IO, import_once, &job) >= 2);
    assert_true(test_each_failure(FUL__FAULT_WRITE, FUL_ERR_IO, import_once, &job) >= 3);
}

/* Use ------------------------------------------------------------------------------------------------------------------- */

/* A checkpoint made of the file is the same net; a training may begin from either, and goes on without them. */
static void test_import_and_start(void **state)
{
    (void)state;
    static const char *const set[] = {"net.arch=resnet8", "net.width=4", "net.height=12", "net.conv=direct"};
    ful__st_file *expected = NULL;
    ful_net_config c;
    ful_config config;
    ful_model *model = NULL;
    ful_weights_info info;
    double worst = 1;
    const char *checkpoint = test_path("imported.safetensors", ""), *names = test_path("names.txt", "");
    fixture_config(&fixtures[0], &c, &expected);
    assert_ok(ful_config_load(NULL, set, 4, &config));
    assert_ok(ful__file_write(names, "ant\nbee\r\ncat\ndog\n", 17));
    assert_fails(ful_weights_import(path_of(&fixtures[0], ".safetensors"), &config, names, checkpoint, &info), FUL_ERR_DATA,
                 "it has 4 lines, and the classifier 5 classes");
    assert_ok(ful__file_write(names, "ant\nbee\r\ncat\ndog\nelk", 20));
    assert_ok(ful_weights_import(path_of(&fixtures[0], ".safetensors"), &config, names, checkpoint, &info));
    assert_ok(ful_model_open(checkpoint, 2, &model));
    assert_string_equal(ful_model_class_name(model, 1), "bee");
    assert_string_equal(ful_model_class_name(model, 4), "elk");
    assert_ok(difference(ful_model_net(model), expected, &worst));
    assert_true(worst <= 1e-4);
    ful_model_destroy(&model);
    assert_ok(compare(&c, checkpoint, expected, &worst)); /* a checkpoint of ours is such a file too */
    assert_true(worst <= 1e-4);
    ful__st_close(&expected);

    test_config(&config, "[]", "epochs: 1, lr: 0.05");
    snprintf(config.net.arch, sizeof config.net.arch, "resnet8");
    config.net.width = 4;
    snprintf(config.net.weights, sizeof config.net.weights, "%s", test_path("gone.safetensors", ""));
    assert_fails(ful_train(&config, test_path("run", ""), NULL, NULL), FUL_ERR_IO, "gone.safetensors");
    snprintf(config.net.weights, sizeof config.net.weights, "%s", checkpoint);
    assert_ok(ful_train(&config, test_path("started", ""), NULL, NULL));
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "compare") == 0) return compare_files(argv[2], argv[3], argv[4]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_classifier_and_mixtures_stay_drawn),
        cmocka_unit_test(test_what_is_wrong_is_named),
        cmocka_unit_test(test_numbers_that_are_none),
        cmocka_unit_test(test_cut_files),
        cmocka_unit_test(test_memory_and_disk_fail),
        cmocka_unit_test(test_import_and_start),
    };
    return cmocka_run_group_tests(tests, test_make_root, test_remove_root);
}
