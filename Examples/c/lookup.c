// Opens a table, looks rows up, pools bags of rows, and shows what errors say. The file may come from compress.c beside
// this one, from Python (table.save) or from Swift (table.save(to:)).
//
//     ./lookup table.safetensors
#include <embedcompress.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/// Prints the last error of this thread: a sentence for people, and the fields that a program acts upon.
static void print_error(void) {
    const ec_error *error = ec_last_error();
    fprintf(stderr, "error: %s\n", error->message);
    switch (error->status) {
    case EC_INVALID_ID:
        fprintf(stderr, "  id %lld at position %lld; the table has %lld rows\n", (long long)error->id,
                (long long)error->position, (long long)error->rows);
        break;
    case EC_FORMAT: fprintf(stderr, "  rule %s, file '%s'\n", error->rule, error->path); break;
    case EC_IO: fprintf(stderr, "  errno %d, file '%s'\n", (int)error->system_errno, error->path); break;
    default: break;
    }
}

/// Ends the program unless a call succeeded.
static void check(ec_status status) {
    if (status == EC_OK) return;
    print_error();
    exit(EXIT_FAILURE);
}

/// Room for `rows` rows of floats.
static float *new_rows(int64_t rows, int64_t dimension) {
    float *values = malloc((size_t)(rows * dimension) * sizeof *values);
    if (values != NULL) return values;
    fprintf(stderr, "error: out of memory\n");
    exit(EXIT_FAILURE);
}

static void print_rows(const char *title, const float *values, int64_t rows, int64_t dimension) {
    printf("%s\n", title);
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t column = 0; column < dimension; column++) {
            // Nine digits tell every float from every other.
            printf("%s%.9g", column == 0 ? "" : " ", (double)values[row * dimension + column]);
        }
        printf("\n");
    }
}

int main(int count, char **arguments) {
    if (count != 2) {
        fprintf(stderr, "usage: %s FILE\n", arguments[0]);
        return 2;
    }
    const char *path = arguments[1];
    printf("embedcompress %s for %s\n", ec_version(), ec_isa());

    // Opened by memory map (1), so this takes no longer for a large file; NULL stands for the only table in it.
    ec_table *table = NULL;
    check(ec_load(path, NULL, 1, &table));
    int64_t dimension = ec_table_dimension(table);
    printf("%lld rows of %lld in %lld bytes\n", (long long)ec_table_rows(table), (long long)dimension,
           (long long)ec_table_stored_bytes(table));

    // Ids are int32_t or int64_t, which the size of one says. EC_RAISE makes an error of an id that the table doesn't
    // have; EC_ZERO would give zeros.
    const int32_t ids[] = {3, 1, 4, 1, 5};
    float *rows = new_rows(5, dimension);
    check(ec_table_lookup(table, ids, sizeof ids[0], 5, EC_RAISE, rows));
    print_rows("rows 3, 1, 4, 1, 5:", rows, 5, dimension);

    // Bag b holds the ids from offsets[b] up to offsets[b + 1]; here rows 3 and 1, then rows 4, 1 and 5.
    const int32_t offsets[] = {0, 2};
    const ec_bags bags = {
        .ids = ids, .id_bytes = sizeof ids[0], .id_count = 5,
        .offsets = offsets, .offset_bytes = sizeof offsets[0], .offset_count = 2,
        .mode = EC_SUM, .on_invalid = EC_RAISE, .padding_id = -1,
    };
    float *sums = new_rows(2, dimension);
    check(ec_table_bag(table, &bags, sums));
    print_rows("sums of rows 3 and 1, and of rows 4, 1 and 5:", sums, 2, dimension);

    // A program decides by the status and the fields. Nothing is written to `rows` by a call that fails.
    const int64_t beyond[] = {0, ec_table_rows(table)};
    if (ec_table_lookup(table, beyond, sizeof beyond[0], 2, EC_RAISE, rows) == EC_INVALID_ID) print_error();
    ec_table *none = NULL;
    if (ec_load("no such file", NULL, 1, &none) == EC_IO) print_error();

    free(sums);
    free(rows);
    ec_table_release(table);
    return 0;
}
