// Compresses a matrix of floats to 4 bits a value, writes it to a file, and reads it back.
//
//     ./compress table.safetensors
#include <embedcompress.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 1000, DIMENSION = 16 };

/// Ends the program with the last error's sentence unless a call succeeded.
static void check(ec_status status) {
    if (status == EC_OK) return;
    fprintf(stderr, "error: %s\n", ec_last_error()->message);
    exit(EXIT_FAILURE);
}

/// The library calls it now and then during long work; a value other than 0 would stop the call.
static int32_t show(int64_t done, int64_t total, void *context) {
    (void)context;
    fprintf(stderr, "\r%lld of %lld", (long long)done, (long long)total);
    if (done == total) fprintf(stderr, "\n");
    return 0;
}

int main(int count, char **arguments) {
    if (count != 2) {
        fprintf(stderr, "usage: %s FILE\n", arguments[0]);
        return 2;
    }
    const char *path = arguments[1];

    // Any matrix, row after row.
    static float weight[ROWS * DIMENSION];
    for (int i = 0; i < ROWS * DIMENSION; i++) weight[i] = (float)(i * 37 % 101 - 50) / 8;

    // The library reads the matrix where it lies. The two nulls are a function that it would call, and that function's
    // argument, when it no longer needs the memory; this program keeps it to its end.
    ec_table *source = NULL, *table = NULL, *again = NULL;
    check(ec_table_dense(weight, EC_F32, ROWS, DIMENSION, NULL, NULL, &source));

    // The first null is for weights, a table that says how much each row counts; the second, with its 0, for options that
    // are arrays; and -1 says that the source is all there is, not a sample.
    check(ec_table_compress(source, NULL, "least_squares", "{\"bits\": 4}", NULL, 0, -1, show, NULL, &table));
    ec_string description = {NULL, 0};
    check(ec_table_description(table, &description));
    printf("%s\n", description.bytes);
    ec_string_release(description);

    // No query rows: the recall of neighbours, which would be of 10, is not measured.
    ec_quality quality;
    check(ec_table_evaluate(table, source, 0, 10, 0, NULL, NULL, &quality));
    printf("normalized l2 %.4f, cosine %.4f\n", quality.normalized_l2, quality.mean_cosine);

    // A file holds any number of tables under names, and plain arrays beside them, of which there are none here. It appears
    // complete or not at all.
    const char *const names[] = {"table"};
    const ec_table *const tables[] = {table};
    check(ec_save(path, tables, names, 1, NULL, 0, "{\"from\": \"C\"}", NULL, NULL, NULL));
    check(ec_load(path, "table", 1, &again));
    static float before[ROWS * DIMENSION], after[ROWS * DIMENSION];
    check(ec_table_decode(table, 0, ROWS, before));
    check(ec_table_decode(again, 0, ROWS, after));
    int differing = 0;
    for (int i = 0; i < ROWS * DIMENSION; i++) differing += before[i] != after[i];
    printf("%d of %d values differ after reading back\n", differing, ROWS * DIMENSION);

    // In any order: a table keeps what it needs of another one.
    ec_table_release(source);
    ec_table_release(again);
    ec_table_release(table);
    return differing == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
