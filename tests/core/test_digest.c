/* SPDX-License-Identifier: Apache-2.0 */
/* MD5 and SHA-256 against the vectors of RFC 1321 and FIPS 180-4's examples, in one piece and in pieces of every size. */
#include "core/digest.h"

#include "core/file.h"
#include "support/test.h"
#include <stdlib.h>
#include <unistd.h>

static const struct {
    const char *text, *md5, *sha256;
} vectors[] = {
    {"", "d41d8cd98f00b204e9800998ecf8427e", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", "900150983cd24fb0d6963f7d28e17f72", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"message digest", "f96b697d7cb7938d525a2f31aaf161d0", NULL},
    {"abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b", NULL},
    {"12345678901234567890123456789012345678901234567890123456789012345678901234567890", "57edf4a22be3c955ac49da2e2107b67a",
     NULL},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", NULL,
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
};

static void check(ful__digest_kind kind, const char *text, const char *wanted)
{
    const size_t n = strlen(text);
    for (size_t piece = 1; wanted && piece <= n + 1; piece++) {
        ful__digest d;
        char got[FUL__DIGEST_TEXT];
        ful__digest_init(&d, kind);
        for (size_t at = 0; at < n; at += piece) ful__digest_add(&d, text + at, n - at < piece ? n - at : piece);
        ful__digest_end(&d, got);
        assert_string_equal(got, wanted);
    }
}

static void test_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        check(FUL__DIGEST_MD5, vectors[i].text, vectors[i].md5);
        check(FUL__DIGEST_SHA256, vectors[i].text, vectors[i].sha256);
    }
}

/* A million times "a" (FIPS 180-4's third example; RFC 1321 has none, the MD5 is well known). */
static void test_million(void **state)
{
    (void)state;
    char path[] = "/tmp/fulcrum-digest-XXXXXX", got[FUL__DIGEST_TEXT];
    char *text = malloc(1000000);
    const int fd = mkstemp(path);
    assert_true(text && fd >= 0);
    memset(text, 'a', 1000000);
    close(fd);
    assert_ok(ful__file_write(path, text, 1000000));
    assert_ok(ful__digest_file(path, FUL__DIGEST_SHA256, got));
    assert_string_equal(got, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    assert_ok(ful__digest_file(path, FUL__DIGEST_MD5, got));
    assert_string_equal(got, "7707d6ae4e027c70eea2a935c2296f21");
    assert_string_equal(ful__digest_name(FUL__DIGEST_MD5), "MD5");
    unlink(path);
    assert_fails(ful__digest_file(path, FUL__DIGEST_MD5, got), FUL_ERR_IO, "No such file");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_vectors), cmocka_unit_test(test_million)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
