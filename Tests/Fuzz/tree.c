// A case is a byte, text up to a zero byte, and arrays. The byte is 0 for the tree of a table, or the number of a kind that
// is put together by hand, of which the text is the fields. An array is its type, its rank and its axes of two bytes
// each; it is called by its number, or by the name at its place in `names` where a table is put together. Its elements
// are the case's last bytes, again and again.
#include <stdio.h>
#include <string.h>

#include "fuzz.h"

enum { most_arrays = 12, most_axes = 4, most_bytes = 1 << 18 };

static const char *const kinds[] = {
    "dense", "uniform", "codebook", "product", "sparse", "shared_array", "tensor_train",
    "hash_network", "remap", "combine", "columns", "partition", "project", "rotate", "normalize",
};
static const uint8_t kind_count = sizeof kinds / sizeof kinds[0];
/// The arrays that each kind takes, in the order of `kinds`.
static const char *const names[][7] = {
    {"values"}, {"codes", "scales", "biases"}, {"codes", "codebooks", "clusters", "scales"},
    {"codes", "codebook0", "codebook1", "codebook2"}, {"matrix", "data", "indices", "indptr", "row_indices"}, {"array"},
    {"core0", "core1", "core2"}, {"factors", "summands", "moduli", "weights0", "biases0", "weights1", "biases1"}, {"map"},
    {NULL}, {NULL}, {"assignment"}, {"matrix", "bias"}, {"offset"}, {NULL},
};
static const int64_t widths[] = {1, 1, 2, 2, 2, 2, 4, 4, 4, 8, 8, 8};

typedef struct arrays {
    ec_array list[most_arrays];
    int64_t shapes[most_arrays][most_axes];
    char names[most_arrays][4];
    int64_t count;
} arrays;

static void release(void *context) {
    arrays *held = context;
    for (int64_t index = 0; index < held->count; index++) free((void *)held->list[index].data);
    free(held);
}

static arrays *read_arrays(const uint8_t *data, size_t size, uint8_t kind) {
    arrays *read = calloc(1, sizeof *read);
    promise(read != NULL);
    size_t at = 0;
    while (read->count < most_arrays && at + 2 <= size) {
        const int64_t index = read->count;
        const ec_dtype dtype = data[at] % (sizeof widths / sizeof widths[0]);
        const int32_t rank = data[at + 1] % (most_axes + 1);
        at += 2;
        int64_t bytes = widths[dtype];
        for (int32_t axis = 0; axis < rank && at + 2 <= size; axis++, at += 2) {
            read->shapes[index][axis] = data[at] | data[at + 1] << 8;
            bytes *= read->shapes[index][axis];
            if (bytes > most_bytes) return read;
        }
        // Memory of just these bytes, so that reading past it is found.
        uint8_t *elements = malloc(bytes > 0 ? (size_t)bytes : 1);
        promise(elements != NULL);
        const size_t pattern = size < 64 ? size : 64;
        for (int64_t byte = 0; byte < bytes; byte++) elements[byte] = data[size - pattern + (size_t)byte % pattern];
        const char *name = NULL;
        if (kind > 0 && index < 7) name = names[kind - 1][index];
        snprintf(read->names[index], sizeof read->names[index], "%d", (int)index);
        read->list[index] = (ec_array){
            .name = name != NULL ? name : read->names[index],
            .dtype = dtype,
            .rank = rank,
            .shape = read->shapes[index],
            .data = elements,
        };
        read->count += 1;
    }
    return read;
}

void fuzz_tree(const uint8_t *data, size_t size) {
    if (size == 0) return;
    const uint8_t kind = data[0] % (kind_count + 1);
    const uint8_t *end = memchr(data + 1, 0, size - 1);
    const size_t length = end != NULL ? (size_t)(end - data - 1) : size - 1;
    char *text = malloc(length + 1);
    promise(text != NULL);
    memcpy(text, data + 1, length);
    text[length] = 0;
    int64_t bytes = -1;
    promise(ec_plan_bytes(text, &bytes) != EC_OK || bytes >= 0);
    arrays *given = end != NULL ? read_arrays(end + 1, size - length - 2, kind) : read_arrays(NULL, 0, kind);
    static const float values[4 * 8] = {1, -2, 3};
    ec_table *children[2] = {NULL, NULL};
    ec_table *table = NULL;
    ec_status status;
    if (kind == 0) {
        status = ec_table_assemble(text, given->list, given->count, release, given, &table);
    } else {
        for (int child = 0; child < 2; child++) {
            promise(ec_table_dense(values, EC_F32, 4, 8, NULL, NULL, &children[child]) == EC_OK);
        }
        const int64_t child_count = kind >= 9 ? (kind == 9 || kind >= 13 ? 1 : 2) : 0;
        status = ec_table_compose(
            kinds[kind - 1], text, given->list, given->count, (const ec_table *const *)children, child_count, release,
            given, &table);
    }
    if (status == EC_OK) {
        use_table(table);
        ec_table_release(table);
    } else {
        release(given);
    }
    ec_table_release(children[0]);
    ec_table_release(children[1]);
    free(text);
}
