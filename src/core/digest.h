/* SPDX-License-Identifier: Apache-2.0 */
/* MD5 (RFC 1321) and SHA-256 (FIPS 180-4): what publishers give beside their files. Against damage, MD5 not against forgery. */
#ifndef FUL_CORE_DIGEST_H
#define FUL_CORE_DIGEST_H

#include <fulcrum/status.h>
#include <stddef.h>
#include <stdint.h>

typedef enum ful__digest_kind { FUL__DIGEST_MD5, FUL__DIGEST_SHA256 } ful__digest_kind;
enum { FUL__DIGEST_TEXT = 65 }; /* bytes of the longest in hexadecimal, with its end */

typedef struct ful__digest {
    ful__digest_kind kind;
    uint32_t state[8];
    uint64_t bytes; /* so far */
    uint8_t block[64];
} ful__digest;

const char *ful__digest_name(ful__digest_kind kind); /* "MD5" */
void ful__digest_init(ful__digest *d, ful__digest_kind kind);
void ful__digest_add(ful__digest *d, const void *data, size_t bytes);
/* In lower-case hexadecimal; d is used up. */
void ful__digest_end(ful__digest *d, char text[FUL__DIGEST_TEXT]);
ful_status ful__digest_file(const char *path, ful__digest_kind kind, char text[FUL__DIGEST_TEXT]) FUL_CHECK_RESULT;

#endif
