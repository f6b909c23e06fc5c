/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Judges a list of paired differences, such as accuracy(mixture) - accuracy(dense) over seeds, as a study does.
 *
 *   paired_gap 0.42 0.31 0.55 0.12 0.38
 *
 * Without arguments it uses that list (method card I4's oracle).
 */
#include <fulcrum/fulcrum.h>
#include <stdio.h>
#include <stdlib.h>

enum { PAIRS_MAX = 64 };

int main(int argc, char **argv)
{
    double gap[PAIRS_MAX] = {0.42, 0.31, 0.55, 0.12, 0.38};
    int n = 5;
    if (argc > 1) n = argc - 1;
    if (n > PAIRS_MAX) {
        fprintf(stderr, "paired_gap: at most %d pairs\n", PAIRS_MAX);
        return 2;
    }
    for (int i = 1; i < argc; i++) {
        char *end;
        gap[i - 1] = strtod(argv[i], &end);
        if (end == argv[i] || *end) {
            fprintf(stderr, "paired_gap: '%s' is no number\n", argv[i]);
            return 2;
        }
    }

    ful_paired p;
    const ful_status status = ful_stats_paired(gap, n, 0.95, 10000, 1, &p);
    if (status != FUL_OK) {
        fprintf(stderr, "paired_gap: %s\n", ful_error_message());
        return 1;
    }
    printf("%d pairs: mean %+.4f, sd %.4f\n", p.n, p.mean, p.sd);
    printf("Student's t: 95 %% interval %+.4f to %+.4f, p = %.4g\n", p.t_low, p.t_high, p.p_t);
    printf("BCa bootstrap: %+.4f to %+.4f%s\n", p.bca_low, p.bca_high, n < 6 ? " (too narrow with so few pairs)" : "");
    printf("exact tests: sign p = %.4g, sign flips p = %.4g; neither can go below %.4g with %d pairs\n", p.p_sign, p.p_flip,
           p.p_floor, n);
    printf("a gap below %.4f would usually be missed\n", ful_stats_detectable(n) * p.sd);
    return 0;
}
