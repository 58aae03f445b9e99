// Shared by the files of the extension. It checks every argument before Swift sees it, holds buffers while Swift works,
// and turns statuses into exceptions; it decides nothing.
#ifndef EMBEDCOMPRESS_CORE_H
#define EMBEDCOMPRESS_CORE_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>

#include "embedcompress.h"

// MARK: - Errors (errors.c)

int core_errors_init(PyObject *module);
/// Raises the exception of a status; returns -1, or 0 for EC_OK. Needs the thread that made the call.
int core_check(ec_status status);

// MARK: - Arguments (arguments.c)

/// The parameters of a function: positional or by name from the first on.
typedef struct Parameters {
    const char *function;
    int count;
    /// How many must be given.
    int required;
    const char *names[16];
} Parameters;

/// Puts the arguments of a METH_FASTCALL | METH_KEYWORDS call in their places; those not given become NULL. Borrowed
/// references.
int core_bind(
    const Parameters *parameters, PyObject *const *args, Py_ssize_t count, PyObject *keywords, PyObject **values);
/// These leave the target as it is when the value is NULL or (for the second) None.
int core_int64(PyObject *value, const char *name, int64_t *target);
int core_optional_int64(PyObject *value, const char *name, int64_t *target);
int core_bool(PyObject *value, const char *name, int32_t *target);
/// Takes a number, which must be given; TypeError names the argument.
int core_double(PyObject *value, const char *name, double *target);
/// The UTF-8 of a string without null characters, where C would end it; NULL with an exception for anything else.
const char *core_string(PyObject *value, const char *name);
/// The position of a string among `names`, which ends with NULL.
int core_choice(PyObject *value, const char *name, const char *const *names, int *target);

// MARK: - Buffers (buffers.c)

/// What elements a buffer must have.
typedef enum Element {
    ELEMENT_ID,
    ELEMENT_FLOAT32,
    ELEMENT_FLOAT64,
    ELEMENT_INT32,
    ELEMENT_UINT8,
    ELEMENT_ANY
} Element;

/// A C-contiguous array of a caller's, held until core_buffer_release.
typedef struct Buffer {
    Py_buffer view;
    bool held;
} Buffer;

/// Takes a buffer of `object`. What has none goes through the Python side's rules of coercion (_arrays.py) first, and so do
/// ids and floats that are strided, byte-swapped or of other elements, which for other kinds is a ValueError.
int core_buffer(PyObject *object, const char *name, Element element, Buffer *buffer);
/// The same for an output: writable, and never copied.
int core_output(PyObject *object, const char *name, Element element, Buffer *buffer);
/// The struct letter of the elements in this machine's byte order; 0 for anything else.
char core_format_letter(const Buffer *buffer);
void core_buffer_release(Buffer *buffer);
int64_t core_buffer_count(const Buffer *buffer);
bool core_buffers_overlap(const Buffer *a, const Buffer *b);
int core_check_elements(const Buffer *buffer, const char *name, Element element);
/// What its owner calls the elements of a buffer, such as "float64". Returns a new reference.
PyObject *core_elements_name(const Buffer *buffer);
/// Raises a ValueError that names the elements of a buffer, and those that are wanted; returns -1.
int core_refuse_elements(const Buffer *buffer, const char *name, const char *wanted);

/// What a call reads its inputs from and makes its results as.
typedef struct Arrays {
    /// Takes a buffer of an input; one that `object` has not C-contiguous is an error, or a copy is taken.
    int (*take)(PyObject *object, const char *name, Element element, Buffer *buffer);
    /// A new float32 one, and its buffer. Returns a new reference.
    PyObject *(*make)(int rank, const int64_t *shape, Buffer *buffer);
} Arrays;

/// NumPy's, and what `take` is core_buffer for.
extern const Arrays core_arrays;
/// Those of the tensor type (tensors.c).
extern const Arrays core_tensors;

/// The output of a call: the caller's array, checked, or a new one if that is NULL or None. Returns a new reference.
PyObject *core_prepare_output(
    const Arrays *arrays, PyObject *given, int rank, const int64_t *shape, Buffer *buffer);
/// Raises ValueError if an output shares memory with an input.
int core_check_overlap(const Buffer *output, const char *output_name, const Buffer *input, const char *name);
int core_buffers_init(void);
PyObject *core_set_array_hook(PyObject *module, PyObject *hook);
PyObject *core_set_tensor_type(PyObject *module, PyObject *type);

// MARK: - Lending arrays (lending.c)

/// Axes of an array of a table, or of a tensor of a file.
enum { CORE_MAXIMUM_RANK = 8 };

