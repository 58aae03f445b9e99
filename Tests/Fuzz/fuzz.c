// The entry points of libFuzzer. FUZZ_KIND, "file", "json", "text" or "tree", says what the bytes are.
#include <stdio.h>
#include <string.h>

#include "fuzz.h"

static void (*kind)(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    const char *name = getenv("FUZZ_KIND");
    if (name != NULL && strcmp(name, "file") == 0) kind = fuzz_file;
    if (name != NULL && strcmp(name, "json") == 0) kind = fuzz_json;
    if (name != NULL && strcmp(name, "text") == 0) kind = fuzz_text;
    if (name != NULL && strcmp(name, "tree") == 0) kind = fuzz_tree;
    if (kind == NULL) {
        fputs("FUZZ_KIND must be file, json, text or tree\n", stderr);
        exit(2);
    }
    // Cases are small, and one thread makes them the same each time.
    promise(ec_set_num_threads(1) == EC_OK);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kind(data, size);
    return 0;
}
