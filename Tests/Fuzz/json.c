#include <string.h>

#include "fuzz.h"

static const char *const methods[] = {"asym", "kmeans_cls", "eden", "pq", "dedup", "svd", "tt", "hot_cold"};
static const uint8_t method_count = sizeof methods / sizeof methods[0];

void fuzz_json(const uint8_t *data, size_t size) {
    if (size == 0) return;
    char *text = malloc(size);
    promise(text != NULL);
    memcpy(text, data + 1, size - 1);
    text[size - 1] = 0;
    const uint8_t choice = data[0] % (method_count + 1);
    if (choice < method_count) {
        ec_string options;
        if (ec_method_options(methods[choice], "after training", text, &options) == EC_OK) {
            // What the library answers with, it takes.
            ec_string again;
            promise(ec_method_options(methods[choice], "after training", options.bytes, &again) == EC_OK);
            promise(strcmp(options.bytes, again.bytes) == 0);
            ec_string_release(again);
            ec_string_release(options);
        }
    } else {
        int64_t bytes = -1;
        promise(ec_plan_bytes(text, &bytes) != EC_OK || bytes >= 0);
    }
    free(text);
}
