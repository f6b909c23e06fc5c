/* SPDX-License-Identifier: Apache-2.0 */
/* The generated set is beyond a linear model: multinomial logistic regression on pixels, trained well, stays under 60 %. */
#include <math.h>

#include "core/rng.h"
#include "data/support.h"

enum { CLASSES = 10, LANES = 16, PIXELS = 32 * 32 * 3, EPOCHS = 8, BATCH = 50 };

typedef struct linear {
    float w[PIXELS + 1][LANES], velocity[PIXELS + 1][LANES], gradient[PIXELS + 1][LANES]; /* the last row is the bias */
    float x[PIXELS + 1];
    float table[3][256];
} linear;

static void load(linear *m, const uint8_t *image)
{
    for (int i = 0; i < PIXELS; i++) m->x[i] = m->table[i % 3][image[i]];
    m->x[PIXELS] = 1;
}

static int predict(const linear *m, float p[LANES])
{
    float sum = 0;
    int best = 0;
    memset(p, 0, LANES * sizeof *p);
    for (int i = 0; i <= PIXELS; i++)
        for (int k = 0; k < LANES; k++) p[k] += m->x[i] * m->w[i][k];
    for (int k = 1; k < CLASSES; k++) best = p[k] > p[best] ? k : best;
    const float top = p[best];
    for (int k = 0; k < LANES; k++) sum += p[k] = k < CLASSES ? expf(p[k] - top) : 0.0f;
    for (int k = 0; k < LANES; k++) p[k] /= sum;
    return best;
}

static double accuracy(linear *m, const ful_dataset *d, int count)
{
    float p[LANES];
    int right = 0;
    for (int i = 0; i < count; i++) {
        load(m, ful_dataset_image(d, i));
        right += predict(m, p) == ful_dataset_label(d, i);
    }
    return (double)right / count;
}

static void step(linear *m, const ful_dataset *d, const uint32_t *order, float rate, float decay)
{
    float p[LANES];
    memset(m->gradient, 0, sizeof m->gradient);
    for (int n = 0; n < BATCH; n++) {
        load(m, ful_dataset_image(d, order[n]));
        predict(m, p);
        p[ful_dataset_label(d, order[n])] -= 1;
        for (int i = 0; i <= PIXELS; i++)
            for (int k = 0; k < LANES; k++) m->gradient[i][k] += m->x[i] * p[k];
    }
    for (int i = 0; i <= PIXELS; i++)
        for (int k = 0; k < LANES; k++) {
            m->velocity[i][k] = 0.9f * m->velocity[i][k] - rate * (m->gradient[i][k] / BATCH + decay * m->w[i][k]);
            m->w[i][k] += m->velocity[i][k];
        }
}

/* Trained with momentum and a falling rate until it knows most of its training images; strongly and weakly regularised. */
static void test_linear(void **state)
{
    (void)state;
    const ful_data_config c = config_of("clusters", "", "");
    ful_dataset *train = open_ok(&c, FUL_SPLIT_TRAIN), *test = open_ok(&c, FUL_SPLIT_TEST);
    linear *m = malloc(sizeof *m);
    uint32_t order[4000];
    ful_dataset_info info;
    ful_dataset_info_get(train, &info);
    const float decays[] = {0, 0.1f};
    for (int run = 0; run < 2; run++) {
        memset(m, 0, sizeof *m);
        for (int k = 0; k < 3; k++)
            for (int v = 0; v < 256; v++) m->table[k][v] = ((float)v / 255 - info.mean[k]) / info.std[k];
        for (int e = 0; e < EPOCHS; e++) {
            ful__rng_permutation(ful__stream_make(1, "test", "linear"), (uint64_t)e, order, 4000);
            for (int b = 0; b < 4000; b += BATCH) step(m, train, order + b, 0.005f * (1 - (float)e / EPOCHS), decays[run]);
        }
        const double known = accuracy(m, train, 2000), got = accuracy(m, test, 1000);
        print_message("linear model, decay %g: %.1f %% of the training images, %.1f %% of the test images\n",
                      (double)decays[run], 100 * known, 100 * got);
        if (run == 0) assert_true(known > 0.75); /* it was trained */
        assert_true(got < 0.60);
    }
    free(m);
    ful_dataset_destroy(&train);
    ful_dataset_destroy(&test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_linear)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