/// A buffer of a caller's, and its shape as Swift reads it.
typedef struct LentArray {
    Buffer buffer;
    int64_t shape[CORE_MAXIMUM_RANK];
} LentArray;

/// Buffers that a table stands on.
typedef struct Loan {
    /// All loans of this process are in a list, to be found by their memory.
    struct Loan *before, *after;
    int64_t count;
    /// The same as Swift takes them.
    ec_array *arrays;
    LentArray lent[];
} Loan;

/// NULL with MemoryError.
Loan *core_loan_new(int64_t count);
/// Null does nothing.
void core_loan_free(Loan *loan);
/// For Swift to call when the last table on a loan, its context, is gone.
void core_loan_release(void *context);
/// Takes a buffer of `values` as the array of that index. Its element type is that of the name `dtype`, or that of the
/// buffer if `dtype` is NULL.
int core_loan_add(Loan *loan, int64_t index, PyObject *name, PyObject *dtype, PyObject *values);
/// The element type of a name.
int core_dtype(PyObject *value, const char *name, ec_dtype *target);
const char *core_dtype_name(ec_dtype type);
int core_dtype_size(ec_dtype type);
/// Raises ValueError unless the buffer has elements of that type.
int core_check_dtype(const Buffer *buffer, const char *name, ec_dtype type);
PyObject *core_dtypes(PyObject *module, PyObject *unused);
/// Whether memory lies in a buffer that was lent for reading only.
PyObject *core_is_read_only(PyObject *module, PyObject *memory);

// MARK: - The end of the interpreter (ending.c)

int core_ending_init(void);
/// Whether the interpreter ends, and this is another thread of it than the one that ends it.
bool core_is_kept_out(void);
/// To be called before Swift's call takes the GIL back; false when there is no interpreter any more to take it from.
bool core_visit_python(void);
/// After it has given it up again.
void core_leave_python(void);

// MARK: - Progress (progress.c)

/// Takes the GIL now and then from within a call that has released it: checks signals, and calls a Python function.
typedef struct ProgressContext {
    PyThreadState *saved;
    /// NULL for none.
    PyObject *callable;
    int64_t last_milliseconds;
} ProgressContext;

int32_t core_progress(int64_t done, int64_t total, void *context);
/// NULL for None; sets TypeError for what cannot be called.
int core_progress_init(ProgressContext *context, PyObject *callable);

/// Runs a statement without the GIL, with a progress context that knows how to take it.
#define CORE_WITHOUT_GIL(context, statement)                                                                           \
    do {                                                                                                               \
        (context)->saved = PyEval_SaveThread();                                                                        \
        statement;                                                                                                     \
        PyEval_RestoreThread((context)->saved);                                                                        \
    } while (0)

/// The function and the flags of a PyMethodDef whose function takes what core_bind does.
#define FAST(function) (PyCFunction)(void (*)(void)) function, METH_FASTCALL | METH_KEYWORDS

// MARK: - Tables (all other files)

int core_table_init(PyObject *module);
int core_making_init(PyObject *module);
/// A Python object that owns the handle; releases the handle on failure.
PyObject *core_table_wrap(ec_table *handle);
/// The handle of a table object, or NULL with TypeError.
ec_table *core_table_handle(PyObject *object, const char *name);
/// Raises ValueError if an output shares memory with the arrays of a table object.
int core_check_table_overlap(const Buffer *output, PyObject *table);
/// An object whose buffer is memory of a table's, read-only; keeps the table.
PyObject *core_table_memory(PyObject *table, const void *data, Py_ssize_t count);
/// Leaves the target as it is when the object is None.
int core_optional_table(PyObject *object, const char *name, ec_table **target);
/// The checksum of rows that are read for nothing.
PyObject *core_multiply(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords);
PyObject *core_touch(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords);
/// The figures of a comparison as a tuple.
PyObject *core_quality(const ec_quality *quality);
PyObject *core_set_table_type(PyObject *module, PyObject *type);
/// The text as a str; releases it.
PyObject *core_text(ec_string text);
/// The choices of on_invalid, in the order of ec_on_invalid.
extern const char *const core_policies[];
PyObject *core_table_bag(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords);
/// From tensors to tensors.
PyObject *core_lookup_tensor(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords);
extern PyMethodDef core_making_methods[];
extern PyMethodDef core_composing_methods[];
extern PyMethodDef core_compressing_methods[];
extern PyMethodDef core_bags_methods[];
extern PyMethodDef core_filling_methods[];
extern PyMethodDef core_files_methods[];
extern PyMethodDef core_quality_methods[];
extern PyMethodDef core_fused_methods[];
extern PyMethodDef core_groups_methods[];
extern PyMethodDef core_training_methods[];
extern PyMethodDef core_learning_methods[];

#endif
