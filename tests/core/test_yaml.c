/* SPDX-License-Identifier: Apache-2.0 */
/* YAML: reading with places, what is refused, setting, merging, writing back, and hostile inputs. */
#include <math.h>
#include <stdlib.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/str.h"
#include "core/yaml.h"
#include "support/fault.h"
#include "support/test.h"

static ful__yaml *parse(const char *text)
{
    ful__yaml *node = NULL;
    assert_ok(ful__yaml_parse("test", text, strlen(text), &node));
    return node;
}

static const ful__yaml *at(const ful__yaml *node, const char *key, int index)
{
    node = ful__yaml_get(node, key);
    assert_non_null(node);
    if (index < 0) return node;
    assert_true(node->kind == FUL__YAML_LIST && index < node->count);
    return node->items[index];
}

static int same(const ful__yaml *a, const ful__yaml *b)
{
    if (a->kind != b->kind || a->count != b->count || a->quoted != b->quoted) return 0;
    if (a->kind == FUL__YAML_SCALAR) return strcmp(a->text, b->text) == 0;
    for (int i = 0; i < a->count; i++) {
        if (a->kind == FUL__YAML_MAP && strcmp(a->keys[i], b->keys[i]) != 0) return 0;
        if (!same(a->items[i], b->items[i])) return 0;
    }
    return 1;
}

static void reads_a_config(void **state)
{
    (void)state;
    ful__yaml *root = parse("# a study\n"
                            "net: {arch: resnet20, width: 16}\n"
                            "moe:\n"
                            "  - {at: stage3, experts: 8,\n"
                            "     k: 2}\n"
                            "  - at: head\n"
                            "train:\n"
                            "  lr: 5e-4\n"
                            "  name: \"12\"\n"
                            "  resume: ~\n");
    int64_t i = 0;
    double d = 0;
    assert_string_equal(ful__yaml_get(ful__yaml_get(root, "net"), "arch")->text, "resnet20");
    assert_true(ful__yaml_as_int(at(at(root, "moe", 0), "k", -1), &i) && i == 2);
    assert_int_equal(at(at(root, "moe", 0), "k", -1)->line, 5);
    assert_int_equal(at(root, "moe", 1)->line, 6);
    const ful__yaml *train = at(root, "train", -1);
    assert_true(ful__yaml_as_double(at(train, "lr", -1), &d) && d == 5e-4);
    assert_false(ful__yaml_as_int(at(train, "name", -1), &i)); /* quoted: a text */
    assert_true(ful__yaml_is_null(at(train, "resume", -1)));
    assert_null(ful__yaml_get(root, "absent"));
    assert_null(ful__yaml_get(at(root, "moe", -1), "at"));
    assert_null(ful__yaml_get(NULL, "x"));
    ful__yaml_destroy(&root);
    assert_null(root);
    ful__yaml_destroy(&root);
}

static void empty_is_null(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "\n\n", "# only a comment\n", "---\n", "~"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        ful__yaml *node = parse(texts[i]);
        assert_true(ful__yaml_is_null(node));
        ful__yaml_destroy(&node);
    }
}

static void scalars(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int is_int, is_double, is_bool, is_null;
    } cases[] = {{"1", 1, 1, 0, 0},
                 {"-0", 1, 1, 0, 0},
                 {"+17", 1, 1, 0, 0},
                 {"1.5", 0, 1, 0, 0},
                 {"1e3", 0, 1, 0, 0},
                 {".5", 0, 1, 0, 0},
                 {"0x10", 0, 0, 0, 0},
                 {"1_000", 0, 0, 0, 0},
                 {"true", 0, 0, 1, 0},
                 {"FALSE", 0, 0, 1, 0},
                 {"yes", 0, 0, 0, 0},
                 {"on", 0, 0, 0, 0},
                 {"null", 0, 0, 0, 1},
                 {"~", 0, 0, 0, 1},
                 {".inf", 0, 1, 0, 0},
                 {"-.inf", 0, 1, 0, 0},
                 {".nan", 0, 1, 0, 0},
                 {"nan", 0, 0, 0, 0},
                 {"inf", 0, 0, 0, 0},
                 {"'1'", 0, 0, 0, 0},
                 {"\"true\"", 0, 0, 0, 0},
                 {"''", 0, 0, 0, 0},
                 {"1 2", 0, 0, 0, 0},
                 {"12.5.6", 0, 0, 0, 0},
                 {"9223372036854775807", 1, 1, 0, 0},
                 {"9223372036854775808", 0, 1, 0, 0},
                 {"1e999", 0, 0, 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ful__yaml *node = parse(cases[i].text);
        int64_t n;
        double d;
        bool b;
        if (ful__yaml_as_int(node, &n) != cases[i].is_int || ful__yaml_as_double(node, &d) != cases[i].is_double ||
            ful__yaml_as_bool(node, &b) != cases[i].is_bool || ful__yaml_is_null(node) != cases[i].is_null)
            fail_msg("%s is taken for something else", cases[i].text);
        ful__yaml_destroy(&node);
    }
    ful__yaml *node = parse("-.inf");
    double d = 0;
    assert_true(ful__yaml_as_double(node, &d) && isinf(d) && d < 0);
    ful__yaml_destroy(&node);
}

