// Runs the fuzzer's entry points without libFuzzer: on files as they are, and on changed ones. A short run for tests,
// linked with Tests/Fuzz and the C library.
//
//     FUZZ_KIND=file replay_fuzz 60 seed...     60 changed inputs for each
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/// xorshift64*, the same on every machine.
static uint64_t state = 0x9E3779B97F4A7C15;
static uint64_t below(uint64_t bound) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (state * 0x2545F4914F6CDD1D >> 16) % bound;
}

/// Changes some bytes, and now and then the length. Returns the length.
static size_t change(uint8_t *data, size_t size) {
    static const uint8_t strange[] = {0, 1, 0x7F, 0x80, 0xFF, '"', '{', '}', '9', '-'};
    for (uint64_t count = 1 + below(4); count > 0 && size > 0; count--) {
        const size_t place = below(size);
        switch (below(5)) {
        case 0: data[place] = strange[below(sizeof strange)]; break;
        case 1: data[place] ^= (uint8_t)(1 << below(8)); break;
        case 2: data[place] = (uint8_t)below(256); break;
        case 3: memmove(data + place, data + below(size - place) + place, (size - place) / 8); break;
        default: memset(data + place, strange[below(5)], size - place < 8 ? size - place : 8); break;
        }
    }
    return size > 0 && below(8) == 0 ? below(size) : size;
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    LLVMFuzzerInitialize(&argc, &argv);
    const long changes = atol(argv[1]);
    long inputs = 0;
    for (int i = 2; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (file == NULL) return 2;
        fseek(file, 0, SEEK_END);
        const size_t size = (size_t)ftell(file);
        rewind(file);
        uint8_t *seed = malloc(size + 1), *data = malloc(size + 1);
        if (seed == NULL || data == NULL || fread(seed, 1, size, file) != size) return 2;
        fclose(file);
        for (long change_number = 0; change_number <= changes; change_number++) {
            memcpy(data, seed, size);
            // Of its own length, so that a checker of memory sees who reads past its end.
            const size_t length = change_number == 0 ? size : change(data, size);
            LLVMFuzzerTestOneInput(data, length);
            inputs++;
        }
        free(seed);
        free(data);
    }
    printf("%ld\n", inputs);
    return 0;
}
