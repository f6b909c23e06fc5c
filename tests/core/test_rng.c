/* SPDX-License-Identifier: Apache-2.0 */
/* Philox against its published vectors, addresses against arrays, distributions against their laws. Fixed seeds: no luck
 * involved. */
#include <math.h>
#include <stdlib.h>

#include "core/rng.c" /* to reach ln_unit and cos_sin_turn */
#include "support/test.h"

/* Random123's kat_vectors, philox4x32 with 10 rounds. */
static void known_answers(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], answer[4];
    } kat[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (int i = 0; i < 3; i++) {
        const uint32_t *c = kat[i].counter;
        uint32_t out[4];
        ful__rng_words((ful__stream){{kat[i].key[0], kat[i].key[1]}}, (uint64_t)c[3] << 32 | c[2], (uint64_t)c[1] << 32 | c[0],
                       out);
        assert_memory_equal(out, kat[i].answer, sizeof out);
    }
}

static void streams_differ_by_every_part(void **state)
{
    (void)state;
    const ful__stream s[] = {ful__stream_make(1, "init", "conv1"),    ful__stream_make(2, "init", "conv1"),
                             ful__stream_make(1, "shuffle", "conv1"), ful__stream_make(1, "init", "conv2"),
                             ful__stream_make(1, "initc", "onv1"),    ful__stream_make(1, "", "initconv1")};
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < i; j++) assert_true(memcmp(&s[i], &s[j], sizeof s[i]) != 0);
    const ful__stream again = ful__stream_make(1, "init", "conv1");
    assert_memory_equal(&again, &s[0], sizeof again);
}

static void arrays_equal_single_draws(void **state)
{
    (void)state;
    const ful__stream s = ful__stream_make(7, "init", "w");
    float u[101], z[101], t[101], again[53];
    ful__rng_fill_uniform(s, 3, 0, 1, u, 101);
    ful__rng_fill_normal(s, 3, 1, z, 101);
    for (size_t i = 0; i < 101; i++) {
        assert_true(u[i] == ful__rng_uniform(s, 3, i));
        assert_true(z[i] == ful__rng_normal(s, 3, i));
        assert_true(u[i] >= 0 && u[i] < 1);
    }
    ful__rng_fill_truncated_normal(s, 3, 1, t, 101);
    ful__rng_fill_truncated_normal(s, 3, 1, again, 53); /* a shorter array is a prefix */
    assert_memory_equal(t, again, sizeof again);
    ful__rng_fill_normal(s, 4, 1, again, 53);
    assert_true(memcmp(z, again, sizeof again) != 0);
}

/* Bits that a release must never change: old runs would not reproduce. */
static void numbers_never_change(void **state)
{
    (void)state;
    const ful__stream s = ful__stream_make(42, "init", "stem.conv.weight");
    float t[4];
    uint32_t perm[8];
    ful__rng_fill_truncated_normal(s, 0, 1, t, 4);
    ful__rng_permutation(s, 1, perm, 8);
    static const float uniforms[4] = {0x1.7dafe8p-2f, 0x1.836edp-2f, 0x1.af7ba2p-1f, 0x1.69615ap-1f};
    static const float normals[4] = {-0x1.01e36p-1f, -0x1.821c82p-1f, -0x1.d2b55p-1f, 0x1.6d419ep-2f};
    static const float truncated[4] = {0x1.22f868p-4f, 0x1.bf841p-1f, -0x1.fa2f26p+0f, 0x1.2312b6p-3f};
    static const uint32_t order[8] = {3, 5, 6, 1, 0, 7, 2, 4};
    assert_int_equal(s.key[0], 0x0311f01f);
    assert_int_equal(s.key[1], 0xa8d6a037);
    for (unsigned i = 0; i < 4; i++) {
        assert_true(ful__rng_uniform(s, 5, i) == uniforms[i]);
        assert_true(ful__rng_normal(s, 5, i) == normals[i]);
        assert_true(t[i] == truncated[i]);
    }
    assert_memory_equal(perm, order, sizeof order);
    assert_true(ful__rng_below(s, 9, 9, 1000000007u) == 474755797u);
}

static void elementary_functions(void **state)
{
    (void)state;
    const ful__stream s = ful__stream_make(3, "test", "functions");
    assert_true(ln_unit(1) == 0);
    for (uint64_t i = 0; i < 100000; i++) {
        uint32_t w[4];
        ful__rng_words(s, 0, i, w);
        const double x = ((double)w[0] + 1) * 0x1p-32, exact = log(x);
        assert_true(fabs(ln_unit(x) - exact) <= 2e-13 * fabs(exact) + 1e-16);
        double c, sn;
        cos_sin_turn(w[1], &c, &sn);
        const double angle = 6.283185307179586 * 0x1p-32 * (double)w[1];
        assert_true(fabs(c - cos(angle)) < 2e-14 && fabs(sn - sin(angle)) < 2e-14);
    }
}