static void refuses_with_place_and_rule(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"a: 1\nb: 2\na: 3\n", "cannot read test, line 3: the key 'a' is already given on line 1"},
        {"a: &x 1\n", "line 1: anchors ('&x') are not accepted"},
        {"a: &x {b: 1}\n", "anchors ('&x')"},
        {"a: 1\nb: *x\n", "line 2: aliases ('*x') are not accepted"},
        {"a:\n  <<: {b: 1}\n", "line 2: merge keys ('<<')"},
        {"a: !!int 3\n", "tags ('tag:yaml.org,2002:int') are not accepted"},
        {"a: !x [1]\n", "tags ('!x')"},
        {"a: 1\n---\nb: 2\n", "only one document"},
        {"? [1, 2]\n: x\n", "a key must be a single word or text"},
        {"a: [1, 2\n", "cannot read test, line 2: "},
        {"a: 1\n\tb: 2\n", "cannot read test, line 2: "},
        {"a: \"\\0\"\n", "line 1: a text must not contain a NUL"},
        {"\"\\0\": 1\n", "line 1: a key must not contain a NUL"},
        {"a: \x01\n", "cannot read test, byte 3: "},
        {"a: \xff\xfe\n", "cannot read test, byte 3: "},
        {"a: b: c\n", "line 1: mapping values are not allowed"},
        {"a: %x\n", "line 1: "},
        {"- 1\na: 2\n", "line 2: "},
        {"a: 'x\n", "line "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ful__yaml *node = NULL;
        assert_fails(ful__yaml_parse("test", cases[i].text, strlen(cases[i].text), &node), FUL_ERR_CONFIG, cases[i].message);
        assert_null(node);
    }
}

static ful_status parse_str(ful__str *s)
{
    ful__yaml *node = NULL;
    assert_ok(ful__str_status(s));
    const ful_status status = ful__yaml_parse("big", s->data, s->length, &node);
    ful__yaml_destroy(&node);
    ful__str_deinit(s);
    return status;
}

static void refuses_what_is_too_large(void **state)
{
    (void)state;
    ful__str s = {0};
    for (int i = 0; i < 32; i++) ful__str_add(&s, "[");
    for (int i = 0; i < 32; i++) ful__str_add(&s, "]");
    assert_ok(parse_str(&s));
    for (int i = 0; i < 33; i++) ful__str_add(&s, "[");
    for (int i = 0; i < 33; i++) ful__str_add(&s, "]");
    assert_fails(parse_str(&s), FUL_ERR_CONFIG, "it may nest at most 32 deep");
    for (int i = 0; i < 500000; i++) ful__str_add(&s, "[");
    assert_fails(parse_str(&s), FUL_ERR_CONFIG, "cannot read big");
    for (int i = 0; i < 200000; i++) ful__str_add(&s, "{a: ");
    assert_fails(parse_str(&s), FUL_ERR_CONFIG, "cannot read big");
    for (int i = 0; i < 100000; i++) ful__str_addf(&s, "k%d:\n", i);
    assert_fails(parse_str(&s), FUL_ERR_CONFIG, "line 4097: a map may have at most 4096 keys");
    for (int i = 0; i < (1 << 20) + 1; i++) ful__str_add(&s, " ");
    assert_fails(parse_str(&s), FUL_ERR_CONFIG, "it has 1048577 bytes, at most 1048576");
    for (int i = 0; i < 201; i++) ful__str_add(&s, "k");
    ful__str_add(&s, ": 1\n");
    assert_fails(parse_str(&s), FUL_ERR_CONFIG, "a key may have at most 200 bytes, not 201");
    for (int i = 0; i < 100000; i++) ful__str_add(&s, "- 1\n");
    assert_ok(parse_str(&s));
}

