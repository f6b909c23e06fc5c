/* SPDX-License-Identifier: Apache-2.0 */
/* Growing strings and locale-free numbers. */
#include <fulcrum/core.h>
#include <math.h>

#include "core/mem.h"
#include "core/str.h"
#include "support/fault.h"
#include "support/test.h"

static void grows(void **state)
{
    (void)state;
    ful__str s = {0};
    for (int i = 0; i < 1000; i++) ful__str_addf(&s, "%d,", i);
    ful__str_add_bytes(&s, "a\0b", 3);
    ful__str_add_bytes(&s, NULL, 0);
    assert_ok(ful__str_status(&s));
    assert_int_equal(s.length, 10 * 2 + 90 * 3 + 900 * 4 + 3);
    assert_memory_equal(s.data, "0,1,2,", 6);
    assert_memory_equal(s.data + s.length - 3, "a\0b", 4);
    ful__str_deinit(&s);
    ful__str_deinit(&s);
    ful__fault_fail_at(FUL__FAULT_ALLOC, 0);
    for (int i = 0; i < 100000; i++) ful__str_add(&s, "x");
    assert_true(ful__fault_count(FUL__FAULT_ALLOC) < 20); /* doubles */
    ful__str_deinit(&s);
}

/* A format whose text is just below, at and above the room there is. */
static void formats_of_every_length(void **state)
{
    (void)state;
    for (int n = 0; n < 300; n++) {
        ful__str s = {0};
        ful__str_add(&s, "x");
        ful__str_addf(&s, "%*s|", n, "");
        assert_ok(ful__str_status(&s));
        assert_int_equal(s.length, (size_t)n + 2);
        assert_int_equal(s.data[n + 1], '|');
        assert_int_equal(strlen(s.data), s.length);
        ful__str_deinit(&s);
    }
}

static void take_gives_a_string_always(void **state)
{
    (void)state;
    ful__str s = {0};
    char *text = ful__str_take(&s);
    assert_string_equal(text, "");
    ful__free(text);
    ful__str_add(&s, "again");
    text = ful__str_take(&s);
    assert_string_equal(text, "again");
    ful__free(text);
}

static void html_is_escaped(void **state)
{
    (void)state;
    ful__str s = {0};
    ful__str_add_html(&s, "<a href=\"x\">Tom & 'Jerry'</a>");
    assert_string_equal(s.data, "&lt;a href=&quot;x&quot;&gt;Tom &amp; &#39;Jerry&#39;&lt;/a&gt;");
    ful__str_deinit(&s);
}

/* What a page, a picture (which is XML) or JSON may not hold does not get there, whatever a name has in it. */
static void names_from_outside_are_escaped(void **state)
{
    static const struct {
        const char *text, *utf8, *json, *html;
    } cases[] = {
        {"", "", "\"\"", ""},
        {"plain", "plain", "\"plain\"", "plain"},
        {"a\"b\\c", "a\"b\\c", "\"a\\\"b\\\\c\"", "a&quot;b\\c"},
        {"\n\t\x01\x1f\x7f", "\n\t\x01\x1f\x7f", "\"\\u000a\\u0009\\u0001\\u001f\\u007f\"", "\n\t???"},
        {"caf\xc3\xa9 \xf0\x9f\x90\xb1", "caf\xc3\xa9 \xf0\x9f\x90\xb1", "\"caf\xc3\xa9 \xf0\x9f\x90\xb1\"",
         "caf\xc3\xa9 \xf0\x9f\x90\xb1"},
        {"caf\xe9", "caf?", "\"caf?\"", "caf?"},                   /* Latin-1 */
        {"\xc3", "?", "\"?\"", "?"},                               /* cut short */
        {"\xc0\xbc<", "\?\?<", "\"\?\?<\"", "\?\?&lt;"},           /* an overlong '<' */
        {"\xed\xa0\x80", "?\?\?", "\"?\?\?\"", "?\?\?"},           /* a surrogate */
        {"\xef\xbf\xbe", "\xef\xbf\xbe", "\"\xef\xbf\xbe\"", "?"}, /* no character of XML */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ful__str s = {0};
        char *text = NULL;
        assert_ok(ful_text_utf8(cases[i].text, &text));
        assert_string_equal(text, cases[i].utf8);
        ful__free(text);
        ful__str_add_json(&s, cases[i].text);
        assert_string_equal(s.data, cases[i].json);
        ful__str_deinit(&s);
        ful__str_add(&s, "|");
        ful__str_add_html(&s, cases[i].text);
        assert_string_equal(s.data + 1, cases[i].html);
        ful__str_deinit(&s);
    }
}

