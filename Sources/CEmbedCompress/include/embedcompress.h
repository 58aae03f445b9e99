// The C ABI of embedcompress: this header is its single statement.
//
// Every function that can fail returns an ec_status. When that is not EC_OK, ec_last_error() holds one sentence about
// it for the calling thread, and no output argument has been written, unless the function says otherwise.
//
// Ownership: an ec_table that a function hands out through an `out` argument belongs to the caller, who gives it to
// ec_table_release exactly once. Tables are immutable; any number of threads may use one at a time. A table that was
// made from another one (slice, remap, assemble) keeps alive what it needs of it. An ec_string that a function hands
// out is given to ec_string_release exactly once.
//
// Sizes and counts are int64_t and never negative. Pointers may be null only where the text says so or where the
// count that goes with them is 0.
#ifndef EMBEDCOMPRESS_H
#define EMBEDCOMPRESS_H

#include <stdint.h>

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
    /// A system call on a file failed; ec_last_errno() says how.
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
    EC_F64 = 11
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

/// The last failed call's sentence on this thread; "" when there was none. Valid until this thread's next call.
const char *ec_last_error(void);
/// errno of the last EC_IO on this thread.
int32_t ec_last_errno(void);
/// Path of the last EC_IO on this thread; "" when there was none.
const char *ec_last_error_path(void);
void ec_string_release(ec_string text);

// MARK: - Library

const char *ec_version(void);
/// The instruction set that this build was compiled for: "x86-64-v2", "x86-64-v3", "x86-64-v4", "x86-64" or "arm64".
const char *ec_isa(void);
/// The most threads that one call uses, at least 1. The initial value is OMP_NUM_THREADS or the number of processors.
ec_status ec_set_num_threads(int64_t count);
int64_t ec_get_num_threads(void);
/// Every compression method as a JSON array; each entry has name, title, paper, kind, summary, bytesPerRow and options.
ec_status ec_methods(ec_string *out);

// MARK: - Making tables

/// A dense table on lent memory: rows x dimension values, row after row, of EC_F32, EC_F16 or EC_BF16. On failure
/// `release` is not called.
ec_status ec_table_dense(
    const void *data, ec_dtype dtype, int64_t rows, int64_t dimension, ec_release release, void *context,
    ec_table **out);
/// Compresses `source` with the method of that name. `weights`, of as many rows and of one column or of as many, says
/// how much an error counts, for methods that minimise one; null means all alike. `options` is a JSON object of the
/// method's options; null means {}.
ec_status ec_table_compress(
    const ec_table *source, const ec_table *weights, const char *method, const char *options, ec_progress progress,
    void *context, ec_table **out);
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
/// `rows` ids over `inner`: id -> id % modulus.
ec_status ec_table_remap_modulo(const ec_table *inner, int64_t rows, int64_t modulus, ec_table **out);
/// `rows` ids over `inner`: id -> id / divisor.
ec_status ec_table_remap_quotient(const ec_table *inner, int64_t rows, int64_t divisor, ec_table **out);
/// `rows` ids over `inner`, each hashed to one of its rows; docs/format.md says how.
ec_status ec_table_remap_hash(const ec_table *inner, int64_t rows, int64_t seed, ec_table **out);
/// `rows` ids over `inner`: id -> map[id / block_rows] * block_rows + id % block_rows, where an entry of -1 stands for rows
/// of zeros. The map has an entry for each block; it is copied, and checked.
ec_status ec_table_remap_array(
    const ec_table *inner, const int64_t *map, int64_t map_count, int64_t rows, int64_t block_rows, ec_table **out);
/// Null does nothing.
void ec_table_release(ec_table *table);

// MARK: - Asking tables

int64_t ec_table_rows(const ec_table *table);
int64_t ec_table_dimension(const ec_table *table);
int64_t ec_table_stored_bytes(const ec_table *table);
/// How many ids this table has answered with zeros under EC_ZERO.
int64_t ec_table_invalid_count(const ec_table *table);
/// The expression as a tree with bytes, for people.
ec_status ec_table_description(const ec_table *table, ec_string *out);
/// The expression as the JSON that ec_table_assemble takes; each node also has rows, dimension and bytes.
ec_status ec_table_tree(const ec_table *table, ec_string *out);
/// Where rows lie among cache lines of 64 bytes, and what ec_table_align would give: a JSON array with, for each store of
/// rows, its "path" ("" or such as "inner"), "rows", "unpadded_row_bytes", "current" and "choices"; the last two say
/// "row_alignment", "row_bytes", "lines_per_row" and "stored_bytes".
ec_status ec_table_row_layouts(const ec_table *table, ec_string *out);
int64_t ec_table_array_count(const ec_table *table);
/// The index-th of the arrays that ec_table_assemble takes. Its pointers are valid as long as the table is.
ec_status ec_table_array(const ec_table *table, int64_t index, ec_array *out);

// MARK: - Looking up

/// out[i, :] = row ids[i], f32. `ids` are int32 or int64 by `id_bytes` (4 or 8). out holds count x dimension floats.
ec_status ec_table_lookup(
    const ec_table *table, const void *ids, int32_t id_bytes, int64_t count, ec_on_invalid on_invalid, float *out);

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
} ec_quality;

ec_status ec_table_evaluate(
    const ec_table *table, const ec_table *source, ec_progress progress, void *context, ec_quality *out);

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
} ec_job;

/// What compressing a table into a file gave.
typedef struct ec_report {
    int64_t stored_bytes;
    ec_quality quality;
    /// The share of rows, or of groups of columns, for which a search found nothing better than plain min-max; negative
    /// for methods that don't compare with it.
    double fallback_share;
} ec_report;

/// Compresses tables into one file, atomically, in memory that does not grow with them. `row_alignment` is as for
/// ec_table_align; other than 1 it goes with no budget. `metadata` is as for ec_save. `reports` has room for `count`
/// reports.
ec_status ec_compress_to_file(
    const char *path, const ec_job *jobs, int64_t count, const char *method, int64_t row_alignment,
    const char *metadata, ec_progress progress, void *context, ec_report *reports);
/// Writes `count` tables under their names into one safetensors file, atomically. `metadata` is a JSON object of
/// strings that is stored beside them; null means none.
ec_status ec_save(
    const char *path, const ec_table *const *tables, const char *const *names, int64_t count, const char *metadata,
    ec_progress progress, void *context);
/// What a safetensors file holds, as JSON: {"tables": [names], "tensors": [{name, dtype, shape}], "metadata": {}}.
ec_status ec_file_contents(const char *path, ec_string *out);
/// Opens the table `name` of a file that ec_save wrote, or the 2-D f32, f16 or bf16 tensor `name` of any safetensors
/// file as a dense table. Null takes the only one. With `map`, the file is mapped and opening takes time independent of
/// its size; without, it is read.
ec_status ec_load(const char *path, const char *name, int32_t map, ec_table **out);
/// Reads a byte of every page of the table's arrays, so that lookups in a mapped table wait for no disk. `bytes` is how
/// many the arrays have.
ec_status ec_table_warm_up(const ec_table *table, ec_progress progress, void *context, int64_t *bytes);

#ifdef __cplusplus
}
#endif
#endif