static void sets(void **state)
{
    (void)state;
    static const char *const steps[] = {
        "train.lr=0.1",     "net.arch=resnet8", "moe.0.k=2",    "moe.1=[a, b]",    "new.deep.key={x: 1}",
        "train.none.sub=3", "train.text=a=b",   "train.empty=", "net={arch: mlp}", "moe.0.at='1'"};
    ful__yaml *root = parse("train: {lr: 1, none: ~}\nmoe: [{at: head}, 3]\nnet: {arch: x, width: 4}\n");
    ful__yaml *wanted = parse("train: {lr: 0.1, none: {sub: 3}, text: a=b, empty: }\nmoe: [{at: '1', k: 2}, [a, b]]\n"
                              "net: {arch: mlp}\nnew: {deep: {key: {x: 1}}}\n");
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) assert_ok(ful__yaml_set(root, steps[i]));
    assert_true(same(root, wanted));
    static const char *const bad[][2] = {
        {"train", "cannot set 'train': it must have the form key=value"},
        {"=3", "at least one character"},
        {"a..b=3", "at least one character"},
        {"a.=3", "at least one character"},
        {"moe.2=1", "'2' must be a number of a list element, 0..1"},
        {"moe.x=1", "'x' must be a number of a list element, 0..1"},
        {"moe.-1=1", "'-1' must be a number"},
        {"moe.0x0=1", "'0x0' must be a number"},
        {"moe.99999999999999999999=1", "must be a number of a list element"},
        {"train.lr.x=1", "cannot set 'train.lr.x=1': 'lr' is '0.1', not a map"},
        {"a=[1", "cannot set 'a=[1': cannot read its value, line 2: "},
        {"a=\xff", "cannot read its value, byte 0"},
        {"\xff=1", "must be UTF-8"},
        {"q.w.e.r.t.y.u.i.o.p.q.w.e.r.t.y.u.i.o.p.q.w.e.r.t.y.u.i.o.p.a.b=1", "may have at most 31 keys"},
        {"q.w.e.r.t.y.u.i.o.p.q.w.e.r.t.y.u.i.o.p.q.w.e.r.t.y.u.i.o.p=[[[1]]]", "it would nest deeper than 32"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_fails(ful__yaml_set(root, bad[i][0]), FUL_ERR_CONFIG, bad[i][1]);
        assert_true(same(root, wanted)); /* untouched */
    }
    ful__yaml_destroy(&root);
    ful__yaml_destroy(&wanted);
}

static void merges(void **state)
{
    (void)state;
    ful__yaml *base = parse("a: {x: 1, y: {z: 2}}\nb: [1, 2]\nc: 5\n");
    ful__yaml *over = parse("a: {y: {w: 3}, x: ~}\nb: [9]\nd: {e: 1}\nc: {f: 2}\n");
    ful__yaml *wanted = parse("a: {x: ~, y: {z: 2, w: 3}}\nb: [9]\nc: {f: 2}\nd: {e: 1}\n");
    ful__yaml *list = parse("[1]");
    assert_ok(ful__yaml_merge(base, over));
    assert_true(same(base, wanted));
    assert_fails(ful__yaml_merge(base, list), FUL_ERR_CONFIG, "both sides must be maps");
    ful__yaml_remove(base, "a");
    ful__yaml_remove(base, "absent");
    assert_int_equal(base->count, 3);
    assert_string_equal(base->keys[0], "b");
    ful__yaml_destroy(&base);
    ful__yaml_destroy(&over);
    ful__yaml_destroy(&wanted);
    ful__yaml_destroy(&list);
}

static void expect_round_trip(const ful__yaml *node)
{
    char *text = NULL;
    ful__yaml *again = NULL;
    assert_ok(ful__yaml_write(node, &text));
    const ful_status status = ful__yaml_parse("written", text, strlen(text), &again);
    if (status != FUL_OK || !same(node, again)) fail_msg("lost in:\n%s\n%s", text, status == FUL_OK ? "" : ful_error_message());
    ful__free(text);
    ful__yaml_destroy(&again);
}

