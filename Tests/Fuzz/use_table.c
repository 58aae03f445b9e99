#include "fuzz.h"

enum { id_count = 5, most_values = 1 << 18, small = 4096 };

static void describe(const ec_table *table) {
    ec_string text;
    if (ec_table_description(table, &text) == EC_OK) ec_string_release(text);
    if (ec_table_expression_summary(table, &text) == EC_OK) ec_string_release(text);
    if (ec_table_row_layouts(table, &text) == EC_OK) ec_string_release(text);
    promise(ec_table_tree(table, &text) == EC_OK);
    ec_string_release(text);
    for (int64_t index = 0; index < ec_table_array_count(table); index++) {
        ec_array array;
        promise(ec_table_array(table, index, &array) == EC_OK);
    }
}

static void look_up(const ec_table *table, int64_t rows, int64_t dimension) {
    // Memory of just the size that is written, so that more is found.
    float *out = malloc((size_t)(id_count * dimension) * sizeof *out);
    promise(out != NULL);
    const int64_t ids[id_count] = {0, rows - 1, rows / 2, rows / 3, 0};
    ec_table_lookup(table, ids, 8, id_count, EC_RAISE, out);
    for (int mode = EC_SUM; mode <= EC_MAX; mode++) {
        const int64_t offsets[] = {0, 2, 2};
        const ec_bags bags = {
            .ids = ids, .offsets = offsets, .id_count = id_count, .offset_count = 3, .padding_id = -1, .id_bytes = 8,
            .offset_bytes = 8, .mode = (ec_mode)mode, .on_invalid = EC_RAISE,
        };
        ec_table_bag(table, &bags, out);
    }
    ec_table_decode(table, 0, rows < id_count ? rows : id_count, out);
    const int64_t invalid[] = {rows, -1};
    promise(ec_table_lookup(table, invalid, 8, 2, EC_RAISE, out) != EC_OK);
    ec_table_lookup(table, invalid, 8, 2, EC_ZERO, out);
    ec_table *slice;
    if (ec_table_slice(table, rows / 2, rows, &slice) == EC_OK) {
        const int32_t first = 0;
        ec_table_lookup(slice, &first, 4, 1, EC_RAISE, out);
        ec_table_release(slice);
    }
    free(out);
}

void use_table(const ec_table *table) {
    const int64_t rows = ec_table_rows(table), dimension = ec_table_dimension(table);
    promise(rows >= 0 && dimension >= 1 && ec_table_stored_bytes(table) >= 0);
    describe(table);
    if (rows == 0) return;
    if (dimension <= most_values / id_count) look_up(table, rows, dimension);
    if (rows > small || rows * dimension > small) return;
    ec_quality quality;
    ec_table_evaluate(table, table, 2, 2, 1, NULL, NULL, &quality);
    ec_table *made;
    if (ec_table_align(table, 64, NULL, NULL, &made) == EC_OK) ec_table_release(made);
    if (ec_table_compress(table, NULL, "asym", NULL, NULL, 0, -1, NULL, NULL, &made) == EC_OK) ec_table_release(made);
}
