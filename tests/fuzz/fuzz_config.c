/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as a configuration: refused with a sentence, or read into a struct that its own text brings back. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <fulcrum/train.h>

#define CHECK(cond)           \
    do {                      \
        if (!(cond)) abort(); \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static ful_config config, again;
    char *text = malloc(bytes + 1), *written = NULL, *rewritten = NULL;
    CHECK(text);
    if (bytes) memcpy(text, data, bytes);
    text[bytes] = '\0';
    if (ful_config_parse("input", text, &config) != FUL_OK) {
        CHECK(strncmp(ful_error_message(), "cannot ", 7) == 0);
    } else {
        CHECK(ful_config_write(&config, &written) == FUL_OK);
        CHECK(ful_config_parse("written", written, &again) == FUL_OK);
        CHECK(ful_config_write(&again, &rewritten) == FUL_OK);
        CHECK(strcmp(written, rewritten) == 0);
    }
    ful_free(written);
    ful_free(rewritten);
    free(text);
    return 0;
}
