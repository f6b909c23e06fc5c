/* SPDX-License-Identifier: Apache-2.0 */
/* A stranger's program: every public header, something from every layer, a call that fails with a sentence. */
#include "all_headers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static int complain(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, ful_error_message());
    return 1;
}

int main(void)
{
    static ful_config config;
    ful_study *study = NULL;
    ful_dataset *dataset = NULL;
    char *table = NULL;
    if (ful_threads_set(0) != FUL_ERR_ARG || strncmp(ful_error_message(), "cannot ", 7) != 0)
        return complain("ful_threads_set");
    if (ful_threads_set(1) != FUL_OK || ful_threads_get() != 1) return complain("ful_threads_set");
    if (ful_config_parse("consumer", "net: {arch: resnet8}\nmoe: [{at: head, experts: 8, k: 2}]\n", &config) != FUL_OK)
        return complain("ful_config_parse");
    if (ful_config_rho(&config, false, false, &table) != FUL_OK) return complain("ful_config_rho");
    ful_free(table);
    strcpy(config.data.name, "cifar10");
    strcpy(config.data.path, "/no/such/folder");
    if (ful_dataset_open(&config.data, FUL_SPLIT_TEST, &dataset) == FUL_OK) return complain("ful_dataset_open");
    if (ful_study_load("/no/such/plan.yaml", NULL, 0, &study) == FUL_OK) return complain("ful_study_load");
    if (fabs(ful_stats_t_quantile(0.975, 5) - 2.5705818) > 1e-6) return complain("ful_stats_t_quantile");
    return printf("fulcrum %s on %s\n", ful_version(), ful_cpu_name()) > 0 ? 0 : 1;
}
