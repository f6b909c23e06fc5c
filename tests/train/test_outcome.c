/* SPDX-License-Identifier: Apache-2.0 */
/* Outcomes: from logits by hand, to a file and back, and every byte of the file guarded. */
#include <math.h>

#include "support/fault.h"
#include "train/outcome.h"
#include "train_support.h"

static const ful_outcome three[3] = {
    {0, 0, 0, .75f, .28768207f, .6f}, {2, 1, 2, .5f, 1.6094379f, .38f}, {1, 1, 0, 1.0f, 0.0f, 1.0f}};

static void test_from_logits(void **state)
{
    (void)state;
    /* p = (4, 2, 2)/8; equal logits: the lower class goes first. At temperature 2: (2, √2, √2)/(2 + 2√2). */
    const float logits[6] = {(float)log(4), (float)log(2), (float)log(2), 1e30f, -1e30f, 0};
    const int32_t label[2] = {2, 0};
    ful_outcome o[2];
    ful_outcomes_of(logits, label, 2, 3, 1, o);
    assert_true(o[0].label == 2 && o[0].predicted == 0 && o[0].rank == 2);
    assert_true(fabs((double)o[0].confidence - .5) < 1e-6 && fabs((double)o[0].nll - log(4)) < 1e-6 &&
                fabs((double)o[0].square - .375) < 1e-6);
    assert_true(o[1].rank == 0 && o[1].confidence == 1 && o[1].nll == 0 && o[1].square == 1);
    ful_outcomes_of(logits, label, 1, 3, 2, o);
    assert_true(fabs((double)o[0].confidence - 2 / (2 + 2 * sqrt(2))) < 1e-6);
}

static void test_there_and_back(void **state)
{
    (void)state;
    ful_outcome *back = NULL;
    int64_t n = 0;
    int classes = 0;
    uint64_t print = 0;
    assert_ok(ful_outcomes_write(test_path("three", ""), three, 3, 3, 0x123456789abcdef0u));
    assert_ok(ful_outcomes_read(test_path("three", ""), &back, &n, &classes, &print));
    assert_true(n == 3 && classes == 3 && print == 0x123456789abcdef0u);
    assert_memory_equal(back, three, sizeof three);
    ful_free(back);
    assert_fails(ful_outcomes_read(test_path("absent", ""), &back, &n, &classes, &print), FUL_ERR_IO, "absent");
    assert_null(back);
}

/* A file with one byte changed, or cut anywhere, is refused. */
static void test_damage_is_seen(void **state)
{
    (void)state;
    char *text = NULL;
    size_t bytes = 0;
    const ful_outcome *list = NULL;
    ful__outcome_head head;
    assert_ok(ful_outcomes_write(test_path("three", ""), three, 3, 3, 7));
    assert_ok(ful__file_read(test_path("three", ""), 1 << 20, &text, &bytes));
    assert_int_equal(bytes, 40 + 3 * 24 + 8);
    for (size_t i = 0; i < bytes; i++) {
        text[i] ^= 0x10;
        assert_int_equal(ful__outcomes_parse("it", text, bytes, &head, &list), FUL_ERR_FORMAT);
        text[i] ^= 0x10;
        assert_int_equal(ful__outcomes_parse("it", text, i, &head, &list), FUL_ERR_FORMAT);
    }
    assert_ok(ful__outcomes_parse("it", text, bytes, &head, &list));
    ful__free(text);
    ful_outcome odd = three[0];
    odd.confidence = 1.5f;
    assert_ok(ful_outcomes_write(test_path("odd", ""), &odd, 1, 3, 7));
    ful_outcome *back = NULL;
    int64_t n;
    int classes;
    uint64_t print;
    assert_fails(ful_outcomes_read(test_path("odd", ""), &back, &n, &classes, &print), FUL_ERR_FORMAT, "image 0 has numbers");
}

static ful_status write_and_read(void *ctx)
{
    ful_outcome *back = NULL;
    int64_t n;
    int classes;
    uint64_t print;
    (void)ctx;
    ful_status status = ful_outcomes_write(test_path("fault", ""), three, 3, 3, 7);
    if (status == FUL_OK) status = ful_outcomes_read(test_path("fault", ""), &back, &n, &classes, &print);
    ful_free(back);
    return status;
}

static void test_failures(void **state)
{
    (void)state;
    test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, write_and_read, NULL);
    test_each_failure(FUL__FAULT_WRITE, FUL_ERR_IO, write_and_read, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_from_logits),
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_damage_is_seen),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, test_make_root, test_remove_root);
}
