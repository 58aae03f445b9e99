// The C ABI of embedcompress: this header is its single statement. docs/c.md says how to install and to link it.
//
// Errors: every function that can fail returns an ec_status. When that is not EC_OK, ec_last_error() says what happened in
// the calling thread, and no output argument has been written, unless the function says otherwise. A program decides by the
// status and by the error's fields; its message is for people, and changes.
//
// Ownership: an ec_table that a function hands out through an `out` argument belongs to the caller, who gives it to
// ec_table_release exactly once. A table that was made from another one (slice, align, compose) keeps alive what it needs
// of it. An ec_string that a function hands out is given to ec_string_release exactly once. Lent memory (dense, compose)
// stays the caller's, who must not change or free it before `release` is called.
//
// Threads: every function may be called from any thread, at any time. Tables are immutable, and any number of threads may
// use the same one at once. What is not safe is what is not safe with free(): to release a table while another thread uses
// it, or two calls that write to the same memory. A long call shares its work among ec_get_num_threads() threads that the
// library keeps; callbacks for progress come from the thread that made the call. In a child after fork() the library
// works as before; where a callback for progress forks, the call goes on in both processes.
//
// Memory: what is refused is EC_OUT_OF_MEMORY, never the end of the process. A lookup takes at most 64 MiB of scratch on each
// thread that works on it, beside 5 MiB for its blocks; a table that would need more is EC_FORMAT when it is made or opened.
//
// Sizes and counts are int64_t and never negative. Pointers may be null only where the text says so or where the count
// that goes with them is 0; functions that return a status refuse others with EC_INVALID_ARGUMENT, and functions that
// return a number answer 0 for a table that is null.
//
// What stays: within one EC_ABI_VERSION, which is the number in the library's run-time name (libembedcompress.so.0), a
// program that was compiled with an older header runs with a newer library. Functions keep their names, arguments and
// meaning; structures keep their layout; enumerations and their values, and keys of JSON, are never renamed, renumbered
// or removed. The library grows by functions, by structures beside those there are, and by values at the end of
// enumerations and keys in JSON objects, so a program must accept values and keys that it does not know where the library
// answers with them. EC_VERSION_MINOR rises with each addition. EC_ABI_VERSION rises with whatever breaks this, and
// libraries of two numbers can be installed side by side. ec_error, which only the library makes, may get fields at its
// end. The layout of ec_table is nobody's business but the library's.
#ifndef EMBEDCOMPRESS_H
#define EMBEDCOMPRESS_H

#include <stdint.h>

/// The version that this header belongs to; ec_version() says that of the library that the program runs with.
#define EC_VERSION_MAJOR 0
#define EC_VERSION_MINOR 1
#define EC_VERSION_PATCH 0
/// The number in the library's run-time name.
#define EC_ABI_VERSION 0