static ful_status build(void *ctx)
{
    (void)ctx;
    ful__str s = {0};
    for (int i = 0; i < 100; i++) ful__str_addf(&s, "line %d\n", i);
    ful__str_add(&s, "end");
    const ful_status status = ful__str_status(&s);
    char *text = ful__str_take(&s);
    if ((text != NULL) != (status == FUL_OK)) fail_msg("take and status disagree");
    ful__free(text);
    ful__str_deinit(&s);
    return status;
}

static void failure_sticks(void **state)
{
    (void)state;
    assert_true(test_each_failure(FUL__FAULT_ALLOC, FUL_ERR_MEMORY, build, NULL) >= 4);
}

static void numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double value;
    } good[] = {{"0", 0}, {"-1.5e3", -1500}, {"+2", 2}, {".5", 0.5}, {"5.", 5}, {"1e-400", 0}, {"0.1", 0.1}};
    static const char *const bad[] = {"",      " 1", "1 ",  "1,5",   "0x10", "nan", "inf",
                                      "1e999", "1e", "--1", "1.2.3", "e5",   ".",   "1f"};
    double value = 0;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(ful__parse_double(good[i].text, &value));
        assert_true(value == good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (ful__parse_double(bad[i], &value)) fail_msg("'%s' was taken for %g", bad[i], value);
}

/* Short where the number is short, and always read back to the same bits. */
static void numbers_as_text(void **state)
{
    (void)state;
    char text[FUL__NUMBER_BYTES];
    assert_string_equal(ful__double_text(0.1, text), "0.1");
    assert_string_equal(ful__double_text(-1500, text), "-1500");
    assert_string_equal(ful__double_text(HUGE_VAL, text), "inf");
    assert_string_equal(ful__float_text(0.1f, text), "0.1");
    static const double doubles[] = {0, 1.0 / 3, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, -123456789.125};
    static const float floats[] = {1.0f / 3, 1e-45f, 3.4028235e38f, 0.1f + 0.2f};
    double back = 0;
    for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++)
        assert_true(ful__parse_double(ful__double_text(doubles[i], text), &back) && back == doubles[i]);
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
        assert_true(ful__parse_double(ful__float_text(floats[i], text), &back) && (float)back == floats[i]);
}

static void the_word_that_was_meant(void **state)
{
    (void)state;
    static const char *const words[] = {"train", "study", "trail", "epochs", NULL};
    static const char *const none[] = {NULL};
    assert_string_equal(ful_word_nearest("trian", words), "train");
    assert_string_equal(ful_word_nearest("trai", words), "train"); /* the first of equals */
    assert_string_equal(ful_word_nearest("epoch", words), "epochs");
    assert_string_equal(ful_word_nearest("study", words), "study");
    assert_null(ful_word_nearest("", words));
    assert_null(ful_word_nearest("rho", words));
    assert_null(ful_word_nearest("trainingtrainingtrainingtrainingtrainingtraining", words));
    assert_null(ful_word_nearest("train", none));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows),
        cmocka_unit_test(formats_of_every_length),
        cmocka_unit_test(html_is_escaped),
        cmocka_unit_test(names_from_outside_are_escaped),
        cmocka_unit_test(take_gives_a_string_always),
        cmocka_unit_test(failure_sticks),
        cmocka_unit_test(numbers),
        cmocka_unit_test(numbers_as_text),
        cmocka_unit_test(the_word_that_was_meant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