static void writes_block_style(void **state)
{
    (void)state;
    ful__yaml *root = parse("{a: 1, b: {c: [1, [2, 3], {d: 4, e: []}], f: {}}, g: 'x: y', h: , i: ['']}");
    char *text = NULL;
    assert_ok(ful__yaml_write(root, &text));
    assert_string_equal(text, "a: 1\n"
                              "b:\n"
                              "  c:\n"
                              "    - 1\n"
                              "    - - 2\n"
                              "      - 3\n"
                              "    - d: 4\n"
                              "      e: []\n"
                              "  f: {}\n"
                              "g: \"x: y\"\n"
                              "h:\n"
                              "i:\n"
                              "  - \"\"\n");
    ful__free(text);
    expect_round_trip(root);
    ful__yaml_destroy(&root);
}

static void round_trips(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "a",
        "'a'",
        "[]",
        "{}",
        "[[], {}, [[]], [{}], ~, ]",
        "a: |\n  two\n  lines\n",
        "a: >\n  folded\n  text\n",
        "- - - deep\n    - er\n- {a: [b, {c: d}]}\n",
        "'': empty key\n",
        "'<<': not a merge\n",
        "'a: b': c\n",
        "? a\n: b\n",
        "- 'true'\n- true\n- '1'\n- 1\n- 'null'\n- ''\n",
        "a: \"\\x85\\u2028\\u2029\\ufeff\\x1b\\t\\\"\\\\\\r\\n\"\n",
        "a: b#c\n",
        "a: '#c'\n",
        "a: -b\n",
        "a: '-'\n",
        "a: ?b\n",
        "a: ':'\n",
        "a: b:c\n",
        "a: 'b:'\n",
        "a: http://x/y?z=1&w=[2]\n",
        "\xc3\xa9: \xe2\x82\xac\xf0\x9f\x98\x80\n",
        "- '---'\n- '...'\n- '--- x'\n",
        "a: ' x'\nb: 'x '\n",
        "- a, b\n- 'a]'\n- a]\n",
        "- '%x'\n- '@x'\n- '`x'\n- '!x'\n- '&x'\n- '*x'\n- '|'\n- '>'\n",
        "- \"\\u00a0\"\n",
        "- a\\b\n",
        "k: >-\n  a\n\n  b\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        ful__yaml *node = parse(texts[i]);
        expect_round_trip(node);
        ful__yaml_destroy(&node);
    }
}

/* Every pair of bytes as a text and as a key, by hand. Quoted texts keep their flag; plain ones keep what they mean. */
static void round_trips_any_text(void **state)
{
    (void)state;
    ful__yaml *map = NULL;
    for (int a = 1; a < 128; a++) {
        assert_ok(ful__yaml_new(FUL__YAML_MAP, NULL, &map));
        for (int b = 1; b < 128; b++) {
            const char text[] = {(char)a, (char)b, 'x', (char)a, '\0'};
            ful__yaml *value = NULL;
            assert_ok(ful__yaml_new(FUL__YAML_SCALAR, text, &value));
            value->quoted = true;
            assert_ok(ful__yaml_put(map, text, value));
        }
        expect_round_trip(map);
        for (int i = 0; i < map->count; i++) map->items[i]->quoted = false;
        char *text = NULL;
        ful__yaml *again = NULL;
        assert_ok(ful__yaml_write(map, &text));
        assert_ok(ful__yaml_parse("written", text, strlen(text), &again));
        for (int i = 0; i < map->count; i++) assert_string_equal(map->items[i]->text, again->items[i]->text);
        ful__free(text);
        ful__yaml_destroy(&again);
        ful__yaml_destroy(&map);
    }
}