#ifdef __cplusplus
extern "C" {
#endif

/// Outcome of a call. Values are frozen; new ones are appended.
typedef enum ec_status {
    EC_OK = 0,
    /// An argument that no such call can accept.
    EC_INVALID_ARGUMENT = 1,
    /// An id outside [0, rows).
    EC_INVALID_ID = 2,
    /// A file, or parts, that are not a valid table.
    EC_FORMAT = 3,
    /// A budget below the least that the method can reach.
    EC_BUDGET = 4,
    /// A system call on a file failed; the error's system_errno says how.
    EC_IO = 5,
    /// The progress callback asked to stop.
    EC_CANCELLED = 6,
    EC_OUT_OF_MEMORY = 7,
    /// Not one of the above: an error of this library's own.
    EC_INTERNAL = 8
} ec_status;

/// Element types of arrays that cross the ABI.
typedef enum ec_dtype {
    EC_U8 = 0,
    EC_I8 = 1,
    EC_U16 = 2,
    EC_I16 = 3,
    EC_F16 = 4,
    EC_BF16 = 5,
    EC_U32 = 6,
    EC_I32 = 7,
    EC_F32 = 8,
    EC_U64 = 9,
    EC_I64 = 10,
    EC_F64 = 11,
    // The types from here on are those of tensors in files; no table has arrays of them.
    EC_BOOL = 12,
    EC_C64 = 13,
    EC_F8_E4M3 = 14,
    EC_F8_E5M2 = 15,
    EC_F8_E4M3FNUZ = 16,
    EC_F8_E5M2FNUZ = 17,
    EC_F8_E8M0 = 18
} ec_dtype;

/// How a bag's rows are put together.
typedef enum ec_mode { EC_SUM = 0, EC_MEAN = 1, EC_MAX = 2 } ec_mode;

/// What happens to an id outside [0, rows).
typedef enum ec_on_invalid {
    /// EC_INVALID_ID, and nothing is written.
    EC_RAISE = 0,
    /// A row of zeros, counted.
    EC_ZERO = 1
} ec_on_invalid;

/// A compressed table: an expression of stores and routes.
typedef struct ec_table ec_table;
/// UTF-8 text; `bytes` is null-terminated, `count` excludes the terminator.
typedef struct ec_string {
    const char *bytes;
    int64_t count;
} ec_string;

/// Called now and then from the thread that made the call, with 0 <= done <= total. A value other than 0 stops the
/// call, which returns EC_CANCELLED and leaves nothing behind. Null where no progress is wanted.
typedef int32_t (*ec_progress)(int64_t done, int64_t total, void *context);
/// Called once, from any thread, when the last table on a lent buffer is gone. Null when nothing needs to be done.
typedef void (*ec_release)(void *context);

/// An array that a table is built on or made of.
typedef struct ec_array {
    const char *name;
    ec_dtype dtype;
    int32_t rank;
    const int64_t *shape;
    const void *data;
} ec_array;

// MARK: - Errors and text

/// What a call that failed has to say. Texts are never null: "" where there is none, as for fields of other statuses.
typedef struct ec_error {
    ec_status status;
    /// One sentence, for people.
    const char *message;
    /// EC_INVALID_ID: the id, where it stands among the flattened ids, and the rows that its table has.
    int64_t id;
    int64_t position;
    /// The feature whose table it is in ec_tables_bag; -1 elsewhere.
    int64_t feature;
    int64_t rows;
    /// EC_BUDGET: the method, the budget, and the least bytes that the method can reach.
    const char *method;
    int64_t budget_bytes;
    int64_t floor_bytes;
    /// EC_IO and EC_FORMAT: the file; "" where parts in memory are at fault, or where only a lookup found it.
    const char *path;
    /// EC_FORMAT: which rule is broken, such as "header_too_large". Names are stable; new ones may be added.
    const char *rule;
    /// EC_IO: errno of the system call; EINVAL for what is no regular file.
    int32_t system_errno;
} ec_error;

/// The last failed call on this thread; of status EC_OK when there was none. Valid until this thread's next call.
const ec_error *ec_last_error(void);
void ec_string_release(ec_string text);

// MARK: - Library

/// "0.1.0": EC_VERSION_MAJOR, EC_VERSION_MINOR and EC_VERSION_PATCH of the header that the library was compiled with.
const char *ec_version(void);
/// The instruction set that this build was compiled for: "x86-64-v2", "x86-64-v3", "x86-64-v4", "x86-64", "arm64", or "plain"
/// where it names no instruction of any.
const char *ec_isa(void);
/// The most threads that one call uses, at least 1. The initial value is OMP_NUM_THREADS or the number of processors.
ec_status ec_set_num_threads(int64_t count);
int64_t ec_get_num_threads(void);
/// For tests of what happens where memory is refused: the allocation after the next `count` of those whose size others
/// decide fails, once, in whichever thread makes it; a negative `count` takes that back. Returns how many were still to
/// succeed before the call: negative if the one that was to fail has failed, or none was to.
int64_t ec_refuse_allocation(int64_t count);
/// The catalogue: every method as a JSON array. An entry has "name", "title", "family", "stage" ("after training" or
/// "while training"), "paper", "summary", "bytesPerRow", "cost" and "options"; one of these has "name", "type" (such as
/// "integer", "number", "choice" or "flag"), "minimum", "maximum", "choices" (each null if there is none), "default",
/// "values" (what it takes, in words) and "summary". A name may stand in both stages.
ec_status ec_methods(ec_string *out);
/// The name of a method of a stage that is spelled in any way, such as "kmeans_cls" for "KMEANS-CLS".
ec_status ec_method_name(const char *method, const char *stage, ec_string *out);
/// Checks the options of a call, a JSON object; gives the values of all of the method's options, with defaults for those
/// that are not given, as another.
ec_status ec_method_options(const char *method, const char *stage, const char *options, ec_string *out);
/// Adds a method that is trained elsewhere to the catalogue: `entry` is a JSON object as ec_methods has it.
ec_status ec_method_register(const char *entry);

// MARK: - Making tables

/// A dense table on lent memory: rows x dimension values, row after row, of EC_F32, EC_F16 or EC_BF16. On failure
/// `release` is not called.
ec_status ec_table_dense(
    const void *data, ec_dtype dtype, int64_t rows, int64_t dimension, ec_release release, void *context,
    ec_table **out);
/// Compresses `source` with the method of that name. `weights`, of as many rows and of one column or of as many, says
/// how much an error counts, for methods that minimise one; null means all alike. `options` is a JSON object of the
/// method's options; null means {}. Options that are arrays, such as a number for each row, are named in `arrays`:
/// of one axis and any type but EC_BF16, read before the call returns. `counted_rows` is negative, or the rows that a
/// budget is for where `source` is a sample of them; the result then has the knobs that the budget means for so many.
ec_status ec_table_compress(
    const ec_table *source, const ec_table *weights, const char *method, const char *options, const ec_array *arrays,
    int64_t array_count, int64_t counted_rows, ec_progress progress, void *context, ec_table **out);
/// Builds an expression from the tree (the JSON that files hold) and its arrays, on lent memory. On failure `release`
/// is not called.
ec_status ec_table_assemble(
    const char *tree, const ec_array *arrays, int64_t count, ec_release release, void *context, ec_table **out);
/// Rows [start, stop) as a table that shares this one's memory.
ec_status ec_table_slice(const ec_table *table, int64_t start, int64_t stop, ec_table **out);
/// The table with each row at a multiple of `row_alignment` bytes: 1, 2, 4, 8, 16, 32 or 64. Rows are copied into memory
/// that starts at a cache line, unless they lie so already.
ec_status ec_table_align(
    const ec_table *table, int64_t row_alignment, ec_progress progress, void *context, ec_table **out);
/// A table whose root is one store or route, put together by hand: the header of each kind in docs/format.md, "Putting
/// tables together", lists what it takes.
///
/// `fields` is a JSON object of plain values; null means {}. `arrays` are in their natural form: codes are a matrix of
/// integers, maps and assignments are integers of any type; the core packs them. What already lies as the store holds it
/// (rows of a dense table, cores, a matrix in f32) is used where it lies. `children` are the inner tables in order, used
/// as they are: what is mapped stays mapped, memory is shared, and each may be released after the call.
///
/// `release` is called once, when nothing uses the memory of the arrays any more, which can be before this returns. On
/// failure it is not called.
ec_status ec_table_compose(
    const char *kind, const char *fields, const ec_array *arrays, int64_t array_count,
    const ec_table *const *children, int64_t child_count, ec_release release, void *context, ec_table **out);
/// The bytes of a table that is described and not made: `tree` is the JSON of ec_table_tree without `tensors`, but for
/// arrays that a node may lack, and without the fields of slices. `bytes` is what ec_table_stored_bytes would give, with
/// no array that several nodes are on.
ec_status ec_plan_bytes(const char *tree, int64_t *bytes);
/// Null does nothing.
void ec_table_release(ec_table *table);

// MARK: - Asking tables

int64_t ec_table_rows(const ec_table *table);
int64_t ec_table_dimension(const ec_table *table);
/// Every byte of the expression. An array that several of its nodes are on, as slices of a table are, counts once.
int64_t ec_table_stored_bytes(const ec_table *table);
/// How many ids this table has answered with zeros under EC_ZERO.
int64_t ec_table_invalid_count(const ec_table *table);
/// The expression as a tree with bytes, for people.
ec_status ec_table_description(const ec_table *table, ec_string *out);
/// The expression in a line, such as "project(rank=37, uniform(bits=8))".
ec_status ec_table_expression_summary(const ec_table *table, ec_string *out);
/// What the method that this table comes from chose for options that leave it to it, such as "auto", as a JSON array:
/// {"option", "value", "candidates": [{"value", and figures by name; null where infinite}]}. Files and slices don't have it.
ec_status ec_table_choices(const ec_table *table, ec_string *out);
/// The expression as the JSON that ec_table_assemble takes; each node also has rows, dimension and bytes.
ec_status ec_table_tree(const ec_table *table, ec_string *out);
/// Where rows lie among cache lines of 64 bytes, and what ec_table_align would give: a JSON array with, for each store of
/// rows, its "path" ("" or such as "inner"), "rows", "unpadded_row_bytes", "current" and "choices"; the last two say
/// "row_alignment", "row_bytes", "lines_per_row" and "stored_bytes".
ec_status ec_table_row_layouts(const ec_table *table, ec_string *out);
int64_t ec_table_array_count(const ec_table *table);
/// The index-th of the arrays that ec_table_assemble takes. Its pointers are valid as long as the table is. Who writes to
/// the array of a mapped table changes the table, and not the file.
ec_status ec_table_array(const ec_table *table, int64_t index, ec_array *out);

// MARK: - Fused rows

/// A table of rows that PyTorch, FBGEMM or TBE quantized: codes of 8, 4 or 2 bits, a scale and a bias in each row. `layout`
/// is "torch", "fbgemm" or "tbe", `scale_dtype` "f16", "f32" or null for what the layout has, and `row_alignment` 1
/// except for "tbe", whose rows are padded to a multiple of so many bytes. Rows with the scale last are used where they
/// lie; those of "tbe" are copied. `release` is called once the memory is no longer used; not on failure.
ec_status ec_table_from_fused_rows(
    const void *data, int64_t rows, int64_t row_bytes, int64_t dimension, int64_t bits, const char *layout,
    const char *scale_dtype, int64_t row_alignment, ec_release release, void *context, ec_table **out);
/// The bytes of a row that ec_table_fused_rows writes; `data` becomes where the rows lie if the table's memory has them
/// just so, which is valid as long as the table is, or null.
ec_status ec_table_fused_row_bytes(
    const ec_table *table, const char *layout, int64_t row_alignment, int64_t *row_bytes, const void **data);
/// The rows of a table of codes with a scale and a bias in each, as a layout has them; `out` has room for all.
ec_status ec_table_fused_rows(const ec_table *table, const char *layout, int64_t row_alignment, uint8_t *out);

// MARK: - Quantizing in groups

/// Which elements of a matrix share a scale and a bias, and how they are stored.
typedef struct ec_groups {
    /// "tensor": one group. "rows", "columns": groups of consecutive rows or columns. "blocks": blocks of columns within
    /// each row.
    const char *kind;
    /// How many groups of rows or columns, at least 1: each has ceil(rows or columns / groups) of them.
    int64_t groups;
    /// Columns of a block, a multiple of 8; 0 for the row.
    int64_t block;
    /// Of a code, 1 to 8.
    int64_t bits;
    /// Of scales and biases, "f16" or "f32"; they are always f32 with "tensor".
    const char *scale_dtype;
} ec_groups;

/// The rows and columns of a group of a matrix, but for smaller ones at the ends, and how many groups there are.
ec_status ec_group_shape(
    const ec_groups *groups, int64_t rows, int64_t columns, int64_t *group_rows, int64_t *group_columns,
    int64_t *count);
/// The bytes that a matrix takes.
ec_status ec_group_bytes(const ec_groups *groups, int64_t rows, int64_t columns, int64_t *bytes);
/// The scale and the bias of each group, line by line, as they are stored. `ranges` is "min_max" or "least_squares".
/// `scales` and `biases` have room for all groups; on failure their content is undefined.
ec_status ec_group_ranges(
    const ec_table *source, const ec_groups *groups, const char *ranges, ec_progress progress, void *context,
    float *scales, float *biases);
/// A table of the codes that are nearest to the source's values under `count` scales and biases, one for each group.
ec_status ec_group_encode(
    const ec_table *source, const ec_groups *groups, const float *scales, const float *biases, int64_t count,
    ec_progress progress, void *context, ec_table **out);
/// The same with the ranges that ec_group_ranges gives.
ec_status ec_group_quantize(
    const ec_table *source, const ec_groups *groups, const char *ranges, ec_progress progress, void *context,
    ec_table **out);

// MARK: - Looking up

/// out[i, :] = row ids[i], f32. `ids` are int32 or int64 by `id_bytes` (4 or 8). out holds count x dimension floats.
ec_status ec_table_lookup(
    const ec_table *table, const void *ids, int32_t id_bytes, int64_t count, ec_on_invalid on_invalid, float *out);

/// out[i] = the row of a remap's inner table that ids[i] stands for, or -1 for zeros. EC_INVALID_ARGUMENT if the outermost
/// node is no remap. out holds count numbers.
ec_status ec_table_inner_rows(
    const ec_table *table, const void *ids, int32_t id_bytes, int64_t count, int64_t *out);

/// A pooled lookup: bag b is ids[offsets[b] ..< offsets[b + 1]].
typedef struct ec_bags {
    const void *ids;
    const void *offsets;
    /// f32, one for each id; null for all ones. Only with EC_SUM.
    const float *weights;
    int64_t id_count;
    /// Entries in `offsets`: one for each bag, and one more when include_last_offset is not 0.
    int64_t offset_count;
    /// Ids equal to this are left out; negative for none.
    int64_t padding_id;
    /// 4 or 8.
    int32_t id_bytes;
    int32_t offset_bytes;
    int32_t include_last_offset;
    ec_mode mode;
    ec_on_invalid on_invalid;
} ec_bags;

/// out holds (number of bags) x dimension floats; an empty bag gives zeros.
ec_status ec_table_bag(const ec_table *table, const ec_bags *bags, float *out);
/// A pooled lookup of `count` features at once, at least one; tables[f] is that of feature f, and may be that of several.
/// bags->offsets has count x batch + 1 entries, include_last_offset is set, padding_id is negative: the bag of feature f
/// and sample s is ids[offsets[f * batch + s] ..< offsets[f * batch + s + 1]]. out holds batch x (sum of the features'
/// dimensions) floats: in the row of a sample, a feature's columns follow those of the features before it.
ec_status ec_tables_bag(const ec_table *const *tables, int64_t count, const ec_bags *bags, float *out);
/// Reads a byte of every cache line that the rows of `ids` occupy, and does nothing else: the time that no lookup goes
/// below. `checksum` is the sum of the bytes at 0, 64, 128 and so on, and of the last one, of each row. Only for a table
/// that is one store of rows.
ec_status ec_table_touch(
    const ec_table *table, const void *ids, int32_t id_bytes, int64_t id_count, int64_t *checksum);
/// out[i, :] = row start + i, for rows [start, stop).
ec_status ec_table_decode(const ec_table *table, int64_t start, int64_t stop, float *out);
/// out[v, i] = bias[i] + the product of row start + i with vector v, in f32, for rows [start, stop): what a linear layer
/// computes whose matrix the table is. vectors is count x dimension; bias has stop - start numbers, or is null. The product
/// of a row and a vector depends on no other row, and on whether there are other vectors by rounding only.
ec_status ec_table_multiply(
    const ec_table *table, int64_t start, int64_t stop, const float *vectors, int64_t count, const float *bias,
    float *out);

/// codes[i, m] = the number of the centroid of part m that is nearest to columns [m * width, (m + 1) * width) of row i; of
/// several the first. rows is count x (parts * width), centroids parts x entries x width, codes count x parts.
ec_status ec_nearest_codes(
    const float *rows, int64_t count, const float *centroids, int64_t parts, int64_t entries, int64_t width,
    int32_t *codes);

/// out = scale * clamp(round((value - bias) / scale), 0, last) + bias of rows x columns values, where group_rows x
/// group_columns elements share a scale and a bias; those at the ends may be fewer. Where a scale isn't positive the code
/// is 0. scales and biases have a number for each group, line after line. kept is 1 where a value is not clipped, else 0;
/// clipped counts the latter.
ec_status ec_fake_quantize(
    const float *values, int64_t rows, int64_t columns, int64_t group_rows, int64_t group_columns, const float *scales,
    const float *biases, int32_t last, float *out, uint8_t *kept, int64_t *clipped);

/// The eigenvalues of a symmetric matrix of size x size numbers, row after row, of which the lower triangle is read:
/// rising, in `values`; and its eigenvectors, the columns of `vectors`, size x size. Memory for five such matrices.
ec_status ec_symmetric_eigenvectors(
    const double *matrix, int64_t size, double *values, double *vectors, ec_progress progress, void *context);

// MARK: - Training

/// How the rows of a table that is trained are stored: floats, or codes with a scale for each row.
typedef enum ec_row_format {
    EC_ROWS_F32 = 0,
    EC_ROWS_BF16 = 1,
    EC_ROWS_F16 = 2,
    /// Two's complement, low byte first.
    EC_ROWS_INT16 = 3,
    EC_ROWS_INT8 = 4,
    /// Codes plus 8, two a byte, the first in the low bits; of a row of odd dimension the last bits are 0.
    EC_ROWS_INT4 = 5
} ec_row_format;

/// How a row moves against its gradient: w is the row, g its gradient, t the step from 1 on, and mean that of a row. `decay`
/// is weight_decay; but for EC_ROWWISE_ADAM, decay * w is added to g first.
typedef enum ec_optimizer {
    /// w -= lr * g
    EC_SGD = 0,
    /// s += g^2 for each element; w -= lr * g / (sqrt(s) + eps). s is in element_state.
    EC_ADAGRAD = 1,
    /// s += mean(g^2); w -= lr / (sqrt(s) + eps) * g. s is in row_state.
    EC_ROWWISE_ADAGRAD = 2,
    /// v = beta2 * v + (1 - beta2) * mean(g^2); m = beta1 * m + (1 - beta1) * g for each element;
    /// w -= lr * (m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) + decay * w). m is in element_state, v in row_state.
    EC_ROWWISE_ADAM = 3
} ec_optimizer;

/// How an updated row becomes one of its format.
typedef enum ec_rounding {
    /// To the nearest, halves to even.
    EC_NEAREST = 0,
    /// To one of the two around a value, at random so that the mean is the value: small steps are lost sometimes, but not in
    /// the mean. Which of them depends on the seed, the step, the row and the column only.
    EC_STOCHASTIC = 1
} ec_rounding;

/// A table that is trained in the form in which it is stored, in a caller's memory. States are zeros at the start.
typedef struct ec_trained_rows {
    /// `rows` rows of `dimension` elements without gaps; a row begins at a byte.
    void *elements;
    /// Formats of codes: a number for each row, which the codes are multiplied by. A row whose scale is not positive and
    /// finite is one of zeros. Null for other formats.
    float *scales;
    /// rows x dimension numbers for the optimizers that say so; else null.
    float *element_state;
    /// A number for each row for the optimizers that say so; else null.
    float *row_state;
    int64_t rows;
    int64_t dimension;
    ec_row_format format;
} ec_trained_rows;

typedef struct ec_row_step {
    ec_optimizer optimizer;
    ec_rounding rounding;
    /// Finite and not negative, as eps and weight_decay are. Those that an optimizer has no use for are 0.
    double learning_rate;
    double eps;
    /// At least 0, and below 1.
    double beta1;
    double beta2;
    double weight_decay;
    int64_t seed;
    /// From 1 on.
    int64_t step;
} ec_row_step;

/// How rows that are written become those of their format.
typedef struct ec_row_rounding {
    ec_rounding rounding;
    /// How far scales move; finite and not negative.
    double scale_rate;
    int64_t seed;
    /// From 1 on.
    int64_t step;
} ec_row_rounding;

/// out[i, :] = row ids[i], f32; nothing is written for an id outside [0, rows). `ids` are int32 or int64 by `id_bytes`.
ec_status ec_trained_rows_gather(
    const ec_trained_rows *table, const void *ids, int32_t id_bytes, int64_t count, float *out);
/// Steps the rows of `ids` against `gradients`, count x dimension numbers, each row once: the gradients of an id that is
/// there several times are added up first, in their order. Rows are updated in f32 and then rounded; the scale of a row of
/// codes doubles as long as a value is beyond the codes; of 4 bits, it becomes what the row fits in where it is less or more
/// than twice that. The same bits for any number of threads. On failure, such as
/// EC_INVALID_ID for an id outside [0, rows) or EC_INVALID_ARGUMENT for a gradient that is not finite, nothing is written.
/// Gradients overlap no memory of the table; nobody else uses that during the call.
ec_status ec_trained_rows_step(
    const ec_trained_rows *table, const void *ids, int32_t id_bytes, int64_t count, const float *gradients,
    const ec_row_step *step);
/// out[b, :] = the sum or the mean of the rows of bag b, f32; an empty bag gives zeros. padding_id is negative, on_invalid
/// EC_RAISE, and weights are finite: nothing is written otherwise, nor for an id outside [0, rows).
ec_status ec_trained_rows_pool(const ec_trained_rows *table, const ec_bags *bags, float *out);
/// Steps the rows of bags, as ec_trained_rows_step does, against the gradients of what ec_trained_rows_pool gives for them,
/// (number of bags) x dimension numbers: an id has the gradient of its bag, times its weight or over the bag's length.
ec_status ec_trained_rows_step_bags(
    const ec_trained_rows *table, const ec_bags *bags, const float *gradients, const ec_row_step *step);
/// The same for `table_count` tables as one, at least one, of one dimension: the rows of each follow those of the one before
/// it, and ids are from 0 to all rows. Formats may differ. Rows of tables[k] are rounded with the seed plus k, and by the
/// number that they have in their own table. A bag's rows are added up table after table. On failure nothing is written to
/// any table.
ec_status ec_trained_tables_gather(
    const ec_trained_rows *tables, int64_t table_count, const void *ids, int32_t id_bytes, int64_t count, float *out);
ec_status ec_trained_tables_step(
    const ec_trained_rows *tables, int64_t table_count, const void *ids, int32_t id_bytes, int64_t count,
    const float *gradients, const ec_row_step *step);
ec_status ec_trained_tables_pool(
    const ec_trained_rows *tables, int64_t table_count, const ec_bags *bags, float *out);
ec_status ec_trained_tables_step_bags(
    const ec_trained_rows *tables, int64_t table_count, const ec_bags *bags, const float *gradients,
    const ec_row_step *step);

/// Which of two tables each row of a whole is in. Places are ids of ec_trained_tables: the first table's rows come before
/// the second's, and those of each keep their order.
typedef struct ec_divided_rows {
    int64_t rows;
    /// A bit for each row, the lowest of a word first, which is 1 for those of the second table, and 0 beyond the rows; and
    /// how many ones are in the words before each. (rows + 63) / 64 of both. Null if runs say it.
    const uint64_t *flags;
    const int32_t *before;
    /// Without flags: where each run of rows ends, rising, the last one at `rows`; and the place of its rows minus their id.
    const int64_t *ends;
    const int64_t *shifts;
    int64_t run_count;
} ec_divided_rows;

/// out[i] = the place of ids[i]. On failure, such as EC_INVALID_ID for an id outside [0, rows), nothing is written.
ec_status ec_divided_rows_places(
    const ec_divided_rows *rows, const void *ids, int32_t id_bytes, int64_t count, int64_t *out);
/// Row ids[i] = values[i, :], rounded; values beyond the codes become the last of them, NaN
/// the least. `ids` rise. With slopes g of rows of
/// codes, count x dimension numbers, or null, the scale s of a row w is learnt first: if it is less than half or more than
/// twice of what the row fits in, it becomes that; then, with v = w / s, u the sum of g * (nearest code of v - v), where
/// beyond the codes v counts as 0, s *= 1 - scale_rate * u / |g|, by factors of 1/2 to 2.
/// The same bits for any number of threads. On failure nothing is written. Values and slopes overlap no memory of the table.
ec_status ec_trained_rows_write(
    const ec_trained_rows *table, const void *ids, int32_t id_bytes, int64_t count, const float *values,
    const float *slopes, const ec_row_rounding *how);

// MARK: - Parts of tables that learn

/// Hash functions ((a x + b) mod p) mod m of ids: those of a deep hash embedding.
typedef struct ec_hash_functions {
    /// a and b, from 0 to 2^31 - 1, and p, from 2 to 2^31 - 1: `count` of each.
    const int64_t *factors;
    const int64_t *summands;
    const int64_t *moduli;
    /// From 1 to 65,536.
    int64_t count;
    /// m, from 2 to 2^31 - 1. Above 2^24, hashes are rounded as they become floats.
    int64_t buckets;
} ec_hash_functions;

/// out[i * functions->count + j] = hash j of ids[i]. On failure, such as EC_INVALID_ID for an id outside [0, 2^32), nothing
/// is written.
ec_status ec_hash_ids(
    const void *ids, int32_t id_bytes, int64_t count, const ec_hash_functions *functions, float *out);

/// A sketch of which ids matter, in a caller's memory: `buckets` times four slots. At the start, keys and places are -1, and
/// scores 0.
typedef struct ec_hot_sketch {
    /// The id of a slot, or a negative number.
    int64_t *keys;
    /// How important it is.
    float *scores;
    /// Where the row is that it has of its own, or a negative number.
    int32_t *places;
    /// From 1 to 2^31.
    int64_t buckets;
    /// Of the hash: that of remap nodes.
    int64_t seed;
} ec_hot_sketch;

/// out[i] = the place of ids[i], or -1.
ec_status ec_hot_sketch_places(
    const ec_hot_sketch *sketch, const void *ids, int32_t id_bytes, int64_t count, int64_t *out);
/// Adds `norms` to how important ids are. Ids without a slot take those of their bucket that matter the least, and add to
/// their score, as in SpaceSaving; ids with rows of their own count as 1.25 times as important. Of a call's new ids, four
/// of a bucket at most take part, the most important one last. On failure, such as EC_INVALID_ID for a negative id, nothing
/// is written, but that EC_OUT_OF_MEMORY may come after norms were added to ids with slots.
ec_status ec_hot_sketch_add(
    const ec_hot_sketch *sketch, const void *ids, int32_t id_bytes, int64_t count, const float *norms);

/// What rows of a tensor train are made of while it is trained. Row i is left[i] (d0 x rank) times the slice owners[i] of the
/// middle core (rank x (d1 * rank)), as d0 * d1 x rank numbers, times right[i] (rank x d2).
typedef struct ec_train_products {
    /// d0, d1 and d2, and the rank: from 1 to 65,535 each.
    int64_t columns[3];
    int64_t rank;
    const float *left;
    const float *middle;
    int64_t slices;
    const float *right;
} ec_train_products;

/// Gradients like what they are of; those of the middle core are of the distinct slices that rows have, in rising order.
typedef struct ec_train_gradients {
    float *left;
    float *middle;
    /// How many they are.
    int64_t slices;
    float *right;
} ec_train_gradients;

/// Writes `count` rows of d0 * d1 * d2 floats. `owners` are int32 or int64 by `owner_bytes`. The same bits for any number of
/// threads. On failure, such as EC_INVALID_ID for an owner outside [0, slices), nothing is written.
ec_status ec_train_products_rows(
    const ec_train_products *products, const void *owners, int32_t owner_bytes, int64_t count, float *out);
/// Writes the gradients of what rows are made of, from `slopes`, those of the rows. Likewise.
ec_status ec_train_products_gradients(
    const ec_train_products *products, const void *owners, int32_t owner_bytes, int64_t count, const float *slopes,
    const ec_train_gradients *gradients);
/// Writes the gradients `left` and `right` likewise, and steps the slices that rows have against theirs, which lie nowhere:
/// as ec_trained_rows_step does, but that a gradient of a slice may be one that is not finite, if those of the rows are.
/// `table` is the middle core: rows of EC_ROWS_F32, a slice each, whose elements are products->middle.
ec_status ec_train_products_step(
    const ec_train_products *products, const void *owners, int32_t owner_bytes, int64_t count, const float *slopes,
    const ec_trained_rows *table, const ec_row_step *step, float *left, float *right);

// MARK: - Quality

/// What a table costs against its source.
typedef struct ec_quality {
    /// ||X - Q(X)|| / ||X||, Frobenius; 0 when both are 0.
    double normalized_l2;
    /// Mean over rows of the cosine between a row and its copy; rows that are zero in both count as 1.
    double mean_cosine;
    /// The largest over rows of ||x - q(x)|| / ||x||, and the row.
    double worst_row_l2;
    int64_t worst_row;
    double mean_squared_error;
    /// Recall@k: the share of the k nearest neighbours of the queries that are kept; negative where it was not measured.
    double recall;
} ec_quality;

/// Compares a table with what it was made of. Recall@k takes `queries` random rows of `source` by `seed`, 0 for none: the
/// true neighbours of a query are the `k` other rows of the largest cosine, of equal ones those of smaller numbers. A table
/// of up to k rows has no recall. EC_INVALID_ARGUMENT for a row of either that is not finite.
ec_status ec_table_evaluate(
    const ec_table *table, const ec_table *source, int64_t queries, int64_t k, int64_t seed, ec_progress progress,
    void *context, ec_quality *out);
/// out[i, :] = the k rows of `table` of the largest cosine with row queries[i] of `source`, without row queries[i], best
/// first; -1 where there are no more. `out` holds count x k numbers.
ec_status ec_table_neighbours(
    const ec_table *table, const ec_table *source, const int64_t *queries, int64_t count, int64_t k,
    ec_progress progress, void *context, int64_t *out);
/// Tries methods and hybrids within a budget of bytes on `sample` rows of a table, and the best few on all of it. `counts`
/// says how often each row is used, a number for each; null means all alike. `metric` is "l2", "cosine" or "recall". The
/// result is a JSON array, best first: method, options (null for one that is the counts), expression, stored_bytes, ratio,
/// normalized_l2 (null if infinite), mean_cosine, recall_at_10, compress_seconds, lookup_ns_per_row and reason, a sentence.
ec_status ec_table_recommend(
    const ec_table *table, int64_t budget, const double *counts, int64_t count_total, const char *metric,
    int64_t sample, int64_t seed, ec_progress progress, void *context, ec_string *out);

// MARK: - Files

/// A table that is compressed straight into a file.
typedef struct ec_job {
    /// What the table is called in the file.
    const char *name;
    const ec_table *source;
    /// As for ec_table_compress; may be null.
    const ec_table *weights;
    /// As for ec_table_compress; may be null.
    const char *options;
    /// As for ec_table_compress.
    const ec_array *arrays;
    int64_t array_count;
} ec_job;

/// What compressing a table into a file gave.
typedef struct ec_report {
    int64_t stored_bytes;
    ec_quality quality;
    /// The share of rows, or of groups of columns, for which a search found nothing better than plain min-max, or, of
    /// trellis codes, than least squares; negative for methods that don't compare with either.
    double fallback_share;
    /// The share of rows, or of groups of columns, whose f16 scale is so small that the nearest f16 number may leave the end
    /// of the range more than a step away from the last code; the one of least error was taken of it and its neighbours.
    /// Negative for methods that choose no ranges, or make a table at once.
    double coarse_scale_share;
    /// Where a method chose f32 for scales, entries or values that are mostly f16: the normalised l2 loss of a sample of
    /// rows with f16, infinite where values are beyond it. Negative where it did not.
    double f16_loss;
    /// The same with f32; negative if that is not known.
    double f32_loss;
    /// What ec_table_choices says, to be released; null where there was nothing to choose.
    ec_string choices;
} ec_report;

// Paths are bytes as the system has them, which need not be UTF-8; errors show others as \xff. A file is written
// without a name, made durable, and then takes the place of the file of that name, or of the one that a link there leads
// to, with its owner and its permissions: there is the old file or the new one, whatever ends the process. What is no
// regular file is never replaced: that is EC_IO, with system_errno EINVAL, or EISDIR for a folder.

/// Compresses tables into one file, atomically, in memory that does not grow with them. `row_alignment` is as for
/// ec_table_align; other than 1 it goes with no budget. `metadata` is as for ec_save. `reports` has room for `count`
/// reports.
ec_status ec_compress_to_file(
    const char *path, const ec_job *jobs, int64_t count, const char *method, int64_t row_alignment,
    const char *metadata, ec_progress progress, void *context, ec_report *reports);
/// Writes `count` tables under their names, and `tensor_count` plain tensors beside them, into one safetensors file,
/// atomically. `metadata` is a JSON object of strings that is stored beside them; null means none. Its entry
/// "embedcompress.digests": "sha256" asks for digests of all tensors, which take the entry's place. `bytes`, unless it is
/// null, becomes the bytes of all tensors of the file: it has those and its header.
ec_status ec_save(
    const char *path, const ec_table *const *tables, const char *const *names, int64_t count, const ec_array *tensors,
    int64_t tensor_count, const char *metadata, ec_progress progress, void *context, int64_t *bytes);
/// What a safetensors file holds, as JSON: {"is_table_file": whether ec_save wrote it, "tables": [names], "tensors":
/// [{name, dtype, shape}], "plain": [names of the tensors that are no table's], "metadata": {},
/// "has_digests": whether there is a digest of each tensor}.
ec_status ec_file_contents(const char *path, ec_string *out);
/// A tensor of a file, and the memory to read it into.
typedef struct ec_read {
    const char *name;
    void *data;
    /// Of the memory: what the tensor has.
    int64_t byte_count;
} ec_read;

/// Reads tensors of any safetensors file as they lie in it. On failure what the memory holds is undefined.
ec_status ec_file_read(const char *path, const ec_read *reads, int64_t count);
/// Reads word vectors out of a text, whose lines have a word and `dimension` decimal numbers each, with spaces or tabs
/// between them; the last one may lack its newline. Stops at a line of another form or with a number that is not finite,
/// after `capacity` lines, or at the end. rows is capacity x dimension; row i's word is the text from words[2 * i] to
/// before words[2 * i + 1]. read_rows says how many lines were read, and read_bytes where the next one begins; what rows
/// and words hold after those lines is undefined.
ec_status ec_read_vectors(
    const char *text, int64_t byte_count, int64_t dimension, int64_t capacity, float *rows, int64_t *words,
    int64_t *read_rows, int64_t *read_bytes);
/// Opens the table `name` of a file that ec_save wrote, or the 2-D f32, f16 or bf16 tensor `name` of any safetensors
/// file as a dense table. Null takes the only one. With `map`, the file is mapped and opening takes time independent of
/// its size; without, it is read. A mapped file must not be shortened: calls that meet a page of it that is gone, or that
/// the drive can't give, return EC_IO, and so do all later ones on the table. For this the library handles SIGBUS in its
/// own calls, and leaves it to the handler that was there before elsewhere.
ec_status ec_load(const char *path, const char *name, int32_t map, ec_table **out);
/// Writes what a file is to hold to a descriptor, which stays open. A value other than 0 stops the call, which returns
/// EC_CANCELLED and leaves nothing behind.
typedef int32_t (*ec_fill)(int32_t descriptor, void *context);
/// Writes a file of any kind as ec_save does its own: see there.
ec_status ec_file_write(const char *path, ec_fill fill, void *context);
/// The same, once every rule over all of the table's arrays is checked, and their digests if the file has some. Progress
/// is told of bytes.
ec_status ec_load_verified(
    const char *path, const char *name, int32_t map, ec_progress progress, void *context, ec_table **out);
/// Checks all of a safetensors file: the rules over each array of each table, and the digest of each tensor if it has
/// digests. Progress is told of bytes.
ec_status ec_file_verify(const char *path, ec_progress progress, void *context);
/// Reads a byte of every page of the table's arrays, so that lookups in a mapped table wait for no disk. `bytes` is how
/// many the arrays have.
ec_status ec_table_warm_up(const ec_table *table, ec_progress progress, void *context, int64_t *bytes);

#ifdef __cplusplus
}
#endif
#endif
