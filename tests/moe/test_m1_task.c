/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The acceptance test of routing: the synthetic task of Chen et al. 2022 ("Towards Understanding the Mixture-of-Experts Layer
 * in Deep Learning", 2208.02813; method card M1), in the card's reduced form.
 *
 * A sample has four patches in random order: the signal y a v_k, the centre b c_k that names its cluster k, noise, and the
 * signal direction of another cluster with a random sign. y is the sign of the signal, which only someone who knows the cluster
 * can tell from the other patch. A router that learns the centres, with one nonlinear expert a cluster, solves it; with linear
 * experts it does less well; one expert alone stays near chance.
 *
 * The router is the library's (softmax, k = 1, gate = P of the chosen, uniform noise on the choice in training only); experts,
 * loss and steps are written out here: f_c(x) = sum over filters and patches of phi(<w_cj, x_p>), phi(z) = z^3 or z.
 */
#include <math.h>

#include <fulcrum/core.h>

#include "router_kit.h"

enum { D = 20, CLUSTERS = 4, PATCHES = 4, TRAIN = 400, TEST = 1000, EXPERTS = 8, MOST_FILTERS = 16, SEEDS = 9 };

typedef struct samples {
    int n;
    double patch[TEST][PATCHES][D];
    float sum[TEST][D]; /* router input: the sum of the patches */
    int label[TEST];    /* 0 or 1 */
    int32_t cluster[TEST];
} samples;

typedef struct expert {
    double w[2][MOST_FILTERS][D], gradient[2][MOST_FILTERS][D];
} expert;

typedef struct score {
    double train, test, information; /* accuracies; I(cluster; expert) / H(cluster) on the test set */
} score;

static double dot(const double *a, const double *b)
{
    double s = 0;
    for (int i = 0; i < D; i++) s += a[i] * b[i];
    return s;
}

/* Data ---------------------------------------------------------------------------------------------------------------- */

static double uniform(ful__stream s, uint64_t step, uint64_t index, double lo, double hi)
{
    return lo + (hi - lo) * (double)ful__rng_uniform(s, step, index);
}

/* Eight orthonormal directions: four signals, four centres. */
static void make_basis(uint64_t seed, double basis[2 * CLUSTERS][D])
{
    const ful__stream s = ful__stream_make(seed, "m1", "basis");
    for (int i = 0; i < 2 * CLUSTERS; i++) {
        for (int j = 0; j < D; j++) basis[i][j] = (double)ful__rng_normal(s, (uint64_t)i, (uint64_t)j);
        for (int twice = 0; twice < 2; twice++)
            for (int other = 0; other < i; other++) {
                const double along = dot(basis[i], basis[other]);
                for (int j = 0; j < D; j++) basis[i][j] -= along * basis[other][j];
            }
        const double length = sqrt(dot(basis[i], basis[i]));
        for (int j = 0; j < D; j++) basis[i][j] /= length;
    }
}

static void make_samples(uint64_t seed, const char *split, double basis[2 * CLUSTERS][D], int n, samples *out)
{
    const ful__stream s = ful__stream_make(seed, "m1", split);
    out->n = n;
    for (int i = 0; i < n; i++) {
        const uint64_t at = (uint64_t)i;
        const int label = (int)ful__rng_below(s, at, 0, 2), k = (int)ful__rng_below(s, at, 1, CLUSTERS);
        const int other = (k + 1 + (int)ful__rng_below(s, at, 2, CLUSTERS - 1)) % CLUSTERS;
        const double signal = 10 * uniform(s, at, 0, 0.5, 2) * (label ? 1 : -1), centre = 10 * uniform(s, at, 1, 1, 2);
        const double distraction = 10 * uniform(s, at, 2, 0.5, 3) * (ful__rng_below(s, at, 3, 2) ? 1 : -1);
        uint32_t order[PATCHES];
        ful__rng_permutation(s, at + 1000000, order, PATCHES);
        for (int j = 0; j < D; j++) {
            const double noise = 10 * (double)ful__rng_normal(s, at, (uint64_t)j) / sqrt(D);
            const double value[PATCHES] = {signal * basis[k][j], centre * basis[CLUSTERS + k][j], noise,
                                           distraction * basis[other][j]};
            for (int p = 0; p < PATCHES; p++) out->patch[i][order[p]][j] = value[p];
            out->sum[i][j] = (float)(value[0] + value[1] + value[2] + value[3]);
        }
        out->label[i] = label;
        out->cluster[i] = k;
    }
}

/* Experts ------------------------------------------------------------------------------------------------------------- */

static void expert_init(expert *f, int filters, double bound, uint64_t seed, int number)
{
    const ful__stream s = ful__stream_make(seed, "m1", "expert");
    memset(f, 0, sizeof *f);
    for (int c = 0; c < 2; c++)
        for (int j = 0; j < filters; j++)
            for (int i = 0; i < D; i++)
                f->w[c][j][i] = uniform(s, (uint64_t)number, (uint64_t)((c * filters + j) * D + i), -bound, bound);
}

static void expert_forward(const expert *f, int filters, bool cubic, double patch[PATCHES][D], double out[2])
{
    for (int c = 0; c < 2; c++) {
        out[c] = 0;
        for (int j = 0; j < filters; j++)
            for (int p = 0; p < PATCHES; p++) {
                const double z = dot(f->w[c][j], patch[p]);
                out[c] += cubic ? z * z * z : z;
            }
    }
}

static void expert_backward(expert *f, int filters, bool cubic, double patch[PATCHES][D], const double dout[2])
{
    for (int c = 0; c < 2; c++)
        for (int j = 0; j < filters; j++)
            for (int p = 0; p < PATCHES; p++) {
                const double z = cubic ? dot(f->w[c][j], patch[p]) : 0, dz = dout[c] * (cubic ? 3 * z * z : 1);
                for (int i = 0; i < D; i++) f->gradient[c][j][i] += dz * patch[p][i];
            }
}

/* Gradient descent by a step of fixed length: the gradient divided by its norm over the whole expert. */
static void normalised_step(expert *f, double rate)
{
    double *w = &f->w[0][0][0], *g = &f->gradient[0][0][0], square = 0;
    enum { N = 2 * MOST_FILTERS * D };
    for (int i = 0; i < N; i++) square += g[i] * g[i];
    for (int i = 0; square > 0 && i < N; i++) w[i] -= rate * g[i] / sqrt(square);
    memset(g, 0, sizeof f->gradient);
}

/* d cross-entropy / d out for one sample of n. */
static void loss_gradient(const double out[2], int label, int n, double dout[2])
{
    const double p1 = 1 / (1 + exp(out[0] - out[1]));
    dout[1] = (p1 - label) / n;
    dout[0] = -dout[1];
}

/* The mixture --------------------------------------------------------------------------------------------------------- */

static void route(kit *q, samples *data, bool train, uint64_t step)
{
    q->run.t = data->n;
    q->run.x = &data->sum[0][0];
    q->run.train = train;
    q->run.step = step;
    assert_ok(kit_forward(q));
}

static void train_step(kit *q, expert *experts, int filters, bool cubic, samples *data, uint64_t step)
{
    route(q, data, true, step);
    memset(q->dw[0], 0, EXPERTS * D * sizeof(float));
    for (int i = 0; i < data->n; i++) {
        expert *f = &experts[q->run.expert[i]];
        const double gate = (double)q->run.gate[i];
        double o[2], dout[2];
        expert_forward(f, filters, cubic, data->patch[i], o);
        loss_gradient((double[2]){gate * o[0], gate * o[1]}, data->label[i], data->n, dout);
        q->dgate[i] = (float)(dout[0] * o[0] + dout[1] * o[1]);
        expert_backward(f, filters, cubic, data->patch[i], (double[2]){gate * dout[0], gate * dout[1]});
    }
    kit_backward(q);
    for (int e = 0; e < EXPERTS; e++) normalised_step(&experts[e], 0.001);
    for (int i = 0; i < EXPERTS * D; i++) q->w[0][i] -= 1.0f * q->dw[0][i];
}

static double evaluate(kit *q, const expert *experts, int filters, bool cubic, samples *data, double *information_out)
{
    route(q, data, false, 0);
    int right = 0, of_cluster[CLUSTERS] = {0};
    int64_t chosen[EXPERTS] = {0};
    for (int i = 0; i < data->n; i++) {
        double o[2];
        expert_forward(&experts[q->run.expert[i]], filters, cubic, data->patch[i], o);
        right += (o[1] > o[0]) == data->label[i];
        chosen[q->run.expert[i]]++;
        of_cluster[data->cluster[i]]++;
    }
    ful_moe_stats stats;
    ful_moe_health health;
    assert_ok(ful__moe_stats_init(&stats, "m1", EXPERTS, 1, CLUSTERS));
    ful__moe_stats_add_route(&stats, q->r, &q->run, NULL, chosen, chosen, data->cluster);
    ful_moe_health_compute(&stats, &health);
    ful__moe_stats_deinit(&stats);
    double h = 0;
    for (int k = 0; k < CLUSTERS; k++) h -= (double)of_cluster[k] / data->n * log((double)of_cluster[k] / data->n);
    *information_out = health.class_mi / h;
    return (double)right / data->n;
}

static score run_mixture(bool cubic, uint64_t seed, samples *train, samples *test)
{
    enum { FILTERS = 4, STEPS = 200 };
    static expert experts[EXPERTS];
    ful_moe_attr a = kit_attr("softmax", EXPERTS, 1);
    a.router_init = 0;
    a.noise_std = 1;
    a.noise_kind = FUL_ROUTER_NOISE_UNIFORM;
    kit q;
    kit_init(&q, &a, D, TEST, seed);
    q.run.dx = NULL;
    memset(q.w[0], 0, EXPERTS * D * sizeof(float));
    for (int e = 0; e < EXPERTS; e++) expert_init(&experts[e], FILTERS, 0.001 / sqrt(D), seed, e);
    for (uint64_t step = 0; step < STEPS; step++) train_step(&q, experts, FILTERS, cubic, train, step);
    score s;
    s.train = evaluate(&q, experts, FILTERS, cubic, train, &s.information);
    s.test = evaluate(&q, experts, FILTERS, cubic, test, &s.information);
    kit_deinit(&q);
    return s;
}

/* One expert ---------------------------------------------------------------------------------------------------------- */

/* Adam (Kingma and Ba 2015) with 5e-4 w added to the gradient. */
static void adam_step(expert *f, expert *first, expert *second, double rate, int step)
{
    double *w = &f->w[0][0][0], *g = &f->gradient[0][0][0], *m = &first->w[0][0][0], *v = &second->w[0][0][0];
    for (int i = 0; i < 2 * MOST_FILTERS * D; i++) {
        const double gi = g[i] + 5e-4 * w[i];
        m[i] = 0.9 * m[i] + 0.1 * gi;
        v[i] = 0.999 * v[i] + 0.001 * gi * gi;
        w[i] -= rate * (m[i] / (1 - pow(0.9, step))) / (sqrt(v[i] / (1 - pow(0.999, step))) + 1e-8);
    }
    memset(g, 0, sizeof f->gradient);
}

static double single_accuracy(const expert *f, bool cubic, samples *data)
{
    int right = 0;
    for (int i = 0; i < data->n; i++) {
        double o[2];
        expert_forward(f, MOST_FILTERS, cubic, data->patch[i], o);
        right += (o[1] > o[0]) == data->label[i];
    }
    return (double)right / data->n;
}

static score run_single(bool cubic, uint64_t seed, samples *train, samples *test)
{
    static expert f, first, second;
    memset(&first, 0, sizeof first);
    memset(&second, 0, sizeof second);
    expert_init(&f, MOST_FILTERS, 1 / sqrt(D), seed, 0);
    for (int step = 1; step <= 100; step++) {
        for (int i = 0; i < train->n; i++) {
            double o[2], dout[2];
            expert_forward(&f, MOST_FILTERS, cubic, train->patch[i], o);
            loss_gradient(o, train->label[i], train->n, dout);
            expert_backward(&f, MOST_FILTERS, cubic, train->patch[i], dout);
        }
        adam_step(&f, &first, &second, cubic ? 0.01 : 0.003, step);
    }
    return (score){.train = single_accuracy(&f, cubic, train), .test = single_accuracy(&f, cubic, test)};
}

/* Tests --------------------------------------------------------------------------------------------------------------- */

static samples train_set, test_set;

/* The data is what the card says: orthonormal directions, the cluster shows in the centre, the label in the signal. */
static void the_task(void **state)
{
    (void)state;
    double basis[2 * CLUSTERS][D];
    make_basis(1, basis);
    for (int i = 0; i < 2 * CLUSTERS; i++)
        for (int j = 0; j < 2 * CLUSTERS; j++) assert_true(fabs(dot(basis[i], basis[j]) - (i == j)) < 1e-12);
    make_samples(2, "train", basis, TRAIN, &train_set);
    make_samples(3, "test", basis, TEST, &test_set);
    int cluster_right = 0, label_right = 0, blind_right = 0;
    for (int i = 0; i < TEST; i++) {
        double centre[CLUSTERS] = {0}, cubes = 0, signal = 0;
        int best = 0;
        for (int k = 0; k < CLUSTERS; k++) {
            for (int p = 0; p < PATCHES; p++) {
                const double along = dot(basis[k], test_set.patch[i][p]);
                centre[k] += dot(basis[CLUSTERS + k], test_set.patch[i][p]);
                cubes += along * along * along;
                if (k == test_set.cluster[i] && fabs(along) > fabs(signal)) signal = along;
            }
            if (centre[k] > centre[best]) best = k;
        }
        cluster_right += best == test_set.cluster[i];
        label_right += (signal > 0) == test_set.label[i];
        blind_right += (cubes > 0) == test_set.label[i];
    }
    assert_true(cluster_right >= 0.99 * TEST && label_right >= 0.99 * TEST); /* the card: 100 % and 100 % at d = 50 */
    assert_in_range(blind_right, (int)(0.6 * TEST), (int)(0.7 * TEST)); /* the card: .5 + .5 P(signal > distraction) = .649 */
}

static double median(double *x, int n)
{
    for (int i = 1; i < n; i++)
        for (int j = i; j > 0 && x[j - 1] > x[j]; j--) {
            const double held = x[j];
            x[j] = x[j - 1];
            x[j - 1] = held;
        }
    return x[n / 2];
}

/*
 * Medians, because at this router step about one run in six (7 of 40 here; more in an independent program) ends with two
 * clusters in one expert: the step is long for a loss of cubes.
 */
static void mixtures_beat_one_expert(void **state)
{
    (void)state;
    double cubic[SEEDS], linear[SEEDS], cubic_information[SEEDS], linear_information[SEEDS], single = 0;
    int solved = 0;
    for (int seed = 0; seed < SEEDS; seed++) {
        const score c = run_mixture(true, (uint64_t)seed, &train_set, &test_set);
        const score l = run_mixture(false, (uint64_t)seed, &train_set, &test_set);
        print_message("seed %d: cubic %.3f (I/H %.3f), linear %.3f (I/H %.3f)\n", seed, c.test, c.information, l.test,
                      l.information);
        cubic[seed] = c.test;
        linear[seed] = l.test;
        cubic_information[seed] = c.information;
        linear_information[seed] = l.information;
        solved += c.test >= 0.95 && c.information >= 0.85;
    }
    for (uint64_t seed = 0; seed < 2; seed++)
        for (int form = 0; form < 2; form++) {
            const score s = run_single(form, seed, &train_set, &test_set);
            print_message("seed %d: single %s %.3f\n", (int)seed, form ? "cubic" : "linear", s.test);
            assert_true(s.test <= 0.80);
            if (s.test > single) single = s.test;
        }
    const double of_cubic = median(cubic, SEEDS), of_linear = median(linear, SEEDS);
    assert_true(of_cubic >= 0.95 && median(cubic_information, SEEDS) >= 0.85);
    assert_true(solved * 2 > SEEDS);
    assert_true(linear[0] >= 0.80 && linear[SEEDS - 1] <= 0.97 && median(linear_information, SEEDS) <= 0.55);
    assert_true(single < of_linear && of_linear < of_cubic);
}

int main(void)
{
    if (ful_threads_set(1) != FUL_OK) return 1; /* 400 samples a step: not worth a second thread */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_task),
        cmocka_unit_test(mixtures_beat_one_expert),
    };
    return cmocka_run_group_tests_name("synthetic task of Chen et al. 2022", tests, NULL, NULL);
}
