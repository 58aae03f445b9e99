#include <math.h>

#include "fuzz.h"

enum { CAPACITY = 64, MOST_COLUMNS = 8 };

void fuzz_text(const uint8_t *data, size_t size) {
    if (size == 0) return;
    const int64_t dimension = 1 + data[0] % MOST_COLUMNS;
    const char *text = (const char *)data + 1;
    const int64_t length = (int64_t)size - 1;
    float rows[CAPACITY * MOST_COLUMNS];
    int64_t words[CAPACITY * 2], read = -1, end = -1, start = 0;
    // As readers do: on from where it stopped, by a line.
    for (int turns = 0; start < length && turns < 20; turns++) {
        promise(ec_read_vectors(text + start, length - start, dimension, CAPACITY, rows, words, &read, &end) == EC_OK);
        promise(read >= 0 && read <= CAPACITY && end >= 0 && end <= length - start && (read > 0) == (end > 0));
        for (int64_t i = 0; i < read; i++) {
            promise(words[2 * i] < words[2 * i + 1] && words[2 * i + 1] < end);
            promise(i == 0 ? words[0] == 0 : words[2 * i] > words[2 * i - 1] && text[start + words[2 * i] - 1] == '\n');
            for (int64_t column = 0; column < dimension; column++) promise(isfinite(rows[i * dimension + column]));
        }
        start += end;
        while (read < CAPACITY && start < length && text[start++] != '\n') {}
    }
}