static int compare_floats(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double cdf_uniform(double x)
{
    return x;
}
static double cdf_normal(double x)
{
    return 0.5 * erfc(-x / 1.4142135623730951);
}
static double cdf_truncated(double x)
{
    return (cdf_normal(x) - cdf_normal(-2)) / (cdf_normal(2) - cdf_normal(-2));
}

/* Kolmogorov-Smirnov: sqrt(n) D stays under 1.95 in 999 of 1000 samples. */
static void check_law(float *x, size_t n, double (*cdf)(double))
{
    double d = 0;
    qsort(x, n, sizeof *x, compare_floats);
    for (size_t i = 0; i < n; i++) {
        const double f = cdf((double)x[i]);
        d = fmax(d, fmax(f - (double)i / (double)n, (double)(i + 1) / (double)n - f));
    }
    assert_true(sqrt((double)n) * d < 1.95);
}

static void laws(void **state)
{
    (void)state;
    enum { N = 200000 };
    float *x = malloc(N * sizeof *x);
    const ful__stream s = ful__stream_make(11, "test", "laws");
    ful__rng_fill_uniform(s, 0, 0, 1, x, N);
    double lag = 0;
    for (int i = 1; i < N; i++) lag += ((double)x[i] - 0.5) * ((double)x[i - 1] - 0.5);
    assert_true(fabs(lag / N * 12) < 3.3 / sqrt(N)); /* neighbours do not correlate */
    check_law(x, N, cdf_uniform);
    ful__rng_fill_normal(s, 0, 1, x, N);
    lag = 0;
    for (int i = 1; i < N; i++) lag += (double)x[i] * (double)x[i - 1];
    assert_true(fabs(lag / N) < 3.3 / sqrt(N));
    check_law(x, N, cdf_normal);
    ful__rng_fill_truncated_normal(s, 0, 1, x, N);
    check_law(x, N, cdf_truncated);
    assert_true(x[0] >= -2 && x[N - 1] <= 2 && x[0] < -1.99f && x[N - 1] > 1.99f);
    free(x);
}

/* chi-square limits: the 0.999 quantiles for 6 and 23 degrees of freedom. */
static void below_and_permutations_are_even(void **state)
{
    (void)state;
    const ful__stream s = ful__stream_make(5, "test", "even");
    int seven[7] = {0}, orders[24] = {0};
    for (uint64_t i = 0; i < 70000; i++) seven[ful__rng_below(s, 0, i, 7)]++;
    double chi = 0;
    for (int i = 0; i < 7; i++) chi += (seven[i] - 10000.0) * (seven[i] - 10000.0) / 10000;
    assert_true(chi < 22.46);
    for (uint64_t step = 0; step < 24000; step++) {
        uint32_t p[4];
        ful__rng_permutation(s, step, p, 4);
        int rank = 0;
        for (int i = 0; i < 4; i++) {
            int less = 0;
            for (int j = i + 1; j < 4; j++) less += p[j] < p[i];
            rank = rank * (4 - i) + less;
        }
        orders[rank]++;
    }
    chi = 0;
    for (int i = 0; i < 24; i++) chi += (orders[i] - 1000.0) * (orders[i] - 1000.0) / 1000;
    assert_true(chi < 49.73);
}

static void edges(void **state)
{
    (void)state;
    const ful__stream s = ful__stream_make(0, "", "");
    uint32_t one[1] = {9}, *big = malloc(5000 * sizeof *big);
    char *seen = calloc(5000, 1);
    for (uint64_t i = 0; i < 100; i++) {
        assert_true(ful__rng_below(s, 0, i, 1) == 0);
        assert_true(ful__rng_below(s, 0, i, (1ull << 63) + 1) <= 1ull << 63); /* rejects half of the words */
        assert_true(ful__rng_below(s, 0, i, UINT64_MAX) < UINT64_MAX);
    }
    ful__rng_permutation(s, 0, one, 1);
    assert_int_equal(one[0], 0);
    ful__rng_permutation(s, 0, one, 0);
    ful__rng_permutation(s, 0, big, 5000);
    for (int i = 0; i < 5000; i++) seen[big[i]]++;
    for (int i = 0; i < 5000; i++) assert_int_equal(seen[i], 1);
    free(big);
    free(seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(streams_differ_by_every_part),
        cmocka_unit_test(numbers_never_change),
        cmocka_unit_test(arrays_equal_single_draws),
        cmocka_unit_test(elementary_functions),
        cmocka_unit_test(laws),
        cmocka_unit_test(edges),
        cmocka_unit_test(below_and_permutations_are_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
