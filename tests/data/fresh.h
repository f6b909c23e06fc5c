/* SPDX-License-Identifier: Apache-2.0 */
/* For the programs whose tests each begin in a fresh folder, `t`: cmocka_unit_test_setup_teardown(test, set_up, tear_down). */
#ifndef FUL_TESTS_DATA_FRESH_H
#define FUL_TESTS_DATA_FRESH_H

#include "data/support.h"

static temp t;

static int set_up(void **state)
{
    (void)state;
    temp_make(&t);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    temp_remove(&t);
    return 0;
}

#endif
