/* SPDX-License-Identifier: Apache-2.0 */
/* Results as JSON. */
#include "cli/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"

static int print(json_t *object, size_t flags)
{
    char *text = object ? json_dumps(object, flags | JSON_REAL_PRECISION(8)) : NULL;
    json_decref(object);
    if (!text) {
        fprintf(stderr, "fulcrum: cannot write JSON: out of memory\n");
        return EXIT_FAILED;
    }
    puts(text);
    free(text);
    return EXIT_OK;
}

int print_json(json_t *object)
{
    return print(object, JSON_INDENT(1));
}

int print_json_line(json_t *object)
{
    return print(object, 0);
}

json_t *text_json(const char *text)
{
    char *clean = NULL;
    json_t *value = ful_text_utf8(text, &clean) == FUL_OK ? json_string(clean) : NULL;
    ful_free(clean);
    return value;
}

json_t *real_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}