static void built_by_hand(void **state)
{
    (void)state;
    ful__yaml *map = NULL, *list = NULL, *value = NULL;
    char key[300];
    memset(key, 'k', sizeof key);
    key[299] = '\0';
    assert_ok(ful__yaml_new(FUL__YAML_MAP, NULL, &map));
    assert_ok(ful__yaml_new(FUL__YAML_LIST, NULL, &list));
    for (int i = 0; i < 20; i++) {
        char text[20];
        snprintf(text, sizeof text, "%d", i);
        assert_ok(ful__yaml_new(FUL__YAML_SCALAR, text, &value));
        assert_ok(ful__yaml_push(list, value));
    }
    assert_ok(ful__yaml_put(map, "list", list));
    assert_fails(ful__yaml_new(FUL__YAML_SCALAR, "\xc0\x80", &value), FUL_ERR_CONFIG, "must be UTF-8");
    assert_fails(ful__yaml_new(FUL__YAML_SCALAR, "\xed\xa0\x80", &value), FUL_ERR_CONFIG, "must be UTF-8");
    assert_ok(ful__yaml_new(FUL__YAML_SCALAR, "v", &value));
    assert_fails(ful__yaml_put(map, key, value), FUL_ERR_CONFIG, "a key of 299 bytes: it may have at most 200");
    assert_ok(ful__yaml_new(FUL__YAML_SCALAR, "v", &value));
    assert_fails(ful__yaml_put(list, "k", value), FUL_ERR_ARG, "it must be a map");
    assert_ok(ful__yaml_new(FUL__YAML_SCALAR, "v", &value));
    assert_fails(ful__yaml_push(map, value), FUL_ERR_ARG, "it must be a list");
    assert_ok(ful__yaml_new(FUL__YAML_SCALAR, "replaced", &value));
    assert_ok(ful__yaml_put(map, "list", value));
    assert_int_equal(map->count, 1);
    expect_round_trip(map);
    ful__yaml_destroy(&map);
}

static void loads_files(void **state)
{
    (void)state;
    char path[] = "/tmp/fulcrum-yaml-XXXXXX";
    const int fd = mkstemp(path);
    ful__yaml *node = NULL;
    assert_true(fd >= 0);
    FILE *file = fdopen(fd, "w");
    fputs("a: 1\na: 2\n", file);
    fclose(file);
    assert_fails(ful__yaml_load(path, &node), FUL_ERR_CONFIG, ", line 2: the key 'a' is already given on line 1");
    assert_true(strstr(ful_error_message(), path) != NULL);
    remove(path);
    assert_fails(ful__yaml_load(path, &node), FUL_ERR_IO, "No such file");
    assert_null(node);
}

static ful_status everything(void *ctx)
{
    static const char text[] = "a: {b: [1, 2, {c: d}], e: 'f'}\ng: h\nl: [0,1,2,3,4,5,6,7,8,9]\n";
    static const char more[] = "a: {e: x, new: [1]}\nz: {y: w}\n";
    ful__yaml *root = NULL, *over = NULL, *copy = NULL;
    char *written = NULL;
    ful_status status = FUL_OK;
    (void)ctx;
    FUL_TRY_GOTO(status, done, ful__yaml_parse("text", text, sizeof text - 1, &root));
    FUL_TRY_GOTO(status, done, ful__yaml_parse("more", more, sizeof more - 1, &over));
    FUL_TRY_GOTO(status, done, ful__yaml_merge(root, over));
    FUL_TRY_GOTO(status, done, ful__yaml_set(root, "p.q.r=[1, {s: t}]"));
    FUL_TRY_GOTO(status, done, ful__yaml_set(root, "l.3=x"));
    FUL_TRY_GOTO(status, done, ful__yaml_dup(root, &copy));
    FUL_TRY_GOTO(status, done, ful__yaml_write(copy, &written));
done:
    ful__free(written);
    ful__yaml_destroy(&root);
    ful__yaml_destroy(&over);
    ful__yaml_destroy(&copy);
    return status;
}

static void every_allocation_refused(void **state)
{
    (void)state;
    assert_true(test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, everything, NULL) > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_config),
        cmocka_unit_test(empty_is_null),
        cmocka_unit_test(scalars),
        cmocka_unit_test(refuses_with_place_and_rule),
        cmocka_unit_test(refuses_what_is_too_large),
        cmocka_unit_test(sets),
        cmocka_unit_test(merges),
        cmocka_unit_test(writes_block_style),
        cmocka_unit_test(round_trips),
        cmocka_unit_test(round_trips_any_text),
        cmocka_unit_test(built_by_hand),
        cmocka_unit_test(loads_files),
        cmocka_unit_test(every_allocation_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
