/* SPDX-License-Identifier: Apache-2.0 */
/* Both cut the message into blocks of 64 bytes, the last padded with 0x80, zeros and the length in bits; they differ in the
 * function that mixes a block into the state, and in byte order. */
#include "core/digest.h"

#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/file.h"
#include "core/mem.h"

enum { BLOCK = 64 };

const char *ful__digest_name(ful__digest_kind kind)
{
    return kind == FUL__DIGEST_MD5 ? "MD5" : "SHA-256";
}

static uint32_t left(uint32_t x, int n)
{
    return x << n | x >> (32 - n);
}

static uint32_t right(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

static uint32_t get32(const uint8_t *p, bool big)
{
    return big ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]
               : (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

/* RFC 1321, 3.4: T[i] = floor(2^32 |sin(i + 1)|). */
static const uint32_t md5_sines[64] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501, 0x698098d8, 0x8b44f7af,
    0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821, 0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa,
    0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8, 0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8,
    0x676f02d9, 0x8d2a4c8a, 0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665, 0xf4292244, 0x432aff97,
    0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1, 0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1,
    0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391};

static void mix_md5(uint32_t s[8], const uint8_t *block)
{
    static const int turns[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
    static const int step[4] = {1, 5, 3, 7}, begin[4] = {0, 1, 5, 0};
    uint32_t a = s[0], b = s[1], c = s[2], d = s[3];
    for (int i = 0; i < 64; i++) {
        const int round = i / 16;
        const uint32_t f = round == 0   ? (b & c) | (~b & d)
                           : round == 1 ? (d & b) | (~d & c)
                           : round == 2 ? b ^ c ^ d
                                        : c ^ (b | ~d);
        const uint32_t word = get32(block + 4 * ((begin[round] + step[round] * i) % 16), false);
        const uint32_t next = b + left(a + f + md5_sines[i] + word, turns[round][i % 4]);
        a = d, d = c, c = b, b = next;
    }
    s[0] += a, s[1] += b, s[2] += c, s[3] += d;
}

/* FIPS 180-4, 4.2.2: the first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t sha_roots[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
    0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
    0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
    0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
    0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static void mix_sha256(uint32_t s[8], const uint8_t *block)
{
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++) w[i] = get32(block + 4 * i, true);
    for (int i = 16; i < 64; i++) {
        const uint32_t x = w[i - 15], y = w[i - 2];
        w[i] = w[i - 16] + (right(x, 7) ^ right(x, 18) ^ x >> 3) + w[i - 7] + (right(y, 17) ^ right(y, 19) ^ y >> 10);
    }
    memcpy(v, s, sizeof v);
    for (int i = 0; i < 64; i++) {
        const uint32_t e = v[4], a = v[0];
        const uint32_t t1 = v[7] + (right(e, 6) ^ right(e, 11) ^ right(e, 25)) + ((e & v[5]) ^ (~e & v[6])) + sha_roots[i] +
                            w[i];
        const uint32_t t2 = (right(a, 2) ^ right(a, 13) ^ right(a, 22)) + ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) s[i] += v[i];
}

void ful__digest_init(ful__digest *d, ful__digest_kind kind)
{
    static const uint32_t md5[8] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    static const uint32_t sha[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    *d = (ful__digest){.kind = kind};
    memcpy(d->state, kind == FUL__DIGEST_MD5 ? md5 : sha, sizeof d->state);
}

static void mix(ful__digest *d, const uint8_t *block)
{
    if (d->kind == FUL__DIGEST_MD5)
        mix_md5(d->state, block);
    else
        mix_sha256(d->state, block);
}

void ful__digest_add(ful__digest *d, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    while (bytes > 0) {
        const size_t have = d->bytes % BLOCK, part = bytes < BLOCK - have ? bytes : BLOCK - have;
        if (have == 0 && part == BLOCK) {
            mix(d, p);
        } else {
            memcpy(d->block + have, p, part);
            if (have + part == BLOCK) mix(d, d->block);
        }
        d->bytes += part;
        p += part;
        bytes -= part;
    }
}

void ful__digest_end(ful__digest *d, char text[FUL__DIGEST_TEXT])
{
    static const uint8_t padding[BLOCK] = {0x80};
    const bool big = d->kind == FUL__DIGEST_SHA256;
    const uint64_t bits = 8 * d->bytes;
    uint8_t length[8];
    for (int i = 0; i < 8; i++) length[i] = (uint8_t)(bits >> (big ? 56 - 8 * i : 8 * i));
    ful__digest_add(d, padding, 1 + (2 * BLOCK - 9 - d->bytes % BLOCK) % BLOCK);
    ful__digest_add(d, length, sizeof length);
    for (int i = 0; i < (big ? 32 : 16); i++) {
        const uint32_t word = d->state[i / 4];
        snprintf(text + 2 * i, 3, "%02x", word >> (big ? 24 - 8 * (i % 4) : 8 * (i % 4)) & 0xffu);
    }
}

ful_status ful__digest_file(const char *path, ful__digest_kind kind, char text[FUL__DIGEST_TEXT])
{
    enum { PART = 1 << 20 };
    ful__file file;
    ful__digest d;
    uint8_t *buffer = NULL;
    FUL_TRY(ful__file_open(&file, path));
    ful_status status = ful__calloc(&buffer, PART, 1, "a read buffer");
    ful__digest_init(&d, kind);
    for (uint64_t at = 0; status == FUL_OK;) {
        size_t got = 0;
        status = ful__file_read_at(&file, path, at, buffer, PART, &got);
        ful__digest_add(&d, buffer, got);
        at += got;
        if (got < PART) break;
    }
    ful__digest_end(&d, text);
    ful__free(buffer);
    ful__file_close(&file);
    return status;
}
